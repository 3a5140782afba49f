"""Offers the values of a heat pump through python-luxtronik's interface."""

import copy
from collections.abc import Sequence
from typing import TypeVar

from luxtronik.calculations import Calculations
from luxtronik.parameters import Parameters
from luxtronik.visibilities import Visibilities

from luxcli.controller.client import read_snapshot
from luxcli.model import GROUPS, Group, Snapshot
from luxcli.registers import catalogue, decoding
from luxcli.registers.decoding import Reading
from luxcli.registers.numbers import FIRMWARE

_Table = TypeVar("_Table", Calculations, Parameters, Visibilities)


class Connection:
    """Reads a heat pump with the interface of python-luxtronik's class; never writes.

    Each read makes new tables, so no value can be left over from an earlier read or from another
    heat pump.
    """

    def __init__(
        self, host: str, port: int = 8889, *, timeout_s: float = 60, retries: int = 3
    ) -> None:
        self._host, self._port = host, port
        self._timeout_s, self._retries = timeout_s, retries
        self._snapshot: Snapshot | None = None

    @property
    def snapshot(self) -> Snapshot:
        """The last complete read; reads if there was none yet."""
        return self._snapshot or self.read()

    def read(self) -> Snapshot:
        """Read all three blocks again; raises what `read_snapshot` raises."""
        self._snapshot = None
        self._snapshot = read_snapshot(
            self._host, self._port, timeout_s=self._timeout_s, retries=self._retries
        )
        return self._snapshot

    @property
    def calculations(self) -> Calculations:
        """python-luxtronik's table of calculations with the values of the last read."""
        block = list(self.snapshot.calculations)
        # chr() of the library's firmware text raises on anything that is not a character.
        texts = block[FIRMWARE]
        block[FIRMWARE] = [raw if 0 <= raw < 0x110000 else ord("?") for raw in texts]
        return _fill(Calculations(), "calculations", block)

    @property
    def parameters(self) -> Parameters:
        """python-luxtronik's table of parameters with the values of the last read."""
        return _fill(Parameters(), "parameters", self.snapshot.parameters)

    @property
    def visibilities(self) -> Visibilities:
        """python-luxtronik's table of visibilities with the values of the last read."""
        return _fill(Visibilities(), "visibilities", self.snapshot.visibilities)

    def get_all(self, group: Group) -> list[Reading]:
        """Return every register of one block with id, decoded value and unit, in index order."""
        return list(decoding.readings(self.snapshot, group))

    def get_all_sensors(self) -> dict[str, float]:
        """Return every numeric value of the three blocks by register id.

        Switches are 0 or 1, enumerations their code, times seconds since the epoch. What the
        controller marks as not available is left out.
        """
        found = {}
        for group in GROUPS:
            for index, raw in enumerate(self.snapshot.block(group)):
                register = catalogue.register(group, index)
                value = decoding.number(register, raw)
                if value is not None:
                    found[register.id] = value
        return found


def _fill(table: _Table, attribute: str, block: Sequence[int]) -> _Table:
    # The library keeps the values in the class, so the instance gets a copy of the table.
    setattr(table, attribute, copy.deepcopy(getattr(type(table), attribute)))
    table.parse(list(block))
    return table
