"""Which OPC UA applications a zone lets in: its anchors as everywhere, and what an administrator approved.

Stands beside the zone's `ZoneTrust` and is kept up the same way: `changed`, `reload`, `version`. What trust
settles about a chain is worked out once for each state of trust and remembered; the moment is asked about
every time. So revoking, approving and rejecting count as soon as the files were read, live channels included.

The peer hears Bad_SecurityChecksFailed whatever the reason: codes and messages are for log and record.
"""

from collections import OrderedDict
from pathlib import Path

from msgspec.structs import replace

from gateway.identity import application, trust_folder
from gateway.identity.certificate import Refused, fingerprint
from gateway.identity.chain import Admitted, Judged, Lists, judge
from gateway.identity.trust import CrlState, ZoneTrust
from gateway.identity.trust_folder import Held
from gateway.model.moment import SECOND, Now

__all__ = ["Admitted", "Applications", "Refused"]

MOST_REMEMBERED = 1024
"Chains whose judgement is remembered, until trust changes."
_TROUBLE: tuple[CrlState, ...] = ("fresh", "stale", "grace_over", "missing")


class Applications:
    """One zone's applications."""

    def __init__(self, zone: ZoneTrust, folder: Path) -> None:
        """`folder` is `trust/<zone>` of the data folder; it is made where it is not there."""
        self.zone = zone
        self.folder = folder
        self.error: str | None = None
        "What is wrong with files of the folder, one a line; the others are in force."
        trust_folder.prepare(folder)
        self._grown = 0
        self._held = Held()
        self._judged: OrderedDict[bytes, Judged] = OrderedDict()
        self._of_zone = zone.version
        self._read()

    # what is in force ---------------------------------------------------------------------------------

    @property
    def version(self) -> int:
        """Grows with each change, of the zone's trust as well."""
        return self.zone.version + self._grown

    @property
    def approved(self) -> frozenset[str]:
        """Fingerprints of the certificates that an administrator approved."""
        return frozenset(fingerprint(each) for each in self._held.approved)

    def admit(self, chain: bytes, now: Now) -> Admitted | Refused:
        """Which application this SenderCertificate (DER, leaf first) names now, or why it does not get in."""
        if len(chain) > application.MOST_CHAIN_BYTES:
            return Refused(
                "unreadable", f"the certificates are longer than {application.MOST_CHAIN_BYTES} bytes"
            )
        if self._of_zone != self.zone.version:
            self._read()  # other anchors may make other files usable
        found = self._judged.get(chain)
        if found is None:
            found = self._judged[chain] = judge(chain, self._lists())
            if len(self._judged) > MOST_REMEMBERED:
                self._judged.popitem(last=False)
        return found.at(now)

    def if_approved(self, chain: bytes, now: Now) -> Admitted | Refused:
        """What `admit` would say if the certificate were approved: for whoever decides about it."""
        lists = self._lists()
        try:
            leaf = application.parse(chain)[0]
        except application.Unfit as unfit:
            return unfit.refused
        return judge(chain, replace(lists, approved=lists.approved | {application.raw(leaf)})).at(now)

    def crl_state(self, now: Now) -> CrlState:
        """The worst state of the lists in force, the zone's and those of issuers."""
        due_ns = min((each.next_update_ns for each in self._held.lists.values()), default=None)
        own: CrlState = "fresh"
        if due_ns is not None and now.judge_ns > due_ns:
            own = "stale" if now.judge_ns <= due_ns + self.zone.zone.crl_grace_s * SECOND else "grace_over"
        return max(own, self.zone.crl_state(now), key=_TROUBLE.index)

    def expiries(self) -> list[tuple[str, int]]:
        """When approved applications and named issuers expire: (name, ns since 1970)."""
        return [
            (f"zone {self.zone.zone.name}: application {name}", until) for name, until in self._held.dated
        ]

    # keeping up -----------------------------------------------------------------------------------------

    def changed(self) -> bool:
        """Whether a file or the zone's trust has changed since it was last looked at. A few `stat` calls."""
        return self._of_zone != self.zone.version or trust_folder.stamp(self.folder) != self._stamp

    def reload(self) -> bool:
        """Read the files again, the zone's not: reload that first. True if trust changed."""
        moved = self._of_zone != self.zone.version
        return self._read() or moved

    def _read(self) -> bool:
        self._of_zone = self.zone.version
        self._stamp = trust_folder.stamp(self.folder)
        held, problems = trust_folder.load(self.folder, self.zone.anchors, self._held.lists)
        self.error = "\n".join(problems) or None
        self._judged.clear()
        if held == self._held:
            return False
        self._held = held
        self._grown += 1
        return True

    def _lists(self) -> Lists:
        held = self._held
        return Lists(
            zone=self.zone.zone.name,
            anchors=self.zone.anchors,
            issuers=held.issuers,
            sent=held.sent,
            approved=held.approved,
            revocations={**held.lists, **self.zone.lists},
            required=self.zone.required,
        )
