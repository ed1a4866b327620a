"""What a reviewer may ask: closed forms, filled from path and query, understood before policy is asked.

The same structs travel to the process that finds the answers (`desk`). Moments are RFC 3339 with a zone:
`2026-11-23T08:00:00Z`.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

import msgspec
from msgspec import Meta, Struct

from gateway.model.operation import Action
from gateway.model.record import RecordKind

MOST_FOUND = 500
"Largest `limit` of a page."

Text = Annotated[str, Meta(min_length=1, max_length=512)]
Moment = Annotated[datetime, Meta(tz=True)]
Record = Annotated[str, Meta(pattern=r"^([0-9]{1,15}|[0-9A-HJKMNP-TV-Z]{26})\Z")]
"Index, or ULID."
Number = Annotated[int, Meta(ge=0, le=10**15)]
Limit = Annotated[int, Meta(ge=1, le=MOST_FOUND)]
Ended = Literal["ok", "timeout", "unknown", "exception", "not_sent"]
"`audit.outcome.OUTCOMES`."

Section = Literal[
    "writes",
    "let_through",
    "glass",
    "approvals",
    "denials",
    "refused",
    "unknown",
    "gaps",
    "policies",
    "expiry",
    "touched",
]
"`audit.report.SECTIONS`."


class Search(Struct, frozen=True, kw_only=True, tag=True):
    """Records that fit everything given, the newest first: `audit search`."""

    who: Text | None = None
    "Part of the subject or of whom it acts for; or the source address, fingerprint or serial number."
    asset: Text | None = None
    tag: Text | None = None
    action: Action | None = None
    decision: Literal["allow", "deny", "would_deny"] | None = None
    reason: Text | None = None
    "Code of a reason, or its beginning up to a dot."
    kind: RecordKind | None = None
    operation: Text | None = None
    "Kind of the operation, or its beginning up to a dot."
    grant: Text | None = None
    revision: Text | None = None
    "Beginning of the bundle's digest."
    listener: Text | None = None
    event: Text | None = None
    outcome: Ended | None = None
    changed_from: float | None = None
    changed_to: float | None = None
    "Engineering units."
    text: Text | None = None
    "Words; all must be there. `lev*` is a beginning."
    since: Moment | None = None
    until: Moment | None = None
    "Exclusive."
    limit: Limit = 100
    cursor: Number | None = None
    "`next` of the page before."


class Follow(Struct, frozen=True, kw_only=True, tag=True):
    """What happened, in order, what repeats told once: `audit timeline`."""

    who: Text | None = None
    asset: Text | None = None
    since: Moment | None = None
    until: Moment | None = None


class Report(Struct, frozen=True, kw_only=True, tag=True):
    """A period as tables: `audit report`."""

    since: Moment
    until: Moment | None = None
    "Exclusive; without it to the end."
    who: Text | None = None
    asset: Text | None = None
    section: Section | None = None
    "Only this table."
    format: Literal["json", "html", "csv"] = "json"
    "`csv` is for one section."


class Show(Struct, frozen=True, kw_only=True, tag=True):
    """One record as a sentence, and what belongs to it."""

    record: Record


class Prove(Struct, frozen=True, kw_only=True, tag=True):
    """A proof that a record is in the log."""

    record: Record


class Newest(Struct, frozen=True, kw_only=True, tag=True):
    """The newest checkpoint."""


class Grown(Struct, frozen=True, kw_only=True, tag=True):
    """A proof that the log of `to` records begins with that of `from`."""

    old: Number = msgspec.field(name="from")
    new: Number | None = msgspec.field(name="to", default=None)
    "Without it the size of the newest checkpoint."


Wish = Search | Follow | Report | Show | Prove | Newest | Grown
"Everything that can be asked."


class NotUnderstoodError(ValueError):
    """The query string fits no form; the text says where."""


def understood(form: type[Wish], given: Mapping[str, str]) -> Wish:
    """The wish that path and query string say. Raises NotUnderstoodError."""
    known = {field.encode_name for field in msgspec.structs.fields(form)}
    for name in given:
        if name not in known:
            words = ", ".join(sorted(known)) or "nothing"
            raise NotUnderstoodError(f"there is no {name[:40]!r}; there is {words}")
    try:
        wish: Wish = msgspec.convert(dict(given), form, strict=False)
        said(wish)
    except msgspec.ValidationError as error:
        raise NotUnderstoodError(str(error)) from None
    except (OverflowError, UnicodeError):
        raise NotUnderstoodError("a time is out of range, or a text is no UTF-8") from None
    return wish


def said(wish: Wish) -> str:
    """Everything that was asked for, in one form for policy and the record; empty where nothing was."""
    fields: list[tuple[str, Any]] = [
        (field.encode_name, getattr(wish, field.name))
        for field in msgspec.structs.fields(wish)
        if getattr(wish, field.name) != field.default
    ]
    return urlencode(sorted((name, _text(value)) for name, value in fields))


def _text(value: object) -> str:
    return value.astimezone(UTC).isoformat() if isinstance(value, datetime) else str(value)
