"""Register catalogue: name, unit and meaning of every integer that the controller sends.

All of it stands in ``data/registers.csv``, one row for each register, and the meanings of codes in
``data/labels.csv``; docs/registers.md describes the columns. The code here only reads them.
"""

import csv
import difflib
import fnmatch
import functools
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Literal, NamedTuple, cast

from luxcli.model import GROUPS, Group
from luxcli.registers import numbers

Kind = Literal[
    "temperature",  # °C
    "difference",  # K
    "pressure",  # bar
    "voltage",  # V
    "percent",  # %
    "flow",  # l/h
    "frequency",  # Hz
    "speed",  # rpm
    "power",  # W or kW
    "energy",  # kWh, a growing total
    "counter",  # a count that only grows
    "duration",  # s, min or h: a timer or a growing run time
    "switch",  # bool
    "enum",  # the label of a code; the code itself when it is not known
    "code",  # a code as a number; labels say what is known of its meaning
    "time",  # ISO 8601 in UTC; None when the slot is empty
    "time of day",  # seconds since midnight: 12:10, 24:00
    "period",  # two times of day in one integer: 06:00-22:00
    "text",  # the firmware version, spread over ten registers
    "character",  # one of the other nine registers of that text
    "address",  # IPv4
    "number",  # an integer of unknown or no unit
]


class Register(NamedTuple):
    """What is known about one register.

    Attributes:
        group: Block it belongs to.
        index: Position in that block.
        id: Stable machine name, python-luxtronik's where it has one.
        name: English name, without the unit.
        german: Term or abbreviation that the controller shows, empty if there is none.
        unit: Unit of the decoded value, empty if it has none.
        scale: The value is the raw integer divided by this, plus `offset`.
        kind: How it is decoded and what can be done with it.
        labels: Known codes and their meaning. Of a measuring kind they are codes in place of a
            value, such as 0 for "automatic".
        offset: See `scale`.
        cases: What it is instead under a condition.
    """

    group: Group
    index: int  # type: ignore[assignment]  # hides the method of tuples
    id: str
    name: str
    german: str
    unit: str
    scale: int
    kind: Kind
    labels: Mapping[int, str]
    offset: int = 0
    cases: "tuple[Case, ...]" = ()

    def __hash__(self) -> int:
        return hash((self.group, self.index, self.id))

    def to_json(self) -> dict[str, object]:
        """Return what ``--json`` prints about the register."""
        fields = self._asdict()
        fields["labels"] = {str(code): text for code, text in self.labels.items()}
        fields["cases"] = [
            {"when": case.when, "unit": case.register.unit, "scale": case.register.scale}
            for case in self.cases
        ]
        return fields

    @property
    def is_known(self) -> bool:
        """Whether the meaning of the register is known."""
        return not self.name.startswith("Unknown ")

    @property
    def digits(self) -> int:
        """Decimal places of the value."""
        return len(str(self.scale - 1)) if self.scale > 1 else 0

    def in_force(self, calculations: Sequence[int]) -> "Register":
        """Return what the register is with the firmware that a block of calculations names."""
        for case in self.cases:
            if case.series is not None and case.series == series(calculations):
                return case.register
        return self

    def shown(self, raw: int) -> "Register":
        """Return what the register is with this raw value, where its size decides the unit.

        Only screens for people use it: a column has one unit.
        """
        for case in self.cases:
            if case.holds is not None and case.holds(raw):
                return case.register
        return self


class Case(NamedTuple):
    """What a register is under a condition.

    Attributes:
        when: The condition as in the table: ``firmware:V3``, ``raw>100`` or ``raw<=100``.
        register: The register then.
    """

    when: str
    register: Register

    @property
    def series(self) -> str | None:
        """The series of firmware that it holds for, such as "V3"."""
        return self.when.removeprefix("firmware:") if self.when.startswith("firmware:") else None

    @property
    def holds(self) -> Callable[[int], bool] | None:
        """Whether it holds for a raw value, where that decides."""
        match = _SIZE.fullmatch(self.when)
        if match is None:
            return None
        limit = int(match[2])
        return limit.__lt__ if match[1] == ">" else limit.__ge__


def series(calculations: Sequence[int]) -> str:
    """Return the first two characters of the firmware text, such as "V3"."""
    codes = calculations[numbers.FIRMWARE.start : numbers.FIRMWARE.start + 2]
    return "".join(chr(code) for code in codes if 32 <= code < 127)


_WORDS: Final[dict[Group, str]] = {
    "calculations": "Calculation",
    "parameters": "Parameter",
    "visibilities": "Visibility",
}
_SIZE: Final = re.compile("raw(>|<=)([0-9]+)")
_UNKNOWN: Final = re.compile(r"Unknown_(Calculation|Parameter|Visibility)_([0-9]{1,9})", re.ASCII)
# Raw values that mean "no value" (Bouni/python-luxtronik#143). Constants of sensors that are not
# fitted are not listed: those may also be real, which `ranges` decides.
NOT_AVAILABLE: Final[Mapping[tuple[Group, int], int]] = {("calculations", 267): 2**31 - 1}
_DATA: Final = Path(__file__).parent / "data"


def catalogue() -> tuple[Register, ...]:
    """Return every known register: calculations, parameters, visibilities, in index order."""
    return tuple(entry for group in GROUPS for entry in _table(group))


def register(group: Group, index: int) -> Register:
    """Return one register; beyond the catalogue an unknown one, named as python-luxtronik does."""
    table = _table(group)
    if 0 <= index < len(table):
        return table[index]
    return _unknown(group, index)


def by_id(register_id: str) -> Register:
    """Return the register with exactly that id.

    The name in python-luxtronik and ``Unknown_Calculation_N`` (``_Parameter_``, ``_Visibility_``)
    find a register as well, the latter beyond the catalogue too.

    Raises:
        KeyError: There is none.
    """
    entry = _by_id().get(register_id) or _numbered(register_id)
    if entry is None:
        raise KeyError(register_id)
    return entry


def select(patterns: Sequence[str]) -> tuple[Register, ...]:
    """Return the registers that a user named, in catalogue order and without duplicates.

    Args:
        patterns: Groups (``calculations``, ``parameters``, ``visibilities``, ``all``), ids or
            globs over ids such as ``ID_WEB_Temperatur_*``; case does not matter. Groups and
            globs leave out the single characters of the firmware text, which ids still name.

    Raises:
        ValueError: A pattern matches nothing; the message names it and the closest id.
    """
    found: dict[tuple[int, int], Register] = {}
    unknown = []
    for pattern in patterns:
        matches = _matches(pattern)
        if not matches:
            unknown.append(f"{pattern!r} matches no sensor{_suggestion(pattern)}")
        for entry in matches:
            found[GROUPS.index(entry.group), entry.index] = entry
    if unknown:
        raise ValueError("; ".join(unknown))
    return tuple(found[key] for key in sorted(found))


def length(group: Group) -> int:
    """Return how many registers of that group the catalogue has."""
    return len(_table(group))


def labels(name: str) -> Mapping[int, str]:
    """Return the codes of one table of ``data/labels.csv`` with their meanings.

    Raises:
        KeyError: There is no such table.
    """
    return _labels()[name]


@functools.cache
def private(group: Group) -> frozenset[int]:
    """Return the registers of a block that identify the heat pump or its owner.

    Those are addresses, the password of the web server, serial numbers of up to three units.
    """
    return frozenset(int(row.register[1:]) for row in _rows()[group] if row.private)


class _Row(NamedTuple):
    """A line of ``data/registers.csv``, in which empty cells stand for what is usual."""

    register: str
    when: str
    id: str
    alias: str
    name: str
    german: str
    kind: str
    unit: str
    scale: str
    offset: str
    labels: str
    since: str
    private: str
    evidence: str
    source: str
    library: str
    why: str


@functools.cache
def _table(group: Group) -> tuple[Register, ...]:
    table: list[Register] = []
    for row in _rows()[group]:
        if row.when:
            # It says only what differs from the row above.
            known = table[-1]
            case = known._replace(
                unit=row.unit, scale=int(row.scale or 1), kind=cast("Kind", row.kind), cases=()
            )
            table[-1] = known._replace(cases=(*known.cases, Case(row.when, case)))
        else:
            table.append(_register(group, len(table), row))
    return tuple(table)


def _register(group: Group, index: int, row: _Row) -> Register:
    word = _WORDS[group]
    return Register(
        group,
        index,
        row.id or f"Unknown_{word}_{index}",
        row.name or f"Unknown {word.lower()} {index}",
        row.german,
        row.unit,
        int(row.scale or 1),
        cast("Kind", row.kind or "number"),
        _labels()[row.labels] if row.labels else {},
        int(row.offset or 0),
    )


@functools.cache
def _rows() -> dict[Group, list[_Row]]:
    found: dict[Group, list[_Row]] = {group: [] for group in GROUPS}
    groups = {word[0]: found[group] for group, word in _WORDS.items()}
    with (_DATA / "registers.csv").open(encoding="utf-8", newline="") as file:
        lines = csv.reader(file)
        next(lines)
        for line in lines:
            groups[line[0][0]].append(_Row(*line))
    return found


@functools.cache
def _labels() -> dict[str, dict[int, str]]:
    found: dict[str, dict[int, str]] = {}
    with (_DATA / "labels.csv").open(encoding="utf-8", newline="") as file:
        lines = csv.reader(file)
        next(lines)
        for name, code, text in lines:
            found.setdefault(name, {})[int(code)] = text
    return found


def _unknown(group: Group, index: int) -> Register:
    if index < 0:
        raise IndexError(index)
    word = _WORDS[group]
    id_, name = f"Unknown_{word}_{index}", f"Unknown {word.lower()} {index}"
    return Register(group, index, id_, name, "", "", 1, "number", {})


@functools.cache
def _by_id() -> dict[str, Register]:
    """Return the registers by their ids and by their names in python-luxtronik."""
    theirs = {
        row.alias: register(group, int(row.register[1:]))
        for group, rows in _rows().items()
        for row in rows
        if row.alias
    }
    return theirs | {entry.id: entry for entry in catalogue()}


def _numbered(id_: str) -> Register | None:
    match = _UNKNOWN.fullmatch(id_)
    if match is None:
        return None
    group = next(group for group, word in _WORDS.items() if word == match[1])
    return register(group, int(match[2]))


def _matches(pattern: str) -> list[Register]:
    wanted = pattern.lower()
    # A CSV of calculations alone does not need the table of two thousand settings.
    groups = [group for group in GROUPS if wanted == group] or GROUPS
    whole = [entry for group in groups for entry in _table(group) if entry.kind != "character"]
    if wanted == "all" or wanted in GROUPS:
        return whole
    if any(char in wanted for char in "*?["):
        return [entry for entry in whole if fnmatch.fnmatchcase(entry.id.lower(), wanted)]
    entries = [entry for id_, entry in _by_id().items() if id_.lower() == wanted]
    beyond = None if entries else _numbered(pattern.title())
    return entries if beyond is None else [beyond]


def _suggestion(pattern: str) -> str:
    candidates = {id_.lower(): id_ for id_ in ("all", *GROUPS, *_by_id())}
    close = difflib.get_close_matches(pattern.lower(), candidates, n=1)
    return f" (did you mean {candidates[close[0]]}?)" if close else ""
