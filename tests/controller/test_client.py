"""The exchange with a controller, whole or not at all, against every way in which one fails."""

import ast
import contextlib
import gc
import itertools
import json
import logging
import random
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from luxtronik.calculations import Calculations
from luxtronik.parameters import Parameters
from luxtronik.visibilities import Visibilities

import luxcli
from luxcli.controller import client
from luxcli.controller.connection import Connection
from luxcli.errors import DeviceBusyError, DeviceError, ProtocolError
from luxcli.model import GROUPS, Snapshot
from luxcli.registers import catalogue, decoding
from luxcli.system.clock import Clock
from tests.support.faulty_controller import NOW_S, Fault, FaultyController, eventually, without

HOST = "127.0.0.1"
DEADLINE_S = 0.2
SLACK_S = 0.3
# Bytes of the three answers of the MSW 6: head and values, in the order of the requests.
PARAMETERS, CALCULATIONS, VISIBILITIES = 8 + 4 * 1075, 12 + 4 * 232, 8 + 327
CALCULATIONS_AT, VISIBILITIES_AT = PARAMETERS, PARAMETERS + CALCULATIONS
ALL = PARAMETERS + CALCULATIONS + VISIBILITIES
COMMANDS = {"parameters": 3003, "calculations": 3004, "visibilities": 3005}


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    """After each test: no thread goes on, and no socket was left for the garbage collector."""
    before = set(threading.enumerate())
    yield
    assert eventually(lambda: set(threading.enumerate()) <= before)
    gc.collect()  # an unclosed socket becomes a ResourceWarning, which fails the test


NO_WAIT = Clock(sleep=lambda _: None)


def read(port: int, *, host: str = HOST, **options) -> Snapshot:
    return client.read_snapshot(host, port, **{"timeout_s": 2, "retries": 0, **options})


def failure(port: int, **options) -> DeviceError:
    """Return what a read raised, after checking that it took no longer than it may."""
    options.setdefault("timeout_s", DEADLINE_S)
    began = time.monotonic()
    with pytest.raises(DeviceError) as caught:
        read(port, **options)
    limit_s = options["timeout_s"] * (options.get("retries", 0) + 1)
    assert time.monotonic() - began < limit_s + SLACK_S
    assert str(caught.value).startswith(f"{options.get('host', HOST)}:{port}: ")
    assert "\n" not in str(caught.value)
    return caught.value


def blocks(snapshot: Snapshot) -> dict[str, tuple[int, ...]]:
    return {group: snapshot.block(group) for group in GROUPS}


@contextlib.contextmanager
def closed_port() -> Iterator[int]:
    """Reserve a port on which nobody listens."""
    with socket.socket() as reserved:
        reserved.bind((HOST, 0))
        yield reserved.getsockname()[1]


# Values arrive whole


@pytest.mark.parametrize("profile", ["msw6", "long"])
def test_every_value_is_the_one_that_was_sent(profile):
    with FaultyController(profile=profile) as pump:
        snapshot = read(pump.port)
        assert eventually(lambda: pump.closed_by_client == 1)
    assert blocks(snapshot) == blocks(pump.snapshot)
    lengths = [len(snapshot.block(group)) for group in GROUPS]
    assert lengths == ([232, 1075, 327] if profile == "msw6" else [275, 1187, 398])
    assert pump.requests == [3003, 3004, 3005]
    assert snapshot.tries == 1


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 1209, 1390, 1460])
def test_values_split_over_segments_are_put_together_again(size):
    with FaultyController(Fault(segment=size), profile="long") as pump:
        snapshot = read(pump.port)
    assert blocks(snapshot) == blocks(pump.snapshot)


@pytest.mark.parametrize("size", [1209, 1390])
def test_segments_that_come_late_are_waited_for(size):
    with FaultyController(Fault(segment=size, pause_s=0.02)) as pump:
        assert blocks(read(pump.port)) == blocks(pump.snapshot)


def test_the_time_of_a_snapshot_is_that_of_the_beginning_by_the_host_clock():
    seconds = itertools.count(1_000_000, 5)
    with FaultyController(Fault(pause_s=0.02)) as pump:
        snapshot = read(pump.port, clock=Clock(now=lambda: next(seconds) + 0.125))
    assert snapshot.taken_ms == 1_000_000_125
    assert 60 <= snapshot.took_ms < 300


def test_a_controller_on_ipv6_is_read():
    with FaultyController(host="::1") as pump:
        assert blocks(read(pump.port, host="::1")) == blocks(pump.snapshot)


@pytest.mark.parametrize("only", ["127.0.0.1", "::1"])
def test_a_name_with_several_addresses_is_tried_at_each(only):
    addresses = {info[4][0] for info in socket.getaddrinfo("localhost", 0)}
    if only not in addresses:
        pytest.skip(f"localhost is not {only} on this machine")
    with FaultyController(host=only) as pump:
        assert blocks(read(pump.port, host="localhost")) == blocks(pump.snapshot)


def test_unusual_lengths_are_taken_as_they_are():
    def short(snapshot: Snapshot) -> Snapshot:
        return snapshot._replace(calculations=snapshot.calculations[:120], visibilities=(1,))

    with FaultyController(Fault(change=short)) as pump:
        snapshot = read(pump.port)
    assert blocks(snapshot) == blocks(short(pump.snapshot))


def test_negative_values_keep_their_sign():
    def negative(snapshot: Snapshot) -> Snapshot:
        return snapshot._replace(calculations=(-1, -(2**31), 2**31 - 1), visibilities=(-128, 127))

    with FaultyController(Fault(change=negative)) as pump:
        snapshot = read(pump.port)
    assert snapshot.calculations == (-1, -(2**31), 2**31 - 1)
    assert snapshot.visibilities == (-128, 127)


# Controllers that are not there


def test_a_closed_port_is_refused_at_once():
    with closed_port() as port:
        exc = failure(port, timeout_s=5)
    assert (type(exc), exc.reason, exc.tries) == (DeviceError, "refused", 1)
    assert str(exc).startswith(
        f"{HOST}:{port}: connect: connection refused (gave up after 1 attempt"
    )
    assert exc.took_ms < 300


def test_a_name_that_does_not_exist_fails_in_name_resolution():
    exc = failure(8889, host="no-such-host.invalid", timeout_s=2)
    assert type(exc) is DeviceError
    assert exc.reason in {"network", "timeout"}  # a resolver may also stay silent
    assert "name resolution: " in str(exc)


@pytest.mark.parametrize("host", ["x" * 64 + ".invalid", "a..invalid"])
def test_a_name_that_cannot_exist_fails_as_one(host):
    exc = failure(8889, host=host)
    assert exc.reason == "network"
    assert f"name resolution: {host!r} is not a host name" in str(exc)


def test_a_host_that_does_not_take_connections_is_given_up_at_the_deadline():
    with socket.socket() as server, socket.socket() as only:
        server.bind((HOST, 0))
        server.listen(0)  # room for one that nobody accepts; later ones get no answer
        only.connect(server.getsockname())
        exc = failure(server.getsockname()[1])
    assert (type(exc), exc.reason) == (DeviceError, "timeout")
    assert "connect: no complete answer within 0.2 s" in str(exc)
    assert exc.took_ms >= 200


def test_a_second_client_of_a_controller_that_serves_one_is_given_up_at_the_deadline():
    with FaultyController() as pump, socket.create_connection((HOST, pump.port)):
        assert eventually(lambda: pump.connections == 1)
        exc = failure(pump.port)
    assert exc.reason == "timeout"
    assert "parameters: no complete answer within 0.2 s" in str(exc)


# Controllers that stop: with an end, without one, and everywhere

PLACES = [
    (0, "parameters"),
    (3, "parameters"),  # inside the echo
    (4, "parameters"),
    (8, "parameters"),
    (1001, "parameters"),  # inside a value
    (CALCULATIONS_AT, "calculations"),
    (CALCULATIONS_AT + 6, "calculations"),  # inside the status
    (CALCULATIONS_AT + 12, "calculations"),
    (CALCULATIONS_AT + 502, "calculations"),
    (VISIBILITIES_AT, "visibilities"),
    (VISIBILITIES_AT + 8, "visibilities"),
    (ALL - 1, "visibilities"),
]


@pytest.mark.parametrize(("place", "phase"), PLACES)
def test_a_controller_that_falls_silent_is_given_up_at_the_deadline(place, phase):
    with FaultyController(Fault(silent_after=place)) as pump:
        exc = failure(pump.port)
        assert eventually(lambda: pump.closed_by_client == 1)
    assert (type(exc), exc.reason) == (DeviceError, "timeout")
    assert f"{phase}: no complete answer within 0.2 s" in str(exc)
    assert exc.took_ms >= 200


@pytest.mark.parametrize(("place", "phase"), PLACES)
def test_a_connection_that_ends_early_is_noticed_at_once(place, phase):
    with FaultyController(Fault(close_after=place)) as pump:
        exc = failure(pump.port, timeout_s=5)
        assert eventually(lambda: pump.closed_by_client == 1)
    assert (type(exc), exc.reason) == (ProtocolError, "protocol")
    assert re.search(rf"{phase}: connection closed after \d+ of \d+ bytes \(", str(exc))
    assert exc.took_ms < 1000


@pytest.mark.parametrize(("place", "phase"), PLACES)
def test_a_connection_that_is_reset_is_noticed_at_once(place, phase):
    with FaultyController(Fault(reset_after=place)) as pump:
        exc = failure(pump.port, timeout_s=5)
    assert (type(exc), exc.reason) == (DeviceError, "network")
    assert f"{phase}: Connection reset by peer (" in str(exc)
    assert exc.took_ms < 1000


@pytest.mark.parametrize("start", [0, CALCULATIONS_AT - 4, VISIBILITIES_AT - 4])
def test_a_peer_that_sends_a_byte_now_and_then_does_not_extend_the_deadline(start):
    class Trickling(FaultyController):
        def _send(self, connection: socket.socket, answer: bytes) -> None:
            at_once = max(0, min(len(answer), start - self._sent))
            connection.sendall(answer[:at_once])
            self._sent += at_once
            for byte in answer[at_once:]:
                time.sleep(0.02)
                connection.sendall(bytes([byte]))

    with Trickling() as pump:
        exc = failure(pump.port)
        assert eventually(lambda: pump.closed_by_client == 1)
    assert (type(exc), exc.reason) == (DeviceError, "timeout")
    assert "no complete answer within 0.2 s" in str(exc)


# Controllers that answer something else


@pytest.mark.parametrize("group", COMMANDS)
@pytest.mark.parametrize("echo", [0, -1, 3002, 3006])
def test_the_answer_to_another_question_is_refused(group, echo):
    with FaultyController(Fault(echo={COMMANDS[group]: echo})) as pump:
        exc = failure(pump.port, timeout_s=5)
        assert eventually(lambda: pump.closed_by_client == 1)
    assert (type(exc), exc.reason) == (ProtocolError, "protocol")
    advice = "; is this a heat pump? check host and port" if group == "parameters" else ""
    assert f"{group}: asked with {COMMANDS[group]}, answered with {echo}{advice} (" in str(exc)


@pytest.mark.parametrize("group", COMMANDS)
@pytest.mark.parametrize("length", [0, -1, -(2**31), 10_001, 2**31 - 1])
def test_an_impossible_length_is_refused_before_anything_is_read(group, length):
    with FaultyController(Fault(announce={COMMANDS[group]: length})) as pump:
        exc = failure(pump.port, timeout_s=5)
        assert eventually(lambda: pump.closed_by_client == 1)
    assert (type(exc), exc.reason) == (ProtocolError, "protocol")
    assert f"{group}: impossible length {length} (" in str(exc)


@pytest.mark.parametrize("group", COMMANDS)
def test_an_impossible_length_without_data_is_refused_too(group):
    head = {"parameters": 8, "calculations": CALCULATIONS_AT + 12, "visibilities": VISIBILITIES_AT}
    stop = head[group] + 8
    fault = Fault(announce={COMMANDS[group]: 2**31 - 1}, silent_after=stop)
    with FaultyController(fault) as pump:
        exc = failure(pump.port, timeout_s=5)
    assert f"{group}: impossible length 2147483647" in str(exc)


@pytest.mark.parametrize("group", COMMANDS)
def test_a_block_that_is_shorter_than_announced_is_waited_for_in_vain(group):
    with FaultyController(Fault(announce={COMMANDS[group]: 2000})) as pump:
        exc = failure(pump.port)
    assert (type(exc), exc.reason) == (DeviceError, "timeout")
    assert f"{group}: no complete answer" in str(exc)


@pytest.mark.parametrize(
    ("group", "noticed"),
    [
        ("parameters", "calculations: asked with 3004, answered with "),
        ("calculations", "visibilities: asked with 3005, answered with "),
        ("visibilities", "visibilities: 227 bytes more than announced"),
    ],
)
def test_a_block_that_is_longer_than_announced_is_refused(group, noticed):
    with FaultyController(Fault(announce={COMMANDS[group]: 100})) as pump:
        exc = failure(pump.port, timeout_s=5)
    assert (type(exc), exc.reason) == (ProtocolError, "protocol")
    assert noticed in str(exc)


@pytest.mark.parametrize("command", COMMANDS.values())
def test_surplus_bytes_are_refused(command):
    with FaultyController(Fault(surplus={command: b"\0"})) as pump:
        exc = failure(pump.port, timeout_s=5)
        assert eventually(lambda: pump.closed_by_client == 1)
    assert (type(exc), exc.reason) == (ProtocolError, "protocol")


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.no_cover
def test_random_bytes_are_never_a_snapshot(seed):
    chance = random.Random(seed)
    garbage = chance.randbytes(chance.choice([1, 4, 8, 100, 10_000]))
    with FaultyController(Fault(garbage=garbage)) as pump:
        exc = failure(pump.port)
        assert eventually(lambda: pump.closed_by_client == 1)
    assert exc.reason in {"protocol", "timeout"}


def test_a_web_server_is_no_heat_pump():
    with FaultyController(Fault(garbage=b"HTTP/1.1 400 Bad Request\r\n\r\n")) as pump:
        exc = failure(pump.port, timeout_s=5)
    assert (type(exc), exc.reason) == (ProtocolError, "protocol")
    assert "parameters: asked with 3003, answered with 1213486160" in str(exc)


# Controllers that are busy


def test_a_busy_controller_is_asked_again_after_five_seconds():
    waits: list[float] = []
    with FaultyController(Fault(times=1, status=1)) as pump:
        snapshot = read(pump.port, retries=3, clock=Clock(sleep=waits.append))
        assert eventually(lambda: pump.closed_by_client == 2)
    assert blocks(snapshot) == blocks(pump.snapshot)
    assert snapshot.tries == 2
    assert waits == [client.BUSY_WAIT_S] == [5.0]


def test_a_controller_that_stays_busy_ends_as_busy():
    waits: list[float] = []
    with FaultyController(Fault(status=7)) as pump:
        exc = failure(pump.port, retries=3, clock=Clock(sleep=waits.append))
    assert (type(exc), exc.reason, exc.exit_code) == (DeviceBusyError, "busy", 75)
    assert "calculations: controller is busy (status 7)" in str(exc)
    assert exc.tries == pump.connections == 4
    assert waits == [5.0] * 3


@pytest.mark.parametrize("status", [-1, -(2**31)])
def test_a_negative_status_is_a_damaged_answer(status):
    with (
        FaultyController(Fault(status=status)) as pump,
        pytest.raises(ProtocolError, match=f"calculations: impossible status {status}") as failure,
    ):
        read(pump.port)
    assert failure.value.reason == "protocol"


# Trying again


def test_a_controller_that_fails_twice_is_read_at_the_third_attempt(caplog):
    caplog.set_level(logging.DEBUG, "luxcli.controller.client")
    waits: list[float] = []
    with FaultyController(Fault(times=2, close_after=4)) as pump:
        snapshot = read(pump.port, retries=3, clock=Clock(sleep=waits.append))
        assert eventually(lambda: pump.closed_by_client == 3)
    assert snapshot.tries == pump.connections == 3
    assert blocks(snapshot) == blocks(pump.snapshot)
    lines = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert len(lines) == 2
    for number, (level, line) in enumerate(lines, start=1):
        assert level == "INFO"
        assert re.fullmatch(
            rf"{HOST}:{pump.port}: attempt {number} of 4 failed after 0\.\d s: parameters:"
            rf" connection closed after 0 of 4 bytes; next in {waits[number - 1]:.1f} s",
            line,
        )


def test_the_final_failure_says_how_often_and_how_long_it_was_tried(caplog):
    caplog.set_level(logging.DEBUG, "luxcli.controller.client")
    with FaultyController(Fault(silent_after=10)) as pump:
        exc = failure(pump.port, retries=2, timeout_s=0.1, clock=NO_WAIT)
    assert exc.tries == pump.connections == 3
    assert exc.took_ms >= 300
    assert re.search(
        r"no complete answer within 0.1 s \(gave up after 3 attempts, 0\.[3-9] s\)$", str(exc)
    )
    assert len(caplog.records) == 2  # the last one is raised, not logged


def test_each_attempt_has_the_whole_time_limit():
    with FaultyController(Fault(times=1, silent_after=5)) as pump:
        began = time.monotonic()
        snapshot = read(pump.port, retries=1, timeout_s=DEADLINE_S, clock=NO_WAIT)
    assert snapshot.tries == 2
    assert DEADLINE_S <= time.monotonic() - began < DEADLINE_S + SLACK_S
    assert snapshot.took_ms < 1000 * DEADLINE_S  # that of the exchange that gave the values


def test_the_waits_double_and_have_a_jitter_of_at_most_a_quarter():
    found: list[list[float]] = []
    with closed_port() as port:
        for _ in range(20):
            waits: list[float] = []
            failure(port, retries=5, clock=Clock(sleep=waits.append))
            found.append(waits)
    for column, base_s in zip(zip(*found, strict=True), [2, 4, 8, 8, 8], strict=True):
        assert all(base_s <= wait_s <= base_s * 1.25 for wait_s in column)
        assert len(set(column)) > 5


@pytest.mark.parametrize("retries", [0, 1, 3, 10])
@pytest.mark.parametrize("status", [0, 1])
def test_the_longest_duration_is_a_bound_for_all_attempts_and_waits(retries, status):
    waits: list[float] = []
    with FaultyController(Fault(status=1) if status else Fault(close_after=0)) as pump:
        failure(pump.port, retries=retries, clock=Clock(sleep=waits.append))
    assert len(waits) == retries
    assert sum(waits) + 60 * (retries + 1) <= client.longest_s(60, retries)
    assert client.longest_s(60, retries) <= 60 * (retries + 1) + 10 * retries


def test_what_the_check_refuses_is_tried_again_and_then_rejected():
    seen: list[Snapshot] = []

    def check(snapshot: Snapshot) -> list[str]:
        seen.append(snapshot)
        return ["operating-mode: 17", "switches: 99"]

    with FaultyController() as pump:
        exc = failure(pump.port, retries=1, check=check, clock=NO_WAIT)
    assert (type(exc), exc.reason, exc.tries) == (ProtocolError, "rejected", 2)
    assert "answer rejected: operating-mode: 17; switches: 99" in str(exc)
    assert [blocks(snapshot) for snapshot in seen] == [blocks(pump.snapshot)] * 2


def test_what_the_check_accepts_at_the_second_attempt_is_returned():
    answers = iter([["shifted"], []])
    with FaultyController(Fault(times=1, change=without("calculations", 3))) as pump:
        snapshot = read(pump.port, retries=1, check=lambda _: next(answers), clock=NO_WAIT)
    assert snapshot.tries == 2
    assert blocks(snapshot) == blocks(pump.snapshot)


# Never writing


def test_a_write_never_leaves_the_client(simulator):
    connection = Connection(HOST, simulator.port)
    connection.read()
    connection.parameters.set("ID_Einst_BWS_akt", 50.0)
    connection.read()
    connection.get_all("parameters")
    connection.get_all_sensors()
    read(simulator.port)
    assert simulator.write_attempts == 0
    assert simulator.requests == [3003, 3004, 3005] * 3
    assert not hasattr(connection, "write")


def test_the_command_that_writes_stands_in_no_code_but_the_simulators():
    package = Path(luxcli.__file__).parent
    found = {
        path.name
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value == 3002
    }
    assert found == {"server.py"}


# The connection that users of python-luxtronik know

LIBRARY = """
import json, sys
from luxtronik import Luxtronik
pump = Luxtronik("127.0.0.1", int(sys.argv[1]))
tables = {name: getattr(getattr(pump, name), name)
          for name in ("calculations", "parameters", "visibilities")}
print(json.dumps({name: {index: [entry.name, repr(entry.value)] for index, entry in table.items()}
                  for name, table in tables.items()}))
"""


def described(connection: Connection) -> dict[str, dict[str, list[str]]]:
    tables = {name: getattr(getattr(connection, name), name) for name in GROUPS}
    return {
        name: {str(index): [entry.name, repr(entry.value)] for index, entry in table.items()}
        for name, table in tables.items()
    }


@pytest.mark.parametrize("profile", ["msw6", "long"])
def test_its_tables_are_what_the_library_reads_from_the_same_controller(profile):
    with FaultyController(profile=profile) as pump:
        library = subprocess.run(
            [sys.executable, "-c", LIBRARY, str(pump.port)],
            stdout=subprocess.PIPE,
            timeout=8,
            check=True,
        )
        ours = described(Connection(HOST, pump.port))
    theirs = json.loads(library.stdout)
    assert ours == theirs
    assert ours["calculations"]["10"] == [
        "ID_WEB_Temperatur_TVL",
        repr(pump.snapshot.calculations[10] / 10),
    ]


def test_two_heat_pumps_in_one_process_do_not_mix():
    classes = ((Calculations, 0), (Parameters, 1), (Visibilities, 2))
    names = ("calculations", "parameters", "visibilities")
    before = [
        {index: (entry.name, entry.value) for index, entry in getattr(owner, names[i]).items()}
        for owner, i in classes
    ]
    with FaultyController() as one, FaultyController(profile="long") as other:
        first, second = Connection(HOST, one.port), Connection(HOST, other.port)
        first.read()
        second.read()
        values = described(first), described(second)
        assert described(first) == values[0]
        old, new = first.calculations, second.calculations
    assert old.get(81).value == "V3.78"
    assert new.get(81).value == "V3.90.1"
    assert old.get(274) is None
    assert new.get(274).value == 0
    assert old.get(250).value is None  # known to the library, not sent by this controller
    after = [
        {index: (entry.name, entry.value) for index, entry in getattr(owner, names[i]).items()}
        for owner, i in classes
    ]
    assert after == before
    assert all(value is None for table in after for _name, value in table.values())


def test_get_all_gives_every_register_of_a_group():
    with FaultyController(profile="long") as pump:
        connection = Connection(HOST, pump.port)
        for group in GROUPS:
            entries = connection.get_all(group)
            assert [entry.raw for entry in entries] == list(pump.snapshot.block(group))
            assert [entry.index for entry in entries] == list(range(len(entries)))
            assert entries == list(decoding.readings(connection.snapshot, group))
            assert all(entry.id and entry.group == group for entry in entries)
        assert pump.connections == 1
    flow = connection.get_all("calculations")[10]
    assert (flow.id, flow.unit) == ("ID_WEB_Temperatur_TVL", "°C")
    assert flow.value == pump.snapshot.calculations[10] / 10


@pytest.mark.parametrize("profile", ["msw6", "long"])
def test_get_all_sensors_gives_every_number_of_the_three_groups(profile):
    with FaultyController(profile=profile) as pump:
        found = Connection(HOST, pump.port).get_all_sensors()
    assert len(found) > 1000
    assert all(type(value) is float for value in found.values())
    expected = {}
    for group in GROUPS:
        for index, raw in enumerate(pump.snapshot.block(group)):
            entry = catalogue.register(group, index)
            value = decoding.number(entry, raw)
            if value is not None:
                assert entry.id not in expected, "two registers under one id"
                expected[entry.id] = value
    assert found == expected
    assert {catalogue.by_id(id_).group for id_ in found} == set(GROUPS)
    assert found["ID_WEB_Temperatur_TVL"] == pump.snapshot.calculations[10] / 10
    assert found["ID_WEB_AktuelleTimeStamp"] == NOW_S


def test_the_first_use_reads_and_later_ones_do_not(simulator):
    connection = Connection(HOST, simulator.port)
    assert simulator.connections == 0
    assert connection.calculations.get(10).value == simulator.snapshot.calculations[10] / 10
    assert len(connection.parameters.parameters) >= 1075
    assert simulator.connections == 1


def test_a_failed_read_leaves_no_old_values():
    with FaultyController() as pump:
        connection = Connection(HOST, pump.port, timeout_s=DEADLINE_S, retries=0)
        connection.read()
    with pytest.raises(DeviceError):
        connection.read()
    with pytest.raises(DeviceError):
        _ = connection.calculations


@pytest.mark.parametrize("odd", [-1, 2**31 - 1, 0xD800, 0])
def test_a_firmware_text_of_anything_but_characters_does_no_harm(odd):
    def change(snapshot: Snapshot) -> Snapshot:
        calculations = list(snapshot.calculations)
        calculations[81:91] = [odd] * 10
        return snapshot._replace(calculations=tuple(calculations))

    with FaultyController(Fault(change=change)) as pump:
        connection = Connection(HOST, pump.port)
        assert connection.calculations.get(10).value == pump.snapshot.calculations[10] / 10
        assert connection.snapshot.calculations[81] == odd
        assert connection.get_all("calculations")[81].raw == odd


def test_a_dead_address_of_a_name_leaves_time_for_the_next(tmp_path):
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 pump.test\n127.0.0.2 pump.test\n", encoding="utf-8")
    own_hosts = ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"']
    tried = subprocess.run([*own_hosts, hosts, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"/etc/hosts cannot be another one here: {tried.stderr.strip()}")
    read_it = (
        "import sys; from luxcli.controller.client import read_snapshot\n"
        "port = int(sys.argv[1])\n"
        "print(read_snapshot('pump.test', port, timeout_s=2, retries=0).took_ms)"
    )
    with (
        FaultyController(host="127.0.0.2") as pump,
        socket.socket() as dead,
        contextlib.ExitStack() as full,
    ):
        dead.bind(("127.0.0.1", pump.port))
        dead.listen(0)
        for _ in range(3):  # a full backlog: what comes then is dropped
            client = full.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(dead.getsockname())
        done = subprocess.run(
            [*own_hosts, hosts, sys.executable, "-c", read_it, str(pump.port)],
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.stderr == ""
    assert 900 < int(done.stdout) < 2000
