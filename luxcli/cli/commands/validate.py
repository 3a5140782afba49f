"""The command `validate`: judges stored polls, a new poll or a CSV."""

import sys
from collections.abc import Mapping
from datetime import UTC, datetime, time, timedelta, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from luxcli import times
from luxcli.cli.options import (
    ConfigOption,
    JsonOption,
    LevelOption,
    current_ms,
    date_option,
    duration_option,
    epilog,
)
from luxcli.cli.output import local_zone, print_json, warn
from luxcli.cli.screen import print_records, print_table, print_wrapped, progress
from luxcli.cli.session import Session
from luxcli.config.config import Config
from luxcli.errors import FINDINGS, NoDataError, UsageError

if TYPE_CHECKING:
    from luxcli.validation.report import Report

EPILOG = epilog(
    "0 good; 2 wrong usage; 3 warnings; 65 problems, or nothing stored; 69, 75, 76 heat pump"
    " (--live); 74 storage; 78 configuration; 142 took too long",
    "luxcli validate --last 7d",
)
_DAY_S = 86_400
_FIRST_YEAR, _LAST_YEAR = 2000, 9998
_STATUS: Mapping[str, int] = {"good": 0, "warnings": FINDINGS, "problems": NoDataError.exit_code}


def validate(
    session: Session,
    *,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="First local day, or a time like 2026-11-24T07:00:00+01:00."
        ),
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="TIME", help="Last local day, or a time; now by default.")
    ] = None,
    last: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Judge the last 7d, 36h or 90m; 24h by default."),
    ] = None,
    live: Annotated[
        bool, typer.Option("--live", help="Read the heat pump once and judge that; store nothing.")
    ] = False,
    csv: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Check a CSV of 'luxcli rollup'.")
    ] = None,
    config_path: ConfigOption = None,
    log_level: LevelOption = None,
    as_json: JsonOption = False,
) -> int:
    """Judge the data: complete, plausible, consistent? A score and one verdict."""
    settings = session.start(config_path, log_level, as_json=as_json, job="validate")
    zone = local_zone(settings.timezone)
    interval = {"--since": since, "--until": until, "--last": last}
    _check_options(interval, live=live, csv=csv)
    report = _judge(settings, interval, zone, live=live, csv=csv)
    if report.remark:
        warn(report.remark)
    if as_json:
        print_json(report.to_json())
    else:
        _show(report, zone, source=_source(report, zone, live=live, csv=csv))
    return _STATUS[report.verdict]


def _check_options(interval: Mapping[str, str | None], *, live: bool, csv: Path | None) -> None:
    """Raise if one of the options would be ignored."""
    given = [option for option, text in interval.items() if text is not None]
    kinds = [option for option, chosen in (("--live", live), ("--csv", csv)) if chosen]
    if len(kinds) > 1 or (kinds and given):
        raise UsageError(f"{' and '.join([*kinds, *given])}: use one of them")
    if "--last" in given and len(given) > 1:
        raise UsageError(f"{' and '.join(given)}: use --last, or --since and --until")


def _judge(
    settings: Config,
    interval: Mapping[str, str | None],
    zone: tzinfo,
    *,
    live: bool,
    csv: Path | None,
) -> "Report":
    if csv is not None:
        from luxcli.validation import csv_file

        with progress("checking") as show:
            return csv_file.check(settings, csv, zone, progress=show)
    from luxcli.validation import stored

    if live:
        return stored.validate_live(settings)
    now_ms = current_ms()
    start_ms, stop_ms = _interval(interval, now_ms, zone)
    with progress("validating") as show:
        return stored.validate(
            settings, start_ms=start_ms, stop_ms=stop_ms, now_ms=now_ms, progress=show
        )


def _interval(given: Mapping[str, str | None], now_ms: int, zone: tzinfo) -> tuple[int, int]:
    """Return the interval that the options name, half-open, in ms."""
    length_s = duration_option(given["--last"], "--last") or _DAY_S
    since, until = given["--since"], given["--until"]
    if length_s > now_ms / 1000:
        raise UsageError(f"--last {given['--last']} begins before 1970")
    stop_ms = now_ms if until is None else min(now_ms, _moment(until, "--until", zone, days=1))
    if since is None:
        return stop_ms - length_s * 1000, stop_ms
    start_ms = _moment(since, "--since", zone)
    if start_ms >= now_ms:
        raise UsageError(f"--since {since} is in the future")
    if start_ms >= stop_ms:
        raise UsageError(f"--since {since} is not before --until {until}")
    return start_ms, stop_ms


def _moment(text: str, option: str, zone: tzinfo, *, days: int = 0) -> int:
    """Return a time, or the beginning of a local day and `days` later, in ms since the epoch."""
    if "T" in text:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise UsageError(f"{option} {text!r} is not a time like 2026-11-24T07:00:00") from None
        # The years of days; other times cannot be converted to every time zone.
        if not _FIRST_YEAR <= moment.year <= _LAST_YEAR:
            raise UsageError(f"{option} {text!r} is not in the years {_FIRST_YEAR} to {_LAST_YEAR}")
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=zone)
    else:
        day = date_option(text, option)
        assert day is not None
        moment = datetime.combine(day + timedelta(days=days), time(), tzinfo=zone)
    return int(moment.astimezone(UTC).timestamp() * 1000)


def _source(report: "Report", zone: tzinfo, *, live: bool, csv: Path | None) -> str:
    count = f"{report.polls} {'row' if csv else 'poll'}{'' if report.polls == 1 else 's'}"
    if csv is not None:
        return f"{csv}, {count}"
    if live:
        return "one poll of the heat pump, not stored"
    first, last = (times.local_time(ms, zone) for ms in (report.start_ms, report.stop_ms))
    return f"{count} from {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M}"


def _show(report: "Report", zone: tzinfo, *, source: str) -> None:
    from luxcli.validation.findings import HEAD, TITLES

    print_table(("data", "score", "findings"), report.rows())
    if report.findings:
        print_records(HEAD, [finding.row(zone) for finding in report.findings], TITLES)
    for line in report.lines(zone, source, short=sys.stdout.isatty()):
        print_wrapped(line)
