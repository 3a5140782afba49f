"""Applies repairs of wrong times to the tables, inside a transaction that `database` opened.

A repair names a poll by its old time and its SHA-256, and says its right time, or that the poll was
removed. It stays in the table ``repair``: a poll that comes again under its old time, from an
archive or a journal, is repaired again.
"""

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from luxcli.model import CLOCK_DOUBTED, Repair, Snapshot
from luxcli.store import reader

if TYPE_CHECKING:
    from sqlite3 import Connection

# A poll whose millisecond was taken is stored under one of the next.
_MOVED_MS: Final = 100


def poll_sha256(poll: Snapshot) -> str:
    """Return the SHA-256 of all that a poll holds, its time included, as 64 hex digits."""
    from hashlib import sha256  # not needed by most flushes

    return sha256(json.dumps(poll, separators=(",", ":")).encode()).hexdigest()


def repaired(poll: Snapshot, new_ms: int) -> Snapshot:
    """Return a poll under its right time, without the mark.

    Its scheduled time becomes the one next to the right time: by the wrong clock it was another.
    """
    late_ms, flags = poll.late_ms, poll.flags & ~CLOCK_DOUBTED
    if poll.scheduled_ms is not None and poll.interval_s:
        interval_ms = poll.interval_s * 1000
        late_ms = new_ms - round((new_ms - late_ms) / interval_ms) * interval_ms
    return poll._replace(taken_ms=new_ms, late_ms=late_ms, flags=flags)


class Repairs:
    """Repairs by the old time of their polls.

    Args:
        repairs: In any order.
    """

    def __init__(self, repairs: Iterable[Repair]) -> None:
        self._by_time: dict[int, list[Repair]] = {}
        for repair in repairs:
            self._by_time.setdefault(repair.old_ms, []).append(repair)

    def apply(self, polls: Iterable[Snapshot]) -> list[Snapshot]:
        """Return polls with their right times, without those that were removed."""
        if not self._by_time:
            return list(polls)
        found = ((poll, self.of(poll)) for poll in polls)
        return [
            poll if repair is None else repaired(poll, repair.new_ms or 0)
            for poll, repair in found
            if repair is None or repair.new_ms is not None
        ]

    def of(self, poll: Snapshot) -> Repair | None:
        """Return the repair of a poll, None when it needs none."""
        if not poll.flags & CLOCK_DOUBTED:
            return None
        for old_ms in range(poll.taken_ms, poll.taken_ms + _MOVED_MS):
            for repair in self._by_time.get(old_ms, ()):
                if poll_sha256(poll.at(old_ms)) == repair.sha256:
                    return repair
        return None


def stored(db: "Connection") -> list[Repair]:
    """Return all repairs, the oldest first."""
    rows = db.execute("SELECT sha256, old_ms, new_ms, done_ms FROM repair ORDER BY done_ms, old_ms")
    return [Repair(*row) for row in rows]


def record(db: "Connection", repairs: Sequence[Repair]) -> list[Snapshot]:
    """Record repairs and take their polls out of the tables.

    Returns:
        The polls under their right times, which the caller stores again.
    """
    db.executemany("INSERT OR IGNORE INTO repair VALUES (?,?,?,?)", repairs)
    apart = Repairs(repairs)
    again: list[Snapshot] = []
    found = reader.polls_at(db, sorted({repair.old_ms for repair in repairs}))
    for old_ms in sorted(found):
        repair = apart.of(found[old_ms])
        if repair is None:
            continue
        take_out(db, old_ms)
        if repair.new_ms is not None:
            again.append(repaired(found[old_ms], repair.new_ms))
    return again


def take_out(db: "Connection", ts_ms: int) -> None:
    """Remove one poll; the settings of the others stay what they are."""
    following = db.execute("SELECT min(ts_ms) FROM poll WHERE ts_ms>?", (ts_ms,)).fetchone()[0]
    changes = db.execute(
        "SELECT s.kind, s.idx, s.value FROM register r CROSS JOIN setting s"
        " WHERE s.kind=r.kind AND s.idx=r.idx AND s.ts_ms=?",
        (ts_ms,),
    ).fetchall()
    keys = [(kind, index) for kind, index, _value in changes]
    if following is not None:
        db.executemany(
            "INSERT OR IGNORE INTO setting VALUES (?,?,?,?)",
            [(kind, index, following, value) for kind, index, value in changes],
        )
    db.executemany(
        "DELETE FROM setting WHERE kind=? AND idx=? AND ts_ms=?", [(*key, ts_ms) for key in keys]
    )
    db.execute("DELETE FROM poll WHERE ts_ms=?", (ts_ms,))
    if following is not None:
        # A value that the next poll has like the poll before is no change now: it leaves the log.
        db.executemany(
            "DELETE FROM setting WHERE kind=? AND idx=? AND ts_ms=? AND value IS ?",
            [(*key, following, reader.as_of(db, key, following - 1)) for key in keys],
        )
