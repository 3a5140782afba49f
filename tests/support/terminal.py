"""A command at a terminal: what the person there sees."""

import contextlib
import fcntl
import os
import pty
import struct
import termios
import threading
from typing import Any

from tests.conftest import Cli, Ran


class Terminal:
    """A command whose streams are a terminal, but for those that `options` name.

    Attributes:
        shown: Everything that was sent to the screen so far.
    """

    def __init__(
        self, cli: Cli, *args: object, size: tuple[int, int] | None = None, **options: Any
    ) -> None:
        self._master, slave = pty.openpty()
        if size:
            columns, lines = size
            fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        streams = {"stdin": slave, "stdout": slave, "stderr": slave} | options
        self.process = cli.start(*args, **streams)
        os.close(slave)
        self.shown = b""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # how Linux says that the other side is closed
            while part := os.read(self._master, 4096):
                self.shown += part

    def end(self, within_s: float = 8) -> tuple[Ran, str]:
        """Wait for the command; return what it left and what the screen shows."""
        ran = Cli.end(self.process, within_s)
        self._reader.join(timeout=2)
        os.close(self._master)
        return ran, self.shown.decode().replace("\r\n", "\n")


def on_a_terminal(cli: Cli, *args: object, **options: Any) -> tuple[int, str]:
    """Run a command at a terminal; return its status and what the screen shows."""
    ran, screen = Terminal(cli, *args, **options).end()
    return ran.status, screen
