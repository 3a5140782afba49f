"""Takes the rows of polls out of SQLite, as quickly as Python's module for it lets them through."""

from collections.abc import Callable, Sequence
from itertools import chain, count
from sqlite3 import SQLITE_ERROR, enable_callback_tracebacks
from typing import TYPE_CHECKING, Final

from luxcli.store.rows import Row
from luxcli.system import threads

if TYPE_CHECKING:
    from sqlite3 import Connection

# What SQLite lets a function have, unless it was built otherwise.
_MOST_ARGUMENTS: Final = 127


class Fetch:
    """Takes rows of polls from SQLite.

    Fetched as results, each number costs the lock of the connection twice and the interpreter's
    twice, which together takes longer than all else that is done with a number in a CSV. A function
    that is called with the numbers gets a row for once both.
    """

    _numbers = count()

    def __init__(self, db: "Connection", columns: Sequence[str]) -> None:
        enable_callback_tracebacks(True)
        self._db = db
        self._select = "SELECT {} FROM poll WHERE ts_ms>=? AND ts_ms<? ORDER BY ts_ms"
        self._taken: list[list[Row]] = []
        self._takers: list[Callable[..., None]] = []
        calls = []
        for first in range(0, len(columns), _MOST_ARGUMENTS):
            # Each its own: another window may be read by the same connection.
            name = f"take{next(self._numbers)}"
            rows: list[Row] = []
            self._taken.append(rows)
            self._takers.append(_taker(rows))
            db.create_function(name, -1, self._takers[-1])
            calls.append(f"{name}({','.join(columns[first : first + _MOST_ARGUMENTS])})")
        self._columns, self._calls = ",".join(columns), ",".join(calls)

    def some(self, bounds: tuple[int, int], most: int) -> list[Row]:
        """Return the first rows of an interval; raises what SQLite raises."""
        limit = f" LIMIT {most}"
        lost: list[BaseException] = []
        try:
            with threads.thrown_away(self._takers) as lost:
                self._db.execute(self._select.format(self._calls) + limit, bounds).fetchall()
            first, *others = self._taken
            if not others:
                return first[:]
            return [tuple(chain(*parts)) for parts in zip(first, *others, strict=True)]
        except self._db.OperationalError as exc:
            for reason in lost:  # the handler of a signal, which may run anywhere
                if not isinstance(reason, Exception):
                    raise reason from None
            code = getattr(exc, "sqlite_errorcode", SQLITE_ERROR)
            if code != SQLITE_ERROR:  # such as a lock, for which it has waited
                raise
            # Such as for a text that is none, where damage made one of a number.
            return self._db.execute(self._select.format(self._columns) + limit, bounds).fetchall()
        finally:
            for rows in self._taken:
                rows.clear()

    def all(self, bounds: tuple[int, int]) -> list[Row]:
        """Return all rows of an interval as results, which says best what cannot be read."""
        return self._db.execute(self._select.format(self._columns), bounds).fetchall()


def _taker(rows: list[Row]) -> Callable[..., None]:
    append = rows.append
    return lambda *row: append(row)
