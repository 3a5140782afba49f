"""What the cache remembers of files made from it: CSVs (``rollup``) and archives (``archive``).

So that generation survives a crash and catches up, and a file is not made twice.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from luxcli.store.store import Store


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

    `entries` is how many of the cache's polls and missed ticks the day's archive has, `size` its
    length in bytes.
    """

    start_ms: int
    stop_ms: int
    path: str
    entries: int
    size: int
    written_ms: int


def rollups(store: Store, kind: str) -> list[RollupRecord]:
    """Return what is recorded about CSVs of one kind, oldest period first.

    Raises:
        StorageError: The cache cannot be read.
    """
    with store.database.reading() as db:
        if db is None:
            return []
        rows = db.execute("SELECT * FROM rollup WHERE kind=? ORDER BY period_stop_ms", (kind,))
        return [RollupRecord(*row) for row in rows]


def record_rollup(store: Store, record: RollupRecord) -> None:
    """Remember which file exists for which period; replaces an earlier record of it.

    Raises:
        LockHeldError, StorageError: The cache cannot be written.
    """
    with store.writing() as db:
        db.execute("INSERT OR REPLACE INTO rollup VALUES (?,?,?,?,?,?,?,?)", record)


def archives(store: Store) -> list[ArchiveRecord]:
    """Return what is recorded about daily archives, oldest first.

    Raises:
        StorageError: The cache cannot be read.
    """
    with store.database.reading() as db:
        if db is None:
            return []
        return [ArchiveRecord(*row) for row in db.execute("SELECT * FROM archive")]


def record_archive(store: Store, record: ArchiveRecord) -> None:
    """Remember which polls are in an archive; replaces an earlier record of the day.

    Raises:
        LockHeldError, StorageError: The cache cannot be written.
    """
    with store.writing() as db:
        db.execute("INSERT OR REPLACE INTO archive VALUES (?,?,?,?,?,?)", record)


def forget_archive(store: Store, start_ms: int) -> None:
    """Let the archive of the day that begins at `start_ms` be written anew.

    Raises:
        LockHeldError, StorageError: The cache cannot be written.
    """
    with store.writing() as db:
        db.execute("DELETE FROM archive WHERE start_ms=?", (start_ms,))


def merge(
    store: Store, rollup_records: Sequence[RollupRecord], archive_records: Sequence[ArchiveRecord]
) -> None:
    """Take over what another cache remembers, where this one does not.

    Files that are there are called stale: this cache may hold polls that the other one had lost.
    Of archives, only records of days of which this cache has as much as the other one had.

    Raises:
        LockHeldError, StorageError: The cache cannot be written.
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
        db.executemany("INSERT OR IGNORE INTO archive VALUES (?,?,?,?,?,?)", archive_records)
