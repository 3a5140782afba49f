"""Checks of the blocks of a poll: lengths, codes, switches, logs, values that are sent twice."""

from collections.abc import Callable
from typing import Final

from luxcli.model import GROUPS, LENGTH_CHANGED, SUSPICIOUS, Snapshot
from luxcli.registers import catalogue, continuity, decoding, numbers, ranges, structure
from luxcli.validation.findings import Check, Findings, Poll

# The condition that this program was written for: a poll with fewer readings is hardly one.
FEWEST_READINGS: Final = 51
# Registers of the firmware text and of addresses are not readings.
_TEXTS: Final = numbers.ADDRESSES.stop - numbers.FIRMWARE.start
# The highest code known. Old firmware counts the codes of display line 1 from 1 (docs/registers.md,
# "Codes").
_CODES: Final = {
    **structure.HIGHEST_CODE,
    numbers.DISPLAY_LINE_1: 8,
    numbers.DISPLAY_LINE_3: 19,
    numbers.DHW_STATE: 3,
    numbers.HEATING_STATE: 3,
}
_HIGHEST_BYTE: Final = 255
# Two blocks are read one after the other, so a single poll may fall between their updates.
_PERSISTENT_POLLS: Final = 3
_RETRIED_SHARE: Final = 0.1
# A length that returns is recognised among so many that came before.
_LENGTHS_KEPT: Final = 8


class Lengths(Check):
    """Whether all three blocks are there, as long as before, and hold values."""

    rules = ("few-values", "missing-sensor", "mostly-zero", "block-length", "block-unsteady")

    def __init__(self, findings: Findings) -> None:
        super().__init__(findings)
        self._lengths: list[tuple[int, ...]] = []

    def update(self, poll: Poll) -> None:
        """Take the next poll."""
        snapshot = _snapshot(poll)
        lengths = tuple(len(snapshot.block(group)) for group in GROUPS)
        if not self._lengths or lengths != self._lengths[-1]:
            self._changed(snapshot, lengths)
        if lengths[0] < 2 * FEWEST_READINGS + _TEXTS:
            count = readings(snapshot)
            if count < FEWEST_READINGS:
                text = f"only {count} sensor readings"
                self._findings.add("few-values", poll.ts_ms, text)
        for index in ranges.CRITICAL:
            if index >= lengths[0]:
                text = f"missing, the block ends after {lengths[0]} values"
                self._findings.add("missing-sensor", poll.ts_ms, text, index=index)
        if (message := structure.mostly_zero(snapshot)) is not None:
            self._findings.add("mostly-zero", poll.ts_ms, message)

    def _changed(self, snapshot: Snapshot, lengths: tuple[int, ...]) -> None:
        if self._lengths or snapshot.flags & LENGTH_CHANGED:
            # The first poll says itself that those of the poll before it were others.
            before = ", ".join(map(str, self._lengths[-1])) if self._lengths else "other lengths"
            now = ", ".join(map(str, lengths))
            text = f"calculations, parameters, visibilities: {before} became {now}"
            rule = "block-unsteady" if lengths in self._lengths else "block-length"
            self._findings.add(rule, snapshot.taken_ms, text)
        self._lengths = [*self._lengths[-_LENGTHS_KEPT:], lengths]


class Marks(Check):
    """Polls that were stored although they looked wrong, and why."""

    rules = ("suspicious-polls",)

    def __init__(self, findings: Findings) -> None:
        super().__init__(findings)
        self._last: Snapshot | None = None

    def update(self, poll: Poll) -> None:
        """Take the next poll."""
        snapshot = _snapshot(poll)
        if snapshot.flags & SUSPICIOUS:
            # Without the poll before there may be nothing to see.
            reasons, _, messages = continuity.judge(snapshot, self._last, 0)
            text = "; ".join([*reasons, *messages]) or "marked when it was read; the log says why"
            self._findings.add("suspicious-polls", poll.ts_ms, text)
        self._last = snapshot


class Firmware(Check):
    """The text of the firmware version: readable, and the same as before."""

    rules = ("firmware-text", "firmware-changed")

    def __init__(self, findings: Findings) -> None:
        super().__init__(findings)
        self._last: tuple[int, ...] | None = None

    def update(self, poll: Poll) -> None:
        """Take the next poll."""
        snapshot, index = _snapshot(poll), numbers.FIRMWARE.start
        if (message := structure.firmware_text(snapshot)) is not None:
            self._findings.add("firmware-text", poll.ts_ms, message, index=index)
        last, self._last = self._last, snapshot.calculations
        if last is not None and last[numbers.FIRMWARE] != self._last[numbers.FIRMWARE]:
            text = f"{decoding.firmware(last)} became {decoding.firmware(self._last)}"
            self._findings.add("firmware-changed", poll.ts_ms, text, index=index)


class ZeroOrOne(Check):
    """Inputs, outputs and visibilities, which are 0 or 1."""

    rules = ("switch", "visibility-flags")

    def __init__(self, findings: Findings) -> None:
        super().__init__(findings)
        # The last ones that were right: most polls repeat them.
        self._flags: tuple[int, ...] | None = None
        self._switches: tuple[int, ...] | None = None

    def update(self, poll: Poll) -> None:
        """Take the next poll."""
        snapshot, add = _snapshot(poll), self._findings.add
        switches = snapshot.calculations[numbers.SWITCHES]
        if switches != self._switches:
            wrong = [place for place, raw in enumerate(switches) if raw not in (0, 1)]
            self._switches = None if wrong else switches
            for place in wrong:
                index = numbers.SWITCHES.start + place
                add("switch", poll.ts_ms, f"{switches[place]}", index=index)
        flags = snapshot.visibilities
        if flags is not self._flags:
            wrong = [place for place, raw in enumerate(flags) if raw not in (0, 1)]
            self._flags = None if wrong else flags
            for place in wrong:
                text = f"{flags[place]}"
                add("visibility-flags", poll.ts_ms, text, index=place, group="visibilities")


class Logs(Check):
    """Times and codes of the error log and the switch-off log."""

    rules = ("logs", "error-codes")

    def __init__(self, findings: Findings) -> None:
        super().__init__(findings)
        self._logs: tuple[int, ...] | None = None  # the last ones without a finding

    def update(self, poll: Poll) -> None:
        """Take the next poll."""
        snapshot = _snapshot(poll)
        logs = snapshot.calculations[numbers.LOGS]
        if logs == self._logs:
            return
        self._logs = logs
        if (message := structure.logs(snapshot)) is not None:
            self._logs = None
            self._findings.add("logs", poll.ts_ms, message)
        for place, code in enumerate(snapshot.calculations[numbers.ERROR_CODES]):
            if code not in catalogue.labels("error"):
                self._logs = None
                index = numbers.ERROR_CODES.start + place
                self._findings.add("error-codes", poll.ts_ms, f"{code} is unknown", index=index)


class Codes(Check):
    """Codes of model, mode and display, and the network mask."""

    rules = ("model-code", "unknown-code", "impossible-code", "netmask")

    def update(self, poll: Poll) -> None:
        """Take the next poll."""
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
            expected = f"0 to {highest}"
            self._findings.add(rule, poll.ts_ms, f"{raw}", index=index, expected=expected)
        mask = block[numbers.NETMASK]
        if mask and not _is_netmask(mask):
            text = decoding.value(catalogue.register("calculations", numbers.NETMASK), mask)
            self._findings.add("netmask", poll.ts_ms, f"{text}", index=numbers.NETMASK)


class Copies(Check):
    """Values that the controller sends twice.

    The blocks are read one after the other, so one mismatch is normal; three in a row are reported,
    or one in all polls.
    """

    rules = ("heat-quantities", "heat-total", "switch-off-log")

    def __init__(self, findings: Findings) -> None:
        super().__init__(findings)
        self._polls = 0
        self._copies = [
            _Copy(findings, "heat-quantities", _heat),
            _Copy(findings, "heat-total", _heat_total),
            _Copy(findings, "switch-off-log", structure.switch_off_log),
        ]

    def update(self, poll: Poll) -> None:
        """Take the next poll."""
        self._polls += 1
        for copy in self._copies:
            copy.compare(_snapshot(poll))

    def end(self) -> None:
        """Report a mismatch of all polls where there were fewer than three."""
        for copy in self._copies:
            copy.end(self._polls)


class _Copy:
    """One value that is sent twice; `compare_blocks` returns what does not match, or None."""

    def __init__(
        self, findings: Findings, rule: str, compare_blocks: Callable[[Snapshot], str | None]
    ) -> None:
        self._findings, self._rule, self._compare_blocks = findings, rule, compare_blocks
        self._mismatches: list[tuple[int, str]] = []  # those not yet reported
        self._count = 0

    def compare(self, snapshot: Snapshot) -> None:
        message = self._compare_blocks(snapshot)
        if message is None:
            self._mismatches, self._count = [], 0
            return
        self._count += 1
        if self._count < _PERSISTENT_POLLS:
            self._mismatches.append((snapshot.taken_ms, message))
        else:
            self._report(snapshot.taken_ms, message)

    def end(self, polls: int) -> None:
        if self._mismatches and self._count == polls:
            self._report(*self._mismatches.pop())

    def _report(self, ts_ms: int, message: str) -> None:
        before, self._mismatches = self._mismatches, []
        since_ms = before[0][0] if before else ts_ms
        count = 1 + len(before)
        self._findings.add(self._rule, ts_ms, message, since_ms=since_ms, count=count)


class Retries(Check):
    """How many polls needed more than one connection."""

    rules = ("retries",)

    def __init__(self, findings: Findings) -> None:
        super().__init__(findings)
        self._polls = self._retried = self._last_ms = 0

    def update(self, poll: Poll) -> None:
        """Take the next poll."""
        self._polls += 1
        self._retried += _snapshot(poll).tries > 1
        self._last_ms = poll.ts_ms

    def end(self) -> None:
        """Report the number of polls with retries where it is high."""
        if self._retried > self._polls * _RETRIED_SHARE:
            text = f"{self._retried} of {self._polls} polls needed more than one connection"
            self._findings.add("retries", self._last_ms, text, count=self._retried)


def readings(snapshot: Snapshot) -> int:
    """Return how many calculations have a numeric value."""
    pairs = enumerate(snapshot.calculations)
    register = catalogue.register
    values = (decoding.number(register("calculations", index), raw) for index, raw in pairs)
    return sum(value is not None for value in values)


def _snapshot(poll: Poll) -> Snapshot:
    assert poll.snapshot is not None, "rows of a CSV are not blocks"
    return poll.snapshot


def _is_netmask(mask: int) -> bool:
    """Whether the bits of a number are ones, then zeros."""
    zeros = ~mask & 0xFFFFFFFF
    return zeros & (zeros + 1) == 0


def _heat(snapshot: Snapshot) -> str | None:
    copies = (structure.HEATING, structure.HOT_WATER, structure.POOL)
    return structure.heat_quantities(snapshot, copies)


def _heat_total(snapshot: Snapshot) -> str | None:
    return structure.heat_quantities(snapshot, (structure.HEAT_TOTAL,))
