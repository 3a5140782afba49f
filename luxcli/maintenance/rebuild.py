"""Rebuilds the database from archives, journals and quarantined databases.

Each poll has a second copy: in the archive of its day, or in its journal until that archive is
written. A new database takes in the journals with its first flushes; the rest is done here, by the
next roll-up (`complete`) or by ``luxcli restore``. Recovered polls are inserted by the same code as
new ones, so repeating it changes nothing. Transactions are small, so that no poll has to wait for a
long one.
"""

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import date, tzinfo
from pathlib import Path
from typing import Final

from luxcli import times
from luxcli.config.config import Config
from luxcli.errors import DamagedError, StorageError, UsageError
from luxcli.maintenance import archive, copies, document, merging, quarantined
from luxcli.maintenance.restored import Restored, Source
from luxcli.model import MissedPoll, Repair, Snapshot
from luxcli.store import ledger, owner
from luxcli.store.ledger import ArchiveRecord, RebuildRecord
from luxcli.store.store import Store
from luxcli.system.clock import SYSTEM_CLOCK, Clock
from luxcli.system.progress import Progress, silent

_LOGGER = logging.getLogger(__name__)
# A year of polls takes about a third of it on a Raspberry Pi. Hourly runs must not overlap.
_LIMIT_S: Final = 2400.0
_DAY_MS: Final = 86_400_000
_EVER: Final = 1 << 62
_GOES_ON: Final = "the next 'luxcli rollup daily' goes on there"


def restore(
    config: Config,
    *,
    now_ms: int,
    zone: tzinfo,
    since: date | None = None,
    until: date | None = None,
    any_pump: bool = False,
    progress: Progress = silent,
) -> Restored:
    """Insert the polls of archives, quarantined databases and damaged lines of journals.

    Args:
        config: Says where the database is.
        now_ms: UTC.
        zone: Time zone of the user, for `since` and `until`.
        since: First local day, None for all.
        until: Last local day, None for all.
        any_pump: Polls are taken whatever their serial number is.
        progress: Receives numbers of files.

    Raises:
        UsageError: `until` is before `since`.
        LockHeldError: A roll-up or another restore is at work.
        StorageError: The database cannot be written, or the archives cannot be listed.
    """
    if since and until and until < since:
        raise UsageError(f"--until {until} is before --since {since}")
    store = Store.open(config.cache_path, parents=config.may_create_parents)
    low = archive.bounds(since, zone)[0] if since else 0
    high = archive.bounds(until, zone)[1] if until else _EVER
    with store.rollup_lock():
        _quarantine_damaged(store)
        run = _Run(config, store, now_ms, zone, progress)
        run.low, run.high, run.takes_any_pump = low, high, any_pump
        sources = run.rebuild(store.archive_paths(), store.quarantined_paths())
        if os.path.lexists(store.rejected_path):
            sources.append(merging.from_rejected(store, low, high, any_pump=any_pump))
        if (low, high) == (0, _EVER):
            run.mark_complete()
    return Restored(tuple(sources))


def recreate(
    config: Config,
    damage: DamagedError,
    *,
    now_ms: int,
    zone: tzinfo,
    progress: Progress = silent,
) -> list[str]:
    """Quarantine a damaged database and begin to rebuild it.

    Args:
        config: Says where the database is.
        damage: The failure that showed the damage.
        now_ms: UTC.
        zone: Time zone of the user.
        progress: As `complete`.

    Returns:
        Messages for the user.

    Raises:
        LockHeldError: A roll-up or another restore is at work.
        StorageError: The new database cannot be written.
    """
    damaged_path = Store.open(config.cache_path, parents=config.may_create_parents).quarantine()
    name = damaged_path.name if damaged_path else "another file by another process"
    restored = complete(config, now_ms=now_ms, zone=zone, progress=progress)
    return [
        f"{damage.what}; quarantined as {name} and rebuilt: {restored.describe()}",
        *restored.problems,
    ]


def complete(
    config: Config,
    *,
    now_ms: int,
    zone: tzinfo,
    clock: Clock = SYSTEM_CLOCK,
    progress: Progress = silent,
) -> Restored:
    """Put back what the database lacks, as far as polls are kept; for the hourly roll-up.

    That are all archives of which it has no record: of a new one, of an older one that was put
    back from a backup, of one that was replaced during a rebuild. A new one also gets what
    quarantined databases still give.

    How far back is reckoned from the newest poll whose time is not doubted: by a wrong clock all
    polls might be too old. Ends after some minutes; the next run goes on where this one ended.

    Args:
        config: Says where the database is, and how long polls are kept.
        now_ms: UTC.
        zone: Time zone of the user.
        clock: Says when it has taken long enough.
        progress: Receives numbers of files.

    Raises:
        DamagedError: The database is damaged.
        LockHeldError: A roll-up or another restore is at work.
        StorageError: The database cannot be written.
    """
    store = Store.open(config.cache_path, parents=config.may_create_parents)
    # Fails if the database is damaged, before a CSV is written from it.
    store.flush(past_unreadable=True)
    if ledger.is_complete(store) and not copies.lacking(config, store, now_ms=now_ms, zone=zone):
        return Restored(())
    with store.rollup_lock():
        run = _Run(config, store, now_ms, zone, progress)
        run.clock, run.deadline = clock, clock.monotonic() + _LIMIT_S
        run.low, run.takes_doubted = copies.kept_from(config, store, now_ms, zone), True
        archives = copies.lacking(config, store, now_ms=now_ms, zone=zone)
        quarantined_paths = [] if ledger.is_complete(store) else store.quarantined_paths()
        sources = run.rebuild(archives, quarantined_paths)
        if not run.is_late:
            run.mark_complete()
    return Restored(tuple(sources))


def _quarantine_damaged(store: Store) -> None:
    """Quarantine the database if any of it is damaged; then it is rebuilt."""
    try:
        store.flush()
        store.database.check()
        for _poll in store.query(0, _EVER):
            pass
    except DamagedError as exc:
        damaged_path = store.quarantine()
        name = damaged_path.name if damaged_path else "-"
        _LOGGER.error("%s; quarantined as %s and rebuilt", exc.what, name)
        store.flush()


class _Run:
    """One run through all sources.

    Args:
        config: Says whose archives may be read.
        store: The database to put polls into; the caller holds its lock of roll-ups.
        now_ms: UTC.
        zone: Time zone of the user.
        progress: Receives numbers of files.

    Attributes:
        low: UTC ms, included; older polls are left out.
        high: UTC ms, excluded.
        takes_doubted: Polls with a doubted time are taken from whatever time.
        takes_any_pump: Polls of other heat pumps are taken.
        clock: Says when `deadline` is over.
        deadline: When to end, to go on there in the next run; None for what a user asked for.
        is_late: The time was over before the last source.
    """

    def __init__(
        self, config: Config, store: Store, now_ms: int, zone: tzinfo, progress: Progress
    ) -> None:
        self._config, self._store, self._now_ms = config, store, now_ms
        self._zone, self._progress = zone, progress
        self.low, self.high = 0, _EVER
        self.takes_doubted = self.takes_any_pump = False
        self._file = _file_of(store)
        self.clock = SYSTEM_CLOCK
        self.deadline: float | None = None
        self.is_late = False

    def rebuild(self, archives: Sequence[Path], databases: Sequence[Path]) -> list[Source]:
        """Insert the polls of archives and quarantined databases; return what came from each."""
        if archives and not self.takes_any_pump:
            owner.reserve_directory(self._store.archive_directory, self._config.cache_path)
        paths = [*archives, *databases]
        sources: list[Source] = []
        first, reached_ms = self._reached(paths)
        for number, path in enumerate(paths[first:], first):
            if self._is_over():
                problem = f"{path}: not read yet; {_GOES_ON}"
                return [*sources, Source(path, 0, 0, problem)]
            if number < len(archives):
                source = self._from_archive(path)
            else:
                source = self._from_database(path, reached_ms if number == first else 0)
            if source:
                sources.append(source)
                if not self.is_late:
                    self._record_progress(path)
            self._progress(number + 1, len(paths))
        return sources

    def _reached(self, paths: Sequence[Path]) -> tuple[int, int]:
        """Return the number of the source at which earlier runs ended, and how far in it."""
        record = ledger.rebuild_record(self._store) if self.deadline else None
        for number, path in enumerate(paths):
            if record and path.name == record.name:
                is_whole = record.reached_ms is None
                return (number + 1, 0) if is_whole else (number, record.reached_ms or 0)
        return 0, 0

    def mark_complete(self) -> None:
        """Record that there is nothing left to put back, unless that is another database now."""
        if self._store.database.has_data() and self._is_same():
            ledger.record_rebuild(self._store, None)

    def _is_same(self) -> bool:
        """Whether the database is the one that this run has put polls into."""
        self._file = self._file or _file_of(self._store)
        return self._file == _file_of(self._store)

    def _record_progress(self, path: Path, reached_ms: int | None = None) -> None:
        if self.deadline and self._store.database.has_data() and self._is_same():
            ledger.record_rebuild(self._store, RebuildRecord(path.name, reached_ms))

    def _is_over(self) -> bool:
        self.is_late = self.deadline is not None and self.clock.monotonic() > self.deadline
        return self.is_late

    def _from_archive(self, path: Path) -> Source | None:
        """Insert the polls of an archive; None if its day is outside the interval."""
        bounds = copies.bounds_of(path, self._zone)
        # A day more, for archives that were written in another time zone.
        is_outside = bounds is not None and (
            bounds[1] + _DAY_MS <= self.low or bounds[0] - _DAY_MS >= self.high
        )
        if is_outside and not self.takes_doubted:
            return None
        try:
            day = document.read(path)
        except StorageError as exc:
            return Source(path, 0, 0, str(exc))
        self._add_repairs(day.repairs)
        source = self._merge(path, day.polls, day.missed)
        if not source.problem:
            # The record keeps the archive from being read, or written, again.
            self._record(path, day)
        return source

    def _record(self, path: Path, day: document.Day) -> None:
        low, high = day.span
        times_ms = [*(poll.taken_ms for poll in day.polls), *(entry.ts_ms for entry in day.missed)]
        entries = sum(low <= ts_ms < high for ts_ms in times_ms)
        if entries == self._store.database.count_entries(low, high):
            size, now_ms = path.stat().st_size, self._now_ms
            record = ArchiveRecord(low, high, str(path), entries, size, now_ms, now_ms)
            ledger.record_archive(self._store, record)

    def _from_database(self, path: Path, reached_ms: int) -> Source:
        """Insert the polls that SQLite still gives of a quarantined database, day by day."""
        old, low = Store(path), max(self.low, reached_ms)
        days = quarantined.Days(old, self._now_ms, low, self.high)
        polls = _InTime(days.polls(), self._is_over)
        missed: list[MissedPoll] = []
        with suppress(StorageError):
            self._add_repairs(old.database.repairs())
        with suppress(StorageError):
            missed = old.database.missed(self.low, self.high)
        source = self._merge(path, polls, missed)
        with suppress(StorageError):  # then these files are only written once more
            csvs = [*ledger.rollups(old, "daily"), *ledger.rollups(old, "weekly")]
            ledger.merge(self._store, csvs, ledger.archives(old))
        problems = [problem for problem in (source.problem, days.problem(path)) if problem]
        if polls.is_cut:
            self._record_progress(path, polls.last_ms + 1)
            problems.append(f"{path}: read to {times.utc_text(polls.last_ms)}; {_GOES_ON}")
        return replace(source, problem="; ".join(problems)) if problems else source

    def _add_repairs(self, repairs: Sequence[Repair]) -> None:
        """Record repairs of wrong times, which apply to the polls that come then."""
        if repairs:
            self._store.merge((), (), repairs)

    def _merge(self, path: Path, polls: Iterable[Snapshot], missed: Sequence[MissedPoll]) -> Source:
        return merging.merge(
            *(self._store, path, polls, missed, self.low, self.high),
            doubted=self.takes_doubted,
            any_pump=self.takes_any_pump,
        )


class _InTime:
    """Polls in order of time, until the time for them is over.

    Attributes:
        is_cut: More polls may come.
        last_ms: The last poll.
    """

    def __init__(self, polls: Iterator[Snapshot], is_over: Callable[[], bool]) -> None:
        self._polls, self._is_over = polls, is_over
        self.is_cut, self.last_ms = False, 0

    def __iter__(self) -> Iterator[Snapshot]:
        for poll in self._polls:
            yield poll
            self.last_ms = poll.taken_ms
            if self._is_over():
                self.is_cut = True
                return


def _file_of(store: Store) -> int | None:
    """Return what tells the file of a database from another of its name, None if it is missing."""
    try:
        return store.path.stat().st_ino
    except OSError:
        return None
