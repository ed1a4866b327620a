"""An event as bytes: no more of them than a receiver takes.

An event that is too long loses its details in the order of LESS, and says so (`metadata.is_truncated` and
`untruncated_size`); what remains is still whole JSON of the same class, with the same id.
"""

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct

from gateway.export.classes import LOG_ACTIVITY, OTHER, Shape, numbers
from gateway.export.ocsf import Event

MOST_MESSAGE = 200
"Characters of the sentence of an event that had to be cut."

_encode = msgspec.json.Encoder(enc_hook=str).encode


def _without(*path: str) -> Callable[[dict[str, Any]], None]:
    def leave_out(body: dict[str, Any]) -> None:
        inner: Any = body
        for name in path[:-1]:
            inner = inner.get(name)
            if not isinstance(inner, dict):
                return
        inner.pop(path[-1], None)

    return leave_out


def _short_message(body: dict[str, Any]) -> None:
    message = str(body.get("message", ""))
    if len(message) > MOST_MESSAGE:
        body["message"] = message[: MOST_MESSAGE - 1] + "…"


LESS: tuple[Callable[[dict[str, Any]], None], ...] = (
    _without("unmapped", "ot", "reads"),
    _without("unmapped", "dmz", "note"),
    _without("unmapped", "ot", "also"),
    _without("unmapped", "dmz", "result"),
    _without("unmapped", "dmz", "obligations"),
    _without("unmapped", "ot", "raw"),
    _without("resources"),
    _without("unmapped", "ot", "points"),
    _short_message,
    _without("authorizations"),
    _without("status_detail"),
    _without("unmapped", "ot"),
    _without("unmapped", "dmz", "admin"),
    _without("actor", "user", "groups"),
)
"What an event that is too long loses, in this order, until it fits."
LEFT = ("version", "product", "uid", "sequence", "event_code", "correlation_uid")
"Of the metadata of an event that does not fit even then: it becomes one of the log, about a record too long."


class Fitted(Struct, frozen=True):
    """An event as bytes."""

    data: bytes
    size: int
    "Bytes of the whole event; more than `data` has where it was cut."


def fit(event: Event, most_bytes: int | None = None) -> Fitted:
    """The event as JSON of at most so many bytes."""
    data = _encode(event.body)
    size = len(data)
    if most_bytes is None or size <= most_bytes:
        return Fitted(data, size)
    body = msgspec.json.decode(data)
    body["metadata"] |= {"is_truncated": True, "untruncated_size": size}
    for less in LESS:
        less(body)
        data = _encode(body)
        if len(data) <= most_bytes:
            return Fitted(data, size)
    return Fitted(_encode(_bare(event, size)), size)


def _bare(event: Event, size: int) -> dict[str, Any]:
    """That there is a record, which, and when."""
    metadata = {name: event.body["metadata"][name] for name in LEFT if name in event.body["metadata"]}
    return {
        **numbers(Shape(of=LOG_ACTIVITY, activity=OTHER, activity_name="Too long", severity=event.severity)),
        "time": event.body["time"],
        "metadata": metadata | {"is_truncated": True, "untruncated_size": size},
        "log_name": "journal",
        "unmapped": {
            "dmz": {"record": metadata.get("correlation_uid"), "index": event.index, "leaf": event.leaf}
        },
    }
