"""A program that commits as fast as it can and says what it acted on: for tests that kill it, or its disk.

    python -m tests.faults.writer FOLDER [INTENTS [sealed]]

Prints `receipt <record> <index>` when a Durable receipt came, which stands for the first byte to the plant,
and `refused <why>` otherwise. `sealed`: all that is sensitive is kept by commitment.
"""

import asyncio
import os
import sys
import time
from pathlib import Path

from gateway.audit.commitment import Sealer
from gateway.model.decision import Allowed
from gateway.model.moment import Now
from gateway.model.record import Accepted, Durable
from gateway.model.sensitive import Sensitive
from tests.unit.audit import world


def clock() -> Now:
    wall = time.time_ns()
    return Now(wall_ns=wall, mono_ns=time.monotonic_ns(), trusted=True, judge_ns=wall)


async def write(folder: Path, count: int, *, sealed: bool = False) -> None:
    journal = world.journal(
        folder,
        clock,
        seed=time.time_ns() % 2**60,
        sealer=Sealer(Sensitive, os.urandom) if sealed else None,
        checkpoint_s=0.02,
        segment_bytes=2 << 20,
    )
    recovery = journal.open()
    os.write(1, f"open {len(recovery.unknown)}\n".encode())
    await journal.start(asyncio.get_running_loop())
    left = count

    async def one(number: int) -> None:
        nonlocal left
        caller, operation, reading = world.caller(), world.writing(start=number), world.reading(start=number)
        allow: Allowed = world.ALLOW
        while left > 0:
            left -= 1
            entry = journal.read(caller, reading, world.READ_OK, clock())
            if isinstance(entry, Accepted):
                entry.answered(b"x")
            receipt = await journal.intent(caller, (operation,), (allow,), clock())
            if isinstance(receipt, Durable):
                os.write(1, f"receipt {receipt.record} {receipt.index}\n".encode())
                journal.outcome(receipt, caller, {"status": "ok"}, clock())
            else:
                os.write(1, f"refused {receipt.why}\n".encode())
                await asyncio.sleep(0)  # others may hold receipts that came before, and say so now

    await asyncio.gather(*(one(number) for number in range(8)))
    await journal.stop()


if __name__ == "__main__":
    asyncio.run(
        write(
            Path(sys.argv[1]),
            int(sys.argv[2]) if len(sys.argv) > 2 else sys.maxsize,
            sealed="sealed" in sys.argv[3:],
        )
    )
