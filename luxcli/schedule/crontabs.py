"""Schedules for cron and supercronic, as text, from the configuration; `units` are for systemd.

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

import logging
import math
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final, NamedTuple

from luxcli import times
from luxcli.config.config import Config
from luxcli.errors import UsageError
from luxcli.recording import limits

_LOGGER = logging.getLogger(__name__)
MINUTE_S: Final = 60
HOUR_S: Final = 3600
# After `csv_time`, so that the last poll of the day has come through all its attempts.
_ROLLUP_AFTER_MIN: Final = 7
PRUNE_HOUR, PRUNE_MINUTE = 3, 20
# For the start of the process, and for telling others how it ended (`monitoring.TOTAL_S`).
_ALLOWANCE_S: Final = 20
# What Linux takes for the name of a user, of a domain as well.
_USER: Final = re.compile(r"\w[\w.@\\+-]*\$?")


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
    divides_minute = MINUTE_S % interval_s == 0
    divides_hour = interval_s % MINUTE_S == 0 and HOUR_S % interval_s == 0
    if interval_s >= finest_s and (divides_minute or divides_hour):
        return Pace(interval_s, ())
    return Pace(MINUTE_S, ("--every", str(interval_s)))


def cron(config: Config, command: Sequence[str], *, user: str | None = None) -> str:
    """Return the lines for a user's crontab, or those of a file for ``/etc/cron.d``.

    Args:
        config: Says how often and which file to name.
        command: The absolute path of luxcli, and arguments.
        user: Who runs the jobs of the file for ``/etc/cron.d``.

    Raises:
        UsageError: A path has a line break in it, luxcli has no absolute one, or that is no user.
    """
    polls = pace(config.interval_sec, finest_s=MINUTE_S)
    if user is not None:
        check_user(user)
    who = f"{user} " if user else ""

    def line(fields: str, *arguments: str) -> str:
        # cron ends a command at a bare '%' and gives it the rest as input; a backslash of a path
        # would take the one before the '%' for itself, so the quotes end in between.
        shell = _shell(config, command, arguments).replace(r"\%", r"\''%")
        return f"{fields} {who}{shell}".replace("%", r"\%")

    minute = rollup_minute(config, times.zone(None, {}, _LOGGER.warning), {})
    minutes = _starred(polls.step_s // MINUTE_S, HOUR_S // MINUTE_S)
    lines = [
        *_CRON_HEAD,
        *(_SYSTEM_PATH if user else ()),
        "#MAILTO=you@example.org",
        "",
        *poll_comment(config.interval_sec, polls),
        line(f"{minutes} * * * *", "poll-once", *polls.arguments),
        "",
        *rollup_comment(config),
        line(f"{minute} * * * *", "rollup", "all", "--if-due"),
        "",
        PRUNE_COMMENT,
        line(f"{PRUNE_MINUTE} {PRUNE_HOUR} * * *", "prune"),
    ]
    return "\n".join(lines) + "\n"


def supercronic(config: Config, command: Sequence[str]) -> str:
    """Return a crontab for supercronic: seven fields, the first for seconds, in UTC.

    With six fields the last would be the year and nothing would run more often than every minute;
    in another zone than UTC supercronic leaves out an hour each autumn. Unless `log_level` is set,
    the few lines a day about CSVs, archives and old data go to the log of the container.

    Raises:
        UsageError: A path has a line break in it, or luxcli has no absolute one.
    """
    polls = pace(config.interval_sec, finest_s=1)

    def line(fields: str, *arguments: str) -> str:
        # In place of the shell that supercronic starts it with, luxcli can be told to end.
        return f"{fields} exec {_shell(config, command, arguments)}"

    told = ("--log-level", "INFO") if config.log_level is None else ()
    if polls.step_s < MINUTE_S:
        fields = f"*/{polls.step_s} *"
    else:
        fields = f"0 {_starred(polls.step_s // MINUTE_S, HOUR_S // MINUTE_S)}"
    lines = [
        "# luxcli, made by 'luxcli schedule supercronic' from its configuration.",
        "# Seven fields: second minute hour day month weekday year. UTC knows no clock changes.",
        "CRON_TZ=UTC",
        "",
        *poll_comment(config.interval_sec, polls),
        line(f"{fields} * * * * *", "poll-once", *polls.arguments),
        "",
        *rollup_comment(config),
        *(_TOLD_COMMENT if told else ()),
        line(
            f"0 {rollup_minute(config, UTC, os.environ)} * * * * *",
            *("rollup", "all", "--if-due", *told),
        ),
        "",
        PRUNE_COMMENT,
        line(f"0 {PRUNE_MINUTE} {PRUNE_HOUR} * * * *", "prune", *told),
    ]
    return "\n".join(lines) + "\n"


def limit_s(job: str, config: Config) -> int:
    """Return the seconds after which a job (poll, rollup or prune) has ended by its own limit."""
    return math.ceil(limits.gone_after_s(job, config)) + _ALLOWANCE_S


def unseen(config: Config) -> list[str]:
    """Return the settings that a scheduler's jobs would not have: they come from variables."""
    return [
        f"{key} (from {origin})"
        for key, origin in config.origins.items()
        if origin != "default" and not (config.file and origin.startswith(f"{config.file}:"))
    ]


PRUNE_COMMENT: Final = "# Once a night: old CSVs and polls, and whether the disk has room."
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


def poll_comment(interval_s: int, polls: Pace) -> list[str]:
    """Return what is said of the polls, lines of a comment."""
    every = f"# A poll every {interval_s} seconds (interval_sec)"
    if not polls.arguments:
        return [f"{every}."]
    if MINUTE_S % interval_s == 0:
        return [
            f"{every}; cron knows no seconds, so each minute starts",
            "# one process for all its polls, and for the next minute's if the last takes so long.",
        ]
    return [
        f"{every}; that does not divide the minute or hour, so each",
        "# minute starts a process for the polls that it has: several, one or none.",
    ]


def rollup_comment(config: Config) -> list[str]:
    """Return what is said of the roll-ups, lines of a comment."""
    return [
        "# Every hour, but only what is due and missing is written: the day's CSV soon after"
        " csv_time",
        f"# ({config.csv_time:%H:%M}, local time, on every day of the year), and days that were"
        " missed meanwhile.",
    ]


def rollup_minute(config: Config, clock: tzinfo, variables: Mapping[str, str]) -> int:
    """Return the minute of each hour at which roll-ups are started.

    Args:
        config: Gives `csv_time` and its zone, which may be half an hour from the scheduler's.
        clock: The zone in which the scheduler counts.
        variables: Those that its jobs have.
    """
    now = datetime.now(UTC)
    zones = (times.zone(config.timezone, variables, _LOGGER.warning), clock)
    own, its = (now.astimezone(zone).utcoffset() or timedelta() for zone in zones)
    ahead_min = int((its - own).total_seconds()) // 60
    return (config.csv_time.minute + ahead_min + _ROLLUP_AFTER_MIN) % 60


def _starred(step: int, whole: int) -> str:
    """Return the field for every so many minutes: supercronic does not take ``*/60``."""
    return "*" if step == 1 else "0" if step == whole else f"*/{step}"


def _config_arguments(config: Config) -> list[str]:
    return ["--config", str(config.file.absolute())] if config.file else []


def words_of(config: Config, command: Sequence[str], arguments: Sequence[str]) -> list[str]:
    """Return a whole command, whose program is an absolute path or found in every PATH."""
    if command[0].startswith("~") or ("/" in command[0] and not command[0].startswith("/")):
        raise UsageError(
            f"{command[0]!r}: schedulers start it in another directory; give the absolute path"
        )
    return [*command, *arguments, *_config_arguments(config)]


def _shell(config: Config, command: Sequence[str], arguments: Sequence[str]) -> str:
    words = words_of(config, command, arguments)
    refuse_line_breaks(words)
    return shlex.join(words)


def check_user(name: str) -> None:
    """Raise UsageError for what cannot be the name of a user."""
    if not _USER.fullmatch(name):
        raise UsageError(f"--user {name!r}: is not the name of a user")


def refuse_line_breaks(words: Sequence[str]) -> None:
    """Raise UsageError if a word has a line break in it: the rest would be a line of its own."""
    for word in words:
        if "\n" in word or "\r" in word:
            raise UsageError(f"{word!r}: no schedule can hold a path with a line break")
