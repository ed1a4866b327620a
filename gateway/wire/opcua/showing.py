"""Values as operations say them: short, exact, and the same for the same value."""

from hashlib import sha256
from math import isfinite

from gateway.wire.opcua.values import Simple, Typed

MOST_SHOWN = 1024
"Characters of a value that policy and records see; a longer one is its digest and length."


def exact(value: Simple) -> int | str | bool | None:
    """As an operation says it: integers and texts as they are, other numbers as text."""
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, str) and len(value) > MOST_SHOWN:
        return _digest(value.encode(), len(value))
    return value


def shown(typed: Typed) -> int | str | bool | None:
    """The same of arrays too: `[1, 2.5, "x"]`, as far as it is short."""
    if not isinstance(typed.value, tuple):
        return exact(typed.value)
    if len(typed.value) * 2 <= MOST_SHOWN:
        found = "[" + ", ".join(map(_element, typed.value)) + "]"
        if len(found) <= MOST_SHOWN:
            return found
    return _digest(repr(typed.value).encode(), len(typed.value))


def _digest(data: bytes, length: int) -> str:
    return f"sha256:{sha256(data).hexdigest()};{length}"


def _element(value: Simple) -> str:
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)


def finite(typed: Typed) -> bool:
    """Whether no number in it is NaN or infinite."""
    values = typed.value if isinstance(typed.value, tuple) else (typed.value,)
    return all(isfinite(each) for each in values if isinstance(each, float))
