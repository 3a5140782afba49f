"""Times, durations and time zones as texts, and back."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, tzinfo
from pathlib import Path
from typing import Final

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


def zone(name: str | None, environ: Mapping[str, str], warn: Callable[[str], object]) -> tzinfo:
    """Return the time zone called `name`, or the system's zone.

    The system's zone is the first of ``TZ``, ``/etc/localtime`` and UTC, as for other programs. The
    zone has its rules, not just today's offset: the bounds of old periods must not move.

    Args:
        name: IANA name, None for the system's zone.
        environ: Usually ``os.environ``.
        warn: Called with one line if the name is unknown; the result is UTC then.
    """
    from zoneinfo import ZoneInfo

    zone_name = name or environ.get("TZ", "").strip().removeprefix(":")
    if zone_name:
        try:
            return ZoneInfo(zone_name)
        except (KeyError, OSError, ValueError):
            warn(f"TZ={zone_name}: not a time zone like Europe/Berlin, UTC is used; set 'timezone'")
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
    """Return the local calendar date of a moment, UTC milliseconds."""
    return local_time(ts_ms, zone).date()


def local_time(ts_ms: int, zone: tzinfo) -> datetime:
    """Return the local date and time of a moment, UTC milliseconds."""
    return datetime.fromtimestamp(ts_ms / 1000, zone)


def stamp_ms(stamp: str) -> int:
    """Return the UTC milliseconds of a time stamp in a file name, such as 20261124T070000Z."""
    return int(datetime.strptime(stamp, "%Y%m%dT%H%M%S%z").timestamp()) * 1000


def utc_text(ts_ms: int) -> str:
    """Return a moment, UTC milliseconds, as ISO 8601 text with Z and whole seconds.

    What no calendar has, as damage may leave it, is told in milliseconds.
    """
    try:
        return datetime.fromtimestamp(ts_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OSError, OverflowError, ValueError):
        return f"{ts_ms} ms"


def span(seconds: float) -> str:
    """Return a duration in seconds as text: 12 s, 5 min, 3 h 20 min, 4 days."""
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
    """Return the seconds of a duration such as 90, 90s, 5m, 36h or 7d.

    Raises:
        ValueError: The text is no duration, or 0.
    """
    match = re.fullmatch(r"([0-9]{1,7})([smhd]?)", text.strip().lower(), re.ASCII)
    seconds = int(match[1]) * _UNITS_S[match[2]] if match else 0
    if not seconds:
        raise ValueError(f"{text!r} is not a duration like 90s, 5m, 36h or 7d")
    return seconds
