"""Entry point of ``luxcli`` and ``python -m luxcli``."""

import errno
import gc
import os
import signal
import sys

# Only what the signal handlers need: until they are set, Ctrl-C ends Python with a traceback, and
# to load the rest, such as logging, takes a third of the time of a short command.
from luxcli.errors import Interrupted
from luxcli.system.signals import Handler, open_standard_streams

_TRY_AGAIN = 75


def main() -> None:
    """Run one command and exit with its status."""
    open_standard_streams()
    try:
        status = _run_interruptibly()
    except Interrupted as exc:
        raise SystemExit(128 + exc.signum) from None
    except Exception as exc:
        if _is_without_memory(exc):
            _report_without_memory()
            raise SystemExit(_TRY_AGAIN) from None
        if _log_bug(exc):
            raise SystemExit(1) from None
        raise  # Python prints it
    raise SystemExit(status)


def _is_without_memory(exc: BaseException | None) -> bool:
    """Whether a failure, or what it came from, is a lack of memory."""
    while exc is not None:
        text = str(exc)
        if (
            isinstance(exc, MemoryError)
            or (isinstance(exc, OSError) and exc.errno == errno.ENOMEM)
            or (isinstance(exc, RuntimeError) and "can't start new thread" in text)
            # Of a library for which there is no room.
            or (isinstance(exc, ImportError) and ("map segment" in text or "allocate" in text))
        ):
            return True
        exc = exc.__cause__ or exc.__context__
    return False


def _report_without_memory() -> None:
    """Write one line without anything that needs much memory."""
    import contextlib

    with contextlib.suppress(OSError):
        os.write(2, b"luxcli: out of memory; it needs 64 MB of address space: see 'ulimit -v'\n")


def _log_bug(exc: Exception) -> bool:
    """Log a traceback; return whether that put it on stderr, as a JSON line."""
    import logging

    from luxcli.system import log_setup

    as_json = log_setup.is_json()
    extra = None if as_json else log_setup.PRINTED
    # By name, because this module may be called __main__.
    logging.getLogger("luxcli").critical("a bug, please report it", exc_info=exc, extra=extra)
    return as_json


def _run_interruptibly() -> int:
    handler = Handler()
    try:
        sys.unraisablehook = handler.unraisable
        signal.signal(signal.SIGALRM, handler)  # from the watchdog
        signal.signal(signal.SIGTERM, handler)
        signal.signal(signal.SIGINT, handler)
        if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # ignored after nohup
            signal.signal(signal.SIGHUP, handler)
        return _run()
    finally:
        handler.ignore_further()


def _run() -> int:
    """Return the exit status; Typer raises SystemExit itself."""
    # Loaded modules live until the end. To look for garbage in them, while they are loaded and at
    # the interpreter's end, takes a sixth of the time of a poll.
    gc.disable()
    from luxcli.cli import fast
    from luxcli.system import watchdog

    status = fast.run(sys.argv[1:], os.environ, watchdog.arm)
    if status is None:
        from luxcli.cli.app import app

        gc.enable()
        app(obj=watchdog.arm)
        raise AssertionError("unreachable: Typer exits")
    gc.freeze()
    return status


if __name__ == "__main__":
    main()
