"""Profiles where the CPU time of a command goes, by sampling many runs.

``python -m benchmarks.profiled RUNS COMMAND...`` prints the largest shares. Every 2 ms of CPU time
the stack is recorded. A sample counts for the module that is being imported, or else for the
innermost function of luxcli in the stack. The start of the interpreter comes before the first
sample; its share is measured as the CPU time of ``python -c pass``.
"""

import faulthandler
import json
import re
import runpy
import signal
import sys
import tempfile
from collections import Counter
from pathlib import Path

import luxcli
from benchmarks.processes import PROJECT, Launcher, Sample

_INTERVAL_S = 0.002
_SHOWN = 8
_PACKAGE = Path(luxcli.__file__).parent
_FRAME = re.compile(r'  File "(.*)", line [0-9?]+ in (.*)')


def shares(runs: int, arguments: list[str], directory: Path = PROJECT) -> list[tuple[str, float]]:
    """Return the shares of a command's CPU time by label, the largest first."""
    samples: Counter[str] = Counter()
    with Launcher() as launcher, tempfile.NamedTemporaryFile("r") as file:
        start = [launcher.python("-c", "pass").cpu_s for _ in range(9)]
        command = ("-m", "benchmarks.profiled", "--sample", file.name, *arguments)
        completed = tried = 0
        while completed < runs and tried < runs * 5 + 10:
            tried += 1
            Path(file.name).write_text("", encoding="utf-8")
            # faulthandler crashes if a sample falls into the moment in which Python changes its
            # frames. Such a run is not counted.
            launcher.python(*command, directory=directory, statuses=(0, 3, -signal.SIGSEGV))
            if found := Path(file.name).read_text(encoding="utf-8"):
                samples.update(json.loads(found))
                completed += 1
        total = [launcher.luxcli(*arguments, directory=directory).cpu_s for _ in range(5)]
    start_share = Sample(tuple(start)).median / Sample(tuple(total)).median
    count = samples.total()
    parts = [(name, part / count * (1 - start_share)) for name, part in samples.most_common()]
    return sorted([("start of the interpreter", start_share), *parts], key=lambda one: -one[1])


def imports(arguments: list[str], directory: Path = PROJECT) -> list[tuple[str, float]]:
    """Return the shares of the time that ``-X importtime`` counts, by package; luxcli's by room."""
    spent: Counter[str] = Counter()
    with Launcher() as launcher:
        for _ in range(5):
            command = ("-X", "importtime", "-m", "luxcli", *arguments)
            for line in launcher.python(*command, directory=directory).output.splitlines():
                head, _, rest = line.partition("import time:")
                self_us, bar, name = rest.partition("|")
                if not head and bar and self_us.strip().isdigit():
                    spent[_package(name.partition("|")[2].strip())] += int(self_us)
    return [(f"`{name}`", part / spent.total()) for name, part in spent.most_common()]


def table(found: list[tuple[str, float]], shown: int = _SHOWN) -> str:
    """Return the largest shares as a Markdown table."""
    lines = ["| share | what |", "|---|---|"]
    lines += [f"| {share:.0%} | {name} |" for name, share in found[:shown]]
    rest = sum(share for _, share in found[shown:])
    return "\n".join([*lines, f"| {rest:.0%} | everything else |"])


def label(stack: list[tuple[str, str]]) -> str:
    """Return the label that a stack of files and functions counts for, the innermost first."""
    for file, function in stack:
        path = Path(file)
        if file.startswith("<frozen importlib"):
            return "import: finding and reading modules"
        if function == "<module>":
            return f"import of {_package(_module(path))}"
        if path.is_relative_to(_PACKAGE):
            return f"{_module(path)}.{function}"
    return "the rest"


def _package(module: str) -> str:
    """Return the top-level package of a module; of luxcli's own modules the room."""
    parts = module.split(".")
    return ".".join(parts[:2] if parts[0] == "luxcli" else parts[:1])


def _module(path: Path) -> str:
    """Return the dotted name of the module in a file."""
    for entry in sorted(filter(None, sys.path), key=len, reverse=True):
        if path.is_relative_to(entry):
            parts = path.relative_to(entry).with_suffix("").parts
            return ".".join(part for part in parts if part != "__init__")
    return path.stem


def _stacks(text: str) -> list[list[tuple[str, str]]]:
    """Return the stacks that `faulthandler` wrote: files and functions, the innermost first."""
    stacks: list[list[tuple[str, str]]] = []
    for line in text.splitlines():
        if line.startswith("Stack"):
            stacks.append([])
        elif found := _FRAME.fullmatch(line):
            stacks[-1].append((found[1], found[2]))
    return stacks


def _sample(target: str, arguments: list[str]) -> None:
    sys.argv = ["luxcli", *arguments]
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as file:
        # A signal handler in Python would run only after the current C function has returned, and
        # would record the function that comes next. faulthandler records the stack at once.
        faulthandler.register(signal.SIGPROF, file, all_threads=False)
        signal.setitimer(signal.ITIMER_PROF, _INTERVAL_S, _INTERVAL_S)
        try:
            runpy.run_module("luxcli", run_name="__main__", alter_sys=True)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            file.seek(0)
            found = Counter(map(label, _stacks(file.read())))
            Path(target).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1] == "--sample":
        _sample(sys.argv[2], sys.argv[3:])
    else:
        print(table(shares(int(sys.argv[1]), sys.argv[2:])))
