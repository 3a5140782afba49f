"""A backlog of weeks is taken into the database beside polls: none is dropped, none waits."""

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import pytest

from luxcli.model import Snapshot
from luxcli.store.store import Store
from tests.conftest import Cli
from tests.controller.test_faults import launch
from tests.store.test_stress import configured, content
from tests.support.builders import python, real, reals, write_journals
from tests.support.faulty_controller import FaultyController
from tests.support.reliability import record, sample

pytestmark = pytest.mark.no_cover

EVER = 1 << 60
STEP_MS = 30_000
EVERY_S = 2.0
# Another process that adds polls and says how long each took.
ADDER = """
import sys, time
from pathlib import Path
from luxcli.store.store import Store
from tests.support.builders import real
path, flush_polls, every_s = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
print("ready", flush=True)
while True:
    ts_ms = round(time.time() * 1000) + 500
    poll = real(ts_ms)
    began = time.monotonic()
    added = Store(path, flush_polls=flush_polls).add(ts_ms, poll)
    print(ts_ms, time.monotonic() - began, added.warning or "-", flush=True)
    time.sleep(every_s)
"""


@dataclass(frozen=True)
class Taken:
    """What became of polls beside a roll-up that takes in a backlog.

    Attributes:
        backlog: Polls that waited.
        took_s: The roll-up.
        read: Polls that were read from a heat pump meanwhile, or added by another process.
        stored: Those that came back equal.
        dropped: Those that did not.
        lost: Polls of the backlog that did not come back.
        longest_s: Longest run of `poll-once`.
        longest_add_s: Longest wait of a poll that was added.
        problems: What was said, or ended with another status than 0.
    """

    backlog: int
    took_s: float
    read: int
    stored: int
    dropped: int
    lost: int
    longest_s: float
    longest_add_s: float
    problems: tuple[str, ...]


def weeks(count: int) -> Iterable[Snapshot]:
    """Return polls up to now, a heat pump's day over and over."""
    stop_ms = int(time.time()) * 1000
    day = cycle(reals(min(count, 2000)))
    for number, poll in enumerate(islice(day, count)):
        yield poll._replace(taken_ms=stop_ms - (count - number) * STEP_MS)


def beside_polls(directory: Path, count: int, flush_polls: int, every_s: float) -> Taken:
    """Start a roll-up with a backlog of `count` polls, and poll until it has ended."""
    with FaultyController() as pump:
        settings = configured(
            directory,
            port=pump.port,
            flush_polls=flush_polls,
            output_dirs={"daily": str(directory / "daily"), "weekly": str(directory / "weekly")},
        )
        store = Store(settings.cache_path)
        sent = {}
        for batch in _batches(weeks(count)):
            write_journals(store.path, batch)
            sent |= {poll.taken_ms: hash(content(poll)) for poll in batch}
        commands = Cli(directory, measured=False)
        adder = python(ADDER, store.path, flush_polls, every_s)
        assert adder.stdout is not None
        assert adder.stdout.readline() == "ready\n"
        began = time.monotonic()
        rollup = commands.start("rollup", "daily")
        problems, took, read = [], [], {}
        while rollup.poll() is None or len(took) < 3:
            ran = launch(directory, "poll-once", "--json")
            took.append(ran.took_s)
            problems += [f"{ran.status}: {ran.stderr}"] if ran.status or ran.stderr else []
            if ran.status == 0:
                read[json.loads(ran.stdout)["taken_ms"]] = hash(content(pump.snapshot))
            time.sleep(every_s)
        took_s = time.monotonic() - began
        ended = commands.end(rollup)
        problems += [f"rollup: {ended.status}: {ended.stderr}"] if ended.status else []
        adder.kill()
        adds = [line.split(maxsplit=2) for line in adder.communicate()[0].splitlines()]
        commands.close()
    problems += [warning for _, _, warning in adds if warning != "-"]
    read |= {int(ts_ms): hash(content(real(int(ts_ms)))) for ts_ms, _, _ in adds}
    store.flush()
    found = {
        poll.taken_ms: hash(content(poll)) for poll in store.database.polls(0, EVER, damaged=[])
    }
    stored = sum(found.get(ts_ms) == digest for ts_ms, digest in read.items())
    return Taken(
        *(count, took_s, len(read), stored, len(took) + len(adds) - stored),
        lost=sum(found.get(ts_ms) != digest for ts_ms, digest in sent.items()),
        longest_s=max(took),
        longest_add_s=max(float(waited) for _, waited, _ in adds),
        problems=tuple(problems),
    )


def _batches(polls: Iterable[Snapshot]) -> Iterable[list[Snapshot]]:
    source = iter(polls)
    while batch := list(islice(source, 2000)):
        yield batch


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_polls_beside_a_backlog_are_stored_at_once(tmp_path):
    found = beside_polls(tmp_path, 1500, 1, 0.2)
    assert found.problems == ()
    assert (found.dropped, found.lost) == (0, 0)
    assert found.longest_add_s < 5  # about a second for the database, on a busy machine


@pytest.mark.sweep
@pytest.mark.timeout(1800)
def test_polls_beside_a_backlog_of_weeks_are_stored_at_once(tmp_path):
    count = 60_000 // sample()
    found = {each: beside_polls(tmp_path / str(each), count, each, EVERY_S) for each in (20, 1)}
    text = (
        f"{count} polls wait in the journals when `luxcli rollup daily` starts and takes them into"
        " the database. Meanwhile `luxcli poll-once` runs every 2 s, and another process adds a"
        " poll as often. Read polls that did not come back equal are dropped."
    )
    columns = "flush_polls, backlog lost, roll-up, polls read, stored, dropped, longest poll-once"
    rows = [
        (
            *(each, one.lost, f"{one.took_s:.0f} s", one.read, one.stored, one.dropped),
            *(f"{one.longest_s:.2f} s", f"{one.longest_add_s:.2f} s"),
        )
        for each, one in found.items()
    ]
    record(25, "Backlog", text, [*columns.split(", "), "longest wait of an add"], rows)
    assert [one.problems for one in found.values() if one.problems] == []
    assert {(one.dropped, one.lost) for one in found.values()} == {(0, 0)}
