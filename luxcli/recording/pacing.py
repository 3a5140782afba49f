"""Polls of one run and their scheduled times, also for schedulers coarser than the interval.

A run makes one poll, the polls of its minute, or a fixed number of them. Scheduled times are the
multiples of the interval since 1970 (UTC), so those of consecutive runs follow each other evenly
whatever the interval, also over midnight and clock changes. A scheduled poll that a run cannot
make, because the poll before took too long, is recorded as missed with that reason.

Only one run for a minute works at a time. A run that reaches into the next minute makes the polls
of that minute, too: supercronic and systemd start no other meanwhile, and a run that cron starts
finds nothing to do.
"""

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Final, NamedTuple

from luxcli.config.config import Config
from luxcli.controller.access import DEVICE_WAIT_S
from luxcli.errors import DeviceError, LockHeldError, LuxcliError, StorageError
from luxcli.model import CLOCK_DOUBTED, OVERRUN, MissedPoll, Timing
from luxcli.recording import limits
from luxcli.recording.poll import Due, Gate, PollResult, poll_once
from luxcli.store.store import Store
from luxcli.system import locks
from luxcli.system.clock import SYSTEM_CLOCK, Clock

_LOGGER = logging.getLogger(__name__)
# The smallest step of cron and of the task planners of NAS systems.
MINUTE_S: Final = 60


class Waits(NamedTuple):
    """Seconds that a run allows for other processes.

    Attributes:
        device_s: How long a poll waits for another luxcli that talks to the heat pump.
        grace_s: How long after a scheduled time another run that was started then may not have
            recorded anything yet: it waits 5 s for the heat pump, and its process has to start on
            a small computer. Shorter than any interval, so that waiting misses no poll.
        exit_s: From the end of the last poll to that of the process.
        turn_s: The same on a small computer, and the start of a process before it looks at the
            time: how long before the next start of the scheduler a run must have made its polls.
        handover_s: How long a run that starts as the run before ends waits for that.
    """

    device_s: float = DEVICE_WAIT_S
    grace_s: float = 8.0
    exit_s: float = 0.3
    turn_s: float = 3.0
    handover_s: float = 1.5


_WAITS: Final = Waits()


class Run:
    """What the polls of one run came to.

    Attributes:
        outcomes: What each poll stored, or why it failed, in order.
        overrun: Scheduled polls missed because another one took too long.
    """

    def __init__(self) -> None:
        self.outcomes: list[PollResult | LuxcliError] = []
        self.overrun = 0

    @property
    def failure(self) -> LuxcliError | None:
        """Why the last poll that failed did so."""
        failures = [outcome for outcome in self.outcomes if isinstance(outcome, LuxcliError)]
        return failures[-1] if failures else None

    def to_json(self) -> dict[str, object]:
        """Return what ``--json`` prints about several polls."""
        polls = [
            {"ok": False, "error": outcome.to_json()}
            if isinstance(outcome, LuxcliError)
            else outcome.to_json()
            for outcome in self.outcomes
        ]
        return {"ok": self.failure is None, "polls": polls, "overrun": self.overrun}


Report = Callable[[PollResult | LuxcliError], object]


def _report_nothing(_outcome: PollResult | LuxcliError) -> None:
    """Ignore an outcome; it is in the result of the run."""


def in_minute(now_s: float, interval_s: int) -> list[float]:
    """Return when a run that starts now polls, in seconds from now.

    The run makes the polls of the minute it starts in, as late as itself: a run that starts at
    :00.4 polls at :00.4 and :30.4. There may be none.
    """
    begin = int(now_s // MINUTE_S) * MINUTE_S
    first = begin + -begin % interval_s
    return [float(due - begin) for due in range(first, begin + MINUTE_S, interval_s)]


def poll_minute(
    config: Config,
    *,
    every_s: int,
    hung_s: float | None = None,
    waits: Waits = _WAITS,
    report: Report = _report_nothing,
    clock: Clock = SYSTEM_CLOCK,
) -> Run:
    """Make the polls that an interval has in this minute, and in those into which the last reaches.

    After a poll that failed the run does not go on, so that the failure is reported soon. Ends
    within `limits.MINUTES_S` and the limit of one poll. Polls nothing while the run of a minute
    before is at work, unless that hangs.

    Args:
        config: As for `poll`.
        every_s: The interval, seconds.
        hung_s: After how many seconds the run before counts as hanging; by default when even its
            time limit should have ended it.
        waits: As for `poll`.
        report: As for `poll`.
        clock: As for `poll`.

    Raises:
        ConfigError: No heat pump is configured.
    """
    run = Run()
    now_s = clock.now()
    if not in_minute(now_s, every_s):
        return run
    # No ExitStack: since Python 3.15 it loads inspect, a third of a poll's start.
    lock: AbstractContextManager[object] = nullcontext()
    try:
        lock = locks.hold(lock_path(config), wait_s=waits.handover_s)
    except LockHeldError as exc:
        limit_s = limits.gone_after_s("poll", config) + limits.MINUTES_S
        holder = locks.holder(lock_path(config))
        runs_s = holder.age_s() if holder else 0.0
        if runs_s <= (limit_s if hung_s is None else hung_s):
            _LOGGER.info("the run of a minute before makes the polls of this one, too: %s", exc)
            return run
    except StorageError:
        pass  # the polls say what is wrong
    with lock:
        moments = _minutes(now_s, every_s, waits.turn_s, clock, go_on=lambda: run.failure is None)
        _poll(
            config,
            moments,
            run,
            interval_s=every_s,
            # No other run records anything meanwhile.
            waits=waits._replace(grace_s=0.0),
            whole_minutes=True,
            report=report,
            clock=clock,
        )
    return run


def lock_path(config: Config) -> Path:
    """Return the file that the run for a minute locks."""
    return config.cache_path.with_name(f"{config.cache_path.name}.minute.lock")


class _Moment(NamedTuple):
    """When a poll is made, in seconds from now, and its scheduled time, None of one by hand."""

    offset_s: float
    scheduled_ms: int | None


def _minutes(
    now_s: float, interval_s: int, turn_s: float, clock: Clock, go_on: Callable[[], bool]
) -> Iterator[_Moment]:
    """Yield when to poll until nothing reaches into the next minute.

    Minutes are those from start to start, which need not be those of the clock: the task planner of
    a NAS may start it at :40. The scheduled times are those of the minute of the clock.
    """
    began, minute_s = clock.monotonic(), 0
    while True:
        begin_ms = int((now_s + minute_s) // MINUTE_S) * MINUTE_S * 1000
        for offset_s in in_minute(now_s + minute_s, interval_s):
            yield _Moment(minute_s + offset_s, begin_ms + int(offset_s) * 1000)
        minute_s += MINUTE_S
        ended_s = clock.monotonic() - began + turn_s
        if ended_s < minute_s or minute_s >= limits.MINUTES_S or not go_on():
            return


def pace(
    offsets_s: Iterable[float],
    *,
    clock: Clock,
    look_s: float = math.inf,
    on_wait: Callable[[], object] = lambda: None,
    on_skip: Callable[[float], object] = lambda _late_s: None,
) -> Iterator[None]:
    """Yield at each moment; a moment that passes during the loop's body is skipped.

    Args:
        offsets_s: Seconds from now, in order.
        clock: Measures and waits.
        look_s: How often `on_wait` is called while waiting, seconds.
        on_wait: Called before each wait.
        on_skip: Called for each skipped moment with how many seconds ago it was.
    """
    began, done_s = clock.monotonic(), 0.0
    for offset_s in offsets_s:
        if offset_s < done_s:
            on_skip(clock.monotonic() - began - offset_s)
            continue
        while (left_s := began + offset_s - clock.monotonic()) > 0:
            on_wait()
            clock.sleep(min(look_s, left_s))
        yield
        done_s = clock.monotonic() - began


def poll(
    config: Config,
    offsets_s: Iterable[float],
    *,
    interval_s: int | None = None,
    waits: Waits = _WAITS,
    report: Report = _report_nothing,
    clock: Clock = SYSTEM_CLOCK,
) -> Run:
    """Poll at each of the moments; a poll that fails does not prevent the next.

    Ends within the last moment, the limit of one poll and `waits.grace_s`.

    Args:
        config: Says where from, where to and how.
        offsets_s: Seconds from now, in order; multiples of the interval if there is one.
        interval_s: That of the schedule: the first poll is for the scheduled time nearest to now.
            None for polls by hand, which count as extra ones.
        waits: What other processes are allowed.
        report: Called at once with what each poll stored, or with its failure.
        clock: Dates the polls, measures and waits.

    Raises:
        ConfigError: No heat pump is configured.
    """
    run = Run()
    first_ms = None if interval_s is None else Due.nearest(clock.now_ms(), interval_s).scheduled_ms
    moments = (
        _Moment(offset_s, None if first_ms is None else first_ms + round(offset_s * 1000))
        for offset_s in offsets_s
    )
    _poll(config, moments, run, interval_s=interval_s, waits=waits, report=report, clock=clock)
    return run


def _poll(
    config: Config,
    moments: Iterable[_Moment],
    run: Run,
    *,
    interval_s: int | None,
    waits: Waits,
    whole_minutes: bool = False,
    report: Report,
    clock: Clock,
) -> None:
    """Poll as `poll`, into `run`.

    `whole_minutes`: no other process polls before the minute in which this one ends is over.
    """
    began, began_ms = clock.monotonic(), clock.now_ms()
    offset_s = 0.0  # of the last moment, as is `due`
    due: Due | None = None

    def offsets_s() -> Iterator[float]:
        nonlocal offset_s, due
        for offset_s, scheduled_ms in moments:
            if interval_s is not None and scheduled_ms is not None:
                due = Due(scheduled_ms, interval_s)
            yield offset_s

    def record_skipped(late_s: float) -> None:
        run.overrun += _record(config, [due or round((clock.now() - late_s) * 1000)], clock)

    for _ in pace(offsets_s(), clock=clock, on_skip=record_skipped):
        outcome: PollResult | LuxcliError
        if due and abs(clock.now_ms() - began_ms - offset_s * 1000) > due.interval_s * 500:
            due = Due.nearest(clock.now_ms(), due.interval_s)  # the clock was set
        try:
            outcome = poll_once(config, due=due, device_wait_s=waits.device_s, clock=clock)
        except (DeviceError, LockHeldError, StorageError) as exc:
            outcome = exc
        run.outcomes.append(outcome)
        report(outcome)
    if due is None:
        return
    # Measured, not read from the clock: that may have been set meanwhile, by years.
    ended_s = clock.monotonic() - began + waits.exit_s
    if whole_minutes:
        ended_s = (ended_s // MINUTE_S + 1) * MINUTE_S - 0.001
    count = int(max(0.0, ended_s - offset_s) // due.interval_s)
    if count and waits.grace_s:
        last_s = began + offset_s + count * due.interval_s
        clock.sleep(max(0.0, last_s + waits.grace_s - clock.monotonic()))
    if count:
        later = [due.after(number) for number in range(1, count + 1)]
        run.overrun += _record(config, later, clock)


def record_overrun(
    store: Store, ts_ms: int, interval_s: int | None = None, *, doubted: bool = False
) -> None:
    """Record that a poll was missed because the one before took too long.

    Args:
        store: Where.
        ts_ms: The scheduled time.
        interval_s: That of the schedule, None if the poll would have been an extra one.
        doubted: Whether this computer's clock is doubted.

    Raises:
        StorageError: The missed poll cannot be written.
    """
    missed = MissedPoll(ts_ms, OVERRUN, 0, 0, "the poll before took too long")
    if interval_s is not None:
        missed = missed._replace(interval_s=interval_s, flags=0)
    if doubted:
        missed = missed._replace(flags=missed.flags | CLOCK_DOUBTED)
    store.add_missed(missed)


def _record(config: Config, missed: Sequence[Due | int], clock: Clock) -> int:
    """Record missed polls; return how many. An extra one has only a time.

    Not those for whose scheduled time there is a poll or a missed poll: cron starts the next run
    while this one goes on, which records for itself that the heat pump was in use; supercronic and
    systemd start nothing and record nothing.
    """
    recorded = 0
    try:
        store = Store.open(config.cache_path, parents=config.may_create_parents)
        dues = [due for due in missed if isinstance(due, Due)]
        known = _known(store, dues) if dues else set()
        # Not each by its own time: they lie before the poll that took too long.
        doubted = Gate(config).doubt(clock.now_ms(), None) is not None
        for due in missed:
            if not isinstance(due, Due):
                record_overrun(store, due, doubted=doubted)
            elif due.scheduled_ms not in known:
                record_overrun(store, due.scheduled_ms, due.interval_s, doubted=doubted)
            else:
                continue
            recorded += 1
    except (LockHeldError, StorageError) as exc:
        # What the polls came to must not be hidden by this.
        _LOGGER.error("polls missed because one took too long could not be recorded: %s", exc)
    return recorded


def _known(store: Store, dues: Sequence[Due]) -> set[int | None]:
    """Return the scheduled times from those of `dues` on that have a poll or a missed poll."""
    first_ms, last_ms = dues[0].scheduled_ms, dues[-1].scheduled_ms
    waiting = store.waiting()
    known = {poll.scheduled_ms for poll in waiting.polls}
    known |= {missed.scheduled_ms for missed in waiting.missed}
    # A poll is dated at most an interval before its scheduled time, after a change of the clock.
    start_ms = first_ms - dues[0].interval_s * 1000
    for part in store.database.timings(start_ms, last_ms + limits.LATEST_S * 1000):
        known.update(
            Timing(ts_ms, late_ms, interval_s, flags).scheduled_ms
            for ts_ms, late_ms, interval_s, flags, _reason, _count in part
        )
    return known
