"""The image: what its files show, how its command starts and stops, and, where podman
or docker has a base image (`tests.support.containers`), the unmodified Dockerfile built and run.
"""

import ast
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from luxcli import __version__
from luxcli.config import config, sources
from luxcli.config.settings import SETTINGS
from luxcli.schedule import supervisor
from luxcli.store.store import Store
from tests.support import containers as engines
from tests.support.builders import PROJECT, python, small
from tests.support.containers import Engine
from tests.support.faulty_controller import Fault, FaultyController, eventually
from tests.test_architecture import imports
from tests.test_docs import commands

DOCKERFILE = (PROJECT / "Dockerfile").read_text(encoding="utf-8")
COMPOSE = yaml.safe_load((PROJECT / "compose.yaml").read_text(encoding="utf-8"))
ENV_EXAMPLE = (PROJECT / ".env.example").read_text(encoding="utf-8")
NOT_SETTINGS = {"TZ", "PUID", "PGID"}


class Instruction(NamedTuple):
    word: str
    text: str
    stage: int


def instructions() -> list[Instruction]:
    """Return the Dockerfile's instructions, each on one line, with the number of its stage."""
    lines = [line for line in DOCKERFILE.splitlines() if not line.startswith("#")]
    found, stage = [], 0
    for line in filter(None, re.sub(r"\\\n\s*", "", "\n".join(lines)).split("\n")):
        word, _, text = line.partition(" ")
        stage += word == "FROM"
        found.append(Instruction(word, text, stage))
    return found


def of_final(word: str) -> list[str]:
    every = instructions()
    return [one.text for one in every if one.stage == every[-1].stage and one.word == word]


# The files


def test_the_dockerfile_needs_nothing_that_old_builders_lack():
    assert "<<" not in DOCKERFILE
    assert not re.search(r"(?m)^# *syntax", DOCKERFILE)
    assert "--link" not in DOCKERFILE
    assert not [one for one in instructions() if one.word == "ADD"]


def test_every_stage_begins_with_the_base_that_is_an_argument():
    assert DOCKERFILE.count("ARG BASE=") == 1
    assert [one.text for one in instructions() if one.word == "FROM"] == [
        "${BASE} AS supercronic",
        "${BASE} AS build",
        "${BASE}",
    ]
    assert f"ARG BASE={engines.BASE}\n" in DOCKERFILE


def test_the_image_runs_as_an_unprivileged_user_and_has_one_volume():
    assert of_final("USER") == ["1000:1000"]
    assert of_final("VOLUME") == ["/data"]
    assert of_final("WORKDIR") == ["/data"]
    assert "HOME=/data" in of_final("ENV")[0]
    assert not re.search(r"apt-get install|pip install", " ".join(of_final("RUN")))


def test_what_the_image_starts_are_commands_of_luxcli(cli):
    assert json.loads(of_final("ENTRYPOINT")[0]) == ["luxcli"]
    health = of_final("HEALTHCHECK")[0]
    for words in (json.loads(of_final("CMD")[0]), json.loads(health[health.index("[") :])[1:]):
        assert cli(*words, "--help").status == 0


def test_the_labels_are_those_of_the_opencontainers_and_the_version_is_right():
    names = re.findall(r"org\.opencontainers\.image\.(\w+)=", of_final("LABEL")[0])
    assert set(names) == {
        *("title", "description", "source", "url", "documentation"),
        *("licenses", "version", "revision", "created"),
    }
    assert f"VERSION={__version__}" in of_final("ARG")


def test_what_is_copied_into_the_image_is_there_and_not_ignored():
    ignored, *kept = (PROJECT / ".dockerignore").read_text(encoding="utf-8").split()
    assert ignored == "*"
    copies = [one.text for one in instructions() if one.word == "COPY" and "--from" not in one.text]
    sources = {source.lstrip("./") for copy in copies for source in copy.split()[:-1]}
    assert sources == {line[1:] for line in kept if line.startswith("!")}
    assert all((PROJECT / source).exists() for source in sources)


def test_compose_locks_the_container_in_and_gives_it_time_to_stop():
    [(name, service)] = COMPOSE["services"].items()
    assert name == "luxcli"
    assert service["restart"] == "unless-stopped"
    assert service["env_file"] == ".env"
    assert service["user"] == "${PUID:-1000}:${PGID:-1000}"
    assert service["volumes"] == ["./data:/data"]
    assert service["read_only"] is True
    assert service["tmpfs"] == ["/tmp"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert int(service["stop_grace_period"].removesuffix("s")) >= supervisor.PATIENCE_S + 20
    assert {"max-size", "max-file"} <= set(service["logging"]["options"])
    assert "ports" not in service


def lines_of(example: str, *, commented: bool = True) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in example.splitlines():
        match = re.fullmatch(r"#?([A-Z_]+)=(.*)" if commented else r"([A-Z_]+)=(.*)", line)
        if match:
            assert match[1] not in found
            found[match[1]] = match[2]
    return found


def test_the_example_for_variables_has_every_setting_and_nothing_else():
    names = {
        ("" if one.bare else sources.PREFIX) + one.key.replace(".", "_").upper() for one in SETTINGS
    }
    assert set(lines_of(ENV_EXAMPLE)) == names | NOT_SETTINGS
    assert list(lines_of(ENV_EXAMPLE, commented=False)) == ["HOST"]
    # Docker takes what is behind '=' as it is.
    assert not any(re.search(r"[\"'#]|\s$", value) for value in lines_of(ENV_EXAMPLE).values())


def test_what_the_example_shows_are_the_defaults_and_valid(tmp_path):
    shown = lines_of(ENV_EXAMPLE)
    for setting in SETTINGS:
        name = setting.key.replace(".", "_").upper()
        value = shown[name if setting.bare else sources.PREFIX + name]
        assert setting.default in ("", value), setting.key
    home = {"HOME": "/data", "CACHE_PATH": "/data/cache.sqlite3"}
    environ = {name: value for name, value in shown.items() if name not in NOT_SETTINGS}
    loaded = config.load(None, {**home, **environ}, tmp_path)
    unset = config.load(None, {**home, "HOST": environ["HOST"]}, tmp_path)
    paths = ("cache_path", "daily_dir", "weekly_dir", "host", "interval_sec", "csv_time")
    for name in paths:
        assert getattr(loaded, name) == getattr(unset, name), name


# The command of the image


def started(cli: Any, *words: str, env: dict[str, str]) -> Any:
    """Run what the image runs without arguments."""
    return cli(*json.loads(of_final("CMD")[0]), *words, env=env)


@pytest.mark.parametrize(
    ("variables", "status", "line"),
    [
        ({}, 78, "host: missing; set HOST in the environment, or host in a configuration file"),
        (
            {"HOST": "10.0.0.7", "INTERVAL_SEC": "half a minute"},
            78,
            "INTERVAL_SEC: interval_sec: 'half a minute' is not a whole number",
        ),
        (
            {"HOST": "10.0.0.7", "CSV_TIME": "7 am"},
            78,
            "CSV_TIME: csv_time: '7 am' is not a time of day like 07:00",
        ),
        (
            {"HOST": "10.0.0.7", "LUXCLI_CSV_SENSORS": '"calculations"'},
            78,
            "LUXCLI_CSV_SENSORS: csv.sensors: ",
        ),
        (
            {"HOST": "10.0.0.7", "OUTPUT_DIRS_DAILY": '"/data/out"'},
            78,
            'OUTPUT_DIRS_DAILY: output_dirs.daily: "/data/out" is in quotes; leave them out',
        ),
        (
            {"HOST": "10.0.0.7", "TZ": "Europe/Berln"},
            78,
            "TZ: 'Europe/Berln' is not a time zone like Europe/Berlin",
        ),
        (
            {"HOST": "10.0.0.7", "CACHE_PATH": "/proc/cache.sqlite3"},
            74,
            "/proc: nothing can be written to /proc: ",
        ),
        (
            {"HOST": "10.0.0.7", "PATH": "/nowhere"},
            74,
            "supercronic: not found; install it, for example Debian's package (release 14)",
        ),
    ],
    ids=["no host", "interval", "time", "columns", "quotes", "zone", "data", "supercronic"],
)
@pytest.mark.parametrize("style", ["text", "json"])
def test_what_cannot_work_is_refused_with_one_line(cli, tmp_path, variables, status, line, style):
    variables = {"CACHE_PATH": str(tmp_path / "cache.sqlite3"), **variables, "LOG_FORMAT": style}
    ran = started(cli, env=variables)
    assert (ran.status, ran.stdout) == (status, "")
    [said] = ran.stderr.splitlines()
    if style == "json":
        said = "luxcli: " + json.loads(said)["msg"]
    assert said.startswith(f"luxcli: {line}")


@pytest.fixture
def echoing(tmp_path) -> Callable[..., dict[str, str]]:
    """Variables for a start with a scheduler that only says so; more can be given."""
    program = tmp_path / "bin" / "supercronic"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho scheduled\n", encoding="utf-8")
    program.chmod(0o755)
    cache = str(tmp_path / "cache.sqlite3")
    path = f"{program.parent}:{os.environ['PATH']}"
    return lambda **more: {"HOST": "10.0.0.7", "CACHE_PATH": cache, "PATH": path, **more}


def test_blanks_around_the_zone_of_an_env_file_do_not_make_it_utc(cli, echoing):
    ran = started(cli, env=echoing(TZ=" Europe/Berlin "))
    assert (ran.status, ran.stdout) == (0, "scheduled\n")
    [line] = ran.stderr.splitlines()
    assert line.endswith("CSVs at 07:00 Europe/Berlin")


def test_the_scheduler_logs_in_utc_and_its_jobs_have_the_zone_that_was_given(
    cli, echoing, tmp_path
):
    program = tmp_path / "bin" / "supercronic"
    script = '#!/bin/sh\nfor last; do :; done\necho "$TZ"\ncat "$last"\n'
    program.write_text(script, encoding="utf-8")
    zone, *crontab = started(cli, env=echoing(TZ=" Europe/Berlin ")).stdout.splitlines()
    assert (zone, crontab[0]) == ("UTC", "TZ=Europe/Berlin")
    zone, *crontab = started(cli, env=echoing(TZ="")).stdout.splitlines()
    assert (zone, crontab[0][:1]) == ("", "#")


def test_a_scheduler_for_another_processor_is_one_line(cli, echoing, tmp_path):
    program = tmp_path / "bin" / "supercronic"
    program.write_bytes(b"\x7fELF\x02\x01\x01" + bytes(57))
    ran = started(cli, env=echoing())
    assert (ran.status, ran.stdout) == (74, "")
    assert ran.stderr == f"luxcli: {program}: cannot be started: Exec format error\n"


def test_a_secret_that_cannot_be_read_is_said_at_the_start_and_does_not_prevent_it(cli, echoing):
    variables = echoing(LUXCLI_MONITORING_NTFY_URL_FILE="/nowhere/ntfy", LOG_FORMAT="json")
    ran = started(cli, env=variables)
    assert (ran.status, ran.stdout) == (0, "scheduled\n")
    _, warning = map(json.loads, ran.stderr.splitlines())
    assert warning["level"] == "warning"
    assert "/nowhere/ntfy: cannot be read" in warning["msg"]


REFUSED = """
import os, sys
from luxcli.config import config
from luxcli import errors
from luxcli.schedule import container
from pathlib import Path
import luxcli.store.sqlite_file, luxcli.store.store, luxcli.diagnosis.preflight
import zoneinfo, tempfile, shutil
data = Path(sys.argv[1])
settings = config.load(None, {"HOST": "h", "CACHE_PATH": str(data / "cache.sqlite3")}, data)
os.setgroups([]); os.setgid(12345); os.setuid(12345)
try:
    container.check(settings, {})
except errors.StorageError as exc:
    print(exc)
"""


@pytest.mark.parametrize("what", ["directory", "file"])
def test_data_of_another_user_is_refused_with_advice(what):
    if os.geteuid():
        pytest.skip("only root can be somebody else")
    # Not below pytest's directories, which other users may not enter.
    with tempfile.TemporaryDirectory() as name:
        data = Path(name)
        os.chown(data, *((4711, 815) if what == "directory" else (12345, 12345)))
        data.chmod(0o755)
        refused = data
        if what == "file":
            refused = data / "cache.sqlite3"
            refused.touch(0o644)
            os.chown(refused, 4711, 815)
        code = f"import sys; sys.path.insert(0, {str(PROJECT)!r})\n{REFUSED}"
        ran = subprocess.run(
            [sys.executable, "-c", code, name], capture_output=True, text=True, check=True
        )
    assert ran.stdout.startswith(f"{refused}: ")
    assert ran.stdout.endswith(
        "; it belongs to uid 4711, and this is uid 12345: on the host 'sudo chown -R 12345:12345'"
        " the directory that is mounted, or run as its owner (--user 4711:815)\n"
    )


# As rootless engines do: the user becomes uid 0, and no other uid exists.
ROOTLESS = """
libc = ctypes.CDLL(None)
libc.prctl(4, 1)  # PR_SET_DUMPABLE, for /proc/self belongs to root after setuid
if libc.unshare(0x10000000):  # CLONE_NEWUSER
    raise SystemExit("no user namespaces")
Path("/proc/self/uid_map").write_text("0 12345 1")
"""


def test_in_a_rootless_container_the_remedy_is_to_run_as_the_user_who_started_it():
    if os.geteuid():
        pytest.skip("only root can be somebody else")
    with tempfile.TemporaryDirectory() as data:
        Path(data).chmod(0o755)
        code = f"import ctypes, sys; sys.path.insert(0, {str(PROJECT)!r})\n{REFUSED}"
        code = code.replace("try:", f"{ROOTLESS}\ntry:")
        ran = subprocess.run(
            [sys.executable, "-c", code, data], capture_output=True, text=True, check=False
        )
    if "no user namespaces" in ran.stderr:
        pytest.skip("no user namespaces here")
    assert ran.stdout.endswith(
        ", and this is uid 0: uid 0 in this container is uid 12345 on the host, so"
        " 'sudo chown -R 12345' the directory that is mounted, and run as uid 0 (--user 0:0)\n"
    ), ran.stderr


SUPERVISE = """
import sys
from luxcli.schedule import supervisor
raise SystemExit(supervisor.supervise(sys.argv[2:], patience_s=int(sys.argv[1])))
"""
# A scheduler as supercronic is: jobs lead groups, and on SIGTERM it waits for them.
SCHEDULER = """
import signal, subprocess, sys
job = subprocess.Popen(sys.argv[1:], process_group=0)
signal.signal(signal.SIGTERM, lambda *_: print("stopping", flush=True))
print("started", flush=True)
print("job:", job.wait(), flush=True)
raise SystemExit(3)
"""


@pytest.fixture
def supervised() -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Start a scheduler with one job, a shell script, under the supervisor."""
    running = []

    def start(script: str, patience_s: int = supervisor.PATIENCE_S) -> "subprocess.Popen[str]":
        scheduler = [sys.executable, "-c", SCHEDULER, "sh", "-c", script]
        process = python(SUPERVISE, patience_s, *scheduler)
        running.append(process)
        assert process.stdout
        assert process.stdout.readline() == "started\n"
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()


def test_a_job_that_ends_soon_gets_no_signal_when_the_container_stops(supervised):
    process = supervised("sleep 1; echo done")
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=8)[0] == "stopping\ndone\njob: 0\n"
    assert process.returncode == 3  # the status of the scheduler


@pytest.mark.slow
def test_a_job_that_goes_on_gets_sigterm(supervised):
    process = supervised("sleep 15")
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=8)[0] == "stopping\njob: -15\n"
    assert time.monotonic() - began > supervisor.PATIENCE_S - 0.1
    assert process.returncode == 3


def test_a_second_signal_ends_the_jobs_at_once(supervised):
    process = supervised("sleep 15", patience_s=60)
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "stopping\n"
    process.send_signal(signal.SIGINT)
    # The scheduler gets the signal too, and may print its line within that of the job.
    assert " -15\n" in process.communicate(timeout=8)[0]


STOPPED_EARLY = """
import os, signal, sys
from luxcli.schedule import container
execve = os.execve
def stopped(*call):
    os.kill(os.getpid(), signal.SIGTERM)
    execve(*call)
os.execve = stopped
container.become(sys.argv[1], "", {}, as_json=False)
"""


def test_a_stop_before_the_supervisor_runs_reaches_it(tmp_path):
    program = tmp_path / "supercronic"
    program.write_text("#!/bin/sh\nexec sleep 8\n", encoding="utf-8")
    program.chmod(0o755)
    process = python(STOPPED_EARLY, program)
    process.communicate(timeout=5)
    # The supervisor passed the signal on; killed by it, the status would be -15. The first process
    # of a container would even ignore it.
    assert process.returncode == 128 + signal.SIGTERM


def test_the_supervisor_ends_with_the_signal_that_killed_the_scheduler():
    command = [sys.executable, "-I", "-S", supervisor.__file__, "/bin/sh", "-c", "kill -9 $$"]
    assert subprocess.run(command, check=False).returncode == 137


def test_orphans_that_end_are_not_taken_for_the_scheduler():
    # The first process of a container inherits them; here one that is there before it.
    supervise = shlex.join([sys.executable, "-I", "-S", supervisor.__file__])
    script = f"sleep 0.2 & exec {supervise} /bin/sh -c 'sleep 1; exit 5'"
    assert subprocess.run(["sh", "-c", script], check=False).returncode == 5


def test_the_supervisor_stays_small_since_it_stays_for_years():
    tree = ast.parse(Path(supervisor.__file__).read_text(encoding="utf-8"))
    assert imports(tree) == {
        "os",
        "signal",
        "sys",
        "collections.abc.Callable",
    }  # the last is a type
    loaded = "import os, signal, sys; print(*sys.modules)"
    path = f"import sys; sys.path.insert(0, {str(PROJECT)!r})"
    used = f"{path}; import luxcli.schedule.supervisor; {loaded}"
    bare, ours = (
        subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True, capture_output=True)
        for code in (loaded, used)
    )
    assert set(ours.stdout.split()) - set(bare.stdout.split()) == {
        b"luxcli",
        b"luxcli.schedule",
        b"luxcli.schedule.supervisor",
    }


@pytest.mark.sweep
def test_the_real_supercronic_polls_and_stops_with_the_poll_recorded(cli, supercronic, tmp_path):
    with FaultyController(Fault(pause_s=25 / 3), clock=time.time) as pump:
        variables = {
            "HOST": "127.0.0.1",
            "PORT": str(pump.port),
            "INTERVAL_SEC": "10",
            "CACHE_PATH": str(tmp_path / "cache.sqlite3"),
            "LOG_FORMAT": "json",
            "PATH": f"{Path(supercronic).parent}:{os.environ['PATH']}",
        }
        command = shlex.join([sys.executable, "-m", "luxcli"])
        words = ("schedule", "supercronic", "--run", "--command", command)
        process = cli.start(*words, env=variables)
        assert eventually(lambda: pump.connections, within_s=15)
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        ran = cli.end(process)
        took_s = time.monotonic() - began
    assert ran.status == 0
    assert took_s < supervisor.PATIENCE_S + 4
    [missed] = Store(tmp_path / "cache.sqlite3").database.missed(0, 2**53)
    assert missed.reason == "interrupted"
    first, last = map(json.loads, ran.stderr.splitlines())
    assert (first["level"], last["level"]) == ("info", "error")
    assert f"polls 127.0.0.1:{pump.port} every 10 s" in first["msg"]
    assert last["msg"] == "error running command: exit status 143"
    assert ran.stdout == ""


# The image itself


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An engine in which the unmodified Dockerfile has just been built as luxcli:test."""
    directory = tmp_path_factory.mktemp("engine")
    try:
        found = engines.find(directory)
    except engines.UnusableError as exc:
        pytest.skip(str(exc))
    found.build(PROJECT, "luxcli:test", directory, "--build-arg", "REVISION=4711abc")
    yield found
    found("rmi", "-f", "luxcli:test", check=False)
    engines.forget(found, directory)


class Containers:
    """Runs the image, on the network of this machine, where the simulator is."""

    def __init__(self, engine: Engine, directory: Path) -> None:
        self.engine = engine
        self.directory = directory
        self._names: list[str] = []

    def data(self, owner: int = 1000, mode: int = 0o755) -> Path:
        path = self.directory / f"data{len(list(self.directory.glob('data*')))}"
        path.mkdir(mode)
        os.chown(path, owner, owner)
        return path

    def _flags(self, data: Path | None, flags: tuple[str, ...], variables: dict[str, Any]) -> Any:
        shut = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
        volume = ("-v", f"{data}:/data") if data else ()
        given = [word for name, value in variables.items() for word in ("-e", f"{name}={value}")]
        return ("--network", "host", "--no-healthcheck", *shut, *volume, *flags, *given)

    def run(
        self, *words: str, data: Path | None = None, flags: tuple[str, ...] = (), **variables: Any
    ) -> Any:
        flags = self._flags(data, flags, variables)
        return self.engine("run", "--rm", *flags, "luxcli:test", *words, check=False)

    def start(self, *, data: Path, flags: tuple[str, ...] = (), **variables: Any) -> str:
        name = f"luxcli-test-{os.getpid()}-{len(self._names)}"
        self._names.append(name)
        flags = self._flags(data, flags, variables)
        self.engine("run", "-d", "--name", name, *flags, "luxcli:test")
        return name

    def stop(self, name: str) -> tuple[float, int, list[str]]:
        """Stop it; gives the seconds that took, the exit status and the log."""
        began = time.monotonic()
        self.engine("stop", name)
        took_s = time.monotonic() - began
        said = self.engine("logs", name)
        status = self.engine.inspect(name)["State"]["ExitCode"]
        return took_s, status, (said.stdout + said.stderr).splitlines()

    def close(self) -> None:
        for name in self._names:
            self.engine("rm", "-f", name, check=False)


@pytest.fixture
def containers(engine, tmp_path) -> Iterator[Containers]:
    found = Containers(engine, tmp_path)
    yield found
    found.close()


@pytest.fixture
def pump() -> Iterator[FaultyController]:
    with FaultyController(clock=time.time) as controller:
        yield controller
    assert controller.write_attempts == 0


def known(data: Path) -> list[int]:
    """Return the times of the polls, those in the buffer included."""
    store = Store(data / "cache.sqlite3")
    return sorted({*store.waiting().polls_ms, *store.database.times(0, 2**53)})


def at(pump: FaultyController, **variables: Any) -> dict[str, Any]:
    place = {"HOST": "127.0.0.1", "PORT": pump.port, "RETRIES": 0, "TZ": "Europe/Berlin"}
    return {**place, "INTERVAL_SEC": 10, **variables}


@pytest.mark.sweep
def test_the_image_is_small_labelled_and_without_tools(engine):
    found = engine.inspect("luxcli:test")
    base = engine.inspect(engines.BASE)
    print(f"image {found['Size'] / 1e6:.0f} MB, base {base['Size'] / 1e6:.0f} MB")
    assert found["Size"] - base["Size"] < 50e6
    assert found["Config"]["User"] == "1000:1000"
    assert list(found["Config"]["Volumes"]) == ["/data"]
    labels = found["Config"]["Labels"]
    assert labels["org.opencontainers.image.revision"] == "4711abc"
    assert labels["org.opencontainers.image.version"] == __version__
    look = (
        "command -v gcc cc git pip pip3 curl wget; ls -A /var/lib/apt/lists /tmp 2>&1;"
        "python3 -c 'import pip' 2>&1 | tail -1; find / -xdev -perm -4000 -name luxcli"
    )
    said = engine("run", "--rm", "--user", "0", "--entrypoint", "sh", "luxcli:test", "-c", look)
    assert said.stdout.splitlines() == [
        *("/tmp:", "", "/var/lib/apt/lists:"),
        "ModuleNotFoundError: No module named 'pip'",
    ]


@pytest.mark.sweep
def test_nothing_is_compiled_at_run_time(engine):
    code = (
        "import sys, luxcli.cli.app, luxcli.recording.poll, luxcli.rollup.rollup, yaml\n"
        "import luxcli.config.config, luxcli.store.store\n"
        "import os.path\n"
        "for m in list(sys.modules.values()):\n"
        "    c = getattr(getattr(m, '__spec__', None), 'cached', None)\n"
        "    if c and not os.path.exists(c): print(m.__name__)\n"
    )
    python = ("--entrypoint", "/opt/luxcli/bin/python", "luxcli:test")
    assert engine("run", "--rm", *python, "-c", code).stdout == ""
    # A file that is older or newer than its bytecode would be compiled all the same.
    said = engine("run", "--rm", *python, "-v", "-c", "import luxcli.cli.app").stderr
    assert "luxcli.cli.app" in said
    assert not re.search(r"code object from '.*\.py'", said)


@pytest.mark.sweep
def test_the_help_of_every_command_can_be_read_in_the_image(engine):
    each = "; ".join(f"luxcli {one} --help > /dev/null || echo {one}" for one in ["", *commands()])
    shell = ("--read-only", "--entrypoint", "sh", "luxcli:test", "-c")
    assert engine("run", "--rm", *shell, each).stdout == ""


@pytest.mark.sweep
def test_exit_statuses_are_those_of_the_command(containers, pump):
    data = containers.data()
    where = at(pump)
    assert containers.run("poll-once", data=data, **where).returncode == 0
    assert containers.run("status", data=data, **where).returncode == 0
    assert containers.run("poll-once", data=data, **{**where, "PORT": 1}).returncode == 69
    assert containers.run("nonsense").returncode == 2
    assert containers.run("validate", "--last", "1d", data=containers.data()).returncode == 65
    diagnosis = containers.run("diagnose", "--json", data=data, **where)
    sections = json.loads(diagnosis.stdout)["sections"]
    [found] = [one["values"] for one in sections if one["name"] == "environment"]
    assert (found["container"], found["zone"]) == (True, "Europe/Berlin")


@pytest.mark.sweep
def test_what_is_wrong_at_the_start_is_one_line(containers, pump):
    for variables, status, text in (
        ({}, 78, "host: missing; set HOST"),
        (at(pump, INTERVAL_SEC=5), 78, "INTERVAL_SEC: interval_sec: 5 is not in 10..3600"),
    ):
        ran = containers.run(data=containers.data(), **variables)
        assert (ran.returncode, ran.stdout) == (status, "")
        [line] = ran.stderr.splitlines()
        assert line.startswith(f"luxcli: {text}")
    for owner, flags in ((0, ()), (1000, ("--user", "12345:12345"))):
        uid = "12345" if flags else "1000"
        ran = containers.run(data=containers.data(owner), flags=flags, **at(pump))
        assert (ran.returncode, ran.stdout) == (74, "")
        [line] = ran.stderr.splitlines()
        assert f"it belongs to uid {owner}, and this is uid {uid}" in line
        assert f"sudo chown -R {uid}:{uid}" in line


@pytest.mark.sweep
def test_it_polls_at_the_interval_as_any_user_keeps_its_data_and_stops_at_once(containers, pump):
    data = containers.data(12345)
    flags = ("--user", "12345:12345")
    name = containers.start(data=data, flags=flags, **at(pump, LOG_FORMAT="json"))
    assert eventually(lambda: len(known(data)) >= 2, within_s=30)
    took_s, status, log = containers.stop(name)
    assert took_s < 3
    assert status == 0
    before = known(data)
    containers.engine("start", name)
    assert eventually(lambda: len(known(data)) >= len(before) + 1, within_s=20)
    _, _, log = containers.stop(name)
    times = known(data)
    assert times[: len(before)] == before
    assert all(ts_ms % 10_000 < 2000 for ts_ms in times)
    assert all(abs(b - a - 10_000) < 1500 for a, b in pairwise(before))
    assert {path.stat().st_uid for path in data.rglob("*")} == {12345}
    print(f"polls {[ts_ms % 10_000 for ts_ms in times]} ms late, stopped in {took_s:.2f} s")
    # One line for each start and nothing for what went well.
    assert [json.loads(line)["level"] for line in log] == ["info", "info"]


@pytest.mark.sweep
def test_failures_are_lines_of_json_only(containers, pump):
    data = containers.data()
    name = containers.start(data=data, **at(pump, LOG_FORMAT="json", PORT=1))
    assert eventually(lambda: Store(data / "cache.sqlite3").waiting().missed, within_s=15)
    (data / "luxcli.yaml").write_text("nonsense: 1\n", encoding="utf-8")
    time.sleep(10)
    _, status, log = containers.stop(name)
    entries = [json.loads(line) for line in log]
    assert status == 0
    assert [entry["msg"] for entry in entries if "connection refused" in entry["msg"]]
    assert [entry["msg"] for entry in entries if "exit status 69" in entry["msg"]]
    assert [entry["msg"] for entry in entries if "nonsense: no such setting" in entry["msg"]]


@pytest.mark.sweep
def test_a_poll_that_runs_when_it_is_stopped_is_recorded(containers):
    data = containers.data()
    with FaultyController(Fault(silent_after=0), clock=time.time) as silent:
        name = containers.start(data=data, **at(silent))
        assert eventually(lambda: silent.connections, within_s=15)
        took_s, status, log = containers.stop(name)
    assert took_s < 8
    assert status == 0
    assert "exit status 143" in log[-1]
    assert [one.reason for one in Store(data / "cache.sqlite3").database.missed(0, 2**53)] == [
        "interrupted"
    ]
    print(f"silent controller: stopped in {took_s:.2f} s")


@pytest.mark.sweep
def test_health_is_that_of_the_recording(containers, pump):
    data = containers.data()
    store = Store(data / "cache.sqlite3")
    store.merge([small(round(time.time() - 400) * 1000)], ())
    for path in data.iterdir():
        os.chown(path, 1000, 1000)
    name = containers.start(data=data, **at(pump))
    image = containers.engine.inspect("luxcli:test")
    kind, *check = {**image["Config"], **image}["Healthcheck"]["Test"]  # as each engine has it
    assert (kind, check) == ("CMD", ["luxcli", "status"])

    def health(*more: str) -> int:
        code: int = containers.engine("exec", name, *check, *more, check=False).returncode
        return code

    assert health() == 3 or len(known(data)) > 1
    assert eventually(lambda: len(known(data)) > 1, within_s=15)
    assert health() == 0
    pump.__exit__(None, None, None)
    assert eventually(lambda: health("--max-age", "12s") == 3, within_s=25)
    said = containers.engine("exec", name, *check, "--max-age", "12s", check=False).stdout
    assert said.startswith("not recording: ")


@pytest.mark.sweep
def test_the_example_of_variables_is_what_docker_reads(containers, pump):
    file = containers.directory / ".env"
    text = ENV_EXAMPLE.replace("HOST=192.168.1.50", "HOST=127.0.0.1")
    text = text.replace("#PORT=8889", f"PORT={pump.port}").replace("#INTERVAL", "INTERVAL")
    file.write_text(text.replace("#TZ=", "TZ="), encoding="utf-8")
    ran = containers.run(
        "poll-once", "--json", data=containers.data(), flags=("--env-file", str(file))
    )
    assert json.loads(ran.stdout)["ok"] is True
    shown = containers.run("config", "show", flags=("--env-file", str(file))).stdout
    assert re.search(r"interval_sec\s+30\s+INTERVAL_SEC", shown)
