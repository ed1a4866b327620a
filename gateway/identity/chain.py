"""From an OPC UA application's certificate up to who vouches for it (OPC 10000-4 §6.1.3, in that order).

    parse → chain → signature → strength → trust list → validity → ApplicationUri → usage → CRL → not revoked

and then validity, usage and revocation of each authority above. The first fault is the answer; only, a
signature by a broken hash is refused as `weak_hash` without being looked at.

Two things make an application trusted: its very certificate is among those that an administrator approved,
or an anchor of the zone vouches for it, with nobody in between but issuers that the site has named. An
authority that a peer only sends along completes a chain and is worth nothing by itself: under one root live
strangers, too.

An anchor ends the chain: what stands above it is not asked for.
"""

from collections.abc import Mapping

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from msgspec import Struct

from gateway.identity import application
from gateway.identity.anchors import name_of
from gateway.identity.application import MOST_CHAIN, Unfit, raw
from gateway.identity.certificate import Refused
from gateway.identity.revocation import RevocationList
from gateway.model.identity import Identity
from gateway.model.moment import Now


class Lists(Struct, frozen=True):
    """Whom a zone trusts, for OPC UA."""

    zone: str
    anchors: tuple[x509.Certificate, ...]
    "Authorities that vouch for peers of the zone."
    issuers: tuple[x509.Certificate, ...]
    "Authorities that the site has named: they may stand between an anchor and an application."
    sent: tuple[x509.Certificate, ...]
    "Authorities that approved applications once sent along: they complete a chain, and vouch for nobody."
    approved: frozenset[bytes]
    "Certificates (DER) that an administrator approved."
    revocations: Mapping[bytes, RevocationList]
    "By the DER of the issuer."
    required: bool
    "Whether an issuer without a list lets nobody in."


class Admitted(Struct, frozen=True):
    """An application that gets in."""

    identity: Identity
    application_uri: str
    "Exactly as in the certificate: CreateSession must say the same."
    certificate: bytes
    "The leaf, DER."


class Span(Struct, frozen=True):
    """A step that depends on the moment: a certificate counts from then until then."""

    name: str
    prefix: str
    "Of the code: empty for the application, `issuer_` for an authority."
    begins_ns: int
    until_ns: int

    def at(self, now: Now) -> Refused | None:
        """What is wrong with it at that moment."""
        if now.judge_ns < self.begins_ns:
            return Refused(f"{self.prefix}not_yet_valid", f"the certificate of {self.name} is not valid yet")
        if now.judge_ns > self.until_ns:
            return Refused(f"{self.prefix}expired", f"the certificate of {self.name} has expired")
        return None


class Judged(Struct, frozen=True):
    """All that a state of trust says about a chain: what depends on the moment, and the rest."""

    spans: tuple[Span, ...]
    "In the order of the steps; those after the first lasting fault are not among them."
    end: Admitted | Refused

    def at(self, now: Now) -> Admitted | Refused:
        """The first fault at that moment, or who it is."""
        for span in self.spans:
            if (refused := span.at(now)) is not None:
                return refused
        return self.end


def judge(chain: bytes, lists: Lists) -> Judged:
    """Everything about a chain (leaf first, DER) that a state of trust settles."""
    spans: list[Span] = []
    try:
        end: Admitted | Refused = _judge(chain, lists, spans)
    except Unfit as unfit:
        end = unfit.refused
    return Judged(tuple(spans), end)


def _judge(chain: bytes, lists: Lists, spans: list[Span]) -> Admitted:
    sent = application.parse(chain)
    leaf = sent[0]
    path = _path(leaf, sent[1:], lists)
    application.strength(leaf)
    above = path[1:]
    for issuer in above:
        if issuer not in lists.anchors:
            application.issuer_strength(issuer)
    vouched = _vouched(path, lists)
    if not vouched and raw(leaf) not in lists.approved:
        raise Unfit("untrusted", _nobody(path, lists))
    spans.append(_span(leaf, ""))
    uri = application.application_uri(leaf)
    subject = application.subject(leaf, uri, vouched)
    application.usage(leaf)
    _revocation(leaf, above, lists, "")
    for below, issuer in enumerate(above):
        spans.append(_span(issuer, "issuer_"))
        application.issuer_usage(issuer, below)
        if issuer not in lists.anchors:
            _revocation(issuer, above[below + 1 :], lists, "issuer_")
    return Admitted(application.identity(leaf, subject, lists.zone), uri, raw(leaf))


def _path(leaf: x509.Certificate, sent: list[x509.Certificate], lists: Lists) -> list[x509.Certificate]:
    """The leaf and the authorities above it, up to an anchor or to one that signed itself."""
    path = [leaf]
    while path[-1].issuer != path[-1].subject:
        last = path[-1]
        if len(path) == MOST_CHAIN:
            raise Unfit("chain_incomplete", f"the chain is longer than {MOST_CHAIN} certificates")
        named = [
            each
            for each in (*lists.anchors, *lists.issuers, *lists.sent, *sent)
            if each.subject == last.issuer
        ]
        if not named:
            raise Unfit("chain_incomplete", f"{last.issuer.rfc4514_string()}, who issued it, is not known")
        application.digest(last, "issuer_weak" if len(path) > 1 else "weak_hash")
        issuer = next((each for each in named if _signed(last, each)), None)
        if issuer is None:
            raise Unfit(
                "bad_signature", f"{last.issuer.rfc4514_string()} did not sign what names it as issuer"
            )
        path.append(issuer)
        if issuer in lists.anchors:
            return path
    application.digest(path[-1], "issuer_weak" if len(path) > 1 else "weak_hash")
    if not _signed(path[-1], path[-1]):
        raise Unfit("bad_signature", f"{name_of(path[-1])} names itself as issuer and did not sign")
    return path


def _signed(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError, UnsupportedAlgorithm):
        return False
    return True


def _vouched(path: list[x509.Certificate], lists: Lists) -> bool:
    if len(path) == 1:
        return False
    return path[-1] in lists.anchors and all(each in lists.issuers for each in path[1:-1])


def _nobody(path: list[x509.Certificate], lists: Lists) -> str:
    if len(path) == 1:
        return f"it vouches for itself, and nobody approved it in zone {lists.zone}"
    stranger = next((each for each in path[1:] if each not in (*lists.issuers, *lists.anchors)), path[-1])
    return f"zone {lists.zone} does not know the authority {name_of(stranger)}, and nobody approved it"


def _span(certificate: x509.Certificate, prefix: str) -> Span:
    who = name_of(certificate)
    return Span(who, prefix, application.begins_ns(certificate), application.until_ns(certificate))


def _revocation(
    certificate: x509.Certificate, above: list[x509.Certificate], lists: Lists, prefix: str
) -> None:
    """Unfit where its issuer's list is needed and not there, or holds it. One that signed itself has none."""
    if not above:
        return
    listed, issuer = lists.revocations.get(raw(above[0])), name_of(above[0])
    if listed is None:
        if lists.required:
            raise Unfit(f"{prefix}crl_missing", f"zone {lists.zone} has no CRL of {issuer}")
    elif certificate.serial_number in listed.serials:
        raise Unfit(f"{prefix}revoked", f"serial {certificate.serial_number:x} was revoked by {issuer}")
