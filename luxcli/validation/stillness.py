"""Checks for values that stand still, or jump away and back: sensors, the whole controller."""

from collections.abc import Sequence
from typing import Final

from luxcli.registers import catalogue, decoding, numbers
from luxcli.registers.ranges import CRITICAL_TEMPERATURES, DEFAULTS_RAW, NOT_FITTED
from luxcli.times import span
from luxcli.validation.findings import Check, Findings, Poll

# Counters and timers advance by themselves: calculations 56 to 77, 120, 123, 134, 141, 145, 158 and
# 161. What stands between them is measured, switched or set.
_BETWEEN_TIMERS: Final = (
    *(slice(0, 56), slice(78, 120), slice(121, 123), slice(124, 134), slice(135, 141)),
    *(slice(142, 145), slice(146, 158), slice(159, 161), slice(162, None)),
)
_FROZEN_S: Final = 300
_FROZEN_POLLS: Final = 5
# One of dozens of temperatures in tenths of a degree moves within minutes, in summer too: in the
# 48 h of the capture they never stood still for more than 300 s.
_FROZEN_VALUES_S: Final = 7200

# Sensors that move while the compressor runs. They may be missing, unlike the critical ones.
_OPTIONAL: Final = (
    numbers.HOT_GAS_TEMPERATURE,
    numbers.SOURCE_IN_TEMPERATURE,
    numbers.SOURCE_OUT_TEMPERATURE,
    numbers.HIGH_PRESSURE,
    numbers.LOW_PRESSURE,
)
MOVING: Final = tuple(
    index for index in (*CRITICAL_TEMPERATURES, *_OPTIONAL) if index != numbers.RETURN_SET_POINT
)
_STUCK_S: Final = 12 * 3600
# A little less than the day that is judged by default. The longest in the captures is 88 minutes;
# even on a day of fog the outdoor temperature moves by tenths of a degree.
_OUTDOOR_STUCK_S: Final = 20 * 3600
_RAN_S: Final = 1800

# The largest credible jump, raw, and back within so many seconds.
SPIKES: Final = {
    numbers.FLOW_TEMPERATURE: 400,
    numbers.RETURN_TEMPERATURE: 400,
    numbers.HOT_GAS_TEMPERATURE: 500,
    numbers.OUTDOOR_TEMPERATURE: 150,
    numbers.MEAN_OUTDOOR_TEMPERATURE: 100,
    numbers.DHW_TEMPERATURE: 300,
}
_SPIKE_S: Final = 300


class Spikes(Check):
    """Temperatures that jump away and back within three polls close to each other."""

    rules = ("temperature-spike",)

    def __init__(self, findings: Findings) -> None:
        super().__init__(findings)
        self._before: list[Poll] = []

    def update(self, poll: Poll) -> None:
        """Take the next poll."""
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


class Frozen(Check):
    """A controller that sends the same again and again: everything, or all but its timers."""

    rules = ("frozen", "frozen-values")

    def __init__(self, findings: Findings) -> None:
        super().__init__(findings)
        self._last: Sequence[object] | None = None
        self._all, self._values = (_Repetition(), _Repetition())

    def update(self, poll: Poll) -> None:
        """Take the next poll."""
        self.compare(poll.ts_ms, poll.calculations)

    def compare(self, ts_ms: int, calculations: Sequence[object]) -> None:
        """Compare calculations, or the cells of a CSV in their places, with the previous ones."""
        now, last = calculations, self._last
        self._last = now
        same = last is not None and all(now[part] == last[part] for part in _BETWEEN_TIMERS)
        whole = same and last is not None and _without_clock(now) == _without_clock(last)
        all_s, values_s = self._all.lasted_s(ts_ms, whole), self._values.lasted_s(ts_ms, same)
        if all_s >= _FROZEN_S and self._all.polls >= _FROZEN_POLLS:
            text = f"all calculations the same for {span(all_s)}"
            self._findings.add("frozen", ts_ms, text, since_ms=self._all.since_ms)
        elif values_s >= _FROZEN_VALUES_S and self._values.polls >= _FROZEN_POLLS:
            text = f"all but timers and counters the same for {span(values_s)}"
            self._findings.add("frozen-values", ts_ms, text, since_ms=self._values.since_ms)


def _without_clock(calculations: Sequence[object]) -> tuple[Sequence[object], Sequence[object]]:
    return calculations[: numbers.CLOCK], calculations[numbers.CLOCK + 1 :]


class _Repetition:
    """Consecutive polls with the same values."""

    def __init__(self) -> None:
        self.since_ms = self.polls = 0

    def lasted_s(self, ts_ms: int, same: bool) -> float:
        if not same:
            self.since_ms, self.polls = ts_ms, 0
        self.polls += 1
        return (ts_ms - self.since_ms) / 1000


class Stuck(Check):
    """Sensors that stand still although the compressor runs; the outdoor sensor also at rest.

    The constant of a sensor that is not fitted is no fault.
    """

    rules = ("stuck",)

    def __init__(self, findings: Findings) -> None:
        super().__init__(findings)
        self._sensors = [_Standstill(findings, index) for index in MOVING]

    def update(self, poll: Poll) -> None:
        """Take the next poll."""
        for sensor in self._sensors:
            sensor.update(poll)

    def end(self) -> None:
        """Judge the values that last until the last poll."""
        for sensor in self._sensors:
            sensor.judge()


class _Standstill:
    """The present value of one sensor, and since when it has not changed."""

    def __init__(self, findings: Findings, index: int) -> None:
        self._findings, self._index = findings, index
        self._raw: int | None = None
        self._since_ms = self._last_ms = 0
        self._known_s = 0.0  # without the pauses of the recording
        self._ran: tuple[int, int] = (0, 0)  # run time of the compressor then and now, s

    def update(self, poll: Poll) -> None:
        raw, ran = poll.calculations[self._index], poll.calculations[numbers.COMPRESSOR_1_RUN_TIME]
        if ran is None and self._index == numbers.OUTDOOR_TEMPERATURE:
            ran = 0  # the weather needs no compressor
        if raw is None or ran is None:
            return
        if raw != self._raw:
            self.judge()
            self._raw, self._since_ms, self._ran, self._known_s = raw, poll.ts_ms, (ran, ran), 0.0
        elif not poll.after_pause:
            self._known_s += poll.gap_s
        self._last_ms, self._ran = poll.ts_ms, (self._ran[0], ran)

    def judge(self) -> None:
        """Judge the value that has just ended, or lasts until the last poll."""
        raw = self._raw
        if raw is None or raw in NOT_FITTED.get(self._index, ()):
            return
        if self._index in _OPTIONAL and raw in DEFAULTS_RAW:
            return
        if self._index == numbers.OUTDOOR_TEMPERATURE:
            stuck = self._known_s >= _OUTDOOR_STUCK_S
        else:
            stuck = self._known_s > _STUCK_S and self._ran[1] - self._ran[0] >= _RAN_S
        if stuck:
            register = catalogue.register("calculations", self._index)
            self._findings.add(
                "stuck",
                self._last_ms,
                f"{decoding.value(register, raw)} {register.unit} for {span(self._known_s)}",
                index=self._index,
                since_ms=self._since_ms,
            )
