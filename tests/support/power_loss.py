"""What a disk may hold after a power cut: a model of a file system, fed with recorded calls.

Durable is what was synced: fsync of a file makes its bytes and its size durable, but not its name;
fsync of a directory makes the names in it durable (created, renamed, removed), not those in other
directories. Of everything else, after a cut, each is possible:

* ``nothing`` of it has reached the disk;
* ``all`` of it has;
* ``some``: each name and each truncate has or has not; of each write any of its sectors of 512
  bytes have, in any order, the last of them torn in the middle; a file may have its new length
  already with zeros where sectors are missing.

That is harsher than any one file system: ext4 keeps more order than this.
"""

import functools
import json
import os
import pickle
import random
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from luxcli.config.config import Config
from luxcli.errors import LuxcliError
from luxcli.maintenance import archive, rebuild
from luxcli.model import Snapshot
from luxcli.rollup import rollup
from luxcli.store.store import Store
from tests.support import crash
from tests.support.crash import Call, Truth, Verdict
from tests.support.scenario import BERLIN, configured, open_store

_SECTOR: Final = 512
_DIRECTORY: Final = -1

Names = dict[str, int]
Contents = dict[int, bytearray]


@dataclass(frozen=True, slots=True)
class Step:
    """One change; `names` of the directory `parent`, or bytes (None: a new length) of a file."""

    parent: str = ""
    names: Mapping[str, int | None] = field(default_factory=dict)
    file: int = 0
    offset: int = 0
    data: bytes | None = None


class Disk:
    """What is durable, and what may be."""

    def __init__(self, root: str, directories: Sequence[str] = ()) -> None:
        self._root = root
        self._files = 0
        self._numbers: dict[int, int] = {}  # of inodes, which are used again
        self._current: Names = dict.fromkeys(directories, _DIRECTORY)
        self.names = dict(self._current)
        self.contents: Contents = {}
        self.pending: list[Step] = []

    def apply(self, call: Call) -> None:
        """Take over one recorded call."""
        path, other = self._relative(call.path), self._relative(call.other)
        if call.kind == "s":
            self._sync(path, call.inode)
        elif call.kind == "c":
            self._files += 1
            self._numbers[call.inode] = self._files
            self._name(path, {path: self._files})
        elif call.kind == "m":
            self._name(path, {path: _DIRECTORY})
        elif call.kind == "u":
            self._name(path, {path: None})
        elif call.kind == "r":
            self._name(other, {path: None, other: self._current[path]})
        elif call.kind == "t":
            self.pending.append(Step(file=self._numbers[call.inode], offset=call.size))
        else:
            number = self._numbers[call.inode]
            self.pending.append(Step(file=number, offset=call.offset, data=call.data))

    def _relative(self, path: str) -> str:
        return path.removeprefix(self._root).strip("/")

    def _name(self, path: str, names: Mapping[str, int | None]) -> None:
        self.pending.append(Step(parent=_parent(path), names=names))
        _rename(self._current, names)

    def _sync(self, path: str, inode: int) -> None:
        directory = path == "" or self._current.get(path) == _DIRECTORY
        rest = []
        for step in self.pending:
            if directory and step.names and step.parent == path:
                _rename(self.names, step.names)
            elif not directory and not step.names and step.file == self._numbers[inode]:
                _write(self.contents, step)
            else:
                rest.append(step)
        self.pending = rest

    def after_cut(self, how: str, seed: int = 0) -> dict[str, bytes | None]:
        """Return the files that are there after a cut, None for a directory."""
        names, contents = dict(self.names), {n: bytearray(c) for n, c in self.contents.items()}
        if how == "all":
            for step in self.pending:
                _rename(names, step.names) if step.names else _write(contents, step)
        elif how == "some":
            self._apply_some(names, contents, random.Random(seed))
        found: dict[str, bytes | None] = {}
        for path in sorted(names):  # a directory comes before what is in it
            if _parent(path) == "" or _parent(path) in found:
                number = names[path]
                found[path] = None if number == _DIRECTORY else bytes(contents.get(number, b""))
        return found

    def _apply_some(self, names: Names, contents: Contents, chance: random.Random) -> None:
        share = chance.choice((0.1, 0.5, 0.9))
        pieces: list[Step] = []
        for step in self.pending:
            if step.names:
                if chance.random() < share:
                    _rename(names, step.names)
            elif step.data is None:
                if chance.random() < share:
                    pieces.append(step)
            else:
                pieces += [piece for piece in _sectors(step) if chance.random() < share]
                if chance.random() < share / 2:
                    end = step.offset + len(step.data)
                    pieces.append(Step(file=step.file, offset=end, data=b""))
        chance.shuffle(pieces)
        for piece in pieces[:-1]:
            _write(contents, piece)
        for piece in pieces[-1:]:
            torn = piece.data and piece.data[: chance.randrange(len(piece.data) + 1)]
            _write(contents, replace(piece, data=torn))


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


def _rename(names: Names, changes: Mapping[str, int | None]) -> None:
    for path, number in changes.items():
        if number is None:
            names.pop(path, None)
        else:
            names[path] = number


def _write(contents: Contents, step: Step) -> None:
    content = contents.setdefault(step.file, bytearray())
    if step.data is None:
        del content[step.offset :]
        content.extend(bytes(step.offset - len(content)))
        return
    content.extend(bytes(max(0, step.offset + len(step.data) - len(content))))
    content[step.offset : step.offset + len(step.data)] = step.data


def _sectors(step: Step) -> Iterator[Step]:
    assert step.data is not None
    end = step.offset + len(step.data)
    start = step.offset
    while start < end:
        stop = min(end, start // _SECTOR * _SECTOR + _SECTOR)
        data = step.data[start - step.offset : stop - step.offset]
        yield Step(file=step.file, offset=start, data=data)
        start = stop


@dataclass(frozen=True, slots=True)
class Run:
    """One command of a recording: it made the calls up to `stop`.

    Attributes:
        name: Of the part of the recording that it belongs to.
        clock_s: When it started.
        start: Index of its first call.
        stop: Index after its last one.
        acknowledged: Times of the polls whose commands had ended well before.
        pruned_ms: Polls before may be in archives only, once this has begun.
        files: CSVs and archives that were there when it began and that it did not remove.
    """

    name: str
    clock_s: float
    start: int
    stop: int
    acknowledged: frozenset[int]
    pruned_ms: int
    files: frozenset[str]


@dataclass(frozen=True, slots=True)
class Recording:
    """All calls of some commands that ran one after the other, and what is true about them.

    `directories` were there before, durably.
    """

    root: str
    directories: Sequence[str]
    calls: Sequence[Call]
    runs: Sequence[Run]
    truth: Truth
    scratch: Path


@dataclass(frozen=True, slots=True)
class Order:
    """One command to be recorded, killed at its call `kill_at` if that is not 0."""

    name: str
    arguments: tuple[str, ...]
    clock_s: float
    settings: Mapping[str, object] = field(default_factory=dict)
    kill_at: int = 0
    pruned_ms: int = 0


def record(
    work: Path,
    orders: Sequence[Order],
    settings: Mapping[str, object],
    directories: Sequence[str],
) -> Recording:
    """Run commands in the new directory `work`, one after the other, and note their calls."""
    work.mkdir()
    for name in directories:
        (work / name).mkdir()
    log = work.with_suffix(".log")
    data = work / "data"
    runs: list[Run] = []
    acknowledged: set[int] = set()
    start, pruned_ms, polls = 0, 0, {}
    for order in orders:
        before = crash.final_files(data).keys()
        pruned_ms = max(pruned_ms, order.pruned_ms)
        fault = crash.Fault(order.kill_at, log=log)
        chosen = {**settings, **order.settings}
        ended = crash.command(work, order.arguments, order.clock_s, chosen, fault)
        assert ended.status == (crash.KILLED if order.kill_at else 0), (order, ended)
        stop = len(crash.calls(log))
        files = frozenset(before & crash.final_files(data).keys())
        known = (frozenset(acknowledged), pruned_ms, files)
        runs.append(Run(order.name, order.clock_s, start, stop, *known))
        start = stop
        if order.arguments[0] == "poll-once" and not order.kill_at:
            acknowledged.add(json.loads(ended.stdout)["taken_ms"])
        if order.arguments[0] != "poll-once" or order is orders[-1]:
            polls |= {poll.taken_ms: poll for poll in _polls(work)}
    assert polls.keys() >= acknowledged
    clock_s, files = orders[-1].clock_s, frozenset(crash.final_files(data))
    known = (frozenset(acknowledged), pruned_ms, files)
    runs.append(Run("afterwards", clock_s, stop, stop, *known))
    truth = Truth(polls, _true_csvs(work.with_suffix(".whole"), polls, clock_s, settings))
    return Recording(str(work), directories, crash.calls(log), runs, truth, work.parent)


def _polls(work: Path) -> list[Snapshot]:
    """Return what is stored, what waits too, without touching it."""
    copy = work.with_suffix(".copy")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(work, copy)
    return list(Store(copy / "data" / "cache.sqlite3").query(0, 1 << 62))


def _true_csvs(
    directory: Path,
    polls: Mapping[int, Snapshot],
    clock_s: float,
    settings: Mapping[str, object],
) -> dict[str, bytes]:
    directory.mkdir()
    settled = config_of(directory, settings)
    Store(settled.cache_path).merge(list(polls.values()), ())
    for kind in ("daily", "weekly"):
        rollup.rollup_due(settled, kind, now_ms=round(clock_s * 1000), zone=BERLIN)
    return crash.final_files(directory)


def config_of(data: Path, settings: Mapping[str, object]) -> Config:
    """Return the configuration that commands had, with another data directory."""
    return configured(data, **{key: settings[key] for key in settings if key != "host"})


def differs_by(recording: Recording, work: Path) -> list[str]:
    """Return the files in which the model of a recording and the real directory differ."""
    disk = Disk(recording.root, recording.directories)
    for call in recording.calls:
        disk.apply(call)
    model = disk.after_cut("all")
    real: dict[str, bytes | None] = {
        str(path.relative_to(work)): path.read_bytes() if path.is_file() else None
        for path in work.rglob("*")
    }
    return sorted(path for path in model.keys() | real.keys() if model.get(path) != real.get(path))


@dataclass(slots=True)
class Tried:
    """What cuts within one part of a recording left: states, distinct ones, what was found."""

    cuts: int = 0
    states: int = 0
    distinct: set[bytes] = field(default_factory=set)
    verdict: Verdict = field(default_factory=Verdict)

    def add(self, other: "Tried") -> None:
        self.cuts += other.cuts
        self.states += other.states
        self.distinct |= other.distinct
        self.verdict.add(other.verdict)


def cut(
    path: Path, cuts: Sequence[int], seeds: Sequence[int], settings: Mapping[str, object]
) -> dict[str, Tried]:
    """Cut the power after each of the given numbers of calls and look at what may be left.

    Args:
        path: Holds the pickled recording.
        cuts: Numbers of calls done before the cut, ascending.
        seeds: One state with ``some`` of what was not synced for each.
        settings: As of the configuration.

    Returns:
        What was found, by the part of the recording.
    """
    recording = _recording(path)
    disk, done = Disk(recording.root, recording.directories), 0
    found: dict[str, Tried] = {}
    for number in cuts:
        for call in recording.calls[done:number]:
            disk.apply(call)
        done = number
        run = next(run for run in reversed(recording.runs) if run.start <= number)
        tried = found.setdefault(run.name, Tried())
        tried.cuts += 1
        ways = [("nothing", 0), ("all", 0), *(("some", seed) for seed in seeds)]
        for how, seed in ways if disk.pending else ways[:1]:
            tried.states += 1
            _look(recording, run, disk.after_cut(how, seed * 100_003 + number), settings, tried)
            if tried.verdict.problems and not tried.verdict.problems[-1].startswith("cut"):
                place = f"cut after call {number} ({run.name}), {how} {seed}: "
                tried.verdict.problems = [
                    problem if problem.startswith("cut") else place + problem
                    for problem in tried.verdict.problems
                ]
    return found


def _look(
    recording: Recording,
    run: Run,
    state: Mapping[str, bytes | None],
    settings: Mapping[str, object],
    tried: Tried,
) -> None:
    tried.verdict.checked += len(run.acknowledged)
    work = recording.scratch / f"cut-{os.getpid()}"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    for name, content in state.items():
        if content is None:
            (work / name).mkdir()
        else:
            (work / name).write_bytes(content)
    digest = crash.digest(work) + str(run.start).encode()
    if digest in tried.distinct:
        return
    tried.distinct.add(digest)
    verdict = tried.verdict
    data = work / "data"
    config = config_of(data, settings)
    try:
        known = (data, recording.truth, run.acknowledged)
        verdict.add(_unchecked(crash.judge(*known, new=0, pruned_ms=run.pruned_ms)))
        _recover(config, run)
        verdict.add(_unchecked(crash.judge(*known, new=0, pruned_ms=run.pruned_ms)))
    except (LuxcliError, OSError) as exc:
        verdict.complain("unhealed", f"{type(exc).__name__}: {exc}")
    for name in run.files - crash.final_files(data).keys():
        verdict.complain("lost", f"{name} is lost")
    for name in crash.temporary_files(data):
        if name.endswith(".device.json.tmp"):
            continue  # gone with the next poll, which has not been here
        verdict.complain("unhealed", f"{name} stays behind")


def _unchecked(verdict: Verdict) -> Verdict:
    verdict.checked = 0
    return verdict


def _recover(config: Config, run: Run) -> None:
    """Do what the hourly lines of the scheduler do, in this process."""
    now_ms = round(run.clock_s * 1000) + 60_000
    open_store(config)
    rebuild.complete(config, now_ms=now_ms, zone=BERLIN)
    for kind in ("daily", "weekly"):
        rollup.rollup_due(config, kind, now_ms=now_ms, zone=BERLIN)
    archive.archive_due(config, now_ms=now_ms, zone=BERLIN)


@functools.lru_cache(2)
def _recording(path: Path) -> Recording:
    found: Recording = pickle.loads(path.read_bytes())
    return found
