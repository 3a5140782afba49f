"""The nightly check: rot in one copy is found while the other one can repair it."""

import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import date, timedelta
from threading import Event

import pytest

from luxcli.errors import DamagedError, IncompatibleError
from luxcli.maintenance import archive, check, document, prune, rebuild
from luxcli.maintenance.document import Day
from luxcli.model import MissedPoll
from luxcli.store import ledger, writer
from luxcli.store.store import Store
from luxcli.system import locks
from tests.support.scenario import BERLIN, configured, ms, record

# Whichever test is the first writes thirty archives, and waits for the disk after each.
pytestmark = [pytest.mark.timeout(30), pytest.mark.slow]  # each builds thirty days of archives
NOW = "2026-11-20T00:17"


def checked(settings, now=NOW):
    return check.check_due(settings, now_ms=ms(now), zone=BERLIN)


def night(settings, now):
    """Do what the first roll-up after midnight does to archives."""
    archive.archive_due(settings, now_ms=ms(now), zone=BERLIN)
    return checked(settings, now)


def thirty_days(directory):
    settings = configured(directory)
    record(settings, ms("2026-10-21T00:00"), ms(NOW), step_s=6 * 3600)
    rebuild.complete(settings, now_ms=ms(NOW), zone=BERLIN)
    archive.archive_due(settings, now_ms=ms(NOW), zone=BERLIN)


@pytest.fixture
def settings(tmp_path, built):
    """Thirty archived days of four polls each."""
    built(thirty_days, tmp_path)
    return configured(tmp_path)


def path_of(settings, day):
    return archive.path_of(settings, date.fromisoformat(day))


def read_now(settings, now_ms):
    """Return the names of archives whose last check was at that time."""
    store = Store(settings.cache_path)
    return [record.path[-18:-8] for record in ledger.archives(store) if record.checked_ms == now_ms]


def rot(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    return bytes(content)


def test_a_night_reads_a_twenty_fifth_of_the_archives_and_only_once(settings):
    assert checked(settings, "2026-11-21T00:17") == (2, ())
    assert checked(settings, "2026-11-21T01:17") == (0, ())
    assert checked(settings, "2026-11-21T23:17") == (0, ())
    assert read_now(settings, ms("2026-11-21T00:17")) == ["2026-10-21", "2026-10-22"]
    assert checked(settings, "2026-11-22T00:17") == (2, ())
    assert read_now(settings, ms("2026-11-22T00:17")) == ["2026-10-23", "2026-10-24"]


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_every_archive_is_read_within_thirty_days_even_if_five_nights_are_left_out(settings):
    for number in range(30):
        day = date(2026, 11, 21) + timedelta(days=number)
        record(settings, ms(f"{day - timedelta(days=1)}T12:00"), ms(f"{day}T00:00"), step_s=43200)
        if number % 6 != 3:
            assert night(settings, f"{day}T00:17").findings == ()
    oldest = min(record.checked_ms for record in ledger.archives(Store(settings.cache_path)))
    assert oldest >= ms("2026-11-21T00:00")


def test_a_rotten_archive_is_quarantined_and_written_again_from_the_database(settings):
    path = path_of(settings, "2026-10-21")
    good, bad = path.read_bytes(), rot(path)
    [finding] = checked(settings).findings
    assert finding.startswith(f"{path}: not a readable archive: ")
    assert finding.endswith(
        "; quarantined as 2026-10-21.json.xz.damaged and written again from the database"
    )
    assert path.read_bytes() == good
    assert path.with_name(f"{path.name}.damaged").read_bytes() == bad
    assert checked(settings, "2026-11-21T00:17").findings == ()


def test_a_rotten_archive_of_a_day_that_was_pruned_is_quarantined_and_said_once(tmp_path, built):
    built(thirty_days, tmp_path)
    settings = configured(tmp_path, cache_retention_days=10, disk_usage_limit_percent=100)
    assert (
        prune.prune(settings, now_ms=ms(NOW), zone=BERLIN).polls == 20 * 4 + 1
    )  # a day of 25 hours
    path = path_of(settings, "2026-10-21")
    rot(path)
    [finding] = checked(settings).findings
    assert finding.endswith(
        "; quarantined as 2026-10-21.json.xz.damaged; the database no longer holds that day: put"
        " the archive back from a backup"
    )
    assert not path.exists()
    for number in range(21, 30):
        assert checked(settings, f"2026-11-{number}T00:17").findings == ()


def test_archives_of_pruned_days_are_read_in_turn_with_the_others(tmp_path, built):
    built(thirty_days, tmp_path)
    settings = configured(tmp_path, cache_retention_days=10, disk_usage_limit_percent=100)
    prune.prune(settings, now_ms=ms(NOW), zone=BERLIN)
    for number in range(21, 31):
        assert checked(settings, f"2026-11-{number}T00:17") == (2, ())
    records = ledger.archives(Store(settings.cache_path))
    assert sum(record.checked_ms > ms(NOW) for record in records) == 20


def test_an_archive_without_a_record_is_left_to_the_roll_up_which_takes_it_in(settings):
    store = Store(settings.cache_path)
    ledger.forget_archive(store, ms("2026-11-05T00:00"))
    checked(settings)
    assert "2026-11-05" not in read_now(settings, ms(NOW))
    assert len(ledger.archives(store)) == 29
    rebuild.complete(settings, now_ms=ms(NOW), zone=BERLIN)
    assert len(ledger.archives(store)) == 30


def damage_poll(settings, moment):
    with closing(sqlite3.connect(settings.cache_path)) as db, db:
        db.execute("UPDATE poll SET took_ms=took_ms+1 WHERE ts_ms=?", (ms(moment),))


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_a_poll_that_is_damaged_in_the_database_comes_back_from_the_archive(settings):
    store = Store(settings.cache_path)
    good = list(store.query(0, 1 << 62))
    damage_poll(settings, "2026-10-22T06:00")
    with pytest.raises(DamagedError, match=r"1 poll is missing or damaged that 2026-10-22\.json"):
        checked(settings)
    with pytest.raises(DamagedError) as damage:  # nothing was recorded: the next run says it again
        checked(settings)
    rebuild.recreate(settings, damage.value, now_ms=ms(NOW), zone=BERLIN)
    assert list(store.query(0, 1 << 62)) == good
    assert checked(settings).findings == ()


def test_a_removal_that_was_interrupted_within_a_day_is_no_damage(settings):
    store = Store(settings.cache_path)
    with store.writing() as db:
        writer.remove_polls(db, ms("2026-10-21T13:00"))
    assert checked(settings) == (2, ())


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_polls_that_vanished_from_the_database_come_back_from_the_archive(settings):
    store = Store(settings.cache_path)
    good = list(store.query(0, 1 << 62))
    with closing(sqlite3.connect(settings.cache_path)) as db, db:
        db.execute("DELETE FROM poll WHERE ts_ms=?", (ms("2026-10-22T06:00"),))
    with pytest.raises(DamagedError, match="1 poll is missing or damaged") as damage:
        checked(settings)
    rebuild.recreate(settings, damage.value, now_ms=ms(NOW), zone=BERLIN)
    assert list(store.query(0, 1 << 62)) == good
    assert checked(settings).findings == ()


def test_damage_that_no_archive_can_repair_does_not_recreate_the_database_each_night(settings):
    path = path_of(settings, "2026-10-21")
    polls = tuple(document.read(path).polls)
    damage_poll(settings, "2026-10-21T06:00")
    span = archive.bounds(date(2026, 10, 21), BERLIN)
    document.write(
        path, Day(tuple(p for p in polls if p.taken_ms != polls[1].taken_ms), (), (), span)
    )
    assert checked(settings) == (2, ())


def test_an_archive_that_is_whole_but_not_that_of_the_database_is_written_again(settings):
    path = path_of(settings, "2026-10-21")
    good = path.read_bytes()
    polls = list(document.read(path).polls)
    polls[1] = polls[1]._replace(took_ms=5)
    span = archive.bounds(date(2026, 10, 21), BERLIN)
    document.write(path, Day(polls[:3], (), (), span))
    assert checked(settings).findings == (
        f"{path}: 2 entries were not those of the database; written again",
    )
    assert path.read_bytes() == good


def test_a_missed_poll_that_the_archive_does_not_hold_is_added(settings):
    path = path_of(settings, "2026-10-21")
    missed = MissedPoll(ms("2026-10-21T03:00"), "timeout", 4, 254_000, "no answer")
    with closing(sqlite3.connect(settings.cache_path)) as db, db:
        db.execute("INSERT INTO missed VALUES (?,?,?,?,?,?,?,?)", missed)
    [finding] = checked(settings).findings
    assert "1 entries were not those of the database" in finding
    assert document.read(path).missed == (missed,)


def test_damage_that_sqlite_finds_is_found_in_the_night(settings):
    size = settings.cache_path.stat().st_size
    with settings.cache_path.open("r+b") as file:
        file.seek(size // 8192 * 4096)
        file.write(bytes(4096))
    with pytest.raises(DamagedError):
        checked(settings)


def test_the_database_is_checked_under_the_lock_that_keeps_polls_from_waiting_for_it(settings):
    """A poll that finds the lock held leaves its line in the journal."""
    path, released = Store(settings.cache_path).lock_path, []

    def hold(held):
        with locks.hold(path, wait_s=1):
            held.set()
            time.sleep(0.4)
            released.append(time.monotonic())

    held = Event()
    with ThreadPoolExecutor() as pool:
        pool.submit(hold, held)
        held.wait(5)
        assert checked(settings).findings == ()
        assert released


def test_a_newer_archive_is_said_and_left_as_it_is(settings):
    import lzma

    path = path_of(settings, "2026-10-21")
    newer = lzma.compress(b'{"format":"luxcli archive","version":4,"x":0}')
    path.write_bytes(newer)
    [finding] = checked(settings).findings
    assert "written by a newer luxcli" in finding
    assert path.read_bytes() == newer


def test_a_check_by_a_clock_that_was_ahead_does_not_keep_archives_from_being_read(settings):
    checked(settings, "2036-01-01T00:17")
    assert checked(settings, "2026-11-21T00:17") == (2, ())
    assert checked(settings, "2026-11-22T00:17") == (2, ())
    assert read_now(settings, ms("2036-01-01T00:17")) == []


def test_nothing_is_checked_before_the_first_poll_or_while_a_rebuild_goes_on(settings, tmp_path):
    assert checked(configured(tmp_path / "new", cache_path=str(tmp_path / "x.sqlite3"))) == (0, ())
    store = Store(settings.cache_path)
    ledger.record_rebuild(store, ledger.RebuildRecord("2026-10-21.json.xz"))
    path_of(settings, "2026-10-21").write_bytes(b"rubbish")
    assert checked(settings) == (0, ())
    ledger.record_rebuild(store, None)
    assert len(checked(settings).findings) == 1


def test_with_archive_false_only_the_database_is_checked(tmp_path, built):
    built(thirty_days, tmp_path)
    settings = configured(tmp_path, archive=False)
    path_of(settings, "2026-10-21").write_bytes(b"rubbish")
    assert checked(settings) == (0, ())
    assert ledger.checked_ms(Store(settings.cache_path)) == ms(NOW)


def test_archives_of_a_development_version_are_refused_and_left_as_they_are(settings):
    old = path_of(settings, "2026-10-20").with_name("2026-10-20.luxlog.gz")
    old.write_bytes(b"an old format")
    match = (
        r"2026-10-20\.luxlog\.gz: made by a development version .*; move all \*\.luxlog\.gz away"
    )
    with pytest.raises(IncompatibleError, match=match):
        checked(settings)
    with pytest.raises(IncompatibleError, match=match):
        rebuild.restore(settings, now_ms=ms(NOW), zone=BERLIN)
    assert old.read_bytes() == b"an old format"
