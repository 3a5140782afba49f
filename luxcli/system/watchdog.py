"""After how long a job is ended by itself: a scheduler that waits for it must not wait for ever.

Everything that can hang has a limit of its own, and jobs end well within theirs. This one is for
what nobody thought of, such as a disk that no longer answers. A thread watches the time: it raises
the alarm, upon which the main thread cleans up as when it is interrupted, and ends the process if
even that takes too long.
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from luxcli.system import logger, threads

# What cleaning up and telling others may take.
GRACE_S: Final = 30.0
# As of a process that the alarm ends.
EXIT_STATUS: Final = 128 + signal.SIGALRM


def arm(seconds: float, *, grace_s: float = GRACE_S) -> None:
    """Send this process SIGALRM after some seconds, and end it after `grace_s` more."""

    def watch() -> None:
        time.sleep(seconds)
        os.kill(os.getpid(), signal.SIGALRM)
        time.sleep(grace_s)
        # Not even the alarm was heard, so nothing that could hang as well may be used here.
        line = said(f"{text(seconds)} and did not stop when told to; killed")
        os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, f"{line}\n".encode())
        os._exit(EXIT_STATUS)

    # What is not loaded by now is not needed either: then lines are plain.
    said: Callable[[str], str] = _plain
    if not logger.waits():
        from luxcli.system import log_setup

        said = partial(log_setup.line, logger.ERROR)
    threads.start(watch)


def _plain(line: str) -> str:
    return f"luxcli: {line}"


def text(seconds: float) -> str:
    """Return what is said of a job that reached its limit."""
    return f"took longer than its limit of {seconds:g} s"
