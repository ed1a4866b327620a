"""dmz-gateway check: what a person sees, and what certificates, keys and policy have to say."""

import argparse
import json
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from gateway.cli import check
from gateway.config.schema import schema
from gateway.shipped import folder
from tests.pki import Pki
from tests.unit.config.example import line_of

Site = Callable[..., Path]


def call(*arguments: object) -> int:
    """Run `check` as the command line does."""
    top = argparse.ArgumentParser()
    check.add(top.add_subparsers(required=True))
    args = top.parse_args(["check", *map(str, arguments)])
    return int(args.run(args))


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    """A PKI whose folder has every file that the example names."""
    made = Pki(tmp_path_factory.mktemp("check") / "pki")
    made.issue("gateway-server", "plant", "gw-1")
    made.issue("gateway-server", "it", "gw-1")
    made.issue("log-signer", "plant", "log-1")
    return made


@pytest.fixture
def plant(site: Site, authority: Pki) -> Site:
    """The example with certificates, keys and CRLs of a real PKI, and the policy that ships."""
    home = site().parent
    shutil.rmtree(home / "pki")
    shutil.copytree(authority.dir, home / "pki")
    (home / "policies").rmdir()
    shutil.copytree(folder("policies"), home / "policies")
    for file in (home / "policies").rglob("*.yaml"):  # the example has no other tag to name
        file.write_text(file.read_text().replace("plc-1.level_sp", "plc-1.level"))
    return site


def test_a_clean_configuration_is_summed_up(plant: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("-c", plant()) == 0
    said = capsys.readouterr().out
    assert "warning" not in said
    assert "modbus-north  127.0.0.1:1802  zone plant  unit 1 → plc-1, unit 2 → meter-1" in said
    assert "3 tags  2 polls  4 registers  1 coils  2 of 10 polls/s  modbus-north/1" in said
    assert "HTTPS API on 127.0.0.1:8443, zone it" in said
    assert "MQTT to broker at 127.0.0.1:8883" in said


def test_a_clean_configuration_in_json(plant: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--json", "-c", plant()) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["ok"] is True
    assert answer["faults"] == []
    plc = answer["summary"]["assets"][0]
    assert (plc["polls"], plc["registers"], plc["coils"], plc["polls_per_s"]) == (2, 4, 1, 2.0)
    assert (plc["budget_per_s"], plc["reached_by"]) == (10.0, ["modbus-north/1"])


def test_five_mistakes_are_named_and_the_exit_code_is_2(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = (
        ("timeout: 1s", "tiemout: 1s"),
        ("poll: 1s", "poll: 50ms"),
        ("2: meter-1", "2: meter-2"),
        ("anchors: pki/plant/anchors.pem", "anchors: pki/none.pem"),
        ("type: bool}", "type: bool, bit: 1}"),
    )
    file = site(*changes)
    assert call("-c", file) == 2
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == f"{file}: 5 mistakes; no gateway runs with it"
    for _, new in changes:
        (line,) = [line for line in lines if line.startswith(f"{line_of(file, new)}: ")]
        assert " — " in line, "every mistake has its mend"
    assert call("--json", "-c", file) == 2
    answer = json.loads(capsys.readouterr().out)
    assert (answer["ok"], len(answer["faults"]), answer["summary"]) == (False, 5, None)
    assert set(answer["faults"][0]) == {"where", "what", "mend"}


def test_a_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("-c", tmp_path / "gateway.yaml") == 2
    assert "gateway.yaml:1: cannot be read: No such file" in capsys.readouterr().out


def test_the_schema_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--schema") == 0
    assert json.loads(capsys.readouterr().out) == schema()


def test_it_must_be_told_what_to_check(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        call()
    assert caught.value.code == 2


def said_of(file: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    code = call("-c", file)
    return code, capsys.readouterr().out


def test_a_key_of_another_certificate(plant: Site, capsys: pytest.CaptureFixture[str]) -> None:
    file = plant(("key: pki/plant/issued/gw-1.key", "key: pki/it/issued/gw-1.key"))
    code, said = said_of(file, capsys)
    assert code == 2
    assert f"{line_of(file, '  certificate: pki/plant')}: " in said


@pytest.mark.parametrize(
    ("name", "words", "line"),
    [
        ("pki/plant/anchors.pem", "anchors.pem", "name: plant, anchors"),
        ("pki/it/crl.pem", "crl.pem", "name: it, anchors"),
        ("pki/it/issued/gw-1.pem", "gw-1.pem", "port: 8443"),
        ("pki/plant/issued/log-1.key", "log-1.key", "origin:"),
    ],
)
def test_a_file_that_is_there_and_no_use(
    plant: Site, capsys: pytest.CaptureFixture[str], name: str, words: str, line: str
) -> None:
    file = plant()
    (file.parent / name).write_text("not what it should be\n")
    code, said = said_of(file, capsys)
    assert code == 2
    assert any(row.startswith(line_of(file, line)) and words in row for row in said.splitlines()), said


def test_a_crl_of_the_other_zone_is_refused(plant: Site, capsys: pytest.CaptureFixture[str]) -> None:
    file = plant(("crls: [pki/plant/crl.pem]", "crls: [pki/it/crl.pem]"))
    code, said = said_of(file, capsys)
    assert code == 2
    assert f"{line_of(file, 'name: plant, anchors')}: " in said


def test_what_expires_soon_is_a_warning(
    plant: Site,
    authority: Pki,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = plant()
    soon = authority.issue("gateway-server", "plant", "gw-soon", days=20)
    shutil.copy(soon.cert, file.parent / "pki/plant/issued/gw-1.pem")
    shutil.copy(soon.key, file.parent / "pki/plant/issued/gw-1.key")
    code, said = said_of(file, capsys)
    assert code == 0
    assert f"warning: {line_of(file, '  certificate: pki/plant')}: " in said
    assert "expires in 19 days" in said or "expires in 20 days" in said
    assert "pki renew" in said


def test_what_has_expired_is_a_warning_too(
    plant: Site,
    authority: Pki,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = plant()
    gone = authority.expired("gateway-server", "plant", "gw-gone")
    shutil.copy(gone.cert, file.parent / "pki/plant/issued/gw-1.pem")
    shutil.copy(gone.key, file.parent / "pki/plant/issued/gw-1.key")
    code, said = said_of(file, capsys)
    assert code == 0
    assert "expired 20 days ago" in said or "expired 21 days ago" in said


def test_a_stale_crl_is_a_warning(plant: Site, authority: Pki, capsys: pytest.CaptureFixture[str]) -> None:
    file = plant()
    authority.sign_crl("it", authority.now - timedelta(days=40))
    shutil.copy(authority.crl("it"), file.parent / "pki/it/crl.pem")
    authority.sign_crl("it")
    code, said = said_of(file, capsys)
    assert code == 0
    assert f"warning: {line_of(file, 'name: it, anchors')}: zone it: a CRL is past its nextUpdate" in said


def test_a_write_grant_on_a_safety_system_is_refused(plant: Site, capsys: pytest.CaptureFixture[str]) -> None:
    file = plant(("  - name: plc-1\n", "  - name: plc-1\n    kind: safety\n"))
    code, said = said_of(file, capsys)
    assert code == 2
    assert "policies/data/grants.yaml:" in said
    assert "grant operator-level-setpoint lets somebody write to plc-1, which is a safety system" in said
    assert "grant operator-pump lets somebody write to plc-1" in said
    assert "operator-reads" not in said


def test_reading_a_safety_system_is_no_mistake(plant: Site, capsys: pytest.CaptureFixture[str]) -> None:
    file = plant(("    kind: meter", "    kind: safety"))
    code, said = said_of(file, capsys)
    assert code == 0
    assert "meter-1 is of kind safety here and meter in policies/data" in said


def test_an_asset_that_policy_does_not_know_is_a_warning(
    plant: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    file = plant(("  - name: meter-1", "  - name: meter-9"), ("2: meter-1", "2: meter-9"))
    code, said = said_of(file, capsys)
    assert code == 0
    assert f"warning: {line_of(file, '- name: meter-9')}: policy does not know meter-9" in said


def test_a_bundle_that_cannot_be_activated_is_refused(
    plant: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    file = plant()
    (file.parent / "policies" / "base" / "plant_group.rego").write_text("package base.plant_group\n\nx := \n")
    code, said = said_of(file, capsys)
    assert code == 2
    assert "policies/base/plant_group.rego:" in said


def test_a_bundle_whose_tests_refuse_it(plant: Site, capsys: pytest.CaptureFixture[str]) -> None:
    file = plant()
    rows = "cases: [{name: nobody reads, base: read, allow: false, codes: [grant.none]}]\n"
    (file.parent / "policies/tests/more.yaml").write_text(rows)
    code, said = said_of(file, capsys)
    assert code == 2
    assert "policies/tests/more.yaml:1: test nobody reads fails: allowed, expected denied" in said


@pytest.mark.parametrize(
    ("name", "old", "new", "told"),
    [
        (
            "role_bindings.yaml",
            "gateway/gw-1: [collector]",
            "gateway/gw-2: [collector]",
            "policy does not bind the role collector to the gateway itself, spiffe://demo.example/gateway/gw-1",
        ),
        (
            "grants.yaml",
            "modbus: [{table: coil, ranges: [[0, 0]]}]",
            "modbus: [{table: coil, ranges: [[0, 1]]}]\n    tags: [plc-1.pump]",
            "reaches coil 1 of plc-1, which no tag names",
        ),
        ("grants.yaml", "tags: [plc-1.level]", "tags: [plc-1.levle]", "no tag plc-1.levle is configured"),
        ("grants.yaml", "roles: [viewer]", "roles: [veiwer]", "role_bindings know no role veiwer"),
    ],
)
def test_policy_that_gives_nothing_is_a_warning(
    plant: Site, capsys: pytest.CaptureFixture[str], name: str, old: str, new: str, told: str
) -> None:
    file = plant()
    data = file.parent / "policies" / "data" / name
    text = data.read_text()
    assert text.count(old) == 1
    data.write_text(text.replace(old, new))
    code, said = said_of(file, capsys)
    assert code == 0
    (line,) = [line for line in said.splitlines() if told in line]
    own = line_of(file, "  certificate: pki/plant")
    where = own if name == "role_bindings.yaml" else f"policies/data/{name}"
    assert line.startswith(f"warning: {where}:")


def test_a_listener_without_a_conduit_is_a_warning(plant: Site, capsys: pytest.CaptureFixture[str]) -> None:
    file = plant(("zone: plant\n    units", "zone: it\n    units"))
    code, said = said_of(file, capsys)
    assert code == 0
    for asset in ("plc-1", "meter-1"):
        told = f"no conduit for modbus leads from it to plant, the zone of {asset} — add one"
        assert f"warning: {line_of(file, 'units: {1: plc-1')}: {told}" in said
