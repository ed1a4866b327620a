"""Our certificates and contexts against OpenSSL's own tools: verification, handshakes, resumption."""

import re
import socket
import ssl
import subprocess
from pathlib import Path
from typing import get_args

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.cli import main
from gateway.identity.application import MOST_CHAIN_BYTES
from gateway.identity.certificate import Refused
from gateway.identity.contexts import client_context
from gateway.model.identity import Identity, RoleState
from tests.pki import Credential, OddRole, Pki, moment

from .peers import Door, s_client

pytestmark = pytest.mark.needs("openssl")
VERSIONS = ("-tls1_2", "-tls1_3")


def verify(*words: str | Path) -> str:
    done = subprocess.run(["openssl", "verify", *words], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


@pytest.fixture(scope="session")
def gateway(pki: Pki) -> Credential:
    return pki.issue("gateway-server", "plant", "gw-interop")


def test_every_profile_passes_openssls_strict_verification(fresh_pki: Pki) -> None:
    lists: list[str | Path] = []
    for name in ("root", "plant", "it"):
        lists += ["-CRLfile", fresh_pki.crl(name)]
    chain: list[str | Path] = ["-CAfile", fresh_pki.root, "-untrusted", fresh_pki.dir / "plant" / "ca.pem"]
    for profile in fresh_pki.authority.profiles.profiles:
        role = "operator" if profile == "modbus-client" else None
        made = fresh_pki.issue(profile, "plant", profile, role)
        printed = verify("-x509_strict", "-crl_check_all", *lists, *chain, made.cert)
        assert printed.endswith("OK\n"), printed
    fresh_pki.revoke("plant", "modbus-client")
    issued = fresh_pki.dir / "plant" / "issued"
    partial: list[str | Path] = [
        "-partial_chain",
        "-CAfile",
        fresh_pki.anchors("plant"),
        "-crl_check",
        *lists,
    ]
    assert "certificate revoked" in verify(*partial, issued / "modbus-client.pem")
    assert "OK" in verify(*partial, issued / "gateway-server.pem")


def test_an_rsa_authority_is_rsa_all_the_way_up(tmp_path: Path) -> None:
    """For OPC UA stacks that take nothing else."""
    assert (
        main(
            [
                "pki",
                "init",
                "--dir",
                str(tmp_path / "pki"),
                "--trust-domain",
                "demo.example",
                "--authority-key",
                "rsa-3072",
            ]
        )
        == 0
    )
    made = Pki(tmp_path / "pki")
    app = made.issue("opcua-application", "plant", "app")
    chain = x509.load_pem_x509_certificates(app.cert.read_bytes())
    assert [each.public_key().key_size for each in chain] == [2048, 3072, 3072]  # type: ignore[union-attr]
    lists: list[str | Path] = []
    for name in ("root", "plant"):
        lists += ["-CRLfile", made.crl(name)]
    above: list[str | Path] = ["-CAfile", made.root, "-untrusted", made.dir / "plant" / "ca.pem"]
    assert verify("-x509_strict", "-crl_check_all", *lists, *above, app.cert).endswith("OK\n")
    assert len(b"".join(each.public_bytes(Encoding.DER) for each in chain)) < MOST_CHAIN_BYTES


@pytest.mark.parametrize("version", VERSIONS)
def test_a_certified_client_gets_in_and_sees_the_chain_down_to_the_root(
    pki: Pki, gateway: Credential, version: str
) -> None:
    client = pki.issue("modbus-client", "plant", f"ok{version}", "operator")
    with Door(gateway, pki.trust("plant")) as door:
        printed = s_client(door, pki, client, version, "-showcerts", "-verify_hostname", "localhost")
        assert "\nin\n" in printed
        assert printed.count("-----BEGIN CERTIFICATE-----") >= 3
        assert " 2 s:O = demo.example, CN = demo.example root" in printed
    assert isinstance(identity := door.seen[0], Identity)
    assert identity.roles == ("operator",)


@pytest.mark.parametrize("version", VERSIONS)
def test_without_a_certificate_of_the_zone_there_is_a_fatal_alert(
    pki: Pki, gateway: Credential, version: str
) -> None:
    """Modbus/TCP Security R-08, R-11."""
    number = "40" if version == "-tls1_2" else "116"
    cases = {
        number: None,
        "48": pki.issue("modbus-client", "it", f"wrong-zone{version}", "operator"),
        "43": pki.issue("log-signer", "plant", f"log{version}"),
    }
    with Door(gateway, pki.trust("plant")) as door:
        for alert, shown in cases.items():
            printed = s_client(door, pki, shown, version)
            assert f"SSL alert number {alert}" in printed, printed
            assert "\nin\n" not in printed
    assert not any(isinstance(seen, Identity) for seen in door.seen)


@pytest.mark.parametrize("odd", [*get_args(OddRole), None])
def test_the_handshake_succeeds_whatever_the_role(pki: Pki, gateway: Credential, odd: OddRole | None) -> None:
    """Modbus/TCP Security R-23: the NULL role is passed to authorization, which answers 01."""
    name = f"handshake-{odd}"
    client = pki.odd_role("plant", name, odd) if odd else pki.issue("modbus-client", "plant", name)
    with Door(gateway, pki.trust("plant")) as door:
        assert "\nin\n" in s_client(door, pki, client)
    assert isinstance(identity := door.seen[0], Identity)
    assert identity.role_state is (RoleState.MALFORMED if odd else RoleState.ABSENT)


def test_what_tls_lets_through_is_still_judged(fresh_pki: Pki) -> None:
    two = [x509.UniformResourceIdentifier(f"spiffe://demo.example/plant/{n}") for n in "ab"]
    cases = {
        "expired": fresh_pki.expired("modbus-client", "plant", "old", "operator"),
        "two_uri_names": fresh_pki.with_names("plant", "two", list(two)),
        "revoked": fresh_pki.issue("modbus-client", "plant", "gone", "operator"),
    }
    fresh_pki.revoke("plant", "gone")
    with Door(fresh_pki.issue("gateway-server", "plant", "gw"), fresh_pki.trust("plant")) as door:
        for code, client in cases.items():
            assert "\nout\n" in s_client(door, fresh_pki, client)
            assert isinstance(refused := door.seen[-1], Refused)
            assert refused.code == code


@pytest.mark.parametrize(
    ("options", "accepted"),
    [
        (("-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"), True),
        (("-tls1_2", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305"), True),
        (("-tls1_2", "-maxfraglen", "512"), True),
        (("-tls1_2", "-groups", "P-256"), True),
        (("-tls1_3", "-groups", "P-256"), True),
        (("-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA256"), False),
        (("-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"), False),
        (("-tls1_2", "-cipher", "NULL:@SECLEVEL=0"), False),
        (("-tls1_1", "-cipher", "ALL:@SECLEVEL=0"), False),
        (("-tls1", "-cipher", "ALL:@SECLEVEL=0"), False),
    ],
)
def test_suites_and_versions(pki: Pki, gateway: Credential, options: tuple[str, ...], accepted: bool) -> None:
    """Modbus/TCP Security R-01, R-34…R-37, R-40, R-57, with a P-256 key."""
    client = pki.issue(
        "modbus-client", "plant", re.sub("[^A-Za-z0-9]+", "-", "suite" + "".join(options)), "operator"
    )
    with Door(gateway, pki.trust("plant")) as door:
        assert ("\nin\n" in s_client(door, pki, client, *options)) is accepted


def test_an_rsa_key_gets_the_rsa_suite(pki: Pki) -> None:
    """Modbus/TCP Security R-14."""
    shown = pki.issue("opcua-application", "plant", "rsa-server")
    client = pki.issue("modbus-client", "plant", "rsa-client", "operator")
    with Door(shown, pki.trust("plant")) as door:
        printed = s_client(door, pki, client, "-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256")
        assert "\nin\n" in printed


@pytest.mark.parametrize("version", VERSIONS)
def test_a_revoked_client_gets_in_by_no_resumption(fresh_pki: Pki, tmp_path: Path, version: str) -> None:
    """Invariant 7, at the handshake: neither anew nor resumed, before and after the new context."""
    client = fresh_pki.issue("modbus-client", "plant", "hmi", "operator")
    session = tmp_path / "session"
    with Door(fresh_pki.issue("gateway-server", "plant", "gw"), fresh_pki.trust("plant")) as door:
        assert "\nin\n" in s_client(door, fresh_pki, client, version, "-sess_out", str(session))
        assert session.exists() is (version == "-tls1_2"), "no tickets; TLS 1.2 has a session id without one"
        resume = ("-sess_in", str(session)) if session.exists() else ()

        fresh_pki.revoke("plant", "hmi")
        assert door.trust.changed()
        assert door.trust.reload()
        assert "\nout\n" in s_client(door, fresh_pki, client, version, *resume)
        assert door.reused[-1] is bool(resume), "the resumption was really tried, and judged"
        door.renew_context()
        assert "\nout\n" in s_client(door, fresh_pki, client, version, *resume)
        assert door.reused[-1] is False, "a new context knows no old session"
    assert [isinstance(seen, Identity) for seen in door.seen] == [True, False, False]


def connect(door: Door, context: ssl.SSLContext, name: str) -> str:
    with socket.create_connection(("127.0.0.1", door.port), timeout=10) as raw:
        try:
            with context.wrap_socket(raw, server_hostname=name) as tls:
                return tls.recv(10).decode().strip()
        except ssl.SSLCertVerificationError as error:
            return error.verify_message


def test_a_client_context_trusts_the_zone_the_name_and_the_date(pki: Pki) -> None:
    caller = pki.issue("gateway-server", "it", "gw-as-client")
    context = client_context(pki.anchors("it"), caller.cert, caller.key)
    broker = pki.issue("it-server", "it", "broker")
    other = pki.issue("gateway-server", "plant", "other-zone")
    old = pki.expired("it-server", "it", "old-broker")
    with Door(broker, pki.trust("it"), moment()) as door:
        assert connect(door, context, "localhost") == "in"
        assert "Hostname mismatch" in connect(door, context, "elsewhere")
    with Door(other, pki.trust("it")) as door:
        assert "in certificate chain" in connect(door, context, "localhost")
    with Door(old, pki.trust("it")) as door:
        assert "expired" in connect(door, context, "localhost")
