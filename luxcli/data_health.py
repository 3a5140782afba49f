"""Whether what was recorded in the last day is good data, as ``luxcli validate`` judges it.

Judged is a copy, polls that still wait in the buffer included: reading for a validation would move
the buffer into the cache, and a health check leaves everything as it is.
"""

import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final

from luxcli import buffer, cache, reading, validation
from luxcli.config import Config
from luxcli.errors import LuxcliError, NoDataError
from luxcli.findings import Finding
from luxcli.health import NO_DATA, Line, Section, counted, info, ok, problem, warning
from luxcli.model import Missed, Snapshot
from luxcli.rules import AREAS
from luxcli.storage import Store
from luxcli.verdicts import Report

_DAY_MS: Final = 86_400_000
# The fastest schedule has 8640 in a day; of more only the newest are looked at.
_MOST_POLLS: Final = 10_000
_BATCH: Final = 500
# More findings than anybody reads here.
_MOST_SHOWN: Final = 10


def recorded_data(config: Config, *, now_ms: int) -> Section:
    """Return the verdict on the last 24 hours, its scores and what was found."""
    damaged: list[int] = []
    try:
        with tempfile.TemporaryDirectory(prefix="luxcli-") as directory:
            copy = config._replace(cache_path=Path(directory) / "cache.sqlite3")
            start_ms = _copied(config, copy, now_ms, damaged)
            report = validation.validate(copy, start_ms=start_ms, stop_ms=now_ms, now_ms=now_ms)
    except NoDataError:
        lines = [*_damaged(damaged), info("no polls of the last 24 h to judge")]
        return Section("recorded data", tuple(lines))
    except LuxcliError as exc:
        # Other sections say what is wrong with the cache and what to do about it.
        return Section("recorded data", (info(f"cannot be judged: {exc}"),))
    except OSError as exc:
        return Section("recorded data", (info(f"cannot be judged: {exc.strerror}"),))
    lines = [_verdict(report), *_damaged(damaged), *_shown(report)]
    return Section("recorded data", tuple(lines), (), _values(report))


def _copied(config: Config, copy: Config, now_ms: int, damaged: list[int]) -> int:
    """Put the polls and missed ticks of the last day into another cache; return the beginning."""
    store, target = Store(config.cache_path), Store(copy.cache_path)
    start_ms = _beginning(store, now_ms)
    waiting = store.waiting()
    entries = [store.next_entry(0), *(poll.taken_ms for poll in waiting.polls)]
    began_ms = min((ms for ms in entries if ms is not None), default=start_ms)
    missed = [tick for tick in waiting.missed if start_ms <= tick.ts_ms < now_ms]
    missed += store.missed(start_ms, now_ms)
    if began_ms < start_ms:
        # What is missing at the beginning of the day only counts if there was something before.
        missed.append(Missed(began_ms, "earlier", 0, 0, ""))
    target.merge([], missed)
    for part in buffer.parts(store.buffer_path, _BATCH):
        target.merge([poll for poll in part.polls if start_ms <= poll.taken_ms < now_ms], [])
    polls = _stored(store, start_ms, now_ms, damaged)
    while batch := list(islice(polls, _BATCH)):
        target.merge(batch, [])
    return start_ms


def _beginning(store: Store, now_ms: int) -> int:
    """Return where to begin: a day ago, or later if there is more than anybody schedules."""
    start_ms = now_ms - _DAY_MS
    times = store.times(start_ms, now_ms)
    times += [p.taken_ms for p in store.waiting().polls if start_ms <= p.taken_ms < now_ms]
    return start_ms if len(times) <= _MOST_POLLS else sorted(times)[-_MOST_POLLS]


def _stored(store: Store, start_ms: int, stop_ms: int, damaged: list[int]) -> Iterator[Snapshot]:
    """Yield the polls of the cache; unlike `Store.query` without emptying the buffer into it."""
    with store.reading() as db:
        if db is None:
            return
        oldest, newest = cache.bounds(db)
        if oldest is not None and newest is not None:
            interval = max(start_ms, oldest), min(stop_ms, newest + 1)
            yield from reading.polls(db, *interval, damaged)


def _damaged(times: list[int]) -> Iterator[Line]:
    if times:
        text = f"{counted(len(times), 'poll is', 'polls are')} damaged in the cache"
        yield problem(text, "'luxcli restore' puts right what an archive holds", status=NO_DATA)


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
        if finding.severity == "problem":
            yield problem(_text(finding), advice, status=NO_DATA)
        else:
            yield warning(_text(finding), advice)
    if len(found) > _MOST_SHOWN:
        yield info(f"and {len(found) - _MOST_SHOWN} more: 'luxcli validate' shows them")


def _text(finding: Finding) -> str:
    times = f" ({finding.count} times)" if finding.count > 1 else ""
    sensor = f"{finding.sensor}: " if finding.sensor else ""
    return f"{finding.rule}: {sensor}{finding.found}{times}; expected is {finding.expected}"


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
