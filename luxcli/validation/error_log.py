"""Checks of the controller's error log, and of the sensor that an error makes untrustworthy."""

from collections.abc import Iterator
from typing import Final

from luxcli.registers import numbers, ranges
from luxcli.registers.decoding import error_meaning
from luxcli.times import span
from luxcli.validation.findings import Check, Findings, Poll

# Five times, then five codes.
_LOG: Final = slice(numbers.ERROR_TIMES.start, numbers.ERROR_CODES.stop)
# Line 1 of the display while an error is shown.
_ERROR_SHOWN: Final = 3
_OUTDOOR_BROKEN_MS: Final = 1_800_000
# Registers of one block are read one after the other.
_READ_APART_S: Final = 5
_WEEK_S: Final = 7 * 86_400


class ErrorLog(Check):
    """New entries of the controller's error log.

    Args:
        findings: Takes what is found.
        recent_s: Entries of the first poll count as new when they are no older than this, in
            seconds; 0 for none.
    """

    rules = ("error", "error-passing")

    def __init__(self, findings: Findings, recent_s: int) -> None:
        super().__init__(findings)
        self._recent_s = recent_s
        self._log: tuple[int | None, ...] | None = None

    def update(self, poll: Poll) -> None:
        """Take the next poll."""
        log = poll.calculations[_LOG]
        if log == self._log:
            return
        clock = poll.calculations[numbers.CLOCK]
        for time_s, code in self._new(log, clock):
            rule = "error-passing" if code in ranges.PASSING_ERRORS else "error"
            # The controller dates its errors by its own clock.
            age_s = 0 if clock is None else max(0, clock - time_s)
            text = f"{code} {error_meaning(code)}"
            at_ms = poll.ts_ms - age_s * 1000
            self._findings.add(rule, at_ms, text, index=_about(code), code=code)
        self._log = log

    def _new(self, log: tuple[int | None, ...], clock: int | None) -> Iterator[tuple[int, int]]:
        before = () if self._log is None else tuple(zip(self._log[:5], self._log[5:], strict=True))
        for time_s, code in zip(log[:5], log[5:], strict=True):
            if time_s is None or code is None or code <= 0 or (time_s, code) in before:
                continue
            recent = (
                self._recent_s > 0
                and clock is not None
                and -_READ_APART_S <= clock - time_s <= self._recent_s
            )
            if self._log is not None or recent:
                yield time_s, code


class OutdoorSensor(Check):
    """The controller shows -5.0 °C while the outdoor sensor is broken.

    Args:
        findings: Takes what is found.
        single: Only one poll is judged, so an error of the last week has to do for how long.
    """

    rules = ("outdoor-broken",)

    def __init__(self, findings: Findings, *, single: bool) -> None:
        super().__init__(findings)
        self._single = single
        self._since_ms: int | None = None

    def update(self, poll: Poll) -> None:
        """Take the next poll."""
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
        # The error stays in the log for months, and -5.0 °C is also weather.
        shown = block[numbers.DISPLAY_LINE_1] == _ERROR_SHOWN
        recent = self._single and _age_s(poll) <= _WEEK_S
        if lasted_ms >= _OUTDOOR_BROKEN_MS or shown or recent:
            self._findings.add(
                "outdoor-broken",
                poll.ts_ms,
                lambda: (
                    f"-5.0 °C for {span(lasted_ms / 1000)}, newest error 711"
                    if lasted_ms
                    else "-5.0 °C, newest error 711"
                ),
                index=numbers.OUTDOOR_TEMPERATURE,
                since_ms=self._since_ms,
            )


def _age_s(poll: Poll) -> float:
    """Return how old the newest error is by the clock that dates it, the controller's."""
    clock, time_s = (poll.calculations[i] for i in (numbers.CLOCK, numbers.ERROR_TIMES.start))
    if clock is None or time_s is None or time_s > clock + _READ_APART_S:
        return float("inf")  # an error from before the clock was lost
    return clock - time_s


def _about(code: int) -> int:
    """Return the calculation that an error makes untrustworthy, else the error's own place."""
    return ranges.SENSOR_OF_ERROR.get(code, numbers.ERROR_CODES.start)
