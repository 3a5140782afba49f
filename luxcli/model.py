"""Values that all rooms exchange: polls, missed polls, chunks of polls and findings.

They are named tuples, as is everything that a poll needs: loading `dataclasses` would make a poll
a seventh slower.
"""

from typing import Any, Final, Literal, NamedTuple

Group = Literal["calculations", "parameters", "visibilities"]

# In the order of the catalogue; the database knows a group by its position here.
GROUPS: Final[tuple[Group, ...]] = ("calculations", "parameters", "visibilities")


# What is dated outside of the years 2000 to 2100, and not marked, is damage: no clock showed it.
EARLIEST_MS: Final = 946_684_800_000
LATEST_MS: Final = 4_102_444_800_000

# Marks of a poll, the bits of `flags`. Its time is doubted: see `recording.clock_doubt`.
CLOCK_DOUBTED: Final = 1
# A block has another length than in the poll before; it looks wrong, but not enough to refuse it.
LENGTH_CHANGED: Final = 2
SUSPICIOUS: Final = 4
# No scheduled poll: made by hand.
EXTRA: Final = 8
# As views, commands and documents name them.
MARKS: Final = {
    CLOCK_DOUBTED: "clock-doubted",
    LENGTH_CHANGED: "length-changed",
    SUSPICIOUS: "suspicious",
    EXTRA: "extra",
}


class Snapshot(NamedTuple):
    """One complete poll: the three blocks exactly as the controller sent them.

    Attributes:
        taken_ms: Start of the exchange by this machine's clock, UTC milliseconds since the epoch.
        took_ms: Duration of the successful exchange, milliseconds.
        tries: Number of connections, 1 if the first one succeeded.
        calculations: Measured and computed values (answer to 3004), raw signed 32 bit integers.
        parameters: Settings and counters (answer to 3003), raw signed 32 bit integers.
        visibilities: Which menu entries the controller shows (answer to 3005), signed bytes.
        late_ms: How long after its scheduled time it was taken; 0 for an extra poll.
        interval_s: Distance of scheduled polls then; 0 for an extra poll.
        flags: Marks, the sum of `CLOCK_DOUBTED`, `LENGTH_CHANGED`, `SUSPICIOUS` and `EXTRA`.
    """

    taken_ms: int
    took_ms: int
    tries: int
    calculations: tuple[int, ...]
    parameters: tuple[int, ...]
    visibilities: tuple[int, ...]
    late_ms: int = 0
    interval_s: int = 0
    flags: int = EXTRA

    @property
    def scheduled_ms(self) -> int | None:
        """The scheduled time that this poll was made for, None for an extra poll."""
        return None if self.flags & EXTRA else self.taken_ms - self.late_ms

    def at(self, ts_ms: int) -> "Snapshot":
        """Return the poll under another time, for the same scheduled time."""
        late_ms = 0 if self.flags & EXTRA else self.late_ms + ts_ms - self.taken_ms
        return self._replace(taken_ms=ts_ms, late_ms=late_ms)

    @property
    def marks(self) -> list[str]:
        """The names of its marks."""
        return [name for mark, name in MARKS.items() if mark & self.flags]

    def block(self, group: Group) -> tuple[int, ...]:
        """Return the block of that name."""
        block: tuple[int, ...] = getattr(self, group)
        return block


class Timing(NamedTuple):
    """When a poll or missed poll was made, and for which scheduled time: as of `Snapshot`."""

    ts_ms: int
    late_ms: int
    interval_s: int
    flags: int

    @property
    def scheduled_ms(self) -> int | None:
        """The scheduled time that it was made for, None for an extra poll."""
        return None if self.flags & EXTRA else self.ts_ms - self.late_ms


# Reason of a scheduled poll whose time was over before an earlier poll had ended.
OVERRUN: Final = "overrun"


class MissedPoll(NamedTuple):
    """A missed poll: a scheduled poll that failed, and why.

    Attributes:
        ts_ms: Start of the attempt, UTC milliseconds since the epoch.
        reason: One word: timeout, refused, network, protocol, busy, rejected, interrupted, ...
        tries: Number of connections attempted; 0 if another process kept the heat pump.
        took_ms: Duration, milliseconds.
        detail: The error message.
        late_ms, interval_s, flags: As of a poll. A poll by hand that failed is an extra one.
    """

    ts_ms: int
    reason: str
    tries: int
    took_ms: int
    detail: str
    late_ms: int = 0
    interval_s: int = 0
    flags: int = EXTRA

    def at(self, ts_ms: int) -> "MissedPoll":
        """Return the missed poll under another time, for the same scheduled time."""
        late_ms = 0 if self.flags & EXTRA else self.late_ms + ts_ms - self.ts_ms
        return self._replace(ts_ms=ts_ms, late_ms=late_ms)

    @property
    def scheduled_ms(self) -> int | None:
        """The scheduled time that was missed, None for an extra poll."""
        return None if self.flags & EXTRA else self.ts_ms - self.late_ms


class Repair(NamedTuple):
    """The repair of a poll whose time was wrong; by `luxcli repair-times`.

    Attributes:
        sha256: Of the poll with its old time: `store.repairs.poll_sha256`.
        old_ms: The wrong time, under which it was stored.
        new_ms: The right one, None when the poll was removed.
        done_ms: When it was repaired.
    """

    sha256: str
    old_ms: int
    new_ms: int | None
    done_ms: int


# Columns of `Chunk.rows` before the registers.
CHUNK_HEAD: Final = 7


class Chunk(NamedTuple):
    """Consecutive polls, with the registers that have one value in all of them kept apart.

    A register is given by its position in the caller's list of registers.

    Attributes:
        varying: Positions of the registers whose values stand in `rows`.
        fixed: Raw value of each other register by position, None if it was not sent.
        rows: ``(ts_ms, took_ms, tries, late_ms, interval_s, flags, crc, *varying values)`` in order
            of time; the first seven are never None.
    """

    varying: tuple[int, ...]
    fixed: dict[int, int | None]
    rows: list[tuple[Any, ...]]


class Issue(NamedTuple):
    """What a check of one poll's structure objects to.

    Attributes:
        rule: Stable id of the rule.
        severity: "reject" keeps the poll from being stored, "problem" and "warning" do not.
        message: What was expected and what was found.
    """

    rule: str
    severity: Literal["reject", "problem", "warning"]
    message: str
