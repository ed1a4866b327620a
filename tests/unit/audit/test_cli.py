"""`dmz-gateway audit …` as a reviewer uses it."""

import argparse
import asyncio
import json
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from gateway.audit import framing, tell, verify
from gateway.audit.reader import PATIENCE_S, Walk, records, segments
from gateway.cli import audit
from gateway.cli.audit import given
from gateway.model.decision import Denied, Origin, Reason
from gateway.model.errors import GatewayError
from gateway.model.operation import Action, ModbusTarget, Operation, Protocol
from gateway.model.record import Accepted, Durable, RecordKind
from tests.unit.audit import world
from tests.unit.audit.world import ALLOW, DENY, READ_OK, Clock, caller, reading, writing


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a bit of everything in its journal."""
    folder = tmp_path_factory.mktemp("data")

    async def run() -> None:
        clock = Clock()
        journal = world.journal(folder / "journal", clock)
        journal.open()
        await journal.start(asyncio.get_running_loop())
        receipt = await journal.intent(caller(), (writing(),), (ALLOW,), clock.forward(1))
        assert isinstance(receipt, Durable)
        journal.outcome(receipt, caller(), {"status": "exception", "code": 4}, clock.forward(1))
        journal.denied(caller(subject="spiffe://plant.example/eve"), writing(start=7), DENY, clock.forward(1))
        entry = journal.read(caller(), reading(tag="plc-1.flow"), READ_OK, clock.forward(1))
        assert isinstance(entry, Accepted)
        entry.answered(b"x")
        journal.event(RecordKind.AUTH, {"result": "refused", "code": "expired"}, clock(), source="10.9.9.9")
        await journal.stop()

    asyncio.run(run())
    return folder


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    audit.add(parser.add_subparsers())
    args = parser.parse_args(["audit", *arguments])
    return int(args.run(args))


def found(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line)["record"] for line in capsys.readouterr().out.splitlines()]


def test_tail_shows_the_newest_in_order(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("tail", "--data", str(data), "-n", "3", "--json") == 0
    indices = [json.loads(line)["index"] for line in capsys.readouterr().out.splitlines()]
    last = len(list(records(data / "journal"))) - 1
    assert indices == [last - 2, last - 1, last]
    assert run("tail", "--data", str(data), "-n", "0") == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("conditions", "kinds"),
    [
        (["--who", "eve"], ["denial"]),
        (["--who", "10.9.9.9"], ["auth"]),
        (["--asset", "plc-1"], ["intent", "denial", "window"]),
        (["--tag", "plc-1.flow"], ["window"]),
        (["--action", "write"], ["intent", "denial"]),
        (["--decision", "deny"], ["denial", "auth"]),
        (["--outcome", "exception"], ["intent"]),
        (["--outcome", "exception", "--kind", "outcome"], ["outcome"]),
        (["--outcome", "ok"], []),
        (["--outcome", "unknown", "--kind", "denial"], []),
        (["--decision", "deny", "--who", "hmi"], []),
        (["--reason", "default"], ["denial"]),
        (["--reason", "default.no_grant"], ["denial"]),
        (["--reason", "expired"], ["auth"]),
        (["--kind", "lifecycle"], ["lifecycle", "lifecycle"]),
        (["--asset", "plc-1", "--limit", "1"], ["window"]),
        (["--since", "2100-01-01T00:00:00Z"], []),
        (["--until", "2001-01-01"], []),
        (["--who", "' or 1=1 --"], []),
    ],
)
def test_search(
    data: Path, capsys: pytest.CaptureFixture[str], conditions: list[str], kinds: list[str]
) -> None:
    assert run("search", "--data", str(data), "--json", *conditions) == (0 if kinds else 1)
    order = ["lifecycle", "intent", "outcome", "denial", "window", "auth"]
    captured = capsys.readouterr()
    got = [json.loads(line)["record"]["kind"] for line in captured.out.splitlines()]
    assert sorted(got, key=order.index) == kinds
    more = (
        f"there may be more: --cursor {json.loads(captured.out)['index']}\n"
        if "--limit" in conditions
        else ""
    )
    assert captured.err == (more if kinds else "no records match\n")


@pytest.mark.parametrize("option", ["--kind", "--decision", "--action", "--outcome"])
def test_a_word_that_no_record_can_have_is_an_error(
    data: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        run("search", "--data", str(data), option, "wirte")
    assert ended.value.code == 2
    assert "choose from" in capsys.readouterr().err


def test_a_search_that_can_find_nothing_is_an_error(data: Path) -> None:
    with pytest.raises(GatewayError, match="--since is later than --until"):
        run("search", "--data", str(data), "--since", "1h", "--until", "2h")
    with pytest.raises(GatewayError, match="--limit must be at least 1"):
        run("search", "--data", str(data), "--limit", "0")


def test_search_takes_in_what_was_written_since(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    for name in ("format", "lock"):
        (tmp_path / name).touch()
    for seed in (1, 2, 3):
        world.journal(tmp_path / "journal", clock, seed=seed).open()
        clock.forward(1)
        assert run("search", "--data", str(tmp_path), "--json", "--kind", "lifecycle") == 0
        assert len(found(capsys)) == seed
    (tmp_path / "index.db").write_bytes(b"not a database at all, but longer than its header would be" * 20)
    assert run("search", "--data", str(tmp_path), "--json", "--kind", "lifecycle") == 0
    assert len(found(capsys)) == 3


def test_nothing_is_written_beside_evidence(data: Path, tmp_path: Path) -> None:
    shutil.copytree(data / "journal", tmp_path / "journal")
    assert run("search", "--data", str(tmp_path)) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["journal"]
    for name in ("format", "lock"):
        (tmp_path / name).touch()
    tmp_path.chmod(0o500)  # counts for root too
    assert run("search", "--data", str(tmp_path)) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["format", "journal", "lock"]
    tmp_path.chmod(0o700)


def test_show_tells_a_write_as_a_sentence(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    intent = next(json.loads(d) for _, d in records(data / "journal") if b'"kind":"intent"' in d)
    assert run("show", intent["id"], "--data", str(data)) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert first.endswith(
        "spiffe://plant.example/hmi-3 (operator) from 10.0.0.7 asked to write plc-1.level_sp = 42.5 % "
        "(before: 40 %) on plc-1 (outcome: exception 04), allowed by hmi under revision rrrrrrrrrrrr. "
        "It was refused there: exception 04."
    )
    assert run("show", "1", "--data", str(data), "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert [part["record"]["kind"] for part in told["records"]] == ["intent", "outcome"]


def test_show_tells_a_denial_and_a_window(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for kind, words in (("denial", "was refused: write plc-1.level_sp = 42.5 %"), ("window", "plc-1.flow")):
        record = next(json.loads(d) for _, d in records(data / "journal") if f'"kind":"{kind}"'.encode() in d)
        assert run("show", record["id"], "--data", str(data)) == 0
        assert words in capsys.readouterr().out
    assert run("show", "no-such-id", "--data", str(data)) == 1


def test_verify_says_yes_and_no_by_its_exit_code(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = (data / "journal" / "log.vkey").read_text().strip()
    assert run("verify", "--data", str(data), "--vkey", key, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["ok"]
    assert report["uncovered"] == 0
    shutil.copytree(data, tmp_path / "copy")
    (segment,) = (tmp_path / "copy" / "journal" / "segments").glob("*.seg")
    raw = bytearray(segment.read_bytes())
    raw[100] ^= 1
    segment.write_bytes(raw)
    assert run("verify", "--data", str(tmp_path / "copy"), "--vkey", key) == 1
    assert "first bad index 0:" in capsys.readouterr().out
    assert run("verify", "--data", str(data), "--vkey", "x+y+z") == 2
    capsys.readouterr()
    assert run("verify", "--data", str(data), "--vkey", "/no/such.vkey") == 2
    assert "there is no file /no/such.vkey" in capsys.readouterr().err


def test_a_folder_without_a_journal_is_named(tmp_path: Path) -> None:
    with pytest.raises(GatewayError, match="holds no journal"):
        run("tail", "--data", str(tmp_path))
    with pytest.raises(GatewayError, match="is no time"):
        given.when("yesterday")


# a journal that is damaged -----------------------------------------------------------------------


def _copy(data: Path, folder: Path, *, own: bool = False) -> tuple[Path, list[int]]:
    """A copy of the one segment, and where each record begins."""
    shutil.copytree(data / "journal", folder / "journal")
    for name in ("format", "lock") if own else ():
        (folder / name).touch()
    (segment,) = segments(folder / "journal")
    walk, begins = Walk(segment), [framing.HEAD.size]
    begins += [walk.scan.offset for _ in walk]
    walk.close()
    return segment.path, begins


def _flip(segment: Path, at: int) -> None:
    raw = bytearray(segment.read_bytes())
    raw[at] ^= 1
    segment.write_bytes(raw)


@pytest.mark.parametrize("zeroed", [False, True])
@pytest.mark.parametrize("command", [["tail"], ["search"], ["search", "--who", "10.9.9.9"], ["show", "3"]])
def test_what_cannot_be_read_is_named(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: list[str], zeroed: bool
) -> None:
    segment, begins = _copy(data, tmp_path, own=True)
    if zeroed:
        raw = segment.read_bytes()
        segment.write_bytes(raw[: begins[3]] + bytes(begins[4] - begins[3]) + raw[begins[4] :])
    else:
        _flip(segment, begins[3] + 40)
    for _ in range(2):  # with the index of the first search too
        assert run(*command, "--data", str(tmp_path)) == 1
        captured = capsys.readouterr()
        assert captured.err == "the journal is damaged at record 3: run audit verify\n"
        assert len(captured.out.splitlines()) == (3 if len(command) == 1 else 0)


def test_what_was_changed_since_it_was_indexed_is_named(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    segment, begins = _copy(data, tmp_path, own=True)
    assert run("search", "--data", str(tmp_path)) == 0
    _flip(segment, begins[3] + 40)
    capsys.readouterr()
    for command in (["search", "--kind", "denial"], ["show", "3"]):
        assert run(*command, "--data", str(tmp_path)) == 1
        captured = capsys.readouterr()
        assert (captured.out, captured.err) == (
            "",
            "the journal is damaged at record 3: run audit verify\n",
        )


def test_damage_in_an_older_segment_hides_nothing_behind_it(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    segment, begins = _copy(data, tmp_path)
    kept = segment.read_bytes()
    segment.write_bytes(kept[: begins[3]])
    cut = [kept[a + framing.FRAME.size : b] for a, b in pairwise(begins[3:])]
    later = framing.head(4) + b"".join(framing.frame(4 + i, each) for i, each in enumerate(cut[1:]))
    (segment.parent / framing.name(4)).write_bytes(later)
    assert run("search", "--data", str(tmp_path), "--json") == 1
    captured = capsys.readouterr()
    indices = [json.loads(line)["index"] for line in captured.out.splitlines()]
    assert indices == [i for i in range(len(begins) - 1) if i != 3]
    assert "damaged at record 3:" in captured.err


def test_a_record_that_is_being_written_is_no_damage(data: Path, tmp_path: Path) -> None:
    segment, begins = _copy(data, tmp_path)
    whole = segment.read_bytes()
    segment.write_bytes(whole[: begins[3] + 40])
    walk = Walk(segments(tmp_path / "journal")[0])
    assert len(list(walk)) == 3
    segment.write_bytes(whole)
    assert walk.damage(None) is None
    walk.close()
    assert PATIENCE_S < 2, "nobody waits longer than that for a journal that is damaged"


# lines -------------------------------------------------------------------------------------------

READ_UNIT_9 = Operation(
    protocol=Protocol.MODBUS,
    action=Action.CALL,
    kind="modbus.read_holding_registers",
    modbus=ModbusTarget(unit=9, fc=3),
    unreadable="unmapped_unit",
)
RELOAD = Operation(protocol=Protocol.CONTROL, action=Action.ADMIN, kind="control.reload")
STATUS = Operation(protocol=Protocol.CONTROL, action=Action.READ, kind="control.status")
READ_TAG = Operation(protocol=Protocol.HTTPS, action=Action.READ, kind="https.read_tag")


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with what has no asset, many reasons, or no good end."""
    folder = tmp_path_factory.mktemp("odd")

    def no(*reasons: Reason) -> Denied:
        return Denied(revision="r" * 64, reasons=reasons, origin=Origin.UNASKED)

    async def run() -> None:
        clock = Clock()
        journal = world.journal(folder / "journal", clock)
        journal.open()
        await journal.start(asyncio.get_running_loop())
        for operation, result in (
            (writing(), {"status": "ok"}),
            (writing(), {"status": "timeout"}),
            (writing(), {"status": "exception_02"}),
            (writing(), {"status": "wrong_answer"}),
            (writing(), {"status": "not_sent", "why": "busy"}),
            (writing(), None),
            (RELOAD, {"status": "ok"}),
        ):
            receipt = await journal.intent(caller(), (operation,), (ALLOW,), clock.forward(1))
            assert isinstance(receipt, Durable)
            if result is not None:
                journal.outcome(receipt, caller(), result, clock.forward(1))
        entry = journal.read(caller(), STATUS, READ_OK, clock.forward(1))
        assert isinstance(entry, Accepted)
        entry.answered(b"x")
        journal.denied(
            caller(), READ_UNIT_9, no(Reason("wire.unmapped_unit", "wire", "unmapped_unit")), clock()
        )
        journal.denied(caller(), READ_TAG, no(Reason("wire.unknown_tag", "wire", "'foo'")), clock())
        near = [Reason("grant.addresses", "grant", f"grant {name} is for others") for name in "ab"]
        reasons = (*near, Reason("grant.limits", "grant", "x"), Reason("site.local", "site", "local only"))
        journal.denied(caller(), writing(), no(*reasons, Reason("base.it", "base", "not from IT")), clock())
        auth = {"listener": "modbus-north", "tls": "1.3"}
        journal.event(RecordKind.AUTH, {"result": "accepted", **auth}, clock(), caller=caller())
        opcua = {"result": "accepted", "listener": "opcua-north"}
        channel = {"what": "channel", "policy": "Basic256Sha256", "mode": "SignAndEncrypt"}
        journal.event(RecordKind.AUTH, opcua | channel, clock(), caller=caller())
        journal.event(
            RecordKind.AUTH, opcua | {"what": "session", "asset": "plc-2"}, clock(), caller=caller()
        )
        revoked = {"result": "refused", "code": "revoked", "message": "serial ab was revoked by CN=plant"}
        journal.event(RecordKind.AUTH, {**revoked, **auth}, clock(), source="10.9.9.9")
        await journal.stop()

    asyncio.run(run())
    return folder


HMI = "spiffe://plant.example/hmi-3 from 10.0.0.7"
SET = "plc-1.level_sp = 42.5 % (before: 40 %) on plc-1"
BASE_FIRST = "denied by base.it (not from IT), site.local, grant.addresses, grant.limits"
LINES = [
    f"{HMI} wrote {SET}, allowed by hmi",
    f"{HMI} asked to write {SET} (outcome: timeout), allowed by hmi",
    f"{HMI} asked to write {SET} (outcome: exception 02), allowed by hmi",
    f"{HMI} asked to write {SET} (outcome: wrong answer), allowed by hmi",
    f"{HMI} asked to write {SET} (outcome: not sent), allowed by hmi",
    f"{HMI} asked to write {SET} (outcome: none recorded), allowed by hmi",
    f"{HMI} asked for reload of the gateway (outcome: ok), allowed by hmi",
    f"{HMI} asked for status 1 time",
    f"{HMI} was refused: asked for read_holding_registers (unit 9), denied by wire.unmapped_unit",
    f"{HMI} was refused: asked for read_tag 'foo', denied by wire.unknown_tag",
    f"{HMI} was refused: write {SET}, {BASE_FIRST}",
    f"{HMI} came in by modbus-north (TLS 1.3)",
    f"{HMI} came in by opcua-north (OPC UA channel, Basic256Sha256, SignAndEncrypt)",
    f"{HMI} came in by opcua-north (OPC UA session, plc-2)",
    "somebody from 10.9.9.9 was refused by modbus-north: revoked (serial ab was revoked by CN=plant)",
]


@pytest.mark.parametrize("command", [["search"], ["tail", "-n", "100"]])
def test_lines_say_what_was_asked_and_what_came_of_it(
    odd: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    assert run(*command, "--data", str(odd)) == 0
    out = capsys.readouterr().out.splitlines()
    kinds = ("intent", "window", "denial", "auth")
    told = [line.split(maxsplit=4)[-1] for line in out if line.split()[3] in kinds]
    assert sorted(told) == sorted(LINES)


@pytest.mark.parametrize(
    ("outcome", "count"), [("ok", 2), ("timeout", 1), ("unknown", 2), ("exception", 1), ("not_sent", 1)]
)
def test_intents_are_found_by_their_outcome(
    odd: Path, capsys: pytest.CaptureFixture[str], outcome: str, count: int
) -> None:
    assert run("search", "--data", str(odd), "--outcome", outcome, "--json") == 0
    assert [record["kind"] for record in found(capsys)] == ["intent"] * count


def test_one_is_not_many() -> None:
    by = {"subject": "eve", "source": "10.0.0.9"}
    note = {"of": "auth", "reason": "expired", "count": 1}
    record = {"kind": "suppressed", "wall_ns": 0, "who": by, "note": note}
    assert tell.line(0, record).endswith("1 more auth record of eve from 10.0.0.9: expired")
    assert tell.line(0, record | {"note": note | {"count": 2}}).endswith(
        "2 more auth records of eve from 10.0.0.9: expired"
    )
    report = verify.Report(records=2, covered=1, checkpoints=1, uncovered=1, root="00", kept=True)
    assert verify.told(report) == [
        "good: 1 record under 1 checkpoint, root 00",
        "not covered yet: 1 record at index 1",
    ]
