"""The journals: a file of entries per UTC day, ``NAME.polls-YYYY-MM-DD.jsonl``.

A line, see `entries`, is durable when `append` returns. It is written under the ``flock`` of its
own file, which no long job holds.
"""

import errno
import os
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from operator import attrgetter
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from luxcli.errors import StorageError, file_advice, file_error
from luxcli.model import CLOCK_DOUBTED, MissedPoll, Repair, Snapshot, Timing
from luxcli.store import entries
from luxcli.store.entries import Entry
from luxcli.store.paths import journal_path, journal_paths
from luxcli.system import files, locks

# Entries, and bytes of them, that are held in memory at once: four hours at a poll every 30 s.
PART: Final = 500
PART_BYTES: Final = 8 * 1024 * 1024
# A file is recognised by so many bytes.
_KNOWN_BY: Final = 16
_LAST_SECOND: Final = 253_402_300_799  # of the year 9999
_TIME: Final = attrgetter("taken_ms")
_READ: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW
_APPEND: Final = os.O_RDWR | os.O_APPEND | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW


class Appended(NamedTuple):
    """Where a line stands: its number, and that of the last poll before it in the file, else 0."""

    number: int
    poll_before: int


class Part(NamedTuple):
    """Consecutive lines of a journal.

    Attributes:
        polls: Complete polls in the order in which they were written.
        missed: Missed polls and their reasons.
        repairs: Repairs of wrong times.
        rejected: Lines that are torn or damaged, as raw bytes; at most `entries.LONGEST` of each.
        offset: Where the next line begins in the file.
        tail: The last bytes before it as hex digits, by which the file can be recognised.
    """

    polls: tuple[Snapshot, ...]
    missed: tuple[MissedPoll, ...]
    repairs: tuple[Repair, ...]
    rejected: tuple[bytes, ...]
    offset: int
    tail: str

    @property
    def lines(self) -> int:
        """The number of lines, without empty ones."""
        return len(self.polls) + len(self.missed) + len(self.repairs) + len(self.rejected)


class Waiting(NamedTuple):
    """What is in the journals and not yet in the database.

    Attributes:
        polls: Polls in the order in which they were written.
        missed: Missed polls.
        rejected: How many lines are torn or damaged.
        size: Bytes.
    """

    polls: tuple[Timing, ...] = ()
    missed: tuple[MissedPoll, ...] = ()
    rejected: int = 0
    size: int = 0

    @property
    def polls_ms(self) -> tuple[int, ...]:
        """The times of the polls."""
        return tuple(poll.ts_ms for poll in self.polls)


def path_at(cache_path: Path, ts_ms: int) -> Path:
    """Return the journal that takes an entry of that time."""
    seconds = min(max(ts_ms // 1000, 0), _LAST_SECOND)
    return journal_path(cache_path, time.strftime("%Y-%m-%d", time.gmtime(seconds)))


def paths(cache_path: Path) -> list[Path]:
    """Return the journals of a database, those of the oldest polls first.

    Raises:
        StorageError: The directory cannot be read.
    """
    return journal_paths(cache_path)[0]


def unusable(cache_path: Path) -> list[Path]:
    """Return what has the name of a journal but is none: no regular file, or no such date.

    Raises:
        StorageError: The directory cannot be read.
    """
    return journal_paths(cache_path)[1]


def append(cache_path: Path, entry: Entry, *, wait_s: float) -> Appended:
    """Append one entry to the journal of its day and make it durable.

    Raises:
        LockHeldError: Another process kept the journal for `wait_s` seconds.
        StorageError: The line could not be made durable; no part of it counts.
    """
    path = path_at(cache_path, entry.done_ms if isinstance(entry, Repair) else entry[0])
    with _locked(path, wait_s, os.O_CREAT) as fd:
        size = os.fstat(fd).st_size
        tail = _tail(fd, size)
        end = entries.end_of(tail)
        line = entries.encode(entry, end)
        # The line break ends a line that a power cut or a full disk left half written.
        _write(fd, path, line if not tail or tail.endswith(b"\n") else b"\n" + line)
    return Appended(end.number + 1, end.poll)


def unread(path: Path, size: int, tail: str, *, wait_s: float | None) -> tuple[int, int]:
    """Return where the lines begin that are not in the database yet, and where they end.

    Args:
        path: The journal; a missing one is empty.
        size: How many of its bytes are in the database.
        tail: The last of these bytes, as in `Part`. A file with others is another one.
        wait_s: How long to wait for a line that is being written; None does not wait and may end
            within a line.

    Raises:
        LockHeldError: Another process kept the journal for `wait_s` seconds.
        StorageError: The file cannot be read.
    """
    with _reading(path) as file:
        if file is None:
            return 0, 0
        if wait_s is not None:
            locks.acquire(file.fileno(), path, wait_s=wait_s, shared=True)
        stop = os.fstat(file.fileno()).st_size
        is_known = 0 <= size <= stop and _tail_before(file, size) == tail
        return size if is_known else 0, stop


def parts(
    path: Path, offset: int = 0, count: int = PART, *, stop: int | None = None
) -> Iterator[Part]:
    """Read a journal in parts of up to `count` entries; memory is bounded. None if all is read.

    Args:
        path: The journal; a missing one is empty.
        offset: Where a line begins.
        count: Entries in a part; there are fewer where they are long.
        stop: Where the file ends, found by `unread` with a lock. Otherwise a last line that is not
            whole is left out: it may be being written.

    Raises:
        StorageError: The file exists but cannot be read.
    """
    with _reading(path) as file:
        if file is None:
            return
        known = entries.Known(file.fileno(), offset)
        found: list[Entry] = []
        rejected: list[bytes] = []
        begins = ends = offset
        for line, ends in _lines(file, offset, stop):
            try:
                found += [entries.decode(line, known)] if line else []
            except entries.REJECTED:
                rejected.append(line)
            if len(found) + len(rejected) >= count or ends - begins >= PART_BYTES:
                yield _part(file, found, rejected, ends)
                found, rejected, begins = [], [], ends
        if ends > begins:
            yield _part(file, found, rejected, ends)


def waiting(path: Path, offset: int) -> Waiting:
    """Return what a journal holds from `offset` on, without decoding the polls.

    Raises:
        StorageError: The file exists but cannot be read.
    """
    polls: list[Timing] = []
    missed: list[MissedPoll] = []
    rejected, ends = 0, offset
    with _reading(path) as file:
        for line, behind in [] if file is None else _lines(file, offset, None):
            ends = behind
            if not line:
                continue
            if timing := entries.timing_of(line):
                polls.append(timing)
                continue
            try:
                entry = entries.decode(line, None)
            except entries.REJECTED:
                rejected += 1
            else:
                missed += [entry] if isinstance(entry, MissedPoll) else []
    return Waiting(tuple(polls), tuple(missed), rejected, ends - offset)


def polls(path: Path, offset: int, start_ms: int, stop_ms: int) -> Iterator[Snapshot]:
    """Yield the polls of an interval in time order; at most a day's are held in memory.

    Raises:
        StorageError: The file exists but cannot be read.
    """
    times = waiting(path, offset).polls_ms
    wanted = (
        poll
        for part in parts(path, offset)
        for poll in part.polls
        if start_ms <= poll.taken_ms < stop_ms
    )
    yield from wanted if list(times) == sorted(times) else sorted(wanted, key=_TIME)


def last_poll(cache_path: Path) -> Snapshot | None:
    """Return the newest poll whose time is not doubted, else the newest; None if there is none.

    Journals that cannot be read are passed over.

    Raises:
        StorageError: The directory cannot be read.
    """
    doubted: Snapshot | None = None
    for path in reversed(paths(cache_path)):
        with suppress(StorageError), _reading(path) as file:
            for poll in () if file is None else entries.backwards(file.fileno()):
                if not poll.flags & CLOCK_DOUBTED:
                    return poll
                doubted = doubted or poll
    return doubted


def line_of(poll: Snapshot) -> bytes:
    """Return a poll as a line of its own, without the line break."""
    return entries.encode(poll, entries.End(0, 0, b"", 0))[:-1]


def remove(path: Path, size: int, *, wait_s: float) -> bool:
    """Remove a journal that has still `size` bytes; return whether it is gone.

    Raises:
        LockHeldError: Another process kept the journal for `wait_s` seconds.
        StorageError: It cannot be removed.
    """
    if not path.exists():
        return True
    with _locked(path, wait_s, 0) as fd:
        if os.fstat(fd).st_size != size:
            return False
        path.unlink()
        files.sync_directory(path.parent)
        return True


def keep_lines(path: Path, lines: Sequence[bytes]) -> None:
    """Append damaged lines, or those of removed polls, durably to a file beside, each once.

    Raises:
        StorageError: The file cannot be written.
    """
    if not lines:
        return  # whatever has the name of that file does not matter then
    from hashlib import sha256  # not needed by a poll

    with _reading(path) as file:
        known = {sha256(line).digest() for line, _ in _lines(file, 0, None)} if file else set()
    new = [line for line in dict.fromkeys(lines) if sha256(line).digest() not in known]
    if new:
        with _locked(path, 0.0, os.O_CREAT) as fd:
            size = os.fstat(fd).st_size
            isolate = size and os.pread(fd, 1, size - 1) != b"\n"
            _write(fd, path, b"\n" * bool(isolate) + b"".join(line + b"\n" for line in new))


def _part(file: BinaryIO, found: Sequence[Entry], rejected: Sequence[bytes], offset: int) -> Part:
    return Part(
        tuple(entry for entry in found if isinstance(entry, Snapshot)),
        tuple(entry for entry in found if isinstance(entry, MissedPoll)),
        tuple(entry for entry in found if isinstance(entry, Repair)),
        *(tuple(rejected), offset, _tail_before(file, offset)),
    )


def _tail_before(file: BinaryIO, offset: int) -> str:
    begins = max(0, offset - _KNOWN_BY)
    return os.pread(file.fileno(), offset - begins, begins).hex()


def _tail(fd: int, size: int) -> bytes:
    return os.pread(fd, entries.TAIL_BYTES, max(0, size - entries.TAIL_BYTES))


def _lines(file: BinaryIO, offset: int, stop: int | None) -> Iterator[tuple[bytes, int]]:
    """Yield each line, cut at `entries.LONGEST`, and where the next one begins.

    A last line without a line break counts if `stop` says that the file ends there, or if nothing
    else of it is missing: it may be being written.
    """
    file.seek(offset)
    while True:
        line = piece = _piece(file, offset, stop)
        while piece and not piece.endswith(b"\n"):
            offset += len(piece)
            piece = _piece(file, offset, stop)
        offset += len(piece)
        if not line:
            return
        line = line.rstrip(b"\n")[: entries.LONGEST]
        if piece or stop is not None or entries.is_sealed(line):
            yield line, offset


def _piece(file: BinaryIO, offset: int, stop: int | None) -> bytes:
    length = entries.LONGEST + 1
    return file.readline(length if stop is None else min(length, stop - offset))


@contextmanager
def _reading(path: Path) -> Iterator[BinaryIO | None]:
    """Open a regular file to read; None if it is missing. A named pipe would wait for a writer."""
    try:
        fd = os.open(path, _READ)
    except FileNotFoundError:
        yield None
        return
    except OSError as exc:
        raise file_error(path, "cannot be read", exc) from exc
    try:
        _require_regular(path, fd)
    except BaseException:
        os.close(fd)
        raise
    with open(fd, "rb") as file:
        try:
            yield file
        except OSError as exc:
            raise file_error(path, "cannot be read", exc) from exc


@contextmanager
def _locked(path: Path, wait_s: float, flags: int) -> Iterator[int]:
    """Open and lock a file to append; one that was removed meanwhile is opened again."""
    try:
        while True:
            fd = os.open(path, _APPEND | flags, 0o640)
            try:
                _require_regular(path, fd)
                locks.acquire(fd, path, wait_s=wait_s)
                if _leads_to(path, fd):
                    yield fd
                    return
            finally:
                os.close(fd)
    except OSError as exc:
        raise file_error(path, "cannot be written", exc) from exc


def _require_regular(path: Path, fd: int) -> None:
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        raise StorageError(f"{path}: not a regular file", advice="move it away and run again")


def _leads_to(path: Path, fd: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(fd))
    except FileNotFoundError:
        return False


def _write(fd: int, path: Path, data: bytes) -> None:
    size = os.fstat(fd).st_size
    if size == 0:
        # Sync the directory before the first line is written, so that the file cannot vanish in a
        # power cut.
        files.sync_directory(path.parent)
    written = os.write(fd, data)
    if written != len(data):
        os.ftruncate(fd, size)
        raise StorageError(
            f"{path}: only {written} of {len(data)} bytes could be written: disk full?",
            advice=file_advice(path, errno.ENOSPC),
        )
    os.fsync(fd)
