"""Each command once as a process: it says and returns what the same call in process does.

The tests of commands that use `invoke` rely on this, see `tests.support.in_process`.
"""

import re
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from luxcli.cli.app import app
from luxcli.config.config import load
from tests.conftest import Cli, Invoke, Ran
from tests.support.scenario import HOUR_MS, record

# What differs from call to call: times, durations, process numbers, ids.
VARYING = re.compile(r"\b[0-9a-f]{8}\b|[0-9]+(\.[0-9]+)?")
# Command -> arguments and exit status.
CALLS = {
    "capture": ("-c luxcli.yaml --duration 10s -o trial", 69),
    "config check": ("-c luxcli.yaml", 0),
    "config init": ("new.yaml", 0),
    "config show": ("-c luxcli.yaml", 0),
    "demo": ("-o luxcli.yaml", 74),
    "diagnose": ("-c luxcli.yaml --offline", 0),
    "monitor test": ("-c luxcli.yaml", 0),
    "poll-once": ("-c luxcli.yaml", 69),
    "prune": ("-c luxcli.yaml", 0),
    "repair-times": ("-c luxcli.yaml", 0),
    "restore": ("-c luxcli.yaml", 0),
    "rollup all": ("-c luxcli.yaml", 0),
    "rollup daily": ("-c luxcli.yaml --json", 0),
    "rollup weekly": ("-c luxcli.yaml --if-due", 0),
    "schedule cron": ("-c luxcli.yaml", 0),
    "schedule supercronic": ("-c luxcli.yaml", 0),
    "schedule systemd": ("-c luxcli.yaml --user nobody", 0),
    "sensors": ("*Temperatur*", 0),
    "simulate": ("--port 99999", 2),
    "status": ("-c luxcli.yaml", 0),
    "validate": ("-c luxcli.yaml", 0),
    "watch": ("-c luxcli.yaml --count 1", 69),
}


def commands(node: Any, words: tuple[str, ...] = ()) -> set[str]:
    """Return the words of each command below a group."""
    below = getattr(node, "commands", None)
    if below is None:
        return {" ".join(words)}
    return {found for name, child in below.items() for found in commands(child, (*words, name))}


def test_each_command_has_a_call_here():
    assert set(CALLS) == commands(get_command(app))


def three_hours(directory: Path) -> None:
    settings = {"host": "127.0.0.1", "port": 1, "retries": 0, "interval_sec": 600}
    settings |= {"cache_path": "data/cache.sqlite3", "timezone": "Europe/Berlin"}
    file = directory / "luxcli.yaml"
    file.write_text(yaml.safe_dump(settings | {"monitoring": {"command": "true"}}), "utf-8")
    now_ms = round(time.time() * 1000)
    record(load(file, {}, directory), now_ms - 3 * HOUR_MS, now_ms)


def comparable(ran: Ran, directory: Path) -> Ran:
    texts = (text.replace(str(directory), "DIRECTORY") for text in (ran.stdout, ran.stderr))
    texts = (text.replace("python -m luxcli", "luxcli") for text in texts)
    return Ran(ran.status, *(VARYING.sub("#", text) for text in texts))


@pytest.mark.parametrize("command", CALLS)
def test_a_process_prints_and_returns_what_the_call_in_process_does(command, tmp_path, built):
    arguments, status = CALLS[command]
    words = [*command.split(), *arguments.split()]
    first, second = tmp_path / "first", tmp_path / "second"
    for directory in (first, second):
        built(three_hours, directory)
    commands_of_second = Cli(second)
    try:
        process = comparable(commands_of_second(*words), second)
    finally:
        commands_of_second.close()
    assert comparable(Invoke(first)(*words), first) == process
    assert process.status == status
