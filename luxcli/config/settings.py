"""The one declaration of every setting: how it is read, what it means, what it is unless set.

Validation, ``config init``, ``config show`` and the documentation are made from `SETTINGS`.
"""

import os
from collections.abc import Callable
from datetime import time
from typing import Any, Final, NamedTuple

from luxcli.config import monitoring_targets as targets
from luxcli.times import WEEKDAYS, duration_s


class Setting(NamedTuple):
    """One key: how its value is read, what it means and what it is unless it is set.

    The value of a secret one is never shown.
    """

    key: str
    read: Callable[[object], Any]
    default: str
    help: str
    bare: bool = False
    secret: bool = False


def checked(key: str, value: object) -> Any:
    """Return the value of one setting.

    Raises:
        ValueError: It cannot be used; says why.
    """
    return next(setting for setting in SETTINGS if setting.key == key).read(value)


def _integer(low: int, high: int, *, also: int | None = None) -> Callable[[object], int]:
    def read(value: object) -> int:
        if isinstance(value, str):
            try:
                value = int(value.strip(), 10)
            except ValueError:
                raise ValueError(f"{value!r} is not a whole number") from None
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError(f"{value!r} is not a whole number")
        if not low <= value <= high and value != also:
            alternative = "" if also is None else f" or {also}"
            raise ValueError(f"{value} is not in {low}..{high}{alternative}")
        return value

    return read


def _boolean(value: object) -> bool:
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if word in {"true", "yes", "on", "1"}:
        return True
    if word in {"false", "no", "off", "0"}:
        return False
    raise ValueError(f"{value!r} is neither true nor false")


def _choice(*words: str, fold: Callable[[str], str] = str.lower) -> Callable[[object], str]:
    def read(value: object) -> str:
        word = fold(str(value).strip())
        if word not in words:
            raise ValueError(f"{value!r} is not one of {', '.join(words)}")
        return word

    return read


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a text; put it in quotes")
    if not value.strip():
        raise ValueError("is empty")
    return value.strip()


def _host(value: object) -> str | None:
    if value == "":
        return None
    host = _text(value)
    if host.count(":") == 1 and host.partition(":")[2].isdigit():
        raise ValueError(f"{host!r}: the part behind the colon belongs into 'port'")
    if not all(c.isalnum() or c in ".-_:%[]" for c in host):
        raise ValueError(f"{host!r} is not a host name or address")
    return host.strip("[]")


def _clock_time(value: object) -> time:
    hours, colon, minutes = str(value).strip().partition(":")
    digits = hours.isdecimal() and minutes.isdecimal() and len(minutes) == 2
    if colon and digits and int(hours) < 24 and int(minutes) < 60:
        return time(int(hours), int(minutes))
    raise ValueError(f"{value!r} is not a time of day like 07:00")


def _weekday(value: object) -> int:
    word = str(value).strip().lower()
    matches = [i for i, name in enumerate(WEEKDAYS) if len(word) >= 2 and name.startswith(word)]
    if len(matches) != 1:
        raise ValueError(f"{value!r} is not a weekday: {', '.join(WEEKDAYS)}")
    return matches[0]


def _zone(value: object) -> str | None:
    if value == "":
        return None
    name = _text(value)
    if _is_zone_file(name):
        return name
    from zoneinfo import ZoneInfo

    try:
        ZoneInfo(name)
    except (KeyError, OSError, ValueError):
        raise ValueError(f"{name!r} is not a time zone like Europe/Berlin") from None
    return name


def _is_zone_file(name: str) -> bool:
    """Whether the system has the zone, where it usually is: `zoneinfo` takes long to load."""
    if not all(part.replace("_", "").replace("-", "").isalnum() for part in name.split("/")):
        return False  # such as a path that leads elsewhere, or one that zoneinfo refuses
    try:
        with open(f"/usr/share/zoneinfo/{name}", "rb") as file:
            return file.read(4) == b"TZif"
    except OSError:
        return False


def _words(value: object) -> tuple[str, ...]:
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, list | tuple):
        raise ValueError(f"{value!r} is not a list")
    words = tuple(str(item).strip() for item in items if str(item).strip())
    if not words:
        raise ValueError("is empty")
    return words


def _some_of(*words: str) -> Callable[[object], tuple[str, ...]]:
    def read(value: object) -> tuple[str, ...]:
        chosen = tuple(word.lower() for word in _words(value))
        for word in chosen:
            if word not in words:
                raise ValueError(f"{word!r} is not one of {', '.join(words)}")
        return chosen

    return read


def _duration(value: object) -> int | None:
    return None if value == "" else duration_s(str(value))


def _tags(value: object) -> tuple[str, ...]:
    return () if value == "" else _words(value)


def _delimiter(value: object) -> str:
    named = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";"}
    mark = named.get(str(value).strip().lower(), str(value))
    if mark not in {",", ";", "\t", "|"}:
        raise ValueError(f"{value!r} is not one of , ; | tab")
    return mark


def _decimal(value: object) -> str:
    if value not in {".", ","}:
        raise ValueError(f"{value!r} is not one of . ,")
    return str(value)


def _path_text(value: object) -> str:
    text = "" if value == "" else _text(value)
    if "\0" in text:
        raise ValueError(f"{text!r} cannot be a path")
    if os.path.expanduser(text).startswith("~"):
        raise ValueError(f"{text!r}: no home directory is known for '~'; write the whole path")
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":  # of an .env file, for Docker
        raise ValueError(f"{text} is in quotes; leave them out")
    return text


def _file_path(value: object) -> str:
    text = _path_text(value)
    if text and text.rstrip("/").rpartition("/")[2] in {"", ".", ".."}:
        raise ValueError(f"{text!r} is a directory; add the name of a file")
    return text


PATHS: Final = (
    "cache_path",
    "output_dirs.daily",
    "output_dirs.weekly",
    "log_file",
    "monitoring.healthchecks_url_file",
    "monitoring.uptime_kuma_url_file",
    "monitoring.ntfy_url_file",
    "monitoring.ntfy_token_file",
)
_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR")

SETTINGS: Final[tuple[Setting, ...]] = (
    Setting("host", _host, "", "Name or address of the heat pump.", bare=True),
    Setting("port", _integer(1, 65535), "8889", "TCP port (8888 on old firmware).", bare=True),
    Setting(
        "interval_sec",
        _integer(10, 3600),
        "30",
        "Seconds between polls; the scheduler is set up from it.",
        bare=True,
    ),
    Setting("csv_time", _clock_time, "07:00", "Local time at which daily CSVs end.", bare=True),
    Setting("weekly_day", _weekday, "monday", "The weekday whose csv_time ends a week.", bare=True),
    Setting(
        "cache_path",
        _file_path,
        "",
        "SQLite file on a local disk; relative to this file. The default follows\nXDG_DATA_HOME.",
        bare=True,
    ),
    Setting(
        "output_dirs.daily",
        _path_text,
        "",
        "Where daily CSVs go, relative to this file; the default is beside the cache.\n"
        "'output_dirs: PATH' sets both.",
        bare=True,
    ),
    Setting("output_dirs.weekly", _path_text, "", "Where weekly CSVs go.", bare=True),
    Setting(
        "timeout_sec",
        _integer(1, 600),
        "60",
        "Limit for one attempt to read the heat pump, seconds, everything included.",
        bare=True,
    ),
    Setting("retries", _integer(0, 10), "3", "Further attempts after a failed one.", bare=True),
    Setting(
        "timezone",
        _zone,
        "",
        "IANA name; the default is the system's.",
        bare=True,
    ),
    Setting(
        "csv_retention_days",
        _integer(1, 36_500, also=0),
        "30",
        "'prune' removes CSVs older than this; 0 keeps them for ever.",
        bare=True,
    ),
    Setting(
        "cache_retention_days",
        _integer(1, 36_500, also=0),
        "365",
        "'prune' removes polls older than this from the cache; 0 keeps them for ever.",
        bare=True,
    ),
    Setting(
        "disk_usage_limit_percent",
        _integer(1, 100),
        "90",
        "'prune' warns when the disk is fuller than this.",
        bare=True,
    ),
    Setting("archive", _boolean, "true", "Keep a daily archive as a second copy."),
    Setting(
        "flush_polls",
        _integer(1, 1000),
        "20",
        "Polls that are collected before they go to the cache; 1 = at once, for live\n"
        "dashboards, at three times the wear of an SD card.",
    ),
    Setting(
        "csv.sensors",
        _words,
        "calculations",
        "Columns: calculations, parameters, visibilities, all, ids or patterns like\n"
        "'ID_WEB_Temp*' ('luxcli sensors' lists them).",
    ),
    Setting("csv.headers", _choice("id", "name"), "id", "'name' = English name and unit."),
    Setting("csv.delimiter", _delimiter, ",", "',' ';' '|' or tab."),
    Setting("csv.decimal", _decimal, ".", "'.' or ','."),
    Setting("csv.bom", _boolean, "false", "true helps Excel to recognise UTF-8."),
    Setting("csv.enums", _choice("label", "code"), "label", "Modes and states as text or number."),
    Setting(
        "log_level",
        lambda value: None if value == "" else _choice(*_LEVELS, fold=str.upper)(value),
        "",
        "DEBUG, INFO, WARNING or ERROR; the default is WARNING, on a terminal INFO.",
        bare=True,
    ),
    Setting("log_format", _choice("text", "json"), "text", "json for log collectors.", bare=True),
    Setting(
        "log_file",
        _path_text,
        "",
        "Also log to this file, relative to this one; from INFO on unless log_level is set.",
    ),
    Setting(
        "monitoring.healthchecks_url",
        targets.urls,
        "",
        "Ping address of Healthchecks or the like; '{job}' in it stands for poll, rollup or\n"
        "prune; without it it is for polls; 'poll=ADDRESS rollup=ADDRESS' names several.",
        secret=True,
    ),
    Setting("monitoring.healthchecks_url_file", _path_text, "", "A file that holds it."),
    Setting(
        "monitoring.uptime_kuma_url",
        targets.urls,
        "",
        "Push address of Uptime Kuma, for one job or several as above.",
        secret=True,
    ),
    Setting("monitoring.uptime_kuma_url_file", _path_text, "", "A file that holds that."),
    Setting(
        "monitoring.ntfy_url",
        targets.topic,
        "",
        "Topic of ntfy, for all jobs.",
        secret=True,
    ),
    Setting("monitoring.ntfy_url_file", _path_text, "", "A file that holds the topic."),
    Setting("monitoring.ntfy_token", targets.token, "", "Access token of ntfy.", secret=True),
    Setting("monitoring.ntfy_token_file", _path_text, "", "A file that holds the token."),
    Setting("monitoring.ntfy_title", _text, "luxcli", "How titles at ntfy begin."),
    Setting("monitoring.ntfy_priority", _integer(1, 5), "4", "Of failures at ntfy, 1 to 5."),
    Setting("monitoring.ntfy_tags", _tags, "", "Further tags at ntfy."),
    Setting(
        "monitoring.command",
        targets.command,
        "",
        "A command to run: a list of arguments, or a text for the shell. It finds LUXCLI_JOB,\n"
        "LUXCLI_EVENT, LUXCLI_STATUS and LUXCLI_MESSAGE in its environment.",
        secret=True,
    ),
    Setting(
        "monitoring.jobs",
        _some_of(*targets.JOBS),
        "poll,rollup,prune",
        "The jobs that are told about.",
    ),
    Setting(
        "monitoring.events",
        _some_of(*targets.EVENTS),
        "failed,recovered,stale",
        "What ntfy and the command are told.",
    ),
    Setting(
        "monitoring.ping_every",
        _duration,
        "5m",
        "How often Healthchecks and Uptime Kuma hear that polls go well.",
    ),
    Setting(
        "monitoring.stale_after",
        _duration,
        "",
        "Tell when the last good poll is older; the default is 30m, or three times\n"
        "interval_sec if that is longer.",
    ),
)
