"""What a configuration amounts to, for people who are about to start a gateway with it."""

from collections.abc import Iterator, Sequence

from msgspec import Struct

from gateway.config.settings import HttpsSection, MqttSection, OpcuaUsers, Settings
from gateway.model.asset import Asset, Speaks, Table
from gateway.publish.poll_plan import cost, plan


class ListenerLine(Struct, frozen=True):
    """Where clients come in, and what they reach there."""

    name: str
    address: str
    zone: str
    units: dict[int, str]


class OpcuaLine(Struct, frozen=True):
    """Where OPC UA clients come in, how, and what they reach there."""

    name: str
    address: str
    zone: str
    assets: tuple[str, ...]
    security: tuple[str, ...]
    "Modes and policies."
    users: tuple[str, ...]


class AssetLine(Struct, frozen=True, kw_only=True):
    """A device, and what polling costs it."""

    name: str
    kind: str
    protocol: str
    address: str
    unit: int | None
    "Null for an OPC UA server."
    reached_by: tuple[str, ...]
    "`listener/unit` of each way to it, or the OPC UA listener; empty where only the collector asks it."
    tags: int
    polls: int
    registers: int
    "Read in one round of all polls."
    coils: int
    "Coils and discrete inputs, likewise."
    polls_per_s: float
    budget_per_s: float
    nodes: int
    "Watched by subscription; no poll reads them."
    sessions: int | None
    "Most that are open to an OPC UA server at once."


class Summary(Struct, frozen=True, kw_only=True):
    """A whole configuration in a few lines."""

    gateway: str
    site: str
    data: str
    listeners: tuple[ListenerLine, ...]
    opcua: tuple[OpcuaLine, ...]
    assets: tuple[AssetLine, ...]
    tags: int
    north: tuple[str, ...]


def summary(settings: Settings) -> Summary:
    """What the settings amount to."""
    return Summary(
        gateway=settings.gateway.name,
        site=settings.gateway.site,
        data=str(settings.gateway.data),
        listeners=tuple(
            ListenerLine(each.name, _address(each.host, each.port), each.zone, dict(each.units))
            for each in settings.listeners
        ),
        opcua=tuple(
            OpcuaLine(
                each.name,
                f"opc.tcp://{_address(each.host, each.port)}",
                each.zone,
                each.assets,
                (*map(str, each.modes), *map(str, each.policies)),
                tuple(_users(each.users)),
            )
            for each in settings.opcua
        ),
        assets=tuple(_asset(settings, asset) for asset in settings.assets),
        tags=len(settings.tags),
        north=_north(settings.north.https, settings.north.mqtt),
    )


def _asset(settings: Settings, asset: Asset) -> AssetLine:
    own = [tag for tag in settings.tags if tag.asset == asset.name]
    polls = plan(asset, own, settings.collector.merge_gap) if settings.collector.enabled else ()
    words = [poll.count for poll in polls if poll.table in (Table.INPUT, Table.HOLDING)]
    return AssetLine(
        name=asset.name,
        kind=asset.kind,
        protocol=asset.protocol.value,
        address=_address(asset.host, asset.port) + (asset.opcua.path if asset.opcua else ""),
        unit=None if asset.protocol is Speaks.OPCUA else asset.unit,
        reached_by=(
            *(
                f"{listener.name}/{unit}"
                for listener in settings.listeners
                for unit, name in listener.units.items()
                if name == asset.name
            ),
            *(listener.name for listener in settings.opcua if asset.name in listener.assets),
        ),
        tags=len(own),
        polls=len(polls),
        registers=sum(words),
        coils=sum(poll.count for poll in polls) - sum(words),
        polls_per_s=cost(polls),
        budget_per_s=asset.polls_per_s,
        nodes=sum(tag.node is not None for tag in own),
        sessions=asset.opcua.sessions if asset.opcua else None,
    )


def _users(users: OpcuaUsers) -> Iterator[str]:
    """The kinds of users that may stand on top of an application."""
    kinds = (
        ("anonymous", users.anonymous),
        ("user name", users.passwords),
        ("certificate", users.anchors),
        ("token", users.tokens),
    )
    yield from (name for name, there in kinds if there)


def _north(https: HttpsSection | None, mqtt: MqttSection | None) -> tuple[str, ...]:
    lines = []
    if https is not None:
        lines.append(f"HTTPS API on {_address(https.host, https.port)}, zone {https.zone}")
    if mqtt is not None:
        lines.append(f"MQTT to {mqtt.name} at {_address(mqtt.host, mqtt.port)}, topics {mqtt.topic}")
    return tuple(lines)


def _address(host: str, port: int) -> str:
    if host.startswith("/"):
        return host
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def text(what: Summary) -> str:
    """The summary on a screen."""
    listeners = [
        (
            each.name,
            each.address,
            f"zone {each.zone}",
            ", ".join(f"unit {unit} → {asset}" for unit, asset in each.units.items()) or "no units",
        )
        for each in what.listeners
    ]
    doors = [
        (
            each.name,
            each.address,
            f"zone {each.zone}",
            ", ".join(each.assets),
            ", ".join(each.security),
            f"users: {', '.join(each.users)}",
        )
        for each in what.opcua
    ]
    devices = [each for each in what.assets if each.unit is not None]
    servers = [each for each in what.assets if each.unit is None]
    assets = [
        (
            each.name,
            each.kind,
            f"{each.address} unit {each.unit}",
            f"{each.tags} tags",
            f"{each.polls} polls",
            f"{each.registers} registers",
            f"{each.coils} coils",
            f"{each.polls_per_s:.4g} of {each.budget_per_s:.4g} polls/s",
            ", ".join(each.reached_by) or "no listener",
        )
        for each in devices
    ]
    nodes = [
        (
            each.name,
            each.kind,
            f"opc.tcp://{each.address}",
            f"{each.nodes} nodes watched",
            f"at most {each.sessions} sessions",
            ", ".join(each.reached_by) or "no listener",
        )
        for each in servers
    ]
    lines = [f"gateway {what.gateway} at {what.site}, data in {what.data}"]
    lines += ["listeners", *_tables(listeners, doors), "assets", *_tables(assets, nodes)]
    lines += [f"north ({what.tags} tags)", *_tables([(line,) for line in what.north])]
    return "\n".join(lines)


def _tables(*tables: Sequence[tuple[str, ...]]) -> list[str]:
    """One below the other, each with columns as wide as their widest entry."""
    return [line for rows in tables if rows for line in _table(rows)] or ["  none"]


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
