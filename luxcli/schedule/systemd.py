"""Units for systemd: a service and a timer for each job, as text, from the configuration."""

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


def systemd(
    config: Config, command: Sequence[str], user: str, *, program: Sequence[Path] = ()
) -> dict[str, str]:
    """Return the text of each unit by file name: a service and a timer for each job.

    Calendar times are in UTC: in local time systemd 252 leaves out the hour that comes twice in
    autumn (``systemd-analyze calendar``: after 02:59:30 CEST follows 03:00:00 CET).

    Args:
        config: Says how often, which file to name and where is written to.
        command: The absolute path of luxcli, and arguments.
        user: Who runs the jobs.
        program: What else has to be seen for it to start, such as the Python behind a link.

    Raises:
        UsageError: A path has a line break in it or is not text, luxcli has no absolute one, or
            that is no user.
    """
    crontabs.check_user(user)
    polls = crontabs.pace(config.interval_sec, finest_s=1)
    if polls.step_s < crontabs.MINUTE_S:
        when = f"*:*:00/{polls.step_s}"
    elif polls.step_s == crontabs.MINUTE_S:
        when = "*:*:00"
    elif polls.step_s == crontabs.HOUR_S:
        when = "*:00:00"
    else:
        when = f"*:00/{polls.step_s // crontabs.MINUTE_S}:00"
    jobs = (
        _Job(
            "poll",
            "read the heat pump and store every value",
            ("poll-once", *polls.arguments),
            crontabs.limit_s("poll", config) + (limits.MINUTES_S if polls.arguments else 0),
            crontabs.poll_comment(config.interval_sec, polls),
            when,
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


def _data_directories(config: Config) -> list[Path]:
    """Return the directories that luxcli writes to, without those that are inside another."""
    written = {config.cache_path.parent, config.daily_dir, config.weekly_dir}
    archive = config.cache_path.with_name("archive")
    if archive.is_symlink():  # such as to a larger disk
        written.add(archive.resolve())
    wanted = sorted(written)
    return [path for path in wanted if not any(other in path.parents for other in wanted)]


class _Job(NamedTuple):
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
    seen = [*_data_directories(config), Path(command[0]), *program, *_files(config)]
    at_home = any(home in path.parents for path in seen for home in _HOMES)
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
        "# Busy: the next run does it.",
        "SuccessExitStatus=75",
        "# Longer than its work takes by its own limits.",
        f"TimeoutStartSec={job.limit_s}",
        "# What luxcli says is worth a line; that it was started every time is not.",
        "SyslogLevel=notice",
        "LogLevelMax=notice",
        "",
        "# It reads its configuration and writes its data, nothing else.",
        "ProtectSystem=strict",
        f"ProtectHome={'read-only' if at_home else 'yes'}",
        *_writable(config),
        *_HARDENING,
    ]
    return "\n".join(lines) + "\n"


def _files(config: Config) -> list[Path]:
    """Return the files beside the data that jobs use."""
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
            "# The log; polls go on without it.",
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
        "# In UTC, as in local time the hour that comes twice in autumn would have no runs at all.",
        f"OnCalendar=*-*-* {job.when} UTC",
        "# The default is a minute.",
        "AccuracySec=1s",
    ]
    if job.catch_up:
        lines += [
            "# Was it due while the machine was off, it runs soon after the start.",
            "Persistent=yes",
        ]
    lines += ["", "[Install]", "WantedBy=timers.target"]
    return "\n".join(lines) + "\n"


def _systemd_word(word: object, *, expands: bool = False, before: str = "") -> str:
    """Return a word as unit files write it.

    `expands` where ``$`` stands for a variable; `before` is a mark that stands before the word.
    """
    text = before + str(word)
    crontabs.refuse_line_breaks([text])
    if not text.isprintable():  # bytes that are no UTF-8 as well
        raise UsageError(f"{text!r}: systemd takes only paths that can be printed")
    text = text.replace("%", "%%")
    if expands:
        text = text.replace("$", "$$")
    if any(mark in text for mark in " \t\"'\\;"):
        escaped = text.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return text
