"""Everything that is kept of a heat pump: durable journals and a SQLite database.

`Store.add` returns when a poll is safe in the journal of its day (one append, one fsync); every
``flush_polls`` polls what the database lacks of the journals goes into it. Nothing is removed from
a journal by that: the database remembers how far it has taken in each, and a database that is lost
is filled again. Readers read what still waits in the journals beside the database. If the database
is locked, full or damaged, the journals keep growing and nothing is lost. All times are
milliseconds since the epoch, UTC; intervals are half-open.

Files beside the database ``NAME``: ``NAME.polls-YYYY-MM-DD.jsonl`` (journals),
``NAME.rejected.jsonl`` (copies of damaged lines), ``NAME.lock`` (held while the database is
written, not by an append) and SQLite's ``NAME-journal``. The directory must be local: neither the
locks nor SQLite are safe on NFS or SMB.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

from luxcli import __version__
from luxcli.errors import DamagedError, LockHeldError, StorageError
from luxcli.model import MissedPoll, Repair, Snapshot
from luxcli.store import journal, paths
from luxcli.store.database import Database
from luxcli.system import locks
from luxcli.system.progress import Progress, silent

if TYPE_CHECKING:
    import sqlite3


_LOGGER = logging.getLogger(__name__)
# Moving a part of a backlog or the removal of one day takes well below this on a Raspberry Pi.
_LOCK_WAIT_S = 20.0
_POLL_WAIT_S = 1.0  # for the database; the poll's line is durable already
_PAUSE_S = 0.06  # longer than others wait before they try again to get the lock
_SHORT_WAIT_S = 0.3
# Roll-ups, archives and rebuilds take minutes on a small machine.
ROLLUP_WAIT_S = 60.0
_DAY_MS = 86_400_000
_REMOVAL_S = 600.0


class AddResult(NamedTuple):
    """What became of a durable poll: how many polls were flushed, or why the flush failed."""

    flushed: int
    warning: str | None = None


class FlushResult(NamedTuple):
    """What a flush moved into the database; what was there already does not count."""

    polls: int
    missed: int
    rejected: int


def _sum(results: Sequence[FlushResult]) -> FlushResult:
    return FlushResult(*map(sum, zip(*results, strict=True))) if results else FlushResult(0, 0, 0)


class Store:
    """Journals and database of one heat pump. Holds nothing open between calls.

    Args:
        path: The database.
        flush_polls: Polls after which the journals are flushed.
        lock_wait_s: How long to wait for another process that writes, seconds.

    Attributes:
        database: What was flushed; see there for everything that is only read.
        archive_directory: That of the daily archives.
        rejected_path, lock_path, rollup_lock_path: Files beside the database.
    """

    def __init__(
        self, path: Path, *, flush_polls: int = 20, lock_wait_s: float = _LOCK_WAIT_S
    ) -> None:
        self.path = path
        self.database = Database(path)
        self.archive_directory = paths.archive_directory(path)
        self.rejected_path = path.with_name(path.name + ".rejected.jsonl")
        self.lock_path = path.with_name(path.name + ".lock")
        self.rollup_lock_path = path.with_name(path.name + ".rollup.lock")
        self._flush_polls = flush_polls
        self._lock_wait_s = lock_wait_s
        self._has_quarantined = False

    @classmethod
    def open(cls, path: Path, *, flush_polls: int = 20, parents: bool = False) -> Self:
        """Return the store of a database, its directory created where that is safe.

        Args:
            path: The database.
            flush_polls: Polls after which the journals are flushed.
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

    def rollup_lock(self, *, wait_s: float = ROLLUP_WAIT_S) -> AbstractContextManager[object]:
        """Keep other roll-ups, with their archives and recovery, from running at the same time.

        Raises:
            LockHeldError: Another process kept the lock for `wait_s` seconds.
            StorageError: The lock cannot be opened.
        """
        return locks.hold(self.rollup_lock_path, wait_s=wait_s)

    def add(self, timestamp: int, data: Snapshot) -> AddResult:
        """Keep one poll: durable when this returns. Waits for no job that works on the database.

        Args:
            timestamp: Time of the poll, ms since the epoch, UTC; overrides ``data.taken_ms``.
            data: The complete snapshot.

        Raises:
            StorageError: The poll could be written neither to its journal nor to the database.
        """
        poll = data._replace(taken_ms=timestamp)
        try:
            number, before = journal.append(self.path, poll, wait_s=self._lock_wait_s)
        except (LockHeldError, StorageError) as exc:
            # The disk may be full while the database still has free pages.
            self._write_past_journal([poll], (), exc)
            return AddResult(1, exc.text_with("stored in the database directly"))
        if number // self._flush_polls == before // self._flush_polls:
            return AddResult(0)
        try:
            return AddResult(self.flush_some().polls)
        except LockHeldError:
            return AddResult(0)  # a later flush moves more
        except StorageError as exc:
            waits = f"it waits in {journal.path_at(self.path, timestamp)} for a later flush"
            return AddResult(0, exc.text_with(waits))

    def add_missed(self, missed: MissedPoll) -> None:
        """Keep the reason why a scheduled poll was missed: durable when this returns.

        Raises:
            StorageError: The reason could not be written.
        """
        try:
            journal.append(self.path, missed, wait_s=self._lock_wait_s)
        except (LockHeldError, StorageError) as exc:
            self._write_past_journal((), [missed], exc)

    def add_repair(self, repair: Repair) -> None:
        """Keep the repair of a wrong time: durable when this returns.

        Raises:
            LockHeldError: Another process kept the journal.
            StorageError: It could not be written.
        """
        journal.append(self.path, repair, wait_s=self._lock_wait_s)

    def flush(self, *, past_unreadable: bool = False) -> FlushResult:
        """Move into the database what it lacks of the journals; repeating it changes nothing.

        The storage lock is given away between parts. A journal that cannot be read, or that another
        process keeps, is an error when the others are moved; with `past_unreadable` it is none.

        Raises:
            LockHeldError: Another process kept the storage lock, or a journal.
            StorageError: The database could not be written, or a journal not be read; what could
                not be moved waits in the journals.
        """
        from luxcli.store import intake

        moved: list[FlushResult] = []
        while intake.is_behind(self.database):
            if moved:
                time.sleep(_PAUSE_S)
            with self._lock():
                part = self._take_in_part(past_unreadable=past_unreadable)
            if part is None:
                break
            moved.append(part)
        return _sum(moved)

    def flush_some(self) -> FlushResult:
        """Move into the database what a poll has time for: about a second's work.

        A journal that cannot be read is passed over.

        Raises:
            LockHeldError: Another process kept the storage lock.
            StorageError: The database could not be written.
        """
        moved: list[FlushResult] = []
        most = max(journal.PART, 2 * self._flush_polls)
        deadline = time.monotonic() + _POLL_WAIT_S
        with locks.hold(self.lock_path, wait_s=min(_POLL_WAIT_S, self._lock_wait_s)):
            while sum(map(sum, moved)) < most and time.monotonic() < deadline:
                if (part := self._take_in_part(past_unreadable=True)) is None:
                    break
                moved.append(part)
        return _sum(moved)

    def waiting(self, *, past_unreadable: bool = False) -> journal.Waiting:
        """Return what is in the journals and not in the database; all if that cannot be read.

        Raises:
            StorageError: A journal cannot be read; with `past_unreadable` only the directory.
        """
        from luxcli.store import intake

        return intake.waiting(self.database, past_unreadable=past_unreadable)

    def rejected(self) -> Iterator[journal.Part]:
        """Yield what can now be read of the lines that a flush could not read.

        Raises:
            StorageError: The file cannot be read.
        """
        return journal.parts(self.rejected_path)

    def merge(
        self,
        polls: Sequence[Snapshot],
        missed: Sequence[MissedPoll],
        repairs: Sequence[Repair] = (),
    ) -> FlushResult:
        """Put polls from elsewhere into the database in one transaction; known ones do not count.

        Raises:
            LockHeldError, StorageError: As `flush`.
        """
        from luxcli.store import writer

        with self.writing() as db:
            new = writer.ingest(db, __version__, polls, missed, None, repairs)
            return FlushResult(*new, rejected=0)

    def query(
        self, start: int, stop: int, *, damaged: list[int] | None = None
    ) -> Iterator[Snapshot]:
        """Yield every poll with ``start <= taken_ms < stop`` in time order, as it was sent.

        Streams: memory does not grow with the interval. Reads what waits in the journals beside the
        database and writes nothing. Each poll is compared with its checksum.

        Args:
            start: ms since the epoch, included.
            stop: ms since the epoch, excluded.
            damaged: Takes the times of polls that differ from their checksum; they are left out.
                Without it the first one is an error.

        Raises:
            StorageError: The database or a journal cannot be read.
        """
        from luxcli.store import intake

        found: list[int] = [] if damaged is None else damaged
        for snapshot in intake.polls_with_waiting(self.database, start, stop, found):
            self._refuse(found if damaged is None else ())
            yield snapshot
        self._refuse(found if damaged is None else ())

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
        from luxcli.store import timings, writer

        if not self.database.has_data():
            return 0
        free_before = self.database.free_bytes()
        oldest, _ = self.database.span()
        first, deadline = oldest or 0, time.monotonic() + _REMOVAL_S
        while oldest is not None and oldest < cutoff and time.monotonic() < deadline:
            progress(oldest - first, cutoff - first)
            with self.writing() as db:
                writer.remove_polls(db, min(cutoff, oldest + _DAY_MS))
                oldest, _ = timings.span(db)
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

    def _lock(self) -> AbstractContextManager[object]:
        return locks.hold(self.lock_path, wait_s=self._lock_wait_s)

    def _take_in_part(self, *, past_unreadable: bool = False) -> FlushResult | None:
        """Move one part of a journal, None if there is nothing to move; holds the storage lock."""
        # Loaded before the transaction, for whose end others may be waiting.
        from luxcli.store import intake

        self._report_if_gone()
        failures: list[LockHeldError | StorageError] = []
        try:
            moved = intake.take_in_part(self.database, self.rejected_path, failures)
        except DamagedError as exc:
            if self._has_quarantined:
                raise  # a new database does not help
            self._has_quarantined = True
            damaged_path = paths.quarantine(self.path)
            _LOGGER.error(
                "%s; quarantined as %s, a new database was created; a roll-up puts its polls back"
                " from archives and this file",
                *(exc.what, damaged_path.name),
            )
            moved = intake.take_in_part(self.database, self.rejected_path, failures)
        if moved is None and failures and not past_unreadable:
            raise failures[0]
        return None if moved is None else FlushResult(*moved)

    def _report_if_gone(self) -> None:
        """Log an error if the database is empty or gone though archives show that there was one.

        Not if luxcli has quarantined it, which was said.
        """
        is_explained = self.database.has_data() or self.quarantined_paths()
        if not is_explained and self.archive_paths():
            _LOGGER.error(
                "%s: gone or empty though there are archives of it; a new database was created; a"
                " roll-up puts back what archives hold",
                self.path,
            )

    def _write_past_journal(
        self,
        polls: Sequence[Snapshot],
        missed: Sequence[MissedPoll],
        reason: LockHeldError | StorageError,
    ) -> None:
        try:
            self.merge(polls, missed)
        except (LockHeldError, StorageError) as exc:
            raise StorageError(f"{reason.what}; nor can the database be written: {exc}") from exc
