"""One database, one heat pump."""

import os
from pathlib import Path

import pytest

from luxcli.errors import StorageError
from luxcli.recording.poll import poll_once
from luxcli.simulator.replay import Replay
from luxcli.simulator.server import Simulator
from luxcli.store import owner
from luxcli.store.store import Store
from tests.diagnosis.test_diagnose import diagnose, lines
from tests.support.scenario import configured, ms


def pump(serial=(0, 0)):
    snapshot = Replay().at(ms("2026-11-20T12:00") / 1000)
    parameters = list(snapshot.parameters)
    parameters[874:876] = serial
    return snapshot._replace(parameters=tuple(parameters))


@pytest.fixture
def database(tmp_path):
    return tmp_path / "cache.sqlite3"


def test_the_same_heat_pump_is_let_in_again_and_again(database):
    for _ in range(3):
        owner.check_owner(database, "pump.local", pump((730214, 17)))


def test_another_serial_number_is_refused_even_at_the_same_address(database):
    owner.check_owner(database, "pump.local", pump((730214, 17)))
    with pytest.raises(StorageError, match="another heat pump"):
        owner.check_owner(database, "pump.local", pump((730214, 18)))


def test_the_same_serial_number_at_a_new_address_is_let_in_and_remembered(database):
    owner.check_owner(database, "192.168.1.50", pump((730214, 17)))
    owner.check_owner(database, "192.168.1.77", pump((730214, 17)))
    with pytest.raises(StorageError, match=r"192\.168\.1\.77"):
        owner.check_owner(database, "192.168.1.50", pump((1, 1)))


def test_without_serial_numbers_the_address_decides(database):
    owner.check_owner(database, "Pump-A", pump())
    owner.check_owner(database, "pump-a", pump())
    with pytest.raises(StorageError, match="holds the polls of another heat pump"):
        owner.check_owner(database, "pump-b", pump())


def test_a_serial_number_that_is_missing_once_is_not_forgotten(database):
    owner.check_owner(database, "pump-a", pump((730214, 17)))
    owner.check_owner(database, "pump-a", pump())
    with pytest.raises(StorageError):
        owner.check_owner(database, "pump-a", pump((730214, 18)))


def test_a_flipped_bit_of_the_note_does_not_make_another_heat_pump_of_it(database):
    note, poll = database.with_name("cache.sqlite3.device.json"), pump()
    owner.check_owner(database, "pump-a", poll)
    whole = note.read_bytes()
    for bit in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        note.write_bytes(damaged)
        owner.check_owner(database, "pump-a", poll)
        assert note.read_bytes() == whole


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"\x00\xff"])
def test_a_damaged_note_is_written_again(database, damage):
    note = database.with_name("cache.sqlite3.device.json")
    note.write_bytes(damage)
    owner.check_owner(database, "pump-a", pump())
    with pytest.raises(StorageError):
        owner.check_owner(database, "pump-b", pump())


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to(path)])
def test_a_note_that_cannot_be_read_costs_a_warning_and_no_poll(
    tmp_path, configure, invoke, simulator, make
):
    cache_path = tmp_path / "cache.sqlite3"
    file = configure(port=simulator.port, cache_path=str(cache_path))
    note = owner.note_path(cache_path)
    make(note)
    ran = invoke("poll-once", "-c", file)
    assert (ran.status, len(ran.stderr.splitlines())) == (0, 1)
    assert ran.stderr.startswith(f"luxcli: {note}: cannot be read: ")
    assert "move it away; until then polls of another heat pump are stored, too" in ran.stderr
    for command in ("rollup all", "prune", "restore", "status"):
        assert invoke(*command.split(), "-c", file).status == 0
    store = Store(cache_path)
    assert len(list(store.query(0, 1 << 62))) == 1
    assert store.database.missed(0, 1 << 62) == []


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_diagnose_names_a_note_that_is_no_file(tmp_path, make):
    settings = configured(tmp_path)
    note = owner.note_path(settings.cache_path)
    make(note)
    found = diagnose(settings, offline=True)
    assert f"{note}: not a regular file" in lines(found, "storage", "warning")


def test_the_refused_poll_of_a_second_heat_pump_is_recorded_as_missed_only(tmp_path):
    with Simulator(Replay()) as simulator:
        settings = configured(tmp_path, port=simulator.port)
        first = poll_once(settings)
        with pytest.raises(StorageError, match="cache_path of its own"):
            poll_once(configured(tmp_path, port=simulator.port, host="localhost"))
    store = Store(settings.cache_path)
    store.flush()
    assert [poll.taken_ms for poll in store.query(0, 1 << 62)] == [first.snapshot.taken_ms]
    assert [missed_poll.reason for missed_poll in store.database.missed(0, 1 << 62)] == ["foreign"]
