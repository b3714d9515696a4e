"""Writes an audit log, this node's or the broker's, as the files of `agency_node.audit_manifest`."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from datetime import datetime

from agency_node.audit import AuditLog
from agency_node.audit_manifest import (
    BROKER_HEAD,
    CHECKPOINTS,
    FILES,
    LEAVES,
    MANIFEST,
    REGISTRIES,
    ROOTS,
    SEALED,
    WITNESSED,
    AuditManifest,
)
from agency_node.disclosure.broker_witness import broker_head_to_tell
from agency_node.ports import NodeIdentity
from agency_node.rpc.ports import BrokerLog
from agency_node.store.store import NodeStore, NodeTransaction
from crypto.canonical import JsonValue, b64u, canonical_json
from crypto.checkpoint import parse_checkpoint
from crypto.envelope import sign_envelope
from policies.codec import payload_type, write
from policies.ids import Hash256, Line
from protos.wire.documents import DocumentBundle

_PAGE = 2_000


async def export_files(
    store: NodeStore, log: AuditLog, identity: NodeIdentity, now: datetime
) -> AsyncGenerator[tuple[str, bytes], None]:
    """Chunks of files, file by file, the manifest last. `now` has whole seconds.

    The log is read in pages up to a head that is signed first: it may grow meanwhile.
    """
    async with store.transaction() as tx:
        size = (await log.checkpoint(tx)).checkpoint.size
        held = await _trust_files(tx)
        held |= {f"{WITNESSED}/{peer}.checkpoint": note for peer, note in await tx.audit.witnessed_heads()}
        broker = await broker_head_to_tell(tx)
    if broker is not None:
        held[BROKER_HEAD] = broker.encode("utf-8")

    async def content(name: str) -> AsyncIterator[bytes]:
        if name in held:
            yield held[name]
            return
        async for chunk in _content(name, store, size):
            yield chunk

    names = (*FILES, *(name for name in held if name not in FILES))
    async with aclosing(_signed_files(identity, log.origin, size, now, names, content)) as files:
        async for item in files:
            yield item


async def export_broker_files(
    store: NodeStore, broker: BrokerLog, heads: Sequence[bytes], identity: NodeIdentity, now: datetime
) -> AsyncGenerator[tuple[str, bytes], None]:
    """The same of the broker's log: its leaves up to the last of `heads`, and all of them, to be compared.

    Raises:
        RefusedError: the broker cannot be asked now.
    """
    newest = parse_checkpoint(heads[-1]).checkpoint
    async with store.transaction() as tx:
        trust = await _trust_files(tx)

    async def content(name: str) -> AsyncIterator[bytes]:
        yield b""
        if name == LEAVES:
            for start in range(0, newest.size, _PAGE):
                async with aclosing(broker.leaves(start, min(newest.size, start + _PAGE))) as leaves:
                    yield b"".join([leaf + b"\n" async for _, leaf in leaves])
        elif name == CHECKPOINTS:
            yield _notes(heads)
        elif name in trust:
            yield trust[name]

    async with aclosing(_signed_files(identity, newest.origin, newest.size, now, FILES, content)) as files:
        async for item in files:
            yield item


async def _signed_files(
    identity: NodeIdentity,
    origin: str,
    size: int,
    now: datetime,
    names: Sequence[str],
    content: Callable[[str], AsyncIterator[bytes]],
) -> AsyncGenerator[tuple[str, bytes], None]:
    digests: dict[Line, Hash256] = {}
    for name in names:
        digest = hashlib.sha256()
        async for chunk in content(name):
            digest.update(chunk)
            yield name, chunk
        digests[Line(name)] = Hash256(digest.hexdigest())
    manifest = AuditManifest(identity.federation, identity.agency, Line(origin), size, now, digests)
    envelope = sign_envelope(payload_type(AuditManifest), write(manifest), [identity.signer])
    yield MANIFEST, envelope.to_bytes()


async def _content(name: str, store: NodeStore, size: int) -> AsyncIterator[bytes]:
    """A file in chunks; at least one, so that an empty file exists too."""
    if name in (LEAVES, SEALED):
        yield b""
        for start in range(0, size, _PAGE):
            async with store.transaction() as tx:
                entries = [entry async for entry in tx.audit.entries(start, min(size, start + _PAGE))]
            if name == LEAVES:
                yield b"".join(entry.leaf_bytes + b"\n" for entry in entries)
            else:
                yield b"".join(_line({"seq": entry.seq, "sealed": b64u(entry.sealed)}) for entry in entries)
        return
    yield await _smaller(name, store)


async def _trust_files(tx: NodeTransaction) -> dict[str, bytes]:
    """Roots and registries, as they are when the log has the entries that are exported."""
    roots = [_line({"envelope": b64u(item)}) for item in await tx.trust.roots()]
    registries = [
        _line({"envelope": b64u(item.envelope or b""), "root": item.root_version})
        for item in await tx.trust.registries()
    ]
    return {ROOTS: b"".join(roots), REGISTRIES: b"".join(registries)}


async def _smaller(name: str, store: NodeStore) -> bytes:
    """A file that is read at once."""
    async with store.transaction() as tx:
        if name == CHECKPOINTS:
            return _notes(await tx.audit.checkpoints())
        bundles = [(digest, await tx.documents.get(digest)) for digest in await tx.documents.hashes()]
    return b"".join(_bundle_line(digest, bundle) for digest, bundle in bundles if bundle is not None)


def _notes(notes: Sequence[bytes]) -> bytes:
    return b"".join(_line({"note": note.decode("utf-8")}) for note in notes)


def _bundle_line(document_hash: str, bundle: DocumentBundle) -> bytes:
    statements: list[JsonValue] = [b64u(item) for item in bundle.statements]
    events: list[JsonValue] = [b64u(item) for item in bundle.events]
    return _line(
        {
            "hash": document_hash,
            "kind": bundle.kind.value,
            "document": b64u(bundle.document),
            "statements": statements,
            "events": events,
        }
    )


def _line(value: dict[str, JsonValue]) -> bytes:
    return canonical_json(value) + b"\n"
