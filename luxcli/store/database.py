"""The database of one heat pump: what polls, missed polls and registers it holds.

Reads only what was flushed; the journals beside it and the locks are the business of `store`.
All times are milliseconds since the epoch, UTC; intervals are half-open. What asks for times leaves
out polls whose time is doubted, unless it says so: no report and no loop over days may meet 1970.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from luxcli.errors import DamagedError
from luxcli.model import Chunk, MissedPoll, Snapshot
from luxcli.store import paths

if TYPE_CHECKING:
    import sqlite3

    from luxcli.model import Repair
    from luxcli.store import timings
    from luxcli.store.rows import Key

_BUSY_WAIT_S = 2.0
_DAY_MS = 86_400_000
_EVER = 1 << 62


class Database:
    """A SQLite file that need not exist yet. Holds nothing open between calls, but see `kept_open`.

    Args:
        path: The file.
        busy_wait_s: How long to wait for another process's transaction, seconds.
    """

    def __init__(self, path: Path, *, busy_wait_s: float = _BUSY_WAIT_S) -> None:
        self.path = path
        self.busy_wait_s = busy_wait_s
        self._open: sqlite3.Connection | None = None

    def has_data(self) -> bool:
        """Whether anything was ever committed; SQLite makes an empty file before that.

        Raises:
            StorageError: It is neither a file nor missing.
        """
        try:
            size = self.path.stat().st_size
        except OSError:
            size = 0
        if not size:
            self.check_version()
        return size > 0

    def series(
        self, keys: "Sequence[Key]", start: int, stop: int, *, damaged: list[int]
    ) -> Iterator[Chunk]:
        """Yield the raw values of some registers for ``start <= ts_ms < stop`` in time order.

        Polls whose time is doubted are left out. No lock is held while the caller works.

        Args:
            keys: ``(kind, index)`` of the registers wanted.
            start: ms since the epoch, included.
            stop: ms since the epoch, excluded.
            damaged: Takes the times of polls that differ from their checksum; they are left out.

        Raises:
            StorageError: The database cannot be read.
        """
        from luxcli.store import reader

        with self.reading() as db:
            yield from reader.chunks(db, keys, start, stop, damaged) if db else ()

    def polls(self, start: int, stop: int, *, damaged: list[int]) -> Iterator[Snapshot]:
        """Yield every poll with ``start <= taken_ms < stop`` in time order, as it was sent.

        Those whose time is doubted are among them. Args and raises as `series`.
        """
        from luxcli.store import reader

        with self.reading() as db:
            yield from reader.polls(db, start, stop, damaged) if db else ()

    def known_registers(self) -> "list[Key]":
        """Return ``(kind, index)`` of every register ever stored, sorted."""
        if not self.has_data():
            return []
        from luxcli.store import reader

        with self.connect() as db:
            return reader.known_registers(db)

    def check_version(self) -> None:
        """Refuse the file of a development version, see `paths.check_version`."""
        paths.check_version(self.path)

    def span(self) -> tuple[int | None, int | None]:
        """Return the times of the oldest and the newest poll whose time is not doubted."""
        if not self.has_data():
            return None, None
        from luxcli.store import timings

        with self.connect() as db:
            return timings.span(db)

    def missed(self, start: int, stop: int) -> list[MissedPoll]:
        """Return the missed polls in ``start <= ts_ms < stop``."""
        from luxcli.store import reader

        with self.reading() as db:
            if db is None:
                return []
            rows = db.execute(
                "SELECT * FROM missed WHERE ts_ms>=? AND ts_ms<? ORDER BY ts_ms", (start, stop)
            )
            types = (int, str, int, int, str, int, int, int)
            return [MissedPoll(*row) for row in reader.of_types(db, rows.fetchall(), *types)]

    def last_poll(self, ts_ms: int, *, doubted: bool = False) -> int | None:
        """Return the time of the last poll at or before `ts_ms`; on request of the doubted ones."""
        with self.reading() as db:
            if db is None:
                return None
            which = "flags & 1" if doubted else "NOT flags & 1"
            rows = db.execute(f"SELECT max(ts_ms) FROM poll WHERE {which} AND ts_ms<=?", (ts_ms,))
            found: int | None = rows.fetchone()[0]
            return found

    def next_poll(self, ts_ms: int) -> int | None:
        """Return the time of the first poll at or after `ts_ms`."""
        with self.reading() as db:
            return None if db is None else _next(db, ts_ms, "poll", "AND NOT flags & 1")

    def next_entry(self, ts_ms: int) -> int | None:
        """Return the time of the first poll or missed poll at or after `ts_ms`, doubted or not."""
        with self.stepping() as next_entry:
            return next_entry(ts_ms)

    @contextmanager
    def stepping(self) -> Iterator[Callable[[int], int | None]]:
        """Give `next_entry` for many steps: opening the file takes longer than one of them."""
        with self.reading() as db:
            yield lambda ts_ms: None if db is None else _next_entry(db, ts_ms)

    def count(self, start: int, stop: int) -> int:
        """Return the number of polls in ``start <= ts_ms < stop``."""
        return len(self.times(start, stop))

    def count_entries(self, start: int, stop: int) -> int:
        """Return the number of polls and missed polls in ``start <= ts_ms < stop``, all of them."""
        return len(self.times(start, stop, doubted=True)) + len(self.missed(start, stop))

    def timings(
        self, start: int, stop: int, *, runs: tuple[int, int] = (0, 0)
    ) -> "Iterator[list[timings.Row]]":
        """Yield the polls and missed polls of ``start <= ts_ms < stop`` in order, a day at once.

        No writer waits for more than a day. What a row holds: `timings.between`.

        Args:
            start: ms since the epoch, included.
            stop: ms since the epoch, excluded.
            runs: From which time to which an hour of regular polls may be one row.

        Raises:
            DamagedError: It holds something else than times.
            StorageError: The database cannot be read.
        """
        from luxcli.store import timings

        with self.reading() as db:
            while db is not None and (first := _next_entry(db, start)) is not None and first < stop:
                start = min(first + _DAY_MS, stop)
                rows = timings.between(db, first, start, runs)
                if not timings.are_intact(rows):
                    raise DamagedError(
                        f"{self.path}: the times of its polls cannot be read", advice=paths.HEALING
                    )
                yield rows

    def scheduled_before(self, ts_ms: int) -> tuple[int, int] | None:
        """Return scheduled time and interval of the last scheduled poll or missed poll before.

        Before `ts_ms` by its own time. The interval is in seconds.
        """
        from luxcli.store import timings

        with self.reading() as db:
            return None if db is None else timings.scheduled_before(db, ts_ms)

    def scheduled_from(self, ts_ms: int) -> tuple[int, int] | None:
        """Return those of the first one at or after `ts_ms`, as `scheduled_before`."""
        from luxcli.store import timings

        with self.reading() as db:
            return None if db is None else timings.scheduled_from(db, ts_ms)

    def times(self, start: int, stop: int, *, doubted: bool = False) -> list[int]:
        """Return the times of the polls in ``start <= ts_ms < stop``; on request all of them."""
        return self._times("" if doubted else "AND NOT flags & 1", start, stop)

    def doubted(self, start: int = 0, stop: int = _EVER) -> list[int]:
        """Return the times of the polls in ``start <= ts_ms < stop`` whose time is doubted."""
        return self._times("AND flags & 1", start, stop)  # as the condition of the index

    def _times(self, condition: str, start: int, stop: int) -> list[int]:
        select = "SELECT ts_ms FROM poll WHERE ts_ms>=? AND ts_ms<?"
        with self.reading() as db:
            if db is None:
                return []
            rows = db.execute(f"{select} {condition} ORDER BY ts_ms", (start, stop))
            return [ts_ms for (ts_ms,) in rows.fetchall()]

    def polls_at(self, times: Sequence[int]) -> list[Snapshot]:
        """Return the polls of some sorted times; without those that differ from their checksum."""
        from luxcli.store import reader

        with self.reading() as db:
            found = {} if db is None else reader.polls_at(db, times)
            return [found[ts_ms] for ts_ms in sorted(found)]

    def repairs(self) -> "list[Repair]":
        """Return the repairs of wrong times, the oldest first."""
        from luxcli.store import repairs

        with self.reading() as db:
            return [] if db is None else repairs.stored(db)

    def schema_version(self) -> tuple[int, int]:
        """Return the number of the schema in the file, and the newest that this luxcli knows."""
        from luxcli.store import schema

        with self.connect() as db:
            version: int = db.execute("PRAGMA user_version").fetchone()[0]
            return version, schema.NEWEST

    def is_wal(self) -> bool:
        """Whether another program has turned the file to WAL mode; the next write turns it back."""
        from luxcli.store import sqlite_file

        return sqlite_file.is_wal(self.path)

    def free_bytes(self) -> int:
        """Return how many bytes of the file are free for new polls."""
        with self.connect() as db:
            pages: int = db.execute("PRAGMA freelist_count").fetchone()[0]
            size: int = db.execute("PRAGMA page_size").fetchone()[0]
            return pages * size

    def check(self) -> None:
        """Let SQLite look through the whole file; takes seconds for a year.

        The check runs in a thread: Python handles no signal while a statement runs, and ending the
        process must not take that long.

        Raises:
            DamagedError: SQLite finds it damaged.
            StorageError: The file cannot be read.
        """
        with self.reading() as db:
            if db is None:
                return
            results: list[str] = []
            failures: list[Exception] = []

            def quick_check() -> None:
                try:
                    results.extend(row[0] for row in db.execute("PRAGMA quick_check(1)"))
                except Exception as exc:  # raised below; MemoryError is one way to be interrupted
                    failures.append(exc)

            import threading  # not needed by a poll

            thread = threading.Thread(target=quick_check)
            thread.start()
            try:
                thread.join()
            except BaseException:
                db.interrupt()
                thread.join()
                raise
            if failures:
                raise failures[0]
            if results != ["ok"]:
                raise DamagedError(f"{self.path}: damaged ({results[0]})", advice=paths.HEALING)

    @contextmanager
    def reading(self) -> Iterator["sqlite3.Connection | None"]:
        """Open the file to read; None if nothing was ever committed."""
        if not self.has_data():
            yield None
            return
        with self.connect() as db:
            yield db

    @contextmanager
    def kept_open(self) -> Iterator[None]:
        """Open the file once for all that is read within the block: opening costs the most.

        Raises:
            StorageError: The file cannot be opened, or a statement within the block failed.
        """
        if not self.has_data():
            yield
            return
        with self.connect() as db:
            self._open = db
            try:
                yield
            finally:
                self._open = None

    def transaction(self) -> AbstractContextManager["sqlite3.Connection"]:
        """Write within the block, all or nothing; the caller holds the storage lock.

        Raises what `check_version` and `sqlite_file.connect` raise.
        """
        self.check_version()
        from luxcli.store import sqlite_file

        return sqlite_file.transaction(self.path, busy_wait_s=self.busy_wait_s)

    def connect(self) -> AbstractContextManager["sqlite3.Connection"]:
        """Open the file, which must exist.

        Raises what `check_version` and `sqlite_file.connect` raise.
        """
        if self._open:
            return nullcontext(self._open)
        self.check_version()
        from luxcli.store import sqlite_file

        return sqlite_file.connect(self.path, busy_wait_s=self.busy_wait_s)


def check_library() -> None:
    """Check that the SQLite library of this Python is not too old.

    Raises:
        IncompatibleError: It is.
    """
    from luxcli.store import sqlite_file

    sqlite_file.check_library()


def library_version() -> str:
    """Return the version of SQLite that is in use."""
    import sqlite3

    return sqlite3.sqlite_version


def _next(db: "sqlite3.Connection", ts_ms: int, table: str, condition: str = "") -> int | None:
    """Return the first time at or after `ts_ms` in a table."""
    found: int | None = db.execute(
        f"SELECT min(ts_ms) FROM {table} WHERE ts_ms>=? {condition}", (ts_ms,)
    ).fetchone()[0]
    return found


def _next_entry(db: "sqlite3.Connection", ts_ms: int) -> int | None:
    found = [_next(db, ts_ms, table) for table in ("poll", "missed")]
    return min((time for time in found if time is not None), default=None)
