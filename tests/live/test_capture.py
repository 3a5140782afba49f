"""The trial run: what it records, what it says, and how it ends whatever the heat pump does."""

import csv
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from luxcli.config.config import Config
from luxcli.live import capture
from luxcli.live.capture import Capture, Recording
from luxcli.model import Snapshot
from luxcli.store.store import Store
from luxcli.system import locks
from luxcli.system.clock import Clock
from tests.support.faulty_controller import (
    Fault,
    FaultyController,
    ManyClients,
    eventually,
    with_calculations,
)
from tests.support.scenario import BERLIN, configured, device_lock
from tests.support.terminal import Terminal


class Flaky(FaultyController):
    """Ends the third and the fourth connection without an answer."""

    def _serve(self, connection: Any) -> None:
        if self.connections not in (3, 4):
            super()._serve(connection)


def shared(tmp_path: Path, port: int, **settings: object) -> Config:
    (tmp_path / "data").mkdir(exist_ok=True)
    return configured(tmp_path / "data", port=port, timeout_sec=2, **settings)


def captured(
    tmp_path: Path, port: int, *, duration_s: float = 0.5, interval_s: float = 0.1, **options: Any
) -> tuple[Config, Recording]:
    """Record with the job itself, at a pace that no setting allows."""
    usual = shared(tmp_path, port)
    own = capture.prepare(usual, tmp_path / "trial", interval_s * SPEED)
    options |= {"duration_s": duration_s, "interval_s": interval_s, "clock": Clock(fast)}
    return own, capture.record(own, usual, **options)


def concluded(own: Config, recording: Recording) -> Capture:
    return capture.conclude(own, recording, now_ms=round(fast() * 1000) + 1, zone=BERLIN)


BEGAN_S = time.time()
SPEED = 100  # what takes a tenth of a second is ten seconds long


def fast() -> float:
    """Return the time of a clock that hurries, seconds since the epoch."""
    return BEGAN_S + (time.time() - BEGAN_S) * SPEED


def entries(directory: Path) -> dict[str, tuple[int, int]]:
    """Return name -> size and time of all files but the lock on the heat pump."""
    return {
        path.name: (path.stat().st_size, path.stat().st_mtime_ns)
        for path in directory.iterdir()
        if not path.name.startswith("device-")
    }


@pytest.fixture
def fast_pump() -> Any:
    """A controller whose clock is that of `captured`."""
    with FaultyController(clock=fast) as pump:
        yield pump


@pytest.fixture
def pump() -> Any:
    """A controller whose clock is the host's."""
    with FaultyController(clock=time.time) as pump:
        yield pump
    assert pump.write_attempts == 0


def test_host_and_port_suffice_for_a_trial(invoke, pump, tmp_path):
    ran = invoke(
        *("capture", "--host", "127.0.0.1", "--port", pump.port),
        *("--output", "trial", "--duration", "1s", "--json"),
    )
    assert (ran.status, ran.stderr) == (0, "")
    reported = json.loads(ran.stdout)
    assert (reported["ok"], reported["verdict"], reported["polls"], reported["missed"]) == (
        True,
        "good",
        1,
        {},
    )
    assert [(entry["kind"], entry["rows"]) for entry in reported["files"]] == [
        ("daily", 1),
        ("weekly", 1),
    ]
    for entry in reported["files"]:
        assert Path(entry["path"]).parent == tmp_path / "trial"
        with Path(entry["path"]).open(encoding="utf-8", newline="") as file:
            head, row = csv.reader(file)
        assert len(head) == len(row) == entry["columns"] > 200
        assert row[head.index("ID_WEB_Temperatur_TVL")]
    assert not (tmp_path / "home").exists()


def test_for_people_it_shows_a_sample_and_a_verdict(invoke, pump, configure):
    ran = invoke("capture", "-c", configure(port=pump.port), "-o", "trial", "--duration", "1")
    assert (ran.status, ran.stderr) == (0, "")
    lines = ran.stdout.splitlines()
    assert "heat pump\tMSW 6, V3.78" in lines
    assert "polls\t1, 1634 values each" in lines
    assert "time\toutdoor\tflow\treturn\thot water\tsource in\tcompressor" in lines
    assert lines[-1] == "good: it works with this heat pump"


def test_options_beat_the_configuration_and_its_csv_style_is_used(
    invoke, pump, configure, tmp_path
):
    file = configure(host="pump.invalid", port=1, csv={"delimiter": ";", "decimal": ","})
    ran = invoke(
        *("capture", "-c", file, "--host", "127.0.0.1", "--port", pump.port),
        *("-o", "trial", "--duration", "1"),
    )
    assert ran.status == 0
    [daily] = (tmp_path / "trial").glob("*_daily.csv")
    assert daily.read_text(encoding="utf-8").startswith("timestamp_utc;timestamp_local;")


def test_polls_are_made_at_exact_intervals(fast_pump, tmp_path):
    own, recording = captured(tmp_path, fast_pump.port, duration_s=0.95, interval_s=0.2)
    assert (recording.polls, dict(recording.missed)) == (5, {})
    result = concluded(own, recording)
    assert (result.verdict, [entry.rows for entry in result.rollups]) == ("good", [5, 5])
    first, *later = Store(own.cache_path).database.times(0, 2**60)
    for number, ts_ms in enumerate(later, 1):
        assert abs(ts_ms - first - number * 200 * SPEED) < 90 * SPEED


def test_a_poll_that_takes_too_long_skips_others_and_they_count_as_missed(tmp_path):
    with FaultyController(Fault(pause_s=0.08), clock=fast) as slow:  # three blocks
        own, recording = captured(tmp_path, slow.port, duration_s=0.8, interval_s=0.1)
    assert recording.missed["overrun"] >= 3
    assert recording.polls + recording.missed.total() == 8
    concluded(own, recording)
    kept = Store(own.cache_path).database.missed(0, 2**60)
    assert [missed.reason for missed in kept] == ["overrun"] * recording.missed["overrun"]


def test_failures_in_between_cost_only_those_polls(tmp_path):
    with Flaky(clock=fast) as flaky:
        own, recording = captured(tmp_path, flaky.port)
    assert (recording.polls, recording.missed.total()) == (3, 2)
    result = concluded(own, recording)
    assert [entry.rows for entry in result.rollups] == [3, 3]
    kept = Store(own.cache_path).database.missed(0, 2**60)
    assert Counter(missed.reason for missed in kept) == recording.missed
    assert set(recording.missed) <= {"protocol", "network"}  # closed before or after it is read


def test_ctrl_c_before_the_first_successful_poll_leaves_nothing(cli, tmp_path):
    with FaultyController(Fault(close_after=100), clock=time.time) as pump:
        address = ("--host", "127.0.0.1", "--port", pump.port)
        process = cli.start("capture", *address, "-o", "trial", "--interval", "10")
        assert eventually(lambda: pump.closed_by_client == 1, within_s=5)
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        ran = cli.end(process)
    assert (ran.status, ran.stdout) == (130, "")
    assert "parameters: connection closed" in ran.stderr
    assert not (tmp_path / "trial").exists()


def test_a_silent_heat_pump_delays_the_end_by_one_poll_at_most(invoke, configure):
    with FaultyController(Fault(silent_after=0)) as silent:
        began = time.monotonic()
        file = configure(port=silent.port, timeout_sec=1)
        ran = invoke("capture", "-c", file, "-o", "trial", "--duration", "1")
    assert ran.status == 69
    assert time.monotonic() - began < 4


@pytest.mark.parametrize(
    ("fault", "status", "words"),
    [
        (Fault(garbage=b"HTTP/1.1 400 Bad Request\r\n\r\n"), 76, "answered with"),
        (Fault(status=1), 75, "controller is busy"),
        (Fault(close_after=0), 76, "connection closed"),
    ],
    ids=["no heat pump", "busy", "closes"],
)
def test_without_a_single_poll_it_ends_as_a_poll_does_and_can_be_repeated(
    invoke, tmp_path, fault, status, words
):
    with FaultyController(fault) as pump:
        address = ("--host", "127.0.0.1", "--port", pump.port)
        ran = invoke("capture", *address, "-o", "trial", "--duration", "1", "--json")
    assert ran.status == status
    assert words in ran.stderr
    assert json.loads(ran.stdout)["error"]["exit"] == status
    assert not (tmp_path / "trial").exists()


def test_an_unreachable_heat_pump_is_69(invoke, tmp_path):
    ran = invoke("capture", "--host", "127.0.0.1", "--port", 1, "-o", "trial", "--duration", "1")
    assert (ran.status, ran.stdout) == (69, "")
    assert ran.stderr.startswith("luxcli: 127.0.0.1:1: connect: connection refused")
    assert not (tmp_path / "trial").exists()


def test_a_directory_in_use_is_left_alone(invoke, tmp_path, simulator):
    address = ("--host", "127.0.0.1", "--port", simulator.port)
    kept = tmp_path / "trial" / "thesis.txt"
    kept.parent.mkdir()
    kept.write_text("years of work")
    ran = invoke("capture", *address, "-o", "trial")
    assert (ran.status, ran.stdout) == (2, "")
    assert ran.stderr == (
        f"luxcli: {kept.parent}: is not empty; name a new directory with --output\n"
    )
    assert [path.name for path in kept.parent.iterdir()] == ["thesis.txt"]
    ran = invoke("capture", *address, "-o", kept)
    assert (ran.status, kept.read_text()) == (2, "years of work")
    ran = invoke("capture", *address, "-o", "/proc/trial")
    assert ran.status == 74
    assert simulator.connections == 0


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--host", "x", "--interval", "9"], 2, "--interval: 9 is not in 10..3600"),
        (["--host", "x", "--duration", "2d"], 2, "--duration 2d: is more than a day"),
        (["--host", "x", "--duration", "soon"], 2, "--duration 'soon' is not a duration like"),
        ([], 78, "host: missing; use --host ADDRESS"),
    ],
    ids=["too fast", "too long", "no time", "no host"],
)
def test_options_that_cannot_be_used_are_refused_in_one_line(
    invoke, tmp_path, arguments, status, words
):
    ran = invoke("capture", "-o", "trial", *arguments)
    assert (ran.status, ran.stdout) == (status, "")
    assert words in ran.stderr
    assert len(ran.stderr.splitlines()) == 1
    assert not (tmp_path / "trial").exists()


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_early_with_the_polls_so_far(cli, pump, tmp_path, signum):
    address = ("--host", "127.0.0.1", "--port", pump.port)
    process = cli.start("capture", *address, "-o", "trial", "--duration", "60")
    assert eventually(lambda: pump.closed_by_client == 1, within_s=5)
    time.sleep(0.1)
    process.send_signal(signum)
    ran = cli.end(process)
    assert ran.status == 128 + signum
    assert ran.stdout.splitlines()[-1] == "good: ended early; it works with this heat pump"
    assert len([*(tmp_path / "trial").glob("*.csv")]) == 2


def test_a_second_signal_ends_it_at_once(cli, pump, tmp_path):
    address = ("--host", "127.0.0.1", "--port", pump.port)
    process = cli.start("capture", *address, "-o", "trial", "--duration", "60")
    assert eventually(lambda: pump.closed_by_client == 1, within_s=5)
    lock = tmp_path / "trial" / "cache.sqlite3.rollup.lock"
    with locks.hold(lock, wait_s=0):  # the CSVs would wait a minute for it
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert cli.end(process, within_s=2).status == -signal.SIGINT


def test_the_configured_database_is_never_changed(invoke, pump, configure, tmp_path):
    file = configure(port=pump.port)
    assert invoke("poll-once", "-c", file).status == 0
    before = entries(tmp_path / "data")
    ran = invoke("capture", "-c", file, "-o", "trial", "--duration", "1")
    assert ran.status == 0
    assert entries(tmp_path / "data") == before
    assert len(Store(tmp_path / "trial" / "cache.sqlite3").database.times(0, 2**60)) == 1


def test_scheduled_polls_go_on_and_two_clients_are_never_there_at_once(cli, configure):
    with ManyClients(pause_s=0.1, clock=time.time) as pump:
        file = configure(port=pump.port)
        assert cli("poll-once", "-c", file).status == 0
        running = [
            cli.start("capture", "-c", file, "-o", "trial", "--duration", "1"),
            cli.start("poll-once", "-c", file),
            cli.start("poll-once", "-c", file, env={"LUXCLI_CACHE_PATH": "other/cache.sqlite3"}),
        ]
        assert [cli.end(process).status for process in running] == [0, 0, 0]
    assert (pump.connections, pump.most) == (4, 1)


def test_a_heat_pump_locked_by_another_luxcli_is_busy(simulator, tmp_path):
    usual = shared(tmp_path, simulator.port)
    # All that a poll in another container has in common with us is the directory of the cache.
    with locks.hold(device_lock(usual), wait_s=0):
        own, recording = captured(tmp_path, simulator.port, duration_s=0.1, device_wait_s=0.1)
    assert (recording.polls, dict(recording.missed)) == (0, {"busy": 1})
    assert simulator.connections == 0
    capture.discard(own)
    assert not (tmp_path / "trial").exists()


def shortened(length: int) -> Callable[[Snapshot], Snapshot]:
    return lambda poll: poll._replace(calculations=poll.calculations[:length])


@pytest.mark.parametrize(
    ("profile", "change"),
    [("msw6", shortened(200)), ("long", None), ("msw6", with_calculations({17: 50, 19: -500}))],
    ids=["old firmware", "new firmware", "sensors not fitted"],
)
def test_other_firmware_and_missing_sensors_are_good(tmp_path, profile, change):
    with FaultyController(Fault(change=change), profile=profile, clock=fast) as fast_pump:
        own, recording = captured(tmp_path, fast_pump.port, duration_s=0.2)
    result = concluded(own, recording)
    assert (result.verdict, result.findings) == ("good", ())


def test_an_impossible_value_is_found_and_still_recorded(invoke, tmp_path):
    with FaultyController(Fault(change=with_calculations({10: 5000})), clock=time.time) as pump:
        address = ("--host", "127.0.0.1", "--port", pump.port)
        ran = invoke("capture", *address, "-o", "trial", "--duration", "1")
    assert ran.status == 3
    assert ran.stdout.splitlines()[-1] == "problems: see the findings above"
    assert "problem: range-impossible: ID_WEB_Temperatur_TVL: expected -10 to 100 °C" in ran.stderr
    assert len([*(tmp_path / "trial").glob("*.csv")]) == 2


def test_a_terminal_shows_the_last_values_beside_the_bar(cli, pump):
    address = ("--host", "127.0.0.1", "--port", pump.port)
    terminal = Terminal(
        *(cli, "capture", *address, "-o", "trial", "--duration", "60"),
        env={"TERM": "xterm-256color"},
    )
    assert eventually(lambda: b"compr. o" in terminal.shown and b"%" in terminal.shown, 6)
    os.kill(terminal.process.pid, signal.SIGINT)
    ran, screen = terminal.end()
    assert ran.status == 130
    assert "flow " in screen
    assert "good: ended early" in screen
