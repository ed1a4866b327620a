"""The demo says no before it starts anything, where it cannot do what was asked."""

from pathlib import Path

import pytest

from gateway.cli import main
from gateway.demo import world


def test_a_folder_with_something_in_it_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "precious").write_text("mine")
    assert main(["demo", "--keep", str(tmp_path)]) == 2
    assert "nothing is overwritten" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


def test_a_required_part_that_is_missing_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world, "mosquitto", lambda: None)
    assert main(["demo", "--keep", str(tmp_path / "world"), "--require", "mqtt"]) == 2
    assert "mosquitto is not installed" in capsys.readouterr().err
    assert not (tmp_path / "world").exists()


def test_opc_ua_that_is_missing_is_an_error_where_it_is_required(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world, "asyncua", lambda: False)
    assert main(["demo", "--keep", str(tmp_path / "world"), "--require", "opcua"]) == 2
    assert "asyncua is not installed" in capsys.readouterr().err
    assert not (tmp_path / "world").exists()


def test_waiting_ends_and_says_for_what() -> None:
    with pytest.raises(world.DemoError, match=r"waited 0 s in vain: the tide"):
        world.until("the tide", 0.2, lambda: None)


def test_free_ports_are_free_and_different() -> None:
    ports = world.free_ports(20)
    assert len(set(ports)) == 20
