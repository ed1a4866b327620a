"""The physics of the demo: deterministic, controlled, and never over the brim."""

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.demo.tank import HIGH_LEVEL_PCT, Meter, Tank


def run(tank: Tank, seconds: float, dt: float = 0.1) -> Tank:
    for _ in range(int(seconds / dt)):
        tank.step(dt)
    return tank


def test_same_seed_and_steps_give_the_same_plant() -> None:
    first, second, other = run(Tank(7), 60), run(Tank(7), 60), run(Tank(8), 60)
    assert first == second
    assert first.temperature_c != other.temperature_c


def test_level_follows_its_set_point_up_and_down() -> None:
    tank = run(Tank(), 240)
    assert abs(tank.level_pct - tank.level_sp_pct) < 2
    tank.level_sp_pct = 80
    assert abs(run(tank, 120).level_pct - 80) < 2
    tank.level_sp_pct = 30
    assert abs(run(tank, 600).level_pct - 30) < 2


def test_what_flows_in_is_counted() -> None:
    tank = Tank()
    before, litres = tank.total_l, 0.0
    for _ in range(600):
        tank.step(0.1)
        litres += tank.flow_in_m3_h * 1000 * 0.1 / 3600
    assert litres > 100
    assert abs(tank.total_l - before - litres) < 1


@given(st.floats(0, 6553.5), st.floats(0, 6553.5), st.booleans())
@settings(max_examples=25, deadline=None)
def test_nothing_that_anybody_writes_overfills_the_tank(
    level: float, speed: float, maintenance: bool
) -> None:
    tank = Tank(level_sp_pct=level, pump_speed_sp_pct=speed, maintenance=maintenance, valve_open=False)
    for _ in range(300):
        tank.step(1)
        assert tank.level_pct < HIGH_LEVEL_PCT + 1


def test_without_the_pump_it_drains_and_stays_at_empty() -> None:
    tank = run(Tank(pump_run=False), 1200, 1)
    assert tank.level_pct == 0
    assert tank.flow_in_m3_h == 0


def test_meter_counts_what_it_measures() -> None:
    meter = Meter()
    before = meter.energy_kwh
    for _ in range(3600):
        meter.step(1)
    assert 28 < meter.energy_kwh - before < 36
