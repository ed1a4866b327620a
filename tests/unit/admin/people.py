"""A gateway's approvals with people around them: certificates are real, the clock is moved by hand.

site = Site(pki, tmp_path)
asked = site.ask(site.hmi, WRITE)          # refused, and a request waits
site.say(site.ann, asked, "grant")         # Ann signs with her own key
assert site.approvals.claim(site.hmi, WRITE, site.clock()) is not None
"""

from base64 import b64encode
from pathlib import Path
from typing import Any, Literal

from msgspec.structs import replace

from gateway.admin import statement
from gateway.admin.approvals import Approvals
from gateway.admin.client import said
from gateway.admin.posture import Posture
from gateway.admin.request import Request, Vote
from gateway.admin.store import Store
from gateway.model.asset import Table
from gateway.model.decision import Obligation
from gateway.model.identity import Caller, Identity
from gateway.model.moment import SECOND, Now
from gateway.model.operation import Action, ModbusTarget, Operation, Point, Protocol
from gateway.model.record import RecordKind
from gateway.model.stage import Stage
from gateway.model.ulid import Ulids
from tests.pki import Credential, Pki
from tests.scenarios.stage import Memory, Moment

GATEWAY = "gw-1"
BY = Obligation("approval", (("by", "supervisor"), ("within_s", 900)))
WINDOWS: dict[str, dict[str, Any]] = {
    "vendor-visit": {"on_request": True, "most_minutes": 120},
    "working-hours": {"days": ["mon"], "from": "06:00", "to": "18:00", "zone": "Europe/Berlin"},
}


def write(value: int = 500, *, address: int = 10, asset: str = "plc-1", unit: int = 1) -> Operation:
    """A write of one register."""
    return Operation(
        protocol=Protocol.MODBUS,
        action=Action.WRITE,
        kind="modbus.write_single_register",
        asset=asset,
        asset_kind="plc",
        modbus=ModbusTarget(unit=unit, fc=6, table=Table.HOLDING, start=address, count=1, values=(value,)),
        points=(Point("plc-1.level_sp", value, 400, 10),),
    )


WRITE = write()


class Notes(Memory):
    """A journal that keeps what it is told."""

    def __init__(self, story: list[str]) -> None:
        super().__init__(story)
        self.notes: list[dict[str, Any]] = []

    def event(
        self,
        kind: RecordKind,
        note: dict[str, Any],
        now: Now,
        *,
        caller: Caller | None = None,
        source: str | None = None,
    ) -> None:
        self.story.append(f"{kind.value}: {note.get('event')}")
        self.notes.append(note)


def issued(pki: Pki, profile: str, zone: str, name: str, role: str | None = None) -> Credential:
    """A certificate of the session's PKI, made once."""
    at = pki.dir / zone / "issued" / f"{name}.pem"
    if at.exists():
        return Credential(at, at.with_suffix(".key"))
    return pki.issue(profile, zone, name, role)


class Site:
    """Approvals and posture over one store, as after a start; `restart` is another start."""

    def __init__(self, pki: Pki, folder: Path, *, most_pending: int = 100, seed: int = 1) -> None:
        self.pki = pki
        self.clock = Moment()
        self.clock.ns = int(pki.now.timestamp()) * SECOND
        self.trust = {zone: pki.trust(zone) for zone in ("it", "plant")}
        self.most_pending = most_pending
        self.file = folder / "people.db"
        self.story: list[str] = []
        self.journal = Notes(self.story)
        self.counted: list[str] = []
        self.alarms: list[str] = []
        self.windows = WINDOWS
        self.stages: dict[str, Stage | None] = {"listener:modbus": Stage.OBSERVE, "asset:plc-1": None}
        self.mode = "run"
        self.seed = seed
        self.hmi_certificate = issued(pki, "modbus-client", "plant", "admin-hmi", "operator")
        self.hmi = self.caller(self.hmi_certificate, "plant", "modbus")
        self.ann = issued(pki, "person", "it", "admin-ann")
        self.bob = issued(pki, "person", "it", "admin-bob")
        self.restart()

    def restart(self) -> None:
        """What a new process finds; the old one may have been killed."""
        self.seed += 1 << 40
        self.store = Store(self.file)
        now = self.clock()
        self.posture = Posture(
            self.store,
            mode=self.mode,
            stages=self.stages,
            windows=lambda: self.windows,
            journal=self.journal,
            ulids=Ulids(self.seed + 1),
            alarm=lambda code, _: self.alarms.append(code),
            now=now,
        )
        self.approvals = Approvals(
            self.store,
            gateway=GATEWAY,
            admit=self.trust["it"].admit,
            journal=self.journal,
            ulids=Ulids(self.seed),
            count=self.counted.append,
            alarm=lambda code, _: self.alarms.append(code),
            most_pending=self.most_pending,
            now=now,
        )

    def caller(self, who: Credential, zone: str, listener: str) -> Caller:
        """Somebody on a connection, identified by their certificate as the listener would."""
        identity = self.trust[zone].admit(who.der, self.clock())
        assert isinstance(identity, Identity), identity
        return Caller(
            identity=identity, source="127.0.0.1", listener=listener, zone=zone, tls="1.3", connection="01C"
        )

    def named(self, subject: str) -> Caller:
        """Somebody else at the HMI's listener: for floods, where a certificate each would take too long."""
        return replace(self.hmi, identity=replace(self.hmi.identity, subject=subject, ski=None))

    def ask(self, caller: Caller, operation: Operation = WRITE, by: Obligation = BY) -> str:
        """What the guard does where policy wants approval."""
        return self.approvals.request(caller, operation, by, self.clock())

    def signed(
        self,
        who: Credential,
        request: str,
        decision: Literal["grant", "refuse"] = "grant",
        /,
        *,
        within_s: int = 900,
        key: Credential | None = None,
        **changes: Any,
    ) -> Vote:
        """What somebody says about a request, signed; `changes` make it say something else."""
        listed = {each["request"]: each for each in self.approvals.recent(1000, self.clock())}[request]
        approver = self.caller(who, "it", "admin").identity.subject
        now_s = self.clock().wall_ns // SECOND
        told = replace(said(listed, GATEWAY, decision, approver, now_s, within_s), **changes)
        text = statement.encode(told)
        return Vote(
            statement=text.decode(),
            signature=b64encode(statement.sign(text, (key or who).key)).decode(),
            certificate=b64encode(who.der).decode(),
        )

    def say(
        self, who: Credential, request: str, decision: Literal["grant", "refuse"] = "grant", /, **changes: Any
    ) -> Request:
        """Somebody answers a request, as over the admin API. Raises Impossible."""
        now = self.clock()
        vote = self.signed(who, request, decision, **changes)
        found = self.approvals.find(request, now)
        person = self.caller(who, "it", "admin")
        weighed = self.approvals.weigh(found, vote, decision, person, now)
        return self.approvals.answer(found, vote, weighed, now)

    def may(self, caller: Caller | None = None, operation: Operation = WRITE) -> tuple[str, ...]:
        """Whose approvals count for this now."""
        found = self.approvals.claim(caller or self.hmi, operation, self.clock())
        return () if found is None else found.by
