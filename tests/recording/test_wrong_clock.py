"""Weeks with a wrong clock: a computer that boots in 1970, with its last shutdown, or in 2036."""

import logging
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from luxcli.config.config import Config
from luxcli.maintenance import archive, prune, repair
from luxcli.model import CLOCK_DOUBTED, Snapshot
from luxcli.recording import clock_doubt as doubts
from luxcli.recording import state
from luxcli.recording.pacing import poll
from luxcli.rollup import rollup
from luxcli.store.store import Store
from luxcli.system.clock import Clock
from tests.support.builders import replay, small
from tests.support.faulty_controller import Fault, FaultyController
from tests.support.scenario import BERLIN, configured, ms, open_store

HOUR_S = 3600
DAY_S = 86_400
# A Sunday; longer ago than which no poll of this luxcli can be.
BEGIN_S = ms("2027-03-07T00:00") // 1000
STEP_S = 1800
EVER = 1 << 60


class Week(NamedTuple):
    """What the computer's clock shows, by the true time in seconds; None while it is off."""

    name: str
    shown_s: Callable[[float], float | None]
    doubted: int


def _boots_in(first_s: float, hours: int) -> Callable[[float], float | None]:
    """Off for two hours on the third day, then some hours of a wrong clock."""

    def shown_s(true_s: float) -> float | None:
        since_s = true_s - BEGIN_S - 2 * DAY_S
        if 0 <= since_s < 2 * HOUR_S:
            return None
        if 2 * HOUR_S <= since_s < (2 + hours) * HOUR_S:
            return first_s + since_s - 2 * HOUR_S
        return true_s

    return shown_s


LAST_SHUTDOWN_S = BEGIN_S + 2 * DAY_S - STEP_S
WEEKS = [
    Week("1970", _boots_in(30, 6), 12),
    # Half an hour earlier than the last poll: an old note of the time.
    Week("before the last shutdown", _boots_in(LAST_SHUTDOWN_S - 8 * HOUR_S, 6), 12),
    Week("2036", _boots_in(ms("2036-02-07T06:28") / 1000, 6), 12),
    # The time of the last shutdown itself: two hours late, which no poll alone can show.
    Week("last shutdown", _boots_in(LAST_SHUTDOWN_S + STEP_S, 6), 0),
]


class Outcome(NamedTuple):
    """A week as it was lived through.

    Attributes:
        settings: Where its data is.
        made: True time in ms of each poll, by the number of its run.
        warnings: What `poll-once` and the jobs said, and how often.
        statuses: Of each hour: whether `status` would have ended with 3.
    """

    settings: Config
    made: list[int]
    warnings: Counter[str]
    statuses: list[tuple[int, bool]]


def _hourly(settings: Config, now_ms: int, warnings: Counter[str]) -> None:
    for kind in ("daily", "weekly"):
        rollup.rollup_due(settings, kind, now_ms=now_ms, zone=BERLIN)
    archive.archive_due(settings, now_ms=now_ms, zone=BERLIN)
    pruned = prune.prune(settings, now_ms=now_ms, zone=BERLIN)
    warnings.update(f"prune: {finding}" for finding in pruned.findings)


def live(week: Week, directory: Path, caplog: pytest.LogCaptureFixture) -> Outcome:
    """Poll every half hour of a week, with roll-ups, archives and prune every six hours."""
    true_s = [float(BEGIN_S)]
    heat_pump = replay("msw6")
    made: list[int] = []
    warnings: Counter[str] = Counter()
    statuses: list[tuple[int, bool]] = []

    def sent(_good: Snapshot) -> Snapshot:
        return heat_pump.at(true_s[0])

    with FaultyController(Fault(change=sent)) as pump:
        settings = configured(
            directory, port=pump.port, interval_sec=STEP_S, cache_retention_days=3, retries=0
        )
        for number in range(7 * DAY_S // STEP_S):
            true_s[0] = float(BEGIN_S + number * STEP_S)
            shown_s = week.shown_s(true_s[0])
            if shown_s is None:
                continue
            now = Clock(now=lambda shown_s=shown_s: shown_s + 0.25, sleep=lambda _s: None)
            caplog.clear()
            [outcome] = poll(settings, [0.0], interval_s=STEP_S, clock=now).outcomes
            assert not isinstance(outcome, Exception)
            made.append(round(true_s[0] * 1000))
            warnings.update(
                "doubted"
                if re.search("its time is doubted: .*; set this computer's", record.getMessage())
                else record.getMessage()
                for record in caplog.records
                if record.levelno >= logging.WARNING
            )
            now_ms = now.now_ms()
            if number % 12 == 11:
                _hourly(settings, now_ms, warnings)
            if number % 2 == 1:
                found = state.state(open_store(settings), now_ms)
                statuses.append((now_ms, found.is_clock_doubted(1.5 * STEP_S)))
    return Outcome(settings, made, warnings, statuses)


def everything(store: Store) -> Iterator[Snapshot]:
    return store.query(0, EVER)


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "week",
    [
        pytest.param(
            week, id=week.name, marks=pytest.mark.slow if number == 2 else pytest.mark.sweep
        )
        for number, week in enumerate(WEEKS)
    ],
)
def test_a_week_with_a_wrong_clock_loses_nothing_and_is_put_right(week, tmp_path, caplog):
    outcome = live(week, tmp_path, caplog)
    settings, store = outcome.settings, open_store(outcome.settings)
    after_ms = (BEGIN_S + 7 * DAY_S) * 1000
    stored = list(everything(store))
    doubted = [one for one in stored if one.flags & CLOCK_DOUBTED]
    assert len(doubted) == week.doubted
    # Said at once, every time, and by `status` as long as it lasts, not longer.
    assert outcome.warnings["doubted"] == week.doubted
    # In 2036 all is old. Nothing is removed then, and never because of what is left of that time.
    said = [text for text in outcome.warnings if text.startswith("prune")]
    assert all("none removed; is the clock right" in text for text in said)
    assert bool(said) == (week.name == "2036")
    lasting = [is_doubted for _now_ms, is_doubted in outcome.statuses]
    assert lasting.count(True) == week.doubted // 2
    # Three days are kept in the database; doubted polls are.
    kept_ms = {ms for ms in outcome.made if ms >= after_ms - 3 * DAY_S * 1000}
    assert {one.calculations[134] * 1000 for one in stored} >= kept_ms

    planned = repair.repair_times(settings, now_ms=after_ms, dry_run=True)
    assert list(everything(store)) == stored
    done = repair.repair_times(settings, now_ms=after_ms)
    assert (done.moved, done.removed, done.untold) == (planned.moved, 0, 0)
    assert done.moved == week.doubted
    right = list(everything(store))
    assert len(right) == len(stored)
    if week.doubted:
        assert all(abs(one.taken_ms - one.calculations[134] * 1000) < 1500 for one in right)
    assert not [one for one in right if one.flags & CLOCK_DOUBTED]
    again = repair.repair_times(settings, now_ms=after_ms)
    assert (again.moved, again.removed, again.untold) == (0, 0, 0)
    _hourly(settings, after_ms, Counter())
    assert list(everything(store)) == [
        one for one in right if one.taken_ms >= ms("2027-03-11T00:00")
    ]


@pytest.mark.parametrize(
    ("taken_ms", "clock_ms", "is_doubted"),
    [
        (60_000, None, True),  # 1970
        (doubts.RELEASED_MS - 1, None, True),
        (1_800_000_000_000, None, False),
        (1_800_000_000_000 - 30_000, None, False),  # one interval earlier: the clock was corrected
        (1_800_000_000_000 - 30_001, None, True),
        (1_800_000_000_000 + 400 * 86_400_000, None, False),  # a pause of any length
        (1_800_000_000_000 + 400 * 86_400_000, 1_800_000_000_000 + 399 * 86_400_000, False),
        (1_800_000_000_000 + 400 * 86_400_000, 1_800_000_000_000 + 60_000, True),
    ],
)
def test_a_time_is_doubted_for_a_reason_that_is_told(taken_ms, clock_ms, is_doubted):
    last = _showing(1_800_000_000_000, 1_800_000_000_000)
    text = doubts.doubt(taken_ms, last, 30, controller_ms=clock_ms)
    assert bool(text) == is_doubted


def test_a_heat_pump_whose_clock_was_wrong_before_says_nothing_about_this_computers():
    last = _showing(1_800_000_000_000, 1_700_000_000_000)
    later = 1_800_000_000_000 + 10 * 86_400_000
    assert doubts.doubt(later, last, 30, controller_ms=1_700_000_000_000) is None


def test_after_a_first_poll_in_2036_a_right_one_is_right():
    last = _showing(2_085_978_000_000, 1_800_000_000_000)
    assert doubts.doubt(1_800_000_060_000, last, 30, controller_ms=1_800_000_060_000) is None
    assert doubts.doubt(1_800_000_060_000, last, 30, controller_ms=None)


def _showing(taken_ms: int, clock_ms: int) -> Snapshot:
    """Return a poll with a time of the heat pump's clock."""
    return small(taken_ms, {134: clock_ms // 1000}, lengths=(140, 6, 4))
