"""Reads and checks the configuration, and reports all mistakes at once, each with its place.

Precedence, highest first: option of the command, ``LUXCLI_*`` variable, YAML file, bare variable
such as ``HOST`` (for ``docker run --env-file``), default.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from datetime import time
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeVar

from luxcli.config import sources
from luxcli.config.monitoring_targets import CHANNELS, Urls
from luxcli.config.settings import PATHS, SETTINGS
from luxcli.config.sources import Given, Problem, spread_groups
from luxcli.errors import ConfigError
from luxcli.times import WEEKDAYS

_DEFAULT: Final = "default"
_HIDDEN: Final = "(hidden)"
# More than there are settings. What has more is no configuration.
_MOST_PROBLEMS: Final = 60


class Config(NamedTuple):
    """The value of every setting, checked; paths are absolute.

    Attributes:
        file: The configuration file, None without one.
        origins: Where the value of each key was set: ``file:line``, a variable, an option or
            "default".
    """

    host: str | None
    port: int
    interval_sec: int
    csv_time: time
    weekly_day: int
    cache_path: Path
    daily_dir: Path
    weekly_dir: Path
    timeout_sec: int
    retries: int
    timezone: str | None
    csv_retention_days: int
    cache_retention_days: int
    disk_usage_limit_percent: int
    archive: bool
    flush_polls: int
    csv_sensors: tuple[str, ...]
    csv_headers: str
    csv_delimiter: str
    csv_decimal: str
    csv_bom: bool
    csv_enums: str
    log_level: str | None
    log_format: str
    log_file: Path | None
    monitoring_healthchecks_url: Urls
    monitoring_healthchecks_url_file: Path | None
    monitoring_uptime_kuma_url: Urls
    monitoring_uptime_kuma_url_file: Path | None
    monitoring_ntfy_url: str
    monitoring_ntfy_url_file: Path | None
    monitoring_ntfy_token: str
    monitoring_ntfy_token_file: Path | None
    monitoring_ntfy_title: str
    monitoring_ntfy_priority: int
    monitoring_ntfy_tags: tuple[str, ...]
    monitoring_command: tuple[str, ...]
    monitoring_jobs: tuple[str, ...]
    monitoring_events: tuple[str, ...]
    monitoring_ping_every: int
    monitoring_stale_after: int | None
    file: Path | None
    origins: Mapping[str, str]

    def __repr__(self) -> str:
        """Return the settings without the secret ones, for tracebacks."""
        shown = (f"{name}={getattr(self, name)!r}" for name in self._fields if name not in _SECRETS)
        return f"Config({', '.join(shown)})"

    @property
    def is_monitored(self) -> bool:
        """Whether a notification channel is configured."""
        addresses = (f"{name}_url{file}" for name in CHANNELS for file in ("", "_file"))
        return any(getattr(self, f"monitoring_{key}") for key in (*addresses, "command"))

    def data_directories(self) -> tuple[Path, Path, Path]:
        """Return the directories that polls and CSVs are written to: database, daily, weekly."""
        return self.cache_path.parent, self.daily_dir, self.weekly_dir

    @property
    def may_create_parents(self) -> bool:
        """Whether directories above the database may be created: only for the default path."""
        return self.origins.get("cache_path") == "default"

    def require_host(self) -> str:
        """Return the heat pump's name or address.

        Raises:
            ConfigError: The host is not set anywhere.
        """
        if self.host is None:
            if self.file:
                raise ConfigError([f"{self.file}: host: missing; set it there or as LUXCLI_HOST"])
            raise ConfigError(
                ["host: missing; 'luxcli config init --host ADDRESS' writes a configuration file"]
            )
        return self.host


def load(
    path: Path | None,
    environ: Mapping[str, str],
    cwd: Path,
    options: Mapping[str, object] | None = None,
    *,
    search: bool = True,
    checks: Mapping[str, Callable[[Any], object]] = MappingProxyType({}),
) -> Config:
    """Read and check the whole configuration.

    Args:
        path: YAML file; None looks in the usual places, and does without a file if none has one.
        environ: Usually ``os.environ``.
        cwd: Start of relative paths in variables and options; those in the file start at the file.
        options: Values from the command line by key; None stands for an option that is not given.
        search: False looks in no usual place.
        checks: Additional checks by key, called with the value; their ValueErrors are problems.

    Raises:
        ConfigError: Has one line for every problem.
    """
    problems: list[Problem] = []
    file = sources.find_file(environ, cwd) if path is None and search else path
    given = spread_groups(sources.from_bare_variables(environ, cwd))
    if file is not None:
        from luxcli.config import yaml_file

        given.update(spread_groups(yaml_file.read(file, problems)))
    given.update(spread_groups(sources.from_variables(environ, cwd, problems)))
    for key, value in (options or {}).items():
        if value is not None:
            given[key] = Given(value, "--" + key.replace("_", "-").replace(".", "-"), cwd)

    has_mistakes = bool(problems)
    values: dict[str, Any] = {}
    for setting in SETTINGS:
        chosen = given.get(setting.key, Given(setting.default, _DEFAULT, cwd))
        try:
            values[setting.key] = setting.read(chosen.value)
            # A missing setting may be the one that is misspelt, which is reported already.
            if setting.key in checks and (setting.key in given or not has_mistakes):
                checks[setting.key](values[setting.key])
        except ValueError as exc:
            place = (file or "configuration") if chosen.origin == _DEFAULT else chosen.origin
            problems.append(Problem(chosen.line, f"{place}: {setting.key}: {exc}"))
    _check_together(values, given, problems)
    if problems:
        in_order = sorted(problems, key=lambda problem: problem.line)
        texts = [problem.text for problem in in_order]
        if len(texts) > _MOST_PROBLEMS:
            more = len(texts) - _MOST_PROBLEMS
            texts[_MOST_PROBLEMS:] = [f"{more} more problems like these"]
        raise ConfigError(texts)
    origins = {s.key: given[s.key].origin if s.key in given else _DEFAULT for s in SETTINGS}
    paths = _paths(values, given, environ)
    flat = {s.key.replace(".", "_"): values[s.key] for s in SETTINGS if s.key not in PATHS}
    return Config(**flat, **paths, file=file, origins=origins)


def effective_values(config: Config) -> Iterator[tuple[str, str, str]]:
    """Yield key, value as text and origin of every setting; "(hidden)" in place of a secret."""
    for setting in SETTINGS:
        value = getattr(config, _DIRECTORIES.get(setting.key, setting.key.replace(".", "_")))
        if setting.secret:
            text = _HIDDEN if value else ""
        elif setting.key == "weekly_day":
            text = WEEKDAYS[value]
        elif isinstance(value, time):
            text = value.strftime("%H:%M")
        elif isinstance(value, tuple):
            text = ",".join(value)
        elif isinstance(value, bool):
            text = str(value).lower()
        else:
            text = "" if value is None else str(value)
        yield setting.key, text, config.origins[setting.key]


_Default = TypeVar("_Default", Path, None)
_SECRETS: Final = frozenset(s.key.replace(".", "_") for s in SETTINGS if s.secret)
_DIRECTORIES: Final = {"output_dirs.daily": "daily_dir", "output_dirs.weekly": "weekly_dir"}


def _check_together(
    values: Mapping[str, Any], given: Mapping[str, Given], problems: list[Problem]
) -> None:
    if "csv.decimal" in values and values["csv.decimal"] == values.get("csv.delimiter"):
        item = given.get("csv.decimal") or given["csv.delimiter"]
        text = (
            f"{item.origin}: csv.decimal and csv.delimiter are both {values['csv.decimal']!r};"
            " set csv.delimiter to ';'"
        )
        problems.append(Problem(item.line, text))


def _paths(
    values: Mapping[str, Any], given: Mapping[str, Given], environ: Mapping[str, str]
) -> dict[str, Any]:
    def absolute(key: str, default: _Default) -> Path | _Default:
        if key not in given or values[key] == "":
            return default
        return Path(os.path.normpath(given[key].base / Path(values[key]).expanduser()))

    data_home = sources.xdg_home(environ, "XDG_DATA_HOME", ".local/share") or Path("/var/lib")
    database = absolute("cache_path", data_home / "luxcli" / "cache.sqlite3")
    others = {
        key.replace(".", "_"): absolute(key, None)
        for key in PATHS
        if key not in {"cache_path", *_DIRECTORIES}
    }
    return {
        **others,
        "cache_path": database,
        "daily_dir": absolute("output_dirs.daily", database.parent / "reports" / "daily"),
        "weekly_dir": absolute("output_dirs.weekly", database.parent / "reports" / "weekly"),
    }
