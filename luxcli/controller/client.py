"""Reads the controller with retries and a time limit, one luxcli at a time.

`exchange` makes one attempt.
"""

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from luxcli.controller import exchange
from luxcli.controller.exchange import Exchange
from luxcli.errors import DeviceBusyError, DeviceError, LockHeldError, ProtocolError
from luxcli.model import Snapshot

_LOGGER = logging.getLogger(__name__)

# What other clients wait while the controller reports that it is busy (chkrause/luxtronik2).
BUSY_WAIT_S: Final = 5.0
_BACKOFF_S: Final = (2.0, 4.0, 8.0)
_JITTER: Final = 1.25

Check = Callable[[Snapshot], Sequence[str]]


def read_snapshot(
    host: str,
    port: int,
    *,
    timeout_s: float,
    retries: int,
    check: Check | None = None,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> Snapshot:
    """Poll the controller once, trying again in a new connection when that fails.

    The call ends within `longest_s`. Failed attempts that are followed by another are logged at
    INFO, the last one is raised.

    Args:
        host: Name or address of the heat pump.
        port: TCP port, 8889 (8888 on old firmware).
        timeout_s: Limit in seconds for one attempt as a whole, from name resolution to the last
            byte; a peer that sends a byte now and then does not extend it.
        retries: Further attempts after the first.
        check: Returns the reasons why a snapshot cannot be what the controller holds; any reason
            fails the attempt.
        clock: Gives the time stamp, seconds since the epoch; durations use the monotonic clock.
        sleep: Waits between attempts, seconds.

    Raises:
        DeviceError: Name not found, refused, reset or out of time.
        DeviceBusyError: The controller said "busy" until the end.
        ProtocolError: Something else than a Luxtronik controller answered, or a damaged answer.
    """
    started = time.monotonic()
    attempts = retries + 1
    for attempt in range(1, attempts + 1):
        began = time.monotonic()
        try:
            snapshot = Exchange(host, port, timeout_s).read(clock=clock, tries=attempt)
            if check is not None and (reasons := check(snapshot)):
                raise ProtocolError("answer rejected: " + "; ".join(reasons), reason="rejected")
        except DeviceError as exc:
            exc.tries = attempt
            exc.took_ms = round((time.monotonic() - started) * 1000)
            took_s = time.monotonic() - began
            if attempt == attempts:
                raise _final(exc, host, port, attempts) from exc
            wait_s = _wait_s(exc, attempt)
            _LOGGER.info(
                "%s:%d: attempt %d of %d failed after %.1f s: %s; next in %.1f s",
                *(host, port, attempt, attempts, took_s, exc, wait_s),
            )
            sleep(wait_s)
        else:
            return snapshot
    raise AssertionError("unreachable")


def longest_s(timeout_s: float, retries: int) -> float:
    """Return the seconds after which `read_snapshot` has ended whatever the peer does."""
    waits = [max(_backoff_s(attempt) * _JITTER, BUSY_WAIT_S) for attempt in range(1, retries + 1)]
    return timeout_s * (retries + 1) + sum(waits)


@contextmanager
def claim(host: str, port: int, *, wait_s: float) -> Iterator[None]:
    """Be the only luxcli on this machine that talks to a heat pump for the duration of the block.

    By the text of the address; whoever knows it by another one is kept away by `Exchange`, for as
    long as one conversation takes.

    Raises:
        LockHeldError: Another process kept it for `wait_s` seconds.
    """
    guard = exchange.reserve(f"{host.lower()} {port}", time.monotonic() + wait_s)
    if guard is None:
        raise LockHeldError("held by a luxcli with another cache")
    with guard:
        yield


def _backoff_s(attempt: int) -> float:
    return _BACKOFF_S[min(attempt, len(_BACKOFF_S)) - 1]


def _wait_s(failure: DeviceError, attempt: int) -> float:
    if isinstance(failure, DeviceBusyError):
        return BUSY_WAIT_S
    # Jitter, so that two loggers that failed together do not come back together.
    return _backoff_s(attempt) * (1 + (_JITTER - 1) * os.urandom(1)[0] / 255)


def _final(failure: DeviceError, host: str, port: int, attempts: int) -> DeviceError:
    tried = "1 attempt" if attempts == 1 else f"{attempts} attempts"
    error = type(failure)(
        f"{host}:{port}: {failure} (gave up after {tried}, {failure.took_ms / 1000:.1f} s)",
        reason=failure.reason,
    )
    error.tries, error.took_ms = failure.tries, failure.took_ms
    return error
