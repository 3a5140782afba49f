"""Reads the controller with retries and a time limit; `exchange` makes one attempt."""

import logging
import os
from collections.abc import Callable, Sequence
from typing import Final

from luxcli.controller.exchange import Exchange
from luxcli.errors import DeviceBusyError, DeviceError, ProtocolError
from luxcli.model import Snapshot
from luxcli.system.clock import SYSTEM_CLOCK, Clock

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
    clock: Clock = SYSTEM_CLOCK,
) -> Snapshot:
    """Read the controller once, trying again in a new connection when that fails.

    The call ends within `longest_s`. An attempt that fails and is followed by another is logged at
    INFO; the failure of the last one is raised.

    Args:
        host: Name or address of the heat pump.
        port: TCP port, 8889 (8888 on old firmware).
        timeout_s: Limit in seconds for one attempt as a whole, from name resolution to the last
            byte; a peer that sends a byte now and then does not extend it.
        retries: Further attempts after the first.
        check: Returns the reasons why a snapshot cannot be what the controller holds; any reason
            fails the attempt.
        clock: Dates the snapshot and waits between attempts.

    Raises:
        DeviceError: Name not found, refused, reset or out of time.
        DeviceBusyError: The controller said "busy" until the end.
        ProtocolError: Something else than a Luxtronik controller answered, or a damaged answer.
    """
    started = clock.monotonic()
    attempts = retries + 1
    for attempt in range(1, attempts + 1):
        began = clock.monotonic()
        try:
            snapshot = Exchange(host, port, timeout_s).read(clock=clock, tries=attempt)
            if check is not None and (reasons := check(snapshot)):
                raise ProtocolError("answer rejected: " + "; ".join(reasons), reason="rejected")
        except DeviceError as exc:
            ended = clock.monotonic()
            if attempt == attempts:
                raise _final(exc, host, port, attempts, ended - started) from exc
            wait_s = _wait_s(exc, attempt)
            _LOGGER.info(
                "%s:%d: attempt %d of %d failed after %.1f s: %s; next in %.1f s",
                *(host, port, attempt, attempts, ended - began, exc, wait_s),
            )
            clock.sleep(wait_s)
        else:
            return snapshot
    raise AssertionError("unreachable")


def longest_s(timeout_s: float, retries: int) -> float:
    """Return the seconds after which `read_snapshot` has ended whatever the peer does."""
    waits = [max(_backoff_s(attempt) * _JITTER, BUSY_WAIT_S) for attempt in range(1, retries + 1)]
    return timeout_s * (retries + 1) + sum(waits)


def _backoff_s(attempt: int) -> float:
    return _BACKOFF_S[min(attempt, len(_BACKOFF_S)) - 1]


def _wait_s(failure: DeviceError, attempt: int) -> float:
    if isinstance(failure, DeviceBusyError):
        return BUSY_WAIT_S
    # Jitter, so that two loggers that failed together do not come back together.
    return _backoff_s(attempt) * (1 + (_JITTER - 1) * os.urandom(1)[0] / 255)


def _final(failure: DeviceError, host: str, port: int, attempts: int, took_s: float) -> DeviceError:
    """Return the failure of the last attempt with what is known of all of them."""
    tried = "1 attempt" if attempts == 1 else f"{attempts} attempts"
    return type(failure)(
        f"{host}:{port}: {failure} (gave up after {tried}, {took_s:.1f} s)",
        reason=failure.reason,
        tries=attempts,
        took_ms=round(took_s * 1000),
    )
