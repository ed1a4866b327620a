"""How people write values: durations, sizes, endpoints, spans of registers, ranges, unit maps.

A Form is its JSON Schema and the way from the file's words to numbers and back. Shape is the schema's
business; what only arithmetic can tell (a span that ends before it begins) is the reader's; it raises Wrong.
"""

import re
from collections.abc import Callable
from decimal import Decimal
from enum import StrEnum
from typing import Any

from msgspec import Struct

from gateway.model.asset import OpcuaMode, OpcuaPolicy, Quirk, Table
from gateway.model.record import RecordKind
from gateway.model.sensitive import Sensitive


class Wrong(Exception):  # noqa: N818 - it becomes a Fault; nobody outside this package sees it
    """A value of the right shape that means nothing sensible."""

    def __init__(self, what: str, mend: str, at: tuple[str | int, ...] = ()) -> None:
        super().__init__(what)
        self.what = what
        self.mend = mend
        self.at = at
        "Which part of the value, where it has parts."


class Form(Struct, frozen=True, kw_only=True):
    """One way of writing a value."""

    schema: dict[str, Any]
    "Its JSON Schema; `$comment` says how to write it, and is what a fault's mend says."
    read: Callable[[Any], Any] = lambda raw: raw
    "From the file's words to builtins that msgspec converts. Raises Wrong."
    write: Callable[[Any], Any] = lambda value: value
    "A default, in the file's words."
    name: str | None = None
    "Its name among the `$defs` of the schema, where many keys share it."


def listed(one: Form) -> Form:
    """A list of such values; an empty one says less than none."""
    hint = str(one.schema["$comment"]).removeprefix("write ")
    schema = {"type": "array", "items": one.schema, "minItems": 1, "$comment": f"write a list: {hint}"}
    return Form(schema=schema, write=lambda values: [one.write(value) for value in values])


def choices(kind: type[StrEnum]) -> Form:
    """A list of some of these, at least one."""
    names = [str(member) for member in kind]
    one = {"enum": names, "$comment": f"write one of {', '.join(names)}"}
    hint = f"write a list of {', '.join(names)}"
    schema = {"type": "array", "items": one, "minItems": 1, "$comment": hint}
    return Form(schema=schema, write=lambda values: [str(value) for value in values])


# How each kind of value is read and written.

_MILLISECONDS = {"ms": Decimal(1), "s": Decimal(1000), "m": Decimal(60_000), "h": Decimal(3_600_000)}
_DURATION_HINT = "write a duration: 500ms, 1s, 5m, 24h, or a number of seconds"
_BYTES = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}


def _duration(raw: str | float) -> Decimal:
    """Milliseconds. A bare number is seconds."""
    if not isinstance(raw, str):
        return Decimal(str(raw)) * 1000
    number, unit = re.fullmatch(r"([0-9.]+)(ms|s|m|h)", raw).groups()  # type: ignore[union-attr] # the schema's pattern
    return Decimal(number) * _MILLISECONDS[unit]


def _whole(number: Decimal) -> int | float:
    return int(number) if number == number.to_integral_value() else float(number)


def _duration_text(milliseconds: float) -> str:
    for unit, size in (("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if milliseconds and milliseconds % size == 0:
            return f"{milliseconds // size:.0f}{unit}"
    return f"{milliseconds:.0f}ms" if milliseconds else "0s"


def _size(raw: str | int) -> int:
    if isinstance(raw, int):
        return raw
    number, unit = re.fullmatch(r"([0-9]+)([A-Za-z]+)", raw).groups()  # type: ignore[union-attr] # likewise
    return int(number) * _BYTES[unit]


def _size_text(count: int) -> str:
    unit = next(unit for unit, size in reversed(_BYTES.items()) if count % size == 0)
    return f"{count // _BYTES[unit]}{unit}"


OPC_TCP = "opc.tcp://"


def _endpoint(raw: str) -> tuple[str, int]:
    if raw.startswith("/"):
        return raw, 0
    host, _, port = raw.removeprefix(OPC_TCP).partition("/")[0].rpartition(":")
    if not 1 <= int(port) <= 65535:
        raise Wrong(f"port {port} does not exist", "write a port from 1 to 65535")
    return host.strip("[]"), int(port)


def endpoint_path(raw: str) -> str:
    """What stands behind host and port of the URL of an OPC UA server: `/UA/Server`, or nothing."""
    _, slash, path = raw.removeprefix(OPC_TCP).partition("/")
    return slash + path if raw.startswith(OPC_TCP) else ""


def _registers(raw: dict[str, list[str | int]]) -> list[dict[str, Any]]:
    return [_span(table, number, each) for table, spans in raw.items() for number, each in enumerate(spans)]


def _span(table: str, number: int, raw: str | int) -> dict[str, Any]:
    first, _, last = str(raw).partition("-")
    start, end, at = int(first), int(last or first), (table, number)
    if max(start, end) > 65535:
        raise Wrong(f"{raw} of {table} does not exist", "addresses go from 0 to 65535, as on the wire", at)
    if end < start:
        raise Wrong(f"{raw} of {table} ends before it begins", f"write {end}-{start}", at)
    return {"table": table, "start": start, "count": end - start + 1}


def _range(raw: list[float]) -> tuple[float, float]:
    low, high = raw
    if low >= high:
        raise Wrong(f"the range [{low}, {high}] is empty", "write the smaller number first")
    return low, high


def _units(raw: dict[str, str]) -> dict[int, str]:
    return {int(unit): asset for unit, asset in raw.items()}


DURATION = {
    "type": ["string", "number"],
    "pattern": r"^[0-9]+(\.[0-9]+)?(ms|s|m|h)$",
    "minimum": 0,
    "$comment": _DURATION_HINT,
}
SPAN = {
    "type": ["string", "integer"],
    "pattern": "^[0-9]{1,5}(-[0-9]{1,5})?$",
    "minimum": 0,
    "maximum": 65535,
    "$comment": "write first-last, such as 0-99, or one address, 0-based as on the wire",
}
DURATION_MS = Form(
    name="duration", schema=DURATION, read=lambda raw: _whole(_duration(raw)), write=_duration_text
)
DURATION_S = Form(
    name="duration",
    schema=DURATION,
    read=lambda raw: _whole(_duration(raw) / 1000),
    write=lambda seconds: _duration_text(seconds * 1000),
)
SIZE = Form(
    name="size",
    schema={
        "type": ["string", "integer"],
        "pattern": "^[0-9]{1,12}(B|KiB|MiB|GiB)$",
        "minimum": 0,
        "$comment": "write a size: 512KiB, 64MiB, 1GiB, or a number of bytes",
    },
    read=_size,
    write=_size_text,
)
FILE = Form(
    name="file",
    schema={
        "type": "string",
        "minLength": 1,
        "$comment": "write a path, relative to the folder of this file",
    },
    write=str,
)
FILES = Form(
    schema={"type": "array", "items": FILE.schema, "$comment": "write a list of paths: [a.crl, b.crl]"}
)
REGISTERS = Form(
    schema={
        "type": "object",
        "additionalProperties": False,
        "properties": {
            str(table): {"type": "array", "items": SPAN, "$comment": "write a list: [0-99, 200-219]"}
            for table in Table
        },
        "$comment": "write a table and its spans: holding: [0-99]",
    },
    read=_registers,
)
UNITS = Form(
    schema={
        "type": "object",
        "patternProperties": {
            "^(0|[1-9][0-9]?|1[0-9][0-9]|2[0-3][0-9]|24[0-7]|255)$": {
                "type": "string",
                "$comment": "write the name of an asset",
            }
        },
        "additionalProperties": False,
        "$comment": "write unit numbers and assets: {1: plc-1, 2: plc-2}; units are 0 to 247, and 255",
    },
    read=_units,
)

TEXT = Form(schema={"type": "string", "maxLength": 500, "$comment": "write text, at most 500 characters"})
FLAG = Form(schema={"type": "boolean", "$comment": "write true or false"})
WHOLE = Form(schema={"type": "integer", "$comment": "write a whole number"})
NUMBER = Form(schema={"type": "number", "$comment": "write a number"})
ENDPOINT = Form(
    schema={
        "type": "string",
        "pattern": r"^((opc\.tcp://)?(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}|/[!-~]{1,250}"
        r"|opc\.tcp://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}/[!-~]{0,250})$",
        "$comment": "write host:port, such as 10.0.0.5:502 or [fd00::5]:502, or the file of a serial line,"
        " or the URL of an OPC UA server, such as opc.tcp://10.0.0.5:4840/UA/Server",
    },
    read=_endpoint,
)
TEXTS = listed(TEXT)
POLICIES = choices(OpcuaPolicy)
MODES = choices(OpcuaMode)
QUIRKS = Form(
    schema={
        "type": "array",
        "items": {"enum": [str(quirk) for quirk in Quirk], "$comment": "write the name of a quirk"},
        "$comment": f"write a list of {', '.join(Quirk)}",
    }
)
KINDS = Form(
    schema={
        "type": "array",
        "items": {"enum": [str(kind) for kind in RecordKind], "$comment": "write a kind of record"},
        "$comment": f"write a list of {', '.join(RecordKind)}",
    }
)
GROUPS = Form(
    schema={
        "type": "array",
        "items": {"enum": [str(group) for group in Sensitive], "$comment": "write a group of fields"},
        "$comment": f"write a list of {', '.join(Sensitive)}",
    }
)
RANGE = Form(
    schema={
        "type": "array",
        "items": {"type": "number", "$comment": "write a number"},
        "minItems": 2,
        "maxItems": 2,
        "$comment": "write two numbers: [low, high]",
    },
    read=_range,
)
