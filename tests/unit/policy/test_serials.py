"""The highest serial that was active is never gone below, and never simply zero."""

import json
from pathlib import Path

import pytest
from msgspec.structs import replace

from gateway.model.errors import PolicyError
from gateway.model.moment import SECOND, Now
from gateway.policy.release import MOST_SERIAL, Release, parse
from gateway.policy.serials import MOST_BYTES, SKEW_NS, Highest, Serials, reissue
from tests.policy.questions import shipped
from tests.unit.policy.archives import NOW, WALL_S, released


@pytest.fixture
def serials(tmp_path: Path) -> Serials:
    (tmp_path / "copies").mkdir()
    return Serials(tmp_path / "serial", tmp_path / "copies")


def at(seconds: float, *, trusted: bool = True) -> Now:
    ns = int((WALL_S + seconds) * SECOND)
    return replace(NOW, wall_ns=ns, judge_ns=ns, trusted=trusted)


def test_at_first_everything_is_newer(serials: Serials) -> None:
    assert serials.highest() == Highest(0, "")
    serials.check(released(1), NOW, needed=True)


def test_lower_or_other_is_refused_and_the_same_is_not(serials: Serials) -> None:
    serials.keep(released(5))
    assert serials.highest() == Highest(5, released(5).revision)
    serials.check(released(5), NOW, needed=True)
    serials.check(released(6), NOW, needed=True)
    with pytest.raises(PolicyError, match="rolled back: this is serial 4, and 5 was active"):
        serials.check(released(4), NOW, needed=True)
    with pytest.raises(PolicyError, match="another bundle with serial 5"):
        serials.check(released(5, issued_s=WALL_S - 61), NOW, needed=True)


def test_it_only_grows_and_is_on_disk(serials: Serials, tmp_path: Path) -> None:
    serials.keep(released(5))
    serials.keep(released(4))
    serials.keep(shipped())
    assert Serials(tmp_path / "serial", tmp_path / "copies").highest().serial == 5
    assert list(tmp_path.glob("*.new")) == []


def test_a_missing_file_stands_for_the_copies(serials: Serials, tmp_path: Path) -> None:
    for serial in (3, 7, 5):
        released(serial).write_to(tmp_path / "copies" / released(serial).revision)
    shipped().write_to(tmp_path / "copies" / shipped().revision)
    released(9).write_to(tmp_path / "copies" / ".half.new")
    (tmp_path / "copies" / "spoilt").mkdir()
    (tmp_path / "copies" / "spoilt" / "release.json").write_text("{")
    assert serials.highest() == Highest(7, released(7).revision)
    serials.keep(released(7))
    assert json.loads((tmp_path / "serial").read_text())["serial"] == 7


SPOILT = [b"", b"7", b"{", b"[]", b'{"serial": "7", "revision": ""}', b'{"serial": 7}', b"\xff", b" " * 4000]


@pytest.mark.parametrize("text", SPOILT)
def test_a_spoilt_file_is_told_and_left(serials: Serials, tmp_path: Path, text: bytes) -> None:
    released(3).write_to(tmp_path / "copies" / released(3).revision)
    (tmp_path / "serial").write_bytes(text)
    with pytest.raises(PolicyError, match="says no serial"):
        serials.check(released(9), NOW, needed=True)
    serials.keep(released(9))
    assert (tmp_path / "serial").read_bytes() == text


def test_a_file_is_not_read_beyond_its_bound(serials: Serials, tmp_path: Path) -> None:
    stated = json.dumps({"serial": 3, "revision": "0" * 64})
    (tmp_path / "serial").write_text(stated.ljust(MOST_BYTES))
    assert serials.highest().serial == 3
    (tmp_path / "serial").write_text(stated.ljust(MOST_BYTES + 1) + "}")
    assert serials.highest().serial == 3, "what is read is whole"
    (tmp_path / "serial").write_text(stated[:-1].ljust(MOST_BYTES + 1) + "}")
    with pytest.raises(PolicyError, match="says no serial"):
        serials.highest()


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "serial").mkdir()
    with pytest.raises(PolicyError, match="cannot be read"):
        Serials(tmp_path / "serial", tmp_path).highest()


def test_without_a_release_only_where_none_is_needed(serials: Serials) -> None:
    serials.keep(released(5))
    serials.check(shipped(), NOW, needed=False)
    with pytest.raises(PolicyError, match="is missing"):
        serials.check(shipped(), NOW, needed=True)
    with pytest.raises(PolicyError, match="rolled back"):
        serials.check(released(4), NOW, needed=False)


def test_times(serials: Serials) -> None:
    until = released(1, expires_s=WALL_S)
    serials.check(until, at(-1), needed=True)
    for trusted in (True, False):
        with pytest.raises(PolicyError, match="expired at 2026-11-18T"):
            serials.check(until, at(0, trusted=trusted), needed=True)
    early = released(1, issued_s=WALL_S)
    serials.check(early, at(-SKEW_NS / SECOND), needed=True)
    with pytest.raises(PolicyError, match="issued in the future"):
        serials.check(early, at(-SKEW_NS / SECOND - 1), needed=True)
    serials.check(early, at(-400 * 86_400, trusted=False), needed=True)


def test_an_old_content_comes_back_as_a_new_release(serials: Serials) -> None:
    serials.keep(released(5))
    again = reissue(released(4), 6, WALL_S * SECOND + 5)
    assert again.release == Release(serial=6, issued_ns=WALL_S * SECOND, reissue_of=released(4).revision)
    assert again.revision not in (released(4).revision, released(5).revision)
    assert (again.modules, again.data) == (released(4).modules, released(4).data)
    serials.check(again, NOW, needed=True)


def test_a_release_is_read_as_it_was_written() -> None:
    for release in (
        Release(serial=1, issued_ns=0),
        Release(
            serial=MOST_SERIAL,
            issued_ns=WALL_S * SECOND,
            expires_ns=(WALL_S + 1) * SECOND,
            reissue_of="0" * 64,
        ),
    ):
        assert parse(release.encode()) == release


GOOD = {"serial": 3, "issued": "2026-11-23T10:00:00Z", "expires": None, "reissue_of": None}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"serial": 0}, "no positive integer"),
        ({"serial": -1}, "no positive integer"),
        ({"serial": True}, "no positive integer"),
        ({"serial": 1.0}, "no positive integer"),
        ({"serial": "1"}, "no positive integer"),
        ({"serial": MOST_SERIAL + 1}, "no positive integer"),
        ({"issued": None}, "where a time"),
        ({"issued": "2026-11-23"}, "where a time"),
        ({"issued": "2026-13-23T10:00:00Z"}, "where a time"),
        ({"issued": "2026-11-23T10:00:00+01:00"}, "where a time"),
        ({"expires": 7}, "where a time"),
        ({"expires": "2026-11-23T10:00:00Z"}, "expires before"),
        ({"reissue_of": "x"}, "without a revision"),
        ({"reissue_of": 7}, "without a revision"),
        ({"more": 1}, "other fields"),
    ],
)
def test_a_release_says_exactly_what_it_must(changes: dict[str, object], why: str) -> None:
    parse(json.dumps(GOOD).encode())
    with pytest.raises(PolicyError, match=why):
        parse(json.dumps({**GOOD, **changes}).encode())


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b'{"serial":1,"serial":1}', b"\xff", b"[" * 100_000])
def test_a_release_that_is_none(text: bytes) -> None:
    with pytest.raises(PolicyError, match=r"release\.json"):
        parse(text)
