"""Commands killed at any file operation, and power cuts at any moment: nothing is lost or wrong.

The docstrings of `crash` and `power_loss` define a kill and a power cut.
"""

import pickle
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from luxcli.maintenance import archive
from luxcli.model import Snapshot
from luxcli.rollup import rollup
from luxcli.store.store import Store
from tests.support import crash, crash_setup, power_loss, reliability
from tests.support.crash import Plan, Truth, Verdict, Workers
from tests.support.power_loss import Order, Tried
from tests.support.scenario import BERLIN, HOUR_MS, configured, ms
from tests.support.tiers import sampled

# Much data, paths that other tests go through as well: measuring would double the time.
pytestmark = pytest.mark.no_cover

START, NOW, STEP_MS = ms("2026-11-17T03:00"), ms("2026-11-19T12:00"), 3 * HOUR_MS
# The polls since then wait in the journals.
LAST_FLUSH = NOW - STEP_MS
# The times whose polls the controller sends in turn.
MOMENTS_S = [NOW // 1000 + 1800 * number for number in range(4)]
# There are hundreds of writes of pages: only every tenth is also cut in half.
SOME_PAGES = 10
SOME_REBUILT = 4
MANY_CALLS = 150
POLL, DAILY = ("poll-once",), ("rollup", "daily", "--if-due")


@dataclass(frozen=True, slots=True)
class Case:
    """A command and the state of the data directory in which it is killed.

    Attributes:
        name: Name in the table.
        arguments: The command.
        settings: Settings that differ from the default.
        state: "empty", "intact", or a damage to the database, see `damage`.
        reported: Local time up to which CSVs and archives exist.
    """

    name: str
    arguments: tuple[str, ...]
    settings: dict[str, object] = field(default_factory=dict)
    state: str = "intact"
    reported: str = "2026-11-19T09:00"


BEFORE_CSV = "2026-11-19T03:00"
OLD = {"cache_retention_days": 1, "csv_retention_days": 1, "disk_usage_limit_percent": 100}
CASES = [
    Case("poll-once, the first ever", POLL, state="empty"),
    Case("poll-once", POLL),
    Case("poll-once, creates the database", POLL, {"flush_polls": 1}, "empty"),
    Case("poll-once, flushes", POLL, {"flush_polls": 2}),
    Case("poll-once, flushes into a damaged database", POLL, {"flush_polls": 2}, "zeroed"),
    Case("rollup daily", DAILY, reported=""),
    Case("rollup daily, rebuilds a quarantined database", DAILY, {}, "quarantined", BEFORE_CSV),
    Case("rollup daily, finds the database damaged", DAILY, {}, "overwritten", BEFORE_CSV),
    Case("rollup weekly", ("rollup", "weekly", "--if-due"), {"weekly_day": "wednesday"}),
    Case("rollup all, up to now", ("rollup", "all")),
    Case("prune", ("prune",), OLD),
    Case("restore, database deleted", ("restore",), {}, "deleted"),
    Case("restore, a page overwritten", ("restore",), {}, "overwritten"),
]


@pytest.fixture(scope="module")
def workers(tmp_path_factory) -> Iterator[Workers]:
    with crash_setup.workers(tmp_path_factory.mktemp("library")) as workers:
        yield workers


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with crash_setup.simulator(MOMENTS_S) as simulator:
        yield simulator.port


@pytest.fixture(scope="module")
def states(tmp_path_factory) -> "States":
    return States(tmp_path_factory.mktemp("states"))


class States:
    """Data directories, each made once."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        replay = crash_setup.Small()
        self.sent = {blocks(replay.at(moment_s)) for moment_s in MOMENTS_S}
        self.polls = {
            ts_ms: replay.at(ts_ms / 1000)._replace(taken_ms=ts_ms)
            for ts_ms in range(START, NOW, STEP_MS)
        }

    def make(self, state: str, reported: str, last_flush: int = LAST_FLUSH) -> Path:
        """Return a directory with ``data`` in it."""
        path = self._directory / f"{state}{reported[-5:].replace(':', '')}-{last_flush}"
        if not path.exists():
            (path / "data").mkdir(parents=True)
            if state == "empty":
                (path / "data").rmdir()
            else:
                self._fill(path / "data", state, reported, last_flush)
        return path

    def csvs(self, **settings: object) -> dict[str, bytes]:
        """Return what every closed period's CSV must be."""
        path = self._directory / f"csvs-{'-'.join(map(str, settings.values()))}"
        config = configured(path, **settings)
        if not path.exists():
            path.mkdir()
            self._record(Store(config.cache_path, flush_polls=1000), self.polls)
            for kind in ("daily", "weekly"):
                rollup.rollup_due(config, kind, now_ms=NOW, zone=BERLIN)
        found = crash.final_files(path)
        for content in found.values():
            assert crash.is_complete_csv(content)
        return found

    def _fill(self, data: Path, state: str, reported: str, last_flush: int) -> None:
        config = configured(data)
        store = Store(config.cache_path, flush_polls=1000)
        self._record(store, [ts_ms for ts_ms in self.polls if ts_ms < last_flush])
        store.flush()
        if reported:
            rollup.rollup_due(config, "daily", now_ms=ms(reported), zone=BERLIN)
            archive.archive_due(config, now_ms=ms(reported), zone=BERLIN)
        damage(store, state)
        self._record(store, [ts_ms for ts_ms in self.polls if ts_ms >= last_flush])

    def _record(self, store: Store, times) -> None:
        for ts_ms in times:
            store.add(ts_ms, self.polls[ts_ms])


def blocks(poll: Snapshot) -> crash.Blocks:
    return (poll.calculations, poll.parameters, poll.visibilities)


def damage(store: Store, state: str) -> None:
    if state == "zeroed":
        with store.path.open("r+b") as file:
            file.write(bytes(4096))
    elif state == "quarantined":
        store.quarantine()
    elif state == "overwritten":
        with store.path.open("r+b") as file:
            file.seek(store.path.stat().st_size // 4096 // 2 * 4096)
            file.write(b"\xa5" * 4096)
    elif state == "deleted":
        store.path.unlink()


def planned(workers: Workers, case: Case, states: States, port: int, directory: Path):
    """Return the file of a plan, completed by an undisturbed run, and its kill points."""
    polls = {} if case.state == "empty" else states.polls
    whole = states.csvs(**{key: case.settings[key] for key in case.settings if "weekly" in key})
    plan = Plan(
        states.make(case.state, case.reported),
        directory,
        case.arguments,
        NOW / 1000,
        {"host": "127.0.0.1", "port": port, "retries": 0, **case.settings},
        Truth(polls, whole, states.sent, (NOW - 2000, NOW + 90_000)),
        list(polls),
        damaged=case.state not in ("empty", "intact"),
        pruned_ms=ms("2026-11-18T00:00") if case.arguments == ("prune",) else 0,
    )
    calls, final, times = workers.call(crash.rehearse, plan)
    if plan.damaged:
        plan = replace(plan, acknowledged=[ts_ms for ts_ms in times if ts_ms in polls])
    path = directory / "plan"
    path.write_bytes(pickle.dumps(replace(plan, final=final)))
    # A rebuilt database has hundreds of pages, and SQLite rolls all of them back in the same way.
    rebuilds = plan.damaged and len(calls) > MANY_CALLS
    points = [
        (number, False)
        for number, call in enumerate(calls, 1)
        if not (rebuilds and number % SOME_REBUILT and is_page(call))
    ]
    points += [
        (number, True)
        for number, call in enumerate(calls, 1)
        if call.kind == "w" and (not number % SOME_PAGES or not is_page(call))
    ]
    return path, points


def is_page(call: crash.Call) -> bool:
    return call.kind == "w" and ".sqlite3" in Path(call.path).suffix


def kill_at(workers: Workers, plan: Path, points: Sequence[tuple[int, bool]]):
    """Kill at each point; return the number of kills, the number of states, and the verdict."""
    found = workers.map(crash.killed, [(plan, *point) for point in points])
    reached = [one for one in found if one]
    total = Verdict()
    for verdict in dict(reached).values():
        total.add(verdict)
    total.checked = sum(verdict.checked for _digest, verdict in reached)
    return len(reached), len({digest for digest, _verdict in reached}), total


@pytest.mark.parametrize(
    "case", sampled({case.name: case for case in CASES}, ["poll-once, flushes", "prune"])
)
def test_a_killed_command_loses_nothing_and_the_next_ones_heal(
    case, workers, states, port, tmp_path
):
    plan, points = planned(workers, case, states, port, tmp_path)
    sample = points[len(points) // 6 :: len(points) // 2]
    tried, _states, verdict = kill_at(workers, plan, sample)
    assert verdict.problems == []
    assert tried == len(sample)


def test_a_command_that_is_not_killed_makes_no_more_calls_than_were_tried(
    workers, states, port, tmp_path
):
    plan, points = planned(workers, CASES[1], states, port, tmp_path)
    assert kill_at(workers, plan, [(points[-1][0] + 100, False)])[0] == 0


def test_reports_made_before_the_database_was_deleted_stay_as_they_are(workers, states, tmp_path):
    work = shutil.copytree(states.make("deleted", "2026-11-19T09:00"), tmp_path / "work")
    before = crash.final_files(work / "data")
    for arguments in (("restore",), DAILY, ("rollup", "daily")):
        assert not workers.call(crash.command, work, arguments, NOW / 1000, {}).status
    after = crash.final_files(work / "data")
    assert [name for name in before if name.endswith(".csv") and before[name] != after[name]] == []


def test_reports_made_before_the_directory_was_moved_stay_as_they_are(workers, states, tmp_path):
    work = shutil.copytree(states.make("intact", "2026-11-19T09:00"), tmp_path / "work")
    before = crash.final_files(work / "data")
    for arguments in (DAILY, ("rollup", "daily")):
        assert not workers.call(crash.command, work, arguments, NOW / 1000, {}).status
    after = crash.final_files(work / "data")
    assert [name for name in before if name.endswith(".csv") and before[name] != after[name]] == []


@pytest.mark.slow
@pytest.mark.parametrize("first", [1, 6, 11])
def test_a_roll_up_that_finds_the_database_damaged_reports_all_that_can_be_read(
    workers, states, tmp_path, first
):
    intact = states.make("intact", BEFORE_CSV, ms(BEFORE_CSV))
    name = "reports/daily/2026-11-19_daily.csv"
    incomplete = []
    for page in range(first, (intact / "data" / "cache.sqlite3").stat().st_size // 4096, 15):
        work = shutil.copytree(intact, tmp_path / str(page))
        with (work / "data" / "cache.sqlite3").open("r+b") as file:
            file.seek(page * 4096)
            file.write(b"\xa5" * 4096)
        workers.call(crash.command, work, DAILY, NOW / 1000, {})
        workers.call(crash.command, work, DAILY, NOW / 1000, {})
        day = (ms("2026-11-18T07:00"), ms("2026-11-19T07:00"))
        stored = len(list(Store(work / "data" / "cache.sqlite3").query(*day)))
        rows = crash.final_files(work / "data").get(name, b"\n").count(b"\n") - 1
        if rows < stored:
            incomplete.append((page, rows, stored))
    assert incomplete == []


@pytest.mark.sweep
@pytest.mark.timeout(3600)
def test_commands_killed_at_every_call_lose_nothing(workers, states, port, tmp_path):
    rows, problems = [], []
    for number, case in enumerate(CASES):
        (directory := tmp_path / str(number)).mkdir()
        plan, points = planned(workers, case, states, port, directory)
        tried, left, total = kill_at(workers, plan, points[:: reliability.sample()])
        found = (total.lost, total.duplicated, total.wrong, total.half, total.unhealed)
        rows.append((case.name, tried, left, total.checked, *found))
        problems += [f"{case.name}: {problem}" for problem in total.problems]
        shutil.rmtree(directory)
    points, left, compared, lost, twice, wrong, half, unhealed = (
        sum(row[column] for row in rows) for column in range(1, 9)
    )
    columns = "command, kill points, states left, polls compared, lost, twice, wrong"
    reliability.record(
        30,
        "Killed at every system call",
        "SIGKILL ended each command before each of its calls that change a file, in one run "
        "per call (for the pages of a rebuilt database: before every fourth), and after half "
        "of the bytes of each write (for pages of the database: of every tenth): "
        f"{points} kill points, "
        f"which left {left} different states. All polls acknowledged before were looked for "
        f"and compared, {compared} comparisons: {lost} lost, {twice} twice, {wrong} wrong. "
        f"CSVs or archives that were incomplete under their final name: {half}. Then "
        f"`poll-once`, `rollup daily --if-due` and the command itself ran as usual: {unhealed} "
        "of these runs failed or left temporary files.",
        [*columns.split(", "), "incomplete files", "failed afterwards"],
        rows,
    )
    assert problems == []


OLD_DIRECTORIES = ("data", "data/reports", "data/reports/daily", "data/reports/weekly")
RECORDED: dict[str, object] = {"flush_polls": 3, "weekly_day": "wednesday", "retries": 0}


def orders(first: str, last: str) -> list[Order]:
    """Return the commands that a scheduler runs between two times, with few polls a day."""
    found = []
    flushed = 0
    for ts_ms in range(ms(first), ms(last) + 1, 4 * HOUR_MS):
        flushed += 1
        name = "poll-once, flushes" if flushed % 3 == 0 else "poll-once"
        found.append(Order(name, (*POLL, "--json"), ts_ms / 1000))
        if ts_ms % (24 * HOUR_MS) == ms("2026-11-18T08:00") % (24 * HOUR_MS):
            flushed = 0  # by the roll-up
            found.append(Order("rollup daily", DAILY, ts_ms / 1000 + 300))
    weekly = ("rollup", "weekly", "--if-due")
    found.append(Order("rollup weekly", weekly, ms(last) / 1000 + 600))
    pruned_ms = ms("2026-11-18T00:00")
    found.append(Order("prune", ("prune",), ms(last) / 1000 + 900, OLD, pruned_ms=pruned_ms))
    return found


@pytest.fixture(scope="module")
def recording(workers, port, tmp_path_factory) -> Path:
    """A poll every four hours, roll-ups and a prune, from the first poll on."""
    directory = tmp_path_factory.mktemp("recording")
    return recorded(workers, directory, port, orders("2026-11-16T20:00", "2026-11-19T12:00"))


def recorded(
    workers: Workers,
    directory: Path,
    port: int,
    wanted: list[Order],
    directories: Sequence[str] = OLD_DIRECTORIES,
) -> Path:
    settings = {**RECORDED, "host": "127.0.0.1", "port": port}
    made = workers.call(power_loss.record, directory / "work", wanted, settings, directories)
    path = directory / "recording"
    path.write_bytes(pickle.dumps(made))
    return path


def cut_power(workers: Workers, path: Path, cuts: Sequence[int], seeds: Sequence[int]):
    """Return what was found after cuts, by part of the recording."""
    chunks = [cuts[start : start + 40] for start in range(0, len(cuts), 40)]
    found: dict[str, Tried] = {}
    for part in workers.map(power_loss.cut, [(path, chunk, seeds, RECORDED) for chunk in chunks]):
        for name, tried in part.items():
            found.setdefault(name, Tried()).add(tried)
    return found


def useful_cuts(path: Path) -> list[int]:
    """Return the numbers of calls after which the disk may differ; lock files do not count."""
    calls = pickle.loads(path.read_bytes()).calls
    return [0, *(n for n, call in enumerate(calls, 1) if not call.path.endswith(".lock"))]


@pytest.mark.slow
def test_every_change_of_a_file_is_recorded(recording, workers):
    made = pickle.loads(recording.read_bytes())
    assert workers.call(power_loss.differs_by, made, recording.parent / "work") == []
    assert len(made.truth.polls) == 17


@pytest.mark.slow
def test_a_power_cut_loses_no_acknowledged_poll(recording, workers):
    cuts = useful_cuts(recording)
    found = cut_power(workers, recording, cuts[7 :: len(cuts) // 12], [1])
    assert [problem for tried in found.values() for problem in tried.verdict.problems] == []
    assert sum(tried.states for tried in found.values()) >= 20


@pytest.mark.slow
@pytest.mark.parametrize("directories", [(), ("data",), ("data", "data/reports")])
def test_a_power_cut_takes_no_new_directory_with_what_was_acknowledged_in_it(
    directories, workers, port, tmp_path
):
    wanted = [
        Order("poll-once", (*POLL, "--json"), ms("2026-11-17T03:00") / 1000),
        Order("poll-once", (*POLL, "--json"), ms("2026-11-17T06:00") / 1000),
        Order("rollup daily", DAILY, ms("2026-11-17T08:00") / 1000),
    ]
    path = recorded(workers, tmp_path, port, wanted, directories)
    made = pickle.loads(path.read_bytes())
    ends = [run.start for run in made.runs]
    found = cut_power(workers, path, ends, [])
    assert [problem for tried in found.values() for problem in tried.verdict.problems] == []


@pytest.mark.slow
def test_a_poll_after_a_killed_one_survives_a_power_cut(workers, port, tmp_path):
    first = Order("poll-once", (*POLL, "--json"), ms("2026-11-17T03:00") / 1000)
    second = replace(first, clock_s=ms("2026-11-17T03:05") / 1000)
    undisturbed = pickle.loads(recorded(workers, tmp_path, port, [first]).read_bytes()).calls
    begun = next(n for n, call in enumerate(undisturbed, 1) if call.path.endswith(".jsonl"))
    problems = []
    for kill_at in range(begun, len(undisturbed) + 1):
        (directory := tmp_path / str(kill_at)).mkdir()
        killed = replace(first, name=f"killed at {kill_at}", kill_at=kill_at)
        path = recorded(workers, directory, port, [killed, second])
        end = len(pickle.loads(path.read_bytes()).calls)
        for tried in cut_power(workers, path, [end], [1, 2]).values():
            problems += [f"killed at {kill_at}, {text}" for text in tried.verdict.problems]
    assert problems == []


def test_a_database_file_that_is_still_empty_stops_no_roll_up(workers, port, tmp_path):
    (tmp_path / "work" / "data").mkdir(parents=True)
    (tmp_path / "work" / "data" / "cache.sqlite3").touch()
    for arguments in (DAILY, ("prune",), ("restore",)):
        ended = workers.call(crash.command, tmp_path / "work", arguments, NOW / 1000, {})
        assert (ended.status, ended.stderr) == (0, "")


@pytest.mark.sweep
@pytest.mark.timeout(3600)
def test_power_cuts_at_every_moment_lose_nothing(recording, workers):
    cuts_tried = useful_cuts(recording)[:: reliability.sample()]
    found = cut_power(workers, recording, cuts_tried, range(3))
    rows = []
    for name, tried in found.items():
        counts = (tried.cuts, tried.states, len(tried.distinct), tried.verdict.checked)
        total = tried.verdict
        faults = (total.lost, total.duplicated, total.wrong, total.half, total.unhealed)
        rows.append((name, *counts, *faults))
    cuts, tried, distinct, compared, lost, twice, wrong, half, unhealed = (
        sum(row[column] for row in rows) for column in range(1, 10)
    )
    columns = "command, cuts, states, different, polls compared, lost, twice, wrong"
    reliability.record(
        40,
        "Power cuts",
        "A recorder noted all calls that change a file while luxcli polled, flushed, wrote "
        "CSVs and archives, and pruned, from the first poll on. A power cut was simulated "
        f"after each of {cuts} calls. Data without a sync was dropped, kept, or kept in part: "
        "any sectors in any order, the last one torn, names independent of contents. This "
        f"gave {tried} states of the disk; {distinct} of them differ after SQLite's rollback. "
        f"All polls acknowledged before the cut were looked for and compared, {compared} "
        f"comparisons: {lost} lost, {twice} twice, {wrong} wrong. CSVs or archives that were "
        f"incomplete under their final name: {half}. States in which a later command failed or "
        f"temporary files stayed: {unhealed}.",
        [*columns.split(", "), "incomplete files", "failed afterwards"],
        rows,
    )
    assert [problem for tried in found.values() for problem in tried.verdict.problems] == []
