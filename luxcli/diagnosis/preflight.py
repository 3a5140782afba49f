"""Checks of ``config check`` beyond single values: directories, secret files, the database."""

from luxcli.config.config import Config
from luxcli.errors import StorageError
from luxcli.monitoring import channels
from luxcli.store import database
from luxcli.store.store import Store
from luxcli.system.files import write_obstacle


def is_set(host: str | None) -> None:
    """Raise ValueError if no heat pump is configured."""
    if host is None:
        raise ValueError("missing; set it here or as LUXCLI_HOST")


def check(config: Config) -> None:
    """Check that every directory can be written and every file with a secret can be read.

    Raises:
        IncompatibleError: SQLite is too old, or a development version made the database.
        StorageError: Some cannot; the text has a line for each.
    """
    database.check_library()
    store = Store.open(config.cache_path, parents=config.may_create_parents)
    failures = [write_obstacle(config.cache_path.parent)]
    failures += map(write_obstacle, sorted({config.daily_dir, config.weekly_dir}))
    if config.log_file:
        failures.append(write_obstacle(config.log_file.parent))
    if config.is_monitored:
        failures += channels.unusable_files(config)
    found = [failure for failure in failures if failure]
    if found:
        raise StorageError("\n".join(found))
    store.database.span()
