"""What is normal: ranges of values, critical sensors, values that mean "not fitted".

Sources are given in docs/registers.md. Limits that the controller does not use itself are
engineering judgement: a value outside is worth a look and proves nothing. All registers are
calculations; values are decoded (°C, K, bar, l/h, Hz, W, ...).
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from luxcli.registers import numbers


class Range(NamedTuple):
    """Limits of the decoded value: unusual outside of `warn`, impossible outside of `reject`."""

    warn: tuple[float, float]
    reject: tuple[float, float]


# Hot water counts where it is made, see `NOT_FITTED`.
CRITICAL_TEMPERATURES: Final = (
    numbers.FLOW_TEMPERATURE,
    numbers.RETURN_TEMPERATURE,
    numbers.RETURN_SET_POINT,
    numbers.OUTDOOR_TEMPERATURE,
    numbers.DHW_TEMPERATURE,
)
# Without these a poll says nothing about the heat pump.
CRITICAL: Final = (
    *CRITICAL_TEMPERATURES,
    numbers.COMPRESSOR_1,
    numbers.COMPRESSOR_1_RUN_TIME,
    numbers.COMPRESSOR_1_STARTS,
    numbers.HEAT_PUMP_RUN_TIME,
    numbers.OPERATING_MODE,
    numbers.FIRMWARE.start,
    numbers.CLOCK,
)
IMPORTANT: Final = (
    numbers.HOT_GAS_TEMPERATURE,
    numbers.SOURCE_IN_TEMPERATURE,
    numbers.DHW_VALVE,
    numbers.HEATING_PUMP,
    numbers.HEATING_RUN_TIME,
    numbers.DHW_RUN_TIME,
    numbers.COOLING_RUN_TIME,
    numbers.ERROR_TIMES.start,
    numbers.ERROR_CODES.start,
    numbers.DISPLAY_LINE_1,
    numbers.DISPLAY_LINE_3,
    numbers.HEAT_HEATING,
    numbers.HEAT_DHW,
    numbers.FLOW_RATE,
)

_SOURCE = Range((-30, 45), (-45, 60))
_MIXED = Range((10, 60), (-10, 90))
# 0 while the circuit is off, as all summer; the least that can be set is 5.0 °C.
_SET_POINT = Range((0, 60), (-1, 80))
_ROOM = Range((5, 35), (-10, 50))
_REFRIGERANT = Range((-40, 60), (-60, 110))

RANGES: Final[Mapping[int, Range]] = {
    10: Range((5, 75), (-10, 100)),
    11: Range((5, 75), (-10, 100)),  # 66.8 °C in the log of a thermal disinfection
    12: _SET_POINT,
    13: Range((10, 65), (-10, 100)),
    14: Range((-30, 125), (-50, 150)),  # out of doors at rest it is as cold as the air
    15: Range((-30, 45), (-50, 60)),
    16: Range((-25, 40), (-50, 60)),
    17: Range((5, 80), (-10, 100)),
    18: Range((0, 75), (-1, 85)),  # 0 while hot water is off
    19: _SOURCE,
    20: _SOURCE,
    21: _MIXED,
    22: _SET_POINT,
    23: _ROOM,
    24: _MIXED,
    25: _SET_POINT,
    26: Range((-30, 150), (-60, 250)),
    27: Range((5, 95), (-10, 120)),
    28: Range((5, 90), (-10, 120)),
    136: _SET_POINT,
    137: _MIXED,
    142: _ROOM,
    143: _ROOM,
    159: Range((-20, 40), (-50, 60)),
    160: Range((-20, 40), (-50, 60)),
    175: Range((-40, 40), (-60, 80)),
    176: _REFRIGERANT,
    177: Range((-20, 110), (-40, 150)),
    178: Range((-20, 50), (-100, 100)),
    180: Range((0, 45), (-1, 60)),
    181: Range((0, 25), (-1, 60)),
    203: Range((-30, 125), (-50, 150)),
    204: _SOURCE,
    205: _REFRIGERANT,
    206: _REFRIGERANT,
    207: Range((-20, 110), (-40, 150)),
    227: _ROOM,
    228: _ROOM,
    229: Range((5, 80), (-10, 100)),
    232: Range((-40, 40), (-60, 110)),
    233: Range((-40, 75), (-60, 110)),  # at rest it is the temperature around
}

_OPTIONAL = (21, 22, 23, 24, 25, 26, 27, 28, 136, 137, 142, 143, 159, 160, 175, 176, 177, 178)
# Raw values that mean "no sensor is fitted", while the value never changes. Elsewhere they are
# readings: 0.0 °C and 5.0 °C outdoors are weather.
NOT_FITTED: Final[Mapping[int, frozenset[int]]] = {
    **{index: frozenset({0}) for index in (*_OPTIONAL, *range(203, 208), 227, 228, 229)},
    13: frozenset({50}),
    17: frozenset({50, 750, 0}),
    19: frozenset({-500}),
    20: frozenset({-500}),
    21: frozenset({0, 750}),
    23: frozenset({0, 50, -50}),
    24: frozenset({0, 750}),
    26: frozenset({0, 50}),
    27: frozenset({0, 1500}),
    28: frozenset({0, 50}),
    137: frozenset({0, 750}),
    160: frozenset({0, 50}),
}
# Constants that any channel may show instead of a measured value: 0.0, 5.0, 75.0, 150.0, -50.0 °C.
DEFAULTS_RAW: Final = frozenset({0, 50, 750, 1500, -500})
# The controller shows this outdoor temperature while error 711 says that the sensor is broken.
BROKEN_OUTDOOR_RAW: Final = -50
# SHI fields of firmware 3.92 and later that have no value (raw).
NO_VALUE_RAW: Final = frozenset({32767, 2**31 - 1})

OUTDOOR_SENSOR_ERROR: Final = 711
# Which error code makes which temperature untrustworthy.
SENSOR_OF_ERROR: Final[Mapping[int, int]] = {
    700: numbers.EXTERNAL_RETURN_TEMPERATURE,
    708: numbers.RETURN_TEMPERATURE,
    709: numbers.FLOW_TEMPERATURE,
    710: numbers.HOT_GAS_TEMPERATURE,
    OUTDOOR_SENSOR_ERROR: numbers.OUTDOOR_TEMPERATURE,
    712: numbers.DHW_TEMPERATURE,
    713: numbers.SOURCE_IN_TEMPERATURE,
    726: numbers.MIXING_1_TEMPERATURE,
    728: numbers.SOURCE_OUT_TEMPERATURE,
    735: numbers.EXTERNAL_SOURCE_TEMPERATURE,
    736: numbers.SOLAR_COLLECTOR_TEMPERATURE,
    737: numbers.SOLAR_STORE_TEMPERATURE,
    738: numbers.MIXING_2_TEMPERATURE,
    739: numbers.MIXING_3_TEMPERATURE,
    750: numbers.EXTERNAL_RETURN_TEMPERATURE,
    762: numbers.EVAPORATOR_SUCTION_TEMPERATURE,
    763: numbers.COMPRESSOR_SUCTION_TEMPERATURE,
    764: numbers.COMPRESSOR_HEATER_TEMPERATURE,
}
# Codes of an unused entry in the error log.
NO_ERROR: Final = frozenset({0, -1})
# Errors that end by themselves: a warning, not a problem.
PASSING_ERRORS: Final = frozenset({702, 715, 718, 719, 720, 721})

# What only grows: run times (s) and starts, heat (0.1 kWh), of which the total may be reset.
STARTS: Final = (numbers.COMPRESSOR_1_STARTS, numbers.COMPRESSOR_2_STARTS)
HEAT: Final = (numbers.HEAT_HEATING, numbers.HEAT_DHW, numbers.HEAT_POOL, numbers.HEAT_TOTAL)
COUNTERS: Final = (*numbers.every(numbers.RUN_TIMES), *HEAT)


def is_not_fitted(index: int, raw: int) -> bool:
    """Whether a calculation holds the raw value that stands for "no sensor is fitted"."""
    return raw in NOT_FITTED.get(index, ()) or (index in RANGES and raw in NO_VALUE_RAW)
