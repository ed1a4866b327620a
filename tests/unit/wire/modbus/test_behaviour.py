"""What many ADUs add up to: each behaviour told once it is there, not before, and again if it goes on."""

from pathlib import Path

import pytest

from gateway.model.asset import Asset, DataType, Table, Tag
from gateway.model.moment import Now
from gateway.model.operation import Operation
from gateway.wire.modbus.behaviour import MOST_EVENTS, Different, Rate, Thresholds, Watch
from gateway.wire.modbus.findings import FINDINGS, Finding, Group
from gateway.wire.modbus.functions import DeviceException, Request, WrongAnswer, read_answer, read_request
from gateway.wire.modbus.meaning import Place

SECOND = 1_000_000_000


class Source:
    """Somebody who talks to an asset, one thing a second unless told otherwise."""

    def __init__(self, thresholds: Thresholds | None = None, *tags: Tag, pause_s: float = 1.0) -> None:
        self.watch = Watch(thresholds or Thresholds(), {tag.name: tag for tag in tags})
        self.place = Place(Asset(name="a", host="192.0.2.1", port=502), tags)
        self.known: dict[str, tuple[int | None, int]] = {}
        self.now_ns = 0
        self.pause_ns = int(pause_s * SECOND)

    def last(self, tag: str) -> tuple[int | None, int] | None:
        return self.known.get(tag)

    def ask(self, pdu: str, unit: int = 1) -> tuple[Finding, ...]:
        self.now_ns += self.pause_ns
        read = read_request(unit, bytes.fromhex(pdu))
        operations: tuple[Operation, ...] = ()
        if isinstance(read, Request):
            operations = self.place.operations(read, self, Now(0, self.now_ns, True, 0))
        return self.watch.request(unit, read, self.now_ns, operations)

    def refused(self, code: int) -> tuple[Finding, ...]:
        self.now_ns += self.pause_ns
        return self.watch.answer(DeviceException(3, code), self.now_ns)


def test_asking_for_one_function_after_the_other() -> None:
    source = Source(Thresholds(functions=5))
    assert [source.ask(f"{code:02x}") for code in (64, 65, 66, 67)] == [()] * 4
    assert source.ask("44") == (Finding.FUNCTION_SCAN,)


def test_diagnostics_count_by_sub_function() -> None:
    source = Source(Thresholds(functions=3))
    assert source.ask("08 000b 0000") == source.ask("08 000c 0000") == ()
    assert source.ask("08 000d 0000") == (Finding.FUNCTION_SCAN,)


def test_refusals_01_are_a_function_scan_and_02_an_address_scan() -> None:
    source = Source()
    assert [source.refused(1) for _ in range(3)] == [(), (), (Finding.FUNCTION_SCAN,)]
    assert [source.refused(2) for _ in range(5)] == [()] * 4 + [(Finding.ADDRESS_SCAN,)]


def test_a_scan_that_goes_on_is_told_again() -> None:
    source = Source()
    told = [source.refused(1) for _ in range(9)]
    assert [index for index, findings in enumerate(told) if findings] == [2, 5, 8]


def test_slow_refusals_are_ordinary() -> None:
    source = Source(pause_s=31)
    assert [source.refused(1) for _ in range(10)] == [()] * 10


def test_reading_one_address_after_the_other() -> None:
    source = Source(Thresholds(addresses=100), pause_s=0.1)
    assert [source.ask(f"04 {start:04x} 0001") for start in range(99)] == [()] * 99
    assert source.ask("04 0063 0001") == (Finding.ADDRESS_SCAN,)


def test_polling_the_same_addresses_over_and_over_is_no_scan() -> None:
    source = Source(Thresholds(addresses=100), pause_s=0.01)
    assert not any(source.ask(f"03 {start:04x} 000a") for _ in range(50) for start in range(99))


def test_asking_one_unit_after_the_other() -> None:
    source = Source(Thresholds(units=10))
    assert [source.ask("11", unit) for unit in range(1, 10)] == [(Finding.DEVICE_ID_RECON,)] * 9
    assert Finding.UNIT_SCAN in source.ask("11", 10)


def test_a_device_that_cannot_keep_up() -> None:
    source = Source()
    assert [source.refused(code) for code in (5, 6, 6)] == [(), (), (Finding.BUSY_STORM,)]


def test_a_storm_of_exceptions_that_are_a_byte_too_long() -> None:
    """Recorded: a device that is busy, and says so wrongly."""
    source = Source()
    request = read_request(1, bytes.fromhex("01 0000 0001"))
    assert isinstance(request, Request)
    busy = read_answer(request, bytes.fromhex("81 06 00"))
    assert isinstance(busy, WrongAnswer)
    assert [source.watch.answer(busy, 0) for _ in range(3)] == [(), (), (Finding.BUSY_STORM,)]


def test_exceptions_of_any_kind() -> None:
    source = Source(Thresholds(exceptions=4))
    assert [source.refused(4) for _ in range(4)] == [(), (), (), (Finding.EXCEPTION_RATE,)]


def test_answers_that_are_none_are_nothing() -> None:
    assert Source().watch.answer(None, 0) == ()


def test_many_writes() -> None:
    source = Source(Thresholds(writes=3))
    assert [source.ask("06 0001 0001") for _ in range(3)] == [(), (), (Finding.WRITE_RATE,)]
    assert [source.ask("03 0001 0001") for _ in range(9)] == [()] * 9


def test_write_then_read_counts_as_a_write() -> None:
    source = Source(Thresholds(writes=1))
    assert source.ask("17 0000 0001 0000 0001 02 0000") == (Finding.WRITE_RATE,)


def test_segments_with_several_adus() -> None:
    watch = Watch(Thresholds(multi_adu=2))
    assert [watch.segment(adus, 0) for adus in (2, 1, 1, 3)] == [(), (), (), (Finding.MULTI_ADU_RATE,)]


@pytest.mark.parametrize(
    ("pdu", "unit", "finding"),
    [
        ("06 0001 0001", 0, Finding.BROADCAST_WRITE),
        ("0f 0000 0001 01 01", 0, Finding.BROADCAST_WRITE),
        ("08 0004 0000", 1, Finding.LISTEN_ONLY),
        ("08 0004 0000", 0, Finding.LISTEN_ONLY),
        ("08 0001 ff00", 1, Finding.RESTART),
        ("08 0001 1234", 1, Finding.RESTART),
        ("08 000a 0000", 1, Finding.CLEAR_COUNTERS),
        ("08 0014 0000", 1, Finding.CLEAR_COUNTERS),
        ("11", 1, Finding.DEVICE_ID_RECON),
        ("2b 0e 01 00", 1, Finding.DEVICE_ID_RECON),
    ],
)
def test_once_is_enough(pdu: str, unit: int, finding: Finding) -> None:
    assert Source().ask(pdu, unit) == (finding,)


@pytest.mark.parametrize("pdu", ["03 0000 0001", "08 0000 1234", "08 000b 0000", "07", "06 0001 0001", "0c"])
def test_ordinary_requests_are_nothing(pdu: str) -> None:
    assert Source().ask(pdu) == ()


LEVEL = Tag(
    name="level",
    asset="a",
    path="p",
    table=Table.HOLDING,
    address=1,
    type=DataType.INT16,
    scale=0.1,
    resolution=0.1,
    low=0.0,
    high=100.0,
)


@pytest.mark.parametrize(
    ("written", "before", "findings"),
    [
        (500, None, ()),
        (1000, None, ()),
        (1001, None, (Finding.VALUE_RANGE,)),
        (0xFFFF, None, (Finding.VALUE_RANGE,)),
        (900, 400, ()),
        (901, 400, (Finding.VALUE_DELTA,)),
        (400, 901, (Finding.VALUE_DELTA,)),
        (1100, 0, (Finding.VALUE_RANGE, Finding.VALUE_DELTA)),
    ],
)
def test_what_a_write_makes_of_a_tag(written: int, before: int | None, findings: tuple[Finding, ...]) -> None:
    source = Source(None, LEVEL)
    if before is not None:
        source.known["level"] = (before, 0)
    assert source.ask(f"06 0001 {written:04x}") == findings


def test_tags_without_a_range_are_not_judged() -> None:
    tag = Tag(name="t", asset="a", path="p", table=Table.HOLDING, address=1, type=DataType.INT16)
    assert Source(None, tag).ask("06 0001 ffff") == ()


def test_every_behaviour_is_shown_above() -> None:
    text = Path(__file__).read_text()
    for finding, about in FINDINGS.items():
        if about.group is Group.BEHAVIOUR:
            assert f"Finding.{finding.name}" in text


# bounds --------------------------------------------------------------------------------------------


def test_counters_remember_no_more_than_their_threshold() -> None:
    different, rate = Different(10, SECOND), Rate(10, SECOND)
    for now_s in range(1000):
        assert not different.hit(now_s, now_s * SECOND)
        assert not rate.hit(now_s * SECOND)
        assert len(different._seen) <= 10
        assert len(rate._at) <= 10


@pytest.mark.parametrize("value", [0, -1, MOST_EVENTS + 1])
@pytest.mark.parametrize("name", ["functions", "addresses", "writes", "busy", "multi_adu"])
def test_thresholds_have_a_bound(name: str, value: int) -> None:
    with pytest.raises(ValueError, match=name):
        Thresholds(**{name: value})
    assert getattr(Thresholds(**{name: MOST_EVENTS}), name) == MOST_EVENTS
