"""The check of produced CSVs: every planted fault is found, and what luxcli writes is good."""

import csv
import io
import json
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from luxcli.config.config import Config
from luxcli.errors import NoDataError, StorageError
from luxcli.rollup import rollup
from luxcli.store.store import Store
from luxcli.system import locks
from luxcli.validation import csv_file
from luxcli.validation.report import Report
from luxcli.validation.rules import AREAS
from tests.support.csv_faults import CSV_FAULTS, Rows, in_all_rows, in_column
from tests.support.scenario import BERLIN, HOUR_MS, configured, ms, record
from tests.support.validation_faults import START_MS

ROWS = 120
STYLES = [
    {},
    {"csv.delimiter": ";", "csv.decimal": ",", "csv.bom": True},
    {"csv.delimiter": "tab", "csv.headers": "name", "csv.enums": "code"},
    {"csv.sensors": "all", "csv.delimiter": "|"},
    {"csv.sensors": ["ID_WEB_Temperatur_TVL"]},
]


def an_hour(directory: Path, profile: str, **settings: object) -> None:
    """Write a CSV of an hour the way the roll-up does."""
    loaded = configured(directory, **settings)
    record(loaded, START_MS, START_MS + HOUR_MS, 30, profile)
    rollup.rollup(loaded, "daily", now_ms=START_MS + HOUR_MS, zone=BERLIN)


@pytest.fixture
def written(tmp_path, built) -> Callable[..., tuple[Config, Path]]:
    """Return the configuration and the CSV of an hour."""

    def write(profile: str = "msw6", **settings: object) -> tuple[Config, Path]:
        built(an_hour, tmp_path, profile=profile, **settings)
        loaded = configured(tmp_path, **settings)
        [path] = loaded.daily_dir.glob("*.csv")
        return loaded, path

    return write


def checked(settings: Config, path: Path) -> Report:
    return csv_file.check(settings, path, BERLIN)


def rules(report: Report) -> set[str]:
    return {finding.rule for finding in report.findings}


@pytest.mark.parametrize("fault", [pytest.param(one, id=one.name) for one in CSV_FAULTS])
def test_a_planted_fault_is_found_by_the_rule_that_should_find_it(fault, written):
    settings, path = written()
    rows = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"))))
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(fault.plant(rows))
    path.write_bytes(fault.spoil(text.getvalue().encode()))
    report = checked(settings, path)
    assert fault.rule in rules(report)
    found = next(finding for finding in report.findings if finding.rule == fault.rule)
    assert found.count >= 1
    if found.severity != "note":
        assert report.scores["recording"] < 100
        assert report.verdict != "good"


@pytest.mark.parametrize("profile", ["msw6", "long"])
@pytest.mark.parametrize("style", STYLES)
def test_what_a_rollup_writes_is_good_in_every_style(style, profile, written):
    settings, path = written(profile, **style)
    report = checked(settings, path)
    assert (report.findings, report.verdict, report.polls) == ((), "good", ROWS)
    assert (report.start_ms, report.stop_ms) == (
        START_MS,
        START_MS + HOUR_MS - 29_000,
    )


def test_a_style_that_is_no_longer_configured_is_recognised_in_the_file(written, tmp_path):
    settings, path = written(**STYLES[1])
    assert checked(configured(tmp_path), path).findings == ()
    assert settings.csv_delimiter == ";"


def test_a_file_saved_with_quotes_around_each_cell_is_read_as_before(written):
    settings, path = written(**STYLES[1])
    rows = csv.reader(io.StringIO(path.read_text(encoding="utf-8-sig")), delimiter=";")
    text = io.StringIO()
    csv.writer(text, delimiter=";", quoting=csv.QUOTE_ALL).writerows(rows)
    path.write_text(text.getvalue(), encoding="utf-8-sig", newline="")
    report = checked(settings, path)
    assert (report.findings, report.polls) == ((), ROWS)


def test_a_day_with_a_clock_change_is_good(tmp_path):
    settings = configured(tmp_path, interval_sec=600)
    start_ms = ms("2025-10-25T07:00")
    record(settings, start_ms, start_ms + 25 * HOUR_MS, 600)
    [result] = rollup.rollup_due(
        settings, "daily", now_ms=start_ms + 25 * HOUR_MS + 60_000, zone=BERLIN
    )
    assert result.path
    report = checked(settings, result.path)
    assert (report.findings, report.polls) == ((), 150)


def test_a_file_of_a_closed_day_is_compared_with_the_whole_day(tmp_path):
    settings = configured(tmp_path, interval_sec=600)
    start_ms = ms("2025-11-22T07:00")
    record(settings, start_ms, start_ms + 24 * HOUR_MS, 600)
    [result] = rollup.rollup_due(
        settings, "daily", now_ms=start_ms + 24 * HOUR_MS + 60_000, zone=BERLIN
    )
    assert result.path
    lines = result.path.read_text(encoding="utf-8").splitlines(keepends=True)
    result.path.write_text("".join(lines[:-20]), encoding="utf-8")
    report = checked(settings, result.path)
    [finding] = [finding for finding in report.findings if finding.rule == "csv-count"]
    assert finding.found == "124 rows, 144 polls in the database"


def test_a_database_that_holds_less_or_is_gone_is_no_fault_of_the_file(written):
    settings, path = written()
    with Store(settings.cache_path).writing() as db:
        db.execute("DELETE FROM poll WHERE ts_ms<?", (START_MS + HOUR_MS // 2,))
    assert checked(settings, path).findings == ()
    settings.cache_path.unlink()
    assert checked(settings, path).findings == ()
    assert not settings.cache_path.exists()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"\x1f\x8b\x08\x00\x00\x00", "not a CSV, it holds binary data"),
        (b"timestamp_utc,timestamp_local\n\xff\xfe,\xf0\n", "not a CSV in UTF-8"),
        (b"\xff" * 100, "not a CSV in UTF-8"),
    ],
)
def test_a_file_that_is_not_a_csv_gets_a_message_of_one_line(
    content, says, tmp_path, invoke, configure
):
    path = tmp_path / "x.csv"
    path.write_bytes(content)
    with pytest.raises(NoDataError, match=f"^{path}: {says}"):
        checked(configured(tmp_path), path)
    ran = invoke("validate", "--csv", path, "-c", configure())
    assert (ran.status, ran.stdout) == (65, "")
    assert ran.stderr.startswith(f"luxcli: {path}: {says}")
    assert ran.stderr.count("\n") == 1


def test_a_file_that_cannot_be_read_is_a_failure_of_storage(tmp_path, invoke, configure):
    for path in (tmp_path / "missing.csv", tmp_path):
        with pytest.raises(StorageError, match=f"^{path}: cannot be read: "):
            checked(configured(tmp_path), path)
    ran = invoke("validate", "--csv", tmp_path / "missing.csv", "-c", configure())
    assert ran.status == 74
    assert ran.stderr.endswith("missing.csv: cannot be read: No such file or directory\n")


def rewritten(path: Path, plant: Callable[[Rows], Rows]) -> None:
    rows = plant(list(csv.reader(io.StringIO(path.read_text(encoding="utf-8")))))
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    path.write_text(text.getvalue(), encoding="utf-8")


def zeros(rows: Rows) -> Rows:
    numbers = re.compile(r"-?[0-9]+(\.[0-9]+)?")
    return [
        rows[0],
        *(
            [*row[:2], *(re.sub("[0-9]", "0", x) if numbers.fullmatch(x) else x for x in row[2:])]
            for row in rows[1:]
        ),
    ]


def from_row(first: int, name: str, change: Callable[[int], object]) -> Callable[[Rows], Rows]:
    """Change the whole numbers of a column from a row on."""

    def plant(rows: Rows) -> Rows:
        column = rows[0].index(name)
        for row in rows[first:]:
            row[column] = str(change(int(row[column])))
        return rows

    return plant


RUN_TIME = "ID_WEB_Zaehler_BetrZeitWP"


@pytest.mark.parametrize(
    ("plant", "rule", "area", "verdict"),
    [
        (from_row(60, RUN_TIME, lambda old: old - 50_000), "counter-decrease", 2, "problems"),
        (from_row(60, RUN_TIME, lambda old: old + 50_000), "counter-jump", 2, "problems"),
        (from_row(60, RUN_TIME, lambda _old: 0), "counter-reset", 2, "warnings"),
        (in_column("ID_WEB_Temperatur_TA", "40.0"), "temperature-spike", 0, "warnings"),
        (in_all_rows("ID_WEB_Temperatur_TVL", "999.9"), "range-impossible", 0, "problems"),
        (in_all_rows("ID_WEB_Temperatur_TVL", "4.9"), "range", 0, "warnings"),
        (in_all_rows("ID_WEB_LIN_HD", "70.00"), "range-impossible", 1, "problems"),
        (zeros, "frozen", 5, "problems"),
        (zeros, "range", 0, "problems"),
        (
            lambda rows: [rows[0], *([*row[:2], *rows[1][2:]] for row in rows[1:])],
            "frozen",
            5,
            "problems",
        ),
    ],
)
def test_numbers_of_a_csv_are_judged_like_those_of_polls(plant, rule, area, verdict, written):
    settings, path = written()
    rewritten(path, plant)
    report = checked(settings, path)
    assert rule in rules(report)
    assert report.verdict == verdict
    points = report.scores[tuple(AREAS)[area]]
    assert points is not None
    assert points < 100


def test_numbers_with_a_decimal_comma_are_judged_as_well(written):
    settings, path = written(**STYLES[1])
    text = path.read_text(encoding="utf-8")
    path.write_text(re.sub(r";[0-9]{2},[0-9];", ";999,9;", text), encoding="utf-8")
    assert "range-impossible" in rules(checked(settings, path))


def test_an_outdoor_temperature_that_stands_still_in_a_daily_csv_is_found(tmp_path):
    settings = configured(tmp_path, interval_sec=600, **{"csv.sensors": ["ID_WEB_Temperatur_TA"]})
    record(settings, START_MS, START_MS + 24 * HOUR_MS, 600)
    result = rollup.rollup(settings, "daily", now_ms=START_MS + 24 * HOUR_MS, zone=BERLIN)
    assert result.path
    assert rules(checked(settings, result.path)) == set()
    rewritten(result.path, in_all_rows("ID_WEB_Temperatur_TA", "0.1"))
    assert rules(checked(settings, result.path)) == {"stuck"}


def test_areas_that_a_csv_says_nothing_about_have_no_score(written, invoke, configure):
    settings, path = written(**STYLES[4])
    report = checked(settings, path)
    judged = {area for area, points in report.scores.items() if points is not None}
    assert judged == {"temperatures", "recording"}
    ran = invoke(
        "validate", "--csv", path, "-c", configure(**{"csv.sensors": STYLES[4]["csv.sensors"]})
    )
    assert ran.stdout.splitlines()[1:4] == [
        "temperatures\t100\t",
        "pressures and refrigerant\t-\t",
        "counters and run times\t-\t",
    ]


def test_a_csv_is_read_from_a_pipe_as_from_a_file(written, tmp_path):
    settings, path = written()
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(path.read_bytes()))
    writer.start()
    report = checked(settings, pipe)
    writer.join(timeout=5)
    assert (report.findings, report.polls) == ((), ROWS)


def test_a_csv_is_judged_without_a_database_that_can_be_used(written):
    settings, path = written()
    store = Store(settings.cache_path)
    store.lock_path.unlink()
    store.lock_path.mkdir()
    assert (checked(settings, path).findings, checked(settings, path).remark) == ((), None)
    settings.cache_path.write_bytes(b"no SQLite file" * 1000)
    report = checked(settings, path)
    assert report.findings == ()
    assert report.remark
    assert report.remark.startswith(f"not compared with the database: {settings.cache_path}: ")


def test_polls_that_wait_in_the_journal_are_compared_with_the_rows(written):
    settings, path = written()
    record(settings, START_MS + 15_000, START_MS + HOUR_MS, 60)
    with locks.hold(Store(settings.cache_path).lock_path, wait_s=1):
        report = checked(settings, path)
    [finding] = report.findings
    assert (finding.rule, finding.found) == ("csv-count", "120 rows, 180 polls in the database")


def test_the_command_prints_findings_and_json(written, invoke, configure):
    _, path = written()
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(lines[:1]), encoding="utf-8")
    ran = invoke("validate", "--csv", path, "-c", configure())
    assert ran.status == 65
    assert "problem\tcsv-no-rows\t\ta header and nothing else\trows\t1\t\n" in ran.stdout
    assert ran.stdout.splitlines()[-1] == f"problems: {path}, 0 rows: 1 problem"
    ran = invoke("validate", "--csv", path, "--json", "-c", configure())
    found = json.loads(ran.stdout)
    assert (ran.status, found["ok"], found["verdict"]) == (65, False, "problems")
    assert (found["start"], found["stop"]) == (None, None)
    assert [one["rule"] for one in found["findings"]] == ["csv-no-rows"]
    assert "coverage" not in found
