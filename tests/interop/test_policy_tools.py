"""OPA's and Regal's own checkers: the shipped bundle passes them, and what they find elsewhere is told."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from gateway.author import tools
from gateway.author.tools import Section
from gateway.policy import bundle as bundles
from gateway.shipped import folder
from tests.policy.questions import shipped
from tests.unit.policy.bundles import HEAD, changed


@pytest.fixture
def opa(monkeypatch: pytest.MonkeyPatch, component: Any) -> None:
    monkeypatch.setenv("PATH", str(Path(component("opa")).parent), prepend=":")


def said(found: list[Section], tool: str) -> Section:
    return next(section for section in found if section.tool == tool)


@pytest.mark.needs("opa")
@pytest.mark.usefixtures("opa")
def test_opa_finds_nothing_in_the_shipped_policies() -> None:
    found = tools.ask(shipped(), folder("policies"))
    for tool in ("opa fmt", "opa check"):
        assert (said(found, tool).asked, said(found, tool).findings) == (True, ())


@pytest.mark.needs("opa")
@pytest.mark.usefixtures("opa")
def test_what_opa_finds_is_passed_on_with_its_place(tmp_path: Path) -> None:
    text = HEAD + "x if {\n  unused := 1\n    input.modbus.fc\n}\n"
    bundle = changed(tmp_path, {"site/demo/more.rego": text})
    found = tools.ask(bundle, tmp_path)
    (layout,) = said(found, "opa fmt").findings
    assert (layout.where, layout.severity) == ("site/demo/more.rego", "warning")
    (unused,) = said(found, "opa check").findings
    assert unused.where == "site/demo/more.rego:6"
    assert "unused" in unused.what


@pytest.mark.needs("opa")
@pytest.mark.usefixtures("opa")
def test_opa_takes_the_schema_of_the_question(tmp_path: Path) -> None:
    """With every type of a field, null included: OPA by itself takes one of them only."""
    text = HEAD + 'x if input.target.asset == null\n\ny if input.op.colour == "red"\n'
    bundle = bundles.read(folder("policies"))
    files = {**bundle.files, "site/demo/more.rego": text.encode()}
    modules = {**bundle.modules, "site/demo/more.rego": text}
    strange = type(bundle)(**{**_fields(bundle), "files": files, "modules": modules})
    (wrong,) = said(tools.ask(strange, tmp_path), "opa check").findings
    assert wrong.where == "site/demo/more.rego:7"


def _fields(bundle: bundles.Bundle) -> dict[str, Any]:
    return {name: getattr(bundle, name) for name in bundle.__struct_fields__}


def test_tools_that_are_not_there_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert [(section.asked, section.findings) for section in tools.ask(shipped(), Path())] == [
        (False, ())
    ] * 3


@pytest.mark.skipif(shutil.which("regal") is None, reason="regal is missing")
def test_regal_finds_nothing_in_the_shipped_policies_and_something_elsewhere(tmp_path: Path) -> None:
    section = said(tools.ask(shipped(), folder("policies")), "regal lint")
    assert (section.asked, section.findings) == (True, ())
    bundle = changed(tmp_path, {"site/demo/more.rego": HEAD + "camelCase if true\n"})
    found = said(tools.ask(bundle, tmp_path), "regal lint").findings
    assert any(one.where.startswith("site/demo/more.rego:5") and "snake" in one.what for one in found), found
