"""The tour: named steps through a running demo, each shown with what was seen, and ok, skipped or FAILED."""

import json

from gateway.demo import opcua_steps
from gateway.demo.modbus_steps import (
    allowed_write,
    certified_read,
    explained,
    forbidden_write,
    hidden_write,
    no_certificate,
    no_role,
    policy_changes,
)
from gateway.demo.north_steps import (
    https_without_certificate,
    plc_stopped,
    values_over_https,
    values_over_mqtt,
)
from gateway.demo.people_steps import explained_change, observed, two_people
from gateway.demo.step import NotHeld, Skipped, Step
from gateway.demo.trust_steps import flipped_byte, journal_verifies, revoked
from gateway.demo.world import DemoError, World

STEPS = (
    Step("certified-read", "a certified client reads the plant's values", certified_read),
    Step("forbidden-write", "a write that no grant covers is refused", forbidden_write),
    Step("explained", "the refusal is explained to the gateway's operator", explained),
    Step("allowed-write", "a write that a grant covers arrives once", allowed_write),
    Step("explained-change", "what would have to change is said as well", explained_change),
    Step("two-people", "a write that needs a second person's word", two_people),
    Step("observed", "a listener that is only observed, then enforced", observed),
    Step("no-certificate", "no certificate: a fatal TLS alert", no_certificate),
    Step("no-role", "no role: exception 01 for everything", no_role),
    Step("hidden-write", "a write hidden in a read goes nowhere", hidden_write),
    Step("https", "IT gets values over HTTPS", values_over_https),
    Step("https-stranger", "a stranger gets none", https_without_certificate),
    Step("mqtt", "IT gets values over MQTT", values_over_mqtt),
    Step("opcua-read", "an OPC UA client reads a server's values", opcua_steps.read),
    Step("opcua-write", "and writes within its limits", opcua_steps.write),
    Step("opcua-denied-write", "beyond them it is refused in its place", opcua_steps.denied_write),
    Step("opcua-denied-method", "so is a method that no grant covers", opcua_steps.denied_method),
    Step("opcua-subscribe", "and it watches a value", opcua_steps.subscribe),
    Step("policy-change", "a grant taken away counts at once", policy_changes),
    Step("plc-stopped", "a PLC that stops is seen as such", plc_stopped),
    Step("revoked", "revoking a certificate ends its live connection", revoked),
    Step("journal", "the log of all this verifies", journal_verifies),
    Step("flipped-byte", "one flipped bit in a copy of it is found", flipped_byte),
)
"In this order: what takes something away comes after what needs it."


def tour(world: World, *, as_json: bool) -> int:
    """Take every step, whatever became of those before. 0 if each held or was skipped, else 1."""
    failed = 0
    for number, step in enumerate(STEPS, 1):
        outcome, seen = _take(step, world)
        failed += outcome == "FAILED"
        if as_json:
            print(json.dumps({"step": step.name, "outcome": outcome, "seen": seen}), flush=True)
        elif outcome == "skipped":
            print(f"skipped: {seen}", flush=True)
        else:
            print(f"{number:2}. {step.title:<52} {outcome}\n      {seen}", flush=True)
    if not as_json:
        print(f"\n{len(STEPS) - failed} of {len(STEPS)} steps held" if failed else "\nEvery step held.")
    return 1 if failed else 0


def _take(step: Step, world: World) -> tuple[str, str]:
    try:
        return "ok", step.show(world)
    except Skipped as skipped:
        return "skipped", str(skipped)
    except (NotHeld, DemoError) as finding:
        return "FAILED", str(finding)
    except Exception as error:  # noqa: BLE001 # a step that breaks has not held, and the others are still to be seen
        return "FAILED", f"{type(error).__name__}: {error}"
