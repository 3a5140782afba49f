"""The schedule commands: text for cron, supercronic and systemd, and help to install it."""

import difflib
import logging
import os
import pwd
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from luxcli import __version__, times
from luxcli.cli.declare import command, group
from luxcli.cli.options import ConfigOption, LevelOption, epilog
from luxcli.cli.output import local_zone, print_line, warn
from luxcli.cli.session import Session
from luxcli.config.config import Config
from luxcli.errors import ConfigError, StorageError, UsageError
from luxcli.system import files

_LOGGER = logging.getLogger(__name__)
_UNITS = Path("/etc/systemd/system")
app = group(
    "Write the schedule for cron, supercronic or systemd.",
    epilog("0 done; 2 wrong usage; 74 storage; 78 configuration", "luxcli schedule cron --install"),
)
CommandOption = Annotated[
    str | None,
    typer.Option(
        metavar="COMMAND",
        help="How to start luxcli; by default its absolute path.",
        show_default=False,
    ),
]


@command(
    app,
    "cron",
    epilog=epilog(
        "0 done; 2 wrong usage; 74 no cron, or the crontab was refused; 78 configuration, or"
        " broken markers in the crontab",
        "luxcli schedule cron --install",
    ),
)
def cron(
    session: Session,
    *,
    install: Annotated[
        bool,
        typer.Option("--install", help="Show the change, and write the lines to your crontab."),
    ] = False,
    uninstall: Annotated[
        bool, typer.Option("--uninstall", help="Remove the lines from your crontab.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    system: Annotated[bool, typer.Option("--system", help="Print a file for /etc/cron.d.")] = False,
    user: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="The user who runs the jobs of --system.", show_default=False
        ),
    ] = None,
    command: CommandOption = None,
    config_path: ConfigOption = None,
    log_level: LevelOption = None,
) -> int:
    """Print the lines for your crontab, or install them there."""
    from luxcli.schedule import crontabs, user_crontab

    if install and uninstall:
        raise UsageError("--install and --uninstall exclude each other")
    if system and (install or uninstall):
        raise UsageError(
            "--system is only printed: luxcli schedule cron --system --user NAME |"
            " sudo tee /etc/cron.d/luxcli"
        )
    if system != bool(user):
        raise UsageError("--system and --user NAME belong together")
    if uninstall:
        _change(None, 0, yes=yes)
        return 0
    settings = session.start(config_path, log_level)
    lines = crontabs.cron(settings, _command(command), user=user)
    _warn_of_settings_outside_file(settings, "cron", needed=install)
    if install:
        _change(lines, settings.interval_sec, yes=yes)
    else:
        print_line((lines if user else user_crontab.marked(lines)).rstrip("\n"))
    return 0


@command(
    app,
    "supercronic",
    epilog=epilog(
        "0 printed; 2 wrong usage; 74 data cannot be written, or no supercronic;"
        " 78 configuration; with --run the status of supercronic",
        "luxcli schedule supercronic --command luxcli > crontab",
    ),
)
def supercronic(
    session: Session,
    *,
    run: Annotated[
        bool,
        typer.Option("--run", help="Run supercronic until it is stopped, as a container does."),
    ] = False,
    command: CommandOption = None,
    config_path: ConfigOption = None,
    log_level: LevelOption = None,
) -> int:
    """Print a crontab for supercronic, the scheduler of containers."""
    from luxcli.schedule import crontabs

    if not run:
        settings = session.start(config_path, log_level)
        print_line(crontabs.supercronic(settings, _command(command)).rstrip("\n"))
        return 0
    from luxcli.registers import catalogue
    from luxcli.schedule import container

    # Checked here, because the first roll-up would find a wrong one a day later.
    further = {"csv.sensors": catalogue.select}
    settings = session.start(config_path, log_level, further=further)

    program = container.check(settings, os.environ)
    if settings.log_level is None:
        # Jobs log nothing about success, so one line reports that the schedule has started.
        session.start(config_path, "INFO")
    zone = local_zone(settings.timezone)
    _LOGGER.info(
        "luxcli %s polls %s:%d every %d s into %s; CSVs at %s %s",
        *(__version__, settings.host, settings.port, settings.interval_sec),
        *(settings.cache_path, f"{settings.csv_time:%H:%M}", zone),
    )
    if settings.is_monitored:
        from luxcli.monitoring import channels

        # No reason not to record; a poll that succeeds may never report it.
        for failure in channels.unusable_files(settings):
            _LOGGER.warning("monitoring: %s", failure)
    crontab = crontabs.supercronic(settings, _command(command))
    return container.become(program, crontab, os.environ, as_json=settings.log_format == "json")


@command(
    app,
    "systemd",
    epilog=epilog(
        "0 done; 2 wrong usage; 74 a file cannot be written; 78 configuration",
        "luxcli schedule systemd --user luxcli --output /etc/systemd/system",
    ),
)
def systemd(
    session: Session,
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Write the files to this directory.",
            show_default=False,
        ),
    ] = None,
    user: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The user who runs the jobs; by default you, also with sudo.",
            show_default=False,
        ),
    ] = None,
    command: CommandOption = None,
    config_path: ConfigOption = None,
    log_level: LevelOption = None,
) -> int:
    """Print units for systemd, or write them to files."""
    from luxcli.schedule import systemd as schedule

    settings = session.start(config_path, log_level)
    who = user or os.environ.get("SUDO_USER") or _own_name()
    # The script may be in another directory than Python and the package.
    program = [Path(sys.executable).resolve(), Path(schedule.__file__).resolve()]
    units = schedule.units(settings, _command(command), who, program=[] if command else program)
    _warn_of_settings_outside_file(settings, "systemd", needed=output is not None)
    if settings.origins["cache_path"] == "default":
        warn(
            f"cache_path is not set: {settings.cache_path} depends on the user; for systemd set"
            " it to /var/lib/luxcli/cache.sqlite3"
        )
    if output is None:
        print_line("\n".join(units.values()))
    else:
        for name, text in units.items():
            print_line(f"{_write(output / name, text)}: written")
    mark = "# " if output is None else ""
    print_line(f"{mark}Three commands activate the schedule:")
    enable = f"sudo systemctl enable --now {' '.join(schedule.TIMERS)}"
    for step in (_copying(output, who, settings), "sudo systemctl daemon-reload", enable):
        print_line(f"{mark}  {step}")
    return 0


def _copying(output: Path | None, user: str, settings: Config) -> str:
    """Return the command that copies the files to systemd's directory, or checks them there."""
    if output == _UNITS:
        return f"systemd-analyze verify {_UNITS}/luxcli-*.timer"
    if output is not None:
        return f"sudo cp {shlex.quote(str(output))}/luxcli-*.service" + (
            f" {shlex.quote(str(output))}/luxcli-*.timer {_UNITS}/"
        )
    words = [*_command(None), "schedule", "systemd", "--user", user, "--output", str(_UNITS)]
    if settings.file:
        words += ["--config", str(settings.file.absolute())]
    return f"sudo {shlex.join(words)}"


def _write(path: Path, text: str) -> Path:
    try:
        files.replace_durably(
            path, path.with_name(f".{path.name}.new"), lambda file: file.write(text.encode())
        )
    except OSError as exc:
        raise StorageError(f"{path}: cannot be written: {exc.strerror}") from exc
    return path


def _own_name() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        raise UsageError(f"uid {os.getuid()} has no name; add --user NAME") from None


def _command(given: str | None) -> list[str]:
    """Return the words with which a scheduler starts luxcli."""
    if given is not None:
        try:
            words = shlex.split(given)
        except ValueError as exc:
            raise UsageError(f"--command {given!r}: {exc}") from exc
        if not words:
            raise UsageError("--command is empty")
        return words
    # Symbolic links are kept, because they outlive their targets.
    program = Path(os.path.abspath(sys.argv[0]))
    if program.name == "__main__.py":
        return [sys.executable, "-m", "luxcli"]
    return [str(program)]


def _warn_of_settings_outside_file(settings: Config, scheduler: str, *, needed: bool) -> None:
    """Warn of settings that the jobs would not have.

    Raises:
        ConfigError: The schedule is installed and the host is one of them, or missing.
    """
    from luxcli.schedule import crontabs

    found = crontabs.settings_outside_file(settings)
    if needed:
        settings.require_host()
    if needed and "host" in found:
        raise ConfigError(
            [
                f"host is set by {settings.origins['host']}, which jobs started by {scheduler}"
                " do not have; write it to a file: luxcli config init"
            ]
        )
    if found:
        listed = ", ".join(f"{key} (from {origin})" for key, origin in found.items())
        warn(f"not set in a file, so jobs started by {scheduler} will not see: {listed}")


def _change(lines: str | None, interval_s: int, *, yes: bool) -> None:
    """Show a change of the user's crontab and, once it is confirmed, write it."""
    from luxcli.schedule import user_crontab

    caller = os.environ.get("SUDO_USER", "root")
    if caller != "root":
        warn(
            f"with sudo this changes the crontab of root; run it without sudo for that of {caller}"
        )
    old = user_crontab.read()
    without = user_crontab.without_block
    new = without(old) if lines is None else user_crontab.with_block(old, lines)
    for number in user_crontab.foreign_polls(new) if lines else ():
        warn(
            f"line {number} of your crontab starts polls too: remove it with 'crontab -e', unless"
            " it is for another heat pump"
        )
    if lines and (other := user_crontab.other_configuration(old, lines)):
        warn(
            f"the present lines poll with {other} and are replaced; for two heat pumps add the"
            " lines of 'luxcli schedule cron' by hand, outside of the markers"
        )
    if new == old:
        print_line("crontab: nothing to change")
        return
    before, after = (text.decode(errors="replace").splitlines() for text in (old, new))
    for line in difflib.unified_diff(before, after, "crontab", "changed", lineterm=""):
        print_line(line)
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError("not a terminal: repeat with --yes to apply this change")
        try:
            is_confirmed = typer.confirm("Change the crontab?")
        except typer.Abort:  # the end of the input
            print_line("")
            is_confirmed = False
        if not is_confirmed:
            print_line("crontab: nothing was changed")
            return
    user_crontab.write(new)
    follows = f"; the first poll follows within {times.span(max(60, interval_s))}"
    print_line("crontab: changed" + (follows if lines else ""))
