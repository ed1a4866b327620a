"""Why a session of the collector ends: what tags say then, and when a message is a reason for it."""

from msgspec import Struct

from gateway.model.decision import Why
from gateway.wire.opcua.answer import ServiceAnswer
from gateway.wire.opcua.codes import status_slug
from gateway.wire.opcua.notifications import Published

LAST_SEQUENCE = 0xFFFF_FFFF
"Then it begins again with 1 (OPC 10000-4 §7.20)."
REASONS: dict[Why, str] = {
    Why.NO_ANSWER: "device_down",
    Why.NO_PATH: "device_down",
    Why.BUSY: "busy",
    Why.DENIED: "denied",
    Why.NOT_RECORDED: "not_recorded",
}
"What tags say when a question of ours ended like that."


class Ended(Struct, frozen=True):
    """It is over."""

    reason: str
    "What tags say."
    why: str
    "For people."


def wrong(answer: ServiceAnswer | Why, service: str, why: str = "") -> Ended | None:
    """Why an answer is of no use; `why` is known better where the session was lost meanwhile."""
    if isinstance(answer, Why):
        return Ended(REASONS.get(answer, answer.value), why or f"{service}: {answer.value}")
    if not answer.good:
        slug = status_slug(answer.status)
        return Ended(slug, f"{service}: the server says {slug}")
    return None


def doubt(said: Published, subscription: int, last: int) -> Ended | None:
    """Why a message makes us begin anew. `last` is the number of the last one that was no keep-alive."""
    if said.ended is not None:
        return Ended(status_slug(said.ended), "the server ended the subscription")
    if said.subscription != subscription:
        return Ended("wrong_answer", f"news of subscription {said.subscription}, which is not ours")
    due = 1 if last == LAST_SEQUENCE else last + 1
    if said.sequence == due or (said.keep_alive and said.sequence <= due):
        return None
    return Ended("gap", f"message {said.sequence} where {due} was due")
