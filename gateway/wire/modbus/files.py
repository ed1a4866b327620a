"""File records (FC 20 and 21): a request in groups, each for a run of one file. Rows of the table.

A file is at most 10,000 registers beside the four tables. Each group has its own file, start and length, so
that a rule about "the request" would miss all but one of them: every group becomes an operation of its own.

The charts (AP §6.14, §6.15) judge the byte count first (03), then reference type, file, record and record +
length (02). A length of zero, and an answer that would not fit a PDU, are wrong values (03).
"""

from abc import abstractmethod

from gateway.model.decision import Why
from gateway.wire.modbus.bodies import Body, R
from gateway.wire.modbus.checks import (
    MOST_PDU,
    Reading,
    counted,
    echo,
    misfit,
    wrong_length,
)
from gateway.wire.modbus.findings import Finding
from gateway.wire.modbus.frames import (
    FILE_RECORD,
    RECORDS,
    Answer,
    FileSpan,
    Illegal,
    ReadRecords,
    WriteRecords,
    WrongAnswer,
)

RECORDS_OF_A_FILE = 10_000
"0 to 9999 (AP §6.14)."
GROUP = RECORDS.size
"Bytes of a group without data."


class Records(Body[R]):
    """What both functions share: a byte count, and groups that fill it to the last byte."""

    most: int
    "The largest byte count of a request."

    def request(self, unit: int, pdu: bytes) -> R | Illegal:
        if len(pdu) < 2 + GROUP:
            return misfit(pdu, 2 + GROUP)
        wrong = wrong_length(pdu[1], len(pdu) - 2)
        if wrong is None and pdu[1] > self.most:
            wrong = Finding.QUANTITY_OVER
        if wrong is not None:
            return Illegal(pdu[0], Why.ILLEGAL_VALUE, wrong)
        spans: list[FileSpan] = []
        at = 2
        while at < len(pdu):
            group = self.group(pdu, at)
            if not isinstance(group, FileSpan):
                return Illegal(pdu[0], group[0], group[1])
            spans.append(group)
            at += GROUP + len(group.data)
        return self.whole(unit, pdu[0], tuple(spans))

    def group(self, pdu: bytes, at: int) -> FileSpan | tuple[Why, Finding]:
        """The group that begins there."""
        if len(pdu) - at < GROUP:
            return Why.ILLEGAL_VALUE, Finding.BYTE_COUNT_VS_QUANTITY
        reference, file, record, count = RECORDS.unpack_from(pdu, at)
        if reference != FILE_RECORD:
            return Why.ILLEGAL_ADDRESS, Finding.FILE_REF_TYPE
        if file == 0:
            return Why.ILLEGAL_ADDRESS, Finding.FILE_NUMBER_ZERO
        if count == 0:
            return Why.ILLEGAL_VALUE, Finding.QUANTITY_ZERO
        if record + count > RECORDS_OF_A_FILE:
            return Why.ILLEGAL_ADDRESS, Finding.FILE_RECORD_RANGE
        data = self.data(pdu, at + GROUP, count)
        if data is None:
            return Why.ILLEGAL_VALUE, Finding.BYTE_COUNT_VS_QUANTITY
        return FileSpan(file, record, count, data)

    @abstractmethod
    def data(self, pdu: bytes, at: int, count: int) -> bytes | None:
        """What a group carries beside its head; None if it is not all there."""

    @abstractmethod
    def whole(self, unit: int, fc: int, spans: tuple[FileSpan, ...]) -> R | Illegal:
        """The request, now that all groups are known."""


class ReadFile(Records[ReadRecords]):
    """FC 20."""

    most = 245
    request_layout = "byte count 1, {reference type 1, file 2, record 2, length 2} × k"
    answer_layout = "byte count 1, {length 1, reference type 1, data} × k"
    limits = (
        f"byte count 7..{most}, reference type 6, file 1..65535, record + length ≤ {RECORDS_OF_A_FILE}, "
        f"answer ≤ {MOST_PDU}"
    )

    def data(self, pdu: bytes, at: int, count: int) -> bytes:
        return b""

    def whole(self, unit: int, fc: int, spans: tuple[FileSpan, ...]) -> ReadRecords | Illegal:
        if _answer_size(spans) + 2 > MOST_PDU:
            return Illegal(fc, Why.ILLEGAL_VALUE, Finding.QUANTITY_OVER)
        return ReadRecords(unit, fc, spans)

    def answer(self, request: ReadRecords, pdu: bytes) -> Reading:
        size = _answer_size(request.spans)
        other = counted(request.fc, pdu, size, size)
        if other is not None:
            return other
        at = 2
        for span in request.spans:
            if pdu[at] != 2 * span.count + 1:
                return WrongAnswer(Finding.BYTE_COUNT_VS_REQUEST)
            if pdu[at + 1] != FILE_RECORD:
                return WrongAnswer(Finding.FILE_REF_TYPE)
            at += 2 * span.count + 2
        return Answer(pdu[:2], pdu[2:])


class WriteFile(Records[WriteRecords]):
    """FC 21. The chart says a byte count up to 0xF5, the text up to 0xFB, which is what a PDU holds."""

    most = MOST_PDU - 2
    request_layout = "byte count 1, {reference type 1, file 2, record 2, length 2, data 2 × length} × k"
    answer_layout = "the same again"
    limits = f"byte count 9..{most}, reference type 6, file 1..65535, record + length ≤ {RECORDS_OF_A_FILE}"

    def data(self, pdu: bytes, at: int, count: int) -> bytes | None:
        data = pdu[at : at + 2 * count]
        return data if len(data) == 2 * count else None

    def whole(self, unit: int, fc: int, spans: tuple[FileSpan, ...]) -> WriteRecords:
        return WriteRecords(unit, fc, spans)

    def answer(self, request: WriteRecords, pdu: bytes) -> Reading:
        return echo(request.fc, request.encode(), pdu)


def _answer_size(spans: tuple[FileSpan, ...]) -> int:
    """The byte count of the answer to a read."""
    return sum([2 + 2 * span.count for span in spans])
