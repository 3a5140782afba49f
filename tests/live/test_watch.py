"""Watching the heat pump: what is shown, how it goes on when polls fail, how it ends."""

import fcntl
import json
import os
import pty
import signal
import termios
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import count as numbers
from typing import Any

import pytest

from luxcli.cli.commands.watch import Page
from luxcli.errors import DeviceError, LockHeldError
from luxcli.live import follow, key_values
from luxcli.live.view import View, describe_failure
from luxcli.model import Snapshot
from luxcli.registers import catalogue
from tests.support.builders import small
from tests.support.faulty_controller import (
    NOW_S,
    Fault,
    FaultyController,
    ManyClients,
    eventually,
    replay,
    with_calculations,
)
from tests.support.scenario import BERLIN, alone_with_device, configured
from tests.support.terminal import Terminal, on_a_terminal

SCREEN_LEFT = b"\x1b[?1049l"  # xterm: back to the screen that was there before
# From here on the compressor of the simulated heat pump runs for a while.
RUNNING_S = NOW_S + 17_400
CURSOR_SHOWN = b"\x1b[?25h"


@pytest.fixture
def lively() -> Iterator[FaultyController]:
    """A controller for which five minutes pass from poll to poll."""
    seconds = numbers(RUNNING_S, 300)
    with FaultyController(clock=lambda: next(seconds)) as pump:
        yield pump
    assert pump.write_attempts == 0


def followed(directory: Any, port: int, polls: int, wait_s: float = 5) -> list[View]:
    """Watch with the job itself, at a pace that no setting allows; give all views."""
    views: list[View] = []
    config = configured(directory, port=port, timeout_sec=2)
    follow.follow(config, views.append, every_s=0.05, count=polls, device_wait_s=wait_s)
    return views


def page(views: list[View], directory: Any) -> Page:
    shown = Page(configured(directory), BERLIN)
    shown.turn(views[-1])
    return shown


def cells(views: list[View], directory: Any) -> dict[str, tuple[str, str]]:
    """Return name -> value and change, as the sheet shows them."""
    sheet = page(views, directory).sheet(80, 24)
    return {name: (value, change) for rows in sheet.columns for name, value, change in rows}


def test_without_a_terminal_each_poll_is_a_block_of_lines(invoke, simulator, configure):
    ran = invoke("watch", "-c", configure(port=simulator.port), "--count", "1")
    assert (ran.status, ran.stderr) == (0, "")
    first, *lines = ran.stdout.splitlines()
    poll = key_values.Values(simulator.snapshot)
    assert first.split("\t")[1] == key_values.state(poll)
    reported = dict(line.split("\t", 1) for line in lines if "\t" in line)
    assert reported["flow"] == f"{poll.number('ID_WEB_Temperatur_TVL'):.1f} °C"
    assert reported["compressor"] in ("on", "off")
    assert reported["external return"] == key_values.NOT_FITTED
    assert reported["last error"].endswith("721 low pressure cut-out")


def test_json_is_one_object_per_poll(invoke, simulator, configure):
    ran = invoke("watch", "-c", configure(port=simulator.port), "--count", "1", "--json")
    [line] = ran.stdout.splitlines()
    reported = json.loads(line)
    assert (ran.status, reported["ok"], reported["changed"]) == (0, True, [])
    assert reported["values"]["ID_WEB_Temperatur_TVL"] == simulator.snapshot.calculations[10] / 10
    assert reported["values"]["ID_WEB_Temperatur_TRL_ext"] is None
    assert reported["values"]["spread"] == pytest.approx(
        (simulator.snapshot.calculations[10] - simulator.snapshot.calculations[11]) / 10
    )


def test_what_changed_since_the_last_poll_is_marked_and_listed(lively, tmp_path):
    views = followed(tmp_path, lively.port, 2)
    old, new = (replay().at(RUNNING_S + 300 * number).calculations for number in (0, 1))
    shown = cells(views, tmp_path)
    assert old[56] < new[56]
    assert shown["run time"][1] == f"↑{new[56] - old[56]} s"
    assert all(not change or change[0] in "↑↓w" for _, change in shown.values())
    sheet = page(views, tmp_path).sheet(120, 30)
    title, *changed = (name for name, _, _ in sheet.columns[2])
    assert title == f"changed since the last poll ({len(changed)})"
    assert any(line.startswith("ID_WEB_Zaehler_BetrZeitWP ") and " → " in line for line in changed)
    assert not any("BetrZeitVD1" in line or "AktuelleTimeStamp" in line for line in changed)


def test_a_switch_that_changed_says_what_it_was():
    off, on = (
        key_values.Values(with_calculations({44: state, 10: 300 + 5 * state})(replay().at(NOW_S)))
        for state in (0, 1)
    )
    before, now = (key_values.row(key_values.COMPRESSOR, poll) for poll in (off, on))
    assert (now.text, now.change(before)) == ("on", "was off")
    before, now = (key_values.row(key_values.FLOW, poll) for poll in (on, off))
    assert (now.text, now.change(before), now.change(now)) == ("30.0 °C", "↓0.5", "")


def test_the_most_important_changes_come_first():
    before = replay().at(NOW_S)
    now = with_calculations({46: 1 - before.calculations[46], 16: 77, 67: 4711})(before)._replace(
        parameters=(*before.parameters[:2], before.parameters[2] + 10, *before.parameters[3:]),
    )
    found = [change.register.id for change in key_values.changes(before, now)]
    assert found == [
        "ID_WEB_ZIPout",
        "ID_Einst_BWS_akt",
        "ID_WEB_Mitteltemperatur",
        "ID_WEB_Time_WPein_akt",
    ]
    assert key_values.changes(before, now, found[:2])[0].register.id == found[2]


@pytest.mark.parametrize("profile", ["msw6", "long"])
def test_everything_fits_80_by_24(tmp_path, profile):
    seconds = numbers(RUNNING_S, 300)
    with FaultyController(profile=profile, clock=lambda: next(seconds)) as pump:
        views = followed(tmp_path, pump.port, 2)
    sheet = page(views, tmp_path).sheet(80, 24)
    assert len(sheet.head) + max(map(len, sheet.columns)) + len(sheet.foot) <= 24
    assert len(sheet.columns) == 2
    for rows in sheet.columns:
        for name, value, change in rows:
            assert len(name) + len(value) <= 27, (name, value)
            assert len(change) <= 7, (name, change)
    narrow = page(views, tmp_path).sheet(60, 50)
    assert len(narrow.columns) == 1


def test_a_terminal_shows_a_live_table_and_is_restored(cli, simulator, configure):
    terminal = Terminal(
        *(cli, "watch", "-c", configure(port=simulator.port)),
        size=(80, 24),
        env={"TERM": "xterm-256color"},
    )
    assert eventually(lambda: b"last error" in terminal.shown and b"compressor" in terminal.shown)
    assert b"next poll in" in terminal.shown
    terminal.process.send_signal(signal.SIGINT)
    ran, _screen = terminal.end()
    assert ran.status == 130
    assert terminal.shown.endswith(SCREEN_LEFT)
    assert terminal.shown.rfind(CURSOR_SHOWN) > terminal.shown.rfind(b"\x1b[?25l")
    assert b"Traceback" not in terminal.shown


def test_a_terminal_keeps_the_last_values_when_it_ends_by_itself(cli, simulator, configure):
    args = ("watch", "--count", "1", "-c", configure(port=simulator.port))
    status, screen = on_a_terminal(cli, *args, size=(80, 24), env={"TERM": "xterm"})
    assert status == 0
    left = screen.rpartition(SCREEN_LEFT.decode())[2]
    assert "flow\t" in left
    assert "last error: " not in left


def test_characters_that_the_encoding_lacks_are_no_failure(cli, simulator, configure, tmp_path):
    args = ("watch", "--count", "1", "-c", configure(port=simulator.port))
    shown = tmp_path / "shown"
    with shown.open("wb") as file:
        ran = cli.end(cli.start(*args, env={"PYTHONIOENCODING": "latin-1"}, stdout=file))
    assert (ran.status, ran.stderr) == (0, "")
    assert "external return\t?\n" in shown.read_text(encoding="latin-1")


def test_a_terminal_that_can_only_print_gets_lines(cli, simulator, configure):
    file = configure(port=simulator.port)
    environ = {"TERM": "dumb"}
    status, screen = on_a_terminal(cli, "watch", "-c", file, "--count", "1", env=environ)
    assert (status, "\x1b" in screen) == (0, False)
    assert "\nflow\t" in screen


def test_without_a_heat_pump_it_says_where_to_set_one(invoke):
    ran = invoke("watch")
    assert (ran.status, ran.stdout) == (78, "")
    assert ran.stderr.startswith("luxcli: host: missing;")


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_silently(cli, simulator, configure, signum):
    process = cli.start("watch", "-c", configure(port=simulator.port))
    assert eventually(lambda: simulator.closed_by_client == 1)
    time.sleep(0.1)
    process.send_signal(signum)
    ran = cli.end(process)
    assert (ran.status, ran.stderr) == (128 + signum, "")


def test_it_ends_with_its_terminal_and_leaves_no_bug_in_the_log(
    cli, simulator, configure, tmp_path
):
    file = configure(port=simulator.port, log_file=str(tmp_path / "log"))
    master, slave = pty.openpty()
    process = cli.start(
        *("watch", "-c", file),
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        env={"TERM": "xterm"},
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(slave)
    shown = b""
    while b"flow" not in shown:
        shown += os.read(master, 4096)
    os.close(master)  # which sends SIGHUP
    assert process.wait(timeout=5) == 129
    assert not (tmp_path / "log").exists() or "bug" not in (tmp_path / "log").read_text()


def test_it_ends_when_nobody_reads_any_more(cli, simulator, configure):
    process = cli.start("watch", "-c", configure(port=simulator.port, interval_sec=3600))
    assert any(line.startswith("last error") for line in iter(process.stdout.readline, ""))
    process.stdout.close()  # now, while it waits for the next poll
    assert process.wait(timeout=3) == 128 + signal.SIGPIPE
    assert process.stderr.read() == ""


@pytest.mark.parametrize("every", ["9", "29s", "soon"])
def test_the_interval_may_be_longer_than_the_configured_one_but_not_shorter(
    invoke, simulator, configure, every
):
    ran = invoke("watch", "-c", configure(port=simulator.port), "--every", every)
    assert (ran.status, ran.stdout, simulator.connections) == (2, "", 0)
    if every != "soon":
        assert ran.stderr == (
            f"luxcli: --every {every}: the heat pump is polled no faster than every 30 s,"
            " the setting interval_sec\n"
        )


@pytest.mark.sweep
def test_some_failed_polls_end_with_3(cli, configure, tmp_path):
    """Takes the ten seconds between two polls of a process, which no setting shortens."""
    lost = Fault(times=1, close_after=100)
    with FaultyController(lost) as watched, FaultyController(lost, clock=time.time) as tried:
        file = configure(port=watched.port, interval_sec=10)
        follow = cli.start("watch", "-c", file, "--count", "2")
        address = ("--host", "127.0.0.1", "--port", tried.port, "--interval", "10")
        ran = cli.end(cli.start("capture", *address, "-o", "trial", "--duration", "11"), 20)
        assert ran.status == 3
        assert "missed\tprotocol 1" in ran.stdout.splitlines()
        assert ran.stdout.endswith("warnings: it works, but 1 of 2 polls are missing\n")
        ran = cli.end(follow, 20)
    assert ran.status == 3
    assert "connection closed" in ran.stderr
    assert "flow\t" in ran.stdout


def test_an_unreachable_heat_pump_is_reported_for_each_poll(invoke, configure):
    ran = invoke("watch", "-c", configure(port=1), "--count", "1")
    assert (ran.status, ran.stdout) == (69, "")
    assert "connection refused" in ran.stderr
    assert ran.stderr.count("\n") == 1
    ran = invoke("watch", "-c", configure(port=1), "--count", "1", "--json")
    reported = json.loads(ran.stdout)
    assert (ran.status, reported["ok"], reported["error"]["exit"]) == (69, False, 69)


def test_a_failed_poll_leaves_the_last_values_with_their_age_and_the_reason(tmp_path):
    with FaultyController() as pump:
        [good] = followed(tmp_path, pump.port, 1)
        port = pump.port
    views: list[View] = []
    follow.follow(configured(tmp_path, port=port), views.append, every_s=0.05, count=2)
    assert [view.failed for view in views] == [1, 2]
    lost = replace(
        *(good,),
        failed=2,
        failures=2,
        failure=views[-1].failure,
        read_at=time.monotonic() - 200,
        next_at=time.monotonic() + 20.4,
    )
    sheet = page([lost], tmp_path).sheet(80, 24)
    assert sheet.head[2][0] == (
        "values 3 min old: the heat pump refuses the connection, 2 times; next poll in 20 s"
    )
    assert len(sheet.columns[0]) == len(key_values.TEMPERATURES)


def test_a_heat_pump_that_comes_back_is_shown_again(tmp_path):
    with FaultyController(Fault(times=2, garbage=b"?" * 16)) as pump:
        views = followed(tmp_path, pump.port, 4)
    assert [view.snapshot is None for view in views] == [True, True, False, False]
    assert [type(view.failure).__name__ for view in views[:2]] == ["ProtocolError"] * 2
    last = views[-1]
    assert (last.polls, last.failed, last.failures, last.failure) == (2, 0, 2, None)


def test_reasons_are_given_in_plain_words():
    assert describe_failure(LockHeldError("x")) == "another luxcli is reading the heat pump"
    assert describe_failure(DeviceError("x", reason="timeout")) == "the heat pump does not answer"
    assert describe_failure(DeviceError("something new", reason="new")) == "something new"


def test_a_scheduled_poll_in_between_succeeds(cli, configure):
    with ManyClients(pause_s=0.05) as pump:
        file = configure(port=pump.port)
        process = cli.start("watch", "-c", file)
        assert eventually(lambda: pump.connections == 1)
        assert cli("poll-once", "-c", file).status == 0
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert cli.end(process).status == 130
    assert pump.most == 1


def test_two_that_watch_are_never_connected_at_once(tmp_path):
    with ManyClients(pause_s=0.02) as pump:
        threads = [
            threading.Thread(target=followed, args=(tmp_path, pump.port, 4)) for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert (pump.connections, pump.most) == (8, 1)


def test_a_heat_pump_in_use_is_reported_and_not_contacted(simulator, tmp_path):
    with alone_with_device(configured(tmp_path, port=simulator.port)):
        [view] = followed(tmp_path, simulator.port, 1, wait_s=0.1)
    assert isinstance(view.failure, LockHeldError)
    assert simulator.connections == 0


def test_nothing_is_stored(invoke, simulator, configure, tmp_path):
    file = configure(port=simulator.port)
    assert invoke("watch", "-c", file, "--count", "1").status == 0
    assert not (tmp_path / "data").exists()
    assert invoke("poll-once", "-c", file).status == 0
    before = {path: path.stat().st_size for path in (tmp_path / "data").iterdir()}
    assert invoke("watch", "-c", file, "--count", "1").status == 0
    assert {path: path.stat().st_size for path in (tmp_path / "data").iterdir()} == before


def test_a_sensor_that_is_not_fitted_has_no_number_until_it_shows_another_value(tmp_path):
    raw = iter([-500, -500, 42, -500])

    def change(poll: Snapshot) -> Snapshot:
        return with_calculations({19: current[0]})(poll)

    current = [0]

    class Changing(FaultyController):
        def _serve(self, connection: Any) -> None:
            current[0] = next(raw)
            super()._serve(connection)

    with Changing(Fault(change=change)) as pump:
        views = followed(tmp_path, pump.port, 4)
    texts = [cells([view], tmp_path)["source in"][0] for view in views]
    assert texts == [key_values.NOT_FITTED, key_values.NOT_FITTED, "4.2 °C", "-50.0 °C"]
    assert cells([views[1]], tmp_path)["source spread"] == ("", "")


def test_registers_that_the_firmware_lacks_are_empty_values(tmp_path):
    poll = small(1_800_000_000_000, lengths=(12, 1, 1))
    view = View(polls=2, snapshot=poll, before=small(1_800_000_000_000))
    shown = cells([view], tmp_path)
    assert shown["flow"][0] == "101.0 °C"
    assert (shown["compressor"], shown["heat output"]) == (("", "was on"), ("", ""))
    assert shown["hot water"] == ("", "was 101.7 °C")
    values = key_values.Values(poll)
    assert key_values.state(values) == key_values.model(values) == ""
    assert key_values.last_error(values, BERLIN) == key_values.last_switch_off(values, BERLIN) == ""


def test_heat_output_is_the_controllers_or_flow_rate_times_spread():
    poll = replay("long").at(NOW_S)
    base = {10: 400, 11: 350, 44: 1, 155: 1000}
    for values, expected in (
        (base | {257: 6346}, 6346),
        (base | {257: 0}, 5 * 1000 / 866.65 * 1000),  # the register is there, but not used
        (base | {257: 0, 44: 0}, 0),
        (base | {257: 0, 155: 0, 254: 0}, 0),
        (base | {257: 0, 155: 0, 254: 500}, 5 * 500 / 866.65 * 1000),
    ):
        [item] = [item for item in key_values.MACHINE if item.label == "heat output"]
        shown = key_values.row(item, key_values.Values(with_calculations(values)(poll)))
        assert shown.value == pytest.approx(expected, abs=0.5)


def test_the_newest_switch_off_and_error_are_in_local_time_and_words():
    logs = {95: NOW_S, 100: 715, 106: 9, 107: 3, 108: 99, 111: NOW_S - 99, 112: NOW_S, 113: 0}
    values = key_values.Values(with_calculations(logs | {114: -5, 115: 0})(replay().at(NOW_S)))
    assert key_values.last_error(values, BERLIN) == "2027-01-15 09:00 715 high pressure cut-out"
    assert key_values.last_switch_off(values, BERLIN) == "2027-01-15 09:00 evu lock"
    none = key_values.Values(with_calculations({95: 0, 100: 0})(replay().at(NOW_S)))
    assert key_values.last_error(none, BERLIN) == ""


def test_the_state_is_what_the_display_says():
    display = {80: 5, 117: 1, 118: 0, 119: 1, 120: 3723}
    values = key_values.Values(with_calculations(display)(replay().at(NOW_S)))
    assert key_values.state(values) == "no request; heatpump idle since 1:02:03; no request"
    odd = key_values.Values(with_calculations(display | {117: 99, 120: -1})(replay().at(NOW_S)))
    assert key_values.state(odd) == "no request; 99 since -1 s; no request"


@pytest.mark.parametrize(
    ("register_id", "raw", "text"),
    [
        ("ID_Einst_Effizienzpumpe_Nominal_akt", 450, "4.50 V"),
        ("ID_Einst_Effizienzpumpe_Nominal_akt", 100, "100 %"),
        ("ID_Einst_P155_DHW_Freq", 0, "automatic"),
        ("ID_Einst_P155_DHW_Freq", 41, "60 Hz"),
        ("ID_Einst_WW_Nachheizung_max", 9, "5.5 h"),
        ("ID_Einst_SuHkrW0_zeit_0_0", 86_400, "24:00"),
        ("ID_Einst_SilenceTimer_0", 1320 << 16 | 360, "06:00-22:00"),
        ("ID_WEB_ERROR_Nr0", 810, "810 versions in parallel operation"),
        ("ID_WEB_ERROR_Nr0", 999, "999 unknown error"),
    ],
)
def test_a_setting_reads_as_on_the_controllers_display(register_id, raw, text):
    assert key_values.text(catalogue.by_id(register_id), raw) == text


def test_a_change_of_the_elements_heat_has_the_unit_of_its_firmware():
    letters = dict(enumerate(b"V3.88", 81))
    polls = [
        small(30_000 * n, letters, {1059: 120 + n}, lengths=(267, 1143, 366)) for n in range(2)
    ]
    [change] = key_values.changes(*polls)
    assert (change.old, change.new) == ("12.0 kWh", "12.1 kWh")
