"""What all commands share: options, output for people and for programs, failures to statuses.

Results go to stdout, problems to stderr. On a terminal a person reads along; elsewhere success is
silent, since a scheduler mails whatever is printed.
"""

import json
import logging
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import date
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TextIO

import typer
from typer.core import TyperGroup

from luxcli import config, log, periods
from luxcli.config import Config
from luxcli.errors import Interrupted, LuxcliError, StorageError, UsageError

if TYPE_CHECKING:
    from luxcli.recording import Coverage
    from luxcli.reports import RollupResult

_LOGGER = logging.getLogger("luxcli.cli")
HELP_OPTIONS: Any = {"help_option_names": ["-h", "--help"]}


class Group(TyperGroup):
    """Turns expected failures into one line on stderr and an exit status."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command named on the command line."""
        try:
            return super().invoke(ctx)
        except LuxcliError as exc:
            _fail(ctx, exc)


def _fail(ctx: Any, failure: LuxcliError) -> NoReturn:
    warn(str(failure))
    if ctx.meta.get("luxcli.json"):
        print_json(ok=False, error=failure_entry(failure))
    raise typer.Exit(failure.exit_code) from failure


ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        envvar="LUXCLI_CONFIG",
        help="Configuration file; by default ./luxcli.yaml, $XDG_CONFIG_HOME/luxcli/config.yaml"
        " or /etc/luxcli/config.yaml, whichever is found first.",
        show_default=False,
    ),
]
LevelOption = Annotated[
    str | None,
    typer.Option("--log-level", metavar="LEVEL", help="DEBUG, INFO, WARNING or ERROR."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def failure_entry(failure: LuxcliError) -> dict[str, object]:
    """Return what ``--json`` says about a failure."""
    return {"type": type(failure).__name__, "exit": failure.exit_code, "text": str(failure)}


def epilog(statuses: str, example: str) -> str:
    """Return how each help text ends."""
    return f"\b\nExit status: {statuses}.\nExample: {example}"


def start(
    ctx: typer.Context,
    path: Path | None,
    level: str | None,
    *,
    as_json: bool = False,
    options: Mapping[str, object] = MappingProxyType({}),
    further: Mapping[str, Callable[[Any], object]] = MappingProxyType({}),
) -> Config:
    """Load the configuration and set up logging; every command that has a configuration begins so.

    `options` and `further` are for `config.load`. The choice of JSON is kept in the context, which
    the failure mapping sees as well.
    """
    ctx.meta["luxcli.json"] = as_json
    chosen = level_of(level)
    given = {"log_level": chosen, **options}
    loaded = config.load(path, os.environ, Path.cwd(), given, further=further)
    log.set_up(
        loaded.log_level or default_level(),
        "json" if loaded.log_format == "json" else "text",
    )
    return loaded


def level_of(text: str | None) -> str | None:
    """Return the log level that an option names; UsageError when there is no such."""
    if text is None:
        return None
    from luxcli import settings

    try:
        level: str | None = settings.checked("log_level", text)
    except ValueError as exc:
        raise UsageError(f"--log-level: {exc}") from exc
    return level


def default_level() -> str:
    """Return the log level in force when nothing is said about it."""
    return "INFO" if sys.stderr.isatty() else "WARNING"


def say(text: str) -> None:
    """Print a result.

    Raises:
        StorageError: It cannot be written, such as to a file on a full disk.
        Interrupted: Nobody reads it any more, see `end_unread`.
    """
    try:
        typer.echo(text)
        sys.stdout.flush()
    except BrokenPipeError:
        end_unread()
    except OSError as exc:
        _discard(sys.stdout)
        raise StorageError(f"the output cannot be written: {exc.strerror}") from exc


def end_unread() -> NoReturn:
    """End quietly because whoever read along, such as 'head', has seen enough and gone.

    With the status of a program that SIGPIPE ends, as it ends most; Python ignores that signal.

    Raises:
        Interrupted: Always.
    """
    _discard(sys.stdout)
    raise Interrupted(signal.SIGPIPE)


def _discard(stream: TextIO) -> None:
    """Let what is still to be written go nowhere: the interpreter flushes when it ends."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def result_line(text: str) -> None:
    """Tell a person at a terminal; under a scheduler it is for the log only."""
    if sys.stdout.isatty():
        say(text)
    else:
        _LOGGER.info("%s", text)


def warn(text: str) -> None:
    """Tell whoever reads stderr, a person or cron's mail, about something to act on."""
    try:
        for line in text.splitlines():
            typer.echo(f"luxcli: {line}", err=True)
    except BrokenPipeError:
        _discard(sys.stderr)  # the status tells what nobody wants to read


def current_ms() -> int:
    """Return the time in milliseconds since the epoch, UTC."""
    return round(time.time() * 1000)


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


_UNITS_S = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}


def duration_option(text: str | None, option: str) -> int | None:
    """Return the seconds that an option such as 90, 90s, 5m, 36h or 7d gives.

    Raises:
        UsageError: It gives none.
    """
    if text is None:
        return None
    match = re.fullmatch(r"([0-9]{1,7})([smhd]?)", text.strip().lower(), re.ASCII)
    seconds = int(match[1]) * _UNITS_S[match[2]] if match else 0
    if not seconds:
        raise UsageError(f"{option} {text!r} is not a time like 90s, 5m, 36h or 7d")
    return seconds


def rollup_entry(result: "RollupResult") -> dict[str, object]:
    """Return what ``--json`` says about one CSV."""
    return {
        "kind": result.period.kind,
        "start": periods.utc_text(result.period.start_ms),
        "stop": periods.utc_text(result.period.stop_ms),
        "path": str(result.path) if result.path else None,
        "rows": result.rows,
        "columns": result.columns,
        "bytes": result.size,
        "coverage": coverage_entry(result.coverage),
    }


def coverage_entry(coverage: "Coverage") -> dict[str, object]:
    """Return what ``--json`` says about polls and the schedule."""
    from luxcli import recording

    return recording.as_json(coverage)


def print_json(**fields: object) -> None:
    """Print the one object of ``--json``."""
    say(json.dumps(fields, ensure_ascii=False))


def megabytes(size: int) -> str:
    """Return a size for people."""
    return f"{size / 1e6:.1f} MB" if size >= 100_000 else f"{size / 1e3:.1f} kB"
