"""A message about a run, and the result of sending it to one channel."""

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

Event = Literal["start", "success", "failed", "recovered", "stale", "test"]
# Dead man's switches: they have an address for each job, other channels one for all jobs.
PING_CHANNELS: Final = ("healthchecks", "uptime_kuma")


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message about a run of a job.

    Attributes:
        job: poll, rollup or prune.
        event: What happened; other jobs report "stale" polls as well.
        status: Exit status of the run that reports it.
        text: One line.
        output: The last lines of the run.
        run: UUID that the start and the end of a run have in common.
        took_ms: Duration of the run.
        to_all: Whether ntfy and the command get it too, or the dead man's switches alone.
    """

    job: str
    event: Event
    status: int = 0
    text: str = ""
    output: str = ""
    run: str = ""
    took_ms: int | None = None
    to_all: bool = True


class Outcome(NamedTuple):
    """The result of one delivery.

    Attributes:
        channel: healthchecks, uptime_kuma, ntfy or command.
        where: The host, or the program.
        message: What was sent.
        problem: Why it was not accepted, None if it was.
        took_s: Duration.
    """

    channel: str
    where: str
    message: Message
    problem: str | None
    took_s: float

    @property
    def is_ping(self) -> bool:
        """Whether the channel is a dead man's switch, which has an address for each job."""
        return self.channel in PING_CHANNELS

    def __str__(self) -> str:
        """Return the result as a text for people."""
        return f"{self.channel} ({self.where}): {self.problem or 'accepted'}"


class RefusedError(Exception):
    """A channel did not accept a message; the text holds no secret."""
