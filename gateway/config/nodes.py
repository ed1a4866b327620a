"""How a configuration writes the id of a node: with the namespace's URI, and in one spelling only.

OPC 10000-6 §5.1.12 allows several spellings of one id. Requests are matched with tags by the text that the
gateway itself would write, so a tag spelt otherwise would never be touched: policy would not see its limits.
"""

import base64
import binascii
import re
from collections.abc import Callable

MOST_BYTES = 4096
"Longest identifier, as for requests: no server has longer ones."
LAST_NUMBER = 0xFFFF_FFFF

_ID = re.compile(r"(?:nsu=(?P<uri>[^;]+);)?(?P<kind>[isgb])=(?P<id>.+)", re.DOTALL)
_INDEX = re.compile(r"ns=\d+;")
_STANDARD = "nsu=http://opcfoundation.org/UA/;"
_GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_ESCAPES = re.compile(r"%(?!25|3B)")

Amiss = tuple[str, str]
"What is wrong, mend."


def amiss(node: str) -> Amiss | None:
    """What is wrong with a node id; None if it is right."""
    if _INDEX.match(node):
        what = f"{node} names its namespace by an index, which the server may change"
        return what, "write the URI instead: nsu=urn:acme:plc;s=…"
    if node.startswith(_STANDARD):
        return "namespace 0 is written without its URI", f"write {node.removeprefix(_STANDARD)}"
    parts = _ID.fullmatch(node)
    if parts is None or not node.isprintable():
        return f"{node} is not a node id", "write nsu=<namespace URI>;s=<text>, or i=, g=, b= instead of s="
    if parts["uri"] and _ESCAPES.search(parts["uri"]):
        return "a % in a namespace URI is written %25, and a semicolon %3B", "write them so, and no others"
    return KINDS[parts["kind"]](parts["id"])


def _number(text: str) -> Amiss | None:
    if text.isascii() and text.isdigit() and str(int(text)) == text and int(text) <= LAST_NUMBER:
        return None
    return f"{text} is not a number of a node", f"write 0 to {LAST_NUMBER}, without leading zeros"


def _text(text: str) -> Amiss | None:
    if len(text.encode()) <= MOST_BYTES:
        return None
    return f"the id has more than {MOST_BYTES} bytes", "is this the right text?"


def _guid(text: str) -> Amiss | None:
    if _GUID.fullmatch(text):
        return None
    return f"{text} is not a GUID", "write it in small letters: 09087e75-8e5e-499b-954f-f2a9603db28a"


def _bytes(text: str) -> Amiss | None:
    try:
        known = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        known = b""
    if known and base64.b64encode(known).decode() == text:
        return None
    return f"{text} is not base64", "write the bytes in base64, with = at the end where it belongs"


KINDS: dict[str, Callable[[str], Amiss | None]] = {"i": _number, "s": _text, "g": _guid, "b": _bytes}
"By the letter before the identifier."
