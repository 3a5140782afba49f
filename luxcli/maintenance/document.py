"""The format of archives: every poll of one local day, lossless, readable without luxcli.

An xz file of one JSON document (``docs/data.md`` shows how five lines of Python read it)::

    {"format": "luxcli archive", "version": 3, "luxcli": "0.1.0", "day": "2026-11-23",
     "start_ms": 1795388400000, "stop_ms": 1795474800000, "polls": 2880,
     "catalogue": "registers-0123456789ab.json.xz",
     "registers": {"c10": {"id": "ID_WEB_Temperatur_TVL", "unit": "°C", "scale": 10}, ...},
     "missed": [{"ts_ms": 1795390230120, "reason": "timeout", ...}], "repairs": [...],
     "columns": {"due_ms": [1795388400000, 30000, 30000, ...], "late_ms": [243, 12, -8, ...],
                 "interval_s": 30, ..., "c10": [345, 0, 1, -1, ...], "c11": 0, ...},
     "sha256": "..."}

Each list of numbers in ``columns`` holds the first value and then differences; a single number is
the value of all polls. ``sha256`` is that of the text without this last member. A reader trusts
neither sizes nor numbers of a file: it needs about 50 MB for the largest one that it accepts.
"""

import functools
import hashlib
import json
import lzma
import os
import re
import stat
from array import array
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

from luxcli import __version__
from luxcli.errors import DamagedError, StorageError, file_error
from luxcli.maintenance.columns import LETTERS, MOST_COLUMNS, Column, Polls, differences
from luxcli.model import MissedPoll, Repair, Snapshot
from luxcli.system import files

VERSION: Final = 3
_COMPACT: Final = (",", ":")
_FILTERS: Final = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": 1 << 20}]
# Limits for a day at the shortest interval, 10 s: 9,000 polls, of which all may be missed ones.
# What exceeds them is damaged, and reading it could need all memory.
_MOST_BYTES: Final = 10_000_000
_MOST_HEAD_BYTES: Final = 8_000_000
# Of these characters before the columns: each may stand for an object of 100 bytes in memory.
_MOST: Final = {"[": 50_000, "{": 50_000, '"': 500_000, ",": 500_000}
_MOST_POLLS: Final = 100_000
_DECODER_BYTES: Final = 16_000_000
_END_MS: Final = 253_402_300_800_000  # no calendar goes on after the year 9999

_BEGINNING: Final = re.compile(r'\{"format":"luxcli archive","version":([0-9]{1,9}),')
_COLUMNS: Final = ',"columns":{'
_COLUMN: Final = re.compile(r'"([a-z_]+|[cps][0-9]{1,5})":(-?[0-9]{1,19}|\[[-0-9,]*\])([,}])')
_ENDING: Final = re.compile(r',"sha256":"([0-9a-f]{64})"\}')
_ENDING_LENGTH: Final = 77


@dataclass(frozen=True, slots=True)
class Day:
    """What an archive holds: polls and missed polls in time order, repairs of wrong times.

    `polls` of an archive that was read are made anew each time that they are gone through, so that
    a day is never in memory whole. `span` is the day in UTC milliseconds.
    """

    polls: Collection[Snapshot]
    missed: tuple[MissedPoll, ...]
    repairs: tuple[Repair, ...] = ()
    span: tuple[int, int] = field(default=(0, 0), compare=False)


def write(path: Path, day: Day) -> int:
    """Write an archive, read it back, and only then put it under its name.

    The catalogue of registers is written beside it unless it is there.

    Returns:
        Its size in bytes.

    Raises:
        StorageError: A file cannot be written, or does not read back as it was. An earlier archive
            of the day is unchanged then.
    """
    catalogue, known = _known_registers()
    _write_catalogue(path.parent / _catalogue_name(catalogue), catalogue)
    columns = dict(differences(day.polls))
    document = {
        "format": "luxcli archive",
        "version": VERSION,
        "luxcli": __version__,
        "day": _day_of(path),
        "start_ms": day.span[0],
        "stop_ms": day.span[1],
        "polls": len(day.polls),
        "catalogue": _catalogue_name(catalogue),
        "registers": {
            name: known.get(name, {})
            for name, column in columns.items()
            if isinstance(column, list) and name[0] in LETTERS and name[1:].isdigit()
        },
        "missed": [entry._asdict() for entry in day.missed],
        "repairs": [entry._asdict() for entry in day.repairs],
        "columns": columns,
    }
    text = json.dumps(document, separators=_COMPACT)
    checksum = hashlib.sha256(text.encode("ascii")).hexdigest()
    return _write(path, f'{text[:-1]},"sha256":"{checksum}"}}', lambda new: _holds(new, day))


def read(path: Path) -> Day:
    """Read an archive and check it.

    Raises:
        DamagedError: The archive is cut short or damaged, or it is that of another day.
        StorageError: The archive cannot be read, or a newer luxcli wrote it.
    """
    try:
        return _parse(_text(path), _day_of(path))
    except StorageError as exc:
        raise StorageError(f"{path}: {exc.what}", advice=exc.advice) from exc
    except (LookupError, TypeError, RecursionError) as exc:
        raise DamagedError(f"{path}: not a readable archive: not all of it is there") from exc
    except (lzma.LZMAError, EOFError, ArithmeticError, ValueError) as exc:
        reason = str(exc).partition(";")[0]  # without Python's advice on a limit of its own
        raise DamagedError(f"{path}: not a readable archive: {reason}") from exc
    except OSError as exc:
        raise file_error(path, "cannot be read", exc) from exc


def _day_of(path: Path) -> str:
    """Return the day by the name of an archive, or of its temporary file."""
    return path.name.lstrip(".").partition(".")[0]


def _holds(path: Path, day: Day) -> bool:
    """Whether an archive is that of the day; a file that is only tried is not called damaged."""
    try:
        return read(path) == day
    except DamagedError:
        return False


def _write(path: Path, text: str, accept: Callable[[Path], bool]) -> int:
    temporary = path.with_name(f".{path.name}.tmp")
    # No name and no time inside: the same text gives the same bytes.
    content = lzma.compress(text.encode("ascii"), filters=_FILTERS)
    try:
        size = files.replace_durably(
            path, temporary, lambda file: file.write(content), lambda: accept(temporary)
        )
    except OSError as exc:
        if path.parent.exists() and not path.parent.is_dir():
            raise StorageError(
                f"{path.parent}: is not a directory", advice="move it away and run again"
            ) from exc
        raise StorageError(f"{path}: cannot be written: {exc.strerror or exc}") from exc
    if size is None:
        raise StorageError(f"{path}: does not read back as it was written; not kept")
    return size


@functools.cache
def _known_registers() -> tuple[str, Mapping[str, dict[str, object]]]:
    """Return the catalogue file's text, and what an archive says of a column by its name."""
    # Loaded here: most runs write no archive, and loading it takes as long as one.
    from luxcli.registers import catalogue

    entries = catalogue.catalogue()
    document = {
        "format": "luxcli registers",
        "version": 1,
        "registers": [entry.to_json() for entry in entries],
    }
    letters = {group: letter for letter, group in LETTERS.items()}
    known: dict[str, dict[str, object]] = {
        f"{letters[entry.group]}{entry.index}": {
            "id": entry.id,
            "unit": entry.unit,
            "scale": entry.scale,
            **({"offset": entry.offset} if entry.offset else {}),
        }
        for entry in entries
    }
    return json.dumps(document, separators=_COMPACT), known


def _catalogue_name(text: str) -> str:
    return f"registers-{hashlib.sha256(text.encode('ascii')).hexdigest()[:12]}.json.xz"


def _write_catalogue(path: Path, text: str) -> None:
    """Write the catalogue unless it is there and whole."""
    try:
        if _text(path) == text:
            return
    except (StorageError, lzma.LZMAError, EOFError, ValueError, OSError):
        pass
    _write(path, text, lambda new: _text(new) == text)


def _text(path: Path) -> str:
    """Return what an xz file of ASCII text holds."""
    # Not blocking: a pipe without a writer would be waited for.
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise StorageError("not a regular file", advice="move it away and run again")
        decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_DECODER_BYTES)
        content = bytearray()
        while not decoder.eof:
            piece = file.read(1 << 16) if decoder.needs_input else b""
            if decoder.needs_input and not piece:
                raise EOFError("it is cut short")
            content += decoder.decompress(piece, _MOST_BYTES + 1 - len(content))
            if len(content) > _MOST_BYTES:
                raise ValueError("it is larger than any day")
        if decoder.unused_data or file.read(1):
            raise ValueError("something follows its end")
    return content.decode("ascii")


def _parse(text: str, day: str) -> Day:
    beginning = _BEGINNING.match(text)
    if beginning is None:
        raise ValueError("it does not begin as one")
    version = int(beginning[1])
    if version > VERSION:
        raise StorageError(
            f"written by a newer luxcli (archive format {version}, this one knows {VERSION})",
            advice="upgrade luxcli",
        )
    ending = _ENDING.fullmatch(text, max(0, len(text) - _ENDING_LENGTH))
    if version < VERSION or ending is None:
        raise ValueError(f"it does not end as one of format {VERSION}")
    checksum = hashlib.sha256(text[:-_ENDING_LENGTH].encode("ascii"))
    checksum.update(b"}")
    if checksum.hexdigest() != ending[1]:
        raise ValueError("its checksum differs")
    # A quotation mark within a text is escaped, so that this can only be the member itself.
    at = text.find(_COLUMNS)
    if not 0 <= at <= _MOST_HEAD_BYTES:
        raise ValueError("it has no columns, or is larger than any day")
    head = _head(text[:at] + "}")
    if head["day"] != day:
        raise ValueError(f"it is the archive of {str(head['day'])[:10]!r}")
    count = _number(head["polls"])
    if not 0 <= count <= _MOST_POLLS:
        raise ValueError(f"{count} polls are no day")
    columns = dict(_parsed_columns(text, at + len(_COLUMNS), count))
    missed = tuple(_record(MissedPoll, entry) for entry in head["missed"])
    repairs = tuple(_record(Repair, entry) for entry in head["repairs"])
    span = (_number(head["start_ms"]), _number(head["stop_ms"]))
    return Day(Polls(columns, count), missed, repairs, span)


def _head(text: str) -> dict[str, Any]:
    if any(text.count(character) > most for character, most in _MOST.items()):
        raise ValueError("it is larger than any day")
    head = json.loads(text)
    if not isinstance(head["missed"], list) or not isinstance(head["repairs"], list):
        raise ValueError("a list is missing")
    return dict(head)


def _record(kind: Callable[..., Any], entry: object) -> Any:
    """Return a `MissedPoll` or a `Repair`, each value of the type that it must have."""
    if not isinstance(entry, dict):
        raise ValueError("a missed poll or a repair is not one")
    for name, value in entry.items():
        if name in ("reason", "detail", "sha256"):
            if not isinstance(value, str):
                raise ValueError(f"{name} is not a text")
        elif name != "new_ms" or value is not None:
            _number(value)
    return kind(**entry)


def _number(value: object) -> int:
    if type(value) is not int or not -_END_MS < value < _END_MS:
        raise ValueError("a number is not one, or too large")
    return value


def _parsed_columns(text: str, at: int, count: int) -> Iterator[tuple[str, Column]]:
    """Yield names and columns; `at` is where the first one stands."""
    end = len(text) - _ENDING_LENGTH - 1  # of the brace behind the last one
    number = 0
    while at < end:
        match = _COLUMN.match(text, at)
        number += 1
        if match is None or number > MOST_COLUMNS or (match[3] == "}") != (match.end() > end):
            raise ValueError(f"column {number} is none")
        at = match.end()
        name, start, stop = match[1], match.start(2), match.end(2)
        kind = "i" if name[1:].isdigit() else "q"
        # An array takes only numbers of 32 or 64 bits.
        if text[start] != "[":
            yield name, array(kind, [int(match[2])])[0]
            continue
        # Counted before they are read: a long column of large numbers takes much memory.
        if text.count(",", start, stop) == count - 1:
            values = array(kind, accumulate(json.loads(match[2])))
            if len(values) == count:
                yield name, values
                continue
        raise ValueError(f"{name} has not a number for each of {count} polls")
