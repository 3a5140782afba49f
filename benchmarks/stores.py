"""Caches to measure, filled from the simulated year through the storage's own door and kept.

Filling a year takes minutes, so it is done once for each version of what decides what is stored.
"""

import hashlib
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import islice
from pathlib import Path
from zoneinfo import ZoneInfo

import luxcli
from benchmarks import year
from luxcli.config import config
from luxcli.config.config import Config
from luxcli.maintenance import archive
from luxcli.model import MissedPoll, Snapshot
from luxcli.store.store import Store

PACKAGE = Path(luxcli.__file__).parent
_DECIDES = ("store/writer.py", "store/schema.py", "maintenance/luxlog.py", "store/sqlite_file.py")
_BLOCK = 2880
ZONE = ZoneInfo(year.ZONE)
# The local date on which the simulated year ends.
LAST_DATE = date(2025, 12, 1)


@dataclass(frozen=True, slots=True)
class Filled:
    """A cache of so many days, with its configuration file."""

    days: int
    directory: Path

    @property
    def cache(self) -> Path:
        """The SQLite file."""
        return self.directory / "cache.sqlite3"

    @property
    def config_file(self) -> Path:
        """For ``--config``."""
        return self.directory / "luxcli.yaml"

    @property
    def config(self) -> Config:
        """What it says."""
        return config.load(self.config_file, {"HOME": str(self.directory)}, self.directory)

    @property
    def archives(self) -> list[Path]:
        """The daily archives."""
        return Store(self.cache).archive_paths()

    @property
    def polls(self) -> int:
        """How many polls the cache holds."""
        return Store(self.cache).database.count(0, year.STOP_MS)


def filled(root: Path, days: int, history: int) -> Filled:
    """Return a cache of the last `days` of a `history` of so many, made where it is missing.

    Caches of one history hold the same polls where they overlap.
    """
    directory = root / _version() / f"days-{days}-of-{history}"
    done = directory / "done"
    if not done.exists():
        _tell(f"filling a cache of {days} days in {directory}")
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        # Retention 0: this past is as old as it is on whatever day the benchmark runs.
        write_config(directory)
        began = time.monotonic()
        store = Store(directory / "cache.sqlite3")
        for block in _blocks(year.polls(history, last=days)):
            polls = [entry for entry in block if isinstance(entry, Snapshot)]
            store.merge(polls, [entry for entry in block if isinstance(entry, MissedPoll)])
        _tell(f"  {time.monotonic() - began:.0f} s; writing its archives")
        archived(Filled(days, directory))
        done.write_text(f"{time.monotonic() - began:.0f} s\n", encoding="utf-8")
    return Filled(days, directory)


def archived(cache: Filled) -> None:
    """Write every archive of a cache that is due; a run of luxcli stops after a few minutes."""
    now_ms = year.STOP_MS + 2 * year.DAY_MS
    while archive.archive_due(cache.config, now_ms=now_ms, zone=ZONE):
        pass


def write_config(directory: Path, **settings: object) -> Path:
    """Write the configuration of a cache in `directory`."""
    chosen: dict[str, object] = {
        "host": "127.0.0.1",
        "timezone": year.ZONE,
        "cache_path": directory / "cache.sqlite3",
        "cache_retention_days": 0,
        "csv_retention_days": 0,
        **settings,
    }
    path = directory / "luxcli.yaml"
    path.write_text("".join(f"{key}: {value}\n" for key, value in chosen.items()), encoding="utf-8")
    return path


def copied(cache: Filled, directory: Path) -> Filled:
    """Return a copy that may be changed."""
    shutil.copytree(cache.directory, directory, dirs_exist_ok=True)
    write_config(directory)
    return Filled(cache.days, directory)


def retention_days(kept: int, today: date) -> int:
    """Return the `cache_retention_days` that keeps the last so many days of the year, today."""
    return (today - LAST_DATE + timedelta(days=kept)).days


def _blocks(entries: Iterator[Snapshot | MissedPoll]) -> Iterator[list[Snapshot | MissedPoll]]:
    while block := list(islice(entries, _BLOCK)):
        yield block


def _version() -> str:
    files = [Path(year.__file__), *(PACKAGE / name for name in _DECIDES)]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
