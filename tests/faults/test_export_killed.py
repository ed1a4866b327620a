"""The exporting process is killed again and again, and so is the receiver: nothing is missing in the end.

Counted at the receiver, from what it wrote to its file: every record of the log is there, with the leaf hash
of the log; what is there twice has equal ids and is equal.
"""

# ruff: noqa: F811 - the fixture `pki` is imported, and asked for by its name

import asyncio
import os
import random
import signal
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.audit.tree import leaf
from gateway.export import destination
from tests.interop.rsyslog import Rsyslog
from tests.pki import Credential, Pki, pki  # noqa: F401
from tests.unit.audit import world
from tests.unit.export import journal

pytestmark = pytest.mark.needs("rsyslog")

ROUNDS = int(os.environ.get("TORTURE_EXPORT_ROUNDS", "3"))
"`make torture` sets more."
LAST = 30
"Records that the last run writes before it ends by itself."


class Victim:
    """The exporting process."""

    def __init__(self, folder: Path, receiver: Rsyslog, pki: Pki, own: Credential) -> None:
        anchors = pki.anchors("it")
        self._command = [
            *(sys.executable, "-m", "tests.faults.exporting", str(folder), str(receiver.port)),
            *(str(anchors), str(own.cert), str(own.key)),
        ]

    async def killed_after(self, seconds: float) -> None:
        """Run it and kill it so long after it runs."""
        process = await asyncio.create_subprocess_exec(*self._command, stdout=asyncio.subprocess.PIPE)
        assert process.stdout is not None
        try:
            async with asyncio.timeout(30):
                assert await process.stdout.readline() == b"open\n"
            await asyncio.sleep(seconds)
            assert process.returncode is None, "it ended by itself"
        finally:
            process.send_signal(signal.SIGKILL)
            await process.communicate()

    async def to_the_end(self) -> int:
        """Run it until everything is exported; the place it reached."""
        process = await asyncio.create_subprocess_exec(
            *self._command, str(LAST), stdout=asyncio.subprocess.PIPE
        )
        async with asyncio.timeout(60):
            said, _ = await process.communicate()
        assert process.returncode == 0
        return int(said.decode().splitlines()[-1].removeprefix("at "))


def everything_is_there(folder: Path, events: list[dict[str, Any]]) -> int:
    """Judge what the receiver wrote; how many were there twice."""
    records = journal.written(folder / "journal")
    by_uid: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for event in events:
        by_uid[event["metadata"]["uid"]].append(event)
    assert set(by_uid) == {f"{world.ORIGIN}#{index}" for index, _ in records}, "all, and nothing else"
    for index, data in records:
        found = by_uid[f"{world.ORIGIN}#{index}"]
        assert all(each == found[0] for each in found), "what came twice is equal"
        assert found[0]["unmapped"]["dmz"]["leaf"] == leaf(data).hex()
    firsts = list(dict.fromkeys(event["metadata"]["sequence"] for event in events))
    assert firsts == sorted(firsts), "in order, but for what is sent again"
    return len(events) - len(records)


@pytest.fixture
def receiver(tmp_path: Path, free_port: Callable[[], int], pki: Pki) -> tuple[Rsyslog, Credential]:
    port = free_port()
    server = pki.issue("it-server", "it", f"siem-{port}")
    own = pki.issue("it-client", "it", f"gw-{port}")
    return Rsyslog(tmp_path / "rsyslog", port, pki, server, f"gw-{port}"), own


async def test_the_gateway_is_killed_while_it_exports(
    tmp_path: Path, receiver: tuple[Rsyslog, Credential], pki: Pki
) -> None:
    rsyslog, own = receiver
    victim = Victim(tmp_path, rsyslog, pki, own)
    rng = random.Random(5)  # noqa: S311 (when to kill)
    await rsyslog.start()
    try:
        for _ in range(ROUNDS):
            await victim.killed_after(rng.uniform(0.05, 1.0))
        size = await victim.to_the_end()
        assert size == len(journal.written(tmp_path / "journal"))
        again = everything_is_there(tmp_path, rsyslog.events())
        assert 0 < again <= ROUNDS * (destination.MOST_UNCONFIRMED + 64), "sent again, within its bound"
    finally:
        await rsyslog.stop()


async def test_the_receiver_is_killed_while_it_receives(
    tmp_path: Path, receiver: tuple[Rsyslog, Credential], pki: Pki
) -> None:
    """Killed in the middle, away for a while, and back: what it had not confirmed comes again."""
    rsyslog, own = receiver
    victim = Victim(tmp_path, rsyslog, pki, own)
    await rsyslog.start()
    running = asyncio.get_running_loop().create_task(victim.killed_after(3.0))
    try:
        for _ in range(2):
            await asyncio.sleep(0.7)
            await rsyslog.stop(signal.SIGKILL)
            await asyncio.sleep(0.3)
            await rsyslog.start()
        await running
        assert await victim.to_the_end() == len(journal.written(tmp_path / "journal"))
        everything_is_there(tmp_path, rsyslog.events())
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await rsyslog.stop()
