"""Judges whether single values lie in their ranges."""

from typing import Final

from luxcli.registers import catalogue, numbers, ranges
from luxcli.validation.findings import Findings, Poll

_FINE, _EMPTY, _ODD, _IMPOSSIBLE, _NONE = range(5)
# Set-points are 0 while their circuit is off, which is no broken wire.
_SET_POINTS: Final = frozenset(
    {
        numbers.RETURN_SET_POINT,
        numbers.DHW_SET_POINT,
        numbers.MIXING_1_SET_POINT,
        numbers.MIXING_2_SET_POINT,
        numbers.MIXING_3_SET_POINT,
    }
)
_INTERRUPTION_RAW: Final = 100  # 10 K
_MOST_REMEMBERED: Final = 5000
# Counters pass through 32767; the largest integer is nobody's value.
LARGEST: Final = 2**31 - 1
CLOSE_S: Final = 600


class _Range:
    """One sensor with a range; remembers what it thinks of each raw value."""

    def __init__(self, index: int) -> None:
        self.index, self.register = index, catalogue.register("calculations", index)
        self.verdicts: dict[int, int] = {}
        self.last: tuple[int, int] | None = None  # raw value and what it is
        self.real = self.empty = False
        self.began_empty = False

    def verdict(self, raw: int) -> int:
        found = self.verdicts.get(raw)
        if found is None:
            if len(self.verdicts) > _MOST_REMEMBERED:
                self.verdicts.clear()
            found = self.verdicts[raw] = self._judged(raw)
        return found

    def _judged(self, raw: int) -> int:
        if (
            self.index in ranges.CRITICAL
            and self.index != numbers.DHW_TEMPERATURE
            and raw in ranges.NO_VALUE_RAW
        ):
            return _NONE
        if ranges.is_not_fitted(self.index, raw):
            return _EMPTY
        value, allowed = raw / self.register.scale, ranges.RANGES[self.index]
        if not allowed.reject[0] <= value <= allowed.reject[1]:
            return _IMPOSSIBLE
        return _FINE if allowed.warn[0] <= value <= allowed.warn[1] else _ODD

    def text(self, raw: int) -> str:
        return f"{raw / self.register.scale} {self.register.unit}"


class Ranges:
    """Ranges, and values that stand for "not fitted" between real ones."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._sensors = [_Range(index) for index in ranges.RANGES]

    def see(self, poll: Poll) -> None:
        """Look at one poll."""
        block = poll.calculations
        for sensor in self._sensors:
            raw = block[sensor.index]
            last = sensor.last
            if raw is None or (last is not None and last[0] == raw and last[1] <= _EMPTY):
                continue
            verdict = sensor.verdict(raw)
            if verdict > _EMPTY:
                self._odd(sensor, raw, verdict, poll.ts_ms)
            if last is not None and (last[1] == _EMPTY) != (verdict == _EMPTY):
                self._interrupted(sensor, last[0], raw, poll)
            sensor.real = sensor.real or verdict != _EMPTY
            sensor.empty = sensor.empty or verdict == _EMPTY
            sensor.last = (raw, verdict)

    def not_fitted(self) -> tuple[str, ...]:
        """Return the ids of sensors that showed nothing but their value for "not fitted"."""
        return tuple(one.register.id for one in self._sensors if one.empty and not one.real)

    def _odd(self, sensor: _Range, raw: int, verdict: int, ts_ms: int) -> None:
        rule = {_ODD: "range", _IMPOSSIBLE: "range-impossible", _NONE: "no-value"}[verdict]
        allowed = ranges.RANGES[sensor.index]
        low, high = allowed.warn if verdict == _ODD else allowed.reject
        self._findings.add(
            rule,
            ts_ms,
            lambda: sensor.text(raw),
            index=sensor.index,
            expected=f"{low} to {high} {sensor.register.unit}",
        )

    def _interrupted(self, sensor: _Range, before: int, raw: int, poll: Poll) -> None:
        """A value passes 0.0 or 5.0 °C in small steps; a wire that breaks makes a jump."""
        near = abs(raw - before) <= _INTERRUPTION_RAW and LARGEST not in (raw, before)
        if near or sensor.index in _SET_POINTS or poll.gap_s > CLOSE_S:
            return
        self._findings.add(
            "interrupted",
            poll.ts_ms,
            lambda: f"{sensor.text(before)} became {sensor.text(raw)}",
            index=sensor.index,
        )
