"""Sealing and opening: against asyncua's own code, bit by bit, and with a right HMAC around wrong padding."""

import hmac

import pytest
from asyncua.crypto import uacrypto
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st

from gateway.model.asset import OpcuaMode, OpcuaPolicy
from gateway.wire.opcua.events import Lost
from gateway.wire.opcua.framing import Fault
from gateway.wire.opcua.keys import Encrypted, Keys, Mac, Plain, Signed
from gateway.wire.opcua.security import (
    BY_URI,
    MOST_CHAIN_BYTES,
    MOST_OPEN_SECRET,
    SUITES,
    certificates,
    derived,
    open_open,
    public_key,
    seal_open,
    sign,
    thumbprint,
    unwrap,
    verified,
    wrap,
)
from gateway.wire.opcua.status import Status
from tests.opcua import POLICIES, Pair, at, credentials

MAC, KEY, VECTOR = b"m" * 32, b"k" * 32, b"v" * 16
KINDS: dict[str, tuple[Keys, Keys]] = {
    "none": (Plain(), Plain()),
    "sign": (Signed(MAC), Signed(MAC)),
    "encrypt": (Encrypted(MAC, KEY, VECTOR), Encrypted(MAC, KEY, VECTOR)),
}
each_policy = pytest.mark.parametrize("policy", POLICIES)
each_kind = pytest.mark.parametrize("kind", KINDS)


@given(secret=st.binary(min_size=1, max_size=64), seed=st.binary(min_size=1, max_size=64))
def test_keys_are_derived_as_asyncua_derives_them(secret: bytes, seed: bytes) -> None:
    assert derived(secret, seed, (32, 32, 16)) == list(
        uacrypto.p_sha256(secret, seed, (32, 32, 16))  # type: ignore[no-untyped-call]
    )


@given(key=st.binary(max_size=64), data=st.binary(max_size=300))
def test_the_prepared_hmac_is_hmac(key: bytes, data: bytes) -> None:
    mac = Mac(key)
    assert mac(data) == mac(data) == hmac.digest(key, data, "sha256")


@each_kind
@given(bodies=st.lists(st.binary(max_size=200), min_size=1, max_size=5))
def test_what_is_sealed_is_opened_in_any_order_of_sizes(kind: str, bodies: list[bytes]) -> None:
    seal, open_ = KINDS[kind]
    for number, body in enumerate(bodies):
        chunk = seal.seal(b"MSGF", 7, 8, number, 9, body)
        assert int.from_bytes(chunk[4:8], "little") == len(chunk)
        assert open_.open(chunk) == (number, 9, body)
        assert len(body) <= seal.most_body(len(chunk))


@given(bodies=st.lists(st.binary(max_size=200), min_size=1, max_size=5))
def test_every_chunk_begins_with_the_same_vector(bodies: list[bytes]) -> None:
    """One context for all chunks gives the very bytes that a new context for each would give."""
    keys = Encrypted(MAC, KEY, VECTOR)
    for number, body in enumerate(bodies):
        sealed = keys.seal(b"MSGF", 7, 8, number, 9, body)[16:]
        decryptor = Cipher(algorithms.AES(KEY), modes.CBC(VECTOR)).decryptor()
        plain = decryptor.update(sealed) + decryptor.finalize()
        assert plain[:8] == number.to_bytes(4, "little") + (9).to_bytes(4, "little")
        assert plain[8 : 8 + len(body)] == body


@pytest.mark.parametrize("kind", ["sign", "encrypt"])
def test_every_flipped_bit_is_noticed(kind: str) -> None:
    seal, _ = KINDS[kind]
    chunk = seal.seal(b"MSGF", 7, 8, 1, 9, b"open the valve")
    for at_bit in range(len(chunk) * 8):
        flipped = bytearray(chunk)
        flipped[at_bit // 8] ^= 1 << at_bit % 8
        fresh: Keys = Signed(MAC) if kind == "sign" else Encrypted(MAC, KEY, VECTOR)
        assert fresh.open(bytes(flipped)) is None
    for size in range(len(chunk)):
        assert KINDS[kind][1].open(chunk[:size]) is None


def forged(plain: bytes) -> bytes:
    """A chunk of somebody who has the keys and pads as he likes."""
    clear = b"MSGF" + (16 + len(plain) + 32).to_bytes(4, "little") + bytes(8)
    encryptor = Cipher(algorithms.AES(KEY), modes.CBC(VECTOR)).encryptor()
    return clear + encryptor.update(plain + hmac.digest(MAC, clear + plain, "sha256")) + encryptor.finalize()


def test_padding_is_checked_although_the_hmac_is_right() -> None:
    def opened(plain: bytes) -> object:
        return Encrypted(MAC, KEY, VECTOR).open(forged(plain))

    assert opened(bytes(8) + b"12345\2\2\2") == (0, 0, b"12345")
    assert opened(bytes(8) + b"\7" * 8) == (0, 0, b"")
    assert opened(bytes(8) + b"\x17" * 24) == (0, 0, b"")
    assert opened(bytes(8) + b"12345\1\2\2") is None
    assert opened(bytes(8) + b"12345\2\1\2") is None
    assert opened(bytes(7) + b"\x08" * 9) is None
    assert opened(bytes(8) + b"\xff" * 8) is None
    assert opened(b"") is None


@each_policy
@pytest.mark.parametrize("sizes", [(2048, 2048), (2048, 3072), (3072, 2048)])
def test_open_secure_channel_is_sealed_for_any_size_of_body(
    policy: OpcuaPolicy, sizes: tuple[int, int]
) -> None:
    suite = SUITES[policy]
    mine, theirs = (
        credentials("client" if sizes[0] == 2048 else "wide", sizes[0]),
        credentials("server" if sizes[1] == 2048 else "wide", sizes[1]),
    )
    clear = b"OPNF" + bytes(4) + b"clear"
    for size in (0, 1, 100, 101, 102, 103, 120, 121, 122, 148, 149, 150, 151, 152, 153, 154, 155, 400):
        chunk = seal_open(suite, mine.key, theirs.key.public_key(), clear, bytes(8 + size))
        assert int.from_bytes(chunk[4:8], "little") == len(chunk)
        assert open_open(suite, theirs.key, mine.key.public_key(), chunk, len(clear)) == bytes(8 + size)
        assert open_open(suite, mine.key, mine.key.public_key(), chunk, len(clear)) is None
        broken = chunk[:8] + b"other" + chunk[13:]
        assert open_open(suite, theirs.key, mine.key.public_key(), broken, len(clear)) is None


@each_policy
def test_a_wrapped_secret_of_too_many_blocks_costs_no_operation(policy: OpcuaPolicy) -> None:
    suite, mine = SUITES[policy], credentials("server")
    key = mine.key.public_key()
    most = (256 - suite.overhead) * 6
    fits = wrap(suite, key, bytes(most))
    assert len(fits) == MOST_OPEN_SECRET
    assert unwrap(suite, mine.key, fits, MOST_OPEN_SECRET) == bytes(most)
    assert unwrap(suite, mine.key, fits + fits[:256], MOST_OPEN_SECRET) is None
    assert unwrap(suite, mine.key, fits[:-1], MOST_OPEN_SECRET) is None
    assert unwrap(suite, mine.key, b"", MOST_OPEN_SECRET) is None
    assert unwrap(suite, mine.key, b"\xff" * 256, MOST_OPEN_SECRET) is None


@each_policy
def test_signatures_of_other_data_keys_and_policies_do_not_hold(policy: OpcuaPolicy) -> None:
    suite, mine = SUITES[policy], credentials("server")
    signature = sign(suite, mine.key, b"data")
    assert verified(suite, mine.key.public_key(), signature, b"data")
    assert not verified(suite, mine.key.public_key(), signature, b"date")
    assert not verified(suite, mine.key.public_key(), b"", b"data")
    assert not verified(suite, credentials("client").key.public_key(), signature, b"data")
    pss = suite is SUITES[OpcuaPolicy.AES256_SHA256_RSAPSS]
    other = SUITES[OpcuaPolicy.BASIC256SHA256 if pss else OpcuaPolicy.AES256_SHA256_RSAPSS]
    assert not verified(other, mine.key.public_key(), signature, b"data")


def test_deprecated_policies_have_no_row() -> None:
    assert {uri.rpartition("#")[2] for uri in BY_URI} == set(POLICIES)
    assert not [uri for uri in BY_URI if "Rsa15" in uri or uri.endswith(("Basic256", "None"))]


def test_a_chain_is_whole_certificates_and_three_at_most() -> None:
    one, two = credentials("client").leaf, credentials("server").leaf
    assert certificates(one) == (one,)
    assert certificates(one + two + one) == (one, two, one)
    assert certificates(one * 4) is None
    for wrong in (
        b"",
        one[:-1],
        one + b"\0",
        b"\x31" + one[1:],
        b"\x30\x82\0\0",
        bytes(MOST_CHAIN_BYTES + 1),
    ):
        assert certificates(wrong) is None


def test_only_rsa_keys_of_2048_to_4096_bits_are_used() -> None:
    assert public_key(credentials("client").leaf) is not None
    assert public_key(credentials("short", 1024).leaf) is None
    assert public_key(b"\x30\x82\1\0" + bytes(256)) is None
    assert thumbprint(b"") == bytes.fromhex("da39a3ee5e6b4b0d3255bfef95601890afd80709")


def test_the_message_of_one_mode_is_none_of_another() -> None:
    sign_only = Pair(mode=OpcuaMode.SIGN)
    sign_only.connect()
    encrypting = Pair()
    encrypting.connect()
    chunk = bytearray(sign_only.client.message(1, b"x" * 7, at()))
    chunk[12:16] = encrypting.client.message(1, b"", at())[12:16]
    assert encrypting.server.receive(bytes(chunk), at()) == [
        Lost(Status.SECURITY_CHECKS_FAILED, Fault.SIGNATURE)
    ]
