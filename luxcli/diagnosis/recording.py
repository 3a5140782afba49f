"""Whether it still records: polls against the schedule, and whether CSVs still come. Reads only."""

import csv
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import tzinfo
from functools import partial
from pathlib import Path
from typing import Final

from luxcli import times
from luxcli.config.config import Config
from luxcli.diagnosis.sections import NO_DATA, Line, Section, guarded, info, ok, problem, warning
from luxcli.errors import StorageError
from luxcli.exports import csv_file
from luxcli.periods import KINDS, Kind
from luxcli.recording import coverage, state
from luxcli.recording.coverage import Coverage
from luxcli.rollup import files
from luxcli.store import ledger
from luxcli.store.store import Store

_HOUR_MS: Final = 3_600_000
_DAY_MS: Final = 86_400_000
_LOOKED_AT: Final = (("hour", _HOUR_MS), ("24 h", _DAY_MS), ("7 days", 7 * _DAY_MS))
# A missed tick or two is life with a controller that restarts.
_FEW_MISSED: Final = 2
# With less than this share there is no use in the data.
_HALF: Final = 0.5
# Fewer say nothing about the share.
_ENOUGH_TICKS: Final = 10
# How long after its end a period's CSV is there at the latest.
_CSV_DUE_MS: Final[dict[Kind, int]] = {"daily": 26 * _HOUR_MS, "weekly": 8 * _DAY_MS}
_SEVERAL: Final = 2
# As many cells a row has to have: the predecessor's had two (the times) and little more.
_ENOUGH_CELLS: Final = 50
_SAMPLE_ROWS: Final = 200
# As `jobs.poll_once` records it.
_FOREIGN: Final = "foreign"
_SCHEDULE_ADVICE: Final = (
    "does the scheduler run? 'luxcli schedule cron --install' puts the lines into your crontab"
)


@dataclass(frozen=True, slots=True)
class CsvLook:
    """A quick look at a CSV: rows in all, and how many of those looked at are complete."""

    path: Path
    rows: int
    looked_at: int
    complete: int


def recorded(config: Config, *, now_ms: int, zone: tzinfo) -> Section:
    """Return whether polls come as the schedule wants, and CSVs with them."""
    store = Store(config.cache_path, flush_polls=config.flush_polls)
    values: dict[str, object] = {"interval_sec": config.interval_sec}
    parts: list[Callable[[], Iterable[Line]]] = [
        lambda: _last_poll(config, store, now_ms, values),
        lambda: _coverages(config, store, now_ms, zone, values),
        *(partial(_rollups, config, store, kind, now_ms, zone, values) for kind in KINDS),
        lambda: _newest_csv(config, values),
    ]
    return Section("recording", tuple(guarded(parts)), (), values)


def is_on_schedule(section: Section) -> bool | None:
    """Whether nearly all polls of the last day are there, and the newest is new."""
    recent, covered = section.values.get("recent"), section.values.get("covered")
    return None if recent is None else bool(recent and covered)


def complete_csv_rows(section: Section) -> int | None:
    """Return how many complete rows the newest daily CSV has, None when there is none."""
    look = section.values.get("newest_csv")
    return look["complete"] if isinstance(look, dict) else None


def has_several(rows: int) -> bool:
    """Whether so many complete rows show that CSVs are written as they should be."""
    return rows >= _SEVERAL


def _last_poll(
    config: Config, store: Store, now_ms: int, values: dict[str, object]
) -> Iterator[Line]:
    found = state.state(store, now_ms, config.interval_sec)
    values["last_poll"] = None if found.last_ms is None else times.utc_text(found.last_ms)
    values["last_poll_age_s"] = found.age_s
    if found.ahead_ms is not None:
        ahead = times.span((found.ahead_ms - now_ms) / 1000)
        text = f"a poll lies {ahead} in the future"
        yield warning(text, "this machine's clock is or was wrong: is it synchronised?")
    failure = found.failure
    if failure and failure.reason == _FOREIGN:
        # The newest attempt of all: it is so until somebody does something about it.
        what, _, advice = failure.detail.partition("; ")
        yield problem(what, advice or None, status=StorageError.exit_code)
        failure = None
    if found.age_s is None:
        if found.ahead_ms is None:
            yield warning("nothing was ever recorded", "'luxcli poll-once' makes the first poll")
        return
    stale = found.is_stale(state.default_max_age_s(config.interval_sec))
    values["recent"] = not stale
    text = f"last good poll {times.span(found.age_s)} ago"
    if failure:
        text += f"; since then: {failure.reason}: {failure.detail}"
    if stale:
        yield problem(f"it does not record: {text}", _SCHEDULE_ADVICE, status=NO_DATA)
    else:
        yield ok(text)


def _coverages(
    config: Config, store: Store, now_ms: int, zone: tzinfo, values: dict[str, object]
) -> Iterator[Line]:
    entries: dict[str, object] = {}
    values["coverage"] = entries
    usual_s: int | None = None
    began_ms = 0
    told: set[str | None] = set()
    for name, length_ms in _LOOKED_AT:
        found = state.coverage(store, now_ms - length_ms, now_ms, config.interval_sec)
        entries[name] = found.to_json()
        # A few polls made by hand say nothing about the schedule.
        usual_s = found.usual_s if found.polls >= _ENOUGH_TICKS else usual_s
        if name == "24 h":
            values["covered"] = _is_good(found) or found.expected < _ENOUGH_TICKS
        # Where recording began within the shorter look, the longer one shows the same again.
        if found.expected and found.start_ms != began_ms:
            line = _coverage_line(name, found, zone)
            # One advice is enough for looks at the same gap.
            yield line if line.advice not in told else replace(line, advice=None)
            told.add(line.advice)
        began_ms = found.start_ms
    values["usual_interval_sec"] = usual_s
    wanted_s = config.interval_sec
    if usual_s is not None and not coverage.fits_schedule(usual_s, wanted_s):
        advice = f"make the scheduler's line and 'interval_sec: {wanted_s}' agree"
        yield warning(f"a poll comes every {usual_s} s, configured are {wanted_s} s", advice)


def _is_good(found: Coverage) -> bool:
    return not found.is_below_target or found.missing <= _FEW_MISSED


def _coverage_line(name: str, found: Coverage, zone: tzinfo) -> Line:
    text = f"last {name}: {found.describe(zone)}"
    if _is_good(found):
        return ok(text)
    if found.expected < _ENOUGH_TICKS:
        return info(text)
    no_run = "no run was started, or it was killed: look at the crontab and at cron's log"
    advice = no_run if found.unexplained > found.missing / 2 else "see what the reasons say"
    # A short look with a single gap in it is no drama.
    if found.share >= _HALF or name == "hour":
        return warning(text, advice)
    return problem(text, advice, status=NO_DATA)


def _rollups(
    config: Config,
    store: Store,
    kind: Kind,
    now_ms: int,
    zone: tzinfo,
    values: dict[str, object],
) -> Iterator[Line]:
    records = ledger.rollups(store, kind)
    failed = [record for record in records if record.state == "failed"]
    written = [record for record in records if record.state == "written" and record.path]
    newest = written[-1] if written else None
    values[f"last_{kind}"] = newest.path if newest else None
    if failed and (newest is None or failed[-1].written_ms > newest.written_ms):
        advice = f"'luxcli rollup {kind} --if-due' tries again"
        yield warning(f"the last {kind} roll-up failed: {failed[-1].error}", advice)
    oldest_ms = store.database.span()[0]
    due = oldest_ms is not None and now_ms - oldest_ms > _CSV_DUE_MS[kind]
    if newest is None:
        if due:
            yield warning(
                f"no {kind} CSV of a closed period was ever written",
                "is 'luxcli rollup all --if-due' in the crontab? see the README",
            )
        else:
            yield info(f"no {kind} CSV yet; none is due")
        return
    name = Path(str(newest.path)).name
    age = times.span((now_ms - newest.stop_ms) / 1000)
    text = f"last {kind} CSV: {name}, {newest.rows} rows, ended {age} ago"
    gone = not Path(str(newest.path)).exists()
    if gone:
        text += "; the file has been moved or removed"
    if now_ms - newest.stop_ms > _CSV_DUE_MS[kind] and recorded_since(store, newest.stop_ms):
        yield warning(text, "is 'luxcli rollup all --if-due' in the crontab? see the README")
    elif gone and not any(file.kind == kind for file in files.csvs(config)):
        local = times.local_date(newest.stop_ms, zone)
        advice = f"if nobody meant to: 'luxcli rollup {kind} --date {local}' writes it again"
        yield warning(f"{text}, as all others", advice)
    else:
        yield ok(text)


def recorded_since(store: Store, ts_ms: int) -> bool:
    """Whether the cache has polls of that time or later."""
    return store.database.next_poll(ts_ms) is not None


def _newest_csv(config: Config, values: dict[str, object]) -> Iterator[Line]:
    daily = [file for file in files.csvs(config) if file.kind == "daily"]
    if not daily:
        return
    look = look_at(files.newest(daily).path)
    values["newest_csv"] = {
        "path": str(look.path),
        "rows": look.rows,
        "looked_at": look.looked_at,
        "complete": look.complete,
    }
    text = f"{look.path.name}: {look.rows} rows; of {look.looked_at} looked at"
    text += f" {look.complete} are complete"
    if has_several(look.complete):
        yield ok(text)
    elif look.complete == look.looked_at > 0:
        yield warning(text, "a CSV of more than one poll shows more")
    else:
        advice = "an almost empty CSV: see the sections on sensors and recording"
        yield problem(text, advice, status=NO_DATA)


def look_at(path: Path) -> CsvLook:
    """Return how many rows of a CSV there are, and whether the first of them are complete.

    Raises:
        StorageError: It cannot be read.
    """
    complete = looked_at = 0
    try:
        with path.open(encoding="utf-8-sig", newline="", errors="replace") as file:
            header = file.readline()
            delimiter = header.removeprefix("timestamp_utc")[:1]
            columns = header.count(delimiter) if delimiter in {",", ";", "\t", "|"} else 0
            rows = csv.reader(file, delimiter=delimiter) if columns else iter(())
            for cells, _ in zip(rows, range(_SAMPLE_ROWS), strict=False):
                looked_at += 1
                # Firmware that lacks registers leaves columns empty for ever.
                wanted = min(_ENOUGH_CELLS, columns // 2)
                complete += sum(cell != "" for cell in cells) >= wanted
    except OSError as exc:
        raise StorageError(f"{path}: cannot be read: {exc.strerror}") from exc
    return CsvLook(path, csv_file.rows_within(path, 0, 2**62), looked_at, complete)
