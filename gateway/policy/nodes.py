"""What of OPC UA a grant gives: the entries of its `opcua` list, checked when the bundle is loaded.

    {nodes: ["nsu=urn:x;s=Tank.*"], attributes: [Value]}          nodes, by id or how it begins
    {paths: [/Plant/plc-1/#], services: [Browse, Read]}           nodes, by where they are found
    {nodes: ["nsu=urn:x;s=Pump"], methods: ["nsu=urn:x;s=Start"]} methods of objects, with `arguments`
    {services: [CreateSubscription], min_interval_ms: 500}        services that name no node

Without `services` an entry gives every service of the grant's actions that names a node. Whoever changes
something is given nodes and methods one by one: a path leads elsewhere once somebody moves a node, and what
begins alike may be made tomorrow.
"""

import json
from collections.abc import Iterable
from typing import Any

from gateway.policy.areas import Excess

Entry = dict[str, Any]

SERVICES: dict[str, frozenset[str]] = {
    "read": frozenset({"Read", "HistoryRead"}),
    "write": frozenset({"Write"}),
    "call": frozenset({"Call"}),
    "browse": frozenset(
        {"Browse", "BrowseNext", "TranslateBrowsePathsToNodeIds", "RegisterNodes", "UnregisterNodes"}
    ),
    "subscribe": frozenset(
        {
            "CreateMonitoredItems",
            "ModifyMonitoredItems",
            "SetMonitoringMode",
            "SetTriggering",
            "DeleteMonitoredItems",
            "CreateSubscription",
            "ModifySubscription",
            "SetPublishingMode",
            "DeleteSubscriptions",
            "TransferSubscriptions",
            "Publish",
            "Republish",
        }
    ),
}
"Services that are forwarded at all, by action (guardrail.opcua_service denies the others once more)."
NODELESS = frozenset(
    {
        "CreateSubscription",
        "ModifySubscription",
        "SetPublishingMode",
        "DeleteSubscriptions",
        "TransferSubscriptions",
        "SetMonitoringMode",
        "SetTriggering",
        "DeleteMonitoredItems",
        "Publish",
        "Republish",
    }
)
"""Services about a subscription and its items, not about a node. Publish and Republish go with
CreateSubscription."""
WRITABLE = ("Value", "DisplayName", "Description")
"Attributes that are ever written (guardrail.opcua_attribute)."
OWN_METHODS = ("i=3875", "i=12912", "i=9029", "i=9111", "i=9113", "i=11492", "i=12873")
"Methods of namespace 0 that are ever called: about alarms and subscriptions (guardrail.opcua_server)."
STANDARD = "nsu=http://opcfoundation.org/UA/;"
"Namespace 0 written with its URI; OPC 10000-6 §5.1.12 writes it without."


def misfits(entry: Entry, actions: Iterable[str]) -> Excess:
    """Everything wrong with the form of an entry of a grant for these actions."""
    actions = set(actions)
    known = frozenset().union(*(SERVICES.get(action, frozenset()) for action in actions))
    for at, service in enumerate(entry.get("services", ())):
        if service not in frozenset().union(*SERVICES.values()):
            yield ("services", at), f"service {service} is never forwarded", f"one of {sorted(known)}"
        elif service not in known:
            what = f"service {service} is none of the grant's actions"
            yield ("services", at), what, f"one of {sorted(known)}, or another action"
    yield from _form(entry)
    if "call" in actions and "methods" not in entry and actions == {"call"}:
        yield (), "does not say which `methods`", "name each method"
    for at, bound in enumerate(entry.get("arguments", ())):
        if bound.get("min", 0) > bound.get("max", 0):
            yield ("arguments", at), "min is above max", "swap them"
    if {"write", "call"} & actions:
        yield from _changing(entry, actions)


def _form(entry: Entry) -> Excess:
    placed = "nodes" in entry or "paths" in entry
    if "methods" in entry:
        if "nodes" not in entry:
            yield (), "does not say of which objects the methods are", "add nodes"
        for name in ("paths", "attributes", "min_interval_ms", "most_history_s"):
            if name in entry:
                yield (name,), f"`{name}` means nothing for methods", "remove it"
    elif "arguments" in entry:
        yield ("arguments",), "`arguments` of no method", "name the methods"
    elif not placed:
        services = set(entry.get("services", ()))
        if not services:
            yield (), "names neither nodes, paths, nor services", "see gateway/policy/nodes.py"
        elif not services <= NODELESS:
            said = ", ".join(sorted(services - NODELESS))
            yield ("services",), f"{said}: of which nodes?", "name nodes or paths"
    for at, node in enumerate(entry.get("nodes", ())):
        if node.startswith(STANDARD):
            yield ("nodes", at), "namespace 0 is written without its URI", f"write {node[len(STANDARD) :]}"


def _changing(entry: Entry, actions: set[str]) -> Excess:
    """What a grant that changes something must not leave open."""
    if "paths" in entry:
        yield ("paths",), "nothing is changed by a path", "name the nodes"
    if "nodes" not in entry and not set(entry.get("services", ())) <= NODELESS:
        yield (), "does not say which `nodes`", "name each"
    for name in ("nodes", "methods"):
        for at, node in enumerate(entry.get(name, ())):
            if node.endswith("*"):
                yield (name, at), f"{node} is not one node", "name each that is changed"
    if "write" in actions and "methods" not in entry:
        for at, attribute in enumerate(entry.get("attributes", ())):
            if attribute not in WRITABLE:
                what = f"attribute {attribute} is never written"
                yield ("attributes", at), what, f"one of {list(WRITABLE)}, or read it by a grant of its own"
        for at, node in enumerate(entry.get("nodes", ())):
            if not node.startswith("nsu="):
                yield ("nodes", at), "the server's own nodes are never written", "remove it"
    for at, method in enumerate(entry.get("methods", ())):
        if not method.startswith("nsu=") and method not in OWN_METHODS:
            yield ("methods", at), f"{method} of the server itself is never called", "remove it"


def beyond(entry: Entry, asset: str, writable: dict[str, Any]) -> Excess:
    """What of an entry of a grant that writes or calls is not within bounds.writable of an asset."""
    bounds = writable.get(asset, {})
    for name in ("nodes", "methods"):
        allowed = bounds.get(name, [])
        for at, node in enumerate(entry.get(name, ())):
            if not any(covers(pattern, node) for pattern in allowed):
                what = f"{node} of {asset} is beyond bounds.writable"
                yield (name, at), what, f"stay within {json.dumps(allowed)}, or widen the bounds"


def covers(pattern: str, node: str) -> bool:
    """Whether a node lies in what is allowed: by its id, or by how it begins."""
    return node.startswith(pattern[:-1]) if pattern.endswith("*") else node == pattern
