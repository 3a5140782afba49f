"""The poll job: what the scheduler runs every `interval_sec`.

Like every job it does its work once and returns what it did: it prints nothing, ends no process and
keeps nothing between calls.
"""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple, Self

from luxcli import times
from luxcli.config.config import Config
from luxcli.controller import access, client
from luxcli.errors import DeviceError, Interrupted, LockHeldError, LuxcliError, StorageError
from luxcli.model import CLOCK_DOUBTED, EXTRA, GROUPS, MissedPoll, Snapshot
from luxcli.recording import clock_doubt, limits
from luxcli.registers import continuity
from luxcli.store import journal, owner
from luxcli.store.store import AddResult, Store
from luxcli.system.clock import SYSTEM_CLOCK, Clock

DEVICE_WAIT_S: Final = access.DEVICE_WAIT_S
# An answer that contradicts the poll before is refused for so long, and for two intervals. What
# the controller still sends then is what it has: new firmware, another board, or a poll before that
# was wrong itself.
_REFUSED_S: Final = 300
_REFUSED_INTERVALS: Final = 2.5
_CLOCK_ADVICE: Final = "set this computer's clock, then run 'luxcli repair-times'"
_LOGGER = logging.getLogger(__name__)


class Due(NamedTuple):
    """The scheduled time that a poll is made for: a multiple of the interval since 1970 (UTC).

    Attributes:
        scheduled_ms: UTC milliseconds since the epoch.
        interval_s: Distance of scheduled polls.
    """

    scheduled_ms: int
    interval_s: int

    @classmethod
    def nearest(cls, now_ms: int, interval_s: int) -> Self:
        """Return the scheduled time nearest to a time, the later one of two."""
        step_ms = interval_s * 1000
        return cls((now_ms + step_ms // 2) // step_ms * step_ms, interval_s)

    def after(self, count: int) -> Self:
        """Return the scheduled time so many intervals later."""
        return self._replace(scheduled_ms=self.scheduled_ms + count * self.interval_s * 1000)

    def late_ms(self, ts_ms: int) -> int:
        """Return how long after its scheduled time a poll of the time `ts_ms` was taken.

        If the clock was set meanwhile, the poll counts for the nearest scheduled time.
        """
        late_ms = ts_ms - self.scheduled_ms
        if -self.interval_s * 1000 <= late_ms <= limits.LATEST_S * 1000:
            return late_ms
        return ts_ms - self.nearest(ts_ms, self.interval_s).scheduled_ms


class PollResult(NamedTuple):
    """A poll that is stored.

    Attributes:
        snapshot: What the heat pump sent.
        warning: Why the last flush to the database failed, None if it did not.
        address: Host and port it was read from.
    """

    snapshot: Snapshot
    warning: str | None
    address: str

    @property
    def values(self) -> int:
        """How many register values the poll holds."""
        return sum(len(self.snapshot.block(group)) for group in GROUPS)

    def to_json(self) -> dict[str, object]:
        """Return what ``--json`` prints about the poll."""
        snapshot = self.snapshot
        return {
            "ok": True,
            "taken": times.utc_text(snapshot.taken_ms),
            "taken_ms": snapshot.taken_ms,
            "took_ms": snapshot.took_ms,
            "tries": snapshot.tries,
            "marks": snapshot.marks,
            **{group: len(snapshot.block(group)) for group in GROUPS},
            "warning": self.warning,
        }

    def lines(self) -> list[str]:
        """Return what a person reads about the poll, without the warning."""
        took_s = self.snapshot.took_ms / 1000
        return [f"stored {self.values} values of {self.address}, read in {took_s:.2f} s"]


def read(
    config: Config,
    *,
    retries: int | None = None,
    device_wait_s: float = DEVICE_WAIT_S,
    clock: Clock = SYSTEM_CLOCK,
) -> Snapshot:
    """Read the heat pump once, alone and checked as a poll is; nothing is stored.

    Args:
        config: Says where from.
        retries: Further attempts; those of the configuration by default.
        device_wait_s: How long to wait for another luxcli that talks to the heat pump.
        clock: Dates the snapshot and waits between attempts.

    Raises:
        ConfigError: No heat pump is configured.
        LockHeldError: Another luxcli is talking to the heat pump.
        DeviceError: The heat pump could not be read, or its answer was rejected.
        StorageError: The lock cannot be opened.
    """
    directory = config.cache_path.parent
    with access.exclusive(config.require_host(), config.port, directory, wait_s=device_wait_s):
        tries = config.retries if retries is None else retries
        return _ask(config, tries, Gate(config), clock)


def poll_once(
    config: Config,
    *,
    due: Due | None = None,
    lock_directory: Path | None = None,
    device_wait_s: float = DEVICE_WAIT_S,
    clock: Clock = SYSTEM_CLOCK,
) -> PollResult:
    """Read the heat pump once and store the snapshot.

    Ends within `client.longest_s` and the waits for its locks. A failure is recorded as the reason
    of a missed poll before it is raised.

    Args:
        config: Says where from, where to and how.
        due: The scheduled time that the poll is made for; without it, it is an extra one.
        lock_directory: Where the lock on the heat pump stands; beside the database by default.
        device_wait_s: How long to wait for another luxcli that talks to the heat pump.
        clock: Dates the snapshot and waits between attempts.

    Raises:
        ConfigError: No heat pump is configured.
        LockHeldError: Another luxcli is talking to the heat pump.
        DeviceError: The heat pump could not be read.
        StorageError: The poll, or the reason why there is none, could not be written.
    """
    job = _Job(config, due, clock)
    snapshot = job.read(lock_directory or config.cache_path.parent, device_wait_s)
    added = job.store_or_record(snapshot)
    job.gate.report(job.address, snapshot)
    return PollResult(snapshot, added.warning or job.obstacle(), job.address)


class _Job:
    """One poll on its way from the heat pump into the store."""

    def __init__(self, config: Config, due: Due | None, clock: Clock) -> None:
        self._config, self._due, self._clock = config, due, clock
        self._host = config.require_host()
        self.address = f"{self._host}:{config.port}"
        self._store = Store.open(
            config.cache_path, flush_polls=config.flush_polls, parents=config.may_create_parents
        )
        self.gate = Gate(config)
        self._began_s, self._began_ms = clock.monotonic(), clock.now_ms()

    def read(self, lock_directory: Path, wait_s: float) -> Snapshot:
        """Read the heat pump; a failure is recorded before it is raised."""
        connections = 0
        try:
            with access.exclusive(self._host, self._config.port, lock_directory, wait_s=wait_s):
                connections = 1
                snapshot = _ask(self._config, self._config.retries, self.gate, self._clock)
                return self._for_schedule(snapshot)
        except LockHeldError as exc:
            busy = LockHeldError(f"{self.address}: in use by another luxcli: {exc}")
            self._record(busy, "busy", 0)
            raise busy from exc
        except DeviceError as exc:
            self._record(exc, exc.reason, exc.tries)
            raise
        except Interrupted as exc:
            self._store.use_short_timeouts()
            self._record(exc, "interrupted", connections)
            _try(exc, self._store.flush_some)
            raise

    def _for_schedule(self, snapshot: Snapshot) -> Snapshot:
        """Say in a poll which scheduled time it was made for."""
        if self._due is None:
            return snapshot
        return snapshot._replace(
            late_ms=self._due.late_ms(snapshot.taken_ms),
            interval_s=self._due.interval_s,
            flags=snapshot.flags & ~EXTRA,
        )

    def store_or_record(self, snapshot: Snapshot) -> AddResult:
        """Store a poll; that it belongs to another heat pump is recorded before it is raised."""
        try:
            return self._add(snapshot)
        except Interrupted as exc:
            self._store.use_short_timeouts()
            # Nobody knows how far it came; adding the same poll again is harmless.
            _try(exc, lambda: self._add(snapshot))
            raise

    def obstacle(self) -> str | None:
        """Return why no poll comes into the database, though this one is durable."""
        try:
            self._store.database.check_version()
        except StorageError as exc:
            return f"{exc}; this poll is stored and waits"
        return None

    def _add(self, snapshot: Snapshot) -> AddResult:
        try:
            unchecked = owner.check_owner(self._config.cache_path, self._host, snapshot)
        except StorageError as exc:
            self._record(exc, "foreign", snapshot.tries)
            raise
        added = self._store.add(snapshot.taken_ms, snapshot)
        return added if added.warning else added._replace(warning=unchecked)

    def _record(self, failure: BaseException, reason: str, tries: int) -> None:
        """Record why there is no poll."""
        took_ms = round((self._clock.monotonic() - self._began_s) * 1000)
        missed = MissedPoll(self._began_ms, reason, tries, took_ms, str(failure))
        if self._due is not None:
            late_ms = self._due.late_ms(self._began_ms)
            missed = missed._replace(late_ms=late_ms, interval_s=self._due.interval_s, flags=0)
        if self.gate.doubt(missed.ts_ms, None):
            missed = missed._replace(flags=missed.flags | CLOCK_DOUBTED)
        _try(failure, lambda: self._store.add_missed(missed))


class Gate:
    """Decides whether an answer may be stored, and how it is marked.

    The last accepted poll is looked up when an answer has arrived; without one, as for the first
    poll of a recording, an answer is judged by itself.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._previous: Snapshot | None = None
        self._is_known = False
        self._flags, self._messages = 0, list[str]()

    def check(self, snapshot: Snapshot) -> Sequence[str]:
        """Return the reasons why an answer must not be stored, none if it may be."""
        within_s = max(_REFUSED_S, _REFUSED_INTERVALS * self._config.interval_sec)
        reasons, self._flags, self._messages = continuity.judge(
            snapshot, self.previous(), round(within_s * 1000)
        )
        if text := self.doubt(snapshot.taken_ms, clock_doubt.clock_ms(snapshot)):
            self._flags |= CLOCK_DOUBTED
            self._messages = [*self._messages, f"its time is doubted: {text}"]
        return reasons

    def doubt(self, ts_ms: int, controller_ms: int | None) -> str | None:
        """Return why a time of this computer's clock is doubted, None if it is not."""
        interval_s = self._config.interval_sec
        return clock_doubt.doubt(ts_ms, self.previous(), interval_s, controller_ms=controller_ms)

    def previous(self) -> Snapshot | None:
        """Return the last accepted poll, one with an undoubted time if there is one."""
        if not self._is_known:
            self._previous, self._is_known = self._last_poll(), True
        return self._previous

    def mark(self, snapshot: Snapshot) -> Snapshot:
        """Return the answer that was checked last with its marks."""
        return snapshot._replace(flags=snapshot.flags | self._flags)

    def report(self, address: str, snapshot: Snapshot) -> None:
        """Say what was noticed about a poll that is stored."""
        if not self._messages:
            return
        marks = " and ".join(snapshot._replace(flags=self._flags).marks)
        stored = f"stored and marked as {marks}" if marks else "stored"
        when, noticed = times.utc_text(snapshot.taken_ms), "; ".join(self._messages)
        advice = f"; {_CLOCK_ADVICE}" if self._flags & CLOCK_DOUBTED else ""
        _LOGGER.warning("%s: %s (poll of %s: %s)%s", address, noticed, when, stored, advice)

    def _last_poll(self) -> Snapshot | None:
        try:
            previous = journal.last_poll(self._config.cache_path)
        except StorageError as exc:
            # Storing the poll will fail with the reason, or write past it.
            _LOGGER.debug("the last poll cannot be read: %s", exc)
            return None
        if previous is None:
            _LOGGER.debug("first poll: there is none to compare it with")
        return previous


def _ask(config: Config, retries: int, gate: Gate, clock: Clock) -> Snapshot:
    snapshot = client.read_snapshot(
        config.require_host(),
        config.port,
        timeout_s=config.timeout_sec,
        retries=retries,
        check=gate.check,
        clock=clock,
    )
    return gate.mark(snapshot)


def _try(failure: BaseException, action: Callable[[], object]) -> None:
    """Do what remains to be done after a failure, which an error of the action must not hide."""
    try:
        action()
    except LuxcliError as exc:
        _LOGGER.error("%s (the failure could not be recorded either: %s)", failure, exc)
