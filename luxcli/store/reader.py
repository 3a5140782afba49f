"""Reads polls from the database: in time order, in bounded memory, checked against their CRC.

Each batch of rows is a short read transaction of its own. So no writer has to wait for a roll-up,
and a column that was added between two batches is noticed.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from luxcli.model import Chunk, Snapshot
from luxcli.store.rows import HEAD, HEAD_COLUMNS, HEAD_SQL, Key, Layout, Row

if TYPE_CHECKING:
    from sqlite3 import Connection

_BATCH_ROWS: Final = 500
# The settings are looked up at the beginning of each interval; their changes within it are kept.
_INTERVAL_MS: Final = 7 * 86_400_000
_NEIGHBOURS_MS: Final = 3_600_000

# By way of the register table: each register is one step in the change log's key, however long
# the log has become.
SETTINGS_AT: Final = (
    "SELECT r.kind, r.idx, (SELECT s.value FROM setting s WHERE s.kind=r.kind AND s.idx=r.idx"
    " AND s.ts_ms<=? ORDER BY s.ts_ms DESC LIMIT 1) AS value FROM register r"
)
_CHANGES: Final = (
    "SELECT s.kind, s.idx, s.ts_ms, s.value FROM register r CROSS JOIN setting s"
    " WHERE s.kind=r.kind AND s.idx=r.idx AND s.ts_ms>? AND s.ts_ms<?"
)


def chunks(
    db: "Connection", keys: Sequence[Key], start_ms: int, stop_ms: int, damaged: list[int]
) -> Iterator[Chunk]:
    """Yield the raw values of some registers for ``start_ms <= ts_ms < stop_ms``.

    Polls whose time is doubted are left out.

    Args:
        db: The database.
        keys: ``(kind, index)`` of the registers wanted.
        start_ms: UTC, included.
        stop_ms: UTC, excluded.
        damaged: Takes the times of polls that differ from their checksum; they are left out.
    """
    wanted = set(keys)

    def with_others() -> list[Key]:
        return [*keys, *(key for key in known_registers(db) if key not in wanted)]

    for interval in _intervals(db, with_others, start_ms, stop_ms, "AND NOT flags & 1"):
        varying = tuple(slot for slot in interval.varying if slot < len(keys))
        # The columns in which they stand in a row, in the same order.
        head = HEAD_COLUMNS + len(varying)
        others = sorted(set(range(len(keys))) - set(varying))
        rows: list[Row] = []
        fixed: dict[int, int | None] | None = None
        for batch, layout in _intact_batches(interval, damaged):
            differs = layout.has_changed(len(keys)) or fixed is None
            if rows and fixed is not None and (differs or len(rows) + len(batch) > _BATCH_ROWS):
                yield _chunk(varying, fixed, rows, head)
                rows = []
            if differs:
                fixed = {slot: layout.constants[slot] for slot in others}
            rows += batch
        if rows and fixed is not None:
            yield _chunk(varying, fixed, rows, head)


def _chunk(
    varying: tuple[int, ...], fixed: dict[int, int | None], rows: list[Row], head: int
) -> Chunk:
    return Chunk(varying, fixed, rows if len(rows[0]) == head else [r[:head] for r in rows])


def polls(db: "Connection", start_ms: int, stop_ms: int, damaged: list[int]) -> Iterator[Snapshot]:
    """Yield every poll of ``start_ms <= ts_ms < stop_ms`` as it was sent; else as `chunks`."""
    for interval in _intervals(db, lambda: known_registers(db), start_ms, stop_ms):
        for rows, layout in _intact_batches(interval, damaged):
            parameters, visibilities = layout.settings
            for row in rows:
                ts_ms, took_ms, tries, *schedule = row[: len(HEAD)]
                blocks = (layout.block(row), parameters, visibilities)
                # type: the checksum fits, so these are numbers.
                yield Snapshot(ts_ms, took_ms, tries, *blocks, *schedule)  # type: ignore[arg-type]


def polls_at(db: "Connection", times: Sequence[int]) -> dict[int, Snapshot]:
    """Return the polls at some sorted times, by time; without those missing or damaged."""
    found: dict[int, Snapshot] = {}
    wanted = set(times)
    first = 0
    for number, ts_ms in enumerate(times):
        is_last = number + 1 == len(times)
        # One read for neighbours; a poll dated 1970 must not make it the whole history.
        if is_last or times[number + 1] - ts_ms > _NEIGHBOURS_MS:
            for poll in polls(db, times[first], ts_ms + 1, []):
                if poll.taken_ms in wanted:
                    found[poll.taken_ms] = poll
            first = number + 1
    return found


def _intact_batches(interval: "Interval", damaged: list[int]) -> Iterator[tuple[list[Row], Layout]]:
    """Yield batches of intact rows within which no setting changes, and how to read them."""
    layout = Layout(interval.keys, interval.varying, interval.fixed)
    while (rows := interval.read()) is not None:
        first = 0
        while first < len(rows):
            last = interval.unchanged_until(rows, first)
            batch = layout.intact(rows[first:last])
            if len(batch) < last - first:
                intact = set(map(id, batch))
                damaged += [time_of(row) for row in rows[first:last] if id(row) not in intact]
            if batch:
                yield batch, layout
            first = last
            if first < len(rows):
                layout.update(interval.changes_until(time_of(rows[first])))
        layout.update(interval.changes_until(interval.next_ms))


def time_of(row: Row) -> int:
    """Return the time of a row; 0 where damage made something else of it."""
    return row[0] if isinstance(row[0], int) else 0


def _intervals(
    db: "Connection",
    all_keys: Callable[[], list[Key]],
    start_ms: int,
    stop_ms: int,
    condition: str = "",
) -> Iterator["Interval"]:
    next_ms = start_ms
    while next_ms < stop_ms:
        # Years without polls are passed over, not walked through.
        first = db.execute("SELECT min(ts_ms) FROM poll WHERE ts_ms>=?", (next_ms,)).fetchone()[0]
        if first is None or first >= stop_ms:
            return
        stop = min(stop_ms, first + _INTERVAL_MS)
        interval = Interval(db, all_keys(), first, stop, condition)
        yield interval
        next_ms = interval.next_ms


class Interval:
    """The polls of an interval, read batch by batch, and the changes of settings among them.

    Args:
        db: The database.
        keys: All registers, those wanted first.
        start_ms: UTC, included.
        stop_ms: UTC, excluded.
        condition: SQL that a row must fulfil besides.

    Attributes:
        keys: As given. A slot is a position in it.
        varying: Slots of the registers that have a column.
        fixed: Values of the others, as they are at the beginning.
        next_ms: Where the next batch begins.
    """

    def __init__(
        self,
        db: "Connection",
        keys: Sequence[Key],
        start_ms: int,
        stop_ms: int,
        condition: str = "",
    ) -> None:
        self._db, self.keys, self._stop_ms = db, keys, stop_ms
        self.next_ms = start_ms
        self.fixed: dict[int, int | None] = {}
        self.varying: list[int] = []
        # A writer reads within its own transaction.
        self._within_transaction = db.in_transaction
        self._begin_transaction()
        columns, constants = layout(db)
        with_column = set(columns)
        self._version = self._data_version()
        logged: dict[Key, list[int]] = {}
        for slot, (kind, index) in enumerate(keys):
            if kind == 0 and index in with_column:
                self.varying.append(slot)
            elif kind == 0 and index in constants:
                self.fixed[slot] = constants[index]
            else:
                logged.setdefault((kind, index), []).append(slot)
        first = settings_at(db, start_ms)
        later = setting_changes(db, start_ms, stop_ms)
        self._end_transaction()
        self.fixed |= {slot: first.get(key) for key, slots in logged.items() for slot in slots}
        changes = [
            (ts_ms, slot, value) for key, ts_ms, value in later for slot in logged.get(key, ())
        ]
        # The next one last.
        self._changes = sorted(changes, key=lambda change: change[:2], reverse=True)
        columns_read = "".join(f",c{keys[slot][1]}" for slot in self.varying)
        self._select = (
            f"SELECT {HEAD_SQL}{columns_read}"
            f" FROM poll WHERE ts_ms>=? AND ts_ms<? {condition} ORDER BY ts_ms LIMIT {_BATCH_ROWS}"
        )

    def read(self) -> list[Row] | None:
        """Return the next rows.

        None at the end. The end may come early: after another process has written, a new interval
        has to begin at `next_ms`.
        """
        if self.next_ms >= self._stop_ms:
            return None
        self._begin_transaction()
        bounds = (self.next_ms, self._stop_ms)
        rows: list[Row] = self._db.execute(self._select, bounds).fetchall()
        unchanged = self._data_version() == self._version
        self._end_transaction()
        if not unchanged:
            return None
        is_last = len(rows) < _BATCH_ROWS
        self.next_ms = self._stop_ms if is_last else time_of(rows[-1]) + 1
        return rows

    def unchanged_until(self, rows: Sequence[Row], first: int) -> int:
        """Return the number behind the last row from `first` on that has the same settings."""
        if not self._changes:
            return len(rows)
        return bisect_left(rows, self._changes[-1][0], first, key=time_of)

    def changes_until(self, ts_ms: int) -> Iterator[tuple[int, int | None]]:
        """Yield the changes up to a time, each once: slots and values."""
        while self._changes and self._changes[-1][0] <= ts_ms:
            _, slot, value = self._changes.pop()
            yield slot, value

    def _begin_transaction(self) -> None:
        if not self._within_transaction:
            self._db.execute("BEGIN")

    def _end_transaction(self) -> None:
        if not self._within_transaction:
            self._db.execute("COMMIT")

    def _data_version(self) -> int:
        version: int = self._db.execute("PRAGMA data_version").fetchone()[0]
        return version


def settings_at(db: "Connection", ts_ms: int) -> dict[Key, int | None]:
    """Return all settings at a time, as `as_of`; None for calculations with a column."""
    return {(kind, index): value for kind, index, value in db.execute(SETTINGS_AT, (ts_ms,))}


def setting_changes(
    db: "Connection", after_ms: int, before_ms: int
) -> list[tuple[Key, int, int | None]]:
    """Return the changes of settings between two times, both excluded: key, time, value.

    Raises:
        sqlite3.DatabaseError: The log is damaged.
    """
    rows = db.execute(_CHANGES, (after_ms, before_ms)).fetchall()
    pairs_of_numbers(db, ((ts_ms, value or 0) for _kind, _index, ts_ms, value in rows))
    return [((kind, index), ts_ms, value) for kind, index, ts_ms, value in rows]


def as_of(db: "Connection", key: Key, ts_ms: int) -> int | None:
    """Return the raw value that a setting had at a time, None when it was not sent then."""
    row = db.execute(
        "SELECT value FROM setting WHERE kind=? AND idx=? AND ts_ms<=? ORDER BY ts_ms DESC LIMIT 1",
        (*key, ts_ms),
    ).fetchone()
    return None if row is None else row[0]


def known_registers(db: "Connection") -> list[Key]:
    """Return ``(kind, index)`` of every register ever stored, sorted."""
    return sorted(pairs_of_numbers(db, db.execute("SELECT kind, idx FROM register")))


def pairs_of_numbers(db: "Connection", rows: Iterable[tuple[int, ...]]) -> list[tuple[int, int]]:
    """Return rows of two numbers; a damaged row may hold something else.

    Raises:
        sqlite3.DatabaseError: One of them is something else.
    """
    found = []
    for first, second in rows:
        if not isinstance(first, int) or not isinstance(second, int):
            raise db.DatabaseError("something else where a number was stored")
        found.append((first, second))
    return found


def of_types(
    db: "Connection", rows: Iterable[tuple[object, ...]], *types: type
) -> list[tuple[Any, ...]]:
    """Return rows whose values have these types, or are None.

    Raises:
        sqlite3.DatabaseError: One of them has another type, as only damage makes it.
    """
    found = []
    for row in rows:
        for value, kind in zip(row, types, strict=True):
            if not isinstance(value, kind) and value is not None:
                raise db.DatabaseError("something else where a number or text was stored")
        found.append(row)
    return found


def layout(db: "Connection") -> tuple[list[int], dict[int, int]]:
    """Return the calculations that have a column in ``poll``, and the constant ones' values."""
    names = [row[1] for row in db.execute("PRAGMA table_info(poll)")]
    columns = [int(name[1:]) for name in names if name[1:].isdigit()]
    rows = db.execute("SELECT idx, value FROM constant WHERE kind=0")
    return columns, dict(pairs_of_numbers(db, rows))
