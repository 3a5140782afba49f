"""Writes the archives: one file for each closed local day, the second copy of its polls.

Rewriting an archive merges: polls that were pruned from the database stay in it.
"""

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta, tzinfo
from datetime import time as clock_time
from operator import attrgetter
from pathlib import Path
from typing import Final

from luxcli import periods, times
from luxcli.config.config import Config
from luxcli.errors import DamagedError, StorageError, combine
from luxcli.maintenance import document
from luxcli.maintenance.comparison import compare
from luxcli.maintenance.document import Day
from luxcli.model import LATEST_MS, MissedPoll, Repair, Snapshot
from luxcli.store import ledger, owner
from luxcli.store.ledger import ArchiveRecord
from luxcli.store.repairs import Repairs
from luxcli.store.store import Store
from luxcli.system.progress import Progress, silent

_LOGGER = logging.getLogger(__name__)
# An hourly run has to end before the next one, which does the rest.
_DAY_MS: Final = 86_400_000
_LIMIT_S: Final = 300.0
_MIDNIGHT: Final = clock_time(0, 0)


@dataclass(frozen=True, slots=True)
class Archived:
    """An archive that was written.

    Attributes:
        path: The file.
        polls: Number of polls in it.
        size: Bytes.
        findings: What the user should act on.
    """

    path: Path
    polls: int
    size: int
    findings: tuple[str, ...] = ()


def path_of(config: Config, day: date) -> Path:
    """Return the archive of one local day."""
    return Store(config.cache_path).archive_directory / f"{day}.json.xz"


def bounds(day: date, zone: tzinfo) -> tuple[int, int]:
    """Return a local calendar day as half-open interval in UTC milliseconds."""
    period = periods.period_ending_on("daily", day + timedelta(days=1), _MIDNIGHT, zone)
    return period.start_ms, period.stop_ms


def archive_due(
    config: Config,
    *,
    now_ms: int,
    zone: tzinfo,
    progress: Progress = silent,
) -> list[Archived]:
    """Write the archive of every closed local day whose polls are not all in an archive yet.

    Days that are far in the future are closed as well: a wrong clock dated their polls.

    All days are tried, also after one that failed. Stops after a few minutes; the next run goes on.

    Args:
        config: Says where the database is.
        now_ms: UTC.
        zone: Time zone of the user.
        progress: Receives milliseconds of history.

    Raises:
        LockHeldError: Another roll-up or a restore is at work.
        StorageError: The database cannot be read, or an archive cannot be written.
    """
    if not config.archive:
        return []
    store = Store.open(config.cache_path, parents=config.may_create_parents)
    store.flush(past_unreadable=True)
    done: list[Archived] = []
    failures: list[StorageError] = []
    deadline = time.monotonic() + _LIMIT_S
    with store.rollup_lock():
        first_ms = store.database.next_entry(0) or now_ms
        records = {(record.start_ms, record.stop_ms): record for record in ledger.archives(store)}
        for day in days(store, LATEST_MS, zone):
            if time.monotonic() > deadline:
                _LOGGER.info("stopped after %.0f s; the next run archives the rest", _LIMIT_S)
                break
            span = bounds(day, zone)
            record = records.get(span)
            progress(span[0] - first_ms, now_ms - first_ms)
            is_open = span[0] - _DAY_MS < now_ms < span[1]
            if is_open or _is_there(path_of(config, day), record):
                continue
            try:
                done.append(write(config, store, day, now_ms, zone))
            except DamagedError:
                raise
            except StorageError as exc:
                failures.append(exc)
    if failures:
        raise combine(failures) from failures[0]
    return done


def days(store: Store, until_ms: int, zone: tzinfo) -> Iterator[date]:
    """Yield the local days before `until_ms` that have a poll or a missed poll."""
    with store.database.stepping() as next_entry:
        entry_ms = next_entry(0)
        while entry_ms is not None and entry_ms < until_ms:
            day = times.local_date(entry_ms, zone)
            yield day
            entry_ms = next_entry(bounds(day, zone)[1])


def problem(config: Config, store: Store, day: date, zone: tzinfo) -> str | None:
    """Return why a day's entries of the database are not safe in its archive; None if they are."""
    span = bounds(day, zone)
    path = path_of(config, day)
    if not store.database.count_entries(*span):
        return None
    advice = "run 'luxcli rollup daily'"
    if not path.exists():
        return f"no archive; {advice}"
    try:
        content = document.read(path)
    except StorageError as exc:
        return f"{exc}; {advice}" if isinstance(exc, DamagedError) else str(exc)
    found = compare(content, store, *span)
    if not found.is_archived:
        return f"entries are missing from the archive; {advice}"
    if lost := found.damaged - found.restorable:
        advice = f"{len(lost)} polls are damaged in the database; run 'luxcli restore'"
        return f"entries are missing from the archive; {advice}"
    return None


def quarantine(path: Path) -> Path:
    """Rename a damaged archive; return its new name.

    Raises:
        StorageError: It cannot be renamed.
    """
    damaged_path, count = path.with_name(path.name + ".damaged"), 1
    while damaged_path.exists():
        count += 1
        damaged_path = path.with_name(f"{path.name}.damaged-{count}")
    try:
        return path.replace(damaged_path)
    except OSError as exc:
        raise StorageError(f"{path}: cannot be renamed: {exc.strerror}") from exc


def _is_there(path: Path, record: ArchiveRecord | None) -> bool:
    """Whether the archive is as it was written; a later poll of its day removes its record."""
    try:
        return record is not None and record.size == path.stat().st_size
    except OSError:
        return False


def write(config: Config, store: Store, day: date, now_ms: int, zone: tzinfo) -> Archived:
    """Write the archive of one day from the database, and from its earlier archive.

    Raises:
        LockHeldError, StorageError: The archive or its record cannot be written.
    """
    path = path_of(config, day)
    owner.reserve_directory(path.parent, config.cache_path)
    start_ms, stop_ms = bounds(day, zone)
    damaged: list[int] = []
    findings: list[str] = []
    fresh = list(store.database.polls(start_ms, stop_ms, damaged=damaged))
    if damaged:
        findings.append(f"{day}: {len(damaged)} polls are damaged in the database and not archived")
    polls = {poll.taken_ms: poll for poll in fresh}
    missed = {entry.ts_ms: entry for entry in store.database.missed(start_ms, stop_ms)}
    entries = len(fresh) + len(damaged) + len(missed)
    repairs = store.database.repairs()
    if path.exists():
        findings += _keep_earlier(path, polls, missed, repairs)
    content = Day(
        tuple(polls[ts_ms] for ts_ms in sorted(polls)),
        tuple(missed[ts_ms] for ts_ms in sorted(missed)),
        tuple(_of_day(repairs, start_ms, stop_ms)),
        (start_ms, stop_ms),
    )
    size = document.write(path, content)
    ledger.record_archive(
        store, ArchiveRecord(start_ms, stop_ms, str(path), entries, size, now_ms, now_ms)
    )
    is_lacking = _is_kept(config, store, start_ms) and _is_lacking(store, polls, missed)
    if is_lacking or store.database.count_entries(start_ms, stop_ms) != entries:
        # The next roll-up takes it in, or adds a poll of the day that was flushed meanwhile.
        ledger.forget_archive(store, start_ms)
    return Archived(path, len(content.polls), size, tuple(findings))


def _is_lacking(
    store: Store, polls: Mapping[int, Snapshot], missed: Mapping[int, MissedPoll]
) -> bool:
    """Whether the database lacks something of an archive that a roll-up would take in.

    An archive that was begun in another time zone holds more than its day.
    """
    span = (min([*polls, *missed], default=0), max([*polls, *missed], default=0) + 1)
    stored = {*store.database.times(*span, doubted=True)}
    stored_missed = {entry.ts_ms for entry in store.database.missed(*span)}
    ours = owner.known_serials(store.path)
    return not stored_missed.issuperset(missed) or any(
        ts_ms not in stored and not owner.is_foreign(poll, ours) for ts_ms, poll in polls.items()
    )


def _is_kept(config: Config, store: Store, ts_ms: int) -> bool:
    """Whether the database keeps polls of that time, reckoned from its newest one."""
    newest_ms = store.database.span()[1]
    kept_ms = config.cache_retention_days * _DAY_MS
    return not kept_ms or newest_ms is None or ts_ms > newest_ms - kept_ms


def _keep_earlier(
    path: Path,
    polls: dict[int, Snapshot],
    missed: dict[int, MissedPoll],
    repairs: list[Repair],
) -> Iterator[str]:
    """Add the entries of the day's earlier archive; quarantine a damaged one, and yield that."""
    try:
        earlier = document.read(path)
    except DamagedError as exc:
        name = quarantine(path).name
        yield f"{exc}; quarantined as {name} and written again from the database"
        return
    repaired = Repairs(repairs)
    for poll in earlier.polls:
        if repaired.of(poll) is None:
            polls.setdefault(poll.taken_ms, poll)
    for entry in earlier.missed:
        missed.setdefault(entry.ts_ms, entry)
    repairs += [repair for repair in earlier.repairs if repair not in repairs]


def _of_day(repairs: list[Repair], start_ms: int, stop_ms: int) -> Iterator[Repair]:
    """Yield the repairs that were made on a day, and those of its polls, the oldest first."""
    for repair in sorted(repairs, key=attrgetter("done_ms", "old_ms")):
        if any(
            start_ms <= (at or 0) < stop_ms for at in (repair.old_ms, repair.new_ms, repair.done_ms)
        ):
            yield repair
