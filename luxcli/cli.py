"""The scheduled commands and their kin: options in, one job, a line out."""

import os
from collections.abc import Callable, Sequence
from datetime import tzinfo
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from luxcli import __version__, cli_setup, periods
from luxcli.config import Config
from luxcli.console import (
    HELP_OPTIONS,
    ConfigOption,
    DateOption,
    DueOption,
    Group,
    JsonOption,
    LevelOption,
    current_ms,
    date_option,
    epilog,
    megabytes,
    print_json,
    progress,
    result_line,
    rollup_entry,
    say,
    start,
    warn,
)
from luxcli.errors import FINDINGS, LuxcliError, UsageError
from luxcli.periods import KINDS, Kind

if TYPE_CHECKING:
    from luxcli.reports import RollupResult

_ROLLUP_STATUSES = (
    "0 done; 2 wrong usage; 3 done, with findings to act on; 65 nothing stored for --date;"
    " 74 storage; 75 another roll-up at work; 78 configuration"
)
app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings=HELP_OPTIONS,
    help="Record a Luxtronik heat pump: every value, nothing lost, a CSV each morning.",
    epilog=epilog("see the help of each command; 1 is a bug", "luxcli demo"),
)
rollup_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Write the daily or weekly CSV.",
    epilog=epilog(_ROLLUP_STATUSES, "luxcli rollup all --if-due"),
)
app.add_typer(rollup_app, name="rollup")
app.add_typer(cli_setup.app)


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
        "0 stored; 69 heat pump unreachable or silent; 74 storage; 75 busy;"
        " 76 bad answer; 78 configuration; 130, 143 interrupted",
        "luxcli poll-once -c /etc/luxcli/config.yaml",
    ),
)
def poll_once(
    ctx: typer.Context,
    config_path: ConfigOption = None,
    log_level: LevelOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read the heat pump once and store every value."""
    from luxcli import jobs

    settings = start(ctx, config_path, log_level, as_json=as_json)
    result = jobs.poll_once(settings)
    snapshot = result.snapshot
    if result.warning:
        warn(result.warning)
    if as_json:
        print_json(
            ok=True,
            taken=periods.utc_text(snapshot.taken_ms),
            taken_ms=snapshot.taken_ms,
            took_ms=snapshot.took_ms,
            tries=snapshot.tries,
            calculations=len(snapshot.calculations),
            parameters=len(snapshot.parameters),
            visibilities=len(snapshot.visibilities),
            warning=result.warning,
        )
        return
    result_line(
        f"stored {result.values} values of {settings.host}:{settings.port},"
        f" read in {snapshot.took_ms / 1000:.2f} s"
    )


@rollup_app.command("daily", epilog=epilog(_ROLLUP_STATUSES, "luxcli rollup daily --if-due"))
def rollup_daily(
    ctx: typer.Context,
    ending: DateOption = None,
    if_due: DueOption = False,
    config_path: ConfigOption = None,
    log_level: LevelOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the CSV of the last 24 hours, of a closed day, or of all days that are due."""
    settings = start(ctx, config_path, log_level, as_json=as_json)
    _rollup(settings, ("daily",), ending, if_due=if_due, as_json=as_json)


@rollup_app.command(
    "weekly", epilog=epilog(_ROLLUP_STATUSES, "luxcli rollup weekly --date 2026-11-23")
)
def rollup_weekly(
    ctx: typer.Context,
    ending: DateOption = None,
    if_due: DueOption = False,
    config_path: ConfigOption = None,
    log_level: LevelOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the CSV of the last 7 days, of a closed week, or of all weeks that are due."""
    settings = start(ctx, config_path, log_level, as_json=as_json)
    _rollup(settings, ("weekly",), ending, if_due=if_due, as_json=as_json)


@rollup_app.command("all", epilog=epilog(_ROLLUP_STATUSES, "luxcli rollup all"))
def rollup_all(
    ctx: typer.Context,
    ending: DateOption = None,
    if_due: DueOption = False,
    config_path: ConfigOption = None,
    log_level: LevelOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the daily and the weekly CSV, then remove CSVs that are too old."""
    settings = start(ctx, config_path, log_level, as_json=as_json)
    _rollup(settings, KINDS, ending, if_due=if_due, as_json=as_json, clean_up=True)


def _rollup(
    settings: Config,
    kinds: Sequence[Kind],
    ending_text: str | None,
    *,
    if_due: bool,
    as_json: bool,
    clean_up: bool = False,
) -> None:
    from luxcli import reports, restoring, retention

    ending = date_option(ending_text)
    if ending and if_due:
        raise UsageError("--date and --if-due: use one of them")
    zone = periods.zone(settings.timezone, os.environ)
    now_ms = current_ms()
    files: list[dict[str, object]] = []
    findings: list[str] = []
    archives: list[str] = []

    def tell(result: "RollupResult") -> None:
        files.append(rollup_entry(result))
        if result.damaged:
            findings.append(
                f"{result.period.label} {result.period.kind}: {result.damaged} polls are damaged"
                " in the cache and were left out; 'luxcli restore' puts right what an archive holds"
            )
        if not as_json or result.path is None:
            _tell_rollup(result, quiet=if_due)

    def write(kind: Kind) -> None:
        when: Any = {"now_ms": now_ms, "zone": zone}
        with progress(kind) as show:
            if if_due:
                reports.rollup_due(settings, kind, **when, progress=show, done=tell)
                return
            result = reports.rollup(settings, kind, **when, progress=show, ending=ending)
        tell(result)

    steps: list[Callable[[], None]] = [partial(write, kind) for kind in kinds]
    if "daily" in kinds:
        steps.insert(0, lambda: _salvage(settings))
        steps.append(lambda: archives.extend(_archive(settings, now_ms, zone, as_json=as_json)))
    failures: list[LuxcliError] = []
    for step in steps:
        try:
            restoring.healed(settings, step)
        except UsageError:
            raise
        except LuxcliError as exc:
            # The weekly report is wanted even if the daily one could not be written.
            failures.append(exc)
    if clean_up:
        made = {Path(str(entry["path"])) for entry in files if entry["path"]}
        pruned = retention.prune_csvs(settings, now_ms=now_ms, zone=zone, keep=made)
        findings += pruned.findings
        result_line(f"removed {len(pruned.csv_files)} old CSV files")
    for finding in findings:
        warn(finding)
    _raise_first(failures)
    if as_json:
        print_json(ok=not findings, files=files, archives=archives, findings=findings)
    if findings:
        raise typer.Exit(FINDINGS)


def _salvage(settings: Config) -> None:
    from luxcli import restoring

    for source in restoring.salvage_pending(settings):
        problem = f"; {source.problem}" if source.problem else ""
        warn(f"{source.path}: {source.polls} polls put back into the cache{problem}")


def _archive(settings: Config, now_ms: int, zone: tzinfo, *, as_json: bool) -> list[str]:
    from luxcli import archiving

    written = archiving.archive_due(settings, now_ms=now_ms, zone=zone)
    for entry in written:
        if not as_json:
            result_line(f"archive: {entry.polls} polls, {megabytes(entry.size)}: {entry.path}")
    return [str(entry.path) for entry in written]


def _raise_first(failures: list[LuxcliError]) -> None:
    """Raise the first failure after a line about each other one; several steps may fail alike."""
    if not failures:
        return
    for text in dict.fromkeys(str(failure) for failure in failures[1:]):
        if text != str(failures[0]):
            warn(text)
    raise failures[0]


def _tell_rollup(result: "RollupResult", *, quiet: bool) -> None:
    period = result.period
    span = f"{periods.utc_text(period.start_ms)} to {periods.utc_text(period.stop_ms)}"
    if result.kept:
        text = f"{result.path}: kept, for its {result.rows} rows are more than the cache has"
        (result_line if quiet else warn)(text)
        return
    if result.path is None:
        text = f"{period.kind}: nothing is stored from {span}; no file written"
        # A period in which the machine was off is no news every hour.
        (result_line if quiet else warn)(text)
        return
    result_line(
        f"{period.kind}: {result.rows} rows, {result.columns} columns,"
        f" {megabytes(result.size)}, {span}: {result.path}"
    )


@app.command(
    epilog=epilog(
        "0 done; 3 done, with findings to act on; 74 storage; 75 storage locked; 78 configuration",
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
    from luxcli import retention

    settings = start(ctx, config_path, log_level, as_json=as_json)
    zone = periods.zone(settings.timezone, os.environ)
    with progress("prune") as show:
        result = retention.prune(
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
            polls=result.polls,
            cache_bytes=result.cache_bytes,
            findings=list(result.findings),
        )
    else:
        (say if dry_run else result_line)(
            f"{'would remove' if dry_run else 'removed'} {len(result.csv_files)} CSV files"
            f" ({megabytes(result.csv_bytes)}) and {result.polls} polls"
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
    from luxcli import restoring

    settings = start(ctx, config_path, log_level, as_json=as_json)
    with progress("restoring") as show:
        sources = restoring.restore(
            settings,
            zone=periods.zone(settings.timezone, os.environ),
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
