"""What a policy would decide about the operations of a capture.

The same decider as the gateway's, asked with what a capture can tell: who is asking is what `--as` says of an
address, the time is the capture's, values last polled are those of answers. What it cannot tell is assumed as
on a good day: certificates fresh, the clock trusted, the plant's mode as configured. An address that `--as`
does not name is nobody, and nobody is denied without asking.
"""

from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from gateway.config.settings import PolicySection, Settings
from gateway.guard.limits import WriteCounts
from gateway.inspect.named import Who
from gateway.inspect.plant import Plant, moment
from gateway.model.decision import Allowed, Decision, Denied, Origin, Reason
from gateway.model.errors import Fault, PolicyError
from gateway.model.identity import Authentication, Caller, Identity, Kind, RoleState
from gateway.model.moment import SECOND
from gateway.model.operation import MUTATING, Operation, Protocol
from gateway.model.ulid import Ulids
from gateway.policy import bundle, question
from gateway.policy.decider import Decider
from gateway.policy.facts import Facts, windows_now
from gateway.policy.loader import load

ZONE = "plant"
"Of callers, where no listener of a configuration says another."
LISTENER = "inspect"
MOST_CALLERS = 10_000
"Addresses remembered as callers, by the ways they came and the users they named."


class Door(Struct, frozen=True):
    """By which way somebody asks."""

    listener: str = LISTENER
    zone: str = ZONE
    protocol: Protocol = Protocol.MODBUS
    user: str | None = None
    "On whose behalf, over OPC UA."


class Judge:
    """Policy, asked about a capture."""

    def __init__(
        self, folder: Path, who: dict[str, Who], plant: Plant, settings: Settings | None = None
    ) -> None:
        """Raises PolicyError if the bundle is one that a gateway would not load."""
        if not folder.exists():
            mend = "name the folder that holds core/ and data/, or an archive"
            raise PolicyError([Fault(str(folder), "no such folder", mend)])
        self._plant = plant
        self._who = who
        self._callers: dict[tuple[str, Door], Caller] = {}
        self._ulids = Ulids(0)
        section = settings.policy if settings is not None else PolicySection(bundle=folder)
        self._decider = Decider(self._ulids, section, lambda _code, _note: None)
        self._decider.adopt(load(bundle.read(folder)))
        assert self._decider.bundle is not None  # noqa: S101  adopted above
        self._windows = self._decider.bundle.data.get("windows", {})
        self._mode = settings.gateway.mode if settings is not None else "run"
        self._freeze = settings.gateway.freeze if settings is not None else False
        self._minute = -1
        self._writes = WriteCounts()

    def door(self, unit: int) -> Door:
        """By which way a request with that unit comes."""
        return Door(*self._plant.zones.get(unit, (LISTENER, ZONE)))

    def decide(
        self,
        source: str,
        door: Door,
        operations: Sequence[Operation],
        time_ns: int,
        *,
        nowhere: Reason | None = None,
    ) -> list[Decision]:
        """One decision for each operation of a request; `nowhere` says why there is none."""
        if source not in self._who:
            return [_unasked("inspect.nobody", f"--as does not say who {source} is")] * max(
                1, len(operations)
            )
        if not operations:
            reason = nowhere or Reason("wire.unmapped_unit", "wire", "it is addressed to no asset")
            return [_unasked(reason.code, reason.msg)]
        self._keep_time(time_ns)
        caller, now = self._caller(source, door), moment(time_ns)
        subject = caller.identity.subject
        decisions: list[Decision] = []
        for operation in operations:
            if operation.unreadable is not None:
                decisions.append(_unasked(f"wire.{operation.unreadable}", "it could not be read"))
                continue
            asset = operation.asset or ""
            writes = self._writes.count(subject, asset, time_ns) if operation.action in MUTATING else None
            decisions.append(self._decider.decide(caller, operation, now, writes))
        if all(isinstance(each, Allowed) for each in decisions):
            for operation in operations:
                if operation.action in MUTATING:
                    self._writes.note(subject, operation.asset or "", time_ns)
        return decisions

    def questions(
        self,
        source: str,
        door: Door,
        operations: Sequence[Operation],
        decisions: Sequence[Decision],
        time_ns: int,
    ) -> list[bytes]:
        """The question of each operation, also of a source that nobody named: for `replay` and `learn`.

        Empty where one of them could not be read.
        """
        if any(each.unreadable is not None for each in operations):
            return []
        self._keep_time(time_ns)
        caller, now = self._caller(source, door), moment(time_ns)
        asked = []
        for operation, decision in zip(operations, decisions, strict=False):
            writes = self._writes.count(caller.identity.subject, operation.asset or "", time_ns)
            whole = question.document(
                caller, operation, self._decider.facts, self._ulids.next(time_ns), now, writes
            )
            asked.append(decision.question or question.encode(whole))
        return asked

    def _keep_time(self, time_ns: int) -> None:
        """Facts of the capture's minute."""
        if time_ns // (60 * SECOND) != self._minute:
            self._minute = time_ns // (60 * SECOND)
            self._decider.facts = self._facts(time_ns)

    def unread(self, code: str) -> list[Decision]:
        """A request that policy is never asked about (invariant 2)."""
        return [_unasked(f"wire.{code}", "refused before policy is asked")]

    def _facts(self, time_ns: int) -> Facts:
        return Facts(
            mode=self._mode,
            freeze=self._freeze,
            windows=windows_now(self._windows, time_ns),
            crl="fresh",
            clock="trusted",
            trusted=True,
        )

    def _caller(self, source: str, door: Door) -> Caller:
        key = source, door
        if key not in self._callers:
            if len(self._callers) >= MOST_CALLERS:
                self._callers.clear()
            self._callers[key] = Caller(
                identity=self._identity(source, door),
                source=source,
                listener=door.listener,
                zone=door.zone,
                tls="1.3" if source in self._who and door.protocol is Protocol.MODBUS else None,
                connection=self._ulids.next(0),
            )
        return self._callers[key]

    def _identity(self, source: str, door: Door) -> Identity:
        """Who that address is. An application certificate of OPC UA carries no role."""
        opcua = door.protocol is Protocol.OPCUA
        named = source in self._who
        subject, roles = self._who.get(source, (f"anonymous:{door.listener}", ()))
        if opcua:
            roles = ()
        proved = Authentication.OPCUA if opcua else Authentication.MTLS
        return Identity(
            subject=subject,
            kind=Kind.WORKLOAD if named else Kind.NOBODY,
            auth=proved if named else Authentication.NONE,
            zone=door.zone,
            roles=roles,
            role_state=RoleState.OK if roles else RoleState.ABSENT,
            on_behalf_of=door.user,
        )


def _unasked(code: str, message: str) -> Decision:
    return Denied(revision="", reasons=(Reason(code, "wire", message),), origin=Origin.UNASKED)
