"""Puts right the times of polls that were made while this computer's clock was wrong.

Each poll holds the heat pump's own clock. Compared with that of polls whose time is not doubted it
says when the poll was made. What cannot be told stays as it is, or is taken out into a file.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

from luxcli import times
from luxcli.config.config import Config
from luxcli.errors import NoDataError
from luxcli.model import Repair, Snapshot
from luxcli.recording import clock_doubt
from luxcli.store import journal, repairs
from luxcli.store.store import ROLLUP_WAIT_S, Store
from luxcli.system.progress import Progress, silent

_LOGGER = logging.getLogger(__name__)
_BATCH: Final = 500
_DAY_MS: Final = 86_400_000
_HOUR_MS: Final = 3_600_000
# Neighbouring polls belong together if they are moved by the same time, give or take this.
_SAME_MS: Final = 120_000
# The heat pump's clock may be ahead a little.
_AHEAD_MS: Final = 60_000
_LISTED: Final = 20


class Group(NamedTuple):
    """Neighbouring polls that one wrong clock dated, in ms UTC.

    Attributes:
        polls: How many.
        old_ms: Wrong times of the first and the last.
        new_ms: Right times of both, None where they cannot be told.
    """

    polls: int
    old_ms: tuple[int, int]
    new_ms: tuple[int, int] | None

    def to_json(self) -> dict[str, object]:
        """Return what ``--json`` prints about the polls."""
        new = [times.utc_text(ms) for ms in self.new_ms] if self.new_ms else [None, None]
        return {
            "polls": self.polls,
            "dated_first": times.utc_text(self.old_ms[0]),
            "dated_last": times.utc_text(self.old_ms[1]),
            "made_first": new[0],
            "made_last": new[1],
        }


@dataclass(frozen=True, slots=True)
class TimesRepaired:
    """What was done to the polls of a wrong clock, or would be done.

    Attributes:
        moved: Polls whose time was put right.
        removed: Polls that were taken out.
        untold: Polls whose right time cannot be told and that stay as they are.
        removed_path: Where the removed ones are, None when there are none.
        groups: The polls, neighbours together.
        dry_run: Nothing was changed.
    """

    moved: int
    removed: int
    untold: int
    removed_path: Path | None
    groups: tuple[Group, ...]
    dry_run: bool

    def to_json(self) -> dict[str, object]:
        """Return what ``--json`` prints."""
        return {
            "ok": not self.untold,
            "dry_run": self.dry_run,
            "moved": self.moved,
            "removed": self.removed,
            "untold": self.untold,
            "removed_path": str(self.removed_path) if self.removed_path else None,
            "groups": [group.to_json() for group in self.groups],
        }

    def lines(self, zone: tzinfo) -> list[str]:
        """Return what a person reads, with local times."""
        if not self.groups:
            return ["nothing to repair: no poll has a doubted time"]
        texts = []
        for group in self.groups[:_LISTED]:
            dated = _text(group.old_ms, zone)
            made = (
                f"made {_text(group.new_ms, zone)}" if group.new_ms else "made at an unknown time"
            )
            texts.append(f"{_count(group.polls)} dated {dated}: {made}")
        if len(self.groups) > _LISTED:
            texts.append(f"and {len(self.groups) - _LISTED} more such times")
        would = "would be " if self.dry_run else ""
        done = [f"{_count(self.moved)} {would}put right"] if self.moved else []
        if self.removed:
            done.append(f"{_count(self.removed)} {would}taken out into {self.removed_path}")
        return [*texts, *(["; ".join(done)] if done else [])]

    @property
    def findings(self) -> list[str]:
        """What the user should act on."""
        if not self.untold:
            return []
        return [
            f"the right time of {_count(self.untold)} cannot be told: the heat pump's clock was not"
            " set either; they stay marked and out of all reports;"
            " 'luxcli repair-times --remove' takes them out into a file"
        ]


def repair_times(
    config: Config,
    *,
    now_ms: int,
    remove: bool = False,
    dry_run: bool = False,
    wait_s: float = ROLLUP_WAIT_S,
    progress: Progress = silent,
) -> TimesRepaired:
    """Put right the times of all polls whose time is doubted.

    Each repair is durable in the journal before the database is changed. Repeating it changes
    nothing.

    Args:
        config: Says where the database is.
        now_ms: UTC; no poll was made later.
        remove: Take out the polls whose right time cannot be told.
        dry_run: Change nothing.
        wait_s: How long to wait for a roll-up or restore that is at work, seconds.
        progress: Receives numbers of polls.

    Raises:
        NoDataError: Nothing is recorded there.
        LockHeldError: A roll-up or a restore is at work.
        StorageError: The database, the journal or the file of removed polls cannot be written.
    """
    store = Store(config.cache_path)
    if not (store.database.has_data() or journal.paths(store.path)):
        raise NoDataError(
            f"{store.path}: nothing is recorded there", advice="is it the right configuration?"
        )
    stamp = datetime.fromtimestamp(now_ms // 1000, UTC)
    removed_path = store.path.with_name(f"{store.path.name}.removed-{stamp:%Y%m%dT%H%M%SZ}.jsonl")
    with store.rollup_lock(wait_s=wait_s):
        store.flush()
        doubted_ms = store.database.doubted()
        told = _Told(store, now_ms)
        groups: list[Group] = []
        moved = removed = untold = done = 0
        for batch in _batches(store, doubted_ms):
            pairs = [(poll, told.right_ms(poll)) for poll in batch]
            for poll, new_ms in pairs:
                _add(groups, poll.taken_ms, new_ms)
            out = [poll for poll, new_ms in pairs if new_ms is None]
            moved += len(pairs) - len(out)
            removed, untold = (removed + len(out), 0) if remove else (0, untold + len(out))
            if not dry_run:
                if remove and out:
                    journal.keep_lines(removed_path, [journal.line_of(poll) for poll in out])
                for poll, new_ms in pairs:
                    if remove or new_ms is not None:
                        sha256 = repairs.poll_sha256(poll)
                        store.add_repair(Repair(sha256, poll.taken_ms, new_ms, now_ms))
            done += len(batch)
            progress(done, len(doubted_ms))
        if not dry_run:
            store.flush()
    path = removed_path if removed else None
    return TimesRepaired(moved, removed, untold, path, tuple(groups), dry_run)


class _Told:
    """Tells by the heat pump's clock when polls were made."""

    def __init__(self, store: Store, now_ms: int) -> None:
        self._store, self._now_ms = store, now_ms
        self._offsets: dict[int, int | None] = {}  # by hour of the heat pump's clock

    def right_ms(self, poll: Snapshot) -> int | None:
        """Return when a poll was made, None if that cannot be told."""
        clock_ms = clock_doubt.clock_ms(poll)
        if clock_ms is None:
            return None
        hour = clock_ms // _HOUR_MS
        if hour not in self._offsets:
            self._offsets[hour] = self._offset(clock_ms)
        offset_ms = self._offsets[hour]
        if offset_ms is None:
            return None
        right_ms = clock_ms - offset_ms
        within = clock_doubt.RELEASED_MS <= right_ms <= self._now_ms + _AHEAD_MS
        return right_ms if within else None

    def _offset(self, clock_ms: int) -> int | None:
        """Return by how much the heat pump's clock is ahead around a time that it shows, ms.

        That of the next poll with an undoubted time before or after, if both clocks agree within a
        day: the heat pump's own clock may have been lost as well.
        """
        database = self._store.database
        for found_ms in (database.last_poll(clock_ms), database.next_poll(clock_ms)):
            for poll in (
                [] if found_ms is None else database.polls(found_ms, found_ms + 1, damaged=[])
            ):
                theirs_ms = clock_doubt.clock_ms(poll)
                if theirs_ms is not None and abs(theirs_ms - poll.taken_ms) <= _DAY_MS:
                    return theirs_ms - poll.taken_ms
        return None


def _batches(store: Store, wanted_ms: Sequence[int]) -> Iterator[list[Snapshot]]:
    """Yield the polls of some times; memory does not grow with their number."""
    source = iter(wanted_ms)
    while part := list(islice(source, _BATCH)):
        yield store.database.polls_at(part)


def _add(groups: list[Group], old_ms: int, new_ms: int | None) -> None:
    """Add a poll to the last group, or begin a new one."""
    if groups:
        count, (first_ms, last_ms), new = groups[-1]
        if new is None and new_ms is None:
            groups[-1] = Group(count + 1, (first_ms, old_ms), None)
            return
        if new and new_ms is not None and abs((new_ms - new[1]) - (old_ms - last_ms)) < _SAME_MS:
            groups[-1] = Group(count + 1, (first_ms, old_ms), (new[0], new_ms))
            return
    groups.append(Group(1, (old_ms, old_ms), None if new_ms is None else (new_ms, new_ms)))


def _count(polls: int) -> str:
    return "1 poll" if polls == 1 else f"{polls} polls"


def _text(span_ms: tuple[int, int], zone: tzinfo) -> str:
    first, last = (f"{times.local_time(ms, zone):%Y-%m-%d %H:%M:%S}" for ms in span_ms)
    return first if first == last else f"{first} to {last}"
