"""The log: a line per event with command and run, as text or JSON, on stderr and in a file."""

import json
import logging
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from luxcli.config import config
from luxcli.store.store import Store
from luxcli.system import log_setup
from luxcli.system.log_file import LogFile
from tests.conftest import Ran
from tests.support.builders import python
from tests.support.faulty_controller import Fault, FaultyController

ROOT = Path(__file__).parent.parent.parent
LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ (\w+) \[(.+) ([0-9a-f]{8})\] (.+)")


def entries(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def damaged(tmp_path: Path) -> dict[str, str]:
    """The environment of an installation that lacks a file: nobody's expected failure."""
    shutil.copytree(
        ROOT / "luxcli", tmp_path / "luxcli", ignore=shutil.ignore_patterns("registers.csv")
    )
    return {"PYTHONPATH": str(tmp_path)}


# On stderr


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_poll_needs_no_standard_streams(cli, configure, simulator, tmp_path, closed):
    command = ["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-m", "luxcli"]
    for port, status in ((simulator.port, 0), (1, 69)):
        file = configure(port=port, flush_polls=1)
        words = [*command, "poll-once", "-c", str(file)]
        assert subprocess.run(words, check=False, env=cli.environment()).returncode == status
    settings = config.load(file, {}, tmp_path)
    assert len(Store(settings.cache_path).database.times(0, 2**60)) == 1


def test_a_full_disk_behind_stderr_does_not_change_the_status(cli, configure):
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        assert cli("poll-once", "-c", configure(port=1), stderr=full).status == 69
        assert cli("poll-once", "-c", "nowhere", stderr=full).status == 78


def test_each_line_has_the_command_and_one_number_for_the_run(invoke, configure):
    with FaultyController(Fault(times=1, close_after=0)) as pump:
        ran = invoke("poll-once", "--log-level", "info", "-c", configure(port=pump.port, retries=1))
        lines = [LINE.fullmatch(line) for line in ran.stderr.splitlines()]
        assert [line and line[2] for line in lines] == ["poll-once"] * 2
        assert len({line and line[3] for line in lines}) == 1
        again = invoke("poll-once", "--log-level", "info", "-c", configure(port=pump.port))
    assert LINE.fullmatch(again.stderr.strip())[3] != lines[0][3]
    ran = invoke("rollup", "all", "--log-level", "info", "-c", configure())
    assert {LINE.fullmatch(line)[2] for line in ran.stderr.splitlines() if "Z " in line} == {
        "rollup all"
    }


def test_as_json_findings_and_failures_are_lines_of_the_log_as_well(invoke, configure):
    with FaultyController() as pump:
        file = configure(port=pump.port, log_format="json", log_level="ERROR")
    failed = invoke("poll-once", "-c", file)
    [entry] = entries(failed.stderr)
    assert (failed.status, failed.stdout) == (69, "")
    assert (entry["level"], entry["job"]) == ("error", "poll-once")
    assert entry["msg"].startswith(f"127.0.0.1:{pump.port}: connect: connection refused")
    found = invoke("rollup", "all", "-c", file)
    assert [(e["level"], e["job"]) for e in entries(found.stderr)] == [
        ("warning", "rollup all")
    ] * 2
    assert len({e["run"] for e in entries(found.stderr)}) == 1


@pytest.mark.parametrize("name", ["LUXCLI_LOG_FORMAT", "LOG_FORMAT"])
def test_a_broken_configuration_is_json_too_where_a_variable_says_so(invoke, tmp_path, name):
    (tmp_path / "luxcli.yaml").write_text("nonsense: 1\nport: many\n", encoding="utf-8")
    ran = invoke("poll-once", env={name: "json"})
    assert (ran.status, ran.stdout) == (78, "")
    first, second = entries(ran.stderr)
    assert first["level"] == second["level"] == "error"
    assert first["msg"].endswith("luxcli.yaml:1: nonsense: no such setting")
    assert invoke("poll-once").stderr.startswith("luxcli: ")


def test_as_json_a_failure_is_still_one_object_on_stdout(invoke, configure):
    ran = invoke("poll-once", "--json", "-c", configure(port=1, log_format="json"))
    assert json.loads(ran.stdout)["error"]["exit"] == 69
    assert len(entries(ran.stderr)) == 1


def test_a_bug_is_one_json_object_with_its_traceback(cli, configure, damaged):
    ran = cli("config", "check", "-c", configure(log_format="json"), env=damaged)
    assert (ran.status, ran.stdout) == (0, "") or ran.status == 1
    ran = cli("rollup", "daily", "-c", configure(log_format="json"), env=damaged)
    [entry] = [e for e in entries(ran.stderr) if e["level"] == "critical"]
    assert (ran.status, entry["msg"]) == (1, "a bug, please report it")
    assert entry["exception"].startswith("Traceback (most recent call last):\n")
    assert "FileNotFoundError" in entry["exception"]


@pytest.mark.slow
def test_timeouts_tell_attempt_phase_and_totals(invoke, configure):
    with FaultyController(Fault(silent_after=0)) as pump:
        file = configure(port=pump.port, timeout_sec=1, retries=1, log_level="INFO")
        ran = invoke("poll-once", "-c", file)
    first, last = ran.stderr.splitlines()
    address = rf"127\.0\.0\.1:{pump.port}"
    assert re.search(
        rf"{address}: attempt 1 of 2 failed after 1\.\d s: parameters: no complete answer within"
        r" 1 s; next in 2\.\d s$",
        first,
    )
    assert re.fullmatch(
        rf"luxcli: {address}: parameters: no complete answer within 1 s"
        r" \(gave up after 2 attempts, 4\.\d s\)",
        last,
    )


# In a file


def test_the_log_file_has_every_run_and_stderr_only_what_is_to_be_acted_on(
    invoke, configure, tmp_path
):
    with FaultyController() as pump:
        file = configure(port=pump.port, log_file="logs.txt")
        assert invoke("poll-once", "-c", file) == Ran(0, "", "")
    failed = invoke("poll-once", "-c", file)
    assert re.fullmatch(r"luxcli: .* connection refused .*\n", failed.stderr)
    good, bad = map(LINE.fullmatch, (tmp_path / "logs.txt").read_text().splitlines())
    assert (good[1], good[2], good[4][:18]) == ("INFO", "poll-once", "stored 1634 values")
    assert (bad[1], f"luxcli: {bad[4]}\n") == ("ERROR", failed.stderr)
    assert not list(tmp_path.glob("logs.txt.*"))


def test_the_log_file_follows_the_configured_level_and_format(invoke, configure, tmp_path):
    with FaultyController() as pump:
        options = {"log_file": "logs.txt", "log_format": "json"}
        invoke("poll-once", "-c", configure(port=pump.port, log_level="WARNING", **options))
        assert not (tmp_path / "logs.txt").exists()
        invoke("poll-once", "-c", configure(port=pump.port, **options))
    [entry] = entries((tmp_path / "logs.txt").read_text())
    assert (entry["level"], entry["job"]) == ("info", "poll-once")


def test_a_bug_is_whole_in_the_log_file_and_as_usual_on_stderr(cli, configure, damaged, tmp_path):
    ran = cli("rollup", "daily", "-c", configure(log_file="logs.txt"), env=damaged)
    assert ran.status == 1
    text = (tmp_path / "logs.txt").read_text()
    traceback = ran.stderr[ran.stderr.index("Traceback (most recent call last):\n") :]
    assert "a bug, please report it\nTraceback (most recent call last):\n" in text
    assert traceback.splitlines()[-1] in text.splitlines()


@pytest.mark.parametrize("where", ["missing/logs.txt", "data", "/proc/logs.txt", "/dev/full"])
def test_a_log_file_that_cannot_be_written_is_one_warning(invoke, configure, tmp_path, where):
    (tmp_path / "data").mkdir()
    with FaultyController() as pump:
        file = configure(port=pump.port, log_file=where)
        ran = invoke("poll-once", "-c", file)
        assert pump.requests
    assert (ran.status, ran.stdout) == (0, "")
    [line] = ran.stderr.splitlines()
    assert re.search(r" WARNING \[poll-once .*: the log file cannot be written: [A-Z]", line)


def test_a_log_file_that_is_a_link_to_itself_is_one_warning(invoke, configure, simulator, tmp_path):
    (tmp_path / "circle").symlink_to("circle")
    file = configure(port=simulator.port, log_file=str(tmp_path / "circle"))
    ran = invoke("poll-once", "-c", file)
    assert ran.status == 0
    [line] = ran.stderr.splitlines()
    assert "circle: the log file cannot be written: Too many levels of symbolic links" in line


def test_a_named_pipe_that_nobody_reads_keeps_no_job_waiting(
    invoke, configure, simulator, tmp_path
):
    os.mkfifo(tmp_path / "pipe")
    file = configure(port=simulator.port, log_file=str(tmp_path / "pipe"))
    ran = invoke("poll-once", "-c", file)
    assert (ran.status, simulator.connections) == (0, 1)
    assert "/pipe: the log file cannot be written: No such device" in ran.stderr


def write(path: Path, text: str, max_bytes: int) -> None:
    """Log one line as a process that does nothing else would."""
    handler = LogFile(path, "INFO", max_bytes=max_bytes)
    handler.emit(logging.LogRecord("luxcli", 20, "", 0, text, (), None))
    handler.close()


def test_a_full_file_is_rotated_when_it_is_opened_and_four_older_ones_are_kept(tmp_path):
    path = tmp_path / "luxcli.log"
    for number in range(7):
        write(path, f"{number}" * 40, max_bytes=30)
    found = {file.name: file.read_text()[:1] for file in tmp_path.glob("*[g1-9]")}
    assert found == {
        "luxcli.log": "6",
        **{f"luxcli.log.{number}": str(6 - number) for number in (1, 2, 3, 4)},
    }


def test_a_command_rotates_a_log_file_of_one_megabyte(invoke, configure, simulator, tmp_path):
    file = configure(port=simulator.port, log_file="luxcli.log")
    path = tmp_path / "luxcli.log"
    path.write_text("x" * 999_999)
    assert invoke("poll-once", "-c", file).status == 0
    assert not list(tmp_path.glob("luxcli.log.*"))
    assert invoke("poll-once", "-c", file).status == 0
    assert path.read_text().count("\n") == 1
    assert (tmp_path / "luxcli.log.1").stat().st_size > 1_000_000


def test_behind_a_link_the_file_is_rotated_and_the_link_stays(tmp_path):
    (tmp_path / "disk").mkdir()
    link = tmp_path / "luxcli.log"
    link.symlink_to("disk/real.log")
    for number in range(3):
        write(link, f"{number}" * 40, max_bytes=30)
    assert link.is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["disk", "luxcli.log"]
    found = {path.name: path.read_text()[:1] for path in (tmp_path / "disk").glob("*[g12]")}
    assert found == {"real.log": "2", "real.log.1": "1", "real.log.2": "0"}


WRITER = """
import logging, sys
from pathlib import Path
from luxcli.system import log_setup
from luxcli.system.log_file import LogFile
name, path, lines = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
logger = logging.getLogger(name)
logger.propagate = False
for number in range(lines):
    if number % 5 == 0:  # as a further process would
        for before in logger.handlers:
            before.close()
        logger.handlers[:] = [LogFile(path, "INFO", max_bytes=3000)]
    logger.error("%s %d %s", name, number, "x" * 20)
"""


def test_processes_that_write_at_once_lose_no_line_and_rotate_by_size(tmp_path):
    path = tmp_path / "luxcli.log"
    lines = 200
    writers = [python(WRITER, name, path, lines) for name in "abcd"]
    for writer in writers:
        assert writer.wait(8) == 0
        writer.stdout.close()
    files = sorted(tmp_path.glob("luxcli.log*"))
    files.remove(tmp_path / "luxcli.log.lock")
    assert [file.name for file in files] == [
        "luxcli.log",
        *(f"luxcli.log.{number}" for number in range(1, len(files))),
    ]
    # Each process writes up to five lines more into a file that is full by then.
    assert max(file.stat().st_size for file in files) <= 4500
    found = [line.split() for file in reversed(files) for line in file.read_text().splitlines()]
    kept = {name: [int(n) for owner, n, _ in found if owner == name] for name in "abcd"}
    assert len(files) == 5
    # Missing are only lines of the oldest files: the lines of each process end with its last.
    for numbers in kept.values():
        assert sorted(numbers) == list(range(min(numbers, default=lines), lines))
    assert sum(file.stat().st_size for file in files) > 4 * 3000


def test_a_run_closes_the_log_file_of_an_earlier_run_in_its_process(tmp_path):
    path, descriptors = tmp_path / "luxcli.log", Path("/proc/self/fd")
    logger = logging.getLogger("luxcli")
    before = (logger.handlers[:], logger.level, logger.propagate)
    logger.handlers[:] = []
    open_before = len(list(descriptors.iterdir()))
    try:
        for _ in range(5):
            log_setup.set_up("WARNING", "text", handlers=[LogFile(path, "INFO")])
            logger.info("a line")
        log_setup.set_up("WARNING", "text")
        assert len(list(descriptors.iterdir())) == open_before
    finally:
        logger.handlers[:], logger.level, logger.propagate = before
    assert path.read_text(encoding="utf-8") == "a line\n" * 5
