"""The OPC UA server of the demo's plant: asyncua over the same physical model as the Modbus devices.

It knows nothing of the gateway but its zone: it takes applications whose certificate that zone issued, on
encrypted channels of all three policies. A channel without security is for discovery.

`--seen FILE` writes down, as the server received it, every session, read, write, call, browse, history read
and monitored item: one JSON object for each item. What a tour or a test believes about "the server never saw
it" it reads there, not in the gateway.
"""

import argparse
import asyncio
import contextlib
import logging
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asyncua import Server, ua
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.crypto.uacrypto import x509_from_der
from asyncua.server.internal_server import InternalServer
from asyncua.server.internal_session import InternalSession
from asyncua.server.user_managers import UserManager
from cryptography import x509
from cryptography.exceptions import InvalidSignature

from gateway.demo.opcua_nodes import NAMESPACE, TankNodes
from gateway.demo.seen import Seen
from gateway.demo.tank import Tank

STEP_S = 0.1
"How often the model moves."

PATH = "/tank-farm"

POLICIES = [
    ua.SecurityPolicyType.NoSecurity,
    ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt,
    ua.SecurityPolicyType.Aes128Sha256RsaOaep_SignAndEncrypt,
    ua.SecurityPolicyType.Aes256Sha256RsaPss_SignAndEncrypt,
]
"The first is there for discovery: sessions need a certificate, see `Accounts`."

ITEMS: dict[str, tuple[str, str]] = {
    # method of a session -> service, field of its parameters that holds the items
    "read": ("Read", "NodesToRead"),
    "write": ("Write", "NodesToWrite"),
    "browse": ("Browse", "NodesToBrowse"),
    "history_read": ("HistoryRead", "NodesToRead"),
    "history_update": ("HistoryUpdate", "HistoryUpdateDetails"),
    "create_monitored_items": ("CreateMonitoredItems", "ItemsToCreate"),
    "call": ("Call", ""),
    "translate_browsepaths_to_nodeids": ("TranslateBrowsePathsToNodeIds", ""),
    "add_nodes": ("AddNodes", ""),
    "register_nodes": ("RegisterNodes", ""),
    "create_subscription": ("CreateSubscription", ""),
    "delete_subscriptions": ("DeleteSubscriptions", ""),
    "transfer_subscriptions": ("TransferSubscriptions", "SubscriptionIds"),
}
"What is written down of a session."

Prepare = Callable[["OpcuaPlant"], Awaitable[None]]

PLAIN = (bool, int, float, str, type(None))


def told(value: Any) -> Any:
    """A value for a log line."""
    if isinstance(value, list):
        return [told(one) for one in value]
    return value if isinstance(value, PLAIN) else str(value)


@dataclass
class Accounts(UserManager):
    """Who may have a session: an application with a certificate, and a user of ours if it names one."""

    passwords: dict[str, str] = field(default_factory=dict)
    anonymous: bool = True

    def get_user(
        self,
        iserver: InternalServer,
        username: str | None = None,
        password: str | None = None,
        certificate: Any = None,
    ) -> User | None:
        """The user of a session, None refuses it."""
        if certificate is None:
            return None
        if username is None:
            return User(UserRole.User, "anonymous") if self.anonymous else None
        known = self.passwords.get(username)
        return User(UserRole.User, username) if known is not None and known == password else None


class SeenSession(InternalSession):
    """A session that writes down what is asked of it, before anything is done."""

    application = ""
    plant: "OpcuaPlant"

    def __getattribute__(self, name: str) -> Any:
        given = super().__getattribute__(name)
        if name not in ITEMS or not self.external:
            return given

        def noted(params: Any, *rest: Any, **more: Any) -> Any:
            self._note(name, params)
            return given(params, *rest, **more)

        return noted

    async def create_session(self, params: Any, sockname: Any = None) -> Any:
        """The session begins."""
        self.application = params.ClientDescription.ApplicationUri
        self.plant.admit(params.ClientCertificate)
        self.plant.note(service="CreateSession", application=self.application, name=params.SessionName)
        return await super().create_session(params, sockname=sockname)

    def activate_session(self, params: Any, peer_certificate: Any) -> Any:
        """The session gets its user."""
        result = super().activate_session(params, peer_certificate)
        self.plant.note(service="ActivateSession", application=self.application, user=self.user.name)
        return result

    async def close_session(self, delete_subs: bool = True) -> None:
        """The session ends."""
        if self.external:
            self.plant.note(service="CloseSession", application=self.application)
        await super().close_session(delete_subs)

    async def write(self, params: Any) -> list[ua.StatusCode]:
        """Values of the tank go into the model, if the PLC takes them."""
        return [await self._write(one) for one in params.NodesToWrite]

    async def _write(self, one: Any) -> ua.StatusCode:
        variable = self.plant.tank.variable(one.NodeId) if self.external else None
        value = one.Value.Value.Value if one.Value.Value is not None else None
        wrong_kind = variable and one.Value.Value and one.Value.Value.VariantType != variable.kind
        if variable and variable.field and one.AttributeId == ua.AttributeIds.Value and not wrong_kind:
            refused = variable.refuses(value)
            if refused is not None:
                return refused
        status = (await super().write(ua.WriteParameters([one])))[0]
        if variable and variable.field and status.is_good() and one.AttributeId == ua.AttributeIds.Value:
            await self.plant.tank.set(variable, value)
        return status

    def _note(self, method: str, params: Any) -> None:
        service, items = ITEMS[method]
        if service == "Read" and not self.plant.reads:
            return
        common = {"service": service, "application": self.application, "user": self.user.name}
        listed = getattr(params, items) if items else params
        for item in listed if isinstance(listed, list) else [listed]:
            self.plant.note(**common, **self._told(item, params))

    def _told(self, item: Any, params: Any) -> dict[str, Any]:
        name = self.plant.name
        match item:
            case ua.WriteValue():
                variant = item.Value.Value
                value = told(variant.Value) if variant is not None else None
                return {"node": name(item.NodeId), "attribute": int(item.AttributeId), "value": value}
            case ua.ReadValueId():
                return {"node": name(item.NodeId), "attribute": int(item.AttributeId)}
            case ua.CallMethodRequest():
                given = [told(one.Value) for one in item.InputArguments or []]
                return {"object": name(item.ObjectId), "method": name(item.MethodId), "arguments": given}
            case ua.MonitoredItemCreateRequest():
                watched = item.ItemToMonitor
                return {
                    "node": name(watched.NodeId),
                    "attribute": int(watched.AttributeId),
                    "subscription": params.SubscriptionId,
                    "sampling_ms": item.RequestedParameters.SamplingInterval,
                }
            case ua.BrowseDescription() | ua.HistoryReadValueId():
                return {"node": name(item.NodeId)}
            case ua.BrowsePath():
                return {"node": name(item.StartingNode)}
            case ua.NodeId():
                return {"node": name(item)}
            case ua.CreateSubscriptionParameters():
                return {"publishing_ms": item.RequestedPublishingInterval}
            case _:
                return {"what": told(item)}


class SeenServer(InternalServer):
    """A server whose sessions write down what is asked of them."""

    def __init__(self, plant: "OpcuaPlant", accounts: Accounts) -> None:
        super().__init__(user_manager=accounts)
        self._plant = plant

    def create_session(self, name: str, user: User = User(), external: bool = False) -> InternalSession:  # noqa: B008
        """A session of a client."""
        made = SeenSession(self, self.aspace, self.subscription_service, name, user=user, external=external)
        made.plant = self._plant
        return made


@dataclass
class OpcuaPlant:
    """A server with a tank behind it. `running` serves it."""

    certificate: Path
    "PEM, the leaf first."
    key: Path
    anchors: Path
    "PEM of the authorities that vouch for clients."
    port: int
    host: str = "127.0.0.1"
    seed: int = 2
    seen: Seen | None = None
    reads: bool = False
    "Whether plain reads are written down as well."
    accounts: Accounts = field(default_factory=Accounts)
    server: Server = field(init=False)
    tank: TankNodes = field(init=False)

    def note(self, **what: object) -> None:
        """Write down what was seen."""
        if self.seen is not None:
            self.seen.note(**what)

    def name(self, node: ua.NodeId) -> str:
        """A node's id with the namespace's URI."""
        text = node.to_string()
        return text.replace(f"ns={self._index};", f"nsu={NAMESPACE};", 1)

    @asynccontextmanager
    async def running(self, prepare: Prepare | None = None) -> AsyncIterator[Server]:
        """The server, listening once `prepare` has added what it likes, until the block ends."""
        own = x509.load_pem_x509_certificate(self.certificate.read_bytes())
        names = own.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        self.server = Server(SeenServer(self, self.accounts))
        await self.server.init()
        self.server.set_endpoint(f"opc.tcp://{self.host}:{self.port}{PATH}")
        self.server.set_server_name("Tank farm")
        await self.server.set_application_uri(names.get_values_for_type(x509.UniformResourceIdentifier)[0])
        self.server.set_security_policy(list(POLICIES))
        self.server.set_identity_tokens([ua.AnonymousIdentityToken, ua.UserNameIdentityToken])
        await self.server.load_certificate(self.certificate, format="pem")
        await self.server.load_private_key(self.key, format="pem")
        self._index = await self.server.register_namespace(NAMESPACE)
        self.tank = TankNodes(self.server, self._index, Tank(self.seed))
        await self.tank.make()
        if prepare is not None:
            await prepare(self)
        async with self.server:
            yield self.server

    async def live(self) -> None:
        """Let the tank's time pass, until cancelled."""
        then = time.monotonic()
        while True:
            await asyncio.sleep(STEP_S)
            now = time.monotonic()
            self.tank.model.step(min(1.0, now - then))
            then = now
            await self.tank.publish()

    def admit(self, chain: bytes) -> None:
        """Only certificates that the zone issued. A toy of a check: no revocation, no usage.

        Done here, because the library gives its validators no certificate where a client shows its chain.
        """
        shown = x509_from_der(chain)  # type: ignore[no-untyped-call]
        for anchor in x509.load_pem_x509_certificates(self.anchors.read_bytes()):
            with contextlib.suppress(InvalidSignature, ValueError, TypeError, AttributeError):
                shown.verify_directly_issued_by(anchor)
                return
        self.note(service="refused", certificate=shown.subject.rfc4514_string() if shown else None)
        raise ua.uaerrors.BadCertificateUntrusted


def arguments(prog: str) -> argparse.ArgumentParser:
    """What a server is started with."""
    parser = argparse.ArgumentParser(prog=prog, description="An OPC UA server with a tank behind it.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--certificate", type=Path, required=True, help="PEM, the leaf first")
    parser.add_argument("--key", type=Path, required=True)
    parser.add_argument("--anchors", type=Path, required=True, help="PEM: who vouches for clients")
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--seen", type=Path, help="write down what is asked, one JSON object an item")
    parser.add_argument("--reads", action="store_true", help="write down plain reads as well")
    return parser


def plant_of(args: argparse.Namespace) -> OpcuaPlant:
    """The server that the arguments describe."""
    return OpcuaPlant(
        certificate=args.certificate,
        key=args.key,
        anchors=args.anchors,
        port=args.port,
        host=args.host,
        seed=args.seed,
        seen=Seen(args.seen) if args.seen else None,
        reads=args.reads,
    )


async def serve(plant: OpcuaPlant, prepare: Prepare | None = None) -> None:
    """Serve until cancelled."""
    async with plant.running(prepare):
        print(f"OPC UA on {plant.host}:{plant.port}", flush=True)
        await plant.live()


def main(argv: list[str] | None = None) -> int:
    """`python -m gateway.demo.opcua_plant --port 4840 --certificate … --key … --anchors …`"""
    logging.basicConfig(level=logging.ERROR)
    args = arguments("gateway.demo.opcua_plant").parse_args(argv)
    try:
        asyncio.run(serve(plant_of(args)))
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
