"""Local days and weeks as half-open intervals ``[start, stop)`` in UTC milliseconds.

Each bound is a wall-clock time in the user's zone, converted by itself: a day is 23, 24 or 25 hours
long. A `csv_time` that a clock change skips means the moment it would be without the change; one
that occurs twice means its first occurrence.
"""

from collections.abc import Iterator
from datetime import date, datetime, time, timedelta, tzinfo
from typing import Literal, NamedTuple

from luxcli.times import local_date

Kind = Literal["daily", "weekly"]
KINDS: tuple[Kind, ...] = ("daily", "weekly")
_DAYS: dict[Kind, int] = {"daily": 1, "weekly": 7}


class Period(NamedTuple):
    """The interval that one CSV covers.

    Attributes:
        kind: daily or weekly.
        start_ms: Start, included; UTC milliseconds.
        stop_ms: End, excluded; UTC milliseconds.
        label: Local calendar date of the end; part of the file's name.
    """

    kind: Kind
    start_ms: int
    stop_ms: int
    label: date


def period_ending_on(kind: Kind, day: date, at: time, zone: tzinfo) -> Period:
    """Return the period that ends on the local date `day` at the wall-clock time `at`."""
    first = day - timedelta(days=_DAYS[kind])
    return Period(kind, _wall_ms(first, at, zone), _wall_ms(day, at, zone), day)


def sliding_period(kind: Kind, now_ms: int, zone: tzinfo) -> Period:
    """Return the last 24 hours, or 7 times 24 hours, before `now_ms`."""
    start_ms = now_ms - _DAYS[kind] * 86_400_000
    return Period(kind, start_ms, now_ms, local_date(now_ms, zone))


def closed_periods(
    kind: Kind, since_ms: int, now_ms: int, at: time, weekly_day: int, zone: tzinfo
) -> Iterator[Period]:
    """Yield, oldest first, the periods that end after `since_ms` and not after `now_ms`.

    Args:
        kind: daily, or weekly for those that end on `weekly_day`.
        since_ms: UTC milliseconds.
        now_ms: UTC milliseconds.
        at: `csv_time`, the wall-clock time at which periods end.
        weekly_day: 0 (Monday) to 6 (Sunday).
        zone: The user's time zone.
    """
    day = local_date(since_ms, zone) - timedelta(days=1)
    last = local_date(now_ms, zone) + timedelta(days=1)
    while day <= last:
        if kind == "daily" or day.weekday() == weekly_day:
            period = period_ending_on(kind, day, at, zone)
            if since_ms < period.stop_ms <= now_ms:
                yield period
        day += timedelta(days=1)


def _wall_ms(day: date, at: time, zone: tzinfo) -> int:
    return int(datetime.combine(day, at, tzinfo=zone).timestamp()) * 1000
