"""One grant, held against what policy data says beside it: bounds, assets, windows, modes, ways.

A site widens what is allowed by writing grants, so a grant that goes further than data/bounds.yaml, that can
never fit, or that means less than its author saw is refused when the bundle is loaded. Core holds every
condition once more when it decides; what is found here never reaches an engine.
"""

from collections.abc import Iterator
from typing import Any

from gateway.policy import areas, nodes
from gateway.policy.areas import Excess

Grant = dict[str, Any]

WRITING = frozenset({"write", "call"})
WAYS: dict[str, frozenset[str]] = {
    "modbus": frozenset({"read", "write", "call"}),
    "opcua": frozenset({"read", "write", "call", "browse", "subscribe"}),
    "https": frozenset({"read", "browse", "subscribe", "write", "admin"}),
    "mqtt": frozenset({"publish", "subscribe"}),
    "control": frozenset({"read", "admin"}),
}
"What can be done over which protocol (guardrail.action)."
CONTROL = frozenset({"control.status", "control.reload"})
ACTS = frozenset(
    {
        "admin.approve",
        "admin.refuse",
        "admin.open_window",
        "admin.close_window",
        "admin.break_glass",
        "admin.end_break_glass",
        "admin.set_stage",
        "admin.set_mode",
        "admin.activate",
        "admin.confirm",
        "admin.rollback",
    }
)
"What people do to the gateway (guardrail.admin_act)."
LOOKS = frozenset({"audit.search", "audit.record", "audit.proof", "audit.checkpoint", "audit.report"})
"What reviewers read of the journal. A search can be for one asset only, which is its scope."
TAGS = frozenset({"admin.browse", "admin.probe"})
"What people who make tags look at in a device, by the gateway's own grants there. The asset is the scope."
VIEWS = (
    frozenset({"admin.list_approvals", "admin.list_bundles", "admin.state", "admin.rehearse"}) | LOOKS | TAGS
)
"What is read about it."
OF_ACTS = ("scopes", "values", "most_minutes")
"Conditions that only acts on the gateway have."
NORTHBOUND = frozenset({"https", "mqtt"})
ONLY_NORTHBOUND = frozenset({"mask", "round"})
"Obligations that change a value: never one that the plant or a client of the plant gets."


def excess(grant: Grant, data: dict[str, Any]) -> Excess:
    """Everything that is wrong with a grant which fits its schema."""
    yield from _names(grant, data)
    yield from _ways(grant)
    for tag, limit in grant.get("limits", {}).items():
        yield from _limit(tag, limit, data["bounds"]["limits"].get(tag))
    yield from _nobody(grant)
    yield from _gateway(grant)
    yield from _glass(grant, data["bounds"])
    yield from _obligations(grant)
    yield from _addresses(grant, data)


def _names(grant: Grant, data: dict[str, Any]) -> Excess:
    for place, asset in enumerate(grant.get("assets", ())):
        if asset not in data["assets"]:
            yield ("assets", place), f"{asset} is no asset that policy data knows", "add it to assets"
    for place, window in enumerate(grant.get("windows", ())):
        if window not in data.get("windows", {}):
            yield ("windows", place), f"{window} is not defined", "add it to windows"
    for place, mode in enumerate(grant.get("modes", ())):
        if mode not in data.get("modes", [mode]):
            yield ("modes", place), f"{mode} is no mode that policy data knows", "add it to modes"


def _ways(grant: Grant) -> Excess:
    """Each action by one of the protocols at least, and each protocol for one of the actions."""
    for place, action in enumerate(grant["actions"]):
        if not any(action in WAYS[protocol] for protocol in grant["protocols"]):
            said = ", ".join(grant["protocols"])
            yield ("actions", place), f"{action} cannot be done over {said}", "remove one of the two"
    for place, protocol in enumerate(grant["protocols"]):
        if not WAYS[protocol].intersection(grant["actions"]):
            known = sorted(WAYS[protocol])
            yield ("protocols", place), f"none of the actions can be done over {protocol}", f"one of {known}"


def _limit(tag: str, limit: dict[str, int], bound: dict[str, int] | None) -> Excess:
    path = ("limits", tag)
    if limit["min"] > limit["max"]:
        yield path, f"{tag}: min is above max", "swap them"
    if bound is None:
        return
    if limit["min"] < bound["min"] or limit["max"] > bound["max"]:
        yield path, f"{tag}: beyond bounds.limits", f"stay within {bound['min']} … {bound['max']}"
    step = bound.get("max_delta")
    if step is not None and limit.get("max_delta", step + 1) > step:
        yield path, f"{tag}: max_delta beyond bounds.limits", f"give one of at most {step}"


def _nobody(grant: Grant) -> Excess:
    """Who comes without TLS is nobody on any listener: the grant must say which it means."""
    kinds = grant.get("subject_kinds", [])
    if "nobody" in kinds:
        path = ("subject_kinds", kinds.index("nobody"))
        if "listeners" not in grant:
            yield path, "gives nobody the same on every listener", "name the listeners"
        if "admin" in grant["actions"]:
            yield path, "lets nobody act on the gateway", "remove admin"


def _gateway(grant: Grant) -> Excess:
    """Acts on the gateway, and what is read about it: named one by one, and never of an asset."""
    admin, operations = "admin" in grant["actions"], grant.get("operations", [])
    acting = admin or not {*CONTROL, *VIEWS, *ACTS}.isdisjoint(operations)
    if not acting:
        for name in OF_ACTS:
            if name in grant:
                yield (name,), f"`{name}` is for acts on the gateway", "remove it, or add admin to actions"
        return
    if not operations:
        yield (), "does not say which acts on the gateway it gives", "add operations"
    known = (CONTROL if "control" in grant["protocols"] else frozenset()) | (
        ACTS | VIEWS if "https" in grant["protocols"] else frozenset()
    )
    for place, name in enumerate(operations):
        if name.startswith(("admin.", "audit.", "control.")) and name not in known:
            mend = f"one of {sorted(known)}"
            yield ("operations", place), f"there is no act {name} over these protocols", mend
    if admin and "assets" in grant:
        yield ("assets",), "an act on the gateway is about no asset", "remove assets, and name `scopes`"
    if not admin:
        scoped = {"scopes"} if (LOOKS | TAGS).issuperset(operations) else set()
        for name in OF_ACTS:
            if name in grant and name not in scoped:
                yield (name,), f"`{name}` is for acts on the gateway", "remove it, or add admin to actions"
    elif len(grant["actions"]) > 1 and any(name in grant for name in OF_ACTS):
        yield ("actions",), "what is read has neither scope nor value", "give the acts a grant of their own"


def _glass(grant: Grant, bounds: dict[str, Any]) -> Excess:
    """What is kept for who has broken the glass."""
    if "break_glass" not in grant:
        return
    path = ("break_glass",)
    if "break_glass_minutes" not in bounds:
        yield path, "nobody can break the glass", "set bounds.break_glass_minutes"
    if "approval" in grant:
        yield ("approval",), "who breaks the glass waits for nobody", "remove one of the two"
    if not {"read", "write", "call", "browse", "subscribe"}.issuperset(grant["actions"]):
        yield path, "breaking the glass gives no acts on the gateway and publishes nothing", "remove those"
    for place, kind in enumerate(grant.get("subject_kinds", ())):
        if kind != "person":
            yield ("subject_kinds", place), "only people break the glass", "remove it"


def _obligations(grant: Grant) -> Excess:
    if "approval" in grant and "publish" in grant["actions"]:
        yield ("approval",), "nobody waits for the approval of a publication", "remove it"
    for place, obligation in enumerate(grant.get("obligations", ())):
        path, name = ("obligations", place), obligation["type"]
        if name in ONLY_NORTHBOUND:
            towards_it = NORTHBOUND.issuperset(grant["protocols"]) and WRITING.isdisjoint(grant["actions"])
            if not towards_it or "admin" in grant["actions"]:
                yield path, f"{name} is for what IT is told only", "give it to a grant over https or mqtt"
        if name == "readback" and set(grant["actions"]) != {"write"}:
            yield path, "only a write is read back", "give the write a grant of its own"
        if name == "readback" and "opcua" in grant["protocols"]:
            mend = "remove it: the server's own status of the write is in the record"
            yield path, "what is written over opcua is not read back", mend


def _addresses(grant: Grant, data: dict[str, Any]) -> Excess:
    misfit = False
    for path, what, mend in _forms(grant):
        misfit = True
        yield path, what, mend
    if misfit or not WRITING.intersection(grant["actions"]):
        return
    for place, asset in enumerate(grant.get("assets", ())):
        if data["assets"].get(asset, {}).get("kind") == "safety":
            yield ("assets", place), f"{asset} is a safety system, which is read only", "remove the write"
    for asset in grant.get("assets", ()):
        yield from _beyond(grant, asset, data["bounds"]["writable"])


def _forms(grant: Grant) -> Iterator[tuple[areas.Path, str, str]]:
    for name in ("modbus", "opcua"):
        if name in grant and name not in grant["protocols"]:
            yield (name,), f"`{name}` means nothing without the protocol", f"add {name} to protocols"
    for place, area in enumerate(grant.get("modbus", ())):
        for path, what, mend in areas.misfits(area):
            yield ("modbus", place, *path), what, mend
    for place, entry in enumerate(grant.get("opcua", ())):
        for path, what, mend in nodes.misfits(entry, grant["actions"]):
            yield ("opcua", place, *path), what, mend
    if "https" in grant["protocols"] and "write" in grant["actions"] and "tags" not in grant:
        yield (), "does not say which `tags` are written over https", "name each"


def _beyond(grant: Grant, asset: str, writable: dict[str, Any]) -> Excess:
    """What it would write or call of one asset that no grant may."""
    for place, area in enumerate(grant.get("modbus", ())):
        for path, what, mend in areas.beyond(area, asset, writable):
            yield ("modbus", place, *path), what, mend
    for place, entry in enumerate(grant.get("opcua", ())):
        for path, what, mend in nodes.beyond(entry, asset, writable):
            yield ("opcua", place, *path), what, mend
    if "https" in grant["protocols"] and "write" in grant["actions"]:
        allowed = writable.get(asset, {}).get("tags", [])
        for place, tag in enumerate(grant["tags"]):
            if tag not in allowed:
                what = f"{tag} of {asset} is beyond bounds.writable"
                yield ("tags", place), what, f"one of {allowed}, or widen bounds.writable.{asset}.tags"
