"""A world for the demo: its folder, its plant, its broker, and the real gateway, as child processes.

DIR/demo.json       where everything is: ports, process ids, certificates (what outside scripts read)
DIR/gateway.yaml    the gateway's configuration       DIR/policies/   its policy, to be edited while it runs
DIR/pki/            the throw-away authorities        DIR/data/       the gateway's data folder
DIR/logs/           what every child said             DIR/seen/       what each device received, but reads
"""

import getpass
import http.client
import importlib.resources
import importlib.util
import json
import os
import random
import shutil
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from string import Template
from typing import Any, TypeVar

from gateway.config.read import read
from gateway.demo import certificates, client
from gateway.demo.children import Children
from gateway.demo.opcua_policy import lay_over
from gateway.demo.plant import DEVICES
from gateway.model.errors import GatewayError
from gateway.shipped import folder as shipped

T = TypeVar("T")

START_S = 60.0
"How long a child may take to be ready. Generous: on a busy machine importing takes seconds."

POLL_S = 0.05

LISTENING = range(20_000, 32_000)
"Below what Linux and macOS give to outgoing connections."

PORTS = ("modbus", "opcua", "https", "admin", "broker", *DEVICES, "plc-2")

CLIENTS = {
    "hmi-1": "plant",
    "view-1": "plant",
    "bare-1": "plant",
    "mes-1": "plant",
    "historian-1": "it",
    "pat": "plant",
    "vendor-1": "plant",
    "lea": "plant",
    "sam": "plant",
}
"Who plays a part -> the zone that certified it."


class DemoError(GatewayError):
    """The demo cannot run, and why."""


def until(what: str, within_s: float, look: Callable[[], T | None]) -> T:
    """Look again and again until something is seen; DemoError with `what` once the time is over."""
    deadline = time.monotonic() + within_s
    while True:
        seen = look()
        if seen:
            return seen
        if time.monotonic() > deadline:
            raise DemoError(f"waited {within_s:.0f} s in vain: {what}")
        time.sleep(POLL_S)


def mosquitto() -> str | None:
    """Path of the broker, where one is installed (Debian keeps it in sbin)."""
    return shutil.which("mosquitto", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"]))


def asyncua() -> bool:
    """Whether OPC UA can be shown: server and client of the demo are asyncua's."""
    return importlib.util.find_spec("asyncua") is not None


def free_ports(count: int) -> list[int]:
    """Loopback ports that nobody listens on, all different, of those that no outgoing connection gets.

    A port of the kernel's own range could be taken by any connection before we listen; and a client that
    knocks at a device which is switched off could by chance be given that very port, and talk to itself.
    """
    free: list[int] = []
    for port in random.sample(LISTENING, len(LISTENING)):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            free.append(port)
        if len(free) == count:
            return free
    raise DemoError(f"there are no {count} free ports from {LISTENING.start} to {LISTENING.stop - 1}")


class World:
    """A demo in a folder. `build` writes the files, `start` brings it to life, `stop` ends it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pki = folder / "pki"
        self.config = folder / "gateway.yaml"
        self.policies = folder / "policies"
        self.data = folder / "data"
        self.vkey = folder / "log.vkey"
        "The log's verifier key, kept apart from the log: the copy beside it proves nothing to a doubter."
        self.ports: dict[str, int] = {}
        self.broker = mosquitto()
        self.opcua = asyncua()
        self.children = Children(folder / "logs")
        self._pids: dict[str, int] = {}
        self._tags = 0

    @property
    def ca(self) -> Path:
        """What clients verify servers by."""
        return self.pki / "root" / "ca.pem"

    def certificate(self, name: str) -> tuple[Path, Path]:
        """Chain and key of somebody of the cast."""
        issued = self.pki / CLIENTS[name] / "issued"
        return issued / f"{name}.pem", issued / f"{name}.key"

    def person(self, name: str) -> list[str]:
        """Options with which a command acts on the gateway as that person."""
        certificate, key = self.certificate(name)
        address = f"https://localhost:{self.ports['admin']}"
        return [
            *("--gateway", address, "--ca", str(self.ca)),
            *("--cert", str(certificate), "--key", str(key)),
        ]

    def seen(self, device: str) -> list[bytes]:
        """Every packet that a device received since the start, other than single plain reads."""
        text = (self.folder / "seen" / device).read_text(encoding="utf-8")
        return [bytes.fromhex(json.loads(line)["hex"]) for line in text.splitlines()]

    def asked(self, device: str, service: str) -> list[dict[str, Any]]:
        """What an OPC UA server was asked since the start: an object for each item of that service."""
        text = (self.folder / "seen" / device).read_text(encoding="utf-8")
        return [line for line in map(json.loads, text.splitlines()) if line["service"] == service]

    def build(self) -> None:
        """Write every file that the children need. The folder holds keys: mode 0700."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        self.folder.chmod(0o700)
        for sub in ("logs", "seen"):
            (self.folder / sub).mkdir()
        certificates.make(self.pki, datetime.now(UTC))
        shutil.copytree(shipped("policies"), self.policies)
        if self.opcua:
            lay_over(self.policies / "data")
        self.ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        names = {name.removesuffix("-1"): str(port) for name, port in self.ports.items()}
        names |= {"user": getpass.getuser(), "opcua_port": names["opcua"], "plc_2": names["plc-2"]}
        for part in ("opcua", "opcua_assets", "opcua_tags"):
            names[part] = _filled(f"{part}.yaml", names) if self.opcua else ""
        self.config.write_text(_filled("gateway.yaml", names), encoding="utf-8")
        if self.broker:
            with self.config.open("a", encoding="utf-8") as file:
                file.write(_filled("mqtt.yaml", names))
            (self.folder / "mosquitto.conf").write_text(_filled("mosquitto.conf", names), encoding="utf-8")
            (self.folder / "broker.acl").write_text(_filled("broker.acl", names), encoding="utf-8")
            (self.folder / "broker.acl").chmod(0o600)
            anchor = (self.pki / "it" / "anchors.pem").read_bytes()
            (self.folder / "broker-clients.pem").write_text(certificates.trusted_for_clients(anchor))
        self._tags = len(read(self.config).tags)

    def start(self) -> None:
        """Start the plant, the broker and the gateway, and wait until values have come through."""
        if self.opcua:
            self._start_opcua()
        for device in DEVICES:
            self.start_device(device)
        if self.opcua:
            self._listening("plc-2")
        if self.broker:
            self._start("broker", self.broker, "-c", "mosquitto.conf")
            self._listening("broker")
        self._start("gateway", sys.executable, "-m", "gateway", "run", "-c", str(self.config))
        self._wait("gateway", "the gateway is not ready", self._ready)
        shutil.copy(self.data / "journal" / "log.vkey", self.vkey)
        self._write_facts()

    def start_device(self, device: str) -> None:
        """Switch a device on."""
        port, seen = str(self.ports[device]), str(self.folder / "seen" / device)
        command = [sys.executable, "-m", "gateway.demo.plant", device, "--port", port, "--seen", seen]
        self._start(device, *command)
        self._listening(device)

    def _start_opcua(self) -> None:
        port, issued = str(self.ports["plc-2"]), self.pki / "plant" / "issued"
        command = [sys.executable, "-m", "gateway.demo.opcua_plant", "--port", port]
        command += ["--certificate", str(issued / "plc-2.pem"), "--key", str(issued / "plc-2.key")]
        command += ["--anchors", str(self.pki / "plant" / "anchors.pem")]
        self._start("plc-2", *command, "--seen", str(self.folder / "seen" / "plc-2"))

    def stop_device(self, device: str) -> None:
        """Switch a device off."""
        self.children.stop(device)

    def stop(self) -> None:
        """End everything that runs."""
        self.children.stop_all()

    def get(self, path: str, who: str | None = "historian-1") -> tuple[int, Any]:
        """Status and JSON body of a GET as somebody of IT; ssl.SSLError or OSError where refused."""
        pair = self.certificate(who) if who else (None, None)
        tls = client.context(self.ca, *pair)
        tls.check_hostname = True
        connection = http.client.HTTPSConnection(
            "127.0.0.1", self.ports["https"], timeout=client.TIMEOUT_S, context=tls
        )
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            body = response.read()
        finally:
            connection.close()
        with suppress(json.JSONDecodeError):
            return response.status, json.loads(body)
        return response.status, body.decode()

    def facts(self) -> dict[str, Any]:
        """Where everything is, for people and for scripts that know nothing of this program."""
        shown = {name: self.certificate(name) for name in CLIENTS}
        return {
            "folder": str(self.folder),
            "python": sys.executable,
            "config": str(self.config),
            "data": str(self.data),
            "policies": str(self.policies),
            "pki": str(self.pki),
            "vkey": str(self.vkey),
            "ca": str(self.ca),
            "certificates": {
                name: {"certificate": str(pair[0]), "key": str(pair[1])} for name, pair in shown.items()
            },
            "ports": self.ports,
            "pids": self._pids,
            "mqtt": self.broker is not None,
            "opcua": self.opcua,
        }

    def _start(self, name: str, *command: str) -> None:
        self._pids[name] = self.children.start(name, self.folder, *command)

    def _wait(self, name: str, what: str, look: Callable[[], T | None]) -> T:
        """`until`, but a child that has ended is not waited for."""

        def alive() -> T | None:
            if name in self.children.ended():
                raise DemoError(f"{name} ended at start:\n{self.children.log(name)}")
            return look()

        try:
            return until(what, START_S, alive)
        except DemoError as error:
            if name in self.children.ended():
                raise
            raise DemoError(f"{error}\n{self.children.log(name)}") from None

    def _listening(self, name: str) -> None:
        def look() -> bool:
            try:
                socket.create_connection(("127.0.0.1", self.ports[name]), timeout=1).close()
            except OSError:
                return False
            return True

        self._wait(name, f"{name} does not listen", look)

    def _ready(self) -> bool:
        """Whether the gateway says so, and every tag has a good value."""
        try:
            if self.get("/readyz")[0] != 200:
                return False
            status, listed = self.get("/api/v1/tags")
        except OSError:
            return False
        return status == 200 and [tag["quality"] for tag in listed["tags"]] == ["good"] * self._tags

    def _write_facts(self) -> None:
        part = self.folder / "demo.json.part"
        part.write_text(json.dumps(self.facts(), indent=2) + "\n", encoding="utf-8")
        part.rename(self.folder / "demo.json")


def _filled(name: str, values: dict[str, str]) -> str:
    template = importlib.resources.files("gateway.demo").joinpath("templates", name)
    return Template(template.read_text(encoding="utf-8")).substitute(values)
