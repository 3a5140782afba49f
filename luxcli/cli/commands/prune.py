"""The command `prune`: removes what is too old and checks the disks."""

from typing import Annotated

import typer

from luxcli.cli.options import ConfigOption, JsonOption, LevelOption, current_ms, epilog
from luxcli.cli.output import local_zone, print_result, warn
from luxcli.cli.screen import progress
from luxcli.cli.session import Session
from luxcli.errors import FINDINGS

EPILOG = epilog(
    "0 done; 3 done, with findings to act on; 74 storage; 75 storage locked; 78 configuration;"
    " 142 took too long",
    "luxcli prune --dry-run",
)


def prune(
    session: Session,
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Only show what would be removed.")
    ] = False,
    unarchived: Annotated[
        bool, typer.Option("--unarchived", help="Also remove days that are in no archive.")
    ] = False,
    config_path: ConfigOption = None,
    log_level: LevelOption = None,
    as_json: JsonOption = False,
) -> int:
    """Remove CSVs and polls that are too old, and check the disk."""
    from luxcli.maintenance import prune as job

    settings = session.start(config_path, log_level, as_json=as_json, job="prune")
    with progress("prune") as show:
        result = job.prune(
            settings,
            now_ms=current_ms(),
            zone=local_zone(settings.timezone),
            dry_run=dry_run,
            unarchived=unarchived,
            progress=show,
        )
    for finding in result.findings:
        warn(finding)
    print_result(result, as_json=as_json, scheduled=not dry_run)
    return FINDINGS if result.findings else 0
