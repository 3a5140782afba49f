"""Records of the files made from a database: CSVs (``rollup``) and archives (``archive``).

With them a roll-up catches up after a crash, and no file is made twice. A rebuild records here how
far it has come; a database without that record is new and may lack what archives hold.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from luxcli.model import LATEST_MS
from luxcli.store import reader
from luxcli.store.store import Store

_MOST_DIGITS: Final = 18


class RollupRecord(NamedTuple):
    """One line of the ``rollup`` table; `state` is written, stale, empty or failed.

    Stale means that polls have been stored for the period since the file was written.
    """

    kind: str
    start_ms: int
    stop_ms: int
    path: str | None
    state: str
    rows: int
    written_ms: int
    error: str | None = None


class ArchiveRecord(NamedTuple):
    """One line of the ``archive`` table.

    `entries` is how many polls and missed polls of the database the archive holds, `size` its
    length in bytes, `checked_ms` when it was last read and compared with the database.
    """

    start_ms: int
    stop_ms: int
    path: str
    entries: int
    size: int
    written_ms: int
    checked_ms: int


def rollups(store: Store, kind: str) -> list[RollupRecord]:
    """Return the records of CSVs of one kind, oldest period first.

    Raises:
        StorageError: The database cannot be read.
    """
    with store.database.reading() as db:
        if db is None:
            return []
        rows = db.execute("SELECT * FROM rollup WHERE kind=? ORDER BY period_stop_ms", (kind,))
        types = (str, int, int, str, str, int, int, str)
        return [RollupRecord(*row) for row in reader.of_types(db, rows.fetchall(), *types)]


def record_rollup(store: Store, record: RollupRecord) -> None:
    """Record which file exists for a period, instead of an earlier record of that period.

    Raises:
        LockHeldError, StorageError: The database cannot be written.
    """
    with store.writing() as db:
        db.execute("INSERT OR REPLACE INTO rollup VALUES (?,?,?,?,?,?,?,?)", record)


def archives(store: Store) -> list[ArchiveRecord]:
    """Return the records of daily archives, oldest first.

    Raises:
        StorageError: The database cannot be read.
    """
    with store.database.reading() as db:
        if db is None:
            return []
        rows = db.execute("SELECT * FROM archive").fetchall()
        types = (int, int, str, int, int, int, int)
        records = [ArchiveRecord(*row) for row in reader.of_types(db, rows, *types)]
    # A damaged time counts as none, so that the archive is the next one to be read.
    return [
        record if _is_time(record.checked_ms) else record._replace(checked_ms=0)
        for record in records
    ]


def record_archive(store: Store, record: ArchiveRecord) -> None:
    """Record how many polls an archive holds, instead of an earlier record of that day or file.

    In another time zone the day of the file begins at another moment.

    Raises:
        LockHeldError, StorageError: The database cannot be written.
    """
    with store.writing() as db:
        db.execute("DELETE FROM archive WHERE path=?", (record.path,))
        db.execute("INSERT OR REPLACE INTO archive VALUES (?,?,?,?,?,?,?)", record)


def forget_archive(store: Store, start_ms: int) -> None:
    """Forget the archive of the day that begins at `start_ms`, so that it is written again.

    Raises:
        LockHeldError, StorageError: The database cannot be written.
    """
    with store.writing() as db:
        db.execute("DELETE FROM archive WHERE start_ms=?", (start_ms,))


def checked_ms(store: Store) -> int | None:
    """Return when the database and some archives were last checked, None if never.

    Raises:
        StorageError: The database cannot be read.
    """
    text = _meta(store, "checked_ms")
    found = int(text) if text.isdecimal() and len(text) <= _MOST_DIGITS else None
    return found if found is None or _is_time(found) else None


def record_check(store: Store, now_ms: int) -> None:
    """Record that the database and some archives were checked.

    Raises:
        LockHeldError, StorageError: The database cannot be written.
    """
    _record_meta(store, "checked_ms", str(now_ms))


def _is_time(ts_ms: int) -> bool:
    """Whether a moment in the database is one that luxcli may have written."""
    return 0 <= ts_ms < LATEST_MS


def merge(
    store: Store, rollup_records: Sequence[RollupRecord], archive_records: Sequence[ArchiveRecord]
) -> None:
    """Take over the records of another database that this one does not have.

    Files that exist become stale: this database may hold polls that the other one had lost. The
    record of an archive is taken over only if this database holds as many entries of its day.

    Raises:
        LockHeldError, StorageError: The database cannot be written.
    """
    rollup_records = [
        record._replace(state="stale")
        if record.state == "written" and record.path and Path(record.path).exists()
        else record
        for record in rollup_records
    ]
    archive_records = [
        record
        for record in archive_records
        if record.entries == store.database.count_entries(record.start_ms, record.stop_ms)
    ]
    with store.writing() as db:
        db.executemany("INSERT OR IGNORE INTO rollup VALUES (?,?,?,?,?,?,?,?)", rollup_records)
        db.executemany("INSERT OR IGNORE INTO archive VALUES (?,?,?,?,?,?,?)", archive_records)


class RebuildRecord(NamedTuple):
    """How far a rebuild has come: to the end of a file, or of a database up to `reached_ms`."""

    name: str
    reached_ms: int | None = None


def is_complete(store: Store) -> bool:
    """Whether the database has what archives and quarantined databases hold, as far as is known.

    Raises:
        StorageError: The database cannot be read.
    """
    return rebuild_record(store) == _COMPLETE


def rebuild_record(store: Store) -> RebuildRecord | None:
    """Return the last file that a rebuild has taken in, None if it has not begun.

    Raises:
        StorageError: The database cannot be read.
    """
    name, _, reached = _meta(store, "rebuild").partition("/")
    if not name:
        return None
    is_number = reached.isdecimal() and len(reached) <= _MOST_DIGITS
    return RebuildRecord(name, int(reached) if is_number else None)


def record_rebuild(store: Store, record: RebuildRecord | None) -> None:
    """Record how far a rebuild has come; None when it is done.

    Raises:
        LockHeldError, StorageError: The database cannot be written.
    """
    name, reached_ms = record or _COMPLETE
    _record_meta(store, "rebuild", name if reached_ms is None else f"{name}/{reached_ms}")


_COMPLETE: Final = RebuildRecord("*")


def _meta(store: Store, key: str) -> str:
    """Return what the database notes under a name, empty if nothing."""
    with store.database.reading() as db:
        row = db and db.execute("SELECT value FROM meta WHERE key=?", (key,)).fetchone()
    return str(row[0]) if row else ""


def _record_meta(store: Store, key: str, value: str) -> None:
    with store.writing() as db:
        db.execute("INSERT OR REPLACE INTO meta VALUES (?,?)", (key, value))
