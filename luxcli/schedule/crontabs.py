"""Crontabs for cron and supercronic, made from the configuration.

A poll interval from 10 s to an hour becomes lines of a scheduler in one of three ways (`pace`):

* supercronic and systemd, which know seconds and run in UTC, start each poll whose interval divides
  the minute, or is whole minutes that divide the hour. ``--scheduled`` says so. Only wildcards are
  used, so the polls stay even over midnight and clock changes.
* cron starts a process each minute, which makes the polls of that minute: several, one or none.
  They are at multiples of the interval since 1970 (`pacing.in_minute`), so that consecutive
  processes agree. One start of the interpreter is cheaper than several, and the task planner of a
  NAS can start something once a minute. If the interval is whole minutes that divide a quarter of
  an hour, cron starts only what polls. It starts by local time, which is whole quarters of an hour
  from UTC: where that is half an hour, a job at each full hour would never see a multiple of it.
* Any other interval, such as 45 s, 90 s or 7 min, is made as with cron by all schedulers.

Roll-ups start every hour and write only what is due (``--if-due``). `csv_time` is therefore kept in
local time whatever the zone of the scheduler, over clock changes, and after a pause.
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
# Local times differ from UTC by multiples of it.
_QUARTER_S: Final = 900
# After `csv_time`; until then the last poll of the day has used all its attempts.
_ROLLUP_AFTER_MIN: Final = 7
PRUNE_HOUR, PRUNE_MINUTE = 3, 20
# For the start of the process and for its notifications (`monitor.TOTAL_S`).
_ALLOWANCE_S: Final = 20
# User names that Linux accepts, those of a domain as well.
_USER: Final = re.compile(r"\w[\w.@\\+-]*\$?")


class Pace(NamedTuple):
    """How a scheduler keeps the interval.

    Attributes:
        step_s: Seconds between two starts; they divide the minute, or are whole minutes that
            divide the hour.
        arguments: Further arguments of ``poll-once``.
    """

    step_s: int
    arguments: tuple[str, ...]


def pace(interval_s: int, *, finest_s: int) -> Pace:
    """Return the pace for a scheduler whose smallest step is `finest_s` seconds, 1 or 60."""
    divides_minute = MINUTE_S % interval_s == 0
    divides_hour = interval_s % MINUTE_S == 0 and HOUR_S % interval_s == 0
    if finest_s < MINUTE_S and (divides_minute or divides_hour):
        return Pace(interval_s, ("--scheduled",))
    divides_quarter = interval_s % MINUTE_S == 0 and _QUARTER_S % interval_s == 0
    return Pace(interval_s if divides_quarter else MINUTE_S, ("--every", str(interval_s)))


def cron(config: Config, command: Sequence[str], *, user: str | None = None) -> str:
    """Return a user's crontab, or a file for ``/etc/cron.d``.

    Args:
        config: Gives the interval, `csv_time` and the configuration file.
        command: The absolute path of luxcli, and arguments.
        user: The user who runs the jobs in a file for ``/etc/cron.d``, None for a user's crontab.

    Raises:
        UsageError: A path has a line break, the path of luxcli is not absolute, or `user` is not
            a valid name.
    """
    polls = pace(config.interval_sec, finest_s=MINUTE_S)
    if user is not None:
        check_user(user)
    who = f"{user} " if user else ""

    def line(fields: str, *arguments: str) -> str:
        # cron ends a command at a bare '%' and passes the rest as input. A backslash in a path
        # would escape the one before the '%', so the quotes end between the two.
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

    With six fields the last one would be the year, and nothing could run more often than every
    minute. In a zone other than UTC supercronic skips an hour each autumn. Unless `log_level` is
    set, roll-ups and prune log at INFO, which is a few lines a day in the log of the container.

    Raises:
        UsageError: A path has a line break, or the path of luxcli is not absolute.
    """
    polls = pace(config.interval_sec, finest_s=1)

    def line(fields: str, *arguments: str) -> str:
        # luxcli replaces the shell that supercronic starts, and so receives its signals.
        return f"{fields} exec {_shell(config, command, arguments)}"

    level = ("--log-level", "INFO") if config.log_level is None else ()
    if polls.step_s < MINUTE_S:
        fields = f"*/{polls.step_s} *"
    else:
        fields = f"0 {_starred(polls.step_s // MINUTE_S, HOUR_S // MINUTE_S)}"
    lines = [
        "# luxcli: made by 'luxcli schedule supercronic' from the configuration.",
        "# Seven fields: second minute hour day month weekday year. UTC has no clock changes.",
        "CRON_TZ=UTC",
        "",
        *poll_comment(config.interval_sec, polls),
        line(f"{fields} * * * * *", "poll-once", *polls.arguments),
        "",
        *rollup_comment(config),
        *(_LEVEL_COMMENT if level else ()),
        line(
            f"0 {rollup_minute(config, UTC, os.environ)} * * * * *",
            *("rollup", "all", "--if-due", *level),
        ),
        "",
        PRUNE_COMMENT,
        line(f"0 {PRUNE_MINUTE} {PRUNE_HOUR} * * * *", "prune", *level),
    ]
    return "\n".join(lines) + "\n"


def limit_s(job: str, config: Config) -> int:
    """Return the seconds within which a job (poll, rollup or prune) ends by its own limit."""
    return math.ceil(limits.gone_after_s(job, config)) + _ALLOWANCE_S


def settings_outside_file(config: Config) -> dict[str, str]:
    """Return the settings that jobs do not have, with their origins: they are not in the file."""
    return {
        key: origin
        for key, origin in config.origins.items()
        if origin != "default" and not (config.file and origin.startswith(f"{config.file}:"))
    }


PRUNE_COMMENT: Final = "# Every night: remove old CSVs and polls, and check the space on the disk."
_LEVEL_COMMENT: Final = ("# Nothing is mailed here, so the log names the files that were written.",)
_CRON_HEAD: Final = (
    "# luxcli: made by 'luxcli schedule cron'; run this command again after a change of",
    "# interval_sec or csv_time. Times are the machine's local time.",
    "#",
    "# cron gives a job almost no environment: paths are absolute, and settings are in a file.",
    "# A command that succeeds prints nothing, so cron mails only failures and warnings.",
    "# On a machine without a mail program cron discards the output.",
)
_SYSTEM_PATH: Final = (
    "# PATH is for a program that starts luxcli; the PATH of cron is /usr/bin:/bin.",
    "PATH=/usr/local/bin:/usr/bin:/bin",
)


def poll_comment(interval_s: int, polls: Pace) -> list[str]:
    """Return the lines of the comment about polls."""
    every = f"# A poll every {interval_s} seconds (interval_sec)"
    if polls.step_s == interval_s:
        return [f"{every}."]
    if interval_s < MINUTE_S and MINUTE_S % interval_s == 0:
        return [
            f"{every}. cron has no seconds, so each minute starts one process",
            "# for all its polls; after a slow last poll it makes those of the next minute too.",
        ]
    return [f"{every}.", "# Each minute starts a process for its polls: several, one or none."]


def rollup_comment(config: Config) -> list[str]:
    """Return the lines of the comment about roll-ups."""
    return [
        "# Every hour, but only what is due and missing is written: the day's CSV soon after",
        f"# csv_time ({config.csv_time:%H:%M} local time, all year), and the CSVs of days that were"
        " missed.",
    ]


def rollup_minute(config: Config, clock: tzinfo, variables: Mapping[str, str]) -> int:
    """Return the minute of each hour at which roll-ups start.

    Args:
        config: Gives `csv_time` and its zone, which may be half an hour from the scheduler's.
        clock: The zone of the scheduler.
        variables: The environment of its jobs.
    """
    now = datetime.now(UTC)
    zones = (times.zone(config.timezone, variables, _LOGGER.warning), clock)
    local, scheduler = (now.astimezone(zone).utcoffset() or timedelta() for zone in zones)
    ahead_min = int((scheduler - local).total_seconds()) // 60
    return (config.csv_time.minute + ahead_min + _ROLLUP_AFTER_MIN) % 60


def _starred(step: int, whole: int) -> str:
    """Return the field for a step of some minutes; supercronic does not accept ``*/60``."""
    return "*" if step == 1 else "0" if step == whole else f"*/{step}"


def _config_arguments(config: Config) -> list[str]:
    return ["--config", str(config.file.absolute())] if config.file else []


def words_of(config: Config, command: Sequence[str], arguments: Sequence[str]) -> list[str]:
    """Return the words of a command.

    Raises:
        UsageError: The program is a relative path.
    """
    if command[0].startswith("~") or ("/" in command[0] and not command[0].startswith("/")):
        raise UsageError(
            f"{command[0]!r}: a scheduler starts it in another directory; give the absolute path"
        )
    return [*command, *arguments, *_config_arguments(config)]


def _shell(config: Config, command: Sequence[str], arguments: Sequence[str]) -> str:
    words = words_of(config, command, arguments)
    refuse_line_breaks(words)
    return shlex.join(words)


def check_user(name: str) -> None:
    """Raise UsageError if a name cannot be that of a user."""
    if not _USER.fullmatch(name):
        raise UsageError(f"--user {name!r}: is not a valid user name")


def refuse_line_breaks(words: Sequence[str]) -> None:
    """Raise UsageError if a word has a line break, because the rest would become a new line."""
    for word in words:
        if "\n" in word or "\r" in word:
            raise UsageError(f"{word!r}: a schedule cannot have a path with a line break")
