"""What the HTTPS API says about tags: the shape of one, pages of many, and the cursor between pages. Pure."""

import base64
import binascii
import re
from datetime import UTC, datetime, timedelta
from hashlib import blake2b

import msgspec
from msgspec import Struct

from gateway.model.asset import Tag
from gateway.model.moment import SECOND
from gateway.model.sample import Released, Value

FORMAT = "json"
"Policy sees it as `northbound.format`."
MOST_TAGS = 500
"Largest `limit` of a page: bounds what one request may cost."
DEFAULT_TAGS = 100
NAME = re.compile(r"[a-z0-9_.-]{1,128}")
"What can be the name of a tag; nothing else is even looked up, and its length bounds what a denial records."

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ENCODE = msgspec.json.Encoder().encode


class TagView(Struct, frozen=True, kw_only=True):
    """One tag, as IT sees it."""

    name: str
    value: Value | None
    "Null exactly where quality is `bad`."
    unit: str
    quality: str
    reason: str | None
    "Why quality is not good; null where it is."
    time: str
    "When the plant answered, RFC 3339; for a bad value, when it was found to be bad."
    received: str
    sequence: int
    path: str
    asset: str
    description: str
    range: tuple[float | None, float | None]


def view(released: Released, tag: Tag) -> TagView:
    """A released sample beside what its tag is."""
    sample = released.sample
    return TagView(
        name=tag.name,
        value=sample.value,
        unit=tag.unit,
        quality=sample.quality.value,
        reason=sample.reason or None,
        time=rfc3339(sample.at_ns),
        received=rfc3339(sample.received_ns),
        sequence=sample.sequence,
        path=tag.path,
        asset=tag.asset,
        description=tag.description,
        range=(tag.low, tag.high),
    )


class Body(Struct, frozen=True):
    """An answer about the gateway itself before policy was asked: as a Frame it is what the permit holds."""

    json: bytes

    def encode(self) -> bytes:
        """The bytes that may be sent."""
        return self.json


class TagBody(Struct, frozen=True):
    """The JSON of one tag (a `guard.ports.NorthFrame`): made only when policy has said what it may say."""

    released: Released
    tag: Tag

    def saying(self, released: Released) -> "TagBody":
        """The same about this sample instead."""
        return TagBody(released, self.tag)

    def encode(self) -> bytes:
        """The bytes that may be sent."""
        return _ENCODE(view(self.released, self.tag))


def page(tags: list[bytes], cursor: str | None) -> bytes:
    """Tags that were decided one by one, joined without reading them again."""
    following = _ENCODE(cursor)
    return b'{"tags":[' + b",".join(tags) + b'],"next":' + following + b"}"


def cursor(last: str) -> str:
    """Where the next page begins. Opaque to callers; it names only what this caller was given."""
    return base64.urlsafe_b64encode(last.encode()).decode().rstrip("=")


def after(cursor: str) -> str | None:
    """The name that a cursor stands for, or None if we never made it."""
    try:
        name = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
    except (binascii.Error, ValueError):
        return None
    return name if NAME.fullmatch(name) else None


def etag(body: bytes) -> str:
    """A strong validator: equal bodies, equal tags (RFC 9110 §8.8.3)."""
    return blake2b(body, digest_size=12).hexdigest()


def rfc3339(wall_ns: int) -> str:
    """UTC, to the millisecond."""
    whole, rest = divmod(wall_ns, SECOND)
    moment = _EPOCH + timedelta(seconds=whole)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{rest // 1_000_000:03d}Z"
