"""`policy check` and `policy test`: what they say and what they exit with."""

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from gateway.author import lint
from gateway.cli import policy
from gateway.model.errors import PolicyError
from gateway.policy.decider import prepare
from gateway.shipped import folder
from tests.policy.questions import shipped
from tests.unit.policy.bundles import HEAD, written

POLICIES = str(folder("policies"))
EXAMPLE = "window working-hours"
"The demo defines it for those who try what a window is; no grant of its own asks for it."
BAD = {"site/demo/more.rego": HEAD + "x if nonsense(1)\n", "data/x.yaml": "dmz: {}\n"}


def run(*argv: str) -> int:
    parser = argparse.ArgumentParser()
    policy.add(parser.add_subparsers())
    args = parser.parse_args(["policy", *argv])
    return int(args.run(args))


def warned(out: str) -> list[str]:
    """What a check warns of, beside what it warns of in the shipped bundle."""
    known = {str(finding) for finding in lint.warnings(prepare(shipped()))}
    return [line for line in out.splitlines() if line.startswith("warning: ") and line not in known]


def said(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_check_of_a_good_bundle(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("check", "--no-tools", POLICIES) == 0
    out = capsys.readouterr().out
    first, *more = out.splitlines()
    assert first.startswith(f"ok: revision {shipped().revision}, {len(shipped().data['grants'])} grants, ")
    assert first.endswith(" rules")
    assert not any(line.startswith("  ") for line in more), "unless asked for, no list of paths"
    assert [line for line in more if EXAMPLE not in line] == [], "no warnings"
    assert run("check", "--no-tools", "--paths", POLICIES) == 0
    assert "  input.modbus.start " in capsys.readouterr().out
    assert run("check", "--no-tools", "--json", POLICIES) == 0
    report = said(capsys)
    assert report["grants"] == len(shipped().data["grants"])
    assert report["revision"] == shipped().revision
    assert report["reads"]["conn.zone"].startswith("base/plant_group.rego:")
    assert (report["uncacheable"], report["faults"]) == ({}, [])


def test_check_names_every_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = str(written(tmp_path, dict(BAD)))
    assert run("check", "--no-tools", bundle) == 1
    out = capsys.readouterr().out
    assert "fault: site/demo/more.rego:5: unknown function nonsense — " in out
    assert "data/x.yaml:1: data.dmz" in out
    assert run("check", "--no-tools", bundle, "--json") == 1
    assert {fault["where"] for fault in said(capsys)["faults"]} == {"site/demo/more.rego:5", "data/x.yaml:1"}


ALLOWS_MORE = "cases: [{name: nobody reads, base: read, allow: false, codes: [grant.none]}]\n"
EXPECTS_MORE = "cases: [{name: over there, base: read, patch: {conn: {zone: it}}, allow: true, codes: []}]\n"


def test_check_refuses_what_a_gateway_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = str(written(tmp_path, {"tests/more.yaml": ALLOWS_MORE}))
    assert run("check", "--no-tools", bundle) == 1
    fault, last = capsys.readouterr().out.splitlines()
    assert fault.startswith(
        "fault: tests/more.yaml:1: test nobody reads fails: allowed, expected denied; codes ["
    )
    assert last == "1 fault: a gateway would keep its old bundle"


def test_check_warns_of_a_lost_right(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("check", "--no-tools", str(written(tmp_path, {"tests/more.yaml": EXPECTS_MORE}))) == 0
    (warning,) = warned(capsys.readouterr().out)
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
    assert run("check", "--no-tools", str(written(tmp_path, changes))) == 0
    warnings = [line for line in warned(capsys.readouterr().out) if "role_bindings" in line]
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


UNSURE = (
    HEAD
    + """deny contains {"code": "site.a", "msg": "m"} if input.op.kind == "nothing.like_it"

# METADATA
# title: Two codes
# custom:
#   code: site.b
deny contains {"code": "site.c", "msg": "m"} if input.op.kind == "nothing.like_it"

# METADATA
# custom:
#   code: site.d
deny contains {"code": "site.d", "msg": "m"} if input.op.kind == "nothing.like_it"

# METADATA
# title: No constant
# custom:
#   code: site.e
deny contains {"code": input.op.kind, "msg": "m"} if input.op.kind == "nothing.like_it"

# METADATA
# title: [
deny contains {"code": "site.f", "msg": "m"} if input.op.kind == "nothing.like_it"

x if input.target.asset == "plc-l"

x if "nights" in input.time.windows

x if input.time.ns > 1
"""
)
IDLE = """
  - {id: nowhere, roles: [it-reader], actions: [read], protocols: [https], assets: [far-1]}
  - {id: no-addresses, roles: [operator], actions: [read], protocols: [modbus], assets: [plc-1]}
  - {id: no-topics, roles: [collector], actions: [publish], protocols: [mqtt], assets: [plc-1]}
"""
HARDLY_MEANT = [
    ("denials", "site/demo/more.rego:5", "it has no METADATA"),
    ("denials", "site/demo/more.rego:11", "its METADATA says code site.b, and it gives site.c"),
    ("denials", "site/demo/more.rego:16", "its METADATA has no title"),
    ("denials", "site/demo/more.rego:22", "its reason code is no constant"),
    ("denials", "site/demo/more.rego:26", "an undocumented denial: its METADATA"),
    ("names", "site/demo/more.rego:28", 'policy data knows no asset "plc-l"'),
    ("names", "site/demo/more.rego:30", 'policy data knows no window "nights"'),
    ("unused", "data/windows.yaml:", "no grant and no rule asks for the window never"),
    ("unused", "data/grants.yaml:", "grant nowhere: no conduit leads to far-1 (zone far) over https"),
    ("unused", "data/grants.yaml:", "grant no-addresses: gives nothing of Modbus"),
    ("unused", "data/grants.yaml:", "grant no-topics: publishes to no topic"),
    ("cache", "site/demo/more.rego:32", "reads input.time.ns, which differs in every question"),
]


def _line(one: dict[str, str]) -> str:
    return f"warning: {one['where']}: {one['what']} — {one['mend']}"


def test_check_warns_of_what_was_hardly_meant(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {name: content.decode() for name, content in shipped().files.items()}
    never = '  never: {days: [sun], from: "01:00", to: "02:00", zone: Europe/Berlin}\n'
    far = "  far-1: {kind: plc, zone: far}\n"
    changes = {
        "site/demo/more.rego": UNSURE,
        "data/grants.yaml": files["data/grants.yaml"] + IDLE,
        "data/windows.yaml": files["data/windows.yaml"] + never,
        "data/assets.yaml": files["data/assets.yaml"] + far,
    }
    bundle = str(written(tmp_path, dict(changes)))
    assert run("check", "--no-tools", "--json", bundle) == 0, "a gateway would use it"
    report = said(capsys)
    assert report["faults"] == []
    assert list(report["uncacheable"]) == ["time.ns"]
    known = {str(finding) for finding in lint.warnings(prepare(shipped()))}
    found = [one for one in report["warnings"] if _line(one) not in known]
    assert [one["topic"] for one in found] == [topic for topic, _, _ in HARDLY_MEANT]
    for one, (_, where, what) in zip(found, HARDLY_MEANT, strict=True):
        assert one["where"].startswith(where)
        assert what in one["what"]
        assert one["severity"] == "warning"
    assert run("check", "--no-tools", "--strict", bundle) == 1, "for those who want no warnings either"
    assert 'perhaps "plc-1"' in capsys.readouterr().out


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
    assert "\n  grant.none: no grant gives this action" in out
    assert "why the operator reads: spiffe://demo.example/plant/hmi-1 (operator) may not read " in out
    assert "more: mend these first" in out


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


FAILS = """package tests.more

import future.keywords.not

test_more if {
	decision := data.dmz.decision with input as {}
	not decision.allow
	decision.grants == {"all"}
}
"""


def test_test_says_where_a_rule_stopped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = written(tmp_path, {"tests/more_test.rego": FAILS})
    assert run("test", "--no-opa", str(bundle)) == 1
    assert "why tests.more.test_more: stopped at tests/more_test.rego:8\n" in capsys.readouterr().out


UNREACHED = """deny contains {"code": "site.x", "msg": "m"} if {
	input.op.kind == "nothing.like_it"
	input.conn.zone == "it"
}
"""


def test_coverage_is_a_gate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grants = shipped().files["data/grants.yaml"].decode()
    grants += "  - {id: unasked, roles: [operator], actions: [browse], protocols: [https], assets: [plc-1]}\n"
    bundle = written(tmp_path, {"site/demo/more.rego": HEAD + UNREACHED, "data/grants.yaml": grants})
    assert run("test", "--no-opa", "--threshold", "100", str(bundle)) == 1
    out = capsys.readouterr().out
    assert "site/demo/more.rego: 33.3 % of its lines; no test reaches site/demo/more.rego:5, 7\n" in out
    assert f"data/grants.yaml:{grants.count(chr(10))}: no table is allowed anything by grant unasked" in out
    assert "of core, base and site, 100 % wanted" in out
    assert run("test", "--no-opa", "--threshold", "50", str(bundle)) == 0
    capsys.readouterr()
    assert run("test", "--no-opa", "--coverage", "--json", str(bundle)) == 0
    coverage = said(capsys)["coverage"]
    assert {"name": "site/demo/more.rego", "percent": 33.3, "missed": [5, 7]} in coverage["files"]
    assert coverage["unused_grants"][-1]["grant"] == "unasked"


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
