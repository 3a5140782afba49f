"""All faults of a controller, as data for `tests.controller.test_faults`.

A `Profile` says how the controller behaves and what `luxcli poll-once` has to make of it.
"""

import contextlib
import random
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

from luxcli.model import GROUPS, Group, Snapshot
from tests.support.faulty_controller import (
    LAST_BLOCK,
    NOW_S,
    Fault,
    FaultyController,
    eventually,
    replay,
)

HOST = "127.0.0.1"
# Bytes of the three answers of the MSW 6, head and values, in the order of the requests.
PARAMETERS, CALCULATIONS, VISIBILITIES = 8 + 4 * 1075, 12 + 4 * 232, 8 + 327
ALL = PARAMETERS + CALCULATIONS + VISIBILITIES
BEGINNINGS: Mapping[Group, int] = {
    "parameters": 0,
    "calculations": PARAMETERS,
    "visibilities": PARAMETERS + CALCULATIONS,
}
COMMANDS: Mapping[Group, int] = {"parameters": 3003, "calculations": 3004, "visibilities": 3005}
HEADS: Mapping[Group, int] = {"parameters": 8, "calculations": 12, "visibilities": 8}
LARGEST, SMALLEST = 2**31 - 1, -(2**31)

Story = Callable[[int, Snapshot], Snapshot]


class Controller(Protocol):
    """What a test needs of the peer, a controller or not.

    Attributes:
        port: Where it is.
        sent: The poll meant for each connection so far, oldest first.
    """

    port: int
    sent: list[Snapshot]

    def __enter__(self) -> Self: ...
    def __exit__(self, *_: Any) -> None: ...
    def all_closed(self) -> bool:
        """Whether the client has closed every connection that the controller left open."""


class Pump(FaultyController):
    """Remembers the snapshots that it sends, and may change them in each connection."""

    def __init__(
        self, fault: Fault | None = None, *, story: Story | None = None, profile: str = "msw6"
    ) -> None:
        super().__init__(fault, profile=profile)
        self.sent: list[Snapshot] = []
        self._profile, self._story = profile, story
        self._ended_here = 0
        self._replay = self

    def at(self, epoch_s: float) -> Snapshot:
        snapshot = replay(self._profile).at(epoch_s)
        if self._story:
            snapshot = self._story(self.connections, snapshot)
        self.sent.append(snapshot)
        return snapshot

    def _serve(self, connection: socket.socket) -> None:
        try:
            super()._serve(connection)
        except TimeoutError:
            self._ended_here += 1
            raise

    def all_closed(self) -> bool:
        return eventually(lambda: self.closed_by_client + self._ended_here == self.connections)


class Nobody:
    """A port on which nobody listens."""

    def __init__(self) -> None:
        self.sent: list[Snapshot] = []
        self._socket = socket.socket()
        self._socket.bind((HOST, 0))
        self.port: int = self._socket.getsockname()[1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def all_closed(self) -> bool:
        return True


class NeverAccepts(Nobody):
    """The kernel takes the connection, the controller never looks at it."""

    def __enter__(self) -> Self:
        self._socket.listen()
        return self

    def all_closed(self) -> bool:
        connection, _ = self._socket.accept()
        with connection:
            connection.settimeout(2)
            return len(connection.recv(8)) == 8 and connection.recv(1) == b""


class RefusesTheSecond(Nobody):
    """Serves another client and resets every further connection."""

    def __enter__(self) -> Self:
        self._socket.listen()
        self._occupant = socket.create_connection((HOST, self.port))
        self._served, _ = self._socket.accept()
        self._thread = threading.Thread(target=self._refuse, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        for opened in (self._socket, self._served, self._occupant):
            opened.close()

    def _refuse(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                with connection:
                    linger = struct.pack("ii", 1, 0)
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)


class Occupied(Pump):
    """Serves another client for ever; every further client waits."""

    def __enter__(self) -> Self:
        super().__enter__()
        self._occupant = socket.create_connection((HOST, self.port))
        eventually(lambda: self.connections == 1)
        return self

    def __exit__(self, *error: Any) -> None:
        self._occupant.close()
        super().__exit__(*error)

    def all_closed(self) -> bool:
        self._occupant.close()
        return eventually(lambda: self.connections == 2) and super().all_closed()


@dataclass(frozen=True, kw_only=True)
class Profile:
    """A fault and what has to come of it.

    Attributes:
        name: What is wrong; the id of the test.
        controller: Makes the controller.
        statuses: Exit status of each run of `poll-once`, one after the other.
        reason: Why a failed run is recorded as missed.
        says: Part of the line that the user reads when a run fails.
        warns: Parts of what successful runs say, one for each; the rest of them say nothing.
        retries: Further attempts of each run.
        row: Line of the table; profiles of the same row share one.
        quick: Whether the ordinary test suite tries it as well.
    """

    name: str
    controller: Callable[[], Controller]
    statuses: tuple[int, ...] = (0,)
    reason: str = ""
    says: str = ""
    warns: tuple[str, ...] = ()
    retries: int = 0
    row: str = ""
    quick: bool = True


def _pump(fault: Fault) -> Callable[[], Controller]:
    return lambda: Pump(fault)


def _telling(story: Story, profile: str = "msw6") -> Callable[[], Controller]:
    return lambda: Pump(story=story, profile=profile)


_STORED: dict[str, Any] = {"statuses": (0,)}
_SILENT: dict[str, Any] = {
    "statuses": (69,),
    "reason": "timeout",
    "says": "no complete answer within 1 s",
}
_WRONG: dict[str, Any] = {"statuses": (76,), "reason": "protocol"}
_REJECTED: dict[str, Any] = {"statuses": (76,), "reason": "rejected", "says": "answer rejected: "}


# No connection, or no answer


def _connecting() -> Iterator[Profile]:
    yield Profile(
        name="connection refused",
        controller=Nobody,
        statuses=(69,),
        reason="refused",
        says="connect: connection refused",
    )
    yield Profile(name="connected, but never accepted", controller=NeverAccepts, **_SILENT)
    yield Profile(name="second client is left waiting", controller=Occupied, **_SILENT)
    yield Profile(
        name="second client is reset",
        controller=RefusesTheSecond,
        statuses=(69,),
        reason="network",
        says="reset by peer",
    )


# Closes, resets or falls silent at every kind of position

# Head words, values, inside of a head word, inside of a value, the last byte.
_PLACES: Mapping[Group, tuple[int, ...]] = {
    "parameters": (0, 2, 4, 6, 8, 10, 2008, 2010, 2011, PARAMETERS - 4, PARAMETERS - 1),
    "calculations": (0, 3, 4, 6, 8, 11, 12, 13, 412, 414, CALCULATIONS - 4, CALCULATIONS - 1),
    "visibilities": (0, 2, 4, 7, 8, 9, 170, VISIBILITIES - 1),
}
_QUICK_PLACES = {0, 2010, PARAMETERS + 414, PARAMETERS + CALCULATIONS + 170}


def _ending() -> Iterator[Profile]:
    for group, places in _PLACES.items():
        for offset in places:
            place = BEGINNINGS[group] + offset
            where = f"within the {group}, after {offset} bytes"
            quick = place in _QUICK_PLACES
            yield Profile(
                name=f"closes {where}",
                row=f"closes within the {group}",
                controller=_pump(Fault(close_after=place)),
                says=f"{group}: connection closed after",
                quick=quick,
                **_WRONG,
            )
            yield Profile(
                name=f"resets {where}",
                row=f"resets within the {group}",
                controller=_pump(Fault(reset_after=place)),
                statuses=(69,),
                reason="network",
                says=f"{group}: ",
                quick=quick,
            )
            yield Profile(
                name=f"falls silent {where}",
                row=f"falls silent within the {group}",
                controller=_pump(Fault(silent_after=place)),
                **{**_SILENT, "says": f"{group}: no complete answer within 1 s"},
                quick=offset == 2010,
            )


# Answers in pieces

SEGMENTS = (1, 2, 3, 4, 5, 7, *range(9, 1461, 13), 1459, 1460)
_QUICK_SEGMENTS = {7, 1209}


def _in_pieces() -> Iterator[Profile]:
    yield Profile(name="one byte at a time", controller=_pump(Fault(segment=1)))
    yield Profile(
        name="one byte every 0.3 s, without end",
        controller=_pump(Fault(segment=1, pause_s=0.3)),
        **_SILENT,
    )
    yield Profile(
        name="falls to a byte every 0.4 s within the visibilities",
        controller=lambda: _Slowing(PARAMETERS + CALCULATIONS + 20),
        quick=False,
        **_SILENT,
    )
    for size in sorted({*SEGMENTS, *_QUICK_SEGMENTS} - {1}):
        yield Profile(
            name=f"answers in segments of {size} bytes",
            row=f"answers in segments of 2 to 1460 bytes ({len(SEGMENTS)} sizes)",
            controller=_pump(Fault(segment=size)),
            quick=size in _QUICK_SEGMENTS,
        )


class _Slowing(Pump):
    """Sends fast at first, then single bytes at intervals."""

    def __init__(self, fast_bytes: int) -> None:
        super().__init__()
        self._fast_bytes = fast_bytes

    def _send(self, connection: socket.socket, answer: bytes) -> None:
        fast = max(0, min(len(answer), self._fast_bytes - self._sent))
        self._now = Fault()
        super()._send(connection, answer[:fast])
        self._now = Fault(segment=1, pause_s=0.4)
        super()._send(connection, answer[fast:])


# Answers something else


def _words() -> Iterator[Profile]:
    for group, command in COMMANDS.items():
        for echo in (0, -1, command - 1, command + 1, command << 8):
            yield Profile(
                name=f"echoes {echo} for the {group}",
                row=f"wrong echo for the {group}",
                controller=_pump(Fault(echo={command: echo})),
                says=f"{group}: asked with {command}, answered with {echo}",
                quick=(group, echo) == ("calculations", 0),
                **_WRONG,
            )
        for length in (0, -1, SMALLEST, 10_001, LARGEST):
            head = BEGINNINGS[group] + HEADS[group]
            for fault, what in (
                (Fault(announce={command: length}), "data"),
                (Fault(announce={command: length}, silent_after=head), "nothing"),
            ):
                yield Profile(
                    name=f"length {length} of the {group}, {what} follows",
                    row=f"length 0, negative or huge of the {group}, {what} follows",
                    controller=_pump(fault),
                    says=f"{group}: impossible length {length}",
                    quick=(group, length) == ("parameters", LARGEST) and what == "data",
                    **_WRONG,
                )
        count = len(replay().at(NOW_S).block(group))
        yield Profile(
            name=f"announces more {group} than it sends",
            controller=_pump(Fault(announce={command: count + 1})),
            quick=group == "visibilities",
            **_SILENT,
        )
        yield Profile(
            name=f"announces 10000 {group} and sends {count}",
            controller=_pump(Fault(announce={command: 10_000})),
            quick=False,
            **_SILENT,
        )
        yield Profile(
            name=f"announces fewer {group} than it sends",
            controller=_pump(Fault(announce={command: count - 1})),
            says="more than announced" if command == LAST_BLOCK else "answered with",
            **_WRONG,
        )
        for surplus in (1, 4, 1000):
            yield Profile(
                name=f"{surplus} bytes too many after the {group}",
                row=f"surplus bytes after the {group}",
                controller=_pump(Fault(surplus={command: bytes(surplus)})),
                says="more than announced" if command == LAST_BLOCK else "answered with",
                quick=surplus == 4 and group == "parameters",
                **_WRONG,
            )
        yield Profile(
            name=f"64 MB too many after the {group}",
            controller=_pump(Fault(surplus={command: bytes(64 << 20)})),
            says="more than announced" if command == LAST_BLOCK else "answered with",
            quick=command == LAST_BLOCK,
            **_WRONG,
        )


def _garbage() -> Iterator[Profile]:
    for seed in range(20):
        yield Profile(
            name=f"random bytes, seed {seed}",
            row="random bytes",
            controller=_pump(Fault(garbage=random.Random(seed).randbytes(6000))),
            says="parameters: asked with 3003, answered with",
            quick=seed < 1,
            **_WRONG,
        )
        yield Profile(
            name=f"right heads, random calculations, seed {seed}",
            row="right heads, random calculations",
            controller=_telling(_random_calculations(seed)),
            quick=seed < 1,
            **_REJECTED,
        )
    for name, text in (
        ("a web server", b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"),
        ("an SSH server", b"SSH-2.0-OpenSSH_9.6\r\n"),
    ):
        yield Profile(
            name=name, controller=_pump(Fault(garbage=text)), says="answered with", **_WRONG
        )
    yield Profile(
        name="three bytes, then nothing",
        controller=_pump(Fault(garbage=b"\0\0\x0b")),
        quick=False,
        **_SILENT,
    )
    for group in ("parameters", "calculations"):
        yield Profile(
            name=f"one of the {group} is missing, the later ones move up",
            controller=_telling(_without(group, 5)),
            **_REJECTED,
        )


def _random_calculations(seed: int) -> Story:
    def story(_number: int, snapshot: Snapshot) -> Snapshot:
        rng = random.Random(seed)
        block = tuple(rng.randint(SMALLEST, LARGEST) for _ in snapshot.calculations)
        return snapshot._replace(calculations=block)

    return story


def _without(group: str, index: int) -> Story:
    def story(_number: int, snapshot: Snapshot) -> Snapshot:
        block = getattr(snapshot, group)
        return snapshot._replace(**{group: (*block[:index], *block[index + 1 :], 0)})

    return story


# Busy, or well after some time


def _recovering() -> Iterator[Profile]:
    yield Profile(
        name="busy without end",
        controller=_pump(Fault(status=1)),
        statuses=(75,),
        reason="busy",
        says="calculations: controller is busy (status 1)",
    )
    yield Profile(
        name="busy for ever, one retry",
        controller=_pump(Fault(status=7)),
        statuses=(75,),
        reason="busy",
        says="calculations: controller is busy (status 7)",
        retries=1,
        quick=False,
    )
    for status in (-1, SMALLEST):
        yield Profile(
            name=f"status {status}",
            row="negative status",
            controller=_pump(Fault(status=status)),
            says=f"calculations: impossible status {status}",
            quick=status == -1,
            **_WRONG,
        )
    yield Profile(
        name="busy once", controller=_pump(Fault(status=1, times=1)), retries=1, quick=False
    )
    for name, fault in {
        "closes": Fault(close_after=1000),
        "resets": Fault(reset_after=1000),
        "is silent": Fault(silent_after=1000),
        "echoes wrongly": Fault(echo={3004: 0}),
        "sends garbage": Fault(garbage=bytes(range(200))),
    }.items():
        yield Profile(
            name=f"{name} once, then works",
            controller=_pump(replace(fault, times=1)),
            retries=1,
            quick=name == "closes",
        )
        yield Profile(
            name=f"{name} twice, then works",
            controller=_pump(replace(fault, times=2)),
            retries=2,
            quick=False,
        )
        failure = _SILENT if name == "is silent" else _WRONG
        if name == "resets":
            failure = {"statuses": (69,), "reason": "network"}
        yield Profile(
            name=f"{name} for two runs, then works",
            controller=_pump(replace(fault, times=2)),
            **{**failure, "statuses": (*failure["statuses"] * 2, 0, 0)},
            quick=name == "closes",
        )


# Blocks of other lengths, unusual values


def _sized(parameters: int, calculations: int, visibilities: int) -> Story:
    """Cut the blocks, or fill them with values that differ in each connection."""

    def story(number: int, snapshot: Snapshot) -> Snapshot:
        sizes = dict(zip(GROUPS, (calculations, parameters, visibilities), strict=True))
        blocks: dict[str, tuple[int, ...]] = {}
        for group in GROUPS:
            block, size = snapshot.block(group), sizes[group]
            further = range(len(block), size)
            # All of them change from one connection to the next, none moves to its neighbour.
            if group == "visibilities":
                more = [
                    *((index // 2 + number) % 2 for index in further[:-1]),
                    *[1] * bool(further),
                ]
            else:
                more = [-5_000_000 + (2 * index + number) % 3 for index in further]
            blocks[group] = (*block[:size], *more)
        return snapshot._replace(**blocks)

    return story


def _changed(*changes: Mapping[Group, Mapping[int, int]]) -> Story:
    """Show other values: the first changes in the first connection, and so on."""

    def story(number: int, snapshot: Snapshot) -> Snapshot:
        for group, values in changes[min(number, len(changes)) - 1].items():
            block = list(snapshot.block(group))
            for index, value in values.items():
                block[index] = value
            snapshot = snapshot._replace(**{group: tuple(block)})
        return snapshot

    return story


_COUNTERS = (*range(56, 67), 151, 152, 154)
_RESTARTED: Mapping[Group, Mapping[int, int]] = {
    "calculations": {**dict.fromkeys(_COUNTERS, 0), 120: 3, 134: 60},
    "parameters": dict.fromkeys((728, 729, 852, 854, 878, 1060), 0),
}
_STRANGE = (LARGEST, SMALLEST, 32_767, -32_768, 65_535, -9999, 999_999)


def _content() -> Iterator[Profile]:
    both: dict[str, Any] = {"statuses": (0, 0)}
    yield Profile(name="healthy", controller=_pump(Fault()), **both)
    yield Profile(
        name="shorter blocks", controller=_telling(_sized(1022, 200, 180)), statuses=(0, 0)
    )
    yield Profile(name="much shorter blocks", controller=_telling(_sized(12, 120, 1)), **_REJECTED)
    yield Profile(name="one value per block", controller=_telling(_sized(1, 1, 1)), **_REJECTED)
    yield Profile(name="longer blocks", controller=lambda: Pump(profile="long"), **both)
    yield Profile(
        name="blocks longer than any known, all new values change",
        controller=_telling(_sized(1300, 290, 420)),
        warns=("", "visibilities that have the value of the next one before: 1 "),
        **both,
    )
    yield Profile(
        name="blocks twice as long as any known, all new values change",
        controller=_telling(_sized(2400, 550, 800)),
        warns=("", "visibilities that have the value of the next one before: 1 "),
        statuses=(0, 0, 0),
        quick=False,
    )
    yield Profile(
        name="10000 values per block, the largest number accepted",
        controller=_telling(lambda _, snapshot: _sized(10_000, 10_000, 10_000)(0, snapshot)),
        quick=False,
        **both,
    )
    yield Profile(
        name="blocks of another length in each poll",
        controller=_telling(
            lambda number, snapshot: _sized(1100 + number, 230 + 10 * number, 300 + number)(
                number, snapshot
            )
        ),
        statuses=(0, 0, 0),
        warns=("", "240 values became 250", "250 values became 260"),
        quick=False,
    )
    yield Profile(
        name="restarts between polls: counters at 0, clock at 1970, then years ahead",
        controller=_telling(
            _changed(
                {},
                _RESTARTED,
                {**_RESTARTED, "calculations": {**_RESTARTED["calculations"], 56: 30, 134: 90}},
                {"calculations": {134: NOW_S + 10 * 365 * 86_400}},
            )
        ),
        statuses=(0, 0, 0, 0),
        warns=("", "the run times begin again"),
    )
    yield Profile(
        name="restarts, but only one of its heat meters begins at 0",
        controller=_telling(_changed({}, {"calculations": {151: 7}})),
        statuses=(0, 0),
    )
    yield Profile(
        name="frozen: clock and values do not change",
        controller=_pump(Fault()),
        statuses=(0, 0, 0),
    )
    yield Profile(
        name="values that stand for no value, and values out of range",
        controller=_telling(
            _changed(
                {
                    "calculations": dict(zip(range(10, 29), _STRANGE * 3, strict=False)),
                    "parameters": dict(zip(range(100, 121), _STRANGE * 3, strict=True)),
                },
                {"calculations": dict.fromkeys(range(10, 29), LARGEST)},
                {"calculations": dict.fromkeys(range(10, 29), SMALLEST)},
            )
        ),
        statuses=(0, 0, 0),
    )
    unusual: dict[str, dict[Group, dict[int, int]]] = {
        "an unknown model": {"calculations": {78: 500}},
        "an unknown operating mode": {"calculations": {80: 99}},
        "a firmware text of garbage": {"calculations": dict.fromkeys(range(81, 91), SMALLEST)},
        "flags of -128 and 127": {"visibilities": {0: -128, 7: 127}},
        "a dead clock": {"calculations": {134: 0}},
    }
    rules = ("codes", "codes", "firmware-text", "visibility-flags", "clock-zero")
    for (name, change), rule in zip(unusual.items(), rules, strict=True):
        yield Profile(name=name, controller=_telling(_changed(change)), warns=(f"{rule}: ",))
    yield Profile(
        name="an unknown model and a switch that is neither on nor off",
        controller=_telling(_changed({"calculations": {78: 500, 40: 99}})),
        **_REJECTED,
    )


FAULTS: tuple[Profile, ...] = (
    *_connecting(),
    *_ending(),
    *_in_pieces(),
    *_words(),
    *_garbage(),
    *_recovering(),
    *_content(),
)
