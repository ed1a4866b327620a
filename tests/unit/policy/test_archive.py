"""An archive is read in the one way that every reader agrees on, or not at all."""

import gzip
import io
import random
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.model.errors import PolicyError
from gateway.policy import archive
from gateway.policy.archive import pack, read, unpack
from tests.unit.policy.archives import Signer, released

MEMBERS = {"core/a.rego": b"package a\n", "data/b.yaml": b"x" * 512, "release.json": b"", "data.json": b"{}"}


def tar_of(*entries: tuple[tarfile.TarInfo, bytes], form: int = tarfile.USTAR_FORMAT) -> bytes:
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w", format=form) as tar:
        for entry, content in entries:
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return whole.getvalue()


def named(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, link
    return entry


def one(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", form: int = tarfile.USTAR_FORMAT) -> bytes:
    return tar_of((named(name, kind, link), b""), form=form)


PLAIN = tar_of((named("core/a.rego"), b"package a\n"))


def changed(at: int, by: bytes, *, honest: bool = True) -> bytes:
    """PLAIN with other bytes in its first header, the checksum right again if `honest`."""
    tar = bytearray(PLAIN)
    tar[at : at + len(by)] = by
    if honest:
        tar[148:156] = b" " * 8
        tar[148:156] = b"%06o\0 " % sum(tar[:512])
    return bytes(tar)


def test_what_is_packed_is_what_is_read() -> None:
    assert unpack(pack(MEMBERS)) == MEMBERS


def test_equal_members_give_equal_bytes() -> None:
    assert pack(MEMBERS) == pack(dict(reversed(MEMBERS.items())))


def test_other_programs_read_it(tmp_path: Path) -> None:
    (tmp_path / "a.tar.gz").write_bytes(pack(MEMBERS))
    subprocess.run(["tar", "xzf", "a.tar.gz"], cwd=tmp_path, check=True)
    assert {name: (tmp_path / name).read_bytes() for name in MEMBERS} == MEMBERS


@pytest.mark.parametrize("form", ["ustar", "gnu", "v7"])
def test_what_tar_writes_is_read_or_refused_whole(tmp_path: Path, form: str) -> None:
    for name, content in MEMBERS.items():
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(content)
    made = tmp_path / "a.tar.gz"
    subprocess.run(["tar", f"--format={form}", "-C", tmp_path / "in", "-czf", made, "."], check=True)
    if form == "v7":
        with pytest.raises(PolicyError, match="not plain ustar"):
            read(made)
    else:
        assert read(made) == MEMBERS


def test_a_long_name_is_read_as_every_reader_reads_it(tmp_path: Path) -> None:
    name = "data/" + "d" * 90 + "/" + "f" * 90 + ".yaml"
    assert unpack(pack({name: b"1"})) == {name: b"1"}
    with pytest.raises(PolicyError, match="too long"):
        pack({"data/" + "f" * 120: b""})


SPOILT: dict[str, tuple[Callable[[], bytes], str]] = {
    "symlink": (lambda: one("core/a", tarfile.SYMTYPE, "/etc/passwd"), "neither file nor folder"),
    "hard link": (lambda: one("core/a", tarfile.LNKTYPE, "core/b"), "neither file nor folder"),
    "link on a file": (lambda: changed(157, b"/etc/passwd"), "link"),
    "device": (lambda: one("core/a", tarfile.CHRTYPE), "neither file nor folder"),
    "pipe": (lambda: one("core/a", tarfile.FIFOTYPE), "neither file nor folder"),
    "contiguous": (lambda: one("core/a", tarfile.CONTTYPE), "neither file nor folder"),
    "pax header": (lambda: one("core/" + "ä" * 99, form=tarfile.PAX_FORMAT), "neither file nor folder"),
    "long GNU name": (lambda: one("core/" + "a" * 120, form=tarfile.GNU_FORMAT), "neither file nor"),
    "GNU with more in its header": (lambda: changed(257, b"ustar  \0" + b"\0" * 80 + b"7"), "plain ustar"),
    "no magic": (lambda: changed(257, b"\0" * 8), "plain ustar"),
    "absolute": (lambda: changed(0, b"/etc/a.rego"), "called '/etc/a.rego'"),
    "upwards": (lambda: changed(0, b"../a/b.rego"), "called"),
    "upwards inside": (lambda: changed(0, b"a/../b.rego"), "called"),
    "dot inside": (lambda: changed(0, b"a/./bb.rego"), "called"),
    "empty part": (lambda: changed(0, b"a//bbb.rego"), "called"),
    "backslash": (lambda: changed(0, b"a\\b/cc.rego"), "called"),
    "line feed": (lambda: changed(0, b"core/\na.rego"), "called"),
    "not UTF-8": (lambda: changed(0, b"core/\xff.rego"), "not UTF-8"),
    "no name": (lambda: changed(0, b"\0" * 12), "called"),
    "checksum": (lambda: changed(0, b"b", honest=False), "wrong checksum"),
    "size in binary": (lambda: changed(124, b"\x80" + b"\0" * 10 + b"\n"), "size"),
    "negative size": (lambda: changed(124, b"-0000000012"), "size"),
    "size beyond the end": (lambda: changed(124, b"00000077777"), "middle of a member"),
    "folder with content": (lambda: changed(156, b"5"), "size"),
    "bytes after content": (lambda: PLAIN[:600] + b"x" + PLAIN[601:], "between its members"),
    "no end": (lambda: PLAIN[:1024], "middle of a member"),
    "half an end": (lambda: PLAIN[:1536], "no end"),
    "bytes after the end": (lambda: PLAIN[:-1] + b"x", "behind its last member"),
    "member after the end": (lambda: PLAIN + PLAIN, "behind its last member"),
    "two of a name": (lambda: tar_of((named("a"), b"1"), (named("a"), b"2")), "two members a"),
    "two of a name, dotted": (lambda: tar_of((named("a"), b"1"), (named("./a"), b"2")), "two members a"),
    "empty": (lambda: b"", "middle of a member"),
}


@pytest.mark.parametrize("what", SPOILT)
def test_what_readers_could_differ_about_is_refused(what: str) -> None:
    make, why = SPOILT[what]
    with pytest.raises(PolicyError, match=why):
        unpack(gzip.compress(make()))


def test_the_tar_that_these_are_made_from_is_fine() -> None:
    assert unpack(gzip.compress(PLAIN)) == {"core/a.rego": b"package a\n"}
    assert unpack(gzip.compress(changed(0, b"core/b.rego"))) == {"core/b.rego": b"package a\n"}


def test_a_truncated_archive_is_refused_wherever_it_ends(tmp_path: Path) -> None:
    whole = Signer(tmp_path).archive(released())
    ends = [*range(12), *range(len(whole) - 12, len(whole)), *range(12, len(whole) - 12, len(whole) // 50)]
    for end in ends:
        with pytest.raises(PolicyError):
            unpack(whole[:end])
    assert len(ends) > 70


def test_a_flipped_bit_gives_the_same_members_or_none() -> None:
    whole = pack(MEMBERS)
    dice = random.Random(7)  # noqa: S311
    refused = 0
    for _ in range(400):
        spoilt = bytearray(whole)
        spoilt[dice.randrange(len(whole))] ^= 1 << dice.randrange(8)
        try:
            assert unpack(bytes(spoilt)) == MEMBERS  # in the time or the system of the gzip header
        except PolicyError:
            refused += 1
    assert refused > 350


@pytest.mark.parametrize("rider", [b"x", b"\0", gzip.compress(b""), gzip.compress(PLAIN)])
def test_nothing_rides_along_behind_the_stream(rider: bytes) -> None:
    with pytest.raises(PolicyError, match="behind its end"):
        unpack(pack(MEMBERS) + rider)


def test_what_is_no_gzip_is_refused() -> None:
    for data in (b"", b"x", PLAIN, b"\x1f\x8b"):
        with pytest.raises(PolicyError, match=r"gzip|truncated"):
            unpack(data)


def test_bounds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    whole = pack(MEMBERS)
    monkeypatch.setattr(archive, "MOST_PACKED", len(whole))
    assert unpack(whole) == MEMBERS
    file = tmp_path / "a.tar.gz"
    file.write_bytes(whole + b"\0")
    with pytest.raises(PolicyError, match="longer than"):
        read(file)
    with pytest.raises(PolicyError, match="longer than"):
        unpack(whole + b"\0")
    size = len(gzip.decompress(whole))
    monkeypatch.setattr(archive, "MOST_UNPACKED", size + 1)
    assert unpack(whole) == MEMBERS
    monkeypatch.setattr(archive, "MOST_UNPACKED", size - 1)
    with pytest.raises(PolicyError, match="unpacks to more"):
        unpack(whole)


def test_a_bomb_is_refused_before_it_unpacks() -> None:
    bomb = gzip.compress(bytes(archive.MOST_UNPACKED + 1), compresslevel=1)
    with pytest.raises(PolicyError, match="unpacks to more"):
        unpack(bomb)


@pytest.mark.parametrize(
    ("kind", "most"), [(tarfile.REGTYPE, "MOST_MEMBERS"), (tarfile.DIRTYPE, "MOST_FOLDERS")]
)
def test_too_many_members(monkeypatch: pytest.MonkeyPatch, kind: bytes, most: str) -> None:
    tar = gzip.compress(tar_of(*[(named(f"d/{number}", kind), b"") for number in range(5)]))
    monkeypatch.setattr(archive, most, 5)
    unpack(tar)
    monkeypatch.setattr(archive, most, 4)
    with pytest.raises(PolicyError, match="more than"):
        unpack(tar)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="cannot be read"):
        read(tmp_path / "none.tar.gz")
