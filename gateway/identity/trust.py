"""Whom one zone lets in: its issuing authorities, and what they have revoked.

- A peer belongs to a zone if one of the zone's anchors signed its certificate *directly*. Two issuing
  authorities under one root are two zones; that they share the root is worth nothing.
- The question is asked of every connection, resumed ones too, and again whenever trust changes.
- A broken new file never replaces working trust; it is reported, and the old stays.
- A list that is not there refuses everybody (where one is required). A stale one refuses nobody here: it
  is flagged, and policy denies writes once the grace is over (invariant 11).
"""

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Protocol

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding
from msgspec import Struct

from gateway.identity import revocation
from gateway.identity.anchors import load_anchors, name_of, signed_by
from gateway.identity.certificate import MOST_BYTES, Refused, identify
from gateway.identity.keyfile import read_public, stamp
from gateway.identity.revocation import RevocationList
from gateway.model.errors import IdentityError
from gateway.model.identity import Identity
from gateway.model.moment import SECOND, Now

CrlState = Literal["fresh", "stale", "grace_over", "missing"]
"In rising order of trouble."
MOST_REMEMBERED = 1024
"Certificates whose issuer and signature are remembered as checked, until trust changes."


class Zone(Protocol):
    """What is configured about a zone (`config.settings.Zone`)."""

    @property
    def name(self) -> str: ...
    @property
    def anchors(self) -> Path: ...
    @property
    def crls(self) -> tuple[Path, ...]: ...
    @property
    def crl_required(self) -> bool: ...
    @property
    def crl_grace_s(self) -> int: ...


class _Loaded(Struct, frozen=True):
    """What the files said; replaced as a whole or not at all."""

    anchors: tuple[x509.Certificate, ...]
    lists: dict[bytes, RevocationList]
    "By the anchor's DER."
    due_ns: int | None
    "The earliest nextUpdate; null where there is no list."
    required: bool
    "Whether an issuer without a list lets nobody in."
    missing: bool
    "Whether an issuer's list is required and not there."


class _Issued(Struct, frozen=True):
    """A certificate that an anchor of the zone did sign."""

    anchor: x509.Certificate
    serial: int


class ZoneTrust:
    """One zone's trust, loaded and kept up to date."""

    def __init__(self, zone: Zone) -> None:
        """IdentityError where the anchors cannot be used. A broken CRL lets nobody in instead (`error`): the
        gateway must come up and go on polling.
        """
        self.zone = zone
        self.version = 1
        "Grows with each change."
        self.error: str | None = None
        "What is wrong with the files on disk, if they are not what is in force."
        self._issued: OrderedDict[bytes, _Issued | Refused] = OrderedDict()
        self._stamp = self._stat()
        anchors = load_anchors(zone.anchors)
        try:
            self._loaded = _load(zone, anchors, {})
        except IdentityError as error:
            self._loaded = _Loaded(anchors, {}, due_ns=None, required=True, missing=True)
            self.error = str(error)

    # what is in force ---------------------------------------------------------------------------------

    def admit(self, certificate: bytes, now: Now) -> Identity | Refused:
        """Who this certificate (DER) is in this zone at this moment, or why it does not get in."""
        if len(certificate) > MOST_BYTES:
            return Refused("unreadable", f"the certificate is longer than {MOST_BYTES} bytes")
        issued = self._issuer_of(certificate)
        if isinstance(issued, Refused):
            return issued
        anchor = issued.anchor
        listed = self._loaded.lists.get(_der(anchor))
        if listed is None and self._loaded.required:
            return Refused("crl_missing", f"zone {self.zone.name} has no CRL of {name_of(anchor)}")
        if listed is not None and issued.serial in listed.serials:
            return Refused("revoked", f"serial {issued.serial:x} was revoked by {name_of(anchor)}")
        if now.judge_ns > _until_ns(anchor):
            return Refused("issuer_expired", f"the issuing authority {name_of(anchor)} has expired")
        return identify(certificate, self.zone.name, now.judge_ns)

    def crl_state(self, now: Now) -> CrlState:
        """The worst state of the lists in force."""
        if self._loaded.missing:
            return "missing"
        due_ns = self._loaded.due_ns
        if due_ns is None or now.judge_ns <= due_ns:
            return "fresh"
        return "stale" if now.judge_ns <= due_ns + self.zone.crl_grace_s * SECOND else "grace_over"

    @property
    def anchors(self) -> tuple[x509.Certificate, ...]:
        """The anchors in force. Revoked ones are not among them."""
        return self._loaded.anchors

    @property
    def required(self) -> bool:
        """Whether an issuer without a list lets nobody in."""
        return self._loaded.required

    @property
    def lists(self) -> Mapping[bytes, RevocationList]:
        """The lists in force, by the DER of the anchor that signed them."""
        return self._loaded.lists

    def anchors_pem(self) -> str:
        """The anchors in force, for a TLS context. Revoked ones are not among them."""
        return "".join(anchor.public_bytes(Encoding.PEM).decode() for anchor in self._loaded.anchors)

    def expiries(self) -> list[tuple[str, int]]:
        """When each anchor expires: (name, ns since 1970), for `expiry`."""
        return [
            (f"zone {self.zone.name}: {name_of(anchor)}", _until_ns(anchor))
            for anchor in self._loaded.anchors
        ]

    # keeping up -----------------------------------------------------------------------------------------

    def changed(self) -> bool:
        """Whether a file has changed since it was last looked at. A few `stat` calls."""
        return self._stat() != self._stamp

    def reload(self) -> bool:
        """Read the files again. True if trust changed; False, with `error` set, if they cannot be used."""
        self._stamp = self._stat()
        try:
            loaded = _load(self.zone, load_anchors(self.zone.anchors), self._loaded.lists)
        except IdentityError as error:
            self.error = str(error)
            return False
        self.error = None
        if loaded == self._loaded:
            return False
        self._loaded = loaded
        self._issued.clear()
        self.version += 1
        return True

    def _stat(self) -> tuple[tuple[int, int, int] | None, ...]:
        return tuple(stamp(path) for path in (self.zone.anchors, *self.zone.crls))

    def _issuer_of(self, certificate: bytes) -> _Issued | Refused:
        found = self._issued.get(certificate)
        if found is None:
            found = _find_issuer(certificate, self._loaded.anchors, self.zone.name)
            self._issued[certificate] = found
            if len(self._issued) > MOST_REMEMBERED:
                self._issued.popitem(last=False)
        return found


def _load(zone: Zone, anchors: tuple[x509.Certificate, ...], before: dict[bytes, RevocationList]) -> _Loaded:
    lists: dict[bytes, RevocationList] = {}
    for path in zone.crls:
        source = str(path)
        issuer, listed = revocation.verify(revocation.parse(read_public(path), source), anchors, source)
        key = _der(issuer)
        if key in before and not listed.supersedes(before[key]):
            # An older list, put back, would let in again whoever was revoked since.
            raise IdentityError(f"{path}: older than the list in force (number {listed.number})")
        if key not in lists or listed.supersedes(lists[key]):
            lists[key] = listed
    kept = tuple(anchor for anchor in anchors if not _revoked(anchor, anchors, lists))
    # An anchor that only vouches for other anchors issues to no peer: its own list is welcome, not required.
    issuers = [a for a in kept if not any(signed_by(other, a) for other in kept if other is not a)]
    return _Loaded(
        kept,
        lists,
        due_ns=min((listed.next_update_ns for listed in lists.values()), default=None),
        required=zone.crl_required,
        missing=zone.crl_required and any(_der(issuer) not in lists for issuer in issuers),
    )


def _revoked(
    anchor: x509.Certificate, anchors: tuple[x509.Certificate, ...], lists: dict[bytes, RevocationList]
) -> bool:
    return any(
        anchor.serial_number in lists[_der(above)].serials
        for above in anchors
        if _der(above) in lists and signed_by(anchor, above)
    )


def _find_issuer(certificate: bytes, anchors: tuple[x509.Certificate, ...], zone: str) -> _Issued | Refused:
    try:
        parsed = x509.load_der_x509_certificate(certificate)
        serial = parsed.serial_number
        anchor = next((anchor for anchor in anchors if signed_by(parsed, anchor)), None)
    except (ValueError, x509.InvalidVersion, UnsupportedAlgorithm) as error:
        return Refused("unreadable", f"the certificate cannot be read: {error}")
    if anchor is None:
        return Refused("unknown_issuer", f"no authority of zone {zone} signed this certificate")
    return _Issued(anchor, serial)


def _der(anchor: x509.Certificate) -> bytes:
    return anchor.public_bytes(Encoding.DER)


def _until_ns(anchor: x509.Certificate) -> int:
    return int(anchor.not_valid_after_utc.timestamp()) * SECOND
