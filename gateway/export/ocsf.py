"""A record as an event of OCSF: the numbers it is sorted by, the objects it is made of, a sentence.

An event is made of its record alone, so that one sent twice is the same twice. It is not the record: the
policy question and what people signed stay in the journal, and `unmapped.dmz.leaf` leads back to it.
"""

import logging
from datetime import UTC, datetime

import msgspec
from msgspec import Struct

from gateway import __version__
from gateway.audit import tell
from gateway.audit.openings import Openings
from gateway.audit.tree import leaf
from gateway.export import hiding, objects
from gateway.export.classes import (
    API_ACTIVITY,
    AUTHENTICATION,
    FINDING,
    HIGH,
    LIFECYCLE,
    LOG_ACTIVITY,
    OTHER,
    STATE_CHANGE,
    VERSION,
    Shape,
    numbers,
)
from gateway.export.objects import Told, filled, part, rows
from gateway.export.shapes import shape

log = logging.getLogger(__name__)

PRODUCT = {"name": "dmz-gateway", "vendor_name": "dmz-gateway", "version": __version__}
UNDECIDED = "pending"
"What is said of an intent: what came of it is another record."

ODD = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, msgspec.MsgspecError)
"What a record of a form that nobody thought of raises. One such must not stop the export of all others."
AUTH_PROTOCOLS = {"mtls": "Mutual TLS", "opcua": "OPC UA SecureChannel"}
"How a subject proved itself, in words for people; who is refused before that came by TLS."
STATEMENTS = ("statement", "signature", "certificate", "document")
"What members of a note or a result begin with that hold what people signed."


class Event(Struct, frozen=True, kw_only=True):
    """One record, rendered."""

    uid: str
    "`<origin>#<index>`: two events with one uid are one record."
    index: int
    kind: str
    wall_ns: int
    trusted: bool
    "Whether the wall clock was believed."
    severity: int
    leaf: str
    gateway: str
    schema: str
    "Name of the class in the schema."
    body: Told


def event(index: int, data: bytes, origin: str, openings: Openings | None = None) -> Event:
    """The event of a record as it was stored; of one that makes no sense, that it is there.

    What the record keeps by commitment is told where it can be opened.
    """
    try:
        told = openings.told(index, data) if openings is not None else msgspec.json.decode(data, type=Told)
        return _event(index, told, leaf(data).hex(), origin)
    except ODD:
        log.exception("record %d makes no event", index)
        return unreadable(index, data, origin)


def unreadable(index: int, data: bytes, origin: str) -> Event:
    """An event of the log, about a record of which nothing is known but its bytes."""
    proof, uid = leaf(data).hex(), f"{origin}#{index}"
    body = {
        **numbers(Shape(of=LOG_ACTIVITY, activity=OTHER, activity_name="Not readable", severity=HIGH)),
        "time": 0,
        "message": f"record {index} of {len(data)} bytes could not be read",
        "metadata": {"version": VERSION, "product": PRODUCT, "uid": uid, "sequence": index},
        "log_name": "journal",
        "unmapped": {"dmz": {"index": index, "leaf": proof}},
    }
    return Event(
        uid=uid,
        index=index,
        kind="unreadable",
        wall_ns=0,
        trusted=False,
        severity=HIGH,
        leaf=proof,
        gateway="",
        schema=LOG_ACTIVITY.schema,
        body=body,
    )


def _event(index: int, told: Told, proof: str, origin: str) -> Event:
    record: Told = hiding.clean(told)
    found = shape(record)
    uid = f"{origin}#{index}"
    body = {
        **numbers(found),
        "time": record["wall_ns"] // 1_000_000,
        "message": _sentence(record),
        "metadata": _metadata(record, index, uid, origin),
        **_said(record),
        **BODIES[found.of.uid](record),
        "unmapped": filled(
            ot=objects.plant(record), dmz=objects.own(_without_statements(record), index, proof)
        ),
    }
    return Event(
        uid=uid,
        index=index,
        kind=str(record["kind"]),
        wall_ns=record["wall_ns"],
        trusted=record.get("clock") == "trusted",
        severity=found.severity,
        leaf=proof,
        gateway=str(record.get("gateway")),
        schema=found.of.schema,
        body=body,
    )


def rfc3339(wall_ns: int) -> str:
    """UTC, to the microsecond."""
    seconds, rest = divmod(wall_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest // 1000:06d}Z"


def _sentence(record: Told) -> str:
    """For a person; of a record whose long parts are kept as hashes, what it is."""
    try:
        return tell.brief(record, UNDECIDED if record["kind"] == "intent" else None)
    except ODD:
        return f"{record['kind']} {record['id']}"


def _metadata(record: Told, index: int, uid: str, origin: str) -> Told:
    return filled(
        version=VERSION,
        product=PRODUCT,
        profiles=["security_control"],
        uid=uid,
        log_name=origin,
        log_provider=record.get("gateway"),
        event_code=record.get("kind"),
        correlation_uid=record.get("about") or record.get("id"),
        original_time=rfc3339(record["wall_ns"]),
    ) | {"sequence": index}


def _said(record: Told) -> Told:
    """Decision, reason, and how often, as any class may have them."""
    why, note = part(record, "why"), part(record, "note")
    said = objects.ruling(why)
    reason = next(iter(objects.reasons(why)), {})
    entries = rows(part(record, "what"), "entries")
    asked = sum(each.get("asked", 0) for each in entries)
    first = min((each["first_ns"] for each in entries if "first_ns" in each), default=note.get("first_ns"))
    last = max((each["last_ns"] for each in entries if "last_ns" in each), default=note.get("last_ns"))
    status = (
        part(record, "result").get("status") or reason.get("code") or note.get("code") or note.get("reason")
    )
    return said | filled(
        status_code=str(status) if status else None,
        status_detail=reason.get("msg") or note.get("message") or note.get("why"),
        count=asked or note.get("count"),
        start_time=first // 1_000_000 if isinstance(first, int) else None,
        end_time=last // 1_000_000 if isinstance(last, int) else None,
    )


def _without_statements(record: Told) -> Told:
    """What people signed has its place in the journal: a copy elsewhere proves nothing."""
    told = dict(record)
    for name in ("note", "result"):
        if isinstance(found := record.get(name), dict):
            told[name] = {member: v for member, v in found.items() if not member.startswith(STATEMENTS)}
    return told


# What each class has of its own.


def _api_activity(record: Told) -> Told:
    what, note = part(record, "what"), part(record, "note")
    operation = what.get("kind") or note.get("kind") or note.get("event") or record["kind"]
    return filled(
        actor=objects.actor(record),
        api=objects.api(record, str(operation).lower().replace(" ", "_")),
        src_endpoint=objects.source(record),
        dst_endpoint=objects.gate(record),
        resources=objects.resources(record),
    )


def _authentication(record: Told) -> Told:
    who = part(record, "who")
    refused = part(record, "note").get("result") == "refused"
    return filled(
        user=objects.user(who),
        src_endpoint=objects.source(record),
        dst_endpoint=objects.gate(record),
        certificate=objects.certificate(who),
        auth_protocol=AUTH_PROTOCOLS.get(str(who.get("auth")), "Mutual TLS" if refused else "None"),
        session=filled(uid=record.get("connection")),
    ) | {"auth_protocol_id": 99, "is_remote": True, "logon_type": "Network", "logon_type_id": 3}


def _finding(record: Told) -> Told:
    note, what = part(record, "note"), part(record, "what")
    name = (
        note.get("alarm") or note.get("finding") or note.get("what") or note.get("event") or what.get("kind")
    )
    title = str(name or note.get("reason") or record["kind"])
    evidence = filled(actor=objects.actor(record), src_endpoint=objects.source(record), name=title)
    return filled(
        finding_info={"uid": str(record["id"]), "title": title, "types": [str(record["kind"])]},
        evidences=[evidence],
        resources=objects.resources(record),
    ) | {"is_alert": True}


def _lifecycle(_: Told) -> Told:
    return {"app": PRODUCT}


def _device(record: Told) -> Told:
    return {"name": str(record.get("gateway")), "type": "Security gateway", "type_id": 99}


def _state_change(record: Told) -> Told:
    note = part(record, "note")
    state = note.get("what") or note.get("result") or record["kind"]
    return filled(
        device=_device(record),
        state=str(state),
        actor=objects.actor(record) if part(record, "who") else None,
    ) | {"state_id": 99}


def _log_activity(record: Told) -> Told:
    return {"log_name": "journal", "log_type": "Application", "log_type_id": 2, "device": _device(record)}


BODIES = {
    API_ACTIVITY.uid: _api_activity,
    AUTHENTICATION.uid: _authentication,
    FINDING.uid: _finding,
    LIFECYCLE.uid: _lifecycle,
    STATE_CHANGE.uid: _state_change,
    LOG_ACTIVITY.uid: _log_activity,
}
"By class."
