"""Modbus/TCP Security §8.3, §10.2: what is negotiated, out of everything that can be offered."""

import ast
import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

import gateway
from gateway.identity.contexts import client_context
from tests.interop.test_relay import read, value
from tests.interop.test_tls import gate
from tests.pki import Credential, Pki

from .conftest import Accepted
from .hello import (
    FATAL,
    GROUPS,
    KEY_EXCHANGE,
    KEY_SHARE,
    P_256,
    POINTS,
    TLS_1_0,
    TLS_1_1,
    X25519,
    Hello,
    client_hello,
    offer,
    records,
    words,
)
from .modbus_security import SUITES, Suite
from .peer import first_words, openssl

NULL_WITH_NULL_NULL = 0x0000
RSA_NULL_SHA256 = 0x003B
NULL_ENCRYPTION = (0x0001, 0x0002, 0x002C, 0x002D, 0x002E, 0x003B, 0x00B0, 0x00B1, 0xC006, 0xC010, 0xC015)
STATIC_RSA = (0x002F, 0x0035, 0x003C, 0x003D, 0x009C, 0x009D, 0xC09C, 0xC0A0)
HANDSHAKE_FAILURE = 40
NAMED_CURVE = 3
UNCOMPRESSED = 0
ECDHE_ECDSA, ECDHE_RSA = 0xC02B, 0xC02F


def described(accepted: Accepted) -> list[Suite]:
    """What is known about every accepted suite; KeyError for one that is not known."""
    return [SUITES[code] for code in sorted(accepted.every)]


async def negotiated(pki: Pki, *suites: int, groups: tuple[int, ...] = (P_256,)) -> Hello | None:
    """The ServerHello to an offer of these suites, or None after a fatal alert."""
    async with gate(pki) as here:
        flight = await offer(here.listener.port, records(client_hello(*suites, groups=groups)))
    if flight.refused:
        assert flight.alert == (FATAL, HANDSHAKE_FAILURE)
        return None
    return flight.hello


async def reads(pki: Pki, program: str, name: str, *options: str) -> bool:
    """Whether OpenSSL reads a register with these options."""
    at = pki.dir / "plant" / "issued" / f"{name}.pem"
    if at.exists():
        shown = Credential(at, at.with_suffix(".key"))
    else:
        shown = pki.issue("modbus-client", "plant", name, "operator")
    async with gate(pki) as here:
        port = here.listener.port
        found, _ = await asyncio.to_thread(openssl, program, port, pki, shown, read(1, 7), 11, *options)
    return found[7:] == value(7)


def own_hello(pki: Pki, name: str) -> Hello:
    """The ClientHello of the product's own client context."""
    own = pki.issue("gateway-server", "plant", name)
    return first_words(client_context(pki.anchors("plant"), own.cert, own.key))


def test_r_12_every_suite_is_registered_with_iana(accepted: Accepted) -> None:
    assert accepted.every == set(SUITES)


def test_r_38_nothing_else_is_negotiated(accepted: Accepted) -> None:
    assert accepted.ecdsa == {code for code, suite in SUITES.items() if suite.key == "ECDSA"}
    assert accepted.rsa == {code for code, suite in SUITES.items() if suite.key == "RSA"}
    assert accepted.tls13 == {code for code, suite in SUITES.items() if suite.key == "either"}


def test_r_13_every_suite_authenticates_by_certificate(accepted: Accepted) -> None:
    for suite in described(accepted):
        assert suite.key in ("ECDSA", "RSA", "either")
        assert not {"anon", "PSK", "KRB5", "SRP", "ECCPWD"} & set(suite.name.split("_"))


@pytest.mark.needs("openssl")
async def test_r_14_ecdhe_rsa_with_aes_128_gcm_sha256(
    rsa_pki: Pki, accepted: Accepted, component: Callable[[str], str]
) -> None:
    assert ECDHE_RSA in accepted.rsa
    options = ("-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256")
    assert await reads(rsa_pki, component("openssl"), "r14", *options)


def test_r_36_counter_mode_suites(accepted: Accepted) -> None:
    for found in (accepted.ecdsa, accepted.rsa, accepted.tls13):
        assert any("_GCM_" in SUITES[code].name for code in found)


async def test_r_37_never_null_with_null_null(pki: Pki, rsa_pki: Pki, accepted: Accepted) -> None:
    assert NULL_WITH_NULL_NULL not in accepted.every
    for of in (pki, rsa_pki):
        assert await negotiated(of, NULL_WITH_NULL_NULL) is None


async def test_r_39_rsa_signs_the_key_exchange_and_never_carries_the_key(
    rsa_pki: Pki, accepted: Accepted
) -> None:
    hello = await negotiated(rsa_pki, *STATIC_RSA, ECDHE_RSA)
    assert hello is not None
    assert hello.suites == (ECDHE_RSA,), "§8.3's mandatory suite is the RSA technology that is provided"
    assert await negotiated(rsa_pki, *STATIC_RSA) is None
    assert not {code for code in accepted.every if SUITES[code].name.startswith("TLS_RSA_")}


@pytest.mark.needs("openssl")
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
async def test_r_40_key_exchange_on_elliptic_curves(
    pki: Pki, component: Callable[[str], str], version: str
) -> None:
    assert await reads(pki, component("openssl"), f"r40{version}", version, "-groups", "P-256")


@pytest.mark.parametrize("key", ["ecdsa", "rsa"])
async def test_r_61_p_256(pki: Pki, rsa_pki: Pki, key: str) -> None:
    of, suite = (rsa_pki, ECDHE_RSA) if key == "rsa" else (pki, ECDHE_ECDSA)
    async with gate(of) as here:
        flight = await offer(here.listener.port, records(client_hello(suite)))
        exchange = flight.message(KEY_EXCHANGE)
        assert exchange[0] == NAMED_CURVE
        assert exchange[1:3] == words([P_256])
        newest = await offer(here.listener.port, records(client_hello(0x1301, tls13=True)))
        assert newest.hello.extensions[KEY_SHARE] == words([P_256]), "HelloRetryRequest asks for it"


@pytest.mark.needs("openssl")
async def test_r_62_ecdhe_ecdsa_with_aes_128_gcm_sha256(
    pki: Pki, accepted: Accepted, component: Callable[[str], str]
) -> None:
    assert ECDHE_ECDSA in accepted.ecdsa
    options = ("-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256", "-groups", "P-256")
    assert await reads(pki, component("openssl"), "r62", *options)


async def test_r_63_curves_are_said_and_heeded(pki: Pki) -> None:
    said = own_hello(pki, "r63").extensions[GROUPS]
    assert words([P_256]) in [said[at : at + 2] for at in range(2, len(said), 2)]
    assert await negotiated(pki, ECDHE_ECDSA, groups=(0x0A0A,)) is None, "a curve that nobody has"


async def test_r_64_point_formats_are_said_and_answered(pki: Pki) -> None:
    assert UNCOMPRESSED in own_hello(pki, "r64").extensions[POINTS][1:]
    hello = await negotiated(pki, ECDHE_ECDSA, groups=(P_256, X25519))
    assert hello is not None
    assert UNCOMPRESSED in hello.extensions[POINTS][1:], "RFC 4492 §5.2"


async def test_r_48_every_suite_encrypts(accepted: Accepted) -> None:
    for suite in described(accepted):
        assert suite.encryption.startswith(("AES_128_GCM", "AES_256_GCM", "CHACHA20"))


async def test_r_49_no_suite_without_encryption(pki: Pki, rsa_pki: Pki) -> None:
    for of in (pki, rsa_pki):
        assert await negotiated(of, *NULL_ENCRYPTION) is None


async def test_r_67_rsa_with_null_sha256_cannot_be_enabled(rsa_pki: Pki, accepted: Accepted) -> None:
    assert RSA_NULL_SHA256 not in accepted.every
    assert await negotiated(rsa_pki, RSA_NULL_SHA256) is None


def test_r_66_the_own_client_offers_no_null_suite(pki: Pki) -> None:
    assert not set(own_hello(pki, "r66").suites) & {NULL_WITH_NULL_NULL, *NULL_ENCRYPTION}


def no_hash(accepted: Accepted, name: str) -> None:
    """No accepted suite names that hash, for its records or its key block."""
    for suite in described(accepted):
        assert name not in (suite.mac, suite.prf)
        assert not suite.name.endswith(f"_{name}")


def test_r_50_no_hmac_md5(accepted: Accepted) -> None:
    no_hash(accepted, "MD5")


def test_r_51_no_hmac_sha_1(accepted: Accepted) -> None:
    no_hash(accepted, "SHA")


def test_r_52_sha_256(accepted: Accepted) -> None:
    for found in (accepted.ecdsa, accepted.rsa, accepted.tls13):
        assert any(SUITES[code].prf == "SHA256" for code in found)


def test_r_53_no_suite_without_integrity(accepted: Accepted) -> None:
    no_hash(accepted, "NULL")
    assert {suite.mac for suite in described(accepted)} == {"AEAD"}


async def test_r_54_no_sha_1_in_the_prf(pki: Pki, accepted: Accepted) -> None:
    """Until TLS 1.1 the PRF is MD5 and SHA-1 (RFC 4346 §5); from 1.2 on the suite names its hash."""
    assert {suite.prf for suite in described(accepted)} <= {"SHA256", "SHA384"}
    async with gate(pki) as here:
        for version in (TLS_1_1, TLS_1_0):
            hello = client_hello(0xC00A, 0x002F, version=version)
            assert (await offer(here.listener.port, records(hello, version))).refused


@pytest.mark.needs("openssl")
@pytest.mark.parametrize("suite", ["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305"])
async def test_r_55_sha_256_in_the_prf(pki: Pki, component: Callable[[str], str], suite: str) -> None:
    assert await reads(pki, component("openssl"), "r55", "-tls1_2", "-cipher", suite)


def test_r_56_all_cryptography_is_that_of_named_libraries() -> None:
    """What whoever exports a copy has to declare: no module of the gateway makes a cipher of its own."""
    libraries = {"ssl", "hashlib", "hmac", "secrets", "cryptography"}
    used: set[str] = set()
    for file in Path(gateway.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                used |= {name.name.split(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                used.add(node.module.split(".")[0])
    others = {"Crypto", "Cryptodome", "OpenSSL", "nacl", "M2Crypto", "pyaes", "gnutls", "mbedtls", "wolfssl"}
    assert used & libraries
    assert not used & others
