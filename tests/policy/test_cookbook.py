"""Each recipe of the cookbook, laid over the shipped bundle.

It loads, its tests hold on both engines, reach every line and grant of its own, and notice a mistake; and it
opens nothing that the shipped tests say is shut.
"""

import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.author import coverage
from gateway.model.decision import Allowed
from gateway.model.errors import PolicyError
from gateway.policy import bundle, opa, question, testing
from gateway.policy.engine import Engine
from gateway.policy.loader import Policy, load
from gateway.shipped import folder
from tests.policy.questions import shipped

ROOT = Path(__file__).resolve().parents[2]
COOKBOOK = ROOT / "docs" / "cookbook"
ASSEMBLE = COOKBOOK / "assemble.py"
RECIPES = sorted(path for path in COOKBOOK.iterdir() if path.is_dir() and path.name[0].isdigit())

MISTAKES = {
    # recipe: the file, what stands in it, the mistake
    "01": ("data/assets.yaml", "sis-1: {kind: safety", "sis-1: {kind: plc"),
    "02": ("data/grants.yaml", "    windows: [sunday-maintenance]\n", ""),
    "03": ("data/grants.yaml", "min: 50, max: 400, max_delta: 50", "min: 50, max: 400, max_delta: 51"),
    "04": ("data/grants.yaml", "    modes: [commissioning]\n", ""),
    "05": ("data/grants.yaml", "approval: {by: shift-lead", "approval: {by: maintenance-lead"),
    "06": ("site/demo/interlock.rego", "\tnot becomes(0, 0)\n", "\tbecomes(0, 1)\n"),
    "07": ("base/fleet.rego", '"meter"', '"plc"'),
    "08": ("data/grants.yaml", "    tags: [plc-1.level]\n", ""),
    "09": ("data/grants.yaml", "{type: mask}", "{type: audit}"),
    "10": ("base/fresh.rego", '{"https", "mqtt"}', '{"https"}'),
    "11": ("data/areas.yaml", "hmi-1: [plc-1]", "hmi-1: [plc-1, plc-2]"),
    "12": ("site/demo/weekend.rego", "\tbelieved\n", ""),
    "13": ("site/demo/brake.rego", 'not data.brake.writes == "free"', 'data.brake.writes == "stopped"'),
    "14": ("data/grants.yaml", "    break_glass: true\n", ""),
    "15": ("data/grants.yaml", "subs: [0, 11, 12, 14]", "subs: [0, 11, 12, 14, 15]"),
    "16": ("data/grants.yaml", "files: [[1, 4]]", "files: [[1, 5]]"),
    "17": ("base/revocation.rego", 'not input.state.crl == "fresh"', 'input.state.crl == "grace_over"'),
    "18": ("data/sources.yaml", "10.0.0.0/28", "10.0.0.0/24"),
    "19": ("base/budget.rego", '== "workload"', '== "gateway"'),
    "20": ("data/grants.yaml", "s=Tank.*", "s=Tank*"),
}
"The mistake that somebody would make there, one for each."

Component = Callable[[str], str]
each_recipe = pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.name)


def assembled(recipe: Path, target: Path) -> Path:
    """By the program that the pages tell readers to use."""
    found = importlib.util.spec_from_file_location("assemble", ASSEMBLE)
    assert found is not None
    assert found.loader is not None
    program = importlib.util.module_from_spec(found)
    found.loader.exec_module(program)
    program.assemble(recipe, folder("policies"), target)
    return target


def parts(recipe: Path) -> list[str]:
    found = (path for path in recipe.rglob("*") if path.suffix in {".rego", ".yaml"})
    return [path.relative_to(recipe).as_posix() for path in found]


def test_there_are_twenty_and_the_index_names_each() -> None:
    index = (COOKBOOK / "README.md").read_text()
    assert len(RECIPES) == 20
    for recipe in RECIPES:
        assert f"]({recipe.name}/README.md)" in index
    assert {recipe.name[:2] for recipe in RECIPES} == set(MISTAKES)


@each_recipe
def test_its_page_says_what_it_must(recipe: Path) -> None:
    page = (recipe / "README.md").read_text()
    for part in ("**The plant.**", "**The rule.**", "**Test it.**", "**What it does not cover.**", "| SR "):
        assert part in page
    assert f"assemble.py {recipe.name} new" in page
    for link in re.findall(r"\]\(([^)]+)\)", page):
        assert (recipe / link).is_file(), link
    assert {part for part in parts(recipe) if f"]({part})" in page} == set(parts(recipe))


@each_recipe
def test_its_tests_hold_reach_all_of_it_and_notice_a_mistake(recipe: Path, tmp_path: Path) -> None:
    place = assembled(recipe, tmp_path / "new")
    policy = load(bundle.read(place))
    results = testing.run(policy)
    assert [result for result in results if not result.passed] == []
    assert len(results) >= 5 or recipe.name.startswith(("01", "02"))

    own = set(parts(recipe))
    reached = coverage.coverage(policy)
    assert [(file.name, file.missed) for file in reached.files if file.name in own and file.missed] == []
    added = {one["id"] for one in grants_of(recipe)}
    assert [where for grant, where in reached.grants if grant in added] == []

    file, right, wrong = MISTAKES[recipe.name[:2]]
    mistaken = tmp_path / "mistaken"
    shutil.copytree(recipe, mistaken)
    text = (mistaken / file).read_text()
    assert text.count(right) == 1, "the mistake would change something else"
    (mistaken / file).write_text(text.replace(right, wrong))
    wrongly = load(bundle.read(assembled(mistaken, tmp_path / "worse")))
    failing = [result for result in testing.run(wrongly) if not result.passed]
    assert failing != [], f"no test minds {wrong!r} in place of {right!r}"


def grants_of(recipe: Path) -> list[dict[str, Any]]:
    file = recipe / "data" / "grants.yaml"
    return list(bundle.parse_yaml(file.name, file.read_text())["grants"]) if file.is_file() else []


@each_recipe
def test_it_opens_nothing_that_the_shipped_tests_say_is_shut(recipe: Path, tmp_path: Path) -> None:
    engine = Engine(load(bundle.read(assembled(recipe, tmp_path / "new"))))
    opened = [
        row.case.name
        for row in testing.rows(load(shipped()))
        if not row.case.allow and isinstance(engine.evaluate(question.encode(row.question), ""), Allowed)
    ]
    assert opened == []


def test_a_safety_system_is_given_to_nobody(tmp_path: Path) -> None:
    """The page says that such a grant does not load."""
    recipe = tmp_path / "recipe"
    shutil.copytree(RECIPES[0], recipe)
    grants = recipe / "data" / "grants.yaml"
    grants.write_text(grants.read_text().replace("actions: [read]", "actions: [read, write]"))
    with pytest.raises(PolicyError, match="safety"):
        load(bundle.read(assembled(recipe, tmp_path / "new")))


def test_the_program_takes_a_name_and_overwrites_nothing(tmp_path: Path) -> None:
    command = [sys.executable, str(ASSEMBLE), "13-emergency-brake", str(tmp_path / "new")]
    codes = [subprocess.run(command, check=False, timeout=60, capture_output=True).returncode for _ in "12"]
    assert codes == [0, 2]
    assert load(bundle.read(tmp_path / "new")).bundle.data["brake"] == {"writes": "free"}


@pytest.mark.needs("opa")
def test_opa_finds_nothing_to_mend(component: Component) -> None:
    """`policy check` asks OPA for more, and holds each bundle to it; here all files at once."""
    rego = [str(path) for path in COOKBOOK.rglob("*.rego")]
    core = str(folder("policies") / "core")
    for words in (["fmt", "--diff", "--fail"], ["check", "--strict", core]):
        command = [component("opa"), *words, *rego]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.needs("opa")
@each_recipe
def test_its_tests_hold_on_opa(recipe: Path, tmp_path: Path, component: Component) -> None:
    policy: Policy = load(bundle.read(assembled(recipe, tmp_path / "new")))
    results = opa.run(policy, component("opa"))
    assert [result for result in results if not result.passed] == []
    assert len(results) == len(testing.run(policy))
