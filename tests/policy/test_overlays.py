"""Where tables lie in the same memory, a grant on one name of it gives nothing that has another name too."""

from struct import pack
from typing import Any

import pytest

from gateway.model.asset import Asset, DataType, Table, Tag, Window
from gateway.model.decision import Allowed
from gateway.policy.engine import Engine
from gateway.wire.modbus.functions import read_request
from gateway.wire.modbus.meaning import Place
from tests.policy.questions import NOW
from tests.policy.test_functions import Last, allowed, decide, grant, policy_of

WORD = Tag(
    name="plc-1.word", asset="plc-1", path="a/b", table=Table.HOLDING, address=20, type=DataType.UINT16
)
OVERLAID = Asset(
    name="plc-1",
    host="127.0.0.1",
    port=502,
    overlays=(
        # Holding 20 to 29 are words 0 to 9; coils 0 to 159 their bits; input 5 to 9 the words 0 to 4.
        Window(table=Table.HOLDING, start=20, count=10, word=0),
        Window(table=Table.COIL, start=0, count=160, word=0),
        Window(table=Table.INPUT, start=5, count=5, word=0),
    ),
)
PLACE = Place(OVERLAID, (WORD,))

HOLDING = {"table": "holding", "ranges": [[20, 29]]}
COILS = {"table": "coil", "ranges": [[0, 159]]}
INPUTS = {"table": "input", "ranges": [[5, 9]]}

WRITE_REGISTER = pack(">BHH", 6, 20, 7)
WRITE_COIL = pack(">BHH", 5, 3, 0xFF00)
WRITE_UNSHARED = pack(">BHH", 6, 10, 7)
READ_REGISTER = pack(">BHH", 3, 20, 1)
READ_COILS = pack(">BHH", 1, 0, 8)

ROWS: list[tuple[str, bytes, list[dict[str, Any]], bool]] = [
    # what, the request, the areas of the grant, whether all is allowed
    ("a register, by its own name only", WRITE_REGISTER, [HOLDING], False),
    ("a register, by all but its coils", WRITE_REGISTER, [HOLDING, INPUTS], False),
    ("a register, by all but its inputs", WRITE_REGISTER, [HOLDING, COILS], False),
    ("a register, by its other names only", WRITE_REGISTER, [COILS, INPUTS], False),
    ("a register, by all its names", WRITE_REGISTER, [HOLDING, COILS, INPUTS], True),
    (
        "a register, but its coils by another function",
        WRITE_REGISTER,
        [HOLDING, {**COILS, "fcs": [5]}, INPUTS],
        False,
    ),
    (
        "a register, its coils by that function",
        WRITE_REGISTER,
        [HOLDING, {**COILS, "fcs": [6]}, INPUTS],
        True,
    ),
    (
        "a register, but some of its coils",
        WRITE_REGISTER,
        [HOLDING, {**COILS, "ranges": [[0, 14]]}, INPUTS],
        False,
    ),
    ("a coil, by its own name only", WRITE_COIL, [COILS], False),
    ("a coil, by all its names", WRITE_COIL, [COILS, HOLDING, INPUTS], True),
    ("what is not overlaid", WRITE_UNSHARED, [{"table": "holding", "ranges": [[10, 10]]}], True),
    ("a read of a register, by its own name only", READ_REGISTER, [HOLDING], False),
    ("a read of a register, by all its names", READ_REGISTER, [HOLDING, COILS, INPUTS], True),
    ("a read of coils, by their own name only", READ_COILS, [COILS], False),
    ("a read of coils, by all their names", READ_COILS, [HOLDING, COILS, INPUTS], True),
]


@pytest.mark.parametrize(("pdu", "areas", "allows"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_every_name_must_be_granted(pdu: bytes, areas: list[dict[str, Any]], allows: bool) -> None:
    engine = Engine(policy_of([grant("hmi", HOLDING) | {"modbus": areas}]))
    assert allowed(decide(engine, "hmi", pdu, PLACE, Last())) is allows


def test_one_operation_for_each_name() -> None:
    request = read_request(1, WRITE_COIL)
    operations = PLACE.operations(request, Last(), NOW)  # type: ignore[arg-type]
    named = [(each.modbus.table, each.modbus.start) for each in operations if each.modbus is not None]
    assert named == [(Table.COIL, 3), (Table.HOLDING, 20), (Table.INPUT, 5)]
    assert [[point.tag for point in each.points] for each in operations] == [[], ["plc-1.word"], []]


LIMITED = [
    # last value polled, the highest that the grant allows, whether setting coil 3 (bit 3 of the word) is
    (Last(0), 8, True),
    (Last(0), 7, False),
    (Last(16), 24, True),
    (Last(16), 23, False),
    (Last(None), 0xFFFF, False),
    (Last(0, age_s=11), 0xFFFF, False),
]


@pytest.mark.parametrize(("last", "highest", "allows"), LIMITED)
def test_a_coil_is_held_to_the_limits_of_its_register(last: Last, highest: int, allows: bool) -> None:
    """Who may write the register only within limits cannot leave them bit by bit."""
    register = grant("register", HOLDING, limits={"plc-1.word": {"min": 0, "max": highest}})
    others = grant("others", COILS) | {"modbus": [COILS, INPUTS], "subjects": register["subjects"]}
    engine = Engine(policy_of([register, others]))
    decisions = decide(engine, "register", WRITE_COIL, PLACE, last)
    assert [isinstance(decision, Allowed) for decision in decisions] == [True, allows, True]
