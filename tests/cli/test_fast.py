"""The fast path of `poll-once` and `status` does what Typer does, and loads little."""

import functools
import os
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from luxcli.cli import app as commands
from luxcli.cli import fast
from luxcli.store.store import Store
from tests.conftest import Cli, Invoke, Ran
from tests.test_architecture import room

# What differs from run to run: times, durations, process numbers, run ids.
VARYING = re.compile(r"\b[0-9a-f]{8}\b|[0-9]+(\.[0-9]+)?")
# Modules that neither a poll nor a status loads.
NEITHER = {"typer", "click", "rich", "dataclasses", "inspect", "luxtronik", "argparse"}
# The rooms that `status` loads.
STATUS_ROOMS = {"ground", "system", "config", "store", "recording", "cli", "__main__"}

# Parameters beside those that each command has.
COMMANDS: dict[str, dict[str, Any]] = {
    "poll-once": {"every": None, "count": None, "scheduled": False},
    "status": {"max_age": None},
}
PIECES: list[tuple[str, ...]] = [
    *[("--json",), ("-c", "a.yaml"), ("-ca.yaml",), ("--config", "b.yaml"), ("--config=b.yaml",)],
    *[("--log-level", "DEBUG"), ("--log-level=debug",), ("--log-level",), ("--every", "30")],
    *[("--every=15s",), ("--count", "2"), ("--count=3",), ("--count", "0"), ("--count", "two")],
    *[("--count", "-1"), ("--max-age", "5m"), ("--max-age=90",), ("-h",), ("--help",), ("--",)],
    *[("--config", ""), ("--config=",), ("-c", "-"), ("-c=x",), ("--jso",), ("--json=1",), ("x",)],
    *[
        ("-j",),
        ("--every", "--json"),
        ("--count", "\uff11\uff12"),
        ("--count", "+2"),
        ("--count", "1_0"),
    ],
    *[("--date", "2026-11-24"), ("--date=yesterday",), ("--if-due",), ("--strict",), ("--date",)],
    *[("--if-due=1",), ("--strict", "--if-due"), ("--strict", "--json"), ("--no-strict",)],
    *[("--scheduled",), ("--scheduled=1",), ("--no-scheduled",)],
    *[("-c", "unreadable"), ("-c", "directory"), ("--count", "1e3"), ("--version",), ("",)],
]


@functools.cache
def declared() -> Any:
    return typer.main.get_command(commands.app)


def by_parser(command: str, argv: list[str]) -> dict[str, Any]:
    """Return the parameters that the declaration of the command gives."""
    found = declared()
    for word in command.split():
        found = found.commands[word]
    parameters = dict(found.make_context(command, list(argv)).params)
    if parameters["config_path"] is not None:  # which Typer does when it calls the function
        parameters["config_path"] = Path(parameters["config_path"])
    return parameters


@pytest.mark.parametrize("environment", [{}, {"LUXCLI_CONFIG": "from-environment.yaml"}])
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.no_cover
def test_a_simple_command_line_gives_the_options_that_typer_gives(
    command, environment, tmp_path, monkeypatch
):
    (tmp_path / "directory").mkdir()
    (tmp_path / "unreadable").touch(0)
    monkeypatch.chdir(tmp_path)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    chance, understood = random.Random(2), 0
    for _ in range(1500):
        argv = [word for piece in chance.choices(PIECES, k=chance.randint(0, 3)) for word in piece]
        call = fast.parse([*command.split(), *argv], os.environ)
        if call is None:
            continue
        understood += 1
        name, _function, parameters = call
        usual = {"config_path": None, "log_level": None, "as_json": False}
        usual |= COMMANDS[command]
        assert (name, usual | parameters) == (command, by_parser(command, argv)), argv
    assert understood > 300


@pytest.mark.parametrize(
    "argv",
    [
        *[(), ("rollup",), ("--version",), ("poll-once", "--help"), ("status", "-h")],
        *[("rollup", "daily"), ("rollup", "all", "--if-due"), ("prune",), ("config", "check")],
        *[("poll-once", "--max-age", "5m"), ("status", "--every", "30"), ("poll-once", "now")],
        *[("poll-once", "--json", "--json"), ("poll-once", "-c", "a", "--config", "b")],
    ],
)
def test_a_command_line_that_is_not_simple_is_left_to_typer(argv):
    assert fast.parse(argv, {}) is None
    assert fast.run(argv, {}) is None


def test_completion_for_the_shell_is_left_to_typer():
    assert fast.parse(["status"], {"_LUXCLI_COMPLETE": "bash_complete"}) is None


def both_ways(invoke: Invoke, *args: object, **variables: str) -> tuple[Ran, Ran]:
    """Run the same command on the fast path, where it can, and through Typer."""
    short = invoke(*args, env=variables)
    with pytest.MonkeyPatch.context() as only_typer:
        only_typer.setattr(fast, "run", lambda *_: None)
        return short, invoke(*args, env=variables)


def alike(ran: Ran) -> Ran:
    return Ran(ran.status, VARYING.sub("#", ran.stdout), VARYING.sub("#", ran.stderr))


@pytest.mark.parametrize("options", [(), ("--json",), ("--log-level", "DEBUG"), ("--count", "1")])
@pytest.mark.parametrize("broken", [{}, {"port": 1}, {"host": "256.1.1.1"}, {"retries": "many"}])
def test_a_poll_is_the_same_on_the_fast_path_and_through_typer(
    invoke, configure, simulator, options, broken
):
    file = configure(**{"port": simulator.port, **broken})
    if not broken:
        assert invoke("poll-once", "-c", file).status == 0  # the first one is told to be that
    short, long = both_ways(invoke, "poll-once", "-c", file, *options)
    assert alike(short) == alike(long)
    assert short.status == {"port": 69, "host": 69, "retries": 78}.get(next(iter(broken), ""), 0)
    stored = Store(file.parent / "data" / "cache.sqlite3").waiting().polls
    assert len(stored) == (0 if broken else 3)


@pytest.mark.parametrize(
    ("args", "status"),
    [
        *[(("status",), 3), (("status", "--json"), 3), (("status", "--max-age", "never"), 2)],
        *[(("status", "--log-level", "LOUD"), 2), (("poll-once", "--every", "1s"), 2)],
        *[(("poll-once", "--count", "200"), 2), (("poll-once", "-c", "missing.yaml"), 78)],
        *[(("status", "-c", "."), 78), (("poll-once", "--count", "0"), 2), (("status", "x"), 2)],
        *[(("status", "--help"), 0), (("poll-once", "-h"), 0), (("poll-once", "--jsn"), 2)],
    ],
)
def test_a_command_prints_the_same_on_the_fast_path_and_through_typer(
    invoke, configure, args, status
):
    configure(port=1)
    short, long = both_ways(invoke, *args)
    assert alike(short) == alike(long)
    assert short.status == status


def loaded(cli: Cli, *args: object) -> set[str]:
    """Return the modules that are loaded when the command has ended well."""
    code = (
        "import sys\nfrom luxcli import __main__\ntry:\n    __main__.main()\n"
        "except SystemExit as exc:\n    assert not exc.code, exc.code\n"
        "print('\\n'.join(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, args)],
        env=Cli(cli.directory, measured=False).environment(),  # measuring loads modules as well
        cwd=cli.directory,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


def packages(modules: set[str]) -> set[str]:
    """Return the top-level names, without those that Python itself loads for `logging`."""
    code = "import logging, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in modules} - set(done.stdout.split())


def rooms(modules: set[str]) -> set[str]:
    return {room(name.partition(".")[2]) for name in modules if name.startswith("luxcli.")}


def test_a_poll_and_a_status_load_nothing_that_they_do_not_need(cli, configure, simulator):
    file = configure(port=simulator.port)
    assert cli("poll-once", "-c", file).status == 0
    poll = loaded(cli, "poll-once", "-c", file)  # its rooms: tests/test_architecture.py
    unwanted = NEITHER | {"sqlite3", "zoneinfo"}
    assert packages(poll) & unwanted == set()
    assert not poll & {"urllib.request", "tempfile", "subprocess", "http", "asyncio"}
    file = configure(port=simulator.port, flush_polls=1)
    assert cli("poll-once", "-c", file).status == 0
    status = loaded(cli, "status", "-c", file)
    assert rooms(status) == STATUS_ROOMS
    unwanted = NEITHER | {"socket", "zoneinfo"}
    assert packages(status) & unwanted == set()
    assert not status & {"urllib.request", "subprocess", "http", "asyncio"}


def test_a_poll_with_the_options_of_a_schedule_takes_the_fast_path(
    cli, configure, simulator, tmp_path: Path
):
    file = configure(port=simulator.port, interval_sec=60)
    assert packages(loaded(cli, "poll-once", "--every", "60s", "-c", file)) & NEITHER == set()
