"""Local days and weeks as UTC intervals, above all around the changes of the clocks."""

import itertools
import os
import subprocess
import sys
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest

from luxcli import times
from luxcli.periods import Period, closed_periods, period_ending_on, sliding_period
from tests.support.builders import PROJECT

BERLIN = ZoneInfo("Europe/Berlin")
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
SEVEN = time(7)


def fail(warning: str) -> None:
    raise AssertionError(warning)


def utc(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("label", "start", "stop", "hours"),
    [
        (date(2026, 3, 29), "2026-03-28T06:00", "2026-03-29T05:00", 23),
        (date(2026, 10, 25), "2026-10-24T05:00", "2026-10-25T06:00", 25),
        (date(2026, 3, 28), "2026-03-27T06:00", "2026-03-28T06:00", 24),
        (date(2026, 7, 1), "2026-06-30T05:00", "2026-07-01T05:00", 24),
    ],
)
def test_a_day_has_the_hours_that_the_clocks_of_berlin_give_it(label, start, stop, hours):
    period = period_ending_on("daily", label, SEVEN, BERLIN)
    assert period == Period("daily", utc(start), utc(stop), label)
    assert (period.stop_ms - period.start_ms) / HOUR_MS == hours


@pytest.mark.parametrize(
    ("label", "hours"),
    [(date(2026, 3, 30), 167), (date(2026, 10, 26), 169), (date(2026, 7, 6), 168)],
)
def test_a_week_over_a_clock_change_is_an_hour_shorter_or_longer(label, hours):
    period = period_ending_on("weekly", label, SEVEN, BERLIN)
    assert (period.stop_ms - period.start_ms) / HOUR_MS == hours
    assert times.local_time(period.start_ms, BERLIN) == datetime.combine(
        label - timedelta(days=7), SEVEN, tzinfo=BERLIN
    )


def test_a_csv_time_that_is_skipped_means_the_moment_it_would_have_been():
    # 2026-03-29 02:00 CET is 03:00 CEST: 02:30 does not exist, an hour and a half after 01:00 does.
    period = period_ending_on("daily", date(2026, 3, 29), time(2, 30), BERLIN)
    assert (period.start_ms, period.stop_ms) == (utc("2026-03-28T01:30"), utc("2026-03-29T01:30"))
    assert times.local_time(period.stop_ms, BERLIN).time() == time(3, 30)
    following = period_ending_on("daily", date(2026, 3, 30), time(2, 30), BERLIN)
    assert following.start_ms == period.stop_ms
    assert following.stop_ms - following.start_ms == 23 * HOUR_MS


def test_a_csv_time_that_occurs_twice_means_the_first_of_the_two():
    period = period_ending_on("daily", date(2026, 10, 25), time(2, 30), BERLIN)
    assert period.stop_ms == utc("2026-10-25T00:30")
    assert times.local_time(period.stop_ms, BERLIN).utcoffset() == timedelta(hours=2)
    following = period_ending_on("daily", date(2026, 10, 26), time(2, 30), BERLIN)
    assert following.start_ms == period.stop_ms
    assert following.stop_ms - following.start_ms == 25 * HOUR_MS


@pytest.mark.parametrize(
    "at", [time(0, 0), time(2, 0), time(2, 30), time(3, 0), time(7), time(23, 59)]
)
@pytest.mark.parametrize(
    "name",
    [
        "Europe/Berlin",
        "America/New_York",
        "Australia/Lord_Howe",  # changes by half an hour
        "America/Santiago",  # changes at midnight
        "Africa/Cairo",  # changes at midnight, on other weekdays
        "Asia/Kathmandu",
        "Pacific/Kiritimati",
        "UTC",
    ],
)
def test_two_years_of_days_join_without_gap_or_overlap(name, at):
    zone = ZoneInfo(name)
    since, now = utc("2025-01-01T00:00"), utc("2027-01-01T00:00")
    found = list(closed_periods("daily", since, now, at, 0, zone))
    assert [period.label for period in found] == [
        found[0].label + timedelta(days=number) for number in range(len(found))
    ]
    assert len(found) == 730
    for before, after in itertools.pairwise(found):
        assert before.stop_ms == after.start_ms
    assert all(23 <= (p.stop_ms - p.start_ms) / HOUR_MS <= 25 for p in found)
    assert found[0].start_ms <= since < found[0].stop_ms
    assert found[-1].stop_ms <= now < found[-1].stop_ms + 25 * HOUR_MS


@pytest.mark.parametrize("weekday", range(7))
def test_two_years_of_weeks_join_and_end_on_the_chosen_weekday(weekday):
    since, now = utc("2025-01-01T00:00"), utc("2027-01-01T00:00")
    found = list(closed_periods("weekly", since, now, SEVEN, weekday, BERLIN))
    assert len(found) in (104, 105)
    assert {period.label.weekday() for period in found} == {weekday}
    assert {period.kind for period in found} == {"weekly"}
    for before, after in itertools.pairwise(found):
        assert before.stop_ms == after.start_ms


@pytest.mark.parametrize("at", [time(2, 30), SEVEN])
def test_every_call_continues_where_the_last_one_ended(at):
    """As the scheduler does it: once an hour, with the end of the last period as `since`."""
    since = first = utc("2026-03-20T00:00")
    one_by_one = []
    for now in range(first, utc("2026-04-05T00:00"), HOUR_MS):
        for period in closed_periods("daily", since, now, at, 0, BERLIN):
            one_by_one.append(period)
            since = period.stop_ms
    assert one_by_one == list(
        closed_periods("daily", first, utc("2026-04-05T00:00"), at, 0, BERLIN)
    )
    assert len(one_by_one) == 16


def test_a_period_is_closed_from_its_last_millisecond_on_and_due_only_once():
    end = utc("2026-07-01T05:00")
    before = end - 2 * HOUR_MS
    assert list(closed_periods("daily", before, end - 1, SEVEN, 0, BERLIN)) == []
    assert [p.stop_ms for p in closed_periods("daily", before, end, SEVEN, 0, BERLIN)] == [end]
    assert list(closed_periods("daily", end, end + 2 * HOUR_MS, SEVEN, 0, BERLIN)) == []
    assert [p.stop_ms for p in closed_periods("daily", end - 1, end, SEVEN, 0, BERLIN)] == [end]


def test_nothing_is_closed_when_the_clock_has_stepped_back():
    assert (
        list(
            closed_periods(
                "daily", utc("2026-07-03T00:00"), utc("2026-07-01T00:00"), SEVEN, 0, BERLIN
            )
        )
        == []
    )


@pytest.mark.parametrize(("kind", "days"), [("daily", 1), ("weekly", 7)])
def test_a_sliding_period_is_the_same_length_over_a_clock_change(kind, days):
    now = utc("2026-03-29T12:00") + 7
    assert sliding_period(kind, now, BERLIN) == Period(
        kind, now - days * DAY_MS, now, date(2026, 3, 29)
    )


def test_a_sliding_period_bears_the_local_date():
    assert sliding_period("daily", utc("2026-03-31T22:30"), BERLIN).label == date(2026, 4, 1)
    assert sliding_period("daily", utc("2026-03-31T22:30"), UTC).label == date(2026, 3, 31)


def test_a_named_zone_counts_before_the_systems():
    assert times.zone("Europe/Berlin", {"TZ": "Asia/Tokyo"}, fail) == BERLIN


@pytest.mark.parametrize("variable", ["Europe/Berlin", ":Europe/Berlin", "Europe/Berlin "])
def test_without_a_name_the_variable_tz_counts(variable):
    assert times.zone(None, {"TZ": variable}, fail) == BERLIN


@pytest.mark.parametrize(
    "wrong", ["Mars/Olympus", "Europe", "../../etc/passwd", "/etc/localtime", "a\0b", "Ä"]
)
def test_a_zone_that_does_not_exist_is_utc_and_that_is_said(wrong):
    warnings: list[str] = []
    assert times.zone(None, {"TZ": wrong}, warnings.append) is UTC
    assert times.zone(wrong, {}, warnings.append) is UTC
    assert (
        warnings
        == [f"TZ={wrong}: not a time zone like Europe/Berlin, UTC is used; set 'timezone'"] * 2
    )


@pytest.mark.parametrize("environ", [{}, {"TZ": ""}, {"TZ": ":"}])
def test_without_name_and_variable_the_zone_is_that_of_the_operating_system(environ):
    zone = times.zone(None, environ, fail)
    # What the C library of a fresh process makes of the same machine.
    clean = {key: value for key, value in os.environ.items() if key != "TZ"}
    code = "import time; print(*[time.localtime(s).tm_gmtoff for s in (1780000000, 1800000000)])"
    done = subprocess.run(
        [sys.executable, "-c", code], env=clean, capture_output=True, text=True, check=True
    )
    offsets = [
        int(datetime.fromtimestamp(s, zone).utcoffset().total_seconds())
        for s in (1_780_000_000, 1_800_000_000)
    ]
    assert offsets == [int(word) for word in done.stdout.split()]


def test_every_zone_of_the_database_can_be_named():
    for name in available_timezones():
        assert str(times.zone(name, {}, fail)) == name


def test_local_dates_and_times_keep_the_millisecond():
    ts_ms = utc("2026-10-24T21:59:59") + 999
    assert times.local_date(ts_ms, BERLIN) == date(2026, 10, 24)
    assert times.local_date(ts_ms + 1, BERLIN) == date(2026, 10, 25)
    assert times.local_time(ts_ms, BERLIN).microsecond == 999_000


def test_text_in_utc_drops_the_fraction_instead_of_rounding():
    assert times.utc_text(utc("2026-12-31T23:59:59") + 999) == "2026-12-31T23:59:59Z"
    assert times.utc_text(-1) == "1969-12-31T23:59:59Z"


def test_periods_are_the_same_wherever_the_process_runs():
    code = (
        "from datetime import date, time\n"
        "from zoneinfo import ZoneInfo\n"
        "from luxcli.periods import period_ending_on\n"
        "print(period_ending_on('daily', date(2026, 3, 29), time(7), ZoneInfo('Europe/Berlin')))\n"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "TZ": zone, "PYTHONPATH": str(PROJECT)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for zone in ("Asia/Tokyo", "America/New_York", "UTC")
    }
    assert outputs == {f"{period_ending_on('daily', date(2026, 3, 29), SEVEN, BERLIN)}\n"}


def test_a_zone_that_is_a_posix_rule_is_utc_with_a_warning():
    warnings: list[str] = []
    assert times.zone(None, {"TZ": "CET-1CEST,M3.5.0,M10.5.0/3"}, warnings.append) is UTC
    assert warnings == [
        "TZ=CET-1CEST,M3.5.0,M10.5.0/3: not a time zone like Europe/Berlin, UTC is used;"
        " set 'timezone'"
    ]
