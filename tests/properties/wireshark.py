"""Wireshark's reading of Modbus ADUs, and ours in its words.

Every transaction is a conversation of its own in one made capture, so that tshark runs once for thousands of
them and knows the request of each answer. `asked` and `told` say what it must show, from our parsed form
alone: all of `FIELDS`, and those that are not named must not be shown. Where it shows something else than the
bytes say, `EXPLAINED` has the name, the reason, and exactly what it shows then.
"""

import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from struct import iter_unpack, unpack
from typing import NamedTuple, cast

from gateway.model.asset import Table
from gateway.wire.modbus.frames import (
    FILE_RECORD,
    Answer,
    AskDevice,
    Canopen,
    DeviceException,
    Diagnose,
    Identify,
    MaskOne,
    ReadFifo,
    ReadRecords,
    ReadSpan,
    Request,
    WriteOne,
    WriteRecords,
    WriteSpan,
    WriteThenRead,
)
from gateway.wire.modbus.framing import adu
from gateway.wire.modbus.functions import FUNCTIONS
from tests.interop.captures import packets, pcap
from tests.unit.capture.conversation import Two

Shown = dict[str, tuple[int | str, ...]]
"Field → its values in one ADU, numbers as numbers, bytes in hexadecimal."

COUNTERS = {
    2: "return_diag_register",
    11: "bus_message_count",
    12: "bus_comm_error_count",
    13: "bus_exception_error_count",
    14: "slave_message_count",
    15: "no_slave_response_count",
    16: "slave_nak_count",
    17: "slave_busy_count",
    18: "bus_char_overrun_count",
}
"FC 8 by sub-function: where its answer is shown."
BYTES = {
    "modbus.data",
    "modbus.object_value",
    "modbus.diagnostic.return_query_data.request",
    "modbus.diagnostic.return_query_data.echo",
}
TEXT = {"modbus.object_str_value"}
FIELDS = (
    "mbtcp.trans_id",
    "mbtcp.prot_id",
    "mbtcp.len",
    "mbtcp.unit_id",
    *(
        f"modbus.{field}"
        for field in (
            *("func_code", "exception_code", "reference_num", "reference_num_32", "reference_type"),
            *("read_reference_num", "write_reference_num", "word_cnt", "read_word_cnt", "write_word_cnt"),
            *("bit_cnt", "byte_cnt", "byte_cnt_16", "padding", "and_mask", "or_mask", "data"),
            *("bitnum", "bitval", "regnum16", "regval_uint16", "ev_status", "ev_count", "ev_msg_count"),
            *("event", "mei", "read_device_id", "object_id", "num_objects", "objects_len"),
            *("conformity_level", "more_follows", "next_object_id", "object_str_value", "object_value"),
            "diagnostic_code",
            *("diagnostic.return_query_data.request", "diagnostic.return_query_data.echo"),
            *(f"diagnostic.{name}" for name in COUNTERS.values()),
        )
    ),
)
WORDS = {"True": 1, "False": 0}
MISSING = "<MISSING>"
"For a field of no bytes."
LEAST_OF_AN_ADU = 8
"""Where a segment ends with less than header and function of an ADU, tshark does not wait for the rest, and
loses its place in the stream. We must not (tests of `MbapReader` cut everywhere)."""
HEADS = ("mbtcp.trans_id", "mbtcp.unit_id", "modbus.func_code")
BETWEEN, WITHIN = "\x1e", "\x1f"
HOW = (
    *("-d", "tcp.port==502,mbtcp", "--disable-protocol", "opensafety"),
    *("-T", "fields", "-E", f"separator={BETWEEN}", "-E", f"aggregator={WITHIN}", "-E", "occurrence=a"),
)
"openSAFETY looks for itself in the data of Modbus, and finds itself in random ones."
NAMED_OBJECTS = range(7)
"Identification objects that are text by AP §6.21; the others are shown as bytes."


def read(folder: Path, transactions: Iterable[tuple[int, bytes, bytes]]) -> list[Shown]:
    """What tshark shows of those (unit, request, answer): two entries for each."""
    frames: list[bytes] = []
    for number, (unit, request, answer) in enumerate(transactions):
        tid = number & 0xFFFF
        two = Two().say(0, adu(tid, unit, request)).say(1, adu(tid, unit, answer))
        frames += packets(two, client_port=1024 + number)
    return [_fields(line) for line in _lines(folder, frames, FIELDS)]


def cut_up(folder: Path, streams: Iterable[list[bytes]]) -> list[list[tuple[int, int, int]]]:
    """Transaction id, unit and function of every ADU that tshark finds in those streams of segments."""
    frames: list[bytes] = []
    for number, pieces in enumerate(streams):
        two = Two()
        for piece in pieces:
            two.say(0, piece)
        frames += packets(two, client_port=1024 + number)
    found: dict[int, list[tuple[int, int, int]]] = {}
    for line in _lines(folder, frames, ("tcp.srcport", *HEADS)):
        port, *columns = [
            [int(text) for text in column.split(WITHIN) if text] for column in line.split(BETWEEN)
        ]
        found.setdefault(port[0], []).extend(zip(*columns, strict=True))
    return [found[port] for port in sorted(found)]


def _lines(folder: Path, frames: list[bytes], fields: tuple[str, ...]) -> list[str]:
    options = [option for field in fields for option in ("-e", field)]
    capture = pcap(folder / "adus.pcap", frames)
    shown = subprocess.run(
        ["tshark", "-n", "-r", str(capture), *HOW, *options],
        check=True,
        capture_output=True,
        timeout=120,
    ).stdout.decode(errors="replace")
    return shown.split("\n")[:-1]


def _fields(line: str) -> Shown:
    columns = zip(FIELDS, line.split(BETWEEN), strict=True)
    return {
        name: tuple(_value(name, text) for text in column.split(WITHIN)) for name, column in columns if column
    }


def _value(name: str, text: str) -> int | str:
    if name in TEXT or text == MISSING:
        return text
    if name in BYTES:
        return text.replace(":", "")
    return WORDS[text] if text in WORDS else int(text, 0)


# ours in its words --------------------------------------------------------------------------------


def asked(tid: int, request: Request) -> Shown:
    """What must be shown of a request."""
    head = _head(tid, request, request.encode())
    return head | ASKED[type(request)](request)


def told(tid: int, request: Request, answer: Answer | DeviceException) -> Shown:
    """What must be shown of an answer."""
    pdu = answer.encode()
    head = _head(tid, request, pdu)
    if isinstance(answer, DeviceException):
        return head | _modbus(exception_code=answer.code)
    return head | TOLD[type(request)](request, answer)


def _head(tid: int, request: Request, pdu: bytes) -> Shown:
    mbap: Shown = {
        "mbtcp.trans_id": (tid,),
        "mbtcp.prot_id": (0,),
        "mbtcp.len": (len(pdu) + 1,),
        "mbtcp.unit_id": (request.unit,),
    }
    return mbap | _modbus(func_code=request.fc)


def _modbus(**fields: int | str | Iterable[int | str]) -> Shown:
    found: Shown = {}
    for name, value in fields.items():
        values = (value,) if isinstance(value, int | str) else tuple(value)
        if values:
            found[f"modbus.{name}"] = values
    return found


def _words(data: bytes) -> list[int]:
    return [word for (word,) in iter_unpack(">H", data)]


def _count(request: ReadSpan | WriteSpan) -> Shown:
    bits = FUNCTIONS[request.fc].body.table in (Table.COIL, Table.DISCRETE)
    return _modbus(**{"bit_cnt" if bits else "word_cnt": request.count})


def _registers(first: int, data: bytes) -> Shown:
    words = _words(data)
    return _modbus(regnum16=range(first, first + len(words)), regval_uint16=words)


def _bits(first: int, count: int, data: bytes) -> Shown:
    return _modbus(
        bitnum=range(first, first + count), bitval=[data[at >> 3] >> (at & 7) & 1 for at in range(count)]
    )


def _one(request: WriteOne) -> Shown:
    shown = _modbus(reference_num=request.start, data=f"{request.word:04x}")
    return shown | (_modbus(padding=request.word & 0xFF) if request.fc == 5 else {})


def _span(request: WriteSpan) -> Shown:
    shown = _modbus(reference_num=request.start, byte_cnt=len(request.data)) | _count(request)
    if request.fc == 15:
        return shown | _modbus(data=request.data.hex())
    return shown | _registers(request.start, request.data)


def _mask(request: MaskOne) -> Shown:
    return _modbus(reference_num=request.start, and_mask=request.and_mask, or_mask=request.or_mask)


def _both(request: WriteThenRead) -> Shown:
    return _modbus(
        read_reference_num=request.start,
        read_word_cnt=request.count,
        write_reference_num=request.write_start,
        write_word_cnt=request.write_count,
        byte_cnt=len(request.data),
        data=request.data.hex(),
    )


def _records(request: ReadRecords | WriteRecords) -> Shown:
    spans = request.spans
    return _modbus(
        byte_cnt=len(request.encode()) - 2,
        reference_type=[FILE_RECORD] * len(spans),
        reference_num_32=[span.file << 16 | span.record for span in spans],
        word_cnt=[span.count for span in spans],
        data=[span.data.hex() for span in spans if span.data],
    )


def _diagnose(request: Diagnose) -> Shown:
    if request.sub == 0:
        return _modbus(diagnostic_code=0) | {
            "modbus.diagnostic.return_query_data.request": (request.data.hex(),)
        }
    return _modbus(diagnostic_code=request.sub, data=request.data.hex())


def _identify(request: Identify) -> Shown:
    return _modbus(mei=request.mei, read_device_id=request.code, object_id=request.object)


ASKED: dict[type[Request], Callable[..., Shown]] = {
    ReadSpan: lambda request: _modbus(reference_num=request.start) | _count(request),
    WriteOne: _one,
    WriteSpan: _span,
    MaskOne: _mask,
    WriteThenRead: _both,
    ReadFifo: lambda request: _modbus(reference_num=request.start),
    AskDevice: lambda _: {},
    Diagnose: _diagnose,
    ReadRecords: _records,
    WriteRecords: _records,
    Identify: _identify,
    Canopen: lambda request: _modbus(mei=request.mei, data=request.data.hex()),
}


def _span_told(request: ReadSpan, answer: Answer) -> Shown:
    counted = _modbus(byte_cnt=len(answer.data))
    if request.fc in (1, 2):
        return counted | _bits(request.start, request.count, answer.data)
    return counted | _registers(request.start, answer.data)


def _fifo_told(request: ReadFifo, answer: Answer) -> Shown:
    return _modbus(
        byte_cnt_16=len(answer.data) + 2,
        word_cnt=len(answer.data) // 2,
        data=answer.data.hex() or (),
    )


def _device_told(request: AskDevice, answer: Answer) -> Shown:
    data = answer.data
    if request.fc == 7:
        return _modbus(data=data.hex())
    if request.fc == 11:
        return _modbus(ev_status=_words(data)[0], ev_count=_words(data)[1])
    if request.fc == 12:
        status, count, messages = unpack(">HHH", data[:6])
        return _modbus(
            byte_cnt=len(data), ev_status=status, ev_count=count, ev_msg_count=messages, event=data[6:]
        )
    return _modbus(data=data.hex())


def _diagnose_told(request: Diagnose, answer: Answer) -> Shown:
    shown = _modbus(diagnostic_code=request.sub)
    if request.sub == 0:
        return shown | {"modbus.diagnostic.return_query_data.echo": (request.data.hex(),)}
    return shown | {f"modbus.diagnostic.{COUNTERS[request.sub]}": tuple(_words(answer.data))}


def _records_told(request: ReadRecords, answer: Answer) -> Shown:
    groups = _groups(request, answer)
    return _modbus(
        byte_cnt=[len(answer.data), *(len(data) + 1 for data in groups)],
        reference_type=[FILE_RECORD] * len(groups),
        data=[data.hex() for data in groups],
    )


def _groups(request: ReadRecords, answer: Answer) -> list[bytes]:
    """The data of each group of an answer."""
    found, at = [], 0
    for span in request.spans:
        found.append(answer.data[at + 2 : at + 2 + 2 * span.count])
        at += 2 + 2 * span.count
    return found


def _identify_told(request: Identify, answer: Answer) -> Shown:
    conformity, more, following, count = answer.data[:4]
    objects = _objects(answer)
    return _modbus(
        mei=request.mei,
        read_device_id=request.code,
        conformity_level=conformity,
        more_follows=more,
        next_object_id=following,
        num_objects=count,
        object_id=[number for number, _ in objects],
        objects_len=[len(value) for _, value in objects],
        object_str_value=[value.decode("latin-1") for number, value in objects if number in NAMED_OBJECTS],
        object_value=[value.hex() for number, value in objects if number not in NAMED_OBJECTS],
    )


def _objects(answer: Answer) -> list[tuple[int, bytes]]:
    found, at = [], 4
    while at < len(answer.data):
        number, size = answer.data[at : at + 2]
        found.append((number, answer.data[at + 2 : at + 2 + size]))
        at += 2 + size
    return found


TOLD: dict[type[Request], Callable[..., Shown]] = {
    ReadSpan: _span_told,
    WriteOne: lambda request, _: _one(request),
    WriteSpan: lambda request, _: _modbus(reference_num=request.start) | _count(request),
    MaskOne: lambda request, _: _mask(request),
    WriteThenRead: lambda _, answer: _modbus(byte_cnt=len(answer.data), data=answer.data.hex()),
    ReadFifo: _fifo_told,
    AskDevice: _device_told,
    Diagnose: _diagnose_told,
    ReadRecords: _records_told,
    WriteRecords: lambda request, _: _records(request),
    Identify: _identify_told,
    Canopen: lambda request, answer: _modbus(mei=request.mei, data=answer.data.hex()),
}


# what it shows otherwise --------------------------------------------------------------------------


class Explained(NamedTuple):
    """A way in which tshark 4.0 shows something else than the bytes say."""

    why: str
    applies: Callable[[Request, Answer | None], bool]
    "To a request, or to an answer to it."
    shows: Callable[[Request, Answer | None, Shown], Shown]
    "The fields that it shows instead, also given all that it shows; no values: the field is not shown."


def _runs_on(request: Request, answer: Answer | None, _: Shown) -> Shown:
    pdu = answer.encode() if answer else request.encode()
    ends, at = [], 2
    for span in cast(ReadRecords | WriteRecords, request).spans:
        head = 2 if isinstance(request, ReadRecords) else 7
        ends.append(pdu[at + head :].hex())
        at += head + 2 * span.count
    return {"modbus.data": tuple(ends)}


def _wraps(request: Request, answer: Answer | None, _: Shown) -> Shown:
    assert isinstance(request, ReadSpan)
    assert answer is not None
    shown = _bits(request.start, 8 * len(answer.data), answer.data)
    shown["modbus.bitnum"] = tuple(cast(int, number) & 0xFFFF for number in shown["modbus.bitnum"])
    return shown


def _rest(request: Request, answer: Answer | None, _: Shown) -> Shown:
    return {"modbus.data": ((answer or request).encode()[1:].hex(),)}


def _texts(answer: Answer | None) -> list[bytes]:
    objects = _objects(answer) if answer else []
    return [value for number, value in objects if number in NAMED_OBJECTS or not value]


def _plain(text: bytes) -> bool:
    return text != b"" and text.isascii() and text.decode().isprintable() and b"\\" not in text


OBJECTS = ("modbus.object_str_value", "modbus.object_value")
EXPLAINED: dict[str, Explained] = {
    "records_run_on": Explained(
        "the data of a group of file records are shown to the end of the PDU, the next groups included",
        lambda request, answer: (
            isinstance(request, WriteRecords) or (isinstance(request, ReadRecords) and answer is not None)
        ),
        _runs_on,
    ),
    "last_address_wraps": Explained(
        "bits are shown up to the address behind the last, in 16 bits: at 65535 it wraps, and pad bits are "
        "shown as well",
        lambda request, answer: (
            isinstance(request, ReadSpan)
            and request.fc in (1, 2)
            and answer is not None
            and request.start + request.count == 65_536
        ),
        _wraps,
    ),
    "server_id_counted": Explained(
        "the answer to FC 17 is not dissected: its byte count is shown as data",
        lambda request, answer: request.fc == 17 and answer is not None,
        _rest,
    ),
    "mei_type_twice": Explained(
        "CANopen is not dissected: the MEI type is shown, and is shown again as data",
        lambda request, _: isinstance(request, Canopen),
        _rest,
    ),
    "nothing_is_missing": Explained(
        "the data of an empty FIFO are shown as missing",
        lambda request, answer: isinstance(request, ReadFifo) and answer is not None and not answer.data,
        lambda *_: {"modbus.data": (MISSING,)},
    ),
    "text_for_people": Explained(
        "identification objects are shown as text for people: empty ones not at all, control characters, "
        "bytes beyond ASCII and backslashes otherwise than they are",
        lambda request, answer: isinstance(request, Identify) and not all(map(_plain, _texts(answer))),
        lambda _request, _answer, shown: {name: shown.get(name, ()) for name in OBJECTS},
    ),
}


def explained(
    request: Request, answer: Answer | DeviceException | None, wanted: Shown, shown: Shown
) -> set[str]:
    """Put into `wanted` what is shown otherwise for a reason; the names of the reasons that there were."""
    if isinstance(answer, DeviceException):
        return set()
    names = {name for name, row in EXPLAINED.items() if row.applies(request, answer)}
    for name in names:
        for field, values in EXPLAINED[name].shows(request, answer, shown).items():
            wanted.pop(field, None)
            if values:
                wanted[field] = values
    return names
