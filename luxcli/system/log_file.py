"""The log file: lines from several processes at once, and old ones set aside by size.

Each line is one append, which the kernel does not mix with others. Whoever finds the file full
renames it under a lock; the others notice, since the name then stands for another file, and open
that. Nothing is synced: a log is not worth the wear of an SD card.
"""

import logging
import os
from pathlib import Path
from typing import Final

from luxcli.errors import LuxcliError
from luxcli.system import locks

_LOGGER = logging.getLogger(__name__)
MAX_BYTES: Final = 1_000_000
KEPT: Final = 4  # older files: luxcli.log.1, the newest of them, to luxcli.log.4

# Renaming takes far less.
_LOCK_WAIT_S: Final = 0.2


class LogFile(logging.Handler):
    """Appends to a file; one that cannot be written is said once and changes nothing else."""

    def __init__(self, path: Path, level: str, *, max_bytes: int = MAX_BYTES) -> None:
        super().__init__(level)
        self._path, self._max_bytes = path, max_bytes
        self._fd: int | None = None
        self._broken = False

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        if self._broken:
            return
        line = (self.format(record) + "\n").encode(errors="backslashreplace")
        try:
            os.write(self._current(len(line)), line)
        except OSError as exc:
            self._broken = True
            _LOGGER.warning("%s: the log file cannot be written: %s", self._path, exc.strerror)

    def close(self) -> None:
        """Close the file; the next line opens it again."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
        super().close()

    def _current(self, more: int) -> int:
        """Return the descriptor of the file that has the name now, and room for `more` bytes."""
        fd = self._opened()
        size = os.fstat(fd).st_size
        if size and size + more > self._max_bytes:
            self._rotate(more)
            fd = self._opened()
        return fd

    def _opened(self) -> int:
        if self._fd is not None and self._has_the_name(self._fd):
            return self._fd
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
        # A named pipe that nobody reads must not keep a job waiting.
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK
        self._fd = os.open(self._path, flags, 0o640)
        return self._fd

    def _has_the_name(self, fd: int) -> bool:
        try:
            named, ours = os.stat(self._path), os.fstat(fd)
        except FileNotFoundError:
            return False
        return (named.st_dev, named.st_ino) == (ours.st_dev, ours.st_ino)

    def _rotate(self, more: int) -> None:
        # A link stays, such as one to another disk, or /dev/stdout.
        path = self._path.resolve()
        if not path.is_file():
            return
        try:
            with locks.hold(_numbered(path, "lock"), wait_s=_LOCK_WAIT_S):
                # Somebody else may have done it since.
                if os.stat(path).st_size + more > self._max_bytes:
                    for number in range(KEPT, 1, -1):
                        self._rename(_numbered(path, number - 1), _numbered(path, number))
                    self._rename(path, _numbered(path, 1))
        except (LuxcliError, OSError):
            # A file that is too long is better than a lost line; the next line tries again.
            return

    @staticmethod
    def _rename(source: Path, target: Path) -> None:
        try:
            source.replace(target)
        except FileNotFoundError:
            return


def _numbered(path: Path, number: int | str) -> Path:
    return path.with_name(f"{path.name}.{number}")
