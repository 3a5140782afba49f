"""The daily archive: lossless, verified, readable without luxcli, never losing what it has."""

import lzma
import re
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, date
from zoneinfo import ZoneInfo

import pytest

from luxcli.errors import StorageError
from luxcli.maintenance import archive, document, prune, rebuild
from luxcli.maintenance.comparison import compare
from luxcli.model import CLOCK_DOUBTED, MissedPoll, Repair
from luxcli.store import journal, owner, repairs
from luxcli.store.repairs import poll_sha256
from luxcli.store.store import Store
from luxcli.store.writer import ingest
from tests.support.scenario import BERLIN, configured, ms, record


def archived(settings, now="2026-11-20T12:00"):
    return archive.archive_due(settings, now_ms=ms(now), zone=BERLIN)


def test_each_closed_local_day_gets_one_archive_and_only_once(tmp_path):
    settings = configured(tmp_path)
    record(settings, ms("2026-11-17T20:00"), ms("2026-11-20T11:00"), step_s=3600)
    assert [entry.path.name for entry in archived(settings)] == [
        "2026-11-17.json.xz",
        "2026-11-18.json.xz",
        "2026-11-19.json.xz",
    ]
    assert [entry.polls for entry in archived(settings, "2026-11-21T01:00")] == [11]
    assert archived(settings, "2026-11-21T02:00") == []


@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25)])
def test_a_day_with_a_clock_change_is_one_archive_of_its_real_length(tmp_path, day, hours):
    settings = configured(tmp_path)
    start, stop = archive.bounds(date.fromisoformat(day), BERLIN)
    record(settings, start - 3_600_000, stop + 3_600_000, step_s=1800)
    entries = archive.archive_due(settings, now_ms=stop + 3_600_000, zone=BERLIN)
    assert {e.path.name: e.polls for e in entries}[f"{day}.json.xz"] == hours * 2


def test_polls_that_come_later_are_added_to_the_archive(tmp_path):
    settings = configured(tmp_path)
    record(settings, ms("2026-11-19T10:00"), ms("2026-11-19T12:00"))
    archived(settings)
    record(settings, ms("2026-11-19T14:00"), ms("2026-11-19T15:00"))
    [entry] = archived(settings)
    assert entry.polls == 18


def test_a_poll_that_comes_later_is_added_after_a_change_of_the_time_zone_and_back(tmp_path):
    settings = configured(tmp_path)
    record(settings, ms("2026-11-19T10:00"), ms("2026-11-19T12:00"))
    archived(settings)
    archive.archive_due(settings, now_ms=ms("2026-11-20T12:00"), zone=UTC)
    record(settings, ms("2026-11-19T14:00"), ms("2026-11-19T14:01"))
    [entry] = archived(settings)
    assert entry.polls == 13


@pytest.mark.parametrize("place", ["America/New_York", "Asia/Kathmandu", "Pacific/Apia"])
def test_a_change_of_the_time_zone_writes_and_reads_each_archive_once_more_and_no_more(
    tmp_path, place
):
    settings = configured(tmp_path)
    options = {"now_ms": ms("2026-11-20T12:00"), "zone": ZoneInfo(place)}
    times = record(settings, ms("2026-11-17T20:00"), ms("2026-11-20T00:00"), step_s=3600)
    archived(settings)
    assert len(archive.archive_due(settings, **options)) >= 2
    assert archive.archive_due(settings, **options) == []
    # An archive now holds more than its day: that comes back, too, and is no reason to go on.
    settings.cache_path.unlink()
    for path in journal.paths(settings.cache_path):
        path.unlink()
    assert len(rebuild.complete(settings, **options).sources) >= 2
    assert Store(settings.cache_path).database.times(0, 1 << 60) == times
    archive.archive_due(settings, **options)
    assert rebuild.complete(settings, **options).sources == ()
    assert archive.archive_due(settings, **options) == []


def test_archives_of_another_time_zone_are_taken_in_once_where_no_new_ones_are_wanted(tmp_path):
    settings = configured(tmp_path)
    record(settings, ms("2026-11-17T20:00"), ms("2026-11-20T00:00"), step_s=3600)
    archived(settings)
    settings.cache_path.unlink()
    options = {"now_ms": ms("2026-11-20T12:00"), "zone": ZoneInfo("America/New_York")}
    settings = configured(tmp_path, archive=False)
    assert len(rebuild.complete(settings, **options).sources) == 3
    assert rebuild.complete(settings, **options).sources == ()


def test_the_archive_of_another_day_under_the_name_of_one_is_written_again(tmp_path):
    settings = configured(tmp_path)
    record(settings, ms("2026-11-17T20:00"), ms("2026-11-20T00:00"), step_s=3600)
    first, second, _third = (entry.path for entry in archived(settings))
    whole = second.read_bytes()
    second.write_bytes(first.read_bytes())
    [entry] = archived(settings)
    assert "it is the archive of '2026-11-17'; quarantined as 2026-11-18" in entry.findings[0]
    assert second.read_bytes() == whole


def numbered(poll, serial):
    return poll._replace(parameters=(*poll.parameters[:875], serial, *poll.parameters[876:]))


def test_polls_of_another_heat_pump_in_an_archive_are_no_reason_to_write_it_each_time(tmp_path):
    settings = configured(tmp_path)
    times = record(settings, ms("2026-11-19T10:00"), ms("2026-11-19T12:00"))
    [entry] = archived(settings)
    day = document.read(entry.path)
    owner.check_owner(settings.cache_path, "pump", numbered(next(iter(day.polls)), 1))
    theirs = [numbered(poll, 2)._replace(taken_ms=poll.taken_ms + 1) for poll in day.polls]
    document.write(entry.path, document.Day(theirs[6:], (), (), day.span))
    assert len(archived(settings)) == 1
    assert archived(settings) == []
    # Nothing is lost, whosever it is.
    held = [poll.taken_ms for poll in document.read(entry.path).polls]
    assert held == sorted([*times, *(poll.taken_ms for poll in theirs[6:])])


def test_polls_that_the_database_lost_stay_in_the_archive(tmp_path):
    settings = configured(tmp_path)
    times = record(settings, ms("2026-11-19T10:00"), ms("2026-11-19T12:00"))
    archived(settings)
    settings.cache_path.unlink()
    times += record(settings, ms("2026-11-19T14:00"), ms("2026-11-19T15:00"))
    [entry] = archived(settings)
    assert [poll.taken_ms for poll in document.read(entry.path).polls] == times


def test_an_archive_that_cannot_be_read_is_quarantined_and_written_again(tmp_path):
    settings = configured(tmp_path)
    record(settings, ms("2026-11-19T10:00"), ms("2026-11-19T12:00"))
    [entry] = archived(settings)
    entry.path.write_bytes(b"rubbish")
    record(settings, ms("2026-11-19T14:00"), ms("2026-11-19T15:00"))
    [again] = archived(settings)
    assert again.polls == 18
    assert entry.path.with_name(entry.path.name + ".damaged").read_bytes() == b"rubbish"


def test_an_archive_that_the_disk_cannot_read_is_not_treated_as_damaged(tmp_path):
    """Linux gives EIO, as a failing card does, to whoever reads address 0 of a process."""
    settings = configured(tmp_path)
    record(settings, ms("2026-11-19T10:00"), ms("2026-11-19T12:00"))
    [entry] = archived(settings)
    good = entry.path.read_bytes()
    entry.path.unlink()
    entry.path.symlink_to("/proc/self/mem")
    record(settings, ms("2026-11-18T10:00"), ms("2026-11-18T11:00"))
    record(settings, ms("2026-11-19T14:00"), ms("2026-11-19T15:00"))
    with pytest.raises(StorageError, match=r"2026-11-19\.json\.xz: cannot be read: Input/output"):
        archived(settings)
    assert sorted(path.name for path in entry.path.parent.glob("2*")) == [
        "2026-11-18.json.xz",
        "2026-11-19.json.xz",
    ]
    entry.path.unlink()
    entry.path.write_bytes(good)
    assert [again.polls for again in archived(settings)] == [18]


def test_an_archive_of_a_newer_luxcli_is_kept_and_stops_no_other_day(tmp_path):
    settings = configured(tmp_path)
    path = archive.path_of(settings, date(2026, 11, 18))
    path.parent.mkdir(parents=True)
    newer = lzma.compress(b'{"format":"luxcli archive","version":4,"whatever":"it may hold"}')
    path.write_bytes(newer)
    record(settings, ms("2026-11-18T10:00"), ms("2026-11-18T12:00"))
    record(settings, ms("2026-11-19T10:00"), ms("2026-11-19T12:00"))
    with pytest.raises(StorageError, match=r"2026-11-18.*newer luxcli \(archive format 4.*upgrade"):
        archived(settings)
    assert path.read_bytes() == newer
    assert archive.path_of(settings, date(2026, 11, 19)).exists()
    assert [other.name for other in path.parent.iterdir() if "damaged" in other.name] == []


def test_no_archive_is_written_when_none_is_wanted(tmp_path):
    settings = configured(tmp_path, archive=False)
    record(settings, ms("2026-11-18T10:00"), ms("2026-11-18T12:00"))
    assert archived(settings) == []
    assert not (tmp_path / "archive").exists()


def test_missed_polls_are_archived_with_their_reasons(tmp_path):
    settings = configured(tmp_path)
    record(settings, ms("2026-11-19T10:00"), ms("2026-11-19T11:00"))
    missed = MissedPoll(
        ms("2026-11-19T10:05"), "refused", 4, 14_000, "1.2.3.4:8889: connection refused"
    )
    Store(settings.cache_path).add_missed(missed)
    [entry] = archived(settings)
    assert document.read(entry.path).missed == (missed,)


def test_repairs_of_wrong_times_are_archived_and_a_repaired_poll_does_not_come_back(tmp_path):
    settings = configured(tmp_path)
    right = record(settings, ms("2026-11-18T00:00"), ms("2026-11-20T00:00"), step_s=3600)
    store = Store(settings.cache_path)
    wrong = [
        poll._replace(taken_ms=poll.taken_ms + 7_000, flags=CLOCK_DOUBTED)
        for poll in store.query(right[3], right[5])
    ]
    store.merge(wrong, ())
    archived(settings)
    path = archive.path_of(settings, date(2026, 11, 18))
    assert len(document.read(path).polls) == 26
    done_ms = ms("2026-11-19T12:00")
    moved, removed = (
        Repair(poll_sha256(poll), poll.taken_ms, new_ms, done_ms)
        for poll, new_ms in zip(wrong, (right[30] + 1_000, None), strict=True)
    )
    with store.writing() as db:
        ingest(db, "1", repairs.record(db, [moved, removed]), ())
    found = compare(document.read(path), store, *archive.bounds(date(2026, 11, 18), BERLIN))
    assert (found.only_archived, found.entries) == (frozenset(), 24)
    record(settings, ms("2026-11-18T00:30"), ms("2026-11-18T00:31"))  # both are written again
    assert [entry.path.name[:10] for entry in archived(settings)] == ["2026-11-18", "2026-11-19"]
    first = document.read(path)
    second = document.read(archive.path_of(settings, date(2026, 11, 19)))
    assert (len(first.polls), len(second.polls)) == (25, 25)
    assert set(first.repairs) == set(second.repairs) == {moved, removed}


def run_prune(settings, **options):
    return prune.prune(settings, now_ms=ms("2026-11-20T12:00"), zone=BERLIN, **options)


def ten_days(directory):
    settings = configured(directory)
    record(settings, ms("2026-11-11T00:00"), ms("2026-11-20T11:00"), step_s=3600)
    Store(settings.cache_path).flush()


@pytest.fixture
def old(tmp_path, built):
    """Ten days, of which all but three are to go."""
    built(ten_days, tmp_path)
    return configured(tmp_path, cache_retention_days=3, disk_usage_limit_percent=100)


@pytest.mark.slow
def test_prune_keeps_days_whose_archives_cannot_be_written(old):
    directory = archive.path_of(old, date(2026, 11, 14)).parent
    directory.write_text("in the way")
    result = run_prune(old)
    assert result.polls == 0
    assert result.findings[0].startswith(f"{directory}")
    directory.unlink()
    result = run_prune(old)
    assert (len(result.archives), result.polls, result.findings) == (9, 6 * 24, ())


def test_prune_removes_archived_days_and_stops_at_the_first_that_is_not_safe(old):
    archived(old)
    path = archive.path_of(old, date(2026, 11, 14))
    path.write_bytes(bytes(path.stat().st_size))
    result = run_prune(old)
    assert result.polls == 3 * 24
    assert re.search("2026-11-14: .*not a readable archive: .*'luxcli rollup", result.findings[0])
    assert Store(old.cache_path).database.span()[0] == ms("2026-11-14T00:00")


@pytest.mark.slow
def test_prune_adds_to_an_archive_the_poll_that_it_lacks(old):
    archived(old)
    record(old, ms("2026-11-12T00:30"), ms("2026-11-12T00:31"))
    result = run_prune(old)
    assert [path.name[:10] for path in result.archives] == ["2026-11-12"]
    assert (result.polls, result.findings) == (6 * 24 + 1, ())


def test_prune_removes_unarchived_days_with_the_option(old):
    result = run_prune(old, unarchived=True)
    assert result.polls == 6 * 24
    assert result.findings == ()
    assert Store(old.cache_path).database.span()[0] == ms("2026-11-17T00:00")


def test_an_archive_that_is_lost_or_cut_short_is_written_again(tmp_path):
    settings = configured(tmp_path)
    record(settings, ms("2026-11-17T00:00"), ms("2026-11-20T00:00"), step_s=3600)
    first, second, third = [entry.path for entry in archived(settings)]
    good = [path.read_bytes() for path in (first, second, third)]
    first.unlink()
    second.write_bytes(good[1][:100])
    third.write_bytes(b"")
    archived(settings)
    assert [path.read_bytes() for path in (first, second, third)] == good


@pytest.mark.slow
def test_an_archive_that_prune_cannot_read_is_written_again_by_the_next_run(old):
    archived(old)
    path = archive.path_of(old, date(2026, 11, 14))
    good = path.read_bytes()
    middle = len(good) // 2
    path.write_bytes(good[:middle] + bytes([good[middle] ^ 1]) + good[middle + 1 :])
    assert "2026-11-14.json.xz: not a readable archive" in run_prune(old).findings[0]
    archived(old)
    assert path.read_bytes() == good
    assert run_prune(old).findings == ()


def test_a_day_of_missed_polls_alone_is_archived_too(tmp_path):
    settings = configured(tmp_path, cache_retention_days=1, disk_usage_limit_percent=100)
    record(settings, ms("2026-11-18T10:00"), ms("2026-11-20T11:00"), step_s=3600)
    missed = MissedPoll(ms("2026-11-17T10:05"), "refused", 4, 14_000, "connection refused")
    store = Store(settings.cache_path)
    store.add_missed(missed)
    [entry, *_] = archived(settings)
    assert document.read(entry.path).missed == (missed,)
    assert run_prune(settings).findings == ()


def test_one_poll_of_2001_does_not_make_a_run_step_through_all_days_since(tmp_path):
    settings = configured(tmp_path)
    record(settings, ms("2001-01-02T10:00"), ms("2001-01-02T11:00"))
    record(settings, ms("2026-11-18T10:00"), ms("2026-11-18T11:00"))
    began = time.monotonic()
    assert [entry.path.name[:10] for entry in archived(settings)] == ["2001-01-02", "2026-11-18"]
    assert time.monotonic() - began < 3


@pytest.mark.slow
def test_two_runs_at_once_write_each_archive_once_and_whole(tmp_path):
    settings = configured(tmp_path)
    record(settings, ms("2026-11-10T00:00"), ms("2026-11-20T00:00"), step_s=3600)
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(archived, settings) for _ in range(2)]
        written = sorted(len(run.result()) for run in both)
    assert written == [0, 10]
    assert len([document.read(path) for path in (tmp_path / "archive").glob("2*")]) == 10


@pytest.mark.slow
def test_damaged_polls_that_stop_prune_are_reported_with_advice(old):
    archived(old)
    with closing(sqlite3.connect(old.cache_path)) as db, db:
        db.execute("UPDATE poll SET crc=crc+1 WHERE ts_ms=?", (ms("2026-11-12T05:00"),))
    archive.path_of(old, date(2026, 11, 12)).unlink()
    for path in journal.paths(old.cache_path):
        path.unlink()
    [entry] = archived(old)
    assert entry.findings == ("2026-11-12: 1 polls are damaged in the database and not archived",)
    [finding] = run_prune(old).findings
    assert "1 polls are damaged in the database; run 'luxcli restore'" in finding
    rebuild.restore(old, now_ms=ms("2026-11-20T00:00"), zone=BERLIN)
    assert run_prune(old).findings == ()


def test_a_damaged_archive_is_a_finding(tmp_path):
    settings = configured(tmp_path)
    record(settings, ms("2026-11-19T10:00"), ms("2026-11-19T12:00"))
    [entry] = archived(settings)
    entry.path.write_bytes(b"rubbish")
    [again] = archived(settings)
    [finding] = again.findings
    assert "not a readable archive" in finding
    assert "quarantined as 2026-11-19.json.xz.damaged" in finding


def test_archiving_reports_its_progress(tmp_path):
    settings = configured(tmp_path)
    record(settings, ms("2026-11-16T00:00"), ms("2026-11-20T00:00"), step_s=3600)
    reported = []
    archive.archive_due(
        settings,
        now_ms=ms("2026-11-20T12:00"),
        zone=BERLIN,
        progress=lambda done, total: reported.append((done, total)),
    )
    assert len(reported) == 4
    assert reported == sorted(reported)
    assert all(0 <= done < total for done, total in reported)
