"""The health check: is it recording, is the data good, and if not, why? Changes and stores nothing.

Everything that can fail is caught and becomes a line, so that it also works when nothing works.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import tzinfo
from typing import Any, Final

from luxcli.config import config
from luxcli.config.config import Config
from luxcli.controller import access
from luxcli.controller.probe import PORTS, Probe, probe
from luxcli.diagnosis import consistency, device, recording
from luxcli.diagnosis.data import recorded_data
from luxcli.diagnosis.environment import environment
from luxcli.diagnosis.sections import (
    Item,
    Line,
    Section,
    Table,
    guarded,
    info,
    ok,
    problem,
    warning,
    worst,
)
from luxcli.diagnosis.storage import storage
from luxcli.errors import ConfigError, LockHeldError, StorageError
from luxcli.exports.columns import columns
from luxcli.model import GROUPS, Snapshot
from luxcli.registers import catalogue
from luxcli.registers.private import PRIVATE
from luxcli.system.progress import Progress, silent

_LOGGER = logging.getLogger(__name__)
# For one attempt; somebody waits, and a healthy controller needs 0.1 s. One that takes connections
# but is slow gets as long as polls do by default.
_ATTEMPT_S: Final = 20.0
_PATIENCE_S: Final = 60.0
_CLAIM_WAIT_S: Final = 5.0
_PRIVATE: Final = "private"
_PARTS: Final = 4


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All that was found.

    Attributes:
        taken_ms: When, milliseconds since the epoch, UTC.
        sections: In the order in which they are to be read.
        checklist: What has to be so in production.
        snapshot: What was read from the heat pump, None when nothing was.
    """

    taken_ms: int
    sections: tuple[Section, ...]
    checklist: tuple[Item, ...]
    snapshot: Snapshot | None = None

    @property
    def status(self) -> int:
        """Exit status of the whole, see `health.worst`."""
        return worst([line for section in self.sections for line in section.lines])


def diagnose(
    settings: Config,
    *,
    now_ms: int,
    zone: tzinfo,
    environ: Mapping[str, str],
    offline: bool = False,
    ports: Sequence[int] = PORTS,
    progress: Progress = silent,
) -> Diagnosis:
    """Look at everything.

    Ends within about a minute and a half plus the time that SQLite takes to look through the cache.

    Args:
        settings: The configuration; the host may be missing.
        now_ms: UTC.
        zone: The owner's time zone.
        environ: Usually ``os.environ``.
        offline: Leave the heat pump alone.
        ports: Where to look for a controller when the configured port does not answer.
        progress: Receives what is examined next; of four parts.
    """
    sections = [_configuration(settings)]
    found: Probe | None = None
    if settings.host and not offline:
        progress(0, _PARTS, "the heat pump")
        network, found = _network(settings, ports)
        sections.append(network)
    snapshot = found.snapshot if found else None
    if found and snapshot:
        sections += [
            _controller(settings, snapshot, found.last.status),
            device.sensor_values(snapshot),
            consistency.alignment(snapshot),
            consistency.logs(snapshot, now_ms, zone),
        ]
    progress(1, _PARTS, "the files")
    sections.append(storage(settings, now_ms=now_ms, zone=zone))
    progress(2, _PARTS, "the recording")
    recorded = recording.recorded(settings, now_ms=now_ms, zone=zone)
    progress(3, _PARTS, "the recorded data")
    sections += [recorded, recorded_data(settings, now_ms=now_ms), environment(zone, environ)]
    return Diagnosis(now_ms, tuple(sections), _checklist(found, recorded), snapshot)


def without_configuration(
    failure: ConfigError, *, now_ms: int, zone: tzinfo, environ: Mapping[str, str]
) -> Diagnosis:
    """Return what can be said when the configuration is wrong: all that is wrong with it."""
    lines = [problem(text, status=failure.exit_code) for text in failure.problems]
    section = Section("configuration", tuple(lines), (), {"problems": list(failure.problems)})
    return Diagnosis(now_ms, (section, environment(zone, environ)), ())


def registers(snapshot: Snapshot) -> Iterator[dict[str, object]]:
    """Yield every register with index, id, name, raw value, value and unit, but no private ones."""
    for group in GROUPS:
        for reading in catalogue.readings(snapshot, group):
            private = reading.index in PRIVATE[group]
            yield {
                "group": group,
                "index": reading.index,
                "id": reading.id,
                "name": catalogue.register(group, reading.index).name,
                "raw": _PRIVATE if private else reading.raw,
                "value": _PRIVATE if private else reading.value,
                "unit": reading.unit,
            }


def as_json(diagnosis: Diagnosis, *, thorough: bool) -> dict[str, Any]:
    """Return the whole for programs; `thorough` adds every register."""
    found: dict[str, Any] = {
        "ok": diagnosis.status == 0,
        "status": diagnosis.status,
        "taken_ms": diagnosis.taken_ms,
        "sections": [
            {
                "name": section.name,
                "lines": [
                    {"level": line.level, "text": line.text, "advice": line.advice}
                    for line in section.lines
                ],
                "values": dict(section.values),
            }
            for section in diagnosis.sections
        ],
        "checklist": [
            {"text": item.text, "passed": item.passed, "found": item.found}
            for item in diagnosis.checklist
        ],
    }
    if thorough:
        found["registers"] = list(registers(diagnosis.snapshot)) if diagnosis.snapshot else []
    return found


def _configuration(settings: Config) -> Section:
    effective = list(config.effective_values(settings))
    chosen = [entry for entry in effective if entry[2] != "default"]
    lines: list[Line] = []
    if settings.file:
        lines.append(ok(f"file {settings.file}"))
    else:
        lines.append(info("no configuration file; variables and defaults count"))
    try:
        settings.require_host()
    except ConfigError as exc:
        lines.append(problem(str(exc), status=exc.exit_code))
    try:
        lines.append(ok(f"{len(chosen)} settings differ from their defaults; valid"))
        csv_columns = len(columns(settings))
        lines.append(info(f"CSVs have {csv_columns} sensor columns"))
    except ConfigError as exc:
        lines += [problem(text, status=exc.exit_code) for text in exc.problems]
    values = {
        "file": str(settings.file) if settings.file else None,
        "settings": {
            key: {"value": value, "origin": origin, "default": origin == "default"}
            for key, value, origin in effective
        },
    }
    here = f"{settings.file}:"
    rows = tuple((key, value, origin.replace(here, "line ", 1)) for key, value, origin in chosen)
    tables = (Table(("setting", "value", "from"), rows),) if chosen else ()
    return Section("configuration", tuple(lines), tables, values)


def _network(settings: Config, ports: Sequence[int]) -> tuple[Section, Probe | None]:
    """Read the heat pump, with it to oneself as every other command has it."""
    host = settings.require_host()
    notes: list[Line] = []
    with ExitStack() as held:
        try:
            held.enter_context(access.exclusive(host, settings.port, settings.cache_path.parent))
        except LockHeldError as exc:
            text = f"{host}:{settings.port}: in use by another luxcli: {exc}"
            line = warning(text, "a poll takes a second: try again; a lasting one hangs, see locks")
            return Section("network", (line,), (), {"busy": str(exc)}), None
        except StorageError as exc:
            # Nobody with this cache can poll then; the others are kept off by the claim.
            _LOGGER.debug("%s", exc)
            notes.append(info(f"looked without the lock of this cache: {exc}"))
            try:
                held.enter_context(access.claim(host, settings.port, wait_s=_CLAIM_WAIT_S))
            except LockHeldError as second:
                line = warning(f"{host}:{settings.port}: in use by another luxcli: {second}")
                return Section("network", (line, *notes)), None
        found = probe(
            host,
            settings.port,
            min(settings.timeout_sec, _ATTEMPT_S),
            patience_s=min(settings.timeout_sec, _PATIENCE_S),
            others=ports,
        )
    section = device.network(host, found)
    return replace(section, lines=(*section.lines, *notes)), found


def _controller(settings: Config, snapshot: Snapshot, status: int | None) -> Section:
    section = device.controller(snapshot, snapshot.taken_ms, status)
    owned = guarded([lambda: device.ownership(settings, snapshot)])
    return replace(section, lines=(*owned, *section.lines))


def _checklist(found: Probe | None, recorded: Section) -> tuple[Item, ...]:
    snapshot = found.snapshot if found else None

    def read(text: str, test: Callable[[Snapshot], bool]) -> Item:
        if snapshot is None:
            return Item(text, None, "the heat pump was not read")
        return Item(text, test(snapshot), "by what it sent just now")

    return (
        read("more than 50 sensor readings per poll", device.enough_readings),
        _temperatures_item(snapshot),
        read("validation passes before storage", consistency.is_accepted),
        _csv_item(recording.complete_csv_rows(recorded)),
        _connection_item(found),
        _schedule_item(recording.is_on_schedule(recorded)),
    )


def _temperatures_item(snapshot: Snapshot | None) -> Item:
    text = "all critical temperature sensors present"
    if snapshot is None:
        return Item(text, None, "the heat pump was not read")
    doubts = device.temperature_doubts(snapshot)
    if not doubts:
        return Item(text, True, "by what it sent just now")
    bad = [line for line in doubts if line.level == "problem"]
    more = f"; and {len(doubts) - 1} more, see 'sensors'" if len(doubts) > 1 else ""
    return Item(text, False, f"{(bad or doubts)[0].text}{more}", doubtful=not bad)


def _csv_item(rows: int | None) -> Item:
    text = "CSV files with several complete rows"
    if rows is None:
        return Item(text, None, "there is no daily CSV")
    return Item(text, recording.has_several(rows), f"{rows} at the head of the newest")


def _connection_item(found: Probe | None) -> Item:
    text = "connection healthy"
    if found is None:
        return Item(text, None, "not looked at")
    if found.last.failure:
        return Item(text, False, f"{found.last.failure.reason} at {found.last.phase}")
    attempts = len(found.attempts)
    return Item(text, attempts == 1, "at once" if attempts == 1 else f"after {attempts} attempts")


def _schedule_item(kept: bool | None) -> Item:
    text = "schedule kept"
    if kept is None:
        return Item(text, None, "nothing recorded, or it cannot be read")
    return Item(text, kept, "see 'recording'")
