"""Must hold 4, on the whole process: what the kernel saw, and what is left after SIGKILL.

The journal by itself is killed and torn in test_journal_killed.py and tests/properties/test_torn_disk.py;
here the question is whether the *plant* ever saw what the journal does not know.
"""

import os
import random
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from struct import pack
from typing import Any

import pytest

from .site import Client, Plant, Site, after_last_start, until

ROUNDS = int(os.environ.get("TORTURE_ROUNDS", "20"))
"`make torture` sets 200. A round is a start of the gateway, about a second, and some writes."
CLIENTS = 4

WRITE = bytes.fromhex("06000a1234")
"Function 6: register 10 becomes 0x1234."
CALLS = "fdatasync,fsync,write,writev,sendto,sendmsg,connect,pwrite64"
LINE = re.compile(r"^(?P<pid>\d+) +(?P<time>[\d.]+) (?P<call>.*)$")


class Trace:
    """What `strace -f -ttt -o` wrote, with calls that were interrupted by another thread's joined again."""

    def __init__(self, text: str) -> None:
        self.events: list[tuple[str, str]] = []
        """In the order in which they happened: (`enter` or `return`, the whole call). A call that stands in
        one line gives both at once."""
        started: dict[str, str] = {}
        for line in text.splitlines():
            found = LINE.match(line)
            if found is None:
                continue
            pid, call = found["pid"], found["call"]
            if call.endswith("<unfinished ...>"):
                started[pid] = call.removesuffix("<unfinished ...>")
                self.events.append(("enter", started[pid]))
            elif call.startswith("<... "):
                self.events.append(("return", started.pop(pid, "") + call.split("resumed>", 1)[1]))
            else:
                self.events += [("enter", call), ("return", call)]

    def first(self, what: str, *words: str, after: int = -1) -> int:
        """Number of the first such event behind `after` whose call holds all the words."""
        for number, (kind, call) in enumerate(self.events):
            if number > after and kind == what and all(word in call for word in words):
                return number
        raise AssertionError(f"no {what} of {words} behind {after}")


@pytest.mark.needs("strace")
def test_the_intents_fdatasync_returns_before_the_first_byte_to_the_plant(
    tmp_path: Path, component: Callable[[str], str]
) -> None:
    """The gateway's plant connection is made for this very write, so the connect counts, too."""
    trace = tmp_path / "trace"
    strace = [component("strace"), "-D", "-f", "-ttt", "-yy", "-x", "-s", "8192", "-e", f"trace={CALLS}"]
    with Site(tmp_path, more="collector: {enabled: false}\n") as site:
        assert site.plant is not None
        site.run(*strace, "-o", str(trace))
        assert site.client("hmi-1").write(10, 0x1234) == WRITE
        assert site.plant.written == [WRITE]
        site.end()
        intent = next(each["id"] for each in site.records("intent") if each["what"]["protocol"] == "modbus")
        seen = Trace(until("strace has written its trace", lambda: _whole(trace)))
        port = site.plant.port
    written = seen.first("return", "pwrite64(", ".seg>", escaped(intent.encode()))
    synced = seen.first("enter", "fdatasync(", ".seg>", after=written)
    durable = seen.first("return", "fdatasync(", ".seg>", "= 0", after=synced - 1)
    sent = seen.first("enter", f"->127.0.0.1:{port}]", escaped(WRITE))
    assert written < synced < durable < sent
    assert seen.first("enter", f"->127.0.0.1:{port}]") == sent, "nothing at all went to the plant before it"
    assert durable < seen.first("enter", "connect(", f"htons({port})"), "nor was there a connection"


def escaped(data: bytes) -> str:
    """Bytes as `strace -x` prints them."""
    return "".join(f"\\x{byte:02x}" for byte in data)


def _whole(trace: Path) -> str | None:
    text = trace.read_text(errors="replace") if trace.exists() else ""
    return text if "+++ exited with 0 +++" in text else None


class Writers:
    """Clients that write as fast as they can, each its own register, each write another value."""

    def __init__(self, site: Site, first: int) -> None:
        self._clients = [site.client("hmi-1") for _ in range(CLIENTS)]
        self.next = first
        self._lock = threading.Lock()
        self.confirmed: list[tuple[int, int]] = []
        "(register, value) that the gateway said were written."
        self.refused: Counter[int] = Counter()
        self._threads = [
            threading.Thread(target=self._write, args=(client, 10 + number))
            for number, client in enumerate(self._clients)
        ]
        for thread in self._threads:
            thread.start()

    def _write(self, client: Client, register: int) -> None:
        while True:
            with self._lock:
                value, self.next = self.next, self.next + 1
            pdu = pack(">BHH", 6, register, value & 0xFFFF)
            try:
                answer = client.ask(pdu)
            except (EOFError, OSError):
                return
            if answer == pdu:
                self.confirmed.append((register, value & 0xFFFF))
            else:
                self.refused[answer[-1]] += 1

    def join(self) -> None:
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()


def acts(plant: Plant) -> list[tuple[int, int]]:
    """Every write that the plant saw."""
    return [(pdu[1] << 8 | pdu[2], pdu[3] << 8 | pdu[4]) for pdu in plant.written]


def test_whenever_it_is_killed_every_write_that_the_plant_saw_has_its_intent(tmp_path: Path) -> None:
    """The registers' values are all different, so that a write and its intent find each other."""
    rng = random.Random(20)  # noqa: S311 # spreads kills, protects nothing
    with Site(tmp_path, writes_60s=9_000, in_flight=4, audit="checkpoint: 200ms") as site:
        assert site.plant is not None
        first, confirmed, told_unknown = 1, set[tuple[int, int]](), set[str]()
        for _ in range(ROUNDS):
            site.run()
            recovery = _recovery(site)
            told_unknown |= set(recovery["unknown"])
            writers = Writers(site, first)
            until("writes come through", lambda w=writers: len(w.confirmed) > 3)  # type: ignore[misc]
            time.sleep(rng.uniform(0, 0.25))  # when it is killed must have nothing to do with what it does
            assert site.end(signal.SIGKILL) == -signal.SIGKILL
            writers.join()
            assert not writers.refused, writers.refused
            first = writers.next
            confirmed |= set(writers.confirmed)
            assert first < 0xFFFF, "values must stay different"
            site.proved()
        site.run()
        recovery = _recovery(site)
        told_unknown |= set(recovery["unknown"])
        site.end()
        report = site.verify()
        assert report["open_intent_count"] == 0
        assert report["uncovered"] == 0
        journal = site.records()
        seen = Counter(acts(site.plant))
    intents: dict[tuple[int, int], str] = {}
    outcomes: dict[str, str] = {}
    for record in journal:
        if record["kind"] == "intent" and record["what"]["protocol"] == "modbus":
            target = record["what"]["modbus"]
            assert (target["start"], target["values"][0]) not in intents
            intents[target["start"], target["values"][0]] = record["id"]
        elif record["kind"] == "outcome":
            assert record["about"] not in outcomes, "one outcome for each intent"
            outcomes[record["about"]] = record["result"]["status"]
    assert set(seen) <= set(intents), "the plant saw a write that no intent tells of"
    assert confirmed <= set(seen), "a client was told of a write that the plant never saw"
    assert set(seen.values()) == {1}, "no write arrives twice (invariant 6)"
    assert set(intents.values()) <= set(outcomes), "every intent has an outcome, if only `unknown`"
    assert {about for about, status in outcomes.items() if status == "unknown"} >= told_unknown
    assert told_unknown, "not one kill fell between an intent and its outcome: the test tells nothing"
    for (register, value), about in intents.items():
        if outcomes[about] == "ok":
            assert (register, value) in seen


def _recovery(site: Site) -> dict[str, Any]:
    start = next(after_last_start(site.records()))
    recovery: dict[str, Any] = start["note"]["recovery"]
    return recovery


def test_recovery_names_what_it_cut(tmp_path: Path) -> None:
    """A torn record is put behind the last whole one by hand; a kill leaves one only within a pwrite."""
    with Site(tmp_path) as site:
        site.run()
        assert site.client("hmi-1").write(10, 1)[0] == 6
        site.end(signal.SIGKILL)
        whole = site.records()
        segment = max((site.data / "journal" / "segments").glob("*.seg"))
        data = segment.read_bytes()
        end = len(data.rstrip(b"\0"))
        torn = b"\x00" + data[64:128] + b"\x7f"
        segment.write_bytes(data[:end] + torn + data[end + len(torn) :])
        assert site.verify()["tail"] is not None, "above the last checkpoint the verifier names the tail"
        site.run()
        cut = _recovery(site)["cut"]
        assert cut["index"] == len(whole)
        assert 0 < cut["bytes"] <= len(torn)
        assert len(cut["sha256"]) == 64
        assert site.records()[: len(whole)] == whole, "nothing that was whole is lost"
        assert site.client("hmi-1").write(10, 2)[0] == 6
