"""The simulated heat pump: real values at captured minutes, and consistent ones at all others."""

import csv
import itertools
import random
import time
from collections.abc import Iterator
from importlib.resources import files

import pytest

from luxcli.errors import UsageError
from luxcli.model import Snapshot
from luxcli.simulator.replay import CAPTURED_S, PROFILES, Replay

LOG = list(
    csv.DictReader(
        files("luxcli.simulator")
        .joinpath("data/brine_48h.csv")
        .read_text(encoding="ascii")
        .splitlines()
    )
)
LOG_START_S = int(LOG[0]["epoch"])
LOOP_S = 48 * 3600
THIS_YEAR_S = LOG_START_S + 900 * LOOP_S  # the log begins again, in March 2027
TEMPERATURES = (10, 11, 12, 14, 15, 16, 17, 19, 20)
SWITCHES = range(29, 56)
FIRST_STOP_S = THIS_YEAR_S + 240  # the compressor stops 4 minutes into the log
COUNTERS = (56, 57, 58, 60, 61, 63, 64, 65, 66, 111, 112, 113, 114, 115, 134, 151, 152, 154)
ENERGIES = (852, 854, 878, 1060)


@pytest.fixture(scope="module", params=PROFILES)
def replay(request: pytest.FixtureRequest) -> Replay:
    return Replay(request.param)


def polls(replay: Replay, start_s: int, length_s: int, step_s: int) -> Iterator[Snapshot]:
    return (replay.at(at) for at in range(start_s, start_s + length_s, step_s))


@pytest.mark.parametrize("loops", [0, 1, 900])
def test_every_captured_minute_shows_the_captured_values(replay, loops):
    for row in LOG[::5]:
        calculations = replay.at(int(row["epoch"]) + loops * LOOP_S).calculations
        captured = {int(name[1:]): int(value) for name, value in row.items() if name != "epoch"}
        assert {index: calculations[index] for index in captured} == captured


def test_temperatures_move_evenly_between_captured_minutes_and_switches_wait(replay):
    for number, (row, later) in list(enumerate(itertools.pairwise(LOG)))[::3]:
        between = replay.at(THIS_YEAR_S + 60 * number + 30).calculations
        for index in TEMPERATURES:
            here, there = int(row[f"C{index}"]), int(later[f"C{index}"])
            assert abs(between[index] - (here + there) / 2) <= max(1, abs(there - here) / 20)
        assert between[44] == int(row["C44"])


def test_the_hour_of_day_is_that_of_the_capture(replay):
    captured = LOG[600]
    two_years_later = replay.at(int(captured["epoch"]) + 730 * 86_400)
    assert two_years_later.calculations[15] == int(captured["C15"])


def test_the_same_moment_always_shows_the_same_values():
    for profile in PROFILES:
        assert Replay(profile).at(THIS_YEAR_S + 0.25) == Replay(profile).at(THIS_YEAR_S + 0.25)


def test_a_poll_carries_its_time_to_the_millisecond(replay):
    snapshot = replay.at(1_700_000_000.25)
    assert (snapshot.taken_ms, snapshot.took_ms, snapshot.tries) == (1_700_000_000_250, 0, 1)
    assert snapshot.calculations[134] == 1_700_000_000


def test_profiles_have_the_block_lengths_of_real_controllers():
    lengths = {
        profile: (len(s.parameters), len(s.calculations), len(s.visibilities))
        for profile in PROFILES
        for s in [Replay(profile).at(THIS_YEAR_S)]
    }
    assert lengths == {"msw6": (1075, 232, 327), "long": (1187, 275, 398)}


def test_an_unknown_profile_is_refused_with_the_known_ones():
    with pytest.raises(UsageError, match="profile 'short': must be one of msw6, long"):
        Replay("short")


def test_500_random_moments_of_a_year_keep_the_structure_of_real_blocks(replay):
    chance = random.Random(1)
    for _ in range(500):
        snapshot = replay.at(THIS_YEAR_S + chance.uniform(0, 365 * 86_400))
        c, p = snapshot.calculations, snapshot.parameters
        firmware = bytes(c[81:91]).rstrip(b"\0").decode()
        assert firmware == ("V3.78" if len(c) == 232 else "V3.90.1")
        assert c[78] == 58
        assert c[79] in range(4)
        assert c[80] in range(8)
        assert c[105] in range(6)
        assert c[117] in range(8)
        assert c[118] in range(3)
        assert c[119] in range(20)
        assert {c[index] for index in SWITCHES} <= {0, 1}
        assert set(snapshot.visibilities) == {0, 1}
        assert c[57] <= c[56] <= c[63]
        assert c[63] == c[64] + c[65] + c[66]
        assert abs(c[154] * 10 - p[852]) < 10
        assert abs(c[151] * 10 - p[854]) < 10
        assert abs(c[152] * 10 - p[878]) < 10
        assert min(c[67:78]) >= 0
        assert all(-(2**31) <= value < 2**31 for value in c + p)


def test_counters_never_decrease_in_ten_days_of_five_loops(replay):
    for earlier, later in itertools.pairwise(polls(replay, THIS_YEAR_S - 7200, 10 * 86_400, 263)):
        for index in COUNTERS:
            assert later.calculations[index] >= earlier.calculations[index], index
        for index in (*ENERGIES, *((1136, 1137) if len(later.parameters) > 1137 else ())):
            assert later.parameters[index] >= earlier.parameters[index], index


def test_counters_equal_the_dump_at_the_start_and_stand_still_before():
    replay = Replay(start_s=THIS_YEAR_S + 12_345)
    dump = Replay().at(CAPTURED_S)
    started = replay.at(THIS_YEAR_S + 12_345)
    before = replay.at(THIS_YEAR_S - 20 * 86_400)
    for index in (*COUNTERS, *range(106, 111)):
        if index != 134:
            assert started.calculations[index] == dump.calculations[index]
            assert before.calculations[index] == dump.calculations[index]
    assert (started.calculations[56], started.calculations[57]) == (4_273_067, 2029)
    for index in (*ENERGIES, *range(716, 726), 728, 729):
        assert started.parameters[index] == dump.parameters[index]
        assert before.parameters[index] == dump.parameters[index]


def test_one_start_is_counted_for_each_time_the_compressor_is_seen_to_start(replay):
    seen = 0
    first = earlier = replay.at(THIS_YEAR_S - 1).calculations
    for snapshot in polls(replay, THIS_YEAR_S, 2 * LOOP_S + 1, 59):
        later = snapshot.calculations
        seen += later[44] and not earlier[44]
        assert later[57] - first[57] == seen
        earlier = later
    assert seen == 24


def test_run_times_count_the_seconds_in_which_their_outputs_are_seen_on():
    replay = Replay()
    # Hot water and disinfection begin; disinfection ends; heating begins.
    for first_minute, last_minute in ((2238, 2260), (2306, 2310), (2446, 2452)):
        start_s, stop_s = THIS_YEAR_S + first_minute * 60, THIS_YEAR_S + last_minute * 60
        seen = dict.fromkeys((56, 60, 63, 64, 65), 0)
        for snapshot in polls(replay, start_s, stop_s - start_s, 1):
            c = snapshot.calculations
            seen[56] += c[44]
            seen[60] += c[48]
            seen[63] += c[44]
            seen[64] += c[44] and not c[38]
            seen[65] += c[44] and c[38]
        assert sum(seen.values()) > 60
        first, last = replay.at(start_s).calculations, replay.at(stop_s).calculations
        assert {index: last[index] - first[index] for index in seen} == seen


def test_the_parameters_that_copy_run_times_equal_them_at_rest_as_in_the_dump(replay):
    for snapshot in polls(replay, THIS_YEAR_S, LOOP_S, 600):
        if not snapshot.calculations[44]:
            assert snapshot.parameters[728:730] == snapshot.calculations[64:66]


def test_operating_mode_and_display_agree_with_the_switches(replay):
    displays = set()
    for snapshot in polls(replay, THIS_YEAR_S, LOOP_S, 60):
        c = snapshot.calculations
        displays.add((c[80], c[117], c[119]))
        assert (c[80] == 0) == bool(c[44] and not c[38])
        assert c[80] == 1 or not c[38]
        assert c[117] == 0 if c[44] else c[117] in (1, 7) or c[48]
        assert c[119] in ((9,) if c[48] else (5,) if c[38] else (0,)) or not c[44]
    # heating, hot water, disinfection, at rest, source pump ahead of heating and of hot water
    assert displays == {(0, 0, 0), (1, 0, 5), (1, 0, 9), (5, 1, 1), (5, 7, 8), (1, 7, 8)}


def test_timers_count_the_seconds_since_the_last_change(replay):
    stopped = replay.at(FIRST_STOP_S + 100).calculations
    assert (stopped[67], stopped[72], stopped[73], stopped[75]) == (0, 200, 100, 340)
    assert stopped[120] == 100
    heating = replay.at(THIS_YEAR_S + 291 * 60).calculations  # 1 minute after the start
    started_s = int(LOG[290]["epoch"]) + 900 * LOOP_S
    since_s = heating[134] - started_s
    assert (heating[67], heating[74], heating[120]) == (since_s, since_s, since_s)
    assert (heating[71], heating[72], heating[73], heating[75]) == (1200 - since_s, 0, 0, 0)


def test_timers_run_on_across_the_seam_of_the_loop(replay):
    before, after = replay.at(THIS_YEAR_S - 1), replay.at(THIS_YEAR_S)
    assert before.calculations[44] == after.calculations[44] == 1
    assert after.calculations[67] == before.calculations[67] + 1
    assert after.calculations[57] == before.calculations[57]


def test_each_stop_overwrites_the_oldest_entry_of_the_switch_off_log(replay):
    before, after = replay.at(FIRST_STOP_S - 1), replay.at(FIRST_STOP_S)
    times = list(before.calculations[111:116])
    assert len(set(times)) == 5
    times[times.index(min(times))] = FIRST_STOP_S
    assert list(after.calculations[111:116]) == times
    assert after.calculations[106:111] == (9,) * 5
    assert after.parameters[716:726] == after.calculations[106:116]


def test_the_switch_off_log_of_a_new_pump_keeps_the_entries_of_the_dump_until_they_are_due():
    replay = Replay(start_s=THIS_YEAR_S)
    dump = Replay().at(CAPTURED_S).calculations
    ring = replay.at(THIS_YEAR_S + 400 * 60).calculations[111:116]  # after three stops
    assert sorted(ring)[:2] == sorted(dump[111:116])[3:]
    assert sorted(ring)[2:] == [int(LOG[row]["epoch"]) + 900 * LOOP_S for row in (4, 377, 399)]


def test_heat_counters_move_every_five_minutes_and_electric_ones_more_rarely():
    replay = Replay("long")
    changes: dict[int, set[int]] = {854: set(), 878: set(), 1136: set(), 1137: set()}
    for earlier, later in itertools.pairwise(polls(replay, THIS_YEAR_S, LOOP_S, 50)):
        for index, at in changes.items():
            if earlier.parameters[index] != later.parameters[index]:
                at.add(later.taken_ms // 1000 // 50 * 50)
    for index, every_s in ((854, 300), (878, 300), (1136, 5400), (1137, 5400)):
        assert changes[index]
        assert all(at % every_s < 50 for at in changes[index])


def test_heat_and_electricity_counted_agree_with_the_power_shown():
    replay = Replay("long")
    start_s = THIS_YEAR_S - THIS_YEAR_S % 5400
    shown_j = {257: 0, 268: 0}
    for snapshot in polls(replay, start_s, 32 * 5400, 30):
        for index in shown_j:
            shown_j[index] += snapshot.calculations[index] * 30
    first, last = replay.at(start_s).parameters, replay.at(start_s + 32 * 5400).parameters
    heat = last[852] - first[852]
    power = last[1136] + last[1137] - first[1136] - first[1137]
    assert shown_j[257] / 36_000 == pytest.approx(heat, rel=0.03)
    assert shown_j[268] / 36_000 == pytest.approx(power, rel=0.03)
    assert 3.5 < heat / power < 5


def test_the_refrigerant_circuit_is_plausible(replay):
    for snapshot in polls(replay, THIS_YEAR_S, LOOP_S, 60):
        c = snapshot.calculations
        if c[44]:
            assert 400 < c[181] < 1300 < c[180] < 4300
            assert c[178] == c[179] == 63
        else:
            assert c[180] == c[181]
            assert 800 < c[180] < 1600


def test_registers_of_newer_firmware_follow_the_compressor():
    for snapshot in polls(Replay("long"), THIS_YEAR_S, LOOP_S, 60):
        c = snapshot.calculations
        if c[44]:
            assert 20 <= c[231] == c[236] <= 110
            assert 900 < c[268] < 2500
        else:
            assert (c[231], c[257], c[268]) == (0, 0, 0)
        assert (c[254] > 0) == (c[155] > 0) == bool(c[39])
        assert c[267] == 2**31 - 1


def test_a_day_changes_as_many_calculations_as_on_a_real_brine_unit(replay):
    day = [snapshot.calculations for snapshot in polls(replay, THIS_YEAR_S, 86_400, 30)]
    changed = sum(len(set(column)) > 1 for column in zip(*day, strict=True))
    assert 40 <= changed <= 100


def test_it_loads_fast_enough_for_a_command_line():
    def load_s() -> float:
        began = time.perf_counter()
        Replay()
        return time.perf_counter() - began

    assert min(load_s() for _ in range(3)) < 0.2
