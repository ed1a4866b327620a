"""What an approval is for: one operation by one identity, as a document that people and programs read alike.

The document is the part of `dmz.input/1` that says *who wants what*, under the names that it has there; what
changes from one try to the next (ids, time, last values polled) is not in it. Its SHA-256 is what a person
signs. So whoever has the record of a write can make the same digest from its `why.input`, and a client shows
its person words made from the very document that the digest was made from, not words that a gateway sent.
"""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import msgspec

from gateway.model.identity import Caller
from gateway.model.operation import Operation
from gateway.policy.question import caller_part, operation_part

MOST_BYTES = 8_192
"The longest document; 1968 coils take 4 kB. What is longer nobody can look through, and is not approved."
MOST_WORDS = 500
"Characters of the sentence that people see; the digest covers what is left out."

Document = dict[str, Any]

FIELDS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("subject", ("id", "zone", "on_behalf_of")),
    ("conn", ("zone", "listener")),
    ("op", ("protocol", "action", "kind")),
    ("target", ("asset",)),
)
"Parts of `dmz.input/1` of which only these members count."
WHOLE = ("modbus", "opcua", "northbound", "admin")
"Parts that count whole."

_encode = msgspec.json.Encoder(order="sorted").encode


def document(caller: Caller, operation: Operation) -> Document:
    """What this caller wants. Raises ValueError for a number that engines could read differently."""
    return project({**caller_part(caller), **operation_part(operation)})


def project(question: Mapping[str, Any]) -> Document:
    """The document of a question (`dmz.input/1`), such as a record keeps as `why.input`."""
    some = {part: {name: question[part][name] for name in names} for part, names in FIELDS}
    points = [{"tag": point["tag"], "q": point["q"]} for point in question["points"]]
    return {**some, **{part: question[part] for part in WHOLE}, "points": points}


def canonical(value: object) -> bytes:
    """JSON with sorted names and no spaces. There are no fractions in it, so this is RFC 8785's form."""
    return _encode(value)


def digest(wanted: Document) -> str:
    """SHA-256 of the canonical document, lower-case hex."""
    return sha256(canonical(wanted)).hexdigest()


def words(wanted: Document) -> str:
    """The document as a sentence."""
    op, asset = wanted["op"], wanted["target"]["asset"]
    what = f"{op['action']} {asset}" if asset else str(op["kind"])
    parts = [told for told in map(_part, WHOLE, (wanted[part] for part in WHOLE)) if told]
    points = [f"{each['tag']} = {each['q']} quanta" for each in wanted["points"] if each["q"] is not None]
    told = f"{what} ({op['kind']}) {'; '.join([*parts, *points])}".rstrip()
    who, behind = wanted["subject"]["id"], wanted["subject"]["on_behalf_of"]
    by = who if behind is None else f"{who} on behalf of {behind}"
    said = f"{told}, by {by} through {wanted['conn']['listener']}"
    printable = "".join(c if c.isprintable() else "?" for c in said)
    return printable if len(printable) <= MOST_WORDS else printable[: MOST_WORDS - 1] + "…"


def _part(name: str, fields: Mapping[str, Any] | None) -> str:
    if fields is None:
        return ""
    if name == "modbus" and fields["table"] is not None:
        values = "" if fields["values"] is None else f" = {_values(fields['values'])}"
        return f"unit {fields['unit']} {fields['table']} {fields['start']}{values}{_masks(fields)}"
    return ", ".join(f"{key} {value}" for key, value in fields.items() if value not in (None, "", []))


def _values(values: list[int]) -> str:
    return str(values[0]) if len(values) == 1 else f"[{', '.join(map(str, values))}]"


def _masks(fields: Mapping[str, Any]) -> str:
    if fields["and_mask"] is None:
        return ""
    return f" and-mask {fields['and_mask']:#06x} or-mask {fields['or_mask']:#06x}"
