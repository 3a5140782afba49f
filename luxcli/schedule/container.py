"""Starts supercronic with the schedule, as the main process of a container.

A set-up that cannot work is refused at the start with one line; later it would be a line at every
poll. A heat pump that does not answer is no reason to refuse, because it may answer later.
"""

import glob
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NoReturn

from luxcli.config import settings
from luxcli.config.config import Config
from luxcli.errors import ConfigError, StorageError
from luxcli.schedule import supervisor
from luxcli.store import database
from luxcli.store.store import Store
from luxcli.system import files

# -no-reap: the supervisor reaps orphans. -quiet: otherwise supercronic logs two lines for each run,
# 5,760 a day; failures are still logged. -passthrough-logs: lines of the jobs stay as they are.
_OPTIONS: Final = ("-no-reap", "-quiet", "-passthrough-logs")
_START_S: Final = 10.0


def check(config: Config, environ: Mapping[str, str]) -> str:
    """Check that jobs can work, and return the absolute path of supercronic.

    Raises:
        ConfigError: No heat pump is configured, or the variable TZ is not a time zone.
        StorageError: The data cannot be written, the SQLite library is too old, or supercronic is
            missing or cannot be started.
    """
    database.check_library()
    if config.host is None:
        raise ConfigError(
            ["host: missing; set HOST in the environment, or host in a configuration file"]
        )
    if config.timezone is None and environ.get("TZ"):
        # Other commands warn and use UTC; here TZ comes from an .env file, like any setting.
        try:
            settings.read_setting("timezone", environ["TZ"].removeprefix(":"))
        except ValueError as exc:
            raise ConfigError([f"TZ: {exc}"]) from exc
    store = Store.open(config.cache_path, parents=config.may_create_parents)
    directory = config.cache_path.parent
    for place in (directory, store.archive_directory, config.daily_dir, config.weekly_dir):
        if failure := files.write_obstacle(place):
            raise StorageError(f"{failure}{_remedy(place)}")
    for file in (*directory.glob(f"{glob.escape(store.path.name)}*"), *directory.glob("*.lock")):
        if not os.access(file, os.W_OK):
            raise StorageError(f"{file}: cannot be written{_remedy(file)}")
    program = shutil.which("supercronic")
    if program is None:
        raise StorageError(
            "supercronic: not found; install it, for example Debian's package (release 14)"
        )
    try:
        subprocess.run(  # noqa: S603  found in PATH
            [program, "-version"], capture_output=True, timeout=_START_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as exc:  # such as one for another processor
        reason = getattr(exc, "strerror", None) or f"no answer in {_START_S:g} s"
        raise StorageError(f"{program}: cannot be started: {reason}") from exc
    return os.path.abspath(program)


def become(program: str, crontab: str, environ: Mapping[str, str], *, as_json: bool) -> NoReturn:
    """Replace this process by the supervisor, which runs supercronic.

    The crontab is a file in memory, because every file system may be read-only.

    Args:
        program: The path of supercronic.
        crontab: The text.
        environ: The environment of the jobs. supercronic itself logs in UTC, as luxcli does.
        as_json: Whether supercronic logs JSON.

    Raises:
        StorageError: This system has no files in memory, or the process cannot be started.
    """
    try:
        zone = environ.get("TZ", "").strip()
        if zone:
            crontab = f"TZ={zone}\n{crontab}"
        memory = os.memfd_create("crontab", 0)  # no MFD_CLOEXEC: supercronic inherits it
        with open(memory, "w", encoding="utf-8", closefd=False) as file:
            file.write(crontab)
        options = (*_OPTIONS, "-json") if as_json else _OPTIONS
        command = (program, *options, f"/proc/self/fd/{memory}")
        starter = (sys.executable, "-I", "-S", supervisor.__file__)
        # Signals from here on stay pending for the supervisor: the first process of a container
        # does not receive a signal for which it has no handler.
        signal.pthread_sigmask(signal.SIG_BLOCK, supervisor.STOPS)
        os.execve(  # noqa: S606  a shell is not needed
            sys.executable, [*starter, *command], {**environ, "TZ": "UTC"} if zone else environ
        )
    except (AttributeError, OSError) as exc:
        raise StorageError(f"{program}: cannot be started: {exc}") from exc


def _remedy(path: Path) -> str:
    """Return advice about a path that cannot be written, "" if its owner is not the reason."""
    existing = next(place for place in (path, *path.parents) if place.exists())
    found, uid = existing.stat(), os.geteuid()
    if found.st_uid == uid:
        return ""
    whose = f"; it belongs to uid {found.st_uid}, and this is uid {uid}: "
    root = _root_outside()
    if root is not None:
        return (
            f"{whose}uid 0 in this container is uid {root} on the host, so 'sudo chown -R {root}'"
            " the directory that is mounted, and run as uid 0 (--user 0:0)"
        )
    as_owner = f", or run as its owner (--user {found.st_uid}:{found.st_gid})"
    return (
        f"{whose}on the host 'sudo chown -R {uid}:{os.getegid()}' the directory that is mounted"
        f"{as_owner if found.st_uid else ''}"
    )


def _root_outside() -> str | None:
    """Return the uid on the host of uid 0 in a rootless container, None if uid 0 is uid 0."""
    try:
        inside, outside, count = Path("/proc/self/uid_map").read_text(encoding="utf-8").split()[:3]
    except (OSError, ValueError):
        return None
    return None if (inside, outside, count) == ("0", "0", "4294967295") else outside
