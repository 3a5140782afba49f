"""Checksums of polls and settings."""

import struct
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


def settings_crc(parameters: Sequence[int], visibilities: Sequence[int]) -> int:
    """Return the CRC-32 of two blocks as 32 bit integers; the start value for `poll_crc`."""
    return zlib.crc32(packed(visibilities), zlib.crc32(packed(parameters)))


def poll_crc(head: Sequence[int | None], calculations: Sequence[int], settings: int) -> int:
    """Return the checksum of a poll: SQLite has none, and a card may return other bits.

    Args:
        head: Time, duration and tries.
        calculations: The block as it was sent.
        settings: What `settings_crc` gives for the other two blocks.
    """
    return zlib.crc32(packed(calculations), zlib.crc32(packed(head), settings))


def packed(block: Sequence[int | None]) -> bytes:
    """Return numbers as the checksums take them: 64 bits each, the highest byte first."""
    return struct.pack(f">{len(block)}q", *block)
