"""Cost of storage: size of a year, reading one sensor, rechanges a day, a long flush."""

import fcntl
import multiprocessing
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks import histories, references, year
from benchmarks.bench import Bench
from benchmarks.histories import History
from benchmarks.processes import Sample
from benchmarks.report import Row, sample_row
from luxcli.store.store import Store
from tests.support.builders import write_journals

_SENSOR = "ID_WEB_Temperatur_TVL"
# The queries of docs/data.md: the average of each bucket, by one search per bucket or by sorting
# all polls; one poll of each bucket.
QUERIES = {
    "average, a search per bucket": (
        "WITH RECURSIVE bucket(start) AS (SELECT :start UNION ALL"
        " SELECT start + :bucket FROM bucket WHERE start + :bucket < :stop)"
        ' SELECT start, (SELECT avg("{sensor}") FROM reading'
        " WHERE ts_ms >= start AND ts_ms < start + :bucket) FROM bucket"
    ),
    "average, GROUP BY": (
        'SELECT ts_ms / :bucket * :bucket AS start, avg("{sensor}") FROM reading'
        " WHERE ts_ms >= :start AND ts_ms < :stop GROUP BY start"
    ),
    "one poll of each bucket": (
        "WITH RECURSIVE bucket(start) AS (SELECT :start UNION ALL"
        " SELECT start + :bucket FROM bucket WHERE start + :bucket < :stop)"
        ' SELECT start, (SELECT "{sensor}" FROM reading'
        " WHERE ts_ms >= start AND ts_ms < start + :bucket ORDER BY ts_ms LIMIT 1) FROM bucket"
    ),
}
_DEFAULT_QUERY = "average, a search per bucket"


def size(bench: Bench) -> Iterator[Row]:
    """Size of a year: database and archives, beside a JSON object per poll and a row per value."""
    history = bench.history(bench.scale.long)
    count, sample = history.polls, bench.scale.sample
    scaled = year.DAYS / history.days
    project = "" if history.days == year.DAYS else f"projected from {history.days} days"
    database_bytes = history.database.stat().st_size
    changes = _describe_changes(history)
    yield Row(
        *("size", "database of a year", database_bytes * scaled / 1e6, "MB"),
        ours=f"{database_bytes / count:.0f} B/poll",
        budget=250,
        note=f"{project or 'a whole year was stored'}; {changes}",
    )
    polls = bench.polls(sample)
    for label, store, budget in (
        ("JSON object of named values per poll", references.json_rows, 1 / 300),
        ("row per value, with index", references.value_rows, None),
    ):
        path = bench.scratch / "reference.sqlite3"
        part = polls if store is references.json_rows else polls[: max(20, sample // 10)]
        theirs = store(path, part) / len(part)
        path.unlink()
        yield Row(
            *("size", f"database : {label}", database_bytes / count / theirs),
            ours=f"{database_bytes / count:.0f} B/poll",
            reference=f"{theirs:.0f} B/poll, 1 : {theirs * count / database_bytes:.0f}",
            budget=budget,
            note=f"reference: measured with {len(part)} polls",
        )
    archives = sum(path.stat().st_size for path in history.archives)
    yield Row(
        *("size", "archives of a year", archives * scaled / 1e6, "MB"),
        ours=f"{archives / count:.1f} B/poll",
        budget=20,
        note=project,
    )


def _describe_changes(history: History) -> str:
    """Return a text: how many registers change in the simulated year, from a day per month."""
    days: list[dict[str, float]] = []
    store = Store(history.database)
    for back in range(1, history.days + 1, 30):
        start_ms = year.STOP_MS - back * year.DAY_MS
        days.append(year.statistics(store.query(start_ms, start_ms + year.DAY_MS)))
    with closing(sqlite3.connect(history.database)) as db:
        columns = len(db.execute("PRAGMA table_info(poll)").fetchall()) - 4

    def mean(key: str) -> float:
        return sum(day[key] for day in days) / len(days)

    return (
        f"{columns} of {days[0]['calculations']:.0f} calculations have a column; changes from poll"
        f" to poll: mean {mean('changes_mean'):.0f}, 5 % below {mean('changes_p5'):.0f}, 5 % above"
        f" {mean('changes_p95'):.0f}; {mean('polls_with_changed_settings') / 24:.0f} polls an hour"
        " with a changed parameter"
    )


def sensor(bench: Bench) -> Iterator[Row]:
    """Time to read one sensor through the SQL view, in buckets."""
    history = bench.history(bench.scale.long)
    spans = ((1, 60, None), (30, 1800, None), (year.DAYS, 21_600, 1.0))
    wanted = [(_DEFAULT_QUERY, *span) for span in spans]
    wanted += [(kind, *spans[-1][:2], None) for kind in QUERIES if kind != _DEFAULT_QUERY]
    for kind, days, bucket_s, budget in wanted:
        query = QUERIES[kind].format(sensor=_SENSOR)
        start_ms = year.STOP_MS - days * year.DAY_MS
        bounds = {"bucket": bucket_s * 1000, "start": start_ms, "stop": year.STOP_MS}
        times = []
        buckets = 0
        for _ in range(bench.scale.slow_rounds):
            began = time.monotonic()
            with closing(sqlite3.connect(f"{history.database.as_uri()}?mode=ro", uri=True)) as db:
                buckets = len(db.execute(query, bounds).fetchall())
            times.append(time.monotonic() - began)
        yield sample_row(
            "sensor",
            f"one sensor over {days} d in buckets of {bucket_s} s: {kind}",
            Sample(tuple(times)),
            unit="s",
            ours=f"{buckets} buckets",
            budget=budget,
        )


def prune(bench: Bench) -> Iterator[Row]:
    """CPU of `luxcli prune` for one day, and how long a poll is kept from writing."""
    history = bench.shared_copy(bench.scale.long)
    waits, took = [], []
    for number in range(1, 1 + min(bench.scale.slow_rounds, history.days // 2)):
        today = datetime.now(UTC).date()
        kept = history.days - number
        days = histories.retention_days(kept, today)
        histories.write_config(history.directory, cache_retention_days=days)
        longest_s, run = _longest_wait(history.database, lambda: _prune_once(bench, history))
        waits.append(longest_s * 1000)
        took.append(run)
    histories.write_config(history.directory)
    figure = f"prune of a day from {history.days}: longest time a writer is blocked"
    yield sample_row("prune", figure, Sample(tuple(waits)), unit="ms", budget=100)
    yield sample_row(
        "prune", f"prune of a day from {history.days}: CPU", Sample(tuple(took)), unit="s"
    )


def _prune_once(bench: Bench, history: History) -> float:
    oldest = Store(history.database).database.span()[0]
    command = ("prune", "-c", history.config_file)
    usage = bench.launcher.luxcli(*command, directory=history.directory, statuses=(0, 3))
    if Store(history.database).database.span()[0] == oldest:
        raise RuntimeError(f"prune removed no poll:\n{usage.output}")
    return usage.cpu_s


def _longest_wait(database: Path, work: Callable[[], float]) -> tuple[float, float]:
    """Return for how many seconds at most a flush would have had to wait during `work`."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    prober = context.Process(target=_probe, args=(database, theirs))
    prober.start()
    ours.recv()
    result = work()
    ours.send("stop")
    longest: float = ours.recv()
    prober.join()
    return longest, result


def _probe(database: Path, pipe: "Connection") -> None:
    """Try every millisecond to take the storage lock and SQLite's lock; a flush needs both."""
    with (
        closing(sqlite3.connect(database, timeout=0, isolation_level=None)) as db,
        Store(database).lock_path.open("ab") as lock,
    ):
        pipe.send("ready")
        longest = 0.0
        blocked_since: float | None = None
        while not pipe.poll(0.001):
            now = time.monotonic()
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                db.execute("BEGIN IMMEDIATE")
                db.execute("ROLLBACK")
            except (BlockingIOError, sqlite3.OperationalError):
                blocked_since = blocked_since or now
            else:
                if blocked_since is not None:
                    longest = max(longest, now - blocked_since)
                blocked_since = None
            finally:
                fcntl.flock(lock, fcntl.LOCK_UN)
    pipe.send(longest)


def flush(bench: Bench) -> Iterator[Row]:
    """CPU of flushing a long backlog into the database, in order and in reverse order."""
    polls = bench.polls(bench.scale.sample)
    times = {}
    for label, ordered in (("in order", polls), ("in reverse", polls[::-1])):
        directory = bench.scratch / "long-backlog"
        directory.mkdir()
        store = Store(directory / "cache.sqlite3")
        write_journals(store.path, ordered)
        began = time.process_time()
        store.flush()
        times[label] = time.process_time() - began
        shutil.rmtree(directory)
    yield Row(
        *("flush", "flush of a long journal: in reverse : in order"),
        times["in reverse"] / times["in order"],
        ours=f"{times['in reverse'] / len(polls) * 1000:.2f} ms/poll",
        reference=f"{times['in order'] / len(polls) * 1000:.2f} ms/poll",
        note=f"{len(polls)} polls, each read back and compared",
    )
