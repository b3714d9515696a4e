"""Offline verification of an exported audit log: no network, no node, no keys but the public ones in it.

Whom to believe follows from the federation's first root. Its digest (the *anchor*) should be brought along;
without one, the export's own first root is taken, and a note says so.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from agency_node.audit_files import ExportUnusableError, read_manifest, read_notes
from agency_node.audit_heads import VOUCHED_WITHIN, Reach, Witnesses, read_heads
from agency_node.audit_manifest import (
    CHECKPOINTS,
    FILES,
    LEAVES,
    MANIFEST,
    SEALED,
    AuditManifest,
    is_witnessed_head,
)
from agency_node.audit_policies import PolicyHistory
from agency_node.audit_trust import TrustHistory, read_trust
from crypto.audit import AuditAction, AuditLeaf
from crypto.audit_verify import LogTrust, verify_log
from crypto.canonical import sha256_hex, unb64u
from crypto.checkpoint import SignedCheckpoint
from crypto.envelope import require_signature
from crypto.errors import AuditError, CanonicalError, CryptoError, SignatureError
from crypto.keys import VerifyKey
from policies.audit_names import broker_log_origin, log_origin
from policies.codec import payload_type
from policies.registry import Registry
from policies.signing import CLOCK_SKEW

#: `{"sealed":base64url,"seq":n}` in its one canonical form.
_SEALED_LINE = re.compile(rb'\{"sealed":"([A-Za-z0-9_-]+)","seq":(0|[1-9][0-9]{0,17})\}\n')
_ABOUT_POLICIES = frozenset(
    {
        AuditAction.DISCLOSURE_DECIDED,
        AuditAction.DISCLOSURE_RELEASED,
        AuditAction.POLICY_ACCEPTED,
        AuditAction.POLICY_SUSPENDED,
        AuditAction.POLICY_REVOKED,
        AuditAction.POLICY_REACTIVATED,
    }
)


@dataclass(frozen=True, slots=True)
class CheckFinding:
    """One thing that is wrong, in plain words; `seq` is the entry that it is about."""

    kind: str
    message: str
    seq: int | None = None


@dataclass(frozen=True, slots=True)
class CheckReport:
    """The outcome for one log. `warnings` and `notes` are no fault, and only the latter are harmless.

    `last_entry` is the time of the last entry, and `held` how far the heads reach that were given.
    """

    agency: str
    federation: str
    size: int
    exported_at: datetime
    anchor: str
    findings: tuple[CheckFinding, ...]
    notes: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    last_entry: datetime | None = None
    held: Reach | None = None
    #: Of the broker's log; `agency` exported it.
    of_broker: bool = False

    @property
    def sound(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    @property
    def caveat(self) -> str:
        """What an export can never prove of itself."""
        if self.held is None:
            return "Later entries could have been cut off: give heads that others hold (--head) to find out."
        since = f", of {self.held.time:%d %B %Y %H:%M} UTC" if self.held.time else ""
        return (
            f"The heads that were given reach to {self.held.entries:,} entries{since}: later ones could have"
            " been cut off. Only a later head can tell."
        )


@dataclass(slots=True)
class _Found:
    findings: list[CheckFinding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    held: Reach | None = None

    def add(self, kind: str, message: str, seq: int | None = None) -> None:
        self.findings.append(CheckFinding(kind, message, seq))


def check_export(
    folder: Path,
    *,
    anchor: str | None = None,
    witnesses: int | None = None,
    heads: Sequence[Path] = (),
) -> CheckReport:
    """Verifies everything in an export; `witnesses` is how many must have cosigned a head that covers all but
    the last day. One, unless a number is given, where the federation has anybody who could.

    The log must contain every head in `heads`: files of one checkpoint each, or other exports.

    Raises:
        ExportUnusableError: no manifest, or files that cannot be read.
    """
    manifest, envelope = read_manifest(folder)
    found = _Found()
    _check_files(folder, manifest, found)
    of_broker = manifest.origin == broker_log_origin(manifest.federation)
    digest, trusted = read_trust(folder, manifest, anchor, None if of_broker else _leaves(folder), found.add)
    if anchor is None and trusted is not None:
        found.notes.append(f"no anchor was given; compare this one with the federation's: {digest}")
    agency = trusted.newest.agency(manifest.agency) if trusted else None
    if trusted is None or agency is None:
        if trusted is not None:
            found.add("untrusted", f"the registry does not list {manifest.agency}")
        return _report(manifest, digest, found)
    try:
        require_signature(envelope, agency.node_verify_key, payload_type(AuditManifest))
    except CryptoError as error:
        found.add("manifest", f"the manifest is not signed by the node of {manifest.agency}: {error}")
    trust = _log_trust(manifest, trusted, of_broker=of_broker)
    if manifest.origin != trust.origin:
        found.add("manifest", "the manifest is about another log than its agency's or the broker's")
    history = PolicyHistory.read(folder, trusted, found.add)
    checkpoints = list(_checkpoints(folder, found))
    given = read_heads(heads, trust, trusted, found.add)
    checkpoints += [item.to_bytes() for item in given]
    report = verify_log(
        _leaves(folder), checkpoints, trust, now=manifest.exported_at, review_within=history.review_times
    )
    for item in report.findings:
        found.add(item.kind.value, item.message, item.seq)
    if report.size != manifest.size:
        found.add("manifest", f"the manifest speaks of {manifest.size} entries, there are {report.size}")
    if not of_broker:
        _check_details(folder, history, found)
    for seq in report.still_open:
        found.notes.append(f"the use of break-glass at entry {seq} was still open when the log was exported")
    if report.last_time is not None and report.last_time > manifest.exported_at + CLOCK_SKEW:
        found.add("manifest", "the manifest says that the log was exported before its last entry")
    if report.passed_over:
        found.notes.append(
            f"{report.passed_over} heads prove nothing: they are signed by a key of the log's of another time"
        )
    others = Witnesses(trusted, manifest)
    wanted = min(1, len(others.keys(trusted.newest))) if witnesses is None else witnesses
    reach = others.farthest(checkpoints, wanted, found.add)
    if reach is None and witnesses:
        found.add("unwitnessed-head", f"no head has the cosignatures of {witnesses} other agencies")
    _vouched(reach, report.size, manifest.exported_at, found)
    if wanted:
        _covered(folder, reach.entries if reach else 0, manifest.exported_at, found)
    found.held = _held(given, others, manifest, found)
    return _report(manifest, digest, found, report.last_time, of_broker=of_broker)


def _report(
    manifest: AuditManifest,
    anchor: str,
    found: _Found,
    last_entry: datetime | None = None,
    *,
    of_broker: bool = False,
) -> CheckReport:
    return CheckReport(
        str(manifest.agency),
        str(manifest.federation),
        manifest.size,
        manifest.exported_at,
        anchor,
        tuple(found.findings),
        tuple(found.notes),
        tuple(found.warnings),
        last_entry,
        found.held,
        of_broker,
    )


def _check_files(folder: Path, manifest: AuditManifest, found: _Found) -> None:
    listed = {str(name): digest for name, digest in manifest.files.items()}
    heads = {name for name in listed if is_witnessed_head(name)}
    if listed.keys() != {*FILES, *heads}:
        found.add("manifest", "the manifest does not list the files of an export")
    for name in (*FILES, *sorted(heads)):
        path = folder / name
        if not path.is_file():
            raise ExportUnusableError(f"{path} is missing")
        with path.open("rb") as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() != listed.get(name):
                found.add("altered-file", f"{name} was altered after it was exported")
    there = (item.relative_to(folder).as_posix() for item in folder.rglob("*") if not item.is_dir())
    for extra in sorted(set(there) - {*FILES, *heads, MANIFEST}):
        found.notes.append(f"{extra} does not belong to the export and was not looked at")


def _log_trust(manifest: AuditManifest, trusted: TrustHistory, *, of_broker: bool) -> LogTrust:
    """The log's name and its keys: the broker's, or those that its agency's node had in turn."""
    if of_broker:
        former = trusted.former(lambda registry: registry.broker_verify_key)
        return LogTrust(manifest.origin, trusted.newest.broker_verify_key, former=former)

    def node_key(registry: Registry) -> VerifyKey | None:
        agency = registry.agency(manifest.agency)
        return agency.node_verify_key if agency else None

    key = node_key(trusted.newest)
    if key is None:
        raise AssertionError("the caller knows that the newest registry lists the agency")
    origin = log_origin(manifest.federation, manifest.agency)
    return LogTrust(origin, key, former=trusted.former(node_key))


def _leaves(folder: Path) -> Iterator[bytes]:
    with (folder / LEAVES).open("rb") as stream:
        for line in stream:
            yield line.removesuffix(b"\n")


def _checkpoints(folder: Path, found: _Found) -> Iterator[bytes]:
    try:
        yield from read_notes(folder / CHECKPOINTS)
    except CanonicalError as error:
        found.add("malformed-checkpoint", f"{CHECKPOINTS}: {error}")


def _check_details(folder: Path, history: PolicyHistory, found: _Found) -> None:
    """Each entry's sealed details are its own, and each decision was under a policy in force."""
    sealed = _sealed(folder, found)
    for seq, data in enumerate(_leaves(folder)):
        details = next(sealed, None)
        glance = _glance(data)
        if glance is None:
            continue  # verify_log has said that it is malformed
        committed, action = glance
        if details is None or details[0] != seq:
            found.add("details-missing", f"the details of entry {seq} are missing or out of order", seq)
        elif sha256_hex(details[1]) != committed:
            found.add("details-altered", f"the details of entry {seq} were altered", seq)
        if action in _ABOUT_POLICIES:
            _check_policy(data, seq, history, found)
    if next(sealed, None) is not None:
        found.add("details-missing", "there are details of entries that the log does not have")
    for message in history.unlogged():
        found.notes.append(message)


def _glance(data: bytes) -> tuple[str, str] | None:
    """Details hash and action of a leaf that `verify_log` has read strictly already: this is the fast way."""
    try:
        value = json.loads(data)
        return str(value["details"]), str(value["action"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _check_policy(data: bytes, seq: int, history: PolicyHistory, found: _Found) -> None:
    try:
        leaf = AuditLeaf.from_bytes(data)
    except AuditError:
        return
    history.note(leaf)
    if leaf.action in (AuditAction.DISCLOSURE_DECIDED, AuditAction.DISCLOSURE_RELEASED):
        for message in history.objections(leaf):
            found.add("policy-not-in-force", message, seq)


def _sealed(folder: Path, found: _Found) -> Iterator[tuple[int, bytes]]:
    with (folder / SEALED).open("rb") as stream:
        for line in stream:
            match = _SEALED_LINE.fullmatch(line)
            if match is None:
                found.add("details-altered", f"{SEALED}: a line is malformed")
                return
            try:
                yield int(match[2]), unb64u(match[1].decode("ascii"))
            except CanonicalError as error:
                found.add("details-altered", f"{SEALED}: {error}")
                return


def _vouched(reach: Reach | None, size: int, exported_at: datetime, found: _Found) -> None:
    """What is worth knowing of the newest head for which others vouch."""
    if reach is None or reach.time is None:
        found.warnings.append("no other agency vouches for this log: any of it could have been cut off")
        return
    found.notes.append(
        f"{reach.witnesses} other agencies vouch for the first {reach.entries} of {size} entries"
    )
    if exported_at - reach.time > VOUCHED_WITHIN:
        hours = (exported_at - reach.time) // timedelta(hours=1)
        found.warnings.append(
            f"the newest head for which another agency vouches was {hours} hours old at the export: entries"
            " since could have been cut off"
        )


def _covered(folder: Path, entries: int, exported_at: datetime, found: _Found) -> None:
    """What was older than a day at the export is covered by a head with its witnesses; the rest is told."""
    tail = [data for seq, data in enumerate(_leaves(folder)) if seq >= entries]
    if not tail:
        return
    last = entries + len(tail) - 1
    try:
        oldest = AuditLeaf.from_bytes(tail[0]).time
    except AuditError:
        return  # verify_log has said that it is malformed
    if exported_at - oldest > VOUCHED_WITHIN:
        found.add(
            "unwitnessed-head",
            f"entries {entries} to {last} have too few witnesses, and the first of them was"
            f" {(exported_at - oldest) // timedelta(hours=1)} hours old at the export",
            entries,
        )
    else:
        found.notes.append(f"entries {entries} to {last}, of the last day, have too few witnesses yet")


def _held(
    heads: Sequence[SignedCheckpoint], others: Witnesses, manifest: AuditManifest, found: _Found
) -> Reach | None:
    """How far the heads reach that were given."""
    largest = max(heads, key=lambda item: item.checkpoint.size, default=None)
    if largest is None:
        return None
    try:
        reach = others.reach_of(largest)
    except SignatureError:
        return Reach(largest.checkpoint.size, None)  # the false cosignature is a finding already
    if reach.time is not None and reach.time > manifest.exported_at:
        found.notes.append("a head that was given is younger than the export: compare a new export with it")
    return reach
