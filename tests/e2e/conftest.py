"""A running demo for the tests here: the real command, in a folder of the test's own."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
START_S = 90.0
END_S = 20.0


class Demo:
    """`dmz-gateway demo`, started; its facts are what it printed as JSON."""

    def __init__(self, *options: str, temporary: Path) -> None:
        command = [sys.executable, "-m", "gateway", "demo", "--json", *options]
        path = os.pathsep.join([str(ROOT / ".build" / "bin"), os.environ.get("PATH", ""), "/usr/sbin"])
        env = {**os.environ, "PATH": path, "TMPDIR": str(temporary)}
        self.errors = temporary / "demo.stderr"
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=errors, text=True
            )
        self.facts: dict[str, Any] = json.loads(self._line())
        self.folder = Path(self.facts["folder"])
        self.pids = [self.process.pid, *self.facts["pids"].values()]

    def _line(self) -> str:
        """The first line it prints."""
        stdout = self.process.stdout
        assert stdout is not None
        ready, _, _ = select.select([stdout], [], [], START_S)
        line = stdout.readline() if ready else ""
        if not line:
            self.process.kill()
            self.process.wait()
            pytest.fail(f"the demo did not come up: {self.errors.read_text()}", pytrace=False)
        return line

    def end(self, number: signal.Signals = signal.SIGINT) -> int:
        """Signal the demo alone, as a terminal or a supervisor would; its exit code."""
        self.process.send_signal(number)
        code = self.process.wait(END_S)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code

    def left(self) -> list[int]:
        """Process ids of the demo that still live."""
        return [pid for pid in self.pids if Path(f"/proc/{pid}").exists() and not _zombie(pid)]


def _zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def gone(what: Callable[[], object], within_s: float = END_S) -> bool:
    """Whether it becomes empty in time."""
    deadline = time.monotonic() + within_s
    while what():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    """A demo that keeps its folder."""
    running = Demo("--keep", str(tmp_path / "world"), temporary=tmp_path)
    yield running
    if running.process.poll() is None:
        running.end()
    assert gone(running.left), running.left()
