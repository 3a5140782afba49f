"""Reports the end of a job to the configured channels; never changes the job's exit status.

A poll runs a million times a year, so a success is reported only every `monitoring.ping_every`, and
a failure by the rules of `policy`. Where the notification state cannot be written, as on a full
disk, only polls that begin in the first minute of an hour report anything.
"""

import logging
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from luxcli import times
from luxcli.config.config import Config
from luxcli.errors import Interrupted, LockHeldError, LuxcliError
from luxcli.monitoring import policy
from luxcli.monitoring.policy import Decision, State, States
from luxcli.recording import state
from luxcli.store.store import Store
from luxcli.system import threads

if TYPE_CHECKING:
    from luxcli.monitoring.messages import Event, Message, Outcome

_LOGGER = logging.getLogger(__name__)
# What all channels together may take after a job, and after a job that was interrupted.
TOTAL_S: Final = 10.0
_INTERRUPTED_TOTAL_S: Final = 3.0
# Part of it that is left for writing the state and the log.
_AFTERWARDS_S: Final = 0.7
_STALE_AFTER_S: Final = 1800
_HOUR_MS: Final = 3_600_000
_MINUTE_S: Final = 60
_BUSY: Final = LockHeldError.exit_code
_INTERRUPTED: Final = 128


class RunReport:
    """One run of a job, reported when it ends; of roll-ups and prune also the start is reported."""

    def __init__(self, config: Config, job: str, run: str, now_ms: int) -> None:
        self._config, self._job, self._began_ms = config, job, now_ms
        # Healthchecks wants a UUID; the log has its first eight digits.
        rest = os.urandom(12).hex()
        self._uuid = f"{run}-{rest[:4]}-4{rest[5:8]}-a{rest[9:12]}-{rest[12:]}"
        self._last_poll: _LastPoll | None = None
        self._starting: threading.Thread | None = None
        if job != "poll" and (
            config.monitoring_healthchecks_url or config.monitoring_healthchecks_url_file
        ):
            # In a thread, because the job must not wait for a server.
            self._starting = threads.start(self._report_start)

    def end(self, status: int, text: str, output: str, now_ms: int) -> None:
        """Send the notifications that are due; takes `TOTAL_S` at most and raises nothing.

        Args:
            status: Exit status of the run.
            text: The last line of the run, "" for none.
            output: The last lines of the run.
            now_ms: The time.
        """
        total_s = _INTERRUPTED_TOTAL_S if status > _INTERRUPTED else TOTAL_S
        deadline = time.monotonic() + total_s
        try:
            self._report_end(_End(status, _encodable(text), _encodable(output), now_ms, deadline))
        except Interrupted:
            # The job is done, and its result stands.
            _LOGGER.info("monitoring: interrupted")
        except Exception as exc:  # a notification that fails is no failure of the job
            # The text of an unknown exception may hold an address.
            is_known = isinstance(exc, LuxcliError | OSError)
            _LOGGER.warning("monitoring: %s", exc if is_known else type(exc).__name__)

    def _report_start(self) -> None:
        from luxcli.monitoring import channels

        message = self._message(self._job, "start", to_all=False)
        # A channel that still fails at the end of the job is a warning then.
        _log(channels.send(self._config, message, within_s=TOTAL_S / 2), logging.INFO)

    def _report_end(self, end: "_End") -> None:
        path = state_path(self._config)
        states = policy.read(path)
        if self._plan(states, end) == ([], states):
            return  # as after nearly every poll: nothing is locked or written
        is_kept = True
        try:
            with policy.changing(path):
                before = policy.read(path)
                messages, after = self._plan(before, end)
                policy.write(path, after)
        except (OSError, LuxcliError) as exc:
            _LOGGER.info("monitoring: the notification state cannot be written: %s", exc)
            # The beginning counts: a run of several polls may end in any second of its minute.
            first_ms = max(self._config.interval_sec, _MINUTE_S) * 1000
            if self._job == "poll" and self._began_ms % _HOUR_MS >= first_ms:
                return
            is_kept, before = False, {}
            messages, after = self._plan(before, end)
        if not messages:
            return
        from luxcli.monitoring import channels

        if self._starting:
            self._starting.join((end.deadline - time.monotonic()) / 2)
        within_s = end.deadline - time.monotonic() - _AFTERWARDS_S
        outcomes = channels.send(self._config, *messages, within_s=within_s)
        _log(outcomes)
        changes = _changes(before, after, messages, outcomes, end.now_ms)
        if changes and is_kept:
            with policy.changing(path):
                policy.write(path, {**policy.read(path), **changes})

    def _plan(self, states: States, end: "_End") -> "tuple[list[Message], States]":
        """Return the messages to send, and the state of each job once they are accepted."""
        messages, after = [], dict(states)
        is_poll = self._job == "poll"
        # The next poll makes up for one that found the controller busy.
        is_skipped = is_poll and end.status == _BUSY
        if not is_skipped:
            before = states.get(self._job, State())
            decision = self._decide(before, end)
            after[self._job] = decision.after
            # Each failure of a roll-up is pinged, of polls only those that go to all.
            if decision.event and (decision.to_all or end.status == 0 or not is_poll):
                text = self._text(decision.event, before, end)
                messages.append(
                    self._message(self._job, decision.event, end, text, to_all=decision.to_all)
                )
        if (is_skipped or not is_poll) and "poll" in self._config.monitoring_jobs:
            last_poll = self._look_at_last_poll(end.now_ms)
            decision = policy.after_failure(states.get("poll", State()), end.now_ms, "stale")
            if last_poll.is_stale and decision.to_all:
                after["poll"] = decision.after
                messages.append(self._message("poll", "stale", end, last_poll.text))
        return messages, after

    def _decide(self, before: State, end: "_End") -> Decision:
        is_poll = self._job == "poll"
        if end.status == 0:
            every_s = self._config.monitoring_ping_every if is_poll else 0
            return policy.after_success(before, end.now_ms, every_s)
        # The first failure is reported as such, however old the last good poll is.
        is_repeated = is_poll and before.failing_since_ms is not None
        is_stale = is_repeated and self._look_at_last_poll(end.now_ms).is_stale
        return policy.after_failure(before, end.now_ms, "stale" if is_stale else "failed")

    def _text(self, event: "Event", before: State, end: "_End") -> str:
        if end.status == 0:
            if before.failing_since_ms is None:
                return end.text or "OK"
            lasted = times.span((end.now_ms - before.failing_since_ms) / 1000)
            return f"{self._job} works again after {lasted}"
        text = f"{self._job} failed with status {end.status}"
        text += f": {end.text}" if end.text else ""
        if event == "stale":
            text = f"{self._look_at_last_poll(end.now_ms).text}; {text}"
        return text

    def _message(
        self,
        job: str,
        event: "Event",
        end: "_End | None" = None,
        text: str = "",
        *,
        to_all: bool = True,
    ) -> "Message":
        from luxcli.monitoring.messages import Message

        is_this_job = job == self._job
        return Message(
            job=job,
            event=event,
            status=end.status if end else 0,
            text=text,
            output=end.output if end and is_this_job else "",
            run=self._uuid if is_this_job else "",
            took_ms=max(0, end.now_ms - self._began_ms) if end and is_this_job else None,
            to_all=to_all,
        )

    def _look_at_last_poll(self, now_ms: int) -> "_LastPoll":
        if self._last_poll is None:
            self._last_poll = _last_poll(self._config, now_ms)
        return self._last_poll


class _End(NamedTuple):
    status: int
    text: str
    output: str
    now_ms: int
    deadline: float


class _LastPoll(NamedTuple):
    """Whether the last good poll is too old, and its age as a text."""

    is_stale: bool
    text: str


def _last_poll(config: Config, now_ms: int) -> _LastPoll:
    try:
        last_ms = state.last_poll_ms(Store(config.cache_path), now_ms)
    except LuxcliError:
        last_ms = None  # the job itself fails then
    if last_ms is None:
        return _LastPoll(False, "")
    age_s = (now_ms - last_ms) / 1000
    default_s = max(_STALE_AFTER_S, state.default_max_age_s(config.interval_sec))
    is_stale = age_s > (config.monitoring_stale_after or default_s)
    return _LastPoll(is_stale, f"no good poll for {times.span(age_s)}")


def state_path(config: Config) -> Path:
    """Return the file that holds the notification state."""
    return config.cache_path.with_name(config.cache_path.name + ".monitoring.json")


def _encodable(text: str) -> str:
    """Replace what UTF-8 cannot encode: a path may hold bytes that are not text."""
    return text.encode(errors="backslashreplace").decode()


def _changes(
    before: States,
    after: States,
    messages: "Sequence[Message]",
    outcomes: "Sequence[Outcome]",
    now_ms: int,
) -> dict[str, State]:
    """Return the states that the outcomes make different from `after`, by job.

    A notification is accepted when ntfy or the command accepted it; without these channels, when a
    ping was accepted.
    """
    changes: dict[str, State] = {}
    for message in messages:
        event, job = message.event, message.job
        results = [outcome for outcome in outcomes if outcome.message is message]
        if event not in {"failed", "stale", "recovered"} or not results:
            continue
        others = [outcome for outcome in results if not outcome.is_ping]
        is_accepted = any(outcome.problem is None for outcome in others or results)
        if not is_accepted and (message.to_all or event == "recovered"):
            job_before = before.get(job, State())
            changes[job] = policy.not_accepted(event, job_before, after[job], now_ms)
        elif others and event != "recovered" and not after[job].is_delivered:
            changes[job] = replace(after[job], is_delivered=True)
    return changes


def _log(outcomes: "Sequence[Outcome]", level: int = logging.WARNING) -> None:
    problems = [str(outcome) for outcome in outcomes if outcome.problem]
    if problems:
        _LOGGER.log(level, "monitoring: %s", "; ".join(problems))
