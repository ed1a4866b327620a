"""A gateway site in a folder: PKI, configuration, a copy of the shipped policy, a plant, the real process.

    with Site(tmp_path) as site:
        site.run()
        hmi = site.client("hmi-1")
        assert hmi.write(10, 7) == bytes.fromhex("06000a0007")

The gateway is `python -m gateway run -c gateway.yaml`, started through whatever program a test puts before
it (strace, faketime), always as a process whose id is the gateway's own. The plant is a small honest Modbus
server in a thread, which keeps every request that it received. Nothing here knows the inside of the gateway
but its control socket and the reader of its journal.
"""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from struct import pack, unpack_from
from types import TracebackType
from typing import Any, Self, TypeVar

from gateway.audit.note import verifier_key
from gateway.audit.reader import records
from gateway.audit.verify import Report, verify
from gateway.ops.control import ask
from gateway.shipped import folder as shipped
from tests.conftest import unused_port
from tests.interop.plants import Script, ScriptedPlant
from tests.pki import Credential, Pki

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[2]
START_S = 40.0
"How long a gateway may take to listen; under strace on a busy machine it takes seconds."
END_S = 20.0
ANSWER_S = 8.0
"How long a client waits: longer than an intent waits for the disk, and then the plant for its time-out."
POLL_S = 0.02

CAST = {"hmi-1": "operator", "view-1": "viewer", "bare-1": None}
"Modbus clients of the site and the role that their certificates claim."

CONFIG = """\
gateway: {{name: gw-1, site: demo, data: ./data, certificate: {cert}.pem, key: {cert}.key}}
zones:
  - {{name: plant, anchors: pki/plant/anchors.pem, crls: [pki/plant/crl.pem], crl_grace: 24h}}
listeners:
  - {{name: modbus-north, host: 127.0.0.1, port: {port}, zone: plant, units: {{1: plc-1}}}}
assets:
  - {{name: plc-1, kind: plc, endpoint: "127.0.0.1:{plant}", unit: 1, timeout: 1s,
     in_flight: {in_flight}, registers: {{holding: [0-99]}}}}
tags:
  - {{name: plc-1.level, asset: plc-1, path: acme/demo/tank/level, table: holding, address: 30, type: uint16,
     poll: 200ms}}
policy: {{bundle: policies}}
audit: {{origin: demo.example/gw-1, key: pki/plant/issued/log-1.key{audit}}}
{more}"""

GRANT = """
  - id: operator-recipe
    roles: [operator]
    actions: [write]
    protocols: [modbus]
    assets: [plc-1]
    modbus: [{table: holding, ranges: [[10, 19]]}]
"""
"What the site grants beyond the demo: registers without a tag, so no step limit stands in a test's way."


def until(what: str, look: Callable[[], T | None], within_s: float = 10.0) -> T:
    """Look again and again until something is seen; AssertionError with `what` once the time is over."""
    deadline = time.monotonic() + within_s
    while True:
        seen = look()
        if seen:
            return seen
        assert time.monotonic() < deadline, f"waited {within_s} s in vain: {what}"
        time.sleep(POLL_S)


class Plant:
    """tests/interop's plant in a thread of its own; honest, unless it is given a script."""

    def __init__(self, script: Script | None = None) -> None:
        self._loop = asyncio.new_event_loop()
        self._plant = ScriptedPlant(script)
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._plant.__aenter__(), self._loop).result(5)
        self.port = self._plant.port

    @property
    def seen(self) -> list[bytes]:
        """Every request ADU that it received, oldest first."""
        return list(self._plant.device.seen)

    @property
    def written(self) -> list[bytes]:
        """The PDUs among them that write."""
        return [adu[7:] for adu in self.seen if adu[7] not in (1, 2, 3, 4)]

    def register(self, address: int) -> int:
        """What a holding register holds."""
        return self._plant.device.registers[address]

    def close(self) -> None:
        """End it."""
        asyncio.run_coroutine_threadsafe(self._plant.__aexit__(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()


class Client:
    """A Modbus/TCP Security client on a blocking TLS socket, which shares no code with the gateway."""

    def __init__(self, port: int, context: ssl.SSLContext, source: str = "127.0.0.1") -> None:
        tcp = socket.create_connection(("127.0.0.1", port), timeout=ANSWER_S, source_address=(source, 0))
        tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._tls = context.wrap_socket(tcp)
        self._buffer = b""
        self._tid = 0

    def send(self, pdu: bytes, tid: int, unit: int = 1) -> None:
        """One request."""
        self._tls.sendall(pack(">HHHB", tid, 0, len(pdu) + 1, unit) + pdu)

    def send_raw(self, data: bytes) -> None:
        """Bytes as they are."""
        self._tls.sendall(data)

    def answer(self) -> tuple[int, bytes]:
        """Transaction id and PDU of the next answer. EOFError where the gateway closed, or broke off."""
        while len(self._buffer) < 6 or len(self._buffer) < 6 + unpack_from(">H", self._buffer, 4)[0]:
            try:
                data = self._tls.recv(65_536)
            except (ConnectionError, ssl.SSLEOFError) as error:
                raise EOFError from error
            if not data:
                raise EOFError
            self._buffer += data
        size = 6 + unpack_from(">H", self._buffer, 4)[0]
        adu, self._buffer = self._buffer[:size], self._buffer[size:]
        return unpack_from(">H", adu)[0], adu[7:]

    def ask(self, pdu: bytes) -> bytes:
        """The answer to one request."""
        self._tid = self._tid % 65_535 + 1
        self.send(pdu, self._tid)
        tid, answer = self.answer()
        assert tid == self._tid
        return answer

    def read(self, address: int, count: int = 1) -> bytes:
        """The answer PDU to function 3."""
        return self.ask(pack(">BHH", 3, address, count))

    def write(self, address: int, value: int) -> bytes:
        """The answer PDU to function 6."""
        return self.ask(pack(">BHH", 6, address, value))

    def close(self) -> None:
        """Break off."""
        self._tls.close()


def value(number: int) -> bytes:
    """The right answer PDU to a read of one register."""
    return pack(">BBH", 3, 2, number)


class Site:
    """Everything of one gateway in a folder. The policy copy may be edited; `run` may be called again."""

    def __init__(
        self,
        folder: Path,
        *,
        plant_port: int | None = None,
        audit: str = "",
        more: str = "",
        writes_60s: int | None = None,
        in_flight: int = 1,
        gateway_days: int | None = None,
    ) -> None:
        """`audit` goes into that section, `more` behind the last; `writes_60s` replaces the budget of 120."""
        self.folder = folder
        self.pki = Pki(folder / "pki")
        self.policies = folder / "policies"
        self.data = folder / "data"
        self.config = folder / "gateway.yaml"
        self.log = folder / "gateway.log"
        self.plant = Plant() if plant_port is None else None
        self.process: subprocess.Popen[bytes] | None = None
        self._clients: list[Client] = []
        self.server = self.pki.issue("gateway-server", "plant", "gw-1", days=gateway_days)
        self.pki.issue("log-signer", "plant", "log-1")
        self.credentials: dict[str, Credential] = {
            name: self.pki.issue("modbus-client", "plant", name, role) for name, role in CAST.items()
        }
        shutil.copytree(shipped("policies"), self.policies)
        with (self.policies / "data" / "grants.yaml").open("a") as file:
            file.write(GRANT)
        if writes_60s is not None:
            bounds = self.policies / "data" / "bounds.yaml"
            bounds.write_text(bounds.read_text().replace("writes_60s: 120 ", f"writes_60s: {writes_60s} "))
            shutil.rmtree(self.policies / "tests")  # They hold the shipped budget, and would refuse this one.
        self.port = unused_port()
        self.config.write_text(
            CONFIG.format(
                cert="pki/plant/issued/gw-1",
                port=self.port,
                plant=plant_port if self.plant is None else self.plant.port,
                in_flight=in_flight,
                audit=f", {audit}" if audit else "",
                more=more,
            )
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for client in self._clients:
            client.close()
        self.kill()
        if self.plant is not None:
            self.plant.close()

    # the process ---------------------------------------------------------------------------------

    def run(
        self,
        *before: str,
        env: Mapping[str, str] | None = None,
        limit: Callable[[], None] | None = None,
        module: str = "gateway",
    ) -> int:
        """Start the gateway behind the words of `before`, wait until it is ready; its process id.

        `before` must end by becoming the gateway (`exec`), so that the id is its own. `limit` runs in the
        child before its program; `module` is another program that ends in the same main().
        """
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*before, sys.executable, "-m", module, "run", "-c", str(self.config)],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": path, **(env or {})},
                preexec_fn=limit,
                start_new_session=True,
            )
        until("the gateway is not ready", self._listens, START_S)
        return self.process.pid

    def _listens(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"the gateway ended at start:\n{self.log.read_text()[-3000:]}"
        try:
            answer = self.status()
        except (OSError, ValueError):
            return False
        return "listeners" in answer or "error" in answer

    def end(self, number: int = signal.SIGTERM) -> int:
        """Signal the gateway and wait until it has ended; its exit code."""
        assert self.process is not None
        process, self.process = self.process, None
        process.send_signal(number)
        try:
            return process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise

    def kill(self) -> None:
        """SIGKILL, if it runs."""
        if self.process is not None:
            if self.process.poll() is None:
                self.end(signal.SIGKILL)
            self.process = None

    def workshop(self) -> int | None:
        """Process id of the gateway's workshop, while it has one."""
        assert self.process is not None
        words = ["-m", "gateway.policy.workshop", str(self.process.pid)]
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if (folder / "cmdline").read_text().split("\0")[1:4] == words:
                    return int(folder.name)
        return None

    def status(self) -> dict[str, Any]:
        """What `dmz-gateway status` prints as JSON."""
        return ask(self.data / "control.sock", "status", ANSWER_S)

    def log_text(self) -> str:
        """What the process has said."""
        return self.log.read_text(errors="replace")

    # callers -------------------------------------------------------------------------------------

    def context(self, name: str | None) -> ssl.SSLContext:
        """The TLS context of one of the cast; None shows no certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(self.pki.root)
        if name is not None:
            shown = self.credentials[name]
            context.load_cert_chain(shown.cert, shown.key)
        return context

    def client(self, name: str | None, source: str = "127.0.0.1") -> Client:
        """A connected client, closed with the site."""
        client = Client(self.port, self.context(name), source)
        self._clients.append(client)
        return client

    # the journal ---------------------------------------------------------------------------------

    def records(self, kind: str | None = None) -> list[dict[str, Any]]:
        """Every whole record, oldest first, or those of one kind."""
        found = [json.loads(data) for _, data in records(self.data / "journal")]
        return [record for record in found if kind is None or record["kind"] == kind]

    def wait_record(self, what: str, fits: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first record that fits, once it is there."""
        return until(what, lambda: next(filter(fits, self.records()), None))

    def verify(self) -> dict[str, Any]:
        """What `dmz-gateway audit verify --json` says of the journal; AssertionError where it says no."""
        done = self.cli("audit", "verify", "--data", str(self.data), "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        report: dict[str, Any] = json.loads(done.stdout)
        return report

    def proved(self) -> Report:
        """The same without a process of its own, for tests that ask often."""
        key = verifier_key((self.data / "journal" / "log.vkey").read_text())
        report = verify(self.data / "journal", key)
        assert report.ok, report
        return report

    def cli(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run `dmz-gateway …`."""
        return subprocess.run(
            [sys.executable, "-m", "gateway", *words],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


def after_last_start(found: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The records of the newest run."""
    starts = [
        number
        for number, record in enumerate(found)
        if record["kind"] == "lifecycle" and record["note"]["event"] == "start"
    ]
    yield from found[starts[-1] :]
