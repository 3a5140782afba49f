"""Judges polls one after the other against the rules: values by themselves, and through time.

Pure: it is fed snapshots in time order and gives findings at the end; memory does not grow with
their number. It only flags. What must not even be stored is decided in `quality`.
"""

from collections.abc import Callable, Sequence
from typing import Final

from luxcli.model import GROUPS, Group, Snapshot
from luxcli.registers import catalogue, numbers, ranges, structure
from luxcli.validation.behaviour import Behaviour
from luxcli.validation.clocks import Clocks
from luxcli.validation.counters import Counters
from luxcli.validation.error_log import ErrorLog, OutdoorSensor
from luxcli.validation.findings import Finding, Findings, Poll
from luxcli.validation.values import CLOSE_S, LARGEST, Ranges

# From the issue that this program was written for: a poll with fewer readings is hardly one.
FEWEST_READINGS: Final = 50
# Beyond every index that a check asks for.
_PADDED: Final[dict[Group, int]] = {"calculations": 300, "parameters": 1200}

_VALUES: Final = tuple(
    sorted(
        {*ranges.CRITICAL, *ranges.IMPORTANT, *ranges.COUNTERS} - {*ranges.RANGES, numbers.CLOCK}
    )
)
_NO_SHORT_VALUE: Final = frozenset(
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

# Enumerations: the highest code known; line 1 of old firmware is counted from 1 (source:
# "sensors.md" section 4).
_CODES: Final = {
    **structure.HIGHEST_CODE,
    numbers.DISPLAY_LINE_1: 8,
    numbers.DISPLAY_LINE_3: 19,
    numbers.DHW_STATE: 3,
    numbers.HEATING_STATE: 3,
}
_HIGHEST_BYTE: Final = 255
# Registers of the firmware text and of addresses, which are no readings.
_TEXTS: Final = numbers.ADDRESSES.stop - numbers.FIRMWARE.start
# Two blocks are read one after the other, so one poll may fall between their updates.
_PERSISTENT_POLLS: Final = 3
_OFTEN: Final = 0.1


class Judge:
    """Takes polls in time order and tells what is odd about them.

    Args:
        interval_s: Seconds between polls by the schedule.
        recent_s: Errors that were in the log already at the first poll count as new when they are
            no older than so many seconds; 0 for none.
    """

    def __init__(self, interval_s: int, *, recent_s: int = 0) -> None:
        self.polls = 0
        self._findings = Findings(lambda group, index: catalogue.register(group, index).id)
        self._broken_s = longest_pause_s(interval_s)
        self._retried = 0
        self._last: Snapshot | None = None
        self._parameters: tuple[tuple[int, ...], tuple[int | None, ...]] = ((), ())
        self._ranges = Ranges(self._findings)
        self._errors = ErrorLog(self._findings, recent_s)
        self._copies = [
            _Copies(self._findings, "heat-quantities", _heat),
            _Copies(self._findings, "heat-total", _heat_total),
            _Copies(self._findings, "switch-off-log", structure.switch_off_log),
        ]
        self._blocks = _Blocks(self._findings)
        self._outdoor = OutdoorSensor(self._findings)
        self._counters = Counters(self._findings)
        self._clocks = Clocks(self._findings, interval_s)
        self._behaviour = Behaviour(self._findings)

    def add(self, snapshot: Snapshot) -> None:
        """Judge the next poll."""
        last, self._last = self._last, snapshot
        gap_s = 0.0 if last is None else (snapshot.taken_ms - last.taken_ms) / 1000
        poll = Poll(
            snapshot.taken_ms,
            _padded(snapshot.calculations, _PADDED["calculations"]),
            self._padded_parameters(snapshot.parameters),
            gap_s,
            last is None or gap_s > self._broken_s,
        )
        self.polls += 1
        self._retried += snapshot.tries > 1
        self._blocks.see(snapshot, last)
        _codes(self._findings, poll)
        for copies in self._copies:
            copies.see(snapshot)
        stepped = self._clocks.see(poll)
        self._counters.see(poll, anew=stepped)
        for check in (self._ranges, self._errors, self._outdoor, self._behaviour):
            check.see(poll)

    def end(self) -> tuple[Finding, ...]:
        """Return all findings, problems first; nothing may be added afterwards."""
        for copies in self._copies:
            copies.end(self.polls)
        self._counters.end()
        self._clocks.end()
        self._behaviour.end()
        if self.polls and self._last and self._retried > self.polls * _OFTEN:
            self._findings.add(
                "retries",
                self._last.taken_ms,
                f"{self._retried} of {self.polls} polls needed more than one connection",
                count=self._retried,
            )
        return self._findings.all()

    def not_fitted(self) -> tuple[str, ...]:
        """Return the ids of sensors that showed nothing but their value for "not fitted"."""
        return self._ranges.not_fitted()

    def _padded_parameters(self, parameters: tuple[int, ...]) -> tuple[int | None, ...]:
        # They hardly ever change, and unchanged they are the same object.
        if parameters is not self._parameters[0]:
            self._parameters = (parameters, _padded(parameters, _PADDED["parameters"]))
        return self._parameters[1]


def longest_pause_s(interval_s: int) -> int:
    """Return the seconds without polls after which nobody knows what happened in between."""
    return max(CLOSE_S, 3 * interval_s)


def judge(snapshots: Sequence[Snapshot], interval_s: int) -> tuple[Finding, ...]:
    """Return the findings about a few polls in time order."""
    judge = Judge(interval_s)
    for snapshot in snapshots:
        judge.add(snapshot)
    return judge.end()


def _padded(block: tuple[int, ...], length: int) -> tuple[int | None, ...]:
    return block + (None,) * (length - len(block))


class _Blocks:
    """Completeness: lengths, readings, critical registers, switches and flags."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._flags: tuple[int, ...] | None = None
        self._switches: tuple[int, ...] | None = None
        self._logs: tuple[int, ...] | None = None
        self._lengths: list[tuple[int, ...]] = []

    def see(self, snapshot: Snapshot, last: Snapshot | None) -> None:
        ts_ms, calculations, add = snapshot.taken_ms, snapshot.calculations, self._findings.add
        lengths = tuple(len(snapshot.block(group)) for group in GROUPS)
        if not self._lengths or lengths != self._lengths[-1]:
            self._new_lengths(ts_ms, lengths)
        if lengths[0] < 2 * FEWEST_READINGS + _TEXTS:
            count = _readings(calculations)
            if count < FEWEST_READINGS:
                add("few-values", ts_ms, f"{count}")
        for index in ranges.CRITICAL:
            if index >= lengths[0]:
                add("missing-sensor", ts_ms, f"block of {lengths[0]} values", index=index)
        if (text := structure.mostly_zero(snapshot)) is not None:
            add("mostly-zero", ts_ms, text)
        if (text := structure.firmware_text(snapshot)) is not None:
            add("firmware-text", ts_ms, text, index=numbers.FIRMWARE.start)
        if (
            last is not None
            and calculations[numbers.FIRMWARE] != last.calculations[numbers.FIRMWARE]
        ):
            texts = [catalogue.firmware(block) for block in (last.calculations, calculations)]
            add("firmware-changed", ts_ms, " became ".join(texts), index=numbers.FIRMWARE.start)
        self._zero_or_one(snapshot)
        self._see_logs(snapshot)

    def _new_lengths(self, ts_ms: int, lengths: tuple[int, ...]) -> None:
        if self._lengths:
            words = [", ".join(map(str, found)) for found in (self._lengths[-1], lengths)]
            rule = "block-unsteady" if lengths in self._lengths else "block-length"
            text = f"calculations, parameters, visibilities: {words[0]} became {words[1]}"
            self._findings.add(rule, ts_ms, text)
        # A few are enough to notice that one comes back.
        self._lengths = [*self._lengths[-8:], lengths]

    def _see_logs(self, snapshot: Snapshot) -> None:
        logs = snapshot.calculations[numbers.LOGS]
        if logs == self._logs:
            return
        text = structure.logs(snapshot)
        self._logs = logs if text is None else None
        if text is not None:
            self._findings.add("logs", snapshot.taken_ms, text)

    def _zero_or_one(self, snapshot: Snapshot) -> None:
        ts_ms, add = snapshot.taken_ms, self._findings.add
        switches = snapshot.calculations[numbers.SWITCHES]
        if switches != self._switches:
            odd = [n for n, raw in enumerate(switches) if raw not in (0, 1)]
            self._switches = None if odd else switches
            for place in odd:
                add("switch", ts_ms, f"{switches[place]}", index=numbers.SWITCHES.start + place)
        flags = snapshot.visibilities
        if flags is not self._flags:
            odd = [n for n, raw in enumerate(flags) if raw not in (0, 1)]
            self._flags = None if odd else flags
            for place in odd:
                add("visibility-flags", ts_ms, f"{flags[place]}", index=place, group="visibilities")


def _readings(calculations: tuple[int, ...]) -> int:
    """Return how many numeric values a block holds."""
    pairs = enumerate(calculations)
    register = catalogue.register
    values = (catalogue.numeric(register("calculations", index), raw) for index, raw in pairs)
    return sum(value is not None for value in values)


def _codes(findings: Findings, poll: Poll) -> None:
    block = poll.calculations
    for index, highest in _CODES.items():
        raw = block[index]
        if raw is None or 0 <= raw <= highest:
            continue
        if index == numbers.MODEL:
            rule = "model-code"
        else:
            possible = 0 <= raw <= _HIGHEST_BYTE and index != numbers.ERROR_COUNT
            rule = "unknown-code" if possible else "impossible-code"
        findings.add(rule, poll.ts_ms, f"{raw}", index=index, expected=f"0 to {highest}")
    for index in _VALUES:
        raw = block[index]
        if raw == LARGEST or (raw == 32767 and index in _NO_SHORT_VALUE):
            findings.add("no-value", poll.ts_ms, f"{raw}", index=index)


def _heat(snapshot: Snapshot) -> str | None:
    copies = (structure.HEATING, structure.HOT_WATER, structure.POOL)
    return structure.heat_quantities(snapshot, copies)


def _heat_total(snapshot: Snapshot) -> str | None:
    return structure.heat_quantities(snapshot, (structure.HEAT_TOTAL,))


class _Copies:
    """Something that stands in two blocks and should agree, but may be updated in between."""

    def __init__(
        self, findings: Findings, rule: str, test: Callable[[Snapshot], str | None]
    ) -> None:
        self._findings, self._rule, self._test = findings, rule, test
        self._run: list[tuple[int, str]] = []
        self._count = 0

    def see(self, snapshot: Snapshot) -> None:
        text = self._test(snapshot)
        if text is None:
            self._run, self._count = [], 0
            return
        self._count += 1
        if self._count < _PERSISTENT_POLLS:
            self._run.append((snapshot.taken_ms, text))
        else:
            self._tell(snapshot.taken_ms, text)

    def end(self, polls: int) -> None:
        if self._run and self._count == polls:
            self._tell(*self._run[-1])

    def _tell(self, ts_ms: int, text: str) -> None:
        since_ms = self._run[0][0] if self._run else ts_ms
        self._findings.add(self._rule, ts_ms, text, since_ms=since_ms, count=1 + len(self._run))
        self._run = []
