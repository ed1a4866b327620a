"""The OPC UA door: sessions, verdicts, budgets, and what one peer can do to the others."""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from struct import pack, unpack_from
from time import perf_counter

import pytest
from msgspec.structs import replace

from gateway.config.settings import OpcuaUsers
from gateway.identity.inbox import Inbox
from gateway.model.asset import OpcuaUser
from gateway.model.operation import Action
from gateway.relay.opcua import bounds
from gateway.wire.opcua import asking, login, messages, tokens
from gateway.wire.opcua.request import Request
from gateway.wire.opcua.status import Status
from tests.opcua import credentials
from tests.pki import Pki, pki

from .opcua.door import (
    ASSET,
    Bench,
    Connection,
    Peer,
    call,
    door,
    double,
    good,
    node,
    service_status,
    statuses,
    until,
    write,
)

__all__ = ["pki"]

DENIED = int(Status.USER_ACCESS_DENIED)


def deny(bench: Bench, *names: str) -> None:
    """Policy that says no to these nodes, whatever is wanted of them."""
    words = bench.stage.engine
    before: Callable[..., object] = words._say

    def say(operation):  # type: ignore[no-untyped-def]
        target = operation.opcua
        if target is not None and target.node in {f"nsu=urn:acme:plc;s={name}" for name in names}:
            words_allows, words.allows = words.allows, {}
            try:
                return before(operation)
            finally:
                words.allows = words_allows
        return before(operation)

    words._say = say  # type: ignore[method-assign]


def subscribing(peer: Peer) -> bytes:
    return asking.create_subscription(100.0, 1, 0)


async def subscribed(peer: Peer, *names: str) -> int:
    """A subscription with an item for each node; its id."""
    answer = await peer.ask(subscribing(peer))
    assert not service_status(answer)
    (number,) = unpack_from("<I", answer, 28)
    items = [asking.Item(node(name), at, 100.0) for at, name in enumerate(names)]
    assert not service_status(await peer.ask(asking.create_items(number, items, 1, 0)))
    return int(number)


# what goes through ----------------------------------------------------------------------------------------


async def test_a_read_goes_through_with_only_the_token_changed(pki: Pki, tmp_path: Path) -> None:
    async with door(pki, tmp_path) as bench:
        peer = await bench.peer()
        assert statuses(await peer.read("a", "b")) == [0, 0]
        (seen,) = bench.plant.saw("Read")
        asked = asking.read([node("a"), node("b")], 1, 0)
        assert seen.body[:4] + seen.body[seen.header.token.stop :] == asked[:4] + asked[6:]
        assert seen.token != peer.upstream.token


async def test_denied_items_come_back_in_their_places_and_the_server_never_sees_them(
    pki: Pki, tmp_path: Path
) -> None:
    async with door(pki, tmp_path) as bench:
        deny(bench, "x", "y")
        peer = await bench.peer()
        assert statuses(await peer.read("a", "x", "b", "y")) == [0, DENIED, 0, DENIED]
        assert statuses(await peer.write("x", "a")) == [DENIED, 0]
        assert statuses(await peer.read("x", "y")) == [DENIED, DENIED]
        seen = b"".join(each.body for each in bench.plant.seen)
        assert node("x") not in seen
        assert node("y") not in seen
        assert "denied opcua.read default" in bench.stage.story


async def test_invariant_1_a_write_leaves_only_after_its_intent(pki: Pki, tmp_path: Path) -> None:
    async with door(pki, tmp_path) as bench:
        peer = await bench.peer()
        seen_then: list[int] = []
        bench.stage.journal.during_intent = lambda: seen_then.append(len(bench.plant.saw("Write")))
        assert statuses(await peer.write("a")) == [0]
        assert seen_then == [0]
        assert "outcome ok" in bench.stage.story
        bench.stage.journal.broken = True
        assert service_status(await peer.write("a")) == Status.INTERNAL_ERROR
        assert len(bench.plant.saw("Write")) == 1


async def test_invariant_2_services_that_are_never_forwarded_are_refused_without_asking(
    pki: Pki, tmp_path: Path
) -> None:
    async with door(pki, tmp_path) as bench:
        peer = await bench.peer()
        asked = len([each for each in bench.stage.story if each.startswith("decide")])
        body = asking.header("Read", 7, 0)
        for number in (500, 700, 479, 65_000):  # DeleteNodes, HistoryUpdate, Cancel, and none at all
            answer = await peer.ask(b"\1\0" + pack("<H", number) + body[4:] + pack("<i", 0))
            assert service_status(answer) == Status.SERVICE_UNSUPPORTED
        assert asked == len([each for each in bench.stage.story if each.startswith("decide")])
        assert "denied opcua.delete_nodes wire.unsupported_service" in bench.stage.story


async def test_registered_nodes_are_answered_here_with_the_same_ids(pki: Pki, tmp_path: Path) -> None:
    async with door(pki, tmp_path) as bench:
        peer = await bench.peer()
        nodes = pack("<i", 2) + node("a") + node("b")
        answer = await peer.ask(asking.header("RegisterNodes", 1, 0) + nodes)
        assert answer.endswith(nodes)
        assert bench.plant.saw("RegisterNodes") == []


async def test_references_that_the_caller_may_not_browse_are_hidden_where_the_asset_says_so(
    pki: Pki, tmp_path: Path
) -> None:
    for hide in (False, True):
        folder = tmp_path / str(hide)
        folder.mkdir()
        async with door(pki, folder, server={"hide": hide}) as bench:
            deny(bench, "secret")
            answer = await (await bench.peer()).ask(asking.browse([node("root")], 1, 0))
            assert (b"secret" in answer) is not hide
            assert node("a") in answer


async def test_a_batch_that_must_go_whole_goes_not_at_all(pki: Pki, tmp_path: Path) -> None:
    async with door(pki, tmp_path, server={"whole_batches": True}) as bench:
        deny(bench, "x")
        peer = await bench.peer()
        assert statuses(await peer.write("a", "x")) == [DENIED, DENIED]
        assert bench.plant.saw("Write") == []


async def test_a_slow_call_does_not_hold_up_a_read(pki: Pki, tmp_path: Path) -> None:
    """Facts §0: at most 50 ms behind a call of a second."""

    async def slow(connection: Connection, request: Request) -> bytes:
        await asyncio.sleep(1)
        return good(request, pack("<i", 1) + bytes(4) + pack("<iiii", 0, 0, 0, 0))

    async with door(pki, tmp_path) as bench:
        peer = await bench.peer()
        await peer.read("a")
        bench.plant.script["Call"] = slow
        slowly = peer.send(call("m"))
        await until(lambda: bench.plant.saw("Call"))
        took = []
        for _ in range(5):
            began = perf_counter()
            await peer.read("a")
            took.append(perf_counter() - began)
        assert not slowly.done()
        assert min(took) < 0.05
        assert not service_status(await slowly)


# the server, and what becomes of it -----------------------------------------------------------------------


async def silent(connection: Connection, request: Request) -> None:
    """No answer."""


async def test_invariant_6_a_write_without_answer_is_told_and_sent_once(pki: Pki, tmp_path: Path) -> None:
    async with door(pki, tmp_path, request_s=0.3) as bench:
        bench.plant.script["Write"] = silent
        peer = await bench.peer()
        assert service_status(await peer.write("a")) == Status.TIMEOUT
        assert "outcome timeout" in bench.stage.story
        assert len(bench.plant.saw("Write")) == 1
        assert statuses(await peer.read("a")) == [0], "the session goes on"


async def test_a_late_answer_is_dropped(pki: Pki, tmp_path: Path) -> None:
    async def late(connection: Connection, request: Request) -> bytes:
        await asyncio.sleep(0.4)
        return good(request, pack("<i", 1) + double(1) + pack("<i", 0))

    async with door(pki, tmp_path, request_s=0.2) as bench:
        peer = await bench.peer()
        bench.plant.script["Read"] = late
        assert service_status(await peer.read("a")) == Status.TIMEOUT
        del bench.plant.script["Read"]
        await asyncio.sleep(0.4)
        assert statuses(await peer.read("a")) == [0]


async def test_the_clients_own_time_out_counts_where_it_is_shorter(pki: Pki, tmp_path: Path) -> None:
    async with door(pki, tmp_path) as bench:
        peer = await bench.peer()
        bench.plant.script["Call"] = silent
        body = call("m")
        hinted = body[: 4 + 2 + 16 + 4] + pack("<I", 100) + body[4 + 2 + 16 + 4 + 4 :]
        began = perf_counter()
        assert service_status(await peer.ask(hinted)) == Status.TIMEOUT
        assert perf_counter() - began < 1


async def test_a_server_that_goes_ends_the_session_and_says_what_is_unknown(pki: Pki, tmp_path: Path) -> None:
    async with door(pki, tmp_path) as bench:
        bench.plant.script |= {"Write": silent, "Call": silent}
        peer = await bench.peer()
        written, called = peer.send(write("a")), peer.send(call("m"))
        await until(lambda: bench.plant.saw("Write") and bench.plant.saw("Call"))
        bench.plant.drop()
        assert service_status(await written) == Status.COMMUNICATION_ERROR
        assert service_status(await called) == Status.COMMUNICATION_ERROR
        assert bench.stage.story.count("outcome unknown") == 2
        assert service_status(await peer.read("a")) == Status.SESSION_ID_INVALID
        assert len(bench.plant.saw("Write")) == 1
        await peer.session()
        assert statuses(await peer.read("a")) == [0], "a new session is all that it takes"


async def test_an_answer_that_does_not_fit_is_told_and_goes_nowhere(pki: Pki, tmp_path: Path) -> None:
    async def two(connection: Connection, request: Request) -> bytes:
        return good(request, pack("<i", 2) + double(1) + double(2) + pack("<i", 0))

    async with door(pki, tmp_path) as bench:
        peer = await bench.peer()
        bench.plant.script["Read"] = two
        assert service_status(await peer.read("a")) == Status.COMMUNICATION_ERROR
        assert "failed wrong_answer" in bench.stage.story
        assert "event finding" in bench.stage.story


async def test_a_server_that_refuses_leaves_no_session(pki: Pki, tmp_path: Path) -> None:
    async with door(pki, tmp_path) as bench:
        bench.plant.refuses = int(Status.INTERNAL_ERROR)
        peer = await bench.client()
        await peer.create()
        answer = await peer.activate()
        assert isinstance(answer, login.Refused)
        assert answer.status == Status.SERVER_NOT_CONNECTED
        assert service_status(await peer.read("a")) == Status.SESSION_NOT_ACTIVATED


async def test_a_gateway_that_may_not_know_the_namespaces_lets_nobody_in(pki: Pki, tmp_path: Path) -> None:
    async with door(pki, tmp_path) as bench:
        del bench.stage.engine.allows[Action.READ, ASSET]
        peer = await bench.client()
        await peer.create()
        assert isinstance(await peer.activate(), login.Refused)


# sessions -------------------------------------------------------------------------------------------------


async def test_property_1_an_untrusted_certificate_gets_no_channel_and_waits_in_the_inbox(
    pki: Pki, tmp_path: Path
) -> None:
    async with door(pki, tmp_path) as bench:
        with pytest.raises(ConnectionError):
            await bench.client("stranger")
        lost = await bench.peers[-1].over()
        assert lost is not None
        assert lost.status == Status.SECURITY_CHECKS_FAILED
        entries = Inbox(bench.applications.folder).entries()
        waiting = [entry for entry in entries if entry.state == "inbox"]
        assert [entry.der for entry in waiting] == [credentials("stranger").leaf]
        Inbox(bench.applications.folder).approve(waiting[0])
        await until(lambda: not bench.applications.changed())
        await bench.peer("stranger")


async def test_property_2_discovery_without_security_carries_nothing_else(pki: Pki, tmp_path: Path) -> None:
    from asyncua import Client, ua  # a real client's plain channel

    async with door(pki, tmp_path) as bench:
        client = Client(bench.url)
        await client.connect_socket()
        await client.send_hello()
        await client.open_secure_channel()
        endpoints = await client.get_endpoints()
        assert {each.EndpointUrl for each in endpoints} == {bench.url}
        assert {each.SecurityMode for each in endpoints} == {ua.MessageSecurityMode.SignAndEncrypt}
        with pytest.raises(ua.UaStatusCodeError) as refused:
            await client.create_session()
        assert refused.value.code == Status.SECURITY_MODE_INSUFFICIENT
        with pytest.raises(ua.UaStatusCodeError) as refused:
            await client.nodes.server.read_browse_name()
        assert refused.value.code == Status.SECURITY_MODE_INSUFFICIENT
        client.disconnect_socket()


@pytest.mark.parametrize(
    "lie",
    [
        {"certificate": None},
        {"certificate": b"x" * 300},
        {"nonce": b"short"},
        {"client": messages.ApplicationDescription(uri="urn:test:other", kind=1)},
        {"url": "opc.tcp://127.0.0.1:4840/no-such"},
        {"server_uri": "urn:somebody:else"},
    ],
    ids=lambda lie: next(iter(lie)),
)
async def test_property_3_a_session_is_for_who_the_channel_belongs_to(
    pki: Pki, tmp_path: Path, lie: dict[str, object]
) -> None:
    async with door(pki, tmp_path) as bench:
        peer = await bench.client()
        assert isinstance(await peer.create(**lie), login.Refused)
        assert len(bench.listener.sessions) == 0


async def test_property_4_a_stolen_token_is_worth_nothing_on_another_channel(
    pki: Pki, tmp_path: Path
) -> None:
    async with door(pki, tmp_path) as bench:
        victim, thief = await bench.peer("client"), await bench.peer("other")
        sibling = await bench.client("client")
        reads = len(bench.plant.saw("Read"))
        for robber in (thief, sibling):
            answer = await robber.read("a", token=victim.upstream.token)
            assert service_status(answer) == Status.SESSION_ID_INVALID
        assert len(bench.plant.saw("Read")) == reads
        assert statuses(await victim.read("a")) == [0]


async def test_property_5_a_session_cannot_be_taken_over_without_its_key(pki: Pki, tmp_path: Path) -> None:
    async with door(pki, tmp_path) as bench:
        victim, thief = await bench.peer("client"), await bench.client("other")
        thief.upstream = victim.upstream
        answer = await thief.activate()
        assert isinstance(answer, login.Refused)
        assert statuses(await victim.read("a")) == [0]


async def test_property_6_a_session_moves_to_a_new_channel_of_its_client(pki: Pki, tmp_path: Path) -> None:
    async with door(pki, tmp_path) as bench:
        before = await bench.peer()
        subscription = await subscribed(before, "a")
        after = await bench.client()
        after.upstream = before.upstream
        after.handle = before.handle
        assert isinstance(await after.activate(), bytes)
        assert statuses(await after.read("a")) == [0]
        assert service_status(await before.read("a")) == Status.SESSION_ID_INVALID
        answer = await after.ask(asking.delete_subscriptions([subscription], 1, 0))
        assert not service_status(answer)
        assert len(bench.plant.sessions) == 1, "the server has noticed nothing"


async def test_a_session_outlives_its_socket(pki: Pki, tmp_path: Path) -> None:
    async with door(pki, tmp_path) as bench:
        before = await bench.peer()
        await before.close()
        await until(lambda: all(each.client is None for each in bench.listener.sessions))
        after = await bench.client()
        after.upstream = before.upstream
        assert isinstance(await after.activate(), bytes)
        assert statuses(await after.read("a")) == [0]
        assert len(bench.plant.sessions) == 1


async def test_a_session_ends_with_its_time_out_also_at_the_server(pki: Pki, tmp_path: Path) -> None:
    async with door(pki, tmp_path) as bench:
        peer = await bench.peer()
        (session,) = bench.listener.sessions
        session.timeout_ns = 200_000_000
        await until(lambda: not bench.plant.sessions)
        assert len(bench.listener.sessions) == 0
        assert service_status(await peer.read("a")) == Status.SESSION_ID_INVALID


async def test_the_first_activation_is_on_the_channel_of_its_creation(pki: Pki, tmp_path: Path) -> None:
    async with door(pki, tmp_path) as bench:
        first, second = await bench.client(), await bench.client()
        await first.create()
        second.upstream = first.upstream
        assert isinstance(await second.activate(), login.Refused)
        assert isinstance(await first.activate(), bytes)


async def test_who_asks_before_activation_loses_the_session(pki: Pki, tmp_path: Path) -> None:
    async with door(pki, tmp_path) as bench:
        peer = await bench.client()
        await peer.create()
        assert service_status(await peer.read("a")) == Status.SESSION_NOT_ACTIVATED
        assert isinstance(await peer.activate(), login.Refused)


async def test_property_9_ids_of_others_are_as_ids_that_do_not_exist(pki: Pki, tmp_path: Path) -> None:
    async with door(pki, tmp_path) as bench:
        owner, other = await bench.peer("client"), await bench.peer("other")
        subscription = await subscribed(owner, "a")
        items = asking.create_items(subscription, [asking.Item(node("b"), 1, 100.0)], 1, 0)
        assert service_status(await other.ask(items)) == Status.SUBSCRIPTION_ID_INVALID
        answer = await other.ask(asking.delete_subscriptions([subscription, 9_999], 1, 0))
        assert unpack_from("<II", answer, 32) == (Status.SUBSCRIPTION_ID_INVALID,) * 2
        assert bench.plant.saw("DeleteSubscriptions") == []
        assert len(bench.plant.saw("CreateMonitoredItems")) == 1


async def test_subscriptions_are_transferred_within_one_identity_only(pki: Pki, tmp_path: Path) -> None:
    async with door(pki, tmp_path) as bench:
        owner, again, other = await bench.peer(), await bench.peer(), await bench.peer("other")
        subscription = await subscribed(owner, "a")
        body = asking.header("TransferSubscriptions", 1, 0) + pack("<iIB", 1, subscription, 0)
        assert unpack_from("<I", await other.ask(body), 32) == (Status.SUBSCRIPTION_ID_INVALID,)
        assert bench.plant.saw("TransferSubscriptions") == []
        assert unpack_from("<I", await again.ask(body), 32) == (0,)
        delete = asking.delete_subscriptions([subscription], 1, 0)
        assert unpack_from("<I", await owner.ask(delete), 32) == (Status.SUBSCRIPTION_ID_INVALID,)
        assert unpack_from("<I", await again.ask(delete), 32) == (0,)


# users ----------------------------------------------------------------------------------------------------


async def test_a_user_is_passed_on_where_the_asset_says_so(pki: Pki, tmp_path: Path) -> None:
    server = {"user": OpcuaUser.IMPERSONATE}
    async with door(pki, tmp_path, server=server) as bench:
        peer = await bench.peer("client", login.Account("anna", "geheim"))
        (user,) = bench.plant.users
        assert isinstance(user, tokens.Named)
        assert (user.name, user.secret.text) == ("anna", "geheim")
        (session,) = bench.listener.sessions
        assert session.caller.identity.on_behalf_of == "user:anna"
        other = await peer.activate(login.Account("otto", "geheim"))
        assert isinstance(other, login.Refused)
        wrong = await peer.activate(login.Account("anna", "falsch"))
        assert isinstance(wrong, login.Refused)
        assert statuses(await peer.read("a")) == [0]


async def test_nobody_comes_without_a_user_where_anonymous_is_off(pki: Pki, tmp_path: Path) -> None:
    server = {"user": OpcuaUser.IMPERSONATE}
    async with door(pki, tmp_path, server=server, users=OpcuaUsers(anonymous=False)) as bench:
        peer = await bench.client()
        await peer.create()
        assert isinstance(await peer.activate(), login.Refused)
        assert isinstance(await peer.activate(login.Account("anna", "geheim")), bytes)


# budgets --------------------------------------------------------------------------------------------------


async def test_invariant_9_sessions_of_one_certificate_have_a_bound(pki: Pki, tmp_path: Path) -> None:
    async with door(pki, tmp_path, sessions_of_one=2) as bench:
        await bench.peer()
        await bench.peer()
        peer = await bench.client()
        refused = await peer.create()
        assert isinstance(refused, login.Refused)
        assert refused.status == Status.TOO_MANY_SESSIONS
        await bench.peer("other")


async def test_invariant_9_sessions_with_a_server_have_a_bound_and_one_is_the_collectors(
    pki: Pki, tmp_path: Path
) -> None:
    async with door(pki, tmp_path, server={"sessions": 3}) as bench:
        first = await bench.peer()
        await bench.peer("other")
        peer = await bench.client()
        await peer.create()
        refused = await peer.activate()
        assert isinstance(refused, login.Refused)
        assert refused.status == Status.TOO_MANY_SESSIONS
        collector = await bench.links.open(None, lambda _link, _why: None, reserved=True)
        assert collector.up
        body = login.close(first.upstream.token, peer.bench.stage.now())
        assert not service_status(await first.ask(body))
        assert isinstance(await peer.activate(), bytes), "the place is free"


async def test_invariant_9_requests_and_publishes_are_counted_apart(pki: Pki, tmp_path: Path) -> None:
    async with door(pki, tmp_path, outstanding=3, publishes=2) as bench:
        peer = await bench.peer()
        await subscribed(peer, "a")
        publishes = [peer.send(asking.publish([], 1, 0)) for _ in range(3)]
        assert service_status(await publishes[2]) == Status.TOO_MANY_PUBLISH_REQUESTS
        bench.plant.script["Call"] = silent
        calls = [peer.send(call("m")) for _ in range(4)]
        assert service_status(await calls[3]) == Status.TOO_MANY_OPERATIONS
        assert not publishes[0].done()
        assert service_status(await peer.read("a")) == Status.TOO_MANY_OPERATIONS


async def test_invariant_9_subscriptions_and_items_have_a_bound(pki: Pki, tmp_path: Path) -> None:
    async with door(pki, tmp_path, subscriptions=1, items=2) as bench:
        peer = await bench.peer()
        subscription = await subscribed(peer, "a", "b")
        assert service_status(await peer.ask(subscribing(peer))) == Status.TOO_MANY_SUBSCRIPTIONS
        one = asking.create_items(subscription, [asking.Item(node("c"), 1, 100.0)], 1, 0)
        assert unpack_from("<I", await peer.ask(one), 32) == (Status.TOO_MANY_MONITORED_ITEMS,)
        assert len(bench.plant.saw("CreateSubscription")) == 1


async def test_invariant_9_who_opens_nothing_is_shut_out_in_time(pki: Pki, tmp_path: Path) -> None:
    async with door(pki, tmp_path, activate_s=0.3) as bench:
        silent_one = await asyncio.open_connection("127.0.0.1", bench.port)
        idle = await bench.client()
        active = await bench.peer("other")
        assert await asyncio.wait_for(silent_one[0].read(), 5) == pack(
            "<4sIIi", b"ERRF", 16, Status.TIMEOUT, -1
        )
        lost = await idle.over()
        assert lost is not None
        assert lost.status == Status.TIMEOUT
        assert statuses(await active.read("a")) == [0]


async def test_invariant_9_half_open_channels_do_not_keep_others_out(pki: Pki, tmp_path: Path) -> None:
    async with door(pki, tmp_path, most_connections=20, most_from_one=1_000) as bench:
        legitimate = await bench.peer("other")
        half = [await asyncio.open_connection("127.0.0.1", bench.port) for _ in range(100)]
        await until(lambda: len(bench.listener._connections) <= 20)
        await bench.peer("client")
        assert statuses(await legitimate.read("a")) == [0]
        assert "opcua_crowded_out" in bench.stage.counted
        for _, writer in half:
            writer.close()


async def test_invariant_9_one_address_has_so_many_connections(pki: Pki, tmp_path: Path) -> None:
    async with door(pki, tmp_path, most_from_one=2) as bench:
        await bench.peer()
        await bench.peer("other")
        reader, _ = await asyncio.open_connection("127.0.0.1", bench.port)
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(), 5) == b""


# hostile peers --------------------------------------------------------------------------------------------


async def test_property_14_a_flood_of_requests_delays_nobody_else(pki: Pki, tmp_path: Path) -> None:
    async with door(pki, tmp_path, requests_per_s=200) as bench:
        flooder, other = await bench.peer(), await bench.peer("other")
        await other.read("a")
        flood = [flooder.send(asking.read([node("f")], at, 0)) for at in range(600)]
        took = []
        for _ in range(20):
            began = perf_counter()
            assert statuses(await other.read("a")) == [0]
            took.append(perf_counter() - began)
            await asyncio.sleep(0.01)
        assert sorted(took)[10] < 0.05
        assert not flood[-1].done(), "the bucket gives 200 a second"
        assert {service_status(await each) for each in flood} <= {0, Status.TOO_MANY_OPERATIONS}


async def test_property_14_who_does_not_read_is_not_read_from(
    pki: Pki, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "HIGH_WATER", 16_384)

    async def much(connection: Connection, request: Request) -> bytes:
        value = b"\x01\x0f" + pack("<i", 60_000) + bytes(60_000)
        return good(request, pack("<i", 1) + value + pack("<i", 0))

    async with door(pki, tmp_path, outstanding=10_000, requests_per_s=100_000) as bench:
        greedy, other = await bench.peer(), await bench.peer("other")
        bench.plant.script["Read"] = much
        greedy.writer.transport.pause_reading()  # type: ignore[attr-defined]
        for at in range(2_000):
            greedy.send(asking.read([node("f")], at, 0))
        await asyncio.sleep(0.5)
        reached = len(bench.plant.saw("Read"))
        assert reached < 1_000, "back-pressure reaches the server"
        took = []
        for _ in range(5):
            began = perf_counter()
            await other.read("a")
            took.append(perf_counter() - began)
        assert min(took) < 0.5, took


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", Status.TCP_MESSAGE_TYPE_INVALID),
        (b"HELF\xff\xff\xff\x7f", Status.TCP_MESSAGE_TOO_LARGE),
        (b"HELF\x04\x00\x00\x00", Status.TCP_MESSAGE_TOO_LARGE),
        (b"MSGF\x20\x00\x00\x00" + bytes(24), Status.TCP_MESSAGE_TYPE_INVALID),
    ],
)
async def test_property_13_garbage_ends_in_err_and_close(
    pki: Pki, tmp_path: Path, data: bytes, status: int
) -> None:
    async with door(pki, tmp_path) as bench:
        reader, writer = await asyncio.open_connection("127.0.0.1", bench.port)
        writer.write(data)
        answer = await asyncio.wait_for(reader.read(), 5)
        assert answer[:4] == b"ERRF"
        assert unpack_from("<I", answer, 8) in {(status,), (Status.TCP_MESSAGE_TOO_LARGE,)}
        assert "event finding" in bench.stage.story


async def test_invariant_4_an_undecodable_request_severs(pki: Pki, tmp_path: Path) -> None:
    async with door(pki, tmp_path) as bench:
        peer = await bench.peer()
        body = asking.read([node("a")], 1, 0)
        peer.send(body[:4] + peer.upstream.token + body[6:] + b"more")
        peer.send(write("a"))
        lost = await peer.over()
        assert lost is not None
        assert lost.status == Status.DECODING_ERROR
        assert bench.plant.saw("Read") == []
        assert bench.plant.saw("Write") == []


async def test_a_hello_to_no_endpoint_is_refused(pki: Pki, tmp_path: Path) -> None:
    async with door(pki, tmp_path) as bench:
        peer = Peer(bench, "client")
        bench.peers.append(peer)
        peer.url = f"opc.tcp://127.0.0.1:{bench.port}/no-such"
        with pytest.raises(ConnectionError):
            await peer.connect()
        lost = await peer.over()
        assert lost is not None
        assert lost.status == Status.TCP_ENDPOINT_URL_INVALID


async def test_channels_are_renewed_while_requests_are_on_their_way(pki: Pki, tmp_path: Path) -> None:
    async with door(pki, tmp_path) as bench:
        peer = await bench.peer()
        for _ in range(3):
            asked = [peer.send(asking.read([node("a")], at, 0)) for at in range(20)]
            await peer.renew()
            asked += [peer.send(asking.read([node("a")], at, 0)) for at in range(20)]
            assert {service_status(await each) for each in asked} == {0}


# invariant 7 ----------------------------------------------------------------------------------------------


async def test_invariant_7_revocation_ends_channels_and_sessions_within_a_second(
    pki: Pki, tmp_path: Path
) -> None:
    async with door(pki, tmp_path) as bench:
        victim, away, other = await bench.peer(), await bench.peer(), await bench.peer("other")
        await away.close()
        began = perf_counter()
        inbox = Inbox(bench.applications.folder)
        ours = next(e for e in inbox.entries() if e.der == credentials("client").leaf)
        inbox.reject(ours)
        lost = await victim.over()
        assert perf_counter() - began < 1
        assert lost is not None
        assert lost.status == Status.SECURITY_CHECKS_FAILED
        await until(lambda: len(bench.listener.sessions) == 1, 1)
        await until(lambda: len(bench.plant.sessions) == 1, 1)
        assert statuses(await other.read("a")) == [0]


async def test_invariant_7_a_change_of_policy_ends_live_items_within_a_second(
    pki: Pki, tmp_path: Path
) -> None:
    async with door(pki, tmp_path) as bench:
        peer, other = await bench.peer(), await bench.peer("other")
        await subscribed(peer, "a", "x")
        await subscribed(other, "a")
        deny(bench, "x")
        began = perf_counter()
        bench.stage.engine.revision = "rev-2"
        await peer.over()
        assert perf_counter() - began < 1
        await until(lambda: len(bench.plant.sessions) == 1, 1)
        assert statuses(await other.read("a")) == [0]
        assert "denied opcua.create_monitored_items default" in bench.stage.story


async def test_invariant_7_facts_that_change_count_too(pki: Pki, tmp_path: Path) -> None:
    async with door(pki, tmp_path) as bench:
        peer = await bench.peer()
        await subscribed(peer, "x")
        deny(bench, "x")
        bench.stage.door.epoch.grow()
        await peer.over()


async def test_invariant_7_an_item_made_while_policy_changed_is_decided_again(
    pki: Pki, tmp_path: Path
) -> None:
    async def slow(connection: Connection, request: Request) -> bytes:
        await asyncio.sleep(0.4)
        return good(request, pack("<i", 1) + pack("<IIdI", 0, 7, 100.0, 1) + b"\0\0\0" + pack("<i", 0))

    async with door(pki, tmp_path) as bench:
        peer = await bench.peer()
        answer = await peer.ask(subscribing(peer))
        bench.plant.script["CreateMonitoredItems"] = slow
        (subscription,) = unpack_from("<I", answer, 28)
        peer.send(asking.create_items(subscription, [asking.Item(node("x"), 1, 100.0)], 1, 0))
        await until(lambda: bench.plant.saw("CreateMonitoredItems"))
        deny(bench, "x")
        bench.stage.engine.revision = "rev-2"
        await peer.over()


async def test_stopping_tells_client_and_server(pki: Pki, tmp_path: Path) -> None:
    async with door(pki, tmp_path) as bench:
        peer = await bench.peer()
        await bench.listener.stop()
        lost = await peer.over()
        assert lost is not None
        assert lost.status == Status.SHUTDOWN
        await until(lambda: not bench.plant.sessions)


async def test_a_quiet_session_is_kept_alive_at_the_server(pki: Pki, tmp_path: Path) -> None:
    async with door(pki, tmp_path) as bench:
        peer = await bench.peer()
        (link,) = bench.links.open_now
        link.timeout_ms = 200.0
        before = len(bench.plant.seen)
        await until(lambda: len(bench.plant.seen) >= before + 2)
        assert "answered" in bench.stage.story[-1], "through the passage, and on record"
        assert statuses(await peer.read("a")) == [0]


async def test_a_server_that_renames_its_nodes_ends_the_session(pki: Pki, tmp_path: Path) -> None:
    async def renamed(connection: Connection, request: Request) -> bytes:
        value = b"\x01\x8c" + pack("<i", 1) + pack("<i", 7) + b"urn:new"
        return good(request, pack("<i", 1) + value + pack("<i", 0))

    async with door(pki, tmp_path) as bench:
        peer = await bench.peer()
        bench.plant.script["Read"] = renamed
        (link,) = bench.links.open_now
        link.timeout_ms = 100.0
        await until(lambda: len(bench.listener.sessions) == 0)
        assert service_status(await peer.read("a")) == Status.SESSION_ID_INVALID


async def test_invariant_9_sessions_cannot_be_asked_for_without_end(
    pki: Pki, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "SESSIONS_PER_SECOND", 3.0)
    async with door(pki, tmp_path) as bench:
        peer = await bench.client()
        told = [await peer.create(nonce=b"short") for _ in range(5)]
        assert [each.status for each in told if isinstance(each, login.Refused)][-1] == (
            Status.TOO_MANY_OPERATIONS
        )


async def test_the_channel_to_the_server_is_renewed_under_load(pki: Pki, tmp_path: Path) -> None:
    async with door(pki, tmp_path) as bench:
        bench.plant.limits = replace(bench.plant.limits, most_lifetime_ms=1_000)
        peer = await bench.peer()
        (connection,) = bench.plant.connections
        tokens_seen = set()
        until_s = perf_counter() + 3.5
        while perf_counter() < until_s:
            assert statuses(await peer.read("a")) == [0]
            newest = connection.channel._pending or connection.channel._token
            assert newest is not None
            tokens_seen.add(newest.id)
        assert len(tokens_seen) >= 4
        assert bench.plant.connections == {connection}


async def test_a_server_with_another_certificate_than_the_pinned_one_is_none(
    pki: Pki, tmp_path: Path
) -> None:
    async with door(pki, tmp_path) as bench:
        (tmp_path / "server.der").write_bytes(credentials("impostor").leaf)
        peer = await bench.client()
        await peer.create()
        refused = await peer.activate()
        assert isinstance(refused, login.Refused)
        assert refused.status == Status.SERVER_NOT_CONNECTED
        assert bench.plant.sessions == {}
        (tmp_path / "server.der").write_bytes(bench.plant.mine.leaf)
        await asyncio.sleep(1.1)
        assert isinstance(await peer.activate(), bytes), "the file is read anew: nobody need start again"


async def test_who_comes_for_a_server_that_is_away_is_told_at_once(pki: Pki, tmp_path: Path) -> None:
    async def deaf(connection: Connection, request: Request) -> None:
        await asyncio.sleep(10)

    async with door(pki, tmp_path, timeout_ms=100) as bench:
        bench.plant.script["Read"] = deaf
        first, second = await bench.client(), await bench.client("other")
        await first.create()
        began = perf_counter()
        told = await first.activate()
        assert isinstance(told, login.Refused)
        assert perf_counter() - began < 2, "the question at the beginning has the asset's time as well"
        await second.create()
        began = perf_counter()
        assert isinstance(await second.activate(), login.Refused)
        assert perf_counter() - began < 2


async def test_a_session_that_was_left_behind_makes_room_for_its_own_application_alone(
    pki: Pki, tmp_path: Path
) -> None:
    async with door(pki, tmp_path, server={"sessions": 2}) as bench:
        before = await bench.peer()
        await before.close()
        await until(lambda: all(each.client is None for each in bench.listener.sessions))
        other = await bench.client("other")
        await other.create()
        assert isinstance(await other.activate(), login.Refused), "it may yet come back"
        again = await bench.peer()
        assert statuses(await again.read("a")) == [0]
        assert sorted(each.active for each in bench.listener.sessions) == [False, True]


async def test_invariant_9_a_long_request_is_decided_in_slices_and_writes_have_a_bound(
    pki: Pki, tmp_path: Path
) -> None:
    names = [f"n{at}" for at in range(400)]
    async with door(pki, tmp_path) as bench:
        deny(bench, "n7")
        peer = await bench.peer()
        told = statuses(await peer.read(*names))
        assert [at for at, status in enumerate(told) if status] == [7]
        assert statuses(await peer.read(*names)) == told
        answer = await peer.write(*names[: bounds.MOST_ACTS + 1])
        assert service_status(answer) == Status.TOO_MANY_OPERATIONS
        assert bench.plant.saw("Write") == []


async def test_a_batch_that_must_go_whole_goes_not_at_all_where_one_id_is_foreign(
    pki: Pki, tmp_path: Path
) -> None:
    async with door(pki, tmp_path, server={"whole_batches": True}) as bench:
        peer = await bench.peer()
        refresh = b"\x01\x00\xf9\x07" + b"\x01\x00\x23\x0f" + pack("<iBI", 1, 7, 4_711)
        other = node("o") + node("m") + pack("<i", 0)
        answer = await peer.ask(asking.header("Call", 1, 0) + pack("<i", 2) + refresh + other)
        assert not service_status(answer)
        assert unpack_from("<I", answer, 32) == (Status.SUBSCRIPTION_ID_INVALID,)
        assert bench.plant.saw("Call") == []
