"""Who a certificate names, and its role (Modbus/TCP Security R-20…R-23, R-65; SPIFFE X.509-SVID §2)."""

from datetime import timedelta
from typing import get_args

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from gateway.identity.certificate import MOST_BYTES, Refused, identify
from gateway.model.identity import Authentication, Identity, Kind, RoleState
from tests.pki import OddRole, Pki, moment


def now_ns() -> int:
    """Asked anew: certificates begin five minutes before they are made, and a whole run takes longer."""
    return moment().judge_ns


def read(der: bytes, judge_ns: int | None = None) -> Identity:
    identity = identify(der, "plant", judge_ns or now_ns())
    assert isinstance(identity, Identity), identity
    return identity


def refused(der: bytes, judge_ns: int | None = None) -> str:
    answer = identify(der, "plant", judge_ns or now_ns())
    assert isinstance(answer, Refused), answer
    return answer.code


def test_a_modbus_client_is_a_workload_with_one_role(pki: Pki) -> None:
    leaf = x509.load_der_x509_certificate(der := pki.issue("modbus-client", "plant", "c-1", "operator").der)
    identity = read(der)
    assert identity.subject == "spiffe://demo.example/plant/c-1"
    assert (identity.kind, identity.auth, identity.zone) == (Kind.WORKLOAD, Authentication.MTLS, "plant")
    assert (identity.roles, identity.role_state) == (("operator",), RoleState.OK)
    assert identity.serial == format(leaf.serial_number, "x")
    assert identity.fingerprint is not None
    assert len(identity.fingerprint) == 64
    assert identity.expires_ns == int(leaf.not_valid_after_utc.timestamp()) * 1_000_000_000


def test_no_role_is_absent_and_no_refusal(pki: Pki) -> None:
    identity = read(pki.issue("modbus-client", "plant", "c-2").der)
    assert (identity.roles, identity.role_state) == ((), RoleState.ABSENT)


@pytest.mark.parametrize("odd", get_args(OddRole))
def test_every_odd_role_is_malformed_and_no_refusal(pki: Pki, odd: OddRole) -> None:
    identity = read(pki.odd_role("plant", f"odd-{odd}", odd).der)
    assert identity.subject == f"spiffe://demo.example/plant/odd-{odd}"
    assert (identity.roles, identity.role_state) == ((), RoleState.MALFORMED)


def test_the_path_person_says_person_and_only_there(pki: Pki) -> None:
    assert read(pki.issue("person", "it", "alice").der).kind is Kind.PERSON
    nested = pki.with_names("it", "n", [x509.UniformResourceIdentifier("spiffe://demo.example/it/person/x")])
    assert read(nested.der).kind is Kind.WORKLOAD


NAMES: dict[str, tuple[list[str], str]] = {
    "urn": (["urn:vendor:ua:server"], "urn:vendor:ua:server"),
    "urn-case": (["URN:vendor:ua"], "urn:vendor:ua"),
    "https": (["https://example.com/x"], "x509:CN=name-https,O=demo.example"),
    "none": ([], "x509:CN=name-none,O=demo.example"),
    "two": (["spiffe://demo.example/a", "urn:b"], "two_uri_names"),
    "two-alike": (["spiffe://demo.example/a", "spiffe://demo.example/a"], "two_uri_names"),
    "dots": (["spiffe://demo.example/plant/../person/x"], "malformed_spiffe_id"),
    "no-path": (["spiffe://demo.example"], "malformed_spiffe_id"),
    "empty-segment": (["spiffe://demo.example//person/x"], "malformed_spiffe_id"),
    "query": (["spiffe://demo.example/a?b"], "malformed_spiffe_id"),
    "port": (["spiffe://demo.example:8080/a"], "malformed_spiffe_id"),
    "upper": (["SPIFFE://demo.example/a"], "malformed_spiffe_id"),
    "percent": (["spiffe://demo.example/%70erson/x"], "malformed_spiffe_id"),
    "newline": (["spiffe://demo.example/a\n"], "malformed_spiffe_id"),
    "urn-space": (["urn:a b"], "malformed_urn"),
}


@pytest.mark.parametrize("case", NAMES)
def test_the_canonical_subject(pki: Pki, case: str) -> None:
    uris, expected = NAMES[case]
    names = [x509.UniformResourceIdentifier(uri) for uri in uris]
    answer = identify(pki.with_names("plant", f"name-{case}", list(names)).der, "plant", now_ns())
    assert (answer.subject if isinstance(answer, Identity) else answer.code) == expected


def test_validity_is_judged_at_the_time_given_and_nowhere_else(pki: Pki) -> None:
    der = pki.expired("modbus-client", "plant", "old").der
    leaf = x509.load_der_x509_certificate(der)
    end = moment(leaf.not_valid_after_utc).judge_ns
    assert refused(der) == "expired"
    assert read(der, end).subject.endswith("/old")
    assert refused(der, end + 1) == "expired"
    assert refused(der, moment(leaf.not_valid_before_utc - timedelta(seconds=1)).judge_ns) == "not_yet_valid"


def test_an_authority_is_not_a_peer(pki: Pki) -> None:
    authority = x509.load_pem_x509_certificate(pki.anchors("plant").read_bytes())
    assert refused(authority.public_bytes(Encoding.DER)) == "authority"


def test_a_certificate_beyond_the_bound_is_not_read() -> None:
    assert refused(b"\x30" * (MOST_BYTES + 1)) == "unreadable"


@given(st.binary(max_size=300))
def test_noise_is_refused_and_never_raises(noise: bytes) -> None:
    assert refused(noise) == "unreadable"


@given(at=st.integers(min_value=0, max_value=10_000), bit=st.integers(min_value=0, max_value=7))
def test_a_certificate_with_one_bit_flipped_never_raises(der: bytes, at: int, bit: int) -> None:
    broken = bytearray(der)
    broken[at % len(der)] ^= 1 << bit
    assert isinstance(identify(bytes(broken), "plant", now_ns()), Identity | Refused)


@pytest.fixture(scope="session")
def der(pki: Pki) -> bytes:
    return pki.issue("modbus-client", "plant", "flipped", "operator").der
