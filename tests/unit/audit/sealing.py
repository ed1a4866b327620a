"""A journal in which everything sensitive is kept by commitment, and a person who did something in it."""

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from gateway.audit.commitment import Sealer
from gateway.audit.dropping import Dropping
from gateway.audit.journal import Journal
from gateway.model.identity import Caller, Kind
from gateway.model.moment import Now
from gateway.model.operation import Operation, Point
from gateway.model.record import Durable, RecordKind
from gateway.model.sensitive import Sensitive
from tests.unit.audit import world

PERSON = "spiffe://plant.example/person/ann.miller"
USER = "urn:user:otto-the-operator"
ADDRESS = "192.0.2.77"
Q, Q_PREV = 7_654_321, 7_654_111
NOTE = "because the mixer was stuck"
SECRETS = (PERSON, USER, ADDRESS, str(Q), str(Q_PREV), "765432.1", "765411.1", "mixer was stuck")
"What must be nowhere once it is dropped."


def sealer(*groups: Sensitive, seed: int = 5) -> Sealer:
    return Sealer(groups or tuple(Sensitive), random.Random(seed).randbytes)  # noqa: S311 # dice of a test


def person() -> Caller:
    """Ann, on behalf of Otto."""
    found = world.caller(PERSON, ADDRESS)
    identity = msgspec.structs.replace(
        found.identity, kind=Kind.PERSON, on_behalf_of=USER, fingerprint="cd" * 32, serial="0badcafe"
    )
    return msgspec.structs.replace(found, identity=identity)


def writing() -> Operation:
    return msgspec.structs.replace(
        world.writing(values=(Q & 0xFFFF,)), points=(Point("plc-1.level_sp", Q, Q_PREV, 10),)
    )


def journal(folder: Path, clock: Callable[[], Now], *, seed: int = 7, **changes: Any) -> Journal:
    return world.journal(folder, clock, seed=seed, sealer=sealer(seed=seed), **changes)


async def shift(running: Journal, clock: world.Clock, by: Caller) -> None:
    """A write, what came of it, a denial, a read, and a note."""
    allow = msgspec.structs.replace(world.ALLOW, question=b"", origin=world.READ_OK.origin)
    receipt = await running.intent(by, (writing(),), (allow,), clock.forward(1))
    assert isinstance(receipt, Durable)
    running.outcome(receipt, by, {"status": "ok", "said": NOTE}, clock.forward(1))
    running.denied(by, writing(), world.DENY, clock.forward(1))
    entry = running.read(by, world.reading(), world.READ_OK, clock.forward(1))
    entry.answered(b"\1\2")  # type: ignore[union-attr]
    running.event(
        RecordKind.ADMIN, {"event": "approval used", "by": [PERSON], "what": NOTE}, clock(), caller=by
    )


def made(folder: Path, *callers: Caller) -> world.Clock:
    """A journal in which these did something, closed in order."""
    clock = world.Clock()

    async def run() -> None:
        running = journal(folder, clock)
        running.open()
        await running.start(asyncio.get_running_loop())
        for by in callers:
            await shift(running, clock, by)
        await running.stop()

    asyncio.run(run())
    return clock


def dropped(folder: Path, clock: world.Clock, days: float | None = None) -> int:
    """A gateway that starts, looks once for what is to be dropped, and stops; how many openings went."""

    async def run() -> int:
        running = journal(folder, clock, seed=11, checkpoint_s=0.001)
        running.open()
        await running.start(asyncio.get_running_loop())
        dropping = Dropping(folder, days, journal=running, clock=lambda: clock.forward(0.01), alarm=print)
        count = await dropping.look()
        await running.stop()
        return count

    return asyncio.run(run())
