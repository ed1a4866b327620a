"""The inbox of unknown applications: what waits, what a flood cannot do, decisions without a restart."""

import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gateway.cli import main
from gateway.identity import trust_folder
from gateway.identity.application import parse
from gateway.identity.applications import Admitted, Applications
from gateway.identity.certificate import Refused, fingerprint
from gateway.identity.inbox import WAITS, Bounds, Inbox
from gateway.model.errors import IdentityError
from gateway.model.moment import SECOND, Now
from tests.pki import Pki, moment

UNTRUSTED = Refused("untrusted", "nobody approved it")
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
FAST = Bounds(a_minute=10_000, a_minute_of_one=10_000)


def self_signed(name: str, uri: str = "urn:plant.example:app") -> bytes:
    """What a client makes for itself."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    every = dict.fromkeys(
        ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"), True
    )
    others = dict.fromkeys(
        ("key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"), False
    )
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(KEY.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), critical=False)
        .add_extension(x509.KeyUsage(**every, **others), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .sign(KEY, hashes.SHA256())
        .public_bytes(Encoding.DER)
    )


@pytest.fixture
def applications(pki: Pki, tmp_path: Path) -> Applications:
    (tmp_path / "data" / "trust").mkdir(parents=True)
    return Applications(pki.trust("plant"), tmp_path / "data" / "trust" / "plant")


@pytest.fixture
def inbox(applications: Applications) -> Inbox:
    return Inbox(applications.folder, FAST)


def at(seconds: float) -> Now:
    wall = int(datetime(2026, 11, 1, tzinfo=UTC).timestamp() * SECOND) + int(seconds * SECOND)
    return Now(wall, int(seconds * SECOND), trusted=True, judge_ns=wall)


def waiting(inbox: Inbox) -> list[str]:
    return [each.fingerprint for each in inbox.entries() if each.state == "inbox"]


def test_only_what_approving_would_mend_waits(inbox: Inbox) -> None:
    app = self_signed("a")
    assert {"untrusted", "chain_incomplete"} == WAITS
    for code in ("unreadable", "bad_signature", "weak_key", "expired", "revoked"):
        assert not inbox.put(app, Refused(code, ""), "192.0.2.1", at(0))
    assert not inbox.put(app[:-1], UNTRUSTED, "192.0.2.1", at(0))
    assert waiting(inbox) == []
    assert inbox.put(app, UNTRUSTED, "192.0.2.1", at(0))
    assert not inbox.put(app, UNTRUSTED, "192.0.2.9", at(1)), "it waits already"
    assert waiting(inbox) == [fingerprint(app)]


def test_what_waits_is_nobody_elses_and_says_whence(inbox: Inbox) -> None:
    inbox.put(self_signed("a"), UNTRUSTED, "2001:db8::7%eth0", at(5))
    (entry,) = inbox.entries()
    assert entry.seen is not None
    assert (entry.seen.source, entry.seen.why, entry.seen.at) == (
        "2001:db8::7",
        "untrusted",
        datetime(2026, 11, 1, 0, 0, 5, tzinfo=UTC),
    )
    assert stat.S_IMODE(entry.file.stat().st_mode) == 0o600
    assert stat.S_IMODE(entry.file.parent.stat().st_mode) == 0o700
    assert x509.load_pem_x509_certificate(entry.file.read_bytes()) == entry.chain[0]


def test_approved_and_rejected_without_a_restart(applications: Applications, inbox: Inbox) -> None:
    app = self_signed("a")
    refused = applications.admit(app, moment())
    assert isinstance(refused, Refused)
    inbox.put(app, refused, "192.0.2.1", at(0))
    assert isinstance(applications.if_approved(app, moment()), Admitted)
    assert not applications.changed(), "who waits is no trust"

    inbox.approve(inbox.find(fingerprint(app)))
    assert applications.changed()
    version = applications.version
    assert applications.reload()
    assert applications.version > version
    assert isinstance(applications.admit(app, moment()), Admitted)
    assert applications.approved == {fingerprint(app)}
    assert waiting(inbox) == []

    inbox.reject(inbox.find(fingerprint(app)))
    assert applications.changed()
    assert applications.reload()
    assert isinstance(applications.admit(app, moment()), Refused)
    assert not inbox.put(app, UNTRUSTED, "192.0.2.1", at(0)), "rejected waits no more"
    assert not applications.reload(), "the same files again are no change"

    inbox.approve(inbox.find(fingerprint(app)))
    applications.reload()
    assert isinstance(applications.admit(app, moment()), Admitted), "and an administrator may think again"


def test_rejecting_one_that_was_put_there_by_hand_too(applications: Applications, inbox: Inbox) -> None:
    app = self_signed("a")
    (inbox.folder / "trusted" / "uaexpert.der").write_bytes(app)
    inbox.add(parse(app), datetime.now(UTC))
    assert applications.reload()
    inbox.reject(inbox.find(fingerprint(app)[:20]))
    assert applications.reload()
    assert applications.approved == frozenset()


def test_keys_that_would_cost_us_much_are_not_tried(applications: Applications) -> None:
    """A signature is verified before a peer proved anything: the work for it is bounded."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "costly")])
    now = datetime.now(UTC)
    for bits, exponent in ((3072, 2**3000 + 1), (16384, 65537), (2048, 2**32 + 15)):
        key = rsa.RSAPublicNumbers(exponent, 2 ** (bits - 1) + 1).public_key()
        made = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key)
            .serial_number(1)
            .not_valid_before(now)
            .not_valid_after(now + timedelta(days=1))
            .sign(KEY, hashes.SHA256())
        )
        answer = applications.admit(made.public_bytes(Encoding.DER), moment())
        assert isinstance(answer, Refused)
        assert answer.code == "unreadable"


def test_quarantine_is_bounded(inbox: Inbox) -> None:
    """Invariant 9. Who holds most loses its oldest: what others wait for stays."""
    bounds = inbox.bounds = Bounds(most=12, of_one=5, a_minute=10_000, a_minute_of_one=10_000)
    legitimate = self_signed("legitimate")
    inbox.put(legitimate, UNTRUSTED, "192.0.2.1", at(0))
    for number in range(3 * bounds.of_one):
        inbox.put(self_signed("flood"), UNTRUSTED, "192.0.2.66", at(1 + number))
    assert len(waiting(inbox)) == 1 + bounds.of_one
    assert fingerprint(legitimate) in waiting(inbox)
    for number in range(30):
        inbox.put(self_signed("flood"), UNTRUSTED, f"192.0.2.{70 + number % 3}", at(100 + number))
    assert len(waiting(inbox)) == bounds.most
    assert fingerprint(legitimate) in waiting(inbox)
    assert inbox.dropped > 0
    newest = self_signed("newest")
    assert inbox.put(newest, UNTRUSTED, "192.0.2.2", at(200)), "a full inbox still takes a new peer's"
    assert {fingerprint(legitimate), fingerprint(newest)} < set(waiting(inbox))


def test_few_files_are_written_in_a_minute(inbox: Inbox) -> None:
    inbox.bounds = Bounds(a_minute=3, of_one=100)
    kept = [inbox.put(self_signed("x"), UNTRUSTED, "192.0.2.1", at(number)) for number in range(6)]
    assert kept == [True] * 3 + [False] * 3
    assert inbox.put(self_signed("x"), UNTRUSTED, "192.0.2.1", at(60)), "and again in the next"


def test_one_address_does_not_spend_the_minute_of_the_others(inbox: Inbox) -> None:
    bounds = inbox.bounds = Bounds()
    kept = [inbox.put(self_signed("x"), UNTRUSTED, "192.0.2.1", at(0)) for _ in range(bounds.a_minute)]
    assert sum(kept) == bounds.a_minute_of_one
    assert inbox.put(self_signed("y"), UNTRUSTED, "192.0.2.2", at(1))


def test_rejected_ones_are_bounded(inbox: Inbox) -> None:
    inbox.bounds = Bounds(rejected=3, a_minute=10_000, a_minute_of_one=10_000, of_one=100)
    apps = [self_signed("x") for _ in range(5)]
    for number, app in enumerate(apps):
        inbox.put(app, UNTRUSTED, "192.0.2.1", at(number))
        file = inbox.reject(inbox.find(fingerprint(app)))
        # Times of files are what tells the oldest; this file system may count in ticks.
        os.utime(file, (number, number))
    assert len(trust_folder.files(inbox.folder / "rejected")) == 3
    assert inbox.put(apps[0], UNTRUSTED, "192.0.2.1", at(9)), "the oldest is forgotten and may wait again"


def test_a_full_disk_refuses_this_peer_as_any_other(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gateway.identity.inbox.os.open", full)
    assert not inbox.put(self_signed("a"), UNTRUSTED, "192.0.2.1", at(0))
    assert inbox.dropped == 1


def test_every_file_is_used_or_named(applications: Applications, inbox: Inbox, pki: Pki) -> None:
    folder = applications.folder
    app = self_signed("a")
    (folder / "trusted" / "good.der").write_bytes(app)
    (folder / "trusted" / "broken.pem").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n")
    (folder / "trusted" / "half.der").write_bytes(app[:-5])
    (folder / "trusted" / "huge.der").write_bytes(bytes(trust_folder.MOST_FILE_BYTES + 1))
    (folder / "trusted" / ".under-way.new").write_text("nothing yet")
    (folder / "issuers" / "leaf.pem").write_bytes(
        pki.issue("opcua-application", "plant", "no-ca").cert.read_bytes()
    )
    (folder / "crls" / "anchors.pem").write_bytes(pki.crl("plant").read_bytes())
    (folder / "crls" / "strangers.pem").write_bytes(pki.crl("it").read_bytes())
    assert applications.reload()
    assert applications.approved == {fingerprint(app)}
    assert applications.error is not None
    named = {line.split(":")[0].split(" ")[0].rsplit("/", 1)[1] for line in applications.error.splitlines()}
    assert named == {"broken.pem", "half.der", "huge.der", "leaf.pem", "anchors.pem", "strangers.pem"}


def test_a_folder_is_bounded(applications: Applications, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust_folder, "MOST_FILES", 3)
    for number in range(5):
        (applications.folder / "trusted" / f"{number}.der").write_bytes(self_signed("x"))
    applications.reload()
    assert len(applications.approved) == 3
    assert applications.error is not None
    assert "more than 3 files" in applications.error


def test_judgements_that_are_remembered_are_bounded(
    applications: Applications, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.identity.applications.MOST_REMEMBERED", 4)
    for _ in range(8):
        applications.admit(self_signed("x"), moment())
    assert len(applications._judged) == 4


def test_a_change_of_the_zone_is_a_change_here(fresh_pki: Pki, tmp_path: Path) -> None:
    """Invariant 7: no judgement outlives the trust that it was made under, whoever reloads first."""
    (tmp_path / "trust").mkdir()
    app = fresh_pki.issue("opcua-application", "plant", "app").der
    zone = fresh_pki.trust("plant")
    applications = Applications(zone, tmp_path / "trust" / "plant")
    assert isinstance(applications.admit(app, moment()), Admitted)
    fresh_pki.revoke("plant", "app")
    version = applications.version
    assert zone.reload()
    answer = applications.admit(app, moment())
    assert isinstance(answer, Refused)
    assert (answer.code, applications.version > version) == ("revoked", True)


def test_a_fingerprint_must_mean_one(inbox: Inbox) -> None:
    inbox.put(self_signed("a"), UNTRUSTED, "192.0.2.1", at(0))
    for prefix in ("", "zz", "0" * 64):
        with pytest.raises(IdentityError, match="no certificate"):
            inbox.find(prefix)


# the command ----------------------------------------------------------------------------------------------


def run(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str]:
    code = main(["pki", "inbox", *map(str, words)])
    printed = capsys.readouterr()
    return code, printed.out + printed.err


def test_the_commands(applications: Applications, inbox: Inbox, capsys: pytest.CaptureFixture[str]) -> None:
    data = applications.folder.parent.parent
    app = self_signed("Ua\x1b[2JExpert")
    inbox.put(app, UNTRUSTED, "192.0.2.7", at(0))
    code, printed = run(capsys, "list", "--data", data)
    assert code == 0
    for shown in (
        fingerprint(app),
        "urn:plant.example:app",
        "from 192.0.2.7",
        "refused then: untrusted",
        "plant  waiting",
    ):
        assert shown in printed
    assert "\x1b" not in printed, "a stranger's text does not command the terminal"

    code, printed = run(capsys, "approve", fingerprint(app)[:15], "--data", data)
    assert (code, "too short" in printed) == (2, True)
    colons = ":".join(fingerprint(app).upper()[at : at + 2] for at in range(0, 64, 2))
    code, printed = run(capsys, "approve", colons, "--data", data, "--json")
    assert (code, '"state": "approved"' in printed) == (0, True)
    applications.reload()
    assert isinstance(applications.admit(app, moment()), Admitted)

    assert run(capsys, "list", "--data", data) == (0, "nothing waits\n")
    assert "plant  approved" in run(capsys, "list", "--all", "--data", data)[1]
    code, printed = run(capsys, "reject", fingerprint(app)[:6], "--zone", "plant", "--data", data)
    assert (code, "plant  rejected" in printed) == (0, True)
    applications.reload()
    assert isinstance(applications.admit(app, moment()), Refused)
    assert run(capsys, "reject", "00", "--data", data)[0] == 2
    assert run(capsys, "list", "--data", data / "elsewhere")[0] == 2


def test_a_file_is_approved_before_its_application_ever_came(
    applications: Applications, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, app = applications.folder.parent.parent, self_signed("a")
    file = tmp_path / "uaexpert.der"
    file.write_bytes(app)
    assert run(capsys, "approve", "--file", file, "--data", data)[0] == 2, "in which zone?"
    assert run(capsys, "approve", "--file", file, "--zone", "nowhere", "--data", data)[0] == 2
    assert run(capsys, "approve", "--file", file, "--zone", "plant", "--data", data)[0] == 0
    applications.reload()
    assert isinstance(applications.admit(app, moment()), Admitted)


def test_a_newer_data_folder_is_left_alone(
    applications: Applications, capsys: pytest.CaptureFixture[str]
) -> None:
    data = applications.folder.parent.parent
    (data / "format").write_text("99\n")
    assert run(capsys, "list", "--data", data)[0] == 2
