"""Schedules for cron, supercronic and systemd, as text, from the configuration.

How any interval from 10 s to an hour becomes lines of a scheduler (`pace`):

* What divides the minute or is whole minutes that divide the hour, the scheduler does itself where
  its steps are fine enough: evenly over midnight and clock changes, as only wildcards are used.
* What divides the minute, but is shorter than cron's smallest step: each minute starts one process
  for all its polls. That needs one start of the interpreter instead of several, and the task
  planner of a NAS, which starts something once a minute, needs nothing else.
* Everything else, such as 45 s, 90 s or 7 min: each minute starts a process that makes the polls
  of that minute, which may be none. They are at multiples of the interval since 1970
  (`pacing.in_minute`), so consecutive processes need not know of one another.

Roll-ups are started every hour and do only what is due (``--if-due``): `csv_time` is local time
whatever the scheduler takes for its own, also when the clocks change, and what was missed follows.
"""

import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from luxcli import timelimit
from luxcli.config import Config
from luxcli.errors import UsageError

TIMERS: Final = ("luxcli-poll.timer", "luxcli-rollup.timer", "luxcli-prune.timer")
_MINUTE_S: Final = 60
_HOUR_S: Final = 3600
# After `csv_time`, so that the last poll of the day has come through all its attempts.
_ROLLUP_AFTER_MIN: Final = 7
_PRUNE_HOUR, _PRUNE_MINUTE = 3, 20
# For the start of the process, and for telling others how it ended (`monitoring.TOTAL_S`).
_ALLOWANCE_S: Final = 20
_STATE: Final = Path("/var/lib/luxcli")
_HOMES: Final = (Path("/home"), Path("/root"), Path("/run/user"))


class Pace(NamedTuple):
    """How a scheduler keeps the interval.

    Attributes:
        step_s: Seconds between two starts: divides the minute, or whole minutes that divide the
            hour.
        arguments: What ``poll-once`` is told beyond that.
    """

    step_s: int
    arguments: tuple[str, ...]


def pace(interval_s: int, *, finest_s: int) -> Pace:
    """Return how a scheduler whose smallest step is `finest_s` seconds, 1 or 60, polls evenly."""
    divides_minute = _MINUTE_S % interval_s == 0
    divides_hour = interval_s % _MINUTE_S == 0 and _HOUR_S % interval_s == 0
    if interval_s >= finest_s and (divides_minute or divides_hour):
        return Pace(interval_s, ())
    every = ("--every", str(interval_s))
    if divides_minute:
        return Pace(_MINUTE_S, ("--count", str(_MINUTE_S // interval_s), *every))
    return Pace(_MINUTE_S, every)


def cron(config: Config, command: Sequence[str], *, user: str | None = None) -> str:
    """Return the lines for a user's crontab, or those of a file for ``/etc/cron.d``.

    Args:
        config: Says how often and which file to name.
        command: The absolute path of luxcli, and arguments.
        user: Who runs the jobs of the file for ``/etc/cron.d``.

    Raises:
        UsageError: A path has a line break in it.
    """
    polls = pace(config.interval_sec, finest_s=_MINUTE_S)
    who = f"{user} " if user else ""

    def line(fields: str, *arguments: str) -> str:
        # cron ends a command at a bare '%' and gives it the rest as input.
        return f"{fields} {who}{_shell(config, command, arguments)}".replace("%", r"\%")

    minutes = _starred(polls.step_s // _MINUTE_S, _HOUR_S // _MINUTE_S)
    lines = [
        *_CRON_HEAD,
        *(_SYSTEM_PATH if user else ()),
        "#MAILTO=you@example.org",
        "",
        *_poll_comment(config.interval_sec, polls),
        line(f"{minutes} * * * *", "poll-once", *polls.arguments),
        "",
        *_rollup_comment(config),
        line(f"{_rollup_minute(config)} * * * *", "rollup", "all", "--if-due"),
        "",
        _PRUNE_COMMENT,
        line(f"{_PRUNE_MINUTE} {_PRUNE_HOUR} * * *", "prune"),
    ]
    return "\n".join(lines) + "\n"


def supercronic(config: Config, command: Sequence[str]) -> str:
    """Return a crontab for supercronic: seven fields, the first for seconds, in UTC.

    With six fields the last would be the year and nothing would run more often than every minute;
    in another zone than UTC supercronic leaves out an hour each autumn. Unless `log_level` is set,
    the few lines a day about CSVs, archives and old data go to the log of the container.

    Raises:
        UsageError: A path has a line break in it.
    """
    polls = pace(config.interval_sec, finest_s=1)

    def line(fields: str, *arguments: str) -> str:
        # In place of the shell that supercronic starts it with, luxcli can be told to end.
        return f"{fields} exec {_shell(config, command, arguments)}"

    told = ("--log-level", "INFO") if config.log_level is None else ()
    if polls.step_s < _MINUTE_S:
        fields = f"*/{polls.step_s} *"
    else:
        fields = f"0 {_starred(polls.step_s // _MINUTE_S, _HOUR_S // _MINUTE_S)}"
    lines = [
        "# luxcli, made by 'luxcli schedule supercronic' from its configuration.",
        "# Seven fields: second minute hour day month weekday year. UTC knows no clock changes.",
        "CRON_TZ=UTC",
        "",
        *_poll_comment(config.interval_sec, polls),
        line(f"{fields} * * * * *", "poll-once", *polls.arguments),
        "",
        *_rollup_comment(config),
        *(_TOLD_COMMENT if told else ()),
        line(f"0 {_rollup_minute(config)} * * * * *", "rollup", "all", "--if-due", *told),
        "",
        _PRUNE_COMMENT,
        line(f"0 {_PRUNE_MINUTE} {_PRUNE_HOUR} * * * *", "prune", *told),
    ]
    return "\n".join(lines) + "\n"


def systemd(config: Config, command: Sequence[str], user: str) -> dict[str, str]:
    """Return the text of each unit by file name: a service and a timer for each job.

    Calendar times are in UTC: in local time systemd 252 leaves out the hour that comes twice in
    autumn (``systemd-analyze calendar``: after 02:59:30 CEST follows 03:00:00 CET).

    Raises:
        UsageError: A path has a line break in it.
    """
    polls = pace(config.interval_sec, finest_s=1)
    if polls.step_s < _MINUTE_S:
        when = f"*:*:00/{polls.step_s}"
    elif polls.step_s == _MINUTE_S:
        when = "*:*:00"
    elif polls.step_s == _HOUR_S:
        when = "*:00:00"
    else:
        when = f"*:00/{polls.step_s // _MINUTE_S}:00"
    jobs = (
        _Job(
            "poll",
            "read the heat pump and store every value",
            ("poll-once", *polls.arguments),
            limit_s("poll", config) + (_MINUTE_S if polls.arguments else 0),
            _poll_comment(config.interval_sec, polls),
            when,
            False,
        ),
        _Job(
            "rollup",
            "write the CSVs that are due",
            ("rollup", "all", "--if-due"),
            limit_s("rollup", config),
            _rollup_comment(config),
            f"*:{_rollup_minute(config):02}:00",
            True,
        ),
        _Job(
            "prune",
            "remove what is too old, check the disk",
            ("prune",),
            limit_s("prune", config),
            [_PRUNE_COMMENT],
            f"{_PRUNE_HOUR:02}:{_PRUNE_MINUTE:02}:00",
            True,
        ),
    )
    units = {}
    for job in jobs:
        units[f"luxcli-{job.name}.service"] = _service(config, command, user, job)
        units[f"luxcli-{job.name}.timer"] = _timer(job)
    return units


def limit_s(job: str, config: Config) -> int:
    """Return the seconds after which a job (poll, rollup or prune) has ended by its own limit."""
    return math.ceil(timelimit.gone_after_s(job, config)) + _ALLOWANCE_S


def unseen(config: Config) -> list[str]:
    """Return the settings that a scheduler's jobs would not have: they come from variables."""
    return [
        f"{key} (from {origin})"
        for key, origin in config.origins.items()
        if origin != "default" and not (config.file and origin.startswith(f"{config.file}:"))
    ]


def data_directories(config: Config) -> list[Path]:
    """Return the directories that luxcli writes to, without those that are inside another."""
    wanted = sorted({config.cache_path.parent, config.daily_dir, config.weekly_dir})
    return [path for path in wanted if not any(other in path.parents for other in wanted)]


_PRUNE_COMMENT: Final = "# Once a night: old CSVs and polls, and whether the disk has room."
_TOLD_COMMENT: Final = ("# Nobody is mailed here: what was written is worth a line a day.",)
_CRON_HEAD: Final = (
    "# luxcli: made by 'luxcli schedule cron'; run that again after a change of interval_sec or",
    "# csv_time. Times are the machine's local time.",
    "#",
    "# cron gives a job almost no environment: hence absolute paths, and settings in a file.",
    "# Every command is silent when all is well, so whatever cron mails is worth reading;",
    "# without a mail program on the machine cron throws it away.",
)
_SYSTEM_PATH: Final = (
    "# PATH is for what luxcli may be started by; cron's own knows only /usr/bin and /bin.",
    "PATH=/usr/local/bin:/usr/bin:/bin",
)


class _Job(NamedTuple):
    name: str
    description: str
    arguments: tuple[str, ...]
    limit_s: int
    comment: list[str]
    when: str
    catch_up: bool


def _service(config: Config, command: Sequence[str], user: str, job: _Job) -> str:
    places = data_directories(config)
    words = [*command, *job.arguments, *_config_arguments(config)]
    files = [*places, Path(command[0]), *([config.file.absolute()] if config.file else [])]
    at_home = any(home in path.parents for path in files for home in _HOMES)
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
        *(
            "StateDirectory=luxcli" if path == _STATE else f"ReadWritePaths={_systemd_word(path)}"
            for path in places
        ),
        *_HARDENING,
    ]
    return "\n".join(lines) + "\n"


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


def _poll_comment(interval_s: int, polls: Pace) -> list[str]:
    every = f"# A poll every {interval_s} seconds (interval_sec)"
    if not polls.arguments:
        return [f"{every}."]
    if "--count" in polls.arguments:
        return [
            f"{every}; cron knows no seconds, so each minute starts",
            "# one process for all its polls. One that finds the heat pump in use records that.",
        ]
    return [
        f"{every}; that does not divide the minute or hour, so each",
        "# minute starts a process for the polls that it has: several, one or none.",
    ]


def _rollup_comment(config: Config) -> list[str]:
    return [
        "# Every hour, but only what is due and missing is written: the day's CSV soon after"
        " csv_time",
        f"# ({config.csv_time:%H:%M}, local time, on every day of the year), and days that were"
        " missed meanwhile.",
    ]


def _rollup_minute(config: Config) -> int:
    return (config.csv_time.minute + _ROLLUP_AFTER_MIN) % 60


def _starred(step: int, whole: int) -> str:
    """Return the field for every so many minutes: supercronic does not take ``*/60``."""
    return "*" if step == 1 else "0" if step == whole else f"*/{step}"


def _config_arguments(config: Config) -> list[str]:
    return ["--config", str(config.file.absolute())] if config.file else []


def _shell(config: Config, command: Sequence[str], arguments: Sequence[str]) -> str:
    words = [*command, *arguments, *_config_arguments(config)]
    _refuse_line_breaks(words)
    return shlex.join(words)


def _systemd_word(word: object, *, expands: bool = False) -> str:
    """Return a word as unit files write it; `expands` where ``$`` stands for a variable."""
    text = str(word)
    _refuse_line_breaks([text])
    text = text.replace("%", "%%")
    if expands:
        text = text.replace("$", "$$")
    if any(mark in text for mark in " \t\"'\\;"):
        escaped = text.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return text


def _refuse_line_breaks(words: Sequence[str]) -> None:
    for word in words:
        if "\n" in word or "\r" in word:
            raise UsageError(f"{word!r}: no schedule can hold a path with a line break")
