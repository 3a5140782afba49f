"""The health check: is it recording, is the data good, and if not, why? Changes and stores nothing.

Every failure is caught and becomes a line, so that a diagnosis is possible when nothing works.
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
    exit_status,
    guarded,
    info,
    ok,
    problem,
    warning,
)
from luxcli.diagnosis.storage import storage
from luxcli.errors import FINDINGS, ConfigError, LockHeldError, StorageError
from luxcli.exports.columns import columns
from luxcli.model import GROUPS, Snapshot
from luxcli.recording.poll import Gate
from luxcli.registers import catalogue, decoding
from luxcli.system.clock import SYSTEM_CLOCK, Clock
from luxcli.system.progress import Progress, silent
from luxcli.validation import stored
from luxcli.validation.report import Report

_LOGGER = logging.getLogger(__name__)
# Limit of one attempt, as somebody waits and a healthy controller needs 0.1 s. A controller that
# accepts connections but is slow gets as long as a poll does by default.
_ATTEMPT_S: Final = 20.0
_PATIENCE_S: Final = 60.0
_PRIVATE: Final = "private"
_REGISTER_HEAD: Final = ("group", "index", "id", "name", "raw", "value", "unit")
_VERDICTS: Final = {0: "all is well", FINDINGS: "it works, with warnings"}
_PARTS: Final = 4


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The result of a health check.

    Attributes:
        taken_ms: Time of the check, milliseconds since the epoch, UTC.
        sections: What was found, in the order of reading.
        checklist: What must be so in production.
        snapshot: The poll that was read, None when none was.
    """

    taken_ms: int
    sections: tuple[Section, ...]
    checklist: tuple[Item, ...]
    snapshot: Snapshot | None = None

    @property
    def status(self) -> int:
        """Exit status of the whole, see `sections.exit_status`."""
        return exit_status([line for section in self.sections for line in section.lines])

    @property
    def verdict(self) -> str:
        """What the exit status means, for a person."""
        text = _VERDICTS.get(self.status, "there are problems, see above")
        return f"{text} (exit status {self.status})"

    def to_json(self, *, thorough: bool) -> dict[str, Any]:
        """Return the whole for programs; `thorough` adds every register."""
        found: dict[str, Any] = {
            "ok": self.status == 0,
            "status": self.status,
            "taken_ms": self.taken_ms,
            "sections": [section.to_json() for section in self.sections],
            "checklist": [item.to_json() for item in self.checklist],
        }
        if thorough:
            found["registers"] = list(registers(self.snapshot)) if self.snapshot else []
        return found

    def parts(self, *, thorough: bool) -> Iterator[Section]:
        """Yield everything for a person; `thorough` adds every register."""
        yield from self.sections
        if thorough and self.snapshot:
            rows = (tuple(map(str, entry.values())) for entry in registers(self.snapshot))
            yield Section("every register", (), (Table(_REGISTER_HEAD, tuple(rows)),))
        if self.checklist:
            lines = tuple(item.line for item in self.checklist)
            yield Section("production checklist", lines)


def diagnose(
    settings: Config,
    *,
    now_ms: int,
    zone: tzinfo,
    environ: Mapping[str, str],
    offline: bool = False,
    ports: Sequence[int] = PORTS,
    device_wait_s: float = access.DEVICE_WAIT_S,
    clock: Clock = SYSTEM_CLOCK,
    progress: Progress = silent,
) -> Diagnosis:
    """Examine everything.

    Ends within about a minute and a half plus the time that SQLite needs to check the database.

    Args:
        settings: The configuration; the host may be missing.
        now_ms: UTC.
        zone: The owner's time zone.
        environ: Usually ``os.environ``.
        offline: Leave the heat pump alone.
        ports: Where to look for a controller when the configured port does not answer.
        device_wait_s: How long to wait for another luxcli that talks to the heat pump.
        clock: Dates the snapshot and waits between attempts to read the heat pump.
        progress: Receives what is examined next; of four parts.
    """
    sections = [_configuration(settings)]
    found: Probe | None = None
    report: Report | None = None
    refusals: Sequence[str] = ()
    if settings.host and not offline:
        progress(0, _PARTS, "the heat pump")
        network, found = _network(settings, ports, device_wait_s, clock)
        sections.append(network)
    snapshot = found.snapshot if found else None
    if found and snapshot:
        report = stored.judge_snapshot(snapshot, settings.interval_sec)
        refusals = Gate(settings).check(snapshot)
        sections += [
            _controller(settings, snapshot, found.last.status, report),
            device.sensor_values(snapshot, report),
            consistency.alignment(report.findings, refusals),
            consistency.logs(snapshot, report.findings, now_ms, zone),
        ]
    progress(1, _PARTS, "the files")
    sections.append(storage(settings, now_ms=now_ms, zone=zone))
    progress(2, _PARTS, "the recording")
    recorded, facts = recording.recorded(settings, now_ms=now_ms, zone=zone)
    progress(3, _PARTS, "the recorded data")
    sections += [recorded, recorded_data(settings, now_ms=now_ms), environment(zone, environ)]
    return Diagnosis(now_ms, tuple(sections), _checklist(found, report, facts, refusals), snapshot)


def without_configuration(
    failure: ConfigError, *, now_ms: int, zone: tzinfo, environ: Mapping[str, str]
) -> Diagnosis:
    """Return what is known when the configuration is wrong: everything that is wrong with it."""
    lines = [problem(text, status=failure.exit_code) for text in failure.problems]
    section = Section("configuration", tuple(lines), (), {"problems": list(failure.problems)})
    return Diagnosis(now_ms, (section, environment(zone, environ)), ())


def registers(snapshot: Snapshot) -> Iterator[dict[str, object]]:
    """Yield every register with index, id, name, raw value, value and unit, but no private ones."""
    for group in GROUPS:
        for reading in decoding.readings(snapshot, group):
            private = reading.index in catalogue.private(group)
            yield {
                "group": group,
                "index": reading.index,
                "id": reading.id,
                "name": catalogue.register(group, reading.index).name,
                "raw": _PRIVATE if private else reading.raw,
                "value": _PRIVATE if private else reading.value,
                "unit": reading.unit,
            }


def _configuration(settings: Config) -> Section:
    effective = list(config.effective_values(settings))
    chosen = [entry for entry in effective if entry[2] != "default"]
    lines: list[Line] = []
    if settings.file:
        lines.append(ok(f"file {settings.file}"))
    else:
        lines.append(info("no configuration file; variables and defaults count"))
    differ = f"{len(chosen)} settings differ from their defaults"
    try:
        settings.require_host()
        lines.append(ok(f"{differ}; valid"))
    except ConfigError as exc:
        lines += [problem(str(exc), status=exc.exit_code), info(differ)]
    try:
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


def _network(
    settings: Config,
    ports: Sequence[int],
    wait_s: float = access.DEVICE_WAIT_S,
    clock: Clock = SYSTEM_CLOCK,
) -> tuple[Section, Probe | None]:
    """Read the heat pump, exclusively like every other command."""
    host = settings.require_host()
    notes: list[Line] = []
    with ExitStack() as held:
        try:
            directory = settings.cache_path.parent
            held.enter_context(access.exclusive(host, settings.port, directory, wait_s=wait_s))
        except LockHeldError as exc:
            text = f"{host}:{settings.port}: in use by another luxcli: {exc}"
            advice = (
                "try again in a few seconds; if it stays busy, see the lock holder in 'storage'"
            )
            line = warning(text, advice)
            return Section("network", (line,), (), {"busy": str(exc)}), None
        except StorageError as exc:
            # No process with this database can poll now; the claim keeps off all others.
            _LOGGER.debug("%s", exc)
            notes.append(info(f"read without the lock beside the database: {exc}"))
            try:
                held.enter_context(access.claim(host, settings.port, wait_s=wait_s))
            except LockHeldError as second:
                line = warning(f"{host}:{settings.port}: in use by another luxcli: {second}")
                return Section("network", (line, *notes)), None
        found = probe(
            host,
            settings.port,
            min(settings.timeout_sec, _ATTEMPT_S),
            patience_s=min(settings.timeout_sec, _PATIENCE_S),
            others=ports,
            clock=clock,
        )
    section = device.network(host, found)
    return replace(section, lines=(*section.lines, *notes)), found


def _controller(
    settings: Config, snapshot: Snapshot, status: int | None, report: Report
) -> Section:
    section = device.controller(snapshot, status, report.findings)
    owned = guarded([lambda: device.ownership(settings, snapshot)])
    return replace(section, lines=(*owned, *section.lines))


def _checklist(
    found: Probe | None,
    report: Report | None,
    recorded: recording.Facts,
    refusals: Sequence[str],
) -> tuple[Item, ...]:
    snapshot = found.snapshot if found else None

    def read(text: str, passed: Callable[[Snapshot, Report], bool]) -> Item:
        if snapshot is None or report is None:
            return Item(text, None, "the heat pump was not read")
        return Item(text, passed(snapshot, report), "by the poll of this run")

    return (
        read(
            "more than 50 sensor readings per poll",
            lambda _snapshot, report: device.has_enough_readings(report),
        ),
        _temperatures_item(snapshot, report),
        read(
            "validation passes before storage",
            lambda _snapshot, _report: not refusals,
        ),
        _csv_item(recorded.newest_csv),
        _connection_item(found),
        _schedule_item(recorded.is_on_schedule),
    )


def _temperatures_item(snapshot: Snapshot | None, report: Report | None) -> Item:
    text = "all critical temperature sensors present"
    if snapshot is None or report is None:
        return Item(text, None, "the heat pump was not read")
    doubts = device.temperature_doubts(snapshot, report)
    if not doubts:
        return Item(text, True, "by the poll of this run")
    bad = [line for line in doubts if line.level == "problem"]
    more = f"; and {len(doubts) - 1} more, see 'sensors'" if len(doubts) > 1 else ""
    return Item(text, False, f"{(bad or doubts)[0].text}{more}", doubtful=not bad)


def _csv_item(csv: recording.CsvLook | None) -> Item:
    text = "CSV files with several complete rows"
    if csv is None:
        return Item(text, None, "there is no daily CSV")
    found = f"{csv.complete} of the first {csv.looked_at} rows of the newest daily CSV"
    return Item(text, csv.has_several, found)


def _connection_item(found: Probe | None) -> Item:
    text = "connection healthy"
    if found is None:
        return Item(text, None, "not looked at")
    if found.last.failure:
        return Item(text, False, f"{found.last.failure.reason} at {found.last.phase}")
    attempts = len(found.attempts)
    return Item(text, attempts == 1, f"at attempt {attempts}")


def _schedule_item(kept: bool | None) -> Item:
    text = "schedule kept"
    if kept is None:
        return Item(text, None, "nothing recorded, or it cannot be read")
    return Item(text, kept, "see 'recording'")
