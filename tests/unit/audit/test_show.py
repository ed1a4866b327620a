"""`audit show`, and that a record says everything about each kind of act: who, what, why, result, when."""

import asyncio
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.audit.reader import records
from gateway.cli import main
from gateway.model.decision import Allowed, Approval, Origin, Reason
from gateway.model.operation import Action, AdminTarget, NorthTarget, Operation, Point, Protocol
from gateway.model.record import Durable, RecordKind
from tests.unit.audit import world
from tests.unit.audit.world import Clock, caller, writing

REQUEST = "01M832VSF8000000000000000X"
APPROVED = Allowed(
    revision="r" * 64,
    reasons=(Reason("grant.hmi", "grant", "operators may"),),
    grants=("hmi",),
    origin=Origin.EVALUATED,
    evaluation="EVAL",
    question=world.QUESTION,
    approval=Approval(id=REQUEST, by=("x509:CN=Lea", "x509:CN=Max")),
)
HTTPS = Operation(
    protocol=Protocol.HTTPS,
    action=Action.WRITE,
    kind="https.write_tag",
    asset="plc-1",
    asset_kind="plc",
    north=NorthTarget(consumer="erp", format="json"),
    points=(Point("plc-1.level_sp", 425, 400, 12),),
)
ADMIN = Operation(
    protocol=Protocol.HTTPS,
    action=Action.ADMIN,
    kind="admin.approve",
    admin=AdminTarget(request=REQUEST, subject="spiffe://plant.example/hmi-3"),
)
WHO = (
    "subject kind auth zone roles role_state fingerprint serial issuer on_behalf_of source listener"
    " listener_zone tls"
)
WHY = "decision reasons grants revision origin evaluation obligations input"
TARGETS = {"modbus": writing(), "https": HTTPS, "admin": ADMIN}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")

    async def run() -> None:
        clock = Clock()
        journal = world.journal(folder / "journal", clock)
        journal.open()
        await journal.start(asyncio.get_running_loop())
        note = {"event": "approval requested", "request": REQUEST, "what": "write", "by_role": "lead"}
        by = caller()
        who = msgspec.structs.replace(by.identity, serial="0abc", issuer="CN=plant", on_behalf_of="user:kim")
        by = msgspec.structs.replace(by, identity=who)
        journal.event(RecordKind.ADMIN, note, clock(), caller=by)
        for operation in TARGETS.values():
            receipt = await journal.intent(by, (operation,), (APPROVED,), clock.forward(1))
            assert isinstance(receipt, Durable)
            journal.outcome(receipt, by, {"status": "ok"}, clock.forward(0.0125))
        await journal.stop()

    asyncio.run(run())
    return folder


def intents(data: Path) -> list[tuple[int, dict[str, Any]]]:
    return [(n, json.loads(d)) for n, d in records(data / "journal") if b'"kind":"intent"' in d]


@pytest.mark.parametrize("at", range(len(TARGETS)), ids=TARGETS)
def test_a_record_says_who_what_why_when(data: Path, at: int) -> None:
    _, record = intents(data)[at]
    assert set(WHO.split()) <= record["who"].keys()
    assert record["who"]["serial"] == "0abc"
    assert record["who"]["on_behalf_of"] == "user:kim"
    assert set(WHY.split()) <= record["why"].keys()
    assert record["why"]["origin"] == "evaluated"
    assert record["why"]["approval"] == {"id": REQUEST, "by": ["x509:CN=Lea", "x509:CN=Max"]}
    assert record["clock"] == "trusted"
    assert record["wall_ns"] > record["mono_ns"] > 0
    for point in record["what"]["points"]:
        told = [point[name] for name in ("tag", "q", "q_prev", "value", "value_prev", "unit")]
        assert told == ["plc-1.level_sp", 425, 400, 42.5, 40.0, "%"]


def test_an_outcome_says_how_long_it_took(data: Path) -> None:
    results = [json.loads(d)["result"] for _, d in records(data / "journal") if b'"kind":"outcome"' in d]
    assert results == [{"status": "ok", "latency_ms": 12.5}] * 3


def show(capsys: pytest.CaptureFixture[str], data: Path, *words: str) -> str:
    capsys.readouterr()
    assert main(["audit", "show", "--data", str(data), *words]) == 0
    return capsys.readouterr().out


def test_show_explains_relates_and_proves(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    index, record = intents(data)[0]
    text = show(capsys, data, record["id"])
    for words in (
        "certificate: SHA-256 " + "ab" * 32 + ", serial 0abc, issued by CN=plant",
        "on behalf of: user:kim",
        "plc-1.level_sp: 42.5 % (425 quanta); before: 40 % (400 quanta), read 10 ms earlier",
        "because grant.hmi: operators may (grant)",
        "approval: wanted by spiffe://plant.example/hmi-3, approved by x509:CN=Lea and x509:CN=Max (request",
        "outcome: ok after 12.5 ms",
        f"needs the word of lead (request {REQUEST})",
        f"record {index} is in the checkpoint of ",
    ):
        assert words in text, words
    assert "why.input.schema" not in text
    assert "why.input.schema: dmz.input/1" in show(capsys, data, str(index), "--full")
    told = json.loads(show(capsys, data, str(index), "--json"))
    assert [each["index"] for each in told["records"]] == [index, index + 1]
    assert set(told["related"]) >= {1, *(n for n, _ in intents(data)[1:])}


def test_a_record_that_is_not_signed_yet_is_not_called_proven(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock()
    world.journal(tmp_path / "journal", clock).open()
    note = (tmp_path / "journal" / "checkpoint").read_bytes()
    journal = world.journal(tmp_path / "journal", clock, seed=9)
    journal.open()
    (tmp_path / "journal" / "checkpoint").write_bytes(note)
    assert "record 1 is not signed yet: the newest checkpoint covers 1 records" in show(capsys, tmp_path, "1")
    (tmp_path / "journal" / "checkpoint").write_bytes(note.replace(b"\n1\n", b"\n2\n"))
    assert "record 1: no proof (" in show(capsys, tmp_path, "1")


def test_nothing_that_somebody_chose_is_obeyed_by_a_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The name in a certificate may hold anything, and so may what a library says of one."""
    journal = world.journal(tmp_path / "journal", Clock())
    journal.open()
    hostile = "x509:CN=\x1b[2J\r\u009b8m\u202e\nforged line"
    note = {"result": "refused", "code": "bad", "message": hostile, "listener": "north"}
    journal.event(RecordKind.AUTH, note, Clock()(), caller=caller(hostile))
    asyncio.run(journal.stop())
    for words in (
        ("tail",),
        ("search", "--kind", "auth"),
        ("show", "1", "--full"),
        ("timeline",),
        ("report", "--since", "2020-01-01T00:00:00Z"),
    ):
        capsys.readouterr()
        main(["audit", words[0], "--data", str(tmp_path), *words[1:]])
        lines = capsys.readouterr().out.split("\n")
        assert "".join(lines).isprintable(), words
        assert not any(line.startswith("forged") for line in lines), words
