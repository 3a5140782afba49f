"""Assembles the program from its commands."""

from typing import Annotated, Any

import typer

from luxcli import __version__
from luxcli.cli.commands import (
    capture,
    config,
    demo,
    diagnose,
    monitor,
    poll_once,
    prune,
    repair_times,
    restore,
    rollup,
    schedule,
    sensors,
    simulate,
    status,
    validate,
    watch,
)
from luxcli.cli.declare import HELP_OPTIONS, Group, command
from luxcli.cli.options import epilog
from luxcli.cli.output import print_line


class _Program(Group):
    def list_commands(self, ctx: Any) -> list[str]:
        """Return all commands, daily ones first; Typer alone would list groups last."""
        names = super().list_commands(ctx)
        return sorted(names, key=lambda name: _ORDER.index(name) if name in _ORDER else len(names))


_ORDER = (
    *("poll-once", "status", "prune", "restore", "repair-times", "rollup", "schedule", "diagnose"),
    *("monitor", "sensors", "simulate", "demo", "config", "validate", "capture", "watch"),
)
app = typer.Typer(
    cls=_Program,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings=HELP_OPTIONS,
    help="Record a Luxtronik heat pump: every value, nothing lost, a CSV each morning.",
    epilog=epilog("see the help of each command; 1 is a bug", "luxcli demo"),
)
for name, module in (
    ("config", config),
    ("monitor", monitor),
    ("rollup", rollup),
    ("schedule", schedule),
):
    app.add_typer(module.app, name=name)
for name, function, ending in (
    ("capture", capture.capture, capture.EPILOG),
    ("demo", demo.demo, demo.EPILOG),
    ("diagnose", diagnose.diagnose, diagnose.EPILOG),
    ("poll-once", poll_once.poll_once, poll_once.EPILOG),
    ("prune", prune.prune, prune.EPILOG),
    ("repair-times", repair_times.repair_times, repair_times.EPILOG),
    ("restore", restore.restore, restore.EPILOG),
    ("sensors", sensors.sensors, sensors.EPILOG),
    ("simulate", simulate.simulate, simulate.EPILOG),
    ("status", status.status, status.EPILOG),
    ("validate", validate.validate, validate.EPILOG),
    ("watch", watch.watch, watch.EPILOG),
):
    command(app, name, epilog=ending)(function)


def _version(wanted: bool) -> None:
    if wanted:
        print_line(f"luxcli {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    _version_wanted: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    pass
