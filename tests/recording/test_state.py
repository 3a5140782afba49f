"""Polls against the schedule: what is there, what is missing, and why."""

import random
from collections import Counter
from datetime import UTC

import pytest

from luxcli.config.config import Config
from luxcli.errors import DamagedError
from luxcli.model import CLOCK_DOUBTED, EXTRA, LENGTH_CHANGED, SUSPICIOUS, MissedPoll
from luxcli.recording import counter as counting
from luxcli.recording import limits, state
from luxcli.recording.poll import Due
from luxcli.store.store import Store
from tests.support.builders import journals, missed, scheduled, small
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


def by_hand(store, *numbers, offset_ms=9000):
    polls = [small(START_MS + number * INTERVAL_MS + offset_ms) for number in numbers]
    store.merge([poll._replace(late_ms=0, interval_s=0, flags=EXTRA) for poll in polls], ())


def miss(store, number, reason):
    store.merge((), [missed(START_MS + number * INTERVAL_MS + 300, reason)])


def hour(store):
    return state.coverage(store, START_MS, START_MS + HOUR_MS)


def test_an_unbroken_hour_is_complete(store):
    put(store, *range(120))
    found = hour(store)
    assert (found.polls, found.expected, found.missing, found.share) == (120, 120, 0, 1.0)
    assert (found.gaps, found.usual_s, found.longest_gap) == ((), 30, None)
    assert found.last_ms == START_MS + 119 * INTERVAL_MS + 400


def test_nothing_stored_is_nothing_expected(store):
    found = hour(store)
    assert (found.polls, found.expected, found.share, found.last_ms) == (0, 0, 1.0, None)
    assert state.state(store, START_MS + HOUR_MS).last_ms is None


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
    assert (gap.start_ms, gap.stop_ms) == (START_MS + 9 * INTERVAL_MS, START_MS + 15 * INTERVAL_MS)


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
    assert found.missing == found.expected == 120
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
    by_hand(store, *range(50), 55)
    found = hour(store)
    assert (found.polls, found.expected, found.missing, found.extra) == (161, 120, 10, 51)
    assert (found.usual_s, found.has_too_many) == (30, False)
    assert found.describe(UTC).endswith(", 51 extra polls")


def test_polls_by_hand_alone_are_no_schedule(store):
    by_hand(store, 1, 2, 7)
    found = hour(store)
    assert (found.polls, found.expected, found.extra, found.share) == (3, 0, 3, 1.0)
    assert found.describe(UTC) == "no scheduled polls, 3 extra polls"
    assert found.last_ms == START_MS + 7 * INTERVAL_MS + 9000


def test_the_newest_poll_may_be_one_by_hand(store):
    put(store, 0, 1)
    by_hand(store, 1)
    assert (
        hour(store).last_ms
        == state.state(store, START_MS + HOUR_MS).last_ms
        == START_MS + INTERVAL_MS + 9000
    )


def test_a_scheduler_that_starts_every_other_poll_is_seen(store):
    put(store, *range(0, 120, 2))
    found = hour(store)
    assert (found.usual_s, found.missing, found.unexplained, found.share) == (60, 60, 60, 0.5)


def test_an_interval_that_was_changed_is_counted_by_each_of_its_entries(store):
    """From 30 s to 45 s in the middle of the hour, with a gap on each side."""
    half = HOUR_MS // 2
    put(store, *(number for number in range(60) if number not in (57, 58)))
    slow = range(START_MS + half, START_MS + HOUR_MS, 45_000)
    store.merge([scheduled(small(ms + 400), 45) for ms in slow if ms != slow[7]], ())
    found = hour(store)
    assert (found.expected, found.made, found.missing) == (60 + 40, 58 + 39, 3)
    assert [gap.missing for gap in found.gaps] == [2, 1]


def test_a_gap_has_the_interval_of_the_entry_before_it(store):
    put(store, 0)
    store.merge([scheduled(small(START_MS + 30 * 60_000 + 400), 600)], ())
    found = hour(store)
    # 59 in the first half; :40 and :50 after the other.
    assert (found.made, found.unexplained) == (2, 59 + 2)


def test_the_beginning_has_the_interval_of_the_last_entry_before(store):
    store.merge([scheduled(small(START_MS - 400 * HOUR_MS), 90)], ())
    assert hour(store).expected == hour(store).unexplained == 40
    put(store, 60)
    assert (hour(store).made, hour(store).unexplained) == (1, 20 + 59)


def test_polls_for_one_scheduled_time_count_once_and_show_a_second_schedule(store):
    put(store, *range(120))
    put(store, *range(60), offset_ms=700)
    found = hour(store)
    assert (found.polls, found.expected, found.made, found.duplicates) == (180, 120, 120, 60)
    assert found.has_too_many
    assert found.describe(UTC) == (
        "none missing, but 180 polls for 120 scheduled times: a second schedule, or one with"
        " another interval"
    )


def test_a_run_that_failed_beside_one_that_polled_misses_nothing(store):
    put(store, *range(120))
    miss(store, 7, "busy")
    assert (hour(store).missing, hour(store).reasons) == (0, {})


def test_of_two_reasons_for_one_scheduled_time_the_first_counts_and_an_overrun_last(store):
    put(store, *range(7), *range(9, 120))
    store.merge((), [missed(START_MS + 7 * INTERVAL_MS, "overrun")])
    miss(store, 7, "timeout")
    store.merge(
        (), [missed(START_MS + 8 * INTERVAL_MS + ms, why) for ms, why in ((1, "a"), (2, "b"))]
    )
    assert hour(store).reasons == {"timeout": 1, "a": 1}


@pytest.mark.parametrize("late_s", [1, 29, 31, 250, limits.LATEST_S])
def test_a_late_poll_counts_for_its_scheduled_time_however_late(store, late_s):
    put(store, *(number for number in range(120) if number != 50))
    assert hour(store).missing == 1
    late = small(START_MS + 50 * INTERVAL_MS + late_s * 1000 + 1)
    store.merge([late._replace(late_ms=late_s * 1000 + 1)], ())
    within = late_s < limits.LATEST_S
    assert (hour(store).missing, hour(store).polls) == ((0, 120) if within else (1, 119))


def test_a_scheduled_poll_belongs_to_the_interval_of_its_scheduled_time(store):
    put(store, *range(240))
    late = small(START_MS + HOUR_MS + 20_000)
    store.merge([late._replace(late_ms=20_000 + 30_000)], ())  # a second one for the last time
    first = state.coverage(store, START_MS, START_MS + HOUR_MS)
    second = state.coverage(store, START_MS + HOUR_MS, START_MS + 2 * HOUR_MS)
    assert [(one.made, one.duplicates) for one in (first, second)] == [(120, 1), (120, 0)]


def test_the_next_poll_may_come_a_little_late(store):
    put(store, *range(100))
    due_ms = START_MS + 100 * INTERVAL_MS
    for late_ms, missing in ((1, 0), (15_000, 0), (16_000, 1)):
        found = state.coverage(store, START_MS, due_ms + late_ms)
        assert (found.expected, found.missing) == (100 + missing, missing)
    # What has followed since shows that it is missing.
    put(store, 101)
    assert state.coverage(store, START_MS, due_ms + 1).missing == 1


def test_polls_whose_clock_was_doubted_count_nowhere(store):
    put(store, *range(100))
    polls = [small(START_MS + number * INTERVAL_MS) for number in range(100, 120)]
    store.merge(
        [
            poll._replace(flags=CLOCK_DOUBTED | number % 2 * EXTRA)
            for number, poll in enumerate(polls)
        ],
        (),
    )
    found = hour(store)
    assert (found.polls, found.made, found.missing, found.doubted, found.extra) == (
        100,
        100,
        20,
        20,
        0,
    )
    assert "20 with a doubted time" in found.describe(UTC)


def test_suspicious_polls_count_like_all_others_and_are_mentioned(store):
    marks = [SUSPICIOUS, LENGTH_CHANGED, SUSPICIOUS | LENGTH_CHANGED, *[0] * 117]
    polls = [small(START_MS + n * INTERVAL_MS)._replace(flags=mark) for n, mark in enumerate(marks)]
    store.merge(polls, ())
    found = hour(store)
    assert (found.made, found.missing, found.suspicious) == (120, 0, 2)
    assert found.describe(UTC) == "complete, 120 polls, 2 marked as suspicious"


def test_numbers_in_the_database_that_are_none_are_damage(store):
    put(store, *range(120))
    with store.writing() as db:
        db.execute("UPDATE poll SET late_ms='x' WHERE ts_ms>?", (START_MS + 60_000,))
    with pytest.raises(DamagedError, match="times of its polls cannot be read"):
        hour(store)


def test_an_interval_that_is_none_makes_no_schedule(store):
    put(store, *range(120))
    with store.writing() as db:
        db.execute("UPDATE poll SET interval_s=0 WHERE ts_ms>?", (START_MS + HOUR_MS // 2,))
    found = hour(store)
    assert (found.made, found.extra, found.unexplained) == (60, 60, 60)


@pytest.mark.parametrize("seed", range(10))
def test_what_is_counted_is_the_difference_of_two_sets(store, seed):
    """Any mixture of polls, reasons, late and extra ones and intervals, against sets."""
    rng = random.Random(seed)
    schedule: list[tuple[int, int]] = []  # each scheduled time and its interval, made or not
    ms, interval_s = START_MS - 3 * HOUR_MS, 30
    while ms < START_MS + 10 * HOUR_MS:
        step_ms = rng.choice([30, 30, 45, 600]) * 1000
        first_ms = -(-ms // step_ms) * step_ms
        # The old schedule goes on until the new one has its first poll.
        schedule += [(old_ms, interval_s) for old_ms in range(ms, first_ms, interval_s * 1000)]
        interval_s = step_ms // 1000
        ms = first_ms + rng.randint(1, 300) * step_ms
        schedule += [(new_ms, interval_s) for new_ms in range(first_ms, ms, step_ms)]
    polls, missed_polls = [], []
    made, explained = set(), {}
    for number, (due_ms, interval_s) in enumerate(schedule):
        fate = rng.random()
        # An interval must be known before its first gap.
        first = not number or schedule[number - 1][1] != interval_s
        late_ms = rng.choice([0, 300, 400, 20_000, 250_000])
        if fate < 0.03 and not first:
            continue
        if fate < 0.06:
            reason = rng.choice(["timeout", "busy"])
            later_ms = rng.choice([0, 300])
            timing = (later_ms, interval_s, 0)
            missed_polls.append(MissedPoll(due_ms + later_ms, reason, 1, 5, "", *timing))
            explained[due_ms] = reason
            continue
        for _ in range(rng.choice([1] * 20 + [2])):
            late_ms += 1
            polls.append(small(due_ms + late_ms)._replace(late_ms=late_ms, interval_s=interval_s))
        if rng.random() < 0.02:
            polls.append(small(due_ms + 7777)._replace(flags=EXTRA))
        made.add(due_ms)
    assert len({poll.taken_ms for poll in polls}) == len(polls)
    store.merge(polls[: len(polls) // 2], missed_polls[1::2])
    for poll in polls[len(polls) // 2 :][-30:]:
        store.add(poll.taken_ms, poll)
    store.merge(polls[len(polls) // 2 : -30], missed_polls[::2])
    start_ms, stop_ms = START_MS, START_MS + 6 * HOUR_MS + 17_000
    found = state.coverage(store, start_ms, stop_ms)
    due = {ms for ms, _ in schedule if start_ms <= ms < stop_ms}
    assert found.expected == len(due)
    assert found.made == len(due & made)
    assert found.reasons == Counter(explained[ms] for ms in due & explained.keys())
    assert found.unexplained == len(due - made - explained.keys())
    scheduled_polls = [poll for poll in polls if not poll.flags and poll.scheduled_ms in due]
    assert found.duplicates == len(scheduled_polls) - found.made
    assert found.extra == sum(
        poll.flags == EXTRA and start_ms <= poll.taken_ms < stop_ms for poll in polls
    )


def test_what_waits_in_the_journals_counts_and_stays_there(store):
    put(store, *range(10))
    Store.open(store.path)
    for number in range(10, 15):
        store.add(START_MS + number * INTERVAL_MS, small(START_MS + number * INTERVAL_MS))
    store.add_missed(missed(START_MS + 15 * INTERVAL_MS, "timeout"))
    store.add(START_MS + 16 * INTERVAL_MS, small(START_MS + 16 * INTERVAL_MS))
    before = journals(store.path)
    found = state.coverage(store, START_MS, START_MS + 17 * INTERVAL_MS)
    assert (found.polls, found.missing, found.reasons) == (16, 1, {"timeout": 1})
    assert state.state(store, START_MS + HOUR_MS).last_ms == START_MS + 16 * INTERVAL_MS
    assert journals(store.path) == before
    assert len(store.waiting().polls) == 6


def test_a_poll_that_waits_and_is_in_the_database_as_well_counts_once(store):
    """Another file in place of the journal is read from its beginning."""
    Store.open(store.path)
    for number in range(5):
        store.add(START_MS + number * INTERVAL_MS, small(START_MS + number * INTERVAL_MS))
    store.flush()
    with store.writing() as db:
        db.execute("DELETE FROM journal")
    assert state.coverage(store, START_MS, START_MS + 5 * INTERVAL_MS).polls == 5


def test_the_longest_of_many_gaps_are_kept_in_time_order(store):
    numbers = [number for number in range(4000) if number % 100 >= number // 100]
    put(store, *numbers)
    found = state.coverage(store, START_MS, START_MS + 4000 * INTERVAL_MS)
    assert found.gap_count == 39
    assert [gap.missing for gap in found.gaps] == list(range(20, 40))
    assert found.missing == sum(range(40))


@pytest.mark.parametrize("seed", range(6))
def test_hours_of_regular_polls_count_as_their_polls_do(store, seed):
    rng = random.Random(seed)
    polls, misses = [], []
    for number in range(-200, 1800):
        late_ms = rng.choice([0, *[400] * 400, 45_000, 4_000_000])
        reason = rng.choice(["timeout", "overrun"]) if rng.random() < 0.003 else ""
        due_ms = START_MS + number * INTERVAL_MS
        poll = small(due_ms + late_ms)._replace(late_ms=late_ms)
        twice = poll._replace(taken_ms=poll.taken_ms + 7, late_ms=late_ms + 7)
        by_hand = twice._replace(flags=EXTRA)
        if reason:
            misses.append(missed(due_ms, reason))
        else:
            polls += [poll, *([rng.choice([twice, by_hand])] if rng.random() < 0.003 else ())]
    store.merge(polls, misses)
    start_ms, stop_ms = START_MS + 1, START_MS + 1500 * INTERVAL_MS
    rows = [row for part in store.database.timings(0, 2 * START_MS) for row in part]
    runs = [
        row for part in store.database.timings(0, 2 * START_MS, runs=(0, stop_ms)) for row in part
    ]
    assert {row[5] for row in rows} == {1}
    assert max(row[5] for row in runs) == 120
    assert sum(row[5] for row in runs) == sum(row[5] for row in rows) == len(polls) + len(misses)

    def count(rows):
        counter = counting.CoverageCounter(start_ms, stop_ms, None)
        for first in range(0, len(rows), 250):
            counter.add(rows[first : first + 250])
        return counter.result(followed=True)

    found = count(rows)
    assert found == state.coverage(store, start_ms, stop_ms)
    assert found.expected == 1499
    # Where a run reaches over a bound, its polls count as single ones, too.
    for bounds in ((start_ms, stop_ms), (start_ms + 1_000_000, stop_ms - 1_000_000)):
        one, other = (counting.CoverageCounter(*bounds, None) for _ in range(2))
        one.add(rows)
        other.add(runs)
        once, twice = (counter.result(followed=True) for counter in (one, other))
        assert once._replace(last_ms=0) == twice._replace(last_ms=0)


def test_the_longest_poll_is_still_counted_for_its_scheduled_time(tmp_path):
    slowest = configured(tmp_path, timeout_sec=600, retries=10)
    assert limits.gone_after_s("poll", slowest) + limits.MINUTES_S + 60 < limits.LATEST_S


def test_if_the_clock_was_set_during_a_poll_it_counts_for_the_nearest_scheduled_time():
    due = Due(START_MS, 30)
    assert [due.late_ms(START_MS + ms) for ms in (0, 400, -200, 3_600_000)] == [
        *(0, 400, -200, 3_600_000)
    ]
    assert due.late_ms(START_MS + 50 * 86_400_000 + 400) == 400
    assert due.late_ms(START_MS - 86_400_000 - 400) == -400
    assert Due.nearest(START_MS + 15_000, 30).scheduled_ms == START_MS + 30_000
    assert Due.nearest(START_MS + 14_999, 30).scheduled_ms == START_MS
