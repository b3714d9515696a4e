"""Properties of the byte formats over arbitrary input."""

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto import derive, merkle
from crypto.audit import AuditAction, AuditDetails, AuditLeaf, build_entry, open_details
from crypto.canonical import b64u, canonical_json, parse_canonical, parse_strict, unb64u
from crypto.checkpoint import Checkpoint, parse_checkpoint, sign_checkpoint, verify_checkpoint
from crypto.envelope import Envelope, Signature, payload_type, sign_envelope, verified_keys
from crypto.errors import (
    CanonicalError,
    CheckpointError,
    CryptoError,
    EnvelopeError,
    PkiError,
    ProofError,
    SignatureError,
    TokenError,
)
from crypto.keys import SigningKey, generate_sealing_key
from crypto.pki import parse_spiffe
from crypto.seal import SealContext, open_sealed, seal_to
from crypto.tokens import LinkToken

TEXT = st.text(st.characters(codec="utf-8"))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)
SEEDS = st.binary(min_size=32, max_size=32)
RECIPIENT = generate_sealing_key("x25519")
NAMES = st.from_regex(r"[a-z0-9./-]{1,20}", fullmatch=True)


@given(JSON)
def test_canonical_json_reads_back_and_agrees_with_the_standard_library(value: Any) -> None:
    data = canonical_json(value)
    assert parse_canonical(data) == value == json.loads(data)


@given(JSON)
def test_every_layout_has_one_canonical_form(value: Any) -> None:
    loose = json.dumps(value, indent=2).encode()
    assert canonical_json(parse_strict(loose)) == canonical_json(value)


@given(st.binary(max_size=60) | TEXT.map(str.encode))
def test_whatever_parses_is_canonical(data: bytes) -> None:
    try:
        value = parse_canonical(data)
    except CanonicalError:
        return
    assert canonical_json(value) == data


@given(st.binary(max_size=40), TEXT)
def test_base64url_is_a_bijection(data: bytes, text: str) -> None:
    assert unb64u(b64u(data)) == data
    try:
        raw = unb64u(text)
    except CanonicalError:
        return
    assert b64u(raw) == text


@given(st.lists(st.binary(max_size=6), max_size=4), st.lists(st.binary(max_size=6), max_size=4))
def test_framing_is_injective(first: list[bytes], second: list[bytes]) -> None:
    assert (derive.frame(*first) == derive.frame(*second)) == (first == second)


@given(st.dictionaries(NAMES, SEEDS, min_size=2, max_size=5), SEEDS, st.randoms(use_true_random=False))
def test_the_order_of_contributions_does_not_matter(
    contributions: dict[str, bytes], transcript: bytes, random: Any
) -> None:
    items = list(contributions.items())
    random.shuffle(items)
    shuffled = dict(items)
    assert derive.combine_contributions(shuffled, transcript) == derive.combine_contributions(
        contributions, transcript
    )


@given(st.binary(min_size=16, max_size=16), TEXT)
def test_tokens_are_a_bijection(raw: bytes, text: str) -> None:
    assert LinkToken.parse(LinkToken(raw).text).raw == raw
    try:
        token = LinkToken.parse(text)
    except TokenError:
        return
    assert token.text == text


@given(st.lists(SEEDS, max_size=4, unique=True), st.binary(max_size=64))
def test_an_envelope_counts_exactly_those_who_signed(seeds: list[bytes], payload: bytes) -> None:
    signers = [SigningKey(seed) for seed in seeds]
    envelope = Envelope.from_bytes(sign_envelope(payload_type("x"), payload, signers).to_bytes())
    keys = frozenset(signer.verify_key for signer in signers)
    assert (envelope.payload, verified_keys(envelope, keys)) == (payload, keys)


@given(SEEDS, st.binary(max_size=40), st.binary(max_size=40))
def test_a_signature_covers_type_and_payload(seed: bytes, payload: bytes, other: bytes) -> None:
    signer = SigningKey(seed)
    signed = sign_envelope(payload_type("x"), payload, [signer])
    for changed in (replace(signed, payload_type=payload_type("y")), replace(signed, payload=other)):
        if changed == signed:
            continue
        with pytest.raises(SignatureError):
            verified_keys(changed, [signer.verify_key])


@given(st.binary(max_size=200) | JSON.map(canonical_json))
def test_other_bytes_are_no_envelope(data: bytes) -> None:
    with pytest.raises(EnvelopeError):
        Envelope.from_bytes(data)


@given(st.binary(max_size=200), st.tuples(*[TEXT.filter(bool)] * 4), st.tuples(*[TEXT.filter(bool)] * 4))
def test_a_sealed_message_opens_in_its_own_context_only(
    plaintext: bytes, names: tuple[str, str, str, str], others: tuple[str, str, str, str]
) -> None:
    sealed = seal_to(RECIPIENT.public_key, plaintext, SealContext(*names))
    assert open_sealed(RECIPIENT, sealed, SealContext(*names)) == plaintext
    if others != names:
        with pytest.raises(CryptoError):
            open_sealed(RECIPIENT, sealed, SealContext(*others))


def _naive_root(leaves: list[bytes]) -> bytes:
    """RFC 6962 section 2.1 word for word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + _naive_root(leaves[:k]) + _naive_root(leaves[k:])).digest()


def _naive_path(m: int, leaves: list[bytes]) -> list[bytes]:
    """PATH(m, D[n]) of section 2.1.1 word for word."""
    if len(leaves) == 1:
        return []
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    if m < k:
        return [*_naive_path(m, leaves[:k]), _naive_root(leaves[k:])]
    return [*_naive_path(m - k, leaves[k:]), _naive_root(leaves[:k])]


def _naive_subproof(m: int, leaves: list[bytes], whole: bool) -> list[bytes]:
    """SUBPROOF(m, D[n], b) of section 2.1.2 word for word."""
    if m == len(leaves):
        return [] if whole else [_naive_root(leaves)]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    if m <= k:
        return [*_naive_subproof(m, leaves[:k], whole), _naive_root(leaves[k:])]
    return [*_naive_subproof(m - k, leaves[k:], False), _naive_root(leaves[:k])]


LEAF_LISTS = st.lists(st.binary(max_size=3), min_size=1, max_size=40)


@given(LEAF_LISTS, st.data())
def test_inclusion_proofs_agree_with_the_definition_and_only_they_verify(
    leaves: list[bytes], data: st.DataObject
) -> None:
    frontier, nodes = merkle.build_tree([merkle.leaf_hash(leaf) for leaf in leaves])
    size = data.draw(st.integers(1, len(leaves)))
    index = data.draw(st.integers(0, size - 1))
    root = merkle.root_from_nodes(nodes, size)
    proof = merkle.inclusion_proof(nodes, index, size)
    assert frontier.root() == _naive_root(leaves)
    assert root == _naive_root(leaves[:size]) == merkle.frontier_from_nodes(nodes, size).root()
    assert list(proof) == _naive_path(index, leaves[:size])
    leaf = merkle.leaf_hash(leaves[index])
    merkle.verify_inclusion(leaf, index, size, proof, root)
    other = bytes(32)
    wrong: list[tuple[bytes, int, int, tuple[bytes, ...], bytes]] = [
        (other, index, size, proof, root),
        (leaf, index, size, proof, other),
        (leaf, index, size, (*proof, other), root),
        (leaf, index, size, (other, *proof), root),
        (leaf, size, size, proof, root),
        (leaf, -1, size, proof, root),
        (leaf, index, 0, proof, root),
        (leaf[:31], index, size, proof, root),
    ]
    if proof:
        place = data.draw(st.integers(0, len(proof) - 1))
        wrong += [
            (leaf, index, size, proof[:-1], root),
            (leaf, index, size, proof[1:], root),
            (leaf, index, size, (*proof[:place], other, *proof[place + 1 :]), root),
            (leaf, index, size, (*proof[:place], b"", *proof[place + 1 :]), root),
        ]
    for arguments in wrong:
        with pytest.raises(ProofError):
            merkle.verify_inclusion(*arguments)


@given(LEAF_LISTS, st.data())
def test_consistency_proofs_agree_with_the_definition_and_only_they_verify(
    leaves: list[bytes], data: st.DataObject
) -> None:
    _, nodes = merkle.build_tree([merkle.leaf_hash(leaf) for leaf in leaves])
    new = data.draw(st.integers(1, len(leaves)))
    old = data.draw(st.integers(1, new))
    old_root, new_root = _naive_root(leaves[:old]), _naive_root(leaves[:new])
    proof = merkle.consistency_proof(nodes, old, new)
    assert list(proof) == _naive_subproof(old, leaves[:new], True)
    merkle.verify_consistency(old, old_root, new, new_root, proof)
    other = bytes(32)
    wrong: list[tuple[int, bytes, int, bytes, tuple[bytes, ...]]] = [
        (old, other, new, new_root, proof),
        (old, old_root, new, other, proof),
        (old, old_root, new, new_root, (*proof, other)),
        (old, old_root, new, new_root, (other, *proof)),
        (new + 1, old_root, new, new_root, proof),
        (-1, old_root, new, new_root, proof),
        (old, old_root[:31], new, new_root, proof),
    ]
    if proof:
        place = data.draw(st.integers(0, len(proof) - 1))
        wrong += [
            (old, old_root, new, new_root, proof[:-1]),
            (old, old_root, new, new_root, proof[1:]),
            (old, old_root, new, new_root, (*proof[:place], other, *proof[place + 1 :])),
        ]
    for arguments in wrong:
        with pytest.raises(ProofError):
            merkle.verify_consistency(*arguments)


@given(LEAF_LISTS, st.data())
def test_a_rewritten_leaf_is_inconsistent(leaves: list[bytes], data: st.DataObject) -> None:
    old = data.draw(st.integers(1, len(leaves)))
    place = data.draw(st.integers(0, old - 1))
    rewritten = [*leaves[:place], leaves[place] + b"x", *leaves[place + 1 :]]
    _, nodes = merkle.build_tree([merkle.leaf_hash(leaf) for leaf in rewritten])
    proof = merkle.consistency_proof(nodes, old, len(leaves))
    with pytest.raises(ProofError):
        merkle.verify_consistency(old, _naive_root(leaves[:old]), len(leaves), _naive_root(rewritten), proof)


@given(SEEDS, st.integers(0, 2**63 - 1), SEEDS, NAMES.filter(lambda name: name != "cosignature/v1"))
def test_checkpoints_round_trip(seed: bytes, size: int, root: bytes, origin: str) -> None:
    key = SigningKey(seed)
    signed = sign_checkpoint(Checkpoint(origin, size, root), key)
    again = parse_checkpoint(signed.to_bytes())
    assert again == signed
    assert verify_checkpoint(again, origin, key.verify_key) == Checkpoint(origin, size, root)


@given(st.binary(max_size=200) | TEXT.map(str.encode))
def test_whatever_parses_as_a_checkpoint_is_written_the_same(data: bytes) -> None:
    try:
        signed = parse_checkpoint(data)
    except CheckpointError:
        return
    assert signed.to_bytes() == data


@given(
    st.integers(0, 2**53 - 1),
    st.datetimes(datetime(1970, 1, 1), datetime(2999, 1, 1)),
    st.sampled_from(AuditAction),
    TEXT,
    st.none() | TEXT,
    st.dictionaries(TEXT, JSON, max_size=3),
)
def test_audit_entries_round_trip(
    seq: int, time: datetime, action: AuditAction, actor: str, subject: str | None, body: dict[str, Any]
) -> None:
    entry = build_entry(
        seq=seq,
        time=time.replace(tzinfo=UTC),
        origin="demo/log",
        action=action,
        details=AuditDetails(actor, subject, body),
        data_key=bytes(32),
    )
    assert AuditLeaf.from_bytes(entry.leaf.to_bytes()) == entry.leaf
    opened = open_details(entry.leaf, entry.sealed, bytes(32))
    assert (opened.actor, opened.subject, opened.body) == (actor, subject, body)


@given(TEXT | st.from_regex(r"spiffe://[a-z]{1,3}/(agency/[a-zA-Z._/-]{0,4}|broker)\n?", fullmatch=True))
def test_whatever_parses_as_an_identity_is_written_the_same(uri: str) -> None:
    try:
        identity = parse_spiffe(uri)
    except PkiError:
        return
    assert identity.uri == uri


@given(TEXT, st.binary(max_size=80))
def test_signature_lines_never_break_the_envelope_parser(key_id: str, value: bytes) -> None:
    try:
        envelope = Envelope(payload_type("x"), b"", (Signature(key_id, value),))
    except EnvelopeError:
        return
    assert Envelope.from_bytes(envelope.to_bytes()) == envelope
