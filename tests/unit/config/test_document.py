"""The text of a configuration: YAML 1.2, lines, and what is wrong with the text itself."""

from pathlib import Path

import pytest

from gateway.config import document
from gateway.config.document import open_document
from gateway.model.errors import ConfigError


def write(folder: Path, text: str) -> Path:
    path = folder / "gateway.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"),
        ("no", "no"),
        ("Yes", "Yes"),
        ("off", "off"),
        ("true", True),
        ("false", False),
        ("12:30", "12:30"),
        ("2026-01-01", "2026-01-01"),
        ("0-99", "0-99"),
        ("010", 10),
        ("0o17", 15),
        ("0x1F", 31),
        ("1.5e3", 1500.0),
        ("~", None),
        ("'1'", "1"),
    ],
)
def test_yaml_is_1_2(tmp_path: Path, text: str, value: object) -> None:
    found = open_document(write(tmp_path, f"a: {text}\n"), "gateway.yaml").value["a"]
    assert found == value
    assert type(found) is type(value)


def test_every_key_written_twice_is_named_with_both_lines(tmp_path: Path) -> None:
    read = open_document(write(tmp_path, "a: 1\nb: {c: 1, c: 2}\na: 2\n"), "gateway.yaml")
    assert [(fault.where, fault.what) for fault in read.faults] == [
        ("gateway.yaml:2", "c is written twice; first in line 2"),
        ("gateway.yaml:3", "a is written twice; first in line 1"),
    ]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: 1\nb: !!python/object:os.system x\n", 2, "tag python/object"),
        ("a: 1\nb: !!set {x, y}\n", 2, "tag set"),
        ("a: .nan\n", 1, ".nan"),
        ("a: 1\nb: 1e999\n", 2, "1e999"),
        ("a: !!int x\n", 1, "'x' is not"),
        ("a: &x [1]\n\nb: *x\n", 3, "alias"),
        ("a: &x [*x]\n", 1, "alias"),
        ("? [a]\n: 1\n", 1, "plain word"),
        ('a: "\\ud800"\n', 1, "not a value"),
        ('"\\ud800": 1\n', 1, "plain word"),
    ],
)
def test_odd_values_are_faults_and_the_rest_is_read(tmp_path: Path, text: str, line: int, words: str) -> None:
    (fault,) = open_document(write(tmp_path, text), "gateway.yaml").faults
    assert fault.where == f"gateway.yaml:{line}"
    assert words in fault.what
    assert fault.mend


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: [1\nb: 2\n", 2, "not YAML"),
        ("a: 1\n\tb: 2\n", 2, "not YAML"),
        ("a: 1\n---\nb: 2\n", 2, "not YAML"),
        ("", 1, "empty"),
        ("# only a comment\n", 1, "empty"),
        ("%YAML 1.1\n---\na: on\n", 1, "YAML 1.1"),
        ("a: \x01\n", 1, "not YAML"),
        ("[" * 5000, 1, "nested too deep"),
    ],
)
def test_what_is_no_document_is_refused_with_its_line(
    tmp_path: Path, text: str, line: int, words: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        open_document(write(tmp_path, text), "gateway.yaml")
    (fault,) = caught.value.faults
    assert fault.where == f"gateway.yaml:{line}"
    assert words in fault.what
    assert fault.mend


def test_bytes_that_are_not_utf8_are_found(tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_bytes(b"a: 1\nb: \xff\n")
    with pytest.raises(ConfigError, match=r"gateway\.yaml:2: is not UTF-8"):
        open_document(path, "gateway.yaml")


def test_a_file_beyond_the_bound_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document, "MOST_BYTES", 10)
    assert open_document(write(tmp_path, "a: 123456\n"), "gateway.yaml").value == {"a": 123456}
    with pytest.raises(ConfigError, match="more than 10 bytes"):
        open_document(write(tmp_path, "a: 1234567\n"), "gateway.yaml")


def test_a_missing_value_is_placed_at_what_is_around_it(tmp_path: Path) -> None:
    read = open_document(write(tmp_path, "a:\n  - b: 1\n    c: 2\n  - d: 3\n"), "gateway.yaml")
    assert read.where(("a", 0, "c")) == "gateway.yaml:3"
    assert read.where(("a", 1, "missing")) == "gateway.yaml:4"
    assert read.where(("missing",)) == "gateway.yaml:1"
