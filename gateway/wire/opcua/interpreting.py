"""A request while it gets its meaning: what the functions of `wanted` and `watched` work with."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gateway.model.asset import Asset, Tag
from gateway.model.moment import Now
from gateway.model.operation import OpcuaTarget, Operation
from gateway.model.operation import Point as Touched
from gateway.model.operation import Protocol as Door
from gateway.wire.opcua.binary import Wrong
from gateway.wire.opcua.context import Context
from gateway.wire.opcua.nodeid import (
    MOST_ID,
    MOST_RANGE,
    NoNamespaceError,
    TooLongError,
    read,
    read_string,
    said,
)
from gateway.wire.opcua.request import Request
from gateway.wire.opcua.services import Service
from gateway.wire.opcua.unreadable import Unreadable
from gateway.wire.quanta import LastValues

VALUE = 13
ID_HEAD = 7
"Bytes before a long identifier: encoding, namespace, length."
ATTRIBUTES = (
    "NodeId",
    "NodeClass",
    "BrowseName",
    "DisplayName",
    "Description",
    "WriteMask",
    "UserWriteMask",
    "IsAbstract",
    "Symmetric",
    "InverseName",
    "ContainsNoLoops",
    "EventNotifier",
    "Value",
    "DataType",
    "ValueRank",
    "ArrayDimensions",
    "AccessLevel",
    "UserAccessLevel",
    "MinimumSamplingInterval",
    "Historizing",
    "Executable",
    "UserExecutable",
    "DataTypeDefinition",
    "RolePermissions",
    "UserRolePermissions",
    "AccessRestrictions",
    "AccessLevelEx",
)
"From 1 (OPC 10000-6 Annex A.1)."


class Asking:
    """A request while it gets its meaning."""

    __slots__ = ("asset", "begins", "context", "last", "now", "request", "service", "tags", "tail")

    def __init__(
        self,
        asset: Asset,
        tags: Mapping[str, tuple[Tag, ...]],
        context: Context,
        request: Request,
        last: LastValues,
        now: Now,
    ) -> None:
        self.asset = asset
        self.tags = tags
        "By the text of their node."
        self.context = context
        self.begins = context.begins
        self.request = request
        self.service: Service = request.service
        self.tail = request.tail
        self.last = last
        self.now = now

    def operation(
        self, points: Sequence[Touched] = (), unreadable: Unreadable | None = None, **target: Any
    ) -> Operation:
        """One operation on the asset."""
        asset, context = self.asset, self.context
        assert self.service.action is not None, "services that are not forwarded have no meaning"  # noqa: S101
        return Operation(
            protocol=Door.OPCUA,
            action=self.service.action,
            kind=self.service.kind,
            asset=asset.name,
            asset_kind=asset.kind,
            opcua=OpcuaTarget(
                service=self.service.name, security=context.security, mode=context.mode, **target
            ),
            points=tuple(points),
            unreadable=unreadable,
        )

    def read(self, meaning: "Meaning", at: int) -> Operation:
        """One item. What has no text is unreadable as a whole."""
        try:
            return meaning(self, at)
        except NoNamespaceError:
            return self.operation(unreadable=Unreadable.UNKNOWN_NAMESPACE)
        except TooLongError:
            return self.operation(unreadable=Unreadable.TOO_LONG)
        except Wrong:
            return self.operation(unreadable=Unreadable.NOT_TEXT)

    def each(self, meaning: "Meaning") -> list[Operation]:
        """All items."""
        return [self.read(meaning, border) for border in self.request.parameters.borders[:-1]]

    def node(self, at: int) -> tuple[str, int]:
        """A node's text, and where its id ends."""
        node, end = read(self.tail, at)
        if end - at > MOST_ID + ID_HEAD:
            raise TooLongError("the identifier of a node")
        return said(node, self.begins), end

    def range(self, at: int) -> tuple[str | None, int]:
        """An index range, null where there is none, and where it ends."""
        found, end = read_string(self.tail, at)
        if end - at > MOST_RANGE + 4:
            raise TooLongError("an index range")
        return found or None, end

    def touched(self, node: str, attribute: int) -> list[Touched]:
        """Tags whose value is asked for."""
        return [Touched(tag.name) for tag in self.tags.get(node, ())] if attribute == VALUE else []


Meaning = Callable[[Asking, int], Operation]
"What one item means, which begins at the offset."


def attribute_name(number: int) -> str:
    """`Value`; the number where there is no such attribute."""
    return ATTRIBUTES[number - 1] if 0 < number <= len(ATTRIBUTES) else str(number)
