"""The section `audit.export`: what is refused, and in which words; and what all destinations say together."""

import asyncio
import random
from pathlib import Path

import pytest

from gateway.config.read import read
from gateway.config.settings import EventTopic, ExportSection, SyslogSection
from gateway.export.destination import Extent
from gateway.export.exporter import Exporter
from gateway.identity.contexts import client_context
from gateway.model.errors import ConfigError
from gateway.model.record import RecordKind
from gateway.publish.poll_plan import asset_cost
from gateway.relay.tasks import Tasks
from tests.faults.site import Site
from tests.unit.audit import world
from tests.unit.export import journal

FILES = (
    "anchors: pki/plant/anchors.pem, certificate: pki/plant/issued/gw-1.pem, key: pki/plant/issued/gw-1.key"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(tmp_path_factory.mktemp("site"), plant_port=1502)


def export(site: Site, text: str) -> tuple[ExportSection, ...]:
    changed = site.folder / "other.yaml"
    changed.write_text(site.config.read_text().replace("log-1.key}", f"log-1.key, export: [{text}]}}"))
    return read(changed, asset_cost).audit.export


def test_a_destination_reads_as_written(site: Site) -> None:
    (found,) = export(site, f"{{name: siem, without: [window], syslog: {{host: siem.example, {FILES}}}}}")
    assert found.without == (RecordKind.WINDOW,)
    assert found.syslog is not None
    assert (found.syslog.port, found.syslog.message_bytes) == (6514, 8192)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{name: siem}", "siem has no place"),
        (f"{{name: s, syslog: {{host: h, {FILES}}}, mqtt: {{}}}}", "s is two places"),
        ("{name: lake, mqtt: {}}", "there is no broker"),
        ("{name: lake, mqtt: {topic: 'a/{tag}'}}", "has no field {tag}"),
        (f"{{name: s, syslog: {{host: h, {FILES}}}}}, {{name: s, syslog: {{host: i, {FILES}}}}}", "is taken"),
        ("{name: s, without: [reads], mqtt: {}}", "reads"),
        (f"{{name: s, syslog: {{host: h, message: 1KiB, {FILES}}}}}", "message is 1KiB"),
        (f"{{name: ../s, syslog: {{host: h, {FILES}}}}}", "../s"),
    ],
)
def test_what_makes_no_sense_is_named(site: Site, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        export(site, text)
    assert said in str(error.value)


async def test_all_destinations_together(tmp_path: Path) -> None:
    """The least exported is that of the slowest; a broker that is away stands in nobody's way."""
    clock = world.Clock()
    await journal.write(tmp_path / "journal", clock)
    (tmp_path / "state").mkdir()
    size = len(journal.written(tmp_path / "journal"))
    taken: list[bytes] = []
    away = True

    async def publish(topic: str, payload: bytes, content_type: str) -> str | None:
        assert (topic, content_type) == ("dmz/demo/gw-1/audit", "application/cloudevents+json")
        if away:
            return "not connected"
        taken.append(payload)
        return None

    nowhere = SyslogSection(host="127.0.0.1", port=1, anchors=Path("a"), certificate=Path("c"), key=Path("k"))
    made = Exporter(
        (ExportSection(name="lake", mqtt=EventTopic()), ExportSection(name="siem", syslog=nowhere)),
        journal=tmp_path / "journal",
        state=tmp_path / "state",
        origin=world.ORIGIN,
        gateway="gw-1",
        site="demo",
        extent=lambda: Extent(size, size),
        clock=clock,
        alarm=lambda *_: None,
        random=random.Random(1),  # noqa: S311
        publish=publish,
        context=lambda s: client_context(s.anchors, s.certificate, s.key),
    )
    assert made.least_exported() == 0
    away = False
    made.start(Tasks())
    await made.stop()
    assert len(taken) == size
    assert [each["next"] for each in made.status()] == [size, 0]
    assert made.least_exported() == 0, "the slowest counts"
    gauges = made.gauges()
    assert gauges['export_lag_records{destination="lake"}'] == 0
    assert gauges['export_lag_records{destination="siem"}'] == size
    assert gauges['export_trouble{destination="siem"}'] == 1


def test_nowhere_to_export_keeps_nothing_back(tmp_path: Path) -> None:
    made = Exporter(
        (),
        journal=tmp_path,
        state=tmp_path,
        origin="o",
        gateway="g",
        site="s",
        extent=lambda: Extent(0, 0),
        clock=world.Clock(),
        alarm=lambda *_: None,
        random=random.Random(1),  # noqa: S311
        publish=lambda *_: asyncio.sleep(0, None),
        context=lambda s: client_context(s.anchors, s.certificate, s.key),
    )
    assert made.least_exported() is None
    assert made.status() == []
    asyncio.run(made.stop())
