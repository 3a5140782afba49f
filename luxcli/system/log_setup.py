"""Logging set-up: the only place with handlers. Text for people, JSON for containers; UTC."""

import json
import logging
import os
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, Literal, TextIO

from luxcli.system import logger
from luxcli.system.logger import Run

LOGGER = logging.getLogger("luxcli")
Format = Literal["text", "json"]
_TAIL_LINES: Final = 40
# Marks a record of which a person is told in words.
_TOLD: Final = "told"


class _TextFormatter(logging.Formatter):
    converter = staticmethod(time.gmtime)

    def __init__(self, run: Run | None = None) -> None:
        mark = f"[{run.job} {run.id}] " if run else ""
        super().__init__(f"%(asctime)sZ %(levelname)s {mark}%(message)s", "%Y-%m-%dT%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  the name is logging's
        # One line per event; the traceback of a bug is added after this.
        return "; ".join(super().formatMessage(record).splitlines())


class _JsonFormatter(logging.Formatter):
    converter = staticmethod(time.gmtime)

    def __init__(self, run: Run | None = None) -> None:
        super().__init__()
        self._run = {"job": run.job, "run": run.id} if run else {}

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S") + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            **self._run,
            "msg": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


def formatter(style: Format, run: Run | None) -> logging.Formatter:
    """Return what makes lines of events, for a handler that is set up elsewhere."""
    return _JsonFormatter(run) if style == "json" else _TextFormatter(run)


class _Stream(logging.StreamHandler[TextIO]):
    """Writes to stderr what is at its level.

    What a person was told there in words anyway is not said again as text, and as JSON always.
    """

    def __init__(self, stream: TextIO, style: Format, least: int) -> None:
        super().__init__(stream)
        self.json = style == "json"
        self.least = least

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether to write it."""
        if getattr(record, _TOLD, False):
            return self.json and record.levelno >= logging.WARNING
        return record.levelno >= self.least


class Tail(logging.Handler):
    """Keeps the last lines of a run, for those who are told how it ended."""

    def __init__(self, run: Run) -> None:
        super().__init__(logging.INFO)
        self.setFormatter(_TextFormatter(run))
        self._lines: deque[str] = deque(maxlen=_TAIL_LINES)
        self.said = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one line; the last result, or what a person was told last, is `said`."""
        self._lines.append(self.format(record))
        if getattr(record, _TOLD, False) or getattr(record, "result", False):
            self.said = record.getMessage()

    def text(self) -> str:
        """Return the lines."""
        return "\n".join(self._lines)


def tell(level: int, text: str, failure: BaseException | None = None) -> bool:
    """Log what a person is told on stderr or stdout as well.

    Args:
        level: Of logging.
        text: One line.
        failure: Logged whole, with its traceback.

    Returns:
        Whether stderr got it, as JSON; otherwise it is to be said there in words.
    """
    logger.ready()
    if not LOGGER.handlers:  # such as before the configuration was read
        if not _json_wanted(os.environ):
            return False
        set_up("WARNING", "json")
    cause = (type(failure), failure, failure.__traceback__) if failure else None
    extra = {_TOLD: True}
    record = LOGGER.makeRecord(LOGGER.name, level, "", 0, text, (), cause, None, extra)
    LOGGER.handle(record)
    return any(isinstance(handler, _Stream) and handler.json for handler in LOGGER.handlers)


def line(level: int, text: str) -> str:
    """Return the line that `tell` and those who call it would make of a text on stderr."""
    record = LOGGER.makeRecord(LOGGER.name, level, "", 0, text, (), None)
    for handler in LOGGER.handlers:
        if isinstance(handler, _Stream) and handler.json:
            return handler.format(record)
    return f"luxcli: {text}"


def _json_wanted(environ: Mapping[str, str]) -> bool:
    """Whether lines are to be JSON as far as it can be told without a configuration."""
    given = environ.get("LUXCLI_LOG_FORMAT") or environ.get("LOG_FORMAT") or ""
    return given.strip().lower() == "json"


@contextmanager
def recorded() -> Iterator[list[str]]:
    """Give a list that takes every line down to DEBUG; what goes to stderr stays as it was."""
    logger.ready()
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


def set_up(
    level: str,
    style: Format,
    stream: TextIO | None = None,
    *,
    run: Run | None = None,
    further: Sequence[logging.Handler] = (),
) -> None:
    """Send everything at `level` and above to `stream` (stderr), one line per event.

    Calling it again replaces the handlers, so a process may run several jobs.

    Args:
        level: Of the stream.
        style: Of the stream.
        stream: Where to, if not to stderr.
        run: What each line carries.
        further: Handlers of their own levels, such as one for a file.
    """
    logger.decided()
    least = logging.getLevelNamesMapping()[level]
    handler = _Stream(stream if stream is not None else sys.stderr, style, least)
    handler.setFormatter(formatter(style, run))
    LOGGER.handlers[:] = [handler, *further]
    LOGGER.setLevel(min([least, *(other.level for other in further)]))
    LOGGER.propagate = False
