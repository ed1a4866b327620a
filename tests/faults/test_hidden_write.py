"""A write that hides behind a read, against a PLC that falls for it (libmodbus, as Debian ships it).

The MBAP length of a read covers a second ADU. libmodbus takes as many bytes as the function code needs and
reads the rest as the next request: the write happens, under what everybody in between took for a read. The
first test shows that this is so; if a libmodbus ever stops falling for it, that test says so.
"""

import os
import re
import select
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from struct import pack, unpack

import pytest

from .site import Site, until, value

SOURCE = Path(__file__).with_name("libmodbus_plant.c")

READ = bytes.fromhex("0300000001")
"Function 3, register 0, one register."
WRITE = bytes.fromhex("060000 1337")
"Function 6: register 0 becomes 0x1337."


def adu(tid: int, pdu: bytes, unit: int = 1) -> bytes:
    return pack(">HHHB", tid, 0, len(pdu) + 1, unit) + pdu


HIDDEN = adu(2, WRITE)


def _missing() -> str | None:
    probe = subprocess.run(
        ["cc", "-E", "-I/usr/include/modbus", "-"],
        input=b"#include <modbus.h>\n",
        capture_output=True,
        check=False,
    )
    return None if probe.returncode == 0 else "libmodbus-dev is missing"


class LibmodbusPlc:
    """The program of libmodbus_plant.c, running."""

    def __init__(self, program: Path) -> None:
        self._process = subprocess.Popen([program], stdout=subprocess.PIPE)
        self._said = b""
        self.port = int(until("the PLC names its port", self._port))

    def _listen(self) -> str:
        out = self._process.stdout
        assert out is not None
        while select.select([out], [], [], 0)[0] and (data := os.read(out.fileno(), 65_536)):
            self._said += data
        return self._said.decode(errors="replace")

    def _port(self) -> str | None:
        found = re.search(r"port (\d+)\n", self._listen())
        return found[1] if found else None

    def received(self) -> bytes:
        """Every byte that came off its socket, in order."""
        return bytes.fromhex("".join(re.findall(r"<([0-9A-F]{2})>", self._listen())))

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if (missing := _missing()) is not None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{missing}: under CI every component must be there", pytrace=False)
        pytest.skip(missing)
    path = tmp_path_factory.mktemp("libmodbus") / "plant"
    subprocess.run(
        ["cc", "-Wall", "-Werror", "-I/usr/include/modbus", "-o", path, SOURCE, "-lmodbus"], check=True
    )
    return path


@pytest.fixture
def plc(program: Path) -> Iterator[LibmodbusPlc]:
    plc = LibmodbusPlc(program)
    yield plc
    plc.end()


class Plain:
    """A bare Modbus/TCP connection to the PLC itself."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=5)

    def answers(self, data: bytes, count: int) -> list[bytes]:
        """Send, and read so many answers."""
        self.socket.sendall(data)
        stream = self.socket.makefile("rb")
        found = []
        for _ in range(count):
            head = stream.read(6)
            found.append(stream.read(unpack(">H", head[4:])[0])[1:])
        return found


pytestmark = pytest.mark.needs("cc")


def test_libmodbus_executes_a_write_that_hides_in_a_read(plc: LibmodbusPlc) -> None:
    """What the gateway stands against: one ADU by its length, two requests to the PLC."""
    plain = Plain(plc.port)
    assert plain.answers(adu(9, READ), 1) == [value(0)]
    assert plain.answers(adu(1, READ + HIDDEN), 2) == [value(0), WRITE]
    assert plain.answers(adu(9, READ), 1) == [value(0x1337)]
    plain.socket.close()


HIDING = {
    "a write of one register": READ + HIDDEN,
    "a write of several registers": READ + adu(2, bytes.fromhex("10 0000 0001 02 1337")),
    "a write of a coil": READ + adu(2, bytes.fromhex("05 0000 ff00")),
    "under a read of coils": bytes.fromhex("01 0000 0001") + HIDDEN,
    "under a read of inputs": bytes.fromhex("04 0000 0001") + HIDDEN,
    "under a granted write": bytes.fromhex("06 000a 0001") + HIDDEN,
    "twice": READ + HIDDEN + HIDDEN,
    "a part of one": READ + HIDDEN[:7],
    "one byte": READ + b"\x00",
    "under a write of several whose byte count covers it": bytes.fromhex("10 000a 0001 0e 0001") + HIDDEN,
    "under another function that reads as it writes": bytes.fromhex("17 0000 0001 000a 0001 02 0001")
    + HIDDEN,
}


@pytest.mark.parametrize("cut", [False, True], ids=["whole", "in two segments"])
def test_invariant_3_not_one_byte_that_hides_in_a_read_reaches_the_plc(
    plc: LibmodbusPlc, tmp_path: Path, cut: bool, component: Callable[[str], str]
) -> None:
    with Site(tmp_path, plant_port=plc.port, more="collector: {enabled: false}\n") as site:
        site.run()
        hmi = site.client("hmi-1")
        assert hmi.read(0) == value(0)
        before = plc.received()
        assert before.endswith(b"\x00\x00\x00\x06\x01" + READ), "the PLC's log shows what reaches it"
        for number, (what, pdu) in enumerate(HIDING.items(), 100):
            whole = adu(number, pdu)
            if cut:
                hmi.send_raw(whole[:12])
                time.sleep(0.02)  # a segment of its own; whether it is one changes nothing that is asserted
                hmi.send_raw(whole[12:])
            else:
                hmi.send_raw(whole)
            assert hmi.answer() == (number, bytes([pdu[0] | 0x80, 3])), what
        assert plc.received() == before, "not one byte"
        assert hmi.read(0) == value(0), "the connection goes on, and register 0 is as it was"
        assert hmi.write(10, 5) == bytes.fromhex("06000a0005")
        after = plc.received()[len(before) :]
        assert after[2:12] + after[14:24] == adu(0, READ)[2:] + adu(0, bytes.fromhex("06000a0005"))[2:]
        assert b"\x13\x37" not in plc.received()
        codes = {record["why"]["reasons"][0]["code"] for record in site.records("denial")}
        assert codes == {"wire.trailing_bytes", "wire.byte_count_vs_quantity"}, "the wire refused, not a rule"
