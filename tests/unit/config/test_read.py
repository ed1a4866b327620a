"""From the file to Settings: what reads, and every kind of mistake with its line and its mend."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from gateway.config.read import look, read
from gateway.model.asset import Asset, DataType, Order, Span, Table
from gateway.model.errors import ConfigError
from gateway.publish.poll_plan import asset_cost
from tests.unit.config.example import FILES, KEYS, line_of

Site = Callable[..., Path]


def test_the_example_reads(site: Site) -> None:
    file = site()
    settings = read(file, asset_cost)
    assert settings.gateway.data == file.parent / "data"
    assert settings.listeners[0].units == {1: "plc-1", 2: "meter-1"}
    plc = settings.assets[0]
    assert (plc.host, plc.port, plc.timeout_ms, plc.in_flight) == ("127.0.0.1", 1502, 1000, 1)
    assert plc.registers == (
        Span(Table.HOLDING, 0, 100),
        Span(Table.INPUT, 0, 50),
        Span(Table.COIL, 0, 16),
    )
    level, flow, pump = settings.tags
    assert (level.type, level.scale, level.low, level.high) == (DataType.UINT16, 0.1, 0.0, 100.0)
    assert (level.poll_ms, level.stale_ms, level.word_order) == (1000, 5000, Order.BIG)
    assert level.resolution == 0.1, "an integer's step is its scale"
    assert flow.resolution == 0.01
    assert pump.resolution == 1
    assert settings.north.mqtt is not None
    assert settings.north.mqtt.topic == "{path}"
    assert settings.audit.segment_bytes == 64 * 1024 * 1024
    assert settings.collector.backoff_s == 30


@pytest.mark.parametrize(
    ("written", "milliseconds"),
    [("500ms", 500), ("1s", 1000), ("0.5s", 500), ("1m", 60_000), ("2", 2000), ("0.25", 250)],
)
def test_durations(site: Site, written: str, milliseconds: int) -> None:
    assert read(site(("timeout: 1s", f"timeout: {written}"))).assets[0].timeout_ms == milliseconds


@pytest.mark.parametrize(
    ("written", "size"), [("1MiB", 1 << 20), ("2048KiB", 1 << 21), ("1GiB", 1 << 30), ("1048576", 1 << 20)]
)
def test_sizes(site: Site, written: str, size: int) -> None:
    changed = site(("origin: demo.example/gw-1,", f"origin: demo.example/gw-1, segment: {written},"))
    assert read(changed).audit.segment_bytes == size


@pytest.mark.parametrize(
    ("written", "host", "port"),
    [("10.0.0.5:502", "10.0.0.5", 502), ('"[fd00::5]:502"', "fd00::5", 502), ("plc.local:1", "plc.local", 1)],
)
def test_endpoints(site: Site, written: str, host: str, port: int) -> None:
    asset = read(site(("127.0.0.1:1502", written))).assets[0]
    assert (asset.host, asset.port) == (host, port)


def test_words_that_yaml_1_1_took_for_booleans_stay_words(site: Site) -> None:
    settings = read(site(("  site: demo", "  site: on\n  mode: no")))
    assert (settings.gateway.site, settings.gateway.mode) == ("on", "no")


TAGS_FILE = """\
- {name: plc-1.a, asset: plc-1, path: a/b, table: input, address: 0, type: uint16}
- {name: plc-1.b, asset: plc-1, path: a/c, table: input, address: 900, type: uint16}
"""


def without_tags(file: Path, instead: str) -> Path:
    """The example with its tags replaced."""
    text = file.read_text()
    start, end = text.index("tags:  "), text.index("policy:")
    file.write_text(text[:start] + instead + text[end:])
    return file


def test_tags_in_a_file_of_their_own_and_faults_name_it(site: Site) -> None:
    file = without_tags(site(), "tags: points/tags.yaml\n")
    points = file.parent / "points" / "tags.yaml"
    points.parent.mkdir()
    points.write_text(TAGS_FILE)
    (fault,) = look(file).faults
    assert fault.where == "points/tags.yaml:2"
    assert "plc-1 does not declare input 900" in fault.what
    points.write_text(TAGS_FILE.replace("900", "9"))
    assert [tag.address for tag in read(file).tags] == [0, 9]


def test_a_named_file_that_is_missing_or_no_yaml(site: Site) -> None:
    file = without_tags(site(), "tags: tags.yaml\n")
    (fault,) = look(file).faults
    assert fault.where == line_of(file, "tags: tags.yaml")
    assert "tags.yaml is not a file" in fault.what
    (file.parent / "tags.yaml").write_text("- [\n")
    (fault,) = look(file).faults
    assert fault.where.startswith("tags.yaml:")
    (file.parent / "tags.yaml").write_text("tags.yaml\n")
    (fault,) = look(file).faults
    assert (fault.where, fault.what) == ("tags.yaml:1", "does not hold a list")


MISTAKES: dict[str, dict[str, Any]] = YAML(typ="safe").load(Path(__file__).with_name("mistakes.yaml"))
SEVERAL = {"asset named twice", "zone named twice", "braces"}
"Changes that are more than one mistake: the other name is then gone, or the tag with the braces."


@pytest.mark.parametrize("kind", MISTAKES)
def test_one_mistake_one_fault_with_its_line_and_its_mend(site: Site, kind: str) -> None:
    row = MISTAKES[kind]
    file = site(tuple(row["change"]))
    faults = look(file, asset_cost).faults
    found = [fault for fault in faults if row["what"] in fault.what]
    assert len(found) == 1, faults
    assert found[0].where == line_of(file, row.get("at") or row["change"][1].strip())
    assert row["mend"] in f"{found[0].what} {found[0].mend}"
    assert len(faults) == 1 or kind in SEVERAL, "no mistake draws others after it"


def test_five_mistakes_of_five_kinds_are_all_named(site: Site) -> None:
    changes = (
        ("timeout: 1s", "tiemout: 1s"),  # shape
        ("poll: 1s", "poll: 50ms"),  # bounds
        ("2: meter-1", "2: meter-2"),  # meaning
        ("anchors: pki/plant/anchors.pem", "anchors: pki/none.pem"),  # files
        ("data: ./data", "data: ./data\n  data: ./other"),  # text
    )
    file = site(*changes)
    with pytest.raises(ConfigError) as caught:
        read(file)
    lines = [int(fault.where.removeprefix("gateway.yaml:")) for fault in caught.value.faults]
    wanted = [int(line_of(file, new.split("\n  ")[-1]).split(":")[1]) for _, new in changes]
    assert lines == sorted(wanted)
    assert all(fault.mend for fault in caught.value.faults)


@pytest.mark.parametrize("name", [*FILES, *KEYS])
def test_every_file_that_is_named_must_be_there(site: Site, name: str) -> None:
    file = site()
    (file.parent / name).unlink()
    faults = look(file).faults
    assert faults
    assert all(f"{name} does not exist" in fault.what for fault in faults)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
@pytest.mark.parametrize("name", KEYS)
def test_a_key_that_others_can_use_is_refused(site: Site, name: str, mode: int) -> None:
    file = site()
    (file.parent / name).chmod(mode)
    faults = look(file).faults
    assert faults
    assert all(f"mode {mode:04o}" in fault.what and "chmod 600" in fault.mend for fault in faults)


def test_an_owner_may_keep_a_key_read_only(site: Site) -> None:
    file = site()
    (file.parent / KEYS[0]).chmod(0o400)
    assert look(file).faults == ()


@pytest.mark.parametrize("host", ["0.0.0.0", '"::"', "192.0.2.7", "gateway.example"])  # refused or warned of
def test_a_listener_for_all_the_world_is_warned_of(site: Site, host: str) -> None:
    file = site(("host: 127.0.0.1\n    port: 1802", f"host: {host}\n    port: 1802"))
    reading = look(file)
    (warning,) = reading.warnings
    assert reading.settings is not None
    assert warning.where == line_of(file, f"host: {host}")
    assert "reached from outside" in warning.what


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", '"::1"', "localhost"])
def test_loopback_is_not_warned_of_and_is_the_default(site: Site, host: str) -> None:
    assert (
        look(site(("    host: 127.0.0.1\n    port: 1802", f"    host: {host}\n    port: 1802"))).warnings
        == ()
    )
    silent = look(site(("    host: 127.0.0.1\n    port: 1802", "    port: 1802")))
    assert silent.warnings == ()
    assert silent.settings is not None
    assert silent.settings.listeners[0].host == "127.0.0.1"


def test_a_zone_without_crls_lets_nobody_in_and_one_without_need_is_warned_of(site: Site) -> None:
    (warning,) = look(site((", crls: [pki/it/crl.pem]", ""))).warnings
    assert "nobody gets into zone it" in warning.what
    (warning,) = look(site((", crls: [pki/it/crl.pem]", ", crl_required: false"))).warnings
    assert "a revoked certificate may get into zone it" in warning.what


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("tls: none", "identifies nobody"),
        ('refusal: "02"', "deviates from Modbus/TCP Security R-31"),
        ("refusal: silence", "deviates from Modbus/TCP Security R-31"),
    ],
)
def test_a_listener_that_is_laxer_than_the_standard_is_warned_of(site: Site, key: str, says: str) -> None:
    file = site(("    port: 1802", f"    port: 1802\n    {key}"))
    (warning,) = look(file).warnings
    assert warning.where == line_of(file, key)
    assert says in warning.what


def test_the_budget_counts_polls_and_not_tags(site: Site) -> None:
    polled: list[tuple[str, int, int]] = []

    def cost(asset: Asset, tags: object, merge_gap: int) -> float:
        assert isinstance(tags, (list, tuple))
        polled.append((asset.name, len(tags), merge_gap))
        return 0.0

    assert look(site(more="collector: {merge_gap: 3}\n"), cost).faults == ()
    assert polled == [("plc-1", 3, 3), ("meter-1", 0, 3)]
    over = site(("timeout: 1s", "polls_per_s: 0.5"), more="collector: {enabled: false}\n")
    assert look(over, asset_cost).faults == (), "who does not poll costs nothing"
