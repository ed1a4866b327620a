"""Steps of the tour about policy and people: a denial explained, two people for a write, a stage.

What people do is done by the commands that they would type, each under a certificate of their own.
"""

import json
from contextlib import closing
from typing import Any

from pymodbus.client import ModbusTlsClient

from gateway.demo import client
from gateway.demo.modbus_steps import as_client, direct
from gateway.demo.step import command, hold
from gateway.demo.world import World
from gateway.model.asset import Table

PARAMETER, TUNED = 12, 4711
"The holding register that the pump's vendor tunes, and what it becomes."

ABOVE_GRANT = 930
"A level in tenths of a per cent that no grant gives, and no guardrail forbids."
ABOVE_BOUNDS = 960
"One that a guardrail forbids, whatever a grant or a stage says."


def as_person(world: World, name: str, *words: str) -> str:
    """What a command says when a person gives it; it must come off."""
    done = command(*words, *world.person(name))
    hold(done.returncode == 0, f"{' '.join(words)} by {name}: {done.stdout}{done.stderr}")
    return done.stdout


def explained_change(world: World) -> str:
    """The operator sets a level above the grant's; the gateway's people ask what would have to change."""
    with closing(as_client(world, "hmi-1")) as hmi:
        code = client.refusal(client.write(hmi, Table.HOLDING, 0, [ABOVE_GRANT], 1))
    hold(code == 1, f"expected exception 01, got {code}")
    record = _newest(world, "--kind", "denial", "--who", "hmi-1")["id"]
    done = command("policy", "explain", record, "-c", str(world.config), "--json")
    hold(done.returncode == 0, f"policy explain: {done.stderr.strip()}")
    (told,) = json.loads(done.stdout)["explanations"]
    hold("operator-level-setpoint" in told["sentence"], f"explained as: {told['sentence']}")
    return str(told["sentence"]).rpartition(": the nearest")[2].strip()


def two_people(world: World) -> str:
    """The pump's vendor writes in its window, once somebody else has agreed to that very write, once."""
    as_person(world, "lea", "windows", "open", "vendor-access", "--minutes", "10")
    seen = len(world.seen("plc-1"))
    with closing(as_client(world, "vendor-1")) as vendor:
        hold(_tune(vendor) == 1, "the vendor wrote without anybody's word")
        hold(len(world.seen("plc-1")) == seen, "the PLC heard of it")
        waiting = json.loads(as_person(world, "lea", "approvals", "list", "--json"))["approvals"]
        (request,) = [each for each in waiting if each["state"] == "pending"]
        as_person(world, "lea", "approvals", "grant", request["request"], "--yes")
        hold(_tune(vendor) is None, "refused although it was approved")
        hold(_tune(vendor) == 1, "one approval let two writes pass")
    hold(direct(world, Table.HOLDING, PARAMETER, 1) == [TUNED], "the register is not what was approved")
    hold(len(world.seen("plc-1")) == seen + 1, "the PLC did not receive it once")
    by = _newest(world, "--kind", "intent", "--who", "vendor-1")["why"]["approval"]["by"]
    return f"refused; agreed by {by[0].rpartition('/')[2]}; written once; refused again"


def _tune(vendor: ModbusTlsClient) -> int | None:
    return client.refusal(client.write(vendor, Table.HOLDING, PARAMETER, [TUNED], 1))


def observed(world: World) -> str:
    """A listener that is only observed lets a denied write pass and says so; then it is enforced again."""
    with closing(as_client(world, "hmi-1")) as hmi:

        def code() -> int | None:
            return client.refusal(client.write(hmi, Table.HOLDING, 0, [ABOVE_GRANT], 1))

        as_person(world, "pat", "mode", "listener", "modbus-north", "observe")
        try:
            hold(code() is None, "a listener that is observed refused a write")
            why = _newest(world, "--kind", "intent", "--who", "hmi-1")["why"]
            above = client.refusal(client.write(hmi, Table.HOLDING, 0, [ABOVE_BOUNDS], 1))
            hold(above == 1, "a guardrail did not hold while observed")
        finally:
            as_person(world, "pat", "mode", "listener", "modbus-north", "enforce")
        hold(why["decision"] == "would_deny", f"the record says {why['decision']}")
        hold(code() == 1, "enforced again, and the write passed")
        hold(client.refusal(client.write(hmi, Table.HOLDING, 0, [700], 1)) is None, "700 is granted")
    return "the write passed, and its record says would_deny; a guardrail held; refused again once enforced"


def _newest(world: World, *conditions: str) -> dict[str, Any]:
    """The newest record that fits."""
    found = command("audit", "search", "--data", str(world.data), "--json", *conditions, "--limit", "1")
    hold(found.returncode == 0 and bool(found.stdout), f"audit search: {found.stdout}{found.stderr}")
    record: dict[str, Any] = json.loads(found.stdout.splitlines()[-1])["record"]
    return record
