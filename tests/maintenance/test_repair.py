"""`luxcli repair-times`: what it says, what it moves, and what it leaves or takes out."""

import json
from pathlib import Path

import pytest

from luxcli.errors import LockHeldError
from luxcli.maintenance import archive, journals, rebuild, repair
from luxcli.model import CLOCK_DOUBTED, Snapshot
from luxcli.store.store import Store
from tests.support.builders import replay, scheduled
from tests.support.scenario import BERLIN, configured, ms

EVER = 1 << 60
DAY_MS = 86_400_000
# Polls of a morning; the computer was off before, and believed to be in 1970 for half an hour.
BEGIN_MS = ms("2027-03-10T06:00")
BOOT_MS = ms("2027-03-11T06:00")
STEP_MS = 600_000
NOW_MS = ms("2027-03-12T12:00")


def poll(taken_ms: int, true_ms: int, *, has_clock: bool = True) -> Snapshot:
    """Return a poll dated `taken_ms` by this computer and made at `true_ms`."""
    calculations = list(replay("msw6").at(true_ms / 1000).calculations)
    if not has_clock:
        calculations[134] = 0
    blocks = replay("msw6").at(true_ms / 1000)._replace(calculations=tuple(calculations))
    made = scheduled(blocks._replace(taken_ms=taken_ms), 600)
    return made._replace(flags=CLOCK_DOUBTED) if taken_ms != true_ms else made


def right(start_ms: int, count: int = 6) -> list[Snapshot]:
    return [poll(at, at) for at in range(start_ms + 250, start_ms + count * STEP_MS, STEP_MS)]


def of_1970(count: int = 3, *, has_clock: bool = True) -> list[Snapshot]:
    """Return the polls after a boot in 1970."""
    return [
        poll(40_000 + number * STEP_MS, BOOT_MS + number * STEP_MS, has_clock=has_clock)
        for number in range(count)
    ]


def kept(directory: Path, polls: list[Snapshot]) -> Store:
    store = Store(directory / "cache.sqlite3")
    for one in polls:
        store.add(one.taken_ms, one)
    return store


def repaired(directory: Path, **options: bool) -> repair.TimesRepaired:
    """Return what the command does, as if it were `NOW_MS`."""
    return repair.repair_times(configured(directory), now_ms=NOW_MS, **options)


def options(directory: Path) -> tuple[str, ...]:
    config = directory / "luxcli.yaml"
    config.write_text(
        f"host: 127.0.0.1\ncache_path: {directory}/cache.sqlite3\ntimezone: Europe/Berlin\n"
    )
    return ("--config", str(config))


def test_where_nothing_is_recorded_that_is_said_and_nothing_is_made(invoke, tmp_path):
    ran = invoke("repair-times", *options(tmp_path))
    assert (ran.status, ran.stdout) == (65, "")
    assert ran.stderr == (
        f"luxcli: {tmp_path}/cache.sqlite3: nothing is recorded there;"
        " is it the right configuration?\n"
    )
    assert not list(tmp_path.glob("cache*"))


def test_without_doubted_times_there_is_nothing_to_repair(invoke, tmp_path):
    kept(tmp_path, right(BEGIN_MS))
    ran = invoke("repair-times", *options(tmp_path))
    assert (ran.status, ran.stdout) == (0, "nothing to repair: no poll has a doubted time\n")


def test_a_dry_run_shows_what_would_be_put_right_and_changes_nothing(tmp_path):
    store = kept(tmp_path, [*right(BEGIN_MS), *of_1970()])
    store.flush()
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    assert repaired(tmp_path, dry_run=True).lines(BERLIN) == [
        "3 polls dated 1970-01-01 01:00:40 to 1970-01-01 01:20:40:"
        " made 2027-03-11 06:00:00 to 2027-03-11 06:20:00",
        "3 polls would be put right",
    ]
    assert {path: path.read_bytes() for path in before} == before


def test_polls_of_1970_get_the_times_at_which_they_were_made(tmp_path):
    polls = [*right(BEGIN_MS), *of_1970(), *right(BOOT_MS + 4 * STEP_MS)]
    store = kept(tmp_path, polls)
    assert repaired(tmp_path).to_json() == {
        "ok": True,
        "dry_run": False,
        "moved": 3,
        "removed": 0,
        "untold": 0,
        "removed_path": None,
        "groups": [
            {
                "polls": 3,
                "dated_first": "1970-01-01T00:00:40Z",
                "dated_last": "1970-01-01T00:20:40Z",
                "made_first": "2027-03-11T05:00:00Z",
                "made_last": "2027-03-11T05:20:00Z",
            }
        ],
    }
    found = list(store.query(0, EVER))
    assert [one.taken_ms // 1000 for one in found] == [one.calculations[134] for one in found]
    assert {one.flags for one in found} == {0}
    assert [one.late_ms for one in found[6:9]] == [250, 250, 250]


def test_a_rebuilt_database_has_the_repaired_history_and_each_poll_once(tmp_path):
    polls = [*right(BEGIN_MS), *of_1970(), *right(BOOT_MS + 4 * STEP_MS)]
    store = kept(tmp_path, polls)
    settings = configured(tmp_path, interval_sec=600)
    archive.archive_due(settings, now_ms=NOW_MS, zone=BERLIN)  # with 1970-01-01
    repaired(tmp_path)
    history = list(store.query(0, EVER))
    store.path.unlink()
    rebuild.restore(settings, now_ms=NOW_MS, zone=BERLIN)
    assert list(store.query(0, EVER)) == history
    archive.archive_due(settings, now_ms=NOW_MS, zone=BERLIN)
    store.path.unlink()
    for path in tmp_path.glob("*.polls-*.jsonl"):
        path.unlink()  # the archives alone
    rebuild.restore(settings, now_ms=NOW_MS, zone=BERLIN)
    assert list(store.query(0, EVER)) == history
    assert len(store.database.repairs()) == 3


def test_a_time_that_cannot_be_told_is_left_marked_or_taken_out_into_a_file(invoke, tmp_path):
    lost = of_1970(has_clock=False)
    store = kept(tmp_path, [*right(BEGIN_MS), *lost])
    ran = invoke("repair-times", *options(tmp_path))
    assert ran.status == 3
    assert "the right time of 3 polls cannot be told" in ran.stderr
    assert len(store.database.doubted()) == 3

    ran = invoke("repair-times", "--remove", *options(tmp_path))
    assert ran.status == 0
    [path] = tmp_path.glob("cache.sqlite3.removed-*.jsonl")
    assert ran.stdout.endswith(f"3 polls taken out into {path}\n")
    assert [json.loads(line)["c"] for line in path.read_text().splitlines()] == [
        list(one.calculations) for one in lost
    ]
    assert list(store.query(0, EVER)) == right(BEGIN_MS)
    assert invoke("repair-times", *options(tmp_path)).stdout.startswith("nothing to repair")


def test_it_waits_for_no_roll_up_for_ever(tmp_path):
    store = kept(tmp_path, of_1970())
    with store.rollup_lock(), pytest.raises(LockHeldError):
        repair.repair_times(configured(tmp_path), now_ms=NOW_MS, wait_s=0.1)


def test_journals_and_archives_of_the_future_are_closed_at_once(tmp_path):
    ahead = [poll(NOW_MS + 9 * 365 * DAY_MS + at, BOOT_MS + at) for at in (0, STEP_MS)]
    store = kept(tmp_path, [*right(BEGIN_MS), *ahead])
    settings = configured(tmp_path, interval_sec=600)
    archive.archive_due(settings, now_ms=NOW_MS, zone=BERLIN)
    names = sorted(path.name for path in store.archive_paths())
    assert names == ["2027-03-10.json.xz", "2036-03-09.json.xz"]
    removed = journals.remove_safe(settings, zone=BERLIN)
    assert [path.name[-16:-6] for path in removed] == ["2036-03-09"]
    assert list(store.query(0, EVER)) == [*right(BEGIN_MS), *ahead]
