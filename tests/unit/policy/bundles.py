"""Bundles for tests: the shipped one, with files added or replaced."""

from pathlib import Path

from gateway.policy import bundle as bundles
from gateway.policy.bundle import Bundle
from tests.policy.questions import shipped

HEAD = "package site.demo\n\nimport future.keywords.not\n\n"
"Three lines that every site module starts with; what follows begins on line 5."


def written(to: Path, changes: dict[str, str | None]) -> Path:
    """The shipped bundle in a folder; a change of None removes the file."""
    for name, content in shipped().files.items():
        _write(to / name, content.decode())
    for name, text in changes.items():
        if text is None:
            (to / name).unlink()
        else:
            _write(to / name, text)
    return to


def changed(to: Path, changes: dict[str, str | None]) -> Bundle:
    """The same, read."""
    return bundles.read(written(to, changes))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
