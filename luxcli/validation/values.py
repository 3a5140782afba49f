"""Checks of single values: ranges, values that mean "none", the same default in several sensors."""

from typing import Final

from luxcli.registers import catalogue, numbers, ranges
from luxcli.validation.findings import Check, Findings, Poll

_USUAL, _NOT_FITTED, _UNUSUAL, _IMPOSSIBLE, _NO_VALUE = range(5)
_RULES: Final = {_UNUSUAL: "range", _IMPOSSIBLE: "range-impossible", _NO_VALUE: "no-value"}
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
# Registers that matter and have no range.
_WITHOUT_RANGE: Final = tuple(
    sorted(
        {*ranges.CRITICAL, *ranges.IMPORTANT, *ranges.COUNTERS} - {*ranges.RANGES, numbers.CLOCK}
    )
)
_NEVER_32767: Final = frozenset(
    {
        numbers.FLOW_RATE,
        numbers.OPERATING_MODE,
        numbers.COMPRESSOR_1,
        numbers.DHW_VALVE,
        numbers.HEATING_PUMP,
        numbers.DISPLAY_LINE_1,
        numbers.DISPLAY_LINE_3,
    }
)
# Temperatures that are never all the same, those of water among them, and what they show instead of
# a measured value, raw: 0.0 °C and 5.0 °C (docs/registers.md, "Values that mean no value").
_NEVER_ALIKE: Final = (
    numbers.FLOW_TEMPERATURE,
    numbers.RETURN_TEMPERATURE,
    numbers.EXTERNAL_RETURN_TEMPERATURE,
    numbers.OUTDOOR_TEMPERATURE,
    numbers.MEAN_OUTDOOR_TEMPERATURE,
    numbers.DHW_TEMPERATURE,
)
_WATER: Final = frozenset({numbers.FLOW_TEMPERATURE, numbers.RETURN_TEMPERATURE})
_DEFAULTS_RAW: Final = (0, 50)
_FEWEST_ALIKE: Final = 3


class _Sensor:
    """One sensor with a range; remembers the verdict on each raw value."""

    def __init__(self, index: int) -> None:
        self.index, self.register = index, catalogue.register("calculations", index)
        self.verdicts: dict[int, int] = {}
        self.last: tuple[int, int] | None = None  # raw value and verdict
        self.was_real = self.was_not_fitted = False

    def verdict(self, raw: int) -> int:
        found = self.verdicts.get(raw)
        if found is None:
            if len(self.verdicts) > _MOST_REMEMBERED:
                self.verdicts.clear()
            found = self.verdicts[raw] = self._verdict(raw)
        return found

    def _verdict(self, raw: int) -> int:
        always_fitted = self.index in ranges.CRITICAL and self.index != numbers.DHW_TEMPERATURE
        if always_fitted and raw in ranges.NO_VALUE_RAW:
            return _NO_VALUE
        if ranges.is_not_fitted(self.index, raw):
            return _NOT_FITTED
        value, allowed = raw / self.register.scale, ranges.RANGES[self.index]
        if not allowed.reject[0] <= value <= allowed.reject[1]:
            return _IMPOSSIBLE
        return _USUAL if allowed.warn[0] <= value <= allowed.warn[1] else _UNUSUAL

    def text(self, raw: int) -> str:
        return f"{raw / self.register.scale} {self.register.unit}"


class Ranges(Check):
    """Values outside of their range, and codes for "none" or "not fitted" among real values."""

    rules = ("range", "range-impossible", "no-value", "interrupted")

    def __init__(self, findings: Findings) -> None:
        super().__init__(findings)
        self._sensors = [_Sensor(index) for index in ranges.RANGES]

    def update(self, poll: Poll) -> None:
        """Take the next poll."""
        block = poll.calculations
        for sensor in self._sensors:
            raw, last = block[sensor.index], sensor.last
            if raw is None or (last is not None and last[0] == raw and last[1] <= _NOT_FITTED):
                continue
            verdict = sensor.verdict(raw)
            if verdict > _NOT_FITTED:
                self._report(sensor, raw, verdict, poll.ts_ms)
            if last is not None and (last[1] == _NOT_FITTED) != (verdict == _NOT_FITTED):
                self._interrupted(sensor, last[0], raw, poll)
            sensor.was_real = sensor.was_real or verdict != _NOT_FITTED
            sensor.was_not_fitted = sensor.was_not_fitted or verdict == _NOT_FITTED
            sensor.last = (raw, verdict)
        for index in _WITHOUT_RANGE:
            raw = block[index]
            if raw == LARGEST or (raw == 32767 and index in _NEVER_32767):
                self._findings.add("no-value", poll.ts_ms, f"{raw}", index=index)

    def not_fitted(self) -> tuple[str, ...]:
        """Return the ids of sensors that showed nothing but their value for "not fitted"."""
        return tuple(
            one.register.id for one in self._sensors if one.was_not_fitted and not one.was_real
        )

    def _report(self, sensor: _Sensor, raw: int, verdict: int, ts_ms: int) -> None:
        allowed = ranges.RANGES[sensor.index]
        low, high = allowed.warn if verdict == _UNUSUAL else allowed.reject
        self._findings.add(
            _RULES[verdict],
            ts_ms,
            lambda: sensor.text(raw),
            index=sensor.index,
            expected=f"{low} to {high} {sensor.register.unit}",
        )

    def _interrupted(self, sensor: _Sensor, before: int, raw: int, poll: Poll) -> None:
        """Report a jump to or from "not fitted"; a real value passes it in small steps."""
        near = abs(raw - before) <= _INTERRUPTION_RAW and LARGEST not in (raw, before)
        if near or sensor.index in _SET_POINTS or poll.gap_s > CLOSE_S:
            return
        self._findings.add(
            "interrupted",
            poll.ts_ms,
            lambda: f"{sensor.text(before)} became {sensor.text(raw)}",
            index=sensor.index,
        )


class DefaultValues(Check):
    """Several temperatures that show exactly the same default value.

    0.0 °C and 5.0 °C outdoors are weather, and channels without a sensor show them too; water that
    shows exactly the same is no chance.
    """

    rules = ("default-values",)

    def update(self, poll: Poll) -> None:
        """Take the next poll."""
        block = poll.calculations
        for default in _DEFAULTS_RAW:
            if not any(block[index] == default for index in _WATER):
                continue
            alike = [index for index in _NEVER_ALIKE if block[index] == default]
            if len(alike) >= _FEWEST_ALIKE:
                names = ", ".join(catalogue.register("calculations", index).id for index in alike)
                text = f"{len(alike)} temperatures are exactly {default / 10} °C: {names}"
                self._findings.add("default-values", poll.ts_ms, text)
