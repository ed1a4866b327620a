"""One row of the admin API: a path, the operation that policy is asked about, and what is done then.

A row says what somebody wants before policy is asked (`wish`) and does it afterwards (`act`); the door
between the two is `api`'s. Rows of other parts (activation of bundles, say) stand in the same table.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Literal

from msgspec import Struct

from gateway.model.identity import Caller
from gateway.model.moment import Now
from gateway.model.operation import Action, AdminTarget

ANSWER_S = 10.0
"How long an act may take, unless its row says otherwise."


class Nothing(Struct, frozen=True, forbid_unknown_fields=True):
    """The body of an act that needs none: `{}`."""


class Asked(Struct, frozen=True):
    """A request that was understood."""

    caller: Caller
    name: str
    "What `{name}` of the path is; empty where the path has none."
    body: Any
    "Of the row's form, or what `understand` made of it; null for GET."
    now: Now


class Wish(Struct, frozen=True, kw_only=True):
    """What policy sees of it, as `input.admin` and `input.target.asset`."""

    target: AdminTarget | None = None
    asset: str | None = None
    kind: str | None = None
    "Another kind than the row's, where the content says what is wanted."


class Done(Struct, frozen=True, kw_only=True):
    """What came of it."""

    told: dict[str, Any]
    "To the person, as JSON."
    recorded: dict[str, Any] = {}
    "To the outcome's record, beside what was told."


class Long(Struct, frozen=True, kw_only=True):
    """How long the body of a row may be, where that is more than `api.MOST_BODY`."""

    most: int
    "Bytes."
    within_s: float
    "How long it may take to arrive."


class Route(Struct, frozen=True, kw_only=True):
    """One row."""

    method: Literal["GET", "POST"]
    path: str
    kind: str
    "`admin.approve` …; with GET it is a read, with POST an admin act."
    summary: str
    body: type[Struct] | None = None
    "A closed struct (`forbid_unknown_fields`); null for GET."
    action: Action | None = None
    "Where the method does not say it: a POST that asks much and changes nothing is a read."
    long: Long | None = None
    "Where bodies are longer than usual: such rows are read one at a time, and from persons only."
    understand: Callable[[Asked], Awaitable[Any]] | None = None
    """Makes of the body, off the loop, what `wish` and `act` find in its place. May raise Impossible: then
    policy is not asked, and the denial is recorded under its code."""
    wish: Callable[[Asked], Wish]
    "May raise Impossible: then policy is not asked, and the denial is recorded under its code."
    act: Callable[[Asked], Awaitable[Done]]
    "May raise Impossible: then the outcome says `failed` and its code."
    within_s: float = ANSWER_S


def wishes_nothing(_: Asked) -> Wish:
    """For acts that are about the gateway as a whole."""
    return Wish()
