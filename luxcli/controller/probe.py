"""Finds out why a heat pump does not answer: the phase that fails, and likely causes.

Sends nothing but the three read requests.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from luxcli.controller.exchange import CONNECT, FIRST_ANSWER, NAME_RESOLUTION, Exchange
from luxcli.errors import DeviceBusyError, DeviceError
from luxcli.model import GROUPS, Snapshot
from luxcli.system.clock import SYSTEM_CLOCK, Clock

_LOGGER = logging.getLogger(__name__)
# The controller's port, and that of old firmware (source: python-luxtronik's README).
PORTS: Final = (8889, 8888)
# A second attempt distinguishes a passing failure from a lasting one.
ATTEMPTS: Final = 2
_PAUSE_S: Final = 1.0
# In a local network a connection takes milliseconds.
_OTHER_PORT_S: Final = 3.0

_SILENT_CAUSES: Final = (
    "another program holds the controller, which serves one at a time: stop other loggers,"
    " home automation and remote access for a moment",
    "the controller hangs, such as after a firmware update: switch it off and on",
    "another device has this address and port, and waits for requests of another protocol",
)
_UNREACHABLE_CAUSES: Final = (
    "the heat pump or its network cable is off",
    "the address is wrong or has changed: look at the controller's display or in the router",
    "it is in another network or VLAN, or a firewall lies between",
    "a rootless container reaches no local network: use the host's network",
)
_REFUSED_CAUSES: Final = (
    "the controller restarts, which takes about 100 s: try again",
    "wrong address: another device has it and does not listen on this port",
    "its service has stopped: switch the controller off and on",
)
_NAME_CAUSES: Final = (
    "a typing error in 'host'",
    "this machine's DNS does not know the name: use the address instead",
)
_FOREIGN_CAUSES: Final = ("another device or service has this address and port",)
_DAMAGED_CAUSES: Final = (
    "the connection was cut: another program took over, or the controller restarts",
    "a bad line, such as Wi-Fi or powerline between: try a cable",
)
_BUSY_CAUSES: Final = ("a setting is being changed, at its display or by another program",)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try to read the controller.

    Attributes:
        port: TCP port.
        addresses: What the name was resolved to.
        peer: The address that took the connection.
        times_s: Seconds of each finished step in order, see `exchange.Exchange`.
        status: The controller's status word, None when it was not sent.
        phase: Where it ended; the name of the last block if it succeeded.
        failure: Why it failed, None if it succeeded.
        received: The first bytes that came.
    """

    port: int
    addresses: tuple[str, ...]
    peer: str | None
    times_s: Mapping[str, float]
    status: int | None
    phase: str
    failure: DeviceError | None
    received: bytes = b""


@dataclass(frozen=True, slots=True)
class Probe:
    """The outcome of all attempts.

    Attributes:
        host: Name or address that was tried.
        attempts: In order; the last one decides.
        snapshot: What was read, None when nothing was.
        tried: Other ports that were tried.
        other_port: The one of them on which a controller answers, None if none does.
        causes: Likely causes of the failure, most likely first.
    """

    host: str
    attempts: tuple[Attempt, ...]
    snapshot: Snapshot | None = None
    tried: tuple[int, ...] = ()
    other_port: int | None = None
    causes: tuple[str, ...] = field(default=())

    @property
    def last(self) -> Attempt:
        """The last attempt, which decides."""
        return self.attempts[-1]


def probe(
    host: str,
    port: int,
    timeout_s: float,
    *,
    patience_s: float | None = None,
    others: Sequence[int] = PORTS,
    clock: Clock = SYSTEM_CLOCK,
) -> Probe:
    """Try to read the controller, at most `ATTEMPTS` times, then try the other ports.

    Ends within `ATTEMPTS` times `timeout_s` and about 10 s, or `patience_s` later.

    Args:
        host: Name or address of the heat pump.
        port: TCP port as configured.
        timeout_s: Limit in seconds for one attempt.
        patience_s: Limit for the last attempt if a device took the connection but was too slow:
            polls wait that long, and the controller may only be slow.
        others: Ports to try if this one fails; `port` itself is left out.
        clock: Dates the snapshot and waits between attempts.
    """
    attempts: list[Attempt] = []
    for number in range(1, ATTEMPTS + 1):
        slow = number == ATTEMPTS and _was_slow(attempts[-1])
        limit_s = max(timeout_s, patience_s or 0) if slow else timeout_s
        exchange = Exchange(host, port, limit_s)
        try:
            snapshot = exchange.read(clock=clock, tries=number)
        except DeviceError as exc:
            attempts.append(_attempt(exchange, port, exc))
        else:
            attempts.append(_attempt(exchange, port, None))
            _log_lengths(snapshot)
            return Probe(host, tuple(attempts), snapshot)
        if number < ATTEMPTS:
            clock.sleep(_PAUSE_S)
    last = attempts[-1]
    tried: tuple[int, ...] = ()
    # A controller that reports that it is busy has been found already.
    if last.phase != NAME_RESOLUTION and not isinstance(last.failure, DeviceBusyError):
        tried = tuple(candidate for candidate in others if candidate != port)
    other = _answering_port(host, tried)
    return Probe(host, tuple(attempts), None, tried, other, causes(last, other))


def causes(attempt: Attempt, other_port: int | None = None) -> tuple[str, ...]:
    """Return likely causes of a failed attempt, most likely first; none if it succeeded."""
    failure = attempt.failure
    if failure is None:
        found: tuple[str, ...] = ()
    elif other_port is not None:
        found = (f"wrong port: a controller answers on {other_port}; set 'port: {other_port}'",)
    elif isinstance(failure, DeviceBusyError):
        found = _BUSY_CAUSES
    elif attempt.phase == NAME_RESOLUTION:
        found = _NAME_CAUSES
    elif failure.reason == "refused":
        found = _REFUSED_CAUSES
    elif attempt.phase == CONNECT:
        found = _UNREACHABLE_CAUSES
    elif attempt.received and not attempt.received.startswith(FIRST_ANSWER):
        found = _FOREIGN_CAUSES
    elif attempt.received and failure.reason != "timeout":
        found = _DAMAGED_CAUSES
    else:
        found = _SILENT_CAUSES
    return found


def _was_slow(attempt: Attempt) -> bool:
    timed_out = attempt.failure is not None and attempt.failure.reason == "timeout"
    return timed_out and CONNECT in attempt.times_s


def _answering_port(host: str, ports: Sequence[int]) -> int | None:
    for port in ports:
        exchange = Exchange(host, port, _OTHER_PORT_S)
        try:
            exchange.greet()
        except DeviceError as exc:
            _LOGGER.debug("%s:%d: %s", host, port, exc)
        else:
            _LOGGER.debug("%s:%d: a controller answers", host, port)
            return port
    return None


def _attempt(exchange: Exchange, port: int, failure: DeviceError | None) -> Attempt:
    for step, took_s in exchange.times_s.items():
        _LOGGER.debug("port %d: %s: %.1f ms", port, step, took_s * 1000)
    if failure is not None:
        _LOGGER.debug("port %d: %s", port, failure)
    return Attempt(
        port,
        exchange.addresses,
        exchange.peer,
        dict(exchange.times_s),
        exchange.status,
        exchange.phase,
        failure,
        exchange.received,
    )


def _log_lengths(snapshot: Snapshot) -> None:
    for group in GROUPS:
        _LOGGER.debug("%s: %d values", group, len(snapshot.block(group)))
