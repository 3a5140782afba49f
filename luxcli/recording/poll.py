"""The poll job: what the scheduler runs every `interval_sec`.

Like the jobs in `reports` and `retention` it does its work once and returns what it did: no
printing, no exit statuses, no state between calls; the clock is an argument.
"""

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import NamedTuple

from luxcli.config.config import Config
from luxcli.controller import client
from luxcli.errors import DeviceError, Interrupted, LockHeldError, LuxcliError, StorageError
from luxcli.model import GROUPS, Missed, Snapshot
from luxcli.registers import structure
from luxcli.store import owner
from luxcli.store.store import Added, Store, open_store
from luxcli.system import locks

_LOGGER = logging.getLogger(__name__)
# A poll that finds the heat pump in use waits this long: a healthy exchange takes 0.1 s.
DEVICE_WAIT_S = 5.0


class PollResult(NamedTuple):
    """What `poll_once` stored; `warning` says why it waits in the buffer longer than usual."""

    snapshot: Snapshot
    warning: str | None

    @property
    def values(self) -> int:
        """How many register values the poll holds."""
        return sum(len(self.snapshot.block(group)) for group in GROUPS)


def device_lock(config: Config) -> Path:
    """Return the lock that every command holds while it talks to the heat pump."""
    name = "".join(c if c.isalnum() or c in ".-" else "_" for c in config.require_host().lower())
    return config.cache_path.with_name(f"device-{name}-{config.port}.lock")


@contextmanager
def device_to_oneself(config: Config, *, wait_s: float = DEVICE_WAIT_S) -> Iterator[None]:
    """Keep every other luxcli from talking to the heat pump: it serves one client at a time.

    The lock beside the cache is for all who share the cache, the claim on the address for all on
    this machine, whatever their cache. Where there is no directory for a cache yet, nobody shares
    it.

    Raises:
        LockHeldError: Another one kept one of them for `wait_s` seconds.
        StorageError: The lock cannot be opened.
    """
    shared = os.access(config.cache_path.parent, os.F_OK)
    with (
        locks.hold(device_lock(config), wait_s=wait_s) if shared else nullcontext(),
        client.claim(config.require_host(), config.port, wait_s=wait_s),
    ):
        yield


def read(
    config: Config,
    *,
    retries: int | None = None,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> Snapshot:
    """Read the heat pump once, alone and checked as a poll is; nothing is stored.

    Args:
        config: Says where from.
        retries: Further attempts; those of the configuration by default.
        clock: Gives the time stamp, seconds since the epoch.
        sleep: Waits between attempts, seconds.

    Raises:
        ConfigError: No heat pump is configured.
        LockHeldError: Another luxcli is talking to it.
        DeviceError: It could not be read, or its answer would have been rejected.
        StorageError: The lock cannot be opened.
    """
    with device_to_oneself(config):
        return _ask(config, config.retries if retries is None else retries, clock, sleep)


def _ask(
    config: Config, retries: int, clock: Callable[[], float], sleep: Callable[[float], None]
) -> Snapshot:
    return client.read_snapshot(
        config.require_host(),
        config.port,
        timeout_s=config.timeout_sec,
        retries=retries,
        check=structure.rejection,
        clock=clock,
        sleep=sleep,
    )


def poll_once(
    config: Config,
    *,
    guard: Config | None = None,
    device_wait_s: float = DEVICE_WAIT_S,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> PollResult:
    """Read the heat pump once and keep the snapshot.

    Ends within `client.longest_s` and the waits for its locks.

    Whatever prevents it is recorded as the reason of a missed tick before it is raised.

    Args:
        config: Says where from, where to and how.
        guard: Whose lock on the heat pump to hold, if the cache of `config` is not the usual one.
        device_wait_s: How long to wait for another luxcli that talks to the heat pump.
        clock: Gives the time stamp, seconds since the epoch.
        sleep: Waits between attempts, seconds.

    Raises:
        ConfigError: No heat pump is configured.
        LockHeldError: Another luxcli is talking to it.
        DeviceError: It could not be read.
        StorageError: The poll, or the reason why there is none, could not be written.
    """
    host = config.require_host()
    store = open_store(config)
    began = time.monotonic()
    tick_ms = round(clock() * 1000)

    def record(reason: str, tries: int, detail: str) -> None:
        took_ms = round((time.monotonic() - began) * 1000)
        store.add_missed(Missed(tick_ms, reason, tries, took_ms, detail))

    device = device_to_oneself(guard or config, wait_s=device_wait_s)
    snapshot = _read(config, device, store, record, clock, sleep)
    try:
        added = _add(config.cache_path, host, store, record, snapshot)
    except Interrupted as exc:
        store.hurry()
        # Nobody knows how far it came; adding the same poll again is harmless.
        _keep(exc, lambda: _add(config.cache_path, host, store, record, snapshot))
        raise
    return PollResult(snapshot, added.warning)


def _add(
    cache: Path,
    host: str,
    store: Store,
    record: Callable[[str, int, str], None],
    snapshot: Snapshot,
) -> Added:
    """Store a poll, unless it is of another heat pump than those in the cache."""
    try:
        owner.admit(cache, host, snapshot)
    except StorageError as exc:
        foreign = exc
        _keep(exc, lambda: record("foreign", snapshot.tries, str(foreign)))
        raise
    return store.add(snapshot.taken_ms, snapshot)


def _read(
    config: Config,
    device: AbstractContextManager[None],
    store: Store,
    record: Callable[[str, int, str], None],
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> Snapshot:
    """Read the heat pump; what prevents it is given to `record` before it is raised."""
    address = f"{config.host}:{config.port}"
    connected = 0
    try:
        with device:
            connected = 1
            return _ask(config, config.retries, clock, sleep)
    except LockHeldError as exc:
        busy = LockHeldError(f"{address}: in use by another luxcli: {exc}")
        _keep(busy, lambda: record("busy", 0, str(busy)))
        raise busy from exc
    except DeviceError as exc:
        failure = exc
        _keep(exc, lambda: record(failure.reason, failure.tries, str(failure)))
        raise
    except Interrupted as exc:
        interruption = exc
        store.hurry()
        _keep(exc, lambda: record("interrupted", connected, str(interruption)))
        _keep(exc, store.flush)
        raise


def _keep(failure: BaseException, record: Callable[[], object]) -> None:
    """Keep what is known; if even that fails, the poll's own failure must not be hidden by it."""
    try:
        record()
    except LuxcliError as exc:
        _LOGGER.error("%s; nor could that be recorded: %s", failure, exc)
