"""What the loader refuses, each with file, line and reason. Most are attacks seen to work on an engine."""

from pathlib import Path

import pytest

from gateway.model.errors import Fault, PolicyError
from gateway.policy.loader import load
from tests.policy.questions import shipped
from tests.unit.policy.bundles import HEAD, changed

SITE = "site/demo/more.rego"
NOT = "import future.keywords.not\n"

RULES: list[tuple[str, str, int, str]] = [
    # what, the rule that is added to the site, its line, what the fault says
    ("syntax", "deny contains {", 5, "expecting"),
    ("unknown function", "x if mutating(1)", 5, "unknown function mutating"),
    ("unknown function of core", "x if data.dmz.lib.f(1)", 5, "unknown function data.dmz"),
    ("unknown built-in", "x if strings.any_prefix_match(`a`, `b`)", 5, "unknown function"),
    ("clock", "x := time.now_ns()", 5, "unknown function time.now_ns"),
    ("network", "x := http.send({})", 5, "unknown function http.send"),
    ("dice", "x := rand.intn(`a`, 2)", 5, "unknown function rand.intn"),
    ("engine", "x := opa.runtime()", 5, "unknown function opa.runtime"),
    ("print", "x if print(1)", 5, "unknown function print"),
    ("too few arguments", "x if data.dmz.lib.touches(`coil`)", 5, "takes 2 arguments, not 1"),
    ("too many arguments", "x if count([], 1)", 5, "takes 1 arguments, not 2"),
    ("a value as a function", "x if data.dmz.lib.acts(1)", 5, "unknown function"),
    ("hides a built-in", "count(x) := 0 if x", 5, "hides the built-in function count"),
    ("alias", "import data.dmz.lib as l\n\nx if l.acts", 5, "in full"),
    ("import of data", "import data.dmz.lib\n\nx if lib.acts", 5, "in full"),
    ("import of input", "import input.op\n\nx if op.id", 5, "in full"),
    ("alias of a keyword", "import future.keywords.in as i\n", 5, "alias"),
    ("bare input", "x := input", 5, "`input` is read whole"),
    ("bare input as argument", "x if count(input) > 1", 5, "`input` is read whole"),
    ("input by a variable", "x if {\n\tk := `op`\n\tinput[k].id\n}", 7, "read whole"),
    ("bare input in a comprehension", "x := [y | some y in input]", 5, "read whole"),
    ("a variable named input", "x if every input in [1] { input > 0 }", 5, "hides `input`"),
    ("some input", "x if {\n\tsome input\n\t[1][input]\n}", 6, "hides `input`"),
    ("some rule", "x := 1\n\ny if {\n\tsome x\n\t[7][x]\n}", 8, "hides `x`"),
    ("every rule", "x := 1\n\ny if every x in [7] { x > 0 }", 7, "hides `x`"),
    ("bare data", "x := data", 5, "`data` is read whole"),
    ("data by a variable", "x if {\n\tk := `dmz`\n\tdata[k].deny\n}", 7, "read whole"),
    ("no such rule", "x if data.dmz.gaurdrails.deny", 5, "there is no rule data.dmz.gaurd"),
    ("no such document", "x if data.asset.y", 5, "there is no document data.asset"),
    ("no such field", "x if input.modbus.fcc == 5", 5, "no field modbus.fcc"),
    ("no such part", "x if input.user.id", 5, "no field user"),
    ("with", "x if data.dmz.allow with input as {}", 5, "`with` outside tests/"),
    ("a number that is no integer", "x if 1.5 < 2", 5, "no integer"),
    ("a rule that needs itself", "x if y\n\ny if x", 5, "depends on itself"),
    ("a function that calls itself", "f(x) := y if y := f(x)", 5, "depends on itself"),
    ("two forms", "x := 1\n\nx contains 1", 7, "two forms"),
    ("two numbers of arguments", "f(a) if a\n\nf(a, b) if a == b", 7, "two forms"),
    ("needs the decision", "deny contains 1 if data.dmz.allow", 5, "depends on itself"),
    ("else behind a field", "f(x) := input.conn.tls if x == 1\n\nelse := `a`", 5, "behind a value that can"),
    ("else behind a call", "f(x) := abs(x) if x == 1\nelse := 2", 5, "behind a value that can"),
    (
        "else behind a rule",
        "r if input.op.kind\n\nf(x) := r if x == 1\nelse := 2",
        7,
        "behind a value that can",
    ),
    ("else behind an else", "f(x) := 1 if x == 1\nelse := data.assets.a if x == 2\nelse := 3", 6, "behind a"),
    ("deny as a truth value", "deny if data.dmz.lib.acts", 5, "deny is not a set"),
]

FILES: list[tuple[str, str, str, str, str]] = [
    # what, a file that is added, its text, where the fault is, what it says
    ("no package", "site/demo/more.rego", "deny := 1\n", "site/demo/more.rego:1", "package"),
    (
        "describes a package again",
        "site/demo/zone.rego",
        "# METADATA\n# title: More\npackage site.demo\n\nimport future.keywords.not\n",
        "site/demo/zone.rego:3",
        "describes the package site.demo",
    ),
    (
        "extends core",
        "site/demo/more.rego",
        "package dmz.grants\n\nimport future.keywords.not\n\nmatched contains 1\n",
        "site/demo/more.rego:1",
        "outside the root",
    ),
    (
        "extends base",
        "site/demo/more.rego",
        "package base.x\n\nimport future.keywords.not\n",
        "site/demo/more.rego:1",
        "outside the root",
    ),
    (
        "extends another plant",
        "site/demo/more.rego",
        "package site.other\n\nimport future.keywords.not\n",
        "site/demo/more.rego:1",
        "outside the root",
    ),
    (
        "a name that only begins alike",
        "site/demo/more.rego",
        "package site.demo2\n\nimport future.keywords.not\n",
        "site/demo/more.rego:1",
        "outside the root",
    ),
    (
        "base extends core",
        "base/x.rego",
        "package dmz\n\nimport future.keywords.not\n",
        "base/x.rego:1",
        "outside the root",
    ),
    (
        "no plant",
        "site/x.rego",
        "package site.x\n\nimport future.keywords.not\n",
        "site/x.rego:1",
        "belongs to no plant",
    ),
    (
        "no safe not",
        "site/demo/more.rego",
        "package site.demo\n\nx if not data.dmz.lib.acts\n",
        "site/demo/more.rego:1",
        "future.keywords.not",
    ),
    (
        "deny too deep",
        "site/demo/more.rego",
        "package site.demo.sub\n\nimport future.keywords.not\n\ndeny contains 1",
        "site/demo/more.rego:5",
        "nobody looks for",
    ),
    (
        "deny in base itself",
        "base/x.rego",
        "package base\n\nimport future.keywords.not\n\ndeny contains 1",
        "base/x.rego:5",
        "nobody looks",
    ),
    (
        "data shadows a rule",
        "data/x.yaml",
        "dmz:\n  guardrails:\n    deny: []\n",
        "data/x.yaml:3",
        "shadows the rule at core/guardrails.rego:",
    ),
    ("data contains rules", "data/x.yaml", "dmz: {}\n", "data/x.yaml:1", "shadows the rule at core/"),
    (
        "data below a rule",
        "data/x.yaml",
        "dmz: {allow: {x: 1}}\n",
        "data/x.yaml:1",
        "shadows the rule at core/",
    ),
    (
        "data as a site's denial",
        "data/x.json",
        '{"site":\n {"y": {"deny": []}}}',
        "data/x.json:2",
        "is a package's",
    ),
    (
        "data takes the stamp",
        "data/x.yaml",
        "a: 1\nbundle: {revision: x}\n",
        "data/x.yaml:2",
        "gateway's own",
    ),
    (
        "data takes the index",
        "data/x.yaml",
        "a: 1\ngrant_index: {others: {read: {modbus: [0]}}}\n",
        "data/x.yaml:2",
        "gateway's own",
    ),
    ("a document twice", "data/x.yaml", "a: 1\ngrants: []\n", "data/x.yaml:2", "data/grants.yaml too"),
    ("a key twice", "data/x.yaml", "a:\n  b: 1\n  b: 2\n", "data/x.yaml:3", "duplicate key"),
    ("a key twice in JSON", "data/x.json", '{"a": 1, "a": 2}', "data/x.json:1", "duplicate key"),
    ("not JSON", "data/x.json", '{\n"a": }', "data/x.json:2", "Expecting value"),
    ("not YAML", "data/x.yaml", "a: 1\nb: [1,\n", "data/x.yaml:3", "expected"),
    ("a fraction", "data/x.yaml", "a:\n  - 1\n  - 0.5\n", "data/x.yaml:3", "not a string, an integer"),
    ("not a number", "data/x.json", '{"a": NaN}', "data/x.json:1", "not a string, an integer"),
    ("beyond 2^53", "data/x.json", '{"a": 9007199254740993}', "data/x.json:1", "within 2^53"),
    ("a date", "data/x.yaml", "a: 2026-01-01\n", "data/x.yaml:1", "not a string"),
    ("a key that is no string", "data/x.yaml", "a: {1: 2}\n", "data/x.yaml:1", "key 1 is not a string"),
    ("a list", "data/x.yaml", "- 1\n", "data/x.yaml:1", "is not a mapping"),
    (
        "data beside Rego",
        "site/demo/more.yaml",
        "a: 1\n",
        "site/demo/more.yaml:1",
        "does not belong under site/",
    ),
    (
        "Rego beside data",
        "data/x.rego",
        "package site.demo\n\nimport future.keywords.not\n\n",
        "data/x.rego:1",
        "does not belong under data/",
    ),
    (
        "Rego nowhere",
        "more/x.rego",
        "package site.demo\n\nimport future.keywords.not\n\n",
        "more/x.rego:1",
        "outside core/, base/",
    ),
]


@pytest.mark.parametrize(("rule", "line", "what"), [row[1:] for row in RULES], ids=[row[0] for row in RULES])
def test_refuses_the_rule(tmp_path: Path, rule: str, line: int, what: str) -> None:
    expect(refused(tmp_path, {SITE: HEAD + rule}), f"{SITE}:{line}", what)


@pytest.mark.parametrize(
    ("name", "text", "where", "what"), [row[1:] for row in FILES], ids=[row[0] for row in FILES]
)
def test_refuses_the_file(tmp_path: Path, name: str, text: str, where: str, what: str) -> None:
    expect(refused(tmp_path, {name: text}), where, what)


def expect(faults: list[Fault], where: str, what: str) -> None:
    assert any(fault.where.startswith(where) and what in fault.what + fault.mend for fault in faults), faults
    assert all(fault.mend for fault in faults)


ALLOWED: list[tuple[str, str, str]] = [
    ("denies more", SITE, HEAD + 'deny contains {"code": "site.x", "msg": "y"} if input.op.kind == `x`'),
    ("own functions and rules", SITE, HEAD + "f(x) if x > 1\n\ny if f(2)\n\nz := 1 if y"),
    ("own document", "data/x.yaml", "shifts: {early: [1, 2]}\n"),
    ("reads its own document", "site/demo/m.rego", HEAD + "x := data.bounds.writes_60s"),
    ("a sub-package as a library", SITE, f"package site.demo.lib\n\n{NOT}\nx if input.op.kind == `x`"),
    (
        "another plant beside it",
        "site/other/x.rego",
        f"package site.other\n\n{NOT}\ndeny contains 1 if input.op.kind == `x`",
    ),
    ("notes", "site/demo/README.md", "why"),
    ("else behind constants", SITE, HEAD + "f(x) if x == 1\nelse := 2 if x == 2\nelse := data.assets.a"),
    ("else behind a bound value", SITE, HEAD + "f(x) := y if {\n\ty := input.conn.tls\n} else := x"),
    ("else of a rule", SITE, HEAD + "r := input.conn.tls if input.op.kind == `x`\nelse := 2"),
    ("an editor's leavings", "data/grants.yaml~", "grants: []"),
]


@pytest.mark.parametrize(("name", "text"), [row[1:] for row in ALLOWED], ids=[row[0] for row in ALLOWED])
def test_allows(tmp_path: Path, name: str, text: str) -> None:
    load(changed(tmp_path, {name: text}))


def test_all_faults_at_once(tmp_path: Path) -> None:
    faults = refused(
        tmp_path, {SITE: HEAD + "x if f(1)\n\ny := input\n", "data/windows.yaml": "windows: []\n"}
    )
    assert [fault.where for fault in faults] == ["data/windows.yaml:1", f"{SITE}:5", f"{SITE}:7"]


def test_tests_may_use_with_and_whole_documents(tmp_path: Path) -> None:
    text = (
        "package tests.more\n\nimport future.keywords.not\n\ntest_x if not data.dmz.allow with input as {}\n"
    )
    load(changed(tmp_path, {"tests/more_test.rego": text}))


def test_a_bundle_without_core_is_refused(tmp_path: Path) -> None:
    faults = refused(tmp_path, {name: None for name in shipped().files if name.startswith("core/")})
    assert any(fault.where == "core" for fault in faults)


def test_a_bundle_without_its_decision_is_refused(tmp_path: Path) -> None:
    faults = refused(tmp_path, {"core/decision.rego": None})
    assert any("dmz.decision" in fault.what for fault in faults)


def test_the_projection_is_what_rules_read() -> None:
    policy = load(shipped())
    assert ("points",) in policy.paths
    assert ("modbus", "start") in policy.paths
    assert ("op", "id") not in policy.paths
    assert not any(path[:2] == ("subject", "cert") for path in policy.paths)
    assert policy.readers["subject", "role_state"].startswith("core/guardrails.rego:")
    assert policy.readers["subject", "on_behalf_of"].startswith("core/grants.rego:")


READS: list[tuple[str, tuple[str, ...]]] = [
    ("x if input.op.id == `a`", ("op", "id")),
    ('x if input["op"]["id"] == `a`', ("op", "id")),
    ("x if input.time.ns > 1", ("time", "ns")),
    ("x if {\n\tk := `src`\n\tinput.conn[k]\n}", ("conn",)),
    ("x if {\n\tsome k\n\tinput.subject.cert[k]\n}", ("subject", "cert")),
    ("x := [y | some y in input.subject.cert]", ("subject", "cert")),
    ("x := {k: v | some k, v in input.conn}", ("conn",)),
    ("x if {\n\tc := input.subject.cert\n\tc.sha256\n}", ("subject", "cert")),
    ("x if data.assets[input.conn.src]", ("conn", "src")),
    ("x if input.points[0].tag == `a`", ("points",)),
    ("f(s) if s.tls\n\nx if f(input.conn)", ("conn",)),
    ("x if input.modbus.values[_] == 1", ("modbus", "values")),
    ('x contains input.conn.src if input.op.kind == "a"', ("conn", "src")),
    ("x[input.conn.src] := 1 if true", ("conn", "src")),
    ("x := 1 if {\n\tfalse\n} else := input.conn.src", ("conn", "src")),
    ("x if {\n\t1 == 2\n} else if input.conn.tls == `1.3`", ("conn", "tls")),
    ("x if every k in [1] { input.modbus.file == k }", ("modbus", "file")),
    ("x if not input.modbus.record", ("modbus", "record")),
    ("x if `a` in {input.conn.src}", ("conn", "src")),
    ("default f(_) := 0\n\nf(y) := input.conn.src if y", ("conn", "src")),
]


@pytest.mark.parametrize(("rule", "path"), READS)
def test_every_form_of_reading_is_seen(tmp_path: Path, rule: str, path: tuple[str, ...]) -> None:
    policy = load(changed(tmp_path, {SITE: HEAD + rule + "\n"}))
    assert any(path[: len(known)] == known for known in policy.paths)
    assert path in policy.paths


def refused(folder: Path, changes: dict[str, str | None]) -> list[Fault]:
    with pytest.raises(PolicyError) as caught:
        load(changed(folder, changes))
    return caught.value.faults
