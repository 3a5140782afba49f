"""Whether polls arrive as scheduled, and whether CSVs are written. Reads only."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import tzinfo
from functools import partial
from pathlib import Path
from typing import Any, Final

from luxcli import times
from luxcli.config.config import Config
from luxcli.diagnosis import findings as rendering
from luxcli.diagnosis.sections import NO_DATA, Line, Section, guarded, info, ok, problem, warning
from luxcli.errors import NoDataError, StorageError
from luxcli.exports import csv_file
from luxcli.periods import KINDS, Kind
from luxcli.recording import state
from luxcli.recording.coverage import Coverage
from luxcli.rollup import files
from luxcli.store import ledger
from luxcli.store.store import Store
from luxcli.validation import csv_file as csv_validation
from luxcli.validation import stored
from luxcli.validation.findings import Finding
from luxcli.validation.recording import ENOUGH, is_complete

_HOUR_MS: Final = 3_600_000
_DAY_MS: Final = 86_400_000
_LOOKED_AT: Final = (("hour", _HOUR_MS), ("24 h", _DAY_MS), ("7 days", 7 * _DAY_MS))
# How long after its end a period's CSV is there at the latest.
_CSV_DUE_MS: Final[dict[Kind, int]] = {"daily": 26 * _HOUR_MS, "weekly": 8 * _DAY_MS}
_SEVERAL: Final = 2
# The reason that `poll-once` records for a poll of another heat pump.
_FOREIGN: Final = "foreign"
_COVERAGE_RULES: Final = frozenset({"coverage-poor", "coverage-half"})
_SPACING_RULES: Final = frozenset({"spacing"})
_ROLLUP_ADVICE: Final = (
    "is 'luxcli rollup all --if-due' in the crontab? 'luxcli schedule cron' prints the lines"
)
_SCHEDULE_ADVICE: Final = (
    "does the scheduler run? 'luxcli schedule cron --install' puts the lines into your crontab"
)


@dataclass(frozen=True, slots=True)
class CsvLook:
    """A quick look at a CSV.

    Attributes:
        path: The file.
        rows: Number of rows.
        looked_at: Number of its first rows that were judged.
        complete: How many of those hold most of the values.
        findings: What is wrong with the others.
    """

    path: Path
    rows: int
    looked_at: int
    complete: int
    findings: tuple[Finding, ...] = ()

    @property
    def has_several(self) -> bool:
        """Whether the complete rows show that CSVs are written as they should be."""
        return self.complete >= _SEVERAL


@dataclass(slots=True)
class Facts:
    """What was found about the recording; a fact that could not be found out is None or missing.

    Attributes:
        interval_s: Seconds between scheduled polls.
        last_ms: Time of the newest poll, UTC.
        age_s: Its age in seconds.
        is_recent: Whether it is as new as it should be.
        coverage: Polls against the schedule, by name of the interval.
        is_covered: Whether the polls of the last day are there, but for a few.
        usual_s: Usual distance of polls in seconds.
        newest: Path of the newest CSV of each kind.
        newest_csv: A look at the newest daily CSV.
    """

    interval_s: int
    last_ms: int | None = None
    age_s: float | None = None
    is_recent: bool | None = None
    coverage: dict[str, Coverage] = field(default_factory=dict)
    is_covered: bool | None = None
    usual_s: int | None = None
    newest: dict[Kind, str | None] = field(default_factory=dict)
    newest_csv: CsvLook | None = None

    @property
    def is_on_schedule(self) -> bool | None:
        """Whether nearly all polls of the last day are there, and the newest is recent."""
        return None if self.is_recent is None else bool(self.is_recent and self.is_covered)

    def to_json(self) -> dict[str, Any]:
        """Return the facts for programs."""
        found: dict[str, Any] = {
            "interval_sec": self.interval_s,
            "last_poll": None if self.last_ms is None else times.utc_text(self.last_ms),
            "last_poll_age_s": self.age_s,
            "coverage": {name: one.to_json() for name, one in self.coverage.items()},
            "covered": self.is_covered,
            "usual_interval_sec": self.usual_s,
            **{f"last_{kind}": path for kind, path in self.newest.items()},
        }
        if self.is_recent is not None:
            found["recent"] = self.is_recent
        if look := self.newest_csv:
            found["newest_csv"] = {
                "path": str(look.path),
                "rows": look.rows,
                "looked_at": look.looked_at,
                "complete": look.complete,
            }
        return found


def recorded(config: Config, *, now_ms: int, zone: tzinfo) -> tuple[Section, Facts]:
    """Return whether polls arrive as scheduled, and CSVs with them."""
    store = Store(config.cache_path, flush_polls=config.flush_polls)
    facts = Facts(config.interval_sec)
    parts: list[Callable[[], Iterable[Line]]] = [
        lambda: _last_poll(store, now_ms, facts),
        lambda: _coverages(store, now_ms, zone, facts),
        *(partial(_rollups, config, store, kind, now_ms, zone, facts) for kind in KINDS),
        lambda: _newest_csv(config, zone, facts),
    ]
    lines = tuple(guarded(parts))
    return Section("recording", lines, (), facts.to_json()), facts


def _last_poll(store: Store, now_ms: int, facts: Facts) -> Iterator[Line]:
    found = state.state(store, now_ms)
    facts.last_ms, facts.age_s = found.last_ms, found.age_s
    if found.ahead_ms is not None:
        ahead = times.span((found.ahead_ms - now_ms) / 1000)
        text = f"a poll lies {ahead} in the future"
        yield warning(text, "this machine's clock is or was wrong: is it synchronised?")
    failure = found.failure
    if failure and failure.reason == _FOREIGN:
        # The newest attempt of all: true until somebody does something about it.
        yield problem(failure.detail, status=StorageError.exit_code)
        failure = None
    if found.age_s is None:
        if found.ahead_ms is None:
            yield warning("nothing was ever recorded", "'luxcli poll-once' makes the first poll")
        return
    stale = found.is_stale(state.default_max_age_s(facts.interval_s))
    facts.is_recent = not stale
    text = f"last good poll {times.span(found.age_s)} ago"
    if failure:
        text += f"; since then: {failure.reason}: {failure.detail}"
    if stale:
        yield problem(f"not recording: {text}", _SCHEDULE_ADVICE, status=NO_DATA)
    else:
        yield ok(text)


def _coverages(store: Store, now_ms: int, zone: tzinfo, facts: Facts) -> Iterator[Line]:
    began_ms = 0
    given: set[str | None] = set()
    spacing: list[Finding] = []
    for name, length_ms in _LOOKED_AT:
        found = state.coverage(store, now_ms - length_ms, now_ms)
        findings = stored.judge_schedule(found, facts.interval_s)
        facts.coverage[name] = found
        # A few polls made by hand say nothing about the schedule.
        if found.made >= ENOUGH:
            facts.usual_s = found.usual_s
            spacing = rendering.of_rules(findings, _SPACING_RULES)
        if name == "24 h":
            facts.is_covered = is_complete(found) or found.expected < ENOUGH
        # Where recording began within the shorter interval, the longer one shows the same again.
        if found.expected and found.start_ms != began_ms:
            line = _coverage_line(name, found, findings, zone)
            # One advice is enough for several looks at the same gap.
            yield line if line.advice not in given else replace(line, advice=None)
            given.add(line.advice)
        began_ms = found.start_ms
    for finding in spacing:
        advice = f"make the scheduler's line and 'interval_sec: {facts.interval_s}' agree"
        yield replace(rendering.line(finding), text=finding.found, advice=advice)


def _coverage_line(name: str, found: Coverage, findings: Iterable[Finding], zone: tzinfo) -> Line:
    text = f"last {name}: {found.describe(zone)}"
    if is_complete(found):
        return ok(text)
    shortfall = rendering.of_rules(findings, _COVERAGE_RULES)
    if not shortfall:
        return info(text)
    no_run = "no run was started, or it was killed: look at the crontab and at cron's log"
    advice = no_run if found.unexplained > found.missing / 2 else "see what the reasons say"
    # A single gap in a short interval is no drama.
    if shortfall[0].severity != "problem" or name == "hour":
        return warning(text, advice)
    return problem(text, advice, status=NO_DATA)


def _rollups(
    config: Config,
    store: Store,
    kind: Kind,
    now_ms: int,
    zone: tzinfo,
    facts: Facts,
) -> Iterator[Line]:
    records = ledger.rollups(store, kind)
    failed = [record for record in records if record.state == "failed"]
    written = [record for record in records if record.state == "written" and record.path]
    newest = written[-1] if written else None
    facts.newest[kind] = newest.path if newest else None
    if failed and (newest is None or failed[-1].written_ms > newest.written_ms):
        advice = f"'luxcli rollup {kind} --if-due' tries again"
        yield warning(f"the last {kind} roll-up failed: {failed[-1].error}", advice)
    oldest_ms = store.database.span()[0]
    due = oldest_ms is not None and now_ms - oldest_ms > _CSV_DUE_MS[kind]
    if newest is None:
        if due:
            yield warning(
                f"no {kind} CSV of a closed period was ever written",
                _ROLLUP_ADVICE,
            )
        else:
            yield info(f"no {kind} CSV is recorded yet; none is due")
        return
    name = Path(str(newest.path)).name
    age = times.span((now_ms - newest.stop_ms) / 1000)
    text = f"last {kind} CSV: {name}, {newest.rows} rows, ended {age} ago"
    is_gone = not Path(str(newest.path)).exists()
    if is_gone:
        text += "; the file has been moved or removed"
    if now_ms - newest.stop_ms > _CSV_DUE_MS[kind] and _has_polls_since(store, newest.stop_ms):
        yield warning(text, _ROLLUP_ADVICE)
    elif is_gone and not any(file.kind == kind for file in files.csvs(config)):
        local = times.local_date(newest.stop_ms, zone)
        advice = f"if nobody meant to: 'luxcli rollup {kind} --date {local}' writes it again"
        yield warning(f"{text}, as all others", advice)
    else:
        yield ok(text)


def _has_polls_since(store: Store, ts_ms: int) -> bool:
    """Whether the database has polls of that time or later."""
    return store.database.next_poll(ts_ms) is not None


def _newest_csv(config: Config, zone: tzinfo, facts: Facts) -> Iterator[Line]:
    daily = [file for file in files.csvs(config) if file.kind == "daily"]
    if not daily:
        return
    look = facts.newest_csv = _look_at(files.newest(daily).path, config.interval_sec, zone)
    text = f"{look.path.name}: {look.rows} rows; of {look.looked_at} looked at"
    text += f" {look.complete} are complete"
    if look.has_several:
        yield ok(text)
    elif look.complete == look.looked_at > 0:
        yield warning(text, "only one row so far; check again after the next roll-up")
    else:
        found = [f"{finding.rule}: {finding.found}" for finding in look.findings]
        advice = "an almost empty CSV: see the sections on sensors and recording"
        yield problem("; ".join([text, *found]), advice, status=NO_DATA)


def _look_at(path: Path, interval_s: int, zone: tzinfo) -> CsvLook:
    """Return how many rows a CSV has, and whether the first of them are complete.

    Raises:
        StorageError: The file cannot be read.
    """
    try:
        look = csv_validation.look(path, interval_s, zone)
    except NoDataError:
        return CsvLook(path, 0, 0, 0)
    rows = csv_file.rows_within(path, 0, 2**62)
    return CsvLook(path, rows, look.rows, look.complete, look.findings)
