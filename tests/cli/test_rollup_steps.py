"""The steps of a roll-up: one that fails in a way that nobody foresaw does not stop the others."""

import ctypes
import fcntl
import json
import os
import subprocess
import sys

import pytest

from luxcli.maintenance import archive
from luxcli.rollup import rollup
from luxcli.store import journal
from luxcli.store.store import Store
from tests.support.scenario import configured, ms, record

# Of Linux: PR_CAPBSET_DROP, and CAP_DAC_OVERRIDE with CAP_DAC_READ_SEARCH.
_DROP, _CAPABILITIES = 24, (1, 2)


@pytest.fixture
def recorded(tmp_path, configure):
    """Three days, a poll every six hours, and the configuration file."""
    file = configure(cache_path=str(tmp_path / "cache.sqlite3"), csv_retention_days=0)
    settings = configured(tmp_path, csv_retention_days=0)
    record(settings, ms("2025-11-14T12:00"), ms("2025-11-17T12:00"), step_s=6 * 3600)
    Store(settings.cache_path).flush()
    return file, settings


def broken(*_args: object, **_options: object) -> None:
    raise KeyError("nobody foresaw this")


def test_the_steps_after_a_bug_are_done_and_it_is_raised_at_the_end(invoke, recorded, monkeypatch):
    file, settings = recorded
    monkeypatch.setattr(archive, "archive_due", broken)
    with pytest.raises(KeyError, match="nobody foresaw this"):
        invoke("rollup", "all", "--if-due", "-c", file)
    assert len(list(settings.daily_dir.glob("*_daily.csv"))) == 3
    assert list(settings.weekly_dir.glob("*_weekly.csv"))


def test_the_csvs_after_one_with_a_bug_are_written(invoke, recorded, monkeypatch):
    file, settings = recorded
    whole = rollup._write_closed

    def broken_on_one_day(run: object, period: rollup.Period, **options: bool) -> object:
        return broken() if f"{period.label}" == "2025-11-16" else whole(run, period, **options)

    monkeypatch.setattr(rollup, "_write_closed", broken_on_one_day)
    with pytest.raises(KeyError):
        invoke("rollup", "daily", "--if-due", "-c", file)
    names = sorted(path.name[:10] for path in settings.daily_dir.glob("*_daily.csv"))
    assert names == [f"2025-11-{day}" for day in range(15, 18) if day != 16]
    assert len(Store(settings.cache_path).archive_paths()) >= 3


def test_two_bugs_are_both_in_the_log_and_a_program_reads_of_the_first(cli, recorded, tmp_path):
    """In a process: status 1, one object on stdout, both tracebacks."""
    file, _settings = recorded
    code = (
        "from luxcli.maintenance import archive\nfrom luxcli.rollup import rollup\n"
        "def broken(*args, **options): raise KeyError('nobody foresaw this')\n"
        "archive.archive_due = rollup.rollup_due = broken\n"
        "from luxcli.__main__ import main\nmain()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "rollup", "daily", "--if-due", "--json", "-c", str(file)],
        env=cli.environment(LUXCLI_LOG_FILE=str(tmp_path / "log")),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert (found["ok"], found["error"]["type"], found["error"]["exit"]) == (False, "KeyError", 1)
    assert (tmp_path / "log").read_text().count("KeyError: 'nobody foresaw this'") == 2


def bound_by_permissions() -> None:
    """Have the process that begins here, also one of root, read only what permissions allow."""
    for capability in _CAPABILITIES:
        ctypes.CDLL(None).prctl(_DROP, capability, 0, 0, 0)


def files_of(settings):
    csvs = {path.name: path.read_bytes() for path in settings.daily_dir.glob("*.csv")}
    return csvs, [path.name for path in Store(settings.cache_path).archive_paths()]


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_a_journal_that_cannot_be_read_stops_no_csv_and_no_archive_and_is_named(cli, recorded):
    """Such as one that root made, or one in a bad sector."""
    file, settings = recorded
    first, *_others = journal.paths(settings.cache_path)
    first.chmod(0)
    options = {"preexec_fn": bound_by_permissions}
    advice = f"uid {os.geteuid()} needs access: see 'ls -ld {first}'"
    problem = f"luxcli: {first}: cannot be read: Permission denied; {advice}\n"
    ran = cli("rollup", "all", "--if-due", "-c", file, **options)
    assert ran.status == 74
    assert ran.stderr.count(problem) == 1
    csvs, archives = files_of(settings)
    assert (len(csvs), len(archives)) == (3, 4)
    assert first in journal.paths(settings.cache_path)
    assert len(journal.paths(settings.cache_path)) < 1 + len(_others)
    ran = cli("prune", "-c", file, **options)
    assert (ran.status, ran.stderr.count(problem)) == (3, 1)
    first.chmod(0o640)
    assert cli("rollup", "all", "--if-due", "-c", file, **options).status == 0
    assert first not in journal.paths(settings.cache_path)


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_a_journal_that_hangs_stops_no_csv_and_what_it_has_is_added_later(invoke, recorded):
    """A process that hangs keeps it."""
    file, settings = recorded
    first, *_others = journal.paths(settings.cache_path)
    [new] = record(settings, ms("2025-11-14T23:30"), ms("2025-11-14T23:31"))
    with first.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        ran = invoke("rollup", "all", "--if-due", "-c", file)
        assert ran.status == 75
        assert ran.stderr.count(f"{first}: held by pid {os.getpid()} since") == 1
    before, archives = files_of(settings)
    assert (len(before), len(archives)) == (3, 4)
    assert invoke("rollup", "all", "--if-due", "-c", file).status == 0
    after, _ = files_of(settings)
    rows = {
        name: len(csv.splitlines()) - len(before[name].splitlines()) for name, csv in after.items()
    }
    assert rows == {"2025-11-15_daily.csv": 1, "2025-11-16_daily.csv": 0, "2025-11-17_daily.csv": 0}
    assert Store(settings.cache_path).database.polls_at([new])


def test_the_file_beside_the_database_that_may_not_be_used_is_named(cli, recorded):
    file, settings = recorded
    beside = settings.cache_path.with_name(settings.cache_path.name + "-journal")
    beside.chmod(0)
    ran = cli("rollup", "daily", "-c", file, preexec_fn=bound_by_permissions)
    assert ran.status == 74
    assert f"{beside}: cannot be" in ran.stderr


DAMAGED_RECORDS = (
    "UPDATE journal SET size=-1-size",
    "UPDATE archive SET checked_ms=checked_ms-(1<<47)",
    "UPDATE archive SET checked_ms=checked_ms|(1<<47)",
    "INSERT OR REPLACE INTO meta VALUES ('checked_ms','99999999999999999999')",
    "INSERT OR REPLACE INTO meta VALUES ('checked_ms','\u00b2')",
    "INSERT OR REPLACE INTO meta VALUES ('rebuild','2025-11-15.json.xz/99999999999999999999')",
)


@pytest.mark.slow
@pytest.mark.timeout(60)
@pytest.mark.parametrize("statement", DAMAGED_RECORDS)
def test_what_damage_left_of_a_record_stops_no_job_and_is_written_again(
    invoke, recorded, statement
):
    """Records have no checksum: SQLite notices no changed bit of a number or a text."""
    file, settings = recorded
    store = Store(settings.cache_path)
    assert invoke("rollup", "all", "--if-due", "-c", file).status == 0
    with store.writing() as db:
        db.execute(statement)
    assert invoke("diagnose", "--offline", "-c", file).status != 1
    [new] = record(settings, ms("2025-11-17T13:00"), ms("2025-11-17T13:01"))
    for command in ("rollup all --if-due", "prune", "diagnose --offline"):
        ran = invoke(*command.split(), "-c", file)
        assert "Traceback" not in ran.stderr
        assert ran.status != 1
    assert store.database.polls_at([new])
    assert invoke("rollup", "all", "--if-due", "-c", file).status == 0
