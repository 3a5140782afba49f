"""The command `repair-times`: puts right the times of polls that a wrong clock dated."""

from typing import Annotated

import typer

from luxcli.cli.options import ConfigOption, JsonOption, LevelOption, current_ms, epilog
from luxcli.cli.output import local_zone, print_json, print_line, warn
from luxcli.cli.screen import progress
from luxcli.cli.session import Session
from luxcli.errors import FINDINGS

EPILOG = epilog(
    "0 done; 3 some times could not be told; 65 nothing is recorded; 74 storage;"
    " 75 a roll-up or restore at work; 78 configuration; 142 took too long",
    "luxcli repair-times --dry-run",
)


def repair_times(
    session: Session,
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Only show what would be done.")
    ] = False,
    remove: Annotated[
        bool,
        typer.Option(
            "--remove", help="Take polls whose right time cannot be told out into a file."
        ),
    ] = False,
    config_path: ConfigOption = None,
    log_level: LevelOption = None,
    as_json: JsonOption = False,
) -> int:
    """Put right the times of polls that were made while this computer's clock was wrong."""
    from luxcli.maintenance import repair

    settings = session.start(config_path, log_level, as_json=as_json, job="repair")
    zone = local_zone(settings.timezone)
    with progress("repair-times") as show:
        result = repair.repair_times(
            settings, now_ms=current_ms(), remove=remove, dry_run=dry_run, progress=show
        )
    if as_json:
        print_json(result.to_json())
    else:
        for line in result.lines(zone):
            print_line(line)
    for finding in result.findings:
        warn(finding)
    return FINDINGS if result.findings else 0
