"""The format of archives: every poll of one day, lossless, readable without this program.

A gzip file of lines that twenty lines of Python can read (``docs/data.md``)::

    luxlog 2
    polls 2880
    t 1795474800123 30000               start of the first poll, ms since the epoch, UTC; interval
    i 0 aaaaabaaaaa...                  which interval each poll belongs to
    e 0 +114e.Zk...                     and how many ms after its beginning it started
    d 98 A.bA...                        how long it took, ms
    n 1                                 connections it took
    c10 345 .aA..                       calculation 10, coded as `deltas` says
    c78 58                              one number: the same in every poll
    c254 =c155                          the same as calculation 155
    c257 _ __+5100.t...                 not sent by the first three polls
    p852 12713174 .d.                   parameter 852
    s0 1                                visibility 0
    m 1795474830120 timeout 4 254000 "1.2.3.4:8889: ..."      a missed poll
    crc 3f9a01bc                        CRC-32 over the polls, see `_checksum`
    end

Codes are differences from the register's previous number, those of ``e``, ``d`` and ``n`` from
the first one. Archives of version 1, which older luxclis wrote, had the differences as numbers.
"""

import gzip
import json
import re
import struct
import zlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import BinaryIO, Final

from luxcli.errors import DamagedError, StorageError
from luxcli.maintenance.deltas import decode, encode
from luxcli.model import GROUPS, MissedPoll, Snapshot
from luxcli.system import files

_LETTERS: Final = "cps"  # of the groups, in the order of GROUPS
_FROM_FIRST: Final = frozenset("ednlvf")
_ABSENT_1: Final = "-"  # in version 1
# A hundred polls a second for 25 hours: more is damage, and reading them would need all memory.
_MOST_POLLS: Final = 9_000_000
_NEWER: Final = re.compile(r"luxlog ([3-9]|[1-9][0-9]{1,3})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Day:
    """The polls and missed polls of an archive, in time order."""

    polls: tuple[Snapshot, ...]
    missed: tuple[MissedPoll, ...]


def write(path: Path, day: Day) -> int:
    """Write an archive, read it back, and only then put it under its name.

    Returns:
        Its size in bytes.

    Raises:
        StorageError: The file cannot be written, or does not read back as it was. An earlier
            archive of the day is unchanged then.
    """
    temporary = path.with_name(f".{path.name}.tmp")

    def fill(raw: BinaryIO) -> None:
        # No name and no time inside: the same day gives the same bytes.
        with gzip.GzipFile("", "wb", 9, raw, mtime=0) as file:
            for line in _lines(day):
                file.write(line.encode() + b"\n")

    try:
        size = files.replace_durably(path, temporary, fill, lambda: read(temporary) == day)
    except OSError as exc:
        raise StorageError(f"{path}: cannot be written: {exc.strerror or exc}") from exc
    if size is None:
        raise StorageError(f"{path}: does not read back as it was written; not kept")
    return size


def read(path: Path) -> Day:
    """Read an archive whole and check it.

    Raises:
        DamagedError: The archive is cut short or damaged.
        StorageError: The archive cannot be read, or a newer luxcli wrote it.
    """
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            return _parse(line.rstrip("\n") for line in file)
    except StorageError as exc:
        raise StorageError(f"{path}: {exc}") from exc
    except (
        gzip.BadGzipFile,
        EOFError,
        zlib.error,
        ArithmeticError,
        ValueError,
        LookupError,
    ) as exc:
        # Damaged lines raise the last three.
        raise DamagedError(f"{path}: not a readable archive: {exc}") from exc
    except OSError as exc:
        raise StorageError(f"{path}: cannot be read: {exc.strerror or exc}") from exc


def _lines(day: Day) -> Iterator[str]:
    polls = day.polls
    yield "luxlog 2"
    yield f"polls {len(polls)}"
    if polls:
        yield from _heads(polls)
    for letter, group in zip(_LETTERS, GROUPS, strict=True):
        seen: dict[str, str] = {}
        for index, column in enumerate(_columns([poll.block(group) for poll in polls])):
            name, text = f"{letter}{index}", encode(column)
            # A single number is shorter than a reference.
            first = seen.setdefault(text, name) if " " in text else name
            yield f"{name} {text if first == name else '=' + first}"
    for missed in day.missed:
        detail = json.dumps(missed.detail)
        head = f"m {missed.ts_ms} {missed.reason} {missed.tries} {missed.took_ms}"
        yield f"{head} {missed.late_ms} {missed.interval_s} {missed.flags} {detail}"
    yield f"crc {_checksum(polls):08x}"
    yield "end"


def _heads(polls: Sequence[Snapshot]) -> Iterator[str]:
    """Yield the lines of times, durations and tries."""
    times = [poll.taken_ms for poll in polls]
    first = times[0]
    gaps = sorted(map(int.__sub__, times[1:], times))
    # The delays of two scheduled polls are independent of each other. So a time is written as the
    # number of its interval and the delay, and delays are not written as differences.
    step = max(1, round(gaps[len(gaps) // 2], -3)) if gaps else 1
    places = [divmod(time - first + step // 2, step) for time in times]
    yield f"t {first} {step}"
    yield "i " + encode([number for number, _ in places])
    yield "e " + encode([rest - step // 2 for _, rest in places], from_first=True)
    yield "d " + encode([poll.took_ms for poll in polls], from_first=True)
    yield "n " + encode([poll.tries for poll in polls], from_first=True)
    yield "l " + encode([poll.late_ms for poll in polls], from_first=True)
    yield "v " + encode([poll.interval_s for poll in polls], from_first=True)
    yield "f " + encode([poll.flags for poll in polls], from_first=True)


def _columns(blocks: Sequence[tuple[int, ...]]) -> Iterator[Sequence[int | None]]:
    """Yield the values of each register; a single one where it never changes."""
    # Polls whose settings did not change share one tuple: comparing those few is enough.
    runs: list[tuple[tuple[int, ...], int]] = []
    for block in blocks:
        if runs and runs[-1][0] is block:
            runs[-1] = (block, runs[-1][1] + 1)
        else:
            runs.append((block, 1))
    for heads in zip_longest(*(block for block, _ in runs)):
        if heads.count(heads[0]) == len(heads):
            yield heads[:1]
        elif len(runs) == len(blocks):
            yield heads
        else:
            yield [head for head, (_, count) in zip(heads, runs, strict=True) for _ in range(count)]


def _parse(lines: Iterable[str]) -> Day:
    source = iter(lines)
    first = next(source, "")
    if _NEWER.fullmatch(first):
        raise StorageError(f"written by a newer luxcli ({first}, this one knows 2): upgrade luxcli")
    if first not in ("luxlog 1", "luxlog 2"):
        raise ValueError("its first line is not 'luxlog 2'")
    head, _, number = next(source, "").partition(" ")
    if head != "polls":
        raise ValueError("its second line has no number of polls")
    count = int(number)
    if not 0 <= count <= _MOST_POLLS:
        raise ValueError(f"{count} polls are no day")
    version = int(first[-1])
    columns = _Columns(count, version)
    missed: list[MissedPoll] = []
    checksum = -1
    for line in source:
        name, _, rest = line.partition(" ")
        if name == "end":
            polls = tuple(columns.polls())
            if (_checksum(polls) if version > 1 else _checksum_1(polls)) != checksum:
                raise ValueError("its checksum differs")
            return Day(polls, tuple(missed))
        if name == "crc":
            checksum = int(rest, 16)
        elif name == "m":
            ts_ms, reason, tries, took_ms, late_ms, interval_s, flags, detail = rest.split(" ", 7)
            content = (reason, int(tries), int(took_ms), json.loads(detail))
            schedule = (int(late_ms), int(interval_s), int(flags))
            missed.append(MissedPoll(int(ts_ms), *content, *schedule))
        else:
            columns.add(name, rest)
    raise ValueError("it is cut short")


_Column = Sequence[int | None]


class _Columns:
    """Collects the columns of an archive and makes polls of them.

    A column of a single number holds that number for every poll.
    """

    def __init__(self, count: int, version: int) -> None:
        self._count, self._version = count, version
        self._heads: dict[str, _Column] = {}
        self._blocks: dict[str, list[_Column]] = {letter: [] for letter in _LETTERS}

    def add(self, name: str, text: str) -> None:
        letter = name.rstrip("0123456789")
        if letter == name:
            self._heads[name] = self._decode(name, text)
            return
        block = self._blocks[letter]
        if int(name[1:]) != len(block):
            raise ValueError(f"{name} is out of order")
        if text.startswith(f"={letter}"):
            block.append(block[int(text[2:])])
        else:
            block.append(self._decode(letter, text))

    def polls(self) -> Iterator[Snapshot]:
        if not self._count:
            return
        heads = [self._whole(column) for column in (self._times(), *map(self._heads.get, "dnlvf"))]
        blocks = [_rows(self._blocks[letter], self._count) for letter in _LETTERS]
        for taken_ms, took_ms, tries, late_ms, interval_s, flags, *block in zip(
            *heads, *blocks, strict=True
        ):
            schedule = (late_ms, interval_s, flags)
            yield Snapshot(taken_ms, took_ms, tries, *block, *schedule)  # type: ignore

    def _decode(self, name: str, text: str) -> _Column:
        if self._version == 1:
            return _decode_1(text.split(" "), self._count)
        if name == "t":
            first, step = map(int, text.split(" "))
            return [first, step]
        return decode(text, self._count, from_first=name in _FROM_FIRST)

    def _whole(self, column: _Column | None) -> _Column:
        if column is None:
            raise ValueError("a line is missing")
        return column if len(column) > 1 else list(column) * self._count

    def _times(self) -> _Column:
        times = self._heads["t"]
        if self._version == 1:
            return times
        first, step = times
        numbers, rests = (self._whole(self._heads.get(name)) for name in "ie")
        if first is None or step is None or None in numbers or None in rests:
            raise ValueError("a poll without a time")
        return [
            first + number * step + rest
            for number, rest in zip(numbers, rests, strict=True)
            if number is not None and rest is not None  # never None here; for the type checker
        ]


def _rows(columns: Sequence[_Column], count: int) -> Iterator[tuple[int, ...]]:
    """Yield the block of each poll; equal neighbours are one object."""
    row: list[int | None] = [column[0] for column in columns]
    varying = [place for place, column in enumerate(columns) if len(column) > 1]
    last: tuple[int | None, ...] | None = None
    block: tuple[int, ...] = ()
    steps = zip(*(columns[place] for place in varying), strict=True) if varying else [()] * count
    for values in steps:
        if values != last:
            last = values
            for place, value in zip(varying, values, strict=True):
                row[place] = value
            block = tuple([value for value in row if value is not None])
        yield block


def _checksum(polls: Iterable[Snapshot]) -> int:
    """Return the CRC-32 of the numbers as 64 bit integers, the highest byte first.

    The numbers of a poll are its parameters and visibilities, if they differ from those of the poll
    before, then time, duration, tries and calculations.
    """
    crc, last = 0, None
    try:
        for poll in polls:
            settings = (poll.parameters, poll.visibilities)
            if settings != last:
                last = settings
                for block in settings:
                    crc = zlib.crc32(struct.pack(f">{len(block)}q", *block), crc)
            numbers = (poll.taken_ms, poll.took_ms, poll.tries, *poll.calculations)
            crc = zlib.crc32(struct.pack(f">{len(numbers)}q", *numbers), crc)
    except struct.error as exc:
        raise ValueError("a number is no register's") from exc
    return crc


def _decode_1(words: Sequence[str], count: int) -> _Column:
    """Return a column of version 1: differences as numbers, the first from 0."""
    if len(words) not in (1, count):
        raise ValueError(f"{len(words)} numbers for {count} polls")
    last = 0
    values: list[int | None] = []
    for word in words:
        if word == _ABSENT_1:
            values.append(None)
        else:
            last += int(word)
            values.append(last)
    return values if None in values else array("q", (v for v in values if v is not None))


def _checksum_1(polls: Iterable[Snapshot]) -> int:
    """Return the checksum of version 1: of each poll's numbers as JSON."""
    crc, last, text = 0, None, ""
    for poll in polls:
        settings = (poll.parameters, poll.visibilities)
        if settings != last:
            last, text = settings, json.dumps(settings)
        head = (poll.taken_ms, poll.took_ms, poll.tries, poll.calculations)
        crc = zlib.crc32(f"{json.dumps(head)}{text}".encode(), crc)
    return crc
