"""`dmz-gateway audit …` as a reviewer uses it."""

import argparse
import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from gateway.audit.reader import records
from gateway.cli import audit
from gateway.model.errors import GatewayError
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
        (["--decision", "deny"], ["denial"]),
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
    order = ["lifecycle", "intent", "denial", "window", "auth"]
    assert sorted((r["kind"] for r in found(capsys)), key=order.index) == kinds


def test_search_takes_in_what_was_written_since(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    for seed in (1, 2, 3):
        world.journal(tmp_path / "journal", clock, seed=seed).open()
        clock.forward(1)
        assert run("search", "--data", str(tmp_path), "--json", "--kind", "lifecycle") == 0
        assert len(found(capsys)) == seed
    (tmp_path / "index.db").write_bytes(b"not a database at all, but longer than its header would be" * 20)
    assert run("search", "--data", str(tmp_path), "--json", "--kind", "lifecycle") == 0
    assert len(found(capsys)) == 3


def test_show_tells_a_write_as_a_sentence(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    intent = next(json.loads(d) for _, d in records(data / "journal") if b'"kind":"intent"' in d)
    assert run("show", intent["id"], "--data", str(data)) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert first.endswith(
        "spiffe://plant.example/hmi-3 (operator) from 10.0.0.7 wrote plc-1.level_sp = 42.5 % (before: 40 %) "
        "on plc-1, allowed by hmi under revision rrrrrrrrrrrr. The device refused it. (code 4)"
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
    import shutil

    shutil.copytree(data, tmp_path / "copy")
    (segment,) = (tmp_path / "copy" / "journal" / "segments").glob("*.seg")
    raw = bytearray(segment.read_bytes())
    raw[100] ^= 1
    segment.write_bytes(raw)
    assert run("verify", "--data", str(tmp_path / "copy"), "--vkey", key) == 1
    assert "first bad index 0:" in capsys.readouterr().out
    assert run("verify", "--data", str(data), "--vkey", "x+y+z") == 2


def test_a_folder_without_a_journal_is_named(tmp_path: Path) -> None:
    with pytest.raises(GatewayError, match="holds no journal"):
        run("tail", "--data", str(tmp_path))
    with pytest.raises(GatewayError, match="is no time"):
        audit._when("yesterday")
