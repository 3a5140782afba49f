"""Keeps names of hosts and people, addresses and directories out of a report for a public issue.

A text is kept if it consists of words that luxcli itself uses, numbers, times, and values that the
report gives anyway. A text with any other word may name a host, a person or a directory: it is left
out and counted. The names that are known here are replaced first, so that texts with them are kept.
"""

import os
import pkgutil
import platform
import pwd
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from importlib.abc import InspectLoader
from importlib.util import find_spec
from pathlib import Path
from types import CodeType
from typing import Final

import luxcli
from luxcli.config.config import Config
from luxcli.config.settings import SETTINGS
from luxcli.registers import catalogue

LEFT_OUT: Final = "(left out)"
_PUNCTUATION: Final = ".,;:()[]'\"!?`"
_NUMBER: Final = r"[-+]?\d+(?:[.,]\d+)?"
# Numbers, intervals, dates and times; never several full stops, as an address has.
_FIGURE: Final = re.compile(
    rf"{_NUMBER}%?|{_NUMBER}\.\.{_NUMBER}"
    r"|\d{4}-\d\d-\d\d(?:T\d\d:\d\d:\d\d(?:\.\d+)?Z)?|\d\d:\d\d(?::\d\d)?",
    re.IGNORECASE,
)
# Examples of addresses, which may be somebody's.
_ADDRESS: Final = re.compile(r"\d\.\d+\.\d|[@:]")
# A path or file name that begins with a placeholder or a date: each part of it has to be known.
_COMPOUND: Final = re.compile(r"[\w-]*<[a-z]+>|\d{4}-\d\d-\d\d[_.]")
_SEPARATORS: Final = re.compile(r"<[a-z]+>|[/:._-]+")
# What the system and SQLite say, beside the texts of `os.strerror`.
_SYSTEM_MESSAGES: Final = """
    Name or service not known. No address associated with hostname.
    Temporary failure in name resolution. Non-recoverable failure in name resolution.
    database disk image is malformed; disk I/O error; database or disk is full; file is not a
    database; unable to open database file; attempt to write a readonly database;
    database is locked; database schema has changed; no such table; no such column
"""
_HIGHEST_ERRNO: Final = 133
# Names that identify nobody, or are words of ordinary sentences.
_COMMON_NAMES: Final = frozenset({"luxcli", "root", "nobody", "localhost"})
_SHORTEST_NAME: Final = 2


class Redactor:
    """Decides word by word which texts are kept.

    Attributes:
        left_out: How many texts were left out.
    """

    def __init__(self, names: Mapping[str, str], values: Iterable[str] = ()) -> None:
        """Take the names to replace, each with its placeholder, and values that may be shown."""
        self.left_out = 0
        self._placeholders = {name.lower(): names[name] for name in names}
        longest_first = sorted(map(re.escape, self._placeholders), key=len, reverse=True)
        self._names = re.compile(rf"(?<!\w)(?:{'|'.join(longest_first)})(?!\w)", re.IGNORECASE)
        self._words = _own_words() | {word for value in values for word in _words(value)}

    def renamed(self, text: str) -> str:
        """Return a text with placeholders for names."""
        if not self._placeholders:
            return text
        return self._names.sub(lambda name: self._placeholders[name[0].lower()], text)

    def text(self, text: str) -> str | None:
        """Return a text with placeholders for names; None if it has an unknown word."""
        text = self.renamed(text)
        if all(map(self._is_known, _words(text))):
            return text
        self.left_out += 1
        return None

    def _is_known(self, word: str) -> bool:
        if word in self._words or _FIGURE.fullmatch(word):
            return True
        parts = _SEPARATORS.split(word) if _COMPOUND.match(word) else [word]
        return len(parts) > 1 and all(
            not part or part.isdecimal() or part in self._words for part in parts
        )


def known_names(
    settings: Config | None, addresses: Iterable[str], environ: Mapping[str, str]
) -> dict[str, str]:
    """Return the names of this heat pump, machine, user and data, with their placeholders.

    Args:
        settings: None if the configuration is wrong.
        addresses: Those of the heat pump.
        environ: Usually ``os.environ``.
    """
    machine = platform.node()
    people = dict.fromkeys(_users(settings, environ), "<user>")
    people |= dict.fromkeys((machine, machine.partition(".")[0]), "<machine>")
    names = dict.fromkeys(addresses, "<address>")
    names |= {name: people[name] for name in people if name.lower() not in _COMMON_NAMES}
    hosts = {environ.get("HOST", ""), environ.get("LUXCLI_HOST", "")}
    if settings:
        hosts.add(settings.host or "")
        names[settings.cache_path.name] = "<database>"
    # The name of the lock file has the host in another spelling.
    hosts |= {re.sub(r"[^\w.-]", "_", host.lower()) for host in hosts}
    names |= dict.fromkeys(hosts, "<host>")
    names = {name: names[name] for name in names if len(name) >= _SHORTEST_NAME}
    for path, placeholder in _directories(settings, environ):
        names.setdefault(str(path), placeholder)
        with suppress(OSError, RuntimeError):
            names.setdefault(str(path.resolve()), placeholder)
    return names


def _directories(settings: Config | None, environ: Mapping[str, str]) -> Iterator[tuple[Path, str]]:
    if settings:
        yield settings.cache_path.parent, "<data>"
        yield settings.daily_dir, "<daily>"
        yield settings.weekly_dir, "<weekly>"
        if settings.file:
            yield settings.file, "<configuration>"
            yield settings.file.absolute(), "<configuration>"
    for variable, placeholder in (("HOME", "<home>"), ("PWD", "<directory>")):
        path = Path(environ.get(variable, ""))
        if path.name:
            yield path, placeholder


def _users(settings: Config | None, environ: Mapping[str, str]) -> set[str]:
    """Return the names of the user who runs luxcli, and of the owners of its files."""
    names = {environ.get(name, "") for name in ("USER", "LOGNAME", "SUDO_USER")}
    names.add(Path(environ.get("HOME", "")).name)
    with suppress(KeyError):
        names.add(pwd.getpwuid(os.geteuid()).pw_name)
    if settings:
        places = {settings.cache_path.parent, settings.daily_dir, settings.weekly_dir}
        for place in [*places, *([settings.file] if settings.file else [])]:
            with suppress(OSError, KeyError):
                names.add(place.owner())
    return names


def _words(text: str) -> Iterator[str]:
    """Yield the words of a text in lower case, without punctuation around them."""
    for word in text.lower().split():
        if bare := word.strip(_PUNCTUATION):
            yield bare


@cache
def _own_words() -> frozenset[str]:
    """Return every word in the texts of luxcli, of its catalogue and of the system."""
    texts = [_SYSTEM_MESSAGES, *map(os.strerror, range(_HIGHEST_ERRNO))]
    for module in pkgutil.walk_packages(luxcli.__path__, "luxcli."):
        spec = find_spec(module.name)
        if spec and isinstance(spec.loader, InspectLoader):
            code = spec.loader.get_code(module.name)
            texts += _constants(code) if code else []
    for setting in SETTINGS:
        variable = setting.key.replace(".", "_").upper()
        texts += [setting.key, variable, f"LUXCLI_{variable}"]
    for register in catalogue.catalogue():
        texts += [register.id, register.name, register.unit, *register.labels.values()]
    words = {word for text in texts for word in _words(text)}
    return frozenset(word for word in words if not _ADDRESS.search(word))


def _constants(code: CodeType) -> Iterator[str]:
    """Yield the text constants of compiled code, at any depth."""
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _constants(constant)
        elif isinstance(constant, tuple | frozenset):
            yield from (item for item in constant if isinstance(item, str))
        elif isinstance(constant, str):
            yield constant
