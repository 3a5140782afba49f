"""What a rebuild of the database recovered: in all, and from each file."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Source:
    """What was recovered from one file.

    Attributes:
        path: The file.
        polls: Polls that were new to the database.
        missed: Missed polls that were new to it.
        problem: Why the file could not be read whole, with its path; None when it could.
    """

    path: Path
    polls: int
    missed: int
    problem: str | None = None

    def to_json(self) -> dict[str, object]:
        """Return what ``--json`` prints about the file."""
        return {
            "path": str(self.path),
            "polls": self.polls,
            "missed": self.missed,
            "problem": self.problem,
        }


class Restored(NamedTuple):
    """What was recovered from all files."""

    sources: tuple[Source, ...]

    @property
    def problems(self) -> list[str]:
        """What is wrong with the files that could not be read whole."""
        return [source.problem for source in self.sources if source.problem]

    @property
    def polls(self) -> int:
        """Polls that were new to the database."""
        return sum(source.polls for source in self.sources)

    @property
    def missed(self) -> int:
        """Missed polls that were new to the database."""
        return sum(source.missed for source in self.sources)

    def to_json(self) -> dict[str, object]:
        """Return what ``--json`` prints."""
        return {
            "ok": not self.problems,
            "polls": self.polls,
            "missed": self.missed,
            "sources": [source.to_json() for source in self.sources],
        }

    def lines(self) -> list[str]:
        """Return what a person reads, without the problems."""
        if not self.sources:
            return ["nothing to restore: there is neither an archive nor a quarantined file"]
        return [self.describe()]

    def describe(self) -> str:
        """Return how much was recovered, as text."""
        polls, missed = _counted(self.polls, "poll"), _counted(self.missed, "missed poll")
        return f"{polls} and {missed} put back from {_counted(len(self.sources), 'file')}"


def _counted(count: int, one: str) -> str:
    return f"{count} {one}" if count == 1 else f"{count} {one}s"
