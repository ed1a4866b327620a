"""A journal that is written and exported by one process, for tests that kill it.

    python -m tests.faults.exporting FOLDER PORT CA CERTIFICATE KEY [RECORDS]

Writes as fast as it may and exports to the syslog receiver on PORT. With RECORDS it writes so many, exports
the rest, and ends by itself. Prints `open` when it runs and `at N` when the receiver has all below N.
"""

import asyncio
import os
import random
import sys
import time
from pathlib import Path
from typing import NoReturn

from gateway.config.settings import ExportSection, SyslogSection
from gateway.export.destination import Extent
from gateway.export.exporter import Exporter
from gateway.identity.contexts import client_context
from gateway.model.record import Durable
from gateway.relay.tasks import Tasks
from tests.faults.writer import clock
from tests.unit.audit import world

PACE_S = 0.001
"Between two writes: receiving is to be what is slow, not this machine."


async def nowhere(topic: str, payload: bytes, content_type: str) -> str | None:
    return f"no broker for {topic}"


def alarm(code: str, known: dict[str, object]) -> None:
    os.write(2, f"{code} {known}\n".encode())


async def run(folder: Path, section: SyslogSection, count: int) -> None:
    journal = world.journal(folder / "journal", clock, seed=time.time_ns() % 2**60, checkpoint_s=0.1)
    journal.open()
    loop = asyncio.get_running_loop()
    await journal.start(loop)

    def extent() -> Extent:
        status = journal.status()
        return Extent(status["size"] or 0, status["signed_size"] or 0)

    exporter = Exporter(
        (ExportSection(name="siem", syslog=section),),
        journal=folder / "journal",
        state=folder / "state",
        origin=world.ORIGIN,
        gateway="gw-1",
        site="demo",
        extent=extent,
        clock=clock,
        alarm=alarm,
        random=random.Random(1),  # noqa: S311
        publish=nowhere,
        context=lambda s: client_context(s.anchors, s.certificate, s.key),
    )
    exporter.start(Tasks())
    os.write(1, b"open\n")
    reached = -1
    for number in range(count):
        receipt = await journal.intent(
            world.caller(), (world.writing(start=number),), (world.ALLOW,), clock()
        )
        if isinstance(receipt, Durable):
            journal.outcome(receipt, world.caller(), {"status": "ok"}, clock())
        await asyncio.sleep(PACE_S)
        at = exporter.least_exported() or 0
        if at != reached:
            reached = at
            os.write(1, f"at {at}\n".encode())
    while (exporter.least_exported() or 0) < journal.status()["size"]:  # noqa: ASYNC110 # it ends soon
        await asyncio.sleep(0.05)  # what a short stop leaves for the next start is to be there, too
    await journal.stop()
    await exporter.stop()
    os.write(1, f"at {exporter.least_exported()}\n".encode())


def main(arguments: list[str]) -> NoReturn:
    folder, port, anchors, certificate, key, *more = arguments
    section = SyslogSection(
        host="127.0.0.1",
        port=int(port),
        anchors=Path(anchors),
        certificate=Path(certificate),
        key=Path(key),
    )
    (Path(folder) / "state").mkdir(parents=True, exist_ok=True)
    asyncio.run(run(Path(folder), section, int(more[0]) if more else sys.maxsize))
    sys.exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
