"""The roll-up jobs: which periods are due, and one CSV for each."""

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date, tzinfo
from pathlib import Path

from luxcli import csvgen, locks, periods, sensors
from luxcli.config import Config
from luxcli.errors import (
    ConfigError,
    DamagedError,
    LuxcliError,
    NoDataError,
    StorageError,
    UsageError,
)
from luxcli.periods import Kind, Period
from luxcli.sensors import Register
from luxcli.storage import RollupRecord, Store, open_store

_LOGGER = logging.getLogger("luxcli.reports")
_ROLLUP_WAIT_S = 60.0
_RETRY_WAIT_S = 1.0


@dataclass(frozen=True, slots=True)
class RollupResult:
    """What became of one period: `path` is None when nothing is stored for it."""

    period: Period
    path: Path | None
    rows: int = 0
    columns: int = 0
    size: int = 0
    first_ms: int = 0
    last_ms: int = 0


def rollup(
    config: Config,
    kind: Kind,
    *,
    now_ms: int,
    zone: tzinfo,
    ending: date | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> RollupResult:
    """Write the CSV of the last 24 hours or 7 days, or of the closed period that ends on a date.

    Raises:
        UsageError: The period of `ending` is not over yet.
        NoDataError: Nothing is stored for the period of `ending`.
        ConfigError: ``csv.sensors`` names what does not exist.
        LockHeldError: Another roll-up is at work.
        StorageError: The cache cannot be read or the file not written, twice.
    """
    store = open_store(config)
    with _rollup_lock(config):
        store.flush()
        if ending is None:
            period = periods.sliding(kind, now_ms, zone)
            path = _sliding_path(config, store, period, zone)
            return _write_csv(config, store, period, path, zone, sleep)
        period = periods.ending_on(kind, ending, config.csv_time, zone)
        if period.stop_ms > now_ms:
            raise UsageError(
                f"--date {ending}: that period ends on {periods.utc_text(period.stop_ms)},"
                " which is in the future"
            )
        result = _closed(config, store, period, now_ms, zone, sleep)
        if result.path is None:
            raise NoDataError(
                f"nothing is stored from {periods.utc_text(period.start_ms)} to"
                f" {periods.utc_text(period.stop_ms)}: no {kind} CSV for {ending}"
            )
        return result


def rollup_due(
    config: Config,
    kind: Kind,
    *,
    now_ms: int,
    zone: tzinfo,
    sleep: Callable[[float], None] = time.sleep,
) -> list[RollupResult]:
    """Write every closed period since the last one that has no CSV yet, oldest first.

    What `prune` would remove at once is not written. A period that fails does not keep the
    later ones from being written; it is tried again the next time.

    Raises:
        ConfigError, LockHeldError, StorageError: As `rollup`, after all periods were tried.
    """
    store = open_store(config)
    results: list[RollupResult] = []
    failures: list[LuxcliError] = []
    with _rollup_lock(config):
        store.flush()
        for period in _due(config, store, kind, now_ms, zone):
            try:
                results.append(_closed(config, store, period, now_ms, zone, sleep))
            except DamagedError:
                raise
            except StorageError as exc:
                failures.append(exc)
    if failures:
        raise StorageError("; ".join(str(failure) for failure in failures)) from failures[0]
    return results


def columns(config: Config) -> tuple[Register, ...]:
    """Return the sensor columns of a CSV.

    Raises:
        ConfigError: ``csv.sensors`` names what does not exist.
    """
    try:
        return sensors.select(config.csv_sensors)
    except ValueError as exc:
        origin = config.origins["csv.sensors"]
        raise ConfigError([f"{origin}: csv.sensors: {exc}"]) from exc


def _rollup_lock(config: Config) -> AbstractContextManager[None]:
    path = config.cache_path.with_name(config.cache_path.name + ".rollup.lock")
    return locks.hold(path, wait_s=_ROLLUP_WAIT_S)


def _directory(config: Config, kind: Kind) -> Path:
    return config.daily_dir if kind == "daily" else config.weekly_dir


def _closed_path(config: Config, period: Period) -> Path:
    return _directory(config, period.kind) / f"{period.label}_{period.kind}.csv"


def _sliding_path(config: Config, store: Store, period: Period, zone: tzinfo) -> Path:
    """A closed period's file is the record of its day: a later look must not replace it."""
    path = _closed_path(config, period)
    written = {record.path for record in store.rollups(period.kind) if record.state == "written"}
    if str(path) not in written or not path.exists():
        return path
    clock = periods.local_time(period.stop_ms, zone)
    return path.with_name(f"{period.label}_{clock:%H%M}_{period.kind}.csv")


def _due(config: Config, store: Store, kind: Kind, now_ms: int, zone: tzinfo) -> list[Period]:
    oldest_ms, _ = store.span()
    if oldest_ms is None:
        return []
    records = store.rollups(kind)
    done = {(r.start_ms, r.stop_ms) for r in records if r.state in ("written", "empty")}
    failed = {(r.start_ms, r.stop_ms) for r in records if r.state == "failed"}
    last_ms = max((stop for _, stop in done), default=oldest_ms)
    kept_ms = 0
    if config.csv_retention_days:
        kept_ms = now_ms - config.csv_retention_days * 86_400_000
    since_ms = max(kept_ms, min([last_ms, *(stop - 1 for _, stop in failed)]))
    found = periods.closed(kind, since_ms, now_ms, config.csv_time, config.weekly_day, zone)
    return [
        period
        for period in found
        if period.stop_ms > last_ms or (period.start_ms, period.stop_ms) in failed
    ]


def _closed(
    config: Config,
    store: Store,
    period: Period,
    now_ms: int,
    zone: tzinfo,
    sleep: Callable[[float], None],
) -> RollupResult:
    """Write one closed period and remember how that went."""
    path = _closed_path(config, period)
    head = (period.kind, period.start_ms, period.stop_ms)
    try:
        result = _write_csv(config, store, period, path, zone, sleep)
    except DamagedError:
        raise  # nothing about it can be recorded in a cache that cannot be read
    except StorageError as exc:
        try:
            store.record_rollup(RollupRecord(*head, str(path), "failed", 0, now_ms, str(exc)))
        except LuxcliError as second:
            _LOGGER.error("the failure could not be recorded: %s", second)
        raise
    state = "written" if result.path else "empty"
    record = RollupRecord(*head, str(path) if result.path else None, state, result.rows, now_ms)
    if result.path or store.span()[0] is not None:
        store.record_rollup(record)
    return result


def _write_csv(
    config: Config,
    store: Store,
    period: Period,
    path: Path,
    zone: tzinfo,
    sleep: Callable[[float], None],
) -> RollupResult:
    registers = columns(config)
    style = csvgen.Style(
        headers=config.csv_headers,
        delimiter=config.csv_delimiter,
        decimal=config.csv_decimal,
        bom=config.csv_bom,
        enums=config.csv_enums,
    )
    keys = csvgen.keys_for(registers)
    for attempt in (1, 2):
        try:
            damaged: list[int] = []
            chunks = store.series(keys, period.start_ms, period.stop_ms, damaged=damaged)
            written = csvgen.write(path, registers, chunks, zone, style)
        except StorageError as exc:
            if attempt == 2 or isinstance(exc, DamagedError):
                raise
            _LOGGER.info("%s; trying once more", exc)
            sleep(_RETRY_WAIT_S)
        else:
            break
    if damaged:
        _LOGGER.error(
            "%s: %d polls differ from their checksum and were left out; 'luxcli restore' puts"
            " right what an archive holds",
            *(path, len(damaged)),
        )
    if written is None:
        return RollupResult(period, None)
    return RollupResult(
        period,
        path,
        *(written.rows, written.columns, written.size),
        *(written.first_ms, written.last_ms),
    )
