"""Every function that can be granted: a grant that allows it, and neighbours that the same grant does not.

Through the real wire: a request's bytes, what they mean to a device, and policy's answer on each operation.
"""

from struct import pack
from typing import Any

import msgspec
import pytest

from gateway.model.asset import Asset, DataType, Table, Tag
from gateway.model.decision import Allowed, Decision
from gateway.policy import areas, question
from gateway.policy.engine import Engine
from gateway.policy.loader import Policy, load
from gateway.wire.modbus.diagnostics import SUBFUNCTIONS
from gateway.wire.modbus.functions import FUNCTIONS, MEI_TYPES, Forwarded, read_request
from gateway.wire.modbus.meaning import Place
from tests.policy.questions import NOW, OPEN, caller, shipped

ROWS: list[tuple[int, bytes, dict[str, Any], list[bytes]]] = [
    # function, a request, the entry of the grant that gives it, requests that this entry does not give
    (
        1,
        pack(">BHH", 1, 20, 4),
        {"table": "coil", "ranges": [[20, 23]], "fcs": [1]},
        [pack(">BHH", 1, 20, 5), pack(">BHH", 2, 20, 4), pack(">BHB", 5, 20, 0) + b"\0"],
    ),
    (
        2,
        pack(">BHH", 2, 20, 4),
        {"table": "discrete", "ranges": [[20, 23]]},
        [pack(">BHH", 2, 19, 4), pack(">BHH", 1, 20, 4)],
    ),
    (
        3,
        pack(">BHH", 3, 20, 4),
        {"table": "holding", "ranges": [[20, 23]]},
        [pack(">BHH", 3, 23, 2), pack(">BHH", 4, 20, 4), pack(">BH", 24, 20), b"\x11"],
    ),
    (
        4,
        pack(">BHH", 4, 20, 4),
        {"table": "input", "ranges": [[20, 23]]},
        [pack(">BHH", 4, 24, 1), pack(">BHH", 3, 20, 4)],
    ),
    (
        5,
        pack(">BHH", 5, 20, 0xFF00),
        {"table": "coil", "ranges": [[20, 20]], "fcs": [5]},
        [pack(">BHH", 5, 21, 0xFF00), pack(">BHHB", 15, 20, 1, 1) + b"\1"],
    ),
    (
        6,
        pack(">BHH", 6, 20, 7),
        {"table": "holding", "ranges": [[20, 20]], "fcs": [6]},
        [pack(">BHH", 6, 21, 7), pack(">BHHB", 16, 20, 1, 2) + b"\0\7", pack(">BHHH", 22, 20, 0, 7)],
    ),
    (7, b"\7", {"fcs": [7]}, [b"\x0b", b"\x0c", b"\x11", pack(">BHH", 8, 0, 0), b"\x2b\x0e\1\0"]),
    (
        8,
        pack(">BHH", 8, 11, 0),
        {"fcs": [8], "subs": [11]},
        [pack(">BHH", 8, 12, 0), pack(">BHH", 8, 0, 0), pack(">BHH", 8, 2, 0), b"\7"],
    ),
    (11, b"\x0b", {"fcs": [11]}, [b"\7", b"\x0c", b"\x11"]),
    (12, b"\x0c", {"fcs": [11, 12]}, [b"\7", b"\x11"]),
    (
        15,
        pack(">BHHB", 15, 20, 4, 1) + b"\5",
        {"table": "coil", "ranges": [[20, 23]], "fcs": [15]},
        [pack(">BHHB", 15, 20, 5, 1) + b"\5", pack(">BHH", 5, 20, 0)],
    ),
    (
        16,
        pack(">BHHB", 16, 20, 2, 4) + b"\0\1\0\2",
        {"table": "holding", "ranges": [[20, 21]], "fcs": [16]},
        [pack(">BHHB", 16, 21, 2, 4) + b"\0\1\0\2", pack(">BHH", 6, 20, 1)],
    ),
    (17, b"\x11", {"fcs": [7, 11, 17]}, [b"\x0c", b"\x2b\x0e\1\0"]),
    (
        20,
        b"\x14\x07\x06" + pack(">HHH", 4, 90, 10),
        {"fcs": [20], "files": [[1, 2], [4, 4]], "records": [[0, 9], [90, 99]]},
        [
            b"\x14\x07\x06" + pack(">HHH", 4, 90, 11),
            b"\x14\x07\x06" + pack(">HHH", 4, 9, 2),
            b"\x14\x07\x06" + pack(">HHH", 3, 90, 1),
            b"\x14\x0e\x06" + pack(">HHH", 1, 0, 1) + b"\x06" + pack(">HHH", 5, 0, 1),
            b"\x15\x09\x06" + pack(">HHH", 4, 90, 1) + b"\0\1",
        ],
    ),
    (
        21,
        b"\x15\x09\x06" + pack(">HHH", 1, 9, 1) + b"\0\1",
        {"fcs": [21], "files": [[1, 1]], "records": [[0, 9]]},
        [
            b"\x15\x09\x06" + pack(">HHH", 1, 10, 1) + b"\0\1",
            b"\x15\x09\x06" + pack(">HHH", 2, 9, 1) + b"\0\1",
            b"\x15\x12\x06" + pack(">HHH", 1, 9, 1) + b"\0\1\x06" + pack(">HHH", 1, 10, 1) + b"\0\1",
            b"\x14\x07\x06" + pack(">HHH", 1, 9, 1),
        ],
    ),
    (
        22,
        pack(">BHHH", 22, 20, 0xFF00, 1),
        {"table": "holding", "ranges": [[20, 20]], "fcs": [22]},
        [pack(">BHHH", 22, 21, 0xFF00, 1), pack(">BHH", 6, 20, 1)],
    ),
    (
        23,
        pack(">BHHHHB", 23, 30, 2, 20, 1, 2) + b"\0\1",
        {"table": "holding", "ranges": [[20, 20], [30, 31]], "fcs": [23]},
        [
            pack(">BHHHHB", 23, 30, 3, 20, 1, 2) + b"\0\1",
            pack(">BHHHHB", 23, 30, 2, 21, 1, 2) + b"\0\1",
            pack(">BHH", 3, 30, 2),
        ],
    ),
    (
        24,
        pack(">BH", 24, 20),
        {"table": "holding", "ranges": [[20, 20]], "fcs": [24]},
        [pack(">BH", 24, 21), pack(">BHH", 3, 20, 1)],
    ),
    (
        43,
        b"\x2b\x0e\1\0",
        {"fcs": [43], "meis": [14]},
        [b"\x11", pack(">BHH", 8, 0, 0)],
    ),
]
ACTIONS = ["read", "write", "call"]
PLC = Asset(name="plc-1", host="127.0.0.1", port=502)


class Last:
    """What was polled: 255 in every tag, a second ago; or nothing."""

    def __init__(self, q: int | None = 255, age_s: int = 1) -> None:
        self._known = None if q is None else (q, NOW.mono_ns - age_s * 1_000_000_000)

    def last(self, tag: str) -> tuple[int | None, int] | None:
        return self._known


def subject(name: str) -> str:
    return f"spiffe://demo.example/plant/{name}"


def grant(name: str, area: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "id": name,
        "subjects": [subject(name)],
        "actions": ACTIONS,
        "protocols": ["modbus"],
        "assets": ["plc-1"],
        "modbus": [area],
        **more,
    }


def policy_of(grants: list[dict[str, Any]]) -> Policy:
    """The shipped rules with other grants, and bounds that allow them."""
    everywhere = {table: [[0, 65_535]] for table in ("coil", "discrete", "input", "holding")}
    files = [{"files": [[1, 9]], "records": [[0, 9_999]]}]
    bounds = {
        "writes_60s": 100,
        "previous_age_ms": 10_000,
        "writable": {"plc-1": {**everywhere, "files": files}},
        "limits": {},
    }
    bundle = shipped()
    data = {**bundle.data, "grants": grants, "bounds": bounds}
    return load(msgspec.structs.replace(bundle, data=data))


def decide(engine: Engine, name: str, pdu: bytes, place: Place, last: Last) -> list[Decision]:
    """Policy's answers to one request of that subject, in order."""
    request = read_request(1, pdu)
    assert isinstance(request, msgspec.Struct), pdu.hex()
    operations = place.operations(request, last, NOW)  # type: ignore[arg-type]
    assert operations
    assert not any(operation.unreadable for operation in operations)
    who = caller(subject(name), "anything")
    return [
        engine.evaluate(question.encode(question.document(who, what, OPEN, "0" * 26, NOW, 0)), "")
        for what in operations
    ]


def allowed(decisions: list[Decision]) -> bool:
    """As the passage sees it: all of them, or none."""
    return all(isinstance(decision, Allowed) for decision in decisions)


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(policy_of([grant(f"fc-{row[0]}", row[2]) for row in ROWS]))


@pytest.fixture(scope="module")
def place() -> Place:
    return Place(PLC, ())


@pytest.mark.parametrize("row", ROWS, ids=[str(row[0]) for row in ROWS])
def test_the_grant_gives_the_function_and_no_neighbour(
    engine: Engine, place: Place, row: tuple[int, bytes, dict[str, Any], list[bytes]]
) -> None:
    code, pdu, _, neighbours = row
    assert pdu[0] == code
    name = f"fc-{code}"
    assert allowed(decide(engine, name, pdu, place, Last()))
    for neighbour in neighbours:
        decisions = decide(engine, name, neighbour, place, Last())
        assert not allowed(decisions), neighbour.hex()
        assert all(
            {reason.code for reason in decision.reasons} == {"grant.addresses"}
            for decision in decisions
            if not isinstance(decision, Allowed)
        )


@pytest.mark.parametrize("row", ROWS, ids=[str(row[0]) for row in ROWS])
def test_no_other_grant_gives_the_function(
    engine: Engine, place: Place, row: tuple[int, bytes, dict[str, Any], list[bytes]]
) -> None:
    """Nobody gets a function by a grant that is about another one."""
    code, pdu, _, _ = row
    for other, _, area, _ in ROWS:
        named = code in area.get("fcs", [code] if "table" in area and code != 24 else [])
        if other != code and not named:
            assert not allowed(decide(engine, f"fc-{other}", pdu, place, Last())), (code, area)


def test_every_function_of_the_wire_is_here() -> None:
    """What the wire forwards can be granted, and nothing else can."""
    forwarded = {code for code, row in FUNCTIONS.items() if row.forwarded is not Forwarded.NEVER}
    assert {row[0] for row in ROWS} == forwarded == areas.FORWARDED
    assert areas.PARTS["subs"][1] == {sub for sub, row in SUBFUNCTIONS.items() if row.forwarded}
    meis = {code for code, row in MEI_TYPES.items() if row.forwarded is not Forwarded.NEVER}
    assert areas.PARTS["meis"][1] == meis


def test_each_diagnostic_only_by_its_number(place: Place) -> None:
    subs = sorted(areas.PARTS["subs"][1])
    engine = Engine(policy_of([grant(f"sub-{sub}", {"fcs": [8], "subs": [sub]}) for sub in subs]))
    for sub in subs:
        given = [
            asked
            for asked in subs
            if allowed(decide(engine, f"sub-{sub}", pack(">BHH", 8, asked, 0), place, Last()))
        ]
        assert given == [sub]


def test_a_diagnostic_needs_a_grant_to_call(place: Place) -> None:
    engine = Engine(policy_of([grant("reader", {"fcs": [8], "subs": [0]}, actions=["read", "write"])]))
    (decision,) = decide(engine, "reader", pack(">BHH", 8, 0, 0), place, Last())
    assert [reason.code for reason in decision.reasons] == ["grant.none"]


MASKED = Tag(
    name="plc-1.word", asset="plc-1", path="a/b", table=Table.HOLDING, address=20, type=DataType.UINT16
)
HELD = Place(PLC, (MASKED,))
LIMITS = {"plc-1.word": {"min": 0, "max": 0xFFFF}}
AREA = {"table": "holding", "ranges": [[20, 21]]}
KEEPS_HALF = pack(">BHHH", 22, 20, 0xFF00, 1)

MASKS: list[tuple[str, dict[str, Any], Last, bool]] = [
    # what, what the grant names beside its addresses, what was polled, whether it allows
    ("no limits, nothing known", {}, Last(None), True),
    ("limits, a young value", {"limits": LIMITS}, Last(), True),
    ("limits, nothing known", {"limits": LIMITS}, Last(None), False),
    ("limits, a value that is too old", {"limits": LIMITS}, Last(age_s=11), False),
    ("limits that the value would break", {"limits": {"plc-1.word": {"min": 0, "max": 0}}}, Last(), False),
    ("limits of another tag", {"limits": {"plc-1.other": {"min": 0, "max": 0xFFFF}}}, Last(), False),
    ("tags, nothing known", {"tags": ["plc-1.word"]}, Last(None), True),
]


@pytest.mark.parametrize(
    ("more", "last", "allows"), [row[1:] for row in MASKS], ids=[row[0] for row in MASKS]
)
def test_a_mask_is_judged_by_what_it_makes(more: dict[str, Any], last: Last, allows: bool) -> None:
    engine = Engine(policy_of([grant("masker", AREA, **more)]))
    assert allowed(decide(engine, "masker", KEEPS_HALF, HELD, last)) is allows


def test_a_mask_that_touches_no_tag_is_beyond_limits() -> None:
    engine = Engine(policy_of([grant("masker", AREA, limits=LIMITS)]))
    assert not allowed(decide(engine, "masker", pack(">BHHH", 22, 21, 0xFF00, 1), HELD, Last()))


def test_a_mask_whose_result_nobody_knows_is_beyond_bounds() -> None:
    policy = policy_of([grant("masker", AREA)])
    bounds = {**policy.bundle.data["bounds"], "limits": LIMITS}
    bundle = msgspec.structs.replace(policy.bundle, data={**policy.bundle.data, "bounds": bounds})
    engine = Engine(load(bundle))
    for last, allows in ((Last(), True), (Last(None), False), (Last(age_s=11), False)):
        assert allowed(decide(engine, "masker", KEEPS_HALF, HELD, last)) is allows
