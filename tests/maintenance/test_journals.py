"""When a journal may go: archives hold its lines, or a week is over where none are wanted."""

from datetime import date

import pytest

from luxcli.maintenance import archive, journals, rebuild
from luxcli.model import OVERRUN, MissedPoll
from luxcli.store import journal
from luxcli.store.store import Store
from tests.support.builders import missed, write_journals
from tests.support.scenario import BERLIN, configured, ms, record


@pytest.fixture
def settings(tmp_path):
    """Two days and a half, in journals and database."""
    settings = configured(tmp_path)
    record(settings, ms("2026-11-16T01:00"), ms("2026-11-18T12:00"), step_s=3600)
    store = Store(settings.cache_path)
    store.add_missed(MissedPoll(ms("2026-11-16T05:30"), "timeout", 1, 5000, "gone"))
    store.flush()
    return settings


def archived(settings, now="2026-11-18T12:00"):
    archive.archive_due(settings, now_ms=ms(now), zone=BERLIN)


def remove(settings, newest=None):
    """Remove journals when the newest poll is of that time."""
    if newest:
        record(settings, ms(newest), ms(newest) + 1)
        Store(settings.cache_path).flush()
    found = journals.remove_safe(settings, zone=BERLIN)
    return [path.name[-16:-6] for path in found]


def left(settings):
    return [path.name[-16:-6] for path in journal.paths(settings.cache_path)]


def test_a_journal_goes_a_day_after_its_own_when_archives_hold_its_lines(settings):
    archived(settings)
    assert remove(settings) == ["2026-11-16"]
    assert left(settings) == ["2026-11-17", "2026-11-18"]
    archived(settings, "2026-11-19T00:00")
    assert remove(settings, "2026-11-19T00:59") == []
    assert remove(settings, "2026-11-19T01:00") == ["2026-11-17"]


def test_a_journal_stays_as_long_as_one_of_its_lines_is_in_no_archive(settings):
    archived(settings)
    archive.path_of(settings, date(2026, 11, 17)).unlink()  # its first hour is the journal's last
    assert remove(settings) == []
    archived(settings)
    assert remove(settings) == ["2026-11-16"]


def test_lines_that_gave_way_to_others_of_their_millisecond_do_not_keep_a_journal(settings):
    """Such as the missed polls that two schedules record for the same scheduled time."""
    store = Store(settings.cache_path)
    ts_ms = ms("2026-11-16T12:00")
    [poll] = store.database.polls_at([ts_ms])
    other = poll._replace(calculations=(*poll.calculations[:-1], 7))
    write_journals(store.path, [other, other._replace(tries=2)])
    for detail in ("one", "another"):
        store.add_missed(missed(ts_ms, OVERRUN, detail=detail))
    store.flush()
    assert store.database.count(ts_ms, ts_ms + 3) == 3
    archived(settings)
    assert remove(settings) == ["2026-11-16"]


def test_a_line_that_the_database_has_not_taken_in_keeps_its_journal(settings):
    archived(settings)
    record(settings, ms("2026-11-16T12:30"), ms("2026-11-16T12:31"))
    assert remove(settings, "2026-11-28T12:00") == []
    Store(settings.cache_path).flush()
    assert remove(settings) == []
    archived(settings)
    assert remove(settings) == ["2026-11-16"]


def test_polls_that_the_database_has_lost_come_from_the_journal_into_the_archive(settings):
    store = Store(settings.cache_path)
    with store.writing() as db:
        db.execute("DELETE FROM poll WHERE ts_ms<?", (ms("2026-11-16T09:00"),))
        db.execute("DELETE FROM missed")
    archived(settings)
    assert remove(settings) == []
    store.flush()
    archived(settings)
    assert remove(settings) == ["2026-11-16"]
    assert store.database.count(0, ms("2026-11-17T01:00")) == 24


def test_without_archives_a_journal_stays_for_a_week(tmp_path):
    settings = configured(tmp_path, archive=False)
    record(settings, ms("2026-11-16T01:00"), ms("2026-11-17T01:00"), step_s=3600)
    assert remove(settings, "2026-11-24T00:59") == []
    record(settings, ms("2026-11-16T12:30"), ms("2026-11-16T12:31"))
    record(settings, ms("2026-11-24T01:00"), ms("2026-11-24T01:01"))
    found = journals.remove_safe(settings, zone=BERLIN)  # not in the database yet
    assert found == []
    assert remove(settings, "2026-11-24T01:01") == ["2026-11-16"]


@pytest.mark.parametrize("archive_days", [True, False])
@pytest.mark.parametrize("year", [1970, 2036])
def test_a_roll_up_by_a_wrong_clock_removes_no_journal_that_is_needed(tmp_path, year, archive_days):
    settings = configured(tmp_path, archive=archive_days)
    record(settings, ms("2026-11-16T01:00"), ms("2026-11-18T12:00"), step_s=3600)
    store = Store(settings.cache_path)
    store.flush()
    archived(settings, f"{year}-02-07T07:28")
    remove(settings)
    assert left(settings)[-2:] == ["2026-11-17", "2026-11-18"]
    assert len(left(settings)) == (2 if archive_days else 3)
    last = journal.last_poll(settings.cache_path)
    assert last is not None
    assert last.taken_ms == ms("2026-11-18T11:00")


def test_a_dry_run_removes_no_journal(settings):
    archived(settings)
    found = journals.remove_safe(settings, zone=BERLIN, dry_run=True)
    assert [path.name[-16:-6] for path in found] == left(settings)[:1]
    assert len(left(settings)) == 3


def test_damaged_polls_of_the_database_are_found_in_journals(settings):
    assert journals.hold(settings, [ms("2026-11-16T05:00")])
    assert not journals.hold(settings, [ms("2026-11-16T05:01")])


def test_a_deleted_database_comes_back_from_journals_alone(settings):
    store = Store(settings.cache_path)
    before = list(store.query(0, 1 << 62))
    store.path.unlink()
    rebuild.complete(settings, now_ms=ms("2026-11-18T12:00"), zone=BERLIN)
    assert list(store.query(0, 1 << 62)) == before
    assert len(store.database.missed(0, 1 << 62)) == 1
