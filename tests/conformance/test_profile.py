"""The stricter profile, Secure SunSpec Modbus: what it asks for beyond Modbus/TCP Security."""

import ssl
from pathlib import Path
from struct import pack
from typing import get_args

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.identity import minting
from gateway.identity.certificate import ROLE_OID
from gateway.identity.minting import Issuer
from gateway.identity.trust import ZoneTrust
from tests.interop.test_relay import read, value, write
from tests.interop.test_tls import VERSIONS, gate
from tests.pki import TRUST_DOMAIN, OddRole, Pki

from .certificates import Draft
from .conftest import Accepted
from .hello import client_hello, offer, records
from .rights import Rights, ruled
from .test_roles import DENIED_READ, DENIED_WRITE, adu, asked

GRID_ROLES = ("ReadOnly", "GridService", "NetworkAdministrator", "SuperAdministrator")
COMMANDED, PROTECTED = 10, 19
"Two registers of plc-1 that bounds let anybody write: one for grid services, one for administrators."
MANY = 12


@pytest.fixture
def rights(tmp_path: Path) -> Rights:
    """The shipped bundle, the end user's to change."""
    return Rights(tmp_path)


@pytest.mark.parametrize("version", VERSIONS, ids=["1.2", "1.3"])
async def test_s_01_without_one_good_role_every_request_is_01_and_the_session_stays(
    pki: Pki, rights: Rights, version: ssl.TLSVersion
) -> None:
    tag = version.name[-1]
    shown = {
        odd: pki.odd_role("plant", f"s01-{odd.replace('_', '-')}-{tag}", odd) for odd in get_args(OddRole)
    }
    shown["absent"] = pki.issue("modbus-client", "plant", f"s01-absent-{tag}")
    rights.bind(f"s01-absent-{tag}", "operator")
    async with ruled(pki, rights) as here:
        for odd, credential in shown.items():
            client = await here.connect(credential, version)
            for tid in range(5):
                assert await client.ask(read(tid, 1)) == DENIED_READ, odd
                assert await client.ask(write(tid, 10, 1)) == DENIED_WRITE, odd
            assert not client.reader.at_eof()
            client.close()
        assert here.plant.device.seen == []


async def test_s_02_a_denial_says_no_more_and_writes_nothing_in_part(pki: Pki, rights: Rights) -> None:
    """Two registers of which one is granted, and a read of one register with a write of another."""
    shown = pki.issue("modbus-client", "plant", "s02", "operator")
    rights.bind("s02", "operator")
    rights.grant("operator", "write", "holding", 10, 10)
    half = bytes.fromhex("10 000a 0002 04 0001 0002")
    with_read = bytes.fromhex("17 000a 0001 000b 0001 02 00ff")
    async with ruled(pki, rights) as here:
        client = await here.connect(shown)
        for code, pdu in ((0x90, half), (0x97, with_read)):
            client.send(adu(7, pdu))
            assert await client.reader.readexactly(9) == pack(">HHHBBB", 7, 0, 3, 1, code, 1)
        assert here.plant.device.seen == []
        assert await client.ask(write(8, 10, 1)) == write(8, 10, 1)[7:], "the half that is granted"
        client.close()


async def test_s_03_the_servers_certificate_carries_no_role(pki: Pki) -> None:
    async with gate(pki) as here:
        flight = await offer(here.listener.port, records(client_hello(0xC02B)))
    for der in flight.certificates:
        found = x509.load_der_x509_certificate(der).extensions
        assert ROLE_OID not in [each.oid.dotted_string for each in found]


async def test_s_04_the_servers_key_is_on_p_256(pki: Pki) -> None:
    async with gate(pki) as here:
        flight = await offer(here.listener.port, records(client_hello(0xC02B)))
    key = x509.load_der_x509_certificate(flight.certificates[0]).public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert isinstance(key.curve, ec.SECP256R1)


def test_s_05_aes_128_gcm_in_both_versions(accepted: Accepted) -> None:
    assert 0xC02B in accepted.ecdsa
    assert 0x1301 in accepted.tls13


def test_s_06_chacha20_poly1305_in_both_versions(accepted: Accepted) -> None:
    assert 0xCCA9 in accepted.ecdsa
    assert 0x1303 in accepted.tls13


def test_s_07_no_ccm(accepted: Accepted) -> None:
    assert not accepted.every & {0xC0AC, 0xC0AE, 0x1304, 0x1305}


class ManyAnchors(Pki):
    """A zone of many authorities, each with its list."""

    def add(self, count: int) -> Issuer:
        """That many more; the last of them."""
        made = []
        for place in range(count):
            key = minting.new_key("p-256")
            name = f"authority {place}"
            own = Issuer(minting.authority(name, TRUST_DOMAIN, key, None, self.now, 365), key)
            revoked = minting.revocation_list(own, [], 1, self.now, 30)
            (self.dir / f"extra-{place}.crl").write_bytes(revoked)
            made.append(own)
        with self.anchors("plant").open("ab") as anchors:
            for own in made:
                anchors.write(own.certificate.public_bytes(Encoding.PEM))
        return made[-1]

    def trust(self, zone: str, **changes: object) -> ZoneTrust:
        """With the lists of them all."""
        return super().trust(zone, crls=(self.crl(zone), *sorted(self.dir.glob("extra-*.crl"))), **changes)


async def test_s_08_ten_and_more_trust_anchors(fresh_pki: Pki) -> None:
    many = ManyAnchors(fresh_pki.dir, fresh_pki.now)
    last = many.add(MANY - 1)
    draft = Draft(many, "s08-last")
    draft.above = last
    assert many.trust("plant").anchors_pem().count("BEGIN CERTIFICATE") == MANY
    async with gate(many) as here:
        assert await here.try_to_read(draft.stored()) == value(1)
        first = many.issue("modbus-client", "plant", "s08-first", "operator")
        assert await here.try_to_read(first) == value(1)


@pytest.mark.parametrize("role", GRID_ROLES)
async def test_s_09_the_four_roles_can_be_provisioned(pki: Pki, rights: Rights, role: str) -> None:
    """Roles are data: nothing of the product knows these names."""
    name = f"{role}SunSpec"
    commands, protects = role != "ReadOnly", role.endswith("Administrator")
    rights.bind(f"s09-{role}", name)
    rights.grant(name, "read", "holding", 0, 99)
    if commands:
        rights.grant(name, "write", "holding", COMMANDED, COMMANDED)
    if protects:
        rights.grant(name, "write", "holding", PROTECTED, PROTECTED)
    shown = pki.issue("modbus-client", "plant", f"s09-{role}", name)
    async with ruled(pki, rights) as here:
        requests = read(1, 7), write(2, COMMANDED, 1), write(3, PROTECTED, 1)
        expected = [
            value(7),
            requests[1][7:] if commands else DENIED_WRITE,
            requests[2][7:] if protects else DENIED_WRITE,
        ]
        assert await asked(here, shown, *requests) == expected
