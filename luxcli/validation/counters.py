"""Checks of counters that only grow: a reset, a spike around a restart, a real fault.

Heat counters may jump up and fall back around a restart of the controller (BenPru/luxtronik#215),
or decrease (BenPru/luxtronik#235). A change that is undone within 15 minutes is a spike.
"""

from dataclasses import dataclass
from typing import Final

from luxcli.model import Group
from luxcli.registers import catalogue, decoding, numbers, ranges
from luxcli.times import span
from luxcli.validation.clocks import Clocks
from luxcli.validation.findings import Check, Findings, Poll

_BACK_WITHIN_MS: Final = 900_000
# The total, which both blocks hold and its owner may reset.
_SINCE_RESET: Final[frozenset[tuple[Group, int]]] = frozenset(
    {("calculations", numbers.HEAT_TOTAL), ("parameters", numbers.FINE_HEAT_TOTAL)}
)
# A counter below this share of its last value was reset.
_RESTART: Final = 0.05


@dataclass(frozen=True, slots=True)
class _Limit:
    """What is possible for a counter, raw.

    Attributes:
        per_s: Growth per second.
        reserve: Growth beyond that, for counters that move in steps and for a controller that
            catches up after it hung.
        loss: What a power cut may take away.
    """

    per_s: float
    reserve: float
    loss: float


# Run times in s grow by one a second; a controller saves them every few hours at the latest.
_RUN_TIME: Final = _Limit(1.0, 900, 4 * 3600)
# Starts: one a minute is more than any controller allows (three an hour are usual).
_STARTS: Final = _Limit(1 / 60, 3, 12)
# Heat up to 100 kW, which is more than the largest unit has. Heat counters move about every five
# minutes, electric ones every one to two hours (docs/registers.md, "How the data behaves").
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
    """Follows one counter; a value that does not fit waits 15 min, in case it is undone."""

    def __init__(self, group: Group, index: int, limit: _Limit, findings: Findings) -> None:
        self._group, self._index, self._limit, self._findings = group, index, limit, findings
        self._good: int | None = None  # the last value that fits those before it
        self._good_ms = self._doubtful_ms = self._last_ms = self._first_ms = 0
        self._doubtful: int | None = None  # the first value that does not
        self._doubtful_polls = 0
        self._reserve = limit.reserve  # what is left of it

    def update(self, raw: int, ts_ms: int, *, restart: bool) -> None:
        """Take the value of one poll; `restart` if it cannot be compared with the last one."""
        if self._good is None or restart:
            self._good, self._good_ms, self._first_ms = raw, ts_ms, ts_ms
            self._doubtful, self._doubtful_polls, self._reserve = None, 0, self._limit.reserve
        elif self._fits(self._good, raw, ts_ms):
            if self._doubtful is not None:
                self._report("counter-spike", "for {lasted}, then back")
            self._good, self._good_ms = raw, ts_ms
        elif self._doubtful is None:
            self._doubtful, self._doubtful_ms, self._doubtful_polls = raw, ts_ms, 1
        else:
            self._doubtful_polls += 1
            if ts_ms - self._doubtful_ms >= _BACK_WITHIN_MS:
                self._settle(raw, ts_ms)
        self._last_ms = ts_ms

    @property
    def has_counted(self) -> bool:
        """Whether it ever had another value than 0."""
        return self._good is not None

    def end(self) -> None:
        """Judge a value that is still in doubt after the last poll."""
        if self._doubtful is None:
            return
        if self._last_ms - self._doubtful_ms >= _BACK_WITHIN_MS / 2 or self._doubtful_polls > 1:
            self._settle(self._doubtful, self._last_ms)
        else:
            self._report("counter-spike", "at the end of the interval")

    def _fits(self, before: int, raw: int, ts_ms: int) -> bool:
        """Whether a counter can have grown to this value; growing too fast uses up `reserve`."""
        elapsed_s, grown = (ts_ms - self._good_ms) / 1000, raw - before
        most = elapsed_s * self._limit.per_s * 1.01 + self._reserve
        if not 0 <= grown <= most:
            return False
        self._reserve = min(self._limit.reserve, most - grown)
        return True

    def _settle(self, raw: int, ts_ms: int) -> None:
        """Report what the new level means, and continue from it."""
        assert self._good is not None
        assert self._doubtful is not None
        early = self._good_ms - self._first_ms < _BACK_WITHIN_MS and self._doubtful < self._good
        if self._doubtful > self._good:
            self._report("counter-jump", "within {gap}")
        elif self._doubtful <= self._good * _RESTART:
            total = (self._group, self._index) in _SINCE_RESET
            self._report("counter-reset-total" if total else "counter-reset", "")
        elif early and self._good - self._doubtful > self._limit.loss:
            # The first value may have been the spike: there is none before it to compare with.
            self._report("counter-spike", "at the beginning of the interval")
        elif self._good - self._doubtful <= self._limit.loss:
            self._report("counter-setback", "")
        else:
            self._report("counter-decrease", "")
        self._good, self._good_ms, self._first_ms = raw, ts_ms, 0
        self._reserve = self._limit.reserve

    def _report(self, rule: str, how: str) -> None:
        before, after = self._text(self._good), self._text(self._doubtful)
        gap = span((self._doubtful_ms - self._good_ms) / 1000)
        how = how.format(gap=gap, lasted=span((self._last_ms - self._doubtful_ms) / 1000))
        self._findings.add(
            rule,
            self._last_ms,
            f"{before} became {after}{' ' + how if how else ''}",
            index=self._index,
            group=self._group,
            since_ms=self._doubtful_ms,
            count=1,
        )
        self._doubtful, self._doubtful_polls = None, 0

    def _text(self, raw: int | None) -> str:
        register = catalogue.register(self._group, self._index)
        value = None if raw is None else decoding.value(register, raw)
        return f"{value} {register.unit}".strip()


class Counters(Check):
    """All counters of a heat pump, one by one and compared with each other.

    Args:
        findings: Takes what is found.
        clocks: Says whether this computer's clock was set, after which nothing can be compared.
            None for the rows of a CSV.
    """

    rules = (
        *("counter-spike", "counter-reset", "counter-reset-total", "counter-setback"),
        *("counter-decrease", "counter-jump", "starts-runtime", "heatpump-runtime"),
    )

    def __init__(self, findings: Findings, clocks: Clocks | None = None) -> None:
        super().__init__(findings)
        self._clocks = clocks

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

    def update(self, poll: Poll) -> None:
        """Take the next poll."""
        restart = self._clocks is not None and self._clocks.has_stepped
        for block, counters in (
            (poll.calculations, self._calculations),
            (poll.parameters, self._parameters),
        ):
            for index, counter in counters:
                raw = block[index]
                # A counter that always shows 0 belongs to a meter or compressor that is not there.
                if raw is not None and (raw or counter.has_counted):
                    counter.update(raw, poll.ts_ms, restart=restart)
        self._compare(poll)

    def end(self) -> None:
        """Judge the values that are still in doubt after the last poll."""
        for _, counter in (*self._calculations, *self._parameters):
            counter.end()

    def _compare(self, poll: Poll) -> None:
        block, add = poll.calculations, self._findings.add
        for run_time, starts in _COMPRESSORS:
            seconds, count = block[run_time], block[starts]
            # A compressor that was never on has no run time and no starts.
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
