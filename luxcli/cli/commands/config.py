"""The commands `config init`, `config check` and `config show`."""

from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from luxcli.cli.declare import command, group
from luxcli.cli.options import ConfigOption, JsonOption, LevelOption, epilog
from luxcli.cli.output import print_json, print_line, print_result
from luxcli.cli.screen import print_table
from luxcli.cli.session import Session
from luxcli.config import config, sample
from luxcli.config.config import Config
from luxcli.config.settings import read_setting
from luxcli.errors import UsageError

app = group(
    "Write, check or show the configuration.",
    epilog("0 done; 2 wrong usage; 74 storage; 78 problems found", "luxcli config check"),
)


@command(
    app,
    "init",
    epilog=epilog(
        "0 written; 2 the file exists; 74 it cannot be written",
        "luxcli config init --host 192.168.1.50",
    ),
)
def config_init(
    _session: Session,
    *,
    path: Annotated[Path, typer.Argument(help="File to write.")] = Path("luxcli.yaml"),
    host: Annotated[
        str | None, typer.Option(metavar="HOST", help="Name or address of the heat pump.")
    ] = None,
) -> int:
    """Write a commented configuration file; never replaces one."""
    try:
        read_setting("host", host or "")
    except ValueError as exc:
        raise UsageError(f"--host: {exc}") from exc
    sample.write_sample(path, sample.sample(host))
    print_line(
        f"{path}: written; set 'host' in it, then run 'luxcli config check'"
        if not host
        else f"{path}: written; 'luxcli poll-once' reads {host}"
    )
    return 0


@command(
    app,
    "check",
    epilog=epilog("0 usable; 74 a directory is not; 78 problems found", "luxcli config check"),
)
def config_check(
    session: Session,
    *,
    config_path: ConfigOption = None,
    log_level: LevelOption = None,
    as_json: JsonOption = False,
) -> int:
    """Report every problem of the configuration at once."""
    from luxcli.diagnosis import preflight
    from luxcli.registers import catalogue

    further = {"csv.sensors": catalogue.select, "host": preflight.is_set}
    settings = session.start(config_path, log_level, as_json=as_json, further=further)
    preflight.check(settings)
    print_result(_Checked(settings), as_json=as_json)
    return 0


class _Checked(NamedTuple):
    """A configuration that can be used."""

    settings: Config

    def to_json(self) -> dict[str, object]:
        """Return what ``--json`` prints."""
        return {"ok": True, "file": str(self.settings.file) if self.settings.file else None}

    def lines(self) -> list[str]:
        """Return what a person reads."""
        from luxcli.maintenance import journals

        place = self.settings.file or "environment"
        found = [f"{place}: no problems; heat pump {self.settings.host}"]
        if not self.settings.archive:
            found.append(
                "archive: false: a damaged database is rebuilt from the journals of"
                f" {journals.WITHOUT_ARCHIVES} days only"
            )
        return found


@command(app, "show", epilog=epilog("0 shown; 78 problems found", "luxcli config show --json"))
def config_show(
    session: Session,
    *,
    config_path: ConfigOption = None,
    log_level: LevelOption = None,
    as_json: JsonOption = False,
) -> int:
    """Show every setting in force and where it comes from."""
    settings = session.start(config_path, log_level, as_json=as_json)
    result = _Settings(tuple(config.effective_values(settings)))
    if as_json:
        print_json(result.to_json())
    else:
        print_table(("setting", "value", "from"), result.rows)
    return 0


class _Settings(NamedTuple):
    """Key, value and origin of every setting."""

    rows: tuple[tuple[str, str, str], ...]

    def to_json(self) -> dict[str, object]:
        """Return what ``--json`` prints."""
        values = {key: {"value": value, "origin": origin} for key, value, origin in self.rows}
        return {"ok": True, "settings": values}
