"""A heat pump's recorded past, put into a real store the way polls come in."""

import functools
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from luxcli.config import config
from luxcli.config.config import Config
from luxcli.controller import access
from luxcli.model import Snapshot
from luxcli.store.store import Store
from tests.support.builders import replay, scheduled, write_journals

BERLIN = ZoneInfo("Europe/Berlin")
HOUR_MS = 3_600_000


def ms(local: str, zone: ZoneInfo = BERLIN) -> int:
    """Return a local wall-clock time such as 2026-10-25T07:00 as UTC milliseconds."""
    return int(datetime.fromisoformat(local).replace(tzinfo=zone).timestamp() * 1000)


def configured(directory: Path, **settings: object) -> Config:
    """Return the configuration of a database in `directory`, zone Europe/Berlin."""
    options = {
        "host": "127.0.0.1",
        "cache_path": str(directory / "cache.sqlite3"),
        "timezone": "Europe/Berlin",
    }
    return config.load(None, {"HOME": str(directory)}, directory, {**options, **settings})


def device_lock(settings: Config) -> Path:
    """Return the lock file of the configured heat pump."""
    return access.lock_path(settings.require_host(), settings.port, settings.cache_path.parent)


def open_store(settings: Config) -> Store:
    """Return the configured store as a job opens it."""
    return Store.open(
        settings.cache_path,
        flush_polls=settings.flush_polls,
        parents=settings.may_create_parents,
    )


def alone_with_device(settings: Config) -> AbstractContextManager[None]:
    """Keep every other luxcli from talking to the configured heat pump."""
    return access.exclusive(settings.require_host(), settings.port, settings.cache_path.parent)


def record(
    settings: Config, start_ms: int, stop_ms: int, step_s: int = 600, profile: str = "msw6"
) -> list[int]:
    """Put a poll every `step_s` in ``[start_ms, stop_ms)`` into the journals; return their times.

    They are scheduled polls of the configured interval.
    Written there at once: waiting for the disk after each is for the tests of the journal.
    """
    times = range(start_ms, stop_ms, step_s * 1000)
    settings.cache_path.parent.mkdir(parents=True, exist_ok=True)
    write_journals(settings.cache_path, _polls(times, profile, settings.interval_sec))
    return list(times)


@functools.lru_cache(maxsize=16)
def _polls(times: range, profile: str, interval_s: int) -> tuple[Snapshot, ...]:
    source = replay(profile)
    return tuple(scheduled(source.at(ts_ms / 1000), interval_s) for ts_ms in times)
