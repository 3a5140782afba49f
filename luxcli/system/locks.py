"""Advisory file locks between luxcli processes, released by the kernel however a process ends."""

import errno
import fcntl
import os
import time
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Final, NamedTuple

from luxcli import times
from luxcli.errors import LockHeldError, StorageError

_RETRY_S: Final = 0.05
_CONTENDED: Final = (errno.EAGAIN, errno.EACCES)
_KERNELS_LIST: Final = Path("/proc/locks")


class Holder(NamedTuple):
    """The process that holds a lock.

    Only Linux tells it, and only of processes that are visible from here, such as those of the same
    container.

    Attributes:
        pid: Its number, None if unknown.
        since_ms: When the process began, UTC milliseconds; None if unknown. A luxcli takes its
            locks at its beginning.
    """

    pid: int | None = None
    since_ms: int | None = None

    def age_s(self) -> float:
        """Return for how many seconds the process has run, 0 if unknown."""
        return 0.0 if self.since_ms is None else time.time() - self.since_ms / 1000

    def describe(self) -> str:
        """Return this for messages."""
        if self.pid is None or self.since_ms is None:
            return "another process"
        return f"pid {self.pid} since {times.utc_text(self.since_ms)}"


def hold(path: Path, *, wait_s: float) -> FileIO:
    """Hold an exclusive ``flock`` on `path` until the file that is returned is closed.

    The file is never truncated and never removed: two processes could lock two different inodes
    under one name. Nothing is written to it: at two locks a poll that would be half of all that a
    poll writes to an SD card. Who holds it the kernel knows.

    Args:
        path: Lock file, created if missing, on a local file system; its directory must exist.
        wait_s: Seconds to wait for the lock; 0 tries once.

    Returns:
        The open file; ``with`` closes it.

    Raises:
        LockHeldError: Another process kept it for `wait_s`; names that process.
        StorageError: The lock file cannot be created, or its file system has no ``flock``.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as exc:
        user = f" for uid {os.geteuid()}" if exc.errno in (errno.EACCES, errno.EROFS) else ""
        raise StorageError(
            f"{path}: the lock file cannot be opened{user}: {exc.strerror}{_owner_note(path)}"
        ) from exc
    file = FileIO(fd, "r+")
    try:
        acquire(fd, path, wait_s=wait_s)
    except BaseException:
        file.close()
        raise
    return file


def holder(path: Path) -> Holder | None:
    """Return the process that holds the lock on `path` now, None when it is free or unreadable."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as exc:
        return _holder(fd) if exc.errno in _CONTENDED else None
    else:
        return None
    finally:
        os.close(fd)


def _owner_note(path: Path) -> str:
    """Return the owner of the file or its directory for a message, "" if that is this user."""
    existing = path if os.path.exists(path) else path.parent
    with suppress(OSError):
        if (uid := existing.stat().st_uid) != os.geteuid():
            return f"; {existing} belongs to uid {uid}"
    return ""


def acquire(fd: int, path: Path, *, wait_s: float, shared: bool = False) -> None:
    """Lock an open file, until it is closed.

    Args:
        fd: The file.
        path: Its name, for messages.
        wait_s: Seconds to wait for the lock; 0 tries once.
        shared: Keep only those out that do not share it.

    Raises:
        LockHeldError: Another process kept it for `wait_s`; names that process.
        StorageError: Its file system has no ``flock``.
    """
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(fd, kind | fcntl.LOCK_NB)
        except OSError as exc:
            if exc.errno not in _CONTENDED:
                raise StorageError(f"{path}: cannot lock: {exc.strerror}") from exc
        else:
            return
        if time.monotonic() >= deadline:
            raise LockHeldError(f"{path}: held by {_holder(fd).describe()}")
        time.sleep(_RETRY_S)


def _holder(fd: int) -> Holder:
    try:
        file = os.fstat(fd)
        pid = find_pid(_KERNELS_LIST.read_text(encoding="ascii"), file.st_dev, file.st_ino)
        if pid is None:
            return Holder()
        return Holder(pid, round((time.time() - _age_s(pid)) * 1000))
    except (OSError, ValueError):
        return Holder()


def find_pid(kernels_list: str, device: int, inode: int) -> int | None:
    """Return the pid that ``/proc/locks`` gives for the ``flock`` of a file, None if in doubt."""
    pids = {}
    for line in kernels_list.splitlines():
        kind, _, _, pid, place = line.split()[1:6]
        on, _, number = place.rpartition(":")
        if kind == "FLOCK" and number == str(inode):
            pids[on] = int(pid)
    exact = pids.get(f"{os.major(device):02x}:{os.minor(device):02x}")
    # Some file systems (btrfs, overlays) show another device here than in stat. But two may use the
    # same inode number, and a user may be advised to end the process that is named.
    return exact or (next(iter(pids.values())) if len(pids) == 1 else None)


def _age_s(pid: int) -> float:
    """Return for how many seconds a process has run."""
    # The name of the program may hold anything: fields count from its closing parenthesis.
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK")
