"""Signals and standard streams of the process."""

import os
import signal
import sys
from types import FrameType

from luxcli.errors import Interrupted


class Handler:
    """Raises `Interrupted` for the first signal; a second one must not cut the clean-up short."""

    def __init__(self) -> None:
        self._is_ignoring = False
        self._discarded = 0

    def __call__(self, signum: int, _frame: FrameType | None) -> None:
        """Handle a signal; Python calls this in the main thread."""
        if not self._is_ignoring:
            self._is_ignoring = True
            signum = self._discarded or signum
            if signum == signal.SIGHUP:
                discard_output_to_a_closed_terminal()
            raise Interrupted(signum)

    def ignore_further(self) -> None:
        """Ignore signals from now on."""
        self._is_ignoring = True

    def unraisable(self, problem: "sys.UnraisableHookArgs") -> None:
        """Handle a discarded exception, as `sys.unraisablehook`.

        Python runs a signal handler between any two of its instructions, also in a callback whose
        exceptions it can only discard, such as the one that ends the lock of an import. A discarded
        `Interrupted` is raised again: SIGALRM arrives in 1 ms and stands for the signal.
        """
        if isinstance(problem.exc_value, Interrupted):
            self._is_ignoring, self._discarded = False, problem.exc_value.signum
            signal.setitimer(signal.ITIMER_REAL, 0.001)
        else:
            sys.__unraisablehook__(problem)


def discard_output_to_a_closed_terminal() -> None:
    """Redirect stdout and stderr to nowhere if their terminal is gone, so that writing works."""
    for number in (1, 2):
        try:
            os.write(number, b"")
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, number)
            os.close(nowhere)


def open_standard_streams() -> None:
    """Open standard streams that the caller closed (``2>&-``).

    The next file that is opened would get their number, and error messages with it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            # The lowest free number, so this one: those before it are open.
            os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, os.fdopen(number, "w" if number else "r"))
