"""Removes the journals whose lines are safe in archives.

A journal goes when each of its lines has been found, equal, in archives that were read back, and a
day after its own end at the earliest. Where no archives are wanted, it goes a week after its end.
Days are reckoned from the newest poll whose time is not doubted, not from the clock, which may be
wrong; that poll's journal stays, since the next polls are compared with it.
"""

import time
from collections.abc import Collection
from datetime import UTC, date, datetime, tzinfo
from pathlib import Path
from typing import Final, NamedTuple

from luxcli import times
from luxcli.config.config import Config
from luxcli.errors import LockHeldError, StorageError
from luxcli.maintenance import archive, document
from luxcli.model import CLOCK_DOUBTED, MissedPoll, Repair, Snapshot
from luxcli.store import intake, journal
from luxcli.store.repairs import Repairs, poll_sha256, repaired
from luxcli.store.store import Store

_DAY_MS: Final = 86_400_000
# After the end of its day, in days.
_AT_LEAST: Final = 1
WITHOUT_ARCHIVES: Final = 7
# Looking for the lines of one journal takes seconds; after a pause there may be many.
_LIMIT_S: Final = 120.0
# Nobody keeps a journal longer than it takes to append a line.
_LOCK_WAIT_S: Final = 5.0
# A journal spans two local days, rarely three.
_DAYS_IN_MEMORY: Final = 3


def remove_safe(config: Config, *, zone: tzinfo, dry_run: bool = False) -> list[Path]:
    """Remove the journals that are no longer needed, and return them; the caller has flushed.

    The next flush takes in once more a journal whose days were archived without some of its lines.

    Args:
        config: Says where the journals are, and whether archives are wanted.
        zone: Time zone of the user.
        dry_run: Remove nothing.

    Raises:
        LockHeldError: Another roll-up, a restore or a prune is at work.
        StorageError: A journal cannot be read or removed.
    """
    store = Store.open(config.cache_path, parents=config.may_create_parents)
    failures: list[LockHeldError | StorageError] = []
    with store.rollup_lock():
        removed, kept = _sort_out(config, store, zone, failures, dry_run=dry_run)
    if (kept or removed) and not dry_run:
        with store.writing() as db:
            for path in (*kept, *removed):
                intake.forget(db, path.name)
    if failures:
        raise failures[0]
    return removed


def _sort_out(
    config: Config,
    store: Store,
    zone: tzinfo,
    failures: list[LockHeldError | StorageError],
    *,
    dry_run: bool,
) -> tuple[list[Path], list[Path]]:
    """Remove what is safe; return it, and what archives lack lines of. Goes on after a failure."""
    newest = newest_ms(store)
    if newest is None:
        return [], []
    deadline = time.monotonic() + _LIMIT_S
    removed: list[Path] = []
    kept: list[Path] = []
    archived = _Archived(config, store, zone)
    unreadable: set[Path] = set()
    waiting = {path for path, _offset in intake.unread(store.database, unreadable=unreadable)}
    waiting |= unreadable
    for path in journal.paths(store.path):
        if time.monotonic() > deadline:
            break
        days = _AT_LEAST if config.archive else WITHOUT_ARCHIVES
        end_ms = _end_ms(path)
        # One that is ahead is of a wrong clock; nobody writes to it any more.
        is_recent = end_ms - 2 * _DAY_MS < newest < end_ms + days * _DAY_MS
        if path in waiting or is_recent:
            continue
        if not config.archive and store.database.doubted(int(end_ms) - _DAY_MS, int(end_ms)):
            continue  # they will get other times
        size = path.stat().st_size
        try:
            if config.archive and not archived.has(path, size):
                kept += [path] if archived.is_complete else []
            elif dry_run or journal.remove(path, size, wait_s=_LOCK_WAIT_S):
                removed.append(path)
        except (LockHeldError, StorageError) as exc:
            failures.append(exc)
    return removed, kept


def newest_ms(store: Store) -> int | None:
    """Return the time of the newest poll that is not doubted, in journals and database.

    Retention is reckoned from it, because the clock may be wrong.

    Raises:
        StorageError: The directory or the database cannot be read.
    """
    last = journal.last_poll(store.path)
    found = [] if last is None or last.flags & CLOCK_DOUBTED else [last.taken_ms]
    stored_ms = store.database.span()[1]
    return max([*found, *([] if stored_ms is None else [stored_ms])], default=None)


def hold(config: Config, times_ms: Collection[int]) -> bool:
    """Return whether journals hold a poll of one of these times.

    Raises:
        StorageError: A journal cannot be read.
    """
    wanted = set(times_ms)
    paths = {journal.path_at(config.cache_path, ts_ms) for ts_ms in wanted}
    paths &= set(journal.paths(config.cache_path))
    return any(
        poll.taken_ms in wanted
        for path in paths
        for part in journal.parts(path)
        for poll in part.polls
    )


def _end_ms(path: Path) -> float:
    """Return the end of a journal's day, UTC ms."""
    _, _, day = path.name.removesuffix(".jsonl").rpartition(".polls-")
    return datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp() * 1000 + _DAY_MS


class _Day(NamedTuple):
    """What the archive of a day holds: SHA-256 of polls by time, missed polls, repairs."""

    polls: dict[int, str]
    missed: dict[int, MissedPoll]
    repairs: frozenset[Repair]


class _Archived:
    """Looks for the lines of journals in archives.

    Attributes:
        is_complete: Whether the archives of all days of the last journal could be read.
    """

    def __init__(self, config: Config, store: Store, zone: tzinfo) -> None:
        self._config, self._zone = config, zone
        self._repairs = Repairs(store.database.repairs())
        self._days: dict[date, _Day | None] = {}
        self.is_complete = True

    def has(self, path: Path, size: int) -> bool:
        """Whether archives hold all lines of a journal of `size` bytes, but for damaged ones."""
        self.is_complete = True
        return all(
            all(map(self._has_poll, part.polls))
            and all(map(self._has_missed, part.missed))
            and all(map(self._has_repair, part.repairs))
            for part in journal.parts(path, stop=size)
        )

    def _has_poll(self, poll: Snapshot) -> bool:
        if repair := self._repairs.of(poll):
            if repair.new_ms is None:
                return True  # it was written to a file of its own
            poll = repaired(poll, repair.new_ms)
        day = self._day(poll.taken_ms)
        if day is None:
            return False
        # A poll whose millisecond was taken is stored under the next free one.
        ts_ms = poll.taken_ms
        while ts_ms in day.polls:
            if day.polls[ts_ms] == poll_sha256(poll.at(ts_ms)):
                return True
            ts_ms += 1
        return False

    def _has_missed(self, missed: MissedPoll) -> bool:
        day = self._day(missed.ts_ms)
        ts_ms = missed.ts_ms
        while day and ts_ms in day.missed:
            if day.missed[ts_ms] == missed.at(ts_ms):
                return True
            ts_ms += 1
        return False

    def _has_repair(self, repair: Repair) -> bool:
        moments = (repair.old_ms, repair.new_ms, repair.done_ms)
        days = [self._day(ts_ms) for ts_ms in moments if ts_ms is not None]
        return any(day and repair in day.repairs for day in days)

    def _day(self, ts_ms: int) -> _Day | None:
        """Return the day of a moment, None if its archive cannot be read."""
        day = times.local_date(ts_ms, self._zone)
        if day not in self._days:
            if len(self._days) >= _DAYS_IN_MEMORY:
                self._days.pop(next(iter(self._days)))
            self._days[day] = self._read(day)
        found = self._days[day]
        self.is_complete = self.is_complete and found is not None
        return found

    def _read(self, day: date) -> _Day | None:
        try:
            content = document.read(archive.path_of(self._config, day))
        except StorageError:
            return None
        return _Day(
            {poll.taken_ms: poll_sha256(poll) for poll in content.polls},
            {missed.ts_ms: missed for missed in content.missed},
            frozenset(content.repairs),
        )
