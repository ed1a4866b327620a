"""The audit export, received by rsyslog over mutual TLS: everything, in order, once or with equal ids."""

# ruff: noqa: F811 - the fixture `pki` is imported, and asked for by its name

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.audit.tree import leaf
from gateway.config.settings import Receipt, SyslogSection
from gateway.export.carriers import Syslog
from gateway.export.destination import Destination, Extent
from gateway.identity.contexts import client_context
from tests.faults.site import Site as GatewaySite
from tests.faults.site import until as until_seen
from tests.interop.mosquitto import Mosquitto, until
from tests.interop.rsyslog import Rsyslog
from tests.pki import Credential, Pki, pki  # noqa: F401
from tests.unit.audit import world
from tests.unit.export import journal

pytestmark = pytest.mark.needs("rsyslog")


class Site:
    """A receiver, a journal with every kind of record, and a destination between them."""

    def __init__(self, folder: Path, port: int, pki: Pki) -> None:
        server = pki.issue("it-server", "it", f"siem-{port}")
        self.own = pki.issue("it-client", "it", f"gw-{port}")
        self.pki = pki
        self.folder = folder
        self.rsyslog = Rsyslog(folder / "rsyslog", port, pki, server, f"gw-{port}")
        self.alarms: list[tuple[str, dict[str, Any]]] = []

    def section(self, own: Credential | None = None, **changes: Any) -> SyslogSection:
        own = own or self.own
        return SyslogSection(
            host="127.0.0.1",
            port=self.rsyslog.port,
            anchors=self.pki.anchors("it"),
            certificate=own.cert,
            key=own.key,
            **changes,
        )

    def carrier(self, section: SyslogSection | None = None) -> Syslog:
        section = section or self.section()
        return Syslog(section, lambda: client_context(section.anchors, section.certificate, section.key))

    def destination(self, section: SyslogSection | None = None) -> Destination:
        return journal.destination(
            self.folder,
            self.carrier(section),
            world.Clock(),
            self.extent,
            alarms=self.alarms,
        )

    def extent(self) -> Extent:
        size = len(journal.written(self.folder / "journal"))
        return Extent(size, size)


@asynccontextmanager
async def site(folder: Path, port: int, pki: Pki) -> AsyncIterator[Site]:
    made = Site(folder, port, pki)
    await made.rsyslog.start()
    try:
        yield made
    finally:
        await made.rsyslog.stop()


async def test_the_receiver_has_the_log_record_for_record(
    tmp_path: Path, free_port: Callable[[], int], pki: Pki
) -> None:
    await journal.write(tmp_path / "journal", world.Clock())
    records = journal.written(tmp_path / "journal")
    async with site(tmp_path, free_port(), pki) as made:
        exporting = made.destination()
        exporting.finish()
        async with asyncio.timeout(20):
            await exporting.run()
        assert exporting.trouble == ""
        received = made.rsyslog.events()
        assert [e["metadata"]["sequence"] for e in received] == [index for index, _ in records]
        assert [e["metadata"]["uid"] for e in received] == [f"{world.ORIGIN}#{i}" for i, _ in records]
        assert [e["unmapped"]["dmz"]["leaf"] for e in received] == [leaf(data).hex() for _, data in records]
        assert exporting.next == len(records)


async def test_a_gateway_that_the_receiver_does_not_expect_gets_no_receipt(
    tmp_path: Path, free_port: Callable[[], int], pki: Pki
) -> None:
    await journal.write(tmp_path / "journal", world.Clock())
    async with site(tmp_path, free_port(), pki) as made:
        stranger = pki.issue("it-client", "it", f"stranger-{made.rsyslog.port}")
        exporting = made.destination(made.section(stranger))
        exporting.finish()
        async with asyncio.timeout(20):
            await exporting.run()
        assert exporting.trouble
        assert exporting.next == 0
        assert made.rsyslog.events() == []


async def test_rsyslog_ends_its_connection_without_a_goodbye(
    tmp_path: Path, free_port: Callable[[], int], pki: Pki
) -> None:
    """Why a bare FIN counts where nobody says otherwise: 8.2302 with GnuTLS sends no close_notify. If this
    fails there is one that does, and `receipt: tls` can be recommended for it."""
    await journal.write(tmp_path / "journal", world.Clock())
    async with site(tmp_path, free_port(), pki) as made:
        exporting = made.destination(made.section(receipt=Receipt.TLS))
        exporting.finish()
        async with asyncio.timeout(20):
            await exporting.run()
        assert "close_notify" in exporting.trouble
        assert exporting.next == 0, "it has them, and that is not proved"
        assert len(made.rsyslog.events()) == made.extent().durable


async def test_an_outage_is_caught_up_with(tmp_path: Path, free_port: Callable[[], int], pki: Pki) -> None:
    """Down when the export begins; up later; then everything is there, and the lag is none."""
    await journal.write(tmp_path / "journal", world.Clock())
    made = Site(tmp_path, free_port(), pki)
    exporting = made.destination()
    task = asyncio.get_running_loop().create_task(exporting.run())
    try:
        await until(lambda: len(made.alarms) == 1)
        assert exporting.lag == made.extent().durable
        await made.rsyslog.start()
        exporting.finish()
        async with asyncio.timeout(30):
            await task
        again = made.destination()
        again.finish()
        await again.run()
        assert [e["metadata"]["sequence"] for e in made.rsyslog.events()] == list(
            range(made.extent().durable)
        )
        assert again.lag == 0
    finally:
        task.cancel()
        await made.rsyslog.stop()


@pytest.mark.needs("mosquitto")
async def test_a_gateway_exports_to_both(tmp_path: Path, free_port: Callable[[], int], pki: Pki) -> None:
    """The real process: syslog and CloudEvents side by side, and its last record when it stops."""
    async with site(tmp_path, free_port(), pki) as made:
        port = free_port()
        server = pki.issue("it-server", "it", f"broker-{port}")
        reader = _named(pki, "mqtt-reader")
        gateway = _named(pki, "mqtt-gw")
        broker = Mosquitto(tmp_path / "mosquitto", port, pki, server)
        await broker.start()
        heard = await _listening(broker, reader)
        try:
            await asyncio.to_thread(_run_gateway, tmp_path / "site", made, port, gateway)
        finally:
            heard.terminate()
            said, _ = await heard.communicate()
            await broker.stop()
        log = journal.written(tmp_path / "site" / "data" / "journal")
        received = made.rsyslog.events()
        origin = "demo.example/gw-1"
        assert [e["metadata"]["uid"] for e in received] == [f"{origin}#{i}" for i, _ in log]
        assert received[-1]["activity_name"] == "Stop", "the end is told before the end"
        assert any(e["class_uid"] == 6003 and e.get("action") == "Denied" for e in received)
        events = [json.loads(line) for line in said.decode().splitlines()]
        wanted = [index for index, data in log if json.loads(data)["kind"] != "window"]
        assert [e["data"]["metadata"]["sequence"] for e in events] == wanted[: len(events)]
        by_syslog = {e["metadata"]["uid"]: e for e in received}
        assert events
        assert all(e["data"] == by_syslog[e["id"]] for e in events)


def _named(pki: Pki, name: str) -> Credential:
    at = pki.dir / "it" / "issued" / f"{name}.pem"
    return Credential(at, at.with_suffix(".key")) if at.exists() else pki.issue("it-client", "it", name)


async def _listening(broker: Mosquitto, reader: Credential) -> asyncio.subprocess.Process:
    """A subscriber to the audit topic, once it has subscribed."""
    folder = broker._folder
    program = shutil.which("mosquitto_sub")
    assert program
    return await asyncio.create_subprocess_exec(
        program,
        *("-h", "127.0.0.1", "-p", str(broker.port), "-V", "mqttv5", "-q", "1", "-t", "dmz/demo/gw-1/audit"),
        *("--cafile", str(folder / "ca"), "--cert", str(reader.cert), "--key", str(reader.key)),
        stdout=asyncio.subprocess.PIPE,
    )


def _run_gateway(folder: Path, made: Site, broker: int, own: Credential) -> None:
    """A gateway that does a few things, and stops once both have them."""
    syslog = (
        f"{{host: 127.0.0.1, port: {made.rsyslog.port}, anchors: {made.pki.anchors('it')},"
        f" certificate: {made.own.cert}, key: {made.own.key}}}"
    )
    export = f"export: [{{name: siem, syslog: {syslog}}}, {{name: lake, without: [window], mqtt: {{}}}}]"
    mqtt = (
        f"north: {{mqtt: {{host: 127.0.0.1, port: {broker}, anchors: {made.pki.anchors('it')},"
        f" certificate: {own.cert}, key: {own.key}, client_id: gw-1}}}}\n"
    )
    folder.mkdir()
    with GatewaySite(folder, audit=f"window: 1s, {export}", more=mqtt) as gateway:
        gateway.run()
        hmi = gateway.client("hmi-1")
        assert hmi.write(12, 7)[0] == 6
        assert hmi.write(60, 7)[0] == 0x86
        size = gateway.status()["journal"]["size"]

        def caught_up() -> bool:
            return all(each["next"] >= size and not each["trouble"] for each in gateway.status()["export"])

        until_seen("both destinations have it", caught_up, 20)
        assert [each["name"] for each in gateway.status()["export"]] == ["siem", "lake"]
        assert gateway.end() == 0
