"""What the gate makes of lost values, blocks of zeros and other lengths, with and without a poll
before; and of everything that a healthy heat pump does."""

import functools
import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

import pytest

from luxcli.model import CLOCK_DOUBTED, GROUPS, LENGTH_CHANGED, SUSPICIOUS, Group, Snapshot
from luxcli.registers import continuity
from luxcli.simulator.replay import PROFILES, Replay
from tests.support.builders import START_MS, real
from tests.support.reliability import record, sample

WITHIN_MS = 300_000
STEP_MS = 30_000
# The values that a block of its length is filled up with: that of the block that comes next.
NEXT: dict[Group, Group] = {"parameters": "calculations", "calculations": "visibilities"}
BEFORE, NOW = real(START_MS), real(START_MS + STEP_MS)
LONG_BEFORE, LONG_NOW = real(START_MS, "long"), real(START_MS + STEP_MS, "long")


def judge(
    poll: Snapshot, previous: Snapshot | None = BEFORE, within_ms: int = WITHIN_MS
) -> continuity.Verdict:
    return continuity.judge(poll, previous, within_ms)


def with_block(poll: Snapshot, group: Group, block: Iterable[int]) -> Snapshot:
    return poll._replace(**{group: tuple(block)})


def without(poll: Snapshot, group: Group, place: int, *end: int) -> Snapshot:
    block = poll.block(group)
    return with_block(poll, group, (*block[:place], *block[place + 1 :], *end))


def changed(poll: Snapshot, group: Group, values: dict[int, int]) -> Snapshot:
    block = poll.block(group)
    return with_block(poll, group, (values.get(place, raw) for place, raw in enumerate(block)))


# One answer


@pytest.mark.parametrize(
    ("group", "place"),
    [("parameters", 900), ("parameters", 1062), ("calculations", 170), ("visibilities", 300)],
)
@pytest.mark.parametrize("end", [(), (0,)], ids=["shorter", "filled up"])
def test_a_lost_value_is_refused_against_the_poll_before(group, place, end):
    [reason] = judge(without(NOW, group, place, *end))[0]
    assert f"{group} that have the value of the next one before: " in reason


def test_an_answer_is_refused_for_minutes_only_so_that_no_bad_poll_keeps_all_later_ones_out():
    poll = without(NOW, "parameters", 900)._replace(taken_ms=BEFORE.taken_ms + WITHIN_MS + 1)
    reasons, flags, messages = judge(poll)
    assert (reasons, flags) == ([], SUSPICIOUS | LENGTH_CHANGED)
    assert "1075 values became 1074" in "; ".join(messages)


def test_the_right_poll_after_a_stored_one_that_had_lost_a_value_gets_in_at_once():
    for place in range(0, 1075, 7):
        for end in ((), (0,)):
            reasons, flags, _ = judge(NOW, without(BEFORE, "parameters", place, *end))
            assert reasons == []
            assert bool(flags & LENGTH_CHANGED) is not bool(end)


def test_a_marked_poll_refuses_nothing():
    bad = without(NOW, "parameters", 900)
    for mark in (SUSPICIOUS, LENGTH_CHANGED):
        assert judge(bad, BEFORE._replace(flags=mark))[:2] == ([], SUSPICIOUS | LENGTH_CHANGED)
    assert judge(bad, BEFORE._replace(flags=CLOCK_DOUBTED))[0]


@pytest.mark.slow
@pytest.mark.parametrize("value", [0, 1, -1, 2**31 - 1, -(2**31)])
def test_one_odd_value_is_never_refused(value):
    for poll, previous in ((NOW, BEFORE), (LONG_NOW, LONG_BEFORE)):
        for group in ("calculations", "parameters"):
            for place in range(len(poll.block(group))):
                odd = changed(poll, group, {place: value})
                assert judge(odd, previous)[0] == []
                assert judge(odd, None)[0] == []
    for place in range(len(NOW.visibilities)):
        odd = changed(NOW, "visibilities", {place: max(-128, min(127, value))})
        assert judge(odd)[0] == []


def test_a_block_that_ends_earlier_is_stored_and_marked():
    poll = with_block(NOW, "visibilities", NOW.visibilities[:-1])
    assert judge(poll) == ([], LENGTH_CHANGED, ["visibilities: 327 values became 326"])


def test_what_the_poll_before_had_as_well_is_said_once():
    odd, odd_before = (changed(poll, "calculations", {78: 500}) for poll in (NOW, BEFORE))
    message = "codes: calculation 78 is 500, expected a code of 0..255"
    assert judge(odd) == ([], SUSPICIOUS, [message])
    assert judge(odd, None) == ([], SUSPICIOUS, [message])
    assert judge(odd, odd_before) == ([], 0, [])


def test_a_difference_between_two_blocks_is_no_mark_once_there_is_a_poll_before():
    poll = changed(NOW, "calculations", {151: NOW.calculations[151] + 5})
    assert judge(poll) == ([], 0, [])
    assert judge(poll, None)[1] == SUSPICIOUS


# What happens to healthy heat pumps


def test_new_firmware_gets_in_with_its_new_lengths_and_is_said():
    reasons, flags, messages = judge(LONG_NOW, BEFORE)
    assert (reasons, flags) == ([], LENGTH_CHANGED)
    assert messages == [
        "new firmware: V3.78 became V3.90.1",
        "calculations: 232 values became 275",
        "parameters: 1075 values became 1187",
        "visibilities: 327 values became 398",
    ]


def test_older_firmware_gets_in_as_well():
    reasons, flags, messages = judge(NOW, LONG_BEFORE)
    assert (reasons, flags) == ([], LENGTH_CHANGED)
    assert messages[0] == "new firmware: V3.90.1 became V3.78"


def test_a_heat_meter_that_was_reset_gets_in_and_is_said():
    poll = changed(NOW, "parameters", {852: 12, 1060: 12})
    poll = changed(poll, "calculations", {154: 1})
    assert judge(poll) == ([], 0, ["a meter was reset: parameters 852 begin again"])


def test_electricity_meters_that_were_reset_are_no_block_of_zeros():
    before = changed(LONG_BEFORE, "parameters", {1136: 5000, 1137: 4000})
    poll = changed(LONG_NOW, "parameters", {1136: 0, 1137: 0})
    message = "a meter was reset: parameters 1136, 1137 begin again"
    assert judge(poll, before) == ([], 0, [message])


def test_a_restart_with_all_counters_and_the_clock_at_0_is_stored_and_said():
    poll = changed(NOW, "calculations", {**dict.fromkeys(range(56, 67), 0), 134: 60})
    poll = changed(poll, "parameters", dict.fromkeys((728, 729, 852, 854, 878, 1060), 0))
    reasons, _, messages = judge(changed(poll, "calculations", {151: 0, 152: 0, 154: 0}))
    assert reasons == []
    assert "the run times begin again: a restart, a reset or a new controller board" in messages


def test_a_new_controller_board_gets_in_after_the_minutes_its_replacement_takes():
    """Everything else: lengths, firmware or not, counters, settings, serial number."""
    board = real(START_MS - 10 * 86_400_000, "long")._replace(taken_ms=NOW.taken_ms + WITHIN_MS)
    board = changed(board, "parameters", {874: 160202, 875: 77})
    board = changed(board, "calculations", dict.fromkeys(range(56, 67), 0))
    reasons, flags, messages = judge(board, changed(BEFORE, "parameters", {874: 150101, 875: 5}))
    assert (reasons, flags & LENGTH_CHANGED) == ([], LENGTH_CHANGED)
    assert "another serial number: a new controller board, or another heat pump" in messages


def test_changed_settings_are_neither_refused_nor_marked():
    """Each alone, as on the screen of the controller; a block of the weekly timer at once."""
    for place, raw in enumerate(BEFORE.parameters):
        if place not in (87, 94, 149, *range(716, 726), 852, 854, 878, 973, 984, 985, 1074):
            poll = changed(NOW, "parameters", {place: raw + 10})
            assert judge(poll) == ([], 0, []), place
    timer = {place: 3600 * (place % 24) for place in range(223, 283)}
    assert judge(changed(NOW, "parameters", timer)) == ([], 0, [])


def test_menus_that_appear_and_vanish_all_at_once_are_no_shift():
    """As when a service technician logs in; half of the changes happen to look like a shift."""
    flags = {place: 1 - raw for place, raw in enumerate(BEFORE.visibilities) if place > 200}
    assert judge(changed(NOW, "visibilities", flags))[0] == []


@functools.cache
def replays(profile: str) -> Replay:
    return Replay(profile, START_MS / 1000 - 30 * 86_400)


@pytest.mark.slow
@pytest.mark.parametrize("profile", PROFILES)
def test_two_simulated_days_are_neither_refused_nor_marked(profile):
    assert verdicts(profile, 30, 2 * 2880) == Counter({"stored": 2 * 2880})


def verdicts(profile: str, step_s: int, count: int) -> Counter[str]:
    source, start_s = replays(profile), START_MS / 1000
    found: Counter[str] = Counter()
    previous = None
    for number in range(count):
        poll = source.at(start_s + number * step_s)
        reasons, flags, messages = judge(poll, previous, max(WITHIN_MS, 2500 * step_s))
        found["refused" if reasons else "marked" if flags or messages else "stored"] += 1
        previous = poll
    return found


# Every place of every block


def lost(poll: Snapshot, group: Group) -> Iterator[tuple[str, int, Snapshot]]:
    """Yield each answer that lost one value: shorter, or filled up by the next block or by 0."""
    follows = poll.block(NEXT[group])[0] if group in NEXT else 0
    for place in range(len(poll.block(group))):
        yield "lost, one shorter", place, without(poll, group, place)
        yield "lost, filled by the next block", place, without(poll, group, place, follows)
        yield "lost, filled by 0", place, without(poll, group, place, 0)


def zeroed(poll: Snapshot, group: Group) -> Iterator[tuple[str, int, Snapshot]]:
    """Yield each answer in which a block begins or ends with zeros, from one to all of them."""
    block = poll.block(group)
    for count in range(1, len(block) + 1):
        yield "zeros at the beginning", count, with_block(poll, group, (0,) * count + block[count:])
        kept = len(block) - count
        yield "zeros at the end", kept, with_block(poll, group, block[:kept] + (0,) * count)


OUTCOMES = ("right values", "refused", "marked", "said", "unseen")


def outcome(poll: Snapshot, truth: Snapshot, previous: Snapshot | None) -> str:
    """Return what became of a damaged answer; one with nothing but right values is none."""
    reasons, flags, messages = judge(poll, previous)
    if reasons:
        return "refused"
    if flags:
        return "marked"
    if blocks(poll) == blocks(truth):
        return "right values"
    return "said" if messages else "unseen"


def blocks(poll: Snapshot) -> list[tuple[int, ...]]:
    return [poll.block(group) for group in GROUPS]


# At rest, and in the middle of a run.
MOMENTS = (START_MS // 1000, START_MS // 1000 + 19_200)


@functools.cache
def outcomes(profile: str, group: Group, *, alone: bool) -> dict[str, dict[str, list[int]]]:
    """Return the places by kind of damage and outcome."""
    source = replays(profile)
    found: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    pairs = [(source.at(start_s), source.at(start_s + 30)) for start_s in MOMENTS]
    assert [[poll.calculations[44] for poll in pair] for pair in pairs] == [[0, 0], [1, 1]]
    for damage, (before, truth) in itertools.product((lost, zeroed), pairs):
        for kind, place, poll in damage(truth, group):
            if place % sample() == 0:
                result = outcome(poll, truth, None if alone else before)
                found[kind][result].append(place)
    return found


# What may remain unseen against the poll before, by profile, block and damage: the places. The
# last calculation may be a switch that went on, and the last one or two that are not 0 may stop.
_UNSEEN: dict[tuple[str, Group, str], range] = {
    ("msw6", "calculations", "lost, filled by the next block"): range(179, 232),
    ("long", "calculations", "lost, filled by the next block"): range(267, 275),
    ("long", "calculations", "lost, filled by 0"): range(267, 269),
    ("long", "calculations", "zeros at the end"): range(255, 269),
}


@pytest.mark.sweep
@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("group", GROUPS)
def test_a_value_lost_anywhere_and_zeros_at_either_end_are_refused_marked_or_said(profile, group):
    for kind, results in outcomes(profile, group, alone=False).items():
        allowed = _UNSEEN.get((profile, group, kind), ())
        assert [place for place in results["unseen"] if place not in allowed] == [], kind
    for kind in ("lost, one shorter", "zeros at the beginning"):
        assert not outcomes(profile, group, alone=False)[kind]["unseen"]


@pytest.mark.sweep
@pytest.mark.timeout(300)
def test_every_place_in_turn_and_the_table_of_what_came_of_it():
    rows = []
    for group in GROUPS:
        for kind in outcomes("msw6", group, alone=True):
            for alone in (True, False):
                counts: Counter[str] = Counter()
                for profile in PROFILES:
                    results = outcomes(profile, group, alone=alone)[kind]
                    counts.update({name: len(places) for name, places in results.items()})
                judged = "by itself" if alone else "after a poll"
                rows.append([group, kind, judged, *(counts[name] for name in OUTCOMES)])
    steps = ((30, 7 * 2880), (60, 1440), (300, 2016), (3600, 500))
    healthy: Counter[str] = Counter()
    for profile in PROFILES:
        for step_s, count in steps:
            healthy += verdicts(profile, step_s, count)
    assert set(healthy) == {"stored"}
    text = (
        "An answer lost one value, at every place of every block in turn, of both profiles (the"
        " dump of an MSW 6 and the longer blocks of newer firmware); or a block began or ended with"
        " zeros, from one to all of it. The gate judged it by itself, as the first poll of a"
        " recording, and after the right poll half a minute before, both at rest and while the"
        " compressor ran. `right values`: the damage changed no value, as where a 0 between zeros"
        " is lost. `said`: stored, with a warning that meters begin again. Of"
        f" {healthy.total()} healthy polls, 30 s to an hour apart, over up to three weeks,"
        f" {healthy['refused']} were refused and {healthy['marked']} marked."
    )
    record(12, "The gate", text, ("block", "damage", "judged", *OUTCOMES), rows)
