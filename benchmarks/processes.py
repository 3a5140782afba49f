"""Runs real processes and says what they used: CPU by the kernel's account, peak memory, time."""

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


@dataclass(frozen=True, slots=True)
class Used:
    """What one process used: user and system CPU, wall time in s; peak resident memory in MB."""

    cpu_s: float
    wall_s: float
    rss_mb: float
    output: str


@dataclass(frozen=True, slots=True)
class Sample:
    """Repeated measurements of one thing."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle of them."""
        return statistics.median(self.values)

    @property
    def low(self) -> float:
        """The first quartile."""
        return self._quartile(0.25)

    @property
    def high(self) -> float:
        """The third quartile."""
        return self._quartile(0.75)

    def _quartile(self, share: float) -> float:
        ordered = sorted(self.values)
        place = share * (len(ordered) - 1)
        below = int(place)
        above = min(below + 1, len(ordered) - 1)
        return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> Sample:
    """Return the ratio of each round, so that what slows a machine for a while cancels out."""
    return Sample(tuple(a / b for a, b in zip(ours, theirs, strict=True)))


def interleaved(
    rounds: int, runs: Mapping[str, Callable[[], Used]], *, warm: int = 1
) -> dict[str, list[Used]]:
    """Run all in turn, so often; the order turns round each time, the first rounds do not count."""
    found: dict[str, list[Used]] = {name: [] for name in runs}
    for number in range(warm + rounds):
        names = list(runs) if number % 2 else list(runs)[::-1]
        for name in names:
            used = runs[name]()
            if number >= warm:
                found[name].append(used)
    return found


class Launcher:
    """The small process that starts the measured ones; use it in a ``with`` block."""

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="luxcli-bench-")
        self._output = Path(self._directory.name) / "output"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
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
    ) -> Used:
        """Run this interpreter with these arguments; another exit status is an error."""
        return self.run([sys.executable, *map(str, arguments)], directory, statuses)

    def luxcli(self, *arguments: object, directory: Path, statuses: Sequence[int] = (0,)) -> Used:
        """Run ``luxcli`` as its entry point is run."""
        return self.python("-m", "luxcli", *arguments, directory=directory, statuses=statuses)

    def run(
        self, command: Sequence[str], directory: Path = PROJECT, statuses: Sequence[int] = (0,)
    ) -> Used:
        """Run any command."""
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
        return Used(float(cpu_s), float(wall_s), int(rss_kb) / 1000, output)

    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        return self._process.stdin, self._process.stdout


def environment(directory: Path) -> dict[str, str]:
    """Return the environment of everything that is measured."""
    return {
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
        "HOME": str(directory),
        "LANG": "C.UTF-8",
        # Another configuration than the one of the machine that measures.
        "LUXCLI_SYSTEM_CONFIG": str(directory / "none.yaml"),
        "TZ": "Europe/Berlin",
        "PYTHONPATH": str(PROJECT),
    }
