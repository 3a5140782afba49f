"""How a row of the ``poll`` table spells the blocks that were sent, and whether it still does.

A row holds what has ever varied; the rest is the same for many rows and worked on once for all of
them, so that a row costs one packing and one checksum of what varies.
"""

import struct
import zlib
from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import Any, Final

from luxcli.store import checksums
from luxcli.store.tables import Key

# Time, duration, tries and checksum; what varies follows.
HEAD_COLUMNS: Final = 4
_NUMBER: Final = struct.Struct(">q")
Row = tuple[int | None, ...]
Blocks = tuple[tuple[int, ...], tuple[int, ...]]


class Layout:
    """How to tell from a row, and from what is the same in each row, the blocks that were sent.

    Attributes:
        values: By place: what holds for each row; None in the places that vary.
    """

    def __init__(
        self, keys: Sequence[Key], varying: Sequence[int], fixed: dict[int, int | None]
    ) -> None:
        self.values: list[int | None] = [fixed.get(place) for place in range(len(keys))]
        self._changed: set[int] = set()
        # A register may be asked for twice; it is part of its block only once.
        place_of = {key: place for place, key in reversed(list(enumerate(keys)))}
        ordered = [[place_of[key] for key in sorted(place_of) if key[0] == k] for k in range(3)]
        self._calculations, self._places = ordered[0], ordered[1:]
        self._settings: Blocks | None = None
        self._blocks: list[list[int]] = []
        self._packed: list[bytearray] = []
        self._position: dict[int, int] = {}
        self._kinds = {place: kind for kind, places in enumerate(ordered) for place in places}
        self._column = {place: HEAD_COLUMNS + n for n, place in enumerate(varying)}
        self._see_settings()
        self._see_calculations()

    def changed(self, count: int) -> bool:
        """Return whether any of the first so many values has changed since this was last asked."""
        changed, self._changed = self._changed, set()
        return bool(changed) and min(changed) < count

    def change(self, changes: Iterable[tuple[int, int | None]]) -> None:
        """Take over new values of places."""
        kinds = set()
        for place, value in changes:
            before, self.values[place] = self.values[place], value
            self._changed.add(place)
            kind = self._kinds.get(place)
            kinds.add(kind)
            if kind and isinstance(value, int) and before is not None:
                position = self._position[place]
                self._blocks[kind - 1][position] = value
                if self._packed:
                    _NUMBER.pack_into(self._packed[kind - 1], position * _NUMBER.size, value)
            elif kind:
                kinds.add(None)
        if None in kinds:
            self._see_settings()
        elif kinds & {1, 2}:
            self._see_blocks()
        if 0 in kinds:
            self._see_calculations()

    @property
    def settings(self) -> Blocks:
        """Parameters and visibilities; the same objects until they change."""
        if self._settings is None:
            parameters, visibilities = self._blocks
            self._settings = (tuple(parameters), tuple(visibilities))
        return self._settings

    def sound(self, rows: Sequence[Row]) -> list[Row]:
        """Return those rows that are what was stored, by their checksum."""
        pack, varying = self._pack, self._varying
        settings, constant = self._settings_crc, self._constant_crc
        try:
            # What varies is packed between zeros, what does not is known already: the CRC of a
            # sum is the sum of the CRCs (a property of every CRC; sum means exclusive or).
            return [
                row
                for row in rows
                if zlib.crc32(pack(*varying(row)), settings) ^ constant == row[3]
            ]
        except struct.error:  # a register was not sent; or damage made something else of a number
            return [row for row in rows if self._fits(row)]

    def block(self, row: Row) -> tuple[int, ...]:
        """Return the calculations of a row; what follows them was not in that firmware."""
        block = self._block((*row, *self._constants))
        return tuple([raw for raw in block if raw is not None]) if None in block else block

    def _fits(self, row: Row) -> bool:
        try:
            return checksums.poll_crc(row[:3], self.block(row), self._settings_crc) == row[3]
        except struct.error:
            return False

    def _see_settings(self) -> None:
        self._blocks, self._position = [], {}
        for places in self._places:
            sent = [(p, value) for p in places if (value := self.values[p]) is not None]
            self._position |= {place: position for position, (place, _) in enumerate(sent)}
            self._blocks.append([value for _, value in sent])
        try:
            # As `ingest.settings_crc` does it, but kept: most changes are of one number.
            self._packed = [bytearray(checksums.packed(block)) for block in self._blocks]
        except struct.error:
            self._packed = []
        self._see_blocks()

    def _see_blocks(self) -> None:
        self._settings = None
        self._settings_crc = -1  # damage: none of its polls fits
        if self._packed:
            parameters, visibilities = self._packed
            self._settings_crc = zlib.crc32(visibilities, zlib.crc32(parameters))

    def _see_calculations(self) -> None:
        sent = [
            place
            for place in self._calculations
            if place in self._column or self.values[place] is not None
        ]
        self._constants = [self.values[place] for place in sent if place not in self._column]
        width = HEAD_COLUMNS + len(self._column)
        numbers = iter(range(width, width + len(self._constants)))
        columns = [self._column.get(place) or next(numbers) for place in sent]
        self._block = _picker(columns)
        self._varying = _picker([0, 1, 2, *(column for column in columns if column < width)])
        marks = ["q" if column < width else "8x" for column in columns]
        self._pack = struct.Struct(">3q" + "".join(marks)).pack
        constants = [0 if place in self._column else self.values[place] for place in sent]
        try:
            packed = struct.pack(f">3q{len(sent)}q", 0, 0, 0, *constants)
        except struct.error:  # damage: none of its polls fits
            self._constant_crc = -1
        else:
            self._constant_crc = zlib.crc32(packed) ^ zlib.crc32(bytes(len(packed)))


def _picker(columns: Sequence[int]) -> Callable[[Sequence[Any]], tuple[Any, ...]]:
    """Return what picks these columns of a row as a tuple."""
    if len(columns) > 1:
        return itemgetter(*columns)
    return lambda row: tuple(row[column] for column in columns)
