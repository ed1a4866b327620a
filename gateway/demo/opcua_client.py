"""A foreign OPC UA client for the demo: asyncua over Basic256Sha256. None of our wire code.

    python -m gateway.demo.opcua_client --demo DIR read Tank.Level
    python -m gateway.demo.opcua_client --demo DIR write Tank.LevelSetpoint 65
    python -m gateway.demo.opcua_client --demo DIR call Tank.StartBatch 2
    python -m gateway.demo.opcua_client --demo DIR watch Tank.Level 5

Exit code 0: done; 1: a bad status; 2: no session.
"""

import argparse
import asyncio
import json
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asyncua import Client, ua
from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256
from asyncua.crypto.uacrypto import CertProperties
from asyncua.ua import VariantType as Kind
from cryptography import x509

from gateway.demo.opcua_nodes import NAMESPACE, VARIABLES, node_id

TIMEOUT_S = 5.0

WATCH_S = 10.0
"How long a watcher waits for all that it wants."

logging.getLogger("asyncua").setLevel(logging.CRITICAL)
"What it has to say (that this machine's name is not in a certificate …) is no part of a tour."

KINDS = {f"Tank.{one.name}": one.kind for one in VARIABLES}


@dataclass(frozen=True)
class Way:
    """Who goes where: an endpoint, the certificate that it must show, and our own."""

    url: str
    server: Path
    certificate: Path
    key: Path

    @asynccontextmanager
    async def session(self) -> AsyncIterator["Session"]:
        """A session, closed at the end."""
        client = Client(self.url, timeout=TIMEOUT_S, watchdog_intervall=60)
        client.application_uri = _uri(self.certificate)
        client.session_timeout = 60_000
        await client.set_security(
            SecurityPolicyBasic256Sha256,
            CertProperties(self.certificate, "pem"),
            CertProperties(self.key, "pem"),
            server_certificate=_first(self.server),
        )
        async with client:
            yield Session(client, await client.get_namespace_index(NAMESPACE))


@dataclass(frozen=True)
class Session:
    """What the demo does in one. A bad status of the one thing asked is ua.UaStatusCodeError."""

    client: Client
    index: int

    def node(self, name: str) -> ua.NodeId:
        """A node of the plant by its name."""
        return node_id(name, self.index)

    async def read(self, name: str) -> Any:
        """A value."""
        return await self.client.get_node(self.node(name)).read_value()

    async def write(self, name: str, value: Any) -> None:
        """Write a value and nothing beside it: many servers refuse a status or time stamps."""
        variant = ua.Variant(value, KINDS[name])
        await self.client.get_node(self.node(name)).write_value(ua.DataValue(variant))

    async def call(self, name: str, *arguments: float) -> list[Any]:
        """Call a method of the tank; all of them take numbers."""
        asked = ua.CallMethodRequest(
            ObjectId=self.node("Tank"),
            MethodId=self.node(name),
            InputArguments=[ua.Variant(one, Kind.Double) for one in arguments],
        )
        told = (await self.client.uaclient.call([asked]))[0]
        told.StatusCode.check()
        return [one.Value for one in told.OutputArguments or []]

    async def watch(self, name: str, count: int) -> list[ua.DataValue]:
        """The first so many notifications of a node."""
        got: list[ua.DataValue] = []
        enough = asyncio.Event()

        class Handler:
            """Keeps what comes."""

            def datachange_notification(self, _node: Any, _value: Any, data: Any) -> None:
                """One value."""
                got.append(data.monitored_item.Value)
                if len(got) >= count:
                    enough.set()

        subscription = await self.client.create_subscription(200, Handler())
        await subscription.subscribe_data_change(
            self.client.get_node(self.node(name)), sampling_interval=ua.Double(100)
        )
        async with asyncio.timeout(WATCH_S):
            await enough.wait()
        await subscription.delete()
        return got[:count]


def _first(file: Path) -> CertProperties:
    """The leaf of a PEM chain."""
    return CertProperties(file, "pem")


def _uri(file: Path) -> str:
    """The ApplicationUri of a certificate, which a client must claim as well."""
    leaf = x509.load_pem_x509_certificate(file.read_bytes())
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return names.get_values_for_type(x509.UniformResourceIdentifier)[0]


async def _do(way: Way, args: argparse.Namespace) -> None:
    async with way.session() as session:
        match args.verb:
            case "read":
                print(await session.read(args.name))
            case "write":
                kind = KINDS[args.name]
                truth = kind is Kind.Boolean
                await session.write(args.name, bool(args.value) if truth else args.value)
                print("written")
            case "call":
                print(*await session.call(args.name, *args.arguments))
            case "watch":
                for one in await session.watch(args.name, args.count):
                    value = one.Value.Value if one.Value is not None else None
                    print(one.SourceTimestamp, value)
            case _:
                raise AssertionError(args.verb)


def main(argv: list[str] | None = None) -> int:
    """The command line above."""
    parser = argparse.ArgumentParser(prog="gateway.demo.opcua_client", description="An asyncua client.")
    parser.add_argument("--demo", type=Path, required=True, help="folder of the running demo")
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb in ("read", "write", "call", "watch"):
        verbs.add_parser(verb).add_argument("name", help="such as Tank.Level")
    verbs.choices["write"].add_argument("value", type=float)
    verbs.choices["call"].add_argument("arguments", type=float, nargs="*")
    verbs.choices["watch"].add_argument("count", type=int)
    args = parser.parse_args(argv)
    if args.verb == "write" and args.name not in KINDS:
        parser.error(f"the demo knows no {args.name}; there are {', '.join(KINDS)}")
    try:
        facts = json.loads((args.demo / "demo.json").read_text(encoding="utf-8"))
    except OSError as error:
        parser.error(f"no demo runs in {args.demo}: {error.strerror}")
    if not facts["opcua"]:
        parser.error("this demo has no OPC UA")
    shown = facts["certificates"]["mes-1"]
    url = f"opc.tcp://127.0.0.1:{facts['ports']['opcua']}/plc-2"
    server = Path(facts["pki"]) / "plant" / "issued" / "gw-ua.pem"
    way = Way(url, server, Path(shown["certificate"]), Path(shown["key"]))
    try:
        asyncio.run(_do(way, args))
    except ua.UaStatusCodeError as error:
        print(type(error).__name__)
        return 1
    except (ua.UaError, OSError, TimeoutError) as error:
        print(f"no session: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
