"""The results: rows with a figure, its reference and its budget, as text, Markdown and JSON."""

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
        name: Name of the group of figures, as for ``--only``.
        figure: What was measured; "a : b" is a ratio.
        value: The result: a ratio, or a quantity in `unit`.
        unit: Unit of `value`; empty for a ratio.
        low: First quartile of the rounds; None if there was one round.
        high: Third quartile of the rounds; None if there was one round.
        rounds: Number of measurements.
        ours: The absolute value of luxcli with its unit.
        reference: The absolute value of the reference with its unit; empty if there is none.
        budget: The largest value allowed; None if the figure is only for information.
        note: How it was measured, if the figure does not say so.
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
        """Whether the value is within the budget; None if there is no budget."""
        return None if self.budget is None else self.value <= self.budget

    @property
    def cells(self) -> tuple[str, ...]:
        """The cells of the row in the table."""
        spread = ""
        if self.rounds > 1 and self.low is not None and self.high is not None:
            spread = f"{_short(self.low)} to {_short(self.high)} ({self.rounds})"
        budget = "" if self.budget is None else f"≤ {_short(self.budget)}"
        verdict = {None: "", True: "pass", False: "FAIL"}[self.passed]
        shown = f"{_short(self.value)} {self.unit}".strip()
        return (self.figure, shown, spread, self.ours, self.reference, budget, verdict)


HEAD = ("figure", "value", "quartiles (rounds)", "luxcli", "reference", "budget", "")


def sample_row(name: str, figure: str, sample: Sample, **others: Any) -> Row:
    """Return the row of a sample, with median and quartiles."""
    rounds = len(sample.values)
    return Row(
        name, figure, sample.median, low=sample.low, high=sample.high, rounds=rounds, **others
    )


def table(rows: Sequence[Row]) -> str:
    """Return the rows as text in aligned columns, with their notes."""
    lines = [HEAD, *(row.cells for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD))]
    shown = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    notes = [f"* {row.figure}: {row.note}" for row in rows if row.note]
    return "\n".join([shown[0], "-" * len(shown[0]), *shown[1:], "", *notes])


def markdown(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table."""
    lines = ["| " + " | ".join(HEAD) + " |", "|" + "---|" * len(HEAD)]
    lines += ["| " + " | ".join(row.cells) + " |" for row in rows]
    return "\n".join(lines)


def document(rows: Sequence[Row], *, quick: bool) -> dict[str, object]:
    """Return the document that ``--json`` writes."""
    return {
        "quick": quick,
        "machine": machine(),
        "rows": [{**asdict(row), "passed": row.passed} for row in rows],
    }


def machine() -> dict[str, str]:
    """Return processor, system and versions, which the figures depend on."""
    return {
        "processor": _processor(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
    }


def read_rows(path: Path) -> list[Row]:
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


def announce(text: str) -> None:
    """Print a line about the progress on stderr; stdout is for the table."""
    print(text, file=sys.stderr, flush=True)
