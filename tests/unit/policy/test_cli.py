"""`policy check` and `policy test`: what they say and what they exit with."""

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import policy
from gateway.model.errors import PolicyError
from gateway.shipped import folder
from tests.policy.questions import shipped
from tests.unit.policy.bundles import HEAD, written

POLICIES = str(folder("policies"))
BAD = {"site/demo/more.rego": HEAD + "x if nonsense(1)\n", "data/x.yaml": "dmz: {}\n"}


def run(*argv: str) -> int:
    parser = argparse.ArgumentParser()
    policy.add(parser.add_subparsers())
    args = parser.parse_args(["policy", *argv])
    return int(args.run(args))


def said(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_check_of_a_good_bundle(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("check", POLICIES) == 0
    out = capsys.readouterr().out
    first, *more = out.splitlines()
    assert first.startswith(f"ok: revision {shipped().revision}, 11 grants, ")
    assert first.endswith(" rules")
    assert more == [], "neither warnings nor, unless asked for, the list of paths"
    assert run("check", "--paths", POLICIES) == 0
    assert "  input.modbus.start " in capsys.readouterr().out
    assert run("check", "--json", POLICIES) == 0
    report = said(capsys)
    assert (report["grants"], report["warnings"]) == (11, [])
    assert report["revision"] == shipped().revision
    assert report["reads"]["conn.zone"].startswith("base/plant_group.rego:")
    assert (report["uncacheable"], report["faults"]) == ({}, [])


def test_check_names_every_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = str(written(tmp_path, dict(BAD)))
    assert run("check", bundle) == 1
    out = capsys.readouterr().out
    assert "site/demo/more.rego:5: unknown function nonsense — " in out
    assert "data/x.yaml:1: data.dmz" in out
    assert run("check", bundle, "--json") == 1
    assert {fault["where"] for fault in said(capsys)["faults"]} == {"site/demo/more.rego:5", "data/x.yaml:1"}


ALLOWS_MORE = "cases: [{name: nobody reads, base: read, allow: false, codes: [grant.none]}]\n"
EXPECTS_MORE = "cases: [{name: over there, base: read, patch: {conn: {zone: it}}, allow: true, codes: []}]\n"


def test_check_refuses_what_a_gateway_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = str(written(tmp_path, {"tests/more.yaml": ALLOWS_MORE}))
    assert run("check", bundle) == 1
    fault, last = capsys.readouterr().out.splitlines()
    assert fault.startswith("tests/more.yaml:1: test nobody reads fails: allowed, expected denied; codes [")
    assert last == "1 fault: a gateway would keep its old bundle"


def test_check_warns_of_a_lost_right(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("check", str(written(tmp_path, {"tests/more.yaml": EXPECTS_MORE}))) == 0
    first, warning = capsys.readouterr().out.splitlines()
    assert first.startswith("ok: revision ")
    assert warning.startswith("warning: tests/more.yaml:1: test over there fails: denied, expected allowed")


TYPOS = """
  - {id: roles-typo, roles: [operater], actions: [read], protocols: [modbus], assets: [plc-1]}
  - {id: subjects-typo, subjects: ["spiffe://demo.example/plant/hmi-l"], actions: [read], protocols: [modbus]}
"""


def test_check_warns_of_names_that_meet_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grants = shipped().files["data/grants.yaml"].decode() + TYPOS
    bindings = (
        shipped().files["data/role_bindings.yaml"].decode() + "  spiffe://demo.example/it/x: [it-raeder]\n"
    )
    changes: dict[str, str | None] = {"data/grants.yaml": grants, "data/role_bindings.yaml": bindings}
    assert run("check", str(written(tmp_path, changes))) == 0
    first, *warnings = capsys.readouterr().out.splitlines()
    assert first.startswith("ok: ")
    line = grants[: grants.index("id: roles-typo")].count("\n") + 1
    last = bindings.count("\n")
    for warning, start in zip(
        warnings,
        (
            f"data/grants.yaml:{line}: grant roles-typo: role_bindings know no role operater — ",
            f"data/grants.yaml:{line + 1}: grant subjects-typo: role_bindings know no subject spiffe://",
            f"data/role_bindings.yaml:{last}: spiffe://demo.example/it/x has the role it-raeder, which",
        ),
        strict=True,
    ):
        assert warning.startswith(f"warning: {start}")


def test_check_says_what_is_slow(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = written(tmp_path, {"site/demo/more.rego": HEAD + "x if input.time.ns > 1\n"})
    assert run("check", str(bundle)) == 0
    assert "slow: input.time.ns (site/demo/more.rego:5)" in capsys.readouterr().out


def test_test_of_a_good_bundle(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("test", "--no-opa", POLICIES) == 0
    assert "embedded: " in capsys.readouterr().out
    assert run("test", "--no-opa", "--json", POLICIES) == 0
    report = said(capsys)
    assert report["failed"] == 0
    assert all(result["passed"] for result in report["engines"]["embedded"])


def test_test_names_what_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = written(tmp_path, {"data/grants.yaml": "grants: []\n"})
    assert run("test", "--no-opa", str(bundle)) == 1
    out = capsys.readouterr().out
    assert (
        "embedded: FAIL (denies what was allowed) tests/demo.yaml:3: the operator reads: "
        "denied, expected allowed; codes [grant.none], expected [grant.matched]"
    ) in out


def test_a_lost_reason_is_no_lost_right(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = (
        "cases: [{name: over there, base: read, patch: {conn: {zone: it}}, allow: false, codes: [site.x]}]\n"
    )
    assert run("test", "--no-opa", str(written(tmp_path, {"tests/more.yaml": rows}))) == 1
    assert (
        "embedded: FAIL (denies for other reasons) tests/more.yaml:1: over there: "
        "codes [guardrail.conduit], expected [site.x]"
    ) in capsys.readouterr().out


def test_a_bundle_without_tests_does_not_pass(tmp_path: Path) -> None:
    tests = dict.fromkeys(shipped().tests)
    assert run("test", "--no-opa", str(written(tmp_path, dict(tests)))) == 1


def test_nothing_to_check(tmp_path: Path) -> None:
    for command in ("check", "test"):
        with pytest.raises(PolicyError, match="no such folder"):
            run(command, str(tmp_path / "none"))


def test_tests_of_a_bundle_that_does_not_load(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="unknown function nonsense"):
        run("test", "--no-opa", str(written(tmp_path, dict(BAD))))


@pytest.mark.needs("opa")
def test_opa_is_asked_where_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], component: Any
) -> None:
    monkeypatch.setenv("PATH", str(Path(component("opa")).parent), prepend=":")
    assert run("test", "--json", POLICIES) == 0
    engines = said(capsys)["engines"]
    assert len(engines["opa"]) == len(engines["embedded"])
