"""Moves into the database what it lacks of the journals.

The table ``journal`` says how much of each file is in the database: its size then, and the last
bytes before, which another file of that name does not have. Both advance in the transaction that
stores the lines.
"""

import logging
from collections.abc import Iterator
from heapq import merge
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Final

from luxcli import __version__
from luxcli.errors import DamagedError, LockHeldError, StorageError
from luxcli.model import Snapshot
from luxcli.store import journal, reader, writer
from luxcli.store.database import Database
from luxcli.store.journal import Part, Waiting

if TYPE_CHECKING:
    from sqlite3 import Connection

_LOGGER = logging.getLogger(__name__)
# Nobody keeps a journal longer than it takes to append a line.
_WAIT_S: Final = 1.0


def unread(
    database: Database, *, unreadable: set[Path] | None = None
) -> Iterator[tuple[Path, int]]:
    """Yield the journals, and where the lines begin in each that the database lacks.

    If the database cannot be read, it lacks all.

    Args:
        database: It remembers how much of each it has.
        unreadable: Takes the journals that cannot be read. Without it the first one is an error.

    Raises:
        StorageError: A journal cannot be read.
    """
    try:
        with database.reading() as db:
            known = {} if db is None else _taken_in(db)
    except StorageError:
        known = {}  # whoever needs the database will say what is wrong with it
    for path in journal.paths(database.path):
        try:
            offset, stop = journal.unread(path, *known.get(path.name, (0, "")), wait_s=None)
        except StorageError:
            if unreadable is None:
                raise
            unreadable.add(path)
            continue
        if offset < stop:
            yield path, offset


def is_behind(database: Database) -> bool:
    """Whether the database lacks lines of a journal, or one cannot be read."""
    try:
        return any(True for _ in unread(database))
    except StorageError:
        return True  # moving the others comes first


def waiting(database: Database, *, past_unreadable: bool = False) -> Waiting:
    """Return what is in the journals and not in the database, without decoding the polls.

    Raises:
        StorageError: A journal cannot be read; with `past_unreadable` only the directory.
    """
    found: list[Waiting] = []
    for path, offset in unread(database, unreadable=set() if past_unreadable else None):
        try:
            found.append(journal.waiting(path, offset))
        except StorageError:
            if not past_unreadable:
                raise
    return Waiting(
        tuple(poll for each in found for poll in each.polls),
        tuple(missed for each in found for missed in each.missed),
        *(sum(each.rejected for each in found), sum(each.size for each in found)),
    )


def polls_with_waiting(
    database: Database, start_ms: int, stop_ms: int, damaged: list[int]
) -> Iterator[Snapshot]:
    """Yield the polls of database and journals in time order, each once; as `Database.polls`.

    Raises:
        StorageError: The database or a journal cannot be read.
    """
    # The journals first: what is flushed meanwhile is then found in both, not in none.
    found = list(unread(database))
    waiting_polls = (
        poll for path, offset in found for poll in journal.polls(path, offset, start_ms, stop_ms)
    )
    stored = database.polls(start_ms, stop_ms, damaged=damaged)
    recent: list[Snapshot] = []  # of one millisecond, and of the next ones where they gave way
    for snapshot in merge(stored, waiting_polls, key=attrgetter("taken_ms")):
        ts_ms = snapshot.taken_ms
        if recent and ts_ms > recent[-1].taken_ms:
            recent = []
        if any(poll.at(ts_ms) == snapshot for poll in recent):
            continue
        recent.append(snapshot.at(recent[-1].taken_ms + 1) if recent else snapshot)
        yield recent[-1]


def take_in_part(
    database: Database, rejected_path: Path, failures: list[LockHeldError | StorageError]
) -> tuple[int, int, int] | None:
    """Store one part of the journals and read it back; the caller holds the storage lock.

    Args:
        database: Written in one transaction.
        rejected_path: Takes copies of damaged lines.
        failures: Takes why journals could not be read; they keep no other one waiting.

    Returns:
        How many polls and missed polls were new, and how many lines are damaged; None if there was
        nothing to move.

    Raises:
        DamagedError: The database is damaged.
        StorageError: It cannot be written.
    """
    stored: dict[int, Snapshot] = {}
    with database.transaction() as db:
        found = _next_parts(database.path, _taken_in(db), failures)
        if not found:
            return None
        polls = [poll for part in found.values() for poll in part.polls]
        missed = [entry for part in found.values() for entry in part.missed]
        repairs = [repair for part in found.values() for repair in part.repairs]
        new = writer.ingest(db, __version__, polls, missed, stored, repairs)
        # They are safe there before the database leaves them behind.
        rejected = [line for part in found.values() for line in part.rejected]
        journal.keep_lines(rejected_path, rejected)
        for path, part in found.items():
            values = (path.name, part.offset, part.tail)
            db.execute("INSERT OR REPLACE INTO journal VALUES (?,?,?)", values)
    for path, part in found.items():
        if count := len(part.rejected):
            lines = "1 damaged line" if count == 1 else f"{count} damaged lines"
            _LOGGER.error("%s: %s, copied to %s", path, lines, rejected_path)
    with database.connect() as db:
        if reader.polls_at(db, sorted(stored)) != stored:
            raise DamagedError(f"{database.path}: does not read back as it was written")
    return (*new, len(rejected))


def forget(db: "Connection", name: str) -> None:
    """Forget a journal that was removed."""
    db.execute("DELETE FROM journal WHERE name=?", (name,))


def _next_parts(
    cache_path: Path,
    taken_in: dict[str, tuple[int, str]],
    failures: list[LockHeldError | StorageError],
) -> dict[Path, Part]:
    """Return what comes next in the journals, together about as long as one part."""
    found: dict[Path, Part] = {}
    room, bytes_left = journal.PART, journal.PART_BYTES
    for path in journal.paths(cache_path):
        try:
            offset, stop = journal.unread(path, *taken_in.get(path.name, (0, "")), wait_s=_WAIT_S)
            part = next(journal.parts(path, offset, room, stop=stop), None)
        except (LockHeldError, StorageError) as exc:
            failures.append(exc)
            continue
        if part:
            found[path] = part
            room, bytes_left = room - part.lines, bytes_left - (part.offset - offset)
            if room <= 0 or bytes_left <= 0:
                break
    return found


def _taken_in(db: "Connection") -> dict[str, tuple[int, str]]:
    """Return how much of each journal is in a database: its size, and the last of it."""
    rows = db.execute("SELECT name, size, tail FROM journal")
    return {name: (size, tail) for name, size, tail in rows}
