"""The page docs/protocols/opcua.md, written from the tables; a test holds that it is fresh.

To write it anew, put what this prints there:
`python -c 'from gateway.wire.opcua.reference import document; print(document(), end="")'`
"""

from collections.abc import Iterable, Iterator

from gateway.model.decision import Why
from gateway.wire.opcua.binary import (
    LONG,
    MOST_DEPTH,
    MOST_DIAGNOSTICS,
    MOST_DIMENSIONS,
    MOST_ELEMENTS,
    MOST_NAME,
    MOST_STEPS,
    MOST_TEXT,
    MOST_VALUES,
)
from gateway.wire.opcua.codes import status_name
from gateway.wire.opcua.owning import CHECKS, NAME_SUBSCRIPTIONS
from gateway.wire.opcua.refusal import CODES
from gateway.wire.opcua.services import FAULT, SERVICES, Service, Treatment
from gateway.wire.opcua.structures import DETAILS, FILTERS, MOST_REFERENCES, OPERANDS
from gateway.wire.opcua.unreadable import UNREADABLE

_HEAD = """\
# OPC UA services at the gateway

Written from the tables in `gateway/wire/opcua`; edit those, not this page (`reference.py` says how).
Services, ids and structures are those of OPC 10000-4 and OPC 10000-6.

The gateway ends the secure channel on both sides and reads every request to its last byte: a byte that no
field owns refuses it, and the connection ends. A request becomes one operation for each node, method or
monitored item, and policy is asked about each. What goes to a server is the client's own bytes, but for the
session's authentication token; where items were denied, their bytes are cut out and the count is changed, and
`BadUserAccessDenied` stands in their places in the answer. Nothing is encoded anew.
"""

_KINDS = {
    Treatment.FORWARDED: """\
## Services that are forwarded

By grant alone. “Parts” are what can be denied one by one; a request without parts goes whole or not at all.
""",
    Treatment.ANSWERED: """\
## Services that are decided, and answered here
""",
    Treatment.LOCAL: """\
## Services about endpoints, channels and sessions

The gateway's own. The session to the server is opened and closed with the client's.
""",
    Treatment.REFUSED: """\
## Services that are named and refused

Their parameters are not read, so no policy can allow them: they are answered `BadServiceUnsupported`, and so
is every service without a row.
""",
}

_OWN = """\
## What belongs to a session

All sessions reach a server as one application, so who may name an id is decided by the gateway:
subscriptions, monitored items and continuation points are those of the session that made them. Whatever is
somebody else's is answered like what does not exist.

Checked in: {services}; and in calls of the methods of namespace 0 whose first argument is a subscription
({methods}).
"""

_BOUNDS = (
    ("elements of an array of structures", f"{MOST_ELEMENTS}, and no more than the bytes that are left"),
    ("references in a browse result", f"{MOST_REFERENCES}"),
    ("elements of an array in a Variant", f"{MOST_VALUES}, and no more than the bytes that are left"),
    (f"elements of all arrays of a message of more than {LONG} bytes", f"{MOST_STEPS}"),
    ("dimensions of such an array", f"{MOST_DIMENSIONS}; their product no more than its elements"),
    ("bytes of a String, ByteString or XmlElement", f"{MOST_TEXT}"),
    ("bytes of names, identifiers, index ranges, locales", f"{MOST_NAME}"),
    ("depth of Variants, DataValues in each other", f"{MOST_DEPTH}"),
    ("depth of DiagnosticInfos in each other", f"{MOST_DIAGNOSTICS}"),
    ("TypeId of a message", "the four-byte form, namespace 0"),
    ("AdditionalHeader of a request", "null"),
    ("body of an ExtensionObject", "its length must be told"),
)


def document() -> str:
    """The whole page."""
    return "\n".join([_HEAD, *_services(), *_unreadable(), *_own(), *_strict(), *_refusals()])


def _services() -> Iterator[str]:
    for treatment, text in _KINDS.items():
        yield text
        rows = [row for row in SERVICES.values() if row.treatment is treatment]
        if treatment is Treatment.REFUSED:
            yield from _table(("request / answer", "service"), [(_ids(row), row.name) for row in rows])
        elif treatment is Treatment.LOCAL:
            yield from _table(
                ("request / answer", "service", "parameters", "remarks"),
                [(_ids(row), row.name, row.layout or "–", row.note or "–") for row in rows],
            )
        else:
            head = ("request / answer", "kind of operation", "action", "parameters", "parts", "remarks")
            yield from _table(head, map(_row, rows))
    yield f"ServiceFault is {FAULT}.\n"


def _ids(row: Service) -> str:
    return f"{row.request} / {row.answer}"


def _row(row: Service) -> tuple[str, ...]:
    parts = row.items.named if row.items is not None and row.items.parted else "–"
    return _ids(row), f"`{row.kind}`", row.action or "–", row.layout, parts, row.note or "–"


def _unreadable() -> Iterator[str]:
    yield "## What is denied without asking\n"
    yield (
        "Some requests are legal, and still cannot be judged. The reason of the denial is `wire.<name>`.\n"
    )
    yield from _table(("name", "why"), [(f"`{name}`", why) for name, why in UNREADABLE.items()])


def _own() -> Iterator[str]:
    yield _OWN.format(
        services=", ".join(name for name in CHECKS if name != "Call"),
        methods=", ".join(f"`i={number}`" for number in sorted(NAME_SUBSCRIPTIONS)),
    )


def _strict() -> Iterator[str]:
    yield "## Bounds\n"
    yield from _table(("what", "at most"), _BOUNDS)
    inside = sorted({*FILTERS, *DETAILS, *OPERANDS})
    yield (
        "Bodies of ExtensionObjects are opaque, but for filters, operands and details of history reads\n"
        f"({', '.join(f'`i={number}`' for number in inside)}), which are read to their last byte as well.\n"
    )


def _refusals() -> Iterator[str]:
    yield "## What a caller is told\n"
    yield from _table(
        ("why", "status", "name"),
        ((f"`{why}`", f"0x{CODES[why]:08X}", status_name(CODES[why])) for why in Why),
    )


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield "| " + " | ".join(row) + " |"
    yield ""
