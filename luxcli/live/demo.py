"""Runs all jobs without a heat pump: simulator, polls over TCP, database, daily and weekly CSV.

The code is that of the scheduled jobs, with a faster clock: a week of polls up to now, one every
ten minutes.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import tzinfo
from pathlib import Path

from luxcli.config import config
from luxcli.errors import StorageError, UsageError
from luxcli.model import Snapshot
from luxcli.periods import KINDS
from luxcli.recording import clock_doubt, poll
from luxcli.registers import catalogue, decoding
from luxcli.rollup import rollup
from luxcli.rollup.rollup import RollupResult
from luxcli.simulator.replay import Replay
from luxcli.simulator.server import Simulator
from luxcli.system.clock import Clock
from luxcli.system.files import size_text
from luxcli.system.progress import Progress, silent

STEP_S = 600
_MARKER = "DEMO.txt"
POLLS = 7 * 86_400 // STEP_S
# Temperatures that every user knows.
_KEY_TEMPERATURES = (10, 11, 12, 15, 17, 19)


@dataclass(frozen=True, slots=True)
class DemoResult:
    """The polls and files of a demo."""

    directory: Path
    cache: Path
    polls: int
    values: int
    cache_bytes: int
    temperatures: tuple[tuple[str, float], ...]
    rollups: tuple[RollupResult, ...]

    def to_json(self) -> dict[str, object]:
        """Return what ``--json`` prints."""
        return {
            "ok": True,
            "polls": self.polls,
            "values": self.values,
            "cache": str(self.cache),
            "cache_bytes": self.cache_bytes,
            "files": [entry.to_json() for entry in self.rollups],
        }

    def rows(self) -> Iterator[tuple[str, str]]:
        """Yield the rows of a table for a person."""
        yield "polls", f"{self.polls} in fast-forward, one every ten minutes for a week"
        yield "per poll", f"{self.values} values"
        for name, value in self.temperatures:
            yield name, f"{value:.1f} °C"
        for entry in self.rollups:
            text = f"{entry.rows} rows, {entry.columns} columns: {entry.path}"
            yield f"{entry.period.kind} CSV", text
        yield "database", f"{size_text(self.cache_bytes)}: {self.cache}"


def run(
    directory: Path,
    *,
    now_s: float,
    zone: tzinfo,
    progress: Progress = silent,
) -> DemoResult:
    """Run the demo into `directory`, replacing an earlier demo there and nothing else.

    Args:
        directory: Created if necessary.
        now_s: Where the simulated week ends, seconds since the epoch; later if it would begin
            before the release of luxcli.
        zone: Time zone of the user.
        progress: Receives numbers of polls.

    Raises:
        UsageError: `directory` holds something else than an earlier demo.
        LuxcliError: A job failed.
    """
    _make_room(directory)
    # A poll from before the release would be taken for one of a wrong clock, so in the first week
    # after it the simulated week begins then.
    shown_s = max(now_s - POLLS * STEP_S, clock_doubt.RELEASED_MS / 1000)

    def now() -> float:
        return shown_s

    with Simulator(Replay(), clock=now) as simulator:
        settings = config.load(
            None,
            {},
            directory,
            {
                "host": simulator.host,
                "port": simulator.port,
                "cache_path": str(directory.absolute() / "cache.sqlite3"),
                "interval_sec": STEP_S,
            },
            search=False,
        )
        for number in range(1, POLLS + 1):
            shown_s += STEP_S
            due = poll.Due(int(shown_s // STEP_S) * STEP_S * 1000, STEP_S)
            result = poll.poll_once(settings, due=due, clock=Clock(now))
            progress(number, POLLS)
    now_ms = round(shown_s * 1000) + 1
    rollups = tuple(rollup.rollup(settings, kind, now_ms=now_ms, zone=zone) for kind in KINDS)
    return DemoResult(
        directory,
        settings.cache_path,
        POLLS,
        result.values,
        settings.cache_path.stat().st_size,
        _temperatures(result.snapshot),
        rollups,
    )


def _make_room(directory: Path) -> None:
    marker = directory / _MARKER
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if not marker.exists() and any(directory.iterdir()):
            raise UsageError(
                f"{directory}: holds something else than an earlier demo; name another --output"
            )
        marker.write_text(
            "Made by 'luxcli demo'; everything here is simulated and replaced by the next demo.\n",
            encoding="utf-8",
        )
        shutil.rmtree(directory / "reports", ignore_errors=True)
        for pattern in ("cache.sqlite3*", "device-*.lock"):
            for path in directory.glob(pattern):
                path.unlink()
    except OSError as exc:
        raise StorageError(f"{directory}: cannot be used: {exc.strerror}") from exc


def _temperatures(snapshot: Snapshot) -> tuple[tuple[str, float], ...]:
    found = []
    for index in _KEY_TEMPERATURES:
        register = catalogue.register("calculations", index)
        value = decoding.number(register, snapshot.calculations[index])
        if value is not None:
            found.append((register.name, value))
    return tuple(found)
