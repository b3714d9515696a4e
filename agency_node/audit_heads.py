"""Who else knows how far a log reaches: cosignatures on its heads, and heads that others hold.

Whoever runs a node can cut its log back to an earlier head, which was properly signed and cosigned. Nothing
in that log's own export can tell: only a later head can that somebody else holds. Every export has the newest
heads of others' logs that its node cosigned, so any two agencies' exports check each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from agency_node.audit_files import ExportUnusableError, read_manifest, read_notes
from agency_node.audit_manifest import CHECKPOINTS, AuditManifest, is_witnessed_head
from agency_node.audit_trust import TrustHistory
from crypto.audit_verify import LogTrust
from crypto.canonical import sha256_hex
from crypto.checkpoint import SignedCheckpoint, claimed_times, parse_checkpoint, verified_cosignatures
from crypto.envelope import require_signature
from crypto.errors import CanonicalError, CheckpointError, CryptoError, SignatureError
from crypto.keys import VerifyKey
from policies.audit_names import log_origin, witness_name
from policies.codec import payload_type
from policies.registry import Registry

#: A log's newest cosigned head should be no older than this when the log is exported. Nodes have their heads
#: cosigned every few minutes as the log grows, and twice a day when it does not.
VOUCHED_WITHIN = timedelta(hours=24)

Complain = Callable[[str, str], None]


@dataclass(frozen=True, slots=True)
class Reach:
    """How many entries a head covers, and when somebody last vouched for it (None: nobody did)."""

    entries: int
    time: datetime | None
    witnesses: int = 0


def read_heads(
    paths: Iterable[Path], trust: LogTrust, history: TrustHistory, complain: Complain
) -> tuple[SignedCheckpoint, ...]:
    """The heads of a log in files of one checkpoint each, and in other exports; all signed by the log.

    What cannot be used is complained of, a path without any head of the log too: whoever names it believes
    that the log is compared with something.

    Raises:
        ExportUnusableError: a path that cannot be read.
    """
    found: list[SignedCheckpoint] = []
    for path in paths:
        try:
            notes = _of_export(path, trust.origin, history) if path.is_dir() else [path.read_bytes()]
            signed = [parse_checkpoint(note) for note in notes]
            for item in signed:
                trust.verify(item)
        except OSError as error:
            raise ExportUnusableError(f"{path} cannot be read: {error}") from None
        except SignatureError as error:
            complain("bad-signature", f"{path}: {error}")
        except (CheckpointError, CanonicalError) as error:
            complain("wrong-head", f"{path}: {error}")
        except CryptoError as error:
            complain("wrong-head", f"{path} is not what its node exported: {error}")
        else:
            found += signed
            if not signed:
                complain("no-head", f"{path} holds no head of this log: nothing is compared with it")
    return tuple(found)


def _of_export(folder: Path, origin: str, history: TrustHistory) -> list[bytes]:
    """The heads of a log that an export holds: as a witness's, or as an earlier export of the same log."""
    manifest, envelope = read_manifest(folder)
    registry = history.believed_at(manifest.exported_at)
    agency = registry.agency(manifest.agency)
    if agency is None or manifest.federation != registry.federation:
        raise CheckpointError(f"{folder} was exported by nobody whom the registry lists")
    require_signature(envelope, agency.node_verify_key, payload_type(AuditManifest))
    notes: list[bytes] = []
    for name, digest in manifest.files.items():
        if not is_witnessed_head(name) and (name != CHECKPOINTS or manifest.origin != origin):
            continue
        path = folder / name
        if not path.is_file() or sha256_hex(path.read_bytes()) != digest:
            raise CheckpointError(f"{name} was altered after it was exported")
        notes += [path.read_bytes()] if is_witnessed_head(name) else read_notes(path)
    return [note for note in notes if parse_checkpoint(note).checkpoint.origin == origin]


@dataclass(frozen=True, slots=True)
class Witnesses:
    """Whose cosignatures count on heads of a log: those of all agencies but the one whose own log it is."""

    history: TrustHistory
    manifest: AuditManifest

    def keys(self, registry: Registry) -> dict[str, VerifyKey]:
        """The keys by which the witnesses cosigned while a registry held."""
        federation, own = self.manifest.federation, log_origin(self.manifest.federation, self.manifest.agency)
        return {
            witness_name(federation, item.id): item.node_verify_key
            for item in registry.agencies
            if item.id != self.manifest.agency or self.manifest.origin != own
        }

    def reach_of(self, signed: SignedCheckpoint) -> Reach:
        """How far a head reaches, and who vouches for it. Raises SignatureError for a wrong cosignature."""
        times: dict[str, datetime] = {}
        size, history = signed.checkpoint.size, self.history
        for span in {history.cosigning(size, moment) for moment in claimed_times(signed)}:
            registry = history.spans[span].registry
            if registry is not None:
                given = verified_cosignatures(signed, self.keys(registry))
                times |= {it.witness: it.time for it in given if history.cosigning(size, it.time) == span}
        return Reach(size, max(times.values(), default=None), len(times))

    def farthest(self, notes: Sequence[bytes], wanted: int, complain: Complain) -> Reach | None:
        """The largest head for which at least `wanted` others vouch, the latest where there are several."""
        reached = [item for item in self._reached(notes, complain) if item.witnesses >= max(1, wanted)]
        return max(reached, key=lambda item: (item.entries, item.time), default=None)

    def _reached(self, notes: Sequence[bytes], complain: Complain) -> Iterator[Reach]:
        for note in notes:
            try:
                yield self.reach_of(parse_checkpoint(note))
            except CryptoError as error:
                complain("bad-signature", f"a cosignature is wrong: {error}")
