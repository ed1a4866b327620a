"""Whatever ends the demo, no process and no private key stays behind."""

import signal
from pathlib import Path

import pytest

from tests.e2e.conftest import Demo, gone


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda n: n.name)
def test_nothing_is_left(tmp_path: Path, number: signal.Signals) -> None:
    demo = Demo(temporary=tmp_path)
    assert len(demo.pids) >= 4
    code = demo.end(number)
    assert code == (-9 if number == signal.SIGKILL else 0), demo.errors.read_text()
    assert gone(demo.left), demo.left()
    assert gone(demo.folder.exists), list(demo.folder.rglob("*"))


def test_a_kept_folder_stays_and_is_not_taken_twice(demo: Demo) -> None:
    assert demo.end() == 0
    assert (demo.folder / "demo.json").exists()
