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
    stored = store.database.polls(start_ms, stop_ms, damaged=damaged)
    only_archived: set[int] = set()
    only_stored: set[int] = set()
    differing: set[int] = set()
    count = 0
    repairs = Repairs(store.database.repairs())
    archived = (poll for poll in day.polls if repairs.of(poll) is None)
    theirs = next(archived, None)
    for poll in stored:
        count += 1
        while theirs is not None and theirs.taken_ms < poll.taken_ms:
            only_archived.add(theirs.taken_ms)
            theirs = next(archived, None)
        if theirs is None or theirs.taken_ms > poll.taken_ms:
            only_stored.add(poll.taken_ms)
            continue
        if theirs != poll:
            differing.add(poll.taken_ms)
        theirs = next(archived, None)
    while theirs is not None:
        only_archived.add(theirs.taken_ms)
        theirs = next(archived, None)
    missed = store.database.missed(start_ms, stop_ms)
    return Comparison(
        frozenset(only_archived),
        frozenset(only_stored),
        frozenset(differing),
        frozenset(damaged),
        missed=len(set(missed) - set(day.missed)),
        entries=count + len(damaged) + len(missed),
    )
