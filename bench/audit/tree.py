"""What the tree and the signatures cost: the processor time of one record's share in them.

Leaf hash, tree, tiles and checkpoints are the gateway's own, on the disk, in batches of 64 and with a
checkpoint each second's worth of records; the records themselves are not written.
"""

import statistics
from collections.abc import Sequence
from pathlib import Path
from time import thread_time

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bench.audit.rounds import SUBJECT
from bench.audit.stores import ORIGIN, SEGMENT
from bench.report import Row
from gateway.audit.log import Log
from gateway.audit.signer import Signer
from gateway.audit.storage import Disk
from gateway.audit.tiles import Tiles
from gateway.audit.tree import leaf

RECORDS, BATCH = 51_200, 64
SECOND = 5000
"Records between two checkpoints: fewer than the disk makes durable in a second at 64 in flight."


def cost(folder: Path, size: int) -> float:
    """µs a record."""
    storage = Disk(folder)
    tiles = Tiles(storage)
    log = Log(storage, Signer(Ed25519PrivateKey.generate(), ORIGIN), tiles, SEGMENT)
    records = [b"%064d" % n + bytes(size - 64) for n in range(BATCH)]
    unsigned = 0
    began = thread_time()
    for _ in range(RECORDS // BATCH):
        for data in records:
            tiles.push(leaf(data))
        unsigned += BATCH
        if unsigned >= SECOND:
            log.checkpoint()
            unsigned = 0
    spent = thread_time() - began
    log.close()
    return spent * 1e6 / RECORDS


def row(costs: Sequence[float]) -> Row:
    """The median of the rounds."""
    return Row("audit-tree", SUBJECT, "cpu_per_record", round(statistics.median(costs), 3), "us")
