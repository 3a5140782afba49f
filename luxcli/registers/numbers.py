"""Where in its block each register stands that a rule, a check or a screen asks for by itself.

A poll loads this module, so it holds numbers and nothing else; the catalogue says what they mean.
Slices are for neighbours that are read together.
"""

from typing import Final

# Calculations: temperatures.
FLOW_TEMPERATURE: Final = 10
RETURN_TEMPERATURE: Final = 11
RETURN_SET_POINT: Final = 12
EXTERNAL_RETURN_TEMPERATURE: Final = 13
HOT_GAS_TEMPERATURE: Final = 14
OUTDOOR_TEMPERATURE: Final = 15
MEAN_OUTDOOR_TEMPERATURE: Final = 16
DHW_TEMPERATURE: Final = 17
DHW_SET_POINT: Final = 18
SOURCE_IN_TEMPERATURE: Final = 19
SOURCE_OUT_TEMPERATURE: Final = 20
MIXING_1_TEMPERATURE: Final = 21
MIXING_1_SET_POINT: Final = 22
MIXING_2_TEMPERATURE: Final = 24
MIXING_2_SET_POINT: Final = 25
SOLAR_COLLECTOR_TEMPERATURE: Final = 26
SOLAR_STORE_TEMPERATURE: Final = 27
EXTERNAL_SOURCE_TEMPERATURE: Final = 28
MIXING_3_SET_POINT: Final = 136
MIXING_3_TEMPERATURE: Final = 137
EVAPORATOR_SUCTION_TEMPERATURE: Final = 175
COMPRESSOR_SUCTION_TEMPERATURE: Final = 176
COMPRESSOR_HEATER_TEMPERATURE: Final = 177

# Calculations: inputs and outputs, each 0 or 1.
SWITCHES: Final = slice(29, 56)
DEFROST_VALVE: Final = 37
DHW_VALVE: Final = 38
HEATING_PUMP: Final = 39
COMPRESSOR_1: Final = 44
COMPRESSOR_2: Final = 45
CIRCULATION_PUMP: Final = 46
ADDITIONAL_PUMP: Final = 47
MIXING_2_PUMP: Final = 51
POOL_PUMP: Final = 53

# Calculations: run times in seconds, and starts.
RUN_TIMES: Final = slice(56, 67)
COMPRESSOR_1_RUN_TIME: Final = 56
COMPRESSOR_1_STARTS: Final = 57
COMPRESSOR_2_RUN_TIME: Final = 58
COMPRESSOR_2_STARTS: Final = 59
HEAT_PUMP_RUN_TIME: Final = 63
HEATING_RUN_TIME: Final = 64
DHW_RUN_TIME: Final = 65
COOLING_RUN_TIME: Final = 66
COMPRESSOR_STANDS: Final = 73

# Calculations: which controller it is, and what it does.
MODEL: Final = 78
BIVALENCE_LEVEL: Final = 79
OPERATING_MODE: Final = 80
FIRMWARE: Final = slice(81, 91)
ADDRESSES: Final = slice(91, 95)
NETMASK: Final = 92
DISPLAY_LINE_1: Final = 117
DISPLAY_LINE_2: Final = 118
DISPLAY_LINE_3: Final = 119
DISPLAY_TIMER: Final = 120
DHW_STATE: Final = 124
HEATING_STATE: Final = 125
CLOCK: Final = 134

# Calculations: the error log, newest first, and the switch-off log, a ring. Five entries each.
ERROR_TIMES: Final = slice(95, 100)
ERROR_CODES: Final = slice(100, 105)
ERROR_COUNT: Final = 105
SWITCH_OFF_CODES: Final = slice(106, 111)
SWITCH_OFF_TIMES: Final = slice(111, 116)
LOGS: Final = slice(ERROR_TIMES.start, SWITCH_OFF_TIMES.stop)

# Calculations: heat, refrigerant, power.
HEAT_HEATING: Final = 151
HEAT_DHW: Final = 152
HEAT_POOL: Final = 153
HEAT_TOTAL: Final = 154
FLOW_RATE: Final = 155
HIGH_PRESSURE: Final = 180
LOW_PRESSURE: Final = 181
HEAT_OUTPUT: Final = 257
POWER_INPUT: Final = 268

# Parameters.
RETURN_LIMIT: Final = 87
HOT_GAS_LIMIT: Final = 94
FLOW_LIMIT: Final = 149
STORED_SWITCH_OFF_CODES: Final = slice(716, 721)
STORED_SWITCH_OFF_TIMES: Final = slice(721, 726)
FINE_HEAT_TOTAL: Final = 852
FINE_HEAT_HEATING: Final = 854
SERIAL_NUMBER: Final = slice(874, 876)
FINE_HEAT_DHW: Final = 878
FINE_HEAT_POOL: Final = 879
DHW_LIMIT: Final = 973
LOW_PRESSURE_LIMIT: Final = 984
HIGH_PRESSURE_LIMIT: Final = 985
ELECTRICITY: Final = slice(1136, 1140)


def every(part: slice) -> range:
    """Return the register numbers of a slice."""
    return range(part.start, part.stop)
