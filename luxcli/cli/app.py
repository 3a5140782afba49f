"""The scheduled commands and their kin: options in, one job, a line out."""

from typing import Annotated

import typer

from luxcli import __version__
from luxcli.cli.commands import (
    capture,
    config,
    diagnose,
    monitor,
    rollup,
    schedule,
    validate,
    watch,
)
from luxcli.cli.commands import poll_once as poll_command
from luxcli.cli.declare import (
    HELP_OPTIONS,
    ConfigOption,
    Group,
    JsonOption,
    LevelOption,
    epilog,
    session_of,
)
from luxcli.cli.options import current_ms, date_option
from luxcli.cli.output import local_zone, megabytes, print_json, result_line, say, warn
from luxcli.cli.screen import progress
from luxcli.errors import FINDINGS

app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings=HELP_OPTIONS,
    help="Record a Luxtronik heat pump: every value, nothing lost, a CSV each morning.",
    epilog=epilog("see the help of each command; 1 is a bug", "luxcli demo"),
)
app.add_typer(rollup.app, name="rollup")
app.add_typer(schedule.app, name="schedule")
app.add_typer(diagnose.app)
app.add_typer(monitor.app, name="monitor")
app.add_typer(config.app)
app.add_typer(validate.app)
app.add_typer(capture.app)
app.add_typer(watch.app)


def _version(wanted: bool) -> None:
    if wanted:
        say(f"luxcli {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    _version_wanted: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    pass


@app.command(
    "poll-once",
    epilog=epilog(
        "0 stored; 2 wrong usage; 69 heat pump unreachable or silent; 74 storage; 75 busy;"
        " 76 bad answer; 78 configuration; 129, 130, 143 interrupted;"
        " 142 took too long; of several polls that of the last one that failed",
        "luxcli poll-once -c /etc/luxcli/config.yaml",
    ),
)
def poll_once(
    ctx: typer.Context,
    every: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="For a scheduler that starts it each minute: the polls that this interval has in"
            " the minute, maybe none.",
            show_default=False,
        ),
    ] = None,
    count: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="So many polls from now on instead; by default every interval_sec.",
            show_default=False,
        ),
    ] = None,
    config_path: ConfigOption = None,
    log_level: LevelOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read the heat pump once and store every value."""
    status = poll_command.poll_once(
        session_of(ctx),
        every=every,
        count=count,
        config_path=config_path,
        log_level=log_level,
        as_json=as_json,
    )
    raise typer.Exit(status)


@app.command(
    epilog=epilog(
        "0 recording; 2 wrong usage; 3 the last poll is too old; 74 storage; 78 configuration",
        "luxcli status --max-age 10m",
    ),
)
def status(
    ctx: typer.Context,
    max_age: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="How old the last poll may be: 90, 90s, 5m, 2h or 1d; by default 5m, or three"
            " times interval_sec.",
            show_default=False,
        ),
    ] = None,
    config_path: ConfigOption = None,
    log_level: LevelOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say in one line whether it is still recording; for health checks."""
    status = poll_command.status(
        session_of(ctx),
        max_age=max_age,
        config_path=config_path,
        log_level=log_level,
        as_json=as_json,
    )
    raise typer.Exit(status)


@app.command(
    epilog=epilog(
        "0 done; 3 done, with findings to act on; 74 storage; 75 storage locked; 78 configuration;"
        " 142 took too long",
        "luxcli prune --dry-run",
    ),
)
def prune(
    ctx: typer.Context,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Only say what would be removed.")
    ] = False,
    unarchived: Annotated[
        bool, typer.Option("--unarchived", help="Also remove days that are in no archive.")
    ] = False,
    config_path: ConfigOption = None,
    log_level: LevelOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove CSVs and polls that are too old, and check the disk."""
    from luxcli.maintenance import prune as pruning

    settings = session_of(ctx).start(config_path, log_level, as_json=as_json, job="prune")
    zone = local_zone(settings.timezone)
    with progress("prune") as show:
        result = pruning.prune(
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
    if result.findings:
        raise typer.Exit(FINDINGS)


@app.command(
    epilog=epilog(
        "0 done; 3 done, but some sources cannot be read whole; 74 storage; 75 storage locked;"
        " 78 configuration",
        "luxcli restore --since 2026-11-01",
    ),
)
def restore(
    ctx: typer.Context,
    since: Annotated[
        str | None, typer.Option(metavar="YYYY-MM-DD", help="First local day; all by default.")
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="YYYY-MM-DD", help="Last local day; all by default.")
    ] = None,
    config_path: ConfigOption = None,
    log_level: LevelOption = None,
    as_json: JsonOption = False,
) -> None:
    """Rebuild the cache, or some days of it, from archives and set-aside files."""
    from luxcli.maintenance import restore as restoring

    settings = session_of(ctx).start(config_path, log_level, as_json=as_json)
    with progress("restoring") as show:
        sources = restoring.restore(
            settings,
            zone=local_zone(settings.timezone),
            since=date_option(since, "--since"),
            until=date_option(until, "--until"),
            progress=show,
        )
    problems = [source for source in sources if source.problem]
    for source in problems:
        warn(str(source.problem))
    polls = sum(source.polls for source in sources)
    missed = sum(source.missed for source in sources)
    if as_json:
        entries = [
            {
                "path": str(source.path),
                "polls": source.polls,
                "missed": source.missed,
                "problem": source.problem,
            }
            for source in sources
        ]
        print_json(ok=not problems, polls=polls, missed=missed, sources=entries)
    else:
        say(f"{polls} polls and {missed} missed ticks put back from {len(sources)} files")
    if problems:
        raise typer.Exit(FINDINGS)
