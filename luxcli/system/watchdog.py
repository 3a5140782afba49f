"""Ends a job that hangs: a scheduler that waits for it would wait for ever.

Everything that is known to hang has a limit of its own; this one is for the rest, such as a disk
that no longer answers. At the limit the process gets SIGALRM, upon which the main thread cleans up
as for any other signal. A thread watches the time, since Python runs no signal handler while the
main thread is inside of C code: if that lasts, the thread ends the process.
"""

import logging
import os
import signal
import time
from functools import partial
from typing import Final

from luxcli.system import log_setup, threads

GRACE_S: Final = 30.0  # for cleaning up and sending notifications
EXIT_STATUS: Final = 128 + signal.SIGALRM  # as of a process that SIGALRM ends


def arm(seconds: float, *, grace_s: float = GRACE_S) -> None:
    """Send this process SIGALRM after `seconds`, and end it `grace_s` seconds later."""
    threads.start(partial(_watch, seconds, grace_s))


def message(seconds: float) -> str:
    """Return the error message of a job that reached its limit."""
    return f"took longer than its limit of {seconds:g} s"


def _watch(seconds: float, grace_s: float) -> None:
    time.sleep(seconds)
    os.kill(os.getpid(), signal.SIGALRM)
    time.sleep(grace_s)
    # The main thread may hold the lock of a stream or a log handler: neither is used here.
    text = f"{message(seconds)} and did not stop when it was interrupted; killed"
    try:
        os.write(2, f"{log_setup.message_line(logging.ERROR, text)}\n".encode())
    finally:
        os._exit(EXIT_STATUS)
