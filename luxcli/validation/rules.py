"""What good data looks like: every rule with its id, its severity and what it expects.

A "problem" means that data is wrong or missing, a "warning" that somebody should look, a "note"
that it is good to know. Each rule has exactly one check, a class in this package that names it in
`rules`.

Sources: docs/registers.md, that is python-luxtronik, BenPru/luxtronik, FHEM and captures. A rule is
here only if it holds in every known capture; intervals are long where heat pumps differ, since
an alarm that means nothing teaches people to ignore alarms.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

Severity = Literal["problem", "warning", "note"]
SEVERITIES: Final[tuple[Severity, ...]] = ("problem", "warning", "note")

Area = Literal[
    "temperatures", "refrigerant", "counters", "heat", "switches", "status", "clock", "recording"
]
# In the order in which they are shown, with their names for people.
AREAS: Final[Mapping[Area, str]] = {
    "temperatures": "temperatures",
    "refrigerant": "pressures and refrigerant",
    "counters": "counters and run times",
    "heat": "heat and electricity",
    "switches": "switches",
    "status": "status and errors",
    "clock": "clock",
    "recording": "recording",
}


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule.

    Attributes:
        id: Stable name.
        severity: Severity of its findings.
        area: Kind of data whose score a finding lowers, unless its register belongs to another.
        expects: What good data looks like.
    """

    id: str
    severity: Severity
    area: Area
    expects: str


_TEMPERATURES: Final = (
    Rule("range", "warning", "temperatures", "a value in the usual range"),
    Rule("range-impossible", "problem", "temperatures", "a value that can exist"),
    Rule(
        "default-values",
        "warning",
        "temperatures",
        "measured values: flow, return, outdoors and hot water are not exactly alike",
    ),
    Rule(
        "interrupted",
        "warning",
        "temperatures",
        "no 'not fitted' value between real ones, as from a broken wire or contact",
    ),
    Rule(
        "outdoor-broken",
        "problem",
        "temperatures",
        "not -5.0 °C for half an hour while error 711 is the newest",
    ),
    Rule(
        "stuck",
        "warning",
        "temperatures",
        "some change within 12 h in which the compressor runs; outdoors within 20 h",
    ),
    Rule(
        "temperature-spike",
        "warning",
        "temperatures",
        "no jump away and back from one poll to the next",
    ),
    Rule(
        "pressure-order",
        "warning",
        "refrigerant",
        "high pressure not below low pressure while the compressor runs",
    ),
)
_COUNTERS: Final = (
    Rule(
        "counter-spike",
        "warning",
        "counters",
        "no change that is undone within 15 min, as around a restart of the controller",
    ),
    Rule("counter-reset", "warning", "counters", "a counter that does not start again near 0"),
    Rule("counter-reset-total", "note", "heat", "a total that grows until its owner resets it"),
    Rule(
        "counter-setback",
        "warning",
        "counters",
        "a counter that does not lose its last hours, as in a power cut",
    ),
    Rule("counter-decrease", "problem", "counters", "a counter that only grows"),
    Rule(
        "counter-jump",
        "problem",
        "counters",
        "run times that grow no faster than time, starts and energy no faster than is possible",
    ),
    Rule("starts-runtime", "problem", "counters", "not more starts than seconds of run time"),
    Rule(
        "heatpump-runtime",
        "warning",
        "counters",
        "run time of the heat pump not below that of its compressor",
    ),
    Rule(
        "runtime-standstill",
        "problem",
        "counters",
        "a run time that grows while the compressor is switched on",
    ),
    Rule(
        "runtime-idle",
        "warning",
        "counters",
        "a run time that stands still while the compressor is switched off",
    ),
)
_HEAT: Final = (
    Rule(
        "heat-quantities",
        "warning",
        "heat",
        "the same heat for heating, hot water and pool in calculations and parameters",
    ),
    Rule(
        "heat-total",
        "note",
        "heat",
        "the same heat in calculation 154 and parameter 852, unless one was reset",
    ),
    Rule(
        "flow-without-pump",
        "warning",
        "heat",
        "no flow while all pumps are off for half an hour",
    ),
    Rule(
        "pump-without-flow",
        "warning",
        "heat",
        "a flow rate within half an hour of heating, if there is a flow meter",
    ),
    Rule(
        "compressor-without-heat",
        "warning",
        "heat",
        "a flow warmer than the return, or more heat counted, in half an hour of compressor",
    ),
    Rule(
        "flow-below-return",
        "warning",
        "heat",
        "flow not colder than the return for half an hour of heating: swapped sensors?",
    ),
    Rule(
        "source-reversed",
        "warning",
        "heat",
        "source not warmer at its outlet than at its inlet for half an hour: swapped sensors?",
    ),
    Rule(
        "heat-output",
        "warning",
        "heat",
        "heat output 0 to 100 kW and at most 30 times the power",
    ),
)
_STATUS: Final = (
    Rule("switch", "problem", "switches", "0 or 1"),
    Rule("missing-sensor", "problem", "status", "all critical sensors in every poll"),
    Rule("no-value", "problem", "status", "a value, not the number that means 'no value'"),
    Rule("firmware-text", "note", "status", "a firmware version like V3.9"),
    Rule("firmware-changed", "note", "status", "the same firmware as before"),
    Rule("model-code", "note", "status", "a model that is known"),
    Rule("unknown-code", "note", "status", "a code that is known"),
    Rule("impossible-code", "warning", "status", "a code in the range of its kind"),
    Rule("logs", "warning", "status", "times and codes in the two logs, each in its place"),
    Rule("error-codes", "note", "status", "known codes in the error log"),
    Rule("netmask", "warning", "status", "a valid network mask, like 255.255.255.0"),
    Rule("switch-off-log", "note", "status", "the same switch-offs in both blocks"),
    Rule("error", "problem", "status", "no new error"),
    Rule("error-passing", "warning", "status", "no new error, not even one that ends by itself"),
    Rule(
        "frozen",
        "problem",
        "status",
        "some change within 5 min: timers count in seconds",
    ),
    Rule(
        "frozen-values",
        "warning",
        "status",
        "some change besides timers and counters within 2 h, at least of the weather",
    ),
)
_CLOCK: Final = (
    Rule("clock-off", "warning", "clock", "a controller's clock within 5 min of this computer's"),
    Rule("clock-zone", "note", "clock", "a controller's clock of this computer's time zone"),
    Rule("clock-drift", "warning", "clock", "less than a minute of drift in a day"),
    Rule("clock-standstill", "warning", "clock", "a controller's clock that moves"),
    Rule("host-clock-step", "warning", "clock", "no step of this computer's clock"),
    Rule("controller-clock-set", "note", "clock", "a controller's clock that nobody sets"),
)
_RECORDING: Final = (
    Rule("few-values", "problem", "recording", "more than 50 sensor readings in a poll"),
    Rule("mostly-zero", "problem", "recording", "at least 20 calculations that are not 0"),
    Rule("block-length", "note", "recording", "blocks as long as before"),
    Rule(
        "block-unsteady",
        "warning",
        "recording",
        "block lengths that change with the firmware, not back and forth",
    ),
    Rule("suspicious-polls", "warning", "recording", "polls that fit the poll before them"),
    Rule("visibility-flags", "warning", "recording", "0 or 1"),
    Rule("retries", "note", "recording", "nine of ten polls at the first attempt"),
    Rule("coverage-poor", "warning", "recording", "at least 95 % of the polls of the schedule"),
    Rule("coverage-half", "problem", "recording", "at least 50 % of the polls of the schedule"),
    Rule(
        "gaps-unexplained",
        "warning",
        "recording",
        "a recorded reason for missing polls, but for a few",
    ),
    Rule("rejected-polls", "warning", "recording", "no rejected answer"),
    Rule("foreign-polls", "problem", "recording", "no answer of another heat pump"),
    Rule("stale", "problem", "recording", "a poll within the last hour"),
    Rule("damaged-polls", "problem", "recording", "polls that fit their checksums"),
    Rule("spacing", "warning", "recording", "polls as far apart as interval_sec says, within 10 %"),
    Rule("extra-polls", "warning", "recording", "one schedule, not two"),
    Rule("recording-began", "note", "recording", "polls from the beginning of the interval on"),
)
_CSV: Final = (
    Rule("csv-header", "problem", "recording", "a header that begins with the two time columns"),
    Rule("csv-columns", "problem", "recording", "columns that are registers"),
    Rule("csv-duplicate", "problem", "recording", "each column once"),
    Rule("csv-order", "warning", "recording", "columns in the order of the catalogue"),
    Rule("csv-few-columns", "warning", "recording", "a column for each of the configured sensors"),
    Rule("csv-no-rows", "problem", "recording", "rows"),
    Rule("csv-width", "problem", "recording", "as many cells in each row as in the header"),
    Rule("csv-time", "problem", "recording", "times like 2026-11-24T07:00:00Z"),
    Rule("csv-time-order", "problem", "recording", "each row later than the one before"),
    Rule("csv-local-time", "problem", "recording", "the same moment in both time columns"),
    Rule("csv-cell", "problem", "recording", "cells of their column's kind"),
    Rule("csv-sparse", "problem", "recording", "cells with values, at least half of them"),
    Rule("csv-no-sensors", "problem", "recording", "columns of sensors, not just of times"),
    Rule("csv-empty-column", "warning", "recording", "values in the columns of important sensors"),
    Rule("csv-holes", "warning", "recording", "a value of important sensors in each row"),
    Rule("csv-zone", "note", "recording", "local times of the configured time zone"),
    Rule("csv-incomplete", "warning", "recording", "a value where most rows have one"),
    Rule("csv-gap", "note", "recording", "rows no further apart than one and a half intervals"),
    Rule("csv-gaps", "warning", "recording", "at least 95 % of the rows of the schedule"),
    Rule("csv-count", "warning", "recording", "as many rows as the database has polls"),
    Rule("csv-torn", "problem", "recording", "an end of the last line"),
)

RULES: Final[Mapping[str, Rule]] = {
    rule.id: rule
    for rules in (_TEMPERATURES, _COUNTERS, _HEAT, _STATUS, _CLOCK, _RECORDING, _CSV)
    for rule in rules
}
