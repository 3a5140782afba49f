"""Reads the three blocks of a Luxtronik controller in one connection, all or none of them.

Wire format, all integers big endian and signed (source: python-luxtronik 0.3.14,
``__init__.py``)::

    request  int32 command, int32 0          3003 parameters, 3004 calculations, 3005 visibilities
    answer   int32 command, [int32 status], int32 n, n items
             status only for 3004, above 0 while the controller is busy (source:
             chkrause/luxtronik2), never below 0; items are int32, for 3005 int8

python-luxtronik 0.3.14 has no time limit, takes the result of one ``recv`` for an integer and
checks neither echo nor length, so it can hang for ever or shift every value onto the next
register without an error. Other modules use its tables and conversions; nothing uses its
transport. No code in luxcli sends 3002, the command that writes.
"""

import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from luxcli.controller import access
from luxcli.errors import DeviceBusyError, DeviceError, ProtocolError
from luxcli.model import GROUPS, Group, Snapshot
from luxcli.system import threads
from luxcli.system.clock import SYSTEM_CLOCK, Clock

NAME_RESOLUTION: Final = "name resolution"
CONNECT: Final = "connect"
FIRST_BYTE: Final = "first byte"
_COMMANDS: Final[dict[Group, int]] = {
    "parameters": 3003,
    "calculations": 3004,
    "visibilities": 3005,
}
# The first bytes that a controller sends: the echo of the first command.
FIRST_ANSWER: Final = struct.pack(">i", _COMMANDS["parameters"])
# The longest block known has 1200 items (parameters of V3.92.3).
MAX_LENGTH: Final = 10_000
# Enough to recognise another service, such as by the first line of a web server.
_KEPT_BYTES: Final = 64

_Address = tuple[int, tuple[object, ...]]


class Exchange:
    """One connection, from name resolution to close, that is used once; notes how far it came.

    Args:
        host: Name or address of the heat pump.
        port: TCP port.
        timeout_s: Limit in seconds for the whole conversation.
        in_use_wait_s: How long to wait while another luxcli talks to the resolved address.

    Attributes:
        phase: The step it is at, or was at when it failed: one of the names above or a block.
        addresses: What the name was resolved to.
        peer: The address that took the connection, None when none did.
        times_s: Seconds of each finished step, in order; a block's include those of its first byte.
        status: Second word of the answer to 3004, None before it came.
        received: The first bytes that came.
    """

    def __init__(
        self,
        host: str,
        port: int,
        timeout_s: float,
        *,
        in_use_wait_s: float = access.DEVICE_WAIT_S,
    ) -> None:
        self.phase = NAME_RESOLUTION
        self.addresses: tuple[str, ...] = ()
        self.peer: str | None = None
        self.times_s: dict[str, float] = {}
        self.status: int | None = None
        self.received = b""
        self._host, self._port, self._timeout_s = host, port, timeout_s
        self._in_use_wait_s = in_use_wait_s
        self._deadline = 0.0

    def read(self, *, clock: Clock = SYSTEM_CLOCK, tries: int = 1) -> Snapshot:
        """Read all three blocks.

        Args:
            clock: Dates the snapshot.
            tries: Which attempt this is, for the snapshot.

        Raises:
            DeviceError: Name not found, refused, reset or out of time.
            DeviceBusyError: The controller said "busy".
            ProtocolError: Something else than a Luxtronik controller answered, or a damaged answer.
        """
        began = time.monotonic()
        taken_ms = clock.now_ms()
        blocks: dict[Group, tuple[int, ...]] = {}
        with self._connection() as sock:
            for group in _COMMANDS:
                blocks[group] = self._time_block(sock, group)
            self._expect_silence(sock)
        took_ms = round((time.monotonic() - began) * 1000)
        calculations, parameters, visibilities = (blocks[group] for group in GROUPS)
        return Snapshot(taken_ms, took_ms, tries, calculations, parameters, visibilities)

    def greet(self) -> None:
        """Read the shortest block alone, to find out whether there is a Luxtronik controller.

        Raises:
            DeviceError, DeviceBusyError, ProtocolError: As `read`.
        """
        with self._connection() as sock:
            self._time_block(sock, "visibilities")

    @contextmanager
    def _connection(self) -> Iterator[socket.socket]:
        """Resolve, connect and close; errors in the block become DeviceErrors, with the phase."""
        self._deadline = time.monotonic() + self._timeout_s
        try:
            with self._time_phase(NAME_RESOLUTION):
                addresses = self._resolve()
            self.addresses = tuple(dict.fromkeys(str(address[0]) for _, address in addresses))
            with self._connected(addresses) as sock:
                yield sock
        except TimeoutError as exc:
            raise DeviceError(
                f"{self.phase}: no complete answer within {self._timeout_s:g} s", reason="timeout"
            ) from exc
        except ConnectionRefusedError as exc:
            raise DeviceError(f"{self.phase}: connection refused", reason="refused") from exc
        except OSError as exc:
            raise DeviceError(f"{self.phase}: {exc.strerror or exc}") from exc

    @contextmanager
    def _time_phase(self, phase: str) -> Iterator[None]:
        self.phase = phase
        began = time.monotonic()
        yield
        self.times_s[phase] = time.monotonic() - began

    def _remaining_s(self) -> float:
        remaining_s = self._deadline - time.monotonic()
        if remaining_s <= 0:
            raise TimeoutError
        return remaining_s

    def _resolve(self) -> list[_Address]:
        # getaddrinfo has no time limit; a thread that hangs in it ends with the process.
        found: list[list[_Address] | OSError] = []

        # A plain name is passed as bytes: encoding it would load Unicode's tables.
        labels = self._host.removesuffix(".").split(".")
        plain = self._host.isascii() and all(0 < len(label) < 64 for label in labels)
        name = self._host.encode() if plain else self._host

        def look_up() -> None:
            try:
                infos = socket.getaddrinfo(name, self._port, type=socket.SOCK_STREAM)
                found.append([(info[0], info[4]) for info in infos])
            except OSError as exc:
                found.append(exc)
            except UnicodeError:
                found.append(OSError(f"{self._host!r} is not a host name"))

        threads.start(look_up).join(self._remaining_s())
        if not found:
            raise TimeoutError
        if isinstance(found[0], OSError):
            raise found[0]
        return found[0]

    @contextmanager
    def _connected(self, addresses: list[_Address]) -> Iterator[socket.socket]:
        # No ExitStack: since Python 3.15 it loads inspect, a third of a poll's start.
        self.phase = CONNECT
        began = time.monotonic()
        failure: OSError = OSError("no address")
        for left, (family, address) in zip(range(len(addresses), 0, -1), addresses, strict=True):
            # Two configurations may name one heat pump by its host name and by its address.
            guard = access.reserve(
                f"at {address[0]} {address[1]}",
                min(self._deadline, time.monotonic() + self._in_use_wait_s),
            )
            if guard is None:
                text = f"{self.phase}: another luxcli is talking to {address[0]}"
                raise DeviceBusyError(text, reason="busy")
            with guard, socket.socket(family, socket.SOCK_STREAM) as sock:
                try:
                    # An unreachable address must leave time for the others.
                    sock.settimeout(self._remaining_s() / left)
                    sock.connect(address)
                except OSError as exc:
                    failure = exc
                    continue
                self.peer = str(address[0])
                self.times_s[CONNECT] = time.monotonic() - began
                yield sock
                return
        raise failure

    def _time_block(self, sock: socket.socket, group: Group) -> tuple[int, ...]:
        with self._time_phase(group):
            return self._block(sock, group)

    def _block(self, sock: socket.socket, group: Group) -> tuple[int, ...]:
        command = _COMMANDS[group]
        sock.settimeout(self._remaining_s())
        sock.sendall(struct.pack(">ii", command, 0))
        request_s = time.monotonic()
        (echo,) = struct.unpack(">i", self._exactly(sock, 4))
        self.times_s.setdefault(FIRST_BYTE, time.monotonic() - request_s)
        if echo != command:
            text = f"{group}: asked with {command}, answered with {echo}"
            if self.received.startswith(FIRST_ANSWER):
                raise ProtocolError(text)
            raise ProtocolError(f"{text}; is this a heat pump? check host and port")
        if group == "calculations":
            (self.status,) = struct.unpack(">i", self._exactly(sock, 4))
            if self.status > 0:
                raise DeviceBusyError(
                    f"{group}: controller is busy (status {self.status})", reason="busy"
                )
            if self.status < 0:
                raise ProtocolError(f"{group}: impossible status {self.status}")
        (length,) = struct.unpack(">i", self._exactly(sock, 4))
        if not 1 <= length <= MAX_LENGTH:
            raise ProtocolError(f"{group}: impossible length {length}")
        code = "b" if group == "visibilities" else "i"
        layout = struct.Struct(f">{length}{code}")
        return layout.unpack(self._exactly(sock, layout.size))

    def _exactly(self, sock: socket.socket, size: int) -> bytes:
        """Return exactly `size` bytes: one missing byte would shift every later value."""
        received = bytearray(size)
        view = memoryview(received)
        done = 0
        while done < size:
            sock.settimeout(self._remaining_s())
            count = sock.recv_into(view[done:])
            if not count:
                raise ProtocolError(f"{self.phase}: connection closed after {done} of {size} bytes")
            if len(self.received) < _KEPT_BYTES:
                self.received += bytes(view[done : done + min(count, _KEPT_BYTES)])
            done += count
        return bytes(received)

    @staticmethod
    def _expect_silence(sock: socket.socket) -> None:
        sock.setblocking(False)
        try:
            surplus = sock.recv(4096)
        except (BlockingIOError, ConnectionError):
            return
        if surplus:
            count = "1 byte" if len(surplus) == 1 else f"{len(surplus)} bytes"
            raise ProtocolError(f"visibilities: {count} more than announced")
