"""The real command polls controllers with every fault: results, exit statuses, messages."""

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
# Start of Python and imports on a busy machine; not part of the time limit.
START_S = 1.5
# To decode and store one value on a slow machine; matters only for blocks of 10,000 values.
VALUE_S = 0.0001
MEGABYTE = 1024
RSS_LIMIT_KB = 64 * MEGABYTE

# The peak memory of a process includes that of its parent, so a small process starts it.
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
    """The result of a profile.

    Attributes:
        ratio: Duration of the longest exchange divided by its limit.
        compared: Number of stored values, each compared with what was sent.
        wrong: Number of values that differ.
        problems: Texts about everything that is not as expected.
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
    """Run luxcli and measure the process."""
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
    """Run `poll-once` against the profile's controller; check processes, messages and database."""
    measured = Measured(profile)
    directory.mkdir(parents=True, exist_ok=True)
    sent: list[Snapshot] = []
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
            if run.status == 0 and controller.sent:
                sent.append(controller.sent[-1])
        if not controller.all_closed():
            measured.problems.append("a connection was left open")
        _check_runs(measured, controller)
    _check_database(measured, Store(directory / "cache.sqlite3"), sent)
    return measured


def _check_runs(measured: Measured, controller: Controller) -> None:
    problems, profile = measured.problems, measured.profile
    values = max((len(poll.block(g)) for poll in controller.sent for g in GROUPS), default=0)
    allowed_s = measured.limit_s + START_S + values * len(GROUPS) * VALUE_S
    warnings = iter(profile.warns)
    for run, status in zip(measured.runs, profile.statuses, strict=True):
        if run.status != status:
            problems.append(f"exit status {run.status} instead of {status}: {run.stderr}")
        if run.took_s > allowed_s:
            problems.append(f"took {run.took_s:.2f} s of {measured.limit_s} s")
        if run.rss_kb > RSS_LIMIT_KB:
            problems.append(f"{run.rss_kb} kB of memory")
        if run.status == 0:
            warning = next(warnings, "")
            if warning not in run.stderr or run.stderr.count("\n") != bool(warning):
                problems.append(f"said {run.stderr!r} instead of {warning!r} about a stored poll")
            continue
        begin = f"luxcli: {HOST}:{controller.port}: "
        one_line = run.stderr.endswith("\n") and run.stderr.count("\n") == 1
        if not (one_line and run.stderr.startswith(begin) and profile.says in run.stderr):
            problems.append(f"said {run.stderr!r}")


def _check_database(measured: Measured, store: Store, sent: Sequence[Snapshot]) -> None:
    problems, profile = measured.problems, measured.profile
    store.flush()
    polls = list(store.query(0, 1 << 62))
    missed = store.database.missed(0, 1 << 62)
    well = [json.loads(run.stdout) for run in measured.runs if run.status == 0]
    failed = [run for run in measured.runs if run.status]
    measured.stored = len(polls)
    if [poll.taken_ms for poll in polls] != [one["taken_ms"] for one in well]:
        problems.append(f"{len(polls)} polls stored in {len(well)} runs with status 0")
    for poll, expected in zip(polls, sent, strict=False):
        for group in GROUPS:
            ours, theirs = poll.block(group), expected.block(group)
            measured.compared += len(theirs)
            measured.wrong += sum(a != b for a, b in zip(ours, theirs, strict=False))
            measured.wrong += abs(len(ours) - len(theirs))
    if measured.wrong:
        problems.append(f"{measured.wrong} wrong values")
    if [miss.reason for miss in missed] != [profile.reason] * len(failed):
        problems.append(f"missed: {[miss.reason for miss in missed]}")
    for miss, run in zip(missed, failed, strict=False):
        if run.stderr != f"luxcli: {miss.detail}\n":
            problems.append(f"recorded {miss.detail!r}, said {run.stderr!r}")
    attempt_limit_ms = 1000 * TIMEOUT_SEC
    ratios = [poll.took_ms / attempt_limit_ms for poll in polls]
    ratios += [miss.took_ms / (1000 * measured.limit_s) for miss in missed]
    measured.ratio = max(ratios, default=0.0)


# One of each kind; the client's tests try every position and length in one process.
BY_DEFAULT = (
    *("connection refused", "second client is left waiting", "a web server", "healthy"),
    *("closes within the calculations, after 414 bytes", "closes once, then works"),
    *("announces fewer parameters than it sends", "random bytes, seed 0", "shorter blocks"),
    *("longer blocks", "frozen: clock and values do not change", "a dead clock"),
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
        f"`luxcli poll-once` runs as a process, with {TIMEOUT_SEC} s per attempt, against a"
        f" simulated controller on a real socket: {len(FAULTS)} faults, {len(runs)} runs. Values"
        f" stored and compared with what was sent: {sum(one.compared for one in measured)}, wrong:"
        f" {sum(one.wrong for one in measured)}. Polls stored in part: 0. The longest exchange took"
        f" {max(one.ratio for one in measured):.3f} times its limit. The whole process, with the"
        f" start of Python, took at most {over_s:.2f} s longer than the limit (a healthy poll takes"
        f" {baseline_s:.2f} s). Peak memory: {max(run.rss_kb for run in runs) / MEGABYTE:.1f} MB;"
        f" {RSS_LIMIT_KB // MEGABYTE} MB are allowed. Connections left open: 0. The table shows the"
        " time of the longest process and the limit for all attempts and waits."
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
        "The three answers arrive in segments of 1 byte, of 2 bytes, and so on up to 1460 bytes:"
        " one poll per size. If the kernel permits, each segment is a packet."
        f" Values compared: {compared}, wrong: 0 (in {time.monotonic() - began:.0f} s)."
    )
    record(11, "Every segment size", text, (), ())
