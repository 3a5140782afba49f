"""Queries on the tables that reader, writer and views share."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from sqlite3 import Connection

Key = tuple[int, int]  # kind (index into GROUPS), register index
# By way of the register table: each register is one step in the change log's key, however long
# the log has become.
_SETTINGS_AT: Final = (
    "SELECT r.kind, r.idx, (SELECT s.value FROM setting s WHERE s.kind=r.kind AND s.idx=r.idx"
    " AND s.ts_ms<=? ORDER BY s.ts_ms DESC LIMIT 1) AS value FROM register r"
)
_CHANGES: Final = (
    "SELECT s.kind, s.idx, s.ts_ms, s.value FROM register r CROSS JOIN setting s"
    " WHERE s.kind=r.kind AND s.idx=r.idx AND s.ts_ms>? AND s.ts_ms<?"
)


def settings_at(db: "Connection", ts_ms: int) -> dict[Key, int | None]:
    """Return all settings at a time, as `as_of`; None for calculations with a column."""
    return {(kind, index): value for kind, index, value in db.execute(_SETTINGS_AT, (ts_ms,))}


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


def changes_of(
    db: "Connection", key: Key, after_ms: int, before_ms: int
) -> list[tuple[Key, int, int | None]]:
    """Return the changes of one register, without the help of the register table."""
    rows = db.execute(
        "SELECT ts_ms, value FROM setting WHERE kind=? AND idx=? AND ts_ms>? AND ts_ms<?",
        (*key, after_ms, before_ms),
    ).fetchall()
    pairs_of_numbers(db, ((ts_ms, value or 0) for ts_ms, value in rows))
    return [(key, ts_ms, value) for ts_ms, value in rows]


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
