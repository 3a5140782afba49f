"""The lower limit of the size: the entropy of the values, and how far the files are from it."""

import lzma
import math
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

from benchmarks import year
from benchmarks.bench import Bench
from benchmarks.report import Row
from luxcli.model import Snapshot
from luxcli.store.store import Store


def floor(bench: Bench) -> Iterator[Row]:
    """Entropy of the values, and the size of database and archives beside it."""
    days = min(bench.scale.week, 4)
    store = Store(bench.history(bench.scale.week).database)
    polls = list(store.query(year.STOP_MS - days * year.DAY_MS, year.STOP_MS))
    columns = [
        column
        for block in ("calculations", "parameters")
        for column in zip(*(getattr(poll, block) for poll in polls), strict=True)
        if column.count(column[0]) < len(column)
    ]
    columns.append(_lateness(polls))
    columns.append(tuple(poll.took_ms for poll in polls))
    bits = sum(min(_entropy(column), _entropy(_changes(column))) for column in columns)
    entropy = bits / 8 / len(polls)
    yield Row(
        *("floor", "entropy of the values, order 0, column by column", entropy, "B/poll"),
        note=f"{len(columns)} columns that vary in {days} days; the smaller entropy of values"
        " and their differences",
    )
    text = "\n".join(" ".join(map(str, _changes(column))) for column in columns).encode()
    packed = lzma.compress(text, preset=9 | lzma.PRESET_EXTREME)
    yield Row(
        *("floor", "the same differences as text, xz -9e", len(packed) / len(polls), "B/poll"),
    )
    history = bench.history(bench.scale.long)
    count = history.polls
    archives = sum(path.stat().st_size for path in history.archives) / count
    yield Row("floor", "archives : entropy", archives / entropy, ours=f"{archives:.1f} B/poll")
    database_bytes = history.database.stat().st_size / count
    yield Row(
        "floor", "database : entropy", database_bytes / entropy, ours=f"{database_bytes:.0f} B/poll"
    )


def _lateness(polls: list[Snapshot]) -> tuple[int, ...]:
    return tuple(poll.taken_ms % (year.INTERVAL_S * 1000) for poll in polls)


def _changes(column: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(now - before for before, now in pairwise(column))


def _entropy(column: tuple[int, ...]) -> float:
    """Return the bits of a column in which each number has a code as short as it is frequent."""
    total = len(column)
    return sum(-n * math.log2(n / total) for n in Counter(column).values())
