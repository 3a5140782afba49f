"""Checks a CSV: header, times, cells, completeness, and its rows against the database."""

import csv
import io
import itertools
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from pathlib import Path
from typing import BinaryIO, ClassVar, Final, cast

from luxcli.config.config import Config
from luxcli.errors import NoDataError, StorageError
from luxcli.exports import columns, csv_file
from luxcli.exports.csv_file import TIME_COLUMNS
from luxcli.recording.coverage import TARGET
from luxcli.registers.catalogue import Register
from luxcli.rollup.files import period_of
from luxcli.store.store import Store
from luxcli.system import files
from luxcli.system.progress import Progress, silent
from luxcli.times import span
from luxcli.validation.csv_rows import TIME, Cells, Values, register_of
from luxcli.validation.findings import Finding, Findings
from luxcli.validation.recording import ENOUGH, Spacing
from luxcli.validation.report import Report

_DELIMITERS: Final = ",;|\t"
_LATE: Final = 1.5
# A row with less than this share of the fullest one lost values; new firmware adds a tenth at once.
_INCOMPLETE: Final = 0.75
_HALF: Final = 0.5
_INCOMPLETE_RULES: Final = frozenset({"csv-sparse", "csv-incomplete", "csv-width"})
_FIRST_YEAR, _LAST_YEAR = 2000, 9998

# Rows that `look` reads.
_FIRST_ROWS: Final = 200


def check(config: Config, path: Path, zone: tzinfo, *, progress: Progress = silent) -> Report:
    """Check one CSV.

    Args:
        config: Interval and columns, and where the database is, which may be missing.
        path: The file.
        zone: Where the owner's days end, to learn from its name what the file should hold.
        progress: Called with the number of bytes read and the size of the file.

    Raises:
        NoDataError: The file is empty, or no text.
        StorageError: The file cannot be read.
        ConfigError: ``csv.sensors`` names what does not exist.
    """
    findings = Findings()
    table = _Table(findings, config.interval_sec, zone)
    is_cut = _read(path, table, progress)
    whole = _WholeFile(findings, table)
    if is_cut:
        whole.judge_last_line()
    remark = None
    if table.end():
        whole.judge_columns(columns.columns(config))
        try:
            whole.judge_count(config, path, zone)
        except StorageError as exc:
            remark = f"not compared with the database: {exc}"
    return Report(
        *(table.first_ms, table.stop_ms, table.rows, findings.all()),
        not_fitted=table.values.not_fitted(),
        remark=remark,
        judged=table.values.areas | {"recording"},
    )


@dataclass(frozen=True, slots=True)
class Look:
    """A quick look at the first rows of a CSV.

    Attributes:
        rows: How many rows were read.
        complete: How many of them hold most of the values.
        findings: What is wrong with the others.
    """

    rows: int
    complete: int
    findings: tuple[Finding, ...]


def look(path: Path, interval_s: int, zone: tzinfo) -> Look:
    """Judge the completeness of the first rows of a CSV, without the database.

    Raises:
        NoDataError: The file is empty, or no text.
        StorageError: The file cannot be read.
    """
    findings = Findings()
    table = _Table(findings, interval_s, zone)
    _read(path, table, most_rows=_FIRST_ROWS)
    table.end()
    found = tuple(one for one in findings.all() if one.rule in _INCOMPLETE_RULES)
    incomplete = sum(one.count for one in found)
    return Look(table.rows, max(0, table.rows - incomplete), found)


def _read(
    path: Path, table: "_Table", progress: Progress = silent, *, most_rows: int | None = None
) -> bool:
    """Give the rows of a file to a table; return whether the last line has no end.

    A file that is named by the user, and not only looked at, may be a pipe.
    """
    try:
        opening = path.open("rb") if most_rows is None else files.open_regular(path)
        with opening as opened, _seekable(opened) as file:
            size = file.seek(0, io.SEEK_END)
            if not size:
                raise NoDataError(f"{path}: empty")
            file.seek(size - 1)
            is_cut = file.read() != b"\n"
            file.seek(0)
            head = file.read(4096)
            if b"\0" in head:
                raise NoDataError(f"{path}: not a CSV, it holds binary data")
            file.seek(0)
            with io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
                rows = _rows(text, head)
                # One more than the rows: the header.
                for row in rows if most_rows is None else itertools.islice(rows, most_rows + 1):
                    table.update(row)
                    progress(file.tell(), size)
    except (UnicodeDecodeError, csv.Error) as exc:
        raise NoDataError(f"{path}: not a CSV in UTF-8: {exc}") from exc
    except OSError as exc:
        raise StorageError(f"{path}: cannot be read: {exc.strerror or exc}") from exc
    return is_cut


def _seekable(file: BinaryIO) -> BinaryIO:
    """Return a file itself, or the content of a pipe as a temporary file, removed when closed."""
    if file.seekable():
        return file
    copy = tempfile.TemporaryFile()  # noqa: SIM115  the caller closes it
    shutil.copyfileobj(file, copy)
    return cast("BinaryIO", copy)


def _rows(text: Iterable[str], head: bytes) -> Iterator[list[str]]:
    """Yield the rows; the delimiter is the character after the first column's name."""
    begin = head.removeprefix(b"\xef\xbb\xbf").removeprefix(b'"')
    begin = begin.removeprefix(TIME_COLUMNS[0].encode()).removeprefix(b'"')[:1]
    # Nothing may follow that name.
    delimiter = begin.decode() if begin and begin in _DELIMITERS.encode() else ","
    return csv.reader(text, delimiter=delimiter)


class _Table:
    """Header, times and cells of a CSV, row by row.

    Attributes:
        rows: Number of rows below the header.
        first_ms: Time of the first row, UTC; 0 when there is none.
        last_ms: Time of the last row.
        ids: Ids of the registers that have a column.
        values: Checks of the numbers.
    """

    rules: ClassVar = (
        *("csv-header", "csv-columns", "csv-duplicate", "csv-order", "csv-no-sensors"),
        *("csv-no-rows", "csv-width", "csv-time", "csv-time-order", "csv-local-time", "csv-zone"),
        *("csv-cell", "csv-sparse", "csv-incomplete", "csv-gap", "csv-gaps"),
    )

    def __init__(self, findings: Findings, interval_s: int, zone: tzinfo) -> None:
        self.rows = self.first_ms = self.last_ms = 0
        self.ids: set[str] = set()
        self.values = Values(findings, (), interval_s)
        self._findings, self._interval_s, self._zone = findings, interval_s, zone
        self._header: list[str] | None = None
        self._usable = True
        self._cells: list[tuple[Register, Cells] | None] = []
        self._filled: dict[int, list[int]] = {}  # cells -> rows, time of the first and the last
        self._distances: dict[int, list[int]] = {}  # seconds -> likewise

    @property
    def stop_ms(self) -> int:
        """End of what the rows cover, excluded; their times are whole seconds, rounded down."""
        return self.last_ms + 1000 if self.last_ms else 0

    def update(self, row: list[str]) -> None:
        """Take the next row; the first is the header."""
        if self._header is None:
            self._header = row
            self._judge_header(row)
        elif self._usable:
            self.rows += 1
            self._judge_row(row)

    def end(self) -> bool:
        """Judge the whole after the last row; return whether the header is that of our CSVs."""
        if not self._usable or self._header is None:
            return False
        if not self.rows:
            self._findings.add("csv-no-rows", 0, "a header and nothing else")
            return True
        self.values.end()
        self._completeness(len(self._header) - len(TIME_COLUMNS))
        self._gaps()
        return True

    def _judge_header(self, header: list[str]) -> None:
        add = self._findings.add
        if tuple(header[:2]) != TIME_COLUMNS:
            self._usable = False
            add("csv-header", 0, f"begins with {','.join(header[:2])[:60]!r}")
            return
        names: set[str] = set()
        position = (-1, -1)
        for name in header[2:]:
            register = register_of(name)
            self._cells.append(None if register is None else (register, Cells(register)))
            if name in names:
                add("csv-duplicate", 0, repr(name))
            names.add(name)
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
        self.values = Values(self._findings, registers, self._interval_s)

    def _judge_row(self, row: list[str]) -> None:
        width = len(self._cells) + len(TIME_COLUMNS)
        ts_ms = self._time(row)
        if len(row) != width:
            text = f"row {self.rows} has {len(row)} cells, the header {width}"
            self._findings.add("csv-width", ts_ms, text)
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
                self._findings.add(
                    "csv-cell",
                    ts_ms,
                    f"{cell[:40]!r} in row {self.rows}",
                    index=register.index,
                    group=register.group,
                    expected=column[1].expected,
                )
        _note(self._filled, filled, ts_ms)
        self.values.update(ts_ms, cells)

    def _time(self, row: Sequence[str]) -> int:
        """Judge the two times of a row; return the first, or that of the row before."""
        utc = _moment(row[0]) if row and TIME.fullmatch(row[0]) else None
        # Near the ends of the calendar no other zone has that moment.
        if utc is None or not _FIRST_YEAR <= utc.year <= _LAST_YEAR:
            text = f"{row[0][:40]!r} in row {self.rows}" if row else f"row {self.rows} is empty"
            self._findings.add("csv-time", self.last_ms, text)
            return self.last_ms
        ts_ms = int(utc.timestamp()) * 1000
        local = _moment(row[1]) if len(row) > 1 else None
        if local is None or local.tzinfo is None or local != utc:
            text = f"{row[0]} but {row[1][:40] if len(row) > 1 else ''!r}"
            self._findings.add("csv-local-time", ts_ms, text)
        elif local.utcoffset() != utc.astimezone(self._zone).utcoffset():
            self._findings.add("csv-zone", ts_ms, f"{row[1]}, the zone is {self._zone}")
        if not self.first_ms:
            self.first_ms = ts_ms
        elif ts_ms <= self.last_ms:
            self._findings.add("csv-time-order", ts_ms, f"{row[0]} in row {self.rows}")
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
            self._findings.add(rule, last_ms, text, since_ms=first_ms, count=count)

    def _gaps(self) -> None:
        if not self._distances:
            return
        usual_s = max(self._distances, key=lambda distance: self._distances[distance][0])
        if self.rows >= ENOUGH:
            Spacing(self._findings).judge(
                *(usual_s, self._interval_s, self.rows),
                start_ms=self.first_ms,
                stop_ms=self.last_ms,
            )
        interval_s = max(self._interval_s, usual_s)
        late = {s: where for s, where in self._distances.items() if s > _LATE * interval_s}
        missing = sum((round(s / interval_s) - 1) * where[0] for s, where in late.items())
        if not late:
            return
        longest_s = max(late)
        too_many = missing > (1 - TARGET) * (self.rows + missing)
        self._findings.add(
            "csv-gaps" if too_many else "csv-gap",
            max(where[2] for where in late.values()),
            f"{missing} rows missing, the longest gap lasts {span(longest_s)}",
            since_ms=min(where[1] for where in late.values()),
            count=sum(where[0] for where in late.values()),
        )


def _note(histogram: dict[int, list[int]], key: int, ts_ms: int) -> None:
    entry = histogram.setdefault(key, [0, ts_ms, ts_ms])
    entry[0] += 1
    entry[2] = ts_ms


def _moment(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


class _WholeFile:
    """What a file lacks as a whole: columns, rows, the end of its last line."""

    rules: ClassVar = ("csv-few-columns", "csv-count", "csv-torn")

    def __init__(self, findings: Findings, table: _Table) -> None:
        self._findings, self._table = findings, table

    def judge_last_line(self) -> None:
        """Report that the last line has no end."""
        last_ms = self._table.last_ms
        self._findings.add("csv-torn", last_ms, "no end of line", since_ms=last_ms)

    def judge_columns(self, configured: Sequence[Register]) -> None:
        """Report configured columns that the file does not have."""
        table = self._table
        missing = [register.id for register in configured if register.id not in table.ids]
        if missing:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            text = f"{missing[0]}{more} missing: made with another csv.sensors?"
            add = self._findings.add
            add("csv-few-columns", table.last_ms, text, since_ms=table.first_ms)

    def judge_count(self, config: Config, path: Path, zone: tzinfo) -> None:
        """Report rows that are missing, where the database holds the same time.

        Raises:
            StorageError: The database cannot be read.
        """
        table, store = self._table, Store(config.cache_path)
        if not config.cache_path.exists():
            return
        start_ms, stop_ms = table.first_ms, table.stop_ms
        period = period_of(config, path, zone)
        if period and period.start_ms - 1000 < start_ms and stop_ms <= period.stop_ms + 1000:
            start_ms, stop_ms = period.start_ms, period.stop_ms
        # The journals first: a poll flushed meanwhile is then found in both, not in neither.
        waiting = set(store.waiting().polls_ms)
        times = waiting.union(store.database.times(start_ms, stop_ms))
        poll_count = sum(start_ms <= ts_ms < stop_ms for ts_ms in times)
        # A database that was lost or pruned since holds less; then the file is the better copy.
        if poll_count > table.rows:
            text = f"{table.rows} rows, {poll_count} polls in the database"
            count = poll_count - table.rows
            self._findings.add("csv-count", stop_ms, text, since_ms=start_ms, count=count)
