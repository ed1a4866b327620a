"""Rows of the admin API for people who make tags: look around in a server, read one tag or node now.

Policy is asked twice: whether this person may look at this asset (`input.admin.scope` is `asset:NAME`,
`value` the tag or node), and about every read and browse that this takes, as the gateway itself.
"""

from typing import Annotated, Any, Protocol

from msgspec import Meta, Struct

from gateway.admin.impossible import Impossible
from gateway.admin.route import Asked, Done, Route, Wish
from gateway.model.operation import Action, AdminTarget

Name = Annotated[str, Meta(min_length=1, max_length=200)]
NodeText = Annotated[str, Meta(min_length=3, max_length=4096)]
WITHIN_S = 30.0
"How long a look may take: a large address space on a slow server."


class Browse(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`{"asset": "plc-2", "node": "i=85", "depth": 3, "most": 200}`."""

    asset: Name
    node: NodeText = "i=85"
    depth: Annotated[int, Meta(ge=1, le=12)] = 3
    most: Annotated[int, Meta(ge=1, le=2_000)] = 200


class Probe(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`{"tag": "plc-2.level"}`, or `{"asset": "plc-2", "node": "nsu=…;s=Tank.Level"}`."""

    tag: Name | None = None
    asset: Name | None = None
    node: NodeText | None = None


class Devices(Protocol):
    """Who can ask devices (`app.looking`). All of these may raise Impossible."""

    def browsable(self, asset: str, node: str) -> tuple[str, str]:
        """An OPC UA asset, and a node that can be one of it."""

    def probed(self, tag: str | None, asset: str | None, node: str | None) -> tuple[str, str]:
        """Asset, and tag or node, that a probe is about."""

    async def browse(self, asset: str, node: str, depth: int, most: int) -> dict[str, Any]:
        """What is there."""

    async def probe(self, tag: str | None, asset: str | None, node: str | None) -> dict[str, Any]:
        """What it is now."""


def routes(devices: Devices) -> tuple[Route, ...]:
    """The rows."""
    return _browse(devices), _probe(devices)


def _browse(devices: Devices) -> Route:
    def wish(asked: Asked) -> Wish:
        asset, node = devices.browsable(asked.body.asset, asked.body.node)
        return Wish(target=AdminTarget(scope=f"asset:{asset}", value=node))

    async def act(asked: Asked) -> Done:
        body = asked.body
        return Done(told=await devices.browse(body.asset, body.node, body.depth, body.most))

    return Route(
        method="POST",
        path="/admin/v1/tags/browse",
        kind="admin.browse",
        action=Action.READ,
        summary="Nodes of an OPC UA server, to choose tags from",
        body=Browse,
        wish=wish,
        act=act,
        within_s=WITHIN_S,
    )


def _probe(devices: Devices) -> Route:
    def wish(asked: Asked) -> Wish:
        body = asked.body
        asset, what = devices.probed(body.tag, body.asset, body.node)
        return Wish(target=AdminTarget(scope=f"asset:{asset}", value=what))

    async def act(asked: Asked) -> Done:
        body = asked.body
        return Done(told=await devices.probe(body.tag, body.asset, body.node))

    return Route(
        method="POST",
        path="/admin/v1/tags/probe",
        kind="admin.probe",
        action=Action.READ,
        summary="One read of a tag or node: raw beside scaled, quality and times",
        body=Probe,
        wish=wish,
        act=act,
        within_s=WITHIN_S,
    )


def impossible(detail: str) -> Impossible:
    """The device did not give what was wanted."""
    return Impossible("no_answer", 502, detail)
