"""The benchmark itself works. What it measures is in docs/performance.md."""

import importlib.util
import json
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest

from benchmarks import processes, profiled, year
from benchmarks.__main__ import FIGURES
from benchmarks.processes import PROJECT, environment
from luxcli.model import Snapshot
from luxcli.registers import structure
from luxcli.validation.judge import judge

# Much data, paths that other tests go through as well: measuring would double the time.
pytestmark = pytest.mark.no_cover


def run(directory: Path, *arguments: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *map(str, arguments)],
        cwd=PROJECT,
        env=environment(directory),
        capture_output=True,
        text=True,
        timeout=80,
        check=False,
    )


def test_it_lists_its_figures(tmp_path):
    done = run(tmp_path, "--list")
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.splitlines()] == list(FIGURES)


@pytest.mark.slow
@pytest.mark.parametrize(
    "only",
    [
        ("sensor",),
        pytest.param(("poll", "size", "weekly", "prune", "flush"), marks=pytest.mark.sweep),
    ],
)
def test_the_quick_run_prints_a_table_and_writes_json(tmp_path, only):
    target = tmp_path / "rows.json"
    databases = tmp_path / "databases"
    done = run(tmp_path, "--quick", "--databases", databases, "--json", target, "--only", *only)
    assert done.returncode == 0, done.stderr
    rows = json.loads(target.read_text(encoding="utf-8"))["rows"]
    assert {row["name"] for row in rows} == set(only)
    for row in rows:
        assert row["figure"] in done.stdout
        assert row["value"] > 0
        assert row["passed"] is None  # budgets are for a year of polls
    assert not list(databases.glob("luxcli-bench-*"))  # only the databases are left


def test_no_measured_process_compiles_a_module():
    processes.compile_modules()
    for source in processes.PROJECT.glob("luxcli/**/*.py"):
        byte_code = Path(importlib.util.cache_from_source(str(source)))
        assert byte_code.stat().st_mtime >= source.stat().st_mtime, source


@pytest.mark.parametrize(
    ("stack", "label"),
    [
        ((("rows.py", "pack"), ("__main__.py", "main")), "luxcli.store.rows.pack"),
        ((("rows.py", "<module>"), ("__main__.py", "main")), "import of luxcli.store"),
        ((("<frozen importlib._bootstrap>", "_load"),), "import: finding and reading modules"),
    ],
)
def test_a_profile_names_functions_with_their_rooms_and_imports_by_room(stack, label):
    rooms = {"rows.py": "luxcli/store/rows.py", "__main__.py": "luxcli/__main__.py"}
    files = [
        (str(processes.PROJECT / rooms[file]) if file in rooms else file, function)
        for file, function in stack
    ]
    assert profiled.label(files) == label


@pytest.fixture(scope="module")
def day() -> list[Snapshot]:
    """A winter's day of the simulated year."""
    return [entry for entry in islice(year.polls(), 2880) if isinstance(entry, Snapshot)]


def test_the_simulated_year_is_the_same_each_time(day):
    again = [entry for entry in islice(year.polls(), 100) if isinstance(entry, Snapshot)]
    assert again == day[: len(again)]
    other = [entry for entry in islice(year.polls(seed=2), 100) if isinstance(entry, Snapshot)]
    assert other != day[: len(other)]


def test_the_simulated_year_passes_the_check_of_each_poll_and_the_rules(day):
    assert not [poll for poll in day if structure.structural(poll)]
    assert judge(day, year.INTERVAL_S) == ()


def test_the_simulated_year_changes_as_many_registers_as_a_heat_pump(day):
    found = year.statistics(day)
    assert 80 <= found["varying"] <= 110
    assert found["changes_p5"] >= 20
    assert 25 <= found["changes_median"] <= 40
    assert found["changes_p95"] <= 60
    assert 0 < found["polls_with_changed_settings"] < len(day) / 5
