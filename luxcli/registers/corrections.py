"""Tables that are laid over python-luxtronik 0.3.14's registers: code meanings and corrections.

Sources are described in docs/registers.md. "capture" is the complete dump of a brine heat pump
with firmware V3.78 in ``luxcli/simulator/data``, "upstream" is python-luxtronik's unreleased main
branch.
"""

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

from luxcli.model import Group
from luxcli.registers.codes import ERROR_CODES, MODELS, SWITCH_OFF_REASONS

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


class Correction(NamedTuple):
    """One deviation from python-luxtronik 0.3.14 and why.

    Attributes:
        group: Block that the registers belong to.
        indices: Registers that are corrected.
        library: What 0.3.14 gives.
        luxcli: What luxcli gives.
        reason: Why.
        source: Where the knowledge comes from.
        ids: New ids, one per index; empty to keep the library's.
        kind: New kind, None to keep; likewise unit and scale.
        unit: New unit.
        scale: New divisor.
        labels: Added to the library's labels or put in their place.
        unassigned: Codes to which the library gives a meaning that they do not have.
    """

    group: Group
    indices: tuple[int, ...]
    library: str
    luxcli: str
    reason: str
    source: str
    ids: tuple[str, ...] = ()
    kind: Kind | None = None
    unit: str | None = None
    scale: int | None = None
    labels: Mapping[int, str] | None = None
    unassigned: tuple[int, ...] = ()


_ENUMS: Final = (78, 79, 80, *range(106, 111), 117, 118, 119, 191, *range(217, 222), 230)
_TIMES: Final = (*range(95, 100), *range(111, 116), 134, *range(222, 227))


CORRECTIONS: Final[tuple[Correction, ...]] = (
    # How a kind is decoded
    Correction(
        "calculations",
        _TIMES,
        library="naive datetime in the time zone of the process; 1970 for 0 and less",
        luxcli="ISO 8601 text in UTC; None for 0 and less",
        reason="the same data must read the same on every machine; an empty slot is no date",
        source="datatypes.Timestamp",
    ),
    Correction(
        "calculations",
        _ENUMS,
        library="None for an unknown code",
        luxcli="the code itself",
        reason="new firmware adds codes; a number can still be looked up",
        source="datatypes.SelectionBase",
    ),
    Correction(
        "parameters",
        (3, 4, 108, 119, 779, 881, 894),
        library="None for an unknown code",
        luxcli="the code itself",
        reason="new firmware adds codes; a number can still be looked up",
        source="datatypes.SelectionBase",
    ),
    Correction(
        "calculations",
        (81,),
        library="nine characters; ValueError for what is no character",
        luxcli="ten characters; '?' for what is not printable ASCII",
        reason="registers 81..90 hold the text; one damaged value must not stop all decoding",
        source="calculations.Calculations.parse",
    ),
    Correction(
        "calculations",
        tuple(range(82, 91)),
        library="no such registers",
        luxcli="the character codes, left out of groups",
        reason="every value is kept under an id; the text as a whole is register 81",
        source="calculations.Calculations.parse",
        ids=tuple(f"ID_WEB_SoftStand_{number}" for number in range(2, 11)),
        kind="character",
    ),
    # Code meanings
    Correction(
        "calculations",
        (78, 230),
        library="models up to 75, 72 is MSW 13S",
        luxcli="models up to 88, 72 is MSW 12S",
        reason="newer models",
        source="upstream datatypes.HeatpumpCode",
        labels=MODELS,
    ),
    Correction(
        "calculations",
        (79,),
        library="None for 0; 3 is an additional compressor",
        luxcli="none for 0; 3 is an additional heat generator",
        reason="0 is sent while nothing is released; level 3 releases the second heat generator",
        source="upstream datatypes.BivalenceLevel",
        labels={0: "none", 3: "additional heat generator allowed to run"},
    ),
    Correction(
        "calculations",
        (*range(106, 111), *range(217, 222)),
        library="nine reasons, three of them misnumbered",
        luxcli="27 reasons",
        reason="the library's 1, 2 and 4 are in fact 0, 1 and 2; reasons from 10 on are missing",
        source="upstream datatypes.SwitchoffFile",
        labels=SWITCH_OFF_REASONS,
        unassigned=(4,),
    ),
    Correction(
        "calculations",
        (117,),
        library="witing on LIN connection",
        luxcli="waiting on LIN connection",
        reason="spelling",
        source="datatypes.MainMenuStatusLine1",
        labels={5: "waiting on LIN connection"},
    ),
    Correction(
        "calculations",
        (118,),
        library="None for 2",
        luxcli="since (fault)",
        reason="sent while an error is shown",
        source="FHEM 98_LUXTRONIK2.pm",
        labels={2: "since (fault)"},
    ),
    Correction(
        "calculations",
        (119,),
        library="thermal desinfection, external engery source, None for 19",
        luxcli="thermal disinfection, external energy source, domestic water reheating",
        reason="spelling; 19 is missing",
        source="FHEM 98_LUXTRONIK2.pm; coolchip/luxtronik2 for 19",
        labels={
            9: "thermal disinfection",
            13: "heating external energy source",
            19: "domestic water reheating",
        },
    ),
    Correction(
        "calculations",
        tuple(range(100, 105)),
        library="the code without a meaning",
        luxcli="the code, with labels",
        reason="the meaning is known",
        source="LoxWiki; FHEM 98_LUXTRONIK2.pm; upstream datatypes.Errorcode",
        labels=ERROR_CODES,
    ),
    Correction(
        "calculations",
        (124,),
        library="bool",
        luxcli="the code",
        reason="it has the states 0, 1 and 3",
        source="FHEM 98_LUXTRONIK2.pm",
        kind="code",
        labels={0: "locked", 1: "heating up or reached", 3: "off"},
    ),
    Correction(
        "calculations",
        (125,),
        library="the code without a meaning",
        luxcli="the code, with labels",
        reason="the meaning is known",
        source="FHEM 98_LUXTRONIK2.pm",
        labels={0: "reduced", 1: "normal", 3: "off"},
    ),
    # Units and scales of calculations
    Correction(
        "calculations",
        (156, 157, 162, 163),
        library="V, raw / 10",
        luxcli="V, raw / 100",
        reason="10 V is sent as 1000",
        source="BenPru/luxtronik",
        scale=100,
    ),
    Correction(
        "calculations",
        (164, 165),
        library="V, raw / 10",
        luxcli="%, raw / 10",
        reason="speed of the ventilation fans in percent",
        source='docs/registers.md, "Units and scales"',
        kind="percent",
        unit="%",
    ),
    Correction(
        "calculations",
        (187, 188),
        library="kWh, raw / 10",
        luxcli="kW, raw / 10",
        reason="a heat output goes up and down, it is no counter",
        source='docs/registers.md, "Units and scales"',
        kind="power",
        unit="kW",
    ),
    Correction(
        "calculations",
        (145,),
        library="raw",
        luxcli="s",
        reason="run time like its neighbours; its stored copy, parameter 859, is seconds upstream",
        source="names of the library; upstream definitions",
        kind="duration",
        unit="s",
    ),
    # Calculations that were identified after 0.3.14
    Correction(
        "calculations",
        (232, 233),
        library="raw",
        luxcli="°C, raw / 10",
        reason="identified later",
        source="upstream definitions",
        ids=("Vapourisation_Temperature", "Liquefaction_Temperature"),
        kind="temperature",
        unit="°C",
        scale=10,
    ),
    Correction(
        "calculations",
        (236, 237, 238),
        library="raw",
        luxcli="Hz",
        reason="identified later; V3.88.0 sent 1380 in 236, which cannot be Hz",
        source="upstream definitions",
        ids=("ID_WEB_Freq_VD_Soll", "ID_WEB_Freq_VD_Min", "ID_WEB_Freq_VD_Max"),
        kind="frequency",
        unit="Hz",
    ),
    Correction(
        "calculations",
        (239, 240, 242, 243),
        library="raw",
        luxcli="K, raw / 10",
        reason="identified later",
        source="upstream definitions",
        ids=(
            "VBO_Temp_Spread_Soll",
            "VBO_Temp_Spread_Ist",
            "HUP_Temp_Spread_Soll",
            "HUP_Temp_Spread_Ist",
        ),
        kind="difference",
        unit="K",
        scale=10,
    ),
    Correction(
        "calculations",
        (241, 254),
        library="Circulation_Pump, Flow_Rate_254",
        luxcli="HUP_PWM, Flow_Rate",
        reason="later names; the library's are still found",
        source="upstream definitions",
        ids=("HUP_PWM", "Flow_Rate"),
    ),
    Correction(
        "calculations",
        (258,),
        library="Unknown_Calculation_258",
        luxcli="RBE_Version, still raw: major * 100 + minor",
        reason="identified later",
        source="upstream definitions",
        ids=("RBE_Version",),
    ),
    Correction(
        "calculations",
        (267,),
        library="raw",
        luxcli="°C, raw / 10; None for 2147483647",
        reason="identified later; the largest integer means not available",
        source="Bouni/python-luxtronik#143",
        ids=("Desired_Room_Temperature",),
        kind="temperature",
        unit="°C",
        scale=10,
    ),
    Correction(
        "calculations",
        (268,),
        library="raw",
        luxcli="W",
        reason="identified later; the compressor alone",
        source="upstream definitions",
        ids=("AC_Power_Input",),
        kind="power",
        unit="W",
    ),
    # Parameters: settings
    Correction(
        "parameters",
        (14, 15, 16, 47, 87, 90, 91, 92, 94, 111, 141, 142, 143, 149, 774, 775, 776, 973, 979),
        library="raw",
        luxcli="°C, raw / 10",
        reason="limits, heating curves and set-points like their neighbours",
        source="upstream definitions",
        kind="temperature",
        unit="°C",
        scale=10,
    ),
    Correction(
        "parameters",
        (88, 89),
        library="raw",
        luxcli="K, raw / 10",
        reason="hysteresis and overshoot of the return temperature",
        source="upstream definitions",
        kind="difference",
        unit="K",
        scale=10,
    ),
    Correction(
        "parameters",
        (695, 696),
        library="raw",
        luxcli="the mode, or the code when it is unknown",
        reason="modes of mixing circuits 1 and 2, coded like 779",
        source="upstream definitions",
        kind="enum",
        labels={0: "Automatic", 2: "Party", 3: "Holidays", 4: "Off"},
    ),
    Correction(
        "parameters",
        (699, 994),
        library="raw",
        luxcli="bool",
        reason="switch the heating limit and DHW reheating on and off",
        source="upstream definitions",
        kind="switch",
    ),
    Correction(
        "parameters",
        (6, 7, 8, 136, 693, 694, *range(731, 736), 785, 787, 958, 959),
        library="raw",
        luxcli="ISO 8601 text in UTC; None for 0 and less",
        reason="start and end of holidays; unused ones hold 2007-01-01",
        source="capture; BenPru/luxtronik const.py",
        kind="time",
    ),
    Correction(
        "parameters",
        (864, 992),
        library="raw",
        luxcli="min",
        reason="pump overrun and release time of the additional heat generator",
        source="upstream definitions",
        kind="duration",
        unit="min",
    ),
    Correction(
        "parameters",
        (1025,),
        library="raw",
        luxcli="kW, raw / 10",
        reason="90 is an element of 9 kW",
        source="capture",
        kind="power",
        unit="kW",
        scale=10,
    ),
    Correction(
        "parameters",
        (*range(750, 754), *range(766, 772), 861),
        library="raw",
        luxcli="IPv4 address",
        reason="addresses of the controller, of slaves and of the remote server",
        source="names of the library; capture",
        kind="address",
    ),
    # Parameters: what the controller stores
    Correction(
        "parameters",
        (*range(668, 674), 728, 729, 730, 859, 882),
        library="raw",
        luxcli="s",
        reason="stored run times; they equal calculations 56, 58 and 60 to 66",
        source="capture; upstream definitions",
        kind="duration",
        unit="s",
    ),
    Correction(
        "parameters",
        (674, 675),
        library="raw",
        luxcli="raw, known as a counter",
        reason="stored compressor starts; they equal calculations 57 and 59",
        source="capture; upstream definitions",
        kind="counter",
    ),
    Correction(
        "parameters",
        (*range(716, 721), *range(995, 1000)),
        library="raw",
        luxcli="the reason, or the code when it is unknown",
        reason="stored switch-offs, coded like calculations 106 and 217",
        source="capture; names of the library",
        kind="enum",
        labels=SWITCH_OFF_REASONS,
    ),
    Correction(
        "parameters",
        (*range(721, 726), 880, *range(1000, 1005)),
        library="raw",
        luxcli="ISO 8601 text in UTC; None for 0 and less",
        reason="times of the stored switch-offs and start of the heat meter",
        source="capture; names of the library",
        kind="time",
    ),
    Correction(
        "parameters",
        (852, 853, 854, 878, 879, 1060),
        library="raw",
        luxcli="kWh, raw / 100",
        reason="852 and 854 are ten times calculations 154 and 151, 1060 equals 852",
        source="capture",
        kind="energy",
        unit="kWh",
        scale=100,
    ),
    Correction(
        "parameters",
        (1059,),
        library="raw",
        luxcli="raw, known as a counter",
        reason="heat of the electric element: 0.1 kWh on series 3, 0.01 kWh on series 1 and 2",
        source="BenPru/luxtronik#752",
        kind="counter",
    ),
    # Parameters that were identified after 0.3.14
    Correction(
        "parameters",
        (1087, *range(1092, 1114), 1120, 1121, 1122, 1158, 1159, 1175, 1176, 1177),
        library="Unknown_Parameter_N",
        luxcli="later names, still raw",
        reason="identified later; the library's names are still found",
        source="upstream definitions; BenPru/luxtronik const.py",
        ids=(
            "SILENT_MODE",
            "ID_Einst_SuSilence",
            *(f"ID_Einst_SilenceTimer_{number}" for number in range(21)),
            "SMART_GRID_HEATING_REDUCTION",
            "SMART_GRID_HEATING_INCREASE",
            "SMART_GRID_DHW_INCREASE",
            "POWER_LIMIT_SWITCH",
            "POWER_LIMIT_VALUE",
            "THERMAL_POWER_LIMIT_SWITCH",
            "THERMAL_POWER_LIMIT_HEATING",
            "THERMAL_POWER_LIMIT_WATER",
        ),
    ),
    Correction(
        "parameters",
        (1119,),
        library="raw",
        luxcli="ISO 8601 text in UTC; None for 0 and less",
        reason="identified later",
        source="upstream definitions",
        ids=("LAST_DEFROST_TIMESTAMP",),
        kind="time",
    ),
    Correction(
        "parameters",
        (1135, 1136, 1137, 1138, 1139),
        library="raw",
        luxcli="kWh, raw / 100",
        reason="identified later; upstream divides by 10, meters show that it is 100",
        source="BenPru/luxtronik#734",
        ids=(
            "COOLING_HEAT_AMOUNT",
            "HEAT_ENERGY_INPUT",
            "DHW_ENERGY_INPUT",
            "POOL_ENERGY_INPUT",
            "COOLING_ENERGY_INPUT",
        ),
        kind="energy",
        unit="kWh",
        scale=100,
    ),
    Correction(
        "parameters",
        (1140,),
        library="raw",
        luxcli="raw, known as a counter",
        reason="continues 1059 from V3.92 on; the scale depends on the series",
        source="upstream definitions",
        ids=("SECOND_HEAT_GENERATOR_AMOUNT_COUNTER",),
        kind="counter",
    ),
    Correction(
        "parameters",
        (1146, 1148),
        library="raw",
        luxcli="°C, raw / 10",
        reason="identified later",
        source="upstream definitions",
        ids=("EXTRA_DHW_TARGET_TEMPERATURE", "HEATING_TARGET_TEMP_ROOM_THERMOSTAT"),
        kind="temperature",
        unit="°C",
        scale=10,
    ),
    Correction(
        "parameters",
        (1147,),
        library="raw",
        luxcli="s",
        reason="identified later",
        source="BenPru/luxtronik const.py",
        ids=("EXTRA_DHW_DURATION",),
        kind="duration",
        unit="s",
    ),
    # Visibilities
    Correction(
        "visibilities",
        tuple(range(355, 398)),
        library="Unknown_Parameter_N",
        luxcli="Unknown_Visibility_N",
        reason="a name must not stand for two registers",
        source="visibilities.Visibilities.parse",
        ids=tuple(f"Unknown_Visibility_{index}" for index in range(355, 398)),
    ),
)
