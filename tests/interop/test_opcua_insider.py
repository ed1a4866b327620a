"""An application with a certificate and grants that looks for what the door forgets: at the edges of time."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from struct import pack, unpack_from

import pytest

from gateway.relay.link import opcua as link
from gateway.wire.opcua import asking, login, tokens, usersecret
from gateway.wire.opcua.request import Request
from gateway.wire.opcua.status import Status
from tests.pki import Pki, pki

from .opcua.door import Bench, Connection, Peer, door, good, node, service_status, statuses, until, write

__all__ = ["pki"]

HINT = slice(4 + 2 + 16 + 4, 4 + 2 + 16 + 4 + 4)
"Where the time-out hint of a body of `asking` stands."


def hinted(body: bytes, milliseconds: int) -> bytes:
    return body[: HINT.start] + pack("<I", milliseconds) + body[HINT.stop :]


def judging(bench: Bench, denied: Callable[..., bool]) -> None:
    """Policy says no where that holds of an operation, from a new revision on."""
    engine = bench.stage.engine
    before: Callable[..., object] = engine._say

    def say(operation):  # type: ignore[no-untyped-def]
        if not denied(operation):
            return before(operation)
        allows, engine.allows = engine.allows, {}
        try:
            return before(operation)
        finally:
            engine.allows = allows

    engine._say = say  # type: ignore[method-assign]
    engine.revision = "rev-2"


async def subscription(peer: Peer) -> int:
    answer = await peer.ask(asking.create_subscription(100.0, 1, 0))
    assert not service_status(answer)
    return int(unpack_from("<I", answer, 28)[0])


def made(request: Request) -> bytes:
    return good(request, pack("<i", 1) + pack("<IIdI", 0, 7, 100.0, 1) + b"\0\0\0" + pack("<i", 0))


async def test_invariant_7_who_asks_for_items_in_no_time_has_them_decided_again(
    pki: Pki, tmp_path: Path
) -> None:
    """A hint of a millisecond would let the gateway miss the answer, and never know of the item."""

    async def slow(connection: Connection, request: Request) -> bytes:
        await asyncio.sleep(0.3)
        return made(request)

    async with door(pki, tmp_path) as bench:
        peer = await bench.peer()
        number = await subscription(peer)
        bench.plant.script["CreateMonitoredItems"] = slow
        body = asking.create_items(number, [asking.Item(node("x"), 1, 100.0)], 1, 0)
        assert not service_status(await peer.ask(hinted(body, 1)))
        judging(bench, lambda operation: operation.opcua.node == "nsu=urn:acme:plc;s=x")
        await peer.over()


async def test_invariant_7_a_session_of_which_nobody_knows_what_it_has_ends(pki: Pki, tmp_path: Path) -> None:
    async def late(connection: Connection, request: Request) -> bytes:
        await asyncio.sleep(0.5)
        return made(request)

    async with door(pki, tmp_path, request_s=0.2) as bench:
        peer, other = await bench.peer(), await bench.peer("other")
        number = await subscription(peer)
        bench.plant.script["CreateMonitoredItems"] = late
        body = asking.create_items(number, [asking.Item(node("x"), 1, 100.0)], 1, 0)
        assert service_status(await peer.ask(body)) == Status.TIMEOUT
        await until(lambda: len(bench.plant.sessions) == 1, 1)
        assert service_status(await peer.read("a")) == Status.SESSION_ID_INVALID
        assert statuses(await other.read("a")) == [0]


async def test_invariant_7_a_subscription_does_not_get_lost_on_its_way_to_another_session(
    pki: Pki, tmp_path: Path
) -> None:
    """The session that had it is closed while the server's answer is on its way."""

    async def slow(connection: Connection, request: Request) -> bytes:
        await asyncio.sleep(0.3)
        return good(request, pack("<iIii", 1, 0, 0, 0))

    async with door(pki, tmp_path) as bench:
        owner, again = await bench.peer(), await bench.peer()
        number = await subscription(owner)
        await owner.ask(asking.create_items(number, [asking.Item(node("x"), 1, 100.0)], 1, 0))
        bench.plant.script["TransferSubscriptions"] = slow
        answer = again.send(asking.header("TransferSubscriptions", 1, 0) + pack("<iIB", 1, number, 0))
        await until(lambda: bench.plant.saw("TransferSubscriptions"))
        await owner.ask(asking.header("CloseSession", 2, 0) + b"\1")
        assert unpack_from("<I", await answer, 32) == (0,)
        judging(bench, lambda operation: operation.opcua.node == "nsu=urn:acme:plc;s=x")
        await again.over()


async def test_items_that_follow_their_subscription_are_decided_again_when_it_gets_faster(
    pki: Pki, tmp_path: Path
) -> None:
    async def faster(connection: Connection, request: Request) -> bytes:
        return good(request, pack("<dII", 50.0, 30, 10))

    async with door(pki, tmp_path) as bench:
        judging(bench, lambda each: each.opcua.node is not None and (each.opcua.publishing_ms or 100) < 100)
        bench.plant.script["ModifySubscription"] = faster
        peer = await bench.peer()
        number = await subscription(peer)
        items = asking.create_items(number, [asking.Item(node("x"), 1, -1.0)], 1, 0)
        assert not service_status(await peer.ask(items))
        modify = asking.header("ModifySubscription", 1, 0) + pack("<IdIIIB", number, 50.0, 30, 10, 0, 0)
        assert not service_status(await peer.ask(modify))
        await peer.over()


async def test_invariant_9_a_server_that_takes_nothing_is_sent_no_more_than_so_much(
    pki: Pki, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests whose time is over still wait in the socket: their hint must not make that endless."""
    monkeypatch.setattr(link, "MOST_UNWRITTEN", 100_000)
    async with door(pki, tmp_path) as bench:
        peer = await bench.peer()
        for connection in bench.plant.connections:
            connection.writer.transport.pause_reading()  # type: ignore[attr-defined]
        names = [f"{at:04}" + "n" * 1_000 for at in range(100)]
        (session,) = bench.listener.sessions
        assert session.link is not None
        transport = session.link._transport
        assert transport is not None
        found = []
        for _ in range(80):
            found.append(service_status(await peer.ask(hinted(write(*names), 1))))
            assert transport.get_write_buffer_size() < 500_000
        assert Status.TIMEOUT in found
        assert found[-1] not in (0, Status.TIMEOUT)


async def test_what_could_not_be_decided_again_is_looked_at_until_it_is(pki: Pki, tmp_path: Path) -> None:
    async with door(pki, tmp_path) as bench:
        peer = await bench.peer()
        number = await subscription(peer)
        await peer.ask(asking.create_items(number, [asking.Item(node("x"), 1, 100.0)], 1, 0))
        journal, failures = bench.stage.door.journal, [OSError("once"), OSError("twice")]
        before = journal.denied

        def denied(*told: object) -> None:
            if failures:
                raise failures.pop()
            before(*told)  # type: ignore[arg-type]

        journal.denied = denied  # type: ignore[method-assign,assignment]
        judging(bench, lambda operation: operation.opcua.node == "nsu=urn:acme:plc;s=x")
        await peer.over()
        assert not failures


async def test_the_name_of_a_session_writes_no_lines_of_its_own(pki: Pki, tmp_path: Path) -> None:
    async with door(pki, tmp_path) as bench:
        peer = await bench.client()
        assert isinstance(await peer.create(name="a\nERROR \x1b[2Jb"), login.Upstream)
        (session,) = bench.listener.sessions
        assert session.name == "a?ERROR ?[2Jb"


def test_secrets_are_not_printed() -> None:
    shown = repr([login.Account("anna", "geheim"), tokens.Named("anna", usersecret.Secret("geheim", True))])
    assert "geheim" not in shown
    assert "anna" in shown


async def test_paths_to_what_is_hidden_lead_nowhere(pki: Pki, tmp_path: Path) -> None:
    """Whoever knows a name could else learn the node that no browse shows."""

    async def leads(connection: Connection, request: Request) -> bytes:
        found = [pack("<Ii", 0, 1) + node(name) + pack("<I", 0xFFFF_FFFF) for name in ("a", "secret", "b")]
        return good(request, pack("<i", 3) + b"".join(found) + pack("<i", 0))

    one = node("root") + pack("<i", 1) + b"\0\x21\0\1" + pack("<Hi", 2, 1) + b"a"
    asked = asking.header("TranslateBrowsePathsToNodeIds", 1, 0) + pack("<i", 3) + 3 * one
    for hide in (False, True):
        folder = tmp_path / str(hide)
        folder.mkdir()
        async with door(pki, folder, server={"hide": hide}) as bench:
            judging(bench, lambda operation: operation.opcua.node == "nsu=urn:acme:plc;s=secret")
            bench.plant.script["TranslateBrowsePathsToNodeIds"] = leads
            answer = await (await bench.peer()).ask(asked)
            assert not service_status(answer)
            assert (b"secret" in answer) is not hide
            assert (pack("<Ii", 0x806F0000, 0) in answer) is hide
            assert node("a") in answer
            assert node("b") in answer
            await until(lambda b=bench: all(each.in_flight == 0 for each in b.listener.sessions))  # type: ignore[misc]
