"""Modbus/TCP Security §6, §10.2.3: certificates, those that are shown to us and those that we show."""

import asyncio
import ssl
import subprocess
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.interop.test_relay import value
from tests.interop.test_tls import VERSIONS, gate
from tests.pki import Pki

from .certificates import SPOILED, self_signed, spoiled, version_1
from .hello import client_hello, offer, records

SUITES = (0xC02B, 0xC02F)
REFUSED = (ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)
both_versions = pytest.mark.parametrize("version", VERSIONS, ids=["1.2", "1.3"])


@both_versions
async def test_r_03_only_a_certificate_that_rfc_5280_accepts_gets_in(
    pki: Pki, version: ssl.TLSVersion
) -> None:
    tag = version.name[-1]
    fine = spoiled(pki, f"r03-fine-{tag}", None)
    wrong = {how: spoiled(pki, f"r03-{how}-{tag}", how) for how in SPOILED}
    wrong["version-1"] = version_1(pki, f"r03-version-1-{tag}")
    wrong["self-signed"] = self_signed(pki, f"r03-self-signed-{tag}")
    wrong["revoked"] = pki.issue("modbus-client", "plant", f"r03-revoked-{tag}", "operator")
    pki.revoke("plant", f"r03-revoked-{tag}")
    async with gate(pki) as here:
        assert await here.try_to_read(fine, version) == value(1), "the control: nothing is wrong with it"
        for how, credential in wrong.items():
            with pytest.raises(REFUSED):
                pytest.fail(f"{how}: {await here.try_to_read(credential, version)!r}")
        assert len(here.plant.device.seen) == 1


@pytest.mark.needs("openssl")
@pytest.mark.parametrize("key", ["ecdsa", "rsa"])
def test_r_47_the_certificates_we_show_are_of_rfc_5280(
    pki: Pki, rsa_pki: Pki, component: Callable[[str], str], key: str
) -> None:
    of = rsa_pki if key == "rsa" else pki
    shown = [of.dir / "plant" / "issued" / "gate.pem"] if key == "rsa" else []
    shown += [of.issue("gateway-server", "plant", f"r47-{key}").cert]
    shown += [of.issue("modbus-client", "plant", f"r47-client-{key}", "operator").cert]
    command: list[str | Path] = [component("openssl"), "verify", "-x509_strict", "-CAfile", of.root]
    command += ["-untrusted", of.dir / "plant" / "ca.pem", *shown]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for file in shown:
        assert x509.load_pem_x509_certificate(file.read_bytes()).version is x509.Version.v3


async def chain(pki: Pki) -> list[x509.Certificate]:
    """The certificates of the gateway as they come over the wire."""
    async with gate(pki) as here:
        flight = await offer(here.listener.port, records(client_hello(*SUITES)))
    return [x509.load_der_x509_certificate(der) for der in flight.certificates]


async def test_r_45_the_gateways_certificate_is_signed_by_an_authority(pki: Pki) -> None:
    own, above, *_ = await chain(pki)
    own.verify_directly_issued_by(above)
    assert own.issuer != own.subject
    assert above.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


@pytest.mark.parametrize("key", ["ecdsa", "rsa"])
async def test_r_46_the_chain_is_sent_down_to_the_root(pki: Pki, rsa_pki: Pki, key: str) -> None:
    of = rsa_pki if key == "rsa" else pki
    sent = await chain(of)
    for lower, upper in pairwise(sent):
        lower.verify_directly_issued_by(upper)
    root = sent[-1]
    root.verify_directly_issued_by(root)
    assert root.public_bytes(Encoding.PEM) == of.root.read_bytes()
    assert len(sent) == 3
