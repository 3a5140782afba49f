"""What a health check consists of: sections of lines, each line with a level and advice.

Each problem carries the exit status of its kind; `exit_status` gives that of the whole.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from luxcli.errors import FINDINGS, DamagedError, LuxcliError, StorageError
from luxcli.registers.decoding import Reading

# The last three are those of the checklist.
Level = Literal["ok", "warning", "problem", "info", "failed", "doubtful", "unknown"]

# Exit status of a problem with data or schedule: polls are missing or wrong.
NO_DATA: Final = 65
# Of several problems the first of these decides: what must be repaired first.
_ORDER: Final = (78, 74, 76, 69, 75, NO_DATA)


@dataclass(frozen=True, slots=True)
class Line:
    """One finding.

    Attributes:
        level: "info" is no judgement.
        text: What was found.
        advice: What to do about it, None if there is nothing to do.
        status: Exit status of a problem; 0 for the other levels.
    """

    level: Level
    text: str
    advice: str | None = None
    status: int = 0


@dataclass(frozen=True, slots=True)
class Table:
    """A table for the screen; the section's values hold the same."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Section:
    """One part of a diagnosis.

    Attributes:
        name: Stable name.
        lines: What was found, in the order of reading.
        tables: Shown after the lines.
        values: The facts for programs, ready for JSON. Nothing in luxcli reads them back.
    """

    name: str
    lines: tuple[Line, ...]
    tables: tuple[Table, ...] = ()
    values: Mapping[str, object] = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        """Return the section for programs."""
        lines = [
            {"level": line.level, "text": line.text, "advice": line.advice} for line in self.lines
        ]
        return {"name": self.name, "lines": lines, "values": dict(self.values)}


@dataclass(frozen=True, slots=True)
class Item:
    """One item of the checklist.

    Attributes:
        text: What must be so.
        passed: None when it could not be checked.
        found: The fact that decided it.
        doubtful: Not passed, but it is not certain that something is broken.
    """

    text: str
    passed: bool | None
    found: str
    doubtful: bool = False

    @property
    def line(self) -> Line:
        """The item as a line."""
        level: Level = "unknown" if self.passed is None else "ok" if self.passed else "failed"
        return Line("doubtful" if self.doubtful else level, f"{self.text} ({self.found})")

    def to_json(self) -> dict[str, object]:
        """Return the item for programs."""
        return {"text": self.text, "passed": self.passed, "found": self.found}


def ok(text: str) -> Line:
    """Return a line about something that is as it should be."""
    return Line("ok", text)


def info(text: str, advice: str | None = None) -> Line:
    """Return a line without judgement."""
    return Line("info", text, advice)


def warning(text: str, advice: str | None = None) -> Line:
    """Return a line about something that somebody should look at."""
    return Line("warning", text, advice)


def problem(text: str, advice: str | None = None, *, status: int) -> Line:
    """Return a line about something that must be repaired; `status` is its exit status."""
    return Line("problem", text, advice, status)


def exit_status(lines: Sequence[Line]) -> int:
    """Return the exit status of all lines together: 0, 3 for warnings, or a problem's."""
    found = {line.status for line in lines if line.level == "problem"}
    warned = any(line.level == "warning" for line in lines)
    first = next((status for status in _ORDER if status in found), None)
    return first if first is not None else FINDINGS if warned else 0


def guarded(parts: Iterable[Callable[[], Iterable[Line]]]) -> Iterator[Line]:
    """Yield the lines of all parts; a part that fails gives one line, repeated failures none."""
    reported: set[str] = set()
    for part in parts:
        try:
            yield from list(part())
        except LuxcliError as exc:
            if str(exc) in reported:
                continue
            reported.add(str(exc))
            advice = exc.advice
            if advice is None and isinstance(exc, DamagedError):
                advice = "'luxcli rollup daily' rebuilds it from archives and journals"
            yield problem(exc.what, advice, status=exc.exit_code)
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
