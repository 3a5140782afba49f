"""The controller's error log in plain words, and which sensor an error makes untrustworthy."""

from collections.abc import Iterator
from typing import Final

from luxcli.registers import numbers, ranges
from luxcli.registers.catalogue import error_meaning
from luxcli.times import span, utc_text
from luxcli.validation.findings import Findings, Poll

# Five times, then five codes.
_LOG: Final = slice(numbers.ERROR_TIMES.start, numbers.ERROR_CODES.stop)
# Line 1 of the display while an error is shown.
_ERROR_SHOWN: Final = 3
_OUTDOOR_BROKEN_MS: Final = 1_800_000


class ErrorLog:
    """Tells new entries of the controller's error log.

    Args:
        findings: Takes them.
        recent_s: Entries of the first poll count as new when they are no older; 0 for none.
    """

    def __init__(self, findings: Findings, recent_s: int) -> None:
        self._findings, self._recent_s = findings, recent_s
        self._log: tuple[int | None, ...] | None = None

    def see(self, poll: Poll) -> None:
        """Look at one poll."""
        log = poll.calculations[_LOG]
        if log == self._log:
            return
        for time_s, code in self._new(log, poll.calculations[numbers.CLOCK]):
            rule = "error-passing" if code in ranges.PASSING_ERRORS else "error"
            text = f"{code} at {utc_text(time_s * 1000)}, {error_meaning(code)}"
            self._findings.add(rule, poll.ts_ms, text, index=_about(code))
        self._log = log

    def _new(self, log: tuple[int | None, ...], clock: int | None) -> Iterator[tuple[int, int]]:
        before = () if self._log is None else tuple(zip(self._log[:5], self._log[5:], strict=True))
        for time_s, code in zip(log[:5], log[5:], strict=True):
            if time_s is None or code is None or code <= 0 or (time_s, code) in before:
                continue
            recent = clock is not None and 0 <= clock - time_s <= self._recent_s
            if self._log is not None or recent:
                yield time_s, code


class OutdoorSensor:
    """The controller shows -5.0 °C while the outdoor sensor is broken."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._since_ms: int | None = None

    def see(self, poll: Poll) -> None:
        """Look at one poll."""
        block = poll.calculations
        if (
            block[numbers.OUTDOOR_TEMPERATURE] != ranges.BROKEN_OUTDOOR_RAW
            or block[numbers.ERROR_CODES.start] != ranges.OUTDOOR_SENSOR_ERROR
        ):
            self._since_ms = None
            return
        if self._since_ms is None:
            self._since_ms = poll.ts_ms
        lasted_ms = poll.ts_ms - self._since_ms
        # The error stays in the log for months, and -5.0 °C is weather, too.
        if lasted_ms >= _OUTDOOR_BROKEN_MS or block[numbers.DISPLAY_LINE_1] == _ERROR_SHOWN:
            self._findings.add(
                "outdoor-broken",
                poll.ts_ms,
                lambda: f"-5.0 °C for {span(lasted_ms / 1000)}, newest error 711",
                index=numbers.OUTDOOR_TEMPERATURE,
                since_ms=self._since_ms,
            )


def _about(code: int) -> int:
    """Return the calculation that an error is about, its own slot where it is about none."""
    return ranges.SENSOR_OF_ERROR.get(code, numbers.ERROR_CODES.start)
