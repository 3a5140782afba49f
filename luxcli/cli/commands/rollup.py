"""The commands `rollup daily`, `rollup weekly` and `rollup all`: CSVs, archives, clean-up."""

import logging
from collections.abc import Callable, Sequence
from datetime import date, tzinfo
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

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
from luxcli.cli.output import counted, local_zone, print_json, report_line, warn
from luxcli.cli.screen import progress
from luxcli.cli.session import Session
from luxcli.config.config import Config
from luxcli.errors import FINDINGS, DamagedError, LuxcliError, UsageError
from luxcli.periods import KINDS, Kind
from luxcli.system import log_setup
from luxcli.system.files import size_text

if TYPE_CHECKING:
    from luxcli.rollup.rollup import RollupResult
    from luxcli.validation.findings import Finding
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
                help="Write the closed period that ends on this local date at csv_time.",
            ),
        ] = None,
        if_due: Annotated[
            bool,
            typer.Option(
                "--if-due", help="Write all closed periods since the last CSV; for schedulers."
            ),
        ] = False,
        strict: Annotated[
            bool,
            typer.Option(
                "--strict",
                help="Exit with 3 if more than 5 % of the polls are missing or a day's data has"
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
        run = _Run(settings, if_due=if_due, strict=strict, as_json=as_json)
        return run.run(KINDS if what == "all" else (what,), until)


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


class _Csv(NamedTuple):
    """One CSV and the judgement of its polls.

    Attributes:
        result: The CSV.
        report: The judgement; None for a week, and where the polls could not be judged.
    """

    result: "RollupResult"
    report: "Report | None"

    @property
    def problems(self) -> "list[Finding]":
        """The problems of the polls, if they have any."""
        findings = self.report.findings if self.report else ()
        return [finding for finding in findings if finding.severity == "problem"]

    def to_json(self) -> dict[str, object]:
        """Return what ``--json`` prints about the file."""
        return {
            **self.result.to_json(),
            "verdict": self.report.verdict if self.report else None,
            "problems": [f"{one.rule}: {one.sensor or ''} {one.found}" for one in self.problems],
        }

    def shortcomings(self, zone: tzinfo) -> list[str]:
        """Return why the file is not as good as it should be, though it was written."""
        period = self.result.period
        name = f"{period.label} {period.kind}"
        texts = []
        if self.result.path and self.result.coverage.is_below_target:
            texts.append(f"{name}: {self.result.coverage.describe(zone)}")
        if self.problems:
            rules = ", ".join(dict.fromkeys(finding.rule for finding in self.problems))
            texts.append(
                f"{name}: its data has problems: {rules}; see 'luxcli validate --since"
                f" {times.utc_text(period.start_ms)} --until {times.utc_text(period.stop_ms)}'"
            )
        return texts


class _Run:
    """One run of the command: its steps, and what they made and found."""

    def __init__(self, settings: Config, *, if_due: bool, strict: bool, as_json: bool) -> None:
        self.settings, self.if_due, self.strict, self.as_json = settings, if_due, strict, as_json
        self.zone, self.now_ms = local_zone(settings.timezone), current_ms()
        self.files: list[_Csv] = []
        self.archives: list[str] = []
        self.findings: list[str] = []
        self.failures: list[LuxcliError] = []
        self.bugs: list[Exception] = []

    def to_json(self) -> dict[str, object]:
        """Return what ``--json`` prints."""
        errors = [failure.to_json() for failure in self.failures]
        errors += [{"type": type(bug).__name__, "exit": 1, "text": str(bug)} for bug in self.bugs]
        return {
            "ok": not (errors or self.findings),
            "files": [file.to_json() for file in self.files],
            "archives": self.archives,
            "findings": self.findings,
            **({"error": errors[0]} if errors else {}),
        }

    def run(self, kinds: Sequence[Kind], ending: date | None) -> int:
        """Do all steps, also after one that failed; return the exit status.

        The status is that of the first failure: the weekly CSV is wanted even if the daily one
        could not be written. A bug is raised at the end, when the other steps have been done.
        """
        steps: list[Callable[[], None]] = [partial(self.write, kind, ending) for kind in kinds]
        if "daily" in kinds:
            # Who asks for the CSV of one day does not wait for the check of a year.
            checks = [] if ending else [self.check]
            steps = [self.rebuild, *steps, self.archive, *checks, self.remove_journals]
        if len(kinds) > 1:
            steps.append(self.clean_up)
        for step in [self.take_in, *steps]:
            try:
                self.repeat_if_damaged(step)
            except UsageError:
                raise
            except LuxcliError as exc:
                self.failures.append(exc)
            except Exception as exc:
                self.bugs.append(exc)
        for text in [*self.findings, *dict.fromkeys(map(str, self.failures))]:
            warn(text)
        if self.as_json:
            print_json(self.to_json())
        if self.bugs:
            for bug in self.bugs[1:]:
                _LOGGER.critical("a bug, please report it", exc_info=bug)
            raise self.bugs[0]
        if self.failures:
            return self.failures[0].exit_code
        return FINDINGS if self.findings else 0

    def repeat_if_damaged(self, step: Callable[[], None]) -> None:
        """Do a step; if it finds the database damaged, rebuild that and do the step again."""
        try:
            step()
        except DamagedError as exc:
            from luxcli.maintenance import rebuild

            with progress("rebuilding") as show:
                self.findings += rebuild.recreate(
                    self.settings, exc, now_ms=self.now_ms, zone=self.zone, progress=show
                )
            step()

    def take_in(self) -> None:
        """Move what waits into the database; a journal that cannot be read stops no other step."""
        from luxcli.store.store import Store

        Store.open(self.settings.cache_path, parents=self.settings.may_create_parents).flush()

    def rebuild(self) -> None:
        """Put back what a new database lacks."""
        from luxcli.maintenance import rebuild

        with progress("rebuilding") as show:
            restored = rebuild.complete(
                self.settings, now_ms=self.now_ms, zone=self.zone, progress=show
            )
        self.findings += restored.problems
        if restored.polls or restored.missed:
            warn(f"the database was incomplete: {restored.describe()}")

    def write(self, kind: Kind, ending: date | None) -> None:
        """Write the CSVs of one kind."""
        from luxcli.rollup import rollup

        with progress(kind) as show:
            if self.if_due:
                rollup.rollup_due(
                    self.settings,
                    kind,
                    now_ms=self.now_ms,
                    zone=self.zone,
                    progress=show,
                    report=self.report,
                )
                return
            result = rollup.rollup(
                self.settings,
                kind,
                now_ms=self.now_ms,
                zone=self.zone,
                progress=show,
                ending=ending,
            )
        self.report(result)

    def report(self, result: "RollupResult") -> None:
        """Judge the polls of a CSV, print and note what became of it."""
        if result.damaged:
            from luxcli.maintenance import copies

            period = result.period
            copies.check_replaceable(self.settings, period.start_ms, period.stop_ms, self.zone)
        file = _Csv(result, self.judge(result))
        self.files.append(file)
        if result.damaged:
            self.findings.append(
                f"{result.period.label} {result.period.kind}: {result.damaged} polls are damaged in"
                " the database and were left out; no archive and no journal holds them"
            )
        for text in file.shortcomings(self.zone):
            # The file is as good as it can be, so this is a failure only with --strict.
            (self.findings.append if self.strict else warn)(text)
        [line] = result.lines(self.zone, file.report.verdict if file.report else None)
        if result.is_suspicious and not self.if_due:  # else the same would be printed every hour
            warn(line)
        else:
            self.report_line(line)

    def judge(self, result: "RollupResult") -> "Report | None":
        """Judge the polls of a day; a week is seven of them. A failure is only logged."""
        if result.period.kind != "daily" or not result.rows or result.kept:
            return None
        from luxcli.validation import stored

        start_ms, stop_ms = result.period.start_ms, result.period.stop_ms
        try:
            return stored.validate(self.settings, start_ms=start_ms, stop_ms=stop_ms)
        except LuxcliError as exc:
            _LOGGER.info("the data could not be judged: %s", exc)
            return None

    def archive(self) -> None:
        """Write the archives that are due."""
        from luxcli.maintenance import archive, copies

        with progress("archive") as show:
            written = archive.archive_due(
                self.settings, now_ms=self.now_ms, zone=self.zone, progress=show
            )
        for entry in written:
            if entry.findings:
                span = archive.bounds(date.fromisoformat(entry.path.name[:10]), self.zone)
                copies.check_replaceable(self.settings, *span, self.zone)
            self.archives.append(str(entry.path))
            self.findings += entry.findings
            size = size_text(entry.size)
            self.report_line(f"archive: {counted(entry.polls, 'poll')}, {size}: {entry.path}")

    def remove_journals(self) -> None:
        """Remove the journals whose lines are in archives."""
        from luxcli.maintenance import journals

        removed = journals.remove_safe(self.settings, zone=self.zone)
        if removed:
            _LOGGER.info("removed %s: archived", counted(len(removed), "journal"))

    def check(self) -> None:
        """Check the database and some archives, once a night."""
        from luxcli.maintenance import check

        with progress("check") as show:
            checked = check.check_due(
                self.settings, now_ms=self.now_ms, zone=self.zone, progress=show
            )
        self.findings += checked.findings
        if checked.archives:
            self.report_line(
                f"checked {counted(checked.archives, 'archive')} and the database: intact"
            )

    def clean_up(self) -> None:
        """Remove CSVs that are too old."""
        from luxcli.maintenance import prune

        new_paths = {file.result.path for file in self.files if file.result.path}
        pruned = prune.prune_csvs(self.settings, now_ms=self.now_ms, zone=self.zone, keep=new_paths)
        # CSVs that it refuses to remove are reported by `prune`, once a day.
        if pruned.csv_files or not self.if_due:
            self.report_line(f"removed {counted(len(pruned.csv_files), 'old CSV file')}")

    def report_line(self, text: str) -> None:
        """Log what was done, and print it on a terminal unless the JSON object says it."""
        if self.as_json:
            _LOGGER.info("%s", text, extra=log_setup.PRINTED)
        else:
            report_line(text)
