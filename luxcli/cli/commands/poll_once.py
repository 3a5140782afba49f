"""The two commands that run every minute or more often: a poll, and whether it still records.

Apart from the others so that they start without the option parser, which takes twice as long to
load as a poll takes (`shortcut`).
"""

import math
import os
import sys
from datetime import UTC, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING

from luxcli import times
from luxcli.cli.options import current_ms, duration_option, interval_option
from luxcli.cli.output import (
    coverage_entry,
    local_zone,
    poll_entry,
    print_json,
    result_line,
    say,
    warn,
)
from luxcli.cli.session import Session
from luxcli.config.config import Config
from luxcli.errors import FINDINGS, LuxcliError, UsageError

if TYPE_CHECKING:
    from luxcli.recording.poll import PollResult
    from luxcli.recording.state import State

# A run of several polls is short: what is longer survives neither a reboot nor an update.
_LONGEST_RUN_S = 3600


def poll_once(
    session: Session,
    *,
    every: str | None = None,
    count: int | None = None,
    config_path: Path | None = None,
    log_level: str | None = None,
    as_json: bool = False,
) -> int:
    """Poll as ``luxcli poll-once`` with these options; return the exit status."""
    from luxcli.recording import limits, pacing

    def lasts_s(settings: Config) -> float:
        if count is None:
            return 0 if every is None else limits.MINUTES_S
        return (count - 1) * (interval_option(every, "--every") or settings.interval_sec)

    settings = session.start(config_path, log_level, as_json=as_json, job="poll", beyond_s=lasts_s)
    settings.require_host()
    every_s = interval_option(every, "--every") or settings.interval_sec
    if count is None and every is None:
        return _poll_single(settings, every_s, as_json=as_json)
    if count is not None and (count - 1) * every_s >= _LONGEST_RUN_S:
        raise UsageError(f"--count {count}: takes an hour or longer; that is what cron is for")

    def report(outcome: "PollResult | LuxcliError") -> None:
        if isinstance(outcome, LuxcliError):
            warn(str(outcome))
        else:
            _print_poll(outcome, as_json=as_json)

    if count is None:
        run = pacing.poll_minute(settings, every_s=every_s, report=report)
    else:
        moments = [float(number * every_s) for number in range(count)]
        run = pacing.poll(settings, moments, every_s=every_s, report=report)
    if not run.outcomes:
        session.nothing_done()
    if as_json:
        print_json(
            ok=run.failure is None,
            polls=[poll_entry(outcome) for outcome in run.outcomes],
            overrun=run.overrun,
        )
    return run.failure.exit_code if run.failure else 0


def _poll_single(settings: Config, every_s: int, *, as_json: bool) -> int:
    from luxcli.recording import pacing

    # One by hand is not the schedule's: nobody waits for what else is recorded.
    schedule_s = math.inf if sys.stdout.isatty() else every_s
    [outcome] = pacing.poll(settings, [0.0], every_s=schedule_s).outcomes
    if isinstance(outcome, LuxcliError):
        raise outcome
    if as_json:
        print_json(**poll_entry(outcome))
    _print_poll(outcome, as_json=as_json)
    return 0


def _print_poll(result: "PollResult", *, as_json: bool) -> None:
    if result.warning:
        warn(result.warning)
    if not as_json:
        for line in result.lines():
            result_line(line)


def status(
    session: Session,
    *,
    max_age: str | None = None,
    config_path: Path | None = None,
    log_level: str | None = None,
    as_json: bool = False,
) -> int:
    """Say whether it records as ``luxcli status`` with these options; return the exit status."""
    from luxcli.recording import state
    from luxcli.store.store import Store

    settings = session.start(config_path, log_level, as_json=as_json)
    limit_s = duration_option(max_age, "--max-age")
    if limit_s is None:
        limit_s = state.default_max_age_s(settings.interval_sec)
    store = Store(settings.cache_path)
    found = state.state(store, current_ms(), settings.interval_sec)
    stale = found.stale(limit_s)
    obstacle = state.obstacle(store) if stale else None
    if as_json:
        print_json(
            ok=not stale,
            last=None if found.last_ms is None else times.utc_text(found.last_ms),
            age_s=found.age_s,
            max_age_s=limit_s,
            ahead=None if found.ahead_ms is None else times.utc_text(found.ahead_ms),
            failure=found.failure
            and {
                "time": times.utc_text(found.failure.ts_ms),
                "reason": found.failure.reason,
                "detail": found.failure.detail,
            },
            obstacle=obstacle,
            day=coverage_entry(found.day),
        )
    else:
        # Loading the rules of a zone takes a tenth of the time, and only gaps are told with times;
        # but that TZ is none is said.
        unchecked = not settings.timezone and "TZ" in os.environ
        told = found.ahead_ms or found.day.missing or unchecked
        zone = local_zone(settings.timezone) if told else UTC
        say(_status_line(found, settings.cache_path, limit_s, zone, obstacle))
    return FINDINGS if stale else 0


def _status_line(
    found: "State", cache: Path, limit_s: float, zone: tzinfo, obstacle: str | None
) -> str:
    from luxcli.recording import state

    if found.age_s is None:
        text = f"nothing recorded in {cache}"
    else:
        text = f"last poll {times.span(found.age_s)} ago"
        if found.stale(limit_s):
            text += f", more than {times.span(limit_s)}"
    if obstacle:
        text += f"; {obstacle}"
    verdict = "not recording" if found.stale(limit_s) else "recording"
    if found.failure:
        text += f"; {found.failure.reason}: {found.failure.detail}"
    if found.ahead_ms:
        ahead = times.local_time(found.ahead_ms, zone)
        text += f"; a poll of {ahead:%Y-%m-%d %H:%M} is in the future: is the clock right?"
    if found.day.expected:
        text += f"; 24 h: {state.in_words(found.day, zone)}"
    return f"{verdict}: {text}"
