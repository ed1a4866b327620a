"""docs/guides/reviewer-api.md says what there is: every row, every condition, every bound, every code."""

import re
from pathlib import Path

import msgspec
import pytest

from gateway.review import api, desk, jobs, wishes
from gateway.review.rows import LOOKS

ROOT = Path(__file__).resolve().parents[3]
GUIDE = (ROOT / "docs" / "guides" / "reviewer-api.md").read_text()


def test_the_table_is_the_table_of_the_code() -> None:
    told = re.findall(r"^\| `(/audit\S+)` \| `(\S+)` \| (.*)\|$", GUIDE, re.MULTILINE)
    assert [row[:2] for row in told] == [(look.path, look.kind) for look in LOOKS]
    for look, (_, _, words) in zip(LOOKS, told, strict=True):
        names = {field.encode_name for field in msgspec.structs.fields(look.form)}
        assert set(re.findall(r"`(\w+)`", words)) == names - set(re.findall(r"{(\w+)}", look.path))


BOUNDS = {
    "looks of one reviewer": (api.BUDGET,),
    "looks of one reviewer at once": (api.AT_ONCE,),
    "looks at once, all reviewers together": (desk.MOST_WAITING,),
    "an answer takes": (int(desk.WITHIN_S),),
    "records of a page": (wishes.Search().limit, wishes.MOST_FOUND),
    "bytes of an answer": (jobs.MOST_ANSWER,),
    "connections": (api.MOST_CONNECTIONS, api.MOST_CONNECTIONS // 2),
}


@pytest.mark.parametrize("what", BOUNDS)
def test_the_bounds_are_those_of_the_code(what: str) -> None:
    (told,) = re.findall(rf"^\| {what} \| (.*) \|$", GUIDE, re.MULTILINE)
    assert [int(n) for n in re.findall(r"\d+", told)] == list(BOUNDS[what])


def test_every_code_is_told() -> None:
    source = "".join(file.read_text() for file in (ROOT / "gateway" / "review").glob("*.py"))
    codes = set(re.findall(r'code="(\w+)"', source)) | set(re.findall(r'Nothing\(\s*\d+, "(\w+)"', source))
    told = GUIDE.split("## What it refuses")[1].split("## Bounds")[0]
    assert set(re.findall(r"`(\w+)`", told)) == codes - {"too_large"}
