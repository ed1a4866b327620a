"""What a record says: who, what and why, built from the words of the model. Field by field in
docs/reference/record.md.

A record is encoded once; the stored bytes are the leaf. Values over 4 KiB are kept as hash and length, and
so is the policy question where the whole would not fit a log entry. What is sensitive is sealed last: neither
it nor a hash of it that could be guessed is in the bytes that become the leaf.
"""

from collections.abc import Callable
from hashlib import sha256
from typing import Any

import msgspec

from gateway.audit.commitment import Sealer
from gateway.model.decision import Allowed, Decision, Denied, Origin, Passed, Waived
from gateway.model.identity import Caller
from gateway.model.moment import Now
from gateway.model.operation import MUTATING, Operation, Point
from gateway.model.record import MOST_BYTES, Record, RecordKind
from gateway.model.ulid import Ulids

LONG_VALUE = 4096
"Bytes of JSON above which a value is kept as its hash and length."

Describe = Callable[[Caller, Operation, Now, str], bytes]
"The `dmz.input/1` question about an operation as JSON; the text is its `op.id`."
Units = Callable[[str], tuple[float, str] | None]
"Resolution and unit of a tag; None where it is not known."

UNENCODABLE = (ValueError, TypeError, OverflowError, msgspec.MsgspecError)
"What encoding raises for values that JSON has no form for, such as lone surrogates."

_encode = msgspec.json.Encoder(enc_hook=str).encode


def who(caller: Caller) -> dict[str, Any]:
    """The identity and where it came from."""
    identity = caller.identity
    return {
        "subject": identity.subject,
        "kind": identity.kind,
        "auth": identity.auth,
        "zone": identity.zone,
        "roles": identity.roles,
        "role_state": identity.role_state,
        "fingerprint": identity.fingerprint,
        "serial": identity.serial,
        "issuer": identity.issuer,
        "on_behalf_of": identity.on_behalf_of,
        "source": caller.source,
        "listener": caller.listener,
        "listener_zone": caller.zone,
        "tls": caller.tls,
    }


def what(operation: Operation, units: Units) -> dict[str, Any]:
    """The operation, with engineering values beside the quanta where the tag's resolution is known."""
    return {
        "protocol": operation.protocol,
        "action": operation.action,
        "kind": operation.kind,
        "asset": operation.asset,
        "asset_kind": operation.asset_kind,
        "modbus": _short(operation.modbus),
        "opcua": _short(operation.opcua),
        "north": operation.north,
        "admin": operation.admin,
        "points": [point(each, units) for each in operation.points],
        "unreadable": operation.unreadable,
    }


def point(each: Point, units: Units) -> dict[str, Any]:
    """One tag: quanta as policy saw them, and what they mean to a person."""
    told: dict[str, Any] = {"tag": each.tag, "q": each.q, "q_prev": each.q_prev, "age_ms": each.age_ms}
    known = units(each.tag)
    if known is not None:
        resolution, unit = known
        told["value"] = _scaled(each.q, resolution)
        told["value_prev"] = _scaled(each.q_prev, resolution)
        told["unit"] = unit
    return told


def _scaled(q: int | None, resolution: float) -> float | None:
    """12 significant digits: what a multiplication by a decimal fraction leaves trustworthy."""
    return None if q is None else float(f"{q * resolution:.12g}")


def why(decision: Decision | Waived, question: bytes) -> dict[str, Any]:
    """The decision, and the question it answers exactly as the engine was given it."""
    said = decision.denied if isinstance(decision, Waived) else decision
    told: dict[str, Any] = {
        "decision": word(decision),
        "reasons": said.reasons,
        "grants": said.grants,
        "revision": said.revision,
        "origin": said.origin,
        "evaluation": said.evaluation,
        "obligations": [{"type": o.type, **dict(o.params)} for o in said.obligations]
        if isinstance(said, Allowed)
        else [],
        "input": msgspec.Raw(question) if question else None,
    }
    if isinstance(decision, Waived):
        told["stage"] = decision.stage
    if isinstance(decision, Allowed) and decision.approval is not None:
        told["approval"] = decision.approval
    return told


def word(decision: Decision | Waived) -> str:
    """`allow`, `deny`, or `would_deny` where a stage let pass what policy denies."""
    match decision:
        case Allowed():
            return "allow"
        case Waived():
            return "would_deny"
        case Denied():
            return "deny"


def _short(value: Any) -> Any:
    """The value, or its hash and length where it is long."""
    if value is None:
        return None
    try:
        encoded = _encode(value)
    except UNENCODABLE:
        return ascii(value)[:LONG_VALUE]
    if len(encoded) <= LONG_VALUE:
        return msgspec.Raw(encoded)
    if isinstance(value, msgspec.Struct):
        return {field: _short(getattr(value, field)) for field in value.__struct_fields__}
    return {"sha256": sha256(encoded).hexdigest(), "length": len(encoded)}


def short(values: dict[str, Any]) -> dict[str, Any]:
    """Each value of a note or a result, long ones as hash and length."""
    return {name: _short(value) for name, value in values.items()}


class Writer:
    """Makes records of one gateway."""

    def __init__(
        self,
        gateway: str,
        ulids: Ulids,
        describe: Describe,
        units: Units,
        sealer: Sealer | None = None,
    ) -> None:
        self._gateway = gateway
        self._ulids = ulids
        self._describe = describe
        self._units = units
        self.sealer = sealer or None
        "Null where nothing is sensitive: then records are what they would be without it, byte for byte."

    def id(self, now: Now) -> str:
        """A ULID for that moment."""
        return self._ulids.next(now.wall_ns)

    def record(self, kind: RecordKind, now: Now, *, ulid: str = "", **fields: Any) -> tuple[str, bytes]:
        """Id and bytes of a record; empty bytes where it cannot be encoded, or made to fit."""
        ulid = ulid or self._ulids.next(now.wall_ns)
        record = Record(
            id=ulid,
            kind=kind,
            wall_ns=now.wall_ns,
            mono_ns=now.mono_ns,
            clock="trusted" if now.trusted else "untrusted",
            gateway=self._gateway,
            **fields,
        )
        try:
            data = _encode(record)
            if self.sealer is not None:
                return ulid, _sealed(record, data, self.sealer)
            return ulid, data if len(data) <= MOST_BYTES else _squeezed(record)
        except UNENCODABLE:
            return ulid, b""

    def intent(
        self, caller: Caller, operations: tuple[Operation, ...], decisions: tuple[Passed, ...], now: Now
    ) -> tuple[str, bytes]:
        """What is about to be done. The operation that changes something leads; the frame's others follow."""
        ulid = self.id(now)
        order = sorted(range(len(operations)), key=lambda i: operations[i].action not in MUTATING)
        whats = [what(operations[i], self._units) for i in order]
        whys = [
            why(decisions[i], self.question(caller, operations[i], decisions[i], now, ulid)) for i in order
        ]
        if any(each["input"] is None for each in whys):
            return ulid, b""
        whats[0]["also"], whys[0]["also"] = whats[1:], whys[1:]
        return self.record(
            RecordKind.INTENT,
            now,
            ulid=ulid,
            who=who(caller),
            what=whats[0],
            why=whys[0],
            connection=caller.connection,
        )

    def denial(
        self, caller: Caller, operation: Operation, decision: Denied | Waived, now: Now
    ) -> tuple[str, bytes]:
        """A refusal, or what would be one, in full."""
        ulid = self.id(now)
        return self.record(
            RecordKind.DENIAL,
            now,
            ulid=ulid,
            who=who(caller),
            what=what(operation, self._units),
            why=why(decision, self.question(caller, operation, decision, now, ulid)),
            connection=caller.connection,
        )

    def question(
        self, caller: Caller, operation: Operation, decision: Decision | Waived, now: Now, ulid: str
    ) -> bytes:
        """The question evaluated; where this very one was not (cached, or not asked), the one it would be.

        Empty where it cannot be described: then only a denial can be recorded.
        """
        said = decision.denied if isinstance(decision, Waived) else decision
        if said.question and said.origin in (Origin.EVALUATED, Origin.FALLBACK):
            return said.question
        try:
            return self._describe(caller, operation, now, ulid)
        except UNENCODABLE:
            return b""


def _sealed(record: Record, data: bytes, sealer: Sealer) -> bytes:
    """The record with commitments; they may be what makes it too long."""
    sealed = sealer.seal(data, record.wall_ns) if len(data) <= MOST_BYTES else b""
    if sealed and len(sealed) <= MOST_BYTES:
        return sealed
    squeezed = _squeezed(record)
    sealed = sealer.seal(squeezed, record.wall_ns) if squeezed else b""
    return sealed if len(sealed) <= MOST_BYTES else b""


def _squeezed(record: Record) -> bytes:
    """A record that was too long, with its long parts as hash and length; empty if that is not enough."""
    changes: dict[str, Any] = {}
    if record.why is not None:
        changes["why"] = _digested(record.why)
    for name in ("what", "result", "note"):
        part = getattr(record, name)
        if part is not None:
            changes[name] = short(part)
    data = _encode(msgspec.structs.replace(record, **changes))
    return data if len(data) <= MOST_BYTES else b""


def _digested(part: dict[str, Any]) -> dict[str, Any]:
    """A `why` whose questions are kept as hash and length."""
    told = dict(part)
    if told.get("input") is not None:
        question = bytes(told["input"])
        told["input"] = {"sha256": sha256(question).hexdigest(), "length": len(question)}
    if told.get("also"):
        told["also"] = [_digested(each) for each in told["also"]]
    return told
