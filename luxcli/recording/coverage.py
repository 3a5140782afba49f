"""What there is of the scheduled polls of an interval: how many, where the gaps are, and why."""

from collections.abc import Mapping
from datetime import tzinfo
from types import MappingProxyType
from typing import Final, NamedTuple

from luxcli import times

# More polls than this share for scheduled times that have one come from a second schedule.
_DUPLICATES_SHARE: Final = 0.2
# The share of scheduled polls that a period should have: a day with an hour's outage has it.
TARGET: Final = 0.95


class Gap(NamedTuple):
    """A time without scheduled polls.

    Attributes:
        start_ms: Scheduled time of the poll before it, or the beginning of the interval.
        stop_ms: Scheduled time of the poll after it, or the end of the interval.
        missing: How many polls the schedule would have made.
        reasons: Recorded reasons and how many missed polls each explains; the rest has none: no
            run was started, or it was killed.
    """

    start_ms: int
    stop_ms: int
    missing: int
    reasons: Mapping[str, int]

    @property
    def unexplained(self) -> int:
        """Missing polls without a recorded reason."""
        return self.missing - sum(self.reasons.values())

    def to_json(self) -> dict[str, object]:
        """Return what ``--json`` prints about the gap."""
        return {
            "start": times.utc_text(self.start_ms),
            "stop": times.utc_text(self.stop_ms),
            "missing": self.missing,
            "reasons": dict(self.reasons),
        }


class Coverage(NamedTuple):
    """Polls of an interval against the schedule, by their scheduled times.

    Attributes:
        start_ms: Beginning, included; the first scheduled time ever where recording began later.
        stop_ms: End, excluded.
        made: How many scheduled times have a poll.
        reasons: Recorded reasons and of how many scheduled times without a poll each is one.
        unexplained: Scheduled times without a poll or a reason: no run was started, or it was
            killed.
        extra: Polls without a scheduled time, made by hand.
        duplicates: Polls for a scheduled time that another poll was made for.
        doubted: Polls that count nowhere, because the machine's clock was doubted.
        suspicious: How many of the polls looked wrong, but not enough to refuse them.
        gap_count: How many gaps there are.
        gaps: The longest of them, in time order.
        usual_s: Most frequent distance of scheduled polls in seconds, None when there are fewer
            than two.
        last_ms: When the newest poll was taken, None when there is none in the interval.
    """

    start_ms: int
    stop_ms: int
    made: int = 0
    reasons: Mapping[str, int] = MappingProxyType({})
    unexplained: int = 0
    extra: int = 0
    duplicates: int = 0
    doubted: int = 0
    suspicious: int = 0
    gap_count: int = 0
    gaps: tuple[Gap, ...] = ()
    usual_s: int | None = None
    last_ms: int | None = None

    @property
    def missing(self) -> int:
        """How many scheduled times have no poll."""
        return sum(self.reasons.values()) + self.unexplained

    @property
    def expected(self) -> int:
        """How many scheduled times there are."""
        return self.made + self.missing

    @property
    def polls(self) -> int:
        """How many polls there are, but for those with a doubted clock."""
        return self.made + self.duplicates + self.extra

    @property
    def share(self) -> float:
        """Which part of the expected polls is there, 0 to 1; 1 when none was expected."""
        return 1 - self.missing / self.expected if self.expected else 1.0

    @property
    def percent(self) -> str:
        """The share for people, rounded down: 100 % only when no poll is missing."""
        if not self.expected:
            return "100 %"
        present = self.expected - self.missing
        return f"{present * 1000 // self.expected / 10:g} %"

    @property
    def has_too_many(self) -> bool:
        """Whether so many scheduled times have several polls that there must be two schedules."""
        return self.duplicates > _DUPLICATES_SHARE * (self.made + self.duplicates)

    @property
    def is_below_target(self) -> bool:
        """Whether so many polls are missing that somebody should look at it."""
        return self.share < TARGET

    @property
    def longest_gap(self) -> Gap | None:
        """The gap with the most missing polls."""
        return max(self.gaps, key=lambda gap: gap.missing, default=None)

    def to_json(self) -> dict[str, object]:
        """Return what ``--json`` prints about the polls of an interval."""
        return {
            "start": times.utc_text(self.start_ms),
            "stop": times.utc_text(self.stop_ms),
            "polls": self.polls,
            "expected": self.expected,
            "made": self.made,
            "missing": self.missing,
            "share": self.share,
            "reasons": dict(self.reasons),
            "unexplained": self.unexplained,
            "extra": self.extra,
            "duplicates": self.duplicates,
            "doubted": self.doubted,
            "suspicious": self.suspicious,
            "gaps": self.gap_count,
            "longest_gaps": [gap.to_json() for gap in self.gaps],
        }

    def describe(self, zone: tzinfo) -> str:
        """Return what a person reads about the polls of an interval, with local times."""
        further = [
            *([f"{self.extra} extra {_polls(self.extra)}"] if self.extra else ()),
            *([f"{self.doubted} with a doubted time"] if self.doubted else ()),
            *([f"{self.suspicious} marked as suspicious"] if self.suspicious else ()),
        ]
        return ", ".join([self._describe_scheduled(zone), *further])

    def _describe_scheduled(self, zone: tzinfo) -> str:
        if not self.expected:
            return "no scheduled polls"
        if not self.missing and self.has_too_many:
            return (
                f"none missing, but {self.made + self.duplicates} polls for {self.expected}"
                f" scheduled {'time' if self.expected == 1 else 'times'}: a second schedule, or one"
                " with another interval"
            )
        if not self.missing:
            return f"complete, {self.made} {_polls(self.made)}"
        causes = [f"{reason} {count}" for reason, count in sorted(self.reasons.items())]
        if self.unexplained:
            causes.append(f"not run {self.unexplained}")
        text = (
            f"{self.percent} of {self.expected} polls, {self.missing} missing: {', '.join(causes)}"
        )
        gap = self.longest_gap
        if gap is None or (self.gap_count < 2 and gap.missing < 2):
            return text
        first, last = (times.local_time(ms, zone) for ms in (gap.start_ms, gap.stop_ms))
        until = f"{last:%H:%M}" if first.date() == last.date() else f"{last:%Y-%m-%d %H:%M}"
        which = f"longest of {self.gap_count} gaps" if self.gap_count > 1 else "gap"
        return f"{text}; {which} {first:%Y-%m-%d %H:%M} to {until}"


def _polls(count: int) -> str:
    return "poll" if count == 1 else "polls"
