"""What all commands share: options, output for people and for programs, failures to statuses.

Results go to stdout, problems to stderr. On a terminal a person reads along; elsewhere success is
silent, since a scheduler mails whatever is printed.
"""

import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import date
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, NoReturn, TextIO

import typer
from typer.core import TyperGroup

from luxcli import config, log, periods
from luxcli.config import Config
from luxcli.errors import Interrupted, LuxcliError, StorageError, UsageError

if TYPE_CHECKING:
    from luxcli.jobs import PollResult
    from luxcli.monitoring import Watch
    from luxcli.recording import Coverage
    from luxcli.reports import RollupResult

_LOGGER = logging.getLogger("luxcli.cli")
HELP_OPTIONS: Any = {"help_option_names": ["-h", "--help"]}


class Group(TyperGroup):
    """Turns expected failures into one line on stderr and an exit status, and tells who watches."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command named on the command line."""
        status, bug = 1, ""
        try:
            result = self._invoke(ctx)
            status = 0
        except typer.Exit as exc:
            status = exc.exit_code
            raise
        except Interrupted as exc:
            status = 128 + exc.signum
            raise
        except Exception as exc:
            bug = f"a bug: {type(exc).__name__}: {exc}"
            raise
        else:
            return result
        finally:
            _ended(ctx, status, bug)

    def _invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except LuxcliError as exc:
            _fail(ctx, exc)
        except Interrupted as exc:
            limit_s = ctx.meta.get("luxcli.limit_s")
            if limit_s and exc.signum == signal.SIGALRM:
                from luxcli import timelimit

                warn(timelimit.text(limit_s), logging.ERROR)
            raise


class _Watched(NamedTuple):
    """What is kept of a run for those who are told how it ended."""

    watch: "Watch"
    tail: log.Tail


def nothing_done(ctx: typer.Context) -> None:
    """Keep from those who are told how jobs go that this run ended: it had nothing to do.

    Such as a minute without a poll, which is no sign that polls go well.
    """
    ctx.meta.pop("luxcli.watched", None)


def _ended(ctx: Any, status: int, bug: str) -> None:
    watched: _Watched | None = ctx.meta.get("luxcli.watched")
    if watched:
        text = bug or watched.tail.said
        watched.watch.end(status, text, watched.tail.text(), current_ms())


def _fail(ctx: Any, failure: LuxcliError) -> NoReturn:
    warn(str(failure), logging.ERROR)
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
    job: str | None = None,
    beyond_s: Callable[[Config], float] = lambda _: 0.0,
) -> Config:
    """Load the configuration and set up logging; every command that has a configuration begins so.

    `options` and `further` are for `config.load`. The choice of JSON is kept in the context, which
    the failure mapping sees as well.

    Args:
        ctx: Of the command.
        path: As in `ConfigOption`.
        level: As in `LevelOption`.
        as_json: As in `JsonOption`.
        options: Settings from the command line.
        further: Checks of settings.
        job: What the scheduler runs: poll, rollup or prune. It has a time limit, and others are
            told how it ends.
        beyond_s: Gives the seconds that this run of it takes longer than usual.
    """
    ctx.meta["luxcli.json"] = as_json
    chosen = level_of(level)
    given = {"log_level": chosen, **options}
    loaded = config.load(path, os.environ, Path.cwd(), given, further=further)
    words = ctx.command_path.removeprefix(ctx.find_root().command_path)
    run = log.Run(words.strip(), os.urandom(4).hex())
    handlers: list[logging.Handler] = []
    if job and loaded.monitored and job in loaded.monitoring_jobs:
        from luxcli.monitoring import Watch

        handlers.append(tail := log.Tail(run))
        ctx.meta["luxcli.watched"] = _Watched(Watch(loaded, job, run.id, current_ms()), tail)
    style: log.Format = "json" if loaded.log_format == "json" else "text"
    if loaded.log_file:
        from luxcli.logfile import LogFile

        handlers.append(LogFile(loaded.log_file, loaded.log_level or "INFO"))
        handlers[-1].setFormatter(log.formatter(style, run))
    log.set_up(loaded.log_level or default_level(), style, run=run, further=handlers)
    if job:
        from luxcli import timelimit

        ctx.meta["luxcli.limit_s"] = limit_s = timelimit.limit_s(job, loaded) + beyond_s(loaded)
        timelimit.arm(limit_s)
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
        log.tell(logging.INFO, text)
    else:
        _LOGGER.info("%s", text, extra=log.RESULT)


def warn(text: str, level: int = logging.WARNING) -> None:
    """Tell whoever reads stderr, a person or cron's mail, about something to act on.

    With ``log_format: json`` it is a line of the log, since stderr then is for programs.
    """
    try:
        for line in text.splitlines():
            if not log.tell(level, line):
                typer.echo(f"luxcli: {line}", err=True)
    except OSError:
        _discard(sys.stderr)  # the status tells what nobody reads, or a full disk does not take


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


def duration_option(text: str | None, option: str) -> int | None:
    """Return the seconds that an option such as 90, 90s, 5m, 36h or 7d gives.

    Raises:
        UsageError: It gives none.
    """
    try:
        return None if text is None else periods.duration_s(text)
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
        from luxcli.settings import checked

        try:
            checked("interval_sec", seconds)
        except ValueError as exc:
            raise UsageError(f"{option}: {exc}") from exc
    return seconds


def poll_entry(outcome: "PollResult | LuxcliError") -> dict[str, object]:
    """Return what ``--json`` says about one poll."""
    if isinstance(outcome, LuxcliError):
        return {"ok": False, "error": failure_entry(outcome)}
    snapshot = outcome.snapshot
    return {
        "ok": True,
        "taken": periods.utc_text(snapshot.taken_ms),
        "taken_ms": snapshot.taken_ms,
        "took_ms": snapshot.took_ms,
        "tries": snapshot.tries,
        "calculations": len(snapshot.calculations),
        "parameters": len(snapshot.parameters),
        "visibilities": len(snapshot.visibilities),
        "warning": outcome.warning,
    }


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
