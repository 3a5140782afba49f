"""Command line: options in, one job, a line out; the one place that maps failures to statuses."""

import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, tzinfo
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from luxcli import __version__, config, log, periods
from luxcli.config import Config
from luxcli.errors import FINDINGS, Interrupted, LuxcliError, UsageError
from luxcli.periods import KINDS, Kind

if TYPE_CHECKING:
    from luxcli.demo import DemoResult
    from luxcli.reports import RollupResult

_LOGGER = logging.getLogger("luxcli.cli")


class _Group(TyperGroup):
    """Turns expected failures into one line on stderr and an exit status."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except LuxcliError as exc:
            _fail(ctx, exc)


def _fail(ctx: Any, failure: LuxcliError) -> NoReturn:
    for line in str(failure).splitlines():
        typer.echo(f"luxcli: {line}", err=True)
    if ctx.meta.get("luxcli.json"):
        error = {"type": type(failure).__name__, "exit": failure.exit_code, "text": str(failure)}
        typer.echo(json.dumps({"ok": False, "error": error}))
    raise typer.Exit(failure.exit_code) from failure


_SETTINGS: Any = {"help_option_names": ["-h", "--help"]}
app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings=_SETTINGS,
    help="Record a Luxtronik heat pump: every value, nothing lost, a CSV each morning.",
)
rollup_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Write the daily or weekly CSV.",
)
config_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Write, check or show the configuration.",
)
app.add_typer(rollup_app, name="rollup")
app.add_typer(config_app, name="config")

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        envvar="LUXCLI_CONFIG",
        help="Configuration file; by default ./luxcli.yaml, $XDG_CONFIG_HOME/luxcli/config.yaml"
        " or /etc/luxcli/config.yaml, whichever is found first.",
        show_default=False,
    ),
]
LevelOption = Annotated[
    str | None,
    typer.Option("--log-level", metavar="LEVEL", help="DEBUG, INFO, WARNING or ERROR."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
DateOption = Annotated[
    str | None,
    typer.Option(
        "--date",
        metavar="YYYY-MM-DD",
        help="The closed period that ends on this local date at csv_time.",
    ),
]
DueOption = Annotated[
    bool,
    typer.Option("--if-due", help="Every closed period since the last one; for the scheduler."),
]


def _epilog(statuses: str, example: str) -> str:
    return f"\b\nExit status: {statuses}.\nExample: {example}"


def _start(
    ctx: typer.Context, path: Path | None, level: str | None, *, as_json: bool = False
) -> Config:
    """Load the configuration and set up logging; every command that has a configuration begins so.

    The choice of JSON is kept in the context, which the failure mapping sees as well.
    """
    ctx.meta["luxcli.json"] = as_json
    chosen = _level(level)
    loaded = config.load(path, os.environ, Path.cwd(), {"log_level": chosen})
    log.set_up(
        loaded.log_level or _default_level(),
        "json" if loaded.log_format == "json" else "text",
    )
    return loaded


def _level(text: str | None) -> str | None:
    if text is None:
        return None
    from luxcli import settings

    try:
        level: str | None = settings.checked("log_level", text)
    except ValueError as exc:
        raise UsageError(f"--log-level: {exc}") from exc
    return level


def _default_level() -> str:
    return "INFO" if sys.stderr.isatty() else "WARNING"


def _result(text: str) -> None:
    """Tell a person at a terminal; under a scheduler it is for the log only."""
    if sys.stdout.isatty():
        typer.echo(text)
    else:
        _LOGGER.info("%s", text)


def _warn(text: str) -> None:
    typer.echo(f"luxcli: {text}", err=True)


def _now_ms() -> int:
    return round(time.time() * 1000)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"luxcli {__version__}")
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
    epilog=_epilog(
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

    settings = _start(ctx, config_path, log_level, as_json=as_json)
    result = jobs.poll_once(settings)
    snapshot = result.snapshot
    if result.warning:
        _warn(result.warning)
    if as_json:
        _print_json(
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
    _result(
        f"stored {result.values} values of {settings.host}:{settings.port},"
        f" read in {snapshot.took_ms / 1000:.2f} s"
    )


_ROLLUP_STATUSES = (
    "0 done; 65 nothing stored for --date; 74 storage; 75 another roll-up at work; 78 configuration"
)


@rollup_app.command("daily", epilog=_epilog(_ROLLUP_STATUSES, "luxcli rollup daily --if-due"))
def rollup_daily(
    ctx: typer.Context,
    ending: DateOption = None,
    if_due: DueOption = False,
    config_path: ConfigOption = None,
    log_level: LevelOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the CSV of the last 24 hours, of a closed day, or of all days that are due."""
    settings = _start(ctx, config_path, log_level, as_json=as_json)
    _rollup(settings, ("daily",), ending, if_due=if_due, as_json=as_json)


@rollup_app.command(
    "weekly", epilog=_epilog(_ROLLUP_STATUSES, "luxcli rollup weekly --date 2026-11-23")
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
    settings = _start(ctx, config_path, log_level, as_json=as_json)
    _rollup(settings, ("weekly",), ending, if_due=if_due, as_json=as_json)


@rollup_app.command("all", epilog=_epilog(_ROLLUP_STATUSES, "luxcli rollup all"))
def rollup_all(
    ctx: typer.Context,
    ending: DateOption = None,
    if_due: DueOption = False,
    config_path: ConfigOption = None,
    log_level: LevelOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the daily and the weekly CSV, then remove CSVs that are too old."""
    settings = _start(ctx, config_path, log_level, as_json=as_json)
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

    ending = _date(ending_text)
    if ending and if_due:
        raise UsageError("--date and --if-due: use one of them")
    zone = periods.zone(settings.timezone, os.environ)
    now_ms = _now_ms()
    files: list[dict[str, object]] = []
    archives: list[str] = []

    def tell(result: "RollupResult") -> None:
        files.append(_rollup_entry(result))
        if not as_json or result.path is None:
            _tell_rollup(result, quiet=if_due)

    def write(kind: Kind) -> None:
        when: Any = {"now_ms": now_ms, "zone": zone}
        with _progress(kind) as show:
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
        pruned = retention.prune_csvs(settings, now_ms=now_ms, zone=zone)
        for finding in pruned.findings:
            _warn(finding)
        _result(f"removed {len(pruned.csv_files)} old CSV files")
    _raise_first(failures)
    if as_json:
        _print_json(ok=True, files=files, archives=archives)


def _salvage(settings: Config) -> None:
    from luxcli import restoring

    for source in restoring.salvage_pending(settings):
        problem = f"; {source.problem}" if source.problem else ""
        _warn(f"{source.path}: {source.polls} polls put back into the cache{problem}")


def _archive(settings: Config, now_ms: int, zone: tzinfo, *, as_json: bool) -> list[str]:
    from luxcli import archiving

    written = archiving.archive_due(settings, now_ms=now_ms, zone=zone)
    for entry in written:
        if not as_json:
            _result(f"archive: {entry.polls} polls, {_megabytes(entry.size)}: {entry.path}")
    return [str(entry.path) for entry in written]


def _raise_first(failures: list[LuxcliError]) -> None:
    """Raise the first failure after a line about each other one; several steps may fail alike."""
    if not failures:
        return
    for text in dict.fromkeys(str(failure) for failure in failures[1:]):
        if text != str(failures[0]):
            _warn(text)
    raise failures[0]


def _date(text: str | None, option: str = "--date") -> date | None:
    if text is None:
        return None
    try:
        # Only the one spelling: fromisoformat alone also takes 20261124 and 2026-W48-2.
        if len(text) == 10 and text[4] == text[7] == "-" and "2000" <= text[:4] < "9999":
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise UsageError(f"{option} {text!r} is not a date like 2026-11-24")


def _rollup_entry(result: "RollupResult") -> dict[str, object]:
    return {
        "kind": result.period.kind,
        "start": periods.utc_text(result.period.start_ms),
        "stop": periods.utc_text(result.period.stop_ms),
        "path": str(result.path) if result.path else None,
        "rows": result.rows,
        "columns": result.columns,
        "bytes": result.size,
    }


def _tell_rollup(result: "RollupResult", *, quiet: bool) -> None:
    period = result.period
    span = f"{periods.utc_text(period.start_ms)} to {periods.utc_text(period.stop_ms)}"
    if result.path is None:
        text = f"{period.kind}: nothing is stored from {span}; no file written"
        # A period in which the machine was off is no news every hour.
        (_result if quiet else _warn)(text)
        return
    _result(
        f"{period.kind}: {result.rows} rows, {result.columns} columns,"
        f" {_megabytes(result.size)}, {span}: {result.path}"
    )


@app.command(
    epilog=_epilog(
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

    settings = _start(ctx, config_path, log_level, as_json=as_json)
    zone = periods.zone(settings.timezone, os.environ)
    with _progress("prune") as show:
        result = retention.prune(
            settings,
            now_ms=_now_ms(),
            zone=zone,
            dry_run=dry_run,
            unarchived=unarchived,
            progress=show,
        )
    for finding in result.findings:
        _warn(finding)
    if as_json:
        _print_json(
            ok=not result.findings,
            dry_run=dry_run,
            csv_files=[str(path) for path in result.csv_files],
            csv_bytes=result.csv_bytes,
            polls=result.polls,
            cache_bytes=result.cache_bytes,
            findings=list(result.findings),
        )
    else:
        _result(
            f"{'would remove' if dry_run else 'removed'} {len(result.csv_files)} CSV files"
            f" ({_megabytes(result.csv_bytes)}) and {result.polls} polls"
            + ("" if dry_run else f" ({_megabytes(result.cache_bytes)} in the cache free again)")
        )
    if result.findings:
        raise typer.Exit(FINDINGS)


@app.command(
    epilog=_epilog(
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

    settings = _start(ctx, config_path, log_level, as_json=as_json)
    with _progress("restoring") as show:
        sources = restoring.restore(
            settings,
            zone=periods.zone(settings.timezone, os.environ),
            since=_date(since, "--since"),
            until=_date(until, "--until"),
            progress=show,
        )
    problems = [source for source in sources if source.problem]
    for source in problems:
        _warn(str(source.problem))
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
        _print_json(ok=not problems, polls=polls, missed=missed, sources=entries)
    else:
        typer.echo(f"{polls} polls and {missed} missed ticks put back from {len(sources)} files")
    if problems:
        raise typer.Exit(FINDINGS)


@config_app.command(
    "init",
    epilog=_epilog(
        "0 written; 2 the file exists; 74 it cannot be written",
        "luxcli config init --host 192.168.1.50",
    ),
)
def config_init(
    path: Annotated[Path, typer.Argument(help="File to write.")] = Path("luxcli.yaml"),
    host: Annotated[str | None, typer.Option(help="Name or address of the heat pump.")] = None,
) -> None:
    """Write a commented configuration file; never replaces one."""
    from luxcli import settings

    try:
        settings.checked("host", host or "")
    except ValueError as exc:
        raise UsageError(f"--host: {exc}") from exc
    config.write_sample(path, settings.sample(host))
    typer.echo(
        f"{path}: written; set 'host' in it, then run 'luxcli config check'"
        if not host
        else f"{path}: written; 'luxcli poll-once' reads {host}"
    )


@config_app.command(
    "check",
    epilog=_epilog("0 usable; 74 a directory is not; 78 problems found", "luxcli config check"),
)
def config_check(
    ctx: typer.Context,
    config_path: ConfigOption = None,
    log_level: LevelOption = None,
    as_json: JsonOption = False,
) -> None:
    """Report every problem of the configuration at once."""
    from luxcli import checks

    settings = _start(ctx, config_path, log_level, as_json=as_json)
    checks.check(settings)
    if as_json:
        _print_json(ok=True, file=str(settings.file) if settings.file else None)
    else:
        typer.echo(f"{settings.file or 'environment'}: no problems; heat pump {settings.host}")


@config_app.command(
    "show", epilog=_epilog("0 shown; 78 problems found", "luxcli config show --json")
)
def config_show(
    ctx: typer.Context,
    config_path: ConfigOption = None,
    log_level: LevelOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show every setting in force and where it comes from."""
    settings = _start(ctx, config_path, log_level, as_json=as_json)
    rows = list(config.effective(settings))
    if as_json:
        _print_json(
            ok=True,
            settings={key: {"value": value, "origin": origin} for key, value, origin in rows},
        )
    else:
        _table(("setting", "value", "from"), rows)


@app.command(
    epilog=_epilog("0 listed; 2 a pattern matches nothing", "luxcli sensors 'ID_WEB_Temp*'")
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
    from luxcli import sensors as catalogue

    ctx.meta["luxcli.json"] = as_json
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
        _print_json(ok=True, sensors=entries)
        return
    rows = [(r.group, str(r.index), r.id, r.name, r.german, r.unit) for r in chosen]
    _table(("group", "index", "id", "name", "German", "unit"), rows)
    if len(chosen) == 1 and chosen[0].labels:
        _table(("code", "meaning"), [(str(k), v) for k, v in sorted(chosen[0].labels.items())])


@app.command(
    epilog=_epilog(
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
    from luxcli.replay import Replay
    from luxcli.simulator import Simulator

    log.set_up(_level(log_level) or _default_level(), "text")
    began = time.time()
    with Simulator(
        Replay(profile),
        host=host,
        port=port,
        clock=lambda: began + (time.time() - began) * speed,
    ) as simulator:
        typer.echo(
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
    epilog=_epilog("0 done; 2 the directory is in use; 74 it cannot be written", "luxcli demo")
)
def demo(
    ctx: typer.Context,
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory to fill.")] = Path(
        "luxcli-demo"
    ),
    as_json: JsonOption = False,
) -> None:
    """Run the whole job against a simulated heat pump: no hardware, no configuration."""
    from luxcli import demo as scenario

    ctx.meta["luxcli.json"] = as_json
    log.set_up("WARNING", "text")
    zone = periods.zone(None, os.environ)
    with _progress("polling") as show:
        result = scenario.run(output, now_s=time.time(), zone=zone, progress=show)
    if as_json:
        _print_json(
            ok=True,
            polls=result.polls,
            values=result.values,
            cache=str(result.cache),
            cache_bytes=result.cache_bytes,
            files=[_rollup_entry(entry) for entry in result.rollups],
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
        ("cache", f"{_megabytes(result.cache_bytes)}: {result.cache}"),
    ]
    _table(("", "luxcli demo"), rows)
    typer.echo(
        "\nYour own heat pump: luxcli config init --host ADDRESS && luxcli poll-once"
        f'\nLook at the data:   sqlite3 {result.cache} "select time, ID_WEB_Temperatur_TVL'
        ' from reading limit 5"'
    )


@contextmanager
def _progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """Give a function ``(done, total)`` that moves a bar on a terminal and does nothing else."""
    if not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    """Print a table for a person, tab-separated lines for anything else."""
    if not sys.stdout.isatty():
        for row in [head, *rows]:
            typer.echo("\t".join(row))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(*head, box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    Console(highlight=False).print(table, markup=False)


def _print_json(**fields: object) -> None:
    typer.echo(json.dumps(fields, ensure_ascii=False))


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 100_000 else f"{size / 1e3:.1f} kB"
