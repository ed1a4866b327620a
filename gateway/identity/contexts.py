"""TLS contexts. Made once for each state of trust, never changed afterwards.

TLS settles that the peer holds the key of a certificate which an authority of the zone signed. What it is
*not* asked, and why:

- **Validity** (`X509_V_FLAG_NO_CHECK_TIME`): OpenSSL would judge by the machine's clock, and a boot in 1970
  would lock everybody out. `ZoneTrust.admit` judges by a clock that knows when it is not to be trusted.
- **Revocation**: OpenSSL's CRL flags refuse everybody once a list is stale, and are not asked at resumption.
  `admit` looks at every connection.

So a server context is only half of the door: whoever uses one calls `admit` before the first byte counts.

Resumption: no tickets in either version. TLS 1.2 session ids stay possible within one context, because
Python has no switch for OpenSSL's session cache; a resumed session carries its certificate, so `admit`
judges it, and a new context (each change of trust) knows none of the old sessions.
"""

import ssl
from pathlib import Path
from typing import NoReturn

from cryptography import x509

from gateway.identity.keyfile import read_public, require_private
from gateway.identity.trust import ZoneTrust
from gateway.model.errors import IdentityError
from gateway.model.moment import SECOND

CIPHERS = ":".join(
    (
        "@SECLEVEL=2",
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-RSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "ECDHE-RSA-CHACHA20-POLY1305",
    )
)
"""TLS 1.2 suites: forward secret, authenticated encryption only. The first two are Modbus/TCP Security R-14
and R-40; its NULL-encryption suites (R-48, a SHOULD) are left out on purpose. TLS 1.3 suites are OpenSSL's.
Security level 2 refuses SHA-1 signatures and RSA keys under 2048 bits."""

NO_CHECK_TIME = 0x200000
"X509_V_FLAG_NO_CHECK_TIME, which Python does not name."


def server_context(certificate: Path, key: Path, trust: ZoneTrust) -> ssl.SSLContext:
    """A context that demands a certificate of the zone. IdentityError says which file is not usable, and why.

    Make a new one whenever `trust.version` has grown or the gateway's own certificate was renewed.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _restrict(context)
    context.verify_mode = ssl.CERT_REQUIRED
    context.num_tickets = 0
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | NO_CHECK_TIME
    _show(context, certificate, key)
    context.load_verify_locations(cadata=trust.anchors_pem())
    return context


def client_context(anchors: Path, certificate: Path, key: Path) -> ssl.SSLContext:
    """A context to call a server with: vouched for by `anchors`, and of the name that it was called by.

    Nobody calls `admit` for a server, so here OpenSSL does judge validity by the machine's clock: with a
    clock that is wrong by years nothing goes out, and the plant side does not depend on it.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _restrict(context)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    _show(context, certificate, key)
    try:
        context.load_verify_locations(cadata=read_public(anchors).decode("ascii"))
    except (ssl.SSLError, ValueError) as error:
        raise IdentityError(f"{anchors}: not a file of PEM certificates: {error}") from None
    return context


def expiry(certificate: Path) -> int:
    """When the first certificate of a PEM chain expires, ns since 1970 (IdentityError if it is none)."""
    try:
        chain = x509.load_pem_x509_certificates(read_public(certificate))
    except ValueError as error:
        raise IdentityError(f"{certificate}: not a PEM certificate: {error}") from None
    return int(chain[0].not_valid_after_utc.timestamp()) * SECOND


def _restrict(context: ssl.SSLContext) -> None:
    """What holds on both sides: 1.2 or newer, forward secrecy, no renegotiation, compression or tickets."""
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION


def _show(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    """Load our own chain and key. All certificates of the file are sent, down to the root (R-46)."""
    require_private(key)

    def locked() -> NoReturn:
        # Without this OpenSSL would ask on the terminal, and a service would hang at start.
        raise IdentityError(f"the key {key} is encrypted: store it decrypted, mode 0600")

    try:
        context.load_cert_chain(certificate, key, password=locked)
    except ssl.SSLError as error:
        why = (error.reason or "not PEM").lower().replace("_", " ")
        raise IdentityError(f"{certificate} and {key} cannot be used together: {why}") from None
    except OSError as error:
        raise IdentityError(f"{certificate} or {key} cannot be read: {error.strerror}") from None
