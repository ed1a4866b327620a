"""The capture program as a child: its bytes come through a pipe, its complaints through a file.

It is started with this interpreter and finds the same installation. It cannot outlive its use: leaving the
`with` ends it, whatever ended the reading.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from gateway.model.errors import GatewayError

END_S = 5.0
"How long the child may take to end once nobody reads it; then it is killed."
MOST_WORDS = 4096
"Bytes of its complaint that are shown."
PIPE_BYTES = 1 << 20
"Read at once."


class CaptureError(GatewayError):
    """A capture cannot be read; says why, and what to do if something can be done."""


class Capture:
    """One run of the capture program."""

    def __init__(self, child: "subprocess.Popen[bytes]", complaints: IO[bytes]) -> None:
        assert child.stdout is not None  # noqa: S101  asked for below
        self.pipe: IO[bytes] = child.stdout
        self._child = child
        self._complaints = complaints

    def failure(self) -> CaptureError:
        """Why there is nothing to read, once there is nothing more."""
        code = _ended(self._child)
        self._complaints.seek(0)
        words = self._complaints.read(MOST_WORDS).decode("utf-8", "replace").strip()
        said = words.removeprefix("capture: ") if code == 2 else words.rpartition("\n")[2]
        return CaptureError(said or f"the capture program ended with {code}")


@contextmanager
def reading(file: Path, ports: Sequence[int]) -> Iterator[Capture]:
    """Start the program on a file."""
    home = str(Path(__file__).resolve().parent.parent.parent)
    path = os.pathsep.join(filter(None, [home, os.environ.get("PYTHONPATH", "")]))
    extra = [word for port in ports for word in ("--port", str(port))]
    with tempfile.TemporaryFile() as complaints:
        child = subprocess.Popen(
            [sys.executable, "-m", "gateway.capture", *extra, "--", str(file)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=complaints,
            env={**os.environ, "PYTHONPATH": path},
            bufsize=PIPE_BYTES,
        )
        capture = Capture(child, complaints)
        try:
            yield capture
        finally:
            capture.pipe.close()
            _ended(child)


def _ended(child: "subprocess.Popen[bytes]") -> int:
    """Its exit code; it gets a moment to end by itself."""
    try:
        return child.wait(END_S)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.wait()
