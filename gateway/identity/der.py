"""DER as far as an extension list: strict tag, length, value (X.690 §8, §10).

Needed because `cryptography` refuses a certificate that holds one extension twice, and Modbus/TCP Security
wants exactly that certificate answered, not dropped (two roles: handshake up, every request 01). Anything
that is not DER is a MalformedError; there is no leniency here, since two readers that disagree about a
certificate are an attack.
"""

from msgspec import Struct

SEQUENCE = 0x30
OCTET_STRING = 0x04
BOOLEAN = 0x01
OBJECT_IDENTIFIER = 0x06
UTF8_STRING = 0x0C
EXTENSIONS = 0xA3
"TBSCertificate field [3], RFC 5280 §4.1."
URI_NAME = 0x86
"GeneralName uniformResourceIdentifier [6] IA5String, RFC 5280 §4.2.1.6."


class MalformedError(ValueError):
    """The bytes are not DER, or not the structure that was asked for."""


class Element(Struct, frozen=True):
    """One element: its tag octet and its contents."""

    tag: int
    value: bytes


class Extension(Struct, frozen=True):
    """One certificate extension as it stands in the TBSCertificate."""

    oid: bytes
    "Contents of the OBJECT IDENTIFIER."
    critical: bool
    value: bytes
    "Contents of the OCTET STRING."


def elements(data: bytes) -> list[Element]:
    """Every element of a run of DER, to the last byte."""
    found: list[Element] = []
    at = 0
    while at < len(data):
        if data[at] & 0x1F == 0x1F:
            raise MalformedError("a tag of more than one octet")
        length, start = _length(data, at + 1)
        if start + length > len(data):
            raise MalformedError("an element that is longer than what holds it")
        found.append(Element(data[at], data[start : start + length]))
        at = start + length
    return found


def slices(data: bytes) -> list[bytes]:
    """The elements of a run of DER as they stand there, tag and length included: a chain's certificates."""
    found: list[bytes] = []
    at = 0
    while at < len(data):
        length, start = _length(data, at + 1)
        if start + length > len(data):
            raise MalformedError("an element that is longer than what holds it")
        found.append(data[at : start + length])
        at = start + length
    return found


def only(data: bytes, tag: int) -> bytes:
    """The contents of the one element that `data` must be."""
    found = elements(data)
    if len(found) != 1 or found[0].tag != tag:
        raise MalformedError(f"not exactly one element of tag 0x{tag:02x}")
    return found[0].value


def extensions(tbs: bytes) -> list[Extension]:
    """The extensions of a TBSCertificate (RFC 5280 §4.1), in order, duplicates included."""
    lists = [field.value for field in elements(only(tbs, SEQUENCE)) if field.tag == EXTENSIONS]
    if not lists:
        return []
    if len(lists) > 1:
        raise MalformedError("two lists of extensions")
    return [_extension(item) for item in elements(only(lists[0], SEQUENCE))]


def _extension(item: Element) -> Extension:
    parts = elements(item.value)
    tags = tuple(part.tag for part in parts)
    if item.tag == SEQUENCE and tags == (OBJECT_IDENTIFIER, OCTET_STRING):
        return Extension(parts[0].value, False, parts[1].value)
    # FALSE is the default and must be left out in DER, but much of the world's software writes it.
    if item.tag == SEQUENCE and tags == (OBJECT_IDENTIFIER, BOOLEAN, OCTET_STRING):
        return Extension(parts[0].value, parts[1].value != b"\x00", parts[2].value)
    raise MalformedError("not an extension")


def _length(data: bytes, at: int) -> tuple[int, int]:
    """The length that stands at `at`, and where the contents begin."""
    if at >= len(data):
        raise MalformedError("no length")
    first = data[at]
    if first < 0x80:
        return first, at + 1
    octets = first & 0x7F
    if not 1 <= octets <= 4 or at + 1 + octets > len(data):
        raise MalformedError("an indefinite, oversized or cut length")
    length = int.from_bytes(data[at + 1 : at + 1 + octets], "big")
    if length < 0x80 or length >> (8 * (octets - 1)) == 0:
        raise MalformedError("a length that is not minimal")
    return length, at + 1 + octets
