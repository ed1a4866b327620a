"""Certificates of unknown applications wait here until an administrator approves or rejects them.

Whoever reaches the port can send one, before it proved anything: so little is kept, and a flood cannot push
out what others wait for. Who holds most of the places loses its oldest first, and beyond a few files a minute
nothing is written at all.

The files are the whole state (`trust_folder`), so that commands work beside a running gateway, and without
one. Each begins with a line of JSON that says since when and from where; a PEM reader passes over it.
"""

import json
import os
from collections import Counter
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from msgspec import Struct

from gateway.identity import application, keyfile, trust_folder
from gateway.identity.certificate import Refused, fingerprint
from gateway.identity.trust_folder import Decision
from gateway.model.errors import IdentityError
from gateway.model.moment import SECOND, Now

WAITS = frozenset({"untrusted", "chain_incomplete"})
"Codes of refusals that an administrator can mend by approving."
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Bounds(Struct, frozen=True):
    """How much waits."""

    most: int = 64
    "Certificates in the inbox: more than an administrator reads."
    of_one: int = 8
    "From one address, so that one peer with a generator fills an eighth."
    a_minute: int = 30
    "Files written in a minute: each costs a few directory entries, an attacker's certificate nothing."
    a_minute_of_one: int = 10
    "Those from one address: a generator behind it must not spend what a new application needs to be seen."
    rejected: int = 256
    "Rejected certificates that are remembered; the oldest is forgotten and may wait again."


class Seen(Struct, frozen=True):
    """The first line of a file."""

    at: datetime
    source: str
    "Address that it came from; `file` where an administrator brought it."
    why: str
    "Code of the refusal."


class Entry(Struct, frozen=True):
    """One certificate that was decided about, or not yet."""

    fingerprint: str
    state: Decision
    seen: Seen | None
    "Null for a file that somebody put there by hand."
    chain: tuple[x509.Certificate, ...]
    file: Path

    @property
    def der(self) -> bytes:
        """The chain as a peer sends it."""
        return b"".join(application.raw(each) for each in self.chain)


class Inbox:
    """The quarantine of one zone."""

    def __init__(self, folder: Path, bounds: Bounds | None = None) -> None:
        """`folder` is `trust/<zone>` of the data folder."""
        self.folder = folder
        self.bounds = bounds or Bounds()
        self.dropped = 0
        "Certificates that were not kept, since the bounds were reached."
        self._minute = 0
        self._written: Counter[str] = Counter()

    # the gateway ----------------------------------------------------------------------------------------

    def put(self, chain: bytes, refused: Refused, source: str, now: Now) -> bool:
        """Keep a refused chain (DER, leaf first) where approving it would help. True if it is new."""
        if refused.code not in WAITS:
            return False
        try:
            found = application.parse(chain)
        except application.Unfit:
            return False
        name = _name(found[0])
        if any((self.folder / state / name).exists() for state in ("inbox", "rejected", "trusted")):
            return False
        source = _address(source)
        if not self._may_write(source, now):
            self.dropped += 1
            return False
        self._make_room(source)
        seen = Seen(EPOCH + timedelta(microseconds=now.wall_ns // 1000), source, refused.code)
        try:
            _write(self.folder / "inbox" / name, found, seen)
        except OSError:
            self.dropped += 1  # a full disk refuses this peer as any other
            return False
        return True

    def _may_write(self, source: str, now: Now) -> bool:
        minute = now.mono_ns // (60 * SECOND)
        if minute != self._minute:
            self._minute = minute
            self._written.clear()
        bounds = self.bounds
        if self._written[source] >= bounds.a_minute_of_one or self._written.total() >= bounds.a_minute:
            return False
        self._written[source] += 1
        return True

    def _make_room(self, source: str) -> None:
        """Unlink the oldest of this source if it has its share, of the one with most if the inbox is full."""
        held = [(_seen(file), file) for file in trust_folder.files(self.folder / "inbox")]
        by_source = Counter(seen.source for seen, _ in held if seen is not None)
        if by_source[source] >= self.bounds.of_one:
            loser = source
        elif len(held) >= self.bounds.most:
            loser = by_source.most_common(1)[0][0] if by_source else source
        else:
            return
        theirs = [(seen.at, file) for seen, file in held if seen is not None and seen.source == loser]
        for _, file in sorted(theirs)[:1]:
            file.unlink(missing_ok=True)
            self.dropped += 1

    # the administrator ----------------------------------------------------------------------------------

    def entries(self) -> list[Entry]:
        """Every certificate that waits, is approved or was rejected; unreadable files are left out."""
        found = []
        states: tuple[Decision, ...] = ("inbox", "trusted", "rejected")
        for state in states:
            for file in trust_folder.files(self.folder / state):
                try:
                    chain = trust_folder.read(file)
                except IdentityError:
                    continue
                found.append(
                    Entry(fingerprint(application.raw(chain[0])), state, _seen(file), tuple(chain), file)
                )
        return found

    def find(self, prefix: str) -> Entry:
        """The one whose fingerprint begins so (IdentityError where there is none, or more)."""
        wanted = prefix.lower().replace(":", "")
        found = {
            each.fingerprint: each
            for each in reversed(self.entries())
            if wanted and each.fingerprint.startswith(wanted)
        }
        if len(found) != 1:
            many = f"{len(found)} certificates" if found else "no certificate"
            raise IdentityError(f"{many} in {self.folder} with a fingerprint that begins with {prefix!r}")
        return next(iter(found.values()))

    def approve(self, entry: Entry) -> Path:
        """Let the application in from now on."""
        return self._move(entry, "trusted")

    def reject(self, entry: Entry) -> Path:
        """Keep the application out, one that was approved as well, and let it wait here no more."""
        kept = sorted(trust_folder.files(self.folder / "rejected"), key=lambda file: file.stat().st_mtime_ns)
        for file in kept[: max(0, len(kept) - self.bounds.rejected + 1)]:
            file.unlink(missing_ok=True)
        return self._move(entry, "rejected")

    def add(self, chain: list[x509.Certificate], at: datetime) -> Path:
        """Approve a certificate that an administrator has as a file."""
        trust_folder.prepare(self.folder)
        name = _name(chain[0])
        file = self.folder / "trusted" / name
        try:
            _write(file, chain, Seen(at, "file", ""))
            for state in ("inbox", "rejected"):
                (self.folder / state / name).unlink(missing_ok=True)
        except OSError as error:
            raise IdentityError(f"{file} cannot be written: {error.strerror}") from None
        keyfile.settle(file.parent)
        return file

    def _move(self, entry: Entry, state: Decision) -> Path:
        file = self.folder / state / _name(entry.chain[0])
        try:
            entry.file.replace(file)
            os.utime(file)
            for other in self.entries():  # a file put there by hand, or a peer that came by meanwhile
                if other.fingerprint == entry.fingerprint and other.file != file:
                    other.file.unlink(missing_ok=True)
        except OSError as error:
            raise IdentityError(f"{entry.file} cannot be moved to {file}: {error.strerror}") from None
        keyfile.settle(file.parent)
        keyfile.settle(entry.file.parent)
        return file


def _name(leaf: x509.Certificate) -> str:
    return fingerprint(application.raw(leaf)) + ".pem"


def _write(file: Path, chain: list[x509.Certificate], seen: Seen) -> None:
    """Whole or not at all, for whoever reads beside us."""
    # Nothing in the first line is a peer's own text: it could look like a certificate to a reader of PEM.
    first = json.dumps(msgspec.to_builtins(seen)) + "\n"
    data = first.encode() + b"".join(each.public_bytes(Encoding.PEM) for each in chain)
    fresh = file.with_name(f".{file.name}.{os.getpid()}.new")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "wb") as opened:
        opened.write(data)
    trust_folder.hand_over(fresh)
    fresh.replace(file)


def _seen(file: Path) -> Seen | None:
    try:
        with file.open("rb") as opened:
            return msgspec.json.decode(opened.readline(1024), type=Seen)
    except (OSError, msgspec.DecodeError):
        return None


def _address(source: str) -> str:
    try:
        return str(ip_address(source.partition("%")[0]))
    except ValueError:
        return "unknown"
