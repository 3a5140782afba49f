"""Polls of a day as columns of numbers, and back: the content of an archive.

A column is a list of integers, or a single one where all polls have the same. ``due_ms`` is the
scheduled time of each poll (that of an extra poll is its own) and ``late_ms`` how long after it the
poll was taken; ``took_ms``, ``tries``, ``interval_s`` and ``flags`` are those of `Snapshot`.
``calculations``, ``parameters`` and ``visibilities`` are how many registers were sent; ``c0``,
``p0``, ``s0`` and so on are their values. Where a register was not sent, its column repeats the
last value, and 0 before the first one.
"""

from array import array
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import repeat, zip_longest
from operator import eq, lt, sub
from typing import Final, TypeAlias

from luxcli.model import GROUPS, Group, Snapshot

LETTERS: Final[dict[str, Group]] = dict(zip("cps", GROUPS, strict=True))
# Registers of the three blocks, 10,000 each, and what stands before them.
MOST_COLUMNS: Final = 30_100
_HEADS: Final = ("due_ms", "late_ms", "took_ms", "tries", "interval_s", "flags")
# A day at the shortest interval, 10 s, with settings that change at each poll has 13 million.
_MOST_VALUES: Final = 20_000_000
_END_MS: Final = 253_402_300_800_000  # no calendar goes on after the year 9999

Column: TypeAlias = "int | array[int]"


def differences(polls: Collection[Snapshot]) -> Iterator[tuple[str, int | list[int]]]:
    """Yield names and columns; a list holds the first value and then the differences."""
    if not polls:
        return
    heads = [
        (
            *(poll.taken_ms - poll.late_ms, poll.late_ms, poll.took_ms, poll.tries),
            *(poll.interval_s, poll.flags),
        )
        for poll in polls
    ]
    for name, values in zip(_HEADS, zip(*heads, strict=True), strict=True):
        yield name, _differences(values)
    for letter, group in LETTERS.items():
        # Polls whose settings did not change share one block: comparing those few is enough.
        runs: list[tuple[tuple[int, ...], int]] = []
        for poll in polls:
            block = poll.block(group)
            if runs and runs[-1][0] is block:
                runs[-1] = (block, runs[-1][1] + 1)
            else:
                runs.append((block, 1))
        counts = [count for _, count in runs]
        lengths = [len(block) for block, _ in runs]
        yield group, _differences(_expanded(lengths, counts))
        for index, column in enumerate(zip_longest(*(block for block, _ in runs))):
            sent = column if min(lengths) > index else tuple(_carried(column))
            same = sent.count(sent[0]) == len(sent)
            yield f"{letter}{index}", sent[0] if same else _differences(_expanded(sent, counts))


def _carried(column: Sequence[int | None]) -> Iterator[int]:
    """Yield the last value where a register was not sent, so that the differences are 0."""
    last = 0
    for value in column:
        last = last if value is None else value
        yield last


def _expanded(values: Sequence[int], counts: Sequence[int]) -> Sequence[int]:
    if len(counts) == sum(counts):
        return values
    return [value for value, count in zip(values, counts, strict=True) for _ in range(count)]


def _differences(values: Sequence[int]) -> int | list[int]:
    first = values[0]
    if values.count(first) == len(values):
        return first
    return [first, *map(sub, values[1:], values)]


class Polls(Collection[Snapshot]):
    """Polls that are made of columns each time that they are gone through: a day takes much room.

    Args:
        columns: By their names; the values themselves.
        count: Number of polls.

    Raises:
        ValueError, LookupError: The columns do not fit together, or would take too long to read.
    """

    def __init__(self, columns: Mapping[str, Column], count: int) -> None:
        self._columns, self._count = columns, count
        if not count:
            if columns:
                raise ValueError("columns of no polls")
            return
        names = [*_HEADS, *GROUPS]
        self._lengths: dict[str, int] = {}
        values = 0
        for letter, group in LETTERS.items():
            lengths = columns[group]
            length = lengths if isinstance(lengths, int) else max(lengths)
            if (lengths if isinstance(lengths, int) else min(lengths)) < 0:
                raise ValueError("a block shorter than none")
            block = [f"{letter}{index}" for index in range(min(length, MOST_COLUMNS))]
            names += block
            self._lengths[letter] = length
            if not all(isinstance(columns.get(name), int) for name in [group, *block]):
                values += count * length
        if set(names) != set(columns) or values > _MOST_VALUES:
            raise ValueError("its columns are not those of its polls")
        times = array("q", map(int.__add__, *self._taken()))
        if not 0 <= times[0] <= times[-1] < _END_MS or not all(map(lt, times, times[1:])):
            raise ValueError("its polls are not in the order of their times")

    def __len__(self) -> int:
        return self._count

    def __contains__(self, poll: object) -> bool:
        return any(poll == other for other in self)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Collection) or len(other) != self._count:
            return False
        return all(map(eq, self, other))

    __hash__ = None  # type: ignore[assignment]  # so says Python

    def __iter__(self) -> Iterator[Snapshot]:
        if not self._count:
            return
        heads = map(self._column, _HEADS[2:])
        blocks = map(self._blocks, LETTERS)
        for due_ms, late_ms, took_ms, tries, interval_s, flags, *block in zip(
            *self._taken(), *heads, *blocks, strict=True
        ):
            yield Snapshot(
                *(due_ms + late_ms, took_ms, tries, block[0], block[1], block[2]),
                *(late_ms, interval_s, flags),
            )

    def _taken(self) -> tuple[Sequence[int], Sequence[int]]:
        return self._column("due_ms"), self._column("late_ms")

    def _column(self, name: str) -> Sequence[int]:
        column = self._columns[name]
        return array("q", repeat(column, self._count)) if isinstance(column, int) else column

    def _blocks(self, letter: str) -> Iterator[tuple[int, ...]]:
        """Yield the block of each poll; equal neighbours are one object."""
        columns = [self._columns[f"{letter}{index}"] for index in range(self._lengths[letter])]
        row = [column if isinstance(column, int) else column[0] for column in columns]
        varying = [place for place, column in enumerate(columns) if not isinstance(column, int)]
        series = [column for column in columns if not isinstance(column, int)]
        last: tuple[int, ...] | None = None
        block: tuple[int, ...] = ()
        for sent in zip(self._column(LETTERS[letter]), *series, strict=True):
            if sent != last:
                last, length = sent, sent[0]
                for place, value in zip(varying, sent[1:], strict=True):
                    row[place] = value
                block = tuple(row if length == len(row) else row[:length])
            yield block
