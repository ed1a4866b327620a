"""Certificates, keys and passwords for OPC UA, from their files: our own, and those pinned for servers."""

from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from gateway.identity import application, keyfile
from gateway.identity.application import Unfit
from gateway.model.errors import IdentityError
from gateway.wire.opcua.security import MOST_CHAIN, Credentials


def load_credentials(certificate: Path, key: Path) -> Credentials:
    """IdentityError where they cannot be used. A self-signed root is not sent: whoever trusts it has it."""
    keyfile.require_private(key)
    try:
        chain = x509.load_pem_x509_certificates(certificate.read_bytes())
        private = load_pem_private_key(key.read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise IdentityError(f"{certificate}, {key}: {error}") from error
    if not isinstance(private, RSAPrivateKey):
        raise IdentityError(f"{key}: OPC UA needs an RSA key of 2048 to 4096 bits")
    if private.public_key() != chain[0].public_key():
        raise IdentityError(f"{key} is not the key of {certificate}")
    shown = [each for at, each in enumerate(chain) if at == 0 or each.issuer != each.subject]
    return Credentials(tuple(each.public_bytes(Encoding.DER) for each in shown[:MOST_CHAIN]), private)


def uri_of(credentials: Credentials) -> str:
    """The ApplicationUri of our certificate. IdentityError where it has none."""
    try:
        return application.application_uri(x509.load_der_x509_certificate(credentials.leaf))
    except Unfit as unfit:
        raise IdentityError(f"the certificate for OPC UA: {unfit}") from unfit


def load_server(file: Path) -> bytes:
    """The certificate that a server must show, DER; the file may be PEM or DER."""
    try:
        data = file.read_bytes()
        parsed = (
            x509.load_pem_x509_certificates(data)[0]
            if data.lstrip().startswith(b"-----")
            else x509.load_der_x509_certificate(data)
        )
    except (OSError, ValueError) as error:
        raise IdentityError(f"{file}: {error}") from error
    return parsed.public_bytes(Encoding.DER)


def read_password(file: Path) -> str:
    """The first line of a file that only its owner may read."""
    try:
        keyfile.require_private(file)
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise IdentityError(f"{file}: {error}") from error
    if not lines or not lines[0]:
        raise IdentityError(f"{file}: its first line, the password, is empty")
    return lines[0]
