"""Files: reading small ones, writing that survives a power cut, whether a directory is writable."""

import errno
import os
import select
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final

# The largest small file: a configuration in which 600 sensors are named has 20 kB. Hostile ones of
# this size cost PyYAML less than a second.
SMALL_BYTES: Final = 32_768


def read_small(path: Path, *, pipe_s: float = 0.0) -> str:
    """Return the text of a small file, in bounded time and memory.

    Args:
        path: The file; a link is followed.
        pipe_s: Seconds to wait for what comes out of a pipe or terminal; with 0 they are refused.

    Raises:
        OSError: It cannot be read, is too large or, without `pipe_s`, no regular file.
        UnicodeDecodeError: It is not UTF-8.
    """
    # Opening a named pipe would wait for its writer.
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        mode = os.fstat(fd).st_mode
        is_stream = not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)
        if is_stream and not pipe_s:
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        deadline = time.monotonic() + pipe_s
        parts: list[bytes] = []
        size = 0
        while size <= SMALL_BYTES:
            if is_stream:
                readable, _, _ = select.select([fd], [], [], max(0.0, deadline - time.monotonic()))
                if not readable:
                    raise OSError(errno.ETIMEDOUT, f"it did not end in {pipe_s:g} s", str(path))
            part = os.read(fd, SMALL_BYTES)
            if not part:
                return b"".join(parts).decode()
            parts.append(part)
            size += len(part)
        raise OSError(errno.EFBIG, f"larger than {SMALL_BYTES // 1024} KiB", str(path))
    finally:
        os.close(fd)


def open_regular(path: Path) -> BinaryIO:
    """Open a file to read, without waiting for the writer of a named pipe.

    Raises:
        OSError: It cannot be read, or is no regular file.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return open(fd, "rb")


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
