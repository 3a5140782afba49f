"""Advisory file locks between luxcli processes, released by the kernel however a process ends."""

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from luxcli.errors import LockHeldError, StorageError

_RETRY_S = 0.05
_CONTENDED = (errno.EAGAIN, errno.EACCES)
_KERNELS_LIST = Path("/proc/locks")


@contextmanager
def hold(path: Path, *, wait_s: float) -> Iterator[None]:
    """Hold an exclusive ``flock`` on `path` for the duration of the block.

    The file is never truncated before it is ours and never removed: unlinking it would let two
    processes lock two different inodes under one name. Nothing is written into it: at two locks a
    poll that would be half of all that a poll costs an SD card. Who holds it the kernel knows.

    Args:
        path: Lock file, created if missing, on a local file system; its directory must exist.
        wait_s: Seconds to wait for the lock; 0 tries once.

    Raises:
        LockHeldError: Somebody else kept it for `wait_s`; names the holder.
        StorageError: The lock file cannot be created, or its file system has no ``flock``.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as exc:
        who = f" for uid {os.geteuid()}" if exc.errno in (errno.EACCES, errno.EROFS) else ""
        raise StorageError(
            f"{path}: the lock file cannot be opened{who}: {exc.strerror}{_owner(path)}"
        ) from exc
    try:
        _acquire(fd, path, time.monotonic() + wait_s)
        yield
    finally:
        os.close(fd)


def holder(path: Path) -> str | None:
    """Return who holds the lock on `path` now, for people; None when it is free."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
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


def _owner(path: Path) -> str:
    """Return whose file or directory it is, if it is somebody else's."""
    there = path if os.path.exists(path) else path.parent
    with suppress(OSError):
        if (uid := there.stat().st_uid) != os.geteuid():
            return f"; {there} belongs to uid {uid}"
    return ""


def _acquire(fd: int, path: Path, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            if exc.errno not in _CONTENDED:
                raise StorageError(f"{path}: cannot lock: {exc.strerror}") from exc
        else:
            return
        if time.monotonic() >= deadline:
            raise LockHeldError(f"{path}: held by {_holder(fd)}")
        time.sleep(_RETRY_S)


def held_s(path: Path) -> float | None:
    """Return for how many seconds the process that holds the lock has run, None if unknown."""
    try:
        pid = _holding(os.stat(path))
        return None if pid is None else _age_s(pid)
    except (OSError, ValueError):
        return None


def _holder(fd: int) -> str:
    try:
        pid = _holding(os.fstat(fd))
        if pid is None:
            return "another process"
        began = time.gmtime(time.time() - _age_s(pid))  # luxcli takes its locks at its beginning
        return f"pid {pid} since {time.strftime('%Y-%m-%dT%H:%M:%SZ', began)}"
    except (OSError, ValueError):
        return "another process"


def _holding(file: os.stat_result) -> str | None:
    """Return who holds a lock: known on Linux, of processes that can be seen from here."""
    return locking(_KERNELS_LIST.read_text(encoding="ascii"), file.st_dev, file.st_ino)


def locking(kernels_list: str, device: int, inode: int) -> str | None:
    """Return the pid that ``/proc/locks`` gives for the ``flock`` of a file, None if in doubt."""
    pids = {}
    for line in kernels_list.splitlines():
        kind, _, _, pid, where = line.split()[1:6]
        on, _, number = where.rpartition(":")
        if kind == "FLOCK" and number == str(inode):
            pids[on] = pid
    exact = pids.get(f"{os.major(device):02x}:{os.minor(device):02x}")
    # Some file systems (btrfs, overlays) show another device here than there; but two may use the
    # same number, and whoever is named may be told to end that process.
    return exact or (next(iter(pids.values())) if len(pids) == 1 else None)


def _age_s(pid: str) -> float:
    """Return for how many seconds a process has run."""
    # The name of the program may hold anything, so count from its closing parenthesis on.
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK")
