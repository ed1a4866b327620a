"""The throw-away PKI of the demo: two zones, and one certificate for everybody who plays a part."""

import base64
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.identity import founding, profiles
from gateway.identity.request import Request
from gateway.shipped import folder as shipped

TRUST_DOMAIN = "demo.example"
LOOPBACK = ("127.0.0.1",)

CAST = (
    # The gateway: one certificate for each side.
    Request(profile="gateway-server", zone="plant", name="gw-1", ips=LOOPBACK, dns=("localhost",)),
    Request(profile="gateway-server", zone="it", name="gw-1", ips=LOOPBACK, dns=("localhost",)),
    Request(profile="log-signer", zone="plant", name="log-1"),
    # The OPC UA side: the gateway's application, the server in the plant, and a client.
    Request(profile="opcua-application", zone="plant", name="gw-ua", ips=LOOPBACK, dns=("localhost",)),
    Request(profile="opcua-application", zone="plant", name="plc-2", ips=LOOPBACK, dns=("localhost",)),
    Request(profile="opcua-application", zone="plant", name="mes-1", ips=LOOPBACK, dns=("localhost",)),
    # Clients on the plant side. `bare-1` claims no role.
    Request(profile="modbus-client", zone="plant", name="hmi-1", role="operator"),
    Request(profile="modbus-client", zone="plant", name="view-1", role="viewer"),
    Request(profile="modbus-client", zone="plant", name="bare-1"),
    Request(profile="modbus-client", zone="plant", name="vendor-1", role="vendor"),
    # People: who owns policy, who leads the shift, and who is on call.
    Request(profile="person", zone="plant", name="pat"),
    Request(profile="person", zone="plant", name="lea"),
    Request(profile="person", zone="plant", name="sam", role="on-call"),
    # IT.
    Request(profile="it-client", zone="it", name="historian-1"),
    Request(profile="it-server", zone="it", name="broker", ips=LOOPBACK, dns=("localhost",)),
)

_TRUSTED_FOR_CLIENTS = bytes.fromhex("300c300a06082b06010505070302")
"What OpenSSL keeps behind a trusted certificate (X509_CERT_AUX): the usage 1.3.6.1.5.5.7.3.2, TLS client."


def make(folder: Path, now: datetime) -> None:
    """Found both authorities under `folder` and issue to the whole cast."""
    authority = founding.init(folder, TRUST_DOMAIN, profiles.load(shipped("pki")), now)
    for request in CAST:
        authority.issue(request, now)


def trusted_for_clients(anchor: bytes) -> str:
    """An issuing authority as the *only* thing a server trusts its clients by, in OpenSSL's own PEM form.

    Most servers built on OpenSSL take nothing less than a self-signed root for an anchor; our root also
    vouches for the plant's authority, and then a plant certificate with the right common name would pass for
    one of IT. A "trusted certificate" ends the chain where it is found.
    """
    der = x509.load_pem_x509_certificate(anchor).public_bytes(Encoding.DER)
    text = base64.encodebytes(der + _TRUSTED_FOR_CLIENTS).decode()
    return f"-----BEGIN TRUSTED CERTIFICATE-----\n{text}-----END TRUSTED CERTIFICATE-----\n"
