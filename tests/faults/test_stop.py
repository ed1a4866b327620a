"""SIGTERM while requests are under way: every answer is right, connections end cleanly, nothing is left."""

import signal
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from struct import pack

import pytest

from .site import Client, Site, until, value


class Busy:
    """A client that asks until the gateway hangs up, and remembers how that was."""

    def __init__(self, client: Client, number: int) -> None:
        self._client = client
        self._number = number
        self.right = 0
        self.wrong: list[bytes] = []
        self.end: Exception | None = None
        self.thread = threading.Thread(target=self._ask)
        self.thread.start()

    def _ask(self) -> None:
        register = 10 + self._number % 10
        while True:
            write = pack(">BHH", 6, register, self.right & 0x7FFF)
            pdu, answer = (write, write) if self._number % 2 else (pack(">BHH", 3, 5, 1), value(5))
            try:
                got = self._client.ask(pdu)
            except (EOFError, OSError, ssl.SSLError) as error:
                self.end = error
                return
            if got == answer:
                self.right += 1
            else:
                self.wrong.append(got)


def session_of(pid: int) -> list[int]:
    """The processes of a session."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(fields[3]) == pid and fields[0] != "Z":
                found.append(int(entry.name))
    return found


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_under_load_is_clean(tmp_path: Path, number: signal.Signals) -> None:
    with Site(tmp_path, writes_60s=9_000) as site:
        assert site.plant is not None
        pid = site.run()
        busy = [Busy(site.client("hmi-1"), each) for each in range(8)]
        until("all are under way", lambda: all(each.right > 5 for each in busy))
        assert len(session_of(pid)) == 2, "it has one child while it runs: the workshop"
        assert site.end(number) == 0
        for each in busy:
            each.thread.join(10)
            assert not each.thread.is_alive()
        assert session_of(pid) == []
        assert "Traceback" not in site.log_text()
        assert "ERROR" not in site.log_text()
        assert not (site.data / "control.sock").exists()

        for each in busy:
            # 0A: taken, but no longer sent. 0B: sent, and the link was closed before the answer.
            assert {bytes(answer[1:]) for answer in each.wrong} <= {b"\x06", b"\x0a", b"\x0b", b"\x04"}
            assert len(each.wrong) <= 1, each.wrong
            assert isinstance(each.end, EOFError), repr(each.end)
            assert each.end.__cause__ is None, (
                f"a close_notify, not a broken connection: {each.end.__cause__!r}"
            )

        journal = site.records()
        assert journal[-1]["kind"] == "lifecycle"
        assert journal[-1]["note"]["event"] == "stop"
        report = site.verify()
        assert (report["uncovered"], report["tail"]) == (0, None)
        intents = {each["what"]["modbus"]["values"][0] for each in journal if each["kind"] == "intent"}
        assert {pdu[3] << 8 | pdu[4] for pdu in site.plant.written} <= intents

        site.run()
        start = next(each for each in reversed(site.records()) if each["note"] and "recovery" in each["note"])
        assert start["note"]["recovery"]["clean"] is True
        assert start["note"]["recovery"]["cut"] is None
        assert start["note"]["recovery"]["windows"] == 0


@pytest.mark.needs("strace")
def test_a_stop_under_load_leaves_no_intent_without_outcome(
    tmp_path: Path, component: Callable[[str], str]
) -> None:
    """With a disk that takes 40 ms; on a fast one it happens at every third stop or so."""
    slow = ("-e", "trace=fdatasync", "-e", "inject=fdatasync:delay_exit=40000")
    with Site(tmp_path, writes_60s=9_000) as site:
        site.run(component("strace"), "-D", "-f", "-qq", "-o", str(tmp_path / "trace"), *slow)
        busy = [Busy(site.client("hmi-1"), 2 * each + 1) for each in range(8)]
        until("all are under way", lambda: all(each.right > 2 for each in busy))
        site.end()
        for each in busy:
            each.thread.join(10)
        assert site.proved().open_intent_count == 0


def test_a_stop_does_not_wait_for_a_client_that_says_nothing(tmp_path: Path) -> None:
    with Site(tmp_path) as site:
        site.run()
        idle = site.client("hmi-1")
        assert idle.read(5) == value(5)
        half = site.client("hmi-1")
        half.send_raw(b"\x00\x01\x00\x00\x00\x06")
        assert site.end() == 0
        for client in (idle, half):
            with pytest.raises(EOFError):
                client.answer()
        assert site.records()[-1]["note"]["event"] == "stop"
