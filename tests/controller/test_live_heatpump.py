"""A bit more than a minute of polling, against a real heat pump if there is one.

``LUXCLI_LIVE_HOST`` (and ``LUXCLI_LIVE_PORT``) names it; otherwise the simulator stands in and the
minute passes in fast-forward.
"""

import os
import time
from contextlib import ExitStack

import pytest

from luxcli.recording.poll import poll_once
from luxcli.registers import catalogue, decoding, structure
from luxcli.rollup import rollup
from luxcli.simulator.replay import Replay
from luxcli.simulator.server import Simulator
from luxcli.store.store import Store
from luxcli.system.clock import SYSTEM_CLOCK, Clock
from tests.support.scenario import BERLIN, configured

LIVE_HOST = os.environ.get("LUXCLI_LIVE_HOST")
STEP_S = 10
POLLS = 8  # the first and the last are 70 s apart


class FastClock:
    def __init__(self) -> None:
        self.now_s = time.time() - 3600

    def now(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.mark.timeout(300 if LIVE_HOST else 10)
def test_a_minute_of_polls_is_stored_plausible_and_in_both_csvs(tmp_path):
    with ExitStack() as stack:
        if LIVE_HOST:
            port = int(os.environ.get("LUXCLI_LIVE_PORT", "8889"))
            clock = SYSTEM_CLOCK
            settings = configured(tmp_path, host=LIVE_HOST, port=port)
        else:
            fast = FastClock()
            clock = Clock(fast.now, fast.sleep)
            simulator = stack.enter_context(Simulator(Replay(), clock=fast.now))
            settings = configured(tmp_path, host="127.0.0.1", port=simulator.port)
        times = []
        for _ in range(POLLS):
            result = poll_once(settings, clock=clock)
            times.append(result.snapshot.taken_ms)
            clock.sleep(STEP_S)
        now_ms = clock.now_ms()
    stored = list(Store(settings.cache_path).query(times[0], now_ms))

    assert times[-1] - times[0] >= 61_000
    assert [snapshot.taken_ms for snapshot in stored] == times
    for snapshot in stored:
        assert not structure.rejection(snapshot)
        numbers = [
            decoding.number(catalogue.register("calculations", index), raw)
            for index, raw in enumerate(snapshot.calculations)
        ]
        assert sum(number is not None for number in numbers) > 50
        assert -50 < numbers[15] < 60  # outdoor temperature
        assert 0 < numbers[10] < 90  # flow temperature
    run_time = [snapshot.calculations[63] for snapshot in stored]
    assert run_time == sorted(run_time)
    clocks = [snapshot.calculations[134] for snapshot in stored]
    assert clocks == sorted(clocks)
    assert clocks[-1] - clocks[0] == pytest.approx((times[-1] - times[0]) / 1000, abs=3)
    for kind in ("daily", "weekly"):
        report = rollup.rollup(settings, kind, now_ms=now_ms, zone=BERLIN)
        assert report.rows == POLLS
        assert report.columns > 50
