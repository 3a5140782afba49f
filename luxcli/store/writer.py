"""Puts polls into the cache's tables, inside a transaction that `storage` opened.

Polls may come in any order and more than once: a poll that is stored already changes nothing, and
one that is older than others (a clock that stepped back, a restored archive) is threaded into the
change log without altering what is read for any other poll.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from luxcli.model import GROUPS, Missed, Snapshot
from luxcli.store import schema, views
from luxcli.store.checksums import poll_crc, settings_crc
from luxcli.store.tables import _SETTINGS_AT, Key, as_of, known_registers, layout, settings_at

if TYPE_CHECKING:
    from sqlite3 import Connection

# With a clock set back by two hours, as it once was in places.
_LONGEST_DAY_MS: Final = 26 * 3_600_000


class _Place:
    """Where in the history the last poll went: between `ts_ms` and `following` there is none.

    As long as polls come in order they go on from here, and only differences are looked at;
    finding another place costs a query for each setting.
    """

    def __init__(self, ts_ms: int, following: int | None, values: dict[Key, int | None]) -> None:
        self.ts_ms, self.following, self.values = ts_ms, following, values
        self.settings: tuple[object, ...] = ()

    def holds(self, ts_ms: int) -> bool:
        return self.ts_ms < ts_ms and (self.following is None or ts_ms < self.following)


class Writer:
    """Adds polls and missed ticks through `db`; call `finish` before the transaction commits."""

    def __init__(self, db: "Connection", version: str) -> None:
        self._db, self._version = db, version
        self._columns, self._constants = layout(db)
        # What a cache began with as a column goes on as one, whatever is called slow by now.
        self._always_fast = frozenset((*self._columns, *self._constants))
        self._splits: dict[int, tuple[list[int], list[int]]] = {}
        self._known: set[Key] = set(known_registers(db))
        self._unnamed: set[Key] = set()
        self._place = _Place(0, 0, {})
        self._views_stale = False
        self._new: tuple[int, int] | None = None  # the first and the last poll that was new
        self._new_times: list[int] = []  # of polls and missed ticks
        self._crc: tuple[tuple[tuple[int, ...], tuple[int, ...]], int] | None = None

    def add_poll(self, snapshot: Snapshot) -> tuple[int, bool]:
        """Store one poll; return the time under which it is stored, and whether it is new.

        A different poll with the same millisecond (the clock had stepped back) gets the next
        free one: losing it would be worse.
        """
        fast_indices, _slow = self._split(len(snapshot.calculations))
        fast = {index: snapshot.calculations[index] for index in fast_indices}
        settings = self._settings_crc(snapshot)
        ts_ms = snapshot.taken_ms
        while True:
            head = (ts_ms, snapshot.took_ms, snapshot.tries)
            crc = poll_crc(head, snapshot.calculations, settings)
            stored = self._db.execute("SELECT crc FROM poll WHERE ts_ms=?", (ts_ms,)).fetchone()
            if stored is None:
                break
            if stored[0] == crc:
                return ts_ms, False
            ts_ms += 1
        self._grow(fast)
        names = "".join(f",c{index}" for index in self._columns)
        marks = ",?" * len(self._columns)
        self._db.execute(
            f"INSERT INTO poll (ts_ms,took_ms,tries,crc{names}) VALUES (?,?,?,?{marks})",
            (*head, crc, *map(fast.get, self._columns)),
        )
        self._see((0, index) for index in fast)
        self._log_settings(ts_ms, snapshot)
        first, last = self._new or (ts_ms, ts_ms)
        self._new = (min(first, ts_ms), max(last, ts_ms))
        self._new_times.append(ts_ms)
        return ts_ms, True

    def add_missed(self, missed: Missed) -> bool:
        """Store one missed tick; as `add_poll` where its millisecond is taken."""
        ts_ms = missed.ts_ms
        content = (missed.reason, missed.tries, missed.took_ms, missed.detail)
        while (
            stored := self._db.execute(
                "SELECT reason,tries,took_ms,detail FROM missed WHERE ts_ms=?", (ts_ms,)
            ).fetchone()
        ) is not None:
            if stored == content:
                return False
            ts_ms += 1
        self._db.execute("INSERT INTO missed VALUES (?,?,?,?,?)", (ts_ms, *content))
        self._new_times.append(ts_ms)
        return True

    def finish(self) -> None:
        """Name new registers, rebuild the views if they no longer fit, call late files stale."""
        if self._new:
            # Polls that come after their period was written: a clock was set, days were restored.
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
        # Naming is rare and needs python-luxtronik, which costs as much as the poll itself.
        from luxcli.registers import catalogue

        registers = {
            (kind, index): catalogue.register(GROUPS[kind], index) for kind, index in self._known
        }
        if outdated:
            self._db.execute("DELETE FROM label")
        for key in self._known if outdated else self._unnamed:
            register = registers[key]
            self._db.execute(
                "INSERT OR REPLACE INTO register VALUES (?,?,?,?,?,?)",
                (*key, register.id, register.name, register.unit, register.scale),
            )
            self._db.executemany(
                "INSERT OR REPLACE INTO label VALUES (?,?,?)",
                [(register.id, code, text) for code, text in register.labels.items()],
            )
        calculations = [registers[key] for key in sorted(self._known) if key[0] == 0]
        for statement in views.view_statements(
            calculations, frozenset(self._columns), self._constants
        ):
            self._db.execute(statement)
        self._db.execute("INSERT OR REPLACE INTO meta VALUES ('luxcli',?)", (self._version,))

    def _forget_archives(self) -> None:
        """Let the archives of days that got something new be written anew."""
        archived_ms = self._db.execute("SELECT max(stop_ms) FROM archive").fetchone()[0] or 0
        # Of all days that hold a time: after a change of the time zone there may be two.
        late = [
            (ts_ms - _LONGEST_DAY_MS, ts_ms, ts_ms)
            for ts_ms in self._new_times
            if ts_ms < archived_ms
        ]
        self._db.executemany(
            "DELETE FROM archive WHERE start_ms>? AND start_ms<=? AND stop_ms>?", late
        )

    def _settings_crc(self, snapshot: Snapshot) -> int:
        blocks = (snapshot.parameters, snapshot.visibilities)
        if self._crc is None or self._crc[0] != blocks:
            self._crc = (blocks, settings_crc(*blocks))
        return self._crc[1]

    def _grow(self, fast: dict[int, int]) -> None:
        """Give a column to every calculation that is no longer what it always was."""
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
            # SQLite reads every view anew for each column that is added.
            for view in views.VIEWS:
                self._db.execute(f"DROP VIEW IF EXISTS {view}")
        self._db.execute(f"ALTER TABLE poll ADD COLUMN c{index} INTEGER{default}")
        self._columns.append(index)
        self._views_stale = True

    def _log_settings(self, ts_ms: int, snapshot: Snapshot) -> None:
        """Log what differs from the settings before, leaving what later polls read as it was."""
        if not self._place.holds(ts_ms):
            self._place = self._place_at(ts_ms)
        place = self._place
        _fast, slow_indices = self._split(len(snapshot.calculations))
        slow = {index: snapshot.calculations[index] for index in slow_indices}
        settings = (snapshot.parameters, snapshot.visibilities, slow)
        if settings != place.settings:
            present: dict[Key, int | None] = {(0, index): raw for index, raw in slow.items()}
            present |= {(1, index): raw for index, raw in enumerate(snapshot.parameters)}
            present |= {(2, index): raw for index, raw in enumerate(snapshot.visibilities)}
            changed = [
                (key, place.values.get(key), present.get(key))
                for key in place.values.keys() | present.keys()
                if place.values.get(key) != present.get(key)
            ]
            self._db.executemany(
                "INSERT INTO setting VALUES (?,?,?,?)",
                [(*key, ts_ms, here) for key, _before, here in changed],
            )
            if place.following is not None:
                self._db.executemany(
                    "INSERT INTO setting VALUES (?,?,?,?) ON CONFLICT DO NOTHING",
                    [(*key, place.following, before) for key, before, _here in changed],
                )
                # What was logged there as a change may have become none.
                self._db.executemany(
                    "DELETE FROM setting WHERE kind=? AND idx=? AND ts_ms=? AND value IS ?",
                    [(*key, place.following, here) for key, _before, here in changed],
                )
            place.values.update((key, here) for key, _before, here in changed)
            place.settings = settings
            self._see(present)
        place.ts_ms = ts_ms

    def _place_at(self, ts_ms: int) -> "_Place":
        """Return the settings in force before `ts_ms`, whose poll is stored already."""
        following = self._db.execute(
            "SELECT min(ts_ms) FROM poll WHERE ts_ms>?", (ts_ms,)
        ).fetchone()[0]
        values = settings_at(self._db, ts_ms)
        # What this transaction brought has no line in the register table yet.
        values |= {key: as_of(self._db, key, ts_ms) for key in self._unnamed}
        return _Place(ts_ms - 1, following, values)

    def _split(self, length: int) -> tuple[list[int], list[int]]:
        """Return which calculations of a block go into columns, and which into the change log."""
        if length not in self._splits:
            slow = [i for i in range(length) if schema.is_slow(i) and i not in self._always_fast]
            fast = sorted(set(range(length)).difference(slow))
            self._splits[length] = (fast, slow)
        return self._splits[length]

    def _see(self, keys: Iterable[Key]) -> None:
        new = set(keys) - self._known
        if new:
            self._known |= new
            self._unnamed |= new


def remove_polls(db: "Connection", cutoff_ms: int) -> None:
    """Remove polls before `cutoff_ms`; what the change log said last now begins at the oldest left.

    So each row of ``setting`` stands at the time of a poll that is there: `Writer` relies on it.
    """
    db.execute("DELETE FROM poll WHERE ts_ms<?", (cutoff_ms,))
    first = db.execute("SELECT min(ts_ms) FROM poll").fetchone()[0]
    if first is None:
        db.execute("DELETE FROM setting")
        return
    # Statements for all registers at once: nobody who records waits for two thousand of them.
    db.execute(
        "INSERT OR IGNORE INTO setting SELECT kind, idx, ?, value"
        f" FROM ({_SETTINGS_AT}) WHERE value IS NOT NULL",
        (first, first),
    )
    db.execute(
        "DELETE FROM setting WHERE (kind, idx, ts_ms) IN (SELECT s.kind, s.idx, s.ts_ms"
        " FROM register r CROSS JOIN setting s"
        " WHERE s.kind=r.kind AND s.idx=r.idx AND s.ts_ms<?)",
        (first,),
    )
