"""Both ends of a channel against each other: opening, messages, renewal, the order of things."""

import pytest

from gateway.model.asset import OpcuaMode, OpcuaPolicy
from gateway.wire.opcua.events import Acknowledged, Closed, Hello, Message, Opened
from tests.opcua import MODES, POLICIES, URL, Pair, admitted, at, credentials

each_policy = pytest.mark.parametrize("policy", POLICIES)
each_mode = pytest.mark.parametrize("mode", MODES)


@each_policy
@each_mode
def test_a_channel_opens_and_carries_messages(policy: OpcuaPolicy, mode: OpcuaMode) -> None:
    pair = Pair(policy, mode)
    hello, acknowledged, opened, got = pair.connect()
    assert hello == Hello(URL)
    assert acknowledged == Acknowledged()
    assert opened == Opened(
        policy=policy, mode=mode, application=admitted(), renewed=False, lifetime_ms=3_600_000
    )
    assert isinstance(got, Opened)
    assert (got.policy, got.mode, got.renewed) == (policy, mode, False)
    for size in [*range(70), 1000, 8000, 65_000, 70_000, 1_000_000]:
        body = bytes(range(256)) * (size // 256 + 1)
        assert pair.asked(body[:size]) == [Message(1, body[:size])]
        assert pair.answered(body[:size]) == [Message(1, body[:size])]
    assert pair.server.receive(pair.client.close(at()), at()) == [Closed()]
    assert pair.server.over


@each_policy
@pytest.mark.parametrize("bits", [(3072, 2048), (2048, 4096), (4096, 3072)])
def test_keys_of_every_size_open_a_channel(policy: OpcuaPolicy, bits: tuple[int, int]) -> None:
    pair = Pair(policy, client=credentials("wide", bits[0]), server=credentials("wide", bits[1]))
    pair.connect()
    assert pair.talks()
