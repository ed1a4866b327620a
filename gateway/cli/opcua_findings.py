"""What the certificates of OPC UA say about a configuration that reads well. Called by `findings`."""

import ipaddress
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cryptography import x509

from gateway.config.document import Trail
from gateway.config.settings import OpcuaListener, Settings
from gateway.identity import application
from gateway.identity.application import Unfit
from gateway.identity.keyfile import require_private
from gateway.identity.users import Users
from gateway.model.asset import Asset, OpcuaServer, Speaks
from gateway.model.errors import Fault, IdentityError
from gateway.policy.nodes import covers
from gateway.relay.opcua.credentials import load_credentials, load_server

Told = tuple[bool, Fault]
"Whether a gateway cannot run with it, and what it is."
Expires = tuple[Trail, str, int]
"What has an end, where it is named, and when that is (ns since 1970)."

NAMESPACES = "i=2255"
"Server_NamespaceArray (OPC 10000-6 A.3): which namespace has which index."
RENEW = "make one with `dmz-gateway pki issue --profile opcua-application`"


class OpcuaLook:
    """One look at everything about OPC UA that the settings name. What expires is in `dated` afterwards."""

    def __init__(self, settings: Settings, where: Callable[[Trail], str]) -> None:
        self.settings = settings
        self.where = where
        self.dated: list[Expires] = []

    def all(self) -> Iterator[Told]:
        """Listeners with their users, then servers."""
        for number, listener in enumerate(self.settings.opcua):
            yield from self._listener(("opcua", number), listener)
        for number, asset in enumerate(self.settings.assets):
            if asset.opcua is not None:
                yield from self._server(("assets", number, "opcua"), asset, asset.opcua)

    def _listener(self, trail: Trail, listener: OpcuaListener) -> Iterator[Told]:
        leaf = None
        for told in self._own((*trail, "certificate"), listener.certificate, listener.key):
            if isinstance(told, x509.Certificate):
                leaf = told
            else:
                yield told
        if leaf is not None:
            for name in listener.names:
                if not _names(leaf, name):
                    what = (
                        f"clients that come by {name} may turn away: {listener.certificate} does not name it"
                    )
                    yield False, Fault(self.where((*trail, "names")), what, "issue it with --dns or --ip")
        try:
            users = Users(listener.users)
        except IdentityError as error:
            yield True, Fault(self.where((*trail, "users")), str(error), "correct the file, or make it anew")
            return
        self.dated += [((*trail, "users"), name, until) for name, until in users.expiries()]

    def _server(self, trail: Trail, asset: Asset, server: OpcuaServer) -> Iterator[Told]:
        if server.certificate is not None and server.key is not None:
            for told in self._own((*trail, "certificate"), server.certificate, server.key):
                if not isinstance(told, x509.Certificate):
                    yield told
        here = (*trail, "server_certificate")
        mend = f"name the certificate that {asset.name} shows, alone, in PEM or DER"
        try:
            pinned = x509.load_der_x509_certificate(load_server(server.server_certificate))
            application.strength(pinned)
        except (IdentityError, Unfit, ValueError) as error:
            yield True, Fault(self.where(here), f"{server.server_certificate}: {_said(error)}", mend)
            return
        self.dated.append((here, str(server.server_certificate), application.until_ns(pinned)))
        if server.password is not None:
            try:
                require_private(server.password)
                if not server.password.read_bytes().split(b"\n")[0]:
                    what = f"the first line of {server.password} is empty"
                    yield True, Fault(self.where((*trail, "password")), what, "write the password there")
            except (IdentityError, OSError) as error:
                yield True, Fault(self.where((*trail, "password")), str(error), "")

    def _own(self, trail: Trail, certificate: Path, key: Path) -> Iterator[Told | x509.Certificate]:
        """What is wrong with a certificate that the gateway shows; the certificate if it can be shown."""
        try:
            leaf = x509.load_der_x509_certificate(load_credentials(certificate, key).leaf)
            application.strength(leaf)
            application.application_uri(leaf)
        except (IdentityError, Unfit, ValueError) as error:
            yield True, Fault(self.where(trail), f"{certificate}: {_said(error)}", RENEW)
            return
        self.dated.append((trail, str(certificate), application.until_ns(leaf)))
        try:
            application.usage(leaf)
        except Unfit as unfit:
            yield False, Fault(self.where(trail), f"peers may refuse {certificate}: {_said(unfit)}", RENEW)
        yield leaf


def unread(settings: Settings, data: dict[str, Any], subject: str) -> Iterator[tuple[Trail, str]]:
    """Servers whose namespaces the gateway, as itself, may not read: then no node of theirs has a name."""
    own = set(data["role_bindings"].get(subject, ()))
    for number, asset in enumerate(settings.assets):
        if asset.protocol is Speaks.OPCUA and not any(
            _gives_namespaces(grant, asset.name, subject, own) for grant in data["grants"]
        ):
            what = f"policy does not let the gateway read the namespaces of {asset.name}: nobody reaches it"
            yield ("assets", number, "name"), what


def _gives_namespaces(grant: dict[str, Any], asset: str, subject: str, roles: set[str]) -> bool:
    named = subject in grant.get("subjects", ()) or roles.intersection(grant.get("roles", ()))
    return bool(
        (named or "gateway" in grant.get("subject_kinds", ()))
        and "read" in grant["actions"]
        and asset in grant.get("assets", ())
        and any(
            covers(pattern, NAMESPACES)
            for entry in grant.get("opcua", ())
            for pattern in entry.get("nodes", ())
        )
    )


def _said(error: Exception) -> str:
    return application.line(error)


def _names(certificate: x509.Certificate, host: str) -> bool:
    """Whether a certificate names a host."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host.lower() in [name.lower() for name in names.get_values_for_type(x509.DNSName)]
    return address in names.get_values_for_type(x509.IPAddress)
