"""From recorded traffic of other stacks to grants: inspect, learn, test, and see what would break.

The captures are the ones of test_captures.py. Each capture's clients get a subject with `--as`, its units are
the assets, and the learnt grants must give everything that policy can give, and no more than was seen.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.author import corpus
from gateway.author.answers import Answers
from gateway.author.corpus import Span
from gateway.author.recorded import Recorded, Seen
from gateway.cli import main
from gateway.policy import bundle as bundles
from gateway.policy.bundle import parse_yaml
from gateway.policy.loader import load
from tests.interop.test_captures import CAPTURES
from tests.policy.questions import shipped
from tests.unit.policy.bundles import written

NAMES = (
    "quickdraw/modbus_test_data_part1.pcap",
    "suricata-verify/modbus.pcap",
    "zeek/modbusSmall.pcap",
    "icsnpp-modbus/modbus_example.pcap",
    "crafted/15_unknown_fc_first_then_write.pcap",
    "crafted/29_broadcast_write.pcap",
)
ALL = [[0, 65_535]]
UNITS = range(12)
"Units that policy knows; what goes to others is not learnable."
WORD = "spiffe://plant.example/{}:engineer"


def whole_plant(folder: Path, units: range) -> Path:
    """A bundle in which every unit of a capture is a known asset, and nobody is granted anything."""
    data = shipped().data
    assets = {f"unit-{unit}": {"kind": "plc", "zone": "plant"} for unit in units}
    everything = {**dict.fromkeys(("coil", "discrete", "input", "holding"), ALL)}
    files = [{"files": ALL, "records": ALL}]
    bounds = {
        **data["bounds"],
        "writes_60s": 10_000,
        "writable": {name: {**everything, "files": files} for name in assets},
        "limits": {},
    }
    tests: dict[str, str | None] = {name: None for name in shipped().tests if name != "tests/bases.yaml"}
    return written(
        folder,
        {
            **tests,
            "data/assets.yaml": json.dumps({"assets": {**data["assets"], **assets}}),
            "data/bounds.yaml": json.dumps({"bounds": bounds}),
            "data/grants.yaml": "grants: []\n",
        },
    )


def inspected(capture: Path, bundle: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> list[Any]:
    """What `inspect --json` says, kept in a file."""
    capsys.readouterr()
    assert main(["inspect", str(capture), "--json", "--policy", str(bundle)]) in (0, 1)
    text = capsys.readouterr().out
    out.write_text(text)
    return [json.loads(line) for line in text.splitlines()]


def read(file: Path, who: dict[str, Any]) -> tuple[list[Recorded], Seen]:
    seen = Seen()
    with file.open("rb") as text:
        return list(corpus.lines(text, who, Span(), seen, lambda _count: None)), seen


@pytest.mark.parametrize("name", NAMES)
def test_a_capture_becomes_grants_that_give_what_it_shows(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capture = CAPTURES / name
    if not capture.exists():
        pytest.skip("captures are missing: no shared/captures beside the repository")
    bundle = whole_plant(tmp_path / "bundle", UNITS)
    file = tmp_path / "inspected.json"
    asked = [each for line in inspected(capture, bundle, file, capsys) for each in line.get("decisions", ())]
    sources = sorted({each["question"]["conn"]["src"] for each in asked if each["question"] is not None})
    assert sources
    named = ",".join(f"{source}={WORD.format(f'client-{at}')}" for at, source in enumerate(sources))
    who = {s: (WORD.format(f"client-{at}").rpartition(":")[0], ("engineer",)) for at, s in enumerate(sources)}
    out = tmp_path / "learned"
    call = ["policy", "learn", "--bundle", str(bundle), "--input", str(file), "--as", named, "-o", str(out)]
    assert main([*call, "--json"]) in (0, 1)
    told = json.loads(capsys.readouterr().out)
    assert not told["still_denied"]
    assert {each["why"].split(".")[0] for each in told["not_learnable"]} <= {"guardrail"}
    (bundle / "data" / "grants.yaml").write_text((out / "grants.learned.yaml").read_text())
    (bundle / "tests" / "learned_tests.yaml").write_text((out / "learned_tests.yaml").read_text())
    if told["tests"]:
        assert main(["policy", "test", str(bundle), "--no-opa"]) == 0
    answers = Answers(load(bundles.read(bundle)))
    found, seen = read(file, who)
    assert not seen.unusable
    denied = [each for each in found if not answers.allows(each.question)]
    assert sum(each.count for each in denied) == sum(each["count"] for each in told["not_learnable"])


def test_a_capture_shows_what_a_change_would_break(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capture = CAPTURES / "quickdraw/modbus_test_data_part1.pcap"
    if not capture.exists():
        pytest.skip("captures are missing: no shared/captures beside the repository")
    bundle, file = whole_plant(tmp_path / "bundle", UNITS), tmp_path / "inspected.json"
    lines = inspected(capture, bundle, file, capsys)
    sources = {each["question"]["conn"]["src"] for line in lines for each in line.get("decisions", ())
               if each["question"] is not None}  # fmt: skip
    named = ",".join(f"{source}={WORD.format('one')}" for source in sorted(sources))
    out = tmp_path / "learned"
    call = ["policy", "learn", "--bundle", str(bundle), "--input", str(file), "--as", named, "-o", str(out)]
    assert main(call) == 0
    grants = parse_yaml("grants.yaml", (out / "grants.learned.yaml").read_text())["grants"]
    for changed, kept in (
        ("old", grants),
        ("new", [each for each in grants if "write" not in each["actions"]]),
    ):
        whole_plant(tmp_path / changed, UNITS)
        (tmp_path / changed / "data" / "grants.yaml").write_text(json.dumps({"grants": kept}))
    capsys.readouterr()
    old, new = str(tmp_path / "old"), str(tmp_path / "new")
    call = ["policy", "replay", "--bundle", new, "--old", old, "--input", str(file), "--as", named, "--json"]
    assert main([*call, "--no-widening"]) == 0
    told = json.loads(capsys.readouterr().out)
    writes = [each for each in grants if "write" in each["actions"]]
    assert writes
    assert told["narrows"] > 0
    assert {lost for group in told["groups"] for lost in group["grants_lost"]} == {
        each["id"] for each in writes
    }
