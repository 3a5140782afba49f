"""The result of a validation: findings, a score for each kind of data, one verdict."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from luxcli.recording.coverage import Coverage
from luxcli.validation.findings import Finding
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
        remark: A warning about the judgement itself, such as a buffer that could not be flushed.
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
