"""Steps of the tour about trust: revocation reaches live connections, and nobody edits the log unseen."""

import shutil
import time
from contextlib import closing
from pathlib import Path

from pymodbus.exceptions import ModbusException

from gateway.demo import client
from gateway.demo.modbus_steps import as_client
from gateway.demo.step import command, hold
from gateway.demo.world import World
from gateway.model.asset import Table

REVOKED_S = 1.0
"How long after the CRL was written a revoked client may still be connected."


def revoked(world: World) -> str:
    """The operator's certificate is revoked while it is connected."""
    with closing(as_client(world, "hmi-1")) as hmi:
        hold(not client.read(hmi, Table.HOLDING, 10, 1, 1).isError(), "hmi-1 could not read before")
        hmi.socket.settimeout(5)  # type: ignore[union-attr] # connected
        done = command("pki", "revoke", "--dir", str(world.pki), "--zone", "plant", "--name", "hmi-1")
        hold(done.returncode == 0, f"pki revoke: {done.stderr.strip()}")
        began = time.monotonic()
        try:
            ended = hmi.socket.recv(1) == b""  # type: ignore[union-attr]
        except TimeoutError:
            ended = False
        except OSError:
            ended = True
        took = time.monotonic() - began
    hold(ended and took <= REVOKED_S, f"still connected after {took:.2f} s")
    hold(_refused(world), "a revoked certificate got in again")
    return f"its live connection ended {took:.2f} s after the CRL; a new one was refused"


def _refused(world: World) -> bool:
    """Whether hmi-1 gets no answer any more: no handshake, or none that leads to one."""
    try:
        with closing(as_client(world, "hmi-1")) as hmi:
            client.read(hmi, Table.HOLDING, 10, 1, 1)
    except (ModbusException, OSError):
        return True
    return False


def journal_verifies(world: World) -> str:
    """The log of all this is whole."""
    done = command("audit", "verify", "-c", str(world.config))
    hold(done.returncode == 0, f"audit verify: exit {done.returncode} {done.stdout}{done.stderr}")
    return done.stdout.strip().splitlines()[-1]


def flipped_byte(world: World) -> str:
    """One bit of one record is changed in a copy of the journal."""
    copy = world.folder / "copy"
    shutil.copytree(world.data / "journal", copy / "journal")
    segment = _oldest_segment(copy / "journal")
    content = bytearray(segment.read_bytes())
    at = content.index(b'"kind"')
    content[at + 1] ^= 1
    segment.write_bytes(content)
    done = command("audit", "verify", "-c", str(world.config), "--journal", str(copy / "journal"))
    hold(done.returncode == 1, f"audit verify: exit {done.returncode} {done.stdout}{done.stderr}")
    shutil.rmtree(copy)
    return (done.stdout + done.stderr).strip().splitlines()[-1]


def _oldest_segment(journal: Path) -> Path:
    segments = sorted(
        path for path in journal.rglob("*") if path.is_file() and b'"kind"' in path.read_bytes()
    )
    hold(bool(segments), f"no record in {journal}")
    return segments[0]
