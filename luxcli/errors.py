"""The errors of luxcli and the exit status of each.

    LuxcliError              1   (never raised itself)
    ├── UsageError           2   an argument cannot be used as given
    ├── NoDataError         65   nothing is stored for the requested period
    ├── DeviceError         69   the heat pump is unreachable or silent
    │   ├── DeviceBusyError 75   it answers, but stays busy
    │   └── ProtocolError   76   it answered, but not correctly
    ├── StorageError        74   a file of luxcli cannot be read or written
    │   ├── DamagedError    74   its content is damaged
    │   ├── UnavailableError 74  it may be intact, but cannot be used at the moment
    │   └── IncompatibleError 78 a development version made it, or SQLite is too old
    ├── LockHeldError       75   another luxcli is at work; nothing was done
    └── ConfigError         78   a setting is wrong; holds every problem found

Status 0 is success, 1 a bug (with traceback), 3 "done, but incomplete or with findings". After a
signal it is what shells report: 129 lost terminal, 130 Ctrl-C, 141 closed pipe, 142 the command's
own time limit (SIGALRM), 143 SIGTERM.
Statuses follow sysexits.h where one fits and are only ever added to: a script must treat an unknown
one as failure.
"""

import errno
import os
from collections.abc import Sequence
from typing import ClassVar, Final

FINDINGS = 3
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_REFUSED: Final = (errno.EACCES, errno.EPERM)


class LuxcliError(Exception):
    """Base class of every expected failure; its text is the error message.

    Attributes:
        what: What failed and why: the text without the advice.
        advice: What to do about it, if that is known; the end of the text.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, advice: str | None = None) -> None:
        super().__init__(f"{what}; {advice}" if advice else what)
        self.what, self.advice = what, advice

    def text_with(self, outcome: str) -> str:
        """Return the text with what became of the matter before the advice."""
        return "; ".join(filter(None, (self.what, outcome, self.advice)))

    def to_json(self) -> dict[str, object]:
        """Return what ``--json`` prints about the failure."""
        return {"type": type(self).__name__, "exit": self.exit_code, "text": str(self)}


class UsageError(LuxcliError):
    """An argument is understood but cannot be used, such as a date in the future."""

    exit_code = 2


class NoDataError(LuxcliError):
    """Nothing is stored for the requested period."""

    exit_code = 65


class DeviceError(LuxcliError):
    """The heat pump cannot be reached, refuses the connection or stops answering.

    Attributes:
        reason: Word that is stored for the missed poll, such as timeout.
        tries: Number of connections attempted.
        took_ms: Milliseconds from the first attempt to giving up.
    """

    exit_code = 69

    def __init__(
        self, message: str, *, reason: str = "network", tries: int = 1, took_ms: int = 0
    ) -> None:
        super().__init__(message)
        self.reason, self.tries, self.took_ms = reason, tries, took_ms


class DeviceBusyError(DeviceError):
    """The controller answers that its values are being changed, at each attempt."""

    exit_code = 75


class ProtocolError(DeviceError):
    """The peer answered with bytes that are not a valid Luxtronik answer."""

    exit_code = 76

    def __init__(
        self, message: str, *, reason: str = "protocol", tries: int = 1, took_ms: int = 0
    ) -> None:
        super().__init__(message, reason=reason, tries=tries, took_ms=took_ms)


class StorageError(LuxcliError):
    """A file or directory of luxcli cannot be read or written."""

    exit_code = 74


class DamagedError(StorageError):
    """A file does not hold what luxcli wrote to it."""


class UnavailableError(StorageError):
    """A file cannot be used at the moment: locked, disk full or failing."""


class IncompatibleError(StorageError):
    """A file was made by a development version, or the SQLite library is too old to use it.

    A poll is stored all the same, in the journal; any other command can do nothing.
    """

    exit_code = 78


def file_error(path: object, failure: str, exc: OSError) -> StorageError:
    """Return the error of a file operation, with what to do about it where that is known.

    Args:
        path: The file or directory.
        failure: What failed, such as "cannot be written".
        exc: Why.
    """
    return StorageError(
        f"{path}: {failure}: {exc.strerror or exc}", advice=file_advice(path, exc.errno)
    )


def file_advice(path: object, number: int | None) -> str | None:
    """Return what to do about an `errno` of a file operation, None if that is not known."""
    if number in _FULL:
        return f"free space in {os.path.dirname(str(path)) or '.'}"
    if number in _REFUSED:
        return f"uid {os.geteuid()} needs access: see 'ls -ld {path}'"
    return None


def combine(failures: Sequence[StorageError]) -> StorageError:
    """Return the first failure, with the number of the others: a full disk fails them all."""
    first, more = failures[0], len(failures) - 1
    files = "file" if more == 1 else "files"
    return StorageError(
        first.what + (f" (and {more} more {files})" if more else ""), advice=first.advice
    )


class LockHeldError(LuxcliError):
    """Another process holds the lock; the scheduler will run the command again."""

    exit_code = 75


class ConfigError(LuxcliError):
    """The configuration is wrong; holds every problem found, one line each."""

    exit_code = 78

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class Interrupted(BaseException):
    """A signal ends the command: SIGTERM, SIGINT, SIGHUP, SIGALRM of the watchdog, or SIGPIPE.

    It is a BaseException, so that no ``except Exception`` takes it.
    """

    def __init__(self, signum: int) -> None:
        self.signum = signum
        super().__init__(f"interrupted by signal {signum}")
