"""Whom an officer's commands believe: a registry that the federation's root holders signed.

The way to it begins at the anchor. What was accepted is remembered in a file per anchor, so that an older
root or registry is refused from then on. That file is verified like everything else when it is read: who
alters it can make it forget, not believe.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from crypto.canonical import b64u, parse_strict, require_object, require_text, unb64u
from crypto.envelope import Envelope
from crypto.errors import CryptoError
from policies.errors import RollbackError, TrustError
from policies.ids import Hash256
from policies.registry import Registry
from policies.trust import TrustedRegistry
from protos.wire.terminal import TerminalError
from tallystick.governance.files import replace_file


@dataclass(frozen=True, slots=True)
class _Accepted:
    """DSSE envelopes: all roots from the first on, and the registry that the last of them vouches for."""

    roots: tuple[bytes, ...]
    registry: bytes


def trusted_registry(
    registry: Path, roots: Sequence[Path], anchor: Hash256, memory: Path, now: datetime
) -> Registry:
    """The registry in a file, if it may be relied on at `now`.

    `roots` are the files of the federation's roots, the first one first; `memory` is the folder in which what
    was accepted is kept.

    Raises:
        TrustError: unsigned or badly signed, older than what was accepted before, or expired; or the roots do
            not lead from the anchor to it.
        TerminalError: what is remembered is damaged. OSError: a file cannot be read or written.
    """
    kept = memory / f"{anchor}.json"
    held = _recall(kept)
    given = tuple(path.read_bytes() for path in roots)
    known = held.roots if held else given[:1]
    _require_same(known, given)
    trusted = TrustedRegistry.replayed(anchor, known, held.registry if held else None, now)
    for root in given[len(known) :]:
        trusted = trusted.update_root(root)
    accepted = _Accepted(max(known, given, key=len), registry.read_bytes())
    found = trusted.update_registry(accepted.registry, now).current(now)
    _remember(kept, accepted)
    return found


def _require_same(known: Sequence[bytes], given: Sequence[bytes]) -> None:
    for number, (one, other) in enumerate(zip(known, given, strict=False), start=1):
        try:
            same = Envelope.from_bytes(one).digest == Envelope.from_bytes(other).digest
        except CryptoError as error:
            raise TrustError(f"--root number {number} is not a root's envelope: {error}") from None
        if not same:
            raise RollbackError(
                f"--root number {number} is not the root {number} that was accepted before: name all roots,"
                " the first one first"
            )


def _recall(kept: Path) -> _Accepted | None:
    if not kept.exists():
        return None
    try:
        fields = require_object(
            parse_strict(kept.read_bytes()), frozenset({"roots", "registry"}), "what was accepted"
        )
        texts = fields["roots"]
        if not isinstance(texts, list) or not texts:
            raise TerminalError(f"{kept} is damaged: it names no root")
        roots = tuple(unb64u(require_text(text, "a root")) for text in texts)
        return _Accepted(roots, unb64u(require_text(fields["registry"], "registry")))
    except CryptoError as error:
        raise TerminalError(
            f"{kept} is damaged ({error}). Ask the federation's office which version of the registry is the"
            " newest, then remove the file"
        ) from None


def _remember(kept: Path, accepted: _Accepted) -> None:
    kept.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    value = {"registry": b64u(accepted.registry), "roots": [b64u(root) for root in accepted.roots]}
    replace_file(kept, json.dumps(value, indent=1).encode())
