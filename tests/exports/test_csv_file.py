"""Both CSVs from realistic data in a real database: structure, content, clock changes, formats."""

import csv
import os
import sqlite3
import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pandas as pd
import pytest

from luxcli.errors import StorageError
from luxcli.exports import csv_file
from luxcli.model import Chunk
from luxcli.registers import catalogue, decoding
from luxcli.rollup import rollup
from luxcli.store.store import Store
from luxcli.system.clock import Clock
from tests.support.builders import small
from tests.support.scenario import BERLIN, HOUR_MS, configured, ms, record

DAY = date(2026, 11, 20)


def rows_of(path: Path, delimiter: str = ",") -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file, delimiter=delimiter))


def daily(settings, day=DAY, now="2026-12-31T12:00"):
    return rollup.rollup(settings, "daily", now_ms=ms(now), zone=BERLIN, ending=day)


def two_days(directory: Path) -> None:
    settings = configured(directory)
    record(settings, ms("2026-11-18T07:00"), ms("2026-11-20T07:00"))
    Store(settings.cache_path).flush()


@pytest.fixture
def recorded(tmp_path, built):
    """Two days before 2026-11-20 07:00, a poll every ten minutes."""
    built(two_days, tmp_path)
    return configured(tmp_path)


def test_a_daily_csv_has_one_row_per_poll_of_its_period_in_time_order(recorded):
    result = daily(recorded)
    rows = rows_of(result.path)
    assert len(rows) == result.rows == 144
    times = [row["timestamp_utc"] for row in rows]
    assert times[0] == "2026-11-19T06:00:00Z"
    assert times[-1] == "2026-11-20T05:50:00Z"
    assert times == sorted(set(times))
    assert result.path.name == "2026-11-20_daily.csv"


def test_a_weekly_csv_covers_seven_local_days(tmp_path):
    settings = configured(tmp_path)
    record(settings, ms("2026-11-15T06:00"), ms("2026-11-23T08:00"), step_s=3600)
    result = rollup.rollup(
        settings, "weekly", now_ms=ms("2026-11-23T09:00"), zone=BERLIN, ending=date(2026, 11, 23)
    )
    rows = rows_of(result.path)
    assert result.path == tmp_path / "reports" / "weekly" / "2026-11-23_weekly.csv"
    assert len(rows) == 7 * 24
    assert rows[0]["timestamp_local"] == "2026-11-16T07:00:00+01:00"
    assert rows[-1]["timestamp_local"] == "2026-11-23T06:00:00+01:00"


def test_every_cell_equals_what_the_controller_sent(recorded):
    result = daily(recorded)
    polls = {
        snapshot.taken_ms: snapshot
        for snapshot in Store(recorded.cache_path).query(
            result.period.start_ms, result.period.stop_ms
        )
    }
    compared = 0
    for row in rows_of(result.path):
        ts_ms = int(pd.Timestamp(row["timestamp_utc"]).timestamp() * 1000)
        for reading in decoding.readings(polls[ts_ms], "calculations"):
            if reading.id not in row:
                continue  # the single characters of the firmware text
            value = reading.value
            if value is None:
                assert row[reading.id] == ""
            elif isinstance(value, bool):
                assert row[reading.id] == str(int(value))
            elif isinstance(value, float):
                assert float(row[reading.id]) == value
            else:
                assert row[reading.id] == str(value)
            compared += 1
    assert compared == 144 * (232 - 9)


def test_the_columns_are_the_same_whatever_the_firmware_sent(tmp_path):
    headers = []
    for profile in ("msw6", "long"):
        settings = configured(tmp_path / profile)
        (tmp_path / profile).mkdir()
        record(settings, ms("2026-11-19T07:00"), ms("2026-11-19T09:00"), profile=profile)
        result = daily(settings)
        headers.append(result.path.read_text().splitlines()[0])
    assert headers[0] == headers[1]
    names = headers[0].split(",")
    assert names[:2] == ["timestamp_utc", "timestamp_local"]
    assert names[2:] == [r.id for r in catalogue.select(["calculations"])]


def test_a_register_that_the_firmware_lacks_is_an_empty_cell(recorded):
    rows = rows_of(daily(recorded).path)
    assert {row["Heat_Output"] for row in rows} == {""}
    assert {row["ID_WEB_Temperatur_TSK"] for row in rows} == {"0.0"}  # sent as 0, so it stays 0


def test_a_change_of_firmware_within_the_day_leaves_the_earlier_cells_empty(tmp_path):
    settings = configured(tmp_path)
    record(settings, ms("2026-11-19T07:00"), ms("2026-11-19T19:00"), profile="msw6")
    record(settings, ms("2026-11-19T19:00"), ms("2026-11-20T07:00"), profile="long")
    rows = rows_of(daily(settings).path)
    assert [row["Heat_Output"] == "" for row in rows] == [True] * 72 + [False] * 72
    assert [row["ID_WEB_SoftStand"] for row in rows] == ["V3.78"] * 72 + ["V3.90.1"] * 72


@pytest.mark.slow
@pytest.mark.no_cover
def test_a_full_day_at_thirty_seconds_has_2880_complete_rows(tmp_path):
    settings = configured(tmp_path)
    record(settings, ms("2026-11-19T07:00"), ms("2026-11-20T07:00"), step_s=30)
    frame = pd.read_csv(daily(settings).path, parse_dates=["timestamp_utc"])
    assert len(frame) == 2880
    assert frame["ID_WEB_Temperatur_TVL"].notna().all()
    assert set(frame["timestamp_utc"].diff().dropna().dt.total_seconds()) == {30.0}


@pytest.mark.parametrize(
    ("day", "hours", "offsets"),
    [
        (date(2026, 3, 29), 23, ["+01:00", "+02:00"]),
        (date(2026, 10, 25), 25, ["+02:00", "+01:00"]),
    ],
)
def test_pandas_reads_a_day_with_a_clock_change_as_datetimes(tmp_path, day, hours, offsets):
    settings = configured(tmp_path)
    stop = ms(f"{day}T07:00")
    record(settings, stop - 30 * HOUR_MS, stop + HOUR_MS)
    result = daily(settings, day)
    frame = pd.read_csv(result.path, parse_dates=["timestamp_utc"])
    assert isinstance(frame["timestamp_utc"].dtype, pd.DatetimeTZDtype)
    assert len(frame) == hours * 6
    assert set(frame["timestamp_utc"].diff().dropna().dt.total_seconds()) == {600.0}
    seen = frame["timestamp_local"].str[-6:].drop_duplicates().tolist()
    assert seen == offsets
    assert frame["timestamp_local"].is_unique


def test_the_same_input_gives_the_same_bytes(recorded):
    first = daily(recorded).path.read_bytes()
    assert daily(recorded).path.read_bytes() == first


def test_columns_can_be_chosen_by_group_id_and_pattern(recorded):
    settings = configured(
        recorded.cache_path.parent,
        **{"csv.sensors": ["ID_WEB_Temperatur_T[AV]*", "ID_Waermemenge_Seit", "ID_WEB_SoftStand"]},
    )
    rows = rows_of(daily(settings).path)
    assert list(rows[0]) == [
        "timestamp_utc",
        "timestamp_local",
        "ID_WEB_Temperatur_TVL",
        "ID_WEB_Temperatur_TA",
        "ID_WEB_SoftStand",
        "ID_Waermemenge_Seit",
    ]
    assert rows[0]["ID_WEB_SoftStand"] == "V3.78"
    energy = [float(row["ID_Waermemenge_Seit"]) for row in rows]
    assert energy == sorted(energy)
    assert energy[-1] > energy[0] > 100_000


def test_all_groups_together_hold_every_register(recorded):
    settings = configured(recorded.cache_path.parent, **{"csv.sensors": ["all"]})
    result = daily(settings)
    rows = rows_of(result.path)
    assert result.columns == len(rows[0]) == 2 + 275 - 9 + 1200 + 398
    snapshot = next(Store(settings.cache_path).query(result.period.start_ms, ms("2027-01-01")))
    for index, raw in enumerate(snapshot.visibilities):
        assert rows[0][catalogue.register("visibilities", index).id] == str(raw)


def test_german_spreadsheets_get_semicolons_decimal_commas_and_a_byte_order_mark(recorded):
    settings = configured(
        recorded.cache_path.parent,
        **{"csv.delimiter": ";", "csv.decimal": ",", "csv.bom": True, "csv.headers": "name"},
    )
    path = daily(settings).path
    assert path.read_bytes().startswith(b"\xef\xbb\xbftimestamp_utc;timestamp_local;")
    row = rows_of(path, ";")[0]
    assert row["Flow temperature (°C)"].replace(",", ".", 1).replace(".", "", 1).isdigit()
    assert "," in row["Flow temperature (°C)"]
    frame = pd.read_csv(path, sep=";", decimal=",", encoding="utf-8-sig")
    assert frame["Flow temperature (°C)"].dtype == float


def test_enumerations_are_labels_or_codes_as_configured(recorded):
    assert {row["ID_WEB_Code_WP_akt"] for row in rows_of(daily(recorded).path)} == {"MSW 6"}
    settings = configured(recorded.cache_path.parent, **{"csv.enums": "code"})
    assert {row["ID_WEB_Code_WP_akt"] for row in rows_of(daily(settings).path)} == {"58"}


def test_an_unknown_code_is_kept_as_a_number(tmp_path):
    settings = configured(tmp_path)
    store = Store(settings.cache_path)
    [ts_ms] = record(settings, ms("2026-11-19T08:00"), ms("2026-11-19T08:01"))
    [snapshot] = store.query(ts_ms, ts_ms + 1)
    odd = list(snapshot.calculations)
    odd[78] = 4711
    store.add(
        ts_ms + 30_000,
        type(snapshot)(
            ts_ms + 30_000, 1, 1, tuple(odd), snapshot.parameters, snapshot.visibilities
        ),
    )
    assert [row["ID_WEB_Code_WP_akt"] for row in rows_of(daily(settings).path)] == ["MSW 6", "4711"]


SETTINGS = {
    1059: "ID_Waermemenge_ZWE",
    223: "ID_Einst_SuHkrW0_zeit_0_0",
    224: "ID_Einst_SuHkrW0_zeit_0_1",
    1093: "ID_Einst_SilenceTimer_0",
    1045: "ID_Einst_P155_DHW_Freq",
    1020: "ID_Einst_WW_Nachheizung_max",
    867: "ID_Einst_Effizienzpumpe_Nominal_akt",
}


def polled_settings(directory: Path, firmwares: list[str], **options: object) -> list[list[str]]:
    """Return the cells of `SETTINGS` in a CSV of one poll for each firmware."""
    settings = configured(directory, **{"csv.sensors": list(SETTINGS.values())}, **options)
    raw = dict.fromkeys(SETTINGS, 123)
    raw |= {223: 43_800, 224: 86_400, 1093: 1320 << 16 | 360, 1045: 0, 1020: 8, 867: 450}
    polls = [
        small(
            ms("2026-11-19T08:00") + 30_000 * n,
            dict(enumerate(text.encode(), 81)),
            raw,
            lengths=(267, 1143, 366),
        )
        for n, text in enumerate(firmwares)
    ]
    Store(settings.cache_path).merge(polls, [])
    delimiter = str(options.get("csv.delimiter", ","))
    rows = rows_of(daily(settings).path, delimiter)
    return [[row[name] for name in SETTINGS.values()] for row in rows]


def test_settings_are_cells_as_people_write_them(tmp_path):
    [cells] = polled_settings(tmp_path, ["V3.88"])
    assert cells == ["12.3", "12:10", "24:00", "06:00-22:00", "automatic", "5.0", "450"]


def test_a_decimal_comma_and_codes_reach_settings_as_well(tmp_path):
    german = {"csv.delimiter": ";", "csv.decimal": ",", "csv.enums": "code"}
    [cells] = polled_settings(tmp_path, ["V3.88"], **german)
    assert cells == ["12,3", "12:10", "24:00", "06:00-22:00", "0", "5,0", "450"]


def test_the_firmware_of_each_poll_decides_the_unit_of_the_element_also_in_one_file(tmp_path):
    found = polled_settings(tmp_path, ["V2.88", "V2.88", "V3.88", "V4.00", "V1.88"])
    assert [cells[0] for cells in found] == ["1.23", "1.23", "12.3", "123", "1.23"]
    assert {cells[5] for cells in found} == {"5.0"}


def test_lines_end_with_a_line_feed_and_nothing_else(recorded):
    data = daily(recorded).path.read_bytes()
    assert b"\r" not in data
    assert data.endswith(b"\n")
    assert data.count(b"\n") == 145


def test_a_failing_write_is_tried_once_more_and_keeps_an_existing_file(recorded):
    path = daily(recorded).path
    good = path.read_bytes()
    waits: list[float] = []
    blocker = path.with_name(csv_file.TEMPORARY)
    blocker.mkdir()  # the temporary file cannot be made while this is in the way

    def make_room(seconds: float) -> None:
        waits.append(seconds)
        blocker.rmdir()

    path.write_bytes(good)
    result = rollup.rollup(
        recorded,
        "daily",
        now_ms=ms("2026-12-31T12:00"),
        zone=BERLIN,
        ending=DAY,
        clock=Clock(sleep=make_room),
    )
    assert result.rows == 144
    assert waits == [1.0]
    assert path.read_bytes() == good


def test_a_write_that_fails_twice_is_an_error_and_leaves_the_existing_file(recorded):
    path = daily(recorded).path
    good = path.read_bytes()
    path.with_name(csv_file.TEMPORARY).mkdir()
    with pytest.raises(StorageError, match=r"2026-11-20_daily\.csv: cannot be written"):
        rollup.rollup(
            recorded,
            "daily",
            now_ms=ms("2026-12-31T12:00"),
            zone=BERLIN,
            ending=DAY,
            clock=Clock(sleep=lambda _s: None),
        )
    assert path.read_bytes() == good
    assert set(os.listdir(path.parent)) == {csv_file.TEMPORARY, path.name}


def test_a_roll_up_killed_while_writing_leaves_no_file_under_the_final_name(tmp_path):
    settings = configured(tmp_path, **{"csv.sensors": ["all"]})
    record(settings, ms("2026-11-19T07:00"), ms("2026-11-20T07:00"), step_s=120)
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from tests.support.scenario import configured, ms, BERLIN\n"
        "from luxcli.rollup import rollup\n"
        "settings = configured(Path(sys.argv[1]), **{'csv.sensors': ['all']})\n"
        "print('go', flush=True)\n"
        "rollup.rollup(settings, 'daily', now_ms=ms('2026-11-20T07:00'), zone=BERLIN)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "go\n"
        directory = tmp_path / "reports" / "daily"
        while process.poll() is None and not list(directory.glob(".*.tmp")):
            pass
        process.kill()
    assert not list(directory.glob("2*.csv"))
    result = rollup.rollup(settings, "daily", now_ms=ms("2026-11-20T07:00"), zone=BERLIN)
    assert result.rows == 720
    assert [path.name for path in directory.iterdir()] == ["2026-11-20_daily.csv"]


@pytest.mark.slow
@pytest.mark.no_cover
def test_the_memory_of_a_roll_up_does_not_grow_with_its_length(tmp_path):
    code = (
        "import sys, resource\n"
        "from pathlib import Path\n"
        "from tests.support.scenario import configured, ms, BERLIN\n"
        "from luxcli.rollup import rollup\n"
        "settings = configured(Path(sys.argv[1]))\n"
        "rollup.rollup(settings, sys.argv[2], now_ms=ms('2026-11-20T07:00'), zone=BERLIN)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )
    settings = configured(tmp_path)
    record(settings, ms("2026-11-13T07:00"), ms("2026-11-20T07:00"), step_s=400)
    peak = {}
    for kind in ("daily", "weekly"):
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path), kind],
            capture_output=True,
            text=True,
            check=True,
        )
        peak[kind] = int(done.stdout)
    assert peak["weekly"] < peak["daily"] + 12_000  # kB


def test_a_poll_damaged_in_the_database_is_left_out_and_reported(recorded):
    good = rows_of(daily(recorded).path)
    with sqlite3.connect(recorded.cache_path) as db:
        [ts_ms] = db.execute(
            "SELECT ts_ms FROM poll ORDER BY ts_ms DESC LIMIT 1 OFFSET 9"
        ).fetchone()
        db.execute("UPDATE poll SET c10 = c10 + 1 WHERE ts_ms = ?", (ts_ms,))
    db.close()
    result = daily(recorded)
    assert (result.damaged, result.rows) == (1, 143)
    assert rows_of(result.path) == [
        row for row in good if pd.Timestamp(row["timestamp_utc"]).timestamp() * 1000 != ts_ms
    ]


@pytest.mark.parametrize(
    "zone", ["Europe/Berlin", "Asia/Kathmandu", "Australia/Lord_Howe", "America/St_Johns", "UTC"]
)
def test_times_are_those_of_the_zone_to_the_second_through_clock_changes(tmp_path, zone):
    place = ZoneInfo(zone)
    changes = [ms("2026-03-29T03:00"), ms("2026-04-04T17:00"), ms("2026-10-25T02:00"), 0]
    times = [moment + second * 1000 for moment in changes for second in range(-4000, 4000, 7)]
    times = sorted({time for time in times if time > 0})
    chunk = Chunk((), {}, [(time, 90, 1, 0) for time in times])
    csv_file.write(tmp_path / "x.csv", (), [chunk], place, csv_file.Style())
    _head, *lines = (tmp_path / "x.csv").read_text(encoding="ascii").splitlines()
    for time, line in zip(times, lines, strict=True):
        moment = datetime.fromtimestamp(time // 1000, UTC)
        assert line == f"{moment:%Y-%m-%dT%H:%M:%SZ},{moment.astimezone(place).isoformat()}"
