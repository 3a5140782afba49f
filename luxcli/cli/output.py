"""Prints results to stdout and problems to stderr, and logs both.

Jobs that a scheduler starts print their success only on a terminal, since cron mails whatever is
printed.
"""

import json
import logging
import os
import signal
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import tzinfo
from typing import NoReturn, Protocol, TextIO

from luxcli import times
from luxcli.errors import Interrupted, StorageError
from luxcli.system import log_setup

_LOGGER = logging.getLogger(__name__)


def print_line(text: str) -> None:
    """Print a result.

    Raises:
        StorageError: The output cannot be written, such as to a file on a full disk.
        Interrupted: Nobody reads the output any more, see `end_with_closed_pipe`.
    """
    try:
        _write(sys.stdout, text)
    except BrokenPipeError:
        end_with_closed_pipe()
    except OSError as exc:
        _discard(sys.stdout)
        raise StorageError(f"the output cannot be written: {exc.strerror}") from exc


def counted(count: int, one: str) -> str:
    """Return a number of things for people, such as ``2 polls``."""
    return f"{count} {one}" if count == 1 else f"{count} {one}s"


def end_with_closed_pipe() -> NoReturn:
    """End the command because the reader of its output has gone, such as 'head'.

    The exit status is that of a program that SIGPIPE ends; Python ignores that signal.

    Raises:
        Interrupted: Always.
    """
    _discard(sys.stdout)
    raise Interrupted(signal.SIGPIPE)


def _write(stream: TextIO, line: str) -> None:
    try:
        stream.write(line + "\n")
    except UnicodeEncodeError:  # such as a name in an encoding that lacks its letters
        stream.write(line.encode(stream.encoding, "replace").decode(stream.encoding) + "\n")
    stream.flush()


def _discard(stream: TextIO) -> None:
    """Drop what is not written yet, which the interpreter would flush when it ends."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def report_line(text: str) -> None:
    """Log the result of a run, and print it if stdout is a terminal."""
    if sys.stdout.isatty():
        print_line(text)
        _LOGGER.info("%s", text, extra=log_setup.PRINTED)
    else:
        _LOGGER.info("%s", text, extra=log_setup.RESULT)


def warn(text: str, level: int = logging.WARNING) -> None:
    """Print something to act on to stderr, for a person or cron's mail, and log it.

    With ``log_format: json`` what is printed is a JSON log line, since programs read stderr then.
    """
    for line in text.splitlines():
        try:
            _write(sys.stderr, log_setup.message_line(level, line))
        except OSError:
            # Nobody reads it, or the disk behind it is full: the exit status says enough.
            _discard(sys.stderr)
        _LOGGER.log(level, "%s", line, extra=log_setup.PRINTED)


def local_zone(name: str | None) -> tzinfo:
    """Return the time zone called `name`, the system's when it is None; warn if it is unknown."""
    return times.zone(name, os.environ, _LOGGER.warning)


def print_json(fields: Mapping[str, object]) -> None:
    """Print the one object of ``--json``."""
    print_line(json.dumps(fields, ensure_ascii=False))


class Result(Protocol):
    """What a job did or found, for programs and for people."""

    def to_json(self) -> Mapping[str, object]:
        """Return what ``--json`` prints."""

    def lines(self) -> Iterable[str]:
        """Return what a person reads."""


def print_result(result: Result, *, as_json: bool, scheduled: bool = False) -> None:
    """Print what a job did.

    Args:
        result: Of the job.
        as_json: As one JSON object instead of lines.
        scheduled: Print lines on a terminal only and log them otherwise, as for a job that cron
            starts.
    """
    if as_json:
        print_json(result.to_json())
        return
    for line in result.lines():
        (report_line if scheduled else print_line)(line)
