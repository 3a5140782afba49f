"""The real command against a controller with every fault there is, and what comes of it."""

import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from luxcli.controller import client
from luxcli.model import GROUPS, Snapshot
from luxcli.store.store import Store
from tests.conftest import Cli
from tests.support.controller_faults import FAULTS, HOST, Controller, Profile
from tests.support.faulty_controller import Fault, FaultyController
from tests.support.reliability import record
from tests.support.tiers import sampled

TIMEOUT_SEC = 1
# Starting Python and importing, on a busy machine; no part of the time limit.
START_S = 1.5
# Decoding and storing a value, on a slow machine: only of 30,000 values it is worth mentioning.
VALUE_S = 0.0001
MEGABYTE = 1024
RSS_LIMIT_KB = 64 * MEGABYTE

# A process's peak memory counts what it was forked from: so the fork is made by a small one.
_LAUNCHER = """
import os, sys, time
began = time.monotonic()
pid = os.posix_spawn(sys.executable, [sys.executable, "-m", "luxcli", *sys.argv[2:]], os.environ)
_, status, usage = os.wait4(pid, 0)
took = time.monotonic() - began
report = f"{os.waitstatus_to_exitcode(status)} {took} {usage.ru_maxrss}"
os.write(int(sys.argv[1]), report.encode())
"""


@dataclass(frozen=True)
class Run:
    """One process, from outside."""

    status: int
    took_s: float
    rss_kb: int
    stdout: str
    stderr: str


@dataclass
class Measured:
    """What became of a profile.

    Attributes:
        ratio: Longest conversation divided by its limit.
        compared: Values that were stored and compared with what was sent.
        wrong: Those that differ.
        problems: Everything that is not as it has to be.
    """

    profile: Profile
    runs: list[Run] = field(default_factory=list)
    stored: int = 0
    ratio: float = 0.0
    compared: int = 0
    wrong: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def limit_s(self) -> float:
        return client.longest_s(TIMEOUT_SEC, self.profile.retries)


def launch(directory: Path, *args: str, within_s: float = 30) -> Run:
    """Run luxcli and measure the process itself."""
    commands = Cli(directory, measured=False)
    reader, writer = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(writer), *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=directory,
        env=commands.environment(),
        pass_fds=[writer],
        text=True,
        start_new_session=True,
    )
    try:
        stdout, stderr = process.communicate(timeout=within_s)
        status, took_s, rss_kb = os.read(reader, 200).decode().split()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
        os.close(reader)
        os.close(writer)
    return Run(int(status), float(took_s), int(rss_kb), stdout, stderr)


def measure(profile: Profile, directory: Path) -> Measured:
    """Run `poll-once` against the profile's controller and look at everything it left."""
    measured = Measured(profile)
    directory.mkdir(parents=True, exist_ok=True)
    told: list[Snapshot] = []
    with profile.controller() as controller:
        settings = {
            "host": HOST,
            "port": controller.port,
            "retries": profile.retries,
            "timeout_sec": TIMEOUT_SEC,
            "flush_polls": 1,
            "cache_path": str(directory / "cache.sqlite3"),
        }
        (directory / "luxcli.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
        for _ in profile.statuses:
            run = launch(directory, "poll-once", "--json")
            measured.runs.append(run)
            if run.status == 0 and controller.told:
                told.append(controller.told[-1])
        if not controller.all_closed():
            measured.problems.append("a connection was left open")
        _look_at_runs(measured, controller)
    _look_at_store(measured, Store(directory / "cache.sqlite3"), told)
    return measured


def _look_at_runs(measured: Measured, controller: Controller) -> None:
    problems, profile = measured.problems, measured.profile
    values = max((len(poll.block(g)) for poll in controller.told for g in GROUPS), default=0)
    allowed_s = measured.limit_s + START_S + values * len(GROUPS) * VALUE_S
    for run, status in zip(measured.runs, profile.statuses, strict=True):
        if run.status != status:
            problems.append(f"exit status {run.status} instead of {status}: {run.stderr}")
        if run.took_s > allowed_s:
            problems.append(f"took {run.took_s:.2f} s of {measured.limit_s} s")
        if run.rss_kb > RSS_LIMIT_KB:
            problems.append(f"{run.rss_kb} kB of memory")
        if run.status == 0:
            if run.stderr:
                problems.append(f"said {run.stderr!r} though all went well")
            continue
        begin = f"luxcli: {HOST}:{controller.port}: "
        one_line = run.stderr.endswith("\n") and run.stderr.count("\n") == 1
        if not (one_line and run.stderr.startswith(begin) and profile.says in run.stderr):
            problems.append(f"said {run.stderr!r}")


def _look_at_store(measured: Measured, store: Store, told: Sequence[Snapshot]) -> None:
    problems, profile = measured.problems, measured.profile
    polls = list(store.query(0, 1 << 62))
    missed = store.database.missed(0, 1 << 62)
    well = [json.loads(run.stdout) for run in measured.runs if run.status == 0]
    failed = [run for run in measured.runs if run.status]
    measured.stored = len(polls)
    if [poll.taken_ms for poll in polls] != [one["taken_ms"] for one in well]:
        problems.append(f"{len(polls)} polls stored for {len(well)} runs that ended with 0")
    for poll, sent in zip(polls, told, strict=False):
        for group in GROUPS:
            ours, theirs = poll.block(group), sent.block(group)
            measured.compared += len(theirs)
            measured.wrong += sum(a != b for a, b in zip(ours, theirs, strict=False))
            measured.wrong += abs(len(ours) - len(theirs))
    if measured.wrong:
        problems.append(f"{measured.wrong} wrong values")
    if [tick.reason for tick in missed] != [profile.reason] * len(failed):
        problems.append(f"missed: {[tick.reason for tick in missed]}")
    for tick, run in zip(missed, failed, strict=False):
        if run.stderr != f"luxcli: {tick.detail}\n":
            problems.append(f"recorded {tick.detail!r}, said {run.stderr!r}")
    attempt_limit_ms = 1000 * TIMEOUT_SEC
    ratios = [poll.took_ms / attempt_limit_ms for poll in polls]
    ratios += [tick.took_ms / (1000 * measured.limit_s) for tick in missed]
    measured.ratio = max(ratios, default=0.0)


# One of each kind; the client's own tests have every place and length within one process.
BY_DEFAULT = (
    *("connection refused", "second client is left waiting", "a web server", "healthy"),
    *("closes within the calculations, after 414 bytes", "closes once, then works"),
    *("announces fewer parameters than it sends", "random bytes, seed 0", "shorter tables"),
    *("longer tables", "frozen: clock and values stand still", "a dead clock"),
)


@pytest.mark.parametrize(
    "profile", sampled({one.name: one for one in FAULTS if one.quick}, BY_DEFAULT)
)
def test_a_poll_is_stored_as_it_was_sent_or_missed_with_its_reason_in_time(profile, tmp_path):
    assert measure(profile, tmp_path / "run").problems == []


def test_every_profile_has_a_name_of_its_own():
    assert len({profile.name for profile in FAULTS}) == len(FAULTS)


@pytest.mark.sweep
@pytest.mark.timeout(240)
def test_every_fault_in_turn_and_the_table_of_what_came_of_it(tmp_path):
    with ThreadPoolExecutor(4) as pool:
        places = [tmp_path / str(number) for number in range(len(FAULTS))]
        measured = list(pool.map(measure, FAULTS, places))
    baseline_s = statistics.median(
        run.took_s for one in measured if one.profile.name == "healthy" for run in one.runs
    )
    runs = [run for one in measured for run in one.runs]
    over_s = max(run.took_s - one.limit_s for one in measured for run in one.runs)
    text = (
        f"`luxcli poll-once` as a process of its own, {TIMEOUT_SEC} s for each attempt, against a"
        f" controller on a real socket: {len(FAULTS)} faults, {len(runs)} runs. Values stored and"
        f" compared with what was sent: {sum(one.compared for one in measured)}, wrong:"
        f" {sum(one.wrong for one in measured)}. Polls that were stored in part: 0. Longest"
        f" conversation: {max(one.ratio for one in measured):.3f} of its limit; the whole process,"
        f" start of Python included, never took more than {over_s:.2f} s longer than the limit"
        f" (a healthy poll takes {baseline_s:.2f} s). Highest memory:"
        f" {max(run.rss_kb for run in runs) / MEGABYTE:.1f} MB of"
        f" {RSS_LIMIT_KB // MEGABYTE} MB allowed. Connections left open: 0. The time in the table"
        " is that of the longest run as a process / what all attempts and waits may take."
    )
    columns = (
        *("fault", "runs", "exit status", "time / limit", "polls stored"),
        *("values compared / wrong", "what the user reads", "peak memory"),
    )
    record(10, "Faults of the controller", text, columns, _rows(measured))
    assert {one.profile.name: one.problems for one in measured if one.problems} == {}
    assert max(one.ratio for one in measured) < 1.05


def _rows(measured: Sequence[Measured]) -> list[list[object]]:
    """Return the lines of the table, one for all profiles of a row."""
    grouped: dict[str, list[Measured]] = {}
    for one in measured:
        grouped.setdefault(one.profile.row or one.profile.name, []).append(one)
    rows: list[list[object]] = []
    for name, group in grouped.items():
        runs = [run for one in group for run in one.runs]
        statuses = list(dict.fromkeys(run.status for run in runs))
        longest, limit_s = max((run.took_s, one.limit_s) for one in group for run in one.runs)
        said = next((run.stderr for run in runs if run.stderr), "")
        rows.append(
            [
                name,
                len(runs),
                ", ".join(map(str, statuses)),
                f"{longest:.2f} s / {limit_s:g} s",
                sum(one.stored for one in group),
                f"{sum(one.compared for one in group)} / {sum(one.wrong for one in group)}",
                said.strip().removeprefix("luxcli: ").partition(": ")[2],
                f"{max(run.rss_kb for run in runs) / MEGABYTE:.1f} MB",
            ]
        )
    return rows


@pytest.mark.sweep
@pytest.mark.timeout(120)
def test_answers_split_at_every_size_from_1_to_1460_arrive_whole():
    began = time.monotonic()
    compared = 0
    for size in range(1, 1461):
        with FaultyController(Fault(segment=size)) as pump:
            got = client.read_snapshot(HOST, pump.port, timeout_s=5, retries=0)
            for group in GROUPS:
                assert got.block(group) == pump.snapshot.block(group), f"{size} bytes: {group}"
                compared += len(got.block(group))
    text = (
        "The three answers cut into segments of 1, 2, 3 ... 1460 bytes, each size once, each"
        " segment a packet of its own where the kernel lets it."
        f" Values compared: {compared}, wrong: 0 (in {time.monotonic() - began:.0f} s)."
    )
    record(11, "Every segment size", text, (), ())
