"""What is kept of a heat pump: a durable buffer in front of a SQLite cache.

`Store.add` returns when a poll is safe in the buffer (one append, one fsync); every
``flush_polls`` polls the buffer goes into the cache in one transaction. Readers flush first, so
they always see everything. If the cache is locked, full or damaged the buffer keeps growing and
nothing is lost. All times are milliseconds since the epoch, UTC; intervals are half-open.

Files beside the cache ``NAME``: ``NAME.buffer.jsonl``, ``NAME.rejected.jsonl`` (damaged buffer
lines), ``NAME.lock`` and SQLite's ``NAME-journal``. The directory must be local: neither the locks
nor SQLite are safe on NFS or SMB.
"""

import logging
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from luxcli import __version__, buffer, ingest, locks, schema
from luxcli.config import Config
from luxcli.errors import StorageError
from luxcli.ingest import Key
from luxcli.model import Chunk, Missed, Snapshot

_LOGGER = logging.getLogger("luxcli.storage")
# A flush of a day's backlog or the removal of one day takes well below this on a Raspberry Pi.
_LOCK_WAIT_S = 20.0
_HURRY_WAIT_S = 0.3
_BUSY_WAIT_S = 2.0
_CHUNK_ROWS = 500
_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Added:
    """What became of a poll: always durable; `warning` says why it is not in the cache yet."""

    flushed: int
    warning: str | None = None


@dataclass(frozen=True, slots=True)
class Flushed:
    """What a flush moved into the cache; lines that were there already do not count."""

    polls: int
    missed: int
    rejected: int


@dataclass(frozen=True, slots=True)
class RollupRecord:
    """One line of the ``rollup`` table; `state` is written, empty or failed."""

    kind: str
    start_ms: int
    stop_ms: int
    path: str | None
    state: str
    rows: int
    written_ms: int
    error: str | None = None


class Store:
    """Buffer and cache of one heat pump. Holds nothing open between calls."""

    def __init__(self, path: Path, *, flush_polls: int = 20) -> None:
        self.path = path
        self.buffer_path = path.with_name(path.name + ".buffer.jsonl")
        self.rejected_path = path.with_name(path.name + ".rejected.jsonl")
        self.lock_path = path.with_name(path.name + ".lock")
        self._flush_polls = flush_polls
        self._lock_wait_s = _LOCK_WAIT_S

    def prepare(self, *, parents: bool = False) -> None:
        """Create the directory if it is missing.

        Args:
            parents: Create those above as well; otherwise the parent must exist, so that a
                forgotten mount or a typing error does not fill some other disk.

        Raises:
            StorageError: It cannot be created; says which directory is missing.
        """
        directory = self.path.parent
        if directory.is_dir():
            return
        if not parents and not directory.parent.is_dir():
            raise StorageError(
                f"{directory}: neither this directory nor its parent exists;"
                " create it or correct cache_path"
            )
        try:
            directory.mkdir(parents=parents, exist_ok=True)
        except OSError as exc:
            raise StorageError(f"{directory}: cannot be created: {exc.strerror}") from exc

    def hurry(self) -> None:
        """Wait for locks no longer than a process may that was told to end."""
        self._lock_wait_s = _HURRY_WAIT_S

    def add(self, timestamp: int, data: Snapshot) -> Added:
        """Keep one poll: durable when this returns.

        Args:
            timestamp: Time of the poll, ms since the epoch, UTC; overrides ``data.taken_ms``.
            data: The complete snapshot.

        Raises:
            LockHeldError: Another process kept the storage lock.
            StorageError: It could be written neither to the buffer nor to the cache.
        """
        poll = data
        if timestamp != data.taken_ms:
            poll = Snapshot(
                timestamp,
                *(data.took_ms, data.tries),
                *(data.calculations, data.parameters, data.visibilities),
            )
        with self._locked():
            try:
                waiting = buffer.append_poll(self.buffer_path, poll)
            except StorageError as exc:
                # The buffer's disk may be full while the cache still has free pages.
                self._write_past_buffer(poll, exc)
                return Added(1, f"{exc}; stored in the cache directly")
            if waiting < self._flush_polls:
                return Added(0)
            try:
                return Added(self._flush().polls)
            except StorageError as exc:
                return Added(0, f"{exc}; {waiting} entries wait in {self.buffer_path}")

    def add_missed(self, missed: Missed) -> None:
        """Keep the reason why a tick has no poll: durable when this returns.

        Raises:
            LockHeldError: Another process kept the storage lock.
            StorageError: It could not be written.
        """
        with self._locked():
            buffer.append_missed(self.buffer_path, missed)

    def flush(self) -> Flushed:
        """Move everything from the buffer into the cache; repeating it changes nothing.

        Raises:
            LockHeldError: Another process kept the storage lock.
            StorageError: The cache could not be written; the buffer is as it was.
        """
        if not self.buffer_path.exists():
            return Flushed(0, 0, 0)
        with self._locked():
            return self._flush()

    def query(
        self, start: int, stop: int, *, damaged: list[int] | None = None
    ) -> Iterator[Snapshot]:
        """Yield every poll with ``start <= taken_ms < stop`` in time order, as it was sent.

        Streams: memory does not grow with the interval. Flushes first. Each poll is compared with
        its checksum.

        Args:
            start: ms since the epoch, included.
            stop: ms since the epoch, excluded.
            damaged: Takes the times of polls that are no longer what was stored; they are left
                out. Without it the first one is an error.

        Raises:
            LockHeldError, StorageError: As `flush`, or the cache cannot be read.
        """
        self.flush()
        keys = self.known_registers()
        counts = [sum(1 for key in keys if key[0] == kind) for kind in range(3)]
        first, second = counts[0], counts[0] + counts[1]
        for chunk in self.series(keys, start, stop):
            cells = [chunk.fixed.get(position) for position in range(len(keys))]
            parameters, visibilities = _block(cells[first:second]), _block(cells[second:])
            settings = ingest.settings_crc(parameters, visibilities)
            for (ts_ms, took_ms, tries, crc), values in chunk.split():
                for position, value in zip(chunk.varying, values, strict=True):
                    cells[position] = value
                calculations = _block(cells[:first])
                if ingest.poll_crc(calculations, settings) == crc:
                    yield Snapshot(ts_ms, took_ms, tries, calculations, parameters, visibilities)
                elif damaged is None:
                    raise StorageError(
                        f"{self.path}: the poll of {ts_ms} ms is damaged (checksum differs)"
                    )
                else:
                    damaged.append(ts_ms)

    def series(self, keys: Sequence[Key], start: int, stop: int) -> Iterator[Chunk]:
        """Yield the raw values of some registers for ``start <= ts_ms < stop`` in time order.

        No lock is held while the caller works: each chunk is one short read transaction, and a
        schema that grew in between is taken into account. Does not flush.

        Args:
            keys: ``(kind, index)`` of the registers wanted.
            start: ms since the epoch, included.
            stop: ms since the epoch, excluded.

        Raises:
            StorageError: The cache cannot be read.
        """
        if not self.path.exists():
            return
        with self._connected() as db:
            position = start
            oldest, newest = self._bounds(db)
            if oldest is None or newest is None:
                return
            position, stop = max(position, oldest), min(stop, newest + 1)
            while position < stop:
                window = _Window(db, keys, position, min(stop, position + _DAY_MS))
                while not window.done:
                    chunk = window.read()
                    if chunk is None:  # somebody has written: begin a new window here
                        break
                    if chunk.rows:
                        yield chunk
                position = window.position

    def known_registers(self) -> list[Key]:
        """Return ``(kind, index)`` of every register ever stored, sorted."""
        if not self.path.exists():
            return []
        with self._connected() as db:
            return sorted(db.execute("SELECT kind, idx FROM register"))

    def span(self) -> tuple[int | None, int | None]:
        """Return the times of the oldest and the newest poll in the cache, None if it is empty."""
        if not self.path.exists():
            return None, None
        with self._connected() as db:
            return self._bounds(db)

    def missed(self, start: int, stop: int) -> list[Missed]:
        """Return the ticks without a poll in ``start <= ts_ms < stop``."""
        if not self.path.exists():
            return []
        with self._connected() as db:
            rows = db.execute(
                "SELECT * FROM missed WHERE ts_ms>=? AND ts_ms<? ORDER BY ts_ms", (start, stop)
            )
            return [Missed(*row) for row in rows]

    def rollups(self, kind: str) -> list[RollupRecord]:
        """Return what is recorded about CSVs of one kind, oldest period first."""
        if not self.path.exists():
            return []
        with self._connected() as db:
            rows = db.execute("SELECT * FROM rollup WHERE kind=? ORDER BY period_stop_ms", (kind,))
            return [RollupRecord(*row) for row in rows]

    def record_rollup(self, record: RollupRecord) -> None:
        """Remember which file exists for which period; replaces an earlier record of it."""
        with self._locked(), self._transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO rollup VALUES (?,?,?,?,?,?,?,?)",
                (
                    *(record.kind, record.start_ms, record.stop_ms, record.path),
                    *(record.state, record.rows, record.written_ms, record.error),
                ),
            )

    def count_before(self, cutoff: int) -> int:
        """Return how many polls are older than `cutoff`."""
        if not self.path.exists():
            return 0
        with self._connected() as db:
            count: int = db.execute(
                "SELECT count(*) FROM poll WHERE ts_ms<?", (cutoff,)
            ).fetchone()[0]
            return count

    def remove_before(self, cutoff: int) -> int:
        """Remove polls, missed ticks and records older than `cutoff`; settings keep their value.

        One transaction per day of data, so that no poll has to wait for a long one.

        Returns:
            Bytes inside the cache file that are free for new polls because of it.
        """
        if not self.path.exists():
            return 0
        free_before = self._free_bytes()
        oldest, _ = self.span()
        while oldest is not None and oldest < cutoff:
            with self._locked(), self._transaction() as db:
                db.execute("DELETE FROM poll WHERE ts_ms<?", (min(cutoff, oldest + _DAY_MS),))
                oldest, _ = self._bounds(db)
        with self._locked(), self._transaction() as db:
            for key in list(db.execute("SELECT kind, idx FROM register")):
                db.execute(
                    "DELETE FROM setting WHERE kind=? AND idx=? AND ts_ms<"
                    " (SELECT max(ts_ms) FROM setting WHERE kind=? AND idx=? AND ts_ms<=?)",
                    (*key, *key, cutoff),
                )
            db.execute("DELETE FROM missed WHERE ts_ms<?", (cutoff,))
            db.execute("DELETE FROM rollup WHERE period_stop_ms<?", (cutoff,))
        return max(0, self._free_bytes() - free_before)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with locks.hold(self.lock_path, wait_s=self._lock_wait_s):
            yield

    def _flush(self) -> Flushed:
        content = buffer.read(self.buffer_path)
        if not content.size:
            return Flushed(0, 0, 0)
        with self._transaction() as db:
            writer = ingest.Writer(db, __version__)
            polls = sum([writer.add_poll(poll) for poll in content.polls])
            missed = sum([writer.add_missed(tick) for tick in content.missed])
            writer.finish()
        if content.rejected:
            buffer.set_aside(self.rejected_path, content.rejected)
            _LOGGER.error(
                "%s: %d damaged lines set aside in %s",
                *(self.buffer_path, len(content.rejected), self.rejected_path),
            )
        buffer.clear(self.buffer_path, content.size)
        return Flushed(polls, missed, len(content.rejected))

    def _write_past_buffer(self, poll: Snapshot, reason: StorageError) -> None:
        try:
            with self._transaction() as db:
                writer = ingest.Writer(db, __version__)
                writer.add_poll(poll)
                writer.finish()
        except StorageError as exc:
            raise StorageError(f"{reason}; nor can the cache be written: {exc}") from exc

    def _free_bytes(self) -> int:
        with self._connected() as db:
            pages: int = db.execute("PRAGMA freelist_count").fetchone()[0]
            size: int = db.execute("PRAGMA page_size").fetchone()[0]
            return pages * size

    @staticmethod
    def _bounds(db: sqlite3.Connection) -> tuple[int | None, int | None]:
        # Two subqueries: asked for both in one SELECT, SQLite scans the whole table.
        oldest, newest = db.execute(
            "SELECT (SELECT min(ts_ms) FROM poll), (SELECT max(ts_ms) FROM poll)"
        ).fetchone()
        return oldest, newest

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Write: everything in the block is stored when it ends well, otherwise nothing."""
        with self._connected(create=True) as db:
            db.execute("PRAGMA journal_mode=PERSIST")
            db.execute("PRAGMA synchronous=FULL")
            db.execute("PRAGMA journal_size_limit=1048576")
            db.execute("BEGIN IMMEDIATE")
            self._migrate(db)
            yield db
            db.execute("COMMIT")

    @contextmanager
    def _connected(self, *, create: bool = False) -> Iterator[sqlite3.Connection]:
        """Open the cache, refuse what is not ours, and turn SQLite's errors into StorageError."""
        uri = f"{self.path.absolute().as_uri()}?mode={'rwc' if create else 'rw'}"
        try:
            # isolation_level=None: no transaction begins unless one is begun here.
            connection = sqlite3.connect(uri, uri=True, timeout=_BUSY_WAIT_S, isolation_level=None)
            with closing(connection) as db:
                self._refuse_foreign(db)
                yield db
        except sqlite3.Error as exc:
            raise StorageError(f"{self.path}: {_explained(exc)}") from exc

    def _refuse_foreign(self, db: sqlite3.Connection) -> None:
        version = db.execute("PRAGMA user_version").fetchone()[0]
        known = len(schema.MIGRATIONS)
        if version > known:
            raise StorageError(
                f"{self.path}: written by a newer luxcli (schema {version}, this one knows"
                f" {known}); nothing was changed: upgrade luxcli"
            )
        if version == 0 and db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
            raise StorageError(
                f"{self.path}: a SQLite file, but not a luxcli cache; nothing was changed:"
                " correct cache_path"
            )

    @staticmethod
    def _migrate(db: sqlite3.Connection) -> None:
        version = db.execute("PRAGMA user_version").fetchone()[0]
        for statements in schema.MIGRATIONS[version:]:
            for statement in statements:
                db.execute(statement)
        if version < len(schema.MIGRATIONS):
            db.execute(f"PRAGMA application_id={schema.APPLICATION_ID}")
            db.execute(f"PRAGMA user_version={len(schema.MIGRATIONS)}")


def open_store(config: Config) -> Store:
    """Return the store of the configured cache, its directory created where that is safe."""
    store = Store(config.cache_path, flush_polls=config.flush_polls)
    store.prepare(parents=config.origins.get("cache_path") == "default")
    return store


class _Window:
    """Reads up to a day of polls, chunk by chunk; knows the settings in force at `position`."""

    def __init__(self, db: sqlite3.Connection, keys: Sequence[Key], start: int, stop: int) -> None:
        self._db, self._stop = db, stop
        self.position = start
        self._fixed: dict[int, int | None] = {}
        self._varying: list[int] = []
        db.execute("BEGIN")
        columns, constants = ingest.layout(db)
        self._version = self._data_version()
        changes: list[tuple[int, int, int | None]] = []
        for place, (kind, index) in enumerate(keys):
            if kind == 0 and index in columns:
                self._varying.append(place)
            elif kind == 0 and index in constants:
                self._fixed[place] = constants[index]
            else:
                row = db.execute(
                    f"SELECT {schema.as_of(kind, index, '?')}",
                    (start,),
                ).fetchone()
                self._fixed[place] = row[0]
                changes += [
                    (ts_ms, place, value)
                    for ts_ms, value in db.execute(
                        "SELECT ts_ms, value FROM setting"
                        " WHERE kind=? AND idx=? AND ts_ms>? AND ts_ms<?",
                        (kind, index, start, stop),
                    )
                ]
        db.execute("COMMIT")
        self._changes = sorted(changes, reverse=True)
        names = "".join(f",c{keys[place][1]}" for place in self._varying)
        self._select = (
            f"SELECT ts_ms,took_ms,tries,crc{names} FROM poll"
            f" WHERE ts_ms>=? AND ts_ms<? ORDER BY ts_ms LIMIT {_CHUNK_ROWS}"
        )

    @property
    def done(self) -> bool:
        return self.position >= self._stop

    def read(self) -> Chunk | None:
        """Return the next polls up to a change of a setting; None if the cache has changed."""
        end = self._changes[-1][0] if self._changes else self._stop
        self._db.execute("BEGIN")
        rows = self._db.execute(self._select, (self.position, end)).fetchall()
        changed = self._data_version() != self._version
        self._db.execute("COMMIT")
        if changed:
            return None
        chunk = Chunk(tuple(self._varying), dict(self._fixed), rows)
        if len(rows) == _CHUNK_ROWS:
            self.position = rows[-1][0] + 1
        else:
            self.position = end
            while self._changes and self._changes[-1][0] == end:
                _, place, value = self._changes.pop()
                self._fixed[place] = value
        return chunk

    def _data_version(self) -> int:
        version: int = self._db.execute("PRAGMA data_version").fetchone()[0]
        return version


def _block(cells: Sequence[int | None]) -> tuple[int, ...]:
    """Return the values that were sent; what follows them was not in that firmware."""
    return tuple(raw for raw in cells if raw is not None)


def _explained(exc: sqlite3.Error) -> str:
    code = getattr(exc, "sqlite_errorcode", 0) & 0xFF
    advice = {
        sqlite3.SQLITE_BUSY: "locked by another program for too long",
        sqlite3.SQLITE_FULL: "disk full",
        sqlite3.SQLITE_NOTADB: "damaged, or not a SQLite file",
        sqlite3.SQLITE_CORRUPT: "damaged",
        sqlite3.SQLITE_READONLY: "cannot be written",
        sqlite3.SQLITE_CANTOPEN: "cannot be opened",
    }
    return f"{advice.get(code, 'SQLite failed')} ({exc})"
