"""The command `status`: is it still recording?"""

import os
from datetime import UTC, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

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
from luxcli.cli.output import local_zone, print_result
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
    """Print in one line whether polls are being recorded; for health checks."""
    from luxcli.recording import state
    from luxcli.store.store import Store

    settings = session.start(config_path, log_level, as_json=as_json)
    limit_s = duration_option(max_age, "--max-age")
    if limit_s is None:
        limit_s = state.default_max_age_s(settings.interval_sec)
    store = Store(settings.cache_path)
    found = state.state(store, current_ms())
    obstacle = state.obstacle(store) if found.is_stale(limit_s) else None
    journals = state.journal_count(store)
    is_behind = journals > state.MANY_JOURNALS
    result = _Status(found, limit_s, obstacle, settings.cache_path, UTC, journals, is_behind)
    # Loading the rules of a time zone takes a tenth of the time of the command, so that is done
    # only for texts with local times, or to report that TZ names no time zone.
    unchecked = not settings.timezone and "TZ" in os.environ
    if not as_json and (found.ahead_ms or found.day.missing or unchecked):
        result = result._replace(zone=local_zone(settings.timezone))
    print_result(result, as_json=as_json)
    return 0 if result.is_good else FINDINGS


class _Status(NamedTuple):
    """Whether polls keep coming, and since when not.

    Attributes:
        state: Of the database and the journals.
        limit_s: Age in seconds from which the last poll is too old.
        obstacle: What keeps polls from being stored, if the last one is too old.
        database: Its path.
        zone: For local times.
        journals: Number of journals.
        is_behind: They are many, since archives do not come about.
    """

    state: "State"
    limit_s: int
    obstacle: str | None
    database: Path
    zone: tzinfo
    journals: int
    is_behind: bool

    @property
    def is_stale(self) -> bool:
        """Whether the last poll is too old."""
        return self.state.is_stale(self.limit_s)

    @property
    def is_clock_doubted(self) -> bool:
        """Whether this computer's clock is wrong, as far as the last poll shows."""
        return self.state.is_clock_doubted(self.limit_s)

    @property
    def is_good(self) -> bool:
        """Whether there is nothing to act on."""
        return not (self.is_stale or self.is_clock_doubted)

    def to_json(self) -> dict[str, object]:
        """Return what ``--json`` prints."""
        last_ms, ahead_ms, failure = self.state.last_ms, self.state.ahead_ms, self.state.failure
        return {
            "ok": self.is_good,
            "last": None if last_ms is None else times.utc_text(last_ms),
            "age_s": self.state.age_s,
            "max_age_s": self.limit_s,
            "clock_doubted": self.is_clock_doubted,
            "ahead": None if ahead_ms is None else times.utc_text(ahead_ms),
            "failure": failure
            and {
                "time": times.utc_text(failure.ts_ms),
                "reason": failure.reason,
                "detail": failure.detail,
            },
            "obstacle": self.obstacle,
            "journals": self.journals,
            "day": self.state.day.to_json(),
        }

    def lines(self) -> list[str]:
        """Return one line for a person."""
        found = self.state
        if self.is_clock_doubted:
            # Nothing else that depends on the time is worth a word.
            dated = times.utc_text(found.doubted_ms or 0)
            return [
                f"clock wrong: the last poll is dated {dated}, which cannot be right;"
                " set this computer's clock, then 'luxcli repair-times' puts such polls right"
            ]
        if found.age_s is None:
            text = f"nothing recorded in {self.database}"
        else:
            text = f"last poll {times.span(found.age_s)} ago"
            if self.is_stale:
                text += f", more than {times.span(self.limit_s)}"
        if self.obstacle:
            text += f"; {self.obstacle}"
        if self.is_behind:
            text += f"; {self.journals} journals wait: 'luxcli rollup daily' writes their archives"
        if found.failure:
            text += f"; {found.failure.reason}: {found.failure.detail}"
        if found.ahead_ms:
            ahead = times.local_time(found.ahead_ms, self.zone)
            text += f"; a poll of {ahead:%Y-%m-%d %H:%M} is in the future: is the clock right?"
        if found.day.expected:
            text += f"; 24 h: {found.day.describe(self.zone)}"
        return [f"{'not recording' if self.is_stale else 'recording'}: {text}"]
