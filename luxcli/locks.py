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


@contextmanager
def hold(path: Path, *, wait_s: float) -> Iterator[None]:
    """Hold an exclusive ``flock`` on `path` for the duration of the block.

    The file is never truncated before it is ours and never removed: unlinking it would let two
    processes lock two different inodes under one name. The holder leaves a note in it, so that
    whoever waits in vain can say for whom.

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
        _leave_note(fd)
        yield
    finally:
        os.close(fd)


def holder(path: Path) -> str | None:
    """Return the note of whoever holds the lock on `path` now, None when it is free."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as exc:
        return _note(fd) if exc.errno in _CONTENDED else None
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
            raise LockHeldError(f"{path}: held by {_note(fd)}")
        time.sleep(_RETRY_S)


def _leave_note(fd: int) -> None:
    # The lock is held with or without the note: a full disk must not make it fail.
    note = f"pid {os.getpid()} since {time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())}\n"
    try:
        os.ftruncate(fd, 0)
        os.pwrite(fd, note.encode(), 0)
    except OSError:
        pass


def _note(fd: int) -> str:
    return os.pread(fd, 200, 0).decode(errors="replace").strip() or "another process"
