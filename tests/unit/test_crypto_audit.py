"""Audit entries: what a leaf says, what it hides, and what erasure leaves."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from crypto import audit, merkle
from crypto.audit import (
    AuditAction,
    AuditDetails,
    AuditEntry,
    AuditLeaf,
    build_entry,
    check_sealed,
    new_data_key,
    open_details,
    reference,
)
from crypto.canonical import canonical_json
from crypto.errors import AuditErasedError, AuditError

TIME = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
KEY = b"\x01" * 32
DETAILS = AuditDetails("officer-17", "subject-5", {"clause": "4a", "fields": ["risk", "month"]})


def _entry(details: AuditDetails = DETAILS, *, seq: int = 3, key: bytes = KEY) -> AuditEntry:
    return build_entry(
        seq=seq,
        time=TIME,
        origin="demo/agency/a/audit",
        action=AuditAction.DISCLOSURE_RELEASED,
        details=details,
        data_key=key,
        policy="ab" * 32,
        ref=reference("r-1"),
    )


def test_a_leaf_is_read_back() -> None:
    leaf = _entry().leaf
    assert AuditLeaf.from_bytes(leaf.to_bytes()) == leaf
    assert leaf.leaf_hash == merkle.leaf_hash(leaf.to_bytes())
    assert leaf.time == TIME.replace(microsecond=0)


def test_a_leaf_holds_no_personal_data_and_is_never_the_same_twice() -> None:
    first, second = _entry(), _entry()
    for word in (b"officer", b"subject-5", b"clause"):
        assert word not in first.leaf.to_bytes()
        assert word not in first.sealed
    assert first.leaf.actor != second.leaf.actor
    assert first.leaf.subject != second.leaf.subject
    assert first.leaf.details != second.leaf.details


def test_details_open_with_their_key() -> None:
    entry = _entry()
    opened = open_details(entry.leaf, entry.sealed, KEY)
    assert (opened.actor, opened.subject, dict(opened.body)) == (
        "officer-17",
        "subject-5",
        dict(DETAILS.body),
    )
    assert "officer" not in repr(opened)


def test_an_entry_about_nobody_has_no_subject() -> None:
    entry = _entry(AuditDetails("node", None, {}))
    assert entry.leaf.subject is None
    assert open_details(entry.leaf, entry.sealed, KEY).subject is None


def test_erasing_the_key_leaves_the_proof() -> None:
    entries = [_entry(seq=seq) for seq in range(5)]
    frontier, nodes = merkle.build_tree([entry.leaf.leaf_hash for entry in entries])
    with pytest.raises(AuditErasedError, match="erased"):
        open_details(entries[2].leaf, entries[2].sealed, None)
    check_sealed(entries[2].leaf, entries[2].sealed)
    proof = merkle.inclusion_proof(nodes, 2, 5)
    merkle.verify_inclusion(entries[2].leaf.leaf_hash, 2, 5, proof, frontier.root())


def test_another_key_opens_nothing() -> None:
    entry = _entry()
    for key in (new_data_key(), b"short", b""):
        with pytest.raises(AuditError, match="do not open"):
            open_details(entry.leaf, entry.sealed, key)


def test_sealed_details_cannot_be_altered_or_moved() -> None:
    first, second = _entry(seq=1), _entry(seq=2)
    for index in range(len(first.sealed)):
        changed = bytearray(first.sealed)
        changed[index] ^= 1
        with pytest.raises(AuditError, match="altered"):
            open_details(first.leaf, bytes(changed), KEY)
    with pytest.raises(AuditError, match="altered"):
        open_details(first.leaf, second.sealed, KEY)


@pytest.mark.parametrize(
    "change", [{"seq": 4}, {"origin": "demo/other"}, {"action": AuditAction.DISCLOSURE_REFUSED}]
)
def test_details_are_bound_to_their_place(change: dict[str, object]) -> None:
    entry = _entry()
    with pytest.raises(AuditError, match="do not open"):
        open_details(replace(entry.leaf, **change), entry.sealed, KEY)  # type: ignore[arg-type]  # by parameter


@pytest.mark.parametrize("change", [{"actor": "0" * 64}, {"subject": "0" * 64}, {"subject": None}])
def test_commitments_are_checked_when_details_open(change: dict[str, object]) -> None:
    entry = _entry()
    with pytest.raises(AuditError, match="committed to"):
        open_details(replace(entry.leaf, **change), entry.sealed, KEY)  # type: ignore[arg-type]  # by parameter


@pytest.mark.parametrize(
    "change",
    [
        {"v": 2},
        {"v": True},
        {"seq": -1},
        {"seq": "1"},
        {"time": "2026-01-02T03:04:05.1Z"},
        {"time": "2026-01-02T03:04:05+00:00"},
        {"time": "2026-1-2T03:04:05Z"},
        {"time": "2026-02-30T03:04:05Z"},
        {"origin": ""},
        {"origin": "a b"},
        {"action": "something-else"},
        {"actor": "AB" * 32},
        {"actor": None},
        {"subject": "ab"},
        {"policy": 1},
        {"ref": ""},
        {"details": None},
        {"extra": 1},
    ],
)
def test_malformed_leaves_are_refused(change: dict[str, object]) -> None:
    fields = {**json.loads(_entry().leaf.to_bytes()), **change}
    with pytest.raises(AuditError):
        AuditLeaf.from_bytes(canonical_json(fields))


def test_every_field_of_a_leaf_is_required() -> None:
    fields = json.loads(_entry().leaf.to_bytes())
    for name in fields:
        with pytest.raises(AuditError, match=name):
            AuditLeaf.from_bytes(canonical_json({key: fields[key] for key in fields if key != name}))
    with pytest.raises(AuditError, match="not canonical"):
        AuditLeaf.from_bytes(json.dumps(fields).encode())


def test_wrong_input_makes_no_entry() -> None:
    with pytest.raises(AuditError, match="data key"):
        _entry(key=b"short")
    with pytest.raises(AuditError, match="sequence number"):
        _entry(seq=-1)
    with pytest.raises(AuditError, match="canonical"):
        _entry(AuditDetails("a", None, {"x": 2**60}))
    with pytest.raises(AuditError, match="at most"):
        _entry(AuditDetails("a", None, {"x": "y" * audit.MAX_DETAILS_BYTES}))
    for time in (datetime(2026, 1, 1), datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=1)))):
        with pytest.raises(AuditError, match="UTC"):
            replace(_entry().leaf, time=time)


def test_a_short_salt_is_refused() -> None:
    leaf, sealed = _with_salt(b"short")
    with pytest.raises(AuditError, match="salt"):
        open_details(leaf, sealed, KEY)


def _with_salt(salt: bytes) -> tuple[AuditLeaf, bytes]:
    entry = build_entry(
        seq=0,
        time=TIME,
        origin="demo/log",
        action=AuditAction.PURGED,
        details=DETAILS,
        data_key=KEY,
        rng_bytes=lambda count: salt if count == 32 else bytes(count),
    )
    return entry.leaf, entry.sealed


def test_references_pair_entries_without_showing_the_id() -> None:
    assert reference("r-1") == reference("r-1") != reference("r-2")
    assert _entry().leaf.ref == reference("r-1")
