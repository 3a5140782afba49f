"""The roll-up job: finds the periods that are due and writes a CSV for each."""

import logging
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
from luxcli.system.clock import SYSTEM_CLOCK, Clock
from luxcli.system.files import size_text
from luxcli.system.progress import Progress, silent

_LOGGER = logging.getLogger(__name__)
_RETRY_WAIT_S = 1.0
# An hourly run has to end before the next.
_LIMIT_S = 600.0
# Contains the end of the last period of both kinds, also across a clock change.
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
        polls: Polls of the period in the database, if the file was kept.
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
    polls: int = 0

    @property
    def is_suspicious(self) -> bool:
        """Whether nothing is stored for the period, or less than the file holds."""
        return self.path is None or (self.kept and self.rows > self.polls)

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
            reason = f"it already holds all {self.rows} polls of the database"
            if self.rows > self.polls:
                reason = (
                    f"its {self.rows} rows are more than the {self.polls} polls in the database"
                )
            return [f"{self.path}: left unchanged: {reason}"]
        data = f"; data: {verdict}" if verdict else ""
        return [
            f"{self.period.kind}: {self.rows} rows, {self.columns} columns,"
            f" {size_text(self.size)}, {span}: {self.path}"
            f" ({self.coverage.describe(zone)}{data})"
        ]


class _Run(NamedTuple):
    """Everything that the steps of one roll-up share."""

    config: Config
    store: Store
    now_ms: int
    zone: tzinfo
    clock: Clock
    progress: Progress


def rollup(
    config: Config,
    kind: Kind,
    *,
    now_ms: int,
    zone: tzinfo,
    ending: date | None = None,
    clock: Clock = SYSTEM_CLOCK,
    progress: Progress = silent,
) -> RollupResult:
    """Write the CSV of the last 24 hours or 7 days, or of the closed period that ends on a date.

    Args:
        config: Says where the polls are, where the CSV goes and what it holds.
        kind: daily or weekly.
        now_ms: UTC.
        zone: Time zone of the user.
        ending: Local date on which the period ends at `csv_time`; None = up to now.
        clock: Waits before the one retry.
        progress: Receives milliseconds of the period.

    Raises:
        UsageError: The period of `ending` is not over yet.
        NoDataError: Nothing is stored for the period of `ending`.
        ConfigError: ``csv.sensors`` names what does not exist.
        LockHeldError: Another roll-up is at work.
        StorageError: The database cannot be read or the file cannot be written, also not in a
            second attempt.
    """
    store = Store.open(config.cache_path, parents=config.may_create_parents)
    run = _Run(config, store, now_ms, zone, clock, progress)
    with store.rollup_lock():
        run.store.flush(past_unreadable=True)
        if ending is None:
            period = periods.sliding_period(kind, now_ms, zone)
            return _write_csv(run, period, _sliding_path(run, period))
        period = periods.period_ending_on(kind, ending, config.csv_time, zone)
        if period.stop_ms > now_ms:
            raise UsageError(
                f"--date {ending}: that period ends on {times.utc_text(period.stop_ms)},"
                " which is in the future"
            )
        result = _write_closed(run, period, again=True)
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
    clock: Clock = SYSTEM_CLOCK,
    progress: Progress = silent,
    report: Callable[[RollupResult], object] = lambda _result: None,
) -> list[RollupResult]:
    """Write every closed period since the last one that has no CSV yet, oldest first.

    CSVs that `prune` would remove at once are not written. All periods are tried, also after one
    that failed; the next run tries that one again. Stops between two files after a few minutes; the
    next run goes on.

    Args:
        config: As for `rollup`, like `kind`, `now_ms`, `zone` and `clock`.
        kind: daily or weekly.
        now_ms: UTC.
        zone: Time zone of the user.
        clock: Waits before the one retry of each file.
        progress: Receives milliseconds of the present period.
        report: Receives each file when it is finished, also when a later one fails.

    Raises:
        ConfigError, LockHeldError, StorageError: As `rollup`, after all periods were tried.
    """
    store = Store.open(config.cache_path, parents=config.may_create_parents)
    run = _Run(config, store, now_ms, zone, clock, progress)
    results: list[RollupResult] = []
    failures: list[StorageError] = []
    bugs: list[Exception] = []
    deadline = clock.monotonic() + _LIMIT_S
    with store.rollup_lock():
        run.store.flush(past_unreadable=True)
        for period in _due(run, kind):
            if clock.monotonic() > deadline:
                _LOGGER.info("stopped after %.0f s; the next run writes the rest", _LIMIT_S)
                break
            try:
                result = _write_closed(run, period)
            except StorageError as exc:
                if isinstance(exc, DamagedError):
                    raise
                failures.append(exc)
            except LuxcliError:
                raise
            except Exception as exc:  # the other files are wanted all the same
                bugs.append(exc)
            else:
                results.append(result)
                report(result)
    if bugs:
        raise bugs[0]
    if failures:
        raise combine(failures) from failures[0]
    return results


def _sliding_path(run: _Run, period: Period) -> Path:
    """Return a path for the CSV of a sliding period that replaces no CSV of a closed period."""
    path = closed_path(run.config, period)
    records = ledger.rollups(run.store, period.kind)
    # By name: the directory may have been moved since.
    written = {Path(r.path).name for r in records if r.path and r.state in ("written", "stale")}
    extent = csv_file.extent(path)
    if extent is None:
        return path
    # A new database does not know the file, which may be the only copy of its polls.
    poll_count = run.store.database.count(extent.first_ms, extent.last_ms + 1000)
    if path.name not in written and extent.rows <= poll_count:
        return path
    return sliding_path(run.config, period, run.zone)


def _due(run: _Run, kind: Kind) -> Iterator[Period]:
    """Yield the closed periods that still need a file, oldest first.

    A file that was written once is not written again, even if the user has moved it, unless polls
    of its period have come since. Files are compared by name, so that another `csv_time` does not
    rewrite the past. Periods without polls are skipped, except for the last one, which is reported
    once.
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


def _write_closed(run: _Run, period: Period, *, again: bool = False) -> RollupResult:
    """Write the CSV of one closed period and record the outcome in the database.

    A file that already holds the period is kept, because it may be the only copy where the database
    was lost. With `again` it is replaced if the database has as many polls of the period.
    """
    path = closed_path(run.config, period)
    if path.exists():
        owner.reserve_directory(path.parent, run.config.cache_path)
    head = (period.kind, period.start_ms, period.stop_ms)
    row_count = csv_file.rows_within(path, period.start_ms, period.stop_ms)
    poll_count = run.store.database.count(period.start_ms, period.stop_ms) if row_count else 0
    if row_count > poll_count or (row_count == poll_count > 0 and not again):
        result = RollupResult(
            *(period, path, _coverage(run, period), row_count),
            size=path.stat().st_size,
            kept=True,
            polls=poll_count,
        )
        record = RollupRecord(*head, str(path), "written", row_count, run.now_ms)
        ledger.record_rollup(run.store, record)
        return result
    try:
        result = _write_csv(run, period, path)
    except DamagedError:
        raise  # a damaged database cannot record it either
    except StorageError as exc:
        record = RollupRecord(*head, str(path), "failed", 0, run.now_ms, str(exc))
        try:
            ledger.record_rollup(run.store, record)
        except LuxcliError as second:
            # Only logged: on a full disk it has the cause of the first failure, which is reported.
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
    if (run.store.database.next_poll(period.start_ms) or period.stop_ms) < period.stop_ms:
        owner.reserve_directory(path.parent, config.cache_path)
    for attempt in (1, 2):
        try:
            damaged: list[int] = []
            found = run.store.database.series(
                keys, period.start_ms, period.stop_ms, damaged=damaged
            )
            chunks = _with_progress(found, period, run.progress)
            written = csv_file.write(path, registers, chunks, run.zone, style)
        except StorageError as exc:
            if attempt == 2 or isinstance(exc, DamagedError):
                raise
            _LOGGER.info("%s; trying once more", exc)
            run.clock.sleep(_RETRY_WAIT_S)
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
    return state.coverage(run.store, period.start_ms, period.stop_ms)


def _with_progress(chunks: Iterable[Chunk], period: Period, progress: Progress) -> Iterator[Chunk]:
    for chunk in chunks:
        yield chunk
        progress((chunk.rows[-1][0] or 0) - period.start_ms, period.stop_ms - period.start_ms)
