"""The witness's rule: it vouches for one history only."""

from dataclasses import replace

import pytest

from crypto import merkle
from crypto.checkpoint import Checkpoint, SignedCheckpoint, sign_checkpoint
from crypto.keys import SigningKey, generate_signing_key
from crypto.witness import Consistent, Refusal, Refused, examine

ORIGIN = "demo/agency/a/audit"
LEAVES = [merkle.leaf_hash(bytes([n])) for n in range(9)]
NODES = merkle.build_tree(LEAVES)[1]
KEY = generate_signing_key()


def _head(size: int, leaves: list[bytes] = LEAVES) -> Checkpoint:
    return Checkpoint(ORIGIN, size, merkle.build_tree(leaves[:size])[0].root())


def _examine(
    seen: Checkpoint | None,
    offered: Checkpoint,
    proof: tuple[bytes, ...] = (),
    signer: SigningKey = KEY,
) -> Consistent | Refused:
    signed = sign_checkpoint(offered, signer)
    return examine(seen, signed, proof, origin=ORIGIN, key=KEY.verify_key)


@pytest.mark.parametrize(("old", "new"), [(0, 0), (0, 5), (3, 3), (3, 4), (4, 9), (8, 9)])
def test_a_log_that_grows_is_cosigned(old: int, new: int) -> None:
    proof = merkle.consistency_proof(NODES, old, new)
    assert _examine(_head(old), _head(new), proof) == Consistent(_head(new))


def test_the_first_checkpoint_is_taken_on_the_log_s_word() -> None:
    assert _examine(None, _head(5)) == Consistent(_head(5))


def test_a_smaller_tree_is_refused() -> None:
    assert _examine(_head(5), _head(4)) == Refused(Refusal.SHRUNK, _head(5))


def test_a_second_tree_of_the_same_size_is_a_fork() -> None:
    other = [merkle.leaf_hash(b"rewritten"), *LEAVES[1:]]
    assert _examine(_head(5), _head(5, other)) == Refused(Refusal.FORK, _head(5))


def test_a_rewritten_past_is_refused_whatever_its_proof() -> None:
    other = [merkle.leaf_hash(b"rewritten"), *LEAVES[1:]]
    rewritten = merkle.build_tree(other)[1]
    for proof in ((), merkle.consistency_proof(rewritten, 5, 8), merkle.consistency_proof(NODES, 5, 8)):
        assert _examine(_head(5), _head(8, other), proof) == Refused(Refusal.REWRITTEN, _head(5))
    assert _examine(_head(5), _head(8), ()) == Refused(Refusal.REWRITTEN, _head(5))


def test_a_stranger_s_checkpoint_is_refused() -> None:
    assert _examine(None, _head(5), signer=generate_signing_key()) == Refused(Refusal.NOT_SIGNED, None)
    assert _examine(None, replace(_head(5), origin="demo/other")) == Refused(Refusal.OTHER_LOG, None)
    remembered = replace(_head(3), origin="demo/other")
    assert _examine(remembered, _head(5)) == Refused(Refusal.OTHER_LOG, remembered)
    unsigned = SignedCheckpoint(_head(5), ())
    assert examine(None, unsigned, (), origin=ORIGIN, key=KEY.verify_key) == Refused(Refusal.NOT_SIGNED, None)
