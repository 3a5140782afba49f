"""What the texts of options mean; UsageError says what is wrong with one."""

import time
from datetime import date

from luxcli import times
from luxcli.errors import UsageError


def level_of(text: str | None) -> str | None:
    """Return the log level that an option names; UsageError when there is no such."""
    if text is None:
        return None
    from luxcli.config import settings

    try:
        level: str | None = settings.checked("log_level", text)
    except ValueError as exc:
        raise UsageError(f"--log-level: {exc}") from exc
    return level


def date_option(text: str | None, option: str = "--date") -> date | None:
    """Return the date that an option gives; UsageError when it is none."""
    if text is None:
        return None
    try:
        # Only the one spelling: fromisoformat alone also takes 20261124 and 2026-W48-2.
        if len(text) == 10 and text[4] == text[7] == "-" and "2000" <= text[:4] < "9999":
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise UsageError(f"{option} {text!r} is not a date like 2026-11-24")


def duration_option(text: str | None, option: str) -> int | None:
    """Return the seconds that an option such as 90, 90s, 5m, 36h or 7d gives.

    Raises:
        UsageError: It gives none.
    """
    try:
        return None if text is None else times.duration_s(text)
    except ValueError as exc:
        raise UsageError(f"{option} {exc}") from exc


def interval_option(text: str | None, option: str) -> int | None:
    """Return the seconds between polls that an option gives, as `duration_option`.

    Raises:
        UsageError: It gives none, or none that the setting ``interval_sec`` could have: some
            firmware does not survive many connections in a short time (python-luxtronik#36).
    """
    seconds = duration_option(text, option)
    if seconds is not None:
        from luxcli.config.settings import checked

        try:
            checked("interval_sec", seconds)
        except ValueError as exc:
            raise UsageError(f"{option}: {exc}") from exc
    return seconds


def current_ms() -> int:
    """Return the time in milliseconds since the epoch, UTC."""
    return round(time.time() * 1000)
