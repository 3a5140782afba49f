"""Sends messages to Healthchecks, Uptime Kuma, ntfy and a command, within a time limit.

Each message to a channel is a delivery with a thread of its own, and all share one deadline: no
name server, web server or command delays the caller longer. Addresses and tokens are secrets, so
results and log lines name only the host.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from luxcli.config import settings
from luxcli.config.config import Config
from luxcli.monitoring import web
from luxcli.monitoring.messages import PING_CHANNELS, Message, Outcome, RefusedError
from luxcli.system import files, threads

_KILL_BEFORE_S: Final = 0.5
_SHORTEST_S: Final = 0.05
# A file with a secret may be a pipe, such as one of a password manager.
_PIPE_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class _Delivery:
    """One message to one channel; `send` gets the deadline on the monotonic clock."""

    channel: str
    where: str
    message: Message
    send: Callable[[float], None]

    def outcome(self, began: float, problem: str | None) -> Outcome:
        took_s = time.monotonic() - began
        return Outcome(self.channel, self.where, self.message, problem, took_s)


def send(config: Config, *messages: Message, within_s: float) -> list[Outcome]:
    """Send messages to every channel that is configured for them, at the same time.

    Returns:
        The result of each delivery, after `within_s` seconds at most.
    """
    began = time.monotonic()
    deadline = began + within_s
    commands: list[subprocess.Popen[bytes]] = []
    deliveries = [d for message in messages for d in _deliveries(config, message, commands)]
    outcomes: dict[int, Outcome] = {}

    def deliver(number: int, delivery: _Delivery) -> None:
        problem = None
        try:
            delivery.send(deadline)
        except RefusedError as exc:
            problem = str(exc)
        except Exception as exc:  # its text may hold the address
            problem = type(exc).__name__
        outcomes[number] = delivery.outcome(began, problem)

    try:
        # Daemon threads: a pool of `concurrent.futures` would be waited for when the process ends.
        workers = [threads.start(partial(deliver, *entry)) for entry in enumerate(deliveries)]
        for worker in workers:
            worker.join(_remaining_s(deadline))
    finally:
        for command in commands:
            _kill(command)
    late = f"no answer within {within_s:.1f} s"
    return [
        outcomes.get(number) or delivery.outcome(began, late)
        for number, delivery in enumerate(deliveries)
    ]


def _remaining_s(deadline: float) -> float:
    return max(_SHORTEST_S, deadline - time.monotonic())


def _deliveries(
    config: Config, message: Message, commands: "list[subprocess.Popen[bytes]]"
) -> Iterator[_Delivery]:
    """Yield the deliveries of a message; processes that they start are added to `commands`."""
    for channel, request in zip(PING_CHANNELS, (web.healthchecks, web.uptime_kuma), strict=True):
        if channel == "uptime_kuma" and message.event == "start":
            continue
        try:
            addresses = dict(_secret(config, f"{channel}_url") or ())
        except RefusedError as exc:
            yield _Delivery(channel, "its file", message, partial(_refuse, exc))
            continue
        if message.job in addresses:
            yield _web_delivery(channel, message, addresses[message.job], request)
    is_wanted = message.event == "test" or message.event in config.monitoring_events
    if not message.to_all or not is_wanted:
        return
    try:
        topic, token = _secret(config, "ntfy_url"), _secret(config, "ntfy_token")
    except RefusedError as exc:
        yield _Delivery("ntfy", "its file", message, partial(_refuse, exc))
    else:
        if topic:
            yield _web_delivery("ntfy", message, topic, partial(web.ntfy, config, token))
    if config.monitoring_command:
        command = config.monitoring_command
        where = "shell" if command[:2] == ("/bin/sh", "-c") else Path(command[0]).name
        yield _Delivery("command", where, message, partial(_run, command, message, commands))


def _web_delivery(
    channel: str, message: Message, url: str, request: Callable[[str, Message], web.Request]
) -> _Delivery:
    def deliver(deadline: float) -> None:
        web.ask(request(url, message), _remaining_s(deadline))

    return _Delivery(channel, urlsplit(url).hostname or "", message, deliver)


def unusable_files(config: Config) -> list[str]:
    """Return the problems of the files that hold addresses and tokens, a line each."""
    found = []
    for name in ("healthchecks_url", "uptime_kuma_url", "ntfy_url", "ntfy_token"):
        try:
            _secret(config, name)
        except RefusedError as exc:
            found.append(str(exc))
    return found


def _refuse(problem: RefusedError, _deadline: float) -> None:
    raise problem


def _secret(config: Config, name: str) -> Any:
    """Return the value of a setting, or the checked content of the file that is set instead."""
    value = getattr(config, f"monitoring_{name}")
    path: Path | None = getattr(config, f"monitoring_{name}_file")
    if value or path is None:
        return value
    try:
        text = files.read_small(path, pipe_s=_PIPE_S)
        return settings.read_setting(f"monitoring.{name}", text.strip())
    except OSError as exc:
        raise RefusedError(f"{path}: cannot be read: {exc.strerror}") from None
    except ValueError as exc:  # also UnicodeDecodeError, whose text has the bytes
        reason = "is not text" if isinstance(exc, UnicodeError) else exc
        raise RefusedError(f"{path}: {reason}") from None


def _run(
    command: tuple[str, ...],
    message: Message,
    commands: "list[subprocess.Popen[bytes]]",
    deadline: float,
) -> None:
    """Run the command until shortly before the deadline, then kill it."""
    environment = {
        **os.environ,
        "LUXCLI_JOB": message.job,
        "LUXCLI_EVENT": message.event,
        "LUXCLI_STATUS": str(message.status),
        "LUXCLI_MESSAGE": message.text,
    }
    try:
        # A new session, so that the processes it starts can be killed with it.
        with threads.signals_unblocked():
            process = subprocess.Popen(  # noqa: S603  the owner configured it
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,
            )
    except OSError as exc:
        raise RefusedError(f"cannot be started: {exc.strerror}") from None
    commands.append(process)
    limit_s = max(_SHORTEST_S, _remaining_s(deadline) - _KILL_BEFORE_S)
    try:
        status = process.wait(limit_s)
    except subprocess.TimeoutExpired:
        _kill(process)
        raise RefusedError(f"killed after {limit_s:.1f} s") from None
    if status:
        raise RefusedError(f"ended with status {status}")


def _kill(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        process.wait()
