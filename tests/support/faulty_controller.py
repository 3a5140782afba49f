"""A controller that misbehaves: the simulator on its real socket, with faults on the wire."""

import functools
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from luxcli.model import Snapshot
from luxcli.simulator.replay import Replay
from luxcli.simulator.server import Simulator

NOW_S = 1_800_000_000
LAST_BLOCK = 3005
replay = functools.cache(Replay)


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What is wrong with a controller; the default is nothing.

    Positions count the bytes that the controller has sent in one connection.
    """

    times: int | None = None  # connections that go wrong before all is well; None: for ever
    segment: int = 65_536  # bytes per send
    pause_s: float = 0.0  # before each send
    silent_after: int | None = None  # sends no more, but stays connected
    close_after: int | None = None  # ends the connection
    reset_after: int | None = None  # ends it without ceremony (RST)
    echo: Mapping[int, int] = field(default_factory=dict)  # command -> command it answers with
    status: int = 0  # second word of the answer to 3004
    announce: Mapping[int, int] = field(default_factory=dict)  # command -> length it claims
    surplus: Mapping[int, bytes] = field(default_factory=dict)  # command -> bytes too many
    garbage: bytes | None = None  # instead of any answer
    change: Callable[[Snapshot], Snapshot] | None = None  # what it believes its values to be


class FaultyController(Simulator):
    """Serves one client at a time, as the real one does; its clock stands still.

    Attributes:
        snapshot: What a faultless read must give.
        closed_by_client: Connections that the client ended, as seen from this side.
    """

    def __init__(
        self, fault: Fault | None = None, *, profile: str = "msw6", **simulator: Any
    ) -> None:
        simulator.setdefault("clock", lambda: NOW_S)
        super().__init__(replay(profile), **simulator)
        self.snapshot = replay(profile).at(NOW_S)
        self.closed_by_client = 0
        self._fault = fault or Fault()
        self._now = Fault()
        self._sent = 0

    def _serve(self, connection: socket.socket) -> None:
        well = self._fault.times is not None and self.connections > self._fault.times
        self._now = Fault() if well else self._fault
        self._sent = 0
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            super()._serve(connection)
        except ConnectionError:
            # A client that closes with unread bytes resets the connection.
            self._count_close()
            raise
        self._count_close()

    def _count_close(self) -> None:
        if not self._stopped.is_set():
            self.closed_by_client += 1

    def _reply(self, command: int, snapshot: Snapshot) -> bytes:
        fault = self._now
        if fault.garbage is not None:
            return fault.garbage
        if fault.change is not None:
            snapshot = fault.change(snapshot)
        answer = bytearray(super()._reply(command, snapshot))
        position = 8 if command == 3004 else 4
        if command == 3004:
            struct.pack_into(">i", answer, 4, fault.status)
        if command in fault.announce:
            struct.pack_into(">i", answer, position, fault.announce[command])
        struct.pack_into(">i", answer, 0, fault.echo.get(command, command))
        return bytes(answer) + fault.surplus.get(command, b"")

    def _send(self, connection: socket.socket, answer: bytes) -> None:
        fault = self._now
        ends = (fault.silent_after, fault.close_after, fault.reset_after)
        limit = min((end for end in ends if end is not None), default=None)
        stop = len(answer) if limit is None else min(len(answer), max(0, limit - self._sent))
        for start in range(0, stop, fault.segment):
            if fault.pause_s:
                time.sleep(fault.pause_s)
            connection.sendall(answer[start : min(stop, start + fault.segment)])
        self._sent += stop
        if stop == len(answer):
            return
        if fault.close_after is not None:
            connection.shutdown(socket.SHUT_WR)  # still hears whether the client closes as well
        if fault.reset_after is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            raise TimeoutError("closed by the fault")


class ManyClients(Simulator):
    """Serves all clients at once, unlike a controller, and counts them.

    Attributes:
        most: The largest number of clients that were connected at the same time.
    """

    def __init__(self, *, pause_s: float, clock: Callable[[], float] = lambda: NOW_S) -> None:
        super().__init__(replay(), clock=clock)
        self.most = 0
        self._open = 0
        self._pause_s = pause_s
        self._counting = threading.Lock()
        self._clients: list[threading.Thread] = []

    def _accept(self, server: socket.socket) -> None:
        try:
            connection, _peer = server.accept()
        except OSError:
            return
        self.connections += 1
        thread = threading.Thread(target=self._talk, args=(connection,), daemon=True)
        self._clients.append(thread)
        thread.start()

    def _talk(self, connection: socket.socket) -> None:
        # A thread on a busy machine may see late that its client has left.
        eventually(lambda: not self._open, within_s=0.1)
        with self._counting:
            self._open += 1
            self.most = max(self.most, self._open)
        try:
            with connection:
                self._serve(connection)
        except OSError:
            pass
        finally:
            with self._counting:
                self._open -= 1

    def _send(self, connection: socket.socket, answer: bytes) -> None:
        time.sleep(self._pause_s)
        super()._send(connection, answer)


def without(group: str, index: int) -> Callable[[Snapshot], Snapshot]:
    """Lose one value, so that every later one stands on the wrong register."""

    def change(snapshot: Snapshot) -> Snapshot:
        block = getattr(snapshot, group)
        return snapshot._replace(**{group: (*block[:index], *block[index + 1 :])})

    return change


def with_calculations(values: Mapping[int, int]) -> Callable[[Snapshot], Snapshot]:
    """Show some other calculations."""

    def change(snapshot: Snapshot) -> Snapshot:
        block = list(snapshot.calculations)
        for index, value in values.items():
            block[index] = value
        return snapshot._replace(calculations=tuple(block))

    return change


def eventually(condition: Callable[[], object], within_s: float = 2.0) -> bool:
    """Wait for another thread or process; return False if nothing happens in time."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True
