"""What cannot be together, or not for long: combinations, stuck sensors, a frozen controller."""

from collections.abc import Callable, Sequence
from typing import Final

from luxcli.registers import catalogue, numbers
from luxcli.registers.ranges import CRITICAL_TEMPERATURES, NO_VALUE_RAW, NOT_FITTED
from luxcli.times import span
from luxcli.validation.findings import Findings, Poll

# DHW, heating, source-side and further circulation pumps, pool: whatever may move heating water.
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
_REVERSED: Final = (4, 7)  # defrost, cooling
# Counters and timers, which go on by themselves (56 to 77, 120, 123, 134, 141, 145, 158, 161); what
# lies between them is what is measured, switched or set.
_BETWEEN_TIMERS: Final = (
    *(slice(0, 56), slice(78, 120), slice(121, 123), slice(124, 134), slice(135, 141)),
    *(slice(142, 145), slice(146, 158), slice(159, 161), slice(162, None)),
)

_LONG_S: Final = 1800
# The least that an impeller meter shows for real; less is drift of its zero.
_LEAST_FLOW_LH: Final = 100
_PRESSURE_SLACK: Final = 50  # 0.5 bar
# An average of ten in a year is a record (source: "sensors.md" section 5 gates at 30).
_HIGHEST_COP: Final = 30
_HIGHEST_OUTPUT_W: Final = 100_000
_STANDSTILL_S: Final = 600
# Between polls this close no compressor can have run unseen.
_CLOSE_S: Final = 120
_IDLE_GROWTH_S: Final = 300
_FROZEN_S: Final = 300
_FROZEN_POLLS: Final = 5
# Of dozens of temperatures in tenths of a degree one moves within minutes, also in summer: never
# the same for more than 300 s in 48 h of the real capture.
_FROZEN_VALUES_S: Final = 7200

# Sensors that move whenever the compressor runs; that of the weather moves anyway.
_OPTIONAL: Final = (
    numbers.HOT_GAS_TEMPERATURE,
    numbers.SOURCE_IN_TEMPERATURE,
    numbers.SOURCE_OUT_TEMPERATURE,
    numbers.HIGH_PRESSURE,
    numbers.LOW_PRESSURE,
)
STUCK: Final = tuple(
    index for index in (*CRITICAL_TEMPERATURES, *_OPTIONAL) if index != numbers.RETURN_SET_POINT
)
# What channels show where nothing is fitted, raw; on optional ones it is no measured value.
_NOTHING: Final = frozenset({0, 50, 750, 1500, -500})
# Two sensors of the same water differ by so much when they stand still, raw: 1 K.
_SENSOR_SLACK: Final = 10
_STUCK_S: Final = 12 * 3600
# Within what is looked at by default, a day less a poll or two. The longest in the captures is
# 88 minutes; fog for a day still moves tenths of a degree.
_OUTDOOR_STUCK_S: Final = 20 * 3600
_RAN_S: Final = 1800
# Raw: a jump of so much and back between polls that are close.
SPIKES: Final = {
    numbers.FLOW_TEMPERATURE: 400,
    numbers.RETURN_TEMPERATURE: 400,
    numbers.HOT_GAS_TEMPERATURE: 500,
    numbers.OUTDOOR_TEMPERATURE: 150,
    numbers.MEAN_OUTDOOR_TEMPERATURE: 100,
    numbers.DHW_TEMPERATURE: 300,
}
_SPIKE_S: Final = 300


class _Spell:
    """A condition that holds without a break."""

    def __init__(self) -> None:
        self.start_ms: int | None = None
        self.value: int | None = None

    def lasted_s(self, poll: Poll, holds: bool, value: int | None = None) -> float:
        """Return for how long it has held; it begins anew when `value` changes."""
        if not holds:
            self.start_ms = None
            return 0.0
        if self.start_ms is None or poll.broken or value != self.value:
            self.start_ms, self.value = poll.ts_ms, value
        return (poll.ts_ms - self.start_ms) / 1000


class Behaviour:
    """Looks at what the heat pump does over time."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._spells: dict[str, _Spell] = {}
        self._compressors = [_Compressor(findings, *pair) for pair in _COMPRESSORS]
        self._stuck = [Stuck(findings, index) for index in STUCK]
        self._spikes = Spikes(findings)
        self._flow_seen = False
        self._frozen = Frozen(findings)

    def see(self, poll: Poll) -> None:
        """Look at one poll."""
        block = poll.calculations
        running = block[numbers.COMPRESSOR_1] == 1 or block[numbers.COMPRESSOR_2] == 1
        self._water(poll, running)
        self._refrigerant(poll, running)
        self._frozen.see(poll.ts_ms, poll.calculations)
        self._spikes.see(poll)
        for compressor in self._compressors:
            compressor.see(poll)
        for sensor in self._stuck:
            sensor.see(poll)

    def end(self) -> None:
        """Judge what lasts until the end."""
        for sensor in self._stuck:
            sensor.end()

    def _long(
        self,
        rule: str,
        poll: Poll,
        holds: bool,
        found: Callable[[], str],
        *,
        index: int | None = None,
        limit_s: float = _LONG_S,
        value: int | None = None,
    ) -> None:
        """Add a finding while a condition has held for longer than `limit_s`."""
        spell = self._spells.setdefault(rule, _Spell())
        lasted_s = spell.lasted_s(poll, holds, value)
        if lasted_s > limit_s:
            self._findings.add(
                rule,
                poll.ts_ms,
                lambda: f"{found()} for {span(lasted_s)}",
                index=index,
                since_ms=spell.start_ms,
            )

    def _water(self, poll: Poll, running: bool) -> None:
        block = poll.calculations
        flow, pumping = block[numbers.FLOW_RATE], any(block[pump] == 1 for pump in _PUMPS)
        if flow is not None:
            self._flow_seen = self._flow_seen or flow > _LEAST_FLOW_LH
            self._long(
                "flow-without-pump",
                poll,
                flow > _LEAST_FLOW_LH and not pumping,
                lambda: f"{flow} l/h with all pumps off",
                index=numbers.FLOW_RATE,
            )
            self._long(
                "pump-without-flow",
                poll,
                self._flow_seen and flow == 0 and running and block[numbers.HEATING_PUMP] == 1,
                lambda: "0 l/h with heating pump and compressor on",
                index=numbers.FLOW_RATE,
            )
        supply, back = block[numbers.FLOW_TEMPERATURE], block[numbers.RETURN_TEMPERATURE]
        if supply is not None and back is not None:
            heating = (
                running
                and block[numbers.OPERATING_MODE] not in _REVERSED
                and not block[numbers.DEFROST_VALVE]
            )
            fine = poll.parameters[numbers.FINE_HEAT_TOTAL]
            self._long(
                "compressor-without-heat",
                poll,
                heating and supply <= back,
                lambda: f"flow {supply / 10} °C, return {back / 10} °C, heat counter still",
                value=fine or block[numbers.HEAT_TOTAL],
            )
            self._long(
                "flow-below-return",
                poll,
                heating and supply < back - _SENSOR_SLACK and back not in NO_VALUE_RAW,
                lambda: f"flow {supply / 10} °C, return {back / 10} °C",
                index=numbers.FLOW_TEMPERATURE,
            )

    def _refrigerant(self, poll: Poll, running: bool) -> None:
        block = poll.calculations
        # In cooling and defrost the circuit runs the other way round.
        forward = (
            running
            and block[numbers.OPERATING_MODE] not in _REVERSED
            and not block[numbers.DEFROST_VALVE]
        )
        high, low = block[numbers.HIGH_PRESSURE], block[numbers.LOW_PRESSURE]
        if high and low:
            self._long(
                "pressure-order",
                poll,
                forward and high < low - _PRESSURE_SLACK,
                lambda: f"high {high / 100} bar, low {low / 100} bar",
                index=numbers.HIGH_PRESSURE,
            )
        enters, leaves = block[numbers.SOURCE_IN_TEMPERATURE], block[numbers.SOURCE_OUT_TEMPERATURE]
        if enters is not None and leaves is not None and not {enters, leaves} & _NOTHING:
            self._long(
                "source-reversed",
                poll,
                forward and leaves > enters + _SENSOR_SLACK,
                lambda: f"source in {enters / 10} °C, out {leaves / 10} °C",
                index=numbers.SOURCE_IN_TEMPERATURE,
            )
        heat, power = block[numbers.HEAT_OUTPUT], block[numbers.POWER_INPUT]
        if heat is not None:
            odd = not 0 <= heat <= _HIGHEST_OUTPUT_W
            if power is not None and power >= 10:
                odd = odd or heat > _HIGHEST_COP * power
            self._long(
                "heat-output",
                poll,
                forward and odd,
                lambda: f"{heat} W of heat, {power} W of power",
                index=numbers.HEAT_OUTPUT,
            )


class Spikes:
    """Tells jumps of a temperature away and back within three polls that are close."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._before: list[Poll] = []

    def see(self, poll: Poll) -> None:
        """Look at one poll."""
        if len(self._before) == 2 and poll.ts_ms - self._before[0].ts_ms <= _SPIKE_S * 1000:
            self._compare(self._before[0], self._before[1], poll)
        self._before = [*self._before[-1:], poll]

    def _compare(self, first: Poll, second: Poll, third: Poll) -> None:
        blocks = (first.calculations, second.calculations, third.calculations)
        for index, limit in SPIKES.items():
            before, now, after = (block[index] for block in blocks)
            if before is None or now is None or after is None or now == before:
                continue
            if min(now - before, now - after) <= limit and min(before - now, after - now) <= limit:
                continue
            if now not in NOT_FITTED.get(index, ()):
                self._findings.add(
                    "temperature-spike",
                    second.ts_ms,
                    f"{before / 10}, {now / 10}, {after / 10} °C",
                    index=index,
                )


class Frozen:
    """Tells a controller that sends the same again and again: all of it, or all but its timers."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._last: Sequence[object] | None = None
        self._all, self._values = (_Repeated(), _Repeated())

    def see(self, ts_ms: int, calculations: Sequence[object]) -> None:
        """Look at the calculations of one poll, or at what stands for them."""
        now, last = calculations, self._last
        self._last = now
        same = last is not None and all(now[part] == last[part] for part in _BETWEEN_TIMERS)
        whole = same and last is not None and _without_clock(now) == _without_clock(last)
        all_s, values_s = self._all.lasted_s(ts_ms, whole), self._values.lasted_s(ts_ms, same)
        if all_s >= _FROZEN_S and self._all.polls >= _FROZEN_POLLS:
            self._tell("frozen", ts_ms, self._all, f"all calculations the same for {span(all_s)}")
        elif values_s >= _FROZEN_VALUES_S and self._values.polls >= _FROZEN_POLLS:
            text = f"all but timers and counters the same for {span(values_s)}"
            self._tell("frozen-values", ts_ms, self._values, text)

    def _tell(self, rule: str, ts_ms: int, repeated: "_Repeated", text: str) -> None:
        self._findings.add(rule, ts_ms, text, since_ms=repeated.since_ms)


def _without_clock(calculations: Sequence[object]) -> tuple[Sequence[object], Sequence[object]]:
    return calculations[: numbers.CLOCK], calculations[numbers.CLOCK + 1 :]


class _Repeated:
    """Polls that are alike, one after the other."""

    def __init__(self) -> None:
        self.since_ms = self.polls = 0

    def lasted_s(self, ts_ms: int, same: bool) -> float:
        if not same:
            self.since_ms, self.polls = ts_ms, 0
        self.polls += 1
        return (ts_ms - self.since_ms) / 1000


class _Compressor:
    """Compares the output of a compressor with its run time."""

    def __init__(self, findings: Findings, output: int, run_time: int) -> None:
        self._findings, self._output, self._run_time = findings, output, run_time
        self._standstill = _Spell()
        self._last: tuple[int, int] | None = None
        self._idle_ms, self._idle_growth_s = 0, 0

    def see(self, poll: Poll) -> None:
        on, total = poll.calculations[self._output], poll.calculations[self._run_time]
        if on is None or total is None:
            return
        lasted_s = self._standstill.lasted_s(poll, on == 1, total)
        if lasted_s >= _STANDSTILL_S:
            self._findings.add(
                "runtime-standstill",
                poll.ts_ms,
                lambda: f"on, run time still {total} s after {span(lasted_s)}",
                index=self._run_time,
                since_ms=self._standstill.start_ms,
            )
        last, self._last = self._last, (on, total)
        if on or last is None or last[0] or poll.gap_s > _CLOSE_S:
            self._idle_ms, self._idle_growth_s = poll.ts_ms, 0
            return
        # A jump is told as such; here it is about growth that goes on.
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


class Stuck:
    """Tells a sensor that stands still while it should not.

    A constant that stands for "not fitted" is none, but for sensors that every heat pump has.
    """

    def __init__(self, findings: Findings, index: int) -> None:
        self._findings, self._index = findings, index
        self._raw: int | None = None
        self._since_ms = self._last_ms = 0
        self._seen_s = 0.0  # without times of which nothing is known
        self._ran: tuple[int, int] = (0, 0)  # run time then and now, s

    def see(self, poll: Poll) -> None:
        """Look at one poll."""
        raw, ran = poll.calculations[self._index], poll.calculations[numbers.COMPRESSOR_1_RUN_TIME]
        if ran is None and self._index == numbers.OUTDOOR_TEMPERATURE:
            ran = 0  # weather needs no compressor
        if raw is None or ran is None:
            return
        if raw != self._raw:
            self.end()
            self._raw, self._since_ms, self._ran, self._seen_s = raw, poll.ts_ms, (ran, ran), 0.0
        elif not poll.broken:
            self._seen_s += poll.gap_s
        self._last_ms, self._ran = poll.ts_ms, (self._ran[0], ran)

    def end(self) -> None:
        """Judge the value that has just ended or lasts until the end."""
        raw = self._raw
        if raw is None or raw in NOT_FITTED.get(self._index, ()):
            return
        if self._index in _OPTIONAL and raw in _NOTHING:
            return
        if self._index == numbers.OUTDOOR_TEMPERATURE:
            stuck = self._seen_s >= _OUTDOOR_STUCK_S
        else:
            stuck = self._seen_s > _STUCK_S and self._ran[1] - self._ran[0] >= _RAN_S
        if stuck:
            register = catalogue.register("calculations", self._index)
            self._findings.add(
                "stuck",
                self._last_ms,
                f"{catalogue.decode(register, raw)} {register.unit} for {span(self._seen_s)}",
                index=self._index,
                since_ms=self._since_ms,
            )
