"""Writes a diagnosis into a ZIP file for a public issue.

It has no addresses, serial numbers or names: only values under known keys and texts that
`redaction` keeps. What the heat pump says about itself (`catalogue.private`) is left out of the
snapshot.
"""

import json
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

from luxcli.config import config
from luxcli.config.config import Config
from luxcli.config.settings import SETTINGS
from luxcli.diagnosis.diagnose import Diagnosis
from luxcli.diagnosis.redaction import LEFT_OUT, Redactor, known_names
from luxcli.errors import StorageError, UsageError
from luxcli.model import GROUPS, Snapshot
from luxcli.registers import catalogue
from luxcli.system import files

# Keys whose values are numbers, times, codes, versions or names of registers.
_PLAIN: Final = frozenset(
    {
        *("ok", "status", "taken_ms", "name", "level", "passed", "registers", "default"),
        *("port", "attempts", "times_ms", "failed_at", "reason", "answers_on_port"),
        *("model_code", "model", "firmware", "lengths", "catalogue", "unknown"),
        *("has_serial_number", "clock_ahead_s", "counts", "critical", "not_fitted", "id"),
        *("errors", "switch_offs", "file_system", "percent", "free", "buffer", "cache_bytes"),
        *("schema", "oldest", "newest", "sound", "archives", "days_without_archive"),
        *("days_only_in_archives", "days_only_in_csvs", "interval_sec", "last_poll"),
        *("archives_checked", "archives_oldest_check"),
        *("last_poll_age_s", "recent", "coverage", "covered", "usual_interval_sec", "rows"),
        *("looked_at", "complete", "verdict", "polls", "scores", "findings", "versions", "system"),
        *("distribution", "container", "zone", "clock_synchronised", "uid"),
    }
)
# Keys of texts and paths, which may hold a name.
_TEXTS: Final = frozenset(
    {
        *("text", "advice", "found", "problems", "host", "addresses", "peer", "causes", "busy"),
        *("directory", "path", "set_aside", "locks", "file", "last_daily", "last_weekly"),
    }
)
# Keys of what holds further keys.
_PARTS: Final = frozenset(
    {"sections", "lines", "values", "checklist", "rules", "disks", "newest_csv"}
)
# Settings whose values cannot name anything; other values are shown if their words are known.
_PLAIN_SETTINGS: Final = frozenset(
    {
        *("port", "interval_sec", "csv_time", "weekly_day", "timeout_sec", "retries", "timezone"),
        *("csv_retention_days", "cache_retention_days", "disk_usage_limit_percent", "archive"),
        *("flush_polls", "csv.headers", "csv.delimiter", "csv.decimal", "csv.bom", "csv.enums"),
        *("log_level", "log_format", "monitoring.jobs", "monitoring.events"),
        *("monitoring.ping_every", "monitoring.stale_after", "monitoring.ntfy_priority"),
    }
)
_KEYS: Final = frozenset(setting.key for setting in SETTINGS)


def check_place(path: Path) -> None:
    """Check that a bundle can be written to `path`.

    Raises:
        UsageError: The file exists already, its directory does not, or the name cannot be a
            file's.
        StorageError: The directory cannot be read.
    """
    try:
        if not path.parent.is_dir():
            raise UsageError(
                f"--bundle: {path.parent}: is not a directory; make it or name another one"
            )
        path.lstat()  # also finds a link to nothing
    except FileNotFoundError:
        return
    except PermissionError as exc:
        raise StorageError(f"{path}: cannot be written: {exc.strerror}") from exc
    except (OSError, ValueError) as exc:
        raise UsageError(f"--bundle: {path}: cannot be a file: {exc}") from exc
    raise UsageError(f"--bundle: {path}: exists already; name another file")


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
        StorageError: The file cannot be written.
    """
    check_place(path)
    members = _members(diagnosis, settings, log_lines, environ)

    def fill(file: BinaryIO) -> None:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, text in members.items():
                archive.writestr(name, text)

    try:
        size = files.replace_durably(path, path.with_name(f".{path.name}.tmp"), fill)
    except OSError as exc:
        raise StorageError(f"{path}: cannot be written: {exc.strerror}") from exc
    assert size is not None
    return size


def _members(
    diagnosis: Diagnosis,
    settings: Config | None,
    log_lines: Sequence[str],
    environ: Mapping[str, str],
) -> dict[str, str]:
    """Return the text of each file in the bundle."""
    found = diagnosis.to_json(thorough=True)
    names = known_names(settings, _addresses(found), environ)
    redactor = Redactor(names, _plain_texts(found))
    if settings is None:
        _keep_keys_only(found["sections"][0])
    diagnose = _kept(found, redactor)
    diagnose["left_out"] = redactor.left_out
    effective = [] if settings is None else config.effective_values(settings)
    documents = {
        "diagnose.json": diagnose,
        "snapshot.json": _snapshot(diagnosis.snapshot),
        "config.json": {
            key: {"value": _setting(key, value, redactor), "origin": _shown(origin, redactor)}
            for key, value, origin in effective
        },
        "versions.json": _kept(diagnosis.sections[-1].values, redactor),
    }
    lines = [kept for line in log_lines if (kept := redactor.text(line)) is not None]
    if len(lines) < len(log_lines):
        missing = len(log_lines) - len(lines)
        lines.append(f"({missing} lines left out: they have words that luxcli does not use)")
    return {
        **{
            name: json.dumps(content, ensure_ascii=False, indent=1)
            for name, content in documents.items()
        },
        "log.txt": "".join(line + "\n" for line in lines),
    }


def _addresses(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield the addresses of the heat pump that the diagnosis found."""
    for section in found["sections"]:
        yield from section["values"].get("addresses", ())
        if peer := section["values"].get("peer"):
            yield peer


def _plain_texts(value: object, *, is_plain: bool = False) -> Iterator[str]:
    """Yield the texts below plain keys."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _plain_texts(item, is_plain=is_plain or key in _PLAIN)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _plain_texts(item, is_plain=is_plain)
    elif isinstance(value, str) and is_plain:
        yield value


def _kept(value: Any, redactor: Redactor) -> Any:
    """Return what is below known keys; an unknown key counts as a text that is left out."""
    if isinstance(value, list | tuple):
        return [_kept(item, redactor) for item in value]
    if not isinstance(value, Mapping):
        return value
    kept: dict[str, Any] = {}
    for key, item in value.items():
        if key in _PLAIN:
            kept[key] = _each_text(item, redactor.renamed)
        elif key in _TEXTS:
            kept[key] = _each_text(item, lambda text: _shown(text, redactor))
        elif key in _PARTS:
            kept[key] = _kept(item, redactor)
        elif key == "settings":
            kept[key] = {
                name: {
                    **entry,
                    "value": _setting(name, entry["value"], redactor),
                    "origin": _shown(entry["origin"], redactor),
                }
                for name, entry in item.items()
            }
        else:
            redactor.left_out += 1
    return kept


def _each_text(value: Any, change: Callable[[str], str]) -> Any:
    """Return a JSON value with every text changed, also those of keys."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {change(key): _each_text(item, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_each_text(item, change) for item in value]
    return value


def _shown(text: str, redactor: Redactor) -> str:
    kept = redactor.text(text)
    return LEFT_OUT if kept is None else kept


def _setting(key: str, value: str, redactor: Redactor) -> str:
    return value if key in _PLAIN_SETTINGS else _shown(value, redactor)


def _keep_keys_only(section: dict[str, Any]) -> None:
    """Replace the messages of a wrong configuration: a host may stand where a port belongs."""
    keys = [_key_of(problem) for problem in section["values"]["problems"]]
    section["lines"] = [
        {"level": line["level"], "text": key, "advice": None}
        for key, line in zip(keys, section["lines"], strict=True)
    ]
    section["values"] = {"problems": keys}


def _key_of(problem: str) -> str:
    """Return the setting that a message is about."""
    return next((part for part in problem.split(": ") if part in _KEYS), "not a setting")


def _snapshot(snapshot: Snapshot | None) -> dict[str, object] | None:
    """Return the raw blocks with None for private registers."""
    if snapshot is None:
        return None
    blocks: dict[str, object] = {
        group: [
            None if index in catalogue.private(group) else raw
            for index, raw in enumerate(snapshot.block(group))
        ]
        for group in GROUPS
    }
    return {"taken_ms": snapshot.taken_ms, "took_ms": snapshot.took_ms, **blocks}
