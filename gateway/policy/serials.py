"""The highest serial that was ever active here: a signed bundle of last year stays refused.

A signature says who wrote a bundle, never that nobody has written a newer one. So the gateway keeps a serial
(a file of one line, synced), and activates nothing below it, nor another content of the same serial. Who
wants an old content back releases it again under a new serial (`reissue`).

A state file that cannot be read is an error, told at every bundle, never zero. One that is missing, as at
the first start, stands for the highest serial of the copies that the gateway keeps of what was active.
Whoever can write the data folder can undo both; then the gateway is lost in more ways than this.
"""

import json
import os
from pathlib import Path

from msgspec import Struct
from msgspec.structs import asdict

from gateway.model.errors import Fault, PolicyError
from gateway.model.moment import SECOND, Now
from gateway.policy import release as releases
from gateway.policy.bundle import Bundle
from gateway.policy.release import Release, rfc3339

SKEW_NS = 300 * SECOND
"How far the clock of who releases may be ahead of ours."
MOST_BYTES = 200
"A state file holds one serial and one revision."


class Highest(Struct, frozen=True):
    """What was active with the highest serial; serial 0 before the first."""

    serial: int = 0
    revision: str = ""


def reissue(bundle: Bundle, serial: int, issued_ns: int, expires_ns: int | None = None) -> Bundle:
    """The content of an old bundle as a new release, so of a new revision. This is how a rollback is done."""
    issued = issued_ns // SECOND * SECOND
    return bundle.released(
        Release(serial=serial, issued_ns=issued, expires_ns=expires_ns, reissue_of=bundle.revision)
    )


class Serials:
    """Keeps and compares serials."""

    def __init__(self, file: Path, copies: Path) -> None:
        """`copies` is the folder where each bundle that was active is kept under its revision."""
        self._file = file
        self._copies = copies

    def check(self, bundle: Bundle, now: Now, *, needed: bool) -> None:
        """Raises PolicyError for a bundle that is too old, too early, or `needed` to say so and does not.

        While the clock is not believed, `now.judge_ns` is the last time known good or later: what has expired
        by then has expired, and nothing is too early.
        """
        release = bundle.release
        if release is None:
            if needed:
                raise _refused("is missing, so nobody knows whether this bundle is a newer one")
            return
        if release.expires_ns is not None and now.judge_ns >= release.expires_ns:
            raise _refused(f"the bundle expired at {rfc3339(release.expires_ns)}")
        if now.trusted and release.issued_ns > now.judge_ns + SKEW_NS:
            raise _refused(f"the bundle was issued in the future, at {rfc3339(release.issued_ns)}")
        highest = self.highest()
        if release.serial < highest.serial:
            raise _refused(f"rolled back: this is serial {release.serial}, and {highest.serial} was active")
        if release.serial == highest.serial and bundle.revision != highest.revision:
            raise _refused(f"another bundle with serial {release.serial} was active")

    def highest(self) -> Highest:
        """The highest serial that was active. Raises PolicyError where the state file says no such thing."""
        return self._stated() or self._of_copies()

    def keep(self, bundle: Bundle) -> None:
        """Note that this bundle is active. Waits for the disk; OSError where that cannot be."""
        release = bundle.release
        if release is None:
            return
        try:
            stated = self._stated()
        except PolicyError:
            return  # it stays for a person to see
        if stated is not None and release.serial <= stated.serial:
            return
        self._write(Highest(release.serial, bundle.revision))

    def settle(self) -> None:
        """Write down what counts now, so that a copy kept from here on counts only once it is noted (`keep`).

        Waits for the disk; OSError where that cannot be, PolicyError where the state file says no serial.
        """
        if self._stated() is None:
            self._write(self._of_copies())

    def _write(self, highest: Highest) -> None:
        fresh = self._file.with_name(self._file.name + ".new")
        with fresh.open("wb") as file:
            file.write(json.dumps(asdict(highest)).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._file)
        folder = os.open(self._file.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _stated(self) -> Highest | None:
        """What the state file says; None where there is none."""
        try:
            with self._file.open("rb") as file:
                text = file.read(MOST_BYTES + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unreadable(f"cannot be read: {error.strerror}") from None
        try:
            stated = json.loads(text.decode())
            if stated.keys() == {"serial", "revision"} and type(stated["serial"]) is int:
                return Highest(stated["serial"], str(stated["revision"]))
        except (ValueError, AttributeError, RecursionError):
            pass
        raise self._unreadable("says no serial")

    def _of_copies(self) -> Highest:
        found = Highest()
        for file in self._copies.glob(f"*/{releases.FILE}"):
            try:
                serial = releases.parse(file.read_bytes()).serial
            except (OSError, PolicyError):
                continue  # a copy that was spoilt says nothing about the others
            if serial > found.serial and not file.parent.name.startswith("."):
                found = Highest(serial, file.parent.name)
        return found

    def _unreadable(self, what: str) -> PolicyError:
        mend = "write the serial that was active, or remove the file: then the kept copies count"
        return PolicyError([Fault(str(self._file), what, mend)])


def _refused(what: str) -> PolicyError:
    mend = "release it with a higher serial: dmz-gateway policy build --serial"
    return PolicyError([Fault(releases.FILE, what, mend)])
