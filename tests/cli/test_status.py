"""`luxcli status`: one line for health checks, without touching anything."""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from luxcli import times
from luxcli.model import CLOCK_DOUBTED, MissedPoll
from luxcli.recording import state
from luxcli.store import journal
from luxcli.store.store import Store
from tests.store.test_stress import fill, small_disk
from tests.support.builders import PROJECT, journals, python, small

DAY_S = 86_400


@pytest.fixture
def file(configure):
    return configure()


@pytest.fixture
def store(file):
    return Store.open(file.parent / "data" / "cache.sqlite3")


def polls_until(store, age_s, count=30, step_s=30):
    """Store polls of which the last one is `age_s` seconds old."""
    last_ms = round((time.time() - age_s) * 1000)
    store.merge([small(last_ms - number * step_s * 1000) for number in range(count)], ())


def test_recording_is_0_and_one_line_on_stdout(invoke, file, store):
    polls_until(store, 12)
    ran = invoke("status", "-c", file)
    assert (ran.status, ran.stderr) == (0, "")
    assert re.fullmatch(
        r"recording: last poll 1[2-9] s ago; 24 h: complete, 30 polls\n", ran.stdout
    )


def test_a_poll_that_only_waits_in_its_journal_counts_and_the_journal_stays(invoke, file, store):
    now_ms = round(time.time() * 1000)
    store.add(now_ms - 5000, small(now_ms - 5000))
    before = journals(store.path)
    ran = invoke("status", "-c", file)
    assert (ran.status, ran.stdout[:20]) == (0, "recording: last poll")
    assert journals(store.path) == before
    assert not store.path.exists()


def test_a_recording_that_stopped_is_3_and_names_the_last_failure(invoke, file, store):
    polls_until(store, 3 * 3600 + 20 * 60)
    now_ms = round(time.time() * 1000)
    store.add_missed(
        MissedPoll(now_ms - 60_000, "refused", 4, 14_000, "pump:8889: connection refused")
    )
    store.add_missed(MissedPoll(now_ms - 30_000, "timeout", 4, 14_000, "pump:8889: no answer"))
    ran = invoke("status", "-c", file)
    assert ran.status == 3
    assert ran.stdout.startswith(
        "not recording: last poll 3 h 20 min ago, more than 5 min; timeout: pump:8889: no answer;"
        " 24 h: "
    )


def test_the_failure_that_made_a_poll_slow_is_named_and_not_the_overrun_it_led_to(
    invoke, file, store
):
    polls_until(store, 3600)
    now_ms = round(time.time() * 1000)
    store.add_missed(MissedPoll(now_ms - 40_000, "refused", 4, 14_000, "pump:8889: refused"))
    store.add_missed(MissedPoll(now_ms - 30_000, "overrun", 0, 0, "the poll before took too long"))
    said = invoke("status", "-c", file).stdout
    assert "; refused: pump:8889: refused; " in said
    assert "took too long" not in said


def test_a_failure_before_the_last_poll_is_not_named(invoke, file, store):
    polls_until(store, 10)
    store.merge((), [MissedPoll(round(time.time() * 1000) - 15_000, "busy", 0, 1, "in use")])
    assert "busy: in use" not in invoke("status", "-c", file).stdout


@pytest.mark.parametrize(
    ("limit", "status"), [("30", 3), ("30s", 3), ("2m", 0), ("1h", 0), ("7d", 0)]
)
def test_the_age_limit_of_the_last_poll_can_be_given(limit, status, invoke, file, store):
    polls_until(store, 60)
    assert invoke("status", "--max-age", limit, "-c", file).status == status


def test_without_a_limit_it_is_five_minutes_or_three_intervals():
    assert [state.default_max_age_s(s) for s in (10, 100, 101, 3600)] == [300, 300, 303, 10800]


@pytest.mark.parametrize("limit", ["", "0", "-5m", "5 minutes", "1.5h", "m", "99999999d"])
def test_an_age_limit_that_is_not_a_duration_is_refused(limit, invoke, file):
    ran = invoke("status", "--max-age", limit, "-c", file)
    assert (ran.status, ran.stdout) == (2, "")
    assert ran.stderr == f"luxcli: --max-age {limit!r} is not a duration like 90s, 5m, 36h or 7d\n"


def test_nothing_recorded_yet_is_3_and_creates_nothing(invoke, file):
    ran = invoke("status", "-c", file)
    assert ran.status == 3
    assert ran.stdout.startswith("not recording: nothing recorded in ")
    assert not (file.parent / "data").exists()


def test_without_a_poll_the_last_failure_is_named(invoke, file, store):
    now_ms = round(time.time() * 1000)
    store.add_missed(MissedPoll(now_ms - 1000, "timeout", 4, 14_000, "pump:8889: no answer"))
    ran = invoke("status", "-c", file)
    assert ran.status == 3
    assert "nothing recorded in " in ran.stdout
    assert "timeout: pump:8889: no answer" in ran.stdout


def test_a_full_disk_is_named_because_no_missed_poll_can_be_recorded(invoke, configure, tmp_path):
    with small_disk(tmp_path / "disk") as disk:
        file = configure(cache_path=str(disk / "cache.sqlite3"))
        polls_until(Store(disk / "cache.sqlite3"), 3600)
        filler = fill(disk, 1)
        ran = invoke("status", "-c", file)
        assert ran.status == 3
        assert f"ago, more than 5 min; {disk}: the disk is full; 24 h: " in ran.stdout
        assert json.loads(invoke("status", "--json", "-c", file).stdout)["obstacle"] == (
            f"{disk}: the disk is full"
        )
        filler.unlink()
        assert "full" not in invoke("status", "-c", file).stdout


@pytest.mark.parametrize("which", ["", "cache.sqlite3.lock", "journal"])
def test_files_of_another_user_are_named_as_the_obstacle(which):
    code = """if True:
        import os, sys, time
        from pathlib import Path
        from luxcli.recording import state
        from luxcli.store import journal
        from luxcli.store.store import Store
        path = Path(sys.argv[1], sys.argv[2])
        if sys.argv[2] == "journal":
            path = journal.path_at(Path(sys.argv[1], "cache.sqlite3"), round(time.time() * 1000))
        path.is_dir() or path.touch()
        path.chmod(0o555)
        if not os.geteuid():
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
        print(state.obstacle(Store(Path(sys.argv[1], "cache.sqlite3"))))
    """
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o777)
        said, _ = python(code, directory, which).communicate()
    path = Path(directory, which)
    if which == "journal":
        path = journal.path_at(path.with_name("cache.sqlite3"), round(time.time() * 1000))
    assert said == f"{path}: cannot be written by uid {os.geteuid() or 65534}\n"


def test_polls_in_the_future_do_not_hide_that_recording_stopped(invoke, file, store):
    polls_until(store, 3600)
    ahead_ms = round((time.time() + 30 * DAY_S) * 1000)
    store.merge([small(ahead_ms)], ())
    ran = invoke("status", "-c", file)
    assert ran.status == 3
    assert "last poll 60 min ago" in ran.stdout
    assert "is in the future: is the clock right?" in ran.stdout


def test_a_damaged_database_is_74_and_stays_where_it_is(invoke, file, store):
    polls_until(store, 10)
    data = bytearray(store.path.read_bytes())
    data[:100] = bytes(100)
    store.path.write_bytes(data)
    ran = invoke("status", "-c", file)
    assert (ran.status, ran.stdout) == (74, "")
    assert "cache.sqlite3" in ran.stderr
    assert store.path.read_bytes() == data


def test_json_is_one_object_with_the_same_facts(invoke, file, store):
    polls_until(store, 12)
    ran = invoke("status", "--json", "-c", file)
    reported = json.loads(ran.stdout)
    assert (ran.status, reported["ok"], reported["max_age_s"], reported["failure"]) == (
        0,
        True,
        300,
        None,
    )
    assert 12 <= reported["age_s"] < 20
    assert reported["day"]["polls"] == 30
    stale = invoke("status", "--json", "--max-age", "5s", "-c", file)
    assert (stale.status, json.loads(stale.stdout)["ok"]) == (3, False)


def test_it_starts_without_network_tables_and_rich_output(cli, file, store):
    """A health check runs every minute for years."""
    polls_until(store, 12)
    code = (
        "import sys; sys.argv=['luxcli','status','-c',sys.argv[1]]\n"
        "from luxcli.__main__ import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted(m for m in sys.modules"
        " if m.split('.')[0] in ('luxtronik','rich','socket')"
        " or m in ('luxcli.registers.catalogue','luxcli.controller.client',"
        "'luxcli.rollup.rollup')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(file)],
        capture_output=True,
        text=True,
        check=True,
        cwd=PROJECT,
        # Measuring coverage would import more.
        env={k: v for k, v in cli.environment().items() if not k.startswith("COV")},
    )
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7199, "119 min"),
        (7200, "2 h 0 min"),
        (172_799, "47 h 59 min"),
        (172_800, "2 days"),
    ],
)
def test_ages_are_rounded_for_people(seconds, text):
    assert times.span(seconds) == text


def test_an_unknown_time_zone_is_reported_even_without_local_times(invoke, configure, simulator):
    file = configure(port=simulator.port, flush_polls=1)
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(line for line in lines if not line.startswith("timezone:")))
    assert invoke("poll-once").status == 0
    ran = invoke("status", env={"TZ": "No/Where"})
    assert ran.status == 0
    assert "TZ=No/Where: not a time zone like Europe/Berlin" in ran.stderr
    assert "TZ" not in invoke("status", env={"TZ": "Europe/Berlin"}).stderr


@pytest.mark.parametrize(("count", "is_named"), [(10, False), (11, True)])
def test_journals_of_more_than_ten_days_are_named(count, is_named, invoke, file, store):
    polls_until(store, 10)
    for day in range(1, count + 1):
        store.path.with_name(f"{store.path.name}.polls-2026-10-{day:02}.jsonl").touch()
    ran = invoke("status", "-c", file)
    assert ran.status == 0
    assert (f"; {count} journals wait: 'luxcli rollup daily'" in ran.stdout) == is_named


@pytest.mark.parametrize("is_flushed", [False, True])
def test_a_wrong_clock_is_3_and_all_that_status_says_while_it_lasts(
    invoke, file, store, is_flushed
):
    polls_until(store, 12)
    now_ms = round(time.time() * 1000)
    store.add(now_ms - 5000, small(now_ms - 5000)._replace(flags=CLOCK_DOUBTED))
    if is_flushed:
        store.flush()
    ran = invoke("status", "-c", file)
    assert (ran.status, ran.stderr) == (3, "")
    assert ran.stdout == (
        f"clock wrong: the last poll is dated {times.utc_text(now_ms - 5000)}, which cannot be"
        " right; set this computer's clock, then 'luxcli repair-times' puts such polls right\n"
    )
    ran = invoke("status", "--json", "-c", file)
    assert (ran.status, json.loads(ran.stdout)["clock_doubted"]) == (3, True)


def test_a_clock_that_was_wrong_long_ago_is_no_alarm(invoke, file, store):
    polls_until(store, 12)
    before_ms = round((time.time() - 2 * DAY_S) * 1000)
    for ts_ms in (60_000, before_ms):
        store.add(ts_ms, small(ts_ms)._replace(flags=CLOCK_DOUBTED))
    assert invoke("status", "-c", file).status == 0
