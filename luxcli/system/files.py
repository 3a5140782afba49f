"""File operations that survive a power cut, and a check whether a directory can be written."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO


def sync_directory(path: Path) -> None:
    """Sync a directory: only then a new or renamed file in it survives a power cut."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_directory(path: Path) -> None:
    """Create a directory and its missing parents, and sync them; it may exist already."""
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
    """Write a temporary file, sync it and rename it to `path`.

    Args:
        path: The final name; its directory is created. An existing file stays whole until then.
        temporary: Name of the temporary file, in the same directory; always removed.
        write: Writes the content to the file that it is given.
        accept: Called when the content is on the disk; False leaves `path` as it is.

    Returns:
        The size in bytes, None if it was not accepted.
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


def write_obstacle(directory: Path) -> str | None:
    """Return why a directory, existing or still to be created, cannot be written to, else None."""
    import tempfile  # as slow to load as a twentieth of a poll, which does not need it

    nearest = directory
    try:
        while not nearest.exists() and nearest != nearest.parent:
            if nearest.is_symlink():
                return f"{directory}: the link {nearest} leads to nothing: is it mounted?"
            nearest = nearest.parent
        # It is tried: permissions say nothing about read-only file systems or /proc.
        with tempfile.TemporaryFile(dir=nearest):
            return None
    except OSError as exc:
        return f"{directory}: nothing can be written to {nearest}: {exc.strerror}"


def size_text(size: int) -> str:
    """Return a number of bytes for people, such as ``1.4 MB``."""
    return f"{size / 1e6:.1f} MB" if size >= 100_000 else f"{size / 1e3:.1f} kB"
