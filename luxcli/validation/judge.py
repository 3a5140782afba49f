"""Runs every rule about polls over a stream of them, in bounded memory.

Pure: it takes snapshots in time order and returns findings at the end. It changes no poll and
rejects none; which answers are not even stored is decided in `registers.structure` and
`registers.continuity`.
"""

from collections.abc import Iterable
from typing import Final

from luxcli.model import Group, Snapshot
from luxcli.validation.behaviour import Compressors, Refrigerant, Water
from luxcli.validation.blocks import (
    Codes,
    Copies,
    Firmware,
    Lengths,
    Logs,
    Marks,
    Retries,
    ZeroOrOne,
)
from luxcli.validation.clocks import Clocks
from luxcli.validation.counters import Counters
from luxcli.validation.error_log import ErrorLog, OutdoorSensor
from luxcli.validation.findings import Check, Finding, Findings, Poll
from luxcli.validation.stillness import Frozen, Spikes, Stuck
from luxcli.validation.values import CLOSE_S, DefaultValues, Ranges

# Beyond every index that a check asks for.
PADDED: Final[dict[Group, int]] = {"calculations": 300, "parameters": 1200}


class Judge:
    """Takes polls in time order and returns what is wrong with them.

    Args:
        interval_s: Seconds between scheduled polls.
        recent_s: Errors that the log of the first poll holds already count as new when they are no
            older than this, in seconds; 0 for none.
    """

    def __init__(self, interval_s: int, *, recent_s: int = 0) -> None:
        self.polls = 0
        self._findings = findings = Findings()
        self._pause_s = longest_pause_s(interval_s)
        self._last_ms: int | None = None
        self._parameters: tuple[tuple[int, ...], tuple[int | None, ...]] = ((), ())
        self._ranges = Ranges(findings)
        clocks = Clocks(findings, interval_s)
        self._checks: tuple[Check, ...] = (
            *(check(findings) for check in (Lengths, Firmware, ZeroOrOne, Logs, Codes, Copies)),
            *(clocks, Counters(findings, clocks)),
            *(self._ranges, DefaultValues(findings)),
            *(ErrorLog(findings, recent_s), OutdoorSensor(findings, single=recent_s > 0)),
            *(check(findings) for check in (Water, Refrigerant, Compressors)),
            *(check(findings) for check in (Frozen, Spikes, Stuck, Retries, Marks)),
        )

    def add(self, snapshot: Snapshot) -> None:
        """Judge the next poll."""
        gap_s = 0.0 if self._last_ms is None else (snapshot.taken_ms - self._last_ms) / 1000
        poll = Poll(
            snapshot.taken_ms,
            _padded(snapshot.calculations, PADDED["calculations"]),
            self._padded_parameters(snapshot.parameters),
            gap_s,
            self._last_ms is None or gap_s > self._pause_s,
            snapshot,
        )
        self.polls += 1
        self._last_ms = snapshot.taken_ms
        for check in self._checks:
            check.update(poll)

    def end(self) -> tuple[Finding, ...]:
        """Return all findings, problems first; no poll may be added afterwards."""
        for check in self._checks:
            check.end()
        return self._findings.all()

    def not_fitted(self) -> tuple[str, ...]:
        """Return the ids of sensors that showed nothing but their value for "not fitted"."""
        return self._ranges.not_fitted()

    def _padded_parameters(self, parameters: tuple[int, ...]) -> tuple[int | None, ...]:
        # Settings hardly ever change, and unchanged ones are the same object.
        if parameters is not self._parameters[0]:
            self._parameters = (parameters, _padded(parameters, PADDED["parameters"]))
        return self._parameters[1]


def longest_pause_s(interval_s: int) -> int:
    """Return the seconds between two polls beyond which the time between them is unknown."""
    return max(CLOSE_S, 3 * interval_s)


def judge(snapshots: Iterable[Snapshot], interval_s: int) -> tuple[Finding, ...]:
    """Return the findings about a few polls in time order."""
    judge = Judge(interval_s)
    for snapshot in snapshots:
        judge.add(snapshot)
    return judge.end()


def _padded(block: tuple[int, ...], length: int) -> tuple[int | None, ...]:
    return block + (None,) * (length - len(block))
