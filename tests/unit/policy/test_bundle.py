"""A bundle is what its files say, whoever reads it; what two readers could read differently is refused."""

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.model.errors import PolicyError
from gateway.policy import archive
from gateway.policy import bundle as bundles
from gateway.policy.bundle import digest, from_members, line_of, read
from gateway.policy.loader import load
from gateway.shipped import folder as shipped_folder
from tests.policy.questions import shipped
from tests.unit.policy.archives import released
from tests.unit.policy.bundles import changed, written


def test_a_written_bundle_is_the_same_bundle(tmp_path: Path) -> None:
    shipped().write_to(tmp_path / "a")
    again = read(tmp_path / "a")
    assert again == shipped()
    again.write_to(tmp_path / "b")
    assert read(tmp_path / "b").revision == shipped().revision
    load(again)


def test_a_stored_copy_that_was_changed_is_refused(tmp_path: Path) -> None:
    shipped().write_to(tmp_path)
    grants = tmp_path / "data" / "grants.yaml"
    grants.write_text(grants.read_text() + "\n")
    with pytest.raises(PolicyError, match=r"\.manifest:1: says revision"):
        read(tmp_path)


def test_the_digest_tells_names_and_contents_apart() -> None:
    folders: list[dict[str, bytes]] = [
        {},
        {"a": b""},
        {"a": b"b"},
        {"ab": b""},
        {"a": b"", "b": b""},
        {"b": b"", "a": b"x"},
        {"a": b"\n1 0\nb"},
    ]
    assert len({digest(files) for files in folders}) == len(folders)
    assert digest({"a": b"1", "b": b"2"}) == digest({"b": b"2", "a": b"1"})


def test_what_is_no_part_of_a_bundle_does_not_change_it(tmp_path: Path) -> None:
    extra = {"README.md": "x", "schemas/x.json": "{", ".git/config": "x", "data/.grants.yaml.swp": "x"}
    assert changed(tmp_path, {**extra, "data/grants.yaml.part": "x"}).revision == shipped().revision


def test_every_byte_counts(tmp_path: Path) -> None:
    text = shipped().files["data/grants.yaml"].decode()
    assert changed(tmp_path, {"data/grants.yaml": text + "\n"}).revision != shipped().revision


def test_data_is_yaml_1_2(tmp_path: Path) -> None:
    found = changed(tmp_path, {"data/x.yaml": "x: {a: no, b: 012, c: on, d: 1_000, e: ~, f: 0o17}\n"}).data[
        "x"
    ]
    assert found == {"a": "no", "b": 12, "c": "on", "d": found["d"], "e": None, "f": 15}


def test_json_data_is_the_same_data(tmp_path: Path) -> None:
    text = json.dumps({"windows": shipped().data["windows"]})
    found = changed(tmp_path, {"data/windows.yaml": None, "data/windows.json": text})
    assert found.data == shipped().data
    assert found.revision != shipped().revision


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="no such folder"):
        read(tmp_path / "none")


def test_a_file_that_is_not_utf_8(tmp_path: Path) -> None:
    folder = written(tmp_path, {})
    (folder / "data" / "x.yaml").write_bytes(b"a: \xff\n")
    with pytest.raises(PolicyError, match=r"data/x.yaml:1: is not UTF-8"):
        read(folder)


def test_too_many_files_and_too_many_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = written(tmp_path, {})
    monkeypatch.setattr(bundles, "MOST_FILES", len(shipped().files))
    read(folder)
    monkeypatch.setattr(bundles, "MOST_FILES", len(shipped().files) - 1)
    with pytest.raises(PolicyError, match="too large"):
        read(folder)
    monkeypatch.setattr(bundles, "MOST_FILES", 2_000)
    monkeypatch.setattr(bundles, "MOST_BYTES", sum(map(len, shipped().files.values())) - 1)
    with pytest.raises(PolicyError, match="too large"):
        read(folder)


def test_lines_of_places_in_data() -> None:
    text = "a:\n  - x: 1\n    y: 2\n  - {z: 3}\nb: 1\n"
    places = [(), ("a",), ("a", 0), ("a", 0, "y"), ("a", 1, "z"), ("b",), ("b", "c"), ("a", 7)]
    assert [line_of(text, place) for place in places] == [1, 1, 2, 3, 4, 5, 5, 1]


def test_a_few_lines_of_aliases_are_no_ten_thousand_million_values(tmp_path: Path) -> None:
    shutil.copytree(shipped_folder("policies"), tmp_path / "policies")
    lines = ["a: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    (tmp_path / "policies" / "data" / "bomb.yaml").write_text("\n".join(lines) + "\n")
    with pytest.raises(PolicyError, match="aliases counted each time"):
        read(tmp_path / "policies")


def test_an_archive_is_the_same_bundle_as_its_folder(tmp_path: Path) -> None:
    bundle = released(7)
    bundle.write_to(tmp_path / "folder")
    (tmp_path / "a.tar.gz").write_bytes(archive.pack(bundle.members()))
    assert read(tmp_path / "folder") == read(tmp_path / "a.tar.gz") == bundle
    assert read(tmp_path / "a.tar.gz").members() == bundle.members()


def test_a_release_is_part_of_the_revision(tmp_path: Path) -> None:
    assert len({shipped().revision, released(1).revision, released(2).revision}) == 3
    again = changed(tmp_path, {"release.json": released(2).files["release.json"].decode()})
    assert again == released(2)


def test_a_release_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r"release\.json"):
        changed(tmp_path, {"release.json": "{}"})


@pytest.mark.parametrize(
    "name", ["README.md", "x/y.rego", ".hidden", "core/.x.rego", "release.json/x", "core"]
)
def test_an_archive_holds_nothing_but_a_bundle(name: str) -> None:
    with pytest.raises(PolicyError, match="is no part of a bundle"):
        from_members({**shipped().members(), name: b""})


def _lie(name: str, key: str, value: object) -> dict[str, bytes]:
    members = shipped().members()
    said = json.loads(members[name])
    said[key] = value
    return {**members, name: json.dumps(said).encode()}


OTHERWISE: dict[str, Callable[[], dict[str, bytes]]] = {
    "no data": lambda: {name: text for name, text in shipped().members().items() if name != "data.json"},
    "no manifest": lambda: {name: text for name, text in shipped().members().items() if name != ".manifest"},
    "other grants": lambda: _lie("data.json", "grants", []),
    "other index": lambda: _lie("data.json", "grant_index", {"assets": {}, "others": {}}),
    "other stamp": lambda: _lie("data.json", "bundle", {"revision": "0" * 64}),
    "more data": lambda: _lie("data.json", "more", 1),
    "true for 1": lambda: _lie("data.json", "windows", True),
    "other revision": lambda: _lie(".manifest", "revision", ""),
    "other roots": lambda: _lie(".manifest", "roots", [""]),
    "older Rego": lambda: _lie(".manifest", "rego_version", 0),
    "not JSON": lambda: {**shipped().members(), "data.json": b"{"},
    "UTF-16": lambda: {
        **shipped().members(),
        ".manifest": shipped().members()[".manifest"].decode().encode("utf-16"),
    },
    "twice": lambda: {
        **shipped().members(),
        "data.json": b'{"a": 1, ' + shipped().members()["data.json"][1:],
    },
}


@pytest.mark.parametrize("what", OTHERWISE)
def test_what_opa_reads_says_what_the_files_say(what: str) -> None:
    with pytest.raises(PolicyError, match="is missing, or says something else than the files"):
        from_members(OTHERWISE[what]())


def test_the_form_of_what_opa_reads_is_free() -> None:
    members = shipped().members()
    for name in ("data.json", ".manifest"):
        members[name] = json.dumps(dict(reversed(json.loads(members[name]).items())), indent=2).encode()
    assert from_members(members) == shipped()


def test_data_that_does_not_fit_its_schema_is_left_to_the_loader() -> None:
    members = {**shipped().members(), "data/grants.yaml": b"grants: [7]\n"}
    with pytest.raises(PolicyError, match=r"data/grants\.yaml:1"):
        load(from_members(members))


@pytest.mark.parametrize(
    "name",
    ["data/data.yaml", "data/data.json", "tests/patch.json", "tests/x/plan.json", "data/mysignatures.json"],
)
def test_names_that_opa_takes_for_its_own_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(PolicyError, match="OPA takes a file of this name for its own"):
        changed(tmp_path, {name: "{}"})


@pytest.mark.parametrize("name", ["MOST_BYTES", "MOST_FILES"])
def test_an_archive_has_the_bounds_of_a_folder(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    files = shipped().files
    holds = sum(map(len, files.values())) if name == "MOST_BYTES" else len(files)
    monkeypatch.setattr(bundles, name, holds)
    from_members(shipped().members())
    monkeypatch.setattr(bundles, name, holds - 1)
    with pytest.raises(PolicyError, match="too large"):
        from_members(shipped().members())


def test_a_long_object_is_read_in_time(tmp_path: Path) -> None:
    rows = ",".join(f'"k{number}": {number}' for number in range(50_000))
    began = time.process_time()
    changed(tmp_path, {"data/x.json": f'{{"x": {{{rows}}}}}'})
    assert time.process_time() - began < 5
