"""Names and places of the CSVs that roll-ups write."""

import re
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from luxcli.config.config import Config
from luxcli.errors import (
    StorageError,
)
from luxcli.periods import Kind, Period


def directory(config: Config, kind: Kind) -> Path:
    return config.daily_dir if kind == "daily" else config.weekly_dir


def closed_path(config: Config, period: Period) -> Path:
    return directory(config, period.kind) / f"{period.label}_{period.kind}.csv"


CSV_NAME = re.compile(r"(\d{4}-\d\d-\d\d)(_\d{4})?_(daily|weekly)\.csv")


def csvs(config: Config) -> list[tuple[date, Path]]:
    """Return the CSVs that are there, with the local dates in their names.

    Raises:
        StorageError: A directory cannot be read.
    """
    ours: list[tuple[date, Path]] = []
    for directory in sorted({config.daily_dir, config.weekly_dir}):
        try:
            names = sorted(directory.iterdir()) if directory.is_dir() else []
        except OSError as exc:
            raise StorageError(f"{directory}: cannot be read: {exc.strerror}") from exc
        for path in names:
            match = CSV_NAME.fullmatch(path.name)
            if match:
                try:
                    ours.append((date.fromisoformat(match[1]), path))
                except ValueError:  # such as 2026-02-31: not one of ours
                    continue
    return ours


def newest_of(csvs: Sequence[tuple[date, Path]]) -> Path:
    """Return the CSV of the latest day, of several the one that was written last."""
    return max(csvs, key=lambda entry: (entry[0], entry[1].stat().st_mtime))[1]
