"""The archive of one day: every poll, lossless, as text that outlives this program.

A gzip file of lines that ten lines of Python can read (``docs/data.md``)::

    luxlog 1
    polls 2880
    t 1795474800123 30001 29998 ...     start of each poll, ms since the epoch, UTC
    d 98 -1 0 ...                       how long it took, ms
    n 1                                 connections it took
    c10 345 0 1 -1 ...                  calculation 10
    c78 58                              one number: the same in every poll
    c257 - - - 5100 0 20 ...            not sent by the first three polls
    p852 12713174 0 4 ...               parameter 852
    s0 1                                visibility 0
    m 1795474830120 timeout 4 254000 "1.2.3.4:8889: ..."      a tick without a poll
    crc 3f9a01bc                        CRC-32 over the polls, see `_checksum`
    end

Numbers are differences from the register's previous number, the first one from 0, so that gzip
finds runs of zeros: about 16 bytes a poll.
"""

import gzip
import json
import re
import zlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from luxcli import files
from luxcli.errors import DamagedError, StorageError
from luxcli.model import GROUPS, Missed, Snapshot

_LETTERS: Final = "cps"  # of the groups, in the order of GROUPS
_ABSENT: Final = "-"
# Of a day of 25 hours, a hundred a second: more is damage, and would ask for all the memory.
_MOST_POLLS: Final = 9_000_000
_NEWER: Final = re.compile(r"luxlog ([2-9]|[1-9][0-9]{1,3})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Day:
    """What an archive holds, in time order."""

    polls: tuple[Snapshot, ...]
    missed: tuple[Missed, ...]


def write(path: Path, day: Day) -> int:
    """Write an archive, read it back, and only then put it under its name.

    Returns:
        Its size in bytes.

    Raises:
        StorageError: It cannot be written, or does not read back as it was; one that was there
            before is as it was.
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
        DamagedError: It is cut short or damaged.
        StorageError: It cannot be read, or a newer luxcli wrote it.
    """
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            return _parsed(line.rstrip("\n") for line in file)
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
        # The last three come from odd lines.
        raise DamagedError(f"{path}: not a readable archive: {exc}") from exc
    except OSError as exc:
        raise StorageError(f"{path}: cannot be read: {exc.strerror or exc}") from exc


def _lines(day: Day) -> Iterator[str]:
    polls = day.polls
    yield "luxlog 1"
    yield f"polls {len(polls)}"
    if polls:
        yield "t " + _deltas([poll.taken_ms for poll in polls])
        yield "d " + _deltas([poll.took_ms for poll in polls])
        yield "n " + _deltas([poll.tries for poll in polls])
    for letter, group in zip(_LETTERS, GROUPS, strict=True):
        blocks = [poll.block(group) for poll in polls]
        for index, column in enumerate(_columns(blocks)):
            yield f"{letter}{index} {_deltas(column)}"
    for tick in day.missed:
        detail = json.dumps(tick.detail)
        yield f"m {tick.ts_ms} {tick.reason} {tick.tries} {tick.took_ms} {detail}"
    yield f"crc {_checksum(polls):08x}"
    yield "end"


def _columns(blocks: Sequence[tuple[int, ...]]) -> Iterator[Sequence[int | None]]:
    """Yield the values of each register; a single one where it never changes."""
    # Polls share the tuples of settings that did not change, so most columns are seen in a few.
    runs: list[tuple[tuple[int, ...], int]] = []
    for block in blocks:
        if runs and runs[-1][0] is block:
            runs[-1] = (block, runs[-1][1] + 1)
        else:
            runs.append((block, 1))
    for index in range(max((len(block) for block, _ in runs), default=0)):
        heads = [block[index] if index < len(block) else None for block, _ in runs]
        if heads.count(heads[0]) == len(heads):
            yield heads[:1]
        else:
            yield [head for head, (_, count) in zip(heads, runs, strict=True) for _ in range(count)]


def _deltas(column: Sequence[int | None]) -> str:
    if column.count(column[0]) == len(column):
        column = column[:1]
    words, last = [], 0
    for value in column:
        if value is None:
            words.append(_ABSENT)
        else:
            words.append(str(value - last))
            last = value
    return " ".join(words)


def _values(words: Sequence[str], count: int) -> Sequence[int | None]:
    """Undo `_deltas`: return one value for each of `count` polls."""
    if len(words) not in (1, count):
        raise ValueError(f"{len(words)} numbers for {count} polls")
    last = 0
    values: list[int | None] = []
    for word in words:
        if word == _ABSENT:
            values.append(None)
        else:
            last += int(word)
            values.append(last)
    if len(words) == 1:
        return values * count
    # Compact while the rest of the day is read; a register that is sometimes absent is rare.
    return values if None in values else array("q", (v for v in values if v is not None))


def _parsed(lines: Iterable[str]) -> Day:
    source = iter(lines)
    first = next(source, "")
    if _NEWER.fullmatch(first):
        raise StorageError(f"written by a newer luxcli ({first}, this one knows 1): upgrade luxcli")
    if first != "luxlog 1":
        raise ValueError("its first line is not 'luxlog 1'")
    head, _, number = next(source, "").partition(" ")
    if head != "polls":
        raise ValueError("its second line does not tell the number of polls")
    count = int(number)
    if not 0 <= count <= _MOST_POLLS:
        raise ValueError(f"{count} polls are no day")
    columns: dict[str, list[Sequence[int | None]]] = {key: [] for key in ("t", "d", "n", *_LETTERS)}
    missed: list[Missed] = []
    checksum = -1
    for line in source:
        name, _, rest = line.partition(" ")
        if name == "end":
            polls = tuple(_polls(columns, count))
            if _checksum(polls) != checksum:
                raise ValueError("its checksum differs")
            return Day(polls, tuple(missed))
        if name == "crc":
            checksum = int(rest, 16)
        elif name == "m":
            ts_ms, reason, tries, took_ms, detail = rest.split(" ", 4)
            missed.append(Missed(int(ts_ms), reason, int(tries), int(took_ms), json.loads(detail)))
        else:
            column = columns[name.rstrip("0123456789")]
            if name[1:] and int(name[1:]) != len(column):
                raise ValueError(f"{name} is out of order")
            column.append(_values(rest.split(" "), count))
    raise ValueError("it is cut short")


def _polls(columns: dict[str, list[Sequence[int | None]]], count: int) -> Iterator[Snapshot]:
    if not count:
        return
    times, durations, tries = (columns[key][0] for key in ("t", "d", "n"))
    blocks = [_rows(columns[letter], count) for letter in _LETTERS]
    rows = zip(times, durations, tries, *blocks, strict=True)
    for taken_ms, took_ms, connections, calculations, parameters, visibilities in rows:
        if taken_ms is None or took_ms is None or connections is None:
            raise ValueError("a poll without a time")
        yield Snapshot(taken_ms, took_ms, connections, calculations, parameters, visibilities)


def _rows(columns: Sequence[Sequence[int | None]], count: int) -> Iterator[tuple[int, ...]]:
    """Yield the block of each poll; equal neighbours are one object."""
    last: tuple[int, ...] = ()
    for row in zip(*columns, strict=True) if columns else [()] * count:
        block = tuple(value for value in row if value is not None)
        if block != last:
            last = block
        yield last


def _checksum(polls: Iterable[Snapshot]) -> int:
    """Return the CRC-32 of each poll's numbers written as JSON, one after the other."""
    crc, last, text = 0, None, ""
    for poll in polls:
        settings = (poll.parameters, poll.visibilities)
        if settings != last:
            last, text = settings, json.dumps(settings)
        head = (poll.taken_ms, poll.took_ms, poll.tries, poll.calculations)
        crc = zlib.crc32(f"{json.dumps(head)}{text}".encode(), crc)
    return crc
