"""Names and directories of the CSVs that roll-ups write."""

import re
from collections.abc import Iterator
from datetime import date, tzinfo
from pathlib import Path
from typing import Final, NamedTuple

from luxcli import periods, times
from luxcli.config.config import Config
from luxcli.errors import file_error
from luxcli.periods import KINDS, Kind, Period

_NAME: Final = re.compile(r"(\d{4}-\d\d-\d\d)(?:_(\d{4}))?_(daily|weekly)\.csv", re.ASCII)


class CsvFile(NamedTuple):
    """A CSV by its name.

    Attributes:
        day: Local date on which its period ends.
        kind: daily or weekly.
        is_closed: Whether it is the file of a closed period, not of a sliding one (which has a
            time of day in its name).
        path: The file.
    """

    day: date
    kind: Kind
    is_closed: bool
    path: Path


def parse(path: Path) -> CsvFile | None:
    """Return what the name of a file says, None if it is not one that a roll-up gives."""
    match = _NAME.fullmatch(path.name)
    if match is None:
        return None
    try:
        day = date.fromisoformat(match[1])
    except ValueError:  # such as 2026-02-31
        return None
    kind = next(kind for kind in KINDS if kind == match[3])
    return CsvFile(day, kind, match[2] is None, path)


def csvs(config: Config) -> list[CsvFile]:
    """Return the CSVs in the output directories.

    Raises:
        StorageError: A directory cannot be read.
    """
    return list(_list(config))


def newest(files: list[CsvFile]) -> CsvFile:
    """Return the CSV of the latest day, of several the one that was written last."""
    return max(files, key=lambda file: (file.day, file.path.stat().st_mtime))


def closed_path(config: Config, period: Period) -> Path:
    """Return the path of a closed period's CSV."""
    return _directory(config, period.kind) / f"{period.label}_{period.kind}.csv"


def sliding_path(config: Config, period: Period, zone: tzinfo) -> Path:
    """Return the path of a sliding period's CSV that must not replace a closed period's."""
    clock = times.local_time(period.stop_ms, zone)
    name = f"{period.label}_{clock:%H%M}_{period.kind}.csv"
    return _directory(config, period.kind) / name


def period_of(config: Config, path: Path, zone: tzinfo) -> Period | None:
    """Return the closed period that a CSV is named after, though it may hold another one."""
    file = parse(path)
    if file is None or not file.is_closed:
        return None
    try:
        return periods.period_ending_on(file.kind, file.day, config.csv_time, zone)
    except (OverflowError, ValueError):  # at the ends of the calendar
        return None


def _list(config: Config) -> Iterator[CsvFile]:
    for directory in sorted({config.daily_dir, config.weekly_dir}):
        try:
            paths = sorted(directory.iterdir()) if directory.is_dir() else []
        except OSError as exc:
            raise file_error(directory, "cannot be read", exc) from exc
        for path in paths:
            file = parse(path)
            if file:
                yield file


def _directory(config: Config, kind: Kind) -> Path:
    return config.daily_dir if kind == "daily" else config.weekly_dir
