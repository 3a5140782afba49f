"""The command `capture`: a trial with a heat pump."""

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
from luxcli.cli.output import local_zone, print_json, print_line, warn
from luxcli.cli.screen import print_table, progress
from luxcli.cli.session import Session
from luxcli.errors import FINDINGS, ConfigError, Interrupted, UsageError

if TYPE_CHECKING:
    from luxcli.live.capture import Capture, Recording

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
        str,
        typer.Option(metavar="TIME", help="How long to poll: 90, 90s, 2m or 1h; at most a day."),
    ] = "120",
    interval: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Time between polls, at least 10 seconds; by default interval_sec.",
            show_default=False,
        ),
    ] = None,
    host: Annotated[
        str | None, typer.Option(metavar="HOST", help="Name or address of the heat pump.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(metavar="PORT", min=1, max=65535, help="TCP port.")
    ] = None,
    config_path: ConfigOption = None,
    log_level: LevelOption = None,
    as_json: JsonOption = False,
) -> int:
    """Try luxcli with your heat pump: poll for some minutes, write CSVs, judge them."""
    from luxcli.live import capture as job

    address = {"host": host, "port": port}
    settings = session.start(config_path, log_level, as_json=as_json, options=address)
    if settings.host is None:
        where = f"{settings.file}: " if settings.file else ""
        raise ConfigError([f"{where}host: missing; use --host ADDRESS"])
    duration_s = _duration(duration)
    interval_s = interval_option(interval, "--interval") or settings.interval_sec
    trial = job.prepare(settings, output, interval_s)
    with progress("polling") as show:
        recording = job.record(
            trial, settings, duration_s=duration_s, interval_s=interval_s, progress=show
        )
    if recording.interrupted:
        # A second signal ends the command at once, in case the CSVs take longer than usual.
        signal.signal(recording.interrupted, signal.SIG_DFL)
    if recording.last is None:
        job.discard(trial)
        _fail(recording)
    zone = local_zone(settings.timezone)
    result = job.conclude(trial, recording, now_ms=current_ms() + 1, zone=zone)
    if as_json:
        print_json(result.to_json())
    else:
        _print(result, zone)
    if recording.interrupted:
        raise Interrupted(recording.interrupted)
    return FINDINGS if recording.missed or result.findings else 0


def _duration(text: str) -> int:
    """Return the seconds that the capture lasts."""
    from luxcli.live import capture as job

    seconds = duration_option(text, "--duration") or 0
    if seconds > job.LONGEST_S:
        raise UsageError(f"--duration {text}: is more than a day; use cron for that")
    return seconds


def _fail(recording: "Recording") -> NoReturn:
    """Fail as the last poll did: without any poll there are no CSVs."""
    if recording.failure is None:
        raise Interrupted(recording.interrupted or signal.SIGINT)
    attempts = recording.missed.total()
    if attempts > 1:
        warn(f"none of {attempts} polls succeeded; nothing was kept")
    if recording.interrupted:
        warn(str(recording.failure))
        raise Interrupted(recording.interrupted)
    raise recording.failure


def _print(result: "Capture", zone: tzinfo) -> None:
    recording = result.recording
    if recording.warning:
        warn(recording.warning)
    print_table(("", "luxcli capture"), result.rows())
    _print_sample(result, zone)
    if recording.failure:
        warn(f"last failure: {recording.failure}")
    for finding in result.findings:
        where = f"{finding.sensor}: " if finding.sensor else ""
        warn(
            f"{finding.severity}: {finding.rule}: {where}expected {finding.expected},"
            f" found {finding.found}" + (f" ({finding.count} times)" if finding.count > 1 else "")
        )
    for line in result.lines():
        print_line(line)


def _print_sample(result: "Capture", zone: tzinfo) -> None:
    """Print the first and the last polls."""
    from luxcli.live import key_values

    items = (
        *(key_values.OUTDOOR, key_values.FLOW, key_values.RETURN, key_values.HOT_WATER),
        *(key_values.SOURCE_IN, key_values.COMPRESSOR),
    )
    rows = []
    for number, poll in enumerate(result.sample):
        if len(result.sample) < result.recording.polls and number * 2 == len(result.sample):
            rows.append(("...", *("" for _ in items)))
        values = key_values.Values(poll)
        cells = (key_values.row(item, values).text for item in items)
        rows.append((f"{times.local_time(poll.taken_ms, zone):%H:%M:%S}", *cells))
    print_table(("time", *(item.label for item in items)), rows)
