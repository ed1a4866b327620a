"""A request for approval, as it is kept, told to the journal and shown to people."""

from base64 import b64decode
from enum import StrEnum
from typing import Any

from msgspec import Struct

from gateway.admin.statement import decode, rfc3339
from gateway.model.moment import SECOND

KIND = "request"
"Of entries in the store."


class State(StrEnum):
    """How far a request is."""

    OPEN = "open"
    "It waits for people, or for its use."
    REFUSED = "refused"
    USED = "used"
    EXPIRED = "expired"


class Vote(Struct, frozen=True, kw_only=True):
    """What one person said, as it was signed."""

    statement: str
    signature: str
    "Base64."
    certificate: str
    "DER, base64."

    def parts(self) -> tuple[bytes, bytes, bytes]:
        """Text, signature and certificate as `check` takes them; ValueError where it is not base64."""
        return (
            self.statement.encode(),
            b64decode(self.signature, validate=True),
            b64decode(self.certificate, validate=True),
        )


class Request(Struct, frozen=True, kw_only=True):
    """One operation of one identity that people are asked about."""

    id: str
    digest: str
    document: str
    "Canonical JSON (`wanted.document`)."
    words: str
    requester: str
    ski: str | None
    "Subject key identifier of the requester's certificate."
    on_behalf_of: str | None = None
    "Whom the requester acts for: they asked, too."
    kind: str
    asset: str | None
    by: tuple[str, ...]
    "Roles that policy wants to agree; policy itself judges who has one."
    within_s: int
    made_ns: int
    until_ns: int
    "Wall clock; then it is over."
    state: State = State.OPEN
    votes: tuple[Vote, ...] = ()


def told(request: Request) -> dict[str, Any]:
    """For records."""
    return {
        "request": request.id,
        "operation": request.digest,
        "what": request.words,
        "requester": request.requester,
        "on_behalf_of": request.on_behalf_of,
    }


def signed(votes: tuple[Vote, ...]) -> dict[str, str]:
    """Each statement with what proves it. One name each: a record keeps values over 4 KiB as hashes only."""
    return {
        f"{part}_{number}": getattr(vote, part)
        for number, vote in enumerate(votes, 1)
        for part in ("statement", "signature", "certificate")
    }


def shown(request: Request) -> dict[str, Any]:
    """For people: everything that a statement about it must say."""
    votes = [decode(vote.statement.encode()) for vote in request.votes]
    granted = request.state is State.OPEN and bool(votes)
    return {
        **told(request),
        "state": "granted" if granted else "pending" if request.state is State.OPEN else request.state.value,
        "document": request.document,
        "by_role": list(request.by),
        "within_s": request.within_s,
        "made": rfc3339(request.made_ns // SECOND),
        "until": rfc3339(request.until_ns // SECOND),
        "answers": [
            {"by": v.approver, "decision": v.decision, "issued": v.issued, "expires": v.expires}
            for v in votes
        ],
    }
