"""Registers that identify the heat pump or its owner, and are therefore not published."""

from collections.abc import Mapping
from typing import Final

from luxcli.model import Group
from luxcli.registers import numbers

# Addresses, the web server's password, serial numbers of up to three units. Found by the names in
# ``data/parameters.csv`` and ``data/calculations.csv``.
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
