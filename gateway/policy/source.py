"""Where a gateway's bundle comes from, and that only what may be used is handed on.

A source is a folder, an archive on disk (both here) or a server (`service`). Where signatures are asked for,
nothing is looked at before one holds, and a folder, which carries none, is refused. What is handed on is a
bundle whose signature, times and serial are right; whether its rules are safe is the loader's question.
"""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from gateway.model.errors import Fault, PolicyError
from gateway.model.moment import Now
from gateway.policy import archive, bundle, signature
from gateway.policy.bundle import Bundle
from gateway.policy.serials import Serials


class Signing(Protocol):
    """What of `config.settings.Signing` matters here."""

    @property
    def keys(self) -> tuple[Path, ...]:
        """Public keys; the file's name without its ending is the key id."""

    @property
    def scope(self) -> str:
        """The scope that a signature must name."""


class Found(Struct, frozen=True):
    """A bundle that may be used, if the loader has nothing against it."""

    bundle: Bundle
    key_id: str | None
    "Whose signature it carries, where signatures are asked for."
    archive: bytes | None = None
    "As it came, where it came from a server."


class Unchanged(Struct, frozen=True):
    """The server has nothing new."""


class Away(Struct, frozen=True):
    """Nothing could be fetched this time: the bundle that is active stays."""

    why: str


class Source(Protocol):
    """Where the bundle comes from."""

    def stored(self, now: Now) -> Found | Away:
        """What is on this machine, for a start that waits for nobody but the disk. Raises PolicyError."""

    async def fetch(self, now: Now) -> Found | Unchanged | Away:
        """What there is now. Raises PolicyError for what must not be used; call it once at a time."""

    def activated(self, found: Found) -> None:
        """It decides from now on. Waits for the disk; OSError where that cannot be noted."""

    def untried(self, found: Found) -> None:
        """It could not be found out whether it can be used: `fetch` gives it again, though nothing is new."""


class Admission:
    """The checks that a bundle passes before it is one: signature, times, serial."""

    def __init__(self, signing: Signing | None, serials: Serials) -> None:
        self._signing = signing
        self.serials = serials
        self.overridden = ""
        """Revision of the source's bundle in whose place people have put another. It is recognised, whatever
        its age, and never used; who hands on a bundle of this revision to be used clears this first."""

    @property
    def signed(self) -> bool:
        """Whether signatures are asked for."""
        return self._signing is not None

    def members(self, members: Mapping[str, bytes], now: Now) -> Found:
        """The bundle of an unpacked archive. Raises PolicyError."""
        key_id = None
        if self._signing is not None:
            keys = signature.public_keys(self._signing.keys)  # read each time, so that a key can be replaced
            signed = signature.verify(members, keys, scope=self._signing.scope, judge_ns=now.judge_ns)
            key_id = signed.key_id
        return self._timely(Found(bundle.from_members(members), key_id), now)

    def folder(self, folder: Path, now: Now) -> Found:
        """The bundle of a folder. Raises PolicyError."""
        if self._signing is not None:
            mend = "build an archive of it: dmz-gateway policy build --signing-key"
            raise PolicyError([Fault(str(folder), "a folder carries no signature", mend)])
        return self._timely(Found(bundle.read(folder), None), now)

    def _timely(self, found: Found, now: Now) -> Found:
        if found.bundle.revision != self.overridden:
            self.serials.check(found.bundle, now, needed=self._signing is not None)
        return found


class Disk:
    """A folder or an archive on disk."""

    def __init__(self, place: Path, admission: Admission) -> None:
        self._place = place
        self._admission = admission

    def stored(self, now: Now) -> Found:
        """What is there. Raises PolicyError."""
        if self._place.is_file():
            return self._admission.members(archive.read(self._place), now)
        return self._admission.folder(self._place, now)

    async def fetch(self, now: Now) -> Found:
        """The same, without holding up anybody. Raises PolicyError."""
        return await asyncio.to_thread(self.stored, now)

    def activated(self, found: Found) -> None:
        """Its serial is the least from now on."""
        self._admission.serials.keep(found.bundle)

    def untried(self, found: Found) -> None:
        """What is on disk is given whenever it is asked for."""
