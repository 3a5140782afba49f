r"""The entries of a journal as lines: a poll, a missed poll or a repair each.

A line is JSON with its own checksum as last member and ends with ``\n``::

    {"v":1,"i":1,"t":1764000000123,"d":98,"n":1,"l":123,"e":30,"f":0,"c":[...],"h":"9d..","p":[...],...}\n
    {"v":1,"i":2,"t":1764000030120,"d":97,"n":1,"l":120,"e":30,"f":0,"c":[...],"r":"9d..","k":"..."}\n
    {"v":1,"i":3,"t":1764000060000,"m":"timeout","n":4,"d":254000,"x":"...","l":0,...}\n
    {"v":1,"i":4,"t":1764000090000,"a":"5b...","o":1763999000000,"w":1764000000000,"k":"..."}\n

``i`` number of the line in its file, ``t`` start in ms UTC, ``d`` duration in ms, ``n`` tries,
``l`` lateness in ms, ``e`` interval in s, ``f`` marks, ``c`` calculations, ``p`` parameters, ``s``
visibilities; ``m`` reason of a missed poll and ``x`` its detail; ``a`` SHA-256 of a poll whose time
was repaired, ``o`` its old and ``w`` its new time, null if it was removed; ``k`` the CRC-32 of all
bytes before ``,"k"``. Settings rarely change: ``h`` begins the SHA-256 of ``[p,s]``, and a line
without ``p`` and ``s`` names by ``r`` a line before it in the same file that holds them. At most
`REPEAT` lines in a row do so, which bounds what one damaged line can cost and how much of the file
a writer has to read.
"""

import json
import os
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

from luxcli.model import CLOCK_DOUBTED, EARLIEST_MS, LATEST_MS, MissedPoll, Repair, Snapshot, Timing

Entry = Snapshot | MissedPoll | Repair

REPEAT: Final = 20
# Room for `REPEAT` lines of the largest known controller and a full one.
TAIL_BYTES: Final = 128 * 1024
# A day of polls of the largest known controller is not longer, and fits into little memory.
_DAY_BYTES: Final = 8 * 1024 * 1024
# No line that luxcli writes is longer.
LONGEST: Final = 1024 * 1024
# What decoding a damaged line may raise.
REJECTED: Final = (ValueError, KeyError, TypeError, RecursionError)
_BEGIN: Final = b'{"v":1,"i":'
_HEAD: Final = (
    rb'\{"v":1,"i":\d{1,9},"t":(-?\d{1,18}),"d":\d{1,18},"n":\d{1,9},"l":(-?\d{1,18}),"e":(\d{1,9})'
    rb',"f":(\d{1,9}),'
)
# In the line of a poll whose time is not doubted: `f` is even.
_UNDOUBTED: Final = rb'"f":\d?[02468],"c":'
_SEAL_BYTES: Final = len(',"k":"00000000"}')
_HASH_DIGITS: Final = 32

_Settings = tuple[tuple[int, ...], tuple[int, ...]]


class End(NamedTuple):
    """What a writer needs of the end of a journal.

    Attributes:
        number: That of the last line, 0 without one.
        poll: That of the last poll, 0 without one.
        full: The last line with settings.
        since: How many lines stand behind it.
    """

    number: int
    poll: int
    full: bytes
    since: int


class Known:
    """The settings that lines may refer to by their hash.

    Args:
        fd: The journal.
        offset: Lines before it are looked up when they are needed.
        is_trusted: Do not compare settings with their hash, which takes a while to load.
    """

    def __init__(self, fd: int, offset: int, *, is_trusted: bool = False) -> None:
        self._fd, self._offset, self._is_trusted = fd, offset, is_trusted
        self._pairs: dict[str, _Settings] = {}

    def add(self, name: str, parameters: object, visibilities: object) -> _Settings:
        """Take the settings of a line; raises ValueError if they do not fit their hash."""
        pair = (_block(parameters), _block(visibilities))
        if not self._is_trusted and _settings_hash(*map(_text, pair)) != name:
            raise ValueError("hash of the settings")
        # Settings that repeat are one object, however often they were written.
        return self._pairs.setdefault(name, pair)

    def __getitem__(self, name: str) -> _Settings:
        if name not in self._pairs:
            data = os.pread(self._fd, TAIL_BYTES, max(0, self._offset - TAIL_BYTES))
            sought = b'"h":"%b","p":[' % name.encode()
            place = data.rfind(sought, 0, self._offset)
            while place >= 0 and name not in self._pairs:
                ends = data.find(b"\n", place)
                with suppress(*REJECTED):
                    decode(
                        data[data.rfind(b"\n", 0, place) + 1 : ends if ends >= 0 else None], self
                    )
                place = data.rfind(sought, 0, place)
        return self._pairs[name]


def encode(entry: Entry, end: End) -> bytes:
    """Return an entry as the line that follows `end`."""
    body = _body(end.number + 1, entry, end).encode()
    return b'%b,"k":"%08x"}\n' % (body, zlib.crc32(body))


def timing_of(line: bytes) -> Timing | None:
    """Return when a poll was taken, None if the line is something else or damaged."""
    head = re.match(_HEAD, line)
    timing = Timing(*map(int, head.groups())) if head and is_sealed(line) else None
    return timing if timing and _is_possible(timing.ts_ms, timing.flags) else None


def _body(number: int, entry: Entry, end: End) -> str:
    """Return a line without its checksum."""
    # ASCII: a detail may hold what is not valid in UTF-8, such as half of a surrogate pair.
    begin = f'{{"v":1,"i":{number},"t":'
    if isinstance(entry, Repair):
        new = "null" if entry.new_ms is None else entry.new_ms
        return f'{begin}{entry.done_ms},"a":"{entry.sha256}","o":{entry.old_ms},"w":{new}'
    schedule = f'"l":{entry.late_ms},"e":{entry.interval_s},"f":{entry.flags}'
    if isinstance(entry, MissedPoll):
        reason, detail = json.dumps(entry.reason), json.dumps(entry.detail)
        took = f'"n":{entry.tries},"d":{entry.took_ms}'
        return f'{begin}{entry.ts_ms},"m":{reason},{took},"x":{detail},{schedule}'
    took = f'"d":{entry.took_ms},"n":{entry.tries}'
    head = f'{begin}{entry.taken_ms},{took},{schedule},"c":{_text(entry.calculations)}'
    parameters, visibilities = _text(entry.parameters), _text(entry.visibilities)
    settings = f'"p":{parameters},"s":{visibilities}'
    name = _name_of(settings.encode(), end.full)
    if name and end.since < REPEAT:
        return f'{head},"r":"{name}"'
    return f'{head},"h":"{name or _settings_hash(parameters, visibilities)}",{settings}'


def _text(block: Sequence[int]) -> str:
    return json.dumps(block, separators=(",", ":"))


def _settings_hash(parameters: str, visibilities: str) -> str:
    from hashlib import sha256  # not needed by most polls

    return sha256(f"[{parameters},{visibilities}]".encode()).hexdigest()[:_HASH_DIGITS]


def _name_of(settings: bytes, full: bytes) -> str | None:
    """Return the hash in the line `full` if it holds just these settings, else None."""
    body = full[:-_SEAL_BYTES]
    if not body.endswith(b'",' + settings) or not is_sealed(full):
        return None
    ends = len(body) - len(settings) - 2
    begins = ends - _HASH_DIGITS
    return body[begins:ends].decode() if body[:begins].endswith(b',"h":"') else None


def is_sealed(line: bytes) -> bool:
    """Whether a line ends with its own checksum."""
    body, checksum = line[:-_SEAL_BYTES], line[-_SEAL_BYTES:]
    return checksum == b',"k":"%08x"}' % zlib.crc32(body)


def backwards(fd: int) -> Iterator[Snapshot]:
    """Yield the polls of a journal from the last one on: all of its end, before that undoubted."""
    size = os.fstat(fd).st_size
    stop = max(0, size - TAIL_BYTES)
    for begins, ends in ((stop, size), (max(0, stop - _DAY_BYTES), stop)):
        data = os.pread(fd, ends - begins, begins)
        if begins < stop and not re.search(_UNDOUBTED, data):
            return  # a day of a wrong clock
        for place, line in _from_end(data):
            known = Known(fd, begins + place, is_trusted=True)
            with suppress(*REJECTED):
                is_poll = number_of(line)[1]
                if is_poll and isinstance(entry := decode(line, known), Snapshot):
                    yield entry


def number_of(line: bytes) -> tuple[int, bool]:
    """Return the number of a line, 0 if it has none, and whether it seems to be a poll."""
    if not line.startswith(_BEGIN):
        return 0, False
    digits, _, rest = line[len(_BEGIN) : len(_BEGIN) + 50].partition(b",")
    if not rest or not digits.isdigit():
        return 0, False
    return int(digits), rest.partition(b",")[2].startswith(b'"d":')


def _from_end(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the lines that are not empty, the last one first, and where each begins."""
    ends = len(data)
    while ends > 0:
        begins = data.rfind(b"\n", 0, ends) + 1
        if begins < ends:
            yield begins, data[begins:ends]
        ends = begins - 1


def end_of(tail: bytes) -> End:
    """Return what a writer needs of the last `TAIL_BYTES` of a journal."""
    number = poll = since = 0
    full = b""
    for _, line in _from_end(tail):
        found, is_poll = number_of(line)
        number = number or found
        poll = poll or (found if is_poll else 0)
        if b'"p":[' in line:
            full = full or line
        since += not full
        if full and poll:
            break
    return End(number, poll, full, since)


def decode(line: bytes, known: Known | None) -> Entry:
    """Decode one line; raises one of `REJECTED`. `known` may be missing for all but polls."""
    if not is_sealed(line) or len(line) >= LONGEST:
        raise ValueError("checksum")
    fields = json.loads(line)
    if fields["v"] != 1:
        raise ValueError("version")
    if "a" in fields:
        new_ms = None if fields["w"] is None else _whole(fields["w"])
        return Repair(str(fields["a"]), _whole(fields["o"]), new_ms, _whole(fields["t"]))
    ts_ms, took_ms, tries = _whole(fields["t"]), _whole(fields["d"]), _whole(fields["n"])
    schedule = (_whole(fields["l"]), _whole(fields["e"]), _whole(fields["f"]))
    entry: Entry
    if "m" in fields:
        reason, detail = str(fields["m"]), str(fields["x"])
        entry = MissedPoll(ts_ms, reason, tries, took_ms, detail, *schedule)
    elif known is None:
        raise ValueError("poll")
    else:
        head = (ts_ms, took_ms, tries, _block(fields["c"]))
        if "r" in fields:
            pair = known[fields["r"]]
        else:
            pair = known.add(fields["h"], fields["p"], fields["s"])
        entry = Snapshot(*head, *pair, *schedule)
    if not _is_possible(ts_ms, entry.flags):
        raise ValueError("time")  # the database would be taken for damaged
    return entry


def _is_possible(ts_ms: int, flags: int) -> bool:
    """Whether a clock may have shown this time; one that is doubted may show any."""
    return EARLIEST_MS <= ts_ms < LATEST_MS or bool(flags & CLOCK_DOUBTED)


def _whole(value: object) -> int:
    if type(value) is not int or abs(value) >= 1 << 62:
        raise ValueError("number")
    return value


def _block(values: object) -> tuple[int, ...]:
    """Return a block of raw values; raises ValueError if it holds what no register can."""
    if not isinstance(values, list) or not set(map(type, values)) <= {int}:
        raise ValueError("block")
    if values and (min(values) < -(1 << 31) or max(values) >= 1 << 31):
        raise ValueError("range")
    return tuple(values)
