"""The table of the reviewers' API: what there is to look at, and the operation that policy is asked about."""

from msgspec import Struct

from gateway.model.operation import AdminTarget
from gateway.review import wishes
from gateway.review.wishes import Follow, Grown, Newest, Prove, Report, Search, Show, Wish


class Look(Struct, frozen=True):
    """One row: a GET."""

    path: str
    kind: str
    form: type[Wish]
    summary: str


LOOKS: tuple[Look, ...] = (
    Look("/audit/v1/search", "audit.search", Search, "Records that fit all conditions, in pages"),
    Look("/audit/v1/timeline", "audit.search", Follow, "What happened, in order, what repeats told once"),
    Look("/audit/v1/report", "audit.report", Report, "A period as tables: JSON, HTML, CSV"),
    Look("/audit/v1/records/{record}", "audit.record", Show, "One record, told, and what belongs to it"),
    Look("/audit/v1/records/{record}/proof", "audit.proof", Prove, "A .tlog-proof file (C2SP)"),
    Look("/audit/v1/checkpoint", "audit.checkpoint", Newest, "The newest checkpoint, a signed note"),
    Look("/audit/v1/consistency", "audit.checkpoint", Grown, "Proof that the log only grew"),
)
"All of the API."


def target(wish: Wish) -> AdminTarget:
    """What policy sees of it, and the record keeps: everything that was asked for.

    What asks for one asset only is about that asset, so that a grant can give a reviewer some and not others;
    what names a record is about the whole gateway, since nobody knows yet whose record it is.
    """
    asset = getattr(wish, "asset", None)
    return AdminTarget(
        scope=None if asset is None else f"asset:{asset}",
        value=wishes.said(wish) or None,
        request=getattr(wish, "record", None),
    )
