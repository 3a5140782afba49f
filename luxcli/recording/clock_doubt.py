"""Doubts the time of a poll when this computer's clock cannot be right.

A Raspberry Pi has no clock of its own: it starts in 1970, with the time of its last shutdown, or
with whatever a network told it. Polls of such a time are stored like others and marked
(`model.CLOCK_DOUBTED`), so that no report takes them for what they are not.
"""

from typing import Final

from luxcli import times
from luxcli.model import CLOCK_DOUBTED, Snapshot
from luxcli.registers.numbers import CLOCK

# 2026-11-24: no poll can be older than the program that made it. `docs/release.md` moves it.
RELEASED_MS: Final = 1_795_478_400_000
_DAY_MS: Final = 86_400_000


def doubt(
    taken_ms: int, last: Snapshot | None, interval_s: int, *, controller_ms: int | None = None
) -> str | None:
    """Return why the time of a poll or missed poll is doubted, None if it is not.

    A pause of any length is no reason: a computer may be off for months.

    Args:
        taken_ms: The time by this computer's clock, ms UTC.
        last: The newest poll whose time is not doubted, None when there is none.
        interval_s: Distance of scheduled polls.
        controller_ms: The heat pump's clock at that time, None when it was not read.
    """
    here = times.utc_text(taken_ms)
    if taken_ms < RELEASED_MS:
        return f"{here} is before this luxcli was released"
    if last is None or last.flags & CLOCK_DOUBTED:
        return None
    agreed = _agree(last.taken_ms, clock_ms(last))
    if taken_ms < last.taken_ms - interval_s * 1000:
        if not agreed and _agree(taken_ms, controller_ms):
            return None  # it was the last one that was wrong
        return f"{here} is before the last poll, {times.utc_text(last.taken_ms)}"
    if agreed and controller_ms is not None and taken_ms - controller_ms > _DAY_MS:
        return f"{here} is far ahead of the heat pump's clock, {times.utc_text(controller_ms)}"
    return None


def clock_ms(poll: Snapshot) -> int | None:
    """Return the heat pump's clock in a poll, ms UTC, None where it was not sent or never set."""
    seconds = poll.calculations[CLOCK] if len(poll.calculations) > CLOCK else 0
    return seconds * 1000 if seconds > 0 else None


def _agree(taken_ms: int, controller_ms: int | None) -> bool:
    return controller_ms is not None and abs(taken_ms - controller_ms) <= _DAY_MS
