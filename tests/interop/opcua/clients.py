"""OPC UA clients of two other makes behind one face, so that what they are told can be compared.

    async with client("node-opcua", credential, folder) as peer:       # or "asyncua"
        await peer.ask("connect", url=plc.url, policy="Basic256Sha256")
        await peer.ask("read", nodes=["ns=2;s=Tank.Level"])

`ask` gives plain JSON: `{"is": …}`, or `{"fault": status, "text": …}` where the service itself was refused.
A value is `{"status", "value": [type, value] or None, "source", "server"}`. Times go to the millisecond:
JavaScript has nothing finer. node/client.cjs is the other half.
"""

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Protocol, cast

from asyncua import Client, ua
from asyncua.client.ua_client import UaClient
from asyncua.crypto import security_policies
from asyncua.crypto.uacrypto import CertProperties
from asyncua.ua import VariantType as Kind
from cryptography import x509

from tests.pki import Credential

from .plant import MAKE, NODE, authorities, node_opcua

Make = Literal["asyncua", "node-opcua"]
Told = dict[str, Any]

POLICIES: dict[str, type[security_policies.SecurityPolicy]] = {
    "Basic256Sha256": security_policies.SecurityPolicyBasic256Sha256,
    "Aes128_Sha256_RsaOaep": security_policies.SecurityPolicyAes128Sha256RsaOaep,
    "Aes256_Sha256_RsaPss": security_policies.SecurityPolicyAes256Sha256RsaPss,
}

ANSWER_S = 30.0

YES, NO = cast("ua.Boolean", True), cast("ua.Boolean", False)

HIERARCHICAL = ua.ObjectIds.HierarchicalReferences


class Peer(Protocol):
    """A client that does as it is asked."""

    async def ask(self, do: str, **what: Any) -> Told:
        """One thing; see the methods of `Asyncua`."""


def uri_of(credential: Credential) -> str:
    """The ApplicationUri of a certificate."""
    leaf = x509.load_pem_x509_certificate(credential.cert.read_bytes())
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return names.get_values_for_type(x509.UniformResourceIdentifier)[0]


def at(moment: datetime | None) -> str | None:
    """A time stamp as JavaScript writes it."""
    if moment is None:
        return None
    text = moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def plain(value: Any) -> Any:
    """A value as JSON."""
    match value:
        case list():
            return [plain(one) for one in value]
        case float() if value in (float("inf"), float("-inf")) or value != value:
            return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
        case datetime():
            return at(value)
        case bytes():
            return value.hex()
        case ua.NodeId():
            return value.to_string()
        case ua.LocalizedText():
            return [value.Locale, value.Text]
        case ua.QualifiedName():
            return [value.NamespaceIndex, value.Name]
        case None | bool() | int() | float() | str():
            return value
        case _ if hasattr(value, "data_type"):
            return type(value).__name__
        case _:
            return str(value)


def variant(given: ua.Variant | None) -> list[Any] | None:
    """[type, value]; the two 64-bit types as text."""
    if given is None or given.VariantType == Kind.Null:
        return None
    value = plain(given.Value)
    if given.VariantType in (Kind.Int64, Kind.UInt64):
        value = [str(one) for one in value] if isinstance(value, list) else str(value)
    return [given.VariantType.name, value]


def made(given: list[Any]) -> ua.Variant:
    """The reverse, for what a client writes."""
    name, value = given
    make = MAKE.get(name, lambda one: one)
    held = [make(one) for one in value] if isinstance(value, list) else make(value)
    return ua.Variant(held, Kind[name])


def data_value(given: ua.DataValue) -> Told:
    """A value with its status and its times."""
    status = given.StatusCode.value if given.StatusCode is not None else 0
    return {
        "status": status,
        "value": variant(given.Value),
        "source": at(given.SourceTimestamp),
        "server": at(given.ServerTimestamp),
    }


def node(text: str) -> ua.NodeId:
    """A node id as text."""
    return ua.NodeId.from_string(text)


class Renewed(Client):
    """A client that counts how often it renewed its channel."""

    renewals = 0
    renew_s: float | None = None

    async def open_secure_channel(self, renew: bool = False) -> None:
        """Open or renew."""
        await super().open_secure_channel(renew)
        self.renewals += renew

    async def _renew_channel_loop(self) -> None:
        """As the library does it, or more often."""
        if self.renew_s is None:
            return await super()._renew_channel_loop()
        while not self.uaclient.is_disconnect_requested:
            await asyncio.sleep(self.renew_s)
            await self.open_secure_channel(renew=True)
            self.uaclient.revolve_security_token()
        return None


class Asyncua:
    """The client of asyncua."""

    def __init__(self, credential: Credential) -> None:
        self._credential = credential
        self._client: Renewed | None = None
        self._connected = False

    @property
    def client(self) -> Renewed:
        """The client itself."""
        assert self._client is not None
        return self._client

    async def ask(self, do: str, **what: Any) -> Told:
        """One thing, by the name of the method that does it."""
        does: Callable[..., Awaitable[Any]] = getattr(self, f"do_{do}")
        try:
            return {"is": await asyncio.wait_for(does(**what), ANSWER_S + what.get("within_s", 0))}
        except ua.UaStatusCodeError as error:
            return {"fault": error.code, "text": str(error)}
        except (ua.UaError, OSError, TimeoutError) as error:
            return {"fault": None, "text": f"{type(error).__name__}: {error}"}

    async def do_endpoints(self, url: str) -> list[Told]:
        """What GetEndpoints tells."""
        told = await Client(url, timeout=10).connect_and_get_server_endpoints()
        return [
            {
                "url": one.EndpointUrl,
                "policy": (one.SecurityPolicyUri or "").rpartition("#")[2],
                "mode": one.SecurityMode.name,
                "server": one.Server.ApplicationUri,
                "tokens": [token.TokenType.name for token in one.UserIdentityTokens],
            }
            for one in told
        ]

    async def do_connect(
        self,
        url: str,
        policy: str,
        user: str | None = None,
        password: str | None = None,
        lifetime_ms: int = 3_600_000,
        renew_ms: int | None = None,
    ) -> str:
        """A channel and a session. `renew_ms` renews more often than at three quarters of the lifetime."""
        self._client = client = Renewed(url, timeout=10, watchdog_intervall=30)
        client.application_uri = uri_of(self._credential)
        client.secure_channel_timeout = lifetime_ms
        client.session_timeout = 60_000
        client.renew_s = None if renew_ms is None else renew_ms / 1000
        if user is not None:
            client.set_user(user)
            client.set_password(password or "")
        await client.set_security(
            POLICIES[policy],
            CertProperties(self._credential.cert, "pem"),
            CertProperties(self._credential.key, "pem"),
        )
        await client.connect()
        self._connected = True
        return "connected"

    async def do_browse(self, node: str) -> Told:
        """Forward hierarchical references of a node."""
        asked = ua.BrowseDescription(
            NodeId=ua.NodeId.from_string(node),
            BrowseDirection=ua.BrowseDirection.Forward,
            ReferenceTypeId=ua.NodeId(ua.Int32(HIERARCHICAL)),
            IncludeSubtypes=True,
            ResultMask=ua.UInt32(63),
        )
        told = (await self._session.browse(ua.BrowseParameters(NodesToBrowse=[asked])))[0]
        references = [
            [one.BrowseName.Name, one.NodeId.to_string(), one.NodeClass.name] for one in told.References or []
        ]
        return {"status": told.StatusCode.value, "references": sorted(references)}

    async def do_translate(self, start: str, path: list[tuple[int, str]]) -> Told:
        """The node at the end of a path of names."""
        elements = [
            ua.RelativePathElement(
                ReferenceTypeId=ua.NodeId(ua.Int32(HIERARCHICAL)),
                IsInverse=NO,
                IncludeSubtypes=YES,
                TargetName=ua.QualifiedName(name, index),
            )
            for index, name in path
        ]
        asked = ua.BrowsePath(StartingNode=node(start), RelativePath=ua.RelativePath(Elements=elements))
        told = (await self._session.translate_browsepaths_to_nodeids([asked]))[0]
        targets = [one.TargetId.to_string() for one in told.Targets or []]
        return {"status": told.StatusCode.value, "targets": targets}

    async def do_read(self, nodes: list[str], attribute: int = 13, range: str | None = None) -> list[Told]:  # noqa: A002 # as OPC UA calls it
        """One attribute of several nodes."""
        asked = [
            ua.ReadValueId(
                NodeId=node(one),
                AttributeId=ua.AttributeIds(attribute),
                IndexRange=ua.String(range) if range else None,
            )
            for one in nodes
        ]
        parameters = ua.ReadParameters(NodesToRead=asked, TimestampsToReturn=ua.TimestampsToReturn.Both)
        return [data_value(one) for one in await self._session.read(parameters)]

    async def do_register(self, nodes: list[str]) -> list[Told]:
        """Register nodes and read them by the ids that were given."""
        ids = await self._session.register_nodes([node(one) for one in nodes])
        told = await self.do_read([one.to_string() for one in ids])
        await self._session.unregister_nodes(ids)
        return told

    async def do_write(self, items: list[Told]) -> list[int]:
        """Write values; the status of each."""
        asked = [
            ua.WriteValue(
                NodeId=node(one["node"]),
                AttributeId=ua.AttributeIds(one.get("attribute", 13)),
                IndexRange=one.get("range"),
                Value=ua.DataValue(
                    made(one["value"]),
                    SourceTimestamp=ua.DateTime.fromisoformat(one["source"]) if "source" in one else None,
                ),
            )
            for one in items
        ]
        return [one.value for one in await self._session.write(ua.WriteParameters(NodesToWrite=asked))]

    async def do_call(self, object: str, method: str, arguments: list[list[Any]]) -> Told:  # noqa: A002
        """Call a method."""
        asked = ua.CallMethodRequest(
            ObjectId=node(object), MethodId=node(method), InputArguments=[made(one) for one in arguments]
        )
        told = (await self._session.call([asked]))[0]
        return {
            "status": told.StatusCode.value,
            "inputs": [one.value for one in told.InputArgumentResults or []],
            "outputs": [variant(one) for one in told.OutputArguments or []],
        }

    async def do_subscribe(
        self, nodes: list[str], count: int, publishing_ms: float, sampling_ms: float
    ) -> Told:
        """The first notifications of some nodes, and the status of each item."""
        parameters = ua.CreateSubscriptionParameters(
            RequestedPublishingInterval=ua.Double(publishing_ms),
            RequestedLifetimeCount=ua.UInt32(600),
            RequestedMaxKeepAliveCount=ua.UInt32(10),
            MaxNotificationsPerPublish=ua.UInt32(0),
            PublishingEnabled=True,
        )
        got: list[list[Told]] = [[] for _ in nodes]
        came = asyncio.Event()
        names = {node(one): place for place, one in enumerate(nodes)}

        class Handler:
            """Keeps what comes."""

            def datachange_notification(self, source: Any, _value: Any, data: Any) -> None:
                """One value."""
                got[names[source.nodeid]].append(data_value(data.monitored_item.Value))
                came.set()

        subscription = await self.client.create_subscription(parameters, Handler())
        asked = [self.client.get_node(one) for one in nodes]
        handles = await subscription.subscribe_data_change(
            asked, queuesize=100, sampling_interval=ua.Double(sampling_ms)
        )
        statuses = [one.value if isinstance(one, ua.StatusCode) else 0 for one in handles]
        while any(len(one) < count for one, status in zip(got, statuses, strict=True) if status == 0):
            came.clear()
            await asyncio.wait_for(came.wait(), 20)
        await subscription.delete()
        return {"statuses": statuses, "got": [one[:count] for one in got]}

    async def do_history(self, node: str, start: str, end: str, count: int) -> Told:
        """Raw values of a while."""
        details = ua.ReadRawModifiedDetails(
            IsReadModified=False,
            StartTime=ua.DateTime.fromisoformat(start),
            EndTime=ua.DateTime.fromisoformat(end),
            NumValuesPerNode=ua.UInt32(count),
            ReturnBounds=False,
        )
        asked = ua.HistoryReadParameters(
            HistoryReadDetails=details,
            TimestampsToReturn=ua.TimestampsToReturn.Both,
            ReleaseContinuationPoints=False,
            NodesToRead=[ua.HistoryReadValueId(NodeId=ua.NodeId.from_string(node))],
        )
        told = (await self._session.history_read(asked))[0]
        values = told.HistoryData.DataValues if isinstance(told.HistoryData, ua.HistoryData) else []
        return {"status": told.StatusCode.value, "values": [data_value(one) for one in values]}

    async def do_renewed(self, node: str, times: int, within_s: float) -> Told:
        """Read without a pause until the channel was renewed that often."""
        loop = asyncio.get_running_loop()
        end = loop.time() + within_s
        reads = bad = 0
        while self.client.renewals < times:
            if loop.time() > end:
                raise TimeoutError(f"{self.client.renewals} renewals in {within_s} s")
            bad += (await self.do_read([node]))[0]["status"] != 0
            reads += 1
            if reads % 50 == 0:
                await asyncio.sleep(0.01)
        return {"renewals": self.client.renewals, "reads": reads, "bad": bad}

    async def do_close(self) -> str:
        """End session and channel."""
        if self._connected:
            self._connected = False
            await self.client.disconnect()
        return "closed"

    @property
    def _session(self) -> UaClient:
        return self.client.uaclient


class NodeOpcua:
    """The client of node-opcua, a process of its own, which may serve one test after another."""

    def __init__(self, credential: Credential, folder: Path) -> None:
        self._shown = {
            "certificate": str(credential.cert),
            "key": str(credential.key),
            "uri": uri_of(credential),
            "folder": str(folder),
            **authorities(credential.cert.parents[2]),
        }
        folder.mkdir(parents=True, exist_ok=True)
        self._said = folder / "client.said"
        with self._said.open("ab") as said:
            self._process = subprocess.Popen(
                [node_opcua(), NODE / "client.cjs"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
            )

    async def ask(self, do: str, **what: Any) -> Told:
        """One thing; see client.cjs."""
        shown = self._shown if do in ("connect", "endpoints") else {}
        line = json.dumps({"do": do, **shown, **what}).encode() + b"\n"
        return await asyncio.wait_for(
            asyncio.to_thread(self._answer, line), what.get("within_s", 0) + ANSWER_S
        )

    def _answer(self, line: bytes) -> Told:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line)
        self._process.stdin.flush()
        for told in self._process.stdout:
            if told.startswith(b"{"):  # the library talks on standard output as well
                return dict(json.loads(told))
        raise AssertionError(self._said.read_text())

    def stop(self) -> None:
        """End Node."""
        self._process.kill()
        self._process.communicate()


class Clients:
    """Clients for several tests; those of node-opcua are started once for each name, Node starts slowly."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: dict[str, NodeOpcua] = {}

    @asynccontextmanager
    async def client(self, make: Make, credential: Credential, name: str = "one") -> AsyncIterator[Peer]:
        """A client that is not yet connected; it is disconnected at the end."""
        peer: Peer
        if make == "asyncua":
            peer = Asyncua(credential)
        else:
            key = f"{credential.cert.stem}-{name}"
            if key not in self._started:
                self._started[key] = NodeOpcua(credential, self._folder / key)
            peer = self._started[key]
        try:
            yield peer
        finally:
            await peer.ask("close")

    def stop(self) -> None:
        """End all of them."""
        for one in self._started.values():
            one.stop()
