"""Compares polls with the schedule, by their scheduled times: a difference of two sets."""

import heapq
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from luxcli.model import CLOCK_DOUBTED, EXTRA, OVERRUN, SUSPICIOUS
from luxcli.recording import limits
from luxcli.recording.coverage import Coverage, Gap

# The longest gaps are listed, for people; an outage of months is one gap anyway.
_LISTED_GAPS: Final = 20
# How late the next poll may be stored that nothing follows yet: the process has to start, the heat
# pump to answer.
_GRACE_MS: Final = 30_000
# A task planner may start the polls of a minute so late.
_LATE_START_MS: Final = 60_000

# One row that `Database.timings` yields.
Row = tuple[int, int, int, int, str, int]
# Entries of the schedule are sorted by scheduled time; where there are several for one, a poll
# comes first, and an overrun, which only follows from a poll that took long, last:
# ``(scheduled_ms, rank, ts_ms, interval_ms, reason, count)``. A count above 1 is a run of polls for
# consecutive scheduled times, of which ``scheduled_ms`` is the first, and ``ts_ms`` is the time of
# the last.
_Entry = tuple[int, int, int, int, str, int]
_POLL, _MISSED, _OVERRUN = range(3)
# By its own time, a poll or missed poll lies so far before or behind its scheduled time at most.
EARLIEST_MS: Final = -3_600_000
LATEST_MS: Final = limits.LATEST_S * 1000


def is_scheduled(row: Row) -> bool:
    """Whether a poll or missed poll is part of the schedule."""
    _ts_ms, late_ms, interval_s, flags, _reason, _count = row
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
        held = sorted([*self._held, *self._entries(rows)])
        complete, ended_ms = 0, self._start_ms + EARLIEST_MS - LATEST_MS
        for number, entry in enumerate(held):
            if ended_ms < entry[0]:
                complete = number  # nothing before reaches into what comes
            ended_ms = max(ended_ms, _end(entry))
            if ended_ms >= rows[-1][0] - LATEST_MS:
                break
        self._count(held[:complete])
        self._held = held[complete:]

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
        self._lacking[""] += self._unrecorded_until(stop_ms)
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

    def _entries(self, rows: Sequence[Row]) -> Iterator[_Entry]:
        """Yield the entries of the schedule among rows; count the others."""
        for ts_ms, late_ms, interval_s, flags, reason, count in rows:
            is_poll_inside = not reason and self._start_ms <= ts_ms < self._stop_ms
            if flags & CLOCK_DOUBTED or not EARLIEST_MS <= late_ms <= LATEST_MS:
                self._doubted += is_poll_inside
                continue
            if is_poll_inside:
                self._newest_ms = ts_ms
                self._suspicious += bool(flags & SUSPICIOUS)
            if flags & EXTRA or interval_s <= 0:
                self._extra += is_poll_inside
                continue
            rank = _OVERRUN if reason == OVERRUN else _MISSED if reason else _POLL
            step_ms = interval_s * 1000
            first_ms = ts_ms - late_ms - (count - 1) * step_ms
            yield (first_ms, rank, ts_ms, step_ms, reason, count)

    def _count(self, entries: Sequence[_Entry]) -> None:
        for first_ms, rank, ts_ms, step_ms, reason, count in self._split(entries):
            self._count_one(first_ms, rank, ts_ms, step_ms, reason)
            if count > 1:
                self._made += count - 1
                self._distances[step_ms] += count - 1
                self._last_ms = self._last_made_ms = first_ms + (count - 1) * step_ms
                self._late_ms = ts_ms - self._last_ms

    def _split(self, entries: Sequence[_Entry]) -> list[_Entry]:
        """Return entries with single polls for runs that another one or a bound lies within."""
        single: list[_Entry] = []
        ended_ms = self._start_ms - 1
        for number, entry in enumerate(entries):
            first_ms, rank, ts_ms, step_ms, reason, count = entry
            last_ms, following = _end(entry), entries[number + 1 : number + 2]
            inside = ended_ms < first_ms and last_ms < self._stop_ms
            if count == 1 or (inside and (not following or last_ms < following[0][0])):
                single.append(entry)
            else:
                late_ms = ts_ms - last_ms
                single += [
                    (due_ms, rank, due_ms + late_ms, step_ms, reason, 1)
                    for due_ms in range(first_ms, last_ms + 1, step_ms)
                ]
            ended_ms = max(ended_ms, last_ms)
        return sorted(single)

    def _count_one(
        self, scheduled_ms: int, rank: int, ts_ms: int, interval_ms: int, reason: str
    ) -> None:
        if scheduled_ms >= self._stop_ms:
            self._followed = True
            return
        if scheduled_ms == self._last_ms and scheduled_ms >= self._start_ms:
            self._duplicates += rank == _POLL  # then the first is one, too
            return
        if scheduled_ms >= self._start_ms:
            if self._begin_ms is None:
                self._begin_ms = scheduled_ms
            self._lacking[""] += self._unrecorded_until(scheduled_ms)
            if rank == _POLL:
                self._make(scheduled_ms)
            else:
                self._lacking[reason] += 1
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


def _end(entry: _Entry) -> int:
    """Return the scheduled time of the last poll of a run, or of the only entry."""
    first_ms, _rank, _ts_ms, step_ms, _reason, count = entry
    return first_ms + (count - 1) * step_ms
