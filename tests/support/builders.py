"""Snapshots, and Python processes, for tests of what is stored.

`small` polls have few registers, so that thousands of them are quick; `real` ones have the
registers of a whole heat pump.
"""

import functools
import hashlib
import json
import os
import subprocess
import sys
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import luxcli
from luxcli.model import MissedPoll, Snapshot
from luxcli.simulator.replay import Replay
from luxcli.store import journal

PROJECT = Path(luxcli.__file__).parent.parent
START_MS = 1_800_000_000_123
# Reaches beyond the first slow calculations, the firmware text and addresses from 81 on.
LENGTHS = (95, 6, 4)

Changes = Mapping[int, int]


def small(
    ts_ms: int,
    calculations: Changes | None = None,
    parameters: Changes | None = None,
    visibilities: Changes | None = None,
    *,
    lengths: Sequence[int] = LENGTHS,
    took_ms: int = 95,
    tries: int = 1,
) -> Snapshot:
    """Return a poll whose registers hold their index plus 1000, but for the changes."""
    blocks = (
        block(length, 1000, changes)
        for length, changes in zip(lengths, (calculations, parameters, visibilities), strict=True)
    )
    return scheduled(Snapshot(ts_ms, took_ms, tries, *blocks))


def scheduled(poll: Snapshot, interval_s: int = 30) -> Snapshot:
    """Return a poll as made for the last scheduled time before it."""
    late_ms = poll.taken_ms % (interval_s * 1000)
    return poll._replace(late_ms=late_ms, interval_s=interval_s, flags=0)


def block(length: int, first: int, changes: Changes | None = None) -> tuple[int, ...]:
    """Return `length` consecutive integers with some replaced."""
    return tuple((changes or {}).get(index, first + index) for index in range(length))


@functools.cache
def replay(profile: str) -> Replay:
    """Return the one simulated heat pump of that profile."""
    return Replay(profile)


def missed(
    ts_ms: int,
    reason: str,
    *,
    tries: int = 4,
    took_ms: int = 14_000,
    detail: str = "no answer",
    interval_s: int = 30,
) -> MissedPoll:
    """Return a missed poll of the last scheduled time before it."""
    schedule = (ts_ms % (interval_s * 1000), interval_s, 0)
    return MissedPoll(ts_ms, reason, tries, took_ms, detail, *schedule)


def real(ts_ms: int, profile: str = "msw6", *, interval_s: int = 30) -> Snapshot:
    """Return a poll of a whole heat pump at that time."""
    poll = replay(profile).at(ts_ms / 1000)
    blocks = (poll.calculations, poll.parameters, poll.visibilities)
    return scheduled(Snapshot(ts_ms, 97, 1, *blocks), interval_s)


def reals(
    count: int,
    profile: str = "msw6",
    *,
    start_ms: int = START_MS,
    step_ms: int = 30_000,
    interval_s: int = 30,
) -> list[Snapshot]:
    """Return consecutive polls of a whole heat pump."""
    times = range(start_ms, start_ms + count * step_ms, step_ms)
    return [real(ts_ms, profile, interval_s=interval_s) for ts_ms in times]


def journal_line(poll: Snapshot, number: int = 1) -> bytes:
    """Return a line of a journal with settings, made by the description of the format."""
    settings = json.dumps((poll.parameters, poll.visibilities), separators=(",", ":"))
    fields = {
        "v": 1,
        "i": number,
        "t": poll.taken_ms,
        "d": poll.took_ms,
        "n": poll.tries,
        "l": poll.late_ms,
        "e": poll.interval_s,
        "f": poll.flags,
        "c": poll.calculations,
        "h": hashlib.sha256(settings.encode()).hexdigest()[:32],
        "p": poll.parameters,
        "s": poll.visibilities,
    }
    body = json.dumps(fields, separators=(",", ":")).encode()[:-1]
    return body + f',"k":"{zlib.crc32(body):08x}"}}\n'.encode()


def write_journals(cache_path: Path, polls: Iterable[Snapshot]) -> None:
    """Append polls to the journals of their days without waiting for the disk after each."""
    lines: dict[Path, list[bytes]] = {}
    for poll in polls:
        path = journal.path_at(cache_path, poll.taken_ms)
        lines.setdefault(path, []).append(journal_line(poll))
    for path, those in lines.items():
        with path.open("ab") as file:
            file.writelines(those)


def journals(cache_path: Path) -> dict[str, bytes]:
    """Return the content of each journal."""
    return {path.name: path.read_bytes() for path in journal.paths(cache_path)}


def python(code: str, *arguments: object, **options: Any) -> "subprocess.Popen[str]":
    """Start a Python process that can import luxcli and this module; its output is piped."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        **options,
    )


def traced(code: str, *arguments: object) -> list[str] | None:
    """Return the writes and syncs of a Python process, a line each with the names of the files.

    None where strace is missing or forbidden, as it is in many containers.
    """
    calls = "trace=write,pwrite64,fsync,fdatasync,ftruncate,ftruncate64"
    try:
        done = subprocess.run(
            ["strace", "-y", "-e", calls, sys.executable, "-c", code, *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=PROJECT,
            env={**os.environ, "PYTHONPATH": str(PROJECT)},
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stderr.splitlines()


def differing(
    found: Iterable[Snapshot], expected: Iterable[Snapshot]
) -> list[tuple[int, str, int, int | None, int | None]]:
    """Return ``(ts_ms, group, index, found, expected)`` of every value that differs.

    Shorter to read than two thousand integers when a comparison fails.
    """
    pairs = list(zip(found, expected, strict=True))
    differences = []
    for ours, theirs in pairs:
        assert (ours.taken_ms, ours.took_ms, ours.tries) == (
            theirs.taken_ms,
            theirs.took_ms,
            theirs.tries,
        )
        for group in ("calculations", "parameters", "visibilities"):
            left, right = getattr(ours, group), getattr(theirs, group)
            differences += [
                (ours.taken_ms, group, index, _at(left, index), _at(right, index))
                for index in range(max(len(left), len(right)))
                if _at(left, index) != _at(right, index)
            ]
    return differences


def _at(values: Sequence[int], index: int) -> int | None:
    return values[index] if index < len(values) else None
