"""`luxcli diagnose` about what was recorded: good data, lost data, data of another heat pump."""

import json
import time
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from luxcli import times
from luxcli.config.config import Config
from luxcli.diagnosis import diagnose as diagnosis
from luxcli.diagnosis.diagnose import Diagnosis
from luxcli.maintenance import check
from luxcli.maintenance.archive import archive_due
from luxcli.model import MissedPoll, Snapshot
from luxcli.simulator.replay import Replay
from luxcli.store import ledger, owner
from luxcli.store.store import Store
from luxcli.system import files
from luxcli.validation import stored
from tests.diagnosis.test_diagnose import diagnose, lines, passed, state, values
from tests.support.builders import python, write_journals
from tests.support.faulty_controller import NOW_S, Fault, FaultyController, with_calculations
from tests.support.scenario import BERLIN, HOUR_MS, configured, record

NOW_MS = NOW_S * 1000
DAY_MS = 24 * HOUR_MS
TODAY = date(2027, 1, 15)


def recorded(settings: Config, change: Callable[[Snapshot], Snapshot], hours: int = 26) -> None:
    """Put changed polls of the last hours into the journals, one every ten minutes."""
    replay = Replay("msw6")
    times = range(NOW_MS - hours * HOUR_MS, NOW_MS, 600_000)
    write_journals(settings.cache_path, (change(replay.at(ms / 1000)) for ms in times))


def tenfold(snapshot: Snapshot) -> Snapshot:
    wrong = {index: 10 * snapshot.calculations[index] for index in (10, 11, 12, 15, 17)}
    return with_calculations(wrong)(snapshot)


def numbered(serial: tuple[int, int]) -> Callable[[Snapshot], Snapshot]:
    def change(snapshot: Snapshot) -> Snapshot:
        block = list(snapshot.parameters)
        block[874:876] = serial
        return snapshot._replace(parameters=tuple(block))

    return change


def of_pump(settings: Mapping[str, Any], directory: Path, fault: Fault) -> Diagnosis:
    with FaultyController(fault) as pump:
        return diagnose(configured(directory, port=pump.port, timeout_sec=1, **settings))


# Is it good?


def test_good_data_is_shown_with_its_scores(tmp_path):
    settings = configured(tmp_path, interval_sec=600)
    record(settings, NOW_MS - 26 * HOUR_MS, NOW_MS)
    found = diagnose(settings, offline=True)
    [line] = lines(found, "recorded data")
    assert line.startswith("good: 144 polls of the last 24 h; of 100 points: temperatures 100, ")
    assert values(found, "recorded data")["verdict"] == "good"


@pytest.mark.parametrize("flushed", [True, False])
def test_data_that_validate_finds_bad_is_a_problem_wherever_it_is_kept(tmp_path, flushed):
    settings = configured(tmp_path, interval_sec=600)
    recorded(settings, tenfold)
    if flushed:
        Store(settings.cache_path).flush()
    before = state(tmp_path)
    found = diagnose(settings, offline=True)
    assert state(tmp_path) == before
    problems = lines(found, "recorded data", "problem")
    report = stored.validate(settings, start_ms=NOW_MS - DAY_MS, stop_ms=NOW_MS, now_ms=NOW_MS)
    assert lines(found, "recorded data")[0].startswith("problems: 144 polls")
    assert len(problems) == sum(one.severity == "problem" for one in report.findings) >= 4
    assert any("ID_WEB_Temperatur_TVL" in text and "(144 times)" in text for text in problems)
    assert found.status == 65


def test_data_with_warnings_is_one(tmp_path):
    settings = configured(tmp_path, interval_sec=600)
    recorded(settings, with_calculations({11: 780}))
    found = diagnose(settings, offline=True)
    assert lines(found, "recorded data")[0].startswith("warnings: ")
    assert lines(found, "recorded data", "problem") == []
    assert any("ID_WEB_Temperatur_TRL" in t for t in lines(found, "recorded data", "warning"))


def test_a_gap_at_the_beginning_of_the_day_counts_as_it_does_for_validate(tmp_path):
    settings = configured(tmp_path, interval_sec=600)
    record(settings, NOW_MS - 40 * HOUR_MS, NOW_MS - 30 * HOUR_MS)
    record(settings, NOW_MS - 10 * HOUR_MS, NOW_MS)
    Store(settings.cache_path).flush()
    scores = values(diagnose(settings, offline=True), "recorded data")["scores"]
    report = stored.validate(settings, start_ms=NOW_MS - DAY_MS, stop_ms=NOW_MS, now_ms=NOW_MS)
    assert scores == report.scores
    assert scores["recording"] < 50


def test_a_few_polls_made_by_hand_are_no_schedule_that_is_wrong(tmp_path):
    settings = configured(tmp_path)
    for before_ms in (200_000, 199_000, 60_000):
        record(settings, NOW_MS - before_ms, NOW_MS - before_ms + 1, step_s=1)
    found = diagnose(settings, offline=True)
    assert lines(found, "recording", "warning", "problem") == []
    assert lines(found, "recorded data", "warning", "problem") == []
    assert values(found, "recording")["coverage"]["24 h"]["missing"] > 0


def test_data_is_judged_where_nothing_at_all_can_be_written(tmp_path):
    settings = configured(tmp_path, interval_sec=600)
    recorded(settings, tenfold)
    code = """if True:
        import resource, sys
        from pathlib import Path
        from luxcli.diagnosis.data import recorded_data
        from tests.support.scenario import configured
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        settings = configured(Path(sys.argv[1]), interval_sec=600)
        print(recorded_data(settings, now_ms=int(sys.argv[2])).lines[0].text)
    """
    said, _ = python(code, tmp_path, NOW_MS).communicate()
    assert said.startswith("problems: 144 polls")


def test_without_polls_there_is_nothing_to_judge(tmp_path):
    found = diagnose(configured(tmp_path), offline=True)
    assert lines(found, "recorded data") == ["no polls of the last 24 h to judge"]


def test_a_database_that_cannot_be_read_is_the_storage_sections_problem(tmp_path):
    settings = configured(tmp_path)
    settings.cache_path.write_bytes(b"not a database, but longer than its header" * 100)
    found = diagnose(settings, offline=True)
    assert lines(found, "recorded data", "info")[0].startswith("cannot be judged: ")
    assert found.status == 74


# Is it still there?


def archived(directory: Path) -> Config:
    """Return a database of five days whose closed days are archived."""
    settings = configured(directory, interval_sec=3600)
    record(settings, NOW_MS - 5 * DAY_MS, NOW_MS, step_s=3600)
    Store(settings.cache_path).flush()
    assert archive_due(settings, now_ms=NOW_MS, zone=BERLIN)
    return settings


def test_days_that_only_archives_hold_after_the_database_was_lost_are_a_warning(invoke, tmp_path):
    settings = archived(tmp_path)
    assert lines(diagnose(settings, offline=True), "storage", "warning") == []
    for path in tmp_path.glob("cache.sqlite3*"):
        path.unlink()
    record(settings, NOW_MS - 60_000, NOW_MS)  # the one poll after it
    found = diagnose(settings, offline=True)
    [text] = [t for t in lines(found, "storage", "warning") if "in archives" in t]
    assert text == "5 days (2027-01-10 to 2027-01-14) are in archives but not in the database"
    [section] = [entry for entry in found.sections if entry.name == "storage"]
    assert "'luxcli restore' puts them back" in [line.advice for line in section.lines]
    assert invoke("restore", env={"LUXCLI_CACHE_PATH": str(settings.cache_path)}).status == 0
    assert values(diagnose(settings, offline=True), "storage")["days_only_in_archives"] == []


def test_a_database_that_is_gone_is_a_warning_if_there_are_archives_of_it(tmp_path):
    settings = archived(tmp_path)
    # The CSV of the first day is about the day before as well, of which there was no poll.
    files.make_directory(settings.daily_dir)
    [first, *_] = Store(settings.cache_path).archive_paths()
    (settings.daily_dir / f"{first.name[:10]}_daily.csv").write_text("timestamp_utc\n")
    for path in tmp_path.glob("cache.sqlite3*"):
        path.unlink()
    found = diagnose(settings, offline=True)
    gone = f"{settings.cache_path}: the database is gone, though there are archives of it"
    assert gone in lines(found, "storage", "warning")
    assert values(found, "storage")["days_only_in_csvs"] == []


def check_of(settings: Config, kind: str) -> str:
    found = lines(diagnose(settings, offline=True), "storage", kind)
    [text] = [text for text in found if "checked" in text and "archives" in text]
    return text


def test_it_says_when_the_archives_were_last_checked_and_which_longest_ago(tmp_path):
    settings = archived(tmp_path)
    assert "were never checked; the next 'luxcli rollup daily' does" in check_of(settings, "info")
    store = Store(settings.cache_path)
    ledger.record_rebuild(store, None)
    check.check_due(settings, now_ms=NOW_MS - DAY_MS, zone=BERLIN)
    facts = values(diagnose(settings, offline=True), "storage")
    day_ago = times.utc_text(NOW_MS - DAY_MS)
    assert (facts["archives_checked"], facts["archives_oldest_check"]) == (day_ago, day_ago)
    assert check_of(settings, "ok") == (
        f"database and archives were last checked on {day_ago}, each archive on {day_ago} or later"
    )
    [first, *_] = ledger.archives(store)
    ledger.forget_archive(store, first.start_ms)
    assert check_of(settings, "ok").endswith(f"{day_ago}, 1 archive not yet")
    ledger.record_archive(store, first._replace(checked_ms=NOW_MS - 31 * DAY_MS))
    assert f"each archive on {times.utc_text(NOW_MS - 31 * DAY_MS)} or later" in check_of(
        settings, "warning"
    )


def test_a_damaged_archive_is_named_as_long_as_there_is_no_other_one_of_that_day(tmp_path):
    settings = archived(tmp_path)
    [path, *_] = Store(settings.cache_path).archive_paths()
    damaged = path.with_name(f"{path.name}.damaged-2")
    damaged.write_bytes(path.read_bytes()[:100])
    assert lines(diagnose(settings, offline=True), "storage", "warning") == []
    path.unlink()
    found = lines(diagnose(settings, offline=True), "storage", "warning")
    assert f"{damaged}: a damaged archive, and there is no other one of that day" in found


def test_archived_days_that_prune_has_removed_are_not_missed(tmp_path):
    settings = archived(tmp_path)
    kept = settings._replace(cache_retention_days=2)
    Store(settings.cache_path).remove_before(NOW_MS - 2 * DAY_MS - 14 * HOUR_MS)
    found = diagnose(kept, offline=True)
    assert values(found, "storage")["days_only_in_archives"] == []


def test_days_that_only_csvs_hold_are_a_warning(tmp_path):
    settings = configured(tmp_path, interval_sec=3600)
    files.make_directory(settings.daily_dir)
    for ago in (1, 2, 3):
        name = f"{TODAY - timedelta(days=ago)}_daily.csv"
        (settings.daily_dir / name).write_text("timestamp_utc,timestamp_local\n")
    record(settings, NOW_MS - HOUR_MS, NOW_MS, step_s=3600)
    Store(settings.cache_path).flush()
    found = diagnose(settings, offline=True)
    assert values(found, "storage")["days_only_in_csvs"] == [
        *("2027-01-11", "2027-01-12", "2027-01-13")
    ]
    assert any("3 days" in text for text in lines(found, "storage", "warning"))


def test_csvs_that_were_all_removed_are_a_warning_one_of_them_is_not(invoke, configure, tmp_path):
    path = configure(interval_sec=3600)
    now_ms = round(time.time() * 1000)
    settings = configured(tmp_path / "data", interval_sec=3600)
    record(settings, now_ms - 4 * DAY_MS, now_ms, step_s=3600)
    assert invoke("rollup", "all", "--if-due", "-c", path).status == 0
    newest, *others = sorted(settings.daily_dir.glob("*.csv"), reverse=True)
    newest.unlink()
    found = diagnosis.diagnose(settings, now_ms=now_ms, zone=BERLIN, environ={}, offline=True)
    assert any("moved or removed" in text for text in lines(found, "recording", "ok"))
    for csv in others:
        csv.unlink()
    found = diagnosis.diagnose(settings, now_ms=now_ms, zone=BERLIN, environ={}, offline=True)
    [text] = [t for t in lines(found, "recording", "warning") if "as all others" in t]
    assert newest.name in text
    [section] = [entry for entry in found.sections if entry.name == "recording"]
    [advice] = [line.advice for line in section.lines if line.text == text]
    command = advice.split("'luxcli ")[1].split("'")[0].split()
    assert invoke(*command, "-c", path).status == 0
    assert newest.exists()


# Is it of this heat pump?


def test_another_heat_pump_behind_the_address_is_a_problem_with_the_polls_own_advice(
    invoke, configure
):
    with FaultyController(Fault(change=numbered((1, 2)))) as pump:
        path = configure(port=pump.port)
        assert invoke("poll-once", "-c", path).status == 0
        port = pump.port
    with FaultyController(Fault(change=numbered((3, 4))), port=port, clock=time.time):
        refused = invoke("poll-once", "-c", path)
        assert refused.status == 74
        online = invoke("diagnose", "-c", path, "--json")
    offline = invoke("diagnose", "--offline", "-c", path, "--json")
    for ran, name in ((online, "controller"), (offline, "recording")):
        found = json.loads(ran.stdout)
        [section] = [entry for entry in found["sections"] if entry["name"] == name]
        [line] = [line for line in section["lines"] if line["level"] == "problem"]
        assert (
            "luxcli: " + "; ".join(filter(None, (line["text"], line["advice"]))) + "\n"
            == refused.stderr
        )
        assert ran.status == found["status"] == 74


def test_the_same_heat_pump_under_a_new_address_is_no_problem(tmp_path):
    replay = Replay("msw6").at(NOW_S)
    owner.check_owner(tmp_path / "cache.sqlite3", "an-older-name", numbered((1, 2))(replay))
    found = of_pump({}, tmp_path, Fault(change=numbered((1, 2))))
    assert lines(found, "controller", "problem") == []


def test_a_foreign_poll_is_forgotten_with_the_next_good_one(tmp_path):
    settings = configured(tmp_path, interval_sec=600)
    store = Store(settings.cache_path)
    store.add_missed(
        MissedPoll(NOW_MS - HOUR_MS, "foreign", 1, 90, "x: holds another; give it one")
    )
    assert lines(diagnose(settings, offline=True), "recording", "problem") == [
        "x: holds another; give it one"
    ]
    record(settings, NOW_MS - 1000, NOW_MS)
    assert lines(diagnose(settings, offline=True), "recording", "problem") == []


# The checklist agrees with what is above it


@pytest.mark.parametrize(
    ("changed", "found_by"),
    [
        ({10: 0, 11: 0}, "ID_WEB_Temperatur_TVL (Flow temperature): 0.0 °C"),
        ({11: 780}, "ID_WEB_Temperatur_TRL (Return temperature): 78.0 °C"),
        ({17: 750}, "looks not fitted"),
        ({10: 50, 11: 50, 15: 50}, "4 temperatures are exactly 5.0 °C: ID_WEB_Temperatur_TVL, "),
    ],
)
def test_critical_temperatures_in_doubt_do_not_pass_the_checklist(tmp_path, changed, found_by):
    found = of_pump({}, tmp_path, Fault(change=with_calculations(changed)))
    [item] = [entry for entry in found.checklist if "temperature" in entry.text]
    assert (item.passed, item.doubtful) == (False, True)
    assert found_by in item.found
    assert found_by in " ".join(lines(found, "sensors"))
    assert not any("there and plausible" in text for text in lines(found, "sensors"))


def test_an_unusual_temperature_has_the_sign_of_a_warning_in_the_checklist(invoke, configure):
    with FaultyController(Fault(change=with_calculations({11: 780}))) as pump:
        ran = invoke("diagnose", "-c", configure(port=pump.port))
    assert (
        "  !  all critical temperature sensors present (range: ID_WEB_Temperatur_TRL " in ran.stdout
    )


def test_an_impossible_temperature_fails_the_checklist(tmp_path):
    found = of_pump({}, tmp_path, Fault(change=with_calculations({10: 2000, 11: 780})))
    [item] = [entry for entry in found.checklist if "temperature" in entry.text]
    assert (item.passed, item.doubtful) == (False, False)
    assert item.found.startswith(
        "range-impossible: ID_WEB_Temperatur_TVL (Flow temperature): 200.0 °C"
    )
    assert item.found.endswith("; and 1 more, see 'sensors'")


def test_five_degrees_outdoors_beside_sensors_that_are_not_fitted_are_weather(tmp_path):
    found = of_pump({}, tmp_path, Fault(change=with_calculations({13: 50, 15: 50, 16: 50})))
    assert lines(found, "sensors", "warning") == []
    assert passed(found)["all critical temperature sensors present"] is True
