"""A diagnosis as a file for a public issue: without addresses, serial numbers and names of people.

What the heat pump says about where and which it is (`registers.PRIVATE`) is left out of the
snapshot; names and addresses are replaced in every text.
"""

import ipaddress
import json
import platform
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Final

from luxcli import config, files
from luxcli.config import Config
from luxcli.diagnosis import Diagnosis, as_json
from luxcli.errors import StorageError, UsageError
from luxcli.model import GROUPS, Snapshot
from luxcli.registers import PRIVATE

# Anything that may be an address; what is one is found out by reading it.
_ADDRESS: Final = re.compile(r"[0-9A-Fa-f.:]*[.:][0-9A-Fa-f.:]*[.:][0-9A-Fa-f.:]*")
_OTHER_HOMES: Final = re.compile(r"/(home|Users)/[^/\s\"']+")
# A shorter name would be found inside of words everywhere.
_SHORTEST_NAME: Final = 2


def check_free(path: Path) -> None:
    """Raise UsageError when there is a file already: it is not replaced."""
    if path.exists():
        raise UsageError(f"--bundle: {path}: exists already and was left alone")


def write(
    path: Path,
    diagnosis: Diagnosis,
    settings: Config | None,
    log_lines: Sequence[str],
    environ: Mapping[str, str],
) -> int:
    """Write the ZIP file in one step; return its size in bytes.

    Raises:
        UsageError: The file exists.
        StorageError: It cannot be written.
    """
    check_free(path)
    clean = cleaner(settings, environ)
    effective = [] if settings is None else list(config.effective(settings))
    members = {
        "diagnose.json": as_json(diagnosis, thorough=True),
        "snapshot.json": _snapshot(diagnosis.snapshot),
        "config.json": {key: {"value": value, "origin": o} for key, value, o in effective},
        "versions.json": dict(diagnosis.sections[-1].values),
    }
    texts = {
        name: json.dumps(_cleaned(content, clean), ensure_ascii=False, indent=1)
        for name, content in members.items()
    }
    texts["log.txt"] = "".join(clean(line) + "\n" for line in log_lines)

    def fill(file: BinaryIO) -> None:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, text in texts.items():
                archive.writestr(name, text)

    try:
        size = files.replace_durably(path, path.with_name(f".{path.name}.tmp"), fill)
    except OSError as exc:
        raise StorageError(f"{path}: cannot be written: {exc.strerror}") from exc
    assert size is not None
    return size


def cleaner(settings: Config | None, environ: Mapping[str, str]) -> Callable[[str], str]:
    """Return what replaces the heat pump's and this machine's names, addresses and people."""
    replacements: list[tuple[re.Pattern[str], str]] = []
    home = environ.get("HOME", "").rstrip("/")
    if len(home) >= _SHORTEST_NAME:
        replacements.append((re.compile(re.escape(home) + r"(?![\w.-])"), "~"))
    replacements.append((_OTHER_HOMES, r"/\1/<user>"))
    hosts = {settings.host} if settings and settings.host else set()
    # As it stands in the name of the lock file.
    hosts |= {re.sub(r"[^\w.-]", "_", host.lower()) for host in hosts}
    hosts |= {environ[name] for name in ("HOST", "LUXCLI_HOST") if environ.get(name)}
    replacements += [(_whole(host), "<host>") for host in sorted(hosts, key=len, reverse=True)]
    if settings is None:
        # What a wrong configuration gives as host is in what is said about it.
        replacements.append((re.compile(r"(?<=: host: ).*"), "<host>: wrong or missing"))
    machine = platform.node()
    if len(machine) >= _SHORTEST_NAME and machine != "localhost":
        replacements.append((_whole(machine), "<machine>"))
    users = {Path(home).name, environ.get("USER", ""), environ.get("LOGNAME", "")}
    replacements += [
        # Only as a part of a path: a user may be called luxcli.
        (re.compile(rf"(?<=/){re.escape(user)}(?![\w.-])"), "<user>")
        for user in sorted(users)
        if len(user) >= _SHORTEST_NAME
    ]

    def clean(text: str) -> str:
        for pattern, replacement in replacements:
            text = pattern.sub(replacement, text)
        return _ADDRESS.sub(_without_address, text)

    return clean


def _whole(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w]){re.escape(name)}(?![\w])", re.IGNORECASE)


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


def _cleaned(value: object, clean: Callable[[str], str]) -> object:
    """Return the same with every text cleaned, those of keys as well."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, Mapping):
        return {clean(str(key)): _cleaned(item, clean) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_cleaned(item, clean) for item in value]
    return value


def _snapshot(snapshot: Snapshot | None) -> dict[str, object] | None:
    """Return the raw blocks; None stands where something private was."""
    if snapshot is None:
        return None
    blocks: dict[str, object] = {
        group: [
            None if index in PRIVATE[group] else raw
            for index, raw in enumerate(snapshot.block(group))
        ]
        for group in GROUPS
    }
    return {"taken_ms": snapshot.taken_ms, "took_ms": snapshot.took_ms, **blocks}
