"""Rebuilds the cache from what else there is: archives, set-aside caches, rejected lines.

Everything goes in through the same door as a poll, so nothing is stored twice and repeating it
changes nothing. Small transactions: a poll never has to wait for a long one.
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
# A year on a Raspberry Pi takes about a third of it; an hourly run has to end before the next.
_SALVAGE_S: Final = 2400.0
_EVER: Final = 1 << 62
# What a set-aside cache is called when its contents are in the present one; the second, when parts
# of it could not be read, so that `prune` leaves it to people.
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
        return f"{self.problem or self.path}: {self.polls} polls put back into the database"

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
        return [
            f"{self.polls} polls and {self.missed} missed polls put back from"
            f" {len(self.sources)} files"
        ]


def restore(
    config: Config,
    *,
    zone: tzinfo,
    since: date | None = None,
    until: date | None = None,
    progress: Progress = silent,
) -> list[Source]:
    """Put back into the cache whatever archives, set-aside caches and rejected lines still hold.

    Args:
        config: Says where they are.
        zone: The owner's time zone, for `since` and `until`.
        since: First local day, None for all.
        until: Last local day, None for all.
        progress: Told how many files of how many are done.

    Raises:
        UsageError: `until` is before `since`.
        LockHeldError: A roll-up or another restore is at work.
        StorageError: The cache cannot be written, or the archives not be listed.
    """
    if since and until and until < since:
        raise UsageError(f"--until {until} is before --since {since}")
    store = Store.open(config.cache_path, parents=config.may_create_parents)
    low = archive.bounds(since, zone)[0] if since else 0
    high = archive.bounds(until, zone)[1] if until else _EVER
    with store.rollup_lock():
        _heal(store)
        archives = store.archive_paths()
        if archives:
            owner.reserve_directory(store.archive_directory, config.cache_path)
        aside = store.quarantined_paths()
        aside.sort(key=is_recovered)  # those still to be marked first
        total = len(archives) + len(aside) + 1
        sources: list[Source] = []
        for path in archives:
            sources.append(_from_archive(store, path, low, high))
            progress(len(sources), total)
        for path in aside:
            sources.append(_from_cache(store, path, low, high))
            progress(len(sources), total)
        sources.append(_from_rejected(store, low, high))
        progress(total, total)
    return sources


def recreate(config: Config, damage: DamagedError, progress: Progress = silent) -> list[str]:
    """Begin a new cache with what can be read of the damaged one; return what to tell the user.

    `progress` is told how many milliseconds of history of how many are done.

    Raises:
        LockHeldError: A roll-up or another restore is at work.
        StorageError: The new cache cannot be written.
    """
    aside = Store.open(config.cache_path, parents=config.may_create_parents).quarantine()
    name = aside.name if aside else "another file by another process"
    said = [f"{damage}; set aside as {name} and begun anew with what can be read"]
    return [*said, *map(str, recover_pending(config, progress))]


def recover_pending(config: Config, progress: Progress = silent) -> list[Source]:
    """Put back what caches hold that were set aside since the last time; for the hourly job.

    `progress` is told how many milliseconds of history of how many are done.
    """
    store = Store.open(config.cache_path, parents=config.may_create_parents)
    store.flush()  # finds out whether the cache is damaged before a report is made from it
    with store.rollup_lock():
        pending = [path for path in store.quarantined_paths() if not is_recovered(path)]
        return [_from_cache(store, path, 0, _EVER, progress) for path in pending]


def is_recovered(path: Path) -> bool:
    """Whether what can be read of a set-aside cache has been put back, by its name."""
    return path.name.endswith((_WHOLE, _PARTLY))


def _heal(store: Store) -> None:
    """Set the cache aside if any of it is damaged: the good parts come back with the rest."""
    try:
        store.flush()
        store.database.check()
        for _poll in store.query(0, _EVER):
            pass
    except DamagedError as exc:
        aside = store.quarantine()
        _LOGGER.error("%s; set aside as %s and built anew", exc, aside.name if aside else "-")
        store.flush()


def _from_archive(store: Store, path: Path, low: int, high: int) -> Source:
    try:
        day = luxlog.read(path)
    except StorageError as exc:
        return Source(path, 0, 0, str(exc))
    return _merged(store, path, day.polls, day.missed, low, high)


def _from_cache(
    store: Store,
    path: Path,
    low: int,
    high: int,
    progress: Progress = silent,
) -> Source:
    old, source = Store(path), _Salvage(time.monotonic() + _SALVAGE_S, progress)
    missed: list[MissedPoll] = []
    with suppress(StorageError):
        missed = old.database.missed(0, _EVER)
    result = _merged(store, path, source.polls(old), missed, low, high)
    with suppress(StorageError):  # else those files are written once more
        csvs = [*ledger.rollups(old, "daily"), *ledger.rollups(old, "weekly")]
        ledger.merge(store, csvs, ledger.archives(old))
    problems = [problem for problem in (result.problem, source.problem(path)) if problem]
    if problems:
        result = replace(result, problem="; ".join(problems))
    if low == 0 and high == _EVER and source.ended and not is_recovered(path):
        store.mark_recovered(path, _PARTLY if source.unreadable else _WHOLE)
    return result


class _Salvage:
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
        """Yield what can be read."""
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
    """Rejected lines may be whole after all: written by a newer luxcli, or refer to settings."""
    path = store.rejected_path
    content = store.rejected()
    result = _merged(store, path, content.polls, content.missed, low, high)
    if content.rejected:
        result = replace(result, problem=f"{path}: {len(content.rejected)} lines cannot be read")
    return result


def _merged(
    store: Store,
    path: Path,
    polls: Iterable[Snapshot],
    missed: Sequence[MissedPoll],
    low: int,
    high: int,
) -> Source:
    """Add what lies in the interval and is of this heat pump, in batches; count what was new."""
    ours, foreign = owner.known_serial(store.path), 0
    new_polls = new_missed = 0

    def own() -> Iterator[Snapshot]:
        nonlocal foreign
        for poll in polls:
            if not low <= poll.taken_ms < high:
                continue
            theirs = owner.serial(poll)
            if ours and theirs and theirs != ours:
                foreign += 1
            else:
                yield poll

    for batch in _batches(own()):
        new_polls += store.merge(batch, ()).polls
    within = [tick for tick in missed if low <= tick.ts_ms < high] if not foreign else []
    for start in range(0, len(within), _BATCH):
        new_missed += store.merge((), within[start : start + _BATCH]).missed
    problem = f"{path}: {foreign} polls of another heat pump left out" if foreign else None
    return Source(path, new_polls, new_missed, problem)


def _batches(polls: Iterable[Snapshot]) -> Iterator[list[Snapshot]]:
    source = iter(polls)
    while batch := list(islice(source, _BATCH)):
        yield batch
