"""Times that are doubted, because this computer's clock cannot be right."""

import pytest

from luxcli.model import Snapshot
from luxcli.recording import clock_doubt as doubts
from tests.support.builders import small


@pytest.mark.parametrize(
    ("taken_ms", "clock_ms", "is_doubted"),
    [
        (60_000, None, True),  # 1970
        (doubts.RELEASED_MS - 1, None, True),
        (1_800_000_000_000, None, False),
        (1_800_000_000_000 - 30_000, None, False),  # one interval earlier: the clock was corrected
        (1_800_000_000_000 - 30_001, None, True),
        (1_800_000_000_000 + 400 * 86_400_000, None, False),  # a pause of any length
        (1_800_000_000_000 + 400 * 86_400_000, 1_800_000_000_000 + 399 * 86_400_000, False),
        (1_800_000_000_000 + 400 * 86_400_000, 1_800_000_000_000 + 60_000, True),
    ],
)
def test_a_time_is_doubted_for_a_reason_that_is_told(taken_ms, clock_ms, is_doubted):
    last = _showing(1_800_000_000_000, 1_800_000_000_000)
    text = doubts.doubt(taken_ms, last, 30, controller_ms=clock_ms)
    assert bool(text) == is_doubted


def test_a_heat_pump_whose_clock_was_wrong_before_says_nothing_about_this_computers():
    last = _showing(1_800_000_000_000, 1_700_000_000_000)
    later = 1_800_000_000_000 + 10 * 86_400_000
    assert doubts.doubt(later, last, 30, controller_ms=1_700_000_000_000) is None


def test_after_a_first_poll_in_2036_a_right_one_is_right():
    last = _showing(2_085_978_000_000, 1_800_000_000_000)
    assert doubts.doubt(1_800_000_060_000, last, 30, controller_ms=1_800_000_060_000) is None
    assert doubts.doubt(1_800_000_060_000, last, 30, controller_ms=None)


def _showing(taken_ms: int, clock_ms: int) -> Snapshot:
    """Return a poll with a time of the heat pump's clock."""
    return small(taken_ms, {134: clock_ms // 1000}, lengths=(140, 6, 4))
