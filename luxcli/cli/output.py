"""What commands print, for people and for programs.

Results go to stdout, problems to stderr. On a terminal a person reads along; elsewhere success is
silent, since a scheduler mails whatever is printed.
"""

import json
import logging
import os
import signal
import sys
from contextlib import suppress
from datetime import tzinfo
from typing import TYPE_CHECKING, NoReturn, TextIO

from luxcli import times
from luxcli.errors import Interrupted, LuxcliError, StorageError
from luxcli.system import log_setup

if TYPE_CHECKING:
    from luxcli.recording.coverage import Coverage
    from luxcli.recording.poll import PollResult
    from luxcli.rollup.rollup import RollupResult

_LOGGER = logging.getLogger(__name__)


def say(text: str) -> None:
    """Print a result.

    Raises:
        StorageError: It cannot be written, such as to a file on a full disk.
        Interrupted: Nobody reads it any more, see `end_unread`.
    """
    try:
        _write(sys.stdout, text)
    except BrokenPipeError:
        end_unread()
    except OSError as exc:
        _discard(sys.stdout)
        raise StorageError(f"the output cannot be written: {exc.strerror}") from exc


def end_unread() -> NoReturn:
    """End quietly because whoever read along, such as 'head', has seen enough and gone.

    With the status of a program that SIGPIPE ends, as it ends most; Python ignores that signal.

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
    """Let what is still to be written go nowhere: the interpreter flushes when it ends."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def result_line(text: str) -> None:
    """Log the result of a run, and print it if stdout is a terminal."""
    if sys.stdout.isatty():
        say(text)
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


def failure_entry(failure: LuxcliError) -> dict[str, object]:
    """Return what ``--json`` says about a failure."""
    return {"type": type(failure).__name__, "exit": failure.exit_code, "text": str(failure)}


def poll_entry(outcome: "PollResult | LuxcliError") -> dict[str, object]:
    """Return what ``--json`` says about one poll."""
    if isinstance(outcome, LuxcliError):
        return {"ok": False, "error": failure_entry(outcome)}
    return outcome.to_json()


def rollup_entry(result: "RollupResult") -> dict[str, object]:
    """Return what ``--json`` says about one CSV."""
    return {
        "kind": result.period.kind,
        "start": times.utc_text(result.period.start_ms),
        "stop": times.utc_text(result.period.stop_ms),
        "path": str(result.path) if result.path else None,
        "rows": result.rows,
        "columns": result.columns,
        "bytes": result.size,
        "coverage": coverage_entry(result.coverage),
    }


def coverage_entry(coverage: "Coverage") -> dict[str, object]:
    """Return what ``--json`` says about polls and the schedule."""
    from luxcli.recording import state

    return state.as_json(coverage)


def local_zone(name: str | None) -> tzinfo:
    """Return the time zone called `name`, the system's when it is None; warn if it is unknown."""
    return times.zone(name, os.environ, _LOGGER.warning)


def print_json(**fields: object) -> None:
    """Print the one object of ``--json``."""
    say(json.dumps(fields, ensure_ascii=False))


def megabytes(size: int) -> str:
    """Return a size for people."""
    return f"{size / 1e6:.1f} MB" if size >= 100_000 else f"{size / 1e3:.1f} kB"
