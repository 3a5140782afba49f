"""Commands for setting up and looking around: configuration, sensors, simulator, demo."""

import logging
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from luxcli.cli.declare import ConfigOption, JsonOption, LevelOption, epilog, session_of
from luxcli.cli.options import level_of
from luxcli.cli.output import local_zone, megabytes, print_json, rollup_entry, say
from luxcli.cli.screen import progress, table
from luxcli.cli.session import default_level
from luxcli.config import config, sample
from luxcli.errors import Interrupted, UsageError
from luxcli.system import log_setup

if TYPE_CHECKING:
    from luxcli.live.demo import DemoResult

_LOGGER = logging.getLogger(__name__)
app = typer.Typer(rich_markup_mode=None)
config_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Write, check or show the configuration.",
    epilog=epilog("0 done; 2 wrong usage; 74 storage; 78 problems found", "luxcli config check"),
)
app.add_typer(config_app, name="config")


@config_app.command(
    "init",
    epilog=epilog(
        "0 written; 2 the file exists; 74 it cannot be written",
        "luxcli config init --host 192.168.1.50",
    ),
)
def config_init(
    path: Annotated[Path, typer.Argument(help="File to write.")] = Path("luxcli.yaml"),
    host: Annotated[str | None, typer.Option(help="Name or address of the heat pump.")] = None,
) -> None:
    """Write a commented configuration file; never replaces one."""
    from luxcli.config import settings

    try:
        settings.checked("host", host or "")
    except ValueError as exc:
        raise UsageError(f"--host: {exc}") from exc
    sample.write_sample(path, sample.sample(host))
    say(
        f"{path}: written; set 'host' in it, then run 'luxcli config check'"
        if not host
        else f"{path}: written; 'luxcli poll-once' reads {host}"
    )


@config_app.command(
    "check",
    epilog=epilog("0 usable; 74 a directory is not; 78 problems found", "luxcli config check"),
)
def config_check(
    ctx: typer.Context,
    config_path: ConfigOption = None,
    log_level: LevelOption = None,
    as_json: JsonOption = False,
) -> None:
    """Report every problem of the configuration at once."""
    from luxcli.diagnosis import preflight
    from luxcli.registers import catalogue

    further = {"csv.sensors": catalogue.select, "host": preflight.is_set}
    settings = session_of(ctx).start(config_path, log_level, as_json=as_json, further=further)
    preflight.check(settings)
    if as_json:
        print_json(ok=True, file=str(settings.file) if settings.file else None)
    else:
        say(f"{settings.file or 'environment'}: no problems; heat pump {settings.host}")


@config_app.command(
    "show", epilog=epilog("0 shown; 78 problems found", "luxcli config show --json")
)
def config_show(
    ctx: typer.Context,
    config_path: ConfigOption = None,
    log_level: LevelOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show every setting in force and where it comes from."""
    settings = session_of(ctx).start(config_path, log_level, as_json=as_json)
    rows = list(config.effective(settings))
    if as_json:
        print_json(
            ok=True,
            settings={key: {"value": value, "origin": origin} for key, value, origin in rows},
        )
    else:
        table(("setting", "value", "from"), rows)


@app.command(
    epilog=epilog("0 listed; 2 a pattern matches nothing", "luxcli sensors 'ID_WEB_Temp*'")
)
def sensors(
    ctx: typer.Context,
    patterns: Annotated[
        list[str] | None,
        typer.Argument(help="Groups, ids or patterns; everything when left out."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the registers: index, id, English and German name, unit."""
    from luxcli.registers import catalogue

    session_of(ctx).as_json = as_json
    try:
        chosen = catalogue.select(patterns or ["all"])
    except ValueError as exc:
        raise UsageError(str(exc)) from exc
    if as_json:
        entries = [
            {
                "group": r.group,
                "index": r.index,
                "id": r.id,
                "name": r.name,
                "german": r.german,
                "unit": r.unit,
                "scale": r.scale,
                "kind": r.kind,
                "labels": {str(code): text for code, text in r.labels.items()},
            }
            for r in chosen
        ]
        print_json(ok=True, sensors=entries)
        return
    rows = [(r.group, str(r.index), r.id, r.name, r.german, r.unit) for r in chosen]
    table(("group", "index", "id", "name", "German", "unit"), rows)
    if len(chosen) == 1 and chosen[0].labels:
        table(("code", "meaning"), [(str(k), v) for k, v in sorted(chosen[0].labels.items())])


@app.command(
    epilog=epilog(
        "2 the port cannot be used; 130, 143 stopped", "luxcli simulate --port 8889 --speed 60"
    )
)
def simulate(
    port: Annotated[int, typer.Option(min=0, max=65535, help="TCP port; 0 = any free.")] = 8889,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    profile: Annotated[
        str, typer.Option(help="msw6, or long: the same with a newer firmware's block lengths.")
    ] = "msw6",
    speed: Annotated[float, typer.Option(min=0.001, help="How fast its time passes.")] = 1.0,
    log_level: LevelOption = None,
) -> None:
    """Be a heat pump: serve a real controller's recorded values until stopped."""
    from luxcli.simulator.replay import Replay
    from luxcli.simulator.server import Simulator

    log_setup.set_up(level_of(log_level) or default_level(), "text")
    began = time.time()
    with Simulator(
        Replay(profile),
        host=host,
        port=port,
        clock=lambda: began + (time.time() - began) * speed,
    ) as simulator:
        say(
            f"simulating a heat pump on {host}:{simulator.port}; Ctrl-C stops."
            f" Try: LUXCLI_HOST={host} LUXCLI_PORT={simulator.port} luxcli poll-once"
        )
        try:
            simulator.serve_forever()
        except Interrupted:
            _LOGGER.info(
                "%d connections, %d refused writes",
                *(simulator.connections, simulator.write_attempts),
            )
            raise


@app.command(
    epilog=epilog("0 done; 2 the directory is in use; 74 it cannot be written", "luxcli demo")
)
def demo(
    ctx: typer.Context,
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory to fill.")] = Path(
        "luxcli-demo"
    ),
    as_json: JsonOption = False,
) -> None:
    """Run the whole job against a simulated heat pump: no hardware, no configuration."""
    from luxcli.live import demo as scenario

    session_of(ctx).as_json = as_json
    log_setup.set_up("WARNING", "text")
    zone = local_zone(None)
    with progress("polling") as show:
        result = scenario.run(output, now_s=time.time(), zone=zone, progress=show)
    if as_json:
        print_json(
            ok=True,
            polls=result.polls,
            values=result.values,
            cache=str(result.cache),
            cache_bytes=result.cache_bytes,
            files=[rollup_entry(entry) for entry in result.rollups],
        )
        return
    _demo_summary(result)


def _demo_summary(result: "DemoResult") -> None:
    rows = [
        ("polls", f"{result.polls} in fast-forward, one every ten minutes for a week"),
        ("per poll", f"{result.values} values"),
        *((name, f"{value:.1f} °C") for name, value in result.temperatures),
        *(
            (
                f"{entry.period.kind} CSV",
                f"{entry.rows} rows, {entry.columns} columns: {entry.path}",
            )
            for entry in result.rollups
        ),
        ("cache", f"{megabytes(result.cache_bytes)}: {result.cache}"),
    ]
    table(("", "luxcli demo"), rows)
    luxcli = sys.argv[0] if os.sep in sys.argv[0] and "__main__" not in sys.argv[0] else "luxcli"
    say(
        f"\nYour own heat pump: {luxcli} config init --host ADDRESS && {luxcli} poll-once"
        f'\nLook at the data:   sqlite3 {result.cache} "select time, ID_WEB_Temperatur_TVL'
        ' from reading limit 5"'
    )
