"""Checks of the recording: were polls made as scheduled, and why are the others missing?"""

from typing import ClassVar, Final

from luxcli.recording.coverage import Coverage
from luxcli.times import span, utc_text
from luxcli.validation.findings import Findings

_HOUR_S: Final = 3600
# A missed poll or two is normal: the controller restarts now and then.
_FEW_MISSED: Final = 2
# A poll now and then without a reason comes from a scheduler that was late.
_UNEXPLAINED_SHARE: Final = 0.005
_HALF: Final = 0.5
# Fewer polls say nothing about a schedule.
ENOUGH: Final = 10
# Recording that began so much later than the interval is worth a note.
_LATE_SHARE: Final = 0.05
# Distances within these of the interval are those of the schedule.
_SPACING_SLACK: Final = 0.1
_SPACING_SLACK_S: Final = 2


def is_complete(coverage: Coverage) -> bool:
    """Whether the scheduled polls are there, but for a small share or for one or two."""
    return not coverage.is_below_target or coverage.missing <= _FEW_MISSED


class Schedule:
    """Compares the polls of an interval with the schedule.

    Args:
        findings: Takes what is found.
        coverage: The polls of the interval.
        interval_s: Seconds between scheduled polls.
    """

    rules: ClassVar = (
        *("coverage-poor", "coverage-half", "gaps-unexplained", "rejected-polls"),
        *("foreign-polls", "extra-polls", "stale", "recording-began"),
    )

    def __init__(self, findings: Findings, coverage: Coverage, interval_s: int) -> None:
        self._findings, self._coverage, self._interval_s = findings, coverage, interval_s

    def judge(self) -> None:
        """Report missing and additional polls."""
        self._missing()
        self._unexplained()
        self._refused()
        found = self._coverage
        if found.made < ENOUGH or found.usual_s is None:
            return
        Spacing(self._findings).judge(
            *(found.usual_s, self._interval_s, found.made),
            start_ms=found.start_ms,
            stop_ms=found.stop_ms,
        )
        if found.has_too_many:
            text = f"{found.duplicates} polls for scheduled times that have one already"
            self._add("extra-polls", text, found.duplicates)

    def judge_beginning(self, start_ms: int) -> None:
        """Report a recording that began long after the interval did."""
        began_ms, length_ms = self._coverage.start_ms, self._coverage.stop_ms - start_ms
        if began_ms - start_ms > max(_HOUR_S * 1000, _LATE_SHARE * length_ms):
            text = f"no scheduled poll is stored before {utc_text(began_ms)}"
            self._findings.add("recording-began", began_ms, text, since_ms=start_ms)

    def judge_age(self, now_ms: int) -> None:
        """Report that polls no longer arrive."""
        last_ms = self._coverage.last_ms
        last_ms = self._coverage.start_ms if last_ms is None else last_ms
        limit_s, age_s = max(_HOUR_S, 3 * self._interval_s), (now_ms - last_ms) / 1000
        if age_s > limit_s:
            self._findings.add(
                "stale",
                now_ms,
                f"no poll for {span(age_s)}",
                since_ms=last_ms,
                expected=f"a poll within {span(limit_s)}",
            )

    def _missing(self) -> None:
        found = self._coverage
        if is_complete(found) or found.expected < ENOUGH:
            return
        reasons = {**found.reasons, "not run": found.unexplained}
        causes = ", ".join(f"{why} {count}" for why, count in reasons.items() if count)
        text = f"{found.percent} of {found.expected} polls, missing: {causes}"
        self._add("coverage-half" if found.share < _HALF else "coverage-poor", text, found.missing)

    def _unexplained(self) -> None:
        found = self._coverage
        few = max(_FEW_MISSED, _UNEXPLAINED_SHARE * found.expected)
        if found.unexplained <= few or found.expected < ENOUGH:
            return
        text = f"{found.unexplained} polls without a recorded reason"
        gap = max(found.gaps, key=lambda one: one.unexplained)
        lasted = span((gap.stop_ms - gap.start_ms) / 1000)
        self._findings.add(
            "gaps-unexplained",
            gap.stop_ms,
            f"{text}; the longest gap lasts {lasted}: was the scheduler running?",
            since_ms=gap.start_ms,
            count=found.unexplained,
        )

    def _refused(self) -> None:
        found = self._coverage
        for reason, rule, text in (
            ("rejected", "rejected-polls", "rejected answers"),
            ("foreign", "foreign-polls", "answers of another heat pump"),
        ):
            count = found.reasons.get(reason, 0)
            if count:
                gaps = [gap for gap in found.gaps if gap.reasons.get(reason)]
                first_ms = gaps[0].start_ms if gaps else found.start_ms
                last_ms = gaps[-1].stop_ms if gaps else found.stop_ms
                found_text = f"{text}: {count}"
                self._findings.add(rule, last_ms, found_text, since_ms=first_ms, count=count)

    def _add(self, rule: str, text: str, count: int) -> None:
        start_ms, stop_ms = self._coverage.start_ms, self._coverage.stop_ms
        self._findings.add(rule, stop_ms, text, since_ms=start_ms, count=count)


class Spacing:
    """The usual distance of polls, or of the rows of a CSV, against the schedule."""

    rules: ClassVar = ("spacing",)

    def __init__(self, findings: Findings) -> None:
        self._findings = findings

    def judge(
        self, usual_s: int, interval_s: int, count: int, *, start_ms: int, stop_ms: int
    ) -> None:
        """Report a distance that is not that of the schedule."""
        slack_s = max(_SPACING_SLACK_S, _SPACING_SLACK * interval_s)
        if abs(usual_s - interval_s) > slack_s:
            text = f"polls arrive every {usual_s} s, interval_sec is {interval_s}"
            self._findings.add("spacing", stop_ms, text, since_ms=start_ms, count=count)


class Damage:
    """Stored polls that no longer fit their checksums."""

    rules: ClassVar = ("damaged-polls",)

    def __init__(self, findings: Findings) -> None:
        self._findings = findings

    def judge(self, damaged_ms: list[int]) -> None:
        """Report the polls of these times."""
        if damaged_ms:
            count = len(damaged_ms)
            text = f"damaged polls: {count}; 'luxcli restore' repairs those that an archive holds"
            first_ms, last_ms = damaged_ms[0], damaged_ms[-1]
            self._findings.add("damaged-polls", last_ms, text, since_ms=first_ms, count=count)
