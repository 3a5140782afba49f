"""Schedules: the arithmetic of every interval, and the text that real schedulers take."""

import os
import pty
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from luxcli.config import config
from luxcli.config.config import Config
from luxcli.errors import ConfigError, UsageError
from luxcli.recording import pacing
from luxcli.rollup import rollup
from luxcli.schedule import crontabs, systemd, user_crontab
from tests.support.scenario import BERLIN, HOUR_MS, configured, ms, record
from tests.support.terminal import on_a_terminal

ROOT = Path(__file__).parent.parent.parent
LUXCLI = ("/opt/luxcli/bin/luxcli",)
# 2026-11-24 22:00 UTC and two hours before midnight; any other time would do as well.
EVENING_S = 1_795_557_600
INTERVALS = range(10, 3601)


def polls_of(pace: crontabs.Pace, begin_s: int, stop_s: int, late_s: float = 0.0) -> list[float]:
    """Return when polls are made if each run starts `late_s` after its time."""
    every_s = int(pace.arguments[1]) if pace.arguments[0] == "--every" else None
    assert every_s or pace.arguments == ("--scheduled",)
    found: list[float] = []
    for start_s in range(begin_s, stop_s, pace.step_s):
        now_s = start_s + late_s
        if every_s:
            found += [now_s + offset_s for offset_s in pacing.in_minute(now_s, every_s)]
        else:
            found.append(now_s)
    return found


# Any interval


@pytest.mark.parametrize("finest_s", [60, 1], ids=["cron", "supercronic and systemd"])
@pytest.mark.no_cover
def test_every_interval_is_kept_exactly_over_the_hour_and_the_day(finest_s):
    for interval_s in INTERVALS:
        pace = crontabs.pace(interval_s, finest_s=finest_s)
        # What the schedulers do at an hour and at midnight: both are whole numbers of starts.
        assert 3600 % pace.step_s == 0
        assert pace.step_s >= finest_s
        begin_s = EVENING_S if interval_s > 1200 else EVENING_S + 5400
        found = polls_of(pace, begin_s, begin_s + 7200 + 2 * interval_s, late_s=0.3)
        assert len(found) > 2
        assert {round(b - a, 6) for a, b in pairwise(found)} == {interval_s}, interval_s


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Asia/Kolkata", "Asia/Kathmandu"])
@pytest.mark.no_cover
def test_cron_starts_every_poll_in_any_zone(zone):
    """Steps of cron count from the full hour of local time, scheduled times from that of UTC."""
    for interval_s in INTERVALS:
        pace = crontabs.pace(interval_s, finest_s=60)
        begin_s = EVENING_S // 3600 * 3600
        offset_s = datetime.fromtimestamp(begin_s, ZoneInfo(zone)).minute * 60
        starts = range(begin_s - offset_s % pace.step_s, begin_s + 2 * 3600, pace.step_s)
        minutes = {start_s for start_s in starts if (start_s + offset_s) % pace.step_s == 0}
        due = range(-(-begin_s // interval_s) * interval_s, begin_s + 3600, interval_s)
        assert {due_s // 60 * 60 for due_s in due} <= minutes, interval_s


def test_what_needs_a_run_each_minute_is_over_before_the_next():
    for interval_s in INTERVALS:
        pace = crontabs.pace(interval_s, finest_s=60)
        if pace.step_s == 60:
            for start_s in range(EVENING_S, EVENING_S + 3600, 60):
                offsets = pacing.in_minute(start_s + 0.9, interval_s)
                assert all(0 <= offset_s < 60 for offset_s in offsets)


def test_a_minute_in_which_nothing_is_due_has_no_poll():
    assert pacing.in_minute(EVENING_S, 7200 // 2) == [0.0]
    assert pacing.in_minute(EVENING_S + 60, 3600) == []
    assert [pacing.in_minute(EVENING_S + minute * 60, 45) for minute in range(3)] == [
        [0.0, 45.0],
        [30.0],
        [15.0],
    ]


@pytest.mark.parametrize(
    ("interval_s", "cron", "seven", "calendar"),
    [
        (10, "* * * * * {} --every 10", "*/10 * * * * * * {} --scheduled", "*-*-* *:*:00/10"),
        (30, "* * * * * {} --every 30", "*/30 * * * * * * {} --scheduled", "*-*-* *:*:00/30"),
        (25, "* * * * * {} --every 25", "0 * * * * * * {} --every 25", "*-*-* *:*:00"),
        (45, "* * * * * {} --every 45", "0 * * * * * * {} --every 45", "*-*-* *:*:00"),
        (60, "* * * * * {} --every 60", "0 * * * * * * {} --scheduled", "*-*-* *:*:00"),
        (90, "* * * * * {} --every 90", "0 * * * * * * {} --every 90", "*-*-* *:*:00"),
        (300, "*/5 * * * * {} --every 300", "0 */5 * * * * * {} --scheduled", "*-*-* *:00/5:00"),
        (900, "*/15 * * * * {} --every 900", "0 */15 * * * * * {} --scheduled", "*-*-* *:00/15:00"),
        (420, "* * * * * {} --every 420", "0 * * * * * * {} --every 420", "*-*-* *:*:00"),
        (600, "* * * * * {} --every 600", "0 */10 * * * * * {} --scheduled", "*-*-* *:00/10:00"),
        (1800, "* * * * * {} --every 1800", "0 */30 * * * * * {} --scheduled", "*-*-* *:00/30:00"),
        (3600, "* * * * * {} --every 3600", "0 0 * * * * * {} --scheduled", "*-*-* *:00:00"),
    ],
)
def test_the_line_of_each_kind_of_interval(tmp_path, interval_s, cron, seven, calendar):
    settings = configured(tmp_path, interval_sec=interval_s)
    call = "/opt/luxcli/bin/luxcli poll-once"
    assert cron.format(call) in crontabs.cron(settings, LUXCLI).splitlines()
    assert seven.format(f"exec {call}") in crontabs.supercronic(settings, LUXCLI).splitlines()
    made = systemd.units(settings, LUXCLI, "luxcli")
    assert f"OnCalendar={calendar} UTC" in made["luxcli-poll.timer"].splitlines()
    arguments = seven.partition("{}")[2]
    assert f"ExecStart={call}{arguments}" in made["luxcli-poll.service"].splitlines()


# csv_time


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "days"),
    [("2026-10-24", ("24", "25", "26")), ("2027-03-27", ("27", "28", "29"))],
    ids=["autumn", "spring"],
)
@pytest.mark.no_cover
def test_each_csv_comes_minutes_after_csv_time_also_when_the_clocks_change(tmp_path, first, days):
    settings = configured(tmp_path)
    start_ms = ms(f"{first}T00:00") - 24 * HOUR_MS
    record(settings, start_ms, start_ms + 96 * HOUR_MS, step_s=3600)
    line = crontabs.cron(settings, LUXCLI).splitlines()[-4]
    assert line.startswith("7 * * * * ")
    came: dict[str, str] = {}
    # Hourly runs are the same in every time zone of the scheduler.
    for now_ms in range(ms(f"{first}T05:07"), start_ms + 96 * HOUR_MS, HOUR_MS):
        for result in rollup.rollup_due(settings, "daily", now_ms=now_ms, zone=BERLIN):
            assert result.path is not None
            local = datetime.fromtimestamp(now_ms / 1000, BERLIN)
            came[result.path.name] = f"{local:%d %H:%M}"
    assert {f"{first[:8]}{day}_daily.csv": f"{day} 07:07" for day in days}.items() <= came.items()


@pytest.mark.parametrize(
    ("zone", "minute"), [("Asia/Kolkata", 37), ("Asia/Kathmandu", 22), ("America/St_Johns", 37)]
)
def test_the_csv_comes_soon_in_zones_of_half_an_hour_as_well(tmp_path, zone, minute):
    settings = configured(tmp_path, timezone=zone)
    assert f"\n0 {minute} * * * * * exec /opt" in crontabs.supercronic(settings, LUXCLI)
    timer = systemd.units(settings, LUXCLI, "x")["luxcli-rollup.timer"]
    assert f"OnCalendar=*-*-* *:{minute}:00 UTC\n" in timer


# The text


def test_every_job_is_there_and_reports_come_soon_after_csv_time(tmp_path):
    settings = configured(tmp_path, csv_time="06:55")
    lines = crontabs.cron(settings, LUXCLI).splitlines()
    jobs = [line.split(maxsplit=5) for line in lines if line[:1] not in ("#", "")]
    assert [job[5] for job in jobs] == [
        "/opt/luxcli/bin/luxcli poll-once --every 30",
        "/opt/luxcli/bin/luxcli rollup all --if-due",
        "/opt/luxcli/bin/luxcli prune",
    ]
    assert [job[0] for job in jobs] == ["*", "2", "20"]
    made = systemd.units(settings, LUXCLI, "luxcli")
    assert "OnCalendar=*-*-* *:02:00 UTC\n" in made["luxcli-rollup.timer"]


def test_supercronic_has_seven_fields_and_utc_before_the_first_job(tmp_path):
    lines = crontabs.supercronic(configured(tmp_path), LUXCLI).splitlines()
    jobs = [line for line in lines if line[:1] not in ("#", "") and "=" not in line]
    assert len(jobs) == 3
    for job in jobs:
        *fields, command = job.split(maxsplit=7)
        assert all(re.fullmatch(r"\*|\*/\d+|\d+", field) for field in fields)
        assert command.startswith("exec /opt/luxcli/bin/luxcli ")
    assert lines.index("CRON_TZ=UTC") < lines.index(jobs[0])
    assert not any(re.fullmatch(r"\w+=", line) for line in lines)  # supercronic panics


def test_the_log_of_a_container_names_written_files_unless_a_level_is_set(tmp_path):
    lines = crontabs.supercronic(configured(tmp_path), LUXCLI).splitlines()
    assert [line.endswith(" --log-level INFO") for line in lines if "exec" in line] == [
        *(False, True, True),
    ]
    for level in ("DEBUG", "WARNING"):
        assert "log-level" not in crontabs.supercronic(
            configured(tmp_path, log_level=level), LUXCLI
        )


def special_paths(tmp_path: Path) -> Config:
    file = tmp_path / r"50% of 'it' \% $HOME.yaml"
    file.write_text("host: 127.0.0.1\ncache_path: /srv/a b/%c/cache.sqlite3\n", encoding="utf-8")
    return config.load(file, {"HOME": str(tmp_path)}, tmp_path)


def test_special_paths_are_quoted_as_each_scheduler_wants(tmp_path):
    settings = special_paths(tmp_path)
    printf = ["printf", "[%s]"]
    line = crontabs.cron(settings, printf).splitlines()[-1]
    assert not re.search(r"(?<!\\)%", line)
    assert r"\\%" not in line  # for cron an escaped backslash and a bare '%'
    # cron itself turns '\%' into '%' and gives the rest to the shell.
    lines = [line.split(maxsplit=5)[5].replace(r"\%", "%")]
    lines += [crontabs.supercronic(settings, printf).splitlines()[-1].split(maxsplit=7)[7]]
    for given in lines:
        shown = subprocess.run(["/bin/sh", "-c", given], capture_output=True, text=True, check=True)
        words = shown.stdout.replace("[--log-level][INFO]", "")  # as supercronic has it
        assert words == f"[prune][--config][{settings.file}]"
    service = systemd.units(settings, ["/bin/true"], "luxcli")["luxcli-prune.service"]
    word = rf'''"{tmp_path}/50%% of 'it' \\%% $$HOME.yaml"'''
    assert f"ExecStart=/bin/true prune --config {word}" in service
    assert 'ReadWritePaths="/srv/a b/%%c"' in service


def test_a_path_with_a_line_break_is_refused(tmp_path):
    file = tmp_path / "a\n* * * * * reboot"
    file.write_text("host: 127.0.0.1\n", encoding="utf-8")
    settings = config.load(file, {"HOME": str(tmp_path)}, tmp_path)
    for made in (crontabs.cron, crontabs.supercronic):
        with pytest.raises(UsageError, match="line break"):
            made(settings, LUXCLI)
    with pytest.raises(UsageError, match="line break"):
        systemd.units(settings, LUXCLI, "luxcli")


def test_an_invalid_user_name_is_refused(tmp_path):
    settings = configured(tmp_path)
    for name in ("pi\n* * * * * root reboot", "a b", "", "-x", "a%b"):
        with pytest.raises(UsageError, match="is not a valid user name"):
            crontabs.cron(settings, LUXCLI, user=name)
        with pytest.raises(UsageError, match="is not a valid user name"):
            systemd.units(settings, LUXCLI, name)
    for name in ("pi", "_apt", "machine$", "dom\\jo.doe", "jo@example.org", "björn"):
        assert f" {name} /opt" in crontabs.cron(settings, LUXCLI, user=name)


@pytest.mark.parametrize("program", ["./luxcli", "bin/luxcli", "~/bin/luxcli"])
def test_a_program_that_schedulers_would_not_find_is_refused(tmp_path, program):
    settings = configured(tmp_path)
    for made in (
        lambda: crontabs.cron(settings, [program]),
        lambda: crontabs.supercronic(settings, [program]),
        lambda: systemd.units(settings, [program], "x"),
    ):
        with pytest.raises(UsageError, match="give the absolute path"):
            made()


def test_units_may_use_every_configured_file(tmp_path):
    directory = Path("/var/lib/luxcli")
    logged: dict[str, object] = {"log_file": "/var/log/luxcli/luxcli.log"}
    service = systemd.units(configured(directory, **logged), LUXCLI, "x")["luxcli-poll.service"]
    assert "ReadWritePaths=-/var/log/luxcli\n" in service
    assert "ProtectHome=yes" in service
    inside = configured(directory, log_file="/var/lib/luxcli/logs/luxcli.log")
    assert "ReadWritePaths" not in systemd.units(inside, LUXCLI, "x")["luxcli-poll.service"]
    for key, value in (
        ("log_file", "/home/pi/luxcli.log"),
        ("monitoring.ntfy_url_file", "/home/pi/secret"),
        ("monitoring.command", ("/home/pi/bin/tell",)),
    ):
        service = systemd.units(configured(directory, **{key: value}), LUXCLI, "x")
        assert "ProtectHome=read-only" in service["luxcli-poll.service"]
    python = [Path("/home/pi/.local/share/python3.13")]
    service = systemd.units(configured(directory), LUXCLI, "x", program=python)
    assert "ProtectHome=read-only" in service["luxcli-poll.service"]


def test_units_may_write_archives_that_were_moved_to_another_disk(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "disk").mkdir()
    (tmp_path / "data" / "archive").symlink_to(tmp_path / "disk")
    service = systemd.units(configured(tmp_path / "data"), LUXCLI, "x")["luxcli-rollup.service"]
    assert f"ReadWritePaths={tmp_path}/disk\n" in service


def test_bytes_that_are_not_text_are_allowed_in_a_crontab_and_refused_in_a_unit(tmp_path):
    file = tmp_path / os.fsdecode(b"w\xe4rme.yaml")
    file.write_text("host: 127.0.0.1\n", encoding="utf-8")
    settings = config.load(file, {"HOME": str(tmp_path)}, tmp_path)
    changed = user_crontab.with_block(b"", crontabs.cron(settings, LUXCLI))
    assert b"/w\xe4rme.yaml" in changed
    with pytest.raises(UsageError, match="only printable paths"):
        systemd.units(settings, LUXCLI, "x")


def test_units_may_write_only_where_the_data_are(tmp_path):
    directory = Path("/var/lib/luxcli")
    settings = configured(directory, **{"output_dirs.weekly": "/srv/weekly"})
    service = systemd.units(settings, LUXCLI, "luxcli")["luxcli-rollup.service"].splitlines()
    assert {"StateDirectory=luxcli", "ReadWritePaths=/srv/weekly", "ProtectSystem=strict"} < {
        *service
    }
    assert "ProtectHome=yes" in service
    at_home = configured(Path("/home/pi/heat"))
    service = systemd.units(at_home, LUXCLI, "pi")["luxcli-poll.service"].splitlines()
    assert {"ProtectHome=read-only", "ReadWritePaths=/home/pi/heat", "User=pi"} < {*service}


def test_a_unit_is_not_ended_before_its_poll_ends_by_itself(tmp_path):
    # Two attempts of 100 s, the wait between them, and a minute until the last scheduled poll.
    slow = configured(tmp_path, timeout_sec=100, retries=1, interval_sec=45)
    unit = systemd.units(slow, LUXCLI, "luxcli")["luxcli-poll.service"]
    [limit] = re.findall(r"^TimeoutStartSec=(\d+)$", unit, re.MULTILINE)
    assert int(limit) >= 60 + 2 * 100 + 5 + 2 * 5


# Markers


OWN = b"MAILTO=me@example.org\n# mine\n\t*/5 * * * * backup \xff\n"


@pytest.mark.parametrize("before", [b"", OWN, b"\n\n"], ids=["empty", "own lines", "blank lines"])
def test_the_block_comes_and_goes_and_leaves_everything_else_as_it_was(before):
    once = user_crontab.with_block(before, "a\n")
    assert once == before + b"# BEGIN luxcli\na\n# END luxcli\n"
    assert user_crontab.with_block(once, "a\n") == once
    more = once + b"@daily later\n"
    changed = user_crontab.with_block(more, "b\n")
    assert changed == before + b"# BEGIN luxcli\nb\n# END luxcli\n@daily later\n"
    assert user_crontab.without_block(changed) == before + b"@daily later\n"
    assert user_crontab.without_block(once) == before
    assert user_crontab.without_block(before) == before


def test_a_last_line_without_its_end_is_not_joined_with_the_block():
    assert user_crontab.with_block(b"0 1 * * * x", "a\n").startswith(b"0 1 * * * x\n# BEGIN")


@pytest.mark.parametrize(
    "crontab",
    [
        b"# BEGIN luxcli\n* * * * * a\n",
        b"* * * * * a\n# END luxcli\n",
        b"# END luxcli\n# BEGIN luxcli\n",
        b"# BEGIN luxcli\n# END luxcli\n# BEGIN luxcli\n# END luxcli\n",
        b"# BEGIN luxcli\n# BEGIN luxcli\n# END luxcli\n",
    ],
    ids=["no end", "no begin", "end first", "two", "begun twice"],
)
def test_broken_markers_are_refused(crontab):
    for change in (lambda text: user_crontab.with_block(text, "a\n"), user_crontab.without_block):
        with pytest.raises(ConfigError, match="do not belong together"):
            change(crontab)


def test_a_comment_does_not_poll():
    assert user_crontab.foreign_polls(
        b"  # 1 * * * * luxcli poll-once\n\t* * * * * luxcli poll-once"
    ) == [2]


def test_lines_that_poll_outside_of_the_block_are_found():
    lines = b"# luxcli poll-once\n* * * * * /opt/luxcli poll-once\n"
    assert user_crontab.foreign_polls(user_crontab.with_block(lines, "luxcli poll-once\n")) == [2]


# The command


@pytest.fixture
def user_environment(tmp_path: Path) -> Iterator[Callable[..., dict[str, str]]]:
    """Give the environment of a `crontab` command that keeps the crontab in a file.

    The real one knows only the crontabs of the machine, which are not a test's to change: it has a
    test of its own below.
    """
    directory = tmp_path / "bin"
    directory.mkdir()
    program = directory / "crontab"
    program.write_text(
        "#!/bin/sh\n"
        f"file={tmp_path}/crontab\n"
        "case $1 in\n"
        '-l) [ -e $file ] && cat $file || { echo "no crontab for you" >&2; exit 1; } ;;\n'
        "-r) rm $file ;;\n"
        "-) [ -z $REFUSED ] && cat >$file || { echo 'errors in crontab file' >&2; exit 1; } ;;\n"
        "esac\n"
    )
    program.chmod(0o755)
    return lambda **more: {"PATH": f"{directory}:/usr/bin:/bin", **more}


def test_install_shows_the_change_and_uninstall_takes_it_back(
    invoke, configure, user_environment, tmp_path
):
    file, kept = configure(interval_sec=300), tmp_path / "crontab"
    kept.write_bytes(OWN)
    install = ("schedule", "cron", "--install", "-c", file, "--command", "/opt/luxcli")
    ran = invoke(*install, env=user_environment())
    assert (ran.status, kept.read_bytes()) == (2, OWN)
    assert "+# BEGIN luxcli\n" in ran.stdout
    assert ran.stderr == "luxcli: not a terminal: repeat with --yes to apply this change\n"
    ran = invoke(*install, "--yes", env=user_environment())
    assert (ran.status, ran.stderr) == (0, "")
    line = f"*/5 * * * * /opt/luxcli poll-once --every 300 --config {file}\n"
    assert f"+{line}" in ran.stdout
    assert ran.stdout.endswith("crontab: changed; the first poll follows within 5 min\n")
    installed = kept.read_bytes()
    assert installed.startswith(OWN)
    assert line.encode() in installed
    ran = invoke(*install, "--yes", env=user_environment())
    assert (ran.status, ran.stdout) == (0, "crontab: nothing to change\n")
    ran = invoke("schedule", "cron", "--uninstall", "--yes", env=user_environment())
    assert (ran.status, kept.read_bytes()) == (0, OWN)
    assert "-# BEGIN luxcli\n" in ran.stdout


def test_a_crontab_of_nothing_but_the_block_is_gone_after_uninstall(
    invoke, configure, user_environment, tmp_path
):
    ran = invoke(
        "schedule", "cron", "--install", "--yes", "-c", configure(), env=user_environment()
    )
    assert (ran.status, (tmp_path / "crontab").exists()) == (0, True)
    assert invoke("schedule", "cron", "--uninstall", "--yes", env=user_environment()).status == 0
    assert not (tmp_path / "crontab").exists()


def test_at_a_terminal_it_asks_first(cli, configure, user_environment, tmp_path):
    command = ("schedule", "cron", "--install", "-c", configure())
    for answer, there in (("n\n", False), ("\x04", False), ("y\n", True)):
        master, slave = pty.openpty()
        os.write(master, answer.encode())
        status, screen = on_a_terminal(cli, *command, env=user_environment(), stdin=slave)
        os.close(slave)
        os.close(master)
        assert (status, (tmp_path / "crontab").exists()) == (0, there)
        assert "Change the crontab? [y/N]" in screen


def test_what_cannot_be_installed_is_said_in_one_line(
    invoke, configure, user_environment, tmp_path
):
    install = ("schedule", "cron", "--install", "--yes", "-c")
    file, elsewhere = configure(), tmp_path / "elsewhere"
    elsewhere.mkdir()
    cases = [
        (
            (*install, file),
            user_environment(REFUSED="1"),
            74,
            "refused, nothing was changed: errors in",
        ),
        ((*install, file), {"PATH": "/nowhere"}, 74, "crontab: no such command; install cron"),
        (("schedule", "cron", "--install", "--yes"), user_environment(), 78, "host: missing"),
        (
            ("schedule", "cron", "--install", "--yes"),
            user_environment(LUXCLI_HOST="10.0.0.7"),
            78,
            "host is set by LUXCLI_HOST, which jobs started by cron do not have",
        ),
        (
            ("schedule", "cron", "--system"),
            user_environment(),
            2,
            "--system and --user NAME belong",
        ),
        ((*install, file, "--uninstall"), user_environment(), 2, "exclude each other"),
        (
            (*install, file, "--system", "--user", "x"),
            user_environment(),
            2,
            "sudo tee /etc/cron.d/luxcli",
        ),
        (("schedule", "cron", "--command", "'"), user_environment(), 2, "--command"),
    ]
    for arguments, variables, status, words in cases:
        ran = invoke(*arguments, env=variables, cwd=elsewhere)
        assert (ran.status, len(ran.stderr.splitlines())) == (status, 1), ran
        assert words in ran.stderr
    assert not (tmp_path / "crontab").exists()


def test_a_line_that_polls_already_is_named(invoke, configure, user_environment, tmp_path):
    (tmp_path / "crontab").write_text("#\n* * * * * /opt/luxcli/bin/luxcli poll-once\n")
    ran = invoke(
        "schedule", "cron", "--install", "--yes", "-c", configure(), env=user_environment()
    )
    assert ran.status == 0
    assert "line 2 of your crontab starts polls too" in ran.stderr


def test_with_sudo_it_is_said_whose_crontab_it_is(invoke, configure, user_environment, tmp_path):
    install = ("schedule", "cron", "--install", "--yes", "-c", configure())
    ran = invoke(*install, env=user_environment(SUDO_USER="pi"))
    assert (ran.status, (tmp_path / "crontab").exists()) == (0, True)
    assert ran.stderr == (
        "luxcli: with sudo this changes the crontab of root; run it without sudo for that of pi\n"
    )


def test_replacing_the_lines_of_another_heat_pump_is_a_warning(
    invoke, configure, user_environment, tmp_path
):
    install = ("schedule", "cron", "--install", "--yes", "-c")
    first = tmp_path / "first.yaml"
    first.write_text("host: 127.0.0.1\n", encoding="utf-8")
    assert invoke(*install, first, env=user_environment()).stderr == ""
    assert invoke(*install, first, "--command", "/new/luxcli", env=user_environment()).stderr == ""
    ran = invoke(*install, configure(), env=user_environment())
    assert ran.status == 0
    assert ran.stderr.startswith(f"luxcli: the present lines poll with {first} and are replaced")
    assert invoke(*install, configure(), env=user_environment()).stderr == ""


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("no crontab for pi", 0),
        ("crontab: can't open 'pi': No such file or directory", 0),
        ("crontab: can't open 'pi': Permission denied", 74),
        ("You (pi) are not allowed to use this program (crontab)", 74),
    ],
)
def test_only_who_has_no_crontab_yet_gets_a_new_one(
    invoke, configure, user_environment, tmp_path, said, status
):
    variables = user_environment()
    program = tmp_path / "bin" / "crontab"
    text = program.read_text(encoding="utf-8").replace("no crontab for you", said)
    program.write_text(text, encoding="utf-8")
    ran = invoke("schedule", "cron", "--install", "--yes", "-c", configure(), env=variables)
    assert (ran.status, (tmp_path / "crontab").exists()) == (status, status == 0)


def test_settings_that_only_variables_hold_are_named(invoke, configure):
    file = configure()
    ran = invoke("schedule", "systemd", "-c", file, env={"INTERVAL_SEC": "60"})
    assert ran.status == 0
    assert "so jobs started by cron will not see: " not in ran.stdout
    assert "interval_sec (from INTERVAL_SEC)" in ran.stderr
    # In a container the jobs have the same environment as the command that made the schedule.
    file.unlink()
    ran = invoke("schedule", "supercronic", env={"INTERVAL_SEC": "60", "HOST": "10.0.0.7"})
    assert (ran.status, ran.stderr) == (0, "")
    assert re.search(
        r"^0 \* \* \* \* \* \* exec \S+ -m luxcli poll-once --scheduled$", ran.stdout, re.MULTILINE
    )


def test_the_file_for_cron_d_has_a_user_column_and_no_markers(invoke, configure):
    ran = invoke("schedule", "cron", "--system", "--user", "heat", "-c", configure())
    assert (ran.status, ran.stderr) == (0, "")
    lines = [line for line in ran.stdout.splitlines() if line and line[0] != "#"]
    assert lines.pop(0) == "PATH=/usr/local/bin:/usr/bin:/bin"
    assert [line.split()[5] for line in lines] == ["heat"] * 3
    assert "BEGIN luxcli" not in ran.stdout


def test_the_example_is_the_output_for_the_defaults(tmp_path):
    settings = config.load(None, {"HOME": "/home/you", "LUXCLI_HOST": "x"}, tmp_path)
    settings = settings._replace(file=Path("/etc/luxcli/config.yaml"))
    example = (ROOT / "scripts" / "crontab.example").read_text(encoding="utf-8")
    assert example == user_crontab.marked(crontabs.cron(settings, LUXCLI))


# Real schedulers read it

needs_analyze = pytest.mark.skipif(
    not shutil.which("systemd-analyze"), reason="systemd-analyze is not there"
)


@needs_analyze
def test_systemd_finds_no_fault_in_the_units(invoke, configure, tmp_path):
    for interval_s in (30, 45):
        directory = tmp_path / str(interval_s)
        ran = invoke(
            *("schedule", "systemd", "-c", configure(interval_sec=interval_s)),
            *("--user", "root", "--output", directory),
        )
        assert ran.status == 0
        assert ran.stdout.count(": written\n") == 6
        written = sorted(directory.iterdir())
        assert [unit.suffix for unit in written] == [".service", ".timer"] * 3
        verified = subprocess.run(
            ["systemd-analyze", "verify", *written], check=False, capture_output=True, text=True
        )
        assert (verified.returncode, verified.stdout, verified.stderr) == (0, "", "")


@needs_analyze
@pytest.mark.parametrize("change", ["2026-10-25 00:58:50", "2027-03-28 00:58:50"])
def test_systemd_polls_on_through_clock_changes(tmp_path, change):
    unit = systemd.units(configured(tmp_path), LUXCLI, "x")["luxcli-poll.timer"]
    [calendar] = re.findall(r"^OnCalendar=(.*)$", unit, re.MULTILINE)
    shown = subprocess.run(
        ["systemd-analyze", "calendar", "--iterations=8", f"--base-time={change} UTC", calendar],
        capture_output=True,
        text=True,
        env={"TZ": "Europe/Berlin", "PATH": "/usr/bin:/bin"},
        check=True,
    )
    times = re.findall(r"\(in UTC\): \w+ \S+ (\d+):(\d+):(\d+)", shown.stdout)
    seconds = [int(h) * 3600 + int(m) * 60 + int(s) for h, m, s in times]
    assert len(seconds) == 8
    assert {b - a for a, b in pairwise(seconds)} == {30}
