"""Readers of the values of settings: from a text, or what YAML makes of it, to a checked value.

Each raises ValueError if the value cannot be used; the text says why, and what would do.
"""

import os
from collections.abc import Callable
from datetime import time
from typing import Final

from luxcli.times import WEEKDAYS, duration_s

_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR")


def integer(low: int, high: int, *, also: int | None = None) -> Callable[[object], int]:
    """Return a reader of whole numbers from `low` to `high`, or `also`."""

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


def boolean(value: object) -> bool:
    """Return True or False for true, yes, on, 1 and their opposites."""
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if word in {"true", "yes", "on", "1"}:
        return True
    if word in {"false", "no", "off", "0"}:
        return False
    raise ValueError(f"{value!r} is neither true nor false")


def choice(*words: str, fold: Callable[[str], str] = str.lower) -> Callable[[object], str]:
    """Return a reader of one of some words; `fold` gives the spelling that they have here."""

    def read(value: object) -> str:
        word = fold(str(value).strip())
        if word not in words:
            raise ValueError(f"{value!r} is not one of {', '.join(words)}")
        return word

    return read


def text(value: object) -> str:
    """Return a text that is not empty, without surrounding blanks."""
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a text; put it in quotes")
    if not value.strip():
        raise ValueError("is empty")
    return value.strip()


def host(value: object) -> str | None:
    """Return a host name or address, None for ""."""
    if value == "":
        return None
    address = text(value)
    if address.count(":") == 1 and address.partition(":")[2].isdigit():
        raise ValueError(f"{address!r}: write the number after the colon as 'port'")
    if not all(c.isalnum() or c in ".-_:%[]" for c in address):
        raise ValueError(f"{address!r} is not a host name or address")
    return address.strip("[]")


def clock_time(value: object) -> time:
    """Return a time of day such as 07:00."""
    hours, colon, minutes = str(value).strip().partition(":")
    digits = hours.isdecimal() and minutes.isdecimal() and len(minutes) == 2
    if colon and digits and int(hours) < 24 and int(minutes) < 60:
        return time(int(hours), int(minutes))
    raise ValueError(f"{value!r} is not a time of day like 07:00")


def weekday(value: object) -> int:
    """Return 0 (Monday) to 6 for a weekday's English name or its beginning."""
    word = str(value).strip().lower()
    matches = [i for i, name in enumerate(WEEKDAYS) if len(word) >= 2 and name.startswith(word)]
    if len(matches) != 1:
        raise ValueError(f"{value!r} is not a weekday: {', '.join(WEEKDAYS)}")
    return matches[0]


def zone(value: object) -> str | None:
    """Return the name of a time zone that exists, None for ""."""
    if value == "":
        return None
    name = text(value)
    if _is_zone_file(name):
        return name
    from zoneinfo import ZoneInfo

    try:
        ZoneInfo(name)
    except (KeyError, OSError, ValueError):
        raise ValueError(f"{name!r} is not a time zone like Europe/Berlin") from None
    return name


def _is_zone_file(name: str) -> bool:
    """Return whether the system's usual file of the zone exists: `zoneinfo` is slow to load."""
    if not all(part.replace("_", "").replace("-", "").isalnum() for part in name.split("/")):
        return False  # such as a path that leads elsewhere, or one that zoneinfo refuses
    try:
        with open(f"/usr/share/zoneinfo/{name}", "rb") as file:
            return file.read(4) == b"TZif"
    except OSError:
        return False


def word_list(value: object) -> tuple[str, ...]:
    """Return the words of a list, or of a text with commas."""
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, list | tuple):
        raise ValueError(f"{value!r} is not a list")
    words = tuple(str(item).strip() for item in items if str(item).strip())
    if not words:
        raise ValueError("is empty")
    return words


def some_of(*words: str) -> Callable[[object], tuple[str, ...]]:
    """Return a reader of a list of some of these words."""

    def read(value: object) -> tuple[str, ...]:
        chosen = tuple(word.lower() for word in word_list(value))
        for word in chosen:
            if word not in words:
                raise ValueError(f"{word!r} is not one of {', '.join(words)}")
        return chosen

    return read


def duration(value: object) -> int | None:
    """Return the seconds of a duration such as 5m, None for ""."""
    return None if value == "" else duration_s(str(value))


def tags(value: object) -> tuple[str, ...]:
    """Return the words of a list, or of a text with commas; () for ""."""
    return () if value == "" else word_list(value)


def delimiter(value: object) -> str:
    """Return the mark between the columns of a CSV, which may be given by name."""
    named = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";"}
    mark = named.get(str(value).strip().lower(), str(value))
    if mark not in {",", ";", "\t", "|"}:
        raise ValueError(f"{value!r} is not one of , ; | tab")
    return mark


def decimal(value: object) -> str:
    """Return the decimal mark of a CSV."""
    mark = str(value)
    if mark not in {".", ","}:
        raise ValueError(f"{mark!r} is not one of . ,")
    return mark


def path_text(value: object) -> str:
    """Return the text of a path, "" for none; whether anything is there does not matter."""
    path = "" if value == "" else text(value)
    if "\0" in path:
        raise ValueError(f"{path!r} cannot be a path")
    if os.path.expanduser(path).startswith("~"):
        raise ValueError(f"{path!r}: no home directory is known for '~'; write the whole path")
    if len(path) > 1 and path[0] == path[-1] and path[0] in "\"'":  # of an .env file, for Docker
        raise ValueError(f"{path} is in quotes; leave them out")
    return path


def file_path(value: object) -> str:
    """Return the text of a path that ends with the name of a file, "" for none."""
    path = path_text(value)
    if path and path.rstrip("/").rpartition("/")[2] in {"", ".", ".."}:
        raise ValueError(f"{path!r} is a directory; add the name of a file")
    return path


def log_level(value: object) -> str | None:
    """Return the name of a log level, None for ""."""
    return None if value == "" else choice(*_LEVELS, fold=str.upper)(value)
