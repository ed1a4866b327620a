"""The example of docs/reference/configuration.md, in a folder where everything that it names is there."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[3] / "docs" / "reference" / "configuration.md"

FILES = (
    "pki/plant/anchors.pem",
    "pki/plant/crl.pem",
    "pki/plant/issued/gw-1.pem",
    "pki/it/anchors.pem",
    "pki/it/crl.pem",
    "pki/it/issued/gw-1.pem",
)
KEYS = ("pki/plant/issued/gw-1.key", "pki/plant/issued/log-1.key", "pki/it/issued/gw-1.key")


def example() -> str:
    """The YAML of the page."""
    found = re.search(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture
def site(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes the example with pieces of its text replaced; its files are placeholders."""
    (tmp_path / "policies").mkdir()
    for name in (*FILES, *KEYS):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(0o600)

    def write(*changes: tuple[str, str], more: str = "") -> Path:
        text = example()
        for old, new in changes:
            assert text.count(old) == 1, f"{old!r} is {text.count(old)} times in the example"
            text = text.replace(old, new)
        file = tmp_path / "gateway.yaml"
        file.write_text(text + more)
        return file

    return write


def line_of(file: Path, words: str) -> str:
    """`gateway.yaml:12`: where these words stand, once; a line break among them is the end of the line."""
    lines = [number for number, line in enumerate(file.read_text().splitlines(True), 1) if words in line]
    assert len(lines) == 1, f"{words!r} is in lines {lines}"
    return f"{file.name}:{lines[0]}"
