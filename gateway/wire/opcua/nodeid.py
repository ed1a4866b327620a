"""NodeIds as text with the URI of their namespace (OPC 10000-6 §5.1.12), and back.

    nsu=urn:acme:plc;s=Tank.Level     i=2258     nsu=urn:acme:plc;g=0f0e…     nsu=urn:acme:plc;b=AQI=

A node has one text: policy, tags and records compare texts. Namespace 0 is written without its URI; of a URI
`%` and `;` are escaped; GUIDs are lower case. Numbers of namespaces never leave the wire, since a server may
change them when it starts.
"""

from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Sequence
from struct import pack
from uuid import UUID

from msgspec import Struct

from gateway.wire.opcua.binary import I32, U16, U32, Wrong

MOST_ID = 1024
"""Bytes of an identifier that has a text. The standard allows 4096, but texts are remembered by the thousand,
in caches and records, and whoever asks chooses them."""
MOST_RANGE = 256
"Bytes of an index range: five dimensions and their ends are a hundred."
MOST_URI = 1024
"Characters of a namespace's URI: it is part of every text, and the server chooses it."
STANDARD = "http://opcfoundation.org/UA/"
"Namespace 0."

Identifier = int | str | bytes | UUID


class NotTextError(Wrong):
    """A text that is not UTF-8, or has a NUL."""


class TooLongError(Wrong):
    """An identifier or an index range beyond what has a text."""


class NoNamespaceError(Wrong):
    """A namespace that the server does not have, or has twice."""


class NodeId(Struct, frozen=True):
    """A node as it stands on the wire."""

    namespace: int
    identifier: Identifier

    def encode(self) -> bytes:
        """In the shortest form."""
        space, what = self.namespace, self.identifier
        if isinstance(what, int):
            if space == 0 and what < 256:
                return bytes((0, what))
            if space < 256 and what < 65_536:
                return pack("<BBH", 1, space, what)
            return pack("<BHI", 2, space, what)
        if isinstance(what, UUID):
            return pack("<BH", 4, space) + what.bytes_le
        data = what.encode() if isinstance(what, str) else what
        return pack("<BHi", 3 if isinstance(what, str) else 5, space, len(data)) + data


def read(data: bytes, at: int) -> tuple[NodeId, int]:
    """A NodeId that was scanned, and where it ends. `Wrong` where a text is none."""
    kind = data[at] & 0x3F
    if kind == 0:
        return NodeId(0, data[at + 1]), at + 2
    if kind == 1:
        return NodeId(data[at + 1], U16(data, at + 2)[0]), at + 4
    (space,) = U16(data, at + 1)
    at += 3
    if kind == 2:
        return NodeId(space, U32(data, at)[0]), at + 4
    if kind == 4:
        return NodeId(space, UUID(bytes_le=data[at : at + 16])), at + 16
    if kind not in (3, 5):
        raise Wrong("an encoding of a NodeId that does not exist")
    (size,) = I32(data, at)
    at += 4
    end = at + max(size, 0)
    return NodeId(space, string(data[at:end]) if kind == 3 else data[at:end]), end


def string(data: bytes) -> str:
    """UTF-8 without NUL: a device that stops at a NUL would see another name than policy."""
    try:
        found = data.decode()
    except UnicodeDecodeError:
        raise NotTextError("a text that is not UTF-8") from None
    if "\0" in found:
        raise NotTextError("a text with a NUL")
    return found


def read_string(data: bytes, at: int) -> tuple[str | None, int]:
    """A String that was scanned, and where it ends."""
    (size,) = I32(data, at)
    at += 4
    if size < 0:
        return None, at
    return string(data[at : at + size]), at + size


Prefixes = tuple[str | None, ...]


def prefixes(namespaces: Sequence[str]) -> Prefixes:
    """How the texts of nodes in each namespace begin; the first is that of the standard.

    None for a URI that the server has twice: one text would mean two nodes.
    """
    others = [STANDARD, *namespaces[1:]]
    return ("", *(f"nsu={escape(uri)};" if _names(uri, others) else None for uri in others[1:]))


def _names(uri: str, others: Sequence[str]) -> bool:
    return len(uri) <= MOST_URI and others.count(uri) == 1


def escape(uri: str) -> str:
    """A namespace URI as it stands in a NodeId's text."""
    return uri.replace("%", "%25").replace(";", "%3B")


def said(node: NodeId, begins: Prefixes) -> str:
    """The text of a node. `Wrong` where its namespace is none of the server's."""
    begin = begins[node.namespace] if node.namespace < len(begins) else None
    if begin is None:
        raise NoNamespaceError("a namespace that the server does not have, or has twice")
    return begin + identifier(node.identifier)


def identifier(what: Identifier) -> str:
    """The part behind the namespace."""
    if isinstance(what, int):
        return f"i={what}"
    if isinstance(what, str):
        return f"s={what}"
    if isinstance(what, UUID):
        return f"g={what}"
    return "b=" + b64encode(what).decode()


def parse(text: str) -> tuple[str, Identifier] | None:
    """Namespace URI and identifier of a node's text; null where it is none."""
    uri = STANDARD
    if text.startswith("nsu="):
        escaped, _, text = text[4:].partition(";")
        uri = escaped.replace("%3B", ";").replace("%25", "%")
    kind, _, rest = text.partition("=")
    try:
        if kind == "i" and rest.isascii() and rest.isdigit() and int(rest) < 1 << 32:
            return uri, int(rest)
        if kind == "s" and "\0" not in rest:
            return uri, rest
        if kind == "g":
            return uri, UUID(rest)
        if kind == "b":
            return uri, b64decode(rest, validate=True)
    except (ValueError, NotBase64):
        return None
    return None


def find(text: str, namespaces: Sequence[str]) -> NodeId | None:
    """The node of a text on a server with these namespaces; null where it has no such namespace."""
    parsed = parse(text)
    if parsed is None:
        return None
    uri, what = parsed
    if uri == STANDARD:
        return NodeId(0, what)
    for index, each in enumerate(namespaces):
        if index and each == uri:
            return NodeId(index, what)
    return None
