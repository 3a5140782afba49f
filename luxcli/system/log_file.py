"""The log file: lines of several processes at once, rotated by size.

A process opens the file for its first line and, if it is full, renames it before; commands run for
seconds, so that this is often enough. Each line is one append, which the kernel does not mix with
those of other processes. Nothing is synced: a log is not worth the wear of an SD card.
"""

import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from luxcli.errors import LuxcliError
from luxcli.system import locks

MAX_BYTES: Final = 1_000_000
KEPT: Final = 4  # older files: luxcli.log.1, the newest of them, to luxcli.log.4

_LOGGER = logging.getLogger(__name__)
_LOCK_WAIT_S: Final = 0.2  # renaming takes far less


class LogFile(logging.Handler):
    """Appends to a file. If that fails it says so once, as a warning, and writes nothing more."""

    def __init__(self, path: Path, level: str, *, max_bytes: int = MAX_BYTES) -> None:
        super().__init__(level)
        self._path, self._max_bytes = path, max_bytes
        self._fd: int | None = None
        self._failed = False

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        if self._failed:
            return
        line = (self.format(record) + "\n").encode(errors="backslashreplace")
        try:
            if self._fd is None:
                self._fd = _open(self._path, self._max_bytes)
            os.write(self._fd, line)
        except OSError as exc:
            self._failed = True
            _LOGGER.warning("%s: the log file cannot be written: %s", self._path, exc.strerror)

    def close(self) -> None:
        """Close the file; the next line opens it again."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
        super().close()


def _open(path: Path, max_bytes: int) -> int:
    # The target of a link is renamed, and the link stays. /dev/stdout and pipes have no size.
    target = Path(os.path.realpath(path))  # unlike `resolve` it accepts links that lead in a circle
    if target.is_file() and target.stat().st_size >= max_bytes:
        # On failure: a file that is too long is better than a lost line.
        with (
            suppress(LuxcliError, OSError),
            locks.hold(_numbered(target, "lock"), wait_s=_LOCK_WAIT_S),
        ):
            if target.stat().st_size >= max_bytes:  # another process may have rotated it since
                for number in range(KEPT, 1, -1):
                    with suppress(FileNotFoundError):
                        _numbered(target, number - 1).replace(_numbered(target, number))
                target.replace(_numbered(target, 1))
    # Without O_NONBLOCK a named pipe that nobody reads would block a job.
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK
    return os.open(path, flags, 0o640)


def _numbered(path: Path, number: int | str) -> Path:
    return path.with_name(f"{path.name}.{number}")
