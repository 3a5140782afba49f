"""The command `prune`: remove what is too old, check the disks."""

from typing import Annotated

import typer

from luxcli.cli.options import ConfigOption, JsonOption, LevelOption, current_ms, epilog
from luxcli.cli.output import local_zone, megabytes, print_json, result_line, say, warn
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
        bool, typer.Option("--dry-run", "-n", help="Only say what would be removed.")
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
    zone = local_zone(settings.timezone)
    with progress("prune") as show:
        result = job.prune(
            settings,
            now_ms=current_ms(),
            zone=zone,
            dry_run=dry_run,
            unarchived=unarchived,
            progress=show,
        )
    for finding in result.findings:
        warn(finding)
    if as_json:
        print_json(
            ok=not result.findings,
            dry_run=dry_run,
            csv_files=[str(path) for path in result.csv_files],
            csv_bytes=result.csv_bytes,
            old_caches=[str(path) for path in result.old_caches],
            polls=result.polls,
            cache_bytes=result.cache_bytes,
            findings=list(result.findings),
        )
    else:
        old = f", {len(result.old_caches)} salvaged caches" if result.old_caches else ""
        (say if dry_run else result_line)(
            f"{'would remove' if dry_run else 'removed'} {len(result.csv_files)} CSV files"
            f" ({megabytes(result.csv_bytes)}){old} and {result.polls} polls"
            + ("" if dry_run else f" ({megabytes(result.cache_bytes)} in the cache free again)")
        )
    return FINDINGS if result.findings else 0
