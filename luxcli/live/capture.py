"""A trial with a heat pump: polls it for a while into a new directory, writes CSVs, judges them.

Polls are made and stored by the code of the scheduled jobs, with two differences: a failed poll is
not repeated, because the next one follows soon, and the database is in the directory of the
capture. `record` polls, `conclude` writes and judges, also after an interruption.
"""

import math
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import tzinfo
from pathlib import Path
from typing import Final

from luxcli.config.config import Config
from luxcli.errors import (
    DeviceError,
    Interrupted,
    LockHeldError,
    LuxcliError,
    StorageError,
    UsageError,
)
from luxcli.live import key_values, view
from luxcli.model import GROUPS, OVERRUN, Snapshot
from luxcli.periods import KINDS
from luxcli.recording import pacing
from luxcli.recording.poll import DEVICE_WAIT_S, poll_once
from luxcli.rollup import rollup
from luxcli.rollup.rollup import RollupResult
from luxcli.store import database
from luxcli.store.store import Store
from luxcli.system import files
from luxcli.system.clock import SYSTEM_CLOCK, Clock
from luxcli.system.files import size_text
from luxcli.system.progress import Progress, silent
from luxcli.validation import csv_file, stored
from luxcli.validation.findings import Finding, in_order
from luxcli.validation.report import VERDICTS, Report, Verdict

# The CSV of a capture holds 24 hours.
LONGEST_S: Final = 86_400
_LOOK_S: Final = 1.0  # how often it reports while it waits
_SAMPLE: Final = 3  # polls from each end


@dataclass(slots=True)
class Recording:
    """The polls of a capture.

    Attributes:
        polls: Number of stored polls.
        missed: Number of missed polls by reason.
        last: The last poll.
        failure: Why the last poll that failed did so.
        warning: Why the last flush to the database failed, None if it did not.
        interrupted: The signal that ended the capture early.
    """

    polls: int = 0
    missed: Counter[str] = field(default_factory=Counter)
    last: Snapshot | None = None
    failure: LuxcliError | None = None
    warning: str | None = None
    interrupted: int | None = None


@dataclass(frozen=True, slots=True)
class Capture:
    """A finished capture.

    Attributes:
        recording: Its polls.
        values: Registers per poll.
        sample: The first and the last polls.
        rollups: The CSVs.
        reports: The judgements of the polls and of each CSV.
        cache: The database, which other commands can read.
    """

    recording: Recording
    values: int
    sample: tuple[Snapshot, ...]
    rollups: tuple[RollupResult, ...]
    reports: tuple[Report, ...]
    cache: Path

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Warnings and problems, problems first."""
        found = [finding for report in self.reports for finding in report.findings]
        # What is wrong with the polls is found in the CSVs once more.
        once = {(finding.rule, finding.sensor): finding for finding in reversed(found)}
        return in_order([finding for finding in once.values() if finding.severity != "note"])

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of the reports; a warning at least if polls are missing."""
        worst = max((report.verdict for report in self.reports), key=VERDICTS.index)
        return "warnings" if worst == "good" and self.recording.missed else worst

    def to_json(self) -> dict[str, object]:
        """Return what ``--json`` prints."""
        recording = self.recording
        return {
            "ok": not (recording.missed or self.findings or recording.interrupted),
            "verdict": self.verdict,
            "polls": recording.polls,
            "missed": dict(recording.missed),
            "interrupted": recording.interrupted is not None,
            "failure": recording.failure and recording.failure.to_json(),
            "warning": recording.warning,
            "values": self.values,
            "cache": str(self.cache),
            "files": [entry.to_json() for entry in self.rollups],
            "findings": [
                {
                    "rule": finding.rule,
                    "severity": finding.severity,
                    "sensor": finding.sensor,
                    "expected": finding.expected,
                    "found": finding.found,
                    "count": finding.count,
                }
                for finding in self.findings
            ],
        }

    def rows(self) -> Iterator[tuple[str, str]]:
        """Yield the rows of a table for a person."""
        recording = self.recording
        assert recording.last is not None
        missed = ", ".join(f"{reason} {n}" for reason, n in sorted(recording.missed.items()))
        yield "heat pump", key_values.model(key_values.Values(recording.last))
        yield "polls", f"{recording.polls}, {self.values} values each"
        yield "missed", missed or "none"
        for entry in self.rollups:
            name = entry.path and entry.path.name
            size = size_text(entry.size)
            text = f"{entry.rows} rows, {entry.columns} columns, {size}: {name}"
            yield f"{entry.period.kind} CSV", text
        yield "directory", str(self.cache.parent)

    def lines(self) -> list[str]:
        """Return the verdict in one line, for a person who has read the findings."""
        missed, polls = self.recording.missed.total(), self.recording.polls
        stopped = "ended early; " if self.recording.interrupted else ""
        text = "it works with this heat pump"
        if missed:
            text = f"it works, but {missed} of {missed + polls} polls are missing"
        if any(not finding.rule.startswith("coverage-") for finding in self.findings):
            text = "see the findings above"
        return [f"{self.verdict}: {stopped}{text}"]


def prepare(config: Config, directory: Path, interval_s: float) -> Config:
    """Make the directory of a capture and return the configuration for it.

    Raises:
        IncompatibleError: The SQLite library is too old; nothing was made.
        UsageError: The directory is not empty; nothing in it is changed.
        StorageError: The directory cannot be made or written.
    """
    database.check_library()
    directory = directory.absolute()
    try:
        files.make_directory(directory)
        if any(directory.iterdir()):
            raise UsageError(f"{directory}: is not empty; name a new directory with --output")
        # Fails now instead of after two minutes of polling.
        cache = directory / "cache.sqlite3"
        Store(cache).lock_path.touch()
    except FileExistsError:
        raise UsageError(f"{directory}: is not a directory; name another --output") from None
    except OSError as exc:
        raise StorageError(f"{directory}: cannot be written: {exc.strerror}") from exc
    return config._replace(
        cache_path=cache,
        daily_dir=directory,
        weekly_dir=directory,
        interval_sec=max(1, round(interval_s)),
        retries=0,
    )


def record(
    config: Config,
    shared: Config,
    *,
    duration_s: float,
    interval_s: float,
    device_wait_s: float = DEVICE_WAIT_S,
    clock: Clock = SYSTEM_CLOCK,
    progress: Progress = silent,
) -> Recording:
    """Poll every `interval_s` seconds for `duration_s` seconds; a signal ends it early.

    The first poll is made at once, the last before the time is over. Ends within `duration_s` and
    the limit of one poll.

    Args:
        config: From `prepare`.
        shared: Configuration of the scheduled polls, whose lock keeps them away for each poll.
        duration_s: Seconds.
        interval_s: Seconds from the beginning of a poll to that of the next.
        device_wait_s: How long a poll waits for another luxcli that talks to the heat pump.
        clock: Dates the polls, measures and waits.
        progress: Receives about once a second the elapsed seconds, and as text the last values or
            the reason why the last poll failed.

    Raises:
        ConfigError: No heat pump is configured.
        StorageError: A poll cannot be kept.
    """
    result, began = Recording(), clock.monotonic()
    failure: LuxcliError | None = None
    store = Store.open(
        config.cache_path, flush_polls=config.flush_polls, parents=config.may_create_parents
    )

    def report() -> None:
        elapsed_s = min(clock.monotonic() - began, duration_s)
        progress(elapsed_s, duration_s, _brief(result.last, failure))

    def skipped(late_s: float) -> None:
        result.missed[OVERRUN] += 1
        pacing.record_overrun(store, round((clock.now() - late_s) * 1000))

    moments = pacing.pace(
        (number * interval_s for number in range(math.ceil(duration_s / interval_s))),
        clock=clock,
        look_s=_LOOK_S,
        on_wait=report,
        on_skip=skipped,
    )
    try:
        for _ in moments:
            failure = _poll(config, shared, result, device_wait_s, clock)
        progress(duration_s, duration_s, _brief(result.last, failure))
    except Interrupted as exc:
        result.interrupted = exc.signum
    return result


def conclude(config: Config, recording: Recording, *, now_ms: int, zone: tzinfo) -> Capture:
    """Write both CSVs of a capture and judge it.

    Args:
        config: From `prepare`.
        recording: From `record`, with a poll at least.
        now_ms: After the last poll, UTC.
        zone: Time zone of the user.

    Raises:
        ConfigError: ``csv.sensors`` names what does not exist.
        StorageError: The database cannot be read or a CSV cannot be written.
    """
    assert recording.last is not None
    store = Store.open(
        config.cache_path, flush_polls=config.flush_polls, parents=config.may_create_parents
    )
    rollups = tuple(rollup.rollup(config, kind, now_ms=now_ms, zone=zone) for kind in KINDS)
    start_ms = min(entry.period.start_ms for entry in rollups)
    times = store.database.times(start_ms, now_ms)
    ends = {*times[:_SAMPLE], *times[-_SAMPLE:]}
    sample = tuple(poll for ts_ms in sorted(ends) for poll in store.query(ts_ms, ts_ms + 1))
    values = sum(len(recording.last.block(group)) for group in GROUPS)
    judged = [stored.validate(config, start_ms=start_ms, stop_ms=now_ms)]
    judged += [csv_file.check(config, entry.path, zone) for entry in rollups if entry.path]
    return Capture(recording, values, sample, rollups, tuple(judged), config.cache_path)


def discard(config: Config) -> None:
    """Remove what a capture without a single poll has left, so that it can be repeated."""
    directory = config.cache_path.parent
    for pattern in (config.cache_path.name + "*", "device-*.lock"):
        for path in directory.glob(pattern):
            with suppress(OSError):
                path.unlink()
    with suppress(OSError):  # it holds other files
        directory.rmdir()


def _poll(
    config: Config, shared: Config, result: Recording, device_wait_s: float, clock: Clock
) -> LuxcliError | None:
    """Make one poll and count it; return why it failed."""
    try:
        poll = poll_once(
            config,
            lock_directory=shared.cache_path.parent,
            device_wait_s=device_wait_s,
            clock=clock,
        )
    except (LockHeldError, DeviceError) as exc:
        result.missed["busy" if isinstance(exc, LockHeldError) else exc.reason] += 1
        result.failure = exc
        return exc
    result.polls += 1
    result.last, result.warning = poll.snapshot, poll.warning
    return None


def _brief(poll: Snapshot | None, failure: LuxcliError | None) -> str | None:
    """Return the last values in 60 characters, or why the last poll failed; None before it."""
    if failure:
        return view.describe_failure(failure)
    if poll is None:
        return None
    values = key_values.Values(poll)
    numbers = [
        f"{name} {number:.1f}"
        for name, item in (
            ("out", key_values.OUTDOOR),
            ("flow", key_values.FLOW),
            ("return", key_values.RETURN),
            ("DHW", key_values.HOT_WATER),
        )
        if (number := values.number(item.ids[0])) is not None
    ]
    compressor = key_values.row(key_values.COMPRESSOR, values).text
    return " ".join([*numbers, f"compr. {compressor}"])
