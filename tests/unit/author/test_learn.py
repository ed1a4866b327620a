"""What is learnt gives what was seen, nothing beside it, and nothing that no grant can give."""

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.author.answers import Answers
from gateway.cli import main
from gateway.model.identity import Authentication, Kind, RoleState
from gateway.policy import bundle as bundles
from gateway.policy.bundle import parse_yaml
from gateway.policy.loader import load
from tests.policy.questions import HMI, VIEW, caller, shipped
from tests.unit.author.world import reading, record, replayed, setting
from tests.unit.policy.bundles import written

HMI_1, VIEW_1 = caller(HMI, "operator"), caller(VIEW, "viewer")
BARE = "grants: []\n"
"A plant where nobody has been granted anything yet."


def seen(tmp_path: Path, *more: Any) -> Path:
    """What a gateway recorded in a week, under the shipped bundle."""
    asked = [
        *[(HMI_1, reading(start, 5)) for start in (0, 5, 20)],
        *[(HMI_1, setting(q, 400)) for q in (300, 425, 500)],
        (VIEW_1, reading(3, 2)),
        *more,
    ]
    return record(tmp_path / "data", shipped(), asked)


def learn(tmp_path: Path, folder: Path, *words: str, data: str = BARE) -> tuple[int, Path]:
    bare = tmp_path / "bare"
    if not bare.exists():
        tests: dict[str, str | None] = {name: None for name in shipped().tests if name != "tests/bases.yaml"}
        written(bare, {"data/grants.yaml": data, **tests})
    out = tmp_path / "learned"
    call = ["policy", "learn", "--bundle", str(bare), "--journal", str(folder), "-o", str(out), *words]
    return main(call), out


def merged(tmp_path: Path, out: Path) -> Path:
    """The bundle after a person has taken everything over."""
    bare = tmp_path / "bare"
    (bare / "data" / "grants.yaml").write_text((out / "grants.learned.yaml").read_text())
    (bare / "tests" / "learned_tests.yaml").write_text((out / "learned_tests.yaml").read_text())
    return bare


def grants(out: Path) -> dict[str, dict[str, Any]]:
    found = parse_yaml("grants.yaml", (out / "grants.learned.yaml").read_text())["grants"]
    return {each["id"]: each for each in found}


def test_what_was_seen_is_learnt_and_its_tests_hold(tmp_path: Path) -> None:
    folder = seen(tmp_path)
    code, out = learn(tmp_path, folder)
    assert code == 0
    learnt = grants(out)
    reads = learnt["learned-hmi-1-read-modbus-plc-1"]
    assert reads["modbus"] == [{"table": "input", "ranges": [[0, 9], [20, 24]], "fcs": [4]}]
    assert (reads["subjects"], reads["listeners"]) == ([HMI], ["modbus-north"])
    writes = learnt["learned-hmi-1-write-modbus-plc-1"]
    assert writes["limits"] == {"plc-1.level_sp": {"min": 300, "max": 500, "max_delta": 100}}
    assert writes["modbus"] == [{"table": "holding", "ranges": [[0, 0]], "fcs": [6]}]
    bundle = merged(tmp_path, out)
    assert main(["policy", "check", str(bundle)]) == 0
    assert main(["policy", "test", str(bundle), "--no-opa"]) == 0
    answers = Answers(load(bundles.read(bundle)))
    corpus, _ = replayed(folder)
    assert all(answers.allows(each.question) for each in corpus)


def test_unseen_neighbours_are_denied(tmp_path: Path) -> None:
    _, out = learn(tmp_path, seen(tmp_path))
    answers = Answers(load(bundles.read(merged(tmp_path, out))))
    near = [
        (HMI_1, reading(10)),
        (HMI_1, reading(9, 2)),
        (HMI_1, reading(19)),
        (HMI_1, setting(501, 500)),
        (HMI_1, setting(299, 300)),
        (HMI_1, setting(401, 300)),
        (VIEW_1, reading(0)),
        (VIEW_1, setting(400)),
    ]
    corpus, _ = replayed(record(tmp_path / "near", shipped(), near))
    assert not any(answers.allows(each.question) for each in corpus)


def test_gaps_are_joined_only_when_asked(tmp_path: Path) -> None:
    _, out = learn(tmp_path, seen(tmp_path), "--merge-gap", "10")
    assert grants(out)["learned-hmi-1-read-modbus-plc-1"]["modbus"][0]["ranges"] == [[0, 24]]


def test_roles_are_learnt_when_asked(tmp_path: Path) -> None:
    _, out = learn(tmp_path, seen(tmp_path), "--by-role")
    assert {each["roles"][0] for each in grants(out).values()} == {"operator", "viewer"}


def test_what_was_denied_is_learnt_only_when_asked(tmp_path: Path) -> None:
    folder = seen(tmp_path, (VIEW_1, setting(425)))
    _, out = learn(tmp_path, folder)
    assert not any(VIEW in each["subjects"] and "write" in each["actions"] for each in grants(out).values())
    for file in out.iterdir():
        file.unlink()
    _, out = learn(tmp_path, folder, "--denied-too")
    assert any(VIEW in each["subjects"] and "write" in each["actions"] for each in grants(out).values())


def test_what_no_grant_can_give_is_listed_not_learnt(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    roleless = caller("spiffe://demo.example/plant/hmi-9", state=RoleState.ABSENT)
    nobody = caller("anonymous:legacy", kind=Kind.NOBODY, auth=Authentication.NONE, listener="legacy")
    pump_speed = (HMI_1, setting(5, 5, start=1, tag="plc-1.pump_speed_sp"))
    folder = seen(
        tmp_path, (roleless, reading()), (nobody, reading()), (HMI_1, setting(960, 950)), pump_speed
    )
    code, out = learn(tmp_path, folder, "--denied-too", "--json")
    told = json.loads(capsys.readouterr().out)
    assert code == 0
    assert not told["still_denied"]
    whys = {each["why"] for each in told["not_learnable"]}
    assert whys >= {"guardrail.role_state", "guardrail.bounds", "site.pump_speed_local"}
    assert not any("hmi-9" in str(each) for each in grants(out).values())
    (to_nobody,) = [each for each in grants(out).values() if "subject_kinds" in each]
    assert (to_nobody["subject_kinds"], to_nobody["listeners"]) == (["nobody"], ["legacy"])
    assert "guardrail.role_state" in (out / "README.md").read_text()
    assert main(["policy", "test", str(merged(tmp_path, out)), "--no-opa"]) == 0


def test_nothing_that_is_there_is_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = seen(tmp_path)
    assert learn(tmp_path, folder)[0] == 0
    out = tmp_path / "learned"
    before = {file: file.read_bytes() for file in out.iterdir()}
    assert learn(tmp_path, folder)[0] == 2
    assert "already" in capsys.readouterr().err
    assert {file: file.read_bytes() for file in out.iterdir()} == before


def test_words_of_a_capture_cannot_write_grants(tmp_path: Path) -> None:
    """Whoever writes the file could otherwise end a comment and begin a grant."""
    corpus, _ = replayed(seen(tmp_path))
    asked = corpus[0].question
    asked["op"]["kind"] = "modbus.read\n  - id: evil"
    file = tmp_path / "inspected.json"
    file.write_text(json.dumps(asked))
    bare = written(tmp_path / "bare", {"data/grants.yaml": BARE})
    out = tmp_path / "learned"
    assert main(["policy", "learn", "--bundle", str(bare), "--input", str(file), "-o", str(out)]) == 0
    assert len(grants(out)) == 1
    assert "evil" not in grants(out)
