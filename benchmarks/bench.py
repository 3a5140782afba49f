"""What every figure needs: processes, caches, a directory to work in, how much to do."""

import itertools
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from benchmarks import stores, year
from benchmarks.processes import Launcher
from benchmarks.stores import Filled
from luxcli.model import Snapshot
from luxcli.simulator.server import Simulator
from luxcli.store.store import Store


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured; the quick one is for trying the benchmark itself.

    Attributes:
        long: Days of the large cache.
        week: Days of the middle one, at least those of the weekly CSV.
        short: Days of the small one.
        rounds: Of what is quick.
        slow_rounds: Of what takes seconds.
        polls: Whose writes are counted; a multiple of `flush_polls`.
        sample: Polls that the other schemes store.
        left_out: Figures that are not measured unless they are asked for.
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
        self._copies: dict[int, Filled] = {}
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def cache(self, days: int) -> Filled:
        """Return the cache of so many days; nobody changes it."""
        return stores.filled(self.root, days, self.scale.long)

    def copy(self, days: int) -> Filled:
        """Return a copy of it that this run may change; the same one each time."""
        if days not in self._copies:
            self._copies[days] = stores.copied(self.cache(days), self.scratch / f"days-{days}")
        return self._copies[days]

    def fresh(self, days: int, name: str) -> Filled:
        """Return a copy of its own."""
        return stores.copied(self.cache(days), self.scratch / name)

    def polls(self, count: int) -> list[Snapshot]:
        """Return the last polls of the year."""
        store = Store(self.cache(self.scale.short).cache)
        start_ms = year.STOP_MS - round(count * year.INTERVAL_S * 1000 * 1.05)
        return list(store.query(start_ms, year.STOP_MS))[-count:]

    @contextmanager
    def controller(self, polls: Sequence[Snapshot]) -> Iterator[int]:
        """Serve these polls in turn, one for each connection; gives the TCP port."""
        with Simulator(_Recorded(polls)) as simulator:
            yield simulator.port


class _Recorded:
    """Stands for a `Replay`: the values of one poll after the other, whatever the time."""

    def __init__(self, polls: Sequence[Snapshot]) -> None:
        self._polls = itertools.cycle(polls)

    def at(self, _epoch_s: float) -> Snapshot:
        return next(self._polls)
