"""The RFC 6962 tree, against the vectors of the certificate-transparency reference implementation."""

import pytest

from crypto import merkle
from crypto.errors import MerkleError, ProofError

# The eight leaves and tree heads used by the reference implementations (google/certificate-transparency).
LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
PATHS = {
    (0, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (5, 8): [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 3): ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
    (1, 5): [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}
CONSISTENCY: dict[tuple[int, int], list[str]] = {
    (1, 1): [],
    (1, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (6, 8): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 5): [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}


def _tree(count: int) -> tuple[merkle.MerkleFrontier, merkle.MemoryNodes]:
    return merkle.build_tree([merkle.leaf_hash(leaf) for leaf in LEAVES[:count]])


def test_the_tree_heads_are_those_of_the_reference_implementation() -> None:
    frontier, nodes = merkle.MerkleFrontier(), merkle.MemoryNodes()
    assert frontier.root().hex() == ROOTS[0]
    for size, leaf in enumerate(LEAVES, start=1):
        nodes.put(frontier.append(leaf))
        assert (frontier.size, frontier.root().hex()) == (size, ROOTS[size])
        assert merkle.root_from_nodes(nodes, size).hex() == ROOTS[size]


@pytest.mark.parametrize(("index", "size"), PATHS)
def test_inclusion_proofs_are_those_of_the_reference_implementation(index: int, size: int) -> None:
    proof = merkle.inclusion_proof(_tree(8)[1], index, size)
    assert [item.hex() for item in proof] == PATHS[index, size]


@pytest.mark.parametrize(("old", "new"), CONSISTENCY)
def test_consistency_proofs_are_those_of_the_reference_implementation(old: int, new: int) -> None:
    proof = merkle.consistency_proof(_tree(8)[1], old, new)
    assert [item.hex() for item in proof] == CONSISTENCY[old, new]


def test_a_leaf_is_never_a_node() -> None:
    left, right = merkle.leaf_hash(b"a"), merkle.leaf_hash(b"b")
    assert merkle.leaf_hash(left + right) != merkle.node_hash(left, right)


def test_a_frontier_resumes_where_it_was() -> None:
    frontier, nodes = _tree(7)
    for resumed in (
        merkle.MerkleFrontier(frontier.size, frontier.peaks),
        merkle.frontier_from_nodes(nodes, 7),
    ):
        resumed.append(LEAVES[7])
        assert resumed.root().hex() == ROOTS[8]


def test_a_frontier_of_another_size_is_refused() -> None:
    peaks = _tree(7)[0].peaks
    for size, wrong in ((8, peaks), (7, peaks[:2]), (-1, ()), (1, (b"short",))):
        with pytest.raises(MerkleError):
            merkle.MerkleFrontier(size, wrong)
    with pytest.raises(MerkleError):
        merkle.MerkleFrontier().append_hash(b"short")


def test_nothing_is_proven_outside_the_tree() -> None:
    nodes = _tree(5)[1]
    for index, size in ((5, 5), (-1, 5), (0, 0), (0, 6)):
        with pytest.raises(MerkleError):
            merkle.inclusion_proof(nodes, index, size)
    for old, new in ((3, 2), (-1, 2), (1, 6)):
        with pytest.raises(MerkleError):
            merkle.consistency_proof(nodes, old, new)
    with pytest.raises(MerkleError):
        merkle.root_from_nodes(nodes, -1)
    with pytest.raises(MerkleError):
        merkle.frontier_from_nodes(nodes, -1)


def test_the_empty_tree_begins_every_tree_and_no_other_empty_root_does() -> None:
    root = bytes.fromhex(ROOTS[5])
    merkle.verify_consistency(0, merkle.EMPTY_ROOT, 5, root, ())
    merkle.verify_consistency(0, merkle.EMPTY_ROOT, 0, merkle.EMPTY_ROOT, ())
    for old_root, new_size, new_root in ((root, 5, root), (root, 0, root), (merkle.EMPTY_ROOT, 0, root)):
        with pytest.raises(ProofError):
            merkle.verify_consistency(0, old_root, new_size, new_root, ())
    with pytest.raises(ProofError):
        merkle.verify_consistency(0, merkle.EMPTY_ROOT, 5, root, (root,))


def test_equal_sizes_need_equal_roots() -> None:
    root, other = bytes.fromhex(ROOTS[5]), bytes.fromhex(ROOTS[4])
    merkle.verify_consistency(5, root, 5, root, ())
    with pytest.raises(ProofError):
        merkle.verify_consistency(5, other, 5, root, ())


def test_a_proof_from_a_smaller_tree_does_not_pass_for_a_larger_one() -> None:
    leaves = [merkle.leaf_hash(leaf) for leaf in LEAVES]
    root = bytes.fromhex(ROOTS[2])
    merkle.verify_inclusion(leaves[0], 0, 2, (leaves[1],), root)
    for size in (1, 3, 4, 5, 8):
        with pytest.raises(ProofError):
            merkle.verify_inclusion(leaves[0], 0, size, (leaves[1],), root)


def test_proofs_of_absurd_length_are_refused() -> None:
    root = bytes(32)
    with pytest.raises(ProofError):
        merkle.verify_inclusion(root, 0, 2**70, (root,) * 70, root)
    with pytest.raises(ProofError):
        merkle.verify_consistency(1, root, 2**70, root, (root,) * 70)
