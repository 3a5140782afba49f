"""The shape of the package: rows of modules, and who may import what."""

import ast
import subprocess
import sys
from pathlib import Path

import luxcli

PACKAGE = Path(luxcli.__file__).parent

# A module imports only from rows above its own, never sideways. A new module is added here.
ROWS = [
    {"errors", "model", "files", "targets", "threads", "plainyaml", "supervisor", "deltas"}
    | {"events"},
    {"locks", "periods", "log", "buffer", "identity", "replay", "registers", "limits"}
    | {"usercrontab", "gaps"},
    {"settings", "sensors", "simulator", "quality", "exchange", "rules"},
    {"config", "client", "csvgen", "schema", "keyvalues", "findings", "logfile", "told"}
    | {"health"},
    {
        "sampleconfig",
        "ingest",
        "archive",
        "probing",
        "counters",
        "clocks",
        "behaviour",
        "errorlog",
        "timelimit",
    },
    {"rowlayout"},
    {"fetching"},
    {"cache", "reading", "plausibility", "channels", "schedule"},
    {"units"},
    {"cachefile"},
    {"storage"},
    {"ledger", "recording"},
    {"archiving", "jobs", "reports", "verdicts", "monitoring"} | {"csvvalues"},
    {"retention", "restoring", "validation", "csvcheck", "pacing"},
    {"checks", "demo", "capturing", "watching"},
    {
        "crosschecks",
        "storage_health",
        "recording_health",
        "data_health",
        "environment",
        "redaction",
        "supercronic",
    },
    {"device_health"},
    {"diagnosis"},
    {"bundle"},
    {"output", "options"},
    {"session", "screen"},
    {"console", "scheduled", "rollup"},
    {
        "cli_setup",
        "cli_monitor",
        "cli_rollup",
        "cli_capture",
        "cli_diagnose",
        "cli_validate",
        "cli_watch",
        "cli_schedule",
    },
    {"cli", "shortcut"},
    {"__main__"},
]
# Outside libraries and system modules that belong to one job.
ONLY = {
    # all but cache and fetching only for a type
    "sqlite3": {"cache", "cachefile", "storage", "ingest", "reading", "fetching"},
    "urllib": {"channels", "targets"},  # targets only takes addresses apart
    "socket": {"exchange", "simulator"},
    "luxtronik": {"client", "sensors"},
    "typer": {
        *("cli", "cli_capture", "cli_diagnose", "cli_rollup", "cli_setup", "cli_validate"),
        *("cli_watch", "cli_monitor", "cli_schedule", "console"),
    },
    "rich": {"screen"},
    "yaml": {"config"},
    "logging": {"events", "log", "logfile", "session"},  # session only for a type
    "fcntl": {"locks"},
}


def modules() -> dict[str, ast.Module]:
    return {
        path.stem: ast.parse(path.read_text(encoding="utf-8"))
        for path in PACKAGE.glob("*.py")
        if path.stem != "__init__"
    }


def imports(tree: ast.Module) -> set[str]:
    """Return dotted names of everything imported anywhere in the module."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the row"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_imports_only_point_to_rows_above():
    rank = {name: row for row, names in enumerate(ROWS) for name in names}
    trees = modules()
    assert set(trees) == set(rank)
    for name, tree in trees.items():
        for used in imports(tree):
            parts = used.split(".")
            if parts[0] == "luxcli" and parts[1] in rank:
                assert rank[parts[1]] < rank[name], f"{name} must not import {parts[1]}"


def test_each_outside_interface_belongs_to_its_module():
    for name, tree in modules().items():
        for used in imports(tree):
            owners = ONLY.get(used.split(".")[0])
            assert owners is None or name in owners, f"{name} must not import {used}"


def test_a_poll_does_not_import_what_it_does_not_need():
    code = (
        "import sys\n"
        "from luxcli.recording import poll as jobs\n"
        "heavy = {'rich', 'typer', 'luxtronik', 'yaml', 'luxcli.registers.catalogue',\n"
        "         'luxcli.exports.csv_file',\n"
        "         'zoneinfo', 'urllib.request', 'pydantic', 'numpy', 'asyncio'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_function_is_longer_than_a_screen_and_a_half():
    for name, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                length = (node.end_lineno or 0) - node.lineno
                assert length <= 80, f"{name}.{node.name} has {length} lines"
