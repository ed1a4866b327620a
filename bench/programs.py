"""The two programs that stand on either side of a subject: the plant and the load generator (Go).

Both run on one core, the subject alone on the other (`Cores`).
"""

import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from bench.certificates import SERVER_NAME, Pki

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / ".build" / "bench"
STOP_S = 10.0
"How long a program may take to end after SIGTERM; then the run has failed."


class BenchError(Exception):
    """The run itself failed, or answers were wrong."""


class Cores(Struct, frozen=True):
    """Who runs where."""

    load: int
    "Load generator, plant and harness."
    subject: int

    @classmethod
    def pick(cls) -> "Cores":
        """The first and the last processor that this process may use."""
        usable = sorted(os.sched_getaffinity(0))
        if len(usable) < 2:
            raise BenchError("two processors are needed: one for the subject alone, one for the rest")
        return cls(usable[0], usable[-1])


class Percentiles(Struct, frozen=True):
    """Latency in microseconds."""

    p50: float
    p90: float
    p99: float
    p999: float
    max: float


class Slice(Struct, frozen=True):
    """Half a second of the window."""

    requests: int
    cpu_s: float


class Result(Struct, frozen=True):
    """What the load generator measured (bench/cmd/load/main.go, `report`)."""

    requests: int
    "Answered right, within the window."
    seconds: float
    cpu_s: float
    "Processor time of the subject within the window."
    slices: list[Slice] | None
    latency_us: Percentiles | None
    write_latency_us: Percentiles | None
    writes: int
    errors: dict[str, int]
    sample: str
    unanswered: int
    sent_reads: int
    "Since the program started, warm-up and end included: the plant must have seen as many."
    sent_writes: int
    tls: str


class Where(Struct, frozen=True):
    """How to reach a subject."""

    ports: tuple[int, ...]
    "On loopback; the load generator's connections take turns."
    tls: bool
    assets: int
    "Units 1 to this are asked."
    pids: tuple[int, ...] = ()
    "Whose processor time is measured; empty for none."


def build() -> None:
    """Build both programs into .build/bench; they use Go's standard library only."""
    BUILD.mkdir(parents=True, exist_ok=True)
    command = ["go", "build", "-o", f"{BUILD}/", "./cmd/..."]
    environment = os.environ | {"GOFLAGS": "-mod=readonly -buildvcs=false"}
    try:
        done = subprocess.run(
            command, cwd=ROOT / "bench", env=environment, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        raise BenchError("go is missing: install Go 1.25 or newer") from None
    if done.returncode != 0:
        raise BenchError(f"the plant and the load generator do not build:\n{done.stderr}")


def spawn(
    command: Sequence[str], core: int, log: Path | None = None, **options: Any
) -> subprocess.Popen[str]:
    """Start a program on one core; what it says on stderr goes to the log."""
    pinned = ["taskset", "-c", str(core), *command]
    if log is None:
        return subprocess.Popen(pinned, text=True, **options)
    with log.open("a") as file:
        return subprocess.Popen(pinned, text=True, stderr=file, **options)


def end(process: subprocess.Popen[str], name: str) -> None:
    """SIGTERM and wait; a program that does not go is killed, and that is an error."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise BenchError(f"{name} did not end within {STOP_S:.0f} s of SIGTERM") from None


class Plant:
    """The plant, running; `stop` says what it has carried out."""

    def __init__(self, core: int) -> None:
        self._process = spawn([str(BUILD / "plant")], core, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        self._stdout = self._process.stdout
        self.port = int(msgspec.json.decode(self._stdout.readline())["port"])

    def stop(self) -> dict[str, int]:
        """Counts of `reads`, `writes` and `refused` requests since it started."""
        end(self._process, "the plant")
        last = self._stdout.read()
        self._stdout.close()
        return msgspec.json.decode(last, type=dict[str, int])


class Load:
    """Runs the load generator against one subject after the other."""

    def __init__(self, pki: Pki, cores: Cores) -> None:
        self._pki = pki
        self._core = cores.load

    def command(self, where: Where, *options: str) -> list[str]:
        """Its command line."""
        secured = [
            f"-ca={self._pki.root}",
            f"-cert={self._pki.client}",
            f"-key={self._pki.client_key}",
            f"-server-name={SERVER_NAME}",
        ]
        addresses = ",".join(f"127.0.0.1:{port}" for port in where.ports)
        common = [f"-address={addresses}", f"-assets={where.assets}"]
        return [str(BUILD / "load"), *common, *(secured if where.tls else ["-plain"]), *options]

    def run(self, where: Where, *options: str, measuring: Callable[[], None] | None = None) -> Result:
        """One window. `measuring` is called when it begins, and must come back at once."""
        subject = "-subject=" + ",".join(map(str, where.pids))
        process = spawn(self.command(where, subject, *options), self._core, stdout=subprocess.PIPE)
        assert process.stdout is not None
        result = None
        with process.stdout as lines:
            for line in lines:
                event = msgspec.json.decode(line)
                if event["event"] == "measuring" and measuring is not None:
                    measuring()
                elif event["event"] == "result":
                    result = msgspec.convert(event, Result)
        if process.wait() != 0 or result is None:
            raise BenchError("the load generator failed; it says why above")
        return result

    def hold(self, where: Where, connections: int) -> "subprocess.Popen[str]":
        """Open connections, ask once on each, and keep them until the process's stdin is closed."""
        command = self.command(where, "-hold", f"-connections={connections}", "-writes=0")
        process = spawn(command, self._core, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdout is not None
        held: dict[str, Any] = {}
        for line in process.stdout:
            held = msgspec.json.decode(line)
            if held["event"] == "holding":
                break
        if held.get("connections") != connections or held.get("errors"):
            process.kill()
            process.wait()
            raise BenchError(f"{connections} idle connections were wanted: {held}")
        return process
