"""FC 43, the encapsulated interface transport: device identification and CANopen. Rows of the table.

Its second byte, the MEI type, says what the rest is. Only two types exist: 14 reads identification objects
and is forwarded by grant; 13 carries CANopen messages, whose effect on the bus behind the device is not in
the bytes. Such a request is read as far as that, and its meaning is a write that nobody can judge.
"""

from typing import Any

from gateway.model.decision import Why
from gateway.wire.modbus.bodies import Body
from gateway.wire.modbus.checks import Reading, another, misfit
from gateway.wire.modbus.findings import Finding
from gateway.wire.modbus.frames import Answer, Canopen, Identify, Illegal, Request, Unsupported, WrongAnswer

CONFORMITY = frozenset({0x01, 0x02, 0x03, 0x81, 0x82, 0x83})
"AP §6.21: how much a device has, and whether single objects can be read."
ONE_OBJECT = 4
"Read device id code: this object alone."
IDENTITY_HEAD = 7
"Bytes of an identification before its objects."


class DeviceIdentification(Body[Identify]):
    """43/14."""

    request_layout = "MEI type 1 = 14, read code 1, object id 1"
    answer_layout = (
        "MEI type 1, read code 1, conformity 1, more follows 1, next object 1, objects 1, "
        "{id 1, length 1, value} × objects"
    )
    limits = "read code 1..4, conformity 1..3 or 0x81..0x83, more follows 0x00 or 0xFF"

    def request(self, unit: int, pdu: bytes) -> Identify | Illegal:
        if len(pdu) != 4:
            return misfit(pdu, 4)
        if not 1 <= pdu[2] <= ONE_OBJECT:
            return Illegal(pdu[0], Why.ILLEGAL_VALUE, Finding.MEI_READ_CODE)
        return Identify(unit, pdu[0], pdu[2], pdu[3])

    def answer(self, request: Identify, pdu: bytes) -> Reading:
        other = another(request.fc, pdu)
        if other is not None:
            return other
        if len(pdu) < IDENTITY_HEAD:
            return WrongAnswer(Finding.LENGTH_VS_FUNCTION)
        _, mei, code, conformity, more, following, count = pdu[:IDENTITY_HEAD]
        if mei != request.mei or code != request.code:
            return WrongAnswer(Finding.ECHO_MISMATCH)
        if conformity not in CONFORMITY or more not in (0x00, 0xFF) or (following and not more):
            return WrongAnswer(Finding.DEVICE_ID_FIELDS)
        if code == ONE_OBJECT and (count != 1 or more or pdu[7:8] != bytes((request.object,))):
            return WrongAnswer(Finding.DEVICE_ID_FIELDS)
        wrong = _wrong_objects(count, pdu)
        return Answer(pdu[:3], pdu[3:]) if wrong is None else WrongAnswer(wrong)


class CanopenReference(Body[Canopen]):
    """43/13."""

    request_layout = "MEI type 1 = 13, CANopen message"
    answer_layout = "MEI type 1, CANopen message"
    limits = "at least one byte"

    def request(self, unit: int, pdu: bytes) -> Canopen | Illegal:
        return Canopen(unit, pdu[0], pdu[2:]) if len(pdu) > 2 else misfit(pdu, 3)

    def answer(self, request: Canopen, pdu: bytes) -> Reading:
        other = another(request.fc, pdu)
        if other is not None:
            return other
        if len(pdu) < 3:
            return WrongAnswer(Finding.LENGTH_VS_FUNCTION)
        return Answer(pdu[:2], pdu[2:]) if pdu[1] == request.mei else WrongAnswer(Finding.ECHO_MISMATCH)


class Transport(Body[Any]):
    """FC 43: a row for each MEI type."""

    request_layout = "MEI type 1, what it says"
    answer_layout = "MEI type 1, what it says"
    limits = "MEI type 13 or 14"

    def __init__(self, types: dict[int, Body[Any]]) -> None:
        self.types = types

    def request(self, unit: int, pdu: bytes) -> Request | Illegal | Unsupported:
        if len(pdu) < 2:
            return misfit(pdu, 2)
        row = self.types.get(pdu[1])
        if row is None:
            return Unsupported(pdu[0], f"mei_{pdu[1]}", Finding.MEI_TYPE_RESERVED, mei=pdu[1])
        return row.request(unit, pdu)

    def answer(self, request: Identify | Canopen, pdu: bytes) -> Reading:
        return self.types[request.mei].answer(request, pdu)


def _wrong_objects(count: int, pdu: bytes) -> Finding | None:
    """Whether that many objects, each as long as it says, are exactly what is there."""
    at = IDENTITY_HEAD
    for _ in range(count):
        if at + 2 > len(pdu):
            return Finding.BYTE_COUNT_VS_LENGTH
        at += 2 + pdu[at + 1]
    if at == len(pdu):
        return None
    return Finding.BYTE_COUNT_VS_LENGTH if at > len(pdu) else Finding.TRAILING_BYTES
