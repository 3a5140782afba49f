"""Computes the values of a simulated heat pump at any moment, as a pure function of time.

The constants are from a real dump of all registers (data/msw6_v3.78.json), the temperatures and
switches from 48 h of a real controller's log, one row a minute (data/brine_48h.csv). The log
repeats for ever in step with the hour of day. The other values follow from the log: counters add
up its switches, timers measure them, and heat is computed from its temperature spread.

Nothing is random. Values are raw integers as the controller sends them: 0.1 degC, 0.01 bar, s,
l/h, 0.1 kWh (calculations), 0.01 kWh (parameters), under the register numbers of luxtronik 0.3.14.
"""

import json
import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import accumulate, pairwise
from typing import Final

from luxcli.errors import UsageError
from luxcli.model import GROUPS, Snapshot

# msw6 has the registers of the dump. long is derived from it, not captured: the block lengths of
# a newer controller, and the registers that firmware V3.88 to V3.90 added.
PROFILES: Final = ("msw6", "long")
CAPTURED_S: Final = 1_482_965_362  # the dump's own clock, 2016-12-28

_LOOP_S: Final = 48 * 3600  # whole days, so that nights stay nights
_TEMPERATURES: Final = (10, 11, 12, 13, 14, 15, 16, 17, 19, 20, 21, 22)
_SWITCHES: Final = (29, 31, 32, 33, 34, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49)
_DHW_VALVE, _HEATING_PUMP, _SOURCE_PUMP, _COMPRESSOR, _ELEMENT = 38, 39, 43, 44, 48

# The log has no heat meter. These flows give the 6 kW of an MSW 6 at the spreads of the log,
# 13.8 K when heating and 5.0 K for hot water.
_FLOW_HEATING_LH, _FLOW_DHW_LH = 380, 1000
# Electric power = P35 * (1 + f * (flow temperature - 35)), the estimate that FHEM users make; both
# constants are chosen for a coefficient of performance of about 4.4 when heating.
_P35_W, _POWER_PER_K = 1300, 0.02
_J_PER_COUNT: Final = 36_000  # 0.01 kWh
_HEAT_EVERY_S: Final = 300  # real heat counters move about every five minutes,
_ELECTRICITY_EVERY_S: Final = 5400  # the electric ones every one to two hours
# At most three starts an hour, and at least five minutes between a stop and a start.
_START_LOCK_S, _PAUSE_LOCK_S = 1200, 300

_LONG_LENGTHS: Final = {"parameters": 1187, "calculations": 275, "visibilities": 398}
_LONG_FIRMWARE: Final = "V3.90.1"
_NOT_AVAILABLE: Final = 2**31 - 1


@dataclass(frozen=True, slots=True)
class _Moment:
    """A moment and its position in the repeating log: current row, and seconds into the loop."""

    time_s: int
    loops: int
    row: int
    phase_s: int


class _Tally:
    """The running total of a quantity that grows at a constant rate during each row."""

    def __init__(self, rates: Iterable[int], offsets: Sequence[int]) -> None:
        self._rates = tuple(rates)
        self._offsets = offsets
        spans = (stop - start for start, stop in pairwise(offsets))
        self._sums = (0, *accumulate(map(int.__mul__, self._rates, spans)))

    def until(self, now: _Moment) -> int:
        """Return the total; only the difference between two moments has a meaning."""
        partial = self._rates[now.row] * (now.phase_s - self._offsets[now.row])
        return now.loops * self._sums[-1] + self._sums[now.row] + partial


class _Events:
    """Events that recur in each loop, numbered through all loops."""

    def __init__(self, phases: Iterable[int], origin_s: int) -> None:
        self._phases = tuple(phases)
        self._origin_s = origin_s

    def until(self, now: _Moment) -> int:
        """Return the number of the latest event."""
        return now.loops * len(self._phases) + bisect_right(self._phases, now.phase_s)

    def time_s(self, number: int) -> int:
        """Return when the event of that number happened, seconds since the epoch."""
        loops, position = divmod(number - 1, len(self._phases))
        return self._origin_s + loops * _LOOP_S + self._phases[position]

    def latest_s(self, now: _Moment) -> int:
        """Return the time of the latest event, seconds since the epoch."""
        return self.time_s(self.until(now))


class _Log:
    """The 48 h of the log as columns: finds rows, sums rates and dates changes."""

    def __init__(self, text: str) -> None:
        header, *lines = text.splitlines()
        table = zip(*(line.split(",") for line in lines), strict=True)
        epochs, *columns = (tuple(map(int, column)) for column in table)
        indices = [int(name.removeprefix("C")) for name in header.split(",")[1:]]
        self._columns = dict(zip(indices, columns, strict=True))
        self._origin_s = epochs[0]
        self._offsets = (*(epoch - epochs[0] for epoch in epochs), _LOOP_S)

    def __getitem__(self, index: int) -> tuple[int, ...]:
        return self._columns[index]

    def moment(self, time_s: int) -> _Moment:
        """Locate a time, seconds since the epoch."""
        loops, phase_s = divmod(time_s - self._origin_s, _LOOP_S)
        return _Moment(time_s, loops, bisect_right(self._offsets, phase_s) - 1, phase_s)

    def measured(self, now: _Moment) -> dict[int, int]:
        """Return the switches of the current row, and temperatures interpolated to the next."""
        start, stop = self._offsets[now.row : now.row + 2]
        part = (now.phase_s - start) / (stop - start)
        values = {index: self._columns[index][now.row] for index in _SWITCHES}
        for index in _TEMPERATURES:
            column = self._columns[index]
            here, there = column[now.row], column[(now.row + 1) % len(column)]
            values[index] = round(here + (there - here) * part)
        return values

    def tally(self, rates: Iterable[int]) -> _Tally:
        """Return the running total of rates per second, one for each row."""
        return _Tally(rates, self._offsets)

    def changes(self, states: Sequence[object], *, to: object = None) -> _Events:
        """Return the changes of a state, given per row; with `to`, only changes to that state."""
        before = (states[-1], *states[:-1])  # the end of the log joins on to its start
        pairs = zip(self._offsets, states, before, strict=False)
        phases = (at for at, state, was in pairs if state != was and to in (None, state))
        return _Events(phases, self._origin_s)


class Replay:
    """A simulated heat pump, whose values depend on the time alone.

    Args:
        profile: One of PROFILES.
        start_s: Moment at which the counters have the values of the dump, seconds since the epoch,
            UTC. They grow from then on, and stand still before.

    Raises:
        UsageError: There is no such profile.
    """

    def __init__(self, profile: str = "msw6", start_s: float = CAPTURED_S) -> None:
        if profile not in PROFILES:
            raise UsageError(f"profile {profile!r}: must be one of {', '.join(PROFILES)}")
        self._is_long = profile == "long"
        self._dump = _load_dump(is_long=self._is_long)
        self._log = log = _Log(_read("brine_48h.csv"))
        self._start = log.moment(math.floor(start_s))

        running, valve = log[_COMPRESSOR], log[_DHW_VALVE]
        dhw = [on & hot for on, hot in zip(running, valve, strict=True)]
        heating = [on - hot for on, hot in zip(running, dhw, strict=True)]
        heat = list(map(_heat_w, log[10], log[11], map(_flow_lh, log[_HEATING_PUMP], valve)))
        power = list(map(_power_w, log[10]))
        self._heating_s, self._dhw_s = log.tally(heating), log.tally(dhw)
        self._element_s = log.tally(log[_ELEMENT])
        self._heating_j = log.tally(map(int.__mul__, heating, heat))
        self._dhw_j = log.tally(map(int.__mul__, dhw, heat))
        self._heating_power_j = log.tally(map(int.__mul__, heating, power))
        self._dhw_power_j = log.tally(map(int.__mul__, dhw, power))
        self._starts, self._stops = log.changes(running, to=1), log.changes(running, to=0)
        self._element_changes = log.changes(log[_ELEMENT])
        self._heating_changes = log.changes(heating)
        before = (running[-1], *running[:-1])
        outputs = zip(running, valve, log[_ELEMENT], log[_SOURCE_PUMP], before, strict=True)
        self._displays = [_display(*row) for row in outputs]
        self._display_changes = log.changes(self._displays)

    def at(self, epoch_s: float) -> Snapshot:
        """Return all registers at a moment.

        Args:
            epoch_s: Seconds since the epoch, UTC. The values change at whole seconds.
        """
        now = self._log.moment(math.floor(epoch_s))
        heat, switch_offs = self._heat(now), self._switch_offs(now)
        values = self._log.measured(now)
        values |= {
            18: self._dump["parameters"][47 if values[_ELEMENT] else 2],  # disinfection or normal
            79: 3 if values[_ELEMENT] else 1,  # level 3 releases the element
            134: now.time_s,
            151: heat[854] // 10,
            152: heat[878] // 10,
            154: heat[852] // 10,
            155: _flow_lh(values[_HEATING_PUMP], values[_DHW_VALVE]),
        }
        values |= self._run_times(now) | self._status(now, values) | switch_offs
        values |= _refrigerant(values)
        # Parameters 716 to 725 repeat the switch-off log.
        settings = {index + 610: value for index, value in switch_offs.items()}
        settings |= heat | self._saved_run_times(now)
        if self._is_long:
            values |= _newer_registers(values)
            settings |= self._electricity(now)
        return Snapshot(
            taken_ms=int(epoch_s * 1000),
            took_ms=0,
            tries=1,
            calculations=_with_values(self._dump["calculations"], values),
            parameters=_with_values(self._dump["parameters"], settings),
            visibilities=self._dump["visibilities"],
        )

    def _growth(self, total: _Tally | _Events, now: _Moment) -> int:
        return max(0, total.until(now) - total.until(self._start))

    def _run_times(self, now: _Moment) -> dict[int, int]:
        """Return run times in seconds, and the starts."""
        heating, dhw = self._growth(self._heating_s, now), self._growth(self._dhw_s, now)
        growth = {
            56: heating + dhw,
            57: self._growth(self._starts, now),
            60: self._growth(self._element_s, now),
            63: heating + dhw,
            64: heating,
            65: dhw,
        }
        return _with_growth(self._dump["calculations"], growth)

    def _saved_run_times(self, now: _Moment) -> dict[int, int]:
        # Parameters 728 and 729 equal calculations 64 and 65 in the dump, which was taken at rest:
        # that they are saved when the compressor stops is an assumption.
        saved = self._run_times(self._log.moment(self._stops.latest_s(now)))
        return {728: saved[64], 729: saved[65]}

    def _status(self, now: _Moment, values: dict[int, int]) -> dict[int, int]:
        """Return timers in seconds, operating mode and the three lines of the display."""
        since_start_s = now.time_s - self._starts.latest_s(now)
        since_stop_s = now.time_s - self._stops.latest_s(now)
        since_element_s = now.time_s - self._element_changes.latest_s(now)
        since_heating_s = now.time_s - self._heating_changes.latest_s(now)
        running, element = values[_COMPRESSOR], values[_ELEMENT]
        dhw = values[_DHW_VALVE] | element
        heating = running and not values[_DHW_VALVE]
        line1, line3 = self._displays[now.row]
        return {
            67: since_start_s if running else 0,
            68: since_element_s if element else 0,
            71: max(0, _START_LOCK_S - since_start_s),
            72: 0 if running else max(0, _PAUSE_LOCK_S - since_stop_s),
            73: 0 if running else since_stop_s,
            74: since_heating_s if heating else 0,
            75: 0 if heating else since_heating_s,
            80: 1 if dhw else 0 if running else 5,
            117: line1,
            118: 0,  # since
            119: line3,
            120: now.time_s - self._display_changes.latest_s(now),
        }

    def _switch_offs(self, now: _Moment) -> dict[int, int]:
        """Return five slots of reasons and times; each stop overwrites the oldest slot."""
        dump = self._dump["calculations"]
        newest = max(range(5), key=lambda slot: dump[111 + slot])
        ring = {index: dump[index] for index in range(106, 116)}
        first, count = self._stops.until(self._start), self._growth(self._stops, now)
        for number in range(max(1, count - 4), count + 1):
            slot = (newest + number) % 5
            ring[106 + slot] = 9  # no request
            ring[111 + slot] = self._stops.time_s(first + number)
        return ring

    def _heat(self, now: _Moment) -> dict[int, int]:
        """Return the heat quantities, parameters in 0.01 kWh."""
        updated = self._log.moment(now.time_s - now.time_s % _HEAT_EVERY_S)
        heating = self._growth(self._heating_j, updated) // _J_PER_COUNT
        dhw = self._growth(self._dhw_j, updated) // _J_PER_COUNT
        # 1060, the quantity "since reset", equals 852 in the dump.
        growth = {852: heating + dhw, 854: heating, 878: dhw, 1060: heating + dhw}
        return _with_growth(self._dump["parameters"], growth)

    def _electricity(self, now: _Moment) -> dict[int, int]:
        """Return the electric energies, parameters in 0.01 kWh."""
        updated = self._log.moment(now.time_s - now.time_s % _ELECTRICITY_EVERY_S)
        return {
            1136: self._growth(self._heating_power_j, updated) // _J_PER_COUNT,
            1137: self._growth(self._dhw_power_j, updated) // _J_PER_COUNT,
        }


def _read(name: str) -> str:
    return files("luxcli.simulator").joinpath("data", name).read_text(encoding="ascii")


def _load_dump(*, is_long: bool) -> dict[str, tuple[int, ...]]:
    document = json.loads(_read("msw6_v3.78.json"))
    blocks: dict[str, list[int]] = {group: document[group] for group in GROUPS}
    if is_long:
        for group, length in _LONG_LENGTHS.items():
            blocks[group] += [0] * (length - len(blocks[group]))
        blocks["calculations"][81:91] = _LONG_FIRMWARE.encode().ljust(10, b"\0")
    return {group: tuple(block) for group, block in blocks.items()}


def _with_values(block: Sequence[int], values: dict[int, int]) -> tuple[int, ...]:
    changed = list(block)
    for index, value in values.items():
        changed[index] = value
    return tuple(changed)


def _with_growth(block: Sequence[int], growth: dict[int, int]) -> dict[int, int]:
    return {index: block[index] + more for index, more in growth.items()}


def _flow_lh(pump: int, valve: int) -> int:
    return (_FLOW_DHW_LH if valve else _FLOW_HEATING_LH) if pump else 0


def _heat_w(flow: int, back: int, flow_lh: int) -> int:
    # kW = K * l/h / 866.65 with water of 35 degC
    return round(max(0, flow - back) * flow_lh / 8.6665)


def _power_w(flow: int) -> int:
    return round(_P35_W * (1 + _POWER_PER_K * (flow / 10 - 35)))


def _display(
    running: int, valve: int, element: int, source: int, was_running: int
) -> tuple[int, int]:
    """Return the codes of display lines 1 and 3."""
    if element:
        return 0, 9  # thermal disinfection, the only time the log uses the element
    if running:
        return 0, 5 if valve else 0
    if source and not was_running:
        return 7, 8  # the source pump runs ahead of the compressor
    return 1, 1  # at rest, no request


def _circuit(values: dict[int, int]) -> tuple[int, int]:
    """Return evaporating and condensing temperature, which are not in the log.

    Running, it evaporates 3 K below the brine outlet and condenses 1 K above the flow; at rest
    both are the mean temperature of the brine, which the dump's pressures agree with.
    """
    source_in, source_out = values[19], values[20]
    if values[_COMPRESSOR]:
        return source_out - 30, values[10] + 10
    mean = round((source_in + source_out) / 2)
    return mean, mean


def _refrigerant(values: dict[int, int]) -> dict[int, int]:
    """Return suction gas temperature, superheat and the two pressures."""
    evaporating, condensing = _circuit(values)
    suction = values[20] + 33  # running, that is the dump's superheat set-point of 6.3 K
    return {
        176: suction,
        178: suction - evaporating,
        180: _saturation(condensing),
        181: _saturation(evaporating),
    }


def _saturation(temperature: int) -> int:
    # R410A, fitted to 8.0 bar at 0 degC and 24.2 bar at 40 degC; 16 degC gives the dump's 12.9 bar.
    return round(100 * math.exp(10.745 - 2367 / (temperature / 10 + 273.15)))


def _newer_registers(values: dict[int, int]) -> dict[int, int]:
    """Return the calculations that the dump's firmware did not have yet; the values are made up."""
    running, flow_lh = values[_COMPRESSOR], values[155]
    evaporating, condensing = _circuit(values)
    heat = _heat_w(values[10], values[11], flow_lh) if running else 0
    hertz = min(110, max(20, heat // 120)) if running else 0  # about 50 Hz at 6 kW
    return {
        231: hertz,
        232: evaporating,
        233: condensing,
        236: hertz,
        237: 20,
        238: 110,
        239: 30 if values[_SOURCE_PUMP] else 0,
        240: values[19] - values[20] if values[_SOURCE_PUMP] else 0,
        241: flow_lh // 10,
        242: 50 if values[_HEATING_PUMP] else 0,
        243: values[10] - values[11] if values[_HEATING_PUMP] else 0,
        254: flow_lh,
        257: heat,
        258: 306,  # room unit 3.06
        267: _NOT_AVAILABLE,
        268: _power_w(values[10]) if running else 0,
    }
