"""Answers whether polls keep coming, and how many of the scheduled ones are there.

Reads only: neither flushes nor locks, so that a health check every minute wears no SD card out and
never keeps a poll waiting. Polls that wait in the journals count as well.
"""

import os
import time
from bisect import bisect_right
from operator import itemgetter
from typing import Final, NamedTuple

from luxcli.model import CLOCK_DOUBTED, OVERRUN, MissedPoll
from luxcli.recording.counter import (
    EARLIEST_MS,
    LATEST_MS,
    CoverageCounter,
    Row,
    is_scheduled,
)
from luxcli.recording.coverage import Coverage
from luxcli.store import journal
from luxcli.store.journal import Waiting
from luxcli.store.store import Store

# Bytes that a flush needs, about.
_NEEDED_BYTES: Final = 65_536
_DAY_MS: Final = 86_400_000
# Two or three are usual, a week's where no archives are wanted.
MANY_JOURNALS: Final = 10
# A poll is dated by another process; the clock may be corrected a little in between.
_CLOCK_SLACK_MS: Final = 2000


def coverage(store: Store, start_ms: int, stop_ms: int) -> Coverage:
    """Compare the polls stored for scheduled times in ``[start_ms, stop_ms)`` with the schedule.

    Memory does not grow with the interval. Without journals that cannot be read.

    Raises:
        StorageError: The database cannot be read.
    """
    with store.database.kept_open():
        return _coverage(store, store.waiting(past_unreadable=True), start_ms, stop_ms)


def _coverage(store: Store, waiting: Waiting, start_ms: int, stop_ms: int) -> Coverage:
    first_ms, end_ms = start_ms + EARLIEST_MS, stop_ms + LATEST_MS
    rows: list[Row] = [(*poll, "", 1) for poll in waiting.polls]
    rows += [
        (one.ts_ms, one.late_ms, one.interval_s, one.flags, one.reason, 1) for one in waiting.missed
    ]
    rows = sorted({*rows})
    scheduled = [row for row in rows if is_scheduled(row)]
    before = [(row[0] - row[1], row[2]) for row in scheduled if row[0] < first_ms][-1:]
    if stored := store.database.scheduled_before(first_ms):
        before.append(stored)
    counter = CoverageCounter(start_ms, stop_ms, max(before, default=None))
    inside = [row for row in rows if first_ms <= row[0] < end_ms]
    # What is flushed meanwhile is in a journal and in the database, as after a crash: found by
    # comparing single rows.
    runs = (start_ms, min([stop_ms, *(row[0] for row in inside[:1])]))
    for part in store.database.timings(first_ms, end_ms, runs=runs):
        earlier = bisect_right(inside, part[-1][0], key=itemgetter(0))
        counter.add(sorted({*part, *inside[:earlier]}) if earlier else part)
        del inside[:earlier]
    counter.add(inside)
    followed = any(row[0] >= end_ms for row in scheduled)
    return counter.result(followed=followed or store.database.scheduled_from(end_ms) is not None)


class State(NamedTuple):
    """Whether polls keep coming.

    Attributes:
        now_ms: When this was determined.
        last_ms: The newest poll that is not in the future, None when there is none.
        ahead_ms: The newest poll where that is in the future: the host's clock was or is wrong.
        doubted_ms: The newest poll up to now whose time is doubted, None when there is none. The
            others leave such polls out.
        failure: The newest missed poll after `last_ms`; an overrun only if there is no other.
        day: The last 24 hours.
    """

    now_ms: int
    last_ms: int | None
    ahead_ms: int | None
    doubted_ms: int | None
    failure: MissedPoll | None
    day: Coverage

    @property
    def age_s(self) -> float | None:
        """Seconds since the last poll."""
        return None if self.last_ms is None else max(0, self.now_ms - self.last_ms) / 1000

    def is_stale(self, max_age_s: float) -> bool:
        """Whether the last poll is older than `max_age_s` seconds, or there is none."""
        return self.age_s is None or self.age_s > max_age_s

    def is_clock_doubted(self, max_age_s: float) -> bool:
        """Whether a poll of the last `max_age_s` seconds has a doubted time: the clock is wrong."""
        return self.doubted_ms is not None and self.now_ms - self.doubted_ms <= max_age_s * 1000


def default_max_age_s(interval_s: int) -> int:
    """Return the default for the age in seconds from which the last poll is too old.

    One poll that goes through all its retries takes minutes and is no reason for an alarm.
    """
    return max(300, 3 * interval_s)


def state(store: Store, now_ms: int) -> State:
    """Determine whether polls keep coming.

    Raises:
        StorageError: The database or a journal cannot be read.
    """
    waiting = store.waiting()
    limit_ms = now_ms + _CLOCK_SLACK_MS
    with store.database.kept_open():
        last_ms, ahead_ms = _newest(store, waiting, limit_ms)
        doubted_ms = _newest_doubted(store, waiting, limit_ms)
        since = max(now_ms - _DAY_MS, 0 if last_ms is None else last_ms)
        missed = [*store.database.missed(since, limit_ms), *waiting.missed]
        day = _coverage(store, waiting, now_ms - _DAY_MS, now_ms)
    later = [entry for entry in missed if since <= entry.ts_ms <= limit_ms]
    # An overrun only follows from a poll that took long, whose failure is the reason.
    failure = max(later, key=lambda entry: (entry.reason != OVERRUN, entry.ts_ms), default=None)
    return State(now_ms, last_ms, ahead_ms, doubted_ms, failure, day)


def journal_count(store: Store) -> int:
    """Return the number of journals; from more than `MANY_JOURNALS` on, archives do not come about.

    Raises:
        StorageError: The directory cannot be read.
    """
    return len(journal.paths(store.path))


def obstacle(store: Store) -> str | None:
    """Return what keeps polls from being stored, None if this user can see no obstacle.

    A full disk leaves no missed poll, which could not be stored either. Nothing is written to find
    out, unlike `preflight`: a health check leaves the disk alone.
    """
    directory = store.path.parent
    try:
        disk = os.statvfs(directory)
    except OSError:
        return None
    if disk.f_flag & os.ST_RDONLY:
        return f"{directory}: the file system is read-only"
    if disk.f_bavail * disk.f_frsize < _NEEDED_BYTES:
        return f"{directory}: the disk is full"
    today = journal.path_at(store.path, round(time.time() * 1000))
    for path in (directory, store.lock_path, today):
        if path.exists() and not os.access(path, os.W_OK):
            return f"{path}: cannot be written by uid {os.geteuid()}"
    return None


def last_poll_ms(store: Store, now_ms: int) -> int | None:
    """Return the time of the newest poll that is not in the future, None when there is none.

    Raises:
        StorageError: The database or a journal cannot be read.
    """
    return _newest(store, store.waiting(), now_ms + _CLOCK_SLACK_MS)[0]


def _newest(store: Store, waiting: Waiting, limit_ms: int) -> tuple[int | None, int | None]:
    """Return the newest poll up to `limit_ms`, and the newest of all where that is later."""
    polls_ms = [poll[0] for poll in waiting.polls if not poll[3] & CLOCK_DOUBTED]
    stored_ms = (store.database.last_poll(limit_ms), store.database.span()[1])
    polls_ms += [ms for ms in stored_ms if ms is not None]
    last_ms = max((ms for ms in polls_ms if ms <= limit_ms), default=None)
    return last_ms, max((ms for ms in polls_ms if ms > limit_ms), default=None)


def _newest_doubted(store: Store, waiting: Waiting, limit_ms: int) -> int | None:
    """Return the newest poll up to `limit_ms` whose time is doubted."""
    polls_ms = [poll[0] for poll in waiting.polls if poll[3] & CLOCK_DOUBTED]
    stored_ms = store.database.last_poll(limit_ms, doubted=True)
    polls_ms += [] if stored_ms is None else [stored_ms]
    return max((ms for ms in polls_ms if ms <= limit_ms), default=None)
