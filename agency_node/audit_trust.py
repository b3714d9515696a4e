"""Whom a log's node believed at each of its entries: its roots and registries, replayed along the log.

What is signed is judged by the registry of its time, as the node judged it: officers leave, and keys are
replaced, and what they did before stays done. Every `registry-accepted` entry names the root and the registry
that held from there on. The broker's log says nothing of the exporter's registries: there the newest counts.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from agency_node.audit_files import ExportUnusableError, read_lines
from agency_node.audit_manifest import REGISTRIES, ROOTS, AuditManifest
from crypto.audit import AuditAction, AuditLeaf
from crypto.audit_verify import FormerKey
from crypto.canonical import require_integer, require_text, unb64u
from crypto.envelope import Envelope
from crypto.errors import AuditError, CryptoError
from crypto.keys import VerifyKey
from policies.audit_names import trust_reference
from policies.codec import open_document
from policies.errors import PolicyError, TrustError
from policies.ids import Hash256, IdError
from policies.registry import Registry
from policies.trust import TrustedRegistry

_ACCEPTED = f'"action":"{AuditAction.REGISTRY_ACCEPTED}"'.encode()
Complain = Callable[[str, str, int | None], None]


@dataclass(frozen=True, slots=True)
class Span:
    """A registry and the entry from which on it held; `accepted` is that entry's time.

    None for the registry: a new root had taken the trust from the one before. None for the time: the log does
    not say when, for it begins with this registry or is not this node's.
    """

    registry: Registry | None
    since: int = 0
    accepted: datetime | None = None


@dataclass(frozen=True, slots=True)
class TrustHistory:
    """At least one span, in the order of acceptance; the newest registry was in force at the export."""

    spans: tuple[Span, ...]
    newest: Registry

    def at(self, seq: int) -> int:
        """The number of the span in which an entry lies; what is before the first is in the first."""
        return max(0, bisect_right(self.spans, seq, key=lambda span: span.since) - 1)

    def registry_at(self, seq: int) -> Registry | None:
        """The registry by which the node judged at an entry."""
        return self.spans[self.at(seq)].registry

    def cosigning(self, size: int, moment: datetime) -> int:
        """The span that judges a cosignature: of its time, but not before the last entry under the head."""
        number = self.at(size - 1)
        while number + 1 < len(self.spans) and _accepted_by(self.spans[number + 1], moment):
            number += 1
        return number

    def believed_at(self, moment: datetime) -> Registry:
        """The registry of a moment, for what is no entry."""
        held = [span.registry for span in self.spans if _accepted_by(span, moment)]
        return next((item for item in reversed(held) if item is not None), self.newest)

    def former(self, key_in: Callable[[Registry], VerifyKey | None]) -> tuple[FormerKey, ...]:
        """A log's keys before its present one, each with the number of entries up to which it was that."""
        following = zip(self.spans, self.spans[1:], strict=False)
        return tuple(
            FormerKey(key_in(span.registry) if span.registry else None, later.since)
            for span, later in following
        )


def _accepted_by(span: Span, moment: datetime) -> bool:
    return span.accepted is None or span.accepted <= moment


def read_trust(
    folder: Path,
    manifest: AuditManifest,
    anchor: str | None,
    leaves: Iterable[bytes] | None,
    complain: Complain,
) -> tuple[str, TrustHistory | None]:
    """The anchor's digest, and what the roots lead to from it; `leaves` are None for the broker's log.

    Raises:
        ExportUnusableError: no root at all.
    """
    digest = anchor or ""
    try:
        roots = [
            unb64u(require_text(value["envelope"], "envelope"))
            for value in read_lines(folder / ROOTS, frozenset({"envelope"}))
        ]
        if not roots:
            raise ExportUnusableError(f"{ROOTS} is empty: nobody's signature can be verified")
        digest = anchor or Envelope.from_bytes(roots[0]).digest
        believed = tuple(_replayed(folder, roots, Hash256(digest), manifest.exported_at))
        if not believed:
            raise TrustError(f"{REGISTRIES} is empty")
        newest = believed[-1].current(manifest.exported_at)
    except (CryptoError, PolicyError, IdError) as error:
        complain("untrusted", f"roots and registries do not hold: {error}", None)
        return digest, None
    if leaves is None:
        return digest, TrustHistory(tuple(Span(item.registry) for item in believed), newest)
    return digest, TrustHistory(tuple(_along(believed, leaves, complain)), newest)


def _replayed(
    folder: Path, roots: Sequence[bytes], anchor: Hash256, exported_at: datetime
) -> Iterator[TrustedRegistry]:
    """What was believed after each acceptance, each step verified as the node verified it."""
    trusted, ahead = TrustedRegistry.from_anchor(roots[0], anchor), list(roots[1:])
    for value in read_lines(folder / REGISTRIES, frozenset({"envelope", "root"})):
        while ahead and trusted.root.version < require_integer(value["root"], "root"):
            trusted = trusted.update_root(ahead.pop(0))
        if trusted.root.version != value["root"]:
            raise TrustError(f"{REGISTRIES} names root {value['root']} where {ROOTS} has none")
        envelope = require_text(value["envelope"], "envelope")
        trusted = _with_registry(trusted, unb64u(envelope), exported_at)
        yield trusted
    if ahead:
        raise TrustError(f"{ROOTS} goes on after the last acceptance")


def _with_registry(trusted: TrustedRegistry, envelope: bytes, exported_at: datetime) -> TrustedRegistry:
    if not envelope:
        if trusted.registry is not None:
            raise TrustError("a registry was given up that no root had taken the trust from")
        return trusted
    held = trusted.registry_envelope
    if held is not None and held.to_bytes() == envelope:
        return trusted
    # As of a moment in its time: the entry that it is tied to says when it was accepted.
    expires = open_document(Registry, Envelope.from_bytes(envelope)).expires
    in_time = min(end - timedelta(seconds=1) for end in (expires, trusted.root.expires))
    return trusted.update_registry(envelope, min(exported_at, in_time))


def _along(
    believed: Sequence[TrustedRegistry], leaves: Iterable[bytes], complain: Complain
) -> Iterator[Span]:
    """Each with the entry that says that it was accepted, in the same order."""
    awaited = list(believed)
    yielded = 0
    for leaf in _acceptances(leaves):
        if leaf.ref is None:
            if yielded:
                complain("trust", "the entry does not say which registry was accepted", leaf.seq)
            continue
        if not yielded and trust_reference(awaited[0]) != leaf.ref:
            yield Span(awaited.pop(0).registry)
            yielded += 1
        if not awaited or trust_reference(awaited[0]) != leaf.ref:
            complain("trust", "a registry was accepted that the export does not hold", leaf.seq)
            continue
        accepted = awaited.pop(0)
        if accepted.registry is not None and leaf.time >= accepted.registry.expires:
            complain("trust", "a registry was accepted after its time", leaf.seq)
        yield Span(accepted.registry, leaf.seq, leaf.time)
        yielded += 1
    for number, item in enumerate(awaited):
        if yielded or number:
            complain("trust", "the export holds a registry that the log does not say was accepted", None)
        yield Span(item.registry)


def _acceptances(leaves: Iterable[bytes]) -> Iterator[AuditLeaf]:
    for data in leaves:
        if _ACCEPTED in data:
            try:
                yield AuditLeaf.from_bytes(data)
            except AuditError:
                continue  # verify_log says that it is malformed
