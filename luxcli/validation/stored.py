"""The validation jobs: judge stored polls, or one poll that is read from the heat pump now."""

from luxcli.config.config import Config
from luxcli.errors import NoDataError
from luxcli.model import MissedPoll, Snapshot
from luxcli.recording import state
from luxcli.recording.coverage import Coverage
from luxcli.recording.poll import DEVICE_WAIT_S, read
from luxcli.store.store import Store
from luxcli.system.clock import SYSTEM_CLOCK, Clock
from luxcli.system.progress import Progress, silent
from luxcli.times import utc_text
from luxcli.validation.findings import Finding, Findings, in_order
from luxcli.validation.judge import Judge
from luxcli.validation.recording import Damage, Schedule
from luxcli.validation.report import Report

_DAY_S = 86_400
# An interval that ended this recently ends now.
_NOW_MS = 60_000


def validate(
    config: Config,
    *,
    start_ms: int,
    stop_ms: int,
    now_ms: int | None = None,
    progress: Progress = silent,
) -> Report:
    """Judge every stored poll of ``[start_ms, stop_ms)`` and the gaps between them.

    Memory does not grow with the interval. Nothing is written: polls that wait in the journals are
    judged from there.

    Args:
        config: Where the database is, and the schedule.
        start_ms: UTC, included.
        stop_ms: UTC, excluded.
        now_ms: The present time; where the interval ends with it, polls must arrive until then.
        progress: Called with the number of judged milliseconds and the length of the interval.

    Raises:
        NoDataError: Nothing is stored in that time.
        StorageError: The database or a journal cannot be read.
    """
    store = Store(config.cache_path, flush_polls=config.flush_polls)
    store.check_path(parents=config.may_create_parents)
    judge = Judge(config.interval_sec)
    damaged_ms: list[int] = []
    for snapshot in store.query(start_ms, stop_ms, damaged=damaged_ms):
        judge.add(snapshot)
        progress(snapshot.taken_ms - start_ms, stop_ms - start_ms)
    coverage = state.coverage(store, start_ms, stop_ms)
    if not judge.polls and not damaged_ms:
        raise NoDataError(_nothing(start_ms, stop_ms, store.database.missed(start_ms, stop_ms)))
    findings = Findings()
    schedule = Schedule(findings, coverage, config.interval_sec)
    schedule.judge_beginning(start_ms)
    schedule.judge()
    Damage(findings).judge(damaged_ms)
    if now_ms is not None and stop_ms > now_ms - _NOW_MS:
        schedule.judge_age(now_ms)
    return Report(
        *(start_ms, stop_ms, judge.polls),
        findings=in_order([*judge.end(), *findings.all()]),
        coverage=coverage,
        not_fitted=judge.not_fitted(),
    )


def judge_schedule(coverage: Coverage, interval_s: int) -> tuple[Finding, ...]:
    """Return what is wrong with the polls of an interval, compared with the schedule."""
    findings = Findings()
    Schedule(findings, coverage, interval_s).judge()
    return findings.all()


def validate_live(
    config: Config,
    *,
    device_wait_s: float = DEVICE_WAIT_S,
    clock: Clock = SYSTEM_CLOCK,
) -> Report:
    """Read the heat pump once and judge the answer; nothing is stored.

    Args:
        config: Says where the heat pump is.
        device_wait_s: How long to wait for another luxcli that talks to the heat pump.
        clock: Dates the poll, measures and waits.

    Raises:
        ConfigError: No heat pump is configured.
        LockHeldError: Another luxcli is talking to it.
        DeviceError: The heat pump could not be read, or its answer would have been rejected.
        StorageError: The lock cannot be opened.
    """
    # The lock stands beside the database.
    Store.open(config.cache_path, parents=config.may_create_parents)
    snapshot = read(config, device_wait_s=device_wait_s, clock=clock)
    return judge_snapshot(snapshot, config.interval_sec)


def judge_snapshot(snapshot: Snapshot, interval_s: int) -> Report:
    """Return the verdict on one poll; only the error log says what happened before."""
    judge = Judge(interval_s, recent_s=_DAY_S)
    judge.add(snapshot)
    return Report(
        *(snapshot.taken_ms, snapshot.taken_ms + 1, 1),
        findings=judge.end(),
        not_fitted=judge.not_fitted(),
    )


def _nothing(start_ms: int, stop_ms: int, missed: list[MissedPoll]) -> str:
    text = f"nothing is stored from {utc_text(start_ms)} to {utc_text(stop_ms)}"
    if missed:
        last = missed[-1]
        return f"{text}; {len(missed)} polls failed, the last one with {last.reason}: {last.detail}"
    return f"{text}; 'luxcli status' says when the last poll was stored"
