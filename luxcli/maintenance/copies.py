"""What second copies hold that the database lacks: archives without a record, damaged polls."""

from collections.abc import Collection
from datetime import date, timedelta, tzinfo
from pathlib import Path

from luxcli import times
from luxcli.config.config import Config
from luxcli.errors import DamagedError, StorageError
from luxcli.maintenance import archive, document, journals
from luxcli.recording import clock_doubt
from luxcli.store import ledger
from luxcli.store.store import Store


def lacking(config: Config, store: Store, *, now_ms: int, zone: tzinfo) -> list[Path]:
    """Return the archives of which the database has no record, but for those that are too old.

    Archives of before this program are those of a wrong clock, whose polls are never too old.

    Raises:
        StorageError: The database or the directory of archives cannot be read.
    """
    low = kept_from(config, store, now_ms, zone)
    known = {Path(record.path).name for record in ledger.archives(store)}
    found = []
    for path in store.archive_paths():
        bounds = bounds_of(path, zone)
        is_kept = bounds is None or bounds[1] > low or bounds[0] < clock_doubt.RELEASED_MS
        if path.name not in known and is_kept:
            found.append(path)
    return found


def kept_from(config: Config, store: Store, now_ms: int, zone: tzinfo) -> int:
    """Return the time from which on polls are kept, UTC ms."""
    if not config.cache_retention_days:
        return 0
    newest_ms = journals.newest_ms(store)
    last = times.local_date(now_ms if newest_ms is None else newest_ms, zone)
    return archive.bounds(last - timedelta(days=config.cache_retention_days), zone)[0]


def bounds_of(path: Path, zone: tzinfo) -> tuple[int, int] | None:
    """Return the interval of an archive by its name, None if that is no date."""
    try:
        return archive.bounds(date.fromisoformat(path.name[:10]), zone)
    except ValueError:
        return None


def check_replaceable(config: Config, start_ms: int, stop_ms: int, zone: tzinfo) -> None:
    """Raise if polls of an interval are damaged in the database but not elsewhere.

    Raises:
        DamagedError: A journal or an archive holds one of them.
        StorageError: A file cannot be read.
    """
    store = Store(config.cache_path)
    damaged: list[int] = []
    for _poll in store.database.polls(start_ms, stop_ms, damaged=damaged):
        pass
    days = {times.local_date(ts_ms, zone) for ts_ms in damaged}
    if damaged and (
        journals.hold(config, damaged) or any(_archive_holds(config, day, damaged) for day in days)
    ):
        raise DamagedError(
            f"{store.path}: {len(damaged)} polls of {min(days)} differ from their checksum"
        )


def _archive_holds(config: Config, day: date, times_ms: Collection[int]) -> bool:
    try:
        content = document.read(archive.path_of(config, day))
    except StorageError:
        return False
    return not set(times_ms).isdisjoint(poll.taken_ms for poll in content.polls)
