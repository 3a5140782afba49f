"""Inserts polls of one file into the database: those of this heat pump, in an interval."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Final

from luxcli.errors import StorageError
from luxcli.maintenance.restored import Source
from luxcli.model import CLOCK_DOUBTED, MissedPoll, Snapshot
from luxcli.store import owner
from luxcli.store.store import Store

# A day at a poll every 30 s.
_BATCH: Final = 3000


def merge(
    store: Store,
    path: Path,
    polls: Iterable[Snapshot],
    missed: Sequence[MissedPoll],
    low: int,
    high: int,
    *,
    doubted: bool = False,
    any_pump: bool = False,
) -> Source:
    """Insert the polls of this heat pump that lie in the interval; count those that were new.

    `doubted`: those with a doubted time as well, wherever that lies; `any_pump`: those of other
    heat pumps as well.
    """
    ours = frozenset[str]() if any_pump else owner.known_serials(store.path)
    foreign = 0
    new_polls = new_missed = 0

    def selected() -> Iterator[Snapshot]:
        nonlocal foreign
        for poll in polls:
            is_wanted = doubted and poll.flags & CLOCK_DOUBTED
            if not (is_wanted or low <= poll.taken_ms < high):
                continue
            if owner.is_foreign(poll, ours):
                foreign += 1
            else:
                yield poll

    for batch in _batches(selected()):
        new_polls += store.merge(batch, ()).polls
    within = [entry for entry in missed if low <= entry.ts_ms < high] if not foreign else []
    for start in range(0, len(within), _BATCH):
        new_missed += store.merge((), within[start : start + _BATCH]).missed
    problem = (
        f"{path}: {foreign} polls of another heat pump left out; if they are of this one,"
        " 'luxcli restore --any-heat-pump' takes them, else move that file away"
    )
    return Source(path, new_polls, new_missed, problem if foreign else None)


def from_rejected(store: Store, low: int, high: int, *, any_pump: bool) -> Source:
    """Insert damaged lines of journals that can be read now.

    Such a line may be of a newer luxcli, or refer to settings that another line has.
    """
    path = store.rejected_path
    result, unreadable = Source(path, 0, 0), 0
    try:
        next(store.rejected(), None)
    except StorageError as exc:
        return replace(result, problem=str(exc))
    for part in store.rejected():
        unreadable += len(part.rejected)
        more = merge(store, path, part.polls, part.missed, low, high, any_pump=any_pump)
        result = replace(more, polls=result.polls + more.polls, missed=result.missed + more.missed)
    if unreadable:
        lines = "1 line" if unreadable == 1 else f"{unreadable} lines"
        problem = f"{path}: {lines} cannot be read; delete the file to accept that"
        result = replace(result, problem=problem)
    return result


def _batches(polls: Iterable[Snapshot]) -> Iterator[list[Snapshot]]:
    source = iter(polls)
    while batch := list(islice(source, _BATCH)):
        yield batch
