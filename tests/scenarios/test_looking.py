"""Looking around in a server, and one read of one tag: bounded, and no more than policy gives the gateway."""

import asyncio
from struct import pack

import pytest

from gateway.guard.ports import Plant as PlantPort
from gateway.model.decision import Why
from gateway.publish import opcua_browsing
from gateway.publish.opcua_browsing import AT_ONCE, Browser, Look, NoLookError
from gateway.publish.probing import NoProbeError, probe_node, probe_registers
from gateway.wire.modbus.meaning import Place
from gateway.wire.opcua.answer import ServiceAnswer, read_answer
from gateway.wire.opcua.nodeid import NodeId, read
from gateway.wire.opcua.refusal import header
from gateway.wire.opcua.request import Outbound, Request, read_request
from tests.scenarios.north import GATEWAY
from tests.scenarios.stage import Moment
from tests.scenarios.test_collector import Scene as ModbusScene
from tests.scenarios.test_collector import tag as register
from tests.scenarios.test_opcua_collector import tag

NAMESPACES = ("http://opcfoundation.org/UA/", "urn:test:server", "urn:acme:plc")


def reference(name: str, node_class: int, namespace: int = 2) -> bytes:
    """One reference of a browse result."""
    text = pack("<i", len(name)) + name.encode()
    target = NodeId(namespace, name if namespace else 2253).encode()
    return b"\0\x23\x01" + target + b"\x02\x00" + text + b"\x02" + text + pack("<I", node_class) + b"\0\0"


class Tree:
    """A server with an address space: names below names. A name with a capital is an object."""

    def __init__(self, below: dict[str, list[str]], page: int = 1_000) -> None:
        self.below = below
        self.page = page
        self.denies: set[str] = set()
        self.asked: list[Request] = []
        self.left: dict[bytes, list[str]] = {}
        self.namespaces = NAMESPACES

    async def ask(self, body: bytes) -> ServiceAnswer | Why:
        request = read_request(body)
        assert isinstance(request, Request)
        self.asked.append(request)
        items = [request.item(at) for at in range(request.items)]
        kept = tuple(at for at, item in enumerate(items) if self._name(item) not in self.denies)
        if not kept:
            return Why.DENIED
        results = [self._result(request.service.name, items[at]) for at in kept]
        frame = Outbound(request, b"\0\0", kept)
        head = header(request.service.answer, request.header.handle, 0, 0)
        found = read_answer(frame, head + pack("<i", len(kept)) + b"".join(results) + pack("<i", 0))
        assert isinstance(found, ServiceAnswer), found
        return found

    def _name(self, item: bytes) -> str:
        if item[:4] in self.left or item[4:] in self.left:
            return ""
        return str(read(item, 0)[0].identifier)

    def _result(self, service: str, item: bytes) -> bytes:
        if service == "Read":
            return b"\x01\x0b" + pack("<d", float(len(self._name(item))))
        names = self.left.pop(item[4:]) if service == "BrowseNext" else self.below.get(self._name(item), [])
        point = b"\xff\xff\xff\xff"
        if len(names) > self.page:
            key = b"more%d" % len(self.asked)
            self.left[key] = names[self.page :]
            point = pack("<i", len(key)) + key
        some = names[: self.page]
        references = [
            reference(name, 1 if name[0].isupper() else 2, 0 if name == "Server" else 2) for name in some
        ]
        return pack("<I", 0) + point + pack("<i", len(some)) + b"".join(references)

    async def allowed(self, body: bytes) -> tuple[bool, ...]:
        raise NotImplementedError

    def close(self) -> None: ...


async def look(tree: Tree, start: str = "i=85", depth: int = 5, most: int = 100) -> Look:
    return await Browser(tree, Moment(), asset="plc-1", start=start, depth=depth, most=most).run()


async def test_it_goes_down_level_by_level_and_reads_what_variables_hold() -> None:
    tree = Tree({"85": ["Server", "Tank"], "Tank": ["level", "Pump"], "Pump": ["speed"], "2253": ["Secret"]})
    found = await look(tree)
    assert [(each.path, each.depth, each.kind) for each in found.nodes] == [
        ("/Server", 1, "object"),
        ("/Tank", 1, "object"),
        ("/Tank/level", 2, "variable"),
        ("/Tank/Pump", 2, "object"),
        ("/Tank/Pump/speed", 3, "variable"),
    ], "the standard's own nodes are listed and not entered"
    level = found.nodes[2]
    assert (level.node, level.type, level.value) == ("nsu=urn:acme:plc;s=level", "Double", 5.0)
    assert not found.truncated
    assert [each.name for each in (await look(tree, depth=1)).nodes] == ["Server", "Tank"]


async def test_a_list_that_comes_in_pages_is_read_to_its_end() -> None:
    tree = Tree({"85": [f"v{number}" for number in range(95)]}, page=10)
    found = await look(tree)
    assert len(found.nodes) == 95
    assert sum(each.service.name == "BrowseNext" for each in tree.asked) == 9
    assert max(each.items for each in tree.asked) <= AT_ONCE


async def test_nodes_and_pages_and_circles_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    wide = Tree({"85": [f"v{number}" for number in range(500)]}, page=50)
    few = await look(wide, most=120)
    assert (len(few.nodes), few.truncated) == (120, True)
    round_about = Tree({"85": ["A"], "A": ["B"], "B": ["A", "B"]})
    assert [each.name for each in (await look(round_about, depth=12)).nodes] == ["A", "B"]
    monkeypatch.setattr(opcua_browsing, "MOST_PAGES", 2)
    assert (await look(Tree({"85": [f"v{n}" for n in range(50)]}, page=10))).truncated
    monkeypatch.setattr(opcua_browsing, "MOST_NODES", 7)
    assert len((await look(wide, most=100)).nodes) == 7
    monkeypatch.setattr(opcua_browsing, "MOST_DEPTH", 1)
    assert len((await look(round_about, depth=12)).nodes) == 1


async def test_what_policy_denies_the_gateway_is_listed_and_not_entered_nor_read() -> None:
    tree = Tree({"85": ["Tank", "Vault", "secret"], "Vault": ["gold"], "Tank": ["level"]})
    tree.denies = {"Vault", "secret"}
    found = await look(tree)
    assert [each.name for each in found.nodes] == ["Tank", "Vault", "secret", "level"]
    assert found.denied == 2, "neither was entered"
    assert (found.nodes[2].value, found.nodes[2].status) == (None, "denied")
    assert found.nodes[3].value == 5.0
    tree.denies = {"85"}
    with pytest.raises(NoLookError, match="policy"):
        await look(tree)
    with pytest.raises(NoLookError, match="namespace"):
        await look(tree, start="nsu=urn:nobody;s=x")


async def test_a_probe_of_a_node_shows_raw_beside_scaled() -> None:
    tree = Tree({})
    level = tag("level", scale=2.0, offset=1.0, resolution=0.5)
    told = await probe_node(tree, "nsu=urn:acme:plc;s=level", level, Moment())
    assert (told["raw"], told["value"], told["q"], told["quality"]) == (5.0, 11.0, 22, "good")
    assert "value" not in await probe_node(tree, "i=85", None, Moment())
    tree.denies = {"level"}
    with pytest.raises(NoProbeError, match="policy"):
        await probe_node(tree, "nsu=urn:acme:plc;s=level", level, Moment())
    with pytest.raises(NoProbeError, match="namespace"):
        await probe_node(tree, "nsu=urn:nobody;s=x", None, Moment())


async def test_a_probe_of_registers_shows_them_and_what_they_mean() -> None:
    level = register("plc-1", 7, scale=0.5, resolution=0.5)
    scene = ModbusScene(level)
    plant: PlantPort = scene.plants["plc-1"]
    place = Place(scene.collector._devices["plc-1"].place.asset, [level])

    async def probe() -> dict[str, object]:
        asking = asyncio.create_task(
            probe_registers(
                level,
                place,
                plant,
                door=scene.door,
                caller=GATEWAY,
                last=scene.values,
                clock=scene.now,
            )
        )
        for _ in range(5):
            await asyncio.sleep(0)
        scene.plants["plc-1"].settle()
        return await asking

    told = await probe()
    assert (told["registers"], told["raw"], told["value"], told["q"]) == ("0007", 7, 3.5, 7)
    scene.plants["plc-1"].mode = 2
    assert (await probe())["reason"] == "exception_02"
    scene.plants["plc-1"].mode = Why.NO_PATH
    with pytest.raises(NoProbeError, match="no connection"):
        await probe()
    scene.policy.denies = {"plc-1.r7"}
    with pytest.raises(NoProbeError, match="policy"):
        await probe()
