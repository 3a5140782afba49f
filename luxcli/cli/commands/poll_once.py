"""The command `poll-once`: read the heat pump and store every value."""

import sys
from functools import partial
from typing import TYPE_CHECKING, Annotated

from luxcli.cli.options import (
    ConfigOption,
    JsonOption,
    LevelOption,
    Option,
    epilog,
    interval_option,
)
from luxcli.cli.output import print_json, report_line, warn
from luxcli.cli.session import Session
from luxcli.config.config import Config
from luxcli.errors import LuxcliError, UsageError

if TYPE_CHECKING:
    from luxcli.recording.poll import PollResult

# A run of several polls is short: a longer one survives neither a reboot nor an update.
_LONGEST_RUN_S = 3600

EPILOG = epilog(
    "0 stored; 2 wrong usage; 69 heat pump unreachable or silent; 74 storage; 75 busy;"
    " 76 bad answer; 78 configuration; 129, 130, 143 interrupted;"
    " 142 took too long; of several polls that of the last one that failed",
    "luxcli poll-once -c /etc/luxcli/config.yaml",
)


def poll_once(
    session: Session,
    *,
    every: Annotated[
        str | None,
        Option(
            "Make all polls of the current minute at this interval (for schedulers that start jobs"
            " once a minute).",
            metavar="TIME",
        ),
    ] = None,
    count: Annotated[
        int | None,
        Option(
            "Make N polls instead, interval_sec (or --every) apart, then exit.",
            metavar="N",
            minimum=1,
        ),
    ] = None,
    scheduled: Annotated[
        bool,
        Option(
            "The poll is one of a schedule of interval_sec (or --every), and counts for the"
            " scheduled time nearest to now. --every alone implies it, and so does an input that"
            " is no terminal. Other polls count as extra ones."
        ),
    ] = False,
    config_path: ConfigOption = None,
    log_level: LevelOption = None,
    as_json: JsonOption = False,
) -> int:
    """Read the heat pump once and store every value."""
    from luxcli.recording import limits, pacing

    def lasts_s(settings: Config) -> float:
        if count is None:
            return 0 if every is None else limits.MINUTES_S
        return (count - 1) * (interval_option(every, "--every") or settings.interval_sec)

    settings = session.start(config_path, log_level, as_json=as_json, job="poll", extra_s=lasts_s)
    settings.require_host()
    every_s = interval_option(every, "--every") or settings.interval_sec
    if count is None and every is None:
        # Older crontabs have no option; a person has a terminal.
        interval_s = every_s if scheduled or not _has_terminal() else None
        return _poll_single(settings, interval_s, as_json=as_json)
    if count is not None and (count - 1) * every_s >= _LONGEST_RUN_S:
        raise UsageError(f"--count {count}: takes an hour or longer; that is what cron is for")

    report = partial(_report, as_json=as_json)
    if count is None:
        run = pacing.poll_minute(settings, every_s=every_s, report=report)
    else:
        moments = [float(number * every_s) for number in range(count)]
        interval_s = every_s if scheduled else None
        run = pacing.poll(settings, moments, interval_s=interval_s, report=report)
    if not run.outcomes:
        session.suppress_notification()
    if as_json:
        print_json(run.to_json())
    return run.failure.exit_code if run.failure else 0


def _has_terminal() -> bool:
    try:
        return sys.stdin is not None and sys.stdin.isatty()
    except ValueError:  # closed
        return False


def _poll_single(settings: Config, interval_s: int | None, *, as_json: bool) -> int:
    from luxcli.recording import pacing

    [outcome] = pacing.poll(settings, [0.0], interval_s=interval_s).outcomes
    if isinstance(outcome, LuxcliError):
        raise outcome
    if as_json:
        print_json(outcome.to_json())
    _print_poll(outcome, as_json=as_json)
    return 0


def _report(outcome: "PollResult | LuxcliError", *, as_json: bool) -> None:
    if isinstance(outcome, LuxcliError):
        warn(str(outcome))
    else:
        _print_poll(outcome, as_json=as_json)


def _print_poll(result: "PollResult", *, as_json: bool) -> None:
    if result.warning:
        warn(result.warning)
    if not as_json:
        for line in result.lines():
            report_line(line)
