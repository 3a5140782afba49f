"""Takes out of texts who and where: directories, hosts, addresses, names of people.

Of directories only what luxcli itself named stays. Better too much is replaced than too little.
"""

import ipaddress
import os
import platform
import pwd
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from luxcli.config import config
from luxcli.config.config import Config

Clean = Callable[[str], str]

_CACHE_NAME: Final = "cache.sqlite3"
# Anything that may be an address; what is one is found out by reading it.
_ADDRESS: Final = re.compile(r"[0-9A-Fa-f.:]*[.:][0-9A-Fa-f.:]*[.:][0-9A-Fa-f.:]*")
# A path may have blanks in it: one that is not known ends where the sentence goes on.
_REST: Final = r"[^\n\"'`;()]*?(?=:[ \d]|:$|[\"'`;()\n]|$)"
_PATH: Final = re.compile(r"(?<![\w.~<>/-])/(?=[^\s/:])" + _REST)
_HEAD_PATH: Final = re.compile(r"/(?=[^\s/:]).*?(?=:[ \d]|:$|$)")
# What luxcli calls its files and directories.
_OWN: Final = (
    r"(?:(?:archive|reports/daily|reports/weekly)/)?"
    r"(?:[\d-]{10}\.luxlog\.gz[\w.-]*|[\d-]{10}[\d_]*_(?:daily|weekly)\.csv"
    r"|(?:cache\.sqlite3|<cache>)[\w.-]*|device-[\w.-]+\.lock)"
    r"|archive|reports/daily|reports/weekly"
)
_OWN_NAMES: Final = re.compile(rf"/({_OWN})$")
# What messages begin with that concern an address, also one that was configured earlier.
_HOST_PORT: Final = re.compile(r"[^\s\"'<>/]+(?=:\d{4,5}: )")
_OTHER_HEAT_PUMP: Final = re.compile(r"(?<=another heat pump \()[^)]*")
# Names that tell nothing, or would be found inside of sentences everywhere.
_TELL_NOTHING: Final = frozenset({"luxcli", "root", "nobody"})
_SHORTEST_NAME: Final = 2
# Whom to tell and how: addresses of people, names of houses.
_FREE_TEXTS: Final = frozenset(
    {
        *("monitoring.command", "monitoring.ntfy_tags", "monitoring.ntfy_title"),
        *("monitoring.healthchecks_url_file", "monitoring.uptime_kuma_url_file"),
        *("monitoring.ntfy_url_file", "monitoring.ntfy_token_file"),
    }
)


def cleaner(settings: Config | None, environ: Mapping[str, str]) -> Clean:
    """Return what replaces the heat pump's and this machine's names, addresses and people.

    Args:
        settings: None when the configuration is wrong; then its values are taken out, too.
        environ: Usually ``os.environ``.
    """
    steps: list[Clean] = []
    if settings is None:
        steps.append(_without_values)
    else:
        steps.append(_replacing([(_whole(text), "<value>") for text in _free_texts(settings)]))
    steps += [_replacing(_places(settings, environ)), _without_paths]
    steps.append(_replacing(_hosts(settings, environ)))
    steps.append(_replacing([(_whole(name), "<user>") for name in _users(settings, environ)]))
    steps.append(_without_addresses)

    def clean(text: str) -> str:
        for step in steps:
            text = step(text)
        return text

    return clean


def _replacing(replacements: Iterable[tuple[re.Pattern[str], str]]) -> Clean:
    kept = list(replacements)

    def clean(text: str) -> str:
        for pattern, token in kept:
            text = pattern.sub(token, text)
        return text

    return clean


# A configuration that is wrong.

_QUOTED: Final = re.compile(r"(?<!\w)'(?!luxcli )(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"")
_UNKNOWN_KEY: Final = re.compile(r"(?:(?<=: )|^)[^:]*(?=: no such setting$)")
# As each problem begins: file and line, or the file alone before a key or a reason.
_FILE: Final = re.compile(
    r"^(?!LUXCLI_|--|[A-Z_]+: )(?:.*?(?=:\d+: )|.*?(?=: cannot be read)|[^:]+(?=: [a-z_.]+: ))"
)
_WRONG_HOST: Final = re.compile(r"(?<=: host: ).*")


def _without_values(text: str) -> str:
    """Take out whatever a wrong configuration says: a host name may stand where a port belongs."""
    text = _WRONG_HOST.sub("<host>: wrong or missing", text)
    text = _UNKNOWN_KEY.sub("<setting>", text)
    if ": " in text:
        text = _FILE.sub("<configuration>", text)
    return _QUOTED.sub("<value>", text)


# Directories.


def _places(
    settings: Config | None, environ: Mapping[str, str]
) -> Iterator[tuple[re.Pattern[str], str]]:
    """Yield what replaces the directories that are known here, the longest first."""
    if settings and settings.cache_path.name != _CACHE_NAME:
        # Its lock, buffer and journal are called after it.
        name = re.escape(settings.cache_path.name)
        yield re.compile(rf"(?<![\w.-]){name}(?!\w)"), "<cache>"
    tokens = _configured(settings) if settings else {}
    for variable, token in (("HOME", "~"), ("PWD", "<directory>")):
        tokens.setdefault(environ.get(variable, "").rstrip("/"), token)
    for path, token in list(tokens.items()):
        with suppress(OSError, RuntimeError):
            tokens.setdefault(str(Path(path).resolve()), token)
    above = {str(parent) for path in tokens for parent in Path(path).parents} - tokens.keys()
    for path in sorted({*tokens, *above} - {"", ".", "/"}, key=len, reverse=True):
        # Not within a longer name; a full stop may end a sentence.
        whole = r"(?<![\w.-])" + re.escape(path) + r"(?![\w-]|\.\w)"
        if path in tokens:
            yield re.compile(rf"{whole}(/(?:{_OWN}))(?![\w/-])"), rf"{tokens[path]}\1"
            yield re.compile(rf"{whole}/(?=\S){_REST}"), f"{tokens[path]}/<path>"
        yield re.compile(rf"{whole}(?!/\S)"), tokens.get(path, "<directory>")


def _free_texts(settings: Config) -> list[str]:
    """Return what was written into settings that may hold anything, the longest first."""
    given = {
        value
        for key, value, origin in config.effective(settings)
        if key in _FREE_TEXTS and origin != "default" and len(value) >= _SHORTEST_NAME
    }
    return sorted(given, key=len, reverse=True)


def _configured(settings: Config) -> dict[str, str]:
    """Return what stands for the configured paths."""
    data = settings.cache_path.parent
    tokens = {str(data): "<data>"}
    for kind, directory in (("daily", settings.daily_dir), ("weekly", settings.weekly_dir)):
        usual = directory == data / "reports" / kind
        tokens.setdefault(str(directory), f"<data>/reports/{kind}" if usual else f"<{kind}>")
    if settings.file:
        tokens[str(settings.file)] = "<configuration>"
        tokens[str(settings.file.absolute())] = "<configuration>"
        tokens.setdefault(str(settings.file.absolute().parent), "<directory>")
    return tokens


def _without_paths(text: str) -> str:
    """Take out paths that are not known here, such as those of an earlier configuration."""
    if text.startswith("/"):
        text = _HEAD_PATH.sub(_without_path, text, count=1)
    return _PATH.sub(_without_path, text) if "/" in text else text


def _without_path(found: re.Match[str]) -> str:
    own = _OWN_NAMES.search(found[0])
    return f"<path>/{own[1]}" if own else "<path>"


# Hosts and people.


def _hosts(
    settings: Config | None, environ: Mapping[str, str]
) -> Iterator[tuple[re.Pattern[str], str]]:
    hosts = {settings.host} if settings and settings.host else set()
    # As it stands in the name of the lock file.
    hosts |= {re.sub(r"[^\w.-]", "_", host.lower()) for host in hosts}
    hosts |= {environ[name] for name in ("HOST", "LUXCLI_HOST") if environ.get(name)}
    for host in sorted(hosts, key=len, reverse=True):
        yield _whole(host), "<host>"
    yield _OTHER_HEAT_PUMP, "<host>"
    machine = platform.node()
    for name in (machine, machine.partition(".")[0]):
        if len(name) >= _SHORTEST_NAME and name != "localhost":
            yield _whole(name), "<machine>"


def _users(settings: Config | None, environ: Mapping[str, str]) -> list[str]:
    """Return whoever runs luxcli or owns its files."""
    names = {environ.get(name, "") for name in ("USER", "LOGNAME", "SUDO_USER")}
    names.add(Path(environ.get("HOME", "")).name)
    with suppress(KeyError):
        names.add(pwd.getpwuid(os.geteuid()).pw_name)
    if settings:
        places = {settings.cache_path.parent, settings.daily_dir, settings.weekly_dir}
        for place in [*places, *([settings.file] if settings.file else [])]:
            with suppress(OSError, KeyError):
                names.add(place.owner())
    kept = {n for n in names if len(n) >= _SHORTEST_NAME and n.lower() not in _TELL_NOTHING}
    return sorted(kept, key=len, reverse=True)


def _whole(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w]){re.escape(name)}(?![\w])", re.IGNORECASE)


def _without_addresses(text: str) -> str:
    return _HOST_PORT.sub("<host>", _ADDRESS.sub(_without_address, text))


def _without_address(found: re.Match[str]) -> str:
    # "192.168.1.50:8889:" is what messages begin with.
    text = found[0]
    for candidate in (text, text.rstrip(".:"), text.partition(":")[0].rstrip(".")):
        try:
            ipaddress.ip_address(candidate)
        except ValueError:
            continue
        return "<address>" + text[len(candidate) :]
    return text
