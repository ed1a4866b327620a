"""What of Modbus a grant gives: the entries of its `modbus` list, checked when the bundle is loaded.

    {table: holding, ranges: [[0, 9]], fcs: [3]}          addresses; of 24 only where `fcs` names it
    {fcs: [7, 11, 12, 17]}                                the device's status and identification
    {fcs: [8], subs: [0, 11]}                             diagnostics that only read or echo
    {fcs: [43], meis: [14]}                               identification
    {fcs: [20], files: [[1, 4]], records: [[0, 99]]}      records of files

An entry is one of these and nothing between them: one that says less than it needs, or something that its
functions do not have, would give nothing, or more than its author saw. What is never forwarded cannot be
granted (guardrail.never_forward denies it once more).
"""

import json
from collections.abc import Iterator
from typing import Any

from msgspec import Struct

Area = dict[str, Any]
Path = tuple[str | int, ...]
Excess = Iterator[tuple[Path, str, str]]
"Where in the data, what is wrong there, and what mends it."


class Form(Struct, frozen=True):
    """One kind of entry."""

    codes: frozenset[int]
    selectors: tuple[str, ...] = ()
    "What it must name beside its functions."


TABLES = Form(frozenset({1, 2, 3, 4, 5, 6, 15, 16, 22, 23, 24}), ("table", "ranges"))
OTHERS = (
    Form(frozenset({7, 11, 12, 17})),
    Form(frozenset({8}), ("subs",)),
    Form(frozenset({43}), ("meis",)),
    Form(frozenset({20, 21}), ("files", "records")),
)
SELECTORS = ("table", "ranges", "subs", "meis", "files", "records")
FORWARDED = frozenset().union(*(form.codes for form in (TABLES, *OTHERS)))
PARTS: dict[str, tuple[str, frozenset[int]]] = {
    "subs": ("sub-function {} of function 8", frozenset({0, 2, *range(11, 19)})),
    "meis": ("MEI type {} of function 43", frozenset({14})),
}
"Of functions that are forwarded in part: what of them is."
WRITE_RECORDS = 21


def misfits(area: Area) -> Excess:
    """Everything wrong with the form of an entry, wherever it stands."""
    for at, code in enumerate(area.get("fcs", ())):
        if code not in FORWARDED:
            yield ("fcs", at), f"function {code} is never forwarded", "remove it"
    for name, (what, parts) in PARTS.items():
        for at, part in enumerate(area.get(name, ())):
            if part not in parts:
                yield (name, at), f"{what.format(part)} is never forwarded", f"one of {sorted(parts)}"
    yield from _form(area)
    for name in ("ranges", "files", "records"):
        for at, (first, last) in enumerate(area.get(name, ())):
            if first > last:
                yield (name, at), "the range ends before it begins", "write [first, last]"


def _form(area: Area) -> Excess:
    codes = frozenset(area.get("fcs", ()))
    if "table" not in area and not codes:
        yield (), "names neither a table nor functions", "see gateway/policy/areas.py"
        return
    form = TABLES if "table" in area else next((form for form in OTHERS if codes <= form.codes), None)
    if form is None:
        known = [sorted(form.codes) for form in OTHERS]
        what = f"functions {sorted(codes)} are not of one kind that needs no table"
        yield ("fcs",), what, f"one entry for each of {known}, or name a table"
        return
    strange = sorted(codes - form.codes)
    if strange:
        yield ("fcs",), f"functions {strange} address no table", "give them an entry of their own"
    for name in SELECTORS:
        if name in form.selectors and name not in area:
            yield (), f"does not say which `{name}`", f"add {name}"
        elif name in area and name not in form.selectors:
            yield (name,), f"`{name}` means nothing for these functions", "remove it"


def beyond(area: Area, asset: str, writable: dict[str, Any]) -> Excess:
    """What of an entry of a grant that writes is not within bounds.writable of an asset."""
    bounds = writable.get(asset, {})
    if "table" in area:
        allowed = bounds.get(area["table"], [])
        for at, (first, last) in enumerate(area["ranges"]):
            if not _within(first, last, allowed):
                what = f"{area['table']} {first}-{last} of {asset} is beyond bounds.writable"
                yield ("ranges", at), what, f"stay within {json.dumps(allowed)}, or widen the bounds"
    elif WRITE_RECORDS in area["fcs"]:
        allowed = bounds.get("files", [])
        for at, (first, last) in enumerate(area["files"]):
            for low, high in area["records"]:
                if not any(
                    _within(first, last, each["files"]) and _within(low, high, each["records"])
                    for each in allowed
                ):
                    what = (
                        f"records {low}-{high} of files {first}-{last} of {asset} are beyond bounds.writable"
                    )
                    yield ("files", at), what, f"stay within {json.dumps(allowed)}, or widen the bounds"


def _within(first: int, last: int, ranges: list[list[int]]) -> bool:
    return any(low <= first and last <= high for low, high in ranges)
