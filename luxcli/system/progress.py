"""How a long job reports how far it is."""

from typing import Protocol


class Progress(Protocol):
    """Receives the progress of a job, such as a progress bar."""

    def __call__(self, done: float, total: float, text: str | None = None) -> None:
        """Receive that `done` of `total` is finished, in a unit that the job chooses.

        `text` says what the job is doing; None means as before.
        """


def silent(done: float, total: float, text: str | None = None) -> None:
    """Show nothing, for callers that do not want to know."""
