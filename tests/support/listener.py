"""Notification servers on real sockets that record requests, or misbehave."""

import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit


class Asked(NamedTuple):
    """One request that a server received."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    at: float  # on the monotonic clock

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(urlsplit(self.target).query).items()}

    @property
    def document(self) -> Any:
        return json.loads(self.body)


@dataclass
class Listener:
    """A server on a free port; `hangs` never answers, `trickles` answers for ever."""

    status: int = 200
    answer: bytes = b"OK"
    location: str | None = None
    hangs: bool = False
    trickles: bool = False
    port: int = 0
    asked: list[Asked] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def paths(self) -> Sequence[str]:
        return [asked.path for asked in self.asked]


@contextmanager
def listening(**behaviour: Any) -> Iterator[Listener]:
    """Serve until the block ends."""
    listener = Listener(**behaviour)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            at = time.monotonic()
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            listener.asked.append(Asked(self.command, self.path, dict(self.headers), body, at))
            if listener.hangs:
                listener.stopped.wait(30)
                return
            self.send_response(listener.status)
            if listener.location:
                self.send_header("Location", listener.location)
            self.end_headers()
            while listener.trickles and not listener.stopped.wait(0.1):
                self.wfile.write(b".")
            self.wfile.write(listener.answer)

        do_GET = do_POST  # noqa: N815  the name is http.server's

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        server.handle_error = lambda *_: None  # type: ignore[method-assign]
        listener.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield listener
        finally:
            listener.stopped.set()
            server.shutdown()
            thread.join()
