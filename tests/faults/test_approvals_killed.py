"""Approvals under real kills: what was told is kept, and no approval is good for two acts.

    python -m tests.faults.test_approvals_killed PKI FOLDER [ROUNDS]

asks, grants, claims, spends and acts (without end), and says each step once it is done; `act` stands for the
first byte to the plant. It begins with whatever an earlier one left.
"""

# ruff: noqa: F811 - the fixture `pki` is imported, and asked for by its name

import contextlib
import io
import json
import os
import random
import re
import secrets
import select
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from struct import pack

import msgspec
import pytest
from msgspec.structs import replace

from gateway import cli
from gateway.admin.request import KIND, Request, State
from gateway.model.asset import Table
from gateway.model.operation import ModbusTarget, Operation
from tests.faults.site import Site as Gateway
from tests.pki import Pki, pki  # noqa: F401
from tests.unit.admin.people import WRITE, Site

ROUNDS = int(os.environ.get("TORTURE_ROUNDS", "6"))
"`make torture` sets 200."
PROGRAM = [sys.executable, "-m", "tests.faults.test_approvals_killed"]
ROOT = Path(__file__).resolve().parents[2]


def say(step: str, request: str) -> None:
    os.write(1, f"{step} {request}\n".encode())


def use(site: Site, operation: Operation, request: str) -> None:
    approval = site.approvals.claim(site.hmi, operation, site.clock())
    if approval is not None and site.approvals.spend(approval, site.clock()):
        say("act", request)


def work(certificates: Path, folder: Path, rounds: int) -> None:
    site = Site(Pki(certificates), folder, most_pending=100_000, seed=secrets.randbits(64))
    for request in list(site.store.read(KIND, Request).values()):
        if request.state is State.OPEN:
            use(site, _operation(request), request.id)
    first = time.time_ns() % 2**31
    for number in range(first, first + rounds):
        operation = numbered(number)
        request_id = site.ask(site.hmi, operation)
        say("asked", request_id)
        site.say(site.ann, request_id)
        say("granted", request_id)
        use(site, operation, request_id)


def numbered(number: int) -> Operation:
    """A write that no other is equal to."""
    values = (number >> 16 & 0xFFFF, number & 0xFFFF)
    target = ModbusTarget(unit=1, fc=16, table=Table.HOLDING, start=10, count=2, values=values)
    return replace(WRITE, modbus=target, points=())


def _operation(request: Request) -> Operation:
    """The write that a stored request is about."""
    values = msgspec.json.decode(request.document)["modbus"]["values"]
    return numbered(values[0] << 16 | values[1])


def steps_until_killed(pki: Pki, folder: Path, most: int) -> list[tuple[str, str]]:
    """Run it, kill it soon after so many steps, and give every step that it said."""
    child = subprocess.Popen([*PROGRAM, str(pki.dir), str(folder)], stdout=subprocess.PIPE, cwd=ROOT)
    assert child.stdout is not None
    said = b""
    deadline = time.monotonic() + 30
    try:
        while said.count(b"\n") < most:
            assert time.monotonic() < deadline, said[-500:]
            if select.select([child.stdout], [], [], 1)[0]:
                said += os.read(child.stdout.fileno(), 65_536)
            assert child.poll() is None, "it ended by itself"
    finally:
        child.send_signal(signal.SIGKILL)
        said += child.stdout.read()
        child.wait()
        child.stdout.close()
    lines = said.decode().splitlines()[: said.count(b"\n")]
    return [(step, request) for step, _, request in (line.partition(" ") for line in lines)]


def test_whenever_it_is_killed_no_approval_is_good_for_two_acts(pki: Pki, tmp_path: Path) -> None:
    Site(pki, tmp_path)  # makes the certificates
    rng = random.Random(9)  # noqa: S311 (when to kill)
    acts: Counter[str] = Counter()
    told: dict[str, set[str]] = {"asked": set(), "granted": set(), "act": set()}
    for _ in range(ROUNDS):
        for step, request in steps_until_killed(pki, tmp_path, rng.randrange(1, 40)):
            told[step].add(request)
            acts[request] += step == "act"
        site = Site(pki, tmp_path)
        assert site.store.damaged is None
        kept = site.store.read(KIND, Request)
        assert told["asked"] <= kept.keys()
        assert all(kept[request].votes for request in told["granted"])
        assert {kept[request].state for request in told["act"]} <= {State.USED}
        site.store.close()
    assert max(acts.values()) == 1
    assert len(told["act"]) > ROUNDS


@pytest.mark.needs("strace")
def test_that_it_is_used_is_on_the_disk_before_the_act(
    pki: Pki, tmp_path: Path, component: Callable[[str], str]
) -> None:
    Site(pki, tmp_path)
    trace = tmp_path / "trace"
    command = [component("strace"), "-f", "-qq", "-o", str(trace), "-e", "trace=write,fsync,fdatasync"]
    done = subprocess.run(
        [*command, *PROGRAM, str(pki.dir), str(tmp_path), "6"],
        capture_output=True,
        cwd=ROOT,
        timeout=60,
        check=True,
    )
    assert done.stdout.count(b"act") == 6
    synced, acts = False, 0
    for line in trace.read_text().splitlines():
        if re.search(r"(fsync|fdatasync)\(\d+\)\s+= 0", line):
            synced = True
        elif 'write(1, "granted' in line:
            synced = False
        elif 'write(1, "act' in line:
            assert synced, "an act before its approval was used up on the disk"
            acts += 1
    assert acts == 6


@pytest.mark.needs("openssl")
def test_a_gateway_killed_between_grant_and_use_and_after_it_keeps_its_word(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    """The shipped policy: the vendor tunes the pump's drive in a window, and each write is agreed to."""
    port = free_port()
    with Gateway(tmp_path, more=f"admin: {{port: {port}, zone: plant}}\n") as site:
        site.credentials["lea"] = site.pki.issue("person", "plant", "lea")
        site.credentials["vendor-1"] = site.pki.issue("modbus-client", "plant", "vendor-1", "vendor")
        lea = Commands(site, "lea", port)
        site.run()
        assert site.client("vendor-1").write(12, 7) == DENIED
        lea.does("windows", "open", "vendor-access", "--minutes", "30")
        assert site.client("vendor-1").write(12, 7) == DENIED
        (waiting,) = json.loads(lea.does("approvals", "list", "--json"))["approvals"]
        lea.does("approvals", "grant", waiting["request"], "--yes")
        _again(site)
        assert site.client("vendor-1").write(12, 8) == DENIED
        assert site.client("vendor-1").write(12, 7) == pack(">BHH", 6, 12, 7)
        _again(site)
        assert site.client("vendor-1").write(12, 7) == DENIED
        assert site.plant is not None
        assert site.plant.written == [pack(">BHH", 6, 12, 7)]
        assert site.end() == 0
        _shows_both_people(site, waiting["request"])
        assert site.proved().ok


DENIED = b"\x86\x01"


class Commands:
    """What a person does at the gateway's admin API, by the product's own commands."""

    def __init__(self, site: Gateway, name: str, port: int) -> None:
        who = site.credentials[name]
        options = ("--gateway", f"https://localhost:{port}", "--ca", site.pki.root)
        self.options = tuple(map(str, (*options, "--cert", who.cert, "--key", who.key)))

    def does(self, *words: str) -> str:
        with contextlib.redirect_stdout(io.StringIO()) as told:
            assert cli.main([*words, *self.options]) == 0
        return told.getvalue()


def _again(site: Gateway) -> None:
    site.kill()
    site.run()


def _shows_both_people(site: Gateway, request: str) -> None:
    """The write's intent names who approved, and their signed word stands in the journal before it."""
    kept = site.records()
    (at,) = [n for n, r in enumerate(kept) if r["kind"] == "intent" and r["what"]["action"] == "write"]
    assert kept[at]["who"]["subject"] == "spiffe://demo.example/plant/vendor-1"
    assert kept[at]["why"]["approval"] == {"id": request, "by": ["spiffe://demo.example/person/lea"]}
    (used,) = [n for n, r in enumerate(kept[:at]) if (r["note"] or {}).get("event") == "approval used"]
    _as_the_guide_says(site, used)
    said = json.loads((site.folder / "statement").read_text())
    assert said["approver"] == "spiffe://demo.example/person/lea"
    assert said["operation"] in _as_the_guide_says(site, at)


def _as_the_guide_says(site: Gateway, number: int) -> str:
    """Run what docs/guides/approvals.md tells an auditor to do with that record; what it prints."""
    told = (ROOT / "docs" / "guides" / "approvals.md").read_text().partition("## What an auditor has")[2]
    used, intent = re.findall(r"```sh\n(.*?)```", told, re.DOTALL)[:2]
    script = used if site.records()[number]["kind"] == "admin" else intent
    anchors = str(site.pki.anchors("plant"))
    for name, value in (("dmz-gateway", f"{sys.executable} -m gateway"), ("anchors.pem", anchors)):
        script = script.replace(name, value)
    done = subprocess.run(
        ["sh", "-e", "-c", script.replace("NUMBER", str(number))],
        cwd=site.folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


if __name__ == "__main__":
    work(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else sys.maxsize)
