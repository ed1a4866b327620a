"""One record's proof convinces on a machine without the product; proofs from tiles are those of RFC 6962."""

import base64
import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.audit import tree, verify
from gateway.audit.log import Log
from gateway.audit.note import opened
from gateway.audit.proof import Hashes, growth_proof, reading, record_proof
from gateway.audit.recovery import recover
from gateway.audit.signer import Signer
from gateway.audit.storage import Disk
from gateway.audit.tiles import HASH, WIDTH, path
from gateway.cli import audit as commands
from gateway.cli import main
from gateway.model.errors import JournalError
from tests.unit.audit import world

SIGNER = Signer(world.KEY, world.ORIGIN)
KEY = verify.verifier_key(SIGNER.vkey)
COUNT = 1000


def content(index: int) -> bytes:
    return json.dumps({"id": f"{index:026d}", "kind": "config", "wall_ns": index}).encode()


def grown(folder: Path, start: int, end: int) -> Log:
    log, _ = recover(Disk(folder), Signer(world.KEY, world.ORIGIN), 1 << 20)
    log.append([content(i) for i in range(start, end)])
    log.checkpoint()
    return log


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder whose journal was signed at 700 and at 1000 records; the first checkpoint was kept."""
    folder = tmp_path_factory.mktemp("data")
    grown(folder / "journal", 0, 700).close()
    shutil.copy(folder / "journal/checkpoint", folder / "kept")
    log = grown(folder / "journal", 700, COUNT)
    log.append([b'{"kind":"config"}'])
    log.close()
    (folder / "journal/log.vkey").write_text(SIGNER.vkey)
    return folder


def tiles(leaves: list[bytes]) -> dict[str, bytes]:
    """The tiles of a tree, by their names, made level by level from the definition."""
    made: dict[str, bytes] = {}
    level, row = 0, leaves
    while row:
        for number in range(-(-len(row) // WIDTH)):
            part = row[number * WIDTH : (number + 1) * WIDTH]
            made[path(level, number, len(part))] = b"".join(part)
        row = [tree.root(row[i : i + WIDTH]) for i in range(0, len(row) - WIDTH + 1, WIDTH)]
        level += 1
    return made


LEAVES = [tree.leaf(i.to_bytes(3, "big")) for i in range(70_000)]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_paths_from_tiles_are_those_of_the_definition(draw: st.DataObject) -> None:
    size = draw.draw(st.integers(1, 1200))
    index, old = draw.draw(st.integers(0, size - 1)), draw.draw(st.integers(1, size))
    leaves = LEAVES[:size]
    hashes = Hashes(tiles(leaves).get, size)
    assert hashes.root() == tree.root(leaves)
    assert hashes.inclusion(index) == tree.inclusion(index, leaves)
    assert hashes.consistency(old) == tree.consistency(old, leaves)
    root, before = tree.root(leaves), tree.root(leaves[:old])
    assert verify.included(leaves[index], index, size, hashes.inclusion(index), root)
    assert verify.grown(old, before, size, root, hashes.consistency(old))


def test_three_levels_of_tiles() -> None:
    hashes = Hashes(tiles(LEAVES).get, len(LEAVES))
    root = hashes.root()
    for index in (0, 255, 256, 65_535, 65_536, 69_999):
        assert tree.included(LEAVES[index], index, len(LEAVES), hashes.inclusion(index), root)
    assert tree.consistent(65_536, len(LEAVES), tree.root(LEAVES[:65_536]), root, hashes.consistency(65_536))


def test_a_proof_for_the_wrong_index_record_size_or_root_does_not_hold() -> None:
    size = 300
    leaves = LEAVES[:size]
    found, root = tree.inclusion(77, leaves), tree.root(leaves)
    assert verify.included(leaves[77], 77, size, found, root)
    assert not verify.included(leaves[78], 77, size, found, root)
    assert not verify.included(leaves[77], 78, size, found, root)
    assert not verify.included(leaves[77], 77, size, found[:-1], root)
    assert not verify.included(leaves[77], 77, size, [*found, root], root)
    assert not verify.included(leaves[77], 77, 77, found, root)
    assert not verify.included(leaves[77], 77, size, found, leaves[0])


def prove(data: Path, *arguments: str) -> int:
    return main(["audit", "prove", "--data", str(data), *arguments])


@pytest.mark.parametrize("index", [0, 255, 256, 699, COUNT - 1])
def test_every_record_proves(data: Path, tmp_path: Path, index: int) -> None:
    file = tmp_path / "record.tlog-proof"
    assert prove(data, str(index), "-o", str(file)) == 0
    shown = verify.prove_record(file.read_bytes(), KEY)
    assert (shown.ok, shown.index, shown.size) == (True, index, COUNT)
    assert shown.record == content(index).decode()
    assert verify.prove_record(file.read_bytes(), KEY, content(index)).ok
    assert not verify.prove_record(file.read_bytes(), KEY, content(index + 1)).ok


def test_by_its_ulid_and_never_over_a_file(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "record.tlog-proof"
    assert prove(data, f"{42:026d}", "-o", str(file)) == 0
    assert verify.prove_record(file.read_bytes(), KEY).index == 42
    assert prove(data, "43", "-o", str(file)) == 2, "it is somebody's evidence"
    assert verify.prove_record(file.read_bytes(), KEY).index == 42


def test_what_is_not_signed_or_not_there_is_not_proved(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prove(data, str(COUNT), "-o", str(tmp_path / "a")) == 1
    assert "not signed yet" in capsys.readouterr().err
    assert prove(data, "77777", "-o", str(tmp_path / "a")) == 1
    assert prove(data) == 2
    assert not (tmp_path / "a").exists()


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_proof_that_was_changed_anywhere_shows_nothing_else(data: Path, draw: st.DataObject) -> None:
    """Whatever is flipped, cut or put in: the file says the same as before, or nothing."""
    journal = data / "journal"
    note = (journal / "checkpoint").read_bytes()
    made = record_proof(42, content(42), opened(note, SIGNER.verifier), note, reading(journal))
    at = draw.draw(st.integers(0, len(made) - 1))
    other = draw.draw(st.binary(max_size=3).filter(lambda b: b != made[at : at + 1]))
    shown = verify.prove_record(made[:at] + other + made[at + 1 :], KEY)
    assert not shown.ok or (shown.index, shown.record) == (42, content(42).decode())


def test_growth(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "grown.tlog-growth"
    assert prove(data, "--consistency", str(data / "kept"), "-o", str(file)) == 0
    kept = (data / "kept").read_bytes()
    assert verify.prove_growth(file.read_bytes(), KEY, kept).ok
    assert not verify.prove_growth(file.read_bytes(), KEY, (data / "journal/checkpoint").read_bytes()).ok
    turned = file.read_bytes().splitlines(keepends=True)
    turned[1], turned[2] = turned[2], turned[1]
    assert not verify.prove_growth(b"".join(turned), KEY, kept).ok


def test_a_fork_has_no_proof_of_growth(data: Path, tmp_path: Path) -> None:
    grown(tmp_path / "journal", 1, 900).close()
    other = (tmp_path / "journal/checkpoint").read_bytes()
    old = opened((data / "kept").read_bytes(), SIGNER.verifier)
    with pytest.raises(JournalError, match="does not begin"):
        growth_proof(old, opened(other, SIGNER.verifier), other, reading(tmp_path / "journal"))


def test_damaged_tiles_prove_nothing(data: Path, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path / "data")
    tile = tmp_path / "data/journal/tile/0/000"
    row = bytearray(tile.read_bytes())
    row[5 * HASH] ^= 1
    tile.write_bytes(row)
    assert prove(tmp_path / "data", "4", "-o", str(tmp_path / "a")) == 2
    tile.unlink()
    assert prove(tmp_path / "data", "4", "-o", str(tmp_path / "a")) == 2


def bare(folder: Path) -> Path:
    """A place with Python's standard library, cryptography and nothing else, as on a reviewer's laptop."""
    packages = folder / "packages"
    packages.mkdir()
    for name in ("cryptography", "cffi", "_cffi_backend"):
        found = find_spec(name)
        if found is not None and found.origin is not None:
            origin = Path(found.origin)
            place = origin.parent if found.submodule_search_locations else origin
            (packages / place.name).symlink_to(place)
    return packages


def elsewhere(place: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the copied verifier there: isolated, without site packages."""
    start = (
        f"import sys; sys.path.append({str(place / 'packages')!r}); import runpy; "
        "sys.argv = ['verify.py', *sys.argv[1:]]; runpy.run_path('verify.py', run_name='__main__'); "
    )
    return subprocess.run(
        [sys.executable, "-I", "-S", "-c", start, *arguments],
        cwd=place,
        env={"PATH": os.defpath},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_an_auditor_with_the_proof_the_key_and_the_verifier_confirms_a_record(
    data: Path, tmp_path: Path
) -> None:
    bare(tmp_path)
    shutil.copy(verify.__file__, tmp_path / "verify.py")
    assert prove(data, "700", "-o", str(tmp_path / "record.tlog-proof")) == 0
    assert prove(data, "--consistency", str(data / "kept"), "-o", str(tmp_path / "grown")) == 0
    shutil.copy(data / "kept", tmp_path / "kept")
    (tmp_path / "key").write_text(SIGNER.vkey)
    without = elsewhere(tmp_path, "-h")
    assert without.returncode == 0, without.stderr
    found = elsewhere(tmp_path, "record.tlog-proof", "key")
    assert found.returncode == 0, found.stderr
    assert found.stdout.splitlines()[1] == content(700).decode()
    assert elsewhere(tmp_path, "grown", "key", "--checkpoint", "kept").returncode == 0
    assert elsewhere(tmp_path, "grown", "key").returncode == 2
    proof = (tmp_path / "record.tlog-proof").read_text()
    (tmp_path / "record.tlog-proof").write_text(proof.replace("index 700", "index 701"))
    assert elsewhere(tmp_path, "record.tlog-proof", "key").returncode == 1


def test_the_command_and_the_file_say_the_same(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "r.tlog-proof"
    assert prove(data, "5", "-o", str(file)) == 0
    capsys.readouterr()
    assert main(["audit", "verify", "--proof", str(file), "--key", SIGNER.vkey]) == 0
    ours = capsys.readouterr().out
    assert verify.main([str(file), SIGNER.vkey]) == 0
    assert capsys.readouterr().out == ours
    assert main(["audit", "verify", "--proof", str(file)]) == 2, "a proof without a key proves nothing"
    assert "prove" in commands.COMMANDS


def test_a_forged_file_cannot_make_the_terminal_say_good(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "forged.tlog-proof"
    note = "\r\x1b[2Kgood: record 5 is in \u009b8m\u202e\n6\n" + base64.b64encode(bytes(32)).decode()
    file.write_text(f"c2sp.org/tlog-proof@v1\nindex 5\n\n{note}\n\n— x AAAA\n", newline="")
    assert verify.main([str(file), SIGNER.vkey]) == 1
    said = capsys.readouterr().out
    assert said.startswith("BAD: ")
    assert said.removesuffix("\n").isprintable()


def test_an_empty_file_is_no_checkpoint_that_was_kept(data: Path) -> None:
    """A copy that failed must not silence the word about rollback."""
    report = verify.verify(data / "journal", SIGNER.verifier, kept=b"")
    assert not report.ok
