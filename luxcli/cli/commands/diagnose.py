"""The command `diagnose`: checks everything, for people, programs and bug reports."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from luxcli.cli import screen
from luxcli.cli.options import (
    ConfigOption,
    JsonOption,
    LevelOption,
    current_ms,
    epilog,
    level_option,
)
from luxcli.cli.output import local_zone, print_json, print_line, warn
from luxcli.cli.screen import print_table
from luxcli.cli.session import Session, default_level
from luxcli.config.config import Config
from luxcli.errors import ConfigError, StorageError
from luxcli.system import log_setup
from luxcli.system.files import size_text

if TYPE_CHECKING:
    from luxcli.diagnosis.diagnose import Diagnosis

EPILOG = epilog(
    "0 all is well; 3 warnings; of several problems the first of: 78 configuration,"
    " 74 storage, 76 bad answer, 69 unreachable, 75 controller busy, 65 data or recording;"
    " 2 the bundle's file exists or its directory does not; 142 took too long",
    "luxcli diagnose --bundle report.zip",
)


def diagnose(
    session: Session,
    *,
    offline: Annotated[
        bool, typer.Option("--offline", help="Do not connect to the heat pump.")
    ] = False,
    bundle_path: Annotated[
        Path | None,
        typer.Option(
            "--bundle",
            metavar="FILE.zip",
            help="Also write a report for a public issue, without addresses and serial number.",
        ),
    ] = None,
    config_path: ConfigOption = None,
    log_level: LevelOption = None,
    as_json: JsonOption = False,
) -> int:
    """Examine everything: is it recording, is the data good, and if not, why? Stores nothing.

    With --log-level DEBUG it lists every register.
    """
    from luxcli.diagnosis import bundle

    if bundle_path:
        bundle.check_place(bundle_path)
    settings, failure = _load(session, config_path, log_level, as_json=as_json)
    level = level_option(log_level) or (settings.log_level if settings else None)
    with log_setup.recorded() as lines:
        found = _diagnose(settings, failure, offline=offline)
    thorough = level == "DEBUG"
    # Before anything is printed, which may fail or end early as well.
    written, unwritten = _write_bundle(bundle_path, found, settings, lines)
    if as_json:
        bundled = {"bundle": str(bundle_path) if written else None} if bundle_path else {}
        print_json({**found.to_json(thorough=thorough), **bundled})
    else:
        _show(found, thorough=thorough)
        if written:
            screen.print_wrapped(written)
    if unwritten:
        warn(str(unwritten))
        return unwritten.exit_code
    return found.status


def _write_bundle(
    path: Path | None, found: "Diagnosis", settings: Config | None, lines: Sequence[str]
) -> tuple[str | None, StorageError | None]:
    """Write the bundle if one is wanted; return a message about it, or the failure."""
    from luxcli.diagnosis import bundle

    if path is None:
        return None, None
    try:
        size = bundle.write(path, found, settings, lines, os.environ)
    except StorageError as exc:
        return None, exc
    return f"{path}: written, {size_text(size)}; read it before you share it", None


def _diagnose(
    settings: Config | None, failure: ConfigError | None, *, offline: bool
) -> "Diagnosis":
    from luxcli.diagnosis import diagnose as job

    zone = local_zone(settings.timezone if settings else None)
    now_ms = current_ms()
    if settings is None:
        assert failure is not None
        return job.without_configuration(failure, now_ms=now_ms, zone=zone, environ=os.environ)
    with screen.waiting("examining") as show:
        return job.diagnose(
            settings,
            now_ms=now_ms,
            zone=zone,
            environ=os.environ,
            offline=offline,
            progress=show,
        )


def _load(
    session: Session, path: Path | None, level: str | None, *, as_json: bool
) -> tuple[Config | None, ConfigError | None]:
    """Return the configuration, or its failure, which the diagnosis then reports."""
    try:
        return session.start(path, level, as_json=as_json, job="diagnose"), None
    except ConfigError as exc:
        log_setup.set_up(level_option(level) or default_level(), "text")
        return None, exc


def _show(found: "Diagnosis", *, thorough: bool) -> None:
    for section in found.parts(thorough=thorough):
        screen.print_heading(section.name)
        for line in section.lines:
            screen.print_finding(line.level, line.text, line.advice)
        for content in section.tables:
            print_table(content.head, content.rows)
    print_line("")
    screen.print_wrapped(found.verdict)
