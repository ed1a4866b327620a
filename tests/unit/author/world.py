"""A gateway at work without sockets: it decides by a bundle and records in a real journal."""

import asyncio
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from gateway.author import corpus
from gateway.author.answers import Answers
from gateway.author.corpus import Span
from gateway.author.recorded import Recorded, Seen
from gateway.config.settings import PolicySection
from gateway.model.asset import Table
from gateway.model.decision import Allowed
from gateway.model.identity import Caller
from gateway.model.operation import MUTATING, Action, ModbusTarget, Operation, Point, Protocol
from gateway.model.record import Durable
from gateway.model.ulid import Ulids
from gateway.policy.bundle import Bundle
from gateway.policy.decider import Decider
from gateway.policy.facts import Facts, windows_now
from gateway.policy.loader import load
from tests.policy.questions import OPEN
from tests.unit.audit import world
from tests.unit.audit.world import Clock

AT_ONCE = 1000
"Operations of one second: what the journal has room for."
CODES = {Table.COIL: 1, Table.DISCRETE: 2, Table.HOLDING: 3, Table.INPUT: 4}

Asked = tuple[Caller, Operation]


def reading(start: int = 0, count: int = 1, table: Table = Table.INPUT, asset: str = "plc-1") -> Operation:
    target = ModbusTarget(unit=1, fc=CODES[table], table=table, start=start, count=count)
    return Operation(
        protocol=Protocol.MODBUS,
        action=Action.READ,
        kind=f"modbus.read_{table}",
        asset=asset,
        asset_kind="plc" if asset == "plc-1" else "meter",
        modbus=target,
    )


def setting(q: int, q_prev: int | None = 400, start: int = 0, tag: str = "plc-1.level_sp") -> Operation:
    target = ModbusTarget(unit=1, fc=6, table=Table.HOLDING, start=start, count=1, values=(max(q, 0),))
    return Operation(
        protocol=Protocol.MODBUS,
        action=Action.WRITE,
        kind="modbus.write_single_register",
        asset="plc-1",
        asset_kind="plc",
        modbus=target,
        points=(Point(tag, q, q_prev, 500),),
    )


def record(folder: Path, bundle: Bundle, asked: Iterable[Asked], facts: Facts = OPEN) -> Path:
    """A data folder whose journal tells what came of them. A second passes every AT_ONCE of them."""
    asyncio.run(_record(folder / "journal", bundle, asked, facts))
    return folder


async def _record(folder: Path, bundle: Bundle, asked: Iterable[Asked], facts: Facts) -> None:
    clock = Clock()
    decider = Decider(Ulids(3), PolicySection(bundle=Path("unused")), lambda _code, _note: None)
    decider.adopt(load(bundle))
    journal = world.journal(folder, clock, growth_bytes_per_minute=1 << 40, denials_in_full=100_000)
    journal._writer._describe = decider.describe
    journal.open()
    await journal.start(asyncio.get_running_loop())
    left = iter(asked)
    while some := list(islice(left, AT_ONCE)):
        now = clock.forward(1.0)
        windows = windows_now(bundle.data.get("windows", {}), now.wall_ns)
        decider.facts = Facts(
            mode=facts.mode, freeze=facts.freeze, windows=windows, crl="fresh", clock="trusted", trusted=True
        )
        intents = []
        for caller, operation in some:
            writes = 3 if operation.action in MUTATING else None
            decision = decider.decide(caller, operation, now, writes)
            if not isinstance(decision, Allowed):
                journal.denied(caller, operation, decision, now)
            elif operation.action in MUTATING:
                intents.append((caller, journal.intent(caller, (operation,), (decision,), now)))
            else:
                journal.read(caller, operation, decision, now).answered(b"\0")  # type: ignore[union-attr]
        receipts = await asyncio.gather(*(intent for _, intent in intents))
        for (caller, _), receipt in zip(intents, receipts, strict=True):
            assert isinstance(receipt, Durable)
            journal.outcome(receipt, caller, {"status": "ok"}, now)
        await asyncio.sleep(0.011)  # the journal's tick takes what was read
    await journal.stop()
    journal._writer._describe = world.describe  # an engine ends in the thread that made it


def quiet(_count: int) -> None:
    """Nobody watches."""


def replayed(folder: Path, span: Span | None = None) -> tuple[list[Recorded], Seen]:
    """Everything a journal has, at once."""
    seen = Seen()
    return list(corpus.journal(corpus.journal_of(folder), span or Span(), seen, quiet)), seen


def answers(bundle: Bundle) -> Answers:
    return Answers(load(bundle))
