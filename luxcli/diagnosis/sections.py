"""What a health check says: lines with a level and advice, in sections; values without behaviour.

Each problem carries the exit status of its kind, so that the whole has one (`worst`).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from luxcli.errors import FINDINGS, DamagedError, LuxcliError, StorageError
from luxcli.registers.catalogue import Reading

Level = Literal["ok", "warning", "problem", "info"]

# A problem of the data or of the schedule: what is wanted is not there.
NO_DATA: Final = 65
# Which problem's status counts when there are several: what has to be put right first.
_ORDER: Final = (78, 74, 76, 69, 75, NO_DATA)


@dataclass(frozen=True, slots=True)
class Line:
    """One finding.

    Attributes:
        level: "info" judges nothing.
        text: What was found.
        advice: What to do about it, if there is something to do.
        status: Exit status of a problem; 0 for the other levels.
    """

    level: Level
    text: str
    advice: str | None = None
    status: int = 0


@dataclass(frozen=True, slots=True)
class Table:
    """Something for the eye that needs columns; the same is in the section's values."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Section:
    """One part of a diagnosis.

    Attributes:
        name: One word, stable.
        lines: In the order in which they are to be read.
        tables: Shown after the lines.
        values: The same for programs, fit for JSON.
    """

    name: str
    lines: tuple[Line, ...]
    tables: tuple[Table, ...] = ()
    values: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Item:
    """One item of the checklist.

    Attributes:
        text: What has to be so.
        passed: None when it could not be checked.
        found: What it was judged by.
        doubtful: Not passed, but nothing is broken for certain either.
    """

    text: str
    passed: bool | None
    found: str
    doubtful: bool = False


def ok(text: str) -> Line:
    """Return a line that says that something is as it should be."""
    return Line("ok", text)


def info(text: str, advice: str | None = None) -> Line:
    """Return a line that judges nothing."""
    return Line("info", text, advice)


def warning(text: str, advice: str | None = None) -> Line:
    """Return a line about something to look at."""
    return Line("warning", text, advice)


def problem(text: str, advice: str | None = None, *, status: int) -> Line:
    """Return a line about something that has to be put right; `status` is its exit status."""
    return Line("problem", text, advice, status)


def worst(lines: Sequence[Line]) -> int:
    """Return the exit status of all lines together: 0, 3 for warnings, or a problem's."""
    found = {line.status for line in lines if line.level == "problem"}
    warned = any(line.level == "warning" for line in lines)
    first = next((status for status in _ORDER if status in found), None)
    return first if first is not None else FINDINGS if warned else 0


def guarded(parts: Iterable[Callable[[], Iterable[Line]]]) -> Iterator[Line]:
    """Yield the lines of all parts; one that fails becomes a line, the first of its kind."""
    told: set[str] = set()
    for part in parts:
        try:
            yield from list(part())
        except LuxcliError as exc:
            if str(exc) in told:
                continue
            told.add(str(exc))
            advice = None
            if isinstance(exc, DamagedError):
                advice = "'luxcli rollup daily' sets it aside and puts back what can be read"
            yield problem(str(exc), advice, status=exc.exit_code)
        except OSError as exc:
            where = f"{exc.filename}: " if exc.filename else ""
            yield problem(f"{where}{exc.strerror}", status=StorageError.exit_code)


def shown(reading: Reading | None) -> str:
    """Return the value of a register for people, with its unit."""
    if reading is None:
        return "missing"
    if isinstance(reading.value, bool):
        return "on" if reading.value else "off"
    value = "no value" if reading.value is None else f"{reading.value}"
    return f"{value} {reading.unit}".rstrip()


def counted(count: int, one: str, many: str) -> str:
    """Return a number with the right form of its noun."""
    return f"{count} {one if count == 1 else many}"
