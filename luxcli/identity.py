"""Whose polls a cache holds, so that two heat pumps are never mixed in one.

The heat pump's serial number tells (parameters 874 and 875; source: Bouni/Luxtronik-2); where it is
0, its configured name or address does. Kept in ``NAME.device.json`` beside the cache, because
a poll that goes to the buffer does not open SQLite.
"""

import json
from pathlib import Path
from typing import Final

from luxcli import files
from luxcli.errors import StorageError
from luxcli.model import Snapshot

_SERIAL: Final = slice(874, 876)


def admit(cache_path: Path, host: str, snapshot: Snapshot) -> None:
    """Let a poll into a cache, whose first poll decides which heat pump it is for.

    The same heat pump under a new address is let in and remembered.

    Raises:
        StorageError: It comes from another heat pump, or the note cannot be read or written.
    """
    path = cache_path.with_name(cache_path.name + ".device.json")
    serial = "-".join(map(str, snapshot.parameters[_SERIAL]))
    here = {"host": host.lower(), "serial": serial if any(snapshot.parameters[_SERIAL]) else ""}
    known = _read(path)
    if known == here:
        return
    if known:
        both = known["serial"] and here["serial"]
        same = known["serial"] == here["serial"] if both else known["host"] == here["host"]
        if not same:
            raise StorageError(
                f"{cache_path}: holds the polls of another heat pump ({known['host']}); give"
                f" {host} a cache_path of its own, or if it is the same one under a new address"
                f" remove {path.name}"
            )
        here["serial"] = here["serial"] or known["serial"]
        if known == here:
            return
    _write(path, here)


def _read(path: Path) -> dict[str, str] | None:
    """Return the note; None when there is none or it is damaged: then it is written anew."""
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise StorageError(f"{path}: cannot be read: {exc.strerror}") from exc
    except ValueError:
        return None
    if isinstance(note, dict) and {"host", "serial"} <= note.keys():
        return {"host": str(note["host"]), "serial": str(note["serial"])}
    return None


def _write(path: Path, note: dict[str, str]) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    text = json.dumps(note).encode()
    try:
        files.replace_durably(path, temporary, lambda file: file.write(text))
    except OSError as exc:
        raise StorageError(f"{path}: cannot be written: {exc.strerror}") from exc
