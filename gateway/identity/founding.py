"""A new PKI folder: a root, an issuing authority for each zone, and a fresh empty CRL of each."""

from datetime import datetime
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.identity import keyfile, ledger, minting
from gateway.identity.authority import ROOT, Authority, Description
from gateway.identity.ledger import Index
from gateway.identity.minting import Issuer
from gateway.identity.profiles import RESERVED, AuthorityKey, Profiles
from gateway.identity.request import DOMAIN, NAME
from gateway.model.errors import IdentityError

ZONES = ("plant", "it")


def init(
    folder: Path,
    trust_domain: str,
    profiles: Profiles,
    now: datetime,
    zones: tuple[str, ...] = ZONES,
    key: AuthorityKey | None = None,
) -> Authority:
    """Make a root, an issuing authority a zone, an empty CRL of each. `key`: their kind, if not the usual."""
    key = key or profiles.authority.key
    if not DOMAIN.fullmatch(trust_domain):
        raise IdentityError(f"{trust_domain!r} is no trust domain: lower case, like plant.example")
    for zone in zones:
        if zone in RESERVED or not NAME.fullmatch(zone):
            raise IdentityError(f"{zone!r} cannot be the name of a zone")
    if folder.exists() and any(folder.iterdir()):
        raise IdentityError(f"{folder} is not empty, and nothing is overwritten")
    lives = profiles.authority
    root = _found(folder / ROOT, f"{trust_domain} root", trust_domain, None, now, lives.root_days, key)
    for zone in zones:
        name = f"{trust_domain} {zone} issuing"
        _found(folder / zone, name, trust_domain, root, now, lives.issuing_days, key)
        (folder / zone / "issued").mkdir()
        keyfile.create(folder / zone / "anchors.pem", (folder / zone / "ca.pem").read_bytes())
    keyfile.create(folder / "authority.json", msgspec.json.encode(Description(trust_domain, zones)) + b"\n")
    made = Authority(folder, profiles)
    made.sign_lists(now)
    return made


def _found(
    folder: Path,
    name: str,
    trust_domain: str,
    above: Issuer | None,
    now: datetime,
    days: int,
    kind: AuthorityKey,
) -> Issuer:
    """Make one authority's folder: key, certificate, empty index."""
    folder.mkdir(parents=True)
    key = minting.new_key(kind)
    certificate = minting.authority(name, trust_domain, key, above, now, days)
    keyfile.create(folder / "ca.key", minting.key_pem(key), 0o600)
    keyfile.create(folder / "ca.pem", certificate.public_bytes(Encoding.PEM))
    ledger.write(folder, Index())
    return Issuer(certificate, key)
