"""The issuing authority in a folder: what `dmz-gateway pki` works on.

    DIR/authority.json                    trust domain and zones
    DIR/root/ca.pem ca.key crl.pem        ca.key belongs offline: only `crl` for the root ever needs it again
    DIR/<zone>/ca.pem ca.key crl.pem      the zone's issuing authority
    DIR/<zone>/anchors.pem                for `zones[].anchors` of gateway.yaml: the issuing authority, not
                                          the root, so that the other zone's certificates do not get in
    DIR/<zone>/issued/<name>.pem .key     chain: leaf, issuing authority, root (Modbus/TCP Security R-46)
    DIR/<zone>/index.json                 what was issued

Keys are 0600 from their first byte. Nothing is overwritten that was not ours to renew.
"""

from datetime import datetime
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from msgspec import Struct
from msgspec.structs import replace

from gateway.identity import keyfile, ledger, minting
from gateway.identity.ledger import Entry, Index
from gateway.identity.minting import Holder, Issuer, PrivateKey, Revoked
from gateway.identity.profiles import Profiles
from gateway.identity.request import Request, check
from gateway.model.errors import IdentityError

ROOT = "root"


class Signed(Struct, frozen=True):
    """A revocation list that was written."""

    authority: str
    path: Path
    number: int
    next_update: datetime


class Description(Struct, frozen=True):
    """The file authority.json."""

    trust_domain: str
    zones: tuple[str, ...]
    format: int = 1


class Authority:
    """A PKI folder that exists."""

    def __init__(self, folder: Path, profiles: Profiles) -> None:
        """Open it (IdentityError where `init` has not made one)."""
        self.folder = folder
        self.profiles = profiles
        path = folder / "authority.json"
        try:
            described = msgspec.json.decode(path.read_bytes(), type=Description)
        except OSError as error:
            raise IdentityError(
                f"{folder} is no PKI folder ({path.name}: {error.strerror}): pki init makes one"
            ) from None
        except msgspec.DecodeError as error:
            raise IdentityError(f"{path}: {error}") from None
        if described.format != 1:
            raise IdentityError(f"{path}: format {described.format} is newer than this program")
        self.trust_domain = described.trust_domain
        self.zones = described.zones

    def issue(self, request: Request, now: datetime) -> Entry:
        """Make a key and a certificate. IdentityError, and nothing written, where the request is wrong."""
        folder = self._folder(request.zone)
        profile = self.profiles.named(request.profile)
        check(request, profile)
        days = request.days or profile.days
        uri = request.uri or profile.uri.format(
            trust_domain=self.trust_domain, zone=request.zone, name=request.name
        )
        with ledger.locked(folder):
            index = ledger.read(folder)
            same = [entry for entry in index.entries if entry.name == request.name]
            alive = next((entry for entry in same if entry.state(now) == "valid"), None)
            if alive is not None:
                raise IdentityError(
                    f"{request.zone} has a valid {alive.profile} {request.name!r} (serial {alive.serial}): "
                    "renew it, or revoke it first"
                )
            prefix = request.out.absolute() if request.out else folder / "issued" / request.name
            if not prefix.parent.is_dir():
                raise IdentityError(f"{prefix.parent} is no folder")
            at = self._relative(prefix)
            ours = any(entry.certificate == at for entry in same)
            for suffix in (".pem", ".key"):
                if not ours and beside(prefix, suffix).exists():
                    raise IdentityError(
                        f"{beside(prefix, suffix)} is there already, and nothing is overwritten"
                    )
            holder = Holder(
                name=request.name,
                organisation=self.trust_domain,
                uri=uri,
                role=request.role,
                dns=request.dns,
                ips=request.ips,
            )
            key = minting.new_key(profile.key)
            return self._mint(folder, index, holder, request.profile, key, at, now, days)

    def renew(self, zone: str, name: str, now: datetime, days: int | None = None) -> Entry:
        """A new certificate (and key, where the profile says so) in the old one's place, same subject."""
        folder = self._folder(zone)
        with ledger.locked(folder):
            index = ledger.read(folder)
            old = next((entry for entry in reversed(index.entries) if entry.name == name), None)
            if old is None:
                raise IdentityError(f"zone {zone} has issued nothing to {name!r}")
            if old.revoked_at is not None:
                raise IdentityError(f"{name!r} was revoked: issue a new certificate instead")
            profile = self.profiles.named(old.profile)
            holder = Holder(
                name=name,
                organisation=self.trust_domain,
                uri=old.uri,
                role=old.role,
                dns=old.dns,
                ips=old.ips,
            )
            key_file = beside(self.folder / old.certificate, ".key")
            key = minting.new_key(profile.key) if profile.rekey else _load_key(key_file)
            kept = tuple(replace(e, superseded=True) if e.name == name else e for e in index.entries)
            index = replace(index, entries=kept)
            return self._mint(
                folder, index, holder, old.profile, key, old.certificate, now, days or profile.days
            )

    def revoke(
        self, zone: str, now: datetime, *, name: str | None = None, serial: str | None = None
    ) -> list[Entry]:
        """Revoke all that still counts of a name, or one serial number, and write the zone's CRL."""
        folder = self._folder(zone)
        issuer = self._issuer(zone)
        serial = serial.lower().removeprefix("0x").replace(":", "").lstrip("0") if serial else None
        with ledger.locked(folder):
            index = ledger.read(folder)
            meant = [e for e in index.entries if e.name == name or e.serial == serial]
            if not meant:
                raise IdentityError(f"zone {zone} has issued nothing to {name or serial!r}")
            found = [e for e in meant if e.state(now) in ("valid", "superseded")]
            if not found:
                raise IdentityError(f"{name or serial!r} is {meant[-1].state(now)} already")
            revoked = {e.serial: replace(e, revoked_at=now) for e in found}
            index = replace(index, entries=tuple(revoked.get(e.serial, e) for e in index.entries))
            self._sign_list(folder, issuer, index, now, self.profiles.authority.crl_days)
            return list(revoked.values())

    def sign_lists(self, now: datetime, zone: str | None = None) -> list[Signed]:
        """Sign the CRLs again: of one zone or `root`, else of every authority whose key is here."""
        names = [zone] if zone else [n for n in (ROOT, *self.zones) if (self.folder / n / "ca.key").exists()]
        signed = []
        for name in names:
            folder = self.folder / ROOT if name == ROOT else self._folder(name)
            issuer = self._issuer(name)
            lives = self.profiles.authority
            with ledger.locked(folder):
                days = lives.root_crl_days if name == ROOT else lives.crl_days
                signed.append(self._sign_list(folder, issuer, ledger.read(folder), now, days))
        return signed

    def entries(self, zone: str | None = None) -> list[tuple[str, Entry]]:
        """(zone, entry) of everything issued, in order of issue."""
        zones = (zone,) if zone else self.zones
        return [(name, entry) for name in zones for entry in ledger.read(self._folder(name)).entries]

    def certificate_file(self, entry: Entry) -> Path:
        """The chain of an entry; its key lies beside it with the suffix .key."""
        return beside(self.folder / entry.certificate, ".pem")

    def _mint(
        self,
        folder: Path,
        index: Index,
        holder: Holder,
        profile: str,
        key: PrivateKey,
        at: str,
        now: datetime,
        days: int,
    ) -> Entry:
        issuer = self._issuer(folder.name)
        if now >= issuer.certificate.not_valid_after_utc:
            raise IdentityError(f"the authority of zone {folder.name} has expired")
        made = minting.peer(holder, self.profiles.named(profile), key, issuer, now, days)
        entry = Entry(
            serial=format(made.serial_number, "x"),
            name=holder.name,
            profile=profile,
            uri=holder.uri,
            role=holder.role,
            dns=holder.dns,
            ips=holder.ips,
            not_before=made.not_valid_before_utc,
            not_after=made.not_valid_after_utc,
            certificate=at,
        )
        chain = (made, issuer.certificate, _certificate(self.folder / ROOT / "ca.pem"))
        ledger.write(folder, replace(index, entries=(*index.entries, entry)))
        prefix = self.folder / at
        keyfile.replace(beside(prefix, ".key"), minting.key_pem(key), 0o600)
        keyfile.replace(beside(prefix, ".pem"), b"".join(c.public_bytes(Encoding.PEM) for c in chain))
        return entry

    def _sign_list(self, folder: Path, issuer: Issuer, index: Index, now: datetime, days: int) -> Signed:
        index = replace(index, crl_number=index.crl_number + 1)
        lines = [Revoked(int(e.serial, 16), e.revoked_at) for e in index.entries if e.revoked_at is not None]
        data = minting.revocation_list(issuer, lines, index.crl_number, now, days)
        ledger.write(folder, index)
        keyfile.replace(folder / "crl.pem", data)
        next_update = x509.load_pem_x509_crl(data).next_update_utc
        assert next_update is not None  # noqa: S101 # just set
        return Signed(folder.name, folder / "crl.pem", index.crl_number, next_update)

    def _folder(self, zone: str) -> Path:
        if zone not in self.zones:
            raise IdentityError(f"no zone {zone!r} in {self.folder}; there are {', '.join(self.zones)}")
        return self.folder / zone

    def _issuer(self, name: str) -> Issuer:
        folder = self.folder / name
        return Issuer(_certificate(folder / "ca.pem"), _load_key(folder / "ca.key"))

    def _relative(self, prefix: Path) -> str:
        inside = self.folder.absolute()
        return (
            str(prefix.absolute().relative_to(inside))
            if prefix.absolute().is_relative_to(inside)
            else str(prefix)
        )


def beside(prefix: Path, suffix: str) -> Path:
    """The file of that prefix with that suffix; a name may hold dots of its own."""
    return prefix.with_name(prefix.name + suffix)


def _certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(keyfile.read_public(path))
    except ValueError as error:
        raise IdentityError(f"{path}: not a certificate: {error}") from None


def _load_key(path: Path) -> PrivateKey:
    keyfile.require_private(path)
    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except (ValueError, TypeError) as error:
        raise IdentityError(f"the key {path} cannot be used: {type(error).__name__}") from None
    if not isinstance(key, PrivateKey):
        raise IdentityError(f"the key {path} is of a kind that is not used here")
    return key
