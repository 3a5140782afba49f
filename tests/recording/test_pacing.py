"""Several polls in one run: their spacing, what slow ones cost, and how the run ends."""

import json
import signal
import time
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest

from luxcli.config import config
from luxcli.config.config import Config
from luxcli.errors import DeviceError, LuxcliError, ProtocolError, StorageError
from luxcli.model import CLOCK_DOUBTED, EXTRA, MissedPoll, Timing
from luxcli.recording import pacing
from luxcli.recording.pacing import Waits
from luxcli.recording.poll import PollResult
from luxcli.system import locks
from luxcli.system.clock import Clock
from tests.support.builders import missed
from tests.support.faulty_controller import Fault, FaultyController, eventually
from tests.support.scenario import configured, open_store
from tests.support.terminal import on_a_terminal


class Slow(FaultyController):
    """Takes its time with some of its answers: `takes` are seconds by connection, then none."""

    takes: tuple[float, ...] = ()

    def _serve(self, connection: Any) -> None:
        number = self.connections - 1
        took_s = self.takes[number] if number < len(self.takes) else 0.0
        self._fault = Fault(pause_s=took_s / 3)  # three blocks
        super()._serve(connection)


NO_EXIT = Waits(exit_s=0.0)
# Every 30 s, in a hundredth of the time.
FASTER = 100
INTERVAL_S = 30


def faster_clock(begin_s: float) -> Clock:
    """Return a clock that shows `begin_s` now and runs a hundred times as fast as it should."""
    began = time.monotonic()

    def elapsed_s() -> float:
        return (time.monotonic() - began) * FASTER

    return Clock(
        now=lambda: begin_s + elapsed_s(),
        sleep=lambda seconds: time.sleep(seconds / FASTER),
        monotonic=elapsed_s,
    )


class FastClock:
    """A clock on which waiting takes no time."""

    def __init__(self, now_s: float) -> None:
        self.now_s = now_s
        self.ahead_s = 0.0  # by how much the clock was set

    def clock(self) -> Clock:
        return Clock(lambda: self.now_s + self.ahead_s, self._sleep, lambda: self.now_s)

    def _sleep(self, seconds: float) -> None:
        self.now_s += seconds


def entries(settings: Config) -> list[tuple[str, int]]:
    """Return what is stored, as ``(reason, ts_ms)`` in time order; a poll has no reason."""
    store = open_store(settings)
    store.flush()
    found = [
        (missed_poll.reason, missed_poll.ts_ms) for missed_poll in store.database.missed(0, 2**60)
    ]
    found += [("", ts_ms) for ts_ms in store.database.times(0, 2**60)]
    return sorted(found, key=lambda entry: entry[1])


def timings(settings: Config) -> list[tuple[str, int | None, int]]:
    """Return reason, seconds from `AT_ZERO_S` to the scheduled time, and interval, in order."""
    store = open_store(settings)
    store.flush()
    rows = [row for part in store.database.timings(0, 2**60) for row in part]
    found = [(reason, Timing(*timing)) for *timing, reason, _count in rows]
    return sorted(
        [
            (why, at.scheduled_ms and at.scheduled_ms // 1000 - AT_ZERO_S, at.interval_s)
            for why, at in found
        ],
        key=lambda entry: entry[1] or 0,
    )


AT_ZERO_S = 1_800_000_000


def test_polls_are_spaced_exactly_from_the_start_of_the_run(tmp_path, simulator):
    settings = configured(tmp_path, port=simulator.port)
    run = pacing.poll(settings, [0.0, 0.4, 0.8], waits=NO_EXIT)
    assert (len(run.outcomes), run.failure, run.overrun) == (3, None, 0)
    times = [ts_ms for _, ts_ms in entries(settings)]
    assert all(abs(b - a - 400) < 90 for a, b in pairwise(times))
    assert timings(settings) == [("", None, 0)] * 3


def test_polls_of_a_schedule_have_consecutive_scheduled_times(tmp_path, simulator):
    settings = configured(tmp_path, port=simulator.port)
    run = pacing.poll(
        settings,
        [0.0, 30.0, 60.0],
        interval_s=INTERVAL_S,
        waits=NO_EXIT,
        clock=FastClock(AT_ZERO_S + 2).clock(),
    )
    assert (len(run.outcomes), run.overrun) == (3, 0)
    assert timings(settings) == [("", 0, 30), ("", 30, 30), ("", 60, 30)]


@pytest.mark.parametrize(("late_s", "scheduled_s"), [(-14, 0), (0.4, 0), (14.9, 0), (15, 30)])
def test_a_scheduled_poll_counts_for_the_scheduled_time_nearest_to_its_start(
    tmp_path, simulator, late_s, scheduled_s
):
    settings = configured(tmp_path, port=simulator.port)
    clock = FastClock(AT_ZERO_S + late_s).clock()
    pacing.poll(settings, [0.0], interval_s=INTERVAL_S, clock=clock)
    assert timings(settings) == [("", scheduled_s, 30)]
    [poll] = open_store(settings).query(0, 2**60)
    assert poll.late_ms == round((late_s - scheduled_s) * 1000)


def test_a_missed_poll_has_the_scheduled_time_from_before_its_retries(tmp_path):
    settings = configured(tmp_path, port=1, retries=2)
    clock = FastClock(AT_ZERO_S + 0.4)
    pacing.poll(settings, [0.0], interval_s=INTERVAL_S, waits=NO_EXIT, clock=clock.clock())
    assert clock.now_s > AT_ZERO_S + 2  # it waited between the attempts
    assert timings(settings) == [("refused", 0, 30)]


def test_a_poll_missed_because_of_a_slow_one_is_recorded_and_the_next_is_made(tmp_path):
    with Slow(clock=time.time) as pump:
        pump.takes = (0.5,)
        settings = configured(tmp_path, port=pump.port)
        run = pacing.poll(
            settings,
            [0.0, 30.0, 60.0, 90.0],
            interval_s=INTERVAL_S,
            waits=NO_EXIT,
            clock=faster_clock(AT_ZERO_S),
        )
    # On a busy machine even more.
    assert run.overrun == 4 - len(run.outcomes) >= 1
    found = timings(settings)
    assert [scheduled_s for _, scheduled_s, _ in found] == [0, 30, 60, 90]
    assert [reason for reason, _, _ in found[:2]] == ["", "overrun"]
    assert Counter(reason for reason, _, _ in found)["overrun"] == run.overrun


def test_scheduled_times_at_which_nothing_was_started_are_recorded_when_the_poll_is_over(tmp_path):
    # supercronic and systemd start no second process while one is running.
    with Slow(clock=time.time) as pump:
        pump.takes = (1.0,)
        settings = configured(tmp_path, port=pump.port)
        run = pacing.poll(
            settings,
            [0.0],
            interval_s=INTERVAL_S,
            waits=Waits(grace_s=20, exit_s=0.0),
            clock=faster_clock(AT_ZERO_S),
        )
    assert run.overrun >= 3
    missed_s = range(30, 30 + run.overrun * 30, 30)
    assert timings(settings) == [("", 0, 30), *(("overrun", at_s, 30) for at_s in missed_s)]


def test_what_the_runs_that_cron_started_meanwhile_recorded_is_not_recorded_again(tmp_path):
    with Slow(clock=time.time) as pump:
        pump.takes = (1.0,)
        settings = configured(tmp_path, port=pump.port)

        def others(result: PollResult | LuxcliError) -> None:
            assert isinstance(result, PollResult)
            store = open_store(settings)
            store.add_missed(missed((AT_ZERO_S + 32) * 1000, "busy"))
            store.flush()
            # One by hand does not stand for a scheduled poll.
            store.add_missed(MissedPoll((AT_ZERO_S + 60) * 1000, "busy", 0, 0, "in use"))

        run = pacing.poll(
            settings,
            [0.0],
            interval_s=INTERVAL_S,
            waits=Waits(grace_s=20, exit_s=0.0),
            report=others,
            clock=faster_clock(AT_ZERO_S),
        )
    assert run.overrun >= 2
    assert [one for one in timings(settings) if one[1] is not None] == [
        *(("", 0, 30), ("busy", 30, 30)),
        *(("overrun", 60 + number * 30, 30) for number in range(run.overrun)),
    ]


def test_a_scheduled_time_just_after_the_end_of_the_process_is_recorded_as_well(tmp_path):
    # supercronic and systemd would start nothing then, either.
    with Slow(clock=time.time) as pump:
        pump.takes = (0.2,)
        settings = configured(tmp_path, port=pump.port)
        run = pacing.poll(
            settings,
            [0.0],
            interval_s=60,
            waits=Waits(grace_s=10, exit_s=45),
            clock=faster_clock(AT_ZERO_S),
        )
    assert run.overrun >= 1
    assert timings(settings)[:2] == [("", 0, 60), ("overrun", 60, 60)]


@pytest.mark.parametrize(("begin_s", "flags"), [(AT_ZERO_S, 0), (3000, CLOCK_DOUBTED)])
def test_scheduled_polls_missed_while_the_clock_is_doubted_are_marked_so(tmp_path, begin_s, flags):
    settings = configured(tmp_path, port=1, retries=0)
    waits = Waits(grace_s=0, exit_s=100)
    clock = FastClock(begin_s).clock()
    assert pacing.poll(settings, [0.0], interval_s=30, waits=waits, clock=clock).overrun == 3
    missed_polls = open_store(settings).waiting().missed
    assert [(one.reason, one.flags) for one in missed_polls] == [
        *(("refused", flags), *[("overrun", flags)] * 3),
    ]


def test_if_the_clock_is_set_during_a_run_polls_count_for_the_nearest_scheduled_time(
    tmp_path, simulator
):
    settings = configured(tmp_path, port=simulator.port)
    clock = FastClock(AT_ZERO_S)

    def set_the_clock(_outcome: PollResult | LuxcliError) -> None:
        clock.ahead_s = 7200.0

    pacing.poll(
        settings,
        [0.0, 30.0],
        interval_s=INTERVAL_S,
        waits=NO_EXIT,
        report=set_the_clock,
        clock=clock.clock(),
    )
    assert timings(settings) == [("", 0, 30), ("", 7230, 30)]


# Every 100 s: the minute that begins at AT_ZERO_S has a poll at :00, the next one at :40.


class WaitingError(Exception):
    """A run waits for its next poll."""


def never(seconds: float) -> None:
    raise WaitingError(round(seconds))


AT_ZERO = Clock(lambda: AT_ZERO_S, never)
SLOW_TURN = Waits(turn_s=60)


def test_a_run_that_reaches_into_the_next_minute_makes_its_polls_too(tmp_path, simulator):
    # There supercronic and systemd start no other, as this one still runs.
    settings = configured(tmp_path, port=simulator.port)
    with pytest.raises(WaitingError, match=r"^100$"):
        pacing.poll_minute(settings, every_s=100, waits=SLOW_TURN, clock=AT_ZERO)
    assert simulator.connections == 1


def test_a_run_ends_after_a_failed_poll_so_that_it_is_reported_soon(tmp_path):
    settings = configured(tmp_path, port=1, retries=0)
    run = pacing.poll_minute(settings, every_s=100, waits=SLOW_TURN, clock=AT_ZERO)
    assert [type(outcome) for outcome in run.outcomes] == [DeviceError]


@pytest.mark.parametrize("late_s", [0.3, 59])
def test_a_run_that_is_over_before_the_next_start_leaves_it_its_polls(tmp_path, simulator, late_s):
    settings = configured(tmp_path, port=simulator.port)
    run = pacing.poll_minute(settings, every_s=100, clock=Clock(lambda: AT_ZERO_S + late_s, never))
    assert len(run.outcomes) == 1
    # However late the minute's run starts, as the task planner of a NAS does.
    assert timings(settings) == [("", 0, 100)]
    [poll] = open_store(settings).query(0, 2**60)
    assert poll.late_ms == late_s * 1000


def test_polls_that_nobody_can_make_until_the_next_start_are_recorded_at_once(tmp_path):
    # The run ends in the middle of its second minute; supercronic starts no other before the third.
    settings = configured(tmp_path, port=1, retries=0)
    clock = FastClock(AT_ZERO_S)
    waits = Waits(turn_s=0, exit_s=75)
    run = pacing.poll_minute(settings, every_s=20, waits=waits, clock=clock.clock())
    assert (len(run.outcomes), run.overrun) == (3, 3)
    stored = [(reason, ts_ms - AT_ZERO_S * 1000) for reason, ts_ms in entries(settings)]
    overruns = [ts_ms for reason, ts_ms in stored if reason == "overrun"]
    assert overruns == [60_000, 80_000, 100_000]
    assert [entry[1:] for entry in timings(settings)] == [(n * 20, 20) for n in range(6)]


def test_while_the_run_of_a_minute_before_goes_on_another_does_nothing(tmp_path, simulator):
    settings = configured(tmp_path, port=simulator.port)
    with locks.hold(pacing.lock_path(settings), wait_s=0):
        run = pacing.poll_minute(settings, every_s=100, clock=AT_ZERO)
    assert (run.outcomes, run.overrun, simulator.connections) == ([], 0, 0)
    assert entries(settings) == []


SHORT_WAITS = pacing.Waits(handover_s=0.1)


def test_a_run_that_even_its_time_limit_did_not_end_keeps_no_other_from_polling(
    tmp_path, simulator
):
    # As when it waits for a disk that does not answer.
    settings = configured(tmp_path, port=simulator.port)

    def polls(hung_s: float) -> int:
        run = pacing.poll_minute(
            settings, every_s=100, hung_s=hung_s, clock=AT_ZERO, waits=SHORT_WAITS
        )
        return len(run.outcomes)

    with locks.hold(pacing.lock_path(settings), wait_s=0):
        time.sleep(0.1)
        assert (polls(hung_s=3600), polls(hung_s=0.01)) == (0, 1)


def test_after_a_quick_poll_nothing_is_recorded_as_missed(tmp_path, simulator):
    settings = configured(tmp_path, port=simulator.port)
    assert pacing.poll(settings, [0.0], interval_s=10).overrun == 0
    assert [reason for reason, _ in entries(settings)] == [""]


def test_a_poll_by_hand_neither_waits_nor_records_missed_polls(tmp_path):
    with Slow(clock=time.time) as pump:
        pump.takes = (0.5,)
        settings = configured(tmp_path, port=pump.port)
        began = time.monotonic()
        assert pacing.poll(settings, [0.0]).overrun == 0
    assert time.monotonic() - began < 2
    assert [reason for reason, _ in entries(settings)] == [""]


def test_a_poll_that_fails_does_not_prevent_the_next(tmp_path):
    reported: list[PollResult | LuxcliError] = []
    with FaultyController(Fault(times=1, close_after=0), clock=time.time) as pump:
        settings = configured(tmp_path, port=pump.port, retries=0)
        run = pacing.poll(settings, [0.0, 0.3], waits=NO_EXIT, report=reported.append)
    assert [type(outcome) for outcome in run.outcomes] == [ProtocolError, PollResult]
    assert reported == run.outcomes
    assert [reason for reason, _ in entries(settings)] == ["protocol", ""]


def test_a_poll_that_cannot_be_stored_does_not_prevent_the_next(tmp_path, simulator):
    settings = configured(tmp_path / "missing" / "data", port=simulator.port)

    def put_right(outcome: PollResult | LuxcliError) -> None:
        if isinstance(outcome, LuxcliError):
            assert "/missing/data" in str(outcome)
            (tmp_path / "missing").mkdir()

    run = pacing.poll(settings, [0.0, 0.3], waits=NO_EXIT, report=put_right)
    assert [type(outcome) for outcome in run.outcomes] == [StorageError, PollResult]


def test_the_command_reports_each_failure_and_ends_with_the_status_of_the_last(invoke, configure):
    file = configure(port=1)
    ran = invoke("poll-once", "--count", 1, "--json", "-c", file)
    printed = json.loads(ran.stdout)
    assert (ran.status, len(ran.stderr.splitlines())) == (69, 1)
    assert (printed["ok"], printed["overrun"]) == (False, 0)
    [poll] = printed["polls"]
    assert (poll["ok"], poll["error"]["exit"]) == (False, 69)
    assert poll["error"]["text"] in ran.stderr


def test_one_object_holds_all_polls_of_a_run(invoke, configure, simulator):
    ran = invoke(
        "poll-once", "--count", 1, "--every", "10s", "--json", "-c", configure(port=simulator.port)
    )
    printed = json.loads(ran.stdout)
    assert (ran.status, ran.stderr, printed["ok"], printed["overrun"]) == (0, "", True, 0)
    assert [poll["calculations"] for poll in printed["polls"]] == [
        len(simulator.snapshot.calculations)
    ]


def test_in_a_minute_without_scheduled_polls_nothing_is_read(invoke, configure, simulator):
    now_s = time.time()
    unused = next(
        interval_s
        for interval_s in range(3000, 3600)
        if not any(pacing.in_minute(now_s + later_s, interval_s) for later_s in (0, 60))
    )
    ran = invoke("poll-once", "--every", unused, "-c", configure(port=simulator.port))
    assert (ran.status, ran.stdout, ran.stderr) == (0, "", "")
    assert simulator.connections == 0


def test_a_signal_between_two_polls_ends_the_run_at_once(cli, configure, tmp_path):
    with FaultyController(clock=time.time) as pump:
        file = configure(port=pump.port)
        process = cli.start("poll-once", "--count", 2, "--every", 10, "-c", file)
        assert eventually(lambda: pump.closed_by_client == 1, within_s=5)
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        ran = cli.end(process)
    assert (ran.status, ran.stderr) == (143, "")
    assert time.monotonic() - began < 1
    settings = config.load(file, {}, tmp_path)
    assert [reason for reason, _ in entries(settings)] == [""]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--every", "5"], "--every: 5 is not in 10..3600"),
        (["--every", "soon"], "--every 'soon' is not a duration like"),
        (["--count", "121", "--every", "30"], "--count 121: takes an hour or longer"),
    ],
)
def test_what_no_run_can_do_is_refused(invoke, configure, simulator, arguments, words):
    ran = invoke("poll-once", *arguments, "-c", configure(port=simulator.port))
    assert (ran.status, ran.stdout) == (2, "")
    assert ran.stderr.startswith(f"luxcli: {words}")
    assert simulator.connections == 0


@pytest.mark.parametrize(
    ("arguments", "intervals"),
    [
        # An input that is no terminal, as in an older crontab.
        ((), [30]),
        (("--scheduled",), [30]),
        (("--scheduled", "--every", "60", "--count", "1"), [60]),
        (("--count", "1"), [0]),
        (("--count", "1", "--every", "60"), [0]),
    ],
)
def test_a_poll_of_a_schedule_is_told_from_an_extra_one(
    invoke, configure, simulator, tmp_path, arguments, intervals
):
    file = configure(port=simulator.port)
    assert invoke("poll-once", *arguments, "-c", file).status == 0
    settings = config.load(file, {}, tmp_path)
    [poll] = open_store(settings).query(0, 2**60)
    assert [poll.interval_s] == intervals
    if poll.interval_s:
        assert poll.scheduled_ms is not None
        assert poll.scheduled_ms % (poll.interval_s * 1000) == 0
        assert abs(poll.late_ms) <= poll.interval_s * 500
    else:
        assert (poll.scheduled_ms, poll.late_ms, poll.flags) == (None, 0, EXTRA)


@pytest.mark.parametrize(("arguments", "interval_s"), [((), 0), (("--scheduled",), 30)])
def test_a_poll_on_a_terminal_is_an_extra_one(
    cli, configure, simulator, tmp_path, arguments, interval_s
):
    file = configure(port=simulator.port)
    status, screen = on_a_terminal(cli, "poll-once", *arguments, "-c", file)
    assert (status, screen[:6]) == (0, "stored")
    [poll] = open_store(config.load(file, {}, tmp_path)).query(0, 2**60)
    assert poll.interval_s == interval_s


def test_a_failed_poll_on_a_terminal_is_an_extra_one(cli, configure, tmp_path):
    file = configure(port=1)
    assert on_a_terminal(cli, "poll-once", "-c", file)[0] == 69
    [missed_poll] = open_store(config.load(file, {}, tmp_path)).waiting().missed
    assert missed_poll.flags == EXTRA
