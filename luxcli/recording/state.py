"""Is it still recording? Polls against the schedule, gaps and their recorded reasons.

Reads only: neither flushes nor locks, so that a health check every minute wears no SD card out and
never keeps a poll waiting. What waits in the buffer counts as well.
"""

import os
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from datetime import tzinfo
from typing import Final, NamedTuple

from luxcli import times
from luxcli.model import OVERRUN, MissedPoll
from luxcli.recording.coverage import Coverage, Walk
from luxcli.store.store import Store, Waiting

# A flush of the buffer needs about that much.
_LEAST_ROOM: Final = 65_536
_DAY_MS: Final = 86_400_000
# A poll is dated by the clock of the process that made it; two looks at one clock may differ.
_CLOCK_SLACK_MS: Final = 2000


def coverage(store: Store, start_ms: int, stop_ms: int, interval_s: int) -> Coverage:
    """Compare what is stored in ``[start_ms, stop_ms)`` with a poll every `interval_s` seconds.

    Raises:
        StorageError: The cache or the buffer cannot be read.
    """
    with store.database.kept_open():
        return _coverage(store, store.waiting(), start_ms, stop_ms, interval_s)


def _coverage(
    store: Store, waiting: Waiting, start_ms: int, stop_ms: int, interval_s: int
) -> Coverage:
    entries = [poll.taken_ms for poll in waiting.polls] + [tick.ts_ms for tick in waiting.missed]
    stored = store.database.next_entry(0)
    first = min([*entries, *([] if stored is None else [stored])], default=stop_ms)
    begin_ms = max(start_ms, first)
    if begin_ms >= stop_ms:
        return Coverage(start_ms, stop_ms, 0, 0, 0, {})
    days = _merged(store, (poll.taken_ms for poll in waiting.polls), begin_ms, stop_ms)
    missed = {tick.ts_ms: tick for tick in store.database.missed(begin_ms, stop_ms)}
    missed |= {tick.ts_ms: tick for tick in waiting.missed if begin_ms <= tick.ts_ms < stop_ms}
    walk = Walk([missed[ts_ms] for ts_ms in sorted(missed)], begin_ms, interval_s * 1000)
    for polls_ms in days:
        walk.polls(polls_ms)
    return walk.end(stop_ms)


def in_words(coverage: Coverage, zone: tzinfo) -> str:
    """Return what is to be said about the polls of an interval, with local times."""
    if not coverage.expected:
        return "no polls"
    if not coverage.missing and coverage.crowded:
        return f"none missing, but {coverage.polls} polls for a schedule of {coverage.expected}"
    if not coverage.missing:
        return f"complete, {coverage.polls} {'poll' if coverage.polls == 1 else 'polls'}"
    causes = [f"{reason} {count}" for reason, count in sorted(coverage.reasons.items())]
    if coverage.unexplained:
        causes.append(f"not run {coverage.unexplained}")
    text = (
        f"{percent(coverage)} of {coverage.expected} polls, {coverage.missing} missing:"
        f" {', '.join(causes)}"
    )
    gap = coverage.longest_gap
    if gap is None or (coverage.gap_count < 2 and gap.ticks < 2):
        return text
    first, last = (times.local_time(ms, zone) for ms in (gap.start_ms, gap.stop_ms))
    until = f"{last:%H:%M}" if first.date() == last.date() else f"{last:%Y-%m-%d %H:%M}"
    which = f"longest of {coverage.gap_count} gaps" if coverage.gap_count > 1 else "gap"
    return f"{text}; {which} {first:%Y-%m-%d %H:%M} to {until}"


def as_json(coverage: Coverage) -> dict[str, object]:
    """Return what ``--json`` says about polls and the schedule."""
    return {
        "start": times.utc_text(coverage.start_ms),
        "stop": times.utc_text(coverage.stop_ms),
        "polls": coverage.polls,
        "expected": coverage.expected,
        "missing": coverage.missing,
        "share": coverage.share,
        "reasons": dict(coverage.reasons),
        "unexplained": coverage.unexplained,
        "gaps": coverage.gap_count,
        "longest_gaps": [
            {
                "start": times.utc_text(gap.start_ms),
                "stop": times.utc_text(gap.stop_ms),
                "missing": gap.ticks,
                "reasons": dict(gap.reasons),
            }
            for gap in coverage.gaps
        ],
    }


def percent(coverage: Coverage) -> str:
    """Return the share of the polls for people, rounded down: 100 % only when none is missing."""
    if not coverage.expected:
        return "100 %"
    present = coverage.expected - coverage.missing
    return f"{present * 1000 // coverage.expected / 10:g} %"


class State(NamedTuple):
    """Whether polls keep coming.

    Attributes:
        now_ms: When this was looked at.
        last_ms: The newest poll that is not in the future, None when there is none.
        ahead_ms: The newest poll where that is in the future: the host's clock was or is wrong.
        failure: The newest missed tick after `last_ms`; an overrun only if there is nothing else.
        day: The last 24 hours.
    """

    now_ms: int
    last_ms: int | None
    ahead_ms: int | None
    failure: MissedPoll | None
    day: Coverage

    @property
    def age_s(self) -> float | None:
        """Seconds since the last poll."""
        return None if self.last_ms is None else max(0, self.now_ms - self.last_ms) / 1000

    def stale(self, max_age_s: float) -> bool:
        """Whether the last poll is older than `max_age_s` seconds, or there is none."""
        return self.age_s is None or self.age_s > max_age_s


def default_max_age_s(interval_s: int) -> int:
    """Return the age in seconds from which the last poll is too old, if nobody says otherwise.

    One poll that goes through all its retries takes minutes and is no reason for an alarm.
    """
    return max(300, 3 * interval_s)


def state(store: Store, now_ms: int, interval_s: int) -> State:
    """Look whether polls keep coming.

    Raises:
        StorageError: The cache or the buffer cannot be read.
    """
    waiting = store.waiting()
    limit_ms = now_ms + _CLOCK_SLACK_MS
    with store.database.kept_open():
        last_ms, ahead_ms = _newest(store, waiting, limit_ms)
        since = max(now_ms - _DAY_MS, 0 if last_ms is None else last_ms)
        missed = [*store.database.missed(since, limit_ms), *waiting.missed]
        day = _coverage(store, waiting, now_ms - _DAY_MS, now_ms, interval_s)
    later = [tick for tick in missed if since <= tick.ts_ms <= limit_ms]
    # An overrun only follows from a poll that took long: what that met with is the reason.
    failure = max(later, key=lambda tick: (tick.reason != OVERRUN, tick.ts_ms), default=None)
    return State(now_ms, last_ms, ahead_ms, failure, day)


def obstacle(store: Store) -> str | None:
    """Return what keeps polls from being stored, None where this user sees nothing in the way.

    Of a full disk no missed poll tells: that cannot be stored either. Asked without writing, unlike
    what `checks` does: a health check leaves the disk alone.
    """
    directory = store.path.parent
    try:
        disk = os.statvfs(directory)
    except OSError:
        return None
    if disk.f_flag & os.ST_RDONLY:
        return f"{directory}: the file system is read-only"
    if disk.f_bavail * disk.f_frsize < _LEAST_ROOM:
        return f"{directory}: the disk is full"
    for path in (directory, store.lock_path, store.buffer_path):
        if path.exists() and not os.access(path, os.W_OK):
            return f"{path}: cannot be written by uid {os.geteuid()}"
    return None


def last_poll_ms(store: Store, now_ms: int) -> int | None:
    """Return the time of the newest poll that is not in the future, None when there is none.

    Raises:
        StorageError: The cache or the buffer cannot be read.
    """
    return _newest(store, store.waiting(), now_ms + _CLOCK_SLACK_MS)[0]


def _newest(store: Store, waiting: Waiting, limit_ms: int) -> tuple[int | None, int | None]:
    """Return the newest poll up to `limit_ms`, and the newest of all where that is later."""
    polls_ms = [poll.taken_ms for poll in waiting.polls]
    stored_ms = (store.database.last_poll(limit_ms), store.database.span()[1])
    polls_ms += [ms for ms in stored_ms if ms is not None]
    last_ms = max((ms for ms in polls_ms if ms <= limit_ms), default=None)
    return last_ms, max((ms for ms in polls_ms if ms > limit_ms), default=None)


def _merged(
    store: Store, waiting: Iterable[int], start_ms: int, stop_ms: int
) -> Iterator[list[int]]:
    """Yield the times of all polls in order, each once; a day at a time, so memory is bounded."""
    among = sorted({ms for ms in waiting if start_ms <= ms < stop_ms})
    for day_ms, stored in store.database.times_by_day(start_ms, stop_ms):
        first, last = (bisect_left(among, ms) for ms in (day_ms, day_ms + _DAY_MS))
        yield sorted({*stored, *among[first:last]}) if last > first else stored
