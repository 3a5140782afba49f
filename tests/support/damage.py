"""Histories of which a file is damaged, and the scheduled runs that heal them.

`trial` runs in one of `crash.Workers`: commands are processes of their own, at a time of the test's
choice.
"""

import functools
import itertools
import pickle
import random
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from luxcli.errors import LuxcliError, StorageError
from luxcli.maintenance import document
from luxcli.model import Snapshot
from luxcli.store.store import Store
from tests.support import crash

PAGE = 4096
HOUR_S = 3600
DAY_S = 24 * HOUR_S
EVER = 1 << 60
POLL, ROLLUP, PRUNE = ("poll-once",), ("rollup", "all", "--if-due"), ("prune",)
RESTORE = ("restore",)

Damage = Callable[[bytes, random.Random], bytes]


@dataclass(frozen=True, slots=True)
class History:
    """What is damaged in each trial.

    Attributes:
        directory: Holds ``data``, the data directory.
        polls: Every poll by its time.
        waiting: Times of the polls that are in a journal alone.
        sent: Blocks that the simulator may send.
        clock_s: When the first run begins, seconds since the epoch, UTC.
        settings: As for `crash.command`.
    """

    directory: Path
    polls: Mapping[int, Snapshot]
    waiting: frozenset[int]
    sent: frozenset[crash.Blocks]
    clock_s: float
    settings: Mapping[str, object]


@dataclass(slots=True)
class Healing:
    """What came of one damage.

    Attributes:
        file: The kind of the file.
        damage: Name of the damage.
        runs: Scheduled runs until everything was there again; 0 for none.
        by: Polls in the database again after the first command of each kind, by that kind.
        compared: Polls compared.
        wrong, lost: Polls with wrong values, and those that are in no file any more.
        waiting_lost: Polls that only the damaged journal held.
        failed: Commands that ended with status 1 or with a traceback.
        noticed: Command that quarantined the database, empty if none did.
        problems: What is wrong, as text.
    """

    file: str
    damage: str
    runs: int = 0
    by: dict[str, int] = field(default_factory=dict)
    compared: int = 0
    wrong: int = 0
    lost: int = 0
    waiting_lost: int = 0
    failed: int = 0
    noticed: str = ""
    problems: list[str] = field(default_factory=list)

    def complain(self, kind: str, text: str, count: int = 1) -> None:
        """Count a problem and describe it."""
        setattr(self, kind, getattr(self, kind) + count)
        self.problems.append(text)


def flip(count: int) -> Damage:
    """Return a damage that flips so many bits."""

    def damaged(data: bytes, rng: random.Random) -> bytes:
        changed = bytearray(data)
        for _ in range(count):
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
        return bytes(changed)

    return damaged


def overwrite(filler: Callable[[int, random.Random], bytes]) -> Damage:
    """Return a damage that overwrites a page."""

    def damaged(data: bytes, rng: random.Random) -> bytes:
        start = rng.randrange((len(data) + PAGE - 1) // PAGE) * PAGE
        return (data[:start] + filler(PAGE, rng) + data[start + PAGE :])[: len(data)]

    return damaged


def zeros(count: int, _rng: random.Random) -> bytes:
    """Return so many zeros."""
    return bytes(count)


def noise(count: int, rng: random.Random) -> bytes:
    """Return so many random bytes."""
    return rng.randbytes(count)


DAMAGES: Mapping[str, Damage] = {
    "1 bit flipped": flip(1),
    "10 bits flipped": flip(10),
    "a page zeroed": overwrite(zeros),
    "a page overwritten": overwrite(noise),
    "cut": lambda data, rng: data[: rng.randrange(len(data))],
    "emptied": lambda _data, _rng: b"",
}


def write(history: History, path: Path) -> Path:
    """Store a history for `trial`."""
    path.write_bytes(pickle.dumps(history))
    return path


@functools.lru_cache(2)
def _history(path: Path) -> History:
    history: History = pickle.loads(path.read_bytes())
    return history


def damage_file(path: Path, name: str, rng: random.Random) -> None:
    """Do a damage to a file; "deleted" is one as well."""
    if name == "deleted":
        path.unlink()
    elif name == "page 1 zeroed":
        path.write_bytes(bytes(PAGE) + path.read_bytes()[PAGE:])
    elif path.stat().st_size or name == "emptied":
        path.write_bytes(DAMAGES[name](path.read_bytes(), rng))


def kind_of(path: Path) -> str:
    """Return what a file of the data directory is."""
    name = path.name
    if path.parent.name == "archive" and name != ".device.json":
        return "catalogue" if name.startswith("registers") else "archive"
    for part, kind in ((".polls-", "journal"), (".rejected", "rejected lines")):
        if part in name:
            return kind
    return "database" if path.suffix == ".sqlite3" else "notes"


def trial(
    history_path: Path, scratch: Path, seed: int, file: str, damage: str, most_runs: int
) -> Healing:
    """Damage a copy of the history, let the scheduler run, and compare after each run.

    Args:
        history_path: From `write`.
        scratch: Where copies are made.
        seed: Of the random numbers.
        file: Path of the file below the data directory.
        damage: Name of the damage, as for `damage_file`.
        most_runs: Scheduled runs after which it has to be healed: the first three hourly, the
            others daily.
    """
    history = _history(history_path)
    work = scratch / f"work-{seed}"
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(history.directory, work)
    data = work / "data"
    healing = Healing(kind_of(data / file), damage)
    damage_file(data / file, damage, random.Random(seed))
    run = _Runs(history, work, healing, data / file)
    for number, clock_s in enumerate(_clock(history.clock_s, most_runs), 1):
        is_new_day = number > 3
        for order in (POLL, ROLLUP, *([PRUNE] if is_new_day else [])):
            run.command(order, clock_s)
        if run.is_healed():
            healing.runs = number
            break
    else:
        run.command(RESTORE, clock_s + 60)
        run.judge()
    shutil.rmtree(work)
    healing.problems = [f"seed {seed}, {file}, {damage}: {text}" for text in healing.problems]
    return healing


def _clock(begin_s: float, count: int) -> Iterator[float]:
    hours = [begin_s + HOUR_S * number for number in range(3)]
    days = (hours[-1] + DAY_S * number for number in itertools.count(1))
    return itertools.islice(itertools.chain(hours, days), count)


class _Runs:
    """Commands on a damaged copy, and what is there after them."""

    def __init__(self, history: History, work: Path, healing: Healing, file: Path) -> None:
        self._history, self._work, self._healing, self._file = history, work, healing, file
        self._store = Store(work / "data" / "cache.sqlite3")
        self._last_ms = max(history.polls)
        self._there = self._count()

    def command(self, arguments: tuple[str, ...], clock_s: float) -> None:
        """Run a command; note what it quarantined and how many polls it put back."""
        healing, settings = self._healing, self._history.settings
        ended = crash.command(self._work, arguments, clock_s, settings)
        if ended.status in (1, 70) or ended.status < 0 or "Traceback" in ended.stderr:
            healing.complain("failed", f"{arguments} ended with {ended.status}: {ended.stderr}")
        elif ended.status not in (0, 3, 74, 75):
            healing.problems.append(f"{arguments} ended with {ended.status}: {ended.stderr}")
        if not healing.noticed and self._store.quarantined_paths():
            healing.noticed = arguments[0]
        there = self._count()
        healing.by[arguments[0]] = healing.by.get(arguments[0], 0) + max(0, there - self._there)
        self._there = there

    def _count(self) -> int:
        with suppress(LuxcliError):
            return self._store.database.count(0, EVER)
        return 0

    def is_healed(self) -> bool:
        """Whether the database holds every poll, and every archive those of its day."""
        if self._healing.file == "archive" and not self._archive(self._file):
            return False  # which takes weeks
        found, damaged = self._stored()
        lost = self._history.polls.keys() - found
        return (
            not damaged
            and not lost - self._waiting_lost(lost)
            and all(self._archive(path) for path in self._store.archive_paths())
        ) and self.judge()

    def _waiting_lost(self, lost: set[int]) -> set[int]:
        return lost & self._history.waiting if self._healing.file == "journal" else set()

    def judge(self) -> bool:
        """Count what is lost; return whether nothing is."""
        found, _damaged = self._stored()
        lost = self._history.polls.keys() - found
        waiting = self._waiting_lost(lost)
        self._healing.waiting_lost = len(waiting)
        if lost - waiting:
            times = sorted(lost - waiting)
            self._healing.complain("lost", f"lost: {times[:3]}...", len(times))
        return not lost - waiting

    def _stored(self) -> tuple[set[int], list[int]]:
        """Compare everything in the database and return the times of what is there."""
        found: set[int] = set()
        damaged: list[int] = []
        with suppress(StorageError):
            for poll in self._store.query(0, EVER, damaged=damaged):
                found.add(poll.taken_ms)
                self._compare(poll)
            return found, damaged
        return found, [0]

    def _archive(self, path: Path) -> bool:
        try:
            day = document.read(path)
        except StorageError:
            return False
        for poll in day.polls:
            self._compare(poll)
        start_ms, stop_ms = day.span
        expected = {ts_ms for ts_ms in self._history.polls if start_ms <= ts_ms < stop_ms}
        return expected <= {poll.taken_ms for poll in day.polls} | self._waiting_lost(expected)

    def _compare(self, poll: Snapshot) -> None:
        self._healing.compared += 1
        truth = self._history.polls.get(poll.taken_ms)
        if truth is not None:
            if poll != truth:
                self._healing.complain("wrong", f"{poll.taken_ms} differs")
            return
        blocks = (poll.calculations, poll.parameters, poll.visibilities)
        if poll.taken_ms <= self._last_ms or blocks not in self._history.sent:
            self._healing.complain("wrong", f"{poll.taken_ms} was never sent")
