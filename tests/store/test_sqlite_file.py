"""Which failures of SQLite are damage, which are of the moment, and which are neither."""

import random
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest

from luxcli.errors import DamagedError, IncompatibleError, StorageError, UnavailableError
from luxcli.model import CLOCK_DOUBTED, EARLIEST_MS, LATEST_MS, MissedPoll
from luxcli.store import ledger, sqlite_file
from luxcli.store.ledger import ArchiveRecord, RollupRecord
from luxcli.store.store import Store
from tests.support.builders import START_MS, small

EVER = 1 << 60
TINY = (12, 4, 3)
SENT = [small(START_MS + n, {1: n, 2: n % 7}, {1: n // 9}, lengths=TINY) for n in range(40)]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with something in every table."""
    store = Store(tmp_path / "cache.sqlite3")
    store.merge(SENT, [MissedPoll(START_MS + 90, "timeout", 1, 2, "no answer")])
    ledger.record_rollup(store, RollupRecord("daily", 0, 1, "/x.csv", "written", 3, 1))
    ledger.record_archive(store, ArchiveRecord(0, 1, "/x", 3, 5, 5, 5))
    return store


def change(store: Store, *statements: str) -> None:
    with closing(sqlite3.connect(store.path, isolation_level=None)) as db:
        for statement in statements:
            db.execute(statement)


def flip(path: Path, place: int, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1 << bit
    path.write_bytes(content)


def read(store: Store) -> None:
    """Read everything that commands read."""
    store.database.span()
    list(store.database.polls(-EVER, EVER, damaged=[]))
    list(store.database.series([(0, 1), (1, 1)], -EVER, EVER, damaged=[]))
    store.database.missed(-EVER, EVER)
    store.database.next_entry(0)
    store.database.known_registers()
    ledger.rollups(store, "daily")
    ledger.archives(store)


def write(store: Store) -> None:
    new = small(START_MS + 99, {1: 5, 3: 9}, {2: 77}, lengths=TINY)
    store.merge([new], [MissedPoll(START_MS + 100, "busy", 1, 2, "")])


def remove(store: Store) -> None:
    store.remove_before(START_MS + 20)


@pytest.mark.no_cover
@pytest.mark.parametrize("use", [read, write, remove], ids=lambda use: use.__name__)
def test_one_changed_bit_is_harmless_or_damage_and_nothing_else(store, use):
    """In the header or in anything written; `test_store` looks for wrong values."""
    rng = random.Random(3)
    whole = store.path.read_bytes()
    used = [place for place, byte in enumerate(whole) if byte]
    for _ in range(40):
        store.path.write_bytes(whole)
        flip(store.path, rng.choice([rng.randrange(100), rng.choice(used)]), rng.randrange(8))
        with suppress(DamagedError):
            use(store)


def write_and_read(store: Store) -> None:
    write(store)
    read(store)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE missed SET tries='x'",
        "UPDATE register SET kind=7 WHERE kind=1",
        "UPDATE setting SET value='x'",
        "UPDATE constant SET value=x'00'",
        "DROP TABLE setting",
        f"UPDATE poll SET ts_ms={EARLIEST_MS - 1} WHERE ts_ms={START_MS}",
        f"UPDATE poll SET ts_ms={LATEST_MS} WHERE ts_ms={START_MS}",
        f"UPDATE missed SET ts_ms={1 << 62}",
    ],
)
def test_content_that_luxcli_never_writes_is_damage_to_the_next_writer(store, statement):
    change(store, statement)
    with pytest.raises(DamagedError, match=r"cache.sqlite3: damaged \("):
        write_and_read(store)


def test_a_doubted_time_may_be_any_and_is_not_in_the_span(store):
    doubted = small(5_000, lengths=TINY)._replace(flags=CLOCK_DOUBTED)
    store.merge([doubted, doubted._replace(taken_ms=LATEST_MS + 1)], ())
    assert store.database.span() == (SENT[0].taken_ms, SENT[-1].taken_ms)
    assert len(list(store.database.polls(-EVER, EVER, damaged=[]))) == len(SENT) + 2


def test_a_text_that_is_not_utf8_costs_only_the_poll_in_which_it_stands(store):
    change(store, f"UPDATE poll SET c1=cast(x'ff' AS TEXT) WHERE ts_ms={START_MS + 3}")
    damaged: list[int] = []
    found = list(store.database.polls(-EVER, EVER, damaged=damaged))
    assert damaged == [START_MS + 3]
    assert found == [poll for poll in SENT if poll.taken_ms != START_MS + 3]


@pytest.mark.parametrize(
    "statement", ["SELEC 1", "SELECT nothing_of_this_name(1)", "SELECT 1 FROM poll WHERE"]
)
def test_a_statement_that_sqlite_refuses_is_no_damage(store, statement):
    with (
        pytest.raises(StorageError, match=f"SQLite {sqlite3.sqlite_version} failed") as error,
        store.database.connect() as db,
    ):
        db.execute(statement)
    assert not isinstance(error.value, DamagedError)


def test_a_bug_beside_an_intact_database_stays_a_bug(store):
    with pytest.raises(KeyError), store.database.connect():
        raise KeyError("nothing to do with the file")


def test_a_table_of_another_program_that_this_sqlite_does_not_understand_is_no_damage(store):
    """Such as one made with the syntax of a newer SQLite."""
    change(
        store,
        "CREATE TABLE notes (id INTEGER)",
        "PRAGMA writable_schema=1",
        "UPDATE sqlite_master SET sql='CREATE TABLE notes (id INTEGER) OF TOMORROW'"
        " WHERE name='notes'",
    )
    with pytest.raises(StorageError, match=r"malformed database schema .notes.") as error:
        read(store)
    assert not isinstance(error.value, DamagedError)


@pytest.mark.parametrize(
    ("place", "bit"),
    [(18, 1), (19, 1), (60, 0), (63, 0), (63, 1), (63, 2), (47, 3), (16, 2), (0, 0), (59, 1)],
)
def test_a_changed_bit_of_the_header_is_damage(store, place, bit):
    """Not a newer schema, a read-only file or a foreign one, which nobody would ever repair."""
    flip(store.path, place, bit)
    with pytest.raises(DamagedError):
        write(store)


def test_without_memory_it_is_not_damage(store):
    with pytest.raises(UnavailableError, match="out of memory"), store.database.connect():
        raise MemoryError


@pytest.mark.parametrize(
    "call",
    [
        lambda store: store.database.span(),
        lambda store: store.merge(SENT, ()),
        lambda _store: sqlite_file.check_library(),
    ],
)
def test_a_library_that_is_too_old_is_refused_before_anything_is_touched(
    store: Store, call: Callable[[Store], object], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sqlite_file, "OLDEST_LIBRARY", (99, 1, 0))
    before = store.path.read_bytes()
    with pytest.raises(IncompatibleError, match=r"is too old: luxcli needs 99\.1\.0 or newer"):
        call(store)
    assert store.path.read_bytes() == before


def test_nothing_newer_than_the_oldest_library_is_needed():
    """Statements with newer syntax fail only there, and hardly anybody tests with it."""
    newer = {
        "sqlite_schema": (3, 33), "ON CONFLICT": (3, 24), "RETURNING": (3, 35), " OVER (": (3, 25),
        "STRICT": (3, 37), "DROP COLUMN": (3, 35), "RENAME COLUMN": (3, 25), "iif(": (3, 32),
        "NULLS ": (3, 30), "FILTER (": (3, 30), "GENERATED": (3, 31), "->>": (3, 38),
        "MATERIALIZED": (3, 35), "unixepoch(": (3, 38), "VACUUM INTO": (3, 27),
    }  # fmt: skip
    package = Path(sqlite_file.__file__).parent.parent
    for path in package.rglob("*.py"):
        for line in path.read_text(encoding="utf-8").splitlines():
            code = line.partition("# ")[0]
            for syntax, version in newer.items():
                is_used = syntax in code and '"' in code
                assert not is_used or version <= sqlite_file.OLDEST_LIBRARY, f"{path}: {line}"


@pytest.mark.parametrize("name", ["a b%20c?d#e", "ünï", "x\udcff", "semi;colon&mode=ro"])
def test_a_directory_may_have_any_name(tmp_path, name):
    (tmp_path / name).mkdir()
    store = Store(tmp_path / name / "cache.sqlite3")
    store.merge([small(START_MS)], ())
    assert store.path.stat().st_size > 0
    assert [poll.taken_ms for poll in store.query(0, 1 << 62)] == [START_MS]
