"""The values that modules pass to one another: frozen, without behaviour or dependencies.

Named tuples, as everywhere in the way of a poll: `dataclasses` takes as long to load as the poll
takes, which is paid every 30 seconds.
"""

from typing import Any, Final, Literal, NamedTuple

Group = Literal["calculations", "parameters", "visibilities"]

# The order is that of the catalogue and the number under which the cache knows a group.
GROUPS: Final[tuple[Group, ...]] = ("calculations", "parameters", "visibilities")


class Snapshot(NamedTuple):
    """One complete poll: the three blocks exactly as the controller sent them.

    Attributes:
        taken_ms: Start of the exchange, milliseconds since the epoch, UTC, host clock.
        took_ms: Duration of the successful exchange in milliseconds.
        tries: Connections it took, 1 when the first one succeeded.
        calculations: Measured and computed values (answer to 3004), raw signed 32 bit integers.
        parameters: Settings and counters (answer to 3003), raw signed 32 bit integers.
        visibilities: Which menu entries the controller shows (answer to 3005), signed bytes.
    """

    taken_ms: int
    took_ms: int
    tries: int
    calculations: tuple[int, ...]
    parameters: tuple[int, ...]
    visibilities: tuple[int, ...]

    def block(self, group: Group) -> tuple[int, ...]:
        """Return the block of that name."""
        block: tuple[int, ...] = getattr(self, group)
        return block


# The reason of ticks that are over before the poll of an earlier one.
OVERRUN: Final = "overrun"


class Missed(NamedTuple):
    """A tick of the schedule without a poll, and why.

    Attributes:
        ts_ms: When the attempt began, milliseconds since the epoch, UTC.
        reason: One word: timeout, refused, network, protocol, busy, rejected, interrupted, ...
        tries: Connections attempted; 0 when none was allowed.
        took_ms: Milliseconds spent.
        detail: The line the user read.
    """

    ts_ms: int
    reason: str
    tries: int
    took_ms: int
    detail: str


class Chunk(NamedTuple):
    """Consecutive polls in which the registers at `fixed` do not change.

    Attributes:
        varying: Positions, in the caller's list of registers, of the values that `rows` hold.
        fixed: Raw value (None = not there) by position, valid for every row.
        rows: ``(ts_ms, took_ms, tries, crc, *varying values)`` in time order; of these four none is
            None.
    """

    varying: tuple[int, ...]
    fixed: dict[int, int | None]
    rows: list[tuple[Any, ...]]


class Issue(NamedTuple):
    """One finding of a quality rule.

    Attributes:
        rule: Stable id of the rule.
        severity: "reject" speaks against storing, "problem" and "warning" only flag.
        message: What was expected and what was found.
    """

    rule: str
    severity: Literal["reject", "problem", "warning"]
    message: str
