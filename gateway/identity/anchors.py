"""Trust anchors: the authorities whose direct signature makes a certificate one of a zone's."""

from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from gateway.identity.keyfile import read_public
from gateway.model.errors import IdentityError

MOST_ANCHORS = 64
"Trust anchors of one zone. More is a public root store by mistake."


def load_anchors(path: Path) -> tuple[x509.Certificate, ...]:
    """The authorities in a file, PEM (several) or DER (one). IdentityError where it is not usable."""
    data = read_public(path)
    try:
        if data.lstrip().startswith(b"-----BEGIN") or b"\n-----BEGIN" in data:
            found = x509.load_pem_x509_certificates(data)
        else:
            found = [x509.load_der_x509_certificate(data)]
    except ValueError as error:
        raise IdentityError(f"{path}: not a certificate: {error}") from None
    if len(found) > MOST_ANCHORS:
        raise IdentityError(f"{path}: more than {MOST_ANCHORS} trust anchors")
    for anchor in found:
        _require_authority(anchor, path)
    return tuple(dict.fromkeys(found))


def _require_authority(anchor: x509.Certificate, path: Path) -> None:
    """A leaf in an anchor file would, under OpenSSL's partial chains, vouch for itself."""
    try:
        constraints = anchor.extensions.get_extension_for_class(x509.BasicConstraints).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        constraints = None
    if constraints is None or not constraints.ca:
        raise IdentityError(f"{path}: {name_of(anchor)} is not the certificate of an authority")


def signed_by(certificate: x509.Certificate, anchor: x509.Certificate) -> bool:
    """Whether that authority, and no other of the same name, signed this certificate."""
    if certificate.issuer != anchor.subject:
        return False
    try:
        certificate.verify_directly_issued_by(anchor)
    except (InvalidSignature, ValueError, TypeError, UnsupportedAlgorithm):
        return False
    return True


def name_of(certificate: x509.Certificate) -> str:
    """Its RFC 4514 name, for messages."""
    return certificate.subject.rfc4514_string()
