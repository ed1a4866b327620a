"""Whom a zone lets in, what it does about revocation lists, and how it takes new files (invariants 7, 11)."""

import os
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.identity.certificate import Refused
from gateway.identity.minting import Revoked, revocation_list
from gateway.identity.trust import MOST_REMEMBERED, ZoneTrust
from gateway.model.errors import IdentityError
from gateway.model.identity import Identity
from tests.pki import Pki, moment


def code(trust: ZoneTrust, der: bytes) -> str:
    answer = trust.admit(der, moment())
    return "in" if isinstance(answer, Identity) else answer.code


def test_the_other_zone_under_the_same_root_does_not_get_in(pki: Pki) -> None:
    plant = pki.issue("modbus-client", "plant", "zone-a", "operator").der
    it = pki.issue("modbus-client", "it", "zone-b", "operator").der
    assert (code(pki.trust("plant"), plant), code(pki.trust("it"), it)) == ("in", "in")
    assert (code(pki.trust("plant"), it), code(pki.trust("it"), plant)) == (
        "unknown_issuer",
        "unknown_issuer",
    )


def test_even_with_the_root_among_the_anchors_only_direct_issue_counts(fresh_pki: Pki) -> None:
    anchors = fresh_pki.anchors("plant")
    anchors.write_bytes(anchors.read_bytes() + fresh_pki.root.read_bytes())
    it = fresh_pki.issue("it-client", "it", "zone-c").der
    assert code(fresh_pki.trust("plant"), it) == "unknown_issuer"


def test_another_authority_of_the_same_name_is_another_authority(fresh_pki: Pki, tmp_path: Path) -> None:
    twin = Pki(tmp_path / "twin")
    der = twin.issue("modbus-client", "plant", "t", "operator").der
    assert code(fresh_pki.trust("plant"), der) == "unknown_issuer"


def test_revoked_is_out_as_soon_as_the_list_is_loaded(fresh_pki: Pki) -> None:
    der = fresh_pki.issue("modbus-client", "plant", "r", "operator").der
    other = fresh_pki.issue("modbus-client", "plant", "s", "operator").der
    trust = fresh_pki.trust("plant")
    assert (code(trust, der), trust.changed()) == ("in", False)
    fresh_pki.revoke("plant", "r")
    assert trust.changed()
    assert trust.reload()
    assert (code(trust, der), code(trust, other)) == ("revoked", "in")
    assert (trust.version, trust.changed(), trust.error) == (2, False, None)
    assert not trust.reload(), "the same files again are no change"
    assert trust.version == 2


def test_a_certificate_in_der_and_a_list_in_der_are_read_too(fresh_pki: Pki) -> None:
    der = fresh_pki.issue("modbus-client", "plant", "d", "operator").der
    fresh_pki.revoke("plant", "d")
    for path, load in (
        (fresh_pki.anchors("plant"), x509.load_pem_x509_certificate),
        (fresh_pki.crl("plant"), x509.load_pem_x509_crl),
    ):
        path.write_bytes(load(path.read_bytes()).public_bytes(Encoding.DER))
    assert code(fresh_pki.trust("plant"), der) == "revoked"


def test_stale_flags_and_then_the_grace_is_over_but_nobody_is_locked_out(fresh_pki: Pki) -> None:
    der = fresh_pki.issue("modbus-client", "plant", "q", "operator").der
    trust = fresh_pki.trust("plant", crl_grace_s=3600)
    until = fresh_pki.now + timedelta(days=30)
    for later, state in ((0, "fresh"), (1, "stale"), (3600, "stale"), (3601, "grace_over")):
        at = moment(until + timedelta(seconds=later))
        assert trust.crl_state(at) == state
        assert isinstance(trust.admit(der, at), Identity)


@pytest.mark.parametrize("required", [True, False])
def test_a_list_that_is_not_there(fresh_pki: Pki, required: bool) -> None:
    der = fresh_pki.issue("modbus-client", "plant", "m", "operator").der
    trust = fresh_pki.trust("plant", crls=(), crl_required=required)
    assert (code(trust, der), trust.crl_state(moment())) == (
        ("crl_missing", "missing") if required else ("in", "fresh")
    )


@pytest.mark.parametrize("required", [True, False])
@pytest.mark.parametrize("broken", [b"", b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n", None])
def test_a_broken_list_at_start_lets_nobody_in_and_says_so(
    fresh_pki: Pki, broken: bytes | None, required: bool
) -> None:
    der = fresh_pki.issue("modbus-client", "plant", "b", "operator").der
    good = fresh_pki.crl("plant").read_bytes()
    fresh_pki.crl("plant").unlink()
    if broken is not None:
        fresh_pki.crl("plant").write_bytes(broken)
    trust = fresh_pki.trust("plant", crl_required=required)
    assert (code(trust, der), trust.crl_state(moment())) == ("crl_missing", "missing")
    assert trust.error is not None
    assert str(fresh_pki.crl("plant")) in trust.error
    fresh_pki.crl("plant").write_bytes(good)
    assert trust.changed()
    assert trust.reload()
    assert code(trust, der) == "in"
    assert trust.error is None


def test_a_broken_new_file_keeps_the_old_trust(fresh_pki: Pki) -> None:
    der = fresh_pki.issue("modbus-client", "plant", "k", "operator").der
    revoked = fresh_pki.issue("modbus-client", "plant", "l", "operator").der
    fresh_pki.revoke("plant", "l")
    trust = fresh_pki.trust("plant")
    for path in (fresh_pki.crl("plant"), fresh_pki.anchors("plant")):
        good = path.read_bytes()
        path.write_bytes(good[: len(good) // 2])
        assert trust.changed()
        assert not trust.reload()
        assert trust.error is not None
        assert not trust.changed(), "one report for one bad file"
        assert (code(trust, der), code(trust, revoked), trust.version) == ("in", "revoked", 1)
        path.write_bytes(good)
        assert trust.changed()
        trust.reload()
        assert trust.error is None


def test_an_older_list_put_back_is_refused(fresh_pki: Pki) -> None:
    der = fresh_pki.issue("modbus-client", "plant", "o", "operator").der
    before = fresh_pki.crl("plant").read_bytes()
    fresh_pki.revoke("plant", "o")
    trust = fresh_pki.trust("plant")
    fresh_pki.crl("plant").write_bytes(before)
    assert not trust.reload()
    assert trust.error is not None
    assert "older" in trust.error
    assert code(trust, der) == "revoked"


def test_a_list_signed_by_the_other_zone_is_refused(fresh_pki: Pki) -> None:
    trust = fresh_pki.trust("plant", crls=(fresh_pki.crl("it"),))
    assert trust.crl_state(moment()) == "missing"
    assert trust.error is not None
    assert "no trust anchor" in trust.error


def test_an_issuing_authority_that_the_root_revoked_is_no_anchor(fresh_pki: Pki) -> None:
    der = fresh_pki.issue("modbus-client", "plant", "a", "operator").der
    issuing = x509.load_pem_x509_certificate(fresh_pki.anchors("plant").read_bytes())
    fresh_pki.anchors("plant").write_bytes(
        fresh_pki.anchors("plant").read_bytes() + fresh_pki.root.read_bytes()
    )
    root_crl = fresh_pki.dir / "root" / "crl.pem"
    trust = fresh_pki.trust("plant", crls=(fresh_pki.crl("plant"), root_crl))
    assert (code(trust, der), trust.crl_state(moment())) == ("in", "fresh")
    line = Revoked(issuing.serial_number, fresh_pki.now)
    root_crl.write_bytes(revocation_list(fresh_pki.issuer("root"), [line], 7, fresh_pki.now, 30))
    assert trust.reload()
    assert code(trust, der) == "unknown_issuer"
    assert trust.anchors_pem().count("BEGIN CERTIFICATE") == 1


def test_anchors_that_cannot_be_used_are_an_error(fresh_pki: Pki) -> None:
    leaf = fresh_pki.issue("modbus-client", "plant", "leaf").cert
    for data, message in (
        (b"", "not a certificate"),
        (leaf.read_bytes(), "not the certificate of an authority"),
    ):
        fresh_pki.anchors("plant").write_bytes(data)
        with pytest.raises(IdentityError, match=message):
            fresh_pki.trust("plant")
    fresh_pki.anchors("plant").unlink()
    with pytest.raises(IdentityError, match="cannot be read"):
        fresh_pki.trust("plant")


def test_an_expired_authority_vouches_for_nobody(fresh_pki: Pki) -> None:
    der = fresh_pki.issue("modbus-client", "plant", "e", days=9999).der
    later = moment(fresh_pki.now + timedelta(days=3651))
    answer = fresh_pki.trust("plant").admit(der, later)
    assert isinstance(answer, Refused)
    assert answer.code == "issuer_expired"


def test_replacing_a_file_by_rename_is_seen_even_with_equal_size_and_time(fresh_pki: Pki) -> None:
    trust = fresh_pki.trust("plant")
    crl = fresh_pki.crl("plant")
    before = crl.stat()
    twin = crl.with_name("twin")
    twin.write_bytes(crl.read_bytes())
    os.utime(twin, ns=(before.st_atime_ns, before.st_mtime_ns))
    twin.replace(crl)
    assert trust.changed()


def test_what_is_remembered_is_bounded(pki: Pki) -> None:
    trust = pki.trust("plant")
    for number in range(MOST_REMEMBERED + 10):
        assert code(trust, number.to_bytes(4, "big")) == "unreadable"
    assert len(trust._issued) == MOST_REMEMBERED
