"""The command `status`: is it still recording?"""

import os
from datetime import UTC, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from luxcli import times
from luxcli.cli.options import (
    ConfigOption,
    JsonOption,
    LevelOption,
    Option,
    current_ms,
    duration_option,
    epilog,
)
from luxcli.cli.output import coverage_entry, local_zone, print_json, say
from luxcli.cli.session import Session
from luxcli.errors import FINDINGS

if TYPE_CHECKING:
    from luxcli.recording.state import State

EPILOG = epilog(
    "0 recording; 2 wrong usage; 3 the last poll is too old; 74 storage; 78 configuration",
    "luxcli status --max-age 10m",
)


def status(
    session: Session,
    *,
    max_age: Annotated[
        str | None,
        Option(
            "How old the last poll may be: 90, 90s, 5m, 2h or 1d; by default 5m, or three times"
            " interval_sec.",
            metavar="TIME",
        ),
    ] = None,
    config_path: ConfigOption = None,
    log_level: LevelOption = None,
    as_json: JsonOption = False,
) -> int:
    """Say in one line whether it is still recording; for health checks."""
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
        # Loading the rules of a time zone takes a tenth of the time of the command. Only gaps are
        # shown with local times; but a TZ that is no time zone is reported in any case.
        unchecked = not settings.timezone and "TZ" in os.environ
        needs_zone = found.ahead_ms or found.day.missing or unchecked
        zone = local_zone(settings.timezone) if needs_zone else UTC
        say(_line(found, settings.cache_path, limit_s, zone, obstacle))
    return FINDINGS if stale else 0


def _line(
    found: "State", database: Path, limit_s: float, zone: tzinfo, obstacle: str | None
) -> str:
    from luxcli.recording import state

    if found.age_s is None:
        text = f"nothing recorded in {database}"
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
