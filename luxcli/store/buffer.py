r"""The write-ahead buffer: one line per poll or missed poll, durable when `append` returns.

A line is JSON with its own checksum as last member and ends with ``\n``::

    {"v":2,"i":1,"t":1764000000123,"d":98,"n":1,"l":123,"e":30,"f":0,"c":[...],"p":[...],...}\n
    {"v":2,"i":2,"t":1764000030120,"d":97,"n":1,"l":120,"e":30,"f":0,"c":[...],"r":"9d2e...",...}\n
    {"v":2,"i":3,"t":1764000060000,"m":"timeout","n":4,"d":254000,"x":"...","l":0,...}\n

``i`` number of the line, ``t`` start in ms UTC, ``d`` duration in ms, ``n`` tries,
``l`` lateness in ms, ``e`` interval in s, ``f`` marks,
``c`` calculations, ``p`` parameters, ``s`` visibilities, ``m`` reason of a missed poll and ``x``
its detail, ``k`` the CRC-32 of all bytes before ``,"k"``. Settings rarely change, so a line may
leave out ``p`` and ``s`` and name by ``r`` (CRC-32 of both) the last line before it that holds
them. At most `_REPEAT` lines in a row do so, which bounds what one damaged line can cost and how
much of the file a writer has to read.
"""

import json
import os
import re
import stat
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from operator import attrgetter
from pathlib import Path
from typing import BinaryIO, NamedTuple

from luxcli.errors import StorageError
from luxcli.model import MissedPoll, Snapshot, Timing
from luxcli.system import files

_REPEAT = 20
# Entries that are held in memory at once.
_PART = 500
# Room for `_REPEAT` lines of the largest known controller and a full one.
_TAIL_BYTES = 128 * 1024
_BEGIN = b'{"v":2,"i":'
# Up to the marks of a poll: what a reader of times needs.
_HEAD = (
    rb'\{"v":2,"i":\d{1,9},"t":(-?\d{1,18}),"d":\d{1,18},"n":\d{1,9},'
    rb'"l":(-?\d{1,18}),"e":(\d{1,9}),"f":(\d{1,9}),"c":'
)
_SEAL_BYTES = len(',"k":"00000000"}')


class Content(NamedTuple):
    """What a buffer holds.

    Attributes:
        polls: Complete polls in the order in which they were written.
        missed: Missed polls and their reasons.
        rejected: Lines that are torn or damaged, as raw bytes.
        size: Bytes that were read; what is written later lies behind them.
    """

    polls: tuple[Snapshot, ...]
    missed: tuple[MissedPoll, ...]
    rejected: tuple[bytes, ...]
    size: int


class Waiting(NamedTuple):
    """What waits in a buffer: as `Content`, but with the times of the polls alone."""

    polls: tuple[Timing, ...]
    missed: tuple[MissedPoll, ...]
    rejected: tuple[bytes, ...]
    size: int

    @property
    def polls_ms(self) -> tuple[int, ...]:
        """The times of the polls."""
        return tuple(poll.ts_ms for poll in self.polls)


def append_poll(path: Path, snapshot: Snapshot) -> int:
    """Append one poll and make it durable. The caller holds the storage lock.

    Returns:
        How many lines the buffer now holds.

    Raises:
        StorageError: The line could not be made durable; no part of it counts.
    """
    tail = _tail(path)
    number = _next_number(tail)
    fields: dict[str, object] = {
        "v": 2,
        "i": number,
        "t": snapshot.taken_ms,
        "d": snapshot.took_ms,
        "n": snapshot.tries,
        "l": snapshot.late_ms,
        "e": snapshot.interval_s,
        "f": snapshot.flags,
        "c": snapshot.calculations,
    }
    last, lines_since = _last_settings(tail)
    if last == (snapshot.parameters, snapshot.visibilities) and lines_since < _REPEAT:
        fields["r"] = _settings_crc(snapshot.parameters, snapshot.visibilities)
    else:
        fields["p"] = snapshot.parameters
        fields["s"] = snapshot.visibilities
    _append(path, _line(fields), isolate=not tail.endswith(b"\n"))
    return number


def append_missed(path: Path, missed: MissedPoll) -> None:
    """Append one missed poll and make it durable. The caller holds the storage lock.

    Raises:
        StorageError: The line could not be made durable.
    """
    tail = _tail(path)
    fields: dict[str, object] = {
        "v": 2,
        "i": _next_number(tail),
        "t": missed.ts_ms,
        "m": missed.reason,
        "n": missed.tries,
        "d": missed.took_ms,
        "x": missed.detail,
        "l": missed.late_ms,
        "e": missed.interval_s,
        "f": missed.flags,
    }
    _append(path, _line(fields), isolate=not tail.endswith(b"\n"))


def last_poll(path: Path) -> Snapshot | None:
    """Return the newest poll of the buffer, None if its end holds none; needs no lock.

    Raises:
        StorageError: The file exists but cannot be read.
    """
    found: Snapshot | None = None
    settings: dict[str, _Settings] = {}
    for line in _lines(_tail(path)):
        with suppress(ValueError, KeyError, TypeError):
            entry = _entry(line, settings)
            found = entry if isinstance(entry, Snapshot) else found
    return found


def read(path: Path) -> Content:
    """Read the whole buffer; a missing file is an empty one. The caller holds the storage lock.

    Raises:
        StorageError: The file exists but cannot be read.
    """
    [content] = parts(path, None)
    return content


def parts(path: Path, count: int | None) -> Iterator[Content]:
    """Read the buffer, at least one part of up to `count` entries after the other.

    Memory is bounded, however long the database could not be written. `size` of each part is what
    was read so far.

    Raises:
        StorageError: The file exists but cannot be read.
    """
    polls: list[Snapshot] = []
    missed: list[MissedPoll] = []
    rejected: list[bytes] = []
    settings: dict[str, _Settings] = {}
    size = 0
    for raw in _file_lines(path):
        size += len(raw)
        line = raw.rstrip(b"\n")
        if not line:
            continue
        try:
            entry = _entry(line, settings)
        except (ValueError, KeyError, TypeError):
            rejected.append(line)
        else:
            if isinstance(entry, Snapshot):
                polls.append(entry)
            else:
                missed.append(entry)
        if count is not None and len(polls) + len(missed) + len(rejected) >= count:
            yield Content(tuple(polls), tuple(missed), tuple(rejected), size)
            polls, missed, rejected = [], [], []
    yield Content(tuple(polls), tuple(missed), tuple(rejected), size)


def waiting(path: Path) -> Waiting:
    """Return what the buffer holds without decoding the polls; needs no lock.

    Raises:
        StorageError: The file exists but cannot be read.
    """
    polls: list[Timing] = []
    missed: list[MissedPoll] = []
    rejected: list[bytes] = []
    size = 0
    for raw in _file_lines(path):
        size += len(raw)
        line = raw.rstrip(b"\n")
        if not line:
            continue
        head = re.match(_HEAD, line)
        try:
            if head and _is_sealed(line):
                polls.append(Timing(*map(int, head.groups())))
                continue
            entry = _entry(line, {})
        except (ValueError, KeyError, TypeError):
            rejected.append(line)
        else:
            if isinstance(entry, MissedPoll):
                missed.append(entry)
    return Waiting(tuple(polls), tuple(missed), tuple(rejected), size)


def polls(path: Path, start_ms: int, stop_ms: int) -> Iterator[Snapshot]:
    """Yield the polls of an interval in time order; a long buffer is not held in memory.

    Raises:
        StorageError: The file exists but cannot be read.
    """
    times = waiting(path).polls_ms
    wanted = (
        poll
        for part in parts(path, _PART)
        for poll in part.polls
        if start_ms <= poll.taken_ms < stop_ms
    )
    in_memory = len(times) <= _PART or list(times) != sorted(times)
    return iter(sorted(wanted, key=attrgetter("taken_ms"))) if in_memory else wanted


def clear(path: Path, size: int) -> None:
    """Empty the buffer, which must hold `size` bytes: its lines are in the database now.

    Not synced on purpose: lines that reappear after a power cut are stored again without effect.
    """
    try:
        with path.open("r+b") as file:
            if os.fstat(file.fileno()).st_size != size:
                raise StorageError(f"{path}: changed while it was locked; not cleared")
            file.truncate(0)
    except FileNotFoundError:
        return
    except OSError as exc:
        raise StorageError(f"{path}: cannot clear the buffer: {exc.strerror}") from exc


def quarantine(path: Path, lines: Sequence[bytes]) -> None:
    """Append damaged lines to the file `path` durably, for `restore` or a person to look at."""
    data = b"".join(line + b"\n" for line in lines)
    _append(path, data, isolate=not _tail(path).endswith(b"\n"))


_Settings = tuple[tuple[int, ...], tuple[int, ...]]


def _line(fields: dict[str, object]) -> bytes:
    # ASCII: a detail may hold what is not valid in UTF-8, such as half of a surrogate pair.
    body = json.dumps(fields, separators=(",", ":")).encode()[:-1]
    return b'%b,"k":"%08x"}\n' % (body, zlib.crc32(body))


def _is_sealed(line: bytes) -> bool:
    """Whether a line ends with its own checksum."""
    body, checksum = line[:-_SEAL_BYTES], line[-_SEAL_BYTES:]
    return checksum == b',"k":"%08x"}' % zlib.crc32(body)


def _open(path: Path) -> BinaryIO:
    """Open a regular file to read; opening a named pipe would wait for its writer."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise StorageError(f"{path}: not a regular file", advice="move it away and run again")
    return open(fd, "rb")


def _file_lines(path: Path) -> Iterator[bytes]:
    try:
        with _open(path) as file:
            yield from file
    except FileNotFoundError:
        return
    except OSError as exc:
        raise StorageError(f"{path}: cannot read the buffer: {exc.strerror}") from exc


def _lines(data: bytes) -> Iterator[bytes]:
    for line in data.split(b"\n"):
        if line:
            yield line


def _entry(line: bytes, settings: dict[str, _Settings]) -> Snapshot | MissedPoll:
    """Decode one line; `settings` collects what later lines refer to."""
    if not _is_sealed(line):
        raise ValueError("checksum")
    fields = json.loads(line)
    if fields["v"] != 2:
        raise ValueError("version")
    if "m" in fields:
        content = (fields["m"], fields["n"], fields["d"], fields["x"])
        return MissedPoll(fields["t"], *content, fields["l"], fields["e"], fields["f"])
    if "r" in fields:
        pair = settings[fields["r"]]
    else:
        pair = (tuple(fields["p"]), tuple(fields["s"]))
        # Settings that repeat are one object, however often they were written.
        pair = settings.setdefault(_settings_crc(*pair), pair)
    head = (fields["t"], fields["d"], fields["n"])
    return Snapshot(*head, tuple(fields["c"]), *pair, fields["l"], fields["e"], fields["f"])


def _settings_crc(parameters: Sequence[int], visibilities: Sequence[int]) -> str:
    text = json.dumps((parameters, visibilities), separators=(",", ":"))
    return f"{zlib.crc32(text.encode()):08x}"


def _tail(path: Path) -> bytes:
    """Return the last `_TAIL_BYTES`; a missing file counts as one that ends with a line break."""
    try:
        with _open(path) as file:
            length = file.seek(0, os.SEEK_END)
            file.seek(max(0, length - _TAIL_BYTES))
            return file.read() or b"\n"
    except FileNotFoundError:
        return b"\n"
    except OSError as exc:
        raise StorageError(f"{path}: cannot read the buffer: {exc.strerror}") from exc


def _next_number(tail: bytes) -> int:
    for line in reversed(list(_lines(tail))):
        if line.startswith(_BEGIN):
            digits, comma, _ = line[len(_BEGIN) : len(_BEGIN) + 10].partition(b",")
            if comma and digits.isdigit():
                return int(digits) + 1
    return 1


def _last_settings(tail: bytes) -> tuple[_Settings | None, int]:
    """Return the settings that a new line may refer to, and how many lines already do."""
    for count, line in enumerate(reversed(list(_lines(tail)))):
        if b'"p":[' in line:
            found: dict[str, _Settings] = {}
            try:
                _entry(line, found)
            except (ValueError, KeyError, TypeError):
                return None, count
            return next(iter(found.values())), count
    return None, 0


def _append(path: Path, data: bytes, *, isolate: bool) -> None:
    # The line break ends a line that a power cut or a full disk left half written.
    if isolate:
        data = b"\n" + data
    try:
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            size = os.fstat(fd).st_size
            if size == 0:
                # Sync the directory before the first line is written, so that the file cannot
                # vanish in a power cut.
                files.sync_directory(path.parent)
            written = os.write(fd, data)
            if written != len(data):
                os.ftruncate(fd, size)
                raise StorageError(
                    f"{path}: only {written} of {len(data)} bytes could be written: disk full?"
                )
            os.fsync(fd)
        finally:
            os.close(fd)
    except OSError as exc:
        raise StorageError(f"{path}: cannot append: {exc.strerror}") from exc
