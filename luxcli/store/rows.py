r"""Rebuilds the three register blocks from a database row and verifies their CRC.

A row holds the registers that have ever varied. All others are the same in many rows, so they are
checksummed once per batch. That is possible because CRC-32 is affine: for byte strings of one
length, ``crc(a ^ b) == crc(a) ^ crc(b) ^ crc(zeros)``. Take two registers of one byte each, of
which the first varies and the second is the constant 7. The checksum of a row with 5::

    crc(b"\x05\x07") == crc(b"\x05\x00") ^ crc(b"\x00\x07") ^ crc(b"\x00\x00")
         0xa2ca7319  ==      0x3caee6ba  ^      0xdfbd875c  ^      0x41d912ff

Only the first term changes from row to row; the other two are combined once.
"""

import struct
import zlib
from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import Any, Final

# What every poll has, before its registers; the checksum follows as the last column of the head.
HEAD: Final = ("ts_ms", "took_ms", "tries", "late_ms", "interval_s", "flags")
_CRC: Final = len(HEAD)
HEAD_COLUMNS: Final = _CRC + 1
# A row begins with these. The checksum is stored as a signed number.
HEAD_SQL: Final = ",".join((*HEAD, "crc&4294967295"))
_NUMBER: Final = struct.Struct(">q")
Key = tuple[int, int]  # kind (index into GROUPS), register index
Row = tuple[int | None, ...]
Blocks = tuple[tuple[int, ...], tuple[int, ...]]


def settings_crc(parameters: Sequence[int], visibilities: Sequence[int]) -> int:
    """Return the CRC-32 of both blocks, the start value for `poll_crc`."""
    return zlib.crc32(packed(visibilities), zlib.crc32(packed(parameters)))


def poll_crc(head: Sequence[int | None], calculations: Sequence[int], settings: int) -> int:
    """Return the checksum of a poll, 0 to 2**32 - 1; `signed` makes it what is stored.

    Args:
        head: What stands before it in a row: time, duration, tries, lateness, interval and flags.
        calculations: The block as it was sent.
        settings: The `settings_crc` of the other two blocks.
    """
    return zlib.crc32(packed(calculations), zlib.crc32(packed(head), settings))


def packed(block: Sequence[int | None]) -> bytes:
    """Return numbers as bytes, 64 bits each, the highest byte first."""
    return struct.pack(f">{len(block)}q", *block)


def signed(crc: int) -> int:
    """Return a checksum as a signed number, which SQLite keeps in 4 bytes instead of 6."""
    return crc - (1 << 32) if crc >= 1 << 31 else crc


class Layout:
    """Where each register of a poll comes from: a column of the row, or a constant.

    A register is known by its slot, its position in `keys`.

    Args:
        keys: The registers asked for; all that were ever stored are among them.
        varying: Slots of the registers that have a column, in the order of the columns.
        fixed: Values of the other slots.

    Attributes:
        constants: By slot: value of each requested register that is the same in all rows, else
            None.
    """

    def __init__(
        self, keys: Sequence[Key], varying: Sequence[int], fixed: dict[int, int | None]
    ) -> None:
        self.constants: list[int | None] = [fixed.get(slot) for slot in range(len(keys))]
        self._changed: set[int] = set()
        # A register may be asked for twice; it is part of its block only once.
        slot_of = {key: slot for slot, key in reversed(list(enumerate(keys)))}
        ordered = [[slot_of[key] for key in sorted(slot_of) if key[0] == k] for k in range(3)]
        self._calculations, self._setting_slots = ordered[0], ordered[1:]
        self._settings: Blocks | None = None
        self._blocks: list[list[int]] = []
        self._packed: list[bytearray] = []
        self._index: dict[int, int] = {}  # of a setting's slot: its index in the block as sent
        self._kinds = {slot: kind for kind, slots in enumerate(ordered) for slot in slots}
        self._column = {slot: HEAD_COLUMNS + n for n, slot in enumerate(varying)}
        self._update_settings()
        self._update_calculations()

    def has_changed(self, count: int) -> bool:
        """Return whether any of the first `count` slots has changed since the last call."""
        changed, self._changed = self._changed, set()
        return bool(changed) and min(changed) < count

    def update(self, changes: Iterable[tuple[int, int | None]]) -> None:
        """Take over new values: pairs of slot and value."""
        kinds = set()
        for slot, value in changes:
            before, self.constants[slot] = self.constants[slot], value
            self._changed.add(slot)
            kind = self._kinds.get(slot)
            kinds.add(kind)
            if kind and isinstance(value, int) and before is not None:
                index = self._index[slot]
                self._blocks[kind - 1][index] = value
                if self._packed:
                    _NUMBER.pack_into(self._packed[kind - 1], index * _NUMBER.size, value)
            elif kind:
                kinds.add(None)
        if None in kinds:
            self._update_settings()
        elif kinds & {1, 2}:
            self._update_settings_crc()
        if 0 in kinds:
            self._update_calculations()

    @property
    def settings(self) -> Blocks:
        """Parameters and visibilities; the same objects until they change."""
        if self._settings is None:
            parameters, visibilities = self._blocks
            self._settings = (tuple(parameters), tuple(visibilities))
        return self._settings

    def intact(self, rows: Sequence[Row]) -> list[Row]:
        """Return the rows whose checksum fits what they hold."""
        pack, varying = self._pack, self._varying
        settings, constants = self._settings_crc, self._constants_crc
        try:
            # The varying registers are packed with zeros for the constant ones: see the module.
            return [
                row
                for row in rows
                if zlib.crc32(pack(*varying(row)), settings) ^ constants == row[_CRC]
            ]
        except struct.error:  # a register was not sent; or damage made text of a number
            return [row for row in rows if self._is_intact(row)]

    def block(self, row: Row) -> tuple[int, ...]:
        """Return the calculations of a row, without those that the firmware did not send."""
        block = self._block((*row, *self._appended))
        return tuple([raw for raw in block if raw is not None]) if None in block else block

    def _is_intact(self, row: Row) -> bool:
        try:
            crc = poll_crc(row[:_CRC], self.block(row), self._settings_crc)
            return crc == row[_CRC]
        except struct.error:
            return False

    def _update_settings(self) -> None:
        self._blocks, self._index = [], {}
        for slots in self._setting_slots:
            sent = [(slot, value) for slot in slots if (value := self.constants[slot]) is not None]
            self._index |= {slot: index for index, (slot, _) in enumerate(sent)}
            self._blocks.append([value for _, value in sent])
        try:
            # As `settings_crc` does it, but kept: most changes are of one number.
            self._packed = [bytearray(packed(block)) for block in self._blocks]
        except struct.error:
            self._packed = []
        self._update_settings_crc()

    def _update_settings_crc(self) -> None:
        self._settings = None
        self._settings_crc = -1  # no checksum: the settings are damaged
        if self._packed:
            parameters, visibilities = self._packed
            self._settings_crc = zlib.crc32(visibilities, zlib.crc32(parameters))

    def _update_calculations(self) -> None:
        sent = [
            slot
            for slot in self._calculations
            if slot in self._column or self.constants[slot] is not None
        ]
        # Constants are appended to a row, so that one itemgetter picks the whole block.
        self._appended = [self.constants[slot] for slot in sent if slot not in self._column]
        width = HEAD_COLUMNS + len(self._column)
        numbers = iter(range(width, width + len(self._appended)))
        columns = [self._column.get(slot) or next(numbers) for slot in sent]
        self._block = _picker(columns)
        self._varying = _picker([*range(_CRC), *(column for column in columns if column < width)])
        marks = ["q" if column < width else "8x" for column in columns]
        self._pack = struct.Struct(f">{_CRC}q" + "".join(marks)).pack
        constants = [0 if slot in self._column else self.constants[slot] for slot in sent]
        try:
            packed = struct.pack(f">{_CRC + len(sent)}q", *[0] * _CRC, *constants)
        except struct.error:
            self._constants_crc = -1  # no checksum: the constants are damaged
        else:
            self._constants_crc = zlib.crc32(packed) ^ zlib.crc32(bytes(len(packed)))


def _picker(columns: Sequence[int]) -> Callable[[Sequence[Any]], tuple[Any, ...]]:
    """Return a function that picks these columns of a row as a tuple."""
    if len(columns) > 1:
        return itemgetter(*columns)
    return lambda row: tuple(row[column] for column in columns)
