"""Faults planted into good data: each with the rule that has to find it.

Those in polls are put through the real store; what a controller sends is sent by the simulator.
"""

import functools
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from luxcli.model import SUSPICIOUS, MissedPoll, Snapshot
from tests.support.builders import missed, reals
from tests.support.scenario import HOUR_MS, ms

# A brine unit's day: at rest, from 14:32 on the compressor heats for 87 minutes, at 16:04 it makes
# hot water, then rests again.
START_MS: Final = ms("2025-11-22T14:00")
HOURS: Final = 3
RUNNING: Final = range(70, 170)  # polls 30 s apart within the heating
RESTING: Final = range(300, 420)
MIDDLE: Final = 100
NO_VALUE, LARGEST = 32_767, 2**31 - 1

Polls = list[Snapshot]
Value = int | Callable[[int], int]


@dataclass(frozen=True, kw_only=True)
class Planted:
    """One fault.

    Attributes:
        name: What is wrong.
        rule: What has to find it.
        plant: Makes the bad polls of good ones.
        sensor: Whose finding it has to be, None where no register is to blame.
        profile: Of the simulated heat pump.
        hours: Length of the interval.
        step_s: Distance of the polls; the schedule's as well.
        interval_s: What the schedule is believed to be, if that is the fault.
        missed: Reasons recorded for polls that are not there, by number of the poll.
        spoil: Does something to the file of the database afterwards.
    """

    name: str
    rule: str
    plant: Callable[[Polls], Polls] = list
    sensor: str | None = None
    profile: str = "msw6"
    hours: float = HOURS
    step_s: int = 30
    interval_s: int | None = None
    missed: Mapping[int, str] | None = None
    spoil: Callable[[Path], None] | None = None

    def polls(self) -> Polls:
        """Return what is to be stored."""
        return self.plant(list(good(self.profile, self.hours, self.step_s)))

    def misses(self) -> list[MissedPoll]:
        """Return the reasons of polls that are not there."""
        return [
            missed(
                START_MS + number * self.step_s * 1000,
                reason,
                detail=f"{reason}!",
                interval_s=self.step_s,
            )
            for number, reason in (self.missed or {}).items()
        ]

    @property
    def stop_ms(self) -> int:
        return START_MS + round(self.hours * HOUR_MS)


@functools.lru_cache(maxsize=6)
def good(profile: str, hours: float, step_s: int) -> tuple[Snapshot, ...]:
    """Return polls without a fault."""
    count = round(hours * 3600 / step_s)
    return tuple(reals(count, profile, start_ms=START_MS, step_ms=step_s * 1000, interval_s=step_s))


def changed(
    poll: Snapshot, values: Mapping[int, Value], *, group: str = "calculations"
) -> Snapshot:
    """Return a poll with other values in one block."""
    block = list(getattr(poll, group))
    for index, value in values.items():
        block[index] = value(block[index]) if callable(value) else value
    return poll._replace(**{group: tuple(block)})


def calculations(where: Sequence[int] | None, values: Mapping[int, Value]) -> Callable[..., Polls]:
    """Plant values into the calculations of some polls, or of all."""
    return _planting(where, values, "calculations")


def parameters(where: Sequence[int] | None, values: Mapping[int, Value]) -> Callable[..., Polls]:
    """Plant values into the parameters of some polls, or of all."""
    return _planting(where, values, "parameters")


def _planting(
    where: Sequence[int] | None, values: Mapping[int, Value], group: str
) -> Callable[..., Polls]:
    def plant(polls: Polls) -> Polls:
        for number in range(len(polls)) if where is None else where:
            polls[number] = changed(polls[number], values, group=group)
        return polls

    return plant


def both(*plants: Callable[[Polls], Polls]) -> Callable[[Polls], Polls]:
    """Plant one thing after the other."""
    return lambda polls: functools.reduce(lambda found, plant: plant(found), plants, polls)


def marked(number: int, mark: int = SUSPICIOUS) -> Callable[[Polls], Polls]:
    """Mark one poll."""

    def plant(polls: Polls) -> Polls:
        polls[number] = polls[number]._replace(flags=polls[number].flags | mark)
        return polls

    return plant


def cut(where: Sequence[int], **lengths: int) -> Callable[[Polls], Polls]:
    """Make blocks of some polls shorter, or longer by zeros."""

    def plant(polls: Polls) -> Polls:
        for number in where:
            for group, length in lengths.items():
                block = getattr(polls[number], group)
                whole = (*block, *[0] * max(0, length - len(block)))[:length]
                polls[number] = polls[number]._replace(**{group: whole})
        return polls

    return plant


def without(drop: Callable[[int], bool]) -> Callable[[Polls], Polls]:
    """Leave polls out."""
    return lambda polls: [poll for number, poll in enumerate(polls) if not drop(number)]


def with_second_schedule(polls: Polls) -> Polls:
    """Poll once more for each scheduled time, a little later."""
    later = [
        poll._replace(taken_ms=poll.taken_ms + 700, late_ms=poll.late_ms + 700) for poll in polls
    ]
    return sorted([*polls, *later], key=lambda poll: poll.taken_ms)


def moved(where: Sequence[int], seconds: int) -> Callable[[Polls], Polls]:
    """Date some polls by a clock that was set."""

    def plant(polls: Polls) -> Polls:
        for number in where:
            taken_ms = polls[number].taken_ms + seconds * 1000
            polls[number] = polls[number]._replace(taken_ms=taken_ms)
        return polls

    return plant


def held(where: range, *indices: int) -> Callable[[Polls], Polls]:
    """Keep calculations as they were in the first of some polls."""

    def plant(polls: Polls) -> Polls:
        kept = {index: polls[where[0]].calculations[index] for index in indices}
        return calculations(where, kept)(polls)

    return plant


def held_parameters(where: range, *indices: int) -> Callable[[Polls], Polls]:
    """Keep parameters as they were in the first of some polls."""

    def plant(polls: Polls) -> Polls:
        kept = {index: polls[where[0]].parameters[index] for index in indices}
        return parameters(where, kept)(polls)

    return plant


def frozen(where: range, *running: int) -> Callable[[Polls], Polls]:
    """Send the same again and again, but for the clock and what else goes on running."""

    def plant(polls: Polls) -> Polls:
        first = polls[where[0]]
        for number in where:
            now = polls[number]
            moving = {index: now.calculations[index] for index in (134, *running)}
            polls[number] = changed(first._replace(taken_ms=now.taken_ms), moving)
        return polls

    return plant


def restarted(start: int, gap: int, *, dead: bool = True) -> Callable[[Polls], Polls]:
    """Let the controller start again after some missing polls: counters at 0, the clock in 1999."""

    def plant(polls: Polls) -> Polls:
        first = polls[start].calculations
        for number in range(start, len(polls)):
            block = polls[number].calculations
            values = {index: block[index] - first[index] for index in (56, 57, 63, 64, 65)}
            if dead and number < start + gap + 20:
                values[134] = 946_684_800 + block[134] - first[134]
            polls[number] = changed(polls[number], values)
        return polls[:start] + polls[start + gap :]

    return plant


def swapped(one: int, other: int) -> Callable[[Polls], Polls]:
    """Exchange two calculations in all polls."""

    def plant(polls: Polls) -> Polls:
        blocks = [poll.calculations for poll in polls]
        return [
            changed(poll, {one: block[other], other: block[one]})
            for poll, block in zip(polls, blocks, strict=True)
        ]

    return plant


def tries(where: Sequence[int], count: int) -> Callable[[Polls], Polls]:
    """Say that polls needed several connections."""

    def plant(polls: Polls) -> Polls:
        for number in where:
            polls[number] = polls[number]._replace(tries=count)
        return polls

    return plant


def error(code: int, *, after: int = MIDDLE) -> Callable[[Polls], Polls]:
    """Put a new error at the head of the log."""

    def plant(polls: Polls) -> Polls:
        time_s = polls[after].calculations[134]
        for number in range(after, len(polls)):
            block = list(polls[number].calculations)
            block[95:100] = [time_s, *block[95:99]]
            block[100:105] = [code, *block[100:104]]
            polls[number] = polls[number]._replace(calculations=tuple(block))
        return polls

    return plant


def from_(start: int) -> range:
    return range(start, 360)


def _values() -> Iterator[Planted]:
    flow, back = "ID_WEB_Temperatur_TVL", "ID_WEB_Temperatur_TRL"
    yield Planted(
        name="hot water of 85 °C",
        rule="range",
        sensor="ID_WEB_Temperatur_TBW",
        plant=calculations(range(90, 110), {17: 850}),
    )
    yield Planted(
        name="flow temperature of 250 °C",
        rule="range-impossible",
        sensor=flow,
        plant=calculations([MIDDLE], {10: 2500}),
    )
    yield Planted(
        name="outdoor temperature of -80 °C",
        rule="range-impossible",
        sensor="ID_WEB_Temperatur_TA",
        plant=calculations(range(90, 93), {15: -800}),
    )
    yield Planted(
        name="high pressure of 70 bar",
        rule="range-impossible",
        sensor="ID_WEB_LIN_HD",
        plant=calculations([MIDDLE], {180: 7000}),
    )
    yield Planted(
        name="return temperature without a value",
        rule="no-value",
        sensor=back,
        plant=calculations(None, {11: NO_VALUE}),
    )
    yield Planted(
        name="operating mode without a value",
        rule="no-value",
        sensor="ID_WEB_WP_BZ_akt",
        plant=calculations(range(50, 60), {80: LARGEST}),
    )
    yield Planted(
        name="brine inlet unplugged for some minutes",
        rule="interrupted",
        sensor="ID_WEB_Temperatur_TWE",
        plant=calculations(range(100, 106), {19: -500}),
    )
    yield Planted(
        name="hot water sensor that comes and goes",
        rule="interrupted",
        sensor="ID_WEB_Temperatur_TBW",
        plant=calculations([80, 90, 91, 120], {17: 750}),
    )
    yield Planted(
        name="brine outlet sensor that fails for good",
        rule="interrupted",
        sensor="ID_WEB_Temperatur_TWA",
        plant=calculations(from_(200), {20: -500}),
    )
    yield Planted(
        name="broken outdoor sensor",
        rule="outdoor-broken",
        sensor="ID_WEB_Temperatur_TA",
        plant=both(error(711), calculations(from_(MIDDLE), {15: -50})),
    )
    yield Planted(
        name="flow temperature that does not change all day",
        rule="stuck",
        sensor=flow,
        hours=26,
        step_s=600,
        plant=held(range(156), 10),
    )
    yield Planted(
        name="high pressure that does not change all day",
        rule="stuck",
        sensor="ID_WEB_LIN_HD",
        hours=26,
        step_s=600,
        plant=held(range(156), 180),
    )
    yield Planted(
        name="outdoor temperature that does not change in the day that is validated by default",
        rule="stuck",
        sensor="ID_WEB_Temperatur_TA",
        hours=24,
        step_s=600,
        plant=held(range(144), 15),
    )
    yield Planted(
        name="outdoor temperature 20 K higher for one poll",
        rule="temperature-spike",
        sensor="ID_WEB_Temperatur_TA",
        plant=calculations([MIDDLE], {15: lambda raw: raw + 200}),
    )
    yield Planted(
        name="return temperature of 75 °C for one poll",
        rule="temperature-spike",
        sensor=back,
        plant=calculations([320], {11: 750}),
    )
    yield Planted(
        name="water sensors that show the default value",
        rule="default-values",
        plant=calculations(range(90, 110), {10: 50, 11: 50, 13: 50}),
    )
    yield Planted(
        name="exchanged pressure sensors",
        rule="pressure-order",
        sensor="ID_WEB_LIN_HD",
        plant=lambda polls: [
            changed(poll, {180: poll.calculations[181], 181: poll.calculations[180]})
            for poll in polls
        ],
    )


def _counters() -> Iterator[Planted]:
    run_time, starts = "ID_WEB_Zaehler_BetrZeitVD1", "ID_WEB_Zaehler_BetrZeitImpVD1"
    yield Planted(
        name="heat counter that jumps up and falls back",
        rule="counter-spike",
        sensor="ID_Waermemenge_BW",
        plant=parameters(range(100, 110), {878: lambda raw: raw + 5_000_000}),
    )
    yield Planted(
        name="number of starts that falls and comes back",
        rule="counter-spike",
        sensor=starts,
        plant=calculations([MIDDLE], {57: 12}),
    )
    yield Planted(
        name="run time that begins again at 0",
        rule="counter-reset",
        sensor="ID_WEB_Zaehler_BetrZeitHz",
        plant=lambda polls: [
            changed(poll, {64: lambda raw, n=number: raw if n < 120 else (n - 120) * 30})
            for number, poll in enumerate(polls)
        ],
    )
    yield Planted(
        name="controller that starts again with a lost clock while four polls are missing",
        rule="counter-reset",
        sensor=run_time,
        plant=restarted(120, 4),
    )
    yield Planted(
        name="heat since reset, set to 0 in the calculations",
        rule="counter-reset-total",
        sensor="ID_WEB_WMZ_Seit",
        plant=calculations(from_(120), {154: 3}),
    )
    yield Planted(
        name="heat since reset, set to 0 in the parameters",
        rule="counter-reset-total",
        sensor="ID_Waermemenge_Seit",
        plant=parameters(from_(120), {852: 30}),
    )
    yield Planted(
        name="run time that loses an hour in a power cut",
        rule="counter-setback",
        sensor="ID_WEB_Zaehler_BetrZeitWP",
        plant=calculations(from_(120), {63: lambda raw: raw - 3600}),
    )
    yield Planted(
        name="500 starts fewer than before",
        rule="counter-decrease",
        sensor=starts,
        plant=calculations(from_(120), {57: lambda raw: raw - 500}),
    )
    yield Planted(
        name="heat counter that falls by a tenth",
        rule="counter-decrease",
        sensor="ID_Waermemenge_Hz",
        plant=parameters(from_(120), {854: lambda raw: raw * 9 // 10}),
    )
    yield Planted(
        name="run time that gains 1000 hours at once",
        rule="counter-jump",
        sensor="ID_WEB_Zaehler_BetrZeitBW",
        plant=calculations(from_(120), {65: lambda raw: raw + 3_600_000}),
    )
    yield Planted(
        name="heat counter that gains 5000 kWh at once",
        rule="counter-jump",
        sensor="ID_Waermemenge_Hz",
        plant=parameters(from_(120), {854: lambda raw: raw + 500_000}),
    )
    yield Planted(
        name="run time that grows three times as fast as the clock",
        rule="counter-jump",
        sensor="ID_WEB_Zaehler_BetrZeitHz",
        plant=lambda polls: [
            changed(poll, {64: lambda raw, n=number: raw + 90 * n})
            for number, poll in enumerate(polls)
        ],
    )
    yield Planted(
        name="electric counter that loses half",
        rule="counter-decrease",
        sensor="HEAT_ENERGY_INPUT",
        profile="long",
        plant=parameters(from_(120), {1136: lambda raw: raw // 2}),
    )
    yield Planted(
        name="more starts than seconds of run time",
        rule="starts-runtime",
        sensor="ID_WEB_Zaehler_BetrZeitImpVD2",
        plant=calculations(None, {58: 100, 59: 2000}),
    )
    yield Planted(
        name="run time of the heat pump below that of its compressor",
        rule="heatpump-runtime",
        sensor="ID_WEB_Zaehler_BetrZeitWP",
        plant=calculations(None, {63: lambda raw: raw - 100_000}),
    )
    yield Planted(
        name="run time that does not grow while the compressor runs",
        rule="runtime-standstill",
        sensor=run_time,
        plant=held(RUNNING, 56),
    )
    yield Planted(
        name="run time that grows while the compressor is off",
        rule="runtime-idle",
        sensor=run_time,
        plant=lambda polls: [
            changed(poll, {56: lambda raw, n=number: raw + 30 * max(0, n - 300)})
            for number, poll in enumerate(polls)
        ],
    )


def _heat() -> Iterator[Planted]:
    yield Planted(
        name="heat of another heat pump",
        rule="heat-quantities",
        plant=parameters(None, {854: lambda raw: raw + 30_000}),
    )
    yield Planted(
        name="heat for hot water of another heat pump",
        rule="heat-quantities",
        plant=calculations(None, {152: lambda raw: 10 * raw}),
    )
    yield Planted(
        name="total heat of another heat pump",
        rule="heat-total",
        plant=parameters(None, {852: lambda raw: raw + 30_000}),
    )
    yield Planted(
        name="flow with all pumps off",
        rule="flow-without-pump",
        sensor="ID_WEB_WMZ_Durchfluss",
        plant=calculations(RESTING, {38: 0, 39: 0, 46: 0, 47: 0, 155: 900}),
        hours=HOURS + 0.5,
    )
    yield Planted(
        name="no flow with pump and compressor on",
        rule="pump-without-flow",
        sensor="ID_WEB_WMZ_Durchfluss",
        plant=calculations(RUNNING, {155: 0}),
    )
    yield Planted(
        name="compressor that heats nothing",
        rule="compressor-without-heat",
        plant=both(
            calculations(RUNNING, {10: 250, 11: 252}),
            held(RUNNING, 151, 154),
            held_parameters(RUNNING, 852, 854, 1060),
        ),
    )
    yield Planted(
        name="flow and return exchanged",
        rule="flow-below-return",
        sensor="ID_WEB_Temperatur_TVL",
        plant=swapped(10, 11),
    )
    yield Planted(
        name="brine inlet and outlet exchanged",
        rule="source-reversed",
        sensor="ID_WEB_Temperatur_TWE",
        plant=swapped(19, 20),
    )
    yield Planted(
        name="40 times as much heat as power",
        rule="heat-output",
        sensor="Heat_Output",
        profile="long",
        plant=calculations(RUNNING, {257: 12_000, 268: 300}),
    )
    yield Planted(
        name="negative heat output",
        rule="heat-output",
        sensor="Heat_Output",
        profile="long",
        plant=calculations(RUNNING, {257: -4000}),
    )


def _status() -> Iterator[Planted]:
    compressor = "ID_WEB_VD1out"
    yield Planted(
        name="compressor switched to 7",
        rule="switch",
        sensor=compressor,
        plant=calculations([MIDDLE], {44: 7}),
    )
    yield Planted(
        name="calculations that end before the clock",
        rule="missing-sensor",
        sensor="ID_WEB_AktuelleTimeStamp",
        plant=cut(range(360), calculations=134),
    )
    yield Planted(
        name="firmware text that is no version",
        rule="firmware-text",
        sensor="ID_WEB_SoftStand",
        plant=calculations(None, {81: 0, 82: 7}),
    )
    yield Planted(
        name="firmware update",
        rule="firmware-changed",
        sensor="ID_WEB_SoftStand",
        plant=calculations(from_(200), {84: ord("9")}),
    )
    yield Planted(
        name="unknown model",
        rule="model-code",
        sensor="ID_WEB_Code_WP_akt",
        plant=calculations(None, {78: 95}),
    )
    yield Planted(
        name="unknown code of the third line of the display",
        rule="unknown-code",
        sensor="ID_WEB_HauptMenuStatus_Zeile3",
        plant=calculations(range(50, 60), {119: 33}),
    )
    yield Planted(
        name="operating mode 77,000",
        rule="impossible-code",
        sensor="ID_WEB_WP_BZ_akt",
        plant=calculations([MIDDLE], {80: 77_000}),
    )
    yield Planted(
        name="switch-off log of another heat pump",
        rule="switch-off-log",
        plant=parameters(None, dict.fromkeys(range(721, 726), 1_700_000_000)),
    )
    yield Planted(
        name="error code in place of the error time",
        rule="logs",
        plant=swapped(95, 100),
    )
    yield Planted(
        name="error code 5000",
        rule="error-codes",
        sensor="ID_WEB_ERROR_Nr0",
        plant=calculations(None, {100: 5000}),
    )
    yield Planted(
        name="invalid network mask",
        rule="netmask",
        sensor="ID_WEB_SubNetMask_akt",
        plant=calculations(None, {92: 12345}),
    )
    yield Planted(
        name="high pressure fault",
        rule="error",
        sensor="ID_WEB_ERROR_Nr0",
        plant=error(716),
    )
    yield Planted(
        name="error of the return sensor",
        rule="error",
        sensor="ID_WEB_Temperatur_TRL",
        plant=error(708),
    )
    yield Planted(
        name="low pressure lock that ended by itself",
        rule="error-passing",
        sensor="ID_WEB_ERROR_Nr0",
        plant=error(702),
    )
    yield Planted(
        name="controller that sends the same values for 10 minutes",
        rule="frozen",
        plant=frozen(range(200, 221)),
    )
    yield Planted(
        name="controller on which only clock and timers change",
        rule="frozen-values",
        plant=frozen(range(60, 340), *range(67, 78), 120),
    )


def _clocks() -> Iterator[Planted]:
    clock = "ID_WEB_AktuelleTimeStamp"
    yield Planted(
        name="controller's clock 20 and a half minutes behind",
        rule="clock-off",
        sensor=clock,
        plant=calculations(None, {134: lambda raw: raw - 1230}),
    )
    yield Planted(
        name="controller's clock at 1970",
        rule="clock-off",
        sensor=clock,
        plant=calculations(None, {134: lambda raw: raw % 86_400}),
    )
    yield Planted(
        name="controller's clock in summer time",
        rule="clock-zone",
        sensor=clock,
        plant=calculations(None, {134: lambda raw: raw + 3600}),
    )
    yield Planted(
        name="controller's clock that loses 4 minutes a day",
        rule="clock-drift",
        sensor=clock,
        hours=26,
        step_s=600,
        plant=lambda polls: [
            changed(poll, {134: lambda raw, n=number: raw - n * 240 // 144})
            for number, poll in enumerate(polls)
        ],
    )
    yield Planted(
        name="controller's clock that does not run",
        rule="clock-standstill",
        sensor=clock,
        plant=held(range(100, 130), 134),
    )
    yield Planted(
        name="this computer's clock set forward by an hour",
        rule="host-clock-step",
        plant=moved(from_(200), 3600),
    )
    yield Planted(
        name="this computer's clock set back by half an hour",
        rule="host-clock-step",
        plant=moved(from_(200), -1793),
    )
    yield Planted(
        name="controller's clock set by two minutes",
        rule="controller-clock-set",
        sensor=clock,
        plant=calculations(from_(200), {134: lambda raw: raw + 120}),
    )


def _other_bits(cache: Path) -> None:
    """Let the disk return other bits than were written."""
    with closing(sqlite3.connect(cache)) as db, db:
        db.execute("UPDATE poll SET c10 = c10 + 1 WHERE ts_ms % 7 = 0")


def _recording() -> Iterator[Planted]:
    yield Planted(
        name="almost empty polls",
        rule="few-values",
        plant=cut(range(360), calculations=10, parameters=12, visibilities=5),
    )
    yield Planted(
        name="polls full of zeros",
        rule="mostly-zero",
        plant=calculations(range(50, 60), dict.fromkeys(range(232), 0)),
    )
    yield Planted(
        name="longer blocks from now on",
        rule="block-length",
        plant=cut(from_(200), calculations=260, parameters=1125, visibilities=354),
    )
    yield Planted(
        name="a shorter block now and then",
        rule="block-unsteady",
        plant=cut([80, 120], calculations=200),
    )
    yield Planted(
        name="a poll whose parameters end with zeros, marked when it was read",
        rule="suspicious-polls",
        plant=both(parameters([150], dict.fromkeys(range(900, 1075), 0)), marked(150)),
    )
    yield Planted(
        name="visibility 99",
        rule="visibility-flags",
        sensor="ID_Visi_NieAnzeigen",
        plant=lambda polls: [changed(poll, {0: 99}, group="visibilities") for poll in polls],
    )
    yield Planted(
        name="every fifth poll at the second attempt",
        rule="retries",
        plant=tries(range(0, 360, 5), 2),
    )
    lost = {number: "timeout" for number in range(0, 360, 9) if number}
    yield Planted(
        name="every ninth poll fails",
        rule="coverage-poor",
        plant=without(lost.__contains__),
        missed=lost,
    )
    most = dict.fromkeys(range(100, 330), "refused")
    yield Planted(
        name="two hours without heat pump",
        rule="coverage-half",
        plant=without(most.__contains__),
        missed=most,
    )
    yield Planted(
        name="polls not started for ten minutes",
        rule="gaps-unexplained",
        plant=without(range(100, 120).__contains__),
    )
    yield Planted(
        name="rejected answers",
        rule="rejected-polls",
        plant=without({100, 101}.__contains__),
        missed={100: "rejected", 101: "rejected"},
    )
    yield Planted(
        name="answers of another heat pump",
        rule="foreign-polls",
        plant=without({100, 101}.__contains__),
        missed={100: "foreign", 101: "foreign"},
    )
    yield Planted(
        name="no poll for the last hour and a half",
        rule="stale",
        hours=HOURS,
        plant=without(range(178, 360).__contains__),
    )
    yield Planted(name="flipped bits in the database", rule="damaged-polls", spoil=_other_bits)
    yield Planted(
        name="a poll a minute instead of every 30 seconds",
        rule="spacing",
        step_s=60,
        interval_s=30,
    )
    yield Planted(
        name="a poll every 40 seconds instead of 30",
        rule="spacing",
        step_s=40,
        interval_s=30,
    )
    yield Planted(
        name="a third of the scheduled polls missing, evenly",
        rule="coverage-poor",
        plant=without(lambda number: number % 3 == 1),
    )
    yield Planted(
        name="two schedules at once",
        rule="extra-polls",
        plant=with_second_schedule,
        hours=1,
    )
    yield Planted(
        name="a schedule that polls twice as often as configured",
        rule="spacing",
        step_s=15,
        interval_s=30,
        hours=1,
    )
    yield Planted(
        name="recording that began only after two hours",
        rule="recording-began",
        plant=without(range(240).__contains__),
    )


IN_POLLS: Final[Sequence[Planted]] = (
    *_values(),
    *_counters(),
    *_heat(),
    *_status(),
    *_clocks(),
    *_recording(),
)


@dataclass(frozen=True, kw_only=True)
class Sent:
    """Something that a controller sends and that must not be stored.

    Attributes:
        name: What is wrong.
        rule: Structural rule that the rejection names.
        change: Makes the bad answer of a good one.
    """

    name: str
    rule: str
    change: Callable[[Snapshot], Snapshot]


def _dropped(group: str, index: int) -> Callable[[Snapshot], Snapshot]:
    def change(snapshot: Snapshot) -> Snapshot:
        block: tuple[int, ...] = getattr(snapshot, group)
        return snapshot._replace(**{group: block[:index] + block[index + 1 :]})

    return change


def _short(**lengths: int) -> Callable[[Snapshot], Snapshot]:
    def change(snapshot: Snapshot) -> Snapshot:
        blocks: dict[str, Any] = {
            group: getattr(snapshot, group)[:length] for group, length in lengths.items()
        }
        return snapshot._replace(**blocks)

    return change


SENT: Final[Sequence[Sent]] = (
    Sent(name="almost empty answers", rule="too-few-values", change=_short(calculations=10)),
    Sent(
        name="almost empty answers in all blocks",
        rule="too-few-values",
        change=_short(calculations=10, parameters=10, visibilities=10),
    ),
    Sent(name="parameters cut short", rule="too-few-values", change=_short(parameters=120)),
    Sent(
        name="calculations that are all 0",
        rule="mostly-zero",
        change=lambda snapshot: snapshot._replace(calculations=(0,) * len(snapshot.calculations)),
    ),
    Sent(name="calculation 5 lost", rule="firmware-text", change=_dropped("calculations", 5)),
    Sent(name="parameter 100 lost", rule="heat-quantities", change=_dropped("parameters", 100)),
)
