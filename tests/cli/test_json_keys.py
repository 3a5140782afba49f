"""Programs read the JSON of each command: its keys stay, whatever becomes of the code.

The table was taken from the program before its code was divided into rooms.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from luxcli.config.config import load
from tests.conftest import Cli
from tests.support.scenario import HOUR_MS, record

# Keys of each object; a name stands for data or, with a table, for an object or a list of them.
ERROR = {"error": "type exit text"}
POLL = "ok taken taken_ms took_ms tries marks calculations parameters visibilities warning"
COVERAGE = {
    "start stop polls expected made missing share reasons unexplained gaps": None,
    "extra duplicates doubted suspicious": None,
    "longest_gaps": "start stop missing reasons",
}
CSV = {"kind start stop path rows columns bytes": None, "coverage": COVERAGE}
ROLLUP = {"ok archives findings": None, "files": {**CSV, "verdict problems": None}}
REPORT = {
    "ok verdict start stop polls not_fitted remark": None,
    "scores": "recording temperatures refrigerant switches status counters heat clock",
    "findings": "rule severity area sensor expected found count first last",
}
STATUS = {
    "ok last age_s max_age_s clock_doubted ahead obstacle journals": None,
    "failure": "time reason detail",
    "day": COVERAGE,
}
DIAGNOSIS = {
    "ok status taken_ms": None,
    "sections": {"name values": None, "lines": "level text advice"},
    "checklist": "text passed found",
}
CAPTURE = {
    "ok verdict polls missed interrupted failure warning values cache": None,
    "files": CSV,
    "findings": "rule severity sensor expected found count",
}
DEMO = {"ok polls values cache cache_bytes": None, "files": CSV}
SENSORS = {"ok": None, "sensors": "group index id name german unit scale kind labels offset cases"}
# Facts of the sections of a diagnosis.
FACTS = {
    "environment": "versions system distribution container zone clock_synchronised uid",
    "configuration": "file settings",
    "network": "host port addresses peer attempts times_ms failed_at reason answers_on_port causes",
    "controller": "model_code model firmware status lengths catalogue unknown has_serial_number"
    " clock_ahead_s",
    "sensors": "counts critical not_fitted",
    "cross checks": "rules",
    "heat pump's logs": "errors switch_offs",
    "storage": "directory file_system disks buffer set_aside cache_bytes schema oldest newest sound"
    " archives days_only_in_archives days_only_in_csvs days_without_archive locks"
    " archives_checked archives_oldest_check",
    "recording": "interval_sec last_poll last_poll_age_s recent coverage covered"
    " usual_interval_sec last_daily last_weekly",
    "recorded data": "verdict polls scores findings",
}

# Commands that need no heat pump, on three hours of polls.
STORED: dict[str, Any] = {
    "status": STATUS,
    "rollup daily": ROLLUP,
    "rollup weekly": ROLLUP,
    "rollup all": ROLLUP,
    "rollup daily --date 2020-01-01": {"ok files archives findings": None, **ERROR},
    "repair-times": "ok dry_run moved removed untold removed_path groups",
    "prune": "ok dry_run csv_files csv_bytes old_caches archives journals polls cache_bytes"
    " findings",
    "restore": {"ok polls missed": None, "sources": "path polls missed problem"},
    "config check": "ok file",
    "config show": {"ok": None, "settings": {"*": "value origin"}},
    "validate": {**REPORT, "coverage": COVERAGE},
    "validate --csv CSV": REPORT,
    "diagnose --offline": DIAGNOSIS,
    "diagnose --offline --bundle report.zip": {**DIAGNOSIS, "bundle": None},
    "monitor test": {"ok": None, "channels": "channel job to problem took_ms"},
}
# Commands that read one.
LIVE: dict[str, Any] = {
    "poll-once": POLL,
    "poll-once --count 1": {"ok overrun": None, "polls": POLL},
    "validate --live": REPORT,
    "watch --count 1": "ok taken taken_ms state values last_switch_off last_error changed",
    "capture --output trial --duration 1": CAPTURE,
}
# Commands that find none.
FAILING: dict[str, Any] = {
    "poll-once": {"ok": None, **ERROR},
    "poll-once --count 1": {"ok overrun": None, "polls": {"ok": None, **ERROR}},
    "watch --count 1": {"ok": None, **ERROR},
    "capture --output trial --duration 1": {"ok": None, **ERROR},
}


def check(value: Any, table: Any) -> None:
    """Assert that an object, or each of a list, has the keys of a table and no other."""
    names = flat(table)
    for entry in value if isinstance(value, list) else [value]:
        if "*" in names:
            for one in entry.values():
                check(one, names["*"])
            continue
        assert entry.keys() == names.keys()
        for name, below in names.items():
            if below is not None and entry[name] is not None:
                check(entry[name], below)


def flat(table: Any) -> dict[str, Any]:
    """Return the keys of a table, each with the table of what it holds, None where that is data."""
    if isinstance(table, str):
        return dict.fromkeys(table.split())
    return {name: below for names, below in table.items() for name in names.split()}


def printed(cli: Cli, words: list[str], file: Path | None) -> dict[str, Any]:
    done = cli(*words, "--json", *([] if file is None else ["-c", file]))
    assert done.stdout.count("\n") == 1, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture
def stored(configure: Callable[..., Path], tmp_path: Path) -> Path:
    """A configuration with polls of the last three hours, one every ten minutes."""
    file = configure(port=1, monitoring={"command": "true"})
    now_ms = round(time.time() * 1000)
    record(load(file, {}, tmp_path), now_ms - 3 * HOUR_MS, now_ms)
    return file


@pytest.mark.parametrize("command", STORED)
def test_a_command_on_what_is_stored_prints_the_keys_that_it_always_printed(
    invoke, stored, command
):
    words = command.split()
    if "CSV" in words:
        assert invoke("rollup", "daily", "-c", stored).status == 0
        words = [*words[:-1], str(next((stored.parent / "data").rglob("*_daily.csv")))]
    check(printed(invoke, words, stored), STORED[command])


@pytest.mark.parametrize("command", LIVE)
def test_a_command_that_reads_the_heat_pump_prints_the_keys_that_it_always_printed(
    invoke, configure, simulator, command
):
    check(printed(invoke, command.split(), configure(port=simulator.port)), LIVE[command])


@pytest.mark.parametrize("command", FAILING)
def test_a_command_that_finds_no_heat_pump_prints_the_keys_that_it_always_printed(
    invoke, configure, command
):
    check(printed(invoke, command.split(), configure(port=1)), FAILING[command])


def test_a_status_after_a_failed_poll_has_the_keys_of_the_failure(invoke, configure):
    file = configure(port=1)
    assert invoke("poll-once", "-c", file).status == 69
    found = printed(invoke, ["status"], file)
    check(found, STATUS)
    assert found["failure"]


def test_registers_have_the_keys_that_they_always_had(invoke):
    check(printed(invoke, ["sensors"], None), SENSORS)


def test_each_section_of_a_diagnosis_has_the_facts_that_it_always_had(invoke, configure, simulator):
    file = configure(port=simulator.port, flush_polls=1)
    assert invoke("poll-once", "-c", file).status == 0
    found = printed(invoke, ["diagnose"], file)
    assert {section["name"]: set(section["values"]) for section in found["sections"]} == {
        name: set(facts.split()) for name, facts in FACTS.items()
    }


@pytest.mark.sweep
@pytest.mark.timeout(60)
def test_the_demo_prints_the_keys_that_it_always_printed(cli):
    done = cli.end(cli.start("demo", "--json"), within_s=50)
    check(json.loads(done.stdout), DEMO)
