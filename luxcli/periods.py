"""Local days and weeks as half-open intervals ``[start, stop)`` in UTC milliseconds.

Bounds are wall-clock times of the owner's zone, converted one by one: a day is 23, 24 or 25 hours
long. A `csv_time` that a clock change skips means the moment it would have been without the
change; one that occurs twice means the first of the two.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from pathlib import Path
from typing import Final, Literal, NamedTuple

from luxcli.system import logger

_LOGGER = logger.Logger("luxcli.periods")

Kind = Literal["daily", "weekly"]
KINDS: tuple[Kind, ...] = ("daily", "weekly")
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_DAYS: dict[Kind, int] = {"daily": 1, "weekly": 7}


class Period(NamedTuple):
    """What one CSV covers.

    Attributes:
        kind: daily or weekly.
        start_ms: First millisecond, included; UTC.
        stop_ms: End, excluded; UTC.
        label: Local calendar date on which it ends; names the file.
    """

    kind: Kind
    start_ms: int
    stop_ms: int
    label: date


def ending_on(kind: Kind, day: date, at: time, zone: tzinfo) -> Period:
    """Return the period that ends on the local date `day` at the wall-clock time `at`."""
    first = day - timedelta(days=_DAYS[kind])
    return Period(kind, _wall_ms(first, at, zone), _wall_ms(day, at, zone), day)


def sliding(kind: Kind, now_ms: int, zone: tzinfo) -> Period:
    """Return the last 24 hours or 7 times 24 hours before `now_ms`."""
    start_ms = now_ms - _DAYS[kind] * 86_400_000
    return Period(kind, start_ms, now_ms, local_date(now_ms, zone))


def closed(
    kind: Kind, since_ms: int, now_ms: int, at: time, weekly_day: int, zone: tzinfo
) -> Iterator[Period]:
    """Yield, oldest first, the periods that end after `since_ms` and not after `now_ms`.

    Args:
        kind: daily, or weekly: then only those ending on `weekly_day`.
        since_ms: UTC milliseconds.
        now_ms: UTC milliseconds.
        at: `csv_time`, the wall-clock time at which periods end.
        weekly_day: 0 (Monday) to 6 (Sunday).
        zone: The owner's time zone.
    """
    day = local_date(since_ms, zone) - timedelta(days=1)
    last = local_date(now_ms, zone) + timedelta(days=1)
    while day <= last:
        if kind == "daily" or day.weekday() == weekly_day:
            period = ending_on(kind, day, at, zone)
            if since_ms < period.stop_ms <= now_ms:
                yield period
        day += timedelta(days=1)


def zone(name: str | None, environ: Mapping[str, str]) -> tzinfo:
    """Return the time zone called `name`, or the system's when it is None.

    The system's is, as elsewhere, the first of ``TZ``, ``/etc/localtime`` and UTC. A zone with its
    rules is needed, not just today's offset: old periods have to keep their bounds.
    """
    from zoneinfo import ZoneInfo

    given = name or environ.get("TZ", "").strip().removeprefix(":")
    if given:
        try:
            return ZoneInfo(given)
        except (KeyError, OSError, ValueError):
            _LOGGER.warning("TZ=%s is not a zone like Europe/Berlin: UTC; set 'timezone'", given)
            return UTC
    link = Path("/etc/localtime")
    _, found, key = str(link.resolve()).partition("/zoneinfo/")
    try:
        if found:
            return ZoneInfo(key)
        with link.open("rb") as file:
            return ZoneInfo.from_file(file)
    except (KeyError, OSError, ValueError):
        return UTC


def local_date(ts_ms: int, zone: tzinfo) -> date:
    """Return the local calendar date of a UTC time in milliseconds."""
    return local_time(ts_ms, zone).date()


def local_time(ts_ms: int, zone: tzinfo) -> datetime:
    """Return the local date and time of a UTC time in milliseconds."""
    return datetime.fromtimestamp(ts_ms / 1000, zone)


def stamp_ms(stamp: str) -> int:
    """Return the UTC milliseconds of a stamp like 20261124T070000Z, as file names have it."""
    return int(datetime.strptime(stamp, "%Y%m%dT%H%M%S%z").timestamp()) * 1000


def utc_text(ts_ms: int) -> str:
    """Return a UTC time in milliseconds as ISO 8601 text with Z and whole seconds."""
    return datetime.fromtimestamp(ts_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def span(seconds: float) -> str:
    """Return a span of time for people: 12 s, 5 min, 3 h 20 min, 4 days."""
    sign, seconds = "-" if seconds < 0 else "", abs(seconds)
    minutes = round(seconds) // 60
    if minutes < 2:
        return f"{sign}{round(seconds)} s"
    if minutes < 120:
        return f"{sign}{minutes} min"
    if minutes < 2880:
        return f"{sign}{minutes // 60} h {minutes % 60} min"
    return f"{sign}{minutes // 1440} days"


_UNITS_S: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}


def duration_s(text: str) -> int:
    """Return the seconds that a text such as 90, 90s, 5m, 36h or 7d means.

    Raises:
        ValueError: It means none.
    """
    match = re.fullmatch(r"([0-9]{1,7})([smhd]?)", text.strip().lower(), re.ASCII)
    seconds = int(match[1]) * _UNITS_S[match[2]] if match else 0
    if not seconds:
        raise ValueError(f"{text!r} is not a time like 90s, 5m, 36h or 7d")
    return seconds


def _wall_ms(day: date, at: time, zone: tzinfo) -> int:
    return int(datetime.combine(day, at, tzinfo=zone).timestamp()) * 1000
