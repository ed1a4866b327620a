"""Who of the two is the client. In this order, the first that tells decides:

    port    exactly one side has a port on which servers are expected (502, 802, 4840, `--port`)
    syn     who sent the SYN, or did not send the SYN+ACK
    first   who sent the first whole request, or was sent the first whole answer

The port comes before the SYN: what comes from a Modbus port is an answer, whoever opened the connection.

A stream without an expected port is followed only if its first bytes look like Modbus or OPC UA
(`first_bytes`), which finds both on odd ports and leaves everything else alone.
"""

from enum import IntEnum

from gateway.capture.packet import ACK, SYN

PORTS = frozenset({502, 802, 4840})
"Modbus/TCP, Modbus/TCP Security, OPC UA."
OPCUA = frozenset({b"HELF", b"ACKF", b"ERRF", b"OPNF", b"MSGF", b"MSGC", b"MSGA", b"CLOF"})
"How chunks of OPC UA begin (OPC 10000-6 §6.7.2.2, §7.1.2.2)."
MOST_CHUNK = 1 << 20
"Chunks that are agreed on have some 64 KiB."
BY_OPCUA_SERVER = frozenset({b"ACKF", b"ERRF"})
ANSWERS = frozenset({425, 431, 449, 464, 470, 476, 530, 536, 634, 667, 676, 715, 754, 790, 829, 397})
"Numbers of frequent answers, ServiceFault last."


class Sent(IntEnum):
    """What the sender of some first bytes is, by their look."""

    BY_CLIENT = 0
    BY_SERVER = 1


def by_port(source: bytes, target: bytes, ports: frozenset[int]) -> Sent | None:
    """What the sender is, judged by both ports."""
    from_server = int.from_bytes(source[-2:], "big") in ports
    to_server = int.from_bytes(target[-2:], "big") in ports
    if from_server is to_server:
        return None
    return Sent.BY_SERVER if from_server else Sent.BY_CLIENT


def by_flags(flags: int) -> Sent | None:
    """What the sender is, judged by the handshake."""
    if not flags & SYN:
        return None
    return Sent.BY_SERVER if flags & ACK else Sent.BY_CLIENT


def first_bytes(data: bytes) -> Sent | None:
    """What the sender is if these bytes are whole Modbus ADUs or begin a chunk of OPC UA; None if neither."""
    if data[:4] in OPCUA:
        return _opcua(data)
    first: Sent | None = None
    at = 0
    while at < len(data):
        length = int.from_bytes(data[at + 4 : at + 6], "big")
        end = at + 6 + length
        if data[at + 2 : at + 4] != b"\0\0" or not 2 <= length <= 254 or end > len(data):
            return None
        if first is None:
            first = _shape(data[at + 7 : end])
            if first is None:
                return None
        at = end
    return first


def _opcua(data: bytes) -> Sent | None:
    """Whoever does not look like the server counts as the client; None where no chunk is so long."""
    if not 8 <= int.from_bytes(data[4:8], "little") <= MOST_CHUNK:
        return None
    if data[:4] in BY_OPCUA_SERVER:
        return Sent.BY_SERVER
    at = 24 if data[:3] != b"OPN" else len(data[:512].partition(b"#None")[0]) + 5 + 16
    answer = data[at : at + 2] == b"\1\0" and int.from_bytes(data[at + 2 : at + 4], "little") in ANSWERS
    return Sent.BY_SERVER if answer else Sent.BY_CLIENT


def _shape(pdu: bytes) -> Sent | None:
    """Request or answer, where the lengths of a common function tell them apart; None if it is neither."""
    code, size = pdu[0], len(pdu)
    if code & 0x80:
        return Sent.BY_SERVER if size == 2 else None
    if code in (1, 2, 3, 4):
        if size == 5 and 0 < int.from_bytes(pdu[3:], "big") <= 2000:
            return Sent.BY_CLIENT
        return Sent.BY_SERVER if size > 2 and pdu[1] == size - 2 else None
    if code in (5, 6):
        return Sent.BY_CLIENT if size == 5 else None
    if code in (15, 16):
        if size == 5:
            return Sent.BY_SERVER
        return Sent.BY_CLIENT if size > 6 and pdu[5] == size - 6 else None
    return None
