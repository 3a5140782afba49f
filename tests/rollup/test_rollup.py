"""Which periods are due, what a sliding report may overwrite, and what is remembered."""

import sqlite3
import time
from contextlib import closing
from datetime import date
from pathlib import Path

import pytest

from luxcli.errors import ConfigError, NoDataError, StorageError, UsageError
from luxcli.maintenance import archive, rebuild
from luxcli.rollup import rollup
from luxcli.store import ledger, owner
from luxcli.store.store import Store
from luxcli.system.clock import Clock
from tests.support.builders import real
from tests.support.scenario import BERLIN, HOUR_MS, configured, ms, record


def due(settings, now, kind="daily"):
    return rollup.rollup_due(
        settings, kind, now_ms=ms(now), zone=BERLIN, clock=Clock(sleep=lambda _seconds: None)
    )


def names(settings, kind="daily"):
    directory = settings.daily_dir if kind == "daily" else settings.weekly_dir
    return sorted(path.name for path in directory.glob("*")) if directory.exists() else []


def ten_days(directory: Path) -> None:
    settings = configured(directory)
    record(settings, ms("2026-11-10T12:00"), ms("2026-11-20T12:00"), step_s=3600)
    Store(settings.cache_path).flush()


@pytest.fixture
def recorded(tmp_path, built):
    """Ten days up to 2026-11-20 12:00, a poll an hour."""
    built(ten_days, tmp_path)
    return configured(tmp_path)


def test_after_three_days_without_roll_ups_exactly_the_missing_files_are_written(recorded):
    assert [r.path.name for r in due(recorded, "2026-11-17T07:07")] == [
        f"2026-11-{day}_daily.csv" for day in range(11, 18)
    ]
    before = {path: path.stat().st_mtime_ns for path in recorded.daily_dir.iterdir()}
    # ... the machine is on, but cron did not run the line on the 18th, 19th and 20th
    written = due(recorded, "2026-11-20T11:07")
    assert [r.path.name for r in written] == [
        "2026-11-18_daily.csv",
        "2026-11-19_daily.csv",
        "2026-11-20_daily.csv",
    ]
    assert [r.rows for r in written] == [24, 24, 24]
    assert all(path.stat().st_mtime_ns == mtime for path, mtime in before.items())
    assert due(recorded, "2026-11-20T11:08") == []


def test_nothing_is_due_before_csv_time(recorded):
    due(recorded, "2026-11-19T08:00")
    assert due(recorded, "2026-11-20T06:59") == []
    assert [r.path.name for r in due(recorded, "2026-11-20T07:00")] == ["2026-11-20_daily.csv"]


def test_weekly_files_are_due_on_the_configured_weekday(recorded):
    assert [r.path.name for r in due(recorded, "2026-11-20T12:00", "weekly")] == [
        "2026-11-16_weekly.csv"
    ]
    settings = configured(
        recorded.cache_path.parent, weekly_day="thursday", output_dirs=str(recorded.daily_dir / "w")
    )
    assert [r.path.name for r in due(settings, "2026-11-20T12:00", "weekly")] == [
        "2026-11-12_weekly.csv",
        "2026-11-19_weekly.csv",
    ]


def test_days_on_which_the_machine_was_off_get_no_file_and_are_not_tried_again(tmp_path):
    settings = configured(tmp_path)
    record(settings, ms("2026-11-10T07:00"), ms("2026-11-11T07:00"), step_s=3600)
    record(settings, ms("2026-11-14T07:00"), ms("2026-11-15T07:00"), step_s=3600)
    results = due(settings, "2026-11-15T08:00")
    assert names(settings) == ["2026-11-11_daily.csv", "2026-11-15_daily.csv"]
    assert [result.path is None for result in results] == [False, False]
    assert due(settings, "2026-11-15T09:00") == []


def test_an_empty_last_period_is_reported_once(tmp_path):
    settings = configured(tmp_path)
    record(settings, ms("2026-11-10T07:00"), ms("2026-11-11T07:00"), step_s=3600)
    [written, empty] = due(settings, "2026-11-15T08:00")
    assert (written.path is None, empty.path is None) == (False, True)
    assert empty.period.label == date(2026, 11, 15)
    assert due(settings, "2026-11-15T09:00") == []
    [record_] = [
        r for r in ledger.rollups(Store(settings.cache_path), "daily") if r.state == "empty"
    ]
    assert record_.stop_ms == ms("2026-11-15T07:00")
    # ... and once more on each day on which it still is so, however long that lasts.
    assert [r.path for r in due(settings, "2027-03-01T08:00")] == [None]
    assert due(settings, "2027-03-01T09:00") == []


def test_one_poll_of_2001_does_not_make_a_run_step_through_all_days_since(tmp_path):
    settings = configured(tmp_path, csv_retention_days=0)
    record(settings, ms("2001-01-02T10:00"), ms("2001-01-02T11:00"))
    record(settings, ms("2026-11-18T10:00"), ms("2026-11-18T11:00"))
    began = time.monotonic()
    assert [r.path.name for r in due(settings, "2026-11-19T08:00")] == [
        "2001-01-03_daily.csv",
        "2026-11-19_daily.csv",
    ]
    assert time.monotonic() - began < 3


def test_many_files_with_the_same_failure_give_one_line(recorded):
    recorded.daily_dir.parent.mkdir(parents=True)
    recorded.daily_dir.write_text("not a directory")
    with pytest.raises(StorageError) as failure:
        due(recorded, "2026-11-20T08:00")
    assert "2026-11-11_daily.csv: cannot be written" in str(failure.value)
    assert str(failure.value).endswith("(and 9 more files)")


def test_csvs_that_prune_would_remove_at_once_are_not_written(tmp_path):
    settings = configured(tmp_path, csv_retention_days=3)
    record(settings, ms("2026-11-01T07:00"), ms("2026-11-20T07:00"), step_s=6 * 3600)
    due(settings, "2026-11-20T07:07")
    assert names(settings) == [f"2026-11-{day}_daily.csv" for day in (18, 19, 20)]


def test_a_period_that_failed_is_tried_again_and_does_not_stop_the_later_ones(recorded):
    recorded.daily_dir.mkdir(parents=True)
    blocker = recorded.daily_dir / "2026-11-18_daily.csv"
    blocker.mkdir()
    due(recorded, "2026-11-17T07:07")
    with pytest.raises(StorageError, match=r"2026-11-18_daily\.csv: cannot be written"):
        due(recorded, "2026-11-19T07:07")
    assert "2026-11-19_daily.csv" in names(recorded)
    [failed] = [
        r for r in ledger.rollups(Store(recorded.cache_path), "daily") if r.state == "failed"
    ]
    assert failed.error is not None
    blocker.rmdir()
    assert [r.path.name for r in due(recorded, "2026-11-19T08:07")] == ["2026-11-18_daily.csv"]
    assert due(recorded, "2026-11-19T09:07") == []


def test_a_file_that_the_user_moved_is_not_written_again(recorded):
    due(recorded, "2026-11-20T08:00")
    (recorded.daily_dir / "2026-11-15_daily.csv").unlink()
    assert due(recorded, "2026-11-20T09:00") == []


def test_another_csv_time_does_not_rewrite_the_past(recorded):
    due(recorded, "2026-11-19T08:00")
    settings = configured(recorded.cache_path.parent, csv_time="06:00")
    assert [r.path.name for r in due(settings, "2026-11-20T06:30")] == ["2026-11-20_daily.csv"]


def test_with_an_empty_database_nothing_is_due(tmp_path):
    assert due(configured(tmp_path), "2026-11-20T08:00") == []


def test_polls_that_wait_are_in_the_csv(tmp_path):
    settings = configured(tmp_path)
    record(settings, ms("2026-11-19T08:00"), ms("2026-11-19T08:30"), step_s=600)
    assert not settings.cache_path.exists()
    [result] = due(settings, "2026-11-20T07:07")
    assert result.rows == 3


def test_a_sliding_csv_covers_the_last_24_hours_up_to_now(recorded):
    result = rollup.rollup(recorded, "daily", now_ms=ms("2026-11-18T15:30"), zone=BERLIN)
    assert result.path.name == "2026-11-18_daily.csv"
    assert result.rows == 24
    assert result.first_ms == ms("2026-11-17T16:00")
    assert result.last_ms == ms("2026-11-18T15:00")


def test_a_sliding_csv_does_not_replace_that_of_a_closed_period(recorded):
    due(recorded, "2026-11-18T07:07")
    closed = recorded.daily_dir / "2026-11-18_daily.csv"
    before = closed.read_bytes()
    result = rollup.rollup(recorded, "daily", now_ms=ms("2026-11-18T15:30"), zone=BERLIN)
    assert result.path.name == "2026-11-18_1530_daily.csv"
    assert closed.read_bytes() == before


def test_a_closed_period_replaces_a_sliding_csv_of_the_same_morning(recorded):
    early = rollup.rollup(recorded, "daily", now_ms=ms("2026-11-18T06:30"), zone=BERLIN)
    due(recorded, "2026-11-18T07:07")
    first = early.path.read_text().splitlines()[1]
    assert first.startswith("2026-11-17T06:00:00Z")


def test_a_sliding_period_without_polls_writes_no_file(tmp_path):
    settings = configured(tmp_path)
    result = rollup.rollup(settings, "daily", now_ms=ms("2026-11-18T15:30"), zone=BERLIN)
    assert result.path is None
    assert names(settings) == []


def test_a_date_without_data_is_an_error_and_leaves_an_existing_file(recorded):
    recorded.daily_dir.mkdir(parents=True)
    existing = recorded.daily_dir / "2026-10-01_daily.csv"
    existing.write_text("precious\n")
    with pytest.raises(NoDataError, match="nothing is stored from 2026-09-30T05:00:00Z"):
        rollup.rollup(
            recorded, "daily", now_ms=ms("2026-11-18T15:30"), zone=BERLIN, ending=date(2026, 10, 1)
        )
    assert existing.read_text() == "precious\n"


def test_a_period_that_ends_in_the_future_is_refused(recorded):
    with pytest.raises(UsageError, match="in the future"):
        rollup.rollup(
            recorded, "daily", now_ms=ms("2026-11-18T06:59"), zone=BERLIN, ending=date(2026, 11, 18)
        )


def test_a_sensor_that_does_not_exist_is_named_with_the_place_of_the_setting(tmp_path):
    file = tmp_path / "luxcli.yaml"
    file.write_text("host: x\ncsv:\n  sensors: [ID_WEB_Temperatur_TVLX]\n")
    settings = reports_config(file, tmp_path)
    record(settings, ms("2026-11-19T08:00"), ms("2026-11-19T08:30"))
    with pytest.raises(ConfigError, match=r"luxcli.yaml:3: csv.sensors: .*TVLX.*ID_WEB_Temp"):
        rollup.rollup(settings, "daily", now_ms=ms("2026-11-19T09:00"), zone=BERLIN)


def reports_config(file, directory):
    from luxcli.config import config

    return config.load(file, {}, directory, {"cache_path": str(directory / "cache.sqlite3")})


def test_the_interval_is_half_open(tmp_path):
    settings = configured(tmp_path)
    stop = ms("2026-11-20T07:00")
    record(settings, stop - HOUR_MS, stop + 1, step_s=3600)
    [result] = due(settings, "2026-11-20T08:00")
    assert (result.rows, result.first_ms) == (1, stop - HOUR_MS)


def test_a_file_with_more_polls_than_the_database_is_always_kept(recorded):
    due(recorded, "2026-11-18T07:07")
    path = recorded.daily_dir / "2026-11-18_daily.csv"
    full = path.read_bytes()
    for old in recorded.cache_path.parent.glob("cache.sqlite3*"):
        old.unlink()
    record(recorded, ms("2026-11-17T20:00"), ms("2026-11-18T06:00"), step_s=3600)
    [again] = due(recorded, "2026-11-18T08:07")
    assert (again.kept, again.rows) == (True, 24)
    asked = rollup.rollup(
        recorded, "daily", now_ms=ms("2026-11-18T09:00"), zone=BERLIN, ending=date(2026, 11, 18)
    )
    assert (asked.kept, asked.rows) == (True, 24)
    assert path.read_bytes() == full


def test_a_clock_that_was_far_ahead_once_stops_no_later_roll_up(recorded):
    due(recorded, "2027-12-01T08:00")
    assert [r.path.name for r in due(recorded, "2026-11-20T08:00")] == [
        f"2026-11-{day}_daily.csv" for day in range(11, 21)
    ]


def test_a_csv_written_by_date_does_not_hide_earlier_ones_that_are_due(recorded):
    rollup.rollup(
        recorded, "daily", now_ms=ms("2026-11-20T08:00"), zone=BERLIN, ending=date(2026, 11, 18)
    )
    assert [r.path.name for r in due(recorded, "2026-11-20T08:00")] == [
        f"2026-11-{day}_daily.csv" for day in (11, 12, 13, 14, 15, 16, 17, 19, 20)
    ]


def test_a_period_whose_polls_are_restored_later_gets_its_file(tmp_path):
    settings = configured(tmp_path)
    record(settings, ms("2026-11-10T07:00"), ms("2026-11-11T07:00"), step_s=3600)
    record(settings, ms("2026-11-14T07:00"), ms("2026-11-15T07:00"), step_s=3600)
    due(settings, "2026-11-15T08:00")
    record(settings, ms("2026-11-12T10:00"), ms("2026-11-12T15:00"), step_s=3600)
    [late] = due(settings, "2026-11-15T09:00")
    assert (late.path.name, late.rows) == ("2026-11-13_daily.csv", 5)


def test_polls_stored_after_the_file_was_written_are_added_to_it(tmp_path):
    """The clock was an hour ahead when the day was closed too early."""
    settings = configured(tmp_path)
    record(settings, ms("2026-11-20T07:00"), ms("2026-11-21T06:00"), step_s=3600)
    [early] = due(settings, "2026-11-21T07:05")
    record(settings, ms("2026-11-21T06:00"), ms("2026-11-21T08:00"), step_s=3600)
    [whole] = due(settings, "2026-11-21T08:05")
    assert (early.rows, whole.rows, whole.path) == (23, 24, early.path)
    assert due(settings, "2026-11-21T09:05") == []


@pytest.mark.slow
def test_a_restored_day_gets_a_whole_file_and_the_others_stay_as_they_are(recorded):
    days = {f"2026-11-{day}" for day in range(11, 21)}
    archive.archive_due(recorded, now_ms=ms("2026-11-20T12:00"), zone=BERLIN)
    store = Store(recorded.cache_path)
    with closing(sqlite3.connect(store.path)) as db, db:
        span = (ms("2026-11-15T08:00"), ms("2026-11-15T20:00"))
        db.execute("UPDATE poll SET crc=crc+1 WHERE ts_ms>=? AND ts_ms<?", span)
    due(recorded, "2026-11-20T08:00")
    before = {path.name[:10]: path.stat().st_mtime_ns for path in recorded.daily_dir.iterdir()}
    assert before.keys() == days
    rebuild.restore(recorded, now_ms=ms("2026-11-20T09:00"), zone=BERLIN)
    [whole] = [r for r in due(recorded, "2026-11-20T09:00") if not r.kept]
    assert (whole.path.name, whole.rows) == ("2026-11-16_daily.csv", 24)
    assert due(recorded, "2026-11-20T10:00") == []
    after = {path.name[:10]: path.stat().st_mtime_ns for path in recorded.daily_dir.iterdir()}
    assert {day for day in days if before[day] != after[day]} == {"2026-11-16"}


def test_a_file_that_was_moved_is_written_again_when_polls_were_restored(recorded):
    due(recorded, "2026-11-20T08:00")
    (recorded.daily_dir / "2026-11-15_daily.csv").unlink()
    record(recorded, ms("2026-11-14T12:10"), ms("2026-11-14T12:40"))
    assert [r.rows for r in due(recorded, "2026-11-20T09:00")] == [27]


def test_two_heat_pumps_do_not_share_a_directory_of_csvs_or_archives(tmp_path):
    poll = real(ms("2026-11-19T10:00"))
    one, two = (configured(tmp_path, cache_path=str(tmp_path / f"{name}.sqlite3")) for name in "ab")
    for settings, host in ((one, "pump-a"), (two, "pump-b")):
        owner.check_owner(settings.cache_path, host, poll)
        record(settings, ms("2026-11-19T08:00"), ms("2026-11-19T10:00"), step_s=600)
    now = {"now_ms": ms("2026-11-20T08:00"), "zone": BERLIN}
    assert len(due(one, "2026-11-20T08:00")) == 1
    assert len(archive.archive_due(one, **now)) == 1
    with pytest.raises(StorageError, match=r"daily: holds files of another heat pump \(pump-a\)"):
        due(two, "2026-11-20T08:00")
    with pytest.raises(
        StorageError, match=r"archive: holds files .* \(pump-a\); give pump-b a dir"
    ):
        archive.archive_due(two, **now)
    with pytest.raises(StorageError, match=r"archive: holds files of another heat pump"):
        rebuild.restore(two, **now)
    assert len(list(Store(two.cache_path).query(0, 1 << 62))) == 12
    assert due(one, "2026-11-20T09:00") == []


@pytest.mark.parametrize("kind", ["daily", "weekly"])
def test_a_sliding_roll_up_after_the_database_was_lost_keeps_all_files(recorded, kind):
    due(recorded, "2026-11-18T08:00", kind)
    asked = {"now_ms": ms("2026-11-18T12:00"), "zone": BERLIN}
    rollup.rollup(recorded, kind, **asked)
    directory = recorded.daily_dir if kind == "daily" else recorded.weekly_dir
    before = {path.name: path.read_bytes() for path in directory.glob("*.csv")}
    for old in recorded.cache_path.parent.glob("cache.sqlite3*"):
        old.unlink()
    record(recorded, ms("2026-11-18T12:00"), ms("2026-11-18T13:00"), step_s=3600)
    later = rollup.rollup(recorded, kind, now_ms=ms("2026-11-18T13:30"), zone=BERLIN)
    assert later.path.name == f"2026-11-18_1330_{kind}.csv"
    assert later.rows == 1
    after = {path.name: path.read_bytes() for path in directory.glob("*.csv")}
    assert {name: after[name] for name in before} == before
