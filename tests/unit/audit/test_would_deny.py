"""What a stage let pass, what the other engine decided, who approved, what was read back: in words too."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from gateway.audit import tell
from gateway.audit.reader import records
from gateway.model.decision import Approval, Origin, Passed, Waived
from gateway.model.operation import Action, AdminTarget, OpcuaTarget, Operation, Protocol
from gateway.model.record import Accepted, Durable
from gateway.model.stage import Stage
from tests.unit.audit.world import ALLOW, DENY, READ_OK, Clock, caller, journal, reading, writing

BOSS = "spiffe://plant.example/people/boss"
WAIVED = Waived(denied=DENY, stage=Stage.MONITOR)
FALLBACK = replace(READ_OK, origin=Origin.FALLBACK)


def written(folder: Path, *reads: tuple[Operation, Passed]) -> list[dict[str, Any]]:
    """The window records of these reads."""

    async def run() -> None:
        clock = Clock()
        log = journal(folder, clock)
        log.open()
        await log.start(asyncio.get_running_loop())
        who = caller()
        for operation, decision in reads:
            receipt = log.read(who, operation, decision, clock())
            assert isinstance(receipt, Accepted)
            receipt.answered(b"x")
        await log.stop()

    asyncio.run(run())
    found = [json.loads(data) for _, data in records(folder)]
    return [record for record in found if record["kind"] == "window"]


def entries(folder: Path, *reads: tuple[Operation, Passed]) -> list[tuple[int, str | None, str | None]]:
    """Of each entry: how often, which decision, which origin."""
    return [
        (entry["asked"], entry.get("decision"), entry.get("origin"))
        for record in written(folder, *reads)
        for entry in record["what"]["entries"]
    ]


def test_a_waived_read_says_so_in_its_window(tmp_path: Path) -> None:
    (record,) = written(tmp_path, (reading(), WAIVED))
    (entry,) = record["what"]["entries"]
    assert (entry["decision"], entry["stage"]) == ("would_deny", "monitor")
    assert entry["reasons"][0]["code"] == "default.no_grant"
    assert "(1 would be denied once enforced)" in tell.line(0, record)


@pytest.mark.parametrize("order", [(READ_OK, WAIVED), (WAIVED, READ_OK)])
def test_an_allowed_and_a_waived_read_of_one_operation_are_two_entries(
    tmp_path: Path, order: tuple[Passed, Passed]
) -> None:
    """The very same object, in turns: a stage changed, or a rate let some pass and some only be waived."""
    operation = reading()
    turns = [(operation, decision) for _ in range(3) for decision in order]
    assert sorted(entries(tmp_path, *turns), key=str) == [(3, "would_deny", None), (3, None, None)]


def test_what_the_other_engine_decided_is_kept_apart(tmp_path: Path) -> None:
    operation = reading()
    turns = [(operation, decision) for decision in (READ_OK, FALLBACK, READ_OK, FALLBACK, FALLBACK)]
    assert sorted(entries(tmp_path, *turns), key=str) == [(2, None, None), (3, None, "fallback")]


def test_equal_reads_of_either_kind_share_an_entry(tmp_path: Path) -> None:
    assert entries(tmp_path, *[(reading(), WAIVED)] * 4) == [(4, "would_deny", None)]


# acts ---------------------------------------------------------------------------------------------------


def acted(
    folder: Path, operation: Operation, decision: Passed, *results: dict[str, Any]
) -> list[dict[str, Any]]:
    """The intent of one act and its outcomes."""

    async def run() -> None:
        clock = Clock()
        log = journal(folder, clock)
        log.open()
        await log.start(asyncio.get_running_loop())
        intent = await log.intent(caller(), (operation,), (decision,), clock())
        assert isinstance(intent, Durable)
        for result in results:
            log.outcome(intent, caller(), result, clock())
        await log.stop()

    asyncio.run(run())
    found = [json.loads(data) for _, data in records(folder)]
    return [record for record in found if record["kind"] in ("intent", "outcome")]


OK = {"status": "ok"}
BACK = {"points": [{"tag": "plc-1.level_sp", "q_written": 425, "q_read": 400}], "why": None, "tolerance": 0}


def test_a_waived_write_says_would_deny_and_by_which_stage(tmp_path: Path) -> None:
    found = acted(tmp_path, writing(), WAIVED, OK)
    assert (found[0]["why"]["decision"], found[0]["why"]["stage"]) == ("would_deny", "monitor")
    told = tell.sentence(found)
    assert "let through by stage monitor, else denied by default.no_grant (no grant)" in told
    assert "wrote plc-1.level_sp = 42.5 %" in told


def test_who_approved_is_in_the_record_and_in_the_sentence(tmp_path: Path) -> None:
    approved = replace(ALLOW, approval=Approval(id="01REQ", by=(BOSS,)))
    found = acted(tmp_path, writing(), approved, OK)
    assert found[0]["why"]["approval"] == {"id": "01REQ", "by": [BOSS]}
    assert f"allowed by hmi and approved by {BOSS} (request 01REQ)" in tell.sentence(found)


def test_that_opa_was_away_is_in_the_record_and_in_the_sentence(tmp_path: Path) -> None:
    found = acted(tmp_path, writing(), replace(ALLOW, origin=Origin.FALLBACK), OK)
    assert found[0]["why"]["origin"] == "fallback"
    assert "decided by the embedded engine (OPA was away)" in tell.sentence(found)


@pytest.mark.parametrize(
    ("back", "words"),
    [
        ({**BACK, "matches": False}, "Read back, it is NOT there: plc-1.level_sp = 400 of 425 quanta."),
        ({**BACK, "matches": True}, "Read back, it is there (plc-1.level_sp = 400 of 425 quanta)."),
        ({"matches": None, "why": "no_answer", "points": []}, "could not be read back (no_answer)."),
    ],
)
def test_what_was_read_back_completes_the_sentence(tmp_path: Path, back: dict[str, Any], words: str) -> None:
    found = acted(tmp_path, writing(), ALLOW, OK, {**OK, "readback": back})
    told = tell.sentence(found)
    assert "The device accepted it." in told
    assert told.endswith(words)
    assert words in tell.line(0, found[2])


def test_a_would_be_denial_is_no_refusal(tmp_path: Path) -> None:
    record = {
        "kind": "denial",
        "wall_ns": 0,
        "who": {"subject": "eve"},
        "what": {"action": "read", "asset": "plc-1", "kind": "modbus.read_coils"},
        "why": {
            "decision": "would_deny",
            "stage": "monitor",
            "reasons": [{"code": "grant.none", "kind": "grant"}],
        },
    }
    assert "eve would be refused once enforced: read" in tell.line(0, record)
    assert "was refused" in tell.line(0, record | {"why": {"decision": "deny"}})


# what is asked for, in words ------------------------------------------------------------------------------


def test_a_persons_act_and_a_node_are_named(tmp_path: Path) -> None:
    admin = Operation(
        protocol=Protocol.HTTPS,
        action=Action.ADMIN,
        kind="admin.open_window",
        admin=AdminTarget(scope="asset:plc-1", value="maintenance", minutes=30),
    )
    told = tell.sentence(acted(tmp_path, admin, ALLOW, OK))
    assert "asked for opening of a window: maintenance on asset:plc-1 for 30 minutes" in told
    node = Operation(
        protocol=Protocol.OPCUA,
        action=Action.WRITE,
        kind="opcua.write",
        asset="plc-2",
        opcua=OpcuaTarget(service="Write", path="/Plant/Tank/SP", value=7),
    )
    told = tell.sentence(acted(tmp_path / "2", node, ALLOW, OK))
    assert "wrote /Plant/Tank/SP = 7 on plc-2" in told
