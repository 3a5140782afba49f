"""Where the rules draw the line between a fault and what heat pumps do."""

import pytest

from luxcli.model import Snapshot
from luxcli.registers import ranges, structure
from luxcli.validation.findings import Finding
from luxcli.validation.judge import Judge, judge
from tests.support.builders import real
from tests.support.validation_faults import (
    HOURS,
    IN_POLLS,
    RUNNING,
    START_MS,
    Polls,
    calculations,
    changed,
    error,
    frozen,
    good,
    held,
    moved,
    restarted,
)

BASE = good("msw6", HOURS, 30)
LONG = real(START_MS, "long")


def judged(polls: list[Snapshot], interval_s: int = 30) -> tuple[Finding, ...]:
    return judge(polls, interval_s)


def rules(polls: list[Snapshot], interval_s: int = 30) -> set[str]:
    return {finding.rule for finding in judged(polls, interval_s)}


def with_value(index: int, *values: int) -> Polls:
    """Polls of which the first ones have these values, and the others the last of them."""
    polls = list(BASE)
    for number in range(len(polls)):
        value = values[min(number, len(values) - 1)]
        polls[number] = changed(polls[number], {index: value})
    return polls


@pytest.mark.parametrize("index", sorted(ranges.RANGES))
def test_each_range_is_judged_at_its_ends(index):
    allowed = ranges.RANGES[index]
    scale = 100 if index in (180, 181) else 10
    for bound, outward in ((allowed.warn[0], -1), (allowed.warn[1], 1)):
        raw = round(bound * scale)
        assert found_for(index, raw) in (set(), {"not fitted"})
        assert found_for(index, raw + outward) in ({"range"}, {"not fitted"})
    for bound, outward in ((allowed.reject[0], -1), (allowed.reject[1], 1)):
        raw = round(bound * scale)
        assert found_for(index, raw + outward) == {"range-impossible"}
        assert "range-impossible" not in found_for(index, raw)


def found_for(index: int, raw: int) -> set[str]:
    if ranges.is_not_fitted(index, raw):
        return {"not fitted"}
    found = judged([changed(LONG, {index: raw})])
    return {finding.rule for finding in found if finding.rule.startswith("range")}


def test_a_finding_has_its_count_and_its_first_and_last_time():
    polls = list(BASE)
    for number in (50, 51, 70, 71):
        polls[number] = changed(polls[number], {17: 850 + number})
    [finding] = judged(polls)
    assert (finding.rule, finding.severity, finding.area) == ("range", "warning", "temperatures")
    assert (finding.sensor, finding.count) == ("ID_WEB_Temperatur_TBW", 4)
    assert (finding.expected, finding.found) == ("5 to 80 °C", "90.0 °C")
    assert (finding.first_ms, finding.last_ms) == (polls[50].taken_ms, polls[71].taken_ms)


def test_problems_come_first_then_warnings_then_notes():
    polls = [changed(poll, {78: 99, 17: 850, 10: 2500}) for poll in BASE]
    assert [finding.severity for finding in judged(polls)] == ["problem", "warning", "note"]


@pytest.mark.no_cover
def test_findings_do_not_grow_with_the_number_of_polls():
    judge = Judge(30)
    for number in range(5000):
        poll = BASE[number % 300]._replace(taken_ms=START_MS + number * 30_000)
        judge.add(changed(poll, {17: 800 + number}))
    assert len(judge.end()) < 20


@pytest.mark.parametrize(
    ("index", "raw"), [(15, 0), (15, 50), (19, 0), (19, 50), (10, 50), (16, 50), (15, -50)]
)
def test_weather_is_not_mistaken_for_a_missing_sensor(index, raw):
    polls = with_value(index, raw - 3, raw - 1, raw, raw, raw + 1)
    judge = Judge(30)
    for poll in polls:
        judge.add(poll)
    assert not {one.rule for one in judge.end()} & {"interrupted", "outdoor-broken"}
    # What is not fitted at all is a constant.
    assert not {"ID_WEB_Temperatur_TA", "ID_WEB_Temperatur_TVL"} & set(judge.not_fitted())


def test_a_solar_collector_that_cools_through_5_and_0_degrees_is_not_interrupted():
    values = [raw for raw in range(120, -80, -2) for _ in range(2)]
    assert "interrupted" not in rules(with_value(26, *values))


def test_set_points_of_a_circuit_that_is_switched_off_are_no_broken_wires():
    assert rules(with_value(22, 340, 340, 0, 0, 340)) == set()


@pytest.mark.parametrize("index", [56, 57, 151])
def test_a_counter_may_pass_through_the_number_that_means_no_value_elsewhere(index):
    values = {56: 32_767, 57: 32_767, 63: 32_767, 151: 32_767}
    assert "no-value" not in rules([changed(BASE[0], {index: values[index]})])


# Counters


def test_a_counter_that_stands_at_0_was_never_there():
    assert rules(with_value(58, 0)) == set()
    assert rules(with_value(58, 0, 0, 7200)) == set()


def test_a_spike_is_undone_within_15_minutes_and_a_fault_is_not():
    for polls, rule in ((29, "counter-spike"), (31, "counter-jump")):
        bad = list(BASE)
        for number in range(100, 100 + polls):
            bad[number] = changed(bad[number], {152: lambda raw: raw + 90_000})
        assert rule in rules(bad)


def test_the_hours_of_an_outage_do_not_count_as_too_fast():
    polls = [BASE[0], real(START_MS + 10 * 86_400_000)._replace(tries=1)]
    assert "counter-jump" not in rules(polls)


def test_a_counter_that_moves_once_an_hour_is_not_too_fast():
    polls = list(good("long", 3, 600))
    steps = [
        poll._replace(
            parameters=tuple(
                5_000_000 + n // 6 * 1500 if index == 1136 else raw
                for index, raw in enumerate(poll.parameters)
            ),
        )
        for n, poll in enumerate(polls)
    ]
    assert rules(steps, 600) == set()


def test_a_reset_in_the_last_poll_is_reported_as_one_that_may_be_undone():
    polls = list(BASE)
    polls[-1] = changed(polls[-1], {57: 3})
    [finding] = judged(polls)
    assert (finding.rule, finding.found) == (
        "counter-spike",
        f"{BASE[-2].calculations[57]} became 3 at the end of the interval",
    )


# Behaviour


@pytest.mark.parametrize(
    ("polls", "rule"), [(RUNNING[:58], set()), (RUNNING[:65], {"pump-without-flow"})]
)
def test_no_flow_counts_from_half_an_hour_on(polls, rule):
    assert rules(calculations(polls, {155: 0})(list(BASE))) == rule


def test_a_heat_pump_without_flow_meter_has_no_flow():
    assert rules(calculations(None, {155: 0})(list(BASE))) == set()


@pytest.mark.parametrize("values", [{80: 7}, {37: 1}])
def test_cooling_and_defrost_cool_the_flow(values):
    [fault] = [one for one in IN_POLLS if one.rule == "compressor-without-heat"]
    assert rules(fault.polls()) == {"compressor-without-heat"}
    assert rules(calculations(RUNNING, values)(fault.polls())) == set()


def test_a_moving_heat_counter_speaks_for_heat_whatever_the_temperatures():
    assert "compressor-without-heat" not in rules(
        calculations(RUNNING, {10: 250, 11: 252})(list(BASE))
    )


def test_a_sensor_stands_still_overnight_while_the_compressor_rests():
    polls = held(range(156), 10, 44, 56)(list(good("msw6", 26, 600)))
    assert "stuck" not in rules(polls, 600)


def test_a_controller_is_frozen_only_when_nothing_at_all_changes():
    polls = list(BASE)
    for number in range(200, 230):
        same = polls[200].calculations
        now = polls[number].calculations
        # The display's timer goes on.
        polls[number] = polls[number]._replace(
            calculations=(*same[:120], now[120], *same[121:134], *now[134:])
        )
    assert "frozen" not in rules(polls)


def test_an_idle_heat_pump_in_summer_is_not_frozen_while_the_weather_changes():
    polls = [
        changed(poll, {15: 200 + number // 200})
        for number, poll in enumerate(frozen(range(360), *range(67, 78), 120)(list(BASE)))
    ]
    assert "frozen-values" not in rules(polls)


def test_two_hours_of_the_same_values_are_frozen_and_less_is_not():
    for stop, found in ((301, {"frozen-values"}), (300, set())):
        polls = frozen(range(60, stop), *range(67, 78), 120)(list(BASE))
        assert rules(polls) & {"frozen", "frozen-values"} == found


def test_the_same_weather_before_and_after_a_day_without_polls_is_not_stuck():
    polls = held(range(12), 15)(list(good("msw6", 2, 600)))
    later = [poll._replace(taken_ms=poll.taken_ms + 86_400_000) for poll in polls]
    assert "stuck" not in rules([*polls, *later], 600)


# Clocks


@pytest.mark.parametrize("gap", [0, 1, 2, 4, 13, 30])
@pytest.mark.parametrize("dead", [False, True])
def test_a_controller_that_starts_again_resets_counters_and_is_no_step_of_our_clock(gap, dead):
    found = judged(restarted(120, gap, dead=dead)(list(BASE)))
    reset = {one.sensor for one in found if one.rule == "counter-reset"}
    assert {"ID_WEB_Zaehler_BetrZeitVD1", "ID_WEB_Zaehler_BetrZeitWP"} <= reset
    assert "host-clock-step" not in {one.rule for one in found}
    assert ("controller-clock-set" in {one.rule for one in found}) == dead


def test_a_counter_that_stays_at_0_after_a_restart_is_reset():
    polls = list(BASE)
    for number in range(200, len(polls)):
        polls[number] = changed(polls[number], {57: 0})
    found = {one.rule: one.found for one in judged(polls)}
    assert found["counter-reset"] == f"{BASE[199].calculations[57]} became 0"
    assert "counter-spike" not in found


def test_our_clock_is_set_while_the_controllers_is_lost():
    dead = calculations(None, {134: lambda raw: raw - 800_000_000})(list(BASE))
    assert "host-clock-step" in rules(moved(range(200, 360), 3600)(dead))


def test_a_clock_set_back_while_polls_were_missing_is_the_controllers():
    polls = [poll for number, poll in enumerate(BASE) if not 200 <= number < 210]
    back = calculations(range(200, len(polls)), {134: lambda raw: raw - 3600})(polls)
    assert rules(back) & {"host-clock-step", "controller-clock-set"} == {"controller-clock-set"}


def test_a_clock_set_back_by_just_the_distance_of_two_polls_does_not_drift():
    polls = list(good("msw6", 48, 3600))
    back = calculations(range(24, 48), {134: lambda raw: raw - 3600})(polls)
    assert not rules(back, 3600) & {"clock-drift", "host-clock-step", "clock-standstill"}


# Errors and codes


def test_old_errors_are_no_news():
    # The capture's log is full.
    assert BASE[0].calculations[100:105] == (721,) * 5
    assert rules(list(BASE)) == set()


def test_an_error_that_moves_down_the_log_is_reported_once():
    polls = error(708, after=200)(error(716, after=100)(list(BASE)))
    found = {finding.found[:3]: finding.count for finding in judged(polls)}
    assert found == {"716": 1, "708": 1}


def test_an_error_names_its_meaning_and_the_sensor_not_to_trust():
    [finding] = judged(error(713)(list(BASE)))
    assert finding.sensor == "ID_WEB_Temperatur_TWE"
    assert finding.found == ("713 heat source inlet sensor: do not trust ID_WEB_Temperatur_TWE")


def test_each_error_code_has_a_finding_of_its_own_newest_first_with_count_and_last_time():
    polls = list(BASE)
    for after, code in ((50, 716), (100, 751), (150, 716), (200, 755)):
        polls = error(code, after=after)(polls)
    found = [(one.found[:3], one.count) for one in judged(polls)]
    assert found == [("755", 1), ("716", 2), ("751", 1)]
    times = {one.found[:3]: (one.first_ms, one.last_ms) for one in judged(polls)}
    assert times["716"][0] < times["751"][0] == times["751"][1] < times["716"][1]
    assert abs(times["755"][0] - polls[200].taken_ms) <= 60_000


def test_errors_of_the_last_day_count_for_a_single_poll():
    poll = changed(BASE[0], {95: BASE[0].calculations[134] - 3600, 100: 716})
    for recent_s, expected in ((86_400, {"error"}), (600, set())):
        judge = Judge(30, recent_s=recent_s)
        judge.add(poll)
        assert {finding.rule for finding in judge.end()} == expected


def test_line_1_of_old_firmware_goes_to_8():
    assert rules([changed(BASE[0], {117: 8})]) == set()


# Blocks that may be out of step


def test_one_poll_between_the_updates_of_two_blocks_is_normal():
    polls = calculations([100, 101, 200], {151: lambda raw: raw - 90})(list(BASE))
    assert "heat-quantities" not in rules(polls)


def test_a_firmware_without_heat_counters_in_the_calculations_is_normal():
    polls = calculations(None, {151: 0, 152: 0, 154: 0})(list(BASE))
    assert rules(polls) == set()


# What is not stored


@pytest.mark.parametrize(
    "lengths",
    [
        {"calculations": 149},
        {"calculations": 10},
        {"parameters": 499},
        {"visibilities": 99},
        {"calculations": 1, "parameters": 1, "visibilities": 1},
    ],
)
def test_an_answer_with_too_few_values_is_rejected_for_that_alone(lengths):
    poll = BASE[0]
    for group, length in lengths.items():
        poll = poll._replace(**{group: poll.block(group)[:length]})
    assert [reason for reason in structure.rejection(poll) if reason.startswith("too-few-values: ")]


@pytest.mark.parametrize(
    "lengths", [(200, 1086, 336), (200, 1022, 327), (150, 500, 100), (232, 1075, 327)]
)
def test_the_shortest_answers_of_real_controllers_are_stored(lengths):
    blocks = dict(zip(("calculations", "parameters", "visibilities"), lengths, strict=True))
    whole = real(START_MS, "long")
    poll = whole._replace(**{group: whole.block(group)[:n] for group, n in blocks.items()})
    assert structure.rejection(poll) == []


@pytest.mark.parametrize(
    ("group", "indices"), [("calculations", range(111)), ("parameters", range(722))]
)
def test_a_block_that_lost_a_value_before_its_logs_is_rejected(group, indices):
    """Behind them too little is known; but lengths and echoes of the exchange do not allow it."""
    for profile in ("msw6", "long"):
        poll = real(START_MS, profile)
        block = poll.block(group)
        kept = [
            index
            for index in indices
            if not structure.rejection(poll._replace(**{group: block[:index] + block[index + 1 :]}))
        ]
        assert kept == []


def test_an_answer_of_nothing_but_zeros_is_rejected():
    zeros = {group: (0,) * len(BASE[0].block(group)) for group in ("calculations", "parameters")}
    reasons = structure.rejection(BASE[0]._replace(**zeros))
    assert [reason.partition(":")[0] for reason in reasons] == [
        *("mostly-zero", "firmware-text", "temperatures-zero", "clock-zero", "settings"),
    ]


@pytest.mark.parametrize(
    "values",
    [
        {134: 0},
        {78: 500},
        dict.fromkeys(range(81, 91), 0),
        {134: 2**31 - 1},
        # A new generation: model 90 with firmware V10.1, or W4.0, and an operating mode of its own.
        {78: 90, 81: 86, 82: 49, 83: 48, 84: 46, 85: 49},
        {78: 90, 80: 8, 81: 87, 82: 52, 83: 46, 84: 48},
        # Its owner has reset the heat meter, too.
        {78: 90, 81: 86, 82: 49, 83: 48, 84: 46, 85: 49, 154: 5},
        {80: 8, 154: 5, 134: 0},
    ],
)
def test_a_lost_clock_an_unknown_model_and_an_unknown_firmware_text_are_stored(values):
    assert structure.rejection(changed(BASE[0], values)) == []
