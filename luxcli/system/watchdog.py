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

from luxcli.config.config import Config
from luxcli.system import logger, threads

# The locks of the heat pump (5 s each), those of the storage (20 s each for the poll, for the
# reason why there is none and for the buffer) and a slow disk.
_BESIDE_POLL_S: Final = 90.0
# So long a run for the polls of a minute may go on into the next ones (`pacing`). Others are told
# of it at its end, so not longer.
MINUTES_S: Final = 300
# Minutes on a small machine, for a year's cache that has to be salvaged.
_LIMITS_S: Final = {"rollup": 7200.0, "prune": 3600.0}
# What cleaning up and telling others may take.
_GRACE_S: Final = 30.0
# As of a process that the alarm ends.
EXIT_STATUS: Final = 128 + signal.SIGALRM


def limit_s(job: str, config: Config) -> float:
    """Return the seconds after which a job (poll, rollup or prune) is ended."""
    if job == "poll":
        from luxcli.controller import client

        return client.longest_s(config.timeout_sec, config.retries) + _BESIDE_POLL_S
    return _LIMITS_S[job]


def gone_after_s(job: str, config: Config) -> float:
    """Return the seconds after which a job's process is gone, whatever hangs."""
    return limit_s(job, config) + _GRACE_S


def arm(seconds: float, *, grace_s: float = _GRACE_S) -> None:
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
