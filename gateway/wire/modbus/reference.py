"""The page docs/protocols/modbus.md, written from the tables; a test holds that it is fresh.

To write it anew, put what this prints there:
`python -c 'from gateway.wire.modbus.reference import document; print(document(), end="")'`
"""

from collections.abc import Iterable, Iterator

from gateway.model.decision import Why
from gateway.wire.modbus.behaviour import ORDINARY as THRESHOLDS
from gateway.wire.modbus.checks import EXCEPTIONS
from gateway.wire.modbus.diagnostics import SUBFUNCTIONS
from gateway.wire.modbus.findings import FINDINGS, Group
from gateway.wire.modbus.framing import MOST_ADU, MOST_LENGTH
from gateway.wire.modbus.functions import FUNCTIONS, MEI_TYPES, NAMED, RANGES, Forwarded, Function
from gateway.wire.modbus.meaning import Unreadable
from gateway.wire.modbus.refusal import CODES

_HEAD = f"""\
# Modbus/TCP at the gateway

Written from the tables in `gateway/wire/modbus`; edit those, not this page (`reference.py` says how).
Numbers of bytes stand behind the fields. Addresses are 0-based, as on the wire.

An ADU is cut by its MBAP length alone: protocol id 0, length 2..{MOST_LENGTH}, at most {MOST_ADU} bytes.
What goes to a device is encoded again from what was understood, never copied: a request with one byte left
over is refused, and so is an answer.

AP is the MODBUS Application Protocol Specification V1.1b3, MG the MODBUS Messaging on TCP/IP Implementation
Guide V1.0b.
"""

_ORDER = """\
The order in which a request is judged: framing (the connection ends) → role (01) → unit (01) → function (01)
→ quantity and value (03) → address (02) → policy (01). 06, 0A and 0B go only to callers who were allowed.
"""

_UNREADABLE = """\
Some legal writes cannot be judged by policy, and are denied without asking:
"""


def document() -> str:
    """The whole page."""
    return "\n".join([_HEAD, *_functions(), *_refused(), *_refusals(), *_findings()])


def _functions() -> Iterator[str]:
    yield "## Functions that are understood\n"
    head = ("FC", "kind of operation", "table", "request", "answer", "limits", "forwarded")
    yield from _table(head, [_row(f"{row.code}", row) for row in FUNCTIONS.values()])
    yield (
        "Everywhere: address + quantity at most 65536. FC 23 is two operations: a write, then a read; FC 20\n"
        "and 21 are one for each group. FC 24 is a read of its pointer. Nothing is forwarded but by grant.\n"
    )
    yield "FC 43 by MEI type; all other types are reserved and refused.\n"
    yield from _table(head, [_row(f"43/{row.code}", row) for row in MEI_TYPES.values()])
    yield "FC 8 by sub-function; all others are reserved and refused.\n"
    yield from _table(
        ("FC", "kind of operation", "forwarded"),
        (
            (
                f"8/{row.sub}",
                f"`modbus.diagnostics.{row.name}`",
                Forwarded.BY_GRANT if row.forwarded else Forwarded.NEVER,
            )
            for row in SUBFUNCTIONS.values()
        ),
    )
    yield _UNREADABLE + ", ".join(f"`{why}`" for why in Unreadable) + ".\n"


def _row(code: str, row: Function) -> tuple[str, ...]:
    body = row.body
    return (
        code,
        f"`modbus.{row.name}`",
        body.table or "–",
        body.request_layout,
        body.answer_layout,
        body.limits,
        row.forwarded,
    )


def _refused() -> Iterator[str]:
    yield "## Functions that are named and refused\n"
    yield "Their bodies are not read, so no policy can allow them: they are never forwarded.\n"
    named = [(f"{code}", f"`{called}`", kind) for code, (called, kind) in sorted(NAMED.items())]
    spans = sorted((codes[0], codes[-1], kind) for codes, kind in RANGES)
    unnamed = [
        (f"{first}" if first == last else f"{first}..{last}", f"`{kind}_<FC>`", kind)
        for first, last, kind in spans
    ]
    others = [("all others", "`unassigned_<FC>`", "unassigned")]
    yield from _table(("FC", "name", "whose"), [*named, *unnamed, *others])


def _refusals() -> Iterator[str]:
    yield "## What a caller is told\n"
    yield _ORDER
    yield from _table(
        ("why", "exception", "meaning on the wire"),
        ((f"`{why}`", f"{CODES[why]:02X}", EXCEPTIONS[CODES[why]]) for why in Why),
    )


def _findings() -> Iterator[str]:
    yield "## Findings\n"
    yield (
        "What a peer did against the protocol, or what its traffic adds up to. Records name it so; a\n"
        "denial's reason is `wire.<finding>`.\n"
    )
    for group in Group:
        yield f"### {group.capitalize()}\n"
        yield from _table(
            ("finding", "severity", "means"),
            (
                (f"`{name}`", about.severity, about.means)
                for name, about in FINDINGS.items()
                if about.group is group
            ),
        )
    yield "Thresholds of behaviour where nobody says otherwise:\n"
    yield from _table(
        ("threshold", "is"),
        ((f"`{name}`", f"{getattr(THRESHOLDS, name)}") for name in THRESHOLDS.__struct_fields__),
    )


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield "| " + " | ".join(row) + " |"
    yield ""
