"""The catalogue against python-luxtronik itself, on the same raw integers."""

import copy
import csv
import functools
import json
import math
import random
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import pytest
from luxtronik.calculations import Calculations
from luxtronik.datatypes import Base, HeatpumpCode
from luxtronik.parameters import Parameters
from luxtronik.visibilities import Visibilities

import luxcli
from luxcli.model import GROUPS, Group, Snapshot
from luxcli.registers import catalogue, decoding

PACKAGE = Path(luxcli.__file__).parent
EXTENTS: dict[Group, int] = {"calculations": 275, "parameters": 1200, "visibilities": 398}
INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1
PROBES = (INT32_MIN, -500, 0, 1, 99, 1_500_000_000, INT32_MAX)
# What the library calls a measurement -> our kind and unit.
MEASUREMENTS = {
    None: ("number", ""),
    "Hz": ("frequency", "Hz"),
    "W": ("power", "W"),
    "bar": ("pressure", "bar"),
    "boolean": ("switch", ""),
    "celsius": ("temperature", "°C"),
    "count": ("number", ""),
    "energy": ("energy", "kWh"),
    "errorcode": ("code", ""),
    "flow": ("flow", "l/h"),
    "hours": ("duration", "h"),
    "icon": ("code", ""),
    "ipaddress": ("address", ""),
    "kelvin": ("difference", "K"),
    "level": ("number", ""),
    "percent": ("percent", "%"),
    "pulses": ("counter", ""),
    "rpm": ("speed", "rpm"),
    "seconds": ("duration", "s"),
    "selection": ("enum", ""),
    "timestamp": ("time", ""),
    "version": ("text", ""),
    "voltage": ("voltage", "V"),
}
WORDS = {"C": "calculations", "P": "parameters", "V": "visibilities"}
COLUMNS = [
    *("register", "when", "id", "alias", "name", "german", "kind", "unit", "scale", "offset"),
    *("labels", "since", "private", "evidence", "source", "library", "why"),
]
with (PACKAGE / "registers" / "data" / "registers.csv").open(encoding="utf-8", newline="") as file:
    EVERY_ROW = list(csv.DictReader(file))
ROWS = [row for row in EVERY_ROW if not row["when"]]
DIFFERENT = {row["register"] for row in ROWS if row["library"]}


def library_table(group: Group, block: Sequence[int]) -> dict[int, Base]:
    """Let the library parse a block into a table of its own: its usual one is in the class."""
    raw = list(block)
    if group == "calculations":
        # Its firmware text raises on what is no character; 81 is compared separately.
        raw[81:91] = [code if 0 <= code < 128 else ord("?") for code in raw[81:91]]
    table = {"calculations": Calculations, "parameters": Parameters, "visibilities": Visibilities}[
        group
    ]()
    setattr(table, group, copy.deepcopy(getattr(type(table), group)))
    table.parse(raw)
    parsed: dict[int, Base] = getattr(table, group)
    return parsed


def capture() -> dict[Group, list[int]]:
    recorded = json.loads(
        (PACKAGE / "simulator" / "data" / "msw6_v3.78.json").read_text(encoding="utf-8")
    )
    return {group: recorded[group] for group in GROUPS}


def constant(value: int, extra: int = 0) -> dict[Group, list[int]]:
    return {group: [value] * (extent + extra) for group, extent in EXTENTS.items()}


def noise(seed: int, *, small: bool) -> dict[Group, list[int]]:
    source = random.Random(seed)
    low, high = (-1000, 1000) if small else (INT32_MIN, INT32_MAX)
    return {
        group: [source.randint(low, high) for _ in range(source.randint(150, extent + 40))]
        for group, extent in EXTENTS.items()
    }


BLOCKS = {
    "capture": capture(),
    "one value": {group: [7] for group in GROUPS},
    "zeros": constant(0),
    "longer than known": constant(1, extra=60),
    "smallest": constant(INT32_MIN),
    "largest": constant(INT32_MAX),
    **{f"any int32 {seed}": noise(seed, small=False) for seed in range(6)},
    **{f"small numbers {seed}": noise(seed, small=True) for seed in range(6)},
}


def letter(group: Group, index: int) -> str:
    return f"{group[0].upper()}{index}"


def reading(entry: catalogue.Register, raw: int) -> object:
    """Return our value as python-luxtronik gives it: naive local times, no text for new codes."""
    value = decoding.value(entry, raw)
    if entry.kind == "time":
        return datetime.fromtimestamp(max(0, raw), UTC).astimezone().replace(tzinfo=None)
    if entry.kind == "enum":
        return entry.labels.get(raw)
    return value


@pytest.mark.parametrize("blocks", BLOCKS.values(), ids=BLOCKS.keys())
@pytest.mark.parametrize("group", GROUPS)
def test_every_register_reads_as_in_the_library_unless_its_row_says_otherwise(group, blocks):
    block = blocks[group]
    known = library_table(group, block)
    differing = {
        index: (value, known[index].value)
        for index, raw in enumerate(block)
        if index in known and letter(group, index) not in DIFFERENT
        for value in [reading(catalogue.register(group, index), raw)]
        if (value, type(value)) != (known[index].value, type(known[index].value))
    }
    assert differing == {}


def facts_of_the_library(entry: Base) -> tuple[str, str, str, dict[int, str]]:
    kind, unit = MEASUREMENTS[entry.measurement_type]
    name = "" if entry.name.startswith("Unknown_") else entry.name
    return name, kind, unit, getattr(entry, "codes", {})


@pytest.mark.parametrize("group", GROUPS)
def test_a_row_names_what_the_library_gives_if_and_only_if_it_differs(group):
    known = library_table(group, [0] * EXTENTS[group])
    wrong = []
    for index in range(EXTENTS[group]):
        ours, row = catalogue.register(group, index), rows()[letter(group, index)]
        if index in known:
            name, kind, unit, codes = facts_of_the_library(known[index])
            differs = (
                name != row["id"]
                or (kind, unit) != (ours.kind, ours.unit)
                or codes != ours.labels
                or any(reads_differently(ours, raw) for raw in PROBES)
            )
            assert name in (row["id"], row["alias"])
        else:
            differs = True
        needs_a_reason = differs or row["evidence"] == "open"
        if differs != bool(row["library"]) or needs_a_reason != bool(row["why"]):
            wrong.append(row)
    assert wrong == []


@functools.cache
def rows() -> dict[str, dict[str, str]]:
    return {row["register"]: row for row in ROWS}


@functools.cache
def library_at(group: Group, raw: int) -> dict[int, Base]:
    return library_table(group, [raw] * EXTENTS[group])


def reads_differently(entry: catalogue.Register, raw: int) -> bool:
    return reading(entry, raw) != library_at(entry.group, raw)[entry.index].value


def test_the_table_has_one_row_for_each_register_and_a_source_for_what_is_known():
    assert list(ROWS[0]) == COLUMNS
    places = [(WORDS[row["register"][0]], int(row["register"][1:])) for row in ROWS]
    assert places == [(group, index) for group in GROUPS for index in range(EXTENTS[group])]
    for row in ROWS:
        assert None not in row.values(), row
        assert bool(row["source"]) == bool(row["name"] or row["evidence"]), row
        assert row["kind"] in {*get_args(catalogue.Kind), ""} - {"number"}, row
        assert row["scale"] != "1", row
        assert row["private"] in {"private", ""}, row
        known = bool(row["kind"] or row["scale"])
        assert row["evidence"] in ({"verified", "unverified", "open"} if known else {"open", ""}), (
            row
        )


def test_labels_are_named_by_a_register_and_have_each_code_once():
    with (PACKAGE / "registers" / "data" / "labels.csv").open(encoding="utf-8", newline="") as file:
        labels = list(csv.DictReader(file))
    assert {label["labels"] for label in labels} == {row["labels"] for row in ROWS} - {""}
    assert len({(label["labels"], label["code"]) for label in labels}) == len(labels)
    with pytest.raises(KeyError):
        catalogue.labels("no such table")


def snapshot(blocks: dict[Group, list[int]]) -> Snapshot:
    return Snapshot(0, 0, 1, *(tuple(blocks.get(group, ())) for group in GROUPS))


@pytest.mark.parametrize(
    ("register_id", "raw", "value", "unit"),
    [
        ("ID_WEB_Temperatur_TA", -40, -4.0, "°C"),
        ("ID_WEB_EVUin", 1, True, ""),
        ("ID_WEB_LIN_HD", 1296, 12.96, "bar"),
        ("ID_WEB_Zaehler_BetrZeitVD1", 4273067, 4273067, "s"),
        ("ID_WEB_AdresseIP_akt", -1062731776, "192.168.0.0", ""),
        ("ID_WEB_SubNetMask_akt", -256, "255.255.255.0", ""),
        ("ID_WEB_ERROR_Nr0", 721, 721, ""),
        ("ID_WEB_ERROR_Time0", 1481864444, "2016-12-16T05:00:44Z", ""),
        ("ID_WEB_ERROR_Time0", 0, None, ""),
        ("ID_WEB_ERROR_Time0", -1, None, ""),
        ("ID_WEB_ERROR_Time0", INT32_MAX, "2038-01-19T03:14:07Z", ""),
        ("ID_WEB_Switchoff_file_Nr0", 0, "heatpump error", ""),
        ("ID_WEB_Switchoff_file_Nr0", 1, "system error", ""),
        ("ID_WEB_Switchoff_file_Nr0", 2, "operation mode second heat generator", ""),
        ("ID_WEB_Switchoff_file_Nr0", 3, "evu lock", ""),
        ("ID_WEB_Switchoff_file_Nr0", 4, "reset", ""),
        ("ID_WEB_Switchoff2_file_Nr4", 17, "other", ""),
        ("ID_WEB_Switchoff_file_Nr0", 99, 99, ""),
        ("ID_WEB_Code_WP_akt", 58, "MSW 6", ""),
        ("ID_WEB_Code_WP_akt", 72, "MSW 12S", ""),
        ("ID_WEB_Code_WP_akt_2", 88, "LP8V", ""),
        ("ID_WEB_Code_WP_akt", 35, "ERC", ""),
        ("ID_WEB_Code_WP_akt", 89, "LP11V", ""),
        ("ID_WEB_Code_WP_akt", 90, 90, ""),
        ("ID_WEB_BIV_Stufe_akt", 0, "none", ""),
        ("ID_WEB_HauptMenuStatus_Zeile1", 5, "waiting on LIN connection", ""),
        ("ID_WEB_HauptMenuStatus_Zeile3", 19, "domestic water reheating", ""),
        ("ID_WEB_SH_BWW", 3, 3, ""),
        ("ID_WEB_AnalogOut1", 1000, 10.0, "V"),
        ("ID_WEB_AnalogIn", 33, 3.3, "V"),
        ("ID_WEB_Out_VZU", 450, 45.0, "%"),
        ("ID_WEB_SEC_Qh_Ist", 52, 5.2, "kW"),
        ("Vapourisation_Temperature", 160, 16.0, "°C"),
        ("HUP_Temp_Spread_Ist", 55, 5.5, "K"),
        ("ID_WEB_Freq_VD_Soll", 60, 60, "Hz"),
        ("Flow_Rate", 1200, 1200, "l/h"),
        ("Desired_Room_Temperature", 215, 21.5, "°C"),
        ("Desired_Room_Temperature", INT32_MAX, None, "°C"),
        ("AC_Power_Input", 1500, 1500, "W"),
        ("ID_Ba_Hz_akt", 0, "Automatic", ""),
        ("ID_Ba_Hz_MK1_akt", 4, "Off", ""),
        ("ID_Einst_Minimale_Ruecklaufsolltemperatur", 150, 15.0, "°C"),
        ("ID_Einst_HRHyst_akt", 30, 3.0, "K"),
        ("ID_Einst_Heizgrenze", 1, True, ""),
        ("ID_Waermemenge_Hz", 877270, 8772.7, "kWh"),
        ("HEAT_ENERGY_INPUT", 123456, 1234.56, "kWh"),
        ("ID_Einst_Leistung_ZWE", 90, 9.0, "kW"),
        ("ID_Waermemenge_ZWE", 90, 90, ""),
        ("ID_Waermemenge_Datum", 1461904780, "2016-04-29T04:39:40Z", ""),
        ("LAST_DEFROST_TIMESTAMP", 1685073431, "2023-05-26T03:57:11Z", ""),
        ("ID_Visi_Heizung", 1, 1, ""),
        ("ID_WEB_HZIO_EVU2", 1, True, ""),
        ("RBE_Version", 112, 1.12, ""),
        ("Flow_Temperature_Maximum", 550, 55.0, "°C"),
        ("Hot_Gas_Temperature_Maximum", 1300, 130.0, "°C"),
        ("Output_9", 1, True, ""),
        ("Cooling_Release_Timer", 600, 600, "s"),
        ("ID_Einst_HzFtRl_akt", 300, 30.0, "°C"),
        ("ID_Einst_BwTDI_akt_MO", 1, True, ""),
        ("ID_Einst_MK1Typ_akt", 2, "charge", ""),
        ("ID_Einst_MK1Typ_akt", 7, 7, ""),
        ("ID_Ba_Sw_akt", 1, "PV off", ""),
        ("ID_Einst_Entl_time_akt", 24, 24, "h"),
        ("ID_Einst_SuHkr_akt", 1, "5+2", ""),
        ("ID_Einst_SuHkrW0_zeit_0_0", 43_800, "12:10", ""),
        ("ID_Einst_SuHkrW0_zeit_0_0", 86_400, "24:00", ""),
        ("ID_Einst_SuHkrW0_zeit_0_0", 43_830, "12:10:30", ""),
        ("ID_Einst_SuHkrW0_zeit_0_0", 86_401, 86_401, ""),
        ("ID_Einst_SuHkrW0_zeit_0_0", -1, -1, ""),
        ("ID_Einst_SilenceTimer_0", 1320 << 16 | 360, "06:00-22:00", ""),
        ("ID_Einst_SilenceTimer_0", 1440 << 16, "00:00-24:00", ""),
        ("ID_Einst_SilenceTimer_0", 0, "00:00-00:00", ""),
        ("ID_Einst_SilenceTimer_0", 1441, 1441, ""),
        ("ID_Einst_SilenceTimer_0", -1, -1, ""),
        ("ID_Einst_SuLuf_akt", 5, "days", ""),
        ("ID_Einst_WW_Nachheizung_max", 8, 5.0, "h"),
        ("ID_Einst_P155_DHW_Freq", 0, "automatic", "Hz"),
        ("ID_Einst_P155_DHW_Freq", 101, 120, "Hz"),
        ("THERMAL_POWER_LIMIT_COOLING", 95, 9.5, "kW"),
        ("SMART_GRID_HEATING_REDUCTION", -20, -2.0, "K"),
    ],
)
def test_a_known_raw_value_decodes_to(register_id, raw, value, unit):
    entry = catalogue.by_id(register_id)
    found = decoding.value(entry, raw)
    assert (found, type(found), entry.unit) == (value, type(value), unit)


def test_stored_copies_agree_with_the_calculations_in_the_capture():
    recorded = capture()

    def value(group: Group, index: int) -> object:
        return decoding.value(catalogue.register(group, index), recorded[group][index])

    pairs = [(852, 154), (854, 151), (878, 152), (879, 153)]  # heat
    pairs += [(668, 63), (669, 56), (670, 58), (671, 60), (672, 61), (673, 62)]  # run times
    pairs += [(674, 57), (675, 59), (728, 64), (729, 65), (730, 66), (859, 145)]
    pairs += [(716 + slot, 106 + slot) for slot in range(5)]  # switch-off reasons
    pairs += [(721 + slot, 111 + slot) for slot in range(5)]
    for parameter, calculation in pairs:
        copied, original = (
            catalogue.register("parameters", parameter),
            catalogue.register("calculations", calculation),
        )
        assert value("parameters", parameter) == value("calculations", calculation), copied
        assert (copied.kind, copied.unit) == (original.kind, original.unit)


def test_the_catalogue_covers_the_longest_known_blocks_in_index_order():
    expected = [(group, index) for group in GROUPS for index in range(EXTENTS[group])]
    assert [(entry.group, entry.index) for entry in catalogue.catalogue()] == expected


def test_ids_are_unique_whatever_the_case_and_fit_for_columns():
    ids = [entry.id for entry in catalogue.catalogue()]
    assert len({register_id.lower() for register_id in ids}) == len(ids)
    assert [each for each in ids if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", each)] == []


def test_names_with_units_are_there_and_unique():
    headings: dict[tuple[str, str], catalogue.Register] = {}
    for entry in catalogue.catalogue():
        assert re.fullmatch(r"[A-Z][ -~]*[!-~]", entry.name), entry
        assert "°" not in entry.name
        clash = headings.setdefault((entry.name.lower(), entry.unit), entry)
        assert clash is entry, (clash, entry)


@pytest.mark.parametrize("raw", [INT32_MIN, INT32_MIN + 1, -1, 0, 1, INT32_MAX - 1, INT32_MAX])
def test_no_register_fails_on_any_integer(raw):
    for entry in [*catalogue.catalogue(), *beyond()]:
        value = decoding.value(entry, raw)
        assert value is None or isinstance(value, str | int | float)
        number = decoding.number(entry, raw)
        assert number is None or math.isfinite(number)


def beyond() -> Iterator[catalogue.Register]:
    return (catalogue.register(group, extent + 5) for group, extent in EXTENTS.items())


def test_registers_beyond_the_catalogue_are_named_like_the_librarys_unknown_ones():
    assert [entry.id for entry in beyond()] == [
        "Unknown_Calculation_280",
        "Unknown_Parameter_1205",
        "Unknown_Visibility_403",
    ]
    for entry in beyond():
        assert catalogue.by_id(entry.id) == entry
        assert decoding.value(entry, -123) == -123
    with pytest.raises(IndexError):
        catalogue.register("calculations", -1)


def test_an_id_finds_its_register_and_so_does_the_librarys_name():
    for entry in catalogue.catalogue():
        assert catalogue.by_id(entry.id) is entry
    for group in GROUPS:
        for index, known in library_table(group, [0] * 250).items():
            if not (group == "visibilities" and known.name.startswith("Unknown_")):
                assert catalogue.by_id(known.name) == catalogue.register(group, index)


@pytest.mark.parametrize("wrong", ["id_web_temperatur_ta", "", "all", "Unknown_Thing_3", "ID_*"])
def test_no_other_text_is_an_id(wrong):
    with pytest.raises(KeyError):
        catalogue.by_id(wrong)


def test_labels_belong_to_the_register_and_leave_the_library_alone():
    assert catalogue.by_id("ID_WEB_Code_WP_akt").labels[72] == "MSW 12S"
    assert HeatpumpCode.codes[72] == "MSW 13S"
    for entry in catalogue.catalogue():
        if entry.labels:
            assert entry.kind in ("enum", "code", "frequency")
        if entry.kind == "enum":
            for code, label in entry.labels.items():
                assert decoding.value(entry, code) == label
                assert label.isprintable()


def test_error_codes_stay_numbers_and_have_a_text():
    entry = catalogue.by_id("ID_WEB_ERROR_Nr0")
    assert decoding.value(entry, 715) == 715
    assert entry.labels[715] == "high pressure cut-out"
    assert set(entry.labels) - {-1, 0} <= set(range(700, 817))


def test_a_register_can_be_written_as_json_and_kept_in_a_set():
    assert json.loads(json.dumps(catalogue.by_id("ID_WEB_SH_HZ")._asdict()))["index"] == 125
    assert len(set(catalogue.catalogue())) == len(catalogue.catalogue())


# --- firmware text


def spelled(text: str) -> list[int]:
    return [*[0] * 81, *text.encode("latin-1").ljust(10, b"\0"), *[0] * 100]


@pytest.mark.parametrize("text", ["V3.88.0", "V3.78", "F1.2", "", "V3.92.3-12"])
def test_the_firmware_text_is_spelled_by_ten_registers(text):
    assert decoding.firmware(spelled(text)) == text


@pytest.mark.parametrize(
    ("codes", "text"),
    [
        ([86, 51, 46, INT32_MIN, -1, 0x110000, 233, 10, 127, 56], "V3.??????8"),
        ([0, 0, 86, 51, 0, 0, 0, 0, 0, 0], "V3"),
        ([86, 51, 0, 46, 57, 0, 0, 0, 0, 0], "V3"),
        ([0] * 10, ""),
        ([86, 51], "V3"),
        ([], ""),
    ],
)
def test_damaged_firmware_text_never_fails(codes, text):
    assert decoding.firmware([0] * 81 + codes) == text


def test_readings_hold_the_whole_text_and_its_characters():
    found = list(
        decoding.readings(snapshot({"calculations": spelled("V3.92.3-12")}), "calculations")
    )
    assert (found[81].id, found[81].value, found[81].raw) == ("ID_WEB_SoftStand", "V3.92.3-12", 86)
    assert [(each.id, each.value) for each in found[82:91:8]] == [
        ("ID_WEB_SoftStand_2", ord("3")),
        ("ID_WEB_SoftStand_10", ord("2")),
    ]


# --- readings and numbers


@pytest.mark.parametrize("blocks", BLOCKS.values(), ids=BLOCKS.keys())
def test_readings_give_every_register_of_the_block_once_and_in_order(blocks):
    for group in GROUPS:
        found = list(decoding.readings(snapshot(blocks), group))
        assert [each.index for each in found] == list(range(len(blocks[group])))
        assert [each.raw for each in found] == blocks[group]
        assert {each.group for each in found} == {group}
        assert [each.id for each in found] == [
            catalogue.register(group, index).id for index in range(len(found))
        ]


@pytest.mark.parametrize(
    ("register_id", "raw", "number"),
    [
        ("ID_WEB_Temperatur_TA", -40, -4.0),
        ("ID_WEB_EVUin", 1, 1.0),
        ("ID_WEB_WP_BZ_akt", 5, 5.0),
        ("ID_WEB_ERROR_Nr0", 721, 721.0),
        ("ID_WEB_AktuelleTimeStamp", 1482965362, 1482965362.0),
        ("ID_WEB_ERROR_Time0", 0, None),
        ("Desired_Room_Temperature", INT32_MAX, None),
        ("ID_WEB_AdresseIP_akt", 1, None),
        ("ID_WEB_SoftStand", 86, None),
        ("ID_WEB_SoftStand_2", 51, None),
        ("Unknown_Calculation_300", 7, 7.0),
    ],
)
def test_as_a_number(register_id, raw, number):
    assert decoding.number(catalogue.by_id(register_id), raw) == number


# --- selection


def ids(*patterns: str) -> list[str]:
    return [entry.id for entry in catalogue.select(patterns)]


def test_a_group_is_selected_without_the_single_firmware_characters():
    chosen = catalogue.select(["calculations"])
    assert [entry.index for entry in chosen] == [*range(82), *range(91, 275)]
    assert len(catalogue.select(["all"])) == sum(EXTENTS.values()) - 9
    assert catalogue.select(["ALL"]) == catalogue.select(
        ["visibilities", "Parameters", "calculations"]
    )
    assert ids("ID_WEB_SoftStand*") == ["ID_WEB_SoftStand"]
    assert ids("ID_WEB_SoftStand_10") == ["ID_WEB_SoftStand_10"]


def test_selection_is_in_catalogue_order_without_duplicates():
    expected = ["ID_WEB_Temperatur_TVL", "ID_WEB_Temperatur_TA", "ID_Soll_BWS_akt"]
    assert ids(*reversed(expected)) == expected
    assert ids("ID_WEB_Temperatur_TA", *expected, "id_web_temperatur_t[av]*") == expected
    assert ids("Unknown_Parameter_1500", "Unknown_Calculation_300", "ID_WEB_EVUin") == [
        "ID_WEB_EVUin",
        "Unknown_Calculation_300",
        "Unknown_Parameter_1500",
    ]


def test_globs_and_ids_ignore_case_and_know_the_librarys_names():
    assert ids("id_web_temperatur_tfb?") == [f"ID_WEB_Temperatur_TFB{n}" for n in (1, 2, 3)]
    assert ids("heat_output") == ["Heat_Output"]
    assert ids("Circulation_Pump", "Unknown_Calculation_268") == ["HUP_PWM", "AC_Power_Input"]
    assert ids("unknown_visibility_500") == ["Unknown_Visibility_500"]
    assert ids() == []


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("ID_WEB_Temperatur_TVX", "(did you mean ID_WEB_Temperatur_TVL?)"),
        ("ID_WEB_Tempratur_TA*", "(did you mean ID_WEB_Temperatur_TA?)"),
        ("calculation", "(did you mean calculations?)"),
        ("xyz", "'xyz' matches no sensor"),
        ("", "'' matches no sensor"),
    ],
)
def test_a_pattern_that_matches_nothing_is_named_with_a_suggestion(pattern, message):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        catalogue.select(["calculations", pattern])
    assert str(caught.value).startswith(f"{pattern!r} matches no sensor")
