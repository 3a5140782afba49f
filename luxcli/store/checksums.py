"""Checksums of polls and settings: SQLite has none, and a failing card may return other bits."""

import struct
import zlib
from collections.abc import Sequence


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
