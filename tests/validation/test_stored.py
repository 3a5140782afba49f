"""The validation of what is recorded: every planted fault is found, and good data is good."""

import json
import re
import time
from dataclasses import replace
from pathlib import Path

import pytest

from luxcli.config import config
from luxcli.config.config import Config
from luxcli.errors import LockHeldError, NoDataError, ProtocolError
from luxcli.store.store import Store
from luxcli.system import locks
from luxcli.system.clock import Clock
from luxcli.validation import stored
from luxcli.validation.findings import Finding
from luxcli.validation.report import Report
from luxcli.validation.rules import RULES
from tests.support.builders import real, small, write_journals
from tests.support.csv_faults import CSV_FAULTS
from tests.support.faulty_controller import NOW_S, Fault, FaultyController
from tests.support.reliability import record, sample
from tests.support.scenario import HOUR_MS, alone_with_device, configured, ms, open_store
from tests.support.scenario import record as recorded
from tests.support.tiers import sampled
from tests.support.validation_faults import IN_POLLS, SENT, START_MS, Planted, changed, good

DAY_MS = 24 * HOUR_MS


def validated(directory: Path, planted: Planted) -> Report:
    """Store the polls of a fault and validate them."""
    settings = configured(directory, interval_sec=planted.interval_s or planted.step_s)
    polls = planted.polls()
    store = open_store(settings)
    store.merge(polls, planted.misses())
    if planted.spoil:
        planted.spoil(settings.cache_path)
    stop_ms = max(planted.stop_ms, polls[-1].taken_ms + 1)
    return stored.validate(settings, start_ms=START_MS, stop_ms=stop_ms, now_ms=stop_ms)


def hits(report: Report, planted: Planted) -> list[Finding]:
    return [
        finding
        for finding in report.findings
        if finding.rule == planted.rule and planted.sensor in (None, finding.sensor)
    ]


# Planted faults


FAULTS = {one.name: one for one in IN_POLLS}


@pytest.mark.parametrize("planted", sampled(FAULTS, list(FAULTS)[::6]))
def test_a_planted_fault_is_found_by_the_rule_that_should_find_it(planted, tmp_path):
    report = validated(tmp_path, planted)
    [finding] = hits(report, planted)
    assert finding.severity == RULES[planted.rule].severity
    assert finding.found
    assert finding.expected
    assert finding.count >= 1
    assert START_MS <= finding.first_ms <= finding.last_ms <= report.stop_ms
    if finding.severity != "note":
        assert report.scores[finding.area] < 100
        assert report.verdict in {"warnings", "problems"}


@pytest.mark.parametrize("sent", [pytest.param(one, id=one.name) for one in SENT])
def test_what_cannot_be_a_heat_pumps_answer_is_caught_before_it_is_stored(
    sent, invoke, configure, tmp_path
):
    with FaultyController(Fault(change=sent.change)) as pump:
        ran = invoke("poll-once", "-c", configure(port=pump.port))
    assert ran.status == 76
    assert f"answer rejected: {sent.rule}: " in ran.stderr or f"; {sent.rule}: " in ran.stderr
    store = Store(tmp_path / "data" / "cache.sqlite3")
    assert list(store.query(0, 1 << 62)) == []
    store.flush()
    [missed] = store.database.missed(0, 1 << 62)
    assert missed.reason == "rejected"


def test_every_rule_has_a_planted_fault_and_every_fault_a_name_of_its_own():
    planted = {one.rule for one in IN_POLLS} | {one.rule for one in CSV_FAULTS}
    assert planted == set(RULES)
    names = [one.name for one in (*IN_POLLS, *SENT, *CSV_FAULTS)]
    assert len(set(names)) == len(names)
    assert len(names) >= 30


# Good data


def judged(
    directory: Path, profile: str, start_ms: int, days: float, step_s: int
) -> tuple[Report, float]:
    """Record a simulated time and validate it; return the seconds that took as well."""
    settings = configured(directory, interval_sec=step_s)
    stop_ms = start_ms + round(days * DAY_MS)
    recorded(settings, start_ms, stop_ms, step_s, profile)
    Store(settings.cache_path).flush()
    began = time.monotonic()
    report = stored.validate(settings, start_ms=start_ms, stop_ms=stop_ms, now_ms=stop_ms)
    return report, time.monotonic() - began


@pytest.mark.no_cover
def test_a_simulated_normal_week_raises_no_alarm(tmp_path):
    report, _ = judged(tmp_path, "msw6", ms("2026-11-16T07:00"), 7, 600)
    assert (report.findings, report.verdict, report.polls) == ((), "good", 1008)
    assert set(report.scores.values()) == {100}


@pytest.mark.no_cover
@pytest.mark.parametrize("day", sampled({"first": 0, "second": 1}, ["first"]))
def test_the_days_of_the_real_capture_raise_no_alarm(tmp_path, day):
    # At the times of the captured rows the simulator plays exactly what was captured. Both days in
    # one are in the sweep.
    report, _ = judged(tmp_path, "msw6", 1_648_716_112_000 + day * DAY_MS, 1, 60)
    assert (report.findings, report.verdict, report.polls) == ((), "good", 1440)


def test_the_hours_of_a_clock_change_raise_no_alarm(tmp_path):
    report, _ = judged(tmp_path, "msw6", ms("2026-10-25T00:00"), 0.25, 60)
    assert report.findings == ()


def test_sensors_that_are_not_fitted_are_listed_and_no_findings(tmp_path):
    report, _ = judged(tmp_path, "msw6", START_MS, 0.1, 300)
    assert "ID_WEB_Temperatur_TRL_ext" in report.not_fitted
    assert "ID_WEB_Temperatur_TVL" not in report.not_fitted
    assert "ID_WEB_Temperatur_TWE" not in report.not_fitted


def test_a_heat_pump_without_hot_water_and_source_sensors_is_good(tmp_path):
    without = {17: 750, 19: -500, 20: -500, 176: 0}
    polls = [changed(poll, without) for poll in good("msw6", 3, 30)]
    settings = configured(tmp_path)
    Store(settings.cache_path).merge(polls, ())
    report = stored.validate(settings, start_ms=START_MS, stop_ms=START_MS + 3 * HOUR_MS)
    assert report.findings == ()
    assert {"ID_WEB_Temperatur_TBW", "ID_WEB_Temperatur_TWE"} <= set(report.not_fitted)


@pytest.mark.parametrize("raw", [0, 50])
def test_set_points_of_heating_and_hot_water_that_are_off_all_summer_are_good(raw, tmp_path):
    off = dict.fromkeys((12, 18, 22, 25, 136), raw)
    off[18] = 0
    settings = configured(tmp_path, interval_sec=600)
    polls = [changed(poll, off) for poll in good("msw6", 24, 600)]
    Store(settings.cache_path).merge(polls, ())
    report = stored.validate(settings, start_ms=START_MS, stop_ms=START_MS + DAY_MS)
    assert report.findings == ()


@pytest.mark.parametrize("seconds", [30, 3600])
def test_an_interrupted_recording_is_no_sign_of_faulty_values(seconds, tmp_path):
    polls = [
        poll for n, poll in enumerate(good("msw6", 3, 30)) if not 100 <= n < 100 + seconds / 30
    ]
    settings = configured(tmp_path)
    Store(settings.cache_path).merge(polls, ())
    report = stored.validate(settings, start_ms=START_MS, stop_ms=START_MS + 3 * HOUR_MS)
    assert {finding.area for finding in report.findings} <= {"recording"}


# The interval


def test_nothing_stored_is_an_error_that_names_the_last_failure(tmp_path):
    settings = configured(tmp_path)
    with pytest.raises(NoDataError, match=r"^nothing is stored from 2025-11-22T13:00:00Z to "):
        stored.validate(settings, start_ms=START_MS, stop_ms=START_MS + HOUR_MS)
    planted = replace(IN_POLLS[0], missed={1: "timeout", 2: "refused"})
    Store(settings.cache_path).merge((), planted.misses())
    with pytest.raises(NoDataError, match="; 2 polls failed, the last one with refused: refused!"):
        stored.validate(settings, start_ms=START_MS, stop_ms=START_MS + HOUR_MS)


def test_what_waits_in_the_journal_is_validated_too(tmp_path):
    settings = configured(tmp_path)
    recorded(settings, START_MS, START_MS + HOUR_MS, 30)
    report = stored.validate(settings, start_ms=START_MS, stop_ms=START_MS + HOUR_MS)
    assert (report.polls, report.verdict) == (120, "good")
    assert report.coverage
    assert report.coverage.missing == 0


def test_the_interval_is_half_open(tmp_path):
    settings = configured(tmp_path, interval_sec=600)
    recorded(settings, START_MS, START_MS + HOUR_MS, 600)
    stop_ms = START_MS + HOUR_MS - 600_000
    report = stored.validate(settings, start_ms=START_MS + 1, stop_ms=stop_ms)
    assert report.polls == 4


def test_an_old_interval_is_not_stale(tmp_path):
    planted = next(one for one in IN_POLLS if one.rule == "stale")
    settings = configured(tmp_path)
    Store(settings.cache_path).merge(planted.polls(), ())
    report = stored.validate(
        settings, start_ms=START_MS, stop_ms=planted.stop_ms, now_ms=planted.stop_ms + DAY_MS
    )
    assert "stale" not in {finding.rule for finding in report.findings}
    assert "gaps-unexplained" in {finding.rule for finding in report.findings}


def test_an_interval_that_begins_before_the_recording_is_noted_and_no_fault(tmp_path):
    settings = configured(tmp_path, interval_sec=600)
    recorded(settings, START_MS, START_MS + DAY_MS, 600)
    for before_h, rules in ((0.5, []), (720, ["recording-began"])):
        start_ms = START_MS - round(before_h * HOUR_MS)
        report = stored.validate(settings, start_ms=start_ms, stop_ms=START_MS + DAY_MS)
        assert [finding.rule for finding in report.findings] == rules
        assert report.verdict == "good"


def test_a_poll_now_and_then_late_and_a_cron_line_for_each_minute_are_on_schedule(tmp_path):
    late_ms = [14_000 if number % 9 == 4 else number % 3 * 700 for number in range(360)]
    polls = [
        poll._replace(taken_ms=poll.taken_ms + late_ms[number], late_ms=late_ms[number])
        for number, poll in enumerate(good("msw6", 3, 30))
    ]
    settings = configured(tmp_path)
    Store(settings.cache_path).merge(polls, ())
    report = stored.validate(settings, start_ms=START_MS, stop_ms=START_MS + 3 * HOUR_MS)
    assert report.findings == ()
    assert report.coverage
    assert (report.coverage.missing, report.coverage.duplicates) == (0, 0)


def test_what_waits_in_the_journals_is_judged_from_there_and_nothing_is_written(tmp_path):
    settings = configured(tmp_path, interval_sec=600)
    recorded(settings, START_MS, START_MS + HOUR_MS, 600)
    store = Store(settings.cache_path)
    store.flush()
    recorded(settings, START_MS + HOUR_MS, START_MS + 2 * HOUR_MS, 600)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with locks.hold(store.lock_path, wait_s=1):
        report = stored.validate(settings, start_ms=START_MS, stop_ms=START_MS + 2 * HOUR_MS)
    assert (report.polls, report.findings, report.remark) == (12, (), None)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_polls_that_wait_and_are_in_the_database_as_well_are_judged_once(tmp_path):
    settings = configured(tmp_path, interval_sec=600)
    recorded(settings, START_MS, START_MS + HOUR_MS, 600)
    store = Store(settings.cache_path)
    store.flush()
    with store.writing() as db:
        db.execute("DELETE FROM journal")
    report = stored.validate(settings, start_ms=START_MS, stop_ms=START_MS + HOUR_MS)
    assert (report.polls, report.findings) == (6, ())


@pytest.mark.parametrize("backwards", [False, True])
def test_a_long_journal_is_judged_in_the_order_of_time(backwards, tmp_path):
    settings = configured(tmp_path, interval_sec=60)
    times = [START_MS + number * 60_000 for number in range(300)]
    store = Store(settings.cache_path)
    in_order = reversed(times) if backwards else times
    write_journals(store.path, (real(ts_ms, interval_s=60) for ts_ms in in_order))
    with locks.hold(store.lock_path, wait_s=1):
        report = stored.validate(settings, start_ms=START_MS, stop_ms=START_MS + 5 * HOUR_MS)
    assert (report.polls, report.findings) == (300, ())


@pytest.mark.slow
@pytest.mark.no_cover
def test_a_day_of_a_poll_every_30_seconds_takes_about_a_second(tmp_path):
    report, took_s = judged(tmp_path, "long", START_MS, 1, 30)
    assert (report.polls, report.findings) == (2880, ())
    assert took_s < 3


def test_progress_moves_towards_the_length_of_the_interval(tmp_path):
    settings = configured(tmp_path, interval_sec=600)
    recorded(settings, START_MS, START_MS + HOUR_MS, 600)
    reported: list[tuple[int, int]] = []
    stored.validate(
        settings,
        start_ms=START_MS,
        stop_ms=START_MS + HOUR_MS,
        progress=lambda done, total: reported.append((done, total)),
    )
    assert [done for done, _ in reported] == [n * 600_000 for n in range(6)]
    assert {total for _, total in reported} == {HOUR_MS}


def test_polls_of_a_few_registers_are_judged_without_a_crash(tmp_path):
    settings = configured(tmp_path)
    polls = [small(START_MS + n * 30_000, lengths=(n + 1, 1, 1)) for n in range(30)]
    Store(settings.cache_path).merge(polls, ())
    report = stored.validate(settings, start_ms=START_MS, stop_ms=START_MS + HOUR_MS)
    assert report.verdict == "problems"
    assert "few-values" in {finding.rule for finding in report.findings}


# Live


def live(port: int, directory: Path) -> Report:
    settings: Config = config.load(
        None,
        {},
        directory,
        {"host": "127.0.0.1", "port": port, "retries": 0, "cache_path": str(directory / "c" / "c")},
    )
    return stored.validate_live(settings, clock=Clock(lambda: NOW_S))


def test_a_healthy_heat_pump_is_good_and_nothing_is_stored(simulator, tmp_path):
    report = live(simulator.port, tmp_path)
    assert (report.verdict, report.polls, report.findings) == ("good", 1, ())
    assert not [path for path in (tmp_path / "c").iterdir() if path.suffix != ".lock"]


@pytest.mark.parametrize(
    ("rule", "values"),
    [
        ("range-impossible", {10: 2500}),
        ("no-value", {11: 32767}),
        ("clock-off", {134: 0}),
        ("model-code", {78: 500}),
        ("error", {95: NOW_S - 600, 100: 716}),
        ("error-passing", {95: NOW_S - 600, 100: 702}),
        ("outdoor-broken", {15: -50, 95: NOW_S - 600, 100: 711, 117: 3}),
        ("heat-quantities", {151: 5}),
    ],
)
def test_one_poll_shows_what_needs_no_history(rule, values, tmp_path):
    fault = Fault(change=lambda snapshot: changed(snapshot, values))
    with FaultyController(fault) as pump:
        report = live(pump.port, tmp_path)
    assert rule in {finding.rule for finding in report.findings}


def test_an_answer_that_would_be_rejected_is_an_error(tmp_path):
    with (
        FaultyController(Fault(change=SENT[0].change)) as pump,
        pytest.raises(ProtocolError, match="answer rejected: too-few-values: 10 calculations"),
    ):
        live(pump.port, tmp_path)


def test_it_waits_for_another_luxcli_that_talks_to_the_heat_pump(simulator, tmp_path):
    settings = configured(tmp_path, port=simulator.port)
    began = time.monotonic()
    with alone_with_device(settings), pytest.raises(LockHeldError):
        stored.validate_live(settings, device_wait_s=0.2)
    assert time.monotonic() - began >= 0.2
    assert simulator.requests == []


# The command


@pytest.fixture
def hour(configure, tmp_path):
    """The configuration of a database that holds the last hour."""
    path = configure(interval_sec=60)
    settings = config.load(path, {}, path.parent)
    now_ms = int(time.time()) * 1000
    recorded(settings, now_ms - HOUR_MS, now_ms + 1, 60)
    return path


def test_good_data_ends_with_0_and_says_so(hour, invoke):
    ran = invoke("validate", "-c", hour)
    assert (ran.status, ran.stderr) == (0, "")
    lines = ran.stdout.splitlines()
    assert lines[0] == "data\tscore\tfindings"
    assert lines[1] == "temperatures\t100\t"
    assert re.match(r"good: 6[01] polls from ", lines[-1])


def test_json_is_one_object_with_everything(hour, invoke):
    ran = invoke("validate", "--last", "90m", "--json", "-c", hour)
    found = json.loads(ran.stdout)
    assert (found["ok"], found["verdict"]) == (True, "good")
    assert 60 <= found["polls"] <= 61  # as the command's minute begins
    assert found["coverage"]["missing"] == 0
    assert found["scores"]["recording"] == 100
    assert found["findings"] == []
    assert "ID_WEB_Temperatur_TRL_ext" in found["not_fitted"]


def test_warnings_end_with_3_and_problems_with_65(invoke, configure):
    path = configure(interval_sec=30)
    settings = config.load(path, {}, path.parent)
    for rule, status in (("temperature-spike", 3), ("error", 65)):
        planted = next(one for one in IN_POLLS if one.rule == rule)
        settings.cache_path.unlink(missing_ok=True)
        Store.open(settings.cache_path, parents=True)
        Store(settings.cache_path).merge(planted.polls(), ())
        interval = ("--since", "2025-11-22T14:00", "--until", "2025-11-22T17:00:00+01:00")
        ran = invoke("validate", *interval, "-c", path)
        assert ran.status == status, ran.stderr
        [line] = [line for line in ran.stdout.splitlines() if f"\t{rule}\t" in line]
        cells = line.split("\t")
        assert cells[0] == RULES[rule].severity
        assert cells[2] == planted.sensor
        assert cells[-1].startswith("2025-11-22 14:")


def test_nothing_stored_ends_with_65_and_one_line(invoke, configure):
    ran = invoke("validate", "-c", configure())
    assert (ran.status, ran.stdout) == (65, "")
    assert ran.stderr.startswith("luxcli: nothing is stored from ")
    assert ran.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "options",
    [
        ("--live", "--csv", "x.csv"),
        ("--live", "--last", "7d"),
        ("--csv", "x.csv", "--since", "2026-01-01"),
        ("--last", "7d", "--until", "2026-01-01"),
        ("--since", "2026-01-02", "--until", "2026-01-01"),
        ("--since", "2999-01-01"),
        ("--since", "yesterday"),
        ("--until", "2026-01-01T25:00"),
        ("--last", "soon"),
        ("--last", "800000d"),
        ("--last", "9999999d"),
        ("--since", "0001-01-01T00:00:00"),
        ("--until", "0001-01-01T00:00:00"),
        ("--since", "9999-12-31T23:59:59-05:00"),
        ("--until", "9999-12-31T23:59:59+14:00"),
    ],
)
def test_options_that_contradict_or_cannot_be_read_are_wrong_usage(options, invoke, configure):
    ran = invoke("validate", *options, "-c", configure())
    assert (ran.status, ran.stdout) == (2, "")
    assert ran.stderr.startswith("luxcli: --")
    assert ran.stderr.count("\n") == 1


def test_a_local_day_is_from_midnight_to_midnight(invoke, configure):
    path = configure(interval_sec=600)
    settings = config.load(path, {}, path.parent)
    start_ms = ms("2025-10-26T00:00")
    recorded(settings, start_ms - HOUR_MS, start_ms + 26 * HOUR_MS, 600)
    ran = invoke("validate", "--since", "2025-10-26", "--until", "2025-10-26", "--json", "-c", path)
    found = json.loads(ran.stdout)
    assert (found["start"], found["stop"]) == ("2025-10-25T22:00:00Z", "2025-10-26T23:00:00Z")
    assert found["polls"] == 25 * 6


# The table


@pytest.mark.sweep
@pytest.mark.timeout(240)
def test_a_full_week_of_good_data_and_the_table_of_all_planted_faults(tmp_path):
    rows, missed = [], []
    profiles, step_s = (("msw6", "long"), 30) if sample() == 1 else (("long",), 120)
    for number, planted in enumerate(IN_POLLS[:: sample()]):
        report = validated(tmp_path / str(number), planted)
        found = hits(report, planted)
        if not found:
            missed.append(planted.name)
            continue
        others = sorted({one.rule for one in report.findings} - {planted.rule})
        rows.append(
            [planted.name, planted.rule, found[0].severity, found[0].found, ", ".join(others)]
        )
    weeks = [
        (profile, *judged(tmp_path / profile, profile, ms("2026-11-16T07:00"), 7, step_s))
        for profile in profiles
    ]
    captures = [
        judged(tmp_path / f"{profile}-{step_s}", profile, 1_648_716_112_000, 2, step_s)[0]
        for profile in profiles
        for step_s in (30, 60)
    ]
    alarms = sum(len(report.findings) for _, report, _ in weeks)
    alarms_capture = sum(len(report.findings) for report in captures)
    count = f"{len(rows)} of {len(IN_POLLS)}"
    text = (
        "Faults were planted into the polls of a database, and `luxcli validate` judged them."
        f" Faults found by their rule: {count}. False alarms in 48 h of a real capture (a poll per"
        f" minute as captured, and one every 30 s; both profiles): {alarms_capture}; in a simulated"
        f" normal week with a poll every 30 s, both profiles: {alarms}. To judge the"
        f" {weeks[0][1].polls} polls of the week took"
        f" {max(took_s for *_, took_s in weeks):.1f} s. The simulator sends another {len(SENT)}"
        f" faults, and luxcli rejects them before they are stored:"
        f" {', '.join(one.name for one in SENT)}. {len(CSV_FAULTS)} faults are planted into CSVs."
    )
    columns = ("planted fault", "rule", "severity", "found", "other rules that found it")
    record(15, "Planted faults in the data", text, columns, rows)
    assert missed == []
    assert (alarms, alarms_capture) == (0, 0)
