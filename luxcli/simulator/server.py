"""Simulates a Luxtronik controller on a TCP port, with the values of a `Replay`.

Wire format, all integers big endian (source: python-luxtronik 0.3.14):

    request  int32 command, int32 0            3003 parameters, 3004 calculations, 3005 visibilities
    answer   int32 command, [int32 status], int32 n, n values
             status only for 3004; values are int32, for 3005 int8

Like the real one it serves one client at a time; others wait in the backlog. Unlike the real one
it refuses to be written to.
"""

import contextlib
import logging
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Final, Protocol, Self

from luxcli.errors import UsageError
from luxcli.model import Snapshot

_WRITE, _PARAMETERS, _CALCULATIONS, _VISIBILITIES = 3002, 3003, 3004, 3005
_BLOCKS: Final = (_PARAMETERS, _CALCULATIONS, _VISIBILITIES)
_REQUEST: Final = struct.Struct(">ii")
_STOP_CHECK_S: Final = 0.1  # how often a waiting server checks whether to stop

_LOGGER = logging.getLogger(__name__)


class Source(Protocol):
    """Supplies the values of the simulated controller."""

    def at(self, epoch_s: float, /) -> Snapshot:
        """Return the values of a moment, seconds since the epoch, UTC."""


class Simulator:
    """A controller that serves in a thread while its `with` block runs.

    Override `_reply` or `_send` for a controller that misbehaves.

    Args:
        replay: Source of the values, such as a `Replay`.
        host: Address to listen on.
        port: TCP port, 0 for a free one.
        clock: Returns the moment of the values, seconds since the epoch, UTC. All blocks of a
            connection are of the moment at which the connection began.
        idle_s: A client silent for so many seconds is dropped.

    Attributes:
        port: TCP port it listens on; as given until the `with` block begins.
        connections: Clients accepted so far.
        requests: Commands received so far, in order.
        write_attempts: Refused writes so far.
    """

    def __init__(
        self,
        replay: Source,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        clock: Callable[[], float] = time.time,
        idle_s: float = 30.0,
    ) -> None:
        self.host = host
        self.port = port
        self.connections = 0
        self.requests: list[int] = []
        self.write_attempts = 0
        self._replay = replay
        self._clock = clock
        self._idle_s = idle_s
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()  # no socket is shut down while it is being replaced
        self._sockets: list[socket.socket] = []  # the listening one and that of the client

    def __enter__(self) -> Self:
        """Listen and serve.

        Raises:
            UsageError: The address cannot be listened on.
        """
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        try:
            server = socket.create_server((self.host, self.port), family=family)
        except OSError as exc:
            # Python adds the address to the system's text, which the message has already.
            reason = (
                os.strerror(exc.errno) if exc.errno and exc.errno > 0 else exc.strerror or str(exc)
            )
            raise UsageError(
                f"{self.host}:{self.port}: cannot listen: {reason}; choose another --port or --host"
            ) from exc
        self.port = server.getsockname()[1]
        self._stopped.clear()
        self._thread = threading.Thread(target=self._run, args=(server,), daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        if self._thread:
            self._thread.join()
            self._thread = None

    def serve_forever(self) -> None:
        """Serve until `stop` is called or the process is interrupted; needs no `with` block.

        Raises:
            UsageError: The address cannot be listened on.
        """
        with contextlib.nullcontext() if self._thread else self:
            self._stopped.wait()

    def stop(self) -> None:
        """Stop serving; any thread may call this."""
        self._stopped.set()
        with self._lock:
            for waiting in self._sockets:
                with contextlib.suppress(OSError):
                    waiting.shutdown(socket.SHUT_RDWR)

    def _run(self, server: socket.socket) -> None:
        try:
            with self._register(server):
                # Shutting down a listening socket wakes accept on Linux only.
                server.settimeout(_STOP_CHECK_S)
                while not self._stopped.is_set():
                    self._accept(server)
        finally:
            self._stopped.set()

    def _accept(self, server: socket.socket) -> None:
        try:
            connection, peer = server.accept()
        except TimeoutError:
            return
        except OSError as exc:
            # The server was stopped, the client is gone, or too many files are open.
            _LOGGER.debug("cannot accept a client: %s", exc)
            self._stopped.wait(_STOP_CHECK_S)
            return
        self.connections += 1
        _LOGGER.debug("client %s:%d", *peer[:2])
        with (
            self._register(connection),
            contextlib.suppress(OSError),
        ):  # clients may vanish
            self._serve(connection)

    @contextlib.contextmanager
    def _register(self, opened: socket.socket) -> Iterator[None]:
        """Register a socket, so that `stop` can shut it down; close it at the end of the block."""
        with opened:
            with self._lock:
                self._sockets.append(opened)
            try:
                yield
            finally:
                with self._lock:
                    self._sockets.remove(opened)

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(self._idle_s)
        snapshot = self._replay.at(self._clock())
        while not self._stopped.is_set() and (request := _read_request(connection)):
            command, argument = request
            self.requests.append(command)
            if command == _WRITE:
                self.write_attempts += 1
                _LOGGER.warning("refused to write parameter %d", argument)
            if command not in _BLOCKS:
                return
            self._send(connection, self._reply(command, snapshot))

    def _reply(self, command: int, snapshot: Snapshot) -> bytes:
        """Return the answer to a request."""
        if command == _PARAMETERS:
            n = len(snapshot.parameters)
            return struct.pack(f">ii{n}i", command, n, *snapshot.parameters)
        if command == _CALCULATIONS:
            n = len(snapshot.calculations)
            return struct.pack(f">iii{n}i", command, 0, n, *snapshot.calculations)
        n = len(snapshot.visibilities)
        return struct.pack(f">ii{n}b", command, n, *snapshot.visibilities)

    def _send(self, connection: socket.socket, answer: bytes) -> None:
        """Send an answer; the only method that sends."""
        connection.sendall(answer)


def _read_request(connection: socket.socket) -> tuple[int, int] | None:
    """Return command and argument, or None if the client closes before they are complete."""
    received = b""
    while len(received) < _REQUEST.size:
        part = connection.recv(_REQUEST.size - len(received))
        if not part:
            return None
        received += part
    command, argument = _REQUEST.unpack(received)
    return command, argument
