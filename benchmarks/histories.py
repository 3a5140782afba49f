"""Histories to measure: databases and archives of the simulated year, filled once and kept.

They are filled through `Store.merge`, as a restore does it. A year takes minutes, so a history is
kept until the code that decides what is stored changes.
"""

import hashlib
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import islice
from pathlib import Path
from zoneinfo import ZoneInfo

import luxcli
from benchmarks import year
from benchmarks.report import announce
from luxcli.config import config
from luxcli.config.config import Config
from luxcli.maintenance import archive
from luxcli.model import MissedPoll, Snapshot
from luxcli.store.store import Store

PACKAGE = Path(luxcli.__file__).parent
# A history of another version of these files is filled again.
_DECISIVE_FILES = (
    "store/writer.py",
    "store/schema.py",
    "store/sqlite_file.py",
    "store/rows.py",
    "maintenance/columns.py",
    "maintenance/document.py",
)
_BATCH_POLLS = 2880
ZONE = ZoneInfo(year.ZONE)
# The local date on which the simulated year ends.
LAST_DATE = date(2025, 12, 1)


@dataclass(frozen=True, slots=True)
class History:
    """A directory with a database of so many days, its archives and its configuration file."""

    days: int
    directory: Path

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.directory / "cache.sqlite3"

    @property
    def config_file(self) -> Path:
        """The file for ``--config``."""
        return self.directory / "luxcli.yaml"

    @property
    def config(self) -> Config:
        """The settings of the configuration file."""
        return config.load(self.config_file, {"HOME": str(self.directory)}, self.directory)

    @property
    def archives(self) -> list[Path]:
        """The daily archives."""
        return Store(self.database).archive_paths()

    @property
    def polls(self) -> int:
        """Number of polls in the database."""
        return Store(self.database).database.count(0, year.STOP_MS)


def fill(root: Path, days: int, simulated_days: int) -> History:
    """Return the history of the last `days`, filled if it is missing.

    Histories of the same number of simulated days hold the same polls where they overlap.

    Args:
        root: Directory of all histories.
        days: Days to store, counted back from the end of the simulation.
        simulated_days: Length of the simulation.
    """
    directory = root / _version() / f"days-{days}-of-{simulated_days}"
    done = directory / "done"
    if not done.exists():
        announce(f"filling a database of {days} days in {directory}")
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        write_config(directory)
        began = time.monotonic()
        store = Store(directory / "cache.sqlite3")
        for batch in _batches(year.polls(simulated_days, last=days)):
            polls = [entry for entry in batch if isinstance(entry, Snapshot)]
            store.merge(polls, [entry for entry in batch if isinstance(entry, MissedPoll)])
        announce(f"  {time.monotonic() - began:.0f} s; writing its archives")
        write_archives(History(days, directory))
        done.write_text(f"{time.monotonic() - began:.0f} s\n", encoding="utf-8")
    return History(days, directory)


def write_archives(history: History) -> None:
    """Write every archive that is due; one call of luxcli stops after a few minutes."""
    now_ms = year.STOP_MS + 2 * year.DAY_MS
    while archive.archive_due(history.config, now_ms=now_ms, zone=ZONE):
        pass


def write_config(directory: Path, **settings: object) -> Path:
    """Write the configuration file of a history; return its path."""
    chosen: dict[str, object] = {
        "host": "127.0.0.1",
        "timezone": year.ZONE,
        "cache_path": directory / "cache.sqlite3",
        # For ever: the simulated year is longer ago each day that the benchmark is run.
        "cache_retention_days": 0,
        "csv_retention_days": 0,
        **settings,
    }
    path = directory / "luxcli.yaml"
    path.write_text("".join(f"{key}: {value}\n" for key, value in chosen.items()), encoding="utf-8")
    return path


def copy(history: History, directory: Path) -> History:
    """Return a copy of a history that may be changed."""
    shutil.copytree(history.directory, directory, dirs_exist_ok=True)
    write_config(directory)
    return History(history.days, directory)


def retention_days(kept: int, today: date) -> int:
    """Return the `cache_retention_days` that today keeps the last so many days of the year."""
    return (today - LAST_DATE + timedelta(days=kept)).days


def _batches(entries: Iterator[Snapshot | MissedPoll]) -> Iterator[list[Snapshot | MissedPoll]]:
    while batch := list(islice(entries, _BATCH_POLLS)):
        yield batch


def _version() -> str:
    files = [Path(year.__file__), *(PACKAGE / name for name in _DECISIVE_FILES)]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]
