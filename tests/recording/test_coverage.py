"""A bad day, counted to the poll: what status, diagnose, validate and roll-ups say of it.

Every reason for a missed poll comes up, somebody polls by hand in between, and at noon the interval
is changed. The real poll job polls a real socket in fast-forward, as in `test_bad_day`.
"""

import contextlib
import random
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from luxcli.config.config import Config
from luxcli.diagnosis import diagnose
from luxcli.errors import Interrupted, LuxcliError
from luxcli.model import OVERRUN, Snapshot
from luxcli.recording import pacing, state
from luxcli.recording.pacing import Waits
from luxcli.rollup import rollup
from luxcli.store.store import Store
from luxcli.system.clock import Clock
from luxcli.validation import stored
from tests.recording.test_bad_day import (
    FAULTS,
    HANGING_S,
    MACHINE_OFF,
    PATIENT_S,
    RETRIES,
    ChangingPump,
)
from tests.support.faulty_controller import NOW_S, Fault, with_calculations
from tests.support.reliability import record
from tests.support.scenario import BERLIN, HOUR_MS, alone_with_device, configured, ms

START_MS, NOON_MS, STOP_MS = (
    ms(local) for local in ("2027-01-15T00:00", "2027-01-15T12:00", "2027-01-16T00:00")
)
MORNING_S, AFTERNOON_S = 30, 45
# A poll that waits so long between its attempts costs the scheduled ones in that time.
SLOW_S = 100
SLOW, INTERRUPTED, FOREIGN = "slow", "interrupted", "another heat pump"
KINDS = (*FAULTS, SLOW, INTERRUPTED, FOREIGN, MACHINE_OFF)
REASONS = {
    *{reason for _, reason in FAULTS.values() if reason},
    *(INTERRUPTED, "foreign", OVERRUN),
}

pytestmark = pytest.mark.no_cover


class DayClock:
    """The host's clock, on which waiting takes no time unless the next wait is to be long.

    Attributes:
        now_s: Seconds since the epoch.
        next_wait: Seconds that the next wait takes longer, or what ends it.
    """

    def __init__(self) -> None:
        self.now_s = START_MS / 1000
        self.next_wait: float | BaseException = 0.0

    def clock(self) -> Clock:
        return Clock(lambda: self.now_s, self._sleep, lambda: self.now_s)

    def _sleep(self, seconds: float) -> None:
        longer, self.next_wait = self.next_wait, 0.0
        if isinstance(longer, BaseException):
            raise longer
        self.now_s += seconds + longer


class NumberedPump(ChangingPump):
    """A controller with a serial number; its clock runs."""

    def __init__(self) -> None:
        super().__init__()
        self._story = lambda number, now: with_calculations({134: NOW_S + number})(
            numbered(now, 17)
        )


def numbered(poll: Snapshot, last: int) -> Snapshot:
    """Return a poll of the heat pump with that end of its serial number."""
    parameters = list(poll.parameters)
    parameters[874:876] = 730_214, last
    return poll._replace(parameters=tuple(parameters))


@dataclass
class Account:
    """What happened at the scheduled times, by what was done there.

    Attributes:
        made: Scheduled times with a poll, ms.
        reasons: Reason by scheduled time without one.
        not_run: Scheduled times at which nothing was started.
        by_hand: Polls by hand that were stored.
        kinds: How often each event came up.
    """

    made: set[int] = field(default_factory=set)
    reasons: dict[int, str] = field(default_factory=dict)
    not_run: set[int] = field(default_factory=set)
    by_hand: int = 0
    kinds: Counter[str] = field(default_factory=Counter)


def schedule(share: int) -> list[tuple[int, int]]:
    """Return the scheduled times and their intervals; each half of the day is cut to a share."""
    half_ms = (NOON_MS - START_MS) // share
    morning = range(NOON_MS - half_ms, NOON_MS, MORNING_S * 1000)
    afternoon = range(NOON_MS, NOON_MS + half_ms, AFTERNOON_S * 1000)
    return [*((at, MORNING_S) for at in morning), *((at, AFTERNOON_S) for at in afternoon)]


def plan(due: list[tuple[int, int]], rng: random.Random) -> list[str]:
    """Return what happens at each scheduled time: streaks of trouble between healthy polls."""
    kinds = ["healthy"] * len(due)
    troubles = [kind for kind in KINDS if kind != "healthy"]
    for number in range(max(2 * len(troubles), len(due) // 25)):
        kind = troubles[number % len(troubles)]
        length = 1 if kind == SLOW else rng.choice([1, 1, 2, 3, 4])
        begin = rng.randrange(len(due))
        kinds[begin : begin + length] = [kind] * len(kinds[begin : begin + length])
    # A gap is counted with the interval of the entry before it, and recording begins with the
    # first entry.
    noon = next(number for number, (at, _) in enumerate(due) if at == NOON_MS)
    for number in (0, *range(noon - 5, noon + 2)):
        kinds[number] = "healthy"
    return kinds


def live_through(directory: Path, share: int, seed: int) -> tuple[Config, Account]:
    """Make the scheduled polls, and some by hand in between."""
    account, clock, rng = Account(), DayClock(), random.Random(seed)
    due = schedule(share)
    kinds = plan(due, rng)
    with NumberedPump() as pump, contextlib.ExitStack() as stack:
        settings = configured(directory, port=pump.port, retries=RETRIES, timeout_sec=PATIENT_S)
        settings = settings._replace(flush_polls=7)
        closed = stack.enter_context(_closed_port())
        over_ms = 0  # until then a slow poll goes on
        for (at_ms, interval_s), kind in zip(due, kinds, strict=True):
            if at_ms < over_ms:
                account.kinds[OVERRUN] += 1
                account.reasons[at_ms] = OVERRUN
                continue
            account.kinds[kind] += 1
            if kind == MACHINE_OFF:
                account.not_run.add(at_ms)
                continue
            clock.now_s = at_ms / 1000 + rng.uniform(0, 0.4)
            chosen = settings._replace(interval_sec=interval_s)
            reason = _prepare(kind, pump, clock)
            if reason == "timeout":
                chosen = chosen._replace(timeout_sec=HANGING_S)  # type: ignore[arg-type]
            elif reason == "refused":
                chosen = chosen._replace(port=closed)
            with alone_with_device(settings) if kind == "in use" else contextlib.nullcontext():
                _poll(chosen, interval_s, clock)
            clock.next_wait = 0.0
            if reason is None:
                account.made.add(at_ms)
            else:
                account.reasons[at_ms] = reason
            over_ms = at_ms + SLOW_S * 1000 if kind == SLOW else 0
            if kind != SLOW and rng.random() < 0.05:
                pump.change(Fault())
                clock.now_s = at_ms / 1000 + rng.uniform(12, interval_s - 6)
                _poll(settings, None, clock)
                account.by_hand += 1
    return settings, account


def _prepare(kind: str, pump: ChangingPump, clock: DayClock) -> str | None:
    """Let the controller and the clock do what belongs to an event; return the reason for it."""
    if kind in FAULTS:
        fault, reason = FAULTS[kind]
        if kind == "fails once":
            pump.fail_once(fault or Fault())
        elif fault is not None:
            pump.change(fault)
        return reason
    if kind == FOREIGN:
        pump.change(Fault(change=lambda poll: numbered(poll, 18)))
        return "foreign"
    pump.fail_once(Fault(times=0, close_after=100))
    clock.next_wait = float(SLOW_S) if kind == SLOW else Interrupted(signal.SIGTERM)
    return INTERRUPTED if kind == INTERRUPTED else None


def _poll(settings: Config, interval_s: int | None, clock: DayClock) -> None:
    waits = Waits(device_s=0.02, grace_s=0.0)
    with contextlib.suppress(LuxcliError, Interrupted):
        pacing.poll(settings, [0.0], interval_s=interval_s, waits=waits, clock=clock.clock())


@contextlib.contextmanager
def _closed_port():
    import socket

    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield reserved.getsockname()[1]


def four_answers(settings: Config) -> dict[str, dict[str, object]]:
    """Return the coverage of the day as JSON, as each of four commands prints it."""
    store = Store(settings.cache_path)
    start_ms, now_ms = STOP_MS - 24 * HOUR_MS, STOP_MS
    found = {"status": state.state(store, now_ms).day.to_json()}
    diagnosis = diagnose.diagnose(
        settings, now_ms=now_ms, zone=BERLIN, environ={}, offline=True, ports=()
    )
    [recording] = [one.values for one in diagnosis.sections if one.name == "recording"]
    found["diagnose"] = recording["coverage"]["24 h"]
    report = stored.validate(settings, start_ms=start_ms, stop_ms=now_ms, now_ms=now_ms)
    assert report.coverage is not None
    found["validate"] = report.coverage.to_json()
    found["rollup"] = rollup.rollup(
        settings, "daily", now_ms=now_ms, zone=BERLIN
    ).coverage.to_json()
    return found


def check(settings: Config, account: Account) -> dict[str, object]:
    """Compare what the commands say with what happened; return one of their equal answers."""
    answers = four_answers(settings)
    for name, coverage in answers.items():
        assert coverage == answers["status"], name
    said = answers["status"]
    assert said["made"] == len(account.made)
    assert said["reasons"] == Counter(account.reasons.values())
    assert said["unexplained"] == len(account.not_run)
    assert said["missing"] == len(account.reasons) + len(account.not_run)
    assert said["expected"] == said["made"] + said["missing"]  # type: ignore[operator]
    assert (said["extra"], said["duplicates"], said["doubted"]) == (account.by_hand, 0, 0)
    return said


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_four_commands_count_a_bad_while_to_the_poll(tmp_path):
    settings, account = live_through(tmp_path, 8, seed=1)
    # The end of the day: nothing is run any more, so the last schedule is owed on and on.
    last_ms, _ = schedule(8)[-1]
    account.not_run |= {*range(last_ms + AFTERNOON_S * 1000, STOP_MS, AFTERNOON_S * 1000)}
    check(settings, account)


@pytest.mark.sweep
@pytest.mark.timeout(400)
def test_four_commands_count_a_bad_day_to_the_poll(tmp_path):
    began = time.monotonic()
    settings, account = live_through(tmp_path, 1, seed=2)
    said = check(settings, account)
    assert said["reasons"].keys() == REASONS  # type: ignore[attr-defined]
    assert said["expected"] == len(schedule(1))
    causes = Counter(account.reasons.values())
    text = (
        f"A day in fast-forward ({time.monotonic() - began:.0f} s) with every reason for a missed"
        f" poll and {account.by_hand} polls by hand; at noon the interval changes from"
        f" {MORNING_S} to {AFTERNOON_S} s. Scheduled times: {said['expected']}; with a poll:"
        f" {said['made']}; without one, but with a reason: {causes.total()}; without either,"
        f" because nothing was run: {said['unexplained']}. `status`, `diagnose`, `validate` and"
        " `rollup` say the same, and what happened, to the poll."
    )
    rows = [*causes.most_common(), ("not run", len(account.not_run))]
    record(71, "A bad day, counted", text, ("missed", "scheduled times"), rows)
