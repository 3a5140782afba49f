"""What tests of killed and damaged recordings share: a small heat pump, and processes to kill."""

import itertools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from luxcli.model import Snapshot
from luxcli.simulator.replay import Replay
from luxcli.simulator.server import Simulator
from tests.support.crash import Workers, compiled, compiler


class Small(Replay):
    """A heat pump with as few settings as allowed, so that a run makes few calls."""

    def at(self, epoch_s: float) -> Snapshot:
        poll = super().at(epoch_s)
        return poll._replace(parameters=poll.parameters[:500], visibilities=poll.visibilities[:100])


@contextmanager
def simulator(moments_s: Iterable[int]) -> Iterator[Simulator]:
    """Serve the small heat pump at some moments in turn."""
    moments = itertools.cycle(moments_s)
    with Simulator(Small(), clock=lambda: next(moments)) as served:
        yield served


@contextmanager
def workers(directory: Path) -> Iterator[Workers]:
    """Start the processes that make commands, or skip the test without a compiler for them."""
    if not compiler():
        pytest.skip("no C compiler (cc, gcc, clang): no command can be killed or get another time")
    with Workers(compiled(directory)) as started:
        yield started
