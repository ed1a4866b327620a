"""What is withheld is recorded when it changes."""

from gateway.model.record import RecordKind
from gateway.model.sample import Quality
from tests.scenarios.north import North, tag


def test_a_value_out_of_range_makes_one_record_until_it_has_come_back() -> None:
    north = North(tag("level"))
    vetting = north.vetting("broker")
    for value in (101.0, 102.0, 103.0):
        north.read("level", value)
        for _ in range(100):
            vetting.released("plc-1.level", north.now())
    note = {"tag": "plc-1.level", "reasons": ["range"], "sink": "broker"}
    assert north.journal.notes == [(RecordKind.WITHHELD, note)]
    north.read("level", 50.0)
    assert vetting.released("plc-1.level", north.now()) is not None
    north.read("level", 101.0)
    vetting.released("plc-1.level", north.now())
    assert len(north.journal.notes) == 2
    assert north.counts["values_withheld"] == 301


def test_a_bad_value_is_told_and_not_withheld() -> None:
    north = North(tag("level"))
    north.read("level", None, Quality.BAD, "timeout")
    released = north.vetting("broker").released("plc-1.level", north.now())
    assert released is not None
    assert released.sample.reason == "timeout"
    assert north.journal.notes == []


def test_what_is_not_there_is_nothing() -> None:
    assert North(tag("level")).vetting("broker").released("no-such", North().now()) is None
