"""What all figures share: launcher of processes, filled databases, scratch directory, scale."""

import itertools
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from benchmarks import histories, year
from benchmarks.histories import History
from benchmarks.processes import Launcher
from luxcli.model import Snapshot
from luxcli.simulator.server import Simulator
from luxcli.store.store import Store


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured; `QUICK` tries the benchmark itself.

    Attributes:
        long: Days of the largest database.
        week: Days of the middle one; at least the seven of the weekly CSV.
        short: Days of the smallest one.
        rounds: Rounds of commands that take milliseconds.
        slow_rounds: Rounds of commands that take seconds.
        polls: Number of polls whose writes are counted; a multiple of `flush_polls`.
        sample: Number of polls that the reference schemes store.
        left_out: Figures that are measured only when they are named with ``--only``.
    """

    long: int
    week: int
    short: int
    rounds: int
    slow_rounds: int
    polls: int
    sample: int
    left_out: frozenset[str] = frozenset()


FULL = Scale(long=year.DAYS, week=8, short=2, rounds=25, slow_rounds=9, polls=100, sample=2880)
QUICK = Scale(
    long=2,
    week=2,
    short=1,
    rounds=2,
    slow_rounds=1,
    polls=20,
    sample=60,
    left_out=frozenset({"device"}),
)


@dataclass
class Bench:
    """One run of the benchmark; use it in a ``with`` block."""

    root: Path
    scale: Scale
    launcher: Launcher = field(default_factory=Launcher)

    def __enter__(self) -> Self:
        self._stack = ExitStack()
        self._stack.enter_context(self.launcher)
        self.scratch = Path(tempfile.mkdtemp(prefix="luxcli-bench-", dir=self.root))
        self._stack.callback(shutil.rmtree, self.scratch, ignore_errors=True)
        self._copies: dict[int, History] = {}
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def history(self, days: int) -> History:
        """Return the history of so many days; no figure may change it."""
        return histories.fill(self.root, days, self.scale.long)

    def shared_copy(self, days: int) -> History:
        """Return the copy of that history that all figures of this run may change."""
        if days not in self._copies:
            self._copies[days] = self.new_copy(days, f"days-{days}")
        return self._copies[days]

    def new_copy(self, days: int, name: str) -> History:
        """Return a copy of that history for one figure alone."""
        return histories.copy(self.history(days), self.scratch / name)

    def polls(self, count: int) -> list[Snapshot]:
        """Return the last polls of the simulated year."""
        store = Store(self.history(self.scale.short).database)
        start_ms = year.STOP_MS - round(count * year.INTERVAL_S * 1000 * 1.05)
        return list(store.query(start_ms, year.STOP_MS))[-count:]

    @contextmanager
    def controller(self, polls: Sequence[Snapshot]) -> Iterator[int]:
        """Simulate a controller that sends these polls in turn, one in each connection.

        Gives the TCP port.
        """
        with Simulator(_PollCycle(polls)) as simulator:
            yield simulator.port


class _PollCycle:
    """Takes the place of a `Replay` in the simulator: repeats polls and ignores the time."""

    def __init__(self, polls: Sequence[Snapshot]) -> None:
        self._polls = itertools.cycle(polls)

    def at(self, _epoch_s: float) -> Snapshot:
        return next(self._polls)
