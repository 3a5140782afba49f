"""The state of a heat pump that is followed poll by poll, for people and for programs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from typing import Final

from luxcli import times
from luxcli.errors import DeviceError, LockHeldError, LuxcliError
from luxcli.live import key_values
from luxcli.live.key_values import Change, Item, Row, Values
from luxcli.model import Snapshot

# Most changes that the lines of a view list.
_MOST_CHANGES: Final = 8
# Reasons of a failed poll, for people.
_WORDS: Final = {
    "timeout": "the heat pump does not answer",
    "refused": "the heat pump refuses the connection",
    "network": "the heat pump cannot be reached",
    "busy": "the controller says that it is busy",
    "protocol": "the answer is not the answer of a heat pump",
    "rejected": "the answer contradicts itself",
}


@dataclass(frozen=True, slots=True)
class View:
    """The state after a poll or a failed attempt; moments in seconds of the monotonic clock.

    Attributes:
        polls: Polls that succeeded.
        failed: Attempts that failed since the last poll.
        failures: All attempts that failed.
        snapshot: The last poll, None before the first.
        before: The poll before it.
        fitted: Calculations that showed another value than that of a missing sensor.
        read_at: When `snapshot` was read.
        next_at: When the next attempt begins.
        failure: Why the last attempt failed, None when it did not.
    """

    polls: int = 0
    failed: int = 0
    failures: int = 0
    snapshot: Snapshot | None = None
    before: Snapshot | None = None
    fitted: frozenset[int] = field(default_factory=frozenset)
    read_at: float = 0.0
    next_at: float = 0.0
    failure: LuxcliError | None = None

    @property
    def values(self) -> Values:
        """The values of the last poll, of which there has to be one."""
        assert self.snapshot is not None
        return Values(self.snapshot, self.fitted)

    def rows(self, items: Sequence[Item]) -> Iterator[tuple[Row, str]]:
        """Yield each value and how it changed since the poll before."""
        values = self.values
        before = None if self.before is None else Values(self.before, self.fitted)
        for item in items:
            row = key_values.row(item, values)
            yield row, row.change(None if before is None else key_values.row(item, before))

    def changes(self) -> list[str]:
        """Return the registers that changed and are not among the key values, as texts."""
        if self.snapshot is None or self.before is None:
            return []
        others = {register_id for item in key_values.ITEMS for register_id in item.ids}
        return [
            f"{change.register.id} {_without_unit(change)} → {change.new or 'none'}"
            for change in key_values.changes(self.before, self.snapshot, others)
        ]

    def history(self, zone: tzinfo) -> list[str]:
        """Return the last switch-off and the last error, with local times."""
        error = key_values.last_error(self.values, zone) or "none"
        return [
            f"last switch-off: {key_values.last_switch_off(self.values, zone)}",
            f"last error: {error}",
        ]

    def status(self, now: float) -> str:
        """Return how old the values are, why, and when the next poll comes."""
        left_s = self.next_at - now
        if not self.polls and not self.failures:
            return "reading for the first time"
        following = f"next poll in {left_s:.0f} s" if left_s > 0 else "reading"
        age = "no values yet"
        if self.snapshot is not None:
            age = f"values {times.span(now - self.read_at)} old"
        if self.failure is None:
            return f"{age}; {following}"
        count = "" if self.failed == 1 else f", {self.failed} times"
        return f"{age}: {describe_failure(self.failure)}{count}; {following}"

    def lines(self, zone: tzinfo) -> Iterator[str]:
        """Yield lines for a person, with tabs between name, value and change."""
        assert self.snapshot is not None
        local = times.local_time(self.snapshot.taken_ms, zone)
        yield f"{local:%Y-%m-%d %H:%M:%S}\t{key_values.state(self.values)}"
        for row, change in self.rows(key_values.ITEMS):
            yield "\t".join((row.label, row.text, change)).rstrip("\t")
        for line in self.history(zone):
            yield line.replace(": ", "\t", 1)
        for text in self.changes()[:_MOST_CHANGES]:
            yield f"changed\t{text}"

    def to_json(self) -> dict[str, object]:
        """Return what ``--json`` prints."""
        if self.failure:
            return {"ok": False, "error": self.failure.to_json()}
        assert self.snapshot is not None
        values = self.values
        changes = key_values.changes(self.before, self.snapshot) if self.before else []
        return {
            "ok": True,
            "taken": times.utc_text(self.snapshot.taken_ms),
            "taken_ms": self.snapshot.taken_ms,
            "state": key_values.state(values),
            "values": {row.id: row.value for row, _ in self.rows(key_values.ITEMS)},
            "last_switch_off": key_values.last_switch_off(values, UTC) or None,
            "last_error": key_values.last_error(values, UTC) or None,
            "changed": [
                {"id": change.register.id, "old": change.old, "new": change.new}
                for change in changes
            ],
        }


def describe_failure(failure: LuxcliError) -> str:
    """Return why a poll failed, for somebody who knows heat pumps rather than networks."""
    if isinstance(failure, LockHeldError):
        return "another luxcli is reading the heat pump"
    if isinstance(failure, DeviceError) and failure.reason in _WORDS:
        return _WORDS[failure.reason]
    return str(failure)


def _without_unit(change: Change) -> str:
    """Return the old value without the unit, which the new one has."""
    unit = change.register.unit
    return change.old.removesuffix(f" {unit}") if unit else change.old or "none"
