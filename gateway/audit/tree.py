"""The Merkle tree of RFC 6962 §2.1 (SHA-256), as arithmetic on hashes. Pure.

Leaves and inner nodes are hashed with different first bytes, so that nobody can pass an inner node off as a
record. The tree of n leaves splits at the largest power of two below n; its shape depends on n alone, so a
log needs to keep only the roots of its complete subtrees (`Frontier`) to go on.
"""

from collections.abc import Sequence
from hashlib import sha256

EMPTY = sha256(b"").digest()
"Root of a log without records."


def leaf(data: bytes) -> bytes:
    """Hash of one record: exactly the stored bytes."""
    return sha256(b"\0" + data).digest()


def node(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node."""
    return sha256(b"\1" + left + right).digest()


class Frontier:
    """The roots of the complete subtrees of a tree that grows at its right end, tallest first."""

    __slots__ = ("_peaks", "size")

    def __init__(self) -> None:
        self.size = 0
        self._peaks: list[bytes] = []

    def push(self, value: bytes) -> list[bytes]:
        """Add one leaf hash. Gives the roots of heights 8, 16, 24 … that it completed: the tiles' hashes."""
        completed: list[bytes] = []
        size, height = self.size, 0
        while size & 1:
            value = node(self._peaks.pop(), value)
            size >>= 1
            height += 1
            if height & 7 == 0:
                completed.append(value)
        self._peaks.append(value)
        self.size += 1
        return completed

    def push_subtree(self, value: bytes, leaves: int) -> None:
        """Add the root of a complete subtree of that many leaves, a power of two that divides `size`."""
        size = self.size // leaves
        while size & 1:
            value = node(self._peaks.pop(), value)
            size >>= 1
        self._peaks.append(value)
        self.size += leaves

    def root(self) -> bytes:
        """The Merkle tree hash."""
        if not self._peaks:
            return EMPTY
        result = self._peaks[-1]
        for peak in reversed(self._peaks[:-1]):
            result = node(peak, result)
        return result


def root(hashes: Sequence[bytes]) -> bytes:
    """Merkle tree hash of some leaf hashes."""
    frontier = Frontier()
    for value in hashes:
        frontier.push(value)
    return frontier.root()


def _split(n: int) -> int:
    """The largest power of two below n (n > 1)."""
    return 1 << (n - 1).bit_length() - 1


def inclusion(index: int, hashes: Sequence[bytes]) -> list[bytes]:
    """The audit path of one leaf, lowest first (RFC 6962 §2.1.1)."""
    n = len(hashes)
    if not 0 <= index < n:
        raise ValueError(f"no leaf {index} in a tree of {n}")
    if n == 1:
        return []
    k = _split(n)
    if index < k:
        return [*inclusion(index, hashes[:k]), root(hashes[k:])]
    return [*inclusion(index - k, hashes[k:]), root(hashes[:k])]


def consistency(old: int, hashes: Sequence[bytes]) -> list[bytes]:
    """Proof that the tree of the first `old` leaves is a beginning of this one (RFC 6962 §2.1.2)."""
    if not 0 < old <= len(hashes):
        raise ValueError(f"no proof from size {old} to {len(hashes)}")
    return _subproof(old, hashes, complete=True)


def _subproof(old: int, hashes: Sequence[bytes], *, complete: bool) -> list[bytes]:
    n = len(hashes)
    if old == n:
        return [] if complete else [root(hashes)]
    k = _split(n)
    if old <= k:
        return [*_subproof(old, hashes[:k], complete=complete), root(hashes[k:])]
    return [*_subproof(old - k, hashes[k:], complete=False), root(hashes[:k])]


def included(value: bytes, index: int, size: int, proof: Sequence[bytes], expected: bytes) -> bool:
    """Whether the path leads from that leaf hash to that root (RFC 9162 §2.1.3.2)."""
    if not 0 <= index < size:
        return False
    fn, sn, result = index, size - 1, value
    for sibling in proof:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            result = node(sibling, result)
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            result = node(result, sibling)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and result == expected


def consistent(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether the tree of `new` leaves begins with that of `old` (RFC 9162 §2.1.4.2)."""
    if not 0 < old <= new:
        return False
    if old == new:
        return not proof and old_root == new_root
    path = [old_root, *proof] if old & (old - 1) == 0 else list(proof)
    if not path:
        return False
    fn, sn = old - 1, new - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    first = second = path[0]
    for sibling in path[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            first, second = node(sibling, first), node(sibling, second)
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            second = node(second, sibling)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and first == old_root and second == new_root
