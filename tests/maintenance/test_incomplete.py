"""A database that lacks what archives hold, for whatever reason, gets it from the next roll-up."""

import shutil
from datetime import date

import pytest

from luxcli.maintenance import archive, check, document, journals, rebuild
from luxcli.model import CLOCK_DOUBTED
from luxcli.store import ledger
from luxcli.store.store import Store
from tests.support.builders import real
from tests.support.scenario import BERLIN, configured, ms, record

# Each builds days of polls and archives.
pytestmark = pytest.mark.slow

EVER = 1 << 62
LAST = "2027-03-20T12:00"


@pytest.fixture
def settings(tmp_path):
    """Three days, archived as far as they are closed."""
    settings = configured(tmp_path)
    record(settings, ms("2027-03-15T00:00"), ms("2027-03-17T12:00"), step_s=3600)
    daily(settings, "2027-03-17T12:00")
    return settings


def daily(settings, now):
    """Do what the hourly roll-up does, but for the CSVs."""
    options = {"now_ms": ms(now), "zone": BERLIN}
    restored = rebuild.complete(settings, **options)
    archive.archive_due(settings, **options)
    check.check_due(settings, **options)
    return restored


def everything(settings):
    return list(Store(settings.cache_path).query(0, EVER))


def drop_journals(settings):
    """Remove the journals that archives make needless."""
    assert journals.remove_safe(settings, zone=BERLIN)


def test_an_older_database_from_a_backup_gets_the_days_between(settings, tmp_path):
    shutil.copy(settings.cache_path, tmp_path / "backup")
    record(settings, ms("2027-03-17T12:00"), ms(LAST), step_s=3600)
    daily(settings, LAST)
    before = everything(settings)
    drop_journals(settings)
    shutil.copy(tmp_path / "backup", settings.cache_path)
    assert len(everything(settings)) < len(before)
    assert daily(settings, LAST).polls > 0
    assert everything(settings) == before
    assert daily(settings, LAST).sources == ()


@pytest.mark.parametrize("is_damaged", [False, True])
def test_a_rebuild_by_a_clock_in_2036_puts_back_all_the_same(settings, is_damaged):
    before = everything(settings)
    drop_journals(settings)
    if is_damaged:
        with settings.cache_path.open("r+b") as file:
            file.write(bytes(4096))
        store = Store(settings.cache_path)
        store.quarantine()
    else:
        settings.cache_path.unlink()
    daily(settings, "2036-02-07T07:28")
    assert everything(settings) == before


def test_a_database_that_is_replaced_during_its_rebuild_is_rebuilt_by_the_next_run(
    settings, monkeypatch
):
    before = everything(settings)
    drop_journals(settings)
    settings.cache_path.unlink()
    marked = rebuild._Run.mark_complete

    def lose(run):
        settings.cache_path.unlink()
        Store(settings.cache_path).flush()
        marked(run)

    monkeypatch.setattr(rebuild._Run, "mark_complete", lose)
    daily(settings, "2027-03-17T13:00")
    monkeypatch.undo()
    daily(settings, "2027-03-17T14:00")
    assert everything(settings) == before


def test_polls_of_1970_come_back_too_though_they_look_too_old(settings):
    store = Store(settings.cache_path)
    doubted = [real(60_000 + n * 30_000)._replace(flags=CLOCK_DOUBTED) for n in range(5)]
    for poll in doubted:
        store.add(poll.taken_ms, poll)
    daily(settings, "2027-03-17T12:30")
    before = everything(settings)
    assert before[:5] == doubted
    drop_journals(settings)
    store.path.unlink()
    daily(settings, "2027-03-17T13:00")
    assert everything(settings) == before


def test_a_damaged_archive_without_a_record_is_written_again(settings):
    store = Store(settings.cache_path)
    path = archive.path_of(settings, date(2027, 3, 15))
    ledger.forget_archive(store, ms("2027-03-15T00:00"))
    whole = document.read(path)
    path.write_bytes(path.read_bytes()[:-40])
    [finding] = check.check_due(settings, now_ms=ms("2027-03-18T02:00"), zone=BERLIN).findings
    assert "written again from the database" in finding
    assert document.read(path) == whole
