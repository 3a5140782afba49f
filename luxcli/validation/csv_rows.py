"""Checks of the numbers in a CSV: the rules about polls, as far as the columns allow."""

import functools
import re
from collections import Counter
from collections.abc import Sequence
from typing import ClassVar, Final

from luxcli.exports.csv_file import title
from luxcli.registers import catalogue, numbers, ranges
from luxcli.registers.catalogue import Register
from luxcli.validation.blocks import FEWEST_READINGS
from luxcli.validation.counters import Counters
from luxcli.validation.findings import Check, Findings, Poll, area_of
from luxcli.validation.judge import PADDED, longest_pause_s
from luxcli.validation.rules import Area
from luxcli.validation.stillness import MOVING, SPIKES, Frozen, Spikes, Stuck
from luxcli.validation.values import Ranges

_LENGTH: Final = PADDED["calculations"]
_NO_PARAMETERS: Final = (None,) * PADDED["parameters"]
_NUMBERS: Final = frozenset({*ranges.RANGES, *ranges.COUNTERS, *MOVING, *SPIKES})
# No controller sends fewer than 200 calculations (docs/registers.md, "The controller"), so these
# columns are never empty, except the time of the newest error as long as there was none.
_ALWAYS: Final = frozenset({*ranges.CRITICAL, *ranges.IMPORTANT} - {numbers.ERROR_TIMES.start})
# A clock that was lost shows no time for some polls.
_IN_EACH_ROW: Final = _ALWAYS - {numbers.CLOCK}
# What the cells of a CSV look like, by the kind of their column.
_INTEGER: Final = re.compile(r"-?[0-9]+")
_DECIMAL: Final = re.compile(r"-?[0-9]+[.,][0-9]+")
_TIME_OF_DAY: Final = re.compile("[0-9]{2}:[0-9]{2}(:[0-9]{2})?|-?[0-9]+")
_PERIOD: Final = re.compile("[0-9]{2}:[0-9]{2}-[0-9]{2}:[0-9]{2}|-?[0-9]+")
TIME: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
_ADDRESS: Final = re.compile(r"[0-9]{1,3}(\.[0-9]{1,3}){3}")
# Counters have a new value in each row.
_MOST_REMEMBERED: Final = 4096


class Values:
    """The numbers of a CSV, row by row.

    Args:
        findings: Takes what is found.
        columns: The register of each column, None where a column belongs to no register.
        interval_s: Seconds between scheduled rows.
    """

    rules: ClassVar = ("csv-empty-column", "csv-holes")

    def __init__(
        self, findings: Findings, columns: Sequence[Register | None], interval_s: int
    ) -> None:
        self._findings = findings
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
        self._ranges = Ranges(findings)
        self._checks: tuple[Check, ...] = (
            *(Counters(findings), self._ranges, Spikes(findings), Stuck(findings)),
        )
        present = {register.index for _, register in self._columns}
        # A few columns alone may well stay the same.
        whole = len(present) >= FEWEST_READINGS and numbers.DISPLAY_TIMER in present
        self._frozen = Frozen(findings) if whole else None
        self._pause_s = longest_pause_s(interval_s)
        self._filled: Counter[int] = Counter()
        self._rows = self._first_ms = self._last_ms = 0

    def update(self, ts_ms: int, cells: Sequence[str]) -> None:
        """Take the next row; a cell that its column cannot hold must be empty."""
        if ts_ms <= self._last_ms:
            return  # reported as out of order
        gap_s = (ts_ms - self._last_ms) / 1000 if self._last_ms else 0.0
        after_pause = not self._last_ms or gap_s > self._pause_s
        self._first_ms, self._last_ms = self._first_ms or ts_ms, ts_ms
        raws: list[int | None] = [None] * _LENGTH
        for place, index, values in self._numbers:
            raws[index] = values[cells[place]]
        poll = Poll(ts_ms, tuple(raws), _NO_PARAMETERS, gap_s, after_pause)
        self._rows += 1
        for check in self._checks:
            check.update(poll)
        texts: list[object] = [None] * _LENGTH
        for place, register in self._columns:
            if cells[place]:
                texts[register.index] = cells[place]
                self._filled[register.index] += 1
        if self._frozen is not None:
            self._frozen.compare(ts_ms, texts)

    def end(self) -> None:
        """Judge the whole after the last row."""
        for check in self._checks:
            check.end()
        for _, register in self._columns:
            empty = self._rows - self._filled[register.index]
            if empty and register.index in _ALWAYS and not self._filled[register.index]:
                self._report_empty("csv-empty-column", register, "empty in all rows", 1)
            elif empty and register.index in _IN_EACH_ROW:
                text = f"empty in {empty} of {self._rows} rows"
                self._report_empty("csv-holes", register, text, empty)

    def _report_empty(self, rule: str, register: Register, text: str, count: int) -> None:
        self._findings.add(
            rule,
            self._last_ms,
            text,
            index=register.index,
            since_ms=self._first_ms,
            count=count,
        )

    @property
    def areas(self) -> frozenset[Area]:
        """Kinds of data that the columns allow to judge."""
        filled = {index for _, index, _ in self._numbers if self._filled[index]}
        areas = {area_of("range", "calculations", index) for index in filled & set(ranges.RANGES)}
        # Any rule about counters has the area of all.
        counters = filled & set(ranges.COUNTERS)
        areas |= {area_of("counter-decrease", "calculations", index) for index in counters}
        if self._frozen is not None and self._last_ms:
            areas.add("status")
        return frozenset(areas)

    def not_fitted(self) -> tuple[str, ...]:
        """Return the ids of sensors that showed nothing but their value for "not fitted"."""
        return self._ranges.not_fitted()


class _Numbers(dict[str, int | None]):
    """Maps a cell to its raw value, computed once for each text; None where it is no number."""

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


class Cells(dict[str, bool]):
    """Maps a cell to whether its column can hold it, computed once for each text."""

    def __init__(self, register: Register) -> None:
        super().__init__()
        labels = set() if register.kind == "code" else set(register.labels.values())
        self._labels = labels
        self._pattern: re.Pattern[str] | None = _INTEGER
        self.expected = "a whole number"
        match register.kind:
            case "switch":
                self._pattern, self.expected = re.compile("[01]"), "0 or 1"
            case "enum":
                self.expected = "a label or code of 'luxcli sensors'"
            case "time":
                self._pattern, self.expected = TIME, "a time"
            case "time of day":
                self._pattern, self.expected = _TIME_OF_DAY, "a time of day"
            case "period":
                self._pattern, self.expected = _PERIOD, "a period of the day"
            case "address":
                self._pattern, self.expected = _ADDRESS, "an address"
            case "text":
                self._pattern, self.expected = None, "a text"
            case _ if register.scale != 1 or any(case.series for case in register.cases):
                self._pattern, self.expected = _DECIMAL, "a decimal number"

    def __missing__(self, cell: str) -> bool:
        if len(self) >= _MOST_REMEMBERED:
            self.clear()
        pattern = self._pattern
        good = cell in self._labels or pattern is None or pattern.fullmatch(cell) is not None
        self[cell] = good
        return good


def register_of(name: str) -> Register | None:
    """Return the register that a column is named after, by id or by English name with unit."""
    try:
        return catalogue.by_id(name)
    except KeyError:
        return _names().get(name)


@functools.cache
def _names() -> dict[str, Register]:
    return {title(register, "name"): register for register in catalogue.catalogue()}
