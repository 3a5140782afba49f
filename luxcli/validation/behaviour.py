"""Checks for what cannot be at the same time for long: pumps, flow, heat, pressures, run times."""

from collections.abc import Callable
from typing import Final

from luxcli.registers import numbers
from luxcli.registers.ranges import DEFAULTS_RAW, NO_VALUE_RAW
from luxcli.times import span
from luxcli.validation.findings import Check, Findings, Poll

# Everything that may move heating water: pumps of hot water, heating, circulation, pool, and so on.
_PUMPS: Final = (
    numbers.DHW_VALVE,
    numbers.HEATING_PUMP,
    numbers.CIRCULATION_PUMP,
    numbers.ADDITIONAL_PUMP,
    numbers.MIXING_2_PUMP,
    numbers.POOL_PUMP,
)
# Output and run time.
_COMPRESSORS: Final = (
    (numbers.COMPRESSOR_1, numbers.COMPRESSOR_1_RUN_TIME),
    (numbers.COMPRESSOR_2, numbers.COMPRESSOR_2_RUN_TIME),
)
# Operating modes in which the refrigerant circuit runs the other way round: defrost and cooling.
_REVERSED: Final = (4, 7)

_LONG_S: Final = 1800
# An impeller meter that shows less than this, in l/h, shows the drift of its zero.
_LEAST_FLOW_LH: Final = 100
_PRESSURE_SLACK: Final = 50  # 0.5 bar
# A yearly average of 10 is not credible; this leaves room for a short time.
_HIGHEST_COP: Final = 30
_LEAST_POWER_W: Final = 10
_HIGHEST_OUTPUT_W: Final = 100_000
# Two sensors of the same water differ by up to 1 K at rest; raw.
_SENSOR_SLACK: Final = 10
_STANDSTILL_S: Final = 600
# Between polls this close no compressor can have run for a while.
_CLOSE_S: Final = 120
_IDLE_GROWTH_S: Final = 300


class _Streak:
    """A condition that holds from poll to poll."""

    def __init__(self) -> None:
        self.start_ms: int | None = None
        self.value: int | None = None

    def lasted_s(self, poll: Poll, holds: bool, value: int | None = None) -> float:
        """Return for how long it has held; a changed `value` begins a new streak."""
        if not holds:
            self.start_ms = None
            return 0.0
        if self.start_ms is None or poll.after_pause or value != self.value:
            self.start_ms, self.value = poll.ts_ms, value
        return (poll.ts_ms - self.start_ms) / 1000


class _LastingConditions(Check):
    """Conditions that are normal for a moment and wrong for half an hour."""

    def __init__(self, findings: Findings) -> None:
        super().__init__(findings)
        self._streaks: dict[str, _Streak] = {}

    def _report_if_long(
        self,
        rule: str,
        poll: Poll,
        holds: bool,
        found: Callable[[], str],
        *,
        index: int | None = None,
        value: int | None = None,
    ) -> None:
        streak = self._streaks.setdefault(rule, _Streak())
        lasted_s = streak.lasted_s(poll, holds, value)
        if lasted_s > _LONG_S:
            self._findings.add(
                rule,
                poll.ts_ms,
                lambda: f"{found()} for {span(lasted_s)}",
                index=index,
                since_ms=streak.start_ms,
            )


class Water(_LastingConditions):
    """Flow, pumps and heat of the heating water."""

    rules = (
        "flow-without-pump",
        "pump-without-flow",
        "compressor-without-heat",
        "flow-below-return",
    )

    def __init__(self, findings: Findings) -> None:
        super().__init__(findings)
        self._has_flow_meter = False

    def update(self, poll: Poll) -> None:
        """Take the next poll."""
        self._flow(poll)
        self._heat(poll)

    def _flow(self, poll: Poll) -> None:
        block = poll.calculations
        flow, pumping = block[numbers.FLOW_RATE], any(block[pump] == 1 for pump in _PUMPS)
        if flow is None:
            return
        self._has_flow_meter = self._has_flow_meter or flow > _LEAST_FLOW_LH
        self._report_if_long(
            "flow-without-pump",
            poll,
            flow > _LEAST_FLOW_LH and not pumping,
            lambda: f"{flow} l/h with all pumps off",
            index=numbers.FLOW_RATE,
        )
        heating = _is_running(poll) and block[numbers.HEATING_PUMP] == 1
        self._report_if_long(
            "pump-without-flow",
            poll,
            self._has_flow_meter and flow == 0 and heating,
            lambda: "0 l/h with heating pump and compressor on",
            index=numbers.FLOW_RATE,
        )

    def _heat(self, poll: Poll) -> None:
        block = poll.calculations
        supply, back = block[numbers.FLOW_TEMPERATURE], block[numbers.RETURN_TEMPERATURE]
        if supply is None or back is None:
            return
        heating = _is_heating(poll)
        self._report_if_long(
            "compressor-without-heat",
            poll,
            heating and supply <= back,
            lambda: f"flow {supply / 10} °C, return {back / 10} °C, heat counter unchanged",
            value=poll.parameters[numbers.FINE_HEAT_TOTAL] or block[numbers.HEAT_TOTAL],
        )
        self._report_if_long(
            "flow-below-return",
            poll,
            heating and supply < back - _SENSOR_SLACK and back not in NO_VALUE_RAW,
            lambda: f"flow {supply / 10} °C, return {back / 10} °C",
            index=numbers.FLOW_TEMPERATURE,
        )


class Refrigerant(_LastingConditions):
    """Pressures, heat source and heat output while the compressor heats."""

    rules = ("pressure-order", "source-reversed", "heat-output")

    def update(self, poll: Poll) -> None:
        """Take the next poll."""
        block, heating = poll.calculations, _is_heating(poll)
        high, low = block[numbers.HIGH_PRESSURE], block[numbers.LOW_PRESSURE]
        if high and low:
            self._report_if_long(
                "pressure-order",
                poll,
                heating and high < low - _PRESSURE_SLACK,
                lambda: f"high {high / 100} bar, low {low / 100} bar",
                index=numbers.HIGH_PRESSURE,
            )
        enters = block[numbers.SOURCE_IN_TEMPERATURE]
        leaves = block[numbers.SOURCE_OUT_TEMPERATURE]
        if enters is not None and leaves is not None and not {enters, leaves} & DEFAULTS_RAW:
            self._report_if_long(
                "source-reversed",
                poll,
                heating and leaves > enters + _SENSOR_SLACK,
                lambda: f"source in {enters / 10} °C, out {leaves / 10} °C",
                index=numbers.SOURCE_IN_TEMPERATURE,
            )
        heat, power = block[numbers.HEAT_OUTPUT], block[numbers.POWER_INPUT]
        if heat is not None:
            impossible = not 0 <= heat <= _HIGHEST_OUTPUT_W
            if power is not None and power >= _LEAST_POWER_W:
                impossible = impossible or heat > _HIGHEST_COP * power
            self._report_if_long(
                "heat-output",
                poll,
                heating and impossible,
                lambda: f"{heat} W of heat, {power} W of power",
                index=numbers.HEAT_OUTPUT,
            )


class Compressors(Check):
    """The output of each compressor against its run time."""

    rules = ("runtime-standstill", "runtime-idle")

    def __init__(self, findings: Findings) -> None:
        super().__init__(findings)
        self._compressors = [_Compressor(findings, *pair) for pair in _COMPRESSORS]

    def update(self, poll: Poll) -> None:
        """Take the next poll."""
        for compressor in self._compressors:
            compressor.update(poll)


class _Compressor:
    def __init__(self, findings: Findings, output: int, run_time: int) -> None:
        self._findings, self._output, self._run_time = findings, output, run_time
        self._standstill = _Streak()
        self._last: tuple[int, int] | None = None
        self._idle_ms, self._idle_growth_s = 0, 0

    def update(self, poll: Poll) -> None:
        on, total = poll.calculations[self._output], poll.calculations[self._run_time]
        if on is None or total is None:
            return
        lasted_s = self._standstill.lasted_s(poll, on == 1, total)
        if lasted_s >= _STANDSTILL_S:
            self._findings.add(
                "runtime-standstill",
                poll.ts_ms,
                lambda: f"on, run time unchanged at {total} s after {span(lasted_s)}",
                index=self._run_time,
                since_ms=self._standstill.start_ms,
            )
        last, self._last = self._last, (on, total)
        if on or last is None or last[0] or poll.gap_s > _CLOSE_S:
            self._idle_ms, self._idle_growth_s = poll.ts_ms, 0
            return
        # A single jump is reported as one by `Counters`; this is about growth that goes on.
        if 0 <= total - last[1] <= _CLOSE_S:
            self._idle_growth_s += total - last[1]
        if self._idle_growth_s > _IDLE_GROWTH_S and total > last[1]:
            self._findings.add(
                "runtime-idle",
                poll.ts_ms,
                lambda: f"off, run time grew by {self._idle_growth_s} s",
                index=self._run_time,
                since_ms=self._idle_ms,
            )


def _is_running(poll: Poll) -> bool:
    block = poll.calculations
    return block[numbers.COMPRESSOR_1] == 1 or block[numbers.COMPRESSOR_2] == 1


def _is_heating(poll: Poll) -> bool:
    """Whether the compressor runs and the refrigerant circuit is not reversed."""
    block = poll.calculations
    reverse = block[numbers.OPERATING_MODE] in _REVERSED or block[numbers.DEFROST_VALVE]
    return _is_running(poll) and not reverse
