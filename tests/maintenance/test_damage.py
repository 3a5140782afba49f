"""Any file damaged in any way: the next scheduled runs heal it, nothing is wrong or lost."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from luxcli.maintenance import archive, check, journals, rebuild
from luxcli.model import Snapshot
from luxcli.rollup import rollup
from luxcli.store import owner
from luxcli.store.store import Store
from tests.support import crash_setup, damage, reliability
from tests.support.builders import scheduled, small, write_journals
from tests.support.crash import Workers
from tests.support.damage import Healing, History
from tests.support.scenario import BERLIN, configured, ms
from tests.support.tiers import sampled

# Much data, paths that other tests go through as well: measuring would double the time.
pytestmark = pytest.mark.no_cover

NOW = ms("2026-11-19T18:00")
MOMENTS_S = [NOW // 1000 + 1800 * number for number in range(4)]
MONTH_S = 2 * 3600  # between two polls of the month
POLLS = 30_000
# An archive is checked again within 25 nights.
NIGHTS = 30


@pytest.fixture(scope="module")
def workers(tmp_path_factory) -> Iterator[Workers]:
    with crash_setup.workers(tmp_path_factory.mktemp("library")) as workers:
        yield workers


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with crash_setup.simulator(MOMENTS_S) as simulator:
        yield simulator.port


def record(
    directory: Path,
    port: int,
    polls: list[Snapshot],
    waiting: list[Snapshot],
    flush_polls: int = 2,
) -> Path:
    """Record polls up to now as the scheduler does; return where `damage.trial` finds them."""
    data = directory / "data"
    settings = configured(data)
    data.mkdir(parents=True)
    store = Store(settings.cache_path, flush_polls=1000)
    owner.check_owner(settings.cache_path, "127.0.0.1", waiting[-1])
    write_journals(settings.cache_path, polls)
    store.flush()
    for kind in ("daily", "weekly"):
        rollup.rollup_due(settings, kind, now_ms=NOW, zone=BERLIN)
    archive.archive_due(settings, now_ms=NOW, zone=BERLIN)
    rebuild.complete(settings, now_ms=NOW, zone=BERLIN)  # there is nothing to rebuild
    check.check_due(settings, now_ms=NOW, zone=BERLIN)
    journals.remove_safe(settings, zone=BERLIN)
    for poll in waiting:
        store.add(poll.taken_ms, poll)
    replay = crash_setup.Small()
    sent = frozenset(
        (poll.calculations, poll.parameters, poll.visibilities)
        for poll in map(replay.at, MOMENTS_S)
    )
    return damage.write(
        History(
            directory,
            {poll.taken_ms: poll for poll in [*polls, *waiting]},
            frozenset(poll.taken_ms for poll in waiting),
            sent,
            NOW / 1000 + 60,
            {"host": "127.0.0.1", "port": port, "retries": 0, "flush_polls": flush_polls},
        ),
        directory / "history",
    )


def small_real(ts_ms: int) -> Snapshot:
    """Return a poll of the simulated heat pump."""
    return scheduled(crash_setup.Small().at(ts_ms / 1000)._replace(taken_ms=ts_ms))


@pytest.fixture(scope="module")
def month(tmp_path_factory, port) -> Path:
    """A month with a poll every two hours."""
    times = range(ms("2026-10-19T18:00"), NOW - 3 * MONTH_S * 1000, MONTH_S * 1000)
    waiting = [small_real(NOW - 30_000 * number) for number in (3, 2, 1)]
    polls = [small_real(ts_ms) for ts_ms in times]
    return record(tmp_path_factory.mktemp("month"), port, polls, waiting)


@pytest.fixture(scope="module")
def thirty_thousand(tmp_path_factory, port) -> Path:
    """A poll every 30 s, the last 18 hours in no archive yet; the last 200 of a real heat pump."""
    times = [NOW - 30_000 * number for number in range(POLLS, 200, -1)]
    polls = [small(ts, {1: ts // 30_000 % 997, 2: ts // 300_000 % 97}) for ts in times]
    last = [small_real(NOW - 30_000 * number) for number in range(200, 0, -1)]
    directory = tmp_path_factory.mktemp("thousands")
    return record(directory, port, [*polls, *last[:-5]], last[-5:], flush_polls=1)


def files_of(history: Path) -> list[str]:
    """Return the files that are damaged: all but CSVs and locks."""
    data = history.parent / "data"
    return [
        str(path.relative_to(data))
        for path in sorted(data.rglob("*"))
        if path.is_file()
        and path.stat().st_size
        and path.suffix not in (".csv", ".lock")
        and not path.name.endswith("-journal")
    ]


def trials_of(history: Path, count: int) -> list[tuple[int, str, str]]:
    """Return seeds with a file and a damage for each: of each kind of file as many."""
    kinds: dict[str, list[str]] = {}
    for name in files_of(history):
        kinds.setdefault(damage.kind_of(Path(name)), []).append(name)
    found = []
    for seed in range(count):
        rng = random.Random(seed)
        file = rng.choice(kinds[sorted(kinds)[seed % len(kinds)]])
        found.append((seed, file, rng.choice([*damage.DAMAGES, "deleted"])))
    return found


def try_out(workers: Workers, history: Path, scratch: Path, trials, nights: int) -> list[Healing]:
    """Return what came of each trial."""
    tasks = [(history, scratch, *trial, nights) for trial in trials]
    return workers.map(damage.trial, tasks)


DESTRUCTIONS = ("page 1 zeroed", "deleted", "cut", "a page overwritten")
SAMPLED = {f"seed {seed}": seed for seed in range(3)}


@pytest.mark.no_cover
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", sampled(SAMPLED, []))
def test_a_damaged_file_is_healed_by_the_next_scheduled_runs(seed, workers, month, tmp_path):
    [found] = try_out(workers, month, tmp_path, [trials_of(month, seed + 1)[seed]], NIGHTS)
    assert found.problems == []
    assert found.runs > 0


@pytest.mark.no_cover
@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", DESTRUCTIONS[:1])
def test_all_polls_of_a_destroyed_database_come_back(name, workers, thirty_thousand, tmp_path):
    trial = (1, "cache.sqlite3", name)
    [found] = try_out(workers, thirty_thousand, tmp_path, [trial], NIGHTS)
    assert found.problems == []
    assert found.runs > 0


@pytest.mark.sweep
@pytest.mark.timeout(5000)
def test_every_file_of_a_month_damaged_and_the_table_of_how_it_healed(workers, month, tmp_path):
    trials = trials_of(month, 1000)[:: reliability.sample(costly=True)]
    found = try_out(workers, month, tmp_path, trials, NIGHTS)
    groups: dict[tuple[str, str], list[Healing]] = {}
    for one in found:
        groups.setdefault((one.file, one.damage), []).append(one)
    rows = [
        (
            *(file, name, len(group), sum(one.failed for one in group)),
            *(sum(one.wrong for one in group), sum(one.lost for one in group)),
            *(sum(one.waiting_lost for one in group), max(one.runs for one in group)),
        )
        for (file, name), group in sorted(groups.items())
    ]
    reliability.record(
        61,
        "Any file damaged",
        f"A history of a month, a poll every two hours: {len(trials)} trials, in each of which one"
        " file was damaged, chosen at random like the damage (reproducible seeds). Then the"
        " scheduled runs followed: `poll-once` and `rollup all --if-due` hourly, then daily with"
        " `prune`, until database and archives held every poll again. Polls read and compared:"
        f" {sum(one.compared for one in found)}. Commands that ended with status 1 or a traceback:"
        f" {sum(one.failed for one in found)}; wrong: {sum(one.wrong for one in found)}; lost:"
        f" {sum(one.lost for one in found)}, not counting those of a damaged journal that no other"
        f" file held yet: {sum(one.waiting_lost for one in found)}. Not healed within"
        f" {NIGHTS} runs: {sum(not one.runs for one in found)}. An archive is compared with the"
        " database within 25 nights, so the damage of one may be found late.",
        [
            *("file", "damage", "seeds", "status 1", "wrong", "lost", "lost waiting polls"),
            "most runs until healed",
        ],
        rows,
    )
    assert [problem for one in found for problem in one.problems] == []
    assert all(one.runs for one in found)


@pytest.mark.sweep
@pytest.mark.timeout(5000)
def test_destroyed_databases_of_30_000_polls_and_the_table_of_who_rebuilt_them(
    workers, thirty_thousand, tmp_path
):
    trials = [
        (seed, "cache.sqlite3", DESTRUCTIONS[seed % len(DESTRUCTIONS)])
        for seed in range(0, 200, reliability.sample(costly=True))
    ]
    found = try_out(workers, thirty_thousand, tmp_path, trials, NIGHTS)
    rows = []
    for name in DESTRUCTIONS:
        group = [one for one in found if one.damage == name]
        back = {
            word: sum(one.by.get(word, 0) for one in group) // max(1, len(group))
            for word in ("poll-once", "rollup", "restore")
        }
        noticed = {one.noticed or "not at all" for one in group}
        rows.append(
            (
                *(name, len(group), ", ".join(sorted(noticed)), *back.values()),
                *(sum(one.compared for one in group), sum(one.wrong for one in group)),
                *(sum(one.lost for one in group), max((one.runs for one in group), default=0)),
            )
        )
    reliability.record(
        65,
        "A destroyed database",
        f"A database of {POLLS} polls, the last 18 hours of which are in no archive yet, is"
        f" destroyed in {len(trials)} ways. Then the scheduled runs follow. All polls have to be"
        " back. The columns of commands say how many polls, on average, each has put back.",
        [
            *("destroyed", "seeds", "quarantined by", "poll-once", "roll-up", "restore"),
            *("polls compared", "wrong", "lost", "most runs until healed"),
        ],
        rows,
    )
    assert [problem for one in found for problem in one.problems] == []
    assert all(one.runs for one in found)
