"""OPC UA servers for tests, each a process with a log of what it saw: the demo's (asyncua) and node-opcua's.

    with plant(pki, folder, port, "asyncua") as plc: …      # or "node-opcua"
        plc.url, plc.certificate; plc.seen(service="Write"); plc.freeze(); plc.kill(); plc.restart()

Both have the nodes of gateway/demo/opcua_nodes.py (`s=Tank.…`) and the specimens of specimens.json
(`s=Specimen.…`), all in namespace NAMESPACE; `Specimen.Counter` counts ten times a second,
`Specimen.Past` has a history of a hundred values, a second apart from `FIXED` on.

`python -m tests.interop.opcua.plant --port … --certificate … --key … --anchors …` is the asyncua one by hand.
"""

import asyncio
import dataclasses
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from asyncua import ua
from asyncua.ua import VariantType as Kind
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.demo.opcua_nodes import NAMESPACE, good, node_id, status
from gateway.demo.opcua_plant import PATH, Accounts, OpcuaPlant, arguments, plant_of, serve
from tests.pki import Pki

HERE = Path(__file__).parent
NODE = HERE / "node"
ROOT = HERE.parents[2]

FIXED = datetime(2026, 1, 1, 0, 0, 0, 500_000, UTC)
"The source timestamp of every specimen."

PASSWORDS = {"operator": "correct horse battery staple"}
"Users that both servers know; anonymous sessions are taken as well."

Make = Literal["asyncua", "node-opcua"]

START_S = 60.0


MAKE: dict[str, Callable[[Any], Any]] = {
    "Int64": int,
    "UInt64": int,
    "Double": float,
    "DateTime": datetime.fromisoformat,
    "Guid": uuid.UUID,
    "ByteString": bytes.fromhex,
    "NodeId": ua.NodeId.from_string,
    "LocalizedText": lambda value: ua.LocalizedText(Locale=value[0], Text=value[1]),
    "QualifiedName": lambda value: ua.QualifiedName(value[1], value[0]),
}
"What makes a value of JSON into one of the library, by type; the others are the same in both."


def value_of(specimen: dict[str, Any]) -> ua.Variant:
    """A specimen's value."""
    kind = Kind[specimen["type"]]

    def one(value: Any) -> Any:
        make = MAKE.get(specimen["type"])
        return value if value is None or make is None else make(value)

    value = specimen["value"]
    if value is None and specimen["type"] != "String":
        return ua.Variant()
    if specimen.get("array"):
        return ua.Variant([one(item) for item in value], kind, is_array=True)
    return ua.Variant(one(value), kind)


async def specimens(plant: OpcuaPlant) -> None:
    """The nodes of specimens.json, the counter and the one with a history."""
    server = plant.server
    index = await server.get_namespace_index(NAMESPACE)
    at = ua.DateTime.fromisoformat(FIXED.isoformat())

    def named(name: str, identifier: str | None = None) -> tuple[ua.NodeId, ua.QualifiedName]:
        return node_id(identifier or f"Specimen.{name}", index), ua.QualifiedName(name, index)

    folder = await server.get_objects_node().add_object(*named("Specimen", "Specimen"))
    for specimen in json.loads((HERE / "specimens.json").read_text()):
        value = ua.DataValue(
            value_of(specimen),
            StatusCode=status(getattr(ua.StatusCodes, specimen.get("status", "Good"))),
            SourceTimestamp=at,
            ServerTimestamp=at,
        )
        node = await folder.add_variable(
            *named(specimen["name"], specimen.get("id")),
            ua.Variant(),
            datatype=node_id(Kind[specimen["type"]].value),
        )
        if specimen.get("writable"):
            await node.set_writable()
        server.iserver.aspace[node.nodeid].attributes[ua.AttributeIds.Value].value = value
    past = await folder.add_variable(*named("Past"), 0.0)
    await server.historize_node_data_change(past, timedelta(days=36_500), 1_000)
    counter = await folder.add_variable(*named("Counter"), ua.Variant(0, Kind.UInt32))
    await asyncio.sleep(0.1)  # the server's own subscription has then seen the first value of Past
    storage = server.iserver.history_manager.storage
    storage._datachanges[past.nodeid].clear()  # type: ignore[attr-defined]
    for second in range(100):
        moment = ua.DateTime.fromisoformat((FIXED + timedelta(seconds=second)).isoformat())
        await storage.save_node_value(past.nodeid, good(second / 2, Kind.Double, moment))

    async def count() -> None:
        number = 0
        while True:
            await server.write_attribute_value(
                counter.nodeid, good(number, Kind.UInt32, ua.DateTime.now(UTC))
            )
            number += 1
            await asyncio.sleep(0.1)

    plant.counting = asyncio.create_task(count())  # type: ignore[attr-defined] # a reference keeps it alive


@dataclass
class Plant:
    """A server process."""

    make: Make
    port: int
    cert: Path
    key: Path
    pki: Path
    folder: Path
    reads: bool = True
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def url(self) -> str:
        """Its endpoint."""
        return f"opc.tcp://127.0.0.1:{self.port}{PATH}"

    @property
    def certificate(self) -> x509.Certificate:
        """What it shows."""
        return x509.load_pem_x509_certificate(self.cert.read_bytes())

    @property
    def uri(self) -> str:
        """Its ApplicationUri."""
        names = self.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return names.get_values_for_type(x509.UniformResourceIdentifier)[0]

    @property
    def log(self) -> Path:
        """What it saw."""
        return self.folder / "seen"

    def start(self) -> None:
        """Start it and wait until it serves."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "said").open("ab") as said:
            self.process = subprocess.Popen(
                self._command(), cwd=ROOT, stdin=subprocess.PIPE, stdout=said, stderr=said
            )
        deadline = time.monotonic() + START_S
        while not self._listens():
            assert self.process.poll() is None, (self.folder / "said").read_text()
            assert time.monotonic() < deadline, (self.folder / "said").read_text()
            time.sleep(0.05)

    def stop(self) -> None:
        """End it as a service manager would, or at once if it does not."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.kill()
        self.process = None

    def kill(self) -> None:
        """End it without a word."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def freeze(self) -> None:
        """It holds its connections and does nothing any more."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def restart(self) -> None:
        """Kill it and start it anew, on the same port."""
        self.kill()
        self.start()

    def seen(self, **like: object) -> list[dict[str, Any]]:
        """What it saw so far, of those lines that have all of these."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []
        return [line for line in lines if all(line.get(key) == value for key, value in like.items())]

    def _listens(self) -> bool:
        if self.make == "node-opcua" and "ready" not in (self.folder / "said").read_text():
            return False
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True

    def _command(self) -> list[str]:
        if self.make == "asyncua":
            words = ["--port", self.port, "--certificate", self.cert, "--key", self.key]
            words += [
                "--anchors",
                self.pki / "plant" / "anchors.pem",
                "--seen",
                self.log,
                *(["--reads"] if self.reads else []),
            ]
            return [sys.executable, "-m", "tests.interop.opcua.plant", *map(str, words)]
        asked = {
            "port": self.port,
            "certificate": str(self.cert),
            "key": str(self.key),
            "folder": str(self.folder / "node"),
            "seen": str(self.log),
            "reads": self.reads,
            "uri": self.uri,
            "passwords": PASSWORDS,
            **authorities(self.pki),
        }
        return [node_opcua(), str(NODE / "server.cjs"), json.dumps(asked)]


def authorities(pki: Path) -> dict[str, list[str]]:
    """What node-opcua wants to know of those who vouch for its peers, up to the root."""
    above = (pki / "plant", pki / "root")
    return {
        "authorities": [str(folder / "ca.pem") for folder in above],
        "crls": [str(folder / "crl.pem") for folder in above],
    }


def node_opcua() -> str:
    """The program that .ci/install-components makes: Node with node-opcua on its path."""
    return str(ROOT / ".build" / "bin" / "node-opcua")


@contextmanager
def plant(
    pki: Pki, folder: Path, port: int, make: Make, name: str = "plc-ua", **more: Any
) -> Iterator[Plant]:
    """A server with a certificate of the zone `plant`, until the block ends."""
    cert = pki.dir / "plant" / "issued" / f"{name}.pem"
    if not cert.exists():
        pki.issue("opcua-application", "plant", name)
    made = Plant(make, port, cert, cert.with_suffix(".key"), pki.dir, folder, **more)
    made.start()
    try:
        yield made
    finally:
        made.stop()


def der_file(certificate: x509.Certificate, file: Path) -> Path:
    """A certificate as the DER file that clients like."""
    file.write_bytes(certificate.public_bytes(Encoding.DER))
    return file


def main(argv: list[str] | None = None) -> int:
    """The asyncua one by hand, with specimens and users."""
    logging.basicConfig(level=logging.ERROR)
    made = plant_of(arguments("tests.interop.opcua.plant").parse_args(argv))
    made = dataclasses.replace(made, accounts=Accounts(PASSWORDS))
    asyncio.run(serve(made, specimens))
    return 0


if __name__ == "__main__":
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    sys.exit(main())
