"""Tells others how a job went, when they are to hear of it. Nothing here changes the job's result.

A poll runs a million times a year: that polls go well is told every `monitoring.ping_every`, a
failure at once and then hourly, its end at once; failures that come and go, once an hour (`told`).
Where it cannot be kept what was told, as on a full disk, polls tell in the first minute of an hour.
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
from luxcli.monitoring.policy import State, States
from luxcli.recording import state
from luxcli.store.store import Store
from luxcli.system import threads

if TYPE_CHECKING:
    from luxcli.monitoring.channels import Event, Message, Outcome

_LOGGER = logging.getLogger(__name__)
# What telling everybody may take in all, after a job and after one that was told to stop.
TOTAL_S: Final = 10.0
_STOPPING_S: Final = 3.0
# Left for what is done after that.
_AFTERWARDS_S: Final = 0.7
_STALE_AFTER_S: Final = 1800
_HOUR_MS: Final = 3_600_000
_MINUTE_S: Final = 60
_BUSY: Final = LockHeldError.exit_code
_INTERRUPTED: Final = 128


class Watch:
    """One run of a job that others are told about."""

    def __init__(self, config: Config, job: str, run: str, now_ms: int) -> None:
        self._config, self._job, self._began_ms = config, job, now_ms
        # Healthchecks wants a UUID; the log has its first eight digits.
        rest = os.urandom(12).hex()
        self._uuid = f"{run}-{rest[:4]}-4{rest[5:8]}-a{rest[9:12]}-{rest[12:]}"
        self._polls: _Polls | None = None
        self._starting: threading.Thread | None = None
        if job != "poll" and (
            config.monitoring_healthchecks_url or config.monitoring_healthchecks_url_file
        ):
            # Beside the job, which does not wait for a server. Of polls only the end is told.
            self._starting = threads.start(self._tell_start)

    def end(self, status: int, text: str, output: str, now_ms: int) -> None:
        """Tell who is to be told how the run ended; takes `TOTAL_S` at most and never fails.

        Args:
            status: Exit status of the run.
            text: What it said at the end, one line, "" for nothing.
            output: Its last lines.
            now_ms: The time.
        """
        total_s = _STOPPING_S if status > _INTERRUPTED else TOTAL_S
        deadline = time.monotonic() + total_s
        end = _End(status, _sendable(text), _sendable(output), now_ms, deadline)
        try:
            self._tell_end(end)
        except Interrupted:
            # The job is done, and its result stands.
            _LOGGER.info("monitoring: interrupted")
        except Exception as exc:  # whatever it is, it is not the job's
            # The text of an unknown one may hold an address.
            known = isinstance(exc, LuxcliError | OSError)
            _LOGGER.warning("monitoring: %s", exc if known else type(exc).__name__)

    def _tell_start(self) -> None:
        from luxcli.monitoring import channels

        message = self._message(self._job, "start", notice=False)
        # What fails now and still fails at the end is said then.
        _log(channels.send(self._config, message, within_s=TOTAL_S / 2), logging.INFO)

    def _tell_end(self, end: "_End") -> None:
        path = state_path(self._config)
        known = policy.read(path)
        if self._plan(known, end) == ([], known):
            return  # as after nearly every poll: nothing is locked or written
        kept = True
        try:
            with policy.changing(path):
                before = policy.read(path)
                messages, after = self._plan(before, end)
                policy.write(path, after)
        except (OSError, LuxcliError) as exc:
            _LOGGER.info("monitoring: what is told cannot be kept: %s", exc)
            kept = False
            # By when it began: a run of several polls may end in any second of its minute.
            first_ms = max(self._config.interval_sec, _MINUTE_S) * 1000
            if self._job == "poll" and self._began_ms % _HOUR_MS >= first_ms:
                return
            before = {}
            messages, after = self._plan(before, end)
        if not messages:
            return
        from luxcli.monitoring import channels

        if self._starting:
            self._starting.join((end.deadline - time.monotonic()) / 2)
        within_s = end.deadline - time.monotonic() - _AFTERWARDS_S
        outcomes = channels.send(self._config, *messages, within_s=within_s)
        _log(outcomes)
        changes = _changes(before, after, outcomes, end.now_ms)
        if changes and kept:
            with policy.changing(path):
                policy.write(path, {**policy.read(path), **changes})

    def _plan(self, states: States, end: "_End") -> "tuple[list[Message], States]":
        """Return what to tell, and what others know then."""
        before = states.get(self._job, State())
        after = dict(states)
        poll = self._job == "poll"
        # A poll that found the heat pump busy is made up for by the next one.
        skipped = poll and end.status == _BUSY
        messages = []
        if not skipped:
            report = self._after_success if end.status == 0 else self._after_failure
            message, after[self._job] = report(before, end)
            if message:
                messages.append(message)
        if (skipped or not poll) and "poll" in self._config.monitoring_jobs:
            known = states.get("poll", State())
            polls = self._look_at_polls(end.now_ms)
            if polls.stale and (not known.stale or policy.is_due(known, end.now_ms)):
                after["poll"] = policy.found_stale(known, end.now_ms)
                messages.append(self._message("poll", "stale", end, polls.text))
        return messages, after

    def _after_success(self, before: State, end: "_End") -> "tuple[Message | None, State]":
        every_s = self._config.monitoring_ping_every if self._job == "poll" else 0
        event, after = policy.after_success(before, end.now_ms, every_s)
        if event is None:
            return None, after
        text = end.text or "OK"
        if before.since_ms is not None:
            lasted = times.span((end.now_ms - before.since_ms) / 1000)
            text = f"{self._job} works again after {lasted}"
        notice = event == "recovered" and before.told
        return self._message(self._job, event, end, text, notice=notice), after

    def _after_failure(self, before: State, end: "_End") -> "tuple[Message | None, State]":
        poll = self._job == "poll"
        # The first failure is told as such, however long ago the last poll was.
        stale = poll and before.since_ms is not None and self._look_at_polls(end.now_ms).stale
        event, notice, after = policy.after_failure(before, end.now_ms, stale=stale)
        if poll and not notice:
            return None, after
        text = f"{self._job} failed with status {end.status}"
        text += f": {end.text}" if end.text else ""
        if event == "stale":
            text = f"{self._look_at_polls(end.now_ms).text}; {text}"
        return self._message(self._job, event, end, text, notice=notice), after

    def _message(
        self,
        job: str,
        event: "Event",
        end: "_End | None" = None,
        text: str = "",
        *,
        notice: bool = True,
    ) -> "Message":
        from luxcli.monitoring import channels

        own = job == self._job
        return channels.Message(
            job=job,
            event=event,
            status=end.status if end else 0,
            text=text,
            output=end.output if end and own else "",
            run=self._uuid if own else "",
            took_ms=max(0, end.now_ms - self._began_ms) if end and own else None,
            notice=notice,
        )

    def _look_at_polls(self, now_ms: int) -> "_Polls":
        if self._polls is None:
            self._polls = _polls(self._config, now_ms)
        return self._polls


class _End(NamedTuple):
    status: int
    text: str
    output: str
    now_ms: int
    deadline: float


class _Polls(NamedTuple):
    """Whether the last good poll is too old, and how that is said."""

    stale: bool
    text: str


def _polls(config: Config, now_ms: int) -> _Polls:
    try:
        last_ms = state.last_poll_ms(Store(config.cache_path), now_ms)
    except LuxcliError:
        last_ms = None  # the job itself fails then
    if last_ms is None:
        return _Polls(False, "")
    age_s = (now_ms - last_ms) / 1000
    usual_s = max(_STALE_AFTER_S, state.default_max_age_s(config.interval_sec))
    stale = age_s > (config.monitoring_stale_after or usual_s)
    return _Polls(stale, f"no good poll for {times.span(age_s)}")


def state_path(config: Config) -> Path:
    """Return the file that holds what was told."""
    return config.cache_path.with_name(config.cache_path.name + ".monitoring.json")


def _sendable(text: str) -> str:
    """Return a text without what cannot be sent: a path may hold bytes that are no text."""
    return text.encode(errors="backslashreplace").decode()


def _changes(
    before: States, after: States, outcomes: "Sequence[Outcome]", now_ms: int
) -> dict[str, State]:
    """Return what others really know of the jobs of which the messages were, where it differs.

    What counts is whether news reached somebody; without anybody who gets news, whether pings did.
    """
    changes: dict[str, State] = {}
    for message in {id(o.message): o.message for o in outcomes}.values():
        event, job = message.event, message.job
        if event not in {"failed", "stale", "recovered"}:
            continue
        own = [o for o in outcomes if o.message is message]
        news = [o for o in own if o.jobs == "all"]
        heard = any(o.problem is None for o in news or own)
        if not heard and (message.notice or event == "recovered"):
            changes[job] = policy.not_heard(event, before.get(job, State()), after[job], now_ms)
        elif news and event != "recovered" and not after[job].told:
            changes[job] = replace(after[job], told=True)
    return changes


def _log(outcomes: "Sequence[Outcome]", level: int = logging.WARNING) -> None:
    problems = [str(outcome) for outcome in outcomes if outcome.problem]
    if problems:
        _LOGGER.log(level, "monitoring: %s", "; ".join(problems))
