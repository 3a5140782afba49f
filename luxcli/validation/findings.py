"""What a check takes (a poll) and what it reports (findings), in bounded memory."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import ClassVar, Final, NamedTuple

from luxcli import times
from luxcli.model import Group, Snapshot
from luxcli.registers import catalogue, numbers, ranges
from luxcli.validation.rules import RULES, SEVERITIES, Area, Severity

# Calculations of the refrigerant circuit and of heat; all other ranges are of temperatures.
_REFRIGERANT: Final = frozenset(
    {numbers.HOT_GAS_TEMPERATURE, *range(175, 182), 203, 205, 206, 207, 232, 233}
)
_HEAT_CALCULATIONS: Final = frozenset(
    {*ranges.HEAT, numbers.FLOW_RATE, numbers.HEAT_OUTPUT, numbers.POWER_INPUT}
)
# The rules of new entries in the controller's error log.
ERRORS: Final = frozenset({"error", "error-passing"})
_RANGES_OF: Final = frozenset({"range", "range-impossible", "interrupted", "stuck"})


class Poll(NamedTuple):
    """One poll, or one row of a CSV, as the checks take it.

    Attributes:
        ts_ms: When it was made, UTC, by the clock of this computer.
        calculations: Padded with None beyond what was sent, so that every known index exists.
        parameters: Likewise.
        gap_s: Seconds since the previous poll, 0 for the first.
        after_pause: The gap is so long that nothing is known about the time between the two polls;
            also True for the first poll.
        snapshot: The three blocks as they were sent; None for a row of a CSV.
    """

    ts_ms: int
    calculations: tuple[int | None, ...]
    parameters: tuple[int | None, ...]
    gap_s: float
    after_pause: bool
    snapshot: Snapshot | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """What one rule reports about one register, over all polls.

    Attributes:
        rule: Id of the rule.
        severity: "problem", "warning" or "note".
        sensor: Register id, None where no single register is meant.
        expected: What the rule expects.
        found: What was there instead, the first time.
        count: Number of polls, or of events.
        first_ms: When it was found first, UTC.
        last_ms: When it was found last.
        area: Kind of data whose score it lowers.
    """

    rule: str
    severity: Severity
    sensor: str | None
    expected: str
    found: str
    count: int
    first_ms: int
    last_ms: int
    area: Area

    def to_json(self) -> dict[str, object]:
        """Return the finding for programs."""
        return {
            "rule": self.rule,
            "severity": self.severity,
            "area": self.area,
            "sensor": self.sensor,
            "expected": self.expected,
            "found": self.found,
            "count": self.count,
            "first": moment(self.first_ms),
            "last": moment(self.last_ms),
        }

    def row(self, zone: tzinfo) -> tuple[str, ...]:
        """Return the finding for a table with the head `HEAD`, with local times."""
        return (
            *(self.severity, self.rule, self.sensor or ""),
            *(self.found, self.expected, str(self.count), self._when(zone)),
        )

    def _when(self, zone: tzinfo) -> str:
        if not self.first_ms:
            return ""
        first, last = (times.local_time(ms, zone) for ms in (self.first_ms, self.last_ms))
        begin, end = (f"{moment:%Y-%m-%d %H:%M}" for moment in (first, last))
        if begin == end:
            return begin
        return f"{begin} to {f'{last:%H:%M}' if last.date() == first.date() else end}"


@dataclass(slots=True)
class _Seen:
    found: str
    expected: str
    count: int
    first_ms: int
    last_ms: int


# Of the rows of findings; the first three cells are the title of a row.
HEAD: Final = ("severity", "rule", "sensor", "found", "expected", "times", "when")
TITLES: Final = 3

Key = tuple[str, Group, int | None, int | None]


class Findings:
    """Collects what the checks report: one `Finding` for each rule, register and error code."""

    def __init__(self) -> None:
        self._seen: dict[Key, _Seen] = {}

    def add(
        self,
        rule: str,
        ts_ms: int,
        found: str | Callable[[], str],
        *,
        index: int | None = None,
        group: Group = "calculations",
        since_ms: int | None = None,
        expected: str | None = None,
        code: int | None = None,
        count: int = 1,
    ) -> None:
        """Add one observation.

        Args:
            rule: Id of the rule.
            ts_ms: Time of the poll, UTC.
            found: What is wrong. A function is called for the first observation only.
            index: Register, None where no single register is meant.
            group: Block of that register.
            since_ms: Where the fault began, if that was before `ts_ms`.
            expected: What this register should hold, where the rule's own text is less exact.
            code: Error code, where each has a finding of its own.
            count: Number of polls, or of events.
        """
        seen = self._seen.get((rule, group, index, code))
        if seen is None:
            text = found if isinstance(found, str) else found()
            first_ms = ts_ms if since_ms is None else since_ms
            expects = expected or RULES[rule].expects
            self._seen[rule, group, index, code] = _Seen(text, expects, count, first_ms, ts_ms)
        else:
            seen.count += count
            seen.first_ms, seen.last_ms = min(seen.first_ms, ts_ms), max(seen.last_ms, ts_ms)

    def all(self) -> tuple[Finding, ...]:
        """Return the findings, in the order of `in_order`."""
        found = [
            Finding(
                rule,
                RULES[rule].severity,
                None if index is None else catalogue.register(group, index).id,
                *(seen.expected, seen.found, seen.count, seen.first_ms, seen.last_ms),
                area_of(rule, group, index),
            )
            for (rule, group, index, _), seen in self._seen.items()
        ]
        return in_order(found)


class Check:
    """One part of the judgement: takes polls in time order and reports to `Findings`.

    Attributes:
        rules: Ids of the rules whose code this class holds.
    """

    rules: ClassVar[tuple[str, ...]] = ()

    def __init__(self, findings: Findings) -> None:
        self._findings = findings

    def update(self, poll: Poll) -> None:
        """Take the next poll."""
        raise NotImplementedError

    def end(self) -> None:
        """Report what is known only after the last poll."""


def count_text(findings: Sequence[Finding]) -> str:
    """Return how many findings of each severity there are, empty if there are none."""
    counts = [(sum(one.severity == name for one in findings), name) for name in SEVERITIES]
    return ", ".join(f"{n} {name}{'' if n == 1 else 's'}" for n, name in counts if n)


def moment(ms: int) -> str | None:
    """Return a time in UTC, None where a finding has none."""
    return times.utc_text(ms) if ms else None


def in_order(found: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return findings, problems first; of one severity errors, newest first, then all by time."""

    def key(one: Finding) -> tuple[int, bool, int]:
        is_error = one.rule in ERRORS
        when_ms = -one.last_ms if is_error else one.first_ms
        return SEVERITIES.index(one.severity), not is_error, when_ms

    return tuple(sorted(found, key=key))


def area_of(rule: str, group: Group, index: int | None) -> Area:
    """Return the kind of data whose score a finding about a register lowers."""
    if group == "calculations" and index is not None:
        if rule in _RANGES_OF and index in _REFRIGERANT:
            return "refrigerant"
        if rule.startswith("counter-") and index in _HEAT_CALCULATIONS:
            return "heat"
    if group == "parameters" and rule.startswith("counter-"):
        return "heat"
    return RULES[rule].area
