"""Steps of the tour on the Modbus side: who may read and write, and what never arrives.

The client is pymodbus over TLS, or a bare TLS socket where pymodbus would not send such a thing. What the PLC
holds and what it received is asked of the PLC itself, past the gateway.
"""

import json
import socket
import ssl
import struct
import time
from contextlib import closing
from typing import Any

from pymodbus.client import ModbusTcpClient, ModbusTlsClient

from gateway.demo import client
from gateway.demo.step import command, hold
from gateway.demo.world import World, until
from gateway.model.asset import Table

ADMITTED = range(10, 20)
"Holding registers of the recipe: no one but a client writes them, so both ways of reading must agree."


DENIED_S = 1.0
"How long after a grant was removed it may still count."

ALLOWED_S = 10.0
"How long after it is back; nobody is promised more than that it comes."


def as_client(world: World, name: str) -> ModbusTlsClient:
    """A pymodbus TLS client with somebody's certificate, connected to the gateway."""
    return client.connect(world.ports["modbus"], client.context(world.ca, *world.certificate(name)))


def direct(world: World, table: Table, address: int, count: int) -> list[int]:
    """What plc-1 itself says, past the gateway, in clear: only the demo is in a place to do this."""
    plc = ModbusTcpClient("127.0.0.1", port=world.ports["plc-1"], retries=0)
    plc.connect()  # type: ignore[no-untyped-call]
    try:
        answer: Any = client.READERS[table](plc, address, count=count, device_id=1)
        return list(answer.registers)
    finally:
        plc.close()  # type: ignore[no-untyped-call]


def certified_read(world: World) -> str:
    """The operator reads ten registers and the level, and gets what the plant holds."""
    with closing(as_client(world, "hmi-1")) as hmi:
        read = client.read(hmi, Table.HOLDING, ADMITTED.start, len(ADMITTED), 1)
        hold(not read.isError(), f"the read was refused: {read}")
        plant = direct(world, Table.HOLDING, ADMITTED.start, len(ADMITTED))
        hold(read.registers == plant, f"gateway said {read.registers}, the PLC {plant}")
        before = direct(world, Table.INPUT, 0, 1)[0]
        level = client.read(hmi, Table.INPUT, 0, 1, 1).registers[0]
        after = direct(world, Table.INPUT, 0, 1)[0]
    hold(min(before, after) - 2 <= level <= max(before, after) + 2, f"level {level}, PLC {before}…{after}")
    return f"registers 10-19 = {read.registers}, level {level / 10} %"


def forbidden_write(world: World) -> str:
    """The operator writes the pump's speed limit, which no grant covers."""
    before, seen = direct(world, Table.HOLDING, 1, 1), len(world.seen("plc-1"))
    with closing(as_client(world, "hmi-1")) as hmi:
        code = client.refusal(client.write(hmi, Table.HOLDING, 1, [1000], 1))
    hold(code == 1, f"expected exception 01, got {code}")
    after = direct(world, Table.HOLDING, 1, 1)
    hold(before == after, f"the register went from {before} to {after}")
    hold(len(world.seen("plc-1")) == seen, "something other than a read reached the PLC")
    return f"exception 01; the register is still {after[0]}, the PLC heard nothing of it"


def explained(world: World) -> str:
    """The operator of the gateway asks why: which rule, which field, and what the grants there are allow."""
    data = ["--data", str(world.data)]
    found = command("audit", "search", *data, "--json", "--kind", "denial", "--who", "hmi-1", "--limit", "1")
    hold(found.returncode == 0 and bool(found.stdout), f"audit search: {found.stdout}{found.stderr}")
    told = json.loads(found.stdout.splitlines()[-1])
    shown = command("audit", "show", *data, str(told["index"]))
    hold(shown.returncode == 0, f"audit show: {shown.stderr.strip()}")
    reasons = told["record"]["why"]["reasons"]
    rules = [r["msg"] for r in reasons if r["code"] == "site.pump_speed_local"]
    mends = [r["msg"] for r in reasons if r["code"] == "grant.addresses"]
    hold(bool(rules) and bool(mends), f"reasons {reasons}")
    hold(all(reason["msg"] in shown.stdout for reason in reasons), f"audit show leaves out some of {reasons}")
    return f"record {told['index']}: {rules[0]}; {mends[0]}"


def allowed_write(world: World) -> str:
    """The operator writes the level's set point, which a grant covers: it arrives once and is read back."""
    old = direct(world, Table.HOLDING, 0, 1)[0]
    new = 650 if old != 650 else 600
    seen = len(world.seen("plc-1"))
    with closing(as_client(world, "hmi-1")) as hmi:
        answer = client.write(hmi, Table.HOLDING, 0, [new], 1)
        hold(not answer.isError(), f"the write was refused: {answer}")
        back = client.read(hmi, Table.HOLDING, 0, 1, 1).registers
    hold(back == [new], f"read back {back}")
    arrived = [packet[7:] for packet in world.seen("plc-1")[seen:]]
    hold(arrived == [struct.pack(">BHH", 6, 0, new)], f"the PLC received {[p.hex() for p in arrived]}")
    return f"set point {old / 10} % -> {new / 10} %, received once, read back"


def no_certificate(world: World) -> str:
    """A client without a certificate is refused by TLS itself, in both versions, with an alert."""
    heard = []
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        tls = client.context(world.ca, None, None)
        tls.minimum_version = tls.maximum_version = version
        heard.append(_handshake(world, tls))
    hold(all("ALERT" in reason for reason in heard), f"heard {heard}")
    return ", ".join(heard).lower().replace("_", " ")


def _handshake(world: World, tls: ssl.SSLContext) -> str:
    """How a handshake ended, by OpenSSL's own name; in TLS 1.3 the alert comes with the first read."""
    raw = socket.create_connection(("127.0.0.1", world.ports["modbus"]), timeout=client.TIMEOUT_S)
    try:
        with tls.wrap_socket(raw) as wrapped:
            wrapped.sendall(_adu(1, struct.pack(">BHH", 3, 0, 1)))
            return f"got in, and read {wrapped.recv(64).hex()}"
    except ssl.SSLError as error:
        return error.reason or str(error)
    except OSError as error:
        return f"no alert, {error}"


def no_role(world: World) -> str:
    """A certificate without a role gets in, and exception 01 for every request."""
    with closing(as_client(world, "bare-1")) as bare:
        codes = [client.refusal(client.read(bare, table, 0, 1, 1)) for table in Table]
        codes.append(client.refusal(client.write(bare, Table.HOLDING, 0, [600], 1)))
    hold(set(codes) == {1}, f"expected exception 01 each time, got {codes}")
    return f"{len(codes)} requests, exception 01 each"


def hidden_write(world: World) -> str:
    """A read whose MBAP length also covers a second ADU, a write: libmodbus would carry out both."""
    inner = _adu(2, struct.pack(">BHH", 6, 0, 0x1337))
    frame = _adu(1, struct.pack(">BHH", 3, 0, 1) + inner)
    before, seen = direct(world, Table.HOLDING, 0, 1), len(world.seen("plc-1"))
    raw = socket.create_connection(("127.0.0.1", world.ports["modbus"]), timeout=client.TIMEOUT_S)
    tls = client.context(world.ca, *world.certificate("hmi-1"))
    with tls.wrap_socket(raw) as wrapped:
        wrapped.sendall(frame)
        answer = wrapped.recv(260)
    hold(not answer or answer[7] & 0x80 != 0, f"it was answered: {answer.hex()}")
    after = direct(world, Table.HOLDING, 0, 1)
    hold(before == after, f"the register went from {before} to {after}")
    hold(len(world.seen("plc-1")) == seen, "something other than a plain read reached the PLC")
    said = f"exception {answer[8]:02X}" if answer else "the connection was ended"
    return f"{said}; the PLC heard nothing of it"


def policy_changes(world: World) -> str:
    """A grant taken out of the policy's data counts for the next request of a connection that stays up."""
    grants = world.policies / "data" / "grants.yaml"
    text = grants.read_text(encoding="utf-8")
    without = _without_grant(text, "operator-level-setpoint")
    with closing(as_client(world, "hmi-1")) as hmi:
        here = hmi.socket.getsockname() if hmi.socket else None

        def code() -> int | None:
            return client.refusal(client.write(hmi, Table.HOLDING, 0, [600], 1))

        hold(code() is None, "the write was refused before anything was changed")
        try:
            _replace(grants, without)
            began = time.monotonic()
            until("a removed grant denies", DENIED_S, lambda: code() == 1)
            took = time.monotonic() - began
        finally:
            _replace(grants, text)
        until("a grant that is back allows", ALLOWED_S, lambda: code() is None)
        hold(hmi.socket is not None and hmi.socket.getsockname() == here, "the connection was made anew")
    return f"denied {took:.2f} s after the file was saved, allowed again once restored, all on one connection"


def _without_grant(text: str, grant: str) -> str:
    """The YAML list of grants less one; the text of the others stays as it is."""
    head, *items = text.split("\n  - id: ")
    left = [item for item in items if not item.startswith(grant)]
    hold(len(left) == len(items) - 1, f"{grant} is not in the file")
    return "\n  - id: ".join([head, *left])


def _replace(file: Any, text: str) -> None:
    """As an editor saves: the file is never half written."""
    part = file.with_suffix(".part")
    part.write_text(text, encoding="utf-8")
    part.rename(file)


def _adu(tid: int, pdu: bytes) -> bytes:
    return struct.pack(">HHHB", tid, 0, len(pdu) + 1, 1) + pdu
