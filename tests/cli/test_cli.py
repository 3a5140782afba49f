"""The real process: exit statuses, one line per failure, JSON, silence, signals and terminals."""

import json
import os
import re
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

import luxcli
from luxcli.cli import app as command_line
from luxcli.config import config
from luxcli.errors import LuxcliError
from luxcli.model import GROUPS
from luxcli.recording import poll
from luxcli.registers import catalogue
from luxcli.store import journal
from luxcli.store.store import Store
from tests.conftest import Cli, Ran
from tests.support.builders import missed, real
from tests.support.faulty_controller import Fault, FaultyController, eventually, with_calculations
from tests.support.scenario import open_store
from tests.support.terminal import Terminal, on_a_terminal

ROOT = Path(luxcli.__file__).parent.parent
EVER = (0, 2**62)


def commands() -> list[list[str]]:
    """Return the words of every command and group."""
    found: list[list[str]] = []

    def walk(node: Any, words: list[str]) -> None:
        found.append(words)
        for name, child in getattr(node, "commands", {}).items():
            walk(child, [*words, name])

    walk(get_command(command_line.app), [])
    return found


ALL = commands()
GROUPS_OF_COMMANDS = [[], ["rollup"], ["config"]]
LEAVES = [words for words in ALL if words not in GROUPS_OF_COMMANDS]


@pytest.fixture
def recorded(configure: Callable[..., Path], simulator: FaultyController, tmp_path: Path) -> Path:
    """Return the configuration of a heat pump that has been read once, now."""
    file = configure(port=simulator.port)
    poll.poll_once(config.load(file, {}, tmp_path))
    return file


def the_line(ran: Ran) -> str:
    """Return the one line that a failed command said, on stderr and nowhere else."""
    assert ran.stdout == ""
    assert re.fullmatch(r"luxcli: [^\n]+\n", ran.stderr), ran.stderr
    return ran.stderr.removeprefix("luxcli: ").rstrip("\n")


def start_demo(cli: Cli, **variables: str) -> "subprocess.Popen[str]":
    """Start a demo that will be stopped at any moment.

    A signal between opening a socket and the block that closes it leaves the socket to the end of
    the process: no warning about that, unlike in other tests.
    """
    return cli.start("demo", env={"PYTHONWARNINGS": "", **variables})


def stop_demo(cli: Cli, process: subprocess.Popen[str], begun: Path) -> None:
    """Stop a demo that has just been started when it has made the file `begun`."""

    def made_ns() -> int:
        try:
            return begun.stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    before_ns = made_ns()
    assert eventually(
        lambda: process.poll() is not None or made_ns() not in {0, before_ns}, within_s=4
    )
    process.terminate()
    assert cli.end(process) == Ran(143, "", "")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Ran, str]]:
    """A demo where an earlier one was stopped: its directory, what it printed, and the screen."""
    directory = tmp_path_factory.mktemp("demo")
    # Measuring the coverage of a thousand polls would double their time.
    commands = Cli(directory, measured=False)
    try:
        stop_demo(commands, start_demo(commands), directory / "luxcli-demo" / "cache.sqlite3")
        reports = directory / "luxcli-demo" / "reports" / "daily"
        reports.mkdir(parents=True)
        (reports / "2020-01-01_daily.csv").write_text("old\n", encoding="utf-8")
        (directory / "luxcli-demo" / "notes.txt").write_text("mine\n", encoding="utf-8")
        environ = {"TERM": "xterm-256color"}
        terminal = Terminal(commands, "demo", stdout=subprocess.PIPE, env=environ)
        ran, screen = terminal.end(within_s=50)
        yield directory / "luxcli-demo", ran, screen
    finally:
        commands.close()


# Exit statuses, each provoked for real


def test_status_0_stored(invoke, configure, simulator):
    assert invoke("poll-once", "-c", configure(port=simulator.port)).status == 0


@pytest.mark.parametrize(
    "date", ["yesterday", "2026-02-30", "20261124", "2026-W48-2", "", "0001-01-01", "9999-12-31"]
)
def test_status_2_a_date_that_is_not_valid(date, invoke, configure):
    ran = invoke("rollup", "daily", "--date", date, "-c", configure())
    assert (ran.status, the_line(ran)) == (2, f"--date {date!r} is not a date like 2026-11-24")


def test_status_2_a_date_in_the_future(invoke, configure):
    ran = invoke("rollup", "daily", "--date", "2999-01-01", "-c", configure())
    assert ran.status == 2
    assert re.match(r"--date 2999-01-01: that period ends .* in the future$", the_line(ran))


def test_status_2_contradicting_options(invoke, configure):
    ran = invoke("rollup", "daily", "--date", "2026-11-01", "--if-due", "-c", configure())
    assert (ran.status, the_line(ran)) == (2, "--date and --if-due: use one of them")


@pytest.mark.parametrize("args", [["nonsense"], ["poll-once", "--bogus"], ["poll-once", "extra"]])
def test_status_2_an_unknown_command_or_option(args, invoke):
    ran = invoke(*args)
    assert (ran.status, ran.stdout) == (2, "")
    assert "Traceback" not in ran.stderr
    assert args[-1] in ran.stderr


def test_status_3_findings(invoke, configure):
    file = configure()
    csv = file.parent / "data" / "reports" / "daily" / "2020-01-01_daily.csv"
    csv.parent.mkdir(parents=True)
    csv.write_text("precious\n", encoding="utf-8")
    ran = invoke("prune", "-c", file)
    assert ran.status == 3
    assert the_line(ran).startswith("all 1 CSV files are older than 30 days: none removed")
    assert csv.read_text(encoding="utf-8") == "precious\n"
    ran = invoke("prune", "--json", "-c", file)
    assert ran.status == 3
    assert json.loads(ran.stdout)["ok"] is False


def test_status_65_nothing_stored_for_a_date(invoke, recorded):
    ran = invoke("rollup", "daily", "--date", "2020-05-05", "-c", recorded)
    assert ran.status == 65
    assert the_line(ran) == (
        "nothing is stored from 2020-05-04T05:00:00Z to 2020-05-05T05:00:00Z:"
        " no daily CSV for 2020-05-05"
    )
    assert not list(recorded.parent.rglob("*.csv"))


def test_status_69_refused(invoke, configure):
    with FaultyController() as gone:
        pass
    ran = invoke("poll-once", "-c", configure(port=gone.port))
    assert ran.status == 69
    text = f"127.0.0.1:{gone.port}: connect: connection refused (gave up after 1 att"
    assert the_line(ran).startswith(text)


def test_status_69_silent(invoke, configure):
    with FaultyController(Fault(silent_after=7)) as pump:
        began = time.monotonic()
        ran = invoke("poll-once", "-c", configure(port=pump.port, timeout_sec=1))
        assert 1 <= time.monotonic() - began < 2.5
    assert ran.status == 69
    assert "parameters: no complete answer within 1 s" in the_line(ran)


def test_status_69_unknown_name(invoke, configure):
    ran = invoke("poll-once", "-c", configure(host="no-such-host.invalid", timeout_sec=1))
    assert ran.status == 69
    assert the_line(ran).startswith("no-such-host.invalid:8889: name resolution: ")


@pytest.mark.parametrize("command", ["poll-once", "rollup daily", "prune", "config check"])
def test_status_74_a_database_directory_that_cannot_be_made(command, invoke, configure, tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    file = configure(cache_path=str(tmp_path / "file" / "cache.sqlite3"))
    ran = invoke(*command.split(), "-c", file)
    assert ran.status == 74
    assert the_line(ran).startswith(f"{tmp_path}/file: is not a directory")


def test_status_74_a_csv_directory_that_cannot_be_written(invoke, recorded, tmp_path):
    (tmp_path / "file").write_text("mine\n", encoding="utf-8")
    output = {"LUXCLI_OUTPUT_DIRS_DAILY": str(tmp_path / "file" / "csv")}
    ran = invoke("rollup", "daily", "-c", recorded, env=output)
    assert ran.status == 74
    assert the_line(ran).startswith(f"{tmp_path}/file/csv")
    assert (tmp_path / "file").read_text(encoding="utf-8") == "mine\n"
    assert invoke("rollup", "daily", "-c", recorded) == Ran(0, "", "")


def test_status_75_a_controller_that_stays_busy(invoke, configure):
    with FaultyController(Fault(status=1)) as pump:
        ran = invoke("poll-once", "-c", configure(port=pump.port))
    assert ran.status == 75
    assert "calculations: controller is busy (status 1)" in the_line(ran)


def test_status_76_a_wrong_answer(invoke, configure):
    with FaultyController(Fault(echo={3003: 3004})) as pump:
        ran = invoke("poll-once", "-c", configure(port=pump.port))
    assert ran.status == 76
    assert "parameters: asked with 3003, answered with 3004" in the_line(ran)


@pytest.mark.parametrize(
    "command", [["poll-once"], ["rollup", "all", "--if-due"], ["prune"], ["config", "show"]]
)
def test_status_78_every_problem_of_the_configuration_on_a_line_of_its_own(
    command, invoke, tmp_path
):
    file = tmp_path / "wrong.yaml"
    file.write_text("host: pump\nprot: 1\nport: many\n", encoding="utf-8")
    ran = invoke(*command, "-c", file, env={"LUXCLI_RETRIES": "99"})
    assert (ran.status, ran.stdout) == (78, "")
    assert sorted(ran.stderr.splitlines()) == [
        f"luxcli: {file}:2: prot: no such setting (did you mean port?)",
        f"luxcli: {file}:3: port: 'many' is not a whole number",
        "luxcli: LUXCLI_RETRIES: retries: 99 is not in 0..10",
    ]


def test_status_78_no_host(invoke):
    ran = invoke("poll-once")
    assert ran.status == 78
    assert the_line(ran).startswith("host: missing; 'luxcli config init ")


def test_status_2_an_unknown_log_level(invoke, configure):
    ran = invoke("poll-once", "--log-level", "loud", "-c", configure())
    assert ran.status == 2
    assert the_line(ran) == "--log-level: 'loud' is not one of DEBUG, INFO, WARNING, ERROR"


def test_status_1_a_bug_shows_its_traceback(cli, tmp_path):
    # A damaged installation is nobody's expected failure.
    shutil.copytree(
        ROOT / "luxcli", tmp_path / "luxcli", ignore=shutil.ignore_patterns("registers.csv")
    )
    ran = cli("sensors", env={"PYTHONPATH": str(tmp_path)})
    assert (ran.status, ran.stdout) == (1, "")
    assert ran.stderr.startswith("Traceback (most recent call last):\n")
    assert "FileNotFoundError" in ran.stderr


# Failures as JSON


@pytest.mark.parametrize(
    ("command", "environ"),
    [
        (["poll-once"], {}),
        (["poll-once"], {"LUXCLI_HOST": "no-such-host.invalid", "LUXCLI_RETRIES": "0"}),
        (["poll-once"], {"LUXCLI_HOST": "pump", "LUXCLI_CACHE_PATH": "/proc/lux/c.sqlite3"}),
        (["rollup", "daily", "--date", "soon"], {}),
        (["rollup", "all", "--date", "2999-01-01"], {}),
        (["rollup", "weekly", "--date", "2020-01-01"], {}),
        (["prune"], {"LUXCLI_PORT": "x"}),
        (["config", "check"], {"LUXCLI_HOST": "pump", "LUXCLI_CSV_SENSORS": "zzz"}),
        (["config", "show"], {"LUXCLI_PORT": "x", "LUXCLI_RETRIES": "y"}),
        (["sensors", "zzz"], {}),
        (["demo", "-o", "foreign"], {}),
    ],
)
def test_a_failure_as_json_is_one_object_with_type_status_and_text(
    command, environ, invoke, tmp_path
):
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "file").write_text("", encoding="utf-8")
    ran = invoke(*command, "--json", env={"LUXCLI_CACHE_PATH": "c/cache.sqlite3"} | environ)
    printed = json.loads(ran.stdout)
    assert ran.stdout.count("\n") == 1
    assert printed["ok"] is False
    assert set(printed) >= {"ok", "error"}
    assert printed["error"]["exit"] == ran.status
    assert printed["error"]["type"] in {kind.__name__ for kind in every(LuxcliError)}
    lines = printed["error"]["text"].splitlines()
    assert ran.stderr == "".join(f"luxcli: {line}\n" for line in lines)


def every(kind: type) -> Iterator[type]:
    yield kind
    for child in kind.__subclasses__():
        yield from every(child)


@pytest.mark.parametrize(
    ("command", "keys"),
    {
        "poll-once": {"taken", "taken_ms", "took_ms", "tries", "warning", *GROUPS},
        "rollup daily": {"files"},
        "rollup weekly": {"files"},
        "rollup all": {"files"},
        "rollup daily --if-due": {"files"},
        "prune": {"csv_files", "csv_bytes", "polls", "cache_bytes", "dry_run", "findings"},
        "prune --dry-run": {"csv_files", "csv_bytes", "polls", "dry_run", "findings"},
        "config show": {"settings"},
    }.items(),
)
def test_a_success_as_json_is_one_object(command, keys, invoke, recorded):
    ran = invoke(*command.split(), "--json", "-c", recorded)
    assert (ran.status, ran.stderr) == (0, "")
    assert ran.stdout.count("\n") == 1
    printed = json.loads(ran.stdout)
    assert printed["ok"] is True
    assert keys <= set(printed)


def test_the_json_of_a_rollup_describes_the_files(invoke, recorded):
    printed = json.loads(invoke("rollup", "all", "--json", "-c", recorded).stdout)
    assert [entry["kind"] for entry in printed["files"]] == ["daily", "weekly"]
    for entry in printed["files"]:
        text = Path(entry["path"]).read_text(encoding="utf-8")
        assert entry["bytes"] == len(text.encode())
        assert (entry["rows"], len(text.splitlines())) == (1, 2)
        assert entry["columns"] == len(text.splitlines()[0].split(","))
        assert entry["start"] < entry["stop"]


def test_a_failing_rollup_lists_as_json_the_files_it_wrote(invoke, recorded):
    weekly = recorded.parent / "data" / "reports" / "weekly"
    weekly.parent.mkdir(parents=True)
    weekly.write_text("in the way")
    ran = invoke("rollup", "all", "--json", "-c", recorded)
    printed = json.loads(ran.stdout)
    assert (ran.status, printed["ok"], printed["error"]["exit"]) == (74, False, 74)
    assert [entry["kind"] for entry in printed["files"]] == ["daily"]
    assert printed["error"]["text"].startswith(str(weekly))
    assert ran.stderr == f"luxcli: {printed['error']['text']}\n"


@pytest.fixture
def with_a_gap(configure):
    """Polls every 30 s up to now, but for forty minutes in which the heat pump was away."""
    file = configure()
    now_ms = int(time.time()) * 1000
    store = Store(file.parent / "data" / "cache.sqlite3")
    store.path.parent.mkdir()
    times = [now_ms - number * 30_000 for number in reversed(range(240))]
    away = times[100:180]
    store.merge([real(ts_ms) for ts_ms in times if ts_ms not in away], ())
    store.merge((), [missed(ts_ms, "timeout") for ts_ms in away[:75]])
    return file


def test_a_period_with_missing_polls_is_reported_in_one_line_with_the_reasons(invoke, with_a_gap):
    ran = invoke("rollup", "daily", "-c", with_a_gap)
    assert ran.status == 0
    text = the_line(ran)
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\d daily: 66\.6 % of 240 polls, 80 missing: timeout 75, not run 5;"
        r" gap \d{4}-\d\d-\d\d \d\d:\d\d to (\d{4}-\d\d-\d\d )?\d\d:\d\d",
        text,
    )


def test_strict_makes_missing_polls_a_finding(invoke, with_a_gap):
    ran = invoke("rollup", "daily", "--strict", "--json", "-c", with_a_gap)
    printed = json.loads(ran.stdout)
    assert (ran.status, printed["ok"]) == (3, False)
    assert "66.6 % of 240 polls" in printed["findings"][0]
    [entry] = printed["files"]
    assert entry["rows"] == 160
    coverage = entry["coverage"]
    assert (coverage["polls"], coverage["expected"], coverage["missing"]) == (160, 240, 80)
    assert (coverage["reasons"], coverage["unexplained"]) == ({"timeout": 75}, 5)
    [gap] = coverage["longest_gaps"]
    assert (gap["missing"], gap["reasons"]) == (80, {"timeout": 75})


@pytest.fixture
def with_bad_data(configure):
    """An hour of polls in which the flow temperature is ten times what it can be."""
    file = configure()
    now_ms = int(time.time()) * 1000
    store = Store(file.parent / "data" / "cache.sqlite3")
    store.path.parent.mkdir()
    store.merge([with_calculations({10: 5000})(real(now_ms - n * 30_000)) for n in range(120)], ())
    return file


def test_a_day_of_impossible_data_is_reported_in_one_line(invoke, with_bad_data):
    ran = invoke("rollup", "all", "-c", with_bad_data)
    assert ran.status == 0
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\d daily: its data has problems: range-impossible; see 'luxcli validate"
        r" --since \S+ --until \S+'",
        the_line(ran),
    )
    strict = invoke("rollup", "daily", "--strict", "--json", "-c", with_bad_data)
    printed = json.loads(strict.stdout)
    assert (strict.status, printed["ok"]) == (3, False)
    [entry] = printed["files"]
    assert entry["verdict"] == "problems"
    assert entry["problems"] == ["range-impossible: ID_WEB_Temperatur_TVL 500.0 °C"]
    assert "range-impossible" in printed["findings"][0]


def test_strict_succeeds_with_a_good_period(invoke, recorded):
    assert invoke("rollup", "all", "--strict", "-c", recorded).status == 0


# Silence, and what a terminal shows instead


@pytest.mark.parametrize(
    "command",
    [
        "poll-once",
        "rollup daily",
        "rollup weekly",
        "rollup all",
        "rollup daily --if-due",
        "prune",
    ],
)
def test_success_prints_nothing_without_a_terminal(command, invoke, recorded):
    assert invoke(*command.split(), "-c", recorded) == Ran(0, "", "")


def test_a_rollup_without_data_warns_and_writes_nothing(invoke, configure):
    file = configure()
    ran = invoke("rollup", "daily", "-c", file)
    assert ran.status == 0
    assert the_line(ran).startswith("daily: nothing is stored from ")
    assert the_line(ran).endswith("; no file written")
    assert not list(file.parent.rglob("*.csv"))


def test_at_level_info_the_result_is_logged(invoke, recorded):
    ran = invoke("poll-once", "--log-level", "info", "-c", recorded)
    assert (ran.status, ran.stdout) == (0, "")
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ INFO \[poll-once [0-9a-f]{8}\] stored 1634 values"
        r" of 127\.0\.0\.1:\d+, read in 0\.\d\d s\n",
        ran.stderr,
    )


def test_the_log_can_be_json(cli, configure):
    with FaultyController(Fault(times=1, close_after=0)) as pump:
        file = configure(port=pump.port, retries=1, log_format="json", log_level="INFO")
        process = cli.start("poll-once", "-c", file)
        line = process.stderr.readline()
        process.send_signal(signal.SIGTERM)  # in the two seconds before the next attempt
        assert cli.end(process) == Ran(143, "", "")
    entry = json.loads(line)
    assert set(entry) == {"time", "level", "job", "run", "msg"}
    assert (entry["level"], entry["job"]) == ("info", "poll-once")
    assert f"127.0.0.1:{pump.port}: attempt 1 of 2 failed" in entry["msg"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", entry["time"])


def test_a_poll_on_a_terminal_is_one_line(cli, recorded):
    status, screen = on_a_terminal(cli, "poll-once", "-c", recorded)
    assert status == 0
    assert re.fullmatch(r"stored 1634 values of 127\.0\.0\.1:\d+, read in \d\.\d\d s\n", screen)


@pytest.mark.parametrize("command", [("poll-once",), ("rollup", "all"), ("prune",)])
def test_json_on_a_terminal_is_one_object(cli, recorded, command):
    status, screen = on_a_terminal(cli, *command, "--json", "-c", recorded)
    assert status == 0
    assert screen.count("\n") == 1
    assert json.loads(screen)["ok"] is True


def test_other_results_are_printed_on_a_terminal(cli, recorded):
    status, screen = on_a_terminal(cli, "rollup", "all", "-c", recorded)
    assert status == 0
    assert re.search(
        r"^daily: 1 rows, \d+ columns, .*_daily.csv"
        r" \(no scheduled polls, 1 extra poll; data: \w+\)$",
        screen,
        re.MULTILINE,
    )
    assert re.search(
        r"^weekly: 1 rows, \d+ columns, .*_weekly.csv \(no scheduled polls, 1 extra poll\)$",
        screen,
        re.MULTILINE,
    )
    status, screen = on_a_terminal(cli, "prune", "--dry-run", "-c", recorded)
    assert (status, screen) == (0, "would remove 0 CSV files (0.0 kB) and 0 polls\n")


def test_a_failure_on_a_terminal_shows_each_attempt_and_the_end(cli, configure):
    with FaultyController(Fault(echo={3003: 1})) as pump:
        status, screen = on_a_terminal(cli, "poll-once", "-c", configure(port=pump.port))
    assert status == 76
    assert screen.count("\n") == 1
    assert screen.startswith(f"luxcli: 127.0.0.1:{pump.port}: parameters: asked with 3003")


def test_tables_are_drawn_on_a_terminal_only_and_colour_is_optional(cli, recorded):
    environ = {"TERM": "xterm-256color", "COLUMNS": "120"}
    _, screen = on_a_terminal(cli, "config", "show", "-c", recorded, env=environ)
    assert "\t" not in screen
    assert "───" in screen
    _, plain = on_a_terminal(cli, "config", "show", "-c", recorded, env=environ | {"NO_COLOR": "1"})
    assert not re.search(r"\x1b\[[0-9;]*3\d", plain)
    piped = cli("config", "show", "-c", recorded, env=environ)
    assert "\x1b" not in piped.stdout
    assert "───" not in piped.stdout


def test_ids_of_sensors_are_whole_on_a_terminal_of_80_columns(cli):
    _, screen = on_a_terminal(cli, "sensors", env={"COLUMNS": "80", "NO_COLOR": "1"})
    lines = re.sub(r"\x1b\[[0-9;]*m", "", screen).splitlines()
    assert max(map(len, lines)) <= 80
    ids = {word for line in lines for word in line.split()}
    assert {register.id for register in catalogue.select(["all"])} <= ids


# Help and entry points


@pytest.mark.parametrize("words", LEAVES, ids=" ".join)
def test_the_help_of_a_command_ends_with_exit_statuses_and_an_example(words, invoke):
    ran = invoke(*words, "-h")
    assert (ran.status, ran.stderr) == (0, "")
    lines = ran.stdout.rstrip().splitlines()
    assert lines[-1].lstrip().startswith("Example: luxcli " + " ".join(words))
    statuses = [i for i, line in enumerate(lines) if line.lstrip().startswith("Exit status: ")]
    assert len(statuses) == 1
    assert [line for line in lines[statuses[0] :] if not line.strip()] == [""]
    assert max(map(len, lines)) <= 80
    assert shlex.split(lines[-1])[1] == "luxcli"


@pytest.mark.parametrize("words", GROUPS_OF_COMMANDS, ids=lambda words: " ".join(words) or "luxcli")
def test_the_help_of_a_group_lists_its_commands(words, invoke):
    ran = invoke(*words, "--help")
    assert (ran.status, ran.stderr) == (0, "")
    children = [found[-1] for found in ALL if found[:-1] == words and found]
    assert children
    for child in children:
        assert re.search(rf"^  {child}  +[A-Z]", ran.stdout, re.MULTILINE), child


def test_the_commands_are_those_of_the_design():
    design = {
        *("poll-once", "rollup daily", "rollup weekly", "rollup all", "prune", "sensors"),
        *("config init", "config check", "config show", "simulate", "demo"),
    }
    assert design <= {" ".join(words) for words in LEAVES}


def test_options_stand_after_the_command(invoke, configure):
    ran = invoke("-c", configure(), "poll-once")
    assert ran.status == 2


def test_the_version_is_that_of_the_package(invoke):
    assert invoke("--version") == Ran(0, f"luxcli {luxcli.__version__}\n", "")


def test_the_console_script_is_the_same_program(cli, tmp_path):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    module, function = project["project"]["scripts"]["luxcli"].split(":")
    # What pip writes into bin/luxcli.
    script = tmp_path / "luxcli-script.py"
    script.write_text(f"import sys\nfrom {module} import {function}\nsys.exit({function}())\n")
    environment = cli.environment()

    def run(*args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, script, *args],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=8,
            check=False,
        )

    assert run("--version").stdout == f"luxcli {luxcli.__version__}\n"
    failed = run("poll-once")
    assert failed.returncode == 78
    assert failed.stderr == cli("poll-once").stderr


@pytest.mark.parametrize(
    "command",
    [
        ("sensors",),
        ("status", "--json"),
        ("validate",),
        ("diagnose", "--offline"),
        ("diagnose", "--offline", "--json"),
        ("watch", "--count", "1"),
    ],
    ids=" ".join,
)
def test_output_into_a_closed_pipe_ends_quietly_as_the_signal_would(
    cli, configure, simulator, command
):
    path = configure(port=simulator.port)
    if command[0] == "validate":
        assert cli("poll-once", "-c", path).status == 0
    reading, writing = os.pipe()
    os.close(reading)
    options = () if command[0] == "sensors" else ("-c", path)
    with os.fdopen(writing, "w") as pipe:
        ran = cli.end(cli.start(*command, *options, stdout=pipe))
    assert ran.status == 128 + signal.SIGPIPE
    assert ran.stderr == ""


def test_warnings_into_a_closed_pipe_do_not_change_the_status(cli, configure):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        ran = cli.end(cli.start("poll-once", "-c", configure(port="x"), stderr=pipe))
    assert ran.status == 78


# The catalogue


def test_sensors_are_tab_separated_when_piped(invoke):
    ran = invoke("sensors")
    assert (ran.status, ran.stderr) == (0, "")
    head, *rows = [line.split("\t") for line in ran.stdout.splitlines()]
    assert head == ["group", "index", "id", "name", "German", "unit"]
    assert all(len(row) == 6 for row in rows)
    assert len(rows) > 1600
    [flow] = [row for row in rows if row[2] == "ID_WEB_Temperatur_TVL"]
    assert (flow[0], flow[1], flow[5]) == ("calculations", "10", "°C")


def test_sensors_can_be_chosen(invoke):
    ran = invoke("sensors", "ID_WEB_Temperatur_T?L", "ID_WEB_WP_BZ_akt")
    rows = [line.split("\t")[2] for line in ran.stdout.splitlines()[1:]]
    assert rows[:2] == ["ID_WEB_Temperatur_TVL", "ID_WEB_Temperatur_TRL"]
    assert "ID_WEB_WP_BZ_akt" in rows
    ran = invoke("sensors", "ID_WEB_WP_BZ_akt")
    assert "code\tmeaning\n0\t" in ran.stdout


def test_sensors_as_json_hold_everything_that_is_known(invoke):
    ran = invoke("sensors", "--json", "ID_WEB_WP_BZ_akt", "ID_WEB_Temperatur_TVL")
    printed = json.loads(ran.stdout)
    flow, mode = printed["sensors"]
    assert set(flow) == {
        *("group", "index", "id", "name", "german", "unit", "scale", "kind", "labels"),
        *("offset", "cases"),
    }
    assert (flow["id"], flow["unit"], flow["scale"]) == ("ID_WEB_Temperatur_TVL", "°C", 10)
    assert mode["labels"]["0"]


def test_a_pattern_that_matches_nothing_is_a_usage_error_with_a_suggestion(invoke):
    ran = invoke("sensors", "ID_WEB_Temperatur_TLV")
    assert ran.status == 2
    assert the_line(ran) == (
        "'ID_WEB_Temperatur_TLV' matches no sensor (did you mean ID_WEB_Temperatur_TVL?)"
    )


# Signals while the program is loaded


def test_the_signal_handlers_are_set_before_the_modules_that_load_slowly(cli):
    code = (
        "import signal, sys\n"
        "before = set(sys.modules)\n"
        "def see(signum, handler, set_it=signal.signal):\n"
        "    print(*set(sys.modules) - before, file=sys.stderr)\n"
        "    return set_it(signum, handler)\n"
        "signal.signal = see\n"
        "from luxcli.__main__ import main\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "--version"],
        env=Cli(cli.directory, measured=False).environment(),  # measuring loads modules as well
        capture_output=True,
        text=True,
        check=True,
    )
    first = done.stderr.splitlines()[0]
    assert {name for name in first.split() if name.startswith("luxcli.")} == {
        *("luxcli.__main__", "luxcli.errors", "luxcli.system", "luxcli.system.signals")
    }
    assert not {"logging", "json", "threading", "typer", "yaml"} & set(first.split())


# The simulator


def read_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    assert select.select([process.stdout], [], [], 5)[0]
    return process.stdout.readline()


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_the_simulator_serves_until_it_is_stopped(signum, status, cli, configure):
    process = cli.start("simulate", "--port", 0, "--profile", "long")
    line = read_line(process)
    [port] = re.findall(r"on 127\.0\.0\.1:(\d+); Ctrl-C stops\.", line)
    assert f"LUXCLI_HOST=127.0.0.1 LUXCLI_PORT={port} luxcli poll-once" in line
    for _ in range(2):
        ran = cli("poll-once", "--json", "-c", configure(port=int(port)))
        printed = json.loads(ran.stdout)
        assert [printed[group] for group in GROUPS] == [275, 1187, 398]
    process.send_signal(signum)
    assert cli.end(process, within_s=1) == Ran(status, "", "")


def test_the_time_of_the_simulator_can_pass_faster(cli, configure, tmp_path):
    process = cli.start("simulate", "--port", 0, "--speed", 100_000)
    [port] = re.findall(r"on 127\.0\.0\.1:(\d+);", read_line(process))
    file = configure(port=int(port))
    for _ in range(2):
        assert cli("poll-once", "-c", file).status == 0
    first, second = open_store(config.load(file, {}, tmp_path)).query(*EVER)
    passed_s = (second.taken_ms - first.taken_ms) / 1000
    shown_s = second.calculations[134] - first.calculations[134]
    assert shown_s == pytest.approx(100_000 * passed_s, rel=0.2)
    process.terminate()
    assert cli.end(process).status == 143


def test_a_port_in_use_is_one_line(invoke, simulator):
    ran = invoke("simulate", "--port", simulator.port)
    assert ran.status == 2
    assert the_line(ran).startswith(f"127.0.0.1:{simulator.port}: cannot listen: Address already ")


@pytest.mark.parametrize(
    "args",
    [
        ["--profile", "none"],
        ["--host", "192.0.2.1"],
        ["--host", "no-such-host.invalid"],
        ["--log-level", "loud"],
    ],
)
def test_a_simulator_that_cannot_be_started_says_why_in_a_line(args, invoke):
    ran = invoke("simulate", "--port", 0, *args)
    assert ran.status in {2, 78}
    assert args[-1] in the_line(ran)


def test_the_simulator_takes_log_levels_as_the_other_commands_do(cli):
    process = cli.start("simulate", "--port", 0, "--log-level", "debug")
    [port] = re.findall(r"on 127\.0\.0\.1:(\d+);", read_line(process))
    with socket.create_connection(("127.0.0.1", int(port))):
        time.sleep(0.3)  # the simulator has seen it by then
    process.terminate()
    ran = cli.end(process)
    assert ran.status == 143
    assert "DEBUG client 127.0.0.1:" in ran.stderr


# The demo


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_the_demo_fills_its_directory_and_lists_the_files(demo):
    directory, ran, _ = demo
    assert ran.status == 0
    printed = dict(line.split("\t") for line in ran.stdout.partition("\n\n")[0].splitlines())
    assert printed["polls"] == "1008 in fast-forward, one every ten minutes for a week"
    assert printed["per poll"] == "1634 values"
    for kind, rows in (("daily", 144), ("weekly", 1008)):
        [path] = (directory / "reports" / kind).glob("*.csv")  # an earlier one is replaced
        assert len(path.read_text(encoding="utf-8").splitlines()) == rows + 1
        assert re.fullmatch(rf"{rows} rows, \d+ columns: {path}", printed[f"{kind} CSV"])
    loaded = config.load(None, {}, directory, {"cache_path": "cache.sqlite3"})
    assert sum(1 for _ in open_store(loaded).query(*EVER)) == 1008
    assert "luxcli config init --host ADDRESS && luxcli poll-once" in ran.stdout
    assert (directory / "notes.txt").read_text(encoding="utf-8") == "mine\n"


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_the_demo_shows_its_progress_on_a_terminal(demo):
    _, _, screen = demo
    assert "polling" in screen
    assert "100%" in screen


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_the_query_that_the_demo_proposes_works(demo):
    import sqlite3

    _, ran, _ = demo
    [words] = [shlex.split(line)[4:] for line in ran.stdout.splitlines() if "sqlite3 " in line[:30]]
    with sqlite3.connect(words[-2]) as db:
        rows = db.execute(words[-1]).fetchall()
    db.close()
    assert len(rows) == 5
    assert all(isinstance(value, float) for _, value in rows)


def test_the_demo_refuses_a_directory_of_other_files_and_changes_nothing_there(invoke, tmp_path):
    (tmp_path / "luxcli-demo").mkdir()
    (tmp_path / "luxcli-demo" / "letter.txt").write_text("dear\n", encoding="utf-8")
    ran = invoke("demo")
    assert ran.status == 2
    assert the_line(ran).startswith("luxcli-demo: holds something else than an earlier demo")
    assert [path.name for path in (tmp_path / "luxcli-demo").iterdir()] == ["letter.txt"]


def test_the_data_of_a_real_heat_pump_is_not_taken_for_an_earlier_demo(cli, recorded):
    data = recorded.parent / "data"  # cache.sqlite3, as the default cache is called
    assert cli("rollup", "daily", "-c", recorded).status == 0
    before = {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}
    assert any(path.suffix == ".csv" for path in before)
    process = cli.start("demo", "-o", data)
    try:
        ran = cli.end(process, within_s=1.5)
    except subprocess.TimeoutExpired:  # it is at work, so it has made room
        ran = Ran(0, "", "")
    after = {path: path.read_bytes() for path in before if path.exists()}
    assert after == before
    assert ran.status == 2
    the_line(ran)


@pytest.mark.parametrize("output", ["file", "file/demo", "/proc/demo"])
def test_a_demo_directory_that_cannot_be_made_is_one_line(output, invoke, tmp_path):
    (tmp_path / "file").write_text("mine\n", encoding="utf-8")
    ran = invoke("demo", "-o", output)
    assert ran.status in {2, 74}
    assert the_line(ran).startswith(f"{output}: ")
    assert (tmp_path / "file").read_text(encoding="utf-8") == "mine\n"


def test_a_demo_that_was_stopped_early_can_be_repeated(cli, tmp_path):
    directory = tmp_path / "luxcli-demo"
    stop_demo(cli, start_demo(cli), directory / "cache.sqlite3.lock")
    stop_demo(cli, start_demo(cli), directory / "cache.sqlite3")


def test_the_demo_reads_no_configuration(cli, tmp_path):
    # Whoever follows the hint of the first demo may have written one into its directory.
    cache = tmp_path / "luxcli-demo" / "cache.sqlite3"
    stop_demo(cli, start_demo(cli), cache)
    cache.with_name("luxcli.yaml").write_text("retries: many\n", encoding="utf-8")
    stop_demo(cli, start_demo(cli, LUXCLI_RETRIES="many"), cache)


def test_output_that_cannot_be_written_is_one_line(cli, configure):
    with open("/dev/full", "w", encoding="utf-8") as full:
        process = cli.start("sensors", stdout=full)
        _, stderr = process.communicate(timeout=8)
    assert process.returncode == 74
    assert stderr == "luxcli: the output cannot be written: No space left on device\n"


def test_a_current_directory_that_is_gone_is_one_line(cli, configure, tmp_path):
    file = configure()
    code = "import os, sys; os.rmdir(os.getcwd()); from luxcli.__main__ import main; main()"
    (gone := tmp_path / "gone").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", code, "status", "-c", str(file)],
        env=cli.environment(),
        cwd=gone,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 74
    assert done.stderr == (
        "luxcli: the current directory cannot be used: No such file or directory;"
        " change to another one\n"
    )


@pytest.mark.parametrize("command", ["poll-once", "status"])
def test_a_home_directory_that_nobody_knows_is_a_problem_of_the_configuration(
    command, invoke, configure
):
    file = configure(cache_path="~nobody-of-that-name/c.sqlite3")
    ran = invoke(command, "-c", file)
    assert ran == Ran(
        78,
        "",
        f"luxcli: {file}:1: cache_path: '~nobody-of-that-name/c.sqlite3': no home directory is"
        " known for '~'; write the whole path\n",
    )


def test_a_failure_whose_json_cannot_be_written_keeps_its_status(cli, configure):
    file = configure(retries="many")
    with open("/dev/full", "w", encoding="utf-8") as full:
        ran = cli.end(cli.start("poll-once", "-c", file, "--json", stdout=full))
    assert ran.status == 78
    first, second = ran.stderr.splitlines()
    assert first.startswith(f"luxcli: {file}:")
    assert second == "luxcli: the output cannot be written: No space left on device"


def test_letters_that_the_encoding_lacks_become_question_marks(cli, configure, tmp_path):
    file = configure(cache_path=str(tmp_path / "Wärme" / "c.sqlite3"), port=1)
    ran = cli("status", "-c", file, env={"PYTHONIOENCODING": "ascii"})
    assert ran == Ran(3, f"not recording: nothing recorded in {tmp_path}/W?rme/c.sqlite3\n", "")


def test_a_named_pipe_in_place_of_the_journal_is_reported_without_waiting(
    invoke, configure, simulator, tmp_path
):
    file = configure(port=simulator.port)
    (tmp_path / "data").mkdir()
    pipe = journal.path_at(tmp_path / "data" / "cache.sqlite3", round(time.time() * 1000))
    os.mkfifo(pipe)
    ran = invoke("poll-once", "-c", file)
    # It can write into the database itself, and the others read that.
    assert (ran.status, ran.stdout) == (0, "")
    assert invoke("status", "-c", file).status == 0
    assert ran.stderr.startswith(
        f"luxcli: {pipe}: not a regular file; stored in the database directly"
    )
    assert len(ran.stderr.splitlines()) == 1
