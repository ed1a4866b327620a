"""What the conformance tests share: authorities, what is accepted, and which tests of this session failed."""

import asyncio
from pathlib import Path

import pytest

from tests.interop.test_tls import gate
from tests.pki import Credential, Pki, fresh_pki, pki

from .certificates import rsa_server
from .hello import scan

__all__ = ["fresh_pki", "pki"]

_failed: set[str] = set()


@pytest.fixture(scope="session")
def rsa_pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    """An authority whose gateway shows an RSA certificate."""
    made = Pki(tmp_path_factory.mktemp("rsa") / "pki")
    rsa_server(made, "gate")
    return made


class Accepted:
    """The suites that a listener negotiates, found by offering it every code point there is."""

    def __init__(self, ecdsa: set[int], rsa: set[int], tls13: set[int]) -> None:
        self.ecdsa, self.rsa, self.tls13 = ecdsa, rsa, tls13

    @property
    def every(self) -> set[int]:
        """All of them."""
        return self.ecdsa | self.rsa | self.tls13


@pytest.fixture(scope="session")
def accepted(pki: Pki, rsa_pki: Pki) -> Accepted:
    """One scan of 65,534 code points for each kind of server key and each version."""

    async def ask(of: Pki, *, tls13: bool) -> set[int]:
        async with gate(of) as here:
            return await scan(here.listener.port, tls13=tls13)

    ecdsa, rsa = (asyncio.run(ask(of, tls13=False)) for of in (pki, rsa_pki))
    tls13 = [asyncio.run(ask(of, tls13=True)) for of in (pki, rsa_pki)]
    assert tls13[0] == tls13[1], "TLS 1.3 suites do not depend on the key (RFC 8446 §B.4)"
    return Accepted(ecdsa, rsa, tls13[0])


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The page is judged last: by then the session knows which of its verdicts did not hold."""
    items.sort(key=lambda item: item.path == Path(__file__).with_name("test_page.py"))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Remember the failed tests of this folder."""
    if report.failed and "tests/conformance/" in report.nodeid:
        _failed.add(report.nodeid.split("::")[-1].split("[")[0])


@pytest.fixture
def failed() -> set[str]:
    """Names of the test functions of this folder that have failed in this session."""
    return _failed


@pytest.fixture(scope="session")
def hmi(pki: Pki) -> Credential:
    """An operator of the plant."""
    return pki.issue("modbus-client", "plant", "conformance-hmi", "operator")
