"""Settings from YAML and the environment: every problem at once, each with where it stands.

Precedence, highest first: option of the command, ``LUXCLI_*`` variable, YAML file, bare variable
such as ``HOST`` (for ``docker run --env-file``), default.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import time
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeVar

from luxcli.config.monitoring_targets import CHANNELS, Urls
from luxcli.config.settings import PATHS, SETTINGS
from luxcli.errors import ConfigError
from luxcli.times import WEEKDAYS

PREFIX: Final = "LUXCLI_"
# Read by others: the command line itself, the test against a real heat pump, and what
# `monitoring.command` is given, which may call luxcli in turn.
_RESERVED: Final = frozenset(
    {"LUXCLI_CONFIG", "LUXCLI_LIVE_HOST", "LUXCLI_LIVE_PORT"}
    | {"LUXCLI_JOB", "LUXCLI_EVENT", "LUXCLI_STATUS", "LUXCLI_MESSAGE"}
)
_DEFAULT: Final = "default"
HIDDEN: Final = "(hidden)"


class Config(NamedTuple):
    """Every setting, checked; times in seconds, paths absolute.

    `origins` says for each key where its value comes from: ``file:line``, a variable or "default".
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
        """Show what is no secret."""
        shown = (f"{name}={getattr(self, name)!r}" for name in self._fields if name not in _SECRETS)
        return f"Config({', '.join(shown)})"

    @property
    def monitored(self) -> bool:
        """Whether anybody is to be told how jobs went."""
        addresses = (f"{name}_url{file}" for name in CHANNELS for file in ("", "_file"))
        return any(getattr(self, f"monitoring_{key}") for key in (*addresses, "command"))

    def data_directories(self) -> tuple[Path, Path, Path]:
        """Return the directories that polls and CSVs are written to: database, daily, weekly."""
        return self.cache_path.parent, self.daily_dir, self.weekly_dir

    def require_host(self) -> str:
        """Return the heat pump's name or address.

        Raises:
            ConfigError: It is not set anywhere.
        """
        if self.host is None:
            if self.file:
                raise ConfigError([f"{self.file}: host: missing; set it there or as LUXCLI_HOST"])
            raise ConfigError(
                ["host: missing; 'luxcli config init' writes a configuration file to set it in"]
            )
        return self.host


class _Given(NamedTuple):
    value: object
    origin: str
    base: Path


def find_file(environ: Mapping[str, str], cwd: Path) -> Path | None:
    """Return the configuration file in force when none is named: the first that exists."""
    config_home = _xdg(environ, "XDG_CONFIG_HOME", ".config")
    places = [cwd / "luxcli.yaml", Path("/etc/luxcli/config.yaml")]
    if config_home:
        places.insert(1, config_home / "luxcli" / "config.yaml")
    # A directory is what Docker makes of a file to mount that is not there: reading it will say so.
    return next((place for place in places if place.is_file() or place.is_dir()), None)


def load(
    path: Path | None,
    environ: Mapping[str, str],
    cwd: Path,
    options: Mapping[str, object] | None = None,
    *,
    search: bool = True,
    further: Mapping[str, Callable[[Any], object]] = MappingProxyType({}),
) -> Config:
    """Read and check the whole configuration.

    Args:
        path: YAML file; None looks in the usual places, where it may be missing.
        further: More checks by key, called with the value; their ValueErrors are problems, too.
        search: False does without a file unless `path` names one.
        environ: Usually ``os.environ``.
        cwd: What relative paths in variables and options are relative to; those in the file are
            relative to the file.
        options: Values from the command line by key; None values are ignored.

    Raises:
        ConfigError: Holds one line for every problem found.
    """
    problems: list[str] = []
    file = find_file(environ, cwd) if path is None and search else path
    given: dict[str, _Given] = {}
    given.update(_expanded(dict(_bare(environ, cwd))))
    if file is not None:
        given.update(_expanded(_from_yaml(file, problems)))
    given.update(_expanded(_from_variables(environ, cwd, problems)))
    for key, value in (options or {}).items():
        if value is not None:
            given[key] = _Given(value, "--" + key.replace("_", "-").replace(".", "-"), cwd)

    misread = bool(problems)
    values: dict[str, Any] = {}
    for setting in SETTINGS:
        chosen = given.get(setting.key, _Given(setting.default, _DEFAULT, cwd))
        try:
            values[setting.key] = setting.read(chosen.value)
            # What is missing may be what was misspelt: that is reported already.
            if setting.key in further and (setting.key in given or not misread):
                further[setting.key](values[setting.key])
        except ValueError as exc:
            where = (file or "configuration") if chosen.origin == _DEFAULT else chosen.origin
            problems.append(f"{where}: {setting.key}: {exc}")
    _check_together(values, given, problems)
    if problems:
        raise ConfigError(sorted(problems, key=_place))
    origins = {s.key: given[s.key].origin if s.key in given else _DEFAULT for s in SETTINGS}
    paths = _paths(values, given, environ)
    flat = {s.key.replace(".", "_"): values[s.key] for s in SETTINGS if s.key not in PATHS}
    return Config(**flat, **paths, file=file, origins=origins)


def effective(config: Config) -> Iterator[tuple[str, str, str]]:
    """Yield key, value as text and origin of every setting, in the order of the documentation.

    Secrets are hidden.
    """
    for setting in SETTINGS:
        value = getattr(config, _DIRECTORIES.get(setting.key, setting.key.replace(".", "_")))
        if setting.secret:
            text = HIDDEN if value else ""
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
_KEYS: Final = {setting.key: setting for setting in SETTINGS}
_NESTED: Final = frozenset(key.split(".")[0] for key in _KEYS if "." in key)
# `output_dirs` may be one path for both.
_GROUP_KEYS: Final = frozenset({"output_dirs"})


def _variable(key: str) -> str:
    return key.replace(".", "_").upper()


def _bare(environ: Mapping[str, str], cwd: Path) -> Iterator[tuple[str, _Given]]:
    for key in [*(s.key for s in SETTINGS if s.bare), *_GROUP_KEYS]:
        name = _variable(key)
        if environ.get(name, "") != "":
            yield key, _Given(environ[name], name, cwd)


def _from_variables(
    environ: Mapping[str, str], cwd: Path, problems: list[str]
) -> dict[str, _Given]:
    known = {PREFIX + _variable(key): key for key in [*_KEYS, *_GROUP_KEYS]}
    found: dict[str, _Given] = {}
    for name in sorted(environ):
        if not name.startswith(PREFIX) or name in _RESERVED or environ[name] == "":
            continue
        if name in known:
            found[known[name]] = _Given(environ[name], name, cwd)
        else:
            problems.append(f"{name}: no such setting{_guess_variable(name, known)}")
    return found


def _from_yaml(file: Path, problems: list[str]) -> dict[str, _Given]:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        problems.append(f"{file}: cannot be read: {getattr(exc, 'strerror', None) or exc}")
        return {}
    from luxcli.config import plain_yaml

    base = file.absolute().parent
    plain = plain_yaml.entries(text)
    if plain is not None and all(entry.key in _KEYS or entry.key in _GROUP_KEYS for entry in plain):
        return {e.key: _Given(e.value, f"{file}:{e.line}", base) for e in plain}
    import yaml

    try:
        loader = yaml.SafeLoader(text)
        try:
            root = loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.YAMLError as exc:
        mark = getattr(exc, "problem_mark", None)
        where = f"{file}:{mark.line + 1}" if mark else str(file)
        what = " ".join(str(getattr(exc, "problem", None) or exc).split())
        problems.append(f"{where}: not valid YAML: {what}")
        return {}
    found: dict[str, _Given] = {}
    if root is not None:
        _collect(root, "", file, loader, found, problems)
    return found


def _collect(
    node: Any, head: str, file: Path, loader: Any, found: dict[str, _Given], problems: list[str]
) -> None:
    """Add the settings of one YAML mapping to `found`, with the line of each."""
    import yaml

    if not isinstance(node, yaml.MappingNode):
        what = f"{head.rstrip('.')}: " if head else ""
        problems.append(f"{file}:{node.start_mark.line + 1}: {what}expected 'key: value' lines")
        return
    for key_node, value_node in node.value:
        origin = f"{file}:{key_node.start_mark.line + 1}"
        key = head + str(key_node.value)
        rivals = [other for other in found if _same_setting(key, other)]
        if rivals:  # PyYAML alone would silently keep the last one
            problems.append(f"{origin}: {key}: already set at {found[rivals[0]].origin}")
        elif key in _NESTED and not (key in _GROUP_KEYS and _is_scalar(value_node)):
            _collect(value_node, key + ".", file, loader, found, problems)
        elif key in _KEYS or key in _GROUP_KEYS:
            value = _construct(loader, value_node)
            if value is None:
                problems.append(f"{origin}: {key}: has no value")
            else:
                found[key] = _Given(value, origin, file.absolute().parent)
        else:
            known = [*_KEYS, *_NESTED]
            problems.append(f"{origin}: {key}: no such setting{_guess(key, known)}")


def _same_setting(key: str, other: str) -> bool:
    shorter, longer = sorted((key, other), key=len)
    return longer == shorter or (shorter in _GROUP_KEYS and longer.startswith(shorter + "."))


def _is_scalar(node: Any) -> bool:
    import yaml

    return isinstance(node, yaml.ScalarNode)


def _construct(loader: Any, node: Any) -> object:
    """Return the value of a node; of a scalar its text, which each setting reads for itself.

    YAML 1.1 would make 420 of 7:00, and a number of a host name like 1e3.
    """
    import yaml

    if isinstance(node, yaml.ScalarNode):
        return None if node.tag == "tag:yaml.org,2002:null" else node.value
    try:
        value: object = loader.construct_object(node, deep=True)
    except (yaml.YAMLError, ValueError):  # such as !!python/object
        return str(node.value)
    return value


def _place(problem: str) -> tuple[str, int]:
    """Sort by file, then by line, then as it was found."""
    found = re.match(r"(.*?):(\d+): ", problem)
    return (found[1], int(found[2])) if found else ("", 0)


def _guess_variable(name: str, known: Iterable[str]) -> str:
    # Without the prefix, which makes everything look alike.
    import difflib

    bare = {other.removeprefix(PREFIX): other for other in known}
    matches = difflib.get_close_matches(name.removeprefix(PREFIX), bare, n=1)
    return f" (did you mean {bare[matches[0]]}?)" if matches else ""


def _guess(name: str, known: Iterable[str]) -> str:
    import difflib

    matches = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {matches[0]}?)" if matches else ""


def _expanded(given: dict[str, _Given]) -> dict[str, _Given]:
    """Let `output_dirs: PATH` stand for both directories unless one is set by itself."""
    both = given.pop("output_dirs", None)
    if both is not None:
        given.setdefault("output_dirs.daily", both)
        given.setdefault("output_dirs.weekly", both)
    return given


def _check_together(
    values: Mapping[str, Any], given: Mapping[str, _Given], problems: list[str]
) -> None:
    if "csv.decimal" in values and values["csv.decimal"] == values.get("csv.delimiter"):
        item = given.get("csv.decimal") or given["csv.delimiter"]
        problems.append(
            f"{item.origin}: csv.decimal and csv.delimiter are both {values['csv.decimal']!r};"
            " set csv.delimiter to ';'"
        )


def _paths(
    values: Mapping[str, Any], given: Mapping[str, _Given], environ: Mapping[str, str]
) -> dict[str, Any]:
    def absolute(key: str, default: _Default) -> Path | _Default:
        if key not in given or values[key] == "":
            return default
        return Path(os.path.normpath(given[key].base / Path(values[key]).expanduser()))

    data_home = _xdg(environ, "XDG_DATA_HOME", ".local/share") or Path("/var/lib")
    cache = absolute("cache_path", data_home / "luxcli" / "cache.sqlite3")
    further = {
        key.replace(".", "_"): absolute(key, None)
        for key in PATHS
        if key not in {"cache_path", *_DIRECTORIES}
    }
    return {
        **further,
        "cache_path": cache,
        "daily_dir": absolute("output_dirs.daily", cache.parent / "reports" / "daily"),
        "weekly_dir": absolute("output_dirs.weekly", cache.parent / "reports" / "weekly"),
    }


def _xdg(environ: Mapping[str, str], name: str, beside_home: str) -> Path | None:
    # The XDG specification says to ignore a relative path here.
    given = Path(environ.get(name, ""))
    if given.is_absolute():
        return given
    home = environ.get("HOME", "")
    return Path(home) / beside_home if home else None
