"""A write that was allowed and waits for a slow device, while people take away what allowed it.

The gateway is the real process. Its device answers nothing until the test says so, so the write waits behind
a read; what a person does meanwhile must reach it there.
"""

import asyncio
import contextlib
import io
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from struct import pack

import pytest

from gateway import cli
from tests.faults.site import Plant, Site, until
from tests.interop.plants import Reply, ScriptedPlant

HANGS = 50
"A read of this register is answered when the test says so."
IN_WINDOW, UNGRANTED = 12, 60
"Registers: one that may be written while the window is open, one that only a stage lets through."
BUSY = b"\x86\x06"

TAKEN_AWAY = {
    "its window closes": (IN_WINDOW, "lea", ("windows", "close", "vendor-access")),
    "the plant has another mode": (IN_WINDOW, "lea", ("mode", "plant", "maintenance")),
    "its asset is enforced": (UNGRANTED, "pat", ("mode", "asset", "plc-1", "enforce")),
}


class Scene:
    """A site with the admin API, its people, and a device that can hang."""

    def __init__(self, folder: Path, port: int) -> None:
        self.released = threading.Event()
        self.plant = Plant(self._script)
        more = f"admin: {{port: {port}, zone: plant}}\n"
        self.site = Site(folder, plant_port=self.plant.port, more=more)
        self.people = {name: self.site.pki.issue("person", "plant", name) for name in ("pat", "lea")}
        self._port = port
        config = self.site.config
        config.write_text(config.read_text().replace("timeout: 1s,", "timeout: 8s, stage: observe,"))
        with (self.site.policies / "data" / "grants.yaml").open("a") as file:
            file.write("    windows: [vendor-access]\n")

    async def _script(self, plant: ScriptedPlant, request: bytes, reply: Reply) -> None:
        while request[7:] == pack(">BHH", 3, HANGS, 1) and not self.released.is_set():  # noqa: ASYNC110
            await asyncio.sleep(0.01)  # the test is in another thread
        await reply(plant.device.answer(request))

    def does(self, by: str, *words: str) -> None:
        """What a person does by the product's own commands."""
        who = self.people[by]
        options = ("--gateway", f"https://localhost:{self._port}", "--ca", self.site.pki.root)
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            came = cli.main([*words, *map(str, (*options, "--cert", who.cert, "--key", who.key))])
        assert came == 0, said.getvalue()

    def writes(self) -> list[str]:
        """Records of what Modbus clients were about to write."""
        intents = self.site.records("intent")
        return [each["id"] for each in intents if each["what"]["protocol"] == "modbus"]

    def hang(self) -> None:
        """Let the device be busy with a read, from now on until it is released."""
        self.site.client("hmi-1").send(pack(">BHH", 3, HANGS, 1), 1)
        until(
            "the device was not asked", lambda: any(adu[7:10] == b"\x03\x00\x32" for adu in self.plant.seen)
        )


@pytest.fixture
def scene(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[Scene]:
    made = Scene(tmp_path, free_port())
    try:
        with made.site:
            made.site.run()
            yield made
            made.released.set()
    finally:
        made.plant.close()


@pytest.mark.parametrize("what", TAKEN_AWAY)
def test_a_queued_write_is_never_sent_once_what_allowed_it_is_gone(scene: Scene, what: str) -> None:
    register, by, words = TAKEN_AWAY[what]
    scene.does("lea", "windows", "open", "vendor-access", "--minutes", "5")
    hmi = scene.site.client("hmi-1")
    assert hmi.write(register, 7) == pack(">BHH", 6, register, 7), "it may, so far"
    scene.hang()
    hmi.send(pack(">BHH", 6, register, 8), 77)
    until("its intent is not there", lambda: len(scene.writes()) == 2)
    scene.does(by, *words)
    scene.released.set()
    assert hmi.answer() == (77, BUSY)
    queued = scene.writes()[-1]
    told = scene.site.wait_record(
        "no outcome", lambda each: each["kind"] == "outcome" and each["about"] == queued
    )
    assert told["result"]["status"] == "not_sent"
    assert scene.plant.written == [pack(">BHH", 6, register, 7)]
