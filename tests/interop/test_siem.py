"""The audit export, received by rsyslog over mutual TLS: everything, in order, once or with equal ids."""

# ruff: noqa: F811 - the fixture `pki` is imported, and asked for by its name

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.audit.tree import leaf
from gateway.config.settings import SyslogSection
from gateway.export.carriers import Syslog
from gateway.export.destination import Destination, Extent
from gateway.identity.contexts import client_context
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
