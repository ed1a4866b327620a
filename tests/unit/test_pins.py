"""What is activated is on the disk whole or not at all, and does not grow without end."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gateway.app import policies
from gateway.app.activation import Activation, Trial
from gateway.app.pins import MOST_HISTORY, Past, Pin, Pins
from gateway.app.policies import Policies
from gateway.model.moment import SECOND, Now

PIN = Pin(revision="a" * 64, over="b" * 64, by="spiffe://demo.example/person/pat", at_ns=1)


def past(number: int, *, held: bool = True) -> Past:
    return Past(revision=f"{number:064x}", serial=number, at_ns=number, by="", held=held)


def test_what_was_put_is_read_again(tmp_path: Path) -> None:
    pins = Pins(tmp_path)
    assert (pins.read(), pins.over) == ("", None)
    pins.put(pinned=PIN, history=pins.after(past(1)))
    again = Pins(tmp_path)
    assert again.read() == ""
    assert (again.state, again.over) == (pins.state, PIN.over)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pinned": 1}', '{"other": null}', '{"history": [{}]}'])
def test_what_cannot_be_read_stands_for_nothing(text: str, tmp_path: Path) -> None:
    (tmp_path / "activated.json").write_text(text)
    pins = Pins(tmp_path)
    assert "cannot be read" in pins.read()
    assert pins.over is None


def test_what_the_disk_does_not_take_has_not_changed(tmp_path: Path) -> None:
    pins = Pins(tmp_path / "nowhere")
    with pytest.raises(Exception, match="cannot be written"):
        pins.put(pinned=PIN)
    assert pins.over is None


def test_the_history_has_each_once_and_an_end(tmp_path: Path) -> None:
    pins = Pins(tmp_path)
    for number in (*range(MOST_HISTORY + 5), 7):
        pins.put(history=pins.after(past(number)))
    serials = [each.serial for each in pins.state.history]
    assert len(serials) == MOST_HISTORY
    assert serials[-1] == 7
    assert serials.count(7) == 1


def test_archives_that_stand_nowhere_go(tmp_path: Path) -> None:
    pins = Pins(tmp_path)
    for revision in (PIN.revision, PIN.over):
        pins.keep(revision, b"archive")
    pins.put(pinned=PIN)
    pins.tidy()
    assert [file.name for file in (tmp_path / "activated").iterdir()] == [f"{PIN.revision}.tar.gz"]


def test_copies_beyond_the_bound_go_but_never_one_that_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policies, "MOST_HISTORY", 3)
    alarms: list[str] = []
    parts = SimpleNamespace(
        folder=SimpleNamespace(sub=lambda name: tmp_path / name),
        decider=SimpleNamespace(revision="r1"),
        alarm=alarms.append,
    )
    for folder in ("state", "bundles"):
        (tmp_path / folder).mkdir()
    kept = Policies(cast("Any", parts))
    kept.of_source = "r2"
    for number in range(8):
        copy = tmp_path / "bundles" / f"r{number}"
        copy.mkdir()
        os.utime(copy, (number, number))
    bundle = SimpleNamespace(revision="r0")
    kept.keep(cast("Any", bundle))
    assert sorted(each.name for each in (tmp_path / "bundles").iterdir()) == ["r0", "r1", "r2", "r6", "r7"]
    assert alarms == []


def test_a_trial_ends_by_the_clock_that_never_jumps() -> None:
    """And the day on which it ends is no matter: somebody may set the machine's clock during a trial."""
    done: list[str] = []
    pins = SimpleNamespace(state=SimpleNamespace(waiting=PIN))
    used = SimpleNamespace(
        pins=pins,
        use=lambda policy, *_, **__: done.append(policy.bundle.revision),
        put=lambda **_: None,
        mark=lambda: None,
        remember=lambda *_: None,
    )
    parts = SimpleNamespace(alarm=lambda code, _: done.append(code), changed=lambda: None)
    activation = Activation(cast("Any", parts), cast("Any", used))
    before = SimpleNamespace(bundle=SimpleNamespace(revision="before"))
    until = Now(60 * SECOND, 60 * SECOND, True, 60 * SECOND)
    activation.trial = Trial(found=cast("Any", None), pin=PIN, until=until, before=cast("Any", before))
    for wall_s, mono_ns in ((10**9, 60 * SECOND - 1), (0, 1)):
        activation.sweep(Now(wall_s * SECOND, mono_ns, True, 0))
        assert done == []
    activation.sweep(Now(0, 60 * SECOND, True, 0))
    assert done == ["before", "activation_returned"]
    activation.sweep(Now(0, 61 * SECOND, True, 0))
    assert len(done) == 2
