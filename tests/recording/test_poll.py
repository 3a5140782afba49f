"""One poll from the socket to the store: all of it or nothing, and every miss with its reason."""

import fcntl
import json
import logging
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from luxcli.config import config
from luxcli.config.config import Config
from luxcli.errors import (
    ConfigError,
    DeviceBusyError,
    DeviceError,
    LockHeldError,
    ProtocolError,
    StorageError,
)
from luxcli.model import EXTRA, GROUPS, LENGTH_CHANGED, SUSPICIOUS, MissedPoll, Snapshot
from luxcli.recording.poll import poll_once
from luxcli.registers import structure
from luxcli.simulator.replay import Replay
from luxcli.store import journal
from luxcli.store.store import Store
from luxcli.system.clock import Clock
from tests.conftest import Cli, Ran
from tests.support.faulty_controller import (
    NOW_S,
    Fault,
    FaultyController,
    ManyClients,
    eventually,
    with_calculations,
    without,
)
from tests.support.scenario import alone_with_device, device_lock, open_store

EVER = (0, 2**62)


@pytest.fixture
def settings_for(configure: Callable[..., Path], tmp_path: Path) -> Callable[..., Config]:
    """Return the configuration for a port."""

    def load(port: int, **settings: Any) -> Config:
        return config.load(configure(port=port, **settings), {}, tmp_path)

    return load


def polls(settings: Config) -> list[Snapshot]:
    return list(open_store(settings).query(*EVER))


def misses(settings: Config) -> list[MissedPoll]:
    store = open_store(settings)
    store.flush()
    return store.database.missed(*EVER)


def blocks(snapshot: Snapshot) -> dict[str, tuple[int, ...]]:
    return {group: snapshot.block(group) for group in GROUPS}


class Lock:
    """Another process's hold on a lock file, as far as luxcli can tell."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT)
        fcntl.flock(self._fd, fcntl.LOCK_EX)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


# A poll that finds the heat pump in use waits five seconds: the other tests run meanwhile.


@pytest.fixture(scope="module", autouse=True)
def poll_beside_another(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[subprocess.Popen[str], Config, FaultyController]]:
    directory = tmp_path_factory.mktemp("busy")
    with FaultyController() as pump:
        file = directory / "luxcli.yaml"
        file.write_text(f"host: 127.0.0.1\nport: {pump.port}\ncache_path: c.sqlite3\n", "utf-8")
        settings = config.load(file, {}, directory)
        commands = Cli(directory)
        with Lock(device_lock(settings)):
            yield commands.start("poll-once", "--json"), settings, pump
        commands.close()


# What is stored


@pytest.mark.parametrize("profile", ["msw6", "long"])
def test_every_register_of_a_poll_is_stored_and_read_back(profile, settings_for):
    with FaultyController(profile=profile) as pump:
        settings = settings_for(pump.port)
        result = poll_once(settings, clock=Clock(lambda: NOW_S))
    assert blocks(result.snapshot) == blocks(pump.snapshot)
    assert result.values == (1634 if profile == "msw6" else 1860)
    assert result.warning is None
    assert polls(settings) == [result.snapshot]
    assert result.snapshot.taken_ms == NOW_S * 1000
    assert misses(settings) == []


@pytest.mark.parametrize("profile", ["msw6", "long"])
def test_the_process_stores_what_the_controller_sent(profile, invoke, settings_for):
    with FaultyController(profile=profile) as pump:
        settings = settings_for(pump.port)
        ran = invoke("poll-once", "--json")
        assert eventually(lambda: pump.closed_by_client == 1)
    assert (ran.status, ran.stderr) == (0, "")
    printed = json.loads(ran.stdout)
    [stored] = polls(settings)
    assert blocks(stored) == blocks(pump.snapshot)
    assert printed["ok"] is True
    assert (printed["taken_ms"], printed["took_ms"], printed["tries"]) == (
        stored.taken_ms,
        stored.took_ms,
        1,
    )
    assert [printed[group] for group in GROUPS] == [len(stored.block(group)) for group in GROUPS]


@pytest.mark.parametrize("flush_polls", [1, 3, 20])
def test_polls_are_all_there_however_often_the_journal_is_flushed(flush_polls, settings_for):
    with FaultyController() as pump:
        settings = settings_for(pump.port, flush_polls=flush_polls)
        taken = [
            poll_once(settings, clock=Clock(lambda at=at: NOW_S + at)).snapshot
            for at in range(0, 150, 30)
        ]
    assert polls(settings) == taken
    assert len({snapshot.taken_ms for snapshot in taken}) == 5


def test_a_poll_at_the_second_attempt_is_stored_with_its_tries(settings_for):
    with FaultyController(Fault(times=1, reset_after=4)) as pump:
        settings = settings_for(pump.port, retries=1)
        poll_once(settings, clock=Clock(sleep=lambda _: None))
    [stored] = polls(settings)
    assert stored.tries == 2
    assert blocks(stored) == blocks(pump.snapshot)
    assert misses(settings) == []


@pytest.mark.parametrize(
    "values",
    [
        {78: 500},  # a model nobody knew
        {134: 0},  # a dead clock
        {134: -1},
        {81: 0, 82: 7, 83: -5, 84: 2**31 - 1},  # a firmware text that is none
        {10: 32767, 11: -32768},  # sensors out of range
        {105: 17},
        {},
    ],
)
def test_one_odd_value_does_not_keep_a_poll_from_being_stored(values, settings_for):
    change = with_calculations(values)
    with FaultyController(Fault(change=change)) as pump:
        settings = settings_for(pump.port)
        poll_once(settings)
    [stored] = polls(settings)
    assert blocks(stored) == blocks(change(pump.snapshot))


@pytest.mark.parametrize("values", [{78: 500, 40: 99}, {81: 0, 105: 99}, {40: 2, 118: -1}])
def test_two_contradictions_are_too_many(values, settings_for):
    with FaultyController(Fault(change=with_calculations(values))) as pump:
        settings = settings_for(pump.port)
        with pytest.raises(ProtocolError, match="answer rejected: ") as caught:
            poll_once(settings)
    for index, raw in values.items():
        assert f"calculation {index} is {raw}" in str(caught.value) or index == 81
    assert polls(settings) == []
    assert [missed.reason for missed in misses(settings)] == ["rejected"]


@pytest.mark.parametrize("profile", ["msw6", "long"])
@pytest.mark.parametrize("index", [0, 5, 28])
def test_calculations_that_stand_on_the_wrong_registers_are_rejected(index, profile, settings_for):
    fault = Fault(change=without("calculations", index))
    with FaultyController(fault, profile=profile) as pump:
        settings = settings_for(pump.port, retries=1)
        with pytest.raises(ProtocolError, match="answer rejected: ") as caught:
            poll_once(settings, clock=Clock(sleep=lambda _: None))
    assert caught.value.exit_code == 76
    assert pump.connections == 2
    assert polls(settings) == []
    [missed] = misses(settings)
    assert (missed.reason, missed.tries) == ("rejected", 2)
    assert missed.detail == str(caught.value)


@pytest.mark.parametrize("profile", ["msw6", "long"])
@pytest.mark.parametrize("index", [0, 5, 100])
def test_parameters_that_stand_on_the_wrong_registers_are_rejected(index, profile, settings_for):
    with FaultyController(Fault(change=without("parameters", index)), profile=profile) as pump:
        settings = settings_for(pump.port)
        with pytest.raises(ProtocolError, match="answer rejected: "):
            poll_once(settings)
    assert polls(settings) == []
    assert [missed.reason for missed in misses(settings)] == ["rejected"]


# What is missed


@pytest.mark.parametrize(
    ("fault", "error", "reason"),
    [
        (Fault(silent_after=100), DeviceError, "timeout"),
        (Fault(close_after=100), ProtocolError, "protocol"),
        (Fault(reset_after=100), DeviceError, "network"),
        (Fault(echo={3004: 3003}), ProtocolError, "protocol"),
        (Fault(announce={3005: -1}), ProtocolError, "protocol"),
        (Fault(garbage=b"SSH-2.0-OpenSSH\r\n"), ProtocolError, "protocol"),
        (Fault(status=1), DeviceBusyError, "busy"),
    ],
)
def test_a_failed_poll_is_recorded_with_its_reason(fault, error, reason, settings_for):
    retries = 0 if reason == "timeout" else 2
    waits: list[float] = []
    with FaultyController(fault) as pump:
        settings = settings_for(pump.port, retries=retries, timeout_sec=1)
        with pytest.raises(DeviceError) as caught:
            poll_once(settings, clock=Clock(lambda: NOW_S, waits.append))
    assert type(caught.value) is error
    assert polls(settings) == []
    [missed] = misses(settings)
    assert (missed.ts_ms, missed.reason, missed.tries) == (NOW_S * 1000, reason, retries + 1)
    assert missed.detail == str(caught.value)
    assert (1000 if reason == "timeout" else 0) <= missed.took_ms < 1500
    assert len(waits) == retries


def test_a_refused_connection_is_recorded(settings_for):
    with FaultyController() as pump:
        pass
    settings = settings_for(pump.port)
    with pytest.raises(DeviceError):
        poll_once(settings)
    assert [(m.reason, m.tries) for m in misses(settings)] == [("refused", 1)]


def test_a_name_that_cannot_be_resolved_is_recorded(settings_for):
    settings = settings_for(8889, host="no-such-host.invalid", timeout_sec=1)
    with pytest.raises(DeviceError):
        poll_once(settings)
    [missed] = misses(settings)
    assert missed.reason in {"network", "timeout"}
    assert missed.detail.startswith("no-such-host.invalid:8889: name resolution: ")


def test_misses_and_polls_stand_beside_each_other(settings_for):
    with FaultyController(Fault(times=2, close_after=0)) as pump:
        settings = settings_for(pump.port, flush_polls=1)
        for at in range(4):
            try:
                poll_once(settings, clock=Clock(lambda at=at: NOW_S + 30 * at))
            except DeviceError:
                assert at < 2
    assert [missed.ts_ms for missed in misses(settings)] == [NOW_S * 1000, (NOW_S + 30) * 1000]
    assert [poll.taken_ms for poll in polls(settings)] == [
        (NOW_S + 60) * 1000,
        (NOW_S + 90) * 1000,
    ]


def test_without_a_host_nothing_is_done(tmp_path):
    settings = config.load(None, {"HOME": str(tmp_path / "home")}, tmp_path)
    with pytest.raises(ConfigError, match="host: missing"):
        poll_once(settings)
    assert not (tmp_path / "home").exists()


# Storage that is not there


def test_a_database_directory_that_cannot_be_made_fails_before_the_heat_pump_is_asked(
    settings_for, tmp_path
):
    (tmp_path / "file").write_text("mine\n", encoding="utf-8")
    with FaultyController() as pump:
        settings = settings_for(pump.port, cache_path=str(tmp_path / "file" / "c.sqlite3"))
        with pytest.raises(StorageError, match=f"^{tmp_path}/file: is not a directory") as caught:
            poll_once(settings)
    assert caught.value.exit_code == 74
    assert pump.connections == 0
    assert (tmp_path / "file").read_text(encoding="utf-8") == "mine\n"


def test_a_missing_directory_is_made_only_if_its_parent_exists(settings_for, tmp_path):
    with FaultyController() as pump:
        good = settings_for(pump.port, cache_path=str(tmp_path / "new" / "c.sqlite3"))
        poll_once(good)
        assert len(polls(good)) == 1
        bad = settings_for(pump.port, cache_path=str(tmp_path / "mnt" / "usb" / "c.sqlite3"))
        with pytest.raises(StorageError, match=f"^{tmp_path}/mnt/usb: neither this directory nor"):
            poll_once(bad)
        assert not (tmp_path / "mnt").exists()


def test_a_database_that_cannot_be_written_leaves_the_poll_in_its_journal_with_a_warning(
    invoke, settings_for
):
    with FaultyController() as pump:
        settings = settings_for(pump.port, flush_polls=1)
        settings.cache_path.parent.mkdir(parents=True, exist_ok=True)
        # SQLite needs the place of its journal; the directory there keeps it from any write.
        journal = settings.cache_path.with_name(settings.cache_path.name + "-journal")
        journal.mkdir()
        ran = invoke("poll-once")
    assert (ran.status, ran.stdout) == (0, "")
    assert ran.stderr.count("\n") == 1
    assert ran.stderr.startswith(f"luxcli: {journal}: not a regular file")
    journal.rmdir()
    assert [blocks(poll) for poll in polls(settings)] == [blocks(pump.snapshot)]


def test_the_failure_of_the_heat_pump_is_not_hidden_by_that_of_the_storage(cli, settings_for):
    with FaultyController(Fault(silent_after=0)) as pump:
        settings = settings_for(pump.port, timeout_sec=1)
        process = cli.start("poll-once")
        assert eventually(lambda: pump.requests)
        shutil.rmtree(settings.cache_path.parent)
        ran = cli.end(process)
    assert ran.status == 69
    assert f"{pump.port}: parameters: no complete answer within 1 s" in ran.stderr
    assert str(settings.cache_path.parent) in ran.stderr
    assert "Traceback" not in ran.stderr


# Several at once


def test_the_fake_notices_two_clients_at_once():
    import socket

    with (
        ManyClients(pause_s=0) as pump,
        socket.create_connection(("127.0.0.1", pump.port)),
        socket.create_connection(("127.0.0.1", pump.port)),
    ):
        assert eventually(lambda: pump.most == 2)


def test_ten_polls_at_once_talk_one_after_the_other_and_none_is_lost(cli, settings_for):
    with ManyClients(pause_s=0.06) as pump:
        settings = settings_for(pump.port, flush_polls=4, timeout_sec=5)
        processes = [cli.start("poll-once", "--json") for _ in range(10)]
        ran = [cli.end(process) for process in processes]
        assert pump.most == 1
        assert pump.connections == 10
    assert [(one.status, one.stderr) for one in ran] == [(0, "")] * 10
    printed = sorted(json.loads(one.stdout)["taken_ms"] for one in ran)
    assert [poll.taken_ms for poll in polls(settings)] == printed
    assert len(set(printed)) == 10
    assert {poll.calculations for poll in polls(settings)} == {polls(settings)[0].calculations}
    assert misses(settings) == []


def test_the_lock_of_one_heat_pump_does_not_hold_up_another(settings_for):
    other = device_lock(settings_for(1))
    with FaultyController() as pump, Lock(other):
        assert poll_once(settings_for(pump.port)).values == 1634


def test_two_spellings_of_a_name_are_one_heat_pump(settings_for):
    assert device_lock(settings_for(1, host="Pump.Local")) == device_lock(
        settings_for(1, host="pump.local")
    )


# Interrupted


@pytest.mark.parametrize(
    ("signum", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)]
)
@pytest.mark.parametrize("silent_after", [0, 2000, 5000])
def test_a_signal_ends_a_hanging_poll_within_a_second_and_the_miss_is_recorded(
    signum, status, silent_after, cli, settings_for
):
    with FaultyController(Fault(silent_after=silent_after)) as pump:
        settings = settings_for(pump.port, timeout_sec=60, retries=3)
        process = cli.start("poll-once")
        assert eventually(lambda: pump.requests)
        ran = stopped(cli, process, signum)
        assert eventually(lambda: pump.closed_by_client == 1)
    assert ran == Ran(status, "", "")
    [missed] = misses(settings)
    assert missed.reason == "interrupted"
    assert polls(settings) == []


def test_a_poll_started_by_nohup_outlives_its_terminal(cli, settings_for):
    with FaultyController(Fault(pause_s=0.3)) as pump:
        settings = settings_for(pump.port)
        before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as processes inherit it
        try:
            process = cli.start("poll-once")
        finally:
            signal.signal(signal.SIGHUP, before)
        assert eventually(lambda: pump.requests)
        process.send_signal(signal.SIGHUP)
        assert cli.end(process).status == 0
    assert len(polls(settings)) == 1


def test_a_signal_while_waiting_for_the_next_attempt_ends_the_poll_as_well(cli, settings_for):
    with FaultyController(Fault(close_after=0)) as pump:
        settings = settings_for(pump.port, retries=3)
        process = cli.start("poll-once")
        assert eventually(lambda: pump.closed_by_client == 1)
        ran = stopped(cli, process, signal.SIGTERM)
    assert ran == Ran(143, "", "")
    assert [missed.reason for missed in misses(settings)] == ["interrupted"]


def test_a_signal_while_another_poll_talks_ends_the_waiting_one(cli, settings_for):
    with FaultyController() as pump:
        settings = settings_for(pump.port)
        with Lock(device_lock(settings)):
            process = cli.start("poll-once")
            assert eventually(lambda: has_open(process, device_lock(settings)))
            ran = stopped(cli, process, signal.SIGTERM)
        assert pump.connections == 0
    assert ran == Ran(143, "", "")
    assert [missed.reason for missed in misses(settings)] == ["interrupted"]


def test_a_signal_ends_the_poll_in_time_even_if_the_storage_is_locked(cli, settings_for):
    with FaultyController(Fault(silent_after=0)) as pump:
        settings = settings_for(pump.port, timeout_sec=60)
        process = cli.start("poll-once")
        assert eventually(lambda: pump.requests)
        with Lock(open_store(settings).lock_path):
            ran = stopped(cli, process, signal.SIGTERM)
    assert (ran.status, ran.stdout) == (143, "")
    assert "Traceback" not in ran.stderr


def test_a_signal_ends_the_poll_with_its_status_even_if_the_storage_is_gone(cli, settings_for):
    with FaultyController(Fault(silent_after=0)) as pump:
        settings = settings_for(pump.port, timeout_sec=60)
        process = cli.start("poll-once")
        assert eventually(lambda: pump.requests)
        shutil.rmtree(settings.cache_path.parent)
        ran = stopped(cli, process, signal.SIGTERM)
    assert (ran.status, ran.stdout) == (143, "")
    assert "Traceback" not in ran.stderr


def test_a_signal_to_a_poll_that_waits_for_its_journal_ends_it_with_its_status(cli, settings_for):
    with FaultyController() as pump:
        settings = settings_for(pump.port)
        open_store(settings)
        path = journal.path_at(settings.cache_path, round(time.time() * 1000))
        with Lock(path):
            process = cli.start("poll-once")
            assert eventually(lambda: pump.closed_by_client == 1)
            assert eventually(lambda: has_open(process, path))
            ran = stopped(cli, process, signal.SIGTERM)
    assert (ran.status, ran.stdout) == (143, "")
    assert "Traceback" not in ran.stderr


def test_a_signal_to_a_poll_that_waits_for_its_journal_does_not_lose_what_was_read(
    cli, settings_for
):
    with FaultyController() as pump:
        settings = settings_for(pump.port)
        open_store(settings)
        path = journal.path_at(settings.cache_path, round(time.time() * 1000))
        with Lock(path):
            process = cli.start("poll-once")
            assert eventually(lambda: pump.closed_by_client == 1)
            assert eventually(lambda: has_open(process, path))
            process.send_signal(signal.SIGTERM)
        ran = cli.end(process)
    assert ran == Ran(143, "", "")
    assert [blocks(poll) for poll in polls(settings)] == [blocks(pump.snapshot)]


def test_a_second_signal_does_not_cut_short_what_the_first_one_started(cli, settings_for):
    with FaultyController(Fault(silent_after=0)) as pump:
        settings = settings_for(pump.port, timeout_sec=60)
        process = cli.start("poll-once")
        assert eventually(lambda: pump.requests)
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)
        ran = cli.end(process, within_s=1)
    assert ran.status in {143, 130}
    assert ran[1:] == ("", "")
    assert [missed.reason for missed in misses(settings)] == ["interrupted"]


BEFORE_STORING = """
import os, signal
from luxcli import __main__
from luxcli.store import owner
check = owner.check_owner
def with_signal(*args):
    os.kill(os.getpid(), signal.SIGTERM)
    check(*args)
owner.check_owner = with_signal
__main__.main()
"""


def test_a_signal_between_reading_and_storing_does_not_lose_what_was_read(cli, settings_for):
    with FaultyController() as pump:
        settings = settings_for(pump.port)
        done = subprocess.run(
            [sys.executable, "-c", BEFORE_STORING, "poll-once"],
            env=cli.environment(),
            cwd=cli.directory,
            capture_output=True,
            text=True,
            check=False,
            timeout=5,
        )
    assert Ran(done.returncode, done.stdout, done.stderr) == Ran(143, "", "")
    assert [blocks(poll) for poll in polls(settings)] == [blocks(pump.snapshot)]


AT_ONCE = """
install = signal.signal
def with_signal(signum, handler):
    install(signum, handler)
    if signum == signal.SIGTERM:
        os.kill(os.getpid(), signum)
signal.signal = with_signal
"""
WHERE_NOTHING_IS_RAISED = """
import weakref
class Thing:
    def find_spec(self, name, *_):
        if name == "luxcli.controller.client":
            thing = Thing()
            mark = weakref.ref(thing, lambda _: os.kill(os.getpid(), signal.SIGTERM))
            del thing
sys.meta_path.insert(0, Thing())
"""


@pytest.mark.parametrize("moment", [AT_ONCE, WHERE_NOTHING_IS_RAISED])
def test_a_signal_ends_a_poll_quietly_also_while_it_starts(moment, cli, settings_for):
    with FaultyController(Fault(silent_after=0)) as pump:
        settings_for(pump.port, timeout_sec=60)
        code = f"import os, signal, sys\nfrom luxcli import __main__\n{moment}\n__main__.main()"
        done = subprocess.run(
            [sys.executable, "-c", code, "poll-once"],
            # A signal may leave a file of an import to the garbage collector.
            env=cli.environment(PYTHONWARNINGS=""),
            cwd=cli.directory,
            capture_output=True,
            text=True,
            check=False,
            timeout=5,
        )
    assert Ran(done.returncode, done.stdout, done.stderr) == Ran(143, "", "")


def stopped(cli: Cli, process: subprocess.Popen[str], signum: int) -> Ran:
    """Send a signal; the process has a second to end."""
    process.send_signal(signum)
    return cli.end(process, within_s=1)


def has_open(process: subprocess.Popen[str], path: Path) -> bool:
    """Whether the process has a file open to write, which somebody else holds: it waits for it.

    To read the last poll it opens the journal as well, for a moment.
    """
    process_files = Path(f"/proc/{process.pid}")
    try:
        found = [fd.name for fd in (process_files / "fd").iterdir() if os.readlink(fd) == str(path)]
        infos = [(process_files / "fdinfo" / name).read_text("ascii") for name in found]
    except OSError:
        return False
    return any(int(re.findall(r"flags:\s+(\d+)", info)[0], 8) & os.O_ACCMODE for info in infos)


# Last, since it takes five seconds that begin with the first test of this file


def test_a_poll_that_finds_the_heat_pump_in_use_gives_up_and_records_it(poll_beside_another):
    process, settings, pump = poll_beside_another
    ran = Cli.end(process)
    assert ran.status == 75
    assert pump.connections == 0
    lock = device_lock(settings)
    line = ran.stderr.removeprefix("luxcli: ").rstrip("\n")
    assert re.fullmatch(
        rf"127\.0\.0\.1:{pump.port}: in use by another luxcli: {re.escape(str(lock))}:"
        rf" held by pid {os.getpid()} since 20[0-9-]+T[0-9:]+Z",
        line,
    )
    error = {"type": LockHeldError.__name__, "exit": 75, "text": line}
    assert json.loads(ran.stdout) == {"ok": False, "error": error}
    [missed] = misses(settings)
    assert (missed.reason, missed.tries, missed.detail) == ("busy", 0, line)
    assert 5000 <= missed.took_ms < 6000


def test_two_databases_do_not_talk_to_one_heat_pump_at_once(settings_for, tmp_path):
    with FaultyController() as pump:
        (tmp_path / "one").mkdir()
        first = settings_for(pump.port, cache_path=str(tmp_path / "one" / "c.sqlite3"))
        second = settings_for(pump.port, cache_path=str(tmp_path / "two" / "c.sqlite3"))
        with (
            alone_with_device(first),
            pytest.raises(LockHeldError, match="luxcli with another database"),
        ):
            poll_once(second, device_wait_s=0.1)
        assert pump.requests == []
        poll_once(second)
    store = Store(second.cache_path)
    store.flush()
    assert [missed_poll.reason for missed_poll in store.database.missed(0, 1 << 62)] == ["busy"]


def test_a_name_and_its_address_do_not_make_two_clients(cli, configure, tmp_path):
    """Cron uses the name, somebody tries the address by hand."""
    with ManyClients(pause_s=0.1) as pump:
        running = [
            cli.start(
                *("poll-once", "-c", configure(port=pump.port)),
                env={
                    "LUXCLI_HOST": host,
                    "LUXCLI_CACHE_PATH": str(tmp_path / f"{n}" / "c.sqlite3"),
                },
            )
            for n, host in enumerate(["127.0.0.1", "localhost", "127.0.0.1", "LOCALHOST"])
        ]
        assert [cli.end(process).status for process in running] == [0, 0, 0, 0]
    assert (pump.connections, pump.most) == (4, 1)


def test_a_conversation_that_does_not_end_keeps_others_away_by_its_address(settings_for, tmp_path):
    with FaultyController() as pump, socket.socket(socket.AF_UNIX) as other:
        other.bind(f"\0luxcli at 127.0.0.1 {pump.port}")
        began = time.monotonic()
        with pytest.raises(DeviceBusyError, match=r"another luxcli is talking to 127\.0\.0\.1"):
            poll_once(settings_for(pump.port, timeout_sec=1))
        assert time.monotonic() - began < 3
        assert pump.connections == 0


def test_new_firmware_with_new_codes_in_several_enumerations_is_stored(settings_for):
    snapshot = Replay().at(1_795_000_000)
    codes = list(snapshot.calculations)
    codes[78], codes[80], codes[117], codes[118] = 95, 9, 12, 4
    assert structure.rejection(snapshot._replace(calculations=tuple(codes))) == []


# What the poll before says


class Recording:
    """A configuration and a controller whose time goes on, and which may be damaged in between."""

    def __init__(self, settings_for: Callable[..., Config], **options: Any) -> None:
        self.now_s = NOW_S
        self._damage: Callable[[Snapshot], Snapshot] | None = None
        self.pump = FaultyController(
            Fault(change=lambda poll: self._damage(poll) if self._damage else poll),
            clock=lambda: self.now_s,
            **options,
        )
        self._settings_for = settings_for

    def __enter__(self) -> "Recording":
        self.pump.__enter__()
        self.settings = self._settings_for(self.pump.port, retries=0)
        return self

    def __exit__(self, *error: Any) -> None:
        self.pump.__exit__(*error)

    def poll(
        self, after_s: int = 30, damage: Callable[[Snapshot], Snapshot] | None = None
    ) -> Snapshot:
        self.now_s, self._damage = self.now_s + after_s, damage
        return poll_once(self.settings, clock=Clock(lambda: self.now_s)).snapshot


def test_a_poll_that_lost_a_value_is_missed_and_the_next_right_one_stored(settings_for, caplog):
    with Recording(settings_for) as recording:
        recording.poll()
        with pytest.raises(ProtocolError, match="parameters that have the value of the next"):
            recording.poll(damage=without("parameters", 900))
        recording.poll()
        assert [poll.flags for poll in polls(recording.settings)] == [EXTRA] * 2
        assert [missed.reason for missed in misses(recording.settings)] == ["rejected"]
    assert caplog.messages == []


def test_what_a_controller_goes_on_sending_is_stored_and_marked_after_five_minutes(
    settings_for, caplog
):
    with Recording(settings_for) as recording:
        recording.poll()
        for _ in range(10):
            with pytest.raises(ProtocolError):
                recording.poll(damage=without("parameters", 990))
        first, second = (recording.poll(damage=without("parameters", 990)) for _ in range(2))
    assert first.flags == EXTRA | SUSPICIOUS | LENGTH_CHANGED
    assert second.flags == EXTRA
    [message] = caplog.messages
    assert "parameters: 1075 values became 1074" in message
    assert "stored and marked as length-changed and suspicious" in message


def test_the_first_poll_is_judged_by_itself_which_is_said_for_those_who_ask(settings_for, caplog):
    caplog.set_level(logging.DEBUG, "luxcli.recording.poll")
    with Recording(settings_for) as recording:
        recording.poll(damage=without("parameters", 900))
        assert "first poll: there is none to compare it with" in caplog.messages
        caplog.clear()
        right = recording.poll()
        assert "parameters: 1074 values became 1075" in caplog.text
    assert right.flags == EXTRA | LENGTH_CHANGED


def test_marks_of_a_poll_are_stored_and_survive_the_flush(settings_for):
    with Recording(settings_for) as recording:
        recording.poll()
        shorter = recording.poll(damage=without("visibilities", 326))
        store = open_store(recording.settings)
        store.flush()
        assert [poll.flags for poll in polls(recording.settings)] == [EXTRA, shorter.flags]
    assert shorter.flags == EXTRA | LENGTH_CHANGED


def test_the_command_says_on_stderr_why_a_poll_is_marked_and_succeeds(settings_for, invoke):
    with FaultyController(Fault(change=with_calculations({78: 500}))) as pump:
        settings_for(pump.port)
        ran = invoke("poll-once")
    assert ran.status == 0
    assert re.search(
        r"WARNING .*127\.0\.0\.1:\d+: codes: calculation 78 is 500, expected a code of 0\.\.255"
        r" \(poll of \S+: stored and marked as suspicious\)\n$",
        ran.stderr,
    )
