"""Certificate profiles, as `pki/profiles.toml` states them. A profile that says too little says no."""

from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from gateway.model.errors import IdentityError

KeyKind = Literal["p-256", "rsa-2048", "rsa-3072", "ed25519"]
AuthorityKey = Literal["p-256", "rsa-3072"]
Usage = Literal["digital_signature", "content_commitment", "key_encipherment", "data_encipherment"]
Extended = Literal["server_auth", "client_auth", "document_signing"]

RESERVED = frozenset({"root", "gateway", "person", "log"})
"First path segments of SPIFFE IDs that say what a subject is: no zone may have such a name."


class AuthorityProfile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How authorities are made. Lives in days."""

    key: AuthorityKey
    "Where `pki init --authority-key` does not say."
    root_days: int
    issuing_days: int
    crl_days: int
    root_crl_days: int


class Profile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a certificate of one sort holds."""

    about: str
    key: KeyKind
    days: int
    usage: tuple[Usage, ...]
    extended: tuple[Extended, ...]
    uri: str
    "The one URI name; `{trust_domain}`, `{zone}` and `{name}` are filled in."
    role: Literal["optional", "refused"] = "refused"
    hosts: Literal["required", "refused"] = "refused"
    rekey: bool = True
    "Whether renewing makes a new key."


class Profiles(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    authority: AuthorityProfile
    profiles: dict[str, Profile]

    def named(self, name: str) -> Profile:
        """The profile of that name (IdentityError with the names there are)."""
        profile = self.profiles.get(name)
        if profile is None:
            raise IdentityError(f"no profile {name!r}; there are {', '.join(sorted(self.profiles))}")
        return profile


def load(folder: Path) -> Profiles:
    """The profiles of `folder`/profiles.toml (IdentityError where they cannot be read)."""
    path = folder / "profiles.toml"
    try:
        return msgspec.toml.decode(path.read_bytes(), type=Profiles)
    except OSError as error:
        raise IdentityError(f"{path} cannot be read: {error.strerror}") from None
    except msgspec.DecodeError as error:
        raise IdentityError(f"{path}: {error}") from None
