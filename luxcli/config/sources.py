"""Where values of settings come from: variables of the environment, and the places of the file."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from luxcli.config.settings import SETTINGS

PREFIX: Final = "LUXCLI_"
KEYS: Final = frozenset(setting.key for setting in SETTINGS)
# A group of keys that may also be one value for all of them.
GROUP_KEYS: Final = frozenset({"output_dirs"})

# The machine's configuration; `SYSTEM_VARIABLE` names another file in its place, so that a test
# neither reads the configuration of the machine that it runs on nor polls that machine's heat pump.
SYSTEM_FILE: Final = Path("/etc/luxcli/config.yaml")
SYSTEM_VARIABLE: Final = "LUXCLI_SYSTEM_CONFIG"
# Not settings: for the command line itself, the test against a real heat pump, and what
# `monitoring.command` is given, which may call luxcli in turn.
_RESERVED: Final = frozenset(
    {"LUXCLI_CONFIG", SYSTEM_VARIABLE, "LUXCLI_LIVE_HOST", "LUXCLI_LIVE_PORT"}
    | {"LUXCLI_JOB", "LUXCLI_EVENT", "LUXCLI_STATUS", "LUXCLI_MESSAGE"}
)


class Given(NamedTuple):
    """A value as it was written.

    Attributes:
        value: A text, or what YAML made of it.
        origin: Where it was written: ``file:line``, a variable or an option.
        base: Start of a relative path.
        line: Line of the file, 0 if it was written elsewhere.
    """

    value: object
    origin: str
    base: Path
    line: int = 0


class Problem(NamedTuple):
    """A mistake in the configuration: its line in the file, 0 if it is elsewhere, and a text."""

    line: int
    text: str


def find_file(environ: Mapping[str, str], cwd: Path) -> Path | None:
    """Return the configuration file in force when none is named: the first that exists."""
    config_home = xdg_home(environ, "XDG_CONFIG_HOME", ".config")
    places = [cwd / "luxcli.yaml", Path(environ.get(SYSTEM_VARIABLE) or SYSTEM_FILE)]
    if config_home:
        places.insert(1, config_home / "luxcli" / "config.yaml")
    # Docker makes a directory of a file to mount that does not exist: the error when reading it
    # names the mistake.
    return next((place for place in places if place.is_file() or place.is_dir()), None)


def from_bare_variables(environ: Mapping[str, str], cwd: Path) -> dict[str, Given]:
    """Return the settings in variables without prefix, such as HOST."""
    keys = [*(setting.key for setting in SETTINGS if setting.bare), *GROUP_KEYS]
    return {
        key: Given(environ[name], name, cwd)
        for key in keys
        if environ.get(name := _variable(key), "") != ""
    }


def from_variables(
    environ: Mapping[str, str], cwd: Path, problems: list[Problem]
) -> dict[str, Given]:
    """Return the settings in ``LUXCLI_*`` variables; a name that is no setting is a problem."""
    known = {PREFIX + _variable(key): key for key in [*KEYS, *GROUP_KEYS]}
    found: dict[str, Given] = {}
    for name in sorted(environ):
        if not name.startswith(PREFIX) or name in _RESERVED or environ[name] == "":
            continue
        if name in known:
            found[known[name]] = Given(environ[name], name, cwd)
        else:
            text = f"{name}: no such setting{_suggest_variable(name, known)}"
            problems.append(Problem(0, text))
    return found


def spread_groups(given: dict[str, Given]) -> dict[str, Given]:
    """Return the values with `output_dirs: PATH` put in place of a directory that is not given."""
    both = given.pop("output_dirs", None)
    if both is not None:
        given.setdefault("output_dirs.daily", both)
        given.setdefault("output_dirs.weekly", both)
    return given


def suggest(name: str, known: Iterable[str]) -> str:
    """Return " (did you mean ...?)" for a misspelt name, "" if it resembles none."""
    from difflib import get_close_matches  # only a mistake pays for it

    matches = get_close_matches(name, sorted(known), n=1)
    return f" (did you mean {matches[0]}?)" if matches else ""


def xdg_home(environ: Mapping[str, str], name: str, beside_home: str) -> Path | None:
    """Return a base directory of the XDG specification, None if there is no home either."""
    # The specification says to ignore a relative path here.
    given = Path(environ.get(name, ""))
    if given.is_absolute():
        return given
    home = environ.get("HOME", "")
    return Path(home) / beside_home if home else None


def _variable(key: str) -> str:
    return key.replace(".", "_").upper()


def _suggest_variable(name: str, known: Iterable[str]) -> str:
    from difflib import get_close_matches

    # Compared without the prefix, which makes all names look alike.
    bare = {other.removeprefix(PREFIX): other for other in known}
    matches = get_close_matches(name.removeprefix(PREFIX), bare, n=1)
    return f" (did you mean {bare[matches[0]]}?)" if matches else ""
