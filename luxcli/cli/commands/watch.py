"""The watch command: what is the heat pump doing now?"""

import os
import select
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, tzinfo
from typing import TYPE_CHECKING, Annotated

import typer

from luxcli import times
from luxcli.cli.options import ConfigOption, LevelOption, duration_option, epilog
from luxcli.cli.output import end_unread, failure_entry, local_zone, print_json, say, warn
from luxcli.cli.screen import Sheet, live, printable
from luxcli.cli.session import Session
from luxcli.config.config import Config
from luxcli.errors import FINDINGS, UsageError
from luxcli.system.clock import Clock

if TYPE_CHECKING:
    from luxcli.live.follow import View
    from luxcli.live.key_values import Change, Item, Shown, Values

EPILOG = epilog(
    "with --count: 0 done; 3 some polls failed; if all did 69, 75 or 76 as poll-once;"
    " 2 wrong usage; 74 storage; 78 configuration; 130, 143 stopped",
    "luxcli watch -c /etc/luxcli/config.yaml",
)
# From here on there is room for a third column, that of the changes.
_WIDE = 116
_NARROW = 70
_CHANGES_SAID = 8


def watch(
    session: Session,
    *,
    every: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="From poll to poll, such as 2m; not less than interval_sec, the default.",
            show_default=False,
        ),
    ] = None,
    count: Annotated[
        int | None,
        typer.Option(min=1, help="End after so many polls.", show_default=False),
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
        with live(page.sheet):
            last = follow.follow(settings, page.turn, every_s=every_s, count=count)
        if last.failure is None:
            page.tell(last)  # the screen that showed it is gone
    else:
        tell = _tell_json if as_json else page.tell
        last = follow.follow(settings, tell, every_s=every_s, count=count, clock=Clock(sleep=_nap))
    if last.failures:
        if last.failure and not last.polls:
            if is_live:  # the screen that said so is gone
                raise last.failure
            return last.failure.exit_code
        return FINDINGS
    return 0


def _nap(seconds: float) -> None:
    """Sleep, but no longer than somebody reads along: 'head' has soon seen enough."""
    waiting = select.poll()
    waiting.register(sys.stdout, 0)  # being closed on the other side is told unasked
    if waiting.poll(seconds * 1000):
        end_unread()


class Page:
    """Words for a view: a sheet for the terminal, lines for anything else."""

    def __init__(self, settings: Config, zone: tzinfo) -> None:
        from luxcli.live.follow import View

        self._address, self._zone = f"{settings.host}:{settings.port}", zone
        self._view = View()

    def turn(self, view: "View") -> None:
        """Show this view from now on."""
        self._view = view

    def sheet(self, width: int, height: int) -> Sheet:
        """Return what fits the terminal: two columns of values, a third for changes."""
        view, now = self._view, time.monotonic()
        status = (_status(view, now), "bold red" if view.failure else "dim")
        if view.snapshot is None:
            return Sheet([(f"luxcli watch {self._address}", "bold"), status], [], [])
        from luxcli.live import key_values

        values = key_values.Values(view.snapshot, view.fitted)
        clock = f"{times.local_time(view.snapshot.taken_ms, self._zone):%H:%M:%S}"
        head = [
            (f"{clock}  {self._address}  {key_values.model(values)}", "bold"),
            (key_values.state(values), "bold green"),
            status,
        ]
        columns = [
            [(shown.label, shown.text, change) for shown, change in _rows(view, items)]
            for items in (key_values.TEMPERATURES, key_values.MACHINE)
        ]
        if width < _NARROW:
            columns = [columns[0] + columns[1]]
        changed = _changed(view)
        foot = [(line, "") for line in self._history(values)]
        if width >= _WIDE:
            room = max(len(columns[0]), height - len(head) - len(foot)) - 1
            title = "changed since the last poll" + (f" ({len(changed)})" if changed else "")
            columns.append([(title, "", ""), *((text, "", "") for text in changed[:room])])
        else:
            room = max(1, height - len(head) - len(columns[0]) - len(foot))
            lines = _packed(changed, width - 1, room)
            foot += [(line, "cyan") for line in lines]
        return Sheet(head, columns, foot)

    def tell(self, view: "View") -> None:
        """Print a view as lines, tab between name, value and change."""
        from luxcli.live import key_values

        if view.failure:
            warn(str(view.failure))
            return
        assert view.snapshot is not None
        values = key_values.Values(view.snapshot, view.fitted)
        if view.polls > 1:
            say("")
        local = times.local_time(view.snapshot.taken_ms, self._zone)
        say(printable(f"{local:%Y-%m-%d %H:%M:%S}\t{key_values.state(values)}"))
        for shown, change in _rows(view, (*key_values.TEMPERATURES, *key_values.MACHINE)):
            say(printable("\t".join((shown.label, shown.text, change)).rstrip("\t")))
        for line in self._history(values):
            say(printable(line.replace(": ", "\t", 1)))
        for text in _changed(view)[:_CHANGES_SAID]:
            say(printable(f"changed\t{text}"))

    def _history(self, values: "Values") -> Iterator[str]:
        from luxcli.live import key_values

        yield f"last switch-off: {key_values.last_switch_off(values, self._zone)}"
        yield f"last error: {key_values.last_error(values, self._zone) or 'none'}"


def _rows(view: "View", items: "Sequence[Item]") -> "Iterator[tuple[Shown, str]]":
    """Yield each row and what became of it since the poll before."""
    from luxcli.live import key_values

    assert view.snapshot is not None
    now = key_values.Values(view.snapshot, view.fitted)
    before = None if view.before is None else key_values.Values(view.before, view.fitted)
    for item in items:
        shown = key_values.shown(item, now)
        yield shown, shown.change(None if before is None else key_values.shown(item, before))


def _changed(view: "View") -> list[str]:
    """Return which registers changed that have no row."""
    from luxcli.live import key_values

    if view.snapshot is None or view.before is None:
        return []
    items = (*key_values.TEMPERATURES, *key_values.MACHINE)
    besides = {register_id for item in items for register_id in item.ids}
    return [
        f"{change.register.id} {_bare(change)} → {change.new or 'none'}"
        for change in key_values.changes(view.before, view.snapshot, besides)
    ]


def _bare(change: "Change") -> str:
    """Return the old value without the unit, which the new one has."""
    unit = change.register.unit
    return change.old.removesuffix(f" {unit}") if unit else change.old or "none"


def _packed(texts: Sequence[str], width: int, lines: int) -> list[str]:
    """Return as many of the texts as fit, several on a line."""
    packed = [f"changed since the last poll: {'' if texts else 'nothing else'}".rstrip()]
    for text in texts:
        separator = " " if packed[-1].endswith(":") else "; "
        if len(packed[-1]) + len(separator) + len(text) <= width:
            packed[-1] += separator + text
        elif len(packed) < lines:
            packed.append(text)
    return packed


def _status(view: "View", now: float) -> str:
    """Return how old the values are, why, and what comes next."""
    from luxcli.live import follow

    left_s = view.next_at - now
    if not view.polls and not view.failures:
        return "reading for the first time"
    following = f"next poll in {left_s:.0f} s" if left_s > 0 else "reading"
    if view.snapshot is None:
        age = "no values yet"
    else:
        age = f"values {times.span(now - view.read_at)} old"
    if view.failure is None:
        return f"{age}; {following}"
    failed = "" if view.failed == 1 else f", {view.failed} times"
    return f"{age}: {follow.in_words(view.failure)}{failed}; {following}"


def _tell_json(view: "View") -> None:
    """Print a view as one object on one line."""
    from luxcli.live import key_values

    if view.failure:
        print_json(ok=False, error=failure_entry(view.failure))
        return
    assert view.snapshot is not None
    values = key_values.Values(view.snapshot, view.fitted)
    changed = view.before and key_values.changes(view.before, view.snapshot)
    print_json(
        ok=True,
        taken=times.utc_text(view.snapshot.taken_ms),
        taken_ms=view.snapshot.taken_ms,
        state=key_values.state(values),
        values={
            shown.id: shown.value
            for shown, _ in _rows(view, (*key_values.TEMPERATURES, *key_values.MACHINE))
        },
        last_switch_off=key_values.last_switch_off(values, UTC) or None,
        last_error=key_values.last_error(values, UTC) or None,
        changed=[
            {"id": change.register.id, "old": change.old, "new": change.new}
            for change in changed or ()
        ],
    )
