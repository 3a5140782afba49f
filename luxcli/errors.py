"""Everything luxcli can fail with, and the exit status of each failure.

    LuxcliError              1   (never raised itself)
    ├── UsageError           2   an argument cannot be used as given
    ├── NoDataError         65   nothing is stored for the requested period
    ├── DeviceError         69   the heat pump is unreachable or silent
    │   ├── DeviceBusyError 75   it answers, but stays busy
    │   └── ProtocolError   76   it answered, but not correctly
    ├── StorageError        74   a file of ours cannot be read or written
    │   ├── DamagedError    74   it is damaged
    │   └── UnavailableError 74  it may be well, but cannot be used at the moment
    ├── LockHeldError       75   another luxcli is at work; nothing was done
    └── ConfigError         78   a setting is wrong; holds every problem found

Status 0 is success, 1 a bug (with traceback), 3 "done, but incomplete or with findings",
129, 130, 141 and 143 interrupted by a lost terminal, Ctrl-C, a closed pipe, SIGTERM, 142 ended by
its own time limit.
Statuses follow sysexits.h where one fits and are only ever added to: a script must treat an unknown
one as failure.
"""

from collections.abc import Sequence
from typing import ClassVar

FINDINGS = 3


class LuxcliError(Exception):
    """Base class of every expected failure; its text is the line the user reads."""

    exit_code: ClassVar[int] = 1


class UsageError(LuxcliError):
    """An argument is understood but cannot be used, such as a date in the future."""

    exit_code = 2


class NoDataError(LuxcliError):
    """Nothing is stored for the requested period."""

    exit_code = 65


class DeviceError(LuxcliError):
    """The heat pump is unreachable, refused the connection or stopped answering.

    Attributes:
        reason: The word under which the missed poll is recorded.
        tries: Connections that were attempted.
        took_ms: Milliseconds from the first attempt to giving up.
    """

    exit_code = 69

    def __init__(
        self, message: str, *, reason: str = "network", tries: int = 1, took_ms: int = 0
    ) -> None:
        super().__init__(message)
        self.reason, self.tries, self.took_ms = reason, tries, took_ms


class DeviceBusyError(DeviceError):
    """The controller says that its values are being changed and did not stop saying so."""

    exit_code = 75


class ProtocolError(DeviceError):
    """The peer answered with bytes that are not a valid Luxtronik answer."""

    exit_code = 76

    def __init__(
        self, message: str, *, reason: str = "protocol", tries: int = 1, took_ms: int = 0
    ) -> None:
        super().__init__(message, reason=reason, tries=tries, took_ms=took_ms)


class StorageError(LuxcliError):
    """A file or directory of luxcli's own cannot be read or written."""

    exit_code = 74


class DamagedError(StorageError):
    """A file of ours is there but no longer what was written."""


class UnavailableError(StorageError):
    """A file of ours cannot be used at the moment: locked, disk full or failing."""


def combined(failures: Sequence[StorageError]) -> StorageError:
    """Return one failure for several of a kind: on a full disk each file fails alike."""
    more = len(failures) - 1
    files = "file" if more == 1 else "files"
    return StorageError(f"{failures[0]}" + (f" (and {more} more {files})" if more else ""))


class LockHeldError(LuxcliError):
    """Another process holds the lock; the scheduler simply tries again."""

    exit_code = 75


class ConfigError(LuxcliError):
    """The configuration is wrong; holds every problem found, one line each."""

    exit_code = 78

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class Interrupted(BaseException):
    """SIGTERM, SIGINT, SIGHUP or the alarm of the time limit arrived, or nobody reads on (SIGPIPE).

    A BaseException so that nothing swallows it by accident.
    """

    def __init__(self, signum: int) -> None:
        self.signum = signum
        super().__init__(f"interrupted by signal {signum}")
