"""The objects of OCSF that events are made of, from who, what and why of a record.

What OCSF has no word for stands in `unmapped`: `unmapped.ot` is what the plant calls it, `unmapped.dmz` what
only this gateway knows. docs/reference/ocsf.md names each member.
"""

import ipaddress
from typing import Any

Told = dict[str, Any]

MOST_NAMED = 50
"Tags, grants or reasons that one event names; the rest is counted."
USER_TYPES = {
    "person": (1, "User"),
    "local": (2, "Admin"),
    "gateway": (3, "System"),
    "workload": (4, "Service"),
}
"By kind of identity: `type_id` of a user and its name."


def part(record: Told, name: str) -> Told:
    """A part of a record, empty where it has none."""
    found = record.get(name)
    return found if isinstance(found, dict) else {}


def rows(record: Told, name: str) -> list[Told]:
    """The objects of a list; none where it is kept as a hash."""
    found = record.get(name)
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def filled(**members: Any) -> Told:
    """The members that say something."""
    return {name: value for name, value in members.items() if value not in (None, "", [], {}, ())}


def user(who: Told) -> Told:
    """The subject; `unknown` where nobody was identified."""
    subject = str(who.get("subject") or "unknown")
    number, name = USER_TYPES.get(str(who.get("kind")), (0, "Unknown"))
    groups = [{"name": str(role)} for role in (who.get("roles") or ())[:MOST_NAMED]]
    return filled(uid=subject, name=subject, type=name, groups=groups) | {"type_id": number}


def actor(record: Told) -> Told:
    """Who acts, on which connection."""
    who = part(record, "who")
    session = filled(
        uid=record.get("connection"), issuer=who.get("issuer"), credential_uid=who.get("fingerprint")
    )
    return filled(user=user(who), session=session if record.get("connection") else None)


def source(record: Told) -> Told:
    """Where it came from."""
    who = part(record, "who")
    address = str(who.get("source") or "internal")
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return filled(name=address, zone=who.get("zone"))
    return filled(ip=address, zone=who.get("zone"))


def gate(record: Told) -> Told:
    """The gateway, by the listener it was reached by."""
    who, note = part(record, "who"), part(record, "note")
    return filled(
        name=record.get("gateway"),
        svc_name=who.get("listener") or note.get("listener"),
        zone=who.get("listener_zone"),
    )


def certificate(who: Told) -> Told | None:
    """What was shown, where something was."""
    if not who.get("issuer") or not who.get("serial"):
        return None
    print_ = who.get("fingerprint")
    prints = [{"algorithm": "SHA-256", "algorithm_id": 3, "value": print_}] if print_ else None
    subject = who.get("subject")
    return filled(issuer=who["issuer"], serial_number=who["serial"], subject=subject, fingerprints=prints)


def resources(record: Told) -> list[Told]:
    """The device, and the tags that were meant."""
    what, note = part(record, "what"), part(record, "note")
    asset = what.get("asset") or note.get("asset")
    found = [filled(name=asset, type=what.get("asset_kind") or "asset", role="Target") | {"role_id": 1}]
    found = found if asset else []
    named = [str(note["tag"])] if isinstance(note.get("tag"), str) else []
    for tag in (*tags(what)[:MOST_NAMED], *named):
        found.append({"name": tag, "type": "tag", "role": "Target", "role_id": 1})
    return found


def tags(what: Told) -> list[str]:
    """Names of the tags of an operation, or of all reads of a window, each once."""
    lists = [rows(what, "points"), *(rows(part(each, "input"), "points") for each in rows(what, "entries"))]
    return list(dict.fromkeys(str(p["tag"]) for points in lists for p in points if "tag" in p))


def api(record: Told, operation: str) -> Told:
    """What was called."""
    what, result = part(record, "what"), part(record, "result")
    protocol = what.get("protocol")
    called: Told = {"operation": operation}
    if protocol:
        called["service"] = {"name": str(protocol)}
    called["request"] = {"uid": str(record.get("about") or record.get("id"))}
    if result:
        status = str(result.get("status"))
        called["response"] = filled(message=status, code=_whole(result.get("code"))) | (
            {} if status == "ok" else {"error": status}
        )
    return called


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def reasons(why: Told) -> list[Told]:
    """Why, as they were given."""
    return rows(why, "reasons")


def ruling(why: Told) -> Told:
    """Policy, authorizations and rule of the security_control profile; nothing where nothing was decided."""
    if not why.get("decision"):
        return {}
    codes = [str(each.get("code")) for each in reasons(why)]
    grants = [str(each) for each in why.get("grants") or ()]
    allowed = why["decision"] == "allow"
    names = (grants or codes if allowed else codes)[:MOST_NAMED] or ["default"]
    revision = str(why.get("revision") or "none")
    bundle = {"uid": revision, "name": "dmz", "version": revision[:12], "is_applied": True}
    word = {"allow": "Allowed", "deny": "Denied", "would_deny": "Observed"}.get(why["decision"], "Denied")
    return {
        "policy": bundle,
        "firewall_rule": {
            "uid": names[0],
            "name": names[0],
            "type": "grant" if allowed and grants else "reason",
        },
        "authorizations": [
            {"decision": word, "policy": {"uid": revision, "name": name, "is_applied": True}}
            for name in names
        ],
    }


def plant(record: Told) -> Told:
    """`unmapped.ot`: unit, function, addresses, node, raw and engineering values."""
    what, note = part(record, "what"), part(record, "note")
    modbus, opcua = part(what, "modbus"), part(what, "opcua")
    points, entries = rows(what, "points"), rows(what, "entries")
    return filled(
        protocol=what.get("protocol"),
        action=what.get("action"),
        kind=what.get("kind"),
        asset=what.get("asset") or note.get("asset"),
        asset_kind=what.get("asset_kind"),
        unit=modbus.get("unit"),
        fc=modbus.get("fc"),
        sub=modbus.get("sub"),
        mei=modbus.get("mei"),
        table=modbus.get("table"),
        address=modbus.get("start"),
        count=modbus.get("count"),
        raw=modbus.get("values"),
        service=opcua.get("service"),
        node=opcua.get("node"),
        path=opcua.get("path"),
        method=opcua.get("method"),
        attribute=opcua.get("attribute"),
        value=opcua.get("value"),
        topic=part(what, "north").get("topic"),
        points=points[:MOST_NAMED],
        more_points=max(0, len(points) - MOST_NAMED) or None,
        reads=[_read(entry) for entry in entries[:MOST_NAMED]],
        more_reads=max(0, len(entries) - MOST_NAMED) or None,
        also=[
            filled(action=each.get("action"), kind=each.get("kind"), points=each.get("points"))
            for each in rows(what, "also")
        ][:MOST_NAMED],
        unreadable=what.get("unreadable"),
    )


def _read(entry: Told) -> Told:
    """One distinct question of a window."""
    question = part(entry, "input")
    modbus = part(question, "modbus")
    return filled(
        action=entry.get("action"),
        kind=entry.get("kind"),
        tags=tags(question),
        unit=modbus.get("unit"),
        fc=modbus.get("fc"),
        table=modbus.get("table"),
        address=modbus.get("start"),
        count=modbus.get("count"),
        asked=entry.get("asked"),
        answered=entry.get("answered"),
        failed=entry.get("failed"),
        decision=entry.get("decision"),
        values=entry.get("values"),
    )


def own(record: Told, index: int, leaf: str) -> Told:
    """`unmapped.dmz`: where the record lies, and what only this gateway knows of it."""
    who, what, why = (part(record, name) for name in ("who", "what", "why"))
    return filled(
        record=record.get("id"),
        kind=record.get("kind"),
        index=index,
        leaf=leaf,
        clock=record.get("clock"),
        auth=who.get("auth"),
        role_state=who.get("role_state"),
        tls=who.get("tls"),
        serial=who.get("serial"),
        on_behalf_of=who.get("on_behalf_of"),
        about=record.get("about"),
        origin=why.get("origin"),
        evaluation=why.get("evaluation"),
        stage=why.get("stage"),
        approval=why.get("approval"),
        obligations=why.get("obligations"),
        admin=what.get("admin"),
        result=record.get("result"),
        note=record.get("note"),
    ) | {"index": index}
