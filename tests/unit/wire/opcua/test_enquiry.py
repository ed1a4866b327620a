"""What a server shows to everybody, learnt without security: whatever it says, the enquiry ends."""

import random

import pytest

from gateway.wire.opcua import offers
from gateway.wire.opcua.enquiry import MOST_ANSWER, Enquiry
from gateway.wire.opcua.events import Message
from gateway.wire.opcua.messages import (
    ApplicationDescription,
    GetEndpointsRequest,
    GetEndpointsResponse,
    ResponseHeader,
    encode,
    read,
)
from gateway.wire.opcua.server_channel import ServerChannel
from tests.opcua import LIMITS as CHANNEL
from tests.opcua import OFFERS, admitted, credentials
from tests.scenarios.stage import Moment

URL = "opc.tcp://localhost:4840"
NOW = Moment()()


def talk(cut: int = 1 << 30) -> tuple[Enquiry, bytes]:
    """An enquiry at a server of ours, in pieces of so many bytes; and all that the server said."""
    server = credentials("server")
    dice = random.Random(1)  # noqa: S311
    channel = ServerChannel(server, OFFERS, CHANNEL, dice.randbytes, 9, lambda *_: admitted("x"))
    enquiry, said = Enquiry(URL), b""
    out = enquiry.begin()
    while out:
        events = channel.receive(out, NOW)
        answer = channel.take()
        for event in events:
            if isinstance(event, Message):
                assert event.discovery
                asked = read(event.body, GetEndpointsRequest)
                assert isinstance(asked, GetEndpointsRequest)
                endpoints = offers.endpoints(
                    URL,
                    ApplicationDescription(uri="urn:x"),
                    server.sent,
                    OFFERS,
                    offers.users(anonymous=True),
                )
                body = encode(
                    GetEndpointsResponse(
                        header=ResponseHeader(handle=asked.header.handle), endpoints=endpoints
                    )
                )
                answer += channel.message(event.request_id, body, NOW)
        said += answer
        out = b"".join(enquiry.receive(answer[at : at + cut], NOW) for at in range(0, len(answer), cut))
    return enquiry, said


@pytest.mark.parametrize("cut", [1, 7, 1 << 30])
def test_the_certificates_of_its_endpoints(cut: int) -> None:
    enquiry, _ = talk(cut)
    assert enquiry.shown == frozenset({credentials("server").leaf})
    assert enquiry.over


def test_changed_bytes_never_do_more_than_end_it() -> None:
    _, said = talk()
    dice = random.Random(7)  # noqa: S311
    for _ in range(2_000):
        bent = bytearray(said)
        for _ in range(dice.randint(1, 4)):
            bent[dice.randrange(len(bent))] = dice.randrange(256)
        enquiry = Enquiry(URL)
        enquiry.begin()
        enquiry.receive(bytes(bent[: dice.randrange(len(bent))]), NOW)
        enquiry.receive(bytes(bent), NOW)


def test_what_is_too_long_ends_it() -> None:
    enquiry = Enquiry(URL)
    enquiry.receive(b"ACKF" + (MOST_ANSWER + 1).to_bytes(4, "little"), NOW)
    assert enquiry.over
    endless = Enquiry(URL)
    chunk = b"MSGC" + (60_000).to_bytes(4, "little") + bytes(59_992)
    for _ in range(20):
        endless.receive(chunk, NOW)
    assert endless.over
    assert endless.shown is None
