"""OPC UA applications against certificates of OpenSSL and of our own authority (OPC 10000-4 §6.1.3)."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.cli import main
from gateway.config.settings import Zone
from gateway.identity.application import raw
from gateway.identity.applications import Admitted, Applications
from gateway.identity.trust import ZoneTrust
from tests.pki import moment

from .openssl import CA_USAGE, USAGE, Made, OpenSsl

pytestmark = pytest.mark.needs("openssl")


@pytest.fixture(scope="module")
def openssl(tmp_path_factory: pytest.TempPathFactory) -> OpenSsl:
    return OpenSsl(tmp_path_factory.mktemp("openssl"))


@pytest.fixture
def site(tmp_path: Path, openssl: OpenSsl) -> "Site":
    return Site(tmp_path, openssl)


class Site:
    """A zone that trusts what a test gives it, in files."""

    def __init__(self, folder: Path, openssl: OpenSsl) -> None:
        self.folder = folder / "trust" / "plant"
        self.anchors = folder / "anchors.pem"
        # A zone has an anchor, if only one that nobody here is vouched for by.
        self.anchors.write_bytes(openssl.authority("nobodys authority").cert.read_bytes())
        self.crls: tuple[Path, ...] = ()
        self.required = True
        for name in ("trusted", "issuers", "crls"):
            (self.folder / name).mkdir(parents=True)

    def anchor(self, *authorities: Made) -> None:
        self.anchors.write_bytes(b"".join(each.cert.read_bytes() for each in authorities))

    def put(self, where: str, *files: Path) -> None:
        for file in files:
            shutil.copy(file, self.folder / where / f"{file.parent.name}-{file.name}")

    def applications(self) -> Applications:
        zone = Zone(name="plant", anchors=self.anchors, crls=self.crls, crl_required=self.required)
        made = Applications(ZoneTrust(zone), self.folder)
        assert made.error is None
        return made

    def code(self, chain: bytes, days: float = 0) -> str:
        return code(self.applications(), chain, days)


def code(applications: Applications, chain: bytes, days: float = 0) -> str:
    answer = applications.admit(chain, moment(datetime.now(UTC) + timedelta(days=days)))
    return "in" if isinstance(answer, Admitted) else answer.code


def test_a_self_signed_application_gets_in_by_approval_alone(site: Site, openssl: OpenSsl) -> None:
    app, other = openssl.application("app"), openssl.application("app")
    assert site.code(app.der) == "untrusted"
    site.put("trusted", app.cert)
    admitted = site.applications().admit(app.der, moment())
    assert isinstance(admitted, Admitted)
    assert (admitted.application_uri, admitted.identity.subject) == ("urn:plant.example:app",) * 2
    assert (admitted.certificate, admitted.identity.zone) == (app.der, "plant")
    assert site.code(other.der) == "untrusted", "same name, same key, another certificate"


def test_one_that_older_stacks_make_claims_to_be_an_authority_and_vouches_for_nobody(
    site: Site, openssl: OpenSsl
) -> None:
    app = openssl.application("old", constraints="CA:TRUE,pathlen:0", usage=USAGE + ",keyCertSign")
    below = openssl.application("below", app)
    site.required = False
    site.put("trusted", app.cert)
    assert (site.code(app.der), site.code(below.der + app.der)) == ("in", "untrusted")


def test_under_a_root_that_is_the_anchor(site: Site, openssl: OpenSsl) -> None:
    root = openssl.authority("root")
    app = openssl.application("app", root)
    site.anchor(root)
    site.crls = (openssl.crl(root),)
    assert (site.code(app.der), site.code(app.der + root.der)) == ("in", "in")


@pytest.mark.parametrize("sent", ["leaf", "leaf and intermediate", "all"])
@pytest.mark.parametrize("anchored", ["intermediate", "root, and the intermediate is a named issuer", "both"])
def test_under_a_root_and_an_intermediate(site: Site, openssl: OpenSsl, sent: str, anchored: str) -> None:
    root = openssl.authority("root")
    between = openssl.authority("between", root)
    app = openssl.application("app", between)
    lists = {"root": openssl.crl(root), "between": openssl.crl(between)}
    if anchored == "intermediate":
        site.anchor(between)
        site.crls = (lists["between"],)
    elif anchored == "both":
        site.anchor(root, between)
        site.crls = tuple(lists.values())
    else:
        site.anchor(root)
        site.crls = (lists["root"],)
        site.put("issuers", between.cert)
        site.put("crls", lists["between"])
    chain = {"leaf": [app], "leaf and intermediate": [app, between], "all": [app, between, root]}[sent]
    assert site.code(b"".join(each.der for each in chain)) == "in"


def test_an_intermediate_that_is_only_sent_along_vouches_for_nobody(site: Site, openssl: OpenSsl) -> None:
    """Under one root live strangers, too: of another zone, say."""
    root = openssl.authority("root")
    between = openssl.authority("between", root)
    app = openssl.application("app", between)
    site.anchor(root)
    site.crls, site.required = (openssl.crl(root),), False
    assert site.code(app.der + between.der + root.der) == "untrusted"
    site.put("trusted", app.cert)
    assert site.code(app.der + between.der) == "in", "approved by itself, and the chain is complete"


# one fault after the other ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Recipe:
    """An application under root and intermediate, with every fault that one can have; mended one by one."""

    garbage: bool = True
    intermediate_known: bool = False
    signature_right: bool = False
    bits: int = 1024
    digest: str = "sha1"
    approved: bool = False
    days: float = 400
    uris: tuple[str, ...] = ()
    extended: str | None = None
    listed: str = "nowhere"
    issuer_days: int = 30
    issuer_usage: str = "critical,cRLSign"
    issuer_listed: str = "nowhere"


ORDER: list[tuple[str, dict[str, object]]] = [
    ("unreadable", {"garbage": False}),
    ("chain_incomplete", {"intermediate_known": True}),
    ("weak_hash", {"digest": "sha256"}),
    ("bad_signature", {"signature_right": True}),
    ("weak_key", {"bits": 2048}),
    ("untrusted", {"approved": True}),
    ("expired", {"days": -1}),
    ("not_yet_valid", {"days": 100}),
    ("no_uri", {"uris": ("urn:a:b", "urn:a:c")}),
    ("two_uri_names", {"uris": ("spiffe://plant.example/plant/app",)}),
    ("malformed_uri", {"uris": ("urn:plant.example:app",)}),
    ("usage", {"extended": "clientAuth"}),
    ("crl_missing", {"listed": "revoked"}),
    ("revoked", {"listed": "well"}),
    ("issuer_expired", {"issuer_days": 3650}),
    ("issuer_usage", {"issuer_usage": CA_USAGE}),
    ("issuer_crl_missing", {"issuer_listed": "revoked"}),
    ("issuer_revoked", {"issuer_listed": "well"}),
    ("in", {}),
]
"Code, and what mends it. Each certificate still has all the faults that come after."


def _recipes() -> Iterator[tuple[str, Recipe]]:
    recipe = Recipe()
    for name, mend in ORDER:
        yield name, recipe
        recipe = replace(recipe, **mend)  # type: ignore[arg-type] # rows of the table above


@pytest.mark.parametrize(("expected", "recipe"), [pytest.param(*each, id=each[0]) for each in _recipes()])
def test_the_first_fault_in_the_order_of_part_4_is_the_answer(
    site: Site, openssl: OpenSsl, expected: str, recipe: Recipe
) -> None:
    root = openssl.authority("root")
    between = openssl.authority("between", root, days=recipe.issuer_days, usage=recipe.issuer_usage)
    app = openssl.application(
        "app", between, uris=recipe.uris, bits=recipe.bits, digest=recipe.digest, extended=recipe.extended
    )
    leaf = app.der if recipe.signature_right else app.der[:-1] + bytes((app.der[-1] ^ 1,))
    if recipe.approved:
        site.put("trusted", _file(site, leaf, between, root))
    if recipe.listed != "nowhere":
        site.put("crls", openssl.crl(between, *([app] if recipe.listed == "revoked" else [])))
    if recipe.issuer_listed != "nowhere":
        site.put("crls", openssl.crl(root, *([between] if recipe.issuer_listed == "revoked" else [])))
    chain = leaf + (between.der + root.der if recipe.intermediate_known else b"")
    zone = ZoneTrust(Zone(name="plant", anchors=site.anchors))
    assert zone.required, "as by default"
    sent = chain + (b"\x00" if recipe.garbage else b"")
    assert code(Applications(zone, site.folder), sent, recipe.days) == expected


@pytest.mark.parametrize(
    ("bits", "curve", "expected"),
    [(3072, False, "in"), (4096, False, "in"), (4104, False, "weak_key"), (0, True, "weak_key")],
)
def test_the_policies_take_rsa_of_2048_to_4096_bits(
    site: Site, openssl: OpenSsl, bits: int, curve: bool, expected: str
) -> None:
    app = openssl.application("app", bits=bits, curve=curve)
    site.put("trusted", app.cert)
    assert site.code(app.der) == expected


@pytest.mark.parametrize(
    "lacking",
    [
        {"usage": None},
        {"usage": "critical,digitalSignature"},
        {"usage": "critical,keyEncipherment,dataEncipherment"},
        {"extended": None},
        {"extended": "serverAuth"},
    ],
    ids=str,
)
def test_usages_that_are_not_a_clients(site: Site, openssl: OpenSsl, lacking: dict[str, str | None]) -> None:
    app = openssl.application("app", **lacking)  # type: ignore[arg-type] # rows of the table above
    site.put("trusted", app.cert)
    assert site.code(app.der) == "usage"


def test_an_authority_is_no_application(site: Site, openssl: OpenSsl) -> None:
    root = openssl.authority("root")
    app = openssl.application("app", root, constraints="critical,CA:TRUE")
    site.anchor(root)
    site.required = False
    assert site.code(app.der) == "usage"


def test_an_authority_issues_only_as_deep_as_it_may(site: Site, openssl: OpenSsl) -> None:
    root = openssl.authority("root", constraints="critical,CA:TRUE,pathlen:0")
    between = openssl.authority("between", root)
    app = openssl.application("app", between)
    site.required = False
    site.anchor(root)
    site.put("issuers", between.cert)
    assert site.code(app.der) == "issuer_usage"


def test_a_weak_authority_below_the_anchor(site: Site, openssl: OpenSsl) -> None:
    root = openssl.authority("root")
    between = openssl.authority("between", root, digest="sha1")
    app = openssl.application("app", between)
    site.required = False
    site.anchor(root)
    site.put("issuers", between.cert)
    assert site.code(app.der) == "issuer_weak"


def test_what_cannot_be_read_to_the_last_byte(site: Site, openssl: OpenSsl) -> None:
    root = openssl.authority("root")
    site.anchor(root)
    site.required = False
    made = openssl.application("app", root)
    app, above = made.der, root.der
    applications = site.applications()
    found = {
        "right": app + above,
        "nothing": b"",
        "cut": app[:-1],
        "second cut": app + above[:-1],
        "a zero before": b"\x00" + app,
        "five": app + above * 4,
        "too long": app + b"\x30\x82\x20\x00" + bytes(8192),
        "one extension twice": app.replace(bytes.fromhex("0603551d11"), bytes.fromhex("0603551d0f")),
        "an unknown critical one": app.replace(bytes.fromhex("0603551d0f"), bytes.fromhex("0603551d7f")),
        "PEM": made.cert.read_bytes(),
    }
    assert {name: code(applications, chain) for name, chain in found.items()} == {
        name: "in" if name == "right" else "unreadable" for name in found
    }


def test_a_chain_that_goes_round_ends(site: Site, openssl: OpenSsl) -> None:
    """Two authorities that vouch for each other; the attack `certificate_inf_chain_loop`."""
    first = openssl.authority("first")
    second = openssl.authority("second", first)
    again = openssl.authority("first", second)
    app = openssl.application("app", second)
    assert site.code(app.der + second.der + again.der) == "chain_incomplete"


def test_another_authority_of_the_same_name_signed_nothing(site: Site, openssl: OpenSsl) -> None:
    root = openssl.authority("root")
    site.anchor(openssl.authority("root", key="twin"))
    site.required = False
    assert site.code(openssl.application("app", root).der) == "bad_signature"


def test_a_revoked_application_is_out_although_it_was_approved(site: Site, openssl: OpenSsl) -> None:
    root = openssl.authority("root")
    app = openssl.application("app", root)
    site.anchor(root)
    site.put("trusted", app.cert)
    site.crls = (openssl.crl(root, app),)
    assert site.code(app.der) == "revoked"


def test_an_older_list_put_back_lets_nobody_in_again(site: Site, openssl: OpenSsl) -> None:
    root = openssl.authority("root")
    app = openssl.application("app", root)
    site.put("trusted", _file(site, app.der, root))
    old = openssl.crl(root).read_bytes()
    site.put("crls", openssl.crl(root, app))
    applications = site.applications()
    assert code(applications, app.der) == "revoked"
    next((site.folder / "crls").iterdir()).write_bytes(old)
    applications.reload()
    assert code(applications, app.der) == "revoked"
    assert applications.error is not None
    assert "older than the list in force" in applications.error


def test_stale_lists_of_issuers_count_in_the_state_of_the_zone(site: Site, openssl: OpenSsl) -> None:
    root = openssl.authority("root")
    app = openssl.application("app", root)
    site.required = False
    site.put("trusted", _file(site, app.der, root))
    site.put("crls", openssl.crl(root, days=10))
    applications = site.applications()
    for days, state in ((9, "fresh"), (10.5, "stale"), (11.5, "grace_over")):
        at = moment(datetime.now(UTC) + timedelta(days=days))
        assert applications.crl_state(at) == state
        assert isinstance(applications.admit(app.der, at), Admitted), "flagged, never locked out"


def test_a_spiffe_id_needs_an_authority_of_the_zone(site: Site, openssl: OpenSsl) -> None:
    root = openssl.authority("root")
    uri = "spiffe://plant.example/plant/app"
    app, own = (openssl.application("app", above, uris=(uri,)) for above in (root, None))
    site.anchor(root)
    site.required = False
    site.put("trusted", own.cert)
    assert site.code(own.der) == "malformed_uri"
    admitted = site.applications().admit(app.der, moment())
    assert isinstance(admitted, Admitted)
    assert admitted.identity.subject == uri


@pytest.mark.parametrize(
    ("uri", "subject"),
    [
        (
            "urn:pc-7.plant.example:UnifiedAutomation:UaExpert",
            "urn:pc-7.plant.example:UnifiedAutomation:UaExpert",
        ),
        ("URN:Plant:App", "urn:Plant:App"),
        ("http://plant.example/app", "x509:CN=app,O=plant.example"),
    ],
)
def test_the_subject_is_the_application_uri_where_that_is_a_urn(
    site: Site, openssl: OpenSsl, uri: str, subject: str
) -> None:
    app = openssl.application("app", uris=(uri,))
    site.put("trusted", app.cert)
    admitted = site.applications().admit(app.der, moment())
    assert isinstance(admitted, Admitted)
    assert (admitted.application_uri, admitted.identity.subject) == (uri, subject)


# our own authority ------------------------------------------------------------------------------------------


class Ours:
    """The commands of `dmz-gateway pki` in a folder."""

    def __init__(self, folder: Path) -> None:
        self.dir = folder / "pki"
        self("init", "--trust-domain", "plant.example")

    def __call__(self, command: str, *words: str) -> None:
        assert main(["pki", command, "--dir", str(self.dir), *words]) == 0

    def issue(self, profile: str, zone: str, name: str, *words: str) -> bytes:
        self("issue", "--profile", profile, "--zone", zone, "--name", name, *words)
        pem = (self.dir / zone / "issued" / f"{name}.pem").read_bytes()
        return b"".join(raw(each) for each in x509.load_pem_x509_certificates(pem))

    def applications(self, folder: Path, *crls: str) -> Applications:
        zone = Zone(
            name="plant",
            anchors=self.dir / "plant" / "anchors.pem",
            crls=tuple(self.dir / name / "crl.pem" for name in crls),
        )
        return Applications(ZoneTrust(zone), folder / "trust" / "plant")


def test_certificates_of_our_own_authority(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "trust").mkdir()
    ours = Ours(tmp_path)
    host = ("--dns", "localhost")
    app = ours.issue("opcua-application", "plant", "app", *host)
    found = {
        "in": app,
        "unreadable": app[:-1],
        "untrusted": ours.issue("opcua-application", "it", "app", *host),
        "weak_key": ours.issue("gateway-server", "plant", "gw", *host),
    }
    applications = ours.applications(tmp_path, "plant")
    assert {code(applications, chain): chain for chain in found.values()} == found
    leaf = found["untrusted"][: _first(found["untrusted"])]
    assert code(applications, leaf) == "chain_incomplete", "the other zone's issuer is not known here"
    assert (code(applications, app, 900), code(applications, app, -1)) == ("expired", "not_yet_valid")
    assert code(ours.applications(tmp_path), app) == "crl_missing"
    ours("revoke", "--zone", "plant", "--name", "app")
    assert applications.zone.reload()
    assert applications.changed()
    assert (applications.reload(), code(applications, app)) == (True, "revoked")
    again = ours.issue("opcua-application", "plant", "app", *host, "--uri", "urn:pc-7:UaExpert")
    admitted = applications.admit(again, moment())
    assert isinstance(admitted, Admitted)
    assert admitted.identity.subject == "urn:pc-7:UaExpert"
    capsys.readouterr()


def test_a_profile_without_the_usages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "trust").mkdir()
    ours = Ours(tmp_path)
    book = (Path(__file__).parents[3] / "pki" / "profiles.toml").read_text()
    other = tmp_path / "profiles"
    other.mkdir()
    (other / "profiles.toml").write_text(
        book.replace(
            'usage = ["digital_signature", "content_commitment", "key_encipherment", "data_encipherment"]',
            'usage = ["digital_signature"]',
        )
    )
    app = ours.issue("opcua-application", "plant", "app", "--dns", "localhost", "--profiles", str(other))
    assert code(ours.applications(tmp_path, "plant"), app) == "usage"
    capsys.readouterr()


def _first(chain: bytes) -> int:
    """Length of the first certificate."""
    return 4 + int.from_bytes(chain[2:4], "big")


def _file(site: Site, leaf: bytes, *above: Made) -> Path:
    file = site.folder.parent / "approved.pem"
    pem = x509.load_der_x509_certificate(leaf).public_bytes(Encoding.PEM)
    file.write_bytes(pem + b"".join(each.cert.read_bytes() for each in above))
    return file
