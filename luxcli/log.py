"""Logging set-up: the only place with handlers. Text for people, JSON for containers; UTC."""

import json
import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, TextIO

LOGGER = logging.getLogger("luxcli")
Format = Literal["text", "json"]


class _TextFormatter(logging.Formatter):
    converter = staticmethod(time.gmtime)

    def __init__(self) -> None:
        super().__init__("%(asctime)sZ %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S")


class _JsonFormatter(logging.Formatter):
    converter = staticmethod(time.gmtime)

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S") + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "msg": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


@contextmanager
def recorded() -> Iterator[list[str]]:
    """Give a list that takes every line down to DEBUG; what goes to stderr stays as it was."""
    lines: list[str] = []
    handler = _Collector(lines)
    handler.setFormatter(_TextFormatter())
    before = LOGGER.level
    others = [(other, other.level) for other in LOGGER.handlers]
    for other, level in others:
        other.setLevel(max(level, before))
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.DEBUG)
    try:
        yield lines
    finally:
        LOGGER.removeHandler(handler)
        LOGGER.setLevel(before)
        for other, level in others:
            other.setLevel(level)


class _Collector(logging.Handler):
    def __init__(self, lines: list[str]) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(self.format(record))


def set_up(level: str, style: Format, stream: TextIO | None = None) -> None:
    """Send everything at `level` and above to `stream` (stderr), one line per event.

    Calling it again replaces the handler, so a process may run several jobs.
    """
    handler = logging.StreamHandler(stream if stream is not None else sys.stderr)
    handler.setFormatter(_JsonFormatter() if style == "json" else _TextFormatter())
    LOGGER.handlers[:] = [handler]
    LOGGER.setLevel(level)
    LOGGER.propagate = False
