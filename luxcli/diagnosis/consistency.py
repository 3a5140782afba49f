"""Whether the values of one snapshot fit together, and the heat pump's own logs in plain words.

A shifted block breaks several of these rules at once; one alone is a peculiarity of the model.
"""

from collections.abc import Callable, Iterator
from datetime import tzinfo
from typing import Final

from luxcli import times
from luxcli.diagnosis.sections import Line, Section, Table, counted, info, ok, problem, warning
from luxcli.errors import ProtocolError
from luxcli.model import Group, Snapshot
from luxcli.registers import numbers, ranges, structure
from luxcli.registers.catalogue import error_meaning
from luxcli.registers.codes import SWITCH_OFF_REASONS
from luxcli.validation.rules import RULES

_CALCULATIONS: Final[Group] = "calculations"
_NO_ERRORS: Final = frozenset({0, -1})
_DAY_S: Final = 86_400
_RECENT_S: Final = 7 * _DAY_S
# Counters of a block are read one after the other.
_READ_APART_S: Final = 5
_MEANINGS: Final = {
    "too-few-values": "the blocks are as long as any controller's",
    "mostly-zero": "more than a few calculations have a value",
    "firmware-text": "the firmware version reads like V3.9",
    "codes": "model, level, mode and display are known codes",
    "logs": "the logs hold times and codes, each in its place",
    "switches": "inputs and outputs are 0 or 1",
    "visibility-flags": "visibilities are 0 or 1",
    "heat-quantities": "heat quantities agree between the blocks",
    "switch-off-log": "the switch-off log is the same in both blocks",
}


def alignment(snapshot: Snapshot) -> Section:
    """Return every rule about how values fit together, and whether it holds."""
    broken = {issue.rule: issue.message for issue in structure.structural(snapshot)}
    results = {rule: (_MEANINGS.get(rule, rule), broken.get(rule)) for rule in structure.RULES}
    results |= {rule: (says, test(snapshot)) for rule, says, test in _further()}
    lines = [_line(rule, says, found) for rule, (says, found) in results.items()]
    if not is_accepted(snapshot):
        text = f"{len(broken)} rules contradict this answer: 'poll-once' would not store it"
        advice = "values stand on the wrong registers, or it is no heat pump: try again"
        lines.insert(0, problem(text, advice, status=ProtocolError.exit_code))
    rules = [
        {"id": rule, "ok": found is None, "found": found} for rule, (_, found) in results.items()
    ]
    return Section("cross checks", tuple(lines), (), {"rules": rules})


def _line(rule: str, says: str, found: str | None) -> Line:
    if found is None:
        return ok(says)
    text = f"not so: {says}: {found}"
    # What `luxcli validate` only notes is no reason to worry here either.
    noted = rule in RULES and RULES[rule].severity == "note"
    return info(text) if noted else warning(text)


def is_accepted(snapshot: Snapshot) -> bool:
    """Whether `poll-once` would store it."""
    return not structure.rejection(snapshot)


def logs(snapshot: Snapshot, now_ms: int, zone: tzinfo) -> Section:
    """Return the error log and the switch-off log, newest first, in local time."""
    errors = _entries(snapshot, numbers.ERROR_TIMES, numbers.ERROR_CODES, _NO_ERRORS)
    offs = _entries(snapshot, numbers.SWITCH_OFF_TIMES, numbers.SWITCH_OFF_CODES)
    lines = [
        _newest_error(errors, _raw(snapshot, numbers.CLOCK) or now_ms // 1000),
        info(f"in its switch-off log: {counted(len(offs), 'entry', 'entries')}"),
    ]
    rows = [(_local(time_s, zone), str(code), error_meaning(code)) for time_s, code in errors]
    reasons = [(_local(time_s, zone), str(code), _reason(code)) for time_s, code in offs]
    tables = [
        Table((head, "code", "meaning"), tuple(found))
        for head, found in (("error", rows), ("switched off", reasons))
        if found
    ]
    values = {
        "errors": [_as_json(time_s, code, error_meaning(code)) for time_s, code in errors],
        "switch_offs": [_as_json(time_s, code, _reason(code)) for time_s, code in offs],
    }
    return Section("heat pump's logs", tuple(lines), tuple(tables), values)


def recent_errors(snapshot: Snapshot) -> set[int]:
    """Return the error codes of the last week by the controller's clock, which dates them."""
    clock_s = _raw(snapshot, numbers.CLOCK) or 0
    entries = _past(
        _entries(snapshot, numbers.ERROR_TIMES, numbers.ERROR_CODES, _NO_ERRORS), clock_s
    )
    return {code for time_s, code in entries if time_s >= clock_s - _RECENT_S}


def _past(entries: list[tuple[int, int]], clock_s: int) -> list[tuple[int, int]]:
    """Return the entries that are not later than the clock: a dead one begins again in 1999."""
    return [entry for entry in entries if entry[0] <= clock_s + _READ_APART_S]


def _entries(
    snapshot: Snapshot, stamps: slice, codes: slice, none: frozenset[int] = frozenset()
) -> list[tuple[int, int]]:
    """Return ``(seconds since the epoch, code)`` of the slots in use, newest first."""
    block = snapshot.calculations
    # Only as many as there are of both: a short block may end between them.
    pairs = zip(block[stamps], block[codes], strict=False)
    return sorted(((t, code) for t, code in pairs if t > 0 and code not in none), reverse=True)


def _newest_error(errors: list[tuple[int, int]], clock_s: int) -> Line:
    """Judge the newest error by the clock that dates it, the controller's."""
    if not errors:
        return ok("no errors in its log")
    text = f"{counted(len(errors), 'error', 'errors')} in its log"
    past = _past(errors, clock_s)
    if not past:
        return info(f"{text}, all from before the controller's clock was set back")
    time_s, code = past[0]
    ago_s = max(0, clock_s - time_s)
    text += f", the newest {times.span(ago_s)} ago: {code} {error_meaning(code)}"
    if ago_s > _DAY_S:
        return info(text)
    if code in ranges.PASSING_ERRORS:
        return warning(text, "it ends by itself; call the service if it comes often")
    return warning(text, "look at the controller's display; the service knows the code")


def _reason(code: int) -> str:
    return SWITCH_OFF_REASONS.get(code, "unknown code")


def _local(time_s: int, zone: tzinfo) -> str:
    return times.local_time(time_s * 1000, zone).strftime("%Y-%m-%d %H:%M:%S")


def _as_json(time_s: int, code: int, says: str) -> dict[str, object]:
    return {"time": times.utc_text(time_s * 1000), "code": code, "meaning": says}


def _further() -> Iterator[tuple[str, str, Callable[[Snapshot], str | None]]]:
    """Yield rules that hold in every capture, but prove nothing alone: id, meaning, test."""
    yield "display-line-3", "the display's third line is a known code", _display
    yield "error-codes", "the error log holds known codes", _codes_in_log
    yield "starts", "the compressor ran a second or more for each start", _starts
    yield "run-times", "the heat pump ran as long as its compressor", _run_times
    yield "netmask", "the network mask is one", _netmask


def _raw(snapshot: Snapshot, index: int) -> int | None:
    return snapshot.calculations[index] if index < len(snapshot.calculations) else None


def _display(snapshot: Snapshot) -> str | None:
    code = _raw(snapshot, numbers.DISPLAY_LINE_3)
    return None if code is None or 0 <= code <= 19 else f"calculation 119 is {code}"


def _codes_in_log(snapshot: Snapshot) -> str | None:
    codes = snapshot.calculations[numbers.ERROR_CODES]
    odd = [code for code in codes if code not in _NO_ERRORS and not 701 <= code <= 810]
    return f"calculations 100..104 hold {odd[0]}" if odd else None


def _starts(snapshot: Snapshot) -> str | None:
    ran_s = _raw(snapshot, numbers.COMPRESSOR_1_RUN_TIME)
    starts = _raw(snapshot, numbers.COMPRESSOR_1_STARTS)
    if ran_s is None or starts is None or starts <= ran_s:
        return None
    return f"calculation 57 is {starts} starts in {ran_s} s"


def _run_times(snapshot: Snapshot) -> str | None:
    compressor_s = _raw(snapshot, numbers.COMPRESSOR_1_RUN_TIME)
    pump_s = _raw(snapshot, numbers.HEAT_PUMP_RUN_TIME)
    if compressor_s is None or pump_s is None or pump_s >= compressor_s - _READ_APART_S:
        return None
    return f"calculation 63 is {pump_s} s, calculation 56 {compressor_s} s"


def _netmask(snapshot: Snapshot) -> str | None:
    mask = _raw(snapshot, numbers.NETMASK)
    if mask is None:
        return None
    # Ones, then zeros: its complement plus one is a power of two; 0 where it is not told.
    zeros = ~mask & 0xFFFFFFFF
    return None if mask == 0 or zeros & (zeros + 1) == 0 else "calculation 92 is none"
