"""Loggers for all modules, which load `logging` only when there is something to write.

Under a scheduler that is rare, and loading it takes as long as reading the heat pump. What becomes
of a line is decided in `log`, which is set up before the first one: by `wait_until`, where nothing
below some level is to be written anywhere.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

DEBUG: Final = 10
INFO: Final = 20
WARNING: Final = 30
ERROR: Final = 40
CRITICAL: Final = 50
LEVELS: Final = {"DEBUG": DEBUG, "INFO": INFO, "WARNING": WARNING, "ERROR": ERROR}
# Extra of a line that is the result of a run.
RESULT: Final = MappingProxyType({"result": True})


class Run(NamedTuple):
    """What each line of one process carries: the command, and which run of it this is."""

    job: str
    id: str


class _Gate:
    """Lines below `least` are dropped; `prepare` is called before the first that is not."""

    least = 0
    prepare: Callable[[], object] | None = None


class Logger:
    """Has the part of `logging.Logger` that is used here."""

    def __init__(self, name: str) -> None:
        self._name = name

    def debug(self, text: str, *values: object) -> None:
        """Write a line for whoever looks for a fault."""
        self._log(DEBUG, text, values)

    def info(
        self, text: str, *values: object, extra: Mapping[str, object] = MappingProxyType({})
    ) -> None:
        """Write a line about something that went as it should."""
        self._log(INFO, text, values, extra)

    def warning(self, text: str, *values: object) -> None:
        """Write a line about something to look at."""
        self._log(WARNING, text, values)

    def error(self, text: str, *values: object) -> None:
        """Write a line about something that failed."""
        self._log(ERROR, text, values)

    def log(self, level: int, text: str, *values: object) -> None:
        """Write a line of that level."""
        self._log(level, text, values)

    def _log(
        self, level: int, text: str, values: Any, extra: Mapping[str, object] | None = None
    ) -> None:
        if level >= _Gate.least:
            ready()
            import logging

            logging.getLogger(self._name).log(level, text, *values, extra=extra)


def wait_until(least: int, prepare: Callable[[], object]) -> None:
    """Drop lines below a level, and set up what takes the others when the first one comes."""
    _Gate.least, _Gate.prepare = least, prepare


def ready() -> None:
    """Set up what takes lines if that was put off."""
    prepare = _Gate.prepare
    decided()
    if prepare:
        prepare()


def decided() -> None:
    """Drop nothing here and prepare nothing: what takes lines is set up."""
    _Gate.prepare, _Gate.least = None, 0


def waits() -> bool:
    """Whether nothing was written yet, and so nothing loaded."""
    return _Gate.prepare is not None
