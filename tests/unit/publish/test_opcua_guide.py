"""docs/guides/opcua-tags.md and the reasons of docs/guides/it-first-value.md say what the code does."""

import re
from pathlib import Path
from typing import cast

import msgspec

from gateway.admin import tag_routes
from gateway.admin.tag_routes import Browse
from gateway.app import collecting
from gateway.cli import tags
from gateway.model.asset import DataType
from gateway.publish import opcua_endings, opcua_talk
from gateway.publish.opcua_browsing import MOST_DEPTH, MOST_NODES
from gateway.publish.opcua_collector import CERTIFICATE

GUIDES = Path(__file__).resolve().parents[3] / "docs" / "guides"
TAGS = (GUIDES / "opcua-tags.md").read_text()
TOLD = (GUIDES / "it-first-value.md").read_text()


def test_every_reason_is_explained() -> None:
    table = set(re.findall(r"`([a-z_…0-9]+)`", "\n".join(re.findall(r"^\| (`.*?) \|", TOLD, re.MULTILINE))))
    own = {
        *opcua_endings.REASONS.values(),
        *collecting.REASONS.values(),
        CERTIFICATE,
        "timeout",
        "waiting",
        "failed",
    }
    own |= {"unknown_namespace", "gap", "wrong_answer", "source_time", "clock", "undecodable", "stale"}
    assert own <= table
    assert {"bad_…", "uncertain_…"} <= table


def test_the_bounds_are_those_of_the_code() -> None:
    usual = Browse(asset="x")
    nodes = f"`--most` nodes ({usual.most}; up to {MOST_NODES})"
    levels = f"`--depth` levels ({usual.depth}; up to {MOST_DEPTH})"
    assert nodes in TAGS.replace("\n", " ")
    assert levels in TAGS
    assert f"asked for again every {opcua_talk.REFUSED_AGAIN_S:.0f} s" in TAGS


def test_the_table_of_the_api_is_the_table_of_the_code() -> None:
    rows = tag_routes.routes(cast(tag_routes.Devices, None))
    told = re.findall(r"^\| (GET|POST) \| `(\S+)` \| `(\S+)` \| `(\{.*?\})`", TAGS, re.MULTILINE)
    assert [each[:3] for each in told] == [(row.method, row.path, row.kind) for row in rows]
    for row, each in zip(rows, told, strict=True):
        assert row.body is not None
        msgspec.json.decode(each[3], type=row.body)


def test_every_type_that_can_be_a_tag_is_in_the_table() -> None:
    (table,) = re.findall(r"\| type of the node .*?\n\n", TAGS, re.DOTALL)
    for server, ours in tags.TYPES.items():
        assert re.search(rf"\b{server}\b", table)
        assert f"`{ours}`" in table
        assert ours in {each.value for each in DataType}
