"""rsyslog with deploy/siem/rsyslog.conf, as it stands: only paths and port are other ones."""

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import Any

from tests.conftest import find
from tests.interop.mosquitto import until
from tests.pki import Credential, Pki

CONF = Path(__file__).parents[2] / "deploy" / "siem" / "rsyslog.conf"


class Rsyslog:
    """A receiver that can be stopped and killed."""

    def __init__(self, folder: Path, port: int, pki: Pki, server: Credential, peer: str) -> None:
        folder.mkdir(exist_ok=True)
        self.port = port
        self.file = folder / "audit.jsonl"
        self._folder = folder
        self._said = folder / "said"
        ca = folder / "ca.pem"  # GnuTLS builds chains up to a self-signed certificate
        ca.write_bytes(pki.anchors("it").read_bytes() + pki.root.read_bytes())
        self._environment = {
            **os.environ,
            "SIEM_PORT": str(port),
            "SIEM_CA": str(ca),
            "SIEM_CERT": str(server.cert),
            "SIEM_KEY": str(server.key),
            "SIEM_PEER": peer,
            "SIEM_FILE": str(self.file),
        }
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        program = find("rsyslog")
        assert program
        with self._said.open("ab") as said:
            self._process = await asyncio.create_subprocess_exec(
                program,
                *("-n", "-f", str(CONF), "-i", str(self._folder / "pid")),
                env=self._environment,
                stdout=said,
                stderr=said,
            )
        await until(self._listens)

    async def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.returncode is None, self._said.read_text()
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.close()
        return True

    async def stop(self, number: int = signal.SIGTERM) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            await self._process.wait()
            self._process = None

    def events(self) -> list[dict[str, Any]]:
        """What it wrote, line for line. A kill may leave half a line, in which the next begins."""
        found = []
        for line in self.file.read_text().splitlines() if self.file.exists() else ():
            try:
                found.append(json.loads(line))
            except ValueError:
                whole = line.rfind('{"class_uid"')
                if whole > 0:
                    found.append(json.loads(line[whole:]))
        return found
