"""Puts polls into the tables of the database, inside a transaction that `database` opened.

Polls may come in any order and more than once: a poll that is stored already changes nothing, and
one that is older than others (a clock that stepped back, a restored archive) is threaded into the
change log without altering what is read for any other poll.
"""

from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from luxcli.errors import DamagedError
from luxcli.model import GROUPS, MissedPoll, Repair, Snapshot
from luxcli.store import reader, schema
from luxcli.store.reader import SETTINGS_AT, as_of, known_registers, layout, settings_at
from luxcli.store.repairs import Repairs
from luxcli.store.repairs import record as record_repairs
from luxcli.store.repairs import stored as stored_repairs
from luxcli.store.rows import HEAD, Key, poll_crc, settings_crc, signed

if TYPE_CHECKING:
    from sqlite3 import Connection

# A day on which the clock is set back by two hours, as some zones once did.
_LONGEST_DAY_MS: Final = 26 * 3_600_000

# Rows of the change log before a time whose poll has been removed.
_WITHOUT_POLL: Final = (
    "FROM register r CROSS JOIN setting s WHERE s.kind=r.kind AND s.idx=r.idx AND s.ts_ms<?"
    " AND NOT EXISTS (SELECT 1 FROM poll WHERE ts_ms=s.ts_ms)"
)


class _Cursor:
    """Cursor into the settings log: the settings in force after the last inserted poll.

    In-order inserts reuse it; an out-of-order insert has to query each setting.

    Attributes:
        ts_ms: The last inserted poll.
        following: The next poll in the table, None if there is none.
        values: The settings in force after `ts_ms`.
        settings: The blocks that `values` were made of.
    """

    def __init__(self, ts_ms: int, following: int | None, values: dict[Key, int | None]) -> None:
        self.ts_ms, self.following, self.values = ts_ms, following, values
        self.settings: tuple[object, ...] = ()

    def fits(self, ts_ms: int) -> bool:
        """Whether a poll at that time comes between the last inserted one and the next."""
        return self.ts_ms < ts_ms and (self.following is None or ts_ms < self.following)


class Writer:
    """Adds polls and missed polls through `db`; call `finish` before the transaction commits."""

    def __init__(self, db: "Connection", version: str) -> None:
        self._db, self._version = db, version
        self._columns, self._constants = layout(db)
        # A register that began as a column goes on as one, even if it counts as slow by now.
        self._always_fast = frozenset((*self._columns, *self._constants))
        self._splits: dict[int, tuple[list[int], list[int]]] = {}
        self._known: set[Key] = set(known_registers(db))
        self._unnamed: set[Key] = set()
        self._cursor = _Cursor(0, 0, {})
        self._views_stale = False
        self._new: tuple[int, int] | None = None  # the first and the last poll that was new
        self._new_times: list[int] = []  # of polls and missed polls
        self._crc: tuple[tuple[tuple[int, ...], tuple[int, ...]], int] | None = None
        self._at: dict[int, Snapshot] = {}  # polls that are stored at some times

    def look_up(self, polls: Iterable[Snapshot]) -> None:
        """Read those stored polls at once that these may be the same as."""
        newest = self._db.execute("SELECT max(ts_ms) FROM poll").fetchone()[0]
        if newest is not None:
            times = sorted({poll.taken_ms for poll in polls if poll.taken_ms <= newest})
            self._at |= reader.polls_at(self._db, [ts_ms for ts_ms in times if self._has(ts_ms)])

    def add_poll(self, snapshot: Snapshot) -> tuple[int, bool]:
        """Store one poll; return the time under which it is stored, and whether it is new.

        It is known if the whole poll stored at its time is equal. A different poll with the same
        millisecond (the clock had stepped back) gets the next free one: losing it would be worse.

        Raises:
            DamagedError: The poll stored at its time differs from its checksum.
        """
        ts_ms = snapshot.taken_ms
        while self._has(ts_ms):
            if self._stored_at(ts_ms) == snapshot.at(ts_ms):
                return ts_ms, False
            ts_ms += 1
        snapshot = snapshot.at(ts_ms)
        fast_indices, _slow = self._split(len(snapshot.calculations))
        fast = {index: snapshot.calculations[index] for index in fast_indices}
        schedule = (snapshot.late_ms, snapshot.interval_s, snapshot.flags)
        head = (ts_ms, snapshot.took_ms, snapshot.tries, *schedule)
        crc = signed(poll_crc(head, snapshot.calculations, self._settings_crc(snapshot)))
        self._grow(fast)
        names = "".join(f",c{index}" for index in self._columns)
        marks = ",?" * len(self._columns)
        self._db.execute(
            f"INSERT INTO poll ({','.join(HEAD)},crc{names}) VALUES (?,?,?,?,?,?,?{marks})",
            (*head, crc, *map(fast.get, self._columns)),
        )
        self._note_registers((0, index) for index in fast)
        self._log_settings(ts_ms, snapshot)
        first, last = self._new or (ts_ms, ts_ms)
        self._new = (min(first, ts_ms), max(last, ts_ms))
        self._new_times.append(ts_ms)
        self._at[ts_ms] = snapshot
        return ts_ms, True

    def add_missed(self, missed: MissedPoll) -> bool:
        """Store one missed poll; as `add_poll` where its millisecond is taken."""
        select = f"SELECT {','.join(MissedPoll._fields)} FROM missed WHERE ts_ms=?"
        while (stored := self._db.execute(select, (missed.ts_ms,)).fetchone()) is not None:
            if stored == missed:
                return False
            missed = missed.at(missed.ts_ms + 1)
        self._db.execute("INSERT INTO missed VALUES (?,?,?,?,?,?,?,?)", missed)
        self._new_times.append(missed.ts_ms)
        return True

    def finish(self) -> None:
        """Name new registers, rebuild outdated views, mark files stale that lack late polls."""
        if self._new:
            # Polls may come after the CSV of their period: a clock was set, days were restored.
            self._db.execute(
                "UPDATE rollup SET state='stale'"
                " WHERE period_start_ms<=? AND period_stop_ms>? AND state='written'",
                (self._new[1], self._new[0]),
            )
        self._forget_archives()
        outdated = self._db.execute("SELECT value FROM meta WHERE key='luxcli'").fetchone() != (
            self._version,
        )
        if not (outdated or self._unnamed or self._views_stale):
            return
        # Naming is rare, and loading the table costs as much as the poll itself.
        from luxcli.registers import catalogue

        registers = {
            (kind, index): catalogue.register(GROUPS[kind], index) for kind, index in self._known
        }
        if outdated:
            self._db.execute("DELETE FROM label")
        for key in self._known if outdated else self._unnamed:
            register = registers[key]
            self._db.execute(
                "INSERT OR REPLACE INTO register VALUES (?,?,?,?,?,?,?,?)",
                (
                    *(*key, register.id, register.name, register.kind),
                    *(register.unit, register.scale, register.offset),
                ),
            )
            self._db.executemany(
                "INSERT OR REPLACE INTO label VALUES (?,?,?)",
                [(register.id, code, text) for code, text in register.labels.items()],
            )
        ordered = [registers[key] for key in sorted(self._known)]
        for statement in schema.view_statements(ordered, frozenset(self._columns), self._constants):
            self._db.execute(statement)
        self._db.execute("INSERT OR REPLACE INTO meta VALUES ('luxcli',?)", (self._version,))

    def forget_archives_of(self, times: Iterable[int]) -> None:
        """Have the archives of some times written again, whose polls were repaired."""
        self._new_times += times

    def _forget_archives(self) -> None:
        """Forget the archives of days that got something new, so that they are written again."""
        archived_ms = self._db.execute("SELECT max(stop_ms) FROM archive").fetchone()[0] or 0
        # All days that hold a time: after a change of the time zone there may be two.
        late = [
            (ts_ms - _LONGEST_DAY_MS, ts_ms, ts_ms)
            for ts_ms in self._new_times
            if ts_ms < archived_ms
        ]
        self._db.executemany(
            "DELETE FROM archive WHERE start_ms>? AND start_ms<=? AND stop_ms>?", late
        )

    def _has(self, ts_ms: int) -> bool:
        found = self._db.execute("SELECT 1 FROM poll WHERE ts_ms=?", (ts_ms,)).fetchone()
        return found is not None

    def _stored_at(self, ts_ms: int) -> Snapshot:
        if ts_ms not in self._at:
            self._at |= reader.polls_at(self._db, [ts_ms])
        if ts_ms not in self._at:
            path = self._db.execute("PRAGMA database_list").fetchone()[2]
            raise DamagedError(f"{path}: the poll of {ts_ms} ms differs from its checksum")
        return self._at[ts_ms]

    def _settings_crc(self, snapshot: Snapshot) -> int:
        blocks = (snapshot.parameters, snapshot.visibilities)
        if self._crc is None or self._crc[0] != blocks:
            self._crc = (blocks, settings_crc(*blocks))
        return self._crc[1]

    def _grow(self, fast: dict[int, int]) -> None:
        """Give a column to every calculation that has changed for the first time."""
        if not self._columns and not self._constants:
            self._constants = dict(fast)
            self._db.executemany(
                "INSERT INTO constant VALUES (0,?,?)", list(self._constants.items())
            )
            self._views_stale = True
            return
        for index in fast.keys() - self._constants.keys() - set(self._columns):
            self._add_column(index, "")
        for index, constant in list(self._constants.items()):
            if fast.get(index) != constant:
                self._add_column(index, f" DEFAULT {constant}")
                del self._constants[index]
                self._db.execute("DELETE FROM constant WHERE kind=0 AND idx=?", (index,))

    def _add_column(self, index: int, default: str) -> None:
        if not self._views_stale:
            # SQLite parses every view again for each column that is added.
            for view in schema.VIEWS:
                self._db.execute(f"DROP VIEW IF EXISTS {view}")
        self._db.execute(f"ALTER TABLE poll ADD COLUMN c{index} INTEGER{default}")
        self._columns.append(index)
        self._views_stale = True

    def _log_settings(self, ts_ms: int, snapshot: Snapshot) -> None:
        """Log the settings that differ from the poll before; later polls keep theirs."""
        if not self._cursor.fits(ts_ms):
            self._cursor = self._cursor_at(ts_ms)
        cursor = self._cursor
        _fast, slow_indices = self._split(len(snapshot.calculations))
        slow = {index: snapshot.calculations[index] for index in slow_indices}
        settings = (snapshot.parameters, snapshot.visibilities, slow)
        if settings != cursor.settings:
            present: dict[Key, int | None] = {(0, index): raw for index, raw in slow.items()}
            present |= {(1, index): raw for index, raw in enumerate(snapshot.parameters)}
            present |= {(2, index): raw for index, raw in enumerate(snapshot.visibilities)}
            changed = [
                (key, cursor.values.get(key), present.get(key))
                for key in cursor.values.keys() | present.keys()
                if cursor.values.get(key) != present.get(key)
            ]
            # Where damage has taken polls, rows of theirs may still be here.
            self._db.executemany(
                "INSERT OR REPLACE INTO setting VALUES (?,?,?,?)",
                [(*key, ts_ms, here) for key, _before, here in changed],
            )
            if cursor.following is not None:
                self._db.executemany(
                    "INSERT OR IGNORE INTO setting VALUES (?,?,?,?)",
                    [(*key, cursor.following, before) for key, before, _here in changed],
                )
                # A change that was logged there may be none any more.
                self._db.executemany(
                    "DELETE FROM setting WHERE kind=? AND idx=? AND ts_ms=? AND value IS ?",
                    [(*key, cursor.following, here) for key, _before, here in changed],
                )
            cursor.values.update((key, here) for key, _before, here in changed)
            cursor.settings = settings
            self._note_registers(present)
        cursor.ts_ms = ts_ms

    def _cursor_at(self, ts_ms: int) -> _Cursor:
        """Return the cursor before the poll of `ts_ms`, which is in the table already."""
        following = self._db.execute(
            "SELECT min(ts_ms) FROM poll WHERE ts_ms>?", (ts_ms,)
        ).fetchone()[0]
        values = settings_at(self._db, ts_ms)
        # Registers first seen in this transaction are not in the `register` table yet.
        values |= {key: as_of(self._db, key, ts_ms) for key in self._unnamed}
        return _Cursor(ts_ms - 1, following, values)

    def _split(self, length: int) -> tuple[list[int], list[int]]:
        """Return which calculations of a block go into columns, and which into the change log."""
        if length not in self._splits:
            slow = [i for i in range(length) if schema.is_slow(i) and i not in self._always_fast]
            fast = sorted(set(range(length)).difference(slow))
            self._splits[length] = (fast, slow)
        return self._splits[length]

    def _note_registers(self, keys: Iterable[Key]) -> None:
        new = set(keys) - self._known
        if new:
            self._known |= new
            self._unnamed |= new


def ingest(
    db: "Connection",
    version: str,
    polls: Sequence[Snapshot],
    missed: Sequence[MissedPoll],
    stored: dict[int, Snapshot] | None = None,
    repairs: Sequence[Repair] = (),
) -> tuple[int, int]:
    """Put everything into the tables.

    Args:
        db: In a transaction.
        version: That of luxcli.
        polls: In any order.
        missed: In any order.
        stored: Takes the polls by the time under which they are stored.
        repairs: Of wrong times; those of polls in the tables, or among these, are applied.

    Returns:
        How many polls and how many missed polls were new.

    Raises:
        DamagedError: A poll that may be the same as one of these differs from its checksum.
    """
    again = record_repairs(db, repairs) if repairs else []
    polls = [*Repairs(stored_repairs(db)).apply(polls), *again]
    writer = Writer(db, version)
    writer.look_up(polls)
    new_polls = 0
    for poll in _in_time_order(polls):
        ts_ms, is_new = writer.add_poll(poll)
        new_polls += is_new
        if stored is not None:
            stored[ts_ms] = poll.at(ts_ms)
    new_missed = sum([writer.add_missed(entry) for entry in missed])
    writer.forget_archives_of([each.old_ms for each in repairs])
    writer.finish()
    return new_polls, new_missed


def _in_time_order(polls: Sequence[Snapshot]) -> list[Snapshot]:
    """Sort polls: an out-of-order insert costs more than one in order.

    Polls with the millisecond of an earlier one come last, so that they give way.
    """
    first: dict[int, Snapshot] = {}
    again = [poll for poll in polls if first.setdefault(poll.taken_ms, poll) is not poll]
    return [*sorted(first.values(), key=attrgetter("taken_ms")), *again]


def remove_polls(db: "Connection", cutoff_ms: int) -> None:
    """Remove polls before `cutoff_ms`, but none whose time is doubted: that may be put right.

    Settings in force at the removed polls are dated to the next poll that is left. So each row of
    ``setting`` stands at the time of a poll that is there: `Writer` relies on it.
    """
    db.execute("DELETE FROM poll WHERE ts_ms<? AND NOT flags & 1", (cutoff_ms,))
    # In the same transaction: what an archive holds more would be taken for lost.
    db.execute("UPDATE archive SET entries=0 WHERE start_ms<?", (cutoff_ms,))
    rows = db.execute(
        f"SELECT DISTINCT (SELECT min(p.ts_ms) FROM poll p WHERE p.ts_ms>s.ts_ms) {_WITHOUT_POLL}",
        (cutoff_ms,),
    ).fetchall()
    for following in sorted(ts_ms for (ts_ms,) in rows if ts_ms is not None):
        # One statement for all registers: a poll must not wait for two thousand of them.
        db.execute(
            f"INSERT OR IGNORE INTO setting SELECT kind, idx, ?, value FROM ({SETTINGS_AT})"
            " WHERE value IS NOT NULL OR EXISTS (SELECT 1 FROM poll WHERE ts_ms<?)",
            (following, following, following),
        )
    db.execute(
        "DELETE FROM setting WHERE (kind, idx, ts_ms) IN"
        f" (SELECT s.kind, s.idx, s.ts_ms {_WITHOUT_POLL})",
        (cutoff_ms,),
    )


def remove_records(db: "Connection", cutoff_ms: int) -> None:
    """Remove missed polls and records of CSVs before `cutoff_ms`.

    Records of archives stay, as the archives do; this database holds nothing of them any more.
    """
    db.execute("DELETE FROM missed WHERE ts_ms<? AND NOT flags & 1", (cutoff_ms,))
    db.execute("DELETE FROM rollup WHERE period_stop_ms<?", (cutoff_ms,))
    db.execute("UPDATE archive SET entries=0 WHERE start_ms<?", (cutoff_ms,))
