"""Compares polls with the schedule, by their scheduled times: a difference of two sets."""

import heapq
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import Final

from luxcli.model import CLOCK_DOUBTED, EXTRA, OVERRUN, SUSPICIOUS
from luxcli.recording import limits
from luxcli.recording.coverage import Coverage, Gap

# The longest gaps are listed, for people; an outage of months is one gap anyway.
_LISTED_GAPS: Final = 20
# Polls that are looked at together: an hour of them.
_BATCH: Final = 120
# How late the next poll may be stored that nothing follows yet: the process has to start, the heat
# pump to answer.
_GRACE_MS: Final = 30_000
# A task planner may start the polls of a minute so late.
_LATE_START_MS: Final = 60_000

# ``(ts_ms, late_ms, interval_s, flags, reason)`` of a poll, without reason, or of a missed poll.
Row = tuple[int, int, int, int, str]
# Entries of the schedule are sorted by scheduled time; where there are several for one, a poll
# comes first, and an overrun, which only follows from a poll that took long, last:
# ``(scheduled_ms, rank, ts_ms, interval_ms, reason)``.
_Entry = tuple[int, int, int, int, str]
_POLL, _MISSED, _OVERRUN = range(3)
# By its own time, a poll or missed poll lies so far before or behind its scheduled time at most.
EARLIEST_MS: Final = -3_600_000
LATEST_MS: Final = limits.LATEST_S * 1000


def is_scheduled(row: Row) -> bool:
    """Whether a poll or missed poll is part of the schedule."""
    _ts_ms, late_ms, interval_s, flags, _reason = row
    return (
        not flags & (EXTRA | CLOCK_DOUBTED)
        and interval_s > 0
        and EARLIEST_MS <= late_ms <= LATEST_MS
    )


class CoverageCounter:
    """Counts the scheduled times of an interval that have a poll, a reason, or neither.

    Between two consecutive entries of the schedule there is a scheduled time each interval of the
    earlier one. So a schedule may change, and nothing depends on the interval configured now.

    Args:
        start_ms: Beginning of the interval.
        stop_ms: Its end, excluded.
        before: Scheduled time (ms) and interval (s) of an entry of the schedule before the first
            that is added; None when there is none, so that recording begins with the first entry.
    """

    def __init__(self, start_ms: int, stop_ms: int, before: tuple[int, int] | None) -> None:
        self._start_ms, self._stop_ms = start_ms, stop_ms
        # The last entry of the schedule, where the schedule goes on.
        self._last_ms: int | None = before[0] if before else None
        self._interval_ms = before[1] * 1000 if before else 0
        self._late_ms = 0
        self._begin_ms = start_ms if before else None
        self._held: list[_Entry] = []
        self._followed = False
        self._made = self._unexplained = self._extra = self._duplicates = self._doubted = 0
        self._suspicious = 0
        self._reasons: Counter[str] = Counter()
        self._newest_ms: int | None = None
        self._distances: Counter[int] = Counter()
        self._last_made_ms: int | None = None
        # The gap that is open.
        self._lacking: Counter[str] = Counter()  # by reason, "" if there is none
        self._gap_count = 0
        self._longest: list[tuple[int, int, Gap]] = []

    def add(self, rows: Sequence[Row]) -> None:
        """Add polls and missed polls, in order of their own times.

        The interval needs those from `EARLIEST_MS` before to `LATEST_MS` after it.
        """
        if not rows:
            return
        # Late ones come after those of later scheduled times.
        self._held = sorted([*self._held, *self._entries(rows)])
        complete = bisect_left(self._held, (rows[-1][0] - LATEST_MS,))
        self._count(self._held[:complete])
        del self._held[:complete]

    def result(self, *, followed: bool) -> Coverage:
        """Return the coverage of the interval.

        Args:
            followed: Whether there are later entries of the schedule than those added. Without one,
                the next poll may still come a little late.
        """
        self._count(self._held)
        self._held = []
        stop_ms = self._stop_ms
        if not (followed or self._followed):
            late_ms = min(max(0, self._late_ms), _LATE_START_MS)
            stop_ms -= late_ms + min(self._interval_ms // 2, _GRACE_MS)
        self._miss("", self._unrecorded_until(stop_ms))
        self._end_gap(self._stop_ms)
        usual = self._distances.most_common(1)
        return Coverage(
            self._start_ms if self._begin_ms is None else self._begin_ms,
            self._stop_ms,
            made=self._made,
            reasons=dict(self._reasons),
            unexplained=self._unexplained,
            extra=self._extra,
            duplicates=self._duplicates,
            doubted=self._doubted,
            suspicious=self._suspicious,
            gap_count=self._gap_count,
            gaps=tuple(sorted((g for _, _, g in self._longest), key=lambda gap: gap.start_ms)),
            usual_s=usual[0][0] // 1000 if usual else None,
            last_ms=self._newest_ms,
        )

    def _entries(self, rows: Sequence[Row]) -> Iterable[_Entry]:
        """Return the entries of the schedule among rows; count the others."""
        times_ms, late_ms, intervals_s, flags, reasons = zip(*rows, strict=True)
        if (
            not (any(flags) or any(reasons))
            and min(intervals_s) == max(intervals_s) > 0
            and EARLIEST_MS <= min(late_ms) <= max(late_ms) <= LATEST_MS
        ):
            inside = bisect_left(times_ms, self._stop_ms)
            if inside and times_ms[inside - 1] >= self._start_ms:
                self._newest_ms = times_ms[inside - 1]
            scheduled_ms = map(int.__sub__, times_ms, late_ms)
            alike = (repeat(intervals_s[0] * 1000), repeat(""))
            return zip(scheduled_ms, repeat(_POLL), times_ms, *alike, strict=False)
        entries = []
        for ts_ms, late, interval_s, flag, reason in rows:
            if flag & CLOCK_DOUBTED or not EARLIEST_MS <= late <= LATEST_MS:
                self._doubted += not reason and self._has(ts_ms)
                continue
            if not reason and self._has(ts_ms):
                self._newest_ms = ts_ms
                self._suspicious += bool(flag & SUSPICIOUS)
            if flag & EXTRA or interval_s <= 0:
                self._extra += not reason and self._has(ts_ms)
                continue
            rank = _OVERRUN if reason == OVERRUN else _MISSED if reason else _POLL
            entries.append((ts_ms - late, rank, ts_ms, interval_s * 1000, reason))
        return entries

    def _has(self, ts_ms: int) -> bool:
        return self._start_ms <= ts_ms < self._stop_ms

    def _count(self, entries: Sequence[_Entry]) -> None:
        for first in range(0, len(entries), _BATCH):
            batch = entries[first : first + _BATCH]
            if not self._count_regular(batch):
                for entry in batch:
                    self._count_one(entry)

    def _count_regular(self, batch: Sequence[_Entry]) -> bool:
        """Count polls that follow the one before and each other, at once; False if they do not."""
        first, last, interval_ms = batch[0], batch[-1], self._interval_ms
        if (
            self._last_made_ms is None
            or self._last_made_ms != self._last_ms
            or first[0] < self._start_ms
            or last[0] >= self._stop_ms
            or last[0] - self._last_made_ms != len(batch) * interval_ms
        ):
            return False
        scheduled_ms, ranks, _times_ms, intervals_ms, _reasons = zip(*batch, strict=True)
        expected = range(first[0], last[0] + 1, interval_ms)
        if any(ranks) or scheduled_ms != tuple(expected) or {*intervals_ms} != {interval_ms}:
            return False
        self._made += len(batch)
        self._distances[interval_ms] += len(batch)
        self._last_ms = self._last_made_ms = last[0]
        self._late_ms = last[2] - last[0]
        return True

    def _count_one(self, entry: _Entry) -> None:
        scheduled_ms, rank, ts_ms, interval_ms, reason = entry
        if scheduled_ms >= self._stop_ms:
            self._followed = True
            return
        if scheduled_ms == self._last_ms and scheduled_ms >= self._start_ms:
            self._duplicates += rank == _POLL  # then the first is one, too
            return
        if scheduled_ms >= self._start_ms:
            if self._begin_ms is None:
                self._begin_ms = scheduled_ms
            self._miss("", self._unrecorded_until(scheduled_ms))
            if rank == _POLL:
                self._make(scheduled_ms)
            else:
                self._miss(reason, 1)
        else:
            self._begin_ms = self._start_ms
            if self._last_ms is not None and scheduled_ms < self._last_ms:
                return
        self._last_ms, self._interval_ms = scheduled_ms, interval_ms
        self._late_ms = ts_ms - scheduled_ms

    def _unrecorded_until(self, until_ms: int) -> int:
        """Return how many scheduled times of the interval lie between the last entry and a time."""
        if self._last_ms is None:
            return 0
        before = max(0, (self._start_ms - 1 - self._last_ms) // self._interval_ms)
        return max(0, (until_ms - 1 - self._last_ms) // self._interval_ms - before)

    def _make(self, scheduled_ms: int) -> None:
        self._end_gap(scheduled_ms)
        self._made += 1
        if self._last_made_ms is not None:
            self._distances[scheduled_ms - self._last_made_ms] += 1
        self._last_made_ms = scheduled_ms

    def _miss(self, reason: str, count: int) -> None:
        self._lacking[reason] += count

    def _end_gap(self, stop_ms: int) -> None:
        missing = self._lacking.total()
        if not missing:
            return
        unexplained = self._lacking.pop("", 0)
        start_ms = self._start_ms if self._begin_ms is None else self._begin_ms
        start_ms = start_ms if self._last_made_ms is None else self._last_made_ms
        gap = Gap(start_ms, stop_ms, missing, dict(self._lacking))
        self._reasons.update(self._lacking)
        self._unexplained += unexplained
        self._lacking.clear()
        self._gap_count += 1
        entry = (missing, -self._gap_count, gap)
        if len(self._longest) < _LISTED_GAPS:
            heapq.heappush(self._longest, entry)
        else:
            heapq.heappushpop(self._longest, entry)
