"""The data folder: one process, one format."""

import multiprocessing
from pathlib import Path

import pytest

from gateway.model.errors import DataFolderError
from gateway.ops.folder import FORMAT, DataFolder


def test_it_is_made_private_and_names_its_format(tmp_path: Path) -> None:
    with DataFolder(tmp_path / "data") as folder:
        assert folder.path.stat().st_mode & 0o777 == 0o700
        assert (folder.path / "format").read_text() == f"{FORMAT}\n"
        assert folder.sub("keys").stat().st_mode & 0o777 == 0o700


def _try(path: Path, said: "multiprocessing.SimpleQueue[str]") -> None:
    try:
        with DataFolder(path):
            said.put("in")
    except DataFolderError as error:
        said.put(str(error))


def test_a_second_process_is_refused_while_the_first_lives(tmp_path: Path) -> None:
    said: multiprocessing.SimpleQueue[str] = multiprocessing.get_context("spawn").SimpleQueue()
    for expected in ("in use by another gateway", "in"):
        if expected != "in":
            with DataFolder(tmp_path):
                child = multiprocessing.get_context("spawn").Process(target=_try, args=(tmp_path, said))
                child.start()
                child.join(30)
        else:
            child = multiprocessing.get_context("spawn").Process(target=_try, args=(tmp_path, said))
            child.start()
            child.join(30)
        assert expected in said.get()


@pytest.mark.parametrize(("text", "says"), [(f"{FORMAT + 1}\n", "newer program"), ("odd", "does not say")])
def test_a_newer_or_odd_format_is_refused_and_nothing_is_changed(
    tmp_path: Path, text: str, says: str
) -> None:
    (tmp_path / "format").write_text(text)
    with pytest.raises(DataFolderError, match=says), DataFolder(tmp_path):
        pass
    assert (tmp_path / "format").read_text() == text
