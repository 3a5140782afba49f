"""The shape of the package: rooms, what each may import, and what others may use of it."""

import ast
import functools
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

import luxcli

PACKAGE = Path(luxcli.__file__).parent
# Modules beside the rooms, which everything may import and which import nothing of ours but each
# other.
GROUND = {"errors", "model", "periods", "times"}

# From the ground up: a room imports only what stands before it.
ORDER = (
    *("ground", "system", "config", "registers", "controller", "simulator", "store", "recording"),
    *("exports", "rollup", "maintenance", "monitoring", "validation", "diagnosis", "schedule"),
    *("live", "cli", "__main__"),
)
# Every import counts, those within functions and those for types only as well. An entry that is no
# longer needed has to go.
MAY_IMPORT: dict[str, set[str]] = {
    "system": {"ground"},
    "config": {"ground", "system"},
    "registers": {"ground"},
    "controller": {"ground", "system", "registers"},
    "simulator": {"ground"},
    "store": {"ground", "system", "registers"},
    "recording": {"ground", "system", "config", "registers", "controller", "store"},
    "exports": {"ground", "system", "config", "registers"},
    "rollup": {"ground", "system", "config", "store", "recording", "exports"},
    "maintenance": {"ground", "system", "config", "recording", "registers", "store", "rollup"},
    "monitoring": {"ground", "system", "config", "store", "recording"},
    "validation": {
        "ground",
        "system",
        "config",
        "registers",
        "store",
        "recording",
        "exports",
        "rollup",
    },
    "diagnosis": {
        "ground",
        "system",
        "config",
        "registers",
        "controller",
        "store",
        "recording",
        "exports",
        "rollup",
        "maintenance",
        "monitoring",
        "validation",
    },
    "schedule": {"ground", "system", "config", "store", "recording"},
    "live": {
        "ground",
        "system",
        "config",
        "registers",
        "simulator",
        "store",
        "recording",
        "rollup",
        "validation",
    },
    "cli": {
        "ground",
        "system",
        "config",
        "registers",
        "simulator",
        "store",
        "recording",
        "rollup",
        "maintenance",
        "monitoring",
        "validation",
        "diagnosis",
        "schedule",
        "live",
    },
    "__main__": {"ground", "system", "cli"},
}
# The modules of a room that others may import; whatever is not named is the room's own affair.
FACE: dict[str, set[str]] = {
    "system": {
        "clock",
        "disks",
        "files",
        "locks",
        "log_file",
        "log_setup",
        "progress",
        "signals",
        "threads",
        "watchdog",
    },
    "config": {"config", "monitoring_targets", "sample", "settings"},
    "registers": {
        "catalogue",
        "continuity",
        "decoding",
        "numbers",
        "ranges",
        "structure",
    },
    "controller": {"access", "client", "exchange", "probe"},
    "simulator": {"replay", "server"},
    "store": {"store", "database", "intake", "journal", "ledger", "owner", "repairs"},
    "recording": {"clock_doubt", "coverage", "limits", "pacing", "poll", "state"},
    "exports": {"columns", "csv_file"},
    "rollup": {"rollup", "files"},
    "maintenance": {"archive", "check", "copies", "journals", "prune", "rebuild", "repair"},
    "monitoring": {"channels", "messages", "monitor"},
    "validation": {"blocks", "csv_file", "findings", "recording", "report", "rules", "stored"},
    "diagnosis": {"bundle", "diagnose", "preflight"},
    "schedule": {"container", "crontabs", "systemd", "user_crontab"},
    "live": {"capture", "demo", "follow", "key_values", "view"},
    "cli": {"app", "fast"},
}
# Outside libraries and system modules that are one room's, or one module's, business.
ONLY = {
    "sqlite3": {"store"},
    "socket": {"controller", "simulator"},
    "urllib": {"monitoring", "config.monitoring_targets"},  # targets only takes addresses apart
    "luxtronik": {"controller.connection"},
    "typer": {"cli"},
    "rich": {"cli"},
    "yaml": {"config"},
    "fcntl": {"system"},
}
# What a poll loads that neither flushes nor notifies: rooms, and nothing heavy.
POLL_ROOMS = {"ground", "system", "config", "registers", "controller", "store", "recording", "cli"}
HEAVY = {
    *("rich", "typer", "click", "luxtronik", "zoneinfo", "sqlite3", "urllib.request", "numpy"),
    *("asyncio", "pydantic"),
}

LONGEST_FUNCTION = 60
LONGEST_MODULE = 400
MOST_MODULES = 15
MANY_MODULES = {"cli.commands"}  # one per command


@functools.cache
def trees() -> dict[str, ast.Module]:
    """Return every module by its dotted name below the package."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def modules() -> dict[str, ast.Module]:
    return {name: tree for name, tree in trees().items() if not is_init(name)}


def is_init(name: str) -> bool:
    return name.rpartition(".")[2] == "__init__"


def room(name: str) -> str:
    first = name.partition(".")[0]
    return "ground" if first in GROUND else first


def imports(tree: ast.Module) -> set[str]:
    """Return dotted names of everything imported anywhere in the module."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the room"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def used_modules(tree: ast.Module) -> Iterator[str]:
    """Yield the modules of ours that a module imports, by their dotted names below the package."""
    for used in imports(tree):
        first, _, name = used.partition(".")
        while first == "luxcli" and name and name not in trees():
            name = name.rpartition(".")[0]
        if first == "luxcli" and name:
            yield name


def used_rooms() -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for name, tree in modules().items():
        found[room(name)] |= {room(used) for used in used_modules(tree)} - {room(name)}
    return found


def test_each_room_imports_exactly_what_it_may():
    found = used_rooms()
    assert {name: found[name] for name in ORDER} == {
        name: MAY_IMPORT.get(name, set()) for name in ORDER
    }
    assert set(found) == set(ORDER)


def test_a_room_imports_only_rooms_below_it():
    for name, used in MAY_IMPORT.items():
        for below in used:
            assert ORDER.index(below) < ORDER.index(name), f"{name} must not import {below}"


def test_others_import_only_the_face_of_a_room():
    found: dict[str, set[str]] = defaultdict(set)
    for name, tree in modules().items():
        for used in used_modules(tree):
            if room(used) not in {room(name), "ground"}:
                found[room(used)].add(used.partition(".")[2])
    assert found == FACE


def test_a_package_holds_one_line_about_itself_and_no_code():
    for name, tree in trees().items():
        if is_init(name):
            body = tree.body[1:] if name == "__init__" else tree.body
            assert ast.get_docstring(tree), name
            assert len(tree.body) == 1 or name == "__init__", f"{name} holds code"
            assert name != "__init__" or ast.unparse(body[0]).startswith("__version__ = ")


def test_each_outside_interface_belongs_to_its_room():
    for name, tree in modules().items():
        for used in imports(tree):
            owners = ONLY.get(used.partition(".")[0])
            allowed = owners is None or room(name) in owners or name in owners
            assert allowed, f"{name} must not import {used}"


def test_a_poll_loads_only_what_it_needs(cli, configure, simulator):
    file = configure(port=simulator.port)
    assert cli("poll-once", "-c", file).status == 0
    code = (
        "import sys\nfrom luxcli import __main__\ntry:\n    __main__.main()\n"
        "except SystemExit as exc:\n    assert not exc.code, exc.code\n"
        "print('\\n'.join(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "poll-once", "-c", str(file)],
        env={k: v for k, v in cli.environment().items() if not k.startswith("COV")},
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(done.stdout.split())
    assert loaded & HEAVY == set()
    ours = {name.partition(".")[2] for name in loaded if name.startswith("luxcli.")}
    assert {room(name) for name in ours} == POLL_ROOMS | {"__main__"}
    commands = {name for name in ours if name.startswith("cli.commands.")}
    assert commands == {"cli.commands.poll_once"}


def test_functions_and_modules_stay_readable():
    for name, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                length = (node.end_lineno or 0) - node.lineno
                assert length <= LONGEST_FUNCTION, f"{name}.{node.name} has {length} lines"
        lines = (PACKAGE / f"{name.replace('.', '/')}.py").read_text("utf-8").count("\n")
        assert lines <= LONGEST_MODULE, f"{name} has {lines} lines"


def test_no_room_is_crowded():
    found: dict[str, int] = defaultdict(int)
    for name in modules():
        found[name.rpartition(".")[0]] += 1
    for place, count in found.items():
        assert count <= MOST_MODULES or place in MANY_MODULES, f"{place} has {count} modules"


def test_no_configuration_is_handed_below_recording():
    """Rooms below `recording` take values, so that they can be used without a configuration."""
    allowed = {"config"}
    for name, tree in modules().items():
        if ORDER.index(room(name)) < ORDER.index("recording") and room(name) not in allowed:
            assert "luxcli.config.config.Config" not in imports(tree), name


@pytest.mark.parametrize("folder", ["tests"])
def test_tests_stand_in_folders_of_the_rooms(folder):
    places = {path.name for path in (PACKAGE.parent / folder).iterdir() if path.is_dir()}
    places -= {"__pycache__", "support", "benchmarks"}
    assert places <= set(ORDER)


def test_the_document_lists_each_room_with_its_first_line():
    document = (PACKAGE.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([a-z_/]+)` \| (.+) \|$", document, re.MULTILINE))
    docstrings = {
        name.rpartition(".")[0].replace(".", "/"): (ast.get_docstring(tree) or "").splitlines()[0]
        for name, tree in trees().items()
        if is_init(name) and name != "__init__"
    }
    assert {name: rows.get(name) for name in docstrings} == docstrings
    assert list(rows)[: len(ORDER)] == [*ORDER[1:-1], "cli/commands"]


def test_the_document_names_files_that_exist():
    document = (PACKAGE.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    for name in re.findall(r"`([a-z_]+(?:/[a-z_]+)+)(?:\.py)?`", document):
        paths = [PACKAGE / name, PACKAGE / f"{name}.py", PACKAGE.parent / f"{name}.py"]
        assert any(path.exists() for path in paths), name
