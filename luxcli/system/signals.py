"""Signals and standard streams of the process."""

import os
import signal
import sys
from types import FrameType

from luxcli.errors import Interrupted


class Handler:
    """Raises `Interrupted` for the first signal only; a second one must not cut the clean-up short.

    Attributes:
        done: Whether further signals are ignored.
    """

    def __init__(self) -> None:
        self.done = False
        self._lost = 0

    def __call__(self, signum: int, _frame: FrameType | None) -> None:
        """Handle a signal; Python calls this in the main thread."""
        if not self.done:
            self.done = True
            signum = self._lost or signum
            if signum == signal.SIGHUP:
                leave_terminal()
            raise Interrupted(signum)

    def unraisable(self, thrown_away: "sys.UnraisableHookArgs") -> None:
        """Raise a signal again a moment later that came where Python lets nothing through.

        Such as in the callback that ends the lock of an import.
        """
        if isinstance(thrown_away.exc_value, Interrupted):
            self.done, self._lost = False, thrown_away.exc_value.signum
            signal.setitimer(signal.ITIMER_REAL, 0.001)
        else:
            sys.__unraisablehook__(thrown_away)


def leave_terminal() -> None:
    """Let what is still said go nowhere where the terminal is gone."""
    for number in (1, 2):
        try:
            os.write(number, b"")
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, number)
            os.close(nowhere)


def open_standard_streams() -> None:
    """Open what the caller closed (``2>&-``): a file of ours must not become what is written to."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            # The lowest free number, so this one: those before it are open.
            os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, os.fdopen(number, "w" if number else "r"))
