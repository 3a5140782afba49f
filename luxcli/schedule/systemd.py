"""Units for systemd, made from the configuration: a service and a timer for each job."""

from collections.abc import Sequence
from datetime import UTC
from pathlib import Path
from typing import Final, NamedTuple

from luxcli.config.config import Config
from luxcli.errors import UsageError
from luxcli.recording import limits
from luxcli.schedule import crontabs

TIMERS: Final = ("luxcli-poll.timer", "luxcli-rollup.timer", "luxcli-prune.timer")
_STATE: Final = Path("/var/lib/luxcli")
_HOMES: Final = (Path("/home"), Path("/root"), Path("/run/user"))


def units(
    config: Config, command: Sequence[str], user: str, *, program: Sequence[Path] = ()
) -> dict[str, str]:
    """Return the text of each unit by file name.

    Calendar times are in UTC, because systemd 252 skips the second one of the two equal hours in
    autumn in local time (``systemd-analyze calendar``: 03:00:00 CET follows 02:59:30 CEST).

    Args:
        config: Gives the interval, the configuration file and the directories for data.
        command: The absolute path of luxcli, and arguments.
        user: The user who runs the jobs.
        program: Further files that luxcli needs to start, such as the Python behind a link.

    Raises:
        UsageError: A path has a line break or cannot be printed, the path of luxcli is not
            absolute, or `user` is not a valid name.
    """
    crontabs.check_user(user)
    polls = crontabs.pace(config.interval_sec, finest_s=1)
    jobs = (
        _Job(
            "poll",
            "read the heat pump and store every value",
            ("poll-once", *polls.arguments),
            crontabs.limit_s("poll", config)
            + (limits.MINUTES_S if "--every" in polls.arguments else 0),
            crontabs.poll_comment(config.interval_sec, polls),
            _calendar(polls.step_s),
            False,
        ),
        _Job(
            "rollup",
            "write the CSVs that are due",
            ("rollup", "all", "--if-due"),
            crontabs.limit_s("rollup", config),
            crontabs.rollup_comment(config),
            f"*:{crontabs.rollup_minute(config, UTC, {}):02}:00",
            True,
        ),
        _Job(
            "prune",
            "remove what is too old, check the disk",
            ("prune",),
            crontabs.limit_s("prune", config),
            [crontabs.PRUNE_COMMENT],
            f"{crontabs.PRUNE_HOUR:02}:{crontabs.PRUNE_MINUTE:02}:00",
            True,
        ),
    )
    units = {}
    for job in jobs:
        units[f"luxcli-{job.name}.service"] = _service(config, command, user, job, program)
        units[f"luxcli-{job.name}.timer"] = _timer(job)
    return units


def _calendar(step_s: int) -> str:
    """Return the calendar expression for a run every `step_s` seconds."""
    if step_s < crontabs.MINUTE_S:
        return f"*:*:00/{step_s}"
    if step_s == crontabs.MINUTE_S:
        return "*:*:00"
    if step_s == crontabs.HOUR_S:
        return "*:00:00"
    return f"*:00/{step_s // crontabs.MINUTE_S}:00"


def _data_directories(config: Config) -> list[Path]:
    """Return the directories that luxcli writes to, without directories inside another one."""
    written = {config.cache_path.parent, config.daily_dir, config.weekly_dir}
    archive = config.cache_path.with_name("archive")
    if archive.is_symlink():  # such as to a larger disk
        written.add(archive.resolve())
    directories = sorted(written)
    return [path for path in directories if not any(other in path.parents for other in directories)]


class _Job(NamedTuple):
    """A job: its command line, its calendar time, and whether a missed run is made up for."""

    name: str
    description: str
    arguments: tuple[str, ...]
    limit_s: int
    comment: list[str]
    when: str
    catch_up: bool


def _service(
    config: Config, command: Sequence[str], user: str, job: _Job, program: Sequence[Path]
) -> str:
    words = crontabs.words_of(config, command, job.arguments)
    paths = [*_data_directories(config), Path(command[0]), *program, *_files(config)]
    at_home = any(home in path.parents for path in paths for home in _HOMES)
    lines = [
        f"# luxcli-{job.name}.service, made by 'luxcli schedule systemd'",
        "[Unit]",
        f"Description=luxcli: {job.description}",
        "Wants=network-online.target",
        "After=network-online.target",
        "",
        "[Service]",
        "Type=oneshot",
        f"User={user}",
        f"ExecStart={' '.join(_systemd_word(word, expands=True) for word in words)}",
        "# Busy; the next run makes up for it.",
        "SuccessExitStatus=75",
        "# luxcli ends earlier by its own time limit.",
        f"TimeoutStartSec={job.limit_s}",
        "# Messages of luxcli are logged, the lines about each start are not.",
        "SyslogLevel=notice",
        "LogLevelMax=notice",
        "",
        "# luxcli reads its configuration and writes its data, nothing else.",
        "ProtectSystem=strict",
        f"ProtectHome={'read-only' if at_home else 'yes'}",
        *_writable(config),
        *_HARDENING,
    ]
    return "\n".join(lines) + "\n"


def _files(config: Config) -> list[Path]:
    """Return the files outside the data directories that jobs use."""
    command = [Path(word) for word in config.monitoring_command[:1]]
    secrets = (
        config.monitoring_healthchecks_url_file,
        config.monitoring_uptime_kuma_url_file,
        config.monitoring_ntfy_url_file,
        config.monitoring_ntfy_token_file,
    )
    return [p.absolute() for p in (config.file, config.log_file, *secrets) if p] + command


def _writable(config: Config) -> list[str]:
    places = _data_directories(config)
    lines = [
        "StateDirectory=luxcli" if path == _STATE else f"ReadWritePaths={_systemd_word(path)}"
        for path in places
    ]
    log = config.log_file and config.log_file.parent
    if log and not any(place in (log, *log.parents) for place in places):
        lines += [
            "# The log file; polls work without it.",
            f"ReadWritePaths={_systemd_word(log, before='-')}",
        ]
    return lines


_HARDENING: Final = (
    "UMask=0022",
    "NoNewPrivileges=yes",
    "PrivateTmp=yes",
    "PrivateDevices=yes",
    "ProtectClock=yes",
    "ProtectControlGroups=yes",
    "ProtectKernelLogs=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelTunables=yes",
    "CapabilityBoundingSet=",
    "LockPersonality=yes",
    "MemoryDenyWriteExecute=yes",
    "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK",
    "RestrictNamespaces=yes",
    "RestrictRealtime=yes",
    "RestrictSUIDSGID=yes",
    "SystemCallArchitectures=native",
    "SystemCallFilter=@system-service",
)


def _timer(job: _Job) -> str:
    lines = [
        f"# luxcli-{job.name}.timer, made by 'luxcli schedule systemd'",
        "[Unit]",
        f"Description=luxcli: {job.description}",
        "",
        "[Timer]",
        *job.comment,
        "# In UTC, because in local time systemd skips one of the two equal hours in autumn.",
        f"OnCalendar=*-*-* {job.when} UTC",
        "# The default is a minute.",
        "AccuracySec=1s",
    ]
    if job.catch_up:
        lines += [
            "# A run that was due while the machine was off follows soon after the start.",
            "Persistent=yes",
        ]
    lines += ["", "[Install]", "WantedBy=timers.target"]
    return "\n".join(lines) + "\n"


def _systemd_word(word: object, *, expands: bool = False, before: str = "") -> str:
    """Return a word, quoted and escaped for a unit file.

    Args:
        word: The word.
        expands: Whether systemd expands ``$`` there.
        before: A mark that precedes the word.

    Raises:
        UsageError: The word has a line break or cannot be printed.
    """
    text = before + str(word)
    crontabs.refuse_line_breaks([text])
    if not text.isprintable():  # also bytes that are not UTF-8
        raise UsageError(f"{text!r}: systemd accepts only printable paths")
    text = text.replace("%", "%%")
    if expands:
        text = text.replace("$", "$$")
    if any(mark in text for mark in " \t\"'\\;"):
        escaped = text.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return text
