"""One run of a command: configuration, logging, time limit, exit status, notifications."""

import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from luxcli.cli.options import current_ms, level_option
from luxcli.cli.output import print_json, warn
from luxcli.config import config
from luxcli.config.config import Config
from luxcli.errors import Interrupted, LuxcliError, StorageError
from luxcli.system import log_setup

if TYPE_CHECKING:
    from luxcli.monitoring.monitor import RunReport


# A poll is stored whatever the database is like, and a diagnosis says what is wrong with it.
_WITHOUT_LIBRARY = ("poll", "diagnose")


class Session:
    """One run of a command.

    Attributes:
        command: Name of the command, such as ``rollup daily``.
        as_json: Whether the result or the failure is printed as one JSON object.

    Args:
        command: Name of the command, empty while it is not known yet.
        arm_watchdog: Called with the seconds after which a job has to be ended. Only a process of
            its own supplies it: in another program a job must not end that program.
    """

    def __init__(
        self, command: str = "", *, arm_watchdog: Callable[[float], object] | None = None
    ) -> None:
        self.command = command
        self._arm_watchdog = arm_watchdog
        self.as_json = False
        self._limit_s = 0.0
        self._report: RunReport | None = None
        self._tail: log_setup.Tail | None = None

    def start(
        self,
        path: Path | None,
        level: str | None,
        *,
        as_json: bool = False,
        options: Mapping[str, object] = MappingProxyType({}),
        further: Mapping[str, Callable[[Any], object]] = MappingProxyType({}),
        job: str | None = None,
        extra_s: Callable[[Config], float] = lambda _: 0.0,
    ) -> Config:
        """Load the configuration and set up logging, as every command with a configuration does.

        Args:
            path: The configuration file, None to search for it.
            level: Value of ``--log-level``.
            as_json: Value of ``--json``; failures are printed as JSON then, too.
            options: Settings from the command line, for `config.load`.
            further: Checks of settings, for `config.load`.
            job: Name of a job with a time limit, see `limits`; notifications report how a scheduled
                one ended: poll, rollup or prune.
            extra_s: Returns the seconds to add to the job's usual time limit.

        Raises:
            UsageError: There is no such log level.
            ConfigError: The configuration cannot be used.
            StorageError: The current directory does not exist any more; or SQLite is too old for
                the job.
        """
        self.as_json = as_json
        given = {"log_level": level_option(level), **options}
        loaded = config.load(path, os.environ, _directory(), given, checks=further)
        run = log_setup.Run(self.command, os.urandom(4).hex())
        watched = job is not None and loaded.is_monitored and job in loaded.monitoring_jobs
        level = loaded.log_level or default_level()
        self._open_log(loaded, level, run, watched=watched)
        if watched:
            from luxcli.monitoring.monitor import RunReport

            self._report = RunReport(loaded, str(job), run.id, current_ms())
        if job:
            from luxcli.recording import limits

            self._limit_s = limits.limit_s(job, loaded) + extra_s(loaded)
            if self._arm_watchdog:
                self._arm_watchdog(self._limit_s)
            if job not in _WITHOUT_LIBRARY:
                from luxcli.store import database

                database.check_library()
        return loaded

    def _open_log(self, loaded: Config, level: str, run: log_setup.Run, *, watched: bool) -> None:
        style: log_setup.Format = "json" if loaded.log_format == "json" else "text"
        handlers: list[logging.Handler] = []
        if watched:
            self._tail = log_setup.Tail(run)
            handlers.append(self._tail)
        if loaded.log_file:
            from luxcli.system.log_file import LogFile

            handlers.append(LogFile(loaded.log_file, loaded.log_level or "INFO"))
            handlers[-1].setFormatter(log_setup.formatter(style, run))
        log_setup.set_up(level, style, run=run, handlers=handlers)

    def suppress_notification(self) -> None:
        """Suppress the notification for this run: it had no poll to make."""
        self._report = None

    def run(self, work: Callable[[], int]) -> int:
        """Set up logging until `start` does, do what the command is for, return the exit status.

        An expected failure is printed as one line on stderr. Notifications are sent however the
        job ends.

        Raises:
            Interrupted: As `work`; also when the time limit ended it.
        """
        status, bug = 1, ""
        log_setup.set_up_early(os.environ)
        try:
            status = self._done(work)
        except Interrupted as exc:
            status = 128 + exc.signum
            if self._limit_s and exc.signum == signal.SIGALRM:
                from luxcli.system import watchdog

                warn(watchdog.message(self._limit_s), logging.ERROR)
            raise
        except Exception as exc:
            bug = f"a bug: {type(exc).__name__}: {exc}"
            raise
        else:
            return status
        finally:
            if self._report and self._tail:
                message = bug or self._tail.message
                self._report.end(status, message, self._tail.text(), current_ms())

    def _done(self, work: Callable[[], int]) -> int:
        try:
            return work()
        except LuxcliError as exc:
            warn(str(exc), logging.ERROR)
            if self.as_json:
                try:
                    print_json({"ok": False, "error": exc.to_json()})
                except StorageError as unwritable:
                    warn(str(unwritable), logging.ERROR)
            return exc.exit_code


def _directory() -> Path:
    try:
        return Path.cwd()
    except OSError as exc:
        raise StorageError(
            f"the current directory cannot be used: {exc.strerror}; change to another one"
        ) from exc


def default_level() -> str:
    """Return the log level where none is configured."""
    return "INFO" if sys.stderr.isatty() else "WARNING"
