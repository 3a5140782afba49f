"""Reference programs, which people would run instead: ``python -m benchmarks.references NAME``."""

import csv
import json
import sqlite3
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path

from luxcli import __version__
from luxcli.model import GROUPS, Group, Snapshot
from luxcli.registers import catalogue, decoding
from luxcli.store import writer as poll_writer
from luxcli.store.store import Store


def commits(database: str, count: str, mode: str, first: str = "0") -> None:
    """Insert polls into a luxcli database with one connection and one commit per poll.

    A logger without a buffer that cron starts for each poll would do this. The polls are the newest
    ones of the database with new times; the tables are luxcli's, so the data is the same.

    Args:
        database: The SQLite file.
        count: Number of polls to insert.
        mode: SQLite's journal mode: DELETE is SQLite's default, PERSIST is luxcli's.
        first: Position of the first poll among the newest 200.
    """
    path, number = Path(database), int(count)
    newest = Store(path).database.span()[1] or 0
    start_ms = newest - 200 * 30_000 - 3_600_000
    polls = list(Store(path).query(start_ms, newest + 1))[-200:]
    now_ms = round(time.time() * 1000)
    for position in range(number):
        poll = polls[(position + int(first)) % len(polls)]
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute(f"PRAGMA journal_mode={mode}")
            db.execute("BEGIN IMMEDIATE")
            writer = poll_writer.Writer(db, __version__)
            later = Snapshot(
                now_ms + position * 1000,
                *(poll.took_ms, poll.tries, poll.calculations),
                *(poll.parameters, poll.visibilities),
            )
            writer.add_poll(later)
            writer.finish()
            db.execute("COMMIT")


def json_rows(path: Path, polls: Iterable[Snapshot]) -> int:
    """Store one JSON object of named values per poll; return the size of the file.

    The predecessor did this (roelven/luxtronik-logger, `src/client.py` and `src/storage.py`): the
    block stands before each name, and one table has the time as its key.
    """
    names = _names()
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("CREATE TABLE sensor_data (timestamp REAL PRIMARY KEY, data_json TEXT NOT NULL)")
        db.execute("BEGIN")
        for poll in polls:
            values = {
                f"{group}.{name}": value
                for group in GROUPS
                for name, value in zip(names[group], _decoded(poll, group), strict=False)
            }
            row = (poll.taken_ms / 1000, json.dumps(values))
            db.execute("INSERT INTO sensor_data VALUES (?,?)", row)
        db.execute("COMMIT")
    return path.stat().st_size


def value_rows(path: Path, polls: Iterable[Snapshot]) -> int:
    """Store one row per value, with the index to read one sensor; return the size of the file."""
    names = _names()
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("CREATE TABLE value (timestamp TEXT, sensor TEXT, value REAL)")
        db.execute("CREATE INDEX by_sensor ON value (sensor, timestamp)")
        db.execute("BEGIN")
        for poll in polls:
            moment = _iso(poll.taken_ms)
            for group in GROUPS:
                db.executemany(
                    "INSERT INTO value VALUES (?,?,?)",
                    [
                        (moment, name, value)
                        for name, value in zip(names[group], _decoded(poll, group), strict=False)
                    ],
                )
        db.execute("COMMIT")
    return path.stat().st_size


def csv_writer(source: str, target: str, repeats: str) -> None:
    """Write the cells of a CSV from memory with `csv.writer` in a plain loop.

    Prints the CPU seconds of the loop alone, first for numbers and text, then for text only.
    """
    with Path(source).open(encoding="utf-8", newline="") as file:
        texts = list(csv.reader(file))
    numbers = [[_number(cell) for cell in row] for row in texts]
    for _ in range(int(repeats)):
        print(_write_in_loop(numbers, target), _write_in_loop(texts, target))


def _write_in_loop(rows: Sequence[Sequence[object]], target: str) -> float:
    began = time.process_time()
    with Path(target).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        for row in rows:
            writer.writerow(row)
    return time.process_time() - began


def _number(cell: str) -> object:
    try:
        return float(cell) if "." in cell else int(cell)
    except ValueError:
        return cell


def _names() -> dict[Group, list[str]]:
    lengths: dict[Group, int] = {"calculations": 300, "parameters": 1300, "visibilities": 450}
    return {
        group: [catalogue.register(group, index).id for index in range(lengths[group])]
        for group in GROUPS
    }


def _decoded(poll: Snapshot, group: Group) -> list[object]:
    block = poll.block(group)
    return [
        decoding.value(catalogue.register(group, index), raw) for index, raw in enumerate(block)
    ]


def _iso(ts_ms: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ts_ms // 1000))


if __name__ == "__main__":
    if sys.argv[1] == "commits":
        commits(*sys.argv[2:])
    else:
        csv_writer(*sys.argv[2:])
