"""The heat pump's half of a health check: network, controller, sensors.

Renders what the probe and the validation found; reads and stores nothing. A register that is
missing or unknown is a line, never a failure.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from luxcli import times
from luxcli.config.config import Config
from luxcli.controller.exchange import CONNECT
from luxcli.controller.probe import Probe
from luxcli.diagnosis import findings as rendering
from luxcli.diagnosis.sections import (
    Level,
    Line,
    Section,
    Table,
    counted,
    info,
    ok,
    problem,
    shown,
    warning,
)
from luxcli.errors import DeviceError, ProtocolError
from luxcli.model import GROUPS, Group, Snapshot
from luxcli.registers import catalogue, decoding, numbers, ranges
from luxcli.registers.decoding import Reading
from luxcli.store import owner
from luxcli.validation import blocks
from luxcli.validation.findings import Finding
from luxcli.validation.report import Report

_CALCULATIONS: Final[Group] = "calculations"
# A healthy controller on a cable answers all blocks in about 0.1 s (docs/registers.md, "The
# controller").
_SLOW_S: Final = 3.0
# Nobody sees a clock that is off by less.
_EXACT_S: Final = 2


def network(host: str, probe: Probe) -> Section:
    """Return how reading the heat pump went: each step with its time, or causes of the failure."""
    last = probe.last
    address = f"{host}:{last.port}"
    lines: list[Line] = []
    if last.addresses and last.addresses != (host,):
        lines.append(ok(f"{host} is {', '.join(last.addresses)}"))
    if last.failure is not None:
        lines += _unreachable(address, probe, last.failure)
    else:
        took_s = sum(last.times_s.get(step, 0.0) for step in (CONNECT, *GROUPS))
        text = f"{address} answers; everything was read in {took_s * 1000:.0f} ms"
        advice = "a slow line or a controller at its limit: try a cable instead of Wi-Fi"
        lines.append(ok(text) if took_s <= _SLOW_S else warning(text, advice))
        lines += [
            warning(
                f"the first attempt failed: {attempt.failure}",
                "run it again to see whether that repeats",
            )
            for attempt in probe.attempts[:-1]
        ]
    values = {
        "host": host,
        "port": last.port,
        "addresses": list(last.addresses),
        "peer": last.peer,
        "attempts": len(probe.attempts),
        "times_ms": {step: round(took * 1000, 1) for step, took in last.times_s.items()},
        "failed_at": last.phase if last.failure else None,
        "reason": last.failure.reason if last.failure else None,
        "answers_on_port": probe.other_port,
        "causes": list(probe.causes),
    }
    steps = [(step, f"{took * 1000:.1f} ms") for step, took in last.times_s.items()]
    if last.failure is not None:
        steps.append((last.phase, "failed"))
    return Section("network", tuple(lines), (Table(("step", "took"), tuple(steps)),), values)


def _unreachable(address: str, probe: Probe, failure: DeviceError) -> list[Line]:
    first, *others = probe.causes
    text = f"{address}: {failure} ({counted(len(probe.attempts), 'attempt', 'attempts')})"
    advice = first if probe.other_port else f"likely {first}"
    lines = [problem(text, advice, status=failure.exit_code)]
    if isinstance(failure, ProtocolError) and probe.last.received:
        lines.append(info(f"it sent {_readable(probe.last.received)}"))
    lines += [info(f"or {cause}") for cause in others]
    if probe.tried and not probe.other_port:
        ports = " or ".join(map(str, probe.tried))
        lines.append(info(f"no controller answers on port {ports} either"))
    return lines


def _readable(received: bytes) -> str:
    """Return bytes as text if they are printable, else as hexadecimal numbers."""
    if all(32 <= byte < 127 or byte in b"\r\n" for byte in received):
        return repr(received.decode())
    return received[:16].hex(" ")


def ownership(config: Config, snapshot: Snapshot) -> tuple[Line, ...]:
    """Return a problem if the database belongs to another heat pump: `poll-once` stores nothing."""
    conflict = owner.owner_conflict(config.cache_path, config.require_host(), snapshot)
    if conflict is None:
        return ()
    return (problem(conflict.what, conflict.advice, status=conflict.exit_code),)


def controller(snapshot: Snapshot, status: int | None, findings: Iterable[Finding]) -> Section:
    """Return which controller it is, how many of its registers are known, and its clock.

    Args:
        snapshot: The poll.
        status: Status word of the answer.
        findings: What the validation found in the poll.
    """
    model = decoding.reading(snapshot, _CALCULATIONS, numbers.MODEL)
    mode = decoding.reading(snapshot, _CALCULATIONS, numbers.OPERATING_MODE)
    firmware = decoding.firmware(snapshot.calculations)
    unknown = sum(_counts(snapshot, g)["read"] - _counts(snapshot, g)["known"] for g in GROUPS)
    serial, ahead_s = owner.serial(snapshot), _ahead_s(snapshot)
    lines = (
        _model(model, firmware),
        info(f"operating mode: {shown(mode)}"),
        ok("status word 0: not busy") if status == 0 else info(f"status word: {status}"),
        *(_length(group, snapshot) for group in GROUPS),
        info(f"{unknown} values without a known meaning; they are stored like all others"),
        info(f"serial number: {'present (not shown)' if serial else 'not sent by the controller'}"),
        *_clock(ahead_s, rendering.of_rules(findings, rendering.CLOCK_RULES)),
    )
    values = {
        "model_code": model.raw if model else None,
        "model": model.value if model else None,
        "firmware": firmware,
        "status": status,
        "lengths": {group: len(snapshot.block(group)) for group in GROUPS},
        "catalogue": {group: catalogue.length(group) for group in GROUPS},
        "unknown": unknown,
        "has_serial_number": bool(serial),
        "clock_ahead_s": ahead_s,
    }
    return Section("controller", lines, (), values)


def _model(model: Reading | None, firmware: str) -> Line:
    if model is None:
        advice = "very old firmware, or not a Luxtronik controller"
        return warning("the model code is missing", advice)
    name = model.value if isinstance(model.value, str) else f"with the unknown code {model.raw}"
    return info(f"model {name}, firmware {firmware or 'unknown'}")


def _length(group: Group, snapshot: Snapshot) -> Line:
    sent, known = len(snapshot.block(group)), catalogue.length(group)
    if sent < known:
        return info(f"{group}: {sent} values; {known - sent} of the catalogue are not sent: empty")
    if sent > known:
        return info(f"{group}: {sent} values, {sent - known} more than the catalogue has")
    return ok(f"{group}: {sent} values, as many as the catalogue has")


def _ahead_s(snapshot: Snapshot) -> int | None:
    """Return how far the controller's clock is ahead, None where it is missing or not set."""
    clock = decoding.reading(snapshot, _CALCULATIONS, numbers.CLOCK)
    return round(clock.raw - snapshot.taken_ms / 1000) if clock and clock.raw > 0 else None


def _clock(ahead_s: int | None, findings: Sequence[Finding]) -> list[Line]:
    if findings:
        return [rendering.line(finding) for finding in findings]
    if ahead_s is None:
        return [warning("the controller sends no clock")]
    if abs(ahead_s) < _EXACT_S:
        return [ok("the controller's clock is right")]
    way = "ahead" if ahead_s > 0 else "behind"
    return [ok(f"the controller's clock is {times.span(abs(ahead_s))} {way}")]


def sensor_values(snapshot: Snapshot, report: Report) -> Section:
    """Return how many values there are, and the findings about them.

    Args:
        snapshot: The poll.
        report: What the validation found in it.
    """
    findings = rendering.of_rules(report.findings, rendering.SENSOR_RULES)
    lines = [rendering.line(finding) for finding in findings]
    if has_enough_readings(report):
        lines.insert(0, ok(f"{blocks.readings(snapshot)} sensor readings in a poll"))
    doubts = _doubts(snapshot, report, ranges.CRITICAL)
    lines += [line for line in doubts if line.level == "info"]
    if not doubts:
        lines.append(ok(f"all {len(ranges.CRITICAL)} critical sensors are there and plausible"))
    if report.not_fitted:
        lines.append(info(f"not fitted, by their values: {', '.join(report.not_fitted)}"))
    counts = {group: _counts(snapshot, group) for group in GROUPS}
    rows = [(group, *map(str, count.values())) for group, count in counts.items()]
    levels = {index: _level(index, report) for index in ranges.CRITICAL}
    tables = (
        Table(("group", "read", "numeric", "known", "not 0"), tuple(rows)),
        Table(
            ("no.", "critical sensor", "value", "usual", ""),
            tuple(_row(snapshot, index, level) for index, level in levels.items()),
        ),
    )
    values = {
        "counts": counts,
        "critical": [_entry(snapshot, index, level) for index, level in levels.items()],
        "not_fitted": list(report.not_fitted),
    }
    return Section("sensors", tuple(lines), tables, values)


def has_enough_readings(report: Report) -> bool:
    """Whether there are as many sensor readings as a poll must have."""
    return all(finding.rule != "few-values" for finding in report.findings)


def temperature_doubts(snapshot: Snapshot, report: Report) -> list[Line]:
    """Return what speaks against the critical temperatures."""
    return _doubts(snapshot, report, ranges.CRITICAL_TEMPERATURES)


def _doubts(snapshot: Snapshot, report: Report, indices: Sequence[int]) -> list[Line]:
    """Return the findings about some sensors, default values, and those that look not fitted."""
    ids = {_id(index): index for index in indices}
    lines = [
        rendering.line(finding)
        for finding in rendering.of_rules(report.findings, rendering.SENSOR_RULES)
        if finding.sensor in ids or finding.rule == "default-values"
    ]
    for sensor in report.not_fitted:
        if sensor in ids:
            reading = decoding.reading(snapshot, _CALCULATIONS, ids[sensor])
            name = catalogue.by_id(sensor).name
            lines.append(info(f"{sensor} ({name}) is {shown(reading)}: looks not fitted"))
    return lines


def _level(index: int, report: Report) -> Level:
    """Return the level of a sensor; findings come in the order of their severity."""
    findings = rendering.of_rules(report.findings, rendering.SENSOR_RULES)
    here = [finding for finding in findings if finding.sensor == _id(index)]
    if here:
        return rendering.level(here[0])
    return "info" if _id(index) in report.not_fitted else "ok"


def _id(index: int) -> str:
    return catalogue.register(_CALCULATIONS, index).id


def _counts(snapshot: Snapshot, group: Group) -> dict[str, int]:
    block = snapshot.block(group)
    entries = [catalogue.register(group, index) for index in range(len(block))]
    numeric = [decoding.number(entry, raw) for entry, raw in zip(entries, block, strict=True)]
    return {
        "read": len(block),
        "numeric": sum(number is not None for number in numeric),
        "known": sum(entry.is_known for entry in entries),
        "not_0": sum(raw != 0 for raw in block),
    }


def _range(index: int) -> str:
    usual = ranges.RANGES.get(index)
    unit = catalogue.register(_CALCULATIONS, index).unit
    return f"{usual.warn[0]:g}..{usual.warn[1]:g} {unit}" if usual else ""


def _row(snapshot: Snapshot, index: int, level: Level) -> tuple[str, ...]:
    word = {"ok": "ok", "info": "none", "warning": "check", "problem": "bad"}[level]
    value = shown(decoding.reading(snapshot, _CALCULATIONS, index))
    return (str(index), _id(index), value, _range(index), word)


def _entry(snapshot: Snapshot, index: int, level: Level) -> dict[str, object]:
    register, usual = catalogue.register(_CALCULATIONS, index), ranges.RANGES.get(index)
    found = decoding.reading(snapshot, _CALCULATIONS, index)
    return {
        "index": index,
        "id": register.id,
        "value": found.value if found else None,
        "unit": register.unit,
        "usual": list(usual.warn) if usual else None,
        "level": level,
    }
