"""What is measured: the gateway, and HAProxy that relays blindly to the same plant; and nothing in between.

HAProxy does the gateway's TLS (mutual, 1.3, P-256, the server chooses the cipher, no tickets) with one
thread, and copies bytes: it parses nothing, decides nothing, records nothing. It is the floor, not a rival.
"""

import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.certificates import Pki
from bench.programs import BenchError, Cores, Where, end, spawn
from bench.site import Scene, Site
from gateway.config.settings import Security

READY_S = 60.0
"How long a subject may take until it listens: two hundred assets, policy compiled, journal opened."


def free_port() -> int:
    """A loopback port nobody listens on."""
    return free_ports(1)[0]


def free_ports(count: int) -> tuple[int, ...]:
    """Loopback ports nobody listens on, each another."""
    with ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return tuple(int(probe.getsockname()[1]) for probe in probes)


HAPROXY = """\
global
    nbthread 1
    maxconn 4096
    ssl-default-bind-options ssl-min-ver TLSv1.3 no-tls-tickets
defaults
    mode tcp
    timeout connect 5s
    timeout client 1h
    timeout server 1h
frontend modbus
    bind 127.0.0.1:{port} ssl crt {certificate} ca-file {anchors} verify required curves P-256
    default_backend plant
backend plant
    server plant 127.0.0.1:{plant}
"""


def haproxy_program() -> str | None:
    """Where HAProxy is; Debian puts it where only root's PATH looks."""
    return shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin")


@contextmanager
def haproxy(folder: Path, pki: Pki, cores: Cores, scene: Scene, plant: int) -> Iterator[Where]:
    """HAProxy with one thread, alone on the subject's core."""
    program = haproxy_program()
    if program is None:
        raise BenchError("haproxy is missing: apt-get install haproxy (or --subjects gateway)")
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    config, log = folder / "haproxy.cfg", folder / "haproxy.log"
    config.write_text(
        HAPROXY.format(port=port, certificate=pki.server_with_key, anchors=pki.chain, plant=plant)
    )
    process = spawn([program, "-db", "-f", str(config)], cores.subject, log, stdout=subprocess.DEVNULL)
    try:
        wait_until_listening(process, port, log)
        yield Where((port,), tls=True, assets=scene.assets, pids=(process.pid,))
    finally:
        end(process, "haproxy")


@contextmanager
def gateway(
    folder: Path, site: Site, port: int, cores: Cores, wrapper: tuple[str, ...] = ()
) -> Iterator[Where]:
    """The gateway of this checkout, alone on the subject's core. `wrapper` are arguments of Python before
    `-m gateway`, such as a profiler's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "gateway.log"
    command = [sys.executable, *wrapper, "-m", "gateway", "run", "-c", str(site.config)]
    process = spawn(command, cores.subject, log, stdout=subprocess.DEVNULL)
    try:
        wait_until_listening(process, port, log)
        yield Where(
            (port,), tls=site.scene.security is Security.MUTUAL, assets=site.scene.assets, pids=(process.pid,)
        )
        if process.poll() is not None:
            raise BenchError(f"the gateway ended by itself ({_ending(process)}):\n{_tail(log)}")
    finally:
        end(process, "the gateway")


def wait_until_listening(process: subprocess.Popen[str], port: int, log: Path) -> None:
    """Until the subject takes connections; BenchError, with what it said, where it does not."""
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise BenchError(f"a subject did not start ({_ending(process)}):\n{_tail(log)}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise BenchError(f"a subject did not listen within {READY_S:.0f} s:\n{_tail(log)}")


def _ending(process: subprocess.Popen[str]) -> str:
    code = process.returncode
    return signal.Signals(-code).name if code < 0 else f"exit {code}"


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-20:])
