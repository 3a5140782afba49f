"""Every register number that the code has a name for is the register that is meant."""

from luxcli.model import Group
from luxcli.registers import catalogue, numbers

# Name -> id of the register; of neighbours the first and the last.
CALCULATIONS: dict[str, str | tuple[str, str]] = {
    "FLOW_TEMPERATURE": "ID_WEB_Temperatur_TVL",
    "RETURN_TEMPERATURE": "ID_WEB_Temperatur_TRL",
    "RETURN_SET_POINT": "ID_WEB_Sollwert_TRL_HZ",
    "EXTERNAL_RETURN_TEMPERATURE": "ID_WEB_Temperatur_TRL_ext",
    "HOT_GAS_TEMPERATURE": "ID_WEB_Temperatur_THG",
    "OUTDOOR_TEMPERATURE": "ID_WEB_Temperatur_TA",
    "MEAN_OUTDOOR_TEMPERATURE": "ID_WEB_Mitteltemperatur",
    "DHW_TEMPERATURE": "ID_WEB_Temperatur_TBW",
    "DHW_SET_POINT": "ID_WEB_Einst_BWS_akt",
    "SOURCE_IN_TEMPERATURE": "ID_WEB_Temperatur_TWE",
    "SOURCE_OUT_TEMPERATURE": "ID_WEB_Temperatur_TWA",
    "MIXING_1_TEMPERATURE": "ID_WEB_Temperatur_TFB1",
    "MIXING_1_SET_POINT": "ID_WEB_Sollwert_TVL_MK1",
    "MIXING_2_TEMPERATURE": "ID_WEB_Temperatur_TFB2",
    "MIXING_2_SET_POINT": "ID_WEB_Sollwert_TVL_MK2",
    "SOLAR_COLLECTOR_TEMPERATURE": "ID_WEB_Temperatur_TSK",
    "SOLAR_STORE_TEMPERATURE": "ID_WEB_Temperatur_TSS",
    "EXTERNAL_SOURCE_TEMPERATURE": "ID_WEB_Temperatur_TEE",
    "MIXING_3_SET_POINT": "ID_WEB_Sollwert_TVL_MK3",
    "MIXING_3_TEMPERATURE": "ID_WEB_Temperatur_TFB3",
    "EVAPORATOR_SUCTION_TEMPERATURE": "ID_WEB_LIN_ANSAUG_VERDAMPFER",
    "COMPRESSOR_SUCTION_TEMPERATURE": "ID_WEB_LIN_ANSAUG_VERDICHTER",
    "COMPRESSOR_HEATER_TEMPERATURE": "ID_WEB_LIN_VDH",
    "SWITCHES": ("ID_WEB_ASDin", "ID_WEB_MA2out"),
    "DEFROST_VALVE": "ID_WEB_AVout",
    "DHW_VALVE": "ID_WEB_BUPout",
    "HEATING_PUMP": "ID_WEB_HUPout",
    "COMPRESSOR_1": "ID_WEB_VD1out",
    "COMPRESSOR_2": "ID_WEB_VD2out",
    "CIRCULATION_PUMP": "ID_WEB_ZIPout",
    "ADDITIONAL_PUMP": "ID_WEB_ZUPout",
    "MIXING_2_PUMP": "ID_WEB_FP2out",
    "POOL_PUMP": "ID_WEB_SUPout",
    "RUN_TIMES": ("ID_WEB_Zaehler_BetrZeitVD1", "ID_WEB_Zaehler_BetrZeitKue"),
    "COMPRESSOR_1_RUN_TIME": "ID_WEB_Zaehler_BetrZeitVD1",
    "COMPRESSOR_1_STARTS": "ID_WEB_Zaehler_BetrZeitImpVD1",
    "COMPRESSOR_2_RUN_TIME": "ID_WEB_Zaehler_BetrZeitVD2",
    "COMPRESSOR_2_STARTS": "ID_WEB_Zaehler_BetrZeitImpVD2",
    "HEAT_PUMP_RUN_TIME": "ID_WEB_Zaehler_BetrZeitWP",
    "HEATING_RUN_TIME": "ID_WEB_Zaehler_BetrZeitHz",
    "DHW_RUN_TIME": "ID_WEB_Zaehler_BetrZeitBW",
    "COOLING_RUN_TIME": "ID_WEB_Zaehler_BetrZeitKue",
    "COMPRESSOR_STANDS": "ID_WEB_Time_VDStd_akt",
    "MODEL": "ID_WEB_Code_WP_akt",
    "BIVALENCE_LEVEL": "ID_WEB_BIV_Stufe_akt",
    "OPERATING_MODE": "ID_WEB_WP_BZ_akt",
    "FIRMWARE": ("ID_WEB_SoftStand", "ID_WEB_SoftStand_10"),
    "ADDRESSES": ("ID_WEB_AdresseIP_akt", "ID_WEB_Add_StdGateway"),
    "NETMASK": "ID_WEB_SubNetMask_akt",
    "DISPLAY_LINE_1": "ID_WEB_HauptMenuStatus_Zeile1",
    "DISPLAY_LINE_2": "ID_WEB_HauptMenuStatus_Zeile2",
    "DISPLAY_LINE_3": "ID_WEB_HauptMenuStatus_Zeile3",
    "DISPLAY_TIMER": "ID_WEB_HauptMenuStatus_Zeit",
    "DHW_STATE": "ID_WEB_SH_BWW",
    "HEATING_STATE": "ID_WEB_SH_HZ",
    "CLOCK": "ID_WEB_AktuelleTimeStamp",
    "ERROR_TIMES": ("ID_WEB_ERROR_Time0", "ID_WEB_ERROR_Time4"),
    "ERROR_CODES": ("ID_WEB_ERROR_Nr0", "ID_WEB_ERROR_Nr4"),
    "ERROR_COUNT": "ID_WEB_AnzahlFehlerInSpeicher",
    "SWITCH_OFF_CODES": ("ID_WEB_Switchoff_file_Nr0", "ID_WEB_Switchoff_file_Nr4"),
    "SWITCH_OFF_TIMES": ("ID_WEB_Switchoff_file_Time0", "ID_WEB_Switchoff_file_Time4"),
    "LOGS": ("ID_WEB_ERROR_Time0", "ID_WEB_Switchoff_file_Time4"),
    "HEAT_HEATING": "ID_WEB_WMZ_Heizung",
    "HEAT_DHW": "ID_WEB_WMZ_Brauchwasser",
    "HEAT_POOL": "ID_WEB_WMZ_Schwimmbad",
    "HEAT_TOTAL": "ID_WEB_WMZ_Seit",
    "FLOW_RATE": "ID_WEB_WMZ_Durchfluss",
    "HIGH_PRESSURE": "ID_WEB_LIN_HD",
    "LOW_PRESSURE": "ID_WEB_LIN_ND",
    "HEAT_OUTPUT": "Heat_Output",
    "POWER_INPUT": "AC_Power_Input",
}
PARAMETERS: dict[str, str | tuple[str, str]] = {
    "RETURN_LIMIT": "ID_Einst_TRBegr_akt",
    "HOT_GAS_LIMIT": "ID_Einst_THGmax_akt",
    "FLOW_LIMIT": "ID_Einst_TVLmax_akt",
    "STORED_SWITCH_OFF_CODES": ("ID_Switchoff_file_0_0", "ID_Switchoff_file_4_0"),
    "STORED_SWITCH_OFF_TIMES": ("ID_Switchoff_file_0_1", "ID_Switchoff_file_4_1"),
    "FINE_HEAT_TOTAL": "ID_Waermemenge_Seit",
    "FINE_HEAT_HEATING": "ID_Waermemenge_Hz",
    "SERIAL_NUMBER": ("ID_WP_SerienNummer_DATUM", "ID_WP_SerienNummer_HEX"),
    "FINE_HEAT_DHW": "ID_Waermemenge_BW",
    "FINE_HEAT_POOL": "ID_Waermemenge_SW",
    "DHW_LIMIT": "ID_Einst_BW_max",
    "LOW_PRESSURE_LIMIT": "ID_SEC_ND_Alarmgrenze",
    "HIGH_PRESSURE_LIMIT": "ID_SEC_HD_Alarmgrenze",
    "ELECTRICITY": ("HEAT_ENERGY_INPUT", "COOLING_ENERGY_INPUT"),
}


def ids(group: Group, name: str) -> str | tuple[str, str]:
    number = getattr(numbers, name)
    if isinstance(number, slice):
        return ids_at(group, number.start), ids_at(group, number.stop - 1)
    return ids_at(group, number)


def ids_at(group: Group, index: int) -> str:
    assert index < catalogue.length(group)
    return catalogue.register(group, index).id


def test_each_named_number_is_that_register_of_the_catalogue():
    assert {name: ids("calculations", name) for name in CALCULATIONS} == CALCULATIONS
    assert {name: ids("parameters", name) for name in PARAMETERS} == PARAMETERS


def test_no_number_has_a_name_that_is_not_compared_with_the_catalogue():
    named = {name for name in vars(numbers) if name.isupper()}
    assert named == {*CALCULATIONS, *PARAMETERS}


def test_two_names_never_stand_for_the_same_number():
    for names in (CALCULATIONS, PARAMETERS):
        values = [repr(getattr(numbers, name)) for name in names]
        assert len(values) == len(set(values))
