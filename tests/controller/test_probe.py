"""Why a heat pump does not answer: every phase that can fail, on real sockets."""

import socket
import time
from collections.abc import Iterator

import pytest

from luxcli.controller import probe
from luxcli.controller.exchange import CONNECT, FIRST_BYTE, NAME_RESOLUTION, Exchange
from luxcli.controller.probe import Probe
from luxcli.errors import DeviceBusyError, ProtocolError
from luxcli.model import GROUPS
from luxcli.system.clock import Clock
from tests.support.faulty_controller import Fault, FaultyController, replay

HOST = "127.0.0.1"
# Nobody else's simulator listens on its 8888 or 8889.
QUIET = "127.0.0.91"

NO_WAIT = Clock(sleep=lambda _s: None)


def look(host: str, port: int, *, others: tuple[int, ...] = (), timeout_s: float = 0.3) -> Probe:
    return probe.probe(host, port, timeout_s, others=others, clock=NO_WAIT)


@pytest.fixture
def black_hole() -> Iterator[tuple[str, int]]:
    """A port that neither accepts nor refuses: its backlog is full, further packets are dropped."""
    with socket.socket() as server:
        server.bind((QUIET, 0))
        server.listen(0)
        clients = []
        for _ in range(3):
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(server.getsockname())
            clients.append(client)
        yield server.getsockname()
        for client in clients:
            client.close()


@pytest.fixture
def free_port() -> int:
    with socket.socket() as taken:
        taken.bind((QUIET, 0))
        return int(taken.getsockname()[1])


def test_a_healthy_controller_is_read_at_once_and_each_step_has_its_time(simulator):
    found = look(HOST, simulator.port)
    assert found.snapshot is not None
    assert found.snapshot.calculations == simulator.snapshot.calculations
    assert [attempt.failure for attempt in found.attempts] == [None]
    assert list(found.last.times_s) == [
        *(NAME_RESOLUTION, CONNECT, FIRST_BYTE),
        *("parameters", "calculations", "visibilities"),
    ]
    assert all(0 <= took < 0.3 for took in found.last.times_s.values())
    assert (found.last.addresses, found.last.peer, found.last.status) == ((HOST,), HOST, 0)
    assert (found.other_port, found.causes) == (None, ())
    assert simulator.connections == 1


def test_a_slow_first_byte_is_distinguished_from_a_slow_connection():
    with FaultyController(Fault(pause_s=0.1)) as pump:
        found = look(HOST, pump.port, timeout_s=2)
    assert found.last.times_s[CONNECT] < 0.1 <= found.last.times_s[FIRST_BYTE]
    assert found.last.times_s["parameters"] >= found.last.times_s[FIRST_BYTE]


def test_a_passing_failure_shows_in_the_number_of_attempts():
    with FaultyController(Fault(times=1, close_after=100)) as pump:
        found = look(HOST, pump.port)
    assert found.snapshot is not None
    assert found.snapshot.tries == 2
    first, second = found.attempts
    assert "connection closed after 92 of 4300 bytes" in str(first.failure)
    assert second.failure is None


def test_an_unknown_name_is_a_matter_of_typing_or_dns():
    found = look("no-such-pump.invalid", 8889, timeout_s=5)
    assert (found.last.phase, found.last.addresses) == (NAME_RESOLUTION, ())
    assert "typing error" in found.causes[0]
    assert found.last.failure is not None
    assert found.last.failure.exit_code == 69


def test_a_refused_connection_comes_with_likely_causes(free_port):
    found = look(QUIET, free_port, others=(8888, 8889))
    assert found.last.failure is not None
    assert (found.last.phase, found.last.failure.reason) == (CONNECT, "refused")
    assert "restarts" in found.causes[0]
    assert len(found.attempts) == probe.ATTEMPTS
    assert found.other_port is None
    assert found.tried == (8888, 8889)


def test_an_address_that_swallows_everything_is_switched_off_or_elsewhere(black_hole):
    began = time.monotonic()
    found = look(*black_hole, others=())
    assert time.monotonic() - began < 1.5
    assert found.last.failure is not None
    assert (found.last.phase, found.last.failure.reason) == (CONNECT, "timeout")
    assert any("off" in cause for cause in found.causes)
    assert any("VLAN" in cause for cause in found.causes)
    assert any("container" in cause for cause in found.causes)


def test_a_controller_on_the_other_port_is_found_with_a_single_request(free_port):
    with FaultyController(host=QUIET) as pump:
        found = look(QUIET, free_port, others=(free_port, 1, pump.port))
        assert pump.requests == [3005]
    assert found.other_port == pump.port
    assert found.causes == (
        f"wrong port: a controller answers on {pump.port}; set 'port: {pump.port}'",
    )
    assert found.snapshot is None


def test_the_default_is_to_look_at_the_ports_of_old_and_new_firmware(free_port):
    with FaultyController(host=QUIET, port=8888):
        found = probe.probe(QUIET, free_port, 0.3, clock=NO_WAIT)
    assert found.other_port == 8888


def test_a_controller_that_serves_another_client_is_silent(simulator):
    with socket.create_connection((HOST, simulator.port)):
        found = look(HOST, simulator.port)
    assert found.last.failure is not None
    assert (found.last.phase, found.last.failure.reason) == ("parameters", "timeout")
    assert found.last.received == b""
    assert "another program holds the controller" in found.causes[0]


def test_a_controller_that_is_nothing_but_slow_is_read_as_polls_would_read_it():
    with FaultyController(Fault(pause_s=0.4)) as pump:
        found = probe.probe(HOST, pump.port, 0.3, patience_s=5, others=(), clock=NO_WAIT)
    assert found.snapshot is not None
    assert [attempt.failure is None for attempt in found.attempts] == [False, True]


def test_patience_is_not_for_an_address_that_swallows_everything(black_hole):
    began = time.monotonic()
    found = probe.probe(*black_hole, 0.3, patience_s=5, others=(), clock=NO_WAIT)
    assert time.monotonic() - began < 1.5
    assert found.last.phase == CONNECT


def test_a_controller_that_falls_silent_within_a_block_hangs():
    with FaultyController(Fault(silent_after=2000)) as pump:
        found = look(HOST, pump.port)
    assert found.last.phase == "parameters"
    assert any("hangs" in cause for cause in found.causes)


def test_a_connection_that_is_cut_is_distinguished_from_silence():
    with FaultyController(Fault(close_after=2000)) as pump:
        found = look(HOST, pump.port)
    assert isinstance(found.last.failure, ProtocolError)
    assert "the connection was cut" in found.causes[0]


@pytest.mark.parametrize("garbage", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x15\x03\x01\x00\x02"])
def test_a_foreign_server_is_shown_by_what_it_sent(garbage):
    with FaultyController(Fault(garbage=garbage)) as pump:
        found = look(HOST, pump.port)
    assert isinstance(found.last.failure, ProtocolError)
    assert found.last.received == garbage[:4]
    assert "another device" in found.causes[0]


def test_a_busy_controller_has_been_found_so_no_other_port_is_tried():
    with FaultyController(Fault(status=2)) as pump, FaultyController() as other:
        found = look(HOST, pump.port, others=(other.port,))
        assert other.connections == 0
    assert isinstance(found.last.failure, DeviceBusyError)
    assert found.last.status == 2
    assert "setting is being changed" in found.causes[0]


def test_every_request_only_reads():
    with FaultyController(Fault(echo={3003: 1})) as pump, FaultyController() as other:
        look(HOST, pump.port, others=(other.port,))
        assert {*pump.requests, *other.requests} <= {3003, 3004, 3005}
        assert pump.write_attempts == other.write_attempts == 0


def test_the_exchange_says_how_far_it_came_when_it_is_read_alone(simulator):
    exchange = Exchange(HOST, simulator.port, 2)
    snapshot = exchange.read(clock=Clock(lambda: 1_800_000_000.0))
    assert snapshot.taken_ms == 1_800_000_000_000
    assert {group: len(snapshot.block(group)) for group in GROUPS} == {
        group: len(replay("msw6").at(0).block(group)) for group in GROUPS
    }
    assert exchange.phase == "visibilities"
