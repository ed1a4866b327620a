"""What the gateway asks of the reading room (Job), and what it answers (Found, Nothing).

Messages are MessagePack, and go both ways between the gateway and its child, one job at a time.
"""

import msgspec
from msgspec import Struct

from gateway.review.wishes import Wish

MOST_ANSWER = 4 * 1024 * 1024
"Bytes of one answer. A page ends long before; a report that is longer is refused, and says so."
JSON = "application/json"


class Job(Struct, frozen=True):
    """Find this, or without a wish: bring the index up to date, so that the next search need not."""

    wish: Wish | None
    within_s: float


class Found(Struct, frozen=True, tag=True):
    """The answer as it goes to the reviewer."""

    body: bytes
    media: str = JSON
    "Content-Type."


class Nothing(Struct, frozen=True, tag=True):
    """Why there is none."""

    status: int
    "Of HTTP."
    code: str
    detail: str


Answer = Found | Nothing

jobs: msgspec.msgpack.Decoder[Job] = msgspec.msgpack.Decoder(Job)
answers: msgspec.msgpack.Decoder[Answer] = msgspec.msgpack.Decoder(Answer)


def encoded(message: Job | Answer) -> bytes:
    """A message, without its length."""
    return msgspec.msgpack.encode(message)
