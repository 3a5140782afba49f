"""The commented configuration file that ``luxcli config init`` writes."""

from pathlib import Path
from typing import Final

from luxcli.config.settings import PATHS, SETTINGS
from luxcli.errors import StorageError, UsageError

_SAMPLE_TEXT: Final = {
    "cache_path": "~/.local/share/luxcli/cache.sqlite3",
    "output_dirs.daily": "reports/daily",
    "output_dirs.weekly": "reports/weekly",
    "timezone": "Europe/Berlin",
    "log_level": "WARNING",
    "log_file": "luxcli.log",
    "monitoring.healthchecks_url": "https://hc-ping.com/PING-KEY/luxcli-{job}",
    "monitoring.healthchecks_url_file": "/run/secrets/healthchecks_url",
    "monitoring.uptime_kuma_url": "http://kuma.local:3001/api/push/TOKEN",
    "monitoring.uptime_kuma_url_file": "/run/secrets/uptime_kuma_url",
    "monitoring.ntfy_url": "https://ntfy.sh/TOPIC",
    "monitoring.ntfy_url_file": "/run/secrets/ntfy_url",
    "monitoring.ntfy_token": "tk_TOKEN",
    "monitoring.ntfy_token_file": "/run/secrets/ntfy_token",
    "monitoring.ntfy_tags": "[house]",
    "monitoring.command": "[/usr/local/bin/notify-me]",
    "monitoring.stale_after": "30m",
}


def sample(host: str | None) -> str:
    """Return a configuration file with every setting, explained; all but `host` as comments."""
    lines = [
        "# Configuration of luxcli.",
        "# Lines that start with '#' show defaults or examples; only 'host' has to be set.",
        "",
    ]
    section = ""
    for setting in SETTINGS:
        head, _, name = setting.key.rpartition(".")
        if head != section and lines[-1]:
            lines.append("")
        if head != section and head:
            lines.append(f"# {head}:")
        section = head
        indent = "  " if head else ""
        lines += [
            f"# {indent}# {line}" if head else f"# {line}" for line in setting.help.split("\n")
        ]
        if setting.key == "host":
            lines.append(f"host: {_yaml_scalar(host) if host else '192.168.1.50'}")
        elif setting.default == "" or setting.key in PATHS:
            lines.append(f"# {indent}{name}: {_SAMPLE_TEXT.get(setting.key, '')}".rstrip())
        else:
            lines.append(f"# {indent}{name}: {_yaml_scalar(setting.default)}")
        if not head:
            lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def write_sample(path: Path, text: str) -> None:
    """Write a new configuration file.

    Raises:
        UsageError: The file exists; it is not changed.
        StorageError: The file cannot be written.
    """
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UsageError(
            f"{path}: exists already; nothing was changed; name another file"
        ) from None
    except FileNotFoundError:
        raise StorageError(
            f"{path}: cannot be written: {path.parent} does not exist; make this directory first"
        ) from None
    except OSError as exc:
        raise StorageError(f"{path}: cannot be written: {exc.strerror}") from exc


def _yaml_scalar(text: str) -> str:
    # YAML takes no text that begins with a letter for a number; only digits are meant as one.
    bare = text.replace("_", "").replace("-", "").replace(".", "")
    plain = bare.isalnum() and (text.isdigit() or text[0].isalpha())
    return text if plain else f'"{text}"'
