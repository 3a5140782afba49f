"""Follows a heat pump for somebody who stands beside it: polls at a steady pace, keeps nothing.

The heat pump is held for the duration of each poll only, so that the scheduled ones come through.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from luxcli.config.config import Config
from luxcli.errors import DeviceError, LockHeldError, LuxcliError
from luxcli.model import Snapshot
from luxcli.recording import poll
from luxcli.registers import ranges
from luxcli.system.clock import SYSTEM_CLOCK, Clock

# The recorded reasons of a failed poll, for people.
_WORDS: Final = {
    "timeout": "the heat pump does not answer",
    "refused": "the heat pump refuses the connection",
    "network": "the heat pump cannot be reached",
    "busy": "the controller says that it is busy",
    "protocol": "what answers does not speak like a heat pump",
    "rejected": "the answer contradicts itself",
}


@dataclass(frozen=True, slots=True)
class View:
    """What is known after an attempt; times of the monotonic clock, in seconds.

    Attributes:
        polls: Attempts that succeeded.
        failed: Attempts that failed since the last one that succeeded.
        failures: Attempts that failed at all.
        snapshot: The last poll, None before the first.
        before: The poll before it.
        fitted: Calculations that showed another value than that of a missing sensor.
        read_at: When `snapshot` was read.
        next_at: When the next attempt begins.
        failure: Why the last attempt failed, None when it did not.
    """

    polls: int = 0
    failed: int = 0
    failures: int = 0
    snapshot: Snapshot | None = None
    before: Snapshot | None = None
    fitted: frozenset[int] = field(default_factory=frozenset)
    read_at: float = 0.0
    next_at: float = 0.0
    failure: LuxcliError | None = None


def follow(
    config: Config,
    seen: Callable[[View], object],
    *,
    every_s: float,
    count: int | None = None,
    clock: Clock = SYSTEM_CLOCK,
) -> View:
    """Poll every `every_s` seconds; an attempt that takes longer skips what it missed.

    A poll that fails is told like any other and does not end it.

    Args:
        config: Says where the heat pump is.
        seen: Told after each attempt.
        every_s: Seconds from the beginning of one attempt to that of the next.
        count: Attempts after which it ends; None = never.
        clock: Dates the polls, measures and waits.

    Returns:
        What is known after the last attempt.

    Raises:
        ConfigError: No heat pump is configured.
        StorageError: The lock on the heat pump cannot be used.
    """
    config.require_host()
    view, began, tick, done = View(), clock.monotonic(), 0, 0
    while True:
        failure: LuxcliError | None = None
        snapshot: Snapshot | None = None
        try:
            # The next tick is the next attempt, and whoever watches sees why it failed.
            snapshot = poll.read(config, retries=0, clock=clock)
        except (LockHeldError, DeviceError) as exc:
            failure = exc
        done += 1
        now = clock.monotonic()
        tick = max(tick + 1, int((now - began) / every_s) + 1)
        view = _after(view, snapshot, failure, now, began + tick * every_s)
        seen(view)
        if done == count:
            return view
        clock.sleep(max(0.0, view.next_at - clock.monotonic()))


def in_words(failure: LuxcliError) -> str:
    """Return why a poll failed, for somebody who knows heat pumps rather than networks."""
    if isinstance(failure, LockHeldError):
        return "another luxcli is reading the heat pump"
    if isinstance(failure, DeviceError) and failure.reason in _WORDS:
        return _WORDS[failure.reason]
    return str(failure)


def _after(
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
