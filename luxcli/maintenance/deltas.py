"""Writes columns of integers as short text, a letter for each small difference.

The first number is written out. Each further one is a code: ``.`` for no difference, ``a`` to ``z``
for 1 to 26 more, ``A`` to ``Z`` for 1 to 26 less, ``+123`` and ``-123`` for larger differences,
``_`` for no number. Deflate compresses single letters without spaces best.
"""

import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, chain
from operator import sub
from string import ascii_lowercase, ascii_uppercase
from typing import Final

ABSENT: Final = "_"
_TOKEN: Final = re.compile(r"[+-][0-9]+|[._a-zA-Z]")


class _Codes(dict[int, str]):
    def __missing__(self, difference: int) -> str:
        return f"{difference:+d}"


class _Differences(dict[str, int]):
    def __missing__(self, token: str) -> int:
        return int(token)


_CODES: Final = _Codes(
    {0: "."}
    | dict(enumerate(ascii_lowercase, 1))
    | {-n: letter for n, letter in enumerate(ascii_uppercase, 1)}
)
_DIFFERENCES: Final = _Differences({code: difference for difference, code in _CODES.items()})


def encode(column: Sequence[int | None], *, from_first: bool = False) -> str:
    """Return a column as text; a single number where all are the same.

    Args:
        column: At least one number.
        from_first: Write differences from the first number, for values that vary around it, instead
            of from the number before.
    """
    first = column[0]
    head = ABSENT if first is None else str(first)
    if column.count(first) == len(column):
        return head
    numbers = [value for value in column if value is not None]
    if len(numbers) < len(column):
        return f"{head} {''.join(_codes_with_gaps(column))}"
    before = [numbers[0]] * len(numbers) if from_first else numbers
    return f"{head} {''.join(map(_CODES.__getitem__, map(sub, numbers[1:], before)))}"


def decode(text: str, count: int, *, from_first: bool = False) -> Sequence[int | None]:
    """Undo `encode`: return `count` numbers, or the only one that is the same for all.

    Raises:
        ValueError, ArithmeticError: The text is damaged.
    """
    head, _, codes = text.partition(" ")
    first = None if head == ABSENT else int(head)
    if not codes:
        return [first]
    tokens = _TOKEN.findall(codes)
    if len(tokens) != count - 1:
        raise ValueError(f"{len(tokens) + 1} numbers for {count} polls")
    if first is None or ABSENT in codes:
        return [first, *_numbers_with_gaps(first, tokens)]
    differences = map(_DIFFERENCES.__getitem__, tokens)
    if from_first:
        return array("q", chain((first,), (first + difference for difference in differences)))
    # Compact while the rest of the day is read.
    return array("q", accumulate(chain((first,), differences)))


def _codes_with_gaps(column: Sequence[int | None]) -> Iterator[str]:
    last = column[0] or 0
    for value in column[1:]:
        if value is None:
            yield ABSENT
        else:
            yield _CODES[value - last]
            last = value


def _numbers_with_gaps(first: int | None, tokens: Iterable[str]) -> Iterator[int | None]:
    last = first or 0
    for token in tokens:
        if token == ABSENT:
            yield None
        else:
            last += _DIFFERENCES[token]
            yield last
