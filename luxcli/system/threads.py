"""Threads that leave the signals to the main thread.

The kernel delivers a signal to any thread that does not block it. Only a delivery to the main
thread wakes it from the call in which it waits, and Python's handlers run only there.
"""

import signal
import sys
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Final

_OURS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGALRM)


def start(work: Callable[[], object]) -> threading.Thread:
    """Start a thread that does not get our signals; the end of the process ends it."""
    thread = threading.Thread(target=work, daemon=True)
    # A thread inherits the mask. A signal that arrives while we block it is delivered afterwards.
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
def signals_unblocked() -> Iterator[None]:
    """Unblock our signals while a child process is started; it would inherit the mask."""
    before = signal.pthread_sigmask(signal.SIG_UNBLOCK, _OURS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
