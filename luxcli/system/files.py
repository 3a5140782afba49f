"""Small durable file operations that several modules share."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable: a new or renamed file is not, before that."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_directory(path: Path) -> None:
    """Create a directory and what is missing above it, durably; it may be there already."""
    missing = []
    while not path.is_dir():
        missing.append(path)
        path = path.parent
    for directory in reversed(missing):
        directory.mkdir(exist_ok=True)
        sync_directory(directory.parent)


def replace_durably(
    path: Path,
    temporary: Path,
    write: Callable[[BinaryIO], object],
    accept: Callable[[], bool] = lambda: True,
) -> int | None:
    """Write a file beside `path`, and put it there in one step when it is complete and synced.

    Args:
        path: The final name; what is there stays as it is until then. Its directory is made.
        temporary: Where to write, in the same directory; gone afterwards in any case.
        write: Writes the content.
        accept: Asked when all is on the disk; False leaves `path` alone.

    Returns:
        The size in bytes, None when it was not accepted.
    """
    make_directory(path.parent)
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
            size = file.tell()
        if not accept():
            return None
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_directory(path.parent)
    return size


def unwritable(directory: Path) -> str | None:
    """Return why nothing can be written to a directory that is there or will be made."""
    import tempfile  # too much for every poll to load

    nearest = directory
    try:
        while not nearest.exists() and nearest != nearest.parent:
            if nearest.is_symlink():
                return f"{directory}: the link {nearest} leads to nothing: is it mounted?"
            nearest = nearest.parent
        # Asked by doing it: permissions alone say nothing about read-only file systems or /proc.
        with tempfile.TemporaryFile(dir=nearest):
            return None
    except OSError as exc:
        return f"{directory}: nothing can be written to {nearest}: {exc.strerror}"
