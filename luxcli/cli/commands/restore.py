"""The command `restore`: rebuilds the database from archives and quarantined files."""

from typing import Annotated

import typer

from luxcli.cli.options import (
    ConfigOption,
    JsonOption,
    LevelOption,
    current_ms,
    date_option,
    epilog,
)
from luxcli.cli.output import local_zone, print_result, warn
from luxcli.cli.screen import progress
from luxcli.cli.session import Session
from luxcli.errors import FINDINGS

EPILOG = epilog(
    "0 done; 3 done, but some sources cannot be read whole; 74 storage; 75 storage locked;"
    " 78 configuration; 142 took too long: run it again, it goes on",
    "luxcli restore --since 2026-11-01",
)


def restore(
    session: Session,
    *,
    since: Annotated[
        str | None, typer.Option(metavar="YYYY-MM-DD", help="First local day; all by default.")
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="YYYY-MM-DD", help="Last local day; all by default.")
    ] = None,
    any_heat_pump: Annotated[
        bool,
        typer.Option("--any-heat-pump", help="Take polls whatever serial number they hold."),
    ] = False,
    config_path: ConfigOption = None,
    log_level: LevelOption = None,
    as_json: JsonOption = False,
) -> int:
    """Rebuild the database, or some days of it, from archives and quarantined files."""
    from luxcli.maintenance import rebuild

    settings = session.start(config_path, log_level, as_json=as_json, job="restore")
    with progress("restoring") as show:
        result = rebuild.restore(
            settings,
            now_ms=current_ms(),
            zone=local_zone(settings.timezone),
            since=date_option(since, "--since"),
            until=date_option(until, "--until"),
            any_pump=any_heat_pump,
            progress=show,
        )
    for problem in result.problems:
        warn(problem)
    print_result(result, as_json=as_json)
    return FINDINGS if result.problems else 0
