"""Requests to Healthchecks, Uptime Kuma and ntfy.

Interfaces: healthchecks.io/docs/http_api, uptime-kuma server/routers/api-router.js,
docs.ntfy.sh/publish (as JSON).
"""

import base64
import http.client
import json
import urllib.error
import urllib.request
from typing import Final, NamedTuple
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit, urlunsplit

from luxcli import __version__
from luxcli.config.config import Config
from luxcli.monitoring.messages import Message, RefusedError

# What self-hosted Healthchecks stores; of a longer text the end is sent.
_BODY_BYTES: Final = 10_000
_NTFY_BYTES: Final = 4000
_TEXT_LENGTH: Final = 500
_GOOD_TAGS: Final[dict[str, str]] = {"recovered": "white_check_mark", "test": "test_tube"}
_GOOD_PRIORITY: Final = 3
_PLAIN_TEXT: Final = {"Content-Type": "text/plain; charset=utf-8"}


class Request(NamedTuple):
    """An HTTP request; `faults` are beginnings of answers that mean failure despite status 200."""

    url: str
    body: bytes | None
    headers: dict[str, str]
    faults: tuple[str, ...] = ()


def healthchecks(url: str, message: Message) -> Request:
    """Return a ping: ``/start``, ``/log`` for a test, ``/fail``, or the exit status."""
    if message.event in {"start", "test"}:
        end = "/start" if message.event == "start" else "/log"
    elif message.event == "stale":
        end = "/fail"
    else:
        end = f"/{message.status}" if message.status else ""
    parts = urlsplit(url)
    query = parse_qsl(parts.query, keep_blank_values=True)
    query += [("rid", message.run)] if message.run else []
    address = parts._replace(path=parts.path.rstrip("/") + end, query=urlencode(query))
    has_text = message.output.endswith(message.text)
    body = message.output if has_text else f"{message.output}\n{message.text}".lstrip()
    # The answers for an unknown address, and for too many pings.
    faults = ("OK (not found)", "OK (rate limited)")
    return Request(urlunsplit(address), _tail(body, _BODY_BYTES), _PLAIN_TEXT, faults)


def uptime_kuma(url: str, message: Message) -> Request:
    """Return a push with status, message and duration."""
    parts = urlsplit(url)
    # The address that Uptime Kuma shows has all three parameters already.
    query = [
        pair
        for pair in parse_qsl(parts.query, keep_blank_values=True)
        if pair[0] not in {"status", "msg", "ping"}
    ]
    is_good = message.event in {"success", "recovered", "test"}
    query += [("status", "up" if is_good else "down"), ("msg", message.text[:_TEXT_LENGTH] or "OK")]
    if message.took_ms is not None:
        query.append(("ping", str(message.took_ms)))
    return Request(urlunsplit(parts._replace(query=urlencode(query))), None, {}, ('{"ok":false',))


def ntfy(config: Config, token: str | None, url: str, message: Message) -> Request:
    """Return a message to a topic; `token` is an access token."""
    parts = urlsplit(url)
    path, _, topic = parts.path.rstrip("/").rpartition("/")
    is_good = message.event in _GOOD_TAGS
    document = {
        "topic": topic,
        "title": f"{config.monitoring_ntfy_title}: {message.job} {message.event}",
        "message": message.text.encode()[:_NTFY_BYTES].decode(errors="ignore"),
        "priority": _GOOD_PRIORITY if is_good else config.monitoring_ntfy_priority,
        "tags": [_GOOD_TAGS.get(message.event, "warning"), *config.monitoring_ntfy_tags],
    }
    headers = {"Content-Type": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    body = json.dumps(document, ensure_ascii=False).encode()
    return Request(urlunsplit(parts._replace(path=path + "/")), body, headers)


def _tail(text: str, size: int) -> bytes:
    """Return the last `size` bytes of a text, after a line of three dots if it is longer."""
    whole = text.encode()
    if len(whole) <= size:
        return whole
    dots = b"...\n"
    return dots + whole[len(dots) - size :].decode(errors="ignore").encode()


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Makes a redirect a failure: a POST would lose its body, and the token go elsewhere."""

    def redirect_request(self, *_: object) -> None:
        """Return no other request."""


def ask(request: Request, timeout_s: float) -> None:
    """Send a request; raise `RefusedError` if the answer is not a plain success."""
    url, headers = _without_password(request.url, request.headers)
    headers["User-Agent"] = f"luxcli/{__version__}"
    opener = urllib.request.build_opener(_NoRedirect)
    try:
        http_request = urllib.request.Request(url, data=request.body, headers=headers)  # noqa: S310  checked
        with opener.open(http_request, timeout=timeout_s) as response:
            answer = response.read(200).decode(errors="replace")
    except urllib.error.HTTPError as exc:
        exc.close()
        hint = " (the address has moved; set the new one)" if 300 <= exc.code < 400 else ""
        raise RefusedError(f"HTTP status {exc.code}{hint}") from None
    except (OSError, http.client.HTTPException) as exc:
        raise RefusedError(_reason(exc, timeout_s)) from None
    for fault in request.faults:
        if answer.replace(": ", ":").startswith(fault):
            raise RefusedError(f"answered {fault!r}")


def _reason(failure: Exception, timeout_s: float) -> str:
    cause = failure.reason if isinstance(failure, urllib.error.URLError) else failure
    if isinstance(cause, TimeoutError):
        return f"no answer within {timeout_s:.1f} s"
    # The text of other exceptions may hold the address.
    strerror = getattr(cause, "strerror", None) or getattr(cause, "verify_message", None)
    return str(strerror or type(cause).__name__)


def _without_password(url: str, headers: dict[str, str]) -> tuple[str, dict[str, str]]:
    """Move ``user:password@`` to a header; urllib would take it for a part of the host name."""
    parts: SplitResult = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    if not at:
        return url, dict(headers)
    authorization = "Basic " + base64.b64encode(user.encode()).decode()
    return urlunsplit(parts._replace(netloc=host)), {"Authorization": authorization, **headers}
