"""Notification state: decides which results are reported now, and remembers what was reported.

The state is a small JSON file beside the database, replaced in one step and not synced: losing it
costs one notification too many. A time in it that lies in the future was written while the clock
was wrong, and counts as never.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from luxcli.system import files, locks

# A failure that lasts is reported again this often.
REPEAT_EVERY_S: Final = 3600
# A failure within that time after the last notification has to last this long to be reported:
# polls that fail now and then must not send a message each.
PENDING_S: Final = 300
# Delay before the next attempt when no channel accepted a notification: a server that is down must
# not cost every poll ten seconds.
RETRY_S: Final = 300
_LOCK_WAIT_S: Final = 0.5
# Runs that end at the same time may write their times in another order.
_CONCURRENT_MS: Final = 60_000

Event = Literal["success", "failed", "recovered", "stale"]


@dataclass(frozen=True, slots=True)
class State:
    """What was reported of a job; times in ms since the epoch, 0 for never.

    Attributes:
        failing_since_ms: When the failure began that lasts, None while all is well.
        last_event: The last notification sent of this failure, "" while it is pending.
        is_delivered: Whether ntfy or the command accepted one of them.
        last_failure_ms: When a failure was last reported.
        last_success_ms: When a success was last reported; 0 from the first report of a failure on,
            so that the recovery from it is due at once.
    """

    failing_since_ms: int | None = None
    last_event: Literal["", "failed", "stale"] = ""
    is_delivered: bool = False
    last_failure_ms: int = 0
    last_success_ms: int = 0


States = Mapping[str, State]


class Decision(NamedTuple):
    """What follows from a result.

    Attributes:
        event: What is reported, None for nothing.
        to_all: Whether ntfy and the command get it too, or the dead man's switches alone.
        after: The state, provided that the notification is accepted.
    """

    event: Event | None
    to_all: bool
    after: State


def after_success(before: State, now_ms: int, ping_every_s: int) -> Decision:
    """Decide what to report after a run that succeeded.

    Args:
        before: The state.
        now_ms: The time.
        ping_every_s: How often a success is reported, in seconds; 0 for each one.
    """
    if before.last_event:
        if not _has_passed(before.last_success_ms, RETRY_S, now_ms):
            return Decision(None, False, before)
        after = State(last_failure_ms=before.last_failure_ms, last_success_ms=now_ms)
        return Decision("recovered", before.is_delivered, after)
    after = replace(before, failing_since_ms=None)
    if ping_every_s and not _has_passed(before.last_success_ms, ping_every_s, now_ms):
        return Decision(None, False, after)
    return Decision("success", False, replace(after, last_success_ms=now_ms))


def after_failure(before: State, now_ms: int, event: Literal["failed", "stale"]) -> Decision:
    """Decide what to report after a run that failed, or when there was no good poll for too long.

    Args:
        before: The state.
        now_ms: The time.
        event: Which of the two.
    """
    since_ms = now_ms if before.failing_since_ms is None else before.failing_since_ms
    if event == "stale":
        is_due = before.last_event != "stale"
    else:
        is_pending = before.failing_since_ms is not None and not before.last_event
        is_due = is_pending and _has_passed(since_ms, PENDING_S, now_ms)
    if not is_due and not _has_passed(before.last_failure_ms, REPEAT_EVERY_S, now_ms):
        return Decision(event, False, replace(before, failing_since_ms=since_ms))
    after = State(
        failing_since_ms=since_ms,
        last_event="stale" if before.last_event == "stale" else event,
        is_delivered=before.is_delivered,
        last_failure_ms=now_ms,
        last_success_ms=before.last_success_ms if before.last_event else 0,
    )
    return Decision(event, True, after)


def not_accepted(event: Event, before: State, after: State, now_ms: int) -> State:
    """Return the state when no channel accepted a notification: it is due again in `RETRY_S`."""
    if event == "recovered":
        return replace(before, last_success_ms=now_ms)
    return replace(after, last_failure_ms=now_ms - (REPEAT_EVERY_S - RETRY_S) * 1000)


def _has_passed(last_ms: int, every_s: int, now_ms: int) -> bool:
    return not -_CONCURRENT_MS <= now_ms - last_ms < every_s * 1000


@contextmanager
def changing(path: Path) -> Iterator[None]:
    """Keep other processes from changing the file for the duration of the block.

    Raises:
        LockHeldError: Another process changed it for half a second.
        StorageError: The lock cannot be created.
    """
    with locks.hold(path.with_name(path.name + ".lock"), wait_s=_LOCK_WAIT_S):
        yield


def read(path: Path) -> dict[str, State]:
    """Return the state of each job; what cannot be read or has the wrong type is left out."""
    try:
        document = json.loads(files.read_small(path))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(document, dict):
        return {}
    return {job: _state(entry) for job, entry in document.items() if isinstance(entry, dict)}


def _state(entry: Mapping[str, Any]) -> State:
    types = {f.name: int if f.default is None else type(f.default) for f in fields(State)}
    valid: dict[str, Any] = {k: v for k, v in entry.items() if type(v) is types.get(k)}
    return State(**valid)


def write(path: Path, states: States) -> None:
    """Replace the file in one step; the caller holds `changing`.

    Raises:
        OSError: The file cannot be written; the old file is still there.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.unlink(missing_ok=True)  # left by a process that was killed, maybe of another user
    text = json.dumps({job: asdict(state) for job, state in states.items()})
    try:
        with temporary.open("x", encoding="utf-8") as file:
            file.write(text)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
