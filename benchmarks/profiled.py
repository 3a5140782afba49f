"""Where a command's CPU time goes: a sampling profiler, run as often as it takes to see something.

``python -m benchmarks.profiled RUNS COMMAND...`` prints the largest shares. A timer of CPU time
interrupts the process every 2 ms; of the stack found then counts the module that is being
imported, or else the innermost function of luxcli. The start of the interpreter comes before the
first sample: it is measured by itself, as ``python -c pass``.
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
    """Return what takes how much of a command's CPU time, the largest first."""
    samples: Counter[str] = Counter()
    with Launcher() as launcher, tempfile.NamedTemporaryFile("r") as file:
        start = [launcher.python("-c", "pass").cpu_s for _ in range(9)]
        command = ("-m", "benchmarks.profiled", "--sample", file.name, *arguments)
        done = tried = 0
        while done < runs and tried < runs * 5 + 10:
            tried += 1
            Path(file.name).write_text("", encoding="utf-8")
            # Now and then a moment is hit in which Python itself changes its frames; what reads
            # them then may fall over, and that run counts for nothing.
            launcher.python(*command, directory=directory, statuses=(0, 3, -signal.SIGSEGV))
            if found := Path(file.name).read_text(encoding="utf-8"):
                samples.update(json.loads(found))
                done += 1
        total = [launcher.luxcli(*arguments, directory=directory).cpu_s for _ in range(5)]
    begun = Sample(tuple(start)).median / Sample(tuple(total)).median
    count = samples.total()
    parts = [(label, part / count * (1 - begun)) for label, part in samples.most_common()]
    return sorted([("start of the interpreter", begun), *parts], key=lambda one: -one[1])


def imports(arguments: list[str], directory: Path = PROJECT) -> list[tuple[str, float]]:
    """Return which package takes how much of the time that ``-X importtime`` counts."""
    spent: Counter[str] = Counter()
    with Launcher() as launcher:
        for _ in range(5):
            command = ("-X", "importtime", "-m", "luxcli", *arguments)
            for line in launcher.python(*command, directory=directory).output.splitlines():
                head, _, rest = line.partition("import time:")
                own, bar, name = rest.partition("|")
                if not head and bar and own.strip().isdigit():
                    spent[name.partition("|")[2].strip().split(".")[0]] += int(own)
    return [(f"`{name}`", part / spent.total()) for name, part in spent.most_common()]


def table(found: list[tuple[str, float]], shown: int = _SHOWN) -> str:
    """Return the largest shares as lines of Markdown."""
    lines = ["| share | what |", "|---|---|"]
    lines += [f"| {share:.0%} | {label} |" for label, share in found[:shown]]
    rest = sum(share for _, share in found[shown:])
    return "\n".join([*lines, f"| {rest:.0%} | everything else |"])


def _label(stack: list[tuple[str, str]]) -> str:
    """Name what a stack of files and functions, the innermost first, is at work on."""
    for file, function in stack:
        path = Path(file)
        if function == "<module>":
            return f"import of {_top_level(path)}"
        if path.parent == _PACKAGE:
            return f"luxcli.{path.stem}.{function}"
    return "the rest"


def _top_level(path: Path) -> str:
    for entry in sorted(filter(None, sys.path), key=len, reverse=True):
        if path.is_relative_to(entry):
            return path.relative_to(entry).parts[0].removesuffix(".py")
    return path.stem


def _stacks(text: str) -> list[list[tuple[str, str]]]:
    """Take apart what `faulthandler` wrote."""
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
        # A handler in Python would run only when the function in C that the time is spent in is
        # over, and find somebody else at work.
        faulthandler.register(signal.SIGPROF, file, all_threads=False)
        signal.setitimer(signal.ITIMER_PROF, _INTERVAL_S, _INTERVAL_S)
        try:
            runpy.run_module("luxcli", run_name="__main__", alter_sys=True)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            file.seek(0)
            found = Counter(map(_label, _stacks(file.read())))
            Path(target).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1] == "--sample":
        _sample(sys.argv[2], sys.argv[3:])
    else:
        print(table(shares(int(sys.argv[1]), sys.argv[2:])))
