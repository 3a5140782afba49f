"""Every file of luxcli's missing, empty, torn or something else: one line, never a traceback."""

import itertools
import os
import shutil
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from luxcli.cli.output import local_zone
from luxcli.maintenance import archive
from luxcli.rollup import rollup
from luxcli.store import journal
from luxcli.store.store import Store
from tests.conftest import Invoke
from tests.support.faulty_controller import FaultyController
from tests.support.reliability import sample
from tests.support.scenario import configured, record
from tests.support.tiers import sampled

DAY_MS = 86_400_000
COMMANDS = (
    ["poll-once"],
    ["rollup", "all", "--if-due"],
    ["prune"],
    ["status"],
    ["diagnose", "--offline"],
    ["validate"],
    ["restore"],
    ["config", "check"],
)
# Those of `luxcli --help` that say what happened; 1 is a bug, 142 a job that hung.
EXPECTED = {0, 3, 65, 74, 75, 78}


def _fifo(path: Path) -> None:
    _missing(path)
    os.mkfifo(path)


def _directory(path: Path) -> None:
    _missing(path)
    path.mkdir()
    (path / "something").write_text("else")


def _missing(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _empty(path: Path) -> None:
    _missing(path)
    path.touch()


def _torn(path: Path) -> None:
    if path.is_file():
        os.truncate(path, path.stat().st_size * 2 // 3)


def _other(path: Path) -> None:
    _missing(path)
    path.write_bytes(b"\xff\x00something else\n" * 99)


def _circle(path: Path) -> None:
    _missing(path)
    path.symlink_to(path.name)


def _dangling(path: Path) -> None:
    _missing(path)
    path.symlink_to("nowhere/at/all")


KINDS: dict[str, Callable[[Path], None]] = {
    "pipe": _fifo,
    "directory": _directory,
    "missing": _missing,
    "empty": _empty,
    "torn": _torn,
    "other": _other,
    "circle": _circle,
    "dangling": _dangling,
}
# By a pattern: the names of some hold dates.
FILES = (
    "cache.sqlite3",
    "cache.sqlite3-journal",
    "cache.sqlite3.device.json",
    "cache.sqlite3.monitoring.json",
    "cache.sqlite3.rejected.jsonl",
    "cache.sqlite3.lock",
    "cache.sqlite3.rollup.lock",
    "cache.sqlite3.*.jsonl",
    "device-*.lock",
    "log.txt",
    "archive/????-??-??.json.xz",
    "archive/registers-*.json.xz",
    "archive",
    "reports/daily/*.csv",
    "reports/daily",
    "reports/daily/.device.json",
)


def recorded(directory: Path) -> None:
    """Three days of polls every six hours, with archives and CSVs."""
    now_ms = round(time.time()) * 1000
    settings = configured(directory)
    record(settings, now_ms - 3 * DAY_MS, now_ms - 60_000, step_s=6 * 3600)
    Store(settings.cache_path).flush()
    zone = local_zone("Europe/Berlin")
    rollup.rollup_due(settings, "daily", now_ms=now_ms, zone=zone)
    archive.archive_due(settings, now_ms=now_ms, zone=zone)


@pytest.fixture
def place(tmp_path, built, configure, invoke):
    """Call it to get a fresh configuration, with its data beside it, and the controller's port."""
    built(recorded, tmp_path)
    with FaultyController() as pump:
        cache = str(tmp_path / "cache.sqlite3")
        file = configure(port=pump.port, cache_path=cache, log_file="log.txt")
        assert invoke("poll-once", "-c", file).status == 0
        yield file


@pytest.mark.sweep
@pytest.mark.timeout(60)
@pytest.mark.parametrize(("kind", "name"), list(itertools.product(KINDS, FILES))[:: sample()])
def test_a_bad_file_is_a_line_and_never_a_traceback(place, tmp_path, invoke, name, kind):
    _try(place, tmp_path, invoke, name, kind, COMMANDS)


@pytest.mark.parametrize("name", FILES[:8])
def test_a_named_pipe_in_place_of_a_file_keeps_nobody_waiting(place, tmp_path, invoke, name):
    """The commands of every minute; the others are in a sweep."""
    _try(place, tmp_path, invoke, name, "pipe", (["poll-once"], ["status"]))


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))


def _link(path: Path) -> None:
    path.with_name("elsewhere").write_text("")
    path.symlink_to("elsewhere")


STRAYS = {
    f"{make.__name__[1:]} of {day}": (make, day)
    for make in (_directory, _fifo, _socket, _dangling, _circle, _link)
    for day in ("2026-11-18", "2026-13-99", "2026-W47-3", "9999-12-31")
}


@pytest.mark.parametrize(
    "stray_of", sampled(STRAYS, ["directory of 2026-11-18", "fifo of 2026-13-99"])
)
def test_what_only_has_the_name_of_a_journal_stops_nothing(
    tmp_path, configure, invoke, stray_of, monkeypatch
):
    make, day = stray_of
    monkeypatch.chdir(tmp_path)
    with FaultyController() as pump:
        file = configure(port=pump.port, cache_path=str(tmp_path / "cache.sqlite3"))
        # The name of a socket must not be long.
        stray = Path(f"cache.sqlite3.polls-{day}.jsonl")
        make(stray)
        first = invoke("poll-once", "-c", file)
        assert (first.status, first.stderr) == (0, "")
        assert invoke("poll-once", "-c", file).status == 0
        for command in ("rollup all", "prune", "repair-times", "restore", "status", "validate"):
            ran = invoke(*command.split(), "-c", file)
            # `validate` has something to say about two polls.
            assert ran.status in ({0, 3} if command == "validate" else {0}), (command, ran)
            assert str(stray) not in ran.stderr
        assert list(Path("reports/daily").glob("*.csv"))
        assert [one for one in lines_about(invoke, file, stray) if "not a regular file" in one]


def test_a_file_whose_name_has_no_date_is_no_journal_and_is_named(
    tmp_path, configure, invoke, simulator
):
    stray = tmp_path / "cache.sqlite3.polls-2026-13-99.jsonl"
    stray.write_text("something else\n")
    file = configure(port=simulator.port, cache_path=str(tmp_path / "cache.sqlite3"))
    assert invoke("poll-once", "-c", file).status == 0
    assert invoke("rollup", "all", "-c", file).stderr == ""
    [found] = lines_about(invoke, file, stray)
    assert found.endswith("there is no such date")


def test_a_poll_whose_own_journal_is_a_directory_goes_into_the_database(
    tmp_path, configure, invoke, simulator
):
    cache_path = tmp_path / "cache.sqlite3"
    file = configure(port=simulator.port, cache_path=str(cache_path))
    journal.path_at(cache_path, round(time.time() * 1000)).mkdir()
    ran = invoke("poll-once", "-c", file)
    assert ran.status == 0
    assert "Is a directory; stored in the database directly" in ran.stderr
    assert len(list(Store(cache_path).database.polls(0, 1 << 62, damaged=[]))) == 1


@pytest.mark.parametrize("make", [_directory, _fifo, _dangling])
def test_something_else_in_place_of_the_damaged_lines_matters_only_if_there_are_some(
    tmp_path, configure, invoke, make, simulator
):
    cache_path = tmp_path / "cache.sqlite3"
    file = configure(port=simulator.port, cache_path=str(cache_path))
    rejected = Store(cache_path).rejected_path
    make(rejected)
    if make is not _dangling:
        os.utime(rejected, (0, 0))
    for command in ("poll-once", "rollup all", "prune", "status"):
        ran = invoke(*command.split(), "-c", file)
        assert (command, ran.status, ran.stderr) == (command, 0, "")
    ran = invoke("restore", "-c", file)
    assert ran.status == 3
    assert str(rejected) in ran.stderr


def lines_about(invoke: Invoke, file: Path, path: Path) -> list[str]:
    ran = invoke("diagnose", "--offline", "-c", file)
    return [line for line in ran.stdout.splitlines() if path.name in line]


def _try(
    place: Path,
    tmp_path: Path,
    invoke: Invoke,
    name: str,
    kind: str,
    commands: Sequence[Sequence[str]],
) -> None:
    # Those that are not there always are made by the test.
    there = sorted(tmp_path.glob(name)) or [tmp_path / name]
    bad = there[0]
    if "*" in bad.name:
        pytest.skip(f"{name}: there is none")
    kept = tmp_path.parent / f"{tmp_path.name}-kept"
    bad.parent.mkdir(exist_ok=True)
    KINDS[kind](bad)
    shutil.copytree(tmp_path, kept, symlinks=True, ignore=shutil.ignore_patterns(bad.name))
    was = _state(bad)
    problems = []
    for command in commands:
        shutil.copytree(kept, tmp_path, symlinks=True, dirs_exist_ok=True)
        began = time.monotonic()
        ran = invoke(*command, "-c", place)
        lines = ran.stderr.splitlines()
        words = f"{' '.join(command)}: {ran.status}: {ran.stderr}"
        if ran.status not in EXPECTED or "Traceback" in ran.stderr or "\n  " in ran.stderr:
            problems.append(words)
        # A roll-up has lines of its own about the days.
        if len(set(lines)) > (12 if command[0] in {"rollup", "diagnose"} else 3):
            problems.append(f"{len(lines)} lines: {words}")
        if (
            ran.status in {74, 78}
            and kind in {"pipe", "directory", "circle"}
            and _state(bad) != was
        ):
            problems.append(f"{bad} was changed: {words}")
        if time.monotonic() - began > 8:
            problems.append(f"took {time.monotonic() - began:.1f} s: {words}")
    assert problems == []


def _state(path: Path) -> object:
    """Return what would differ if luxcli had replaced it."""
    try:
        return path.lstat().st_ino, path.lstat().st_mode
    except OSError:
        return None


IMPOSSIBLE = (
    "archive/0000-00-00.json.xz",
    "archive/0001-01-01.json.xz",
    "archive/2026-02-30.json.xz",
    "archive/9999-12-31.json.xz",
    "cache.sqlite3.damaged-99999999T999999Z",
    "reports/daily/0001-01-01_daily.csv",
    "reports/weekly/9999-12-31_weekly.csv",
)


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_a_name_with_a_day_that_never_was_ends_no_command(
    tmp_path, configure, invoke, simulator, name
):
    file = configure(port=simulator.port, cache_path=str(tmp_path / "cache.sqlite3"))
    assert invoke("poll-once", "-c", file).status == 0
    stray = tmp_path / name
    stray.parent.mkdir(parents=True, exist_ok=True)
    stray.write_text("something else\n")
    for command in ("rollup all --if-due", "prune", "status", "restore", "diagnose --offline"):
        assert invoke(*command.split(), "-c", file).status in EXPECTED, command
    assert stray.exists()
    if stray.parent.name == "archive":
        assert any("there is no such date" in line for line in lines_about(invoke, file, stray))
