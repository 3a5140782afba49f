"""Recovers the polls that can still be read of a damaged database.

SQLite refuses a query that meets a damaged page. The interval is then halved until the rows before
and behind the damage are found.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from luxcli.model import Snapshot
from luxcli.store import tables
from luxcli.store.reader import Change, Interval, snapshots
from luxcli.store.rows import Row
from luxcli.store.tables import Key

if TYPE_CHECKING:
    from sqlite3 import Connection

_DAY_MS: Final = 86_400_000
# An unreadable interval this short holds one poll at most.
_SMALLEST_MS: Final = 1000
# If both ends of such an interval cannot be read, nothing between them can: a page of the file
# holds the polls of several minutes. After a long unreadable time an interval may be as long as
# this part of that time: with the root of the table a whole day is gone, and nothing to look for.
_WITHIN_PAGE_MS: Final = 60_000
_WITHIN_DAMAGE: Final = 8
# So many moments of a day are tried; fewer after so many days of which nothing is left: when the
# root of the table is damaged, even the times of the first and the last poll are unknown.
_PROBES: Final = 96
_FEW_PROBES: Final = 8
_LOST_DAYS: Final = 8
# So many unreadable intervals take a minute; from then on damage is not looked at any closer.
_UNREADABLE: Final = 100_000
# What a damaged register table may have known; SQLite answers for the rest.
_CANDIDATES: Final = (600, 2000, 1000)


def polls(
    db: "Connection", start_ms: int, stop_ms: int, damaged: list[int], unreadable: list[int]
) -> Iterator[Snapshot]:
    """Yield the polls that a damaged database still gives and whose checksum fits.

    Args:
        db: The database.
        start_ms: UTC, included.
        stop_ms: UTC, excluded.
        damaged: Takes the times of polls that differ from their checksum.
        unreadable: Takes the beginnings of intervals that SQLite cannot read.
    """
    keys = [(kind, index) for kind, count in enumerate(_CANDIDATES) for index in range(count)]
    next_ms = start_ms
    lost_days = 0
    while next_ms < stop_ms:
        end_ms = min(stop_ms, next_ms + _DAY_MS)
        if _is_empty(db, next_ms, end_ms):
            next_ms = end_ms
            continue
        if _is_lost(db, next_ms, end_ms, _PROBES if lost_days < _LOST_DAYS else _FEW_PROBES):
            unreadable.append(next_ms)
            next_ms, lost_days = end_ms, lost_days + 1
            continue
        lost_days = 0
        interval = _DamagedInterval(db, keys, next_ms, end_ms, unreadable)
        yield from snapshots(interval, damaged)
        next_ms = interval.next_ms


def _is_empty(db: "Connection", start_ms: int, stop_ms: int) -> bool:
    """Whether an interval certainly holds no poll."""
    bounds = (start_ms, stop_ms)
    select = "SELECT 1 FROM poll WHERE ts_ms>=? AND ts_ms<? LIMIT 1"
    try:
        return db.execute(select, bounds).fetchone() is None
    except db.DatabaseError:
        return False


def _is_lost(db: "Connection", start_ms: int, stop_ms: int, probes: int) -> bool:
    """Whether nothing of an interval can be read, at whichever moment it is tried."""
    for probe in range(probes):
        ts_ms = start_ms + (stop_ms - start_ms) * probe // probes
        with suppress(db.DatabaseError):
            db.execute("SELECT 1 FROM poll WHERE ts_ms>=? LIMIT 1", (ts_ms,)).fetchone()
            return False
    return True


class _DamagedInterval(Interval):
    """An interval in which SQLite may refuse any query.

    Args:
        db: The database.
        keys: All registers that there may be.
        start_ms: UTC, included.
        stop_ms: UTC, excluded.
        unreadable: Takes the beginnings of intervals that SQLite cannot read.
    """

    def __init__(
        self,
        db: "Connection",
        keys: Sequence[Key],
        start_ms: int,
        stop_ms: int,
        unreadable: list[int],
    ) -> None:
        self._unreadable = unreadable
        self._bad_since: int | None = None  # from where on nothing could be read so far
        super().__init__(db, keys, start_ms, stop_ms)

    def _settings(self, keys: Iterable[Key]) -> tuple[dict[Key, int | None], list[Change]]:
        first: dict[Key, int | None] = {}
        later: list[Change] = []
        for key in keys:
            # Polls that need an unreadable setting will differ from their checksum.
            with suppress(self._db.DatabaseError):
                value = tables.as_of(self._db, key, self.next_ms)
                later += tables.changes_of(self._db, key, self.next_ms, self._stop_ms)
                first[key] = value
        return first, later

    def _next_rows(self) -> tuple[list[Row], bool]:
        return self._readable(self.next_ms, self._stop_ms), True

    def _readable(self, start_ms: int, stop_ms: int) -> list[Row]:
        """Return the rows that can be read, by halves where some cannot."""
        rows = self._try(start_ms, stop_ms)
        if rows is not None:
            self._bad_since = None
            return rows
        if self._bad_since is None:
            self._bad_since = start_ms
        length_ms = stop_ms - start_ms
        within_ms = max(_WITHIN_PAGE_MS, (start_ms - self._bad_since) // _WITHIN_DAMAGE)
        if (
            length_ms <= _SMALLEST_MS
            or len(self._unreadable) >= _UNREADABLE
            or (
                length_ms <= within_ms
                and self._try(start_ms, start_ms + _SMALLEST_MS) is None
                and self._try(stop_ms - _SMALLEST_MS, stop_ms) is None
            )
        ):
            self._unreadable.append(start_ms)
            return []
        middle = (start_ms + stop_ms) // 2
        return self._readable(start_ms, middle) + self._readable(middle, stop_ms)

    def _try(self, start_ms: int, stop_ms: int) -> list[Row] | None:
        """Return all rows of an interval, None if SQLite refuses."""
        try:
            return self._db.execute(self._select, (start_ms, stop_ms)).fetchall()
        except self._db.DatabaseError:
            return None

    def _end_transaction(self) -> None:
        """End the read transaction, which fails as well once SQLite has met damage in it."""
        try:
            self._db.execute("COMMIT")
        except self._db.DatabaseError:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
