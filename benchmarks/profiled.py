"""Where a command's CPU time goes: a sampling profiler, run as often as it takes to see something.

``python -m benchmarks.profiled RUNS COMMAND...`` prints the largest shares. A timer of CPU time
interrupts the process each millisecond; of the stack found then counts the module that is being
imported, or else the innermost function of luxcli. The start of the interpreter comes before the
first sample: it is measured by itself, as ``python -c pass``.
"""

import json
import runpy
import signal
import sys
import tempfile
from collections import Counter
from pathlib import Path
from types import FrameType

from benchmarks.processes import PROJECT, Launcher, Sample

_INTERVAL_S = 0.001
_SHOWN = 8


def shares(runs: int, arguments: list[str], directory: Path = PROJECT) -> list[tuple[str, float]]:
    """Return what takes how much of a command's CPU time, the largest first."""
    samples: Counter[str] = Counter()
    with Launcher() as launcher, tempfile.NamedTemporaryFile("r") as file:
        start = [launcher.python("-c", "pass").cpu_s for _ in range(9)]
        for _ in range(runs):
            command = ("-m", "benchmarks.profiled", "--sample", file.name, *arguments)
            launcher.python(*command, directory=directory, statuses=(0, 3))
            samples.update(json.loads(Path(file.name).read_text(encoding="utf-8")))
        total = [launcher.luxcli(*arguments, directory=directory).cpu_s for _ in range(5)]
    begun = Sample(tuple(start)).median / Sample(tuple(total)).median
    count = samples.total()
    found = [(label, part / count * (1 - begun)) for label, part in samples.most_common()]
    return sorted([("start of the interpreter", begun), *found], key=lambda one: -one[1])


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


def _label(frame: FrameType | None) -> str:
    ours = "the rest"
    inner = True
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if inner and name == "importlib._bootstrap" and "spec" in frame.f_locals:
            module = getattr(frame.f_locals["spec"], "name", None)
            if module:
                ours, inner = f"import of {str(module).split('.')[0]}", False
        elif inner and str(name).startswith("luxcli"):
            ours, inner = f"{name}.{frame.f_code.co_qualname}", False
        frame = frame.f_back
    return ours


def _sample(target: str, arguments: list[str]) -> None:
    found: Counter[str] = Counter()
    signal.signal(signal.SIGPROF, lambda _signal, frame: found.update([_label(frame)]))
    sys.argv = ["luxcli", *arguments]
    signal.setitimer(signal.ITIMER_PROF, _INTERVAL_S, _INTERVAL_S)
    try:
        runpy.run_module("luxcli", run_name="__main__", alter_sys=True)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        Path(target).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1] == "--sample":
        _sample(sys.argv[2], sys.argv[3:])
    else:
        print(table(shares(int(sys.argv[1]), sys.argv[2:])))
