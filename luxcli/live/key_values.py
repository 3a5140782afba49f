"""The key values of a poll for people: short names, states in words, changes.

A register that the firmware does not have gives an empty value, never an error.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import tzinfo
from typing import Final, NamedTuple

from luxcli import times
from luxcli.model import GROUPS, Snapshot
from luxcli.registers import catalogue, decoding, numbers, ranges
from luxcli.registers.catalogue import Register

# A sensor that is not fitted has no number; a register that does not exist has nothing at all.
NOT_FITTED: Final = "\u2013"  # a dash
# Flow in l/h times spread in K is heat in kW times this, for water of 35 °C (FHEM, 98_LUXTRONIK2).
_LH_K_PER_KW: Final = 866.65
# They change in every poll and say nothing about the heat pump.
_ALWAYS_CHANGING: Final = frozenset(
    {("calculations", numbers.DISPLAY_TIMER), ("calculations", numbers.CLOCK)}
)
_ERROR_CODES: Final = frozenset(numbers.every(numbers.ERROR_CODES))
# Order of the changes: switches and states first, timers last.
_RANK: Final = {"switch": 0, "enum": 0, "code": 0, "energy": 3, "counter": 3, "number": 3}
_RANK_LAST: Final = {"duration": 4, "time": 4, "character": 4}
_SETTING_RANK: Final = 1
_MEASURED_RANK: Final = 2


class Derived(NamedTuple):
    """A value that is computed; its number is None where a register for it is missing."""

    id: str
    unit: str
    digits: int
    compute: Callable[["Values"], float | None]


class Item(NamedTuple):
    """One row: a short name and its registers.

    The first register that exists and is not 0 gives the value. Several are listed where newer
    firmware has moved a value.
    """

    label: str
    ids: tuple[str, ...] = ()
    derived: Derived | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """The value of one row.

    Attributes:
        id: Register or name of the computed value.
        label: Short name.
        text: Value with unit; `NOT_FITTED`, or empty where there is none.
        value: Decoded value, None where there is none.
        unit: Of `value`.
        digits: Decimal places of `value`.
    """

    id: str
    label: str
    text: str
    value: float | int | bool | str | None = None
    unit: str = ""
    digits: int = 0

    def change(self, before: "Row | None") -> str:
        """Return how the value changed since `before`: an arrow and the difference."""
        if before is None or before.id != self.id or before.value == self.value:
            return ""
        if self.value is None or before.value is None or isinstance(self.value, (bool, str)):
            return f"was {before.text or 'nothing'}"
        difference = self.value - float(before.value)
        unit = " s" if self.unit == "s" else ""
        return f"{'↑' if difference > 0 else '↓'}{abs(difference):.{self.digits}f}{unit}"


class Change(NamedTuple):
    """A register whose value differs from the poll before; values as text with unit."""

    register: Register
    old: str
    new: str


class Values:
    """The calculations of one poll by register id.

    Args:
        snapshot: The poll.
        fitted: Calculations that are known to have a sensor, because it once showed another value
            than that of a missing one: 75.0 °C is also a temperature.
    """

    def __init__(self, snapshot: Snapshot, fitted: Collection[int] = frozenset()) -> None:
        self.snapshot = snapshot
        self._fitted = fitted

    def raw(self, register_id: str) -> int | None:
        """Return the integer that was sent, None when the block is too short for it."""
        register = catalogue.by_id(register_id)
        block = self.snapshot.block(register.group)
        return block[register.index] if register.index < len(block) else None

    def not_fitted(self, register_id: str) -> bool:
        """Whether the register says that no sensor is fitted."""
        index, raw = catalogue.by_id(register_id).index, self.raw(register_id)
        return raw is not None and index not in self._fitted and ranges.is_not_fitted(index, raw)

    def number(self, register_id: str) -> float | None:
        """Return the value; None when it is missing or the sensor is."""
        raw = self.raw(register_id)
        if raw is None or self.not_fitted(register_id):
            return None
        return decoding.number(catalogue.by_id(register_id), raw)

    def word(self, register_id: str) -> str:
        """Return the label of a code, empty when the register is missing."""
        raw = self.raw(register_id)
        return "" if raw is None else text(catalogue.by_id(register_id), raw)


def text(register: Register, raw: int) -> str:
    """Return a register's value for people, with its unit; empty when there is none."""
    register = register.shown(raw)
    value = decoding.value(register, raw)
    if value is None:
        return ""
    if register.index in _ERROR_CODES and register.group == "calculations":
        return f"{raw} {register.labels.get(raw, 'unknown error')}"
    if isinstance(value, bool):
        return "on" if value else "off"
    if register.kind == "duration" and register.unit == "s" and raw >= 0:
        return span(raw)
    unit = f" {register.unit}" if register.unit else ""
    if isinstance(value, float):
        return f"{value:.{register.digits}f}{unit}"
    return value if isinstance(value, str) else f"{value}{unit}"


def span(seconds: int) -> str:
    """Return a span of time as the controller shows it: 1:02:03."""
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def row(item: Item, values: Values) -> Row:
    """Return the value of a row."""
    if item.derived:
        derived, number = item.derived, item.derived.compute(values)
        if number is not None:
            number = round(number, derived.digits)
        words = "" if number is None else f"{number:.{derived.digits}f} {derived.unit}"
        return Row(derived.id, item.label, words, number, derived.unit, derived.digits)
    there = [register_id for register_id in item.ids if values.raw(register_id) is not None]
    if not there:
        return Row(item.ids[0], item.label, "")
    chosen = next((register_id for register_id in there if values.raw(register_id)), there[0])
    if values.not_fitted(chosen):
        return Row(chosen, item.label, NOT_FITTED)
    register, raw = catalogue.by_id(chosen), values.raw(chosen)
    assert raw is not None
    value = decoding.value(register, raw)
    return Row(*(chosen, item.label, text(register, raw), value, register.unit, register.digits))


def state(values: Values) -> str:
    """Return the state of the heat pump in one line, in the words of its display."""
    mode = values.word("ID_WEB_WP_BZ_akt")
    lines = [values.word(f"ID_WEB_HauptMenuStatus_Zeile{number}") for number in (1, 2)]
    seconds = values.raw("ID_WEB_HauptMenuStatus_Zeit")
    if seconds is not None and lines[1]:
        lines.append(text(catalogue.by_id("ID_WEB_HauptMenuStatus_Zeit"), seconds))
    display = " ".join(line for line in lines if line)
    because = values.word("ID_WEB_HauptMenuStatus_Zeile3")
    return "; ".join(part for part in (mode, display, because) if part)


def model(values: Values) -> str:
    """Return model and firmware, such as ``MSW 6, V3.78``."""
    kind, firmware = (
        values.word("ID_WEB_Code_WP_akt"),
        decoding.firmware(values.snapshot.calculations),
    )
    return ", ".join(part for part in (kind, firmware) if part)


def last_error(values: Values, zone: tzinfo) -> str:
    """Return time and meaning of the newest error, which is the first; empty without errors."""
    code, when = values.raw("ID_WEB_ERROR_Nr0"), values.raw("ID_WEB_ERROR_Time0")
    if code is None or code <= 0 or when is None or when <= 0:
        return ""
    return f"{_moment(when, zone)} {values.word('ID_WEB_ERROR_Nr0')}"


def last_switch_off(values: Values, zone: tzinfo) -> str:
    """Return time and reason of the newest switch-off, empty when there is none.

    The log is a ring: the newest is the one with the largest time.
    """
    switched_off = [
        (when, number)
        for number in range(5)
        if (when := values.raw(f"ID_WEB_Switchoff_file_Time{number}")) is not None and when > 0
    ]
    if not switched_off:
        return ""
    when, number = max(switched_off)
    return f"{_moment(when, zone)} {values.word(f'ID_WEB_Switchoff_file_Nr{number}')}"


def changes(before: Snapshot, now: Snapshot, besides: Collection[str] = ()) -> list[Change]:
    """Return the registers that changed between two polls, the most important first.

    Args:
        before: The earlier poll.
        now: The later one.
        besides: Ids that are shown elsewhere.
    """
    found = []
    for group in GROUPS:
        pairs = zip(before.block(group), now.block(group), strict=False)
        for index, (old, new) in enumerate(pairs):
            if old == new or (group, index) in _ALWAYS_CHANGING:
                continue
            register = catalogue.register(group, index).in_force(now.calculations)
            if register.id not in besides:
                found.append(Change(register, text(register, old), text(register, new)))
    return sorted(found, key=_rank)


def _rank(change: Change) -> int:
    kind = change.register.kind
    if kind in _RANK_LAST:
        return _RANK_LAST[kind]
    if change.register.group == "parameters" and kind not in ("energy", "counter"):
        return _SETTING_RANK
    return _RANK.get(kind, _MEASURED_RANK)


def _moment(seconds: int, zone: tzinfo) -> str:
    return f"{times.local_time(seconds * 1000, zone):%Y-%m-%d %H:%M}"


def _difference(warmer: str, colder: str) -> Callable[[Values], float | None]:
    def compute(values: Values) -> float | None:
        first, second = values.number(warmer), values.number(colder)
        return None if first is None or second is None else first - second

    return compute


def _heat_w(values: Values) -> float | None:
    """Return the heat output: the controller's own, else flow rate times spread.

    Older firmware has no such register or leaves it at 0, also while the compressor runs.
    """
    heat_output = values.number("Heat_Output")
    if heat_output or (heat_output is not None and not values.raw("ID_WEB_VD1out")):
        return heat_output
    spread = _difference(_FLOW, _RETURN)(values)
    flow = next((rate for name in _FLOW_RATES if (rate := values.number(name))), None)
    if spread is None or flow is None:
        return heat_output
    return abs(spread) * flow / _LH_K_PER_KW * 1000


_FLOW, _RETURN = "ID_WEB_Temperatur_TVL", "ID_WEB_Temperatur_TRL"
_SOURCE = ("ID_WEB_Temperatur_TWE", "ID_WEB_Temperatur_TWA")
_FLOW_RATES = ("ID_WEB_WMZ_Durchfluss", "Flow_Rate")
_SPREAD = Derived("spread", "K", 1, _difference(_FLOW, _RETURN))
_SOURCE_SPREAD = Derived("source_spread", "K", 1, _difference(*_SOURCE))
# 0 where the compressor has one speed only.
_FREQUENCY = Derived(
    "ID_WEB_Freq_VD", "Hz", 0, lambda values: values.number("ID_WEB_Freq_VD") or None
)
_HEAT = Derived("heat_output", "W", 0, _heat_w)

OUTDOOR: Final = Item("outdoor", ("ID_WEB_Temperatur_TA",))
FLOW: Final = Item("flow", (_FLOW,))
RETURN: Final = Item("return", (_RETURN,))
HOT_WATER: Final = Item("hot water", ("ID_WEB_Temperatur_TBW",))
COMPRESSOR: Final = Item("compressor", ("ID_WEB_VD1out",))
SOURCE_IN: Final = Item("source in", ("ID_WEB_Temperatur_TWE",))

TEMPERATURES: Final = (
    FLOW,
    RETURN,
    Item("return set", ("ID_WEB_Sollwert_TRL_HZ",)),
    Item("spread", derived=_SPREAD),
    Item("external return", ("ID_WEB_Temperatur_TRL_ext",)),
    OUTDOOR,
    Item("outdoor mean", ("ID_WEB_Mitteltemperatur",)),
    HOT_WATER,
    Item("hot water set", ("ID_WEB_Einst_BWS_akt",)),
    SOURCE_IN,
    Item("source out", ("ID_WEB_Temperatur_TWA",)),
    Item("source spread", derived=_SOURCE_SPREAD),
    Item("hot gas", ("ID_WEB_Temperatur_THG",)),
    Item("superheat", ("ID_WEB_LIN_UH",)),
    Item("high pressure", ("ID_WEB_LIN_HD",)),
    Item("low pressure", ("ID_WEB_LIN_ND",)),
)
MACHINE: Final = (
    COMPRESSOR,
    Item("frequency", derived=_FREQUENCY),
    Item("heating pump", ("ID_WEB_HUPout",)),
    Item("hot water valve", ("ID_WEB_BUPout",)),
    Item("source pump/fan", ("ID_WEB_VBOout",)),
    Item("circulation", ("ID_WEB_ZIPout",)),
    Item("defrost valve", ("ID_WEB_AVout",)),
    Item("extra heater", ("ID_WEB_ZW1out",)),
    Item("utility release", ("ID_WEB_EVUin",)),
    Item("flow rate", _FLOW_RATES),
    Item("heat output", derived=_HEAT),
    Item("electric power", ("AC_Power_Input",)),
    Item("run time", ("ID_WEB_Zaehler_BetrZeitVD1",)),
    Item("starts", ("ID_WEB_Zaehler_BetrZeitImpVD1",)),
    Item("heat, heating", ("ID_WEB_WMZ_Heizung",)),
    Item("heat, hot water", ("ID_WEB_WMZ_Brauchwasser",)),
)
ITEMS: Final = (*TEMPERATURES, *MACHINE)
