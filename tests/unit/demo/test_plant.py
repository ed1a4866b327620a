"""The devices of the demo on the wire, asked by pymodbus's own client."""

import json
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pymodbus.client import ModbusTcpClient

from gateway.demo.plant import HOLDINGS, INPUTS


@pytest.fixture
def device(free_port: Callable[[], int], tmp_path: Path) -> Iterator[Callable[[str], ModbusTcpClient]]:
    processes: list[subprocess.Popen[bytes]] = []
    clients: list[ModbusTcpClient] = []

    def start(name: str) -> ModbusTcpClient:
        port = free_port()
        command = [sys.executable, "-m", "gateway.demo.plant", name, "--port", str(port)]
        processes.append(subprocess.Popen([*command, "--seen", str(tmp_path / "seen")]))
        client = ModbusTcpClient("127.0.0.1", port=port, retries=0)
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert time.monotonic() < deadline, f"{name} does not listen"
                time.sleep(0.05)
        assert client.connect()  # type: ignore[no-untyped-call]
        clients.append(client)
        return client

    yield start
    for client in clients:
        client.close()  # type: ignore[no-untyped-call]
    for process in processes:
        process.kill()
        process.wait(10)


def test_plc_has_the_registers_it_declares(device: Callable[[str], ModbusTcpClient], tmp_path: Path) -> None:
    plc = device("plc-1")
    level, temperature, high, low, total_low, total_high = plc.read_input_registers(
        0, count=6, device_id=1
    ).registers
    assert 400 < level < 600
    assert 200 < temperature < 260
    assert 0 <= struct.unpack(">f", struct.pack(">HH", high, low))[0] < 60
    assert 1_250_000 <= total_high << 16 | total_low < 1_260_000
    holding = plc.read_holding_registers(0, count=21, device_id=1).registers
    assert holding[:4] == [600, 800, 0x4020, 0]
    assert holding[10:20] == [101, 250, 75, 900, 12, 0, 4, 3600, 18, 7]
    assert plc.read_coils(0, count=2, device_id=1).bits[:2] == [True, True]
    assert plc.read_discrete_inputs(0, count=2, device_id=1).bits[:2] == [False, False]
    assert plc.read_holding_registers(HOLDINGS - 1, count=2, device_id=1).exception_code == 2
    assert plc.read_input_registers(INPUTS, count=1, device_id=1).exception_code == 2


def test_writes_reach_the_model_and_are_written_down(
    device: Callable[[str], ModbusTcpClient], tmp_path: Path
) -> None:
    plc = device("plc-1")
    plc.write_register(0, 805, device_id=1)
    plc.write_coils(0, [False, True], device_id=1)
    plc.mask_write_register(address=20, and_mask=0xFFF7, or_mask=8, device_id=1)
    plc.write_registers(10, list(range(10)), device_id=1)
    plc.write_register(50, 77, device_id=1)
    holding = plc.read_holding_registers(0, count=51, device_id=1).registers
    assert (holding[0], holding[1], holding[20], holding[50]) == (805, 800, 8, 77)
    assert holding[10:20] == list(range(10))
    assert plc.read_coils(0, count=2, device_id=1).bits[:2] == [False, True]
    deadline = time.monotonic() + 5
    while plc.read_input_registers(2, count=2, device_id=1).registers != [0, 0]:
        assert time.monotonic() < deadline, "the pump runs on without leave"
        time.sleep(0.05)
    seen = [bytes.fromhex(json.loads(line)["hex"]) for line in (tmp_path / "seen").read_text().splitlines()]
    assert [packet[7] for packet in seen] == [6, 15, 22, 16, 6]


def test_meter_answers_as_its_own_unit(device: Callable[[str], ModbusTcpClient]) -> None:
    meter = device("meter-1")
    power, _, high, low = meter.read_input_registers(0, count=4, device_id=2).registers
    assert 240 < power < 400
    assert 184_223 <= high << 16 | low < 184_300
