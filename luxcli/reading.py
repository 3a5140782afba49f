"""Reading polls out of the cache's tables: in time order, in bounded memory, checked.

Each chunk is a short read transaction of its own, so that nobody who writes has to wait for a
report, and a schema that grew in between is noticed.
"""

import struct
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from luxcli import ingest
from luxcli.ingest import Key
from luxcli.model import Chunk, Snapshot

if TYPE_CHECKING:
    from sqlite3 import Connection

_CHUNK_ROWS: Final = 500
# The settings of a window are looked up one by one at its beginning and their changes kept.
_WINDOW_MS: Final = 86_400_000
# A stretch this short that cannot be read holds one poll at most.
_SMALLEST_MS: Final = 1000
# What a damaged register table may have known; SQLite answers for the rest.
_CANDIDATES: Final = (600, 2000, 1000)


def chunks(
    db: "Connection", keys: Sequence[Key], start_ms: int, stop_ms: int, damaged: list[int]
) -> Iterator[Chunk]:
    """Yield the raw values of some registers for ``start_ms <= ts_ms < stop_ms``.

    Args:
        db: The cache.
        keys: ``(kind, index)`` of the registers wanted.
        start_ms: UTC, included.
        stop_ms: UTC, excluded.
        damaged: Takes the times of polls that differ from their checksum; they are left out.
    """
    wanted = set(keys)
    others = [key for key in known_registers(db) if key not in wanted]
    for chunk, _blocks in _verified(db, [*keys, *others], start_ms, stop_ms, damaged):
        varying = tuple(place for place in chunk.varying if place < len(keys))
        yield Chunk(varying, chunk.fixed, chunk.rows)


def polls(db: "Connection", start_ms: int, stop_ms: int, damaged: list[int]) -> Iterator[Snapshot]:
    """Yield every poll of ``start_ms <= ts_ms < stop_ms`` as it was sent; else as `chunks`."""
    yield from _snapshots(_verified(db, known_registers(db), start_ms, stop_ms, damaged))


def salvage(
    db: "Connection", start_ms: int, stop_ms: int, damaged: list[int], unreadable: list[int]
) -> Iterator[Snapshot]:
    """Yield the polls that a damaged cache still gives and whose checksum fits.

    Args:
        db: The cache.
        start_ms: UTC, included.
        stop_ms: UTC, excluded.
        damaged: Takes the times of polls that differ from their checksum.
        unreadable: Takes the beginnings of stretches that SQLite cannot read.
    """
    keys = [(kind, index) for kind, count in enumerate(_CANDIDATES) for index in range(count)]
    found = _verified(db, keys, start_ms, stop_ms, damaged, unreadable)
    yield from _snapshots(found)


def known_registers(db: "Connection") -> list[Key]:
    """Return ``(kind, index)`` of every register ever stored, sorted."""
    return sorted(db.execute("SELECT kind, idx FROM register"))


_Blocks = tuple[list[tuple[int, ...]], tuple[int, ...], tuple[int, ...]]


def _snapshots(found: Iterator[tuple[Chunk, _Blocks]]) -> Iterator[Snapshot]:
    for chunk, (calculations, parameters, visibilities) in found:
        for ((ts_ms, took_ms, tries, _crc), _), block in zip(
            chunk.split(), calculations, strict=True
        ):
            yield Snapshot(ts_ms, took_ms, tries, block, parameters, visibilities)


def _verified(
    db: "Connection",
    keys: Sequence[Key],
    start_ms: int,
    stop_ms: int,
    damaged: list[int],
    unreadable: list[int] | None = None,
) -> Iterator[tuple[Chunk, _Blocks]]:
    """Yield chunks with the blocks they spell; `keys` must hold every register of the polls."""
    places = [
        sorted((index, place) for place, (kind, index) in enumerate(keys) if kind == wanted)
        for wanted in range(3)
    ]
    for chunk in _raw_chunks(db, keys, start_ms, stop_ms, unreadable):
        cells: list[int | None] = [chunk.fixed.get(place) for place in range(len(keys))]
        parameters, visibilities = _block(cells, places[1]), _block(cells, places[2])
        settings = ingest.settings_crc(parameters, visibilities)
        order = [place for _index, place in places[0]]
        rows: list[tuple[int | None, ...]] = []
        blocks: list[tuple[int, ...]] = []
        for row in chunk.rows:
            for place, value in zip(chunk.varying, row[4:], strict=True):
                cells[place] = value
            block = tuple([cells[place] for place in order if cells[place] is not None])
            try:
                intact = ingest.poll_crc(block, settings) == row[3]  # type: ignore[arg-type]
            except struct.error:  # damage can also turn a number into something else
                intact = False
            if intact:
                rows.append(row)
                blocks.append(block)  # type: ignore[arg-type]
            else:
                damaged.append(row[0] or 0)
        if rows:
            yield Chunk(chunk.varying, chunk.fixed, rows), (blocks, parameters, visibilities)


def _block(cells: Sequence[int | None], places: Sequence[tuple[int, int]]) -> tuple[int, ...]:
    """Return the values that were sent; what follows them was not in that firmware."""
    values = [cells[place] for _index, place in places]
    return tuple(value for value in values if isinstance(value, int))


def _raw_chunks(
    db: "Connection",
    keys: Sequence[Key],
    start_ms: int,
    stop_ms: int,
    unreadable: list[int] | None,
) -> Iterator[Chunk]:
    position = start_ms
    while position < stop_ms:
        end_ms = min(stop_ms, position + _WINDOW_MS)
        window = _Window(db, keys, position, end_ms, unreadable)
        while not window.done:
            chunk = window.read()
            if chunk is None:  # somebody has written: begin a new window here
                break
            if chunk.rows:
                yield chunk
        position = window.position


class _Window:
    """A stretch of polls, read chunk by chunk; knows the settings in force at `position`."""

    def __init__(
        self,
        db: "Connection",
        keys: Sequence[Key],
        start_ms: int,
        stop_ms: int,
        unreadable: list[int] | None,
    ) -> None:
        self._db, self._stop_ms, self._unreadable = db, stop_ms, unreadable
        self.position = start_ms
        self._fixed: dict[int, int | None] = {}
        self._varying: list[int] = []
        changes: list[tuple[int, int, int | None]] = []
        db.execute("BEGIN")
        columns, constants = ingest.layout(db)
        with_column = set(columns)
        self._version = self._data_version()
        for place, (kind, index) in enumerate(keys):
            if kind == 0 and index in with_column:
                self._varying.append(place)
            elif kind == 0 and index in constants:
                self._fixed[place] = constants[index]
            else:
                first, later = self._history((kind, index))
                self._fixed[place] = first
                changes += [(ts_ms, place, value) for ts_ms, value in later]
        db.execute("COMMIT")
        self._changes = sorted(changes, key=lambda change: change[:2], reverse=True)
        names = "".join(f",c{keys[place][1]}" for place in self._varying)
        self._select = (
            f"SELECT ts_ms,took_ms,tries,crc{names} FROM poll"
            " WHERE ts_ms>=? AND ts_ms<? ORDER BY ts_ms"
        )

    @property
    def done(self) -> bool:
        return self.position >= self._stop_ms

    def read(self) -> Chunk | None:
        """Return the next polls up to a change of a setting; None if somebody has written."""
        end_ms = self._changes[-1][0] if self._changes else self._stop_ms
        self._db.execute("BEGIN")
        if self._unreadable is None:
            bounds = (self.position, end_ms)
            select = f"{self._select} LIMIT {_CHUNK_ROWS}"
            rows = self._db.execute(select, bounds).fetchall()
            complete = len(rows) < _CHUNK_ROWS
        else:
            rows, complete = self._salvaged(self.position, end_ms), True
        unchanged = self._data_version() == self._version
        self._db.execute("COMMIT")
        if not unchanged:
            return None
        chunk = Chunk(tuple(self._varying), dict(self._fixed), rows)
        if not complete:
            self.position = rows[-1][0] + 1
            return chunk
        self.position = end_ms
        while self._changes and self._changes[-1][0] == end_ms:
            _, place, value = self._changes.pop()
            self._fixed[place] = value
        return chunk

    def _history(self, key: Key) -> tuple[int | None, list[tuple[int, int | None]]]:
        """Return a setting at the start of the window, and its changes within."""
        try:
            first = ingest.as_of(self._db, key, self.position)
            later = self._db.execute(
                "SELECT ts_ms, value FROM setting WHERE kind=? AND idx=? AND ts_ms>? AND ts_ms<?",
                (*key, self.position, self._stop_ms),
            ).fetchall()
        except self._db.DatabaseError:
            if self._unreadable is None:
                raise
            return None, []  # the checksum tells which polls would have needed it
        return first, later

    def _salvaged(self, start_ms: int, stop_ms: int) -> list[tuple[int, ...]]:
        """Read what can be read, by halves where something cannot."""
        try:
            return self._db.execute(self._select, (start_ms, stop_ms)).fetchall()
        except self._db.DatabaseError:
            if stop_ms - start_ms <= _SMALLEST_MS:
                assert self._unreadable is not None
                self._unreadable.append(start_ms)
                return []
        middle = (start_ms + stop_ms) // 2
        return self._salvaged(start_ms, middle) + self._salvaged(middle, stop_ms)

    def _data_version(self) -> int:
        version: int = self._db.execute("PRAGMA data_version").fetchone()[0]
        return version
