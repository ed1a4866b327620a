"""The peer: an OPA server on a unix socket, with the same bundle, asked over one open connection.

The client is the leanest there is, `http.client` on a socket, so that what is measured is OPA. What an
asynchronous client of the gateway costs comes on top of it (about 200 µs).
"""

import http.client
import json
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

from bench.programs import BenchError
from gateway.policy.bundle import Bundle

READY_S = 30.0
"OPA reads ten thousand grants in a second or two."
END_S = 5.0
FAST = "--optimize-store-for-read-speed"
"Without it OPA copies the whole of a document of data that a rule takes in one piece: 10 times the time."


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("opa", timeout=READY_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self._path))


class Opa:
    """One server."""

    def __init__(self, program: str, bundle: Bundle, folder: Path) -> None:
        home = folder / f"opa-{bundle.revision[:8]}"
        bundle.write_to(home)
        path = folder / f"{bundle.revision[:8]}.sock"
        command = [program, "run", "--server", "--addr", f"unix://{path}", "--log-level", "error", FAST]
        self._home = home
        self._child = subprocess.Popen([*command, "--bundle", str(home)], stdout=subprocess.DEVNULL)
        self._connection = _Connection(path)
        until = time.monotonic() + READY_S
        while not self._ready():
            if time.monotonic() > until or self._child.poll() is not None:
                self.close()
                raise BenchError("OPA does not start")
            time.sleep(0.05)

    def decide(self, body: bytes) -> dict[str, Any]:
        """Its decision on one question."""
        self._connection.request("POST", "/v1/data/dmz/decision", body)
        answer = json.loads(self._connection.getresponse().read())
        return dict(answer["result"])

    def cpu_s(self) -> float:
        """Processor time of all its threads, in ns as the scheduler counts."""
        total = 0
        for task in Path(f"/proc/{self._child.pid}/task").iterdir():
            try:
                total += int((task / "schedstat").read_text().split()[0])
            except OSError:  # a thread that has just ended
                continue
        return total / 1e9

    def close(self) -> None:
        """End it."""
        self._connection.close()
        self._child.terminate()
        try:
            self._child.wait(END_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        shutil.rmtree(self._home, ignore_errors=True)

    def _ready(self) -> bool:
        try:
            self._connection.request("GET", "/health?bundles")
            answer = self._connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            return False
        return answer.status == http.HTTPStatus.OK
