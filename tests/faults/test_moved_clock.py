"""Invariant 11 with the machine's clock really moved: a boot in 1970, expiry, a stale list.

Each test starts a Python of its own under faketime, which does what a listener does: TLS with the product's
context, then `admit` at the time that `Clock` gives.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.pki import Credential, Pki

pytestmark = pytest.mark.needs("faketime")

PROGRAM = """
import json, ssl, sys, time
from pathlib import Path
from gateway.config.settings import ClockSection, Zone
from gateway.identity.certificate import Refused
from gateway.identity.contexts import server_context
from gateway.identity.expiry import Expiries
from gateway.identity.trust import ZoneTrust
from gateway.relay.clock import Clock

pki, state, cert, key, ccert, ckey = (Path(word) for word in sys.argv[1:7])
clock = Clock(state, ClockSection())
now = clock.now()
zone = Zone(name="plant", anchors=pki / "plant/anchors.pem", crls=(pki / "plant/crl.pem",))
trust = ZoneTrust(zone)

client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
client_context.check_hostname = False
client_context.verify_mode = ssl.CERT_NONE
client_context.load_cert_chain(ccert, ckey)
a, b = ssl.MemoryBIO(), ssl.MemoryBIO()
server = server_context(cert, key, trust).wrap_bio(a, b, server_side=True)
client = client_context.wrap_bio(b, a)
for _ in range(6):
    for side in (client, server):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            pass
der = server.getpeercert(binary_form=True)
admitted = trust.admit(der, now)
clock.keep(now)
print(json.dumps({
    "year": time.gmtime().tm_year,
    "trusted": now.trusted,
    "clock": clock.state(now),
    "crl": trust.crl_state(now),
    "admitted": admitted.code if isinstance(admitted, Refused) else admitted.subject,
    "alarms": [[a.name, a.level] for a in Expiries().alarms([("gateway", int(sys.argv[7]))], now.judge_ns)],
}))
"""

At = Callable[..., dict[str, Any]]


@pytest.fixture
def hmi(fresh_pki: Pki) -> Credential:
    return fresh_pki.issue("modbus-client", "plant", "hmi", "operator", days=60)


@pytest.fixture
def at(fresh_pki: Pki, hmi: Credential, tmp_path: Path, component: Callable[[str], str]) -> At:
    """Run the program with the machine's clock at that moment."""
    shown = fresh_pki.issue("gateway-server", "plant", "gw", days=60)
    expires_ns = int((fresh_pki.now + timedelta(days=60)).timestamp()) * 1_000_000_000
    files = [fresh_pki.dir, tmp_path / "clock", shown.cert, shown.key, hmi.cert, hmi.key]

    def run(moment: datetime) -> dict[str, Any]:
        words = [str(word) for word in (*files, expires_ns)]
        faked = [component("faketime"), f"{moment:%Y-%m-%d %H:%M:%S}", sys.executable, "-c", PROGRAM, *words]
        done = subprocess.run(
            faked,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env={"TZ": "UTC", "PATH": "/usr/bin:/bin", "PYTHONPATH": str(Path(__file__).parents[2])},
        )
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        assert answer["year"] == moment.year, "the clock was really moved"
        return answer

    return run


BOOT = datetime(1970, 1, 1, 0, 10, tzinfo=UTC)
HMI = "spiffe://demo.example/plant/hmi"


def test_a_boot_in_1970_locks_nobody_out_and_trusts_no_clock(fresh_pki: Pki, at: At) -> None:
    assert at(fresh_pki.now)["trusted"], "a good run, which keeps the time"
    answer = at(BOOT)
    assert (answer["trusted"], answer["clock"], answer["crl"]) == (False, "untrusted", "fresh")
    assert answer["admitted"] == HMI


def test_a_boot_in_1970_lets_no_expired_certificate_in(fresh_pki: Pki, at: At) -> None:
    assert at(fresh_pki.now + timedelta(days=61))["admitted"] == "expired"
    assert at(BOOT)["admitted"] == "expired", "judged by the last time known good"


def test_a_boot_in_1970_lets_no_revoked_certificate_in(fresh_pki: Pki, at: At) -> None:
    assert at(fresh_pki.now)["admitted"] == HMI
    fresh_pki.revoke("plant", "hmi")
    assert at(BOOT)["admitted"] == "revoked"


def test_a_stale_list_flags_and_then_its_grace_is_over(fresh_pki: Pki, at: At) -> None:
    until = fresh_pki.now + timedelta(days=30)
    states = {timedelta(hours=-1): "fresh", timedelta(hours=1): "stale", timedelta(days=2): "grace_over"}
    for later, state in states.items():
        answer = at(until + later)
        assert (answer["crl"], answer["admitted"], answer["trusted"]) == (state, HMI, True)


def test_an_expired_gateway_certificate_alarms_and_still_shakes_hands(fresh_pki: Pki, at: At) -> None:
    """Expiry of our own certificate is told; whether a peer still talks to us is the peer's decision."""
    assert at(fresh_pki.now)["alarms"] == [["gateway", "90_days"]]
    answer = at(fresh_pki.now + timedelta(days=61))
    assert answer["alarms"] == [["gateway", "expired"]]
    assert answer["admitted"] == "expired", "the handshake was done: admit was asked"
