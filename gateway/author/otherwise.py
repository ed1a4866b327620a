"""What could have been asked instead, with no change of policy: a value within the limits, smaller blocks.

Every one is asked of the policy before it is told.
"""

import copy
from collections.abc import Iterator

from msgspec import Struct

from gateway.author.conditions import Lacking
from gateway.author.edits import FIFO
from gateway.author.nearest import Asking, Change
from gateway.author.sides import View, young
from gateway.author.words import Question, listed, quantity, span, window
from gateway.model.decision import Allowed

MOST_PIECES = 8
"A block that would have to be asked for in more pieces is another matter."

Limit = dict[str, int]


class Piece(Struct, frozen=True):
    """Part of a block, and the grant in which it lies."""

    first: int
    last: int
    grant: str


class Straddle(Struct, frozen=True):
    """A block that lies in several grants, but in none of them whole."""

    said: str
    pieces: tuple[Piece, ...]


def otherwise(asking: Asking, found: list[Lacking], straddle: Straddle | None) -> list[Change]:
    """What would be allowed as policy is."""
    changes = [*_values(asking, found), *_times(asking, found)]
    if straddle is not None:
        changes.append(_pieces(asking, straddle))
    return [change for change in changes if change.would_allow]


def straddled(view: View, found: list[Lacking]) -> Straddle | None:
    """Two neighbouring ranges are not one: who asks across their border is denied, and this says why."""
    modbus = view.question["modbus"]
    if modbus is None or modbus["table"] is None or modbus["start"] is None or not modbus["count"]:
        return None
    first, last = modbus["start"], modbus["start"] + modbus["count"] - 1
    ranges = [
        Piece(low, high, view.data["grants"][each.place]["id"])
        for each in found
        if each.conditions == ("addresses",)
        for entry in view.data["grants"][each.place].get("modbus", ())
        if entry.get("table") == modbus["table"] and modbus["fc"] in entry.get("fcs", [modbus["fc"]])
        if "fcs" in entry or modbus["fc"] != FIFO
        for low, high in entry["ranges"]
    ]
    pieces: list[Piece] = []
    at = first
    while at <= last and len(pieces) < MOST_PIECES:
        widest = max((r for r in ranges if r.first <= at <= r.last), key=lambda r: r.last, default=None)
        if widest is None:
            return None
        pieces.append(Piece(at, min(widest.last, last), widest.grant))
        at = widest.last + 1
    if len(pieces) < 2 or at <= last:
        return None
    lie = [
        f"{'the same grant' if _again(pieces, n) else f'grant {p.grant}'} {_end(pieces, n)}"
        for n, p in enumerate(pieces)
    ]
    said = f"addresses {span(first, last)} lie in {listed(lie)}: one range is needed for one request"
    return Straddle(said, tuple(pieces))


def _again(pieces: list[Piece], at: int) -> bool:
    return at > 0 and pieces[at].grant == pieces[at - 1].grant


def _end(pieces: list[Piece], at: int) -> str:
    piece = pieces[at]
    if at == 0:
        return f"up to {piece.last}"
    return f"from {piece.first}" if at == len(pieces) - 1 else f"from {piece.first} to {piece.last}"


def _pieces(asking: Asking, straddle: Straddle) -> Change:
    question = asking.view.question
    allowed = True
    for piece in straddle.pieces:
        part = copy.deepcopy(question)
        part["modbus"] |= {"start": piece.first, "count": piece.last - piece.first + 1}
        allowed = allowed and isinstance(asking.decision(part), Allowed)
    spans = listed(span(piece.first, piece.last) for piece in straddle.pieces)
    said = f"{question['op']['action']} {question['modbus']['table']} {spans} by themselves"
    return Change(said=(said,), would_allow=allowed)


def _values(asking: Asking, found: list[Lacking]) -> Iterator[Change]:
    """The nearest value that a grant gives, for a write of one tag that nothing else is in the way of."""
    view = asking.view
    points = view.question["points"]
    if len(points) != 1 or points[0]["q"] is None:
        return
    point = points[0]
    bound = view.data["bounds"]["limits"].get(point["tag"])
    said: set[str] = set()
    for each in found:
        if set(each.conditions) - {"limits"}:
            continue
        limit = view.data["grants"][each.place].get("limits", {}).get(point["tag"])
        value = _nearest(point, limit, bound, view)
        if value is None or value == point["q"]:
            continue
        part = _valued(view.question, value)
        told = quantity(point["tag"], value, view.units)
        most = "at most" if value < point["q"] else "at least"
        text = f"write {most} {told} to {point['tag']}"
        if text not in said:
            said.add(text)
            yield Change(said=(text,), would_allow=isinstance(asking.decision(part), Allowed))


def _nearest(point: Question, limit: Limit | None, bound: Limit | None, view: View) -> int | None:
    limits = [one for one in (limit, bound) if one is not None]
    low = max((one["min"] for one in limits), default=point["q"])
    high = min((one["max"] for one in limits), default=point["q"])
    step = None if limit is None else limit.get("max_delta")
    if step is not None and young(point, view.data):
        low, high = max(low, point["q_prev"] - step), min(high, point["q_prev"] + step)
    return min(max(point["q"], low), high) if low <= high else None


def _valued(question: Question, value: int) -> Question:
    part = copy.deepcopy(question)
    part["points"][0]["q"] = value
    return part


def _times(asking: Asking, found: list[Lacking]) -> Iterator[Change]:
    """When a grant would give it that lacks nothing but the time."""
    view = asking.view
    for each in found:
        if each.conditions != ("window",):
            continue
        for name in view.data["grants"][each.place]["windows"]:
            part = copy.deepcopy(view.question)
            part["time"] |= {"windows": sorted({*part["time"]["windows"], name}), "trusted": True}
            told = window(name, view.data.get("windows", {}))
            yield Change(
                said=(f"ask while {told} is open",), would_allow=isinstance(asking.decision(part), Allowed)
            )
