"""The steps of a roll-up: one that fails in a way that nobody foresaw does not stop the others."""

import json
import subprocess
import sys

import pytest

from luxcli.maintenance import archive
from luxcli.rollup import rollup
from luxcli.store.store import Store
from tests.support.scenario import configured, ms, record


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
