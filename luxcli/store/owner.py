"""Remembers which heat pump a database belongs to and refuses polls of another one.

A heat pump is known by its serial number (parameters 874 and 875; source: Bouni/Luxtronik-2), or by
its configured name or address where the number is 0. The note is ``NAME.device.json`` beside the
database, because a poll that goes to the journal alone does not open SQLite. It also holds the
serial numbers of earlier controller boards, of which archives and quarantined databases hold polls.
"""

import json
import os
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from luxcli.errors import StorageError, file_error
from luxcli.model import Snapshot
from luxcli.registers.numbers import SERIAL_NUMBER
from luxcli.store.paths import archive_directory
from luxcli.system import files


class _Note(NamedTuple):
    """A heat pump: its address, its serial number, and those of earlier controller boards."""

    host: str
    serial: str
    former: tuple[str, ...] = ()


def check_owner(cache_path: Path, host: str, snapshot: Snapshot) -> str | None:
    """Check that a poll may go into a database; its first poll decides for which heat pump it is.

    A new address of the same heat pump is accepted and remembered.

    Returns:
        A warning that the note can be neither read nor written, so that it is not known whose the
        poll is: that must not lose it. None if all is well.

    Raises:
        StorageError: The poll is of another heat pump.
    """
    path = note_path(cache_path)
    here = _Note(host.lower(), serial(snapshot))
    unchecked = "until then polls of another heat pump are stored, too"
    try:
        known = _read(path)
    except StorageError as exc:
        return f"{exc}; {unchecked}"
    if known is None:
        here = here._replace(former=_former(cache_path, here))
    elif not _same(known, here):
        raise _conflict(cache_path, host, known)
    else:
        here = _Note(here.host, here.serial or known.serial, known.former)
        if known == here:
            return None
    try:
        _write(path, here)
    except StorageError as exc:
        return f"{exc}; {unchecked}"
    return None


def owner_conflict(cache_path: Path, host: str, snapshot: Snapshot) -> StorageError | None:
    """Return why a poll must not go into a database, None when it may; changes nothing."""
    known = _known(cache_path)
    if known is None or _same(known, _Note(host.lower(), serial(snapshot))):
        return None
    return _conflict(cache_path, host, known)


def reserve_directory(directory: Path, cache_path: Path) -> None:
    """Reserve an output directory for one heat pump; raise if another one's files are in it.

    Two heat pumps in one directory would overwrite each other's CSVs and archives.

    Raises:
        StorageError: The directory belongs to another heat pump, or the note in the directory
            cannot be read or written.
    """
    here, path = _known(cache_path), directory / ".device.json"
    if here is None or (directory.exists() and not directory.is_dir()):
        return  # writing into it will fail with the reason
    known = _read(path)
    if known == here:
        return
    if known and not _same(known, here):
        raise StorageError(
            f"{directory}: holds files of another heat pump ({known.host})",
            advice=f"give {here.host} a directory of its own: output_dirs for CSVs; archives stand"
            f" beside the cache_path; if it is the same one, remove {path}",
        )
    _write(path, here)


def serial(snapshot: Snapshot) -> str:
    """Return the serial number that a poll holds, empty if there is none."""
    numbers = snapshot.parameters[SERIAL_NUMBER]
    return "-".join(map(str, numbers)) if any(numbers) else ""


def known_serials(cache_path: Path) -> frozenset[str]:
    """Return the serial numbers that a heat pump has and had, none if that of today is unknown."""
    known = _known(cache_path)
    return frozenset((known.serial, *known.former)) if known and known.serial else frozenset()


def is_foreign(snapshot: Snapshot, ours: Collection[str]) -> bool:
    """Whether a poll holds another serial number than ours; False if either is unknown."""
    theirs = serial(snapshot)
    return bool(ours and theirs) and theirs not in ours


def note_path(cache_path: Path) -> Path:
    """Return the note of a database."""
    return cache_path.with_name(cache_path.name + ".device.json")


def _former(cache_path: Path, here: _Note) -> tuple[str, ...]:
    """Return the serial numbers of earlier controller boards, by the note of the archives.

    Another number is there if a person has removed the note of the database, to say that it is the
    same heat pump. A new database in that directory is one of another heat pump.
    """
    try:
        archived = _read(archive_directory(cache_path) / ".device.json")
    except StorageError:
        return ()
    is_removed = cache_path.exists() and not os.path.lexists(note_path(cache_path))
    if archived is None or not (is_removed or _same(archived, here)):
        return ()
    found = dict.fromkeys((*archived.former, archived.serial))
    return tuple(one for one in found if one not in {"", here.serial})


def _same(known: _Note, here: _Note) -> bool:
    """Whether a note is of this heat pump, or of its earlier controller board."""
    if known.serial and here.serial:
        return known.serial in (here.serial, *here.former)
    return known.host == here.host


def _conflict(cache_path: Path, host: str, known: _Note) -> StorageError:
    return StorageError(
        f"{cache_path}: holds the polls of another heat pump ({known.host})",
        advice=f"give {host} a cache_path of its own, in another directory, or if it is the same"
        f" one with a new address or controller board remove {note_path(cache_path).name}",
    )


def _known(cache_path: Path) -> _Note | None:
    """Return the note of a database; None also if it cannot be read, of which polls warn."""
    try:
        return _read(note_path(cache_path))
    except StorageError:
        return None


def _read(path: Path) -> _Note | None:
    """Return a note; None if it is missing, or damaged and has to be written again."""
    try:
        note = json.loads(files.read_small(path))
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise StorageError(
            f"{path}: cannot be read: {exc.strerror}", advice="make it readable or move it away"
        ) from exc
    except (ValueError, RecursionError):
        return None
    if not isinstance(note, dict):
        return None
    checksum = note.pop("crc", None)
    if tuple(note) != _Note._fields or checksum != _checksum(note):
        return None
    return _Note(note["host"], note["serial"], tuple(note["former"]))


def _checksum(note: dict[str, object]) -> str:
    return f"{zlib.crc32(json.dumps(note).encode()):08x}"


def _write(path: Path, note: _Note) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    values = note._asdict()
    text = json.dumps({**values, "crc": _checksum(values)}).encode()
    try:
        files.replace_durably(path, temporary, lambda file: file.write(text))
    except OSError as exc:
        raise file_error(path, "cannot be written", exc) from exc
