"""The policy of a running gateway: fetched, tried in the workshop, rehearsed, and used whole or not at all.

What is refused is recorded, and what was active stays. The swap is one assignment; the journal's windows end
there, so that each says one revision. A rehearsal that takes too long costs a warm start and nothing else.
"""

import asyncio
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from gateway.app.changes import by, changes
from gateway.app.opcua import crl_states
from gateway.app.pins import MOST_HISTORY, Past, Pin, Pins
from gateway.model.errors import Fault, IdentityError, PolicyError, UntriedError
from gateway.model.record import RecordKind
from gateway.policy import archive
from gateway.policy.bundle import Bundle
from gateway.policy.cache import Cache
from gateway.policy.facts import Facts, windows_now
from gateway.policy.loader import Policy
from gateway.policy.rehearsal import Flip, Limits, Rehearsed, prepare_elsewhere, warmed
from gateway.policy.service import Service
from gateway.policy.source import Away, Found, Unchanged

if TYPE_CHECKING:
    from gateway.app.parts import Parts

log = logging.getLogger(__name__)

SERVICE = "bundle service"
"What is told to be away."
MOST_FLIPS = 20
"Flips that the record of an activation names; the others are counted."
CHANGED = "the configured source changed"
"Why what people had activated counts no more."


class Policies:
    """Fetches, tries and uses bundles; people's own are `activation`'s."""

    def __init__(self, parts: "Parts") -> None:
        self.parts = parts
        self.pins = Pins(parts.folder.sub("state"))
        self.of_source = ""
        "Revision of what the source had last, if that could be used."
        self.one_at_a_time = asyncio.Lock()
        "A slow one that began earlier must not replace what a later one found."

    async def first(self) -> None:
        """Before anything listens: the bundle that is on this machine. A server is asked later.

        The workshop gets to know it by that, and tries a change of it in a fifth of the time: a change of
        policy has one second to reach every connection.
        """
        self._recall()
        pinned = self.pins.state.pinned
        if pinned is not None and await self._first_pinned(pinned):
            return
        try:
            found = await asyncio.to_thread(self.parts.source.stored, self.parts.now())
            if isinstance(found, Found):
                await self._try(found)
                self.of_source = found.bundle.revision
        except PolicyError as error:
            self._refuse(error)

    async def load(self) -> None:
        """Fetch what there is now, and use it if it is new and good."""
        async with self.one_at_a_time:
            try:
                found = await self.parts.source.fetch(self.parts.now())
            except PolicyError as error:  # a server that hands out what must not be used is not away
                self._answers()
                self._refuse(error)
                return
            self._heard(found)
            if isinstance(found, Found):
                await self._use_of_source(found)

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
            crls=crl_states(parts, now),
            clock=parts.clock.state(now),
            trusted=now.trusted,
        )

    # people's, and the source's -------------------------------------------------------------------

    def mark(self) -> None:
        """After each change of what stands in the source's place."""
        self.parts.deciding.admission.overridden = self.pins.over or ""

    def _recall(self) -> None:
        """What people had activated before this start. What was on trial is over: nobody confirmed it."""
        damaged = self.pins.read()
        if damaged:
            self.parts.alarm("activation_forgotten", {"why": f"{damaged}; the configured bundle counts"})
        waiting = self.pins.state.waiting
        if waiting is not None:
            why = "the gateway was started again before it was confirmed"
            self.parts.alarm("activation_returned", {"revision": waiting.revision, "why": why})
            self.put(waiting=None)
        self.mark()

    async def _first_pinned(self, pinned: Pin) -> bool:
        """Use what people have activated, unless the source has something else than it had then."""
        parts, found = self.parts, None
        try:
            found = await asyncio.to_thread(parts.source.stored, parts.now())
        except PolicyError as error:
            self._refuse(error)
        if isinstance(found, Found) and found.bundle.revision != pinned.over:
            self._unpin(CHANGED)
            return False
        try:
            await self._try(await asyncio.to_thread(self._pinned, pinned))
        except PolicyError as error:
            self._unpin(f"it cannot be used: {error}")
            return False
        self.of_source = pinned.over
        return True

    def _pinned(self, pinned: Pin) -> Found:
        """What stands in the source's place, checked as when it came. Raises PolicyError."""
        file = self.pins.archive(pinned.revision)
        found = self.parts.deciding.admission.members(archive.read(file), self.parts.now())
        if found.bundle.revision != pinned.revision:
            raise PolicyError([Fault(str(file), "is another bundle than was activated", "activate it again")])
        return found

    def _unpin(self, why: str) -> None:
        """The source's counts again."""
        pin = self.pins.state.waiting or self.pins.state.pinned
        self.put(pinned=None, waiting=None)
        self.mark()
        if pin is not None:
            note = {"result": "source", "instead_of": pin.revision, "by": pin.by, "why": why[:4000]}
            self.parts.journal.event(RecordKind.POLICY, note, self.parts.now())
            log.warning("the bundle that %s activated counts no more: %s", pin.by, why)

    async def _use_of_source(self, found: Found) -> None:
        """Use it, or say why not. What was not tried, for a reason that may pass, the source gives again."""
        try:
            await self._of_source(found)
        except PolicyError as error:
            if isinstance(error, UntriedError):
                self.parts.source.untried(found)
            self._refuse(error)

    async def _of_source(self, found: Found) -> None:
        """Raises PolicyError for one that must not be used."""
        over = self.pins.over
        if over == found.bundle.revision:
            self.of_source = over
            self.parts.refused.pop("policy", None)
            return
        await self._try(found)
        self.of_source = found.bundle.revision
        if over is not None:
            self._unpin(CHANGED)

    # one bundle -----------------------------------------------------------------------------------

    async def _try(self, found: Found) -> None:
        """Raises PolicyError for one that must not be used."""
        if found.bundle.revision != self.parts.decider.revision:
            rehearsed = await self.rehearse(found.bundle, Limits())
            await asyncio.to_thread(self.keep, found.bundle)
            warm = await warmed(rehearsed, self.parts.settings.policy.cache_entries)
            self.use(rehearsed.policy, found, rehearsed, warm)
            self.remember(found.bundle)
        self.parts.refused.pop("policy", None)
        await asyncio.to_thread(self._note, found)

    async def rehearse(self, bundle: Bundle, limits: Limits) -> Rehearsed:
        """Check it, run its tests, and decide by it what is asked now; all in another process."""
        parts, now = self.parts, self.parts.now()
        active = parts.decider.active
        live = active.cache.live(now.mono_ns, limits.most_live) if active is not None else []
        facts = self.facts(bundle.data.get("windows", {}))
        return await prepare_elsewhere(parts.deciding.workshop, bundle, live, facts, now, parts.ulids, limits)

    def use(
        self,
        policy: Policy,
        found: Found,
        rehearsed: Rehearsed | None = None,
        warm: Cache | None = None,
        more: Mapping[str, Any] = {},
    ) -> None:
        """From here on it decides. `more` goes into the record."""
        parts, now = self.parts, self.parts.now()
        before = parts.decider.bundle
        parts.decider.facts = self.facts(policy.bundle.data.get("windows", {}))
        parts.door.epoch.grow()  # a bundle that comes back at once finds no permit of its own from before
        parts.decider.adopt(policy, warm if parts.deciding.shares_warm else None)
        parts.journal.rotate_windows(now)
        note = {**_note(policy, before, found), **more}
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
        else:
            self._answers()

    def _answers(self) -> None:
        if self.parts.refused.pop(SERVICE, None) is not None:
            log.info("%s answers again", SERVICE)

    def _note(self, found: Found) -> None:
        """Where the bundle that was found is the active one now, no older one may come after it."""
        if found.bundle.revision != self.parts.decider.revision:
            return
        try:
            self.parts.source.activated(found)
        except OSError as error:
            self.parts.alarm(f"that bundle {found.bundle.revision[:12]} is active cannot be noted: {error}")

    def remember(self, bundle: Bundle, by: str = "", *, held: bool = True) -> None:
        """Note that it was made active, for people who ask."""
        serial = None if bundle.release is None else bundle.release.serial
        at = self.parts.now().wall_ns
        last = self.pins.state.history[-1:]
        if last and (last[0].revision, last[0].held) == (bundle.revision, held):
            return  # a start, not an activation
        past = Past(revision=bundle.revision, serial=serial, at_ns=at, by=by, held=held)
        self.put(history=self.pins.after(past))

    def put(self, **changes: Any) -> None:
        """Change what is remembered. Where the disk does not take it, that is told, and it counts anyway.

        What is on trial is there still after a start then, and is over: the safe side.
        """
        try:
            self.pins.put(**changes)
        except (OSError, IdentityError) as error:
            self.pins.state = replace(self.pins.state, **changes)
            self.parts.alarm(f"what is activated cannot be noted: {error}")

    @property
    def copies(self) -> Path:
        """Where a copy of each bundle is that was active."""
        return self.parts.folder.sub("bundles")

    def keep(self, bundle: Bundle) -> None:
        """Put a copy into the data folder, so that every revision in the journal can be looked at again."""
        stored = self.copies / bundle.revision
        half = stored.with_name(f".{bundle.revision}.new")
        try:
            if not stored.exists():
                shutil.rmtree(half, ignore_errors=True)
                bundle.write_to(half)
                half.rename(stored)
            stored.touch()
            self._prune(bundle.revision)
        except OSError as error:
            # Rights may have been taken away: that must not wait for a disk.
            self.parts.alarm(f"bundle {bundle.revision[:12]} could not be kept: {error}")

    def _prune(self, newest: str) -> None:
        """Remove the copies that were active longest ago, never one that may be needed."""
        state = self.pins.state
        pins = [pin.revision for pin in (state.pinned, state.waiting) if pin is not None]
        last = [past.revision for past in state.history if past.held][-2:]
        needed = {newest, self.of_source, self.parts.decider.revision, *pins, *last}
        kept = [each for each in self.copies.iterdir() if not each.name.startswith(".")]
        kept.sort(key=lambda each: each.stat().st_mtime_ns)
        for each in kept[: max(0, len(kept) - MOST_HISTORY)]:
            if each.name not in needed:
                shutil.rmtree(each)


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
