"""What is kept of a heat pump: a durable buffer in front of a SQLite cache.

`Store.add` returns when a poll is safe in the buffer (one append, one fsync); every
``flush_polls`` polls the buffer goes into the cache in one transaction. Readers flush first, so
they always see everything. If the cache is locked, full or damaged the buffer keeps growing and
nothing is lost. All times are milliseconds since the epoch, UTC; intervals are half-open.

Files beside the cache ``NAME``: ``NAME.buffer.jsonl``, ``NAME.rejected.jsonl`` (damaged buffer
lines), ``NAME.lock`` and SQLite's ``NAME-journal``. The directory must be local: neither the locks
nor SQLite are safe on NFS or SMB.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from luxcli import __version__
from luxcli.config.config import Config
from luxcli.errors import DamagedError, StorageError
from luxcli.model import Missed, Snapshot
from luxcli.store import buffer
from luxcli.store.database import ASIDE, CacheFile
from luxcli.system import files, locks
from luxcli.system.progress import Progress, silent

if TYPE_CHECKING:
    import sqlite3


_LOGGER = logging.getLogger(__name__)
# A flush of a day's backlog or the removal of one day takes well below this on a Raspberry Pi.
_LOCK_WAIT_S = 20.0
_HURRY_WAIT_S = 0.3
# Four hours at a poll every 30 s: a longer backlog goes in several transactions.
_FLUSH_PART = 500
_DAY_MS = 86_400_000
_REMOVAL_S = 600.0
_REPORT_WAIT_S = 60.0


class Added(NamedTuple):
    """What became of a poll: always durable; `warning` says why it is not in the cache yet."""

    flushed: int
    warning: str | None = None


class Flushed(NamedTuple):
    """What a flush moved into the cache; lines that were there already do not count."""

    polls: int
    missed: int
    rejected: int


class Store(CacheFile):
    """Buffer and cache of one heat pump. Holds nothing open between calls."""

    def __init__(self, path: Path, *, flush_polls: int = 20) -> None:
        super().__init__(path)
        self.buffer_path = path.with_name(path.name + ".buffer.jsonl")
        self.rejected_path = path.with_name(path.name + ".rejected.jsonl")
        self.lock_path = path.with_name(path.name + ".lock")
        self._flush_polls = flush_polls
        self._lock_wait_s = _LOCK_WAIT_S

    def use_short_timeouts(self) -> None:
        """Wait for locks only as long as a process that was asked to end may take."""
        self._lock_wait_s = self._busy_wait_s = _HURRY_WAIT_S

    def add(self, timestamp: int, data: Snapshot) -> Added:
        """Keep one poll: durable when this returns.

        Args:
            timestamp: Time of the poll, ms since the epoch, UTC; overrides ``data.taken_ms``.
            data: The complete snapshot.

        Raises:
            LockHeldError: Another process kept the storage lock.
            StorageError: It could be written neither to the buffer nor to the cache.
        """
        poll = data
        if timestamp != data.taken_ms:
            poll = Snapshot(
                timestamp,
                *(data.took_ms, data.tries),
                *(data.calculations, data.parameters, data.visibilities),
            )
        with self._locked():
            try:
                waiting = buffer.append_poll(self.buffer_path, poll)
            except StorageError as exc:
                # The buffer's disk may be full while the cache still has free pages.
                self._write_past_buffer([poll], (), exc)
                return Added(1, f"{exc}; stored in the cache directly")
            if waiting < self._flush_polls:
                return Added(0)
            try:
                return Added(self._flush().polls)
            except StorageError as exc:
                return Added(0, f"{exc}; {waiting} entries wait in {self.buffer_path}")

    def add_missed(self, missed: Missed) -> None:
        """Keep the reason why a tick has no poll: durable when this returns.

        Raises:
            LockHeldError: Another process kept the storage lock.
            StorageError: It could not be written.
        """
        with self._locked():
            try:
                buffer.append_missed(self.buffer_path, missed)
            except StorageError as exc:
                self._write_past_buffer((), [missed], exc)

    def flush(self) -> Flushed:
        """Move everything from the buffer into the cache; repeating it changes nothing.

        Raises:
            LockHeldError: Another process kept the storage lock.
            StorageError: The cache could not be written; the buffer is as it was.
        """
        if not self.buffer_path.exists():
            return Flushed(0, 0, 0)
        with self._locked():
            return self._flush()

    def waiting(self) -> buffer.Waiting:
        """Return what waits in the buffer; without the lock, so its last line may still be missing.

        Raises:
            StorageError: The buffer cannot be read.
        """
        return buffer.waiting(self.buffer_path)

    def merge(self, polls: Sequence[Snapshot], missed: Sequence[Missed]) -> Flushed:
        """Put polls from elsewhere into the cache in one transaction; those it has do not count.

        Raises:
            LockHeldError, StorageError: As `flush`.
        """
        with self.writing() as db:
            return _ingest(db, polls, missed)

    def query(
        self, start: int, stop: int, *, damaged: list[int] | None = None
    ) -> Iterator[Snapshot]:
        """Yield every poll with ``start <= taken_ms < stop`` in time order, as it was sent.

        Streams: memory does not grow with the interval. Flushes first. Each poll is compared with
        its checksum.

        Args:
            start: ms since the epoch, included.
            stop: ms since the epoch, excluded.
            damaged: Takes the times of polls that are no longer what was stored; they are left
                out. Without it the first one is an error.

        Raises:
            LockHeldError, StorageError: As `flush`, or the cache cannot be read.
        """
        from luxcli.store import reader

        self.flush()
        found: list[int] = [] if damaged is None else damaged
        with self._stretch(start, stop) as (db, low, high):
            for snapshot in reader.polls(db, low, high, found) if db else ():
                self._refuse(found if damaged is None else ())
                yield snapshot
        self._refuse(found if damaged is None else ())

    def remove_before(self, cutoff: int, progress: Progress = silent) -> int:
        """Remove polls, missed ticks and records older than `cutoff`; settings keep their value.

        One transaction per day of data, so that no poll has to wait for a long one. Ends after a
        few minutes; what is left is removed the next time.

        Args:
            cutoff: ms since the epoch.
            progress: Told how many milliseconds of history of how many are removed.

        Returns:
            Bytes inside the cache file that are free for new polls because of it.
        """
        from luxcli.store import sqlite_file
        from luxcli.store import writer as poll_writer

        if not self._begun():
            return 0
        free_before = self._free_bytes()
        oldest, _ = self.span()
        first, deadline = oldest or 0, time.monotonic() + _REMOVAL_S
        while oldest is not None and oldest < cutoff and time.monotonic() < deadline:
            progress(oldest - first, cutoff - first)
            with self.writing() as db:
                poll_writer.remove_polls(db, min(cutoff, oldest + _DAY_MS))
                oldest, _ = sqlite_file.bounds(db)
        with self.writing() as db:
            db.execute("DELETE FROM missed WHERE ts_ms<?", (cutoff,))
            db.execute("DELETE FROM rollup WHERE period_stop_ms<?", (cutoff,))
            db.execute("DELETE FROM archive WHERE stop_ms<?", (cutoff,))
        return max(0, self._free_bytes() - free_before)

    def set_aside(self) -> Path | None:
        """Rename the damaged cache, so that the next write begins a new one; return its new name.

        None if it is gone: another process found the damage at the same time.

        Raises:
            LockHeldError, StorageError: It cannot be renamed.
        """
        with self._locked():
            return self._set_aside() if self.path.exists() else None

    def mark_salvaged(self, path: Path, suffix: str) -> None:
        """Rename a set-aside cache whose contents are in this one now."""
        _rename(path, path.with_name(path.name + suffix))

    @contextmanager
    def writing(self) -> Iterator["sqlite3.Connection"]:
        """Open the cache for one transaction, under the storage lock."""
        with self._locked(), self._transaction() as db:
            yield db

    def _refuse(self, damaged: Sequence[int]) -> None:
        if damaged:
            raise DamagedError(
                f"{self.path}: the poll of {damaged[0]} ms differs from its checksum;"
                " 'luxcli restore' puts it right where an archive holds it"
            )

    def _locked(self) -> AbstractContextManager[None]:
        return locks.hold(self.lock_path, wait_s=self._lock_wait_s)

    def _flush(self) -> Flushed:
        try:
            if not self.buffer_path.stat().st_size:
                return Flushed(0, 0, 0)
        except OSError:
            pass  # reading it will say what is wrong
        self._tell_if_gone()
        try:
            flushed, rejected, size = self._ingest_all()
        except DamagedError as exc:
            aside = self._set_aside()
            _LOGGER.error(
                "%s; set aside as %s and begun anew; 'luxcli rollup daily' and 'luxcli restore'"
                " put back what can be read",
                *(exc, aside.name),
            )
            flushed, rejected, size = self._ingest_all()
        if rejected:
            buffer.set_aside(self.rejected_path, rejected)
            _LOGGER.error(
                "%s: %d damaged lines set aside in %s",
                *(self.buffer_path, len(rejected), self.rejected_path),
            )
        buffer.clear(self.buffer_path, size)
        return flushed

    def _ingest_all(self) -> tuple[Flushed, list[bytes], int]:
        """Store the whole buffer, part by part; return what was new, damaged lines, bytes read."""
        polls = missed = size = 0
        rejected: list[bytes] = []
        for content in buffer.parts(self.buffer_path, _FLUSH_PART):
            flushed = Flushed(0, 0, 0)
            # The last part may be empty; a first one still brings the schema's views up to date.
            if content.polls or content.missed or not size:
                flushed = self._ingest_checked(content)
            polls, missed, size = polls + flushed.polls, missed + flushed.missed, content.size
            rejected += content.rejected
        return Flushed(polls, missed, len(rejected)), rejected, size

    def _ingest_checked(self, content: buffer.Content) -> Flushed:
        """Store what the buffer holds and read it back, before the buffer forgets it."""
        from luxcli.store import reader

        with self._transaction() as db:
            stored: dict[int, Snapshot] = {}
            flushed = _ingest(db, content.polls, content.missed, stored)
        with self._connected() as db:
            found = reader.among(db, sorted(stored))
            if found != stored:
                raise DamagedError(f"{self.path}: does not read back as it was written")
        return flushed

    def _tell_if_gone(self) -> None:
        """Say so when the cache is empty or gone though archives show that there was one."""
        if not self._begun() and self.archive_paths():
            _LOGGER.error(
                "%s: gone or empty though there was one; begun anew; 'luxcli restore' puts back"
                " what archives hold",
                self.path,
            )

    def _write_past_buffer(
        self, polls: Sequence[Snapshot], missed: Sequence[Missed], reason: StorageError
    ) -> None:
        try:
            with self._transaction() as db:
                _ingest(db, polls, missed)
        except StorageError as exc:
            raise StorageError(f"{reason}; nor can the cache be written: {exc}") from exc

    def _set_aside(self) -> Path:
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        name = f"{self.path.name}{ASIDE}{stamp}"
        aside, count = self.path.with_name(name), 1
        while aside.exists():
            count += 1
            aside = self.path.with_name(f"{name}-{count}")
        _rename(self.path, aside)
        return aside


def report_lock(config: Config) -> AbstractContextManager[None]:
    """Hold what keeps two roll-ups, with their archives and salvage, from running at once."""
    return locks.hold(rollup_lock_path(config), wait_s=_REPORT_WAIT_S)


def rollup_lock_path(config: Config) -> Path:
    """Return the file of `report_lock`."""
    return config.cache_path.with_name(config.cache_path.name + ".rollup.lock")


def open_store(config: Config) -> Store:
    """Return the store of the configured cache, its directory created where that is safe."""
    store = Store(config.cache_path, flush_polls=config.flush_polls)
    store.prepare(parents=is_place_ours(config))
    return store


def is_place_ours(config: Config) -> bool:
    """Whether directories above the cache may be made: only those of the default path."""
    return config.origins.get("cache_path") == "default"


def _ingest(
    db: "sqlite3.Connection",
    polls: Sequence[Snapshot],
    missed: Sequence[Missed],
    stored: dict[int, Snapshot] | None = None,
) -> Flushed:
    """Put everything into the tables; `stored` takes the polls by the time they are stored at."""
    from luxcli.store import writer as poll_writer

    writer = poll_writer.Writer(db, __version__)
    new_polls = 0
    for poll in _in_time_order(polls):
        ts_ms, new = writer.add_poll(poll)
        new_polls += new
        if stored is not None:
            stored[ts_ms] = poll._replace(taken_ms=ts_ms)
    new_missed = sum([writer.add_missed(tick) for tick in missed])
    writer.finish()
    return Flushed(new_polls, new_missed, 0)


def _in_time_order(polls: Sequence[Snapshot]) -> list[Snapshot]:
    """Sort: finding another place in the history costs more than a poll.

    What has the millisecond of one before it comes last, for it is what gives way.
    """
    first: dict[int, Snapshot] = {}
    again = [poll for poll in polls if first.setdefault(poll.taken_ms, poll) is not poll]
    return [*sorted(first.values(), key=attrgetter("taken_ms")), *again]


def _rename(old: Path, new: Path) -> None:
    """Rename a cache together with its journal, which SQLite finds by name."""
    try:
        journal = old.with_name(old.name + "-journal")
        if journal.exists():
            journal.rename(new.with_name(new.name + "-journal"))
        old.rename(new)
        files.sync_directory(old.parent)
    except OSError as exc:
        raise StorageError(f"{old}: cannot be renamed: {exc.strerror}") from exc
