"""Writes CSVs (RFC 4180). A file is complete or absent; equal input gives equal bytes."""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, tzinfo
from itertools import groupby, repeat
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

from luxcli.errors import file_error
from luxcli.exports.moments import Moments
from luxcli.model import CHUNK_HEAD, GROUPS, Chunk
from luxcli.registers import decoding, numbers
from luxcli.registers.catalogue import NOT_AVAILABLE, Register
from luxcli.system import files

_NOTHING: Final = object()
# The firmware text is ten registers; its column needs all of them, and so does a column of which
# the firmware decides the scale.
_TEXT_PARTS: Final = numbers.every(numbers.FIRMWARE)
# Bounds the memory of a long file: counters have a new value in every row.
_MEMO_SIZE: Final = 4096

# Kinds whose cells are not just numbers.
_WORDS: Final = frozenset(
    {"switch", "enum", "time", "time of day", "period", "address", "text", "character"}
)

TEMPORARY: Final = ".luxcli-rollup.tmp"
TIME_COLUMNS: Final = ("timestamp_utc", "timestamp_local")

Key = tuple[int, int]
Column = Sequence[int | None]


class Style(NamedTuple):
    """How cells look; the fields are the ``csv`` settings of the same names."""

    headers: str = "id"
    delimiter: str = ","
    decimal: str = "."
    bom: bool = False
    enums: str = "label"


class Written(NamedTuple):
    """A CSV that was written.

    Attributes:
        rows: Rows below the header.
        columns: All columns.
        size: Bytes.
        first_ms: Time of the first row, UTC.
        last_ms: Time of the last row, UTC.
    """

    rows: int
    columns: int
    size: int
    first_ms: int
    last_ms: int


def keys_for(registers: Sequence[Register]) -> list[Key]:
    """Return ``(kind, index)`` of the raw values that `write` needs for these columns, in order."""
    keys = [(GROUPS.index(register.group), register.index) for register in registers]
    if any(register.kind == "text" or _depends(register) for register in registers):
        keys += [(GROUPS.index("calculations"), index) for index in _TEXT_PARTS]
    return keys


def title(register: Register, headers: str) -> str:
    """Return the title of a column: the id, or for `headers` "name" the name with the unit."""
    if headers != "name":
        return register.id
    return f"{register.name} ({register.unit})" if register.unit else register.name


def write(
    path: Path, registers: Sequence[Register], chunks: Iterable[Chunk], zone: tzinfo, style: Style
) -> Written | None:
    """Write one CSV and put it under its final name in one step.

    Args:
        path: The file; its directory is created if necessary.
        registers: The sensor columns, after the two time columns.
        chunks: Raw values of ``keys_for(registers)``, in time order.
        zone: For the ``timestamp_local`` column.
        style: How cells look.

    Returns:
        The file, or None when there are no rows: then no file is made or replaced.

    Raises:
        StorageError: The file cannot be written. An earlier one is unchanged then.
    """
    # One name for all periods, so that the next run replaces what a killed run has left.
    temporary = path.with_name(TEMPORARY)
    table = _Table(registers, zone, style)

    def fill(file: BinaryIO) -> None:
        file.write(table.header())
        file.writelines(table.lines(chunk) for chunk in chunks)

    try:
        size = files.replace_durably(path, temporary, fill, lambda: table.rows > 0)
    except OSError as exc:
        raise file_error(path, "cannot be written", exc) from exc
    if size is None:
        return None
    return Written(table.rows, len(registers) + 2, size, table.first_ms, table.last_ms)


class Extent(NamedTuple):
    """Number of rows of a CSV, and times of the first and the last, whole seconds in ms."""

    rows: int
    first_ms: int
    last_ms: int


def extent(path: Path) -> Extent | None:
    """Return the extent of a CSV that luxcli wrote; None if there is none or it is cut short."""
    count, times = 0, []
    try:
        with files.open_regular(path) as file:
            next(file, None)  # the header
            for line in file:
                if not count:
                    times.append(line[:20])
                last = line
                count += 1
        if not count or not last.endswith(b"\n"):
            return None
        times.append(last[:20])
        first, last_ms = (
            round(datetime.fromisoformat(time.decode()).timestamp()) * 1000 for time in times
        )
    except (OSError, ValueError):
        return None
    return Extent(count, first, last_ms)


def rows_within(path: Path, start_ms: int, stop_ms: int) -> int:
    """Return the number of rows of a CSV if all lie in the interval, else 0."""
    found = extent(path)
    if found is None:
        return 0
    # The column holds whole seconds, rounded down.
    within = start_ms - 1000 < found.first_ms <= found.last_ms < stop_ms
    return found.rows if within else 0


class _Table:
    """Turns chunks into lines and counts them."""

    def __init__(self, registers: Sequence[Register], zone: tzinfo, style: Style) -> None:
        self.rows, self.first_ms, self.last_ms = 0, 0, 0
        self._columns, self._zone, self._style = registers, zone, style
        self._registers = list(registers)
        # A delimiter stands before each cell, because the times come first.
        self._texts = [
            _Texts(_renderer(register, style), style.delimiter) for register in registers
        ]
        # Places of columns with the firmware's text, and of those that depend on it. The places of
        # its letters follow all columns.
        self._firmware = [place for place, one in enumerate(registers) if one.kind == "text"]
        self._dependent = [place for place, one in enumerate(registers) if _depends(one)]
        self._letters = range(len(registers), len(keys_for(registers)))
        self._fixed: dict[int, int | None] = {}
        # By place: the last value that was the same in all rows of a chunk, and its cell.
        self._values: dict[int, int | None] = {}
        self._constant = [""] * len(registers)
        self._moments, self._clock = (Moments(z, style.delimiter) for z in (zone, UTC))

    def header(self) -> bytes:
        titles = (title(register, self._style.headers) for register in self._columns)
        names = [*TIME_COLUMNS, *(_quote(text, self._style.delimiter) for text in titles)]
        mark = "\ufeff" if self._style.bom else ""
        return (mark + self._style.delimiter.join(names) + "\n").encode()

    def lines(self, chunk: Chunk) -> bytes:
        if not chunk.rows:
            return b""
        if not self._dependent:
            return self._lines(chunk)
        letters = set(self._letters)
        places = [at for at, place in enumerate(chunk.varying, CHUNK_HEAD) if place in letters]
        parts = groupby(chunk.rows, key=lambda row: [row[at] for at in places])
        return b"".join(self._lines_of_one_firmware(chunk, list(rows)) for _, rows in parts)

    def _lines_of_one_firmware(self, chunk: Chunk, rows: list[tuple[Any, ...]]) -> bytes:
        varying = dict(zip(chunk.varying, rows[0][CHUNK_HEAD:], strict=True))
        letters = [varying.get(place, chunk.fixed.get(place)) or 0 for place in self._letters]
        for place in self._dependent:
            register = self._columns[place].in_force([*[0] * _TEXT_PARTS.start, *letters])
            if register != self._registers[place]:
                self._registers[place] = register
                self._texts[place] = _Texts(_renderer(register, self._style), self._style.delimiter)
                self._values.pop(place, None)
                self._fixed = {}
        return self._lines(chunk._replace(rows=rows))

    def _lines(self, chunk: Chunk) -> bytes:
        # Column by column: a loop over the five million cells of a week would take longer than
        # everything else.
        head_and_columns = list(zip(*chunk.rows, strict=True))
        times, columns = head_and_columns[0], head_and_columns[CHUNK_HEAD:]
        varying: dict[int, Column] = {}
        constant: dict[int, int | None] = {}
        for place, column in zip(chunk.varying, columns, strict=True):
            if column[-1] != column[0] or column.count(column[0]) < len(column):
                varying[place] = column
            else:
                constant[place] = column[0]
        if chunk.fixed is not self._fixed:
            self._fixed = chunk.fixed
            self._update_constant(chunk.fixed)
        self._update_constant(constant)
        known = chunk.fixed | constant
        for place in self._firmware:
            self._constant[place] = self._firmware_cell(
                [known.get(letter) for letter in self._letters]
            )
        cells = self._cells(varying, known)
        parts: list[Iterable[str]] = [self._moments.texts(times)]
        following = 0
        for place in sorted(cells):
            # The cells between two varying columns are the same text in all rows.
            delimiter, texts = cells[place]
            between = "".join(self._constant[following:place]) + delimiter
            parts += [repeat(between), texts] if between else [texts]
            following = place + 1
        parts.append(repeat("".join(self._constant[following:]) + "\n"))
        text = "".join(map("".join, zip(*parts, strict=False)))
        self.rows += len(times)
        self.first_ms, self.last_ms = self.first_ms or times[0], times[-1]
        return text.encode()

    def _update_constant(self, values: dict[int, int | None]) -> None:
        """Note values that are the same in all rows of a chunk."""
        for place, raw in values.items():
            if place < len(self._registers) and self._values.get(place, _NOTHING) != raw:
                self._values[place] = raw
                self._constant[place] = self._texts[place][raw]

    def _cells(
        self, varying: dict[int, Column], constant: dict[int, int | None]
    ) -> dict[int, tuple[str, Iterable[str]]]:
        """Return the varying columns by place: the text before each cell, and the cells."""
        cells: dict[int, tuple[str, Iterable[str]]] = {}
        for place, column in varying.items():
            if place >= len(self._registers):
                continue
            register = self._registers[place]
            # Values of timers and clocks never come back, so keeping their texts is no use.
            if register.kind == "duration" and register.scale == 1 and None not in column:
                cells[place] = self._style.delimiter, map(str, column)
            elif register.kind == "time" and (seconds := _moments_of(column)):
                cells[place] = "", self._clock.utc_cells(seconds)
            else:
                cells[place] = "", map(self._texts[place].__getitem__, column)
        if any(letter in varying for letter in self._letters):
            for place in self._firmware:
                letters = (varying.get(one) or repeat(constant[one]) for one in self._letters)
                cells[place] = "", map(self._firmware_cell, zip(*letters, strict=False))
        return cells

    def _firmware_cell(self, letters: Sequence[int | None]) -> str:
        """Return the firmware's text, with a delimiter before it."""
        if letters[0] is None:
            return self._style.delimiter
        text = decoding.firmware([*[0] * _TEXT_PARTS.start, *(raw or 0 for raw in letters)])
        return self._style.delimiter + _quote(text, self._style.delimiter)


class _Texts(dict[int | None, str]):
    """Cell of each raw value, with a delimiter before it; computed once for each value."""

    def __init__(self, render: Callable[[int], str], delimiter: str) -> None:
        super().__init__()
        self._render, self._delimiter = render, delimiter

    def __missing__(self, raw: int | None) -> str:
        if len(self) >= _MEMO_SIZE:
            self.clear()
        text = self._delimiter if raw is None else self._delimiter + self._render(raw)
        self[raw] = text
        return text


def _renderer(register: Register, style: Style) -> Callable[[int], str]:
    is_number = register.kind not in _WORDS and not (register.offset or register.labels)
    if is_number and (register.group, register.index) not in NOT_AVAILABLE:
        return _number_renderer(register.scale, register.digits, style.decimal)
    if register.kind == "time":
        moments = Moments(UTC, style.delimiter)
        return lambda raw: moments.utc(raw) if raw > 0 else ""

    def render(raw: int) -> str:
        value = decoding.value(register, raw)
        if value is None:
            return ""
        if isinstance(value, bool):
            return "1" if value else "0"
        if isinstance(value, float):
            return f"{value:.{register.digits}f}".replace(".", style.decimal)
        if raw in register.labels and style.enums == "code":
            return str(raw)
        return _quote(str(value), style.delimiter)

    return render


def _depends(register: Register) -> bool:
    """Whether the firmware decides what the register is."""
    return any(case.series for case in register.cases)


def _moments_of(column: Column) -> list[int] | None:
    """Return the column if each number in it is a time, s since the epoch."""
    times = [raw for raw in column if raw is not None and raw > 0]
    return times if len(times) == len(column) else None


def _number_renderer(scale: int, digits: int, decimal: str) -> Callable[[int], str]:
    if not digits:
        return str
    if decimal == ".":
        return lambda raw: f"{raw / scale:.{digits}f}"
    return lambda raw: f"{raw / scale:.{digits}f}".replace(".", decimal)


def _quote(text: str, delimiter: str) -> str:
    if any(mark in text for mark in (delimiter, '"', "\n", "\r")):
        return '"' + text.replace('"', '""') + '"'
    return text
