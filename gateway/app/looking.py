"""Devices as people look at them who make tags. Implements `admin.tag_routes.Devices`."""

from typing import TYPE_CHECKING, Any

import msgspec

from gateway.admin.impossible import Impossible
from gateway.admin.tag_routes import impossible
from gateway.app.collecting import OwnServer, servers
from gateway.config.nodes import amiss
from gateway.model.asset import Tag
from gateway.publish.opcua_browsing import Browser, NoLookError
from gateway.publish.ports import Away, Session
from gateway.publish.probing import NoProbeError, collected, probe_node, probe_registers

if TYPE_CHECKING:
    from gateway.app.parts import Parts


class Looking:
    """Sessions of their own, among those that clients share: nobody's look disturbs the collector."""

    def __init__(self, parts: "Parts") -> None:
        self._parts = parts
        self._servers: dict[str, OwnServer] = servers(parts, reserved=False)
        self._busy: set[str] = set()
        "Assets at which somebody looks: one at a time."

    def browsable(self, asset: str, node: str) -> tuple[str, str]:
        if asset not in self._servers:
            raise Impossible("unknown_asset", 404, f"{asset} is no OPC UA asset of this gateway")
        return asset, _checked(node)

    def probed(self, tag: str | None, asset: str | None, node: str | None) -> tuple[str, str]:
        if tag is not None and asset is None and node is None:
            return self._tag(tag).asset, tag
        if tag is None and asset is not None and node is not None:
            return self.browsable(asset, node)
        raise Impossible("bad_request", 400, "give `tag`, or `asset` and `node`")

    async def browse(self, asset: str, node: str, depth: int, most: int) -> dict[str, Any]:
        session = await self._session(asset)
        try:
            look = await Browser(
                session, self._parts.now, asset=asset, start=node, depth=depth, most=most
            ).run()
        except NoLookError as why:
            raise impossible(str(why)) from None
        finally:
            self._busy.discard(asset)
            session.close()
        told: dict[str, Any] = msgspec.to_builtins(look)
        return told

    async def probe(self, tag: str | None, asset: str | None, node: str | None) -> dict[str, Any]:
        parts = self._parts
        known = None if tag is None else self._tag(tag)
        try:
            if known is None or known.node is not None:
                told = await self._node(known.asset if known else asset or "", known, node or "")
            else:
                route = parts.routes[known.asset]
                told = await probe_registers(
                    known,
                    route.place,
                    route.plant,
                    door=parts.door,
                    caller=parts.me,
                    last=parts.values,
                    clock=parts.now,
                )
        except NoProbeError as why:
            raise impossible(str(why)) from None
        if known is not None:
            told = {"tag": tag, "asset": known.asset, **told}
            return told | {"collected": collected(parts.values.sample(known.name))}
        return {"asset": asset, **told}

    async def _node(self, asset: str, tag: Tag | None, node: str) -> dict[str, Any]:
        text = tag.node if tag is not None and tag.node is not None else node
        session = await self._session(asset)
        try:
            return await probe_node(session, text, tag, self._parts.now)
        finally:
            self._busy.discard(asset)
            session.close()

    async def _session(self, asset: str) -> Session:
        if asset in self._busy:
            raise Impossible("busy", 503, f"somebody else looks at {asset} now; try again")
        self._busy.add(asset)
        try:
            found = await self._servers[asset].open(lambda _: None)
        except BaseException:
            self._busy.discard(asset)
            raise
        if isinstance(found, Away):
            self._busy.discard(asset)
            raise impossible(f"{found.reason}: {found.why}")
        return found

    def _tag(self, name: str) -> Tag:
        tag = self._parts.values.tags.get(name)
        if tag is None:
            raise Impossible("unknown_tag", 404, f"{name} is no tag of this gateway")
        return tag


def _checked(node: str) -> str:
    """A node in the one spelling that policy and servers' answers have."""
    wrong = amiss(node)
    if wrong is not None:
        raise Impossible("bad_node", 400, f"{wrong[0]}: {wrong[1]}")
    return node
