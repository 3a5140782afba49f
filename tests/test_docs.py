"""What the documents say is what the program does."""

import itertools
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from luxcli.cli import app
from luxcli.config import sample, settings
from luxcli.errors import __doc__ as errors_doc
from tests.support import rulebook

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = (DOCS / "commands.md").read_text(encoding="utf-8")
CONFIGURATION = (DOCS / "configuration.md").read_text(encoding="utf-8")
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.glob("*.md"))]
# A block of code.
FENCED = re.compile(r"(?ms)^ *```\w*\n(.*?)^ *```")
LONGEST_README = 200


def commands() -> list[str]:
    found = []
    for name, command in get_command(app.app).commands.items():
        children = getattr(command, "commands", None)
        found += [f"{name} {child}" for child in children] if children else [name]
    return found


def node_of(command: str) -> Any:
    """Return Typer's declaration of a command such as "rollup daily"."""
    node = get_command(app.app)
    for word in command.split():
        node = node.commands[word]
    return node


def first_cells(page: str) -> list[str]:
    """Return the first cell of each table row that begins with a name in backticks."""
    return [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]


def anchors(page: Path) -> set[str]:
    """Return the names of a page's headings as GitHub makes them."""
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"(?m)^#+ (.+)$", text)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_readme_is_short():
    assert len(README.splitlines()) <= LONGEST_README


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_to_a_file_and_a_heading(page):
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert not broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_of_the_repository_that_a_page_names_exists(page):
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    named = re.findall(r"`((?:luxcli|tests|benchmarks|scripts|docs|\.ci)/[^`\s]+)`", text)
    assert [name for name in named if not list(ROOT.glob(name))] == []


def test_every_page_can_be_reached_from_the_readme():
    assert {page.name for page in DOCS.glob("*.md")} <= set(re.findall(r"\(docs/(\w+\.md)", README))


@pytest.mark.parametrize("command", commands())
def test_every_command_is_in_its_page_and_has_a_help_text(command):
    assert any(f"`luxcli {command}" in cell for cell in first_cells(COMMANDS))
    node = node_of(command)
    assert node.help
    assert "Exit status" in node.epilog
    assert "Example: luxcli" in node.epilog


def test_the_page_of_commands_names_no_command_that_does_not_exist():
    known = {*commands(), "rollup ..."}
    for cell in first_cells(COMMANDS):
        [call] = re.findall(r"`luxcli ([^`]*)`", cell)
        assert any(f"{call} ".startswith(f"{command} ") for command in known), call


@pytest.mark.parametrize("key", [setting.key for setting in settings.SETTINGS])
def test_every_setting_is_in_its_page(key):
    cells = " ".join(first_cells(CONFIGURATION))
    assert f"`{key}`" in cells or f"`{key.split('.')[0]}`" in cells


def test_the_page_of_settings_names_no_setting_that_does_not_exist():
    keys = {setting.key for setting in settings.SETTINGS}
    documented = re.findall(r"`([^`]+)`", " ".join(first_cells(CONFIGURATION)))
    assert set(documented) <= keys | {key.split(".")[0] for key in keys}
    assert len(documented) == len(set(documented))


def test_bare_names_are_marked_in_the_page_of_settings():
    for setting in settings.SETTINGS:
        names = {f"`{setting.key}`", f"`{setting.key.split('.')[0]}`"}
        cells = first_cells(CONFIGURATION)
        [cell] = [cell for cell in cells if any(name in cell for name in names)]
        assert ("` *" in cell) == setting.bare, setting.key


def test_defaults_in_the_page_of_settings_are_the_defaults():
    for key in ("port", "interval_sec", "csv_time", "weekly_day", "timeout_sec", "retries"):
        [setting] = [s for s in settings.SETTINGS if s.key == key]
        line = rf"^\| `{key}` \* \| {setting.default} \|"
        assert re.search(line, CONFIGURATION, re.MULTILINE), key


def test_the_page_of_commands_has_exactly_the_exit_statuses_that_there_are():
    helps = [node_of(command).epilog.partition("Exit status")[2] for command in commands()]
    texts = [errors_doc or "", *(text.partition("Example")[0] for text in helps)]
    statuses = {number for text in texts for number in re.findall(r"\b\d+\b", text)}
    rows = re.findall(r"(?m)^\| ([\d, ]+) \|", COMMANDS)
    assert len(statuses) > 10
    assert statuses == {number for row in rows for number in row.split(", ")}


def test_each_term_of_the_glossary_stands_there_once():
    lines = (DOCS / "glossary.md").read_text(encoding="utf-8").splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")]
    terms = [row[0] for row in rows if row[0] != "term"]
    assert len(terms) > 50
    assert len(terms) == len({term.lower() for term in terms})
    assert all(len(row) == 3 and all(row) for row in rows)


def test_the_test_command_is_the_same_wherever_it_stands():
    block = README.partition("## For developers")[2].split("```")[1]
    [command] = re.findall(r"\.venv/bin/pytest .*", block)
    assert f"`{command}`" in (DOCS / "contributing.md").read_text(encoding="utf-8")


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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_that_a_page_names_exists(page):
    guide = page.read_text(encoding="utf-8")
    code = [*FENCED.findall(guide), *re.findall(r"`([^`]+)`", FENCED.sub("", guide))]
    called = set(re.findall(r"luxcli ([a-z][a-z-]+)", "\n".join(code)))
    if page.name in {"install.md", "operations.md"}:
        assert {"schedule", "poll-once"} < called
    assert called <= {command.split()[0] for command in commands()} | {"luxcli"}


def test_the_sample_configuration_is_valid_yaml_with_only_the_host_set():
    assert yaml.safe_load(sample.sample("10.0.0.7")) == {"host": "10.0.0.7"}


def test_the_list_of_rules_is_that_of_the_program():
    assert rulebook.DOCUMENT.read_text(encoding="utf-8") == rulebook.text()
