"""The roll-up jobs: which periods are due, and one CSV for each."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import date, tzinfo
from pathlib import Path
from typing import NamedTuple

from luxcli import periods, times
from luxcli.config.config import Config
from luxcli.errors import (
    DamagedError,
    LuxcliError,
    NoDataError,
    StorageError,
    UsageError,
    combine,
)
from luxcli.exports import csv_file
from luxcli.exports.columns import columns
from luxcli.model import Chunk
from luxcli.periods import Kind, Period
from luxcli.recording import state
from luxcli.recording.coverage import Coverage
from luxcli.rollup.files import closed_path, sliding_path
from luxcli.store import ledger, owner
from luxcli.store.ledger import RollupRecord
from luxcli.store.store import Store
from luxcli.system.files import size_text
from luxcli.system.progress import Progress, silent

_LOGGER = logging.getLogger(__name__)
_RETRY_WAIT_S = 1.0
# An hourly run has to end before the next.
_LIMIT_S = 600.0
# Holds the end of the last period of either kind, clock change or not.
_WEEK_AND_DAY_MS = 8 * 86_400_000


class RollupResult(NamedTuple):
    """What became of the CSV of one period.

    Attributes:
        period: The day or week.
        path: The file; None when nothing is stored for the period.
        coverage: The stored polls compared with the schedule.
        rows: Rows below the header.
        columns: Columns of the file.
        size: Bytes.
        first_ms: Time of the first row, UTC.
        last_ms: Time of the last row.
        damaged: Polls left out, because they differ from their checksum in the database.
        kept: The file was there already, with as many polls of the period as the database or more.
    """

    period: Period
    path: Path | None
    coverage: Coverage
    rows: int = 0
    columns: int = 0
    size: int = 0
    first_ms: int = 0
    last_ms: int = 0
    damaged: int = 0
    kept: bool = False

    @property
    def is_suspicious(self) -> bool:
        """Whether nothing is stored for the period, or less than the file holds."""
        return self.path is None or (self.kept and self.rows > self.coverage.polls)

    def to_json(self) -> dict[str, object]:
        """Return what ``--json`` prints about the file."""
        return {
            "kind": self.period.kind,
            "start": times.utc_text(self.period.start_ms),
            "stop": times.utc_text(self.period.stop_ms),
            "path": str(self.path) if self.path else None,
            "rows": self.rows,
            "columns": self.columns,
            "bytes": self.size,
            "coverage": self.coverage.to_json(),
        }

    def lines(self, zone: tzinfo, verdict: str | None = None) -> list[str]:
        """Return what a person reads about the file, with local times and the data's verdict."""
        span = f"{times.utc_text(self.period.start_ms)} to {times.utc_text(self.period.stop_ms)}"
        if self.path is None:
            return [f"{self.period.kind}: nothing is stored from {span}; no file written"]
        if self.kept:
            polls = self.coverage.polls
            reason = f"it already holds all {self.rows} polls of the database"
            if self.rows > polls:
                reason = f"its {self.rows} rows are more than the {polls} polls in the database"
            return [f"{self.path}: left unchanged: {reason}"]
        data = f"; data: {verdict}" if verdict else ""
        return [
            f"{self.period.kind}: {self.rows} rows, {self.columns} columns,"
            f" {size_text(self.size)}, {span}: {self.path}"
            f" ({self.coverage.describe(zone)}{data})"
        ]


class _Run(NamedTuple):
    """What every step of one roll-up needs to know."""

    config: Config
    store: Store
    now_ms: int
    zone: tzinfo
    sleep: Callable[[float], None]
    progress: Progress


def rollup(
    config: Config,
    kind: Kind,
    *,
    now_ms: int,
    zone: tzinfo,
    ending: date | None = None,
    sleep: Callable[[float], None] = time.sleep,
    progress: Progress = silent,
) -> RollupResult:
    """Write the CSV of the last 24 hours or 7 days, or of the closed period that ends on a date.

    Args:
        config: Says where from, where to and what.
        kind: daily or weekly.
        now_ms: UTC.
        zone: The owner's time zone.
        ending: Local date on which the period ends at `csv_time`; None = up to now.
        sleep: Waits before the one retry, seconds.
        progress: Told how many milliseconds of how many of the period are written.

    Raises:
        UsageError: The period of `ending` is not over yet.
        NoDataError: Nothing is stored for the period of `ending`.
        ConfigError: ``csv.sensors`` names what does not exist.
        LockHeldError: Another roll-up is at work.
        StorageError: The cache cannot be read or the file not written, twice.
    """
    store = Store.open(config.cache_path, parents=config.may_create_parents)
    run = _Run(config, store, now_ms, zone, sleep, progress)
    with store.rollup_lock():
        run.store.flush()
        if ending is None:
            period = periods.sliding_period(kind, now_ms, zone)
            return _write_csv(run, period, _sliding_path(run, period))
        period = periods.period_ending_on(kind, ending, config.csv_time, zone)
        if period.stop_ms > now_ms:
            raise UsageError(
                f"--date {ending}: that period ends on {times.utc_text(period.stop_ms)},"
                " which is in the future"
            )
        result = _closed(run, period, again=True)
        if result.path is None:
            raise NoDataError(
                f"nothing is stored from {times.utc_text(period.start_ms)} to"
                f" {times.utc_text(period.stop_ms)}: no {kind} CSV for {ending}"
            )
        return result


def rollup_due(
    config: Config,
    kind: Kind,
    *,
    now_ms: int,
    zone: tzinfo,
    sleep: Callable[[float], None] = time.sleep,
    progress: Progress = silent,
    report: Callable[[RollupResult], object] = lambda _result: None,
) -> list[RollupResult]:
    """Write every closed period since the last one that has no CSV yet, oldest first.

    What `prune` would remove at once is not written. A period that fails does not keep the
    later ones from being written; it is tried again the next time. Ends after a few minutes,
    between two files; the next run goes on.

    Args:
        config: As for `rollup`, like `kind`, `now_ms`, `zone`, `sleep` and `progress`.
        kind: daily or weekly.
        now_ms: UTC.
        zone: The owner's time zone.
        sleep: Waits before the one retry of each file, seconds.
        progress: Told how much of the file at hand is written.
        report: Receives each file when it is finished, also when a later one fails.

    Raises:
        ConfigError, LockHeldError, StorageError: As `rollup`, after all periods were tried.
    """
    store = Store.open(config.cache_path, parents=config.may_create_parents)
    run = _Run(config, store, now_ms, zone, sleep, progress)
    results: list[RollupResult] = []
    failures: list[StorageError] = []
    deadline = time.monotonic() + _LIMIT_S
    with store.rollup_lock():
        run.store.flush()
        for period in _due(run, kind):
            if time.monotonic() > deadline:
                _LOGGER.info("stopped after %.0f s; the next run writes the rest", _LIMIT_S)
                break
            try:
                result = _closed(run, period)
            except DamagedError:
                raise
            except StorageError as exc:
                failures.append(exc)
            else:
                results.append(result)
                report(result)
    if failures:
        raise combine(failures) from failures[0]
    return results


def _sliding_path(run: _Run, period: Period) -> Path:
    """A closed period's file is the record of its day: a later look must not replace it."""
    path = closed_path(run.config, period)
    records = ledger.rollups(run.store, period.kind)
    # By name: the directory may have been moved since.
    written = {Path(r.path).name for r in records if r.path and r.state in ("written", "stale")}
    there = csv_file.extent(path)
    if there is None:
        return path
    # Nobody remembers the file where the cache was lost, but it may be the only copy.
    stored = run.store.database.count(there.first_ms, there.last_ms + 1000)
    if path.name not in written and there.rows <= stored:
        return path
    return sliding_path(run.config, period, run.zone)


def _due(run: _Run, kind: Kind) -> Iterator[Period]:
    """Yield the closed periods that still need a file, oldest first.

    A file that was written once is not made again, wherever the owner has put it, unless polls have
    come for its period since; by its name, so that another `csv_time` does not rewrite the past.
    Periods without polls are passed over, but
    for the last one, once: that nothing was recorded is news then.
    """
    config, now_ms = run.config, run.now_ms
    records = ledger.rollups(run.store, kind)
    written = {Path(r.path).name for r in records if r.path and r.state == "written"}
    written -= {Path(r.path).name for r in records if r.path and r.state == "stale"}
    empty = {(r.start_ms, r.stop_ms) for r in records if r.state == "empty"}

    def closed(since_ms: int) -> Iterator[Period]:
        at, weekday = config.csv_time, config.weekly_day
        return periods.closed_periods(kind, since_ms, now_ms, at, weekday, run.zone)

    since_ms = 0
    if config.csv_retention_days:
        since_ms = now_ms - config.csv_retention_days * 86_400_000
    if run.store.database.span()[0] is None:
        return
    while (poll_ms := run.store.database.next_poll(since_ms)) is not None:
        period = next(closed(poll_ms), None)
        if period is None:
            return
        since_ms = period.stop_ms
        if closed_path(config, period).name not in written:
            yield period
    for period in [*closed(max(since_ms, now_ms - _WEEK_AND_DAY_MS))][-1:]:
        if (period.start_ms, period.stop_ms) not in empty:
            yield period


def _closed(run: _Run, period: Period, *, again: bool = False) -> RollupResult:
    """Write one closed period and remember how that went.

    A file that already holds the period is kept: the cache may have been lost since, and that file
    may be the only copy. `again` writes it anew if the cache has as much of it.
    """
    path = closed_path(run.config, period)
    if path.exists():
        owner.reserve_directory(path.parent, run.config.cache_path)
    head = (period.kind, period.start_ms, period.stop_ms)
    there = csv_file.rows_within(path, period.start_ms, period.stop_ms)
    stored = run.store.database.count(period.start_ms, period.stop_ms) if there else 0
    if there > stored or (there == stored > 0 and not again):
        result = RollupResult(
            *(period, path, _coverage(run, period), there),
            size=path.stat().st_size,
            kept=True,
        )
        record = RollupRecord(*head, str(path), "written", there, run.now_ms)
        ledger.record_rollup(run.store, record)
        return result
    try:
        result = _write_csv(run, period, path)
    except DamagedError:
        raise  # nothing about it can be recorded in a cache that cannot be read
    except StorageError as exc:
        record = RollupRecord(*head, str(path), "failed", 0, run.now_ms, str(exc))
        try:
            ledger.record_rollup(run.store, record)
        except LuxcliError as second:
            # The failure itself is told; on a full disk this one is of the same cause.
            _LOGGER.info("the failure could not be recorded: %s", second)
        raise
    outcome = "written" if result.path else "empty"
    place = str(path) if result.path else None
    if result.path or run.store.database.span()[0] is not None:
        ledger.record_rollup(
            run.store, RollupRecord(*head, place, outcome, result.rows, run.now_ms)
        )
    return result


def _write_csv(run: _Run, period: Period, path: Path) -> RollupResult:
    config = run.config
    coverage = _coverage(run, period)
    registers = columns(config)
    style = csv_file.Style(
        headers=config.csv_headers,
        delimiter=config.csv_delimiter,
        decimal=config.csv_decimal,
        bom=config.csv_bom,
        enums=config.csv_enums,
    )
    keys = csv_file.keys_for(registers)
    if coverage.polls:
        owner.reserve_directory(path.parent, config.cache_path)
    for attempt in (1, 2):
        try:
            damaged: list[int] = []
            found = run.store.database.series(
                keys, period.start_ms, period.stop_ms, damaged=damaged
            )
            chunks = _watched(found, period, run.progress)
            written = csv_file.write(path, registers, chunks, run.zone, style)
        except StorageError as exc:
            if attempt == 2 or isinstance(exc, DamagedError):
                raise
            _LOGGER.info("%s; trying once more", exc)
            run.sleep(_RETRY_WAIT_S)
        else:
            break
    if written is None:
        return RollupResult(period, None, coverage, damaged=len(damaged))
    return RollupResult(
        *(period, path, coverage),
        *(written.rows, written.columns, written.size),
        *(written.first_ms, written.last_ms, len(damaged)),
    )


def _coverage(run: _Run, period: Period) -> Coverage:
    start_ms, stop_ms = period.start_ms, period.stop_ms
    return state.coverage(run.store, start_ms, stop_ms, run.config.interval_sec)


def _watched(chunks: Iterable[Chunk], period: Period, progress: Progress) -> Iterator[Chunk]:
    for chunk in chunks:
        yield chunk
        progress((chunk.rows[-1][0] or 0) - period.start_ms, period.stop_ms - period.start_ms)
