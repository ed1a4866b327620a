"""One record explained: who, by which rule, decided how, with whose approval, and what came of it.

Each line says one thing in words; what does not apply is left out. Every field is for `tell.details`.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from gateway.audit.commitment import DROPPED, is_dropped
from gateway.audit.deeds import Told
from gateway.audit.outcome import words
from gateway.audit.tell import plain

ORIGINS = {
    "evaluated": "asked about this very operation",
    "cached": "known from an equal question under the same bundle",
    "fallback": "by the embedded engine, because OPA was away",
    "unasked": "without asking policy",
}
DECISIONS = {"allow": "allowed", "deny": "denied", "would_deny": "let through, although policy denies it"}
FOUND = {"True": "it is there", "False": "it is NOT there"}
MOST_REASONS = 20
"Reasons of one decision that are told."


def explanation(records: Sequence[Told]) -> list[str]:
    """A record and its completions, as `name: what`."""
    lead = next((r for r in records if r["kind"] in ("intent", "denial")), records[0])
    parts = [*_who(lead.get("who") or {}), *_values(lead.get("what") or {}), *_why(lead)]
    for record in records:
        if record["kind"] == "outcome":
            parts += _outcome(record.get("result") or {})
    if lead.get("clock") == "untrusted":
        parts.append(("clock", "the wall clock was not trusted: the time may be wrong, the order is not"))
    return [plain(f"  {name}: {text}") for name, text in parts if text]


def _who(by: Told) -> Iterator[tuple[str, str]]:
    if by.get("subject"):
        kind = f" ({by['kind']})" if by.get("kind") else ""
        yield "who", f"{by['subject']}{kind}"
    if by.get("on_behalf_of"):
        yield "on behalf of", str(by["on_behalf_of"])
    if by.get("fingerprint"):
        serial = f", serial {by['serial']}" if by.get("serial") else ""
        issuer = f", issued by {by['issuer']}" if by.get("issuer") else ""
        yield "certificate", f"SHA-256 {by['fingerprint']}{serial}{issuer}"
    ways = [f"by {by['auth']}" if by.get("auth") else "", f"TLS {by['tls']}" if by.get("tls") else ""]
    ways.append(f"zone {by['zone']}" if by.get("zone") else "")
    yield "authenticated", ", ".join(filter(None, ways))
    at = f" at {by['listener']}" if by.get("listener") else ""
    yield "from", f"{by['source']}{at}" if by.get("source") else ""


def _values(what: Told) -> Iterator[tuple[str, str]]:
    for operation in (what, *(what.get("also") or ())):
        for point in operation.get("points") or ():
            if is_dropped(point, "q"):
                yield str(point.get("tag")), DROPPED
            elif point.get("q") is not None:
                yield str(point.get("tag")), _value(point)
        modbus = operation.get("modbus") or {}
        if modbus.get("table"):
            yield (
                "raw",
                f"unit {modbus.get('unit')}, function {modbus.get('fc')}, {modbus['table']} " + _raw(modbus),
            )


def _value(point: Told) -> str:
    unit = f" {point['unit']}" if point.get("unit") else ""
    age = f", read {point['age_ms']} ms earlier" if point.get("age_ms") is not None else ""
    before = "not known" if point.get("q_prev") is None else f"{point['q_prev']} quanta"
    if point.get("value") is None:
        return f"{point['q']} quanta; before: {before}{age}"
    if point.get("value_prev") is not None:
        before = f"{point['value_prev']:g}{unit} ({before})"
    return f"{point['value']:g}{unit} ({point['q']} quanta); before: {before}{age}"


def _raw(modbus: Told) -> str:
    values = f" = {modbus['values']}" if modbus.get("values") is not None else ""
    values = f" = {DROPPED}" if is_dropped(modbus, "values") else values
    return f"from {modbus.get('start')}, {modbus.get('count')} of them{values}"


def _why(lead: Told) -> Iterator[tuple[str, str]]:
    why = lead.get("why") or {}
    decision = why.get("decision")
    if decision is None:
        return
    stage = f" (stage {why['stage']})" if why.get("stage") else ""
    yield (
        "decision",
        f"{DECISIONS.get(decision, decision)}{stage}, {ORIGINS.get(why.get('origin') or '', 'counted')}",
    )
    reasons: Any = why.get("reasons") or ()
    for reason in reasons[:MOST_REASONS]:
        yield (
            f"because {reason.get('code')}",
            f"{reason.get('msg') or 'no more is said'} ({reason.get('kind')})",
        )
    yield "grants", ", ".join(why.get("grants") or ())
    yield "bundle", str(why.get("revision") or "")
    yield "question", str(why.get("evaluation") or "")
    yield "obligations", ", ".join(str(each.get("type")) for each in why.get("obligations") or ())
    approval = why.get("approval")
    if isinstance(approval, dict):
        wanted = (lead.get("who") or {}).get("subject")
        by = " and ".join(approval.get("by") or ())
        yield "approval", f"wanted by {wanted}, approved by {by} (request {approval.get('id')})"


def _outcome(result: Told) -> Iterator[tuple[str, str]]:
    took = f" after {result['latency_ms']:g} ms" if isinstance(result.get("latency_ms"), int | float) else ""
    if "readback" in result:
        again = result["readback"] or {}
        found = FOUND.get(str(again.get("matches")), "it could not be read")
        yield "read back", f"{found}{took}"
    else:
        yield "outcome", f"{words(result)}{took}"
