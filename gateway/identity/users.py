"""Users on top of an OPC UA application: by password, by certificate, by token; as a listener is configured.

What comes back is the text that policy sees as `subject.on_behalf_of`, and application and user must both be
granted:

    user:NAME        of the password file
    x509:… spiffe://… urn:…    of a user's certificate: its subject, as for whoever comes by TLS
    token:ISS#SUB    of a token

Kept up as trust is: `changed`, `reload`, `version`; a broken new file leaves the old in force. After each
change, and as time goes by, `still` says whose session is over. All refusals look alike to the peer.
"""

from pathlib import Path
from typing import Literal, Protocol

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from msgspec import Struct

from gateway.identity import passwords, tokens
from gateway.identity.application import LEAST_RSA, MOST_RSA
from gateway.identity.certificate import Refused
from gateway.identity.keyfile import stamp
from gateway.identity.passwords import Passwords
from gateway.identity.tokens import Issuer, Key
from gateway.identity.trust import CrlState, ZoneTrust
from gateway.model.errors import IdentityError
from gateway.model.moment import Now

NO_SUCH_KIND = Refused("user_kind", "this listener knows no users of that kind")


class Configured(Protocol):
    """What is configured about users (`config.settings.OpcuaUsers`)."""

    @property
    def anonymous(self) -> bool: ...
    @property
    def passwords(self) -> Path | None: ...
    @property
    def anchors(self) -> Path | None: ...
    @property
    def crls(self) -> tuple[Path, ...]: ...
    @property
    def tokens(self) -> Issuer | None: ...


class _Authorities(Struct, frozen=True):
    """The authorities of users, as a zone of their own."""

    anchors: Path
    crls: tuple[Path, ...]
    name: str = "users"
    crl_required: bool = True
    crl_grace_s: int = 86_400


class User(Struct, frozen=True):
    """A user who proved who they are."""

    subject: str
    "For `Identity.on_behalf_of`."
    kind: Literal["password", "certificate", "token"]
    proof: bytes
    "What must still be there for the user to count: hash of the password, certificate, digest of the key."
    expires_ns: int | None = None
    "When certificate or token runs out, ns since 1970."

    def __repr__(self) -> str:
        """Without the proof: what is printed ends up in logs."""
        return f"User({self.subject!r})"


class Users:
    """The users of one listener."""

    def __init__(self, configured: Configured) -> None:
        """IdentityError where a file cannot be used."""
        self.configured = configured
        self.anonymous = configured.anonymous
        "Whether a session may have no user."
        self.error: str | None = None
        "What is wrong with the files on disk, if they are not what is in force."
        self._grown = 0
        self._stamp = self._stat()
        self._passwords = self._read_passwords()
        self._keys = self._read_keys()
        self._trust = (
            ZoneTrust(_Authorities(configured.anchors, configured.crls)) if configured.anchors else None
        )

    # who it is ----------------------------------------------------------------------------------------

    def password(self, name: str, secret: str) -> User | Refused:
        """The user of that name and password. Takes its time: call it in a thread, few at once."""
        if self.configured.passwords is None:
            return NO_SUCH_KIND
        hashed = self._passwords.matching(name, secret.encode(errors="surrogatepass"))
        if hashed is None:
            return Refused("user_password", "unknown user, or another password")
        return User(f"user:{name}", "password", hashed.key)

    def certificate(self, certificate: bytes, now: Now) -> User | Refused:
        """The user of that certificate (DER). Whether they hold its key the caller has verified."""
        if self._trust is None:
            return NO_SUCH_KIND
        found = self._trust.admit(certificate, now)
        if isinstance(found, Refused):
            return Refused(f"user_{found.code}", found.message)
        key = x509.load_der_x509_certificate(certificate).public_key()
        if not isinstance(key, rsa.RSAPublicKey) or not LEAST_RSA <= key.key_size <= MOST_RSA:
            return Refused("user_weak_key", f"the policies take RSA {LEAST_RSA} to {MOST_RSA}")
        return User(found.subject, "certificate", certificate, found.expires_ns)

    def token(self, token: str, certificate: bytes, now: Now) -> User | Refused:
        """The user of a JWT that came over the channel of that application certificate (DER)."""
        issuer = self.configured.tokens
        if issuer is None:
            return NO_SUCH_KIND
        found = tokens.verify(token, certificate, issuer, self._keys, now)
        if isinstance(found, Refused):
            return found
        return User(found.subject, "token", found.thumbprint, found.expires_ns)

    def still(self, user: User, now: Now) -> Refused | None:
        """Why a user who once proved who they are counts no more; null where they do."""
        gone = Refused("user_gone", f"{user.subject} counts no more")
        match user.kind:
            case "password":
                hashed = self._passwords.users.get(user.subject.removeprefix("user:"))
                return None if hashed is not None and hashed.key == user.proof else gone
            case "certificate":
                found = self.certificate(user.proof, now)
                return found if isinstance(found, Refused) else None
            case "token":
                if user.expires_ns is None or now.judge_ns >= user.expires_ns:
                    return Refused("token_expired", f"the token of {user.subject} has expired")
                return None if any(key.thumbprint == user.proof for key in self._keys) else gone

    def crl_state(self, now: Now) -> CrlState:
        """The worst state of the lists of users' authorities."""
        return "fresh" if self._trust is None else self._trust.crl_state(now)

    def expiries(self) -> list[tuple[str, int]]:
        """When the authorities of users expire: (name, ns since 1970)."""
        return [] if self._trust is None else self._trust.expiries()

    # keeping up -----------------------------------------------------------------------------------------

    @property
    def version(self) -> int:
        """Grows with each change."""
        return self._grown + (0 if self._trust is None else self._trust.version)

    def changed(self) -> bool:
        """Whether a file has changed since it was last looked at. A few `stat` calls."""
        return self._stat() != self._stamp or (self._trust is not None and self._trust.changed())

    def reload(self) -> bool:
        """Read the files again. True if anything changed; what cannot be used is in `error`."""
        self._stamp = self._stat()
        errors = []
        before = (self._passwords, self._keys)
        try:
            self._passwords = self._read_passwords()
        except IdentityError as error:
            errors.append(str(error))
        try:
            self._keys = self._read_keys()
        except IdentityError as error:
            errors.append(str(error))
        moved = self._trust is not None and self._trust.reload()
        if self._trust is not None and self._trust.error is not None:
            errors.append(self._trust.error)
        self.error = "\n".join(errors) or None
        if _told(before) != _told((self._passwords, self._keys)):
            self._grown += 1
            return True
        return moved

    def _stat(self) -> tuple[tuple[int, int, int] | None, ...]:
        files = [self.configured.passwords]
        if self.configured.tokens is not None:
            files.append(self.configured.tokens.keys)
        return tuple(stamp(file) for file in files if file is not None)

    def _read_passwords(self) -> Passwords:
        path = self.configured.passwords
        return Passwords() if path is None else passwords.read(path)

    def _read_keys(self) -> tuple[Key, ...]:
        issuer = self.configured.tokens
        return () if issuer is None else tokens.read(issuer.keys)


def _told(files: tuple[Passwords, tuple[Key, ...]]) -> tuple[Passwords, frozenset[bytes]]:
    return files[0], frozenset(key.thumbprint for key in files[1])
