"""Is it still recording? Polls against the schedule, gaps and their recorded reasons.

Reads only: neither flushes nor locks, so that a health check every minute wears no SD card out and
never keeps a poll waiting. What waits in the buffer counts as well.
"""

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import tzinfo
from itertools import chain
from typing import Final, NamedTuple

from luxcli import periods
from luxcli.buffer import Waiting
from luxcli.model import Missed
from luxcli.storage import Store

_DAY_MS: Final = 86_400_000
# A poll is dated by the clock of the process that made it; two looks at one clock may differ.
_CLOCK_SLACK_MS: Final = 2000
# What is said about gaps is for people; an outage of months is one gap anyway.
_GAPS_KEPT: Final = 20
# A poll this much sooner than the schedule is an additional one, made by hand; also at exactly half
# the distance, a little late.
_EXTRA: Final = 0.55
# From here on it may as well be the next tick's, if the tick before it was late by retries.
_EARLY: Final = 0.4
# So many more polls than the schedule makes come from a second schedule, not from a hand.
_EXTRA_SHARE: Final = 0.2
# Schedulers start jobs a little early or late.
_SPACING_SLACK: Final = 0.1
_SPACING_SLACK_S: Final = 2
# Below this share of the schedule a period is poor: a day of an hour's outage is still good.
POOR: Final = 0.95


class Gap(NamedTuple):
    """A time without polls.

    Attributes:
        start_ms: The poll before it, or where the interval that was looked at begins.
        stop_ms: The poll after it, or where that interval ends.
        ticks: How many polls the schedule would have made.
        reasons: Recorded reasons and how many ticks each explains; the rest has none: no run was
            started, or it was killed.
    """

    start_ms: int
    stop_ms: int
    ticks: int
    reasons: Mapping[str, int]

    @property
    def unexplained(self) -> int:
        """Ticks of which nothing is recorded."""
        return max(0, self.ticks - sum(self.reasons.values()))


class Coverage(NamedTuple):
    """Polls of an interval against the schedule.

    Attributes:
        start_ms: Beginning, included; the first entry ever where recording began later.
        stop_ms: End, excluded.
        polls: How many are stored.
        expected: How many the schedule makes in that time.
        missing: How many of these are not there.
        reasons: Recorded reasons of missing ticks.
        unexplained: Missing ticks of which nothing is recorded.
        gap_count: How many gaps there are.
        gaps: The longest of them, in time order.
        usual_s: Most frequent distance of two polls in seconds, None when there are fewer than two.
        last_ms: The newest poll, None when there is none in the interval.
    """

    start_ms: int
    stop_ms: int
    polls: int
    expected: int
    missing: int
    reasons: Mapping[str, int]
    unexplained: int = 0
    gap_count: int = 0
    gaps: tuple[Gap, ...] = ()
    usual_s: int | None = None
    last_ms: int | None = None

    @property
    def share(self) -> float:
        """Which part of the expected polls is there, 0 to 1; 1 when none was expected."""
        return 1 - self.missing / self.expected if self.expected else 1.0

    @property
    def extra(self) -> int:
        """Polls beyond those of the schedule."""
        return max(0, self.polls - (self.expected - self.missing))

    @property
    def crowded(self) -> bool:
        """Whether so many polls are extra that there must be two schedules, or a faster one."""
        return self.extra > _EXTRA_SHARE * self.polls

    @property
    def poor(self) -> bool:
        """Whether so much is missing that somebody should look at it."""
        return self.share < POOR

    @property
    def longest_gap(self) -> Gap | None:
        """The gap with the most missing ticks."""
        return max(self.gaps, key=lambda gap: gap.ticks, default=None)


def coverage(store: Store, start_ms: int, stop_ms: int, interval_s: int) -> Coverage:
    """Compare what is stored in ``[start_ms, stop_ms)`` with a poll every `interval_s` seconds.

    Raises:
        StorageError: The cache or the buffer cannot be read.
    """
    with store.kept_open():
        return _coverage(store, store.waiting(), start_ms, stop_ms, interval_s)


def _coverage(
    store: Store, waiting: Waiting, start_ms: int, stop_ms: int, interval_s: int
) -> Coverage:
    entries = [poll.taken_ms for poll in waiting.polls] + [tick.ts_ms for tick in waiting.missed]
    stored = store.next_entry(0)
    first = min([*entries, *([] if stored is None else [stored])], default=stop_ms)
    begin_ms = max(start_ms, first)
    if begin_ms >= stop_ms:
        return Coverage(start_ms, stop_ms, 0, 0, 0, {})
    times = _merged(store, (poll.taken_ms for poll in waiting.polls), begin_ms, stop_ms)
    missed = {tick.ts_ms: tick for tick in store.missed(begin_ms, stop_ms)}
    missed |= {tick.ts_ms: tick for tick in waiting.missed if begin_ms <= tick.ts_ms < stop_ms}
    walk = _Walk([missed[ts_ms] for ts_ms in sorted(missed)], begin_ms, interval_s * 1000)
    for ts_ms in times:
        walk.poll(ts_ms)
    return walk.end(stop_ms)


def fits_schedule(usual_s: int, interval_s: int) -> bool:
    """Whether polls mostly as far apart as `usual_s` come from a schedule of `interval_s`."""
    return abs(usual_s - interval_s) <= max(_SPACING_SLACK_S, _SPACING_SLACK * interval_s)


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
    first, last = (periods.local_time(ms, zone) for ms in (gap.start_ms, gap.stop_ms))
    until = f"{last:%H:%M}" if first.date() == last.date() else f"{last:%Y-%m-%d %H:%M}"
    which = f"longest of {coverage.gap_count} gaps" if coverage.gap_count > 1 else "gap"
    return f"{text}; {which} {first:%Y-%m-%d %H:%M} to {until}"


def as_json(coverage: Coverage) -> dict[str, object]:
    """Return what ``--json`` says about polls and the schedule."""
    return {
        "start": periods.utc_text(coverage.start_ms),
        "stop": periods.utc_text(coverage.stop_ms),
        "polls": coverage.polls,
        "expected": coverage.expected,
        "missing": coverage.missing,
        "share": coverage.share,
        "reasons": dict(coverage.reasons),
        "unexplained": coverage.unexplained,
        "gaps": coverage.gap_count,
        "longest_gaps": [
            {
                "start": periods.utc_text(gap.start_ms),
                "stop": periods.utc_text(gap.stop_ms),
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
        failure: The newest missed tick if it came after `last_ms`.
        day: The last 24 hours.
    """

    now_ms: int
    last_ms: int | None
    ahead_ms: int | None
    failure: Missed | None
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
    with store.kept_open():
        last_ms, ahead_ms = _newest(store, waiting, limit_ms)
        since = max(now_ms - _DAY_MS, 0 if last_ms is None else last_ms)
        missed = [*store.missed(since, limit_ms), *waiting.missed]
        day = _coverage(store, waiting, now_ms - _DAY_MS, now_ms, interval_s)
    later = [tick for tick in missed if since <= tick.ts_ms <= limit_ms]
    failure = max(later, key=lambda tick: tick.ts_ms, default=None)
    return State(now_ms, last_ms, ahead_ms, failure, day)


def last_poll_ms(store: Store, now_ms: int) -> int | None:
    """Return the time of the newest poll that is not in the future, None when there is none.

    Raises:
        StorageError: The cache or the buffer cannot be read.
    """
    return _newest(store, store.waiting(), now_ms + _CLOCK_SLACK_MS)[0]


def _newest(store: Store, waiting: Waiting, limit_ms: int) -> tuple[int | None, int | None]:
    """Return the newest poll up to `limit_ms`, and the newest of all where that is later."""
    times = [poll.taken_ms for poll in waiting.polls]
    times += [ms for ms in (store.last_poll(limit_ms), store.span()[1]) if ms is not None]
    last_ms = max((ms for ms in times if ms <= limit_ms), default=None)
    return last_ms, max((ms for ms in times if ms > limit_ms), default=None)


def age(seconds: float) -> str:
    """Return a span of time for people: 12 s, 5 min, 3 h 20 min, 4 days."""
    return periods.span(seconds)


def _merged(store: Store, waiting: Iterable[int], start_ms: int, stop_ms: int) -> Iterator[int]:
    """Yield the times of all polls in order, each once; a day at a time, so memory is bounded."""
    among = sorted({ms for ms in waiting if start_ms <= ms < stop_ms})
    stored = chain.from_iterable(
        store.times(day, min(day + _DAY_MS, stop_ms)) for day in range(start_ms, stop_ms, _DAY_MS)
    )
    last = None
    for ts_ms in heapq.merge(stored, among):
        if ts_ms != last:
            yield ts_ms
        last = ts_ms


class _Walk:
    """Goes along the polls in time order and keeps account of what is missing between them."""

    def __init__(self, missed: Sequence[Missed], start_ms: int, interval_ms: int) -> None:
        self._missed, self._position = missed, 0
        self._start_ms, self._interval_ms = start_ms, interval_ms
        self._polls = self._expected = self._missing = self._unexplained = self._gap_count = 0
        self._reasons: Counter[str] = Counter()
        self._longest: list[tuple[int, int, Gap]] = []
        self._distances: Counter[int] = Counter()
        self._on_time: int | None = None  # the last poll that the schedule made
        self._early = False  # whether a poll came since that may be the next tick's
        self._newest: int | None = None

    def poll(self, ts_ms: int) -> None:
        self._polls += 1
        held, self._newest = self._newest, ts_ms
        if held is not None:
            self._distances[round((ts_ms - held) / 1000)] += 1
            self._take(held, ts_ms)

    def _take(self, ts_ms: int, next_ms: int | None) -> None:
        """Take a poll, now that the one after it is known: it may show that this one was late."""
        if self._on_time is None:
            # The first poll may come up to an interval after the beginning.
            self._gap(self._start_ms, ts_ms, (ts_ms - self._start_ms) // self._interval_ms)
        elif ts_ms - self._on_time <= self._interval_ms * _EXTRA:
            self._early = self._early or ts_ms - self._on_time >= self._interval_ms * _EARLY
            return
        else:
            ticks = round((ts_ms - self._on_time) / self._interval_ms) - 1
            if ticks == 1 and self._early:
                ticks = 0
                self._expected += 1
            elif ticks == 1 and ts_ms - self._on_time < 2 * self._interval_ms:
                # Late by retries if that of the next tick follows at once.
                soon = next_ms is not None and next_ms - ts_ms <= self._interval_ms * _EXTRA
                ticks = 0 if soon else 1
            if ticks or self._position < len(self._missed):
                self._gap(self._on_time, ts_ms, ticks)
        self._on_time, self._early = ts_ms, False
        self._expected += 1

    def end(self, stop_ms: int) -> Coverage:
        if self._newest is not None:
            self._take(self._newest, None)
        since = self._start_ms if self._on_time is None else self._on_time
        # What is due at `stop_ms` itself is not late yet.
        self._gap(since, stop_ms, (stop_ms - since - 1) // self._interval_ms)
        kept = sorted((gap for _, _, gap in self._longest), key=lambda gap: gap.start_ms)
        usual = self._distances.most_common(1)
        usual_s = usual[0][0] if usual else None
        self._count_slow(usual_s, stop_ms)
        return Coverage(
            self._start_ms,
            stop_ms,
            polls=self._polls,
            expected=self._expected + self._missing,
            missing=self._missing,
            reasons=dict(self._reasons),
            unexplained=self._unexplained,
            gap_count=self._gap_count,
            gaps=tuple(kept),
            usual_s=usual_s,
            last_ms=self._newest,
        )

    def _count_slow(self, usual_s: int | None, stop_ms: int) -> None:
        """Count by time where polls are usually too far apart: 40 s never look like a gap of 30 s.

        Single late polls do not change what is usual.
        """
        interval_s = self._interval_ms // 1000
        if usual_s is None or usual_s < interval_s or fits_schedule(usual_s, interval_s):
            return
        due = (stop_ms - self._start_ms - 1) // self._interval_ms + 1
        self._missing = max(0, due - self._expected)
        self._unexplained = max(0, self._missing - sum(self._reasons.values()))

    def _gap(self, start_ms: int, stop_ms: int, ticks: int) -> None:
        inside: Counter[str] = Counter()
        while self._position < len(self._missed):
            tick = self._missed[self._position]
            if tick.ts_ms >= stop_ms:
                break
            inside[tick.reason] += 1
            self._position += 1
        if ticks <= 0:
            return  # a poll that failed beside one that did not has cost nothing
        gap = Gap(start_ms, stop_ms, ticks, dict(inside))
        self._missing += ticks
        self._unexplained += gap.unexplained
        self._gap_count += 1
        self._reasons.update(inside)
        entry = (ticks, -self._gap_count, gap)
        if len(self._longest) < _GAPS_KEPT:
            heapq.heappush(self._longest, entry)
        else:
            heapq.heappushpop(self._longest, entry)
