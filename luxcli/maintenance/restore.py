"""Rebuilds the database from archives, quarantined databases and quarantined buffer lines.

Recovered polls are inserted by the same code as new ones, so repeating a restore changes nothing.
Transactions are small, so that no poll has to wait for a long one.
"""

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date, tzinfo
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

from luxcli.config.config import Config
from luxcli.errors import DamagedError, StorageError, UnavailableError, UsageError
from luxcli.maintenance import archive, luxlog
from luxcli.model import MissedPoll, Snapshot
from luxcli.store import ledger, owner
from luxcli.store.store import Store
from luxcli.system.progress import Progress, silent

_LOGGER = logging.getLogger(__name__)
_BATCH: Final = 500
# A year of polls takes about a third of it on a Raspberry Pi. Hourly runs must not overlap.
_RECOVERY_S: Final = 2400.0
_EVER: Final = 1 << 62
# Suffixes of a quarantined database whose polls are in the present one. Where parts could not be
# read it gets the second one, and `prune` never removes it.
_WHOLE: Final = ".salvaged"
_PARTLY: Final = ".salvaged-partly"


@dataclass(frozen=True, slots=True)
class Source:
    """What was recovered from one file.

    Attributes:
        path: The file.
        polls: Polls that were new to the database.
        missed: Missed polls that were new to it.
        problem: Why the file could not be read whole, with its path; None when it could.
    """

    path: Path
    polls: int
    missed: int
    problem: str | None = None

    def __str__(self) -> str:
        recovered = f"{self.polls} polls put back into the database"
        return f"{self.problem}; {recovered}" if self.problem else f"{self.path}: {recovered}"

    def to_json(self) -> dict[str, object]:
        """Return what ``--json`` prints about the file."""
        return {
            "path": str(self.path),
            "polls": self.polls,
            "missed": self.missed,
            "problem": self.problem,
        }


class Restored(NamedTuple):
    """What was recovered from all files."""

    sources: tuple[Source, ...]

    @property
    def problems(self) -> list[str]:
        """What is wrong with the files that could not be read whole."""
        return [source.problem for source in self.sources if source.problem]

    @property
    def polls(self) -> int:
        """Polls that were new to the database."""
        return sum(source.polls for source in self.sources)

    @property
    def missed(self) -> int:
        """Missed polls that were new to the database."""
        return sum(source.missed for source in self.sources)

    def to_json(self) -> dict[str, object]:
        """Return what ``--json`` prints."""
        return {
            "ok": not self.problems,
            "polls": self.polls,
            "missed": self.missed,
            "sources": [source.to_json() for source in self.sources],
        }

    def lines(self) -> list[str]:
        """Return what a person reads, without the problems."""
        # The quarantined lines of the buffer are always one of the sources.
        if len(self.sources) == 1 and not (self.polls or self.missed or self.problems):
            return ["nothing to restore: there is neither an archive nor a quarantined file"]
        return [
            f"{self.polls} polls and {self.missed} missed polls put back from"
            f" {len(self.sources)} {'file' if len(self.sources) == 1 else 'files'}"
        ]


def restore(
    config: Config,
    *,
    zone: tzinfo,
    since: date | None = None,
    until: date | None = None,
    progress: Progress = silent,
) -> list[Source]:
    """Insert the polls of archives, quarantined databases and quarantined buffer lines.

    Args:
        config: Says where the database is.
        zone: Time zone of the user, for `since` and `until`.
        since: First local day, None for all.
        until: Last local day, None for all.
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
        archives = store.archive_paths()
        if archives:
            owner.reserve_directory(store.archive_directory, config.cache_path)
        damaged_paths = store.quarantined_paths()
        # First those whose polls may not be in the database yet.
        damaged_paths.sort(key=is_recovered)
        total = len(archives) + len(damaged_paths) + 1
        sources: list[Source] = []
        for path in archives:
            sources.append(_from_archive(store, path, low, high))
            progress(len(sources), total)
        for path in damaged_paths:
            sources.append(_from_database(store, path, low, high))
            progress(len(sources), total)
        sources.append(_from_rejected(store, low, high))
        progress(total, total)
    return sources


def recreate(config: Config, damage: DamagedError, progress: Progress = silent) -> list[str]:
    """Quarantine a damaged database and create one with the polls that can be read from it.

    Args:
        config: Says where the database is.
        damage: The failure that showed the damage.
        progress: Receives milliseconds of history.

    Returns:
        Messages for the user.

    Raises:
        LockHeldError: A roll-up or another restore is at work.
        StorageError: The new database cannot be written.
    """
    damaged_path = Store.open(config.cache_path, parents=config.may_create_parents).quarantine()
    name = damaged_path.name if damaged_path else "another file by another process"
    message = f"{damage}; quarantined as {name} and recreated with the polls that can be read"
    return [message, *map(str, recover_pending(config, progress))]


def recover_pending(config: Config, progress: Progress = silent) -> list[Source]:
    """Insert the polls of databases that were quarantined since the last call; for the hourly job.

    Args:
        config: Says where the database is.
        progress: Receives milliseconds of history.

    Raises:
        LockHeldError: A roll-up or another restore is at work.
        StorageError: The database cannot be written.
    """
    store = Store.open(config.cache_path, parents=config.may_create_parents)
    store.flush()  # fails if the database is damaged, before a CSV is written from it
    with store.rollup_lock():
        pending = [path for path in store.quarantined_paths() if not is_recovered(path)]
        return [_from_database(store, path, 0, _EVER, progress) for path in pending]


def is_recovered(path: Path) -> bool:
    """Whether a quarantined database has been read as far as it can be; its name says so."""
    return path.name.endswith((_WHOLE, _PARTLY))


def _quarantine_damaged(store: Store) -> None:
    """Quarantine the database if any of it is damaged; then it is recovered like the others."""
    try:
        store.flush()
        store.database.check()
        for _poll in store.query(0, _EVER):
            pass
    except DamagedError as exc:
        damaged_path = store.quarantine()
        name = damaged_path.name if damaged_path else "-"
        _LOGGER.error("%s; quarantined as %s and rebuilt", exc, name)
        store.flush()


def _from_archive(store: Store, path: Path, low: int, high: int) -> Source:
    try:
        day = luxlog.read(path)
    except StorageError as exc:
        return Source(path, 0, 0, str(exc))
    return _merge(store, path, day.polls, day.missed, low, high)


def _from_database(
    store: Store,
    path: Path,
    low: int,
    high: int,
    progress: Progress = silent,
) -> Source:
    old, source = Store(path), _Recovery(time.monotonic() + _RECOVERY_S, progress)
    missed: list[MissedPoll] = []
    with suppress(StorageError):
        missed = old.database.missed(0, _EVER)
    result = _merge(store, path, source.polls(old), missed, low, high)
    with suppress(StorageError):  # then these files are only written once more
        csvs = [*ledger.rollups(old, "daily"), *ledger.rollups(old, "weekly")]
        ledger.merge(store, csvs, ledger.archives(old))
    problems = [problem for problem in (result.problem, source.problem(path)) if problem]
    if problems:
        result = replace(result, problem="; ".join(problems))
    if low == 0 and high == _EVER and source.ended and not is_recovered(path):
        store.mark_recovered(path, _PARTLY if source.unreadable else _WHOLE)
    return result


class _Recovery:
    """Reads a damaged database to its end, a failure or a deadline, and counts what is lost.

    Attributes:
        ended: Nothing more can be read from it, now or later.
        unreadable: Parts of it that cannot be read.
    """

    def __init__(self, deadline: float, progress: Progress) -> None:
        self._deadline, self._progress = deadline, progress
        self._damaged: list[int] = []
        self._unreadable: list[int] = []
        self._failure: StorageError | None = None
        self._late = False
        self.ended = False

    @property
    def unreadable(self) -> int:
        return len(self._unreadable) + (self._failure is not None) + self._late

    def problem(self, path: Path) -> str | None:
        """Return what of the database at `path` could not be read and why, None if all could."""
        texts = [] if self._failure is None else [str(self._failure)]
        if self._late:
            texts.append(f"{path}: not finished in time; the next run reads it once more")
        if self._damaged or self._unreadable:
            texts.append(
                f"{path}: {len(self._damaged)} polls damaged,"
                f" {len(self._unreadable)} parts unreadable"
            )
        return "; ".join(texts) or None

    def polls(self, old: Store) -> Iterator[Snapshot]:
        """Yield the polls that can be read."""
        first: int | None = None
        try:
            for poll in old.database.recover(self._damaged, self._unreadable):
                first = first or poll.taken_ms
                self._progress(poll.taken_ms - first, round(time.time() * 1000) - first)
                yield poll
                if time.monotonic() > self._deadline:
                    self._late = True
                    return
            self.ended = True
        except UnavailableError:
            raise  # it may be read the next time
        except DamagedError as exc:
            self._failure, self.ended = exc, True
        except StorageError as exc:
            # Such as a newer schema, which a newer luxcli can read.
            self._failure = exc


def _from_rejected(store: Store, low: int, high: int) -> Source:
    """Insert quarantined buffer lines that can be read now.

    Such a line may be of a newer luxcli, or refer to settings that another line has.
    """
    path = store.rejected_path
    content = store.rejected()
    result = _merge(store, path, content.polls, content.missed, low, high)
    if content.rejected:
        result = replace(result, problem=f"{path}: {len(content.rejected)} lines cannot be read")
    return result


def _merge(
    store: Store,
    path: Path,
    polls: Iterable[Snapshot],
    missed: Sequence[MissedPoll],
    low: int,
    high: int,
) -> Source:
    """Insert the polls of this heat pump that lie in the interval; count those that were new."""
    ours, foreign = owner.known_serial(store.path), 0
    new_polls = new_missed = 0

    def selected() -> Iterator[Snapshot]:
        nonlocal foreign
        for poll in polls:
            if not low <= poll.taken_ms < high:
                continue
            theirs = owner.serial(poll)
            if ours and theirs and theirs != ours:
                foreign += 1
            else:
                yield poll

    for batch in _batches(selected()):
        new_polls += store.merge(batch, ()).polls
    within = [entry for entry in missed if low <= entry.ts_ms < high] if not foreign else []
    for start in range(0, len(within), _BATCH):
        new_missed += store.merge((), within[start : start + _BATCH]).missed
    problem = f"{path}: {foreign} polls of another heat pump left out" if foreign else None
    return Source(path, new_polls, new_missed, problem)


def _batches(polls: Iterable[Snapshot]) -> Iterator[list[Snapshot]]:
    source = iter(polls)
    while batch := list(islice(source, _BATCH)):
        yield batch
