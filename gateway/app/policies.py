"""The policy of a running gateway: fetched, tried in the workshop, rehearsed, and used whole or not at all.

What is refused is recorded, and what was active stays. The swap is one assignment; the journal's windows end
there, so that each says one revision. A rehearsal that takes too long costs a warm start and nothing else.
"""

import asyncio
import logging
import shutil
from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.app.changes import by, changes
from gateway.app.parts import Parts
from gateway.model.errors import PolicyError
from gateway.model.record import RecordKind
from gateway.policy.bundle import Bundle
from gateway.policy.cache import Cache
from gateway.policy.facts import Facts, windows_now
from gateway.policy.loader import Policy
from gateway.policy.rehearsal import Flip, Limits, Rehearsed, prepare_elsewhere, warmed
from gateway.policy.service import Service
from gateway.policy.source import Away, Found, Unchanged

log = logging.getLogger(__name__)

SERVICE = "bundle service"
"What is told to be away."
MOST_FLIPS = 20
"Flips that the record of an activation names; the others are counted."


class Policies:
    """Fetches, tries and uses bundles."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self._one_at_a_time = asyncio.Lock()
        "A slow one that began earlier must not replace what a later one found."

    async def first(self) -> None:
        """Before anything listens: the bundle that is on this machine. A server is asked later.

        The workshop gets to know it by that, and tries a change of it in a fifth of the time: a change of
        policy has one second to reach every connection.
        """
        try:
            found = await asyncio.to_thread(self.parts.source.stored, self.parts.now())
            if isinstance(found, Found):
                await self._try(found)
        except PolicyError as error:
            self._refuse(error)

    async def load(self) -> None:
        """Fetch what there is now, and use it if it is new and good."""
        async with self._one_at_a_time:
            try:
                found = await self.parts.source.fetch(self.parts.now())
                self._heard(found)
                if isinstance(found, Found):
                    await self._try(found)
            except PolicyError as error:
                self._refuse(error)

    async def follow(self, service: Service) -> None:
        """Ask a bundle service again and again."""
        while True:
            await self.load()
            await asyncio.sleep(service.pause_s)

    def facts(self, windows: Mapping[str, Mapping[str, Any]]) -> Facts:
        """What policy is told now, by these definitions of windows."""
        parts, now = self.parts, self.parts.now()
        posture = parts.people.posture
        return Facts(
            mode=posture.mode,
            freeze=parts.settings.gateway.freeze,
            windows=windows_now(windows, now.wall_ns, posture.windows(now)),
            break_glass=posture.broken(now),
            crls=tuple(sorted((name, trust.crl_state(now)) for name, trust in parts.trust.items())),
            clock=parts.clock.state(now),
            trusted=now.trusted,
        )

    # one bundle -----------------------------------------------------------------------------------

    async def _try(self, found: Found) -> None:
        """Raises PolicyError for one that must not be used."""
        if found.bundle.revision != self.parts.decider.revision:
            rehearsed = await self._rehearse(found.bundle, Limits())
            await asyncio.to_thread(self._keep, found.bundle)
            warm = await warmed(rehearsed, self.parts.settings.policy.cache_entries)
            self._use(rehearsed.policy, found, rehearsed, warm)
        self.parts.refused.pop("policy", None)
        await asyncio.to_thread(self._note, found)

    async def _rehearse(self, bundle: Bundle, limits: Limits) -> Rehearsed:
        """Check it, run its tests, and decide by it what is asked now; all in another process."""
        parts, now = self.parts, self.parts.now()
        active = parts.decider.active
        live = active.cache.live(now.mono_ns, limits.most_live) if active is not None else []
        facts = self.facts(bundle.data.get("windows", {}))
        return await prepare_elsewhere(parts.deciding.workshop, bundle, live, facts, now, parts.ulids, limits)

    def _use(
        self, policy: Policy, found: Found, rehearsed: Rehearsed | None = None, warm: Cache | None = None
    ) -> None:
        """From here on it decides."""
        parts, now = self.parts, self.parts.now()
        before = parts.decider.bundle
        parts.decider.facts = self.facts(policy.bundle.data.get("windows", {}))
        parts.decider.adopt(policy, warm if parts.deciding.shares_warm else None)
        parts.journal.rotate_windows(now)
        note = _note(policy, before, found)
        if rehearsed is not None:
            note["impact"] = impact(rehearsed, MOST_FLIPS)
        parts.journal.event(RecordKind.POLICY, note, now)
        log.info("policy %s is active", policy.bundle.revision[:12])
        for warning in policy.warnings:
            log.warning("policy: %s", warning)

    def _refuse(self, error: PolicyError) -> None:
        self.parts.refuse("policy", str(error), RecordKind.POLICY, self.parts.now())

    def _heard(self, found: Found | Unchanged | Away) -> None:
        """Tell once that the server is away, until it is back."""
        if isinstance(found, Away):
            if SERVICE not in self.parts.refused:
                self.parts.refuse(SERVICE, found.why, RecordKind.POLICY, self.parts.now())
        elif self.parts.refused.pop(SERVICE, None) is not None:
            log.info("%s answers again", SERVICE)

    def _note(self, found: Found) -> None:
        """Where the bundle that was found is the active one now, no older one may come after it."""
        if found.bundle.revision != self.parts.decider.revision:
            return
        try:
            self.parts.source.activated(found)
        except OSError as error:
            self.parts.alarm(f"that bundle {found.bundle.revision[:12]} is active cannot be noted: {error}")

    def _keep(self, bundle: Bundle) -> None:
        """Put a copy into the data folder, so that every revision in the journal can be looked at again."""
        stored = self.parts.folder.sub("bundles") / bundle.revision
        half = stored.with_name(f".{bundle.revision}.new")
        try:
            if not stored.exists():
                shutil.rmtree(half, ignore_errors=True)
                bundle.write_to(half)
                half.rename(stored)
        except OSError as error:
            # Rights may have been taken away: that must not wait for a disk.
            self.parts.alarm(f"bundle {bundle.revision[:12]} could not be kept: {error}")


def impact(rehearsed: Rehearsed, most: int) -> dict[str, Any]:
    """What flips of that which is asked now; those that widen first, at most so many one by one."""
    return {
        "rehearsed": len(rehearsed.decisions),
        "left_out": rehearsed.left_out,
        "why": rehearsed.why,
        "widened": rehearsed.widened,
        "narrowed": rehearsed.narrowed,
        "flips": [_flip(flip) for flip in rehearsed.flips[:most]],
    }


def _flip(flip: Flip) -> dict[str, Any]:
    told = msgspec.to_builtins(flip)
    return {**told, "reasons": [reason.code for reason in flip.reasons]}


def _note(policy: Policy, before: Bundle | None, found: Found) -> dict[str, Any]:
    """What the record of an activation says."""
    bundle = policy.bundle
    old = by(before.data.get("grants", []) if before is not None else [], "id")
    note: dict[str, Any] = {
        "result": "activated",
        "revision": bundle.revision,
        "warnings": [str(warning) for warning in policy.warnings],
        "grants": changes(old, by(bundle.data.get("grants", []), "id")),
    }
    if found.key_id is not None:
        note["signed_by"] = found.key_id
    if bundle.release is not None:
        note["serial"] = bundle.release.serial
    return note
