"""What others know of how jobs go: the rules of what to tell them next, and the file it is kept in.

The file is small, beside the cache, replaced in one step and not synced: losing it costs a message
too many. A time in it that lies well in the future was written while the clock was wrong, and is
taken for never.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Final, Literal

from luxcli.system import locks

# Trouble that lasts is told again this often.
NOTICE_EVERY_S: Final = 3600
# New trouble that comes sooner after the last one that was told is told when it has lasted so long:
# polls that fail now and then must not be a message each.
LASTING_S: Final = 300
# Nobody could be told: the next try. A server that is away must not cost every poll ten seconds.
RETRY_S: Final = 300
_LOCK_WAIT_S: Final = 0.5
# How far apart the ends of two runs may be that tell at the same time.
_BESIDE_MS: Final = 60_000

Result = Literal["success", "failed", "recovered", "stale"]


@dataclass(frozen=True, slots=True)
class State:
    """What others know of a job; times in ms since the epoch, 0 for never.

    Attributes:
        since_ms: When the trouble began that lasts; None when all is well.
        stale: Whether it was told that polls no longer come.
        quiet: Whether the trouble waits for `LASTING_S` until it is told.
        told: Whether anybody heard of the trouble.
        notice_ms: When that was last tried.
        retry_ms: When the end of the trouble may be told again, after nobody could be told.
        ping_ms: When it was last told that all is well.
    """

    since_ms: int | None = None
    stale: bool = False
    quiet: bool = False
    told: bool = False
    notice_ms: int = 0
    retry_ms: int = 0
    ping_ms: int = 0


States = Mapping[str, State]


def after_success(before: State, now_ms: int, every_s: int) -> tuple[Result | None, State]:
    """Return what is to be told after a run that went well, and what is known then.

    Args:
        before: What was known.
        now_ms: The time.
        every_s: How often it is told that all is well, in seconds; 0 for each time.
    """
    if before.quiet:  # nobody heard that there was trouble
        before = replace(before, since_ms=None, quiet=False)
    if before.since_ms is not None:
        if 0 < before.retry_ms - now_ms <= RETRY_S * 1000:
            return None, before
        return "recovered", State(notice_ms=before.notice_ms, ping_ms=now_ms)
    if every_s and not _passed(before.ping_ms, every_s, now_ms):
        return None, before
    return "success", replace(before, ping_ms=now_ms)


def after_failure(before: State, now_ms: int, *, stale: bool) -> tuple[Result, bool, State]:
    """Return what happened, whether it is to be told as news, and what is known then.

    Args:
        before: What was known.
        now_ms: The time.
        stale: Whether there was no good poll for too long.
    """
    if stale:
        return "stale", not before.stale or is_due(before, now_ms), found_stale(before, now_ms)
    if before.since_ms is None:
        soon = not is_due(before, now_ms)
        notice_ms = before.notice_ms if soon else now_ms
        return (
            "failed",
            not soon,
            State(now_ms, quiet=soon, notice_ms=notice_ms, ping_ms=before.ping_ms),
        )
    lasting = before.quiet and _passed(before.since_ms, LASTING_S, now_ms)
    if lasting or is_due(before, now_ms):
        return "failed", True, replace(before, quiet=False, notice_ms=now_ms)
    return "failed", False, before


def found_stale(before: State, now_ms: int) -> State:
    """Return what is known after it was noticed that polls no longer come."""
    if before.stale and not is_due(before, now_ms):
        return before
    since_ms = now_ms if before.since_ms is None else before.since_ms
    return replace(before, since_ms=since_ms, stale=True, quiet=False, notice_ms=now_ms)


def is_due(state: State, now_ms: int) -> bool:
    """Whether trouble that lasts is to be told again."""
    return _passed(state.notice_ms, NOTICE_EVERY_S, now_ms)


def _passed(last_ms: int, every_s: int, now_ms: int) -> bool:
    # One a little later is that of a process that ended just before this one.
    return not -_BESIDE_MS <= now_ms - last_ms < every_s * 1000


def not_heard(event: Result, before: State, after: State, now_ms: int) -> State:
    """Return what others know when `event` reached nobody."""
    if event == "recovered":
        return replace(before, retry_ms=now_ms + RETRY_S * 1000)
    return replace(after, notice_ms=now_ms - (NOTICE_EVERY_S - RETRY_S) * 1000)


@contextmanager
def changing(path: Path) -> Iterator[None]:
    """Let no other process change the file for the duration of the block.

    Raises:
        LockHeldError: Another one did so for half a second.
        StorageError: There is no such lock.
    """
    with locks.hold(path.with_name(path.name + ".lock"), wait_s=_LOCK_WAIT_S):
        yield


def read(path: Path) -> dict[str, State]:
    """Return what others know by job; nothing of what cannot be read or is of the wrong kind."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(document, dict):
        return {}
    return {job: _state(entry) for job, entry in document.items() if isinstance(entry, dict)}


def _state(entry: Mapping[str, Any]) -> State:
    kinds = {f.name: int if f.default is None else type(f.default) for f in fields(State)}
    sound: dict[str, Any] = {k: v for k, v in entry.items() if type(v) is kinds.get(k)}
    return State(**sound)


def write(path: Path, states: States) -> None:
    """Replace the file in one step.

    Raises:
        OSError: It cannot be written; what was there is still there.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        text = json.dumps({job: asdict(state) for job, state in states.items()})
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
