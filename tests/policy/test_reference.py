"""docs/reference/input.md and decision.md say what the schemas and the rules say."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gateway.policy import documents
from tests.policy.questions import shipped

REFERENCE = Path(__file__).resolve().parent.parent.parent / "docs" / "reference"


def schema(name: str) -> dict[str, Any]:
    whole = documents.schema(name).schema
    assert isinstance(whole, dict)
    return whole


def fields(node: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name, inner in node.get("properties", {}).items():
        yield prefix + name
        yield from fields(inner, f"{prefix}{name}.")
        yield from fields(inner.get("items", {}), f"{prefix}{name}[].")


def first_column(name: str) -> set[str]:
    return set(re.findall(r"^\| `([^`]+)` \|", (REFERENCE / name).read_text(), re.MULTILINE))


def test_every_field_of_the_question_is_described() -> None:
    assert first_column("input.md") == set(fields(schema("input")))


def test_every_field_and_code_of_the_answer_is_described() -> None:
    described = first_column("decision.md")
    assert set(schema("decision")["properties"]) <= described
    codes = {
        code for text in shipped().modules.values() for code in re.findall(r'"code": "([a-z_.]+)"', text)
    }
    assert codes <= described
    assert {"engine.error", "engine.no_policy", "engine.cache_differs"} <= described
