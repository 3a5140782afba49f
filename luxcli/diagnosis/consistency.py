"""Renders whether the values of one poll agree with each other, and the heat pump's own logs.

A shifted block breaks several rules at once; a single contradiction is a peculiarity of the model.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import tzinfo
from typing import Final

from luxcli import times
from luxcli.diagnosis import findings as rendering
from luxcli.diagnosis.sections import Line, Section, Table, counted, info, ok, problem, warning
from luxcli.errors import ProtocolError
from luxcli.model import Snapshot
from luxcli.registers import catalogue, numbers, ranges
from luxcli.registers.decoding import error_meaning
from luxcli.validation.findings import Finding

# Registers of one block are read one after the other.
_READ_APART_S: Final = 5
_GATE: Final = "too-few-values"
# What is true while a rule about one poll has no finding. The first stands for the gate of the
# polls: an answer that it rejects is not stored.
_MEANINGS: Final[Mapping[str, str]] = {
    _GATE: "each block has a length that controllers send",
    "mostly-zero": "20 calculations or more are not 0",
    "firmware-text": "the firmware version reads like V3.9",
    "model-code": "the model is known",
    "unknown-code": "level, mode and display are known codes",
    "impossible-code": "codes of level, mode and display are possible",
    "logs": "the logs hold times and codes, each in its place",
    "error-codes": "the error log holds known codes",
    "switch": "inputs and outputs are 0 or 1",
    "visibility-flags": "visibilities are 0 or 1",
    "heat-quantities": "heat quantities agree between the blocks",
    "heat-total": "the total heat is the same in both blocks",
    "switch-off-log": "the switch-off log is the same in both blocks",
    "starts-runtime": "the compressor ran a second or more for each start",
    "heatpump-runtime": "the heat pump ran as long as its compressor",
    "netmask": "the network mask is valid",
}


def alignment(findings: Iterable[Finding], refusals: Sequence[str]) -> Section:
    """Return every rule about how values agree, and whether it holds.

    Args:
        findings: What the validation found in the poll.
        refusals: The reasons for which `poll-once` would not store it, as it names them.
    """
    found: dict[str, list[Finding]] = {rule: [] for rule in _MEANINGS}
    for finding in rendering.cross_checks(findings):
        found.setdefault(finding.rule, []).append(finding)
    gate = _gate(refusals)
    lines = list(gate)
    for rule, here in found.items():
        lines += [rendering.line(finding) for finding in here]
        if not here and (rule != _GATE or not gate):
            lines.append(ok(_MEANINGS[rule]))
    texts: dict[str, str | None] = {
        rule: "; ".join(map(rendering.text, here)) or None for rule, here in found.items()
    }
    texts[_GATE] = gate[0].text if gate else None
    rules = [{"id": rule, "ok": text is None, "found": text} for rule, text in texts.items()]
    return Section("cross checks", tuple(lines), (), {"rules": rules})


def _gate(refusals: Sequence[str]) -> list[Line]:
    if not refusals:
        return []
    advice = "values stand on the wrong registers, or it is no heat pump: try again"
    text = f"{len(refusals)} rules contradict this answer: 'poll-once' would not store it"
    if len(refusals) == 1:
        text = "a rule contradicts this answer: 'poll-once' would not store it"
    status = ProtocolError.exit_code
    return [problem(text, advice, status=status), *(warning(reason) for reason in refusals)]


def logs(snapshot: Snapshot, findings: Iterable[Finding], now_ms: int, zone: tzinfo) -> Section:
    """Return the error log and the switch-off log, newest first, in local time.

    Args:
        snapshot: The poll.
        findings: What the validation found in it.
        now_ms: UTC, for a controller without a clock.
        zone: The owner's time zone.
    """
    errors = _entries(snapshot, numbers.ERROR_TIMES, numbers.ERROR_CODES, ranges.NO_ERROR)
    offs = _entries(snapshot, numbers.SWITCH_OFF_TIMES, numbers.SWITCH_OFF_CODES)
    clock_s = snapshot.calculations[numbers.CLOCK : numbers.CLOCK + 1]
    lines = [
        *map(rendering.line, rendering.of_rules(findings, rendering.ERROR_RULES)),
        _newest_error(errors, next(iter(clock_s), 0) or now_ms // 1000),
        info(f"in its switch-off log: {counted(len(offs), 'entry', 'entries')}"),
    ]
    rows = [(_local(time_s, zone), str(code), error_meaning(code)) for time_s, code in errors]
    reasons = [(_local(time_s, zone), str(code), _reason(code)) for time_s, code in offs]
    tables = [
        Table((head, "code", "meaning"), tuple(entries))
        for head, entries in (("error", rows), ("switched off", reasons))
        if entries
    ]
    values = {
        "errors": [_to_json(time_s, code, error_meaning(code)) for time_s, code in errors],
        "switch_offs": [_to_json(time_s, code, _reason(code)) for time_s, code in offs],
    }
    return Section("heat pump's logs", tuple(lines), tuple(tables), values)


def _entries(
    snapshot: Snapshot, stamps: slice, codes: slice, unused: frozenset[int] = frozenset()
) -> list[tuple[int, int]]:
    """Return ``(seconds since the epoch, code)`` of the entries in use, newest first."""
    block = snapshot.calculations
    # A short block may end between times and codes.
    pairs = zip(block[stamps], block[codes], strict=False)
    return sorted(((t, code) for t, code in pairs if t > 0 and code not in unused), reverse=True)


def _newest_error(errors: list[tuple[int, int]], clock_s: int) -> Line:
    """Return how many errors there are, and the newest by the clock that dates it."""
    if not errors:
        return ok("no errors in its log")
    text = f"{counted(len(errors), 'error', 'errors')} in its log"
    # Entries later than the clock are from before it was lost: it starts again in 1999.
    past = [entry for entry in errors if entry[0] <= clock_s + _READ_APART_S]
    if not past:
        return info(f"{text}, all from before the controller's clock was set back")
    time_s, code = past[0]
    age = times.span(max(0, clock_s - time_s))
    return info(f"{text}, the newest {age} ago: {code} {error_meaning(code)}")


def _reason(code: int) -> str:
    return catalogue.labels("switch_off").get(code, "unknown code")


def _local(time_s: int, zone: tzinfo) -> str:
    return times.local_time(time_s * 1000, zone).strftime("%Y-%m-%d %H:%M:%S")


def _to_json(time_s: int, code: int, meaning: str) -> dict[str, object]:
    return {"time": times.utc_text(time_s * 1000), "code": code, "meaning": meaning}
