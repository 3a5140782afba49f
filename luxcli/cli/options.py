"""Options of commands: how one is declared without Typer, and the parsing of their values."""

import time
from datetime import date
from pathlib import Path
from typing import Annotated, NamedTuple

from luxcli import times
from luxcli.config.settings import read_setting
from luxcli.errors import UsageError


class Option(NamedTuple):
    """Declaration of an option, the metadata of a parameter's annotation.

    `fast` parses by it, and `declare` makes Typer's declaration from it. Its type and its default
    are those of the parameter: ``bool`` for a flag, else ``str``, ``int`` or ``Path``.

    Attributes:
        help: Text for ``--help``.
        names: All spellings; none means the parameter's name, such as ``--max-age``.
        metavar: Name of the value in ``--help``.
        minimum: Smallest number that is allowed.
        variable: Environment variable that gives the value where the option is missing.
    """

    help: str
    names: tuple[str, ...] = ()
    metavar: str | None = None
    minimum: int | None = None
    variable: str | None = None


ConfigOption = Annotated[
    Path | None,
    Option(
        "Configuration file; by default ./luxcli.yaml, $XDG_CONFIG_HOME/luxcli/config.yaml"
        " or /etc/luxcli/config.yaml, whichever is found first.",
        names=("--config", "-c"),
        metavar="FILE",
        variable="LUXCLI_CONFIG",
    ),
]
LevelOption = Annotated[
    str | None, Option("DEBUG, INFO, WARNING or ERROR.", names=("--log-level",), metavar="LEVEL")
]
JsonOption = Annotated[bool, Option("Print one JSON object.", names=("--json",))]


def epilog(statuses: str, example: str) -> str:
    """Return the end of a help text: exit statuses and an example."""
    return f"Exit status: {statuses}.\n\n\b\nExample: {example}"


def level_option(text: str | None) -> str | None:
    """Return the log level of ``--log-level``, in capitals; None without the option.

    Raises:
        UsageError: There is no such level.
    """
    if text is None:
        return None
    try:
        level: str | None = read_setting("log_level", text)
    except ValueError as exc:
        raise UsageError(f"--log-level: {exc}") from exc
    return level


def date_option(text: str | None, option: str = "--date") -> date | None:
    """Return the date that an option gives, such as 2026-11-24; None without the option.

    Raises:
        UsageError: The text is not a date from 2000 on.
    """
    if text is None:
        return None
    try:
        # Only this spelling: fromisoformat alone also takes 20261124 and 2026-W48-2.
        if len(text) == 10 and text[4] == text[7] == "-" and "2000" <= text[:4] < "9999":
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise UsageError(f"{option} {text!r} is not a date like 2026-11-24")


def duration_option(text: str | None, option: str) -> int | None:
    """Return the seconds that an option such as 90, 90s, 5m, 36h or 7d gives; None without it.

    Raises:
        UsageError: The text is not a duration.
    """
    try:
        return None if text is None else times.duration_s(text)
    except ValueError as exc:
        raise UsageError(f"{option} {exc}") from exc


def interval_option(text: str | None, option: str) -> int | None:
    """Return the seconds between two polls that an option gives; None without the option.

    Raises:
        UsageError: The text is not a duration, or not one that the setting ``interval_sec`` may
            have: some firmware does not survive many connections in a short time
            (python-luxtronik#36).
    """
    seconds = duration_option(text, option)
    if seconds is not None:
        try:
            read_setting("interval_sec", seconds)
        except ValueError as exc:
            raise UsageError(f"{option}: {exc}") from exc
    return seconds


def current_ms() -> int:
    """Return the time in milliseconds since the epoch, UTC."""
    return round(time.time() * 1000)
