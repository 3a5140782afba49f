"""Beside a file of a development version, with an old SQLite, or a database in WAL mode."""

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from luxcli.store import sqlite_file
from luxcli.store.store import Store

COMMANDS = [
    ["rollup", "all", "--if-due"],
    ["prune"],
    ["restore"],
    ["validate"],
    ["status"],
    ["diagnose", "--offline"],
    ["config", "check"],
]


@pytest.fixture
def file(invoke, configure, simulator):
    """A configuration with a poll in its database."""
    file = configure(port=simulator.port, flush_polls=1)
    assert invoke("poll-once", "-c", file).status == 0
    return file


def database(file: Path) -> Path:
    return file.parent / "data" / "cache.sqlite3"


def make_old(file: Path) -> bytes:
    with closing(sqlite3.connect(database(file))) as db:
        db.execute("PRAGMA user_version=1")
    return database(file).read_bytes()


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_the_database_of_a_development_version_is_refused_and_left_alone(invoke, file, command):
    before = make_old(file)
    ran = invoke(*command, "-c", file)
    assert ran.status == 78
    text = ran.stdout if command[0] == "diagnose" else ran.stderr
    assert "made by a development version of luxcli" in " ".join(text.split())
    assert command[0] == "diagnose" or ran.stderr.count("\n") == 1
    assert database(file).read_bytes() == before


def test_a_poll_beside_it_is_stored_with_a_warning(invoke, file):
    before = make_old(file)
    ran = invoke("poll-once", "-c", file)
    assert ran.status == 0
    [line] = ran.stderr.splitlines()
    assert f"{database(file)}: made by a development version of luxcli" in line
    assert "move it" in line
    assert database(file).read_bytes() == before
    database(file).rename(file.parent / "old")
    assert len(list(Store(database(file)).query(0, 1 << 60))) == 2


@pytest.mark.parametrize("command", [*COMMANDS, ["capture", "-o", "trial"]], ids=" ".join)
def test_a_sqlite_that_is_too_old_is_one_line_before_anything_is_touched(
    invoke, file, command, monkeypatch, tmp_path
):
    monkeypatch.setattr(sqlite_file, "OLDEST_LIBRARY", (99, 0, 0))
    before = {path: path.read_bytes() for path in database(file).parent.iterdir()}
    ran = invoke(*command, "-c", file)
    assert ran.status == 78
    text = " ".join((ran.stdout if command[0] == "diagnose" else ran.stderr).split())
    assert f"SQLite {sqlite3.sqlite_version} is too old: luxcli needs 99.0.0 or newer" in text
    assert {path: path.read_bytes() for path in database(file).parent.iterdir()} == before
    assert not (tmp_path / "trial").exists()


def test_a_poll_with_a_sqlite_that_is_too_old_is_stored_with_a_warning(invoke, file, monkeypatch):
    monkeypatch.setattr(sqlite_file, "OLDEST_LIBRARY", (99, 0, 0))
    ran = invoke("poll-once", "-c", file)
    assert ran.status == 0
    assert "is too old: luxcli needs 99.0.0 or newer" in ran.stderr


KEEPS_OPEN = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("PRAGMA journal_mode=WAL")
db.execute("SELECT count(*) FROM poll").fetchall()
print("open", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def wal(file):
    """Another program has turned the database to WAL mode and keeps it open."""
    process = subprocess.Popen(
        [sys.executable, "-c", KEEPS_OPEN, str(database(file))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        yield process
        assert process.stdin is not None
        process.stdin.close()


def test_wal_mode_is_named_in_the_failure_and_in_diagnose_and_polls_go_on(invoke, file, wal):
    poll = invoke("poll-once", "-c", file)
    assert poll.status == 0
    assert "another program has turned it to WAL mode and keeps it open" in poll.stderr
    roll_up = invoke("rollup", "daily", "--if-due", "-c", file)
    assert roll_up.status == 74
    assert "turned it to WAL mode" in roll_up.stderr
    found = json.loads(invoke("diagnose", "--offline", "--json", "-c", file).stdout)
    lines = [line["text"] for section in found["sections"] for line in section["lines"]]
    assert any("another program has turned it to WAL mode" in line for line in lines)


def test_wal_mode_is_turned_back_as_soon_as_the_other_program_has_closed_it(invoke, file, wal):
    assert "WAL mode" in invoke("poll-once", "-c", file).stderr
    wal.communicate()
    ran = invoke("poll-once", "-c", file)
    assert (ran.status, ran.stderr) == (0, "")
    assert not sqlite_file.is_wal(database(file))
    assert len(list(Store(database(file)).database.polls(0, 1 << 60, damaged=[]))) == 3
