"""The Merkle tree against its definition, for every small size."""

from hashlib import sha256

import pytest

from gateway.audit import tiles, tree
from tests.unit.audit.memory import Memory

LEAVES = [tree.leaf(bytes([i])) for i in range(70)]


def defined(hashes: list[bytes]) -> bytes:
    """RFC 6962 §2.1, word for word."""
    if not hashes:
        return sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    k = 1
    while k * 2 < len(hashes):
        k *= 2
    return sha256(b"\1" + defined(hashes[:k]) + defined(hashes[k:])).digest()


ROOTS = [defined(LEAVES[:n]) for n in range(len(LEAVES) + 1)]


def test_root_is_the_one_of_the_rfc_for_every_size() -> None:
    frontier = tree.Frontier()
    for n, value in enumerate(LEAVES):
        assert frontier.root() == ROOTS[n]
        frontier.push(value)
    assert frontier.root() == ROOTS[-1]


def test_known_vectors_of_certificate_transparency() -> None:
    # certificate-transparency-go, merkle test data: the first eight roots over these inputs.
    inputs = [
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    ]
    frontier = tree.Frontier()
    for text in inputs:
        frontier.push(tree.leaf(bytes.fromhex(text)))
    assert frontier.root().hex() == "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"


def test_inclusion_for_every_leaf_of_every_size_and_no_other() -> None:
    for n in range(1, 34):
        for index in range(n):
            proof = tree.inclusion(index, LEAVES[:n])
            assert tree.included(LEAVES[index], index, n, proof, ROOTS[n])
            assert not tree.included(LEAVES[index], (index + 1) % n, n, proof, ROOTS[n]) or n == 1
            assert not tree.included(LEAVES[-1], index, n, proof, ROOTS[n])
            assert not tree.included(LEAVES[index], index, n, [*proof, LEAVES[0]], ROOTS[n])
            if proof:
                assert not tree.included(LEAVES[index], index, n, proof[:-1], ROOTS[n])


def test_consistency_for_every_pair_of_sizes_and_no_other_root() -> None:
    for new in range(1, 66):
        for old in range(1, new + 1):
            proof = tree.consistency(old, LEAVES[:new])
            assert tree.consistent(old, new, ROOTS[old], ROOTS[new], proof)
            assert not tree.consistent(old, new, ROOTS[old - 1], ROOTS[new], proof)
            assert not tree.consistent(old, new, ROOTS[old], ROOTS[new - 1], proof)
            assert not tree.consistent(old, new, ROOTS[old], ROOTS[new], [*proof, LEAVES[0]])


@pytest.mark.parametrize("size", [1, 255, 256, 257, 511, 512, 65_535, 65_536, 65_793, 70_000])
def test_tiles_give_back_the_tree_at_any_size(size: int) -> None:
    disk = Memory()
    grown = tiles.Tiles(disk)
    leaves = [tree.leaf(i.to_bytes(4, "big")) for i in range(size)]
    for value in leaves:
        grown.push(value)
    grown.write_partial()
    loaded = tiles.load(disk, size)
    assert loaded is not None
    assert loaded.frontier.root() == grown.frontier.root() == tree.root(leaves)
    loaded.push(leaves[0])
    grown.push(leaves[0])
    assert loaded.frontier.root() == grown.frontier.root()


def test_tile_layout_is_the_one_of_the_specification() -> None:
    # The example of C2SP tlog-tiles: 70,000 records.
    disk = Memory()
    grown = tiles.Tiles(disk)
    for i in range(70_000):
        grown.push(tree.leaf(i.to_bytes(4, "big")))
    grown.write_partial()
    names = {name for name in disk.files if name.startswith("tile/")}
    assert {name for name in names if name.startswith("tile/0/")} == {
        *(f"tile/0/{n:03d}" for n in range(273)),
        "tile/0/273.p/112",
    }
    assert names - {name for name in names if name.startswith("tile/0/")} == {
        "tile/1/000",
        "tile/1/001.p/17",
        "tile/2/000.p/1",
    }
    assert tiles.path(0, 1_234_067) == "tile/0/x001/x234/067"
