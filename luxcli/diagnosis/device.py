"""The heat pump's half of a health check: network, controller, sensors.

Judges what `probing` found and one snapshot; reads and stores nothing. A register that is missing
or unknown is a line, never a failure.
"""

from typing import Final

from luxcli import times
from luxcli.config.config import Config
from luxcli.controller.exchange import CONNECT
from luxcli.controller.probe import Probe
from luxcli.diagnosis.consistency import recent_errors
from luxcli.diagnosis.sections import (
    NO_DATA,
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
from luxcli.registers import catalogue, numbers, ranges
from luxcli.registers.catalogue import Reading
from luxcli.store import owner

_CALCULATIONS: Final[Group] = "calculations"
# A healthy wired controller answers all blocks in about 0.1 s (controller.md section 1).
_SLOW_S: Final = 3.0
# Controller clocks drift; nothing in luxcli depends on them.
_DRIFT_S: Final = 300
_HOUR_S: Final = 3600
_ENOUGH_READINGS: Final = 50
# Flow, return, external return, outdoors now and on average, hot water; and what they
# show instead of a measured value (sensors.md section 2): 0.0 °C and 5.0 °C, raw.
_ALIKE: Final = (
    numbers.FLOW_TEMPERATURE,
    numbers.RETURN_TEMPERATURE,
    numbers.EXTERNAL_RETURN_TEMPERATURE,
    numbers.OUTDOOR_TEMPERATURE,
    numbers.MEAN_OUTDOOR_TEMPERATURE,
    numbers.DHW_TEMPERATURE,
)
_WATER: Final = frozenset({numbers.FLOW_TEMPERATURE, numbers.RETURN_TEMPERATURE})
_DEFAULTS_RAW: Final = (0, 50)
_ALIKE_FEWEST: Final = 3


def network(host: str, probe: Probe) -> Section:
    """Return how reaching the heat pump went: each step with its time, or the failure's causes."""
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
            warning(f"the first attempt failed: {attempt.failure}", "look again whether it repeats")
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
    """Return bytes as text where they are one, otherwise as hexadecimal numbers."""
    if all(32 <= byte < 127 or byte in b"\r\n" for byte in received):
        return repr(received.decode())
    return received[:16].hex(" ")


def ownership(config: Config, snapshot: Snapshot) -> tuple[Line, ...]:
    """Return a problem when the cache is for another heat pump: `poll-once` stores nothing then."""
    conflict = owner.owner_conflict(config.cache_path, config.require_host(), snapshot)
    if conflict is None:
        return ()
    return (problem(conflict.what, conflict.advice, status=conflict.exit_code),)


def controller(snapshot: Snapshot, now_ms: int, status: int | None) -> Section:
    """Return which controller it is, how much of what it sends is known, and its clock."""
    model = catalogue.reading(snapshot, _CALCULATIONS, numbers.MODEL)
    mode = catalogue.reading(snapshot, _CALCULATIONS, numbers.OPERATING_MODE)
    firmware = catalogue.firmware(snapshot.calculations)
    unknown = sum(_counts(snapshot, g)["read"] - _counts(snapshot, g)["known"] for g in GROUPS)
    serial = owner.serial(snapshot)
    lines = (
        _model(model, firmware),
        info(f"operating mode: {shown(mode)}"),
        ok("status word 0: not busy") if status == 0 else info(f"status word: {status}"),
        *(_length(group, snapshot) for group in GROUPS),
        info(f"{unknown} values without a known meaning; they are stored all the same"),
        info("serial number: present (not shown)" if serial else "serial number: none is told"),
        _clock(_ahead_s(snapshot, now_ms)),
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
        "clock_ahead_s": _ahead_s(snapshot, now_ms),
    }
    return Section("controller", lines, (), values)


def _model(model: Reading | None, firmware: str) -> Line:
    if model is None:
        return warning("the model code is missing", "a very old controller, or not one")
    name = model.value if isinstance(model.value, str) else f"with the unknown code {model.raw}"
    return info(f"model {name}, firmware {firmware or 'not told'}")


def _length(group: Group, snapshot: Snapshot) -> Line:
    sent, known = len(snapshot.block(group)), catalogue.length(group)
    if sent < known:
        return info(f"{group}: {sent} values; {known - sent} of the catalogue are not sent: empty")
    if sent > known:
        return info(f"{group}: {sent} values, {sent - known} more than the catalogue has")
    return ok(f"{group}: {sent} values, as many as the catalogue has")


def _ahead_s(snapshot: Snapshot, now_ms: int) -> int | None:
    clock = catalogue.reading(snapshot, _CALCULATIONS, numbers.CLOCK)
    return round(clock.raw - now_ms / 1000) if clock and clock.raw > 0 else None


def _clock(ahead_s: int | None) -> Line:
    advice = "harmless: luxcli records by this machine's clock; set it at the controller's display"
    if ahead_s is None:
        return warning("the controller's clock tells no time", advice)
    if abs(ahead_s) < 2:
        return ok("the controller's clock is right")
    way = "ahead" if ahead_s > 0 else "behind"
    text = f"the controller's clock is {times.span(abs(ahead_s))} {way}"
    if abs(ahead_s) <= _DRIFT_S:
        return ok(text)
    hours = round(ahead_s / _HOUR_S)
    if 1 <= abs(hours) <= 14 and abs(ahead_s - hours * _HOUR_S) <= _DRIFT_S:
        return info(f"{text}: another time zone, or no summer time", advice)
    return warning(text, advice)


def sensor_values(snapshot: Snapshot) -> Section:
    """Return how many values there are and whether those that matter are sound."""
    counts = {group: _counts(snapshot, group) for group in GROUPS}
    critical = {index: _judged(snapshot, index) for index in ranges.CRITICAL}
    lines = [_enough(snapshot)]
    lines += [line for line in critical.values() if line.level != "ok"]
    lines += _defaults(snapshot)
    if len(lines) == 1:
        lines.append(ok(f"all {len(critical)} critical sensors are there and sound"))
    others = sorted(set(ranges.RANGES) - set(critical))
    judged = [_judged(snapshot, index) for index in others if _is_live(snapshot, index)]
    lines += [line for line in judged if line.level != "ok"]
    absent = not_fitted(snapshot)
    if absent:
        lines.append(info(f"not fitted, by their values: {', '.join(absent)}"))
    rows = [(group, *map(str, count.values())) for group, count in counts.items()]
    tables = (
        Table(("group", "read", "numeric", "known", "not 0"), tuple(rows)),
        Table(
            ("no.", "critical sensor", "value", "usual", ""),
            tuple(_row(snapshot, index, line) for index, line in critical.items()),
        ),
    )
    values = {
        "counts": counts,
        "critical": [_entry(snapshot, index, line) for index, line in critical.items()],
        "not_fitted": absent,
    }
    return Section("sensors", tuple(lines), tables, values)


def enough_readings(snapshot: Snapshot) -> bool:
    """Whether there are as many sensor readings as a poll has to have."""
    return _counts(snapshot, _CALCULATIONS)["numeric"] > _ENOUGH_READINGS


def temperature_doubts(snapshot: Snapshot) -> list[Line]:
    """Return what speaks against the critical temperatures; they are sound when nothing does."""
    judged = [_judged(snapshot, index) for index in ranges.CRITICAL_TEMPERATURES]
    return [line for line in judged if line.level != "ok"] + _defaults(snapshot)


def not_fitted(snapshot: Snapshot) -> list[str]:
    """Return the ids of sensors that show the value of "not fitted"."""
    found = [
        catalogue.reading(snapshot, _CALCULATIONS, index) for index in sorted(ranges.NOT_FITTED)
    ]
    return [entry.id for entry in found if entry and ranges.is_not_fitted(entry.index, entry.raw)]


def _defaults(snapshot: Snapshot) -> list[Line]:
    """Return a warning when several temperatures stand at the same default value.

    Outdoors 5.0 °C are weather, and channels without a sensor show them, too; water that shows
    exactly the same is more than chance.
    """
    for default in _DEFAULTS_RAW:
        found = [
            reading
            for index in _ALIKE
            if (reading := catalogue.reading(snapshot, _CALCULATIONS, index))
            and reading.raw == default
        ]
        if len(found) >= _ALIKE_FEWEST and any(one.index in _WATER for one in found):
            names = ", ".join(one.id for one in found)
            text = f"{len(found)} temperatures are exactly {shown(found[0])}: {names}"
            return [warning(text, "no measured values: compare with the controller's display")]
    return []


def _enough(snapshot: Snapshot) -> Line:
    readings = _counts(snapshot, _CALCULATIONS)["numeric"]
    if enough_readings(snapshot):
        return ok(f"{readings} sensor readings in a poll")
    text = f"only {readings} sensor readings in a poll"
    return problem(text, f"more than {_ENOUGH_READINGS} are normal", status=NO_DATA)


def _counts(snapshot: Snapshot, group: Group) -> dict[str, int]:
    block = snapshot.block(group)
    entries = [catalogue.register(group, index) for index in range(len(block))]
    numbers = [catalogue.numeric(entry, raw) for entry, raw in zip(entries, block, strict=True)]
    return {
        "read": len(block),
        "numeric": sum(number is not None for number in numbers),
        "known": sum(entry.is_known for entry in entries),
        "not_0": sum(raw != 0 for raw in block),
    }


def _is_live(snapshot: Snapshot, index: int) -> bool:
    entry = catalogue.reading(snapshot, _CALCULATIONS, index)
    return entry is not None and not ranges.is_not_fitted(index, entry.raw)


def _judged(snapshot: Snapshot, index: int) -> Line:
    """Return the verdict on one sensor."""
    entry = catalogue.reading(snapshot, _CALCULATIONS, index)
    register = catalogue.register(_CALCULATIONS, index)
    name, usual = f"{register.id} ({register.name})", ranges.RANGES.get(index)
    compare = "compare with the controller's display"
    if entry is None:
        advice = "its column stays empty; is this a Luxtronik 2?"
        return problem(f"{name} is missing: the block is too short", advice, status=NO_DATA)
    text = f"{name} is {shown(entry)}"
    broken = index == numbers.OUTDOOR_TEMPERATURE and entry.raw == ranges.BROKEN_OUTDOOR_RAW
    if broken and ranges.OUTDOOR_SENSOR_ERROR in recent_errors(snapshot):
        return problem(f"{text}: broken, says error 711", "have it replaced", status=NO_DATA)
    if ranges.is_not_fitted(index, entry.raw):
        return info(f"{text}: looks not fitted")
    value = catalogue.numeric(register, entry.raw)
    if usual is None or value is None or usual.warn[0] <= value <= usual.warn[1]:
        return ok(text)
    text += f", usual is {_range(index)}"
    # Only what matters and cannot be is a problem.
    if usual.reject[0] <= value <= usual.reject[1] or index not in ranges.CRITICAL:
        return warning(text, compare)
    return problem(f"{text}: impossible", f"{compare}; a broken sensor or cable?", status=NO_DATA)


def _range(index: int) -> str:
    usual = ranges.RANGES.get(index)
    unit = catalogue.register(_CALCULATIONS, index).unit
    return f"{usual.warn[0]:g}..{usual.warn[1]:g} {unit}" if usual else ""


def _row(snapshot: Snapshot, index: int, line: Line) -> tuple[str, ...]:
    word = {"ok": "ok", "info": "none", "warning": "odd", "problem": "bad"}[line.level]
    value = shown(catalogue.reading(snapshot, _CALCULATIONS, index))
    return (
        str(index),
        catalogue.register(_CALCULATIONS, index).id,
        value,
        _range(index),
        word,
    )


def _entry(snapshot: Snapshot, index: int, line: Line) -> dict[str, object]:
    register, usual = catalogue.register(_CALCULATIONS, index), ranges.RANGES.get(index)
    found = catalogue.reading(snapshot, _CALCULATIONS, index)
    return {
        "index": index,
        "id": register.id,
        "value": found.value if found else None,
        "unit": register.unit,
        "usual": list(usual.warn) if usual else None,
        "level": line.level,
    }
