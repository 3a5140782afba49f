"""A destroyed or damaged database: nothing wrong, nothing twice, nothing lost that has a copy."""

import itertools
import json
import os
import random
import re
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import date
from pathlib import Path

import pytest

from luxcli.errors import DamagedError, StorageError, UnavailableError, UsageError
from luxcli.maintenance import archive, document, prune, rebuild
from luxcli.rollup import rollup
from luxcli.store import journal, owner
from luxcli.store.store import Store
from luxcli.system.clock import Clock
from tests.support.builders import real
from tests.support.scenario import BERLIN, configured, ms, record
from tests.support.tiers import sampled


def half_a_week(directory: Path) -> None:
    settings = configured(directory)
    record(settings, ms("2026-11-16T00:00"), ms("2026-11-19T12:00"), step_s=1200)
    Store(settings.cache_path).flush()
    archive.archive_due(settings, now_ms=ms("2026-11-19T12:00"), zone=BERLIN)
    for path in journal.paths(settings.cache_path):
        path.unlink()
    record(settings, ms("2026-11-19T12:00"), ms("2026-11-19T13:00"), step_s=1200)


@pytest.fixture
def recorded(tmp_path, built):
    """Three archived days, half a day that is only in the database, three polls that wait."""
    built(half_a_week, tmp_path)
    return configured(tmp_path)


def everything(settings, damaged=None):
    return list(Store(settings.cache_path).query(0, 1 << 62, damaged=damaged))


def expected(settings):
    copy = settings.cache_path.parent / "copy"
    copy.mkdir()
    for source in (settings.cache_path, *journal.paths(settings.cache_path)):
        (copy / source.name).write_bytes(source.read_bytes())
    return list(Store(copy / "cache.sqlite3").query(0, 1 << 62))


NOW_MS = ms("2026-11-19T13:00")


def run_restore(settings, **options):
    return rebuild.restore(settings, now_ms=NOW_MS, zone=BERLIN, **options).sources


def run_complete(settings, **options):
    return rebuild.complete(settings, now_ms=NOW_MS, zone=BERLIN, **options).sources


def test_a_deleted_database_is_rebuilt_from_archives_and_journals(recorded):
    polls = expected(recorded)
    recorded.cache_path.unlink()
    run_restore(recorded)
    back = everything(recorded)
    lost = {p.taken_ms for p in polls} - {p.taken_ms for p in back}
    assert back == [p for p in polls if p.taken_ms not in lost]
    # Only the half day that no archive held yet.
    assert lost == set(range(ms("2026-11-19T00:00"), ms("2026-11-19T12:00"), 1_200_000))


def test_a_database_whose_first_page_is_zeroed_is_quarantined_by_the_next_flush(recorded):
    polls = expected(recorded)
    with recorded.cache_path.open("r+b") as file:
        file.write(bytes(4096))
    Store(recorded.cache_path).flush()
    assert [p.taken_ms for p in everything(recorded)] == [p.taken_ms for p in polls[-3:]]
    assert len(Store(recorded.cache_path).quarantined_paths()) == 1
    run_restore(recorded)
    back = everything(recorded)
    assert back == [p for p in polls if p.taken_ms in {q.taken_ms for q in back}]
    assert len(polls) - len(back) == 36


@pytest.mark.parametrize("content", [b"\xff" * 4096, b"<html>404</html>"])
def test_a_database_whose_first_page_is_overwritten_is_known_by_the_journal_beside_it(
    recorded, content
):
    polls = expected(recorded)
    with recorded.cache_path.open("r+b") as file:
        file.write(content)
    Store(recorded.cache_path).flush()
    assert len(Store(recorded.cache_path).quarantined_paths()) == 1
    run_complete(recorded)
    back = everything(recorded)
    assert back == [p for p in polls if p.taken_ms in {q.taken_ms for q in back}]
    assert len(polls) - len(back) == 36  # of which the fixture has neither archive nor journal


def test_restoring_twice_changes_nothing(recorded):
    recorded.cache_path.unlink()
    run_restore(recorded)
    first = everything(recorded)
    sources = run_restore(recorded)
    assert sum(source.polls for source in sources) == 0
    assert everything(recorded) == first


def test_restoring_into_an_intact_database_changes_nothing(recorded):
    before = everything(recorded)
    assert sum(source.polls for source in run_restore(recorded)) == 0
    assert everything(recorded) == before


def test_a_period_can_be_restored_alone(recorded):
    recorded.cache_path.unlink()
    for path in journal.paths(recorded.cache_path):
        path.unlink()
    run_restore(recorded, since=date(2026, 11, 17), until=date(2026, 11, 17))
    times = [p.taken_ms for p in everything(recorded)]
    assert (times[0], len(times)) == (ms("2026-11-17T00:00"), 72)


def test_older_days_restored_below_newer_ones_read_as_they_were(recorded):
    polls = expected(recorded)
    store = Store(recorded.cache_path)
    store.flush()
    store.remove_before(ms("2026-11-18T00:00"))
    run_restore(recorded)
    assert everything(recorded) == polls


def test_an_unreadable_archive_is_reported_and_the_others_are_used(recorded):
    recorded.cache_path.unlink()
    broken = archive.path_of(recorded, date(2026, 11, 17))
    broken.write_bytes(b"rubbish")
    sources = {source.path: source for source in run_restore(recorded)}
    assert "not a readable archive" in sources[broken].problem
    assert len(everything(recorded)) == 72 * 2 + 3


def test_an_interval_that_ends_before_it_begins_is_refused(recorded):
    with pytest.raises(UsageError, match="--until 2026-11-01 is before --since 2026-11-02"):
        run_restore(recorded, since=date(2026, 11, 2), until=date(2026, 11, 1))


@pytest.mark.parametrize("seed", sampled({str(seed): seed for seed in range(4)}, ["0"]))
@pytest.mark.no_cover
def test_bytes_flipped_at_random_lose_little_and_never_give_a_wrong_value(recorded, seed):
    polls = {p.taken_ms: p for p in expected(recorded)}
    rng = random.Random(seed)
    data = bytearray(recorded.cache_path.read_bytes())
    for _ in range(rng.choice([1, 10, 100])):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    recorded.cache_path.write_bytes(data)
    store = Store(recorded.cache_path)
    store.flush()
    run_restore(recorded)
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
        run_restore(recorded, since=date(2026, 11, day), until=date(2026, 11, day))
        for poll in everything(recorded):
            assert poll in polls
    run_restore(recorded)
    assert everything(recorded) == polls


def quarantine(settings):
    store = Store(settings.cache_path)
    store.flush()
    return store.quarantine()


def test_restoring_a_period_leaves_the_rest_of_a_quarantined_database_for_later(recorded):
    polls = expected(recorded)
    for path in (recorded.cache_path.parent / "archive").iterdir():
        path.unlink()
    quarantine(recorded)
    run_restore(recorded, since=date(2026, 11, 17), until=date(2026, 11, 17))
    run_complete(recorded)
    assert everything(recorded) == polls


@pytest.mark.slow
def test_a_quarantined_database_that_is_locked_for_a_moment_stays_pending(recorded):
    polls = expected(recorded)
    damaged_path = quarantine(recorded)
    with closing(sqlite3.connect(damaged_path, isolation_level=None)) as db:
        db.execute("BEGIN EXCLUSIVE")
        with pytest.raises(UnavailableError):
            run_complete(recorded)
    run_complete(recorded)
    assert everything(recorded) == polls


def zero_page(path, page, count=1):
    with path.open("r+b") as file:
        file.seek(page * 4096)
        file.write(bytes(4096 * count))


def poll_pages(path):
    """Return the pages that hold polls, in their order, as the root of the table lists them."""
    with closing(sqlite3.connect(path)) as db:
        [root] = db.execute("SELECT rootpage FROM sqlite_master WHERE name='poll'").fetchone()
    data = path.read_bytes()[(root - 1) * 4096 : root * 4096]
    kind, count = data[0], int.from_bytes(data[3:5], "big")
    assert kind == 5, "an interior page of a table"
    cells = [int.from_bytes(data[12 + 2 * n : 14 + 2 * n], "big") for n in range(count)]
    children = [int.from_bytes(data[cell : cell + 4], "big") for cell in cells]
    return [*children, int.from_bytes(data[8:12], "big")]


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 12])
@pytest.mark.no_cover
def test_of_a_quarantined_database_only_days_that_cannot_be_read_are_lost(tmp_path, count):
    settings = configured(tmp_path, archive=False)
    times = record(settings, ms("2026-11-15T01:00"), ms("2026-11-19T01:00"), step_s=120)
    store = Store(settings.cache_path)
    store.flush()
    for path in journal.paths(store.path):
        path.unlink()  # they went a week later
    pages = poll_pages(store.path)
    for page in pages[len(pages) // 3 :][:count]:
        zero_page(store.path, page - 1)
    store.quarantine()
    [source] = run_complete(settings)
    back = [poll.taken_ms for poll in everything(settings)]
    assert source.polls == len(back) >= len(times) * 3 // 4 - 40 * count
    assert (back[0], back[-1]) == (times[0], times[-1])
    assert source.problem.endswith("not all can be read of 2026-11-16")


def test_a_rebuild_is_made_once(recorded):
    polls = expected(recorded)
    quarantine(recorded)
    assert sum(source.polls for source in run_complete(recorded)) == len(polls) - 3
    assert run_complete(recorded) == ()
    assert everything(recorded) == polls


def test_a_rebuild_whose_time_is_over_goes_on_where_it_ended(recorded, monkeypatch):
    polls = expected(recorded)
    quarantine(recorded)
    ticks = itertools.count(step=40)  # the time of 60 looks at the clock
    clock = Clock(monotonic=lambda: next(ticks))
    found = [run_complete(recorded, clock=clock) for _ in range(4)]
    assert [len(sources) for sources in found] == [4, 1, 1, 1]
    first = found[0][-1]
    assert "read to 2026-11-16T17:40:00Z" in first.problem
    assert "the next 'luxcli rollup daily' goes on there" in first.problem
    monkeypatch.setattr(rebuild, "_LIMIT_S", -1.0)
    [none] = run_complete(recorded)
    assert "not read yet; the next 'luxcli rollup daily' goes on there" in none.problem
    monkeypatch.undo()
    assert sum(source.polls for source in run_complete(recorded)) > 0
    assert everything(recorded) == polls


def test_archives_beyond_the_retention_are_left_to_restore(recorded):
    settings = recorded._replace(cache_retention_days=1)
    recorded.cache_path.unlink()
    run_complete(settings)
    assert everything(recorded)[0].taken_ms == ms("2026-11-18T00:00")
    run_restore(settings)
    assert everything(recorded)[0].taken_ms == ms("2026-11-16T00:00")


def test_archives_that_were_read_are_not_written_again(recorded):
    recorded.cache_path.unlink()
    run_complete(recorded)
    assert archive.archive_due(recorded, now_ms=NOW_MS, zone=BERLIN) == []


@pytest.mark.slow
def test_a_database_that_lost_the_root_of_its_table_is_given_up_in_seconds(tmp_path):
    settings = configured(tmp_path)
    record(settings, ms("2026-11-16T00:00"), ms("2026-11-19T12:00"), step_s=1200)
    store = Store(settings.cache_path)
    store.flush()
    with closing(sqlite3.connect(store.path)) as db:
        [root] = db.execute("SELECT rootpage FROM sqlite_master WHERE name='poll'").fetchone()
    zero_page(store.path, root - 1)
    store.quarantine()
    began = time.monotonic()
    [source] = run_complete(settings)
    assert time.monotonic() - began < 5
    assert source.polls == 0
    assert "not all can be read of 2025-11-18 to 2026-11-20" in source.problem


def test_a_quarantined_database_of_a_newer_luxcli_is_reported_and_left(recorded):
    damaged_path = quarantine(recorded)
    with closing(sqlite3.connect(damaged_path)) as db:
        db.execute("PRAGMA user_version=99")
    source = run_complete(recorded)[-1]
    assert "written by a newer luxcli" in source.problem
    assert damaged_path.exists()
    assert run_restore(recorded)[-1].problem == source.problem


def test_damaged_databases_are_pruned_once_the_rebuild_is_done(recorded):
    store = Store(recorded.cache_path)
    store.flush()
    old = "cache.sqlite3.damaged-20260101T000000Z"
    for name in (old, f"{old}-2", "cache.sqlite3.damaged-20261118T000000Z"):
        store.path.with_name(name).write_bytes(b"x")
    assert prune.prune(recorded, now_ms=NOW_MS, zone=BERLIN).old_caches == ()
    run_complete(recorded)
    result = prune.prune(recorded, now_ms=NOW_MS, zone=BERLIN)
    assert [path.name for path in result.old_caches] == [old, f"{old}-2"]
    assert len(store.quarantined_paths()) == 1


def test_a_database_with_glob_characters_in_its_name_is_recovered_like_any_other(tmp_path):
    settings = configured(tmp_path / "[a]", cache_path=str(tmp_path / "[a]" / "cache[1]*.sqlite3"))
    times = record(settings, ms("2026-11-19T00:00"), ms("2026-11-19T04:00"))
    store = Store(settings.cache_path)
    store.flush()
    for path in journal.paths(settings.cache_path):
        path.unlink()
    store.quarantine()
    [source] = run_complete(settings)
    assert source.polls == len(times)


def test_an_archive_directory_that_cannot_be_read_is_an_error(recorded):
    archives = recorded.cache_path.parent / "archive"
    archives.rename(archives.with_name("elsewhere"))
    archives.symlink_to(archives.with_name("unmounted"))
    with pytest.raises(StorageError, match=r"archive: leads to .*unmounted.*is it mounted\?"):
        run_restore(recorded)
    archives.unlink()
    archives.write_text("")
    with pytest.raises(StorageError, match=r"archive: is not a directory"):
        run_restore(recorded)


def with_serial(poll, number):
    parameters = list(poll.parameters)
    parameters[874:876] = (730214, number)
    return poll._replace(parameters=tuple(parameters))


def test_an_archive_of_another_heat_pump_is_left_out_and_reported(tmp_path):
    settings = configured(tmp_path)
    store = Store.open(settings.cache_path)
    ours = with_serial(real(ms("2026-11-19T00:00")), 1)
    owner.check_owner(store.path, "pump", ours)
    store.add(ours.taken_ms, ours)
    foreign = [with_serial(real(ms("2026-11-18T00:00") + n), 2) for n in range(3)]
    path = archive.path_of(settings, date(2026, 11, 18))
    document.write(path, document.Day(tuple(foreign), ()))
    sources = run_restore(settings)
    assert [source.problem for source in sources if source.problem] == [
        f"{path}: 3 polls of another heat pump left out; if they are of this one,"
        " 'luxcli restore --any-heat-pump' takes them, else move that file away"
    ]
    assert everything(settings) == [ours]
    run_restore(settings, any_pump=True)
    assert everything(settings) == [*foreign, ours]


@pytest.mark.parametrize("lost", ["database", "database and note"])
def test_polls_of_an_earlier_controller_board_are_restored_from_the_archives(tmp_path, lost):
    settings = configured(tmp_path)
    store = Store.open(settings.cache_path)
    old = [with_serial(real(ms("2026-11-18T00:00") + n), 1) for n in range(3)]
    for poll in old:
        owner.check_owner(store.path, "pump", poll)
        store.add(poll.taken_ms, poll)
    store.flush()
    now = {"now_ms": ms("2026-11-20T12:00"), "zone": BERLIN}
    archive.archive_due(settings, **now)
    new = with_serial(real(ms("2026-11-19T00:00")), 2)
    with pytest.raises(StorageError, match=r"controller board remove cache\.sqlite3\.device\.json"):
        owner.check_owner(store.path, "pump", new)
    owner.note_path(store.path).unlink()
    for _ in range(2):
        assert owner.check_owner(store.path, "pump", new) is None
    store.add(new.taken_ms, new)
    # The archives are those of this heat pump, and their note learns the new number.
    assert len(archive.archive_due(settings, **now)) == 1
    for path in (*journal.paths(store.path), store.path):
        path.unlink()
    if lost == "database and note":
        owner.note_path(store.path).unlink()
        owner.check_owner(store.path, "pump", new)
    assert not [source.problem for source in run_restore(settings) if source.problem]
    assert everything(settings) == [*old, new]
    # Only what is there already is of the old board.
    with pytest.raises(StorageError, match="another heat pump"):
        owner.check_owner(store.path, "pump", old[0])


def test_a_new_database_beside_the_archives_of_another_heat_pump_does_not_take_them_over(tmp_path):
    settings = configured(tmp_path)
    store = Store.open(settings.cache_path)
    for name, number in (("first.sqlite3", 1), ("cache.sqlite3", 2)):
        path = store.path.with_name(name)
        owner.check_owner(path, name, with_serial(real(ms("2026-11-18T00:00")), number))
        if number == 1:
            owner.reserve_directory(store.archive_directory, path)
    assert owner.known_serials(store.path) == {"730214-2"}
    with pytest.raises(StorageError, match="holds files of another heat pump"):
        owner.reserve_directory(store.archive_directory, store.path)


@pytest.mark.slow
def test_restores_and_roll_ups_at_once_wait_for_each_other(recorded):
    polls = expected(recorded)
    zero_page(recorded.cache_path, recorded.cache_path.stat().st_size // 8192)
    due = {"now_ms": ms("2026-11-19T12:00"), "zone": BERLIN}

    def report():
        try:
            rollup.rollup_due(recorded, "daily", **due)
        except DamagedError as exc:
            rebuild.recreate(recorded, exc, **due)
            rollup.rollup_due(recorded, "daily", **due)

    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(job) for job in (lambda: run_restore(recorded), report) * 2]
        for job in jobs:
            job.result()
    back = {poll.taken_ms for poll in everything(recorded)}
    lost = {poll.taken_ms for poll in polls} - back
    assert len(lost) < 45
    assert all(ts_ms >= ms("2026-11-19T00:00") for ts_ms in lost)


def blocks(poll):
    return (poll.calculations, poll.parameters, poll.visibilities)


def environment(settings):
    return {"LUXCLI_HOST": "127.0.0.1", "LUXCLI_CACHE_PATH": str(settings.cache_path)}


def spoil(settings, *moments):
    """Make polls differ from their checksum, as a flipped bit does."""
    with closing(sqlite3.connect(settings.cache_path)) as db, db:
        db.executemany("UPDATE poll SET took_ms=took_ms+1 WHERE ts_ms=?", [(m,) for m in moments])


@pytest.mark.slow
def test_a_damaged_poll_that_an_archive_holds_is_put_right_by_the_roll_up_that_finds_it(
    recorded, invoke
):
    polls = expected(recorded)
    Store(recorded.cache_path).flush()
    spoil(recorded, ms("2026-11-17T12:00"), ms("2026-11-17T13:00"))
    words = ("rollup", "daily", "--date", "2026-11-18", "--json")
    ran = invoke(*words, env=environment(recorded))
    assert ran.status == 3
    report = json.loads(ran.stdout)
    # Whichever step meets them first says so.
    assert re.search(r"differs? from (its|their) checksum; .*quarantined as", report["findings"][0])
    assert [file["rows"] for file in report["files"]] == [72]
    assert everything(recorded) == polls
    assert invoke(*words, env=environment(recorded)).status == 0


def test_prune_writes_the_archives_that_no_roll_up_has_written(recorded):
    path = archive.path_of(recorded, date(2026, 11, 17))
    content = path.read_bytes()
    path.unlink()
    result = prune.prune(recorded, now_ms=NOW_MS, zone=BERLIN)
    assert (result.archives, path.read_bytes()) == ((path,), content)
    assert prune.prune(recorded, now_ms=NOW_MS, zone=BERLIN).archives == ()


def test_rejected_lines_are_pruned_as_late_as_csvs(recorded):
    rejected = Store(recorded.cache_path).rejected_path
    rejected.write_bytes(b"x\n")
    for days, is_there in ((29, True), (31, False)):
        os.utime(rejected, (0, NOW_MS / 1000 - days * 86_400))
        prune.prune(recorded, now_ms=NOW_MS, zone=BERLIN)
        assert rejected.exists() == is_there
