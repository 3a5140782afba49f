"""The clock of jobs that wait and date what they read; tests and the demo use a faster one."""

import time
from collections.abc import Callable
from typing import Final, NamedTuple


class Clock(NamedTuple):
    """The time of day, elapsed time and waiting. By default the machine's.

    Attributes:
        now: Returns the time of day, seconds since the epoch. It steps when somebody sets it.
        sleep: Waits, seconds.
        monotonic: Returns seconds since some moment in the past; never steps.
    """

    now: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep
    monotonic: Callable[[], float] = time.monotonic

    def now_ms(self) -> int:
        """Return the time of day, milliseconds since the epoch."""
        return round(self.now() * 1000)


SYSTEM_CLOCK: Final = Clock()
