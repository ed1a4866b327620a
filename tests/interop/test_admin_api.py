"""The admin API behind the gateway's own TLS: asked by curl, by our own commands, and checked by openssl."""

# ruff: noqa: F811 - the fixture `pki` is imported, and asked for by its name

import asyncio
import base64
import json
import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic_ns, time_ns
from typing import Any

import pytest

from gateway import cli
from gateway.admin import api as admin_api
from gateway.admin import approval_routes, posture_routes, statement
from gateway.admin.api import BUDGET, MOST_BODY, AdminApi
from gateway.admin.approvals import Approvals
from gateway.admin.client import AnswerIsNoError, NotReachedError, Person
from gateway.admin.posture import Posture
from gateway.admin.route import Asked, Done, Nothing, Route, wishes_nothing
from gateway.admin.store import Store
from gateway.audit.reader import records
from gateway.config.settings import Listener
from gateway.guard.passage import Door, enter, finish
from gateway.guard.verdict import Forward, Pending
from gateway.model.decision import Allowed, Approval, Decision, Obligation
from gateway.model.identity import Caller, Identity
from gateway.model.moment import Now
from gateway.model.operation import Action, Operation
from gateway.model.stage import Stage
from gateway.model.ulid import Ulids
from gateway.relay.listener import TlsListener
from tests.pki import Credential, Pki, pki  # noqa: F401
from tests.scenarios.north import Naming
from tests.scenarios.stage import Bytes
from tests.unit.admin.people import WINDOWS, WRITE, issued, write
from tests.unit.audit import world

ANN = "spiffe://demo.example/person/admin-ann"
BOB = "spiffe://demo.example/person/admin-bob"

pytestmark = pytest.mark.needs("curl", "openssl")


def clock() -> Now:
    return Now(time_ns(), monotonic_ns(), True, time_ns())


class Supervised(Naming):
    """Everything is allowed but what `denies` names; a write, or `careful`, needs one of two supervisors."""

    careful = ""

    def _say(self, operation: Operation, approval: Approval | None = None) -> Decision:
        decision = super()._say(operation)
        needs = operation.action is Action.WRITE or operation.kind == self.careful
        if not needs or (approval is not None and {ANN, BOB} & set(approval.by)):
            return decision
        by = Obligation("approval", (("by", "supervisor"), ("within_s", 900)))
        return Allowed(revision=self.revision, grants=("g",), obligations=(by,))

    async def ask(
        self,
        caller: Caller,
        operation: Operation,
        now: Now,
        writes_60s: int | None = None,
        approval: Approval | None = None,
    ) -> Decision:
        return self._say(operation, approval)


def _row(name: str, act: Callable[[Asked], Awaitable[Done]]) -> Route:
    """A row of some other part in the same table."""
    return Route(
        method="POST",
        path=f"/admin/v1/{name}",
        kind=f"admin.{name}",
        summary=name,
        body=Nothing,
        wish=wishes_nothing,
        act=act,
        within_s=0.2,
    )


async def _slow(_: Asked) -> Done:
    await asyncio.sleep(30)
    return Done(told={})


async def _failing(_: Asked) -> Done:
    raise RuntimeError("nobody thought of this")


class Room:
    """A control room: the admin API of one gateway, two people, and an HMI."""

    def __init__(self, pki: Pki, folder: Path) -> None:
        self.pki = pki
        self.folder = folder
        self.policy = Supervised()
        self.alarms: list[str] = []
        self.counted: dict[str, int] = {}
        self.changes = 0
        self.journal = world.journal(folder / "journal", clock)
        self.store = Store(folder / "people.db")
        self.trust = {zone: pki.trust(zone) for zone in ("it", "plant")}
        shared: dict[str, Any] = {"journal": self.journal, "ulids": Ulids(time_ns()), "now": clock()}
        shared["alarm"] = lambda code, _: self.alarms.append(code)
        self.approvals = Approvals(
            self.store,
            gateway="gw-1",
            admit=self.trust["it"].admit,
            count=self.count,
            most_pending=100,
            **shared,
        )
        self.posture = Posture(
            self.store,
            mode="run",
            stages={"listener:modbus": None, "asset:plc-1": Stage.ENFORCE},
            windows=lambda: WINDOWS,
            **shared,
        )
        self.door = Door(self.policy, self.journal, self.approvals, self.posture)
        routes = (
            *approval_routes.routes(self.approvals, "gw-1"),
            *posture_routes.routes(self.posture),
            *(_row(name, act) for name, act in (("slow", _slow), ("failing", _failing))),
        )
        self.api = AdminApi(routes, door=self.door, clock=clock, count=self.count, changed=self.changed)
        self.ann = issued(pki, "person", "it", "admin-ann")
        self.bob = issued(pki, "person", "it", "admin-bob")
        self.machine = issued(pki, "it-client", "it", "admin-machine")
        server = issued(pki, "gateway-server", "it", "admin-gw")
        self.listener = TlsListener(
            Listener(name="admin", port=0, zone="it", units={}),
            trust=self.trust["it"],
            certificate=server.cert,
            key=server.key,
            inner=self.api.client,
            journal=self.journal,
            clock=clock,
            ulids=Ulids(1),
            count=self.count,
        )

    def count(self, name: str, n: int = 1) -> None:
        self.counted[name] = self.counted.get(name, 0) + n

    def changed(self) -> None:
        self.changes += 1

    @property
    def url(self) -> str:
        return f"https://localhost:{self.listener.port}"

    async def hmi_writes(self, operation: Operation = WRITE) -> bool:
        """Whether the HMI's write gets a permit."""
        hmi = issued(self.pki, "modbus-client", "plant", "admin-hmi", "operator")
        identity = self.trust["plant"].admit(hmi.der, clock())
        assert isinstance(identity, Identity)
        caller = Caller(
            identity=identity,
            source="127.0.0.1",
            listener="modbus",
            zone="plant",
            tls="1.3",
            connection="01H",
        )
        now = clock()
        verdict = enter(Bytes(b"w"), (operation,), caller, self.door, now)
        assert isinstance(verdict, Pending)
        return isinstance(await finish(verdict, self.door, now), Forward)

    def person(self, who: Credential) -> Person:
        return Person(self.url, self.pki.root, who.cert, who.key, time_ns() // 10**9)

    async def command(self, who: Credential, *words: str) -> int:
        """One of our own commands, as this person."""
        options = ("--gateway", self.url, "--ca", self.pki.root, "--cert", who.cert, "--key", who.key)
        return await asyncio.to_thread(cli.main, [*words, *map(str, options)])

    async def curl(
        self, who: Credential, path: str, body: object = None, *options: str
    ) -> tuple[int, dict[str, Any]]:
        """Status and JSON."""
        send = ["--json", json.dumps(body)] if body is not None else []
        program = shutil.which("curl")
        assert program is not None
        process = await asyncio.create_subprocess_exec(
            program,
            *("--silent", "--show-error", "--max-time", "10", "--cacert", str(self.pki.root)),
            *("--cert", str(who.cert), "--key", str(who.key), "--write-out", "\n%{http_code}"),
            *send,
            *options,
            f"{self.url}{path}",
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await process.communicate()
        text, _, status = output.decode().rpartition("\n")
        return int(status), json.loads(text) if text else {}

    def recorded(self, kind: str) -> list[dict[str, Any]]:
        """Records of that kind; the journal has been stopped."""
        found = (json.loads(data) for _, data in records(self.folder / "journal"))
        return [record for record in found if record["kind"] == kind]


@asynccontextmanager
async def room(pki: Pki, folder: Path) -> AsyncIterator[Room]:
    place = Room(pki, folder)
    place.journal.open()
    await place.journal.start(asyncio.get_running_loop())
    await place.api.start()
    await place.listener.start()
    try:
        yield place
    finally:
        await place.listener.stop()
        await place.api.stop()
        await place.journal.stop()
        place.store.close()


async def test_a_person_grants_by_command_and_the_write_passes_once(
    pki: Pki, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with room(pki, tmp_path) as place:
        assert not await place.hmi_writes()
        assert await place.command(place.ann, "approvals", "list", "--json") == 0
        (waiting,) = json.loads(capsys.readouterr().out)["approvals"]
        assert waiting["state"] == "pending"
        assert waiting["what"].startswith("write plc-1")
        assert await place.command(place.ann, "approvals", "grant", waiting["request"][-6:], "--yes") == 0
        assert "granted, once, until" in capsys.readouterr().out
        assert not await place.hmi_writes(write(501))
        assert await place.hmi_writes()
        assert not await place.hmi_writes()
    (used,) = [r for r in place.recorded("admin") if r["note"]["event"] == "approval used"]
    assert used["note"]["by"] == [ANN]
    write_intents = [r for r in place.recorded("intent") if r["what"]["action"] == "write"]
    assert [r["why"]["approval"]["by"] for r in write_intents] == [[ANN]]


async def test_openssl_alone_signs_what_curl_sends_and_checks_what_the_journal_keeps(
    pki: Pki, tmp_path: Path
) -> None:
    async with room(pki, tmp_path) as place:
        assert not await place.hmi_writes()
        _, listed = await place.curl(place.ann, "/admin/v1/approvals")
        request = listed["approvals"][0]
        said = {
            "approver": ANN,
            "decision": "grant",
            "expires": statement.rfc3339(time_ns() // 10**9 + 600),
            "gateway": listed["gateway"],
            "issued": statement.rfc3339(time_ns() // 10**9),
            "operation": request["operation"],
            "request": request["request"],
            "requester": request["requester"],
            "schema": "dmz.approval/1",
            "what": request["what"],
        }
        text = json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        signature = openssl("dgst", "-sha256", "-sign", str(place.ann.key), stdin=text.encode())
        body = {
            "statement": text,
            "signature": base64.b64encode(signature).decode(),
            "certificate": base64.b64encode(place.ann.der).decode(),
        }
        path = f"/admin/v1/approvals/{request['request']}/grant"
        assert (await place.curl(place.bob, path, body))[1]["code"] == "bad_statement"
        status, told = await place.curl(place.ann, path, body)
        assert (status, told["decision"]) == (200, "grant")
        assert await place.hmi_writes()
    for kept in (_granted(place), _used(place)):
        (tmp_path / "signature").write_bytes(base64.b64decode(kept["signature"]))
        (tmp_path / "certificate.der").write_bytes(base64.b64decode(kept["certificate"]))
        chain = ("-CAfile", str(pki.anchors("it")), "-partial_chain", str(tmp_path / "certificate.der"))
        assert b"OK" in openssl("verify", *chain)
        public = openssl(
            "x509", "-inform", "DER", "-in", str(tmp_path / "certificate.der"), "-pubkey", "-noout"
        )
        (tmp_path / "public.pem").write_bytes(public)
        check = ("-verify", str(tmp_path / "public.pem"), "-signature", str(tmp_path / "signature"))
        assert openssl("dgst", "-sha256", *check, stdin=kept["statement"].encode()) == b"Verified OK\n"


def _granted(place: Room) -> dict[str, str]:
    (intent,) = [r for r in place.recorded("intent") if r["what"]["kind"] == "admin.approve"]
    (outcome,) = [r for r in place.recorded("outcome") if r["about"] == intent["id"]]
    assert intent["who"]["subject"] == ANN
    assert intent["what"]["admin"]["subject"] == "spiffe://demo.example/plant/admin-hmi"
    result: dict[str, str] = outcome["result"]
    return result


def _used(place: Room) -> dict[str, str]:
    (note,) = [r["note"] for r in place.recorded("admin") if r["note"]["event"] == "approval used"]
    return {name: note[f"{name}_1"] for name in ("statement", "signature", "certificate")}


def openssl(*words: str, stdin: bytes | None = None) -> bytes:
    program = shutil.which("openssl")
    assert program is not None
    done = subprocess.run([program, *words], input=stdin, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_a_machine_is_denied_everything_and_the_denial_is_recorded(pki: Pki, tmp_path: Path) -> None:
    async with room(pki, tmp_path) as place:
        for path, body in (("/admin/v1/approvals", None), ("/admin/v1/mode", {"mode": "run"})):
            status, told = await place.curl(place.machine, path, body)
            assert (status, told["code"]) == (403, "not_a_person")
        assert place.policy.asked == []
    codes = [record["why"]["reasons"][0]["code"] for record in place.recorded("denial")]
    assert codes == ["wire.not_a_person"] * 2


async def test_a_denial_names_policys_codes_to_the_person(
    pki: Pki, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with room(pki, tmp_path) as place:
        place.policy.denies = {"admin.set_mode"}
        assert await place.command(place.ann, "mode", "plant", "maintenance") == 1
        assert "site.named" in capsys.readouterr().err
        assert place.posture.mode == "run"
        status, told = await place.curl(place.ann, "/admin/v1/mode", {"mode": "maintenance"})
        assert (status, told["reasons"]) == (403, ["site.named"])


async def test_nothing_happens_that_the_journal_cannot_record(pki: Pki, tmp_path: Path) -> None:
    async with room(pki, tmp_path) as place:
        await place.journal.stop()
        status, told = await place.curl(place.ann, "/admin/v1/mode", {"mode": "maintenance"})
        assert (status, told["code"]) == (503, "not_recorded")
        assert place.posture.mode == "run"


async def test_an_act_that_takes_too_long_or_fails_has_an_outcome_that_says_so(
    pki: Pki, tmp_path: Path
) -> None:
    async with room(pki, tmp_path) as place:
        assert (await place.curl(place.ann, "/admin/v1/slow", {}))[0] == 503
        status, told = await place.curl(place.ann, "/admin/v1/failing", {})
        assert (status, told["code"]) == (500, "failed")
        assert "nobody thought" not in json.dumps(told)
        assert place.changes == 0
    assert [record["result"]["status"] for record in place.recorded("outcome")] == ["failed"] * 2


async def test_own_requests_cannot_be_granted_over_the_api(pki: Pki, tmp_path: Path) -> None:
    async with room(pki, tmp_path) as place:
        ann = place.person(place.ann)
        identity = place.trust["it"].admit(place.ann.der, clock())
        assert isinstance(identity, Identity)
        caller = Caller(
            identity=identity, source="x", listener="admin", zone="it", tls="1.3", connection="01A"
        )
        by = Obligation("approval", (("by", "supervisor"),))
        request = place.approvals.request(caller, WRITE, by, clock())
        listed = (await asyncio.to_thread(ann.get, "/admin/v1/approvals"))["approvals"][0]
        with pytest.raises(AnswerIsNoError) as info:
            await asyncio.to_thread(ann.answer, listed, "gw-1", "grant", 900)
        assert info.value.code == "own_request"
        assert place.approvals.find(request, clock()).votes == ()
    assert "wire.own_request" in [r["why"]["reasons"][0]["code"] for r in place.recorded("denial")]


async def test_an_act_on_the_gateway_may_need_two_people_too(
    pki: Pki, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with room(pki, tmp_path) as place:
        place.policy.careful = "admin.set_mode"
        assert await place.command(place.ann, "mode", "plant", "maintenance") == 1
        assert "obligation.approval" in capsys.readouterr().err
        assert await place.command(place.bob, "approvals", "list", "--json") == 0
        (waiting,) = json.loads(capsys.readouterr().out)["approvals"]
        assert "value maintenance" in waiting["what"]
        assert await place.command(place.ann, "approvals", "grant", waiting["request"], "--yes") == 1
        assert await place.command(place.bob, "approvals", "grant", waiting["request"], "--yes") == 0
        assert await place.command(place.ann, "mode", "plant", "startup") == 1
        assert await place.command(place.bob, "mode", "plant", "maintenance") == 1
        assert await place.command(place.ann, "mode", "plant", "maintenance") == 0
        assert place.posture.mode == "maintenance"


async def test_stages_modes_and_windows_by_command(
    pki: Pki, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with room(pki, tmp_path) as place:
        assert place.posture.of("modbus", "plc-1") is Stage.ENFORCE
        assert await place.command(place.ann, "mode", "asset", "plc-1", "observe") == 0
        assert place.posture.of("modbus", "plc-1") is Stage.OBSERVE
        assert await place.command(place.ann, "mode", "listener", "nowhere", "observe") == 1
        assert await place.command(place.ann, "mode", "plant", "maintenance") == 0
        assert await place.command(place.ann, "windows", "open", "vendor-visit", "--minutes", "60") == 0
        assert place.posture.windows(clock()) == ("vendor-visit",)
        assert await place.command(place.ann, "windows", "open", "vendor-visit", "--minutes", "121") == 1
        assert await place.command(place.ann, "windows", "open", "working-hours", "--minutes", "1") == 1
        assert await place.command(place.ann, "windows", "list") == 0
        assert await place.command(place.ann, "windows", "close", "vendor-visit") == 0
        assert place.posture.windows(clock()) == ()
        assert await place.command(place.ann, "mode", "show", "--json") == 0
        told = capsys.readouterr().out
        shown = json.loads(told[told.index("{\n") :])
        assert (shown["mode"], shown["stages"]["asset:plc-1"]) == ("maintenance", "observe")
        assert place.changes == 4
    intents = [(r["what"]["kind"], r["what"]["admin"]) for r in place.recorded("intent")]
    assert (
        "admin.set_stage",
        {"subject": None, "scope": "asset:plc-1", "value": "observe", "minutes": None, "request": None},
    ) in intents


async def test_breaking_the_glass_is_alarmed_shown_and_ended(
    pki: Pki, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with room(pki, tmp_path) as place:
        assert await place.command(place.ann, "break-glass") == 2
        assert await place.command(place.ann, "break-glass", "--reason", "tank 2 runs over") == 0
        assert place.alarms == ["admin.break_glass"]
        assert [subject for subject, _ in place.posture.broken(clock())] == [ANN]
        capsys.readouterr()
        assert await place.command(place.bob, "break-glass", "show") == 0
        assert "tank 2 runs over" in capsys.readouterr().out
        assert await place.command(place.bob, "break-glass", "end") == 1
        assert await place.command(place.ann, "break-glass", "end") == 0
        assert place.posture.broken(clock()) == ()


BAD = [
    ("/admin/v1/mode", {"mode": "run", "more": 1}, 400),
    ("/admin/v1/mode", {"mode": "a b"}, 400),
    ("/admin/v1/mode", {}, 400),
    ("/admin/v1/mode", {"mode": 1}, 400),
    ("/admin/v1/stage", {"scope": "asset:plc-1", "stage": "off"}, 400),
    ("/admin/v1/stage", {"scope": "mode", "stage": "observe"}, 404),
    ("/admin/v1/break-glass", {"minutes": 0, "reason": "none"}, 400),
    ("/admin/v1/break-glass", {"minutes": 241, "reason": "too long"}, 400),
    ("/admin/v1/break-glass", {"minutes": 5, "reason": ""}, 400),
    ("/admin/v1/break-glass", {"minutes": 5, "reason": "two\nlines"}, 400),
    ("/admin/v1/windows/vendor-visit/close", {}, 409),
    (
        "/admin/v1/approvals/01ARZ3NDEKTSV4RRFFQ69G5FAV/grant",
        {"statement": "", "signature": "", "certificate": ""},
        404,
    ),
    ("/admin/v1/nothing", {}, 404),
    ("/admin/v1/state", {}, 405),
    ("/admin/v1/mode?x=1", {"mode": "run"}, 400),
]


async def test_what_is_not_understood_is_a_problem_and_changes_nothing(pki: Pki, tmp_path: Path) -> None:
    async with room(pki, tmp_path) as place:
        before = place.posture.status(clock())
        for path, body, status in BAD:
            answered, told = await place.curl(place.ann, path, body)
            assert (answered, told["status"]) == (status, status), (path, told)
        plain = ("--header", "Content-Type: text/plain")
        assert (await place.curl(place.ann, "/admin/v1/mode", {"mode": "x"}, *plain))[0] == 415
        long = {"minutes": 5, "reason": "x" * MOST_BODY}
        assert (await place.curl(place.ann, "/admin/v1/break-glass", long))[0] == 413
        assert place.posture.status(clock()) == before


async def test_a_body_that_does_not_come_is_not_waited_for(
    pki: Pki, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin_api, "BODY_S", 0.2)
    async with room(pki, tmp_path) as place:
        context = place.ann.client_context(pki.root)
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", place.listener.port, ssl=context, server_hostname="localhost"
        )
        head = (
            "POST /admin/v1/mode HTTP/1.1",
            "Host: x",
            "Content-Type: application/json",
            "Content-Length: 9",
        )
        writer.write("\r\n".join([*head, "", ""]).encode())
        answer = await asyncio.wait_for(reader.readline(), 5)
        assert b" 503 " in answer
        writer.close()


async def test_one_client_has_a_budget_of_its_own(pki: Pki, tmp_path: Path) -> None:
    async with room(pki, tmp_path) as place:
        context = place.ann.client_context(pki.root)
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", place.listener.port, ssl=context, server_hostname="localhost"
        )
        seen = []
        for _ in range(BUDGET + 1):
            writer.write(b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n")
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
            length = next(int(h[16:]) for h in head.split(b"\r\n") if h.startswith(b"Content-Length: "))
            await reader.readexactly(length)
            seen.append(int(head.split()[1]))
        writer.close()
        assert seen == [404] * BUDGET + [429]
        assert (await place.curl(place.bob, "/admin/v1/state"))[0] == 200


async def test_the_client_talks_only_to_the_gateway_that_it_named(pki: Pki, tmp_path: Path) -> None:
    async with room(pki, tmp_path) as place:
        stranger = Person(
            f"https://127.0.0.2:{place.listener.port}", pki.root, place.ann.cert, place.ann.key, 0
        )
        with pytest.raises(NotReachedError):
            await asyncio.to_thread(stranger.get, "/admin/v1/state")
        other = Person(place.url, pki.anchors("plant"), place.ann.cert, place.ann.key, 0)
        with pytest.raises(NotReachedError, match="certificate does not count"):
            await asyncio.to_thread(other.get, "/admin/v1/state")


async def test_without_a_certificate_nobody_gets_in(pki: Pki, tmp_path: Path) -> None:
    async with room(pki, tmp_path) as place:
        answer = await asyncio.to_thread(
            subprocess.run,
            ["curl", "--silent", "--cacert", str(pki.root), f"{place.url}/admin/v1/state"],
            capture_output=True,
            check=False,
        )
        assert answer.returncode != 0
        assert answer.stdout == b""
