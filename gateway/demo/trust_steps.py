"""Steps of the tour about trust: revocation reaches live connections, and nobody edits the log unseen."""

import shutil
import time
from contextlib import closing
from pathlib import Path

from pymodbus.client import ModbusTlsClient
from pymodbus.exceptions import ModbusException

from gateway.demo import client
from gateway.demo.modbus_steps import as_client
from gateway.demo.step import command, hold, start
from gateway.demo.world import World
from gateway.model.asset import Table

REVOKED_S = 1.0
"How long after the CRL was written a revoked client may still be connected."

COMMAND_S = 10.0
"How long the command itself may take on a busy machine."


def revoked(world: World) -> str:
    """The operator's certificate is revoked while it is connected."""
    with closing(as_client(world, "hmi-1")) as hmi:
        hold(not client.read(hmi, Table.HOLDING, 10, 1, 1).isError(), "hmi-1 could not read before")
        revoke = start("pki", "revoke", "--dir", str(world.pki), "--zone", "plant", "--name", "hmi-1")
        ended = _end_of(hmi)
        _, complaint = revoke.communicate()
        hold(revoke.returncode == 0, f"pki revoke: {complaint.strip()}")
    hold(ended is not None, "still connected")
    took = (ended or 0) - (world.pki / "plant" / "crl.pem").stat().st_mtime
    hold(0 <= took <= REVOKED_S, f"the connection ended {took:.2f} s after the CRL was written")
    hold(_refused(world), "a revoked certificate got in again")
    return f"its live connection ended {took:.2f} s after the CRL was written; a new one was refused"


def _end_of(hmi: ModbusTlsClient) -> float | None:
    """When the other side ended a connection (wall clock), or None if it did not for some seconds."""
    connection = hmi.socket
    hold(connection is not None, "not connected")
    connection.settimeout(COMMAND_S + REVOKED_S)  # type: ignore[union-attr] # just shown
    try:
        if connection.recv(1) != b"":  # type: ignore[union-attr]
            return None
    except TimeoutError:
        return None
    except OSError:
        pass
    return time.time()


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
    done = command("audit", "verify", "--data", str(world.data), "--vkey", str(world.vkey))
    hold(done.returncode == 0, f"audit verify: exit {done.returncode} {done.stdout}{done.stderr}")
    return done.stdout.splitlines()[0]


def flipped_byte(world: World) -> str:
    """One bit of one record is changed in a copy of the journal."""
    copy = world.folder / "copy"
    shutil.copytree(world.data / "journal", copy / "journal")
    segment = _oldest_segment(copy / "journal")
    content = bytearray(segment.read_bytes())
    at = content.index(b'"kind"')
    content[at + 1] ^= 1
    segment.write_bytes(content)
    done = command("audit", "verify", "--data", str(copy), "--vkey", str(world.vkey))
    hold(done.returncode == 1, f"audit verify: exit {done.returncode} {done.stdout}{done.stderr}")
    shutil.rmtree(copy)
    return (done.stdout + done.stderr).strip().splitlines()[-1]


def _oldest_segment(journal: Path) -> Path:
    segments = sorted(
        path for path in journal.rglob("*") if path.is_file() and b'"kind"' in path.read_bytes()
    )
    hold(bool(segments), f"no record in {journal}")
    return segments[0]
