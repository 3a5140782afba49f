"""How small the stream of values could be at all, and how far from that the files are."""

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
    """The entropy of the stream, and what cache and archives take beside it."""
    days = min(bench.scale.week, 4)
    store = Store(bench.cache(bench.scale.week).cache)
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
        *("floor", "entropy of the stream, order 0, column by column", entropy, "B/poll"),
        note=f"{len(columns)} columns that vary in {days} days, values or differences, whichever is"
        " less",
    )
    text = "\n".join(" ".join(map(str, _changes(column))) for column in columns).encode()
    packed = lzma.compress(text, preset=9 | lzma.PRESET_EXTREME)
    yield Row(
        *("floor", "the same differences as text, xz -9e", len(packed) / len(polls), "B/poll"),
    )
    cache = bench.cache(bench.scale.long)
    count = cache.polls
    archives = sum(path.stat().st_size for path in cache.archives) / count
    yield Row("floor", "archives : entropy", archives / entropy, ours=f"{archives:.1f} B/poll")
    here = cache.cache.stat().st_size / count
    yield Row("floor", "cache : entropy", here / entropy, ours=f"{here:.0f} B/poll")


def _lateness(polls: list[Snapshot]) -> tuple[int, ...]:
    return tuple(poll.taken_ms % (year.INTERVAL_S * 1000) for poll in polls)


def _changes(column: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(now - before for before, now in pairwise(column))


def _entropy(column: tuple[int, ...]) -> float:
    """Return the bits that a column takes if each number is coded by how often it occurs."""
    total = len(column)
    return sum(-n * math.log2(n / total) for n in Counter(column).values())
