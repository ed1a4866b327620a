"""The channel and the handshake of sessions against asyncua, at both ends, under every policy and mode."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from asyncua import Client, Server, ua
from asyncua.common.utils import Buffer
from asyncua.crypto import security_policies
from asyncua.crypto.uacrypto import CertProperties
from asyncua.ua.ua_binary import nodeid_from_binary, struct_from_binary, struct_to_binary
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gateway.model.asset import OpcuaMode, OpcuaPolicy
from gateway.wire.opcua import login, messages, offers, tokens
from gateway.wire.opcua.client_channel import ClientChannel
from gateway.wire.opcua.events import Acknowledged, ChannelLimits, Event, Hello, Lost, Message, Opened
from gateway.wire.opcua.messages import (
    ActivateSessionRequest,
    ApplicationDescription,
    CloseSessionRequest,
    CloseSessionResponse,
    CreateSessionRequest,
    FindServersRequest,
    FindServersResponse,
    GetEndpointsRequest,
    GetEndpointsResponse,
    ResponseHeader,
)
from gateway.wire.opcua.request import Request, read_request
from gateway.wire.opcua.security import Credentials, thumbprint
from gateway.wire.opcua.server_channel import ServerChannel
from gateway.wire.opcua.status import Status
from tests.opcua import MODES, OFFERS, POLICIES, admitted, credentials
from tests.pki import moment

each_policy = pytest.mark.parametrize("policy", POLICIES)
each_mode = pytest.mark.parametrize("mode", MODES)
THEIR_POLICIES: dict[OpcuaPolicy, type[security_policies.SecurityPolicy]] = {
    OpcuaPolicy.BASIC256SHA256: security_policies.SecurityPolicyBasic256Sha256,
    OpcuaPolicy.AES128_SHA256_RSAOAEP: security_policies.SecurityPolicyAes128Sha256RsaOaep,
    OpcuaPolicy.AES256_SHA256_RSAPSS: security_policies.SecurityPolicyAes256Sha256RsaPss,
}
THEIR_MODES = {
    OpcuaMode.SIGN: ua.MessageSecurityMode.Sign,
    OpcuaMode.SIGN_AND_ENCRYPT: ua.MessageSecurityMode.SignAndEncrypt,
}
LIMITS = ChannelLimits(least_between_ms=0)
READ = 631


@dataclass
class Door:
    """A server of ours: discovery and sessions; it answers a Read with no result."""

    mine: Credentials
    port: int = 0
    seen: list[Event | tokens.Refusal | tokens.User] = field(default_factory=list)
    sessions: dict[bytes, tokens.Session] = field(default_factory=dict)
    kinds = offers.users(anonymous=True, passwords=True, certificates=True)

    @property
    def url(self) -> str:
        return f"opc.tcp://127.0.0.1:{self.port}/press"

    @property
    def application(self) -> ApplicationDescription:
        return ApplicationDescription(uri="urn:test:server", name="door", urls=(self.url,))

    @property
    def endpoints(self) -> tuple[messages.EndpointDescription, ...]:
        return offers.endpoints(self.url, self.application, self.mine.sent, OFFERS, self.kinds)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        channel = ServerChannel(
            self.mine, OFFERS, LIMITS, os.urandom, int.from_bytes(os.urandom(3)) + 1, lambda *_: admitted()
        )
        while data := await reader.read(65536):
            for event in channel.receive(data, moment()):
                self.seen.append(event)
                writer.write(channel.take())
                if isinstance(event, Message):
                    writer.write(channel.message(event.request_id, self.answer(channel, event), moment()))
            writer.write(channel.take())
            await writer.drain()
            if channel.over:
                break
        writer.close()

    def answer(self, channel: ServerChannel, event: Message) -> bytes:
        match messages.type_id(event.body):
            case 428:
                asked = messages.read(event.body, GetEndpointsRequest)
                assert isinstance(asked, GetEndpointsRequest)
                return messages.encode(
                    GetEndpointsResponse(
                        header=ResponseHeader(handle=asked.header.handle), endpoints=self.endpoints
                    )
                )
            case 422:
                found = messages.read(event.body, FindServersRequest)
                assert isinstance(found, FindServersRequest)
                header = ResponseHeader(handle=found.header.handle)
                return messages.encode(FindServersResponse(header=header, servers=(self.application,)))
            case 461:
                create = messages.read(event.body, CreateSessionRequest)
                assert isinstance(create, CreateSessionRequest)
                made = tokens.create(create, channel, self.endpoints, 0, os.urandom, moment())
                if isinstance(made, tokens.Refusal):
                    return self.refuse(create.header.handle, made)
                self.sessions[made.session.token] = made.session
                return made.answer
            case 467:
                return self.activate(channel, event.body)
            case 473:
                close = messages.read(event.body, CloseSessionRequest)
                assert isinstance(close, CloseSessionRequest)
                return messages.encode(CloseSessionResponse(ResponseHeader(handle=close.header.handle)))
            case _:
                handle = int.from_bytes(event.body[-20:-16], "little")
                return messages.fault(handle, Status.SERVICE_UNSUPPORTED, 0)

    def activate(self, channel: ServerChannel, body: bytes) -> bytes:
        request = messages.read(body, ActivateSessionRequest)
        assert isinstance(request, ActivateSessionRequest)
        session = self.sessions[request.header.token]
        activation = session.check(request, channel, self.kinds, os.urandom)
        if isinstance(activation, tokens.Refusal):
            return self.refuse(request.header.handle, activation)
        self.seen.append(activation.user)
        answer = session.commit(activation, None, channel, os.urandom, moment())
        return self.refuse(request.header.handle, answer) if isinstance(answer, tokens.Refusal) else answer

    def refuse(self, handle: int, refusal: tokens.Refusal) -> bytes:
        self.seen.append(refusal)
        return messages.fault(handle, refusal.status, 0)


@asynccontextmanager
async def door(mine: Credentials | None = None) -> AsyncIterator[Door]:
    served = Door(mine or credentials("server"))
    server = await asyncio.start_server(served.serve, "127.0.0.1", 0)
    served.port = server.sockets[0].getsockname()[1]
    async with server:
        yield served
        server.close()


def files(folder: Path, who: str | Credentials) -> tuple[Path, Path]:
    """Certificate and key as asyncua wants them."""
    mine = credentials(who) if isinstance(who, str) else who
    name = thumbprint(mine.leaf).hex()
    certificate, key = folder / f"{name}.der", folder / f"{name}.pem"
    certificate.write_bytes(mine.leaf)
    key.write_bytes(mine.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return certificate, key


async def their_client(
    served: Door,
    folder: Path,
    policy: OpcuaPolicy,
    mode: OpcuaMode,
    *,
    pinned: bool = True,
    who: Credentials | None = None,
) -> Client:
    client = Client(served.url, timeout=10)
    client.application_uri = "urn:test:client"
    certificate, key = files(folder, who or "client")
    server = CertProperties(files(folder, served.mine)[0]) if pinned else None
    await client.set_security(
        THEIR_POLICIES[policy], certificate, key, server_certificate=server, mode=THEIR_MODES[mode]
    )
    return client


@each_policy
@each_mode
async def test_a_client_of_asyncua_opens_a_channel_and_a_session(
    policy: OpcuaPolicy, mode: OpcuaMode, tmp_path: Path
) -> None:
    async with door() as served:
        client = await their_client(served, tmp_path, policy, mode, pinned=False)
        client.set_user("operator")
        client.set_password("geheim")
        await client.connect_socket()
        await client.send_hello()
        await client.open_secure_channel()
        await client.create_session()
        await client.activate_session(username="operator", password="geheim")
        for _ in range(3):
            await client.open_secure_channel(renew=True)
            with pytest.raises(ua.UaStatusCodeError):
                await client.nodes.server.read_browse_name()
        await client.close_session()
        await client.close_secure_channel()
        client.disconnect_socket()
        assert any(event == Hello(served.url) for event in served.seen)
        opened = [event for event in served.seen if isinstance(event, Opened)]
        assert opened[0].policy is None, "GetEndpoints came without security"
        assert [(each.policy, each.mode, each.renewed) for each in opened[1:]] == [
            (policy, mode, renewed) for renewed in (False, True, True, True)
        ]
        users = [event for event in served.seen if isinstance(event, tokens.Named)]
        assert [(user.name, user.secret.text, user.secret.sound) for user in users] == [
            ("operator", "geheim", True)
        ]
        assert not [event for event in served.seen if isinstance(event, Lost | tokens.Refusal)]


async def test_a_client_of_asyncua_comes_with_a_certificate_of_its_user(tmp_path: Path) -> None:
    async with door() as served:
        client = await their_client(
            served, tmp_path, OpcuaPolicy.AES256_SHA256_RSAPSS, OpcuaMode.SIGN_AND_ENCRYPT
        )
        certificate, key = files(tmp_path, "user")
        await client.load_client_certificate(str(certificate))
        await client.load_private_key(key)
        await client.connect_socket()
        await client.send_hello()
        await client.open_secure_channel()
        await client.create_session()
        await client.activate_session(certificate=client.user_certificate)
        assert served.seen[-1] == tokens.Certified(credentials("user").leaf)
        client.disconnect_socket()


@each_policy
async def test_keys_of_more_than_2048_bits_and_chains_pass_between_asyncua_and_us(
    policy: OpcuaPolicy, tmp_path: Path
) -> None:
    """Such keys need a second byte for the size of the padding; the chain stands behind the leaf."""
    wide = credentials("wide", 3072)
    chained = Credentials((wide.leaf, credentials("other").leaf), wide.key)
    async with door(chained) as served:
        client = await their_client(served, tmp_path, policy, OpcuaMode.SIGN_AND_ENCRYPT, who=wide)
        await client.connect_socket()
        await client.send_hello()
        await client.open_secure_channel()
        await client.create_session()
        await client.activate_session()
        assert served.seen[-1] == tokens.Anonymous()
        client.disconnect_socket()


async def test_a_long_request_of_asyncua_comes_in_chunks(tmp_path: Path) -> None:
    async with door() as served:
        client = await their_client(served, tmp_path, OpcuaPolicy.BASIC256SHA256, OpcuaMode.SIGN_AND_ENCRYPT)
        await client.connect_socket()
        await client.send_hello()
        await client.open_secure_channel()
        await client.create_session()
        await client.activate_session()
        nodes = [client.get_node(f"ns=2;s=Tank.Level.{number:08}") for number in range(9_000)]
        with pytest.raises(ua.UaStatusCodeError):
            await client.read_values(nodes)
        asked = served.seen[-1]
        assert isinstance(asked, Message)
        request = read_request(asked.body)
        assert isinstance(request, Request)
        assert request.items == 9_000
        client.disconnect_socket()


async def test_a_long_answer_of_asyncua_comes_in_chunks(tmp_path: Path) -> None:
    async with their_server(tmp_path) as (_, port):
        visitor = Visitor(
            f"opc.tcp://127.0.0.1:{port}/", port, OpcuaPolicy.BASIC256SHA256, OpcuaMode.SIGN_AND_ENCRYPT
        )
        upstream = await visitor.log_in(None)
        asked = ua.ReadRequest()
        asked.RequestHeader.AuthenticationToken = nodeid_from_binary(Buffer(upstream.token))
        status = ua.ReadValueId(NodeId=ua.NodeId(2256), AttributeId=ua.AttributeIds.Value)  # type: ignore[arg-type]
        asked.Parameters.NodesToRead = [status] * 5_000
        body = await visitor.ask(struct_to_binary(asked))
        assert len(body) > 5 * 65_535
        answer = struct_from_binary(ua.ReadResponse, Buffer(body))
        assert len(answer.Results) == 5_000


class Visitor:
    """A client of ours."""

    def __init__(self, url: str, port: int, policy: OpcuaPolicy, mode: OpcuaMode) -> None:
        mine, theirs = credentials("client"), credentials("server")
        self.channel = ClientChannel(mine, theirs.leaf, policy, mode, url, LIMITS, os.urandom)
        self.url, self.port = url, port

    async def connect(self) -> None:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.writer.write(self.channel.hello())
        assert isinstance(await self.event(), Acknowledged)
        self.writer.write(self.channel.open(moment()))
        assert isinstance(await self.event(), Opened)

    async def event(self) -> Event:
        while True:
            data = await asyncio.wait_for(self.reader.read(65536), 10)
            assert data
            for event in self.channel.receive(data, moment()):
                return event

    async def ask(self, body: bytes) -> bytes:
        request_id = self.channel.next_id()
        self.writer.write(self.channel.message(request_id, body, moment()))
        event = await self.event()
        assert isinstance(event, Message)
        assert event.request_id == request_id
        return event.body

    async def log_in(self, account: login.Account | None) -> login.Upstream:
        await self.connect()
        nonce = os.urandom(32)
        us = ApplicationDescription(uri="urn:test:client", kind=1)
        asked = login.create(self.channel, us, self.url, "gateway", nonce, 60_000.0, 0, moment())
        upstream = login.created(await self.ask(asked), self.channel, nonce)
        assert isinstance(upstream, login.Upstream), upstream
        ask = login.activate(self.channel, upstream, account, moment())
        assert isinstance(ask, bytes), ask
        assert isinstance(login.activated(await self.ask(ask)), bytes)
        return upstream


@asynccontextmanager
async def their_server(folder: Path) -> AsyncIterator[tuple[Server, int]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = Server()
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}/")
    await server.set_application_uri("urn:test:server")
    certificate, key = files(folder, "server")
    await server.load_certificate(str(certificate))
    await server.load_private_key(str(key))
    server.set_security_policy(
        [
            getattr(
                ua.SecurityPolicyType, f"{THEIR_POLICIES[policy].URI.split('#')[1].replace('_', '')}_{mode}"
            )
            for policy in POLICIES
            for mode in MODES
        ]
    )
    async with server:
        yield server, port


async def test_a_server_of_asyncua_gives_sessions_under_every_policy_and_mode(tmp_path: Path) -> None:
    async with their_server(tmp_path) as (_, port):
        for policy in POLICIES:
            for mode in MODES:
                for account in (None, login.Account("operator", "geheim")):
                    await visit(port, policy, mode, account)


async def visit(port: int, policy: OpcuaPolicy, mode: OpcuaMode, account: login.Account | None) -> None:
    visitor = Visitor(f"opc.tcp://127.0.0.1:{port}/", port, policy, mode)
    upstream = await visitor.log_in(account)
    visitor.writer.write(visitor.channel.renew(moment()))
    event = await visitor.event()
    assert isinstance(event, Opened)
    assert event.renewed
    closed = messages.read(await visitor.ask(login.close(upstream.token, moment())), CloseSessionResponse)
    assert isinstance(closed, CloseSessionResponse)
    visitor.writer.write(visitor.channel.close(moment()))
    visitor.writer.close()
