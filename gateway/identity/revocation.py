"""Certificate revocation lists, read and verified by us (RFC 5280 §5).

Not by OpenSSL: its CRL flags refuse everybody once a list is past its nextUpdate, and look at nothing when a
session is resumed. Here a stale list flags reads and, after a grace, denies writes (invariant 11), and every
connection is judged, resumed or not.
"""

from cryptography import x509
from msgspec import Struct

from gateway.model.errors import IdentityError
from gateway.model.moment import SECOND

MOST_CRL_BYTES = 32 * 1024 * 1024
"About 800,000 entries. A longer list belongs to a PKI that should split it."


class RevocationList(Struct, frozen=True):
    """One verified CRL: which serial numbers of one issuer no longer count."""

    number: int
    "CRL number (RFC 5280 §5.2.3); it never falls."
    issued_ns: int
    next_update_ns: int
    serials: frozenset[int]

    def supersedes(self, other: "RevocationList") -> bool:
        """Whether this list is the newer one, or the same one again."""
        return (self.number, self.issued_ns) >= (other.number, other.issued_ns)


def parse(data: bytes, source: str) -> x509.CertificateRevocationList:
    """A CRL from PEM or DER. `source` names it in the IdentityError."""
    if len(data) > MOST_CRL_BYTES:
        raise IdentityError(f"{source}: longer than {MOST_CRL_BYTES} bytes")
    try:
        if data.lstrip().startswith(b"-----BEGIN"):
            return x509.load_pem_x509_crl(data)
        return x509.load_der_x509_crl(data)
    except ValueError as error:
        raise IdentityError(f"{source}: not a certificate revocation list: {error}") from None


def verify(
    crl: x509.CertificateRevocationList, anchors: tuple[x509.Certificate, ...], source: str
) -> tuple[x509.Certificate, RevocationList]:
    """The anchor that signed the list, and what it says; IdentityError where either is wanting."""
    issuer = next((anchor for anchor in anchors if signed(crl, anchor)), None)
    if issuer is None:
        raise IdentityError(
            f"{source}: signed by no trust anchor of this zone ({crl.issuer.rfc4514_string()})"
        )
    if crl.next_update_utc is None:
        raise IdentityError(
            f"{source}: has no nextUpdate, so nobody knows when it is stale (RFC 5280 §5.1.2.5)"
        )
    number = 0
    for extension in crl.extensions:
        if isinstance(extension.value, x509.CRLNumber):
            number = extension.value.crl_number
        elif extension.critical:
            # A delta or a partial list: reading it as a whole one would let revoked peers in.
            raise IdentityError(
                f"{source}: critical extension {extension.oid.dotted_string} is not understood"
            )
    return issuer, RevocationList(
        number=number,
        issued_ns=int(crl.last_update_utc.timestamp()) * SECOND,
        next_update_ns=int(crl.next_update_utc.timestamp()) * SECOND,
        serials=frozenset(entry.serial_number for entry in crl),
    )


def signed(crl: x509.CertificateRevocationList, anchor: x509.Certificate) -> bool:
    """Whether that anchor signed that list, and may sign lists at all (key usage cRLSign)."""
    if crl.issuer != anchor.subject:
        return False
    try:
        usage = anchor.extensions.get_extension_for_class(x509.KeyUsage).value
        if not usage.crl_sign:
            return False
    except x509.ExtensionNotFound:
        pass  # no key usage: every usage (RFC 5280 §4.2.1.3)
    key = anchor.public_key()
    try:
        return crl.is_signature_valid(key)  # type: ignore[arg-type] # TypeError for keys that cannot sign
    except TypeError:
        return False
