"""What ``config check`` looks at beyond the single values: do they work on this machine?"""

from luxcli.config.config import Config
from luxcli.errors import StorageError
from luxcli.store.store import open_store
from luxcli.system.files import unwritable


def is_set(host: str | None) -> None:
    """Raise ValueError when no heat pump is named."""
    if host is None:
        raise ValueError("missing; set it here or as LUXCLI_HOST")


def check(config: Config) -> None:
    """Look whether everything that will be written can be.

    Raises:
        StorageError: Something cannot, or a file with a secret cannot be used; all at once.
    """
    store = open_store(config)
    failures = [unwritable(config.cache_path.parent)]
    failures += map(unwritable, sorted({config.daily_dir, config.weekly_dir}))
    if config.log_file:
        failures.append(unwritable(config.log_file.parent))
    if config.monitored:
        from luxcli.monitoring import channels

        failures += channels.unusable_files(config)
    found = [failure for failure in failures if failure]
    if found:
        raise StorageError("\n".join(found))
    store.span()
