"""Who the gateway is when it asks for itself: the subject of its own certificate."""

from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.identity.certificate import Refused, identify
from gateway.model.errors import IdentityError
from gateway.model.identity import Authentication, Caller, Identity, Kind, RoleState

ROLE = "collector"
"What the gateway claims to be; like every role it counts only where policy data binds it."


def myself(certificate: Path, connection: str) -> Caller:
    """The gateway's own Caller. Its certificate's expiry does not matter: polling never stops for that."""
    try:
        leaf = x509.load_pem_x509_certificates(certificate.read_bytes())[0]
    except (OSError, ValueError) as error:
        raise IdentityError(f"{certificate}: not a readable PEM certificate") from error
    begins_ns = int(leaf.not_valid_before_utc.timestamp()) * 1_000_000_000
    found = identify(leaf.public_bytes(Encoding.DER), "gateway", begins_ns)
    if isinstance(found, Refused):
        raise IdentityError(f"{certificate}: {found.message}")
    identity = Identity(
        subject=found.subject,
        kind=Kind.GATEWAY,
        auth=Authentication.INTERNAL,
        zone="gateway",
        roles=(ROLE,),
        role_state=RoleState.OK,
        fingerprint=found.fingerprint,
        serial=found.serial,
        issuer=found.issuer,
        ski=found.ski,
        expires_ns=found.expires_ns,
    )
    return Caller(
        identity=identity,
        source="internal",
        listener="internal",
        zone="gateway",
        tls=None,
        connection=connection,
    )
