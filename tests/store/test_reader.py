"""Reading the database: rows come out as they went in, or as damage, whatever happens."""

import signal
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from luxcli.errors import DamagedError, Interrupted
from luxcli.model import CHUNK_HEAD
from luxcli.store import reader
from luxcli.store.store import Store
from tests.support.builders import START_MS, small, write_journals

EVER = 1 << 60


def stored(path: Path, count: int, length: int) -> Store:
    """Return a database of polls in which every calculation varies."""
    store = Store(path)
    polls = [
        small(START_MS + n * 30_000, {i: n * i for i in range(length)}, lengths=(length, 4, 3))
        for n in range(count)
    ]
    write_journals(store.path, polls)
    store.flush()
    return store


@contextmanager
def raised_by_timer() -> Iterator[list[int]]:
    """Raise `Interrupted` when the timer ends; give the list of how often it was."""
    sent: list[int] = []

    def handler(signum: int, _frame: object) -> None:
        sent.append(signum)
        raise Interrupted(signum)

    before, hook = signal.signal(signal.SIGALRM, handler), sys.unraisablehook
    # A signal may come where Python discards exceptions and calls the hook; luxcli's hook delivers
    # it again a moment later.
    sys.unraisablehook = lambda _told: sent.remove(signal.SIGALRM)
    remaining = signal.setitimer(signal.ITIMER_REAL, 0)
    try:
        yield sent
    finally:
        signal.setitimer(signal.ITIMER_REAL, *remaining)
        signal.signal(signal.SIGALRM, before)
        sys.unraisablehook = hook


@pytest.mark.slow
@pytest.mark.no_cover
def test_a_signal_while_rows_come_out_of_sqlite_is_raised_as_what_it_is(tmp_path):
    store = stored(tmp_path / "cache.sqlite3", 300, 20)
    began = time.monotonic()
    polls = list(store.query(-EVER, EVER))
    took_s = time.monotonic() - began
    interrupted = 0
    with raised_by_timer() as sent:
        for number in range(1, 160):
            try:
                signal.setitimer(signal.ITIMER_REAL, took_s * number / 160)
                assert list(store.query(-EVER, EVER)) == polls
                signal.setitimer(signal.ITIMER_REAL, 0)
            except Interrupted:  # never a StorageError
                interrupted += 1
    assert interrupted == len(sent) > 20  # none was lost
    assert list(store.query(-EVER, EVER)) == polls


@pytest.mark.slow
@pytest.mark.no_cover
def test_many_columns_in_several_batches_come_out_as_they_went_in(tmp_path):
    length = 300
    store = stored(tmp_path / "cache.sqlite3", 1100, length)
    polls = list(store.database.polls(0, EVER, damaged=[]))
    assert [poll.taken_ms for poll in polls] == [START_MS + n * 30_000 for n in range(1100)]
    assert all(
        poll.calculations == tuple(n * i for i in range(length)) for n, poll in enumerate(polls)
    )


def test_reports_read_at_once_through_one_connection_do_not_mix(tmp_path):
    store = stored(tmp_path / "cache.sqlite3", 1200, 20)
    with store.database.kept_open():
        one = store.database.series([(0, 3)], -EVER, EVER, damaged=[])
        other = store.database.series([(0, 5), (0, 7)], -EVER, EVER, damaged=[])
        rows: tuple[list[object], list[object]] = ([], [])
        for first, second in zip(one, other, strict=True):
            rows[0].extend(row[CHUNK_HEAD:] for row in first.rows)
            rows[1].extend(row[CHUNK_HEAD:] for row in second.rows)
    assert rows[0] == [(n * 3,) for n in range(1200)]
    assert rows[1] == [(n * 5, n * 7) for n in range(1200)]


@pytest.mark.parametrize("value", ["x'00'", "'17'", "1.5", "NULL", "cast(x'ff' AS TEXT)"])
def test_what_is_no_number_any_more_is_damage_and_the_other_polls_are_read(tmp_path, value):
    store = stored(tmp_path / "cache.sqlite3", 30, 5)
    with_types = ""
    for step in range(3):
        with closing(sqlite3.connect(store.path, isolation_level=None)) as db:
            if step == 1:
                update = f"UPDATE poll SET c2={value} WHERE ts_ms=?"
                assert db.execute(update, (START_MS + 300_000,)).rowcount == 1
                continue
            # A table that takes numbers only does so by itself.
            db.execute("PRAGMA writable_schema=1")
            [(sql,)] = db.execute("SELECT sql FROM sqlite_master WHERE name='poll'").fetchall()
            if step == 0:
                with_types = sql
            changed = with_types if step else sql.replace("STRICT", "")
            db.execute("UPDATE sqlite_master SET sql=? WHERE name='poll'", (changed,))
    damaged: list[int] = []
    unreadable: list[int] = []
    try:
        polls = list(store.query(-EVER, EVER, damaged=damaged))
    except DamagedError:  # for a text that is none; what the hourly roll-up does then
        damaged.clear()
        polls = list(store.database.recover(damaged, unreadable))
    assert len(damaged) + len(unreadable) == 1
    assert [poll.taken_ms for poll in polls] == [
        START_MS + n * 30_000 for n in range(30) if n != 10
    ]


def test_a_lock_that_is_held_while_rows_are_read_is_waited_for_once(tmp_path):
    store = stored(tmp_path / "cache.sqlite3", 1200, 5)
    with (
        closing(sqlite3.connect(store.path, isolation_level=None, timeout=2)) as db,
        closing(sqlite3.connect(store.path, isolation_level=None)) as other,
    ):
        chunks = reader.chunks(db, [(0, 3)], 0, EVER, [])
        next(chunks)
        other.execute("BEGIN EXCLUSIVE")
        began = time.monotonic()
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            list(chunks)
        took_s = time.monotonic() - began
    assert 1.5 < took_s < 3.5
