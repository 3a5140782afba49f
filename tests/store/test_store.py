"""The store: whatever was added comes back exactly, in order and once, whatever happens."""

import contextlib
import os
import random
import signal
import sqlite3
import struct
import subprocess
import threading
import time
import tracemalloc
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from luxcli.errors import DamagedError, Interrupted, StorageError
from luxcli.model import CLOCK_DOUBTED, EARLIEST_MS, MissedPoll, Snapshot
from luxcli.store import intake, journal, ledger, writer
from luxcli.store.ledger import RollupRecord
from luxcli.store.store import AddResult, FlushResult, Store
from luxcli.system import locks
from tests.support.builders import (
    START_MS,
    differing,
    journals,
    python,
    real,
    reals,
    small,
    write_journals,
)
from tests.support.tiers import sampled

EVER = 1 << 60
DAY_MS = 86_400_000
TINY = (12, 4, 3)
TABLES = (
    *("poll", "constant", "setting", "missed", "rollup", "archive", "register", "label", "meta"),
)


@pytest.fixture
def store(tmp_path):
    """Flushes only on request."""
    return Store(tmp_path / "cache.sqlite3", flush_polls=1000)


@pytest.fixture
def eager(tmp_path):
    """Puts every poll into the database at once."""
    return Store(tmp_path / "cache.sqlite3", flush_polls=1)


def add(store: Store, polls: Iterable[Snapshot]) -> None:
    for poll in polls:
        store.add(poll.taken_ms, poll)


def add_quickly(store: Store, polls: Iterable[Snapshot]) -> None:
    """Put many polls into the database without waiting for the disk after each."""
    write_journals(store.path, polls)
    store.flush()


def everything(store: Store) -> list[Snapshot]:
    return list(store.query(-EVER, EVER))


def waiting(store: Store) -> list[Snapshot]:
    """Return the polls that the database lacks."""
    places = intake.unread(store.database)
    return [poll for place in places for poll in journal.polls(*place, -EVER, EVER)]


@contextlib.contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        yield db


def contents(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """Return every row of every table."""
    with opened(path) as db:
        return {table: sorted(db.execute(f"SELECT * FROM {table}"), key=repr) for table in TABLES}


# What goes in comes out


@pytest.mark.parametrize(
    ("profile", "lengths"), [("msw6", (1075, 232, 327)), ("long", (1187, 275, 398))]
)
def test_every_value_of_a_whole_heat_pump_comes_back_as_it_was_sent(store, profile, lengths):
    sent = reals(120, profile, step_ms=613_000)
    add(store, sent)
    found = everything(store)
    assert differing(found, sent) == []
    assert found == sent
    poll = found[0]
    assert (len(poll.parameters), len(poll.calculations), len(poll.visibilities)) == lengths


def test_polls_are_readable_before_and_after_they_reach_the_database(tmp_path):
    store = Store(tmp_path / "cache.sqlite3", flush_polls=5)
    sent = reals(12)
    for count, poll in enumerate(sent, start=1):
        added = store.add(poll.taken_ms, poll)
        assert added == AddResult(5 if count % 5 == 0 else 0)
        assert len(waiting(store)) == count % 5
        assert everything(store) == sent[:count]
    assert store.flush() == FlushResult(2, 0, 0)
    assert everything(store) == sent
    assert waiting(store) == []


def test_the_given_time_counts_and_not_that_in_the_snapshot(store):
    store.add(START_MS, small(7))
    assert everything(store) == [small(7)._replace(taken_ms=START_MS)]


def test_an_empty_store_answers_everything_and_creates_no_database(store):
    assert everything(store) == []
    assert store.flush() == FlushResult(0, 0, 0)
    assert store.database.span() == (None, None)
    assert store.database.known_registers() == []
    assert store.database.missed(0, EVER) == []
    assert ledger.rollups(store, "daily") == []
    assert store.database.count(-EVER, EVER) == 0
    assert store.remove_before(EVER) == 0
    assert not store.path.exists()


def test_a_changed_firmware_and_back_gives_each_poll_its_own_registers(store):
    old, new = reals(20), reals(20, "long", start_ms=START_MS + DAY_MS)
    again = reals(20, start_ms=START_MS + 2 * DAY_MS)
    for batch in (old, new, again):
        add(store, batch)
        store.flush()
    found = everything(store)
    assert differing(found, [*old, *new, *again]) == []
    with opened(store.path) as db:
        counts = db.execute(
            "SELECT count(*), count(c10), count(c232), count(c274) FROM poll"
        ).fetchone()
        before = db.execute("SELECT count(c274) FROM poll WHERE ts_ms<?", (new[0].taken_ms,))
        assert before.fetchone() == (0,)
    assert counts == (60, 60, 20, 20)


@pytest.mark.parametrize("flush_between", [True, False])
def test_a_changed_firmware_within_one_flush_and_over_several_reads_the_same(store, flush_between):
    shapes = [(95, 6, 4), (90, 6, 4), (97, 7, 3), (80, 5, 4), (95, 6, 4), (0, 0, 0), (97, 7, 3)]
    sent = [small(START_MS + n, {3: n}, lengths=shape) for n, shape in enumerate(shapes)]
    for poll in sent:
        store.add(poll.taken_ms, poll)
        if flush_between:
            store.flush()
    assert everything(store) == sent


def test_a_register_that_changes_after_a_long_time_keeps_its_old_value_for_old_polls(store):
    before = [small(START_MS + n) for n in range(50)]
    add(store, before)
    store.flush()
    with opened(store.path) as db:
        assert [row[1] for row in db.execute("PRAGMA table_info(poll)")][7:] == []
        assert (0, 20, 1020) in list(db.execute("SELECT * FROM constant"))
    after = [small(START_MS + 100 + n, {20: -7, 21: 2**31 - 1}) for n in range(2)]
    add(store, after)
    store.flush()
    assert everything(store) == [*before, *after]
    with opened(store.path) as db:
        old = db.execute("SELECT DISTINCT c20, c21 FROM poll WHERE ts_ms<?", (START_MS + 50,))
        assert old.fetchall() == [(1020, 1021)]
        assert db.execute("SELECT * FROM constant WHERE idx IN (20, 21)").fetchall() == []


def test_settings_cost_a_row_only_when_they_change(store):
    add(store, [small(START_MS + n, {1: n, 85: n // 20}, {2: n // 30}) for n in range(60)])
    store.flush()
    with opened(store.path) as db:
        rows = db.execute("SELECT ts_ms, value FROM setting WHERE kind=1 AND idx=2").fetchall()
        slow = db.execute("SELECT count(*) FROM setting WHERE kind=0 AND idx=85").fetchone()
        everything_else = db.execute("SELECT count(*) FROM setting").fetchone()
    assert rows == [(START_MS, 0), (START_MS + 30, 1)]
    assert slow == (3,)
    # One row each of the slow calculations and the two blocks, and three changes.
    assert everything_else == (23 + 6 + 4 + 1 + 2,)


def test_calculations_beyond_what_a_table_can_hold_are_logged_like_settings(store):
    """SQLite takes 2,000 columns; the client accepts blocks of up to 10,000."""
    sent = [small(START_MS + n, {1499: n, 1500: n}, lengths=(1502, 1, 1)) for n in range(3)]
    add(store, sent)
    store.flush()
    assert everything(store) == sent
    with opened(store.path) as db:
        columns = [row[1] for row in db.execute("PRAGMA table_info(poll)")]
        logged = db.execute("SELECT idx, count(*) FROM setting WHERE kind=0 AND idx>999 GROUP BY 1")
        assert logged.fetchall() == [(1500, 3), (1501, 1)]
    assert columns[-1] == "c1499"


def test_extreme_integers_and_times_come_back(store):
    extremes = (2**31 - 1, -(2**31), 0, -1)
    sent = [
        Snapshot(-1, 0, 0, extremes, extremes, (-128, 127), flags=CLOCK_DOUBTED),
        Snapshot(0, 1, 1, (0, 0, 0, 0), (0, 0), (0, 0), flags=CLOCK_DOUBTED),
        Snapshot(5, 10**6, 99, extremes[::-1], extremes[::-1], (127, -128), flags=CLOCK_DOUBTED),
    ]
    add(store, sent)
    assert everything(store) == sent


# Any order, any number of times


@pytest.mark.parametrize("seed", sampled({str(seed): seed for seed in range(30)}, "01234"))
def test_polls_in_any_order_come_back_sorted_and_as_they_were_sent(tmp_path, seed):
    rng = random.Random(seed)
    sent = [random_poll(rng, START_MS + n * rng.choice((1, 1000, DAY_MS))) for n in range(40)]
    sent = list({poll.taken_ms: poll for poll in sent}.values())
    rng.shuffle(sent)
    for poll in sent:
        store = Store(tmp_path / "cache.sqlite3", flush_polls=rng.choice((8, 20, 1000)))
        store.add(poll.taken_ms, poll)
    store = Store(tmp_path / "cache.sqlite3")
    expected = sorted(sent, key=lambda poll: poll.taken_ms)
    assert everything(store) == expected
    add(store, rng.sample(sent, 10))
    assert everything(store) == expected


def random_poll(rng: random.Random, ts_ms: int) -> Snapshot:
    """Return a poll of a controller whose registers come, go and seldom change."""
    lengths = rng.choice(((85, 4, 2), (85, 4, 2), (86, 5, 2), (83, 3, 3), (87, 0, 1)))
    return small(
        ts_ms,
        {1: rng.randrange(99), 5: rng.randrange(8) // 7, 82: rng.randrange(4) // 3},
        {1: rng.randrange(3), 2: rng.randrange(9) // 8},
        {0: rng.randrange(5) // 4},
        lengths=lengths,
    )


def test_flushing_the_same_journals_again_changes_nothing(store):
    add(
        store,
        [
            *reals(5),
            *reals(5, "long", start_ms=START_MS + DAY_MS),
            *reals(2, start_ms=START_MS - DAY_MS),
        ],
    )
    add(store, [real(START_MS), real(START_MS)._replace(took_ms=5)])
    store.add_missed(MissedPoll(START_MS + 1, "timeout", 4, 9, "silent"))
    assert store.flush() == FlushResult(13, 1, 0)
    rows, polls = contents(store.path), everything(store)
    for _ in range(2):
        with opened(store.path) as db:
            db.execute("DELETE FROM journal")
        assert store.flush() == FlushResult(0, 0, 0)
        assert contents(store.path) == rows
        assert everything(store) == polls


def test_a_journal_that_another_file_has_replaced_is_taken_in_from_its_beginning(store):
    add(store, reals(10))
    store.flush()
    others = reals(12, start_ms=START_MS + 5000)
    path = journal.path_at(store.path, START_MS)
    path.unlink()
    add(store, others)
    assert waiting(store) == others
    store.flush()
    assert waiting(store) == []
    expected = sorted([*reals(10), *others], key=lambda poll: poll.taken_ms)
    assert list(store.database.polls(0, EVER, damaged=[])) == expected


def test_a_journal_that_a_power_cut_has_shortened_is_taken_in_again_and_nothing_is_twice(store):
    add(store, reals(10))
    whole = journals(store.path)
    store.flush()
    rows = contents(store.path)
    for name, content in whole.items():
        store.path.with_name(name).write_bytes(content[:-7])
    assert store.flush() == FlushResult(0, 0, 1)
    later = real(START_MS + 600_000)
    store.add(later.taken_ms, later)
    store.flush()
    assert everything(store) == [*reals(10), later]
    assert len(contents(store.path)["poll"]) == len(rows["poll"]) + 1


@pytest.mark.parametrize(
    "change",
    [
        {"calculations": {10: 7}},
        {"took_ms": 96},
        {"tries": 2},
        {"calculations": {85: 7}},
        {"parameters": {3: 7}},
        {"visibilities": {3: 7}},
        {"lengths": (94, 6, 4)},
        {"lengths": (95, 6, 5)},
    ],
    ids=str,
)
def test_different_polls_of_one_millisecond_are_both_kept(store, change):
    """A clock that steps back may show the same millisecond twice."""
    first, second = small(START_MS), small(START_MS, **change)
    add(store, [first, second, first, second])
    assert everything(store) == [first, second.at(START_MS + 1)]
    store.flush()
    assert everything(store) == [first, second.at(START_MS + 1)]
    add(store, [second, first])
    assert len(everything(store)) == 2
    assert store.flush() == FlushResult(0, 0, 0)


def test_a_poll_gives_way_to_one_that_has_the_next_millisecond_already(store):
    add(store, [small(START_MS), small(START_MS + 1, {1: 1}), small(START_MS, {1: 2})])
    store.flush()
    assert everything(store) == [
        *(small(START_MS), small(START_MS + 1, {1: 1})),
        small(START_MS, {1: 2}).at(START_MS + 2),
    ]


def test_a_clock_that_was_at_1970_for_a_while_loses_nothing(store):
    """A Raspberry Pi has no clock of its own."""
    sent = reals(4)
    add(store, sent[:2])
    store.flush()
    early = [
        small(5_000 + n, {10: n}, {2: n})._replace(took_ms=n, flags=CLOCK_DOUBTED) for n in range(3)
    ]
    add(store, [*early, *sent[2:]])
    store.flush()
    assert list(store.query(START_MS, EVER)) == sent
    assert list(store.query(0, DAY_MS)) == early


def test_a_query_over_decades_without_polls_does_not_take_long(store):
    add(store, [real(5_000)._replace(flags=CLOCK_DOUBTED), real(START_MS)])
    store.flush()
    code = """
import sys
from pathlib import Path
from luxcli.store.store import Store
print(sum(1 for _ in Store(Path(sys.argv[1])).query(0, 1 << 60)))
"""
    with python(code, store.path) as process:
        try:
            out, _ = process.communicate(timeout=2)
        except subprocess.TimeoutExpired:
            process.kill()
            pytest.fail("two polls, one from 1970, are not read within 2 s")
    assert out == "2\n"


# Queries


def test_bounds_are_half_open(store):
    sent = [small(START_MS + n * 10, {1: n}) for n in range(4)]
    add(store, sent)
    assert list(store.query(START_MS, START_MS + 30)) == sent[:3]
    assert list(store.query(START_MS + 1, START_MS + 31)) == sent[1:]
    assert list(store.query(START_MS + 10, START_MS + 11)) == sent[1:2]
    assert list(store.query(START_MS + 11, START_MS + 20)) == []
    assert list(store.query(START_MS + 10, START_MS + 10)) == []
    assert list(store.query(START_MS + 30, START_MS)) == []
    assert list(store.query(0, START_MS)) == []
    assert list(store.query(START_MS + 31, EVER)) == []


@pytest.mark.parametrize("start", [0, 1, 499, 500, 501, 1000, 1199])
def test_a_query_that_begins_anywhere_sees_the_settings_in_force_there(store, start):
    sent = [small(START_MS + n, {1: n}, {0: n // 600}, lengths=TINY) for n in range(1200)]
    add_quickly(store, sent)
    assert list(store.query(START_MS + start, START_MS + start + 700)) == sent[start : start + 700]


def test_days_and_gaps_between_them_are_joined_without_loss(store):
    times = [START_MS + n * (DAY_MS // 3) for n in range(12)]
    times += [START_MS + 40 * DAY_MS, START_MS + 41 * DAY_MS - 1, START_MS + 41 * DAY_MS]
    sent = [small(ts, {1: n}, {1: n // 2}) for n, ts in enumerate(times)]
    add(store, sent)
    assert everything(store) == sent


@pytest.mark.slow
@pytest.mark.parametrize("step_ms", [10, 60_000], ids=["one day", "days"])
def test_the_memory_of_a_query_does_not_grow_with_its_length(store, step_ms):
    add_quickly(store, (small(START_MS + n * step_ms, {1: n}, lengths=TINY) for n in range(6000)))

    def peak(count: int) -> int:
        tracemalloc.start()
        try:
            assert sum(1 for _ in store.query(START_MS, START_MS + count * step_ms)) == count
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(10)
    short = peak(1500)
    assert peak(6000) < 1.5 * short
    assert short < 2_000_000


@pytest.mark.parametrize(
    "change",
    [
        {"calculations": {1: 5}},
        {"calculations": {7: 5}},  # was constant: gets a column
        {"parameters": {2: 5}},
        {"calculations": {7: 5, 9: 6}, "parameters": {0: 5, 3: 6}, "visibilities": {0: 6}},
        {"lengths": (11, 3, 2)},
        {"lengths": (13, 5, 4)},
    ],
    ids=str,
)
@pytest.mark.parametrize("consumed", [1, 500])
def test_a_query_under_way_is_not_disturbed_by_polls_that_come_in(store, change, consumed):
    usual = {"calculations": {1: 0}, "lengths": TINY}
    sent = [small(START_MS + n * 10, {1: n}, lengths=TINY) for n in range(1200)]
    add_quickly(store, sent)
    query = store.query(START_MS, EVER)
    found = [next(query) for _ in range(consumed)]

    other = Store(store.path, flush_polls=1)
    late = small(START_MS + 11_003, **{**usual, **change})  # before polls that are still to come
    newest = small(START_MS + 12_003, **{**usual, **change})
    add(other, [newest, late])
    found += query

    ours = [poll for poll in found if poll not in (late, newest)]
    assert ours == sent
    assert found == sorted(found, key=lambda poll: poll.taken_ms)
    assert everything(store) == sorted([*sent, late, newest], key=lambda poll: poll.taken_ms)


@pytest.mark.slow
def test_a_query_under_way_goes_on_when_older_polls_are_removed(store):
    sent = [small(START_MS + n * 10, {1: n}, {1: n // 100}, lengths=TINY) for n in range(1200)]
    add_quickly(store, sent)
    query = store.query(START_MS, EVER)
    found = [next(query)]
    Store(store.path).remove_before(START_MS + 9000)
    found += query
    assert [poll for poll in found if poll.taken_ms >= START_MS + 9000] == sent[900:]
    assert all(poll in sent for poll in found)


def test_an_abandoned_query_blocks_no_writer(eager):
    add(eager, reals(3))
    query = eager.query(0, EVER)
    next(query)
    assert eager.add(START_MS + DAY_MS, real(START_MS + DAY_MS)).warning is None
    query.close()


# Missed polls, roll-ups


def test_missed_polls_come_back_sorted_within_half_open_bounds(store):
    missed_polls = [
        MissedPoll(START_MS + n, reason, n, n * 1000, f"Grund {n}: Zeitüberschreitung\n„x“")
        for n, reason in enumerate(("timeout", "refused", "busy", "rejected"))
    ]
    for missed_poll in reversed(missed_polls):
        store.add_missed(missed_poll)
    assert store.flush() == FlushResult(0, 4, 0)
    assert store.database.missed(0, EVER) == missed_polls
    assert store.database.missed(START_MS + 1, START_MS + 3) == missed_polls[1:3]
    store.add_missed(missed_polls[1])
    assert store.flush() == FlushResult(0, 0, 0)
    assert store.database.missed(0, EVER) == missed_polls


def test_a_poll_may_be_missed_and_made_in_the_same_millisecond(store):
    store.add_missed(MissedPoll(START_MS, "timeout", 1, 5, ""))
    store.add(START_MS, small(START_MS))
    store.flush()
    assert everything(store) == [small(START_MS)]
    assert len(store.database.missed(0, EVER)) == 1


def test_roll_up_records_come_back_by_kind_in_order_and_are_replaced(store):
    first = RollupRecord("daily", 0, DAY_MS, None, "failed", 0, 5, "Platte voll: “/x”")
    second = RollupRecord("daily", DAY_MS, 2 * DAY_MS, "/x/2.csv", "written", 2880, 6)
    week = RollupRecord("weekly", 0, 7 * DAY_MS, None, "empty", 0, 7)
    for record in (second, week, first):
        ledger.record_rollup(store, record)
    assert ledger.rollups(store, "daily") == [first, second]
    assert ledger.rollups(store, "weekly") == [week]
    repaired = first._replace(path="/x/1.csv", state="written", rows=9, error=None)
    ledger.record_rollup(store, repaired)
    assert ledger.rollups(store, "daily") == [repaired, second]


# Removal


def test_removal_takes_what_is_older_and_leaves_the_rest_exactly(store):
    sent = [small(START_MS + n * DAY_MS // 4, {1: n}, {1: n // 7, 2: 1}) for n in range(40)]
    add(store, sent)
    for poll in sent[::3]:
        store.add_missed(MissedPoll(poll.taken_ms + 1, "timeout", 1, 1, ""))
    store.flush()
    cutoff = sent[23].taken_ms
    for stop in (cutoff - 1, cutoff):
        ledger.record_rollup(store, RollupRecord("daily", 0, stop, None, "empty", 0, 1))
    assert store.database.count(-EVER, cutoff) == 23
    store.remove_before(cutoff)
    assert everything(store) == sent[23:]
    assert store.database.count(-EVER, EVER) == 17
    assert store.database.span() == (cutoff, sent[-1].taken_ms)
    assert [missed_poll.ts_ms for missed_poll in store.database.missed(0, EVER)] == [
        poll.taken_ms + 1 for poll in sent[::3] if poll.taken_ms + 1 >= cutoff
    ]
    assert [record.stop_ms for record in ledger.rollups(store, "daily")] == [cutoff]


def test_removal_keeps_one_value_of_each_setting_and_no_more(store):
    add(store, [small(START_MS + n, {1: n}, {1: n}) for n in range(50)])
    store.flush()
    store.remove_before(START_MS + 25)
    with opened(store.path) as db:
        rows = db.execute("SELECT ts_ms, value FROM setting WHERE kind=1 AND idx=1 ORDER BY 1")
        assert rows.fetchall() == [(START_MS + n, n) for n in range(25, 50)]
        rows = db.execute("SELECT value FROM setting WHERE kind=1 AND idx=2")
        assert rows.fetchall() == [(1002,)]


@pytest.mark.no_cover
def test_removal_frees_pages_that_later_polls_use(store):
    lengths = (60, 4, 3)
    fast = [i for i in range(60) if i < 81]
    sent = [
        small(START_MS + n * 60_000, dict.fromkeys(fast, 2**30 + n), lengths=lengths)
        for n in range(2000)
    ]
    add_quickly(store, sent)
    size = store.path.stat().st_size
    freed = store.remove_before(sent[1500].taken_ms)
    assert 0.5 * size < freed < 0.8 * size
    moved = [poll._replace(taken_ms=poll.taken_ms + 100 * DAY_MS) for poll in sent[:1000]]
    add_quickly(store, moved)
    assert store.path.stat().st_size == size
    assert everything(store) == [*sent[1500:], *moved]


def test_removal_takes_a_transaction_for_each_day_so_that_polls_need_not_wait_long(store):
    add(store, [small(START_MS + n * DAY_MS // 8, {1: n}) for n in range(48)])
    store.flush()
    before = change_counter(store.path)
    store.remove_before(START_MS + 5 * DAY_MS)
    assert 5 <= change_counter(store.path) - before <= 8
    assert store.database.count(-EVER, EVER) == 8


def change_counter(path: Path) -> int:
    """Return how many transactions SQLite has counted in the file's header."""
    (counter,) = struct.unpack(">I", path.read_bytes()[24:28])
    return counter


def test_an_archive_is_not_said_to_hold_more_than_the_database_while_polls_are_removed(store):
    """The nightly check would take them for lost if a removal was killed half-way."""
    add(store, [small(START_MS + n * DAY_MS) for n in range(3)])
    store.flush()
    records = [
        ledger.ArchiveRecord(START_MS + n * DAY_MS, START_MS + (n + 1) * DAY_MS, f"{n}", 1, 9, 1, 1)
        for n in range(3)
    ]
    for record in records:
        ledger.record_archive(store, record)
    with store.writing() as db:
        writer.remove_polls(db, START_MS + DAY_MS)
    assert [record.entries for record in ledger.archives(store)] == [0, 1, 1]


def test_removal_of_decades_does_not_take_long(store):
    add(store, [small(EARLIEST_MS), small(START_MS)])
    store.flush()
    started = time.monotonic()
    store.remove_before(START_MS)
    assert time.monotonic() - started < 0.5
    assert everything(store) == [small(START_MS)]


def test_removing_twice_or_nothing_changes_nothing(store):
    add(store, [small(START_MS + n, {1: n}) for n in range(10)])
    store.flush()
    before = contents(store.path)
    store.remove_before(START_MS)
    assert contents(store.path) == before
    store.remove_before(START_MS + 5)
    once = contents(store.path)
    assert store.remove_before(START_MS + 5) == 0
    assert contents(store.path) == once


@pytest.mark.parametrize("ago_ms", [3 * DAY_MS, 0, -4])
@pytest.mark.parametrize("change", [{}, {"parameters": {1: 77}}, {"lengths": (95, 5, 4)}], ids=str)
def test_a_poll_from_before_a_removal_does_not_alter_what_is_left(store, ago_ms, change):
    """A clock at 1970 after a power cut, a restored archive, a journal that is read again."""
    sent = [small(START_MS + n, {1: n}, {1: n // 3}) for n in range(10)]
    add(store, sent)
    store.flush()
    store.remove_before(START_MS + 5)
    late = small(START_MS - ago_ms, **change)
    add(store, [late])
    assert everything(store) == [late, *sent[5:]]


@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4), (4, 3, 2, 1, 0), (2, 0, 4, 1, 3), (3,), (0,)])
@pytest.mark.parametrize("in_one_go", [True, False])
def test_polls_that_were_removed_can_be_added_again(store, order, in_one_go):
    """Archives outlive the database's retention, and `restore` brings back what they hold."""
    sent = [small(START_MS + n, {1: n}, {1: n // 3, 2: n}) for n in range(10)]
    add(store, sent)
    store.flush()
    store.remove_before(START_MS + 5)
    for number in order:
        add(store, [sent[number]])
        if not in_one_go:
            store.flush()
    assert everything(store) == [*(sent[number] for number in sorted(order)), *sent[5:]]


def test_a_store_from_which_everything_was_removed_begins_again(store):
    add(store, reals(3))
    store.flush()
    store.remove_before(EVER)
    assert everything(store) == []
    later = [small(START_MS + DAY_MS + n, {1: n}) for n in range(3)]
    add(store, later)
    assert everything(store) == later


# A database that cannot be written, or is not ours


def test_polls_are_safe_while_another_program_locks_the_database(eager):
    sent = reals(3)
    add(eager, sent[:1])
    code = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.readline()
"""
    eager.use_short_timeouts()
    with python(code, eager.path, stdin=-1) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        added = eager.add(sent[1].taken_ms, sent[1])
        other.kill()
    assert added.flushed == 0
    assert "locked by another program" in added.warning
    assert str(eager.path) in added.warning
    assert waiting(eager) == [sent[1]]
    assert eager.add(sent[2].taken_ms, sent[2]) == AddResult(2)
    assert everything(eager) == sent


def test_polls_are_safe_while_a_reader_keeps_its_transaction_open(eager):
    sent = reals(3)
    add(eager, sent[:1])
    eager.use_short_timeouts()
    with opened(eager.path) as reader:
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM poll").fetchone() == (1,)
        added = eager.add(sent[1].taken_ms, sent[1])
        assert added.flushed == 0
        assert "locked by another program" in added.warning
        assert waiting(eager) == [sent[1]]
        assert reader.execute("SELECT count(*) FROM poll").fetchone() == (1,)
    assert eager.add(sent[2].taken_ms, sent[2]) == AddResult(2)
    assert everything(eager) == sent


def test_a_reader_sees_polls_that_come_in_between_its_queries(eager):
    with opened(eager.path) as reader:
        for count in (1, 2, 3):
            assert eager.add(START_MS + count, small(START_MS + count, {count: 0})) == AddResult(1)
            assert reader.execute("SELECT count(*) FROM poll").fetchone() == (count,)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"\0" * 100 + data[100:],
        lambda data: b"SQLite format 2\0" + data[16:],
        lambda data: data[:1000],
        lambda data: data[:100] + b"\xff" * 4000 + data[4100:],
    ],
    ids=["zeros", "magic", "cut off", "schema"],
)
def test_a_damaged_database_is_quarantined_as_it_is_and_recreated(eager, damage, caplog):
    add(eager, reals(2))
    damaged = damage(eager.path.read_bytes())
    eager.path.write_bytes(damaged)
    for read in (lambda: everything(eager), eager.database.span):
        with pytest.raises(DamagedError, match="damaged"):
            read()
    assert eager.path.read_bytes() == damaged

    poll = real(START_MS + DAY_MS)
    assert eager.add(poll.taken_ms, poll) == AddResult(3)
    assert everything(eager) == [*reals(2), poll]
    (damaged_path,) = eager.quarantined_paths()
    assert damaged_path.read_bytes() == damaged
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert str(eager.path) in record.getMessage()
    assert damaged_path.name in record.getMessage()


def test_what_sqlite_keeps_beside_a_damaged_database_goes_with_it_and_is_no_database(eager):
    """A program that had turned it to WAL mode was killed."""
    eager.path.write_bytes(b"damaged")
    for suffix in ("-journal", "-wal", "-shm"):
        eager.path.with_name(eager.path.name + suffix).write_text(suffix)
    damaged_path = eager.quarantine()
    assert eager.quarantined_paths() == [damaged_path]
    there = {path.name.removeprefix(damaged_path.name) for path in damaged_path.parent.iterdir()}
    assert there >= {"", "-journal", "-wal", "-shm"}
    assert not list(eager.path.parent.glob(f"{eager.path.name}-*"))


def test_a_database_damaged_twice_in_one_second_is_quarantined_twice(eager):
    damaged = []
    for number in range(2):
        add(Store(eager.path, flush_polls=1), [real(START_MS + number)])
        damaged.append(b"\0" * 100 + eager.path.read_bytes()[100:])
        eager.path.write_bytes(damaged[-1])
    add(Store(eager.path, flush_polls=1), [real(START_MS + 5)])
    assert sorted(path.read_bytes() for path in eager.quarantined_paths()) == sorted(damaged)


@pytest.mark.parametrize("content", [b"<html>404</html>", b"\x7fELF" * 999, b"\xff" * 5000])
def test_a_file_that_is_no_database_is_left_alone_and_polls_wait(eager, content):
    eager.path.write_bytes(content)
    added = eager.add(START_MS, real(START_MS))
    assert added.flushed == 0
    assert "not a SQLite file" in added.warning
    assert str(journal.path_at(eager.path, START_MS)) in added.warning
    for call in (lambda: everything(eager), eager.flush, eager.database.span):
        with pytest.raises(StorageError, match="correct cache_path"):
            call()
    assert eager.path.read_bytes() == content
    assert waiting(eager) == [real(START_MS)]
    assert eager.quarantined_paths() == []
    eager.path.unlink()
    assert everything(eager) == [real(START_MS)]


@pytest.mark.no_cover
def test_a_flipped_bit_anywhere_in_the_database_never_gives_a_wrong_value(store):
    """Nor does it raise anything but a StorageError, on which recovery and reports rely."""
    sent = [small(START_MS + n, {1: n, 2: n % 7}, {1: n // 9}, lengths=TINY) for n in range(40)]
    add(store, sent)
    store.flush()
    whole = store.path.read_bytes()
    rng = random.Random(7)
    used = [place for place, byte in enumerate(whole) if byte or not place % 20]
    flips, unexpected = 400, {}
    noticed = 0
    for _ in range(flips):
        flipped = bytearray(whole)
        place, bit = rng.choice(used), rng.randrange(8)
        flipped[place] ^= 1 << bit
        store.path.write_bytes(flipped)
        lost: list[int] = []
        try:
            found = list(store.query(-EVER, EVER, damaged=lost))
        except StorageError:
            noticed += 1
        except Exception as exc:
            unexpected[type(exc).__name__] = f"bit {bit} of byte {place}: {exc!r}"
        else:
            noticed += bool(lost) or len(found) < 40
            if wrong := [poll for poll in found if poll not in sent]:
                unexpected["wrong in silence"] = f"bit {bit} of byte {place}: {wrong[0]}"
    assert noticed > flips / 10
    assert unexpected == {}


def test_a_newer_database_is_refused_and_left_untouched(eager):
    add(eager, reals(2))
    with opened(eager.path) as db:
        db.execute("PRAGMA user_version=99")
    before = eager.path.read_bytes()
    poll = real(START_MS + DAY_MS)
    assert "newer luxcli" in eager.add(poll.taken_ms, poll).warning
    for call in (
        eager.flush,
        lambda: everything(eager),
        lambda: eager.remove_before(EVER),
        lambda: ledger.record_rollup(eager, RollupRecord("daily", 0, 1, None, "empty", 0, 1)),
    ):
        with pytest.raises(StorageError, match="newer luxcli"):
            call()
    assert eager.path.read_bytes() == before
    assert waiting(eager) == [*reals(2), poll]  # nobody knows what is in it


@pytest.mark.parametrize("journal_mode", ["DELETE", "WAL"])
@pytest.mark.parametrize("user_version", [0, 1])
@pytest.mark.parametrize(
    "table",
    [
        "CREATE TABLE cookies (a, b)",
        # Has everything that a database needs except luxcli's mark.
        "CREATE TABLE poll (ts_ms INTEGER PRIMARY KEY, took_ms, tries, crc)",
    ],
    ids=["cookies", "poll"],
)
def test_another_programs_file_is_refused_and_left_untouched(
    eager, journal_mode, user_version, table
):
    """Many programs use user_version; the application_id is there to tell them apart."""
    with opened(eager.path) as db:
        db.execute(f"PRAGMA journal_mode={journal_mode}")
        db.execute(table)
        db.execute(f"PRAGMA user_version={user_version}")
    before = eager.path.read_bytes()
    added = eager.add(START_MS, real(START_MS))
    assert "not a luxcli database" in added.warning
    for call in (eager.flush, eager.database.span, lambda: eager.remove_before(EVER)):
        with pytest.raises(StorageError, match="not a luxcli database"):
            call()
    assert eager.path.read_bytes() == before
    assert waiting(eager) == [real(START_MS)]


def test_an_empty_file_becomes_a_database(eager):
    eager.path.touch()
    add(eager, reals(1))
    assert everything(eager) == reals(1)


def test_the_database_is_marked_as_ours_and_keeps_its_journal_file(eager):
    add(eager, reals(1))
    with opened(eager.path) as db:
        assert db.execute("PRAGMA application_id").fetchone() == (0x4C757843,)
        assert db.execute("PRAGMA user_version").fetchone() == (2,)
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert eager.path.read_bytes()[18:20] == b"\1\1", "a WAL file would wear the card"
    assert eager.path.with_name("cache.sqlite3-journal").exists()


def test_the_whole_database_can_be_checked_for_damage(eager):
    add(eager, reals(3))
    eager.database.check()
    data = bytearray(eager.path.read_bytes())
    data[8192:12288] = b"\xa5" * 4096
    eager.path.write_bytes(data)
    with pytest.raises(DamagedError):
        eager.database.check()


def test_merging_polls_from_elsewhere_counts_only_what_is_new(eager):
    sent, missed_poll = reals(6), MissedPoll(START_MS + 1, "timeout", 1, 2, "silent")
    add(eager, sent[2:4])
    assert eager.merge(sent, [missed_poll]) == FlushResult(4, 1, 0)
    assert eager.merge(sent, [missed_poll]) == FlushResult(0, 0, 0)
    assert everything(eager) == sent
    assert eager.database.missed(0, EVER) == [missed_poll]
    assert eager.database.times(sent[1].taken_ms, sent[4].taken_ms) == [
        p.taken_ms for p in sent[1:4]
    ]


def test_a_journal_that_cannot_be_written_is_no_loss_while_the_database_can(eager):
    path = journal.path_at(eager.path, START_MS)
    path.mkdir()
    added = eager.add(START_MS, real(START_MS))
    assert added.flushed == 1
    assert str(path) in added.warning
    path.rmdir()
    assert everything(eager) == [real(START_MS)]


def test_when_neither_journal_nor_database_can_be_written_the_poll_has_failed(eager):
    path = journal.path_at(eager.path, START_MS)
    path.mkdir()
    eager.path.write_text("not a database, and longer than a header" * 9)
    with pytest.raises(StorageError) as error:
        eager.add(START_MS, real(START_MS))
    assert str(path) in str(error.value)
    assert f"{eager.path}: " in str(error.value)
    assert error.value.exit_code == 74


@pytest.mark.parametrize("kind", ["directory", "pipe", "link"])
def test_what_is_no_file_but_has_the_name_of_a_journal_keeps_no_other_waiting(store, kind):
    add(store, [real(START_MS), real(START_MS + DAY_MS)])
    path = journal.path_at(store.path, START_MS)
    kept = path.rename(path.with_name("kept"))
    if kind == "directory":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(kept)
    assert store.flush().polls == 1
    assert store.database.times(0, EVER) == [START_MS + DAY_MS]
    assert store.waiting().polls_ms == ()
    assert journal.unusable(store.path) == [path]
    path.rmdir() if kind == "directory" else path.unlink()
    kept.rename(path)
    assert store.flush().polls == 1


# Directories


def test_a_missing_directory_is_made_where_its_parent_exists(tmp_path):
    path = tmp_path / "new" / "cache.sqlite3"
    Store.open(path)
    Store.open(path)
    assert path.parent.is_dir()


def test_a_directory_whose_parent_is_missing_too_is_made_only_on_request(tmp_path):
    """A forgotten mount must not fill the disk below it."""
    path = tmp_path / "mnt" / "luxcli" / "cache.sqlite3"
    with pytest.raises(StorageError, match="mnt/luxcli: neither"):
        Store.open(path)
    assert not (tmp_path / "mnt").exists()
    Store.open(path, parents=True)
    assert path.parent.is_dir()


@pytest.mark.parametrize("parents", [False, True])
def test_a_directory_that_cannot_be_made_is_a_storage_error(tmp_path, parents):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "cache.sqlite3", tmp_path / "file" / "x" / "cache.sqlite3"):
        with pytest.raises(StorageError, match="file"):
            Store.open(path, parents=parents)


# Damaged lines of journals


def test_damaged_lines_are_copied_once_and_reported_and_the_others_stored(store, caplog):
    sent = reals(3)
    add(store, sent[:2])
    path = journal.path_at(store.path, START_MS)
    with path.open("ab") as file:
        file.write(b'garbage\n\xff\xfe\n{"v":1,"torn')
    add(store, sent[2:])
    before = path.read_bytes()
    assert store.flush() == FlushResult(3, 0, 3)
    assert everything(store) == sent
    assert store.rejected_path.read_bytes() == b'garbage\n\xff\xfe\n{"v":1,"torn\n'
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert "3 damaged lines" in record.getMessage()
    assert str(store.rejected_path) in record.getMessage()
    assert store.flush() == FlushResult(0, 0, 0)
    assert len(caplog.records) == 1
    assert path.read_bytes() == before
    store.path.unlink()
    assert store.flush().rejected == 3
    assert store.rejected_path.read_bytes() == b'garbage\n\xff\xfe\n{"v":1,"torn\n'


def test_a_journal_of_nothing_but_damage_is_passed_over(store):
    path = journal.path_at(store.path, START_MS)
    path.write_bytes(b"\0" * 5000)
    assert store.flush() == FlushResult(0, 0, 1)
    assert store.flush() == FlushResult(0, 0, 0)
    assert path.read_bytes() == b"\0" * 5000
    assert store.rejected_path.read_bytes() == b"\0" * 5000 + b"\n"
    add(store, reals(2))
    assert store.flush() == FlushResult(2, 0, 0)


def test_damaged_lines_wait_while_they_cannot_be_copied(store):
    add(store, reals(2))
    path = journal.path_at(store.path, START_MS)
    with path.open("ab") as file:
        file.write(b"garbage\n")
    store.rejected_path.mkdir()
    with pytest.raises(StorageError, match="rejected"):
        store.flush()
    assert waiting(store) == reals(2)
    store.rejected_path.rmdir()
    assert store.flush() == FlushResult(2, 0, 1)
    assert store.rejected_path.read_bytes() == b"garbage\n"


# Processes

WRITER = """
import sys
from pathlib import Path
from luxcli.store.store import Store
from tests.support.builders import small
path, first, step, count, flush_polls = Path(sys.argv[1]), *map(int, sys.argv[2:])
store = Store(path, flush_polls=flush_polls)
for ts_ms in range(first, first + step * count, step):
    # Settings, a once constant register and the number of registers change now and then.
    poll = small(
        ts_ms, {1: ts_ms % 1000, 3: ts_ms % 97 // 96}, {2: ts_ms // 20 % 2},
        lengths=(95 + ts_ms // 40 % 2, 6, 4),
    )
    added = store.add(ts_ms, poll)
    assert added.warning is None, added.warning
    print(ts_ms, flush=True)
"""


def written(ts_ms: int) -> Snapshot:
    """Return the poll that WRITER adds at a time."""
    return small(
        ts_ms,
        {1: ts_ms % 1000, 3: ts_ms % 97 // 96},
        {2: ts_ms // 20 % 2},
        lengths=(95 + ts_ms // 40 % 2, 6, 4),
    )


@pytest.mark.slow
@pytest.mark.no_cover
def test_eight_processes_at_once_store_every_poll_once(store):
    processes = [python(WRITER, store.path, START_MS + number, 8, 20, 7) for number in range(8)]
    for process in processes:
        with process:
            out, _ = process.communicate(timeout=9)
            assert process.returncode == 0
            assert len(out.split()) == 20
    assert everything(store) == [written(START_MS + n) for n in range(160)]


@pytest.mark.parametrize("flush_polls", sampled({"1": 1, "3": 3, "20": 20}, ["20"]))
def test_what_a_killed_process_acknowledged_is_there_once_and_equal(store, flush_polls):
    rng = random.Random(flush_polls)
    acknowledged: list[int] = []
    first = START_MS
    for _ in range(5):
        with python(WRITER, store.path, first, 1, 100_000, flush_polls) as process:
            assert process.stdout is not None
            count = rng.randrange(1, 25)
            acknowledged += [int(process.stdout.readline()) for _ in range(count)]
            time.sleep(rng.random() * 0.01)
            process.send_signal(signal.SIGKILL)
            acknowledged += map(int, process.stdout.read().split())
        first = acknowledged[-1] + 2  # the one after it may be stored without acknowledgement
    found = everything(store)
    times = [poll.taken_ms for poll in found]
    assert times == sorted(set(times))
    assert set(times) >= set(acknowledged)
    assert len(times) <= len(acknowledged) + 5
    assert differing(found, map(written, times)) == []
    assert not store.rejected_path.exists() or store.rejected_path.read_bytes()
    with opened(store.path) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_process_killed_in_the_middle_of_a_flush_leaves_all_or_nothing(store):
    """The flush is killed a little later each time."""
    sent = [written(START_MS + n) for n in range(200)]
    code = """
import sys
from pathlib import Path
from luxcli.registers import catalogue as sensors  # naming registers is the last step
from luxcli.store.store import Store
store = Store(Path(sys.argv[1]))
print("ready", flush=True)
store.flush()
"""
    for delay_ms in (0, 5, 10, 15, 20, 30, 40):
        for path in store.path.parent.glob("cache.sqlite3*"):
            path.unlink()
        write_journals(store.path, sent)
        with python(code, store.path) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            time.sleep(delay_ms / 1000)
            process.kill()
        if store.path.exists():
            with opened(store.path) as db:  # takes back what was half done, as any reader does
                is_there = db.execute("SELECT count(*) FROM sqlite_master").fetchone() != (0,)
            assert not is_there or store.database.count(0, EVER) == 200
            assert not is_there or waiting(store) == []
        store.flush()
        assert list(store.database.polls(0, EVER, damaged=[])) == sent


def test_a_poll_waits_for_no_job_that_keeps_the_database(eager):
    with locks.hold(eager.lock_path, wait_s=1):
        began = time.monotonic()
        assert eager.add(START_MS, real(START_MS)) == AddResult(0)
        assert time.monotonic() - began < 3, "about a second for the database, and no warning"
        lazy = Store(eager.path)
        began = time.monotonic()
        lazy.add(START_MS + 1, real(START_MS + 1))
        lazy.add_missed(MissedPoll(START_MS + 2, "timeout", 4, 1000, "a"))
        assert time.monotonic() - began < 0.5, "nor a moment without a flush"
    assert waiting(eager) == [real(START_MS), real(START_MS + 1)]
    assert eager.add(START_MS + 3, real(START_MS + 3)) == AddResult(3)


def test_a_long_flush_gives_the_lock_away_between_its_parts(store):
    write_journals(store.path, [small(START_MS + n * 1000) for n in range(2500)])
    got = []

    def wait_for_the_lock() -> None:
        while not got or got[-1] < 2500:
            with locks.hold(store.lock_path, wait_s=9):
                got.append(store.database.count(0, EVER))
            time.sleep(0.01)

    other = threading.Thread(target=wait_for_the_lock)
    other.start()
    assert store.flush() == FlushResult(2500, 0, 0)
    other.join()
    assert len({count for count in got if 0 < count < 2500}) >= 2


def test_a_poll_moves_about_as_much_of_a_backlog_as_a_second_allows(eager):
    write_journals(eager.path, [small(START_MS + n * 1000) for n in range(1700)])
    later = small(START_MS + 2_000_000)
    assert [eager.add(later.taken_ms + n, later).flushed for n in range(4)] == [500, 500, 500, 204]
    assert waiting(eager) == []


def test_the_journals_of_many_days_are_taken_in_together(store):
    """After a rebuild, or a recording with days between its polls."""
    write_journals(store.path, [small(START_MS + n * DAY_MS) for n in range(90)])
    began = change_counter(store.path) if store.path.exists() else 0
    assert store.flush() == FlushResult(90, 0, 0)
    assert change_counter(store.path) - began == 1


def test_polls_may_come_in_while_old_ones_are_removed(store):
    add_quickly(store, [written(START_MS - 5 * DAY_MS + n * DAY_MS // 50) for n in range(250)])
    with python(WRITER, store.path, START_MS, 1, 60, 5) as process:
        assert process.stdout is not None
        process.stdout.readline()
        store.remove_before(START_MS)
        process.communicate(timeout=9)
    assert process.returncode == 0
    assert everything(store) == [written(START_MS + n) for n in range(60)]


def test_different_missed_polls_of_one_millisecond_are_both_kept(store):
    first = MissedPoll(START_MS, "timeout", 4, 1000, "a")
    second = MissedPoll(START_MS, "busy", 0, 5000, "b")
    for missed_poll in (first, second, first):
        store.add_missed(missed_poll)
    store.flush()
    assert store.database.missed(0, EVER) == [first, second._replace(ts_ms=START_MS + 1)]


def test_a_missed_poll_goes_to_the_database_where_the_journal_cannot_be_written(store):
    journal.path_at(store.path, START_MS).mkdir()
    missed_poll = MissedPoll(START_MS + 1, "timeout", 4, 1000, "a")
    store.add_missed(missed_poll)
    assert store.database.missed(0, EVER) == [missed_poll]


def test_a_controller_with_more_calculations_than_a_view_can_show_is_still_stored(store):
    poll = small(START_MS, lengths=(2500, 4, 3))
    add(store, [poll])
    store.flush()
    assert everything(store) == [poll]
    with opened(store.path) as db:
        assert db.execute("SELECT count(*) FROM reading").fetchone() == (1,)
        assert db.execute("SELECT count(*) FROM reading_long").fetchone() == (2500,)


def test_a_signal_ends_the_check_of_a_big_database_at_once(store):
    """SQLite's check is one statement, during which Python sees no signal."""
    store.merge([small(START_MS)], ())
    with contextlib.closing(sqlite3.connect(store.path)) as db, db:
        db.execute(
            "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i+1 FROM n WHERE i<1000000)"
            " INSERT INTO missed SELECT i, 'timeout', 4, 1000, hex(zeroblob(60)), 0, 0, 0 FROM n"
        )
    began = time.monotonic()
    store.database.check()
    whole_s = time.monotonic() - began

    def end(*_args):
        raise Interrupted(signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, end)
    timer = threading.Timer(whole_s / 10, os.kill, (os.getpid(), signal.SIGUSR1))
    try:
        timer.start()
        began = time.monotonic()
        with pytest.raises(Interrupted):
            store.database.check()
        assert time.monotonic() - began < whole_s / 2
    finally:
        timer.cancel()
        timer.join()
        signal.signal(signal.SIGUSR1, before)


@contextlib.contextmanager
def peak_of_memory() -> Iterator[list[int]]:
    """Give a list that takes the peak of allocated bytes; the measurement ends with the block."""
    found: list[int] = []
    tracemalloc.start()
    try:
        yield found
        found.append(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()


@pytest.mark.sweep  # what else runs in the process counts as well
@pytest.mark.timeout(300)
def test_a_backlog_of_days_is_flushed_in_bounded_memory(tmp_path):
    """The database was locked or full for days; on a small computer the flush must still fit."""
    peaks = []
    for count in (500, 4000):
        store = Store(tmp_path / f"{count}.sqlite3")
        sent = [
            real(START_MS)._replace(taken_ms=START_MS + number * 30_000) for number in range(count)
        ]
        write_journals(store.path, [*reals(min(count, 500)), *sent[500:]])
        with peak_of_memory() as peak:
            assert store.flush().polls == count
        peaks += peak
        assert waiting(store) == []
        assert store.database.times(0, EVER) == [poll.taken_ms for poll in sent]
    assert peaks[1] - peaks[0] < 15_000_000  # all of them at once would be twice that


@pytest.mark.sweep  # what else runs in the process counts as well
@pytest.mark.timeout(300)
def test_what_waits_is_counted_in_little_memory(tmp_path):
    store = Store(tmp_path / "c.sqlite3")
    for poll in reals(3):
        store.add(poll.taken_ms, poll)
    store.add_missed(MissedPoll(START_MS + 200_000, "timeout", 1, 5, "no answer"))
    path = journal.path_at(store.path, START_MS)
    with path.open("ab") as file:
        file.write(b'{"v":1,"i":5,"t":18000000\n')
    found = store.waiting()
    [content] = journal.parts(path)
    assert list(found.polls_ms) == [poll.taken_ms for poll in content.polls]
    assert [poll[1:] for poll in found.polls] == [
        (poll.late_ms, poll.interval_s, poll.flags) for poll in content.polls
    ]
    assert {poll.interval_s for poll in found.polls} == {30}
    assert (found.missed, found.rejected) == (content.missed, len(content.rejected))
    assert found.size == content.offset == path.stat().st_size
    path.unlink()
    write_journals(store.path, [real(START_MS)] * 6000)
    with peak_of_memory() as peak:
        assert len(store.waiting().polls_ms) == 6000
    assert peak[0] < 25_000_000  # decoded they are twice that


def test_a_database_that_turns_out_damaged_in_the_middle_of_a_long_flush_loses_nothing(tmp_path):
    store = Store(tmp_path / "c.sqlite3", flush_polls=10_000)
    polls = [small(START_MS + number * 1000) for number in range(1200)]
    write_journals(store.path, polls)
    store.flush()
    later = [small(START_MS + number * 1000) for number in range(1200, 2400)]
    with store.path.open("r+b") as file:
        file.write(bytes(100))
    write_journals(store.path, later)
    assert store.flush().polls == 2400
    assert list(store.database.polls(0, EVER, damaged=[])) == [*polls, *later]
    assert len(store.quarantined_paths()) == 1
