"""The SQLite cache as a file: its place, its polls and times, and what was made from it.

Nothing here looks into the buffer in front of it or locks anything: that is `storage`. All times
are milliseconds since the epoch, UTC; intervals are half-open.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from luxcli.errors import StorageError
from luxcli.model import Chunk, Missed, Snapshot
from luxcli.system import files

if TYPE_CHECKING:
    import sqlite3

    from luxcli.store.tables import Key

# In the name of a cache that was set aside, before the time.
ASIDE = ".damaged-"
_BUSY_WAIT_S = 2.0
_DAY_MS = 86_400_000
# Luxtronik 2 controllers that this program can read were not there before 2010.
_EARLIEST_MS = 1_262_304_000_000


class CacheFile:
    """The cache of one heat pump. Holds nothing open between calls, but see `kept_open`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.archive_directory = path.parent / "archive"
        self._busy_wait_s = _BUSY_WAIT_S
        self._open: sqlite3.Connection | None = None

    def prepare(self, *, parents: bool = False) -> None:
        """Create the directory if it is missing.

        Args:
            parents: Create those above as well; otherwise the parent must exist, so that a
                forgotten mount or a typing error does not fill some other disk.

        Raises:
            StorageError: It cannot be created; says which directory is missing.
        """
        self.check_place(parents=parents)
        directory = self.path.parent
        if directory.is_dir():
            return
        try:
            files.make_directory(directory)
        except OSError as exc:
            raise StorageError(f"{directory}: cannot be created: {exc.strerror}") from exc

    def check_place(self, *, parents: bool = False) -> None:
        """Raise the StorageError of `prepare` where it would create nothing."""
        directory = self.path.parent
        try:
            if self.path.is_dir():
                raise StorageError(f"{self.path}: is a directory; cache_path names a file")
            if directory.is_dir():
                return
            if directory.exists():
                raise StorageError(f"{directory}: is not a directory; correct cache_path")
            if not parents and not directory.parent.is_dir():
                raise StorageError(
                    f"{directory}: neither this directory nor its parent exists;"
                    " create it or correct cache_path"
                )
        except OSError as exc:
            who = f" for uid {os.geteuid()}" if isinstance(exc, PermissionError) else ""
            raise StorageError(f"{directory}: cannot be read{who}: {exc.strerror}") from exc

    def set_aside_paths(self) -> list[Path]:
        """Return the caches that were set aside, oldest first.

        Raises:
            StorageError: The directory cannot be read.
        """
        start = self.path.name + ASIDE
        found = [path for path in _listed(self.path.parent) if path.name.startswith(start)]
        return [path for path in found if not path.name.endswith("-journal")]

    def archive_paths(self) -> list[Path]:
        """Return the daily archives, oldest first.

        Raises:
            StorageError: Their directory is there but cannot be read.
        """
        found = _listed(self.archive_directory)
        return [path for path in found if path.name.endswith(".luxlog.gz")]

    def series(
        self, keys: "Sequence[Key]", start: int, stop: int, *, damaged: list[int]
    ) -> Iterator[Chunk]:
        """Yield the raw values of some registers for ``start <= ts_ms < stop`` in time order.

        No lock is held while the caller works. Does not flush.

        Args:
            keys: ``(kind, index)`` of the registers wanted.
            start: ms since the epoch, included.
            stop: ms since the epoch, excluded.
            damaged: As for `query`.

        Raises:
            StorageError: The cache cannot be read.
        """
        from luxcli.store import reader

        with self._stretch(start, stop) as (db, low, high):
            yield from reader.chunks(db, keys, low, high, damaged) if db else ()

    def salvage(self, damaged: list[int], unreadable: list[int]) -> Iterator[Snapshot]:
        """Yield what can still be read of a damaged cache, as `reading.salvage`."""
        from luxcli.store import reader, sqlite_file

        with self._connected() as db:
            try:
                oldest, newest = sqlite_file.bounds(db)
            except db.DatabaseError:
                oldest, newest = _EARLIEST_MS, round(time.time() * 1000) + _DAY_MS
            if oldest is not None and newest is not None:
                yield from reader.salvage(db, oldest, newest + 1, damaged, unreadable)

    def known_registers(self) -> "list[Key]":
        """Return ``(kind, index)`` of every register ever stored, sorted."""
        if not self._begun():
            return []
        from luxcli.store import tables

        with self._connected() as db:
            return tables.known_registers(db)

    def span(self) -> tuple[int | None, int | None]:
        """Return the times of the oldest and the newest poll in the cache, None if it is empty."""
        if not self._begun():
            return None, None
        from luxcli.store import sqlite_file

        with self._connected() as db:
            return sqlite_file.bounds(db)

    def missed(self, start: int, stop: int) -> list[Missed]:
        """Return the ticks without a poll in ``start <= ts_ms < stop``."""
        if not self._begun():
            return []
        with self._connected() as db:
            rows = db.execute(
                "SELECT * FROM missed WHERE ts_ms>=? AND ts_ms<? ORDER BY ts_ms", (start, stop)
            )
            return [Missed(*row) for row in rows]

    def last_poll(self, ts_ms: int) -> int | None:
        """Return the time of the last poll in the cache at or before `ts_ms`."""
        with self.reading() as db:
            if db is None:
                return None
            found: int | None = db.execute(
                "SELECT max(ts_ms) FROM poll WHERE ts_ms<=?", (ts_ms,)
            ).fetchone()[0]
            return found

    def next_poll(self, ts_ms: int) -> int | None:
        """Return the time of the first poll in the cache at or after `ts_ms`."""
        with self.reading() as db:
            return None if db is None else _next(db, ts_ms, "poll")

    def next_entry(self, ts_ms: int) -> int | None:
        """Return the time of the first poll or missed tick in the cache at or after `ts_ms`."""
        with self.stepping() as next_entry:
            return next_entry(ts_ms)

    @contextmanager
    def stepping(self) -> Iterator[Callable[[int], int | None]]:
        """Give `next_entry` for many steps: opening the cache takes longer than one of them."""
        with self.reading() as db:
            yield lambda ts_ms: None if db is None else _next(db, ts_ms, "poll", "missed")

    def count(self, start: int, stop: int) -> int:
        """Return how many polls the cache holds in ``start <= ts_ms < stop``."""
        return len(self.times(start, stop))

    def count_entries(self, start: int, stop: int) -> int:
        """Return how many polls and missed ticks the cache holds in ``start <= ts_ms < stop``."""
        return self.count(start, stop) + len(self.missed(start, stop))

    def times_by_day(self, start: int, stop: int) -> Iterator[tuple[int, list[int]]]:
        """Yield ``(begins, times)`` of each 24 hours from `start` on, as `times`.

        The cache is opened once, but nobody who writes waits for more than a day's times.
        """
        with self.reading() as db:
            for begins in range(start, stop, _DAY_MS):
                yield begins, [] if db is None else _times(db, begins, min(begins + _DAY_MS, stop))

    def times(self, start: int, stop: int) -> list[int]:
        """Return the times of the polls in ``start <= ts_ms < stop``."""
        with self.reading() as db:
            return [] if db is None else _times(db, start, stop)

    def check(self) -> None:
        """Look through the whole cache.

        Raises:
            DamagedError: SQLite finds it damaged.
            StorageError: It cannot be read.
        """
        from luxcli.store import sqlite_file

        if self._begun():
            sqlite_file.check(self.path, busy_wait_s=self._busy_wait_s)

    @contextmanager
    def reading(self) -> Iterator["sqlite3.Connection | None"]:
        """Open the cache to read; None if nothing was ever committed."""
        if not self._begun():
            yield None
            return
        with self._connected() as db:
            yield db

    @contextmanager
    def kept_open(self) -> Iterator[None]:
        """Open the cache once for all that is read within the block: opening costs the most.

        Raises:
            StorageError: It cannot be opened, or something read within the block cannot be read.
        """
        if not self._begun():
            yield
            return
        with self._connected() as db:
            self._open = db
            try:
                yield
            finally:
                self._open = None

    @contextmanager
    def _stretch(
        self, start: int, stop: int
    ) -> Iterator[tuple["sqlite3.Connection | None", int, int]]:
        """Open the cache and narrow the interval to what it holds; None if that is nothing."""
        if not self._begun():
            yield None, start, stop
            return
        from luxcli.store import sqlite_file

        with self._connected() as db:
            oldest, newest = sqlite_file.bounds(db)
            if oldest is None or newest is None:
                yield None, start, stop
            else:
                yield db, max(start, oldest), min(stop, newest + 1)

    def _begun(self) -> bool:
        """Whether anything was ever committed; SQLite makes an empty file before that."""
        try:
            return self.path.stat().st_size > 0
        except OSError:
            return False

    def _free_bytes(self) -> int:
        with self._connected() as db:
            pages: int = db.execute("PRAGMA freelist_count").fetchone()[0]
            size: int = db.execute("PRAGMA page_size").fetchone()[0]
            return pages * size

    def _transaction(self) -> AbstractContextManager["sqlite3.Connection"]:
        from luxcli.store import sqlite_file

        return sqlite_file.transaction(self.path, busy_wait_s=self._busy_wait_s)

    def _connected(self) -> AbstractContextManager["sqlite3.Connection"]:
        if self._open:
            return nullcontext(self._open)
        from luxcli.store import sqlite_file

        return sqlite_file.connect(self.path, busy_wait_s=self._busy_wait_s)


def _next(db: "sqlite3.Connection", ts_ms: int, *tables: str) -> int | None:
    """Return the first time at or after `ts_ms` in any of the tables."""
    found = [
        db.execute(f"SELECT min(ts_ms) FROM {table} WHERE ts_ms>=?", (ts_ms,)).fetchone()[0]
        for table in tables
    ]
    return min((time for time in found if time is not None), default=None)


def _times(db: "sqlite3.Connection", start: int, stop: int) -> list[int]:
    rows = db.execute(
        "SELECT ts_ms FROM poll WHERE ts_ms>=? AND ts_ms<? ORDER BY ts_ms", (start, stop)
    )
    return [ts_ms for (ts_ms,) in rows.fetchall()]


def _listed(directory: Path) -> list[Path]:
    """Return what is in a directory, sorted; nothing when it does not exist."""
    try:
        return sorted(directory.iterdir())
    except FileNotFoundError as exc:
        if not directory.is_symlink():
            return []
        raise StorageError(
            f"{directory}: leads to {directory.readlink()}, which is not there: is it mounted?"
        ) from exc
    except OSError as exc:
        raise StorageError(f"{directory}: cannot be read: {exc.strerror}") from exc
