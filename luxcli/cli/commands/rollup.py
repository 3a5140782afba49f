"""The commands `rollup daily`, `rollup weekly` and `rollup all`: CSVs, archives, clean-up."""

import logging
from collections.abc import Callable, Sequence
from datetime import date, tzinfo
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from luxcli import times
from luxcli.cli.declare import command, group
from luxcli.cli.options import (
    ConfigOption,
    JsonOption,
    LevelOption,
    current_ms,
    date_option,
    epilog,
)
from luxcli.cli.output import (
    failure_entry,
    local_zone,
    megabytes,
    print_json,
    result_line,
    rollup_entry,
    warn,
)
from luxcli.cli.screen import progress
from luxcli.cli.session import Session
from luxcli.config.config import Config
from luxcli.errors import FINDINGS, DamagedError, LuxcliError, UsageError
from luxcli.periods import KINDS, Kind

if TYPE_CHECKING:
    from luxcli.rollup.rollup import RollupResult
    from luxcli.validation.report import Report

_LOGGER = logging.getLogger(__name__)
_STATUSES = (
    "0 done; 2 wrong usage; 3 done, with findings to act on; 65 nothing stored for --date;"
    " 74 storage; 75 another roll-up at work; 78 configuration; 142 took too long"
)
app = group("Write the daily or weekly CSV.", epilog(_STATUSES, "luxcli rollup all --if-due"))


def _declare(what: Kind | Literal["all"], help_text: str, example: str) -> None:
    @command(app, what, help_text=help_text, epilog=epilog(_STATUSES, f"luxcli rollup {example}"))
    def rollup(
        session: Session,
        *,
        ending: Annotated[
            str | None,
            typer.Option(
                "--date",
                metavar="YYYY-MM-DD",
                help="The closed period that ends on this local date at csv_time.",
            ),
        ] = None,
        if_due: Annotated[
            bool,
            typer.Option(
                "--if-due", help="Every closed period since the last one; for the scheduler."
            ),
        ] = False,
        strict: Annotated[
            bool,
            typer.Option(
                "--strict",
                help="End with 3 if more than 5 % of the polls are missing or a day's data has"
                " problems.",
            ),
        ] = False,
        config_path: ConfigOption = None,
        log_level: LevelOption = None,
        as_json: JsonOption = False,
    ) -> int:
        settings = session.start(config_path, log_level, as_json=as_json, job="rollup")
        until = date_option(ending)
        if until and if_due:
            raise UsageError("--date and --if-due: use one of them")
        roll = _Roll(settings, if_due=if_due, strict=strict, as_json=as_json)
        return roll.run(KINDS if what == "all" else (what,), until)


_declare(
    "daily",
    "Write the CSV of the last 24 hours, of a closed day, or of all days that are due.",
    "daily --if-due",
)
_declare(
    "weekly",
    "Write the CSV of the last 7 days, of a closed week, or of all weeks that are due.",
    "weekly --date 2026-11-23",
)
_declare("all", "Write the daily and the weekly CSV, then remove CSVs that are too old.", "all")


class _Roll:
    """What the steps of one roll-up made and found, for the lines and the object at the end."""

    def __init__(self, settings: Config, *, if_due: bool, strict: bool, as_json: bool) -> None:
        self.settings, self.if_due, self.strict, self.as_json = settings, if_due, strict, as_json
        self.zone, self.now_ms = local_zone(settings.timezone), current_ms()
        self.files: list[dict[str, object]] = []
        self.archives: list[str] = []
        self.findings: list[str] = []

    def run(self, kinds: Sequence[Kind], ending: date | None) -> int:
        """Do all steps, also after one that failed; return the exit status."""
        steps: list[Callable[[], None]] = [partial(self.write, kind, ending) for kind in kinds]
        if "daily" in kinds:
            steps = [self.salvage, *steps, self.archive]
        if len(kinds) > 1:
            steps.append(self.clean_up)
        failures: list[LuxcliError] = []
        for step in steps:
            try:
                self.do(step)
            except UsageError:
                raise
            except LuxcliError as exc:
                # The weekly CSV is wanted even if the daily one could not be written.
                failures.append(exc)
        return self.end(failures)

    def do(self, step: Callable[[], None]) -> None:
        """Do one of the steps; if it finds the cache damaged, once more with a new one."""
        try:
            step()
        except DamagedError as exc:
            from luxcli.maintenance import restore

            with progress("salvage") as show:
                self.findings += restore.begun_anew(self.settings, exc, show)
            step()

    def write(self, kind: Kind, ending: date | None) -> None:
        from luxcli.rollup import rollup

        when: Any = {"now_ms": self.now_ms, "zone": self.zone}
        with progress(kind) as show:
            if self.if_due:
                rollup.rollup_due(self.settings, kind, **when, progress=show, done=self.tell)
                return
            result = rollup.rollup(self.settings, kind, **when, progress=show, ending=ending)
        self.tell(result)

    def tell(self, result: "RollupResult") -> None:
        from luxcli.recording import state

        entry = rollup_entry(result)
        self.files.append(entry)
        period = f"{result.period.label} {result.period.kind}"
        if result.damaged:
            self.findings.append(
                f"{period}: {result.damaged} polls are damaged in the cache and were left out;"
                " 'luxcli restore' puts right what an archive holds"
            )
        poor = []
        if result.path and result.coverage.poor:
            poor.append(f"{period}: {state.in_words(result.coverage, self.zone)}")
        judged = self._judged(result)
        entry["verdict"] = judged.verdict if judged else None
        entry["problems"] = []
        if judged and judged.verdict == "problems":
            problems = [one for one in judged.findings if one.severity == "problem"]
            entry["problems"] = [f"{one.rule}: {one.sensor or ''} {one.found}" for one in problems]
            rules = ", ".join(dict.fromkeys(one.rule for one in problems))
            poor.append(
                f"{period}: its data has problems: {rules}; see 'luxcli validate --since"
                f" {times.utc_text(result.period.start_ms)}"
                f" --until {times.utc_text(result.period.stop_ms)}'"
            )
        for text in poor:
            # The file is as good as can be; a reason to fail only for those who ask for it.
            (self.findings.append if self.strict else warn)(text)
        if not self.as_json or result.path is None:
            _tell_rollup(result, self.zone, judged, quiet=self.if_due)

    def _judged(self, result: "RollupResult") -> "Report | None":
        """Judge the polls of a day; a week is seven of them. No report fails because of that."""
        if result.period.kind != "daily" or not result.rows or result.kept:
            return None
        from luxcli.validation import stored

        start_ms, stop_ms = result.period.start_ms, result.period.stop_ms
        try:
            return stored.validate(self.settings, start_ms=start_ms, stop_ms=stop_ms)
        except LuxcliError as exc:
            _LOGGER.info("the data could not be judged: %s", exc)
            return None

    def salvage(self) -> None:
        from luxcli.maintenance import restore

        with progress("salvage") as show:
            sources = restore.salvage_pending(self.settings, show)
        for source in sources:
            (self.findings.append if source.problem else warn)(str(source))

    def archive(self) -> None:
        from luxcli.maintenance import archive as daily_archive

        with progress("archive") as show:
            written = daily_archive.archive_due(
                self.settings, now_ms=self.now_ms, zone=self.zone, progress=show
            )
        for entry in written:
            self.archives.append(str(entry.path))
            self.findings += entry.findings
            if not self.as_json:
                result_line(f"archive: {entry.polls} polls, {megabytes(entry.size)}: {entry.path}")

    def clean_up(self) -> None:
        from luxcli.maintenance import prune

        made = {Path(str(entry["path"])) for entry in self.files if entry["path"]}
        pruned = prune.prune_csvs(self.settings, now_ms=self.now_ms, zone=self.zone, keep=made)
        # What it refuses to remove is for `prune` to say, once a day.
        if pruned.csv_files or not self.if_due:  # no news every hour
            result_line(f"removed {len(pruned.csv_files)} old CSV files")

    def end(self, failures: Sequence[LuxcliError]) -> int:
        """Say what was found; return the exit status, which is that of the first failure."""
        for finding in self.findings:
            warn(finding)
        made = {"files": self.files, "archives": self.archives, "findings": self.findings}
        for text in dict.fromkeys(str(failure) for failure in failures):
            warn(text)
        if self.as_json:
            error = {"error": failure_entry(failures[0])} if failures else {}
            print_json(ok=not (failures or self.findings), **made, **error)
        if failures:
            return failures[0].exit_code
        return FINDINGS if self.findings else 0


def _tell_rollup(
    result: "RollupResult", zone: tzinfo, judged: "Report | None", *, quiet: bool
) -> None:
    from luxcli.recording import state

    period = result.period
    span = f"{times.utc_text(period.start_ms)} to {times.utc_text(period.stop_ms)}"
    if result.kept:
        more = result.rows > result.coverage.polls
        amount = "more than" if more else "all that"
        text = f"{result.path}: kept, for its {result.rows} rows are {amount} the cache has"
        (warn if more and not quiet else result_line)(text)
        return
    if result.path is None:
        text = f"{period.kind}: nothing is stored from {span}; no file written"
        # A period in which the machine was off is no news every hour.
        (result_line if quiet else warn)(text)
        return
    verdict = f"; data: {judged.verdict}" if judged else ""
    result_line(
        f"{period.kind}: {result.rows} rows, {result.columns} columns,"
        f" {megabytes(result.size)}, {span}: {result.path}"
        f" ({state.in_words(result.coverage, zone)}{verdict})"
    )
