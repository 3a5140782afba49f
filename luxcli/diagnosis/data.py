"""Whether the polls of the last day are good data, as ``luxcli validate`` judges them.

A health check changes nothing: polls that wait in the journals are judged from there.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from luxcli.config.config import Config
from luxcli.diagnosis import findings as rendering
from luxcli.diagnosis.sections import Line, Section, counted, info, ok
from luxcli.errors import LuxcliError, NoDataError
from luxcli.store.store import Store
from luxcli.validation import stored
from luxcli.validation.report import Report
from luxcli.validation.rules import AREAS

_DAY_MS: Final = 86_400_000
# The fastest schedule has 8640 in a day; of more only the newest are judged.
_MOST_POLLS: Final = 10_000
_MOST_SHOWN: Final = 10


def recorded_data(config: Config, *, now_ms: int) -> Section:
    """Return the verdict on the last 24 hours, its scores and findings."""
    try:
        start_ms = _beginning(Store(config.cache_path), now_ms)
        report = stored.validate(config, start_ms=start_ms, stop_ms=now_ms, now_ms=now_ms)
    except NoDataError:
        return Section("recorded data", (info("no polls of the last 24 h to judge"),))
    except LuxcliError as exc:
        # Other sections say what is wrong with the database and what to do about it.
        return Section("recorded data", (info(f"cannot be judged: {exc}"),))
    return Section("recorded data", (_verdict(report), *_shown(report)), (), _values(report))


def _beginning(store: Store, now_ms: int) -> int:
    """Return the beginning: a day ago, or later if there are more polls than a schedule makes."""
    start_ms = now_ms - _DAY_MS
    times = store.database.times(start_ms, now_ms)
    times += [ms for ms in store.waiting().polls_ms if start_ms <= ms < now_ms]
    return start_ms if len(times) <= _MOST_POLLS else sorted(times)[-_MOST_POLLS]


def _verdict(report: Report) -> Line:
    text = f"{report.verdict}: {counted(report.polls, 'poll', 'polls')} of the last 24 h"
    scores = {name: report.scores[area] for area, name in AREAS.items() if area in report.scores}
    text += "; of 100 points: " + ", ".join(
        f"{name} {'-' if points is None else points}" for name, points in scores.items()
    )
    return ok(text) if report.verdict == "good" else info(text)


def _shown(report: Report) -> Iterator[Line]:
    """Yield a line for each finding that is more than a note."""
    found = [finding for finding in report.findings if finding.severity != "note"]
    for number, finding in enumerate(found[:_MOST_SHOWN]):
        advice = "'luxcli validate' says when" if number == 0 else None
        yield replace(rendering.line(finding), advice=advice)
    if len(found) > _MOST_SHOWN:
        yield info(f"and {len(found) - _MOST_SHOWN} more: 'luxcli validate' shows them")


def _values(report: Report) -> dict[str, object]:
    return {
        "verdict": report.verdict,
        "polls": report.polls,
        "scores": dict(report.scores),
        "findings": [
            {"rule": one.rule, "severity": one.severity, "sensor": one.sensor, "count": one.count}
            for one in report.findings
        ],
    }
