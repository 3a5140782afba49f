"""When polls and missed polls were made, and for which scheduled times: queries for coverage."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from luxcli.model import CLOCK_DOUBTED, EXTRA, SUSPICIOUS

if TYPE_CHECKING:
    from sqlite3 import Connection

# ``(ts_ms, late_ms, interval_s, flags, reason, count)`` of a poll, which has no reason, or of a
# missed poll. A count above 1 stands for so many polls, for consecutive scheduled times of which
# ``ts_ms - late_ms`` is the last.
Row = tuple[int, int, int, int, str, int]
_UNSCHEDULED: Final = EXTRA | CLOCK_DOUBTED
_COUNTED: Final = _UNSCHEDULED | SUSPICIOUS
# A run holds only polls that are less late.
_LATE_MS: Final = 3_600_000
_BETWEEN: Final = "WHERE ts_ms>=? AND ts_ms<?"
_TIMINGS: Final = f"SELECT ts_ms, late_ms, interval_s, flags, '', 1 FROM poll {_BETWEEN}"
_MISSED_TIMINGS: Final = (
    f"SELECT ts_ms, late_ms, interval_s, flags, reason, 1 FROM missed {_BETWEEN}"
)
_HOURS: Final = (
    "SELECT min(ts_ms), max(ts_ms), count(*), count(DISTINCT ts_ms-late_ms), min(ts_ms-late_ms),"
    " max(ts_ms-late_ms), max((ts_ms-late_ms)%(interval_s*1000)), min(interval_s), max(interval_s),"
    f" min(late_ms), max(late_ms), max(flags&{_COUNTED})"
    f" FROM poll {_BETWEEN} GROUP BY ts_ms/3600000"
)


def between(db: "Connection", start: int, stop: int, runs: tuple[int, int]) -> list[Row]:
    """Return the polls and missed polls of ``start <= ts_ms < stop``, in order of their times.

    Between the two times of `runs`, an hour is one row if all its polls are scheduled ones, for
    consecutive scheduled times, which takes a third of the time.
    """
    low, high = (min(max(start, ms), stop) for ms in runs)
    found: list[Row] = []
    single = [(start, low)] if low < high else [(start, stop)]
    if low < high:
        for ts_ms, until_ms, *hour in db.execute(_HOURS, (low, high)).fetchall():
            if run := _run(until_ms, *hour):
                found.append(run)
            else:
                single.append((ts_ms, until_ms + 1))
        single.append((high, stop))
    for first, last in single:
        if first < last:
            found += db.execute(_TIMINGS, (first, last)).fetchall()
    found += db.execute(_MISSED_TIMINGS, (start, stop)).fetchall()
    return sorted(found) if are_intact(found) else found


def are_intact(rows: Sequence[Row]) -> bool:
    """Whether rows hold numbers and texts where they should, as they do without damage."""
    try:
        *numbers, reasons, _counts = zip(*rows, strict=True) if rows else ((), ())
        "".join(reasons)
        return all(type(sum(column)) is int for column in numbers)
    except TypeError:
        return False


def _run(until_ms: int, *hour: int) -> Row | None:
    """Return the row of an hour's polls, None if they are no run. Values as of `_HOURS`."""
    if not all(type(number) is int for number in hour):
        return None  # an interval of 0, or damage
    count, distinct, first_ms, last_ms, off_grid, interval_s, longest_s, *others = hour
    earliest, latest, flags = others
    # So many different multiples of the interval, from the first to the last: each of them once.
    if (
        not (off_grid or flags)
        and interval_s == longest_s > 0
        and count == distinct == (last_ms - first_ms) // (interval_s * 1000) + 1
        and -interval_s * 1000 < earliest <= latest < _LATE_MS
    ):
        return (until_ms, until_ms - last_ms, interval_s, 0, "", count)
    return None


def span(db: "Connection") -> tuple[int | None, int | None]:
    """Return the times of the oldest and the newest poll whose time is not doubted."""
    # Two subqueries: asked for both in one SELECT, SQLite scans the whole table.
    undoubted = f"SELECT ts_ms FROM poll WHERE flags&{CLOCK_DOUBTED}=0 ORDER BY ts_ms"
    oldest, newest = db.execute(
        f"SELECT ({undoubted} LIMIT 1), ({undoubted} DESC LIMIT 1)"
    ).fetchone()
    return oldest, newest


def scheduled_before(db: "Connection", ts_ms: int) -> tuple[int, int] | None:
    """Return scheduled time and interval (s) of the last scheduled entry before a time."""
    return max(_scheduled(db, "ts_ms<? ORDER BY ts_ms DESC", ts_ms), default=None)


def scheduled_from(db: "Connection", ts_ms: int) -> tuple[int, int] | None:
    """Return scheduled time and interval (s) of the first scheduled entry from a time on."""
    return min(_scheduled(db, "ts_ms>=? ORDER BY ts_ms", ts_ms), default=None)


def _scheduled(db: "Connection", where: str, ts_ms: int) -> list[tuple[int, int]]:
    found = [
        db.execute(
            f"SELECT ts_ms-late_ms, interval_s FROM {table}"
            f" WHERE NOT flags&{_UNSCHEDULED} AND interval_s>0 AND {where} LIMIT 1",
            (ts_ms,),
        ).fetchone()
        for table in ("poll", "missed")
    ]
    return [row for row in found if row and all(type(number) is int for number in row)]
