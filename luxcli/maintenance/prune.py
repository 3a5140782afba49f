"""Removes polls and CSVs that are too old, and warns of disks that are nearly full."""

import math
import re
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta, tzinfo
from pathlib import Path

from luxcli import times
from luxcli.config.config import Config
from luxcli.errors import DamagedError, StorageError
from luxcli.maintenance import archive, journals, rebuild
from luxcli.rollup.files import csvs
from luxcli.store import ledger
from luxcli.store.store import Store
from luxcli.system.disks import disks
from luxcli.system.files import size_text
from luxcli.system.progress import Progress, silent

_DAY_MS = 86_400_000
_LONG_PAUSE_DAYS = 30
_ARCHIVES_S = 300.0
# What SQLite keeps beside a database.
_BESIDE = ("-journal", "-wal", "-shm")
_QUARANTINED_NAME = re.compile(r".*\.damaged-(\d{8}T\d{6}Z)(?:-\d+)?")


@dataclass(frozen=True, slots=True)
class PruneResult:
    """What `prune` removed, or would remove.

    Attributes:
        csv_files: CSVs.
        csv_bytes: Their size.
        polls: Number of polls in the database.
        cache_bytes: Bytes of the database that can be used again.
        findings: What the user should act on.
        old_caches: Damaged databases and lines that were quarantined long ago.
        archives: Archives that were missing and are written now.
        journals: Journals that are no longer needed, since archives hold their lines.
        dry_run: Nothing was removed.
    """

    csv_files: tuple[Path, ...]
    csv_bytes: int
    polls: int
    cache_bytes: int
    findings: tuple[str, ...]
    old_caches: tuple[Path, ...] = ()
    archives: tuple[Path, ...] = ()
    journals: tuple[Path, ...] = ()
    dry_run: bool = False

    def to_json(self) -> dict[str, object]:
        """Return what ``--json`` prints."""
        return {
            "ok": not self.findings,
            "dry_run": self.dry_run,
            "csv_files": [str(path) for path in self.csv_files],
            "csv_bytes": self.csv_bytes,
            "old_caches": [str(path) for path in self.old_caches],
            "archives": [str(path) for path in self.archives],
            "journals": [str(path) for path in self.journals],
            "polls": self.polls,
            "cache_bytes": self.cache_bytes,
            "findings": list(self.findings),
        }

    def lines(self) -> list[str]:
        """Return what a person reads, without the findings."""
        more = f", {len(self.old_caches)} damaged files" if self.old_caches else ""
        done, free = "would remove", ""
        if not self.dry_run:
            done, free = "removed", f" ({size_text(self.cache_bytes)} free again in the database)"
        more += f", {len(self.journals)} journals" if self.journals else ""
        written = [f"{len(self.archives)} missing archives written"] if self.archives else []
        return [
            *written,
            f"{done} {len(self.csv_files)} CSV files ({size_text(self.csv_bytes)}){more}"
            f" and {self.polls} polls{free}",
        ]


def prune(
    config: Config,
    *,
    now_ms: int,
    zone: tzinfo,
    dry_run: bool = False,
    unarchived: bool = False,
    progress: Progress = silent,
) -> PruneResult:
    """Remove CSVs and polls that are older than the configuration keeps; check the disks.

    Writes missing archives first and removes the journals whose lines archives hold. Never removes
    all CSVs or all polls, because that would be the effect of a wrong clock. Keeps the days whose
    polls are not all in an archive that can be read.

    Args:
        config: Says what to keep, and where.
        now_ms: UTC.
        zone: Time zone of the user.
        dry_run: Remove nothing.
        unarchived: Also remove days that are not archived.
        progress: Receives milliseconds of history.

    Raises:
        LockHeldError: A roll-up or a restore is at work.
        StorageError: The database or a directory cannot be read or written.
    """
    findings: list[str] = []
    files, csv_bytes = _old_csvs(config, now_ms, zone, findings)
    caches = _old_quarantined(config, now_ms)
    archives: list[archive.Archived] = []
    if not dry_run:
        for path in [*files, *caches]:
            _remove(path)
    with _noting_failure(findings):  # a dry run has to count the polls of the journals, too
        Store.open(config.cache_path, parents=config.may_create_parents).flush()
    if not dry_run:
        with _noting_failure(findings):  # journals wait for archives that no roll-up has written
            archives = archive.archive_due(config, now_ms=now_ms, zone=zone)
        findings += [finding for written in archives for finding in written.findings]
    safe = journals.remove_safe(config, zone=zone, dry_run=dry_run)
    polls, cache_bytes = _prune_polls(
        config, now_ms, zone, findings, progress, dry_run=dry_run, unarchived=unarchived
    )
    findings += _full_disks(config)
    return PruneResult(
        *(tuple(files), csv_bytes, polls, cache_bytes, tuple(dict.fromkeys(findings))),
        tuple(caches),
        *(tuple(written.path for written in archives), tuple(safe), dry_run),
    )


def prune_csvs(
    config: Config, *, now_ms: int, zone: tzinfo, keep: Collection[Path] = ()
) -> PruneResult:
    """Remove only CSVs that are older than the configuration keeps, but none of `keep`."""
    findings: list[str] = []
    files, csv_bytes = _old_csvs(config, now_ms, zone, findings)
    files = [path for path in files if path not in keep]
    for path in files:
        _remove(path)
    return PruneResult(tuple(files), csv_bytes, 0, 0, tuple(findings))


def _old_csvs(
    config: Config, now_ms: int, zone: tzinfo, findings: list[str]
) -> tuple[list[Path], int]:
    """Return the CSVs whose date, that of their name, is too old, and their size in bytes."""
    if not config.csv_retention_days:
        return [], 0
    oldest_kept = times.local_date(now_ms, zone) - timedelta(days=config.csv_retention_days)
    ours = csvs(config)
    old = [file.path for file in ours if file.day < oldest_kept]
    if old and len(old) == len(ours):
        findings.append(
            f"all {len(old)} CSV files are older than {config.csv_retention_days} days:"
            " none removed; is the clock right, are roll-ups still written?"
        )
        return [], 0
    if old:
        last = max(file.day for file in ours if file.day < oldest_kept)
        first_kept = min(file.day for file in ours if file.day >= oldest_kept)
        # There may be weekly CSVs only.
        longest_ms = max(_longest_gap_ms(config.csv_retention_days), 8 * _DAY_MS)
        if (first_kept - last).days * _DAY_MS > longest_ms:
            findings.append(
                f"there is no CSV between {last} and {first_kept}, and the limit of"
                f" {config.csv_retention_days} days falls into that time: none removed; is the"
                " clock right? Removal resumes by itself when the limit has passed it"
            )
            return [], 0
    return old, sum(path.stat().st_size for path in old)


def _old_quarantined(config: Config, now_ms: int) -> list[Path]:
    """Return damaged databases and lines that were quarantined long ago.

    A database stays as long as the present one may need what can be read of it.
    """
    if not config.csv_retention_days:
        return []
    store = Store(config.cache_path)
    oldest_kept = now_ms - config.csv_retention_days * _DAY_MS
    found = [path for path in (store.rejected_path,) if _modified_ms(path) < oldest_kept]
    for path in store.quarantined_paths() if ledger.is_complete(store) else ():
        if _quarantined_ms(path) < oldest_kept:
            beside = (path.with_name(path.name + suffix) for suffix in _BESIDE)
            found += [path, *(each for each in beside if each.exists())]
    return found


def _quarantined_ms(path: Path) -> float:
    """Return when a database was quarantined, by its name, UTC ms; endless if that says no time."""
    stamp = _QUARANTINED_NAME.fullmatch(path.name)
    try:
        return times.stamp_ms(stamp[1]) if stamp else math.inf
    except ValueError:
        return math.inf


def _modified_ms(path: Path) -> float:
    """Return when a file was written to, UTC ms; endless if it is no file or not there."""
    try:
        return path.stat().st_mtime * 1000 if path.is_file() else math.inf
    except OSError:
        return math.inf


@contextmanager
def _noting_failure(findings: list[str]) -> Iterator[None]:
    """Add to the findings why a step failed, which stops no other one; damage ends the run."""
    try:
        yield
    except DamagedError:
        raise
    except StorageError as exc:
        findings.append(str(exc))


def _prune_polls(
    config: Config,
    now_ms: int,
    zone: tzinfo,
    findings: list[str],
    progress: Progress,
    *,
    dry_run: bool,
    unarchived: bool,
) -> tuple[int, int]:
    if not config.cache_retention_days:
        return 0, 0
    store = Store.open(config.cache_path, parents=config.may_create_parents)
    if not dry_run:
        with _noting_failure(findings):  # what a new database lacks would look like a pause
            findings += rebuild.complete(config, now_ms=now_ms, zone=zone).problems
    oldest_kept = times.local_date(now_ms, zone) - timedelta(days=config.cache_retention_days)
    cutoff, _ = archive.bounds(oldest_kept, zone)
    polls = store.database.count(0, cutoff)
    if not polls:
        return 0, 0
    last = store.database.last_poll(cutoff - 1)
    first_kept = store.database.next_poll(cutoff)
    if first_kept is None or last is None:
        findings.append(
            f"all {polls} polls are older than {config.cache_retention_days} days: none removed;"
            " is the clock right, is it still recording?"
        )
        return 0, 0
    if first_kept - last > _longest_gap_ms(config.cache_retention_days):
        findings.append(
            f"nothing is stored from {times.utc_text(last)} to {times.utc_text(first_kept)},"
            f" and the limit of {config.cache_retention_days} days falls into that time: no polls"
            " removed; is the clock right? Removal resumes by itself when the limit has passed it"
        )
        return 0, 0
    if config.archive and not unarchived:
        cutoff = _archived_until(
            config, store, oldest_kept, zone, findings, progress, dry_run=dry_run
        )
        polls = store.database.count(0, cutoff)
    return polls, 0 if dry_run or not polls else store.remove_before(cutoff, progress)


def _longest_gap_ms(retention_days: int) -> int:
    """Return the length of a pause from which the clock may be wrong, so that nothing is removed.

    After a longer pause the polls before it are kept correspondingly longer, once.
    """
    return min(_LONG_PAUSE_DAYS * _DAY_MS, retention_days * _DAY_MS // 2)


def _archived_until(
    config: Config,
    store: Store,
    oldest_kept: date,
    zone: tzinfo,
    findings: list[str],
    progress: Progress,
    *,
    dry_run: bool,
) -> int:
    """Return the beginning of the first day that is not safe in its archive, at most `oldest_kept`.

    Stops after a few minutes of reading archives; the next run goes on.
    """
    kept_from, _ = archive.bounds(oldest_kept, zone)
    first, deadline = store.database.next_poll(0) or kept_from, time.monotonic() + _ARCHIVES_S
    for day in archive.days(store, kept_from, zone):
        start_ms, _ = archive.bounds(day, zone)
        progress(start_ms - first, kept_from - first)
        if time.monotonic() > deadline:
            return start_ms
        if problem := archive.problem(config, store, day, zone):
            findings.append(
                f"{day}: {problem}; kept, with all later days; 'prune --unarchived' removes anyway"
            )
            if not dry_run:
                ledger.forget_archive(store, start_ms)
            return start_ms
    return kept_from


def _full_disks(config: Config) -> list[str]:
    limit = config.disk_usage_limit_percent
    return [
        disk.describe(limit) for disk in disks(config.data_directories()) if disk.percent > limit
    ]


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as exc:
        raise StorageError(f"{path}: cannot be removed: {exc.strerror}") from exc
