"""The Merkle tree of RFC 6962: append-only, with inclusion and consistency proofs.

    leaf_hash(d) = SHA-256(0x00 || d)    node_hash(l, r) = SHA-256(0x01 || l || r)    empty root = SHA-256("")

Trees are stored as *complete* nodes only: the node at (level, index) covers the leaves `index * 2**level` to
`(index + 1) * 2**level - 1` and never changes once its last leaf is there. `MerkleFrontier.append` says
which nodes became complete, the store keeps them, and the proof makers fetch them through `NodeReader`. The
verifiers are pure.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from crypto.errors import MerkleError, ProofError

HASH_BYTES = 32
MAX_PROOF = 64
EMPTY_ROOT = hashlib.sha256(b"").digest()


class NodeReader(Protocol):
    """Where the hashes of complete nodes are kept."""

    def node(self, level: int, index: int) -> bytes:
        """The 32-byte hash of the complete node at (level, index); level 0 holds leaf hashes."""


class MemoryNodes:
    """Nodes in a dictionary, for verifiers that hold a whole tree."""

    __slots__ = ("_nodes",)

    def __init__(self) -> None:
        self._nodes: dict[tuple[int, int], bytes] = {}

    def node(self, level: int, index: int) -> bytes:
        """The hash at (level, index); MerkleError if that node is not complete."""
        try:
            return self._nodes[level, index]
        except KeyError:
            raise MerkleError(f"the tree has no complete node at level {level}, index {index}") from None

    def put(self, nodes: "Sequence[CompleteNode]") -> None:
        """Keep what `MerkleFrontier.append` returned."""
        self._nodes.update({(node.level, node.index): node.hash for node in nodes})


@dataclass(frozen=True, slots=True)
class CompleteNode:
    """A node whose last leaf has been appended: it never changes again."""

    level: int
    index: int
    hash: bytes


def leaf_hash(leaf: bytes) -> bytes:
    """SHA-256(0x00 || leaf)."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class MerkleFrontier:
    """The right edge of a tree: all that appending needs, one hash for each set bit of the size."""

    __slots__ = ("_peaks", "_size")

    def __init__(self, size: int = 0, peaks: Sequence[bytes] = ()) -> None:
        """Resume at `size` leaves; `peaks` are the roots of the complete subtrees, largest first."""
        if size < 0 or len(peaks) != size.bit_count() or any(len(peak) != HASH_BYTES for peak in peaks):
            raise MerkleError(f"a tree of {size} leaves has {max(size, 0).bit_count()} peaks of 32 bytes")
        self._size = size
        self._peaks = list(peaks)

    @property
    def size(self) -> int:
        """How many leaves have been appended."""
        return self._size

    @property
    def peaks(self) -> tuple[bytes, ...]:
        """The state to store, largest subtree first."""
        return tuple(self._peaks)

    def append(self, leaf: bytes) -> tuple[CompleteNode, ...]:
        """Append leaf bytes; returns the nodes that became complete, the leaf first."""
        return self.append_hash(leaf_hash(leaf))

    def append_hash(self, hash_: bytes) -> tuple[CompleteNode, ...]:
        """Append a leaf by its hash; returns the nodes that became complete, the leaf first."""
        if len(hash_) != HASH_BYTES:
            raise MerkleError("a leaf hash has 32 bytes")
        index = self._size
        complete = [CompleteNode(0, index, hash_)]
        level = 0
        while index & 1:
            hash_ = node_hash(self._peaks.pop(), hash_)
            index >>= 1
            level += 1
            complete.append(CompleteNode(level, index, hash_))
        self._peaks.append(hash_)
        self._size += 1
        return tuple(complete)

    def root(self) -> bytes:
        """The RFC 6962 tree head of all leaves so far."""
        if not self._peaks:
            return EMPTY_ROOT
        root = self._peaks[-1]
        for peak in reversed(self._peaks[:-1]):
            root = node_hash(peak, root)
        return root


def root_from_nodes(nodes: NodeReader, size: int) -> bytes:
    """The tree head over the first `size` leaves of a stored tree."""
    _require(size >= 0, "a tree size must be at least zero")
    return _subtree(nodes, 0, size) if size else EMPTY_ROOT


def frontier_from_nodes(nodes: NodeReader, size: int) -> MerkleFrontier:
    """The frontier of a stored tree at `size` leaves."""
    _require(size >= 0, "a tree size must be at least zero")
    peaks = []
    start = 0
    for level in reversed(range(size.bit_length())):
        if size >> level & 1:
            peaks.append(nodes.node(level, start >> level))
            start += 1 << level
    return MerkleFrontier(size, peaks)


def inclusion_proof(nodes: NodeReader, index: int, size: int) -> tuple[bytes, ...]:
    """The audit path PATH(index, D[size]) of RFC 6962 section 2.1.1, from the leaf upwards."""
    _require(0 <= index < size, f"leaf {index} is not in a tree of {size} leaves")
    path: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append(_subtree(nodes, middle, end))
            end = middle
        else:
            path.append(_subtree(nodes, start, middle))
            start = middle
    return tuple(reversed(path))


def consistency_proof(nodes: NodeReader, old_size: int, new_size: int) -> tuple[bytes, ...]:
    """PROOF(old_size, D[new_size]) of RFC 6962 section 2.1.2; empty where one of the sizes proves itself."""
    _require(0 <= old_size <= new_size, f"a tree of {new_size} leaves cannot follow one of {old_size}")
    if old_size in (0, new_size):
        return ()
    proof: list[bytes] = []
    start, end = 0, new_size
    whole = True
    while old_size != end:
        middle = start + _split(end - start)
        if old_size <= middle:
            proof.append(_subtree(nodes, middle, end))
            end = middle
        else:
            proof.append(_subtree(nodes, start, middle))
            start = middle
            whole = False
    if not whole:
        proof.append(_subtree(nodes, start, end))
    return tuple(reversed(proof))


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Return if `leaf` (a leaf hash) is leaf `index` of the tree `root` of `size` leaves; ProofError
    otherwise.

    The algorithm is that of RFC 9162 section 2.1.3.2, which defines the same tree.
    """
    _require_proof(0 <= index < size and len(proof) <= MAX_PROOF)
    _require_proof(all(len(item) == HASH_BYTES for item in (leaf, root, *proof)))
    fn, sn, result = index, size - 1, leaf
    for item in proof:
        _require_proof(sn != 0)
        if fn & 1 or fn == sn:
            result = node_hash(item, result)
            while not fn & 1 and fn:
                fn >>= 1
                sn >>= 1
        else:
            result = node_hash(result, item)
        fn >>= 1
        sn >>= 1
    _require_proof(sn == 0 and result == root)


def verify_consistency(
    old_size: int, old_root: bytes, new_size: int, new_root: bytes, proof: Sequence[bytes]
) -> None:
    """Return if the tree `new_root` begins with the leaves of the tree `old_root`; ProofError otherwise.

    The algorithm is that of RFC 9162 section 2.1.4.2. The empty tree begins every tree.
    """
    _require_proof(0 <= old_size <= new_size and len(proof) <= MAX_PROOF)
    _require_proof(all(len(item) == HASH_BYTES for item in (old_root, new_root, *proof)))
    if old_size == 0 or old_size == new_size:
        expected = EMPTY_ROOT if old_size == 0 else new_root
        _require_proof(not proof and old_root == expected)
        _require_proof(new_size != 0 or new_root == EMPTY_ROOT)
        return
    path = [old_root, *proof] if old_size & (old_size - 1) == 0 else list(proof)
    _require_proof(bool(path) and bool(proof))
    fn, sn = old_size - 1, new_size - 1
    while fn & 1:
        fn >>= 1
        sn >>= 1
    old_result = new_result = path[0]
    for item in path[1:]:
        _require_proof(sn != 0)
        if fn & 1 or fn == sn:
            old_result = node_hash(item, old_result)
            new_result = node_hash(item, new_result)
            while not fn & 1 and fn:
                fn >>= 1
                sn >>= 1
        else:
            new_result = node_hash(new_result, item)
        fn >>= 1
        sn >>= 1
    _require_proof(sn == 0 and old_result == old_root and new_result == new_root)


def build_tree(leaf_hashes: Sequence[bytes]) -> tuple[MerkleFrontier, MemoryNodes]:
    """A whole tree in memory, for verifiers."""
    frontier, nodes = MerkleFrontier(), MemoryNodes()
    for hash_ in leaf_hashes:
        nodes.put(frontier.append_hash(hash_))
    return frontier, nodes


def _subtree(nodes: NodeReader, start: int, end: int) -> bytes:
    """The head of leaves start..end-1.

    Where start is a multiple of the largest power of two below the length.
    """
    length = end - start
    if length & (length - 1) == 0:
        level = length.bit_length() - 1
        return nodes.node(level, start >> level)
    middle = start + _split(length)
    return node_hash(_subtree(nodes, start, middle), _subtree(nodes, middle, end))


def _split(length: int) -> int:
    """The largest power of two below `length` (at least 2)."""
    return 1 << ((length - 1).bit_length() - 1)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise MerkleError(message)


def _require_proof(condition: bool) -> None:
    if not condition:
        raise ProofError("the proof does not hold: the log was rewritten, or the proof is for another tree")
