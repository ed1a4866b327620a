"""Values as operations say them: short, exact, and the same for the same value."""

from hashlib import sha256
from math import isfinite

from gateway.wire.opcua.values import NUMBERS, TYPES, Simple, Typed
from gateway.wire.quanta import MOST_QUANTA

MOST_SHOWN = 1024
"Characters of a value that policy and records see; a longer one is its digest and length."

_NUMBERS = frozenset(TYPES[kind] + "[]" for kind in NUMBERS)
_REALS, _WIDE = frozenset({"Float[]", "Double[]"}), frozenset({"Int64[]", "UInt64[]"})


def exact(value: Simple) -> int | str | bool | None:
    """As an operation says it: integers and texts as they are, other numbers as text."""
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, str) and len(value) > MOST_SHOWN:
        return _digest(value.encode(), len(value))
    return value


def shown(typed: Typed) -> int | str | bool | None:
    """The same of arrays too: `[1, 2.5, "x"]`, as far as it is short."""
    values = typed.value
    if not isinstance(values, tuple):
        return exact(values)
    if typed.type == "Boolean[]":
        found = repr(list(values)).lower()
    elif typed.type in _NUMBERS:
        found = repr(list(values))
    else:
        found = "[" + ", ".join(map(_element, values)) + "]"
    return found if len(found) <= MOST_SHOWN else _digest(found.encode(), len(values))


def _digest(data: bytes, length: int) -> str:
    return f"sha256:{sha256(data).hexdigest()};{length}"


def _element(value: Simple) -> str:
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return "null" if value is None else repr(value)


def finite(typed: Typed) -> bool:
    """Whether no number in it is NaN or infinite."""
    values = typed.value
    if isinstance(values, tuple):
        return typed.type not in _REALS or all(map(isfinite, values))  # type: ignore[arg-type]
    return not isinstance(values, float) or isfinite(values)


def beyond(typed: Typed) -> bool:
    """Whether a number in it is too large for an exact comparison."""
    values = typed.value
    if isinstance(values, tuple):
        return typed.type in _WIDE and any(abs(each) > MOST_QUANTA for each in values)  # type: ignore[arg-type]
    return isinstance(values, int) and abs(values) > MOST_QUANTA
