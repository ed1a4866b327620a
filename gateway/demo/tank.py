"""The physics of the demo: a tank that fills and drains, and a meter in the utilities building.

Both are deterministic: the same seed and the same steps give the same values. Time enters as `dt`, so a test
steps through an hour in a moment. Local control belongs to the plant: the level controller below runs in the
"PLC", and goes on whether or not a gateway exists.
"""

import math
import random
from dataclasses import dataclass, field

VOLUME_M3 = 2.0
"Small, so that a change of the set point shows within half a minute."

PUMP_M3_H = 60.0
"What the pump moves at full speed."

VALVE_M3_H = 14.0
"What the consumers behind the open valve take on average."

HIGH_LEVEL_PCT = 90.0

AMBIENT_C = 21.5

TANK_HEAT_LOSS_PER_S = 0.002
"How quickly the contents follow their surroundings."


@dataclass
class Tank:
    """One tank with a pump that fills it, a valve that drains it, and a controller of the level."""

    seed: int = 1
    level_pct: float = 42.0
    temperature_c: float = 23.0
    flow_in_m3_h: float = 0.0
    total_l: float = 1_250_000.0

    # What operators set.
    level_sp_pct: float = 60.0
    pump_speed_sp_pct: float = 80.0
    "The fastest that the controller may run the pump."
    pump_run: bool = True
    valve_open: bool = True
    maintenance: bool = False
    "The controller stands still: the pump runs at its set point, whatever the level."
    batch_volume_m3: float = 2.5
    recipe: list[int] = field(default_factory=lambda: [101, 250, 75, 900, 12, 0, 4, 3600, 18, 7])

    elapsed_s: float = 0.0

    def __post_init__(self) -> None:
        self._dice = random.Random(self.seed)

    @property
    def high_level(self) -> bool:
        """The float switch near the brim."""
        return self.level_pct >= HIGH_LEVEL_PCT

    def step(self, dt_s: float) -> None:
        """Let time pass. Steps of up to a second keep the controller stable."""
        self.elapsed_s += dt_s
        self.flow_in_m3_h = PUMP_M3_H * self._pump_speed_pct() / 100
        drained = self._demand_m3_h() if self.valve_open and self.level_pct > 0 else 0.0
        change_m3 = (self.flow_in_m3_h - drained) * dt_s / 3600
        self.level_pct = min(100.0, max(0.0, self.level_pct + 100 * change_m3 / VOLUME_M3))
        self.total_l = (self.total_l + self.flow_in_m3_h * 1000 * dt_s / 3600) % 2**32
        self._warm(dt_s)

    def _pump_speed_pct(self) -> float:
        if not self.pump_run or self.high_level:
            return 0.0  # the switch is wired to the pump: nothing that anybody writes overfills the tank
        fastest = min(100.0, self.pump_speed_sp_pct)
        if self.maintenance:
            return fastest
        wanted = VALVE_M3_H / PUMP_M3_H * 100 + 20 * (self.level_sp_pct - self.level_pct)
        return min(fastest, max(0.0, wanted))

    def _demand_m3_h(self) -> float:
        """Consumption goes up and down over two minutes, with some noise."""
        wave = 1 + 0.5 * math.sin(2 * math.pi * self.elapsed_s / 120)
        return VALVE_M3_H * wave * self._dice.uniform(0.95, 1.05)

    def _warm(self, dt_s: float) -> None:
        """The contents drift with the day and a little by chance; what the pump brings in is cooler."""
        day = 3 * math.sin(2 * math.pi * self.elapsed_s / 3600)
        pull = (AMBIENT_C + day - self.temperature_c) * TANK_HEAT_LOSS_PER_S * dt_s
        cold = self.flow_in_m3_h * 2e-5 * dt_s
        self.temperature_c += pull - cold + self._dice.gauss(0, 0.01) * math.sqrt(dt_s)


@dataclass
class Meter:
    """The electricity meter of the utilities: a base load with a daily swing."""

    seed: int = 2
    power_kw: float = 32.0
    energy_kwh: float = 184_223.0
    elapsed_s: float = 0.0

    def __post_init__(self) -> None:
        self._dice = random.Random(self.seed)

    def step(self, dt_s: float) -> None:
        """Let time pass."""
        self.elapsed_s += dt_s
        self.power_kw = 32 + 6 * math.sin(2 * math.pi * self.elapsed_s / 300) + self._dice.gauss(0, 0.2)
        self.energy_kwh = (self.energy_kwh + self.power_kw * dt_s / 3600) % 2**32
