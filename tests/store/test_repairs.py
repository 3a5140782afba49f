"""Repairs of wrong times: the polls themselves stay as they were sent."""

import random
from collections.abc import Iterable

import pytest

from luxcli.model import CLOCK_DOUBTED, MissedPoll, Repair, Snapshot
from luxcli.store import repairs
from luxcli.store.store import Store
from luxcli.store.writer import ingest
from tests.support.builders import START_MS, small

EVER = 1 << 60


def history(seed: int) -> list[Snapshot]:
    """Return polls with changing settings, among them some of 1970, 2036 and between others."""
    rng = random.Random(seed)
    polls = []
    for number in range(60):
        ts_ms = START_MS + number * 30_000
        wrong = rng.random() < 0.4
        if wrong:
            ts_ms += rng.choice([-START_MS + 60_000, 10 * 365 * 86_400_000, -615_000])
        changes = [{rng.randrange(4): rng.randrange(3)} for _ in range(3)]
        poll = small(ts_ms, {number % 7: rng.randrange(5), 85: rng.randrange(2)}, *changes[:2])
        polls.append(poll._replace(flags=CLOCK_DOUBTED if wrong else 0))
    return polls


def apply(store: Store, found: Iterable[Repair]) -> None:
    with store.writing() as db:
        ingest(db, "1", (), (), repairs=list(found))


def everything(store: Store) -> list[Snapshot]:
    return list(store.query(0, EVER))


@pytest.mark.parametrize("seed", range(12))
def test_a_repaired_poll_has_its_right_time_and_every_value_of_every_poll_stays(seed, tmp_path):
    store = Store(tmp_path / "cache.sqlite3")
    polls = history(seed)
    store.merge(polls, ())
    stored = everything(store)
    assert len(stored) == len(polls)
    rng = random.Random(seed)
    expected, found = [], []
    for poll in stored:
        if not poll.flags & CLOCK_DOUBTED or rng.random() < 0.2:
            expected.append(poll)
            continue
        new_ms = None if rng.random() < 0.3 else START_MS + rng.randrange(2_000_000_000)
        found.append(Repair(repairs.poll_sha256(poll), poll.taken_ms, new_ms, 1))
        if new_ms is not None:
            expected.append(repairs.repaired(poll, new_ms))
    apply(store, found)
    assert everything(store) == sorted(expected)
    with store.database.connect() as db:
        assert sorted(repairs.stored(db)) == sorted(found)


def test_the_scheduled_time_of_a_repaired_poll_is_the_one_next_to_its_right_time():
    poll = small(60_123)._replace(flags=CLOCK_DOUBTED)
    assert poll.scheduled_ms == 60_000
    right = repairs.repaired(poll, START_MS + 4_500)
    assert (right.taken_ms, right.scheduled_ms) == (START_MS + 4_500, 1_800_000_000_000)
    assert right.flags == 0


def test_only_the_poll_that_was_repaired_is_known_by_its_repair():
    poll = small(60_123)._replace(flags=CLOCK_DOUBTED)
    moved = Repair(repairs.poll_sha256(poll.at(60_125)), 60_125, START_MS, 1)
    other = poll._replace(calculations=(1, *poll.calculations[1:]))
    right = small(60_123)
    found = repairs.Repairs([moved]).apply([poll, other, right])
    assert found == [repairs.repaired(poll, START_MS), other, right]


@pytest.mark.parametrize("seed", range(12))
def test_what_is_too_old_is_removed_but_not_what_may_be_put_right(seed, tmp_path):
    store = Store(tmp_path / "cache.sqlite3")
    store.merge(history(seed), ())
    stored = everything(store)
    # Some within the time that is removed.
    inside = [
        poll._replace(taken_ms=poll.taken_ms + 7, flags=CLOCK_DOUBTED) for poll in stored[::9]
    ]
    store.merge(inside, ())
    stored = everything(store)
    for cutoff in (START_MS + 400_000, START_MS + 900_000, START_MS + 30 * 86_400_000):
        store.remove_before(cutoff)
        stored = [poll for poll in stored if poll.taken_ms >= cutoff or poll.flags & CLOCK_DOUBTED]
        assert everything(store) == stored
    store.merge(history(seed), ())
    assert set(everything(store)) == {*stored, *history(seed)}


def test_a_poll_of_a_doubted_time_is_in_no_csv_but_in_every_archive(tmp_path):
    store = Store(tmp_path / "cache.sqlite3")
    polls = [small(START_MS + number * 30_000) for number in range(20)]
    polls[5] = polls[5]._replace(flags=CLOCK_DOUBTED)
    polls[11] = polls[11]._replace(taken_ms=60_000, flags=CLOCK_DOUBTED)
    store.merge(polls, ())
    rest = [poll.taken_ms for poll in polls if not poll.flags]
    chunks = store.database.series([(0, 1)], 0, EVER, damaged=[])
    assert [row[0] for chunk in chunks for row in chunk.rows] == rest
    assert store.database.times(0, EVER) == rest
    assert store.database.span() == (START_MS, polls[-1].taken_ms)
    assert store.database.doubted() == [60_000, polls[5].taken_ms]
    assert store.database.count_entries(0, EVER) == len(everything(store)) == 20


def test_a_poll_that_gives_way_stays_for_its_scheduled_time(tmp_path):
    store = Store(tmp_path / "cache.sqlite3")
    polls = [small(START_MS, {0: number}) for number in range(3)]
    missed = [MissedPoll(START_MS + 200, "busy", 0, n, "", 200, 30, 0) for n in range(2)]
    for _ in range(2):
        store.merge(polls, missed)
    assert [one.taken_ms - START_MS for one in everything(store)] == [0, 1, 2]
    assert {one.scheduled_ms for one in everything(store)} == {polls[0].scheduled_ms}
    assert {one.scheduled_ms for one in store.database.missed(0, EVER)} == {START_MS}
