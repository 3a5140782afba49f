"""Reading polls out of the cache's tables: in time order, in bounded memory, checked.

Each chunk is a short read transaction of its own, so that nobody who writes has to wait for a
report, and a schema that grew in between is noticed.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from luxcli.model import Chunk, Snapshot
from luxcli.store import tables
from luxcli.store.fetch import Fetch
from luxcli.store.rows import HEAD_COLUMNS, Layout, Row
from luxcli.store.tables import Key

if TYPE_CHECKING:
    from sqlite3 import Connection

_CHUNK_ROWS: Final = 500
# The settings of a window are looked up at its beginning and their changes kept. What is damaged
# is read in shorter ones.
_WINDOW_MS: Final = 7 * 86_400_000
_SALVAGE_WINDOW_MS: Final = 86_400_000
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
        return [*keys, *(key for key in tables.known_registers(db) if key not in wanted)]

    for window in _windows(db, with_others, start_ms, stop_ms, None):
        varying = tuple(place for place in window.varying if place < len(keys))
        # The columns in which they stand in a row, in the same order.
        head = HEAD_COLUMNS + len(varying)
        others = sorted(set(range(len(keys))) - set(varying))
        rows: list[Row] = []
        fixed: dict[int, int | None] | None = None
        for stretch, layout in _verified(window, damaged):
            differs = layout.changed(len(keys)) or fixed is None
            if rows and fixed is not None and (differs or len(rows) + len(stretch) > _CHUNK_ROWS):
                yield _chunk(varying, fixed, rows, head)
                rows = []
            if differs:
                fixed = {place: layout.values[place] for place in others}
            rows += stretch
        if rows and fixed is not None:
            yield _chunk(varying, fixed, rows, head)


def _chunk(
    varying: tuple[int, ...], fixed: dict[int, int | None], rows: list[Row], head: int
) -> Chunk:
    return Chunk(varying, fixed, rows if len(rows[0]) == head else [r[:head] for r in rows])


def polls(db: "Connection", start_ms: int, stop_ms: int, damaged: list[int]) -> Iterator[Snapshot]:
    """Yield every poll of ``start_ms <= ts_ms < stop_ms`` as it was sent; else as `chunks`."""
    for window in _windows(db, lambda: tables.known_registers(db), start_ms, stop_ms, None):
        yield from _snapshots(window, damaged)


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
    for window in _windows(db, lambda: keys, start_ms, stop_ms, unreadable):
        yield from _snapshots(window, damaged)


def _snapshots(window: "_Window", damaged: list[int]) -> Iterator[Snapshot]:
    for rows, layout in _verified(window, damaged):
        parameters, visibilities = layout.settings
        for row in rows:
            ts_ms, took_ms, tries = row[:3]
            assert ts_ms is not None
            assert took_ms is not None
            assert tries is not None
            yield Snapshot(ts_ms, took_ms, tries, layout.block(row), parameters, visibilities)


def _verified(window: "_Window", damaged: list[int]) -> Iterator[tuple[list[Row], "Layout"]]:
    """Yield stretches of polls within which no setting changes, and how to read them.

    Polls that differ from their checksum are left out and told to `damaged`.
    """
    layout = Layout(window.keys, window.varying, window.fixed)
    while (rows := window.read()) is not None:
        first = 0
        while first < len(rows):
            last = window.unchanged_until(rows, first)
            stretch = layout.sound(rows[first:last])
            if len(stretch) < last - first:
                good = set(map(id, stretch))
                damaged += [_time(row) for row in rows[first:last] if id(row) not in good]
            if stretch:
                yield stretch, layout
            first = last
            if first < len(rows):
                layout.change(window.changes_before(_time(rows[first])))
        layout.change(window.changes_before(window.position))


def _time(row: Row) -> int:
    return row[0] if isinstance(row[0], int) else 0


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
        length_ms = _WINDOW_MS if unreadable is None else _SALVAGE_WINDOW_MS
        end_ms = min(stop_ms, position + length_ms)
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
        self.fixed: dict[int, int | None] = {}
        self.varying: list[int] = []
        self._bad_since: int | None = None  # from where on nothing could be salvaged so far
        db.execute("BEGIN")
        columns, constants = tables.layout(db)
        with_column = set(columns)
        self._version = self._data_version()
        logged: dict[Key, list[int]] = {}
        for place, (kind, index) in enumerate(keys):
            if kind == 0 and index in with_column:
                self.varying.append(place)
            elif kind == 0 and index in constants:
                self.fixed[place] = constants[index]
            else:
                logged.setdefault((kind, index), []).append(place)
        first, later = self._history(logged)
        self._finish()
        self.fixed |= {place: first.get(key) for key, places in logged.items() for place in places}
        changes = [
            (ts_ms, place, value) for key, ts_ms, value in later for place in logged.get(key, ())
        ]
        # The next one last.
        self._changes = sorted(changes, key=lambda change: change[:2], reverse=True)
        names = [f"c{keys[place][1]}" for place in self.varying]
        self._fetch = Fetch(db, ["ts_ms", "took_ms", "tries", "crc", *names])

    def read(self) -> list[Row] | None:
        """Return the next polls.

        None at the end, which may come early: if somebody has written, a new window has to begin
        at `position`.
        """
        if self.position >= self._stop_ms:
            return None
        self._db.execute("BEGIN")
        if self._unreadable is None:
            bounds = (self.position, self._stop_ms)
            rows = self._fetch.some(bounds, _CHUNK_ROWS)
            complete = len(rows) < _CHUNK_ROWS
        else:
            rows, complete = self._salvaged(self.position, self._stop_ms), True
        unchanged = self._data_version() == self._version
        self._finish()
        if not unchanged:
            return None
        self.position = self._stop_ms if complete else _time(rows[-1]) + 1
        return rows

    def unchanged_until(self, rows: Sequence[Row], first: int) -> int:
        """Return the place behind the last of the rows from `first` on that read as that one."""
        if not self._changes:
            return len(rows)
        return bisect_left(rows, self._changes[-1][0], first, key=_time)

    def changes_before(self, ts_ms: int) -> Iterator[tuple[int, int | None]]:
        """Yield the changes, each once, that hold from a time on: places and values."""
        while self._changes and self._changes[-1][0] <= ts_ms:
            _, place, value = self._changes.pop()
            yield place, value

    def _history(
        self, keys: Iterable[Key]
    ) -> tuple[dict[Key, int | None], list[tuple[Key, int, int | None]]]:
        """Return the settings at the start of the window, and their changes within."""
        span = (self.position, self._stop_ms)
        if self._unreadable is None:
            at_start = tables.settings_at(self._db, self.position)
            return at_start, tables.setting_changes(self._db, *span)
        first: dict[Key, int | None] = {}
        later: list[tuple[Key, int, int | None]] = []
        for key in keys:
            # The checksum tells which polls would have needed what cannot be read.
            with suppress(self._db.DatabaseError):
                value = tables.as_of(self._db, key, self.position)
                later += tables.changes_of(self._db, key, *span)
                first[key] = value
        return first, later

    def _salvaged(self, start_ms: int, stop_ms: int) -> list[Row]:
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

    def _stretch(self, start_ms: int, stop_ms: int) -> list[Row] | None:
        """Return the rows of a stretch, None if SQLite cannot read them all."""
        try:
            return self._fetch.all((start_ms, stop_ms))
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
