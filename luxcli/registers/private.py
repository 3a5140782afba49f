"""Registers that say who and where the owner is."""

from collections.abc import Mapping
from typing import Final

from luxcli.model import Group
from luxcli.registers import numbers

# Registers that say where the heat pump is or which one it is: addresses, the web server's
# password, serial numbers of up to three units. Not for publication. Sources: the names in
# "parameters.csv" and "calculations.csv", and sensors.md section 2.
PRIVATE: Final[Mapping[Group, frozenset[int]]] = {
    "calculations": frozenset(numbers.every(numbers.ADDRESSES)),
    "parameters": frozenset(
        {
            *range(750, 754),
            *range(755, 761),
            *range(766, 772),
            861,
            *range(874, 877),
            *range(1026, 1029),
            *range(1054, 1057),
        }
    ),
    "visibilities": frozenset(),
}
