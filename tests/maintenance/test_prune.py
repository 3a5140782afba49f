"""What prune removes, what it refuses to, and what it says about the disk."""

import pytest

from luxcli.maintenance import prune
from luxcli.store.store import Store
from tests.support.scenario import BERLIN, configured, ms, record

NOW = "2026-11-20T12:00"


def run_prune(settings, now=NOW, **options):
    return prune.prune(settings, now_ms=ms(now), zone=BERLIN, **options)


def make_csvs(settings, *names):
    settings.daily_dir.mkdir(parents=True, exist_ok=True)
    for name in names:
        (settings.daily_dir / name).write_text("x" * 100)


def left(settings):
    return sorted(path.name for path in settings.daily_dir.iterdir())


@pytest.fixture
def settings(tmp_path):
    return configured(tmp_path, disk_usage_limit_percent=100)


def test_csvs_older_than_the_retention_are_removed_by_the_date_in_their_name(settings):
    make_csvs(
        settings,
        "2026-10-20_daily.csv",
        "2026-10-21_daily.csv",
        "2026-10-20_1530_daily.csv",
        "2026-11-20_daily.csv",
    )
    result = run_prune(settings)
    assert left(settings) == ["2026-10-21_daily.csv", "2026-11-20_daily.csv"]
    assert (len(result.csv_files), result.csv_bytes) == (2, 200)
    assert result.findings == ()


def test_files_that_luxcli_did_not_write_are_never_touched(settings):
    strangers = [
        "2020-01-01_notes.csv",
        "2020-01-01_daily.csv.bak",
        "x2020-01-01_daily.csv",
        "2020-02-31_daily.csv",
    ]
    make_csvs(settings, "2026-10-19_daily.csv", "2026-10-21_daily.csv", *strangers)
    run_prune(settings)
    assert left(settings) == sorted(["2026-10-21_daily.csv", *strangers])


def test_removing_every_csv_is_refused(settings):
    make_csvs(settings, "2026-01-01_daily.csv", "2026-01-02_daily.csv")
    result = run_prune(settings)
    assert len(left(settings)) == 2
    assert "all 2 CSV files are older than 30 days: none removed" in result.findings[0]


def test_a_dry_run_removes_nothing_and_reports_the_same(tmp_path):
    settings = configured(
        tmp_path, cache_retention_days=5, archive=False, disk_usage_limit_percent=100
    )
    make_csvs(settings, "2026-10-12_daily.csv", "2026-10-26_weekly.csv")
    times = record(settings, ms("2026-11-10T12:00"), ms("2026-11-20T11:00"), step_s=3600)
    Store(settings.cache_path).flush()
    before = settings.cache_path.read_bytes()
    planned = run_prune(settings, dry_run=True)
    assert settings.cache_path.read_bytes() == before
    assert len(left(settings)) == 2
    done = run_prune(settings)
    assert (planned.csv_files, planned.polls) == (done.csv_files, done.polls)
    assert planned.polls == len([t for t in times if t < ms("2026-11-15T00:00")])


def test_old_polls_go_and_the_settings_of_the_others_still_read_the_same(tmp_path):
    settings = configured(
        tmp_path, cache_retention_days=3, archive=False, disk_usage_limit_percent=100
    )
    record(settings, ms("2026-11-10T12:00"), ms("2026-11-20T11:00"), step_s=3600)
    store = Store(settings.cache_path)
    cutoff = ms("2026-11-17T00:00")
    kept = list(store.query(cutoff, ms(NOW)))
    result = run_prune(settings)
    assert result.polls > 0
    assert result.cache_bytes > 0
    assert list(store.query(0, ms(NOW))) == kept
    assert run_prune(settings).polls == 0


def test_removing_every_poll_is_refused(tmp_path):
    settings = configured(tmp_path, disk_usage_limit_percent=100)
    times = record(settings, ms("2024-11-10T12:00"), ms("2024-11-10T18:00"), step_s=3600)
    result = run_prune(settings)
    assert "all 6 polls are older than 365 days: none removed" in result.findings[0]
    assert [s.taken_ms for s in Store(settings.cache_path).query(0, ms(NOW))] == times


def test_zero_days_keep_everything_for_ever(tmp_path):
    settings = configured(
        tmp_path, csv_retention_days=0, cache_retention_days=0, disk_usage_limit_percent=100
    )
    make_csvs(settings, "2001-01-01_daily.csv", "2026-11-20_daily.csv")
    record(settings, ms("2001-11-10T12:00"), ms("2001-11-10T18:00"), step_s=3600)
    record(settings, ms("2026-11-20T10:00"), ms("2026-11-20T11:00"), step_s=3600)
    result = run_prune(settings)
    assert (result.csv_files, result.polls, result.findings) == ((), 0, ())
    assert len(left(settings)) == 2


def test_a_disk_over_the_limit_is_reported_with_what_is_free(tmp_path):
    result = run_prune(configured(tmp_path, disk_usage_limit_percent=1))
    assert "% full (limit 1 %, " in result.findings[0]


def test_only_csvs_are_removed_after_a_roll_up_on_demand(tmp_path):
    settings = configured(tmp_path, cache_retention_days=1)
    make_csvs(settings, "2026-10-12_daily.csv", "2026-10-26_weekly.csv")
    times = record(settings, ms("2026-11-10T12:00"), ms("2026-11-20T11:00"), step_s=6 * 3600)
    result = prune.prune_csvs(settings, now_ms=ms(NOW), zone=BERLIN)
    assert [path.name for path in result.csv_files] == ["2026-10-12_daily.csv"]
    assert len(list(Store(settings.cache_path).query(0, ms(NOW)))) == len(times)


def test_a_csv_that_was_just_written_is_not_removed(settings):
    make_csvs(settings, "2026-10-12_daily.csv", "2026-10-13_daily.csv", "2026-10-26_daily.csv")
    asked = settings.daily_dir / "2026-10-13_daily.csv"
    prune.prune_csvs(settings, now_ms=ms(NOW), zone=BERLIN, keep={asked})
    assert left(settings) == ["2026-10-13_daily.csv", "2026-10-26_daily.csv"]


def test_a_clock_that_runs_ahead_removes_neither_csvs_nor_polls(tmp_path):
    """One poll and one CSV of 2028 are enough to make everything else look old."""
    settings = configured(tmp_path, disk_usage_limit_percent=100, archive=False)
    times = record(settings, ms("2026-11-10T12:00"), ms("2026-11-20T11:00"), step_s=6 * 3600)
    times += record(settings, ms("2028-11-20T11:00"), ms("2028-11-20T11:01"))
    make_csvs(settings, "2026-11-19_daily.csv", "2026-11-20_daily.csv", "2028-11-20_daily.csv")
    result = run_prune(settings, "2028-11-20T12:00")
    assert [(len(result.csv_files), result.polls)] == [(0, 0)]
    csvs, polls = result.findings
    assert csvs.startswith("there is no CSV between 2026-11-20 and 2028-11-20, and the limit of 30")
    assert polls.startswith("nothing is stored from 2026-11-20T05:00:00Z to 2028-11-20T10:00:00Z")
    assert "is the clock right?" in csvs
    assert "is the clock right?" in polls
    assert len(left(settings)) == 3
    assert [p.taken_ms for p in Store(settings.cache_path).query(0, 1 << 62)] == times


@pytest.mark.slow
@pytest.mark.timeout(60)
@pytest.mark.no_cover
def test_a_pause_of_weeks_only_postpones_the_removal(tmp_path):
    settings = configured(tmp_path, cache_retention_days=60, archive=False)
    record(settings, ms("2026-05-20T00:00"), ms("2026-06-01T00:00"), step_s=24 * 3600)
    record(settings, ms("2026-08-01T00:00"), ms("2026-10-15T00:00"), step_s=24 * 3600)
    assert run_prune(settings, "2026-09-15T12:00").polls == 0
    assert run_prune(settings, "2026-10-02T12:00").polls > 10
    assert Store(settings.cache_path).database.span()[0] == ms("2026-08-03T00:00")


def test_weekly_csvs_alone_are_not_a_pause(tmp_path):
    settings = configured(tmp_path, csv_retention_days=7, disk_usage_limit_percent=100)
    make_csvs(settings, *(f"2026-11-{day:02}_weekly.csv" for day in (2, 9, 16)))
    assert len(run_prune(settings).csv_files) == 2


def test_a_dry_run_counts_the_polls_that_wait(tmp_path):
    settings = configured(tmp_path, cache_retention_days=3, archive=False)
    record(settings, ms("2026-11-10T12:00"), ms("2026-11-20T11:00"), step_s=6 * 3600)
    assert not settings.cache_path.exists()
    assert run_prune(settings, dry_run=True).polls == run_prune(settings).polls > 20
