"""The result of a validation: findings, a score for each kind of data, one verdict."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import tzinfo
from typing import Final, Literal

from luxcli.recording.coverage import Coverage
from luxcli.validation.findings import Finding, count_text, moment
from luxcli.validation.rules import AREAS, Area

Verdict = Literal["good", "warnings", "problems"]
VERDICTS: Final[tuple[Verdict, ...]] = ("good", "warnings", "problems")

# Points that a finding takes from the 100 of its area: at once, and more if it concerns all polls.
COST: Final = {"problem": (30.0, 70.0), "warning": (10.0, 20.0), "note": (0.0, 0.0)}


@dataclass(frozen=True, slots=True)
class Report:
    """What was judged and what was found.

    Attributes:
        start_ms: Beginning of the interval, included; UTC.
        stop_ms: End, excluded.
        polls: Number of polls, or rows of a CSV, that were judged.
        findings: Problems first.
        coverage: Polls against the schedule; None where no schedule applies.
        not_fitted: Ids of sensors that showed nothing but their value for "not fitted".
        remark: A warning about the judgement itself as a whole.
        judged: The areas that had something to judge.
    """

    start_ms: int
    stop_ms: int
    polls: int
    findings: tuple[Finding, ...]
    coverage: Coverage | None = None
    not_fitted: tuple[str, ...] = field(default=())
    remark: str | None = None
    judged: frozenset[Area] = frozenset(AREAS)

    @property
    def verdict(self) -> Verdict:
        """The highest severity that was found; notes do not count."""
        severities = {finding.severity for finding in self.findings}
        if "problem" in severities:
            return "problems"
        return "warnings" if "warning" in severities else "good"

    @property
    def scores(self) -> dict[Area, int | None]:
        """Points from 0 to 100 for each area, in the order in which they are shown.

        None where nothing was there to judge.
        """
        return {area: self._score(area) if area in self.judged else None for area in AREAS}

    def to_json(self) -> dict[str, object]:
        """Return the report for programs."""
        coverage = {} if self.coverage is None else {"coverage": self.coverage.to_json()}
        return {
            "ok": self.verdict == "good",
            "verdict": self.verdict,
            "start": moment(self.start_ms),
            "stop": moment(self.stop_ms),
            "polls": self.polls,
            **coverage,
            "scores": dict(self.scores),
            "findings": [finding.to_json() for finding in self.findings],
            "not_fitted": list(self.not_fitted),
            "remark": self.remark,
        }

    def rows(self) -> Iterator[tuple[str, str, str]]:
        """Yield name, score and number of findings of each kind of data."""
        scores = self.scores
        for area, name in AREAS.items():
            here = [finding for finding in self.findings if finding.area == area]
            points = scores[area]
            yield name, "-" if points is None else str(points), count_text(here)

    def lines(self, zone: tzinfo, source: str, *, short: bool = False) -> Iterator[str]:
        """Yield the summary for a person.

        Args:
            zone: For local times.
            source: What was judged.
            short: Only the number of sensors that are not fitted, whose ids would fill a screen.
        """
        if self.coverage is not None:
            yield f"polls: {self.coverage.describe(zone)}"
        if self.not_fitted:
            number = f"{len(self.not_fitted)} sensors, which '--json' names"
            yield f"not fitted: {number if short else ', '.join(self.not_fitted)}"
        count = count_text(self.findings)
        yield f"{self.verdict}: {source}{': ' + count if count else ''}"

    def _score(self, area: Area) -> int:
        points = _score(area, self.findings, self.polls)
        if area == "recording" and self.coverage is not None:
            return min(points, int(100 * self.coverage.share))
        return points


def _score(area: Area, findings: Sequence[Finding], polls: int) -> int:
    points = 100.0
    for finding in findings:
        if finding.area == area:
            at_once, by_share = COST[finding.severity]
            points -= at_once + by_share * min(1.0, finding.count / max(1, polls))
    return max(0, int(points))
