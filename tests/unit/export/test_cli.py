"""`audit export`: what it gives, and what it says where there is nothing to give."""

import asyncio
import json
from pathlib import Path

import pytest

from gateway.cli import main
from tests.unit.audit import world
from tests.unit.export import journal
from tests.unit.export.test_ocsf import faults


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    asyncio.run(journal.write(folder / "journal", world.Clock()))
    return folder


def test_every_record_is_a_line(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "export", "--data", str(data)]) == 0
    said = capsys.readouterr()
    found = [json.loads(line) for line in said.out.splitlines()]
    assert [e["metadata"]["sequence"] for e in found] == [i for i, _ in journal.written(data / "journal")]
    assert not [f for e in found for f in faults(e)]
    assert f"{len(found)} events of {world.ORIGIN}" in said.err


def test_into_a_file_that_only_we_read(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    arguments = ["--from", "3", "--without", "window", "--format", "cloudevents", "-o", str(out)]
    assert main(["audit", "export", "--data", str(data), *arguments]) == 0
    found = [json.loads(line) for line in out.read_text().splitlines()]
    assert found[0]["data"]["metadata"]["sequence"] == 3
    assert all(e["type"] != "dmz.audit.window" for e in found)
    assert out.stat().st_mode & 0o077 == 0


def test_a_time_is_a_border(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "export", "--data", str(data), "--since", "2026-11-23T02:13:25Z"]) == 0
    late = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert main(["audit", "export", "--data", str(data), "--until", "2026-11-23T02:13:25Z"]) == 0
    early = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert late
    assert early
    assert len(late) + len(early) == len(journal.written(data / "journal"))
    assert {e["metadata"]["event_code"] for e in late} >= {"lifecycle", "window"}


def test_what_no_checkpoint_covers_stays_unless_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asyncio.run(_unsigned(tmp_path / "journal"))
    counts = []
    for more in ([], ["--unsigned"]):
        assert main(["audit", "export", "--data", str(tmp_path), *more]) == 0
        counts.append(len(capsys.readouterr().out.splitlines()))
    assert counts[1] > counts[0] > 0


async def _unsigned(folder: Path) -> None:
    """A journal as a crash leaves it: records behind the last checkpoint."""
    from gateway.model.record import Durable

    clock = world.Clock()
    made = world.journal(folder, clock)
    made.open()
    await made.start(asyncio.get_running_loop())
    receipt = await made.intent(world.caller(), (world.writing(),), (world.ALLOW,), clock())
    assert isinstance(receipt, Durable)
    assert made._committer is not None
    made._committer.finish()
    while not made._committer.ended:  # noqa: ASYNC110 # as a stop does
        await asyncio.sleep(0.002)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--since", "yesterday"], "is no time"), (["-o", "/nowhere/at/all"], "No such file")],
)
def test_a_wrong_call_says_so(
    data: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", "export", "--data", str(data), *arguments]) == 2
    assert said in capsys.readouterr().err
