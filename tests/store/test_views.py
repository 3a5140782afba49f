"""What people and dashboards read with plain SQL: the same numbers that luxcli itself decodes."""

import contextlib
import json
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

import luxcli
from luxcli.model import GROUPS, Snapshot
from luxcli.registers import catalogue, decoding
from luxcli.store import journal
from luxcli.store.store import Store
from tests.support.builders import START_MS, real, reals, small, write_journals

DAY_MS = 86_400_000
NOT_NUMBERS = ("text", "character", "address")


def store_at(directory: Path, *polls: Snapshot) -> Store:
    """Return a store whose database holds these polls."""
    store = Store(directory / "cache.sqlite3", flush_polls=1000)
    write_journals(store.path, polls)
    store.flush()
    return store


@contextlib.contextmanager
def opened(store: Store) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(store.path, isolation_level=None)) as db:
        db.row_factory = sqlite3.Row
        yield db


def numbers(poll: Snapshot) -> dict[str, float | None]:
    """Return what luxcli makes of the calculations of a poll, as far as it is a number.

    Without switches that are neither on nor off, which have a test of their own.
    """
    registers = [catalogue.register("calculations", n) for n in range(len(poll.calculations))]
    return {
        register.id: decoding.number(register, raw)
        for register, raw in zip(registers, poll.calculations, strict=True)
        if register.kind not in NOT_NUMBERS and (register.kind != "switch" or raw in (0, 1))
    }


def readings(store: Store) -> list[dict[str, object]]:
    with opened(store) as db:
        return [dict(row) for row in db.execute("SELECT * FROM reading ORDER BY ts_ms")]


POLLS = [
    *reals(40, step_ms=1_807_000),
    *reals(40, "long", start_ms=START_MS + DAY_MS, step_ms=1_807_000),
]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Two days, the second with newer firmware."""
    return store_at(tmp_path_factory.mktemp("views"), *POLLS)


@pytest.fixture(scope="module")
def rows(store):
    return readings(store)


# reading


def test_every_number_is_the_one_that_luxcli_decodes(rows):
    assert len(rows) == len(POLLS)
    for row, poll in zip(rows, POLLS, strict=True):
        expected = numbers(poll)
        assert {id_: row[id_] for id_ in expected} == expected


def test_a_register_that_the_firmware_did_not_have_is_null(rows):
    expected = numbers(POLLS[-1])
    newer = [catalogue.register("calculations", index).id for index in range(232, 275)]
    assert all(row[id_] is None for row in rows[:40] for id_ in newer)
    assert [rows[-1][id_] for id_ in newer] == [expected[id_] for id_ in newer]
    assert sum(expected[id_] is not None for id_ in newer) > 40


def test_each_row_has_its_time_in_seconds_milliseconds_and_iso_8601(rows):
    for row, poll in zip(rows, POLLS, strict=True):
        assert row["ts_ms"] == poll.taken_ms
        assert row["ts"] == poll.taken_ms // 1000
        assert row["time"] == datetime.fromtimestamp(row["ts"], UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_the_columns_are_the_ids_in_the_order_of_the_registers(rows):
    ids = [catalogue.register("calculations", index).id for index in range(275)]
    assert [name for name in rows[0] if name not in ("ts", "time", "ts_ms", "marks")] == ids


def test_the_firmware_is_a_text(rows):
    name = catalogue.register("calculations", 81).id
    assert [row[name] for row in rows] == ["V3.78"] * 40 + ["V3.90.1"] * 40
    assert [row[name] for row in rows] == [decoding.firmware(p.calculations) for p in POLLS]


def test_addresses_are_texts(rows):
    found = 0
    for index, raw in enumerate(POLLS[0].calculations):
        register = catalogue.register("calculations", index)
        if register.kind == "address":
            assert rows[0][register.id] == decoding.value(register, raw)
            found += 1
    assert found == 4


def test_a_sensor_is_selected_by_its_id_between_two_times(store):
    with opened(store) as db:
        found = db.execute(
            "SELECT ts, ID_WEB_Temperatur_TVL FROM reading WHERE ts_ms >= ? AND ts_ms < ?",
            (POLLS[3].taken_ms, POLLS[6].taken_ms),
        ).fetchall()
    assert [tuple(row) for row in found] == [
        (poll.taken_ms // 1000, poll.calculations[10] / 10) for poll in POLLS[3:6]
    ]


EXTREMES = (0, 1, 2, -1, -(2**31), 2**31 - 1, 255, 1_800_000_000)


@pytest.fixture(scope="module")
def extremes(tmp_path_factory):
    """Polls with extremes, negatives and unknown codes in every register, and their rows."""
    polls = [
        Snapshot(
            *(START_MS + n, 9, 1, tuple(EXTREMES[(n + index) % 8] for index in range(275))),
            *((1,), (1,)),
        )
        for n in range(8)
    ]
    return polls, readings(store_at(tmp_path_factory.mktemp("extremes"), *polls))


def misread(extremes, kinds: set[str]) -> set[tuple[str, int, object]]:
    """Return id, raw value and value of all readings that luxcli decodes otherwise."""
    return {
        (register.id, raw, row[register.id])
        for poll, row in zip(*extremes, strict=True)
        for index, raw in enumerate(poll.calculations)
        if (register := catalogue.register("calculations", index)).kind in kinds
        and row[register.id] != decoding.number(register, raw)
    }


def test_any_integer_is_decoded_as_luxcli_does(extremes):
    kinds = {register.kind for register in catalogue.catalogue()}
    assert misread(extremes, kinds - {*NOT_NUMBERS, "switch"}) == set()


def test_a_switch_is_on_when_luxcli_says_so(extremes):
    """The CSV writes 1 for whatever is not 0."""
    assert misread(extremes, {"switch"}) == set()


@pytest.mark.parametrize(
    "text", ["V3.90.1", "V1.2\0\0\0old", "\0\0\0", "0123456789", "V1\0\0\0\0\0\0\0\0"], ids=ascii
)
def test_the_firmware_reads_as_luxcli_reads_it(tmp_path, text):
    codes = dict(enumerate(map(ord, text.ljust(10, "\0")), start=81))
    poll = small(START_MS, codes)
    (row,) = readings(store_at(tmp_path, poll))
    assert row[catalogue.register("calculations", 81).id] == decoding.firmware(poll.calculations)


@pytest.mark.parametrize("length", [1, 81, 83, 95, 116, 227])
def test_the_view_fits_whatever_length_the_block_has(tmp_path, length):
    polls = [small(START_MS + n, {0: n}, lengths=(length, 1, 1)) for n in range(3)]
    rows = readings(store_at(tmp_path, *polls))
    for row, poll in zip(rows, polls, strict=True):
        expected = numbers(poll)
        assert {id_: row[id_] for id_ in expected} == expected
        assert len(row) == 4 + length


# reading_long


def test_the_long_form_holds_the_same_values_as_the_wide_one(store, rows):
    with opened(store) as db:
        found = {
            (row["ts_ms"], row["id"]): row["value"]
            for row in db.execute("SELECT ts, id, value, ts_ms FROM reading_long")
        }
    assert found == {
        (row["ts_ms"], id_): value
        for row in rows
        for id_, value in row.items()
        if id_ not in ("ts", "time", "ts_ms", "marks")
    }


def test_the_long_form_is_filtered_by_id_and_time(store):
    with opened(store) as db:
        found = db.execute(
            "SELECT ts, value FROM reading_long WHERE id IN ('ID_WEB_Temperatur_TVL')"
            " AND ts BETWEEN ? AND ? ORDER BY ts",
            (POLLS[3].taken_ms // 1000, POLLS[5].taken_ms // 1000),
        ).fetchall()
    assert [tuple(row) for row in found] == [
        (poll.taken_ms // 1000, poll.calculations[10] / 10) for poll in POLLS[3:6]
    ]


@pytest.mark.parametrize("length", [401, 801, 1300, 1510, 1990])
def test_both_forms_work_with_more_registers_than_sqlite_takes_in_one_union(tmp_path, length):
    polls = [
        small(START_MS + n, {0: n, length - 1: n, 450: n}, lengths=(length, 2, 2)) for n in range(3)
    ]
    store = store_at(tmp_path, *polls)
    assert list(store.query(0, 1 << 60)) == polls
    rows = readings(store)
    with opened(store) as db:
        long = list(db.execute("SELECT ts_ms, id, value FROM reading_long"))
    assert len(long) == 3 * length
    for row, poll in zip(rows, polls, strict=True):
        expected = numbers(poll)
        assert {id_: row[id_] for id_ in expected} == expected
        mine = {id_: value for ts_ms, id_, value in long if ts_ms == poll.taken_ms}
        assert {id_: mine[id_] for id_ in expected} == expected


def test_more_calculations_than_a_row_can_show_are_there_in_the_long_form(tmp_path):
    """The client accepts blocks of up to 10,000; SQLite, results of up to 2,000 columns."""
    polls = [small(START_MS + n, {0: n, 2400: n}, lengths=(2500, 2, 2)) for n in range(3)]
    store = store_at(tmp_path, *polls)
    assert list(store.query(0, 1 << 60)) == polls
    with opened(store) as db:
        found = db.execute(
            "SELECT value FROM reading_long WHERE id='Unknown_Calculation_2400' ORDER BY ts_ms"
        )
        assert [row["value"] for row in found] == [0, 1, 2]


# Settings


def test_the_settings_in_force_are_those_of_the_last_poll(store):
    last = POLLS[-1]
    with opened(store) as db:
        found = {row["id"]: row for row in db.execute("SELECT * FROM setting_now")}
    for group in GROUPS[1:]:
        for index, raw in enumerate(last.block(group)):
            register = catalogue.register(group, index).in_force(last.calculations)
            if register.kind == "period":
                ends = [found[f"{register.id}_{word}"] for word in ("start", "end")]
                assert [row["value"] for row in ends] == [raw % 65536 * 60, raw // 65536 * 60]
                assert [row["unit"] for row in ends] == ["s", "s"]
                continue
            row = found[register.id]
            is_plain = register.kind in ("time", "address")
            assert row["value"] == (raw if is_plain else decoding.number(register, raw)), register
            assert (row["name"], row["unit"]) == (register.name, register.unit)


@pytest.mark.parametrize(
    ("firmware", "value", "unit"),
    [("V1.88", 1.23, "kWh"), ("V2.88", 1.23, "kWh"), ("V3.88", 12.3, "kWh"), ("V4.00", 123, "")],
)
def test_the_firmware_decides_the_unit_of_the_heat_of_the_electric_element(
    tmp_path, firmware, value, unit
):
    letters = dict(enumerate(firmware.encode(), 81))
    store = store_at(tmp_path, small(START_MS, letters, {1059: 123}, lengths=(267, 1143, 366)))
    with opened(store) as db:
        for view in ("setting_now", "setting_change"):
            [row] = db.execute(
                f"SELECT value, unit FROM {view} WHERE id='ID_Waermemenge_ZWE'"
            ).fetchall()
            assert tuple(row) == (value, unit)


def test_a_schedule_is_two_times_of_day_in_seconds_and_automatic_is_no_frequency(tmp_path):
    settings = {1045: 0, 223: 86_400, 1093: 1320 << 16 | 360}
    store = store_at(tmp_path, small(START_MS, {}, settings, lengths=(267, 1143, 366)))
    with opened(store) as db:
        found = dict(db.execute("SELECT id, value FROM setting_now").fetchall())
    assert found["ID_Einst_P155_DHW_Freq"] is None
    assert found["ID_Einst_SuHkrW0_zeit_0_0"] == 86_400
    assert found["ID_Einst_SilenceTimer_0_start"] == 6 * 3600
    assert found["ID_Einst_SilenceTimer_0_end"] == 22 * 3600


def test_changes_of_settings_are_listed_with_time_and_decoded_value(tmp_path):
    name = catalogue.register("parameters", 1).id  # heating curve correction, 0.1 K
    assert catalogue.register("parameters", 1).scale == 10
    values = [5, 5, -10, -10, 0, 5]
    store = store_at(
        tmp_path, *(small(START_MS + 60_000 * n, {}, {1: v}) for n, v in enumerate(values))
    )
    with opened(store) as db:
        found = db.execute(
            "SELECT ts_ms, ts, time, value, unit FROM setting_change WHERE id=? ORDER BY ts_ms",
            (name,),
        ).fetchall()
        now = db.execute("SELECT value, since FROM setting_now WHERE id=?", (name,)).fetchone()
    unit = catalogue.register("parameters", 1).unit
    times = [START_MS + 60_000 * n for n in (0, 2, 4, 5)]
    assert [tuple(row) for row in found] == [
        (
            t,
            t // 1000,
            datetime.fromtimestamp(t // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            v,
            unit,
        )
        for t, v in zip(times, (0.5, -1.0, 0.0, 0.5), strict=True)
    ]
    assert tuple(now) == (0.5, times[-1] // 1000)


def test_a_poll_that_comes_late_adds_no_change_that_never_was(tmp_path):
    name = catalogue.register("parameters", 1).id
    store = store_at(tmp_path, *(small(START_MS + n, {}, {1: n // 4}) for n in (0, 7)))
    store.add(START_MS + 5, small(START_MS + 5, {}, {1: 1}))
    store.add(START_MS + 2, small(START_MS + 2, {}, {1: 0}))
    store.flush()
    with opened(store) as db:
        found = db.execute("SELECT ts_ms, value FROM setting_change WHERE id=?", (name,))
        changes = sorted(map(tuple, found))
    assert changes == [(START_MS, 0), (START_MS + 5, 0.1)]


def test_a_setting_that_is_no_longer_sent_is_null_from_then_on(tmp_path):
    name = catalogue.register("parameters", 5).id
    store = store_at(tmp_path, small(START_MS), small(START_MS + 5, lengths=(95, 5, 4)))
    with opened(store) as db:
        found = db.execute("SELECT ts_ms, value FROM setting_change WHERE id=?", (name,))
        assert sorted(row["ts_ms"] for row in found) == [START_MS, START_MS + 5]
        now = db.execute("SELECT value FROM setting_now WHERE id=?", (name,)).fetchone()
    assert now["value"] is None


# register, label


def test_the_registers_are_those_of_the_catalogue(store):
    with opened(store) as db:
        found = {
            (row["kind"], row["idx"]): tuple(row)[2:]
            for row in db.execute("SELECT * FROM register")
        }
    lengths = (275, 1187, 398)
    assert sorted(found) == [(k, n) for k, length in enumerate(lengths) for n in range(length)]
    for (kind, index), row in found.items():
        register = catalogue.register(GROUPS[kind], index)
        assert row == (
            *(register.id, register.name, register.kind),
            *(register.unit, register.scale, register.offset),
        )


def test_the_texts_of_codes_can_be_joined_by_id(store):
    register = catalogue.by_id("ID_WEB_WP_BZ_akt")
    with opened(store) as db:
        found = db.execute(
            "SELECT value, text FROM reading_long r JOIN label l ON l.id=r.id AND l.code=r.value"
            " WHERE r.id=? ORDER BY ts_ms",
            (register.id,),
        ).fetchall()
    assert len(found) == len(POLLS)
    assert {row["text"] for row in found} <= set(register.labels.values())
    for row, poll in zip(found, POLLS, strict=True):
        assert row["text"] == decoding.value(register, poll.calculations[register.index])


# The sqlite3 command


@pytest.mark.skipif(shutil.which("sqlite3") is None, reason="there is no sqlite3 command")
@pytest.mark.parametrize(
    "sql",
    [
        "SELECT time, ID_WEB_Temperatur_TVL, ID_WEB_SoftStand FROM reading ORDER BY ts_ms",
        "SELECT id, count(*) AS n, avg(value) AS mean FROM reading_long GROUP BY id ORDER BY id",
        "SELECT * FROM setting_now ORDER BY id",
        "SELECT * FROM setting_change ORDER BY ts_ms, id",
        "SELECT * FROM register ORDER BY kind, idx",
        "SELECT * FROM label ORDER BY id, code",
    ],
)
def test_the_command_reads_what_python_reads(store, sql):
    done = subprocess.run(
        ["sqlite3", "-readonly", "-json", str(store.path), sql],
        capture_output=True,
        check=True,
        timeout=5,
    )
    with opened(store) as db:
        expected = [dict(row) for row in db.execute(sql)]
    found = json.loads(done.stdout)
    assert expected
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours == {
            k: pytest.approx(v) if isinstance(v, float) else v for k, v in theirs.items()
        }


def test_a_dashboard_may_open_the_database_read_only(store):
    with closing(sqlite3.connect(f"file:{store.path}?mode=ro", uri=True)) as db:
        assert db.execute("SELECT count(*) FROM reading").fetchone() == (len(POLLS),)


# Views keep up


def test_the_view_follows_when_registers_change_appear_and_vanish(tmp_path):
    store = Store(tmp_path / "cache.sqlite3", flush_polls=1)
    sent = []
    shapes = [
        ({}, (95, 6, 4)),
        ({10: 7}, (95, 6, 4)),  # was constant
        ({10: 7, 96: -1}, (97, 6, 4)),  # two more
        ({}, (90, 6, 4)),  # fewer
        ({11: 9}, (97, 6, 4)),
    ]
    for number, (changes, lengths) in enumerate(shapes):
        poll = small(START_MS + number, changes, lengths=lengths)
        store.add(poll.taken_ms, poll)
        sent.append(poll)
        rows = readings(store)
        for row, stored in zip(rows, sent, strict=True):
            expected = numbers(stored)
            assert {id_: row[id_] for id_ in expected} == expected
            for index in range(len(stored.calculations), 97):
                assert row.get(catalogue.register("calculations", index).id) is None
        assert len(rows[0]) == 4 + max(len(poll.calculations) for poll in sent)


@pytest.mark.parametrize("empty_line", [False, True])
def test_another_version_of_luxcli_writes_names_and_views_again(tmp_path, empty_line):
    store = store_at(tmp_path, real(START_MS))
    with opened(store) as db:
        before = views_and_names(db)
        db.execute("UPDATE meta SET value='0.0.1' WHERE key='luxcli'")
        db.execute("UPDATE register SET name='old', unit='old', scale=7, id='old_' || kind || idx")
        db.execute("UPDATE label SET text='old'")
        for view in ("reading", "reading_long", "setting_change", "setting_now"):
            db.execute(f"DROP VIEW {view}")
        db.execute("CREATE VIEW reading AS SELECT ts_ms, 'old' AS old FROM poll")
    if not empty_line:
        store.add(START_MS + 1, real(START_MS))
    else:
        with journal.path_at(store.path, START_MS).open("ab") as file:
            file.write(b"\n")
    store.flush()
    with opened(store) as db:
        after = views_and_names(db)
        assert db.execute("SELECT value FROM meta WHERE key='luxcli'").fetchone()[0] == (
            luxcli.__version__
        )
    assert after == before
    assert len(readings(store)[0]) == 4 + 232


def test_labels_of_an_older_version_that_are_gone_now_disappear(tmp_path):
    store = store_at(tmp_path, real(START_MS))
    with opened(store) as db:
        before = views_and_names(db)
        db.execute("UPDATE meta SET value='0.0.1' WHERE key='luxcli'")
        db.execute("INSERT INTO label VALUES ('ID_WEB_WP_BZ_akt', 99, 'was a mistake')")
    store.add(START_MS + 1, real(START_MS))
    store.flush()
    with opened(store) as db:
        assert views_and_names(db) == before


def views_and_names(db: sqlite3.Connection) -> list[tuple[object, ...]]:
    return [
        tuple(row)
        for sql in (
            "SELECT name, sql FROM sqlite_master WHERE type='view' ORDER BY name",
            "SELECT * FROM register ORDER BY kind, idx",
            "SELECT * FROM label ORDER BY id, code",
        )
        for row in db.execute(sql)
    ]


def test_an_unchanged_schema_is_not_written_again(tmp_path):
    """Views are text in the schema: to rebuild them at each flush would wear the card."""
    store = store_at(tmp_path, *reals(30))
    with opened(store) as db:
        before = db.execute("PRAGMA schema_version").fetchone()[0]
    last = reals(30)[-1]
    store.add(last.taken_ms + 1, last)
    store.flush()
    with opened(store) as db:
        assert db.execute("PRAGMA schema_version").fetchone()[0] == before


def test_the_view_goes_on_after_old_polls_were_removed(tmp_path):
    sent = [small(START_MS + n, {1: n, 85: n // 4}, {1: n // 4}) for n in range(8)]
    store = store_at(tmp_path, *sent)
    before = readings(store)
    store.remove_before(START_MS + 5)
    assert readings(store) == before[5:]
