"""Registers to values to quanta: every type, every order, and rounding that a float would get wrong."""

from math import inf, nan
from struct import pack
from typing import Any

import pytest
from msgspec.structs import replace

from gateway.model.asset import DataType, Order, Table, Tag
from gateway.model.sample import Value
from gateway.wire.modbus.points import MOST_QUANTA, decode, quanta, quanta_of_raw, raw, register


def tag(kind: DataType, **fields: Any) -> Tag:
    plain = Tag(name="t", asset="a", path="p", table=Table.HOLDING, address=10, type=kind)
    return replace(plain, **fields)


BIG: dict[DataType, tuple[str, Value]] = {
    DataType.INT16: ("fffe", -2),
    DataType.UINT16: ("fffe", 65_534),
    DataType.INT32: ("fffefdfc", -66_052),
    DataType.UINT32: ("01020304", 0x01020304),
    DataType.INT64: ("fffefdfcfbfaf9f8", -283_686_952_306_184),
    DataType.UINT64: ("0102030405060708", 0x0102030405060708),
    DataType.FLOAT32: ("42f6e979", 123.456001281738281250),
    DataType.FLOAT64: ("405edd2f1a9fbe77", 123.456),
}
"ABCD…: what each type reads with both orders big."


def reorder(data: bytes, byte_order: Order, word_order: Order) -> bytes:
    """Most significant first → as a device with these orders sends it."""
    words = [data[i : i + 2] for i in range(0, len(data), 2)]
    if word_order is Order.LITTLE:
        words.reverse()
    return b"".join(word if byte_order is Order.BIG else word[::-1] for word in words)


@pytest.mark.parametrize("kind", BIG)
@pytest.mark.parametrize("byte_order", Order)
@pytest.mark.parametrize("word_order", Order)
def test_every_type_in_every_order(kind: DataType, byte_order: Order, word_order: Order) -> None:
    text, value = BIG[kind]
    data = reorder(bytes.fromhex(text), byte_order, word_order)
    one = tag(kind, byte_order=byte_order, word_order=word_order)
    assert decode(one, b"\xaa\xaa" + data + b"\xbb\xbb", 9, Table.HOLDING) == value


def test_the_orders_by_their_usual_names() -> None:
    for name, byte_order, word_order in [
        ("0a0b0c0d", Order.BIG, Order.BIG),
        ("0b0a0d0c", Order.LITTLE, Order.BIG),
        ("0c0d0a0b", Order.BIG, Order.LITTLE),
        ("0d0c0b0a", Order.LITTLE, Order.LITTLE),
    ]:
        one = tag(DataType.UINT32, byte_order=byte_order, word_order=word_order)
        assert decode(one, bytes.fromhex(name), 10, Table.HOLDING) == 0x0A0B0C0D


@pytest.mark.parametrize("bit", range(16))
@pytest.mark.parametrize("byte_order", Order)
def test_a_bit_in_a_register(bit: int, byte_order: Order) -> None:
    one = tag(DataType.BOOL, bit=bit, byte_order=byte_order)
    layout = ">H" if byte_order is Order.BIG else "<H"
    assert decode(one, pack(layout, 1 << bit), 10, Table.HOLDING) is True
    assert decode(one, pack(layout, 0xFFFF ^ 1 << bit), 10, Table.HOLDING) is False


@pytest.mark.parametrize("table", [Table.COIL, Table.DISCRETE])
def test_a_coil(table: Table) -> None:
    data = bytes.fromhex("cd6b05")
    bits = [decode(tag(DataType.BOOL, table=table, address=100 + i), data, 100, table) for i in range(24)]
    assert bits == [bool(data[i // 8] >> i % 8 & 1) for i in range(24)]


@pytest.mark.parametrize(
    ("one", "data", "first", "table"),
    [
        (tag(DataType.UINT16), b"\0\1", 11, Table.HOLDING),
        (tag(DataType.UINT16), b"\0\1", 9, Table.HOLDING),
        (tag(DataType.UINT32), b"\0\1", 10, Table.HOLDING),
        (tag(DataType.UINT32), b"\0\1", 11, Table.HOLDING),
        (tag(DataType.UINT16), b"\0\1", 10, Table.INPUT),
        (tag(DataType.BOOL), b"\0\1", 10, Table.HOLDING),
        (tag(DataType.BOOL, table=Table.COIL), b"\1", 11, Table.COIL),
        (tag(DataType.BOOL, table=Table.COIL), b"\1", 2, Table.COIL),
        (tag(DataType.UINT16, table=Table.COIL), b"\1\1\1", 10, Table.COIL),
    ],
    ids=[
        "before",
        "behind",
        "low half",
        "high half",
        "table",
        "no bit",
        "coil before",
        "coil behind",
        "kind",
    ],
)
def test_what_is_not_wholly_there_is_nothing(one: Tag, data: bytes, first: int, table: Table) -> None:
    assert raw(one, data, first, table) is None
    assert decode(one, data, first, table) is None


@pytest.mark.parametrize("number", [nan, inf, -inf])
def test_what_is_no_number_is_no_value(number: float) -> None:
    data = pack(">d", number)
    assert decode(tag(DataType.FLOAT64), data, 10, Table.HOLDING) is None
    assert quanta(tag(DataType.FLOAT64), number) is None
    assert quanta(tag(DataType.INT16), number) is None


def test_scale_and_offset() -> None:
    one = tag(DataType.INT16, scale=0.1, offset=-40.0)
    assert decode(one, pack(">h", 650), 10, Table.HOLDING) == 25.0
    assert decode(tag(DataType.FLOAT64, scale=10.0), pack(">d", 1e308), 10, Table.HOLDING) is None


@pytest.mark.parametrize(
    ("number", "scale", "offset", "resolution", "expected"),
    [
        (3, 0.1, 0.0, 0.1, 3),
        (15, 0.1, 0.0, 1.0, 2),  # 1.5, half to even
        (25, 0.1, 0.0, 1.0, 2),  # 2.5
        (35, 0.1, 0.0, 1.0, 4),  # 3.5
        (3, 0.1, 0.0, 0.2, 2),  # 1.5 exactly, though 3 * 0.1 is 0.30000000000000004
        (29, 0.01, 0.0, 0.01, 29),  # 0.29 / 0.01 is 28.999999999999996
        (115, 0.01, 0.0, 0.1, 12),  # 11.5 exactly; 1.15 / 0.1 is 11.499999999999998
        (7, 0.1, -0.2, 0.1, 5),
        (-3, 0.1, 0.0, 0.2, -2),
        (2**53, 1.0, 0.0, 1.0, MOST_QUANTA),
        (-(2**53), 1.0, 0.0, 1.0, -MOST_QUANTA),
        (2**53 + 1, 1.0, 0.0, 1.0, None),
        (-(2**53) - 1, 1.0, 0.0, 1.0, None),
        (2**62 + 1, 0.001, 0.0, 1.0, 4_611_686_018_427_388),
        (1, 1.0, 0.0, 1e-16, None),
        (1, 1.0, 0.0, 0.0, None),
        (1, 1.0, 0.0, -1.0, None),
        (1, nan, 0.0, 1.0, None),
        (1, inf, 0.0, 1.0, None),
        (1, 1.0, nan, 1.0, None),
        (1, 1.0, 0.0, nan, None),
        (1, 1.0, 0.0, inf, None),
        (7, 0.0, 5.0, 1.0, 5),
    ],
)
def test_rounding_into_quanta_is_exact(
    number: int, scale: float, offset: float, resolution: float, expected: int | None
) -> None:
    one = tag(DataType.INT64, scale=scale, offset=offset, resolution=resolution)
    assert quanta_of_raw(one, number) == expected


@pytest.mark.parametrize(
    ("value", "resolution", "expected"),
    [
        (0.15, 0.1, 2),
        (0.25, 0.1, 2),
        (20.0, 0.5, 40),
        (-0.05, 0.1, 0),
        (10**400, 1.0, None),
        (1e300, 1.0, None),
    ],
)
def test_a_value_that_a_person_wrote_is_read_as_decimal(
    value: float, resolution: float, expected: int | None
) -> None:
    for kind in (DataType.FLOAT64, DataType.INT32):
        assert quanta(tag(kind, resolution=resolution), value) == expected


def test_truth_has_two_quanta() -> None:
    one = tag(DataType.BOOL, bit=0, resolution=0.5)
    assert [quanta(one, value) for value in (False, True, 0, 1, 2, 0.5, nan)] == [0, 1, 0, 1] + [None] * 3


@pytest.mark.parametrize(
    ("one", "q", "expected"),
    [
        (tag(DataType.UINT16), 513, 0x0201),
        (tag(DataType.UINT16, byte_order=Order.LITTLE), 513, 0x0102),
        (tag(DataType.INT16), -2, 0xFFFE),
        (tag(DataType.INT16, scale=0.1, resolution=0.1), 25, 25),
        (tag(DataType.INT16, scale=0.1, resolution=1.0), 2, None),  # ten registers have these quanta
        (tag(DataType.INT16, scale=1.0, resolution=0.1), 25, None),  # none has
        (tag(DataType.UINT16), 65_536, None),
        (tag(DataType.UINT16), -1, None),
        (tag(DataType.INT16), 32_768, None),
        (tag(DataType.UINT16, scale=0.0), 0, None),
        (tag(DataType.UINT16, scale=nan), 0, None),
        (tag(DataType.UINT32), 1, None),
    ],
)
def test_the_register_behind_quanta(one: Tag, q: int, expected: int | None) -> None:
    assert register(one, q) == expected
