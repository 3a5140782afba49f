"""A diagnosis as a file for a public issue: without addresses, serial numbers and names of people.

What the heat pump says about where and which it is (`registers.PRIVATE`) is left out of the
snapshot; names and addresses are replaced in every text.
"""

import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from luxcli.config import config
from luxcli.config.config import Config
from luxcli.diagnosis.diagnose import Diagnosis, as_json
from luxcli.diagnosis.redaction import cleaner
from luxcli.errors import StorageError, UsageError
from luxcli.model import GROUPS, Snapshot
from luxcli.registers.private import PRIVATE
from luxcli.system import files


def check_place(path: Path) -> None:
    """Look whether a bundle can be written there.

    Raises:
        UsageError: There is a file already, which is not replaced, or no directory, or the name
            cannot be a file's.
        StorageError: The directory cannot be looked into.
    """
    try:
        if not path.parent.is_dir():
            raise UsageError(
                f"--bundle: {path.parent}: is no directory; make it or name another one"
            )
        path.lstat()  # a link that leads nowhere is something, too
    except FileNotFoundError:
        return
    except PermissionError as exc:
        raise StorageError(f"{path}: cannot be written: {exc.strerror}") from exc
    except (OSError, ValueError) as exc:
        raise UsageError(f"--bundle: {path}: cannot be a file: {exc}") from exc
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
        UsageError: The file exists, or its directory does not.
        StorageError: It cannot be written.
    """
    check_place(path)
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
