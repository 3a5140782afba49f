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
        self._refused: list[tuple[int, int]] = []
        self._failure: StorageError | None = None

    def problem(self, path: Path) -> str | None:
        """Return what of the database at `path` could not be read and why, None if all could."""
        if isinstance(self._failure, DamagedError):
            return f"{self._failure.what}; no more can be read of it, you may delete it"
        if self._failure:
            return str(self._failure)
        if not (self._damaged or self._refused):
            return None
        texts = [f"{len(self._damaged)} polls damaged"] if self._damaged else []
        if self._refused:
            first, last = (
                times.utc_text(ms)[:10] for ms in (self._refused[0][0], self._refused[-1][1] - 1)
            )
            period = first if first == last else f"{first} to {last}"
            texts.append(f"not all can be read of {period}")
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
                    self._refused.append((begin, stop))
                begin = self._next(stop)
        except UnavailableError:
            raise  # it may be read the next time
        except StorageError as exc:
            self._failure = exc  # nothing can be read, or a newer luxcli wrote it

    def _next(self, ms: int) -> int | None:
        """Return where the next polls are; None if there are none, or none that can be read."""
        if ms >= self._high:
            return None
        try:
            found = self._database.next_poll(ms)
        except DamagedError:
            found = self._behind_damage(max(ms, _EARLIEST_MS))
        return None if found is None or found >= self._high else found

    def _behind_damage(self, start_ms: int) -> int | None:
        """Return a moment that SQLite gives the next poll of, found by growing steps of days."""
        low = high = 0
        while not self._is_readable(start_ms + high * _DAY_MS):
            if start_ms + high * _DAY_MS >= self._latest_ms:
                self._refused.append((start_ms, self._latest_ms))
                return None
            low, high = high, max(1, 2 * high)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (
                (low, middle) if self._is_readable(start_ms + middle * _DAY_MS) else (middle, high)
            )
        self._refused.append((start_ms, start_ms + high * _DAY_MS))
        return self._database.next_poll(start_ms + high * _DAY_MS)

    def _is_readable(self, ms: int) -> bool:
        try:
            self._database.next_poll(ms)
        except DamagedError:
            return False
        return True
