"""Writes the times of polls and of the controller as cells of a CSV."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, tzinfo
from itertools import groupby
from typing import Final

# UTC offsets change only at multiples of 15 minutes, so each quarter of an hour has one offset.
_QUARTER_S: Final = 900
_QUARTER_MS: Final = _QUARTER_S * 1000
_MINUTES: Final = tuple(f"{minute:02}:{second:02}" for minute in range(60) for second in range(60))


class Moments:
    """Writes the times of polls, reusing the text that is the same for a quarter of an hour."""

    def __init__(self, zone: tzinfo, delimiter: str) -> None:
        self._zone, self._delimiter = zone, delimiter
        self._quarter: int | None = None
        self._regular = False
        self._utc = self._local = ("", 0)  # up to the hour, and the second in it

    def utc(self, time_s: int) -> str:
        """Return a time in UTC only."""
        quarter, second = divmod(time_s, _QUARTER_S)
        if quarter != self._quarter:
            self._begin(quarter)
        utc, utc_s = self._utc
        return f"{utc}{_MINUTES[utc_s + second]}Z"

    def utc_cells(self, times: Iterable[int]) -> Iterator[str]:
        """Yield times, s, in UTC, each behind a delimiter."""
        for quarter, within in groupby(times, key=_QUARTER_S.__rfloordiv__):
            self._begin(quarter)
            (utc, utc_s), first_s = self._utc, quarter * _QUARTER_S
            before = self._delimiter + utc
            for time_s in within:
                yield f"{before}{_MINUTES[utc_s + time_s - first_s]}Z"

    def texts(self, times: Iterable[int]) -> Iterator[str]:
        """Yield the times of polls, ms, as both columns."""
        delimiter = self._delimiter
        for quarter, polls in groupby(times, key=_QUARTER_MS.__rfloordiv__):
            self._begin(quarter)
            if not self._regular:
                yield from (delimiter.join(self._both(ts_ms // 1000)) for ts_ms in polls)
                continue
            (utc, utc_s), (local, local_s) = self._utc, self._local
            between, end = f"Z{delimiter}{local}", self._offset
            first_s = quarter * _QUARTER_S
            for ts_ms in polls:
                second = ts_ms // 1000 - first_s
                here, there = _MINUTES[utc_s + second], _MINUTES[local_s + second]
                yield f"{utc}{here}{between}{there}{end}"

    def _begin(self, quarter: int) -> None:
        """Prepare a quarter of an hour: its texts, and whether its UTC offset is constant."""
        self._quarter = quarter
        first, last = (
            datetime.fromtimestamp(quarter * _QUARTER_S + second, UTC)
            for second in (0, _QUARTER_S - 1)
        )
        local = first.astimezone(self._zone)
        offset = local.utcoffset()
        assert offset is not None
        unchanged = last.astimezone(self._zone).utcoffset() == offset
        self._regular = unchanged and offset.total_seconds() % _QUARTER_S == 0
        self._utc, self._local = (
            (moment.isoformat()[:14], moment.minute * 60) for moment in (first, local)
        )
        self._offset = local.isoformat()[19:]

    def _both(self, time_s: int) -> tuple[str, str]:
        moment = datetime.fromtimestamp(time_s, UTC)
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ"), moment.astimezone(self._zone).isoformat()
