"""The watchdog: a job that hangs is ended, and says so."""

import json
import re
import signal
import subprocess
import sys
import threading

import pytest
from typer.testing import CliRunner

from luxcli.cli.app import app
from luxcli.config import config
from luxcli.controller.client import longest_s
from luxcli.recording import limits
from luxcli.store import journal
from tests.support.builders import python
from tests.support.faulty_controller import Fault, FaultyController, eventually

COMMAND = """
import signal, sys, time
import typer
from pathlib import Path
from luxcli import __main__
from luxcli.cli import app as cli, declare

@cli.app.command("job", hidden=True)
def job(ctx: typer.Context, log_format: str) -> None:
    session = declare.session_of(ctx)
    session.start(Path("luxcli.yaml"), None, job="poll", extra_s=lambda _: 0.3 - LIMIT)
    print("begun", flush=True)
    try:
        time.sleep(8)
    finally:
        print("cleaned up", flush=True)

__main__.main()
"""


@pytest.mark.parametrize("style", ["text", "json"])
def test_a_job_that_takes_too_long_is_ended_and_says_so(cli, configure, tmp_path, style):
    file = configure(log_format=style, log_file="logs.txt")
    limit = limits.limit_s("poll", config.load(file, {}, tmp_path))
    code = COMMAND.replace("LIMIT", repr(limit))
    done = subprocess.run(
        [sys.executable, "-c", code, "job", style],
        capture_output=True,
        text=True,
        env=cli.environment(),
        cwd=tmp_path,
        timeout=8,
        check=False,
    )
    assert (done.returncode, done.stdout) == (142, "begun\ncleaned up\n")
    text = "took longer than its limit of 0.3 s"
    if style == "text":
        assert done.stderr == f"luxcli: {text}\n"
    else:
        assert json.loads(done.stderr)["msg"] == text
    assert text in (tmp_path / "logs.txt").read_text()


# SQLite never returns from this, and Python runs no handler of signals meanwhile.
HUNG = """
import signal, sqlite3
from luxcli.system import log_setup, watchdog
from luxcli.system.signals import Handler
log_setup.set_up("WARNING", STYLE, run=log_setup.Run("prune", "0a1b2c3d"))
signal.signal(signal.SIGALRM, Handler())
watchdog.arm(0.2, grace_s=0.2)
endless = "with recursive n(i) as (select 1 union all select i + 1 from n) select max(i) from n"
sqlite3.connect(":memory:").execute(endless).fetchall()
"""


@pytest.mark.parametrize("style", ["text", "json"])
def test_a_process_that_hangs_inside_sqlite_is_killed_and_says_so(style):
    with python(HUNG.replace("STYLE", repr(style)), stderr=subprocess.PIPE) as process:
        _, stderr = process.communicate(timeout=5)
    assert process.returncode == 142
    message = "took longer than its limit of 0.2 s and did not stop when it was interrupted; killed"
    if style == "text":
        assert stderr == f"luxcli: {message}\n"
    else:
        entry = json.loads(stderr)
        assert (entry["level"], entry["job"], entry["msg"]) == ("error", "prune", message)


def test_a_hung_process_is_killed_although_nobody_reads_its_messages():
    with python(HUNG.replace("STYLE", "'text'"), stderr=subprocess.PIPE) as process:
        process.stderr.close()
        assert process.wait(5) == 142


@pytest.mark.parametrize("command", ["poll-once", "prune"])
def test_a_job_that_is_run_by_another_program_starts_no_watchdog(configure, simulator, command):
    before = set(threading.enumerate())
    result = CliRunner().invoke(app, [command, "-c", str(configure(port=simulator.port))])
    assert result.exit_code == 0
    assert set(threading.enumerate()) == before


def test_a_poll_that_is_ended_by_the_alarm_records_why_it_is_missing(cli, configure, tmp_path):
    with FaultyController(Fault(silent_after=0)) as pump:
        process = cli.start("poll-once", "-c", configure(port=pump.port, timeout_sec=60))
        assert eventually(lambda: pump.requests)
        process.send_signal(signal.SIGALRM)
        ran = cli.end(process)
    assert (ran.status, ran.stdout) == (142, "")
    assert re.fullmatch(r"luxcli: took longer than its limit of \d+ s\n", ran.stderr)
    rows = cli("status", "--json", "-c", tmp_path / "luxcli.yaml")
    assert json.loads(rows.stdout)["failure"]["reason"] == "interrupted"
    assert journal.paths(tmp_path / "data" / "cache.sqlite3")


@pytest.mark.parametrize(("timeout_sec", "retries"), [(60, 3), (600, 10), (1, 0)])
def test_the_limit_leaves_every_attempt_its_time(configure, tmp_path, timeout_sec, retries):
    settings = config.load(configure(timeout_sec=timeout_sec, retries=retries), {}, tmp_path)
    assert limits.limit_s("poll", settings) >= longest_s(timeout_sec, retries) + 60
    assert limits.gone_after_s("poll", settings) > limits.limit_s("poll", settings)
    assert limits.limit_s("rollup", settings) > limits.limit_s("prune", settings) >= 3600


@pytest.mark.parametrize(
    "command",
    [["poll-once"], ["rollup", "daily"], ["prune"], ["restore"], ["validate"], ["diagnose"]],
    ids=" ".join,
)
def test_every_command_that_may_hang_on_a_disk_has_a_limit(configure, tmp_path, simulator, command):
    armed: list[float] = []
    file = configure(port=simulator.port)
    CliRunner().invoke(app, [*command, "-c", str(file)], obj=armed.append)
    job = command[0].partition("-")[0]
    assert armed == [limits.limit_s(job, config.load(file, {}, tmp_path))]
