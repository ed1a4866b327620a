"""Must hold 5 of policy: what is unsigned, expired, wrongly signed, rolled back or truncated is never active.

A real gateway whose bundle is a signed archive on disk. Each spoilt archive takes the place of the good one;
the gateway must record why it refuses it and go on deciding by what it had.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import main
from gateway.model.moment import SECOND
from gateway.ops.control import ask
from gateway.policy import archive
from gateway.policy import bundle as bundles
from gateway.policy.bundle import DATA, MANIFEST, SIGNATURES, Bundle
from gateway.policy.release import Release
from tests.faults.site import ANSWER_S, Site, after_last_start, until
from tests.unit.policy.archives import Signer, payload, with_token

SERIAL = 10
"Of the archive that is active."
WRITTEN = bytes.fromhex("06000a0007")
POLICY = "policy: {bundle: dmz.tar.gz, signing: {keys: [release.pem], scope: dmz}}"
HOUR = 3_600


class Signed(Site):
    """A site whose policy comes in a signed archive."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.config.write_text(self.config.read_text().replace("policy: {bundle: policies}", POLICY))
        self.signer = Signer(folder)
        (folder / "other").mkdir()
        self.other = Signer(folder / "other")
        self.content = bundles.read(self.policies)
        self.archive = folder / "dmz.tar.gz"
        self.put(self.signer.archive(self.bundle(SERIAL)))

    def bundle(self, serial: int, expires_s: int | None = None, issued_s: int = 0) -> Bundle:
        """The site's policy as a release of an hour ago, give or take."""
        now = int(time.time())
        return self.content.released(
            Release(
                serial=serial,
                issued_ns=(now - HOUR + issued_s) * SECOND,
                expires_ns=None if expires_s is None else (now + expires_s) * SECOND,
            )
        )

    def put(self, data: bytes) -> None:
        """Replace the archive in one step."""
        fresh = self.archive.with_name("dmz.new")
        fresh.write_bytes(data)
        fresh.replace(self.archive)

    def reload(self) -> dict[str, Any]:
        """What `dmz-gateway reload` hears."""
        return ask(self.data / "control.sock", "reload", ANSWER_S)

    def revision(self) -> str:
        """Of the bundle that was activated last since the gateway runs; without one nobody may ask it."""
        notes = [each["note"] for each in after_last_start(self.records()) if each["kind"] == "policy"]
        return next((note["revision"] for note in reversed(notes) if note["result"] == "activated"), "")

    def refusals(self) -> list[str]:
        """Why, of each refusal in the journal."""
        notes = [record["note"] for record in self.records("policy")]
        return [note["why"] for note in notes if note["result"] == "refused"]

    def wait_refusal(self, why: str, after: int) -> None:
        """Until a refusal that says so is in the journal, behind so many others."""
        until(f"recorded: {why}", lambda: any(why in text for text in self.refusals()[after:]))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Signed]:
    with Signed(tmp_path_factory.mktemp("signed")) as site:
        site.run()
        until("the archive is active", site.revision)
        yield site


Spoil = Callable[[Signed, dict[str, bytes]], bytes]
"From the members of a good archive with a higher serial."


def _packed(change: Callable[[Signed, dict[str, bytes]], Mapping[str, bytes]]) -> Spoil:
    return lambda site, members: archive.pack(change(site, members))


def _without(name: str) -> Spoil:
    return _packed(lambda _site, members: {key: members[key] for key in members if key != name})


def _with(name: str, content: bytes) -> Spoil:
    return _packed(lambda _site, members: {**members, name: content})


def _signed(of: Callable[[Signed], Bundle]) -> Spoil:
    return lambda site, _members: site.signer.archive(of(site))


def _token(make: Callable[[Signer, dict[str, Any]], str]) -> Spoil:
    return _packed(lambda site, members: with_token(members, make(site.signer, payload(members))))


def _lying_data(site: Signed, members: dict[str, bytes]) -> Mapping[str, bytes]:
    """Signed by the right key, but what OPA would decide by is not what we do."""
    data = json.loads(members[DATA])
    data["grants"] = []
    changed = {**members, DATA: json.dumps(data).encode()}
    return with_token(changed, site.signer.token(payload(changed)))


def _no_release(site: Signed, _members: dict[str, bytes]) -> Mapping[str, bytes]:
    return site.signer.signed(site.content)


SPOILT: dict[str, tuple[Spoil, str]] = {
    "unsigned": (_without(SIGNATURES), "is not signed"),
    "expired": (_signed(lambda site: site.bundle(20, expires_s=-60)), "expired at"),
    "signature expired": (_token(lambda s, said: s.token({**said, "exp": 1_700_000_000})), "has expired"),
    "issued in the future": (
        _signed(lambda site: site.bundle(20, issued_s=2 * HOUR)),
        "issued in the future",
    ),
    "another key": (lambda site, _: site.other.archive(site.bundle(20)), "signature does not hold"),
    "another key id": (_token(lambda s, said: s.token(said, kid="test")), "the key 'test'"),
    "another scope": (lambda site, _: site.signer.archive(site.bundle(20), "prod"), "scope 'prod'"),
    "tampered file": (_with("data/grants.yaml", b"grants: []\n"), "data/grants.yaml is not what was signed"),
    "tampered manifest": (_with(MANIFEST, b'{"revision":"","roots":[""]}'), "manifest is not what was"),
    "extra file": (_with("site/demo/more.rego", b"package site.demo\n"), "no signature for site/demo"),
    "missing file": (_without("data/bounds.yaml"), "lacks data/bounds.yaml"),
    "data for OPA that differs": (_packed(_lying_data), "data.json: is missing, or says something else"),
    "wrong algorithm": (_token(lambda s, said: s.token(said, alg="RS256")), "alg value is not allowed"),
    "algorithm none": (_token(lambda s, said: s.unsigned(said)), "alg value is not allowed"),
    "public key as secret": (_token(lambda s, said: s.shared_secret(said)), "alg value is not allowed"),
    "rolled back": (_signed(lambda site: site.bundle(SERIAL - 1)), "rolled back"),
    "another of the same serial": (
        _signed(lambda site: site.bundle(SERIAL, 60)),
        "another bundle with serial",
    ),
    "signed without a release": (_packed(_no_release), "release.json: is missing"),
    "not an archive": (lambda _site, _members: b"grants: []\n", "is not gzip"),
    "empty": (lambda _site, _members: b"", "is truncated"),
}


@pytest.mark.parametrize("what", SPOILT)
def test_it_is_refused_recorded_and_the_old_decides(site: Signed, what: str) -> None:
    spoil, why = SPOILT[what]
    before, told = site.revision(), len(site.refusals())
    assert before
    hmi = site.client("hmi-1")
    site.put(spoil(site, site.signer.signed(site.bundle(20))))
    site.wait_refusal(why, told)
    assert site.revision() == before
    assert why in site.status()["refused"]["policy"]
    assert hmi.write(10, 7) == WRITTEN, "the old bundle decides"


def test_it_is_refused_wherever_it_is_truncated(site: Signed) -> None:
    whole = site.signer.archive(site.bundle(20))
    before, told = site.revision(), len(site.refusals())
    ends = range(1, len(whole), len(whole) // 50)
    for end in ends:
        site.put(whole[:end])
        assert "truncated" in site.reload()["refused"]["policy"]
        assert site.revision() == before
    assert len(ends) >= 50
    until("all are recorded", lambda: len(site.refusals()) >= told + 50)
    assert all("truncated" in why for why in site.refusals()[told:])


def test_a_newer_one_is_used_and_after_a_restart_no_older_one(tmp_path: Path) -> None:
    with Signed(tmp_path) as site:
        site.run()
        first = until("the archive is active", site.revision)
        site.put(site.signer.archive(site.bundle(SERIAL + 1)))
        second = until("it is used", lambda: (now := site.revision()) != first and now)
        note = site.records("policy")[-1]["note"]
        assert (note["revision"], note["signed_by"], note["serial"]) == (second, "release", SERIAL + 1)
        assert site.end() == 0

        older = site.signer.archive(site.bundle(SERIAL))
        site.put(older)
        told = len(site.refusals())
        site.run()
        state = site.data / "state" / "policy"
        site.wait_refusal("rolled back", told)
        for spoil, why in ((state.unlink, "rolled back"), (state.touch, "says no serial")):
            told = len(site.refusals())
            spoil()
            site.put(older)
            site.wait_refusal(why, told)
        assert site.revision() == ""
        assert site.client("hmi-1").write(10, 7) == b"\x86\x01", "no policy allows nothing"
        assert site.plant is not None
        assert site.plant.written == []


def test_a_folder_is_no_signed_bundle(tmp_path: Path) -> None:
    with Signed(tmp_path) as site:
        site.config.write_text(site.config.read_text().replace("dmz.tar.gz", "policies"))
        site.run()
        site.wait_refusal("a folder carries no signature", 0)
        assert site.revision() == ""


def test_check_says_beforehand_what_a_gateway_would_refuse(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site = Signed(tmp_path)

    def checked() -> tuple[int, str]:
        code = main(["check", "-c", str(site.config), "--json"])
        return code, json.dumps(json.loads(capsys.readouterr().out)["faults"]).strip("[]")

    with site:
        assert checked() == (0, "")
        site.put(site.other.archive(site.bundle(SERIAL)))
        code, said = checked()
        assert code == 2
        assert "the signature does not hold" in said
        config = site.config.read_text()
        site.config.write_text(config.replace("dmz.tar.gz", "policies"))
        assert "a folder carries no signature" in checked()[1]
        service = "service: {url: 'https://127.0.0.1:9/a', anchors: pki/it/anchors.pem}"
        site.config.write_text(config.replace("bundle: dmz.tar.gz", service))
        assert checked() == (0, "")
        site.signer.public.write_text("none")
        assert "is no public key in PEM" in checked()[1]
