"""Compares the polls of an archive with those of the database, value by value."""

from dataclasses import dataclass

from luxcli.maintenance.document import Day
from luxcli.store.repairs import Repairs
from luxcli.store.store import Store


@dataclass(frozen=True, slots=True)
class Comparison:
    """In what an archive and the database's polls of its day differ.

    Attributes:
        only_archived: Times of polls that the database does not hold, or not whole.
        only_stored: Times of polls that the archive does not hold.
        differing: Times of polls that are whole in both, but not equal.
        damaged: Times of polls that differ from their checksum in the database.
        missed: Number of missed polls that the archive does not hold.
        entries: Polls, damaged ones included, and missed polls of the database.
    """

    only_archived: frozenset[int]
    only_stored: frozenset[int]
    differing: frozenset[int]
    damaged: frozenset[int]
    missed: int
    entries: int

    @property
    def is_archived(self) -> bool:
        """Whether the archive holds all that is whole in the database."""
        return not (self.only_stored or self.differing or self.missed)

    @property
    def restorable(self) -> frozenset[int]:
        """Times of polls that are damaged in the database and whole in the archive."""
        return self.damaged & self.only_archived


def compare(day: Day, store: Store, start_ms: int, stop_ms: int) -> Comparison:
    """Compare an archive with what the database holds of ``start_ms <= time < stop_ms``.

    Polls of the archive whose wrong time was repaired since are left out.

    Raises:
        StorageError: The database cannot be read.
    """
    damaged: list[int] = []
    polls = store.database.polls(start_ms, stop_ms, damaged=damaged)
    # Those of the database are in memory: how many an archive holds is not known.
    only_stored = {poll.taken_ms: poll for poll in polls}
    count = len(only_stored)
    only_archived: set[int] = set()
    differing: set[int] = set()
    repairs = Repairs(store.database.repairs())
    for poll in day.polls:
        if repairs.of(poll):
            continue
        ours = only_stored.pop(poll.taken_ms, None)
        if ours is None:
            only_archived.add(poll.taken_ms)
        elif ours != poll:
            differing.add(poll.taken_ms)
    missed = store.database.missed(start_ms, stop_ms)
    return Comparison(
        frozenset(only_archived),
        frozenset(only_stored),
        frozenset(differing),
        frozenset(damaged),
        missed=len(set(missed) - set(day.missed)),
        entries=count + len(damaged) + len(missed),
    )
