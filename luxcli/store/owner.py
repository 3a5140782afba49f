"""Remembers which heat pump a database belongs to and refuses polls of another one.

A heat pump is known by its serial number (parameters 874 and 875; source: Bouni/Luxtronik-2), or by
its configured name or address where the number is 0. The note is ``NAME.device.json`` beside the
database, because a poll that goes to the journal alone does not open SQLite.
"""

import json
import zlib
from pathlib import Path

from luxcli.errors import StorageError
from luxcli.model import Snapshot
from luxcli.registers.numbers import SERIAL_NUMBER
from luxcli.system import files


def check_owner(cache_path: Path, host: str, snapshot: Snapshot) -> None:
    """Check that a poll may go into a database; its first poll decides for which heat pump it is.

    A new address of the same heat pump is accepted and remembered.

    Raises:
        StorageError: The poll is of another heat pump, or the note cannot be read or written.
    """
    path = _note_path(cache_path)
    here = {"host": host.lower(), "serial": serial(snapshot)}
    known = _read(path)
    if known == here:
        return
    if known:
        conflict = owner_conflict(cache_path, host, snapshot)
        if conflict:
            raise conflict
        here["serial"] = here["serial"] or known["serial"]
        if known == here:
            return
    _write(path, here)


def owner_conflict(cache_path: Path, host: str, snapshot: Snapshot) -> StorageError | None:
    """Return why a poll must not go into a database, None when it may; changes nothing.

    Raises:
        StorageError: The note cannot be read.
    """
    path = _note_path(cache_path)
    known = _read(path)
    if known is None or _same(known, {"host": host.lower(), "serial": serial(snapshot)}):
        return None
    return StorageError(
        f"{cache_path}: holds the polls of another heat pump ({known['host']})",
        advice=f"give {host} a cache_path of its own, in another directory, or if it is the same"
        f" one with a new address or controller board remove {path.name}",
    )


def reserve_directory(directory: Path, cache_path: Path) -> None:
    """Reserve an output directory for one heat pump; raise if another one's files are in it.

    Two heat pumps in one directory would overwrite each other's CSVs and archives.

    Raises:
        StorageError: The directory belongs to another heat pump, or the note in the directory
            cannot be read or written.
    """
    here, path = _read(_note_path(cache_path)), directory / ".device.json"
    if here is None or (directory.exists() and not directory.is_dir()):
        return  # writing into it will fail with the reason
    known = _read(path)
    if known == here:
        return
    if known and not _same(known, here):
        raise StorageError(
            f"{directory}: holds files of another heat pump ({known['host']})",
            advice=f"give {here['host']} a directory of its own: output_dirs for CSVs; archives"
            " stand beside the cache_path",
        )
    _write(path, here)


def serial(snapshot: Snapshot) -> str:
    """Return the serial number that a poll holds, empty if there is none."""
    numbers = snapshot.parameters[SERIAL_NUMBER]
    return "-".join(map(str, numbers)) if any(numbers) else ""


def known_serial(cache_path: Path) -> str:
    """Return the serial number of the heat pump of a database, empty if it is not known.

    Raises:
        StorageError: The note cannot be read.
    """
    return (_read(_note_path(cache_path)) or {"serial": ""})["serial"]


def _note_path(cache_path: Path) -> Path:
    return cache_path.with_name(cache_path.name + ".device.json")


def _same(one: dict[str, str], other: dict[str, str]) -> bool:
    key = "serial" if one["serial"] and other["serial"] else "host"
    return one[key] == other[key]


def _read(path: Path) -> dict[str, str] | None:
    """Return the note; None if it is missing, or damaged and has to be written again."""
    try:
        note = json.loads(files.read_small(path))
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise StorageError(f"{path}: cannot be read: {exc.strerror}") from exc
    except (ValueError, RecursionError):
        return None
    if not isinstance(note, dict):
        return None
    checksum = note.pop("crc", None)
    is_intact = note.keys() == {"host", "serial"} and checksum == _checksum(note)
    return note if is_intact else None


def _checksum(note: dict[str, str]) -> str:
    return f"{zlib.crc32(json.dumps(note).encode()):08x}"


def _write(path: Path, note: dict[str, str]) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    text = json.dumps({**note, "crc": _checksum(note)}).encode()
    try:
        files.replace_durably(path, temporary, lambda file: file.write(text))
    except OSError as exc:
        raise StorageError(f"{path}: cannot be written: {exc.strerror}") from exc
