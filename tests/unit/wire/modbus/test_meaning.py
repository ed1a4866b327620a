"""Requests to operations: what policy is asked about."""

from struct import pack
from typing import Any

import pytest

from gateway.model.asset import Asset, DataType, Order, Table, Tag
from gateway.model.moment import Now
from gateway.model.operation import Action, Operation, Point, Protocol
from gateway.wire.modbus.functions import FUNCTIONS, Request, read_request
from gateway.wire.modbus.meaning import MOST_READS, Place
from tests.vectors.modbus import Vector, vectors

ASSET = Asset(name="plc-1", kind="drive", host="192.0.2.1", port=502, unit=3)
NOW = Now(0, 5_000_000_000, True, 0)


class Known(dict[str, tuple[int | None, int]]):
    """Last values, by hand."""

    def last(self, tag: str) -> tuple[int | None, int] | None:
        return self.get(tag)


def tag(name: str, table: Table, address: int, kind: DataType = DataType.UINT16, **fields: Any) -> Tag:
    return Tag(name=name, asset="plc-1", path="p", table=table, address=address, type=kind, **fields)


TAGS = [
    tag("pump", Table.COIL, 2, DataType.BOOL),
    tag("valve", Table.COIL, 3, DataType.BOOL),
    tag("door", Table.DISCRETE, 2, DataType.BOOL),
    tag("speed", Table.HOLDING, 10, DataType.INT16, scale=0.1, resolution=0.1),
    tag("flow", Table.HOLDING, 11, DataType.FLOAT32, resolution=0.5),
    tag("total", Table.HOLDING, 20, DataType.UINT64),
    tag("run", Table.HOLDING, 30, DataType.BOOL, bit=0),
    tag("trip", Table.HOLDING, 30, DataType.BOOL, bit=15),
    tag("swapped", Table.HOLDING, 31, DataType.UINT16, byte_order=Order.LITTLE),
    tag("level", Table.INPUT, 10),
]
PLACE = Place(ASSET, TAGS)


def ask(pdu: str | bytes, known: Known | None = None, place: Place = PLACE) -> tuple[Operation, ...]:
    request = read_request(7, bytes.fromhex(pdu) if isinstance(pdu, str) else pdu)
    assert isinstance(request, Request)
    return place.operations(request, known or Known(), NOW)


def write(pdu: str | bytes, known: Known | None = None) -> Operation:
    operation = ask(pdu, known)[0]
    assert operation.action is Action.WRITE
    return operation


@pytest.mark.parametrize("vector", [v for v in vectors() if "operations" in v.expected], ids=str)
def test_vectors(vector: Vector) -> None:
    operations = ask(vector.pdu)
    assert len(operations) == len(vector.expected["operations"])
    for operation, expected in zip(operations, vector.expected["operations"], strict=True):
        fields = dict(expected)
        assert operation.action == fields.pop("action")
        if vector.fc not in (8, 43):
            assert operation.kind == f"modbus.{FUNCTIONS[vector.fc].name}"
        for field in {"kind", "unreadable"} & set(fields):
            assert getattr(operation, field) == fields.pop(field)
        target = operation.modbus
        assert target is not None
        assert (target.unit, target.fc) == (7, vector.fc)
        for field, value in fields.items():
            said = getattr(target, field)
            assert (list(said) if isinstance(said, tuple) else said) == value


def test_a_read_says_where_and_what() -> None:
    (operation,) = ask("03 000a 0003")
    assert (operation.protocol, operation.asset, operation.asset_kind) == (Protocol.MODBUS, "plc-1", "drive")
    assert operation.points == (Point("speed"), Point("flow"))
    assert operation.unreadable is None
    assert operation.modbus is not None
    assert operation.modbus.values is None


def test_reads_know_nothing_of_last_values() -> None:
    assert ask("03 000a 0001", Known(speed=(5, 0)))[0].points == (Point("speed"),)


@pytest.mark.parametrize(
    ("pdu", "names"),
    [
        ("03 0009 0001", []),
        ("03 000a 0001", ["speed"]),
        ("03 000c 0001", ["flow"]),
        ("03 000d 0007", []),
        ("03 0017 0001", ["total"]),
        ("03 0018 0001", []),
        ("03 0000 0028", ["speed", "flow", "total", "run", "trip", "swapped"]),
        ("04 000a 0001", ["level"]),
        ("01 0000 0008", ["pump", "valve"]),
        ("02 0000 0008", ["door"]),
        ("03 ffff 0001", []),
    ],
)
def test_every_tag_that_overlaps_is_named(pdu: str, names: list[str]) -> None:
    assert [point.tag for point in ask(pdu)[0].points] == names


def test_the_same_read_gives_the_same_object() -> None:
    place = Place(ASSET, TAGS)
    assert ask("03 000a 0001", place=place) is ask("03 000a 0001", place=place)
    assert ask("03 000a 0001", place=place) is not ask("03 000a 0002", place=place)
    assert ask("06 000a 0001", place=place) is not ask("06 000a 0001", place=place)


def test_another_unit_number_is_another_read() -> None:
    place = Place(ASSET, TAGS)
    for unit in (1, 2):
        request = read_request(unit, bytes.fromhex("03000a0001"))
        assert isinstance(request, Request)
        target = place.operations(request, Known(), NOW)[0].modbus
        assert target is not None
        assert target.unit == unit


def test_the_memory_of_reads_is_bounded() -> None:
    place = Place(ASSET, [])
    for start in range(MOST_READS + 10):
        ask(pack(">BHH", 3, start, 1), place=place)
        assert len(place._reads) <= MOST_READS
    assert ask("03 0000 0001", place=place) is ask("03 0000 0001", place=place)


def test_writes_say_what_each_tag_would_become_beside_what_it_was() -> None:
    known = Known(speed=(240, 3_999_000_000), flow=(None, 0))
    operation = write("10 000a 0003 06 00fa 4248 0000", known)
    assert operation.points == (Point("speed", 250, 240, 1001), Point("flow", 100))
    assert operation.unreadable is None
    assert operation.modbus is not None
    assert operation.modbus.values == (250, 0x4248, 0)


def test_a_value_polled_after_the_request_came_has_no_negative_age() -> None:
    assert write("06 000a 0001", Known(speed=(0, NOW.mono_ns + 1))).points[0].age_ms == 0


def test_writing_coils() -> None:
    assert write("05 0002 ff00").points == (Point("pump", 1),)
    assert write("05 0002 0000", Known(pump=(1, NOW.mono_ns))).points == (Point("pump", 0, 1, 0),)
    assert write("0f 0001 0003 01 04").points == (Point("pump", 0), Point("valve", 1))


def test_writing_a_register_of_bits_writes_each_bit() -> None:
    assert write("06 001e 8000").points == (Point("run", 0), Point("trip", 1))


@pytest.mark.parametrize(
    ("pdu", "why"),
    [
        ("06 000b 0001", "partial_tag"),
        ("10 000c 0001 02 0000", "partial_tag"),
        ("10 000a 0002 04 0000 0000", "partial_tag"),
        ("16 000b 0000 0001", "partial_tag"),
        ("17 0000 0001 000b 0001 02 0000", "partial_tag"),
        ("10 000b 0002 04 7fc0 0000", "not_a_number"),
        ("10 000b 0002 04 ff80 0000", "not_a_number"),
        ("10 0014 0004 08 0020 0000 0000 0001", "beyond_2_53"),
        ("10 000b 0002 04 7f00 0000", "beyond_2_53"),
    ],
)
def test_what_policy_could_not_judge_is_unreadable(pdu: str, why: str) -> None:
    operation = write(pdu)
    assert operation.unreadable == why
    assert None in {point.q for point in operation.points}


def test_one_unreadable_tag_makes_the_write_unreadable_whatever_follows() -> None:
    operation = write("10 000c 0014 28" + " 0000" * 20)
    assert operation.unreadable == "partial_tag"
    assert [point.q for point in operation.points] == [None, 0, 0, 0, 0]


def test_two_to_the_53_is_still_exact() -> None:
    operation = write("10 0014 0004 08 0020 0000 0000 0000")
    assert operation.unreadable is None
    assert operation.points == (Point("total", 2**53),)


def test_write_then_read_is_two_operations_in_that_order() -> None:
    written, read = ask("17 000a 0001 001f 0001 02 0102")
    assert (written.action, written.points) == (Action.WRITE, (Point("swapped", 0x0201),))
    assert (read.action, read.points) == (Action.READ, (Point("speed"),))


@pytest.mark.parametrize(
    ("and_mask", "or_mask", "known", "q"),
    [
        (0xFF00, 0x0034, Known(speed=(0x1256, 0)), 0x1234),
        (0xFF00, 0xFF34, Known(speed=(0x1256, 0)), 0x1234),  # OR counts only where AND is 0
        (0xFF00, 0x0034, Known(), None),
        (0xFF00, 0x0034, Known(speed=(None, 0)), None),
        (0x0000, 0x012C, Known(), 300),  # nothing of the old value is left: known without it
        (0x0000, 0xFFFF, Known(), -1),
    ],
)
def test_masks(and_mask: int, or_mask: int, known: Known, q: int | None) -> None:
    operation = write(pack(">BHHH", 22, 10, and_mask, or_mask), known)
    assert operation.unreadable is None
    assert operation.modbus is not None
    assert (operation.modbus.and_mask, operation.modbus.or_mask) == (and_mask, or_mask)
    assert operation.modbus.values is None
    assert operation.points[0].q == q


def test_masks_on_bits_and_on_swapped_bytes() -> None:
    assert write("16 001e fffe 0001").points == (Point("run", 1), Point("trip"))
    assert write("16 001e fffe 0001", Known(trip=(1, NOW.mono_ns))).points[1] == Point("trip", 1, 1, 0)
    # wire 0x0201 is value 0x0102; AND keeps the wire's high byte, the value's low one
    swapped = write("16 001f ff00 0003", Known(swapped=(0x0102, NOW.mono_ns)))
    assert swapped.points[0].q == 0x0302
