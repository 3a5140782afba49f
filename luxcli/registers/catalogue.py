"""Register catalogue: name, unit and meaning of every integer that the controller sends.

It consists of python-luxtronik 0.3.14's tables, English and German names from ``data/``, and
`CORRECTIONS`. `decode` gives the library's value for every register that no correction names. The
library's tables are only read: they belong to its classes, so that a change would reach every user
of the library in this process.
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
from typing import Any, Final, NamedTuple

from luxtronik.calculations import Calculations
from luxtronik.parameters import Parameters
from luxtronik.visibilities import Visibilities

from luxcli.model import GROUPS, Group, Snapshot
from luxcli.registers import numbers, ranges
from luxcli.registers.codes import ERROR_CODES
from luxcli.registers.corrections import CORRECTIONS, Correction, Kind

__all__ = [
    "CORRECTIONS",
    "NOT_AVAILABLE",
    "Correction",
    "Kind",
    "Reading",
    "Register",
    "by_id",
    "catalogue",
    "decode",
    "firmware",
    "length",
    "numeric",
    "reading",
    "readings",
    "register",
    "select",
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
        id: Stable machine name, the library's where it has one.
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

# Datatype of the library -> kind, unit, divisor; all others stay raw numbers.
_DATATYPES: Final[dict[str, tuple[Kind, str, int]]] = {
    "Bool": ("switch", "", 1),
    "Celsius": ("temperature", "°C", 10),
    "Energy": ("energy", "kWh", 10),
    "Errorcode": ("code", "", 1),
    "Flow": ("flow", "l/h", 1),
    "Frequency": ("frequency", "Hz", 1),
    "Hours": ("duration", "h", 10),
    "IPAddress": ("address", "", 1),
    "Icon": ("code", "", 1),
    "Kelvin": ("difference", "K", 10),
    "Percent": ("percent", "%", 10),
    "Percent2": ("percent", "%", 1),
    "Power": ("power", "W", 1),
    "Pressure": ("pressure", "bar", 100),
    "Pulses": ("counter", "", 1),
    "Seconds": ("duration", "s", 1),
    "Speed": ("speed", "rpm", 1),
    "Timestamp": ("time", "", 1),
    "Version": ("text", "", 1),
    "Voltage": ("voltage", "V", 10),
}


def catalogue() -> tuple[Register, ...]:
    """Return every known register: calculations, parameters, visibilities, in index order."""
    return tuple(entry for group in GROUPS for entry in _table(group))


def register(group: Group, index: int) -> Register:
    """Return one register; beyond the catalogue an unknown one, named as the library does."""
    table = _table(group)
    if 0 <= index < len(table):
        return table[index]
    return _unknown(group, index)


def by_id(register_id: str) -> Register:
    """Return the register with exactly that id.

    The library's own name and ``Unknown_Calculation_N`` (``_Parameter_``, ``_Visibility_``) find
    a register as well, the latter beyond the catalogue too.

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
    text = ERROR_CODES.get(code, "unknown code")
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


@functools.cache
def _table(group: Group) -> tuple[Register, ...]:
    names = _names(group)
    table = [
        _from_library(group, index)._replace(name=name, german=german)
        for index, (name, german) in enumerate(names)
    ]
    for correction in CORRECTIONS:
        if correction.group == group:
            for position, index in enumerate(correction.indices):
                table[index] = _corrected(table[index], correction, position)
    return tuple(table)


def _names(group: Group) -> list[tuple[str, str]]:
    path = Path(__file__).parent / "data" / f"{group}.csv"
    with path.open(encoding="utf-8", newline="") as file:
        return [(row["name"], row["german"]) for row in csv.DictReader(file)]


def _library(group: Group) -> dict[int, Any]:
    tables: dict[Group, dict[int, Any]] = {
        "calculations": Calculations.calculations,
        "parameters": Parameters.parameters,
        "visibilities": Visibilities.visibilities,
    }
    return tables[group]


def _from_library(group: Group, index: int) -> Register:
    """Return the register as python-luxtronik 0.3.14 describes it."""
    entry = _library(group).get(index)
    # Another user of the library may have parsed a long block, which adds to its tables.
    if entry is None or entry.name.startswith("Unknown_"):
        return _unknown(group, index)
    kind, unit, scale = _DATATYPES.get(type(entry).__name__, ("number", "", 1))
    labels = dict(getattr(entry, "codes", {}))
    if labels:
        kind = "enum"
    return Register(group, index, entry.name, "", "", unit, scale, kind, labels)


def _unknown(group: Group, index: int) -> Register:
    if index < 0:
        raise IndexError(index)
    word = _WORDS[group]
    id_, name = f"Unknown_{word}_{index}", f"Unknown {word.lower()} {index}"
    return Register(group, index, id_, name, "", "", 1, "number", {})


def _corrected(entry: Register, correction: Correction, position: int) -> Register:
    labels = {**entry.labels, **(correction.labels or {})}
    for code in correction.unassigned:
        del labels[code]
    return entry._replace(
        id=correction.ids[position] if correction.ids else entry.id,
        kind=correction.kind or entry.kind,
        unit=entry.unit if correction.unit is None else correction.unit,
        scale=correction.scale or entry.scale,
        labels=labels,
    )


@functools.cache
def _by_id() -> dict[str, Register]:
    """Return the registers by their ids and by the library's names."""
    ours = {entry.id: entry for entry in catalogue()}
    theirs = {
        item.name: register(group, index)
        for group in GROUPS
        for index, item in _library(group).items()
        if not item.name.startswith("Unknown_")
    }
    return {**theirs, **ours}


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
