"""What is printed about the configuration is what the gateway reads.

`python -m tests.unit.config.test_reference` writes both files anew.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from gateway.config import bounds, shape
from gateway.config.keys import COMPOSED, DERIVED, RATES, keys
from gateway.config.reference import reference
from gateway.config.schema import schema
from gateway.config.settings import Settings
from tests.unit.config.example import PAGE

SCHEMA = PAGE.parent / "gateway.schema.json"
HEADING = "## Every key\n\n"


def test_the_schema_in_the_repository_is_the_one_in_force() -> None:
    assert json.loads(SCHEMA.read_text()) == schema(), "run python -m tests.unit.config.test_reference"


def test_the_page_has_every_key_as_it_is() -> None:
    assert PAGE.read_text().split(HEADING)[1] == reference(), "run python -m tests.unit.config.test_reference"


def test_the_schema_is_a_schema() -> None:
    Draft202012Validator.check_schema(schema())


def _keywords(node: Any) -> Iterator[str]:
    """Every keyword of a schema, names of properties left out."""
    for name, value in node.items() if isinstance(node, dict) else ():
        yield name
        inner = value.values() if name in ("properties", "patternProperties", "$defs") else [value]
        for each in inner:
            yield from _keywords(each)


def test_every_keyword_of_the_schema_has_words() -> None:
    silent = {"$schema", "$defs", "$ref", "$comment", "title", "description", "default"}
    applying = {"properties", "patternProperties", "items", "if", "then", "else"}
    assert set(_keywords(schema())) - silent - applying == set(shape.WORDS)


def test_defaults_in_the_schema_are_values_that_the_schema_allows() -> None:
    definitions = schema()["$defs"]
    for section in definitions.values():
        for name, rule in section.get("properties", {}).items():
            if "default" in rule:
                whole = Draft202012Validator({**rule, "$defs": definitions})
                assert whole.is_valid(rule["default"]), name


@pytest.mark.parametrize("table", [bounds.NUMBERS, bounds.WORDS, COMPOSED, DERIVED])
def test_every_row_is_about_a_field_that_exists(table: dict[tuple[type, str], object]) -> None:
    for section, field in table:
        assert field in section.__annotations__


def test_every_number_is_bounded_or_meant_not_to_be() -> None:
    unbounded = {
        f"{section.__name__}.{key.name}"
        for section in {section for section, _ in bounds.NUMBERS} | {Settings}
        for key in keys(section)
        if key.bound is None and key.form is not None and key.form.schema.get("type") in ("integer", "number")
    }
    assert unbounded == {"Tag.scale", "Tag.offset", "Tag.resolution"}
    assert {"polls_per_s", "requests_per_s"} == RATES


if __name__ == "__main__":
    SCHEMA.write_text(json.dumps(schema(), indent=2, ensure_ascii=False) + "\n")
    PAGE.write_text(PAGE.read_text().split(HEADING)[0] + HEADING + reference())
