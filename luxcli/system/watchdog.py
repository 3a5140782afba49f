"""After how long a job is ended by itself: a scheduler that waits for it must not wait for ever.

Everything that can hang has a limit of its own, and jobs end well within theirs. This one is for
what nobody thought of, such as a disk that no longer answers. A thread watches the time: it raises
the alarm, upon which the main thread cleans up as when it is interrupted, and ends the process if
even that takes too long.
"""

import logging
import os
import signal
import sys
import time
from typing import Final

from luxcli.system import log_setup, threads

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
        message = f"{text(seconds)} and did not stop when told to; killed"
        line = log_setup.message_line(logging.ERROR, message)
        os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, f"{line}\n".encode())
        os._exit(EXIT_STATUS)

    threads.start(watch)


def text(seconds: float) -> str:
    """Return what is said of a job that reached its limit."""
    return f"took longer than its limit of {seconds:g} s"
