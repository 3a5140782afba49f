"""Polls against the schedule: which are missing, where the gaps are and what is known of them."""

import heapq
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from luxcli.model import MissedPoll

# What is said about gaps is for people; an outage of months is one gap anyway.
_GAPS_KEPT: Final = 20
# A poll this much sooner than the schedule is an additional one, made by hand; also at exactly half
# the distance, a little late.
_EXTRA: Final = 0.55
# From here on it may as well be the next tick's, if the tick before it was late by retries.
_EARLY: Final = 0.4
# At this distance a tick may be missing.
_NEXT_BUT_ONE: Final = 1.5
# Polls that are looked at together: an hour of them.
_BLOCK: Final = 120
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


def fits_schedule(usual_s: int, interval_s: int) -> bool:
    """Whether polls mostly as far apart as `usual_s` come from a schedule of `interval_s`."""
    return abs(usual_s - interval_s) <= max(_SPACING_SLACK_S, _SPACING_SLACK * interval_s)


class Walk:
    """Goes along the polls in time order and keeps account of what is missing between them.

    Args:
        missed: Ticks without a poll, in time order.
        start_ms: Where the interval that is looked at begins.
        interval_ms: That of the schedule.
    """

    def __init__(self, missed: Sequence[MissedPoll], start_ms: int, interval_ms: int) -> None:
        self._missed, self._position = missed, 0
        self._start_ms, self._interval_ms = start_ms, interval_ms
        self._polls = self._expected = self._missing = self._unexplained = self._gap_count = 0
        self._reasons: Counter[str] = Counter()
        self._longest: list[tuple[int, int, Gap]] = []
        self._distances: Counter[int] = Counter()
        self._on_time: int | None = None  # the last poll that the schedule made
        self._early = False  # whether a poll came since that may be the next tick's
        self._newest: int | None = None

    def polls(self, times: list[int]) -> None:
        """Take the times of the next polls, ms, in order."""
        for first in range(0, len(times), _BLOCK):
            block = times[first : first + _BLOCK]
            if not self._regular(block):
                for ts_ms in block:
                    self._poll(ts_ms)

    def _regular(self, block: list[int]) -> bool:
        """Take polls that come tick by tick all at once; False if that is not what they do."""
        on_time, newest = self._on_time, self._newest
        if on_time is None or newest is None or self._early:
            return False
        if self._position < len(self._missed) and self._missed[self._position].ts_ms < block[-1]:
            return False
        times = [on_time, newest, *block]
        distances = list(map(int.__sub__, times[1:], times))
        low, high = self._interval_ms * _EXTRA, self._interval_ms * _NEXT_BUT_ONE
        if not (low < min(distances) and max(distances) < high):
            return False
        self._polls += len(block)
        self._expected += len(block)
        self._distances.update([round(distance / 1000) for distance in distances[1:]])
        self._on_time, self._newest = times[-2:]
        return True

    def _poll(self, ts_ms: int) -> None:
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
        """Return what came of it; the interval ends at `stop_ms`, excluded."""
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
