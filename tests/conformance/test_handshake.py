"""Modbus/TCP Security §6, §8.2, §10.1, §10.2.3, §10.3 to §10.5: what is said before the first request."""

import asyncio
import ssl
from collections.abc import Callable
from struct import pack

import pytest

from gateway.config.settings import Listener, Security
from gateway.identity.contexts import client_context
from gateway.model.identity import Identity
from gateway.model.ulid import Ulids
from gateway.relay.listener import TlsListener
from tests.interop.identity.peers import Door
from tests.interop.plants import ScriptedPlant
from tests.interop.test_relay import Client, read, value
from tests.interop.test_tls import VERSIONS, Gate, gate, now
from tests.pki import Credential, Pki
from tests.scenarios.stage import Stage

from .hello import (
    CERTIFICATE,
    CERTIFICATE_REQUEST,
    FATAL,
    HELLO_DONE,
    MAX_FRAGMENT,
    RENEGOTIATION,
    SSL_3_0,
    TLS_1_0,
    TLS_1_1,
    TLS_1_2,
    Conversation,
    client_hello,
    extension,
    offer,
    records,
    vector,
)
from .peer import Peer, first_words, openssl

ECDHE_ECDSA, STATIC_RSA, CBC_SHA = 0xC02B, 0x002F, 0xC00A
SCSV = 0x00FF
PROTOCOL_VERSION, HANDSHAKE_FAILURE = 70, 40
NO_CERTIFICATE = records(b"\x0b" + vector(3, vector(3, b"")), TLS_1_2)
"The Certificate message of a client that has none (RFC 5246 §7.4.6)."
both_versions = pytest.mark.parametrize("version", VERSIONS, ids=["1.2", "1.3"])


async def serves(pki: Pki, hmi: Credential, version: ssl.TLSVersion) -> None:
    """A register is read over that version."""
    async with gate(pki) as here:
        client = await here.connect(hmi, version)
        assert await client.ask(read(1, 7)) == value(7)
        assert next(iter(here.listener._connections)).version() == version.name[-3:].replace("_", ".")
        client.close()


@both_versions
async def test_r_01_tls_1_2_or_newer_carries_modbus(
    pki: Pki, hmi: Credential, version: ssl.TLSVersion
) -> None:
    await serves(pki, hmi, version)
    async with gate(pki) as here:
        reader, writer = await asyncio.open_connection("127.0.0.1", here.listener.port)
        writer.write(read(1, 7))
        async with asyncio.timeout(5):
            assert (await reader.read())[:1] in (b"", b"\x15"), "plaintext gets an alert at most"
        assert here.plant.device.seen == []


@both_versions
async def test_r_32_tls_1_2_and_1_3_are_provided(pki: Pki, hmi: Credential, version: ssl.TLSVersion) -> None:
    await serves(pki, hmi, version)


async def test_r_33_handshakes_and_alerts_follow_rfc_5246(pki: Pki, hmi: Credential) -> None:
    async with gate(pki) as here:
        port = here.listener.port
        whole = await offer(port, records(client_hello(ECDHE_ECDSA)))
        assert whole.kinds == [2, 11, 12, 13, 14], "§7.3: the order of the server's messages"
        assert whole.hello.version == TLS_1_2
        pieces = await offer(port, records(client_hello(ECDHE_ECDSA), size=7))
        assert pieces.kinds == whole.kinds, "§6.2.1: a message may be spread over records"
        strange = extension(0xABCD, b"?" * 40)
        unknown = await offer(port, records(client_hello(0x0A0A, ECDHE_ECDSA, 0xFAFA, more=strange)))
        assert unknown.hello.suites == (ECDHE_ECDSA,), "§7.4.1.2: unknown suites are ignored"
        assert 0xABCD not in unknown.hello.extensions, "§7.4.1.4: so are unknown extensions"
        short, untimely = records(b"\x01" + vector(3, b"\x03\x03")), records(b"\x0e" + vector(3, b""))
        early = b"\x17\x03\x03" + vector(2, read(1, 7))
        for broken in (short, untimely, early):
            flight = await offer(port, broken)
            assert flight.refused, "§7.2.2: what cannot be read ends in a fatal alert"

        def spoiled() -> None:
            with Peer(port, here.context(hmi, ssl.TLSVersion.TLSv1_2)) as peer:
                peer.handshake()
                assert peer.ask(read(1, 7))[7:] == value(7)
                with pytest.raises(ssl.SSLError, match=r"bad record mac"):
                    peer.spoil()

        await asyncio.to_thread(spoiled)


@pytest.mark.parametrize("version", [TLS_1_1, TLS_1_0, SSL_3_0], ids=["TLS-1.1", "TLS-1.0", "SSL-3.0"])
async def test_r_34_no_downgrade(pki: Pki, version: int) -> None:
    async with gate(pki) as here:
        hello = client_hello(ECDHE_ECDSA, CBC_SHA, STATIC_RSA, version=version)
        flight = await offer(here.listener.port, records(hello, version))
        assert flight.refused
        assert flight.alert in ((FATAL, PROTOCOL_VERSION), (FATAL, HANDSHAKE_FAILURE))
        newest = await offer(here.listener.port, records(client_hello(ECDHE_ECDSA, version=TLS_1_2), version))
        assert newest.hello.version == TLS_1_2, "the record's own version is no offer (RFC 5246 §E.1)"


async def test_r_35_no_ssl_2(pki: Pki) -> None:
    """SSL 1.0 was never published, so nobody can offer it; its hello is the one of SSL 2.0 with a 1 in it."""
    for version in (0x0002, 0x0001):
        suites = bytes.fromhex("010080 0700c0 030080 060040")
        body = b"\x01" + pack(">HHHH", version, len(suites), 0, 16) + suites + bytes(16)
        async with gate(pki) as here:
            flight = await offer(here.listener.port, pack(">H", 0x8000 | len(body)) + body)
            assert flight.refused
            assert flight.alert == (FATAL, PROTOCOL_VERSION)


async def mutual(pki: Pki, fresh_pki: Pki, hmi: Credential, version: ssl.TLSVersion) -> None:
    """Each side shows a certificate, and each side refuses the other without one that it trusts."""
    async with gate(pki) as here:
        assert await here.try_to_read(hmi, version) == value(1)
        caller = next(iter(here.listener._connections)).caller
        assert caller is not None
        assert caller.identity.subject.endswith("/plant/conformance-hmi")
        seen = len(here.plant.device.seen)
        with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
            await here.try_to_read(None, version)
        stranger = fresh_pki.issue("modbus-client", "plant", "conformance-hmi", "operator")
        with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
            await here.try_to_read(stranger, version)
        suspicious = ssl.create_default_context(cafile=str(fresh_pki.root))
        suspicious.load_cert_chain(hmi.cert, hmi.key)
        with pytest.raises(ssl.SSLCertVerificationError):
            await asyncio.open_connection("127.0.0.1", here.listener.port, ssl=suspicious)
        assert len(here.plant.device.seen) == seen


@both_versions
async def test_r_02_both_sides_are_authenticated(
    pki: Pki, fresh_pki: Pki, hmi: Credential, version: ssl.TLSVersion
) -> None:
    await mutual(pki, fresh_pki, hmi, version)
    section = Listener(name="modbus", zone="plant", units={1: "plc-1"})
    assert section.tls is Security.MUTUAL, "what a site gets that says nothing"


@both_versions
async def test_r_06_no_session_without_mutual_authentication(
    pki: Pki, fresh_pki: Pki, hmi: Credential, version: ssl.TLSVersion
) -> None:
    await mutual(pki, fresh_pki, hmi, version)


@both_versions
async def test_r_41_the_mutual_handshake_is_supported(
    pki: Pki, fresh_pki: Pki, hmi: Credential, version: ssl.TLSVersion
) -> None:
    await mutual(pki, fresh_pki, hmi, version)


async def test_r_05_mbap_is_unchanged_inside_tls(pki: Pki, hmi: Credential) -> None:
    """The same ADUs over plain TCP to the device, and over TLS through the gateway."""
    requests = [read(0x0102, 3, 5), read(0xFFFF, 0, 125), read(0, 999)]

    async def answers(client: Client) -> list[bytes]:
        found = []
        for request in requests:
            client.send(request)
            head = await client.reader.readexactly(7)
            found.append(head + await client.reader.readexactly(int.from_bytes(head[4:6], "big") - 1))
        client.close()
        return found

    async with ScriptedPlant() as plain, gate(pki) as here:
        direct = await answers(Client(*await asyncio.open_connection("127.0.0.1", plain.port)))
        assert await answers(await here.connect(hmi)) == direct, "byte for byte what port 502 says"
        assert plain.device.seen == requests
        # The gateway has ids of its own toward the device, as any proxy that shares a connection must.
        assert [seen[2:] for seen in here.plant.device.seen] == [request[2:] for request in requests]


@pytest.mark.needs("openssl")
async def test_r_07_the_server_sends_certificate_request(
    pki: Pki, hmi: Credential, component: Callable[[str], str]
) -> None:
    async with gate(pki) as here:
        flight = await offer(here.listener.port, records(client_hello(ECDHE_ECDSA)))
        assert CERTIFICATE_REQUEST in flight.kinds
        program, port = component("openssl"), here.listener.port
        _, said = await asyncio.to_thread(
            openssl, program, port, pki, hmi, read(1, 7), 11, "-tls1_3", "-msg", "-msgfile", "/dev/stderr"
        )
        assert "CertificateRequest" in said


@both_versions
async def test_r_08_a_client_that_is_asked_sends_its_certificate(pki: Pki, version: ssl.TLSVersion) -> None:
    """Our own context of a client, before a server of the product's that asks."""
    server = pki.issue("gateway-server", "plant", f"r08-server-{version.name.lower()}")
    own = pki.issue("gateway-server", "plant", f"r08-client-{version.name.lower()}")
    context = client_context(pki.anchors("plant"), own.cert, own.key)
    context.minimum_version = context.maximum_version = version

    def call(port: int) -> None:
        with Peer(port, context) as peer:
            peer.handshake()
            peer.ask(b"?")

    with Door(server, pki.trust("plant")) as door:
        await asyncio.to_thread(call, door.port)
        assert isinstance(seen := door.seen[0], Identity)
        assert seen.subject.endswith(f"/gateway/r08-client-{version.name.lower()}")


async def refused_on_the_wire(here: Gate) -> bytes:
    """A TLS 1.2 handshake without a certificate, every byte in the clear; the session id that it had."""
    conversation = await Conversation.open(here.listener.port)
    try:
        begun = await conversation.say(records(client_hello(ECDHE_ECDSA)))
        assert begun.kinds[-1] == HELLO_DONE
        answer = await conversation.say(NO_CERTIFICATE)
        assert answer.alert == (FATAL, HANDSHAKE_FAILURE)
        assert answer.closed
    finally:
        conversation.close()
    assert here.plant.device.seen == []
    return begun.hello.session


def refused_with(here: Gate, version: ssl.TLSVersion, alert: str) -> None:
    """The same with a whole TLS library: the alert has arrived, and nothing after it."""
    with Peer(here.listener.port, here.context(None, version)) as peer:
        # Over TLS 1.2 the handshake itself fails, over 1.3 the client learns it from its first read.
        with pytest.raises(ssl.SSLError, match=alert):
            peer.begin()
        assert peer.ended


async def without_certificate(pki: Pki) -> None:
    """Both versions end in a fatal alert."""
    async with gate(pki) as here:
        await refused_on_the_wire(here)
        await asyncio.to_thread(refused_with, here, ssl.TLSVersion.TLSv1_2, "handshake failure")
        await asyncio.to_thread(refused_with, here, ssl.TLSVersion.TLSv1_3, "certificate required")
        assert here.plant.device.seen == []


async def test_r_10_without_certificate_a_fatal_alert_and_the_end(pki: Pki) -> None:
    await without_certificate(pki)


async def test_r_44_a_handshake_without_client_certificate_is_rejected(pki: Pki) -> None:
    await without_certificate(pki)


async def test_r_11_nothing_is_resumed_after_a_fatal_alert(pki: Pki, hmi: Credential) -> None:
    async with gate(pki) as here:
        old = await refused_on_the_wire(here)
        again = await offer(here.listener.port, records(client_hello(ECDHE_ECDSA, session=old)))
        assert again.hello.session != old
        assert CERTIFICATE in again.kinds, "a whole new handshake"

        def spoil_then_resume() -> bool:
            context = here.context(hmi, ssl.TLSVersion.TLSv1_2)
            with Peer(here.listener.port, context) as peer:
                peer.handshake()
                assert peer.ask(read(1, 1))[7:] == value(1)
                session = peer.session
                with pytest.raises(ssl.SSLError, match=r"bad record mac"):
                    peer.spoil()
            with Peer(here.listener.port, context, session) as peer:
                peer.handshake()
                return peer.resumed

        assert await asyncio.to_thread(spoil_then_resume) is False


async def resumption(
    here: Gate, credential: Credential, version: ssl.TLSVersion
) -> tuple[bool, bytes, bytes]:
    """Whether a second connection resumed the first, and what one read brought on each."""

    def twice() -> tuple[bool, bytes, bytes]:
        context = here.context(credential, version)
        with Peer(here.listener.port, context) as peer:
            peer.handshake()
            first = peer.ask(read(1, 5))[7:]
            session = peer.session
            peer.bye()
        with Peer(here.listener.port, context, session) as peer:
            peer.handshake()
            return peer.resumed, first, peer.ask(read(2, 5))[7:]

    return await asyncio.to_thread(twice)


async def test_r_42_tls_1_2_resumes_by_session_id_and_1_3_never(pki: Pki, hmi: Credential) -> None:
    plain = pki.issue("modbus-client", "plant", "r42-no-role")
    async with gate(pki) as here:
        assert await resumption(here, hmi, ssl.TLSVersion.TLSv1_2) == (True, value(5), value(5))
        assert await resumption(here, hmi, ssl.TLSVersion.TLSv1_3) == (False, value(5), value(5))
        refused = b"\x83\x01"
        assert await resumption(here, plain, ssl.TLSVersion.TLSv1_2) == (True, refused, refused), (
            "the role stays bound to the session (§8.4)"
        )

        def over_a_change() -> bool:
            context = here.context(hmi, ssl.TLSVersion.TLSv1_2)
            with Peer(here.listener.port, context) as peer:
                peer.handshake()
                peer.ask(read(1, 5))
                session = peer.session
                peer.bye()
            here.listener.judge()
            here.listener.renew()
            with Peer(here.listener.port, context, session) as peer:
                peer.handshake()
                return peer.resumed

        assert await resumed_after_revocation(pki) == (True, b""), "judged again, and closed"
        assert await asyncio.to_thread(over_a_change) is False, "a change of trust forgets every session"


async def resumed_after_revocation(pki: Pki) -> tuple[bool, bytes]:
    """Whether a revoked client's session is resumed within one context, and what a request then brings."""
    gone = pki.issue("modbus-client", "plant", "r42-gone", "operator")
    async with gate(pki) as here:
        context = here.context(gone, ssl.TLSVersion.TLSv1_2)

        def first() -> ssl.SSLSession | None:
            with Peer(here.listener.port, context) as peer:
                peer.handshake()
                assert peer.ask(read(1, 5))[7:] == value(5)
                session = peer.session
                peer.bye()
            return session

        def second(session: ssl.SSLSession | None) -> tuple[bool, bytes]:
            with Peer(here.listener.port, context, session) as peer:
                peer.handshake()
                return peer.resumed, peer.ask(read(1, 5))

        session = await asyncio.to_thread(first)
        pki.revoke("plant", "r42-gone")
        assert here.trust.reload()
        return await asyncio.to_thread(second, session)


@both_versions
async def test_r_43_no_session_tickets(pki: Pki, hmi: Credential, version: ssl.TLSVersion) -> None:
    async with gate(pki) as here:
        ticket = extension(35, b"")
        flight = await offer(here.listener.port, records(client_hello(ECDHE_ECDSA, more=ticket)))
        assert 35 not in flight.hello.extensions, "RFC 5077 §3.2: the server does not promise one"

        def ticketed() -> bool:
            with Peer(here.listener.port, here.context(hmi, version)) as peer:
                peer.handshake()
                assert peer.ask(read(1, 5))[7:] == value(5)
                return peer.session is not None and peer.session.has_ticket

        assert await asyncio.to_thread(ticketed) is False


async def fragments(pki: Pki, size: int) -> None:
    """The server agrees to the length, and no record of its flight is longer."""
    async with gate(pki) as here:
        code = bytes((size.bit_length() - 9,))
        hello = client_hello(ECDHE_ECDSA, more=extension(MAX_FRAGMENT, code))
        flight = await offer(here.listener.port, records(hello))
        assert flight.hello.extensions[MAX_FRAGMENT] == code
        assert max(flight.sizes) <= size
        assert sum(flight.sizes) > 1024, "long enough to show it: the chain does not fit into one record"


@pytest.mark.parametrize("size", [512, 1024, 2048, 4096])
async def test_r_57_maximum_fragment_length_is_negotiated(pki: Pki, size: int) -> None:
    await fragments(pki, size)


@pytest.mark.needs("openssl")
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
async def test_r_58_fragments_of_512_bytes(
    pki: Pki, hmi: Credential, component: Callable[[str], str], version: str
) -> None:
    await fragments(pki, 512)
    async with gate(pki) as here:
        program, port = component("openssl"), here.listener.port
        found, said = await asyncio.to_thread(
            openssl, program, port, pki, hmi, read(1, 7, 125), 259, version, "-maxfraglen", "512"
        )
        assert found[:9] == pack(">HHHBBB", 1, 0, 253, 1, 3, 250), said


async def test_r_59_compression_is_null(pki: Pki) -> None:
    async with gate(pki) as here:
        port = here.listener.port
        deflate, null = b"\1", b"\0"
        flight = await offer(port, records(client_hello(ECDHE_ECDSA, compression=deflate + null)))
        assert flight.hello.compression == null
        assert (await offer(port, records(client_hello(ECDHE_ECDSA, compression=deflate)))).refused
    own = pki.issue("gateway-server", "plant", "r59")
    assert first_words(client_context(pki.anchors("plant"), own.cert, own.key)).compression == null


@pytest.mark.needs("openssl")
async def test_r_60_renegotiation_is_indicated(
    pki: Pki, hmi: Credential, component: Callable[[str], str]
) -> None:
    async with gate(pki) as here:
        port = here.listener.port
        for hello in (
            client_hello(ECDHE_ECDSA, more=extension(RENEGOTIATION, b"\0")),
            client_hello(ECDHE_ECDSA, SCSV),
        ):
            flight = await offer(port, records(hello))
            assert flight.hello.extensions[RENEGOTIATION] == b"\0", "RFC 5746 §3.6"
        bad = await offer(port, records(client_hello(ECDHE_ECDSA, more=extension(RENEGOTIATION, b"\4what"))))
        assert bad.refused, "RFC 5746 §3.6: an initial handshake has nothing to renegotiate"
        again = "-tls1_2", "-no_ign_eof"
        _, said = await asyncio.to_thread(openssl, component("openssl"), port, pki, hmi, b"R\n", 1, *again)
        assert "no renegotiation" in said
    own = pki.issue("gateway-server", "plant", "r60")
    words = first_words(client_context(pki.anchors("plant"), own.cert, own.key))
    assert SCSV in words.suites or RENEGOTIATION in words.extensions


async def test_iana_port_802_is_the_default(pki: Pki) -> None:
    section = Listener(name="modbus", zone="plant", units={1: "plc-1"})
    assert section.port == 802
    server, stage = pki.issue("gateway-server", "plant", "iana"), Stage()
    listener = TlsListener(
        section,
        trust=pki.trust("plant"),
        certificate=server.cert,
        key=server.key,
        inner=lambda _: asyncio.Protocol(),
        journal=stage.journal,
        clock=now,
        ulids=Ulids(1),
        count=lambda *_: None,
    )
    try:
        await listener.start()
        bound = str(listener.port)
    except OSError as error:  # below 1024, and not everybody may; or somebody is there already
        bound = str(error)
    finally:
        await listener.stop()
    assert "802" in bound
