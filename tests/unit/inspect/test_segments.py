"""Both ends of the pipe say the same, and the reading end believes nothing."""

import contextlib
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.capture import pipe
from gateway.inspect import segments
from gateway.inspect.segments import (
    BrokenPipeFormatError,
    Closed,
    Data,
    End,
    Gap,
    Odd,
    Opened,
    Progress,
    read,
)


def written() -> bytes:
    out = io.BytesIO()
    writer = pipe.Writer(out)
    writer.opened(3, 1, 10, "10.0.0.5 40000 fd00::1 502 port")
    writer.data(3, 1, 2, 11, b"abc")
    writer.gap(3, 0, 4, 12, 1 << 40)
    writer.note(3, 1, 5, 13, "overlap_differs")
    writer.progress(6, 700)
    writer.closed(3, 7, 14, "ended")
    writer.end({"packets": 7, "fault": None})
    return out.getvalue()


def test_what_is_written_is_read() -> None:
    assert list(read(io.BytesIO(written()))) == [
        Opened(3, 1, 10, "10.0.0.5", 40_000, "fd00::1", 502, "port"),
        Data(3, 1, 2, 11, b"abc"),
        Gap(3, 0, 4, 12, 1 << 40),
        Odd(3, 1, 5, 13, "overlap_differs"),
        Progress(6, 700),
        Closed(3, 7, 14, "ended"),
        End({"packets": 7, "fault": None}),
    ]


def test_a_segment_fits_into_a_record() -> None:
    assert segments.MOST_BODY > 1 << 16


@pytest.mark.parametrize("size", [0, 1, 8, 20, 60, -1])
def test_a_program_that_stops_in_the_middle_is_noticed(size: int) -> None:
    with pytest.raises(BrokenPipeFormatError):
        list(read(io.BytesIO(written()[:size])))


@given(st.data())
def test_nothing_that_comes_breaks_it(data: st.DataObject) -> None:
    """Either it is read to the end, or the one error."""
    whole = bytearray(written())
    for _ in range(data.draw(st.integers(1, 6))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(BrokenPipeFormatError):
        assert isinstance(list(read(io.BytesIO(bytes(whole))))[-1], End)
