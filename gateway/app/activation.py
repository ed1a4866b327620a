"""A bundle that a person activates: admitted, rehearsed, used, and taken back unless it is confirmed in time.

Rules that hold here:
- It passes what every bundle passes: signature, times, serial, the loader, its tests.
- That takes a while. At its end whoever wants it must still be let in, and policy, facts and stages still be
  those by which it was allowed (`guard.epoch`); otherwise nothing happens.
- On trial, the bundle before stays in memory; when the time is over it decides again, and that is an alarm. A
  start during the trial ends it too. Its serial is noted only when it is confirmed.
- Who confirms is decided by the bundle on trial: one that locks people out takes itself back.
- It stands in the place of the configured bundle until that becomes another one.
- A rollback is a release of content that was active here and held. Anything else is an activation, whatever
  its `release.json` says of itself, so that policy can grant the one without the other.
"""

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from gateway.admin.impossible import Impossible
from gateway.admin.statement import rfc3339
from gateway.app.listening import admitted
from gateway.app.pins import Past, Pin
from gateway.app.policies import MOST_FLIPS, Policies, impact
from gateway.model.errors import IdentityError, PolicyError
from gateway.model.identity import Caller
from gateway.model.moment import SECOND, Now
from gateway.model.record import RecordKind
from gateway.policy import archive, bundle
from gateway.policy import release as releases
from gateway.policy.bundle import Bundle
from gateway.policy.loader import Policy
from gateway.policy.rehearsal import Limits, Rehearsed, warmed
from gateway.policy.source import Found

if TYPE_CHECKING:
    from gateway.app.parts import Parts

log = logging.getLogger(__name__)

LIMITS = Limits(prepare_s=60.0, rehearse_s=30.0, ask_s=5.0)
"A person waits for it, and wants to know all that flips."
MOST_TOLD = 200
"Flips told to the person one by one; the record names as many as that of a reload."


class Offered(Struct, frozen=True, kw_only=True):
    """A bundle that came over the admin API, its signature, times and serial right."""

    found: Found
    rolls_back: bool
    "Whether its content was active here before, and held."
    confirm_within_s: int | None = None
    "Until when it must be confirmed; None: it need not be."

    @property
    def revision(self) -> str:
        """Of the bundle."""
        return self.found.bundle.revision


class Trial(Struct, frozen=True, kw_only=True):
    """A bundle that decides, and waits for confirmation."""

    found: Found
    pin: Pin
    until: Now
    "Monotonic time counts; the wall clock is what people are told."
    before: Policy
    "What decides again if nobody confirms."


class Activation:
    """What people do with bundles."""

    def __init__(self, parts: "Parts", policies: Policies) -> None:
        self.parts = parts
        self.policies = policies
        self.trial: Trial | None = None

    # asking -----------------------------------------------------------------------------------------------

    async def understand(self, data: bytes, confirm_within_s: int | None, now: Now) -> Offered:
        """The bundle of an archive. Raises Impossible, with everything that is wrong with it."""
        return await asyncio.to_thread(self._understand, data, confirm_within_s, now)

    def _understand(self, data: bytes, confirm_within_s: int | None, now: Now) -> Offered:
        try:
            found = self.parts.deciding.admission.members(archive.unpack(data), now)
        except PolicyError as error:
            raise self._refused(error) from None
        return Offered(
            found=Found(found.bundle, found.key_id, data),
            rolls_back=self._rolls_back(found.bundle),
            confirm_within_s=confirm_within_s,
        )

    async def rehearse(self, offered: Offered) -> dict[str, Any]:
        """What it would change, without changing it. Raises Impossible."""
        async with self.policies.one_at_a_time:
            return {**_named(offered), "impact": told(await self._rehearse(offered))}

    def bundles(self, now: Now) -> dict[str, Any]:
        """The bundles that are kept, newest first, and what a new release must say."""
        state, active = self.policies.pins.state, self.parts.decider.revision
        admission = self.parts.deciding.admission
        listed = [_past(past, active) for past in reversed(state.history) if self._copy(past.revision)]
        try:
            highest = admission.serials.highest().serial
        except PolicyError as error:
            raise Impossible("serial_unknown", 409, str(error)) from None
        return {
            "active": active,
            "previous": self._previous(),
            "highest": highest,
            "signed": admission.signed,
            "bundles": listed,
            **self.status(now),
        }

    async def bundle(self, revision: str) -> bytes:
        """The archive, unsigned, of a bundle that is kept. Raises Impossible."""
        try:
            return archive.pack((await asyncio.to_thread(self._kept, revision)).members())
        except PolicyError as error:
            raise Impossible("no_such_bundle", 404, str(error)) from None

    def status(self, now: Now) -> dict[str, Any]:
        """What stands in the place of the configured bundle, and what waits for confirmation."""
        pinned, trial = self.policies.pins.state.pinned, self.trial
        waiting = None
        if trial is not None:
            left = max(0, trial.until.mono_ns - now.mono_ns) // SECOND
            waiting = {**_pin(trial.pin), "until": _time(trial.until.wall_ns), "left_s": left}
        return {"pinned": None if pinned is None else _pin(pinned), "waiting": waiting}

    # acting -----------------------------------------------------------------------------------------------

    async def activate(self, offered: Offered, caller: Caller) -> dict[str, Any]:
        """Use it. Raises Impossible: then what was active still is."""
        by, since = caller.identity.subject, self.parts.door.epoch.value
        async with self.policies.one_at_a_time:
            if self.trial is not None and self._restores(offered.found.bundle, self.trial):
                self._still(caller, since)
                return self._give_back(f"{by} took it back")
            self._free(offered)
            rehearsed = await self._rehearse(offered)
            warm = await warmed(rehearsed, self.parts.settings.policy.cache_entries)
            await asyncio.to_thread(self._prepare, offered)
            self._still(caller, since)
            # From here to the end nothing waits: it is on trial, noted and deciding, or nothing of that.
            confirm_until = self._note(offered, rehearsed, by)
            more = {"by": by, "confirm_until": confirm_until, "impact": impact(rehearsed, MOST_FLIPS)}
            self.policies.use(rehearsed.policy, offered.found, None, warm, more)
            self.policies.remember(offered.found.bundle, by, held=self.trial is None)
            self.parts.refused.pop("policy", None)
        if self.trial is None:
            await asyncio.to_thread(self._held, offered.found.bundle)
        return {
            **_named(offered),
            "confirm_until": confirm_until,
            "instead_of": self.policies.pins.over,
            "impact": told(rehearsed),
        }

    async def confirm(self, revision: str, by: str) -> dict[str, Any]:
        """It stays. Raises Impossible."""
        self.sweep(self.parts.now())
        trial = self._on_trial(revision)
        await asyncio.to_thread(self._keep, trial.found)
        self.sweep(self.parts.now())
        if self.trial is not trial:
            raise Impossible("nothing_waits", 409, "its time was over: the bundle before is active again")
        self.trial = None
        pin = None if revision == trial.pin.over else trial.pin
        self.policies.put(pinned=pin, waiting=None)
        self.policies.mark()
        self.policies.remember(trial.found.bundle, trial.pin.by)
        note = {"result": "confirmed", "revision": revision, "by": by}
        self.parts.journal.event(RecordKind.POLICY, note, self.parts.now())
        await asyncio.to_thread(self._held, trial.found.bundle)
        return {"revision": revision, "confirmed": True, "instead_of": self.policies.pins.over}

    def sweep(self, now: Now) -> None:
        """Take back what was not confirmed in time, and forget a trial that the source has ended."""
        trial = self.trial
        if trial is None:
            return
        if self.policies.pins.state.waiting != trial.pin:
            self.trial = None
        elif now.mono_ns >= trial.until.mono_ns:
            self._give_back("nobody confirmed it in time")

    # below ------------------------------------------------------------------------------------------------

    async def _rehearse(self, offered: Offered) -> Rehearsed:
        try:
            return await self.policies.rehearse(offered.found.bundle, LIMITS)
        except PolicyError as error:
            raise self._refused(error) from None

    def _refused(self, error: PolicyError) -> Impossible:
        """A bundle that must not be used: on record, and told to the person with every fault."""
        note = {"result": "refused", "what": "activation", "why": str(error)[:4000]}
        self.parts.journal.event(RecordKind.POLICY, note, self.parts.now())
        return Impossible("bundle_refused", 422, str(error)[:16_000])

    def _free(self, offered: Offered) -> None:
        """Whether it may take the place of the active one. Raises Impossible."""
        if self.parts.settings.policy.opa is not None:
            why = "OPA decides here: put the archive where OPA and the gateway fetch theirs"
            raise Impossible("opa_decides", 409, why)
        if self.trial is not None:
            why = f"{self.trial.pin.revision[:12]} waits for confirmation; confirm it, or roll back"
            raise Impossible("another_waits", 409, why)
        if offered.revision == self.parts.decider.revision:
            raise Impossible("active_already", 409, "this bundle is active")
        if self.parts.decider.policy is None:
            raise Impossible("no_policy", 409, "there is no bundle that could be gone back to")
        admission = self.parts.deciding.admission
        try:  # again: another may have been activated since
            admission.serials.check(offered.found.bundle, self.parts.now(), needed=admission.signed)
        except PolicyError as error:
            raise self._refused(error) from None

    def _still(self, caller: Caller, since: int) -> None:
        """The permit was spent before a wait of up to two minutes. Raises Impossible where it is void now."""
        if self.parts.door.epoch.value != since:
            why = "policy, or what it is told, changed meanwhile; ask again"
            raise Impossible("policy_changed", 503, why)
        if not admitted(self.parts, caller):
            raise Impossible("not_admitted", 403, "whoever asked is not connected, or not let in, any more")

    def _prepare(self, offered: Offered) -> None:
        """On the disk, before it counts: its copy, its archive, and the serials that count without it."""
        try:  # before the copy: where nothing is noted yet, the highest serial among the copies counts
            self.parts.deciding.admission.serials.settle()
        except (OSError, PolicyError) as error:
            raise Impossible("not_kept", 503, f"the serial cannot be noted: {error}") from None
        self.policies.keep(offered.found.bundle)
        if offered.confirm_within_s is None:
            self._keep(offered.found)

    def _keep(self, found: Found) -> None:
        try:
            self.policies.pins.keep(found.bundle.revision, found.archive or b"")
        except (OSError, IdentityError) as error:
            raise Impossible("not_kept", 503, f"the disk does not take it: {error}") from None

    def _note(self, offered: Offered, rehearsed: Rehearsed, by: str) -> str | None:
        """Write down that it is in the source's place, or on trial; until when."""
        now, before = self.parts.now(), self.parts.decider.policy
        pins, over = self.policies.pins, self.policies.of_source
        pin = Pin(revision=offered.revision, over=over, by=by, at_ns=now.wall_ns)
        within_s = offered.confirm_within_s
        try:
            if within_s is None:
                pins.put(pinned=None if pin.revision == over else pin)
            else:
                pins.put(waiting=pin)
        except (OSError, IdentityError) as error:
            raise Impossible("not_kept", 503, f"the disk does not take it: {error}") from None
        self.policies.mark()
        if within_s is None or before is None:
            return None
        until = Now(
            now.wall_ns + within_s * SECOND, now.mono_ns + within_s * SECOND, now.trusted, now.judge_ns
        )
        self.trial = Trial(found=offered.found, pin=pin, until=until, before=before)
        return _time(until.wall_ns)

    def _held(self, bundle: Bundle) -> None:
        """It stays: no older one may come after it."""
        try:
            self.parts.deciding.admission.serials.keep(bundle)
        except OSError as error:
            self.parts.alarm(f"that bundle {bundle.revision[:12]} is active cannot be noted: {error}")
        self.policies.pins.tidy()

    def _give_back(self, why: str) -> dict[str, Any]:
        """The bundle before decides again."""
        trial, self.trial = self.trial, None
        assert trial is not None  # noqa: S101  asked by who calls
        found = Found(trial.before.bundle, None)
        self.policies.use(trial.before, found, more={"result": "returned", "why": why})
        self.policies.put(waiting=None)
        self.policies.mark()
        self.policies.remember(found.bundle, trial.pin.by)
        self.parts.alarm("activation_returned", {"revision": trial.pin.revision, "why": why})
        self.parts.changed()
        return {"revision": found.bundle.revision, "returned_from": trial.pin.revision, "why": why}

    def _on_trial(self, revision: str) -> Trial:
        if self.trial is None:
            raise Impossible("nothing_waits", 409, "no bundle waits for confirmation")
        if self.trial.pin.revision != revision:
            raise Impossible("another_waits", 409, f"{self.trial.pin.revision} waits for confirmation")
        return self.trial

    # what was active before -------------------------------------------------------------------------------

    def _previous(self) -> str | None:
        """What a rollback goes back to: what was active before this one, and held."""
        if self.trial is not None:
            return self.trial.before.bundle.revision
        now, active = self.parts.decider.bundle, self.parts.decider.revision
        same = None if now is None else _content(now)
        for past in reversed(self.policies.pins.state.history):
            if past.held and past.revision != active and self._copy(past.revision):
                try:
                    if _content(self._kept(past.revision)) != same:
                        return past.revision
                except PolicyError:
                    continue
        return None

    def _copy(self, revision: str) -> bool:
        return (self.policies.copies / revision).is_dir()

    def _kept(self, revision: str) -> Bundle:
        """The copy of a bundle that was active. Raises PolicyError, also where it is not what it was."""
        if not any(past.revision == revision for past in self.policies.pins.state.history):
            raise archive.refused(revision[:64], "was not active here, or too long ago", "list what is kept")
        kept = bundle.read(self.policies.copies / revision)
        if kept.revision != revision:
            raise archive.refused(revision, "is not what it was any more")
        return kept

    def _rolls_back(self, offered: Bundle) -> bool:
        former = None if offered.release is None else offered.release.reissue_of
        held = any(past.held and past.revision == former for past in self.policies.pins.state.history)
        if former is None or not held:
            return False
        try:
            return _content(self._kept(former)) == _content(offered)
        except PolicyError:
            return False

    def _restores(self, offered: Bundle, trial: Trial) -> bool:
        return _content(offered) == _content(trial.before.bundle)


def told(rehearsed: Rehearsed) -> dict[str, Any]:
    """What flips, for people: sessions first, those that gain before those that lose."""
    sessions: dict[tuple[str, ...], dict[str, Any]] = {}
    for flip in rehearsed.flips:
        key = (flip.becomes, flip.subject, flip.source, flip.listener)
        names = ("becomes", "subject", "source", "listener")
        session = sessions.setdefault(key, {**dict(zip(names, key, strict=True)), "what": {}})
        for thing in flip.tags or (flip.asset or flip.kind,):
            session["what"][f"{flip.action.value} {thing}"] = None
    grouped = [{**session, "what": sorted(session["what"])} for session in sessions.values()]
    return {**impact(rehearsed, MOST_TOLD), "sessions": grouped}


def _content(bundle: Bundle) -> dict[str, bytes]:
    """The files without the release: what a reissue keeps."""
    return {name: text for name, text in bundle.files.items() if name != releases.FILE}


def _named(offered: Offered) -> dict[str, Any]:
    release = offered.found.bundle.release
    return {
        "revision": offered.revision,
        "serial": None if release is None else release.serial,
        "signed_by": offered.found.key_id,
        "rolls_back": offered.rolls_back,
    }


def _pin(pin: Pin) -> dict[str, Any]:
    return {"revision": pin.revision, "instead_of": pin.over, "by": pin.by, "since": _time(pin.at_ns)}


def _past(past: Past, active: str) -> dict[str, Any]:
    return {
        "revision": past.revision,
        "serial": past.serial,
        "since": _time(past.at_ns),
        "by": past.by or None,
        "held": past.held,
        "active": past.revision == active,
    }


def _time(ns: int) -> str:
    return rfc3339(ns // SECOND)
