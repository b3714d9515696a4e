"""Offline verification of an audit log: pure functions over its leaves and checkpoints.

`verify_log` reads the leaves once, in order, and needs memory only for the checkpoints and the open
exchanges. It never stops at the first fault: everything found is a `Finding`, so that a report can say all
of it. What a verifier must bring itself is a `LogTrust`: the log's name, its key and its witnesses' keys,
from a source other than the log.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType

from crypto import merkle
from crypto.audit import AuditAction, AuditLeaf
from crypto.checkpoint import (
    Checkpoint,
    SignedCheckpoint,
    parse_checkpoint,
    verified_cosignatures,
    verify_checkpoint,
)
from crypto.errors import AuditError, CheckpointError, SignatureError
from crypto.keys import VerifyKey

#: Where the policy that an entry names says nothing else.
REVIEW_WITHIN = timedelta(hours=24)


class FindingKind(StrEnum):
    """What can be wrong with a log; a closed list."""

    MALFORMED_LEAF = "malformed-leaf"
    SEQUENCE_GAP = "sequence-gap"
    WRONG_ORIGIN = "wrong-origin"
    TIME_WENT_BACK = "time-went-back"
    MALFORMED_CHECKPOINT = "malformed-checkpoint"
    WRONG_LOG = "wrong-log"
    BAD_SIGNATURE = "bad-signature"
    NO_CHECKPOINT = "no-checkpoint"
    FORK = "fork"
    ROOT_MISMATCH = "root-mismatch"
    MISSING_LEAVES = "missing-leaves"
    UNSIGNED_LEAVES = "unsigned-leaves"
    UNWITNESSED_HEAD = "unwitnessed-head"
    UNREVIEWED_BREAK_GLASS = "unreviewed-break-glass"
    RECEIPT_WITHOUT_RELEASE = "receipt-without-release"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found, in plain words; `seq` is the entry or `size` the checkpoint that it is about."""

    kind: FindingKind
    message: str
    seq: int | None = None
    size: int | None = None


@dataclass(frozen=True, slots=True)
class FormerKey:
    """A key that a log had before; None where nobody's counted. It signed heads of at most `entries`."""

    key: VerifyKey | None
    entries: int


@dataclass(frozen=True, slots=True)
class LogTrust:
    """What the verifier knows beforehand.

    The log's name, its key, and the keys before that, oldest first; its witnesses (key by name) and how many
    must have cosigned.
    """

    origin: str
    key: VerifyKey
    witnesses: Mapping[str, VerifyKey] = field(default_factory=dict)
    witness_quorum: int = 0
    former: tuple[FormerKey, ...] = ()

    def verify(self, signed: SignedCheckpoint) -> None:
        """Return if a head is of this log and signed by its key of that time.

        CheckpointError or SignatureError otherwise; OutOfTimeError where another key of the log signed.
        """
        entries = signed.checkpoint.size
        due = next((item.key for item in self.former if entries <= item.entries), self.key)
        if due is None or not _signed_by(signed, self.origin, due):
            others = [item.key for item in self.former if item.key is not None]
            if any(_signed_by(signed, self.origin, key) for key in (*others, self.key)):
                raise OutOfTimeError(f"the head of {entries} entries is signed by a key of another time")
        verify_checkpoint(signed, self.origin, due or self.key)


class OutOfTimeError(SignatureError):
    """A head was signed by a key that the log had at another time."""


def _signed_by(signed: SignedCheckpoint, origin: str, key: VerifyKey) -> bool:
    try:
        verify_checkpoint(signed, origin, key)
    except (CheckpointError, SignatureError):
        return False
    return True


@dataclass(frozen=True, slots=True)
class LogReport:
    """The outcome: `size` leaves with RFC 6962 head `root`, and every finding in the order met.

    `last_time` is that of the last leaf that can be read. `passed_over` heads were signed by a key that the
    log had at another time: they prove nothing, and are no fault of the log. `still_open` are uses of
    break-glass without review whose time was not up.
    """

    size: int
    root: bytes
    head: Checkpoint | None
    findings: tuple[Finding, ...]
    last_time: datetime | None = None
    passed_over: int = 0
    still_open: tuple[int, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing at all was found."""
        return not self.findings


def verify_log(
    leaves: Iterable[bytes],
    checkpoints: Iterable[bytes],
    trust: LogTrust,
    *,
    now: datetime,
    review_within: Mapping[str, timedelta] = MappingProxyType({}),
) -> LogReport:
    """Check a whole log: `leaves` are the leaf bytes in order, `checkpoints` the signed notes in any order.

    `now` (UTC) is the moment up to which the log is known; `review_within` says by the hash of a policy in
    which time it wants break-glass reviewed.

    Covers the form, order and origin of leaves, the signature of every checkpoint and the tree head at
    each, forks, leaves that no checkpoint covers, witnesses of the newest head, break-glass not reviewed in
    time, and receipts without a release.
    """
    findings: list[Finding] = []
    heads, passed_over = _trusted_heads(checkpoints, trust, findings)
    by_size = {signed.checkpoint.size: signed.checkpoint for signed in heads}
    frontier = merkle.MerkleFrontier()
    exchanges = _Exchanges(review_within)
    _check_head(by_size, frontier, findings)
    order = _Order(trust.origin)
    for data in leaves:
        findings += order.check(frontier.size, data, exchanges)
        frontier.append(data)
        _check_head(by_size, frontier, findings)
    findings += exchanges.overdue(now)
    newest = max(heads, key=lambda signed: signed.checkpoint.size, default=None)
    findings += _check_coverage(newest, frontier.size, by_size, trust)
    head = newest.checkpoint if newest else None
    return LogReport(
        frontier.size,
        frontier.root(),
        head,
        tuple(findings),
        order.last_time,
        passed_over,
        exchanges.still_open,
    )


def _trusted_heads(
    checkpoints: Iterable[bytes], trust: LogTrust, findings: list[Finding]
) -> tuple[list[SignedCheckpoint], int]:
    heads: dict[int, SignedCheckpoint] = {}
    passed_over = 0
    for data in checkpoints:
        try:
            signed = parse_checkpoint(data)
        except CheckpointError as error:
            findings.append(Finding(FindingKind.MALFORMED_CHECKPOINT, str(error)))
            continue
        size = signed.checkpoint.size
        try:
            trust.verify(signed)
        except OutOfTimeError:
            passed_over += 1
            continue
        except CheckpointError as error:
            findings.append(Finding(FindingKind.WRONG_LOG, str(error), size=size))
            continue
        except SignatureError as error:
            findings.append(Finding(FindingKind.BAD_SIGNATURE, str(error), size=size))
            continue
        other = heads.setdefault(size, signed)
        if other.checkpoint.root != signed.checkpoint.root:
            message = f"the log signed two different trees of {size} entries"
            findings.append(Finding(FindingKind.FORK, message, size=size))
        elif len(signed.signatures) > len(other.signatures):
            heads[size] = signed
    return list(heads.values()), passed_over


def _check_head(
    by_size: Mapping[int, Checkpoint], frontier: merkle.MerkleFrontier, findings: list[Finding]
) -> None:
    checkpoint = by_size.get(frontier.size)
    if checkpoint is not None and checkpoint.root != frontier.root():
        message = f"the first {frontier.size} entries are not those that the log signed"
        findings.append(Finding(FindingKind.ROOT_MISMATCH, message, size=frontier.size))


def _check_coverage(
    newest: SignedCheckpoint | None, size: int, by_size: Mapping[int, Checkpoint], trust: LogTrust
) -> Iterator[Finding]:
    if newest is None:
        yield Finding(FindingKind.NO_CHECKPOINT, "no checkpoint is signed by the log")
        return
    head = newest.checkpoint.size
    for signed_size in sorted(item for item in by_size if item > size):
        message = f"the log signed {signed_size} entries, and {signed_size - size} of them are missing"
        yield Finding(FindingKind.MISSING_LEAVES, message, size=signed_size)
    if head < size:
        message = f"entries {head} to {size - 1} are after the newest checkpoint"
        yield Finding(FindingKind.UNSIGNED_LEAVES, message, seq=head)
    try:
        count = len(verified_cosignatures(newest, trust.witnesses))
    except SignatureError as error:
        yield Finding(FindingKind.BAD_SIGNATURE, f"a cosignature is wrong: {error}", size=head)
        return
    if count < trust.witness_quorum:
        message = f"the newest checkpoint has {count} of {trust.witness_quorum} witnesses"
        yield Finding(FindingKind.UNWITNESSED_HEAD, message, size=head)


class _Order:
    """The form, order and origin of leaves, one after another."""

    __slots__ = ("_origin", "last_time")

    def __init__(self, origin: str) -> None:
        self._origin = origin
        self.last_time: datetime | None = None

    def check(self, index: int, data: bytes, exchanges: "_Exchanges") -> Iterator[Finding]:
        try:
            leaf = AuditLeaf.from_bytes(data)
        except AuditError as error:
            yield Finding(FindingKind.MALFORMED_LEAF, str(error), seq=index)
            return
        if leaf.seq != index:
            message = f"entry {leaf.seq} stands where entry {index} belongs"
            yield Finding(FindingKind.SEQUENCE_GAP, message, seq=index)
        if leaf.origin != self._origin:
            yield Finding(FindingKind.WRONG_ORIGIN, "the entry belongs to another log", seq=index)
        if self.last_time is not None and leaf.time < self.last_time:
            yield Finding(FindingKind.TIME_WENT_BACK, "the entry is older than the one before it", seq=index)
        self.last_time = leaf.time
        yield from exchanges.add(leaf)


class _Exchanges:
    """Entries that need another one: break-glass its review, a receipt its release."""

    __slots__ = ("_received", "_released", "_unreviewed", "_within", "still_open")

    def __init__(self, within: Mapping[str, timedelta]) -> None:
        self._within = within
        self.still_open: tuple[int, ...] = ()
        self._released: set[str] = set()
        self._received: set[str] = set()
        self._unreviewed: list[AuditLeaf] = []

    def add(self, leaf: AuditLeaf) -> Iterator[Finding]:
        match leaf.action:
            case AuditAction.DISCLOSURE_RELEASED if leaf.ref is not None:
                self._released.add(leaf.ref)
            case AuditAction.DISCLOSURE_RECEIVED if leaf.ref is not None:
                self._received.add(leaf.ref)
            case AuditAction.RECEIPT_RECEIVED if leaf.ref not in self._released:
                yield self._orphan(leaf, "a receipt came for a release that this log does not have")
            case AuditAction.RECEIPT_SENT if leaf.ref not in self._received:
                yield self._orphan(leaf, "a receipt was sent for a release that this log did not receive")
            case AuditAction.BREAK_GLASS_INVOKED:
                self._unreviewed.append(leaf)
            case AuditAction.BREAK_GLASS_REVIEWED:
                yield from self._review(leaf)

    def overdue(self, now: datetime) -> Iterator[Finding]:
        for leaf in self._unreviewed:
            if now <= self._due(leaf):
                self.still_open += (leaf.seq,)
            else:
                yield self._late(leaf, "break-glass was used and never reviewed")

    def _review(self, review: AuditLeaf) -> Iterator[Finding]:
        matching = [leaf for leaf in self._unreviewed if leaf.ref is not None and leaf.ref == review.ref]
        self._unreviewed = [leaf for leaf in self._unreviewed if leaf not in matching]
        for leaf in matching:
            if review.time > self._due(leaf):
                yield self._late(leaf, "break-glass was reviewed too late")

    def _due(self, leaf: AuditLeaf) -> datetime:
        return leaf.time + self._within.get(leaf.policy or "", REVIEW_WITHIN)

    def _orphan(self, leaf: AuditLeaf, message: str) -> Finding:
        return Finding(FindingKind.RECEIPT_WITHOUT_RELEASE, message, seq=leaf.seq)

    def _late(self, leaf: AuditLeaf, message: str) -> Finding:
        return Finding(FindingKind.UNREVIEWED_BREAK_GLASS, message, seq=leaf.seq)
