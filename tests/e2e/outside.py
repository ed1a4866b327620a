"""The tour's steps again, from outside: openssl, curl, mosquitto_sub, pymodbus and asyncua against a demo.

    python tests/e2e/outside.py DIR        in the checkout, where `dmz-gateway demo --keep DIR` is running

Nothing of the gateway is imported, so that a mistake cannot excuse itself. `dmz-gateway` is used only as a
person would, by its command line: to ask why, to revoke, to verify. Exits 1 at the first step that does
not hold.
"""

import asyncio
import json
import logging
import os
import shutil
import signal
import ssl
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from asyncua import Client, ua
from asyncua.crypto.security_policies import SecurityPolicyAes256Sha256RsaPss
from asyncua.crypto.uacrypto import CertProperties
from pymodbus.client import ModbusTcpClient, ModbusTlsClient
from pymodbus.exceptions import ModbusException

DIR = Path(sys.argv[1])
DEMO: dict[str, Any] = json.loads((DIR / "demo.json").read_text())
PORTS, CA = DEMO["ports"], DEMO["ca"]
logging.getLogger("asyncua").setLevel(logging.CRITICAL)
TOPICS = ("acme/demo/tank-farm/tank-1/level", "acme/demo/utilities/meter-1/power", "dmz/demo/gw-1/status")


def say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 # a script for people


def hold(condition: object, what: str) -> None:
    if not condition:
        say(f"FAILED: {what}")
        sys.exit(1)


def run(*words: str, give: bytes = b"", timeout: float = 30) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(words, input=give, capture_output=True, check=False, timeout=timeout)


def gateway(*words: str) -> subprocess.CompletedProcess[bytes]:
    return run(DEMO["python"], "-m", "gateway", *words, timeout=60)


def shown(name: str | None, certificate: str, key: str) -> list[str]:
    if name is None:
        return []
    pair = DEMO["certificates"][name]
    return [certificate, pair["certificate"], key, pair["key"]]


def until(within_s: float, what: str, look: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + within_s
    while not (seen := look()):
        hold(time.monotonic() < deadline, f"within {within_s} s: {what}")
        time.sleep(0.05)
    return seen


def modbus(name: str) -> ModbusTlsClient:
    tls = ssl.create_default_context(cafile=CA)
    tls.check_hostname = False
    pair = DEMO["certificates"][name]
    tls.load_cert_chain(pair["certificate"], pair["key"])
    client = ModbusTlsClient("127.0.0.1", port=PORTS["modbus"], sslctx=tls, retries=0)
    if not client.connect():  # type: ignore[no-untyped-call]
        raise ConnectionError(name)
    return client


def plc() -> ModbusTcpClient:
    client = ModbusTcpClient("127.0.0.1", port=PORTS["plc-1"], retries=0)
    client.connect()  # type: ignore[no-untyped-call]
    return client


def in_the_plc(address: int, count: int = 1) -> list[int]:
    return list(plc().read_holding_registers(address, count=count, device_id=1).registers)


def received() -> list[str]:
    return [json.loads(line)["hex"] for line in (DIR / "seen" / "plc-1").read_text().splitlines()]


def curl(path: str, name: str | None = "historian-1") -> tuple[int, Any]:
    address = f"https://127.0.0.1:{PORTS['https']}{path}"
    done = run("curl", "-s", "--cacert", CA, *shown(name, "--cert", "--key"), address)
    return done.returncode, json.loads(done.stdout) if done.returncode == 0 else None


def openssl(version: str, name: str | None, give: bytes = b"") -> bytes:
    at = f"127.0.0.1:{PORTS['modbus']}"
    words = ["openssl", "s_client", "-connect", at, "-CAfile", CA, version, "-quiet", "-ign_eof"]
    words += shown(name, "-cert", "-key")
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        return process.communicate(give, timeout=4)[0]
    except subprocess.TimeoutExpired:
        process.kill()
        return process.communicate()[0]


def adu(tid: int, pdu: bytes) -> bytes:
    return struct.pack(">HHHB", tid, 0, len(pdu) + 1, 1) + pdu


def acts(name: str, *words: str) -> bytes:
    """What a person does, under their own certificate; what it says."""
    to = ["--gateway", f"https://localhost:{PORTS['admin']}", "--ca", CA]
    done = gateway(*words, *to, *shown(name, "--cert", "--key"))
    hold(done.returncode == 0, f"{name}: {' '.join(words)}: {done}")
    return done.stdout


def newest(*conditions: str) -> Any:
    """The newest record that fits."""
    done = gateway("audit", "search", "--data", DEMO["data"], "--json", "--limit", "1", *conditions)
    hold(done.returncode == 0, f"found: {done}")
    return json.loads(done.stdout.splitlines()[-1])["record"]


# the steps, in this order --------------------------------------------------------------------------------


def certified_read() -> None:
    answer = modbus("hmi-1").read_holding_registers(10, count=10, device_id=1)
    hold(not answer.isError(), f"an operator may read: {answer}")
    hold(answer.registers == in_the_plc(10, 10), "the gateway's values are the plant's")


def forbidden_write() -> None:
    before, seen = in_the_plc(1), received()
    answer = modbus("hmi-1").write_register(1, 1000, device_id=1)
    hold(answer.isError() and answer.exception_code == 1, f"exception 01: {answer}")
    hold(in_the_plc(1) == before, "the register is unchanged")
    hold(received() == seen, "the PLC heard nothing of it")


def explained() -> None:
    found = gateway("audit", "search", "--data", DEMO["data"], "--kind", "denial", "--who", "hmi-1")
    hold(b"site.pump_speed_local" in found.stdout, f"the denial is found with its rule: {found}")
    told = gateway("audit", "show", "--data", DEMO["data"], found.stdout.split()[0].decode())
    hold(b"set at the local panel only" in told.stdout, f"the rule is explained: {told}")
    hold(b"is for other addresses" in told.stdout, f"what would allow it is said: {told}")


def allowed_write() -> None:
    seen = len(received())
    client = modbus("hmi-1")
    new = 640 if in_the_plc(0) != [640] else 600
    answer = client.write_register(0, new, device_id=1)
    hold(not answer.isError(), f"the write is allowed: {answer}")
    hold(client.read_holding_registers(0, count=1, device_id=1).registers == [new], "it is read back")
    arrived = [packet[14:] for packet in received()[seen:]]
    hold(arrived == [f"060000{new:04x}"], f"the PLC received it once: {arrived}")


def explained_change() -> None:
    answer = modbus("hmi-1").write_register(0, 930, device_id=1)
    hold(answer.isError() and answer.exception_code == 1, f"exception 01: {answer}")
    record = newest("--kind", "denial", "--who", "hmi-1")["id"]
    told = gateway("policy", "explain", record, "-c", DEMO["config"]).stdout
    hold(b"would allow: raise max of plc-1.level_sp" in told, f"the smallest change is said: {told!r}")


def two_people() -> None:
    acts("lea", "windows", "open", "vendor-access", "--minutes", "5")
    vendor, seen = modbus("vendor-1"), len(received())

    def tune() -> int:
        answer = vendor.write_register(13, 4242, device_id=1)
        return answer.exception_code if answer.isError() else 0

    hold(tune() == 1, "nobody has agreed yet")
    (waiting,) = json.loads(acts("lea", "approvals", "list", "--json"))["approvals"]
    acts("lea", "approvals", "grant", waiting["request"][-6:])
    hold((tune(), tune()) == (0, 1), "an approval is used once")
    hold(in_the_plc(13) == [4242] and len(received()) == seen + 1, "the PLC received it once")
    by = newest("--kind", "intent", "--who", "vendor-1")["why"]["approval"]["by"]
    hold([each.rpartition("/")[2] for each in by] == ["lea"], f"who agreed is in the record: {by}")


def glass_broken() -> None:
    sam = modbus("sam")

    def opens() -> int:
        answer = sam.write_coil(1, True, device_id=1)
        return answer.exception_code if answer.isError() else 0

    hold(opens() == 1, "nothing is broken yet")
    acts("sam", "break-glass", "--minutes", "5", "--reason", "the tank runs over")
    hold(opens() == 0, "who has broken the glass has the grant that is kept for it")
    acts("sam", "break-glass", "end")
    hold(opens() == 1, "it has an end")


def observed() -> None:
    client = modbus("hmi-1")

    def code(value: int) -> int:
        answer = client.write_register(0, value, device_id=1)
        return answer.exception_code if answer.isError() else 0

    acts("pat", "mode", "listener", "modbus-north", "observe")
    try:
        hold(code(930) == 0, "what is denied passes")
        said = newest("--kind", "intent", "--who", "hmi-1")["why"]["decision"]
        hold(said == "would_deny", f"and is told: {said}")
        hold(code(960) == 1, "a guardrail holds all the same")
    finally:
        acts("pat", "mode", "listener", "modbus-north", "enforce")
    hold((code(930), code(700)) == (1, 0), "enforced again")


def no_certificate() -> None:
    for version in ("-tls1_2", "-tls1_3"):
        said = openssl(version, None)
        hold(b"alert" in said, f"{version}: a fatal alert: {said!r}")
    hold(b"\x83" not in openssl("-tls1_3", None, adu(1, b"\x03\0\0\0\1")), "no Modbus for a stranger")


def no_role() -> None:
    client = modbus("bare-1")
    for answer in (
        client.read_holding_registers(10, count=1, device_id=1),
        client.read_coils(0, count=1, device_id=1),
        client.write_register(0, 600, device_id=1),
    ):
        hold(answer.isError() and answer.exception_code == 1, f"exception 01: {answer}")


def hidden_write() -> None:
    before, seen = in_the_plc(0), received()
    said = openssl("-tls1_2", "hmi-1", adu(1, b"\x03\0\0\0\1" + adu(2, b"\x06\0\0\x13\x37")))
    hold(b"\0\1\0\0\0\3\1\x83" in said or b"\0\1\0\0\0" not in said, f"no answer as to a read: {said!r}")
    hold(in_the_plc(0) == before, "the register is unchanged")
    hold(received() == seen, "the PLC heard nothing of it")


def values_over_https() -> None:
    status, tag = curl("/api/v1/tags/plc-1.level")
    hold(status == 0 and tag["quality"] == "good", f"a good value: {tag}")
    hold(tag["unit"] == "%" and 0 <= tag["value"] <= 100 and tag["time"], f"value, unit, time: {tag}")
    hold(curl("/api/v1/tags", None)[0] != 0, "without a certificate there is no answer")


def values_over_mqtt() -> None:
    at = ["mosquitto_sub", "-V", "mqttv5", "-h", "127.0.0.1", "-p", str(PORTS["broker"]), "--cafile", CA]
    for topic in TOPICS:
        read = [*at, "-t", topic, "-C", "1", "-W", "10"]
        done = run(*read, *shown("historian-1", "--cert", "--key"))
        hold(done.returncode == 0, f"{topic}: {done}")
        said = json.loads(done.stdout)
        wanted = {"status": "online"} if topic.startswith("dmz") else {"q": "good"}
        hold(wanted.items() <= said.items(), f"{topic}: {said}")
        hold(not topic.endswith("level") or (said["u"] == "%" and said["t"] and "v" in said), f"{said}")
    hold(run(*at, "-t", TOPICS[0], "-C", "1", "-W", "3").returncode != 0, "a stranger gets none")


def opcua(does: Callable[[Any, Callable[[str], Any]], Any], direct: bool = False) -> Any:
    """What somebody does in an OPC UA session of the MES, through the gateway or past it."""

    async def go() -> Any:
        port, path, server = ("plc-2", "tank-farm", "plc-2") if direct else ("opcua", "plc-2", "gw-ua")
        pair = DEMO["certificates"]["mes-1"]
        client = Client(f"opc.tcp://127.0.0.1:{PORTS[port]}/{path}", timeout=10)
        client.application_uri = "urn:demo.example:plant:mes-1"
        await client.set_security(
            SecurityPolicyAes256Sha256RsaPss,
            CertProperties(pair["certificate"], "pem"),
            CertProperties(pair["key"], "pem"),
            server_certificate=CertProperties(f"{DEMO['pki']}/plant/issued/{server}.pem", "pem"),
        )
        async with client:
            index = await client.get_namespace_index("urn:demo.example:tank-farm")
            return await does(client, lambda name: client.get_node(f"ns={index};s=Tank.{name}"))

    return asyncio.run(go())


def in_the_server(name: str) -> Any:
    return opcua(lambda _, node: node(name).read_value(), direct=True)


def asked(service: str) -> list[Any]:
    lines = map(json.loads, (DIR / "seen" / "plc-2").read_text().splitlines())
    return [line for line in lines if line["service"] == service]


async def refused(doing: Any) -> bool:
    try:
        await doing
    except ua.uaerrors.BadUserAccessDenied:
        return True
    return False


def opcua_reads_and_writes() -> None:
    seen = len(asked("Write"))
    new = 62.0 if in_the_server("LevelSetpoint") != 62.0 else 61.0

    async def does(_: Any, node: Callable[[str], Any]) -> Any:
        await node("LevelSetpoint").write_value(ua.DataValue(ua.Variant(new, ua.VariantType.Double)))
        return await node("LevelSetpoint").read_value(), await node("Recipe").read_value()

    back, recipe = opcua(does)
    hold(back == new, f"it is read back: {back}")
    hold(recipe == in_the_server("Recipe"), "the gateway's values are the server's")
    hold([line["value"] for line in asked("Write")[seen:]] == [new], "the server received it once")


def opcua_refuses() -> None:
    before, seen = in_the_server("LevelSetpoint"), [len(asked(one)) for one in ("Write", "Call")]

    async def does(client: Any, node: Callable[[str], Any]) -> list[bool]:
        tank = client.get_node(node("x").nodeid.to_string().replace("Tank.x", "Tank"))
        return [
            await refused(node(name).write_value(ua.DataValue(ua.Variant(value, ua.VariantType.Double))))
            for name, value in (("LevelSetpoint", 97.0), ("PumpSpeedSetpoint", 50.0))
        ] + [await refused(tank.call_method(node("ResetTotal").nodeid))]

    hold(opcua(does) == [True] * 3, "Bad_UserAccessDenied each time")
    hold(in_the_server("LevelSetpoint") == before, "the set point is unchanged")
    hold([len(asked(one)) for one in ("Write", "Call")] == seen, "the server heard nothing of it")


def opcua_watches() -> None:
    async def does(client: Any, node: Callable[[str], Any]) -> list[float]:
        got: list[float] = []
        enough = asyncio.Event()

        class Handler:
            def datachange_notification(self, _node: Any, value: float, _data: Any) -> None:
                got.append(value)
                if len(got) >= 3:
                    enough.set()

        subscription = await client.create_subscription(200, Handler())
        await subscription.subscribe_data_change(node("Level"), sampling_interval=100)
        await asyncio.wait_for(enough.wait(), 10)
        return got

    got = opcua(does)
    hold(len(got) >= 3 and all(0 <= value <= 100 for value in got), f"notifications: {got}")


def policy_changes() -> None:
    grants = Path(DEMO["policies"], "data", "grants.yaml")
    text = grants.read_text()
    client = modbus("hmi-1")

    def code() -> int:
        answer = client.write_register(0, 600, device_id=1)
        return answer.exception_code if answer.isError() else 0

    hold(code() == 0, "the write is allowed at first")
    head, *items = text.split("\n  - id: ")
    left = [item for item in items if not item.startswith("operator-level-setpoint")]
    # Taking away counts within a second; giving back may take its time on a busy machine.
    for content, expected, within_s in (("\n  - id: ".join([head, *left]), 1, 1), (text, 0, 10)):
        part = grants.with_suffix(".new")
        part.write_text(content)
        part.rename(grants)
        deadline = time.monotonic() + within_s
        while code() != expected:
            hold(time.monotonic() < deadline, f"within {within_s} s: {expected} after a change of policy")
            time.sleep(0.02)  # policy allows 120 writes a minute: asking faster would use them up


def plc_stopped() -> None:
    os.kill(DEMO["pids"]["plc-1"], signal.SIGSTOP)
    try:
        bad = until(15, "bad", lambda: (t := curl("/api/v1/tags/plc-1.level")[1])["quality"] == "bad" and t)
        hold(bad["reason"], f"a reason: {bad}")
        hold(curl("/api/v1/tags/meter-1.power")[1]["quality"] == "good", "the meter is not harmed")
    finally:
        os.kill(DEMO["pids"]["plc-1"], signal.SIGCONT)
    until(15, "good again", lambda: curl("/api/v1/tags/plc-1.level")[1]["quality"] == "good")


def revoked() -> None:
    client = modbus("hmi-1")
    hold(not client.read_holding_registers(10, count=1, device_id=1).isError(), "it can read at first")
    done = gateway("pki", "revoke", "--dir", DEMO["pki"], "--zone", "plant", "--name", "hmi-1")
    hold(done.returncode == 0, f"revoke: {done}")
    hold(client.socket is not None, "connected")
    client.socket.settimeout(1.0)  # type: ignore[union-attr] # connected
    try:
        hold(client.socket.recv(1) == b"", "the live connection ends")  # type: ignore[union-attr] # connected
    except TimeoutError:
        hold(False, "the live connection ends within a second")
    except OSError:
        pass
    try:
        modbus("hmi-1").read_holding_registers(10, count=1, device_id=1)
        hold(False, "a new connection is refused")
    except (ModbusException, OSError):
        pass


def journal_verifies() -> None:
    done = gateway("audit", "verify", "--data", DEMO["data"], "--vkey", DEMO["vkey"])
    hold(done.returncode == 0, f"verify: {done}")


def flipped_byte() -> None:
    copy = DIR / "outside-copy"
    shutil.copytree(Path(DEMO["data"], "journal"), copy / "journal")
    try:
        segment = min(p for p in copy.rglob("*") if p.is_file() and b'"kind"' in p.read_bytes())
        content = bytearray(segment.read_bytes())
        content[content.index(b'"kind"') + 1] ^= 1
        segment.write_bytes(content)
        done = gateway("audit", "verify", "--data", str(copy), "--vkey", DEMO["vkey"])
        hold(done.returncode == 1, f"a flipped bit is found: {done}")
    finally:
        shutil.rmtree(copy)


STEPS: tuple[Callable[[], None], ...] = (
    certified_read,
    forbidden_write,
    explained,
    allowed_write,
    explained_change,
    two_people,
    glass_broken,
    observed,
    no_certificate,
    no_role,
    hidden_write,
    values_over_https,
    values_over_mqtt,
    opcua_reads_and_writes,
    opcua_refuses,
    opcua_watches,
    policy_changes,
    plc_stopped,
    revoked,
    journal_verifies,
    flipped_byte,
)

if __name__ == "__main__":
    for step in STEPS:
        if step is values_over_mqtt and not DEMO["mqtt"]:
            say("skipped: MQTT")
            continue
        if step.__name__.startswith("opcua") and not DEMO["opcua"]:
            say("skipped: OPC UA")
            continue
        say(f"{step.__name__} …")
        step()
    say(f"{len(STEPS)} steps held")
