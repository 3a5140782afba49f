"""Polls against the schedule: what is there, what is missing, and why."""

import random
from datetime import UTC

import pytest

from luxcli.config.config import Config
from luxcli.model import MissedPoll
from luxcli.recording import coverage, state
from luxcli.store.store import Store
from tests.support.builders import small
from tests.support.scenario import HOUR_MS, configured

START_MS = 1_800_000_000_000
INTERVAL_MS = 30_000


@pytest.fixture
def store(tmp_path):
    settings: Config = configured(tmp_path)
    return Store(settings.cache_path)


def put(store, *numbers, offset_ms=400):
    """Store a poll at each scheduled time, a little late, as a scheduler starts it."""
    polls = [small(START_MS + number * INTERVAL_MS + offset_ms) for number in numbers]
    store.merge(polls, ())


def miss(store, number, reason):
    store.merge(
        (), [MissedPoll(START_MS + number * INTERVAL_MS + 300, reason, 1, 60_000, f"{reason}!")]
    )


def hour(store):
    return state.coverage(store, START_MS, START_MS + HOUR_MS, 30)


def test_an_unbroken_hour_is_complete(store):
    put(store, *range(120))
    found = hour(store)
    assert (found.polls, found.expected, found.missing, found.share) == (120, 120, 0, 1.0)
    assert (found.gaps, found.usual_s, found.longest_gap) == ((), 30, None)
    assert found.last_ms == START_MS + 119 * INTERVAL_MS + 400


def test_nothing_stored_is_nothing_expected(store):
    found = hour(store)
    assert (found.polls, found.expected, found.share, found.last_ms) == (0, 0, 1.0, None)
    assert state.state(store, START_MS + HOUR_MS, 30).last_ms is None


def test_a_gap_is_explained_by_what_was_recorded_in_it(store):
    put(store, *range(10), *range(15, 120))
    for number in (10, 11, 12):
        miss(store, number, "timeout")
    miss(store, 13, "busy")
    found = hour(store)
    assert (found.polls, found.expected, found.missing) == (115, 120, 5)
    assert found.reasons == {"timeout": 3, "busy": 1}
    assert found.unexplained == 1
    [gap] = found.gaps
    assert (gap.missing, gap.reasons, gap.unexplained) == (5, {"timeout": 3, "busy": 1}, 1)
    assert gap.start_ms == START_MS + 9 * INTERVAL_MS + 400
    assert gap.stop_ms == START_MS + 15 * INTERVAL_MS + 400


def test_a_silence_that_lasts_counts_up_to_now(store):
    put(store, *range(60))
    found = hour(store)
    assert (found.expected, found.missing, found.unexplained) == (120, 60, 60)
    assert found.longest_gap.stop_ms == START_MS + HOUR_MS


def test_only_failures_since_the_beginning_are_missing_polls(store):
    for number in range(120):
        miss(store, number, "refused")
    found = hour(store)
    assert (found.polls, found.last_ms) == (0, None)
    assert found.missing == found.expected == 119  # the last poll may still succeed
    assert found.share == 0
    assert found.unexplained == 0


def test_recording_that_began_within_the_interval_owes_nothing_before(store):
    put(store, *range(60, 120))
    found = hour(store)
    assert (found.polls, found.expected, found.missing) == (60, 60, 0)


def test_recording_that_began_earlier_owes_the_beginning(store):
    put(store, -5, *range(60, 120))
    found = hour(store)
    assert (found.polls, found.expected, found.missing) == (60, 120, 60)
    assert found.gaps[0].start_ms == START_MS


def test_polls_by_hand_neither_fill_gaps_nor_are_expected(store):
    put(store, *range(50), *range(60, 120))
    put(store, *range(50), offset_ms=9000)
    found = hour(store)
    assert (found.polls, found.expected, found.missing) == (160, 120, 10)
    assert found.usual_s == 30


def test_the_newest_poll_may_be_one_by_hand(store):
    put(store, 0, 1)
    put(store, 1, offset_ms=9000)
    assert (
        hour(store).last_ms
        == state.state(store, START_MS + HOUR_MS, 30).last_ms
        == START_MS + INTERVAL_MS + 9000
    )


def test_a_scheduler_of_another_interval_is_seen(store):
    put(store, *range(0, 120, 2))
    found = hour(store)
    assert (found.usual_s, found.missing, found.share) == (60, 60, 0.5)


@pytest.mark.parametrize(("step_s", "share"), [(40, 0.75), (44, 82 / 120), (33, 1)])
def test_a_schedule_that_is_more_than_a_tenth_too_slow_is_not_complete(store, step_s, share):
    store.merge([small(START_MS + n * step_s * 1000) for n in range(3600 // step_s + 1)], ())
    found = hour(store)
    assert found.usual_s == step_s
    assert found.share == pytest.approx(share, abs=0.01)
    assert found.expected == (120 if share < 1 else found.polls)
    assert found.missing == found.unexplained
    assert coverage.fits_schedule(step_s, 30) == (share == 1)


def test_reasons_of_missing_polls_of_a_slow_schedule_are_not_counted_twice(store):
    put(store, *range(0, 120, 2))
    for number in range(1, 120, 2):
        miss(store, number, "timeout")
    found = hour(store)
    assert (found.expected, found.missing, found.unexplained) == (120, 60, 0)
    assert found.reasons == {"timeout": 60}


@pytest.mark.parametrize("jitter_ms", [0, 300])
def test_polls_twice_as_often_are_extra_and_not_complete(store, jitter_ms):
    store.merge([small(START_MS + n * 15_000 + n % 2 * jitter_ms) for n in range(240)], ())
    found = hour(store)
    assert (found.polls, found.expected, found.missing, found.extra) == (240, 120, 0, 120)
    assert (found.usual_s, found.has_too_many) == (15, True)
    text = found.describe(UTC)
    assert text == (
        "none missing, but 240 polls where the schedule has 120:"
        " a second schedule, or polls by hand"
    )


@pytest.mark.parametrize("late_s", [*range(1, 30)])
def test_one_late_poll_costs_nothing_however_late(store, late_s):
    late = [late_s * 1000 if number % 10 == 4 else 0 for number in range(120)]
    store.merge(
        [small(START_MS + number * INTERVAL_MS + late[number]) for number in range(120)], ()
    )
    found = hour(store)
    assert (found.missing, found.has_too_many) == (0, False)


def test_late_polls_of_retries_are_not_gaps(store):
    for number in range(120):
        put(store, number, offset_ms=400 if number % 7 else 12_000)
    assert hour(store).missing == 0


def test_what_waits_in_the_buffer_counts_and_stays_there(store):
    put(store, *range(10))
    Store.open(store.path)
    for number in range(10, 15):
        store.add(START_MS + number * INTERVAL_MS, small(START_MS + number * INTERVAL_MS))
    store.add_missed(MissedPoll(START_MS + 15 * INTERVAL_MS, "timeout", 4, 1, "no answer"))
    store.add(START_MS + 16 * INTERVAL_MS, small(START_MS + 16 * INTERVAL_MS))
    before = store.buffer_path.read_bytes()
    found = state.coverage(store, START_MS, START_MS + 17 * INTERVAL_MS, 30)
    assert (found.polls, found.missing, found.reasons) == (16, 1, {"timeout": 1})
    assert state.state(store, START_MS + HOUR_MS, 30).last_ms == START_MS + 16 * INTERVAL_MS
    assert store.buffer_path.read_bytes() == before


def test_a_poll_in_buffer_and_database_counts_once(store):
    """A crash between the commit and the clearing of the buffer leaves both."""
    Store.open(store.path)
    for number in range(5):
        store.add(START_MS + number * INTERVAL_MS, small(START_MS + number * INTERVAL_MS))
    kept = store.buffer_path.read_bytes()
    store.flush()
    store.buffer_path.write_bytes(kept)
    assert state.coverage(store, START_MS, START_MS + 5 * INTERVAL_MS, 30).polls == 5


def test_the_longest_of_many_gaps_are_kept_in_time_order(store):
    numbers = [number for number in range(4000) if number % 100 >= number // 100]
    put(store, *numbers)
    found = state.coverage(store, START_MS, START_MS + 4000 * INTERVAL_MS, 30)
    assert found.gap_count == 39
    assert [gap.missing for gap in found.gaps] == list(range(20, 40))
    assert found.missing == sum(range(40))


@pytest.mark.parametrize("seed", range(6))
def test_polls_taken_together_count_as_they_do_one_by_one(seed):
    rng = random.Random(seed)
    ts_ms, times, missed_polls = 0, [], []
    for _ in range(900):
        ts_ms += 30_000 + rng.choice([0] * 60 + [rng.randint(-15_000, 15_000), 30_000, 90_000])
        if rng.random() < 0.01:
            missed_polls.append(MissedPoll(ts_ms, "timeout", 1, 5, ""))
        else:
            times.append(ts_ms)
    together, single = (coverage.CoverageCounter(missed_polls, 0, 30_000) for _ in range(2))
    together.add(times)
    for time in times:
        single._add_one(time)
    assert together.result(ts_ms + 1) == single.result(ts_ms + 1)
    assert single.result(ts_ms + 1).polls == len(times)
