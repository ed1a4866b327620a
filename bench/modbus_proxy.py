"""modbus-proxy as a subject: a Modbus/TCP proxy in Python on asyncio, without TLS, that decides nothing.

It holds one connection to each device and puts one request at a time on it; callers of a device wait for
one another. It takes frames apart as far as their length. Here it gets a device section with a port of its
own for each of the load generator's connections, all to the same plant, so that no caller ever waits for
another: the best that one process of it can do. Where the scene has one asset, it gets one section.

Its licence is GPL-3.0. It is installed into a virtual environment of its own, by name and hash, when it is
first measured; it runs as a process of its own, and nothing imports it.
"""

import hashlib
import subprocess
import sys
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from bench.programs import BUILD, BenchError, Cores, Where, end, spawn
from bench.site import Scene
from bench.subjects import free_ports, wait_until_listening

REQUIREMENTS = Path(__file__).with_name("requirements-peer.txt")
HOME = BUILD / "modbus-proxy"
TIMEOUT_S = 10
"As long as the gateway waits for an asset in these runs; a request that runs into it is sent twice."


def installed() -> Path:
    """Its program, installed once for each pin and interpreter; BenchError where that is not possible."""
    stamp = HOME / "installed"
    want = hashlib.sha256(REQUIREMENTS.read_bytes() + sys.version.encode()).hexdigest()
    if not stamp.exists() or stamp.read_text() != want:
        venv.create(HOME, clear=True, with_pip=True)
        pip = [str(HOME / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        locked = ["--require-hashes", "--only-binary", ":all:", "-r", str(REQUIREMENTS)]
        done = subprocess.run([*pip, *locked], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise BenchError(
                f"modbus-proxy cannot be installed (--subjects haproxy,gateway goes without):\n{done.stderr}"
            )
        stamp.write_text(want)
    return HOME / "bin" / "modbus-proxy"


@contextmanager
def modbus_proxy(folder: Path, cores: Cores, scene: Scene, plant: int, connections: int) -> Iterator[Where]:
    """One process, alone on the subject's core, with as many device sections as connections have use for."""
    program = installed()
    folder.mkdir(parents=True, exist_ok=True)
    ports = free_ports(min(connections, scene.assets))
    config, log = folder / "modbus-proxy.json", folder / "modbus-proxy.log"
    config.write_bytes(msgspec.json.encode({"devices": [_device(plant, port) for port in ports]}))
    process = spawn([str(program), "-c", str(config)], cores.subject, log, stdout=subprocess.DEVNULL)
    try:
        for port in ports:
            wait_until_listening(process, port, log)
        yield Where(ports, tls=False, assets=scene.assets, pids=(process.pid,))
    finally:
        end(process, "modbus-proxy")


def _device(plant: int, port: int) -> dict[str, dict[str, str | int]]:
    return {
        "modbus": {"url": f"127.0.0.1:{plant}", "timeout": TIMEOUT_S},
        "listen": {"bind": f"127.0.0.1:{port}"},
    }
