"""Lets one luxcli at a time talk to a heat pump, which serves a single client.

Two claims guard a heat pump: a lock file beside the database for all who share the database, and a
name in the kernel for all processes of this machine, whatever their database.
"""

import errno
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Final

from luxcli.errors import LockHeldError
from luxcli.system import locks

# A healthy conversation takes 0.1 s.
DEVICE_WAIT_S: Final = 5.0
_RETRY_S: Final = 0.05


def lock_path(host: str, port: int, directory: Path) -> Path:
    """Return the lock file in `directory` that a command holds while it talks to the heat pump."""
    name = "".join(c if c.isalnum() or c in ".-" else "_" for c in host.lower())
    return directory / f"device-{name}-{port}.lock"


@contextmanager
def exclusive(
    host: str, port: int, directory: Path, *, wait_s: float = DEVICE_WAIT_S
) -> Iterator[None]:
    """Keep every other luxcli from talking to the heat pump for the duration of the block.

    Args:
        host: Name or address of the heat pump.
        port: TCP port.
        directory: That of the database, where the lock file stands. If it does not exist yet,
            nobody shares it and only the claim on the address is made.
        wait_s: Seconds to wait for another process, for each of the two.

    Raises:
        LockHeldError: Another process kept one of them for `wait_s` seconds.
        StorageError: The lock file cannot be opened.
    """
    is_shared = os.access(directory, os.F_OK)
    path = lock_path(host, port, directory)
    with (
        locks.hold(path, wait_s=wait_s) if is_shared else nullcontext(),
        claim(host, port, wait_s=wait_s),
    ):
        yield


@contextmanager
def claim(host: str, port: int, *, wait_s: float) -> Iterator[None]:
    """Claim an address for this process, against all others on this machine.

    The claim is on the host *string*. A process that uses another name for the same heat pump is
    kept out by `Exchange`, which claims the resolved IP address while connected.

    Raises:
        LockHeldError: Another process kept it for `wait_s` seconds.
    """
    guard = reserve(f"{host.lower()} {port}", time.monotonic() + wait_s)
    if guard is None:
        raise LockHeldError("held by a luxcli with another database")
    with guard:
        yield


def reserve(name: str, until: float) -> socket.socket | None:
    """Hold a name that only one luxcli on this machine can hold, until the socket is closed.

    The name is in Linux's abstract socket namespace: it needs no directory that all users can
    write, leaves no file and goes with the process. A system without that namespace gives no
    protection, and no error either.

    Args:
        name: Any text.
        until: Moment of the monotonic clock up to which another holder is waited for.

    Returns:
        The socket; None when another process kept the name.
    """
    guard = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        while True:
            try:
                guard.bind(f"\0luxcli {name}")
            except OSError as exc:
                if exc.errno == errno.EADDRINUSE:
                    if time.monotonic() >= until:
                        guard.close()
                        return None
                    time.sleep(_RETRY_S)
                    continue
            return guard
    except BaseException:
        guard.close()
        raise
