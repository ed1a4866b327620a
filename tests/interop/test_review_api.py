"""The reviewers' API of a running gateway: what an auditor finds, who is turned away, what is recorded."""

import asyncio
import base64
import json
import re
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from gateway.audit.note import opened, verifier_key
from gateway.audit.tree import consistent
from gateway.review.api import BUDGET
from tests.conftest import find
from tests.faults.site import until, value
from tests.interop.reviewing import AUDITOR, Reviewed

pytestmark = pytest.mark.needs("curl")
HMI = "spiffe://demo.example/plant/hmi-1"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reviewed]:
    curl = find("curl")
    assert curl is not None
    with Reviewed(tmp_path_factory.mktemp("reviewed"), curl) as made:
        made.run()
        hmi = made.client("hmi-1")
        for value in (3, 4, 5):
            hmi.write(10, value)
        made.client("view-1").write(10, 9)
        yield made


def intents(site: Reviewed, **query: object) -> list[dict[str, Any]]:
    found = site.look("search", kind="intent", action="write", **query)["records"]
    assert isinstance(found, list)
    return found


def looks(site: Reviewed) -> list[dict[str, Any]]:
    """Every look that is recorded, as the entries of window records say it."""
    windows = [record for record in site.records("window") if record["who"]["listener"] == "review"]
    return [{"who": w["who"], **entry} for w in windows for entry in w["what"]["entries"]]


def test_who_wrote_what_is_found_in_pages_newest_first(site: Reviewed) -> None:
    found = intents(site, who=HMI)
    values = [each["record"]["what"]["modbus"]["values"] for each in found]
    assert values[-3:] == [[5], [4], [3]]  # another test writes later
    assert HMI in found[0]["line"]
    numbers = [each["index"] for each in found]
    assert numbers == sorted(numbers, reverse=True)
    first = site.look("search", kind="intent", action="write", limit=2, cursor=numbers[-3] + 1)
    rest = site.look("search", kind="intent", action="write", limit=2, cursor=first["next"])
    assert [r["index"] for r in (*first["records"], *rest["records"])] == numbers[-3:]
    assert rest["next"] is None
    assert first["damaged"] is None


def test_a_record_is_told_as_a_sentence_with_its_outcome(site: Reviewed) -> None:
    newest = intents(site)[0]
    for name in (newest["index"], newest["record"]["id"]):
        told = site.look(f"records/{name}")
        assert [each["record"]["kind"] for each in told["records"]] == ["intent", "outcome"]
        assert "The device accepted it." in told["sentence"]


def test_what_is_shown_is_what_is_stored_to_the_byte(site: Reviewed) -> None:
    newest = intents(site)[0]
    _, body = site.raw(site.auditor, f"records/{newest['index']}")
    (stored,) = (data for n, data in site.stored() if n == newest["index"])
    assert stored in body


def test_a_proof_is_one_that_somebody_else_verifies(site: Reviewed, tmp_path: Path) -> None:
    newest = intents(site)[0]
    site.signed(newest["index"])
    status, proof = site.raw(site.auditor, f"records/{newest['record']['id']}/proof")
    assert status == 200
    assert proof.startswith(b"c2sp.org/tlog-proof@v1\n")
    file = tmp_path / "record.tlog-proof"
    file.write_bytes(proof)
    done = site.cli("audit", "verify", "--proof", str(file), "--key", str(site.data / "journal" / "log.vkey"))
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_checkpoint_is_signed_and_grows_as_the_proof_says(site: Reviewed) -> None:
    key = verifier_key((site.data / "journal" / "log.vkey").read_text())
    old = opened(site.raw(site.auditor, "checkpoint")[1], key)
    site.client("hmi-1").write(10, 6)
    site.signed(old.size)
    new = opened(site.raw(site.auditor, "checkpoint")[1], key)
    said = site.look("consistency", **{"from": old.size, "to": new.size})
    hashes = [base64.b64decode(each) for each in said["hashes"]]
    assert consistent(old.size, new.size, old.root, new.root, hashes)
    assert base64.b64decode(said["from_root"]) == old.root
    status, body = site.raw(site.auditor, "consistency", **{"from": new.size, "to": new.size + 10**6})
    assert (status, json.loads(body)["code"]) == (400, "bad_request")


def test_a_timeline_tells_repeats_once(site: Reviewed) -> None:
    entries = site.look("timeline", asset="plc-1")["entries"]
    assert any("view-1" in each["text"] and "refused" in each["text"] for each in entries)
    assert sorted(entries, key=lambda each: each["first"]) == entries


def test_every_look_is_recorded_with_what_was_asked_and_what_was_shown(site: Reviewed) -> None:
    status, body = site.raw(site.auditor, "search", tag="plc-1.level", since="2026-01-01T00:00:00Z")
    assert status == 200
    value = "since=2026-01-01T00%3A00%3A00%2B00%3A00&tag=plc-1.level"
    look = until(
        "the look is not recorded",
        lambda: next((e for e in looks(site) if (e["input"]["admin"] or {}).get("value") == value), None),
        20,
    )
    assert (look["kind"], look["who"]["subject"], look["answered"]) == ("audit.search", AUDITOR, 1)
    assert look["grants"] == ["auditor-looks"]
    assert look["values"] == sha256(bytes(32) + body).hexdigest()


def test_a_look_at_one_asset_is_about_that_asset(site: Reviewed) -> None:
    site.look("search", asset="meter-1")
    until(
        "the look is not recorded",
        lambda: any((e["input"]["admin"] or {}).get("scope") == "asset:meter-1" for e in looks(site)),
        20,
    )


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("search", "audit.search"),
        ("records/1", "audit.record"),
        ("records/999999999", "audit.record"),
        ("checkpoint", "audit.checkpoint"),
    ],
)
def test_who_has_no_role_for_it_learns_nothing_and_is_recorded(site: Reviewed, path: str, kind: str) -> None:
    status, body = site.raw(site.historian, path)
    problem = json.loads(body)
    assert (status, problem["code"]) == (403, "denied")
    assert "reasons" not in problem
    denial = site.wait_record(
        "the denial is not recorded", lambda r: r["kind"] == "denial" and r["what"]["kind"] == kind
    )
    assert denial["who"]["subject"].endswith("/historian-1")
    assert denial["why"]["reasons"][0]["code"] == "grant.operation"


def test_what_is_not_there_is_not_even_a_look(site: Reviewed) -> None:
    status, body = site.raw(site.historian, "nonsense")
    assert (status, json.loads(body)["code"]) == (404, "http_404")


def test_without_a_certificate_nobody_gets_as_far_as_a_request(site: Reviewed) -> None:
    done = subprocess.run(site.words(None, "search"), capture_output=True, check=False, timeout=30)
    assert done.returncode != 0
    assert done.stdout == b"\n000"


@pytest.mark.parametrize(
    ("path", "query", "says"),
    [
        ("search", {"whom": "lea"}, "there is no 'whom'"),
        ("search", {"limit": 501}, "limit"),
        ("search?who=a&who=b", {}, "twice"),
        ("search", {"since": "yesterday"}, "since"),
        ("search", {"since": "2026-11-23T08:00:00"}, "since"),
        ("search", {"kind": "gossip"}, "kind"),
        ("records/..%2f..%2fetc", {}, "record"),
        ("records/7", {"record": 8}, "stands in the path"),
        ("consistency", {}, "from"),
        ("checkpoint", {"Newest": 1}, "there is nothing"),
    ],
)
def test_what_cannot_be_meant_is_named(
    site: Reviewed, path: str, query: dict[str, object], says: str
) -> None:
    status, body = site.raw(site.auditor, path, **query)
    problem = json.loads(body)
    assert (status, problem["code"]) == (400, "bad_request")
    assert says in problem["detail"]


@pytest.mark.parametrize("who", ["%ED%A0%80", "%FF", "%00", "%0A", "%F0%9F%90%88", "'%22;--"])
def test_odd_letters_find_nothing_and_break_nothing(site: Reviewed, who: str) -> None:
    status, body = site.raw(site.auditor, f"search?who={who}")
    assert status in (200, 400), body
    if status == 200:
        assert json.loads(body)["records"] == []


def test_a_record_that_is_not_there_is_not_found(site: Reviewed) -> None:
    status, body = site.raw(site.auditor, "records/999999999")
    assert (status, json.loads(body)["code"]) == (404, "no_record")


def test_nothing_can_be_done_here_but_looking(site: Reviewed) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        words = [*site.words(site.auditor, "search"), "--request", method]
        done = subprocess.run(words, capture_output=True, check=False, timeout=30)
        assert done.stdout.endswith(b"\n405")


def test_a_report_opens_in_a_browser_that_may_load_nothing(site: Reviewed) -> None:
    words = [*site.words(site.auditor, "report", since="2020-01-01T00:00:00Z", format="html"), "--include"]
    done = subprocess.run(words, capture_output=True, check=True, timeout=30)
    head, _, page = done.stdout.partition(b"\r\n\r\n")
    assert b"Content-Security-Policy: default-src 'none'" in head
    assert b"Content-Type: text/html" in head
    assert HMI.encode() in page
    tables = site.look("report", since="2020-01-01T00:00:00Z")["tables"]
    (touched,) = (table["rows"] for table in tables if table["name"] == "touched")
    assert [HMI, "plc-1", "write"] in [row[:3] for row in touched]


class Hostile:
    """A reviewer with the role, who asks as fast as he can over connections that he keeps."""

    def __init__(self, site: Reviewed) -> None:
        self._context = site.auditor.client_context(site.pki.root)
        self._port = site.review_port
        self.statuses: Counter[int] = Counter()
        self._shaking = asyncio.Semaphore(4)

    async def connection(self, requests: int) -> None:
        async with self._shaking:
            reader, writer = await asyncio.open_connection(
                "localhost", self._port, ssl=self._context, server_hostname="localhost"
            )
        for _ in range(requests):
            writer.write(b"GET /audit/v1/search?limit=500&text=plc* HTTP/1.1\r\nHost: x\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            self.statuses[int(head.split()[1])] += 1
            length = re.search(rb"Content-Length: (\d+)", head)
            assert length is not None
            await reader.readexactly(int(length[1]))
        writer.close()

    async def attack(self) -> None:
        await asyncio.gather(*(self.connection(20) for _ in range(12)))


def test_a_hostile_reviewer_is_told_429_and_the_plant_is_served(tmp_path: Path) -> None:
    curl = find("curl")
    assert curl is not None
    with Reviewed(tmp_path, curl) as site:
        site.run()
        hmi = site.client("hmi-1")
        hostile = Hostile(site)
        attack = threading.Thread(target=lambda: asyncio.run(hostile.attack()))
        attack.start()
        took = []
        while attack.is_alive():
            begun = time.monotonic()
            assert hmi.read(10) == value(10)
            took.append(time.monotonic() - begun)
        attack.join()
        assert set(hostile.statuses) <= {200, 429, 503}
        assert hostile.statuses[429] >= 240 - BUDGET
        assert len(took) > 100
        assert median(took) < 0.05


async def test_who_reads_slowly_holds_one_answer_and_nobody_else(site: Reviewed) -> None:
    context = site.auditor.client_context(site.pki.root)
    reader, writer = await asyncio.open_connection(
        "localhost", site.review_port, ssl=context, server_hostname="localhost", limit=1024
    )
    for _ in range(3):
        writer.write(b"GET /audit/v1/search?limit=500 HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await asyncio.to_thread(site.raw, site.auditor, "checkpoint"))[0] == 200
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    writer.close()
