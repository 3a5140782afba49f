"""The validation jobs: is what was recorded, or what the heat pump sends now, good data?"""

from luxcli.config.config import Config
from luxcli.errors import LockHeldError, NoDataError, StorageError
from luxcli.model import Missed
from luxcli.recording import coverage as coverages
from luxcli.recording import poll as poll_job
from luxcli.recording import state
from luxcli.recording.coverage import Coverage
from luxcli.registers import catalogue
from luxcli.store.store import Store
from luxcli.system.clock import SYSTEM_CLOCK, Clock
from luxcli.system.progress import Progress, silent
from luxcli.times import span, utc_text
from luxcli.validation.findings import Finding, Findings, in_order
from luxcli.validation.judge import Judge
from luxcli.validation.report import Report

_HOUR_S = 3600
_DAY_S = 86_400
# An interval that ends so shortly ago ends now.
_NOW_MS = 60_000
# A tick now and then without a reason is a scheduler that was late.
_UNEXPLAINED_SHARE, _UNEXPLAINED = 0.005, 2
_HALF = 0.5
# Fewer polls say nothing about the schedule.
_FEW = 10
# Recording that began so much later than what is to be judged is worth a note.
_LATE_SHARE = 0.05


def validate(
    config: Config,
    *,
    start_ms: int,
    stop_ms: int,
    now_ms: int | None = None,
    flush: bool = True,
    progress: Progress = silent,
) -> Report:
    """Judge every stored poll of ``[start_ms, stop_ms)`` and the gaps between them.

    Streams: memory does not grow with the interval. Needs to read only: where the buffer cannot be
    moved into the cache, what waits in it is judged from there.

    Args:
        config: Says where the cache is and how often is polled.
        start_ms: UTC, included.
        stop_ms: UTC, excluded.
        now_ms: The time; if the interval ends with it, polls must have come until then.
        flush: Try to move the buffer into the cache first; without it nothing is changed.
        progress: Told how many milliseconds of how many of the interval are judged.

    Raises:
        NoDataError: Nothing is stored in that time.
        StorageError: The cache or the buffer cannot be read.
    """
    store = Store(config.cache_path, flush_polls=config.flush_polls)
    store.check_place(parents=config.may_create_parents)
    remark = _not_flushed(store) if flush else None
    judge = Judge(config.interval_sec)
    damaged: list[int] = []
    for snapshot in store.polls_with_waiting(start_ms, stop_ms, damaged=damaged):
        judge.add(snapshot)
        progress(snapshot.taken_ms - start_ms, stop_ms - start_ms)
    coverage = state.coverage(store, start_ms, stop_ms, config.interval_sec)
    if not judge.polls and not damaged:
        raise NoDataError(_nothing(start_ms, stop_ms, store.database.missed(start_ms, stop_ms)))
    found = Findings(lambda group, index: catalogue.register(group, index).id)
    if coverage.start_ms - start_ms > max(_HOUR_S * 1000, _LATE_SHARE * (stop_ms - start_ms)):
        found.add(
            "recording-began",
            coverage.start_ms,
            f"nothing is stored before {utc_text(coverage.start_ms)}",
            since_ms=start_ms,
        )
    _missing(found, coverage)
    _rhythm(found, coverage, config.interval_sec)
    if damaged:
        found.add(
            "damaged-polls",
            damaged[-1],
            f"{len(damaged)}; 'luxcli restore' puts right what an archive holds",
            since_ms=damaged[0],
            count=len(damaged),
        )
    if now_ms is not None and stop_ms > now_ms - _NOW_MS:
        _stale(found, coverage, now_ms, config.interval_sec)
    return Report(
        *(start_ms, stop_ms, judge.polls),
        findings=_together(judge.end(), found.all()),
        coverage=coverage,
        not_fitted=judge.not_fitted(),
        remark=remark,
    )


def _not_flushed(store: Store) -> str | None:
    """Move the buffer into the cache; return in words why that was not possible."""
    hasty = Store(store.path)
    hasty.use_short_timeouts()
    try:
        hasty.flush()
    except LockHeldError:
        return None  # somebody is at it; nothing is lost by not waiting
    except StorageError as exc:
        count = len(store.waiting().polls)
        where = f"{count} {'poll' if count == 1 else 'polls'} judged from the buffer"
        return f"{exc}; {where}" if count else None
    return None


def validate_live(config: Config, *, clock: Clock = SYSTEM_CLOCK) -> Report:
    """Read the heat pump once and judge what it sends; nothing is stored.

    Raises:
        ConfigError: No heat pump is configured.
        LockHeldError: Another luxcli is talking to it.
        DeviceError: It could not be read, or its answer would have been rejected.
        StorageError: The lock cannot be opened.
    """
    # The lock stands beside the database.
    Store.open(config.cache_path, parents=config.may_create_parents)
    snapshot = poll_job.read(config, clock=clock)
    # One poll alone says nothing about change; what happened in the last day is in its logs.
    judge = Judge(config.interval_sec, recent_s=_DAY_S)
    judge.add(snapshot)
    return Report(
        *(snapshot.taken_ms, snapshot.taken_ms + 1, 1),
        findings=judge.end(),
        not_fitted=judge.not_fitted(),
    )


def _nothing(start_ms: int, stop_ms: int, missed: list[Missed]) -> str:
    text = f"nothing is stored from {utc_text(start_ms)} to {utc_text(stop_ms)}"
    if missed:
        last = missed[-1]
        text += f"; {len(missed)} polls failed, the last one with {last.reason}: {last.detail}"
    return text


def _together(*parts: tuple[Finding, ...]) -> tuple[Finding, ...]:
    return in_order([finding for part in parts for finding in part])


def _missing(found: Findings, coverage: Coverage) -> None:
    """Judge how many polls are missing, and what is known about why."""
    start_ms, stop_ms = coverage.start_ms, coverage.stop_ms
    enough = coverage.expected >= _FEW
    if coverage.poor and enough:
        reasons = {**coverage.reasons, "not run": coverage.unexplained}
        causes = ", ".join(f"{why} {count}" for why, count in reasons.items() if count)
        found.add(
            "coverage-half" if coverage.share < _HALF else "coverage-poor",
            stop_ms,
            f"{state.percent(coverage)} of {coverage.expected} polls, missing: {causes}",
            since_ms=start_ms,
            count=coverage.missing,
        )
    unexplained = max(_UNEXPLAINED, _UNEXPLAINED_SHARE * coverage.expected)
    if coverage.unexplained > unexplained and enough:
        # A schedule that is too slow leaves none.
        gap = max(coverage.gaps, key=lambda one: one.unexplained, default=None)
        longest = ""
        if gap is not None:
            lasted = span((gap.stop_ms - gap.start_ms) / 1000)
            longest = f"; the longest gap lasts {lasted}: was the scheduler running?"
        found.add(
            "gaps-unexplained",
            stop_ms if gap is None else gap.stop_ms,
            f"{coverage.unexplained} of which nothing is recorded{longest}",
            since_ms=start_ms if gap is None else gap.start_ms,
            count=coverage.unexplained,
        )
    for reason, rule in (("rejected", "rejected-polls"), ("foreign", "foreign-polls")):
        count = coverage.reasons.get(reason, 0)
        if count:
            with_it = [gap for gap in coverage.gaps if gap.reasons.get(reason)]
            first_ms = with_it[0].start_ms if with_it else start_ms
            last_ms = with_it[-1].stop_ms if with_it else stop_ms
            found.add(rule, last_ms, f"{count}", since_ms=first_ms, count=count)


def _rhythm(found: Findings, coverage: Coverage, interval_s: int) -> None:
    """Compare the distances of polls with the schedule."""
    start_ms, stop_ms = coverage.start_ms, coverage.stop_ms
    if coverage.polls < _FEW or coverage.usual_s is None:
        return
    if not coverages.fits_schedule(coverage.usual_s, interval_s):
        found.add(
            "spacing",
            stop_ms,
            f"mostly {coverage.usual_s} s, interval_sec is {interval_s}",
            since_ms=start_ms,
            count=coverage.polls,
        )
    if coverage.crowded:
        found.add(
            "extra-polls",
            stop_ms,
            f"{coverage.extra} polls between those of the schedule",
            since_ms=start_ms,
            count=coverage.extra,
        )


def _stale(found: Findings, coverage: Coverage, now_ms: int, interval_s: int) -> None:
    limit_s = max(_HOUR_S, 3 * interval_s)
    last_ms = coverage.start_ms if coverage.last_ms is None else coverage.last_ms
    age_s = (now_ms - last_ms) / 1000
    if age_s > limit_s:
        found.add(
            "stale",
            now_ms,
            f"none for {span(age_s)}",
            since_ms=last_ms,
            expected=f"a poll within {span(limit_s)}",
        )
