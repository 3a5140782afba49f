"""Several polls at an even pace, for schedulers that are coarser than the interval.

A run makes the polls of one minute or a fixed number of them. What it cannot make because a poll
took too long it records, so that no tick of the schedule is missing without a reason.
"""

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from luxcli import jobs
from luxcli.config import Config
from luxcli.errors import DeviceError, LockHeldError, LuxcliError, StorageError
from luxcli.jobs import PollResult
from luxcli.model import Missed
from luxcli.storage import Store, open_store

_LOGGER = logging.getLogger("luxcli.pacing")
# Ticks that are over before the poll of an earlier one.
OVERRUN: Final = "overrun"
# The smallest step of cron and of the task planners of NAS systems.
MINUTE_S: Final = 60
# Whoever starts at a tick waits for the heat pump before it records that it is in use: 5 seconds
# (`jobs.device_to_oneself`) and the start of a process on a small computer. Shorter than any
# interval, so that waiting for it costs no tick.
_GRACE_S: Final = 8.0


class Run:
    """What the polls of one run came to.

    Attributes:
        outcomes: What each poll stored, or why it failed, in order.
        overrun: Ticks that passed while a poll took too long.
    """

    def __init__(self) -> None:
        self.outcomes: list[PollResult | LuxcliError] = []
        self.overrun = 0

    @property
    def failure(self) -> LuxcliError | None:
        """Why the last poll that failed did so."""
        failures = [found for found in self.outcomes if isinstance(found, LuxcliError)]
        return failures[-1] if failures else None


def in_minute(now_s: float, interval_s: int) -> list[float]:
    """Return when a run that starts now polls, in seconds from now.

    Ticks are the multiples of `interval_s` since 1970 (UTC), so those of consecutive minutes
    follow each other evenly whatever the interval, also over midnight and clock changes. The run
    makes those of the minute it starts in, as late as itself: a run that starts at :00.4 polls at
    :00.4 and :30.4. There may be none.
    """
    begin = int(now_s // MINUTE_S) * MINUTE_S
    first = begin + -begin % interval_s
    return [float(tick - begin) for tick in range(first, begin + MINUTE_S, interval_s)]


def ticks(
    offsets_s: Iterable[float],
    *,
    sleep: Callable[[float], None],
    look_s: float = math.inf,
    waiting: Callable[[], object] = lambda: None,
    skipped: Callable[[float], object] = lambda _late_s: None,
) -> Iterator[None]:
    """Yield at each moment; what the loop's body does in between must not take for ever.

    Args:
        offsets_s: Seconds from now, in order.
        sleep: Waits, seconds.
        look_s: How often `waiting` is called meanwhile.
        waiting: Called before each wait.
        skipped: Called for each moment that was over when the body came back, with how many
            seconds ago it was.
    """
    began, done_s = time.monotonic(), 0.0
    for offset_s in offsets_s:
        if offset_s < done_s:
            skipped(time.monotonic() - began - offset_s)
            continue
        while (left_s := began + offset_s - time.monotonic()) > 0:
            waiting()
            sleep(min(look_s, left_s))
        yield
        done_s = time.monotonic() - began


def poll(
    config: Config,
    offsets_s: Sequence[float],
    *,
    every_s: float,
    grace_s: float = _GRACE_S,
    stored: Callable[[PollResult], object] = lambda _result: None,
    failed: Callable[[LuxcliError], object] = lambda _failure: None,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> Run:
    """Poll at each of the moments; a poll that fails does not prevent the next.

    Ends within the last moment, the limit of one poll and `grace_s`.

    Args:
        config: Says where from, where to and how.
        offsets_s: Seconds from now.
        every_s: The interval of the schedule, seconds; infinite when there is none.
        grace_s: How long after a tick another run that was started at it may record nothing.
        stored: Told what a poll stored, at once.
        failed: Told why a poll failed, at once.
        clock: Gives the time stamps, seconds since the epoch.
        sleep: Waits, seconds.

    Raises:
        ConfigError: No heat pump is configured.
    """
    run, began, began_ms = Run(), time.monotonic(), round(clock() * 1000)

    def skipped(late_s: float) -> None:
        run.overrun += _record(config, [round((clock() - late_s) * 1000)], around_ms=0)

    for _ in ticks(offsets_s, sleep=sleep, skipped=skipped):
        try:
            result = jobs.poll_once(config, clock=clock, sleep=sleep)
        except (DeviceError, LockHeldError, StorageError) as exc:
            run.outcomes.append(exc)
            failed(exc)
        else:
            run.outcomes.append(result)
            stored(result)
    # Measured, not read from the clock: that may have been set meanwhile, by years.
    last_s = max(offsets_s, default=math.inf)
    passed = max(0.0, time.monotonic() - began - last_s) // every_s
    if passed:
        settled_s = last_s + passed * every_s + grace_s
        sleep(max(0.0, began + settled_s - time.monotonic()))
        due = (last_s + number * every_s for number in range(1, int(passed) + 1))
        due_ms = [began_ms + round(due_s * 1000) for due_s in due]
        run.overrun += _record(config, due_ms, around_ms=round(every_s * 500))
    return run


def record_overrun(store: Store, ts_ms: int) -> None:
    """Record a tick that was over before an earlier poll; raises StorageError."""
    store.add_missed(Missed(ts_ms, OVERRUN, 0, 0, "the poll before took too long"))


def _record(config: Config, ticks_ms: Sequence[int], *, around_ms: int) -> int:
    """Record the ticks of which nothing is known within `around_ms`; return how many.

    cron starts the next run while this one goes on, which records for itself that the heat pump
    was in use; supercronic and systemd start nothing and record nothing.
    """
    recorded = 0
    try:
        store = open_store(config)
        start, stop = ticks_ms[0] - around_ms, ticks_ms[-1] + around_ms
        waiting = store.waiting()
        known = [tick.ts_ms for tick in (*waiting.missed, *store.missed(start, stop))]
        known += [found.taken_ms for found in waiting.polls] + store.times(start, stop)
        for tick_ms in ticks_ms:
            if not any(abs(tick_ms - seen) < around_ms for seen in known):
                record_overrun(store, tick_ms)
                recorded += 1
    except (LockHeldError, StorageError) as exc:
        # What the polls came to must not be hidden by this.
        _LOGGER.error("a poll took too long, which is not recorded: %s", exc)
    return recorded
