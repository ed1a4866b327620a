"""Every way that was seen in which an engine, or Rego itself, allows what a policy that looks right denies.

Each is refused when the bundle is loaded, or the decision is a denial, and has a test of its own here:

| what fails open (where seen)                                      | test_…                                 |
|-------------------------------------------------------------------|----------------------------------------|
| `not f(input.x)` does not hold where `x` is missing (OPA)         | negation_with_missing_input, …_on_opa  |
| a function called through an import alias is undefined (regorus)  | import_alias                           |
| data that overlaps a rule replaces it in silence (regorus)        | data_over_a_rule                       |
| undefined is the text "<undefined>", which is true (regorus)      | undefined_as_text                      |
| a set of objects cannot become a Python set (regorus)             | set_of_objects                         |
| a lone surrogate in the input ends the process (regorus)          | lone_surrogate                         |
| in another thread it panics, past `except Exception` (regorus)    | another_thread                         |
| a number beyond 2^53 or 2^64 becomes another (regorus, JSON)      | numbers_beyond_doubles                 |
| fractions compare differently (regorus, OPA)                      | fractions                              |
| an unknown or missing built-in is undefined once met (regorus)    | unknown_builtin, missing_crypto        |
| the RVM goes on behind an undefined `:=` (regorus)                | rvm_is_never_used                      |
| a rule or function that needs itself ends the process (regorus)   | recursion                              |
| `some x` that shadows `input`, `data` or a rule (regorus, OPA)    | some_shadows, some_shadows_a_rule      |
| an `else` behind an undefined value is never come to (regorus)    | else_behind_undefined                  |
| conflicting values are found late, or never (regorus)             | two_forms, conflicting_values          |
| a site file in a core package adds to core (Rego)                 | site_file_in_core                      |
| a constant that the field can never be (Rego)                     | comparison_that_never_holds            |
| no answer, half an answer, an answer of another revision (any)    | answers_that_are_none                  |
| a missing field is undefined, and then no rule denies (Rego)      | every_missing_field, …_on_opa          |
"""

import ast
import json
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import regorus

from gateway.model.decision import Allowed, Decision
from gateway.model.errors import PolicyError
from gateway.policy import opa, question
from gateway.policy.engine import Engine
from gateway.policy.loader import load
from tests.policy.questions import (
    ANNA,
    HMI,
    NOW,
    OPEN,
    caller,
    conditioned,
    nodes,
    panel,
    read,
    shipped,
    write,
)
from tests.unit.policy.bundles import HEAD, changed

Component = Callable[[str], str]
ROOT = Path(__file__).resolve().parent.parent.parent
SITE = "site/demo/more.rego"
NEGATION = 'deny contains {"code": "site.x", "msg": "x"} if not known(input.northbound.topic)\n\n'
NEGATION += "known(topic) if topic in {`a`}\n"
"Reads of Modbus have no topic: whether it denies is whether `not` holds over what is undefined."


def asked(**change: Any) -> dict[str, Any]:
    document = question.document(caller(HMI, "operator"), write(), OPEN, "0" * 26, NOW, 0)
    return {**document, **change}


def decide(policy_engine: Engine, document: Any) -> Decision:
    return policy_engine.evaluate(json.dumps(document).encode(), "")


def refused(folder: Path, changes: dict[str, str | None], what: str) -> None:
    with pytest.raises(PolicyError) as caught:
        load(changed(folder, changes))
    assert any(what in fault.what for fault in caught.value.faults), caught.value.faults


def test_the_question_that_is_changed_here_is_allowed() -> None:
    assert isinstance(decide(Engine(load(shipped())), asked()), Allowed)


def test_negation_with_missing_input(tmp_path: Path) -> None:
    refused(
        tmp_path / "without", {SITE: f"package site.demo\n\n{NEGATION}"}, "`import future.keywords.not` is"
    )
    policy = load(changed(tmp_path / "with", {SITE: HEAD + NEGATION}))
    assert [reason.code for reason in decide(Engine(policy), asked()).reasons] == ["site.x"]


@pytest.mark.needs("opa")
def test_negation_with_missing_input_on_opa(component: Component, tmp_path: Path) -> None:
    """What the import is for: without it OPA allows. Once that ends, rule 6 of the loader may go."""
    policy = load(changed(tmp_path / "with", {SITE: HEAD + NEGATION}))
    (decision,) = opa.decide(policy, [asked()], component("opa"))
    assert [reason.code for reason in decision.reasons] == ["site.x"]
    module = tmp_path / "bare.rego"
    module.write_text("package bare\n\n" + NEGATION)
    command = [component("opa"), "eval", "--data", str(module), "--stdin-input", "--format", "raw"]
    done = subprocess.run(
        [*command, "data.bare.deny"], input=json.dumps({}), capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == []


def test_import_alias(tmp_path: Path) -> None:
    rule = HEAD + "import data.dmz.lib as lib\n\nx if not lib.touches(`coil`, 1)\n"
    refused(tmp_path, {SITE: rule}, "engines resolve functions through imports differently")


@pytest.mark.parametrize(
    "text",
    ["dmz: {guardrails: {deny: []}}", "dmz: {allow: true}", "site: {demo: {deny: []}}", "base: {x: 1}"],
)
def test_data_over_a_rule(tmp_path: Path, text: str) -> None:
    with pytest.raises(PolicyError):
        load(changed(tmp_path, {"data/x.yaml": text + "\n"}))


def test_undefined_as_text() -> None:
    engine = Engine(load(shipped()))
    for answer in ('"<undefined>"', "<undefined>", '"allow"', "true", "null", "", "{}", "[]"):
        decision = engine.judge(answer, b"", "")
        assert [reason.code for reason in decision.reasons] == ["engine.error"]
        assert not isinstance(decision, Allowed)


def test_set_of_objects() -> None:
    """Answers come as JSON text, where a set is a list: reasons and obligations are sets of objects."""
    decision = decide(Engine(load(shipped())), asked())
    assert isinstance(decision, Allowed)
    assert [one.type for one in decision.obligations] == ["audit"]


def test_lone_surrogate() -> None:
    who = caller(f"{HMI}\ud800", "operator")
    with pytest.raises(UnicodeEncodeError):
        question.encode(question.document(who, read(), OPEN, "0" * 26, NOW))
    decision = Engine(load(shipped())).evaluate(b'{"schema": "\\ud800"}', "")
    assert not isinstance(decision, Allowed)


def test_another_thread() -> None:
    engine, found = Engine(load(shipped())), []
    thread = threading.Thread(target=lambda: found.append(decide(engine, asked())))
    thread.start()
    thread.join()
    assert [[reason.code for reason in one.reasons] for one in found] == [["engine.error"]]
    assert not isinstance(found[0], Allowed)


@pytest.mark.parametrize("number", [2**53 + 1, -(2**53) - 1, 2**64, 10**30])
def test_numbers_beyond_doubles(tmp_path: Path, number: int) -> None:
    with pytest.raises(ValueError, match="not an integer within"):
        question.document(caller(HMI, "operator"), write(q=number), OPEN, "0" * 26, NOW, 0)
    with pytest.raises(PolicyError, match="2\\^53"):
        changed(tmp_path, {"data/x.json": json.dumps({"x": number})})


@pytest.mark.parametrize("number", ["0.1", "1e3", "NaN", "-0.5"])
def test_fractions(tmp_path: Path, number: str) -> None:
    with pytest.raises(PolicyError):
        load(changed(tmp_path / "data", {"data/x.json": f'{{"x": {number}}}'}))
    if number in ("0.1", "-0.5"):
        refused(tmp_path / "rule", {SITE: HEAD + f"x := {number}\n"}, "no integer")


def test_unknown_builtin(tmp_path: Path) -> None:
    rule = HEAD + 'deny contains {"code": "site.x", "msg": "x"} if not startswiht(input.op.kind, "modbus")\n'
    refused(tmp_path, {SITE: rule}, "unknown function startswiht")


@pytest.mark.parametrize(
    "call",
    [
        "io.jwt.decode(`a`)",
        "io.jwt.verify_rs256(`a`, `b`)",
        "crypto.sha256(`a`)",
        "crypto.x509.parse_certificates(`a`)",
        "net.cidr_merge([])",
        "http.send({})",
        "time.now_ns()",
        "sprintf(`%d`, [1])",
        "regex.replace(`a`, `b`, `c`)",
    ],
)
def test_missing_crypto(tmp_path: Path, call: str) -> None:
    refused(tmp_path, {SITE: HEAD + f"x if not {call}\n"}, "unknown function")


def test_rvm_is_never_used() -> None:
    assert "Rvm" in dir(regorus), "the module has another machine, which nobody may use"
    code = {path: ast.parse(path.read_text()) for path in (ROOT / "gateway").rglob("*.py")}
    names = {
        (path, getattr(node, "attr", getattr(node, "id", getattr(node, "name", ""))))
        for path, tree in code.items()
        for node in ast.walk(tree)
    }
    assert [path for path, name in names if "rvm" in str(name).lower()] == []


@pytest.mark.parametrize(
    "rule",
    [
        "x if x",
        "f(n) := f(n - 1)",
        "f(n) := m if m := g(n)\n\ng(n) := m if m := f(n)",
        "x if y\n\ny if not x",
        "deny contains y if some y in deny",
    ],
)
def test_recursion(tmp_path: Path, rule: str) -> None:
    refused(tmp_path, {SITE: f"{HEAD}{rule}\n"}, "depends on itself")


@pytest.mark.parametrize("name", ["input", "data"])
def test_some_shadows(tmp_path: Path, name: str) -> None:
    refused(tmp_path, {SITE: HEAD + f"x if {{\n\tsome {name}\n\t[1][{name}]\n}}\n"}, f"hides `{name}`")


def test_some_shadows_a_rule(tmp_path: Path) -> None:
    """To regorus `x` is then the rule, so that the body holds for nothing; to OPA it is the variable."""
    body = "x := 1\n\ny if {\n\tsome x\n\t[7][x] == 7\n}\n"
    engine = regorus.Engine()
    engine.add_policy("bare.rego", f"package bare\n\n{body}")
    assert json.loads(engine.eval_rule_as_json("data.bare.y")) == "<undefined>"
    refused(tmp_path, {SITE: HEAD + body}, "hides `x`")


def test_else_behind_undefined(tmp_path: Path) -> None:
    rule = HEAD + "f(x) := input.conn.tls if x == 1\n\nelse := `none`\n"
    refused(tmp_path, {SITE: rule}, "`else` behind a value that can be undefined")


def test_two_forms(tmp_path: Path) -> None:
    refused(tmp_path, {SITE: HEAD + "x := 1\n\nx contains 1\n"}, "defined in two forms")


def test_conflicting_values(tmp_path: Path) -> None:
    """Two values of one rule can only be seen when both are made; then the decision is none, and no allow."""
    rule = HEAD + "x := 1 if input.op.kind\n\nx := 2 if input.op.id\n\n"
    rule += 'deny contains {"code": "site.x", "msg": "x"} if x == 3\n'
    engine = Engine(load(changed(tmp_path, {SITE: rule})))
    decision = decide(engine, asked())
    assert [reason.code for reason in decision.reasons] == ["engine.error"]


@pytest.mark.parametrize("package", ["dmz", "dmz.grants", "dmz.guardrails", "dmz.people", "base.plant_group"])
def test_site_file_in_core(tmp_path: Path, package: str) -> None:
    text = f"package {package}\n\nimport future.keywords.not\n\nmatched contains `x`\n"
    refused(tmp_path, {SITE: text}, "lies outside the root of its folder")


def test_comparison_that_never_holds(tmp_path: Path) -> None:
    rule = HEAD + 'deny contains {"code": "site.x", "msg": "x"} if input.op.action == "wirte"\n'
    refused(tmp_path, {SITE: rule}, "never holds")


def test_answers_that_are_none() -> None:
    engine = Engine(load(shipped()))
    good = {
        "schema": "dmz.decision/1",
        "allow": True,
        "reasons": [{"code": "grant.matched", "kind": "grant", "msg": ""}],
        "obligations": [],
        "grants": ["g"],
        "revision": engine.revision,
    }
    assert isinstance(engine.judge(json.dumps(good), b"", ""), Allowed)
    wrong: list[dict[str, Any]] = [
        {name: value for name, value in good.items() if name != one} for one in good
    ]
    wrong += [
        {**good, "more": 1},
        {**good, "allow": "true"},
        {**good, "allow": 1},
        {**good, "grants": []},
        {**good, "reasons": []},
        {**good, "revision": "0" * 64},
        {**good, "obligations": [{}]},
        {**good, "obligations": ["audit"]},
        {**good, "reasons": [{"code": "site.x", "kind": "site", "msg": ""}]},
        {**good, "schema": "dmz.decision/2"},
    ]
    for answer in wrong:
        assert not isinstance(engine.judge(json.dumps(answer), b"", ""), Allowed), answer


UNREAD = {
    "schema": (), "northbound": (), "opcua": (), "admin": (), "time": ("ns", "windows", "trusted"),
    "op": ("id", "direction", "kind"), "subject": ("zone", "cert"), "conn": ("src", "listener", "tls"),
    "target": ("endpoint", "kind"), "state": ("mode", "approval", "break_glass"),
    "modbus": ("sub", "mei", "values", "and_mask", "or_mask", "file", "record"),
}  # fmt: skip
"""What nothing depends on of a write of one register by the demo's grants: parts that it does not use, and
fields that no rule asks for, that could only give more (an approval), or that say the same as policy data."""
NEEDLESS: set[tuple[str, ...]] = {(part,) for part in ("schema", "northbound", "opcua", "admin", "time")}
NEEDLESS |= {(part, name) for part, names in UNREAD.items() for name in names}


def without(document: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    copy = json.loads(json.dumps(document))
    inner = copy
    for name in path[:-1]:
        inner = inner[name]
    del inner[path[-1]]
    return dict(copy)


def test_every_missing_field() -> None:
    """A field that is not there never allows what its absence should deny."""
    engine, document = Engine(load(shipped())), asked()
    paths = [(part,) for part in document] + [
        (part, name) for part, inner in document.items() if isinstance(inner, dict) for name in inner
    ]
    allowed = {path for path in paths if isinstance(decide(engine, without(document, path)), Allowed)}
    assert allowed == NEEDLESS


@pytest.mark.needs("opa")
def test_every_missing_field_on_opa(component: Component) -> None:
    policy, document = load(shipped()), asked()
    paths = [(part,) for part in document] + [
        (part, name) for part, inner in document.items() if isinstance(inner, dict) for name in inner
    ]
    engine = Engine(policy)
    questions = [without(document, path) for path in paths]
    theirs = opa.decide(policy, questions, component("opa"))
    for path, one, other in zip(paths, questions, theirs, strict=True):
        ours = decide(engine, one)
        assert isinstance(ours, Allowed) or not isinstance(other, Allowed), path


CHANNEL = {"security", "mode"}
NEEDED: dict[str, set[str]] = {
    "Read": {"service", "node", "attribute", *CHANNEL},
    "HistoryRead": {"service", "node", "attribute", "history_start_ns", "history_end_ns", *CHANNEL},
    "Browse": {"service", "path", *CHANNEL},
    "CreateMonitoredItems": {"service", "node", "attribute", "sampling_ms", *CHANNEL},
    "CreateSubscription": {"service", "node", "publishing_ms", *CHANNEL},
    "Publish": {"service", "node", *CHANNEL},
    "Republish": {"service", "node", *CHANNEL},
    "Write": {"service", "node", "attribute", *CHANNEL},
    "Call": {"service", "node", "method", "arguments", *CHANNEL},
}
"What an operation over OPC UA must say of itself to be allowed, by grants that bound what can be bounded."
NEEDED_OF_WHO = {("subject", name) for name in ("id", "kind", "auth", "on_behalf_of")} | {("conn", "zone")}
USERLESS = {"Browse", "Call"}
"What only the application is granted, not the user on top."


def opcua_questions() -> list[tuple[str, dict[str, Any]]]:
    """One of each service that somebody has, for an application and for a user on top of it."""
    found = {}
    for operation in nodes():
        assert operation.opcua is not None
        service = operation.opcua.service
        if service not in NEEDED or (service == "CreateMonitoredItems" and operation.opcua.sampling_ms == -1):
            continue
        for user in (None,) if service in USERLESS else (None, ANNA):
            asked = question.document(panel(on_behalf_of=user), operation, OPEN, "0" * 26, NOW, 0)
            found[f"{service} for {user}"] = (service, asked)
    return list(found.values())


def test_every_missing_field_of_opcua() -> None:
    engine = Engine(load(conditioned()))
    seen = set()
    for service, document in opcua_questions():
        seen.add(service)
        assert isinstance(decide(engine, document), Allowed), service
        missed = {
            (part, name)
            for part in ("opcua", "subject", "conn")
            for name in document[part]
            if not isinstance(decide(engine, without(document, (part, name))), Allowed)
        }
        assert missed == NEEDED_OF_WHO | {("opcua", name) for name in NEEDED[service]}, service
    assert seen == set(NEEDED)


@pytest.mark.needs("opa")
def test_every_missing_field_of_opcua_on_opa(component: Component) -> None:
    policy = load(conditioned())
    engine = Engine(policy)
    changed_ones = [
        without(document, (part, name))
        for _, document in opcua_questions()
        for part in ("opcua", "subject", "conn", "state")
        for name in document[part]
    ]
    theirs = opa.decide(policy, changed_ones, component("opa"))
    for one, other in zip(changed_ones, theirs, strict=True):
        assert isinstance(decide(engine, one), Allowed) == isinstance(other, Allowed), one


def test_an_engine_that_fails_denies() -> None:
    assert not isinstance(Engine(load(shipped())).evaluate(b"not json", ""), Allowed)
    assert not isinstance(Engine(load(shipped())).evaluate(b"\xff", ""), Allowed)
