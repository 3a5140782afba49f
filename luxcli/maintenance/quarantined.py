"""Reads what SQLite still gives of a damaged database."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from luxcli import times
from luxcli.errors import DamagedError, StorageError, UnavailableError
from luxcli.model import Snapshot
from luxcli.store.store import Store

_DAY_MS: Final = 86_400_000
# Luxtronik 2 controllers that this program can read were not there before 2010.
_EARLIEST_MS: Final = 1_262_304_000_000


class Days:
    """Reads a damaged database as any reader does, but passes over the days that SQLite refuses.

    Args:
        old: The damaged database.
        now_ms: UTC.
        low: UTC ms, included.
        high: UTC ms, excluded.
    """

    def __init__(self, old: Store, now_ms: int, low: int, high: int) -> None:
        self._database, self._low = old.database, low
        # Where even the first and the last poll are unknown, a poll was made until now.
        self._latest_ms = min(high, now_ms + _DAY_MS)
        self._high = high
        self._damaged: list[int] = []
        self._refused: list[int] = []
        self._failure: StorageError | None = None

    def problem(self, path: Path) -> str | None:
        """Return what of the database at `path` could not be read and why, None if all could."""
        if self._failure:
            return str(self._failure)
        if not (self._damaged or self._refused):
            return None
        days = sorted({times.utc_text(ms)[:10] for ms in self._refused})
        texts = [f"{len(self._damaged)} polls damaged"] if self._damaged else []
        if days:
            more = f" to {days[-1]}" if len(days) > 1 else ""
            texts.append(f"{len(days)} days cannot be read whole ({days[0]}{more})")
        return f"{path}: {', '.join(texts)}"

    def polls(self) -> Iterator[Snapshot]:
        """Yield the polls that can be read and whose checksum fits."""
        try:
            self._database.schema_version()
            begin: int | None = self._next(self._low)
            while begin is not None:
                stop = min(self._high, (begin // _DAY_MS + 1) * _DAY_MS)
                try:
                    yield from self._database.polls(begin, stop, damaged=self._damaged)
                except DamagedError:
                    self._refused.append(begin)
                begin = self._next(stop)
        except UnavailableError:
            raise  # it may be read the next time
        except StorageError as exc:
            self._failure = exc  # nothing can be read, or a newer luxcli wrote it

    def _next(self, ms: int) -> int | None:
        """Return where the next polls are, or may be; None if there are none."""
        if ms >= self._high:
            return None
        try:
            found = self._database.next_poll(ms)
        except DamagedError:
            found = max(ms, _EARLIEST_MS)
            if found >= self._latest_ms:
                return None
        return None if found is None or found >= self._high else found
