"""Compares two clocks, this computer's and the controller's: offset, drift, steps, standstill.

Polls are dated by this computer. The controller's clock (calculation 134) drifts and may be hours
off, which harms nothing (docs/registers.md, "How the data behaves"). It shows whether this
computer's clock was set, since both should advance alike.
"""

from typing import Final

from luxcli.registers.numbers import CLOCK, RUN_TIMES
from luxcli.times import span
from luxcli.validation.findings import Check, Findings, Poll

_OFF_S: Final = 300
_HOUR_S: Final = 3600
# Time zones reach from -12 to +14 hours; an offset of whole hours within that is one.
_ZONES_H: Final = 14
# A poll takes up to a minute and may hold the clock of its beginning or of its end.
_STEP_S: Final = 90
# Share of a pause between polls that may be drift; a quartz is off by seconds a day.
_DRIFT_SHARE: Final = 1e-3
_DRIFT_S_PER_DAY: Final = 60
_DAY_S: Final = 86_400
# Drift is measured over an interval without steps that is at least this long.
_DRIFT_SPAN_S: Final = 6 * 3600
_STANDSTILL_POLLS: Final = 3
_STANDSTILL_S: Final = 90
# A run time that falls below this share of its last value was reset: the controller restarted.
_RESTART: Final = 0.05
# 2010: no controller with this interface is older, and a clock without battery starts far earlier.
_DEAD_S: Final = 1_262_304_000
# Scheduled polls begin this close to their time.
_PUNCTUAL_S: Final = 3


class Clocks(Check):
    """Compares the clocks poll by poll.

    Attributes:
        has_stepped: This computer's clock was set between the last two polls.
    """

    rules = (
        *("clock-off", "clock-zone", "clock-drift", "clock-standstill"),
        *("host-clock-step", "controller-clock-set"),
    )

    def __init__(self, findings: Findings, interval_s: int) -> None:
        super().__init__(findings)
        self._interval_s = interval_s
        self.has_stepped = False
        self._last: tuple[int, int] | None = None  # time of the poll in ms, controller's clock in s
        self._run_times: tuple[int | None, ...] = ()  # of that poll
        # Beginning in ms and offset in s of the interval over which drift is measured.
        self._steady: tuple[int, float] | None = None
        self._offset_s = 0.0
        self._still_ms = 0
        self._still_polls = 0

    def update(self, poll: Poll) -> None:
        """Take the next poll."""
        clock = poll.calculations[CLOCK]
        self.has_stepped = False
        if clock is None:
            return
        offset_s = clock - poll.ts_ms / 1000
        if self._last is not None:
            self.has_stepped = self._compare(poll, clock, *self._last)
        if self._steady is None:
            self._steady = (poll.ts_ms, offset_s)
        self._offset_s = offset_s
        self._last = (poll.ts_ms, clock)
        self._run_times = poll.calculations[RUN_TIMES]
        if abs(offset_s) > _OFF_S:
            self._off(poll.ts_ms, clock, offset_s)

    def end(self) -> None:
        """Judge the drift until the last poll."""
        self._judge_drift()

    def _compare(self, poll: Poll, clock: int, last_ms: int, last_clock: int) -> bool:
        host_s, controller_s = (poll.ts_ms - last_ms) / 1000, clock - last_clock
        stepped = abs(controller_s - host_s) > _STEP_S + _DRIFT_SHARE * host_s
        if stepped:
            # Also where it seems to stand still, being set back by just the distance of two polls.
            self._judge_drift()
            self._steady = None
        if controller_s == 0:
            self._still(poll, last_ms)
            return False
        self._still_polls = 0
        return stepped and self._step(poll, host_s, controller_s, last_clock)

    def _still(self, poll: Poll, last_ms: int) -> None:
        if not self._still_polls:
            self._still_ms, self._still_polls = last_ms, 1
        self._still_polls += 1
        lasted_s = (poll.ts_ms - self._still_ms) / 1000
        if self._still_polls >= _STANDSTILL_POLLS and lasted_s >= _STANDSTILL_S:
            self._steady = None
            self._findings.add(
                "clock-standstill",
                poll.ts_ms,
                lambda: f"the same for {span(lasted_s)}",
                index=CLOCK,
                since_ms=self._still_ms,
            )

    def _step(self, poll: Poll, host_s: float, controller_s: int, last_clock: int) -> bool:
        """Report whose clock stepped; return whether it was this computer's."""
        lost_or_set = (last_clock < _DEAD_S) != (last_clock + controller_s < _DEAD_S)
        if not lost_or_set and self._is_hosts(poll, host_s, controller_s):
            self._findings.add(
                "host-clock-step",
                poll.ts_ms,
                lambda: (
                    f"{host_s:.0f} s between two polls, {controller_s} s by the controller's clock"
                ),
            )
            return True
        self._findings.add(
            "controller-clock-set",
            poll.ts_ms,
            lambda: f"moved by {span(controller_s)} in {span(host_s)}",
            index=CLOCK,
        )
        return False

    def _is_hosts(self, poll: Poll, host_s: float, controller_s: int) -> bool:
        """Whether this computer's clock stepped: the other one shows the usual distance of polls.

        Where the controller's clock went backwards, either polls from before and after the step
        are mixed, or it was set back while polls were missing.
        """
        pairs = [
            (before, now)
            for before, now in zip(self._run_times, poll.calculations[RUN_TIMES], strict=True)
            if before and now is not None and now < before
        ]
        if any(now <= before * _RESTART for before, now in pairs):
            return False  # the controller restarted
        least, most = 0.5 * self._interval_s, 1.5 * self._interval_s
        if host_s < least:
            return True
        if host_s <= most:
            return False
        if controller_s >= 0:
            return least <= controller_s <= most
        late_s = abs(host_s - round(host_s / self._interval_s) * self._interval_s)
        return bool(pairs) or late_s > _PUNCTUAL_S

    def _off(self, ts_ms: int, clock: int, offset_s: float) -> None:
        hours = round(offset_s / _HOUR_S)
        zone = 0 < abs(hours) <= _ZONES_H and abs(offset_s - hours * _HOUR_S) <= _OFF_S
        text = f"{span(abs(offset_s))} {'ahead' if offset_s > 0 else 'behind'}"
        if zone:
            text += ": another time zone, or no summer time"
        self._findings.add(
            "clock-zone" if zone else "clock-off",
            ts_ms,
            text if clock > 0 else "not set",
            index=CLOCK,
        )

    def _judge_drift(self) -> None:
        if self._steady is None or self._last is None:
            return
        start_ms, offset_s = self._steady
        span_s = (self._last[0] - start_ms) / 1000
        if span_s < _DRIFT_SPAN_S:
            return
        per_day_s = (self._offset_s - offset_s) * _DAY_S / span_s
        if abs(per_day_s) > _DRIFT_S_PER_DAY:
            side = "gains" if per_day_s > 0 else "loses"
            self._findings.add(
                "clock-drift",
                self._last[0],
                f"{side} {span(abs(per_day_s))} a day",
                index=CLOCK,
                since_ms=start_ms,
            )
