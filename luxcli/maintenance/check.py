"""Once a night: does SQLite find the database whole, and are the archives still what they were?

Each night a twenty-fifth of the archives is read, those whose last check is the longest ago. Rot in
one copy is found that way while the other one can repair it.
"""

import logging
import time
from collections.abc import Iterator
from datetime import date, tzinfo
from pathlib import Path
from typing import Final, NamedTuple

from luxcli import times
from luxcli.config.config import Config
from luxcli.errors import DamagedError, StorageError
from luxcli.maintenance import archive, copies, document
from luxcli.maintenance.comparison import Comparison, compare
from luxcli.store import ledger
from luxcli.store.ledger import ArchiveRecord
from luxcli.store.store import Store
from luxcli.system.progress import Progress, silent

_LOGGER = logging.getLogger(__name__)
# Every archive within 30 days, even if the machine is off in five nights.
_NIGHTS: Final = 25
# An hourly run has to end before the next one; the next night goes on with the oldest checks.
_LIMIT_S: Final = 300.0


class Checked(NamedTuple):
    """What a check found.

    Attributes:
        archives: Number of archives that were read and are as they should be.
        findings: What the user should know; one line each.
    """

    archives: int
    findings: tuple[str, ...]


def check_due(config: Config, *, now_ms: int, zone: tzinfo, progress: Progress = silent) -> Checked:
    """Check the database and some archives, unless that was done today.

    A damaged archive is quarantined and, where the database has its day, written again. A database
    that is still being rebuilt is not compared.

    Args:
        config: Says where the database is.
        now_ms: UTC.
        zone: Time zone of the user.
        progress: Receives numbers of archives.

    Raises:
        DamagedError: The database is damaged, or polls of it are that an archive holds.
        LockHeldError: Another roll-up or a restore is at work.
        StorageError: The database cannot be read or written.
    """
    store = Store.open(config.cache_path, parents=config.may_create_parents)
    if not store.database.has_data():
        return Checked(0, ())
    with store.rollup_lock():
        last_ms = ledger.checked_ms(store)
        today = times.local_date(now_ms, zone)
        if last_ms is not None and times.local_date(last_ms, zone) == today:
            return Checked(0, ())
        if not ledger.is_complete(store):
            return Checked(0, ())
        # Under the storage lock, so that no poll waits for it at the end of a transaction.
        with store.writing():
            store.database.check()
        run = _Run(config, store, now_ms, zone)
        chosen = list(run.chosen())
        findings = list(run.replace_unreadable())
        intact = 0
        deadline = time.monotonic() + _LIMIT_S
        for number, (path, record) in enumerate(chosen):
            progress(number, len(chosen))
            if time.monotonic() > deadline:
                _LOGGER.info("stopped after %.0f s; the next night goes on", _LIMIT_S)
                break
            found = list(run.check(path, record))
            findings += found
            intact += not found
        ledger.record_check(store, now_ms)
    return Checked(intact, tuple(findings))


class _Run:
    """One night's check of archives; the caller holds the lock of roll-ups."""

    def __init__(self, config: Config, store: Store, now_ms: int, zone: tzinfo) -> None:
        self._config, self._store, self._now_ms, self._zone = config, store, now_ms, zone
        self._lacking = copies.lacking(config, store, now_ms=now_ms, zone=zone)

    def chosen(self) -> Iterator[tuple[Path, ArchiveRecord | None]]:
        """Yield the archives to read, each with its record: those that were not read longest."""
        if not self._config.archive:
            return
        records = {Path(record.path).name: record for record in ledger.archives(self._store)}
        paths = [path for path in self._store.archive_paths() if path not in self._lacking]

        def checked_ms(path: Path) -> int:
            record = records.get(path.name)
            # A time in the future is that of a wrong clock.
            return record.checked_ms if record and record.checked_ms <= self._now_ms else 0

        count = -(-len(paths) // _NIGHTS)
        for path in sorted(paths, key=checked_ms)[:count]:
            yield path, records.get(path.name)

    def replace_unreadable(self) -> Iterator[str]:
        """Replace damaged archives of which the database has no record; yield what is wrong.

        A rebuild could not take them in. Whole ones are left to the next one.
        """
        for path in self._lacking:
            try:
                document.read(path)
            except DamagedError as exc:
                yield from self._replace(path, exc)
            except StorageError:
                pass  # the rebuild has said what is wrong

    def check(self, path: Path, record: ArchiveRecord | None) -> Iterator[str]:
        """Read one archive and compare it with the database; yield what is wrong.

        Raises:
            DamagedError: Polls of the database are damaged or gone that the archive holds.
        """
        try:
            day = document.read(path)
        except DamagedError as exc:
            yield from self._replace(path, exc)
            return
        except StorageError as exc:
            yield str(exc)
            return
        start_ms, stop_ms = (record.start_ms, record.stop_ms) if record else day.span
        found = compare(day, self._store, start_ms, stop_ms)
        self._refuse_damage(path, record, found)
        if not found.is_archived:
            count = len(found.only_stored) + len(found.differing) + found.missed
            written = self._write(path)
            yield f"{path}: {count} entries were not those of the database; written again"
            yield from written.findings
            return
        size = path.stat().st_size
        written_ms = record.written_ms if record else self._now_ms
        ledger.record_archive(
            self._store,
            ArchiveRecord(
                *(start_ms, stop_ms, str(path), found.entries, size, written_ms, self._now_ms)
            ),
        )

    def _refuse_damage(self, path: Path, record: ArchiveRecord | None, found: Comparison) -> None:
        """Raise if the database has lost what the archive can give back."""
        lost = record is not None and found.entries < record.entries
        count = len(found.only_archived if lost else found.restorable)
        if count:
            polls = "1 poll is" if count == 1 else f"{count} polls are"
            raise DamagedError(
                f"{self._store.path}: {polls} missing or damaged that {path.name} holds"
            )

    def _replace(self, path: Path, damage: DamagedError) -> Iterator[str]:
        """Write a damaged archive again from the database, or quarantine it if that has no poll."""
        day = date.fromisoformat(path.name[:10])
        if self._store.database.count_entries(*archive.bounds(day, self._zone)):
            yield from self._write(path).findings
            return
        name = archive.quarantine(path).name
        yield (
            f"{damage}; quarantined as {name}; the database no longer holds that day: put the"
            " archive back from a backup"
        )

    def _write(self, path: Path) -> archive.Archived:
        day = date.fromisoformat(path.name[:10])
        return archive.write(self._config, self._store, day, self._now_ms, self._zone)
