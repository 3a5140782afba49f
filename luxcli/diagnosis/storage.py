"""The disk's half of a health check: directories, journals, database, archives, locks.

Changes nothing: it neither flushes the journals nor quarantines a damaged database. A part that
cannot be read becomes a line, and the others are still examined.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import tzinfo
from pathlib import Path
from typing import Final

from luxcli import times
from luxcli.config.config import Config
from luxcli.controller import access
from luxcli.diagnosis.archives import archives
from luxcli.diagnosis.sections import Line, Section, counted, guarded, info, ok, problem, warning
from luxcli.errors import StorageError
from luxcli.monitoring import channels
from luxcli.recording.state import MANY_JOURNALS, journal_count
from luxcli.store import journal, ledger, owner
from luxcli.store.store import Store
from luxcli.system import disks, files, locks
from luxcli.system.disks import Disk, mount_of

# File systems on which neither flock nor SQLite's locks are reliable.
_NETWORK: Final = frozenset(
    {
        *("9p", "afs", "beegfs", "ceph", "cifs", "davfs", "glusterfs", "lustre", "ncpfs"),
        *("nfs", "nfs4", "smb3", "smbfs"),
        *("fuse.davfs", "fuse.glusterfs", "fuse.rclone", "fuse.s3fs", "fuse.sshfs"),
    }
)
_VOLATILE: Final = frozenset({"tmpfs", "ramfs"})
# A larger database takes too long to check while somebody waits: a Raspberry Pi reads about 20 MB/s
# from its card.
_CHECKED_BYTES: Final = 500_000_000
# Journals and database need more than this within a day.
_LEAST_FREE: Final = 20_000_000
# Only a restore takes longer.
_LONG_S: Final = 1800
# An exchange with the heat pump takes a tenth of this.
_LOOK_AGAIN_S: Final = 1.0


@dataclass(slots=True)
class _Facts:
    """What was found; None where it could not be found out."""

    directory: Path
    file_system: str | None = None
    disks: list[Disk] | None = None
    buffer: dict[str, int] | None = None
    quarantined: list[Path] | None = None
    database_bytes: int | None = None
    schema: int | None = None
    span_ms: tuple[int | None, int | None] = (None, None)
    is_intact: bool | None = None
    archives: dict[str, object] = field(default_factory=dict)
    holders: dict[Path, locks.Holder] | None = None

    def to_json(self) -> dict[str, object]:
        """Return the facts for programs, without those that could not be found out."""
        oldest, newest = (None if ms is None else times.utc_text(ms) for ms in self.span_ms)
        known: dict[str, object] = {
            "buffer": self.buffer,
            "set_aside": _texts(self.quarantined),
            "cache_bytes": self.database_bytes,
            "schema": self.schema,
            "sound": self.is_intact,
        }
        found: dict[str, object] = {
            "directory": str(self.directory),
            "file_system": self.file_system,
        }
        found |= {key: value for key, value in known.items() if value is not None}
        found |= self.archives
        if self.schema is not None:
            found |= {"oldest": oldest, "newest": newest}
        if self.disks is not None:
            found["disks"] = [
                {"directory": str(d.directory), "percent": round(d.percent, 1), "free": d.free}
                for d in self.disks
            ]
        if self.holders is not None:
            found["locks"] = {path.name: one.describe() for path, one in self.holders.items()}
        return found


def storage(config: Config, *, now_ms: int, zone: tzinfo) -> Section:
    """Return where the data is, whether it can be written, and whether it is intact."""
    store = Store(config.cache_path, flush_polls=config.flush_polls)
    facts = _Facts(config.cache_path.parent)
    parts: tuple[Callable[[], Iterable[Line]], ...] = (
        lambda: _place(config, store),
        lambda: _directories(config),
        lambda: _file_access(config, store),
        lambda: _log_file(config),
        lambda: _secrets(config),
        lambda: _file_system(facts),
        lambda: _disks(config, facts),
        lambda: _waiting(store, config.flush_polls, facts),
        lambda: _database(store, facts),
        lambda: _damage(store, facts),
        lambda: archives(config, store, now_ms, zone, facts.archives),
        lambda: _locks(config, store, now_ms, facts),
    )
    lines = tuple(guarded(parts))
    return Section("storage", lines, (), facts.to_json())


def _texts(items: Iterable[object] | None) -> list[str] | None:
    return None if items is None else list(map(str, items))


def _place(config: Config, store: Store) -> Iterable[Line]:
    store.check_path(parents=config.may_create_parents)
    return ()


def _directories(config: Config) -> Iterator[Line]:
    for directory in sorted(set(config.data_directories())):
        failure = files.write_obstacle(directory)
        if failure:
            advice = (
                f"change its owner, or run luxcli as the user who owns it (now uid {os.geteuid()})"
            )
            yield problem(failure, advice, status=StorageError.exit_code)
        elif directory.is_dir():
            yield ok(f"{directory}: can be written")
        else:
            yield info(f"{directory}: not there yet; it will be created")


def _file_access(config: Config, store: Store) -> Iterator[Line]:
    """Look for files that this user cannot use, as after a run by hand as another user."""
    paths = [*_lock_paths(config, store), *journal.paths(store.path), store.path]
    there = [path for path in paths if path.exists()]
    for path in journal.unusable(store.path):
        is_file = path.is_file() and not path.is_symlink()
        wrong = "there is no such date" if is_file else "not a regular file"
        yield problem(f"{path}: {wrong}", "move it away", status=StorageError.exit_code)
    if (note := owner.note_path(store.path)).exists() and not note.is_file():
        advice = "move it away: until then polls of another heat pump are stored, too"
        yield warning(f"{note}: not a regular file", advice)
    for path in there:
        if not path.is_file() and path != store.path:  # `_place` reports the database
            text = f"{path}: not a regular file"
            yield problem(text, "move it away and run again", status=StorageError.exit_code)
    closed = [path for path in there if path.is_file() and not os.access(path, os.R_OK | os.W_OK)]
    if closed:
        names = ", ".join(path.name for path in closed)
        owners = ", ".join(f"uid {uid}" for uid in sorted({path.stat().st_uid for path in closed}))
        yield problem(
            f"cannot be read and written by uid {os.geteuid()}: {names} (of {owners})",
            "a run as another user, such as with sudo, leaves such files: change their owner, or"
            " run luxcli always as that user",
            status=StorageError.exit_code,
        )


def _log_file(config: Config) -> Iterator[Line]:
    path = config.log_file
    if path is None:
        return
    failure = files.write_obstacle(path.parent)
    if not failure and path.exists() and not (path.is_file() and os.access(path, os.W_OK)):
        failure = f"{path}: cannot be written by uid {os.geteuid()}"
    if failure:
        yield warning(f"log_file: {failure}", "polls are still stored, only logging stops")


def _secrets(config: Config) -> Iterator[Line]:
    if not config.is_monitored:
        return
    for failure in channels.unusable_files(config):
        advice = "until it can be used this channel sends nothing: 'luxcli monitor test'"
        yield warning(failure, advice)


def _lock_paths(config: Config, store: Store) -> list[Path]:
    paths = [store.lock_path, store.rollup_lock_path]
    if config.host:
        paths.append(access.lock_path(config.host, config.port, config.cache_path.parent))
    return paths


def _file_system(facts: _Facts) -> Iterator[Line]:
    try:
        mounts = Path("/proc/mounts").read_text(encoding="utf-8", errors="replace")
    except OSError:
        mounts = ""
    # Unlike `Path.resolve` it accepts links that lead in a circle.
    mount = mount_of(Path(os.path.realpath(facts.directory)), mounts)
    facts.file_system = mount.kind if mount else None
    if mount is None:
        yield info("the kind of file system is unknown here")
    elif mount.kind in _NETWORK:
        yield problem(
            f"file system {mount.kind} at {mount.mount_point}: a network share",
            "cache_path must be local: locks and SQLite are not safe here; CSVs may go to a share",
            status=StorageError.exit_code,
        )
    elif mount.kind in _VOLATILE:
        yield warning(
            f"file system {mount.kind} at {mount.mount_point}: in memory",
            "everything is gone with the next restart: set cache_path to a disk",
        )
    elif mount.kind == "overlay":
        yield warning(
            "file system overlay: the container's own",
            "everything is gone with the container: mount a directory, such as -v ./data:/data",
        )
    else:
        yield ok(f"file system {mount.kind} at {mount.mount_point}: local")


def _disks(config: Config, facts: _Facts) -> Iterator[Line]:
    limit = config.disk_usage_limit_percent
    facts.disks = disks.disks(config.data_directories())
    for disk in facts.disks:
        text = disk.describe(limit)
        if disk.free < _LEAST_FREE:
            advice = "make room now: polls cannot be stored for long"
            yield problem(text, advice, status=StorageError.exit_code)
        elif disk.percent > limit:
            yield warning(text, "make room; shorter retention days help with the next 'prune'")
        else:
            yield ok(text)


def _waiting(store: Store, flush_polls: int, facts: _Facts) -> Iterator[Line]:
    waiting = store.waiting()
    entries, damaged = len(waiting.polls_ms) + len(waiting.missed), waiting.rejected
    facts.buffer = {"entries": entries, "bytes": waiting.size, "damaged_lines": damaged}
    # One interrupted flush is normal; more entries mean that the database could not be written.
    count = counted(entries, "entry", "entries")
    text = f"waiting in the journals: {count}, {waiting.size / 1e3:.0f} kB"
    if entries > 3 * max(flush_polls, 10):
        is_there = store.path.exists()
        cause = "the database could not be written for a while: see the other lines"
        yield warning(text, cause if is_there else "the next 'luxcli rollup daily' takes them in")
    else:
        yield ok(text)
    if (journals := journal_count(store)) > MANY_JOURNALS:
        advice = (
            "'luxcli rollup daily --if-due' or 'luxcli prune' removes them; are they scheduled?"
        )
        yield warning(f"{journals} journals: their days are in no archive yet", advice)
    if damaged:
        advice = (
            "a failing card or a power cut leaves such lines; the next flush copies them to a file"
        )
        lines = counted(damaged, "damaged line", "damaged lines")
        yield warning(f"{lines} in the journals", advice)
    if store.rejected_path.exists():
        size = store.rejected_path.stat().st_size
        text = f"{store.rejected_path}: {size} bytes of damaged lines of journals from earlier runs"
        yield info(f"{text}, kept for 'luxcli restore'")


def _database(store: Store, facts: _Facts) -> Iterator[Line]:
    yield from _rebuild(store, facts)
    if not store.path.exists():
        if store.archive_paths():
            text = f"{store.path}: the database is gone, though there are archives of it"
            yield warning(text, "'luxcli rollup daily' rebuilds it")
        else:
            yield info(f"{store.path}: no database yet; the first polls create it")
        return
    size = facts.database_bytes = store.path.stat().st_size
    if not size:
        yield info(f"{store.path}: empty")
        return
    if store.database.is_wal():
        text = f"{store.path}: another program has turned it to WAL mode"
        yield warning(text, "close it there: until then polls wait and roll-ups may fail")
    facts.schema, newest_known = store.database.schema_version()
    yield ok(f"{store.path}: {size / 1e6:.1f} MB, schema {facts.schema} of {newest_known}")
    oldest, newest = facts.span_ms = store.database.span()
    if oldest is not None and newest is not None:
        first, last = times.utc_text(oldest), times.utc_text(newest)
        yield info(f"polls from {first} to {last} are in the database")


def _rebuild(store: Store, facts: _Facts) -> Iterator[Line]:
    """Report quarantined databases, and whether the present one has their polls."""
    quarantined = store.quarantined_paths()
    is_complete = ledger.is_complete(store)
    facts.quarantined = [] if is_complete else quarantined
    for path in quarantined:
        text = f"{path}: a damaged database in quarantine"
        if is_complete:
            yield info(f"{text}; what can be read of it is in the database again")
        else:
            yield warning(text, "'luxcli rollup daily' puts back what it and archives hold")


def _damage(store: Store, facts: _Facts) -> Iterator[Line]:
    if not store.path.exists():
        return
    if store.path.stat().st_size > _CHECKED_BYTES:
        yield info(f"not checked for damage: larger than {_CHECKED_BYTES // 10**6} MB")
        return
    store.database.check()
    facts.is_intact = True
    yield ok("the database is intact")


def _locks(config: Config, store: Store, now_ms: int, facts: _Facts) -> Iterator[Line]:
    paths = _lock_paths(config, store)
    held = {path: holder for path in paths if (holder := locks.holder(path))}
    hidden = [path.name for path in paths if path.exists() and not os.access(path, os.R_OK)]
    if hidden:
        yield info(
            f"uid {os.geteuid()} cannot find out whether these are held: {', '.join(hidden)}"
        )
    facts.holders = held
    for path, holder in held.items():
        text = f"{path.name}: held by {holder.describe()}"
        runs_s = 0.0 if holder.since_ms is None else (now_ms - holder.since_ms) / 1000
        if runs_s > _LONG_S and _is_still_held(path, holder):
            yield warning(
                f"{text}, for {times.span(runs_s)}", f"if it hangs, end it: kill {holder.pid}"
            )
        else:
            yield info(text)
    if not held and not hidden:
        yield ok("no lock is held")


def _is_still_held(path: Path, holder: locks.Holder) -> bool:
    """Look again: a process that runs for hours, like ``watch``, takes the lock for each poll."""
    time.sleep(_LOOK_AGAIN_S)
    again = locks.holder(path)
    return again is not None and again.pid == holder.pid
