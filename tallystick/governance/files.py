"""Policies and agreements in files: drafts that people write, and bundles that officers sign."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from policies.agreement import LinkageAgreement
from policies.authoring import load_toml, load_yaml
from policies.codec import envelope_of, open_document, payload_type
from policies.errors import DocumentError
from policies.render import page_hash, render_agreement, render_policy
from policies.sharing import SharingPolicy
from policies.signing import SignedDocument
from protos.wire.terminal import TerminalError

Agreeable = SharingPolicy | LinkageAgreement
_KINDS: tuple[type[SharingPolicy] | type[LinkageAgreement], ...] = (SharingPolicy, LinkageAgreement)


@dataclass(frozen=True, slots=True)
class Opened:
    """What a file holds: the document, its signing bundle, and the page that officers are shown."""

    document: Agreeable
    bundle: SignedDocument
    page: str

    @property
    def page_hash(self) -> str:
        """What a signature says was shown."""
        return page_hash(self.page)


def open_file(path: Path) -> Opened:
    """A draft (`.yaml`, `.yml`, `.toml`) or a bundle (`.json`).

    Raises:
        DocumentError: neither, with the line or JSON path of what is wrong. OSError: not readable.
    """
    if path.suffix in {".yaml", ".yml", ".toml"}:
        document = _read_draft(path)
        bundle = SignedDocument(envelope_of(document))
    else:
        bundle = SignedDocument.from_bytes(path.read_bytes())
        document = _open_bundle(bundle)
    page = render_policy(document) if isinstance(document, SharingPolicy) else render_agreement(document)
    return Opened(document, bundle, page)


def open_policy(path: Path) -> SharingPolicy:
    """A sharing policy, as a draft or in a bundle; DocumentError for an agreement."""
    document = open_file(path).document
    if not isinstance(document, SharingPolicy):
        raise DocumentError(f"{path}: this is a linkage agreement; the command is for sharing policies")
    return document


def write_new(path: Path, data: bytes) -> None:
    """Writes a file that must not exist yet; TerminalError if it does."""
    try:
        with path.open("xb") as file:
            file.write(data)
    except FileExistsError:
        raise TerminalError(f"{path} exists; choose another name or move it away") from None


def replace_file(path: Path, data: bytes) -> None:
    """Writes a file whole or not at all."""
    part = path.with_name(path.name + ".part")
    part.write_bytes(data)
    part.replace(path)


def _read_draft(path: Path) -> Agreeable:
    text = path.read_text("utf-8")
    load = load_toml if path.suffix == ".toml" else load_yaml
    declared = next((kind for kind in _KINDS if kind.KIND in text), SharingPolicy)
    try:
        return load(declared, text)
    except DocumentError as error:
        raise DocumentError(f"{path}: {error}") from error


def _open_bundle(bundle: SignedDocument) -> Agreeable:
    for kind in _KINDS:
        if bundle.document.payload_type == payload_type(kind):
            return open_document(kind, bundle.document)
    raise DocumentError("the bundle holds neither a sharing policy nor a linkage agreement")
