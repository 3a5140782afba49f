"""Turns the integers that the controller sends into values."""

import struct
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from luxcli.model import Group, Snapshot
from luxcli.registers import catalogue, numbers, ranges
from luxcli.registers.catalogue import NOT_AVAILABLE, Register

Value = float | int | bool | str | None

_DAY_S: Final = 86_400
_DAY_MINUTES: Final = 1440


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


def value(register: Register, raw: int) -> Value:
    """Return the value of one register.

    Args:
        register: Where the integer comes from; with cases, `Register.in_force` of it.
        raw: What the controller sent.

    Returns:
        A float when the register has a scale or an offset, a bool for switches, text for
        enumerations, times (UTC), times of day, pairs of them and addresses, otherwise
        an int. The integer itself where it is no known code and no time of day. None when the
        controller says that there is no value.
    """
    if NOT_AVAILABLE.get((register.group, register.index)) == raw:
        return None
    by_kind = _BY_KIND.get(register.kind)
    if by_kind is not None:
        return by_kind(raw)
    if raw in register.labels:
        return register.labels[raw]
    return (raw if register.scale == 1 else raw / register.scale) + register.offset


def number(register: Register, raw: int) -> float | None:
    """Return the value as a number.

    That is the code for enumerations, 0 or 1 for switches, seconds since the epoch for times,
    seconds since midnight for times of day. None when there is no value, or none that is a number:
    texts, addresses, pairs of times of day, "automatic" in place of a frequency.
    """
    match register.kind:
        case "text" | "character" | "address" | "period":
            return None
        case "enum" | "time of day":
            return float(raw)
        case "time":
            return float(raw) if raw > 0 else None
    found = value(register, raw)
    return None if found is None or isinstance(found, str) else float(found)


def period(raw: int) -> tuple[int, int] | None:
    """Return start and end of a pair of times of day, s since midnight; None if it is no pair.

    The low 16 bits are the minute that the period begins with, the high ones that of its end.
    """
    start, end = raw & 0xFFFF, raw >> 16
    if not (start <= _DAY_MINUTES and 0 <= end <= _DAY_MINUTES):
        return None
    return start * 60, end * 60


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
    entry = catalogue.register(group, index).in_force(snapshot.calculations)
    raw = block[index]
    found = firmware(block) if entry.kind == "text" else value(entry, raw)
    return Reading(group, index, entry.id, found, entry.unit, raw)


def error_meaning(code: int) -> str:
    """Return what an error code means, and which sensor it makes untrustworthy."""
    text = catalogue.labels("error").get(code, "unknown code")
    if code in ranges.SENSOR_OF_ERROR:
        index = ranges.SENSOR_OF_ERROR[code]
        text += f": do not trust {catalogue.register('calculations', index).id}"
    return text


def _text(codes: Sequence[int]) -> str:
    # NUL ends the text and pads it; the rest of an older, longer text may follow.
    visible = "".join(chr(code) if code == 0 or 32 <= code < 127 else "?" for code in codes)
    return visible.strip("\0").partition("\0")[0]


def _moment(raw: int) -> Value:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(raw)) if raw > 0 else None


def _time_of_day(raw: int) -> Value:
    """Return seconds since midnight as 12:10, 24:00 or, with odd seconds, 12:10:30."""
    if not 0 <= raw <= _DAY_S:
        return raw
    minutes, second = divmod(raw, 60)
    text = f"{minutes // 60:02}:{minutes % 60:02}"
    return f"{text}:{second:02}" if second else text


def _period(raw: int) -> Value:
    ends = period(raw)
    return raw if ends is None else f"{_time_of_day(ends[0])}-{_time_of_day(ends[1])}"


def _address(raw: int) -> Value:
    return ".".join(str(byte) for byte in struct.pack(">i", raw))


_BY_KIND: Final[Mapping[str, Callable[[int], Value]]] = {
    "switch": bool,
    "code": int,
    "time": _moment,
    "time of day": _time_of_day,
    "period": _period,
    "address": _address,
    "text": lambda raw: _text([raw]),
}
