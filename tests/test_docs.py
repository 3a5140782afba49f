"""What the documents say is what the program does."""

import itertools
import re
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from luxcli.cli import app
from luxcli.config import sample, settings
from luxcli.errors import __doc__ as errors_doc
from tests.support import rulebook

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands() -> list[str]:
    found = []
    for name, command in get_command(app.app).commands.items():
        children = getattr(command, "commands", None)
        found += [f"{name} {child}" for child in children] if children else [name]
    return found


@pytest.mark.parametrize("command", commands())
def test_every_command_is_in_the_readme_and_has_a_help_text(command):
    assert f"`luxcli {command}" in README
    node = get_command(app.app)
    for word in command.split():
        node = node.commands[word]
    assert node.help
    assert "Exit status" in node.epilog
    assert "Example: luxcli" in node.epilog


@pytest.mark.parametrize("key", [setting.key for setting in settings.SETTINGS])
def test_every_setting_is_in_the_readme(key):
    head = key.split(".")[0]
    assert f"`{key}`" in README or f"`{head}`" in README


def test_bare_names_are_marked_in_the_readme():
    for setting in settings.SETTINGS:
        names = {f"`{setting.key}`", f"`{setting.key.split('.')[0]}`"}
        cells = [line.split("|")[1] for line in README.splitlines() if line.startswith("| `")]
        [cell] = [cell for cell in cells if any(name in cell for name in names)]
        assert ("` *" in cell) == setting.bare, setting.key


def test_defaults_in_the_readme_are_the_defaults():
    for key in ("port", "interval_sec", "csv_time", "weekly_day", "timeout_sec", "retries"):
        [setting] = [s for s in settings.SETTINGS if s.key == key]
        assert re.search(rf"^\| `{key}` \* \| {setting.default} \|", README, re.MULTILINE), key


def test_every_exit_status_is_in_the_readme():
    for status in re.findall(r"\b(\d+)   ?[a-z]", errors_doc or ""):
        assert re.search(rf"^\| {status}\b", README, re.MULTILINE), status


def test_the_example_crontab_has_five_fields_absolute_paths_and_known_commands():
    lines = (ROOT / "scripts" / "crontab.example").read_text().splitlines()
    jobs = [line for line in lines if line and not line.startswith("#")]
    assert len(jobs) == 3
    for job in jobs:
        assert "%" not in job
        *fields, command = job.split(maxsplit=5)
        assert len(fields) == 5
        assert all(re.fullmatch(r"\*|\d+", field) for field in fields)
        program, *arguments = command.split()
        assert program == "/opt/luxcli/bin/luxcli"
        words = itertools.takewhile(lambda word: not word.startswith("-"), arguments)
        assert " ".join(words) in commands()
        assert job in README


@pytest.mark.parametrize("name", ["install.md", "operations.md"])
def test_every_command_that_the_guides_name_exists(name):
    guide = (ROOT / "docs" / name).read_text(encoding="utf-8")
    code = re.findall(r"(?s)```\n(.*?)```|`([^`]+)`", guide)
    called = set(re.findall(r"luxcli ([a-z][a-z-]+)", "\n".join(map("".join, code))))
    assert {"schedule", "poll-once"} < called
    assert called <= {command.split()[0] for command in commands()} | {"luxcli"}


def test_the_sample_configuration_is_valid_yaml_with_only_the_host_set():
    assert yaml.safe_load(sample.sample("10.0.0.7")) == {"host": "10.0.0.7"}


def test_the_list_of_rules_is_that_of_the_program():
    assert rulebook.DOCUMENT.read_text(encoding="utf-8") == rulebook.text()
