"""The log as another implementation sees it: golang.org/x/mod/sumdb, behind the checksum database of Go."""

import subprocess
from pathlib import Path

import pytest

from gateway.audit.recovery import recover
from gateway.audit.signer import Signer
from gateway.audit.storage import Disk
from gateway.cli import main
from tests.conftest import find
from tests.unit.audit import world

VKEY = Signer(world.KEY, world.ORIGIN).vkey


def oracle(*arguments: object) -> "subprocess.CompletedProcess[str]":
    program = find("tlog-oracle")
    assert program is not None
    return subprocess.run(
        [program, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
    )


def data_folder(folder: Path, count: int) -> Path:
    log, _ = recover(Disk(folder / "journal"), Signer(world.KEY, world.ORIGIN), 1 << 20)
    for start in range(0, count, 1000):
        log.append([b"%d:" % i + bytes(i % 50) for i in range(start, min(start + 1000, count))])
        log.checkpoint()
    log.close()
    (folder / "journal/log.vkey").write_text(VKEY)
    return folder


@pytest.mark.needs("tlog-oracle")
@pytest.mark.parametrize("count", [1, 2, 255, 256, 257, 1000, 66_000])
def test_the_root_the_tiles_the_key_and_the_proofs_are_right_for_it(tmp_path: Path, count: int) -> None:
    data, tiles = data_folder(tmp_path, count), tmp_path / "tiles"
    assert main(["audit", "export-tiles", "--data", str(data), str(tiles)]) == 0
    proofs = []
    for index in sorted({0, count // 3, count - 1}):
        proofs.append(tmp_path / f"{index}.tlog-proof")
        assert main(["audit", "prove", "--data", str(data), str(index), "-o", str(proofs[-1])]) == 0
    said = oracle(tiles, VKEY, *proofs)
    assert said.returncode == 0, said.stderr
    assert said.stdout.splitlines() == [
        f"records {count}",
        f"tiles {count}",
        *(f"proof {proof.name.partition('.')[0]}" for proof in proofs),
    ]


@pytest.mark.needs("tlog-oracle")
def test_it_sees_a_change_too(tmp_path: Path) -> None:
    data, tiles = data_folder(tmp_path, 300), tmp_path / "tiles"
    assert main(["audit", "export-tiles", "--data", str(data), str(tiles)]) == 0
    bundle = tiles / "tile/entries/000"
    bundle.write_bytes(bundle.read_bytes().replace(b"7:", b"8:", 1))
    said = oracle(tiles, VKEY)
    assert said.returncode == 1
    assert "signed is" in said.stderr
