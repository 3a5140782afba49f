"""Checks a produced CSV: header, times, cells, completeness, and its rows against the cache."""

import csv
import functools
import io
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, tzinfo
from pathlib import Path
from typing import BinaryIO, Final, cast

from luxcli.config.config import Config
from luxcli.errors import NoDataError, StorageError
from luxcli.exports import columns, csv_file
from luxcli.exports.csv_file import TIME_COLUMNS
from luxcli.recording.coverage import POOR, fits_schedule
from luxcli.registers import catalogue
from luxcli.registers.catalogue import Register
from luxcli.rollup.files import period_of
from luxcli.store.store import Store
from luxcli.system.progress import Progress, silent
from luxcli.times import span
from luxcli.validation.csv_rows import Values
from luxcli.validation.findings import Findings
from luxcli.validation.report import Report

_DELIMITERS: Final = ",;|\t"
# In the order of the patterns of `luxcli sensors`; nothing else a cell can hold is a number.
_INTEGER: Final = re.compile(r"-?[0-9]+")
_DECIMAL: Final = re.compile(r"-?[0-9]+[.,][0-9]+")
_TIME: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
_ADDRESS: Final = re.compile(r"[0-9]{1,3}(\.[0-9]{1,3}){3}")
# Counters have a new value in each row.
_MOST_REMEMBERED: Final = 4096
_LATE: Final = 1.5
# A row that has so much less than the fullest one lost something; firmware adds a tenth at once.
_INCOMPLETE: Final = 0.75
_HALF: Final = 0.5
# Fewer say nothing about the schedule.
_FEW: Final = 10
_FIRST_YEAR, _LAST_YEAR = 2000, 9998


def check(config: Config, path: Path, zone: tzinfo, *, progress: Progress = silent) -> Report:
    """Check one CSV.

    Args:
        config: Its interval and columns, and where the cache is, which need not be there.
        path: The file.
        zone: In which days end, to find what the file should hold by its name.
        progress: Told how many bytes of how many are read.

    Raises:
        NoDataError: It is empty, or no text.
        StorageError: The file cannot be read.
        ConfigError: ``csv.sensors`` names what does not exist.
    """
    found = Findings(lambda group, index: catalogue.register(group, index).id)
    try:
        with path.open("rb") as opened, _seekable(opened) as file:
            size = file.seek(0, io.SEEK_END)
            if not size:
                raise NoDataError(f"{path}: empty")
            file.seek(size - 1)
            torn = file.read() != b"\n"
            file.seek(0)
            head = file.read(4096)
            if b"\0" in head:
                raise NoDataError(f"{path}: not a CSV, it holds binary data")
            file.seek(0)
            table = _Table(found, config.interval_sec, zone)
            with io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
                for row in _rows(text, head):
                    table.see(row)
                    progress(file.tell(), size)
    except (UnicodeDecodeError, csv.Error) as exc:
        raise NoDataError(f"{path}: not a CSV in UTF-8: {exc}") from exc
    except OSError as exc:
        raise StorageError(f"{path}: cannot be read: {exc.strerror or exc}") from exc
    if torn:
        found.add("csv-torn", table.last_ms, "no end of line", since_ms=table.last_ms)
    remark = None
    if table.end():
        _columns(found, table, columns.columns(config))
        try:
            _count(found, table, config, path, zone)
        except StorageError as exc:
            remark = f"not compared with the cache: {exc}"
    return Report(
        *(table.first_ms, table.stop_ms, table.rows, found.all()),
        not_fitted=table.values.not_fitted(),
        remark=remark,
        judged=table.values.areas | {"recording"},
    )


def _seekable(file: BinaryIO) -> BinaryIO:
    """Return a file itself, or what a pipe has to say in a temporary file, gone when closed."""
    if file.seekable():
        return file
    copy = tempfile.TemporaryFile()  # noqa: SIM115  the caller closes it
    shutil.copyfileobj(file, copy)
    return cast("BinaryIO", copy)


def _rows(text: Iterable[str], head: bytes) -> Iterator[list[str]]:
    """Yield the rows; the delimiter is what follows the first column's name."""
    begin = head.removeprefix(b"\xef\xbb\xbf").removeprefix(b'"')
    begin = begin.removeprefix(TIME_COLUMNS[0].encode()).removeprefix(b'"')[:1]
    # All there is may be the first column's name.
    delimiter = begin.decode() if begin and begin in _DELIMITERS.encode() else ","
    return csv.reader(text, delimiter=delimiter)


class _Table:
    """Goes through the rows of a CSV.

    Attributes:
        rows: How many there are below the header.
        first_ms: Time of the first row, UTC; 0 when there is none.
        last_ms: Time of the last row.
        ids: Ids of the columns that are registers.
        values: What judges the numbers.
    """

    def __init__(self, found: Findings, interval_s: int, zone: tzinfo) -> None:
        self.rows = self.first_ms = self.last_ms = 0
        self.ids: set[str] = set()
        self.values = Values(found, (), interval_s)
        self._found, self._interval_s, self._zone = found, interval_s, zone
        self._header: list[str] | None = None
        self._usable = True
        self._cells: list[tuple[Register, _Cells] | None] = []
        self._filled: dict[int, list[int]] = {}  # cells -> rows, time of the first and the last
        self._distances: dict[int, list[int]] = {}  # seconds -> likewise

    @property
    def stop_ms(self) -> int:
        """End of what the rows cover, excluded; their times are whole seconds, rounded down."""
        return self.last_ms + 1000 if self.last_ms else 0

    def see(self, row: list[str]) -> None:
        if self._header is None:
            self._header = row
            self._look_at_header(row)
        elif self._usable:
            self.rows += 1
            self._look_at_row(row)

    def end(self) -> bool:
        """Judge the whole; False when the header already makes that pointless."""
        if not self._usable or self._header is None:
            return False
        if not self.rows:
            self._found.add("csv-no-rows", 0, "a header and nothing else")
            return True
        self.values.end()
        self._completeness(len(self._header) - len(TIME_COLUMNS))
        self._gaps()
        return True

    def _look_at_header(self, header: list[str]) -> None:
        add = self._found.add
        if tuple(header[:2]) != TIME_COLUMNS:
            self._usable = False
            add("csv-header", 0, f"begins with {','.join(header[:2])[:60]!r}")
            return
        seen: set[str] = set()
        position = (-1, -1)
        for name in header[2:]:
            register = _by_header(name)
            self._cells.append(None if register is None else (register, _Cells(register)))
            if name in seen:
                add("csv-duplicate", 0, repr(name))
            seen.add(name)
            if register is None:
                add("csv-columns", 0, f"{name[:60]!r} is no register")
                continue
            self.ids.add(register.id)
            place = (csv_file.keys_for([register])[0][0], register.index)
            if place < position:
                add("csv-order", 0, f"{register.id} behind later ones")
            position = max(position, place)
        if not self.ids:
            add("csv-no-sensors", 0, "no column is a sensor's")
        registers = [None if column is None else column[0] for column in self._cells]
        self.values = Values(self._found, registers, self._interval_s)

    def _look_at_row(self, row: list[str]) -> None:
        width = len(self._cells) + len(TIME_COLUMNS)
        ts_ms = self._time(row)
        if len(row) != width:
            text = f"row {self.rows} has {len(row)} cells, the header {width}"
            self._found.add("csv-width", ts_ms, text)
            return
        filled = 0
        cells = row[2:]
        for place, (cell, column) in enumerate(zip(cells, self._cells, strict=True)):
            if not cell:
                continue
            filled += 1
            if column is not None and not column[1][cell]:
                register = column[0]
                cells[place] = ""
                self._found.add(
                    "csv-cell",
                    ts_ms,
                    f"{cell[:40]!r} in row {self.rows}",
                    index=register.index,
                    group=register.group,
                    expected=column[1].expected,
                )
        _note(self._filled, filled, ts_ms)
        self.values.see(ts_ms, cells)

    def _time(self, row: Sequence[str]) -> int:
        """Judge the two times of a row; return the first, or that of the row before."""
        utc = _moment(row[0]) if row and _TIME.fullmatch(row[0]) else None
        # Near the ends of the calendar no other zone has that moment.
        if utc is None or not _FIRST_YEAR <= utc.year <= _LAST_YEAR:
            text = f"{row[0][:40]!r} in row {self.rows}" if row else f"row {self.rows} is empty"
            self._found.add("csv-time", self.last_ms, text)
            return self.last_ms
        ts_ms = int(utc.timestamp()) * 1000
        local = _moment(row[1]) if len(row) > 1 else None
        if local is None or local.tzinfo is None or local != utc:
            text = f"{row[0]} but {row[1][:40] if len(row) > 1 else ''!r}"
            self._found.add("csv-local-time", ts_ms, text)
        elif local.utcoffset() != utc.astimezone(self._zone).utcoffset():
            self._found.add("csv-zone", ts_ms, f"{row[1]}, the zone is {self._zone}")
        if not self.first_ms:
            self.first_ms = ts_ms
        elif ts_ms <= self.last_ms:
            self._found.add("csv-time-order", ts_ms, f"{row[0]} in row {self.rows}")
            return ts_ms
        else:
            _note(self._distances, (ts_ms - self.last_ms) // 1000, self.last_ms)
        self.last_ms = ts_ms
        return ts_ms

    def _completeness(self, columns: int) -> None:
        if not columns:
            return
        fullest = max(self._filled, default=0)
        for cells, (count, first_ms, last_ms) in sorted(self._filled.items()):
            text = f"{cells} of {columns} cells, the fullest row has {fullest}"
            if cells < _HALF * columns and (cells < _HALF * fullest or fullest < _HALF * columns):
                rule = "csv-sparse"
            elif cells < _INCOMPLETE * fullest:
                rule = "csv-incomplete"
            else:
                continue
            self._found.add(rule, last_ms, text, since_ms=first_ms, count=count)

    def _gaps(self) -> None:
        if not self._distances:
            return
        usual_s = max(self._distances, key=lambda distance: self._distances[distance][0])
        if self.rows >= _FEW and not fits_schedule(usual_s, self._interval_s):
            self._found.add(
                "spacing",
                self.last_ms,
                f"mostly {usual_s} s, interval_sec is {self._interval_s}",
                since_ms=self.first_ms,
                count=self.rows,
            )
        interval_s = max(self._interval_s, usual_s)
        late = {s: where for s, where in self._distances.items() if s > _LATE * interval_s}
        missing = sum((round(s / interval_s) - 1) * where[0] for s, where in late.items())
        if not late:
            return
        longest_s = max(late)
        poor = missing > (1 - POOR) * (self.rows + missing)
        self._found.add(
            "csv-gaps" if poor else "csv-gap",
            max(where[2] for where in late.values()),
            f"{missing} rows missing, the longest gap lasts {span(longest_s)}",
            since_ms=min(where[1] for where in late.values()),
            count=sum(where[0] for where in late.values()),
        )


class _Cells(dict[str, bool]):
    """Whether a cell is what its column can hold, worked out once for each text."""

    def __init__(self, register: Register) -> None:
        super().__init__()
        labels = set(register.labels.values()) if register.kind == "enum" else set()
        self._labels = labels
        self._pattern: re.Pattern[str] | None = _INTEGER
        self.expected = "a whole number"
        match register.kind:
            case "switch":
                self._pattern, self.expected = re.compile("[01]"), "0 or 1"
            case "enum":
                self.expected = "a label or code of 'luxcli sensors'"
            case "time":
                self._pattern, self.expected = _TIME, "a time"
            case "address":
                self._pattern, self.expected = _ADDRESS, "an address"
            case "text":
                self._pattern, self.expected = None, "a text"
            case _ if register.scale != 1:
                self._pattern, self.expected = _DECIMAL, "a decimal number"

    def __missing__(self, cell: str) -> bool:
        if len(self) >= _MOST_REMEMBERED:
            self.clear()
        pattern = self._pattern
        good = cell in self._labels or pattern is None or pattern.fullmatch(cell) is not None
        self[cell] = good
        return good


def _note(histogram: dict[int, list[int]], key: int, ts_ms: int) -> None:
    seen = histogram.setdefault(key, [0, ts_ms, ts_ms])
    seen[0] += 1
    seen[2] = ts_ms


def _by_header(name: str) -> Register | None:
    """Return the register that a column is named after, by id or by English name with unit."""
    try:
        return catalogue.by_id(name)
    except KeyError:
        return _names().get(name)


@functools.cache
def _names() -> dict[str, Register]:
    return {csv_file.title(register, "name"): register for register in catalogue.catalogue()}


def _moment(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _columns(found: Findings, table: _Table, configured: Sequence[Register]) -> None:
    missing = [register.id for register in configured if register.id not in table.ids]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        text = f"{missing[0]}{more} missing: made with another csv.sensors?"
        found.add("csv-few-columns", table.last_ms, text, since_ms=table.first_ms)


def _count(found: Findings, table: _Table, config: Config, path: Path, zone: tzinfo) -> None:
    """Compare with the cache if it holds the same time."""
    store = Store(config.cache_path)
    if not config.cache_path.exists():
        return
    start_ms, stop_ms = table.first_ms, table.stop_ms
    period = period_of(config, path, zone)
    if period and period.start_ms - 1000 < start_ms and stop_ms <= period.stop_ms + 1000:
        start_ms, stop_ms = period.start_ms, period.stop_ms
    # The buffer first and as it is: what is flushed meanwhile is found in both, not in none.
    waiting = {poll.taken_ms for poll in store.waiting().polls}
    times = waiting.union(store.database.times(start_ms, stop_ms))
    stored = sum(start_ms <= ts_ms < stop_ms for ts_ms in times)
    # A cache that was lost or pruned since has less; then the file is the better copy.
    if stored > table.rows:
        text = f"{table.rows} rows, {stored} polls in the cache"
        found.add("csv-count", stop_ms, text, since_ms=start_ms, count=stored - table.rows)
