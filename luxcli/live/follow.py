"""Follows a heat pump: polls it at a steady pace and stores nothing.

The heat pump is locked only during each poll, so that scheduled polls are not kept away.
"""

from collections.abc import Callable

from luxcli.config.config import Config
from luxcli.errors import DeviceError, LockHeldError, LuxcliError
from luxcli.live.view import View
from luxcli.model import Snapshot
from luxcli.recording import poll
from luxcli.registers import ranges
from luxcli.system.clock import SYSTEM_CLOCK, Clock


def follow(
    config: Config,
    report: Callable[[View], object],
    *,
    every_s: float,
    count: int | None = None,
    device_wait_s: float = poll.DEVICE_WAIT_S,
    clock: Clock = SYSTEM_CLOCK,
) -> View:
    """Poll every `every_s` seconds, also after a failure.

    Polls whose time passes during another one are skipped.

    Args:
        config: Says where the heat pump is.
        report: Receives the view after each attempt.
        every_s: Seconds from the beginning of one attempt to that of the next.
        count: Attempts after which it ends; None = never.
        device_wait_s: How long a poll waits for another luxcli that talks to the heat pump.
        clock: Dates the polls, measures and waits.

    Returns:
        The view after the last attempt.

    Raises:
        ConfigError: No heat pump is configured.
        StorageError: The lock on the heat pump cannot be used.
    """
    config.require_host()
    view, began, number, done = View(), clock.monotonic(), 0, 0
    while True:
        failure: LuxcliError | None = None
        snapshot: Snapshot | None = None
        try:
            # Not repeated: the next poll follows soon, and the user sees why this one failed.
            snapshot = poll.read(config, retries=0, device_wait_s=device_wait_s, clock=clock)
        except (LockHeldError, DeviceError) as exc:
            failure = exc
        done += 1
        now = clock.monotonic()
        number = max(number + 1, int((now - began) / every_s) + 1)
        view = _next_view(view, snapshot, failure, now, began + number * every_s)
        report(view)
        if done == count:
            return view
        clock.sleep(max(0.0, view.next_at - clock.monotonic()))


def _next_view(
    view: View,
    snapshot: Snapshot | None,
    failure: LuxcliError | None,
    now: float,
    next_at: float,
) -> View:
    if snapshot is None:
        return View(
            *(view.polls, view.failed + 1, view.failures + 1, view.snapshot, view.before),
            *(view.fitted, view.read_at, next_at, failure),
        )
    block = snapshot.calculations
    real = {
        i for i in ranges.NOT_FITTED if i < len(block) and not ranges.is_not_fitted(i, block[i])
    }
    return View(
        *(view.polls + 1, 0, view.failures, snapshot, view.snapshot),
        *(view.fitted | real, now, next_at),
    )
