"""Whether what a person said counts: when they say it, and again whenever it would count.

Everything comes from what was signed, nothing from the row that it stood in.
"""

from collections.abc import Callable, Iterator
from typing import Literal

from cryptography import x509

from gateway.admin.impossible import Impossible
from gateway.admin.request import Request, Vote
from gateway.admin.statement import Statement, StatementError, check, decode, rfc3339
from gateway.identity.certificate import Refused, fingerprint
from gateway.model.identity import Identity, Kind
from gateway.model.moment import SECOND, Now

MOST_WITHIN_S = 86_400
"The longest, whatever the obligation says: who approved yesterday has not looked at the plant of today."
SKEW_S = 300
"How far the clock of a person's machine may be from ours."
MOST_VOTES = 8
"People who answer one request."


class Votes:
    """What counts at one gateway."""

    def __init__(self, gateway: str, admit: Callable[[bytes, Now], Identity | Refused]) -> None:
        """`admit` is the trust of the zone that people come from; `gateway` the name in their statements."""
        self._gateway = gateway
        self._admit = admit

    def weigh(
        self, request: Request, vote: Vote, decision: Literal["grant", "refuse"], person: Identity, now: Now
    ) -> Statement:
        """What a person says about a request, if it proves that they say it; Impossible where it does not."""
        try:
            text, signature, certificate = vote.parts()
            statement = check(text, signature, certificate)
        except (StatementError, ValueError) as error:
            raise Impossible("bad_statement", 400, str(error)) from None
        if fingerprint(certificate) != person.fingerprint:
            raise _bad("it is signed by another certificate than the one that this connection showed")
        fits = {"decision": decision, "approver": person.subject, **self._expected(request)}
        for name, value in fits.items():
            if getattr(statement, name) != value:
                raise _bad(f"`{name}` is not {value!r}")
        now_s = now.wall_ns // SECOND
        if abs(statement.issued_s - now_s) > SKEW_S:
            raise _bad(f"`issued` is not within {SKEW_S} s of the gateway's clock ({rfc3339(now_s)})")
        if statement.expires_s - statement.issued_s > request.within_s:
            raise _bad(f"`expires` is more than {request.within_s} s after `issued`")
        if statement.expires_s <= now_s:
            raise _bad("it has expired")
        if decision == "grant":
            _require_another(request, person, certificate)
        return statement

    def grants(self, request: Request, digest: str, asking: Identity, now: Now) -> Iterator[str]:
        """Subjects of the people whose grants count at this moment, each person and each key once."""
        seen: set[str] = set()
        for vote in request.votes[:MOST_VOTES]:
            found = self._counts(request, digest, vote, asking, now)
            if found is not None and not seen & set(found):
                seen |= set(found)
                yield found[0]

    def _counts(
        self, request: Request, digest: str, vote: Vote, asking: Identity, now: Now
    ) -> tuple[str, str] | None:
        """Approver and key of a grant, if it is one for this very operation, by another person, in time.

        Everything comes from what was signed, nothing from the row that it stood in.
        """
        try:
            text, signature, certificate = vote.parts()
            said = check(text, signature, certificate)
        except (StatementError, ValueError):
            return None
        now_s = now.wall_ns // SECOND
        person = self._admit(certificate, now)
        key = _key_of(certificate)
        holds = (
            said.decision == "grant"
            and (said.gateway, said.request, said.operation) == (self._gateway, request.id, digest)
            and said.requester == asking.subject
            and said.issued_s - SKEW_S <= now_s < said.expires_s
            and said.expires_s - said.issued_s <= MOST_WITHIN_S
            and isinstance(person, Identity)
            and person.kind is Kind.PERSON
            and person.subject == said.approver
            and said.approver not in (asking.subject, asking.on_behalf_of)
            and not _same_key(asking.ski, person, key)
        )
        return (said.approver, key) if holds else None

    def _expected(self, request: Request) -> dict[str, str]:
        return {
            "gateway": self._gateway,
            "request": request.id,
            "operation": request.digest,
            "what": request.words,
            "requester": request.requester,
        }


def is_signed(vote: Vote) -> bool:
    try:
        check(*vote.parts())
    except (StatementError, ValueError):
        return False
    return True


def _require_another(request: Request, person: Identity, certificate: bytes) -> None:
    """The person must be another than the requester, and than those who granted already."""
    key = _key_of(certificate)
    asked = {request.requester, request.on_behalf_of} - {None}
    if asked & {person.subject, person.on_behalf_of} or _same_key(request.ski, person, key):
        raise Impossible("own_request", 403, "who asked cannot grant it, under whatever certificate")
    if len(request.votes) >= MOST_VOTES:
        raise Impossible("enough_votes", 409, f"{MOST_VOTES} people have answered already")
    for vote in request.votes:
        text, _, other = vote.parts()
        if decode(text).approver == person.subject or _key_of(other) == key:
            raise Impossible("granted_already", 409, "the same person, or the same key, counts once")


def _same_key(ski: str | None, person: Identity, key: str) -> bool:
    """Whether a requester's key identifier is that of a person. Without one only the subjects tell."""
    return ski is not None and ski in (person.ski, key)


def _key_of(certificate: bytes) -> str:
    """SHA-1 of the public key's bits: the usual subject key identifier (RFC 5280 §4.2.1.2, method 1)."""
    return x509.SubjectKeyIdentifier.from_public_key(
        x509.load_der_x509_certificate(certificate).public_key()
    ).digest.hex()


def _bad(detail: str) -> Impossible:
    return Impossible("bad_statement", 400, f"the statement proves nothing here: {detail}")
