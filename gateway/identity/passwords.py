"""The password file of an OPC UA listener: JSON, mode 0600, made by `dmz-gateway pki user`.

It holds scrypt hashes (RFC 7914). All entries cost the same, and an unknown name is compared with a random
entry, so neither time nor answer tells who exists. A comparison takes about 50 ms and 16 MiB and lets other
threads run: never on the event loop.
"""

import hashlib
import hmac
import re
import secrets
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from gateway.identity import keyfile
from gateway.model.errors import IdentityError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
"What a user may be called: a name that policy compares has no homoglyphs, spaces or colons."
LEAST_SECRET, MOST_SECRET = 8, 64
"Bytes of a password. More than 64 no OPC UA client sends (OPC 10000-4 §7.40.2.2)."
MOST_USERS = 1_000
"Users in one file. More belong to an identity provider, whose tokens count."
COST = {"n": 2**14, "r": 8, "p": 1, "maxmem": 64 * 1024 * 1024, "dklen": 32}
"Of format 1. The memory that OpenSSL may take is four times what it needs."


class Hashed(Struct, frozen=True):
    """One password, hashed."""

    salt: bytes
    key: bytes


class Passwords(Struct, frozen=True):
    """The file."""

    format: Literal[1] = 1
    users: dict[str, Hashed] = {}

    def matching(self, name: str, secret: bytes) -> Hashed | None:
        """The user's entry, if that is the password. The same work whoever asks, and whatever for."""
        known = self.users.get(name)
        against = known or Hashed(secrets.token_bytes(16), secrets.token_bytes(32))
        fits = len(secret) <= MOST_SECRET
        same = hmac.compare_digest(_key(secret if fits else b"", against.salt), against.key)
        return known if same and fits else None

    def having(self, name: str, secret: bytes) -> "Passwords":
        """The file with that user, new or with another password."""
        if not NAME.fullmatch(name):
            raise IdentityError(f"{name!r} cannot be a user: 1 to 64 of letters, digits, . _ @ -")
        if not LEAST_SECRET <= len(secret) <= MOST_SECRET:
            raise IdentityError(
                f"a password has {LEAST_SECRET} to {MOST_SECRET} bytes, as OPC UA clients send"
            )
        if len(self.users) >= MOST_USERS and name not in self.users:
            raise IdentityError(f"more than {MOST_USERS} users in one file")
        salt = secrets.token_bytes(16)
        return Passwords(users={**self.users, name: Hashed(salt, _key(secret, salt))})

    def without(self, name: str) -> "Passwords":
        """The file without that user."""
        if name not in self.users:
            raise IdentityError(f"no user {name!r}")
        return Passwords(users={each: hashed for each, hashed in self.users.items() if each != name})


def read(path: Path) -> Passwords:
    """The file; IdentityError where it is not usable, or open to others."""
    keyfile.require_private(path)
    try:
        found = msgspec.json.decode(keyfile.read_public(path), type=Passwords)
    except msgspec.DecodeError as error:
        raise IdentityError(f"{path}: {error}") from None
    if len(found.users) > MOST_USERS:
        raise IdentityError(f"{path}: more than {MOST_USERS} users")
    for name, hashed in found.users.items():
        if not NAME.fullmatch(name) or len(hashed.salt) < 16 or len(hashed.key) != COST["dklen"]:
            raise IdentityError(f"{path}: the entry of {name!r} was not made by `dmz-gateway pki user`")
    return found


def write(path: Path, passwords: Passwords) -> None:
    """Replace the file in one step."""
    text = msgspec.json.format(msgspec.json.encode(passwords), indent=1)
    keyfile.replace(path, text + b"\n", 0o600)


def _key(secret: bytes, salt: bytes) -> bytes:
    return hashlib.scrypt(secret, salt=salt, **COST)
