"""Openings on disk: what is to go goes whole, however it is said; what is cut is not left in free blocks."""

from pathlib import Path

import pytest

from gateway.audit.commitment import Sealed
from gateway.audit.storage import Disk, DiskFile
from gateway.audit.vault import FOLDER, Vault

SECRET = b"ann.miller"


def vault(folder: Path, count: int) -> Vault:
    """One with so many openings."""
    made = Vault(Disk(folder))
    made.keep([Sealed(b"{}", b'["' + SECRET + b' %d"]' % n, n) for n in range(count)], 0)
    return made


@pytest.mark.parametrize(
    "gone",
    [
        [range(10), range(2, 4)],
        [range(2, 4), range(10)],
        [range(10), range(1)],
        [range(6), range(5, 10), range(3, 4)],
        [range(5), range(5, 5), range(5, 10)],
    ],
)
def test_ranges_that_overlap_go_whole(tmp_path: Path, gone: list[range]) -> None:
    """The record says that they go: none may be left because a shorter range begins inside."""
    made = vault(tmp_path, 10)
    assert made.drop(gone) == 10
    assert list(made.kept()) == []


def test_what_a_start_cuts_is_overwritten_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Openings of records that never came to be: a file that is only made shorter leaves them there."""
    vault(tmp_path, 10).close()
    (file,) = (tmp_path / FOLDER).iterdir()
    seen: list[bytes] = []
    real = DiskFile.truncate

    def truncate(self: DiskFile, size: int) -> None:
        seen.append(self.pread(1 << 20, size))
        real(self, size)

    monkeypatch.setattr(DiskFile, "truncate", truncate)
    Vault(Disk(tmp_path)).adopt(4)
    assert len(seen) == 1
    assert seen[0].strip(b"\0") == b""
    assert len([*Vault(Disk(tmp_path)).kept()]) == 4
    gone: list[bytes] = []
    take = Disk.remove

    def remove(self: Disk, name: str) -> None:
        gone.append((self.folder / name).read_bytes())
        take(self, name)

    monkeypatch.setattr(Disk, "remove", remove)
    Vault(Disk(tmp_path)).adopt(0)
    assert gone
    assert SECRET not in gone[0]
    assert not file.exists()
