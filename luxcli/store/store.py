"""Everything that is kept of a heat pump: a durable buffer in front of a SQLite database.

`Store.add` returns when a poll is safe in the buffer (one append, one fsync); every
``flush_polls`` polls the buffer goes into the database in one transaction. Readers flush first, so
they always see everything. If the database is locked, full or damaged, the buffer keeps growing and
nothing is lost. All times are milliseconds since the epoch, UTC; intervals are half-open.

Files beside the database ``NAME``: ``NAME.buffer.jsonl``, ``NAME.rejected.jsonl`` (damaged buffer
lines), ``NAME.lock`` and SQLite's ``NAME-journal``. The directory must be local: neither the locks
nor SQLite are safe on NFS or SMB.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

from luxcli import __version__
from luxcli.errors import DamagedError, StorageError
from luxcli.model import MissedPoll, Snapshot
from luxcli.store import buffer, paths
from luxcli.store.database import Database
from luxcli.system import locks
from luxcli.system.progress import Progress, silent

if TYPE_CHECKING:
    import sqlite3


_LOGGER = logging.getLogger(__name__)
# A flush of a day's backlog or the removal of one day takes well below this on a Raspberry Pi.
_LOCK_WAIT_S = 20.0
_SHORT_WAIT_S = 0.3
# Roll-ups, archives and recovery take minutes on a small machine.
_ROLLUP_WAIT_S = 60.0
# Four hours at a poll every 30 s: a longer backlog goes in several transactions.
_FLUSH_PART = 500
_DAY_MS = 86_400_000
_REMOVAL_S = 600.0

Waiting = buffer.Waiting


class AddResult(NamedTuple):
    """What became of a durable poll: how many polls were flushed, or why the flush failed."""

    flushed: int
    warning: str | None = None


class FlushResult(NamedTuple):
    """What a flush moved into the database; lines that were there already do not count."""

    polls: int
    missed: int
    rejected: int


class Store:
    """Buffer and database of one heat pump. Holds nothing open between calls.

    Args:
        path: The database.
        flush_polls: Polls after which the buffer is flushed.
        lock_wait_s: How long to wait for another process that writes, seconds.

    Attributes:
        database: What was flushed; see there for everything that is only read.
        archive_directory: That of the daily archives.
        buffer_path, rejected_path, lock_path, rollup_lock_path: Files beside the database.
    """

    def __init__(
        self, path: Path, *, flush_polls: int = 20, lock_wait_s: float = _LOCK_WAIT_S
    ) -> None:
        self.path = path
        self.database = Database(path)
        self.archive_directory = path.parent / "archive"
        self.buffer_path = path.with_name(path.name + ".buffer.jsonl")
        self.rejected_path = path.with_name(path.name + ".rejected.jsonl")
        self.lock_path = path.with_name(path.name + ".lock")
        self.rollup_lock_path = path.with_name(path.name + ".rollup.lock")
        self._flush_polls = flush_polls
        self._lock_wait_s = lock_wait_s

    @classmethod
    def open(cls, path: Path, *, flush_polls: int = 20, parents: bool = False) -> Self:
        """Return the store of a database, its directory created where that is safe.

        Args:
            path: The database.
            flush_polls: Polls after which the buffer is flushed.
            parents: Create the directories above as well; otherwise the parent must exist, so
                that a forgotten mount or a typing error does not fill some other disk.

        Raises:
            StorageError: The directory cannot be created; says which one is missing.
        """
        paths.prepare(path, parents=parents)
        return cls(path, flush_polls=flush_polls)

    def check_path(self, *, parents: bool = False) -> None:
        """Check, without creating anything, that `open` would succeed; raises as `open`."""
        paths.check(self.path, parents=parents)

    def quarantined_paths(self) -> list[Path]:
        """Return the damaged databases in quarantine, oldest first.

        Raises:
            StorageError: The directory cannot be read.
        """
        return paths.quarantined_paths(self.path)

    def archive_paths(self) -> list[Path]:
        """Return the daily archives, oldest first.

        Raises:
            IncompatibleError: There is one of a development version.
            StorageError: Their directory is there but cannot be read.
        """
        return paths.archive_paths(self.archive_directory)

    def use_short_timeouts(self) -> None:
        """Wait for locks only as long as a process that was asked to end may take."""
        self._lock_wait_s = self.database.busy_wait_s = _SHORT_WAIT_S

    def rollup_lock(self, *, wait_s: float = _ROLLUP_WAIT_S) -> AbstractContextManager[None]:
        """Keep other roll-ups, with their archives and recovery, from running at the same time.

        Raises:
            LockHeldError: Another process kept the lock for `wait_s` seconds.
            StorageError: The lock cannot be opened.
        """
        return locks.hold(self.rollup_lock_path, wait_s=wait_s)

    def add(self, timestamp: int, data: Snapshot) -> AddResult:
        """Keep one poll: durable when this returns.

        Args:
            timestamp: Time of the poll, ms since the epoch, UTC; overrides ``data.taken_ms``.
            data: The complete snapshot.

        Raises:
            LockHeldError: Another process kept the storage lock.
            StorageError: The poll could be written neither to the buffer nor to the database.
        """
        poll = data._replace(taken_ms=timestamp)
        with self._lock():
            try:
                waiting = buffer.append_poll(self.buffer_path, poll)
            except StorageError as exc:
                # The buffer's disk may be full while the database still has free pages.
                self._write_past_buffer([poll], (), exc)
                return AddResult(1, f"{exc}; stored in the database directly")
            if waiting < self._flush_polls:
                return AddResult(0)
            try:
                return AddResult(self._flush().polls)
            except StorageError as exc:
                return AddResult(0, f"{exc}; {waiting} entries wait in {self.buffer_path}")

    def add_missed(self, missed: MissedPoll) -> None:
        """Keep the reason why a scheduled poll was missed: durable when this returns.

        Raises:
            LockHeldError: Another process kept the storage lock.
            StorageError: The reason could not be written.
        """
        with self._lock():
            try:
                buffer.append_missed(self.buffer_path, missed)
            except StorageError as exc:
                self._write_past_buffer((), [missed], exc)

    def flush(self) -> FlushResult:
        """Move everything from the buffer into the database; repeating it changes nothing.

        Raises:
            LockHeldError: Another process kept the storage lock.
            StorageError: The database could not be written; the buffer is as it was.
        """
        if not self.buffer_path.exists():
            return FlushResult(0, 0, 0)
        with self._lock():
            return self._flush()

    def waiting(self) -> Waiting:
        """Return what waits in the buffer; without the lock, so its last line may still be missing.

        Raises:
            StorageError: The buffer cannot be read.
        """
        return buffer.waiting(self.buffer_path)

    def rejected(self) -> buffer.Content:
        """Return what can now be read of the lines that a flush could not read.

        Raises:
            StorageError: The file cannot be read.
        """
        return buffer.read(self.rejected_path)

    def merge(self, polls: Sequence[Snapshot], missed: Sequence[MissedPoll]) -> FlushResult:
        """Put polls from elsewhere into the database in one transaction; known ones do not count.

        Raises:
            LockHeldError, StorageError: As `flush`.
        """
        with self.writing() as db:
            return self._ingest(db, polls, missed)

    def query(
        self, start: int, stop: int, *, damaged: list[int] | None = None
    ) -> Iterator[Snapshot]:
        """Yield every poll with ``start <= taken_ms < stop`` in time order, as it was sent.

        Streams: memory does not grow with the interval. Flushes first. Each poll is compared with
        its checksum.

        Args:
            start: ms since the epoch, included.
            stop: ms since the epoch, excluded.
            damaged: Takes the times of polls that differ from their checksum; they are left out.
                Without it the first one is an error.

        Raises:
            LockHeldError, StorageError: As `flush`, or the database cannot be read.
        """
        self.flush()
        found: list[int] = [] if damaged is None else damaged
        for snapshot in self.database.polls(start, stop, damaged=found):
            self._refuse(found if damaged is None else ())
            yield snapshot
        self._refuse(found if damaged is None else ())

    def polls_with_waiting(
        self, start: int, stop: int, *, damaged: list[int]
    ) -> Iterator[Snapshot]:
        """Yield the polls of database and buffer in time order, each once; writes nothing.

        Args and raises as `query`.
        """
        from heapq import merge  # not needed by a poll

        # The buffer first: what is flushed meanwhile is then found in both, not in none.
        waiting = buffer.polls(self.buffer_path, start, stop)
        stored = self.database.polls(start, stop, damaged=damaged)
        last_ms = None
        for snapshot in merge(stored, waiting, key=attrgetter("taken_ms")):
            if snapshot.taken_ms != last_ms:
                yield snapshot
            last_ms = snapshot.taken_ms

    def remove_before(self, cutoff: int, progress: Progress = silent) -> int:
        """Remove polls, missed polls and records older than `cutoff`; settings keep their value.

        One transaction per day of data, so that no poll has to wait for a long one. Ends after a
        few minutes; what is left is removed the next time.

        Args:
            cutoff: ms since the epoch.
            progress: Called with how many milliseconds of history of how many are removed.

        Returns:
            Bytes inside the database file that are free for new polls because of it.
        """
        from luxcli.store import sqlite_file, writer

        if not self.database.has_data():
            return 0
        free_before = self.database.free_bytes()
        oldest, _ = self.database.span()
        first, deadline = oldest or 0, time.monotonic() + _REMOVAL_S
        while oldest is not None and oldest < cutoff and time.monotonic() < deadline:
            progress(oldest - first, cutoff - first)
            with self.writing() as db:
                writer.remove_polls(db, min(cutoff, oldest + _DAY_MS))
                oldest, _ = sqlite_file.span(db)
        with self.writing() as db:
            writer.remove_records(db, cutoff)
        return max(0, self.database.free_bytes() - free_before)

    def quarantine(self) -> Path | None:
        """Quarantine the damaged database, so that the next write creates a new one.

        Returns:
            The new name; None if the database is gone, because another process found the damage
            at the same time.

        Raises:
            LockHeldError, StorageError: The database cannot be renamed.
        """
        with self._lock():
            return paths.quarantine(self.path) if self.path.exists() else None

    @contextmanager
    def writing(self) -> Iterator["sqlite3.Connection"]:
        """Open the database for one transaction, under the storage lock."""
        with self._lock(), self.database.transaction() as db:
            yield db

    def _refuse(self, damaged: Sequence[int]) -> None:
        if damaged:
            raise DamagedError(
                f"{self.path}: the poll of {damaged[0]} ms differs from its checksum",
                advice="'luxcli restore' puts it right where an archive holds it",
            )

    def _lock(self) -> AbstractContextManager[None]:
        return locks.hold(self.lock_path, wait_s=self._lock_wait_s)

    def _flush(self) -> FlushResult:
        try:
            if not self.buffer_path.stat().st_size:
                return FlushResult(0, 0, 0)
        except OSError:
            pass  # reading it will say what is wrong
        self._report_if_gone()
        try:
            flushed, rejected, size = self._ingest_all()
        except DamagedError as exc:
            damaged_path = paths.quarantine(self.path)
            _LOGGER.error(
                "%s; quarantined as %s, a new database was created; the next roll-up puts its polls"
                " back from archives and this file",
                *(exc, damaged_path.name),
            )
            flushed, rejected, size = self._ingest_all()
        if rejected:
            buffer.quarantine(self.rejected_path, rejected)
            _LOGGER.error(
                "%s: %d damaged lines moved to %s; 'luxcli restore' tries them again",
                *(self.buffer_path, len(rejected), self.rejected_path),
            )
        buffer.clear(self.buffer_path, size)
        return flushed

    def _ingest_all(self) -> tuple[FlushResult, list[bytes], int]:
        """Store the whole buffer, part by part; return what was new, damaged lines, bytes read."""
        polls = missed = size = 0
        rejected: list[bytes] = []
        for content in buffer.parts(self.buffer_path, _FLUSH_PART):
            flushed = FlushResult(0, 0, 0)
            # The last part may be empty; a first one still brings the schema's views up to date.
            if content.polls or content.missed or not size:
                flushed = self._ingest_checked(content)
            polls, missed, size = polls + flushed.polls, missed + flushed.missed, content.size
            rejected += content.rejected
        return FlushResult(polls, missed, len(rejected)), rejected, size

    @staticmethod
    def _ingest(
        db: "sqlite3.Connection", polls: Sequence[Snapshot], missed: Sequence[MissedPoll]
    ) -> FlushResult:
        from luxcli.store import writer

        return FlushResult(*writer.ingest(db, __version__, polls, missed), rejected=0)

    def _ingest_checked(self, content: buffer.Content) -> FlushResult:
        """Store what the buffer holds and read it back, before the buffer is cleared."""
        # Loaded before the transaction, for whose end others may be waiting.
        from luxcli.store import reader, writer

        with self.database.transaction() as db:
            stored: dict[int, Snapshot] = {}
            new = writer.ingest(db, __version__, content.polls, content.missed, stored)
            flushed = FlushResult(*new, rejected=0)
        with self.database.connect() as db:
            found = reader.polls_at(db, sorted(stored))
            if found != stored:
                raise DamagedError(f"{self.path}: does not read back as it was written")
        return flushed

    def _report_if_gone(self) -> None:
        """Log an error if the database is empty or gone though archives show that there was one."""
        if not self.database.has_data() and self.archive_paths():
            _LOGGER.error(
                "%s: gone or empty though there are archives of it; a new database was created;"
                " the next roll-up puts back what archives hold",
                self.path,
            )

    def _write_past_buffer(
        self, polls: Sequence[Snapshot], missed: Sequence[MissedPoll], reason: StorageError
    ) -> None:
        try:
            with self.database.transaction() as db:
                self._ingest(db, polls, missed)
        except StorageError as exc:
            raise StorageError(f"{reason}; nor can the database be written: {exc}") from exc
