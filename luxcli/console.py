"""What all commands share: options, output for people and for programs, failures to statuses.

Results go to stdout, problems to stderr. On a terminal a person reads along; elsewhere success is
silent, since a scheduler mails whatever is printed.
"""

import json
import logging
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import date
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, NoReturn, Protocol

import typer
from typer.core import TyperGroup

from luxcli import config, log, periods
from luxcli.config import Config
from luxcli.errors import LuxcliError, StorageError, UsageError

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from luxcli.recording import Coverage
    from luxcli.reports import RollupResult

_LOGGER = logging.getLogger("luxcli.cli")
_BAR_AFTER_S = 1.0
_REFRESH_PER_S = 2
_COLUMN_WIDTH = 36
_CHANGE_WIDTH = 7
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
    """
    try:
        typer.echo(text)
        sys.stdout.flush()
    except BrokenPipeError:
        raise  # whoever read along has seen enough, as with 'head'
    except OSError as exc:
        # The interpreter flushes once more when it ends; let that go nowhere.
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise StorageError(f"the output cannot be written: {exc.strerror}") from exc


def result_line(text: str) -> None:
    """Tell a person at a terminal; under a scheduler it is for the log only."""
    if sys.stdout.isatty():
        say(text)
    else:
        _LOGGER.info("%s", text)


def warn(text: str) -> None:
    """Tell whoever reads stderr, a person or cron's mail, about something to act on."""
    for line in text.splitlines():
        typer.echo(f"luxcli: {line}", err=True)


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


class Show(Protocol):
    """Moves a progress bar."""

    def __call__(self, done: float, total: float, text: str | None = None) -> None:
        """Show how much of how much is done."""


@contextmanager
def progress(what: str) -> Iterator[Show]:
    """Give a function ``(done, total)`` that moves a bar, once the work has taken a second.

    Its third argument replaces what stands before the bar. Without a terminal it does nothing; what
    is quick shows no bar that would only flicker.
    """
    shown: list[tuple[Progress, TaskID]] = []
    began = time.monotonic()

    def show(done: float, total: float, text: str | None = None) -> None:
        if not shown:
            if not sys.stderr.isatty() or time.monotonic() - began < _BAR_AFTER_S:
                return
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=None),  # what the text leaves
                TextColumn("{task.percentage:>3.0f}%"),
                TimeRemainingColumn(),
            )
            bar = Progress(*columns, console=Console(stderr=True), transient=True, expand=True)
            bar.start()
            shown.append((bar, bar.add_task(what, total=None)))
        bar, task = shown[0]
        bar.update(task, completed=done, total=total, description=text or what)

    try:
        yield show
    finally:
        for bar, _task in shown:
            bar.stop()


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    """Print a table for a person, tab-separated lines for anything else."""
    if not sys.stdout.isatty():
        for row in [head, *rows]:
            say(_printable("\t".join(row)))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Column, Table

    # Folded, not cut: what is cut off is what tells long ids and paths apart.
    columns = [Column(title, overflow="fold") for title in head]
    table = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    Console(highlight=False).print(table, markup=False)


class Sheet(NamedTuple):
    """What `live` shows: lines, then columns of ``(name, value, change)`` side by side, then lines.

    The style of a line is one of rich, such as "bold" or "red"; empty for none.
    """

    head: Sequence[tuple[str, str]]
    columns: Sequence[Sequence[tuple[str, str, str]]]
    foot: Sequence[tuple[str, str]]


@contextmanager
def live(compose: Callable[[int, int], Sheet]) -> Iterator[None]:
    """Fill the terminal with a sheet, twice a second anew, and restore it at the end.

    Args:
        compose: Called with columns and lines of the terminal; must not wait.
    """
    from rich.console import Console, Group
    from rich.live import Live
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)

    def line(text: str, style: str = "") -> Text:
        return Text(text, style, no_wrap=True, overflow="ellipsis")

    def paint() -> Group:
        sheet = compose(console.width, console.height)
        side_by_side = Table.grid(expand=True, padding=(0, 2, 0, 0), pad_edge=False)
        for _ in sheet.columns[1:]:
            side_by_side.add_column(width=_COLUMN_WIDTH)
        side_by_side.add_column(ratio=1)
        blocks = []
        for rows in sheet.columns:
            block = Table.grid(expand=True, padding=(0, 1, 0, 0), pad_edge=False)
            block.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
            block.add_column(justify="right", no_wrap=True)
            if any(row[1] for row in rows):
                block.add_column(width=_CHANGE_WIDTH)
            for name, value, change in rows:
                cells = (line(name), line(value, "bold"), line(change, "cyan"))
                block.add_row(*cells[: len(block.columns)])
            blocks.append(block)
        side_by_side.add_row(*blocks)
        head, foot = ([line(*entry) for entry in entries] for entries in (sheet.head, sheet.foot))
        return Group(*head, side_by_side, *foot)

    with Live(
        console=console,
        screen=True,
        get_renderable=paint,
        refresh_per_second=_REFRESH_PER_S,
        vertical_overflow="crop",
    ):
        yield


# Level of a finding -> sign, sign without Unicode, word, colour.
_SIGNS: Mapping[str, tuple[str, str, str, str]] = {
    "ok": ("✓", "ok", "", "green"),
    "warning": ("!", "!", "warning: ", "yellow"),
    "problem": ("✗", "X", "problem: ", "red"),
    "info": ("·", "-", "", "dim"),
    "failed": ("✗", "X", "", "red"),
    "unknown": ("?", "?", "", "dim"),
}


def heading(text: str) -> None:
    """Print the title of a section."""
    say("")
    if not sys.stdout.isatty():
        say(_printable(f"{text}:"))
        return
    from rich.console import Console
    from rich.text import Text

    Console().print(Text(text, style="bold"))


def finding(level: str, text: str, advice: str | None = None) -> None:
    """Print one finding with its sign: ok, warning, problem, info, failed or unknown."""
    sign, plain_sign, word, colour = _SIGNS[level]
    sign = sign if _is_unicode() else plain_sign
    if not sys.stdout.isatty():
        say(_printable(f"  {sign:<2} {word}{text}"))
        if advice:
            say(_printable(f"     -> {advice}"))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_row(Text(f"  {sign}", style=colour), Text(_printable(word + text)))
    if advice:
        arrow = "→" if _is_unicode() else "->"
        grid.add_row("", Text(_printable(f"{arrow} {advice}"), style="bold"))
    Console(highlight=False).print(grid)


@contextmanager
def waiting(what: str) -> Iterator[Callable[[str], None]]:
    """Show on a terminal that something goes on; give a function that says what it is now."""
    if not sys.stderr.isatty():
        yield lambda _what: None
        return
    from rich.console import Console

    with Console(stderr=True).status(what) as status:
        yield lambda now: status.update(f"{what}: {now}")


def _is_unicode() -> bool:
    return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"


def _printable(text: str) -> str:
    """Return the text with '?' for what stdout's encoding does not have."""
    encoding = sys.stdout.encoding or "ascii"
    return text.encode(encoding, "replace").decode(encoding)


def records(head: tuple[str, ...], rows: Iterable[tuple[str, ...]], titles: int) -> None:
    """Print rows with long texts: a block of lines each for a person, else as `table` does.

    The first `titles` cells are the heading of a block.
    """
    if not sys.stdout.isatty():
        table(head, rows)
        return
    width = max(map(len, head[titles:]))
    for row in rows:
        say("  ".join(cell for cell in row[:titles] if cell))
        for name, cell in zip(head[titles:], row[titles:], strict=True):
            if cell:
                say(f"    {name:{width}}  {cell}")


def print_json(**fields: object) -> None:
    """Print the one object of ``--json``."""
    say(json.dumps(fields, ensure_ascii=False))


def megabytes(size: int) -> str:
    """Return a size for people."""
    return f"{size / 1e6:.1f} MB" if size >= 100_000 else f"{size / 1e3:.1f} kB"
