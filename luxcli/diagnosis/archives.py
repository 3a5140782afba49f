"""The archives' part of a health check: are all days archived, and when were archives read?"""

from collections.abc import Iterator, Sequence
from datetime import date, timedelta, tzinfo
from pathlib import Path
from typing import Final

from luxcli import times
from luxcli.config.config import Config
from luxcli.diagnosis.sections import Line, counted, info, ok, warning
from luxcli.maintenance import archive, journals
from luxcli.rollup.files import csvs
from luxcli.store import ledger
from luxcli.store.store import Store

# Archives are written by the hourly roll-up, or by one in the morning.
_ARCHIVE_DUE_MS: Final = 36 * 3_600_000
_DAY: Final = timedelta(days=1)
# The check comes every night and reads each archive within 30 days.
_CHECK_DUE_MS: Final = 3 * 86_400_000
_READ_DUE_MS: Final = 30 * 86_400_000


def archives(
    config: Config, store: Store, now_ms: int, zone: tzinfo, facts: dict[str, object]
) -> Iterator[Line]:
    """Yield what is to be said of the archives; put it into `facts` for programs.

    Raises:
        StorageError: The database or the directory cannot be read.
    """
    there = [path.name for path in store.archive_paths()]
    facts["archives"] = len(there)
    stored_days = list(archive.days(store, now_ms, zone))
    yield from _lost(config, stored_days, there, now_ms, zone, facts)
    if not config.archive:
        yield info(
            f"archives are switched off (archive: false); {len(there)} exist; a damaged database is"
            f" rebuilt from the journals of {journals.WITHOUT_ARCHIVES} days only"
        )
        return
    until_ms = now_ms - _ARCHIVE_DUE_MS
    due = [day for day in stored_days if archive.bounds(day, zone)[1] <= until_ms]
    missing = [day for day in due if archive.path_of(config, day).name not in there]
    facts["days_without_archive"] = list(map(str, missing))
    count = counted(len(there), "archive", "archives")
    newest = f", the newest of {there[-1][:10]}" if there else ""
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        yield warning(
            f"{count}{newest}; none of {missing[0]}{more}",
            "'luxcli rollup daily --if-due' writes them; is it in the crontab?",
        )
    else:
        yield ok(f"{count}{newest}; no day of the database is missing")
    yield from _checks(store, there, now_ms, facts)
    for path in sorted(store.archive_directory.glob("????-??-??.json.xz")):
        if path.name not in there:
            yield warning(f"{path}: there is no such date", "move it away")
    for path in sorted(store.archive_directory.glob("????-??-??.json.xz.damaged*")):
        if path.name.partition(".damaged")[0] not in there:
            yield warning(
                f"{path}: a damaged archive, and there is no other one of that day",
                "put the archive back from a backup, or delete this file to accept the loss",
            )


def _checks(
    store: Store, there: Sequence[str], now_ms: int, facts: dict[str, object]
) -> Iterator[Line]:
    """Say when the nightly check last ran, and which archive has not been read for longest."""
    last_ms = ledger.checked_ms(store)
    checked = {Path(record.path).name: record.checked_ms for record in ledger.archives(store)}
    times_ms = [checked.get(name, 0) for name in there]
    oldest_ms = min(times_ms, default=0)
    facts["archives_checked"] = None if last_ms is None else times.utc_text(last_ms)
    facts["archives_oldest_check"] = times.utc_text(oldest_ms) if oldest_ms else None
    unread = counted(times_ms.count(0), "archive", "archives")
    if last_ms is None:
        yield info("database and archives were never checked; the next 'luxcli rollup daily' does")
        return
    text = f"database and archives were last checked on {times.utc_text(last_ms)}"
    if 0 in times_ms:
        text += f", {unread} not yet"
    elif there:
        text += f", each archive on {times.utc_text(oldest_ms)} or later"
    if now_ms - last_ms > _CHECK_DUE_MS or (oldest_ms and now_ms - oldest_ms > _READ_DUE_MS):
        yield warning(text, "'luxcli rollup daily --if-due' checks them; is it in the crontab?")
    else:
        yield ok(text)


def _lost(
    config: Config,
    stored_days: Sequence[date],
    there: Sequence[str],
    now_ms: int,
    zone: tzinfo,
    facts: dict[str, object],
) -> Iterator[Line]:
    """Compare the database with the files made from it: a recreated one is empty and intact."""
    first = date.min
    if config.cache_retention_days:
        first = times.local_date(now_ms, zone) - timedelta(days=config.cache_retention_days)
    archived = {day for day in map(_dated, there) if day and day >= first}
    lost_days = sorted(archived.difference(stored_days))
    facts["days_only_in_archives"] = list(map(str, lost_days))
    if lost_days:
        text = f"{_days(lost_days)} in archives but not in the database"
        yield warning(text, "'luxcli restore' puts them back")
    # The daily CSV of a day is mostly about the day before.
    days = {csv.day for csv in csvs(config) if csv.kind == "daily" and csv.is_closed}
    written = {day - _DAY for day in days if day > date.min}
    known = archived.union(stored_days)
    only = sorted(day for day in written if day >= first and not {day, day + _DAY} & known)
    facts["days_only_in_csvs"] = list(map(str, only))
    if only:
        advice = "no archive has them: keep the CSVs; was the database lost, or is this another?"
        yield warning(f"{_days(only)} in CSVs but not in the database", advice)


def _dated(name: str) -> date | None:
    try:
        return date.fromisoformat(name[:10])
    except ValueError:
        return None


def _days(days: Sequence[date]) -> str:
    return f"{days[0]} is" if len(days) == 1 else f"{len(days)} days ({days[0]} to {days[-1]}) are"
