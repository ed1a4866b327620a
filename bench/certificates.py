"""Throw-away certificates for one run, made by the gateway's own PKI: a server, a client with a role, a log.

P-256 throughout, so that every subject does the same work in its handshakes.
"""

import datetime
import os
from pathlib import Path

from gateway.identity import founding, profiles
from gateway.identity.request import Request
from gateway.shipped import folder as shipped

CLIENT = "spiffe://bench.example/plant/client"
"Subject of the load generator's certificate."
ROLE = "bench"
"The Modbus role that it claims."
SERVER_NAME = "localhost"
ZONE = "plant"


class Pki:
    """Where the files are."""

    def __init__(self, folder: Path) -> None:
        """Make them all in a new folder."""
        now = datetime.datetime.now(datetime.UTC)
        made = founding.init(folder, "bench.example", profiles.load(shipped("pki")), now, (ZONE,))
        for request in (
            Request(profile="gateway-server", zone=ZONE, name="gw-1", dns=(SERVER_NAME,), ips=("127.0.0.1",)),
            Request(profile="modbus-client", zone=ZONE, name="client", role=ROLE),
            Request(profile="log-signer", zone=ZONE, name="log"),
        ):
            made.issue(request, now)
        issued = folder / ZONE / "issued"
        self.root = folder / "root" / "ca.pem"
        "What clients trust."
        self.zone = folder / ZONE / "anchors.pem"
        "What the gateway trusts: the authority that issued, not the root."
        self.crl = folder / ZONE / "crl.pem"
        self.server, self.server_key = issued / "gw-1.pem", issued / "gw-1.key"
        self.client, self.client_key = issued / "client.pem", issued / "client.key"
        self.log_key = issued / "log.key"
        self.server_with_key = folder / "server-with-key.pem"
        "HAProxy wants both in one file."
        handle = os.open(self.server_with_key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(self.server.read_bytes() + self.server_key.read_bytes())
        self.chain = folder / "anchors-to-root.pem"
        "HAProxy wants the whole way up to the root."
        self.chain.write_bytes(self.zone.read_bytes() + self.root.read_bytes())
