"""What ``config check`` looks at beyond the single values: do they work on this machine?"""

import os
from pathlib import Path

from luxcli import reports
from luxcli.config import Config
from luxcli.errors import ConfigError, StorageError
from luxcli.storage import open_store


def check(config: Config) -> None:
    """Raise what is wrong with a configuration whose values are each valid.

    Raises:
        ConfigError: The heat pump is not named, or a CSV column does not exist; all at once.
        StorageError: A directory or the cache cannot be used.
    """
    problems: list[str] = []
    for test in (config.require_host, lambda: reports.columns(config)):
        try:
            test()
        except ConfigError as exc:
            problems += exc.problems
    if problems:
        raise ConfigError(problems)
    store = open_store(config)
    _writable(config.cache_path.parent)
    store.span()
    for directory in sorted({config.daily_dir, config.weekly_dir}):
        nearest = directory
        while not nearest.exists() and nearest != nearest.parent:
            nearest = nearest.parent
        _writable(nearest, wanted=directory)


def _writable(directory: Path, wanted: Path | None = None) -> None:
    if not directory.is_dir():
        raise StorageError(f"{wanted or directory}: {directory} is not a directory")
    if not os.access(directory, os.W_OK | os.X_OK):
        raise StorageError(f"{wanted or directory}: {directory} cannot be written by this user")
