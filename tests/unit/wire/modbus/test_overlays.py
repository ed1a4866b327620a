"""Tables in the same memory: a rule about one name of it must hold for all its names."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.model.asset import Asset, DataType, Span, Table, Tag, Window
from gateway.model.moment import Now
from gateway.model.operation import Action, Operation, Point
from gateway.wire.modbus.effects import Data, Mask
from gateway.wire.modbus.functions import Request, read_request
from gateway.wire.modbus.meaning import Place
from gateway.wire.modbus.overlays import Overlays

COIL, DISCRETE, INPUT, HOLDING = Table.COIL, Table.DISCRETE, Table.INPUT, Table.HOLDING
WINDOWS = (
    Window(table=COIL, start=0, count=64, word=0),
    Window(table=HOLDING, start=100, count=4, word=0),
    Window(table=INPUT, start=0, count=2, word=2),
)
"Coils 0..63 are the bits of holding registers 100..103; input registers 0 and 1 are 102 and 103."
OVERLAYS = Overlays(WINDOWS)
TAGS = (
    Tag(name="speed", asset="a", path="p", table=HOLDING, address=100, type=DataType.INT16),
    Tag(name="run", asset="a", path="p", table=HOLDING, address=101, type=DataType.BOOL, bit=3),
    Tag(name="lamp", asset="a", path="p", table=COIL, address=5, type=DataType.BOOL),
)
PLACE = Place(Asset(name="a", host="192.0.2.1", port=502, overlays=WINDOWS), TAGS)


class Nothing:
    """Nobody has polled anything."""

    def last(self, tag: str) -> tuple[int | None, int] | None:
        return None


def ask(pdu: str, place: Place = PLACE) -> tuple[Operation, ...]:
    request = read_request(1, bytes.fromhex(pdu))
    assert isinstance(request, Request)
    return place.operations(request, Nothing(), Now(0, 0, True, 0))


def told(operation: Operation) -> dict[str, Any]:
    """The fields of a target that are not null."""
    target = operation.modbus
    assert target is not None
    fields = {name: getattr(target, name) for name in target.__struct_fields__}
    return {name: value for name, value in fields.items() if value is not None and name not in ("unit", "fc")}


def test_reading_coils_reads_the_registers_that_they_lie_in() -> None:
    coils, registers = ask("01 000f 0002")
    assert told(coils) == {"table": COIL, "start": 15, "count": 2}
    assert told(registers) == {"table": HOLDING, "start": 100, "count": 2}
    assert registers.points == (Point("speed"), Point("run"))
    assert (coils.action, registers.action) == (Action.READ, Action.READ)
    assert coils.kind == registers.kind == "modbus.read_coils"


def test_reading_registers_reads_their_coils_and_other_registers() -> None:
    assert [told(operation) for operation in ask("03 0065 0002")] == [
        {"table": HOLDING, "start": 101, "count": 2},
        {"table": COIL, "start": 16, "count": 32},
        {"table": INPUT, "start": 0, "count": 1},
    ]


def test_what_lies_outside_the_windows_has_one_name() -> None:
    assert len(ask("03 0000 0064")) == 1
    assert len(ask("01 0040 0010")) == 1
    assert len(ask("02 0000 0010")) == 1


def test_reads_are_still_remembered() -> None:
    assert ask("01 0000 0001") is ask("01 0000 0001")


def test_writing_one_coil_is_a_mask_on_its_register() -> None:
    coil, register = ask("05 0013 ff00")
    assert told(coil) == {"table": COIL, "start": 19, "count": 1, "values": (1,)}
    assert told(register) == {
        "table": HOLDING,
        "start": 101,
        "count": 1,
        "and_mask": 0xFFFF ^ 1 << 3,
        "or_mask": 1 << 3,
    }
    assert register.points == (Point("run", 1),)
    assert register.unreadable is None


def test_writing_coils_that_fill_a_register_writes_its_value() -> None:
    _, whole, *_ = ask("0f 0000 0010 02 3412")
    assert told(whole) == {"table": HOLDING, "start": 100, "count": 1, "values": (0x1234,)}
    assert whole.points == (Point("speed", 0x1234),)


def test_writing_coils_across_registers_splits_into_masks_and_values() -> None:
    _, *registers = ask("0f 000f 0012 03 ffff03")
    assert [told(each) for each in registers] == [
        {"table": HOLDING, "start": 100, "count": 1, "and_mask": 0x7FFF, "or_mask": 0x8000},
        {"table": HOLDING, "start": 102, "count": 1, "and_mask": 0xFFFE, "or_mask": 0x0001},
        {"table": HOLDING, "start": 101, "count": 1, "values": (0xFFFF,)},
        {"table": INPUT, "start": 0, "count": 1, "and_mask": 0xFFFE, "or_mask": 0x0001},
    ]


def test_writing_a_register_writes_its_coils() -> None:
    register, coils = ask("06 0064 0020")
    assert told(register)["values"] == (0x20,)
    assert told(coils) == {
        "table": COIL,
        "start": 0,
        "count": 16,
        "values": tuple(int(bit == 5) for bit in range(16)),
    }
    assert coils.points == (Point("lamp", 1),)


def test_a_mask_writes_only_the_coils_that_it_changes() -> None:
    _, low, high = ask("16 0064 7ffc 8001")
    assert told(low) == {"table": COIL, "start": 0, "count": 2, "values": (1, 0)}
    assert told(high) == {"table": COIL, "start": 15, "count": 1, "values": (1,)}


def test_write_then_read_under_all_names() -> None:
    operations = ask("17 0066 0001 0067 0001 02 0001")
    assert [(each.action.value, told(each)["table"].value) for each in operations] == [
        ("write", "holding"),
        ("write", "coil"),
        ("write", "input"),
        ("read", "holding"),
        ("read", "coil"),
        ("read", "input"),
    ]


def test_a_table_can_overlay_itself() -> None:
    mirrored = Overlays(
        (
            Window(table=HOLDING, start=0, count=10, word=0),
            Window(table=HOLDING, start=1000, count=10, word=0),
        )
    )
    assert mirrored.spans(Span(HOLDING, 4, 2)) == [Span(HOLDING, 1004, 2)]
    assert mirrored.effects(Data(Span(HOLDING, 1004, 1), b"\x12\x34")) == [
        Data(Span(HOLDING, 4, 1), b"\x12\x34")
    ]
    assert mirrored.effects(Mask(Span(HOLDING, 4, 1), 0xFF00, 0x12)) == [
        Mask(Span(HOLDING, 1004, 1), 0xFF00, 0x12)
    ]


windows = st.lists(
    st.builds(
        Window,
        table=st.sampled_from(Table),
        start=st.integers(0, 40),
        count=st.integers(1, 40),
        word=st.integers(0, 4),
    ),
    max_size=4,
    unique_by=lambda window: window.table,
)
writes = st.one_of(
    st.builds(lambda start, data: (start, data), st.integers(0, 60), st.binary(min_size=2, max_size=8)).map(
        lambda pair: Data(Span(HOLDING, pair[0], len(pair[1]) // 2), pair[1][: len(pair[1]) // 2 * 2])
    ),
    st.builds(
        lambda start, count, bits: Data(
            Span(COIL, start, count), (bits % (1 << count)).to_bytes((count + 7) // 8, "little")
        ),
        st.integers(0, 60),
        st.integers(1, 40),
        st.integers(0),
    ),
    st.builds(
        lambda start, kept, changed: Mask(Span(HOLDING, start, 1), kept, changed & ~kept),
        st.integers(0, 60),
        st.integers(0, 0xFFFF),
        st.integers(0, 0xFFFF),
    ),
)


class Memory:
    """A device whose tables are windows on one memory, bit by bit."""

    def __init__(self, windows: list[Window]) -> None:
        self.windows = windows
        self.bits: dict[int, int] = {}

    def write(self, effect: Data | Mask) -> None:
        """Do to memory what an effect says."""
        span = effect.span
        for at in range(span.count):
            for window in self.windows:
                if (
                    window.table is span.table
                    and window.start <= span.start + at < window.start + window.count
                ):
                    offset = span.start + at - window.start
                    if span.table in (COIL, DISCRETE):
                        assert isinstance(effect, Data)
                        self.bits[16 * window.word + offset] = effect.values[at]
                    else:
                        self._word(16 * (window.word + offset), effect, at)

    def _word(self, first: int, effect: Data | Mask, at: int) -> None:
        for bit in range(16):
            if isinstance(effect, Data):
                self.bits[first + bit] = effect.values[at] >> bit & 1
            elif not effect.and_mask >> bit & 1:
                self.bits[first + bit] = effect.or_mask >> bit & 1


@given(windows, writes)
def test_the_other_names_write_the_same_bits_and_no_others(
    declared: list[Window], effect: Data | Mask
) -> None:
    """Whoever carried out another name's effect instead would change nothing that the write leaves alone."""
    wanted = Memory(declared)
    wanted.write(effect)
    for other in Overlays(declared).effects(effect):
        alone = Memory(declared)
        alone.write(other)
        assert alone.bits
        assert alone.bits.items() <= wanted.bits.items()


@given(windows, writes)
def test_a_write_reaches_at_least_the_spans_that_a_read_of_it_reaches(
    declared: list[Window], effect: Data | Mask
) -> None:
    overlays = Overlays(declared)
    if isinstance(effect, Mask):
        return
    reached = {
        (each.span.table, address)
        for each in overlays.effects(effect)
        for address in range(each.span.start, each.span.end)
    }
    own = {(effect.span.table, address) for address in range(effect.span.start, effect.span.end)}
    for span in overlays.spans(effect.span):
        assert {(span.table, address) for address in range(span.start, span.end)} <= reached | own
