"""Counters that only grow: told apart are restarts from 0, spikes around a reboot, and real faults.

Heat counters may jump up and fall back around a restart of the controller (BenPru/luxtronik#215),
or decrease (#235); what is back within 15 minutes is a spike (source: "sensors.md" section 5).
"""

from dataclasses import dataclass
from typing import Final

from luxcli.model import Group
from luxcli.registers import catalogue, numbers, ranges
from luxcli.times import span
from luxcli.validation.findings import Findings, Poll

_BACK_WITHIN_MS: Final = 900_000
# The same total in both blocks, which its owner may reset.
_SINCE_RESET: Final[frozenset[tuple[Group, int]]] = frozenset(
    {("calculations", numbers.HEAT_TOTAL), ("parameters", numbers.FINE_HEAT_TOTAL)}
)
# Below this part of what it was, a counter has begun anew.
_RESTART: Final = 0.05


@dataclass(frozen=True, slots=True)
class _Limit:
    """How fast a counter may grow, raw: per second, and beyond that; and what a power cut may lose.

    `beyond` is for counters that move in steps and for a controller that hung and catches up.
    """

    per_s: float
    beyond: float
    loss: float


# Run times in s: a second a second; a controller saves them every few hours at the latest.
_RUN_TIME: Final = _Limit(1.0, 900, 4 * 3600)
# Starts: a minute is shorter than any controller allows (three an hour are usual).
_STARTS: Final = _Limit(1 / 60, 3, 12)
# Heat up to 100 kW, which is more than the largest unit has; counters move every five minutes,
# electric ones only every one to two hours (source: "controller.md" section 3).
_KW: Final = 100 / 3600
_HEAT: Final = _Limit(10 * _KW, 10 * 15, 10 * 50)  # 0.1 kWh
_FINE_HEAT: Final = _Limit(100 * _KW, 100 * 15, 100 * 50)  # 0.01 kWh
_ELECTRIC: Final = _Limit(100 * _KW, 100 * 250, 100 * 50)  # 0.01 kWh

_FINE_HEAT_PARAMETERS: Final = (
    numbers.FINE_HEAT_TOTAL,
    numbers.FINE_HEAT_HEATING,
    numbers.FINE_HEAT_DHW,
    numbers.FINE_HEAT_POOL,
)
# Run time and starts.
_COMPRESSORS: Final = (
    (numbers.COMPRESSOR_1_RUN_TIME, numbers.COMPRESSOR_1_STARTS),
    (numbers.COMPRESSOR_2_RUN_TIME, numbers.COMPRESSOR_2_STARTS),
)


class _Counter:
    """Follows one counter; what does not fit waits up to 15 min for whether it is undone."""

    def __init__(self, group: Group, index: int, limit: _Limit, findings: Findings) -> None:
        self._group, self._index, self._limit, self._findings = group, index, limit, findings
        self._good: int | None = None  # the last value that fits those before it
        self._good_ms = self._odd_ms = self._last_ms = self._first_ms = 0
        self._odd: int | None = None  # the first value that does not
        self._odd_polls = 0
        self._beyond = limit.beyond  # what is left of it

    def see(self, raw: int, ts_ms: int, *, anew: bool) -> None:
        """Take the value of one poll; `anew` if nothing is known about the time since the last."""
        if self._good is None or anew:
            self._good, self._good_ms, self._first_ms = raw, ts_ms, ts_ms
            self._odd, self._odd_polls, self._beyond = None, 0, self._limit.beyond
        elif self._fits(self._good, raw, ts_ms):
            if self._odd is not None:
                self._tell("counter-spike", "for {lasted}, then back")
            self._good, self._good_ms = raw, ts_ms
        elif self._odd is None:
            self._odd, self._odd_ms, self._odd_polls = raw, ts_ms, 1
        else:
            self._odd_polls += 1
            if ts_ms - self._odd_ms >= _BACK_WITHIN_MS:
                self._settle(raw, ts_ms)
        self._last_ms = ts_ms

    @property
    def begun(self) -> bool:
        """Whether it ever had a value but 0."""
        return self._good is not None

    def end(self) -> None:
        """Judge what is still open."""
        if self._odd is None:
            return
        if self._last_ms - self._odd_ms >= _BACK_WITHIN_MS / 2 or self._odd_polls > 1:
            self._settle(self._odd, self._last_ms)
        else:
            self._tell("counter-spike", "at the end of the interval")

    def _fits(self, before: int, raw: int, ts_ms: int) -> bool:
        """Whether a counter can have grown so; going too fast for a while uses `beyond` up."""
        elapsed_s, grown = (ts_ms - self._good_ms) / 1000, raw - before
        most = elapsed_s * self._limit.per_s * 1.01 + self._beyond
        if not 0 <= grown <= most:
            return False
        self._beyond = min(self._limit.beyond, most - grown)
        return True

    def _settle(self, raw: int, ts_ms: int) -> None:
        """The new level stays: say what that means, and go on from it."""
        assert self._good is not None
        assert self._odd is not None
        early = self._good_ms - self._first_ms < _BACK_WITHIN_MS and self._odd < self._good
        if self._odd > self._good:
            self._tell("counter-jump", "within {gap}")
        elif self._odd <= self._good * _RESTART:
            total = (self._group, self._index) in _SINCE_RESET
            self._tell("counter-reset-total" if total else "counter-reset", "")
        elif early and self._good - self._odd > self._limit.loss:
            # What came first may have been the spike; there is nothing before to compare with.
            self._tell("counter-spike", "at the beginning of the interval")
        elif self._good - self._odd <= self._limit.loss:
            self._tell("counter-setback", "")
        else:
            self._tell("counter-decrease", "")
        self._good, self._good_ms, self._first_ms = raw, ts_ms, 0
        self._beyond = self._limit.beyond

    def _tell(self, rule: str, how: str) -> None:
        before, after = self._text(self._good), self._text(self._odd)
        gap = span((self._odd_ms - self._good_ms) / 1000)
        how = how.format(gap=gap, lasted=span((self._last_ms - self._odd_ms) / 1000))
        self._findings.add(
            rule,
            self._last_ms,
            f"{before} became {after}{' ' + how if how else ''}",
            index=self._index,
            group=self._group,
            since_ms=self._odd_ms,
            count=1,
        )
        self._odd, self._odd_polls = None, 0

    def _text(self, raw: int | None) -> str:
        register = catalogue.register(self._group, self._index)
        value = None if raw is None else catalogue.decode(register, raw)
        return f"{value} {register.unit}".strip()


class Counters:
    """All counters of a heat pump, and how they go together."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings

        def counter(group: Group, index: int, limit: _Limit) -> tuple[int, _Counter]:
            return index, _Counter(group, index, limit, findings)

        self._calculations = [counter("calculations", i, _limit(i)) for i in ranges.COUNTERS]
        self._parameters = [
            counter("parameters", index, limit)
            for indices, limit in (
                (_FINE_HEAT_PARAMETERS, _FINE_HEAT),
                (numbers.every(numbers.ELECTRICITY), _ELECTRIC),
            )
            for index in indices
        ]

    def see(self, poll: Poll, *, anew: bool) -> None:
        """Look at one poll; `anew` if the clock that dates polls has stepped since the last."""
        for block, counters in (
            (poll.calculations, self._calculations),
            (poll.parameters, self._parameters),
        ):
            for index, counter in counters:
                raw = block[index]
                # 0 for ever means that there is no such meter or compressor.
                if raw is not None and (raw or counter.begun):
                    counter.see(raw, poll.ts_ms, anew=anew)
        self._together(poll)

    def end(self) -> None:
        """Judge what is still open."""
        for _, counter in (*self._calculations, *self._parameters):
            counter.end()

    def _together(self, poll: Poll) -> None:
        block, add = poll.calculations, self._findings.add
        for run_time, starts in _COMPRESSORS:
            seconds, count = block[run_time], block[starts]
            # A compressor that was never on has neither.
            if seconds is not None and count is not None and count > seconds > 0:
                add("starts-runtime", poll.ts_ms, f"{count} starts in {seconds} s", index=starts)
        whole = block[numbers.HEAT_PUMP_RUN_TIME]
        compressor = block[numbers.COMPRESSOR_1_RUN_TIME]
        if whole is not None and compressor is not None and 0 < whole < compressor - 60:
            add(
                "heatpump-runtime",
                poll.ts_ms,
                f"{whole} s, compressor {compressor} s",
                index=numbers.HEAT_PUMP_RUN_TIME,
            )


def _limit(index: int) -> _Limit:
    if index in ranges.HEAT:
        return _HEAT
    return _STARTS if index in ranges.STARTS else _RUN_TIME
