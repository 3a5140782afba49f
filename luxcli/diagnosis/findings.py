"""Renders findings of the validation as lines of a diagnosis; rules and severities stay there."""

from collections.abc import Iterable, Mapping
from typing import Final

from luxcli.diagnosis.sections import NO_DATA, Level, Line, info, problem, warning
from luxcli.registers import catalogue
from luxcli.validation.findings import Finding

_COMPARE: Final = "compare with the controller's display"
_CLOCK_ADVICE: Final = (
    "harmless: luxcli records by this machine's clock; set it at the controller's display"
)
_ADVICE: Final[Mapping[str, str]] = {
    "range": _COMPARE,
    "range-impossible": f"{_COMPARE}; a broken sensor or cable?",
    "no-value": f"{_COMPARE}; a broken sensor or cable?",
    "outdoor-broken": "have the sensor replaced",
    "default-values": f"these are default values, not measurements; {_COMPARE}",
    "missing-sensor": "its column stays empty; is this a Luxtronik 2?",
    "few-values": "is this a Luxtronik 2? see 'controller' and 'cross checks'",
    "clock-off": _CLOCK_ADVICE,
    "clock-zone": _CLOCK_ADVICE,
    "error": "look at the controller's display; the service knows the code",
    "error-passing": "it ends by itself; call the service if it comes often",
}
# Where findings about one poll are shown; all others are cross checks.
SENSOR_RULES: Final = frozenset(
    {
        *("range", "range-impossible", "no-value", "outdoor-broken", "default-values"),
        *("missing-sensor", "few-values"),
    }
)
CLOCK_RULES: Final = frozenset({"clock-off", "clock-zone"})
ERROR_RULES: Final = frozenset({"error", "error-passing"})
_ELSEWHERE: Final = SENSOR_RULES | CLOCK_RULES | ERROR_RULES
_LEVELS: Final[Mapping[str, Level]] = {"problem": "problem", "warning": "warning", "note": "info"}


def cross_checks(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings that no other section shows."""
    return [finding for finding in findings if finding.rule not in _ELSEWHERE]


def of_rules(findings: Iterable[Finding], rules: frozenset[str]) -> list[Finding]:
    """Return the findings of some rules."""
    return [finding for finding in findings if finding.rule in rules]


def level(finding: Finding) -> Level:
    """Return the level of a finding's line."""
    return _LEVELS[finding.severity]


def line(finding: Finding) -> Line:
    """Return a finding as a line with the rule's advice."""
    advice = _ADVICE.get(finding.rule)
    if finding.severity == "problem":
        return problem(text(finding), advice, status=NO_DATA)
    return (warning if finding.severity == "warning" else info)(text(finding), advice)


def text(finding: Finding) -> str:
    """Return what a finding says: rule, sensor, what was found and what is expected."""
    times = f" ({finding.count} times)" if finding.count > 1 else ""
    sensor = f"{_named(finding.sensor)}: " if finding.sensor else ""
    return f"{finding.rule}: {sensor}{finding.found}{times}; expected: {finding.expected}"


def _named(sensor: str) -> str:
    return f"{sensor} ({catalogue.by_id(sensor).name})"
