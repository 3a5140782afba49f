"""Small durable file operations that several modules share."""

import os
from pathlib import Path


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable: a new or renamed file is not, before that."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
