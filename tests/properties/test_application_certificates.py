"""Chains of application certificates: whatever is sent, the answer is a value; what was not issued is out."""

from pathlib import Path

import pytest
from cryptography import x509
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.identity.application import MOST_CHAIN_BYTES, raw
from gateway.identity.applications import Admitted, Applications
from gateway.identity.certificate import Refused
from tests.pki import Pki, moment


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Applications, bytes, bytes]:
    folder: Path = tmp_path_factory.mktemp("chains")
    made = Pki(folder / "pki")
    cert = made.issue("opcua-application", "plant", "app").cert
    (folder / "trust").mkdir()
    applications = Applications(made.trust("plant"), folder / "trust" / "plant")
    ders = [raw(each) for each in x509.load_pem_x509_certificates(cert.read_bytes())]
    return applications, ders[0], b"".join(ders)


@given(st.binary(max_size=MOST_CHAIN_BYTES + 1))
def test_any_bytes(chain: tuple[Applications, bytes, bytes], data: bytes) -> None:
    assert isinstance(chain[0].admit(data, moment()), Refused)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.tuples(st.integers(0, 2000), st.integers(0, 3), st.binary(min_size=1, max_size=4)),
        min_size=1,
        max_size=4,
    )
)
def test_a_chain_with_some_bytes_changed(
    chain: tuple[Applications, bytes, bytes], changes: list[tuple[int, int, bytes]]
) -> None:
    applications, leaf, whole = chain
    data = whole
    for at, gone, put in changes:
        at %= len(data) + 1  # anywhere in what is left
        data = data[:at] + put + data[at + gone :]
    answer = applications.admit(data, moment())
    assert isinstance(answer, Admitted | Refused)
    if isinstance(answer, Admitted):
        assert data.startswith(answer.certificate)
        # Only the count of unused bits of the signature can differ: no content that was not signed.
        assert x509.load_der_x509_certificate(answer.certificate).tbs_certificate_bytes == (
            x509.load_der_x509_certificate(leaf).tbs_certificate_bytes
        )
