"""Several polls at an even pace, for schedulers that are coarser than the interval.

A run makes the polls of its minute or a fixed number of them. What it cannot make because a poll
took too long it records, so that no tick of the schedule is missing without a reason.

Of the runs for a minute there is one at a time. One that reaches into the next minute makes the
polls of that, too: supercronic and systemd start no other meanwhile, and one that cron starts has
nothing to do.
"""

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from luxcli.config.config import Config
from luxcli.errors import DeviceError, LockHeldError, LuxcliError, StorageError
from luxcli.model import OVERRUN, Missed
from luxcli.recording import limits
from luxcli.recording import poll as poll_job
from luxcli.recording.poll import PollResult
from luxcli.store.store import Store, open_store
from luxcli.system import locks

_LOGGER = logging.getLogger(__name__)
# The smallest step of cron and of the task planners of NAS systems.
MINUTE_S: Final = 60
# Whoever starts at a tick waits for the heat pump before it records that it is in use: 5 seconds
# (`jobs.device_to_oneself`) and the start of a process on a small computer. Shorter than any
# interval, so that waiting for it costs no tick.
_GRACE_S: Final = 8.0
# From the end of the last poll to that of the process.
_EXIT_S: Final = 0.3
# The same on a small computer, and the start of a process before it looks at the time.
_TURN_S: Final = 3.0
# Whoever starts as the run before ends waits for that.
_HANDOVER_S: Final = 1.5


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


def poll_minute(
    config: Config,
    *,
    every_s: int,
    turn_s: float = _TURN_S,
    hung_s: float | None = None,
    stored: Callable[[PollResult], object] = lambda _result: None,
    failed: Callable[[LuxcliError], object] = lambda _failure: None,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> Run:
    """Make the polls that an interval has in this minute, and in those into which the last reaches.

    After one that failed the run does not go on, since that is to be told soon. Ends within
    `timelimit.MINUTES_S` and the limit of one poll. Nothing is polled while the run of a minute
    before is at it, unless that hangs.

    Args:
        config: As for `poll`.
        every_s: The interval, seconds.
        hung_s: For how long the run before is waited for, seconds; by default until even its time
            limit should have ended it.
        turn_s: How long before the next start of the scheduler a run must have made its polls.
        stored: As for `poll`.
        failed: As for `poll`.
        clock: Gives the time, seconds since the epoch.
        sleep: Waits, seconds.

    Raises:
        ConfigError: No heat pump is configured.
    """
    failures = []

    def note(failure: LuxcliError) -> None:
        failures.append(failure)
        failed(failure)

    now_s = clock()
    if not in_minute(now_s, every_s):
        return Run()
    with ExitStack() as stack:
        try:
            stack.enter_context(locks.hold(lock_path(config), wait_s=_HANDOVER_S))
        except LockHeldError as exc:
            limit_s = limits.gone_after_s("poll", config) + limits.MINUTES_S
            held_s = locks.held_s(lock_path(config)) or 0.0
            if held_s <= (limit_s if hung_s is None else hung_s):
                _LOGGER.info("the run of a minute before makes the polls of this one, too: %s", exc)
                return Run()
        except StorageError:
            pass  # the polls say what is wrong
        return poll(
            config,
            _minutes(now_s, every_s, turn_s, go_on=lambda: not failures),
            every_s=every_s,
            grace_s=0.0,  # no other run records anything meanwhile
            until_s=_next_start,
            stored=stored,
            failed=note,
            clock=clock,
            sleep=sleep,
        )


def lock_path(config: Config) -> Path:
    """Return the file that the run for a minute locks."""
    return config.cache_path.with_name(f"{config.cache_path.name}.minute.lock")


def _next_start(ended_s: float) -> float:
    """Return until when nothing else polls if a run for a minute ends after so many seconds."""
    return (ended_s // MINUTE_S + 1) * MINUTE_S - 0.001


def _minutes(
    now_s: float, interval_s: int, turn_s: float, go_on: Callable[[], bool]
) -> Iterator[float]:
    """Yield when to poll, in seconds from now, until nothing reaches into the next minute.

    Minutes are those from start to start, which need not be those of the clock: the task planner of
    a NAS may start it at :40.
    """
    began, minute_s = time.monotonic(), 0
    while True:
        yield from (minute_s + offset_s for offset_s in in_minute(now_s + minute_s, interval_s))
        minute_s += MINUTE_S
        ended_s = time.monotonic() - began + turn_s
        if ended_s < minute_s or minute_s >= limits.MINUTES_S or not go_on():
            return


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
    offsets_s: Iterable[float],
    *,
    every_s: float,
    grace_s: float = _GRACE_S,
    exit_s: float = _EXIT_S,
    until_s: Callable[[float], float] = lambda ended_s: ended_s,
    stored: Callable[[PollResult], object] = lambda _result: None,
    failed: Callable[[LuxcliError], object] = lambda _failure: None,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> Run:
    """Poll at each of the moments; a poll that fails does not prevent the next.

    Ends within the last moment, the limit of one poll and `grace_s`.

    Args:
        config: Says where from, where to and how.
        offsets_s: Seconds from now, in order.
        every_s: The interval of the schedule, seconds; infinite when there is none.
        grace_s: How long after a tick another run that was started at it may record nothing.
        exit_s: How long the process goes on after the last poll.
        until_s: Gives, from the seconds after which the process ends, those until which nothing
            else polls.
        stored: Told what a poll stored, at once.
        failed: Told why a poll failed, at once.
        clock: Gives the time stamps, seconds since the epoch.
        sleep: Waits, seconds.

    Raises:
        ConfigError: No heat pump is configured.
    """
    run, began, began_ms = Run(), time.monotonic(), round(clock() * 1000)
    taken_s: list[float] = []

    def skipped(late_s: float) -> None:
        run.overrun += _record(config, [round((clock() - late_s) * 1000)], around_ms=0)

    for _ in ticks(_noting(offsets_s, taken_s), sleep=sleep, skipped=skipped):
        try:
            result = poll_job.poll_once(config, clock=clock, sleep=sleep)
        except (DeviceError, LockHeldError, StorageError) as exc:
            run.outcomes.append(exc)
            failed(exc)
        else:
            run.outcomes.append(result)
            stored(result)
    # Measured, not read from the clock: that may have been set meanwhile, by years.
    due_s = _passed(taken_s, every_s, until_s(time.monotonic() - began + exit_s))
    if due_s and grace_s:
        sleep(max(0.0, began + due_s[-1] + grace_s - time.monotonic()))
    if due_s:
        due_ms = [began_ms + round(offset_s * 1000) for offset_s in due_s]
        run.overrun += _record(config, due_ms, around_ms=round(every_s * 500))
    return run


def _noting(offsets_s: Iterable[float], taken_s: list[float]) -> Iterator[float]:
    for offset_s in offsets_s:
        taken_s.append(offset_s)
        yield offset_s


def _passed(taken_s: Sequence[float], every_s: float, now_s: float) -> list[float]:
    """Return the ticks after those that a run took that are over by now."""
    if not taken_s:
        return []
    count = int(max(0.0, now_s - taken_s[-1]) // every_s)
    return [taken_s[-1] + number * every_s for number in range(1, count + 1)]


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
