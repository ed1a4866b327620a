"""What certificates in a capture say, and whether a gateway would let them in.

A client's is judged in the order of `identity.chain`, at the moment of the capture: with a configuration by
the trust of the listener's zone and what administrators approved; without one as if it were approved, so that
only what approval cannot mend is told. A server's is never judged by who issued it: the gateway pins it.
"""

from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from msgspec import Struct

from gateway.config.settings import Settings, Zone
from gateway.identity import application, trust_folder
from gateway.identity.application import Unfit
from gateway.identity.certificate import Refused, fingerprint
from gateway.identity.chain import Lists, judge
from gateway.identity.trust import ZoneTrust
from gateway.model.errors import IdentityError
from gateway.model.moment import Now
from gateway.wire.opcua.security import certificates, public_key

MOST_TEXT = 300
"Characters of a name that are shown: they are a stranger's."
_NOBODY = Lists(
    zone="capture", anchors=(), issuers=(), sent=(), approved=frozenset(), revocations={}, required=False
)


class Certificate(Struct, frozen=True, kw_only=True):
    """One application's certificate."""

    fingerprint: str
    "SHA-256 of the leaf."
    subject: str = ""
    issuer: str = ""
    uri: str | None = None
    "ApplicationUri; null where there is not exactly one."
    key: str = ""
    "`RSA 2048`."
    hash: str = ""
    self_signed: bool = False
    chain: int = 0
    "Certificates that were sent."
    begins: str = ""
    until: str = ""
    verdict: str = ""
    "`admitted`, `admitted once approved`, `to be pinned`, `pinned`, or the code of a refusal."
    why: str = ""
    "Of a refusal, in words."

    @property
    def refused(self) -> bool:
        """Whether the gateway would not take it."""
        return bool(self.why)


def pinned(leaf: bytes, file: Path | None) -> tuple[str, str]:
    """What the gateway makes of a server's certificate; `file` is the one it knows, if any."""
    if public_key(leaf) is None:
        return "weak_key", "no RSA key of 2048 to 4096 bits"
    if file is None:
        return "to be pinned", ""
    try:
        known = application.raw(trust_folder.read(file)[0])
    except IdentityError as error:
        return "to be pinned", str(error)
    return ("pinned", "") if known == leaf else ("other_pinned", f"another than {file}")


class Trust:
    """Whom the zones of a configuration let in; files are read once, and nothing is written."""

    def __init__(self, settings: Settings | None) -> None:
        self._zones = {zone.name: zone for zone in settings.zones} if settings is not None else {}
        self._folder = settings.gateway.data / "trust" if settings is not None else None
        self._lists: dict[str, Lists] = {}

    def client(self, chain: bytes, zone: str | None, now: Now) -> tuple[str, str]:
        """Verdict, and the reason where it is refused."""
        named = self._zones.get(zone) if zone is not None else None
        lists = self._of(named) if named is not None else _approving(chain)
        found = judge(chain, lists).at(now)
        if isinstance(found, Refused):
            return found.code, found.message
        return "admitted" if named is not None else "admitted once approved", ""

    def _of(self, zone: Zone) -> Lists:
        known = self._lists.get(zone.name)
        if known is None:
            trust = ZoneTrust(zone)
            assert self._folder is not None  # noqa: S101  zones come from a configuration
            try:
                held, _ = trust_folder.load(self._folder / zone.name, trust.anchors, {})
            except OSError:  # of another user: what it holds counts as not there
                held = trust_folder.Held()
            known = self._lists[zone.name] = Lists(
                zone=zone.name,
                anchors=trust.anchors,
                issuers=held.issuers,
                sent=held.sent,
                approved=held.approved,
                revocations={**held.lists, **trust.lists},
                required=trust.required,
            )
        return known


def _approving(chain: bytes) -> Lists:
    leaf = (certificates(chain) or (chain,))[0]
    return Lists(**{name: getattr(_NOBODY, name) for name in _FIELDS}, approved=frozenset((leaf,)))


_FIELDS = [name for name in _NOBODY.__struct_fields__ if name != "approved"]


def described(chain: bytes, verdict: str, why: str) -> Certificate:
    """A certificate in words."""
    try:
        found = application.parse(chain)
    except Unfit as unfit:
        first = (certificates(chain) or (chain,))[0]
        return Certificate(fingerprint=fingerprint(first), verdict=verdict, why=why or str(unfit))
    leaf = found[0]
    try:
        uri: str | None = application.application_uri(leaf)
    except Unfit:
        uri = None
    used = leaf.signature_hash_algorithm
    return Certificate(
        fingerprint=fingerprint(application.raw(leaf)),
        subject=_plain(leaf.subject.rfc4514_string()),
        issuer=_plain(leaf.issuer.rfc4514_string()),
        uri=uri,
        key=_key(leaf),
        hash=used.name if used is not None else "",
        self_signed=leaf.issuer == leaf.subject,
        chain=len(found),
        begins=leaf.not_valid_before_utc.strftime("%Y-%m-%dT%H:%M:%SZ"),
        until=leaf.not_valid_after_utc.strftime("%Y-%m-%dT%H:%M:%SZ"),
        verdict=verdict,
        why=_plain(why),
    )


def _key(leaf: x509.Certificate) -> str:
    key = leaf.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA {key.key_size}"
    return f"EC {key.key_size}" if isinstance(key, ec.EllipticCurvePublicKey) else "another kind of key"


def _plain(text: str) -> str:
    """A stranger's text on one line."""
    return "".join(each if each.isprintable() else f"\\x{ord(each):02x}" for each in text)[:MOST_TEXT]
