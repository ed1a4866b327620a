"""What the API asks policy."""

from msgspec.structs import replace

from gateway.publish import reads
from gateway.publish.reads import Reads
from tests.scenarios.north import PLC, North, tag
from tests.scenarios.stage import CALLER


def test_the_same_question_is_the_same_object_until_the_tag_changes() -> None:
    north = North(tag("a"))
    asks = Reads(north.values, north.door, north.now, north.counts)
    first = asks.operation("https.read_tag", CALLER, north.values.tags["plc-1.a"])
    assert asks.operation("https.read_tag", CALLER, north.values.tags["plc-1.a"]) is first
    other = replace(CALLER, identity=replace(CALLER.identity, subject="spiffe://demo.example/it/other"))
    assert asks.operation("https.read_tag", other, north.values.tags["plc-1.a"]) != first
    north.values.replace(
        (tag("a", asset="plc-2"),), (PLC, replace(PLC, name="plc-2", kind="safety")), north.now()
    )
    moved = asks.operation("https.read_tag", CALLER, north.values.tags["plc-1.a"])
    assert (moved.asset, moved.asset_kind) == ("plc-2", "safety")


def test_questions_remembered_are_bounded() -> None:
    north = North(tag("a"))
    asks = Reads(north.values, north.door, north.now, north.counts)
    for n in range(reads.MOST_OPERATIONS + 1):
        asks.operation(f"https.{n}", CALLER, None)
    assert len(asks._operations) == 1
