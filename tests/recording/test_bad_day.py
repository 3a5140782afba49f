"""A day on which everything fails: each scheduled poll is stored, missed with a reason, or not run.

The real poll job polls a real socket in fast-forward: the test sets the host's clock and skips the
waiting. A plan says what the controller does at each scheduled poll, so that the test can compare
the stored polls and reasons with what happened.
"""

import contextlib
import fcntl
import os
import random
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from luxcli.config.config import Config
from luxcli.errors import DeviceError, LockHeldError
from luxcli.model import GROUPS, MissedPoll, Snapshot
from luxcli.recording.poll import poll_once
from luxcli.store.store import Store
from luxcli.system.clock import Clock
from tests.support.builders import python
from tests.support.controller_faults import Pump
from tests.support.faulty_controller import NOW_S, Fault, with_calculations
from tests.support.reliability import record
from tests.support.scenario import configured, device_lock, ms

INTERVAL_S = 30
# A controller that hangs gets a short time limit, or the day would take hours. The others get a
# long one, because the machine may be busy.
HANGING_S, PATIENT_S = 0.03, 5
RETRIES = 1
START_MS = ms("2026-11-24T00:00")
# What can happen at a scheduled poll: the fault, and the reason to be recorded; None if the poll is
# stored.
FAULTS: dict[str, tuple[Fault | None, str | None]] = {
    "healthy": (Fault(), None),
    "silent": (Fault(silent_after=0), "timeout"),
    "hangs in a block": (Fault(silent_after=4600), "timeout"),
    "a byte now and then": (Fault(segment=1, pause_s=0.01), "timeout"),
    "closes": (Fault(close_after=2010), "protocol"),
    "resets": (Fault(reset_after=2010), "network"),
    "wrong echo": (Fault(echo={3004: 3003}), "protocol"),
    "garbage": (Fault(garbage=b"HTTP/1.1 400 Bad Request\r\n\r\n"), "protocol"),
    "shifted": (Fault(change=with_calculations({78: 500, 40: 99})), "rejected"),
    "busy": (Fault(status=1), "busy"),
    "fails once": (Fault(times=0, close_after=100), None),  # `times` is set for each poll
    "off": (None, "refused"),
    "in use": (Fault(), "busy"),  # another process holds the device lock
}
MACHINE_OFF = "machine off"

# Much data, paths that other tests go through as well: measuring would double the time.
pytestmark = pytest.mark.no_cover

_HOLDER = """
import fcntl, os, sys
for line in sys.stdin:
    fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
    fcntl.flock(fd, fcntl.LOCK_EX)
    print("held", flush=True)
    sys.stdin.readline()
    os.close(fd)
    print("free", flush=True)
"""


class ChangingPump(Pump):
    """A controller whose fault the test changes between polls; its clock runs."""

    def __init__(self) -> None:
        super().__init__(story=lambda number, now: with_calculations({134: NOW_S + number})(now))

    def change(self, fault: Fault) -> None:
        self._fault = fault

    def fail_once(self, fault: Fault) -> None:
        self._fault = replace(fault, times=self.connections + 1)


@dataclass
class WrongClock:
    """The host's clock and its error."""

    true_s: float = START_MS / 1000
    error_s: float = 0.0

    def now(self) -> float:
        return self.true_s + self.error_s

    def sleep(self, seconds: float) -> None:
        self.true_s += seconds


@dataclass
class Day:
    """What was planned for the day, what the job reported, and what the controller sent.

    Attributes:
        kinds: How often each event happened at a scheduled poll, machine off included.
        shown_ms: Time of the host's clock at each scheduled poll that ran, in order.
        sent: Polls that the job acknowledged.
        failed: Time and reason of each scheduled poll that failed.
        expected: Time of each scheduled poll that ran, and the reason to be recorded.
    """

    kinds: Counter[str] = field(default_factory=Counter)
    shown_ms: list[int] = field(default_factory=list)
    sent: list[Snapshot] = field(default_factory=list)
    failed: list[tuple[int, str]] = field(default_factory=list)
    expected: list[tuple[int, str | None]] = field(default_factory=list)


def plan(scheduled: int, seed: int) -> list[str]:
    """Return what happens at each scheduled poll: streaks of faults between healthy polls."""
    rng = random.Random(seed)
    kinds = ["healthy"] * scheduled
    troubles = [name for name in FAULTS if name != "healthy"]
    for number in range(scheduled // 14):
        name = troubles[number % len(troubles)]
        length = min(scheduled // 20, rng.choice([1, 1, 2, 3, 5, 10, 30]))
        begin = rng.randrange(scheduled)
        kinds[begin : begin + length] = [name] * len(kinds[begin : begin + length])
    off = scheduled // 3
    kinds[off : off + scheduled // 12] = [MACHINE_OFF] * (scheduled // 12)  # two hours of a day
    return kinds


@contextlib.contextmanager
def other_process(path: Path) -> Iterator["subprocess.Popen[str]"]:
    """Start a process that takes or releases the device lock with each line it reads."""
    path.parent.mkdir(parents=True, exist_ok=True)
    process = python(_HOLDER, path, stdin=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def toggle(process: "subprocess.Popen[str]", answer: str) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline() == f"{answer}\n"


def live_through(directory: Path, scheduled: int, seed: int) -> tuple[Config, Day]:
    """Make every scheduled poll of the day; failures are recorded."""
    day, clock, rng = Day(), WrongClock(), random.Random(seed + 1)
    kinds = plan(scheduled, seed)
    with ChangingPump() as pump, contextlib.ExitStack() as stack:
        settings = configured(directory, port=pump.port, retries=RETRIES, timeout_sec=PATIENT_S)
        impatient = settings._replace(timeout_sec=HANGING_S)  # type: ignore[arg-type]
        # The controller that is off is the same one, so both ports share one database.
        refused = settings._replace(port=_closed_port(stack))
        other = stack.enter_context(other_process(device_lock(settings)))
        for number, kind in enumerate(kinds):
            day.kinds[kind] += 1
            clock.true_s = START_MS / 1000 + INTERVAL_S * number + rng.uniform(0, 0.2)
            clock.error_s = _clock_error_s(number, scheduled)
            if kind == MACHINE_OFF:
                continue
            fault, reason = FAULTS[kind]
            if kind == "fails once":
                pump.fail_once(fault or Fault())
            elif fault is not None:
                pump.change(fault)
            if kind == "in use":
                toggle(other, "held")
            shown_ms = round(clock.now() * 1000)
            day.shown_ms.append(shown_ms)
            day.expected.append((shown_ms, reason))
            try:
                chosen = (
                    impatient if reason == "timeout" else refused if fault is None else settings
                )
                result = poll_once(chosen, device_wait_s=0.02, clock=Clock(clock.now, clock.sleep))
            except (DeviceError, LockHeldError) as exc:
                day.failed.append((shown_ms, getattr(exc, "reason", "busy")))
            else:
                sent = pump.sent[-1]
                assert all(result.snapshot.block(one) == sent.block(one) for one in GROUPS)
                day.sent.append(result.snapshot)
            if kind == "in use":
                toggle(other, "free")
    return settings, day


def _clock_error_s(number: int, scheduled: int) -> float:
    """Return the clock's error: an hour ahead for a while, then right, then an hour behind."""
    part = number / scheduled
    if 0.15 <= part < 0.3:
        return 3600.0
    if 0.6 <= part < 0.75:
        return -3600.0
    return 0.0


def _closed_port(stack: contextlib.ExitStack) -> int:
    import socket

    reserved = stack.enter_context(socket.socket())
    reserved.bind(("127.0.0.1", 0))
    port: int = reserved.getsockname()[1]
    return port


@dataclass(frozen=True)
class Accounts:
    """Comparison of the database with what happened.

    Attributes:
        polls: Polls in the database.
        missed: Missed polls in the database, by reason.
        unexplained: Scheduled polls that ran and are neither stored nor missed.
        wrong_reason: Missed polls with another reason than the planned one.
        wrong: Polls that were not sent.
        surplus: Entries in excess of the scheduled polls that ran.
    """

    polls: int
    missed: Counter[str]
    unexplained: int
    wrong_reason: int
    wrong: int
    surplus: int


def settle(settings: Config, day: Day) -> Accounts:
    store = Store(settings.cache_path)
    store.flush()
    polls = list(store.query(0, 1 << 62))
    missed = store.database.missed(0, 1 << 62)
    # A clock that was set back shows times twice; a poll then gets the next free millisecond.
    left = Counter((poll.calculations, poll.parameters, poll.visibilities) for poll in polls)
    sent = Counter((poll.calculations, poll.parameters, poll.visibilities) for poll in day.sent)
    times = sorted(poll.taken_ms for poll in polls)
    acknowledged = sorted(poll.taken_ms for poll in day.sent)
    late = [
        got
        for got, sent_ms in zip(times, acknowledged, strict=False)
        if not 0 <= got - sent_ms <= 5
    ]
    recorded = Counter((miss.ts_ms, miss.reason) for miss in missed)
    unexplained = (
        sum((Counter(day.failed) - recorded).values())
        + max(0, len(day.sent) - len(polls))
        + len(late)
    )
    wrong_reason = sum(
        reason is not None and (shown_ms, reason) not in recorded
        for shown_ms, reason in day.expected
    )
    return Accounts(
        polls=len(polls),
        missed=Counter(miss.reason for miss in missed),
        unexplained=unexplained,
        wrong_reason=wrong_reason,
        wrong=sum((left - sent).values()),
        surplus=len(polls) + len(missed) - len(day.shown_ms),
    )


def planned(day: Day) -> Counter[str]:
    """Return how many polls had to be missed, by reason."""
    return Counter(reason for _, reason in day.expected if reason is not None)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_every_scheduled_poll_of_a_bad_while_is_stored_or_explained_or_was_never_run(
    seed, tmp_path
):
    settings, day = live_through(tmp_path, 200, seed)
    accounts = settle(settings, day)
    assert (accounts.unexplained, accounts.wrong_reason, accounts.wrong) == (0, 0, 0)
    assert accounts.surplus == 0
    assert accounts.missed == planned(day)
    assert accounts.polls + accounts.missed.total() + day.kinds[MACHINE_OFF] == 200


@pytest.mark.sweep
@pytest.mark.timeout(150)
def test_every_scheduled_poll_of_a_bad_day_is_stored_or_explained_or_was_never_run(tmp_path):
    scheduled, began = 24 * 3600 // INTERVAL_S, time.monotonic()
    settings, day = live_through(tmp_path, scheduled, 3)
    accounts = settle(settings, day)
    total = accounts.polls + accounts.missed.total() + day.kinds[MACHINE_OFF]
    text = (
        f"A day of {scheduled} scheduled polls in fast-forward ({time.monotonic() - began:.0f} s)."
        " The controller is off, hangs, or answers another request; another process uses the heat"
        " pump; the clock is an hour ahead for a while and later an hour behind; the machine is off"
        f" for two hours. Polls stored: {accounts.polls}; missed with a reason:"
        f" {accounts.missed.total()}; machine off: {day.kinds[MACHINE_OFF]}; together {total} of"
        f" {scheduled}. Scheduled polls without an explanation: {accounts.unexplained}; with a"
        f" wrong reason: {accounts.wrong_reason}; polls that differ from what was sent:"
        f" {accounts.wrong}."
    )
    rows = []
    for kind, count in day.kinds.most_common():
        reason = "-" if kind == MACHINE_OFF else FAULTS[kind][1]
        rows.append((kind, count, reason or "stored"))
    record(70, "A bad day", text, ("what happened", "scheduled polls", "recorded as"), rows)
    assert (accounts.unexplained, accounts.wrong_reason, accounts.wrong) == (0, 0, 0)
    assert accounts.surplus == 0
    assert accounts.missed == planned(day)
    assert total == scheduled


def test_two_misses_in_one_millisecond_after_the_clock_stepped_back_are_both_kept(tmp_path):
    store = Store(tmp_path / "cache.sqlite3")
    one = MissedPoll(START_MS, "timeout", 4, 254_000, "nobody answers")
    two = MissedPoll(START_MS, "refused", 4, 14_000, "connection refused")
    for miss in (one, two, one):
        store.add_missed(miss)
    store.flush()
    reasons = sorted(miss.reason for miss in store.database.missed(0, 1 << 62))
    assert reasons == ["refused", "timeout"]


def test_the_other_process_does_hold_the_lock(tmp_path):
    path = tmp_path / "data" / "device.lock"
    with other_process(path) as other:
        toggle(other, "held")
        fd = os.open(path, os.O_RDWR)
        try:
            with pytest.raises(BlockingIOError):
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            toggle(other, "free")
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.close(fd)
