"""What is normal: ranges of values, which sensors matter, what "not fitted" looks like.

Source of everything here: "sensors.md" sections 1 to 3, the project's register notes (compiled from
the Bouni, BenPru, FHEM and reto271 projects and from captures). Ranges are engineering judgement
unless the controller has the limit itself: a value outside is worth a look, no proof. All
registers are calculations; values are decoded (°C, K, bar, l/h, Hz, W, ...).
"""

from collections.abc import Mapping
from typing import Final, NamedTuple


class Range(NamedTuple):
    """Closed intervals of the decoded value: outside `warn` is odd, outside `reject` impossible."""

    warn: tuple[float, float]
    reject: tuple[float, float]


# Without these a poll says nothing about the heat pump. 17 counts where hot water is made, see
# `NOT_FITTED`.
CRITICAL: Final = (10, 11, 12, 15, 17, 44, 56, 57, 63, 80, 81, 134)
# Those of them that are temperatures.
CRITICAL_TEMPERATURES: Final = (10, 11, 12, 15, 17)
IMPORTANT: Final = (14, 19, 38, 39, 64, 65, 66, 95, 100, 117, 119, 151, 152, 155)

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
    227: _ROOM,
    228: _ROOM,
    229: Range((5, 80), (-10, 100)),
    232: Range((-40, 40), (-60, 110)),
    233: Range((-40, 75), (-60, 110)),  # at rest it is the temperature around
}

_OPTIONAL = (21, 22, 23, 24, 25, 26, 27, 28, 136, 137, 142, 143, 159, 160, 175, 176, 177, 178)
# Raw values with which a channel says that no sensor is fitted. Legal readings elsewhere: 0.0 °C
# and 5.0 °C outdoors are weather. Meant only while the value never changes.
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
# The controller shows this outdoor temperature while error 711 says that the sensor is broken.
BROKEN_OUTDOOR_RAW: Final = -50
# SHI fields of firmware 3.92 and later that have no value (raw).
NO_VALUE_RAW: Final = frozenset({32767, 2**31 - 1})

# Which error code makes which temperature untrustworthy.
SENSOR_OF_ERROR: Final[Mapping[int, int]] = {
    708: 11,
    709: 10,
    710: 14,
    711: 15,
    712: 17,
    713: 19,
    726: 21,
    728: 20,
    735: 28,
    736: 26,
    737: 27,
    738: 24,
    739: 137,
    750: 13,
    762: 175,
    763: 176,
    764: 177,
}
# Errors that end by themselves: a warning, not a problem.
PASSING_ERRORS: Final = frozenset({702, 715, 718, 719, 720, 721})

# Run times (s), starts and heat (0.1 kWh) that only grow. 154 is "since reset".
COUNTERS: Final = (*range(56, 67), 151, 152, 153, 154)


def is_not_fitted(index: int, raw: int) -> bool:
    """Whether a calculation holds the raw value that stands for "no sensor is fitted"."""
    return raw in NOT_FITTED.get(index, ()) or (index in RANGES and raw in NO_VALUE_RAW)
