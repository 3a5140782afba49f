"""Compares polls with the schedule: which are missing, where the gaps are, and why."""

import heapq
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import tzinfo
from typing import Final, NamedTuple

from luxcli import times
from luxcli.model import MissedPoll

# The longest gaps are listed, for people; an outage of months is one gap anyway.
_LISTED_GAPS: Final = 20
# A poll less than 55 % of the interval after the previous one is an extra poll (made by hand), not
# the next scheduled one.
_EXTRA: Final = 0.55
# Between 40 % and 55 % it may be the next scheduled poll after a delayed one.
_EARLY: Final = 0.4
# From this distance on a scheduled poll may be missing.
_NEXT_BUT_ONE: Final = 1.5
# Polls that are looked at together: an hour of them.
_BATCH: Final = 120
# More extra polls than this share come from a second schedule, not from a hand.
_EXTRA_SHARE: Final = 0.2
# Schedulers start jobs a little early or late.
_SPACING_SLACK: Final = 0.1
_SPACING_SLACK_S: Final = 2
# The share of scheduled polls that a period should have: a day with an hour's outage has it.
TARGET: Final = 0.95


class Gap(NamedTuple):
    """A time without polls.

    Attributes:
        start_ms: The poll before it, or the beginning of the interval.
        stop_ms: The poll after it, or the end of the interval.
        missing: How many polls the schedule would have made.
        reasons: Recorded reasons and how many missed polls each explains; the rest has none: no
            run was started, or it was killed.
    """

    start_ms: int
    stop_ms: int
    missing: int
    reasons: Mapping[str, int]

    @property
    def unexplained(self) -> int:
        """Missing polls without a recorded reason."""
        return max(0, self.missing - sum(self.reasons.values()))

    def to_json(self) -> dict[str, object]:
        """Return what ``--json`` prints about the gap."""
        return {
            "start": times.utc_text(self.start_ms),
            "stop": times.utc_text(self.stop_ms),
            "missing": self.missing,
            "reasons": dict(self.reasons),
        }


class Coverage(NamedTuple):
    """Polls of an interval against the schedule.

    Attributes:
        start_ms: Beginning, included; the first entry ever where recording began later.
        stop_ms: End, excluded.
        polls: How many are stored.
        expected: How many the schedule makes in that time.
        missing: How many of these are not there.
        reasons: Recorded reasons of missed polls.
        unexplained: Missing polls without a recorded reason.
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
    def percent(self) -> str:
        """The share for people, rounded down: 100 % only when no poll is missing."""
        if not self.expected:
            return "100 %"
        present = self.expected - self.missing
        return f"{present * 1000 // self.expected / 10:g} %"

    @property
    def extra(self) -> int:
        """Polls beyond those of the schedule."""
        return max(0, self.polls - (self.expected - self.missing))

    @property
    def has_too_many(self) -> bool:
        """Whether so many polls are extra that there must be two schedules, or a faster one."""
        return self.extra > _EXTRA_SHARE * self.polls

    @property
    def is_below_target(self) -> bool:
        """Whether so many polls are missing that somebody should look at it."""
        return self.share < TARGET

    @property
    def longest_gap(self) -> Gap | None:
        """The gap with the most missing polls."""
        return max(self.gaps, key=lambda gap: gap.missing, default=None)

    def to_json(self) -> dict[str, object]:
        """Return what ``--json`` prints about the polls of an interval."""
        return {
            "start": times.utc_text(self.start_ms),
            "stop": times.utc_text(self.stop_ms),
            "polls": self.polls,
            "expected": self.expected,
            "missing": self.missing,
            "share": self.share,
            "reasons": dict(self.reasons),
            "unexplained": self.unexplained,
            "gaps": self.gap_count,
            "longest_gaps": [gap.to_json() for gap in self.gaps],
        }

    def describe(self, zone: tzinfo) -> str:
        """Return what a person reads about the polls of an interval, with local times."""
        if not self.expected:
            return "no polls"
        if not self.missing and self.has_too_many:
            return (
                f"none missing, but {self.polls} polls where the schedule has {self.expected}:"
                " a second schedule, or polls by hand"
            )
        if not self.missing:
            return f"complete, {self.polls} {'poll' if self.polls == 1 else 'polls'}"
        causes = [f"{reason} {count}" for reason, count in sorted(self.reasons.items())]
        if self.unexplained:
            causes.append(f"not run {self.unexplained}")
        text = (
            f"{self.percent} of {self.expected} polls, {self.missing} missing: {', '.join(causes)}"
        )
        gap = self.longest_gap
        if gap is None or (self.gap_count < 2 and gap.missing < 2):
            return text
        first, last = (times.local_time(ms, zone) for ms in (gap.start_ms, gap.stop_ms))
        until = f"{last:%H:%M}" if first.date() == last.date() else f"{last:%Y-%m-%d %H:%M}"
        which = f"longest of {self.gap_count} gaps" if self.gap_count > 1 else "gap"
        return f"{text}; {which} {first:%Y-%m-%d %H:%M} to {until}"


def fits_schedule(usual_s: int, interval_s: int) -> bool:
    """Whether polls mostly as far apart as `usual_s` come from a schedule of `interval_s`."""
    return abs(usual_s - interval_s) <= max(_SPACING_SLACK_S, _SPACING_SLACK * interval_s)


class CoverageCounter:
    """Counts polls in time order and the scheduled polls missing between them.

    Args:
        missed: Missed polls, in time order.
        start_ms: Beginning of the interval.
        interval_ms: Distance of scheduled polls.
    """

    def __init__(self, missed: Sequence[MissedPoll], start_ms: int, interval_ms: int) -> None:
        self._missed, self._next_missed = missed, 0
        self._start_ms, self._interval_ms = start_ms, interval_ms
        self._polls = self._expected = self._missing = self._unexplained = self._gap_count = 0
        self._reasons: Counter[str] = Counter()
        self._longest: list[tuple[int, int, Gap]] = []
        self._distances: Counter[int] = Counter()
        self._on_time: int | None = None  # the last scheduled poll
        self._early = False  # whether the next scheduled one may have come
        self._newest: int | None = None

    def add(self, polls_ms: list[int]) -> None:
        """Add the times of the next polls, ms, in order."""
        for first in range(0, len(polls_ms), _BATCH):
            batch = polls_ms[first : first + _BATCH]
            if not self._add_regular(batch):
                for ts_ms in batch:
                    self._add_one(ts_ms)

    def _add_regular(self, batch: list[int]) -> bool:
        """Add polls that all follow the schedule, at once; False if they do not."""
        on_time, newest = self._on_time, self._newest
        if on_time is None or newest is None or self._early:
            return False
        if (
            self._next_missed < len(self._missed)
            and self._missed[self._next_missed].ts_ms < batch[-1]
        ):
            return False
        polls_ms = [on_time, newest, *batch]
        distances = list(map(int.__sub__, polls_ms[1:], polls_ms))
        low, high = self._interval_ms * _EXTRA, self._interval_ms * _NEXT_BUT_ONE
        if not (low < min(distances) and max(distances) < high):
            return False
        self._polls += len(batch)
        self._expected += len(batch)
        self._distances.update([round(distance / 1000) for distance in distances[1:]])
        self._on_time, self._newest = polls_ms[-2:]
        return True

    def _add_one(self, ts_ms: int) -> None:
        self._polls += 1
        before, self._newest = self._newest, ts_ms
        if before is not None:
            self._distances[round((ts_ms - before) / 1000)] += 1
            self._place(before, ts_ms)

    def _place(self, ts_ms: int, next_ms: int | None) -> None:
        """Place a poll in the schedule. The poll after it may show that this one was late."""
        if self._on_time is None:
            # The first poll may come up to an interval after the beginning.
            self._add_gap(self._start_ms, ts_ms, (ts_ms - self._start_ms) // self._interval_ms)
        elif ts_ms - self._on_time <= self._interval_ms * _EXTRA:
            self._early = self._early or ts_ms - self._on_time >= self._interval_ms * _EARLY
            return
        else:
            missing = round((ts_ms - self._on_time) / self._interval_ms) - 1
            if missing == 1 and self._early:
                missing = 0
                self._expected += 1
            elif missing == 1 and ts_ms - self._on_time < 2 * self._interval_ms:
                # Late by retries if the next scheduled poll follows at once.
                soon = next_ms is not None and next_ms - ts_ms <= self._interval_ms * _EXTRA
                missing = 0 if soon else 1
            if missing or self._next_missed < len(self._missed):
                self._add_gap(self._on_time, ts_ms, missing)
        self._on_time, self._early = ts_ms, False
        self._expected += 1

    def result(self, stop_ms: int) -> Coverage:
        """Return the coverage of the interval, which ends at `stop_ms`, excluded."""
        if self._newest is not None:
            self._place(self._newest, None)
        since = self._start_ms if self._on_time is None else self._on_time
        # What is due at `stop_ms` itself is not late yet.
        self._add_gap(since, stop_ms, (stop_ms - since - 1) // self._interval_ms)
        longest = sorted((gap for _, _, gap in self._longest), key=lambda gap: gap.start_ms)
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
            gaps=tuple(longest),
            usual_s=usual_s,
            last_ms=self._newest,
        )

    def _count_slow(self, usual_s: int | None, stop_ms: int) -> None:
        """Count by time where polls are usually too far apart: 40 s never look like a gap of 30 s.

        Single late polls do not change the usual distance.
        """
        interval_s = self._interval_ms // 1000
        if usual_s is None or usual_s < interval_s or fits_schedule(usual_s, interval_s):
            return
        due = (stop_ms - self._start_ms - 1) // self._interval_ms + 1
        self._missing = max(0, due - self._expected)
        self._unexplained = max(0, self._missing - sum(self._reasons.values()))

    def _add_gap(self, start_ms: int, stop_ms: int, missing: int) -> None:
        inside: Counter[str] = Counter()
        while self._next_missed < len(self._missed):
            missed = self._missed[self._next_missed]
            if missed.ts_ms >= stop_ms:
                break
            inside[missed.reason] += 1
            self._next_missed += 1
        if missing <= 0:
            return  # one run failed, but another one made the poll
        gap = Gap(start_ms, stop_ms, missing, dict(inside))
        self._missing += missing
        self._unexplained += gap.unexplained
        self._gap_count += 1
        self._reasons.update(inside)
        entry = (missing, -self._gap_count, gap)
        if len(self._longest) < _LISTED_GAPS:
            heapq.heappush(self._longest, entry)
        else:
            heapq.heappushpop(self._longest, entry)
