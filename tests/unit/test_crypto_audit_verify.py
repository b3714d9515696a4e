"""The offline verifier: an honest log passes, and every kind of dishonesty is found."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from crypto.audit import AuditAction, AuditDetails, build_entry, reference
from crypto.audit_verify import FindingKind, LogReport, LogTrust, verify_log
from crypto.canonical import canonical_json
from crypto.checkpoint import Checkpoint, SignedCheckpoint, add_cosignature, cosign, sign_checkpoint
from crypto.keys import SigningKey, generate_signing_key
from crypto.merkle import MerkleFrontier

ORIGIN = "demo/agency/a/audit"
START = datetime(2026, 1, 1, tzinfo=UTC)
NOW = START + timedelta(days=30)
KINDS = FindingKind
Step = tuple[AuditAction, str | None]
HONEST: list[Step] = [
    (AuditAction.NODE_ENROLLED, None),
    (AuditAction.POLICY_ACCEPTED, None),
    (AuditAction.DISCLOSURE_RELEASED, "r-1"),
    (AuditAction.RECEIPT_RECEIVED, "r-1"),
    (AuditAction.BREAK_GLASS_INVOKED, "b-1"),
    (AuditAction.BREAK_GLASS_REVIEWED, "b-1"),
    (AuditAction.DISCLOSURE_RECEIVED, "r-2"),
    (AuditAction.RECEIPT_SENT, "r-2"),
    (AuditAction.WITNESS_COSIGNED, None),
]


class Log:
    """A log with two witnesses, made honestly; the tests then tamper with its parts."""

    def __init__(self, steps: list[Step] = HONEST, every: timedelta = timedelta(minutes=1)) -> None:
        self.key = generate_signing_key()
        self.witnesses = {name: generate_signing_key() for name in ("w1", "w2")}
        self.leaves = [
            build_entry(
                seq=seq,
                time=START + seq * every,
                origin=ORIGIN,
                action=action,
                details=AuditDetails("someone", None, {}),
                data_key=bytes(32),
                ref=None if ref is None else reference(ref),
            ).leaf.to_bytes()
            for seq, (action, ref) in enumerate(steps)
        ]
        self.notes = [self.note(size) for size in sorted({0, min(3, len(steps)), len(steps)})]

    def note(self, size: int, key: SigningKey | None = None, origin: str = ORIGIN) -> bytes:
        frontier = MerkleFrontier()
        for leaf in self.leaves[:size]:
            frontier.append(leaf)
        checkpoint = Checkpoint(origin, size, frontier.root())
        signed = sign_checkpoint(checkpoint, key or self.key)
        return self.witnessed(signed).to_bytes()

    def witnessed(self, signed: SignedCheckpoint) -> SignedCheckpoint:
        for name, key in self.witnesses.items():
            signed = add_cosignature(signed, cosign(signed.checkpoint, name, key, NOW))
        return signed

    def trust(self) -> LogTrust:
        keys = {name: key.verify_key for name, key in self.witnesses.items()}
        return LogTrust(ORIGIN, self.key.verify_key, keys, witness_quorum=2)

    def verify(self, trust: LogTrust | None = None) -> LogReport:
        return verify_log(self.leaves, self.notes, trust or self.trust(), now=NOW)

    def kinds(self) -> set[FindingKind]:
        return {finding.kind for finding in self.verify().findings}


def test_an_honest_log_has_no_findings() -> None:
    log = Log()
    report = log.verify()
    assert report.ok
    assert report.findings == ()
    assert report.size == len(HONEST)
    assert report.head is not None
    assert (report.head.size, report.head.root) == (report.size, report.root)


def test_an_empty_log_is_honest_if_signed() -> None:
    log = Log([])
    assert log.verify().ok
    log.notes = []
    assert log.kinds() == {KINDS.NO_CHECKPOINT}


@pytest.mark.parametrize(
    "name", ["seq", "time", "origin", "action", "actor", "subject", "policy", "ref", "details"]
)
def test_a_changed_field_of_any_leaf_is_found(name: str) -> None:
    changes: dict[str, object] = {
        "seq": 99,
        "time": "2026-01-01T00:00:00Z",
        "origin": "demo/other",
        "action": "purged",
    }
    for index in range(1, len(HONEST)):
        log = Log()
        fields = {**json.loads(log.leaves[index]), name: changes.get(name, "cd" * 32)}
        log.leaves[index] = canonical_json(fields)
        assert KINDS.ROOT_MISMATCH in log.kinds()


def test_a_leaf_that_is_no_leaf_is_found_and_the_rest_is_still_read() -> None:
    log = Log()
    log.leaves[4] = b"{}"
    report = log.verify()
    assert {(item.kind, item.seq, item.size) for item in report.findings} >= {
        (KINDS.MALFORMED_LEAF, 4, None),
        (KINDS.ROOT_MISMATCH, None, len(HONEST)),
    }
    assert report.size == len(HONEST)


def test_an_entry_of_another_log_is_found_even_if_it_was_signed() -> None:
    log = Log()
    log.leaves[4] = canonical_json({**json.loads(log.leaves[4]), "origin": "demo/other"})
    log.notes = [log.note(len(log.leaves))]
    assert log.kinds() == {KINDS.WRONG_ORIGIN}


def test_a_false_head_of_the_empty_tree_is_found() -> None:
    log = Log()
    log.notes.append(sign_checkpoint(Checkpoint(ORIGIN, 0, bytes(32)), log.key).to_bytes())
    assert log.kinds() == {KINDS.FORK}
    log.notes = log.notes[2:]
    assert log.kinds() == {KINDS.ROOT_MISMATCH}


def test_a_removed_entry_leaves_a_gap() -> None:
    log = Log()
    del log.leaves[2]
    assert log.kinds() >= {KINDS.SEQUENCE_GAP, KINDS.ROOT_MISMATCH, KINDS.MISSING_LEAVES}


def test_a_repeated_or_moved_entry_is_found() -> None:
    log = Log()
    log.leaves.insert(2, log.leaves[2])
    assert KINDS.SEQUENCE_GAP in log.kinds()
    log = Log()
    log.leaves[1], log.leaves[2] = log.leaves[2], log.leaves[1]
    assert log.kinds() >= {KINDS.SEQUENCE_GAP, KINDS.TIME_WENT_BACK, KINDS.ROOT_MISMATCH}


def test_a_truncated_log_is_found_by_its_own_signature() -> None:
    log = Log()
    del log.leaves[5:]
    findings = [item for item in log.verify().findings if item.kind is KINDS.MISSING_LEAVES]
    assert [(item.size, "4 of them are missing" in item.message) for item in findings] == [(9, True)]


def test_entries_after_the_newest_checkpoint_are_reported() -> None:
    log = Log()
    log.notes = log.notes[:2]
    findings = log.verify().findings
    assert [(item.kind, item.seq) for item in findings] == [(KINDS.UNSIGNED_LEAVES, 3)]


def test_a_rewritten_log_that_is_signed_again_is_a_fork() -> None:
    log, other = Log(), Log()
    other.key, other.witnesses = log.key, log.witnesses
    log.notes.append(other.note(3))
    assert log.kinds() == {KINDS.FORK}
    log.leaves = other.leaves
    assert log.kinds() >= {KINDS.FORK, KINDS.ROOT_MISMATCH}


def _stranger(log: Log) -> bytes:
    return log.note(5, key=generate_signing_key())


def _broken(log: Log) -> bytes:
    note = log.note(5)
    return note.replace(b"\n5\n", b"\n6\n")


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda _log: b"no note", KINDS.MALFORMED_CHECKPOINT),
        (lambda log: log.note(5, origin="demo/other"), KINDS.WRONG_LOG),
        (_stranger, KINDS.BAD_SIGNATURE),
        (_broken, KINDS.BAD_SIGNATURE),
    ],
)
def test_checkpoints_of_no_worth_are_found(make: Callable[[Log], bytes], kind: FindingKind) -> None:
    log = Log()
    log.notes.append(make(log))
    assert log.kinds() == {kind}


def test_an_unwitnessed_head_is_found() -> None:
    log = Log()
    signed_by_one = dict(list(log.witnesses.items())[:1])
    trust = log.trust()
    log.witnesses = signed_by_one
    log.notes[-1] = log.note(len(log.leaves))
    findings = log.verify(trust).findings
    assert [item.kind for item in findings] == [KINDS.UNWITNESSED_HEAD]
    assert "1 of 2" in findings[0].message


def test_one_witness_under_two_names_is_one_witness() -> None:
    log = Log()
    log.witnesses["w2"] = log.witnesses["w1"]
    log.notes[-1] = log.note(len(log.leaves))
    assert log.kinds() == {KINDS.UNWITNESSED_HEAD}


def test_a_false_cosignature_is_found() -> None:
    log = Log()
    trust = replace(log.trust())
    frontier = MerkleFrontier()
    for leaf in log.leaves:
        frontier.append(leaf)
    head = Checkpoint(ORIGIN, len(log.leaves), frontier.root())
    line = cosign(replace(head, size=1), "w1", log.witnesses["w1"], NOW)
    log.notes[-1] = add_cosignature(sign_checkpoint(head, log.key), line).to_bytes()
    assert {item.kind for item in log.verify(trust).findings} == {KINDS.BAD_SIGNATURE}


def test_the_copy_with_most_witnesses_counts() -> None:
    log = Log()
    witnesses, log.witnesses = log.witnesses, {}
    bare = log.note(len(log.leaves))
    log.witnesses = witnesses
    for notes in ([bare, log.notes[-1]], [log.notes[-1], bare]):
        log.notes = notes
        assert log.verify().ok


def test_break_glass_needs_its_own_review_in_time() -> None:
    invoked, reviewed = AuditAction.BREAK_GLASS_INVOKED, AuditAction.BREAK_GLASS_REVIEWED
    cases: list[tuple[list[Step], timedelta]] = [
        ([(invoked, "b-1")], timedelta(minutes=1)),
        ([(invoked, "b-1"), (reviewed, "b-2")], timedelta(minutes=1)),
        ([(invoked, None), (reviewed, None)], timedelta(minutes=1)),
        ([(invoked, "b-1"), (reviewed, "b-1")], timedelta(hours=25)),
    ]
    for steps, every in cases:
        log = Log(steps, every)
        log.notes = [log.note(len(steps))]
        assert log.kinds() == {KINDS.UNREVIEWED_BREAK_GLASS}
    fresh = Log([(invoked, "b-1")])
    fresh.notes = [fresh.note(1)]
    assert verify_log(fresh.leaves, fresh.notes, fresh.trust(), now=START + timedelta(hours=23)).ok


@pytest.mark.parametrize(
    "steps",
    [
        [(AuditAction.RECEIPT_RECEIVED, "r-1")],
        [(AuditAction.DISCLOSURE_RELEASED, "r-2"), (AuditAction.RECEIPT_RECEIVED, "r-1")],
        [(AuditAction.RECEIPT_RECEIVED, "r-1"), (AuditAction.DISCLOSURE_RELEASED, "r-1")],
        [(AuditAction.DISCLOSURE_RELEASED, None), (AuditAction.RECEIPT_RECEIVED, None)],
        [(AuditAction.DISCLOSURE_RELEASED, "r-1"), (AuditAction.RECEIPT_SENT, "r-1")],
    ],
)
def test_a_receipt_needs_its_release_before_it(steps: list[Step]) -> None:
    log = Log(steps)
    log.notes = [log.note(len(steps))]
    assert log.kinds() == {KINDS.RECEIPT_WITHOUT_RELEASE}
