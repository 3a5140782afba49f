"""What most tests need: a clean environment, a controller, a configuration, the real command."""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
import yaml

import luxcli
from luxcli.config import sources
from luxcli.config.settings import SETTINGS
from tests.support import debian, in_process
from tests.support.built import Built
from tests.support.faulty_controller import FaultyController

BARE_NAMES = {setting.key.replace(".", "_").upper() for setting in SETTINGS} | {"OUTPUT_DIRS"}
# What changes the output of luxcli, Typer, Rich or Python; tests that are about one of them set it.
_OUTPUT = (
    *("COLORTERM", "COLUMNS", "FORCE_COLOR", "LINES", "NO_COLOR", "TERM", "TERMINAL_WIDTH"),
    *("TTY_COMPATIBLE", "TTY_INTERACTIVE", "PYTHONIOENCODING", "PYTHONOPTIMIZE", "PYTHONUTF8"),
    *("PYTHONWARNINGS", "TZ"),
)
_FOREIGN = ("LUXCLI_", "XDG_", "LANG", "LC_", "SUDO_", "_TYPER", "_LUXCLI")
_SIGNALS = {
    signal.SIGHUP: signal.SIG_DFL,  # ignored under nohup
    signal.SIGINT: signal.default_int_handler,  # ignored in the background of a script
    signal.SIGTERM: signal.SIG_DFL,
}


def pytest_configure() -> None:
    """Let nothing that the caller's shell sets change a test: not here, not in child processes."""
    os.umask(0o022)
    for signum, usual in _SIGNALS.items():
        if signal.getsignal(signum) is signal.SIG_IGN:
            signal.signal(signum, usual)
    for name in list(os.environ):
        is_foreign = name in BARE_NAMES or name in _OUTPUT or name.startswith(_FOREIGN)
        if is_foreign and not name.startswith("LUXCLI_LIVE_"):
            del os.environ[name]
    os.environ["LANG"] = "C.UTF-8"
    # For fixtures of a module or session; each test has a place of its own.
    os.environ[sources.SYSTEM_VARIABLE] = os.devnull
    sources.SYSTEM_FILE = Path(os.devnull)
    time.tzset()


@pytest.fixture(autouse=True)
def clean_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No configuration from outside reaches a test, and no logging set-up leaves one."""
    system_file = tmp_path / "etc" / "luxcli" / "config.yaml"
    monkeypatch.setattr(sources, "SYSTEM_FILE", system_file)
    monkeypatch.setenv(sources.SYSTEM_VARIABLE, str(system_file))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):  # only here: fixtures of a session may download
            monkeypatch.delenv(name)
    logger = logging.getLogger("luxcli")
    before = (logger.handlers[:], logger.level, logger.propagate)
    logger.propagate = True  # `caplog` listens further up
    yield
    logger.handlers[:], logger.propagate = before[0], before[2]
    logger.setLevel(before[1])


@pytest.fixture
def simulator() -> Iterator[FaultyController]:
    """A running controller without faults; nobody may try to write to it."""
    with FaultyController() as simulator:
        yield simulator
    assert simulator.write_attempts == 0
    assert set(simulator.requests) <= {3003, 3004, 3005}


@pytest.fixture
def configure(tmp_path: Path) -> Callable[..., Path]:
    """Write a configuration: `configure(host=..., csv={...})` gives the file."""

    def write(**settings: Any) -> Path:
        quick = {"host": "127.0.0.1", "retries": 0, "timeout_sec": 2, "timezone": "Europe/Berlin"}
        chosen = quick | {"cache_path": str(tmp_path / "data" / "cache.sqlite3")} | settings
        path = tmp_path / "luxcli.yaml"
        path.write_text(yaml.safe_dump(chosen), encoding="utf-8")
        return path

    return write


class Ran(NamedTuple):
    """What a process left behind."""

    status: int
    stdout: str
    stderr: str


class Cli:
    """Runs `luxcli` as its users do: a process of its own, in an environment of its own."""

    def __init__(self, directory: Path, *, measured: bool = True) -> None:
        self.directory = directory
        # COV*: how coverage gets in. LD_PRELOAD: a shifted clock, to run the tests at another hour.
        self._kept = ("PATH", "LD_PRELOAD", *(["COV"] if measured else []))
        self._running: list[subprocess.Popen[str]] = []

    def environment(self, **variables: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name.startswith(self._kept)}
        return {
            **kept,
            "HOME": str(self.directory / "home"),
            "LANG": "C.UTF-8",
            sources.SYSTEM_VARIABLE: str(sources.SYSTEM_FILE),
            "PYTHONPATH": str(Path(luxcli.__file__).parent.parent),
            "PYTHONWARNINGS": "error::ResourceWarning",
            "TZ": "Europe/Berlin",
            **variables,
        }

    def start(self, *args: object, **options: Any) -> subprocess.Popen[str]:
        """Start a command; options are `env` and those of `Popen`."""
        variables = options.pop("env", {})
        for stream in ("stdout", "stderr"):
            options.setdefault(stream, subprocess.PIPE)
        options.setdefault("stdin", subprocess.DEVNULL)
        options.setdefault("cwd", self.directory)
        process = subprocess.Popen(
            [sys.executable, "-m", "luxcli", *map(str, args)],
            env=self.environment(**variables),
            text=True,
            encoding="utf-8",
            **options,
        )
        self._running.append(process)
        return process

    def __call__(self, *args: object, **options: Any) -> Ran:
        return self.end(self.start(*args, **options))

    @staticmethod
    def end(process: subprocess.Popen[str], within_s: float = 8) -> Ran:
        """Wait for a started command."""
        stdout, stderr = process.communicate(timeout=within_s)
        return Ran(process.returncode, stdout or "", stderr or "")

    def close(self) -> None:
        for process in self._running:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.wait()
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    stream.close()


class Invoke:
    """Runs `luxcli` within this process, in the environment that a process would have."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._environment = Cli(directory).environment

    def __call__(
        self,
        *args: object,
        env: Mapping[str, str] = MappingProxyType({}),
        cwd: Path | None = None,
        stdin: str | None = None,
    ) -> Ran:
        words = tuple(map(str, args))
        environ = self._environment(**{"COLUMNS": "80", **env})
        return Ran(*in_process.run(words, environ, cwd or self.directory, stdin))


@pytest.fixture(scope="session")
def supercronic(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The real scheduler of containers."""
    return debian.supercronic(tmp_path_factory.mktemp("supercronic"))


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    """`cli("poll-once", "--json")` gives status, stdout and stderr of the real process."""
    commands = Cli(tmp_path)
    yield commands
    commands.close()


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """`built(function, tmp_path)` copies what the function made in the first test that asked."""
    return Built(tmp_path_factory.mktemp("built"))


@pytest.fixture
def invoke(tmp_path: Path) -> Invoke:
    """`invoke("status", "--json")` gives what `cli` gives, without a process."""
    return Invoke(tmp_path)
