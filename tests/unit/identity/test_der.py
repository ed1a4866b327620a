"""DER, strictly: what two readers could take differently is not taken at all (X.690 §8, §10)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.identity import der

ACCEPTED: dict[str, tuple[bytes, list[tuple[int, bytes]]]] = {
    "nothing": (b"", []),
    "empty": (b"\x0c\x00", [(0x0C, b"")]),
    "two": (b"\x0c\x01a\x02\x01\x05", [(0x0C, b"a"), (0x02, b"\x05")]),
    "127": (b"\x0c\x7f" + b"a" * 127, [(0x0C, b"a" * 127)]),
    "128": (b"\x0c\x81\x80" + b"a" * 128, [(0x0C, b"a" * 128)]),
    "256": (b"\x0c\x82\x01\x00" + b"a" * 256, [(0x0C, b"a" * 256)]),
}
REFUSED: dict[str, bytes] = {
    "no length": b"\x0c",
    "cut": b"\x0c\x05abc",
    "cut length": b"\x0c\x82\x01",
    "indefinite (BER)": b"\x30\x80\x00\x00",
    "not minimal": b"\x0c\x81\x01a",
    "leading zero": b"\x0c\x82\x00\x80" + b"a" * 128,
    "five octets": b"\x0c\x85\x00\x00\x00\x00\x01a",
    "long tag": b"\x1f\x81\x01\x00",
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_what_is_der(case: str) -> None:
    data, expected = ACCEPTED[case]
    assert [(element.tag, element.value) for element in der.elements(data)] == expected


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not(case: str) -> None:
    with pytest.raises(der.MalformedError):
        der.elements(REFUSED[case])


@given(st.binary(max_size=64))
def test_it_reads_every_byte_or_none(data: bytes) -> None:
    """What was read, written again, is what was there: nothing rides along and nothing has two spellings."""
    try:
        found = der.elements(data)
    except der.MalformedError:
        return
    assert b"".join(bytes((e.tag, len(e.value))) + e.value for e in found) == data
