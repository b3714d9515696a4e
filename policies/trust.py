"""From an anchor given out of band to a registry that may be trusted: a state machine without I/O.

The order is The Update Framework's (https://theupdateframework.github.io/specification/latest/, section 5.3):

1. `TrustedRegistry.from_anchor`: the first root, whose document hash was given out of band.
2. `update_root`, once for every later version, none left out. A root is signed by the threshold of the root
before it
   *and* by its own. An intermediate root may have expired; the last one may not when a registry is to be
   trusted.
3. `update_registry`: signed by the threshold of the last root, same federation, version not lower than any
seen and not
   below a `minimum_version` seen, same version only with the same content, not expired.
4. `current(now)`: the registry, unless it or the root has expired since.

`replayed` takes the same steps again from what was kept, so that a restart changes nothing: what an older
registry is measured against is remembered when it has expired, and when a root has replaced one of its
signers.

Attacks: rollback and mix are refused in 3, freeze in 3 and 4. A fast-forward (stolen keys publish a version
nobody can exceed) is recovered from by a root that replaces the stolen keys: when the keys that both roots
share could not reach the new threshold, no old registry can verify any more, and the memory of versions is
dropped.

Values are immutable: every step returns a new `TrustedRegistry`, so a refused update changes nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Self

from crypto.envelope import Envelope, verified_keys
from crypto.errors import CryptoError
from policies.codec import MAX_DOCUMENT_BYTES, D, open_document
from policies.errors import (
    DocumentError,
    ExpiredError,
    RollbackError,
    ThresholdError,
    TrustError,
    VersionSkipError,
    WrongFederationError,
)
from policies.ids import Hash256
from policies.registry import Registry
from policies.root import Root, RootKey

MAX_ROOT_UPDATES = 256
"""How many roots a follower should be willing to walk at once."""


@dataclass(frozen=True, slots=True)
class TrustedRegistry:
    """The last root, and the last registry if there is one, with the envelopes that a node stores."""

    root: Root
    root_envelope: Envelope
    registry: Registry | None = None
    registry_envelope: Envelope | None = None

    @classmethod
    def from_anchor(cls, root_bytes: bytes, anchor: Hash256) -> Self:
        """Begin with the root that the anchor names; raises TrustError if it is another one."""
        envelope = _envelope(root_bytes)
        if envelope.digest != anchor:
            raise TrustError("this root document is not the one that the anchor names: check the anchor")
        root = _open(Root, envelope)
        _require_threshold(envelope, root, "its own")
        return cls(root, envelope)

    @classmethod
    def replayed(cls, anchor: Hash256, roots: Sequence[bytes], registry: bytes | None, now: datetime) -> Self:
        """The state reached by `roots`, versions ascending, and by `registry`, the last one accepted.

        The registry is shown to every root in turn, as of a moment at which both were in time, for the last
        root need not be the one under which it was accepted. Expired or not, it stays what a rollback is
        measured against, until a root drops that memory.

        Raises:
            TrustError: the roots do not follow from the anchor, or none of them signed the registry.
        """
        trusted = cls.from_anchor(roots[0], anchor)
        signed, trusted = trusted._recalling(registry, now)
        for envelope in roots[1:]:
            again, trusted = trusted.update_root(envelope)._recalling(registry, now)
            signed |= again
        if registry is not None and not signed:
            raise TrustError("the registry that is kept is signed by none of the roots that are kept")
        return trusted

    def _recalling(self, registry: bytes | None, now: datetime) -> tuple[bool, Self]:
        """Whether this root signed a kept registry, and the state with it if so."""
        if registry is None:
            return False, self
        expires = min(_open(Registry, _envelope(registry)).expires, self.root.expires)
        try:
            return True, self.update_registry(registry, min(now, expires - timedelta(seconds=1)))
        except ThresholdError:
            return False, self

    def update_root(self, root_bytes: bytes) -> Self:
        """Step to the next root."""
        envelope = _envelope(root_bytes)
        new = _open(Root, envelope)
        if new.federation != self.root.federation:
            raise WrongFederationError(f"the new root is of another federation than {self.root.federation}")
        if new.version <= self.root.version:
            raise RollbackError(f"the new root has version {new.version}; {self.root.version} is known")
        if new.version != self.root.version + 1:
            raise VersionSkipError(f"root {self.root.version + 1} must come before root {new.version}")
        _require_threshold(envelope, self.root, "the old root's")
        _require_threshold(envelope, new, "its own")
        stepped = replace(self, root=new, root_envelope=envelope)
        if _old_signatures_could_suffice(self.root, new):
            return stepped
        return replace(stepped, registry=None, registry_envelope=None)

    def update_registry(self, registry_bytes: bytes, now: datetime) -> Self:
        """Accept a registry."""
        _require_unexpired(self.root, now)
        envelope = _envelope(registry_bytes)
        _require_threshold(envelope, self.root, "the root's")
        new = _open(Registry, envelope)
        if new.federation != self.root.federation:
            raise WrongFederationError(f"the registry is of another federation than {self.root.federation}")
        self._require_newer(new, envelope)
        _require_unexpired(new, now)
        return replace(self, registry=new, registry_envelope=envelope)

    def current(self, now: datetime) -> Registry:
        """The registry to rely on at `now`; raises TrustError if there is none, ExpiredError if its time is
        up.
        """
        if self.registry is None:
            raise TrustError("no registry has been accepted yet")
        _require_unexpired(self.root, now)
        _require_unexpired(self.registry, now)
        return self.registry

    def _require_newer(self, new: Registry, envelope: Envelope) -> None:
        old = self.registry
        if old is None or self.registry_envelope is None:
            return
        if new.version < max(old.version, old.minimum_version):
            raise RollbackError(f"the registry has version {new.version}; {old.version} is known")
        if new.minimum_version < old.minimum_version:
            raise RollbackError("the registry lowers minimum_version, which may only rise")
        if new.version == old.version and envelope.payload != self.registry_envelope.payload:
            raise RollbackError(f"two different registries have version {new.version}")


def _envelope(data: bytes) -> Envelope:
    try:
        return Envelope.from_bytes(data, max_bytes=2 * MAX_DOCUMENT_BYTES)
    except CryptoError as error:
        raise TrustError(f"not an envelope: {error}") from error


def _open(kind: type[D], envelope: Envelope) -> D:
    try:
        return open_document(kind, envelope)
    except DocumentError as error:
        raise TrustError(f"not a usable {kind.KIND}: {error}") from error


def _signers(envelope: Envelope, root: Root) -> tuple[RootKey, ...]:
    try:
        keys = verified_keys(envelope, [item.verify_key for item in root.keys])
    except CryptoError as error:
        raise ThresholdError(f"a root key's signature is wrong: {error}") from error
    return tuple(item for item in root.keys if item.verify_key in keys)


def _require_threshold(envelope: Envelope, root: Root, whose: str) -> None:
    """Refuse unless enough persons of enough organisations signed; a person's second key does not count."""
    signers = _signers(envelope, root)
    persons = {item.person for item in signers}
    organisations = {item.organisation for item in signers}
    if len(persons) < root.threshold:
        raise ThresholdError(f"{len(persons)} of the {root.threshold} persons of {whose} threshold signed")
    if len(organisations) < root.minimum_organisations:
        raise ThresholdError(
            f"the signers of {whose} threshold come from {len(organisations)} organisations; "
            f"{root.minimum_organisations} are needed"
        )


def _old_signatures_could_suffice(old: Root, new: Root) -> bool:
    shared = {item.verify_key for item in old.keys}
    return len({item.person for item in new.keys if item.verify_key in shared}) >= new.threshold


def _require_unexpired(document: Root | Registry, now: datetime) -> None:
    if now >= document.expires:
        raise ExpiredError(
            f"{document.KIND} version {document.version} expired at {document.expires:%Y-%m-%d %H:%M}Z: "
            "fetch a newer one"
        )
