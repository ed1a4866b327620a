"""The simulated plant on the wire: two devices, each a Modbus/TCP server of pymodbus over a physical model.

    plc-1, unit 1                                          meter-1, unit 2
    input    0      level           uint16 0.1 %           input 0    power   uint16 0.1 kW
             1      temperature     int16 0.1 °C                 2-3  energy  uint32 kWh
             2-3    flow_in         float32 m3/h
             4-5    total           uint32 L, little word order
    holding  0      level_sp        uint16 0.1 %
             1      pump_speed_sp   uint16 0.1 %
             2-3    batch_volume    float32 m3
             10-19  recipe          uint16 each
             20     bit 3           maintenance
    coil     0      pump_run        discrete 0  high_level
             1      valve_open               1  pump_fault

The model is the only truth: reads are answered from it and writes go into it. pymodbus's server answers one
request of several in a segment and loses the rest, so the gateway's `in_flight: 1` is what it can bear.

`--seen FILE` writes down every packet that is anything but one plain read, as the device received it: what a
tour or a test believes about "the PLC never saw it" it reads there, not in the gateway.
"""

import argparse
import asyncio
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path

from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from gateway.demo.seen import Seen
from gateway.demo.tank import Meter, Tank

STEP_S = 0.1
"How often the model moves."

COILS = 16
DISCRETES = 16
HOLDINGS = 100
INPUTS = 50
"How many of each the devices declare; addresses beyond them are answered with exception 02."

READS = frozenset({1, 2, 3, 4})


def word(value: float) -> int:
    """An engineering value in tenths, as one register (two's complement)."""
    return round(value * 10) & 0xFFFF


def words(layout: str, value: float, *, little_words: bool = False) -> list[int]:
    """A value as registers, most significant first unless the device swaps words."""
    registers = list(struct.unpack(">HH", struct.pack(layout, value)))
    return registers[::-1] if little_words else registers


def real(registers: list[int]) -> float:
    """Two registers as float32."""
    return float(struct.unpack(">f", struct.pack(">HH", *registers))[0])


class Plc:
    """plc-1: the registers over a Tank."""

    unit = 1

    def __init__(self, seed: int) -> None:
        self.model = Tank(seed)
        self._spare = [0] * HOLDINGS
        "Holding registers that mean nothing to the model keep what is written."

    def inputs(self) -> list[int]:
        """The input registers now."""
        tank = self.model
        image = [word(tank.level_pct), word(tank.temperature_c), *words(">f", tank.flow_in_m3_h)]
        image += words(">I", int(tank.total_l), little_words=True)
        return image + [0] * (INPUTS - len(image))

    def holdings(self) -> list[int]:
        """The holding registers now."""
        tank, image = self.model, list(self._spare)
        image[0:2] = [word(tank.level_sp_pct), word(tank.pump_speed_sp_pct)]
        image[2:4] = words(">f", tank.batch_volume_m3)
        image[10:20] = tank.recipe
        image[20] = image[20] & ~8 | (8 if tank.maintenance else 0)
        return image

    def coils(self) -> int:
        """The first sixteen coils now, coil 0 in the lowest bit."""
        return self.model.pump_run | self.model.valve_open << 1

    def discretes(self) -> int:
        """The first sixteen discrete inputs now."""
        return int(self.model.high_level)

    def write_holdings(self, start: int, values: list[int]) -> None:
        """Somebody wrote registers."""
        image = self.holdings()
        image[start : start + len(values)] = values
        self._spare = image
        tank = self.model
        tank.level_sp_pct, tank.pump_speed_sp_pct = image[0] / 10, image[1] / 10
        tank.batch_volume_m3 = real(image[2:4])
        tank.recipe = image[10:20]
        tank.maintenance = bool(image[20] & 8)

    def write_coils(self, start: int, values: list[bool]) -> None:
        """Somebody wrote coils; those beyond the second are not wired."""
        for number, value in enumerate(values, start):
            if number == 0:
                self.model.pump_run = value
            elif number == 1:
                self.model.valve_open = value


class PowerMeter:
    """meter-1: the registers over a Meter. Nothing on it can be written."""

    unit = 2

    def __init__(self, seed: int) -> None:
        self.model = Meter(seed)

    def inputs(self) -> list[int]:
        """The input registers now."""
        image = [word(self.model.power_kw), 0, *words(">I", int(self.model.energy_kwh))]
        return image + [0] * (INPUTS - len(image))

    def holdings(self) -> list[int]:
        """None that mean anything."""
        return [0] * HOLDINGS

    def coils(self) -> int:
        """None."""
        return 0

    discretes = coils

    def write_holdings(self, start: int, values: list[int]) -> None:
        """Not wired."""

    def write_coils(self, start: int, values: list[bool]) -> None:
        """Not wired."""


Device = Plc | PowerMeter
DEVICES: dict[str, Callable[[int], Device]] = {"plc-1": Plc, "meter-1": PowerMeter}


def simulated(device: Device) -> SimDevice:
    """The device as pymodbus serves it: every access goes to the model first."""

    async def access(
        fc: int,
        _first: int,
        address: int,
        _count: int,
        registers: list[int],
        values: list[int] | list[bool] | None,
    ) -> ExcCodes | None:
        if values is not None and fc in {5, 15}:
            device.write_coils(address, [bool(v) for v in values])
        elif values is not None:
            device.write_holdings(address, [int(v) for v in values])
        match fc:
            case 1 | 5 | 15:
                registers[0] = device.coils()
            case 2:
                registers[0] = device.discretes()
            case 4:
                registers[:INPUTS] = device.inputs()
            case _:
                registers[:HOLDINGS] = device.holdings()
        return None

    def bits(count: int) -> list[SimData]:
        return [SimData(0, values=[False] * count, datatype=DataType.BITS)]

    def registers(count: int) -> list[SimData]:
        return [SimData(0, count=count, values=0, datatype=DataType.REGISTERS)]

    blocks = (bits(COILS), bits(DISCRETES), registers(HOLDINGS), registers(INPUTS))
    return SimDevice(device.unit, simdata=blocks, action=access)


class Packets(Seen):
    """What the device received, other than single plain reads, one JSON object a line."""

    def packet(self, sending: bool, data: bytes) -> bytes:
        """One packet, received or sent, as pymodbus traces it; it goes on unchanged."""
        if not sending and not self._plain_read(data):
            self.note(hex=data.hex())
        return data

    @staticmethod
    def _plain_read(data: bytes) -> bool:
        return len(data) == 12 and data[4:6] == b"\x00\x06" and data[7] in READS


async def serve(device: Device, host: str, port: int, seen: Packets | None) -> None:
    """Serve the device and let its time pass, until cancelled."""
    server = ModbusTcpServer(
        simulated(device), address=(host, port), trace_packet=seen.packet if seen else None
    )
    await server.serve_forever(background=True)
    print(f"{device.__class__.__name__} on {host}:{port}", flush=True)
    then = time.monotonic()
    try:
        while True:
            await asyncio.sleep(STEP_S)
            now = time.monotonic()
            device.model.step(min(1.0, now - then))
            then = now
    finally:
        await server.shutdown()  # type: ignore[no-untyped-call]


def main(argv: list[str] | None = None) -> int:
    """`python -m gateway.demo.plant plc-1 --port 1502`"""
    parser = argparse.ArgumentParser(prog="gateway.demo.plant", description="One device of the demo's plant.")
    parser.add_argument("device", choices=sorted(DEVICES))
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seen", type=Path, help="write down every packet that is not one plain read")
    args = parser.parse_args(argv)
    seen = Packets(args.seen) if args.seen else None
    try:
        asyncio.run(serve(DEVICES[args.device](args.seed), args.host, args.port, seen))
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
