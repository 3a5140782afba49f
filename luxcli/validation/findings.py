"""Findings against the rules, collected in bounded memory: one for each rule and sensor."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from luxcli.model import Group
from luxcli.registers import numbers, ranges
from luxcli.validation.rules import RULES, SEVERITIES, Area, Severity

# Calculations of the refrigerant circuit, of energy, of status; the other ranges are temperatures.
_REFRIGERANT: Final = frozenset(
    {numbers.HOT_GAS_TEMPERATURE, *range(175, 182), 203, 205, 206, 232, 233}
)
_HEAT_CALCULATIONS: Final = frozenset(
    {*ranges.HEAT, numbers.FLOW_RATE, numbers.HEAT_OUTPUT, numbers.POWER_INPUT}
)
_RANGES_OF: Final = frozenset({"range", "range-impossible", "interrupted", "stuck"})


class Poll(NamedTuple):
    """One poll as the checks see it.

    Attributes:
        ts_ms: UTC, host clock.
        calculations: Padded with None beyond what was sent, so that each known index is there.
        parameters: Likewise.
        gap_s: Seconds since the poll before, 0 for the first.
        broken: So long that nobody knows what happened in between; also for the first.
    """

    ts_ms: int
    calculations: tuple[int | None, ...]
    parameters: tuple[int | None, ...]
    gap_s: float
    broken: bool


@dataclass(frozen=True, slots=True)
class Finding:
    """What one rule found about one sensor.

    Attributes:
        rule: Id of the rule.
        severity: "problem", "warning" or "note".
        sensor: Register id, None where it is not about one.
        expected: What the rule expects.
        found: What there was the first time.
        count: How many polls, or events, it concerns.
        first_ms: When it was first seen, UTC.
        last_ms: When it was last seen.
        area: Whose score it lowers.
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


@dataclass(slots=True)
class _Seen:
    found: str
    expected: str
    count: int
    first_ms: int
    last_ms: int


Key = tuple[str, Group, int | None]


class Findings:
    """Takes what the checks find, poll after poll.

    Args:
        name: Gives the id of a register.
    """

    def __init__(self, name: Callable[[Group, int], str]) -> None:
        self._name = name
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
        count: int = 1,
    ) -> None:
        """Add one observation; those of the same rule and sensor become one finding.

        Args:
            rule: Id of the rule.
            ts_ms: When, UTC.
            found: In words; a function is only called for the first observation.
            index: Register, None where it is not about one.
            group: Its block.
            since_ms: Where it began if that is earlier.
            expected: More exactly than the rule says it.
            count: Polls or events.
        """
        seen = self._seen.get((rule, group, index))
        if seen is None:
            text = found if isinstance(found, str) else found()
            first_ms = ts_ms if since_ms is None else since_ms
            expects = expected or RULES[rule].expects
            self._seen[rule, group, index] = _Seen(text, expects, count, first_ms, ts_ms)
        else:
            seen.count += count
            seen.last_ms = ts_ms

    def all(self) -> tuple[Finding, ...]:
        """Return the findings, problems first, each kind in the order of time."""
        found = [
            Finding(
                rule,
                RULES[rule].severity,
                None if index is None else self._name(group, index),
                *(seen.expected, seen.found, seen.count, seen.first_ms, seen.last_ms),
                area_of(rule, group, index),
            )
            for (rule, group, index), seen in self._seen.items()
        ]
        return in_order(found)


def in_order(found: list[Finding]) -> tuple[Finding, ...]:
    """Return findings, problems first, each kind in the order of time."""
    return tuple(sorted(found, key=lambda one: (SEVERITIES.index(one.severity), one.first_ms)))


def area_of(rule: str, group: Group, index: int | None) -> Area:
    """Return whose score a finding about a register lowers."""
    if group == "calculations" and index is not None:
        if rule in _RANGES_OF and index in _REFRIGERANT:
            return "refrigerant"
        if rule.startswith("counter-") and index in _HEAT_CALCULATIONS:
            return "heat"
    if group == "parameters" and rule.startswith("counter-"):
        return "heat"
    return RULES[rule].area
