"""Rebuilds the cache from what else there is: archives, set-aside caches, rejected lines.

Everything goes in through the same door as a poll, so nothing is stored twice and repeating it
changes nothing. Small transactions: a poll never has to wait for a long one.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, tzinfo
from itertools import islice
from pathlib import Path
from typing import Final

from luxcli import archive, archiving, buffer, ledger
from luxcli.config import Config
from luxcli.errors import DamagedError, StorageError, UnavailableError, UsageError
from luxcli.model import Missed, Snapshot
from luxcli.storage import Store, open_store, report_lock

_LOGGER = logging.getLogger("luxcli.restoring")
_BATCH: Final = 500
# A year on a Raspberry Pi takes about a third of it; an hourly run has to end before the next.
_SALVAGE_S: Final = 2400.0
_EVER: Final = 1 << 62
_DONE: Final = ".salvaged"

Progress = Callable[[int, int], object]


@dataclass(frozen=True, slots=True)
class Source:
    """What one file gave: polls that were new to the cache, and what is wrong with the file."""

    path: Path
    polls: int
    missed: int
    problem: str | None = None


def restore(
    config: Config,
    *,
    zone: tzinfo,
    since: date | None = None,
    until: date | None = None,
    progress: Progress = lambda _done, _total: None,
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
        LockHeldError, StorageError: The cache cannot be written.
    """
    if since and until and until < since:
        raise UsageError(f"--until {until} is before --since {since}")
    store = open_store(config)
    _heal(store)
    low = archiving.bounds(since, zone)[0] if since else 0
    high = archiving.bounds(until, zone)[1] if until else _EVER
    archives = sorted(store.archive_directory.glob("*.luxlog.gz"))
    aside = [path for path in store.set_aside_paths() if not path.name.endswith(_DONE)]
    done_before = [path for path in store.set_aside_paths() if path.name.endswith(_DONE)]
    total = len(archives) + len(aside) + len(done_before) + 1
    sources: list[Source] = []
    for path in archives:
        sources.append(_from_archive(store, path, low, high))
        progress(len(sources), total)
    for path in [*aside, *done_before]:
        sources.append(_from_cache(store, path, low, high))
        progress(len(sources), total)
    sources.append(_from_rejected(store, low, high))
    progress(total, total)
    return sources


def healed(config: Config, job: Callable[[], None]) -> None:
    """Run a job; if it finds the cache damaged, begin a new one with what can be read, and again.

    Raises:
        LuxcliError: Whatever the job raises.
    """
    try:
        job()
    except DamagedError as exc:
        aside = open_store(config).set_aside()
        _LOGGER.error("%s; set aside as %s and begun anew with what can be read", exc, aside.name)
        for source in salvage_pending(config):
            _LOGGER.error("%d polls put back; %s", source.polls, source.problem or "all of them")
        job()


def salvage_pending(config: Config) -> list[Source]:
    """Put back what caches hold that were set aside since the last time; for the hourly job."""
    store = open_store(config)
    store.flush()  # finds out whether the cache is damaged before a report is made from it
    with report_lock(config):
        pending = [path for path in store.set_aside_paths() if not path.name.endswith(_DONE)]
        return [_from_cache(store, path, 0, _EVER) for path in pending]


def _heal(store: Store) -> None:
    """Set the cache aside if any of it is damaged: the good parts come back with the rest."""
    try:
        store.flush()
        store.check()
        for _poll in store.query(0, _EVER):
            pass
    except DamagedError as exc:
        _LOGGER.error("%s; set aside as %s and built anew", exc, store.set_aside().name)
        store.flush()


def _from_archive(store: Store, path: Path, low: int, high: int) -> Source:
    try:
        day = archive.read(path)
    except StorageError as exc:
        return Source(path, 0, 0, str(exc))
    polls = [poll for poll in day.polls if low <= poll.taken_ms < high]
    missed = [tick for tick in day.missed if low <= tick.ts_ms < high]
    return Source(path, *_merge(store, polls, missed))


def _from_cache(store: Store, path: Path, low: int, high: int) -> Source:
    old, deadline = Store(path), time.monotonic() + _SALVAGE_S
    damaged: list[int] = []
    unreadable: list[int] = []
    problems: list[str] = []
    within = (
        poll
        for poll in _until_broken(old.salvage(damaged, unreadable), problems, deadline)
        if low <= poll.taken_ms < high
    )
    missed: list[Missed] = []
    with suppress(StorageError):
        missed = [tick for tick in old.missed(0, _EVER) if low <= tick.ts_ms < high]
    counts = _merge(store, within, missed)
    with suppress(StorageError):  # else those files are written once more
        csvs = [*ledger.rollups(old, "daily"), *ledger.rollups(old, "weekly")]
        ledger.merge(store, csvs, ledger.archives(old))
    if damaged or unreadable:
        problems.append(f"{len(damaged)} polls damaged, {len(unreadable)} stretches unreadable")
    whole = low == 0 and high == _EVER and time.monotonic() < deadline
    if whole and not path.name.endswith(_DONE):
        store.mark_salvaged(path, _DONE)
    return Source(path, *counts, f"{path}: {'; '.join(problems)}" if problems else None)


def _until_broken(
    polls: Iterator[Snapshot], problems: list[str], deadline: float
) -> Iterator[Snapshot]:
    """Pass on the polls of a damaged cache until it gives no more; say why it stopped."""
    try:
        for poll in polls:
            yield poll
            if time.monotonic() > deadline:
                problems.append("not finished in time; it goes on the next time")
                return
    except UnavailableError:
        raise  # it may be read the next time
    except StorageError as exc:
        problems.append(str(exc))


def _from_rejected(store: Store, low: int, high: int) -> Source:
    """Rejected lines may be whole after all: written by a newer luxcli, or refer to settings."""
    content = buffer.read(store.rejected_path)
    polls = [poll for poll in content.polls if low <= poll.taken_ms < high]
    missed = [tick for tick in content.missed if low <= tick.ts_ms < high]
    problem = None
    if content.rejected:
        problem = f"{store.rejected_path}: {len(content.rejected)} lines cannot be read"
    return Source(store.rejected_path, *_merge(store, polls, missed), problem)


def _merge(store: Store, polls: Iterable[Snapshot], missed: Sequence[Missed]) -> tuple[int, int]:
    """Add in batches; return how many polls and missed ticks were new."""
    new_polls = new_missed = 0
    for batch in _batches(polls):
        new_polls += store.merge(batch, ()).polls
    for start in range(0, len(missed), _BATCH):
        new_missed += store.merge((), missed[start : start + _BATCH]).missed
    return new_polls, new_missed


def _batches(polls: Iterable[Snapshot]) -> Iterator[list[Snapshot]]:
    source = iter(polls)
    while batch := list(islice(source, _BATCH)):
        yield batch
