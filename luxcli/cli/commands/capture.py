"""The capture command: does it work with this heat pump at all?"""

import signal
from datetime import tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from luxcli import times
from luxcli.cli.options import (
    ConfigOption,
    JsonOption,
    LevelOption,
    current_ms,
    duration_option,
    epilog,
    interval_option,
)
from luxcli.cli.output import (
    failure_entry,
    local_zone,
    megabytes,
    print_json,
    rollup_entry,
    say,
    warn,
)
from luxcli.cli.screen import progress, table
from luxcli.cli.session import Session
from luxcli.errors import FINDINGS, ConfigError, Interrupted, UsageError

if TYPE_CHECKING:
    from luxcli.live.capture import Capture, Recording
    from luxcli.validation.report import Verdict

EPILOG = epilog(
    "0 recorded, all good; 2 wrong usage; 3 polls missed, or findings; 69 heat pump"
    " unreachable or silent; 74 storage; 75 busy; 76 bad answer; 78 configuration;"
    " 130, 143 interrupted",
    "luxcli capture --host 192.168.1.50 --output trial --duration 2m",
)


def capture(
    session: Session,
    *,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="New directory to fill.")
    ],
    duration: Annotated[
        str, typer.Option(metavar="TIME", help="How long: 90, 90s, 2m or 1h; at most a day.")
    ] = "120",
    interval: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="From poll to poll, 10 seconds at least; by default interval_sec.",
            show_default=False,
        ),
    ] = None,
    host: Annotated[str | None, typer.Option(help="Name or address of the heat pump.")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="TCP port.")] = None,
    config_path: ConfigOption = None,
    log_level: LevelOption = None,
    as_json: JsonOption = False,
) -> int:
    """Try it with your heat pump: poll for some minutes, write CSVs, say whether all is well."""
    from luxcli.live import capture as capturing

    address = {"host": host, "port": port}
    settings = session.start(config_path, log_level, as_json=as_json, options=address)
    if settings.host is None:
        where = f"{settings.file}: " if settings.file else ""
        raise ConfigError([f"{where}host: missing; say --host ADDRESS"])
    duration_s = _duration(duration)
    interval_s = interval_option(interval, "--interval") or settings.interval_sec
    own = capturing.prepare(settings, output, interval_s)
    with progress("polling") as show:
        recording = capturing.record(
            own, settings, duration_s=duration_s, interval_s=interval_s, progress=show
        )
    if recording.interrupted:
        # The next signal ends it at once: what follows takes seconds only, but who knows.
        signal.signal(recording.interrupted, signal.SIG_DFL)
    if recording.last is None:
        capturing.discard(own)
        _nothing_recorded(recording)
    zone = local_zone(settings.timezone)
    result = capturing.conclude(own, recording, now_ms=current_ms() + 1, zone=zone)
    if as_json:
        _capture_json(recording, result)
    else:
        _capture_summary(recording, result, zone)
    if recording.interrupted:
        raise Interrupted(recording.interrupted)
    return FINDINGS if recording.missed or result.findings else 0


def _duration(text: str) -> int:
    """Return the seconds that the trial lasts."""
    from luxcli.live import capture as capturing

    seconds = duration_option(text, "--duration") or 0
    if seconds > capturing.LONGEST_S:
        raise UsageError(f"--duration {text}: is more than a day; that is what cron is for")
    return seconds


def _nothing_recorded(recording: "Recording") -> NoReturn:
    """Fail as the last poll did; there is nothing to make a CSV of."""
    if recording.failure is None:
        raise Interrupted(recording.interrupted or signal.SIGINT)
    attempts = recording.missed.total()
    if attempts > 1:
        warn(f"none of {attempts} polls succeeded; nothing was kept")
    if recording.interrupted:
        warn(str(recording.failure))
        raise Interrupted(recording.interrupted)
    raise recording.failure


def _capture_json(recording: "Recording", result: "Capture") -> None:
    print_json(
        ok=not (recording.missed or result.findings or recording.interrupted),
        verdict=_verdict(recording, result),
        polls=recording.polls,
        missed=dict(recording.missed),
        interrupted=recording.interrupted is not None,
        failure=recording.failure and failure_entry(recording.failure),
        warning=recording.warning,
        values=result.values,
        cache=str(result.cache),
        files=[rollup_entry(entry) for entry in result.rollups],
        findings=[
            {
                "rule": finding.rule,
                "severity": finding.severity,
                "sensor": finding.sensor,
                "expected": finding.expected,
                "found": finding.found,
                "count": finding.count,
            }
            for finding in result.findings
        ],
    )


def _capture_summary(recording: "Recording", result: "Capture", zone: tzinfo) -> None:
    from luxcli.live import capture as capturing
    from luxcli.live import key_values

    if recording.warning:
        warn(recording.warning)
    missed = capturing.missed_in_words(recording.missed)
    assert recording.last is not None
    table(
        ("", "luxcli capture"),
        [
            ("heat pump", key_values.model(key_values.Values(recording.last))),
            ("polls", f"{recording.polls}, {result.values} values each"),
            ("missed", missed or "none"),
            *(
                (
                    f"{entry.period.kind} CSV",
                    f"{entry.rows} rows, {entry.columns} columns,"
                    f" {megabytes(entry.size)}: {entry.path and entry.path.name}",
                )
                for entry in result.rollups
            ),
            ("directory", str(result.cache.parent)),
        ],
    )
    _sample(result, recording.polls, zone)
    if recording.failure:
        warn(f"last failure: {recording.failure}")
    for finding in result.findings:
        where = f"{finding.sensor}: " if finding.sensor else ""
        warn(
            f"{finding.severity}: {finding.rule}: {where}expected {finding.expected},"
            f" found {finding.found}" + (f" ({finding.count} times)" if finding.count > 1 else "")
        )
    say(_verdict_line(recording, result))


def _sample(result: "Capture", polls: int, zone: tzinfo) -> None:
    """Show the first and the last polls."""
    from luxcli.live import key_values

    items = (
        *(key_values.OUTDOOR, key_values.FLOW, key_values.RETURN, key_values.HOT_WATER),
        *(key_values.SOURCE_IN, key_values.COMPRESSOR),
    )
    rows = []
    for number, poll in enumerate(result.sample):
        if len(result.sample) < polls and number * 2 == len(result.sample):
            rows.append(("...", *("" for _ in items)))
        values = key_values.Values(poll)
        cells = (key_values.shown(item, values).text for item in items)
        rows.append((f"{times.local_time(poll.taken_ms, zone):%H:%M:%S}", *cells))
    table(("time", *(item.label for item in items)), rows)


def _verdict(recording: "Recording", result: "Capture") -> "Verdict":
    return "warnings" if result.verdict == "good" and recording.missed else result.verdict


def _verdict_line(recording: "Recording", result: "Capture") -> str:
    verdict, missed = _verdict(recording, result), recording.missed.total()
    stopped = "ended early; " if recording.interrupted else ""
    # That polls are missing is what the last line is about.
    if any(not finding.rule.startswith("coverage-") for finding in result.findings):
        return f"{verdict}: {stopped}see the findings above"
    if missed:
        share = f"{missed} of {missed + recording.polls}"
        return f"{verdict}: {stopped}it works, but {share} polls are missing"
    return f"{verdict}: {stopped}it works with this heat pump"
