"""The simulated controller on a real socket, read by python-luxtronik and byte by byte."""

import contextlib
import copy
import socket
import struct
import threading
import time
from collections.abc import Iterator

import pytest
from luxtronik import Luxtronik
from luxtronik.calculations import Calculations
from luxtronik.parameters import Parameters
from luxtronik.visibilities import Visibilities

from luxcli.errors import UsageError
from luxcli.model import Snapshot
from luxcli.simulator.replay import PROFILES, Replay
from luxcli.simulator.server import Simulator

NOW_S = 1_800_000_000
TABLES = (
    (Calculations, "calculations"),
    (Parameters, "parameters"),
    (Visibilities, "visibilities"),
)
REPLAY = Replay()


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(REPLAY, clock=lambda: NOW_S) as simulator:
        yield simulator


@pytest.fixture
def luxtronik_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    # The tables of the library hold the values and belong to the classes: give each test its own.
    for owner, name in TABLES:
        monkeypatch.setattr(owner, name, copy.deepcopy(getattr(owner, name)))


def connect(simulator: Simulator) -> socket.socket:
    return socket.create_connection(("127.0.0.1", simulator.port), timeout=5)


def receive(connection: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        part = connection.recv(size - len(received))
        assert part, f"closed after {len(received)} of {size} bytes"
        received += part
    return received


def ask(connection: socket.socket, command: int) -> tuple[int, ...]:
    """Return the values of a block, after checking the head of the answer."""
    connection.sendall(struct.pack(">ii", command, 0))
    assert receive(connection, 4) == struct.pack(">i", command)
    if command == 3004:
        assert receive(connection, 4) == bytes(4)
    (n,) = struct.unpack(">i", receive(connection, 4))
    if command == 3005:
        return struct.unpack(f">{n}b", receive(connection, n))
    return struct.unpack(f">{n}i", receive(connection, 4 * n))


def is_closed(connection: socket.socket) -> bool:
    with contextlib.suppress(ConnectionResetError):
        return connection.recv(1) == b""
    return True


def expected_values(snapshot: Snapshot, name: str, table: dict) -> dict[int, object]:
    """Return what python-luxtronik makes of the raw values; its register 81 spells 81 to 89."""
    raw = dict(enumerate(getattr(snapshot, name)))
    if name == "calculations":
        raw |= {81: snapshot.calculations[81:90]}
    return {index: table[index].from_heatpump(raw[index]) for index in raw if index in table}


@pytest.mark.parametrize("profile", PROFILES)
def test_python_luxtronik_reads_the_values_of_the_replay(profile, luxtronik_tables):
    replay = Replay(profile)
    snapshot = replay.at(NOW_S)
    for attempt in range(2):
        with Simulator(replay, clock=lambda: NOW_S) as simulator:
            pump = Luxtronik("127.0.0.1", simulator.port)
            assert simulator.requests == [3003, 3004, 3005]
        read = {name: getattr(getattr(pump, name), name) for _, name in TABLES}
        wanted = {name: expected_values(snapshot, name, read[name]) for _, name in TABLES}
        got = {
            name: {index: read[name][index].value for index in wanted[name]} for _, name in TABLES
        }
        if got == wanted or attempt:  # it may misread a value that arrives in two parts
            break
    assert got == wanted
    assert pump.calculations.get(81).value == ("V3.78" if profile == "msw6" else "V3.90.1")
    assert pump.calculations.get(10).value == snapshot.calculations[10] / 10
    lengths = {name: len(getattr(snapshot, name)) for _, name in TABLES}
    known = {name: sum(index < lengths[name] for index in read[name]) for _, name in TABLES}
    assert known["parameters"] == lengths["parameters"]
    assert known["calculations"] == lengths["calculations"] - 9  # 82 to 90 are part of 81
    assert known["visibilities"] == lengths["visibilities"]


@pytest.mark.parametrize("profile", PROFILES)
def test_the_answers_are_those_of_the_protocol_byte_for_byte(profile):
    replay = Replay(profile)
    snapshot = replay.at(NOW_S)
    with Simulator(replay, clock=lambda: NOW_S) as simulator, connect(simulator) as connection:
        assert ask(connection, 3003) == snapshot.parameters
        assert ask(connection, 3004) == snapshot.calculations
        assert ask(connection, 3005) == snapshot.visibilities


def test_blocks_of_one_connection_come_from_one_moment_and_the_next_sees_the_clock():
    now = [NOW_S]
    with Simulator(REPLAY, clock=lambda: now[0]) as simulator:
        with connect(simulator) as connection:
            ask(connection, 3003)
            now[0] += 3600
            assert ask(connection, 3004)[134] == NOW_S
            assert ask(connection, 3004)[134] == NOW_S
        with connect(simulator) as connection:
            assert ask(connection, 3004)[134] == NOW_S + 3600


def test_a_write_is_refused_and_counted_and_reading_goes_on(simulator):
    with connect(simulator) as connection:
        connection.sendall(struct.pack(">iii", 3002, 105, 600))
        assert is_closed(connection)
    with connect(simulator) as connection:
        assert ask(connection, 3003)[105] == 500
    assert simulator.write_attempts == 1
    assert simulator.requests == [3002, 3003]
    assert simulator.connections == 2


def test_a_request_split_over_segments_is_understood(simulator):
    with connect(simulator) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in struct.pack(">i", 3004):
            connection.sendall(bytes([byte]))
            time.sleep(0.005)
        connection.sendall(bytes(4))
        assert receive(connection, 12) == struct.pack(">iii", 3004, 0, 232)


def test_several_requests_sent_at_once_are_answered_in_order(simulator):
    with connect(simulator) as connection:
        connection.sendall(struct.pack(">iiii", 3005, 0, 3004, 0))
        assert receive(connection, 8) == struct.pack(">ii", 3005, 327)
        receive(connection, 327)
        assert receive(connection, 12) == struct.pack(">iii", 3004, 0, 232)


def test_half_a_request_is_no_request(simulator):
    with connect(simulator) as connection:
        connection.sendall(b"\0\0\x0b")
        connection.shutdown(socket.SHUT_WR)
        assert is_closed(connection)
    assert simulator.requests == []
    assert simulator.connections == 1


def test_an_unknown_command_closes_the_connection(simulator):
    with connect(simulator) as connection:
        connection.sendall(struct.pack(">ii", 4711, 0))
        assert is_closed(connection)
    assert simulator.requests == [4711]
    assert simulator.write_attempts == 0


def test_a_second_client_is_served_when_the_first_has_gone(simulator):
    with connect(simulator) as first:
        ask(first, 3005)
        with connect(simulator) as second:
            second.sendall(struct.pack(">ii", 3005, 0))
            second.settimeout(0.1)
            with pytest.raises(TimeoutError):
                second.recv(1)
            assert simulator.connections == 1
            first.close()
            second.settimeout(5)
            assert receive(second, 8) == struct.pack(">ii", 3005, 327)
    assert simulator.connections == 2


def test_a_client_that_resets_the_connection_does_no_harm(simulator):
    with connect(simulator) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.sendall(struct.pack(">ii", 3003, 0))
    with connect(simulator) as connection:
        assert len(ask(connection, 3003)) == 1075


def test_an_idle_client_is_dropped():
    with Simulator(REPLAY, idle_s=0.05) as simulator, connect(simulator) as connection:
        began = time.monotonic()
        assert is_closed(connection)
        assert 0.04 < time.monotonic() - began < 1


def test_leaving_the_block_ends_connections_and_frees_the_port_at_once():
    with Simulator(REPLAY) as simulator:
        connection = connect(simulator)
        ask(connection, 3005)
        began = time.monotonic()
    assert time.monotonic() - began < 0.2
    with connection:
        assert is_closed(connection)
    with pytest.raises(ConnectionRefusedError):
        connect(simulator)
    with Simulator(REPLAY, port=simulator.port) as again:
        assert again.port == simulator.port


def test_a_port_in_use_is_a_plain_error(simulator):
    with (
        pytest.raises(UsageError, match=f"127.0.0.1:{simulator.port}: cannot listen: Address alr"),
        Simulator(REPLAY, port=simulator.port),
    ):
        pass


def test_it_listens_on_ipv6_too():
    with (
        Simulator(REPLAY, host="::1") as simulator,
        socket.create_connection(("::1", simulator.port), timeout=5) as connection,
    ):
        assert len(ask(connection, 3005)) == 327


@pytest.mark.parametrize("in_block", [True, False])
def test_serving_for_ever_ends_when_stopped(in_block):
    simulator = Simulator(REPLAY)
    with simulator if in_block else contextlib.nullcontext():
        thread = threading.Thread(target=simulator.serve_forever, daemon=True)
        thread.start()
        deadline = time.monotonic() + 2
        while not simulator.port and time.monotonic() < deadline:
            time.sleep(0.001)
        with connect(simulator) as connection:
            assert len(ask(connection, 3005)) == 327
        simulator.stop()
        thread.join(timeout=1)
        assert not thread.is_alive()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_serving_for_ever_ends_when_the_server_fails():
    def clock() -> float:
        raise RuntimeError("no time")

    with Simulator(REPLAY, clock=clock) as simulator:
        thread = threading.Thread(target=simulator.serve_forever, daemon=True)
        thread.start()
        with connect(simulator) as connection:
            assert is_closed(connection)
        thread.join(timeout=1)
        assert not thread.is_alive()


def test_a_misbehaving_controller_needs_one_overridden_method():
    class Trickling(Simulator):
        def _send(self, connection, answer):
            for position in range(len(answer)):
                connection.sendall(answer[position : position + 1])

    with Trickling(REPLAY, clock=lambda: NOW_S) as simulator, connect(simulator) as connection:
        assert ask(connection, 3004) == REPLAY.at(NOW_S).calculations
