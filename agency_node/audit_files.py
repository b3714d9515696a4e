"""The files of an exported log, as a verifier reads them: nothing in them is believed for standing there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from agency_node.audit_manifest import MANIFEST, AuditManifest
from crypto.canonical import JsonValue, parse_canonical, require_object
from crypto.envelope import Envelope
from crypto.errors import CryptoError
from policies.codec import open_document
from policies.errors import PolicyError

_LINE_BYTES = 16 * 1024 * 1024


class ExportUnusableError(Exception):
    """The folder is not an export that could be verified at all; the message says why."""


def read_manifest(folder: Path) -> tuple[AuditManifest, Envelope]:
    """What an export says that it holds, and the envelope that is signed. Raises ExportUnusableError."""
    try:
        envelope = Envelope.from_bytes((folder / MANIFEST).read_bytes())
        return open_document(AuditManifest, envelope), envelope
    except FileNotFoundError:
        raise ExportUnusableError(f"{folder} holds no {MANIFEST}: it is not an audit export") from None
    except (OSError, CryptoError, PolicyError) as error:
        raise ExportUnusableError(f"{folder / MANIFEST} cannot be read: {error}") from None


def read_lines(path: Path, names: frozenset[str]) -> Iterator[dict[str, JsonValue]]:
    """The objects of a file of canonical JSON lines, each with exactly these names. Raises CanonicalError."""
    with path.open("rb") as stream:
        for line in stream:
            value = parse_canonical(line.removesuffix(b"\n"), max_bytes=_LINE_BYTES)
            yield dict(require_object(value, names, f"a line of {path.name}"))


def read_notes(path: Path) -> Iterator[bytes]:
    """The heads in a file of checkpoints. Raises CanonicalError."""
    for value in read_lines(path, frozenset({"note"})):
        yield str(value["note"]).encode("utf-8")
