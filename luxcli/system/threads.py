"""Threads that leave the signals to the main thread.

The kernel delivers a signal to any thread that does not block it. Only a delivery to the main
thread wakes it from the call in which it waits, and Python's handlers run only there.
"""

import signal
import threading
from collections.abc import Callable, Iterator
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
def signals_unblocked() -> Iterator[None]:
    """Unblock our signals while a child process is started; it would inherit the mask."""
    before = signal.pthread_sigmask(signal.SIG_UNBLOCK, _OURS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
