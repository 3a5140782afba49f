"""The command `watch`: what the heat pump is doing now."""

import os
import select
import sys
import time
from collections.abc import Sequence
from datetime import tzinfo
from typing import TYPE_CHECKING, Annotated

import typer

from luxcli import times
from luxcli.cli.options import ConfigOption, LevelOption, duration_option, epilog
from luxcli.cli.output import end_with_closed_pipe, local_zone, print_json, print_line, warn
from luxcli.cli.screen import Sheet, live_sheet, printable
from luxcli.cli.session import Session
from luxcli.config.config import Config
from luxcli.errors import FINDINGS, UsageError
from luxcli.system.clock import Clock

if TYPE_CHECKING:
    from luxcli.live.view import View

EPILOG = epilog(
    "with --count: 0 done; 3 some polls failed; if all did 69, 75 or 76 as poll-once;"
    " 2 wrong usage; 74 storage; 78 configuration; 130, 143 stopped",
    "luxcli watch -c /etc/luxcli/config.yaml",
)
# From here on there is room for a third column, that of the changes.
_WIDE = 116
_NARROW = 70


def watch(
    session: Session,
    *,
    every: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Time between polls, such as 2m; at least interval_sec, the default.",
            show_default=False,
        ),
    ] = None,
    count: Annotated[
        int | None,
        typer.Option(min=1, help="Stop after N polls.", metavar="N", show_default=False),
    ] = None,
    config_path: ConfigOption = None,
    log_level: LevelOption = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per poll.")
    ] = False,
) -> int:
    """Watch the key values of the heat pump, and what changes; Ctrl-C ends it."""
    from luxcli.live import follow

    settings = session.start(config_path, log_level, as_json=as_json)
    settings.require_host()
    every_s = duration_option(every, "--every") or settings.interval_sec
    if every_s < settings.interval_sec:
        raise UsageError(
            f"--every {every}: the heat pump is polled no faster than every"
            f" {settings.interval_sec} s, the setting interval_sec"
        )
    page = Page(settings, local_zone(settings.timezone))
    is_live = sys.stdout.isatty() and os.environ.get("TERM") != "dumb" and not as_json
    if is_live:
        with live_sheet(page.sheet):
            last = follow.follow(settings, page.turn, every_s=every_s, count=count)
        if last.failure is None:
            page.print(last)  # the screen that showed it is gone
    else:
        report = _print_json if as_json else page.print
        clock = Clock(sleep=_sleep)
        last = follow.follow(settings, report, every_s=every_s, count=count, clock=clock)
    if not last.failures:
        return 0
    if last.failure is None or last.polls:
        return FINDINGS
    if is_live:  # the screen that showed the failure is gone
        raise last.failure
    return last.failure.exit_code


def _sleep(seconds: float) -> None:
    """Wait, but end the command when the reader of its output goes, such as 'head'."""
    waiting = select.poll()
    waiting.register(sys.stdout, 0)  # always reports that the other side was closed
    if waiting.poll(seconds * 1000):
        end_with_closed_pipe()


def _print_json(view: "View") -> None:
    print_json(view.to_json())


class Page:
    """Shows a view: a sheet on a terminal, lines elsewhere."""

    def __init__(self, settings: Config, zone: tzinfo) -> None:
        from luxcli.live.view import View

        self._address, self._zone = f"{settings.host}:{settings.port}", zone
        self._view = View()

    def turn(self, view: "View") -> None:
        """Show `view` from now on."""
        self._view = view

    def sheet(self, width: int, height: int) -> Sheet:
        """Return what fits the terminal: two columns of values, a third for changes."""
        view, now = self._view, time.monotonic()
        status = (view.status(now), "bold red" if view.failure else "dim")
        if view.snapshot is None:
            return Sheet([(f"luxcli watch {self._address}", "bold"), status], [], [])
        from luxcli.live import key_values

        clock = f"{times.local_time(view.snapshot.taken_ms, self._zone):%H:%M:%S}"
        head = [
            (f"{clock}  {self._address}  {key_values.model(view.values)}", "bold"),
            (key_values.state(view.values), "bold green"),
            status,
        ]
        columns = [
            [(row.label, row.text, change) for row, change in view.rows(items)]
            for items in (key_values.TEMPERATURES, key_values.MACHINE)
        ]
        if width < _NARROW:
            columns = [columns[0] + columns[1]]
        changes = view.changes()
        foot = [(line, "") for line in view.history(self._zone)]
        if width >= _WIDE:
            room = max(len(columns[0]), height - len(head) - len(foot)) - 1
            title = "changed since the last poll" + (f" ({len(changes)})" if changes else "")
            columns.append([(title, "", ""), *((text, "", "") for text in changes[:room])])
        else:
            room = max(1, height - len(head) - len(columns[0]) - len(foot))
            lines = _pack(changes, width - 1, room)
            foot += [(line, "cyan") for line in lines]
        return Sheet(head, columns, foot)

    def print(self, view: "View") -> None:
        """Print a view as lines."""
        if view.failure:
            warn(str(view.failure))
            return
        if view.polls > 1:
            print_line("")
        for line in view.lines(self._zone):
            print_line(printable(line))


def _pack(texts: Sequence[str], width: int, lines: int) -> list[str]:
    """Return as many of the texts as fit, several on a line."""
    packed = [f"changed since the last poll: {'' if texts else 'nothing else'}".rstrip()]
    for text in texts:
        separator = " " if packed[-1].endswith(":") else "; "
        if len(packed[-1]) + len(separator) + len(text) <= width:
            packed[-1] += separator + text
        elif len(packed) < lines:
            packed.append(text)
    return packed
