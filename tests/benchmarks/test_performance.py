"""What must stay cheap, by counting statements, rows, scans and bytes, never by the clock."""

import re
import sqlite3
import sys
import tracemalloc
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import date
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from benchmarks import year
from luxcli.config.config import Config
from luxcli.maintenance import archive, document
from luxcli.maintenance.document import Day
from luxcli.model import Snapshot
from luxcli.rollup import rollup
from luxcli.store import sqlite_file
from luxcli.store.store import Store
from luxcli.validation import stored
from tests.support.builders import START_MS, journals, real, reals, small, traced, write_journals
from tests.support.scenario import BERLIN, configured, ms, record

# Much data, paths that other tests go through as well: measuring would double the time.
pytestmark = pytest.mark.no_cover

DAY_MS = 86_400_000


@contextmanager
def statements() -> Iterator[list[str]]:
    """Collect every SQL statement of connections that are first used meanwhile."""
    found: list[str] = []
    known: set[int] = set()

    def listen(_frame: object, event: str, called: Any) -> None:
        db = getattr(called, "__self__", None)
        if event == "c_call" and isinstance(db, sqlite3.Connection):
            if called.__name__ == "close":
                known.discard(id(db))
            elif id(db) not in known and called.__name__.startswith("execute"):
                known.add(id(db))
                db.set_trace_callback(found.append)

    # The profiler sees connections that are opened elsewhere; nothing of ours is replaced.
    before = sys.getprofile()
    sys.setprofile(listen)
    try:
        yield found
    finally:
        sys.setprofile(before)


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "cache.sqlite3")


@pytest.fixture(scope="module")
def day() -> list[Snapshot]:
    """A winter's day of the simulated year, every poll of it."""
    return [entry for entry in islice(year.polls(), 2880) if isinstance(entry, Snapshot)]


def waiting(store: Store, polls: list[Snapshot]) -> None:
    write_journals(store.path, polls)


def test_a_flush_asks_twice_for_each_poll_and_no_more_than_that_for_the_rest(store):
    polls = reals(60)
    store.merge(polls[:20], ())
    counts = []
    for first, last in ((20, 21), (21, 41)):
        waiting(store, polls[first:last])
        with statements() as found:
            store.flush()
        counts.append(len([text for text in found if not text.startswith("INSERT INTO setting")]))
    assert counts[0] <= 60
    # One to look whether it is there, one to store it; a register may get its column meanwhile.
    assert counts[1] - counts[0] <= 19 * 2 + 20


@pytest.mark.slow
def test_a_backlog_in_reverse_order_is_as_cheap_as_one_in_order(tmp_path):
    counts = []
    for name, step in (("forwards", 1), ("backwards", -1)):
        store = Store(tmp_path / name)
        store.merge(reals(1), ())
        waiting(store, reals(300, start_ms=START_MS + DAY_MS)[::step])
        with statements() as found:
            assert store.flush().polls == 300
        counts.append(len(found))
    assert counts[1] <= counts[0] * 1.05


def test_removing_a_day_takes_a_few_statements_however_many_registers_there_are(store):
    store.merge(reals(40, step_ms=3_600_000), ())
    with statements() as found:
        store.remove_before(START_MS + DAY_MS)
    assert len(found) < 60
    assert store.database.span()[0] >= START_MS + DAY_MS


def morning(settings: Config) -> None:
    """Do what `rollup daily` does."""
    rollup.rollup(
        settings, "daily", now_ms=ms("2026-11-20T08:00"), zone=BERLIN, ending=date(2026, 11, 20)
    )
    stored.validate(settings, start_ms=ms("2026-11-19T07:00"), stop_ms=ms("2026-11-20T07:00"))
    archive.archive_due(settings, now_ms=ms("2026-11-20T08:00"), zone=BERLIN)


@pytest.fixture
def histories(tmp_path) -> dict[int, Config]:
    """Databases of 3 and of 23 days that end on one morning; the last archive is missing."""
    found = {}
    for days in (3, 23):
        settings = configured(tmp_path / str(days), interval_sec=3600)
        stop_ms = ms("2026-11-20T07:00")
        record(settings, stop_ms - days * DAY_MS, stop_ms, step_s=3600)
        archive.archive_due(settings, now_ms=ms("2026-11-20T08:00"), zone=BERLIN)
        archive.path_of(settings, date(2026, 11, 19)).unlink()
        found[days] = settings
    return found


@pytest.mark.slow
def test_the_daily_roll_up_asks_little_more_after_a_longer_history(histories):
    counts = {}
    for days, settings in histories.items():
        with statements() as found:
            morning(settings)
        counts[days] = len(found)
    # For each day more: the next poll and the next missed poll.
    assert counts[23] - counts[3] <= 2 * 20 + 6


@pytest.mark.slow
def test_the_daily_roll_up_goes_through_no_table_from_end_to_end(histories):
    settings = histories[23]
    with statements() as found:
        morning(settings)
    plans = set()
    with sqlite_file.connect(settings.cache_path, busy_wait_s=1) as db:
        for text in dict.fromkeys(found):
            # What goes along the key ends with the first row, as hardly a poll is doubted.
            ends_at_once = re.search(r"FROM poll .* ORDER BY ts_ms( DESC)? LIMIT 1", text)
            if re.match(r"SELECT|INSERT|UPDATE|DELETE|REPLACE|WITH", text) and not ends_at_once:
                plans |= {row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {text}")}
    assert any("poll" in plan for plan in plans)
    assert any("setting" in plan or " s " in plan for plan in plans)
    # `register` has a row for each register; `archive`, `journal`, `rollup` one for each file.
    small_tables = (
        r"SCAN (register|r|archive|journal|rollup|meta|sqlite_\w+|constant|CONSTANT ROW|\()"
    )
    assert [plan for plan in plans if "SCAN" in plan and not re.match(small_tables, plan)] == []


@pytest.mark.slow
def test_a_poll_of_the_simulated_year_takes_little_room_in_the_database(tmp_path, day):
    store = Store(tmp_path / "cache.sqlite3")
    store.merge(day, ())
    first = store.path.stat().st_size
    later = [poll._replace(taken_ms=poll.taken_ms + DAY_MS) for poll in day]
    store.merge(later, ())
    assert (store.path.stat().st_size - first) / len(day) < 245


@pytest.mark.slow
def test_a_poll_of_the_simulated_year_takes_little_room_in_an_archive(tmp_path, day):
    assert document.write(tmp_path / "x.xz", Day(tuple(day), ())) / len(day) < 20


def test_a_poll_takes_one_short_line_of_its_journal(store, day):
    for poll in day[:12]:
        store.add(poll.taken_ms, poll)
    lines = b"".join(journals(store.path).values()).splitlines()
    assert [len(line) < 1200 for line in lines] == [False, *[True] * 11]


APPENDS = """
import sys
from pathlib import Path
from luxcli.store.store import Store
from tests.support.builders import reals
store = Store(Path(sys.argv[1]))
for poll in reals(int(sys.argv[2])):
    store.add(poll.taken_ms, poll)
"""


def test_syncs_and_bytes_of_forty_polls_with_their_flushes(tmp_path):
    path = tmp_path / "cache.sqlite3"
    calls = traced(APPENDS, path, 40)
    if calls is None:
        pytest.skip("strace is missing or forbidden")
    ours = [line for line in calls if str(tmp_path) in line]
    syncs = [line for line in ours if line.startswith(("fsync", "fdatasync"))]
    # 40 appends; each flush four of SQLite's and one of the directory; creating the database.
    assert len(syncs) <= 40 + 2 * 6 + 4
    written = sum(
        int(found[1])
        for line in ours
        if line.startswith(("write", "pwrite64")) and (found := re.search(r"= (\\d+)$", line))
    )
    assert written / 40 < 12_000
    assert not [line for line in ours if ".lock" in line]


@pytest.mark.slow
def test_a_report_holds_no_more_than_a_few_hundred_rows_at_a_time(store, day):
    store.merge(day, ())
    keys = [(0, index) for index in range(275)]
    for chunk in store.database.series(keys, 0, 1 << 62, damaged=[]):
        assert len(chunk.rows) <= 1000


@pytest.mark.slow
def test_the_memory_of_an_archive_is_that_of_its_polls(tmp_path, day):
    tracemalloc.start()
    try:
        document.write(tmp_path / "x.xz", Day(tuple(day), ()))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 40e6


def test_the_documented_queries_search_by_the_key(store):
    from benchmarks.figures_store import QUERIES

    store.merge([real(START_MS), small(START_MS + 1000)], ())
    text = (Path(__file__).parent.parent.parent / "docs" / "data.md").read_text("utf-8")
    plain = "".join(text.split())
    for query in QUERIES.values():
        text = query.format(sensor="ID_WEB_Temperatur_TVL")
        assert text.replace(":bucket", "21600000").replace(" ", "") in plain
        bounds = {"start": 0, "stop": 1, "bucket": 21_600_000}
        with (
            store.database.reading() as db,
            closing(db.execute(f"EXPLAIN QUERY PLAN {text}", bounds)) as rows,
        ):
            assert not [row[3] for row in rows if row[3].startswith("SCAN poll")]
