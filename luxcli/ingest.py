"""Puts polls into the cache's tables, inside a transaction that `storage` opened.

Polls may come in any order and more than once: a poll that is stored already changes nothing, and
one that is older than others (a clock that stepped back, a restored archive) is threaded into the
change log without altering what is read for any other poll.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from luxcli import schema
from luxcli.model import GROUPS, Missed, Snapshot

if TYPE_CHECKING:
    from sqlite3 import Connection

Key = tuple[int, int]  # kind (index into GROUPS), register index


class Writer:
    """Adds polls and missed ticks through `db`; call `finish` before the transaction commits."""

    def __init__(self, db: "Connection", version: str) -> None:
        self._db, self._version = db, version
        self._columns, self._constants = layout(db)
        self._newest: int | None = db.execute("SELECT max(ts_ms) FROM poll").fetchone()[0]
        self._known: set[Key] = set(db.execute("SELECT kind, idx FROM register"))
        self._unnamed: set[Key] = set()
        self._current: dict[Key, int | None] | None = None
        self._last_settings: tuple[object, ...] = ()
        self._views_stale = False

    def add_poll(self, snapshot: Snapshot) -> bool:
        """Store one poll; False when it is stored already.

        A different poll with the same millisecond (the clock had stepped back) gets the next
        free one: losing it would be worse.
        """
        fast = {i: raw for i, raw in enumerate(snapshot.calculations) if not schema.is_slow(i)}
        ts_ms = snapshot.taken_ms
        while (stored := self._stored(ts_ms)) is not None:
            if stored == (snapshot.took_ms, snapshot.tries, fast):
                return False
            ts_ms += 1
        self._grow(fast)
        names = "".join(f",c{index}" for index in self._columns)
        marks = ",?" * len(self._columns)
        self._db.execute(
            f"INSERT INTO poll (ts_ms,took_ms,tries{names}) VALUES (?,?,?{marks})",
            (ts_ms, snapshot.took_ms, snapshot.tries, *map(fast.get, self._columns)),
        )
        self._see((0, index) for index in fast)
        self._log_settings(ts_ms, snapshot)
        if self._newest is None or ts_ms > self._newest:
            self._newest = ts_ms
        return True

    def add_missed(self, missed: Missed) -> bool:
        """Store one missed tick; False when it is stored already."""
        cursor = self._db.execute(
            "INSERT INTO missed VALUES (?,?,?,?,?) ON CONFLICT DO NOTHING",
            (missed.ts_ms, missed.reason, missed.tries, missed.took_ms, missed.detail),
        )
        return cursor.rowcount == 1

    def finish(self) -> None:
        """Name new registers and rebuild the views if they no longer fit."""
        outdated = self._db.execute("SELECT value FROM meta WHERE key='luxcli'").fetchone() != (
            self._version,
        )
        if not (outdated or self._unnamed or self._views_stale):
            return
        # Naming is rare and needs python-luxtronik, which costs as much as the poll itself.
        from luxcli import sensors

        registers = {
            (kind, index): sensors.register(GROUPS[kind], index) for kind, index in self._known
        }
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
        for statement in schema.view_statements(
            calculations, frozenset(self._columns), self._constants
        ):
            self._db.execute(statement)
        self._db.execute("INSERT OR REPLACE INTO meta VALUES ('luxcli',?)", (self._version,))

    def _stored(self, ts_ms: int) -> tuple[int, int, dict[int, int]] | None:
        """Return duration, tries and fast calculations of the poll at `ts_ms`, if there is one."""
        names = "".join(f",c{index}" for index in self._columns)
        row = self._db.execute(
            f"SELECT took_ms,tries{names} FROM poll WHERE ts_ms=?",
            (ts_ms,),
        ).fetchone()
        if row is None:
            return None
        varying = {i: raw for i, raw in zip(self._columns, row[2:], strict=True) if raw is not None}
        return row[0], row[1], {**self._constants, **varying}

    def _grow(self, fast: dict[int, int]) -> None:
        """Give a column to every calculation that is no longer what it always was."""
        if self._newest is None and not self._columns and not self._constants:
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
        self._db.execute(f"ALTER TABLE poll ADD COLUMN c{index} INTEGER{default}")
        self._columns.append(index)
        self._views_stale = True

    def _log_settings(self, ts_ms: int, snapshot: Snapshot) -> None:
        slow = {i: raw for i, raw in enumerate(snapshot.calculations) if schema.is_slow(i)}
        late = self._newest is not None and ts_ms < self._newest
        settings = (snapshot.parameters, snapshot.visibilities, slow)
        if not late and settings == self._last_settings:
            return
        present: dict[Key, int | None] = {(0, index): raw for index, raw in slow.items()}
        present |= {(1, index): raw for index, raw in enumerate(snapshot.parameters)}
        present |= {(2, index): raw for index, raw in enumerate(snapshot.visibilities)}
        current = self._load_current()
        if late:
            self._thread_in(ts_ms, present, current.keys() | present.keys())
        else:
            changed = [
                (*key, ts_ms, present.get(key))
                for key in current.keys() | present.keys()
                if current.get(key) != present.get(key)
            ]
            self._db.executemany("INSERT INTO setting VALUES (?,?,?,?)", changed)
            current.update(((kind, index), raw) for kind, index, _, raw in changed)
            self._last_settings = settings
        self._see(present)

    def _load_current(self) -> dict[Key, int | None]:
        """Return the settings as of the newest poll; read once, then kept up to date."""
        if self._current is None:
            newest = self._newest or 0
            self._current = {
                key: self._as_of(key, newest)
                for key in self._known
                if key[0] > 0 or schema.is_slow(key[1])
            }
        return self._current

    def _thread_in(self, ts_ms: int, present: dict[Key, int | None], keys: Iterable[Key]) -> None:
        """Log the settings of a poll that lies before others, leaving those as they read."""
        following = self._db.execute(
            "SELECT min(ts_ms) FROM poll WHERE ts_ms>?", (ts_ms,)
        ).fetchone()[0]
        for key in keys:
            before, here = self._as_of(key, ts_ms), present.get(key)
            if here == before:
                continue
            self._db.execute("INSERT INTO setting VALUES (?,?,?,?)", (*key, ts_ms, here))
            self._db.execute(
                "INSERT INTO setting VALUES (?,?,?,?) ON CONFLICT DO NOTHING",
                (*key, following, before),
            )

    def _as_of(self, key: Key, ts_ms: int) -> int | None:
        row = self._db.execute(
            "SELECT value FROM setting WHERE kind=? AND idx=? AND ts_ms<=?"
            " ORDER BY ts_ms DESC LIMIT 1",
            (*key, ts_ms),
        ).fetchone()
        return None if row is None else row[0]

    def _see(self, keys: Iterable[Key]) -> None:
        new = set(keys) - self._known
        if new:
            self._known |= new
            self._unnamed |= new


def layout(db: "Connection") -> tuple[list[int], dict[int, int]]:
    """Return the calculations that have a column in ``poll``, and the constant ones' values."""
    names = [row[1] for row in db.execute("PRAGMA table_info(poll)")]
    columns = [int(name[1:]) for name in names if name[1:].isdigit()]
    return columns, dict(db.execute("SELECT idx, value FROM constant WHERE kind=0"))
