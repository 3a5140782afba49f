"""Prints tables, signs, progress bars and the live sheet on terminals.

Elsewhere than on a terminal tables are tab-separated lines and everything else is plain lines.
"""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from luxcli.cli.output import print_line
from luxcli.system.progress import Progress, silent

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

_BAR_AFTER_S = 1.0
_REFRESH_PER_S = 2
_COLUMN_WIDTH = 36
_CHANGE_WIDTH = 7
_USUAL_WIDTH = 80


@contextmanager
def progress(what: str) -> Iterator[Progress]:
    """Show a progress bar on a terminal, once the work has taken a second.

    A bar for what is quick would only flicker. A text that the job reports replaces `what`.
    """
    shown: list[tuple[Bar, TaskID]] = []
    began = time.monotonic()

    def show(done: float, total: float, text: str | None = None) -> None:
        if not shown:
            if not sys.stderr.isatty() or time.monotonic() - began < _BAR_AFTER_S:
                return
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=None),  # what the text leaves
                TextColumn("{task.percentage:>3.0f}%"),
                TimeRemainingColumn(),
            )
            bar = Bar(*columns, console=Console(stderr=True), transient=True, expand=True)
            bar.start()
            shown.append((bar, bar.add_task(what, total=None)))
        bar, task = shown[0]
        bar.update(task, completed=done, total=total, description=text or what)

    try:
        yield show
    finally:
        for bar, _task in shown:
            bar.stop()


def print_table(
    head: tuple[str, ...], rows: Iterable[tuple[str, ...]], *, whole: str | None = None
) -> None:
    """Print a table on a terminal, tab-separated lines elsewhere.

    Args:
        head: Titles of the columns.
        rows: Cells.
        whole: Title of a column whose cells are not folded where the terminal has the usual width,
            so that they can be copied.
    """
    if not sys.stdout.isatty():
        for row in [head, *rows]:
            print_line(printable("\t".join(row)))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Column, Table

    # Folded instead of cut, because long ids and paths differ at their ends.
    console = Console(highlight=False)
    uncut = whole if console.width >= _USUAL_WIDTH else None
    columns = [Column(title, overflow="fold", no_wrap=title == uncut) for title in head]
    table = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    console.print(table, markup=False)


class Sheet(NamedTuple):
    """Content of the screen that `live_sheet` shows.

    Attributes:
        head: Lines with a style of rich, such as "bold" or "red"; empty for none.
        columns: Rows of ``(name, value, change)``, column beside column.
        foot: Lines, as `head`.
    """

    head: Sequence[tuple[str, str]]
    columns: Sequence[Sequence[tuple[str, str, str]]]
    foot: Sequence[tuple[str, str]]


@contextmanager
def live_sheet(compose: Callable[[int, int], Sheet]) -> Iterator[None]:
    """Fill the terminal with a sheet, refreshed twice a second, and restore it at the end.

    Args:
        compose: Returns the sheet for a number of columns and lines; must not wait.
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


# Level of a finding: sign, sign without Unicode, word, colour.
_SIGNS: Mapping[str, tuple[str, str, str, str]] = {
    "ok": ("✓", "ok", "", "green"),
    "warning": ("!", "!", "warning: ", "yellow"),
    "problem": ("✗", "X", "problem: ", "red"),
    "info": ("·", "-", "", "dim"),
    "failed": ("✗", "X", "", "red"),
    "doubtful": ("!", "!", "", "yellow"),
    "unknown": ("?", "?", "", "dim"),
}


def print_wrapped(text: str) -> None:
    """Print a sentence; on a terminal lines are broken between words."""
    if not sys.stdout.isatty():
        print_line(printable(text))
        return
    from rich.console import Console
    from rich.text import Text

    Console(highlight=False).print(Text(printable(text)))


def print_heading(text: str) -> None:
    """Print the title of a section."""
    print_line("")
    if not sys.stdout.isatty():
        print_line(printable(f"{text}:"))
        return
    from rich.console import Console
    from rich.text import Text

    Console().print(Text(text, style="bold"))


def print_finding(level: str, text: str, advice: str | None = None) -> None:
    """Print one finding with its sign: ok, warning, problem, info, failed, doubtful or unknown."""
    sign, plain_sign, word, colour = _SIGNS[level]
    sign = sign if _is_unicode() else plain_sign
    if not sys.stdout.isatty():
        print_line(printable(f"  {sign:<2} {word}{text}"))
        if advice:
            print_line(printable(f"     -> {advice}"))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_row(Text(f"  {sign}", style=colour), Text(printable(word + text)))
    if advice:
        arrow = "→" if _is_unicode() else "->"
        grid.add_row("", Text(printable(f"{arrow} {advice}"), style="bold"))
    Console(highlight=False).print(grid)


@contextmanager
def waiting(what: str) -> Iterator[Progress]:
    """Show on a terminal that a job is at work, and what it is doing."""
    if not sys.stderr.isatty():
        yield silent
        return
    from rich.console import Console

    with Console(stderr=True).status(what) as status:

        def show(done: float, total: float, text: str | None = None) -> None:  # noqa: ARG001  as Progress
            status.update(f"{what}: {text}" if text else what)

        yield show


def _is_unicode() -> bool:
    return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"


def printable(text: str) -> str:
    """Return the text with '?' for what stdout's encoding does not have."""
    encoding = sys.stdout.encoding or "ascii"
    return text.encode(encoding, "replace").decode(encoding)


def print_records(head: tuple[str, ...], rows: Iterable[tuple[str, ...]], titles: int) -> None:
    """Print rows with long texts: on a terminal as blocks of lines, else as `print_table` does.

    The first `titles` cells are the heading of a block.
    """
    if not sys.stdout.isatty():
        print_table(head, rows)
        return
    width = max(map(len, head[titles:]))
    for row in rows:
        print_line("  ".join(cell for cell in row[:titles] if cell))
        for name, cell in zip(head[titles:], row[titles:], strict=True):
            if cell:
                print_line(f"    {name:{width}}  {cell}")
