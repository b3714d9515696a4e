"""The golden vectors and JSON Schemas in the repository are what the code makes."""

import json

import pytest

from crypto.canonical import sha256_hex
from crypto.envelope import Envelope
from policies.agreement import LinkageAgreement
from policies.codec import Document, document_hash, parse
from policies.disclosure import Approval, DisclosureRequest
from policies.registry import Registry
from policies.root import Root
from policies.sharing import SharingPolicy
from policies.signing import SignedDocument
from policies.statements import PolicyEvent, SigningStatement
from policies.verified import verify_policy
from tests.simulator.policies import NOW, FederationSimulator
from tests.vectors.make_policies import ROOT, VECTORS, files

KINDS: dict[str, type[Document]] = {
    "root": Root,
    "registry": Registry,
    "agreement": LinkageAgreement,
    "policy": SharingPolicy,
    "statement": SigningStatement,
    "event": PolicyEvent,
    "request": DisclosureRequest,
    "approval": Approval,
}


@pytest.mark.parametrize(("path", "text"), list(files()), ids=lambda item: getattr(item, "name", ""))
def test_files_have_not_drifted(path: object, text: str) -> None:
    assert (ROOT / str(path)).read_text(encoding="utf-8") == text


@pytest.mark.parametrize("name", KINDS)
def test_vector_documents(name: str) -> None:
    vector = json.loads(VECTORS.read_text(encoding="utf-8"))["documents"][name]
    document = parse(KINDS[name], vector["payload"].encode())
    assert document_hash(document) == vector["document_hash"]
    kind, payload = vector["payload_type"], vector["payload"].encode()
    pae = f"DSSEv1 {len(kind)} {kind} {len(payload)} ".encode() + payload
    assert sha256_hex(pae) == vector["document_hash"]


def test_vector_pages_hash_as_text() -> None:
    for page in json.loads(VECTORS.read_text(encoding="utf-8"))["pages"].values():
        assert sha256_hex(page["text"].encode()) == page["hash"]


def test_vector_bundle_verifies() -> None:
    bundle = SignedDocument.from_bytes(
        json.loads(VECTORS.read_text(encoding="utf-8"))["signed_document"].encode()
    )
    quorum = verify_policy(bundle, FederationSimulator().registry(), NOW).quorum
    assert [item.person for item in quorum.counted] == ["police.siro"]
    assert "care: SIRO or IAO" in quorum.missing
    assert isinstance(bundle.document, Envelope)
