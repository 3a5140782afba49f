"""Storage that is shared, full, read-only, locked or damaged: nothing is lost or wrong."""

import contextlib
import functools
import itertools
import json
import logging
import multiprocessing
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path

import pytest
import yaml

from luxcli import times
from luxcli.config import config
from luxcli.config.config import Config
from luxcli.errors import StorageError
from luxcli.maintenance import archive, document, rebuild
from luxcli.model import GROUPS, MissedPoll, Snapshot
from luxcli.recording.poll import poll_once
from luxcli.store import journal
from luxcli.store.store import Store
from luxcli.system.clock import Clock
from tests.conftest import Cli
from tests.controller.test_faults import launch
from tests.support.builders import journals, python, real, scheduled, small, write_journals
from tests.support.faulty_controller import NOW_S, FaultyController
from tests.support.reliability import record, sample
from tests.support.scenario import BERLIN, ms
from tests.support.tiers import sampled

# Much data, paths that other tests go through as well: measuring would double the time.
pytestmark = pytest.mark.no_cover

EVER = 1 << 60
PAGE = 4096
DAY_MS = 86_400_000


def everything(path: Path) -> list[Snapshot]:
    """Return all polls after a flush."""
    Store(path).flush()
    return list(Store(path).query(0, EVER))


def content(poll: Snapshot) -> tuple[tuple[int, ...], ...]:
    return tuple(poll.block(group) for group in GROUPS)


def configured(directory: Path, **settings: object) -> Config:
    """Return a configuration that commands run in `directory` find as well."""
    chosen: dict[str, object] = {
        "host": "127.0.0.1",
        "retries": 0,
        "timeout_sec": 5,
        "timezone": "Europe/Berlin",
        "cache_path": str(directory / "cache.sqlite3"),
    }
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / "luxcli.yaml"
    file.write_text(yaml.safe_dump(chosen | settings), encoding="utf-8")
    return config.load(file, {"HOME": str(directory)}, directory)


# Several processes at once

_HOLD = {
    "reader": "BEGIN; SELECT count(*) FROM poll",
    "writer": "BEGIN EXCLUSIVE",
}
_HOLDER = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
for statement in sys.argv[2].split(";"):
    db.execute(statement).fetchall()
print("held", flush=True)
sys.stdin.readline()
"""


@dataclass(frozen=True)
class Beside:
    """The result of polls beside another job."""

    name: str
    polls: int
    statuses: tuple[int, ...]
    waited: int
    longest_s: float
    lost: int
    wrong: int
    job: str
    problems: tuple[str, ...]


def past(directory: Path, days: int, step_s: int, **settings: object) -> tuple[Config, list[int]]:
    """Fill a database with the days up to now."""
    chosen = configured(directory, flush_polls=1, **settings)
    stop_ms = int(time.time()) * 1000
    stamps = list(range(stop_ms - days * DAY_MS, stop_ms, step_s * 1000))
    store = Store(chosen.cache_path)
    for start in range(0, len(stamps), 500):
        times_ms = stamps[start : start + 500]
        part = [scheduled(real(ts_ms), chosen.interval_sec) for ts_ms in times_ms]
        store.merge(part, ())
    return chosen, stamps


def beside(
    name: str, directory: Path, *, days: int, step_s: int, polls: int, least_s: float = 0.0
) -> Beside:
    """Poll until another process has ended, and at least `polls` times."""
    with FaultyController() as pump:
        options: dict[str, object] = {
            "port": pump.port,
            "output_dirs": {"daily": str(directory / "daily"), "weekly": str(directory / "weekly")},
        }
        if name == "prune":
            options["cache_retention_days"] = 1
            options["archive"] = False
        settings, stamps = past(directory, days, step_s, **options)
        removed = set()
        if name == "restore":
            archive.archive_due(settings, now_ms=round(time.time() * 1000), zone=BERLIN)
            kept = archive.bounds(_today(), BERLIN)[0]
            removed = {ts_ms for ts_ms in stamps if ts_ms >= kept}
            settings.cache_path.unlink()
        commands = Cli(directory, measured=False)
        other = _start(name, commands, settings)
        problems: list[str] = []
        runs, reports = [], []
        began = time.monotonic()
        while len(runs) < polls or (name not in _HOLD and other.poll() is None):
            runs.append(launch(directory, "poll-once", "--json"))
            if runs[-1].status == 0:
                reports.append(json.loads(runs[-1].stdout))
            if time.monotonic() - began > 60:
                problems.append("the other job does not end")
                break
        ended = commands.end(other, within_s=20) if name not in _HOLD else None
        other.kill()
        commands.close()
        other.communicate()
        # validate has findings about polls that are minutes apart; they do not matter here.
        if ended and ended.status and (name != "validate" or ended.status not in (3, 65)):
            problems.append(f"{name} ended with {ended.status}: {ended.stderr}")
        stored = {poll.taken_ms: poll for poll in everything(settings.cache_path)}
        acknowledged = [one["taken_ms"] for one in reports]
        lost = [ts_ms for ts_ms in acknowledged if ts_ms not in stored]
        wrong = [
            ts_ms
            for ts_ms in acknowledged
            if ts_ms in stored and content(stored[ts_ms]) != content(pump.snapshot)
        ]
        if name == "prune":
            removed = {ts_ms for ts_ms in stamps if ts_ms not in stored}
            if not removed or max(removed) >= stamps[-1] + step_s * 1000 - DAY_MS:
                problems.append("prune removed the wrong polls")
        before = set(stamps) - removed
        lost += [ts_ms for ts_ms in before if ts_ms not in stored]
        wrong += [ts for ts in before & stored.keys() if content(stored[ts]) != content(real(ts))]
        problems += [f"{run.status}: {run.stderr}" for run in runs if run.status]
    return Beside(
        name=name,
        polls=len(runs),
        statuses=tuple(sorted({run.status for run in runs})),
        waited=sum(bool(one["warning"]) for one in reports),
        longest_s=max(run.took_s for run in runs),
        lost=len(lost),
        wrong=len(wrong),
        job="held all the time" if ended is None else f"ended with {ended.status}",
        problems=tuple(problems),
    )


def _today() -> date:
    return times.local_date(round(time.time() * 1000), BERLIN)


def _start(name: str, commands: Cli, settings: Config) -> "subprocess.Popen[str]":
    if name in _HOLD:
        other = python(_HOLDER, settings.cache_path, _HOLD[name], stdin=subprocess.PIPE)
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        return other
    words = {
        "rollup daily": ("rollup", "daily"),
        "rollup all": ("rollup", "all"),
        "rollup if due": ("rollup", "daily", "--if-due"),
        "prune": ("prune",),
        "restore": ("restore",),
        "validate": ("validate", "--last", "5d"),
    }[name]
    return commands.start(*words)


JOBS = (
    *("rollup daily", "rollup all", "rollup if due", "prune", "restore", "validate"),
    *("reader", "writer"),
)


JOBS = ("rollup all", "prune", "restore", "validate", "reader", "writer")


@pytest.mark.parametrize("name", sampled({name: name for name in JOBS}, ["prune"]))
def test_polls_beside_another_job_are_stored_and_nothing_is_lost(name, tmp_path):
    held = name in _HOLD  # each poll waits two seconds for the database, then gives up
    found = beside(name, tmp_path, days=3, step_s=1800, polls=1 if held else 3)
    assert found.problems == ()
    assert (found.lost, found.wrong, found.statuses) == (0, 0, (0,))
    assert found.waited == (1 if held else 0)


@pytest.mark.sweep
@pytest.mark.timeout(200)
def test_polls_beside_every_job_at_length(tmp_path):
    found = [
        beside(name, tmp_path / name, days=5, step_s=120, polls=5 if name in _HOLD else 10)
        for name in JOBS[:: sample()]
    ]
    text = (
        "`luxcli poll-once` runs repeatedly, and each poll goes into the database at once"
        " (`flush_polls: 1`). Meanwhile another process works on the same database, which holds"
        " five days with a poll every two minutes."
        f" Polls: {sum(one.polls for one in found)}, lost: {sum(o.lost for o in found)},"
        f" wrong: {sum(o.wrong for o in found)}; these counts include the polls of the five days,"
        " except those that prune had to delete. A reader or writer holds its transaction all the"
        " time: the poll waits 2 s, prints a warning, exits with 0, and waits in its journal until"
        " a later poll flushes it."
    )
    columns = ("beside", "polls", "exit status", "left in the journal", "longest", "lost", "wrong")
    rows = [
        (
            *(f"{one.name} ({one.job})", one.polls, ", ".join(map(str, one.statuses)), one.waited),
            *(f"{one.longest_s:.2f} s", one.lost, one.wrong),
        )
        for one in found
    ]
    record(20, "Overlap", text, columns, rows)
    assert [one.problems for one in found if one.problems] == []
    assert {one.statuses for one in found} == {(0,)}
    assert (sum(one.lost for one in found), sum(one.wrong for one in found)) == (0, 0)


# A disk that is full, or cannot be written


@contextlib.contextmanager
def small_disk(directory: Path, kilobytes: int = 4096) -> Iterator[Path]:
    """Mount a file system of its own; skips the test where that is not allowed."""
    directory.mkdir(parents=True, exist_ok=True)
    options = f"size={kilobytes}k"
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        pytest.skip("a small file system can be mounted by root only")
    done = subprocess.run(
        [mount, "-t", "tmpfs", "-o", options, "tmpfs", str(directory)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"no small file system: {done.stderr.strip()}")
    try:
        yield directory
    finally:
        subprocess.run(["umount", "-l", str(directory)], check=True)


def fill(directory: Path, pages_left: int) -> Path:
    """Leave room for so many pages; return the file to remove again."""
    filler = directory / "filler"
    free = os.statvfs(directory)
    with filler.open("wb") as file:
        count = free.f_bavail * free.f_frsize // PAGE - pages_left
        if count > 0:
            os.posix_fallocate(file.fileno(), 0, count * PAGE)
    return filler


@dataclass
class Full:
    """The result of polls on a disk with little room."""

    stored: int = 0
    refused: int = 0
    warned: int = 0
    missed_refused: int = 0
    lost: int = 0
    wrong: int = 0
    later: int = 0
    said: Counter[str] = field(default_factory=Counter)


# The rest of a page may hold so many polls.
TIGHT_POLLS = 6
# How far a recording has come when the disk fills: polls before, and how many make a flush.
STATES = {
    "first poll ever": (0, 1),
    "poll goes to the journal": (3, 1000),
    "poll creates the database": (4, 5),
    "poll flushes into the database": (9, 5),
    "each poll is flushed": (3, 1),
}


def on_a_full_disk(disk: Path, state: str, pages_left: int, pump: FaultyController) -> Full:
    """Poll with little room, then with enough, and compare the database with what was sent."""
    before, flush_polls = STATES[state]
    for path in disk.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    settings = configured(disk, port=pump.port, flush_polls=flush_polls)
    store = Store(settings.cache_path, flush_polls=flush_polls)
    found, sent = Full(), {}
    times_s = itertools.count(NOW_S, 30)

    def poll() -> bool:
        at = next(times_s)
        pump.shown_s = at
        try:
            result = poll_once(settings, clock=Clock(lambda: at))
        except StorageError as exc:
            found.said[_cause(exc)] += 1
            return False
        sent[at * 1000] = real(at * 1000)
        found.warned += result.warning is not None
        return True

    for _ in range(before):
        assert poll()
    filler = fill(disk, pages_left)
    for _ in range(TIGHT_POLLS):
        stored = poll()
        found.stored += stored
        found.refused += not stored
    try:
        store.add_missed(MissedPoll(next(times_s) * 1000, "timeout", 1, 5000, "nobody there"))
    except StorageError:
        found.missed_refused += 1
    filler.unlink()
    for _ in range(2):
        found.later += poll()
    polls = everything(settings.cache_path)
    stamps = [one.taken_ms for one in polls]
    found.lost = len(sent.keys() - set(stamps)) + (len(stamps) - len(set(stamps)))
    found.wrong = sum(content(one) != content(sent.get(one.taken_ms, one)) for one in polls)
    missed = store.database.missed(0, EVER)
    found.lost += (len(missed) != 1) - found.missed_refused
    return found


def _cause(exc: StorageError) -> str:
    """Return which write failed, without paths and numbers."""
    text = str(exc)
    parts = [part.rpartition("/")[2] for part in text.split(": ") if not part.isdigit()]
    words = " ".join(parts).split()
    return " ".join(word for word in words if not any(c.isdigit() for c in word.strip("3()")))


class SettableClock(FaultyController):
    """A controller whose clock the test sets."""

    def __init__(self) -> None:
        self.shown_s = NOW_S
        super().__init__(clock=lambda: self.shown_s)


@pytest.mark.parametrize(
    "state", sampled({name: name for name in STATES}, ["poll goes to the journal"])
)
def test_on_a_full_disk_a_poll_is_durable_or_refused_and_recording_resumes(state, tmp_path):
    with small_disk(tmp_path / "disk") as disk, SettableClock() as pump:
        for pages_left in (0, 3, 13, 400):
            found = on_a_full_disk(disk, state, pages_left, pump)
            assert (found.lost, found.wrong, found.later) == (0, 0, 2), f"{pages_left} pages left"
            if pages_left == 0:  # what is left of the last page may still take some
                assert found.refused + found.warned + found.missed_refused > 0
            if pages_left == 400:
                assert (found.stored, found.refused, found.warned) == (TIGHT_POLLS, 0, 0)


@pytest.mark.parametrize("pages_left", [0, 1])
def test_a_full_disk_ends_the_process_with_74_and_a_line_that_says_so(pages_left, tmp_path):
    with small_disk(tmp_path / "disk") as disk, FaultyController() as pump:
        settings = configured(disk, port=pump.port)
        assert launch(disk, "poll-once").status == 0
        filler = fill(disk, pages_left)
        for _ in range(12):
            ran = launch(disk, "poll-once", "--json")
            if ran.status:
                break
        assert ran.status == 74
        assert ran.stderr.startswith("luxcli: ")
        assert ran.stderr.count("\n") == 1
        assert str(disk) in ran.stderr
        assert "disk full" in ran.stderr or "No space left on device" in ran.stderr
        assert ran.stderr.endswith(f"; free space in {settings.cache_path.parent}\n")
        assert json.loads(ran.stdout)["error"]["exit"] == 74
        filler.unlink()
        assert launch(disk, "poll-once").status == 0
        assert {content(poll) for poll in everything(settings.cache_path)} == {
            content(pump.snapshot)
        }


def test_a_poll_that_a_full_disk_keeps_from_the_database_says_where_it_waits_and_what_to_do(
    tmp_path,
):
    with small_disk(tmp_path / "disk") as disk, FaultyController() as pump:
        directory = configured(disk, port=pump.port).cache_path.parent
        assert launch(disk, "poll-once").status == 0
        settings = configured(disk, port=pump.port, flush_polls=1)
        fill(disk, 3)  # enough for a line of the journal, not for a database
        ran = launch(disk, "poll-once")
        assert ran.status == 0, ran.stderr
        assert re.search(
            rf"it waits in {settings.cache_path}\.polls-\S+ for a later flush;"
            rf" free space in {directory}\n$",
            ran.stderr,
        )


@pytest.mark.slow
def test_reports_and_archives_that_found_no_room_come_by_themselves_when_there_is_some(tmp_path):
    with small_disk(tmp_path / "disk", 16_384) as disk:
        # Half a day from now, so that the first period has polls enough not to fit as well.
        half_a_day_ago = times.local_time(round(time.time() * 1000) - DAY_MS // 2, BERLIN)
        csv_time = f"{half_a_day_ago:%H:%M}"
        settings, stamps = past(disk, 3, 1800, interval_sec=1800, csv_time=csv_time)
        filler = fill(disk, 2)
        ran = launch(disk, "rollup", "all", "--if-due", "--json")
        assert ran.status == 74
        assert 1 <= ran.stderr.count("\n") <= 3  # a line each for days, weeks and archives
        assert "No space left on device" in ran.stderr
        reports = json.loads(ran.stdout)
        assert (reports["ok"], reports["files"], reports["error"]["exit"]) == (False, [], 74)
        assert not list(disk.rglob("*.csv"))
        assert not list(disk.rglob("*.tmp"))
        filler.unlink()
        ran = launch(disk, "rollup", "all", "--if-due")
        assert (ran.status, ran.stderr) == (0, "")
        rows = [len(path.read_text().splitlines()) - 1 for path in settings.daily_dir.iterdir()]
        assert sorted(rows)[-2:] == [48, 48]
        archived = [document.read(path) for path in disk.glob("archive/????-*.json.xz")]
        kept = {poll.taken_ms for day in archived for poll in day.polls}
        midnight = archive.bounds(_today(), BERLIN)[0]
        assert kept == {ts_ms for ts_ms in stamps if ts_ms < midnight}


def test_a_read_only_disk_ends_the_process_with_74_until_it_can_be_written_again(tmp_path):
    with small_disk(tmp_path / "disk") as disk, FaultyController() as pump:
        settings = configured(disk, port=pump.port)
        assert launch(disk, "poll-once").status == 0
        for mode, status in (("ro", 74), ("rw", 0)):
            subprocess.run(["mount", "-o", f"remount,{mode}", str(disk)], check=True)
            ran = launch(disk, "poll-once")
            assert ran.status == status
            if status:
                assert ran.stderr.startswith(f"luxcli: {disk}/")
                assert "Read-only file system" in ran.stderr
        assert len(everything(settings.cache_path)) == 2


@pytest.mark.sweep
@pytest.mark.timeout(200)
def test_a_disk_that_fills_at_every_level_and_the_table_of_what_came_of_it(tmp_path, caplog):
    caplog.set_level(logging.CRITICAL)
    rows, sums, said = [], Full(), Counter()
    levels = [*range(12), 14, 17, 20, 25, 30, 40, 60, 80, 120, 190]
    with small_disk(tmp_path / "disk") as disk, SettableClock() as pump:
        for state in STATES:
            of_state = Full()
            for pages_left in levels:
                found = on_a_full_disk(disk, state, pages_left, pump)
                for total in (of_state, sums):
                    for name in ("stored", "refused", "warned", "lost", "wrong", "later"):
                        setattr(total, name, getattr(total, name) + getattr(found, name))
                said += found.said
                of_state.said += found.said
            rows.append(
                (
                    *(f"disk full: {state}", len(levels), of_state.stored, of_state.warned),
                    *(of_state.refused, of_state.lost, of_state.wrong),
                )
            )
    rows.append(_locked_for_an_hour(tmp_path / "locked"))
    text = (
        f"A file system of 4 MB in memory was filled to {len(levels)} levels (0 to {max(levels)}"
        f" pages of 4 KB left) at each of {len(STATES)} stages of a recording. Then {TIGHT_POLLS}"
        " polls ran, and two more after room was made. Each poll was either durable (0) or refused"
        " (74) with a line that names the file. The failed writes, as luxcli reported them:"
        f" {'; '.join(sorted(said))}. Recording always continued without help as soon as there was"
        ' room. "Lost" counts acknowledged polls that are not stored exactly once. In the last'
        " row, another program locks the database for an hour with a poll every 30 s."
    )
    columns = (
        *("what", "levels", "polls stored", "of these left in the buffer", "refused (74)"),
        *("lost", "wrong"),
    )
    record(50, "Storage under stress", text, columns, rows)
    assert (sums.lost, sums.wrong) == (0, 0)
    assert sums.later == 2 * len(levels) * len(STATES)
    assert len(said) > 1


# A database that is locked for a long time, or newer than this luxcli


def _locked_for_an_hour(directory: Path, polls: int = 130) -> tuple[object, ...]:
    directory.mkdir(parents=True)
    store = Store(directory / "cache.sqlite3")
    store.database.busy_wait_s = 0.01  # 2 s each would make this test a long one
    sent = [real(NOW_S * 1000 + 30_000 * number) for number in range(polls)]
    store.add(sent[0].taken_ms, sent[0])
    store.flush()
    with python(_HOLDER, store.path, _HOLD["writer"], stdin=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        added = [store.add(poll.taken_ms, poll) for poll in sent[1:]]
        other.kill()
    warned = [one for one in added if one.warning]
    assert all("locked by another program" in str(one.warning) for one in warned)
    assert {one.flushed for one in added} == {0}
    back = everything(store.path)
    lost = len({p.taken_ms for p in sent} - {p.taken_ms for p in back})
    wrong = sum(poll not in sent for poll in back)
    assert back == sent
    return ("database locked for an hour", 1, len(back), len(added), 0, lost, wrong)


@pytest.mark.slow
def test_all_polls_of_an_hour_in_which_the_database_is_locked_arrive_afterwards(tmp_path):
    assert _locked_for_an_hour(tmp_path / "locked")[2] == 130


def test_a_poll_beside_a_database_of_a_newer_schema_leaves_it_as_it_is(tmp_path):
    with FaultyController() as pump:
        settings = configured(tmp_path, port=pump.port, flush_polls=1)
        assert launch(tmp_path, "poll-once").status == 0
        with contextlib.closing(sqlite3.connect(settings.cache_path)) as db:
            db.execute("PRAGMA user_version=99")
        before = settings.cache_path.read_bytes()
        ran = launch(tmp_path, "poll-once")
        assert ran.status == 0
        assert "written by a newer luxcli" in ran.stderr
        assert "; it waits in " in ran.stderr
        for command in (("restore",), ("prune",), ("rollup", "daily")):
            assert launch(tmp_path, *command).status == 74
        assert settings.cache_path.read_bytes() == before
        with contextlib.closing(sqlite3.connect(settings.cache_path)) as db:
            db.execute("PRAGMA user_version=2")
        assert len(everything(settings.cache_path)) == 2


# A damaged database


def _flip(data: bytearray, rng: random.Random, count: int, end: int | None = None) -> None:
    for _ in range(count):
        data[rng.randrange(end or len(data))] ^= 1 << rng.randrange(8)


def _zero_pages(data: bytearray, rng: random.Random, count: int) -> None:
    for _ in range(count):
        start = PAGE * rng.randrange(len(data) // PAGE)
        data[start : start + PAGE] = bytes(PAGE)


def _truncate(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data)) :]


def _overwrite(data: bytearray, rng: random.Random) -> None:
    size = rng.choice([1, 16, 512, 4096, 65_536])
    start = rng.randrange(len(data))
    size = min(size, len(data) - start)
    data[start : start + size] = rng.randbytes(size)


def _swap_pages(data: bytearray, rng: random.Random) -> None:
    one, two = (PAGE * n for n in rng.sample(range(len(data) // PAGE), 2))
    data[one : one + PAGE], data[two : two + PAGE] = data[two : two + PAGE], data[one : one + PAGE]


Damage = Callable[[bytearray, random.Random], None]
DAMAGES: dict[str, Damage] = {
    "1 bit flipped": lambda data, rng: _flip(data, rng, 1),
    "10 bits flipped": lambda data, rng: _flip(data, rng, 10),
    "200 bits flipped": lambda data, rng: _flip(data, rng, 200),
    "bits flipped in the header": lambda data, rng: _flip(data, rng, rng.randint(1, 5), 100),
    "bits flipped in the schema": lambda data, rng: _flip(data, rng, rng.randint(1, 20), PAGE),
    "1 page zeroed": lambda data, rng: _zero_pages(data, rng, 1),
    "a tenth of the pages zeroed": lambda data, rng: _zero_pages(
        data, rng, len(data) // PAGE // 10
    ),
    "first page zeroed": lambda data, _rng: data.__setitem__(slice(0, PAGE), bytes(PAGE)),
    "cut off": _truncate,
    "random bytes over a range": _overwrite,
    "two pages exchanged": _swap_pages,
    "emptied": lambda data, _rng: data.clear(),
}


TRIAL_S = 30


@dataclass(frozen=True)
class Template:
    """A recording to be damaged, and the polls of its copies."""

    directory: Path
    polls: dict[int, Snapshot]


@dataclass(frozen=True)
class Trial:
    """The result of one damage, followed by polls and `luxcli restore`."""

    damage: str
    quarantined: int
    without_copy: int
    recovered: int
    lost: int
    wrong: int
    twice: int
    problem: str


def template_in(directory: Path, *, step_s: int = 1800) -> Template:
    """Record two archived days, half a day in journals and database, and three polls that wait."""
    settings = configured(directory)
    store = Store(settings.cache_path)
    start, noon = ms("2026-11-17T00:00"), ms("2026-11-19T12:00")
    midnight = ms("2026-11-19T00:00")
    stamps = range(start, noon, step_s * 1000)
    misses = [MissedPoll(ts_ms + 1000, "timeout", 4, 254_000, "gone") for ts_ms in stamps[::20]]
    store.merge([real(ts_ms) for ts_ms in stamps if ts_ms < midnight], misses)
    write_journals(settings.cache_path, [real(ts_ms) for ts_ms in stamps if ts_ms >= midnight])
    store.flush()
    archive.archive_due(settings, now_ms=noon, zone=BERLIN)
    waiting = [real(noon + 30_000 * number) for number in range(3)]
    for poll in waiting:
        store.add(poll.taken_ms, poll)
    return Template(directory, {poll.taken_ms: poll for poll in [*map(real, stamps), *waiting]})


def run_restore(settings: Config) -> rebuild.Restored:
    return rebuild.restore(settings, now_ms=ms("2026-11-19T15:00"), zone=BERLIN)


def attempt(template: Template, directory: Path, seed: int) -> Trial:
    """Damage a copy, go on polling, restore, and compare what is there with what was sent."""
    rng = random.Random(seed)
    name = list(DAMAGES)[seed % len(DAMAGES)]
    shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(template.directory, directory)
    settings = configured(directory)
    data = bytearray(settings.cache_path.read_bytes())
    DAMAGES[name](data, rng)
    settings.cache_path.write_bytes(data)

    reports: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda entry: reports.append(entry.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("luxcli")
    logger.addHandler(handler)
    logger.propagate = False
    problems: list[str] = []
    polls = dict(template.polls)
    wrong = 0

    def go_on(first_ms: int) -> None:
        for number in range(2):
            poll = real(first_ms + 30_000 * number)
            polls[poll.taken_ms] = poll
            Store(settings.cache_path, flush_polls=1).add(poll.taken_ms, poll)

    try:
        # Before the damage is noticed, and without a flush that might quarantine it.
        with contextlib.suppress(StorageError):
            for poll in Store(settings.cache_path).database.polls(0, EVER, damaged=[]):
                wrong += poll != polls.get(poll.taken_ms)
        go_on(ms("2026-11-19T13:00"))
        with contextlib.suppress(StorageError):
            for poll in Store(settings.cache_path).query(0, EVER, damaged=[]):
                wrong += poll != polls.get(poll.taken_ms)
        try:
            restored = run_restore(settings)
        except StorageError as exc:
            # A flipped schema number looks like a newer one: the owner has to decide.
            if "written by a newer luxcli" not in str(exc):
                raise
            reports.append(str(exc))
            Store(settings.cache_path).quarantine()
            restored = run_restore(settings)
        reports += restored.problems
        go_on(ms("2026-11-19T14:00"))
        back = list(Store(settings.cache_path).query(0, EVER))
    except Exception as exc:
        problems.append(f"{type(exc).__name__}: {exc}")
        back = []
    finally:
        logger.removeHandler(handler)
        logger.propagate = True
    stamps = [poll.taken_ms for poll in back]
    missing = polls.keys() - set(stamps)
    if missing:
        problems.append(f"{len(missing)} polls lost that another copy holds")
    return Trial(
        damage=name,
        quarantined=len(Store(settings.cache_path).quarantined_paths()),
        without_copy=0,
        recovered=0,
        lost=len(missing),
        wrong=wrong + sum(poll != polls.get(poll.taken_ms) for poll in back),
        twice=len(stamps) - len(set(stamps)),
        problem="; ".join(problems) and f"seed {seed} ({name}): {'; '.join(problems)}",
    )


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Template:
    return template_in(tmp_path_factory.mktemp("template") / "recording")


# One of each damage, and three seeds that once failed: a text in place of a number, a flush into
# pages that could not be read afterwards, the schema number of a newer luxcli.
SEEDS = {name: seed for seed, name in enumerate(DAMAGES)}
SEEDS |= {"register table exchanged": 46, "poll table exchanged": 70, "schema number": 76}


@pytest.mark.parametrize("seed", sampled(SEEDS, ["first page zeroed", "1 bit flipped"]))
def test_a_damaged_database_loses_nothing_that_another_copy_holds(seed, template, tmp_path):
    trial = attempt(template, tmp_path / "copy", seed)
    assert trial.problem == ""
    assert (trial.lost, trial.wrong, trial.twice) == (0, 0, 0)


def test_an_emptied_database_is_not_taken_for_a_new_one_silently(template, tmp_path, caplog):
    shutil.copytree(template.directory, tmp_path / "copy")
    settings = configured(tmp_path / "copy")
    os.truncate(settings.cache_path, 0)
    Store(settings.cache_path).flush()
    run_restore(settings)
    assert len(everything(settings.cache_path)) == len(template.polls)
    assert any(entry.levelno >= logging.WARNING for entry in caplog.records)


@pytest.mark.sweep
@pytest.mark.timeout(300)
def test_hundreds_of_damaged_databases_and_the_table_of_what_was_left(template, tmp_path):
    seeds = 20 * len(DAMAGES)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        trials = list(
            pool.map(
                functools.partial(_attempt_in, template, tmp_path),
                range(0, seeds, sample()),
                chunksize=10,
            )
        )
    compared = len(trials) * (len(template.polls) + 4)
    buffers = [
        damage_journal(tmp_path / "journal", seed) for seed in range(0, 20 * len(TEARS), sample())
    ]
    text = (
        f"{seeds} databases were damaged at random (reproducible seeds). Then polls ran, then"
        " `luxcli restore`, then polls again. Each recording has two archived days, half a day in a"
        " journal, and three polls that wait there. Polls read back and compared:"
        f" {compared} ({compared * 1634} values), wrong: {sum(t.wrong for t in trials)}, twice:"
        f" {sum(t.twice for t in trials)}, lost: {sum(t.lost for t in trials)}."
        f" {len(buffers)} journals were damaged in the same way before the database had taken them"
        " in; every intact line must be stored."
    )
    columns = (
        *("damage", "seeds", "quarantined", "polls hit in a journal", "of these recovered"),
        *("lost", "wrong", "twice"),
    )
    rows: list[tuple[object, ...]] = []
    for name in DAMAGES:
        group = [trial for trial in trials if trial.damage == name]
        rows.append(_summary(f"database: {name}", group))
    rows += [
        _summary(f"journal: {name}", [one for one in buffers if one.damage == name])
        for name in TEARS
    ]
    record(60, "Damaged databases and journals", text, columns, rows)
    assert [trial.problem for trial in (*trials, *buffers) if trial.problem] == []
    assert sum(t.lost + t.wrong + t.twice for t in (*trials, *buffers)) == 0


class TooLongError(Exception):
    """A trial takes far longer than the others."""


def _give_up(*_: object) -> None:
    raise TooLongError(f"not done in {TRIAL_S} s")


def _attempt_in(template: Template, directory: Path, seed: int) -> Trial:
    """Run one trial in a process of its own, where the alarm is free."""
    signal.signal(signal.SIGALRM, _give_up)
    signal.alarm(TRIAL_S)
    try:
        return attempt(template, directory / f"copy-{os.getpid()}", seed)
    finally:
        signal.alarm(0)


def _summary(name: str, trials: Sequence[Trial]) -> tuple[object, ...]:
    return (
        *(name, len(trials), sum(t.quarantined for t in trials)),
        *(sum(t.without_copy for t in trials), sum(t.recovered for t in trials)),
        *(sum(t.lost for t in trials), sum(t.wrong for t in trials)),
        sum(t.twice for t in trials),
    )


# A damaged journal

Tear = Callable[[bytes, random.Random], bytes]


def _overlaid(data: bytes, rng: random.Random, block: bytes) -> bytes:
    start = rng.randrange(len(data))
    return (data[:start] + block + data[start + len(block) :])[: len(data)]


def _inserted(data: bytes, rng: random.Random, lines: Sequence[bytes]) -> bytes:
    kept = data.splitlines(keepends=True)
    for line in lines:
        kept.insert(rng.randrange(len(kept) + 1), line + b"\n")
    return b"".join(kept)


def _flipped(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    _flip(changed, rng, rng.choice([1, 5, 30]))
    return bytes(changed)


def _without_lines(data: bytes, rng: random.Random) -> bytes:
    kept = data.splitlines(keepends=True)
    for _ in range(rng.randint(1, 5)):
        del kept[rng.randrange(len(kept))]
    return b"".join(kept)


TEARS: dict[str, Tear] = {
    "torn at the end": lambda data, rng: data[: -rng.randint(1, 200)],
    "cut off": lambda data, rng: data[: rng.randrange(len(data))],
    "garbage lines": lambda data, rng: _inserted(
        data, rng, [rng.randbytes(rng.randint(1, 3000)) for _ in range(5)]
    ),
    "lines of something else": lambda data, rng: _inserted(
        data, rng, [b"{}", b'{"v":1}', b"[]", b"null", b"\xff\xfe", b'{"v":1,"i":9,"t":1}']
    ),
    "NULs over a block": lambda data, rng: _overlaid(data, rng, bytes(rng.choice([1, 512, 4096]))),
    "NULs at the end": lambda data, rng: (
        data[: -rng.randint(0, 300) or None] + bytes(rng.choice([1, 512, 4096]))
    ),
    "NULs only": lambda data, _rng: bytes(len(data)),
    "bits flipped": _flipped,
    "lines lost": _without_lines,
    "everything twice": lambda data, _rng: data + data,
}


@functools.cache
def _filled_journal() -> tuple[dict[int, Snapshot], bytes]:
    """Return the polls of 50 lines, some of them missed polls, and the journal with these lines."""
    polls = {}
    with tempfile.TemporaryDirectory() as directory:
        store = Store(Path(directory) / "cache.sqlite3", flush_polls=1000)
        for number in range(50):
            ts_ms = NOW_S * 1000 + 30_000 * number
            if number % 9 == 4:
                store.add_missed(MissedPoll(ts_ms, "timeout", 4, 254_000, "gone"))
                continue
            polls[ts_ms] = small(ts_ms, {1: number, 7: number // 3}, {1: number // 17})
            store.add(ts_ms, polls[ts_ms])
        [whole] = journals(store.path).values()
        return polls, whole


def damage_journal(directory: Path, seed: int) -> Trial:
    """Damage a journal, go on polling and flush: whole lines are stored, others copied apart."""
    rng = random.Random(seed)
    name = list(TEARS)[seed % len(TEARS)]
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    store = Store(directory / "cache.sqlite3", flush_polls=1000)
    polls, whole = _filled_journal()
    polls = dict(polls)
    damaged = TEARS[name](whole, rng)
    journal.path_at(store.path, NOW_S * 1000).write_bytes(damaged)
    intact = _intact(whole, damaged)

    after = [small(NOW_S * 1000 + 10**7 + number, {1: 5}, {1: number}) for number in range(3)]
    for poll in after:
        store.add(poll.taken_ms, poll)
        polls[poll.taken_ms] = poll
    problem, rejected, back = "", 0, []
    logging.getLogger("luxcli").setLevel(logging.CRITICAL)
    try:
        rejected = store.flush().rejected
        back = list(store.query(0, EVER))
    except Exception as exc:
        problem = f"seed {seed} ({name}): {type(exc).__name__}: {exc}"
    finally:
        logging.getLogger("luxcli").setLevel(logging.NOTSET)
    stamps = [poll.taken_ms for poll in back]
    missed = {miss.ts_ms for miss in store.database.missed(0, EVER)}
    required = {ts_ms for ts_ms in intact if ts_ms in polls} | {poll.taken_ms for poll in after}
    lost = (required - set(stamps)) | ({t for t in intact if t not in polls} - missed)
    gone = polls.keys() - set(stamps)
    torn = {*damaged.split(b"\n")} - {*whole.split(b"\n"), b""}
    if torn and not rejected:
        problem = f"seed {seed} ({name}): nothing was reported"
    return Trial(
        damage=name,
        quarantined=rejected,
        without_copy=len(polls) - len(required),
        recovered=len(polls) - len(required) - len(gone),
        lost=len(lost),
        wrong=sum(poll != polls.get(poll.taken_ms) for poll in back),
        twice=len(stamps) - len(set(stamps)),
        problem=problem,
    )


def _intact(whole: bytes, damaged: bytes) -> set[int]:
    """Return the times of the intact lines whose line of settings is intact too."""
    left = set(damaged.split(b"\n"))
    found: set[int] = set()
    settings = b""
    for line in whole.splitlines():
        fields = json.loads(line)
        if "p" in fields:
            settings = line
        if line in left and ("m" in fields or settings in left):
            found.add(fields["t"])
    return found


@pytest.mark.parametrize("seed", range(len(TEARS)), ids=TEARS)
def test_a_damaged_journal_loses_only_the_damaged_lines(seed, tmp_path):
    trial = damage_journal(tmp_path / "journal", seed)
    assert trial.problem == ""
    assert (trial.lost, trial.wrong, trial.twice) == (0, 0, 0)


def test_the_trials_notice_what_they_are_there_for(template, tmp_path):
    """A value that was changed with a fitting checksum escapes luxcli, but not this check."""
    changed = replace(template, polls={ts: real(ts + 7000) for ts in template.polls})
    assert attempt(changed, tmp_path / "copy", 0).wrong > 0
