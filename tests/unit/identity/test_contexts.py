"""Contexts refuse files that are not safe or not a pair, and are as strict as they say."""

import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from gateway.identity.contexts import NO_CHECK_TIME, client_context, expiry, server_context
from gateway.model.errors import IdentityError
from tests.pki import Pki


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610, 0o601, 0o602])
def test_a_key_that_others_may_touch_is_refused(fresh_pki: Pki, mode: int) -> None:
    shown = fresh_pki.issue("gateway-server", "plant", "gw")
    shown.key.chmod(mode)
    with pytest.raises(IdentityError, match=f"open to others .mode {mode:04o}.: chmod 600"):
        server_context(shown.cert, shown.key, fresh_pki.trust("plant"))
    with pytest.raises(IdentityError, match="chmod 600"):
        client_context(fresh_pki.anchors("plant"), shown.cert, shown.key)


def test_files_that_do_not_fit_are_named(fresh_pki: Pki, tmp_path: Path) -> None:
    trust = fresh_pki.trust("plant")
    gw, other = (fresh_pki.issue("gateway-server", "plant", name) for name in ("gw", "other"))
    locked = tmp_path / "locked.key"
    key = load_pem_private_key(gw.key.read_bytes(), None)
    locked.touch(0o600)
    locked.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")))
    for cert, key_file, message in (
        (gw.cert, other.key, "cannot be used together: key values mismatch"),
        (gw.key, gw.key, "cannot be used together"),
        (tmp_path / "none.pem", gw.key, "cannot be read"),
        (gw.cert, tmp_path / "none.key", "cannot be read"),
        (gw.cert, tmp_path, "is not a file"),
        (gw.cert, locked, "is encrypted"),
    ):
        with pytest.raises(IdentityError, match=message):
            server_context(cert, key_file, trust)
    with pytest.raises(IdentityError, match="not a file of PEM certificates"):
        client_context(gw.key, gw.cert, gw.key)


def test_no_message_shows_key_material(fresh_pki: Pki) -> None:
    gw = fresh_pki.issue("gateway-server", "plant", "gw")
    secret = gw.key.read_text().splitlines()[1]
    with pytest.raises(IdentityError) as caught:
        server_context(gw.key, gw.key, fresh_pki.trust("plant"))
    assert secret not in str(caught.value)


def test_the_switches(pki: Pki) -> None:
    gw = pki.issue("gateway-server", "plant", "gw-switches")
    server = server_context(gw.cert, gw.key, pki.trust("plant"))
    client = client_context(pki.anchors("plant"), gw.cert, gw.key)
    for context in (server, client):
        assert context.minimum_version is ssl.TLSVersion.TLSv1_2
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.verify_flags & ssl.VERIFY_X509_PARTIAL_CHAIN
        assert not context.verify_flags & ssl.VERIFY_CRL_CHECK_CHAIN, "they fail closed on a stale list"
        assert context.options & ssl.OP_NO_TICKET
        assert context.options & ssl.OP_NO_RENEGOTIATION
        assert context.options & ssl.OP_NO_COMPRESSION
        assert context.security_level == 2
        assert {c["name"].split("-")[0] for c in context.get_ciphers()} <= {
            "ECDHE",
            "TLS_AES_128_GCM_SHA256",
            "TLS_AES_256_GCM_SHA384",
            "TLS_CHACHA20_POLY1305_SHA256",
        }
    assert server.num_tickets == 0
    assert server.verify_flags & NO_CHECK_TIME
    assert client.check_hostname
    assert not client.verify_flags & NO_CHECK_TIME, "nobody calls admit for a server"


def test_expiry_is_the_leafs(pki: Pki) -> None:
    gw = pki.issue("gateway-server", "plant", "gw-expiry")
    leaf = x509.load_der_x509_certificate(gw.der)
    assert expiry(gw.cert) == int(leaf.not_valid_after_utc.timestamp()) * 1_000_000_000
    with pytest.raises(IdentityError, match="not a PEM certificate"):
        expiry(gw.key)
