"""Runs real processes and measures them: CPU time and peak memory as the kernel counts them."""

import compileall
import functools
import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

import luxcli

PROJECT = Path(luxcli.__file__).parent.parent
# Packages that measured processes import and that are not part of Python.
_PACKAGES = ("luxcli", "benchmarks", "luxtronik", "yaml", "typer", "click", "rich")


@dataclass(frozen=True, slots=True)
class Usage:
    """What one process used, and what it printed.

    Attributes:
        cpu_s: User and system time, s.
        wall_s: From start to end, s.
        rss_mb: Peak resident memory, MB.
        output: Standard output and standard error.
    """

    cpu_s: float
    wall_s: float
    rss_mb: float
    output: str


@dataclass(frozen=True, slots=True)
class Sample:
    """Repeated measurements of one quantity."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle value."""
        return statistics.median(self.values)

    @property
    def low(self) -> float:
        """The first quartile."""
        return self._quantile(0.25)

    @property
    def high(self) -> float:
        """The third quartile."""
        return self._quantile(0.75)

    def _quantile(self, share: float) -> float:
        ordered = sorted(self.values)
        position = share * (len(ordered) - 1)
        below = int(position)
        above = min(below + 1, len(ordered) - 1)
        return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> Sample:
    """Return the ratio of each round; whatever slows the machine for a while cancels out."""
    return Sample(tuple(a / b for a, b in zip(ours, theirs, strict=True)))


def run_in_turn(
    rounds: int, runs: Mapping[str, Callable[[], Usage]], *, warm_up: int = 1
) -> dict[str, list[Usage]]:
    """Run all commands once in each round, in alternating order.

    Args:
        rounds: Rounds that are measured.
        runs: Each command by its name.
        warm_up: Rounds before, which are not measured.
    """
    found: dict[str, list[Usage]] = {name: [] for name in runs}
    for number in range(warm_up + rounds):
        names = list(runs) if number % 2 else list(runs)[::-1]
        for name in names:
            usage = runs[name]()
            if number >= warm_up:
                found[name].append(usage)
    return found


class Launcher:
    """The small process that starts the measured ones; use it in a ``with`` block."""

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="luxcli-bench-")
        self._output = Path(self._directory.name) / "output"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        compile_modules()
        program = str(Path(__file__).with_name("launcher.py"))
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        stdin, stdout = self._pipes()
        stdin.close()
        stdout.close()
        self._process.wait()
        self._directory.cleanup()

    def python(
        self, *arguments: object, directory: Path = PROJECT, statuses: Sequence[int] = (0,)
    ) -> Usage:
        """Run this interpreter; a RuntimeError is raised for an exit status not in `statuses`."""
        return self.run([sys.executable, *map(str, arguments)], directory, statuses)

    def luxcli(self, *arguments: object, directory: Path, statuses: Sequence[int] = (0,)) -> Usage:
        """Run ``luxcli`` as its entry point does; for `statuses` see `python`."""
        return self.python("-m", "luxcli", *arguments, directory=directory, statuses=statuses)

    def run(
        self, command: Sequence[str], directory: Path = PROJECT, statuses: Sequence[int] = (0,)
    ) -> Usage:
        """Run any command; for `statuses` see `python`."""
        variables = [f"{name}={value}" for name, value in environment(directory).items()]
        fields = [str(self._output), str(directory), str(len(command)), *command, *variables]
        data = [field.encode() for field in fields]
        stdin, stdout = self._pipes()
        stdin.write(" ".join(str(len(field)) for field in data).encode() + b"\n" + b"".join(data))
        stdin.flush()
        status, cpu_s, rss_kb, wall_s = stdout.readline().split()
        output = self._output.read_text(encoding="utf-8", errors="replace")
        if int(status) not in statuses:
            raise RuntimeError(f"{' '.join(command)}: status {int(status)}\n{output}")
        return Usage(float(cpu_s), float(wall_s), int(rss_kb) / 1000, output)

    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        return self._process.stdin, self._process.stdout


@functools.cache
def compile_modules() -> None:
    """Compile all modules that measured processes import, unless their byte code is up to date.

    Otherwise each process would compile them again where byte code cannot be written or
    PYTHONDONTWRITEBYTECODE is set, and compiling would be most of what is measured.

    Raises:
        RuntimeError: A package cannot be compiled.
    """
    for name in _PACKAGES:
        spec = importlib.util.find_spec(name)
        for directory in (spec and spec.submodule_search_locations) or ():
            if not compileall.compile_dir(directory, quiet=2):
                raise RuntimeError(
                    f"byte code of {directory} cannot be written: run 'python -m compileall"
                    f" {directory}' as its owner, then measure again"
                )


def environment(directory: Path) -> dict[str, str]:
    """Return the environment of every measured process, the same on each machine."""
    return {
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
        "HOME": str(directory),
        "LANG": "C.UTF-8",
        # Keeps out the configuration of the machine that measures.
        "LUXCLI_SYSTEM_CONFIG": str(directory / "none.yaml"),
        "TZ": "Europe/Berlin",
        "PYTHONPATH": str(PROJECT),
        # Byte code is there already, see `compile_modules`; no measured process writes any.
        "PYTHONDONTWRITEBYTECODE": "1",
    }
