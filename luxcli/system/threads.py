"""Threads beside the main one, which alone gets the signals.

The kernel gives a signal to any thread that does not block it; one that a thread takes away does
not wake the main thread from the call it waits in.
"""

import signal
import sys
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Final

_OURS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGALRM)


def start(work: Callable[[], object]) -> threading.Thread:
    """Do something beside; what is not done when the process ends is given up."""
    thread = threading.Thread(target=work, daemon=True)
    # Blocked here, so that it begins that way; what comes meanwhile is ours a moment later.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _OURS)
    try:
        thread.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return thread


@contextmanager
def thrown_away(callbacks: Collection[object]) -> Iterator[list[BaseException]]:
    """Give a list of what is raised in callbacks that let nothing through, such as SQLite's.

    The handler of a signal may run in any of them. In the main thread only: in others no handler
    runs. Nothing is in the list before the block has ended.
    """
    found: list[BaseException] = []
    if threading.current_thread() is not threading.main_thread():
        yield found
        return
    told: list[sys.UnraisableHookArgs] = []
    before = sys.unraisablehook
    try:
        sys.unraisablehook = told.append
        yield found
    finally:
        sys.unraisablehook = before
        for one in told:
            if one.exc_value is None or not (one.object is None or one.object in callbacks):
                before(one)
            else:
                found.append(one.exc_value)


@contextmanager
def as_usual() -> Iterator[None]:
    """Take signals for the duration of the block, since a process inherits what is blocked."""
    before = signal.pthread_sigmask(signal.SIG_UNBLOCK, _OURS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
