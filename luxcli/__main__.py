"""Entry point of ``luxcli`` and ``python -m luxcli``."""

import gc
import os
import signal
import sys
from types import FrameType

from luxcli.errors import Interrupted


class _Handler:
    """Raises `Interrupted` for the first signal: a second must not cut short what that started.

    Attributes:
        done: Whether nothing is raised any more.
    """

    def __init__(self) -> None:
        self.done = False
        self._lost = 0

    def __call__(self, signum: int, _frame: FrameType | None) -> None:
        if not self.done:
            self.done = True
            signum = self._lost or signum
            if signum == signal.SIGHUP:
                _leave_terminal()
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


def _leave_terminal() -> None:
    """Let what is still said go nowhere where the terminal is gone."""
    for number in (1, 2):
        try:
            os.write(number, b"")
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, number)
            os.close(nowhere)


def _open_standard_streams() -> None:
    """Open what the caller closed (``2>&-``): a file of ours must not become what is written to."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            # The lowest free number, so this one: those before it are open.
            os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, os.fdopen(number, "w" if number else "r"))


def main() -> None:
    """Run one command and exit with its status."""
    _open_standard_streams()
    try:
        status = _interruptible()
    except Interrupted as exc:
        raise SystemExit(128 + exc.signum) from None
    except Exception as exc:
        from luxcli.system import log_setup, logger

        if log_setup.tell(logger.CRITICAL, "a bug, please report it", exc):
            raise SystemExit(1) from None
        raise
    raise SystemExit(status)


def _interruptible() -> int:
    handler = _Handler()
    try:
        sys.unraisablehook = handler.unraisable
        signal.signal(signal.SIGALRM, handler)  # from timelimit
        signal.signal(signal.SIGTERM, handler)
        signal.signal(signal.SIGINT, handler)
        if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # ignored after nohup
            signal.signal(signal.SIGHUP, handler)
        return _run()
    finally:
        handler.done = True


def _run() -> int:
    """Return the exit status; Typer raises SystemExit itself."""
    # What is loaded stays until the end: looking for garbage in it, while it is loaded and again
    # when the interpreter ends, takes a sixth of the time of a poll.
    gc.disable()
    from luxcli.cli import fast

    status = fast.run(sys.argv[1:], os.environ)
    if status is None:
        from luxcli.cli.app import app

        gc.enable()
        app()
        raise AssertionError("unreachable: Typer exits")
    gc.freeze()
    return status


if __name__ == "__main__":
    main()
