"""`luxcli diagnose`: what is wrong is named, in every section, and it changes nothing."""

import json
import os
import re
import socket
import sqlite3
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from luxcli.config import config
from luxcli.config.config import Config
from luxcli.diagnosis import diagnose as diagnosis
from luxcli.diagnosis import sections
from luxcli.diagnosis.diagnose import Diagnosis
from luxcli.model import GROUPS, Snapshot
from luxcli.registers import catalogue, ranges
from luxcli.store import journal
from luxcli.store.store import Store
from luxcli.system import files, locks
from luxcli.system.clock import SYSTEM_CLOCK
from luxcli.system.disks import mount_of
from tests.cli.test_cli import on_a_terminal
from tests.conftest import Cli
from tests.support.builders import missed, python
from tests.support.faulty_controller import (
    NOW_S,
    Fault,
    FaultyController,
    with_calculations,
    without,
)
from tests.support.scenario import BERLIN, HOUR_MS, configured, device_lock, record

HOST = "127.0.0.1"
# Nobody else's simulator listens there on 8888 or 8889.
QUIET = "127.0.0.92"
NOW_MS = NOW_S * 1000
DAY_MS = 24 * HOUR_MS
# Where tests run, the temporary directory may lie in memory or in a container's own layer.
OF_THIS_MACHINE = ("file system", "time zone UTC", "the disk is")


def diagnose(settings: Config, *, now_ms: int = NOW_MS, **options: Any) -> Diagnosis:
    options.setdefault("ports", ())
    options.setdefault("clock", SYSTEM_CLOCK._replace(sleep=lambda _seconds: None))
    return diagnosis.diagnose(settings, now_ms=now_ms, zone=BERLIN, environ={}, **options)


def lines(found: Diagnosis, section: str, *levels: str) -> list[str]:
    [chosen] = [entry for entry in found.sections if entry.name == section]
    return [line.text for line in chosen.lines if not levels or line.level in levels]


def values(found: Diagnosis, section: str) -> Mapping[str, Any]:
    [chosen] = [entry for entry in found.sections if entry.name == section]
    return chosen.values


def complaints(found: Diagnosis) -> list[str]:
    return [
        line.text
        for section in found.sections
        for line in section.lines
        if line.level in {"warning", "problem"} and not line.text.startswith(OF_THIS_MACHINE)
    ]


def passed(found: Diagnosis) -> dict[str, bool | None]:
    return {item.text: item.passed for item in found.checklist}


def state(directory: Path) -> dict[str, bytes]:
    """Return every file but those lock files whose holder's note is all that is in them."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.suffix != ".lock"
    }


@pytest.fixture
def pump_settings(tmp_path: Path, simulator: FaultyController) -> Config:
    return configured(tmp_path, port=simulator.port, retries=0, timeout_sec=1)


def of_pump(tmp_path: Path, change: Callable[[Snapshot], Snapshot]) -> Diagnosis:
    with FaultyController(Fault(change=change)) as pump:
        return diagnose(configured(tmp_path, port=pump.port, timeout_sec=1))


# The whole command


def test_a_healthy_recorder_passes_every_item_of_the_checklist(invoke, configure, tmp_path):
    with FaultyController(clock=time.time) as pump:
        path = configure(port=pump.port, interval_sec=3600)
        settings = config.load(path, {"HOME": str(tmp_path)}, tmp_path)
        now_ms = round(time.time() * 1000)
        record(settings, now_ms - 9 * DAY_MS + 60_000, now_ms, step_s=3600)
        assert invoke("rollup", "all", "--if-due", "-c", path).status == 0
        ran = invoke("diagnose", "-c", path, "--json")
    found = json.loads(ran.stdout)
    complaints_found = [
        line
        for section in found["sections"]
        for line in section["lines"]
        if line["level"] in {"warning", "problem"} and not line["text"].startswith(OF_THIS_MACHINE)
    ]
    assert complaints_found == []
    assert [item["passed"] for item in found["checklist"]] == [True] * 6
    assert ran.status == found["status"] in {0, 3}
    assert ran.stderr == ""
    assert [section["name"] for section in found["sections"]] == [
        *("configuration", "network", "controller", "sensors", "cross checks"),
        *("heat pump's logs", "storage", "recording", "recorded data", "environment"),
    ]


def test_without_a_terminal_it_prints_plain_lines_with_signs_and_words(
    invoke, configure, simulator
):
    ran = invoke("diagnose", "-c", configure(port=simulator.port))
    assert "  ✓  213 sensor readings in a poll" in ran.stdout
    assert "  !  warning: nothing was ever recorded\n     -> 'luxcli poll-once'" in ran.stdout
    assert "10\tID_WEB_Temperatur_TVL\t" in ran.stdout
    assert ran.stdout.endswith("it works, with warnings (exit status 3)\n")
    assert "\x1b" not in ran.stdout
    assert ran.status == 3


@pytest.mark.parametrize("columns", [80, 120])
def test_a_terminal_gets_colour_and_no_line_that_is_too_long(cli, configure, simulator, columns):
    path = configure(port=simulator.port)
    variables = {"COLUMNS": str(columns), "TERM": "xterm"}
    status, screen = on_a_terminal(cli, "diagnose", "-c", path, env=variables)
    assert status == 3
    assert "\x1b[32m" in screen, "no green"
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen).replace("\r", "\n")
    assert "  ✓ all 12 critical sensors are there and plausible\n" in plain
    assert "ID_WEB_Zaehler_BetrZeitImpVD1" in plain
    assert max(map(len, plain.splitlines())) <= columns


def test_an_encoding_without_the_signs_gets_others(cli, configure, simulator):
    ran = cli("diagnose", "-c", configure(port=simulator.port), env={"PYTHONIOENCODING": "ascii"})
    assert "  ok 213 sensor readings in a poll" in ran.stdout
    assert ran.stdout.isascii()
    assert ran.status == 3


def test_debug_lists_every_register_but_shows_no_private_one(invoke, configure, simulator):
    path = configure(port=simulator.port)
    ran = invoke("diagnose", "-c", path, "--log-level", "DEBUG")
    rows = [line.split("\t") for line in ran.stdout.splitlines() if line.startswith(GROUPS)]
    listed = [row for row in rows if len(row) == 7]
    total = sum(len(simulator.snapshot.block(group)) for group in GROUPS)
    assert len(listed) == total
    flow = simulator.snapshot.calculations[10]
    assert [
        *("calculations", "10", "ID_WEB_Temperatur_TVL", "Flow temperature"),
        *(str(flow), str(flow / 10), "°C"),
    ] in listed
    assert next(row for row in listed if row[1:3] == ["861", "ID_AdresseIPServ_akt"])[4:6] == [
        "private",
        "private",
    ]
    assert "] port" in ran.stderr
    ran = invoke("diagnose", "-c", path, "--log-level", "DEBUG", "--json")
    assert len(json.loads(ran.stdout)["registers"]) == total


def test_a_refused_connection_ends_with_69_after_everything_was_printed(invoke, configure):
    with socket.socket() as taken:
        taken.bind((QUIET, 0))
        ran = invoke("diagnose", "-c", configure(host=QUIET, port=taken.getsockname()[1]))
    assert ran.status == 69
    assert "problem: 127.0.0.92:" in ran.stdout
    assert "connection refused (2 attempts)" in ran.stdout
    assert "-> likely the controller restarts" in ran.stdout
    assert "✗  connection healthy (refused at connect)" in ran.stdout
    assert "?  validation passes before storage (the heat pump was not read)" in ran.stdout
    for section in ("storage:", "recording:", "environment:", "production checklist:"):
        assert section in ran.stdout


def test_the_wrong_port_is_named_with_the_right_one(invoke, configure):
    with FaultyController(host=QUIET, port=8888), socket.socket() as taken:
        taken.bind((QUIET, 0))
        path = configure(host=QUIET, port=taken.getsockname()[1])
        ran = invoke("diagnose", "-c", path, "--json")
    found = json.loads(ran.stdout)
    network = found["sections"][1]
    assert network["values"]["answers_on_port"] == 8888
    assert "set 'port: 8888'" in network["lines"][0]["advice"]
    assert ran.status == found["status"] == 69


def test_offline_leaves_the_heat_pump_alone(invoke, configure, simulator):
    ran = invoke("diagnose", "--offline", "-c", configure(port=simulator.port))
    assert simulator.connections == 0
    assert "?  connection healthy (not looked at)" in ran.stdout
    assert "storage:" in ran.stdout
    assert "network:" not in ran.stdout


def test_without_any_configuration_it_still_looks_at_the_rest(invoke):
    ran = invoke("diagnose")
    assert ran.status == 78
    assert "problem: host: missing; 'luxcli config init --host ADDRESS' writes" in ran.stdout
    assert "storage:" in ran.stdout
    assert "luxcli 0." in ran.stdout


def test_every_mistake_of_a_wrong_configuration_is_reported(invoke, configure):
    ran = invoke("diagnose", "-c", configure(port=88890, timout_sec=3), "--json")
    found = json.loads(ran.stdout)
    problems = [line["text"] for line in found["sections"][0]["lines"]]
    assert ran.status == found["status"] == 78
    assert len(problems) == 2
    assert any("port: 88890" in text for text in problems)
    assert any("did you mean timeout_sec" in text for text in problems)
    assert found["sections"][-1]["values"]["versions"]["luxcli"]


def test_sensors_that_do_not_exist_are_a_problem_of_the_configuration(tmp_path):
    settings = configured(tmp_path, **{"csv.sensors": "ID_WEB_Temperatur_TVX"})
    found = diagnose(settings, offline=True)
    assert any("TVX" in text for text in lines(found, "configuration", "problem"))
    assert found.status == 78


def test_it_stores_nothing_and_counts_as_no_poll(pump_settings, tmp_path):
    record(pump_settings, NOW_MS - 2 * HOUR_MS, NOW_MS)
    store = Store(pump_settings.cache_path)
    store.flush()
    record(pump_settings, NOW_MS - HOUR_MS + 1, NOW_MS)
    with journal.path_at(store.path, NOW_MS).open("ab") as file:
        file.write(b"half a li")
    before = state(tmp_path)
    found = diagnose(pump_settings)
    assert found.snapshot is not None
    assert state(tmp_path) == before


# Network and controller


def test_a_device_in_use_is_named_with_its_holder_and_the_rest_goes_on(pump_settings):
    pump_settings.cache_path.parent.mkdir(exist_ok=True)
    with locks.hold(device_lock(pump_settings), wait_s=0):
        found = diagnose(pump_settings, device_wait_s=0.1)
    [text] = lines(found, "network", "warning")
    assert f"held by pid {os.getpid()} since" in text
    assert found.status == 3
    assert passed(found)["connection healthy"] is None
    assert lines(found, "storage")


def test_a_busy_controller_ends_with_75(tmp_path):
    with FaultyController(Fault(status=1)) as pump:
        found = diagnose(configured(tmp_path, port=pump.port, timeout_sec=1))
    assert found.status == 75
    assert "busy (status 1)" in lines(found, "network", "problem")[0]


def test_a_foreign_server_ends_with_76_and_is_quoted(tmp_path):
    with FaultyController(Fault(garbage=b"SSH-2.0-OpenSSH_9.2\r\n")) as pump:
        found = diagnose(configured(tmp_path, port=pump.port, timeout_sec=1))
    assert found.status == 76
    assert "it sent 'SSH-'" in lines(found, "network", "info")


def test_the_controller_is_described_without_its_serial_number(tmp_path):
    def numbered(snapshot: Snapshot) -> Snapshot:
        block = list(snapshot.parameters)
        block[874:876] = 290311, 4711
        return snapshot._replace(parameters=tuple(block))

    found = of_pump(tmp_path, numbered)
    assert "model MSW 6, firmware V3.78" in lines(found, "controller")
    assert "serial number: present (not shown)" in lines(found, "controller")
    everything = json.dumps(found.to_json(thorough=True))
    assert "290311" not in everything
    assert "4711" not in everything


@pytest.mark.parametrize(
    ("ahead_s", "level", "text"),
    [
        (0, "ok", "is right"),
        (200, "ok", "3 min ahead"),
        (-4000, "warning", "66 min behind"),
        (7230, "info", "2 h 0 min ahead: another time zone, or no summer time"),
        (-3600, "info", "60 min behind: another time zone, or no summer time"),
        (15 * 3600 + 30, "warning", "15 h 0 min ahead"),
        (None, "warning", "not set"),
    ],
)
def test_the_controllers_clock_is_compared_with_ours(tmp_path, ahead_s, level, text):
    clock_s = 0 if ahead_s is None else round(time.time()) + ahead_s
    found = of_pump(tmp_path, with_calculations({134: clock_s}))
    [line] = [text for text in lines(found, "controller", level) if "clock" in text.lower()]
    assert text in line


@pytest.mark.parametrize("profile", ["msw6", "long"])
def test_shorter_and_longer_blocks_are_described_not_refused(tmp_path, profile):
    with FaultyController(profile=profile) as pump:
        found = diagnose(configured(tmp_path, port=pump.port))
    for group in GROUPS:
        sent = len(pump.snapshot.block(group))
        [text] = [text for text in lines(found, "controller") if text.startswith(group)]
        assert f"{sent} values" in text
        if sent < catalogue.length(group):
            assert f"{catalogue.length(group) - sent} of the catalogue are not sent" in text
    assert lines(found, "sensors", "warning", "problem") == []


def longer(snapshot: Snapshot) -> Snapshot:
    """What a later firmware may send: more of everything, of unknown meaning."""
    return snapshot._replace(
        calculations=(*snapshot.calculations, *range(-60, 0)),
        parameters=(*snapshot.parameters, *range(300)),
        visibilities=(*snapshot.visibilities, *[1] * 90),
    )


def shorter(snapshot: Snapshot) -> Snapshot:
    """What an old firmware sends: neither heat quantities nor the second serial number."""
    return snapshot._replace(
        calculations=snapshot.calculations[:150],
        parameters=snapshot.parameters[:850],
        visibilities=snapshot.visibilities[:100],
    )


def foreign(snapshot: Snapshot) -> Snapshot:
    """A model, codes and a not-fitted value that no table knows."""
    return with_calculations({78: 88, 80: 7, 106: 99, 26: -32768})(snapshot)


@pytest.mark.parametrize("change", [longer, shorter, foreign])
def test_registers_that_are_missing_or_foreign_stop_neither_poll_nor_csv_nor_diagnosis(
    invoke, configure, change
):
    with FaultyController(Fault(change=change), profile="long", clock=time.time) as pump:
        path = configure(port=pump.port)
        assert invoke("poll-once", "-c", path).status == 0
        assert invoke("rollup", "daily", "-c", path).status == 0
        ran = invoke("diagnose", "-c", path, "--json")
    found = json.loads(ran.stdout)
    # A CSV of a single row, so far; -3276.8 °C in the refrigerant cannot be.
    assert ran.status == (65 if change is foreign else 3)
    texts = [line["text"] for section in found["sections"] for line in section["lines"]]
    [csv] = (path.parent / "data" / "reports" / "daily").glob("*.csv")
    header, row = csv.read_text(encoding="utf-8").splitlines()
    cells = dict(zip(header.split(","), row.split(","), strict=True))
    assert cells["ID_WEB_Temperatur_TVL"]
    if change is longer:
        assert any("335 values, 60 more than the catalogue has" in text for text in texts)
    if change is shorter:
        assert cells["ID_WEB_WMZ_Heizung"] == ""
        assert any("150 values; 125 of the catalogue are not sent" in text for text in texts)
    if change is foreign:
        assert any("ID_WEB_Temperatur_TSK" in text and "-3276.8 °C" in text for text in texts)
        assert any(
            "99" in str(s["values"]) and "unknown code" in str(s["values"])
            for s in found["sections"]
            if s["name"] == "heat pump's logs"
        )


# Sensors, cross checks, logs


def test_each_critical_sensor_is_listed_with_value_range_and_verdict(pump_settings):
    found = diagnose(pump_settings)
    entries = values(found, "sensors")["critical"]
    assert [entry["index"] for entry in entries] == list(ranges.CRITICAL)
    assert {entry["level"] for entry in entries} == {"ok"}
    assert entries[0]["usual"] == [5, 75]
    assert "all 12 critical sensors are there and plausible" in lines(found, "sensors", "ok")


@pytest.mark.parametrize(
    ("changed", "level", "text"),
    [
        (
            {10: 2000},
            "problem",
            "range-impossible: ID_WEB_Temperatur_TVL (Flow temperature): 200.0 °C",
        ),
        ({11: 780}, "warning", "78.0 °C; expected: 5 to 75 °C"),
        ({15: -50, 95: NOW_S - 60, 100: 711}, "problem", "outdoor-broken: ID_WEB_Temperatur_TA "),
        ({15: -50}, "ok", "all 12 critical sensors"),
        ({17: 750}, "info", "ID_WEB_Temperatur_TBW (DHW temperature) is 75.0 °C: looks not fitted"),
        ({14: 1400}, "warning", "range: ID_WEB_Temperatur_THG (Hot gas temperature): 140.0 °C"),
        ({19: -500, 20: -500}, "info", "ID_WEB_Temperatur_TWE, ID_WEB_Temperatur_TWA"),
        ({21: 750, 27: 1500, 28: 50}, "info", "ID_WEB_Temperatur_TFB1"),
    ],
)
def test_sensors_are_judged_by_ranges_and_the_values_of_not_fitted_ones(
    tmp_path, changed, level, text
):
    found = of_pump(tmp_path, with_calculations(changed))
    assert any(text in line for line in lines(found, "sensors", level)), lines(found, "sensors")
    assert found.status == (65 if level == "problem" else 3)


def test_a_critical_sensor_beyond_the_end_of_the_block_is_missing(tmp_path):
    found = of_pump(tmp_path, lambda s: s._replace(calculations=s.calculations[:63]))
    assert any(
        "ID_WEB_Zaehler_BetrZeitWP (Heat pump run time): missing" in text
        for text in lines(found, "sensors", "problem")
    )
    assert passed(found)["all critical temperature sensors present"] is True


def test_almost_empty_answers_fail_the_checklist(tmp_path):
    found = of_pump(tmp_path, lambda s: s._replace(calculations=s.calculations[:12]))
    assert any(
        "few-values: only 12 sensor readings; expected: more than 50" in text
        for text in lines(found, "sensors", "problem")
    )
    assert passed(found)["more than 50 sensor readings per poll"] is False
    assert passed(found)["all critical temperature sensors present"] is False


def test_a_shifted_block_breaks_several_rules_and_would_not_be_stored(tmp_path):
    found = of_pump(tmp_path, without("calculations", 20))
    assert "'poll-once' would not store it" in lines(found, "cross checks", "problem")[0]
    assert len(lines(found, "cross checks", "warning")) >= 3
    assert passed(found)["validation passes before storage"] is False
    assert found.status == 76


def test_an_answer_that_contradicts_the_last_poll_would_not_be_stored(tmp_path):
    with FaultyController(Fault(change=without("parameters", 900)), clock=time.time) as pump:
        settings = configured(tmp_path, port=pump.port, timeout_sec=1)
        now_ms = round(time.time() * 1000)
        record(settings, now_ms - 60_000, now_ms, step_s=30)
        found = diagnosis.diagnose(settings, now_ms=now_ms, zone=BERLIN, environ={})
    [text] = lines(found, "cross checks", "problem")
    assert text == "a rule contradicts this answer: 'poll-once' would not store it"
    assert passed(found)["validation passes before storage"] is False


@pytest.mark.parametrize(
    ("changed", "rule"),
    [
        ({119: 40}, "unknown-code"),
        ({100: 5000}, "error-codes"),
        ({57: 90_000_000}, "starts-runtime"),
        ({63: 5}, "heatpump-runtime"),
        ({92: 12345}, "netmask"),
        ({81: 0}, "firmware-text"),
    ],
)
def test_one_peculiarity_is_a_warning_by_name(tmp_path, changed, rule):
    found = of_pump(tmp_path, with_calculations(changed))
    broken = [entry["id"] for entry in values(found, "cross checks")["rules"] if not entry["ok"]]
    # An impossible error code also contradicts the order of the logs.
    assert [one for one in broken if one != "logs"] == [rule]
    assert passed(found)["validation passes before storage"] is True


def test_an_unknown_firmware_text_is_only_a_note(tmp_path):
    change = with_calculations(dict.fromkeys(range(81, 91), 66))
    found = of_pump(tmp_path, change)
    [text] = [t for t in lines(found, "cross checks", "info") if "firmware" in t]
    assert text.startswith("firmware-text: ID_WEB_SoftStand (Firmware version): calculations 81")
    assert lines(found, "cross checks", "warning") == []


def test_an_error_is_as_old_as_the_clock_that_dates_it_says_also_when_that_died(tmp_path):
    dead_s = 946_684_800
    change = with_calculations({134: dead_s + 7200, 95: dead_s + 3600, 100: 716})
    found = of_pump(tmp_path, change)
    [text] = lines(found, "heat pump's logs", "problem")
    assert text.startswith("error: ID_WEB_ERROR_Nr0 (Error code 1): 716 high pressure fault")
    assert any("the newest 60 min ago: 716" in t for t in lines(found, "heat pump's logs", "info"))


def test_errors_from_before_the_clock_died_are_no_news(tmp_path):
    # Five of 2016, one of them about the outdoor sensor.
    change = with_calculations({134: 946_684_800, 100: 711, 15: -50})
    found = of_pump(tmp_path, change)
    assert "before the controller's clock" in lines(found, "heat pump's logs", "info")[0]
    assert lines(found, "sensors", "problem") == []


def test_the_logs_are_shown_newest_first_in_local_time_and_plain_words(tmp_path):
    logs = {95: NOW_S - 3600, 100: 715, 111: NOW_S - 9000, 106: 9, 115: NOW_S - 60, 110: 2}
    found = of_pump(tmp_path, with_calculations(logs))
    section = values(found, "heat pump's logs")
    assert section["errors"][0] == {
        "time": "2027-01-15T07:00:00Z",
        "code": 715,
        "meaning": "high pressure cut-out",
    }
    times = [entry["time"] for entry in section["switch_offs"]]
    assert times == sorted(times, reverse=True)
    assert section["switch_offs"][0]["code"] == 2
    [warned] = lines(found, "heat pump's logs", "warning")
    assert warned.startswith(
        "error-passing: ID_WEB_ERROR_Nr0 (Error code 1): 715 high pressure cut-out"
    )
    assert "the newest 60 min ago: 715" in lines(found, "heat pump's logs", "info")[0]
    [chosen] = [s for s in found.sections if s.name == "heat pump's logs"]
    assert chosen.tables[0].rows[0][0] == "2027-01-15 08:00:00"


# Storage


def test_a_damaged_database_is_reported_and_left_where_it_is(pump_settings, tmp_path):
    record(pump_settings, NOW_MS - 2 * DAY_MS, NOW_MS)
    Store(pump_settings.cache_path).flush()
    with pump_settings.cache_path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 60_000)
    before = state(tmp_path)
    found = diagnose(pump_settings)
    assert any("damaged" in text for text in lines(found, "storage", "problem"))
    assert state(tmp_path) == before
    assert found.status == 74
    assert passed(found)["connection healthy"] is True


def test_a_directory_that_cannot_be_written_is_a_problem_of_storage(tmp_path):
    settings = configured(tmp_path, cache_path="/proc/luxcli/cache.sqlite3")
    found = diagnose(settings, offline=True)
    assert any("/proc" in text for text in lines(found, "storage", "problem"))
    assert found.status == 74


@pytest.mark.parametrize("which", ["lock", "device", "journal"])
def test_a_file_that_a_run_as_another_user_left_is_a_problem(which):
    code = """if True:
        import os, sys
        from pathlib import Path
        from luxcli.diagnosis import storage
        from tests.support.scenario import device_lock
        from luxcli.store import journal
        from luxcli.store.store import Store
        from tests.support.scenario import BERLIN, configured
        settings = configured(Path(sys.argv[1]))
        store = Store(settings.cache_path)
        path = {
            "lock": store.lock_path,
            "device": device_lock(settings),
            "journal": journal.path_at(store.path, 0),
        }[sys.argv[2]]
        path.touch(mode=0)
        if not os.geteuid():
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
        found = storage.storage(settings, now_ms=0, zone=BERLIN)
        print(path.name, *(line.text for line in found.lines if line.level == "problem"), sep="\\n")
    """
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o777)
        said, _ = python(code, directory, which).communicate()
    name, *problems = said.splitlines()
    assert any(f"written by uid {os.geteuid() or 65534}: {name} (of uid" in p for p in problems)


def test_a_directory_in_the_place_of_a_lock_is_a_problem(tmp_path):
    settings = configured(tmp_path)
    Store(settings.cache_path).lock_path.mkdir()
    [text] = lines(diagnose(settings, offline=True), "storage", "problem")
    assert text.endswith("cache.sqlite3.lock: not a regular file")


@pytest.mark.parametrize("where", ["cache_path", "output_dirs.daily"])
def test_a_link_that_leads_in_a_circle_is_a_problem(tmp_path, where):
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    place = str(tmp_path / "circle" / "x.sqlite3" if where == "cache_path" else tmp_path / "circle")
    found = diagnose(configured(tmp_path, **{where: place}), offline=True)
    assert any("circle leads to nothing" in t for t in lines(found, "storage", "problem"))


def test_a_log_and_a_channel_that_cannot_be_used_are_two_warnings(tmp_path):
    nowhere = tmp_path / "nowhere"
    settings = configured(
        tmp_path, log_file=str(tmp_path), **{"monitoring.ntfy_url_file": str(nowhere)}
    )
    found = lines(diagnose(settings, offline=True), "storage", "warning")
    assert any(text.startswith(f"log_file: {tmp_path}: cannot be written") for text in found)
    assert any(str(nowhere) in text for text in found)


def test_a_forgotten_mount_is_reported_as_poll_once_does(tmp_path):
    settings = configured(tmp_path, cache_path=str(tmp_path / "mnt" / "disk" / "cache.sqlite3"))
    found = diagnose(settings, offline=True)
    assert any("neither this directory nor" in text for text in lines(found, "storage", "problem"))
    assert not (tmp_path / "mnt").exists()


def test_a_disk_above_its_limit_is_a_warning(tmp_path):
    found = diagnose(configured(tmp_path, disk_usage_limit_percent=1), offline=True)
    [text] = [t for t in lines(found, "storage", "warning") if "the disk is" in t]
    assert "(limit 1 %" in text


def test_waiting_entries_damaged_lines_and_quarantined_databases_are_counted(tmp_path):
    settings = configured(tmp_path)
    record(settings, NOW_MS - 4 * HOUR_MS, NOW_MS)
    store = Store(settings.cache_path)
    with journal.path_at(store.path, NOW_MS).open("ab") as file:
        file.write(b"not a line of ours\n")
    store.rejected_path.write_bytes(b"an earlier one\n")
    damaged_path = store.path.with_name(store.path.name + ".damaged-20261124T070000Z")
    damaged_path.write_bytes(b"SQLite format 3\0")
    found = diagnose(settings, offline=True)
    assert values(found, "storage")["buffer"]["entries"] == 24
    assert values(found, "storage")["buffer"]["damaged_lines"] == 1
    assert values(found, "storage")["set_aside"] == [str(damaged_path)]
    assert any(store.rejected_path.name in text for text in lines(found, "storage"))


def test_a_database_of_a_newer_luxcli_is_a_problem(tmp_path):
    settings = configured(tmp_path)
    record(settings, NOW_MS - HOUR_MS, NOW_MS)
    Store(settings.cache_path).flush()
    with sqlite3.connect(settings.cache_path) as db:
        db.execute("PRAGMA user_version=99")
    db.close()
    found = diagnose(settings, offline=True)
    assert any("schema 99" in text for text in lines(found, "storage", "problem"))
    assert found.status == 74


def test_days_without_an_archive_are_named(tmp_path):
    settings = configured(tmp_path)
    record(settings, NOW_MS - 4 * DAY_MS, NOW_MS, step_s=7200)
    Store(settings.cache_path).flush()
    found = diagnose(settings, offline=True)
    assert values(found, "storage")["days_without_archive"] == [*("2027-01-11", "2027-01-12")]


def test_journals_of_more_than_ten_days_are_a_warning(tmp_path):
    settings = configured(tmp_path)
    record(settings, NOW_MS - 9 * DAY_MS, NOW_MS, step_s=7200)
    few = lines(diagnose(settings, offline=True), "storage", "warning")
    record(settings, NOW_MS - 10 * DAY_MS, NOW_MS - 9 * DAY_MS, step_s=7200)
    many = lines(diagnose(settings, offline=True), "storage", "warning")
    assert not any("no archive yet" in text for text in few)
    assert any("11 journals: their days are in no archive yet" in text for text in many)


def test_locks_are_named_with_their_holders_and_an_old_one_is_a_warning(tmp_path):
    settings = configured(tmp_path)
    store = Store(settings.cache_path)
    with locks.hold(store.lock_path, wait_s=0):
        found = diagnose(settings, now_ms=round(time.time() * 1000), offline=True)
        assert any(f"held by pid {os.getpid()}" in text for text in lines(found, "storage", "info"))
        later = round(time.time() * 1000) + 7_200_000
        found = diagnose(settings, now_ms=later, offline=True)
        assert any(", for 2 h " in text for text in lines(found, "storage", "warning"))
    found = diagnose(settings, offline=True)
    assert "no lock is held" in lines(found, "storage", "ok")


MOUNTS = """\
/dev/sda1 / ext4 rw 0 0
tmpfs /mnt/nas/memory tmpfs rw 0 0
nas:/volume1 /mnt/nas nfs4 rw 0 0
//box/share /mnt/with\\040blank cifs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "kind", "where"),
    [
        ("/var/lib/luxcli", "ext4", "/"),
        ("/mnt/nas/luxcli", "nfs4", "/mnt/nas"),
        ("/mnt/nashorn", "ext4", "/"),
        ("/mnt/with blank/x", "cifs", "/mnt/with blank"),
        ("/mnt/nas/memory", "tmpfs", "/mnt/nas/memory"),
    ],
)
def test_the_file_system_of_a_directory_is_that_of_the_nearest_mount(path, kind, where):
    found = mount_of(Path(path), MOUNTS)
    assert found is not None
    assert (found.kind, found.mount_point) == (kind, where)


# Recording


def test_a_recording_that_stopped_is_a_problem_of_data(tmp_path):
    settings = configured(tmp_path, interval_sec=600)
    record(settings, NOW_MS - 3 * DAY_MS, NOW_MS - 10 * HOUR_MS)
    found = diagnose(settings, offline=True)
    [stopped] = lines(found, "recording", "problem")
    assert stopped.startswith("not recording: last good poll 10 h")
    assert passed(found)["schedule kept"] is False
    assert found.status == 65


def test_missed_polls_are_shown_with_their_reasons(tmp_path):
    settings = configured(tmp_path, interval_sec=600)
    record(settings, NOW_MS - 20 * HOUR_MS, NOW_MS - 12 * HOUR_MS)
    record(settings, NOW_MS - 6 * HOUR_MS, NOW_MS)
    store = Store(settings.cache_path)
    for number in range(30):
        ts_ms = NOW_MS - 12 * HOUR_MS + number * 600_000
        store.add_missed(missed(ts_ms, "refused", interval_s=600))
    found = diagnose(settings, offline=True)
    coverage = values(found, "recording")["coverage"]["24 h"]
    assert coverage["reasons"] == {"refused": 30}
    assert coverage["unexplained"] == coverage["missing"] - 30 > 0
    assert any(
        "missing: refused 30, not run " in text for text in lines(found, "recording", "warning")
    )


def test_another_spacing_than_configured_is_a_warning(tmp_path):
    settings = configured(tmp_path, interval_sec=300)
    record(settings, NOW_MS - DAY_MS, NOW_MS, step_s=600)
    found = diagnose(settings, offline=True)
    assert "polls arrive every 600 s, interval_sec is 300" in lines(found, "recording", "warning")


def test_a_newest_poll_in_the_future_shows_a_wrong_clock(tmp_path):
    settings = configured(tmp_path, interval_sec=600)
    record(settings, NOW_MS, NOW_MS + 5 * HOUR_MS)
    found = diagnose(settings, offline=True)
    assert any("in the future" in text for text in lines(found, "recording", "warning"))


def test_missing_csvs_are_reported_once_they_are_due(tmp_path):
    settings = configured(tmp_path, interval_sec=3600)
    record(settings, NOW_MS - 9 * DAY_MS, NOW_MS, step_s=3600)
    Store(settings.cache_path).flush()
    found = diagnose(settings, offline=True)
    missing = [text for text in lines(found, "recording", "warning") if "CSV" in text]
    assert missing == [
        "no daily CSV of a closed period was ever written",
        "no weekly CSV of a closed period was ever written",
    ]


def test_an_almost_empty_csv_is_the_predecessors_failure(tmp_path):
    settings = configured(tmp_path)
    files.make_directory(settings.daily_dir)
    header = ",".join(["timestamp_utc", "timestamp_local", *(f"c{i}" for i in range(200))])
    row = "2027-01-15T06:00:00Z,2027-01-15T07:00:00+01:00,21.5" + "," * 199
    (settings.daily_dir / "2027-01-15_daily.csv").write_text("\n".join([header, row, row]) + "\n")
    found = diagnose(settings, offline=True)
    [text] = lines(found, "recording", "problem")
    assert text.startswith("2027-01-15_daily.csv: 2 rows; of 2 looked at 0 are complete; csv-spar")
    assert passed(found)["CSV files with several complete rows"] is False


# The statuses


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ([], 0),
        ([65], 65),
        ([65, 75], 75),
        ([75, 69], 69),
        ([69, 76], 76),
        ([76, 74], 74),
        ([74, 78, 65], 78),
    ],
)
def test_the_exit_status_is_that_of_what_has_to_be_put_right_first(statuses, expected):
    found = [sections.ok("fine"), *(sections.problem("x", status=status) for status in statuses)]
    assert sections.exit_status(found) == expected
    assert sections.exit_status([*found, sections.warning("y")]) == (expected or 3)


def test_a_silent_controller_holds_it_up_for_a_bounded_time(cli, configure):
    with FaultyController(Fault(silent_after=0)) as pump:
        began = time.monotonic()
        ran = Cli.end(cli.start("diagnose", "-c", configure(port=pump.port, timeout_sec=1)))
        assert time.monotonic() - began < 2 * 1 + 1 + 3
    assert ran.status == 69
    assert "another program holds the controller" in ran.stdout
