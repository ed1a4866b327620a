"""A real broker with mutual TLS, and its own client to look at what it holds."""

import asyncio
import json
import os
import re
import shutil
import signal
from pathlib import Path
from typing import Any

from tests.conftest import find
from tests.pki import Credential, Pki

ACL = """
user {gateway}
topic write acme/#
topic write dmz/#
topic deny acme/demo/forbidden

user {reader}
topic read #
"""


class Mosquitto:
    """mosquitto on a port of its own; the user is the certificate's common name."""

    def __init__(self, folder: Path, port: int, pki: Pki, server: Credential, *, more: str = "") -> None:
        self.port = port
        self._folder = folder
        self._pki = pki
        folder.mkdir(exist_ok=True)
        for name, source in (("cert", server.cert), ("key", server.key)):
            shutil.copy(source, folder / name)
        # mosquitto builds chains up to a self-signed certificate, so an issuing authority alone is not enough
        (folder / "ca").write_bytes(pki.anchors("it").read_bytes() + pki.root.read_bytes())
        (folder / "acl").write_text(ACL.format(gateway="mqtt-gw", reader="mqtt-reader"))
        (folder / "conf").write_text(
            f"listener {port} 127.0.0.1\ncafile {folder}/ca\ncertfile {folder}/cert\nkeyfile {folder}/key\n"
            f"require_certificate true\nuse_identity_as_username true\nacl_file {folder}/acl\n"
            f"persistence false\nuser {_user()}\n{more}\n"
        )
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        program = find("mosquitto")
        assert program
        self._process = await asyncio.create_subprocess_exec(
            program,
            "-c",
            str(self._folder / "conf"),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        await until(self._listens)

    async def _listens(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.close()
        return True

    async def stop(self, number: int = signal.SIGTERM) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.send_signal(signal.SIGCONT)
            await self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Connections are still accepted by the kernel, and nobody says anything."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    async def retained(self, reader: Credential, *, wait_s: int = 1) -> dict[str, dict[str, Any]]:
        """Topic -> what one who subscribes now gets: payload, expiry, content type, user properties."""
        program = shutil.which("mosquitto_sub")
        assert program
        process = await asyncio.create_subprocess_exec(
            program,
            *("-h", "127.0.0.1", "-p", str(self.port), "-V", "mqttv5", "-t", "#", "-q", "1"),
            *("--cafile", str(self._folder / "ca"), "--cert", str(reader.cert), "--key", str(reader.key)),
            *("-W", str(wait_s), "--retained-only", "-F", "%t\t%E\t%C\t%F\t%P\t%p"),
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await process.communicate()
        messages = {}
        for line in output.decode().splitlines():
            topic, expiry, content, utf8, user, payload = line.split("\t")
            messages[topic] = {
                **json.loads(payload),
                "expiry": int(expiry) if expiry else None,
                "content": content,
                "utf8": utf8,
                "user": dict(re.findall(r"(\S+):(\S*)", user)),
            }
        return messages


async def until(holds: Any, deadline_s: float = 10.0) -> None:
    """Wait for a condition (plain or async); the test fails if it does not come true in time."""
    async with asyncio.timeout(deadline_s):
        while True:
            found = holds()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return
            await asyncio.sleep(0.02)


def _user() -> str:
    """mosquitto started as root changes to another user, who could not read the folder."""
    return "root" if os.geteuid() == 0 else "nobody"
