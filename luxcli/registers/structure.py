"""Rules about the shape of an answer, which find one that is shifted, cut or not a heat pump's.

Each rule holds in every known capture of a real controller (docs/registers.md, "Ranges"). A single
contradiction is normal: a new model, an unusual firmware text, a clock that was lost. Two of them,
or an answer far shorter than any controller's, are a reason not to store it (`rejection`). Rules
that rest on few captures are hints: they never keep an answer from being stored, however many fail.
What the poll before says about an answer is judged in `continuity`.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from luxcli.model import Group, Issue, Snapshot
from luxcli.registers import numbers
from luxcli.registers.numbers import every

# How many structural rules must fail before a snapshot is not stored.
CONTRADICTIONS: Final = 2
# No known answer is shorter than 200 calculations, 1022 parameters and 327 visibilities
# (docs/registers.md, "The controller"); a shorter one than this cannot be whole.
FEWEST: Final[Mapping[Group, int]] = {"calculations": 150, "parameters": 500, "visibilities": 100}
# Even at rest a heat pump has more calculations that are not 0: temperatures, run times, logs.
FEWEST_NOT_ZERO: Final = 20
_DECISIVE: Final = "too-few-values"
# Heat quantities are sent in both blocks, in 0.1 and in 0.01 kWh, one block after the other.
_HEAT_TOLERANCE: Final = 10
# Calculation and parameter of the same heat quantity.
HEAT_TOTAL: Final = (numbers.HEAT_TOTAL, numbers.FINE_HEAT_TOTAL)
HEATING: Final = (numbers.HEAT_HEATING, numbers.FINE_HEAT_HEATING)
HOT_WATER: Final = (numbers.HEAT_DHW, numbers.FINE_HEAT_DHW)
POOL: Final = (numbers.HEAT_POOL, numbers.FINE_HEAT_POOL)

# The highest code of each enumeration that is known.
HIGHEST_CODE: Final = {
    numbers.MODEL: 88,
    numbers.BIVALENCE_LEVEL: 3,
    numbers.OPERATING_MODE: 7,
    numbers.ERROR_COUNT: 5,
    numbers.DISPLAY_LINE_1: 7,
    numbers.DISPLAY_LINE_2: 2,
}
# The highest that future firmware may bring; a shifted block puts times and counters here.
_HIGHEST_CREDIBLE: Final = {
    numbers.MODEL: 255,
    numbers.BIVALENCE_LEVEL: 15,
    numbers.OPERATING_MODE: 31,
    numbers.ERROR_COUNT: 31,
    numbers.DISPLAY_LINE_1: 31,
    numbers.DISPLAY_LINE_2: 31,
}
_LOG_TIMES: Final = (*every(numbers.ERROR_TIMES), *every(numbers.SWITCH_OFF_TIMES))
_LOG_CODES: Final = (*every(numbers.ERROR_CODES), *every(numbers.SWITCH_OFF_CODES))
_MOST_CODE: Final = 9999
_VERSION: Final = re.compile(r"[A-Z][0-9]{1,2}\.[0-9]", re.ASCII)
_STORED_TIMES: Final = every(numbers.STORED_SWITCH_OFF_TIMES)
_STORED_CODES: Final = every(numbers.STORED_SWITCH_OFF_CODES)
# Flow, return, outdoors and hot water are never all at exactly 0.0 degrees.
_TEMPERATURES: Final = (
    numbers.FLOW_TEMPERATURE,
    numbers.RETURN_TEMPERATURE,
    numbers.OUTDOOR_TEMPERATURE,
    numbers.DHW_TEMPERATURE,
)
# Limits that service sets: 0.1 degC, 0.1 bar. Wide around the values of all captures. The later
# ones are 0 where there is no such part.
_LIMITS: Final = {
    numbers.RETURN_LIMIT: (200, 700),
    numbers.HOT_GAS_LIMIT: (800, 1600),
    numbers.FLOW_LIMIT: (200, 900),
    numbers.DHW_LIMIT: (300, 900),
    numbers.LOW_PRESSURE_LIMIT: (0, 150),
    numbers.HIGH_PRESSURE_LIMIT: (200, 700),
}
_OPTIONAL: Final = {numbers.LOW_PRESSURE_LIMIT, numbers.HIGH_PRESSURE_LIMIT}
# Heat, in 0.01 kWh, for which a compressor must have run.
_MUCH_HEAT: Final = 100_000
# Visibilities of the captures that are 1: 120 of 327.
_FEWEST_VISIBLE: Final = 20

_Test = Callable[[Snapshot], str | None]


def structural(snapshot: Snapshot) -> tuple[Issue, ...]:
    """Return an issue for each rule that the snapshot contradicts."""
    return tuple(
        Issue(rule, "warning" if rule in HINTS else "reject", message)
        for rule, test in _STRUCTURAL
        if (message := test(snapshot)) is not None
    )


def rejection(snapshot: Snapshot) -> list[str]:
    """Return the reasons why the snapshot must not be stored, none if it may be."""
    return reasons(structural(snapshot))


def reasons(issues: Sequence[Issue]) -> list[str]:
    """Return the reasons why a snapshot with these issues must not be stored, none if it may be."""
    rules = [issue.rule for issue in issues if issue.severity == "reject"]
    if len(rules) < CONTRADICTIONS and _DECISIVE not in rules:
        return []
    return [f"{issue.rule}: {issue.message}" for issue in issues]


def _too_few(snapshot: Snapshot) -> str | None:
    for group, fewest in FEWEST.items():
        length = len(snapshot.block(group))
        if length < fewest:
            return f"{length} {group}, expected {fewest} or more"
    return None


def mostly_zero(snapshot: Snapshot) -> str | None:
    """Return a message if fewer than 20 calculations are not 0, else None."""
    calculations = snapshot.calculations
    count = len(calculations) - calculations.count(0)
    if count >= FEWEST_NOT_ZERO:
        return None
    return f"{count} calculations are not 0, expected {FEWEST_NOT_ZERO} or more"


def _codes(snapshot: Snapshot) -> str | None:
    """Check all codes as one rule, since new firmware may add codes to several of them at once."""
    for index, highest in _HIGHEST_CREDIBLE.items():
        if index >= len(snapshot.calculations):
            return f"calculation {index} is missing"
        raw = snapshot.calculations[index]
        if not 0 <= raw <= highest:
            return f"calculation {index} is {raw}, expected a code of 0..{highest}"
    return None


def firmware_text(snapshot: Snapshot) -> str | None:
    """Return a message if the firmware version is not like V3.9, else None."""
    text = snapshot.calculations[numbers.FIRMWARE][:5]
    if len(text) < 5:
        return "calculations 81..85 are missing"
    if _VERSION.match("".join(chr(code) if 0 < code < 128 else " " for code in text)):
        return None
    return f"calculations 81..85 are {list(text)}, expected a text like V3.9 or V10.1"


def logs(snapshot: Snapshot) -> str | None:
    """Return a message if a log has a code in the place of a time, or a time in that of a code."""
    block = snapshot.calculations
    for index in _LOG_TIMES:
        if index < len(block) and 0 < block[index] <= _MOST_CODE:
            return f"calculation {index} is {block[index]}, expected a time"
    for index in _LOG_CODES:
        if index < len(block) and not -1 <= block[index] <= _MOST_CODE:
            return f"calculation {index} is {block[index]}, expected a code"
    return _stored_logs(snapshot.parameters)


def _stored_logs(block: Sequence[int]) -> str | None:
    """Check the copy of the switch-off log in the parameters."""
    if len(block) < numbers.STORED_SWITCH_OFF_TIMES.stop:
        return None
    for index in _STORED_TIMES:
        if 0 < block[index] <= _MOST_CODE:
            return f"parameter {index} is {block[index]}, expected a time"
    for index in _STORED_CODES:
        if not -1 <= block[index] <= _MOST_CODE:
            return f"parameter {index} is {block[index]}, expected a code"
    return None


def _zero_temperatures(snapshot: Snapshot) -> str | None:
    block = snapshot.calculations
    if any(block[index] for index in _TEMPERATURES if index < len(block)):
        return None
    return "calculations 10, 11, 15 and 17 are all 0, expected temperatures"


def _clock(snapshot: Snapshot) -> str | None:
    """Check that there is a time; a controller that lost it begins again at a date of its own."""
    if any(snapshot.calculations[numbers.CLOCK : numbers.CLOCK + 1]):
        return None
    return f"calculation {numbers.CLOCK} is 0, expected a time"


def _switches(snapshot: Snapshot) -> str | None:
    switches = snapshot.calculations[numbers.SWITCHES]
    if len(switches) < len(every(numbers.SWITCHES)):
        return "calculations 29..55 are missing"
    wrong = next(
        (numbers.SWITCHES.start + i for i, raw in enumerate(switches) if raw not in (0, 1)), None
    )
    if wrong is None:
        return None
    return f"calculation {wrong} is {snapshot.calculations[wrong]}, expected 0 or 1"


def _flags(snapshot: Snapshot) -> str | None:
    wrong = next((i for i, raw in enumerate(snapshot.visibilities) if raw not in (0, 1)), None)
    if wrong is None:
        return None
    return f"visibility {wrong} is {snapshot.visibilities[wrong]}, expected 0 or 1"


def heat_quantities(
    snapshot: Snapshot, copies: Sequence[tuple[int, int]] = (HEATING,)
) -> str | None:
    """Return a message if a heat quantity differs between the blocks, else None.

    A calculation of 0 is not compared: there is no meter, or the firmware is V3.88 or later. The
    total is left out by default, since the owner may reset one of the two.
    """
    for calculation, parameter in copies:
        if calculation >= len(snapshot.calculations) or parameter >= len(snapshot.parameters):
            continue
        coarse, fine = snapshot.calculations[calculation], snapshot.parameters[parameter]
        if coarse and abs(coarse * 10 - fine) > _HEAT_TOLERANCE:
            return (
                f"calculation {calculation} is {coarse} (0.1 kWh) but parameter {parameter}"
                f" is {fine} (0.01 kWh)"
            )
    return None


def switch_off_log(snapshot: Snapshot) -> str | None:
    """Return a message if the switch-off logs of both blocks have no time in common, else None.

    An entry may be newer in the block that was read later, so a single difference is normal.
    """
    times = snapshot.calculations[numbers.SWITCH_OFF_TIMES]
    copies = snapshot.parameters[numbers.STORED_SWITCH_OFF_TIMES]
    if len(copies) < 5:
        return None
    if len(set(times)) < 5 or min(times) <= 0:
        # A log that is empty beside a full copy of it.
        if any(times) or len(times) < 5 or len(set(copies)) < 5 or min(copies) <= 0:
            return None
    elif any(time == copy for time, copy in zip(times, copies, strict=True)):
        return None
    return f"calculations 111..115 are {list(times)} but parameters 721..725 {list(copies)}"


def _settings(snapshot: Snapshot) -> str | None:
    block = snapshot.parameters
    for index, (low, high) in _LIMITS.items():
        if index >= len(block) or low <= block[index] <= high:
            continue
        if block[index] or index not in _OPTIONAL:
            return f"parameter {index} is {block[index]}, expected {low} to {high}"
    return None


def _run_times(snapshot: Snapshot) -> str | None:
    heat = snapshot.parameters[numbers.FINE_HEAT_TOTAL : numbers.FINE_HEAT_TOTAL + 1]
    if any(snapshot.calculations[numbers.RUN_TIMES]) or sum(heat) < _MUCH_HEAT:
        return None
    return f"calculations 56..66 are all 0 but parameter {numbers.FINE_HEAT_TOTAL} is {heat[0]}"


def _few_visible(snapshot: Snapshot) -> str | None:
    count = len(snapshot.visibilities) - snapshot.visibilities.count(0)
    if count >= _FEWEST_VISIBLE:
        return None
    return f"{count} visibilities are not 0, expected {_FEWEST_VISIBLE} or more"


def _rules() -> Iterator[tuple[str, _Test]]:
    yield _DECISIVE, _too_few
    yield "mostly-zero", mostly_zero
    yield "firmware-text", firmware_text
    yield "codes", _codes
    yield "logs", logs
    yield "switches", _switches
    yield "visibility-flags", _flags
    yield "heat-quantities", heat_quantities
    yield "switch-off-log", switch_off_log
    yield "temperatures-zero", _zero_temperatures
    yield "clock-zero", _clock
    yield "settings", _settings
    yield "run-times-zero", _run_times
    yield "few-visible", _few_visible


# Rules that rest on few captures.
HINTS: Final = frozenset(("settings", "run-times-zero", "few-visible"))
_STRUCTURAL: Final = tuple(_rules())
# Ids of all structural rules.
RULES: Final = tuple(rule for rule, _ in _STRUCTURAL)
