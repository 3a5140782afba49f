"""Reading polls out of the cache's tables: in time order, in bounded memory, checked.

Each chunk is a short read transaction of its own, so that nobody who writes has to wait for a
report, and a schema that grew in between is noticed.
"""

import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
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
# If both ends of such a stretch cannot be read, nothing between them can: a page of the file holds
# the polls of several minutes. Where nothing could be read for long, a stretch may be as long as
# this part of that time: with the root of the table a whole day is gone, and nothing to look for.
_WITHIN_PAGE_MS: Final = 60_000
_WITHIN_DAMAGE: Final = 8
_NEIGHBOURS_MS: Final = 3_600_000
# A day is looked for in so many places; in fewer after so many days of which nothing is left: when
# the root of the table is damaged, even the times of the first and the last poll are unknown.
_PROBES: Final = 96
_FEW_PROBES: Final = 8
_LOST_DAYS: Final = 8
# So many stretches take a minute; from then on a day with damage is not looked at any closer.
_UNREADABLE: Final = 100_000
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

    def with_others() -> list[Key]:
        return [*keys, *(key for key in ingest.known_registers(db) if key not in wanted)]

    for chunk, _blocks in _verified(db, with_others, start_ms, stop_ms, damaged):
        varying = tuple(place for place in chunk.varying if place < len(keys))
        yield Chunk(varying, chunk.fixed, chunk.rows)


def polls(db: "Connection", start_ms: int, stop_ms: int, damaged: list[int]) -> Iterator[Snapshot]:
    """Yield every poll of ``start_ms <= ts_ms < stop_ms`` as it was sent; else as `chunks`."""
    found = _verified(db, lambda: ingest.known_registers(db), start_ms, stop_ms, damaged)
    yield from _snapshots(found)


def among(db: "Connection", times: Sequence[int]) -> dict[int, Snapshot]:
    """Return those polls of some sorted times that are there and intact."""
    found: dict[int, Snapshot] = {}
    wanted = set(times)
    first = 0
    for place, ts_ms in enumerate(times):
        last = place + 1 == len(times)
        # One read for neighbours; a poll dated 1970 must not make it the whole history.
        if last or times[place + 1] - ts_ms > _NEIGHBOURS_MS:
            for poll in polls(db, times[first], ts_ms + 1, []):
                if poll.taken_ms in wanted:
                    found[poll.taken_ms] = poll
            first = place + 1
    return found


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
    found = _verified(db, lambda: keys, start_ms, stop_ms, damaged, unreadable)
    yield from _snapshots(found)


_Blocks = tuple[list[tuple[int, ...]], tuple[int, ...], tuple[int, ...]]


def _snapshots(found: Iterator[tuple[Chunk, _Blocks]]) -> Iterator[Snapshot]:
    for chunk, (calculations, parameters, visibilities) in found:
        for ((ts_ms, took_ms, tries, _crc), _), block in zip(
            chunk.split(), calculations, strict=True
        ):
            yield Snapshot(ts_ms, took_ms, tries, block, parameters, visibilities)


def _verified(
    db: "Connection",
    all_keys: Callable[[], list[Key]],
    start_ms: int,
    stop_ms: int,
    damaged: list[int],
    unreadable: list[int] | None = None,
) -> Iterator[tuple[Chunk, _Blocks]]:
    """Yield chunks with the blocks they spell.

    `all_keys` gives every register of the polls; it is asked for each window, since a new
    firmware may bring registers while a long report is read.
    """
    for window in _windows(db, all_keys, start_ms, stop_ms, unreadable):
        # A register may be asked for twice; it is part of its block only once.
        place_of = {key: place for place, key in reversed(list(enumerate(window.keys)))}
        places = [
            [place_of[key] for key in sorted(place_of) if key[0] == kind] for kind in range(3)
        ]
        while chunk := window.read():
            cells: list[int | None] = [chunk.fixed.get(n) for n in range(len(window.keys))]
            parameters, visibilities = _block(cells, places[1]), _block(cells, places[2])
            settings = ingest.settings_crc(parameters, visibilities)
            rows: list[tuple[int | None, ...]] = []
            blocks: list[tuple[int, ...]] = []
            for row in chunk.rows:
                for place, value in zip(chunk.varying, row[4:], strict=True):
                    cells[place] = value
                block = _block(cells, places[0])
                if _fits(row, block, settings):
                    rows.append(row)
                    blocks.append(block)
                else:
                    damaged.append(row[0] if isinstance(row[0], int) else 0)
            if rows:
                yield Chunk(chunk.varying, chunk.fixed, rows), (blocks, parameters, visibilities)


def _block(cells: Sequence[int | None], places: Sequence[int]) -> tuple[int, ...]:
    """Return the values that were sent; what follows them was not in that firmware."""
    return tuple([value for place in places if (value := cells[place]) is not None])


def _fits(row: Sequence[int | None], block: Sequence[int], settings: int) -> bool:
    try:
        return ingest.poll_crc(row[:3], block, settings) == row[3]
    except struct.error:  # damage can also turn a number into something else
        return False


def _windows(
    db: "Connection",
    all_keys: Callable[[], list[Key]],
    start_ms: int,
    stop_ms: int,
    unreadable: list[int] | None,
) -> Iterator["_Window"]:
    position = start_ms
    lost_days = 0
    while position < stop_ms:
        if unreadable is None:
            # Years without polls are passed over, not walked through.
            found = db.execute("SELECT min(ts_ms) FROM poll WHERE ts_ms>=?", (position,))
            following = found.fetchone()[0]
            if following is None or following >= stop_ms:
                return
            position = following
        end_ms = min(stop_ms, position + _WINDOW_MS)
        if unreadable is not None:
            if _is_empty(db, position, end_ms):
                position = end_ms
                continue
            if _is_lost(db, position, end_ms, _PROBES if lost_days < _LOST_DAYS else _FEW_PROBES):
                unreadable.append(position)
                position, lost_days = end_ms, lost_days + 1
                continue
            lost_days = 0
        window = _Window(db, all_keys(), position, end_ms, unreadable)
        yield window
        position = window.position


def _is_empty(db: "Connection", start_ms: int, stop_ms: int) -> bool:
    """Whether a stretch certainly holds no poll."""
    bounds = (start_ms, stop_ms)
    select = "SELECT 1 FROM poll WHERE ts_ms>=? AND ts_ms<? LIMIT 1"
    try:
        return db.execute(select, bounds).fetchone() is None
    except db.DatabaseError:
        return False


def _is_lost(db: "Connection", start_ms: int, stop_ms: int, probes: int) -> bool:
    """Whether nothing of a stretch can be read, wherever it is tried."""
    for probe in range(probes):
        ts_ms = start_ms + (stop_ms - start_ms) * probe // probes
        with suppress(db.DatabaseError):
            db.execute("SELECT 1 FROM poll WHERE ts_ms>=? LIMIT 1", (ts_ms,)).fetchone()
            return False
    return True


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
        self._db, self.keys, self._stop_ms, self._unreadable = db, keys, stop_ms, unreadable
        self.position = start_ms
        self._fixed: dict[int, int | None] = {}
        self._varying: list[int] = []
        self._bad_since: int | None = None  # from where on nothing could be salvaged so far
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
        self._finish()
        self._changes = sorted(changes, key=lambda change: change[:2], reverse=True)
        names = "".join(f",c{keys[place][1]}" for place in self._varying)
        self._select = (
            f"SELECT ts_ms,took_ms,tries,crc{names} FROM poll"
            " WHERE ts_ms>=? AND ts_ms<? ORDER BY ts_ms"
        )

    def read(self) -> Chunk | None:
        """Return the next polls up to a change of a setting.

        None at the end, which may come early: if somebody has written, a new window has to begin
        at `position`.
        """
        if self.position >= self._stop_ms:
            return None
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
        self._finish()
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
            ingest.pairs_of_numbers(self._db, ((ts_ms, value or 0) for ts_ms, value in later))
        except self._db.DatabaseError:
            if self._unreadable is None:
                raise
            return None, []  # the checksum tells which polls would have needed it
        return first, later

    def _salvaged(self, start_ms: int, stop_ms: int) -> list[tuple[int, ...]]:
        """Read what can be read, by halves where something cannot."""
        assert self._unreadable is not None
        rows = self._stretch(start_ms, stop_ms)
        if rows is not None:
            self._bad_since = None
            return rows
        if self._bad_since is None:
            self._bad_since = start_ms
        length_ms = stop_ms - start_ms
        within_ms = max(_WITHIN_PAGE_MS, (start_ms - self._bad_since) // _WITHIN_DAMAGE)
        if (
            length_ms <= _SMALLEST_MS
            or len(self._unreadable) >= _UNREADABLE
            or (
                length_ms <= within_ms
                and self._stretch(start_ms, start_ms + _SMALLEST_MS) is None
                and self._stretch(stop_ms - _SMALLEST_MS, stop_ms) is None
            )
        ):
            self._unreadable.append(start_ms)
            return []
        middle = (start_ms + stop_ms) // 2
        return self._salvaged(start_ms, middle) + self._salvaged(middle, stop_ms)

    def _stretch(self, start_ms: int, stop_ms: int) -> list[tuple[int, ...]] | None:
        """Return the rows of a stretch, None if SQLite cannot read them all."""
        try:
            return self._db.execute(self._select, (start_ms, stop_ms)).fetchall()
        except self._db.DatabaseError:
            return None

    def _finish(self) -> None:
        """End the read transaction; damage that SQLite met in it makes that fail as well."""
        try:
            self._db.execute("COMMIT")
        except self._db.DatabaseError:
            if self._unreadable is None:
                raise
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")

    def _data_version(self) -> int:
        version: int = self._db.execute("PRAGMA data_version").fetchone()[0]
        return version
