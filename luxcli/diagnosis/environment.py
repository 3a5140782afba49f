"""The environment of luxcli: versions, container, time zone, clock."""

import os
import platform
from collections.abc import Mapping
from datetime import UTC, tzinfo
from importlib import metadata
from pathlib import Path
from typing import Final

from luxcli import __version__
from luxcli.diagnosis.sections import Line, Section, info, ok, warning
from luxcli.store import database

_LIBRARIES: Final = ("luxtronik", "typer", "rich", "PyYAML")
# systemd-timesyncd touches this file when the clock is synchronised.
_SYNCHRONISED: Final = Path("/run/systemd/timesync/synchronized")
# Docker and Podman create these files.
_CONTAINER_MARKS: Final = (Path("/.dockerenv"), Path("/run/.containerenv"))


def environment(zone: tzinfo, environ: Mapping[str, str]) -> Section:
    """Return the versions of luxcli and its libraries, and facts about the machine."""
    versions = {
        "luxcli": __version__,
        "Python": platform.python_version(),
        **{name: _version(name) for name in _LIBRARIES},
        "SQLite": database.library_version(),
    }
    container = in_container(environ)
    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    synchronised = _SYNCHRONISED.exists() or None
    lines = (
        info(", ".join(f"{name} {version}" for name, version in versions.items())),
        info(system + (", in a container" if container else "")),
        _zone(zone, in_a_container=container),
        ok("this machine's clock is synchronised")
        if synchronised
        else info("it is unknown whether this machine's clock is synchronised"),
    )
    values = {
        "versions": versions,
        "system": system,
        "distribution": _distribution(),
        "container": container,
        "zone": str(zone),
        "clock_synchronised": synchronised,
        "uid": os.geteuid(),
    }
    return Section("environment", lines, (), values)


def in_container(environ: Mapping[str, str]) -> bool:
    """Whether this process runs in a container."""
    return "container" in environ or any(mark.exists() for mark in _CONTAINER_MARKS)


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def _distribution() -> str | None:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME")
    except OSError:
        return None


def _zone(zone: tzinfo, *, in_a_container: bool) -> Line:
    if zone is UTC and in_a_container:
        return warning(
            "time zone is UTC because neither 'timezone' nor TZ is set; daily CSVs end at csv_time"
            " UTC",
            "set 'timezone' or TZ, such as Europe/Berlin",
        )
    return info(f"time zone {zone}")
