"""A bundle is what its files say, whoever reads it; what two readers could read differently is refused."""

import json
import shutil
from pathlib import Path

import pytest

from gateway.model.errors import PolicyError
from gateway.policy import bundle as bundles
from gateway.policy.bundle import digest, line_of, read
from gateway.policy.loader import load
from gateway.shipped import folder as shipped_folder
from tests.policy.questions import shipped
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
