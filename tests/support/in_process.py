"""Runs a command line within the process of the tests: a hundredth of a second instead of a fifth.

For everything about texts, JSON, options and exit statuses. What needs a process of its own, such
as signals, terminals, locks, real streams and time limits, is tested by `tests.conftest.Cli`.
"""

import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from typer.testing import CliRunner

import luxcli
from luxcli.cli import fast
from luxcli.cli.app import app
from luxcli.errors import Interrupted

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM, signal.SIGWINCH)


def run(
    arguments: tuple[str, ...], environ: Mapping[str, str], directory: Path, stdin: str | None
) -> tuple[int, str, str]:
    """Do what `luxcli.__main__` does, without time limit; return exit status, stdout and stderr.

    Nothing of the call is left afterwards: neither variables, directory, handlers of signals and of
    the log, nor arguments.
    """
    program = str(Path(luxcli.__file__).parent / "__main__.py")
    with _restored(), CliRunner().isolation(stdin) as (stdout, stderr, _):
        os.environ.clear()
        os.environ.update(environ)
        time.tzset()
        os.chdir(directory)
        sys.argv = [program, *arguments]
        status = _status()
        sys.stdout.flush()
        sys.stderr.flush()
        texts = [stream.getvalue().decode() for stream in (stdout, stderr)]
    return status, texts[0], texts[1]


def _status() -> int:
    status: object = None
    try:
        status = fast.run(sys.argv[1:], os.environ)
        if status is None:
            app(prog_name="luxcli")
    except Interrupted as exc:
        status = 128 + exc.signum
    except SystemExit as exc:
        status = exc.code
    assert isinstance(status, int)
    return status


@contextlib.contextmanager
def _restored() -> Iterator[None]:
    environ, directory, argv = dict(os.environ), Path.cwd(), sys.argv
    handlers = {signum: signal.getsignal(signum) for signum in _SIGNALS}
    logger = logging.getLogger("luxcli")
    log = (logger.handlers[:], logger.level, logger.propagate)
    try:
        yield
    finally:
        for handler in logger.handlers:
            if handler not in log[0]:
                handler.close()
        logger.handlers[:], logger.propagate = log[0], log[2]
        logger.setLevel(log[1])
        for signum, former in handlers.items():
            signal.signal(signum, former)
        sys.argv = argv
        os.chdir(directory)
        os.environ.clear()
        os.environ.update(environ)
        time.tzset()
