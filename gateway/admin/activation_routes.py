"""Rows of the admin API: rehearse a bundle, activate it, confirm it, and get back those that were active."""

from base64 import b64decode, b64encode
from typing import Annotated, Any, Protocol

from msgspec import Meta, Struct

from gateway.admin.impossible import Impossible
from gateway.admin.route import Asked, Done, Long, Route, Wish, wishes_nothing
from gateway.model.identity import Caller
from gateway.model.moment import Now
from gateway.model.operation import Action, AdminTarget

BODY = Long(most=16 * 1024 * 1024, within_s=30.0)
"An archive of 12 MiB in base64: four times a large estate's, which has 10,000 grants; 30 s is a slow VPN."
ACT_S = 120.0
"A minute for checks and tests, half a minute for the rehearsal, and as long for what is under way already."
LEAST_CONFIRM_S, MOST_CONFIRM_S = 5, 86_400
"Within less nobody can look at a plant; beyond a day nobody remembers that it is on trial."

Revision = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class Archive(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`{"archive": "H4sI…"}`."""

    archive: str
    "The `.tar.gz`, base64."


class Activate(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`{"archive": "H4sI…", "confirm_within_s": 600}`."""

    archive: str
    confirm_within_s: Annotated[int, Meta(ge=LEAST_CONFIRM_S, le=MOST_CONFIRM_S)] | None = None
    "The bundle before is active again unless it is confirmed by then; null: it stays."


class Confirm(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`{"revision": "9f2a…"}`."""

    revision: Revision


class Offered(Protocol):
    """A bundle that was read."""

    @property
    def revision(self) -> str:
        """Its revision."""

    @property
    def rolls_back(self) -> bool:
        """Whether it is content that was active here and held: `admin.rollback`."""

    @property
    def confirm_within_s(self) -> int | None:
        """Until when it must be confirmed."""


class Bundles(Protocol):
    """Who has the bundles (`app.activation`). All of these may raise Impossible."""

    async def understand(self, data: bytes, confirm_within_s: int | None, now: Now) -> Offered:
        """Read and admit an archive."""

    async def rehearse(self, offered: Any) -> dict[str, Any]:
        """What it would change."""

    async def activate(self, offered: Any, caller: Caller) -> dict[str, Any]:
        """Use it. It waits long; what allowed it must hold to the end."""

    async def confirm(self, revision: str, by: str) -> dict[str, Any]:
        """Let it stay."""

    def bundles(self, now: Now) -> dict[str, Any]:
        """Those that were active."""

    async def bundle(self, revision: str) -> bytes:
        """The archive of one of them."""


def routes(bundles: Bundles) -> tuple[Route, ...]:
    """The rows."""
    return (_rehearse(bundles), _activate(bundles), _confirm(bundles), *_kept(bundles))


def _rehearse(bundles: Bundles) -> Route:
    async def understand(asked: Asked) -> Offered:
        return await bundles.understand(_bytes(asked.body.archive), None, asked.now)

    async def act(asked: Asked) -> Done:
        return Done(told=await bundles.rehearse(asked.body))

    return Route(
        method="POST",
        path="/admin/v1/policy/rehearse",
        kind="admin.rehearse",
        action=Action.READ,
        summary="What a bundle would change of that which is asked now",
        body=Archive,
        long=BODY,
        understand=understand,
        wish=_wish,
        act=act,
        within_s=ACT_S,
    )


def _activate(bundles: Bundles) -> Route:
    async def understand(asked: Asked) -> Offered:
        body = asked.body
        return await bundles.understand(_bytes(body.archive), body.confirm_within_s, asked.now)

    def wish(asked: Asked) -> Wish:
        kind = "admin.rollback" if asked.body.rolls_back else "admin.activate"
        return Wish(target=_wish(asked).target, kind=kind)

    async def act(asked: Asked) -> Done:
        return Done(told=await bundles.activate(asked.body, asked.caller))

    return Route(
        method="POST",
        path="/admin/v1/policy/activate",
        kind="admin.activate",
        summary="Activate a bundle; `admin.rollback` where its content was active before",
        body=Activate,
        long=BODY,
        understand=understand,
        wish=wish,
        act=act,
        within_s=ACT_S,
    )


def _confirm(bundles: Bundles) -> Route:
    def wish(asked: Asked) -> Wish:
        return Wish(target=AdminTarget(value=asked.body.revision))

    async def act(asked: Asked) -> Done:
        return Done(told=await bundles.confirm(asked.body.revision, asked.caller.identity.subject))

    return Route(
        method="POST",
        path="/admin/v1/policy/confirm",
        kind="admin.confirm",
        summary="Let a bundle on trial stay",
        body=Confirm,
        wish=wish,
        act=act,
    )


def _kept(bundles: Bundles) -> tuple[Route, Route]:
    async def act_list(asked: Asked) -> Done:
        return Done(told=bundles.bundles(asked.now))

    async def act_one(asked: Asked) -> Done:
        data = b64encode(await bundles.bundle(asked.name)).decode()
        if len(data) > BODY.most:
            raise Impossible("too_large", 413, "this bundle is longer than the API takes")
        return Done(told={"revision": asked.name, "archive": data})

    listing = Route(
        method="GET",
        path="/admin/v1/policy/bundles",
        kind="admin.list_bundles",
        summary="Bundles that were active, and what waits for confirmation",
        wish=wishes_nothing,
        act=act_list,
    )
    one = Route(
        method="GET",
        path="/admin/v1/policy/bundles/{name}",
        kind="admin.list_bundles",
        summary="The archive, unsigned, of one of them",
        wish=lambda asked: Wish(target=AdminTarget(value=asked.name[:64])),
        act=act_one,
    )
    return listing, one


def _wish(asked: Asked) -> Wish:
    """The revision and, where it must be confirmed, within how many minutes (`most_minutes` of grants)."""
    within_s = asked.body.confirm_within_s
    minutes = None if within_s is None else -(-within_s // 60)
    return Wish(target=AdminTarget(value=asked.body.revision, minutes=minutes))


def _bytes(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except ValueError:
        raise Impossible("bad_archive", 400, "`archive` is not base64") from None
