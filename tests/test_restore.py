"""A destroyed or damaged cache: nothing wrong, nothing twice, only what no copy has is missing."""

import random
import sqlite3
from contextlib import closing
from datetime import date

import pytest

from luxcli import archiving, restoring
from luxcli.errors import UnavailableError, UsageError
from luxcli.storage import Store
from tests.scenario import BERLIN, configured, ms, record


@pytest.fixture
def recorded(tmp_path):
    """Three archived days, half a day that is only in the cache, three polls in the buffer."""
    settings = configured(tmp_path)
    record(settings, ms("2026-11-16T00:00"), ms("2026-11-19T12:00"), step_s=1200)
    Store(settings.cache_path).flush()
    archiving.archive_due(settings, now_ms=ms("2026-11-19T12:00"), zone=BERLIN)
    record(settings, ms("2026-11-19T12:00"), ms("2026-11-19T13:00"), step_s=1200)
    return settings


def everything(settings, damaged=None):
    return list(Store(settings.cache_path).query(0, 1 << 62, damaged=damaged))


def expected(settings):
    copy = settings.cache_path.parent / "copy"
    copy.mkdir()
    for suffix in ("", ".buffer.jsonl"):
        source = settings.cache_path.with_name(settings.cache_path.name + suffix)
        (copy / source.name).write_bytes(source.read_bytes())
    return list(Store(copy / "cache.sqlite3").query(0, 1 << 62))


def restore(settings, **options):
    return restoring.restore(settings, zone=BERLIN, **options)


def test_a_deleted_cache_comes_back_from_archives_and_buffer(recorded):
    polls = expected(recorded)
    recorded.cache_path.unlink()
    restore(recorded)
    back = everything(recorded)
    lost = {p.taken_ms for p in polls} - {p.taken_ms for p in back}
    assert back == [p for p in polls if p.taken_ms not in lost]
    # Only the half day that no archive held yet.
    assert lost == set(range(ms("2026-11-19T00:00"), ms("2026-11-19T12:00"), 1_200_000))


def test_a_cache_whose_first_page_is_zeroed_is_set_aside_by_the_next_flush(recorded):
    polls = expected(recorded)
    with recorded.cache_path.open("r+b") as file:
        file.write(bytes(4096))
    Store(recorded.cache_path).flush()
    assert [p.taken_ms for p in everything(recorded)] == [p.taken_ms for p in polls[-3:]]
    assert len(Store(recorded.cache_path).set_aside_paths()) == 1
    restore(recorded)
    back = everything(recorded)
    assert back == [p for p in polls if p.taken_ms in {q.taken_ms for q in back}]
    assert len(polls) - len(back) == 36


def test_restoring_twice_changes_nothing(recorded):
    recorded.cache_path.unlink()
    restore(recorded)
    first = everything(recorded)
    sources = restore(recorded)
    assert sum(source.polls for source in sources) == 0
    assert everything(recorded) == first


def test_restoring_into_an_intact_cache_changes_nothing(recorded):
    before = everything(recorded)
    assert sum(source.polls for source in restore(recorded)) == 0
    assert everything(recorded) == before


def test_a_period_can_be_restored_alone(recorded):
    recorded.cache_path.unlink()
    Store(recorded.cache_path).buffer_path.unlink()
    restore(recorded, since=date(2026, 11, 17), until=date(2026, 11, 17))
    times = [p.taken_ms for p in everything(recorded)]
    assert (times[0], len(times)) == (ms("2026-11-17T00:00"), 72)


def test_older_days_restored_below_newer_ones_read_as_they_were(recorded):
    polls = expected(recorded)
    store = Store(recorded.cache_path)
    store.flush()
    store.remove_before(ms("2026-11-18T00:00"))
    restore(recorded)
    assert everything(recorded) == polls


def test_an_unreadable_archive_is_reported_and_the_others_are_used(recorded):
    recorded.cache_path.unlink()
    broken = archiving.path_of(recorded, date(2026, 11, 17))
    broken.write_bytes(b"rubbish")
    sources = {source.path: source for source in restore(recorded)}
    assert "not a readable archive" in sources[broken].problem
    assert len(everything(recorded)) == 72 * 2 + 3


def test_an_interval_that_ends_before_it_begins_is_refused(recorded):
    with pytest.raises(UsageError, match="--until 2026-11-01 is before --since 2026-11-02"):
        restore(recorded, since=date(2026, 11, 2), until=date(2026, 11, 1))


@pytest.mark.parametrize("seed", range(12))
def test_bytes_flipped_at_random_lose_little_and_never_give_a_wrong_value(recorded, seed):
    polls = {p.taken_ms: p for p in expected(recorded)}
    rng = random.Random(seed)
    data = bytearray(recorded.cache_path.read_bytes())
    for _ in range(rng.choice([1, 10, 100])):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    recorded.cache_path.write_bytes(data)
    store = Store(recorded.cache_path)
    store.flush()
    restore(recorded)
    damaged: list[int] = []
    back = everything(recorded, damaged)
    assert all(polls[p.taken_ms] == p for p in back)
    assert len({p.taken_ms for p in back}) == len(back)
    archived = [t for t in polls if t < ms("2026-11-19T00:00")]
    assert {p.taken_ms for p in back}.issuperset(archived)
    assert {p.taken_ms for p in back}.issuperset(list(polls)[-3:])  # were in the buffer


def test_days_pruned_and_restored_in_any_order_read_as_they_were(recorded):
    polls = expected(recorded)
    store = Store(recorded.cache_path)
    for day in (16, 18, 17):
        store.remove_before(ms(f"2026-11-{day + 1}T00:00"))
        restore(recorded, since=date(2026, 11, day), until=date(2026, 11, day))
        for poll in everything(recorded):
            assert poll in polls
    restore(recorded)
    assert everything(recorded) == polls


def set_aside(settings):
    store = Store(settings.cache_path)
    store.flush()
    return store.set_aside()


def test_restoring_a_period_leaves_the_rest_of_a_set_aside_cache_for_later(recorded):
    polls = expected(recorded)
    for path in (recorded.cache_path.parent / "archive").iterdir():
        path.unlink()
    set_aside(recorded)
    restore(recorded, since=date(2026, 11, 17), until=date(2026, 11, 17))
    restoring.salvage_pending(recorded)
    assert everything(recorded) == polls


def test_a_set_aside_cache_that_is_locked_for_a_moment_stays_pending(recorded):
    polls = expected(recorded)
    aside = set_aside(recorded)
    with closing(sqlite3.connect(aside, isolation_level=None)) as db:
        db.execute("BEGIN EXCLUSIVE")
        with pytest.raises(UnavailableError):
            restoring.salvage_pending(recorded)
    restoring.salvage_pending(recorded)
    assert everything(recorded) == polls
