"""Simulates a year of an air/water heat pump in a heated house; one seed gives the same polls.

Captures of a whole year are not published. Registers that do not change come from a real dump
(`luxcli.simulator.replay`, profile "long"). Simulated are: weather with seasons, days and fronts; a
house that cools; a compressor with hysteresis; drawn and heated hot water; defrosts in damp cold;
run times, timers and meters; sensors that flicker by a tenth; a scheduler that is a little late; an
owner who changes a setting twice a month. `statistics` counts how many registers change from poll
to poll, and the benchmark prints that.
"""

import math
import random
from collections.abc import Iterable, Iterator
from typing import Final

from luxcli.model import MissedPoll, Snapshot
from luxcli.simulator.replay import Replay

# The default day and the default week end at this moment: Monday 07:00 in Berlin.
STOP_MS: Final = 1_764_568_800_000  # 2025-12-01T06:00:00Z
DAYS: Final = 365
INTERVAL_S: Final = 30
ZONE: Final = "Europe/Berlin"
DAY_MS: Final = 86_400_000

_MISSED_SHARE: Final = 0.0002
_RETRY_SHARE: Final = 0.001
_START_LOCK_S, _PAUSE_LOCK_S = 1200, 300
_FORERUN_S: Final = 60
# The house loses 4.7 kW at 0 °C outdoors; floor and buffer tank store heat.
_LOSS_KW_PER_K, _KWH_PER_K, _HEAT_KW_PER_HZ = 0.26, 0.45, 0.105
_TAU: Final = 2 * math.pi


class HeatPump:
    """The simulated heat pump; `step` advances the time, the three blocks are what it sends.

    The state is in °C, kWh and W; the blocks are raw integers.
    """

    def __init__(self, start_s: int, seed: int) -> None:
        self._random = random.Random(seed)
        base = Replay("long", start_s).at(start_s)
        self.calculations = list(base.calculations)
        self.parameters = base.parameters
        self.visibilities = base.visibilities
        self._now_s = start_s
        self._front = 0.0  # deviation of the weather from the season
        self._outdoor = self._seasonal(start_s)
        self._mean_outdoor = self._outdoor
        self._flow = self._back = 28.0
        self._tank, self._hot_gas, self._source = 47.0, 25.0, self._outdoor
        self._evaporating = self._condensing = 10.0
        self._frost = 0.0
        self._state, self._since_s = "idle", start_s - 900
        self._started_s = self._stopped_s = start_s - 900
        self._frequency = 0.0
        self._heating_kwh = self._dhw_kwh = self._heating_el_kwh = self._dhw_el_kwh = 0.0
        self._meter = {index: base.parameters[index] for index in (852, 854, 878, 1136, 1137)}
        self._changed: dict[int, int] = {}
        self._element = False
        self._slot = 0
        self._fixed()

    def _fixed(self) -> None:
        """Set the registers in which this heat pump differs from the dump: air, no brine sensor."""
        c = self.calculations
        c[20], c[21], c[240], c[239] = -500, 312, 0, 0
        c[78], c[79], c[124], c[125] = 45, 1, 1, 1
        c[100:105], c[111:116] = [719, 719, 715, 719, 719], [self._now_s - n for n in range(5)]
        self._changed.update({721 + n: self._now_s - n for n in range(5)})

    def step(self, now_s: int) -> None:
        """Advance the simulation to `now_s`, seconds since the epoch."""
        dt = now_s - self._now_s
        self._now_s = now_s
        self._weather(dt)
        self._water(dt)
        self._control(dt)
        self._circuit(dt)
        self._count(dt)
        self._owner(dt)
        self._show_temperatures()
        self._show_state()
        if self._changed:
            block = list(self.parameters)
            for index, raw in self._changed.items():
                block[index] = raw
            self.parameters = tuple(block)
            self._changed = {}

    # Surroundings

    def _seasonal(self, now_s: float) -> float:
        year = (now_s / 86_400 / 365.25) % 1.0
        hour = (now_s / 3600 + 1) % 24
        summer = -math.cos(_TAU * (year - 0.055))  # coldest in the third week of January
        daily = 2.5 + 2.0 * max(0.0, summer)
        return 9.5 + 9.0 * summer + daily * math.cos(_TAU * (hour - 15) / 24)

    def _weather(self, dt: int) -> None:
        noise = self._random.random() + self._random.random() - 1
        self._front += noise * 0.12 - self._front * dt / (3 * 86_400)
        self._outdoor += (self._seasonal(self._now_s) + self._front - self._outdoor) * dt / 1800
        self._mean_outdoor += (self._outdoor - self._mean_outdoor) * dt / 86_400

    def _water(self, dt: int) -> None:
        """Draw hot water, mostly in the morning and the evening; the tank cools a little."""
        hour = (self._now_s / 3600 + 1) % 24
        busy = 0.012 if 6 <= hour < 9 or 18 <= hour < 22 else 0.002
        if self._random.random() < busy:
            self._tank -= 0.4 + 1.8 * self._random.random()
        self._tank -= 0.25 * dt / 3600
        self._tank = max(self._tank, 38.0)

    # Control

    def _set_point(self) -> float:
        if self._mean_outdoor > 15.5:
            return 15.0
        return 24.0 + 0.55 * (18.0 - self._mean_outdoor)

    def _enter(self, state: str) -> None:
        self._state, self._since_s = state, self._now_s

    def _control(self, dt: int) -> None:
        now, state, lasted = self._now_s, self._state, self._now_s - self._since_s
        dhw_set = self.parameters[105] / 10
        may_start = now - self._started_s > _START_LOCK_S and now - self._stopped_s > _PAUSE_LOCK_S
        if state == "idle":
            wants_dhw = self._tank < dhw_set - 5.0
            wants_heat = self._back < self._set_point() - 2.0 and self._set_point() > 15.0
            if may_start and (wants_dhw or wants_heat):
                self._enter("forerun")
        elif state == "forerun" and lasted >= _FORERUN_S:
            self._enter("dhw" if self._tank < dhw_set - 5.0 else "heating")
            self._started_s = now
            self.calculations[57] += 1
        elif state == "dhw" and self._tank >= dhw_set + 0.5:
            warm = self._back < self._set_point() and self._set_point() > 15.0
            self._enter("heating") if warm else self._stop()
        elif state == "heating":
            if self._tank < dhw_set - 5.0:
                self._enter("dhw")
            elif self._back > self._set_point() + 2.0 or self._set_point() <= 15.0:
                self._stop()
            elif self._frost > 1.0:
                self._enter("defrost")
        elif state == "defrost" and lasted >= 300:
            self._frost = 0.0
            self._changed[1119] = now
            self._enter("heating")
        if self._state == "heating" and self._outdoor < 6.0:
            self._frost += dt / (4200 + 900 * max(0.0, 2.0 - self._outdoor))

    def _stop(self) -> None:
        """Switch off and add the switch-off to both copies of the log."""
        self._enter("idle")
        self._stopped_s = self._now_s
        self._slot = (self._slot + 1) % 5
        self.calculations[106 + self._slot], self.calculations[111 + self._slot] = 9, self._now_s
        self._changed.update({716 + self._slot: 9, 721 + self._slot: self._now_s})

    @property
    def _runs(self) -> bool:
        return self._state in ("dhw", "heating", "defrost")

    def _circuit(self, dt: int) -> None:
        """Move the temperatures of water and refrigerant towards their final values."""
        state = self._state
        house = self._set_point()
        load = max(0.0, 18.0 - self._outdoor)
        loss_kw = _LOSS_KW_PER_K * load
        if state == "heating":
            need = min(110.0, max(28.0, 2.5 * load + 5.0 * (house + 0.5 - self._back)))
            spread, target = 3.0 + need / 28, self._back
            self._back += (_HEAT_KW_PER_HZ * self._frequency - loss_kw) / _KWH_PER_K * dt / 3600
        elif state == "dhw":
            need, spread = 62.0, 5.0
            target = self._tank + 4.0
            self._back += (target - self._back) * dt / 120
            self._tank += 0.165 * dt / 60
        elif state == "defrost":
            need, spread, target = 70.0, -4.0, self._back
            self._back -= 0.9 * dt / 60
        else:
            need, spread, target = 0.0, 0.0, self._back
            lowest = 21.0
            self._back -= loss_kw / _KWH_PER_K * dt / 3600 if house > 15.0 else 0.0
            self._back += (max(lowest, self._back - 9) - self._back) * dt / 9000
        self._frequency += (need - self._frequency) * min(1.0, dt / 90)
        self._flow += (target + spread - self._flow) * min(1.0, dt / 70)
        air = self._outdoor + 0.4
        evaporating = air - 6.5 if self._runs else air + 0.5
        condensing = self._flow + 2.0 if self._runs else air + 1.0
        if state == "defrost":
            evaporating, condensing = air - 14.0, 12.0
        part = min(1.0, dt / 60)
        self._evaporating += (evaporating - self._evaporating) * part
        self._condensing += (condensing - self._condensing) * part
        self._source += (air - self._source) * part
        gas = self._condensing + 18.0 + self._frequency * 0.22 if self._runs else 20.0
        self._hot_gas += (gas - self._hot_gas) * min(1.0, dt / (240 if self._runs else 2400))

    def _power(self) -> tuple[int, int]:
        """Return heat and electric power, W."""
        if not self._runs or self._state == "defrost":
            return 0, (round(self._frequency * 14) if self._runs else 0)
        lift = max(8.0, self._condensing - self._evaporating)
        electric = self._frequency * 26 * (0.6 + lift / 70)
        heat = electric * min(6.5, 0.46 * (self._condensing + 273) / lift)
        return round(heat), round(electric)

    def _count(self, dt: int) -> None:
        c, kwh = self.calculations, dt / 3_600_000
        heat, electric = self._power()
        if self._state == "dhw":
            self._dhw_kwh += heat * kwh
            self._dhw_el_kwh += electric * kwh
        else:
            self._heating_kwh += heat * kwh
            self._heating_el_kwh += electric * kwh
        if self._runs:
            for index in (56, 63, 65 if self._state == "dhw" else 64):
                c[index] += dt
        if self._now_s % 300 < dt and (heat or self._heating_kwh or self._dhw_kwh):
            self._meter_heat()
        if self._now_s % 5400 < dt:
            grown = ((1136, "_heating_el_kwh"), (1137, "_dhw_el_kwh"))
            for index, name in grown:
                self._book(index, name)
        c[151], c[152] = self._meter[854] // 10, self._meter[878] // 10
        c[154] = self._meter[852] // 10

    def _book(self, index: int, name: str) -> int:
        """Add the whole hundredths of a kWh to a meter; return how many."""
        kwh: float = getattr(self, name)
        hundredths = int(kwh * 100)
        if hundredths:
            setattr(self, name, kwh - hundredths / 100)
            self._meter[index] += hundredths
            self._changed[index] = self._meter[index]
        return hundredths

    def _meter_heat(self) -> None:
        more = self._book(854, "_heating_kwh") + self._book(878, "_dhw_kwh")
        if more:
            self._meter[852] += more
            self._changed[852] = self._changed[1060] = self._meter[852]

    def _owner(self, dt: int) -> None:
        """Change a setting about twice a month, and disinfect the hot water each week."""
        if self._random.random() < dt / (15 * 86_400):
            knob = self._random.choice((1, 105, 11, 12))
            low, high = {1: (-10, 25), 105: (480, 500), 11: (280, 340), 12: (190, 220)}[knob]
            raw = self._random.randrange(low, high + 1, 5)
            self._changed[knob] = raw
            if knob == 105:
                self._changed[2] = raw
        since_s = (self._now_s - 7200) % (7 * 86_400)
        self._element = since_s < 2400 and not self._runs
        if self._element:
            self._tank += 0.25 * dt / 60
            self.calculations[60] += dt

    # Registers

    def _sensor(self, index: int, value: float, noise: float = 0.06) -> None:
        flicker = (self._random.random() + self._random.random() - 1) * noise * 2
        self.calculations[index] = round((value + flicker) * 10)

    def _show_temperatures(self) -> None:
        c, runs = self.calculations, self._runs
        house = self._set_point()
        for index, value in (
            (10, self._flow),
            (11, self._back),
            (13, self._back + 0.8),
            (14, self._hot_gas),
            (15, self._outdoor),
            (17, self._tank),
            (19, self._source),
            (21, self._flow - 1.2),
            (24, self._back + 0.5),
            (142, 20.6 + 0.4 * math.sin(self._now_s / 11_000)),
            (159, 15.0 + self._outdoor * 0.2),
            (160, 22.4 + 0.3 * math.sin(self._now_s / 7000)),
            (175, self._evaporating + 3.0),
            (176, self._evaporating + 6.5),
            (177, 35.0 + 0.3 * self._frequency),
            (194, self._condensing * 0.5 + self._evaporating * 0.5),
            (195, self._evaporating + 8.0),
            (198, self._condensing),
            (199, self._condensing - 4.0),
            (200, 4.0 + 0.02 * self._frequency),
            (229, self._tank + 1.5),
            (227, 21.3 + 0.3 * math.sin(self._now_s / 9000)),
            (232, self._evaporating),
            (233, self._condensing),
        ):
            self._sensor(index, value)
        c[12] = c[22] = c[25] = round(house * 2) * 5
        c[16], c[18] = round(self._mean_outdoor * 10), self.parameters[105]
        c[178] = c[176] - c[232]
        c[179] = round(60 + self._frequency * 0.1) if runs else 60
        c[189] = round(house * 10 + self._frequency * 0.4)
        c[196], c[197] = c[195] - c[194], 50 + round(self._frequency * 0.05)
        c[201] = _pressure(c[194])
        c[180], c[181] = _pressure(c[233]), _pressure(c[232])
        c[242] = 45 if runs else 0
        c[243] = c[10] - c[11] if runs else 0

    def _show_state(self) -> None:
        c, now, state = self.calculations, self._now_s, self._state
        runs, dhw = self._runs, self._state == "dhw"
        noise = self._random.random
        pumps = state != "idle" or self._set_point() > 15.0
        c[37], c[38], c[39] = int(state == "defrost"), int(dhw), int(pumps)
        c[43], c[44] = int(state not in ("idle", "defrost")), int(runs)
        c[46] = c[47] = int(dhw)
        flow = round(1150 + 6 * self._frequency + noise() * 24) if pumps else 0
        c[155], c[254], c[173] = flow, flow, 0
        c[183] = c[241] = min(100, round(38 + self._frequency * 0.4)) if pumps else 0
        c[231], c[236] = round(self._frequency), round(self._frequency / 5) * 5
        c[193] = round(self._frequency) * 60
        fan = 0 if state in ("idle", "defrost") else round(320 + 2 * self._frequency + noise() * 6)
        c[184], c[164], c[165] = fan, 400 + round(noise() * 4), 412 + round(noise() * 4)
        heat, electric = self._power()
        c[257], c[268] = heat, round(electric * (0.99 + noise() * 0.02)) if electric else 0
        c[187], c[188] = round(heat / 100), round(heat / 100 * 0.97)
        c[202] = round(3250 + noise() * 30) if runs else 3240
        c[147], c[168], c[169] = (round(23 + n + noise() * 2) for n in range(3))
        c[156], c[157] = (round(self._frequency * 9), round(self._frequency * 7))
        c[48] = int(self._element)
        c[80] = {"dhw": 1, "idle": 5, "forerun": 5, "defrost": 4}.get(state, 0)
        c[117] = {"idle": 1, "forerun": 7, "defrost": 4}.get(state, 0)
        c[119] = {"dhw": 5, "idle": 1, "forerun": 8, "defrost": 7}.get(state, 0)
        c[191] = {"heating": 2, "dhw": 2, "defrost": 5}.get(state, 0)
        c[67] = now - self._started_s if runs else 0
        c[71] = max(0, _START_LOCK_S - (now - self._started_s))
        c[72] = 0 if runs else max(0, _PAUSE_LOCK_S - (now - self._stopped_s))
        c[73] = 0 if runs else now - self._stopped_s
        c[74], c[75] = (now - self._since_s, 0) if state == "heating" else (0, now - self._since_s)
        c[77] = now - self._since_s if dhw else 0
        c[120] = now - self._since_s
        c[123] = c[123] if runs else (now - self._stopped_s) // 60
        c[141] = round(self._frost * 3600) if state == "heating" else 0
        c[134] = now + 2 + (now % 2_592_000) // 400_000  # a quartz that is set once a month


def _pressure(raw: int) -> int:
    # R410A as in `luxcli.simulator.replay`.
    return round(100 * math.exp(10.745 - 2367 / (raw / 10 + 273.15)))


def polls(
    days: int = DAYS, *, seed: int = 1, last: int | None = None
) -> Iterator[Snapshot | MissedPoll]:
    """Yield the polls and missed polls of the days before `STOP_MS`, in time order.

    Args:
        days: Days to simulate.
        seed: Seed of the random numbers.
        last: Yield only the last so many days; they are the same as without this argument.
    """
    chance = random.Random(seed + 1)
    start_ms = STOP_MS - days * DAY_MS
    first_ms = start_ms if last is None else STOP_MS - last * DAY_MS
    unit = HeatPump(start_ms // 1000 - INTERVAL_S, seed)
    for scheduled_ms in range(start_ms, STOP_MS, INTERVAL_S * 1000):
        late_ms = 240 + int(90 * chance.random() ** 3 * chance.random() * 10)
        taken_ms = scheduled_ms + late_ms
        unit.step(taken_ms // 1000)
        fate = chance.random()
        took_ms = 96 + int(40 * chance.random() ** 4)
        if taken_ms < first_ms:
            continue
        if fate < _MISSED_SHARE:
            yield MissedPoll(
                *(taken_ms, "timeout", 4, 254_000),
                "192.168.1.50:8889: no answer in 60 s",
                *(late_ms, INTERVAL_S, 0),
            )
            continue
        retried = fate > 1 - _RETRY_SHARE
        calculations = tuple(unit.calculations)
        yield Snapshot(
            *(taken_ms, took_ms, 2 if retried else 1),
            *(calculations, unit.parameters, unit.visibilities),
            *(late_ms, INTERVAL_S, 0),
        )


def statistics(entries: Iterable[Snapshot | MissedPoll]) -> dict[str, float]:
    """Return how many registers vary and how many change from poll to poll."""
    last: Snapshot | None = None
    varying: set[int] = set()
    changes: list[int] = []
    settings = count = missed = 0
    for entry in entries:
        if isinstance(entry, MissedPoll):
            missed += 1
            continue
        count += 1
        if last is None:
            last = entry
            continue
        pairs = zip(last.calculations, entry.calculations, strict=True)
        changed = [index for index, (before, now) in enumerate(pairs) if before != now]
        varying.update(changed)
        changes.append(len(changed))
        settings += last.parameters is not entry.parameters
        last = entry
    changes.sort()
    share = [changes[min(len(changes) - 1, int(len(changes) * p))] for p in (0.05, 0.5, 0.95)]
    return {
        "polls": count,
        "missed": missed,
        "calculations": len(last.calculations) if last else 0,
        "varying": len(varying),
        "changes_p5": share[0],
        "changes_median": share[1],
        "changes_p95": share[2],
        "changes_mean": round(sum(changes) / max(1, len(changes)), 1),
        "changes_max": changes[-1],
        "polls_with_changed_settings": settings,
    }
