"""Two clocks, this computer's and the controller's: are they right, do they move, were they set?

A poll is dated by this computer. The controller's clock (calculation 134) drifts and may be hours
off, which harms nothing (source: "controller.md" section 3); it is good for showing steps of the
other clock, for both should move alike.
"""

from typing import Final

from luxcli.registers.numbers import CLOCK, RUN_TIMES
from luxcli.times import span
from luxcli.validation.findings import Findings, Poll

_OFF_S: Final = 300
_HOUR_S: Final = 3600
# Time zones go from -12 to +14 hours; a clock that is off by more is not just in another one.
_ZONES_H: Final = 14
# A poll takes up to a minute, and the clock is read at its end or its beginning.
_STEP_S: Final = 90
# Quartz is good for seconds a day; this part of a pause in polls may be drift.
_DRIFT_SHARE: Final = 1e-3
_DRIFT_S_PER_DAY: Final = 60
_DAY_S: Final = 86_400
# Drift is told from a stretch without steps that is at least this long.
_DRIFT_SPAN_S: Final = 6 * 3600
_STANDSTILL_POLLS: Final = 3
_STANDSTILL_S: Final = 90
# A run time below this part of what it was says that the controller started anew, whatever happened
# to this computer's clock.
_RESTART: Final = 0.05
# No controller that this program can read was there before 2010; a dead clock begins far earlier.
_DEAD_S: Final = 1_262_304_000
# Polls begin so many seconds around the ticks of their schedule.
_TICK_S: Final = 3


class Clocks:
    """Compares the clocks poll by poll."""

    def __init__(self, findings: Findings, interval_s: int) -> None:
        self._findings, self._interval_s = findings, interval_s
        self._last: tuple[int, int] | None = None  # time of the poll in ms, controller's clock in s
        self._run_times: tuple[int | None, ...] = ()  # of that poll
        self._stretch: tuple[int, float] | None = None  # beginning in ms, offset in s
        self._offset_s = 0.0
        self._still_ms = 0
        self._still_polls = 0

    def see(self, poll: Poll) -> bool:
        """Look at one poll; return whether this computer's clock has stepped."""
        clock = poll.calculations[CLOCK]
        if clock is None:
            return False
        offset_s = clock - poll.ts_ms / 1000
        stepped = self._last is not None and self._compare(poll, clock, *self._last)
        if self._stretch is None:
            self._stretch = (poll.ts_ms, offset_s)
        self._offset_s = offset_s
        self._last = (poll.ts_ms, clock)
        self._run_times = poll.calculations[RUN_TIMES]
        if abs(offset_s) > _OFF_S:
            self._off(poll.ts_ms, offset_s)
        return stepped

    def end(self) -> None:
        """Judge the drift of the last stretch."""
        self._end_stretch()

    def _compare(self, poll: Poll, clock: int, last_ms: int, last_clock: int) -> bool:
        host_s, controller_s = (poll.ts_ms - last_ms) / 1000, clock - last_clock
        stepped = abs(controller_s - host_s) > _STEP_S + _DRIFT_SHARE * host_s
        if stepped:
            # Also where it only seems to stand still: set back by just the distance of two polls.
            self._end_stretch()
            self._stretch = None
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
            self._stretch = None
            self._findings.add(
                "clock-standstill",
                poll.ts_ms,
                lambda: f"the same for {span(lasted_s)}",
                index=CLOCK,
                since_ms=self._still_ms,
            )

    def _step(self, poll: Poll, host_s: float, controller_s: int, last_clock: int) -> bool:
        """Tell whose clock stepped; return whether it was this computer's."""
        died_or_set = (last_clock < _DEAD_S) != (last_clock + controller_s < _DEAD_S)
        if not died_or_set and self._is_hosts(poll, host_s, controller_s):
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
        """Whether the step is this computer's: the other clock shows the usual distance of polls.

        Where it shows less than none, polls of before and after the step are mixed in their order,
        or the controller's clock was set back while polls were missing.
        """
        pairs = [
            (before, now)
            for before, now in zip(self._run_times, poll.calculations[RUN_TIMES], strict=True)
            if before and now is not None and now < before
        ]
        if any(now <= before * _RESTART for before, now in pairs):
            return False  # the controller began anew
        least, most = 0.5 * self._interval_s, 1.5 * self._interval_s
        if host_s < least:
            return True
        if host_s <= most:
            return False
        if controller_s >= 0:
            return least <= controller_s <= most
        off_tick_s = abs(host_s - round(host_s / self._interval_s) * self._interval_s)
        return bool(pairs) or off_tick_s > _TICK_S

    def _off(self, ts_ms: int, offset_s: float) -> None:
        hours = round(offset_s / _HOUR_S)
        zone = 0 < abs(hours) <= _ZONES_H and abs(offset_s - hours * _HOUR_S) <= _OFF_S
        side = "ahead" if offset_s > 0 else "behind"
        self._findings.add(
            "clock-zone" if zone else "clock-off",
            ts_ms,
            lambda: f"{span(abs(offset_s))} {side}",
            index=CLOCK,
        )

    def _end_stretch(self) -> None:
        if self._stretch is None or self._last is None:
            return
        start_ms, offset_s = self._stretch
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
