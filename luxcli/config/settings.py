"""Declares every setting: its key, how its value is checked, its default and its explanation.

``config init``, ``config show``, ``config check`` and tests of the documentation use `SETTINGS`.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from luxcli.config import monitoring_targets as targets
from luxcli.config import readers


class Setting(NamedTuple):
    """One setting.

    Attributes:
        key: Such as ``csv.headers``.
        read: Returns the checked value; raises ValueError.
        default: As it would be written; "" stands for no value.
        help: Explanation, in lines.
        bare: Whether a variable without prefix sets it as well, such as HOST.
        secret: Whether its value is never shown.
    """

    key: str
    read: Callable[[object], Any]
    default: str
    help: str
    bare: bool = False
    secret: bool = False


def read_setting(key: str, value: object) -> Any:
    """Return the checked value of one setting.

    Raises:
        ValueError: The value cannot be used; the text says why.
    """
    return next(setting for setting in SETTINGS if setting.key == key).read(value)


PATHS: Final = (
    "cache_path",
    "output_dirs.daily",
    "output_dirs.weekly",
    "log_file",
    "monitoring.healthchecks_url_file",
    "monitoring.uptime_kuma_url_file",
    "monitoring.ntfy_url_file",
    "monitoring.ntfy_token_file",
)

SETTINGS: Final[tuple[Setting, ...]] = (
    Setting("host", readers.host, "", "Name or address of the heat pump.", bare=True),
    Setting(
        "port", readers.integer(1, 65535), "8889", "TCP port (8888 on old firmware).", bare=True
    ),
    Setting(
        "interval_sec",
        readers.integer(10, 3600),
        "30",
        "Seconds between polls; 'luxcli schedule' sets up the scheduler accordingly.",
        bare=True,
    ),
    Setting(
        "csv_time", readers.clock_time, "07:00", "Local time at which daily CSVs end.", bare=True
    ),
    Setting(
        "weekly_day",
        readers.weekday,
        "monday",
        "Weekday on which weekly CSVs end, at csv_time.",
        bare=True,
    ),
    Setting(
        "cache_path",
        readers.file_path,
        "",
        "The database, on a local disk; relative to this file. The default follows\nXDG_DATA_HOME.",
        bare=True,
    ),
    Setting(
        "output_dirs.daily",
        readers.path_text,
        "",
        "Directory of daily CSVs, relative to this file; the default is beside the database.\n"
        "'output_dirs: PATH' sets both.",
        bare=True,
    ),
    Setting("output_dirs.weekly", readers.path_text, "", "Directory of weekly CSVs.", bare=True),
    Setting(
        "timeout_sec",
        readers.integer(1, 600),
        "60",
        "Time limit for one attempt to read the heat pump, seconds, everything included.",
        bare=True,
    ),
    Setting(
        "retries", readers.integer(0, 10), "3", "Further attempts after a failed one.", bare=True
    ),
    Setting(
        "timezone",
        readers.zone,
        "",
        "Time zone in which days end (IANA name); the default is the system's.",
        bare=True,
    ),
    Setting(
        "csv_retention_days",
        readers.integer(1, 36_500, also=0),
        "30",
        "'prune' removes CSVs that are older, in days; 0 keeps them for ever.",
        bare=True,
    ),
    Setting(
        "cache_retention_days",
        readers.integer(1, 36_500, also=0),
        "365",
        "'prune' removes older polls from the database, in days; 0 keeps them for ever.",
        bare=True,
    ),
    Setting(
        "disk_usage_limit_percent",
        readers.integer(1, 100),
        "90",
        "'prune' warns when the disk is fuller, in percent.",
        bare=True,
    ),
    Setting(
        "archive", readers.boolean, "true", "Write a daily archive, the second copy of the data."
    ),
    Setting(
        "flush_polls",
        readers.integer(1, 1000),
        "20",
        "Polls collected in the journal before they go into the database; 1 = at once, for\n"
        "live dashboards, at three times the wear of an SD card.",
    ),
    Setting(
        "csv.sensors",
        readers.word_list,
        "calculations",
        "Columns: calculations, parameters, visibilities, all, ids or patterns like\n"
        "'ID_WEB_Temp*' ('luxcli sensors' lists them).",
    ),
    Setting(
        "csv.headers",
        readers.choice("id", "name"),
        "id",
        "Headings of columns: register ids, or 'name' for English names with units.",
    ),
    Setting("csv.delimiter", readers.delimiter, ",", "Mark between columns: ',' ';' '|' or tab."),
    Setting("csv.decimal", readers.decimal, ".", "Decimal mark: '.' or ','."),
    Setting("csv.bom", readers.boolean, "false", "true helps Excel to recognise UTF-8."),
    Setting(
        "csv.enums",
        readers.choice("label", "code"),
        "label",
        "Modes and states as text ('label') or as number ('code').",
    ),
    Setting(
        "log_level",
        readers.log_level,
        "",
        "DEBUG, INFO, WARNING or ERROR; the default is WARNING, on a terminal INFO.",
        bare=True,
    ),
    Setting(
        "log_format",
        readers.choice("text", "json"),
        "text",
        "Log lines as text, or as JSON for log collectors.",
        bare=True,
    ),
    Setting(
        "log_file",
        readers.path_text,
        "",
        "Also log to this file, relative to this configuration; INFO and above unless\n"
        "log_level is set.",
    ),
    Setting(
        "monitoring.healthchecks_url",
        targets.urls,
        "",
        "Ping address of Healthchecks or a compatible service. '{job}' in it stands for poll,\n"
        "rollup or prune; an address without it is for polls. One address per job is written as\n"
        "'poll=ADDRESS rollup=ADDRESS'.",
        secret=True,
    ),
    Setting(
        "monitoring.healthchecks_url_file",
        readers.path_text,
        "",
        "File that holds healthchecks_url.",
    ),
    Setting(
        "monitoring.uptime_kuma_url",
        targets.urls,
        "",
        "Push address of Uptime Kuma, written like healthchecks_url.",
        secret=True,
    ),
    Setting(
        "monitoring.uptime_kuma_url_file", readers.path_text, "", "File that holds uptime_kuma_url."
    ),
    Setting(
        "monitoring.ntfy_url",
        targets.topic,
        "",
        "Address of a topic of ntfy, for all jobs.",
        secret=True,
    ),
    Setting("monitoring.ntfy_url_file", readers.path_text, "", "File that holds ntfy_url."),
    Setting("monitoring.ntfy_token", targets.token, "", "Access token of ntfy.", secret=True),
    Setting("monitoring.ntfy_token_file", readers.path_text, "", "File that holds ntfy_token."),
    Setting(
        "monitoring.ntfy_title", readers.text, "luxcli", "Start of the titles of ntfy messages."
    ),
    Setting(
        "monitoring.ntfy_priority",
        readers.integer(1, 5),
        "4",
        "Priority of ntfy messages about failures, 1 to 5.",
    ),
    Setting("monitoring.ntfy_tags", readers.tags, "", "Further tags of ntfy messages."),
    Setting(
        "monitoring.command",
        targets.command,
        "",
        "Command to run: a list of arguments, or a text for the shell. Its environment has\n"
        "LUXCLI_JOB, LUXCLI_EVENT, LUXCLI_STATUS and LUXCLI_MESSAGE.",
        secret=True,
    ),
    Setting(
        "monitoring.jobs",
        readers.some_of(*targets.JOBS),
        "poll,rollup,prune",
        "Jobs that send notifications.",
    ),
    Setting(
        "monitoring.events",
        readers.some_of(*targets.EVENTS),
        "failed,recovered,stale",
        "Events that ntfy and the command receive.",
    ),
    Setting(
        "monitoring.ping_every",
        readers.duration,
        "5m",
        "How often Healthchecks and Uptime Kuma receive a success of the polls.",
    ),
    Setting(
        "monitoring.stale_after",
        readers.duration,
        "",
        "Send 'stale' when the last good poll is older; the default is 30m, or three times\n"
        "interval_sec if that is longer.",
    ),
)
