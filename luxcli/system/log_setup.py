"""Sets up logging: the only place with handlers. Lines are text or JSON; their times are UTC.

Log lines go to stderr, to the log file and, where a notification may be sent, into memory. What
`luxcli.cli.output` prints for the user is logged as well, with `PRINTED`, so that it is in the log
file but not on stderr twice.
"""

import json
import logging
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Final, Literal, NamedTuple, TextIO

Format = Literal["text", "json"]

# Record attribute: the text has been printed for the user already, so that stderr skips it.
PRINTED: Final = MappingProxyType({"printed": True})
# Record attribute: the text is the result of the run; the notification quotes it.
RESULT: Final = MappingProxyType({"result": True})

_LOGGER = logging.getLogger("luxcli")
_TAIL_LINES: Final = 40


class Run(NamedTuple):
    """What each log line of one process carries: the command, and a random number of this run."""

    job: str
    id: str


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
    """Return the formatter of log lines, for a handler that is set up elsewhere."""
    return _JsonFormatter(run) if style == "json" else _TextFormatter(run)


class _StderrHandler(logging.StreamHandler[TextIO]):
    """Writes log lines to stderr, except those that were printed there already."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to write it."""
        return not getattr(record, "printed", False)


class Tail(logging.Handler):
    """Keeps the last lines of a run for its notification.

    Attributes:
        message: The last text that was printed for the user, or the last result; empty at first.
    """

    def __init__(self, run: Run) -> None:
        super().__init__(logging.INFO)
        self.setFormatter(_TextFormatter(run))
        self._lines: deque[str] = deque(maxlen=_TAIL_LINES)
        self.message = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one line."""
        self._lines.append(self.format(record))
        if getattr(record, "printed", False) or getattr(record, "result", False):
            self.message = record.getMessage()

    def text(self) -> str:
        """Return the lines."""
        return "\n".join(self._lines)


def set_up(
    level: str,
    style: Format,
    *,
    run: Run | None = None,
    handlers: Sequence[logging.Handler] = (),
) -> None:
    """Send log lines to stderr, and replace and close the handlers of an earlier call.

    Args:
        level: Of stderr, such as WARNING.
        style: Of stderr.
        run: What each line carries.
        handlers: Additional ones with levels of their own, such as that of the log file.
    """
    handler = _StderrHandler(sys.stderr)
    handler.setLevel(level)
    handler.setFormatter(formatter(style, run))
    replaced = _LOGGER.handlers[:]
    _LOGGER.handlers[:] = [handler, *handlers]
    for old in replaced:  # the log file of an earlier run in this process
        old.close()
    _LOGGER.setLevel(min(other.level for other in _LOGGER.handlers))
    _LOGGER.propagate = False


def set_up_early(environ: Mapping[str, str]) -> None:
    """Set logging up for the time until the configuration has been read."""
    style = environ.get("LUXCLI_LOG_FORMAT") or environ.get("LOG_FORMAT") or ""
    set_up("WARNING", "json" if style.strip().lower() == "json" else "text")


def is_json() -> bool:
    """Return whether stderr has JSON lines."""
    return any(isinstance(handler.formatter, _JsonFormatter) for handler in _stderr_handlers())


def message_line(level: int, text: str) -> str:
    """Return the line that a message for the user is on stderr: plain, or a JSON log line."""
    if not is_json():
        return f"luxcli: {text}"
    record = _LOGGER.makeRecord(_LOGGER.name, level, "", 0, text, (), None)
    return _stderr_handlers()[0].format(record)


def _stderr_handlers() -> list[logging.Handler]:
    return [handler for handler in _LOGGER.handlers if isinstance(handler, _StderrHandler)]


@contextmanager
def recorded() -> Iterator[list[str]]:
    """Collect every line down to DEBUG in a list; stderr gets the same lines as otherwise."""
    lines: list[str] = []
    handler = _Collector(lines)
    handler.setFormatter(_TextFormatter())
    before = _LOGGER.level
    others = [(other, other.level) for other in _LOGGER.handlers]
    for other, level in others:
        other.setLevel(max(level, before))
    _LOGGER.addHandler(handler)
    _LOGGER.setLevel(logging.DEBUG)
    try:
        yield lines
    finally:
        _LOGGER.removeHandler(handler)
        _LOGGER.setLevel(before)
        for other, level in others:
            other.setLevel(level)


class _Collector(logging.Handler):
    def __init__(self, lines: list[str]) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(self.format(record))
