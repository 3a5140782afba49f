"""Opens the SQLite file and runs transactions; recognises foreign, newer and damaged files.

The journal mode is PERSIST, not WAL: each command is a process, and with WAL the last one to close
the file would write a checkpoint each time. PERSIST creates and removes no file, which costs an SD
card least. With ``synchronous=FULL`` a committed transaction survives a power cut.
"""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

from luxcli.errors import DamagedError, StorageError, UnavailableError
from luxcli.store import schema

# Conditions of the moment or of the file system. Any other error than these and _DAMAGE is a bug,
# unless a check finds that the file is damaged.
_ADVICE: Final = {
    sqlite3.SQLITE_BUSY: "locked by another program for too long",
    sqlite3.SQLITE_LOCKED: "locked",
    sqlite3.SQLITE_FULL: "disk full",
    sqlite3.SQLITE_READONLY: "cannot be written",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened",
    sqlite3.SQLITE_PERM: "not permitted",
    sqlite3.SQLITE_IOERR: "the disk failed",
    sqlite3.SQLITE_NOMEM: "out of memory",
}
_DAMAGE: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


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
        DamagedError: luxcli wrote the file, but it can no longer be read.
        StorageError: The file cannot be opened, is not luxcli's or was written by a newer luxcli;
            or a statement within the block failed. ``__cause__`` is SQLite's error.
    """
    uri = f"{path.absolute().as_uri()}?mode={'rwc' if create else 'rw'}"
    try:
        # isolation_level=None: Python begins no transaction by itself.
        connection = sqlite3.connect(
            uri, uri=True, timeout=busy_wait_s, isolation_level=None, check_same_thread=False
        )
        with closing(connection) as db:
            _refuse_foreign(path, db)
            yield db
    except (sqlite3.Error, UnicodeDecodeError) as exc:
        code = getattr(exc, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
        if code not in _ADVICE and _was_ours(path) and (code in _DAMAGE or not _is_intact(path)):
            raise DamagedError(f"{path}: damaged ({exc})") from exc
        if code == sqlite3.SQLITE_NOTADB:
            raise StorageError(
                f"{path}: not a SQLite file; nothing was changed", advice="correct cache_path"
            ) from exc
        if code in _ADVICE:
            raise UnavailableError(f"{path}: {_ADVICE[code]} ({exc})") from exc
        raise StorageError(f"{path}: SQLite failed ({exc})") from exc


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
            yield db
            db.execute("COMMIT")
        except sqlite3.OperationalError as exc:
            if exc.sqlite_errorcode & 0xFF == sqlite3.SQLITE_FULL:
                _give_back_journal(db)
            raise


def bounds(db: sqlite3.Connection) -> tuple[int | None, int | None]:
    """Return the times of the oldest and the newest poll."""
    # Two subqueries: asked for both in one SELECT, SQLite scans the whole table.
    oldest, newest = db.execute(
        "SELECT (SELECT min(ts_ms) FROM poll), (SELECT max(ts_ms) FROM poll)"
    ).fetchone()
    return oldest, newest


def _give_back_journal(db: sqlite3.Connection) -> None:
    """Free the space of the journal on a full disk, where the buffer needs it."""
    with suppress(sqlite3.Error):
        if db.in_transaction:
            db.execute("ROLLBACK")
        db.execute("PRAGMA journal_mode=DELETE")


def check(path: Path, *, busy_wait_s: float) -> None:
    """Let SQLite look through the whole file; takes seconds for a year.

    The check runs in a thread: Python handles no signal while a statement runs, and ending the
    process must not take that long.

    Raises:
        DamagedError: The file is damaged.
        StorageError: The file cannot be read.
    """
    with connect(path, busy_wait_s=busy_wait_s) as db:
        results: list[str] = []
        failures: list[Exception] = []

        def quick_check() -> None:
            try:
                results.extend(row[0] for row in db.execute("PRAGMA quick_check(1)"))
            except Exception as exc:  # raised below; MemoryError is one way to be interrupted
                failures.append(exc)

        thread = threading.Thread(target=quick_check)
        thread.start()
        try:
            thread.join()
        except BaseException:
            db.interrupt()
            thread.join()
            raise
        if failures:
            raise failures[0]
        if results != ["ok"]:
            raise DamagedError(f"{path}: damaged ({results[0]})")


def _refuse_foreign(path: Path, db: sqlite3.Connection) -> None:
    version = db.execute("PRAGMA user_version").fetchone()[0]
    application = db.execute("PRAGMA application_id").fetchone()[0]
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type='table'")}
    if not tables and version == 0:
        return  # new
    if application != schema.APPLICATION_ID and "constant" not in tables:
        raise StorageError(
            f"{path}: a SQLite file, but not a luxcli database; nothing was changed",
            advice="correct cache_path",
        )
    known = schema.NEWEST
    if version > known:
        raise StorageError(
            f"{path}: written by a newer luxcli (schema {version}, this one knows {known});"
            " nothing was changed",
            advice="upgrade luxcli",
        )


def _is_intact(path: Path) -> bool:
    """Whether the file has our schema and SQLite finds no damage: then a failure is a bug."""
    try:
        with (
            closing(sqlite3.connect(path, timeout=1)) as db,
            closing(sqlite3.connect(":memory:")) as model,
        ):
            for statements in schema.MIGRATIONS:
                for statement in statements:
                    model.execute(statement)
            if not db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
                return True  # about to be created
            names = [name for (name,) in model.execute("SELECT name FROM sqlite_schema")]
            for name in names:
                columns = [row[1] for row in model.execute(f"PRAGMA table_info({name})")]
                db.execute(f"SELECT {','.join(columns)} FROM {name} LIMIT 1").fetchall()
            return bool(db.execute("PRAGMA quick_check(1)").fetchone() == ("ok",))
    except (sqlite3.Error, UnicodeDecodeError):
        return False


def _was_ours(path: Path) -> bool:
    """Whether a file that SQLite cannot read was written by luxcli.

    Signs are our mark in its header, SQLite's own mark where ours is gone, or an empty first page,
    as a failing card leaves it. Any other file is somebody else's and must not be moved away.
    """
    try:
        with path.open("rb") as file:
            head = file.read(100)
    except OSError:
        return False
    mark = schema.APPLICATION_ID.to_bytes(4, "big")
    return head[68:72] == mark or head.startswith(b"SQLite format 3\0") or not any(head)


def _migrate(db: sqlite3.Connection) -> None:
    version = db.execute("PRAGMA user_version").fetchone()[0]
    for statements in schema.MIGRATIONS[max(0, version - schema.DEVELOPMENT) :]:
        for statement in statements:
            db.execute(statement)
    if version < schema.NEWEST:
        db.execute(f"PRAGMA application_id={schema.APPLICATION_ID}")
        db.execute(f"PRAGMA user_version={schema.NEWEST}")
