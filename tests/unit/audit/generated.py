"""A plant's month in the journal: as many records as are wanted, with answers known while they are made.

The records are made by the real writer once for every kind of thing that happens, then stamped with ids,
times and values, and appended by the real log. `Truth` is kept by the generator itself, never by a search.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from gateway.audit import entry
from gateway.audit.log import Log
from gateway.audit.signer import Signer
from gateway.audit.storage import Disk
from gateway.audit.tiles import Tiles
from gateway.audit.window import window_records
from gateway.model.asset import Table
from gateway.model.decision import Allowed, Approval, Denied, Origin, Reason
from gateway.model.identity import Authentication, Caller, Identity, Kind, RoleState
from gateway.model.moment import Now
from gateway.model.operation import Action, AdminTarget, ModbusTarget, Operation, Point, Protocol
from gateway.model.record import RecordKind
from gateway.model.ulid import Ulids
from tests.unit.audit.world import KEY, ORIGIN, describe

END = 1_795_392_000_000_000_000
"2026-11-23T00:00:00Z: the month ends here."
DAY = 86_400_000_000_000
DAYS = 28
BATCH = 4000
HMIS = [f"spiffe://plant.example/hmi-{n}" for n in range(1, 7)]
VENDOR = "spiffe://vendor.example/acme-remote"
ANNA = "x509:CN=Anna Berg,O=Plant"
BORIS = "x509:CN=Boris Lang,O=Plant"
HISTORIAN = "spiffe://it.example/historian"
STRANGER = "spiffe://it.example/scanner"
ASSETS = [f"plc-{n}" for n in range(1, 13)]
SET_POINT = "plc-3.temp_sp"
PUMP = "plc-5"
REASONS = (
    "default.no_grant",
    "guardrail.rate",
    "base.it_never_writes",
    "site.night_shift",
    "grant.addresses",
)
REVISIONS = [c * 64 for c in "abcd"]
ID, WALL, MONO, Q, BEFORE = "0" * 26, 999_000_000_000_001, 999_000_000_000_003, 77_777, 88_888


def fingerprint(subject: str) -> str:
    """Of its certificate."""
    return subject.encode().hex()[-16:].rjust(64, "c")


def caller(subject: str, source: str) -> Caller:
    """Somebody on a connection."""
    kind = Kind.PERSON if subject.startswith("x509") else Kind.WORKLOAD
    who = Identity(
        subject=subject,
        kind=kind,
        auth=Authentication.MTLS,
        zone="plant",
        roles=("operator",),
        role_state=RoleState.OK,
        fingerprint=fingerprint(subject),
        serial=fingerprint(subject)[-12:],
        issuer="CN=plant issuing,O=Plant",
    )
    return Caller(identity=who, source=source, listener="north", zone="plant", tls="1.3", connection="C" * 26)


def register(asset: str, tag: str, action: Action) -> Operation:
    """A read or write of one tag."""
    writes = action is Action.WRITE
    return Operation(
        protocol=Protocol.MODBUS,
        action=action,
        kind="modbus.write_single_register" if writes else "modbus.read_holding_registers",
        asset=asset,
        asset_kind="plc",
        modbus=ModbusTarget(
            unit=1,
            fc=6 if writes else 3,
            table=Table.HOLDING,
            start=100,
            count=1,
            values=(Q,) if writes else None,
        ),
        points=(Point(tag, Q, BEFORE, 120) if writes else Point(tag),),
    )


def act(kind: str, **about: Any) -> Operation:
    """A person's act."""
    return Operation(
        protocol=Protocol.HTTPS, action=Action.ADMIN, kind=f"admin.{kind}", admin=AdminTarget(**about)
    )


@dataclass
class Truth:
    """What a reviewer should be told, kept while the records were made."""

    set_point: list[tuple[int, str, float, float]] = field(default_factory=list)
    "Writes of SET_POINT that were done: index, who, before, after."
    vendor: Counter[tuple[str, str]] = field(default_factory=Counter)
    "Asset and action -> how often, for VENDOR; refused ones as `refused`."
    denials: defaultdict[int, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    "Day -> reason -> how many."
    alarm: int = 0
    "Index of the finding before which something happened."
    before_alarm: set[int] = field(default_factory=set)
    glass: list[tuple[int, int, set[int]]] = field(default_factory=list)
    "Broken by ANNA: from, until (ns), and what she did meanwhile."
    open_writes: set[int] = field(default_factory=set)
    "Intents to write of which nobody knows the end."
    policies: list[tuple[int, str]] = field(default_factory=list)
    "Activated: when, revision."
    approvals: list[tuple[str, str, str]] = field(default_factory=list)
    "Request, who wanted it, who approved."
    certificate: set[int] = field(default_factory=set)
    "Records of the vendor's certificate in the last three days."
    refused: Counter[str] = field(default_factory=Counter)
    "Reason -> how many, for PUMP."
    records: int = 0
    bytes: int = 0


class Stamp:
    """A record with holes for what differs."""

    def __init__(self, data: bytes) -> None:
        holes = {
            ID.encode(): "%(id)s",
            str(WALL).encode(): "%(wall)d",
            str(MONO).encode(): "%(mono)d",
            f"{Q / 10:g}".encode(): "%(value)s",
            f"{BEFORE / 10:g}".encode(): "%(before)s",
            str(Q).encode(): "%(q)d",
            str(BEFORE).encode(): "%(q_prev)d",
            b"1" * 26: "%(about)s",
        }
        text = data.decode().replace("%", "%%")
        for what, hole in holes.items():
            text = text.replace(what.decode(), hole)
        self._text = text

    def __call__(self, **values: Any) -> bytes:
        return (self._text % values).encode()


class Month:
    """Makes the records, one after the other, and appends them."""

    def __init__(self, folder: Path, count: int, seed: int = 5) -> None:
        self.truth = Truth()
        self._count = count
        self._random = Random(seed)  # noqa: S311 # the same month every time
        self._ulids = Ulids(seed)
        self._writer = entry.Writer("gw-1", Ulids(1), describe, units)
        self._now = Now(wall_ns=WALL, mono_ns=MONO, trusted=True, judge_ns=WALL)
        self._stamps: dict[Any, Stamp] = {}
        self._values: dict[str, int] = {}
        self._recent: list[tuple[int, int]] = []
        self._log = Log(Disk(folder), Signer(KEY, ORIGIN), Tiles(Disk(folder)), 64 << 20)
        self._batch: list[bytes] = []
        self._folder = folder
        self.wall = END - DAYS * DAY
        self._glass_until = 0
        self._anna: set[int] = set()

    def write(self) -> Truth:
        """All of them."""
        truth, random = self.truth, self._random
        step = DAYS * DAY // self._count
        marks = self._marks()
        while truth.records < self._count - 40:
            due = END - DAYS * DAY + step * truth.records
            self.wall = max(self.wall + random.randrange(step), due)
            if marks and truth.records >= marks[-1][0]:
                marks.pop()[1]()
                continue
            dice = random.random()
            if dice < 0.55:
                self._reads()
            elif dice < 0.78:
                self._write()
            elif dice < 0.95:
                self._denied()
            else:
                self._came()
        self._flush()
        self._log.checkpoint()
        self._log.close()
        (self._folder / "log.vkey").write_text(f"{Signer(KEY, ORIGIN).vkey}\n")
        return truth

    def _marks(self) -> list[tuple[int, Any]]:
        """What happens once, and when; the next one last."""
        n = self._count
        marks: dict[int, Any] = {i * n // 4 + 3: partial(self._policy, r) for i, r in enumerate(REVISIONS)}
        marks |= {n // 3: self._break_glass, n // 3 * 2 + 7: self._break_glass, n // 2 + 11: self._alarm}
        marks |= {n // 10 * i + 5: self._approved for i in range(1, 8)}
        marks[n // 5 * 4 + 9] = self._gap
        return sorted(marks.items(), reverse=True)

    # what happens ------------------------------------------------------------------------------------------

    def _reads(self) -> None:
        dice = self._random
        who = dice.choice([*HMIS, *HMIS, HISTORIAN, VENDOR])
        asset = dice.choice(ASSETS[:3] if who == VENDOR else ASSETS)
        asked = dice.randrange(1, 40)
        index = self._add(
            ("window", who, asset), lambda: self._window(who, asset), about=self._ulid(), q=asked
        )
        if who == VENDOR:
            self.truth.vendor[asset, "read"] += asked * 4
            self._vendor(index)

    def _write(self) -> None:
        dice = self._random
        who = dice.choice([*HMIS, VENDOR])
        if self.wall < self._glass_until and dice.random() < 0.5:
            who = ANNA
        asset = dice.choice(ASSETS[:2] if who == VENDOR else ASSETS)
        tag = f"{asset}.{dice.choice(['level_sp', 'temp_sp', 'speed_sp'])}"
        before = self._values.get(tag, 400)
        after = dice.randrange(100, 900)
        ulid = self._ulid()
        index = self._add(
            ("intent", who, tag),
            lambda: self._intent(who, register(asset, tag, Action.WRITE)),
            ulid=ulid,
            q=after,
            q_prev=before,
        )
        fate = dice.random()
        status = (
            "ok" if fate < 0.97 else "timeout" if fate < 0.98 else "exception_02" if fate < 0.995 else None
        )
        if status is not None and fate < 0.9999:
            self.wall += 12_000_000
            self._add(("outcome", who, status), lambda: self._outcome(who, status), about=ulid)
        if status == "ok":
            self._values[tag] = after
            if tag == SET_POINT:
                self.truth.set_point.append((index, who, before / 10, after / 10))
        elif status is None:
            self.truth.open_writes.add(index)
        if who == VENDOR:
            self.truth.vendor[asset, "write"] += 1
            self._vendor(index)
        if who == ANNA:
            self._anna.add(index)

    def _denied(self) -> None:
        dice = self._random
        who, reason = dice.choice([STRANGER, HISTORIAN, VENDOR]), dice.choice(REASONS[:4])
        late = self.wall >= END - 7 * DAY
        if late and dice.random() < 0.6:
            reason = REASONS[4]
        asset = dice.choice(ASSETS)
        index = self._add(
            ("denial", who, asset, reason),
            lambda: self._denial(who, register(asset, f"{asset}.temp_sp", Action.WRITE), reason),
            q=dice.randrange(100, 900),
            q_prev=400,
        )
        self.truth.denials[self.wall // DAY][reason] += 1
        if asset == PUMP:
            self.truth.refused[reason] += 1
        if who == VENDOR:
            self.truth.vendor[asset, "refused"] += 1
            self._vendor(index)

    def _came(self) -> None:
        who = self._random.choice([*HMIS, HISTORIAN, VENDOR])
        index = self._add(
            ("auth", who),
            lambda: self._event(
                RecordKind.AUTH, {"result": "accepted", "tls": "1.3", "listener": "north"}, who
            ),
        )
        if who == VENDOR:
            self._vendor(index)

    def _policy(self, revision: str) -> None:
        note = {
            "result": "activated",
            "revision": revision,
            "instead_of": self.truth.policies[-1][1] if self.truth.policies else None,
        }
        self._add(("policy", revision), lambda: self._event(RecordKind.POLICY, note, None))
        self.truth.policies.append((self.wall, revision))

    def _break_glass(self) -> None:
        aim = act("break_glass", subject=ANNA, value="valve 3 stuck, tank rising", minutes=60)
        ulid = self._ulid()
        first = self._add(("glass",), lambda: self._intent(ANNA, aim), ulid=ulid)
        self._add(("glass", "ok"), lambda: self._outcome(ANNA, "ok"), about=ulid)
        begun = self.wall
        self._glass_until, self._anna = begun + 60 * 60_000_000_000, set()
        step = 60 * 60_000_000_000 // 30
        for _ in range(10):
            self.wall += step
            self._write()
        self.wall = max(self.wall, self._glass_until)
        note = {
            "event": "break_glass over",
            "id": self._ulid(),
            "name": "valve 3 stuck, tank rising",
            "by": ANNA,
        }
        self._add(None, lambda: self._event(RecordKind.ADMIN, note, "internal"))
        self.truth.glass.append((begun, self._glass_until, set(self._anna)))
        self._glass_until = 0
        assert first >= 0

    def _approved(self) -> None:
        request = self._ulid()
        wants = register("plc-7", "plc-7.speed_sp", Action.WRITE)
        told = {
            "request": request,
            "event": "approval requested",
            "what": "write plc-7.speed_sp",
            "by_role": "shift-lead",
        }
        self._add(None, lambda: self._event(RecordKind.ADMIN, told, HMIS[2]))
        ulid = self._ulid()
        self._add(
            None, lambda: self._intent(BORIS, act("approve", request=request, subject=HMIS[2])), ulid=ulid
        )
        self._add(None, lambda: self._outcome(BORIS, "ok"), about=ulid)
        used = {"event": "approval used", "request": request, "what": "write plc-7.speed_sp", "by": [BORIS]}
        self._add(None, lambda: self._event(RecordKind.ADMIN, used, "internal"))
        ulid = self._ulid()
        before = self._values.get("plc-7.speed_sp", 400)
        self._add(
            None,
            lambda: self._intent(HMIS[2], wants, Approval(id=request, by=(BORIS,))),
            ulid=ulid,
            q=555,
            q_prev=before,
        )
        self._add(None, lambda: self._outcome(HMIS[2], "ok"), about=ulid)
        self._values["plc-7.speed_sp"] = 555
        self.truth.approvals.append((request, HMIS[2], BORIS))

    def _alarm(self) -> None:
        note = {"alarm": "readback.mismatch", "asset": "plc-4", "matches": False}
        self.truth.alarm = self._add(None, lambda: self._event(RecordKind.FINDING, note, "internal"))
        since = self.wall - 10 * 60_000_000_000
        self.truth.before_alarm = {
            n for n, wall in self._recent if since <= wall < self.wall and n < self.truth.alarm
        }

    def _gap(self) -> None:
        self._add(
            None, lambda: self._event(RecordKind.GAP, {"why": "queue_full", "missed": {"read": 12}}, None)
        )

    # how it is written -------------------------------------------------------------------------------------

    def _vendor(self, index: int) -> None:
        if self.wall >= END - 3 * DAY:
            self.truth.certificate.add(index)

    def _ulid(self) -> str:
        return self._ulids.next(self.wall)

    def _add(
        self, key: Any, make: Any, *, ulid: str = "", about: str = "", q: int = 0, q_prev: int = 0
    ) -> int:
        stamp = self._stamps.get(key) if key is not None else None
        if stamp is None:
            stamp = Stamp(make())
            if key is not None:
                self._stamps[key] = stamp
        truth = self.truth
        data = stamp(
            id=ulid or self._ulid(),
            wall=self.wall,
            mono=self.wall - END + 40 * DAY,
            about=about,
            q=q,
            q_prev=q_prev,
            value=f"{q / 10:g}",
            before=f"{q_prev / 10:g}",
        )
        index = truth.records
        truth.records += 1
        truth.bytes += len(data)
        if b'"kind":"outcome"' not in data:
            self._recent.append((index, self.wall))
        if len(self._recent) > 20_000:
            del self._recent[:10_000]
        self._batch.append(data)
        if len(self._batch) >= BATCH:
            self._flush()
        return index

    def _flush(self) -> None:
        if self._batch:
            self._log.append(self._batch)
            self._batch = []

    def _allowed(self, approval: Approval | None = None) -> Allowed:
        revision = self.truth.policies[-1][1] if self.truth.policies else REVISIONS[0]
        return Allowed(
            revision=revision,
            reasons=(Reason("grant.hmi", "grant", "operators may"),),
            grants=("hmi",),
            evaluation=ID,
            approval=approval,
        )

    def _source(self, who: str) -> str:
        return f"10.1.0.{sum(who.encode()) % 200}"

    def _intent(self, who: str, operation: Operation, approval: Approval | None = None) -> bytes:
        by = caller(who, self._source(who))
        decision = self._allowed(approval)
        question = describe(by, operation, self._now, ID)
        _, data = self._writer.record(
            RecordKind.INTENT,
            self._now,
            ulid=ID,
            who=entry.who(by),
            what={**entry.what(operation, units), "also": []},
            why={**entry.why(decision, question), "also": []},
            connection=by.connection,
        )
        return data

    def _outcome(self, who: str, status: str) -> bytes:
        by = {"subject": who, "source": self._source(who)}
        result = {"status": status, "latency_ms": 12.0}
        _, data = self._writer.record(
            RecordKind.OUTCOME, self._now, ulid=ID, who=by, result=result, about="1" * 26, connection="C" * 26
        )
        return data

    def _denial(self, who: str, operation: Operation, reason: str) -> bytes:
        by = caller(who, self._source(who))
        denied = Denied(
            revision=REVISIONS[0],
            reasons=(Reason(reason, reason.partition(".")[0], "not for you"),),
            origin=Origin.EVALUATED,
        )
        question = describe(by, operation, self._now, ID)
        _, data = self._writer.record(
            RecordKind.DENIAL,
            self._now,
            ulid=ID,
            who=entry.who(by),
            what=entry.what(operation, units),
            why=entry.why(denied, question),
            connection=by.connection,
        )
        return data

    def _window(self, who: str, asset: str) -> bytes:
        by = caller(who, self._source(who))
        operation = register(asset, f"{asset}.level", Action.READ)
        question = msgspec.json.decode(describe(by, operation, self._now, ID))
        common = {name: question.pop(name) for name in ("schema", "subject", "conn", "state", "time")}
        rows = []
        for tag in ("level", "temp", "speed", "pressure"):
            own = {
                **question,
                "points": [{"tag": f"{asset}.{tag}", "q": None, "q_prev": None, "age_ms": None}],
            }
            row = {
                "action": "read",
                "kind": operation.kind,
                "input": own,
                "grants": ["hmi-read"],
                "reasons": [],
                "evaluation": ID,
                "asked": Q,
                "answered": Q,
                "failed": 0,
                "failures": {},
                "first_ns": WALL,
                "last_ns": WALL,
                "values": "d" * 64,
            }
            rows.append(msgspec.json.encode(row))
        told = {
            "who": entry.who(by),
            "what": {"protocol": "modbus", "action": "read", "asset": asset, "asset_kind": "plc"},
            "why": {"decision": "allow", "revision": REVISIONS[0], "input": common},
        }
        note = {"window": "1" * 26, "recovered": False, "connections": ["C" * 26], "more_connections": 0}
        (data,) = window_records(self._writer, told, rows, note, self._now)
        own_id = msgspec.json.decode(data)["id"]
        return data.replace(own_id.encode(), ID.encode())

    def _event(self, kind: RecordKind, note: dict[str, Any], who: str | None) -> bytes:
        by = (
            None
            if who is None
            else {"subject": None, "source": who}
            if who == "internal"
            else entry.who(caller(who, self._source(who)))
        )
        _, data = self._writer.record(kind, self._now, ulid=ID, who=by, note=note)
        return data


def units(_: str) -> tuple[float, str]:
    """Every tag of this plant is a tenth of a degree."""
    return 0.1, "°C"
