"""Register catalogue: name, unit and meaning of every integer that the controller sends.

All of it stands in ``data/registers.csv``, one row for each register, and the meanings of codes in
``data/labels.csv``; docs/registers.md describes the columns. The code here only reads them.
"""

import csv
import difflib
import fnmatch
import functools
import re
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Literal, NamedTuple, cast

from luxcli.model import GROUPS, Group, Snapshot
from luxcli.registers import numbers, ranges

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
    "text",  # the firmware version, spread over ten registers
    "character",  # one of the other nine registers of that text
    "address",  # IPv4
    "number",  # an integer of unknown or no unit
]

Value = float | int | bool | str | None


class Reading(NamedTuple):
    """One decoded register.

    Attributes:
        group: The block it comes from.
        index: Its position in that block.
        id: Stable machine name.
        value: Decoded value; None when the controller says that there is none.
        unit: Unit of `value`, empty when it has none.
        raw: The integer that was sent.
    """

    group: Group
    index: int  # type: ignore[assignment]  # hides the method of tuples
    id: str
    value: float | int | bool | str | None
    unit: str
    raw: int


class Register(NamedTuple):
    """What is known about one register.

    Attributes:
        group: Block it belongs to.
        index: Position in that block.
        id: Stable machine name, python-luxtronik's where it has one.
        name: English name, without the unit.
        german: Term or abbreviation that the controller shows, empty if there is none.
        unit: Unit of the decoded value, empty if it has none.
        scale: The decoded value is the raw integer divided by this.
        kind: How it is decoded and what can be done with it.
        labels: Known codes and their meaning.
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

    def __hash__(self) -> int:
        return hash((self.group, self.index, self.id))

    def to_json(self) -> dict[str, object]:
        """Return what ``--json`` prints about the register."""
        labels = {str(code): text for code, text in self.labels.items()}
        return {**self._asdict(), "labels": labels}

    @property
    def is_known(self) -> bool:
        """Whether the meaning of the register is known."""
        return not self.name.startswith("Unknown ")


_WORDS: Final[dict[Group, str]] = {
    "calculations": "Calculation",
    "parameters": "Parameter",
    "visibilities": "Visibility",
}
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


def decode(register: Register, raw: int) -> Value:
    """Return the value of one register.

    Args:
        register: Where the integer comes from.
        raw: What the controller sent.

    Returns:
        A float when the register has a scale, a bool for switches, text for enumerations,
        times (UTC) and addresses, otherwise an int; an enumeration's code itself when it is not
        known. None when the controller says that there is no value.
    """
    if NOT_AVAILABLE.get((register.group, register.index)) == raw:
        return None
    value: Value = raw if register.scale == 1 else raw / register.scale
    match register.kind:
        case "switch":
            value = bool(raw)
        case "enum":
            value = register.labels.get(raw, raw)
        case "time":
            value = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(raw)) if raw > 0 else None
        case "address":
            value = ".".join(str(byte) for byte in struct.pack(">i", raw))
        case "text":
            value = _text([raw])
    return value


def numeric(register: Register, raw: int) -> float | None:
    """Return the value as a number: codes, 0 or 1 for switches, epoch seconds for times.

    None when there is no value, or none that is a number (texts and addresses).
    """
    match register.kind:
        case "text" | "character" | "address":
            return None
        case "enum":
            return float(raw)
        case "time":
            return float(raw) if raw > 0 else None
        case _:
            value = decode(register, raw)
            return None if value is None else float(value)


def firmware(calculations: Sequence[int]) -> str:
    """Return the firmware version that a block of calculations spells."""
    return _text(calculations[numbers.FIRMWARE])


def readings(snapshot: Snapshot, group: Group) -> Iterator[Reading]:
    """Yield every register of one block in index order, also those beyond the catalogue."""
    for index in range(len(snapshot.block(group))):
        found = reading(snapshot, group, index)
        assert found is not None
        yield found


def reading(snapshot: Snapshot, group: Group, index: int) -> Reading | None:
    """Return one decoded register, None when the controller does not send it."""
    block = snapshot.block(group)
    if index >= len(block):
        return None
    entry, raw = register(group, index), block[index]
    value = firmware(block) if entry.kind == "text" else decode(entry, raw)
    return Reading(group, index, entry.id, value, entry.unit, raw)


def error_meaning(code: int) -> str:
    """Return what an error code means, and which sensor it makes untrustworthy."""
    text = labels("error").get(code, "unknown code")
    if code in ranges.SENSOR_OF_ERROR:
        index = ranges.SENSOR_OF_ERROR[code]
        text += f": do not trust {register('calculations', index).id}"
    return text


def length(group: Group) -> int:
    """Return how many registers of that group the catalogue has."""
    return len(_table(group))


def _text(codes: Sequence[int]) -> str:
    # NUL ends the text and pads it; the rest of an older, longer text may follow.
    visible = "".join(chr(code) if code == 0 or 32 <= code < 127 else "?" for code in codes)
    return visible.strip("\0").partition("\0")[0]


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
    return frozenset(int(row[0][1:]) for row in _rows()[group] if row[9])


@functools.cache
def _table(group: Group) -> tuple[Register, ...]:
    meanings, word = {"": {}, **_labels()}, _WORDS[group]
    table = []
    for index, row in enumerate(_rows()[group]):
        _, id_, _, name, german, kind, unit, scale, codes, *_ = row
        entry = Register(
            group,
            index,
            id_ or f"Unknown_{word}_{index}",
            name or f"Unknown {word.lower()} {index}",
            german,
            unit,
            int(scale or 1),
            cast("Kind", kind or "number"),
            meanings[codes],
        )
        table.append(entry)
    return tuple(table)


@functools.cache
def _rows() -> dict[Group, list[list[str]]]:
    """Return the lines of the table, in which empty cells stand for what is usual."""
    found: dict[Group, list[list[str]]] = {group: [] for group in GROUPS}
    groups = {word[0]: found[group] for group, word in _WORDS.items()}
    with (_DATA / "registers.csv").open(encoding="utf-8", newline="") as file:
        lines = csv.reader(file)
        next(lines)
        for row in lines:
            groups[row[0][0]].append(row)
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
        row[2]: register(group, index)
        for group, rows in _rows().items()
        for index, row in enumerate(rows)
        if row[2]
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
