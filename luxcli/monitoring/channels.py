"""Tells others how a job went: Healthchecks, Uptime Kuma, ntfy, a command. In bounded time.

All channels work at the same time, each in a thread that nobody waits for longer than the limit:
neither a name server nor a web server nor a command can hold up whoever tells them. What an address
or a token is, is said nowhere: of an address only the host's name.

Interfaces: healthchecks.io/docs/http_api, uptime-kuma server/routers/api-router.js,
docs.ntfy.sh/publish (as JSON).
"""

import base64
import http.client
import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit, urlunsplit

from luxcli import __version__
from luxcli.config import settings
from luxcli.config.config import Config
from luxcli.system import threads

Event = Literal["start", "success", "failed", "recovered", "stale", "test"]
# Those that have a place for each job.
PER_JOB: Final = frozenset({"healthchecks", "uptime_kuma"})
# Of self-hosted Healthchecks; what is at the end matters.
_BODY_BYTES: Final = 10_000
_NTFY_BYTES: Final = 4000
_TEXT_LENGTH: Final = 500
_KILL_BEFORE_S: Final = 0.5
_TAGS: Final[dict[str, str]] = {"recovered": "white_check_mark", "test": "test_tube"}
_QUIET_PRIORITY: Final = 3  # of what is good news


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What there is to tell.

    Attributes:
        job: poll, rollup or prune.
        event: What happened; "stale" is told of polls by whoever notices it.
        status: Exit status of the run that noticed it.
        text: One line.
        output: The last lines of the run.
        run: UUID that the start and the end of a run have in common.
        took_ms: How long the run took.
        ping: Whether it is for those who want to hear from each run (Healthchecks, Uptime Kuma).
        notice: Whether it is for those who are told of changes (ntfy, the command).
    """

    job: str
    event: Event
    status: int = 0
    text: str = ""
    output: str = ""
    run: str = ""
    took_ms: int | None = None
    ping: bool = True
    notice: bool = True


class Outcome(NamedTuple):
    """What became of one message on one channel; `where` is the host or what runs."""

    channel: str
    where: str
    message: Message
    problem: str | None
    took_s: float

    @property
    def jobs(self) -> str:
        """The job whose messages go there; "all" where there is one place for all."""
        return self.message.job if self.channel in PER_JOB else "all"

    def __str__(self) -> str:
        """Return this for people."""
        return f"{self.channel} ({self.where}): {self.problem or 'told'}"


class _RefusedError(Exception):
    """A channel did not take a message; the text may be shown."""


@dataclass(frozen=True, slots=True)
class _Task:
    channel: str
    where: str
    message: Message
    do: Callable[["_Sending"], None]


@dataclass
class _Sending:
    """What is under way until `deadline`, on the monotonic clock."""

    deadline: float
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    processes: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    def remaining_s(self) -> float:
        return max(0.05, self.deadline - time.monotonic())

    def perform(self, number: int, task: _Task) -> None:
        began = time.monotonic()
        problem = None
        try:
            task.do(self)
        except _RefusedError as exc:
            problem = str(exc)
        except Exception as exc:  # its text may hold the address
            problem = type(exc).__name__
        took_s = time.monotonic() - began
        self.outcomes[number] = Outcome(task.channel, task.where, task.message, problem, took_s)


def send(config: Config, *messages: Message, within_s: float) -> list[Outcome]:
    """Tell everybody who is configured and wants to hear of it; ends in time whatever they do.

    Returns:
        What became of each message on each channel.
    """
    began = time.monotonic()
    sending = _Sending(began + within_s)
    tasks = [task for message in messages for task in _tasks(config, message)]
    try:
        working = [threads.start(partial(sending.perform, *entry)) for entry in enumerate(tasks)]
        for thread in working:
            thread.join(sending.remaining_s())
    finally:
        for process in sending.processes:
            _kill(process)
    late = f"no answer within {within_s:.1f} s"
    return [
        sending.outcomes.get(number)
        or Outcome(task.channel, task.where, task.message, late, time.monotonic() - began)
        for number, task in enumerate(tasks)
    ]


def _tasks(config: Config, message: Message) -> Iterator[_Task]:
    if message.ping:
        for channel, request in (("healthchecks", _healthchecks), ("uptime_kuma", _uptime_kuma)):
            if channel == "uptime_kuma" and message.event == "start":
                continue
            try:
                addresses = dict(_secret(config, f"{channel}_url") or ())
            except _RefusedError as exc:
                yield _Task(channel, "its file", message, _refusing(exc))
                continue
            if message.job in addresses:
                yield _http_task(channel, message, addresses[message.job], request)
    wanted = message.event == "test" or message.event in config.monitoring_events
    if not message.notice or not wanted:
        return
    try:
        topic, token = _secret(config, "ntfy_url"), _secret(config, "ntfy_token")
    except _RefusedError as exc:
        yield _Task("ntfy", "its file", message, _refusing(exc))
    else:
        if topic:
            yield _http_task("ntfy", message, topic, lambda url, m: _ntfy(config, url, token, m))
    if config.monitoring_command:
        command = config.monitoring_command
        where = "shell" if command[:2] == ("/bin/sh", "-c") else Path(command[0]).name
        yield _Task("command", where, message, lambda s: _run(command, message, s))


def unusable_files(config: Config) -> list[str]:
    """Return what is wrong with the files that hold addresses and tokens, a line each."""
    found = []
    for name in ("healthchecks_url", "uptime_kuma_url", "ntfy_url", "ntfy_token"):
        try:
            _secret(config, name)
        except _RefusedError as exc:
            found.append(str(exc))
    return found


def _refusing(refusal: _RefusedError) -> Callable[[_Sending], None]:
    def do(_sending: _Sending) -> None:
        raise refusal

    return do


def _secret(config: Config, name: str) -> Any:
    """Return what is set, or stands in the file that is named instead, checked."""
    value = getattr(config, f"monitoring_{name}")
    path: Path | None = getattr(config, f"monitoring_{name}_file")
    if value or path is None:
        return value
    try:
        return settings.checked(f"monitoring.{name}", path.read_text(encoding="utf-8").strip())
    except OSError as exc:
        raise _RefusedError(f"{path}: cannot be read: {exc.strerror}") from None
    except ValueError as exc:  # UnicodeDecodeError as well, whose text has the bytes
        reason = "is not text" if isinstance(exc, UnicodeError) else exc
        raise _RefusedError(f"{path}: {reason}") from None


# Web addresses


class _Request(NamedTuple):
    """What to send; `faults` are beginnings of answers that are failures in spite of status 200."""

    url: str
    body: bytes | None
    headers: dict[str, str]
    faults: tuple[str, ...] = ()


def _http_task(
    channel: str, message: Message, url: str, request: Callable[[str, Message], _Request]
) -> _Task:
    where = urlsplit(url).hostname or ""
    return _Task(channel, where, message, lambda s: _ask(request(url, message), s.remaining_s()))


def _healthchecks(url: str, message: Message) -> _Request:
    """``/start``, ``/log`` for a test, otherwise the exit status, of which 0 is success."""
    if message.event in {"start", "test"}:
        end = "/start" if message.event == "start" else "/log"
    elif message.event == "stale":
        end = "/fail"
    else:
        end = f"/{message.status}" if message.status else ""
    parts = urlsplit(url)
    query = [
        *parse_qsl(parts.query, keep_blank_values=True),
        *([("rid", message.run)] if message.run else []),
    ]
    address = parts._replace(path=parts.path.rstrip("/") + end, query=urlencode(query))
    known = message.output.endswith(message.text)
    body = message.output if known else f"{message.output}\n{message.text}".lstrip()
    # Answers of an address that is unknown, and to somebody who pings too often.
    faults = ("OK (not found)", "OK (rate limited)")
    return _Request(urlunsplit(address), _tail(body, _BODY_BYTES), _PLAIN, faults)


def _uptime_kuma(url: str, message: Message) -> _Request:
    parts = urlsplit(url)
    # The address that Uptime Kuma shows has all three already.
    query = [
        pair
        for pair in parse_qsl(parts.query, keep_blank_values=True)
        if pair[0] not in {"status", "msg", "ping"}
    ]
    good = message.event in {"success", "recovered", "test"}
    query += [("status", "up" if good else "down"), ("msg", message.text[:_TEXT_LENGTH] or "OK")]
    if message.took_ms is not None:
        query.append(("ping", str(message.took_ms)))
    return _Request(urlunsplit(parts._replace(query=urlencode(query))), None, {}, ('{"ok":false',))


def _ntfy(config: Config, url: str, token: str | None, message: Message) -> _Request:
    parts = urlsplit(url)
    path, _, topic = parts.path.rstrip("/").rpartition("/")
    good = message.event in _TAGS
    document = {
        "topic": topic,
        "title": f"{config.monitoring_ntfy_title}: {message.job} {message.event}",
        "message": message.text.encode()[:_NTFY_BYTES].decode(errors="ignore"),
        "priority": _QUIET_PRIORITY if good else config.monitoring_ntfy_priority,
        "tags": [_TAGS.get(message.event, "warning"), *config.monitoring_ntfy_tags],
    }
    headers = {"Content-Type": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    body = json.dumps(document, ensure_ascii=False).encode()
    return _Request(urlunsplit(parts._replace(path=path + "/")), body, headers)


_PLAIN: Final = {"Content-Type": "text/plain; charset=utf-8"}


def _tail(text: str, size: int) -> bytes:
    """Return the end of a text; its first line then is three dots."""
    whole = text.encode()
    if len(whole) <= size:
        return whole
    dots = b"...\n"
    return dots + whole[len(dots) - size :].decode(errors="ignore").encode()


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Takes a redirect for a failure.

    Followed, a POST would lose its body and a token would go to whoever is named.
    """

    def redirect_request(self, *_: object) -> None:
        """Return no other request."""


def _ask(request: _Request, timeout_s: float) -> None:
    """Send a request; raises `_RefusedError` for whatever is not a plain success."""
    url, headers = _without_password(request.url, request.headers)
    headers["User-Agent"] = f"luxcli/{__version__}"
    opener = urllib.request.build_opener(_NoRedirect)
    try:
        asked = urllib.request.Request(url, data=request.body, headers=headers)  # noqa: S310 - checked
        with opener.open(asked, timeout=timeout_s) as response:
            answer = response.read(200).decode(errors="replace")
    except urllib.error.HTTPError as exc:
        exc.close()
        moved = " (the address has moved; set the new one)" if 300 <= exc.code < 400 else ""
        raise _RefusedError(f"HTTP status {exc.code}{moved}") from None
    except (OSError, http.client.HTTPException) as exc:
        raise _RefusedError(_reason(exc, timeout_s)) from None
    for fault in request.faults:
        if answer.replace(": ", ":").startswith(fault):
            raise _RefusedError(f"answered {fault!r}")


def _reason(failure: Exception, timeout_s: float) -> str:
    cause = failure.reason if isinstance(failure, urllib.error.URLError) else failure
    if isinstance(cause, TimeoutError):
        return f"no answer within {timeout_s:.1f} s"
    # The text of other exceptions may hold the address.
    strerror = getattr(cause, "strerror", None) or getattr(cause, "verify_message", None)
    return str(strerror or type(cause).__name__)


def _without_password(url: str, headers: dict[str, str]) -> tuple[str, dict[str, str]]:
    """Make a header of ``user:password@``, which urllib takes for a part of the host's name."""
    parts: SplitResult = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    if not at:
        return url, dict(headers)
    given = "Basic " + base64.b64encode(user.encode()).decode()
    return urlunsplit(parts._replace(netloc=host)), {"Authorization": given, **headers}


# The command


def _run(command: tuple[str, ...], message: Message, sending: _Sending) -> None:
    environment = {
        **os.environ,
        "LUXCLI_JOB": message.job,
        "LUXCLI_EVENT": message.event,
        "LUXCLI_STATUS": str(message.status),
        "LUXCLI_MESSAGE": message.text,
    }
    try:
        # A session of its own, so that whatever it starts can be killed with it.
        with threads.as_usual():
            process = subprocess.Popen(  # noqa: S603 - the owner's own
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,
            )
    except OSError as exc:
        raise _RefusedError(f"cannot be started: {exc.strerror}") from None
    sending.processes.append(process)
    limit_s = max(0.05, sending.remaining_s() - _KILL_BEFORE_S)
    try:
        status = process.wait(limit_s)
    except subprocess.TimeoutExpired:
        _kill(process)
        raise _RefusedError(f"killed after {limit_s:.1f} s") from None
    if status:
        raise _RefusedError(f"ended with status {status}")


def _kill(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        process.wait()
