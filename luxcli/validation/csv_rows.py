"""Judges the numbers in the rows of a CSV by the rules for polls, as far as its columns allow."""

from collections import Counter
from collections.abc import Sequence
from typing import Final

from luxcli.registers import numbers, ranges
from luxcli.registers.catalogue import Register
from luxcli.validation.behaviour import SPIKES, STUCK, Frozen, Spikes, Stuck
from luxcli.validation.counters import Counters
from luxcli.validation.findings import Findings, Poll, area_of
from luxcli.validation.judge import FEWEST_READINGS, longest_pause_s
from luxcli.validation.rules import Area
from luxcli.validation.values import Ranges

# Beyond every index that a check asks for.
_LENGTH: Final = 300
_NO_PARAMETERS: Final = (None,) * 1200
_NUMBERS: Final = frozenset({*ranges.RANGES, *ranges.COUNTERS, *STUCK, *SPIKES})
# No controller sends fewer than 200 calculations, so these columns are never empty (source:
# "controller.md" section 1); the time of the newest error is, as long as there was none.
_ALWAYS: Final = frozenset({*ranges.CRITICAL, *ranges.IMPORTANT} - {numbers.ERROR_TIMES.start})
# A clock that has just died tells no time for some polls.
_IN_EACH_ROW: Final = _ALWAYS - {numbers.CLOCK}
# Counters have a new value in each row.
_MOST_REMEMBERED: Final = 4096


class Values:
    """Goes through the rows of a CSV.

    Args:
        found: Takes the findings.
        columns: The register of each column, None where it is none.
        interval_s: Seconds between rows by the schedule.
    """

    def __init__(
        self, found: Findings, columns: Sequence[Register | None], interval_s: int
    ) -> None:
        self._found = found
        self._columns = [
            (place, register)
            for place, register in enumerate(columns)
            if register is not None and register.group == "calculations"
        ]
        self._numbers = [
            (place, register.index, _Numbers(register.scale))
            for place, register in self._columns
            if register.index in _NUMBERS
        ]
        self._ranges, self._stuck = Ranges(found), [Stuck(found, index) for index in STUCK]
        self._counters, self._spikes = Counters(found), Spikes(found)
        here = {register.index for _, register in self._columns}
        # A few columns may well stay the same.
        whole = len(here) >= FEWEST_READINGS and numbers.DISPLAY_TIMER in here
        self._frozen = Frozen(found) if whole else None
        self._broken_s = longest_pause_s(interval_s)
        self._filled: Counter[int] = Counter()
        self._rows = self._first_ms = self._last_ms = 0

    def see(self, ts_ms: int, cells: Sequence[str]) -> None:
        """Look at one row; what its column cannot hold has to be an empty cell."""
        if ts_ms <= self._last_ms:
            return  # told by its time already
        gap_s = (ts_ms - self._last_ms) / 1000 if self._last_ms else 0.0
        broken = not self._last_ms or gap_s > self._broken_s
        self._first_ms, self._last_ms = self._first_ms or ts_ms, ts_ms
        raws: list[int | None] = [None] * _LENGTH
        for place, index, values in self._numbers:
            raws[index] = values[cells[place]]
        poll = Poll(ts_ms, tuple(raws), _NO_PARAMETERS, gap_s, broken)
        self._rows += 1
        self._counters.see(poll, anew=False)
        self._ranges.see(poll)
        self._spikes.see(poll)
        for sensor in self._stuck:
            sensor.see(poll)
        texts: list[object] = [None] * _LENGTH
        for place, register in self._columns:
            if cells[place]:
                texts[register.index] = cells[place]
                self._filled[register.index] += 1
        if self._frozen is not None:
            self._frozen.see(ts_ms, texts)

    def end(self) -> None:
        """Judge what lasts until the end."""
        for sensor in self._stuck:
            sensor.end()
        self._counters.end()
        for _, register in self._columns:
            empty = self._rows - self._filled[register.index]
            if empty and register.index in _ALWAYS and not self._filled[register.index]:
                self._tell_empty("csv-empty-column", register, "empty in all rows", 1)
            elif empty and register.index in _IN_EACH_ROW:
                text = f"empty in {empty} of {self._rows} rows"
                self._tell_empty("csv-holes", register, text, empty)

    def _tell_empty(self, rule: str, register: Register, text: str, count: int) -> None:
        self._found.add(
            rule,
            self._last_ms,
            text,
            index=register.index,
            since_ms=self._first_ms,
            count=count,
        )

    @property
    def areas(self) -> frozenset[Area]:
        """The kinds of data of which there was something to judge."""
        filled = {index for _, index, _ in self._numbers if self._filled[index]}
        areas = {area_of("range", "calculations", index) for index in filled & set(ranges.RANGES)}
        # By the name of any rule about counters.
        counters = filled & set(ranges.COUNTERS)
        areas |= {area_of("counter-decrease", "calculations", index) for index in counters}
        if self._frozen is not None and self._last_ms:
            areas.add("status")
        return frozenset(areas)

    def not_fitted(self) -> tuple[str, ...]:
        """Return the ids of sensors that showed nothing but their value for "not fitted"."""
        return self._ranges.not_fitted()


class _Numbers(dict[str, int | None]):
    """Cell to raw value, worked out once for each text; None for what is no number."""

    def __init__(self, scale: int) -> None:
        super().__init__()
        self._scale = scale

    def __missing__(self, cell: str) -> int | None:
        if len(self) >= _MOST_REMEMBERED:
            self.clear()
        try:
            raw = round(float(cell.replace(",", ".")) * self._scale)
        except (ValueError, OverflowError):
            raw = None
        self[cell] = raw
        return raw
