"""Opens the SQLite file and runs transactions; recognises foreign, newer and damaged files.

The journal mode is PERSIST, not WAL: each command is a process, and with WAL the last one to close
the file would write a checkpoint each time. PERSIST creates and removes no file, which costs an SD
card least. With ``synchronous=FULL`` a committed transaction survives a power cut.

SQLite reports damage of its pages. A flipped bit elsewhere shows only in what is made of the
content: a text where a number was stored, a table without its name. So after a failure that SQLite
does not explain the file is compared with what luxcli writes.
"""

import errno
import os
import re
import sqlite3
import struct
import traceback
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

from luxcli.errors import (
    DamagedError,
    IncompatibleError,
    StorageError,
    UnavailableError,
    file_advice,
)
from luxcli.model import CLOCK_DOUBTED, EARLIEST_MS, LATEST_MS
from luxcli.store import paths, schema
from luxcli.store.paths import BESIDE

# The oldest library with which the tests of `store`, `rollup`, `exports` and `maintenance` pass.
# Tried: 3.15.0, 3.26.0, 3.34.0 and 3.40.1; the first goes on with its check of a file when it
# is interrupted. Before 3.15 there are no row values, with which `writer.remove_polls` removes
# settings.
OLDEST_LIBRARY: Final = (3, 15, 0)

# Conditions of the moment or of the file system. Any other error than these and damage is a bug.
_CONDITIONS: Final = {
    sqlite3.SQLITE_BUSY: "locked by another program for too long",
    sqlite3.SQLITE_LOCKED: "locked",
    sqlite3.SQLITE_FULL: "disk full",
    sqlite3.SQLITE_READONLY: "cannot be written",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened",
    sqlite3.SQLITE_PERM: "not permitted",
    sqlite3.SQLITE_IOERR: "the disk failed",
    sqlite3.SQLITE_NOMEM: "out of memory",
}

# What unexpected content leads to in code that relies on it.
_SIGNS: Final = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, struct.error)
_DAMAGE: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_OF_THE_MOMENT: Final = (
    *(sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN),
    *(sqlite3.SQLITE_PERM, sqlite3.SQLITE_INTERRUPT),
)
_MALFORMED: Final = re.compile(r"malformed database schema \((.+?)\) - (.+)")
_REFUSED: Final = re.compile(r"syntax error|unknown|no such function|unrecognized")
_HEADER_BYTES: Final = 100
# Places in the header of a SQLite file: the versions of its format, and the application.
_WRITE_FORMAT, _READ_FORMAT, _APPLICATION = 18, 19, slice(68, 72)
_WAL: Final = 2
_KINDS: Final = "kind BETWEEN 0 AND 2 AND idx BETWEEN 0 AND 9999"
_COLUMN: Final = re.compile(r"c\d{1,4}")


def check_library() -> None:
    """Check that the SQLite library of this Python is not too old.

    Raises:
        IncompatibleError: It is; nothing has been touched.
    """
    if sqlite3.sqlite_version_info < OLDEST_LIBRARY:
        oldest = ".".join(map(str, OLDEST_LIBRARY))
        raise IncompatibleError(
            f"SQLite {sqlite3.sqlite_version} is too old: luxcli needs {oldest} or newer",
            advice="use another Python, or upgrade the SQLite library of this one",
        )


# Bytes that stand for themselves in the name of a file in a URI.
_PLAIN: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/-._~")


def _quoted(path: Path) -> str:
    """Return a path as part of a URI. `Path.as_uri` loads urllib.request from Python 3.14 on."""
    return "".join(chr(b) if b in _PLAIN else f"%{b:02X}" for b in os.fsencode(path))


@contextmanager
def connect(
    path: Path, *, busy_wait_s: float, create: bool = False
) -> Iterator[sqlite3.Connection]:
    """Open the database for the duration of the block.

    Args:
        path: The SQLite file.
        busy_wait_s: How long to wait for another process's transaction, seconds.
        create: Create it if it does not exist.

    Raises:
        DamagedError: luxcli wrote the file, but it can no longer be read, or something else than
            luxcli wrote stands in it.
        IncompatibleError: The SQLite library is too old.
        StorageError: The file cannot be opened, is not luxcli's or was written by a newer luxcli;
            or a statement within the block failed. ``__cause__`` is SQLite's error.
    """
    check_library()
    uri = f"file://{_quoted(path.absolute())}?mode={'rwc' if create else 'rw'}"
    try:
        # isolation_level=None: Python begins no transaction by itself.
        connection = sqlite3.connect(
            uri, uri=True, timeout=busy_wait_s, isolation_level=None, check_same_thread=False
        )
        with closing(connection) as db:
            # One text that is not UTF-8 must not make its whole table unreadable.
            db.text_factory = lambda raw: raw.decode("utf-8", "replace")
            _check_content(path, db)
            yield db
    except (sqlite3.Error, MemoryError, *_SIGNS) as exc:
        # A cursor in the frames of the traceback would keep the file open and locked.
        traceback.clear_frames(exc.__traceback__)
        failure = _failure(path, exc)
        if failure is None:
            raise  # a bug: the file is as luxcli wrote it
        raise failure from exc


def _failure(path: Path, exc: Exception) -> StorageError | None:
    """Return what a failed statement means; None for an error that has nothing to do with SQLite.

    What Python's sqlite3 raises by itself has no code.
    """
    extended = getattr(exc, "sqlite_errorcode", None)
    code = sqlite3.SQLITE_NOMEM if isinstance(exc, MemoryError) else extended and extended & 0xFF
    if damaged := _damage(path, exc, code, extended):
        return damaged
    # Older versions of SQLite may say of another kind of file that its format is not supported.
    is_refused = code == sqlite3.SQLITE_ERROR and not _was_ours(path)
    if code == sqlite3.SQLITE_NOTADB or is_refused:
        return StorageError(
            f"{path}: not a SQLite file; nothing was changed", advice="correct cache_path"
        )
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_CANTOPEN} and is_wal(path):
        return UnavailableError(
            f"{path}: another program has turned it to WAL mode and keeps it open ({exc})",
            advice="end that program, or let it set 'PRAGMA journal_mode=PERSIST'; luxcli then"
            " goes on by itself",
        )
    if code in _CONDITIONS:
        barred = _barred(path, code)
        # None where neither the disk nor a permission is the reason, such as a lock.
        number = errno.ENOSPC if code == sqlite3.SQLITE_FULL else _refusal(barred)
        advice = file_advice(barred, number)
        return UnavailableError(f"{barred}: {_CONDITIONS[code]} ({_text(exc)})", advice=advice)
    if isinstance(exc, sqlite3.Error):
        return StorageError(f"{path}: SQLite {sqlite3.sqlite_version} failed ({exc})")
    return None


@contextmanager
def transaction(path: Path, *, busy_wait_s: float) -> Iterator[sqlite3.Connection]:
    """Run a transaction: commit at the end of the block, or store nothing if it raises.

    Creates the file and brings its schema up to date. Raises what `connect` raises.
    """
    with connect(path, busy_wait_s=busy_wait_s, create=True) as db:
        db.execute("PRAGMA journal_mode=PERSIST")
        db.execute("PRAGMA synchronous=FULL")
        db.execute("PRAGMA journal_size_limit=1048576")
        try:
            db.execute("BEGIN IMMEDIATE")
            _migrate(db)
            _check_times(db)
            yield db
            db.execute("COMMIT")
        except sqlite3.OperationalError as exc:
            if getattr(exc, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL:
                _give_back_journal(db)
            raise


def _give_back_journal(db: sqlite3.Connection) -> None:
    """Free the space of the journal on a full disk, where the journals need it."""
    with suppress(sqlite3.Error):
        if db.in_transaction:
            db.execute("ROLLBACK")
        db.execute("PRAGMA journal_mode=DELETE")


def _check_content(path: Path, db: sqlite3.Connection) -> None:
    """Refuse a file of another program or a newer luxcli."""
    version = db.execute("PRAGMA user_version").fetchone()[0]
    application = db.execute("PRAGMA application_id").fetchone()[0]
    # Not sqlite_schema, which is a name of 3.33 for the same.
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type='table'")}
    if not tables and version == 0:
        return  # new
    if application != schema.APPLICATION_ID and "constant" not in tables:
        raise StorageError(
            f"{path}: a SQLite file, but not a luxcli database; nothing was changed",
            advice="correct cache_path",
        )
    known = schema.NEWEST
    # A flipped bit does not make another schema of it.
    if not schema.DEVELOPMENT < version <= known and _is_flipped(db, version):
        raise _ContentError(f"schema {version} in the header")
    if version > known:
        raise StorageError(
            f"{path}: written by a newer luxcli (schema {version}, this one knows {known});"
            " nothing was changed",
            advice="upgrade luxcli",
        )


def _check_times(db: sqlite3.Connection) -> None:
    """Refuse times that no clock showed: every loop over days would run to them.

    A poll whose clock was doubted may have any time; nothing loops over such polls.
    """
    for table in ("poll", "missed"):
        # One after the other: a range of the key each. With OR, SQLite might read the whole table.
        for beyond in (f"ts_ms<{EARLIEST_MS}", f"ts_ms>={LATEST_MS}"):
            row = db.execute(
                f"SELECT ts_ms FROM {table} WHERE {beyond} AND flags&{CLOCK_DOUBTED}=0 LIMIT 1"
            ).fetchone()
            if row is not None:
                raise _ContentError(f"{table} of {row[0]} ms")


def _migrate(db: sqlite3.Connection) -> None:
    version = db.execute("PRAGMA user_version").fetchone()[0]
    for statements in schema.MIGRATIONS[max(0, version - schema.DEVELOPMENT) :]:
        for statement in statements:
            db.execute(statement)
    if version < schema.NEWEST:
        db.execute(f"PRAGMA application_id={schema.APPLICATION_ID}")
        db.execute(f"PRAGMA user_version={schema.NEWEST}")


class _ContentError(ValueError):
    """Something stands in the database that luxcli did not write."""


def _damage(
    path: Path, exc: Exception, code: int | None, extended: int | None
) -> DamagedError | None:
    """Return the damage that a failure shows, None if it has another cause.

    Args:
        path: The database, closed.
        exc: What SQLite, or code that relies on the content, raised.
        code: SQLite's primary code; None if it was not SQLite that raised.
        extended: SQLite's extended code.
    """
    if code in _OF_THE_MOMENT or not _was_ours(path):
        return None
    if isinstance(exc, _ContentError):
        is_damaged = True
    elif code in _DAMAGE:
        is_damaged = not _is_foreign_object(str(exc))
    elif code == sqlite3.SQLITE_READONLY:
        is_damaged = _header(path)[_WRITE_FORMAT] > _WAL
    elif code == sqlite3.SQLITE_IOERR:
        # Behind the end of the file.
        is_damaged = extended == sqlite3.SQLITE_IOERR_SHORT_READ and not _is_intact(path)
    else:
        is_damaged = not _is_intact(path)
    if not is_damaged:
        return None
    return DamagedError(f"{path}: damaged ({_text(exc)})", advice=paths.HEALING)


def _refusal(path: Path) -> int | None:
    return errno.EACCES if path.exists() and not os.access(path, os.R_OK | os.W_OK) else None


def _barred(path: Path, code: int) -> Path:
    """Return the file that this user may not use: the database, or one that SQLite keeps beside."""
    if code in {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY} and os.access(path, os.W_OK):
        for beside in map(path.with_name, (path.name + suffix for suffix in BESIDE)):
            if beside.exists() and not os.access(beside, os.R_OK | os.W_OK):
                return beside
    return path


def _text(exc: Exception) -> str:
    """Return what an error says; some have no text."""
    return str(exc) or type(exc).__name__


def _header(path: Path) -> bytes:
    """Return the first 100 bytes of a database, fewer if it is shorter or cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(_HEADER_BYTES)
    except OSError:
        return b""


def is_wal(path: Path) -> bool:
    """Whether a database is in WAL mode, which luxcli never sets."""
    return _header(path)[_WRITE_FORMAT : _READ_FORMAT + 1] == bytes((_WAL, _WAL))


def _is_flipped(db: sqlite3.Connection, version: int) -> bool:
    """Whether a flipped bit made `version` of our schema's number: the tables are those of ours."""
    return (version ^ schema.NEWEST).bit_count() == 1 and _has_schema(db, _model())


def _was_ours(path: Path) -> bool:
    """Whether a file that SQLite cannot read was written by luxcli.

    Signs are our mark in its header, SQLite's own mark where ours is gone, an empty first page, or
    the rollback journal that our transactions leave beside it. Any other file is somebody else's.
    """
    head, mark = _header(path), schema.APPLICATION_ID.to_bytes(4, "big")
    is_marked = head[_APPLICATION] == mark or head.startswith(b"SQLite format 3\0")
    is_empty = bool(head) and not any(head)
    return is_marked or is_empty or bool(_header(path.with_name(path.name + "-journal")))


def _is_foreign_object(message: str) -> bool:
    """Whether SQLite does not understand a table or view that another program has added.

    Such as one with syntax of a newer SQLite. The rest of the file is as luxcli wrote it.
    """
    match = _MALFORMED.search(message)
    if match is None or not _REFUSED.search(match[2]):
        return False
    name = match[1]
    return name not in {*_model(), *schema.VIEWS, "?"} and not name.startswith("sqlite_")


_Columns = list[tuple[object, ...]]


def _model() -> dict[str, _Columns]:
    """Return the columns of each table of the present schema."""
    with closing(sqlite3.connect(":memory:")) as model:
        for statements in schema.MIGRATIONS:
            for statement in statements:
                model.execute(statement)
        names = model.execute("SELECT name FROM sqlite_master WHERE type='table'").fetchall()
        return {name: _columns(model, name) for (name,) in names}


def _columns(db: sqlite3.Connection, table: str) -> _Columns:
    return db.execute(f"PRAGMA table_info({table})").fetchall()


def _has_schema(db: sqlite3.Connection, model: dict[str, _Columns]) -> bool:
    """Whether the tables are those of the present schema; ``poll`` has grown further columns."""
    for name, columns in model.items():
        there = _columns(db, name)
        more = there[len(columns) :]
        if there[: len(columns)] != columns or (more and name != "poll"):
            return False
        if not all(_COLUMN.fullmatch(str(column[1])) for column in more):
            return False
    return True


def _is_intact(path: Path) -> bool:
    """Whether the file has our schema and content, and SQLite finds no damage.

    Then a failure is a bug, or a statement that this SQLite refuses.
    """
    # Outside of the try: what this SQLite refuses here says nothing about the file.
    model = _model()
    try:
        with closing(sqlite3.connect(path, timeout=1)) as db:
            if not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                return True  # about to be created
            return (
                _has_schema(db, model)
                and db.execute("PRAGMA integrity_check(1)").fetchone() == ("ok",)
                and all(_has_types(db, name, model[name]) for name in model.keys() - {"poll"})
            )
    except MemoryError:
        return True  # nobody can tell now
    except (sqlite3.Error, *_SIGNS) as exc:
        code = getattr(exc, "sqlite_errorcode", 0) & 0xFF
        return code in _OF_THE_MOMENT or code == sqlite3.SQLITE_IOERR


def _has_types(db: sqlite3.Connection, table: str, columns: _Columns) -> bool:
    """Whether every value of a table is what its column says; polls have their checksum."""
    wanted = []
    names = set()
    for _number, name, kind, is_required, *_ in columns:
        names.add(name)
        null = "" if is_required else f" OR {name} IS NULL"
        wanted.append(f"(typeof({name})='{str(kind).lower()}'{null})")
    if {"kind", "idx"} <= names:
        wanted.append(_KINDS)
    odd = f"SELECT count(*) FROM {table} WHERE NOT ({' AND '.join(wanted)})"
    return not db.execute(odd).fetchone()[0]
