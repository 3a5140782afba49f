"""Rows of the table: a figure, its reference in the same run, its budget."""

import json
import platform
import sqlite3
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.processes import Sample


@dataclass(frozen=True, slots=True)
class Row:
    """One figure.

    Attributes:
        name: Of the benchmark that measured it.
        figure: What was measured.
        value: The figure itself: a ratio, or in `unit`.
        unit: Empty for a ratio.
        low: First quartile of the rounds; as `value` where there is one round.
        high: Third quartile.
        rounds: How often it was measured.
        ours: The absolute figure of luxcli, in words.
        reference: That of the reference, in words; empty where there is none.
        budget: The most that is allowed; None where the figure is for information.
        note: How it was measured if that is not plain.
    """

    name: str
    figure: str
    value: float
    unit: str = ""
    low: float | None = None
    high: float | None = None
    rounds: int = 1
    ours: str = ""
    reference: str = ""
    budget: float | None = None
    note: str = ""

    @property
    def passed(self) -> bool | None:
        """Whether it keeps its budget; None where it has none."""
        return None if self.budget is None else self.value <= self.budget

    @property
    def cells(self) -> tuple[str, ...]:
        """The row as it is shown."""
        spread = ""
        if self.rounds > 1 and self.low is not None and self.high is not None:
            spread = f"{_short(self.low)} to {_short(self.high)} ({self.rounds})"
        budget = "" if self.budget is None else f"≤ {_short(self.budget)}"
        verdict = {None: "", True: "pass", False: "FAIL"}[self.passed]
        shown = f"{_short(self.value)} {self.unit}".strip()
        return (self.figure, shown, spread, self.ours, self.reference, budget, verdict)


HEAD = ("figure", "value", "quartiles (rounds)", "luxcli", "reference", "budget", "")


def sampled(name: str, figure: str, sample: Sample, **others: Any) -> Row:
    """Return the row of a sample: median and quartiles."""
    rounds = len(sample.values)
    return Row(
        name, figure, sample.median, low=sample.low, high=sample.high, rounds=rounds, **others
    )


def table(rows: Sequence[Row]) -> str:
    """Return the table as text in columns."""
    lines = [HEAD, *(row.cells for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD))]
    shown = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    notes = [f"* {row.figure}: {row.note}" for row in rows if row.note]
    return "\n".join([shown[0], "-" * len(shown[0]), *shown[1:], "", *notes])


def markdown(rows: Sequence[Row]) -> str:
    """Return the table as Markdown."""
    lines = ["| " + " | ".join(HEAD) + " |", "|" + "---|" * len(HEAD)]
    lines += ["| " + " | ".join(row.cells) + " |" for row in rows]
    return "\n".join(lines)


def document(rows: Sequence[Row], *, quick: bool) -> dict[str, object]:
    """Return what ``--json`` writes."""
    return {
        "quick": quick,
        "machine": machine(),
        "rows": [{**asdict(row), "passed": row.passed} for row in rows],
    }


def machine() -> dict[str, str]:
    """Return what the figures depend on."""
    return {
        "processor": _processor(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
    }


def loaded(path: Path) -> list[Row]:
    """Return the rows of a file that ``--json`` wrote."""
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    return [Row(**{key: value for key, value in row.items() if key != "passed"}) for row in rows]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} x {names[0]}" if names else platform.processor()


def _short(value: float) -> str:
    if value == 0 or abs(value) >= 100:
        return f"{value:.0f}"
    if abs(value) < 0.1:
        return f"{value:.2g}"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"


def say(text: str) -> None:
    """Tell what is being done, on stderr: the table goes to stdout."""
    print(text, file=sys.stderr, flush=True)
